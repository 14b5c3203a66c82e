"""What every transport promises, asked of all three.

The peer is not made of what is tested (`transport_peers`).  A test that uses `framed` is about
bytes on a wire and is skipped, by name, for the transport that has none.
"""

from __future__ import annotations

import functools
import struct

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from transport_peers import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    RawPeer,
    close_frame,
    ended,
    frame,
    open_rig,
    refused,
)

from meerkat_rt.transport import TransportClosed
from meerkat_rt.transport.core import PINGS_IN_FLIGHT, PONGS_KEPT

# -- messages in --


async def test_messages_that_arrive_together_are_one_batch(rig):
    messages = [b"%d" % n for n in range(300)]
    await rig.peer.say(*messages)
    assert await rig.receive() == messages


async def test_messages_that_arrive_apart_are_two_batches(rig):
    await rig.peer.say(b"one")
    assert await rig.receive() == [b"one"]
    await rig.peer.say(b"two")
    assert await rig.receive() == [b"two"]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 300_000])
async def test_a_message_of_any_size_is_whole(open_kind, nursery, size):
    rig = await open_kind(capacity=2**20)
    nursery.start_soon(rig.peer.say, b"x" * size, b"next")
    got = await rig.receive()
    while len(got) < 2:
        got += await rig.receive()
    assert got == [b"x" * size, b"next"]


async def test_messages_are_bytes_that_can_be_kept(rig):
    await rig.peer.say(b'{"type":"a"}', "grüße".encode())
    got = await rig.receive()
    await rig.peer.say(b"y" * 20)
    await rig.receive()
    assert got == [b'{"type":"a"}', "grüße".encode()]
    assert all(type(message) is bytes for message in got)


async def test_a_binary_message_comes_as_it_is(framed, rig):
    await rig.peer.write(frame(BINARY, b"\xff\x00"), frame(BINARY, b"\xfe", fin=False))
    assert await rig.receive() == [b"\xff\x00"]
    await rig.peer.write(frame(CONTINUATION, b"\xfd"))
    assert await rig.receive() == [b"\xfe\xfd"]


async def test_fragments_become_one_message(framed, rig):
    await rig.peer.write(
        frame(TEXT, b"a", fin=False),
        frame(CONTINUATION, b"", fin=False),
        frame(CONTINUATION, b"b", fin=False),
        frame(CONTINUATION, b"c"),
        frame(TEXT, b"", fin=False),
        frame(CONTINUATION, b""),
    )
    assert await rig.receive() == [b"abc", b""]


async def test_control_frames_between_fragments(framed, rig):
    await rig.peer.write(frame(TEXT, b"a", fin=False), frame(PING, b"p"))
    await rig.peer.write(frame(CONTINUATION, b"b", fin=False), frame(PONG, b"unasked"))
    await rig.peer.write(frame(CONTINUATION, b"c"))
    assert await rig.receive() == [b"abc"]
    await rig.send()
    assert await rig.peer.hear() == ("pong", b"p")


async def test_a_character_may_be_cut_between_fragments(framed, rig):
    euro = "€".encode()
    await rig.peer.write(frame(TEXT, euro[:1], fin=False), frame(CONTINUATION, euro[1:]))
    assert await rig.receive() == [euro]


async def test_byte_by_byte(framed, open_kind, nursery):
    rig = await open_kind(wire="lockstep")
    wire = frame(TEXT, b"one") + frame(PING, b"!") + frame(TEXT, b"x" * 130) + close_frame(1000)

    async def trickle():
        for n in range(len(wire)):
            await rig.peer.write(wire[n : n + 1])

    nursery.start_soon(trickle)
    assert await rig.receive() == [b"one"]
    assert await rig.receive() == [b"x" * 130]
    assert await ended(rig) == (1000, "", "peer")
    await rig.transport.aclose()


@st.composite
def valid_wires(draw):
    """(bytes, messages, payloads of pings) of a valid server."""
    wire, messages, pings = [], [], []
    for _ in range(draw(st.integers(1, 8))):
        payload = draw(st.text(max_size=40).map(str.encode) | st.just(b"z" * 200))
        cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=3)))
        parts = [payload[a:b] for a, b in zip([0, *cuts], [*cuts, len(payload)], strict=True)]
        for n, part in enumerate(parts):
            if len(pings) < PONGS_KEPT and draw(st.booleans()):
                pings.append(b"%d" % len(pings))
                wire.append(frame(PING, pings[-1]))
            wire.append(frame(CONTINUATION if n else TEXT, part, fin=n == len(parts) - 1))
        messages.append(payload)
    wire.append(close_frame(1001, "end"))
    return b"".join(wire), messages, pings


