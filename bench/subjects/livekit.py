"""`livekit-plugins-openai`: `RealtimeSession`, streams of text and audio frames."""

from __future__ import annotations

import asyncio

from livekit import rtc
from livekit.plugins import openai

from . import Tally

NAME = "livekit"
TITLE = "livekit-plugins-openai, RealtimeSession"
PACKAGES = ("livekit-plugins-openai",)
NOTE = "a stream of text and one of audio frames; audio decoded; keeps a history"
SPEAKING = "joins chunks to events of 100 ms; an unbounded queue; a task writes"


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

    async def messages(stream) -> None:
        async for message in stream:
            await asyncio.gather(text(message.text_stream), audio(message.audio_stream))

    async def calls(stream) -> None:
        async for _ in stream:
            pass

    async def consume(generation) -> None:
        await asyncio.gather(messages(generation.message_stream), calls(generation.function_stream))
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
    connected = asyncio.Event()  # it connects in the background
    session.on("openai_server_event_received", lambda _: connected.set())
    session.on("generation_created", created)
    await connected.wait()
    tally.start()
    session.generate_reply()
    await done.wait()
    await session.aclose()
    await model.aclose()
    return tally


async def speak(url: str, chunks: int, data: bytes, pause: float) -> Tally:
    """Send that much speech, a chunk a call."""
    tally = Tally(1)
    created, committed = asyncio.Event(), asyncio.Event()

    def heard(event: dict) -> None:
        if event["type"] == "session.created":
            created.set()
        elif event["type"] == "input_audio_buffer.committed":
            committed.set()

    model = openai.realtime.RealtimeModel(
        model="bench-1", api_key="bench", base_url=url.replace("ws", "http", 1)
    )
    session = model.session()
    session.on("openai_server_event_received", heard)
    await created.wait()
    tally.start()
    for _ in range(chunks):
        session.push_audio(rtc.AudioFrame(data, 24000, 1, len(data) // 2))
        if pause:
            await asyncio.sleep(pause)
    session.commit_audio()
    await committed.wait()
    tally.stop()
    await session.aclose()
    await model.aclose()
    return tally
