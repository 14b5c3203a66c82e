"""The tool ledger: one outcome per call, one continuation per response."""

from __future__ import annotations

import json

import pytest
from turnkit import Hand, ev, fx, p, result, tool

from meerkat_rt.model.conversation import StopReason, StructuredContent, ToolResult
from meerkat_rt.model.errors import InvalidRequest, ToolCallSettled

SILENT = fx.InterruptPolicy.FINISH_SILENTLY
RESPOND = fx.InterruptPolicy.FINISH_AND_RESPOND


def calling(hand: Hand, *call_ids: str, name: str = "f", end: bool = True) -> None:
    hand.begin("R1")
    for call_id in call_ids:
        hand.call("R1", call_id, name)
    if end:
        hand.end("R1")


def outcomes(hand: Hand) -> dict[str, str]:
    return {e.call_id: e.outcome.value for e in hand.of(ev.ToolCallFinished)}


def test_a_call_reported_four_times_runs_once():
    hand = Hand(tools=(tool(),))
    called = p.ToolCalled(response_id="R1", call_id="c1", name="f", arguments='{"x": 1}')
    hand.begin("R1")
    hand.see(called, called, called)
    hand.end("R1", calls=(called,))
    hand.see(called)
    assert hand.effects_of(fx.StartTool) == [
        fx.StartTool(call_id="c1", name="f", arguments={"x": 1})
    ]
    assert hand.of(ev.ToolCallRequested) == [ev.ToolCallRequested("c1", "f", {"x": 1})]
    hand.do("tool_returned", result("c1"))
    hand.see(called)
    assert len(hand.effects_of(fx.StartTool)) == 1


def test_a_call_that_only_the_terminal_mentions_is_made():
    hand = Hand(tools=(tool(),))
    hand.begin("R1")
    call = p.ToolCalled(response_id="R1", call_id="c1", name="f", arguments="")
    hand.end("R1", calls=(call,))
    assert hand.effects_of(fx.StartTool)[0].arguments == {}
    assert hand.names(hand.of(ev.ToolCallRequested, ev.TurnCompleted)) == [
        "ToolCallRequested",
        "TurnCompleted",
    ]
    assert hand.of(ev.TurnCompleted)[0].stop_reason is StopReason.TOOL_USE


@pytest.mark.parametrize(
    "status", [p.ResponseStatus.CANCELLED, p.ResponseStatus.INCOMPLETE, p.ResponseStatus.FAILED]
)
def test_calls_of_a_response_that_was_not_completed_are_not_made(status):
    hand = Hand(tools=(tool(),))
    hand.begin("R1")
    call = p.ToolCalled(response_id="R1", call_id="c1", name="f", arguments='{"x"')
    hand.end("R1", status, calls=(call,))
    assert not hand.effects_of(fx.StartTool)
    assert not hand.of(ev.ToolCallRequested)


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [("{", "{"), ("[1]", [1]), ('"x"', "x"), ("7", 7)],
)
def test_unusable_arguments_are_shown_and_answered_but_never_run(arguments, shown):
    hand = Hand(tools=(tool(),))
    hand.begin("R1")
    hand.call("R1", "c1", arguments=arguments)
    assert hand.of(ev.ToolCallRequested)[0].arguments == shown
    (output,) = hand.sent(p.SendToolOutput)
    assert output.is_error
    assert "arguments" in json.loads(output.output)["error"]
    assert outcomes(hand) == {"c1": "error"}
    assert not hand.effects_of(fx.StartTool)


@pytest.mark.parametrize("arguments", ["", "  \n", "{}"])
def test_blank_arguments_are_an_empty_object(arguments):
    hand = Hand(tools=(tool(),))
    hand.begin("R1")
    hand.call("R1", "c1", arguments=arguments)
    assert hand.effects_of(fx.StartTool)[0].arguments == {}


def test_arguments_that_do_not_fit_the_schema_are_an_error_for_the_model():
    hand = Hand(tools=(tool(validate=lambda a: None if "city" in a else "'city' is missing"),))
    calling(hand, "c1")
    (output,) = hand.sent(p.SendToolOutput)
    assert json.loads(output.output) == {"error": "'city' is missing"}
    assert len(hand.sent(p.CreateResponse)) == 1


def test_an_unknown_tool_is_an_error_that_names_the_known_ones():
    hand = Hand(tools=(tool("f"), tool("g")))
    calling(hand, "c1", name="h")
    (output,) = hand.sent(p.SendToolOutput)
    assert output.name == "h"
    assert json.loads(output.output)["error"].endswith("there is: f, g")


