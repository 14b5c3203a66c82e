"""Corners: providers that stop by themselves, races, and what the application does out of turn."""

from __future__ import annotations

import pytest
from turnkit import EXPLICIT, SECOND, Hand, ev, fx, p, result, tool

from meerkat_rt.model import transcript as tr
from meerkat_rt.model.conversation import StopReason, Usage
from meerkat_rt.model.errors import InvalidRequest

BUSY = ev.ProviderFault(code="busy")


def busy(hand: Hand, ref: str | None) -> None:
    hand.see(p.CommandRefused(meaning=p.ErrorMeaning.ACTIVE_RESPONSE, fault=BUSY, ref=ref))


# ---------------------------------------------------------------- the provider stops by itself


@pytest.mark.parametrize("by_user", [True, False])
def test_a_provider_that_says_it_stopped_is_believed(by_user):
    hand = Hand(truncate_supported=False)
    hand.begin("R1")
    hand.item("R1", "A1")
    hand.speak("R1", "A1", "one two three four", 4.0)
    hand.deliver("A1", 4.0)
    hand.wait(2.0)
    waiting = hand.do("request_response", p.ResponseOptions())
    hand.see(p.ResponseInterrupted(response_id="R1", by_user=by_user))
    assert [e.response_id for e in hand.of(ev.Interrupted)] == ["R1"]
    assert not hand.sent(p.CancelResponse)
    assert len(hand.of(ev.TurnStarted)) == by_user
    superseded = fx.Superseded(by="barge_in") if by_user else None
    assert hand.outcome(waiting) == superseded
    hand.end("R1", p.ResponseStatus.CANCELLED)
    assert hand.texts == ["one two"]


def test_a_provider_that_stops_what_only_plays_cuts_it():
    hand = Hand(truncate_supported=False)
    hand.begin("R1")
    hand.item("R1", "A1")
    hand.speak("R1", "A1", "one two three four", 4.0)
    hand.spoken("R1", "A1", "one two three four")
    hand.end("R1")
    hand.deliver("A1", 4.0)
    hand.wait(1.0)
    hand.see(p.ResponseInterrupted())
    assert [e.response_id for e in hand.of(ev.Interrupted)] == ["R1"]
    assert hand.texts == ["one"]


def test_a_provider_that_stopped_before_anything_was_heard_of_it_means_the_response_it_names():
    hand = Hand()
    hand.begin("R1")
    hand.see(p.ResponseInterrupted(response_id="R1"))
    assert len(hand.of(ev.Interrupted)) == 1
    hand.see(p.ResponseInterrupted(response_id="R1"), p.ResponseInterrupted(response_id="gone"))
    assert len(hand.of(ev.Interrupted)) == 1


def test_a_stop_with_nothing_to_be_heard_means_nothing():
    hand = Hand()
    hand.see(p.ResponseInterrupted(), p.ResumptionUpdated(handle="h"))
    assert hand.events == []


def test_usage_outside_of_responses_counts():
    hand = Hand()
    hand.begin("R1")
    hand.end("R1", usage=Usage(input_tokens=2))
    hand.see(p.UsageReported(Usage(input_tokens=3, output_tokens=1)))
    assert hand.machine.usage == Usage(input_tokens=5, output_tokens=1)


# ---------------------------------------------------------------- races of creates


def test_a_request_and_its_nudge_that_are_both_refused_block_it_once():
    hand = Hand()
    request = hand.do("request_response", p.ResponseOptions())
    hand.wait(0.75)
    first, nudge = hand.sent(p.CreateResponse)
    hand.begin("R1")
    busy(hand, first.ref)
    busy(hand, nudge.ref)
    busy(hand, nudge.ref)
    hand.end("R1")
    assert len(hand.sent(p.CreateResponse)) == 3
    hand.text_response("R2", "A2", "x", ref=hand.sent(p.CreateResponse)[2].ref)
    assert hand.outcome(request).response_id == "R2"
    assert hand.sizes() == {}


def test_a_request_that_waits_for_a_retry_holds_the_others_back():
    hand = Hand()
    hand.do("request_response", p.ResponseOptions())
    busy(hand, hand.sent(p.CreateResponse)[0].ref)
    hand.do("request_response", p.ResponseOptions())
    assert len(hand.sent(p.CreateResponse)) == 1
    hand.wait(0.25)
    assert len(hand.sent(p.CreateResponse)) == 2


