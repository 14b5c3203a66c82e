"""What goes wrong in a live session when nobody thinks of it: one test for each such case."""

from __future__ import annotations

import pytest
from turnkit import EXPLICIT, SECOND, Hand, ev, fx, p, result, tool

from meerkat_rt.model import transcript as tr
from meerkat_rt.model.conversation import StopReason, Usage
from meerkat_rt.model.errors import InvalidRequest
from meerkat_rt.model.media import ResponseModality
from meerkat_rt.model.transcript import ItemSkipped

FAULT = ev.ProviderFault(code="x", message="no")


def refuse(hand: Hand, meaning: p.ErrorMeaning, ref: str | None = None) -> None:
    hand.see(p.CommandRefused(meaning=meaning, fault=FAULT, ref=ref))


@pytest.mark.parametrize("meaning", list(p.ErrorMeaning))
def test_d1_no_recoverable_error_ends_the_session(meaning):
    hand = Hand()
    refuse(hand, meaning)
    hand.see(p.ProviderError(fault=FAULT))
    assert not hand.effects_of(fx.EndSession)
    hand.user_turn("U1", "hello")
    hand.text_response("R1", "A1", "hi")
    assert hand.texts == ["hello", "hi"]


def test_d1_a_fatal_error_ends_the_session_with_its_fault():
    hand = Hand()
    hand.see(p.ProviderError(fault=FAULT, fatal=True))
    (end,) = hand.effects_of(fx.EndSession)
    assert end.fault == FAULT
    assert end.reason.by is ev.ClosedBy.PROVIDER
    assert not end.reason.clean


def test_d2_microphone_and_unrelated_events_do_not_move_the_nudge():
    hand = Hand()
    hand.user_turn("U1", "hello")
    start = hand.now
    for _ in range(37):  # 20 ms frames for 740 ms
        hand.wait(0.02)
        hand.do("audio_appended", 960)
        hand.see(p.RateLimits(()), p.UnknownFrame(type="new", raw=b"{}"))
        hand.see(p.ItemAdded(item_id="U1", kind=p.ItemKind.USER, final=True))
    assert not hand.of(ev.Nudged)
    hand.wait(start + 0.75 - hand.now)
    assert [nudge.attempt for nudge in hand.of(ev.Nudged)] == [1]
    assert len(hand.sent(p.CreateResponse)) == 1


def test_d3_a_slow_tool_does_not_mute_the_response_that_speaks_meanwhile():
    hand = Hand(tools=(tool(),))
    hand.begin("R1")
    hand.call("R1", "c1")
    hand.end("R1")
    hand.user_turn("U1", "and now?")
    hand.begin("R2")
    hand.item("R2", "A2", "U1")
    hand.do("tool_returned", result("c1", "42"))
    hand.see(p.TextDelta("e1", "R2", "A2", "still "))
    hand.see(p.TextDelta("e2", "R2", "A2", "here"))
    assert [e.delta for e in hand.of(ev.OutputTextDeltaForItem)] == ["still ", "here"]
    assert [c.output for c in hand.sent(p.SendToolOutput)] == ["42"]
    assert not hand.sent(p.CreateResponse)  # it waits for the slot
    hand.end("R2")
    (create,) = hand.sent(p.CreateResponse)
    hand.text_response("R3", "A3", "it is 42", ref=create.ref)
    assert hand.texts[-1] == "it is 42"
    assert not hand.sizes().get("requests_outstanding")


def test_d4_a_fast_tool_keeps_the_terminal_of_the_response_that_called_it():
    hand = Hand(tools=(tool(),))
    hand.user_turn("U1", "what is it?")
    hand.begin("R1")
    hand.item("R1", "A1", "U1")
    hand.see(p.TextDelta("e1", "R1", "A1", "let me look"))
    hand.call("R1", "c1")
    hand.do("tool_returned", result("c1", "42"))
    assert hand.sent(p.SendToolOutput)
    assert not hand.sent(p.CreateResponse)
    hand.end("R1", usage=Usage(input_tokens=3, output_tokens=4))
    (done,) = hand.of(ev.TurnCompleted)
    assert done.stop_reason is StopReason.TOOL_USE
    assert hand.machine.usage == Usage(input_tokens=3, output_tokens=4)
    assert hand.texts == ["what is it?", "let me look"]
    assert len(hand.sent(p.CreateResponse)) == 1


