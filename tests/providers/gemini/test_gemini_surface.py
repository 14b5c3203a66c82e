"""The second vocabulary's calls on a Gemini session: each does what it says, or is refused."""

from __future__ import annotations

import base64
import json

import pytest
import trio
from support.gemini_session import EXPLICIT, MANAGED, heard_audio, meeting, open_config, texts

from meerkat_rt import (
    Applied,
    RealtimeAudioChunk,
    RealtimeAudioFormat,
    RealtimeConfig,
    RealtimeTextChunk,
    RealtimeVideoChunk,
    RequiresResumption,
    ToolDef,
    ToolResponse,
    codec,
)
from meerkat_rt import errors as er
from meerkat_rt.model import client_events as client
from meerkat_rt.model import events as ev
from meerkat_rt.model import server_events as server

TONE = b"\x01\x00" * 320  # 20 ms at 16 kHz
LIVE_3_1 = "gemini-3.1-flash-live-preview"


async def lingering(peer):
    await peer.linger()


def sound_of(peer) -> bytes:
    frames = peer.frames("realtimeInput.audio")
    assert {f["realtimeInput"]["audio"]["mimeType"] for f in frames} == {"audio/pcm;rate=16000"}
    return b"".join(base64.b64decode(f["realtimeInput"]["audio"]["data"]) for f in frames)


# ---------------------------------------------------------------- what it is


async def test_the_session_has_the_providers_id_and_says_how_it_ended(autojump_clock):
    async def script(peer):
        await peer.close(1008, "The operation was aborted.")

    with pytest.raises(er.SessionExpired):
        async with meeting(script) as met:
            assert met.session.session_id == "gemini_1"
            assert met.session.is_connected
            async for _ in met.session:
                pass
    assert not met.session.is_connected
    assert (met.session.closed.code, met.session.closed.text) == (
        1008,
        "The operation was aborted.",
    )


# ---------------------------------------------------------------- input


async def test_audio_as_bytes_chunks_and_base64_goes_in_the_order_of_the_calls(autojump_clock):
    async with meeting(lingering) as met:
        pieces = [bytes([n, 0]) * 320 for n in range(6)]
        fmt = RealtimeAudioFormat.pcm(16_000)
        for n, piece in enumerate(pieces):
            if n % 3 == 0:
                await met.session.send_audio(piece)
            elif n % 3 == 1:
                await met.session.send_audio_base64(base64.b64encode(piece).decode())
            else:
                await met.session.send_audio(RealtimeAudioChunk.of(piece, fmt))
        await trio.sleep(1)
        assert sound_of(met.peer) == b"".join(pieces)


async def test_audio_with_another_label_is_refused_and_names_both(autojump_clock):
    async with meeting(lingering) as met:
        wrong = RealtimeAudioChunk.of(TONE, RealtimeAudioFormat.pcm(24_000))
        with pytest.raises(er.AudioFormatMismatch, match=r"24000.*16000"):
            await met.session.send_audio(wrong)
        with pytest.raises(er.InvalidInputShape, match="24000"):
            await met.session.send_event(client.AudioDelta(TONE, format=wrong.format()))
        with pytest.raises(er.InvalidInputShape, match="not base64"):
            await met.session.send_audio_base64("@@@@")
        with pytest.raises(er.InvalidInputShape, match="whole samples"):
            await met.session.send_audio(b"odd")
        with pytest.raises(er.InvalidInputShape, match="RealtimeVideoChunk"):
            await met.session.send_input(RealtimeVideoChunk("image/jpeg", b"x"))
        await trio.sleep(1)
        assert met.peer.frames("realtimeInput.audio") == []


async def test_text_is_never_answered_by_itself_and_create_response_answers_it(autojump_clock):
    async def script(peer):
        await peer.expect("clientContent", clientContent={"turnComplete": False})
        await peer.expect_silence(5)
        await peer.expect("clientContent", clientContent={"turnComplete": True})
        await peer.audio_response("Noted", ms=40)
        await peer.linger()

    async with meeting(script) as met:
        await met.session.send_text("by the way")
        await trio.sleep(6)
        await met.session.create_response()
        await met.until(ev.TurnCompleted)


