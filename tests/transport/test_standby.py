"""Two readers of one stream: who is woken by what arrives, and that nothing is lost."""

from __future__ import annotations

import os
import sys
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
import trio.testing
from support import sockets

from meerkat_rt.testing.wires import make_wire
from meerkat_rt.transport.standby import ReadInterrupted

HAS_EPOLL = sys.platform == "linux"
KINDS = ["wire", *(["socket", "tls"] if HAS_EPOLL else [])]
needs_epoll = pytest.mark.skipif(not HAS_EPOLL, reason="sockets are not shared here")
BIG = os.urandom(8 * 1024 * 1024)  # more than a pair of sockets holds


@asynccontextmanager
async def opened(kind, tls):
    """(our end, the other end)."""
    if kind == "wire":
        wire = make_wire("memory")
        yield wire.client, wire.server
        wire.client.close()
        wire.server.close()
    else:
        async with sockets.connected(tls if kind == "tls" else None) as both:
            yield both


@attrs.define
class Pair:
    """A stream, its other end, and one that stands by: `woken` so often, and how it is doing."""

    stream: object
    peer: object
    nursery: trio.Nursery
    woken: int = 0

    @property
    def standby(self):
        return self.stream.standby()

    async def stands_by(self):
        """Begin to; return once it sleeps."""
        self.nursery.start_soon(self._stand_by)
        await trio.testing.wait_all_tasks_blocked()

    async def _stand_by(self):
        await self.standby.stand_by()
        self.woken += 1

    async def arrives(self, data):
        await self.peer.send_all(data)
        await settled()


async def settled():
    """Whoever was woken by what was written has run: each pass of the scheduler asks the kernel."""
    for _ in range(8):
        await trio.lowlevel.checkpoint()


@pytest.fixture(params=KINDS)
async def pair(request, tls, nursery):
    async with opened(request.param, tls) as (near, far):
        yield Pair(near, far, nursery)


async def test_it_is_always_the_same(pair):
    assert pair.standby is not None
    assert pair.stream.standby() is pair.standby


async def test_what_arrives_wakes_the_one_that_stands_by(pair):
    await pair.stands_by()
    assert not pair.woken
    await pair.arrives(b"hello")
    assert pair.woken == 1
    assert await pair.stream.receive_some() == b"hello"


async def test_what_is_there_already_does_too(pair):
    await pair.arrives(b"hello")
    await pair.stands_by()
    await settled()
    assert pair.woken == 1
    assert await pair.stream.receive_some() == b"hello"


async def test_nobody_may_read_for_one_that_does_not_stand_by(pair):
    assert not pair.standby.enter()
    await pair.stands_by()
    assert pair.standby.enter()
    pair.standby.leave()
    pair.standby.call()
    assert not pair.standby.enter(), "it was called and is about to read"
    await settled()
    assert not pair.standby.enter()


async def test_it_sleeps_while_another_one_reads(pair):
    await pair.stands_by()
    for word in (b"one", b"two", b"three"):
        assert pair.standby.enter()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pair.arrives, word)
            assert await pair.stream.receive_some() == word
        pair.standby.leave()
        await settled()
        assert not pair.woken
    await pair.arrives(b"and mine")
    assert pair.woken == 1


async def test_what_came_unread_meanwhile_wakes_it_when_the_other_one_leaves(pair):
    await pair.stands_by()
    assert pair.standby.enter()
    await pair.arrives(b"left behind")
    assert not pair.woken
    pair.standby.leave()
    await settled()
    assert pair.woken == 1
    assert await pair.stream.receive_some() == b"left behind"


async def test_to_come_back_before_it_has_run_is_to_read_all_the_same(pair):
    await pair.stands_by()
    assert pair.standby.enter()
    await pair.arrives(b"x")
    pair.standby.leave()
    assert pair.standby.enter()
    await settled()
    assert not pair.woken
    assert await pair.stream.receive_some() == b"x"
    pair.standby.leave()


async def test_a_call_wakes_it_for_nothing(pair):
    await pair.stands_by()
    pair.standby.call()
    await settled()
    assert pair.woken == 1


async def test_a_call_counts_although_the_other_one_still_reads(pair):
    await pair.stands_by()
    assert pair.standby.enter()
    pair.standby.call()
    await settled()
    assert pair.woken == 1
    pair.standby.leave()


async def interrupted(stream):
    with pytest.raises(ReadInterrupted):
        await stream.receive_some()


async def test_an_interrupted_read_returns_and_loses_nothing(pair):
    await pair.stands_by()
    assert pair.standby.enter()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(interrupted, pair.stream)
        await trio.testing.wait_all_tasks_blocked()
        pair.standby.interrupt()
    pair.standby.leave()
    await settled()
    assert not pair.woken
    assert pair.standby.enter()
    await pair.arrives(b"whole")
    assert await pair.stream.receive_some() == b"whole"
    pair.standby.leave()


async def test_an_interruption_before_the_wait_is_not_lost(pair):
    await pair.stands_by()
    assert pair.standby.enter()
    pair.standby.interrupt()
    await interrupted(pair.stream)


async def test_a_read_that_has_got_something_is_not_interrupted_nor_is_the_next(pair):
    await pair.stands_by()
    got = []

    async def read():
        got.append(await pair.stream.receive_some())

    assert pair.standby.enter()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        await pair.peer.send_all(b"first")
        await settled()
        pair.standby.interrupt()
    pair.standby.leave()
    assert pair.standby.enter()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await settled()
        assert got == [b"first"], "an old interruption ended a new read"
        await pair.peer.send_all(b"second")
    assert got == [b"first", b"second"]


