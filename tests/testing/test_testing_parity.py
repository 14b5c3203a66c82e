"""The parity suite: every conversation with every provider, and the table in the README."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from meerkat_rt.testing.parity import table as tables
from meerkat_rt.testing.parity.suite import SCENES
from meerkat_rt.testing.parity.table import NotAlike, conducted, replaced, table
from meerkat_rt.testing.run import run_once
from meerkat_rt.testing.scenarios import SCENARIOS
from meerkat_rt.testing.scenarios.parity import SIDES
from meerkat_rt.turn.machine import SessionMachine

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"


def test_every_conversation_is_held_with_every_provider_and_swept() -> None:
    assert set(SIDES) == {"OpenAI", "Gemini"}
    for cases in SIDES.values():
        assert list(cases) == list(SCENES)
        assert set(cases.values()) <= set(SCENARIOS.values())


@pytest.mark.parametrize("transport", ["websockets", "trio-websocket"])
@pytest.mark.parametrize("provider", SIDES)
@pytest.mark.parametrize("name", SCENES)
def test_a_conversation_goes_the_same_way_with_every_provider(
    name: str, provider: str, transport: str
) -> None:
    case = SIDES[provider][name]
    assert run_once(case.on("tearing", transport)).violations == ()


def test_the_table_of_the_readme_is_what_the_suite_finds() -> None:
    """`python -m meerkat_rt.testing.parity README.md` makes it anew."""
    text = README.read_text(encoding="utf-8")
    assert replaced(text, table(conducted())) == text


def test_the_command_writes_the_table_into_a_file(tmp_path: Path) -> None:
    file = tmp_path / "guide.md"
    file.write_text(f"before\n{tables.BEGIN}\nOLDER\n{tables.END}\nafter\n")
    command = [sys.executable, "-m", "meerkat_rt.testing.parity"]
    subprocess.run([*command, str(file)], check=True, timeout=60, cwd=ROOT)
    text = file.read_text()
    assert text.startswith(f"before\n{tables.BEGIN}\n| | OpenAI | Gemini |\n")
    assert text.endswith(f"\n{tables.END}\nafter\n")
    assert "OLDER" not in text
    with pytest.raises(ValueError, match="parity: begin"):
        replaced("nothing is marked", "new")


def test_a_provider_that_differs_where_it_must_not_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def silent(self: SessionMachine, now: float) -> tuple[str, ...]:
        return ()

    monkeypatch.setattr(SessionMachine, "interrupt", silent)
    with pytest.raises(NotAlike, match=r"an_interruption\w* with OpenAI"):
        conducted()
