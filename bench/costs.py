"""What a session costs besides events: opening, idling, interrupting, calling tools, closing.

Everything runs in one process over the transport in memory, so that what is measured is the
runtime.  Run as a process of its own (`python -m bench.costs`), it prints its findings as JSON: by
what was measured and in which unit, all repetitions.
"""

from __future__ import annotations

import gc
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import attrs
import trio

from meerkat_rt import (
    OpenAIRealtime,
    RealtimeSession,
    RealtimeSessionOpenConfig,
    RealtimeTurningMode,
    SessionLimits,
    SessionLlmIdentity,
    ToolSet,
    events,
    open_session,
)
from meerkat_rt.transport import MemoryConnector, MemoryTransport, TransportClosed, WebSocketTarget
from meerkat_rt.turn.ports import AppendAudio

from . import frames
from .frames import Frame
from .layers import Recording, opened
from .percentiles import percentile

Cost = dict[str, list[float]]

ROUNDS = 40
IDLE = 200
CROWD = 1000
BACKLOGS = {"idle": 0, "2 MiB": 2 << 20, "24 MiB": 24 << 20}
NUDGES = 20
NUDGE_MS = 40
SWEPT, SWEPT_POINTS, SWEEPS = "a_close_from_another_task", 30, 3


@attrs.define(eq=False)
class Peer:
    """The provider's end of one session in memory."""

    end: MemoryTransport
    stays: bool = True  # goes on reading after the handshake, and answers the close
    heard: dict[str, float] = attrs.field(factory=dict)  # kind of event -> when it came last
    changed: trio.Event = attrs.field(factory=trio.Event)
    number: int = 0

    async def serve(self) -> None:
        """Shake hands, then note what comes."""
        await self.say(frames.session_created())
        try:
            while True:
                for message in await self.end.receive():
                    self._hear(json.loads(message))
                    if b"session.update" in message:
                        await self.say(frames.session_updated({"type": "realtime"}))
                        if not self.stays:
                            return
        except TransportClosed:
            with trio.CancelScope(shield=True, relative_deadline=1):
                await self._echo()

    async def _echo(self) -> None:
        try:
            await self.end.send(())
        except TransportClosed:
            return

    def _hear(self, message: Frame) -> None:
        self.heard[message["type"]] = time.perf_counter()
        self.changed.set()
        self.changed = trio.Event()

    async def until(self, kind: str) -> float:
        """When an event of this kind came; forgets it."""
        while kind not in self.heard:
            await self.changed.wait()
        return self.heard.pop(kind)

    async def say(self, *said: Frame) -> None:
        """Send frames."""
        messages = []
        for frame in said:
            self.number += 1
            text = frames.dump(frame).replace(b"@EVENT@", b"%d" % self.number)
            for placeholder in (b"@RESPONSE@", b"@ITEM@", b"@PREVIOUS@"):
                text = text.replace(placeholder, b"1")
            messages.append(text)
        await self.end.send(messages)


@asynccontextmanager
async def meeting(
    tools: ToolSet | None = None,
    *,
    stays: bool = True,
    nudge_ms: int | None = None,
    limits: SessionLimits | None = None,
) -> AsyncIterator[tuple[RealtimeSession, Peer]]:
    """One session and its peer."""
    peers: list[Peer] = []
    async with trio.open_nursery() as nursery:

        def accept(_target: WebSocketTarget, end: MemoryTransport) -> None:
            peers.append(Peer(end, stays))
            nursery.start_soon(peers[-1].serve)

        config = RealtimeSessionOpenConfig(
            RealtimeTurningMode.PROVIDER_MANAGED,
            SessionLlmIdentity(model="bench"),
            response_nudge_timeout_ms=nudge_ms,
        )
        provider = OpenAIRealtime(api_key="bench", connector=MemoryConnector(accept))
        async with open_session(
            config, provider=provider, tools=tools, limits=limits or SessionLimits()
        ) as session:
            yield session, peers[0]
        nursery.cancel_scope.cancel()


async def open_and_close() -> Cost:
    """Microseconds to open a session, and to leave its block, with a peer that answers."""
    opening, closing = [], []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        async with meeting():
            opened = time.perf_counter()
        closing.append(time.perf_counter() - opened)
        opening.append(opened - start)
    return {"open_us": _us(opening), "close_us": _us(closing)}


