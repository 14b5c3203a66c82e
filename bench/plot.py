"""A picture of a run: bars of events a second of one core, on a logarithmic scale, as SVG."""

from __future__ import annotations

import math
from pathlib import Path
from xml.sax.saxutils import escape

from .stats import spread
from .targets import Results

WIDTH, BAR, GAP, LABEL = 860, 18, 6, 190
COLOURS = {"meerkat": "#b3541e", "floor": "#888888"}
OTHER = "#4a78a8"


def svg(results: Results) -> str:
    """The picture."""
    charts = {
        workload: {
            subject: 1e6 / spread(samples["cpu"]).median
            for subject, samples in row.items()
            if samples["cpu"] and subject != "drain"
        }
        for workload, row in results["throughput"].items()
    }
    rates = [rate for chart in charts.values() for rate in chart.values()]
    low = 10 ** math.floor(math.log10(min(rates)))
    span = math.log10(max(rates) * 1.6) - math.log10(low)
    room = WIDTH - LABEL - 90
    body: list[str] = []
    y = 34
    for workload, chart in charts.items():
        body.append(_text(12, y, workload, weight="bold"))
        y += 12
        for subject, rate in sorted(chart.items(), key=lambda entry: -entry[1]):
            length = (math.log10(rate) - math.log10(low)) / span * room
            colour = next((c for name, c in COLOURS.items() if subject.startswith(name)), OTHER)
            body.append(_text(LABEL - 8, y + 13, subject, anchor="end"))
            body.append(
                f'<rect x="{LABEL}" y="{y}" width="{length:.1f}" height="{BAR}" fill="{colour}"/>'
            )
            body.append(_text(LABEL + length + 6, y + 13, f"{rate:,.0f}"))
            y += BAR + GAP
        y += 26
    title = f"Events a second of one core (logarithmic), {results['date'][:10]}"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" '
            'font-family="sans-serif" font-size="12">',
            f'<rect width="{WIDTH}" height="{y}" fill="white"/>',
            _text(12, 16, title),
            *body,
            "</svg>\n",
        ]
    )


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal") -> str:
    return (
        f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}" font-weight="{weight}">'
        f"{escape(text)}</text>"
    )


def write(results: Results, path: Path) -> None:
    """Write the picture.

    Raises:
        ValueError: the name does not end in .svg.
    """
    if path.suffix != ".svg":
        raise ValueError(f"{path.name}: pictures are SVG, so the name ends in .svg")
    path.write_text(svg(results), encoding="utf-8")
