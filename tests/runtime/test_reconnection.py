"""A session whose connection is lost: what goes on, what is told again, and what is not."""

from __future__ import annotations

import math
import random
import re

import pytest
import trio
from continuitykit import EXPLICIT, TONE, calling

from meerkat_rt import ContinuityPolicy, Failover, OpenAIRealtime, RealtimeTextChunk, errors
from meerkat_rt.model import events as ev
from meerkat_rt.turn.effects import Answered


def texts(items):
    return [
        (
            item.get("role") or item["type"],
            "".join(part["text"] for part in item.get("content", ())),
        )
        for item in items
    ]


async def answering(peer, text="Fine."):
    await peer.audio_response(text, create=await peer.expect("response.create"))


async def test_between_two_turns_the_conversation_goes_on(autojump_clock):
    async def first(peer):
        await peer.item_created(await peer.expect("conversation.item.create"))
        await answering(peer, "Good morning.")
        await trio.sleep(5)
        await peer.reset()

    async def second(peer):
        seeds = await peer.welcome_back(2)
        assert texts(seeds) == [("user", "hello"), ("assistant", "Good morning.")]
        await peer.item_created(await peer.expect("conversation.item.create"))
        await answering(peer, "I said so.")
        await peer.linger()

    async with calling(first, second) as call:
        await call.session.send_input(RealtimeTextChunk("hello"))
        await call.until(ev.SessionRotated)
        (attempt,) = call.of(ev.Reconnecting)
        assert attempt.attempt == 1
        assert 0 <= attempt.next_delay <= 0.5
        assert call.of(ev.SessionRotated) == [
            ev.SessionRotated(session_id=call.session.session_id, state_restored=False)
        ]
        assert call.session.is_connected
        await call.session.send_input(RealtimeTextChunk("what did you say?"))
        await call.until(ev.MessageCommitted, 2)
    assert call.said == [
        ("user", "hello"),
        ("assistant", "Good morning."),
        ("user", "what did you say?"),
        ("assistant", "I said so."),
    ]
    assert call.session.closed.clean
    assert not call.of(ev.ProviderErrorReported)


async def test_an_answer_that_was_cut_stands_as_far_as_it_came_and_is_asked_for_again(
    autojump_clock,
):
    async def first(peer):
        await peer.item_created(await peer.expect("conversation.item.create"))
        response = await peer.response(await peer.expect("response.create"))
        message = await response.message("audio")
        await message.speak("Once upon", ms=400)
        await peer.reset(deliver=True)

    async def second(peer):
        seeds = await peer.welcome_back(2)
        assert texts(seeds) == [("user", "tell me"), ("assistant", "Once upon")]
        await answering(peer, "a time.")
        await peer.linger()

    async with calling(first, second) as call:
        await call.session.send_text("tell me")
        request = await call.session.create_response()
        read = await call.until(ev.SessionRotated)
        (cut,) = call.of(ev.TurnCompleted)
        assert cut.error.code == "connection_lost"
        assert not call.of(ev.Interrupted)
        assert (
            sum(len(e.chunk.data) for e in read if isinstance(e, ev.OutputAudioChunk)) == 400 * 48
        )
        await call.until(ev.TurnCompleted)
        outcome = await request.outcome()
        assert isinstance(outcome, Answered)
        assert outcome.response_id == call.of(ev.TurnCompleted)[-1].response_id
        await trio.sleep(5)
    assert [text for _, text in call.said] == ["tell me", "Once upon", "a time."]


async def test_a_request_that_nobody_began_to_answer_is_asked_again(autojump_clock):
    async def first(peer):
        await peer.expect("response.create")
        await peer.reset()

    async def second(peer):
        await peer.welcome_back(0)
        await answering(peer)
        await peer.expect_silence(2)
        await peer.linger()

    async with calling(first, second) as call:
        request = await call.session.create_response()
        await call.until(ev.TurnCompleted)
        assert isinstance(await request.outcome(), Answered)
        await trio.sleep(5)


