"""Failures that were reproduced in other systems, each stated for this one under its number.

M1 to M10: swaps of sessions in the system of the second vocabulary.  LK: LiveKit's agents; PC:
Pipecat; H: the vendor's own reconnecting socket; A to G: the vendor's agents.
"""

from __future__ import annotations

import base64
from typing import Any

import pytest
import trio
from continuitykit import TONE, calling, calling_gemini
from runtimekit import meeting, of, outcome, rest, serving, take
from trio.testing import wait_all_tasks_blocked

from meerkat_rt import (
    Applied,
    ContinuityPolicy,
    GeminiLive,
    OpenAIRealtime,
    RealtimeConfig,
    RealtimeTextChunk,
    RequiresResumption,
    SessionLimits,
    ToolResult,
    errors,
    open_session,
)
from meerkat_rt.model import events as ev
from meerkat_rt.model.live_config import ToolDefinition
from meerkat_rt.testing.scenarios import gemini, openai
from meerkat_rt.transport import connector
from meerkat_rt.turn.effects import Answered

OTHER = RequiresResumption(RealtimeConfig(model="gpt-realtime-2.1"))
BRIEF = RealtimeConfig(instruction="Be brief.")
AGED = ContinuityPolicy(seed=1, max_age=100.0)  # looks for a boundary from 75 s on, goes at 95 s
PATIENT = ContinuityPolicy(seed=1, initial_backoff=30.0, max_backoff=60.0, max_total=0)


async def leaving(peer: Any) -> None:
    """A server that is left in order."""
    assert await peer.expect_close(within=200) is not None


async def answering(peer: Any, text: str = "Fine.", **speech: Any) -> None:
    await peer.audio_response(text, create=await peer.expect("response.create"), **speech)


def welcoming_back(seeds: int) -> Any:
    """A server for a session that goes on, which tells it of so many items."""

    async def script(peer: Any) -> None:
        await peer.welcome_back(seeds)
        await peer.linger()

    return script


# ---------------------------------------------------------------- M: swaps of a session


async def test_m1_an_update_while_gemini_speaks_waits_for_the_end_of_its_turn(autojump_clock):
    """No turn ever began on Gemini, so a swap came at once and cut the reply."""

    async def first(peer: Any) -> None:
        await peer.welcome()
        await peer.expect_turn()
        await peer.speak("A rather long reply", ms=400, pause=0.2)
        await peer.generation_complete()
        await peer.turn_complete()
        await peer.resumable("h1")
        await leaving(peer)

    async def second(peer: Any) -> None:
        setup = await peer.welcome(sessionResumption={"handle": "h1"})
        assert setup["systemInstruction"]["parts"] == [{"text": "Be brief."}]
        await peer.linger()

    async with calling_gemini(first, second) as call:
        await call.session.send_input(RealtimeTextChunk("tell me"))
        await call.until(ev.OutputAudioChunk)
        assert call.of(ev.ResponseStarted)
        outcome_ = await call.session.mutate_context(BRIEF)
        assert isinstance(outcome_, RequiresResumption)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call.session.resume_with, outcome_)
            await call.until(ev.SessionRotated)
        assert not call.of(ev.Interrupted)
        (done,) = call.of(ev.TurnCompleted)
        assert done.error is None
    assert ("assistant", "A rather long reply") in call.said


async def test_m2_a_reader_that_waits_while_the_session_is_swapped_reads_on(autojump_clock):
    """The loop that was parked in a read saw the end of the old session and ended itself."""

    async def second(peer: Any) -> None:
        await peer.welcome_back(0)
        await peer.user_turn("hello")
        await peer.audio_response("I am the new one.")
        await peer.linger()

    read: list[Any] = []
    async with calling(leaving, second, continuity=None) as call:

        async def reading() -> None:
            async for event in call.session:
                read.append(event)
                if isinstance(event, ev.TurnCompleted):
                    break

        async with trio.open_nursery() as nursery:
            nursery.start_soon(reading)
            await wait_all_tasks_blocked()
            await call.session.resume_with(OTHER)
        assert not of(read, ev.SessionClosed)
    assert "I am the new one." in "".join(
        e.delta for e in read if isinstance(e, ev.OutputAudioTranscriptDeltaForItem)
    )


