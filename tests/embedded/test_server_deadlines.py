"""Every wait of the server ends: on a virtual clock, with peers that do the worst."""

from __future__ import annotations

import json
import math

import pytest
import trio
import trio.testing
from support.embedded_client import Client, options, over_stream
from support.embedded_session import every, typed
from trio_websocket import ConnectionClosed
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Ping, Request, TextMessage

from meerkat_rt.embedded import EmbeddedServer, Quirks, ServerLimits
from meerkat_rt.embedded.outbox import CloseFrame, Outbox

CREATE = {"type": "response.create"}
REQUEST = Request(host="test", target="/v1/realtime?model=m")


class Peer:
    """A client below the library: it answers nothing by itself."""

    def __init__(self, stream) -> None:
        self.stream = stream
        self.ws = WSConnection(ConnectionType.CLIENT)

    async def send(self, event) -> None:
        await self.stream.send_all(self.ws.send(event))

    async def open(self) -> None:
        await self.send(REQUEST)
        await self.receive(AcceptConnection)

    async def receive(self, kind):
        while True:
            for event in self.ws.events():
                if isinstance(event, kind):
                    return event
            data = await self.stream.receive_some()
            assert data, "closed"
            self.ws.receive_data(data)

    async def end(self) -> None:
        """Read until the server closes the stream."""
        try:
            while await self.stream.receive_some():
                pass
        except trio.BrokenResourceError:
            pass


def serve(nursery, *, pair=trio.testing.memory_stream_pair, **changes):
    """A server on one side of a pair of streams; the other side, and when it is done."""
    ours, theirs = pair()
    server = EmbeddedServer(options(**changes), seed="s")
    done = trio.Event()

    async def run():
        await server.handle_stream(theirs)
        done.set()

    nursery.start_soon(run)
    return ours, done


async def test_a_client_that_never_asks_is_dropped(autojump_clock):
    async with trio.open_nursery() as nursery:
        stream, done = serve(nursery)
        await stream.send_all(b"GET /v1/rea")
        await done.wait()
        assert trio.current_time() == pytest.approx(10)


@pytest.mark.parametrize("sent", [b"", b"GET /v1/rea", b"nonsense\r\n\r\n"])
async def test_a_client_that_leaves_during_the_handshake_costs_no_time(autojump_clock, sent):
    async with trio.open_nursery() as nursery:
        stream, done = serve(nursery)
        if sent:
            await stream.send_all(sent)
        await stream.aclose()
        await done.wait()
        assert trio.current_time() == 0


async def test_a_client_that_leaves_right_after_asking_costs_no_time(autojump_clock):
    async with trio.open_nursery() as nursery:
        stream, done = serve(nursery)
        await Peer(stream).send(REQUEST)
        await stream.aclose()
        await done.wait()
        assert trio.current_time() == 0


async def test_a_client_that_stops_reading_is_cut_off(autojump_clock):
    async with trio.open_nursery() as nursery:
        stream, done = serve(nursery, pair=trio.testing.lockstep_stream_pair)
        await Peer(stream).open()
        await done.wait()
        assert trio.current_time() == pytest.approx(10)


async def test_a_client_that_sends_but_does_not_read_is_cut_off(autojump_clock):
    async with trio.open_nursery() as nursery:
        stream, done = serve(nursery, pair=trio.testing.lockstep_stream_pair)
        peer = Peer(stream)
        await peer.open()
        try:
            while True:
                await peer.send(TextMessage(data="nonsense"))
        except trio.BrokenResourceError:
            pass
        await done.wait()
        assert trio.current_time() == pytest.approx(10)


async def test_a_client_that_pings_but_does_not_read_is_cut_off(autojump_clock):
    async with trio.open_nursery() as nursery:
        stream, done = serve(nursery, pair=trio.testing.lockstep_stream_pair)
        peer = Peer(stream)
        await peer.open()
        await peer.receive(TextMessage)
        try:
            while True:
                await peer.send(Ping())
        except trio.BrokenResourceError:
            pass
        await done.wait()
        assert trio.current_time() <= 40


