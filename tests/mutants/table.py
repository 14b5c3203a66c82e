"""The table of mutants: what was found last, and where it stands in the guide."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import attrs

from .hunting import Verdict
from .mistakes import MUTANTS

FOUND = Path(__file__).with_name("found.json")
GUIDE = Path(__file__).parents[2] / "meerkat_rt" / "testing" / "README.md"
BEGIN, END = "<!-- mutants -->\n", "<!-- end of mutants -->\n"


def known() -> dict[str, Verdict]:
    """What was found last, of the mutants that there are."""
    if not FOUND.exists():
        return {}
    entries = json.loads(FOUND.read_text(encoding="utf-8"))
    return {entry["mutant"]: Verdict(**entry) for entry in entries if entry["mutant"] in MUTANTS}


def remember(found: Mapping[str, Verdict]) -> None:
    """Keep it for `known`."""
    entries = [attrs.asdict(found[name]) for name in MUTANTS if name in found]
    FOUND.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")


def rendered(found: Mapping[str, Verdict]) -> str:
    """The table, in Markdown."""
    lines = [
        "| mutant | the mistake | killed by | in the scenario | recipe |",
        "|---|---|---|---|---|",
    ]
    for name, mutant in MUTANTS.items():
        if name in found:
            verdict = found[name]
            where = "" if verdict.wire == "memory" else f", {verdict.wire} wire"
            lines.append(
                f"| `{name}` | {mutant.about} | {verdict.tool or '**nothing**'} "
                f"| `{verdict.scenario}`{where} | `{verdict.recipe}` |"
            )
    return "\n".join(lines) + "\n"


def guide_table() -> str:
    """The table as the guide has it."""
    return GUIDE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]


def write_guide() -> None:
    """Put the table into the guide."""
    head, _, rest = GUIDE.read_text(encoding="utf-8").partition(BEGIN)
    tail = rest.partition(END)[2]
    GUIDE.write_text(head + BEGIN + rendered(known()) + END + tail, encoding="utf-8")
