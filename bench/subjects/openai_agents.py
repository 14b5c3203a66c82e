"""`openai-agents`: `RealtimeSession`, events of the session."""

from __future__ import annotations

import asyncio

from agents import set_tracing_disabled
from agents.realtime import RealtimeAgent, RealtimeRunner

from . import Tally

NAME = "openai-agents"
TITLE = "openai-agents, RealtimeSession"
PACKAGES = ("openai-agents",)
NOTE = "session events beside the model's own; audio decoded; keeps a history"
SPEAKING = "the call writes to the socket itself, and does not yield while the kernel takes it"

set_tracing_disabled(True)


async def run(url: str, units: int, modality: str) -> Tally:
    """Receive that many units."""
    tally = Tally(units)
    runner = RealtimeRunner(RealtimeAgent(name="bench", instructions="Answer."))
    session = await runner.run(
        model_config={
            "api_key": "bench",
            "url": f"{url}?model=bench-{units}",
            "initial_model_settings": {"output_modalities": [modality]},
        }
    )
    async with session:
        tally.start()
        await session.send_message("hello")
        async for event in session:
            if event.type == "audio":
                tally.audio += len(event.audio.data)
            elif event.type == "raw_model_event":
                inner = event.data
                if inner.type == "transcript_delta":
                    tally.text += len(inner.delta)
                elif inner.type == "raw_server_event":
                    kind = inner.data["type"]
                    if kind == "response.output_text.delta":
                        tally.text += len(inner.data["delta"])
                    elif kind == "response.done" and tally.response():
                        break
    return tally


async def speak(url: str, chunks: int, data: bytes, pause: float) -> Tally:
    """Send that much speech, a chunk a call."""
    tally = Tally(1)
    runner = RealtimeRunner(RealtimeAgent(name="bench", instructions="Answer."))
    session = await runner.run(model_config={"api_key": "bench", "url": f"{url}?model=bench-1"})
    async with session:
        tally.start()
        for number in range(chunks):
            await session.send_audio(data, commit=number == chunks - 1)
            if pause:
                await asyncio.sleep(pause)
        async for event in session:
            if event.type == "raw_model_event":
                inner = event.data
                if inner.type == "raw_server_event" and inner.data["type"].endswith(".committed"):
                    tally.stop()
                    return tally
    raise RuntimeError("the session ended first")
