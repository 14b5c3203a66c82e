"""The scripted peer: what a script may expect, and that nothing that goes wrong hangs."""

from __future__ import annotations

import json

import pytest
import trio
from wire_client import connected, refusal

from meerkat_rt.testing import (
    WIRES,
    ClientGone,
    CloseFrame,
    ScriptError,
    ScriptMismatch,
    ScriptTimeout,
    ScriptUnfinished,
    make_wire,
    openai_peer,
)
from meerkat_rt.transport import TransportClosed


def one(kind, **fields):
    return {"type": kind, **fields}


async def test_a_conversation(autojump_clock):
    async def script(peer):
        await peer.accept()
        await peer.send(one("hello"))
        frame = await peer.expect("question", topic="weather")
        assert frame["text"] == "and tomorrow?"
        await trio.sleep(2)
        await peer.send(one("answer"))

    wire = make_wire()
    async with openai_peer(wire.server, script) as peer, connected(wire) as client:
        assert (await client.next())["type"] == "hello"
        await client.send(one("question", topic="weather", text="and tomorrow?"))
        assert (await client.next())["type"] == "answer"
    assert peer.finished
    assert [(each.time, each.frame["type"]) for each in peer.received] == [(0.0, "question")]
    assert peer.socket.request.path == "/v1/realtime?model=m"
    assert peer.socket.request.headers["x-k"] == "v"


async def test_the_wrong_frame_is_shown_with_what_came_before(autojump_clock):
    async def script(peer):
        await peer.accept()
        await peer.expect("first")
        await peer.expect("second")

    wire = make_wire()
    with pytest.raises(ScriptMismatch) as caught:
        async with openai_peer(wire.server, script), connected(wire) as client:
            await client.send(one("first"), one("third", audio="A" * 500))
            await client.next()  # would wait for ever: the failing script ends it
    text = str(caught.value)
    assert text.startswith("expected second, received third:")
    assert "(500 characters)" in text
    assert "received so far: 0 s first, 0 s third" in text
    assert caught.value.received["type"] == "third"


async def test_the_wrong_field_is_shown_as_a_difference(autojump_clock):
    async def script(peer):
        await peer.accept()
        await peer.expect("config", session={"audio": {"rate": 24000, "kind": "pcm"}})

    wire = make_wire()
    with pytest.raises(ScriptMismatch) as caught:
        async with openai_peer(wire.server, script), connected(wire) as client:
            await client.send(
                one("config", session={"audio": {"rate": 8000, "kind": "pcm"}, "more": 1})
            )
            await client.next()
    lines = str(caught.value).splitlines()
    assert '-      "rate": 24000' in lines
    assert '+      "rate": 8000' in lines
    assert not any("more" in line for line in lines)


async def test_a_frame_that_never_comes_ends_the_script_in_time(autojump_clock):
    async def script(peer):
        await peer.accept()
        await peer.expect("anything")

    wire = make_wire()
    began = trio.current_time()
    with pytest.raises(ScriptTimeout, match="expected anything: nothing came within 30 s"):
        async with openai_peer(wire.server, script), connected(wire) as client:
            await client.next()
    assert trio.current_time() - began == 30


@pytest.mark.parametrize("garbage", [b"not json", b"[1, 2]", b'"text"', b"{", b'{"no": "type"}'])
async def test_a_frame_that_is_no_event_is_a_mismatch(garbage, autojump_clock):
    async def script(peer):
        await peer.accept()
        await peer.expect("event")

    wire = make_wire()
    with pytest.raises(ScriptMismatch, match=r"received \(n"):
        async with openai_peer(wire.server, script), connected(wire) as client:
            await client.transport.send([garbage])
            await client.next()


async def test_a_client_that_leaves_is_a_failure(autojump_clock):
    async def script(peer):
        await peer.accept()
        await peer.expect("more")

    wire = make_wire()
    with pytest.raises(ClientGone, match="expected more: the client left without a close frame"):
        async with openai_peer(wire.server, script), connected(wire):
            pass


async def test_a_client_that_leaves_may_be_excused(autojump_clock):
    async def script(peer):
        await peer.accept()
        await peer.expect("more")

    wire = make_wire()
    excused = []

    def may_leave():
        excused.append(True)
        return True

    async with (
        openai_peer(wire.server, script, client_may_leave=may_leave) as peer,
        connected(wire),
    ):
        pass
    assert excused
    assert not peer.finished


