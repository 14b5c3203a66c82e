"""Connections that are replaced in time, and configurations that take another session."""

from __future__ import annotations

import pytest
import trio
from continuitykit import EXPLICIT, TONE, calling

from meerkat_rt import (
    Applied,
    ContinuityPolicy,
    RealtimeAudioFormat,
    RealtimeConfig,
    RealtimeTextChunk,
    RequiresResumption,
    SessionLimits,
    errors,
)
from meerkat_rt.model import events as ev
from meerkat_rt.turn.effects import Answered

AGED = ContinuityPolicy(seed=1, max_age=100.0)  # looks for a boundary from 75 s on, goes at 95 s


async def answering(peer, text="Fine.", **speech):
    await peer.audio_response(text, create=await peer.expect("response.create"), **speech)


async def listening(peer):
    await peer.welcome_back(0)
    await peer.linger()


async def leaving(peer):
    """A server that is left in order."""
    close = await peer.expect_close(within=200)
    assert close is not None
    assert close.code == 1000


async def test_a_connection_is_replaced_before_its_cap_and_the_new_one_is_ready_before(
    autojump_clock,
):
    async with calling(leaving, listening, continuity=AGED) as call:
        (rotating,) = await call.until(ev.SessionRotating)
        assert trio.current_time() == 75
        assert rotating.why == "age"
        assert call.session.is_connected
        await call.until(ev.SessionRotated)
        assert call.session.is_connected
        assert call.exchange.dialled_at == [0, 75]
        assert not call.of(ev.Reconnecting)
        await trio.sleep(70)
        assert len(call.exchange.dialled_at) == 2


async def test_a_rotation_waits_until_the_answer_was_heard(autojump_clock):
    async def first(peer):
        await trio.sleep(74)
        await peer.user_turn("hello")
        await peer.audio_response("A long answer.", ms=6000)
        await leaving(peer)

    async def second(peer):
        await peer.welcome_back(2)
        await peer.linger()

    async with calling(first, second, continuity=AGED) as call:
        await call.until(ev.SessionRotated)
        assert trio.current_time() == pytest.approx(80, abs=0.2)
    assert call.said == [("user", "hello"), ("assistant", "A long answer.")]


async def test_a_rotation_that_cannot_wait_cuts_the_answer_and_has_it_continued(autojump_clock):
    async def first(peer):
        await trio.sleep(74)
        await peer.user_turn("hello")
        response = await peer.response()
        message = await response.message("audio")
        for word in ("one ", "two "):
            await message.speak(word, ms=500)
        await leaving(peer)

    async def second(peer):
        await peer.welcome_back(1)
        told = await peer.expect_item(role="assistant")
        assert told["item"]["content"][0]["text"].split() == ["one", "two"]
        await answering(peer, "three")
        await peer.linger()

    async with calling(first, second, continuity=AGED) as call:
        await call.until(ev.SessionRotated)
        assert trio.current_time() == pytest.approx(95, abs=0.1)
        await call.until(ev.TurnCompleted)
        await trio.sleep(5)
        cut, whole = call.of(ev.TurnCompleted)
        assert cut.error.code == "connection_lost"
        assert whole.error is None
    assert [text.split() for _, text in call.said] == [["hello"], ["one", "two"], ["three"]]


async def test_a_call_in_flight_at_the_last_moment_is_answered_in_the_new_session(autojump_clock):
    async def first(peer):
        await trio.sleep(74)
        await peer.user_turn("go")
        await peer.tool_call_response(("slow", {}))
        await leaving(peer)

    async def second(peer):
        user, called = await peer.welcome_back(2)
        assert (user["role"], called["call_id"]) == ("user", "call_1")
        assert await peer.expect_tool_output("call_1") == "done"
        await answering(peer)
        await peer.linger()

    async def slow() -> str:
        """Slow."""
        await trio.sleep(25)
        return "done"

    async with calling(first, second, continuity=AGED, tools=[slow]) as call:
        await call.until(ev.SessionRotated)
        assert trio.current_time() == pytest.approx(95, abs=0.1)
        await call.until(ev.TurnCompleted)
        assert len(call.of(ev.ToolCallFinished)) == 1