def test_the_outputs_of_one_response_are_continued_once():
    hand = Hand(tools=(tool(),))
    calling(hand, "c1", "c2", "c3")
    hand.do("tool_returned", result("c2", "two"))
    hand.do("tool_raised", "c1", "boom")
    assert [c.call_id for c in hand.sent(p.SendToolOutput)] == ["c2", "c1"]  # at once
    assert not hand.sent(p.CreateResponse)
    hand.do("tool_returned", result("c3", "three"))
    assert len(hand.sent(p.CreateResponse)) == 1
    assert all(c.wants_response for c in hand.sent(p.SendToolOutput))


def test_the_continuation_waits_for_the_terminal_of_the_calling_response():
    hand = Hand(tools=(tool(),))
    calling(hand, "c1", end=False)
    hand.do("tool_returned", result("c1"))
    assert hand.sent(p.SendToolOutput)
    assert not hand.sent(p.CreateResponse)
    hand.end("R1")
    assert len(hand.sent(p.CreateResponse)) == 1


def test_continuations_that_both_wait_for_the_slot_are_one():
    hand = Hand(tools=(tool(),))
    calling(hand, "c1")
    hand.begin("R2")
    hand.call("R2", "c2")
    hand.do("tool_returned", result("c1"))
    hand.do("tool_returned", result("c2"))
    hand.end("R2")
    assert len(hand.sent(p.CreateResponse)) == 1
    hand.text_response("R3", "A3", "both", ref=hand.sent(p.CreateResponse)[0].ref)
    assert len(hand.sent(p.CreateResponse)) == 1
    assert hand.machine.ledger_sizes()["requests_queued"] == 0


def test_outputs_carry_the_meaning_without_a_wrapper():
    hand = Hand(tools=(tool(),))
    calling(hand, "c1", "c2")
    hand.do("tool_returned", result("c1", '{"a": 1}'))
    hand.do("tool_returned", ToolResult(tool_use_id="c2", content=[StructuredContent({"b": 2})]))
    assert [c.output for c in hand.sent(p.SendToolOutput)] == ['{"a": 1}', '{"b":2}']


def test_an_error_result_keeps_its_payload_word_for_word():
    hand = Hand(tools=(tool(),))
    calling(hand, "c1", "c2")
    hand.do("tool_returned", result("c1", '{"why": "no"}', is_error=True))
    hand.do("tool_raised", "c2", "said “no”")
    first, second = hand.sent(p.SendToolOutput)
    assert (first.output, first.is_error) == ('{"why": "no"}', True)
    assert json.loads(second.output) == {"error": "said “no”"}
    assert "“" in second.output


# ---------------------------------------------------------------- deadlines and late outcomes


def test_a_call_that_takes_too_long_is_stopped_and_answered():
    hand = Hand(tools=(tool(deadline=2.0),))
    calling(hand, "c1")
    hand.wait(1.999)
    assert not hand.of(ev.ToolCallFinished)
    hand.wait(0.001)
    (finished,) = hand.of(ev.ToolCallFinished)
    assert finished.outcome is ev.ToolOutcome.TIMEOUT
    assert finished.elapsed_ms == 2000
    assert [e.call_id for e in hand.effects_of(fx.CancelTool)] == ["c1"]
    assert "2 s" in hand.sent(p.SendToolOutput)[0].output
    assert len(hand.sent(p.CreateResponse)) == 1
    hand.do("tool_returned", result("c1"))
    hand.do("tool_stopped", "c1")
    assert hand.machine.late_tool_outcomes == 2
    assert outcomes(hand) == {"c1": "timeout"}


def test_the_applications_own_calls_have_the_same_deadline():
    hand = Hand(tools=(tool(handled=False, deadline=3.0),))
    calling(hand, "c1")
    assert not hand.effects_of(fx.StartTool)
    hand.wait(3.0)
    assert outcomes(hand) == {"c1": "timeout"}
    assert not hand.effects_of(fx.CancelTool)
    with pytest.raises(ToolCallSettled):
        hand.do("submit_tool_result", result("c1"))


def test_a_second_outcome_is_refused_and_an_unknown_call_is_invalid():
    hand = Hand(tools=(tool(handled=False),))
    calling(hand, "c1")
    hand.do("submit_tool_result", result("c1", "42"))
    for again in (
        lambda: hand.do("submit_tool_result", result("c1")),
        lambda: hand.do("submit_tool_error", "c1", "no"),
    ):
        with pytest.raises(ToolCallSettled):
            again()
    with pytest.raises(InvalidRequest) as unknown:
        hand.do("submit_tool_error", "c9", "no")
    assert not isinstance(unknown.value, ToolCallSettled)
    assert [c.output for c in hand.sent(p.SendToolOutput)] == ["42"]


