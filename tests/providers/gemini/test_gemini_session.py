"""Whole sessions with a scripted Gemini server, over an in-memory wire."""

from __future__ import annotations

import pytest
import trio
from support.gemini_session import EXPLICIT, MANAGED, heard_audio, meeting, open_config, texts

from meerkat_rt import InterruptPolicy, RealtimeTextChunk, UserMessage, tool
from meerkat_rt import errors as er
from meerkat_rt.model import events as ev
from meerkat_rt.model.conversation import StopReason, SystemMessage
from meerkat_rt.turn.effects import Answered


async def test_a_text_turn(autojump_clock):
    async def script(peer):
        await peer.expect_turn("Good morning")
        await peer.audio_response("Hello there my friend", ms=120)
        await peer.linger()

    async with meeting(script) as met:
        await met.session.send_input(RealtimeTextChunk("Good morning"))
        read = await met.until(ev.TurnCompleted)
        assert len(heard_audio(read)) == 120 * 48
        (done,) = met.of(ev.TurnCompleted)
        assert done.stop_reason is StopReason.END_TURN
        assert (done.usage.input_tokens, done.usage.output_tokens) == (12, 34)
        await met.until(ev.MessageCommitted)
        assert texts(met.session) == [
            ("user", "Good morning"),
            ("assistant", "Hello there my friend"),
        ]
        assert met.session.usage.total_tokens == 46
        assert met.session.session_id == "gemini_1"


async def test_an_audio_turn_whose_boundary_is_inferred(autojump_clock):
    async def script(peer):
        await peer.receive()
        await peer.user_turn("What time is it")
        await peer.audio_response("Noon", ms=80)
        await peer.linger()

    async with meeting(script) as met:
        await met.session.send_audio(bytes(640))
        await met.until(ev.TurnCompleted)
        (committed,) = met.of(ev.TurnCommitted)
        assert committed.inferred
        assert [e.text for e in met.of(ev.InputTranscriptFinalForItem)] == ["What time is it"]
        await met.until(ev.MessageCommitted, 1)
        await trio.sleep(1)
        assert texts(met.session) == [("user", "What time is it"), ("assistant", "Noon")]


async def test_an_audio_turn_with_voice_activity_is_declared(autojump_clock):
    async def script(peer):
        await peer.user_turn("Hello", told=True)
        await peer.audio_response("Hi", ms=40)
        await peer.linger()

    async with meeting(script) as met:
        await met.until(ev.TurnCompleted)
        (committed,) = met.of(ev.TurnCommitted)
        assert not committed.inferred
        assert [type(e) for e in met.events[:3]] == [
            ev.InputSpeechStarted,
            ev.TurnStarted,
            ev.InputTranscriptPartial,
        ]
        assert met.of(ev.InputSpeechStopped)[0].audio_end_ms == 500


async def test_parallel_calls_are_answered_once_each_and_continued_by_the_provider(autojump_clock):
    async def script(peer):
        await peer.expect_turn()
        ids = await peer.tool_call(("weather", {"city": "Paris"}), ("weather", {"city": "Rome"}))
        answers = await peer.expect_tool_response(*ids)
        assert [answers[each]["response"] for each in ids] == [
            {"output": "rain in Paris"},
            {"output": "rain in Rome"},
        ]
        await peer.audio_response("It rains", ms=40)
        await peer.expect_silence(5)
        await peer.linger()

    started = []

    async def weather(city: str) -> str:
        """Weather."""
        started.append(city)
        await trio.sleep(0.5)
        return f"rain in {city}"

    async with meeting(script, tools=[weather]) as met:
        await met.session.send_input(RealtimeTextChunk("Weather?"))
        await met.until(ev.TurnCompleted, 2)
        assert sorted(started) == ["Paris", "Rome"]
        first, second = met.of(ev.TurnCompleted)
        assert first.stop_reason is StopReason.TOOL_USE
        assert second.stop_reason is StopReason.END_TURN
        assert first.response_id != second.response_id
        await trio.sleep(20)
    assert not met.of(ev.Stalled)


async def test_a_barge_in_by_voice_flushes_cuts_and_keeps_what_was_heard(autojump_clock):
    async def script(peer):
        await peer.expect_turn()
        await peer.speak("one two three four five six seven eight", ms=4000)
        await trio.sleep(2)
        await peer.content(interrupted=True)
        await peer.heard("Stop please")
        await peer.turn_complete()
        await peer.audio_response("Fine", ms=40)
        await peer.linger()

    async with meeting(script) as met:
        await met.session.send_input(RealtimeTextChunk("Count"))
        await met.until(ev.Interrupted)
        await met.until(ev.TurnCompleted, 2)
        first, second = met.of(ev.TurnCompleted)
        assert first.stop_reason is StopReason.CANCELLED
        assert second.stop_reason is StopReason.END_TURN
        assert len(met.of(ev.Interrupted)) == 1
        await trio.sleep(2)
        said = texts(met.session)
        assert said[0] == ("user", "Count")
        assert said[1][0] == "assistant"
        assert said[1][1].startswith("one two")
        assert "eight" not in said[1][1]
        assert said[2:] == [("user", "Stop please"), ("assistant", "Fine")]


