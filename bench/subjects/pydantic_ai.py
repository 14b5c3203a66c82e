"""`pydantic-ai`: `Agent.realtime(...).session()`, events of the session."""

from __future__ import annotations

import asyncio

from pydantic_ai import Agent
from pydantic_ai.messages import (
    FunctionToolResultEvent,
    PartDeltaEvent,
    PartEndEvent,
    SpeechPart,
    SpeechPartDelta,
    TextPart,
    TextPartDelta,
)
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.realtime import RealtimeTurnCompleteEvent
from pydantic_ai.realtime.openai import OpenAIRealtimeModel

from . import LAST_WORD, Tally

NAME = "pydantic-ai"
TITLE = "pydantic-ai, RealtimeSession"
PACKAGES = ("pydantic-ai-slim[openai,realtime]",)
NOTE = "part events; audio decoded; keeps a history; calls tools; drops the oldest of 512"
SPEAKING = "the call writes to the socket itself, under a lock; counts what the turn holds"


async def get_weather(city: str) -> str:
    """Tell the weather in a city."""
    return f"It is sunny in {city}."


async def lookup(query: str, days: int) -> str:
    """Look something up."""
    return f"{query}: {days}"


async def run(url: str, units: int, modality: str) -> Tally:
    """Receive that many units.

    Where tools are called it runs them and sends what comes of them, which is counted.  What the
    model says to that is not in a recorded answer, and so its turn does not end there: the last
    part of the answer does, be it a message or the outcome of a call.
    """
    tally = Tally(units)
    parts = calls = 0
    provider = OpenAIProvider(
        base_url=url.replace("ws", "http", 1).removesuffix("/realtime"), api_key="bench"
    )
    model = OpenAIRealtimeModel(
        f"bench-{units}", provider=provider, settings={"output_modality": modality}
    )
    async with Agent(tools=[get_weather, lookup]).realtime(model).session() as session:
        tally.start()
        await session.send("hello")
        async for event in session:
            if isinstance(event, PartDeltaEvent):
                delta = event.delta
                if isinstance(delta, TextPartDelta):
                    tally.text += len(delta.content_delta)
                elif isinstance(delta, SpeechPartDelta):
                    if delta.transcript_delta == LAST_WORD:
                        continue
                    tally.text += len(delta.transcript_delta or "")
                    tally.audio += len(delta.audio_chunk or b"")
            elif isinstance(event, FunctionToolResultEvent):
                parts += 1
                calls += 1
            elif isinstance(event, PartEndEvent):
                part = event.part
                spoken = isinstance(part, SpeechPart) and part.speaker == "assistant"
                if (spoken and part.transcript != LAST_WORD) or isinstance(part, TextPart):
                    parts += 1
            if parts >= tally.expected_parts and (
                calls or isinstance(event, RealtimeTurnCompleteEvent)
            ):
                tally.stop()
                break
    return tally


async def speak(url: str, chunks: int, data: bytes, pause: float) -> Tally:
    """Send that much speech, a chunk a call; an answer of two frames tells that it is there."""
    tally = Tally(1)
    provider = OpenAIProvider(
        base_url=url.replace("ws", "http", 1).removesuffix("/realtime"), api_key="bench"
    )
    model = OpenAIRealtimeModel("bench-1", provider=provider, settings={"turn_detection": False})
    async with Agent().realtime(model).session() as session:
        tally.start()
        for _ in range(chunks):
            await session.send_audio(data)
            if pause:
                await asyncio.sleep(pause)
        await session.commit_audio()
        await session.create_response()
        async for event in session:
            if isinstance(event, RealtimeTurnCompleteEvent):
                tally.stop()
                return tally
    raise RuntimeError("the session ended first")
