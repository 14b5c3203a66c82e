"""How failures are told: those that are alike once, and as the kit has laid them out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from meerkat_rt.testing import Failure, Recipe
from meerkat_rt.testing.failures import grouped, in_short, told

SUITE = """
import trio
from meerkat_rt.testing import cancel_everywhere


async def scenario(trial):
    trial.keep.things = []
    with trial.region():
        for number in range(5):
            await trio.sleep(1)
            trial.keep.things.append(number)


def verify(trial):
    assert len(trial.keep.things) == 5, "something is missing"


def test_it():
    cancel_everywhere(scenario, verify=verify)
"""


def failed(recipe: str, *violations: str) -> Failure:
    return Failure(recipe=Recipe.parse(recipe), violations=violations, landed=f"landed at {recipe}")


def test_failures_that_differ_in_passing_things_alone_are_alike() -> None:
    alike = [
        failed("at=3:cancel", "swallowed: Cancelled reached 2:use @ pool.py:7"),
        failed("at=4:cancel", "swallowed: Cancelled reached 13:use @ pool.py:7"),
    ]
    other_line = failed("at=5:cancel", "swallowed: Cancelled reached 2:use @ pool.py:8")
    other_action = failed("at=3:drop", "swallowed: Cancelled reached 2:use @ pool.py:7")
    assert grouped([other_line, *alike, other_action]) == [[other_line], alike, [other_action]]
    for one, other in [
        ("slow unwind: 2.5 s of virtual time", "slow unwind: 5 s of virtual time"),
        ("verify: lost\nassert 0 == 2", "verify: lost\nassert 1 == 2"),
        ("verify: <Pool at 0x7f00> leaks", "verify: <Pool at 0x7fff> leaks"),
    ]:
        assert failed("at=1:cancel", one).likeness == failed("at=2:cancel", other).likeness


def test_the_first_is_told_in_full_and_the_others_by_their_points() -> None:
    alike = [failed(f"at={point}:cancel", "lost") for point in (2, 3, 4, 5, 9, 11, 12)]
    assert in_short(alike[:1]) == str(alike[0])
    assert in_short(alike[:2]).splitlines()[-1] == "    and 1 more point: 3"
    assert in_short(alike).splitlines()[-1] == "    and 6 more points: 3-5, 9, 11-12"
    many = [failed(f"at={2 * point}:cancel", "lost") for point in range(20)]
    assert in_short(many).endswith("and 19 more points: 2, 4, 6, 8, 10, 12, 14, 16, ...")
    ordered = failed("at=7:cancel orders=3:1,0", "lost")
    assert in_short([*alike[:2], ordered]).endswith(f"and 2 more times: 3, {ordered.recipe}")


def test_so_many_different_ones_are_told_and_the_rest_is_counted() -> None:
    failures = [failed(f"at={at}:cancel", f"lost {at % 10} things") for at in range(30)]
    *first, last = told(failures)
    assert len(first) == 8
    assert last == "... and 6 more"


def test_under_pytest_it_keeps_its_layout_and_shows_no_line_of_the_kit(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(SUITE, encoding="utf-8")
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--color=no"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    told = [line[1:].rstrip() for line in result.stdout.splitlines() if line.startswith("E ")]
    headers = [line for line in told if not line.startswith(" " * 11)]
    assert len(headers) == 3, result.stdout  # the summary, the kinds, and where the first landed
    at = told.index(" " * 11 + "verify: something is missing")
    assert told[at + 1].startswith(" " * 15 + "assert 0 == 5")
    assert told[-1].startswith(" " * 11 + "and ")
    assert "raise CancellationFailed" not in result.stdout
    assert "everywhere.py:" not in result.stdout
