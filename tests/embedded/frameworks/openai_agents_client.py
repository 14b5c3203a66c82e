"""`openai-agents` against a server: a voice turn, an interrupted one, and a tool turn.

Runs in an environment of its own: `python openai_agents_client.py URL KEY SPEECH`, where SPEECH is
a file of 24 kHz PCM that ends in silence.  Prints what came of each turn as one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from agents import function_tool, set_tracing_disabled
from agents.realtime import RealtimeAgent, RealtimeRunner

PIECE = 4800  # bytes; 100 ms

set_tracing_disabled(True)


@function_tool
async def get_weather(city: str) -> str:
    """Tell the weather in a city."""
    await asyncio.sleep(0)
    return f"It is sunny in {city}."


async def session(url: str, key: str, *tools):
    agent = RealtimeAgent(name="assistant", instructions="Be brief.", tools=list(tools))
    settings = {
        "model_name": "gpt-realtime",
        "output_modalities": ["audio"],
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 24000},
                "transcription": {"model": "gpt-4o-mini-transcribe"},
                "turn_detection": {"type": "server_vad", "interrupt_response": True},
            },
            "output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "marin"},
        },
    }
    runner = RealtimeRunner(agent, config={"model_settings": settings})
    return await runner.run(model_config={"api_key": key, "url": f"{url}?model=gpt-realtime"})


class Seen:
    """What the events of one session came to."""

    def __init__(self) -> None:
        self.kinds: list[str] = []
        self.audio = 0
        self.errors: list[str] = []
        self.tools: list[object] = []

    def note(self, event) -> None:
        self.kinds.append(event.type)
        if event.type == "audio":
            self.audio += len(event.audio.data)
        elif event.type == "error":
            self.errors.append(repr(event.error))
        elif event.type == "tool_end":
            self.tools.append(event.output)

    def report(self, running) -> dict[str, object]:
        said = [
            {"role": item.role, "text": part.transcript or getattr(part, "text", None)}
            for item in running._history
            if item.type == "message"
            for part in item.content
            if part.type in ("audio", "text", "input_audio", "input_text")
        ]
        kinds = {kind: self.kinds.count(kind) for kind in dict.fromkeys(self.kinds)}
        return {
            "kinds": kinds,
            "audio": self.audio,
            "errors": self.errors,
            "tools": self.tools,
            "said": said,
        }


async def speak(running, speech: bytes) -> None:
    for start in range(0, len(speech), PIECE):
        await running.send_audio(speech[start : start + PIECE])


async def until(running, seen: Seen, kind: str, count: int = 1) -> None:
    async for event in running:
        seen.note(event)
        if event.type == kind:
            count -= 1
            if not count:
                return


async def voice_turn(url: str, key: str, speech: bytes) -> dict[str, object]:
    seen = Seen()
    async with await session(url, key) as running:
        await speak(running, speech)
        await until(running, seen, "agent_end")
        return seen.report(running)


async def interrupted_turn(url: str, key: str, speech: bytes) -> dict[str, object]:
    seen = Seen()
    async with await session(url, key) as running:
        await speak(running, speech)
        await until(running, seen, "audio", 3)
        await speak(running, speech)
        await until(running, seen, "audio_interrupted")
        await until(running, seen, "agent_end", 2)
        return seen.report(running)


async def tool_turn(url: str, key: str) -> dict[str, object]:
    seen = Seen()
    async with await session(url, key, get_weather) as running:
        await running.send_message("What is the weather in Lisbon?")
        await until(running, seen, "tool_end")
        await until(running, seen, "agent_end")
        return seen.report(running)


async def main(url: str, key: str, speech: bytes) -> None:
    turns = {
        "voice": voice_turn(url, key, speech),
        "interrupted": interrupted_turn(url, key, speech),
        "tool": tool_turn(url, key),
    }
    print(json.dumps(dict(zip(turns, await asyncio.gather(*turns.values()), strict=True))))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]).read_bytes()))