async def test_a_script_that_is_not_played_to_its_end_is_a_failure(autojump_clock):
    async def script(peer):
        await peer.accept()
        await trio.sleep(1000)
        await peer.send(one("too late"))

    wire = make_wire()
    with pytest.raises(ScriptUnfinished, match=r"at .*test_testing_scripted_peer.py:\d+"):
        async with openai_peer(wire.server, script), connected(wire):
            pass


async def test_a_script_may_linger_until_the_test_ends(autojump_clock):
    async def script(peer):
        await peer.accept()
        await peer.linger()

    wire = make_wire()
    began = trio.current_time()
    async with openai_peer(wire.server, script), connected(wire):
        pass
    assert trio.current_time() == began


async def test_a_deadlock_ends_with_the_names_of_all_who_wait(autojump_clock):
    async def script(peer):
        await peer.accept()
        await peer.linger()

    async def patient_reader(client):
        await client.next()

    wire = make_wire()
    with pytest.raises(ScriptError, match="every task waits for ever") as caught:
        async with openai_peer(wire.server, script), connected(wire) as client:
            await patient_reader(client)
    assert "test_a_deadlock_ends_with_the_names" in str(caught.value)
    assert "peer script @ " in str(caught.value)


async def test_a_bug_in_the_script_surfaces_as_itself(autojump_clock):
    async def script(peer):
        await peer.accept()
        raise LookupError("a bug")

    wire = make_wire()
    with pytest.raises(LookupError, match="a bug"):
        async with openai_peer(wire.server, script), connected(wire) as client:
            await client.next()


async def test_an_error_of_the_block_is_not_hidden_by_the_script(autojump_clock):
    async def script(peer):
        await peer.accept()
        await peer.expect("more")

    wire = make_wire()
    with pytest.raises(KeyError):
        async with openai_peer(wire.server, script):
            raise KeyError


async def test_skipped_frames_are_recorded_and_expected_when_asked_for(autojump_clock):
    audio = one("input_audio_buffer.append", audio="AAAA")

    async def script(peer):
        await peer.accept()
        await peer.expect("commit")
        await peer.expect("input_audio_buffer.append")
        assert await peer.receive() == audio
        await peer.expect_silence(5)
        await peer.linger()

    wire = make_wire()
    async with openai_peer(wire.server, script) as peer, connected(wire) as client:
        await client.send(audio, audio, one("commit"), audio, audio)
        await trio.sleep(1)
        await client.send(audio)
        await trio.sleep(10)
        assert peer.frames("commit") == [one("commit")]
        assert len(peer.frames()) == 6
        await client.send(one("late"), audio)
        await trio.sleep(1)
        assert peer.unread == [one("late")]


async def test_silence_that_is_broken(autojump_clock):
    async def script(peer):
        await peer.accept()
        await peer.expect_silence(5)

    wire = make_wire()
    with pytest.raises(ScriptMismatch, match="expected nothing, received noise"):
        async with openai_peer(wire.server, script), connected(wire) as client:
            await trio.sleep(4)
            await client.send(one("noise"))
            await client.next()


async def test_one_of_several(autojump_clock):
    async def script(peer):
        await peer.accept()
        assert (await peer.expect_one_of("a", "b", n=1))["type"] == "b"

    wire = make_wire()
    async with openai_peer(wire.server, script), connected(wire) as client:
        await client.send(one("b", n=1))
        await trio.sleep(1)


# -- the WebSocket underneath -------------------------------------


@pytest.mark.parametrize("name", WIRES)
async def test_pings_are_answered_while_the_script_is_busy(name, autojump_clock):
    async def script(peer):
        await peer.accept()
        await trio.sleep(3)

    wire = make_wire(name)
    async with openai_peer(wire.server, script), connected(wire) as client:
        pong = client.transport.ping()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.next)
            await pong.wait()
            assert trio.current_time() < 1
            nursery.cancel_scope.cancel()


async def test_the_client_is_pinged(autojump_clock):
    async def script(peer):
        await peer.accept()
        await peer.expect_pong()
        await peer.send(one("thanks"))

    wire = make_wire()
    async with openai_peer(wire.server, script), connected(wire) as client:
        assert (await client.next())["type"] == "thanks"


