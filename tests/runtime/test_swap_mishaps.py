"""What happens at a bad moment: changes, ends and refusals while a connection is being replaced."""

from __future__ import annotations

from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from continuitykit import EXPLICIT, TONE, calling, calling_gemini, exchange

from meerkat_rt import (
    Applied,
    ContinuityPolicy,
    OpenAIRealtime,
    RealtimeConfig,
    RealtimeTextChunk,
    SessionLimits,
    errors,
)
from meerkat_rt.model import events as ev
from meerkat_rt.model.transcript import ItemSkipped
from meerkat_rt.runtime.continuity_policy import Failover
from meerkat_rt.runtime.ports import Conversation
from meerkat_rt.storage import MemoryStore
from meerkat_rt.transport import connector
from meerkat_rt.turn.effects import Answered, Lost

AGED = ContinuityPolicy(seed=1, max_age=100.0)  # looks for a boundary from 75 s on, goes at 95 s
OTHER = RealtimeConfig(model="gpt-realtime-2")


async def answering(peer, text="Fine.", **speech):
    await peer.audio_response(text, create=await peer.expect("response.create"), **speech)


async def listening(peer):
    await peer.welcome_back(0)
    await peer.linger()


async def idle(peer):
    await peer.linger()


async def leaving(peer):
    close = await peer.expect_close(within=200)
    assert close is not None


def dropped_after(seconds):
    async def play(peer):
        await trio.sleep(seconds)
        await peer.reset()

    return play


def slow_to_welcome(seconds, *, then=idle, **session):
    async def play(peer):
        await peer.accept()
        peer.tag = "b"
        await peer.session_created()
        update = await peer.expect("session.update", session=session)
        await trio.sleep(seconds)
        await peer.session_updated(update)
        await then(peer)

    return play


async def test_a_change_that_is_asked_for_while_it_reconnects_is_made_all_the_same(autojump_clock):
    async def third(peer):
        await peer.wait_request()
        assert "model=gpt-realtime-2" in peer.socket.request.path
        await listening(peer)

    scripts = dropped_after(1), slow_to_welcome(2, then=leaving), third
    async with calling(*scripts) as call:
        await call.until(ev.Reconnecting)
        await trio.sleep(1.5)
        await call.session.resume_with(OTHER)
        assert call.core.dialect.model == "gpt-realtime-2"
        assert len(call.exchange.dialled_at) == 3


async def test_a_change_that_is_acknowledged_while_the_next_connection_is_made_is_not_lost(
    autojump_clock,
):
    async def first(peer):
        await trio.sleep(70)
        update = await peer.expect("session.update", session={"instructions": "be brief"})
        await peer.session_updated(update)
        await leaving(peer)

    async def changed(peer):
        await peer.accept()
        await peer.session_created()
        update = await peer.expect("session.update", session={"instructions": "be brief"})
        await peer.session_updated(update)
        await peer.linger()

    scripts = first, slow_to_welcome(3, then=leaving), changed
    async with calling(*scripts, continuity=AGED) as call:
        await call.until(ev.SessionRotating)
        await trio.sleep(1)
        assert isinstance(
            await call.session.mutate_context(RealtimeConfig(instruction="be brief")), Applied
        )
        await call.until(ev.SessionRotated)
        assert call.core.dialect.config.instruction == "be brief"
        await trio.sleep(1)


async def test_an_end_that_was_announced_on_the_old_connection_is_not_the_new_ones(autojump_clock):
    async def first(peer):
        await trio.sleep(76)
        await peer.error("session_expired")
        await peer.linger()

    async with calling(first, slow_to_welcome(3), continuity=AGED) as call:
        await call.until(ev.SessionRotated)
        await trio.sleep(10)
        assert call.exchange.dialled_at == [0, 75]
        assert call.session.is_connected
        assert not call.core.events.waiting


async def test_an_orderly_end_while_the_next_connection_is_made_is_no_end(autojump_clock):
    async def first(peer):
        await trio.sleep(76)
        await peer.close(1000, "bye")

    async with calling(first, slow_to_welcome(3), continuity=AGED) as call:
        await call.until(ev.SessionRotated)
        assert call.exchange.dialled_at == [0, 75]
        assert call.session.is_connected


