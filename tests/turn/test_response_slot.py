"""Who may create a response, and what becomes of each request."""

from __future__ import annotations

import pytest
from turnkit import Hand, ev, fx, p, result, tool

from meerkat_rt.model.conversation import StopReason
from meerkat_rt.model.media import ResponseModality
from meerkat_rt.turn.responses import ENDED_IDS

FAULT = ev.ProviderFault(code="conversation_already_has_active_response", message="busy")


def ask(hand: Hand, **options) -> str:
    return hand.do("request_response", p.ResponseOptions(**options))


def busy(hand: Hand, ref: str | None) -> None:
    hand.see(p.CommandRefused(meaning=p.ErrorMeaning.ACTIVE_RESPONSE, fault=FAULT, ref=ref))


def creates(hand: Hand) -> list[p.CreateResponse]:
    return hand.sent(p.CreateResponse)


@pytest.mark.parametrize("tied", [True, False])
def test_a_tool_answer_refused_by_the_providers_own_response_is_asked_for_again(tied):
    hand = Hand(tools=(tool(),))
    hand.begin("R1")
    hand.call("R1", "c1")
    hand.end("R1")
    hand.do("tool_returned", result("c1", "42"))
    (create,) = creates(hand)
    hand.begin("R2")  # the voice activity detection was faster
    busy(hand, create.ref if tied else None)
    assert not hand.of(ev.ProviderErrorReported)
    hand.item("R2", "A2")
    hand.see(p.TextDelta("e", "R2", "A2", "yes?"))
    assert len(creates(hand)) == 1
    hand.end("R2")
    assert len(creates(hand)) == 2
    hand.text_response("R3", "A3", "it is 42", ref=creates(hand)[1].ref)
    (settled,) = hand.effects_of(fx.SettleRequest)
    assert settled.outcome == fx.Answered(response_id="R3", stop_reason=StopReason.END_TURN)
    assert hand.texts[-1] == "it is 42"


def test_without_echoes_the_first_response_counts_as_ours_until_ours_is_refused():
    hand = Hand(echoes_refs=False)
    request = ask(hand)
    hand.begin("R1")
    busy(hand, creates(hand)[0].ref)
    hand.end("R1")
    assert hand.outcome(request) is None
    assert len(creates(hand)) == 2
    hand.text_response("R2", "A2", "ours")
    assert hand.outcome(request).response_id == "R2"


def test_requests_are_sent_one_at_a_time_in_order():
    hand = Hand()
    requests = [ask(hand) for _ in range(3)]
    for number, request in enumerate(requests):
        assert len(creates(hand)) == number + 1
        hand.text_response(f"R{number}", f"A{number}", "x", ref=creates(hand)[-1].ref)
        assert hand.outcome(request).response_id == f"R{number}"
    assert len(creates(hand)) == 3
    assert hand.sizes() == {}


def test_each_request_carries_its_own_options():
    hand = Hand()
    ask(hand, modality=ResponseModality.TEXT, instructions="short", max_output_tokens=9)
    hand.text_response("R1", "A1", "x", ref=creates(hand)[0].ref)
    ask(hand, tool_choice="none")
    first, second = creates(hand)
    assert (first.options.modality, first.options.max_output_tokens) == (ResponseModality.TEXT, 9)
    assert (second.options.modality, second.options.tool_choice) == (None, "none")


def test_the_started_event_names_the_request():
    hand = Hand()
    hand.begin("R0")
    hand.end("R0")
    request = ask(hand)
    hand.begin("R1", ref=creates(hand)[0].ref)
    assert [e.request_id for e in hand.of(ev.ResponseStarted)] == [None, request]


def test_a_refusal_by_a_response_that_we_know_nothing_of_is_retried_after_a_moment():
    hand = Hand()
    request = ask(hand)
    busy(hand, creates(hand)[0].ref)
    hand.wait(0.249)
    assert len(creates(hand)) == 1
    hand.wait(0.001)
    assert len(creates(hand)) == 2
    hand.text_response("R1", "A1", "x", ref=creates(hand)[1].ref)
    assert isinstance(hand.outcome(request), fx.Answered)


def test_a_response_that_appears_while_we_wait_is_waited_for():
    hand = Hand()
    ask(hand)
    busy(hand, creates(hand)[0].ref)
    hand.begin("R9")
    hand.see(p.OutputProgress(response_id="R9"))
    hand.wait(5.0)
    assert len(creates(hand)) == 1
    hand.end("R9")
    assert len(creates(hand)) == 2