def test_a_blocked_request_that_is_superseded_leaves_no_unwanted_create_behind():
    hand = Hand()
    request = hand.do("request_response", p.ResponseOptions())
    hand.begin("R1")
    busy(hand, hand.sent(p.CreateResponse)[0].ref)
    hand.do("interrupt")
    assert hand.outcome(request) == fx.Superseded(by="interrupt")
    hand.end("R1", p.ResponseStatus.CANCELLED)
    hand.begin("R2")
    assert [e.response_id for e in hand.of(ev.Interrupted)] == ["R1"]


@pytest.mark.parametrize("meaning", [p.ErrorMeaning.ACTIVE_RESPONSE, p.ErrorMeaning.OTHER])
def test_the_refusal_of_an_unwanted_create_is_welcome(meaning):
    hand = Hand(echoes_refs=False)
    hand.do("request_response", p.ResponseOptions())
    hand.do("interrupt")
    hand.do("request_response", p.ResponseOptions())
    ref = hand.sent(p.CreateResponse)[0].ref
    hand.see(p.CommandRefused(meaning=meaning, fault=BUSY, ref=ref))
    assert len(hand.sent(p.CreateResponse)) == 2
    assert not hand.of(ev.ProviderErrorReported)


def test_a_nudge_that_fails_while_its_turn_is_answered_is_only_reported():
    hand = Hand()
    hand.user_turn("U1", "hello")
    hand.wait(0.75)
    (nudge,) = hand.sent(p.CreateResponse)
    hand.begin("R1")
    hand.see(p.CommandRefused(meaning=p.ErrorMeaning.OTHER, fault=BUSY, ref=nudge.ref))
    hand.end("R1")
    assert isinstance(hand.effects_of(fx.SettleRequest)[0].outcome, fx.Answered)
    assert len(hand.of(ev.ProviderErrorReported)) == 1


def test_a_foreign_reference_names_nobody():
    hand = Hand()
    request = hand.do("request_response", p.ResponseOptions())
    hand.begin("R1", ref="somebody else's")
    busy(hand, request)  # an id of ours, but no reference
    hand.see(p.CommandRefused(meaning=p.ErrorMeaning.OTHER, fault=BUSY, ref=request))
    assert hand.outcome(request) is None
    assert hand.of(ev.ResponseStarted)[0].request_id is None


def test_an_interruption_reaches_a_displaced_response_too():
    hand = Hand()
    hand.begin("R1")
    hand.item("R1", "A1")
    hand.speak("R1", "A1", "one two three four", 4.0)
    hand.deliver("A1", 4.0)
    hand.begin("R2")
    hand.wait(1.0)
    hand.see(p.SpeechStarted(item_id="U1"))
    assert [e.response_id for e in hand.of(ev.Interrupted)] == ["R1"]
    hand.end("R1", p.ResponseStatus.CANCELLED)
    assert hand.texts == ["one"]


def test_an_out_of_band_response_that_is_cancelled_says_interrupted_first():
    hand = Hand()
    hand.begin("O1", in_conversation=False)
    hand.end("O1", p.ResponseStatus.CANCELLED, in_conversation=False)
    assert hand.names(hand.of(ev.Interrupted, ev.TurnCompleted)) == ["Interrupted", "TurnCompleted"]
    assert hand.transcript == []


# ---------------------------------------------------------------- output and hearing


def test_items_are_reported_begun_and_ended_but_observed_once():
    hand = Hand()
    hand.begin("R1")
    for event in (p.OutputItemBegan, p.OutputItemEnded):
        hand.see(event(response_id="R1", item_id="A1", kind=p.ItemKind.ASSISTANT))
    hand.see(p.OutputItemBegan(response_id="R1", item_id=None, kind=p.ItemKind.ASSISTANT))
    assert len(hand.wrote(tr.ItemObserved)) == 1


def test_a_truncated_item_gets_no_more_words_while_its_response_goes_on():
    hand = Hand()
    hand.begin("R1")
    hand.item("R1", "A1")
    hand.speak("R1", "A1", "one two three four", 4.0)
    hand.do("truncate", "A1", 0, 2000)
    before = len(hand.events)
    hand.speak("R1", "A1", " five", 1.0)
    hand.spoken("R1", "A1", "one two three four five")
    assert hand.events[before:] == []
    hand.end("R1")
    assert hand.texts == ["one two"]