def test_d5_text_sent_during_a_response_is_answered_after_it():
    hand = Hand()
    hand.begin("R1")
    hand.do("send_text", "and this?", respond=True)
    assert hand.sent(p.CreateItem)
    assert not hand.sent(p.CreateResponse)
    hand.end("R1")
    (create,) = hand.sent(p.CreateResponse)
    hand.text_response("R2", "A2", "yes", ref=create.ref)
    (settled,) = hand.effects_of(fx.SettleRequest)
    assert settled.outcome == fx.Answered(response_id="R2", stop_reason=StopReason.END_TURN)


def test_d6_an_interrupt_targets_the_response_that_is_live():
    hand = Hand()
    hand.begin("R1")
    hand.speak("R1", "A1", "one two", 2.0)
    hand.see(p.SpeechStarted(item_id="U1"))
    hand.end("R1", p.ResponseStatus.CANCELLED)
    hand.see(p.InputCommitted(item_id="U1"))
    hand.begin("R2")
    hand.do("interrupt")
    assert [c.response_id for c in hand.sent(p.CancelResponse)] == ["R2"]


def test_d7_speech_over_audio_that_still_plays_interrupts_a_response_that_has_ended():
    hand = Hand()
    hand.begin("R1")
    hand.item("R1", "A1")
    hand.speak("R1", "A1", "a long story", 10.0)
    hand.spoken("R1", "A1", "a long story")
    hand.end("R1")
    hand.deliver("A1", 10.0)
    hand.wait(2.0)
    hand.see(p.SpeechStarted(item_id="U2"))
    assert [e.response_id for e in hand.of(ev.Interrupted)] == ["R1"]
    assert hand.sent(p.TruncateItem)[0].audio_end_ms == 2000
    assert not hand.sent(p.CancelResponse)  # there is nothing to cancel any more


def test_d8_late_output_of_an_interrupted_response_is_dropped_and_interrupts_nothing():
    hand = Hand()
    hand.begin("R1")
    hand.item("R1", "A1")
    hand.speak("R1", "A1", "one two three", 3.0)
    hand.see(p.SpeechStarted(item_id="U2"))
    before = len(hand.events)
    hand.speak("R1", "A1", "four", 1.0)
    hand.see(p.TextDelta("late", "R1", "A1", "five"))
    hand.spoken("R1", "A1", "one two three four")
    hand.call("R1", "c1")
    assert hand.events[before:] == []
    assert not hand.effects_of(fx.StartTool)
    hand.see(p.SpeechStarted(item_id="U2"))
    assert len(hand.of(ev.Interrupted)) == 1


def test_d9_the_truncated_text_is_what_was_heard_although_the_final_text_came_long_ago():
    hand = Hand()
    text = "one two three four five six seven eight nine ten"
    hand.begin("R1")
    hand.item("R1", "A1")
    hand.speak("R1", "A1", text, 10.0)
    hand.spoken("R1", "A1", text)
    hand.end("R1")
    hand.deliver("A1", 10.0)
    hand.wait(5.0)
    hand.see(p.SpeechStarted(), p.ItemTruncated(item_id="A1", audio_end_ms=5000))
    (event,) = hand.of(ev.AssistantTranscriptTruncated)
    assert event.audio_played_ms == 5000
    assert event.truncated_text == "one two three four five"
    assert hand.texts == ["one two three four five"]


@pytest.mark.parametrize("how", ["raised", "timeout", "is_error", "submit_error"])
def test_d10_the_model_is_asked_to_speak_about_errors_too(how):
    hand = Hand(tools=(tool(deadline=2.0, handled=how != "submit_error"),))
    hand.begin("R1")
    hand.call("R1", "c1")
    hand.end("R1")
    if how == "raised":
        hand.do("tool_raised", "c1", "boom")
    elif how == "timeout":
        hand.wait(2.0)
    elif how == "is_error":
        hand.do("tool_returned", result("c1", "boom", is_error=True))
    else:
        hand.do("submit_tool_error", "c1", "boom")
    (output,) = hand.sent(p.SendToolOutput)
    assert output.is_error
    assert len(hand.sent(p.CreateResponse)) == 1


