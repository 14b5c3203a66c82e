"""Our runtime, whole, read by batches: all events that wait, in one read."""

from __future__ import annotations

import trio

from meerkat_rt import events

from . import Tally, meerkat

NAME = "meerkat-batches"
TITLE = "meerkat-rt, next_events()"
PACKAGES = meerkat.PACKAGES
NOTE = "as meerkat, all events that wait in one read: `next_events()` instead of `async for`"


def run(url: str, units: int, modality: str) -> Tally:
    """Receive that many units."""
    return trio.run(_receive, url, units, modality)


async def _receive(url: str, units: int, modality: str) -> Tally:
    tally = Tally(units)
    async with meerkat.opening(url, units, modality, {}) as session:
        tally.start()
        await session.create_response()
        while batch := await session.next_events():
            for event in batch:
                match event:
                    case (
                        events.OutputAudioTranscriptDeltaForItem() | events.OutputTextDeltaForItem()
                    ):
                        tally.text += len(event.delta)
                    case events.OutputAudioChunk():
                        tally.audio += len(event.chunk.data)
                    case events.TurnCompleted():
                        if tally.response():
                            return tally
    return tally