async def test_cancelled_calls_are_stopped_and_never_answered(autojump_clock):
    async def script(peer):
        await peer.expect_turn()
        await peer.tool_call(("slow", {}), ("slower", {}))
        await trio.sleep(1)
        await peer.cancel_calls("call_1")
        await peer.expect_tool_response("call_2")
        await peer.audio_response("Done", ms=40)
        await peer.linger()

    stopped = []

    async def slow() -> str:
        """Slow."""
        try:
            await trio.sleep(10)
        finally:
            stopped.append(trio.current_time())
        return "late"

    async def slower() -> str:
        """Slower."""
        await trio.sleep(3)
        return "x"

    async with meeting(script, tools=[slow, slower]) as met:
        await met.session.send_input(RealtimeTextChunk("Go"))
        begun = trio.current_time()
        await met.until(ev.TurnCompleted, 2)
        assert stopped == [begun + 1]
        ends = {e.tool_name: (e.outcome, e.output) for e in met.of(ev.ToolCallFinished)}
        assert ends["slow"] == ("cancelled", None)
        assert ends["slower"] == ("result", "x")


async def test_an_interruption_cancels_calls_as_the_provider_says(autojump_clock):
    async def script(peer):
        await peer.expect_turn()
        await peer.speak("Let me look", ms=400)
        calls = await peer.tool_call(("look", {}))
        await trio.sleep(0.1)
        await peer.send(
            {
                "serverContent": {"interrupted": True},
                "toolCallCancellation": {"ids": calls},
            }
        )
        await peer.turn_complete()
        await peer.expect_silence(3)
        await peer.linger()

    async def look() -> str:
        """Look."""
        await trio.sleep(60)
        return ""

    async with meeting(script, tools=[look]) as met:
        await met.session.send_input(RealtimeTextChunk("Look"))
        await met.until(ev.TurnCompleted)
        assert met.of(ev.ToolCallFinished)[0].outcome == "cancelled"
        assert len(met.of(ev.Interrupted)) == 1
        await trio.sleep(4)
    assert met.peer.frames("toolResponse") == []


async def test_a_tool_that_outlives_an_interruption_answers_silently(autojump_clock):
    async def script(peer):
        await peer.expect_turn()
        await peer.speak("Wait", ms=400)
        calls = await peer.tool_call(("note", {}))
        await peer.content(interrupted=True)
        await peer.turn_complete()
        answers = await peer.expect_tool_response(*calls)
        assert answers[calls[0]]["scheduling"] == "SILENT"
        await peer.linger()

    async def note() -> str:
        """Note."""
        await trio.sleep(1)
        return "noted"

    silent = tool(note, on_interrupt=InterruptPolicy.FINISH_SILENTLY)
    async with meeting(script, tools=[silent]) as met:
        await met.session.send_input(RealtimeTextChunk("Note"))
        await met.until(ev.ToolCallFinished)
        await trio.sleep(30)
    assert not met.of(ev.Stalled)


async def test_manual_activity_has_one_start_and_one_end(autojump_clock):
    async def script(peer):
        await peer.expect("realtimeInput.activityStart")
        await peer.expect("realtimeInput.activityEnd")
        await peer.heard("Hello")
        await peer.audio_response("Hi", ms=40)
        await peer.expect("realtimeInput.activityStart")
        await peer.expect("realtimeInput.activityEnd")
        await peer.heard("Bye")
        await peer.audio_response("See you", ms=40)
        await peer.linger()

    async with meeting(script, mode=EXPLICIT) as met:
        for _ in range(2):
            for _ in range(3):
                await met.session.send_audio(bytes(640))
            request = await met.session.commit_turn()
            await met.until(ev.TurnCompleted)
            assert isinstance(await request.outcome(), Answered)
            await trio.sleep(2)
        kinds = [met.peer.frame_type(each.frame) for each in met.peer.received]
        assert kinds == [
            "setup",
            *(
                "realtimeInput.activityStart",
                *["realtimeInput.audio"] * 3,
                "realtimeInput.activityEnd",
            )
            * 2,
        ]
        assert texts(met.session) == [
            ("user", "Hello"),
            ("assistant", "Hi"),
            ("user", "Bye"),
            ("assistant", "See you"),
        ]
        assert [e.inferred for e in met.of(ev.TurnCommitted)] == [False, False]