async def test_a_model_that_answers_every_text_takes_none_that_is_not_to_be_answered(
    autojump_clock,
):
    async with meeting(lingering, config=open_config(model=LIVE_3_1)) as met:
        with pytest.raises(er.InvalidRequest, match="answers every text"):
            await met.session.send_text("by the way")
        with pytest.raises(er.InvalidRequest, match="answers the user's turns"):
            await met.session.create_response()
        await trio.sleep(1)
        assert len(met.peer.received) == 1


async def test_commit_audio_ends_the_stream_and_asks_for_nothing(autojump_clock):
    async def script(peer):
        await peer.expect("realtimeInput.audioStreamEnd")
        await peer.expect_silence(5)
        await peer.linger()

    async with meeting(script) as met:
        await met.session.send_audio(TONE)
        await met.session.commit_audio()
        await trio.sleep(6)


@pytest.mark.parametrize("mode", [MANAGED, EXPLICIT])
async def test_what_is_already_heard_cannot_be_taken_back(autojump_clock, mode):
    async with meeting(lingering, mode=mode) as met:
        for attempt in (met.session.clear_audio, _clear_event(met.session)):
            with pytest.raises(er.InvalidRequest, match="take back"):
                await attempt()


def _clear_event(session):
    async def attempt():
        await session.send_event(client.InputAudioBufferClear())

    return attempt


# ---------------------------------------------------------------- waiting for an answer


async def test_send_audio_and_wait_ends_where_activity_is_told(autojump_clock):
    async def script(peer):
        await peer.expect_activity()
        await peer.heard("hello")
        await peer.audio_response("Hi there", ms=80)
        await peer.linger()

    async with meeting(script, mode=EXPLICIT) as met:
        with trio.fail_after(5):
            read = await met.session.send_audio_and_wait(TONE * 10)
        assert len(heard_audio(read)) == 80 * 48
        assert isinstance(read[-1], ev.TurnCompleted)


async def test_send_audio_and_wait_ends_where_the_provider_hears_the_end(autojump_clock):
    async def script(peer):
        await peer.receive()
        await peer.user_turn("hello")
        await peer.audio_response("Hi there", ms=80)
        await peer.linger()

    async with meeting(script) as met:
        with trio.fail_after(5):
            read = await met.session.send_audio_and_wait(TONE)
        assert len(heard_audio(read)) == 80 * 48


async def test_send_text_and_wait_gives_the_whole_answer_past_its_tools(autojump_clock):
    async def script(peer):
        await peer.expect_turn("look")
        ids = await peer.tool_call(("look", {}))
        await peer.expect_tool_response(*ids)
        await peer.audio_response("There it is", ms=40)
        await peer.linger()

    async def look() -> str:
        """Look."""
        await trio.sleep(0.1)
        return "here"

    async with meeting(script, tools=[look]) as met:
        read = await met.session.send_text_and_wait("look")
        assert len([e for e in read if isinstance(e, ev.TurnCompleted)]) == 2
        await met.until(ev.MessageCommitted, 1)


async def test_collect_audio_gives_every_piece_and_raises_the_providers_error(autojump_clock):
    async def script(peer):
        await peer.expect_turn()
        await peer.audio_response("Hi there", ms=80)
        await peer.expect_turn()
        await peer.audio(40)
        await peer.close(1011, "Internal error encountered.")

    async with meeting(script) as met:
        await met.session.send_input(RealtimeTextChunk("hello"))
        pieces = await met.session.collect_audio()
        assert sum(map(len, pieces)) == 80 * 48
        await met.session.send_input(RealtimeTextChunk("hello"))
        with pytest.raises(er.ServerError, match="Internal error"):
            await met.session.collect_audio()


async def test_collect_audio_raises_what_the_turn_ended_with(autojump_clock):
    async def script(peer):
        await peer.expect_turn()
        await peer.audio(40)
        await peer.turn_complete(reason="RESPONSE_REJECTED")
        await peer.linger()

    async with meeting(script) as met:
        await met.session.send_input(RealtimeTextChunk("hello"))
        with pytest.raises(er.LlmError, match="RESPONSE_REJECTED"):
            await met.session.collect_audio()