async def test_a_call_that_ends_while_the_new_connection_is_made_is_answered_there(autojump_clock):
    async def first(peer):
        await trio.sleep(74)
        await peer.user_turn("go")
        (call_id,) = await peer.tool_call_response(("slow", {}))
        await peer.expect_tool_output(call_id)
        await peer.expect("response.create")
        await leaving(peer)

    async def second(peer):
        await peer.accept()
        await trio.sleep(2)
        peer.tag = "b"
        await peer.session_created()
        await peer.session_updated(await peer.expect("session.update"))
        for _ in range(2):
            await peer.item_created(await peer.expect("conversation.item.create"))
        assert await peer.expect_tool_output("call_1") == "done"
        await answering(peer)
        await peer.expect_silence(1)
        await peer.linger()

    async def slow() -> str:
        """Slow."""
        await trio.sleep(22)
        return "done"

    async with calling(first, second, continuity=AGED, tools=[slow]) as call:
        await call.until(ev.SessionRotated)
        await call.until(ev.TurnCompleted)
        assert len(call.of(ev.ToolCallFinished)) == 1
        await trio.sleep(5)


async def test_what_is_said_while_the_new_connection_is_made_is_told_to_it(autojump_clock):
    async def first(peer):
        await trio.sleep(74)
        await peer.item_created(await peer.expect("conversation.item.create"))
        await answering(peer, "Yes.")
        await leaving(peer)

    async def second(peer):
        await peer.accept()
        await trio.sleep(3)
        peer.tag = "b"
        await peer.session_created()
        await peer.session_updated(await peer.expect("session.update"))
        for role, text in (("user", "are you there?"), ("assistant", "Yes.")):
            create = await peer.expect_item(role=role)
            assert create["item"]["content"][0]["text"] == text
        await peer.linger()

    async with calling(first, second, continuity=AGED) as call:
        await call.until(ev.SessionRotating)
        await call.session.send_input(RealtimeTextChunk("are you there?"))
        await call.until(ev.SessionRotated)
        await trio.sleep(1)
    assert call.said == [("user", "are you there?"), ("assistant", "Yes.")]


async def test_audio_that_the_old_session_heard_and_did_not_commit_is_heard_by_the_new(
    autojump_clock,
):
    async with calling(leaving, listening, continuity=AGED) as call:
        await trio.sleep(74)
        await call.session.send_audio(TONE)
        await call.until(ev.SessionRotated)
        await call.session.send_audio(TONE)
        await trio.sleep(1)
        assert len(call.exchange.peers[1].frames("input_audio_buffer.append")) == 2


async def test_a_rotation_that_fails_leaves_the_old_connection_and_is_tried_again(autojump_clock):
    async with calling(leaving, OSError("no"), listening, continuity=AGED) as call:
        await call.until(ev.SessionRotated)
        assert call.exchange.dialled_at == [0, 75, 80]
        assert not call.of(ev.Reconnecting)


async def test_a_cap_that_comes_before_any_rotation_is_a_loss_like_another(autojump_clock):
    async def first(peer):
        await trio.sleep(50)
        await peer.fail("session_expired")

    async with calling(first, listening) as call:
        await call.until(ev.SessionRotated)
        assert len(call.of(ev.Reconnecting)) == 1


async def test_an_expiry_that_is_announced_and_not_followed_by_a_close_is_a_loss(autojump_clock):
    async def first(peer):
        await peer.error("session_expired")
        await peer.linger()

    async with calling(first, listening) as call:
        await call.until(ev.SessionRotated)
        assert len(call.of(ev.Reconnecting)) == 1


async def test_the_socket_drops_while_a_rotation_waits_for_the_end_of_a_turn(autojump_clock):
    async def first(peer):
        await trio.sleep(74)
        await peer.user_turn("hello")
        await peer.response()
        await trio.sleep(6)
        await peer.reset()

    async def second(peer):
        await peer.welcome_back(1)
        await answering(peer)
        await peer.linger()

    async with calling(first, second, continuity=AGED) as call:
        await call.until(ev.SessionRotated)
        assert trio.current_time() < 82
        await call.until(ev.MessageCommitted)
    assert [text for _, text in call.said] == ["hello", "Fine."]


async def test_the_old_connection_drops_while_the_new_one_is_made(autojump_clock):
    async def first(peer):
        await trio.sleep(76)
        await peer.reset()

    async def second(peer):
        await peer.accept()
        await trio.sleep(3)
        await peer.session_created()
        await peer.session_updated(await peer.expect("session.update"))
        await peer.linger()

    async with calling(first, second, continuity=AGED) as call:
        await call.until(ev.SessionRotated)
        assert call.exchange.dialled_at == [0, 75]
        assert not call.of(ev.Reconnecting)


