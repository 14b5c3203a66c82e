"""A long session holds its canonical messages and one small record an item, and nothing else."""

from __future__ import annotations

import base64
import gc
import itertools
import json
import tracemalloc
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import trio
from runtimekit import linger, meeting, nobody_else_holds, open_config
from trio.testing import wait_all_tasks_blocked

from meerkat_rt import OpenAIRealtime, RealtimeSession, ToolSet, open_session
from meerkat_rt.runtime.signal import Signal
from meerkat_rt.transport import TransportClosed
from meerkat_rt.transport.memory import MemoryConnector, MemoryTransport
from meerkat_rt.transport.websocket import WebSocketTransport

DELTAS = 90
SMALL, LARGE = 1_000, 100_000  # events of the provider's
RECORDS = 4_000  # bytes a turn may leave: two messages of text, and a record for each of its items
TONE = base64.b64encode(bytes(480)).decode()  # 10 ms


async def note(text: str) -> str:
    """Write something down."""
    await trio.lowlevel.checkpoint()
    return text


class Provider:
    """Says turn after turn: speech, an answer, now and then a call, a barge-in."""

    def __init__(self) -> None:
        self.sent = 0
        self.turns = 0
        self._ids = itertools.count()
        self._last: str | None = None

    def frame(self, kind: str, **fields: Any) -> bytes:
        self.sent += 1
        return json.dumps({"type": kind, "event_id": f"e{next(self._ids)}", **fields}).encode()

    def item(self, item_id: str, **fields: Any) -> Iterator[bytes]:
        value = {"id": item_id, "status": "completed", "content": [], **fields}
        for kind in ("added", "done"):
            yield self.frame(f"conversation.item.{kind}", previous_item_id=self._last, item=value)
        self._last = item_id

    def turn(self) -> Iterator[bytes]:
        number, self.turns = self.turns, self.turns + 1
        user, answer, response = f"u{number}", f"a{number}", f"r{number}"
        yield self.frame("input_audio_buffer.speech_started", item_id=user, audio_start_ms=0)
        yield self.frame("input_audio_buffer.speech_stopped", item_id=user, audio_end_ms=500)
        yield self.frame("input_audio_buffer.committed", item_id=user, previous_item_id=self._last)
        yield from self.item(user, type="message", role="user")
        yield self.frame(
            "conversation.item.input_audio_transcription.completed",
            item_id=user,
            content_index=0,
            transcript=f"question {number}",
            usage={"type": "duration", "seconds": 1},
        )
        body = {"id": response, "object": "realtime.response", "conversation_id": "conv"}
        yield self.frame("response.created", response={**body, "status": "in_progress"})
        yield from self.item(answer, type="message", role="assistant", response_id=response)
        place = {"response_id": response, "item_id": answer, "output_index": 0, "content_index": 0}
        for delta in range(DELTAS):
            if delta % 3:
                kind, text = "response.output_audio_transcript.delta", " word"
            else:
                kind, text = "response.output_audio.delta", TONE
            yield self.frame(kind, delta=text, **place)
        output = []
        if number % 5 == 0:
            call = {
                "type": "function_call",
                "id": f"f{number}",
                "call_id": f"c{number}",
                "name": "note",
                "arguments": '{"text": "x"}',
                "status": "completed",
            }
            output.append(call)
            yield from self.item(f"f{number}", **{k: v for k, v in call.items() if k != "id"})
        status: dict[str, Any] = {"status": "completed", "output": output}
        if number % 7 == 0:
            yield self.frame(
                "input_audio_buffer.speech_started", item_id=f"b{number}", audio_start_ms=0
            )
            status = {
                "status": "cancelled",
                "status_details": {"type": "cancelled", "reason": "turn_detected"},
                "output": [],
            }
        usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
        yield self.frame("response.done", response={**body, **status, "usage": usage})


