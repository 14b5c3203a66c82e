"""Frames that are broken, absurd or too large, in the middle of a conversation that goes on."""

from __future__ import annotations

import base64
import json

import pytest
import trio
from runtimekit import closing, linger, meeting, of, outcome, take
from support.gemini_session import meeting as gemini_meeting
from support.gemini_session import texts

from meerkat_rt import RealtimeTextChunk, errors, events
from meerkat_rt.recording import FlightRecorder, Verdict, replay
from meerkat_rt.runtime.ports import Conversation
from meerkat_rt.storage import MemoryStore, SqliteStore
from meerkat_rt.testing import quiescent_after
from meerkat_rt.transport import MAX_MESSAGE_SIZE

DEEP = b"[" * 50_000 + b"]" * 50_000
VALUES = {
    "null": b"null",
    "NaN": b"NaN",
    "infinity": b"-Infinity",
    "beyond a double": b"1e999",
    "beyond 64 bit": b"9" * 30,
    "thousands of digits": b"9" * 20_000,
    "deep": DEEP,
    "open": b"[" * 50_000,
    "half a pair": b'"\\ud83d"',
    "both halves the wrong way": b'"\\udc00\\ud83d"',
    "no UTF-8": b'"\xff\xfe"',
    "an array": b"[1, 2]",
    "an object": b'{"id": "x", "id": null}',
    "a number": b"-1",
    "empty": b'""',
    "control characters": b'"\x00\x01"',
    "nothing": b"",
}
# Where the value stands, in frames of an answer that is going on.
OPENAI = {
    "the frame": b"%s",
    "type": b'{"type":%s}',
    "delta": b'{"type":"response.output_audio_transcript.delta","event_id":"e","response_id":"R",'
    b'"item_id":"I","output_index":0,"content_index":0,"delta":%s}',
    "audio": b'{"type":"response.output_audio.delta","event_id":"e","response_id":"R",'
    b'"item_id":"I","output_index":0,"content_index":0,"delta":%s}',
    "content_index": b'{"type":"response.output_audio_transcript.delta","event_id":"e",'
    b'"response_id":"R","item_id":"I","output_index":0,"content_index":%s,"delta":"x"}',
    "response_id": b'{"type":"response.output_audio_transcript.delta","event_id":"e",'
    b'"response_id":%s,"item_id":"I","output_index":0,"content_index":0,"delta":"x"}',
    "item": b'{"type":"conversation.item.added","event_id":"e","previous_item_id":null,"item":%s}',
    "usage": b'{"type":"response.done","event_id":"e","response":{"id":"another","status":'
    b'"completed","output":[],"usage":%s}}',
    "response": b'{"type":"response.done","event_id":"e","response":%s}',
    "audio_start_ms": b'{"type":"input_audio_buffer.speech_stopped","event_id":"e",'
    b'"audio_end_ms":%s,"item_id":"nobody"}',
    "rate_limits": b'{"type":"rate_limits.updated","event_id":"e","rate_limits":%s}',
    "error": b'{"type":"error","event_id":"e","error":%s}',
    "session": b'{"type":"session.updated","event_id":"e","session":%s}',
    "arguments": b'{"type":"response.function_call_arguments.done","event_id":"e","response_id":'
    b'"R","item_id":"another","output_index":1,"call_id":"c","name":"f","arguments":%s}',
}


def peeled(template, value, response_id, item_id):
    raw = template.replace(b'"R"', json.dumps(response_id).encode())
    return raw.replace(b'"I"', json.dumps(item_id).encode()).replace(b"%s", value)


