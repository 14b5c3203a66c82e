"""A recording drawn: one lane for each thing that goes on in a session, as an SVG."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

import attrs

from ..model.events import ToolCallFinished
from ..turn import ports

if TYPE_CHECKING:
    from ..model.media import RealtimeAudioFormat
    from .replay import ReplayReport, Step

LANES: Final = {
    "user speech": "#2b6cb0",
    "audio generated": "#9f7aea",
    "audio heard": "#553c9a",
    "responses": "#2f855a",
    "tools": "#b7791f",
    "nudges": "#c05621",
    "interruptions": "#c53030",
    "wire bytes": "#4a5568",
}
"""The lanes from top to bottom, and their colours."""

_LEFT: Final = 130  # pixels for the names of the lanes
_WIDTH: Final = 1200  # pixels for the time
_LANE: Final = 46
_TOP: Final = 44
_BOTTOM: Final = 26
_JOIN: Final = 0.25  # seconds; audio that comes closer together is one bar
_BUCKETS: Final = 240  # of the wire's histogram
_FAINT: Final = 0.35
_MAX_BARS: Final = 4000  # of one lane; a picture with more shows nothing more

_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@attrs.define(kw_only=True)
class Bar:
    """Something that lasts from `start` to `end` (seconds); equal, they are a mark."""

    start: float
    end: float
    label: str = ""
    opacity: float = 1.0


@attrs.frozen(kw_only=True)
class Timeline:
    """What is drawn: bars by lane, and bytes (received, sent) by moment."""

    bars: dict[str, list[Bar]]
    wire: list[tuple[float, int, int]]
    length: float


class _Reader:
    """Takes steps in, and gathers what they mean for the picture."""

    def __init__(self, report: ReplayReport) -> None:
        settings = report.settings
        self.bars: dict[str, list[Bar]] = {lane: [] for lane in LANES}
        self.wire: list[tuple[float, int, int]] = []
        self._out = settings.output_format
        self._in: RealtimeAudioFormat | None = settings.capabilities.audio_input_format
        self._responses: dict[str, Bar] = {}
        self._calls: dict[str, Bar] = {}
        self._speech: Bar | None = None
        self._reports = any(step.method == "report_playback" for step in report.steps)
        self._reported: dict[object, int] = {}
        self._playing_until = 0.0
        self.now = 0.0

    def take(self, step: Step) -> None:
        """One step."""
        at, arguments = step.at, step.arguments
        self.now = at
        if step.method == "observe":
            self._observed(arguments.get("event"), at)
        elif step.method == "$wire":
            counts = (arguments.get("received", 0), arguments.get("sent", 0))
            self.wire.append((at, *counts))
        elif step.method == "audio_appended":
            seconds = 0.0 if self._in is None else arguments["n_bytes"] / self._in.bytes_per_second
            self._join("user speech", at, at + seconds, "microphone", _FAINT)
        elif step.method == "send_text":
            self._mark("user speech", at, "text")
        elif step.method == "audio_delivered" and not self._reports:
            start = max(at, self._playing_until)
            self._playing_until = start + arguments["n_bytes"] / self._out.bytes_per_second
            self._join("audio heard", start, self._playing_until, "estimated")
        elif step.method == "report_playback":
            self._reported_to(arguments, at)
        elif step.method in ("tool_returned", "submit_tool_result"):
            self._call_over(arguments["result"].tool_use_id, at, "result")
        elif step.method in ("tool_raised", "tool_stopped", "submit_tool_error"):
            self._call_over(arguments["call_id"], at, step.method.split("_")[1])
        elif step.method in ("link_lost", "close"):
            self._mark("interruptions", at, step.method.replace("_", " "))
        for event in step.events:
            if type(event) is ToolCallFinished:
                self._call_over(event.call_id, at, event.outcome.value)
        self._named(step, at)

    def _observed(self, event: object, at: float) -> None:
        if isinstance(event, ports.SpeechStarted):
            self._speech = self._add("user speech", at, at, "speech")
        elif isinstance(event, (ports.SpeechStopped, ports.InputCommitted)):
            if self._speech is not None:
                self._speech.end, self._speech = at, None
        elif isinstance(event, ports.AudioDelta):
            ms = self._out.duration_ms(len(event.data))
            self._join("audio generated", at, at, event.response_id, grow_ms=ms)
        elif isinstance(event, ports.ResponseBegan):
            self._responses[event.response_id] = self._add("responses", at, at, event.response_id)
        elif isinstance(event, ports.ToolCalled):
            self._called(event, at)
        elif isinstance(event, ports.ResponseEnded):
            for call in event.calls:
                self._called(call, at)
            bar = self._responses.pop(event.response_id, None)
            if bar is None:
                bar = self._add("responses", at, at, event.response_id)
            bar.end = at
            bar.label += f": {event.status.value}"
            bar.opacity = 1.0 if event.status is ports.ResponseStatus.COMPLETED else 0.55

    def _named(self, step: Step, at: float) -> None:
        for name in step.names:
            if name in ("Nudged", "Stalled"):
                self._mark("nudges", at, name.lower())
            elif name == "Interrupted":
                by = "interrupt()" if step.method == "interrupt" else "barge-in or cancel"
                self._mark("interruptions", at, by)
                self._silence(at)

    def _silence(self, at: float) -> None:
        self._playing_until = min(self._playing_until, at)
        heard = self.bars["audio heard"]
        while heard and heard[-1].start >= at:
            heard.pop()
        if heard:
            heard[-1].end = min(heard[-1].end, at)

    def _reported_to(self, arguments: dict[str, int], at: float) -> None:
        key = arguments["item_id"], arguments["content_index"]
        more = arguments["played_ms"] - self._reported.get(key, 0)
        if more > 0:
            self._reported[key] = arguments["played_ms"]
            self._join("audio heard", max(at - more / 1000, 0.0), at, "reported")

    def _called(self, call: ports.ToolCalled, at: float) -> None:
        if call.call_id not in self._calls:
            self._calls[call.call_id] = self._add("tools", at, math.inf, call.name)

    def _call_over(self, call_id: str, at: float, outcome: str) -> None:
        bar = self._calls.get(call_id)
        if bar is not None and bar.end == math.inf:
            bar.end = at
            bar.label += f": {outcome}"

    def _add(self, lane: str, start: float, end: float, label: str, opacity: float = 1.0) -> Bar:
        bar = Bar(start=start, end=end, label=label, opacity=opacity)
        self.bars[lane].append(bar)
        return bar

    def _mark(self, lane: str, at: float, label: str) -> None:
        self._add(lane, at, at, label)

    def _join(
        self,
        lane: str,
        start: float,
        end: float,
        label: str,
        opacity: float = 1.0,
        grow_ms: float = 0.0,
    ) -> None:
        last = next((bar for bar in reversed(self.bars[lane]) if bar.opacity == opacity), None)
        name = label if not grow_ms else f"{label}: {{}} ms"
        if (
            last is not None
            and last.end + _JOIN >= start
            and last.label.split(":")[0] == label
        ):  # fmt: skip
            last.end = max(last.end, end)
            if grow_ms:
                before = float(last.label.split(":")[-1].removesuffix("ms"))
                last.label = name.format(round(before + grow_ms))
        else:
            self._add(lane, start, end, name.format(round(grow_ms)), opacity)

    def over(self, report: ReplayReport) -> None:
        """The last step was taken: what is still open ends there."""
        for bar in self._calls.values():
            if bar.end == math.inf:
                bar.end = self.now
        for bar in self._responses.values():
            bar.end = self.now
        if self._speech is not None:
            self._speech.end = self.now
        if report.ended:
            self._silence(self.now)


def timeline(report: ReplayReport) -> Timeline:
    """What happened when, from the steps of a report."""
    reader = _Reader(report)
    for step in report.steps:
        reader.take(step)
    reader.over(report)
    ends = [bar.end for bars in reader.bars.values() for bar in bars]
    return Timeline(
        bars=reader.bars, wire=reader.wire, length=max([*ends, reader.now, 0.001])
    )  # fmt: skip


# ---------------------------------------------------------------- drawing


def to_svg(report: ReplayReport) -> str:
    """The timeline of a report as an SVG document.  Hovering shows what a bar is."""
    drawn = timeline(report)
    names = list(LANES)
    height = _TOP + _LANE * len(names) + _BOTTOM
    width = _LEFT + _WIDTH + 20
    scale = _WIDTH / drawn.length
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">',
        f"<title>{_text(f'A session of {drawn.length:.1f} s: {report.verdict.value}')}</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="10" y="20" font-size="13" fill="#1a202c">{_text(_headline(report))}</text>',
        *_axis(drawn.length, scale, height),
    ]
    for number, (lane, colour) in enumerate(LANES.items()):
        top = _TOP + number * _LANE
        parts += [
            f'<g id="{lane.replace(" ", "-")}">',
            f'<line x1="0" y1="{top}" x2="{width}" y2="{top}" stroke="#e2e8f0"/>',
            f'<text x="10" y="{top + _LANE / 2 + 4:g}" fill="{colour}" font-weight="bold">'
            f"{lane}</text>",
        ]
        if lane == "wire bytes":
            parts += _wire(drawn, scale, top, colour)
        parts += (_bar(bar, scale, top, colour) for bar in drawn.bars[lane][:_MAX_BARS])
        parts.append("</g>")
    if report.divergence is not None:
        x = _x(report.divergence.step.at, scale)
        parts.append(
            f'<g id="divergence"><line x1="{x}" y1="{_TOP - 8}" x2="{x}" y2="{height - _BOTTOM}" '
            f'stroke="#e53e3e" stroke-width="2" stroke-dasharray="5 3"/><text x="{x}" '
            f'y="{_TOP - 10}" fill="#e53e3e">diverged</text></g>'
        )
    parts.append("</svg>\n")
    return "\n".join(parts)


def _headline(report: ReplayReport) -> str:
    lost = f", {report.lost} before them are lost" if report.lost else ""
    return f"{len(report.steps)} records{lost}; replay: {report.verdict.value}"


def _x(at: float, scale: float) -> str:
    return f"{_LEFT + at * scale:.2f}"


def _text(text: str) -> str:
    return escape(_NOT_XML.sub("?", text))


def _axis(length: float, scale: float, height: float) -> list[str]:
    step = 10.0 ** math.floor(math.log10(length / 8))
    step *= next(factor for factor in (1, 2, 5, 10) if length / (step * factor) <= 12)
    digits = max(0, -math.floor(math.log10(step)))
    parts = ['<g id="axis" fill="#718096" stroke="none">']
    for count in range(int(length / step) + 1):
        x = _x(count * step, scale)
        parts.append(
            f'<line x1="{x}" y1="{_TOP}" x2="{x}" y2="{height - _BOTTOM}" stroke="#edf2f7"/>'
            f'<text x="{x}" y="{height - 10}" text-anchor="middle">{count * step:.{digits}f} s'
            "</text>"
        )
    return [*parts, "</g>"]


def _bar(bar: Bar, scale: float, top: float, colour: str) -> str:
    start, pixels = _LEFT + bar.start * scale, (bar.end - bar.start) * scale
    when = f"{bar.start:.3f} s" if bar.end <= bar.start else f"{bar.start:.3f} to {bar.end:.3f} s"
    title = f"<title>{_text(f'{bar.label} ({when})')}</title>"
    label = ""
    shown = int(max(pixels, 0) / 6.5)
    if bar.opacity != _FAINT and shown >= 4:
        label = (
            f'<text x="{start + 4:.2f}" y="{top + _LANE / 2 + 4:g}" fill="#ffffff" '
            f'pointer-events="none">{_text(bar.label[:shown])}</text>'
        )
    return (
        f'<g><rect x="{start:.2f}" y="{top + 10}" width="{max(pixels, 2):.2f}" '
        f'height="{_LANE - 20}" rx="2" fill="{colour}" fill-opacity="{bar.opacity:g}">{title}'
        f"</rect>{label}</g>"
    )


def _wire(drawn: Timeline, scale: float, top: float, colour: str) -> list[str]:
    """A histogram: received above the middle, sent below."""
    buckets: dict[int, list[int]] = {}
    for at, received, sent in drawn.wire:
        bucket = buckets.setdefault(min(int(at / drawn.length * _BUCKETS), _BUCKETS - 1), [0, 0])
        bucket[0] += received
        bucket[1] += sent
    most = max((max(bucket) for bucket in buckets.values()), default=1) or 1
    middle, half = top + _LANE / 2, _LANE / 2 - 3
    wide = _WIDTH / _BUCKETS
    parts = []
    for number, (received, sent) in sorted(buckets.items()):
        x = _LEFT + number * wide
        up, down = received / most * half, sent / most * half
        parts.append(
            f'<rect x="{x:.2f}" y="{middle - up:.2f}" width="{wide:.2f}" '
            f'height="{up + down:.2f}" fill="{colour}">'
            f"<title>{received} bytes received, {sent} sent</title></rect>"
        )
    return parts
