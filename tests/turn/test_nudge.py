"""When a silent model is asked again."""

from __future__ import annotations

import pytest
from turnkit import EXPLICIT, Hand, ev, fx, p, result, tool

from meerkat_rt.turn.nudge import NudgeClock, NudgePhase, NudgeTrigger

FAULT = ev.ProviderFault(code="busy")


def times(hand: Hand, start: float) -> list[float]:
    """When nudges were sent, from `start` on, found by stepping through every deadline."""
    found = []
    while (deadline := hand.machine.next_deadline) is not None and deadline < start + 20:
        before = len(hand.of(ev.Nudged))
        hand.wait(deadline - hand.now)
        found += [round(hand.now - start, 6)] * (len(hand.of(ev.Nudged)) - before)
    return found


def test_silence_is_nudged_at_every_multiple_and_then_declared_a_stall():
    hand = Hand()
    start = hand.now
    hand.user_turn("U1", "hello")
    assert times(hand, start) == [0.75, 1.5, 2.25]
    assert [(n.attempt, n.waited_ms) for n in hand.of(ev.Nudged)] == [
        (1, 750),
        (2, 1500),
        (3, 2250),
    ]
    assert hand.of(ev.Stalled) == [ev.Stalled(attempts=3, waited_ms=3000)]
    (settled,) = hand.effects_of(fx.SettleRequest)
    assert isinstance(settled.outcome, fx.Lost)
    assert hand.sizes() == {}


def test_the_stall_comes_one_window_after_the_last_nudge():
    hand = Hand(nudge_timeout=1.0, nudge_max_attempts=1)
    hand.user_turn("U1", "hello")
    hand.wait(1.999)
    assert not hand.of(ev.Stalled)
    hand.wait(0.001)
    assert hand.of(ev.Stalled) == [ev.Stalled(attempts=1, waited_ms=2000)]


def test_without_attempts_the_first_window_is_the_last():
    hand = Hand(nudge_max_attempts=0)
    hand.user_turn("U1", "hello")
    hand.wait(0.75)
    assert hand.of(ev.Stalled) == [ev.Stalled(attempts=0, waited_ms=750)]
    assert not hand.sent(p.CreateResponse)


def test_a_provider_that_takes_no_nudges_is_only_declared_stalled():
    hand = Hand(nudge_supported=False)
    hand.user_turn("U1", "hello")
    hand.wait(10.0)
    assert not hand.of(ev.Nudged)
    assert not hand.sent(p.CreateResponse)
    assert hand.of(ev.Stalled) == [ev.Stalled(attempts=3, waited_ms=3000)]


@pytest.mark.parametrize("how", ["text", "commit", "tools", "application"])
def test_every_obligation_has_the_clock(how):
    hand = Hand(turning_mode=EXPLICIT, tools=(tool(),))
    if how == "commit":
        hand.do("audio_appended", 4800)
        hand.do("commit_turn", None)
    elif how == "text":
        hand.do("send_text", "hello", respond=True)
        hand.do("commit_turn", None)
    elif how == "tools":
        hand.begin("R1")
        hand.call("R1", "c1")
        hand.do("tool_returned", result("c1"))
        hand.end("R1")
    else:
        hand.do("request_response", p.ResponseOptions())
    hand.wait(0.75)
    assert len(hand.sent(p.CreateResponse)) == 2
    assert len(hand.of(ev.Nudged)) == 1


def test_text_in_provider_managed_mode_is_nudged_from_the_moment_it_was_sent():
    hand = Hand()
    hand.do("send_text", "hello", respond=True)
    hand.wait(0.7)
    hand.see(p.ItemAdded(item_id="x", kind=p.ItemKind.SYSTEM), p.RateLimits(()))
    hand.wait(0.05)
    assert len(hand.of(ev.Nudged)) == 1


def test_a_nudge_makes_no_second_obligation():
    hand = Hand()
    request = hand.do("request_response", p.ResponseOptions())
    hand.wait(1.5)
    first, second, third = hand.sent(p.CreateResponse)
    hand.text_response("R1", "A1", "late", ref=second.ref)
    assert isinstance(hand.outcome(request), fx.Answered)
    assert len(hand.effects_of(fx.SettleRequest)) == 1
    # The refusals of the nudges that crossed the answer are nobody's problem.
    for command in (first, third):
        hand.see(
            p.CommandRefused(meaning=p.ErrorMeaning.ACTIVE_RESPONSE, fault=FAULT, ref=command.ref)
        )
    hand.wait(60.0)
    assert len(hand.sent(p.CreateResponse)) == 3
    assert not hand.of(ev.ProviderErrorReported)


def test_the_provider_answering_by_itself_answers_what_was_nudged():
    hand = Hand()
    hand.user_turn("U1", "hello")
    hand.wait(0.75)
    (nudge,) = hand.sent(p.CreateResponse)
    hand.begin("R1")  # its own, a moment later than we had patience for
    hand.see(p.CommandRefused(meaning=p.ErrorMeaning.ACTIVE_RESPONSE, fault=FAULT, ref=nudge.ref))
    hand.item("R1", "A1")
    hand.see(p.TextDelta("e", "R1", "A1", "hi"))
    hand.end("R1")
    hand.wait(60.0)
    assert len(hand.sent(p.CreateResponse)) == 1
    (settled,) = hand.effects_of(fx.SettleRequest)
    assert settled.outcome.response_id == "R1"


