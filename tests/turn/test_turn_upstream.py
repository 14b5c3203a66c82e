"""Behaviours of the upstream system that the other tests of this room state only in part.

Numbers are those of `tests/COVERAGE.md`; with a `t` before them, of its second table.
"""

from __future__ import annotations

import pytest
from turnkit import EXPLICIT, Hand, ev, fx, p, result, tool

from meerkat_rt.model import transcript as tr
from meerkat_rt.model.conversation import (
    AssistantText,
    AssistantTranscript,
    StopReason,
    Usage,
    UserMessage,
)
from meerkat_rt.turn.nudge import NUDGE_TABLE, NudgeClock, NudgePhase, NudgeTrigger

WORDS = ev.ProviderFault(
    kind="invalid_request_error", message="Conversation already has an active response"
)


def refused(hand: Hand, ref: str | None = None) -> None:
    hand.see(p.CommandRefused(meaning=p.ErrorMeaning.ACTIVE_RESPONSE, fault=WORDS, ref=ref))


# ---------------------------------------------------------------- the phases of a nudge clock


def test_099_a_clock_that_does_not_run_cannot_be_nudged_and_one_that_runs_can_always_end():
    running = {NudgePhase.AWAITING, NudgePhase.NUDGED, NudgePhase.ACKNOWLEDGED}
    for phase in NudgePhase:
        clock = NudgeClock(1.0)
        clock.phase = phase
        assert clock.running == (phase in running)
        assert (NudgeTrigger.NUDGE in NUDGE_TABLE[phase]) <= clock.running
        assert (NudgeTrigger.DISARM in NUDGE_TABLE[phase]) == clock.running
        assert (NudgeTrigger.GIVE_UP in NUDGE_TABLE[phase]) == clock.running


def test_099_what_is_acknowledged_is_not_awaited_and_is_never_nudged():
    clock = NudgeClock(1.0)
    assert clock.attempts == 0
    clock.arm(0.0)
    assert clock.fire(NudgeTrigger.ACKNOWLEDGE)
    assert clock.phase is NudgePhase.ACKNOWLEDGED
    assert not clock.fire(NudgeTrigger.NUDGE)
    assert not clock.fire(NudgeTrigger.ACKNOWLEDGE)
    assert clock.phase is NudgePhase.ACKNOWLEDGED
    assert clock.running


@pytest.mark.parametrize("nudges", [0, 1, 2])
def test_100_an_acknowledgement_keeps_the_count_of_attempts(nudges):
    hand = Hand()
    request = hand.do("request_response", p.ResponseOptions())
    hand.wait(0.75 * nudges)
    hand.begin("R1", ref=hand.sent(p.CreateResponse)[-1].ref)
    (answered,) = hand.machine._slot.active.answers
    assert (answered.nudge.phase, answered.nudge.attempts) == (NudgePhase.ACKNOWLEDGED, nudges)
    # What it has used up is missing from its patience with the silent answer.
    hand.wait(0.75 * 4 - 0.75 * nudges - 0.001)
    assert not hand.of(ev.Stalled)
    hand.wait(0.001)
    assert hand.of(ev.Stalled) == [ev.Stalled(attempts=3, waited_ms=3000)]
    assert isinstance(hand.outcome(request), fx.Lost)


# ---------------------------------------------------------------- refusals that acknowledge


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("nudged", [True, False])
def test_104_a_refusal_without_a_code_is_swallowed_while_the_answer_is_awaited(tied, nudged):
    hand = Hand()
    request = hand.do("request_response", p.ResponseOptions())
    if nudged:
        hand.wait(0.75)
    refused(hand, hand.sent(p.CreateResponse)[-1].ref if tied else None)
    assert not hand.of(ev.ProviderErrorReported)
    assert not hand.effects_of(fx.EndSession)
    assert hand.outcome(request) is None
    # Whoever is in the way ends, and the request is asked again and answered.
    hand.wait(0.25)
    hand.text_response("R1", "A1", "now", ref=hand.sent(p.CreateResponse)[-1].ref)
    assert hand.outcome(request) == fx.Answered(response_id="R1", stop_reason=StopReason.END_TURN)


# ---------------------------------------------------------------- terminals around a continuation