def _us(values: list[float]) -> list[float]:
    return [value * 1e6 for value in values]


def _resident() -> int:
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def idle() -> Cost:
    """KiB and tasks of an idle session: the growth of the process over many."""
    async with AsyncExitStack() as stack:
        for _ in range(20):  # what the first ones bring with them is not theirs
            await stack.enter_async_context(meeting(stays=False, limits=_SHORT))
        before, tasks = _resident(), trio.lowlevel.current_statistics().tasks_living
        for _ in range(IDLE):
            await stack.enter_async_context(meeting(stays=False, limits=_SHORT))
        memory = (_resident() - before) / IDLE / 1024
        grown = trio.lowlevel.current_statistics().tasks_living - tasks
    return {"kib": [memory], "tasks": [grown / IDLE]}


_SHORT = SessionLimits(close_grace=0.001)  # nobody answers the close of an idle session


async def teardown() -> Cost:
    """Seconds to cancel and be rid of a thousand sessions, and what is left of them."""
    before = trio.lowlevel.current_statistics().tasks_living
    opened, all_open = 0, trio.Event()
    async with trio.open_nursery() as nursery:

        async def one() -> None:
            nonlocal opened
            async with meeting():
                opened += 1
                if opened == CROWD:
                    all_open.set()
                await trio.sleep_forever()

        for _ in range(CROWD):
            nursery.start_soon(one)
        await all_open.wait()
        start, cpu = time.perf_counter(), time.process_time()
        nursery.cancel_scope.cancel()
    return {
        "seconds": [time.perf_counter() - start],
        "cpu_seconds": [time.process_time() - cpu],
        "tasks_left": [trio.lowlevel.current_statistics().tasks_living - before],
    }