def test_the_end_of_dropped_audio_releases_history():
    hand = Hand()
    hand.begin("R1")
    hand.item("R1", "A1")
    hand.speak("R1", "A1", "one two", 2.0)
    hand.spoken("R1", "A1", "one two")
    hand.end("R1")
    hand.deliver("A1", 1.0)
    hand.wait(1.0)
    assert hand.texts == []
    hand.do("audio_dropped", "A1", 0, SECOND)
    hand.wait(0.0)
    assert hand.texts == ["one two"]
    hand.do("audio_dropped", "A1", 0, SECOND)
    hand.do("audio_delivered", "A1", 0, SECOND)
    assert hand.sizes() == {}


def test_audio_that_arrives_slower_than_it_plays_is_heard_when_the_last_of_it_was():
    hand = Hand()
    hand.begin("R1")
    hand.item("R1", "A1")
    for _ in range(3):
        hand.speak("R1", "A1", "so ", 0.5)
        hand.deliver("A1", 0.5)
        hand.wait(2.0)
    hand.end("R1")
    assert hand.texts == ["so "]  # the deltas shared an id


def test_the_ledger_gives_up_on_audio_that_is_never_taken():
    hand = Hand()
    for number in range(300):
        hand.begin(f"R{number}")
        hand.speak(f"R{number}", f"A{number}", "x", 0.1)
        hand.end(f"R{number}")
    sizes = hand.machine.ledger_sizes()
    assert sizes["playback_parts"] == sizes["responses"] == 256


def test_a_response_longer_than_the_application_listens_ends_with_the_session():
    hand = Hand()
    hand.begin("R1")
    hand.item("R1", "A1")
    hand.speak("R1", "A1", "for nobody", 9.0)
    hand.end("R1")
    hand.wait(3600.0)
    assert hand.texts == []
    hand.do("close")
    assert hand.texts == ["for nobody"]
    assert hand.messages[0].stop_reason is StopReason.END_TURN


# ---------------------------------------------------------------- the application out of turn


def test_a_staged_text_can_be_taken_back():
    hand = Hand(turning_mode=EXPLICIT)
    first = hand.do("send_text", "oops", respond=True)
    hand.machine.unstage_text(first)
    hand.machine.unstage_text(first)
    with pytest.raises(InvalidRequest):
        hand.do("commit_turn", None)
    hand.do("send_text", "right", respond=True)
    hand.do("commit_turn", None)
    assert hand.texts == ["right"]


def test_the_application_answers_a_call_of_its_own():
    hand = Hand(tools=(tool("ask", handled=False),))
    hand.begin("R1")
    hand.call("R1", "c1", "ask")
    hand.end("R1")
    hand.do("submit_tool_result", result("c1", "yes"))
    assert [c.output for c in hand.sent(p.SendToolOutput)] == ["yes"]
    assert hand.of(ev.ToolCallFinished)[0].outcome is ev.ToolOutcome.RESULT


def test_an_unanswered_call_of_the_application_is_cancelled_like_any_other():
    hand = Hand(tools=(tool("ask", handled=False),))
    hand.begin("R1")
    hand.call("R1", "c1", "ask")
    hand.call("R1", "c2", "ask")
    hand.see(p.ToolCallsRevoked(("c1",)))
    assert hand.do("interrupt") == ()  # there is no handler to wait for
    assert [e.outcome.value for e in hand.of(ev.ToolCallFinished)] == ["cancelled", "cancelled"]


def test_a_session_that_is_closed_stays_silent():
    hand = Hand()
    hand.do("close")
    hand.do("link_lost")
    hand.do("tool_returned", result("c1"))
    hand.do("audio_delivered", "A1", 0, 10)
    hand.wait(100.0)
    assert hand.events == hand.effects == hand.transcript == []


def test_a_staged_text_is_gone_with_the_session():
    hand = Hand(turning_mode=EXPLICIT)
    hand.do("send_text", "unsaid", respond=True)
    hand.do("close")
    assert hand.sizes() == {}
    assert hand.texts == []


def test_after_the_close_nothing_is_sent_whatever_is_asked():
    hand = Hand()
    hand.do("close")
    hand.do("send_text", "anybody?", respond=True)
    hand.do("send_raw", {"type": "x"})
    assert not hand.sent()