async def test_m3_a_failed_attempt_at_another_connection_is_followed_by_the_next(autojump_clock):
    """After one failure the slot was empty, and the attempts that were left were never made."""
    refusing = OSError("refused")

    async def first(peer: Any) -> None:
        await trio.sleep(1)
        await peer.reset()

    policy = ContinuityPolicy(seed=1, max_attempts=3)
    async with calling(first, refusing, refusing, welcoming_back(0), continuity=policy) as call:
        await call.until(ev.SessionRotated)
        assert [each.attempt for each in call.of(ev.Reconnecting)] == [1, 2, 3]
        assert call.session.is_connected


async def test_m4_a_handle_that_comes_while_the_swap_waits_is_the_one_that_is_used(autojump_clock):
    """The swap used the configuration, handle included, of the moment at which it was queued."""

    async def first(peer: Any) -> None:
        await peer.welcome()
        await peer.expect_turn()
        await peer.resumable("old")
        await peer.speak("A reply", ms=400, pause=0.2)
        await peer.turn_complete()
        await peer.resumable("new")
        await leaving(peer)

    async def second(peer: Any) -> None:
        await peer.welcome(sessionResumption={"handle": "new"})
        await peer.linger()

    async with calling_gemini(first, second) as call:
        await call.session.send_input(RealtimeTextChunk("tell me"))
        await call.until(ev.OutputAudioChunk)
        wanted = await call.session.mutate_context(BRIEF)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call.session.resume_with, wanted)
            await call.until(ev.SessionRotated)


async def test_m5_the_handle_is_read_where_gemini_writes_it(autojump_clock):
    """The token was looked for under a name that the provider does not use: none was ever kept."""

    async def first(peer: Any) -> None:
        await peer.welcome()
        await peer.send({"sessionResumptionUpdate": {"newHandle": "h", "resumable": True}})
        await trio.sleep(1)
        await peer.reset()

    async def second(peer: Any) -> None:
        await peer.welcome(sessionResumption={"handle": "h"})
        await peer.linger()

    async with calling_gemini(first, second) as call:
        await call.until(ev.SessionRotated)
        assert call.of(ev.SessionRotated)[0].state_restored


async def test_m6_a_call_that_outlives_its_session_never_answers_under_a_foreign_id(autojump_clock):
    """The output of a running tool went to the new session under the id of the old one's call."""

    async def first(peer: Any) -> None:
        await peer.welcome()
        await peer.expect_turn()
        await peer.tool_call(("slow", {}))
        await trio.sleep(0.1)
        await peer.reset()

    async def second(peer: Any) -> None:
        await peer.welcome()
        await peer.expect("clientContent")  # the history
        assert "found it" in str(await peer.expect("clientContent"))
        await peer.expect("clientContent", clientContent={"turnComplete": True})
        await peer.audio_response("There it is", ms=40)
        await peer.linger()

    async def slow() -> str:
        """Look."""
        await trio.sleep(5)
        return "found it"

    async with calling_gemini(first, second, tools=[slow]) as call:
        await call.session.send_input(RealtimeTextChunk("look"))
        await call.until(ev.ToolCallFinished)
        await trio.sleep(5)
        assert [each.outcome for each in call.of(ev.ToolCallFinished)] == ["result"]
        for peer in call.exchange.peers:
            assert peer.frames("toolResponse") == []


async def test_m7_whoever_speaks_while_there_is_no_connection_is_heard_afterwards(autojump_clock):
    """Every send failed in the gap, which ended the microphone for the rest of the call."""

    async def first(peer: Any) -> None:
        await trio.sleep(1)
        await peer.reset()

    async def second(peer: Any) -> None:
        await peer.welcome_back(0)
        await peer.linger()

    async with calling(first, second) as call:
        await call.until(ev.Reconnecting)
        assert not call.session.is_connected
        for _ in range(3):
            assert await call.session.send_audio(TONE) == 0
        await call.until(ev.SessionRotated)
        await trio.sleep(1)
        frames = call.exchange.peers[1].frames("input_audio_buffer.append")
        assert b"".join(base64.b64decode(frame["audio"]) for frame in frames) == TONE * 3