async def test_a_loss_with_an_impossible_change_pending_costs_the_change_alone(autojump_clock):
    async def first(peer):
        create = await peer.expect("response.create")
        response = await peer.response(create)
        message = await response.message("audio")
        await message.speak("On and on", ms=200)
        await trio.sleep(2)
        await peer.reset()

    async def refusing(peer):
        await peer.accept()
        await peer.fail("invalid_model")

    async def again(peer):
        await peer.wait_request()
        assert "model=gpt-realtime-2" not in peer.socket.request.path
        await peer.welcome_back()
        await answering(peer, "and on.")
        await peer.linger()

    async with calling(first, refusing, again) as call:
        await call.session.create_response()
        await call.until(ev.OutputAudioChunk)
        with pytest.raises(errors.ModelNotFound):
            await call.session.resume_with(OTHER)
        await call.until(ev.SessionRotated)
        assert call.session.is_connected
        assert call.core.dialect.model == "gpt-realtime"


def failing_over_to(made, **policy):
    provider = OpenAIRealtime(
        api_key="k2",
        base_url="ws://second/v1/realtime",
        connector=connector("websockets", open_stream=made.open_stream),
        seed=2,
    )
    return ContinuityPolicy(seed=1, failover=Failover(provider=provider), **policy)


async def test_a_refusal_that_a_retry_cannot_help_leads_to_the_second_provider_at_once(
    autojump_clock,
):
    async def refusing(peer):
        await peer.accept()
        await peer.fail("invalid_api_key")

    async with (
        exchange(listening) as second,
        calling(dropped_after(1), refusing, continuity=failing_over_to(second)) as call,
    ):
        await call.until(ev.SessionRotated)
        assert len(call.exchange.dialled_at) == 2
        assert len(second.dialled_at) == 1
        assert call.session.is_connected


async def test_a_change_that_the_second_provider_never_saw_ends_in_a_typed_error(autojump_clock):
    async def first(peer):
        await trio.sleep(1)
        await peer.reset()

    async with (
        exchange(listening) as second,
        calling(first, continuity=failing_over_to(second)) as call,
    ):
        await call.until(ev.Reconnecting)
        with pytest.raises(errors.ConnectionReset):
            await call.session.mutate_context(RealtimeConfig(instruction="be brief"))
        await call.until(ev.SessionRotated)
        assert call.session.is_connected


async def test_changes_are_made_in_their_order_on_the_next_connection(autojump_clock):
    async def first(peer):
        await peer.expect("session.update", session={"instructions": "first"})
        await peer.reset()

    async def second(peer):
        await peer.welcome_back(0)
        for text in ("first", "second"):
            update = await peer.expect("session.update", session={"instructions": text})
            await peer.session_updated(update)
        await peer.linger()

    async with calling(first, second) as call, trio.open_nursery() as nursery:
        nursery.start_soon(call.session.mutate_context, RealtimeConfig(instruction="first"))
        await call.until(ev.Reconnecting)
        nursery.start_soon(call.session.mutate_context, RealtimeConfig(instruction="second"))
        await call.until(ev.SessionRotated)


async def test_a_turn_whose_audio_has_become_too_old_is_not_committed_empty(autojump_clock):
    async def first(peer):
        await peer.expect("input_audio_buffer.append")
        await peer.expect("input_audio_buffer.commit")
        await peer.expect("response.create")
        await peer.reset()

    async def second(peer):
        await peer.welcome_back(0)
        await peer.expect_silence(5)
        await peer.linger()

    slow = ContinuityPolicy(seed=3, initial_backoff=4, max_backoff=4)
    refused = OSError("refused")
    async with calling(first, refused, second, mode=EXPLICIT, continuity=slow) as call:
        await call.session.send_audio(TONE)
        request = await call.session.commit_turn()
        begun = trio.current_time()
        await call.until(ev.SessionRotated)
        assert trio.current_time() > begun + 2
        assert isinstance(await request.outcome(), Lost)
        await trio.sleep(6)