async def test_a_call_in_flight_is_answered_in_the_new_session_which_was_told_of_it(autojump_clock):
    async def first(peer):
        create = await peer.expect("response.create")
        await peer.tool_call_response(("slow", {"seconds": 3}), create=create)
        await trio.sleep(1)
        await peer.reset()

    async def second(peer):
        (seed,) = await peer.welcome_back(1)
        assert (seed["type"], seed["call_id"], seed["name"]) == ("function_call", "call_1", "slow")
        assert await peer.expect_tool_output("call_1") == "slept"
        await answering(peer)
        await peer.expect_silence(2)
        await peer.linger()

    ran = []

    async def slow(seconds: int) -> str:
        """Sleep."""
        ran.append(seconds)
        await trio.sleep(seconds)
        return "slept"

    async with calling(first, second, tools=[slow]) as call:
        await call.session.create_response()
        await call.until(ev.ToolCallFinished)
        (finished,) = call.of(ev.ToolCallFinished)
        assert (finished.outcome, finished.output) == (ev.ToolOutcome.RESULT, "slept")
        await call.until(ev.TurnCompleted)
        await trio.sleep(5)
    assert ran == [3]
    assert call.core.machine.late_tool_outcomes == 0


async def test_a_call_that_ends_while_there_is_no_connection_is_answered_once(autojump_clock):
    async def first(peer):
        create = await peer.expect("response.create")
        await peer.tool_call_response(("slow", {}), create=create)
        await peer.reset(deliver=True)

    async def second(peer):
        call, output = await peer.welcome_back(2)
        assert (call["type"], output["type"]) == ("function_call", "function_call_output")
        assert output["output"] == "slept"
        await answering(peer)
        await peer.expect_silence(2)
        await peer.linger()

    async def slow() -> str:
        """Sleep."""
        await trio.sleep(0.6)
        return "slept"

    refused = OSError("refused")
    async with calling(
        first, refused, second, tools=[slow], continuity=ContinuityPolicy(seed=3)
    ) as call:
        await call.session.create_response()
        await call.until(ev.TurnCompleted, 2)
        assert len(call.of(ev.Reconnecting)) == 2
        assert len(call.of(ev.ToolCallFinished)) == 1
        await trio.sleep(5)


async def test_without_a_seed_of_its_own_a_policy_waits_by_the_providers(autojump_clock):
    async def first(peer):
        await trio.sleep(1)
        await peer.reset()

    async def second(peer):
        await peer.welcome_back(0)
        await peer.linger()

    waited = []
    for _ in range(3):
        async with calling(first, second, continuity=ContinuityPolicy()) as call:
            await call.until(ev.SessionRotated)
        waited += [attempt.next_delay for attempt in call.of(ev.Reconnecting)]
    assert waited == [random.Random(1).uniform(0, 0.5)] * 3


async def test_what_tools_said_before_is_told_to_the_new_session(autojump_clock):
    async def first(peer):
        await peer.item_created(await peer.expect("conversation.item.create"))
        create = await peer.expect("response.create")
        (call_id,) = await peer.tool_call_response(("weather", {"city": "Paris"}), create=create)
        await peer.expect_tool_output(call_id)
        await answering(peer, "It rains.")
        await trio.sleep(5)
        await peer.reset()

    async def second(peer):
        seeds = await peer.welcome_back(4)
        kinds = [item.get("role") or item["type"] for item in seeds]
        assert kinds == ["user", "function_call", "function_call_output", "assistant"]
        assert seeds[2]["output"] == "rain"
        await peer.linger()

    async def weather(city: str) -> str:
        """Weather."""
        return "rain"

    async with calling(first, second, tools=[weather]) as call:
        await call.session.send_input(RealtimeTextChunk("weather?"))
        await call.until(ev.SessionRotated)
        await trio.sleep(1)


async def test_audio_that_was_not_committed_is_heard_by_the_new_session(autojump_clock):
    async def first(peer):
        for _ in range(4):
            await peer.expect("input_audio_buffer.append")
        await peer.reset()

    async def second(peer):
        await peer.welcome_back(0)
        for _ in range(5):
            await peer.expect("input_audio_buffer.append")
        await peer.linger()

    async with calling(first, second) as call:
        for _ in range(4):
            await call.session.send_audio(TONE)
        await call.until(ev.Reconnecting)
        await call.session.send_audio(TONE)
        await call.until(ev.SessionRotated)
        await trio.sleep(1)
        assert len(call.exchange.peers[1].frames("input_audio_buffer.append")) == 5


async def test_audio_that_is_too_old_is_not_sent_again(autojump_clock):
    async def first(peer):
        await peer.expect("input_audio_buffer.append")
        await trio.sleep(3)
        await peer.reset()

    async def second(peer):
        await peer.welcome_back(0)
        await peer.expect("input_audio_buffer.append")
        await peer.linger()

    async with calling(first, second) as call:
        await call.session.send_audio(TONE)
        await trio.sleep(2.5)
        await call.session.send_audio(TONE)
        await call.until(ev.SessionRotated)
        await trio.sleep(1)
        assert len(call.exchange.peers[1].frames("input_audio_buffer.append")) == 1