@pytest.mark.parametrize("name", ["websockets", "trio-websocket"])
@settings(max_examples=60, deadline=None)
@given(valid=valid_wires(), data=st.data())
async def test_however_the_stream_is_cut_the_messages_are_the_same(name, valid, data):
    wire, messages, pings = valid
    cuts = data.draw(st.lists(st.integers(0, len(wire)), max_size=12).map(sorted))
    got: list[bytes] = []
    async with trio.open_nursery() as nursery:
        rig = await open_rig(name, nursery, wire="lockstep")

        async def write():
            for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True):
                if a < b:
                    await rig.peer.write(wire[a:b])

        nursery.start_soon(write)
        while len(got) < len(messages):
            batch = await rig.transport.receive()
            assert batch
            got += batch
        assert await ended(rig) == (1001, "end", "peer")
        async with trio.open_nursery() as flushing:
            flushing.start_soon(rig.transport.send, ())
            assert [await rig.peer.hear() for _ in pings] == [("pong", ping) for ping in pings]
            assert await rig.peer.hear() == ("close", 1001, "end")
        await rig.transport.aclose()
    assert got == messages


# -- what the peer may not send --


async def test_an_oversize_message_closes_with_1009(open_kind):
    rig = await open_kind(max_message_size=10)
    await rig.peer.say(b"x" * 10, b"y" * 11, b"never seen")
    assert await rig.receive() == [b"x" * 10]
    code, _, by = await ended(rig)
    assert (code, by) == (1009, "us")
    assert len(rig.woken) == 1
    await rig.send()
    said = await rig.peer.hear()
    assert said[:2] == ("close", 1009)


async def test_size_is_in_bytes_and_not_in_characters(open_kind):
    rig = await open_kind(max_message_size=10)
    await rig.peer.say("€€€".encode(), "€€€€".encode())
    assert await rig.receive() == ["€€€".encode()]
    assert (await ended(rig))[0] == 1009


