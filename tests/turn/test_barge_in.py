"""Interruptions: by speech, by the application; while it is made, while it only plays."""

from __future__ import annotations

import pytest
from turnkit import EXPLICIT, SECOND, Hand, ev, fx, p, result, tool

from meerkat_rt.model import transcript as tr
from meerkat_rt.model.conversation import AssistantTranscript, StopReason, Usage
from meerkat_rt.model.errors import InvalidRequest

FAULT = ev.ProviderFault(code="invalid_value", message="already shorter")
EIGHT = "one two three four five six seven eight"
USAGE = Usage(input_tokens=10, output_tokens=5)


def two_items_in_a_burst(hand: Hand) -> None:
    """Eight and five seconds of speech, all of which the application has taken at once."""
    hand.user_turn("U1", "tell me")
    hand.begin("R1")
    hand.item("R1", "item_1", "U1")
    hand.speak("R1", "item_1", EIGHT, 8.0)
    hand.spoken("R1", "item_1", EIGHT)
    hand.item("R1", "item_2", "item_1")
    hand.speak("R1", "item_2", "and five more", 5.0)
    hand.spoken("R1", "item_2", "and five more")
    hand.end("R1", usage=USAGE)
    hand.deliver("item_1", 8.0)
    hand.deliver("item_2", 5.0)


def test_one_second_heard_of_two_items_truncates_the_first_and_deletes_the_second():
    hand = Hand()
    two_items_in_a_burst(hand)
    hand.wait(1.0)
    hand.see(p.SpeechStarted(item_id="U2"))
    plan = [
        (type(c).__name__, c.item_id, getattr(c, "audio_end_ms", None))
        for c in hand.sent(p.TruncateItem, p.DeleteItem)
    ]
    assert plan == [("TruncateItem", "item_1", 1000), ("DeleteItem", "item_2", None)]
    assert hand.history == [("U1", "tell me"), ("item_1", "one")]
    (block,) = hand.messages[1].blocks
    assert block == AssistantTranscript(text="one", truncated=True)
    assert hand.messages[1].usage == USAGE


def test_reports_of_the_application_decide_over_the_estimate():
    hand = Hand()
    two_items_in_a_burst(hand)
    hand.do("report_playback", "item_1", 0, 1000)
    hand.wait(7.0)  # a slow device
    hand.see(p.SpeechStarted(item_id="U2"))
    assert hand.sent(p.TruncateItem)[0].audio_end_ms == 1000
    assert hand.sent(p.DeleteItem)[0].item_id == "item_2"


def test_a_plan_keeps_what_was_heard_whole():
    hand = Hand()
    two_items_in_a_burst(hand)
    hand.wait(10.0)
    hand.see(p.SpeechStarted(item_id="U2"))
    assert [c.item_id for c in hand.sent(p.TruncateItem)] == ["item_2"]
    assert hand.sent(p.TruncateItem)[0].audio_end_ms == 2000
    assert not hand.sent(p.DeleteItem)
    assert hand.history == [("U1", "tell me"), ("item_1", EIGHT), ("item_2", "and")]


def test_speech_after_everything_was_heard_interrupts_nothing():
    hand = Hand()
    two_items_in_a_burst(hand)
    hand.wait(13.0)
    assert hand.history[1:] == [("item_1", EIGHT), ("item_2", "and five more")]
    hand.see(p.SpeechStarted(item_id="U2"))
    assert not hand.of(ev.Interrupted)
    assert not hand.sent()
    assert "playback_parts" not in hand.sizes()


def test_the_application_learns_at_once_and_history_when_it_was_heard():
    hand = Hand()
    two_items_in_a_burst(hand)
    assert len(hand.of(ev.TurnCompleted)) == 1
    assert hand.texts == ["tell me"]
    hand.wait(12.999)
    assert hand.texts == ["tell me"]
    hand.wait(0.001)
    assert hand.history[1:] == [("item_1", EIGHT), ("item_2", "and five more")]
    assert hand.messages[1].usage == USAGE


