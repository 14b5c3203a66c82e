"""Runs that went wrong, as people read them: those that went wrong alike are told once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import attrs

from .recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from .run import RunResult

SHOWN = 8
"""How many different failures are worth telling in full."""

_PASSING = re.compile(
    r" at 0x[0-9a-fA-F]+"
    r"|(?<![\w.:])\d+:(?=\S)"  # the number of a task
    r"|[\d.e+-]+ s of virtual time"
    r"|\d+ steps"
)


@attrs.frozen(kw_only=True)
class Failure:
    """A run that went wrong: what was wrong, where the action landed, how to do it again."""

    recipe: Recipe
    violations: tuple[str, ...]
    landed: str
    awaiting: tuple[str, ...] = ()

    @classmethod
    def of(cls, result: RunResult, violations: Iterable[str] | None = None) -> Failure:
        """The failure that a run was; `violations` in place of the run's own."""
        return cls(
            recipe=result.recipe,
            violations=result.violations if violations is None else tuple(violations),
            landed="; then ".join(map(str, result.places)) or "nothing injected",
            awaiting=result.places[0].awaiting if result.places else (),
        )

    @property
    def likeness(self) -> tuple[tuple[str, ...], ...]:
        """Equal for two failures if the same actions came to the same, at the same lines.

        What differs from run to run is left out: numbers of tasks, times, and the values that
        pytest adds to an assertion, from its second line on.
        """
        first_lines = (violation.partition("\n")[0] for violation in self.violations)
        return (
            tuple(action for _, action in self.recipe.inject),
            tuple(_PASSING.sub("", line) for line in first_lines),
        )

    def __str__(self) -> str:
        parts = [self.landed]
        # The text of an assertion of pytest's has several lines.
        parts += ["    " + violation.replace("\n", "\n        ") for violation in self.violations]
        parts += [f"    awaiting: {line}" for line in self.awaiting]
        parts.append(f"    replay(scenario, {str(self.recipe)!r})")
        return "\n".join(parts)


def grouped(failures: Iterable[Failure]) -> list[list[Failure]]:
    """The failures by their likeness, in the order of the first of each."""
    found: dict[object, list[Failure]] = {}
    for failure in failures:
        found.setdefault(failure.likeness, []).append(failure)
    return list(found.values())


def in_short(alike: Sequence[Failure]) -> str:
    """The first of failures that are alike, in full, and where the others are."""
    first, *others = alike
    if not others:
        return str(first)
    points = [each.recipe.inject[0][0] for each in others if _is_one_blow(each.recipe)]
    where = [*_ranges(points), *(str(e.recipe) for e in others if not _is_one_blow(e.recipe))]
    shown = ", ".join(where[:SHOWN]) + (", ..." if len(where) > SHOWN else "")
    what = "points" if len(points) == len(others) else "times"
    if len(others) == 1:
        what = what[:-1]
    return f"{first}\n    and {len(others)} more {what}: {shown}"


def told(failures: Iterable[Failure]) -> Iterator[str]:
    """What a report says of its failures."""
    groups = grouped(failures)
    yield from map(in_short, groups[:SHOWN])
    if rest := sum(map(len, groups[SHOWN:])):
        yield f"... and {rest} more"


def _is_one_blow(recipe: Recipe) -> bool:
    return recipe == Recipe(inject=recipe.inject) and len(recipe.inject) == 1


def _ranges(points: Sequence[int]) -> Iterator[str]:
    """``3-5``, ``9``: runs of points that follow each other."""
    points = sorted(points)
    start = 0
    for index, point in enumerate(points):
        if index + 1 == len(points) or points[index + 1] != point + 1:
            yield f"{points[start]}-{point}" if start != index else str(point)
            start = index + 1