def test_a_call_stays_settled_long_after_its_response():
    hand = Hand(tools=(tool(handled=False),))
    calling(hand, "c1")
    hand.do("submit_tool_result", result("c1"))
    hand.text_response("R2", "A2", "so", ref=hand.sent(p.CreateResponse)[0].ref)
    hand.wait(100.0)
    with pytest.raises(ToolCallSettled):
        hand.do("submit_tool_result", result("c1"))


def test_the_application_may_answer_before_the_handler():
    hand = Hand(tools=(tool(),))
    calling(hand, "c1")
    hand.do("submit_tool_result", result("c1", "cached"))
    assert [e.call_id for e in hand.effects_of(fx.CancelTool)] == ["c1"]
    hand.do("tool_stopped", "c1")
    assert outcomes(hand) == {"c1": "result"}


def test_a_handler_that_was_stopped_is_cancelled():
    hand = Hand(tools=(tool(),))
    calling(hand, "c1")
    hand.do("tool_stopped", "c1")
    assert outcomes(hand) == {"c1": "cancelled"}
    assert hand.sent(p.SendToolOutput)[0].is_error


# ---------------------------------------------------------------- interruptions


def test_an_interruption_applies_each_tools_policy():
    hand = Hand(tools=(tool("c"), tool("s", on_interrupt=SILENT), tool("r", on_interrupt=RESPOND)))
    hand.begin("R1")
    for name in ("c", "s", "r"):
        hand.call("R1", f"call_{name}", name)
    assert hand.do("interrupt") == ("call_c",)
    assert outcomes(hand) == {"call_c": "cancelled"}
    (output,) = hand.sent(p.SendToolOutput)
    assert (output.call_id, output.is_error, output.wants_response) == ("call_c", True, False)
    hand.end("R1", p.ResponseStatus.CANCELLED)
    hand.do("tool_returned", result("call_s"))
    assert not hand.sent(p.CreateResponse)
    hand.do("tool_returned", result("call_r"))
    assert [c.wants_response for c in hand.sent(p.SendToolOutput)] == [False, False, True]
    assert len(hand.sent(p.CreateResponse)) == 1


def test_cancelled_calls_are_not_continued():
    hand = Hand(tools=(tool(),))
    calling(hand, "c1", end=False)
    hand.do("tool_returned", result("c1"))
    hand.do("interrupt")
    hand.end("R1", p.ResponseStatus.CANCELLED)
    assert not hand.sent(p.CreateResponse)
    assert hand.sizes().keys() <= {"commands", "deadlines"}


def test_interrupt_reaches_the_calls_of_a_response_that_has_ended():
    hand = Hand(tools=(tool(),))
    calling(hand, "c1", "c2")
    hand.do("tool_returned", result("c1"))
    assert hand.do("interrupt") == ("c2",)
    assert [e.response_id for e in hand.of(ev.Interrupted)] == ["R1"]
    assert not hand.sent(p.CancelResponse)
    assert not hand.sent(p.CreateResponse)
    assert hand.do("interrupt") == ()


def test_speech_over_a_running_tool_interrupts_nothing_while_nothing_is_audible():
    hand = Hand(tools=(tool(),))
    calling(hand, "c1")
    hand.see(p.SpeechStarted(item_id="U1"))
    assert not hand.of(ev.Interrupted)
    assert not hand.effects_of(fx.CancelTool)


def test_speech_over_the_preamble_of_a_tool_call_cancels_the_call():
    hand = Hand(tools=(tool(),))
    hand.begin("R1")
    hand.speak("R1", "A1", "let me see", 2.0)
    hand.call("R1", "c1")
    hand.end("R1")
    hand.see(p.SpeechStarted(item_id="U1"))
    assert outcomes(hand) == {"c1": "cancelled"}


def test_an_interrupt_between_a_result_and_its_continuation_takes_the_continuation_back():
    hand = Hand(tools=(tool(),))
    calling(hand, "c1")
    hand.do("tool_returned", result("c1"))
    (create,) = hand.sent(p.CreateResponse)
    hand.do("interrupt")
    (settled,) = hand.effects_of(fx.SettleRequest)
    assert settled.outcome == fx.Superseded(by="interrupt")
    hand.begin("R2", ref=create.ref)
    assert [c.response_id for c in hand.sent(p.CancelResponse)] == ["R2"]