# ---------------------------------------------------------------- tools


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("sunny", {"output": "sunny"}),
        ([1, {"a": None}], {"output": [1, {"a": None}]}),
        ({"weather": "sunny"}, {"weather": "sunny"}),
        (7, {"output": 7}),
        (None, {"output": None}),
    ],
)
async def test_a_tool_response_of_any_json_is_an_object_with_its_name(autojump_clock, output, told):
    async def script(peer):
        await peer.expect_turn()
        (call,) = await peer.tool_call(("look", {}))
        answers = await peer.expect_tool_response(call)
        assert answers[call]["response"] == told
        assert answers[call]["name"] == "look"
        await peer.audio_response("Fine", ms=40)
        await peer.linger()

    config = open_config().with_visible_tools([ToolDef(name="look")])
    async with meeting(script, config=config) as met:
        await met.session.send_input(RealtimeTextChunk("look"))
        await met.until(ev.ToolCallRequested)
        (call,) = met.of(ev.ToolCallRequested)
        with pytest.raises(er.InvalidRequest, match="JSON"):
            await met.session.send_tool_response(ToolResponse(call.call_id, object()))
        await met.session.send_tool_response(ToolResponse(call.call_id, output))
        with pytest.raises(er.ToolCallSettled):
            await met.session.send_tool_response(ToolResponse(call.call_id, "again"))
        await met.until(ev.TurnCompleted, 2)


# ---------------------------------------------------------------- events


async def test_events_with_an_owner_go_its_way(autojump_clock):
    async def script(peer):
        await peer.expect("realtimeInput.activityStart")
        await peer.expect("clientContent", clientContent={"turnComplete": False})
        await peer.expect("realtimeInput.activityEnd")
        await peer.audio_response("Yes", ms=40)
        await peer.linger()

    async with meeting(script, mode=EXPLICIT) as met:
        session = met.session
        await session.send_event(client.AudioDelta(TONE))
        await trio.sleep(0.1)
        await session.send_event(client.Message("user", "and this"))
        await session.send_event(client.InputAudioBufferCommit())
        await session.send_event(client.ResponseCreate())
        await met.until(ev.TurnCompleted)
        assert sound_of(met.peer) == TONE


async def test_a_raw_cancel_interrupts(autojump_clock):
    async def script(peer):
        await peer.expect_activity()
        await peer.speak("A long story", ms=400)
        await peer.expect("realtimeInput.activityStart")
        await peer.interrupted()
        await peer.linger()

    async with meeting(script, mode=EXPLICIT) as met:
        await met.session.send_audio(TONE)
        await met.session.commit_turn()
        await met.until(ev.OutputAudioChunk)
        await met.session.send_event(client.ResponseCancel())
        await met.until(ev.TurnCompleted)


async def test_a_tool_output_as_an_item_settles_its_call(autojump_clock):
    async def script(peer):
        await peer.expect_turn()
        (call,) = await peer.tool_call(("look", {}))
        answers = await peer.expect_tool_response(call)
        assert answers[call]["response"] == {"output": "sunny"}
        await peer.linger()

    config = open_config().with_visible_tools([ToolDef(name="look")])
    async with meeting(script, config=config) as met:
        await met.session.send_input(RealtimeTextChunk("look"))
        await met.until(ev.ToolCallRequested)
        (call,) = met.of(ev.ToolCallRequested)
        item = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
        await met.session.send_event(client.ConversationItemCreate(item))
        await met.until(ev.ToolCallFinished)


REFUSED = [
    client.SessionUpdate({"instructions": "x"}),
    client.OutputAudioBufferClear(),
    client.ConversationItemCreate.user_text("x"),
    client.ConversationItemDelete("x"),
    client.ConversationItemRetrieve("x"),
    client.ConversationItemTruncate("x", 0, 1),
    client.ResponseCreate({"instructions": "Sing"}),
    client.ResponseCreate({"conversation": "none"}),
    client.ResponseCancel("x"),
    client.Message("system", "x"),
    {"type": "response.create"},
    {"type": "something.else"},
    {"nonsense": {}},
    {"toolResponse": {"functionResponses": []}},
    {"realtimeInput": {"activityStart": {}}},
    {"realtimeInput": {"text": "x", "audioStreamEnd": True}},
]


