"""What was reproduced in other systems that replace connections, as far as it can be said of ours.

M1 to M10 are those of the second seed's system; LK, PC and H those of three Python libraries.
"""

from __future__ import annotations

import pytest
import trio
from continuitykit import TONE, calling, calling_gemini

from meerkat_rt import (
    Applied,
    ContinuityPolicy,
    RealtimeConfig,
    RealtimeTextChunk,
    RequiresResumption,
    errors,
)
from meerkat_rt.model import events as ev
from meerkat_rt.model.client_events import ConversationItemDelete
from meerkat_rt.model.conversation import StopReason
from meerkat_rt.model.live_config import ToolDefinition

AGED = ContinuityPolicy(seed=1, max_age=100.0)
OTHER = RealtimeConfig(model="gpt-realtime-2")


async def answering(peer, text="Fine.", **speech):
    await peer.audio_response(text, create=await peer.expect("response.create"), **speech)


async def leaving(peer):
    await peer.expect_close(within=200)


async def listening(peer):
    await peer.welcome_back(0)
    await peer.linger()


async def test_m1_a_change_while_gemini_speaks_waits_for_the_end_of_its_turn(autojump_clock):
    """No turn ever began on Gemini, so a swap came at once and cut the reply."""

    async def first(peer):
        await peer.welcome()
        await peer.expect_turn()
        await peer.speak("A long answer", ms=400, pause=0.5)
        await peer.generation_complete()
        await peer.turn_complete()
        await peer.resumable("h1")
        await leaving(peer)

    async def second(peer):
        await peer.welcome(sessionResumption={"handle": "h1"})
        await peer.linger()

    async with calling_gemini(first, second, continuity=None) as call:
        await call.session.send_input(RealtimeTextChunk("go"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call.until, ev.SessionRotated)
            await call.session.resume_with(RealtimeConfig(instruction="be brief"))
        (done,) = call.of(ev.TurnCompleted)
        assert (done.stop_reason, done.error) == (StopReason.END_TURN, None)
        assert trio.current_time() > 5
    assert call.said == [("user", "go"), ("assistant", "A long answer")]


async def test_m2_a_reader_that_waits_is_not_ended_by_a_swap(autojump_clock):
    """The loop that was parked in a read saw the old session end, and ended itself."""

    async def second(peer):
        await peer.welcome_back(0)
        await trio.sleep(3)
        await peer.rate_limits()
        await peer.linger()

    async with calling(leaving, second, continuity=None) as call:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call.until, ev.RateLimitsUpdated)
            await trio.sleep(1)
            await call.session.resume_with(OTHER)


async def test_m3_an_attempt_that_fails_does_not_use_up_the_others(autojump_clock):
    """After one failure the slot was empty, and the attempts that were left were never made."""

    async def first(peer):
        await trio.sleep(1)
        await peer.reset()

    async with calling(first, OSError("1"), OSError("2"), listening) as call:
        await call.until(ev.SessionRotated)
        assert [event.attempt for event in call.of(ev.Reconnecting)] == [1, 2, 3]