async def test_with_rotation_off_the_cap_is_waited_for(autojump_clock):
    policy = ContinuityPolicy(seed=1, max_age=100.0, rotate=False)

    async def first(peer):
        await trio.sleep(100)
        await peer.fail("session_expired")

    async with calling(first, listening, continuity=policy) as call:
        await call.until(ev.SessionRotated)
        assert trio.current_time() > 100


# ---------------------------------------------------------------- resume_with

OTHER = RealtimeConfig(model="gpt-realtime-2")


async def test_what_cannot_be_changed_in_flight_takes_another_session(autojump_clock):
    async def first(peer):
        await peer.item_created(await peer.expect("conversation.item.create"))
        await answering(peer, "Good morning.")
        await leaving(peer)

    async def second(peer):
        await peer.wait_request()
        assert "model=gpt-realtime-2" in peer.socket.request.path
        await peer.welcome_back(2)
        await answering(peer, "Still here.")
        await peer.linger()

    async with calling(first, second, continuity=None) as call:
        await call.session.send_input(RealtimeTextChunk("hello"))
        outcome = await call.session.mutate_context(OTHER)
        assert isinstance(outcome, RequiresResumption)
        await call.session.resume_with(outcome)
        await call.session.create_response()
        await call.until(ev.SessionRotated)
        assert call.of(ev.SessionRotating)[0].why == "resume_with"
        await call.until(ev.TurnCompleted)
        await trio.sleep(3)
    assert [text for _, text in call.said] == ["hello", "Good morning.", "Still here."]


async def test_at_once_means_in_the_middle_of_the_answer(autojump_clock):
    async def first(peer):
        create = await peer.expect("response.create")
        response = await peer.response(create)
        message = await response.message("audio")
        await message.speak("Once upon", ms=400)
        await leaving(peer)

    async def second(peer):
        await peer.welcome_back()
        await answering(peer, "a time")
        await peer.linger()

    async with calling(first, second, continuity=None) as call:
        request = await call.session.create_response()
        await call.until(ev.OutputAudioChunk)
        await call.session.resume_with(OTHER, when="now")
        assert trio.current_time() < 1
        assert isinstance(await request.outcome(), Answered)


async def test_the_end_of_a_turn_is_waited_for_and_not_for_ever(autojump_clock):
    async def first(peer):
        await peer.expect("response.create")
        response = await peer.response()
        message = await response.message("audio")
        await message.speak("On and on", ms=400)
        await leaving(peer)

    async with calling(first, listening, continuity=None, limits=SessionLimits(turn_end=5)) as call:
        await call.session.create_response()
        await call.until(ev.OutputAudioChunk)
        begun = trio.current_time()
        await call.session.resume_with(OTHER)
        assert trio.current_time() == begun + 5
        await call.session.aclose()


async def test_a_bridge_is_told_once_and_asks_for_no_answer(autojump_clock):
    async def second(peer):
        await peer.welcome_back(0)
        told = await peer.expect_item(role="system")
        assert told["item"]["content"][0]["text"] == "You speak French now."
        await peer.expect_silence(5)
        await peer.linger()

    async with calling(leaving, second, continuity=None) as call:
        await call.session.resume_with(OTHER, bridge="You speak French now.")
        await trio.sleep(6)
    assert call.said == []


async def test_a_change_made_after_resumption_was_asked_for_is_not_undone_by_it(autojump_clock):
    async def first(peer):
        update = await peer.expect("session.update", session={"instructions": "be brief"})
        await peer.session_updated(update)
        await leaving(peer)

    async def second(peer):
        await peer.accept()
        await peer.session_created()
        update = await peer.expect("session.update", session={"instructions": "be brief"})
        await peer.session_updated(update)
        await peer.linger()

    async with calling(first, second, continuity=None) as call:
        outcome = await call.session.mutate_context(OTHER)
        applied = await call.session.mutate_context(RealtimeConfig(instruction="be brief"))
        assert isinstance(applied, Applied)
        assert outcome.config.instruction is None
        await call.session.resume_with(outcome.config)