def test_retries_are_bounded_and_the_last_refusal_is_the_outcome():
    hand = Hand(max_request_retries=2)
    request = ask(hand)
    for _ in range(3):
        assert hand.outcome(request) is None
        busy(hand, creates(hand)[-1].ref)
        hand.wait(0.25)
    assert hand.outcome(request) == fx.Refused(fault=FAULT)
    assert len(creates(hand)) == 3
    (report,) = hand.of(ev.ProviderErrorReported)
    assert (report.command, report.request_id) == ("response.create", request)


def test_a_refused_request_keeps_its_place_before_the_others():
    hand = Hand()
    first, second = ask(hand), ask(hand)
    hand.begin("R0")
    busy(hand, creates(hand)[0].ref)
    hand.end("R0")
    hand.text_response("R1", "A1", "x", ref=creates(hand)[1].ref)
    assert hand.outcome(first).response_id == "R1"
    assert hand.outcome(second) is None


def test_another_refusal_ends_the_request_and_the_next_one_is_sent():
    hand = Hand()
    first, _second = ask(hand), ask(hand)
    fault = ev.ProviderFault(code="invalid_value", param="response.voice")
    ref = creates(hand)[0].ref
    hand.see(p.CommandRefused(meaning=p.ErrorMeaning.OTHER, fault=fault, ref=ref))
    assert hand.outcome(first) == fx.Refused(fault=fault)
    assert len(creates(hand)) == 2
    (report,) = hand.of(ev.ProviderErrorReported)
    assert (report.command, report.request_id) == ("response.create", first)


def test_an_error_tied_to_a_create_is_its_refusal():
    hand = Hand()
    request = ask(hand)
    hand.see(p.ProviderError(fault=FAULT, ref=creates(hand)[0].ref))
    assert isinstance(hand.outcome(request), fx.Refused)


def test_a_failed_response_refuses_what_it_was_to_answer():
    hand = Hand()
    request = ask(hand)
    hand.begin("R1", ref=creates(hand)[0].ref)
    fault = ev.ProviderFault(code="rate_limit_exceeded")
    hand.end("R1", p.ResponseStatus.FAILED, fault=fault)
    assert hand.outcome(request) == fx.Refused(fault=fault)


@pytest.mark.parametrize(
    ("status", "reason", "stop"),
    [
        (p.ResponseStatus.INCOMPLETE, "max_output_tokens", StopReason.MAX_TOKENS),
        (p.ResponseStatus.INCOMPLETE, "content_filter", StopReason.CONTENT_FILTER),
        (p.ResponseStatus.INCOMPLETE, None, StopReason.END_TURN),
        (p.ResponseStatus.CANCELLED, "client_cancelled", StopReason.CANCELLED),
        (p.ResponseStatus.COMPLETED, None, StopReason.END_TURN),
    ],
)
def test_terminals_say_how_the_request_was_answered(status, reason, stop):
    hand = Hand()
    request = ask(hand)
    hand.begin("R1", ref=creates(hand)[0].ref)
    hand.end("R1", status, reason=reason)
    assert hand.of(ev.TurnCompleted)[0].stop_reason is stop
    assert hand.outcome(request) == fx.Answered(response_id="R1", stop_reason=stop)


def test_a_request_without_any_answer_is_lost_at_its_deadline():
    hand = Hand(nudge_timeout=100.0)
    request, next_one = ask(hand), None
    hand.wait(29.0)
    next_one = ask(hand)
    hand.wait(1.0)
    assert isinstance(hand.outcome(request), fx.Lost)
    assert len(creates(hand)) == 2  # the slot is free again
    assert hand.outcome(next_one) is None


def test_a_running_request_has_no_deadline():
    hand = Hand()
    request = ask(hand)
    hand.begin("R1", ref=creates(hand)[0].ref)
    hand.see(p.OutputProgress(response_id="R1"))
    hand.wait(1000.0)
    assert hand.outcome(request) is None