async def test_m8_what_the_old_connection_said_last_is_read_before_what_the_new_one_says(
    autojump_clock,
):
    """Events of the old session that nobody had read yet were lost with it."""

    async def first(peer: Any) -> None:
        await peer.expect("response.create")
        response = await peer.response()
        message = await response.message("audio")
        await message.speak("one two three four", ms=400)
        await message.done()
        await response.done()
        await peer.reset()

    async with calling(first, welcoming_back(1)) as call:
        await call.session.create_response()
        await trio.sleep(10)  # nobody reads meanwhile
        await call.until(ev.SessionRotated)
        words = [e.delta for e in call.of(ev.OutputAudioTranscriptDeltaForItem)]
        assert "".join(words) == "one two three four"
        assert len(call.of(ev.TurnCompleted)) == 1


async def test_m9_a_tool_that_is_offered_later_is_answered_by_the_application_or_its_handler(
    autojump_clock,
):
    """Tools that were changed in flight had no handler: their calls were "unknown tool"."""

    async def script(peer: Any) -> None:
        update = await peer.expect("session.update")
        assert [each["name"] for each in update["session"]["tools"]] == ["known", "fresh"]
        await peer.session_updated(update)
        known, fresh = await peer.tool_call_response(("known", {}), ("fresh", {}))
        assert await peer.expect_tool_output(known) == "by its handler"
        assert await peer.expect_tool_output(fresh) == "by the application"
        await answering(peer)
        await peer.linger()

    async def known() -> str:
        """Known."""
        await trio.lowlevel.checkpoint()
        return "by its handler"

    async with meeting(script, tools=[known]) as meet:
        tools = (ToolDefinition("known"), ToolDefinition("fresh"))
        assert await meet.session.mutate_context(RealtimeConfig(tools=tools)) == Applied()
        read = await take(meet.session, ev.ToolCallRequested, ev.ToolCallRequested)
        (fresh,) = (e for e in of(read, ev.ToolCallRequested) if e.tool_name == "fresh")
        await trio.sleep(0.1)
        result = ToolResult(tool_use_id=fresh.call_id, content="by the application")
        await meet.session.submit_tool_result(result)
        await take(meet.session, ev.ToolCallFinished, ev.TurnCompleted)


@pytest.mark.parametrize("cause", ["drop", "going away", "age"])
async def test_m10_a_session_outlives_a_drop_a_going_away_and_its_age(autojump_clock, cause):
    """There was no reconnection of any kind."""

    async def first(peer: Any) -> None:
        await peer.welcome()
        await peer.resumable("h")
        await trio.sleep(1)
        if cause == "drop":
            await peer.reset()
            return
        if cause == "going away":
            await peer.go_away(30)
        await leaving(peer)

    async def second(peer: Any) -> None:
        await peer.welcome(sessionResumption={"handle": "h"})
        await peer.linger()

    policy = AGED if cause == "age" else ContinuityPolicy(seed=1)
    async with calling_gemini(first, second, continuity=policy) as call:
        await call.until(ev.SessionRotated)
        assert call.session.is_connected
        assert not call.of(ev.SessionClosed)


# ---------------------------------------------------------------- LK


async def test_lk1_a_socket_that_drops_while_a_rotation_waits_leaves_no_zombie(autojump_clock):
    """The planned reconnect waited for the turn's end for ever; nobody noticed the dead socket."""

    async def first(peer: Any) -> None:
        await trio.sleep(74)
        await peer.response()
        await trio.sleep(6)  # the rotation wants the end of this turn, which never comes
        await peer.reset()

    async with calling(first, welcoming_back(0), continuity=AGED) as call:
        await call.until(ev.SessionRotated)
        assert trio.current_time() < 90
        assert len(call.of(ev.Reconnecting)) == 1
        assert call.session.is_connected


