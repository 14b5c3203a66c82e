"""The scripted OpenAI server: the captured order of events, valid to the last field."""

from __future__ import annotations

import base64
import json

import pytest
import trio
from support.openai_oracle import check
from wire_client import connected

from meerkat_rt.testing import ScriptMismatch, WebSocketPeer, make_wire, openai_peer
from meerkat_rt.testing import openai_frames as frames
from meerkat_rt.transport import TransportClosed


async def play(script, *sends, sleep=0.0):
    """Play a script to a client that sends what it is given; what the client received."""
    wire = make_wire()
    seen = []
    async with openai_peer(wire.server, script) as peer, connected(wire) as client:
        for frame in sends:
            check(frame, "client")
        if sends:
            await client.send(*sends)
        try:
            while not (peer.finished and len(seen) == len(peer.sent)):
                with trio.move_on_after(60):
                    seen.append(await client.next())
        except TransportClosed as closed:
            seen.append(closed)
    assert peer.finished
    events = [frame for frame in seen if isinstance(frame, dict)]
    assert events == peer.sent
    for event in events:
        check(event, "server")
    ids = [event["event_id"] for event in events]
    assert len(set(ids)) == len(ids)
    return seen


def types(seen):
    return [frame["type"] for frame in seen if isinstance(frame, dict)]


UPDATE = {
    "type": "session.update",
    "event_id": "mine_1",
    "session": {
        "type": "realtime",
        "instructions": "Be brief.",
        "audio": {"input": {"turn_detection": None}, "output": {"voice": "cedar"}},
    },
}
CREATE = {"type": "response.create"}


async def test_the_opening_echoes_the_whole_effective_configuration(autojump_clock):
    async def script(peer):
        update = await peer.welcome(type="realtime")
        assert update["event_id"] == "mine_1"

    created, updated = await play(script, UPDATE)
    assert types([created, updated]) == ["session.created", "session.updated"]
    assert created["session"]["audio"]["input"]["turn_detection"]["type"] == "server_vad"
    session = updated["session"]
    assert session["instructions"] == "Be brief."
    assert session["audio"]["input"]["turn_detection"] is None
    assert session["audio"]["input"]["format"] == frames.PCM  # not mentioned, so as it was
    assert session["audio"]["output"]["voice"] == "cedar"
    assert session["audio"]["output"]["speed"] == 1.0


def test_a_format_of_another_type_replaces_the_old_one_whole():
    before = frames.default_session()
    update = {"audio": {"input": {"format": {"type": "audio/pcmu"}}}}
    assert frames.merged(before, update)["audio"]["input"]["format"] == {"type": "audio/pcmu"}
    assert before == frames.default_session()


async def test_an_audio_turn_in_the_captured_order(autojump_clock):
    async def script(peer):
        await peer.accept()
        item = await peer.user_turn("what is the time", ms=700)
        assert item == "item_1"
        await peer.audio_response("It is twelve o'clock.", ms=300, pause=0.1)

    seen = await play(script)
    order = types(seen)
    assert order[:5] == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
    ]
    streamed = {"response.output_audio_transcript.delta", "response.output_audio.delta"}
    spoken = [kind for kind in order[8:] if kind not in streamed]
    assert spoken == [
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
        "rate_limits.updated",
    ]
    audio = [each["delta"] for each in seen if each["type"] == "response.output_audio.delta"]
    assert b"".join(map(base64.b64decode, audio)) == frames.tone(100) * 3
    words = [
        each["delta"] for each in seen if each["type"] == "response.output_audio_transcript.delta"
    ]
    assert "".join(words) == "It is twelve o'clock."
    (done,) = [each for each in seen if each["type"] == "response.done"]
    assert done["response"]["output"][0]["content"][0]["transcript"] == "It is twelve o'clock."
    assert seen[1]["audio_end_ms"] == 700
    # The items of the conversation follow one another.
    added = [each for each in seen if each["type"] == "conversation.item.added"]
    assert [each["previous_item_id"] for each in added] == [None, "item_1"]