async def test_m4_the_newest_handle_and_the_newest_configuration_count_at_the_swap(autojump_clock):
    """The swap used configuration and handle of the moment at which it was queued."""

    async def first(peer):
        await peer.welcome()
        await peer.resumable("old")
        await peer.expect_turn()
        await peer.audio_response("Hello.", ms=40)
        await peer.resumable("new")
        await leaving(peer)

    async def second(peer):
        setup = await peer.welcome(sessionResumption={"handle": "new"})
        assert setup["systemInstruction"]["parts"] == [{"text": "be brief"}]
        voice = setup["generationConfig"]["speechConfig"]["voiceConfig"]
        assert voice["prebuiltVoiceConfig"]["voiceName"] == "Puck"
        await peer.linger()

    async with calling_gemini(first, second, continuity=None) as call:
        await trio.sleep(0.1)
        asked = await call.session.mutate_context(RealtimeConfig(instruction="be brief"))
        await call.session.send_input(RealtimeTextChunk("go"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call.session.resume_with, asked)
            nursery.start_soon(call.session.resume_with, RealtimeConfig(voice="Puck"))
            nursery.start_soon(call.until, ev.SessionRotated)


async def test_m5_the_handle_is_read_where_the_provider_writes_it(autojump_clock):
    """The handle was looked for under another name than the provider's: none was ever kept."""

    async def first(peer):
        await peer.welcome()
        await peer.send({"sessionResumptionUpdate": {"newHandle": "h", "resumable": True}})
        await peer.reset(deliver=True)

    async def second(peer):
        await peer.welcome(sessionResumption={"handle": "h"})
        await peer.linger()

    async with calling_gemini(first, second) as call:
        await call.until(ev.SessionRotated)
        assert call.of(ev.SessionRotated)[0].state_restored


async def test_m6_an_outcome_never_answers_a_call_that_the_session_has_not_made(autojump_clock):
    """The output of a running tool went to the new session under the id of the old one's call."""

    async def first(peer):
        await peer.welcome()
        await peer.resumable("before")
        await peer.expect_turn()
        await peer.tool_call(("slow", {}))
        await trio.sleep(0.1)
        await peer.reset()

    async def second(peer):
        await peer.welcome(sessionResumption={"handle": "before"})
        await trio.sleep(10)
        assert not peer.frames("toolResponse")
        await peer.linger()

    async def slow() -> str:
        """Slow."""
        await trio.sleep(3)
        return "done"

    async with calling_gemini(first, second, tools=[slow]) as call:
        await trio.sleep(0.1)
        await call.session.send_input(RealtimeTextChunk("go"))
        await call.until(ev.ToolCallFinished)
        await trio.sleep(8)


async def test_m7_a_microphone_may_send_all_through_the_swap(autojump_clock):
    """Every send failed in the gap, which ended the microphone for the rest of the call."""

    async def second(peer):
        await peer.accept()
        await trio.sleep(0.5)
        await peer.session_created()
        await peer.session_updated(await peer.expect("session.update"))
        await peer.linger()

    async def first(peer):
        await trio.sleep(1)
        await peer.reset()

    async with calling(first, second) as call:
        for _ in range(150):
            assert await call.session.send_audio(TONE) == 0
            await trio.sleep(0.02)
        before, after = (
            len(peer.frames("input_audio_buffer.append")) for peer in call.exchange.peers
        )
        assert after == 150
        assert before >= 49


async def test_m8_what_was_not_read_before_the_swap_is_read_after_it(autojump_clock):
    """Events of the old session that nobody had read yet were lost with it."""

    async def first(peer):
        await answering(peer, "All of this is read.", ms=500)
        await leaving(peer)

    async def second(peer):
        await peer.welcome_back(1)
        await peer.linger()

    async with calling(first, second, continuity=None) as call:
        await call.session.create_response()
        await trio.sleep(1)
        await call.session.resume_with(OTHER)
        read = await call.until(ev.SessionRotated)
        audio = [each.chunk.data for each in read if isinstance(each, ev.OutputAudioChunk)]
        assert sum(map(len, audio)) == 500 * 48


async def test_m9_a_tool_that_is_offered_later_keeps_its_handler(autojump_clock):
    """Tools that were changed in flight had no handler: their calls were "unknown tool"."""

    offered = ToolDefinition(name="greet", description="Greet.")

    async def first(peer):
        update = await peer.expect("session.update")
        assert [tool["name"] for tool in update["session"]["tools"]] == ["greet"]
        await peer.session_updated(update)
        await trio.sleep(1)
        await peer.reset()

    async def second(peer):
        await peer.accept()
        await peer.session_created()
        update = await peer.expect("session.update")
        assert [tool["name"] for tool in update["session"]["tools"]] == ["greet"]
        await peer.session_updated(update)
        (call_id,) = await peer.tool_call_response(("greet", {}))
        assert await peer.expect_tool_output(call_id) == "hello"
        await peer.linger()

    async def greet() -> str:
        """Greet."""
        return "hello"

    async def wave() -> str:
        """Wave."""
        return "bye"

    async with calling(first, second, tools=[greet, wave]) as call:
        outcome = await call.session.mutate_context(RealtimeConfig(tools=(offered,)))
        assert isinstance(outcome, Applied)
        await call.until(ev.ToolCallFinished)
        await trio.sleep(1)


async def test_m10_drop_age_and_going_away_are_the_runtimes_to_handle(autojump_clock):
    """There was no reconnection of any kind."""

    async def first(peer):
        await peer.welcome()
        await peer.resumable("h1")
        await trio.sleep(1)
        await peer.reset()

    async def second(peer):
        await peer.welcome()
        await peer.resumable("h2")
        await peer.go_away(30)
        await leaving(peer)

    async def third(peer):
        await peer.welcome()
        await peer.resumable("h3")
        await peer.expect_close(within=1000)

    async def fourth(peer):
        await peer.welcome(sessionResumption={"handle": "h3"})
        await peer.linger()

    async with calling_gemini(first, second, third, fourth, continuity=AGED) as call:
        await call.until(ev.SessionRotated, 3)
        assert [event.why for event in call.of(ev.SessionRotating)] == ["going_away", "age"]


async def test_m_a_change_that_needs_a_resumption_sends_nothing(autojump_clock):
    async def first(peer):
        await peer.expect_silence(3)
        await peer.linger()

    async with calling(first, continuity=None) as call:
        assert isinstance(await call.session.mutate_context(OTHER), RequiresResumption)
        await trio.sleep(4)


async def test_lk1_a_drop_while_a_rotation_waits_for_a_turn_is_no_silent_end(autojump_clock):
    """The planned reconnect waited for a turn for ever; nobody noticed the dead socket."""

    async def first(peer):
        await trio.sleep(74)
        await peer.speech_started()
        await trio.sleep(5)
        await peer.reset()

    async with calling(first, listening, continuity=AGED) as call:
        await call.until(ev.SessionRotated)
        assert trio.current_time() < 81


async def test_lk2_an_incomplete_answer_while_a_rotation_waits_ends_nothing(autojump_clock):
    """ "incomplete" was an error of the wrong type, and the main task died of it."""

    async def first(peer):
        await trio.sleep(74)
        await peer.user_turn("hello")
        response = await peer.response()
        message = await response.message("audio")
        await message.speak("A beginning", ms=200)
        await trio.sleep(3)
        await response.done("incomplete", reason="max_output_tokens")
        await leaving(peer)

    async def second(peer):
        await peer.welcome_back(2)
        await peer.linger()

    async with calling(first, second, continuity=AGED) as call:
        await call.until(ev.SessionRotated)
        assert call.of(ev.TurnCompleted)[0].stop_reason is StopReason.MAX_TOKENS


async def test_lk3_calls_and_their_outcomes_are_part_of_what_is_told(autojump_clock):
    """Messages alone were told again, without calls and outputs."""

    async def first(peer):
        await peer.user_turn("u1")
        (call_id,) = await peer.tool_call_response(("look", {}))
        await peer.expect_tool_output(call_id)
        await answering(peer, "a1")
        await trio.sleep(3)
        await peer.reset()

    async def second(peer):
        items = await peer.welcome_back(4)
        kinds = [item.get("role") or item["type"] for item in items]
        assert kinds == ["user", "function_call", "function_call_output", "assistant"]
        await peer.linger()

    async def look() -> str:
        """Look."""
        return "seen"

    async with calling(first, second, tools=[look]) as call:
        await call.until(ev.SessionRotated)


async def test_pc2_outcomes_that_the_resumed_session_has_are_not_sent_again(autojump_clock):
    """Every earlier result was sent again to the resumed session, under a name of its own."""

    async def first(peer):
        await peer.welcome()
        await peer.expect_turn()
        await peer.tool_call(("look", {}))
        await peer.expect_tool_response("call_1")
        await peer.audio_response("Seen.", ms=40)
        await peer.resumable("h1")
        await trio.sleep(2)
        await peer.reset()

    async def second(peer):
        await peer.welcome(sessionResumption={"handle": "h1"})
        await peer.expect_silence(5)
        await peer.linger()

    async def look() -> str:
        """Look."""
        return "seen"

    async with calling_gemini(first, second, tools=[look]) as call:
        await call.session.send_input(RealtimeTextChunk("go"))
        await call.until(ev.SessionRotated)
        await trio.sleep(6)


async def test_h1_a_reader_that_is_cancelled_during_the_backoff_changes_nothing(autojump_clock):
    """The flag that said "reconnecting" stayed set, and every send was queued for ever."""

    async def first(peer):
        await trio.sleep(1)
        await peer.reset()

    async def second(peer):
        await peer.welcome_back(1)
        await answering(peer)
        await peer.linger()

    async with calling(first, second, continuity=ContinuityPolicy(seed=3)) as call:
        await call.until(ev.Reconnecting)
        with trio.move_on_after(0.001) as scope:
            await call.until(ev.SessionRotated)
        assert scope.cancelled_caught
        await call.session.send_input(RealtimeTextChunk("hello"))
        await call.until(ev.TurnCompleted)


async def test_h2_what_was_accepted_is_sent_once_and_what_was_not_is_not(autojump_clock):
    """A send both raised and was queued: whoever tried again said it twice."""

    async def first(peer):
        await trio.sleep(1)
        await peer.reset()

    async def second(peer):
        (told,) = await peer.welcome_back(1)
        assert told["content"][0]["text"] == "once"
        await peer.expect_silence(3)
        await peer.linger()

    async with calling(first, second) as call:
        await call.until(ev.Reconnecting)
        await call.session.send_text("once")
        with pytest.raises(errors.ConnectionReset, match="no connection at this moment"):
            await call.session.send_event(ConversationItemDelete(item_id="item_1"))
        await call.until(ev.SessionRotated)
        await trio.sleep(4)


async def test_h3_the_next_connection_is_configured_and_told_before_anything_is_sent(
    autojump_clock,
):
    """The socket was dialled again, and nothing else: a blank session got the rest of the call."""

    async def first(peer):
        await peer.item_created(await peer.expect("conversation.item.create"))
        await answering(peer)
        await trio.sleep(2)
        await peer.reset()

    async def second(peer):
        await peer.welcome_back(2)
        kinds = [peer.frame_type(frame) for frame in peer.frames()]
        assert kinds[:3] == ["session.update", *["conversation.item.create"] * 2]
        await peer.expect("input_audio_buffer.append")
        await peer.linger()

    async with calling(first, second) as call:
        await call.session.send_input(RealtimeTextChunk("hello"))
        await call.until(ev.Reconnecting)
        await call.session.send_audio(TONE)
        await call.until(ev.SessionRotated)
        await trio.sleep(1)