@pytest.mark.parametrize("arguments", ["{", "[1]", '"text"', "null", "nonsense", "1" * 5000])
def test_d11_malformed_arguments_are_an_error_for_the_model_alone(arguments):
    hand = Hand(tools=(tool(),))
    hand.begin("R1")
    hand.call("R1", "c1", arguments=arguments)
    hand.end("R1")
    assert not hand.effects_of(fx.StartTool)
    (finished,) = hand.of(ev.ToolCallFinished)
    assert finished.outcome is ev.ToolOutcome.ERROR
    (output,) = hand.sent(p.SendToolOutput)
    assert output.is_error
    assert len(hand.sent(p.CreateResponse)) == 1


def test_d12_missing_usage_counts_as_nothing_and_a_failure_says_so():
    hand = Hand()
    request = hand.do("request_response", p.ResponseOptions())
    hand.begin("R1", ref=hand.sent(p.CreateResponse)[0].ref)
    hand.end("R1", p.ResponseStatus.FAILED, usage=None, fault=FAULT)
    (done,) = hand.of(ev.TurnCompleted)
    assert done.usage == Usage()
    assert done.error == FAULT
    assert done.stop_reason is StopReason.END_TURN
    assert hand.outcome(request) == fx.Refused(fault=FAULT)


def test_d12_a_failure_without_a_fault_still_has_an_error():
    hand = Hand()
    hand.begin("R1")
    hand.end("R1", p.ResponseStatus.FAILED)
    (done,) = hand.of(ev.TurnCompleted)
    assert done.error is not None


def test_d13_a_nudge_asks_for_the_modality_of_the_turn():
    hand = Hand(turning_mode=EXPLICIT)
    hand.do("send_text", "in writing please", respond=True)
    options = p.ResponseOptions(modality=ResponseModality.TEXT)
    hand.do("commit_turn", options)
    hand.wait(0.75)
    first, nudge = hand.sent(p.CreateResponse)
    assert nudge.options == first.options == options
    assert nudge.ref != first.ref
    (event,) = hand.of(ev.Nudged)
    assert event.modality is ResponseModality.TEXT


def test_d14_the_acknowledgement_of_a_commit_does_not_unstage_newer_audio():
    hand = Hand(turning_mode=EXPLICIT)
    hand.do("audio_appended", 4800)
    hand.do("commit_turn", None)
    hand.do("audio_appended", 4800)
    hand.see(p.InputCommitted(item_id="U1"))
    hand.do("commit_turn", None)  # refused if the acknowledgement had cleared it
    assert len(hand.sent(p.CommitAudio)) == 2


def test_d14_the_acknowledgement_of_a_commit_does_not_disarm_the_nudge():
    hand = Hand(turning_mode=EXPLICIT)
    hand.do("audio_appended", 4800)
    hand.do("commit_turn", None)
    hand.see(p.InputCommitted(item_id="U1"))
    hand.wait(0.75)
    assert len(hand.of(ev.Nudged)) == 1


def test_d15_any_predecessor_of_a_committed_item_is_fine():
    hand = Hand(turning_mode=EXPLICIT)
    hand.begin("R1")
    hand.item("R1", "A1")
    hand.see(p.TextDelta("e1", "R1", "A1", "wait"))
    hand.do("audio_appended", 4800)
    hand.do("commit_turn", None)
    hand.see(p.InputCommitted(item_id="U1", previous_item_id="A1"))
    hand.see(p.InputTranscriptDone(item_id="U1", text="no"))
    hand.end("R1")
    assert hand.texts == ["wait", "no"]


def test_d16_an_update_that_is_never_acknowledged_times_out():
    hand = Hand()
    ref = hand.do("update_session", {"x": 1}, None)
    hand.wait(9.9)
    assert not hand.effects_of(fx.SettleCommand)
    hand.wait(0.1)
    assert hand.effects_of(fx.SettleCommand) == [fx.SettleCommand(ref=ref, timed_out=True)]