@pytest.mark.parametrize("first", ["old terminal", "continuation"])
def test_107_the_terminal_of_a_tool_round_is_told_once_wherever_it_comes(first):
    hand = Hand(tools=(tool(),))
    hand.begin("R1")
    hand.call("R1", "c1")
    hand.do("tool_returned", result("c1"))
    if first == "old terminal":
        hand.end("R1")
        hand.begin("R2", ref=hand.sent(p.CreateResponse)[0].ref)
    else:
        hand.begin("R2")
        hand.end("R1")
    hand.end("R1")  # and once more
    hand.see(p.TextDelta("e", "R2", "A2", "so it is"))
    hand.end("R2")
    assert [(e.response_id, e.stop_reason) for e in hand.of(ev.TurnCompleted)][-1] == (
        "R2",
        StopReason.END_TURN,
    )
    assert [e.response_id for e in hand.of(ev.TurnCompleted)] == ["R1", "R2"]
    assert hand.texts == ["so it is"]
    assert not hand.of(ev.Stalled, ev.Nudged)


def test_103_a_stale_terminal_does_not_answer_the_new_turn():
    hand = Hand()
    hand.text_response("R0", "A0", "before")
    hand.user_turn("U1", "hello", previous="A0")
    told = len(hand.of(ev.TurnCompleted))
    hand.end("R0")
    assert len(hand.of(ev.TurnCompleted)) == told
    assert not hand.effects_of(fx.SettleRequest)  # the turn is still owed its answer
    hand.text_response("R1", "A1", "hi")
    (settled,) = hand.effects_of(fx.SettleRequest)
    assert settled.outcome.response_id == "R1"
    assert hand.texts == ["before", "hello", "hi"]


# ---------------------------------------------------------------- finals and their identity


def test_088_a_spoken_final_follows_its_last_delta_and_names_item_and_response():
    hand = Hand()
    hand.user_turn("U1", "say it")
    hand.begin("R1")
    hand.item("R1", "A1", "U1")
    before = len(hand.events)
    hand.see(
        p.TranscriptDelta("e1", "R1", "A1", "birch "),
        p.TranscriptDone(event_id="d1", response_id="R1", item_id="A1", text="birch seventeen"),
    )
    first, rest, final = hand.events[before:]
    assert [first.delta, rest.delta] == ["birch ", "seventeen"]
    assert first.delta_id != rest.delta_id
    assert isinstance(final, ev.AssistantTranscriptFinal)
    assert (final.text, final.item_id, final.response_id, final.previous_item_id) == (
        "birch seventeen",
        "A1",
        "R1",
        "U1",
    )
    (written,) = hand.wrote(tr.AssistantTranscriptFinalText)
    assert (written.item_id, written.response_id, written.text) == ("A1", "R1", "birch seventeen")


# ---------------------------------------------------------------- what the outside sees


def test_206_a_tool_round_is_one_completed_turn_for_each_response_and_one_end():
    hand = Hand(tools=(tool(),))
    hand.user_turn("U1", "look it up")
    hand.begin("R1")
    hand.call("R1", "c1")
    hand.do("tool_returned", result("c1"))
    hand.end("R1")
    hand.text_response("R2", "A2", "found", ref=hand.sent(p.CreateResponse)[0].ref)
    stops = [e.stop_reason for e in hand.of(ev.TurnCompleted)]
    assert stops == [StopReason.TOOL_USE, StopReason.END_TURN]


def test_207_an_interrupted_response_is_told_and_leaves_no_unheard_words():
    hand = Hand()
    hand.user_turn("U1", "tell me")
    hand.begin("R1")
    hand.item("R1", "A1", "U1")
    hand.speak("R1", "A1", "once upon a time", 4.0)  # never taken by the application
    hand.see(p.SpeechStarted(item_id="U2"))
    hand.end("R1", p.ResponseStatus.CANCELLED)
    (completed,) = hand.of(ev.TurnCompleted)
    assert completed.stop_reason is StopReason.CANCELLED
    assert [e.response_id for e in hand.of(ev.Interrupted)] == ["R1"]
    hand.do("close")
    assert hand.texts == ["tell me"]


def test_208_after_an_interrupted_turn_a_new_commit_adds_its_turn_and_its_answer_alone():
    hand = Hand(turning_mode=EXPLICIT)
    hand.do("send_text", "first", respond=True)
    hand.do("commit_turn", None)
    hand.begin("R1", ref=hand.sent(p.CreateResponse)[0].ref)
    hand.item("R1", "A1")
    hand.speak("R1", "A1", "unheard", 2.0)
    hand.do("interrupt")
    hand.end("R1", p.ResponseStatus.CANCELLED)
    hand.do("send_text", "second", respond=True)
    hand.do("commit_turn", None)
    hand.text_response("R2", "A2", "amber lantern", ref=hand.sent(p.CreateResponse)[-1].ref)
    assert hand.texts == ["first", "second", "amber lantern"]