async def test_a_turn_that_was_committed_and_not_understood_is_heard_again(autojump_clock):
    async def first(peer):
        await peer.expect("input_audio_buffer.append")
        await peer.user_turn()
        await peer.reset(deliver=True)

    async def second(peer):
        await peer.welcome_back(0)
        await peer.expect("input_audio_buffer.append")
        await peer.user_turn("hello")
        await peer.audio_response("Hi.")
        await peer.linger()

    async with calling(first, second) as call:
        await call.session.send_audio(TONE)
        await call.until(ev.MessageCommitted, 2)
        assert not call.of(ev.InputTranscriptionFailed)
    assert call.said == [("user", "hello"), ("assistant", "Hi.")]


async def test_a_commit_of_the_applications_is_made_again_with_its_audio(autojump_clock):
    async def first(peer):
        await peer.expect("input_audio_buffer.append")
        await peer.expect("input_audio_buffer.commit")
        await peer.expect("response.create")
        await peer.reset()

    async def second(peer):
        await peer.welcome_back(0)
        await peer.expect("input_audio_buffer.append")
        await peer.expect("input_audio_buffer.commit")
        item = await peer.committed()
        await peer.transcribed(item, "hello")
        await answering(peer, "Hi.")
        await peer.linger()

    async with calling(first, second, mode=EXPLICIT) as call:
        await call.session.send_audio(TONE)
        request = await call.session.commit_turn()
        await call.until(ev.MessageCommitted, 2)
        assert isinstance(await request.outcome(), Answered)
        assert len(call.of(ev.TurnCommitted)) == 1
    assert call.said == [("user", "hello"), ("assistant", "Hi.")]


async def test_text_that_is_sent_without_a_connection_arrives_once(autojump_clock):
    async def first(peer):
        await trio.sleep(1)
        await peer.reset()

    async def second(peer):
        (seed,) = await peer.welcome_back(1)
        assert texts([seed]) == [("user", "are you there?")]
        await answering(peer, "Yes.")
        await peer.expect_silence(2)
        await peer.linger()

    async with calling(first, second) as call:
        await call.until(ev.Reconnecting)
        assert not call.session.is_connected
        await call.session.send_input(RealtimeTextChunk("are you there?"))
        await call.until(ev.TurnCompleted)
        await trio.sleep(5)
    assert call.said == [("user", "are you there?"), ("assistant", "Yes.")]


async def test_attempts_that_fail_end_the_session_with_a_typed_error(autojump_clock):
    async def first(peer):
        await trio.sleep(1)
        await peer.reset()

    async with calling(first) as call:
        await call.until(ev.SessionClosed)
        assert [event.attempt for event in call.of(ev.Reconnecting)] == [1, 2, 3]
        with pytest.raises(errors.ReconnectExhausted) as caught:
            await call.session.next_event()
        assert caught.value.attempts == 3
        assert isinstance(caught.value.__cause__, errors.ConnectionReset)
        assert not call.session.closed.clean
        with pytest.raises(errors.SessionClosedError):
            await call.session.send_text("hello?")


async def test_the_times_of_attempts_are_reproducible_and_bounded(autojump_clock):
    def delays(policy):
        rng = random.Random(policy.seed)
        return [policy.delay(number, rng) for number in range(1, 30)]

    policy = ContinuityPolicy(seed=5, initial_backoff=0.5, max_backoff=5.0)
    assert delays(policy) == delays(policy)
    assert len(set(delays(policy))) == 29
    for number, delay in enumerate(delays(policy)):
        assert 0 <= delay <= min(5.0, 0.5 * 2**number)


async def test_a_refusal_that_a_retry_cannot_help_is_not_retried(autojump_clock):
    async def first(peer):
        await trio.sleep(1)
        await peer.reset()

    async def refusing(peer):
        await peer.accept()
        await peer.fail("invalid_api_key")

    async with calling(first, refusing) as call:
        await call.until(ev.SessionClosed)
        with pytest.raises(errors.ReconnectExhausted) as caught:
            await call.session.next_event()
        assert isinstance(caught.value.__cause__, errors.InvalidApiKey)
        assert len(call.exchange.dialled_at) == 2


async def test_an_orderly_end_that_owes_nothing_is_an_end(autojump_clock):
    async def first(peer):
        await peer.item_created(await peer.expect("conversation.item.create"))
        await answering(peer)
        await trio.sleep(2)
        await peer.close(1000, "bye")

    async with calling(first) as call:
        await call.session.send_input(RealtimeTextChunk("hello"))
        await call.until(ev.SessionClosed)
        assert await call.session.next_event() is None
        assert call.session.closed.clean
        assert not call.of(ev.Reconnecting)