async def test_a_text_turn_that_the_client_asks_for(autojump_clock):
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}

    async def script(peer):
        await peer.accept()
        await peer.expect_item(role="user")
        create = await peer.expect("response.create")
        await peer.text_response("Good morning to you.", create)

    seen = await play(
        script,
        {"type": "conversation.item.create", "item": item},
        {
            "type": "response.create",
            "response": {"output_modalities": ["text"], "metadata": {"turn": "1"}},
        },
    )
    assert types(seen) == [
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
        "rate_limits.updated",
    ]
    response = seen[-2]["response"]
    assert response["metadata"] == {"turn": "1"}
    assert response["output_modalities"] == ["text"]
    assert set(response) == {
        "object",
        "id",
        "status",
        "status_details",
        "output",
        "conversation_id",
        "output_modalities",
        "max_output_tokens",
        "audio",
        "usage",
        "metadata",
    }


async def test_an_out_of_band_response_does_not_enter_the_conversation(autojump_clock):
    async def script(peer):
        await peer.accept()
        await peer.text_response("Aside.", await peer.expect("response.create"))

    seen = await play(script, {"type": "response.create", "response": {"conversation": "none"}})
    assert not any(kind.startswith("conversation.") for kind in types(seen))
    assert seen[0]["response"]["conversation_id"] is None


async def test_a_turn_with_two_tools_and_their_outputs(autojump_clock):
    async def script(peer):
        await peer.accept()
        create = await peer.expect("response.create")
        first, second = await peer.tool_call_response(
            ("weather", {"city": "Berne"}), ("broken", '{"half'), create=create
        )
        assert (first, second) == ("call_1", "call_2")
        assert await peer.expect_tool_output(first) == {"sky": "blue"}
        assert await peer.expect_tool_output(second) == "not json"
        await peer.audio_response("Blue.", await peer.expect("response.create"))

    def output(call_id, text):
        return {
            "type": "conversation.item.create",
            "item": {"type": "function_call_output", "call_id": call_id, "output": text},
        }

    seen = await play(
        script, CREATE, output("call_1", '{"sky": "blue"}'), output("call_2", "not json"), CREATE
    )
    assert types(seen)[:7] == [
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "conversation.item.done",
    ]
    done = next(each for each in seen if each["type"] == "response.done")
    assert [json.dumps(call["arguments"]) for call in done["response"]["output"]] == [
        json.dumps('{"city": "Berne"}'),
        json.dumps('{"half'),
    ]
    assert types(seen).count("conversation.item.added") == 2 + 2 + 1


@pytest.mark.parametrize("reason", ["turn_detected", "client_cancelled"])
async def test_the_tail_of_a_response_that_was_cut_off(reason, autojump_clock):
    async def script(peer):
        await peer.accept()
        response = await peer.response()
        message = await response.message()
        await message.speak("One two three four", ms=200)
        await peer.speech_started(audio_start_ms=1200)
        await response.cancelled(message, reason=reason)

    seen = await play(script)
    assert types(seen)[-8:] == [
        "input_audio_buffer.speech_started",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
        "rate_limits.updated",
    ]
    response = seen[-2]["response"]
    assert response["status"] == "cancelled"
    assert response["status_details"]["reason"] == reason
    assert response["output"][0]["status"] == "incomplete"


async def test_a_response_can_fail_or_end_short(autojump_clock):
    async def script(peer):
        await peer.accept()
        await (await peer.response()).failed("rate_limit_exceeded")
        await (await peer.response()).done("incomplete", reason="max_output_tokens")
        await (await peer.response()).call("half", '{"a": 1', status="incomplete")

    seen = await play(script)
    failed, short = (each["response"] for each in seen if each["type"] == "response.done")
    assert failed["status_details"]["error"]["type"] == "rate_limit_error"
    assert short["status_details"]["reason"] == "max_output_tokens"
    assert seen[-1]["item"]["status"] == "incomplete"


