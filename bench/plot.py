"""The pictures of a run, as SVG: rates of all subjects, our time by layer, and how costs grow."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from . import svg
from .layers import LAYERS
from .png import png
from .stats import spread
from .targets import Results

BAR, GAP, LABEL = 18, 6, 190
COLOURS = {"meerkat": "#b3541e", "floor": "#888888"}
OTHER = "#4a78a8"
STACK = {
    "socket": "#9a9a9a",
    "transport": "#4a78a8",
    "decode": "#6aa56a",
    "dialect": "#a9cf8f",
    "machine": "#b3541e",
    "transcript": "#d9a441",
    "lane": "#7d5ba6",
    "rest": "#d5d5d5",
}
LINES = ("#b3541e", "#4a78a8", "#6aa56a", "#d9a441", "#7d5ba6", "#888888", "#333333")


def rates(results: Results) -> str:
    """Bars of events a second of one core, on a logarithmic scale."""
    charts = {
        workload: {
            subject: 1e6 / spread(samples["cpu"]).median
            for subject, samples in row.items()
            if samples["cpu"] and subject != "drain"
        }
        for workload, row in results["throughput"].items()
    }
    found = [rate for chart in charts.values() for rate in chart.values()]
    low = 10 ** math.floor(math.log10(min(found)))
    span = math.log10(max(found) * 1.6) - math.log10(low)
    room = svg.WIDTH - LABEL - 90
    body: list[str] = []
    y = 34
    for workload, chart in charts.items():
        body.append(svg.text(12, y, workload, weight="bold"))
        y += 12
        for subject, rate in sorted(chart.items(), key=lambda entry: -entry[1]):
            length = (math.log10(rate) - math.log10(low)) / span * room
            colour = next((c for name, c in COLOURS.items() if subject.startswith(name)), OTHER)
            body.append(svg.text(LABEL - 8, y + 13, subject, anchor="end"))
            body.append(svg.bar(LABEL, y, length, BAR, colour))
            body.append(svg.text(LABEL + length + 6, y + 13, f"{rate:,.0f}"))
            y += BAR + GAP
        y += 26
    title = f"Events a second of one core (logarithmic), {results['date'][:10]}"
    return svg.picture(y, title, body)


def stacked(results: Results) -> dict[str, dict[str, float]]:
    """Where the microseconds of one event go, by workload and layer.

    `socket` is what reading and throwing away costs; `rest` what the whole costs beside its parts:
    Trio, the steps between the layers, and the application's own loop.  Both are missing where the
    layers alone were measured.
    """
    found = {}
    for workload, layers in results["layers"].items():
        row = results["throughput"].get(workload, {})
        parts = {
            "socket": row.get("drain", {}).get("cpu"),
            **{name: layers[name] for name in LAYERS},
        }
        # What is a difference may be a little less than nothing.
        stack = {name: max(0.0, spread(values).median) for name, values in parts.items() if values}
        whole = row.get("meerkat", {}).get("cpu")
        if whole:
            stack["rest"] = max(0.0, spread(whole).median - sum(stack.values()))
        found[workload] = stack
    return found


def layers(results: Results) -> str:
    """The same as stacked bars."""
    stacks = stacked(results)
    longest = max(sum(stack.values()) for stack in stacks.values())
    room = svg.WIDTH - LABEL - 60
    body: list[str] = []
    x = float(LABEL)
    for name, colour in STACK.items():
        body.append(svg.bar(x, 28, 12, 12, colour))
        body.append(svg.text(x + 16, 38, name))
        x += 30 + 7 * len(name)
    y = 54
    for workload, stack in stacks.items():
        body.append(svg.text(LABEL - 8, y + 15, workload, anchor="end"))
        x = float(LABEL)
        for name, colour in STACK.items():
            width = stack.get(name, 0.0) / longest * room
            body.append(svg.bar(x, y, width, 22, colour))
            if width > 30:
                body.append(svg.text(x + width / 2, y + 15, f"{stack[name]:.1f}", anchor="middle"))
            x += width
        body.append(svg.text(x + 6, y + 15, f"{sum(stack.values()):.1f}", weight="bold"))
        y += 30
    title = f"CPU microseconds of one event in this runtime, by layer, {results['date'][:10]}"
    return svg.picture(y + 8, title, body)


def growth(results: Results) -> str:
    """Lines of the cost of an event: by the length of an answer, of a conversation, by sessions."""
    charts: list[tuple[str, dict[str, dict[int, list[float]]]]] = [
        ("deltas of one answer", results["growth"]["answer"]),
        ("answers of one conversation", results["growth"]["conversation"]),
        ("sessions at once, paced", _by_sessions(results)),
    ]
    body: list[str] = []
    y = 30.0
    for title, chart in charts:
        if chart:
            body += _chart(title, chart, y)
            y += 190
    return svg.picture(y, "CPU microseconds of one event, by length (both logarithmic)", body)


def _by_sessions(results: Results) -> dict[str, dict[int, list[float]]]:
    found: dict[str, dict[int, list[float]]] = {}
    for scenario, row in results.get("paced", {}).items():
        if scenario.endswith("/s"):
            for subject, measured in row.items():
                sessions = int(scenario.split()[0])
                found.setdefault(subject, {})[sessions] = measured["cpu_us"]
    return found


def _chart(title: str, chart: dict[str, dict[Any, list[float]]], top: float) -> list[str]:
    points = {
        subject: [
            (int(length), spread(values).median)
            for length, values in chart[subject].items()
            if values
        ]
        for subject in sorted(chart, key=lambda subject: subject != "meerkat")  # the same colour
    }
    words = {
        subject: f"{subject} " + " / ".join(f"{cost:.3g}" for _, cost in row)
        for subject, row in points.items()
    }
    lengths = sorted({length for row in points.values() for length, _ in row})
    costs = [cost for row in points.values() for _, cost in row]
    left, height = 60.0, 130.0
    width = svg.WIDTH - left - 50 - 7 * max(map(len, words.values()))
    low, high = math.log10(min(costs) * 0.8), math.log10(max(costs) * 1.25)
    first = math.log10(lengths[0])
    across = max(math.log10(lengths[-1]) - first, 1e-9)

    def place(length: int, cost: float) -> tuple[float, float]:
        x = left + (math.log10(length) - first) / across * width
        return x, top + 18 + height * (1 - (math.log10(cost) - low) / (high - low))

    body = [svg.text(12, top + 8, title, weight="bold")]
    body += [
        svg.text(place(length, 1)[0], top + height + 34, f"{length:,}", anchor="middle")
        for length in lengths
    ]
    for number, (subject, row) in enumerate(points.items()):
        colour = LINES[number % len(LINES)]
        body.append(svg.line([place(*point) for point in row], colour))
        y = top + 24 + 16 * number
        body.append(svg.bar(left + width + 24, y, 10, 10, colour))
        body.append(svg.text(left + width + 40, y + 9, words[subject]))
    return body


SUFFIXES = (".svg", ".png")


def write(results: Results, path: Path) -> None:
    """Write the picture of the rates, as what the name ends in.

    Raises:
        ValueError: that is none of `SUFFIXES`.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path.name}: pictures are SVG or PNG: end the name in .svg or .png")
    drawn = rates(results)
    path.write_bytes(png(drawn) if path.suffix == ".png" else drawn.encode())