async def interrupt(backlog: int) -> Cost:
    """Microseconds from the call to the frame at the peer, and to the return of the call.

    `backlog`: bytes of speech that wait to be read; the microphone's lane is as full as it gets.
    """
    wire, gone = [], []
    delta = frames.delta(frames.AUDIO, frames.speech(64 * 1024))
    for _ in range(ROUNDS if backlog < 1 << 20 else 12):
        async with meeting() as (session, peer):
            await peer.say(*frames.answer([(frames.AUDIO, frames.speech(8192))])[:-5])
            for _ in range(backlog // (48 * 1024)):
                await peer.say(delta)
            async for event in session:
                if isinstance(event, events.OutputAudioChunk):
                    break
            if backlog:
                for _ in range(64):
                    session._core.lanes.put_audio(bytes(32 * 1024), trio.current_time())
            start = time.perf_counter()
            await session.interrupt()
            gone.append(time.perf_counter() - start)
            wire.append(await peer.until("response.cancel") - start)
    return {"frame_us": _us(wire), "gone_us": _us(gone)}


def _call(number: int) -> list[Frame]:
    call = {
        "id": f"item_{number}",
        "object": "realtime.item",
        "type": "function_call",
        "status": "completed",
        "call_id": f"call_{number}",
        "name": "work",
        "arguments": "{}",
    }
    return [
        frames.event(
            "response.output_item.done", response_id="resp_@RESPONSE@", output_index=0, item=call
        ),
        frames.event(
            "response.function_call_arguments.done",
            response_id="resp_@RESPONSE@",
            item_id=f"item_{number}",
            output_index=0,
            call_id=f"call_{number}",
            name="work",
            arguments="{}",
        ),
    ]


async def interrupt_tools() -> Cost:
    """Microseconds from the call to the frame at the peer, and to the end of three tools."""
    wire, gone = [], []
    running = 0

    async def work() -> str:
        """Never ends by itself."""
        nonlocal running
        running += 1
        try:
            await trio.sleep_forever()
        finally:
            running -= 1
        return ""

    begun = frames.event("response.created", response=frames.response("in_progress"))
    for _ in range(ROUNDS):
        async with meeting(ToolSet([work])) as (session, peer):
            await peer.say(begun, *_call(1), *_call(2), *_call(3))
            while running < 3:
                await trio.lowlevel.checkpoint()
            start = time.perf_counter()
            await session.interrupt()
            gone.append(time.perf_counter() - start)
            assert not running
            wire.append(await peer.until("response.cancel") - start)
    return {"frame_us": _us(wire), "gone_us": _us(gone)}


async def close_with_tools() -> Cost:
    """Microseconds to close a session with three running tools, whose peer answers."""
    took = []
    started = 0

    async def work() -> str:
        """Never ends by itself."""
        nonlocal started
        started += 1
        await trio.sleep_forever()
        return ""

    begun = frames.event("response.created", response=frames.response("in_progress"))
    for _ in range(ROUNDS):
        started = 0
        async with meeting(ToolSet([work])) as (session, peer):
            await peer.say(begun, *_call(1), *_call(2), *_call(3))
            while started < 3:
                await trio.lowlevel.checkpoint()
            start = time.perf_counter()
            await session.aclose()
            took.append(time.perf_counter() - start)
    return {"close_us": _us(took)}


async def tools() -> Cost:
    """Microseconds from a call's frame to its handler, and to its output at the peer."""
    begun_at = 0.0

    async def work() -> str:
        """Answers at once."""
        nonlocal begun_at
        begun_at = time.perf_counter()
        await trio.lowlevel.checkpoint()
        return "done"

    handler, output = [], []
    for _ in range(ROUNDS):
        async with meeting(ToolSet([work])) as (_, peer):
            await peer.say(
                frames.event("response.created", response=frames.response("in_progress"))
            )
            start = time.perf_counter()
            await peer.say(*_call(1))
            output.append(await peer.until("conversation.item.create") - start)
            handler.append(begun_at - start)
    return {"handler_us": _us(handler), "output_us": _us(output)}


async def microphone() -> Cost:
    """Microseconds from PCM to a masked frame, by the length of the chunk, through the writer."""
    provider = OpenAIRealtime(api_key="bench")
    config = RealtimeSessionOpenConfig(
        RealtimeTurningMode.PROVIDER_MANAGED, SessionLlmIdentity(model="bench")
    )
    encode = provider.dialect(config).encode
    found = {}
    for ms in (20, 100, 200):
        append = AppendAudio(bytes(range(240)) * (ms // 5))  # 48 bytes a millisecond
        transport = opened(Recording(()))
        took = []
        for _ in range(ROUNDS):
            start = time.process_time()
            for _ in range(50):
                await transport.send(encode(append))
            took.append((time.process_time() - start) / 50)
        found[f"{ms}ms_us"] = _us(took)
    return found


async def nudge() -> Cost:
    """Microseconds by which nudges come late, of a deadline of some ten milliseconds."""
    late = []
    for _ in range(NUDGES):
        async with meeting(nudge_ms=NUDGE_MS) as (session, peer):
            await session.create_response()
            asked = await peer.until("response.create")
            late.append((await peer.until("response.create") - asked) * 1e6 - NUDGE_MS * 1000)
    return {"late_us": late, "worst_us": [percentile(late, 1.0)]}


def sweep() -> Cost:
    """Runs a second of the test kit: a session cancelled at one point after the other."""
    from meerkat_rt.testing import cancel_everywhere
    from meerkat_rt.testing.scenarios import SCENARIOS

    case = SCENARIOS[SWEPT]
    rates = []
    for _ in range(SWEEPS):
        start = time.perf_counter()
        report = cancel_everywhere(case.on(), verify=case.verify, sample=SWEPT_POINTS, check=False)
        rates.append(report.runs / (time.perf_counter() - start))
    return {"runs_per_second": rates}


def run(step: Callable[[str], None]) -> dict[str, Cost]:
    """All of it."""
    found: dict[str, Cost] = {}
    work: dict[str, Callable[[], Any]] = {
        "session": open_and_close,
        "idle": idle,
        "teardown": teardown,
        "close with 3 tools": close_with_tools,
        "interrupt, 3 tools": interrupt_tools,
        "tool call": tools,
        "microphone, a chunk": microphone,
        "nudge": nudge,
    }
    for name, measure in work.items():
        step(name)
        found[name] = trio.run(measure)
    step("sweep")
    found["sweep of the test kit"] = sweep()
    for name, backlog in BACKLOGS.items():
        step(f"interrupt, {name}")
        found[f"interrupt, {name}"] = trio.run(interrupt, backlog)
    return found


if __name__ == "__main__":
    print(json.dumps(run(lambda _: None)))
