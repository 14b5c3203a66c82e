"""`livekit-plugins-openai` against a server: a voice turn, an interrupted one, and a tool turn.

Called and answering like `openai_agents_client.py`.  It drives the plugin's session, as the
framework's own agent does.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from pathlib import Path

from livekit import rtc
from livekit.agents import llm
from livekit.plugins import openai

PIECE = 4800  # bytes; 100 ms


@llm.function_tool
async def get_weather(city: str) -> str:
    """Tell the weather in a city."""
    return f"It is sunny in {city}."


class Seen:
    """What came in one session; generations are consumed as they begin."""

    def __init__(self, session) -> None:
        self.kinds: list[str] = []
        self.audio = 0
        self.said: list[str] = []
        self.errors: list[str] = []
        self.tools: list[object] = []
        self.calls: asyncio.Queue = asyncio.Queue()
        self.over: asyncio.Queue = asyncio.Queue()
        self.heard = asyncio.Event()  # some audio of this generation
        self._tasks: set[asyncio.Task] = set()
        session.on("generation_created", self._created)
        session.on("error", lambda event: self.errors.append(repr(event.error)))
        for kind in ("input_speech_started", "input_speech_stopped"):
            session.on(kind, lambda event, kind=kind: self.kinds.append(kind))

    def _created(self, generation) -> None:
        self.kinds.append("generation_created")
        task = asyncio.create_task(self._consume(generation))
        self._tasks.add(task)

    async def _consume(self, generation) -> None:
        async def text(stream) -> None:
            self.said.append("".join([str(piece) async for piece in stream]))

        async def audio(stream) -> None:
            async for frame in stream:
                self.audio += len(frame.data) * 2
                self.heard.set()

        async for message in generation.message_stream:
            await asyncio.gather(text(message.text_stream), audio(message.audio_stream))
        async for call in generation.function_stream:
            await self.calls.put(call)
        await self.over.put(generation.response_id)

    def report(self) -> dict[str, object]:
        return {
            "kinds": {kind: self.kinds.count(kind) for kind in dict.fromkeys(self.kinds)},
            "audio": self.audio,
            "errors": self.errors,
            "tools": self.tools,
            "said": [{"role": "assistant", "text": text} for text in self.said],
        }


@asynccontextmanager
async def opened(url: str, key: str):
    model = openai.realtime.RealtimeModel(
        model="gpt-realtime", api_key=key, base_url=url.replace("ws", "http", 1)
    )
    session = model.session()
    try:
        yield session, Seen(session)
    finally:
        await session.aclose()
        await model.aclose()


def speak(session, speech: bytes) -> None:
    for start in range(0, len(speech), PIECE):
        piece = speech[start : start + PIECE]
        session.push_audio(rtc.AudioFrame(piece, 24000, 1, len(piece) // 2))


async def voice_turn(url: str, key: str, speech: bytes) -> dict[str, object]:
    async with opened(url, key) as (session, seen):
        speak(session, speech)
        await seen.over.get()
        return seen.report()


async def interrupted_turn(url: str, key: str, speech: bytes) -> dict[str, object]:
    async with opened(url, key) as (session, seen):
        speak(session, speech)
        await seen.heard.wait()
        speak(session, speech)
        await seen.over.get()
        await seen.over.get()
        return seen.report()


async def tool_turn(url: str, key: str) -> dict[str, object]:
    async with opened(url, key) as (session, seen):
        await session.update_tools([get_weather])
        chat = session.chat_ctx.copy()
        chat.add_message(role="user", content="What is the weather in Lisbon?")
        await session.update_chat_ctx(chat)
        session.generate_reply()
        call = await seen.calls.get()
        output = await get_weather(**json.loads(call.arguments))
        seen.tools.append(output)
        chat = session.chat_ctx.copy()
        chat.insert(
            llm.FunctionCallOutput(
                call_id=call.call_id, name=call.name, output=output, is_error=False
            )
        )
        await seen.over.get()
        await session.update_chat_ctx(chat)
        session.generate_reply()
        await seen.over.get()
        return seen.report()


async def main(url: str, key: str, speech: bytes) -> None:
    turns = {
        "voice": voice_turn(url, key, speech),
        "interrupted": interrupted_turn(url, key, speech),
        "tool": tool_turn(url, key),
    }
    print(json.dumps(dict(zip(turns, await asyncio.gather(*turns.values()), strict=True))))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]).read_bytes()))