async def test_a_turn_that_was_committed_and_cannot_be_heard_again_is_not_answered(autojump_clock):
    async def first(peer):
        await peer.expect("input_audio_buffer.append")
        await peer.expect("input_audio_buffer.commit")
        await peer.committed()
        await peer.expect("response.create")
        await peer.reset(deliver=True)

    async def second(peer):
        await peer.welcome_back(0)
        await peer.expect_silence(5)
        await peer.linger()

    slow = ContinuityPolicy(seed=3, initial_backoff=4, max_backoff=4)
    refused = OSError("refused")
    async with calling(first, refused, second, mode=EXPLICIT, continuity=slow) as call:
        await call.session.send_audio(TONE)
        request = await call.session.commit_turn()
        await call.until(ev.SessionRotated)
        assert isinstance(await request.outcome(), Lost)
        await trio.sleep(6)
        await call.session.aclose()
        await call.until(ev.SessionClosed)
        assert len(call.of(ev.InputTranscriptionFailed)) == 1


async def test_audio_is_not_skipped_by_a_position_in_a_stream_that_was_not_kept_whole(
    autojump_clock,
):
    async def first(peer):
        for _ in range(10):
            await peer.expect("input_audio_buffer.append")
        started = await peer.speech_started(0)
        await peer.speech_stopped(started, after_ms=100)
        await peer.committed(started)
        await peer.transcribed(started, "hello")
        response = await peer.response()
        message = await response.message("audio")
        await message.speak("On and on", ms=400)
        for _ in range(20):
            await peer.expect("input_audio_buffer.append")
        await leaving(peer)

    async def second(peer):
        await peer.welcome_back(1)
        await peer.expect_item(role="assistant")
        await peer.expect("response.create")
        for _ in range(20):
            await peer.expect("input_audio_buffer.append")
        await peer.linger()

    limits = SessionLimits(turn_end=1.0)
    async with calling(first, second, continuity=None, limits=limits) as call:
        for _ in range(10):
            await call.session.send_audio(TONE)
        await call.until(ev.OutputAudioChunk)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call.session.resume_with, OTHER)
            await trio.sleep(0.1)
            for _ in range(20):
                await call.session.send_audio(TONE)
                await trio.sleep(0.02)
        await trio.sleep(3)
        assert len(call.exchange.peers[1].frames("input_audio_buffer.append")) == 20


async def test_attempts_are_counted_anew_after_a_connection_that_lasted(autojump_clock):
    async def steady(peer):
        await peer.welcome_back(0)
        await trio.sleep(20)
        await peer.reset()

    no = OSError("refused")
    scripts = dropped_after(1), no, no, steady, no, no, listening
    async with calling(*scripts) as call:
        await call.until(ev.SessionRotated, 2)
        assert [each.attempt for each in call.of(ev.Reconnecting)] == [1, 2, 3, 1, 2, 3]


async def test_a_tool_may_ask_for_another_configuration(autojump_clock):
    async def first(peer):
        await peer.tool_call_response(("transfer", {}), create=await peer.expect("response.create"))
        await leaving(peer)

    async def second(peer):
        await peer.wait_request()
        assert "model=gpt-realtime-2" in peer.socket.request.path
        await peer.welcome_back(1)
        assert await peer.expect_tool_output("call_1") == "transferred"
        await answering(peer, "Here I am.")
        await peer.linger()

    async def transfer() -> str:
        """Transfer."""
        await session.resume_with(OTHER)
        return "transferred"

    async with calling(first, second, continuity=None, tools=[transfer]) as call:
        session = call.session
        await session.create_response()
        begun = trio.current_time()
        await call.until(ev.SessionRotated)
        assert trio.current_time() < begun + 1
        (finished,) = [*call.of(ev.ToolCallFinished)] or (await call.until(ev.ToolCallFinished))[
            -1:
        ]
        assert finished.outcome is ev.ToolOutcome.RESULT
        await call.until(ev.TurnCompleted)


class Broken(MemoryStore):
    """A store that takes nothing of what is said."""

    @asynccontextmanager
    async def open(self, session_id, **options):
        async with super().open(session_id, **options) as journal:
            yield BrokenJournal(journal.restored)


@attrs.frozen
class BrokenJournal:
    restored: object

    async def commit(self, batch):
        await trio.lowlevel.checkpoint()
        raise errors.ServerError("the disk is full", 507)


