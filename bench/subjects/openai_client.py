"""`openai`: `AsyncRealtimeConnection`, events as typed models."""

from __future__ import annotations

import asyncio
import base64

from openai import AsyncOpenAI

from . import Tally

NAME = "openai"
TITLE = "openai, AsyncRealtimeConnection"
PACKAGES = ("openai[realtime]",)
NOTE = "a typed model a frame; audio stays base64; keeps no history"
SPEAKING = "the caller encodes base64; the call writes to the socket itself"


async def run(url: str, units: int, modality: str) -> Tally:
    """Receive that many units."""
    tally = Tally(units)
    client = AsyncOpenAI(api_key="bench", websocket_base_url=url.removesuffix("/realtime"))
    async with client.realtime.connect(model=f"bench-{units}") as connection:
        await connection.session.update(
            session={"type": "realtime", "output_modalities": [modality]}
        )
        tally.start()
        await connection.response.create()
        async for event in connection:
            match event.type:
                case "response.output_audio.delta":
                    tally.audio += len(event.delta) * 3 // 4
                case "response.output_text.delta" | "response.output_audio_transcript.delta":
                    tally.text += len(event.delta)
                case "response.done":
                    if tally.response():
                        break
    return tally


async def speak(url: str, chunks: int, data: bytes, pause: float) -> Tally:
    """Send that much speech, a chunk a call."""
    tally = Tally(1)
    client = AsyncOpenAI(api_key="bench", websocket_base_url=url.removesuffix("/realtime"))
    async with client.realtime.connect(model="bench-1") as connection:
        tally.start()
        for _ in range(chunks):
            await connection.input_audio_buffer.append(audio=base64.b64encode(data).decode())
            if pause:
                await asyncio.sleep(pause)
        await connection.input_audio_buffer.commit()
        async for event in connection:
            if event.type == "input_audio_buffer.committed":
                tally.stop()
                return tally
    raise RuntimeError("the session ended first")