def test_d17_a_failed_transcription_does_not_block_history():
    hand = Hand()
    hand.user_turn("U1")
    hand.begin("R1")
    hand.item("R1", "A1", "U1")
    hand.see(p.TextDelta("e1", "R1", "A1", "pardon?"))
    hand.end("R1")
    assert hand.texts == []
    hand.see(p.InputTranscriptFailed(item_id="U1", fault=FAULT))
    assert hand.texts == ["[unintelligible]", "pardon?"]
    (failed,) = hand.of(ev.InputTranscriptionFailed)
    assert (failed.item_id, failed.code) == ("U1", "x")


def test_d17_a_transcription_that_never_comes_does_not_block_history_for_ever():
    hand = Hand()
    hand.user_turn("U1")
    hand.text_response("R1", "A1", "hm")
    hand.wait(30.0)
    assert hand.texts == ["[unintelligible]", "hm"]


def test_d18_a_thousand_turns_leave_nothing_but_ids_behind():
    hand = Hand(tools=(tool(),))
    previous = None
    for turn in range(1000):
        user, assistant = f"U{turn}", f"A{turn}"
        hand.user_turn(user, "more", previous)
        hand.begin(f"R{turn}")
        hand.item(f"R{turn}", assistant, user)
        hand.speak(f"R{turn}", assistant, "and more", 1.0)
        hand.deliver(assistant, 1.0)
        if turn % 3 == 0:
            hand.do("interrupt")
            hand.end(f"R{turn}", p.ResponseStatus.CANCELLED)
            hand.see(p.ItemTruncated(item_id=assistant, audio_end_ms=0), p.ItemDeleted(assistant))
        else:
            hand.call(f"R{turn}", f"c{turn}")
            hand.do("tool_returned", result(f"c{turn}"))
            hand.end(f"R{turn}")
            hand.text_response(
                f"S{turn}", f"B{turn}", "so", ref=hand.sent(p.CreateResponse)[-1].ref
            )
        previous = None
    hand.wait(60.0)
    assert hand.sizes() == {}


def test_d19_parallel_tools_run_side_by_side_and_an_interruption_reaches_them():
    hand = Hand(tools=(tool(),))
    hand.begin("R1")
    for name in ("c1", "c2", "c3"):
        hand.call("R1", name)
    assert len(hand.effects_of(fx.StartTool)) == 3
    assert hand.do("interrupt") == ("c1", "c2", "c3")
    assert [e.call_id for e in hand.effects_of(fx.CancelTool)] == ["c1", "c2", "c3"]


def test_d20_an_interrupt_needs_no_room_and_no_answer():
    hand = Hand()
    hand.begin("R1")
    hand.speak("R1", "A1", "blah", 1.0)
    hand.do("audio_appended", 10_000_000)
    hand.do("interrupt")
    assert hand.of(ev.Interrupted)
    assert hand.effects_of(fx.FlushOutput) == [fx.FlushOutput("R1")]


def test_d21_a_call_of_the_provider_is_told_once_however_often_it_is_reported():
    hand = Hand()
    report = p.ServerToolProgress(item_id="M1", status="requested", name="search")
    whole = p.ServerToolProgress(item_id="M1", status="requested", arguments='{"q":1}')
    done = p.ServerToolProgress(item_id="M1", status="completed")
    hand.see(report, whole, report, whole, done, report, whole, done)
    told = hand.of(ev.ProviderToolCall)
    assert [e.status for e in told] == ["requested", "completed"]
    assert {(e.tool_name, e.arguments) for e in told} == {("search", '{"q":1}')}
    assert not hand.of(ev.ToolCallRequested)
    assert hand.sizes() == {}


@pytest.mark.parametrize("tied", [True, False])
def test_d22_refusals_are_recognized_by_meaning_whatever_their_words(tied):
    hand = Hand()
    hand.begin("R0")
    hand.do("interrupt")
    cancel = hand.sent(p.CancelResponse)[0].ref if tied else None
    hand.see(
        p.CommandRefused(
            meaning=p.ErrorMeaning.NOTHING_TO_CANCEL,
            fault=ev.ProviderFault(message="something was not there"),
            ref=cancel,
        )
    )
    assert not hand.of(ev.ProviderErrorReported)
    hand.end("R0", p.ResponseStatus.CANCELLED)
    hand.do("request_response", p.ResponseOptions())
    create = hand.sent(p.CreateResponse)[0].ref if tied else None
    refuse(hand, p.ErrorMeaning.ACTIVE_RESPONSE, create)
    assert not hand.of(ev.ProviderErrorReported)
    hand.wait(0.25)
    assert len(hand.sent(p.CreateResponse)) == 2