async def test_lk2_a_response_that_ends_incomplete_while_a_rotation_waits_is_no_disaster(
    autojump_clock,
):
    """`incomplete` was an error of the wrong type, and the main task died of it."""

    async def first(peer: Any) -> None:
        await trio.sleep(74)
        await peer.user_turn("hello")
        response = await peer.response()
        message = await response.message("audio")
        await message.speak("One", ms=40)
        await trio.sleep(3)
        await message.done("incomplete")
        await response.done("incomplete", reason="max_output_tokens")
        await leaving(peer)

    async with calling(first, welcoming_back(2), continuity=AGED) as call:
        await call.until(ev.SessionRotated)
        (done,) = call.of(ev.TurnCompleted)
        assert done.stop_reason == "max_tokens"
        assert call.session.is_connected


async def test_lk3_a_new_session_is_told_of_calls_and_results_and_of_nothing_twice(autojump_clock):
    """Only messages were told again, without calls and outputs, and some content came doubled."""

    async def first(peer: Any) -> None:
        await peer.user_turn("book it")
        (call_id,) = await peer.tool_call_response(("book", {"seat": "1A"}))
        await peer.expect_tool_output(call_id)
        await answering(peer, "Booked.")
        await trio.sleep(5)
        await peer.reset()

    async def second(peer: Any) -> None:
        user, called, output, said = await peer.welcome_back(4)
        assert [part["text"] for part in user["content"]] == ["book it"]
        assert (called["type"], called["name"]) == ("function_call", "book")
        assert (output["type"], output["call_id"]) == ("function_call_output", called["call_id"])
        assert [part["text"] for part in said["content"]] == ["Booked."]
        await peer.linger()

    async def book(seat: str) -> str:
        """Book a seat."""
        await trio.lowlevel.checkpoint()
        return f"{seat} is yours"

    async with calling(first, second, tools=[book]) as call:
        await call.until(ev.SessionRotated)
        await trio.sleep(1)


async def test_lk4_a_server_that_stops_reading_is_left_in_time_and_fills_no_memory(autojump_clock):
    """Its queue had no bound, an interrupt stood behind all of it, and closing took for ever."""

    async def script(peer: Any) -> None:
        await peer.response()
        peer.socket.stop_reading()
        await trio.sleep(600)

    dropped = 0
    limits = SessionLimits(write=1000.0)
    async with serving(_greeted(script), wire="lockstep", client_may_leave=True) as server:
        async with server.open(limits=limits) as session:
            await take(session, ev.ResponseStarted)
            for _ in range(700):  # 14 s of audio
                dropped += await session.send_audio(TONE)
                await trio.sleep(0.02)
            begun = trio.current_time()
            await session.interrupt()
            await session.aclose()
            assert trio.current_time() - begun <= limits.interrupt_grace + limits.close_grace
    most = limits.mic_max_age * 24_000 * 2 + 4 * 16 * 1024
    assert dropped >= 700 * len(TONE) - most


def _greeted(script: Any) -> Any:
    async def play(peer: Any) -> None:
        await peer.welcome()
        await script(peer)

    return play


# ---------------------------------------------------------------- PC


async def test_pc1_a_truncation_that_is_refused_ends_nothing(autojump_clock):
    """Any error but two ended the receive loop, and the call was deaf from then on."""

    async def script(peer: Any) -> None:
        response = await peer.response()
        message = await response.message("audio")
        await message.speak("A long story", ms=2000)
        await trio.sleep(0.5)
        await peer.speech_started()
        await response.cancelled(message, reason="turn_detected")
        truncate = await peer.expect("conversation.item.truncate")
        await peer.error("invalid_value", to=truncate, message="already shorter than that")
        await peer.user_turn("hello")
        await peer.audio_response("Still here.")
        await peer.linger()

    async with meeting(script) as meet:
        read = await take(meet.session, ev.Interrupted, ev.TurnCompleted, ev.TurnCompleted)
        assert of(read, ev.TurnCompleted)[-1].stop_reason == "end_turn"
        assert meet.session.is_connected


