"""The regression gate: each layer in rounds of a calibration loop, against a stored baseline.

A round of the loop and an event of a layer are both ordinary Python, and slow down together on a
busy or a slower machine (a transport has a second measure, see `layers.relative`).  The least of
many short repetitions is taken of each, because noise only ever adds.  What is left of it is a few
per cent; a layer that became dearer by `TOLERANCE` fails.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import attrs
from rich.console import Console
from rich.table import Table

from . import gemini, layers

BASELINE = Path(__file__).with_name("baseline.json")
TOLERANCE = 1.35
WORKLOADS = ("text", "mix", gemini.WORKLOAD)
UNITS = 6
ROUNDS = 15
# A layer that costs less than this part of a calibration round is not gated: a cache line decides.
SMALL = 0.02


@attrs.frozen(kw_only=True)
class Verdict:
    """One layer on one workload; costs are in calibration rounds."""

    workload: str
    layer: str
    baseline: float
    found: float

    @property
    def change(self) -> float:
        """How many times the baseline it costs."""
        return self.found / self.baseline

    @property
    def failed(self) -> bool:
        """Dearer than the tolerance allows."""
        return self.baseline >= SMALL and self.change > TOLERANCE


def measure(step: Callable[[str], None], *, rounds: int = ROUNDS) -> dict[str, dict[str, float]]:
    """Costs by workload and layer, in calibration rounds."""
    return {
        workload: layers.relative(
            layers.measure(workload, units=UNITS, repetitions=rounds, step=step)
        )
        for workload in WORKLOADS
    }


def judge(
    baseline: dict[str, dict[str, float]], found: dict[str, dict[str, float]]
) -> list[Verdict]:
    """Compare what both know of."""
    return [
        Verdict(workload=workload, layer=layer, baseline=was, found=found[workload][layer])
        for workload, row in baseline.items()
        for layer, was in row.items()
        if layer in found.get(workload, {})
    ]


def run(console: Console) -> int:
    """Measure and judge; what looks dearer is measured once more.  Returns the exit status."""
    baseline = json.loads(BASELINE.read_text(encoding="utf-8"))
    found = measure(lambda _: None)
    if any(verdict.failed for verdict in judge(baseline, found)):
        console.print("a layer looks dearer; measuring again")
        again = measure(lambda _: None)
        found = {
            workload: {layer: min(cost, again[workload][layer]) for layer, cost in row.items()}
            for workload, row in found.items()
        }
    verdicts = judge(baseline, found)
    table = Table(title="Cost of an event by layer, in calibration rounds", title_justify="left")
    table.add_column("workload")
    table.add_column("layer")
    for column in ("baseline", "now", "change"):
        table.add_column(column, justify="right")
    for verdict in verdicts:
        table.add_row(
            verdict.workload,
            verdict.layer,
            f"{verdict.baseline:.3f}",
            f"{verdict.found:.3f}",
            f"{(verdict.change - 1) * 100:+.0f} %" + (" FAILED" if verdict.failed else ""),
        )
    console.print(table)
    dearer = [f"{verdict.layer} ({verdict.workload})" for verdict in verdicts if verdict.failed]
    if dearer:
        console.print(f"dearer by more than {(TOLERANCE - 1) * 100:.0f} %: {', '.join(dearer)}")
        return 1
    console.print("every layer is within its bound")
    return 0


def store(console: Console) -> None:
    """Make what is measured now the baseline."""
    found = {
        workload: {layer: round(cost, 4) for layer, cost in row.items()}
        for workload, row in measure(lambda _: None, rounds=2 * ROUNDS).items()
    }
    BASELINE.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    console.print(f"stored {BASELINE.name}")
