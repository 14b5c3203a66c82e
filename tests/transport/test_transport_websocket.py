"""What only the default transport does: permessage-deflate, and no tasks at all."""

from __future__ import annotations

import functools
import zlib

import pytest
import trio
from transport_peers import CONTINUATION, PING, TEXT, RawPeer, frame, open_rig
from wsproto.extensions import PerMessageDeflate

from meerkat_rt.transport import TransportClosed


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
