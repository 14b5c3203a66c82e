"""What every transport promises about ends: closing, broken networks, cancellation, TLS.

The other half of `test_conformance`, and asked in the same way.
"""

from __future__ import annotations

import contextlib
import functools
import itertools

import pytest
import trio
import trio.testing
from transport_peers import (
    CLOSE,
    CONTINUATION,
    TEXT,
    close_frame,
    ended,
    frame,
    refused,
)

from meerkat_rt.transport import TransportClosed

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