async def test_an_upgrade_can_be_refused(autojump_clock):
    async def script(peer):
        await peer.reject(401, "who are you?")

    wire = make_wire()
    async with openai_peer(wire.server, script):
        assert (await refusal(wire)).status == 401


async def test_the_peer_can_vanish_during_the_handshake(autojump_clock):
    async def script(peer):
        await peer.wait_request()
        await peer.socket.drop()

    wire = make_wire()
    async with openai_peer(wire.server, script):
        assert (await refusal(wire)).status is None


async def test_a_close_frame_of_the_peers(autojump_clock):
    async def script(peer):
        await peer.accept()
        await peer.close(1001, "going away")
        assert await peer.expect_close() == CloseFrame(1001, "going away")

    wire = make_wire()
    async with openai_peer(wire.server, script), connected(wire) as client:
        with pytest.raises(TransportClosed) as caught:
            await client.next()
        assert (caught.value.code, caught.value.reason, caught.value.by) == (
            1001,
            "going away",
            "peer",
        )
        await trio.sleep(1)


async def test_a_close_frame_of_the_clients(autojump_clock):
    async def script(peer):
        await peer.accept()
        assert await peer.expect_close() == CloseFrame(1000, "bye")

    wire = make_wire()
    async with openai_peer(wire.server, script), connected(wire) as client:
        client.transport.start_close(1000, "bye")
        with pytest.raises(TransportClosed):
            await client.next()


async def test_a_silent_peer_answers_no_close(autojump_clock):
    async def script(peer):
        await peer.accept()
        peer.socket.go_silent()
        await peer.linger()

    wire = make_wire()
    async with openai_peer(wire.server, script), connected(wire) as client:
        client.transport.start_close()
        with trio.move_on_after(100) as scope:
            await client.next()
        assert scope.cancelled_caught


async def test_a_peer_that_stops_reading_blocks_the_client(autojump_clock):
    async def script(peer):
        await peer.accept()
        await peer.expect("start")
        peer.socket.stop_reading()
        await trio.sleep(50)
        peer.socket.start_reading()
        await peer.expect("held up")

    wire = make_wire()
    async with openai_peer(wire.server, script), connected(wire) as client:
        await client.send(one("start"))
        await trio.sleep(1)
        await client.send(one("held up"))
        assert trio.current_time() == 50


async def test_a_frame_can_be_cut_in_two(autojump_clock):
    async def script(peer):
        await peer.accept()
        await peer.send(one("whole"))
        await peer.socket.cut_frame(json.dumps(one("half")))

    wire = make_wire()
    async with openai_peer(wire.server, script), connected(wire) as client:
        assert (await client.next())["type"] == "whole"
        with pytest.raises(TransportClosed) as caught:
            await client.next()
        assert (caught.value.code, caught.value.by) == (None, "network")


async def test_a_message_in_fragments_and_garbage(autojump_clock):
    async def script(peer):
        await peer.accept()
        await peer.socket.send_fragments('{"ty', 'pe": ', '"whole"}')
        await peer.socket.send_binary(b'{"type": "binary"}')
        await peer.socket.send_bytes(b"\xff" * 32)
        await peer.linger()

    wire = make_wire()
    async with openai_peer(wire.server, script), connected(wire) as client:
        assert (await client.next())["type"] == "whole"
        assert (await client.next())["type"] == "binary"
        with pytest.raises(TransportClosed) as caught:
            await client.next()
        assert caught.value.by == "us"


async def test_sending_to_a_client_that_is_gone_says_so(autojump_clock):
    async def script(peer):
        await peer.accept()
        await peer.expect_close()
        await peer.send(one("too late"))

    wire = make_wire()
    with pytest.raises(ClientGone):
        async with openai_peer(wire.server, script), connected(wire):
            pass


async def test_nothing_of_the_peer_is_left(autojump_clock):
    from meerkat_rt.testing import quiescent_after

    async def script(peer):
        await peer.accept()
        await peer.linger()

    with quiescent_after():
        wire = make_wire()
        async with openai_peer(wire.server, script), connected(wire):
            pass
    assert wire.server.closed