def test_211_only_calls_that_the_application_owes_take_its_results():
    hand = Hand(tools=(tool("mine", handled=False),))
    hand.begin("R1")
    hand.call("R1", "c1", "mine")
    hand.end("R1")
    hand.do("submit_tool_result", result("c1", "42"))
    assert [c.output for c in hand.sent(p.SendToolOutput)] == ["42"]
    with pytest.raises(Exception, match="outcome"):
        hand.do("submit_tool_result", result("c1", "43"))
    assert [c.output for c in hand.sent(p.SendToolOutput)] == ["42"]


@pytest.mark.parametrize(
    ("status", "kept"),
    [
        (p.ResponseStatus.COMPLETED, ["asking", "done"]),
        (p.ResponseStatus.INCOMPLETE, ["asking", "done"]),
        (p.ResponseStatus.CANCELLED, ["asking"]),
    ],
)
def test_214_what_becomes_of_the_words_of_a_response_follows_from_how_it_ended(status, kept):
    hand = Hand(tools=(tool(),))
    hand.begin("R1")
    hand.item("R1", "A1")
    hand.see(p.TextDelta("e1", "R1", "A1", "asking"))
    hand.call("R1", "c1")
    hand.do("tool_returned", result("c1"))
    hand.end("R1")
    hand.begin("R2", ref=hand.sent(p.CreateResponse)[0].ref)
    hand.item("R2", "A2", "A1")
    if status is p.ResponseStatus.CANCELLED:
        hand.speak("R2", "A2", "done", 1.0)  # unheard
    else:
        hand.see(p.TextDelta("e2", "R2", "A2", "done"))
    hand.end("R2", status)
    assert hand.texts == kept


def test_215_interrupting_twice_or_with_nothing_to_interrupt_changes_nothing():
    hand = Hand()
    hand.user_turn("U1", "hello")
    assert hand.do("interrupt") == ()
    assert not hand.of(ev.Interrupted)  # nothing had begun: the answer is cancelled as it begins
    hand.begin("R1")
    assert len(hand.of(ev.Interrupted)) == 1
    before = (len(hand.events), len(hand.effects))
    hand.do("interrupt")
    assert (len(hand.events), len(hand.effects)) == before


# ---------------------------------------------------------------- what reaches history


def test_t46_a_users_final_reaches_history_with_item_predecessor_and_index():
    hand = Hand()
    hand.see(p.ItemAdded(item_id="F1", kind=p.ItemKind.TOOL_CALL))
    hand.user_turn("U1", "hello", previous="F1")
    (written,) = hand.wrote(tr.UserTranscriptFinal)
    assert written == tr.UserTranscriptFinal(
        item_id="U1", previous_item_id="F1", content_index=0, text="hello"
    )
    assert hand.history == [("U1", "hello")]
    assert hand.messages == [UserMessage("hello")]


@pytest.mark.parametrize(
    ("seen", "kind"),
    [(p.TextDelta, tr.AssistantTextDelta), (p.TranscriptDelta, tr.AssistantTranscriptDelta)],
)
def test_t47_a_delta_reaches_history_with_its_whole_identity(seen, kind):
    hand = Hand()
    hand.user_turn("U1", "hello")
    hand.begin("R1")
    hand.item("R1", "A1", "U1")
    hand.see(seen("e1", "R1", "A1", "hi", 2))
    assert hand.wrote(kind) == [
        kind(
            response_id="R1",
            delta_id="e1",
            item_id="A1",
            previous_item_id="U1",
            content_index=2,
            delta="hi",
        )
    ]


@pytest.mark.parametrize("how", ["speech", "interrupt"])
def test_t48_an_interruption_reaches_history_with_its_response_once(how):
    hand = Hand()
    hand.begin("R1")
    hand.speak("R1", "A1", "one two", 2.0)
    if how == "speech":
        hand.see(p.SpeechStarted(item_id="U2"), p.SpeechStarted(item_id="U2"))
    else:
        hand.do("interrupt")
    hand.end("R1", p.ResponseStatus.CANCELLED)
    assert hand.wrote(tr.AssistantTurnInterrupted) == [tr.AssistantTurnInterrupted("R1")]


