"""Each fault of the layer under a script, against a real client."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing
from wire_client import connected

from meerkat_rt.testing import (
    FAULTS,
    ClientGone,
    Faults,
    GeminiPeer,
    OpenAIPeer,
    Trial,
    cancel_everywhere,
    gemini_peer,
    make_wire,
    openai_peer,
)
from meerkat_rt.testing.websocket_peer import WebSocketPeer
from meerkat_rt.transport import TransportClosed, WebSocketTarget, connector

SENT = ["first", "second", "third", "fourth"]


async def sent_through(
    *arm: Any,
    frames: list[str] = SENT,
    then: Any = None,
    reads: list[int] | None = None,
    pause: float = 0.0,
) -> list[tuple[float, str]]:
    """What a client gets, with times, of frames that a peer with armed faults sends.

    `pause`: seconds before each, in which the client reads what there is.
    """

    async def script(peer: OpenAIPeer) -> None:
        for each in arm:
            each(peer.faults)
        await peer.accept()
        for kind in frames:
            await trio.sleep(pause)
            await peer.send({"type": kind})
        if then is not None:
            await then(peer)
        await peer.linger()

    wire = make_wire()
    got: list[tuple[float, str]] = []
    if reads is not None:
        receive_some = wire.client.receive_some

        async def counted(most: int | None = None) -> bytes:
            data = await receive_some(most)
            reads.append(len(data))
            return data

        wire.client.receive_some = counted  # type: ignore[method-assign]
    async with openai_peer(wire.server, script, client_may_leave=True), connected(wire) as client:
        with trio.move_on_after(20):
            try:
                while True:
                    kind = (await client.next())["type"]
                    got.append((trio.current_time(), kind))
            except TransportClosed as closed:
                got.append((trio.current_time(), f"closed: {closed.code}"))
            except ValueError:
                got.append((trio.current_time(), "no JSON"))
    return got


def kinds(got: list[tuple[float, str]]) -> list[str]:
    return [kind for _, kind in got]


async def test_without_a_fault_frames_pass_as_they_are(autojump_clock: Any) -> None:
    assert await sent_through() == [(0.0, kind) for kind in SENT]


async def test_a_dropped_frame_is_not_sent_and_the_next_is(autojump_clock: Any) -> None:
    assert kinds(await sent_through(lambda f: f.drop("sec*"))) == ["first", "third", "fourth"]
    assert kinds(await sent_through(lambda f: f.drop(times=3))) == ["fourth"]


async def test_a_duplicate_comes_twice_in_its_place(autojump_clock: Any) -> None:
    got = await sent_through(lambda f: f.duplicate("second"))
    assert kinds(got) == ["first", "second", "second", "third", "fourth"]


@pytest.mark.parametrize(
    ("behind", "order"),
    [
        (1, ["second", "first", "third", "fourth"]),
        (2, ["second", "third", "first", "fourth"]),
        (9, ["second", "third", "fourth", "first"]),  # when the script waits
    ],
)
async def test_a_reordered_frame_comes_behind_others(
    behind: int, order: list[str], autojump_clock: Any
) -> None:
    assert kinds(await sent_through(lambda f: f.reorder(behind=behind))) == order


async def test_a_delay_holds_up_what_is_behind_too(autojump_clock: Any) -> None:
    got = await sent_through(lambda f: f.delay(3, "second"))
    assert got == [(0, "first"), (3, "second"), (3, "third"), (3, "fourth")]


async def test_coalesced_frames_come_in_one_read(autojump_clock: Any) -> None:
    apart: list[int] = []
    await sent_through(reads=apart, pause=1)
    reads: list[int] = []
    got = await sent_through(lambda f: f.coalesce(3, "second"), reads=reads, pause=1)
    assert kinds(got) == SENT
    assert sum(reads) == sum(apart)
    assert reads[-1] == sum(apart[-3:])


async def test_fewer_are_sent_when_the_script_waits_for_the_client(autojump_clock: Any) -> None:
    async def then(peer: OpenAIPeer) -> None:
        with pytest.raises(AssertionError, match="nothing came"):
            await peer.receive(within=5)

    got = await sent_through(lambda f: f.coalesce(99), then=then)
    assert got == [(0.0, kind) for kind in SENT]


@pytest.mark.parametrize("at", [0, 1, 2, 3, 10, 18])
async def test_a_frame_split_at_any_byte_is_the_same_frame(at: int, autojump_clock: Any) -> None:
    reads: list[int] = []
    got = await sent_through(lambda f: f.split(at, "second"), reads=reads)
    assert kinds(got) == SENT
    assert at == 0 or at in reads


async def test_a_garbled_frame_is_half_of_its_text(autojump_clock: Any) -> None:
    assert kinds(await sent_through(lambda f: f.garble("second"))) == ["first", "no JSON"]


async def test_garbage_breaks_the_protocol(autojump_clock: Any) -> None:
    assert kinds(await sent_through(lambda f: f.garbage("third"))) == [
        "first",
        "second",
        "closed: 1002",
    ]


@pytest.mark.parametrize("keep", [0, 1, 5, None])
async def test_a_reset_in_the_middle_of_a_frame(keep: int | None, autojump_clock: Any) -> None:
    got = await sent_through(lambda f: f.reset("third", keep=keep), frames=SENT[:3])
    assert kinds(got) == ["first", "second", "closed: None"]


async def test_after_a_half_close_the_peer_still_reads(autojump_clock: Any) -> None:
    got = await sent_through(lambda f: f.half_close("fourth"))
    assert kinds(got)[:4] == SENT
    assert kinds(got)[4] == "closed: None"


async def test_a_peer_that_stops_reading_blocks_the_clients_writes(autojump_clock: Any) -> None:
    async def script(peer: OpenAIPeer) -> None:
        peer.faults.stop_reading("hello", room=100)
        await peer.accept()
        await peer.send({"type": "hello"})
        await peer.linger()

    wire = make_wire()
    async with openai_peer(wire.server, script, client_may_leave=True), connected(wire) as client:
        assert (await client.next())["type"] == "hello"
        await client.send({"type": "small"})
        with trio.move_on_after(5) as scope:
            await client.send({"type": "large", "pad": "x" * 200})
        assert scope.cancelled_caught


async def test_a_script_that_sends_on_a_closed_connection_still_hears_of_it(
    autojump_clock: Any,
) -> None:
    heard: list[str] = []

    async def script(peer: OpenAIPeer) -> None:
        peer.faults.reset()
        await peer.accept()
        await peer.send({"type": "first"})
        await trio.testing.wait_all_tasks_blocked()  # the client reads as far as the reset
        with pytest.raises(ClientGone) as caught:
            await peer.send({"type": "second"})
        heard.append(str(caught.value))

    wire = make_wire()
    async with openai_peer(wire.server, script), connected(wire) as client:
        with pytest.raises(TransportClosed):
            await client.next()
        await trio.testing.wait_all_tasks_blocked()
    assert heard


async def test_they_strike_the_binary_frames_of_gemini_too() -> None:
    async def script(peer: GeminiPeer) -> None:
        peer.faults.drop("serverContent")
        peer.faults.duplicate("goAway")
        peer.faults.garble("setupComplete")
        await peer.accept()
        for key in ("goAway", "serverContent", "usageMetadata", "setupComplete"):
            await peer.send({key: {}})
        await peer.linger()

    wire = make_wire()
    async with gemini_peer(wire.server, script, client_may_leave=True), connected(wire) as client:
        frames: list[bytes] = []
        while len(frames) < 4:
            frames += await client.transport.receive()
    assert frames == [b'{"goAway":{}}', b'{"goAway":{}}', b'{"usageMetadata":{}}', b'{"setupCom']


def test_a_fault_strikes_at_least_once() -> None:
    with pytest.raises(ValueError, match="not 0 times"):
        Faults(None).drop(times=0)  # type: ignore[arg-type]


def test_a_sweep_arms_each_of_them_before_every_frame() -> None:
    async def scenario(trial: Trial) -> None:
        async def script(peer: OpenAIPeer) -> None:
            peer.faults.register(trial)
            await peer.accept()
            for kind in SENT:
                await peer.send({"type": kind})
                await trio.sleep(1)
            await peer.linger()

        wire = trial.wire()
        trial.keep.got = []
        async with openai_peer(wire.server, script, client_may_leave=True):
            with trial.region():
                async with connected(wire) as client:
                    with trio.move_on_after(10):
                        try:
                            while True:
                                trial.keep.got.append((await client.next())["type"])
                        except (TransportClosed, ValueError) as error:
                            trial.keep.got.append(type(error).__name__)

    seen: dict[str | None, set[tuple[str, ...]]] = {}

    def verify(trial: Trial) -> None:
        seen.setdefault(trial.injected, set()).add(tuple(trial.keep.got))

    report = cancel_everywhere(scenario, actions=tuple(FAULTS), verify=verify, repeat=1)
    assert [sweep.action for sweep in report.sweeps] == list(FAULTS)
    # Once before each frame, and once when no more come.
    assert {sweep.points for sweep in report.sweeps} == {len(SENT) + 1}
    whole = tuple(SENT)
    assert ("first", "third", "fourth") in seen["drop a frame"]
    assert ("first", "first", "second", "third", "fourth") in seen["duplicate a frame"]
    assert {*SENT} == {each[0] for each in seen["reorder frames"] if each != whole} | {
        *SENT[1:],
        SENT[0],
    }
    for harmless in ("delay a frame", "coalesce frames", "split a frame", "stop reading"):
        assert seen[harmless] <= {whole, (*whole, "TransportClosed")}
    for harmful in ("send garbage", "reset in a frame", "half-close"):
        assert any("TransportClosed" in each for each in seen[harmful])
    assert any("JSONDecodeError" in each for each in seen["garble a frame"])


async def test_what_a_peer_has_gathered_goes_out_before_it_answers_a_close(autojump_clock):
    wire = make_wire()
    asked = trio.Event()
    peer = WebSocketPeer(wire.server, lambda _message: None, asked.set)

    async def open_stream(_host, _port):
        await trio.lowlevel.checkpoint()
        return wire.client

    async def accept():
        await asked.wait()
        await peer.accept()

    received = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.run)
        nursery.start_soon(accept)
        client = await connector("websockets", open_stream=open_stream).connect(
            WebSocketTarget(url="ws://peer/"), nursery=nursery
        )
        peer.cork()
        await peer.send_text("gathered")
        client.start_close(1000)
        await client.send([])
        with pytest.raises(TransportClosed) as closed:
            while True:
                received += await client.receive()
        await client.aclose()
        nursery.cancel_scope.cancel()
    assert received == [b"gathered"]
    assert (closed.value.by, closed.value.code) == ("us", 1000)