def test_a_playback_report_of_the_end_releases_history():
    hand = Hand()
    two_items_in_a_burst(hand)
    hand.do("report_playback", "item_2", 0, 4999)
    assert hand.texts == ["tell me"]
    hand.wait(60.0)  # the application tells the time now, not the clock
    assert hand.texts == ["tell me"]
    hand.do("report_playback", "item_2", 0, 5000)
    assert len(hand.history) == 3
    assert hand.sizes() == {}


@pytest.mark.parametrize("how", ["typed text", "close"])
def test_what_nobody_interrupted_becomes_history_whole(how):
    hand = Hand()
    two_items_in_a_burst(hand)
    hand.wait(1.0)
    if how == "close":
        hand.do("close")
    else:
        hand.do("send_text", "thanks", respond=False)
    assert hand.history[:3] == [("U1", "tell me"), ("item_1", EIGHT), ("item_2", "and five more")]
    assert not hand.of(ev.Interrupted)


def test_a_written_response_needs_no_hearing():
    hand = Hand()
    hand.text_response("R1", "A1", "in writing")
    assert hand.texts == ["in writing"]


def test_speech_during_generation_cuts_at_the_heard_position_and_says_who_cancelled():
    hand = Hand()
    hand.begin("R1")
    hand.item("R1", "A1")
    hand.speak("R1", "A1", EIGHT, 8.0)
    hand.deliver("A1", 8.0)
    hand.wait(4.0)
    hand.see(p.SpeechStarted(item_id="U2"))
    assert not hand.sent(p.CancelResponse)  # the provider stops by itself
    assert [c.audio_end_ms for c in hand.sent(p.TruncateItem)] == [4000]
    assert [
        type(e) for e in hand.wrote(tr.AssistantTranscriptTruncated, tr.AssistantTurnInterrupted)
    ] == [
        tr.AssistantTranscriptTruncated,
        tr.AssistantTurnInterrupted,
    ]
    hand.end("R1", p.ResponseStatus.CANCELLED, reason="turn_detected")
    assert hand.texts == ["one two three four"]
    assert hand.messages[0].stop_reason is StopReason.CANCELLED
    names = hand.names(hand.of(ev.Interrupted, ev.TurnStarted, ev.TurnCompleted))
    assert names == ["Interrupted", "TurnStarted", "TurnCompleted"]


def test_items_heard_whole_survive_the_interruption_of_their_response():
    hand = Hand()
    hand.begin("R1")
    hand.item("R1", "A1")
    hand.speak("R1", "A1", "first part", 1.0)
    hand.spoken("R1", "A1", "first part")
    hand.item("R1", "A2", "A1")
    hand.speak("R1", "A2", "second part of it", 4.0)
    hand.deliver("A1", 1.0)
    hand.deliver("A2", 4.0)
    hand.wait(3.0)
    hand.do("interrupt")
    assert [(c.item_id, c.audio_end_ms) for c in hand.sent(p.TruncateItem)] == [("A2", 2000)]
    assert hand.history == [("A1", "first part"), ("A2", "second")]


def test_nothing_heard_means_nothing_said():
    hand = Hand()
    hand.begin("R1")
    hand.item("R1", "A1")
    hand.speak("R1", "A1", "blah", 3.0)  # never taken
    hand.see(p.SpeechStarted(item_id="U2"))
    hand.end("R1", p.ResponseStatus.CANCELLED)
    hand.see(p.InputCommitted(item_id="U2", previous_item_id="A1"))
    hand.see(p.InputTranscriptDone(item_id="U2", text="stop"))
    assert [c.item_id for c in hand.sent(p.DeleteItem)] == ["A1"]
    assert hand.texts == ["stop"]


def test_without_interruption_by_the_provider_we_cancel_ourselves():
    hand = Hand(provider_interrupts=False)
    hand.begin("R1")
    hand.speak("R1", "A1", "blah", 3.0)
    hand.see(p.SpeechStarted(item_id="U2"))
    assert [c.response_id for c in hand.sent(p.CancelResponse)] == ["R1"]
    hand.do("interrupt")
    assert len(hand.sent(p.CancelResponse)) == 1


