"""The suite's results as a table, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..run import Checks, run_once
from ..scenarios.parity import SIDES, notes_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BEGIN, END = "<!-- parity: begin -->", "<!-- parity: end -->"


class NotAlike(AssertionError):
    """A conversation did not go with one provider as it must go with all."""


def conducted() -> dict[str, dict[str, str]]:
    """Run the whole suite: what came of it, by entry and then by provider.

    Raises:
        NotAlike: a conversation failed; the message names it, and what was wrong.
    """
    found: dict[str, dict[str, str]] = {}
    for provider, cases in SIDES.items():
        for name, case in cases.items():
            result = run_once(case.on("memory"), checks=Checks(verify=case.verify))
            if result.violations:
                raise NotAlike(f"{name} with {provider}: {'; '.join(result.violations)}")
            for entry, value in notes_of(name, provider).items():
                found.setdefault(entry, {})[provider] = value
    return found


def table(found: Mapping[str, Mapping[str, str]], providers: Sequence[str] | None = None) -> str:
    """The results in Markdown."""
    providers = list(SIDES) if providers is None else providers
    lines = [f"| | {' | '.join(providers)} |", "|---" * (len(providers) + 1) + "|"]
    for entry, by in found.items():
        lines.append(f"| {entry} | {' | '.join(by[provider] for provider in providers)} |")
    return "\n".join(lines)


def replaced(text: str, new: str) -> str:
    """`text` with the table between its marks replaced.

    Raises:
        ValueError: the marks are not there.
    """
    before, mark, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (mark and end):
        raise ValueError(f"there is no {BEGIN} ... {END}")
    return f"{before}{BEGIN}\n{new}\n{END}{after}"