def test_out_of_band_responses_do_not_hold_the_slot_and_write_no_history():
    hand = Hand()
    hand.begin("R1")
    request = ask(hand, in_conversation=False)
    (create,) = creates(hand)  # although one is active
    hand.begin("O1", ref=create.ref, in_conversation=False)
    hand.see(p.OutputItemBegan(response_id="O1", item_id="X", kind=p.ItemKind.ASSISTANT))
    hand.see(p.TextDelta("e", "O1", "X", "spam"), p.TextDelta("e2", "R1", "A1", "hello"))
    hand.end("O1", in_conversation=False)
    assert [e.delta for e in hand.of(ev.OutputTextDeltaForItem)] == ["spam", "hello"]
    assert hand.outcome(request) == fx.Answered(response_id="O1", stop_reason=StopReason.END_TURN)
    assert hand.of(ev.ResponseStarted)[1] == ev.ResponseStarted(
        response_id="O1", request_id=request, in_conversation=False
    )
    hand.end("R1")
    assert hand.texts == ["hello"]
    assert {event.response_id for event in hand.transcript} == {"R1"}
    assert hand.sizes() == {}


def test_speech_of_an_out_of_band_response_is_the_applications_affair():
    hand = Hand()
    hand.begin("O1", in_conversation=False)
    hand.speak("O1", "X", "psst", 2.0)
    hand.see(p.SpeechStarted(item_id="U1"))
    hand.do("interrupt")
    assert not hand.of(ev.Interrupted)
    hand.end("O1", in_conversation=False)
    assert hand.sizes() == {}


def test_an_out_of_band_request_that_is_refused_or_silent_ends_too():
    hand = Hand()
    refused, silent = ask(hand, in_conversation=False), ask(hand, in_conversation=False)
    busy(hand, creates(hand)[0].ref)
    assert hand.outcome(refused) == fx.Refused(fault=FAULT)
    hand.wait(30.0)
    assert isinstance(hand.outcome(silent), fx.Lost)
    assert not hand.of(ev.Nudged)


def test_without_echoes_out_of_band_responses_answer_in_order():
    hand = Hand(echoes_refs=False)
    first, second = ask(hand, in_conversation=False), ask(hand, in_conversation=False)
    for name in ("O1", "O2"):
        hand.begin(name, in_conversation=False)
        hand.end(name, in_conversation=False)
    assert [hand.outcome(request).response_id for request in (first, second)] == ["O1", "O2"]


def test_one_response_answers_the_turn_and_the_request_that_came_with_it():
    hand = Hand()
    hand.user_turn("U1", "look at this")
    request = hand.do("request_response", p.ResponseOptions())
    hand.text_response("R1", "A1", "nice", ref=creates(hand)[0].ref)
    outcomes = [e.outcome.response_id for e in hand.effects_of(fx.SettleRequest)]
    assert outcomes == ["R1", "R1"]
    assert hand.outcome(request).response_id == "R1"
    hand.wait(60.0)
    assert not hand.of(ev.Nudged)


def test_a_displaced_response_says_nothing_more_but_ends():
    hand = Hand()
    hand.begin("R1")
    hand.see(p.TextDelta("e1", "R1", "A1", "one"))
    hand.begin("R2")
    hand.see(p.TextDelta("e2", "R1", "A1", "two"), p.TextDelta("e3", "R2", "A2", "three"))
    assert [e.delta for e in hand.of(ev.OutputTextDeltaForItem)] == ["one", "three"]
    hand.wait(5.0)
    (done,) = hand.of(ev.TurnCompleted)
    assert (done.response_id, done.stop_reason) == ("R1", StopReason.CANCELLED)
    hand.end("R2")
    assert hand.texts == ["one", "three"]
    assert hand.sizes() == {}


def test_a_response_cut_off_at_birth_still_has_a_beginning_and_an_end():
    hand = Hand()
    hand.user_turn("U1", "hello")
    hand.end("R1", p.ResponseStatus.CANCELLED)
    assert hand.names(hand.of(ev.ResponseStarted, ev.Interrupted, ev.TurnCompleted)) == [
        "ResponseStarted",
        "Interrupted",
        "TurnCompleted",
    ]
    assert isinstance(hand.effects_of(fx.SettleRequest)[0].outcome, fx.Answered)


def test_the_terminal_of_an_unknown_response_leaves_the_active_one_alone():
    hand = Hand()
    hand.begin("R1")
    hand.end("R0", p.ResponseStatus.CANCELLED)
    hand.see(p.TextDelta("e", "R1", "A1", "still here"))
    hand.end("R1")
    assert [e.response_id for e in hand.of(ev.TurnCompleted)] == ["R0", "R1"]
    assert hand.texts == ["still here"]