def test_where_interruptions_are_off_speech_interrupts_nothing():
    hand = Hand(provider_interrupts=False, cancel_on_barge_in=False)
    two_items_in_a_burst(hand)
    hand.wait(1.0)
    hand.see(p.SpeechStarted(item_id="U2"))
    assert not hand.of(ev.Interrupted)
    assert not hand.sent()
    # The next turn has begun: what plays on was said.
    assert len(hand.history) == 3


def test_where_truncation_is_missing_history_is_cut_all_the_same():
    hand = Hand(truncate_supported=False)
    two_items_in_a_burst(hand)
    hand.wait(1.0)
    hand.see(p.SpeechStarted(item_id="U2"))
    assert not hand.sent()
    assert hand.history == [("U1", "tell me"), ("item_1", "one")]
    assert [(e.item_id, e.audio_played_ms) for e in hand.of(ev.AssistantTranscriptTruncated)] == [
        ("item_1", 1000),
        ("item_2", 0),
    ]
    with pytest.raises(InvalidRequest):
        hand.do("truncate", "item_1", 0, 500)


def test_an_interruption_flushes_the_media_that_waits_for_the_application():
    hand = Hand()
    hand.begin("R1")
    hand.see(p.AudioDelta("R1", "A1", bytes(SECOND)))
    hand.see(p.SpeechStarted(item_id="U1"))
    assert hand.effects_of(fx.FlushOutput) == [fx.FlushOutput("R1")]


def test_two_responses_that_both_still_play_are_both_interrupted_once():
    hand = Hand(tools=(tool(),))
    hand.begin("R1")
    hand.item("R1", "A1")
    hand.speak("R1", "A1", "let me look that up for you", 3.0)
    hand.call("R1", "c1")
    hand.do("tool_returned", result("c1"))
    hand.end("R1")
    hand.begin("R2", ref=hand.sent(p.CreateResponse)[0].ref)
    hand.item("R2", "A2", "A1")
    hand.speak("R2", "A2", "it is forty two", 3.0)
    hand.deliver("A1", 3.0)
    hand.deliver("A2", 3.0)
    hand.wait(1.5)
    hand.see(p.SpeechStarted(item_id="U2"), p.SpeechStarted(item_id="U2"))
    assert [e.response_id for e in hand.of(ev.Interrupted)] == ["R1", "R2"]
    assert [(type(c).__name__, c.item_id) for c in hand.sent(p.TruncateItem, p.DeleteItem)] == [
        ("TruncateItem", "A1"),
        ("DeleteItem", "A2"),
    ]
    hand.end("R2", p.ResponseStatus.CANCELLED)
    assert hand.history == [("A1", "let me look")]


# ---------------------------------------------------------------- interrupt()


def test_interrupt_with_nothing_to_stop_does_nothing():
    hand = Hand()
    assert hand.do("interrupt") == ()
    hand.text_response("R1", "A1", "done")
    before = (len(hand.events), len(hand.effects), len(hand.transcript))
    assert hand.do("interrupt") == ()
    assert (len(hand.events), len(hand.effects), len(hand.transcript)) == before


def test_interrupt_while_it_only_plays():
    hand = Hand()
    two_items_in_a_burst(hand)
    hand.wait(3.0)
    hand.do("interrupt")
    assert [e.response_id for e in hand.of(ev.Interrupted)] == ["R1"]
    assert not hand.sent(p.CancelResponse)
    assert hand.sent(p.TruncateItem)[0].audio_end_ms == 3000
    assert hand.history[1:] == [("item_1", "one two three")]


def test_the_terminal_of_a_cancelled_response_is_made_up_when_it_does_not_come():
    hand = Hand()
    request = hand.do("request_response", p.ResponseOptions())
    hand.begin("R1", ref=hand.sent(p.CreateResponse)[0].ref)
    hand.see(p.TextDelta("e", "R1", "A1", "x"))
    hand.do("interrupt")
    hand.wait(4.999)
    assert not hand.of(ev.TurnCompleted)
    hand.wait(0.001)
    (done,) = hand.of(ev.TurnCompleted)
    assert done.stop_reason is StopReason.CANCELLED
    assert hand.outcome(request) == fx.Answered(response_id="R1", stop_reason=StopReason.CANCELLED)
    hand.end("R1", p.ResponseStatus.CANCELLED)  # it comes after all
    assert len(hand.of(ev.TurnCompleted)) == 1
    assert hand.sizes() == {}