def test_d23_the_terminal_of_a_response_that_another_displaced_is_not_lost():
    hand = Hand()
    hand.begin("R1")
    hand.begin("R2")
    hand.end("R1", p.ResponseStatus.CANCELLED, usage=Usage(output_tokens=9))
    hand.end("R2", usage=Usage(output_tokens=1))
    assert [(e.response_id, e.stop_reason) for e in hand.of(ev.TurnCompleted)] == [
        ("R1", StopReason.CANCELLED),
        ("R2", StopReason.END_TURN),
    ]
    assert hand.machine.usage.output_tokens == 10


def test_d24_rate_limits_reach_the_application():
    hand = Hand()
    limits = (ev.RateLimit(name="tokens", remaining=3, reset_seconds=1.5),)
    hand.see(p.RateLimits(limits))
    assert hand.of(ev.RateLimitsUpdated) == [ev.RateLimitsUpdated(limits)]


def test_d25_a_nudge_is_sent_once_for_each_window():
    hand = Hand()
    hand.user_turn("U1", "hello")
    hand.wait(0.75)
    hand.machine.timer(hand.now)  # a second waiter wakes at the same time
    hand.take()
    assert len(hand.sent(p.CreateResponse)) == 1


def test_d26_a_commit_takes_effect_whole_or_not_at_all():
    hand = Hand(turning_mode=EXPLICIT)
    with pytest.raises(InvalidRequest):
        hand.do("commit_turn", None)
    assert hand.effects == []
    hand.do("audio_appended", 4800)
    hand.do("commit_turn", None)
    assert [type(c) for c in hand.sent()] == [p.CommitAudio, p.CreateResponse]
    with pytest.raises(InvalidRequest):
        hand.do("commit_turn", None)  # nothing is staged twice


def test_d27_an_attached_session_works_without_a_beginning():
    hand = Hand()
    hand.see(p.TextDelta("e1", "R9", "A9", "in the middle"))
    assert [e.response_id for e in hand.of(ev.ResponseStarted)] == ["R9"]
    hand.end("R9")
    assert hand.texts == ["in the middle"]


def test_d28_staged_text_is_invisible_on_both_sides_until_the_commit():
    hand = Hand(turning_mode=EXPLICIT)
    hand.do("send_text", "never mind", respond=True)
    hand.wait(60.0)
    assert hand.events == []
    assert hand.transcript == []
    assert hand.effects == []


def test_d29_a_predecessor_that_nobody_announced_does_not_stall_history():
    hand = Hand()
    hand.user_turn("U5", "go on", previous="before_we_came")
    assert hand.texts == ["go on"]
    assert ItemSkipped(item_id="before_we_came") in hand.transcript
    assert ev.RealtimeTranscript(ItemSkipped(item_id="before_we_came")) in hand.events


def test_d29_seeded_predecessors_are_no_predecessors():
    hand = Hand()
    hand.machine.seeded(["seed_1", "seed_2"])
    hand.see(p.ItemAdded(item_id="seed_2", previous_item_id="seed_1", kind=p.ItemKind.USER))
    assert hand.events == []
    hand.user_turn("U1", "hello", previous="seed_2")
    (final,) = hand.of(ev.InputTranscriptFinalForItem)
    assert final.previous_item_id is None
    assert not hand.wrote(ItemSkipped)


def test_d30_each_of_two_cancelled_text_responses_says_interrupted():
    hand = Hand()
    for name in ("R1", "R2"):
        hand.begin(name)
        hand.see(p.TextDelta(f"e{name}", name, f"A{name}", "x"))
        hand.end(name, p.ResponseStatus.CANCELLED)
    told = [(type(e).__name__, e.response_id) for e in hand.of(ev.Interrupted, ev.TurnCompleted)]
    assert told == [
        ("Interrupted", "R1"),
        ("TurnCompleted", "R1"),
        ("Interrupted", "R2"),
        ("TurnCompleted", "R2"),
    ]