async def test_a_client_that_answers_no_ping_is_cut_off(autojump_clock):
    async with trio.open_nursery() as nursery:
        stream, done = serve(nursery)
        peer = Peer(stream)
        await peer.open()
        await peer.receive(Ping)
        assert trio.current_time() == pytest.approx(20)
        await done.wait()
        assert trio.current_time() == pytest.approx(40)


async def test_a_client_that_answers_pings_stays(autojump_clock):
    async with trio.open_nursery() as nursery:
        stream, done = serve(nursery)
        client = await over_stream(nursery, stream)
        await client.next()
        await trio.sleep(30 * 60)
        assert not done.is_set()
        await client.send(typed("hello"))
        await client.until("conversation.item.done")
        nursery.cancel_scope.cancel()


async def test_a_session_expires_with_an_error_and_1001(autojump_clock):
    async with trio.open_nursery() as nursery:
        stream, done = serve(nursery)
        client = await over_stream(nursery, stream)
        await client.next()
        try:
            error = await _next_unhurried(client)
        except ConnectionClosed:
            pytest.fail("no error before the close")
        text = "Your session hit the maximum duration of 60 minutes."
        assert (error["error"]["code"], error["error"]["message"]) == ("session_expired", text)
        with pytest.raises(ConnectionClosed) as caught:
            await _next_unhurried(client)
        assert (caught.value.reason.code, caught.value.reason.reason) == (1001, text)
        assert trio.current_time() == pytest.approx(3600)
        await done.wait()
        nursery.cancel_scope.cancel()


async def _next_unhurried(client: Client) -> dict:
    return json.loads(await client.ws.get_message())


async def test_a_session_expires_without_an_error_if_told_so(autojump_clock):
    async with trio.open_nursery() as nursery:
        stream, done = serve(nursery, quirks=Quirks(close_without_error=True))
        client = await over_stream(nursery, stream)
        await client.next()
        with pytest.raises(ConnectionClosed):
            await _next_unhurried(client)
        await done.wait()
        nursery.cancel_scope.cancel()


async def test_a_client_that_ignores_the_close_frame_is_not_waited_for(autojump_clock):
    limits = ServerLimits(session_seconds=5, close_seconds=1)
    async with trio.open_nursery() as nursery:
        stream, done = serve(nursery, limits=limits)
        peer = Peer(stream)
        await peer.open()
        await peer.receive(CloseConnection)
        await done.wait()
        assert trio.current_time() == pytest.approx(6)


async def test_a_ping_between_the_two_close_frames_does_no_harm(autojump_clock, caplog):
    limits = ServerLimits(session_seconds=5, close_seconds=1)
    async with trio.open_nursery() as nursery:
        stream, done = serve(nursery, limits=limits)
        peer = Peer(stream)
        await peer.open()
        while b"\x88" not in await stream.receive_some():
            pass
        await stream.send_all(b"\x89\x80\0\0\0\0")
        await done.wait()
        assert trio.current_time() <= 6
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_shutting_down_is_bounded_when_nobody_answers(autojump_clock):
    async with trio.open_nursery() as outer:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                stream, _ = serve(nursery)
                outer.start_soon(_silent_client, stream)
                await trio.sleep(1)
                scope.cancel()
        assert trio.current_time() == pytest.approx(1.25)


async def _silent_client(stream) -> None:
    peer = Peer(stream)
    await peer.open()
    await peer.receive(CloseConnection)
    await peer.end()


async def test_shutting_down_in_the_middle_of_a_write_does_not_wait(autojump_clock):
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            stream, _ = serve(nursery, pair=trio.testing.lockstep_stream_pair)
            await Peer(stream).open()
            await trio.sleep(1)
            scope.cancel()
    assert trio.current_time() == pytest.approx(1)