def test_a_response_that_was_interrupted_before_it_began_is_cancelled_as_it_begins():
    hand = Hand()
    request = hand.do("request_response", p.ResponseOptions())
    (create,) = hand.sent(p.CreateResponse)
    hand.do("interrupt")
    assert hand.outcome(request) == fx.Superseded(by="interrupt")
    assert not hand.sent(p.CancelResponse)  # there is nothing to name yet
    hand.begin("R1", ref=create.ref)
    assert [c.response_id for c in hand.sent(p.CancelResponse)] == ["R1"]
    assert hand.names(hand.of(ev.ResponseStarted, ev.Interrupted)) == [
        "ResponseStarted",
        "Interrupted",
    ]
    hand.speak("R1", "A1", "too late", 1.0)
    assert not hand.of(ev.OutputAudioChunk)
    hand.end("R1", p.ResponseStatus.CANCELLED)
    assert hand.sizes().keys() <= {"commands", "deadlines", "item_gaps"}


def test_so_is_the_answer_that_the_provider_was_about_to_make_by_itself():
    hand = Hand()
    hand.user_turn("U1", "hello")
    hand.do("interrupt")
    hand.begin("R1")
    assert [e.response_id for e in hand.of(ev.Interrupted)] == ["R1"]
    hand.end("R1", p.ResponseStatus.CANCELLED)
    hand.user_turn("U2", "really", previous="U1")
    hand.begin("R2")
    assert len(hand.of(ev.Interrupted)) == 1  # the next one is welcome


def test_an_interruption_before_the_answer_does_not_kill_the_answer_to_the_next_turn():
    hand = Hand()
    hand.user_turn("U1", "hello")
    hand.do("interrupt")
    hand.user_turn("U2", "no, this", previous="U1")
    hand.begin("R2")
    assert not hand.of(ev.Interrupted)


def test_without_echoed_references_nothing_is_asked_until_the_unwanted_answer_came():
    hand = Hand(echoes_refs=False)
    hand.do("request_response", p.ResponseOptions())
    hand.do("interrupt")
    second = hand.do("request_response", p.ResponseOptions())
    assert len(hand.sent(p.CreateResponse)) == 1
    hand.begin("R1")
    assert [c.response_id for c in hand.sent(p.CancelResponse)] == ["R1"]
    hand.end("R1", p.ResponseStatus.CANCELLED)
    hand.text_response("R2", "A2", "wanted")
    assert isinstance(hand.outcome(second), fx.Answered)
    assert hand.texts == ["wanted"]


def test_without_echoed_references_an_unwanted_create_that_was_lost_holds_the_slot_for_a_while():
    hand = Hand(echoes_refs=False)
    hand.do("request_response", p.ResponseOptions())
    hand.do("interrupt")
    hand.do("request_response", p.ResponseOptions())
    hand.wait(5.0)
    assert len(hand.sent(p.CreateResponse)) == 2


def test_a_late_completion_of_an_interrupted_response_counts_as_cancelled():
    hand = Hand()
    hand.begin("R1")
    hand.see(p.TextDelta("e", "R1", "A1", "almost there"))
    hand.do("interrupt")
    hand.end("R1", p.ResponseStatus.COMPLETED, usage=USAGE)
    (done,) = hand.of(ev.TurnCompleted)
    assert done.stop_reason is StopReason.CANCELLED
    assert done.usage == hand.machine.usage == USAGE
    assert hand.texts == ["almost there"]


def test_waiting_requests_are_superseded_by_a_barge_in():
    hand = Hand()
    hand.begin("R1")
    hand.speak("R1", "A1", "blah", 1.0)
    request = hand.do("request_response", p.ResponseOptions())
    hand.see(p.SpeechStarted(item_id="U1"))
    assert hand.outcome(request) == fx.Superseded(by="barge_in")
    hand.end("R1", p.ResponseStatus.CANCELLED)
    assert not hand.sent(p.CreateResponse)