@pytest.mark.parametrize("limit", [10, 200_000])
async def test_fragments_do_not_get_around_the_limit(framed, open_kind, nursery, limit):
    rig = await open_kind(max_message_size=limit)
    rest = [frame(CONTINUATION, b"x" * (limit // 5), fin=False)] * 5
    nursery.start_soon(
        rig.peer.write, frame(TEXT, b"before"), frame(TEXT, b"x", fin=False), *rest, frame(0)
    )
    assert await rig.receive() == [b"before"]
    assert (await ended(rig))[0] == 1009
    await rig.send()
    said = await rig.peer.hear()
    assert said[:2] == ("close", 1009)


async def test_an_oversize_message_is_refused_before_it_has_arrived(framed, open_kind, nursery):
    # The peer stops in the middle of it: nobody may wait for the rest.
    rig = await open_kind(max_message_size=200_000)
    nursery.start_soon(rig.peer.write, frame(TEXT, b"x" * 400_000)[:300_000])
    assert (await ended(rig))[0] == 1009


async def test_invalid_utf8_closes_with_1007(rig):
    await rig.peer.say(b"good", b"\xff\xfe", b"never seen")
    assert await rig.receive() == [b"good"]
    code, _, by = await ended(rig)
    assert (code, by) == (1007, "us")
    assert rig.woken
    await rig.send()
    said = await rig.peer.hear()
    assert said[:2] == ("close", 1007)


async def test_invalid_utf8_over_fragments(framed, rig):
    euro = "€".encode()
    await rig.peer.write(frame(TEXT, euro[:2], fin=False), frame(CONTINUATION, b"x"))
    assert (await ended(rig))[0] == 1007


async def test_invalid_utf8_before_a_close_is_not_a_clean_end(framed, rig):
    await rig.peer.write(frame(TEXT, b"\xff"), close_frame(1000))
    code, _, by = await ended(rig)
    assert (code, by) == (1007, "us")


@pytest.mark.parametrize(
    "broken",
    [
        frame(TEXT, b"x", rsv=4),  # compressed, which was not agreed on
        frame(3, b"x"),  # an opcode nobody knows
        frame(11),
        frame(CONTINUATION, b"x"),  # of nothing
        frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"),
        frame(PING, b"x", fin=False),
        frame(PING, b"x" * 126),
        b"\x81\x81\x00\x00\x00\x00x",  # masked
        frame(CLOSE, b"x"),
        frame(CLOSE, struct.pack("!H", 1006)),
    ],
    ids=[
        "rsv", "opcode", "control-opcode", "continuation", "interleaved", "fragmented-ping",
        "long-ping", "masked", "short-close", "local-code",
    ],
)  # fmt: skip
async def test_a_broken_frame_closes_with_1002(framed, rig, broken):
    await rig.peer.write(frame(TEXT, b"before"), broken)
    assert await rig.receive() == [b"before"]
    code, _, by = await ended(rig)
    assert (code, by) == (1002, "us")
    await rig.send()
    said = await rig.peer.hear()
    assert said[:2] == ("close", 1002)
    assert await refused(rig) == await refused(rig, b"x") == await ended(rig)


# -- messages out --


async def test_messages_go_out_as_text_in_one_write(rig):
    await rig.send(b"one", "zwölf".encode(), b"", b"x" * 70_000)
    heard = [await rig.peer.hear() for _ in range(4)]
    assert heard == [("text", "one"), ("text", "zwölf"), ("text", ""), ("text", "x" * 70_000)]
    if rig.stream is not None:
        assert len(rig.stream.writes) == 1


async def test_protocol_frames_go_before_messages_in_the_same_write(rig):
    await rig.peer.ping(b"1")
    await rig.peer.say(b"x")
    await rig.receive()
    rig.transport.ping()
    await trio.testing.wait_all_tasks_blocked()
    await rig.send(b"message")
    heard = [(await rig.peer.hear())[0] for _ in range(3)]
    assert heard == ["pong", "ping", "text"]
    if rig.stream is not None:
        assert len(rig.stream.writes) == 1


async def test_nothing_to_write_is_no_write(rig):
    await rig.send()
    await rig.send(b"after")
    assert await rig.peer.hear() == ("text", "after")
    if rig.stream is not None:
        assert len(rig.stream.writes) == 1


async def test_a_peer_that_never_reads_blocks_the_writer_and_not_the_reader(
    open_kind, nursery, autojump_clock
):
    rig = await open_kind(wire="lockstep")
    await rig.transport.send([b"x" * 5000]) if rig.stream is None else None
    with trio.move_on_after(5) as patience:
        nursery.start_soon(rig.peer.say, b"hello")
        async with trio.open_nursery() as both:
            both.start_soon(rig.transport.send, [b"x" * 5000])
            assert await rig.transport.receive() == [b"hello"]
    assert patience.cancelled_caught
    started = trio.current_time()
    await rig.transport.aclose()
    assert trio.current_time() == started


async def test_what_is_queued_during_a_write_is_the_next_one(open_kind, nursery, autojump_clock):
    rig = await open_kind(wire="lockstep")
    if rig.stream is None:
        await rig.transport.send([b"x" * 5000])
        nursery.start_soon(rig.transport.send, [b"first"])
    else:
        nursery.start_soon(rig.transport.send, [b"x" * 5000, b"first"])
    await trio.testing.wait_all_tasks_blocked()
    rig.transport.ping()

    async def talk():
        await rig.peer.ping(b"during")
        await rig.peer.say(b"x")

    nursery.start_soon(talk)
    assert await rig.receive() == [b"x"]
    rig.transport.start_close(1000, "bye")
    await trio.testing.wait_all_tasks_blocked()
    assert len(rig.woken) >= 2
    heard = [await rig.peer.hear() for _ in range(2)]
    assert heard == [("text", "x" * 5000), ("text", "first")]
    await trio.testing.wait_all_tasks_blocked()
    nursery.start_soon(rig.transport.send, [])
    heard = [(await rig.peer.hear())[0] for _ in range(3)]
    assert heard == ["pong", "ping", "close"]


async def test_the_peer_vanishes_during_a_write(open_kind, nursery):
    rig = await open_kind(wire="lockstep")
    if rig.stream is None:
        await rig.transport.send([b"x" * 5000])
    ends = []

    async def send():
        with pytest.raises(TransportClosed) as caught:
            await rig.transport.send([b"x" * 5000])
        ends.append((caught.value.code, caught.value.reason, caught.value.by))

    nursery.start_soon(send)
    await trio.testing.wait_all_tasks_blocked()
    nursery.start_soon(rig.peer.vanish)
    assert await ended(rig) == (None, "", "network")
    await trio.testing.wait_all_tasks_blocked()
    assert ends == [(None, "", "network")]


async def test_nobody_has_to_be_woken(kind, nursery):
    rig = await open_rig(kind, nursery)
    rig.transport._wake = None  # as it is before anybody asked
    await rig.peer.ping(b"p")
    await rig.peer.say(b"x")
    assert await rig.receive() == [b"x"]
    rig.transport.start_close()
    await rig.send()
    assert [(await rig.peer.hear())[0] for _ in range(2)] == ["pong", "close"]
    assert not rig.woken


# -- pings --


async def test_a_ping_is_answered_by_the_writer(rig):
    await rig.peer.ping(b"payload")
    await rig.peer.say(b"x")
    assert not rig.woken
    await rig.receive()
    assert len(rig.woken) == 1
    await rig.send()
    assert await rig.peer.hear() == ("pong", b"payload")


async def test_a_ping_alone_wakes_the_writer_while_the_receiver_waits(rig, nursery):
    async def receive():
        with pytest.raises(TransportClosed):
            await rig.transport.receive()

    nursery.start_soon(receive)
    await trio.testing.wait_all_tasks_blocked()
    await rig.peer.ping(b"a")
    await trio.testing.wait_all_tasks_blocked()
    assert rig.woken
    await rig.send()
    assert await rig.peer.hear() == ("pong", b"a")
    await rig.transport.aclose()


async def test_whoever_asks_late_is_woken_at_once(rig):
    rig.transport.start_close()
    woken = []
    rig.transport.on_output(lambda: woken.append(True))
    assert woken == [True]


async def test_a_peer_that_pings_for_ever_is_answered_for_its_latest(framed, rig, nursery):
    nursery.start_soon(
        rig.peer.write, *(frame(PING, b"%d" % n) for n in range(20_000)), frame(TEXT, b"x")
    )
    assert await rig.receive() == [b"x"]
    await rig.send(b"last")
    heard = [await rig.peer.hear() for _ in range(PONGS_KEPT + 1)]
    assert heard == [
        *(("pong", b"%d" % n) for n in range(20_000 - PONGS_KEPT, 20_000)),
        ("text", "last"),
    ]


async def test_our_ping_and_its_pong(rig):
    with trio.testing.assert_no_checkpoints():
        pong = rig.transport.ping()
    await trio.testing.wait_all_tasks_blocked()
    assert rig.woken
    await rig.send()
    kind, payload = await rig.peer.hear()
    assert kind == "ping"
    await rig.peer.pong(b"another")
    await rig.peer.say(b"x")
    await rig.receive()
    assert not pong.is_set()
    await rig.peer.pong(payload)
    await rig.peer.say(b"y")
    await rig.receive()
    with trio.fail_after(1):
        await pong.wait()


async def test_a_later_pong_answers_the_pings_before_it(rig):
    pongs = []
    for _ in range(3):
        pongs.append(rig.transport.ping())
        await trio.testing.wait_all_tasks_blocked()
    await rig.send()
    payloads = [(await rig.peer.hear())[1] for _ in range(3)]
    assert len(set(payloads)) == 3
    await rig.peer.pong(payloads[1])
    await rig.peer.say(b"x")
    await rig.receive()
    await trio.testing.wait_all_tasks_blocked()
    assert [pong.is_set() for pong in pongs] == [True, True, False]


async def test_unanswered_pings_are_bounded(rig):
    pongs = [rig.transport.ping() for _ in range(100)]
    await trio.testing.wait_all_tasks_blocked()
    await rig.send(b"last")
    heard = [await rig.peer.hear() for _ in range(PINGS_IN_FLIGHT + 1)]
    assert [kind for kind, _ in heard] == ["ping"] * PINGS_IN_FLIGHT + ["text"]
    await rig.peer.pong(heard[-2][1])
    await rig.peer.say(b"x")
    await rig.receive()
    await trio.testing.wait_all_tasks_blocked()
    assert all(pong.is_set() for pong in pongs)


@pytest.mark.parametrize("how", ["closed", "closing"])
async def test_a_ping_after_the_end_is_never_answered_and_never_sent(rig, how):
    rig.transport.start_close(1000)
    await rig.send()
    assert await rig.peer.hear() == ("close", 1000, "")
    if how == "closed":
        await rig.peer.close(1000)
        await ended(rig)
    woken = len(rig.woken)
    assert not rig.transport.ping().is_set()
    await trio.testing.wait_all_tasks_blocked()
    assert len(rig.woken) == woken


# -- with the answer to the handshake --


async def test_messages_that_came_with_the_answer_to_the_handshake(framed, open_kind):
    early = frame(TEXT, b"one") + frame(PING, b"p") + frame(TEXT, b"two") + frame(TEXT, b"th")[:3]
    rig = await open_kind(accept=functools.partial(RawPeer.accept, then=early))
    await rig.peer.write(b"h")
    got = await rig.receive()
    while len(got) < 3:
        got += await rig.receive()
    assert got == [b"one", b"two", b"th"]
    assert rig.woken
    await rig.send()
    assert await rig.peer.hear() == ("pong", b"p")


async def test_a_close_that_came_with_the_answer_to_the_handshake(framed, open_kind):
    early = frame(TEXT, b"sorry") + close_frame(1013, "later")
    rig = await open_kind(accept=functools.partial(RawPeer.accept, then=early))
    assert await rig.receive() == [b"sorry"]
    assert await ended(rig) == (1013, "later", "peer")
    await rig.send()
    assert await rig.peer.hear() == ("close", 1013, "later")
