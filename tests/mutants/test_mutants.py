"""The scenario suite is good for something: it notices mistakes that an ordinary run does not."""

from __future__ import annotations

import sys

import pytest

from tests.mutants.__main__ import verdicts
from tests.mutants.hunting import HAPPY
from tests.mutants.mistakes import MUTANTS
from tests.mutants.planting import Edit, Mutant, StaleMutant, plant
from tests.mutants.table import guide_table, known, rendered

SESSION = "runtime.session"


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_fits_the_source(name: str) -> None:
    MUTANTS[name].check()


@pytest.mark.parametrize("before", ["no such line", "async def "])
def test_a_mutant_that_does_not_fit_any_more_says_so_by_name(before: str) -> None:
    mutant = Mutant(name="old", about="", edits=(Edit(SESSION, before, "pass"),))
    with pytest.raises(StaleMutant, match=r"mutant 'old' is stale: meerkat_rt\.runtime\.session"):
        mutant.check()


def test_a_mutant_is_not_planted_too_late() -> None:
    assert "meerkat_rt.runtime.core" in sys.modules
    with pytest.raises(RuntimeError, match=r"meerkat_rt\.runtime\.core: too late"):
        plant(MUTANTS["no-last-word"])


def test_the_guide_has_the_table_of_the_command() -> None:
    assert guide_table() == rendered(known())
    assert known().keys() == MUTANTS.keys()


def test_every_mutant_survives_the_happy_path_and_is_killed_by_the_suite() -> None:
    """Each in a process of its own; looked for first where it was found last."""
    found = {each.mutant: each for each in verdicts(tuple(MUTANTS), 2, known())}
    assert [name for name, each in found.items() if each.tool == HAPPY] == []
    assert [name for name, each in found.items() if not each.killed] == []
    assert found.keys() == MUTANTS.keys()