async def test_pc2_results_of_tools_are_not_sent_again_after_a_resumption(autojump_clock):
    """Every earlier result was sent again to the resumed session, under a name of its own."""

    async def first(peer: Any) -> None:
        await peer.welcome()
        await peer.expect_turn()
        calls = await peer.tool_call(("look", {}), ("look", {}))
        await peer.expect_tool_response(*calls)
        await peer.audio_response("Done", ms=40)
        await peer.resumable("h")
        await trio.sleep(3)
        await peer.reset()

    async def second(peer: Any) -> None:
        await peer.welcome(sessionResumption={"handle": "h"})
        await peer.expect_turn("again")
        await peer.audio_response("Yes", ms=40)
        await peer.linger()

    async def look() -> str:
        """Look."""
        await trio.lowlevel.checkpoint()
        return "it"

    async with calling_gemini(first, second, tools=[look]) as call:
        await call.session.send_input(RealtimeTextChunk("look"))
        await call.until(ev.SessionRotated)
        await call.session.send_input(RealtimeTextChunk("again"))
        await call.until(ev.TurnCompleted)
        assert call.exchange.peers[1].frames("toolResponse") == []


async def test_pc3_answers_that_were_heard_are_not_kept_as_audio(autojump_clock):
    """A buffer of everything the model had said was never emptied: 170 MB an hour."""

    async def script(peer: Any) -> None:
        for _ in range(50):
            await answering(peer, "Two seconds of speech.", ms=2000)
        await peer.linger()

    async with meeting(script) as meet:
        for _ in range(50):
            await meet.session.create_response()
            await take(meet.session, ev.TurnCompleted, ev.MessageCommitted)
        sizes = meet.core.machine.ledger_sizes()
        assert all(size <= 2 for size in sizes.values()), sizes
        assert meet.core.events._audio_bytes == 0


async def test_pc4_a_dial_that_fails_is_a_typed_error_where_the_session_is_opened(autojump_clock):
    """The failure was only logged: the call was silent, and connected to nothing."""

    async def nowhere(_host: str, _port: int) -> trio.abc.Stream:
        raise OSError("no route to host")

    wires = connector("websockets", open_stream=nowhere)
    for make, config in ((OpenAIRealtime, openai), (GeminiLive, gemini)):
        with pytest.raises(errors.LlmError, match="no route to host"):
            async with open_session(
                config.open_config(), provider=make(api_key="k", connector=wires)
            ):
                pytest.fail("it was opened")


async def test_pc5_an_answer_without_usage_is_an_answer(autojump_clock):
    """`usage: null` raised, and the exception ended the receive loop without a word."""

    async def script(peer: Any) -> None:
        response = await peer.response(await peer.expect("response.create"))
        message = await response.message("audio")
        await message.speak("Yes", ms=40)
        await message.done()
        done = response.value("completed")
        await peer.send({"type": "response.done", "response": {**done, "usage": None}})
        await answering(peer, "And again.")
        await peer.linger()

    async with meeting(script) as meet:
        for _ in range(2):
            request = await meet.session.create_response()
            await take(meet.session, ev.TurnCompleted)
            assert isinstance(await request.outcome(), Answered)


async def test_pc6_an_event_from_the_future_is_told_and_ends_nothing(autojump_clock):
    """An unknown type raised in the parser, and the loop ended."""

    async def script(peer: Any) -> None:
        await peer.send({"type": "response.brand_new_thing", "x": 1})
        await answering(peer)
        await peer.linger()

    async with meeting(script) as meet:
        (unknown,) = of(await take(meet.session, ev.UnknownProviderEvent), ev.UnknownProviderEvent)
        assert unknown.type == "response.brand_new_thing"
        assert b"brand_new_thing" in bytes(unknown.raw)
        await meet.session.create_response()
        await take(meet.session, ev.TurnCompleted)


# ---------------------------------------------------------------- H


async def test_h1_a_reader_that_is_cancelled_while_it_reconnects_makes_nobody_mute(autojump_clock):
    """The flag that said "reconnecting" stayed set, and every send was queued for ever."""

    async def first(peer: Any) -> None:
        await trio.sleep(1)
        await peer.reset()

    async def second(peer: Any) -> None:
        await peer.welcome_back(0)
        await answering(peer, "I hear you.")
        await peer.linger()

    async with calling(first, second, continuity=PATIENT) as call:
        await call.until(ev.Reconnecting)
        with trio.move_on_after(0.01) as scope:
            await call.session.next_event()
        assert scope.cancelled_caught
        await call.until(ev.SessionRotated)
        await call.session.create_response()
        await call.until(ev.TurnCompleted)