async def test_manual_commit_of_audio_asks_for_nothing(autojump_clock):
    async def script(peer):
        await peer.expect("realtimeInput.activityStart")
        await peer.expect_silence(5)
        await peer.expect("realtimeInput.activityEnd")
        await peer.audio_response("Yes", ms=40)
        await peer.linger()

    async with meeting(script, mode=EXPLICIT) as met:
        await met.session.send_audio(bytes(640))
        await met.session.commit_audio()
        await met.until(ev.TurnCommitted)
        await trio.sleep(6)
        request = await met.session.create_response()
        assert isinstance(await request.outcome(), Answered)


async def test_a_manual_interruption_is_an_activity(autojump_clock):
    async def script(peer):
        await peer.expect_turn("Talk")
        await peer.speak("one two three four", ms=2000)
        await peer.expect("realtimeInput.activityStart")
        await peer.interrupted()
        await peer.expect_silence(2)
        await peer.expect("realtimeInput.activityEnd")
        await peer.audio_response("Yes", ms=40)
        await peer.linger()

    async with meeting(script, mode=EXPLICIT) as met:
        assert met.session.capabilities.interrupt_supported
        await met.session.send_input(RealtimeTextChunk("Talk"))
        await met.session.commit_turn()
        await met.until(ev.OutputAudioChunk)
        await trio.sleep(0.5)
        await met.session.interrupt()
        await met.session.interrupt()
        await met.until(ev.TurnCompleted)
        assert met.of(ev.TurnCompleted)[0].stop_reason is StopReason.CANCELLED
        await trio.sleep(3)
        await met.session.send_audio(bytes(640))
        request = await met.session.commit_turn()
        assert isinstance(await request.outcome(), Answered)
    assert len(met.peer.frames("realtimeInput.activityStart")) == 1


async def test_pressing_to_talk_over_the_model_interrupts_it_and_is_answered(autojump_clock):
    async def script(peer):
        await peer.expect_turn("Talk")
        await peer.speak("one two three four", ms=2000)
        await peer.expect("realtimeInput.activityStart")
        await trio.sleep(0.3)
        await peer.interrupted()
        await peer.expect("realtimeInput.activityEnd")
        await peer.heard("Enough")
        await peer.audio_response("Good", ms=40)
        await peer.linger()

    async with meeting(script, mode=EXPLICIT) as met:
        await met.session.send_input(RealtimeTextChunk("Talk"))
        await met.session.commit_turn()
        await met.until(ev.OutputAudioChunk, 50)
        await trio.sleep(1)
        await met.session.send_audio(bytes(640))
        request = await met.session.commit_turn()
        await met.until(ev.TurnCompleted, 2)
        outcome = await request.outcome()
        assert isinstance(outcome, Answered)
        assert outcome.stop_reason is StopReason.END_TURN
        await trio.sleep(2)
        assert [who for who, _ in texts(met.session)] == ["user", "assistant", "user", "assistant"]
        assert texts(met.session)[1][1] == "one two"
        assert texts(met.session)[2:] == [("user", "Enough"), ("assistant", "Good")]


async def test_an_automatic_session_writes_nothing_when_it_is_interrupted(autojump_clock):
    async def script(peer):
        await peer.expect_turn("Talk")
        await peer.speak("one two three", ms=1000)
        await peer.expect_silence(3)
        await peer.turn_complete()
        await peer.expect_turn("Again")
        await peer.audio_response("Yes", ms=40)
        await peer.linger()

    async with meeting(script) as met:
        assert not met.session.capabilities.interrupt_supported
        await met.session.send_input(RealtimeTextChunk("Talk"))
        await met.until(ev.OutputAudioChunk)
        await met.session.interrupt()
        await met.until(ev.Interrupted)
        await met.until(ev.TurnCompleted)
        await trio.sleep(4)
        await met.session.send_input(RealtimeTextChunk("Again"))
        await met.until(ev.TurnCompleted)
        assert met.of(ev.TurnCompleted)[1].stop_reason is StopReason.END_TURN


async def test_a_text_over_speech_interrupts_and_is_answered_once(autojump_clock):
    async def script(peer):
        await peer.expect_turn("Talk")
        await peer.speak("one two three", ms=3000)
        await peer.expect("clientContent", clientContent={"turnComplete": False})
        await peer.interrupted()
        await peer.expect("clientContent", clientContent={"turnComplete": True})
        await peer.audio_response("Now this", ms=40)
        await peer.expect_silence(5)
        await peer.linger()

    async with meeting(script) as met:
        await met.session.send_input(RealtimeTextChunk("Talk"))
        await met.until(ev.OutputAudioChunk)
        await trio.sleep(0.2)
        await met.session.send_input(RealtimeTextChunk("Something else"))
        await met.until(ev.TurnCompleted, 2)
        assert [e.stop_reason for e in met.of(ev.TurnCompleted)] == [
            StopReason.CANCELLED,
            StopReason.END_TURN,
        ]
        await trio.sleep(6)