def test_text_that_waits_is_not_taken_for_a_continuation_that_waits():
    hand = Hand(tools=(tool(),))
    hand.begin("R1")
    hand.call("R1", "c1")
    hand.end("R1")
    hand.begin("R2")
    hand.do("tool_returned", result("c1"))
    hand.do("send_text", "and this?", respond=True)
    hand.end("R2")
    hand.text_response("R3", "A3", "42", ref=hand.sent(p.CreateResponse)[-1].ref)
    hand.text_response("R4", "A4", "that", ref=hand.sent(p.CreateResponse)[-1].ref)
    assert [e.outcome.response_id for e in hand.effects_of(fx.SettleRequest)] == ["R3", "R4"]


def test_an_error_that_nobody_can_be_blamed_for_is_reported_without_a_command():
    hand = Hand()
    hand.see(p.CommandRefused(meaning=p.ErrorMeaning.OTHER, fault=BUSY))
    hand.see(p.CommandRefused(meaning=p.ErrorMeaning.UNKNOWN_ITEM, fault=BUSY, ref="unknown"))
    assert hand.of(ev.ProviderErrorReported) == [ev.ProviderErrorReported(fault=BUSY)] * 2


def test_what_was_heard_of_an_interrupted_answer_waits_for_the_question():
    hand = Hand()
    hand.user_turn("U1")
    hand.begin("R1")
    hand.see(p.OutputItemBegan(response_id="R1", item_id="A1", kind=p.ItemKind.ASSISTANT))
    hand.speak("R1", "A1", "one two", 2.0)
    hand.deliver("A1", 2.0)
    hand.wait(1.0)
    hand.do("interrupt")
    assert hand.texts == []
    hand.see(p.InputTranscriptDone(item_id="U1", text="count"))
    assert hand.texts == ["count", "one"]


def test_a_lost_link_leaves_no_retry_behind():
    hand = Hand()
    hand.do("request_response", p.ResponseOptions())
    busy(hand, hand.sent(p.CreateResponse)[0].ref)
    hand.do("link_lost")
    assert hand.sizes() == {}


def test_history_has_nothing_to_object_to_in_an_ordinary_session():
    hand = Hand(tools=(tool(),))
    hand.user_turn("U1", "hello")
    hand.begin("R1")
    hand.item("R1", "A1", "U1")
    hand.speak("R1", "A1", "one moment", 1.0)
    hand.spoken("R1", "A1", "one moment")
    hand.see(p.OutputItemBegan(response_id="R1", item_id="F1", kind=p.ItemKind.TOOL_CALL))
    hand.see(p.ItemAdded(item_id="F1", previous_item_id="A1", kind=p.ItemKind.TOOL_CALL))
    hand.call("R1", "c1")
    hand.do("tool_returned", result("c1"))
    hand.deliver("A1", 1.0)
    hand.end("R1", item_ids=("A1", "F1"))
    hand.begin("R2", ref=hand.sent(p.CreateResponse)[0].ref)
    hand.item("R2", "A2", "F1")
    hand.speak("R2", "A2", "forty two it is", 4.0)
    hand.deliver("A2", 4.0)
    hand.wait(4.0)  # a second of it is still the first answer
    hand.see(p.SpeechStarted(item_id="U2"))
    hand.end("R2", p.ResponseStatus.CANCELLED, item_ids=("A2",))
    hand.user_turn("U2", "thanks", previous="A2")
    assert hand.texts == ["hello", "one moment", "forty two", "thanks"]
    assert hand.diagnostics == []


def test_what_belongs_to_nothing_alive_is_counted():
    hand = Hand()
    hand.text_response("R1", "A1", "x")
    hand.begin("R2")
    hand.see(p.TextDelta("e", "R1", "A1", "late"), p.TextDelta("e", "R0", "A0", "never began"))
    assert hand.machine.dropped == 2


def test_a_second_create_of_a_superseded_request_is_unwanted_too():
    hand = Hand()
    hand.do("request_response", p.ResponseOptions())
    hand.wait(0.75)
    first, nudge = hand.sent(p.CreateResponse)
    busy(hand, first.ref)
    hand.do("interrupt")
    hand.begin("R1", ref=nudge.ref)
    assert [e.response_id for e in hand.of(ev.Interrupted)] == ["R1"]