@pytest.mark.parametrize("pace", [1, 4, None, 0])
async def test_answers_stream_at_the_pace(autojump_clock, pace):
    async with trio.open_nursery() as nursery:
        stream, _ = serve(nursery, pace=pace)
        client = await over_stream(nursery, stream)
        await client.next()
        await client.send(typed("tell me a story"), CREATE)
        events = await client.until("response.created")
        began = trio.current_time()
        events = await client.until("response.done")
        took = trio.current_time() - began
        seconds = sum(len(e["delta"]) * 3 / 4 for e in every(events, "response.output_audio.delta"))
        seconds /= 48000
        assert seconds > 20
        assert took == pytest.approx(seconds / pace if pace else 0, abs=0.3)
        nursery.cancel_scope.cancel()


async def test_cancellation_at_any_step_unwinds_and_closes_the_stream(autojump_clock):
    """The server is cancelled after each of its task steps in turn; each run must end."""
    steps = await _cancelled_after(math.inf)
    assert steps > 100
    for step in range(0, steps, 3):
        began = trio.current_time()
        await _cancelled_after(step)
        assert trio.current_time() - began <= 0.26, f"step {step}"


class _CancelAfter(trio.abc.Instrument):
    def __init__(self, scope: trio.CancelScope, steps: float) -> None:
        self.scope = scope
        self.left = steps
        self.seen = 0

    def after_task_step(self, task) -> None:
        self.seen += 1
        if self.seen == self.left:
            self.scope.cancel()


async def _cancelled_after(steps: float) -> int:
    ours, theirs = trio.testing.memory_stream_pair()
    server = EmbeddedServer(options(), seed="s")
    scope = trio.CancelScope()
    instrument = _CancelAfter(scope, steps)

    async def serve_it():
        with scope:
            await server.handle_stream(theirs)

    async def talk():
        try:
            client = await over_stream(nursery, ours)
            await client.next()
            await client.send(typed("hello"), CREATE)
            await client.until("rate_limits.updated")
            await client.ws.aclose()
        except ConnectionClosed:
            pass
        nursery.cancel_scope.cancel()

    trio.lowlevel.add_instrument(instrument)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(talk)
            await serve_it()
            if scope.cancelled_caught or scope.cancel_called:
                nursery.cancel_scope.cancel()
    finally:
        trio.lowlevel.remove_instrument(instrument)
    assert server.connections == 0
    with pytest.raises(trio.ClosedResourceError):
        await theirs.receive_some()
    return instrument.seen


class TestOutbox:
    async def test_frames_come_out_in_order_and_the_close_frame_last(self):
        box = Outbox(100)
        box.put("a")
        box.put("b")
        box.finish(1000, "bye")
        box.put("too late")
        box.finish(1001, "again")

        assert [await box.take() for _ in range(3)] == ["a", "b", CloseFrame(1000, "bye")]

    async def test_a_full_box_makes_putters_wait_until_it_is_below_its_limit(self, autojump_clock):
        box = Outbox(3)
        box.put("four")
        async with trio.open_nursery() as nursery:
            waiting = trio.Event()

            async def wait():
                await box.room()
                waiting.set()

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            assert not waiting.is_set()
            await box.take()
            await trio.testing.wait_all_tasks_blocked()
            assert waiting.is_set()

    async def test_nobody_waits_for_room_in_a_box_that_is_finished(self):
        box = Outbox(3)
        box.put("four")
        box.finish(1000, "")

        await box.room()

    async def test_both_waits_are_checkpoints(self):
        box = Outbox(3)
        box.put("a")
        with trio.testing.assert_checkpoints():
            await box.take()
        with trio.testing.assert_checkpoints():
            await box.room()

    async def test_a_cancelled_take_loses_nothing(self):
        box = Outbox(3)
        box.put("a")
        with trio.CancelScope() as scope:
            scope.cancel()
            await box.take()

        assert await box.take() == "a"