def test_t49_a_truncation_reaches_history_with_its_response_item_and_text():
    hand = Hand()
    hand.begin("R1")
    hand.item("R1", "A1")
    hand.speak("R1", "A1", "one two three four", 4.0)
    hand.deliver("A1", 4.0)
    hand.wait(2.0)
    hand.see(p.SpeechStarted(item_id="U2"))
    assert hand.wrote(tr.AssistantTranscriptTruncated) == [
        tr.AssistantTranscriptTruncated(
            response_id="R1", item_id="A1", content_index=0, text="one two"
        )
    ]
    # A cut of what nobody knows is made up into nothing.
    hand.see(p.ItemTruncated(item_id="unknown", audio_end_ms=10))
    assert len(hand.wrote(tr.AssistantTranscriptTruncated)) == 1


def test_t50_t51_fragments_are_one_block_with_the_reason_and_usage_of_the_terminal():
    hand = Hand()
    hand.begin("R1")
    hand.item("R1", "A1")
    hand.see(p.TextDelta("e1", "R1", "A1", "Looking "), p.TextDelta("e2", "R1", "A1", "now"))
    hand.see(p.TextDone(event_id="d", response_id="R1", item_id="A1", text="Looking now"))
    assert hand.messages == []
    usage = Usage(input_tokens=7, output_tokens=8)
    hand.end("R1", p.ResponseStatus.INCOMPLETE, reason="max_output_tokens", usage=usage)
    (message,) = hand.messages
    assert message.blocks == (AssistantText("Looking now"),)
    assert (message.stop_reason, message.usage) == (StopReason.MAX_TOKENS, usage)


def test_t52_a_response_without_text_has_its_terminal_and_no_message():
    hand = Hand()
    hand.begin("R1")
    hand.end("R1", usage=Usage(output_tokens=3))
    assert [e.response_id for e in hand.of(ev.TurnCompleted)] == ["R1"]
    assert hand.machine.usage.output_tokens == 3
    assert hand.messages == []


def test_t56_t57_a_response_is_committed_once_with_its_usage_counted_once():
    hand = Hand()
    usage = Usage(input_tokens=11, output_tokens=22)
    hand.begin("R1")
    hand.item("R1", "A1")
    hand.see(p.TextDelta("e1", "R1", "A1", "written"))
    hand.item("R1", "A2", "A1")
    hand.see(p.TextDelta("e2", "R1", "A2", " twice"))
    for _ in range(2):
        hand.end("R1", usage=usage)
    hand.do("close")
    (message,) = hand.messages
    assert message.usage == hand.machine.usage == usage
    assert [block.text for block in message.blocks] == ["written", " twice"]


@pytest.mark.parametrize("deltas", [True, False])
def test_t59_t60_delta_final_and_completion_give_one_message(deltas):
    hand = Hand()
    hand.begin("R1")
    hand.item("R1", "A1")
    if deltas:
        hand.see(p.TranscriptDelta("e1", "R1", "A1", "I sai"))
    hand.see(p.TranscriptDone(event_id="d1", response_id="R1", item_id="A1", text="I said hi"))
    hand.end("R1")
    (message,) = hand.messages
    assert message.blocks == (AssistantTranscript(text="I said hi"),)
    assert len(hand.wrote(tr.AssistantTranscriptFinalText)) == 1
    assert len(hand.wrote(tr.AssistantTurnCompleted)) == 1


@pytest.mark.parametrize("interrupted", [True, False])
def test_t63_t64_a_mixed_stream_ends_in_one_completion_or_one_interruption(interrupted):
    hand = Hand()
    hand.begin("R1")
    hand.item("R1", "D")
    hand.item("R1", "S", "D")
    for number in range(2):
        hand.see(
            p.TextDelta(f"d{number}", "R1", "D", f"written {number} "),
            p.TranscriptDelta(f"s{number}", "R1", "S", f"spoken {number} "),
        )
    if interrupted:
        hand.do("interrupt")
        hand.end("R1", p.ResponseStatus.CANCELLED)
    else:
        hand.end("R1")
    assert len(hand.wrote(tr.AssistantTextDelta)) == 2
    assert len(hand.wrote(tr.AssistantTranscriptDelta)) == 2
    assert len(hand.wrote(tr.AssistantTurnInterrupted)) == interrupted
    completions = hand.wrote(tr.AssistantTurnCompleted)
    assert len([c for c in completions if c.stop_reason is not StopReason.CANCELLED]) == (
        not interrupted
    )
    (message,) = hand.messages
    kept = [block.text for block in message.blocks]
    spoken = [] if interrupted else ["spoken 0 spoken 1 "]
    assert kept == ["written 0 written 1 ", *spoken]
