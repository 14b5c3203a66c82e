"""Frames of Gemini Live: a spoken answer, for what our layers cost with that dialect.

The same words and sound as in the workload `mix`, without ids, of which this protocol has none.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from .frames import AUDIO, Frame, dump
from .workloads import DELTAS, MIX

WORKLOAD = "mix-gemini"
TITLE = "the same answer from Gemini"
_USAGE = {"promptTokenCount": 30, "responseTokenCount": 200, "totalTokenCount": 230}


def _content(**fields: object) -> Frame:
    return {"serverContent": fields}


def _delta(kind: str, piece: str) -> Frame:
    if kind != AUDIO:
        return _content(outputTranscription={"text": piece})
    audio = {"mimeType": "audio/pcm;rate=24000", "data": piece}
    return _content(modelTurn={"role": "model", "parts": [{"inlineData": audio}]})


def messages(units: int) -> Iterator[bytes]:
    """The frames of that many answers."""
    answer = [
        *(_delta(kind, piece) for kind, piece in itertools.islice(itertools.cycle(MIX), DELTAS)),
        _content(generationComplete=True),
        {**_content(turnComplete=True), "usageMetadata": _USAGE},
    ]
    for _ in range(units):
        yield from map(dump, answer)