def test_repeated_beginnings_and_ends_are_dropped():
    hand = Hand()
    hand.text_response("R1", "A1", "x")
    before, dropped = len(hand.events), hand.machine.dropped
    hand.begin("R1")
    hand.end("R1")
    hand.end("R1", p.ResponseStatus.CANCELLED)
    assert len(hand.events) == before
    assert hand.machine.dropped == dropped + 3


def test_dead_responses_are_recognized_for_a_long_time_but_not_for_ever():
    hand = Hand()
    for number in range(ENDED_IDS + 1):
        hand.begin(f"R{number}")
        hand.end(f"R{number}")
    before = len(hand.events)
    hand.end("R1")
    assert len(hand.events) == before
    assert len(hand.machine._slot._ended) == ENDED_IDS


def test_closing_loses_every_request_and_ends_what_is_active():
    hand = Hand()
    hand.begin("R1")
    hand.see(p.TextDelta("e", "R1", "A1", "half"))
    requests = [ask(hand), ask(hand), ask(hand, in_conversation=False)]
    hand.do("close")
    assert {type(hand.outcome(request)) for request in requests} == {fx.Lost}
    (done,) = hand.of(ev.TurnCompleted)
    assert done.stop_reason is StopReason.CANCELLED
    assert [c.response_id for c in hand.sent(p.CancelResponse)] == ["R1"]
    assert hand.texts == ["half"]
    assert hand.sizes() == {}
    before = (len(hand.events), len(hand.effects))
    hand.do("close")
    hand.see(p.SpeechStarted(), p.TextDelta("e", "R1", "A1", "more"))
    hand.wait(100.0)
    assert (len(hand.events), len(hand.effects)) == before


def test_a_lost_link_ends_the_response_with_an_error_and_fails_what_awaits_an_answer():
    hand = Hand()
    request = ask(hand)
    hand.begin("R1", ref=creates(hand)[0].ref)
    hand.item("R1", "A1")
    hand.speak("R1", "A1", "one two three four", 4.0)
    hand.deliver("A1", 4.0)
    waiting = ask(hand)
    ref = hand.do("update_session", {}, None)
    hand.wait(2.0)
    hand.do("link_lost")
    (done,) = hand.of(ev.TurnCompleted)
    assert done.stop_reason is StopReason.CANCELLED
    assert done.error is not None
    assert done.error.code == "connection_lost"
    assert {type(hand.outcome(r)) for r in (request, waiting)} == {fx.Lost}
    (settled,) = hand.effects_of(fx.SettleCommand)
    assert settled.ref == ref
    assert settled.fault is not None
    assert hand.texts == ["one two"]
    assert not hand.sent(p.CancelResponse, p.TruncateItem)
    assert hand.sizes() == {}


def test_a_terminal_that_names_its_request_answers_it_though_no_beginning_was_told():
    hand = Hand()
    request = hand.do("request_response", p.ResponseOptions())
    (create,) = hand.sent(p.CreateResponse)
    hand.see(p.TextDelta("e", "r1", "i1", "Hel"))
    assert hand.outcome(request) is None

    ended = p.ResponseEnded(
        response_id="r1", status=p.ResponseStatus.COMPLETED, ref=create.ref, item_ids=("i1",)
    )
    hand.see(ended)

    assert hand.outcome(request) == fx.Answered(response_id="r1", stop_reason=StopReason.END_TURN)
    hand.wait(60)
    assert hand.of(ev.Nudged, ev.Stalled) == []
    assert hand.sent(p.CreateResponse) == [create]


def test_a_terminal_that_is_all_there_is_of_a_response_answers_its_request():
    hand = Hand()
    request = hand.do("request_response", p.ResponseOptions())
    (create,) = hand.sent(p.CreateResponse)

    hand.see(p.ResponseEnded(response_id="r1", status=p.ResponseStatus.COMPLETED, ref=create.ref))

    assert hand.outcome(request) == fx.Answered(response_id="r1", stop_reason=StopReason.END_TURN)


def test_a_terminal_names_its_request_a_second_time_and_nothing_happens():
    hand = Hand()
    request = hand.do("request_response", p.ResponseOptions())
    (create,) = hand.sent(p.CreateResponse)
    hand.see(p.ResponseBegan(response_id="r1", ref=create.ref))
    ended = p.ResponseEnded(response_id="r1", status=p.ResponseStatus.COMPLETED, ref=create.ref)

    hand.see(ended, ended)

    settled = [e for e in hand.effects_of(fx.SettleRequest) if e.request_id == request]
    assert len(settled) == 1