def test_a_provider_that_revokes_calls_cancels_exactly_those_and_gets_no_answer():
    hand = Hand(tools=(tool(),))
    calling(hand, "c1", "c2")
    hand.see(p.ToolCallsRevoked(("c1", "unknown")))
    assert outcomes(hand) == {"c1": "cancelled"}
    assert hand.of(ev.ToolCallFinished)[0].output is None
    assert not hand.sent(p.SendToolOutput)
    hand.do("tool_returned", result("c2"))
    assert len(hand.sent(p.CreateResponse)) == 1


def test_a_round_of_which_everything_was_revoked_is_not_continued():
    hand = Hand(tools=(tool(),))
    calling(hand, "c1")
    hand.see(p.ToolCallsRevoked(("c1",)))
    assert not hand.sent(p.CreateResponse)


# ---------------------------------------------------------------- elsewhere


def test_a_provider_that_continues_by_itself_is_only_waited_for():
    hand = Hand(tools=(tool(),), provider_continues=True)
    calling(hand, "c1")
    hand.do("tool_returned", result("c1"))
    assert not hand.sent(p.CreateResponse)
    hand.wait(0.75)
    assert len(hand.of(ev.Nudged)) == 1


def test_calls_of_an_out_of_band_response_are_not_continued():
    hand = Hand(tools=(tool("f"), tool("g", handled=False)))
    hand.begin("O1", in_conversation=False)
    hand.call("O1", "c1", "f")
    hand.call("O1", "c2", "g", '{"label": "spam"}')
    hand.end("O1", in_conversation=False)
    assert hand.of(ev.ToolCallRequested)[1].arguments == {"label": "spam"}
    hand.do("tool_returned", result("c1"))
    assert outcomes(hand) == {"c2": "result", "c1": "result"}
    assert not hand.sent()
    assert hand.sizes() == {}


def test_an_output_that_the_provider_does_not_know_is_reported_and_nothing_else():
    hand = Hand(tools=(tool(),))
    calling(hand, "c1")
    hand.do("tool_returned", result("c1"))
    ref = hand.sent(p.SendToolOutput)[0].ref
    hand.see(
        p.CommandRefused(
            meaning=p.ErrorMeaning.UNKNOWN_CALL, fault=ev.ProviderFault(code="gone"), ref=ref
        )
    )
    (report,) = hand.of(ev.ProviderErrorReported)
    assert (report.command, report.fault.code) == ("conversation.item.create", "gone")


def test_new_tools_are_known_when_the_provider_has_applied_them():
    hand = Hand(tools=(tool("f"),))
    ref = hand.do("update_session", {}, (tool("g"),))
    hand.begin("R1")
    hand.call("R1", "c1", "f")
    assert len(hand.effects_of(fx.StartTool)) == 1
    hand.see(p.SessionUpdated())
    assert fx.SettleCommand(ref=ref) in hand.effects
    hand.call("R1", "c2", "g")
    hand.call("R1", "c3", "f")
    assert [e.name for e in hand.effects_of(fx.StartTool)] == ["f", "g"]
    assert outcomes(hand) == {"c3": "error"}


def test_a_refused_update_leaves_the_tools():
    hand = Hand(tools=(tool("f"),))
    ref = hand.do("update_session", {}, (tool("g"),))
    fault = ev.ProviderFault(code="no")
    hand.see(p.CommandRefused(meaning=p.ErrorMeaning.CONFIG_REFUSED, fault=fault, ref=ref))
    assert fx.SettleCommand(ref=ref, fault=fault) in hand.effects
    calling(hand, "c1")
    assert hand.effects_of(fx.StartTool)


def test_closing_cancels_every_call_and_sends_no_output():
    hand = Hand(tools=(tool(), tool("mine", handled=False)))
    calling(hand, "c1", "c2")
    hand.call("R1", "c3", "mine")
    hand.do("close")
    assert outcomes(hand) == {"c1": "cancelled", "c2": "cancelled"}
    assert [e.call_id for e in hand.effects_of(fx.CancelTool)] == ["c1", "c2"]
    assert not hand.sent(p.SendToolOutput)
    assert hand.sizes() == {}


def test_a_lost_link_lets_tools_finish_but_sends_nothing():
    hand = Hand(tools=(tool(),))
    calling(hand, "c1")
    hand.do("link_lost")
    hand.do("tool_returned", result("c1"))
    assert hand.of(ev.ToolCallFinished)[0].output is None
    assert outcomes(hand) == {"c1": "result"}
    assert not hand.sent()