async def test_acknowledgements_and_transcription_failure(autojump_clock):
    async def script(peer):
        await peer.accept()
        item = await peer.committed()
        await peer.transcription_failed(item)
        await peer.item_truncated(await peer.expect("conversation.item.truncate"))
        await peer.item_deleted(await peer.expect("conversation.item.delete"))

    seen = await play(
        script,
        {
            "type": "conversation.item.truncate",
            "item_id": "item_1",
            "content_index": 0,
            "audio_end_ms": 40,
        },
        {"type": "conversation.item.delete", "item_id": "item_1"},
    )
    assert seen[-2]["audio_end_ms"] == 40
    assert seen[-1]["item_id"] == "item_1"


@pytest.mark.parametrize("code", [*frames.ERROR_MESSAGES, None])
async def test_an_error_of_every_documented_code(code, autojump_clock):
    async def script(peer):
        await peer.accept()
        await peer.error(code, to={"event_id": "mine_7"}, param="session.voice")

    (error,) = await play(script)
    assert error["error"]["code"] == code
    assert error["error"]["event_id"] == "mine_7"
    assert error["error"]["message"]


@pytest.mark.parametrize("code", frames.FATAL_CODES)
async def test_an_error_that_ends_the_session_is_followed_by_its_close_frame(code, autojump_clock):
    async def script(peer):
        await peer.accept()
        await peer.fail(code)
        await peer.expect_close()

    error, closed = await play(script)
    assert error["error"]["code"] == code
    assert (closed.code, closed.reason) == frames.FATAL_CODES[code]


async def test_a_reset_in_the_middle_of_a_frame(autojump_clock):
    async def script(peer):
        await peer.accept()
        await peer.session_created()
        await peer.cut_frame()

    _created, closed = await play(script)
    assert (closed.code, closed.by) == (None, "network")


async def test_the_same_script_sends_the_same_bytes(autojump_clock):
    async def script(peer):
        await peer.accept()
        await peer.session_created()
        await peer.user_turn("hello")
        await peer.audio_response("Hello yourself.")

    assert await play(script) == await play(script)


async def test_an_id_of_the_scripts_own_is_kept(autojump_clock):
    async def script(peer):
        await peer.accept()
        await peer.send({"type": "input_audio_buffer.cleared", "event_id": "chosen"})

    (frame,) = await play(script)
    assert frame["event_id"] == "chosen"


async def test_the_microphone_is_passed_over(autojump_clock):
    audio = {"type": "input_audio_buffer.append", "audio": base64.b64encode(bytes(4)).decode()}

    async def script(peer):
        await peer.accept()
        await peer.expect("input_audio_buffer.commit")
        await peer.error("input_audio_buffer_commit_empty")
        assert len(peer.frames("input_audio_buffer.append")) == 3

    await play(script, audio, audio, audio, {"type": "input_audio_buffer.commit"})


async def test_a_mismatch_does_not_print_the_audio(autojump_clock):
    async def script(peer):
        await peer.accept()
        await peer.expect("response.create")

    with pytest.raises(ScriptMismatch) as caught:
        await play(script, {"type": "input_audio_buffer.clear", "event_id": "e" * 400})
    assert len(str(caught.value)) < 400


async def test_a_subprotocol_can_be_chosen(autojump_clock):
    async def script(peer):
        await peer.accept(subprotocol="realtime")

    wire = make_wire()
    async with openai_peer(wire.server, script) as peer:
        await wire.client.send_all(
            b"GET /v1/realtime HTTP/1.1\r\nHost: provider.test\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: realtime, other\r\n\r\n"
        )
        answer = await wire.client.receive_some()
        assert b"101 Switching Protocols" in answer
        assert b"Sec-WebSocket-Protocol: realtime\r\n" in answer
    assert isinstance(peer.socket, WebSocketPeer)
