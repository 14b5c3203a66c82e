"""The room's guide draws its state machines from the tables that run them."""

from __future__ import annotations

from pathlib import Path

import pytest

import meerkat_rt.turn.machine
from meerkat_rt.turn.nudge import NUDGE_TABLE
from meerkat_rt.turn.records import REQUEST_TABLE, RESPONSE_TABLE
from meerkat_rt.turn.tools import CALL_TABLE

GUIDE = Path(meerkat_rt.turn.machine.__file__).with_name("README.md")
TABLES = {
    "request": REQUEST_TABLE,
    "response": RESPONSE_TABLE,
    "call": CALL_TABLE,
    "nudge": NUDGE_TABLE,
}


def drawing(table) -> str:
    """A table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2"]
    for state, row in table.items():
        if not row:
            lines.append(f"    {state.name.lower()} --> [*]")
        for trigger, after in row.items():
            name = trigger.name.lower().replace("_", " ")
            lines.append(f"    {state.name.lower()} --> {after.name.lower()}: {name}")
    return "```mermaid\n" + "\n".join(lines) + "\n```"


@pytest.mark.parametrize("name", TABLES)
def test_the_guide_shows_the_table_that_runs(name):
    assert drawing(TABLES[name]) in GUIDE.read_text()


def test_the_guide_names_every_module():
    guide = GUIDE.read_text()
    for module in GUIDE.parent.glob("*.py"):
        if module.name != "__init__.py":
            assert f"`{module.name}`" in guide
