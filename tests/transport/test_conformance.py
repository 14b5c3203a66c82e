"""What every transport promises, asked of all three.

The peer is not made of what is tested (`transport_peers`).  A test that uses `framed` is about
bytes on a wire and is skipped, by name, for the transport that has none.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
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
    frame,
    open_rig,
)

from meerkat_rt.transport import TransportClosed
from meerkat_rt.transport.core import PINGS_IN_FLIGHT, PONGS_KEPT


async def ended(rig) -> tuple[int | None, str, str]:
    """How the reader is told that it is over; it is told the same again and again."""
    with pytest.raises(TransportClosed) as first:
        await rig.receive()
    with pytest.raises(TransportClosed) as second:
        await rig.receive()
    assert str(first.value) == str(second.value)
    assert first.value is not second.value
    error = first.value
    return error.code, error.reason, error.by


async def refused(rig, *messages: bytes) -> tuple[int | None, str, str]:
    with pytest.raises(TransportClosed) as caught:
        await rig.transport.send(messages)
    return caught.value.code, caught.value.reason, caught.value.by


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


# -- closing --


async def test_the_peer_closes(rig):
    await rig.peer.say(b"last words")
    await rig.peer.close(1001, "going awäy")
    assert await rig.receive() == [b"last words"]
    assert await ended(rig) == (1001, "going awäy", "peer")
    assert rig.woken
    # The answer is still written; messages are not, but they do not stop it.
    assert await refused(rig, b"too late") == (1001, "going awäy", "peer")
    assert await rig.peer.hear() == ("close", 1001, "going awäy")
    assert await refused(rig) == (1001, "going awäy", "peer")
    await rig.transport.aclose()
    assert await rig.peer.hear() == ("end",)
    assert await ended(rig) == (1001, "going awäy", "peer")


async def test_the_answer_to_the_peers_close_is_flushed_without_an_error(rig):
    await rig.peer.close(4000, "mine")
    await ended(rig)
    await rig.send()
    assert await rig.peer.hear() == ("close", 4000, "mine")


async def test_a_close_without_a_code(framed, rig):
    await rig.peer.write(frame(CLOSE))
    assert await ended(rig) == (1005, "", "peer")
    await rig.send()
    assert await rig.peer.hear() == ("close", 1005, "")  # that is, without one too


async def test_a_close_amid_fragments(framed, rig):
    await rig.peer.write(frame(TEXT, b"unfin", fin=False), close_frame(1011, "crashed"))
    assert await ended(rig) == (1011, "crashed", "peer")
    await rig.send()
    assert (await rig.peer.hear())[0] == "close"


async def test_what_follows_a_close_is_not_seen(rig):
    await rig.peer.close(1000)
    await rig.peer.say(b"ghost")
    assert (await ended(rig))[0] == 1000


async def test_we_close(rig):
    with trio.testing.assert_no_checkpoints():
        rig.transport.start_close(4001, "enough")
        rig.transport.start_close(1011, "not this one")
    assert len(rig.woken) == 1
    assert await refused(rig, b"too late") == (4001, "enough", "us")
    assert await rig.peer.hear() == ("close", 4001, "enough")
    await rig.send()  # nothing to say, and no error: the close is not complete
    # Until the peer answers it may go on, with pings too.
    await rig.peer.say(b"crossed")
    await rig.peer.ping(b"crossed")
    assert await rig.receive() == [b"crossed"]
    await rig.peer.close(4001, "enough")
    assert await ended(rig) == (4001, "enough", "us")
    assert await refused(rig) == (4001, "enough", "us")
    await rig.transport.aclose()
    assert await rig.peer.hear() == ("end",)  # no pong, and no second close frame


async def test_both_close_at_once(rig):
    await rig.peer.close(1012, "restart")
    rig.transport.start_close(1000, "bye")
    await rig.send()
    assert await ended(rig) == (1000, "bye", "us")
    assert await rig.peer.hear() == ("close", 1000, "bye")
    rig.transport.start_close(1000, "again")
    assert await refused(rig) == (1000, "bye", "us")
    await rig.transport.aclose()
    assert await rig.peer.hear() == ("end",)


async def test_closing_after_the_peer_has_does_nothing(rig):
    await rig.peer.close(1000, "theirs")
    await ended(rig)
    rig.transport.start_close(1001, "ours")
    await rig.send()
    assert await rig.peer.hear() == ("close", 1000, "theirs")
    assert await ended(rig) == (1000, "theirs", "peer")


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 2999, 5000])
async def test_a_code_that_no_close_frame_carries(rig, code):
    with pytest.raises(ValueError, match=str(code)):
        rig.transport.start_close(code)
    await rig.send(b"still open")
    assert await rig.peer.hear() == ("text", "still open")


async def test_a_long_reason_is_cut_between_characters(rig):
    rig.transport.start_close(1000, "€" * 100)
    await rig.send()
    assert await rig.peer.hear() == ("close", 1000, "€" * 41)


async def test_the_peer_breaks_the_protocol_while_we_close(rig):
    rig.transport.start_close(1000, "bye")
    await rig.send()
    await rig.peer.say(b"\xff")
    assert await ended(rig) == (1000, "bye", "us")
    await rig.transport.aclose()
    assert await rig.peer.hear() == ("close", 1000, "bye")
    assert await rig.peer.hear() == ("end",)


@pytest.mark.parametrize("ticks", range(10))
async def test_no_message_follows_the_answer_to_a_close(rig, nursery, ticks):
    async def receive():
        with pytest.raises(TransportClosed):
            await rig.transport.receive()

    nursery.start_soon(receive)
    await trio.testing.wait_all_tasks_blocked()
    await rig.peer.close(1000)
    for _ in range(ticks):
        await trio.lowlevel.checkpoint()
    with contextlib.suppress(TransportClosed):
        await rig.transport.send([b"late"])
    await trio.testing.wait_all_tasks_blocked()
    with contextlib.suppress(TransportClosed):
        await rig.transport.send([])
    await rig.transport.aclose()
    heard = [await rig.peer.hear()]
    while heard[-1] != ("end",):
        heard.append(await rig.peer.hear())
    assert heard[-2:] == [("close", 1000, ""), ("end",)]
    assert heard[:-2] in ([], [("text", "late")])


async def test_the_peer_hangs_up_instead_of_answering_our_close(rig):
    rig.transport.start_close(1000, "bye")
    await rig.send()
    await rig.peer.vanish()
    assert await ended(rig) == (1000, "bye", "us")


async def test_closing_the_stream_ends_it_for_the_reader(rig, nursery):
    results = []

    async def receive():
        with pytest.raises(TransportClosed) as caught:
            await rig.transport.receive()
        results.append((caught.value.code, caught.value.reason, caught.value.by))

    nursery.start_soon(receive)
    await trio.testing.wait_all_tasks_blocked()
    with trio.testing.assert_checkpoints():
        await rig.transport.aclose()
    await trio.testing.wait_all_tasks_blocked()
    assert results == [(None, "", "us")]
    assert await ended(rig) == (None, "", "us")
    assert await refused(rig, b"x") == await refused(rig) == (None, "", "us")
    assert await rig.peer.hear() == ("end",)


async def test_closing_the_stream_ends_it_for_the_writer(open_kind, nursery):
    rig = await open_kind(wire="lockstep")
    if rig.stream is None:
        await rig.transport.send([b"x" * 5000])
    results = []

    async def send():
        with pytest.raises(TransportClosed) as caught:
            await rig.transport.send([b"x" * 5000])
        results.append(caught.value.by)

    nursery.start_soon(send)
    await trio.testing.wait_all_tasks_blocked()
    await rig.transport.aclose()
    await trio.testing.wait_all_tasks_blocked()
    assert results == ["us"]
    assert await refused(rig) == (None, "", "us")


async def test_closing_the_stream_while_a_write_is_being_cancelled(open_kind, nursery):
    rig = await open_kind(wire="lockstep")
    if rig.stream is None:
        await rig.transport.send([b"x" * 5000])
    scope = trio.CancelScope()

    async def send():
        with scope:
            await rig.transport.send([b"x" * 5000])

    nursery.start_soon(send)
    await trio.testing.wait_all_tasks_blocked()
    rig.transport.start_close(1000, "bye")
    scope.cancel()
    await rig.transport.aclose()
    assert await ended(rig) == await refused(rig) == (1000, "bye", "us")


async def test_closing_the_stream_again_does_nothing(rig):
    for _ in range(3):
        with trio.testing.assert_checkpoints():
            await rig.transport.aclose()
    rig.transport.start_close()
    assert not rig.woken
    assert await ended(rig) == (None, "", "us")


async def test_closing_the_stream_works_while_cancelled(rig):
    with trio.CancelScope() as scope:
        scope.cancel()
        await rig.transport.aclose()
    assert scope.cancelled_caught
    assert await rig.peer.hear() == ("end",)
    assert await refused(rig, b"x") == (None, "", "us")


# -- the network --


async def test_the_peer_vanishes_while_nothing_happens(rig, nursery):
    nursery.start_soon(rig.peer.vanish)
    assert await ended(rig) == (None, "", "network")
    assert await refused(rig, b"x") == (None, "", "network")


async def test_the_peer_vanishes_after_a_message(rig):
    await rig.peer.say(b"all there was")
    await rig.peer.vanish()
    assert await rig.receive() == [b"all there was"]
    assert await ended(rig) == (None, "", "network")


@pytest.mark.parametrize(
    "start",
    [b"\x81", frame(TEXT, b"x" * 50)[:20], frame(TEXT, b"part", fin=False)],
    ids=["header", "payload", "message"],
)
async def test_the_peer_vanishes_in_the_middle(framed, rig, start):
    await rig.peer.write(frame(TEXT, b"whole"), start)
    await rig.peer.vanish()
    assert await rig.receive() == [b"whole"]
    assert await ended(rig) == (None, "", "network")


async def test_a_broken_stream_is_the_cause(framed, open_kind):
    rig = await open_kind()
    broken = trio.BrokenResourceError("reset")

    async def reset(_max_bytes=None):
        await trio.lowlevel.checkpoint()
        raise broken

    await rig.peer.say(b"x")
    assert await rig.receive() == [b"x"]
    rig.stream.receive_some = reset
    with pytest.raises(TransportClosed) as caught:
        await rig.receive()
    assert caught.value.by == "network"
    assert caught.value.__cause__ is broken


async def test_a_write_that_fails_does_not_hide_what_the_peer_said(rig):
    await rig.peer.say(b"goodbye")
    await rig.peer.close(1011, "crashed")
    if rig.stream is None:
        rig.transport._outgoing.reader_gone = True
    else:
        await rig.peer.stream.receive_stream.aclose()
    assert await refused(rig, b"x") == (None, "", "network")
    assert await refused(rig) == (None, "", "network")
    assert await rig.receive() == [b"goodbye"]
    assert await ended(rig) == (1011, "crashed", "peer")
    assert await refused(rig, b"x") == (1011, "crashed", "peer")


# -- two tasks, and cancellation --


async def test_a_second_reader_is_told_so(rig, nursery):
    nursery.start_soon(rig.transport.receive)
    await trio.testing.wait_all_tasks_blocked()
    with pytest.raises(trio.BusyResourceError, match="receiving on this transport"):
        await rig.transport.receive()
    await rig.peer.say(b"x")  # and the first is none the worse


async def test_a_second_writer_is_told_so(open_kind, nursery):
    rig = await open_kind(wire="lockstep")
    if rig.stream is None:
        await rig.transport.send([b"x" * 5000])
    nursery.start_soon(rig.transport.send, [b"first"])
    await trio.testing.wait_all_tasks_blocked()
    with pytest.raises(trio.BusyResourceError, match="sending on this transport"):
        await rig.transport.send([b"second"])
    if rig.stream is None:
        await rig.peer.hear()
    assert await rig.peer.hear() == ("text", "first")


async def cancelled_after(ticks: int, function):
    """Run `function` with a cancellation after so many turns of the scheduler.

    Returns (whether it was cancelled, what it returned, the TransportClosed it raised).
    """
    result = closed = None
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:

            async def cancel():
                for _ in range(ticks):
                    await trio.lowlevel.checkpoint()
                scope.cancel()

            if ticks == 0:
                scope.cancel()
            else:
                nursery.start_soon(cancel)
            try:
                result = await function()
            except TransportClosed as error:
                closed = error
        nursery.cancel_scope.cancel()
    return scope.cancelled_caught, result, closed


async def receive_all_under_fire(rig) -> tuple[list[bytes], int]:
    """Receive until the end, each call cancelled a little later; count the cancellations."""
    got: list[bytes] = []
    cancellations = 0
    with trio.fail_after(600):
        for turn in itertools.count():
            cancelled, batch, closed = await cancelled_after(turn % 9, rig.transport.receive)
            cancellations += cancelled
            got += batch or []
            if closed is not None:
                return got, cancellations
    raise AssertionError


async def test_a_cancelled_receive_loses_nothing(open_kind, nursery):
    rig = await open_kind(wire="lockstep")
    sent = [b"%d" % n * (1 + n % 7) for n in range(120)]

    async def talk():
        for n in range(0, len(sent), 3):
            if rig.stream is None:
                await rig.peer.say(*sent[n : n + 3])
                for _ in range(20):
                    await trio.lowlevel.checkpoint()
            else:
                wire = b"".join(
                    frame(TEXT, message[:1], fin=False) + frame(CONTINUATION, message[1:])
                    for message in sent[n : n + 3]
                )
                for at in range(0, len(wire), 5):
                    await rig.peer.write(wire[at : at + 5])
        await rig.peer.close(1000, "done")

    nursery.start_soon(talk)
    got, cancellations = await receive_all_under_fire(rig)
    assert got == sent
    assert cancellations > 20


async def test_a_send_that_is_cancelled_before_it_starts_has_no_effect(rig):
    was_cancelled, _, _ = await cancelled_after(
        0, functools.partial(rig.transport.send, [b"never"])
    )
    assert was_cancelled
    await rig.send(b"still whole")
    assert await rig.peer.hear() == ("text", "still whole")


@pytest.mark.parametrize("ticks", range(1, 12))
async def test_a_send_that_is_cancelled_half_way_dooms(framed, open_kind, nursery, ticks):
    rig = await open_kind(piece=7)

    async def drain():
        with contextlib.suppress(trio.ClosedResourceError):
            while await rig.peer.stream.receive_some():
                pass

    nursery.start_soon(drain)
    await rig.peer.ping(b"before")
    await rig.peer.say(b"x")
    await rig.receive()
    send = functools.partial(rig.transport.send, [b"a" * 40, b"b" * 400])
    was_cancelled, _, _ = await cancelled_after(ticks, send)
    assert was_cancelled
    torn = len(rig.stream.writes)
    # Whatever is asked of it now, nothing follows the torn frame.
    await rig.peer.ping(b"after")
    await rig.peer.say(b"y")
    assert await rig.receive() == [b"y"]
    rig.transport.ping()
    rig.transport.start_close(1000)
    await trio.testing.wait_all_tasks_blocked()
    assert await refused(rig, b"z") == await refused(rig) == (None, "", "us")
    assert len(rig.stream.writes) == torn
    await rig.peer.vanish()
    assert await ended(rig) == (None, "", "us")
    await rig.transport.aclose()


async def test_a_send_that_is_cancelled_while_it_waits_dooms(open_kind, autojump_clock):
    rig = await open_kind(wire="lockstep")
    if rig.stream is None:
        await rig.transport.send([b"x" * 5000])
    with trio.move_on_after(1) as patience:
        await rig.transport.send([b"x" * 5000])
    assert patience.cancelled_caught
    assert await refused(rig, b"y") == (None, "", "us")
    await rig.transport.aclose()
    assert await ended(rig) == (None, "", "us")


# -- TLS --


async def test_over_tls(framed, open_kind, tls, nursery):
    rig = await open_kind(tls=tls)
    nursery.start_soon(rig.peer.say, b"x" * 40_000, b"secret")
    got = await rig.receive()
    while len(got) < 2:
        got += await rig.receive()
    assert got == [b"x" * 40_000, b"secret"]
    nursery.start_soon(rig.transport.send, [b"answer" * 10_000])
    assert await rig.peer.hear() == ("text", "answer" * 10_000)
    await rig.peer.close(1000, "bye")
    assert await ended(rig) == (1000, "bye", "peer")
    await rig.send()
    assert await rig.peer.hear() == ("close", 1000, "bye")
    await rig.transport.aclose()
    assert rig.stream.closed


async def test_the_peer_vanishes_over_tls(framed, open_kind, tls):
    rig = await open_kind(tls=tls)
    await trio.aclose_forcefully(rig.peer.stream)
    assert await ended(rig) == (None, "", "network")


async def test_a_cancelled_receive_over_tls_loses_nothing(framed, open_kind, tls, nursery):
    rig = await open_kind(tls=tls)
    sent = [b"%d" % n for n in range(60)]

    async def talk():
        for message in sent:
            await rig.peer.say(message)
        await rig.peer.close(1000)

    nursery.start_soon(talk)
    got, _ = await receive_all_under_fire(rig)
    assert got == sent


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
