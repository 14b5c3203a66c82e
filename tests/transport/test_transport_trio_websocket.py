"""What is particular to trio-websocket: its tasks, and the habits that it is kept from."""

from __future__ import annotations

import pytest
import trio
import trio.testing
import trio_websocket
from transport_peers import TEXT, frame, open_rig

from meerkat_rt.transport import TransportClosed


async def test_the_private_name_is_there(nursery):
    # The one private name of the library that is used.  Should it go, this says so by itself.
    rig = await open_rig("trio-websocket", nursery)
    channel = rig.transport._websocket._recv_channel
    assert isinstance(channel, trio.MemoryReceiveChannel)


async def test_closing_ends_its_tasks():
    async with trio.open_nursery() as nursery:
        rig = await open_rig("trio-websocket", nursery)
        pong = rig.transport.ping()
        await trio.testing.wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 2
        with trio.CancelScope() as scope:
            scope.cancel()
            await rig.transport.aclose()
        assert not nursery.child_tasks
        assert not pong.is_set()
        await rig.transport.aclose()


async def test_the_peers_end_ends_its_tasks():
    async with trio.open_nursery() as nursery:
        rig = await open_rig("trio-websocket", nursery)
        rig.transport.ping()
        await trio.testing.wait_all_tasks_blocked()
        await rig.peer.vanish()
        with pytest.raises(TransportClosed):
            await rig.receive()
        await trio.testing.wait_all_tasks_blocked()
        assert not nursery.child_tasks
    await rig.transport.aclose()


async def test_cancelling_its_nursery_ends_the_reader_elsewhere(nursery):
    started = trio.Event()
    rigs = []

    async def host():
        async with trio.open_nursery() as inner:
            rigs.append(await open_rig("trio-websocket", inner))
            started.set()
            await trio.sleep_forever()

    ended = []

    async def receive(rig):
        with pytest.raises(TransportClosed) as caught:
            await rig.transport.receive()
        ended.append(caught.value.by)

    with trio.fail_after(5):
        async with trio.open_nursery() as both, trio.open_nursery() as hosts:
            hosts.start_soon(host)
            await started.wait()
            both.start_soon(receive, rigs[0])
            await trio.testing.wait_all_tasks_blocked()
            hosts.cancel_scope.cancel()
    assert ended == ["us"]
    await rigs[0].transport.aclose()


async def test_a_fault_of_the_library_ends_the_connection_and_not_the_session(monkeypatch):
    async def stumble(_self, _event):
        raise RuntimeError("stumbled")

    monkeypatch.setattr(trio_websocket.WebSocketConnection, "_handle_message_event", stumble)
    async with trio.open_nursery() as nursery:
        rig = await open_rig("trio-websocket", nursery)
        await rig.peer.say(b"x")
        with pytest.raises(TransportClosed) as caught:
            await rig.receive()
        assert caught.value.by == "us"
        assert "stumbled" in str(caught.value.__cause__)
        await rig.transport.aclose()


async def test_it_reads_no_further_than_it_is_asked(nursery):
    rig = await open_rig("trio-websocket", nursery, wire="lockstep")
    unread = []

    async def talk():
        for n in range(10):
            await rig.peer.write(frame(TEXT, b"%d" % n))
            unread.append(n)

    nursery.start_soon(talk)
    assert await rig.receive() == [b"0"]
    await trio.testing.wait_all_tasks_blocked()
    assert len(unread) <= 1
    assert await rig.receive() == [b"1"]


async def test_a_batch_fits_the_queue_however_small_the_messages(nursery):
    # 32,768 empty messages are one read.  Were the queue shorter, the reader would wait for ever.
    rig = await open_rig("trio-websocket", nursery)
    empty = frame(TEXT) * 32768
    nursery.start_soon(rig.peer.write, empty)
    got = 0
    with trio.fail_after(20):
        while got < 32768:
            got += len(await rig.transport.receive())
    assert got == 32768


@pytest.mark.parametrize("ticks", range(8))
async def test_a_ping_that_meets_the_peers_close(nursery, ticks):
    rig = await open_rig("trio-websocket", nursery)
    await rig.peer.close(1000, "bye")

    async def ping():
        for _ in range(ticks):
            await trio.lowlevel.checkpoint()
        rig.transport.ping()

    nursery.start_soon(ping)
    with pytest.raises(TransportClosed, match="bye"):
        await rig.receive()
    await rig.transport.aclose()


async def test_the_library_cannot_close_the_stream(nursery):
    rig = await open_rig("trio-websocket", nursery)
    await rig.transport._websocket._stream.wait_send_all_might_not_block()
    await rig.transport._websocket._stream.aclose()
    assert not rig.stream.closed
    await rig.send(b"still here")
    assert await rig.peer.hear() == ("text", "still here")


async def test_a_ping_that_is_overtaken_by_our_close_is_not_sent(nursery):
    rig = await open_rig("trio-websocket", nursery)
    rig.transport.ping()
    rig.transport.start_close()
    await trio.testing.wait_all_tasks_blocked()
    await rig.send()
    assert await rig.peer.hear() == ("close", 1000, "")
    await rig.transport.aclose()
    assert await rig.peer.hear() == ("end",)