async def test_several_pending_changes_are_made_together(autojump_clock):
    async def second(peer):
        await peer.wait_request()
        assert "model=gpt-realtime-2" in peer.socket.request.path
        await peer.accept()
        await peer.session_created()
        update = await peer.expect("session.update")
        assert update["session"]["audio"]["output"]["voice"] == "cedar"
        await peer.session_updated(update)
        await peer.linger()

    async with calling(leaving, second, continuity=None) as call:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call.session.resume_with, OTHER)
            nursery.start_soon(call.session.resume_with, RealtimeConfig(voice="cedar"))
        assert len(call.exchange.dialled_at) == 2


async def test_a_configuration_that_is_refused_leaves_the_session_as_it_was(autojump_clock):
    async def first(peer):
        await peer.item_created(await peer.expect("conversation.item.create"))
        await answering(peer)
        await peer.linger()

    async def refusing(peer):
        await peer.accept()
        await peer.fail("invalid_model")

    async with calling(first, refusing, continuity=None) as call:
        with pytest.raises(errors.ModelNotFound):
            await call.session.resume_with(OTHER)
        await call.session.send_input(RealtimeTextChunk("hello"))
        await call.until(ev.TurnCompleted)
        assert call.core.dialect.model == "gpt-realtime"


async def test_a_configuration_that_cannot_work_is_refused_before_anything_is_dialled(
    autojump_clock,
):
    async def first(peer):
        await peer.linger()

    async with calling(first, continuity=None) as call:
        with pytest.raises(errors.InvalidConfig, match="modalities"):
            await call.session.resume_with(RealtimeConfig(modalities=("text", "audio")))
        with pytest.raises(errors.InvalidRequest, match=r"when is 'soon'; allowed"):
            await call.session.resume_with(OTHER, when="soon")
        with pytest.raises(errors.InvalidRequest, match="config is"):
            await call.session.resume_with("gpt-realtime-2")
        assert len(call.exchange.dialled_at) == 1


async def test_who_is_cancelled_before_the_swap_begins_has_asked_for_nothing(autojump_clock):
    async def first(peer):
        await peer.expect("response.create")
        await peer.response()
        await peer.linger()

    async with calling(first, continuity=None) as call:
        await call.session.create_response()
        await call.until(ev.ResponseStarted)
        with trio.move_on_after(3):
            await call.session.resume_with(OTHER)
        await trio.sleep(60)
        assert len(call.exchange.dialled_at) == 1
        assert call.session.is_connected


async def test_a_session_that_is_closed_meanwhile_says_so(autojump_clock):
    async def first(peer):
        await peer.expect("response.create")
        await peer.response()
        await peer.linger()

    async with calling(first, continuity=None) as call:
        await call.session.create_response()
        await call.until(ev.ResponseStarted)
        async with trio.open_nursery() as nursery:

            async def resume():
                with pytest.raises(errors.SessionClosedError):
                    await call.session.resume_with(OTHER)

            nursery.start_soon(resume)
            await trio.sleep(1)
            await call.session.aclose()


async def test_another_audio_format_holds_from_the_swap_on(autojump_clock):
    mulaw = RealtimeConfig(input_audio_format="g711_ulaw", output_audio_format="g711_ulaw")

    async def second(peer):
        await peer.welcome_back(0)
        await peer.audio_response("Hi", ms=100, create=await peer.expect("response.create"))
        await peer.linger()

    async with calling(leaving, second, continuity=None) as call:
        outcome = await call.session.mutate_context(mulaw)
        assert isinstance(outcome, RequiresResumption)
        await call.session.resume_with(outcome)
        fmt = call.session.capabilities.audio_input_format
        assert fmt == RealtimeAudioFormat(mime_type="audio/pcmu", sample_rate_hz=8000, channels=1)
        await call.session.create_response()
        await call.until(ev.TurnCompleted)


async def test_an_explicit_turn_that_is_being_made_goes_on_in_the_new_session(autojump_clock):
    async def second(peer):
        await peer.welcome_back(0)
        await peer.expect("input_audio_buffer.append")
        await peer.expect("input_audio_buffer.append")
        await peer.expect("input_audio_buffer.commit")
        await peer.transcribed(await peer.committed(), "hello")
        await answering(peer)
        await peer.linger()

    async with calling(leaving, second, mode=EXPLICIT, continuity=AGED) as call:
        await trio.sleep(94)
        await call.session.send_audio(TONE)
        await call.until(ev.SessionRotated)
        await call.session.send_audio(TONE)
        await call.session.commit_turn()
        await call.until(ev.MessageCommitted, 2)
    assert call.said == [("user", "hello"), ("assistant", "Fine.")]