def test_d31_the_end_of_the_session_says_who_and_why():
    hand = Hand()
    fault = ev.ProviderFault(code="session_expired", message="60 minutes are over")
    hand.see(p.ProviderError(fault=fault, fatal=True))
    (end,) = hand.effects_of(fx.EndSession)
    assert end.reason.text == "60 minutes are over"
    assert end.fault is fault


def test_d32_after_a_stall_the_session_lives_and_no_timer_is_left():
    hand = Hand()
    hand.user_turn("U1", "hello")
    hand.wait(10.0)
    assert len(hand.of(ev.Stalled)) == 1
    assert hand.machine.next_deadline is None
    hand.user_turn("U2", "are you there?")
    hand.text_response("R1", "A1", "now I am")
    assert hand.texts[-1] == "now I am"
    assert len(hand.of(ev.Stalled)) == 1


def test_d33_a_late_event_of_an_older_response_does_not_take_the_slot():
    hand = Hand()
    hand.text_response("R1", "A1", "first")
    hand.begin("R2")
    hand.see(
        p.TextDelta("late", "R1", "A1", "x"),
        p.OutputItemEnded(response_id="R1", item_id="A1", kind=p.ItemKind.ASSISTANT),
        p.ResponseEnded(response_id="R1", status=p.ResponseStatus.COMPLETED),
    )
    hand.do("interrupt")
    assert [c.response_id for c in hand.sent(p.CancelResponse)] == ["R2"]
    hand.end("R2", p.ResponseStatus.CANCELLED)
    assert [e.response_id for e in hand.of(ev.TurnCompleted)] == ["R1", "R2"]


# ---------------------------------------------------------------- gaps in history


def test_an_empty_item_is_skipped_at_the_terminal():
    hand = Hand()
    hand.begin("R1")
    hand.item("R1", "A1")
    hand.end("R1")
    hand.user_turn("U2", "hello?", previous="A1")
    assert hand.texts == ["hello?"]
    assert tr.ItemSkipped(item_id="A1") in hand.transcript


def test_the_response_of_a_tool_round_is_closed_before_its_continuation():
    hand = Hand(tools=(tool(),))
    hand.begin("R1")
    hand.item("R1", "A1")
    hand.see(p.TextDelta("e1", "R1", "A1", "one moment"))
    hand.call("R1", "c1")
    hand.end("R1")
    (closed,) = hand.wrote(tr.AssistantTurnCompleted)
    assert closed.stop_reason is StopReason.END_TURN
    assert hand.texts == ["one moment"]


def test_without_transcription_a_placeholder_stands_for_speech():
    hand = Hand(transcribes_input=False)
    hand.user_turn("U1")
    hand.text_response("R1", "A1", "hello")
    assert hand.texts == ["[audio]", "hello"]
    assert hand.sizes() == {}


def test_an_empty_transcription_releases_its_item():
    hand = Hand()
    hand.user_turn("U1", "")
    hand.begin("R1")
    hand.item("R1", "A1", "U1")
    hand.see(p.TextDelta("e", "R1", "A1", "hm?"))
    hand.end("R1")
    assert hand.texts == ["hm?"]


def test_a_deleted_item_whose_words_are_awaited_is_released():
    hand = Hand()
    hand.user_turn("U1")
    hand.see(p.ItemDeleted("U1"))
    hand.user_turn("U2", "second", previous="U1")
    assert hand.texts == ["second"]
    assert hand.machine.ledger_sizes()["transcriptions"] == 0


def test_items_of_other_kinds_take_their_place_without_content():
    hand = Hand()
    hand.user_turn("U1")
    for number, kind in enumerate(
        (p.ItemKind.SYSTEM, p.ItemKind.TOOL_CALL, p.ItemKind.TOOL_OUTPUT, p.ItemKind.OTHER)
    ):
        previous = f"X{number - 1}" if number else "U1"
        hand.see(p.ItemAdded(item_id=f"X{number}", previous_item_id=previous, kind=kind))
    hand.begin("R1")
    hand.item("R1", "A1", "X3")
    hand.see(p.TextDelta("e", "R1", "A1", "answer"))
    hand.end("R1")
    assert hand.texts == []  # still behind the user's words
    hand.see(p.InputTranscriptDone(item_id="U1", text="question"))
    assert hand.texts == ["question", "answer"]


