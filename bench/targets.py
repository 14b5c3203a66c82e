"""What must hold, and whether it does."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

import attrs

from . import pacing
from .stats import FEWEST, Ratio, ratio, spread

OURS = "meerkat"
BATCHES = "meerkat-batches"
TURNS, FEWEST_TURNS = 3, 2
Results = dict[str, Any]
"""What `report.Run` keeps: `throughput` by workload and subject, `costs`, `paced`."""


@attrs.frozen(kw_only=True)
class Target:
    """A measure and its bound.  `holds` None: it was not measured, or cannot be told."""

    measure: str
    bound: str
    found: str
    holds: bool | None


def check(results: Results) -> list[Target]:
    """Every target that this run has something to say of."""
    return [*_throughput(results), *_costs(results), *_paced(results)]


def cost_ratio(results: Results, workload: str, theirs: str, ours: str = "meerkat") -> Ratio:
    """How many times our CPU an event the other spends."""
    row = results.get("throughput", {}).get(workload, {})
    if theirs not in row or ours not in row:
        return Ratio(None, "not measured")
    return ratio(row[theirs]["cpu"], row[ours]["cpu"])


def _at_least(measure: str, found: Ratio, bound: float) -> Target:
    holds = None if found.value is None else found.value.median >= bound
    shown = found.refused if found.value is None else str(found)
    return Target(measure=measure, bound=f">= {bound:g}x", found=shown, holds=holds)


def _throughput(results: Results) -> Iterator[Target]:
    measured = results.get("throughput", {})
    mix = [("openai", 8.0), ("openai-agents", 5.0), ("livekit", 3.0), ("pipecat", 20.0)]
    for peer, bound in [*mix, ("floor", 0.5)]:
        if "mix" in measured:
            yield _at_least(f"mix, against {peer}", cost_ratio(results, "mix", peer), bound)
    if BATCHES in measured.get("mix", {}):
        found = cost_ratio(results, "mix", "floor", BATCHES)
        yield _at_least("mix by batches, against floor", found, 0.5)
    for workload in measured:
        found = cost_ratio(results, workload, "pydantic-ai")
        yield _at_least(f"{workload}, against pydantic-ai", found, 1.0)
    for peer, bound in [("openai", 12.0), ("floor", 0.25)]:
        if "text" in measured:
            yield _at_least(f"small text, against {peer}", cost_ratio(results, "text", peer), bound)
    for workload in measured:
        if workload in ("text", "mix"):
            row = measured[workload]
            if "meerkat-store" in row:
                found = ratio(row["meerkat-store"]["cpu"], row["meerkat"]["cpu"])
                value = found.value
                yield Target(
                    measure=f"{workload}, cost of the memory store",
                    bound="< 15 %",
                    found=found.refused if value is None else f"{(value.median - 1) * 100:.0f} %",
                    holds=None if value is None else value.median < 1.15,
                )


def _under(measure: str, bound: float, unit: str, values: list[float]) -> Target:
    found = spread(values)
    return Target(
        measure=measure,
        bound=f"< {bound:g} {unit}",
        found=f"{found if len(values) > 1 else format(found.median, '.3g')} {unit}",
        holds=found.median < bound,
    )


def _costs(results: Results) -> Iterator[Target]:
    costs = results.get("costs")
    if not costs:
        return
    yield _under("memory of an idle session", 60, "KiB", costs["idle"]["kib"])
    waits = {name: found for name, found in costs.items() if name.startswith("interrupt")}
    for name, found in waits.items():
        yield _under(f"{name}: call to frame", 1000, "us", found["frame_us"])
    large = [spread(found["frame_us"]).median for name, found in waits.items() if "MiB" in name]
    if len(large) > 1:
        grown = large[-1] / large[0]
        yield Target(
            measure="interrupt: 12 times the backlog",
            bound="< 2x the time",
            found=f"{grown:.2f}x",
            holds=grown < 2,
        )
    yield _under(
        "close with three running tools", 2000, "us", costs["close with 3 tools"]["close_us"]
    )


def _paced(results: Results) -> Iterator[Target]:
    if "paced" not in results:
        return
    pairs: list[tuple[str, str, str, float]] = [
        ("100 x 50/s", "transport", "cpu_us", 1.5),
        ("100 x 50/s", "transport", "p99_us", 2.0),
        ("1000 x 10/s", "transport", "cpu_us", 1.5),
        ("1000 x 10/s", "transport", "p99_us", 2.0),
        ("100 x 50/s, TLS", "openai", "cpu_us", 0.75),
    ]
    for scenario, theirs, what, bound in pairs:
        found = paced_ratio(results["paced"].get(scenario, {}), theirs, what)
        value = found.value
        yield Target(
            measure=f"{scenario}: {what.removesuffix('_us')} against {theirs}",
            bound=f"< {bound:g}x",
            found=found.refused if value is None else str(found),
            holds=None if value is None else value.median < bound,
        )


def paced_ratio(row: dict[str, pacing.Measured], theirs: str, what: str) -> Ratio:
    """How many times the other's figure ours is, of the turns that tell it of both.

    A percentile is told by few events, and so a repetition of one is the median of `TURNS` turns,
    or of as many as are left for each of the fewest repetitions that make a ratio.
    """
    if OURS not in row or theirs not in row:
        return Ratio(None, "not measured")
    pairs = list(zip(pacing.told(row[OURS], what), pacing.told(row[theirs], what), strict=False))
    known = [(ours, other) for ours, other in pairs if ours is not None and other is not None]
    if what == "cpu_us":
        return ratio([ours for ours, _ in known], [other for _, other in known])
    size = min(TURNS, len(known) // FEWEST)
    if size < FEWEST_TURNS:
        return Ratio(None, f"others had the processor in {len(pairs) - len(known)} of {len(pairs)}")
    kept = [known[at : at + size] for at in range(0, len(known) - size + 1, size)]
    ours, others = (
        [statistics.median(pair[side] for pair in turns) for turns in kept] for side in (0, 1)
    )
    return ratio(ours, others)


def verdict(targets: list[Target]) -> tuple[str, int]:
    """The last line, and the exit status: 0 all hold, 1 some do not, 2 some cannot be told."""
    missed = [target.measure for target in targets if target.holds is False]
    unknown = [target.measure for target in targets if target.holds is None]
    said = [
        f"{len(measures)} of {len(targets)} targets {what}: {'; '.join(measures)}"
        for what, measures in (("are missed", missed), ("cannot be told", unknown))
        if measures
    ]
    if not said:
        return f"all {len(targets)} targets hold", 0
    return ". ".join(said), 1 if missed else 2
