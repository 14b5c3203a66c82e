"""A kept run into the documents: tables between their marks, and the pictures beside them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from . import plot, report, targets
from .stats import spread
from .targets import Results, cost_ratio
from .workloads import WORKLOADS

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
ROOM = HERE / "README.md"
BEGIN, END = "<!-- bench: {} -->", "<!-- bench: end -->"
PICTURES = {"rates": plot.rates, "layers": plot.layers, "growth": plot.growth}


def publish(results: Results) -> list[Path]:
    """Write everything; returns the files.

    Raises:
        ValueError: a document lacks the marks between which a table goes, or the run a part.
    """
    for part in ("throughput", "layers", "growth", "outbound", "costs", "paced"):
        if not results.get(part):
            raise ValueError(f"the run holds no {part}: it has to be a whole one")
    written = []
    for name, draw in PICTURES.items():
        path = HERE / f"{name}.svg"
        path.write_text(draw(results), encoding="utf-8")
        written.append(path)
    for document, tables in [
        (README, {"summary": summary(results)}),
        (
            ROOM,
            {
                "rates": rates(results),
                "layers": layers(results),
                "growth": growth(results),
                "costs": costs(results),
                "targets": checked(results),
            },
        ),
    ]:
        text = document.read_text(encoding="utf-8")
        for name, table in tables.items():
            text = _put(text, name, table)
        document.write_text(text, encoding="utf-8")
        written.append(document)
    return written


def _put(document: str, name: str, table: str) -> str:
    begin = BEGIN.format(name)
    head, found, rest = document.partition(begin)
    _, ended, tail = rest.partition(END)
    if not (found and ended):
        raise ValueError(f"there is no place for {begin!r}")
    return f"{head}{begin}\n{table}\n{END}{tail}"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    cells = [list(head), *map(list, rows)]
    ruler = ["---", *("--:" for _ in cells[0][1:])]
    return "\n".join("| " + " | ".join(row) + " |" for row in [cells[0], ruler, *cells[1:]])


def when(results: Results) -> str:
    """The date and the machine."""
    return f"Measured {results['date'][:10]} on {results['machine']}, with `python -m bench`."


def summary(results: Results) -> str:
    """Events a second of one core, and how many times as many we deliver."""
    names = list(results["throughput"])
    subjects = list(dict.fromkeys(name for row in results["throughput"].values() for name in row))
    rows = []
    for subject in subjects:
        if subject == "drain":
            continue
        row = [f"**{subject}**" if subject.startswith("meerkat") else subject]
        for name in names:
            samples = results["throughput"][name].get(subject)
            if not samples or not samples["cpu"]:
                row.append("-")
                continue
            shown = f"{1e6 / spread(samples['cpu']).median:,.0f}"
            if not subject.startswith("meerkat"):
                shown += f" ({cost_ratio(results, name, subject)})"
            row.append(shown)
        rows.append(row)
    found = targets.check(results)
    line, _ = targets.verdict(found)
    head = ["events a second of one core (ours is so many times as fast)", *names]
    return f"{when(results)}\n\n{_table(head, rows)}\n\nOf the targets: {line}."


def rates(results: Results) -> str:
    """CPU microseconds an event, with the spread, and what each user gets."""
    parts = [when(results)]
    for name, row in results["throughput"].items():
        rows = [
            [
                subject,
                str(spread(samples["cpu"])) if samples["cpu"] else samples["failed"][:60],
                f"{spread(samples['rate']).median:,.0f}" if samples["rate"] else "",
                report.ours_is(results, name, subject),
                results["notes"].get(subject, ""),
            ]
            for subject, samples in row.items()
        ]
        head = ["subject", "CPU us/event", "events/s by the clock", "ours is", "its user gets"]
        parts.append(f"**{name}**: {WORKLOADS[name].title}\n\n{_table(head, rows)}")
        parts += [f"({note}.)" for note in report.notes(name, row, results)]
    parts += [f"Missing: {subject}: {why}." for subject, why in results["missing"].items()]
    versions = ", ".join(
        f"{name} {version}"
        for subject, found in results["versions"].items()
        if not subject.startswith("meerkat-")
        for name, version in found.items()
    )
    return "\n\n".join([*parts, f"Versions: {versions}."])


def layers(results: Results) -> str:
    """Where the time of an event goes."""
    stacks = plot.stacked(results)
    rows = [
        [
            name,
            *(f"{stack[layer]:.2f}" if layer in stack else "-" for layer in plot.STACK),
            f"{sum(stack.values()):.2f}",
        ]
        for name, stack in stacks.items()
    ]
    return _table(["CPU us/event", *plot.STACK, "whole"], rows)


def growth(results: Results) -> str:
    """How costs grow with lengths."""
    parts = []
    for title, chart in [
        ("deltas of one answer", results["growth"]["answer"]),
        ("answers of one conversation", results["growth"]["conversation"]),
    ]:
        lengths = sorted({int(length) for row in chart.values() for length in row})
        rows = []
        for subject, row in chart.items():
            known = {int(length): values for length, values in row.items()}
            costs = [known.get(length) for length in lengths]
            rows.append(
                [subject, *(f"{spread(cost).median:.3g}" if cost else "-" for cost in costs)]
            )
        head = [f"CPU us/event by {title}", *(f"{length:,}" for length in lengths)]
        parts.append(_table(head, rows))
    parts.append(_table(report.PACED_HEAD, report.paced_rows(results)))
    return "\n\n".join([*parts, *(f"({note}.)" for note in report.paced_notes(results))])


def costs(results: Results) -> str:
    """Microphone audio, and what a session costs besides events."""
    head = ["microphone audio, CPU us/chunk", *results["outbound"], "how"]
    spoken = _table(head, report.outbound_rows(results))
    return spoken + "\n\n" + _table(["what", "found"], report.cost_rows(results))


def checked(results: Results) -> str:
    """The targets, and whether they hold."""
    marks = {True: "yes", False: "no", None: "cannot be told"}
    rows = [[t.measure, t.bound, t.found, marks[t.holds]] for t in targets.check(results)]
    return _table(["measure", "target", "found", "holds"], rows)
