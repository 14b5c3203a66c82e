"""Tables for people."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from . import pacing
from .layers import LAYERS
from .stats import ratio, spread
from .targets import Results, Target, cost_ratio
from .workloads import WORKLOADS

PACE = 0.95  # of the pace; a server that is slower than that says so
SERVER_LIMIT = 0.8  # of what the server can deliver: past that, it may be what is measured


def throughput(console: Console, results: Results) -> None:
    """Events a second, workload by workload."""
    for name, row in results["throughput"].items():
        table = Table(title=f"{name}: {WORKLOADS[name].title}", title_justify="left")
        table.add_column("subject")
        for column in ("events/s of one core", "CPU us/event", "events/s by the clock", "ours is"):
            table.add_column(column, justify="right")
        for subject, samples in row.items():
            if samples["failed"]:
                table.add_row(subject, samples["failed"][:70])
                continue
            cpu, rate = spread(samples["cpu"]), spread(samples["rate"])
            table.add_row(
                subject,
                f"{1e6 / cpu.median:,.0f}",
                str(cpu),
                f"{rate.median:,.0f}",
                ours_is(results, name, subject),
            )
        console.print(table)
        for note in notes(name, row, results):
            console.print(f"  {note}", highlight=False)
    for subject, why in results["missing"].items():
        console.print(f"  missing: {subject}: {why}")


def ours_is(results: Results, workload: str, subject: str) -> str:
    """How many times as fast we are; nothing beside ourselves, and what is no client."""
    if subject in ("meerkat", "drain"):
        return ""
    return str(cost_ratio(results, workload, subject))


def notes(workload: str, row: dict[str, Any], results: Results) -> list[str]:
    """Refused ratios, and a server that could not keep up."""
    found = []
    for subject in row:
        compared = cost_ratio(results, workload, subject)
        if compared.value is None and subject != "drain" and not row[subject]["failed"]:
            found.append(f"no ratio to {subject}: {compared.refused}")
    drain = row.get("drain", {"rate": []})["rate"]
    for subject, samples in row.items():
        if subject != "drain" and drain and samples["rate"]:
            share = ratio(samples["rate"], drain)
            if share.value is not None and share.value.median > SERVER_LIMIT:
                found.append(f"the server, not {subject}, may be what the clock measured")
    return found


def subjects(console: Console, results: Results) -> None:
    """Who was measured, and what its user gets."""
    table = Table(title="What each subject hands to its user", title_justify="left")
    for column in ("subject", "version", "what its user gets"):
        table.add_column(column)
    for subject, versions in results["versions"].items():
        shown = ", ".join(f"{name} {version}" for name, version in versions.items())
        table.add_row(subject, shown, results["notes"].get(subject, ""))
    console.print(table)


def layers(console: Console, results: Results) -> None:
    """Where the time of one event goes."""
    table = Table(title="Our layers alone, CPU us/event", title_justify="left")
    table.add_column("workload")
    for name in (*LAYERS, "sum", "whole", "calibration round"):
        table.add_column(name, justify="right")
    for workload, found in results["layers"].items():
        cells = [max(0.0, spread(found[name]).median) for name in LAYERS]
        whole = results.get("throughput", {}).get(workload, {}).get("meerkat", {}).get("cpu")
        table.add_row(
            workload,
            *(f"{cell:.2f}" for cell in cells),
            f"{sum(cells):.2f}",
            f"{spread(whole).median:.2f}" if whole else "",
            f"{spread(found['calibration']).median:.2f}",
        )
    console.print(table)


def costs(console: Console, results: Results) -> None:
    """Everything that is no event."""
    table = Table(title="Other costs (transport in memory)", title_justify="left")
    table.add_column("what")
    table.add_column("found")
    for row in cost_rows(results):
        table.add_row(*row)
    console.print(table)


def cost_rows(results: Results) -> Iterator[list[str]]:
    """What was measured, and what was found: the median, and its spread if there is one."""
    for name, found in results["costs"].items():
        cells = [
            f"{key} {spread(values) if len(values) > 1 else format(values[0], ',.4g')}"
            for key, values in found.items()
        ]
        yield [name, ", ".join(cells)]


def paced(console: Console, results: Results) -> None:
    """Latency and CPU at the pace of a conversation."""
    table = Table(title="Paced delivery", title_justify="left")
    for number, column in enumerate(PACED_HEAD):
        table.add_column(column, justify="right" if number > 1 else "left")
    for row in paced_rows(results):
        table.add_row(*row)
    console.print(table)
    for note in paced_notes(results):
        console.print(f"  {note}", highlight=False)


PACED_HEAD = ("sessions x rate", "subject", "CPU us/event", "p50 us", "p99 us", "set aside")


def paced_rows(results: Results) -> Iterator[list[str]]:
    """Scenario, subject and figures; those are of the turns that tell them."""
    for scenario, row in results["paced"].items():
        for subject, found in row.items():
            cells = []
            for what in ("cpu_us", "p50_us", "p99_us"):
                known = [value for value in pacing.told(found, what) if value is not None]
                cells.append(str(spread(known)) if known else "-")
            yield [scenario, subject, *cells, f"{spread(found['aside']).median:.0%}"]


def paced_notes(results: Results) -> Iterator[str]:
    """A server that could not keep its pace."""
    for scenario, row in results["paced"].items():
        sessions, rate, *_ = pacing.SCENARIOS[scenario]
        for subject, found in row.items():
            sent = spread(found["rate"]).median
            if sent < PACE * sessions * rate:
                yield (
                    f"{scenario}: the server sent {subject} {sent:,.0f} events a second instead of "
                    f"{sessions * rate:,.0f}"
                )


def growth(console: Console, results: Results) -> None:
    """The cost of an event by the length of an answer and of a conversation."""
    for axis, what in [("answer", "deltas of one answer"), ("conversation", "answers")]:
        chart = results["growth"][axis]
        lengths = sorted({int(length) for row in chart.values() for length in row})
        table = Table(title=f"CPU us/event by {what}", title_justify="left")
        table.add_column("subject")
        for length in lengths:
            table.add_column(f"{length:,}", justify="right")
        for subject, row in chart.items():
            known = {int(length): values for length, values in row.items()}
            cells = [str(spread(known[at])) if at in known else "-" for at in lengths]
            table.add_row(subject, *cells)
        console.print(table)


def outbound(console: Console, results: Results) -> None:
    """Microphone audio on its way out."""
    table = Table(title="Microphone audio, CPU us/chunk", title_justify="left")
    table.add_column("subject")
    for manner in results["outbound"]:
        table.add_column(manner, justify="right")
    table.add_column("how")
    for row in outbound_rows(results):
        table.add_row(*row)
    console.print(table)


def outbound_rows(results: Results) -> Iterator[list[str]]:
    """Subject, what a chunk costs it in each manner of speaking, and what a call does."""
    found = results["outbound"]
    for subject in dict.fromkeys(name for row in found.values() for name in row):
        cells = [str(spread(row[subject])) if subject in row else "-" for row in found.values()]
        yield [subject, *cells, results["speaking"].get(subject, "")]


def targets(console: Console, found: list[Target]) -> None:
    """The targets and what was found."""
    table = Table(title="Targets, by CPU time", title_justify="left")
    for column in ("measure", "target", "found", "holds"):
        table.add_column(column)
    for target in found:
        mark = {True: "yes", False: "NO", None: "cannot be told"}[target.holds]
        table.add_row(target.measure, target.bound, target.found, mark)
    console.print(table)


def compare(console: Console, old: Path, new: Path) -> None:
    """Two runs side by side: CPU an event, and the ratio to the floor, which outlives a machine."""
    before, after = (json.loads(path.read_text(encoding="utf-8")) for path in (old, new))
    table = Table(title=f"{old.name} -> {new.name}", title_justify="left")
    for column in ("workload", "subject", "CPU us before", "after", "change", "of the floor"):
        table.add_column(column, justify="left" if column in ("workload", "subject") else "right")
    for workload, row in after["throughput"].items():
        for subject, samples in row.items():
            earlier = before["throughput"].get(workload, {}).get(subject)
            if not samples["cpu"] or not earlier or not earlier["cpu"]:
                continue
            was, now = spread(earlier["cpu"]).median, spread(samples["cpu"]).median
            floors = [cost_ratio(run, workload, "floor", subject) for run in (before, after)]
            table.add_row(
                workload,
                subject,
                f"{was:.2f}",
                f"{now:.2f}",
                f"{(now / was - 1) * 100:+.0f} %",
                " -> ".join(map(str, floors)),
            )
    console.print(table)


def note_of(module: str, name: str = "NOTE") -> str:
    """What a subject's module says of itself under that name; read without importing it."""
    path = Path(__file__).parent / "subjects" / f"{module}.py"
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{name} = "):
            return line.removeprefix(f"{name} = ").strip('"')
    return ""