@pytest.mark.parametrize("event", REFUSED, ids=str)
async def test_what_gemini_has_not_is_refused_and_nothing_is_sent(autojump_clock, event):
    async with meeting(lingering) as met:
        with pytest.raises(er.InvalidRequest) as refused:
            await met.session.send_event(event)
        assert str(refused.value)
        await trio.sleep(1)
        assert [met.peer.frame_type(each.frame) for each in met.peer.received] == ["setup"]


async def test_every_client_event_is_either_done_or_refused():
    seen = {type(event) for event in REFUSED} | {
        client.AudioDelta,
        client.InputAudioBufferCommit,
        client.InputAudioBufferClear,
    }
    assert seen >= set(client.CLIENT_EVENT_TAGS)


async def test_a_message_of_the_providers_own_is_sent_as_it_is(autojump_clock):
    picture = {"realtimeInput": {"video": {"mimeType": "image/jpeg", "data": "AAAA"}}}

    async def script(peer):
        assert await peer.expect("realtimeInput.video") == picture
        await peer.expect("realtimeInput.text")
        await peer.audio_response("I see", ms=40)
        await peer.linger()

    async with meeting(script) as met:
        await met.session.send_event(picture)
        await met.session.send_event({"realtime_input": {"text": "what is this?"}})
        await met.until(ev.TurnCompleted)


async def test_every_event_of_a_turn_has_its_server_event_view_and_json(autojump_clock):
    async def script(peer):
        await peer.receive()
        await peer.user_turn("Hello there", told=True)
        (call,) = await peer.tool_call(("look", {}))
        await peer.expect_tool_response(call)
        await peer.audio_response("Good morning", ms=40)
        await peer.linger()

    async def look() -> str:
        """Look."""
        await trio.lowlevel.checkpoint()
        return "x"

    async with meeting(script, tools=[look]) as met:
        await met.session.send_audio(TONE)
        await met.until(ev.TurnCompleted, 2)
    views = [view for event in met.events if (view := event.to_server_event()) is not None]
    assert {
        server.SpeechStarted,
        server.SpeechStopped,
        server.AudioCommitted,
        server.InputTranscriptDelta,
        server.InputTranscriptCompleted,
        server.ResponseCreated,
        server.FunctionCallDone,
        server.TranscriptDelta,
        server.AudioDelta,
        server.TranscriptDone,
        server.ResponseDone,
    } <= {type(view) for view in views}
    for view in views:
        data = codec.encode(view)
        assert data["type"] == server.SERVER_EVENT_TAGS[type(view)]
        assert codec.decode(json.loads(json.dumps(data)), server.ServerEvent) == view


# ---------------------------------------------------------------- context and interruption


async def test_no_change_is_applied_to_a_live_session_and_all_come_back_together(autojump_clock):
    async with meeting(lingering, config=open_config()) as met:
        outcome = await met.session.mutate_context(RealtimeConfig(instruction="Be brief"))
        assert outcome == RequiresResumption(RealtimeConfig(instruction="Be brief"))
        assert outcome != Applied()
        with pytest.raises(er.InvalidConfig, match="tool_choice"):
            await met.session.mutate_context(RealtimeConfig(tool_choice="none"))
        await trio.sleep(1)
        assert len(met.peer.received) == 1


async def test_an_interruption_of_a_session_that_listens_mutes_the_answer_and_stops_its_calls(
    autojump_clock,
):
    stopped = []

    async def script(peer):
        await peer.expect_turn()
        await peer.speak("A long story", ms=400)
        await peer.tool_call(("look", {}))
        await trio.sleep(1)
        await peer.speak("that goes on", ms=400)
        await peer.generation_complete()
        await peer.turn_complete()
        await peer.linger()

    async def look() -> str:
        """Look."""
        try:
            await trio.sleep(60)
        finally:
            stopped.append(trio.current_time())
        return ""

    async with meeting(script, tools=[look], client_may_leave=True) as met:
        await met.session.send_input(RealtimeTextChunk("tell me"))
        await met.until(ev.ToolCallRequested)
        await trio.sleep(0.1)
        now = trio.current_time()
        await met.session.interrupt()
        assert stopped == [now]
        await met.until(ev.Interrupted)
        read = await met.until(ev.TurnCompleted)
        assert heard_audio(read) == b""
        await trio.sleep(5)
        assert "that goes on" not in " ".join(text for _, text in texts(met.session))
