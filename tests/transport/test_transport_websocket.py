"""What only the default transport does: permessage-deflate, and no tasks at all."""

from __future__ import annotations

import functools
import zlib

import pytest
import trio
from transport_peers import (
    BINARY,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    RawPeer,
    close_frame,
    connector_on,
    frame,
    open_rig,
)
from wsproto.extensions import PerMessageDeflate

from meerkat_rt.testing.wires import make_wire
from meerkat_rt.transport import TransportClosed, WebSocketTarget


def deflated(data: bytes) -> bytes:
    """RFC 7692 section 7.2.1: without the four bytes that end every flush."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


@pytest.fixture
async def rig(nursery):
    accept = functools.partial(RawPeer.accept, extensions=[PerMessageDeflate()])
    return await open_rig(
        "websockets", nursery, accept=accept, compression=True, max_message_size=100_000
    )


async def test_compression_is_not_offered_unasked(nursery):
    requests = []

    async def accept(peer):
        requests.append(await peer.accept())

    await open_rig("websockets", nursery, accept=accept)
    await open_rig("websockets", nursery, accept=accept, compression=True)
    assert [bool(request.extensions) for request in requests] == [False, True]


async def test_a_peer_without_compression_is_spoken_to_plainly(nursery):
    rig = await open_rig("websockets", nursery, compression=True)
    await rig.send(b"plain")
    assert await rig.peer.hear() == ("text", "plain")


async def test_compressed_both_ways(rig):
    text = "grüße " * 1000
    await rig.send(text.encode(), b"two")
    assert len(rig.stream.writes[0]) < 200
    assert [await rig.peer.hear() for _ in range(2)] == [("text", text), ("text", "two")]
    packed = deflated(text.encode())
    await rig.peer.write(
        frame(TEXT, packed[:5], fin=False, rsv=4),
        frame(PING, b"between"),
        frame(CONTINUATION, packed[5:]),
        frame(TEXT, b"not compressed"),
    )
    assert await rig.receive() == [text.encode(), b"not compressed"]


async def test_a_small_frame_that_unpacks_to_a_great_deal(rig):
    bomb = deflated(b"x" * 10_000_000)
    assert len(bomb) < 20_000
    await rig.peer.write(frame(TEXT, b"before"), frame(TEXT, bomb, rsv=4))
    assert await rig.receive() == [b"before"]
    with pytest.raises(TransportClosed) as caught:
        await rig.receive()
    assert (caught.value.code, caught.value.by) == (1009, "us")


async def test_data_that_is_not_compressed_as_it_says(rig):
    await rig.peer.write(frame(TEXT, b"\xff" * 20, rsv=4))
    with pytest.raises(TransportClosed) as caught:
        await rig.receive()
    assert (caught.value.code, caught.value.by) == (1002, "us")


async def test_invalid_utf8_that_was_compressed(rig):
    await rig.peer.write(frame(TEXT, deflated(b"\xff"), rsv=4))
    with pytest.raises(TransportClosed) as caught:
        await rig.receive()
    assert (caught.value.code, caught.value.by) == (1007, "us")


async def test_it_has_no_tasks():
    async with trio.open_nursery() as nursery:
        rig = await open_rig("websockets", nursery)
        rig.transport.ping()
        assert not nursery.child_tasks
        await rig.transport.aclose()


# ---------------------------------------------------------------- waiting apart from reading

WHOLE = frame(TEXT, b"whole")
# What a peer writes, write by write; None: its connection breaks.
TALES = {
    "messages": [WHOLE, WHOLE * 3, frame(BINARY, b"bytes"), close_frame(1000, "done")],
    "long": [frame(TEXT, b"x" * 70_000) * 2, close_frame(1001)],
    "byte by byte": [bytes([byte]) for byte in WHOLE + WHOLE + close_frame(1000)],
    "fragments": [
        frame(TEXT, b"gr\xc3", fin=False),
        frame(PING, b"between") + frame(PONG),
        frame(CONTINUATION, b"\xbc") + WHOLE,
        b"",
    ],
    "the end with the last message": [WHOLE + close_frame(4000, "enough")],
    "the end in the middle of one": [WHOLE + WHOLE[:4], b""],
    "the end at once": [b""],
    "a reset": [WHOLE, None],
    "not UTF-8": [WHOLE + frame(TEXT, b"\xff")],
    "not a frame": [WHOLE, b"\xff\xff\xff\xff"],
    "too long": [WHOLE, frame(TEXT, b"x" * 200_000)],
}


async def told(tale, at_once):
    """(the messages of each read, how it ended) of a connection that is read in one of two ways."""
    wire = make_wire("memory")
    peer, reads = RawPeer(wire.server), []
    where = WebSocketTarget(url="ws://peer.test/v1/realtime", max_message_size=150_000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.accept)
        transport = await connector_on("websockets", wire.client).connect(where, nursery=nursery)
    wait = transport.arrival()

    async def read():
        with pytest.raises(TransportClosed) as caught:
            while True:
                if at_once and not transport.pending():
                    await wait()
                    reads.append(transport.receive_nowait())
                else:
                    reads.append(await transport.receive())
        reads.append((caught.value.code, caught.value.reason, caught.value.by))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        for part in tale:
            await trio.testing.wait_all_tasks_blocked()
            if part is None:
                wire.server.reset()
            elif part:
                await wire.server.send_all(part)
            else:
                await wire.server.send_eof()
    await trio.aclose_forcefully(wire.client)
    await trio.aclose_forcefully(wire.server)
    return [read for read in reads if read]


@pytest.mark.parametrize("name", TALES)
async def test_waiting_apart_from_reading_hears_the_same(name):
    heard = await told(TALES[name], at_once=False)
    assert await told(TALES[name], at_once=True) == heard
    assert isinstance(heard[-1], tuple)


async def test_only_a_stream_that_can_be_shared_is_waited_for_apart(nursery):
    assert (await open_rig("websockets", nursery)).transport.arrival() is None
    assert (await open_rig("memory", nursery)).transport.arrival() is None
    assert (await open_rig("trio-websocket", nursery)).transport.arrival() is None


async def test_whoever_does_not_wait_gets_what_receive_would_have_returned():
    wire = make_wire("memory")
    peer = RawPeer(wire.server)
    where = WebSocketTarget(url="ws://peer.test/v1/realtime")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(functools.partial(peer.accept, then=frame(TEXT, b"first")))
        transport = await connector_on("websockets", wire.client).connect(where, nursery=nursery)
    await peer.say(b"second")
    assert transport.pending()
    assert transport.receive_nowait() == [b"first"]
    assert transport.receive_nowait() == [b"second"]
    assert transport.receive_nowait() == []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(transport.receive)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            transport.receive_nowait()
        await peer.write(frame(TEXT, b"third") + close_frame(1000))
    await peer.say(b"behind the end")
    assert transport.pending()
    assert transport.receive_nowait() == []
    with pytest.raises(TransportClosed, match="1000"):
        await transport.receive()
    await trio.aclose_forcefully(wire.client)
    await trio.aclose_forcefully(wire.server)
