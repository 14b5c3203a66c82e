"""Medians, spreads, and when a ratio may be printed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import attrs

DISAGREE = 0.25  # relative spread of the repetitions beyond which no ratio is printed
FEWEST = 3


@attrs.frozen
class Spread:
    """A median, and between which values the middle half of the repetitions lies."""

    median: float
    low: float
    high: float

    @property
    def relative(self) -> float:
        """Half the width of the middle half, as a part of the median."""
        return (self.high - self.low) / 2 / self.median if self.median else 0.0

    def __str__(self) -> str:
        return f"{self.median:.3g} ±{self.relative:.0%}"


def spread(values: Sequence[float]) -> Spread:
    """Summarize repetitions.

    Raises:
        ValueError: there are none.
    """
    if not values:
        raise ValueError("no repetitions to summarize")
    ordered = sorted(values)
    if len(ordered) < FEWEST:
        return Spread(statistics.median(ordered), ordered[0], ordered[-1])
    low, _, high = statistics.quantiles(ordered, n=4, method="inclusive")
    return Spread(statistics.median(ordered), low, high)


@attrs.frozen
class Ratio:
    """How two subjects compare, repetition by repetition; `refused` says why it is not known."""

    value: Spread | None
    refused: str = ""

    def __str__(self) -> str:
        return f"{self.value.median:.2f}x" if self.value else "?"


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """`ours` over `theirs`, paired: the n-th of each were measured one after the other.

    Pairing takes out what slowed both.  A ratio whose pairs disagree by more than `DISAGREE` is
    refused: it says more about the machine than about the subjects.
    """
    pairs = list(zip(ours, theirs, strict=False))
    if len(pairs) < FEWEST:
        return Ratio(None, f"{len(pairs)} repetitions; at least {FEWEST} are needed")
    if any(value <= 0 for pair in pairs for value in pair):
        return Ratio(None, "a repetition measured nothing")
    value = spread([a / b for a, b in pairs])
    if value.relative > DISAGREE:
        return Ratio(
            None,
            f"repetitions disagree: {value.low:.2f} to {value.high:.2f} "
            f"(±{value.relative:.0%}, at most ±{DISAGREE:.0%})",
        )
    return Ratio(value)
