"""What the server sends, and how much of it.

A workload is a sequence of units; a unit is one whole response with its envelope.  A subject asks
for as many units as keep it busy for about as long as the others.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import attrs

from . import frames, trace
from .frames import AUDIO, TEXT, TRANSCRIPT, Frame

DELTAS = 200  # a response: some ten seconds of speech


@attrs.frozen(kw_only=True)
class Workload:
    """`text` and `audio` are what one unit carries: characters of text and bytes of PCM.

    They are None where it depends on the client's speed what its user gets of them, because an
    interruption drops what was not read.  A unit ends `responses` responses.  `modality` is what
    sessions are configured for; `secure`: over TLS.
    """

    name: str
    title: str
    unit: tuple[bytes, ...]
    text: int | None
    audio: int | None
    responses: int = 1
    modality: str = "audio"
    secure: bool = False
    units_limit: int = 4096

    @property
    def events(self) -> int:
        """Frames of a unit."""
        return len(self.unit)

    @property
    def size(self) -> int:
        """Bytes of a unit, without WebSocket headers."""
        return sum(map(len, self.unit))

    @property
    def parts(self) -> int:
        """Messages and tool calls of the model's in a unit."""
        return sum(b'"response.output_item.done"' in frame[:60] for frame in self.unit)

    def messages(self, units: int) -> Iterator[bytes]:
        """The frames of that many units, each with ids of its own."""
        number = itertools.count()
        for unit in range(units):
            ids = [
                (b"@RESPONSE@", b"%012d" % unit),
                (b"@ITEM@", b"%012d" % (unit + 1)),
                (b"@PREVIOUS@", b"%012d" % unit),
            ]
            for template in self.unit:
                head, _, tail = template.partition(b"@EVENT@")
                tail = _filled(tail, ids)
                yield head + b"%016d" % next(number) + tail


def _filled(text: bytes, ids: list[tuple[bytes, bytes]]) -> bytes:
    # A delta's ids stand at its front; what follows, audio above all, is not searched.
    front, rest = text[:400], text[400:]
    if b'"delta"' not in front:
        front, rest = text, b""
    for placeholder, value in ids:
        front = front.replace(placeholder, value)
    return front + rest


def _workload(name: str, title: str, unit: list[Frame], *, modality: str = "audio") -> Workload:
    def total(kind: str) -> int:
        return sum(len(frame["delta"]) for frame in unit if frame["type"] == kind)

    return Workload(
        name=name,
        title=title,
        unit=tuple(map(frames.dump, unit)),
        text=total(TEXT) + total(TRANSCRIPT),
        audio=total(AUDIO) * 3 // 4,
        modality=modality,
    )


def _answers(
    name: str, title: str, kinds: list[tuple[str, str]], *, deltas: int = DELTAS
) -> Workload:
    answer = list(itertools.islice(itertools.cycle(kinds), deltas))
    modality = "text" if kinds[0][0] == TEXT else "audio"
    return _workload(name, title, frames.answer(answer), modality=modality)


def _audio(kib: int) -> Workload:
    delta = (AUDIO, frames.speech(kib * 1024))
    return _answers(f"audio-{kib}k", f"audio deltas of {kib} KiB base64", [delta])


def long_answer(deltas: int) -> Workload:
    """One response of that many spoken-transcript deltas."""
    return _answers(
        f"{deltas} deltas", "one long answer", [(TRANSCRIPT, frames.WORDS)], deltas=deltas
    )


def short_answer() -> Workload:
    """A response of twenty spoken-transcript deltas, to be had many times in one conversation."""
    return _answers("20 deltas", "a turn", [(TRANSCRIPT, frames.WORDS)], deltas=20)


def receipt() -> Workload:
    """A response that says nothing: what was sent has arrived."""
    created, *_, done = frames.answer([(TRANSCRIPT, "")])
    return _workload("receipt", "an answer of two frames", [created, done])


MIX = [
    (TRANSCRIPT, " the"),
    (AUDIO, frames.speech(8192)),
    (TRANSCRIPT, " quick"),
    (TRANSCRIPT, " brown"),
    (AUDIO, frames.speech(8192)),
]


def _over_tls(workload: Workload) -> Workload:
    return attrs.evolve(
        workload, name=f"{workload.name}-tls", title=f"{workload.title}, over TLS", secure=True
    )


def _conversation() -> Workload:
    return Workload(
        name="session",
        title="a recorded conversation: spoken turns, a tool call, a barge-in",
        unit=trace.unit(),
        text=None,
        audio=None,
        responses=sum(b'"response.done"' in frame[:40] for frame in trace.unit()),
    )


WORKLOADS: dict[str, Workload] = {
    workload.name: workload
    for workload in [
        _answers("text", "small text deltas, some 300 B", [(TEXT, frames.WORDS)]),
        _answers("transcript", "spoken-transcript deltas", [(TRANSCRIPT, frames.WORDS)]),
        _answers(
            "mix",
            "a spoken answer: 3 transcript deltas for 2 audio deltas of 8 KiB, and its envelope",
            MIX,
        ),
        _audio(4),
        _audio(8),
        _audio(20),
        _workload(
            "tools", "bursts of 4 tool calls, 10 argument deltas each", frames.tool_burst(4, 10)
        ),
        _conversation(),
        _over_tls(_answers("mix", "a spoken answer", MIX)),
    ]
}
