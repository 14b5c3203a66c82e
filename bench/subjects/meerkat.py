"""Our runtime, whole: `open_session`, events of the session."""

from __future__ import annotations

from typing import Any

import trio

from meerkat_rt import (
    OpenAIRealtime,
    RealtimeConfig,
    RealtimeSessionOpenConfig,
    RealtimeTurningMode,
    ResponseModality,
    SessionLlmIdentity,
    events,
    open_session,
)

from . import Tally

NAME = "meerkat"
TITLE = "meerkat-rt"
PACKAGES = ("meerkat-rt", "trio", "websockets", "msgspec")
NOTE = "a typed event; audio decoded; keeps the canonical transcript and what was heard"
SPEAKING = "a bounded lane that ages audio and that an interruption overtakes; a task writes"


def run(url: str, units: int, modality: str, **options) -> Tally:
    """Receive that many units."""
    return trio.run(receive, url, units, modality, options)


def opening(url: str, units: int, modality: str, options: dict) -> Any:
    """The session, to be entered."""
    connector = options.get("connector", "websockets")
    store = options["store"]() if "store" in options else None
    provider = OpenAIRealtime(
        api_key="bench",
        base_url=url,
        config=RealtimeConfig(modalities=(ResponseModality(modality),)),
        connector=connector,
    )
    config = RealtimeSessionOpenConfig(
        RealtimeTurningMode.PROVIDER_MANAGED, SessionLlmIdentity(model=f"bench-{units}")
    )
    return open_session(config, provider=provider, store=store)


async def receive(url: str, units: int, modality: str, options: dict) -> Tally:
    """The application."""
    tally = Tally(units)
    async with opening(url, units, modality, options) as session:
        tally.start()
        await session.create_response()
        async for event in session:
            match event:
                case events.OutputAudioTranscriptDeltaForItem() | events.OutputTextDeltaForItem():
                    tally.text += len(event.delta)
                case events.OutputAudioChunk():
                    tally.audio += len(event.chunk.data)
                case events.TurnCompleted():
                    if tally.response():
                        break
    return tally


def speak(url: str, chunks: int, data: bytes, pause: float, connector: str = "websockets") -> Tally:
    """Send that much speech, a chunk a call."""
    return trio.run(_speak, url, chunks, data, pause, connector)


async def _speak(url: str, chunks: int, data: bytes, pause: float, connector: str) -> Tally:
    tally = Tally(1)
    provider = OpenAIRealtime(api_key="bench", base_url=url, connector=connector)
    config = RealtimeSessionOpenConfig(
        RealtimeTurningMode.PROVIDER_MANAGED, SessionLlmIdentity(model="bench-1")
    )
    async with open_session(config, provider=provider) as session:
        tally.start()
        for _ in range(chunks):
            if await session.send_audio(data):
                raise RuntimeError("the microphone's lane dropped audio")
            if pause:
                await trio.sleep(pause)
        await session.commit_audio()
        async for event in session:
            if isinstance(event, events.TurnCommitted):
                tally.stop()
                return tally
    raise RuntimeError("the session ended first")