async def test_an_orderly_end_in_the_face_of_a_question_is_a_loss(autojump_clock):
    async def first(peer):
        await peer.item_created(await peer.expect("conversation.item.create"))
        await peer.expect("response.create")
        await peer.close(1000, "bye")

    async def second(peer):
        await peer.welcome_back(1)
        await answering(peer)
        await peer.linger()

    async with calling(first, second) as call:
        await call.session.send_input(RealtimeTextChunk("hello"))
        await call.until(ev.TurnCompleted)


async def test_a_connection_that_breaks_at_once_uses_up_its_attempts(autojump_clock):
    async def first(peer):
        await trio.sleep(20)
        await peer.reset()

    async def flapping(peer):
        await peer.welcome_back(0)
        await trio.sleep(0.1)
        await peer.reset()

    async with calling(first, flapping, flapping, flapping, flapping) as call:
        await call.until(ev.SessionClosed)
        assert len(call.exchange.dialled_at) == 4


async def test_waiting_readers_and_writers_go_on_waiting(autojump_clock):
    async def first(peer):
        await trio.sleep(1)
        await peer.reset()

    async def second(peer):
        await peer.welcome_back(0)
        await trio.sleep(1)
        await peer.rate_limits()
        await peer.linger()

    async with calling(first, second) as call:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call.until, ev.RateLimitsUpdated)
            await trio.sleep(0.5)
            with pytest.raises(trio.BusyResourceError):
                await call.session.next_event()


async def test_closing_while_it_reconnects_leaves_nothing(autojump_clock):
    async def first(peer):
        await trio.sleep(1)
        await peer.reset()

    async def mute(peer):
        await peer.accept()
        await peer.linger()

    async with calling(first, mute) as call:
        await call.until(ev.Reconnecting)
        await trio.sleep(2)
        begun = trio.current_time()
        await call.session.aclose()
        assert trio.current_time() == begun
        assert call.session.closed.by is ev.ClosedBy.APPLICATION


async def test_without_a_policy_a_loss_ends_the_session_as_ever(autojump_clock):
    async def first(peer):
        await trio.sleep(1)
        await peer.reset()

    async with calling(first, continuity=None) as call:
        await call.until(ev.SessionClosed)
        with pytest.raises(errors.ConnectionReset):
            await call.session.next_event()
        assert not call.of(ev.Reconnecting)


@pytest.mark.parametrize("wrong", [True, "yes", object()])
async def test_what_is_no_policy_is_refused_before_anything_is_dialled(autojump_clock, wrong):
    async def never(peer):
        raise AssertionError("dialled")

    with pytest.raises(errors.InvalidConfig, match=r"continuity is .*allowed: ContinuityPolicy"):
        async with calling(never, continuity=wrong):
            raise AssertionError("opened")


def test_a_policy_says_what_is_wrong_with_it():
    with pytest.raises(
        errors.InvalidConfig, match=r"max_backoff is 0.1 s; allowed: initial_backoff"
    ):
        ContinuityPolicy(initial_backoff=1.0, max_backoff=0.1)
    for field, wrong in {
        "max_attempts": [-1, "3", 1.5, True, None],
        "initial_backoff": [0, "0.5", math.nan],
        "max_backoff": [0, "5", math.nan],
        "max_total": [-1, "30"],
        "steady": [-1, True],
        "rotate": ["no"],
        "rotation_margin": [0, "60"],
        "last_call": [0, math.nan],
        "max_age": [0, "600"],
        "budget": [-1, "1000", 0.5],
        "failover": ["openai"],
    }.items():
        for value in wrong:
            words = re.escape(f"ContinuityPolicy.{field} is {value!r}; allowed: ")
            with pytest.raises(errors.InvalidConfig, match=words):
                ContinuityPolicy(**{field: value})
    ContinuityPolicy(max_attempts=0, max_total=0, steady=0, max_age=math.inf, budget=1e4)


def test_a_failover_is_a_provider_that_can_be_dialled():
    for wrong in ("openai", OpenAIRealtime, None):
        with pytest.raises(
            errors.InvalidConfig, match=r"Failover\.provider is .*; allowed: OpenAI"
        ):
            Failover(provider=wrong)
    with pytest.raises(errors.InvalidConfig, match=r"Failover\.llm_identity is 'm'; allowed: Sess"):
        Failover(provider=OpenAIRealtime(api_key="k"), llm_identity="m")
