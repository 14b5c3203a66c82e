"""`livekit-plugins-openai`: `RealtimeSession`, streams of text and audio frames."""

from __future__ import annotations

import asyncio

from livekit.plugins import openai

from . import Tally

NAME = "livekit"
TITLE = "livekit-plugins-openai, RealtimeSession"
PACKAGES = ("livekit-plugins-openai",)
NOTE = "a stream of text and one of audio frames; audio decoded; keeps a history"


async def run(url: str, units: int, modality: str) -> Tally:
    """Receive that many units."""
    tally = Tally(units)
    done = asyncio.Event()
    tasks: set[asyncio.Task[None]] = set()

    async def text(stream) -> None:
        async for piece in stream:
            tally.text += len(piece)

    async def audio(stream) -> None:
        async for frame in stream:
            tally.audio += len(frame.data) * 2

    async def consume(generation) -> None:
        async for message in generation.message_stream:
            await asyncio.gather(text(message.text_stream), audio(message.audio_stream))
        if tally.response():
            done.set()

    def created(generation) -> None:
        task = asyncio.create_task(consume(generation))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    model = openai.realtime.RealtimeModel(
        model=f"bench-{units}",
        api_key="bench",
        base_url=url.replace("ws", "http", 1),
        modalities=[modality],
    )
    session = model.session()
    session.on("generation_created", created)
    await asyncio.sleep(0.2)  # it connects in the background
    tally.start()
    session.generate_reply()
    await done.wait()
    await session.aclose()
    await model.aclose()
    return tally