async def test_text_without_an_answer_only_joins_the_conversation(autojump_clock):
    async def script(peer):
        await peer.expect("clientContent", clientContent={"turnComplete": False})
        await peer.expect_silence(5)
        await peer.linger()

    async with meeting(script) as met:
        await met.session.send_text("By the way")
        await trio.sleep(6)
        assert texts(met.session) == [("user", "By the way")]


async def test_history_is_consumed_before_the_session_is_ready(autojump_clock):
    async def script(peer):
        message = await peer.expect("clientContent", clientContent={"turnComplete": True})
        assert message["clientContent"]["turns"] == [
            {"role": "user", "parts": [{"text": "My name is Ada"}]}
        ]
        assert peer.setup["historyConfig"] == {"initialHistoryInClientContent": True}
        assert peer.setup["systemInstruction"] == {"parts": [{"text": "Be brief."}]}
        await peer.linger()

    config = open_config(seed_messages=(SystemMessage("Be brief."), UserMessage("My name is Ada")))
    async with meeting(script, config=config):
        await trio.sleep(1)


async def test_a_going_away_and_a_handle_do_not_disturb_the_conversation(autojump_clock):
    async def script(peer):
        await peer.resumable("handle_1")
        await peer.go_away(50)
        await peer.expect_turn("Hello")
        await peer.audio_response("Hi", ms=40)
        await peer.linger()

    async with meeting(script) as met:
        await met.session.send_input(RealtimeTextChunk("Hello"))
        await met.until(ev.TurnCompleted)


@pytest.mark.parametrize(
    ("code", "reason", "error"),
    [
        (1007, "Request contains an invalid argument.", er.InvalidRequest),
        (1007, "API key expired. Please renew the API key.", er.InvalidApiKey),
        (1008, "The operation was aborted.", er.SessionExpired),
        (1008, "models/x is not found for API version v1beta", er.ModelNotFound),
        (1011, "Internal error encountered.", er.ServerError),
        (1011, "You exceeded your current quota", er.QuotaExhausted),
        (1001, "", er.ConnectionReset),
    ],
)
async def test_close_codes_reach_the_application_as_typed_errors(
    code, reason, error, autojump_clock
):
    async def script(peer):
        await peer.close(code, reason)
        await peer.linger()

    async with meeting(script) as met:
        with pytest.raises(error):
            await met.until(ev.TurnCompleted)
        assert met.session.closed.code == code
        assert met.session.closed.text == reason
        assert isinstance(met.events[-1], ev.SessionClosed)


async def test_a_clean_close_is_no_error(autojump_clock):
    async def script(peer):
        await peer.close(1000)
        await peer.linger()

    async with meeting(script) as met:
        assert [type(event) async for event in met.session] == [ev.SessionClosed]
        assert met.session.closed.clean


@pytest.mark.parametrize("mode", [MANAGED, EXPLICIT])
async def test_what_the_protocol_lacks_is_refused_where_it_is_asked_for(mode, autojump_clock):
    async def script(peer):
        await peer.expect_silence(2)
        await peer.linger()

    async with meeting(script, mode=mode) as met:
        session = met.session
        with pytest.raises(er.InvalidRequest, match="take back"):
            await session.clear_audio()
        with pytest.raises(er.InvalidRequest, match="instructions"):
            await session.create_response(instructions="Sing")
        with pytest.raises(er.InvalidRequest, match="in_conversation"):
            await session.create_response(in_conversation=False)
        with pytest.raises(er.InvalidRequest, match="truncate"):
            await session.truncate_assistant_output("x", 0, 1)
        with pytest.raises(er.InvalidRequest, match="resume it"):
            await session.refresh_projection(open_config(mode))
        await trio.sleep(3)


async def test_the_model_may_stay_silent_after_its_turn(autojump_clock):
    async def script(peer):
        await peer.expect_turn()
        await peer.turn_complete(status="IDLE", usage=None)
        await peer.linger()

    async with meeting(script) as met:
        await met.session.send_input(RealtimeTextChunk("Hm"))
        await met.until(ev.TurnCompleted)
        await trio.sleep(30)
    assert not met.of(ev.Stalled)


async def test_a_silent_model_is_declared_stalled_without_a_nudge(autojump_clock):
    async def script(peer):
        await peer.expect_turn()
        await peer.expect_silence(60)
        await peer.linger()

    async with meeting(script) as met:
        started = trio.current_time()
        await met.session.send_input(RealtimeTextChunk("Hello?"))
        await met.until(ev.Stalled)
        assert trio.current_time() - started == pytest.approx(10)
    assert not met.of(ev.Nudged)