async def test_h2_what_is_said_to_a_dead_connection_is_refused_or_sent_and_never_both(
    autojump_clock,
):
    """A send both raised and was queued: whoever tried again said it twice."""

    async def first(peer: Any) -> None:
        await trio.sleep(1)
        await peer.reset()

    async def second(peer: Any) -> None:
        await peer.welcome_back(1)
        await peer.expect_silence(5)
        assert str(peer.frames("conversation.item.create")).count("'hello'") == 1
        await peer.linger()

    async with calling(first, second) as call:
        await call.until(ev.Reconnecting)
        await call.session.send_text("hello")  # did not raise
        await call.until(ev.SessionRotated)
        await trio.sleep(10)

    async def breaking(peer: Any) -> None:
        await trio.sleep(0.1)
        await peer.reset()

    async with meeting(breaking, client_may_leave=True) as meet:
        await outcome(meet.session)
        with pytest.raises(errors.SessionClosedError):
            await meet.session.send_text("hello")


async def test_h3_a_new_connection_is_configured_and_told_before_anything_else(autojump_clock):
    """The socket was dialled again, and nothing else: a blank session got the rest of the call."""

    async def first(peer: Any) -> None:
        await peer.user_turn("hello")
        await peer.audio_response("Good morning.")
        await trio.sleep(5)
        await peer.reset()

    async def second(peer: Any) -> None:
        seeds = await peer.welcome_back(2)
        assert [item["role"] for item in seeds] == ["user", "assistant"]
        await peer.linger()

    async with calling(first, second) as call:
        await call.until(ev.SessionRotated)
        await trio.sleep(1)
        frames = [frame["type"] for frame in call.exchange.peers[1].frames()]
        assert frames[:3] == ["session.update", *["conversation.item.create"] * 2]


# ---------------------------------------------------------------- A to G


async def test_a_an_application_that_does_not_read_costs_a_bounded_amount_of_memory(autojump_clock):
    """5,000 deltas waited in a queue without a bound, at 23 MB for 200 s of audio."""
    limits = SessionLimits(output_audio_bytes=1_000_000)

    async def script(peer: Any) -> None:
        response = await peer.response()
        message = await response.message("audio")
        for _ in range(200):  # 200 s, 9.6 MB
            await message.audio(bytes(48_000))
        await message.done()
        await response.done()
        await peer.linger()

    async with meeting(script, limits=limits) as meet:
        await trio.sleep(1)
        assert meet.core.events._audio_bytes <= limits.output_audio_bytes
        read = await take(meet.session, ev.TurnCompleted)
    (gap,) = of(read, ev.MediaGap)
    kept = sum(len(each.chunk.data) for each in of(read, ev.OutputAudioChunk))
    assert kept + gap.dropped_bytes == 200 * 48_000
    assert kept <= limits.output_audio_bytes


async def test_b_a_request_that_collides_with_the_providers_own_response_is_made_again(
    autojump_clock,
):
    """The rejected request was lost, and with it the answer to the tool's result."""

    async def script(peer: Any) -> None:
        create = await peer.expect("response.create")
        response = await peer.response()  # the provider was faster
        await peer.error("conversation_already_has_active_response", to=create)
        message = await response.message("audio")
        await message.speak("Mine", ms=40)
        await message.done()
        await response.done()
        await answering(peer, "Yours")
        await peer.linger()

    async with meeting(script) as meet:
        request = await meet.session.create_response()
        await take(meet.session, ev.TurnCompleted, ev.TurnCompleted)
        assert isinstance(await request.outcome(), Answered)