async def test_what_the_store_did_not_take_is_told_to_the_next_session_all_the_same(autojump_clock):
    async def first(peer):
        await peer.item_created(await peer.expect("conversation.item.create"))
        await answering(peer, "Good morning.")
        await trio.sleep(20)
        await peer.reset()

    async def second(peer):
        seeds = await peer.welcome_back(2)
        said = [part["text"] for seed in seeds for part in seed["content"]]
        assert said == ["hello", "Good morning."]
        await peer.linger()

    store = Conversation(store=Broken(), on_failure="continue")
    async with calling(first, second, store=store) as call:
        await call.session.send_input(RealtimeTextChunk("hello"))
        await call.until(ev.Reconnecting)
        lost = trio.current_time()
        await call.until(ev.SessionRotated)
        assert trio.current_time() < lost + 1
        assert call.of(ev.StoreFailed)
        await trio.sleep(1)


async def test_nudges_that_went_down_with_a_connection_do_not_count_on_the_next(autojump_clock):
    async def first(peer):
        for _ in range(4):  # the request, and as many nudges as there are
            await peer.expect("response.create")
        await trio.sleep(0.3)
        await peer.reset()

    async def second(peer):
        await peer.welcome_back(0)
        response = await peer.response(await peer.expect("response.create"))
        await trio.sleep(1)  # longer than one window
        message = await response.message("audio")
        await message.speak("Hi", ms=100)
        await message.done()
        await response.done()
        await peer.linger()

    async with calling(first, second) as call:
        request = await call.session.create_response()
        await call.until(ev.TurnCompleted)
        assert isinstance(await request.outcome(), Answered)
        assert not call.of(ev.Stalled)


async def test_a_turn_of_which_nothing_is_left_holds_up_no_swap(autojump_clock):
    async def first(peer):
        await peer.expect("input_audio_buffer.append")
        await peer.speech_started(0)
        await peer.reset(deliver=True)

    async def second(peer):
        await peer.welcome_back(0)
        await leaving(peer)

    slow = ContinuityPolicy(seed=3, initial_backoff=4, max_backoff=4)
    async with calling(first, OSError("no"), second, listening, continuity=slow) as call:
        await call.session.send_audio(TONE)
        await call.until(ev.SessionRotated)
        begun = trio.current_time()
        await call.session.resume_with(OTHER)
        assert trio.current_time() < begun + 1


async def test_a_provider_that_sends_every_connection_away_is_not_followed_at_its_pace(
    autojump_clock,
):
    async def sending_away(peer):
        await peer.welcome()
        await peer.go_away(50)
        await peer.linger()

    async with calling_gemini(*[sending_away] * 20) as call:
        await trio.sleep(60)
        assert 10 < len(call.exchange.dialled_at) < 15
        assert call.session.is_connected


HASTY = {"initial_backoff": 5.0, "max_total": 0.5}  # shorter than the first delay


async def test_with_no_time_for_a_delay_one_attempt_is_made_all_the_same(autojump_clock):
    policy = ContinuityPolicy(seed=1, **HASTY)
    async with calling(dropped_after(1), listening, continuity=policy) as call:
        await call.until(ev.SessionRotated)
        assert trio.current_time() == 1
        assert [each.next_delay for each in call.of(ev.Reconnecting)] == [0.0]


async def test_a_second_attempt_that_would_come_too_late_is_not_waited_for(autojump_clock):
    policy = ContinuityPolicy(seed=1, **HASTY)
    async with calling(dropped_after(1), OSError("no"), listening, continuity=policy) as call:
        await call.until(ev.SessionClosed)
        assert trio.current_time() == 1
        with pytest.raises(errors.ReconnectExhausted) as caught:
            await call.session.next_event()
        assert caught.value.attempts == 1


async def test_with_no_time_for_a_delay_the_second_provider_is_reached(autojump_clock):
    async with (
        exchange(listening) as second,
        calling(
            dropped_after(1), OSError("no"), continuity=failing_over_to(second, **HASTY)
        ) as call,
    ):
        await call.until(ev.SessionRotated)
        assert trio.current_time() == 1
        assert len(call.exchange.dialled_at) == 2
        assert len(second.dialled_at) == 1


async def test_a_provider_that_says_when_to_come_again_is_not_asked_before(autojump_clock):
    async def busy(peer):
        message = "Rate limit reached. Please try again in 20s."
        await peer.error("rate_limit_exceeded", message=message, kind="authentication_error")
        await peer.linger()

    policy = ContinuityPolicy(seed=1, **HASTY)
    async with calling(busy, listening, continuity=policy) as call:
        await call.until(ev.SessionClosed)
        assert len(call.exchange.dialled_at) == 1
        with pytest.raises(errors.ReconnectExhausted) as caught:
            await call.session.next_event()
        assert isinstance(caught.value.__cause__, errors.RateLimited)


