"""`pydantic-ai` against a server: a voice turn, an interrupted one, and a tool turn.

Called and answering like `openai_agents_client.py`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from pathlib import Path

from pydantic_ai import Agent
from pydantic_ai.messages import PartDeltaEvent, SpeechPartDelta
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.realtime import RealtimeTurnCompleteEvent
from pydantic_ai.realtime.openai import OpenAIRealtimeModel

PIECE = 4800  # bytes; 100 ms


async def get_weather(city: str) -> str:
    """Tell the weather in a city."""
    await asyncio.sleep(0)
    return f"It is sunny in {city}."


class Seen:
    """What the events of one session came to."""

    def __init__(self) -> None:
        self.kinds: list[str] = []
        self.audio = 0
        self.text = ""
        self.tools: list[object] = []

    def note(self, event) -> None:
        self.kinds.append(type(event).__name__)
        if isinstance(event, PartDeltaEvent) and isinstance(event.delta, SpeechPartDelta):
            self.audio += len(event.delta.audio_chunk or b"")
            self.text += event.delta.transcript_delta or ""
        elif type(event).__name__ == "FunctionToolResultEvent":
            self.tools.append(event.part.content)

    def report(self) -> dict[str, object]:
        kinds = {kind: self.kinds.count(kind) for kind in dict.fromkeys(self.kinds)}
        errors = [kind for kind in kinds if "Error" in kind]
        return {
            "kinds": kinds,
            "audio": self.audio,
            "errors": errors,
            "tools": self.tools,
            "said": [{"role": "assistant", "text": self.text}],
        }


@asynccontextmanager
async def session(url: str, key: str, *tools):
    base = url.replace("ws", "http", 1).removesuffix("/realtime")
    provider = OpenAIProvider(base_url=base, api_key=key)
    model = OpenAIRealtimeModel("gpt-realtime", provider=provider)
    async with Agent(tools=tools).realtime(model).session() as running:
        yield running


async def speak(running, speech: bytes) -> None:
    for start in range(0, len(speech), PIECE):
        await running.send_audio(speech[start : start + PIECE])


async def until(events, seen: Seen, enough) -> None:
    async for event in events:
        seen.note(event)
        if enough(event):
            return


def turn_over(event) -> bool:
    return isinstance(event, RealtimeTurnCompleteEvent)


async def voice_turn(url: str, key: str, speech: bytes) -> dict[str, object]:
    seen = Seen()
    async with session(url, key) as running:
        await speak(running, speech)
        await until(running.__aiter__(), seen, turn_over)
    return seen.report()


async def interrupted_turn(url: str, key: str, speech: bytes) -> dict[str, object]:
    seen = Seen()
    async with session(url, key) as running:
        events = running.__aiter__()
        await speak(running, speech)
        await until(events, seen, lambda event: seen.audio > PIECE * 3)
        await speak(running, speech)
        await until(events, seen, turn_over)
        await until(events, seen, turn_over)
    return seen.report()


async def tool_turn(url: str, key: str) -> dict[str, object]:
    seen = Seen()
    async with session(url, key, get_weather) as running:
        await running.send("What is the weather in Lisbon?")
        await until(running.__aiter__(), seen, lambda event: turn_over(event) and seen.audio)
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
