"""The socket that waits first: that it reads right, and only its own socket."""

from __future__ import annotations

import os
import socket

import pytest
import trio
import trio.testing
from support.sockets import connected

from meerkat_rt.transport import RECEIVE_BUFFER
from meerkat_rt.transport.socket_stream import WaitFirstStream, open_tcp


@pytest.fixture
async def pair():
    """(a stream that waits first, the plain stream at the other end)."""
    async with connected() as both:
        yield both


async def test_it_reads_what_is_there(pair):
    stream, peer = pair
    await peer.send_all(b"hello")
    with trio.testing.assert_checkpoints():
        assert await stream.receive_some() == b"hello"
    await peer.send_all(b"world")
    assert await stream.receive_some(3) == b"wor"
    assert await stream.receive_some(3) == b"ld"
    await peer.send_eof()
    with trio.testing.assert_checkpoints():
        assert await stream.receive_some() == b""


async def test_it_waits_for_what_is_not_there(pair, nursery):
    stream, peer = pair
    got = []

    async def read():
        got.append(await stream.receive_some())

    nursery.start_soon(read)
    await trio.testing.wait_all_tasks_blocked()
    assert not got
    await peer.send_all(b"x")
    with trio.fail_after(5):
        while not got:
            await trio.lowlevel.checkpoint()
    assert got == [b"x"]


async def test_a_great_deal_arrives_whole(pair, nursery):
    stream, peer = pair
    sent = os.urandom(3 * RECEIVE_BUFFER + 17)
    nursery.start_soon(peer.send_all, sent)
    got = b""
    with trio.fail_after(5):
        while len(got) < len(sent):
            with trio.testing.assert_checkpoints():
                got += await stream.receive_some()
    assert got == sent


async def test_a_cancelled_read_loses_nothing(pair):
    stream, peer = pair
    with trio.CancelScope() as scope:
        scope.cancel()
        await stream.receive_some()
    assert scope.cancelled_caught
    await peer.send_all(b"kept")
    with trio.CancelScope() as scope:
        scope.cancel()
        await stream.receive_some()
    assert scope.cancelled_caught
    assert await stream.receive_some() == b"kept"


async def test_a_wake_up_for_nothing_is_slept_through(pair, nursery, monkeypatch):
    stream, peer = pair
    answers = [BlockingIOError(), BlockingIOError()]
    real = os.read

    def read(descriptor, size):
        if answers:
            raise answers.pop()
        return real(descriptor, size)

    monkeypatch.setattr("meerkat_rt.transport.socket_stream.os.read", read)
    await peer.send_all(b"at last")
    assert await stream.receive_some() == b"at last"
    assert not answers


async def test_a_second_reader_is_told_so(pair, nursery):
    stream, _peer = pair
    nursery.start_soon(stream.receive_some)
    await trio.testing.wait_all_tasks_blocked()
    with pytest.raises(trio.BusyResourceError):
        await stream.receive_some()
    nursery.cancel_scope.cancel()


async def test_closed_while_it_waits(pair, nursery):
    stream, _peer = pair

    async def read():
        with pytest.raises(trio.ClosedResourceError):
            await stream.receive_some()

    nursery.start_soon(read)
    await trio.testing.wait_all_tasks_blocked()
    await stream.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await stream.receive_some()


async def test_it_never_reads_the_socket_that_got_its_number(pair, monkeypatch):
    stream, _peer = pair
    wait_readable = trio.lowlevel.wait_readable
    others = []

    async def wait_and_lose(descriptor):
        await wait_readable(descriptor)
        # Closed by somebody after the wake-up, and the number taken at once.
        await stream.aclose()
        others.extend(socket.socketpair())
        others[1].send(b"somebody else's")
        assert descriptor in (other.fileno() for other in others)

    await _peer.send_all(b"x")
    monkeypatch.setattr(trio.lowlevel, "wait_readable", wait_and_lose)
    with pytest.raises(trio.ClosedResourceError):
        await stream.receive_some()
    assert others[0].recv(100) == b"somebody else's"
    for other in others:
        other.close()


async def test_a_reset_is_a_broken_stream():
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    stream = await open_tcp(*listener.socket.getsockname()[:2])
    peer = await listener.accept()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    await peer.aclose()
    with trio.fail_after(5), pytest.raises(trio.BrokenResourceError) as caught:
        await stream.receive_some()
    assert isinstance(caught.value.__cause__, OSError)
    await stream.aclose()
    await listener.aclose()


async def test_tcp_sends_small_writes_at_once():
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    stream = await open_tcp(*listener.socket.getsockname()[:2])
    assert isinstance(stream, WaitFirstStream)
    assert stream._stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    await stream.wait_send_all_might_not_block()
    await stream.aclose()
    await listener.aclose()