def test_an_item_made_after_the_cut_is_deleted_unseen():
    hand = Hand()
    hand.begin("R1")
    hand.item("R1", "A1")
    hand.speak("R1", "A1", "one two", 2.0)
    hand.deliver("A1", 2.0)
    hand.wait(1.0)
    hand.do("interrupt")
    before = len(hand.events)
    hand.item("R1", "A2", "A1")
    hand.speak("R1", "A2", "never heard", 2.0)
    hand.see(p.ItemDeleted("A2"))
    assert [c.item_id for c in hand.sent(p.DeleteItem)] == ["A2"]
    assert hand.names(hand.events[before:]) == ["RealtimeTranscript"]
    hand.end("R1", p.ResponseStatus.CANCELLED)
    assert hand.texts == ["one"]


# ---------------------------------------------------------------- explicit commit


def test_in_explicit_commit_speech_over_the_model_interrupts_it_when_it_is_committed():
    hand = Hand(turning_mode=EXPLICIT)
    hand.begin("R1")
    hand.item("R1", "A1")
    hand.speak("R1", "A1", EIGHT, 8.0)
    hand.deliver("A1", 8.0)
    hand.wait(2.0)
    hand.do("audio_appended", 4800)
    request = hand.do("commit_turn", None)
    assert [c.response_id for c in hand.sent(p.CancelResponse)] == ["R1"]
    hand.see(p.InputCommitted(item_id="U1", previous_item_id="A1"))
    assert hand.names(hand.of(ev.Interrupted, ev.TurnStarted, ev.TurnCommitted)) == [
        "Interrupted",
        "TurnStarted",
        "TurnCommitted",
    ]
    assert hand.outcome(request) is None  # the new turn's own request is not superseded
    assert not hand.sent(p.CreateResponse)
    hand.end("R1", p.ResponseStatus.CANCELLED)
    assert len(hand.sent(p.CreateResponse)) == 1


def test_in_explicit_commit_typed_text_does_not_interrupt():
    hand = Hand(turning_mode=EXPLICIT)
    hand.begin("R1")
    hand.speak("R1", "A1", "blah", 1.0)
    hand.do("send_text", "by the way", respond=True)
    hand.do("commit_turn", None)
    assert not hand.of(ev.Interrupted)
    hand.end("R1")
    assert len(hand.sent(p.CreateResponse)) == 1


# ---------------------------------------------------------------- what the provider says about cuts


def interrupted_at(hand: Hand, seconds: float) -> p.TruncateItem:
    two_items_in_a_burst(hand)
    hand.wait(seconds)
    hand.see(p.SpeechStarted(item_id="U2"))
    return hand.sent(p.TruncateItem)[0]


def refuse(hand: Hand, ref: str | None, meaning=p.ErrorMeaning.TRUNCATION_REFUSED) -> None:
    hand.see(p.CommandRefused(meaning=meaning, fault=FAULT, ref=ref))


def test_the_truncation_is_announced_when_the_provider_has_made_it():
    hand = Hand()
    interrupted_at(hand, 1.0)
    assert not hand.of(ev.AssistantTranscriptTruncated)
    hand.see(p.ItemTruncated(item_id="item_1", audio_end_ms=1000), p.ItemDeleted("item_2"))
    assert hand.of(ev.AssistantTranscriptTruncated) == [
        ev.AssistantTranscriptTruncated(
            response_id="R1", item_id="item_1", audio_played_ms=1000, truncated_text="one"
        ),
        ev.AssistantTranscriptTruncated(
            response_id="R1", item_id="item_2", audio_played_ms=0, truncated_text=""
        ),
    ]
    assert hand.sizes() == {}


@pytest.mark.parametrize("tied", [True, False])
def test_a_refused_truncation_is_tried_once_more_further_ahead_and_then_left(tied):
    hand = Hand()
    first = interrupted_at(hand, 2.0)
    refuse(hand, first.ref if tied else None)
    second = hand.sent(p.TruncateItem)[1]
    assert second.audio_end_ms == 1800
    assert not hand.of(ev.ProviderErrorReported)
    refuse(hand, second.ref if tied else None)
    (report,) = hand.of(ev.ProviderErrorReported)
    assert (report.command, report.response_id) == ("conversation.item.truncate", "R1")
    assert len(hand.sent(p.TruncateItem)) == 2
    assert not hand.effects_of(fx.EndSession)
    assert hand.history[1] == ("item_1", "one two")  # heard is heard