def test_a_call_item_does_not_overtake_the_words_before_it():
    hand = Hand(tools=(tool(),))
    hand.user_turn("U1")
    hand.begin("R1")
    hand.see(p.OutputItemBegan(response_id="R1", item_id="F1", kind=p.ItemKind.TOOL_CALL))
    hand.see(p.ItemAdded(item_id="F1", previous_item_id="U1", kind=p.ItemKind.TOOL_CALL))
    hand.call("R1", "c1")
    hand.end("R1", item_ids=("F1",))
    hand.do("tool_returned", result("c1"))
    hand.see(p.ItemAdded(item_id="O1", previous_item_id="F1", kind=p.ItemKind.TOOL_OUTPUT))
    hand.begin("R2", ref=hand.sent(p.CreateResponse)[0].ref)
    hand.item("R2", "A2", "O1")
    hand.see(p.TextDelta("e", "R2", "A2", "answer"))
    hand.end("R2")
    hand.see(p.InputTranscriptDone(item_id="U1", text="question"))
    assert hand.texts == ["question", "answer"]


def test_words_come_for_an_item_that_nobody_committed():
    hand = Hand()
    hand.see(p.ItemAdded(item_id="U1", kind=p.ItemKind.USER, final=True))
    hand.see(p.InputTranscriptDone(item_id="U1", text="hello"))
    assert hand.texts == ["hello"]


def test_typed_text_stands_after_a_call_whose_item_has_only_begun():
    hand = Hand(tools=(tool(),))
    hand.begin("R1")
    hand.see(p.OutputItemBegan(response_id="R1", item_id="F1", kind=p.ItemKind.TOOL_CALL))
    hand.do("send_text", "hurry", respond=False)
    assert hand.of(ev.InputTranscriptFinalForItem)[0].previous_item_id == "F1"
    hand.see(p.ItemAdded(item_id="F1", kind=p.ItemKind.TOOL_CALL))
    assert hand.texts == ["hurry"]


def test_items_added_behind_an_interrupted_response_do_not_stall_history():
    hand = Hand()
    hand.begin("R1")
    hand.item("R1", "A1")
    hand.speak("R1", "A1", "one two", 2.0)
    hand.deliver("A1", 2.0)
    hand.wait(1.0)
    hand.see(p.SpeechStarted(item_id="U2"))
    hand.see(
        p.OutputItemBegan(response_id="R1", item_id="A2", kind=p.ItemKind.ASSISTANT),
        p.ItemAdded(item_id="A2", previous_item_id="A1", kind=p.ItemKind.ASSISTANT),
    )
    hand.end("R1", p.ResponseStatus.CANCELLED, item_ids=("A1", "A2"))
    hand.see(p.InputCommitted(item_id="U2", previous_item_id="A2"))
    hand.see(p.InputTranscriptDone(item_id="U2", text="stop"))
    assert hand.texts == ["one", "stop"]


def test_a_user_item_that_nobody_describes_is_closed_before_an_answer():
    hand = Hand()
    hand.see(p.ItemAdded(item_id="raw_1", kind=p.ItemKind.USER, final=True))
    hand.begin("R1")
    hand.item("R1", "A1", "raw_1")
    hand.see(p.TextDelta("e", "R1", "A1", "answer"))
    hand.end("R1")
    assert hand.texts == ["answer"]


def test_typed_text_stands_after_the_answer_that_is_being_made():
    hand = Hand()
    hand.begin("R1")
    hand.item("R1", "A1")
    hand.see(p.TextDelta("e", "R1", "A1", "first "))
    hand.do("send_text", "then this", respond=False)
    hand.see(p.TextDelta("e2", "R1", "A1", "answer"))
    hand.end("R1")
    assert hand.texts == ["first answer", "then this"]


def test_bytes_of_a_second_are_what_the_format_says():
    assert SECOND == 48_000
