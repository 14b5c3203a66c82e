"""Microphone audio on its way out: CPU of the client, a chunk.

From the application's call to the frame on the wire; until the server has confirmed all of it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from .peers import SUBJECTS
from .server import serving
from .throughput import Throughput, WorkerFailed, started
from .workloads import WORKLOADS

LENGTHS = {"20 ms": 960, "100 ms": 4800, "200 ms": 9600}  # bytes of PCM at 24 kHz
CHUNKS = 400  # a measurement: fewer than a microphone's lane holds while the server reads
ASKED = frozenset({"meerkat", "meerkat-trio-websocket", "openai", "openai-agents"})
STEPS = len(LENGTHS)

Found = dict[str, dict[str, list[float]]]
"""CPU microseconds a chunk, by its length and subject."""


def run(where: Path, *, repetitions: int, step: Callable[[str], None]) -> Found:
    """Every length, every subject in turn, `repetitions` times."""
    found: Found = {}
    with ExitStack() as stack:
        asked = [subject for subject in SUBJECTS if subject.name in ASKED]
        ready = dict(started(asked, where, Throughput(), stack, None))
        for length, size in LENGTHS.items():
            step(f"microphone: {length}")
            row: dict[str, list[float]] = {name: [] for name in ready}
            with serving(WORKLOADS["text"]) as url:
                for repetition in range(repetitions + 1):
                    for name in list(ready):
                        try:
                            answer = ready[name].speak(url, CHUNKS, size)
                        except WorkerFailed:
                            del ready[name]
                            continue
                        if repetition:  # the first warms up
                            row[name].append(answer["cpu"] / CHUNKS * 1e6)
            found[length] = {name: values for name, values in row.items() if values}
    return found