def test_an_answer_that_says_nothing_is_waited_for_passively_and_then_given_up():
    hand = Hand()
    hand.user_turn("U1", "hello")
    hand.begin("R1")
    hand.wait(2.999)
    assert not hand.of(ev.Nudged, ev.Stalled)
    hand.wait(0.001)
    assert len(hand.of(ev.Stalled)) == 1
    hand.item("R1", "A1")
    hand.see(p.TextDelta("e", "R1", "A1", "sorry for the wait"))
    hand.end("R1")
    assert hand.texts == ["hello", "sorry for the wait"]
    assert [e.response_id for e in hand.of(ev.TurnCompleted)] == ["R1"]
    assert hand.sizes() == {}


@pytest.mark.parametrize(
    "progress",
    [
        p.TextDelta("e", "R1", "A1", "x"),
        p.TranscriptDelta("e", "R1", "A1", "x"),
        p.AudioDelta("R1", "A1", b"\0\0"),
        p.OutputItemBegan(response_id="R1", item_id="A1", kind=p.ItemKind.ASSISTANT),
        p.OutputProgress(response_id="R1"),
        p.ToolCalled(response_id="R1", call_id="c", name="f", arguments=""),
    ],
)
def test_any_progress_of_the_answer_disarms_the_clock(progress):
    hand = Hand(tools=(tool(),))
    hand.user_turn("U1", "hello")
    hand.begin("R1")
    hand.see(progress)
    hand.wait(20.0)
    assert not hand.of(ev.Nudged, ev.Stalled)


def test_progress_of_an_older_response_disarms_nothing():
    hand = Hand()
    hand.begin("R0")
    hand.see(p.TextDelta("e0", "R0", "A0", "long"))
    hand.do("request_response", p.ResponseOptions())
    hand.end("R0")
    hand.see(p.TextDelta("e1", "R0", "A0", "late"))
    hand.wait(0.75)
    assert len(hand.of(ev.Nudged)) == 1


def test_a_request_that_waits_for_the_slot_has_no_clock_until_it_is_sent():
    hand = Hand()
    hand.begin("R0")
    hand.see(p.TextDelta("e", "R0", "A0", "long"))
    hand.do("request_response", p.ResponseOptions())
    hand.wait(5.0)
    assert not hand.of(ev.Nudged)
    hand.end("R0")
    hand.wait(0.749)
    assert not hand.of(ev.Nudged)
    hand.wait(0.001)
    assert len(hand.of(ev.Nudged)) == 1


def test_attempts_count_on_when_a_refused_request_is_sent_again():
    hand = Hand(nudge_max_attempts=2)
    hand.do("request_response", p.ResponseOptions())
    hand.wait(0.75)
    first, _nudge = hand.sent(p.CreateResponse)
    hand.begin("R9")
    hand.see(p.CommandRefused(meaning=p.ErrorMeaning.ACTIVE_RESPONSE, fault=FAULT, ref=first.ref))
    hand.end("R9")  # the request is sent again
    hand.wait(10.0)
    # The clock starts again when it is sent again, three quarters of a second into the test.
    assert [(n.attempt, n.waited_ms) for n in hand.of(ev.Nudged)] == [(1, 750), (2, 750)]
    assert len(hand.of(ev.Stalled)) == 1


def test_the_model_is_not_nudged_into_the_users_words():
    hand = Hand()
    hand.user_turn("U1", "hello")
    hand.wait(0.5)
    hand.see(p.SpeechStarted(item_id="U2"))
    hand.wait(2.0)
    assert not hand.of(ev.Nudged)
    hand.see(p.SpeechStopped(item_id="U2"), p.InputCleared())  # it was only a cough
    hand.wait(0.5)  # the windows stand where they stood: the next ends at 3.0
    assert [n.waited_ms for n in hand.of(ev.Nudged)] == [3000]


def test_windows_that_were_slept_through_do_not_follow_in_a_burst():
    hand = Hand()
    hand.user_turn("U1", "hello")
    hand.now += 100 * 0.75
    hand.machine.timer(hand.now)
    hand.take()
    assert len(hand.of(ev.Nudged)) == 1


def test_a_new_turn_supersedes_the_unanswered_one():
    hand = Hand()
    hand.user_turn("U1", "hello")
    hand.user_turn("U2", "are you there?", previous="U1")
    (settled,) = hand.effects_of(fx.SettleRequest)
    assert settled.outcome == fx.Superseded(by="turn")
    hand.wait(0.75)
    assert len(hand.of(ev.Nudged)) == 1


def test_the_clock_counts_windows_from_its_start():
    clock = NudgeClock(0.5)
    assert not clock.running
    clock.arm(10.0)
    assert (clock.deadline, clock.waited_ms) == (10.5, 500)
    clock.next_window(10.5)
    assert (clock.deadline, clock.waited_ms) == (11.0, 1000)
    clock.arm(20.0)  # armed already
    assert clock.deadline == 11.0
    assert clock.fire(NudgeTrigger.GIVE_UP)
    clock.arm(20.0)
    assert clock.phase is NudgePhase.STALLED