def test_an_item_that_is_gone_needs_no_second_try():
    hand = Hand()
    interrupted_at(hand, 2.0)
    for command in hand.sent(p.TruncateItem, p.DeleteItem):
        refuse(hand, command.ref, p.ErrorMeaning.UNKNOWN_ITEM)
    assert len(hand.sent(p.TruncateItem)) == 1
    assert [e.command for e in hand.of(ev.ProviderErrorReported)] == [
        "conversation.item.truncate",
        "conversation.item.delete",
    ]


def test_an_unacknowledged_truncation_is_reported_and_forgotten():
    hand = Hand()
    interrupted_at(hand, 1.0)
    hand.wait(5.0)
    assert [e.fault.code for e in hand.of(ev.ProviderErrorReported)] == ["timeout", "timeout"]
    assert hand.sizes() == {}


def test_a_provider_that_truncates_by_itself_is_believed():
    hand = Hand()
    two_items_in_a_burst(hand)
    hand.wait(1.0)
    hand.see(p.ItemTruncated(item_id="item_2", audio_end_ms=2500))
    (event,) = hand.of(ev.AssistantTranscriptTruncated)
    assert (event.audio_played_ms, event.truncated_text) == (2500, "and")
    hand.wait(20.0)
    assert hand.history[1:] == [("item_1", EIGHT), ("item_2", "and")]


# ---------------------------------------------------------------- truncate()


def test_the_application_truncates_what_still_plays():
    hand = Hand()
    two_items_in_a_burst(hand)
    ref = hand.do("truncate", "item_1", 0, 2000)
    hand.do("truncate", "item_2", 0, 0)
    first, second = hand.sent(p.TruncateItem)
    assert (first.ref, first.audio_end_ms, second.audio_end_ms) == (ref, 2000, 0)
    assert not hand.of(ev.Interrupted)
    # Nothing is left to hear, so history gets it; of the second item nothing remains.
    assert hand.history[1:] == [("item_1", "one two")]
    hand.see(p.ItemTruncated(item_id="item_1", audio_end_ms=2000))
    assert fx.SettleCommand(ref=ref) in hand.effects
    assert hand.of(ev.AssistantTranscriptTruncated)[0].truncated_text == "one two"


def test_more_than_was_received_is_clamped():
    hand = Hand()
    two_items_in_a_burst(hand)
    hand.do("truncate", "item_1", 0, 10**9)
    assert hand.sent(p.TruncateItem)[0].audio_end_ms == 8000


def test_a_truncation_of_what_was_cut_already_is_never_longer():
    hand = Hand()
    interrupted_at(hand, 4.0)
    ref = hand.do("truncate", "item_1", 0, 4200)  # the application's own clock
    assert len(hand.sent(p.TruncateItem)) == 1
    assert fx.SettleCommand(ref=ref) in hand.effects
    hand.do("truncate", "item_1", 0, 2000)
    assert hand.sent(p.TruncateItem)[1].audio_end_ms == 2000
    hand.see(
        p.ItemTruncated(item_id="item_1", audio_end_ms=4000),
        p.ItemTruncated(item_id="item_1", audio_end_ms=2000),
    )
    told = [(e.audio_played_ms, e.truncated_text) for e in hand.of(ev.AssistantTranscriptTruncated)]
    assert told == [(4000, "one two three four"), (2000, "one two")]


@pytest.mark.parametrize(
    "arguments", [("item_1", 0, -1), ("item_1", -1, 0), ("never seen", 0, 100)]
)
def test_a_truncation_that_makes_no_sense_changes_nothing(arguments):
    hand = Hand()
    two_items_in_a_burst(hand)
    with pytest.raises(InvalidRequest):
        hand.do("truncate", *arguments)
    assert not hand.sent()


def test_a_negative_playback_position_is_refused():
    hand = Hand()
    two_items_in_a_burst(hand)
    with pytest.raises(InvalidRequest):
        hand.do("report_playback", "item_1", 0, -1)
    hand.do("report_playback", "never seen", 0, 10)  # late reports are nobody's fault