@asynccontextmanager
async def conversing(provider: Provider) -> AsyncIterator[tuple[RealtimeSession, Any]]:
    """A session, and a function that has the provider send until so many events are sent."""
    connected = trio.Event()
    ends: list[MemoryTransport] = []
    outbox: list[bytes] = []
    wake = Signal()

    def accept(_target: object, peer: MemoryTransport) -> None:
        ends.append(peer)
        peer.on_output(wake.set)
        connected.set()

    def say(frames: Iterable[bytes]) -> None:
        outbox.extend(frames)
        wake.set()

    async with trio.open_nursery() as nursery:

        async def write() -> None:
            (peer,) = ends
            with suppress(TransportClosed):
                while True:
                    await wake.wait()
                    frames = outbox.copy()
                    outbox.clear()
                    await peer.send(frames)

        async def answer_commands() -> None:
            await connected.wait()
            nursery.start_soon(write)
            (peer,) = ends
            say([provider.frame("session.created", session={"type": "realtime"})])
            with suppress(TransportClosed):
                while True:
                    for message in await peer.receive():
                        react(json.loads(message))

        def react(command: dict[str, Any]) -> None:
            match command["type"]:
                case "session.update":
                    frames = [provider.frame("session.updated", session={"type": "realtime"})]
                case "conversation.item.create":
                    frames = list(provider.item(f"o{next(provider._ids)}", **command["item"]))
                case "conversation.item.truncate":
                    keys = ("item_id", "content_index", "audio_end_ms")
                    frames = [
                        provider.frame(
                            "conversation.item.truncated", **{key: command[key] for key in keys}
                        )
                    ]
                case "conversation.item.delete":
                    frames = [
                        provider.frame("conversation.item.deleted", item_id=command["item_id"])
                    ]
                case "response.create":
                    number = next(provider._ids)
                    body = {
                        "id": f"n{number}",
                        "object": "realtime.response",
                        "conversation_id": "conv",
                        "metadata": command["response"].get("metadata"),
                    }
                    frames = [
                        provider.frame(
                            "response.created", response={**body, "status": "in_progress"}
                        ),
                        provider.frame("response.done", response={**body, "status": "completed"}),
                    ]
                case _:
                    frames = []
            say(frames)

        async def send_until(count: int) -> None:
            while provider.sent < count:
                say(provider.turn())
                await trio.sleep(2)  # longer than the answer plays: nothing is held back

        nursery.start_soon(answer_commands)
        async with open_session(
            open_config(),
            provider=OpenAIRealtime(api_key="k", connector=MemoryConnector(accept), seed=1),
            tools=ToolSet([note]),
        ) as session:
            yield session, send_until
        for peer in ends:
            await peer.aclose()
        nursery.cancel_scope.cancel()


async def test_a_hundred_thousand_events_leave_nothing_but_messages_and_settled_items(
    autojump_clock: trio.abc.Clock,
) -> None:
    provider = Provider()
    seen: dict[str, int] = {}

    async with conversing(provider) as (session, send_until):
        core = session._core

        async def read() -> None:
            async for event in session:
                name = type(event).__name__
                seen[name] = seen.get(name, 0) + 1

        async def measured(count: int) -> tuple[int, int]:
            await send_until(count)
            await trio.sleep(60)
            gc.collect()
            return tracemalloc.get_traced_memory()[0], provider.turns

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            tracemalloc.start()
            try:
                await measured(SMALL)
                small, turns_before = await measured(2 * SMALL)
                large, turns_after = await measured(LARGE)
            finally:
                tracemalloc.stop()
            sizes = {name: size for name, size in core.machine.ledger_sizes().items() if size}
            assert sizes == {}
            assert not core.requests
            assert not core.acknowledgements
            assert not core.tools.running
            assert len(core.lanes) == 0
            assert (core.events.waiting, core.events.audio_bytes) == (0, 0)
            assert core.history.authority.in_flight_response_ids == ()
            assert core.history.authority.blocked == ()
            nursery.cancel_scope.cancel()
    assert provider.sent >= LARGE
    for name in ("ToolCallFinished", "Interrupted", "MessageCommitted", "TurnCompleted"):
        assert seen[name] > 100, seen
    grown = large - small
    turns = turns_after - turns_before
    assert grown / turns < RECORDS, f"{grown / turns:.0f} bytes a turn"


async def test_what_was_written_is_not_kept_while_nothing_follows(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: Any
) -> None:
    write, written = WebSocketTransport.send, []

    async def noted(transport: WebSocketTransport, frames: list[bytes]) -> None:
        written.append(frames)
        await write(transport, frames)

    monkeypatch.setattr(WebSocketTransport, "send", noted)
    async with meeting(linger) as m:
        await m.session.send_text("a long story " * 1000)
        await wait_all_tasks_blocked()
        assert sum(len(frame) for frames in written for frame in frames) > 13_000
        assert nobody_else_holds(written)
