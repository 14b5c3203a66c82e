"""The in-memory transport on its own: its connector, its bounds, two of them talking."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from meerkat_rt.transport import (
    MemoryConnector,
    TransportClosed,
    WebSocketTarget,
    memory_transport_pair,
)


async def test_two_ends_talk_and_close():
    left, right = memory_transport_pair()
    await left.send([b"a", b"b"])
    assert await right.receive() == [b"a", b"b"]
    right.start_close(4000, "enough")
    await right.send([])
    with pytest.raises(TransportClosed) as caught:
        await left.receive()
    assert (caught.value.code, caught.value.reason, caught.value.by) == (4000, "enough", "peer")
    await left.send([])
    with pytest.raises(TransportClosed) as caught:
        await right.receive()
    assert (caught.value.code, caught.value.reason, caught.value.by) == (4000, "enough", "us")
    await left.aclose()
    await right.aclose()


async def test_two_ends_keep_each_other_alive():
    left, right = memory_transport_pair()
    woken = []
    right.on_output(lambda: woken.append(True))
    pong = left.ping()
    await left.send([b"x"])
    assert await right.receive() == [b"x"]
    assert woken == [True]
    await right.send([b"y"])
    assert await left.receive() == [b"y"]
    assert pong.is_set()


async def test_an_end_that_closes_is_a_broken_network_to_the_other():
    left, right = memory_transport_pair()
    await left.send([b"x"])
    await left.aclose()
    assert await right.receive() == [b"x"]
    with pytest.raises(TransportClosed) as caught:
        await right.receive()
    assert (caught.value.code, caught.value.by) == (None, "network")
    with pytest.raises(TransportClosed):
        await right.send([b"y"])


async def test_what_waits_is_bounded(nursery):
    left, right = memory_transport_pair(capacity=1000)
    sent = []

    async def send():
        for n in range(1000):
            await left.send([b"x" * 92])
            sent.append(n)

    nursery.start_soon(send)
    await trio.testing.wait_all_tasks_blocked()
    assert len(sent) == 10
    assert len(await right.receive()) == 10
    await trio.testing.wait_all_tasks_blocked()
    assert len(sent) == 20


async def test_empty_messages_are_bounded_too(nursery):
    left, _right = memory_transport_pair(capacity=1000)
    sent = []

    async def send():
        while True:
            await left.send([b""])
            sent.append(b"")

    nursery.start_soon(send)
    await trio.testing.wait_all_tasks_blocked()
    assert 0 < len(sent) < 1000
    nursery.cancel_scope.cancel()


async def test_a_connector_that_stays_in_the_process(nursery):
    accepted = []
    connector = MemoryConnector(lambda target, peer: accepted.append((target, peer)))
    assert connector.name == "memory"
    target = WebSocketTarget(url="ws://nowhere/", max_message_size=10)
    with trio.testing.assert_checkpoints():
        transport = await connector.connect(target, nursery=nursery)
    ((seen, peer),) = accepted
    assert seen is target
    await peer.send([b"x" * 10])
    assert await transport.receive() == [b"x" * 10]
    await peer.send([b"x" * 11])
    with pytest.raises(TransportClosed) as caught:
        await transport.receive()
    assert caught.value.code == 1009