async def test_c_the_conversation_has_the_providers_order_whatever_comes_when(autojump_clock):
    """[u1, u1b, a1] became [u1, a1, u1b]: the second word of the user's stood after the answer."""

    async def script(peer: Any) -> None:
        first = await peer.speech_started()
        await peer.speech_stopped(first)
        await peer.committed(first)
        second = await peer.speech_started()
        await peer.speech_stopped(second)
        await peer.committed(second)
        await peer.audio_response("a1")
        await peer.transcribed(second, "u1b")  # the later words are known first
        await peer.transcribed(first, "u1")
        await peer.linger()

    async with meeting(script) as meet:
        await take(meet.session, *[ev.MessageCommitted] * 3)
        said = [message.text_content() for message in meet.session.transcript]
    assert said == ["u1", "u1b", "a1"]


async def test_d_a_tool_that_does_not_stop_is_named_and_waited_for(autojump_clock):
    """Closing returned after a second and left the tool running for nobody."""
    ended: list[float] = []

    async def stubborn() -> str:
        """Do not stop."""
        with trio.CancelScope(shield=True):
            await trio.sleep(5)
        ended.append(trio.current_time())
        return "at last"

    async def script(peer: Any) -> None:
        await peer.tool_call_response(("stubborn", {}))
        await peer.linger()

    async with meeting(script, tools=[stubborn], client_may_leave=True) as meet:
        await take(meet.session, ev.ToolCallRequested)
        await trio.sleep(0.1)
        await meet.session.aclose()
        assert ended == [5.0]
        read = await rest(meet.session)
    (named,) = of(read, ev.ToolUnresponsive)
    assert named.tool_name == "stubborn"


async def test_e_a_barge_in_considers_every_item_that_was_not_heard(autojump_clock):
    """1 s of the first of two items was heard; only the second was truncated, at 1 s."""

    async def script(peer: Any) -> None:
        response = await peer.response()
        first = await response.message("audio")
        await first.speak("eight seconds of it", ms=8000)
        await first.done()
        second = await response.message("audio")
        await second.speak("five more", ms=5000)
        await second.done()
        await response.done()
        await trio.sleep(2)
        await peer.speech_started()
        truncate = await peer.expect("conversation.item.truncate")
        delete = await peer.expect("conversation.item.delete")
        assert (truncate["item_id"], truncate["audio_end_ms"]) == (first.id, 1000)
        assert delete["item_id"] == second.id
        await peer.item_truncated(truncate)
        await peer.item_deleted(delete)
        await peer.linger()

    async with meeting(script) as meet:
        (chunk,) = of(await take(meet.session, ev.OutputAudioChunk), ev.OutputAudioChunk)
        await take(meet.session, ev.TurnCompleted)
        meet.session.playback.report(chunk.item_id, chunk.content_index or 0, 1000)
        await take(meet.session, ev.Interrupted, ev.AssistantTranscriptTruncated)


async def test_f_what_was_queued_is_read_before_the_error_that_ended_the_session(autojump_clock):
    """50 deltas had come before the connection broke; the consumer saw none of them."""

    async def script(peer: Any) -> None:
        response = await peer.response()
        message = await response.message("audio")
        for number in range(50):
            await message.transcript(f"{number} ")
        await trio.sleep(0.1)  # a reset takes along what is still on the wire
        await peer.reset()

    async with meeting(script) as meet:
        await trio.sleep(5)
        read, error = await outcome(meet.session)
    words = [event.delta for event in of(read, ev.OutputAudioTranscriptDeltaForItem)]
    assert words == [f"{number} " for number in range(50)]
    assert isinstance(read[-1], ev.SessionClosed)
    assert isinstance(error, errors.ConnectionReset)


async def test_g_hundreds_of_answers_leave_nothing_behind_but_their_words(autojump_clock):
    """The tracker of the model's audio kept a state for every response that there had been."""

    async def script(peer: Any) -> None:
        for _ in range(500):
            await answering(peer, "Yes", ms=20)
        await peer.linger()

    async with meeting(script) as meet:
        for _ in range(500):
            await meet.session.create_response()
            await take(meet.session, ev.TurnCompleted, ev.MessageCommitted)
        assert sum(meet.core.machine.ledger_sizes().values()) <= 4
        assert len(meet.core.requests) <= 1
        assert len(meet.session.transcript) == 500