async def send_raw(peer, data):
    """Whatever it is, in one message; text that is no UTF-8 would break the WebSocket protocol."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        await peer.socket.send_binary(data)
    else:
        await peer.socket.send_text(text)


@pytest.mark.parametrize("where", OPENAI)
async def test_a_broken_frame_in_an_answer_of_openai_spoils_nothing_else(
    where, virtual_time, tmp_path
):
    async def script(peer):
        await peer.item_created(await peer.expect("conversation.item.create"))
        response = await peer.response(await peer.expect("response.create"))
        message = await response.message("audio")
        await message.speak("Good", ms=100)
        for value in VALUES.values():
            await send_raw(peer, peeled(OPENAI[where], value, response.id, message.id))
        await message.speak(" morning.", ms=100)
        await message.done()
        await response.done()
        await peer.item_created(await peer.expect("conversation.item.create"))
        await peer.text_response("Still here.", await peer.expect("response.create"))
        await linger(peer)

    store = SqliteStore(tmp_path / "x.db", sync=False)
    recorder = FlightRecorder(tmp_path / "x.rec")
    beside = {"store": Conversation(store=store, id="talk"), "recorder": recorder}
    async with meeting(script, beside=beside) as m:
        await m.session.send_input(RealtimeTextChunk("hello"))
        await take(m.session, *[events.MessageCommitted] * 2)
        await m.session.send_input(RealtimeTextChunk("are you there?"))
        await take(m.session, *[events.MessageCommitted] * 2)
        assert m.session.is_connected
    assert m.session.closed.clean
    said = [entry.message.text_content() for entry in (await store.read("talk")).messages]
    assert said[0] == "hello"
    answer = "".join(said[1:-2])
    assert answer.index("Good") < answer.index("morning.")
    assert said[-2:] == ["are you there?", "Still here."]
    assert replay(recorder.path).verdict is Verdict.SAME


GEMINI = {
    "the message": b"%s",
    "serverContent": b'{"serverContent":%s}',
    "modelTurn": b'{"serverContent":{"modelTurn":%s}}',
    "parts": b'{"serverContent":{"modelTurn":{"parts":%s}}}',
    "part": b'{"serverContent":{"modelTurn":{"parts":[%s]}}}',
    "audio": b'{"serverContent":{"modelTurn":{"parts":[{"inlineData":{"mimeType":'
    b'"audio/pcm;rate=24000","data":%s}}]}}}',
    "mimeType": b'{"serverContent":{"modelTurn":{"parts":[{"inlineData":{"mimeType":%s,"data":'
    b'"AAAA"}}]}}}',
    "words": b'{"serverContent":{"outputTranscription":{"text":%s}}}',
    "heard": b'{"serverContent":{"inputTranscription":{"text":%s}}}',
    "usage": b'{"usageMetadata":{"totalTokenCount":%s}}',
    "toolCall": b'{"toolCall":%s}',
    "functionCalls": b'{"toolCall":{"functionCalls":[%s]}}',
    "cancelled calls": b'{"toolCallCancellation":{"ids":%s}}',
    "goAway": b'{"goAway":{"timeLeft":%s}}',
    "handle": b'{"sessionResumptionUpdate":{"newHandle":%s,"resumable":true}}',
    "another key": b'{"voiceActivity":%s}',
}


@pytest.mark.parametrize("where", GEMINI)
async def test_a_broken_message_in_an_answer_of_gemini_spoils_nothing_else(where, virtual_time):
    async def script(peer):
        await peer.expect_turn("hello")
        await peer.said("Good")
        await peer.audio(100)
        for value in VALUES.values():
            await peer.socket.send_binary(GEMINI[where].replace(b"%s", value))
        if where == "functionCalls":
            await peer.expect("toolResponse")  # there was a call without a name
        await peer.said(" morning.")
        await peer.audio(100)
        await peer.generation_complete()
        await peer.turn_complete()
        await peer.expect_turn("are you there?")
        await peer.audio_response("Still here.", ms=100)
        await peer.linger()

    async with gemini_meeting(script) as m:
        await m.session.send_input(RealtimeTextChunk("hello"))
        await m.until(events.TurnCompleted, 2 if where == "functionCalls" else 1)
        await m.session.send_input(RealtimeTextChunk("are you there?"))
        await m.until(events.TurnCompleted)
        await trio.sleep(5)
        assert m.session.is_connected
        said = [text for _, text in texts(m.session)]
    assert m.session.closed.clean
    assert said[0] == "hello"
    answer = "".join(said[1:-2])
    assert answer.index("Good") < answer.index("morning.")
    assert said[-2:] == ["are you there?", "Still here."]


def cut_oddly(pcm):
    """Pieces none of which is whole samples, but all together are."""
    return [pcm[:1], pcm[1:6], pcm[6:101], pcm[101:]]


async def test_samples_that_openai_cuts_in_two_come_whole(autojump_clock):
    pcm = bytes(range(200))

    async def script(peer):
        response = await peer.response()
        message = await response.message("audio")
        for piece in cut_oddly(pcm):
            await message.audio(piece)
        await message.audio(b"\x07")  # half a sample that never becomes whole
        await message.done()
        await response.done()
        await linger(peer)

    async with meeting(script) as m:
        read = await take(m.session, events.TurnCompleted)
    chunks = [event.chunk.data for event in of(read, events.OutputAudioChunk)]
    assert b"".join(chunks) == pcm
    assert not any(len(chunk) % 2 for chunk in chunks)


async def test_samples_that_gemini_cuts_in_two_come_whole(autojump_clock):
    pcm = bytes(range(200))

    async def script(peer):
        await peer.expect_turn("hello")
        for piece in [*cut_oddly(pcm), b"\x07"]:
            data = base64.b64encode(piece).decode()
            await peer.part(inlineData={"mimeType": "audio/pcm;rate=24000", "data": data})
        await peer.generation_complete()
        await peer.turn_complete()
        await peer.linger()

    async with gemini_meeting(script) as m:
        await m.session.send_input(RealtimeTextChunk("hello"))
        read = await m.until(events.TurnCompleted)
    chunks = [event.chunk.data for event in of(read, events.OutputAudioChunk)]
    assert b"".join(chunks) == pcm
    assert not any(len(chunk) % 2 for chunk in chunks)


async def test_a_message_over_the_limit_ends_the_session_after_what_came_before_it(
    autojump_clock, tmp_path
):
    async def script(peer):
        await peer.item_created(await peer.expect("conversation.item.create"))
        await peer.text_response("Good morning.", await peer.expect("response.create"))
        await peer.socket.send_text("x" * (MAX_MESSAGE_SIZE + 1))

    store = MemoryStore()
    beside = {"store": Conversation(store=store, id="talk")}
    with quiescent_after():
        async with meeting(script, beside=beside, client_may_leave=True) as m:
            await m.session.send_input(RealtimeTextChunk("hello"))
            read, error = await outcome(m.session)
    assert isinstance(error, errors.StreamParseError)
    assert closing(read).code == 1009
    assert len(of(read, events.TurnCompleted)) == 1
    said = [entry.message.text_content() for entry in (await store.read("talk")).messages]
    assert said == ["hello", "Good morning."]


async def test_a_message_of_geminis_over_the_limit_ends_the_session(autojump_clock):
    async def script(peer):
        await peer.socket.send_binary(b"x" * (MAX_MESSAGE_SIZE + 1))

    with quiescent_after():
        async with gemini_meeting(script, client_may_leave=True) as m:
            with pytest.raises(errors.StreamParseError):
                await m.until(events.SessionClosed, 2)
    assert closing(m.events).code == 1009
