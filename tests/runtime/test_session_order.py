"""What overtakes what on the wire, when the peer is slow and much waits."""

from __future__ import annotations

import base64

import pytest
import trio
from runtimekit import CONNECTORS, EXPLICIT, meeting, open_config, outcome, take
from trio.testing import wait_all_tasks_blocked

from meerkat_rt import OpenAIRealtime, RealtimeAudioFormat, SessionLimits, events, open_session
from meerkat_rt.runtime import errors
from meerkat_rt.transport.memory import MemoryConnector

PCM = RealtimeAudioFormat.pcm(24_000)


def stalled_limits() -> SessionLimits:
    return SessionLimits(mic_max_age=1e6, mic_max_bytes=1 << 30, write=1e6)


@pytest.mark.parametrize("wire", ["memory", "lockstep", "tearing"])
@pytest.mark.parametrize("name", CONNECTORS)
async def test_an_interrupt_is_the_next_frame_after_the_write_in_flight(
    name: str, wire: str, autojump_clock
) -> None:
    """The peer does not read, one write is in flight, and 10,000 frames of audio wait."""

    async def script(peer) -> None:
        peer.skipped = frozenset()
        response = await peer.response()
        message = await response.message("audio")
        await message.speak("on and on", ms=100)
        peer.socket.stop_reading()
        ready.set()
        await go_on.wait()
        peer.socket.start_reading()
        first = await peer.expect("input_audio_buffer.append")
        frames = [first]
        while (frame := await peer.receive())["type"] == "input_audio_buffer.append":
            frames.append(frame)
        assert frame["type"] == "response.cancel"
        before.append(sum(len(base64.b64decode(each["audio"])) for each in frames))
        await peer.expect("conversation.item.delete")
        await response.cancelled(message)
        for _ in range(10_000 - len(frames)):
            assert (await peer.receive())["type"] == "input_audio_buffer.append"
        all_there.set()
        await peer.linger()

    ready, go_on, all_there = trio.Event(), trio.Event(), trio.Event()
    before: list[int] = []
    async with meeting(
        script, name=name, wire=wire, limits=stalled_limits(), client_may_leave=True, patience=1e6
    ) as m:
        await ready.wait()
        await take(m.session, events.ResponseStarted)
        for _ in range(10_000):
            assert await m.session.send_audio(b"\0" * 960) == 0
        await wait_all_tasks_blocked()
        waiting = m.core.lanes.media_bytes
        assert waiting > 9_900 * 960
        await m.session.interrupt()
        assert m.core.lanes.media_bytes == waiting
        go_on.set()
        await take(m.session, events.TurnCompleted)
        with trio.fail_after(1):
            await all_there.wait()
    assert before[0] == 10_000 * 960 - waiting
    assert before[0] <= SessionLimits().media_bytes_per_write + 960


async def test_an_interrupt_is_the_next_frame_on_the_memory_transport_too(autojump_clock) -> None:
    ends: list = []
    connect = MemoryConnector(lambda target, end: ends.append(end))
    seen: list[str] = []

    async def serve() -> None:
        while not ends:
            await trio.lowlevel.checkpoint()
        (end,) = ends
        said = iter(
            [
                b'{"type":"session.created","session":{"id":"s"}}',
                b'{"type":"session.updated","session":{"id":"s"}}',
            ]
        )
        await end.send([next(said)])
        await end.receive()
        await end.send([next(said)])
        await end.send(
            [
                b'{"type":"response.created","response":{"id":"r","status":"in_progress"}}',
                b'{"type":"response.output_audio_transcript.delta","response_id":"r","item_id":"i",'
                b'"event_id":"e","output_index":0,"content_index":0,"delta":"on and on"}',
            ]
        )
        await go_on.wait()
        while True:
            seen.extend(frame.split(b'"')[3].decode() for frame in await end.receive())

    go_on = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        async with open_session(
            open_config(),
            provider=OpenAIRealtime(api_key="k", connector=connect, base_url="ws://peer"),
            limits=stalled_limits(),
        ) as session:
            await take(session, events.ResponseStarted)
            for _ in range(10_000):
                await session.send_audio(b"\0" * 960)
            await wait_all_tasks_blocked()
            waiting = session._core.lanes.media_bytes
            await session.interrupt()
            go_on.set()
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    in_flight = 10_000 - waiting // 960
    assert seen.index("response.cancel") == in_flight < 600  # as much as the wire holds
    assert seen.count("input_audio_buffer.append") == 10_000


async def test_clearing_audio_keeps_what_was_committed_before(autojump_clock) -> None:
    async def script(peer) -> None:
        peer.socket.stop_reading()
        await trio.sleep(1)
        peer.socket.start_reading()
        await peer.linger()

    limits = stalled_limits()
    async with meeting(script, mode=EXPLICIT, limits=limits, wire="lockstep") as m:
        await wait_all_tasks_blocked()
        await m.session.send_audio(b"\1\0" * 480)
        await wait_all_tasks_blocked()  # being written; the rest waits
        await m.session.send_audio(b"\2\0" * 480)
        await m.session.commit_audio()
        await m.session.send_audio(b"\3\0" * 480)
        await m.session.clear_audio()
        await trio.sleep(2)
        frames = m.peer.frames()[1:]
    assert [frame["type"].removeprefix("input_audio_buffer.") for frame in frames] == [
        "append",
        "append",
        "commit",
        "clear",
    ]
    assert [base64.b64decode(frame["audio"])[0] for frame in frames[:2]] == [1, 2]


async def test_stale_microphone_audio_is_dropped_and_the_caller_is_told(autojump_clock) -> None:
    async def script(peer) -> None:
        peer.socket.stop_reading()
        await peer.linger()

    async with meeting(script, wire="lockstep", client_may_leave=True) as m:
        await wait_all_tasks_blocked()
        assert await m.session.send_audio(b"\0" * 960) == 0  # this one is being written
        await wait_all_tasks_blocked()
        dropped = []
        for _ in range(200):
            await trio.sleep(0.02)
            dropped.append(await m.session.send_audio(b"\0" * 960))
        assert sum(dropped) == m.core.lanes.dropped_bytes
        assert m.core.lanes.media_bytes <= 2.02 * PCM.bytes_per_second
        assert dropped[:100] == [0] * 100
        assert set(dropped[-50:]) == {960}


async def test_commands_that_pile_up_without_being_taken_are_a_stalled_transport(
    autojump_clock,
) -> None:
    """What the session itself has to say never waits for room, so it has a bound of its own."""

    async def echo(number: int) -> int:
        return number

    async def script(peer) -> None:
        peer.socket.stop_reading()
        await peer.tool_call_response(*[("echo", {"number": number}) for number in range(30)])
        await peer.linger()

    limits = SessionLimits(control_overflow=20)
    async with meeting(
        script, tools=[echo], limits=limits, wire="lockstep", client_may_leave=True
    ) as m:
        began = trio.current_time()
        _, error = await outcome(m.session)
        assert isinstance(error, errors.TransportStalled)
        assert "more than 20 commands wait" in str(error)
        assert trio.current_time() - began <= limits.close_grace
        assert m.session.closed.by == "network"
