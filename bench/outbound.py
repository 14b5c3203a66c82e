"""Microphone audio on its way out: CPU of the client, a chunk.

From the application's call to the frame on the wire; until the server has confirmed all of it.
What a call has done when it returns differs; see `SPEAKING` of each subject.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from .crew import Crew, Worker, WorkerFailed
from .server import serving
from .workloads import receipt

ASKED = frozenset(
    {
        "meerkat",
        "meerkat-trio-websocket",
        "openai",
        "openai-agents",
        "livekit",
        "pydantic-ai",
        "pipecat",
    }
)

Found = dict[str, dict[str, list[float]]]
"""CPU microseconds a chunk, by the manner of speaking and subject."""


@attrs.frozen
class Speech:
    """Bytes of PCM in a chunk (24 kHz), seconds between two calls, and chunks of a measurement.

    Those are fewer than a microphone's lane holds while the server reads.
    """

    size: int
    pause: float = 0.0
    chunks: int = 400


LIVE = "20 ms, live"
SPEECH = {
    LIVE: Speech(
        960, pause=0.002, chunks=120
    ),  # a microphone is slower, and the wait costs the same
    "20 ms": Speech(960),
    "100 ms": Speech(4800),
    "200 ms": Speech(9600),
}
QUICK = (LIVE, "20 ms")


def run(
    crew: Crew,
    *,
    repetitions: int,
    step: Callable[[str], None],
    manners: tuple[str, ...] = tuple(SPEECH),
) -> Found:
    """Each manner of speaking, every subject in turn, `repetitions` times."""
    found: Found = {}
    with serving(receipt()) as url:
        for manner in manners:
            step(f"microphone: {manner}")
            ready = crew.of(ASKED)
            row: dict[str, list[float]] = {name: [] for name in ready}
            for repetition in range(repetitions + 1):
                for name in list(ready):
                    try:
                        cost = _cost(ready[name], url, SPEECH[manner])
                    except WorkerFailed:
                        del ready[name]
                        continue
                    if repetition:  # the first warms up
                        row[name].append(cost)
            found[manner] = {name: values for name, values in row.items() if values}
    return found


def _cost(worker: Worker, url: str, speech: Speech) -> float:
    answer = worker.speak(url, speech.chunks, speech.size, speech.pause)
    cpu: float = answer["cpu"]
    return cpu / speech.chunks * 1e6