async def test_an_orderly_end_while_an_answer_is_asked_for_is_a_loss(autojump_clock):
    async def first(peer):
        await peer.expect("response.create")
        await peer.close(1000, "bye")

    async def second(peer):
        await peer.welcome_back(0)
        await answering(peer)
        await peer.linger()

    async with calling(first, second) as call:
        request = await call.session.create_response()
        await call.until(ev.TurnCompleted)
        assert isinstance(await request.outcome(), Answered)


async def test_an_orderly_end_while_a_call_runs_is_a_loss(autojump_clock):
    async def first(peer):
        create = await peer.expect("response.create")
        await peer.tool_call_response(("slow", {}), create=create)
        await trio.sleep(1)
        await peer.close(1000, "bye")

    async def second(peer):
        await peer.welcome_back(1)
        assert await peer.expect_tool_output("call_1") == "slept"
        await answering(peer)
        await peer.linger()

    async def slow() -> str:
        """Sleep."""
        await trio.sleep(4)
        return "slept"

    async with calling(first, second, tools=[slow]) as call:
        await call.session.create_response()
        await call.until(ev.SessionRotated)
        await call.until(ev.TurnCompleted)


@pytest.mark.parametrize("when", ["without", "after", "heard"])
async def test_what_was_said_on_another_connection_is_cut_in_history_alone(autojump_clock, when):
    async def first(peer):
        await peer.item_created(await peer.expect("conversation.item.create"))
        create = await peer.expect("response.create")
        await peer.audio_response("one two three four five six", create=create, ms=6000)
        await peer.reset(deliver=True)

    async def second(peer):
        await peer.welcome_back(2)
        await peer.expect_silence(12)
        await peer.linger()

    async with calling(first, second) as call:
        await call.session.send_text("count")
        await call.session.create_response()
        await call.until(ev.Reconnecting)
        (item_id,) = {event.item_id for event in call.of(ev.OutputAudioChunk)}
        if when != "without":
            await call.until(ev.SessionRotated)
        if when == "heard":
            await trio.sleep(7)
        for played_ms in (3000, 2000):
            await call.session.truncate_assistant_output(item_id, 0, played_ms)
        await call.until(ev.AssistantTranscriptTruncated, 2)
        told = [event.audio_played_ms for event in call.of(ev.AssistantTranscriptTruncated)]
        assert told == [3000, 2000]
        assert not call.of(ev.ProviderErrorReported)
        await trio.sleep(12)


async def test_a_change_that_is_asked_for_while_the_next_connection_is_made_is_made_with_it(
    autojump_clock,
):
    async def third(peer):
        await peer.wait_request()
        assert "model=gpt-realtime-2" in peer.socket.request.path
        await listening(peer)

    scripts = leaving, slow_to_welcome(3, then=leaving), third
    async with calling(*scripts, continuity=AGED) as call:
        await call.until(ev.SessionRotating)
        await trio.sleep(1)
        await call.session.resume_with(OTHER, when="now")
        await call.until(ev.SessionRotated)
        assert call.core.dialect.model == "gpt-realtime-2"
        assert not call.core.events.waiting  # there was one swap, not two


async def test_what_was_said_before_is_no_gap_for_an_answer_that_is_heard_after(autojump_clock):
    async def first(peer):
        await peer.welcome()
        await peer.user_turn("hello")
        await peer.audio_response("a long answer", ms=8000)
        await trio.sleep(0.1)
        await peer.close(1011, "internal")

    async def second(peer):
        await peer.welcome()
        await trio.sleep(20)
        await peer.user_turn("again")
        await peer.audio_response("yes", ms=200)
        await peer.linger()

    async with calling_gemini(first, second) as call:
        await call.until(ev.MessageCommitted, 4)
        facts = [event.event for event in call.of(ev.RealtimeTranscript)]
        assert not [fact for fact in facts if isinstance(fact, ItemSkipped)]
    assert [text for _, text in call.said] == ["hello", "a long answer", "again", "yes"]