async def test_one_that_is_cancelled_stands_by_no_more(pair):
    with trio.CancelScope() as scope:
        scope.cancel()
        await pair.standby.stand_by()
    assert scope.cancelled_caught
    assert not pair.standby.enter()
    await pair.arrives(b"kept")
    await pair.stands_by()
    await settled()
    assert pair.woken == 1
    assert await pair.stream.receive_some() == b"kept"


async def test_a_close_wakes_both_and_leaves_nothing(pair):
    await pair.stands_by()
    assert pair.standby.enter()

    async def read():
        with pytest.raises(trio.ClosedResourceError):
            await pair.stream.receive_some()
        pair.standby.leave()

    pair.nursery.start_soon(read)
    await trio.testing.wait_all_tasks_blocked()
    await pair.stream.aclose()
    await settled()
    assert pair.woken == 1
    assert not pair.standby.enter()
    await pair.stream.aclose()


async def test_the_end_of_the_stream_is_seen_by_the_one_that_stands_by(pair):
    await pair.stands_by()
    await trio.aclose_forcefully(pair.peer)
    await settled()
    assert pair.woken == 1


async def test_the_hang_up_of_the_peer_leaves_it_asleep_while_another_one_reads(pair):
    await pair.stands_by()
    assert pair.standby.enter()
    await trio.aclose_forcefully(pair.peer)
    assert await pair.stream.receive_some() == b""
    assert not pair.woken
    pair.standby.leave()


async def test_what_tls_holds_back_is_pending(tls):
    async with sockets.connected(tls) as (near, far):
        assert not near.pending()
        await far.send_all(b"abcdef")
        assert await near.receive_some(4) == b"abcd"
        assert near.pending()
        assert await near.receive_some(4) == b"ef"
        assert not near.pending()


# ---------------------------------------------------------------- who waits without reading


@pytest.fixture(params=[kind for kind in KINDS if kind != "tls"])
async def entered(request, tls, nursery):
    async with opened(request.param, tls) as (near, far):
        pair = Pair(near, far, nursery)
        await pair.stands_by()
        assert pair.standby.enter()
        yield pair


async def test_a_wait_ends_with_what_arrives_which_can_be_read_at_once(entered):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(entered.standby.arrival)
        await trio.testing.wait_all_tasks_blocked()
        assert entered.stream.receive_nowait(100) is None
        await entered.peer.send_all(b"abcdef")
    with trio.testing.assert_checkpoints():
        await entered.standby.arrival()
    assert entered.stream.receive_nowait(4) == b"abcd"
    assert entered.stream.receive_nowait(4) == b"ef"
    assert entered.stream.receive_nowait(4) is None
    assert not entered.woken


async def waits_in_vain(pair):
    with pytest.raises(trio.ClosedResourceError):
        await pair.standby.arrival()


async def test_a_wait_can_be_interrupted_and_the_next_one_waits_again(entered):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(waits_in_vain, entered)
        await trio.testing.wait_all_tasks_blocked()
        entered.standby.interrupt()
    entered.standby.leave()
    assert entered.standby.enter()
    with trio.move_on_after(0) as scope:
        await entered.standby.arrival()
    assert scope.cancelled_caught
    await entered.arrives(b"whole")
    await entered.standby.arrival()
    assert entered.stream.receive_nowait(100) == b"whole"


async def test_a_close_ends_a_wait_too(entered):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reads_what_is_closed, entered)
        await trio.testing.wait_all_tasks_blocked()
        await entered.stream.aclose()
    await settled()
    assert entered.woken == 1


async def reads_what_is_closed(pair):
    with pytest.raises(trio.ClosedResourceError):
        await pair.standby.arrival()
        pair.stream.receive_nowait(100)


async def test_the_end_of_the_stream_ends_a_wait_and_is_read_again_and_again(entered):
    await trio.aclose_forcefully(entered.peer)
    await entered.standby.arrival()
    assert entered.stream.receive_nowait(100) == b""
    assert entered.stream.receive_nowait(100) == b""


@needs_epoll
async def test_tls_may_have_to_write_in_order_to_read(tls):
    async with sockets.connected(tls) as (near, _):
        assert not near.reads_alone
        with pytest.raises(NotImplementedError):
            near.receive_nowait(100)


@needs_epoll
async def test_a_write_that_waits_outlives_interruptions():
    async with sockets.connected() as (stream, peer), trio.open_nursery() as nursery:
        nursery.start_soon(stream.standby().stand_by)
        nursery.start_soon(stream.send_all, BIG)
        await settled()
        got = bytearray()
        while len(got) < len(BIG):
            assert stream.standby().enter()
            async with trio.open_nursery() as reading:
                reading.start_soon(interrupted, stream)
                await settled()
                stream.standby().interrupt()
            stream.standby().leave()
            got += await peer.receive_some(1024 * 1024)
        assert got == BIG
        nursery.cancel_scope.cancel()


@needs_epoll
async def test_without_a_descriptor_left_a_socket_is_not_shared(monkeypatch):
    def exhausted():
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("meerkat_rt.transport.standby.select.epoll", exhausted)
    async with sockets.connected() as (stream, peer):
        assert stream.standby() is None
        await peer.send_all(b"read as ever")
        assert await stream.receive_some() == b"read as ever"


async def test_elsewhere_a_socket_is_not_shared(monkeypatch):
    monkeypatch.setattr("meerkat_rt.transport.standby.sys.platform", "darwin")
    async with sockets.connected() as (stream, _):
        assert stream.standby() is None
