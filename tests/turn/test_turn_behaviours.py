"""What a session does with what a provider says: normalization, turns, interruptions, tools."""

from __future__ import annotations

import pytest
from turnkit import EXPLICIT, FMT, Hand, ev, fx, p, result, tool

from meerkat_rt.model import transcript as tr
from meerkat_rt.model.conversation import StopReason, Usage
from meerkat_rt.turn import ports
from meerkat_rt.turn.machine import SessionMachine
from meerkat_rt.turn.nudge import NudgePhase
from meerkat_rt.turn.routing import HANDLERS

BUSY = ev.ProviderFault(code="conversation_already_has_active_response")


def busy(hand: Hand, ref: str | None = None) -> None:
    hand.see(p.CommandRefused(meaning=p.ErrorMeaning.ACTIVE_RESPONSE, fault=BUSY, ref=ref))


def told(hand: Hand, *types: type) -> list[str]:
    return hand.names(hand.of(*types))


# ---------------------------------------------------------------- normalization


def test_a_whole_run_is_told_in_the_order_in_which_it_happened():
    hand = Hand(tools=(tool(),))
    hand.see(
        p.InputTranscriptDelta(item_id="U1", delta="hel"),
        p.InputTranscriptDone(item_id="U1", text="hello"),
        p.SpeechStarted(item_id="U2"),
        p.InputCommitted(item_id="U2", previous_item_id="U1"),
        p.TextDelta("e1", "R1", "A1", "hi"),
        p.AudioDelta("R1", "A2", b"\0\0"),
        p.ToolCalled(response_id="R1", call_id="c1", name="f", arguments="{}"),
        p.ResponseEnded(response_id="R1", status=p.ResponseStatus.CANCELLED),
    )
    quiet = (ev.RealtimeTranscript, ev.InputSpeechStarted, ev.ResponseStarted, ev.ToolCallFinished)
    assert [
        n for n, e in zip(told(hand, object), hand.events, strict=True) if type(e) not in quiet
    ] == [
        "InputTranscriptPartial",
        "InputTranscriptFinalForItem",
        "TurnStarted",
        "TurnCommitted",
        "OutputTextDeltaForItem",
        "OutputAudioChunk",
        "ToolCallRequested",
        "Interrupted",
        "TurnCompleted",
    ]
    assert hand.of(ev.TurnCompleted)[0].stop_reason is StopReason.CANCELLED


@pytest.mark.parametrize(("called", "stop"), [(True, "tool_use"), (False, "end_turn")])
def test_a_completed_response_ends_in_tool_use_exactly_if_it_called_a_tool(called, stop):
    hand = Hand(tools=(tool(),))
    hand.begin("R1")
    if called:
        hand.call("R1", "c1")
    hand.end("R1")
    assert hand.of(ev.TurnCompleted)[0].stop_reason.value == stop


def test_a_call_that_could_not_be_understood_is_a_call_all_the_same():
    hand = Hand()
    hand.begin("R1")
    hand.call("R1", "c1", arguments="{")
    hand.end("R1")
    assert hand.of(ev.TurnCompleted)[0].stop_reason is StopReason.TOOL_USE


def test_a_call_item_is_skipped_with_its_predecessor_and_is_the_predecessor_of_what_follows():
    hand = Hand()
    hand.user_turn("U1", "hello")
    hand.see(
        p.OutputItemBegan(response_id="R1", item_id="F1", kind=p.ItemKind.TOOL_CALL),
        p.ItemAdded(item_id="F1", previous_item_id="U1", kind=p.ItemKind.TOOL_CALL),
    )
    assert hand.wrote(tr.ItemSkipped) == [tr.ItemSkipped(item_id="F1", previous_item_id="U1")]
    hand.see(p.InputCommitted(item_id="U2", previous_item_id="F1"))
    hand.see(p.InputTranscriptDone(item_id="U2", text="again"))
    assert hand.of(ev.InputTranscriptFinalForItem)[-1].previous_item_id == "F1"


def done(text: str, item: str = "A1") -> p.TranscriptDone:
    return p.TranscriptDone(event_id="d", response_id="R1", item_id=item, text=text)


def test_spoken_text_is_completed_by_its_final():
    hand = Hand()
    hand.begin("R1")
    hand.see(p.TranscriptDelta("e1", "R1", "A1", "hel"), done("hello"))
    assert [e.delta for e in hand.of(ev.OutputAudioTranscriptDeltaForItem)] == ["hel", "lo"]
    assert [e.text for e in hand.of(ev.AssistantTranscriptFinal)] == ["hello"]
    assert told(hand, ev.OutputAudioTranscriptDeltaForItem, ev.AssistantTranscriptFinal)[-1] == (
        "AssistantTranscriptFinal"
    )


def test_a_final_without_deltas_is_told_whole_first():
    hand = Hand()
    hand.begin("R1")
    hand.see(done("hello"))
    assert [e.delta for e in hand.of(ev.OutputAudioTranscriptDeltaForItem)] == ["hello"]
    assert [e.text for e in hand.of(ev.AssistantTranscriptFinal)] == ["hello"]


def test_a_final_that_says_something_else_replaces_the_text_without_another_delta():
    hand = Hand()
    hand.begin("R1")
    hand.see(p.TranscriptDelta("e1", "R1", "A1", "hallo"), done("hello"))
    hand.end("R1")
    assert [e.delta for e in hand.of(ev.OutputAudioTranscriptDeltaForItem)] == ["hallo"]
    assert hand.texts == ["hello"]


def test_an_empty_final_does_not_erase_what_was_said():
    hand = Hand()
    hand.begin("R1")
    hand.see(p.TranscriptDelta("e1", "R1", "A1", "hello"), done(""))
    hand.end("R1")
    assert [e.text for e in hand.of(ev.AssistantTranscriptFinal)] == [""]
    assert hand.texts == ["hello"]


def test_written_text_is_completed_by_its_final():
    hand = Hand()
    hand.begin("R1")
    hand.see(
        p.TextDelta("e1", "R1", "A1", "hel"),
        p.TextDone(event_id="d1", response_id="R1", item_id="A1", text="hello"),
        p.TextDone(event_id="d2", response_id="R1", item_id="A2", text="whole"),
        p.TextDone(event_id="d3", response_id="R1", item_id="A2", text="whole"),
        p.TextDone(event_id="d4", response_id="R1", item_id="A2", text="other"),
    )
    assert [e.delta for e in hand.of(ev.OutputTextDeltaForItem)] == ["hel", "lo", "whole"]
    hand.end("R1")
    assert [text for _, text in hand.history] == ["hello", "whole"]


def test_written_and_spoken_text_keep_their_order_of_arrival_on_two_lanes():
    hand = Hand()
    hand.begin("R1")
    hand.see(
        p.TextDelta("e1", "R1", "A1", "written "),
        p.TranscriptDelta("e2", "R1", "A2", "spoken "),
        p.TextDelta("e3", "R1", "A1", "text"),
        p.TranscriptDelta("e4", "R1", "A2", "words"),
    )
    lanes = hand.wrote(tr.AssistantTextDelta, tr.AssistantTranscriptDelta)
    assert [(type(e).__name__, e.item_id, e.response_id, e.delta_id) for e in lanes] == [
        ("AssistantTextDelta", "A1", "R1", "e1"),
        ("AssistantTranscriptDelta", "A2", "R1", "e2"),
        ("AssistantTextDelta", "A1", "R1", "e3"),
        ("AssistantTranscriptDelta", "A2", "R1", "e4"),
    ]


def test_audio_carries_the_negotiated_format_and_its_whole_identity():
    hand = Hand()
    hand.begin("R1")
    hand.see(p.AudioDelta("R1", "A1", b"\1\2", 3))
    (chunk,) = hand.of(ev.OutputAudioChunk)
    assert chunk.chunk.format() == FMT
    assert (chunk.chunk.data, chunk.response_id, chunk.item_id, chunk.content_index) == (
        b"\1\2",
        "R1",
        "A1",
        3,
    )


def test_deltas_carry_the_remembered_predecessor_of_their_item():
    hand = Hand()
    hand.user_turn("U1", "hello")
    hand.begin("R1")
    hand.item("R1", "A1", "U1")
    hand.see(
        p.TextDelta("e1", "R1", "A1", "x"), p.TranscriptDelta("e2", "R1", "A1", "y"), done("y")
    )
    events = hand.of(
        ev.OutputTextDeltaForItem,
        ev.OutputAudioTranscriptDeltaForItem,
        ev.AssistantTranscriptFinal,
    )
    assert {e.previous_item_id for e in events} == {"U1"}


def test_a_tool_of_the_provider_is_told_and_not_asked_of_us():
    hand = Hand(tools=(tool("search"),))
    hand.see(
        p.ServerToolProgress(item_id="M1", status="requested", name="search"),
        p.ServerToolProgress(item_id="M1", status="requested", arguments='{"q": "x"}'),
    )
    assert hand.of(ev.ProviderToolCall) == [
        ev.ProviderToolCall(
            item_id="M1", tool_name="search", arguments='{"q": "x"}', status="requested"
        )
    ]
    assert not hand.effects_of(fx.StartTool)


def test_a_call_of_the_provider_that_ends_before_it_was_whole_is_told_anyway():
    hand = Hand()
    hand.see(p.ServerToolProgress(item_id="M1", status="failed", name="search"))
    assert [e.status for e in hand.of(ev.ProviderToolCall)] == ["requested", "failed"]


def test_text_that_equals_the_arguments_of_a_call_is_text():
    hand = Hand()
    hand.begin("R1")
    hand.see(
        p.ServerToolProgress(item_id="M1", status="requested", name="s", arguments='{"q":1}'),
        p.TextDelta("e1", "R1", "A1", '{"q":1}'),
    )
    assert [e.delta for e in hand.of(ev.OutputTextDeltaForItem)] == ['{"q":1}']


def test_unknown_frames_and_broken_ones_are_told_and_survived():
    hand = Hand()
    hand.see(
        p.UnknownFrame(type="response.brand_new", raw=b"{}"),
        p.ProtocolFault(message="not JSON", raw=b"{"),
        p.GoingAway(time_left=10.0),
        p.SessionCreated(session_id="s"),
        p.SeedAcknowledged("S1"),
    )
    assert hand.events == [
        ev.UnknownProviderEvent(type="response.brand_new", raw=b"{}"),
        ev.ProviderErrorReported(fault=ev.ProviderFault(code="protocol_fault", message="not JSON")),
    ]
    assert hand.effects == [fx.LinkEnding(time_left=10.0)]  # the runtime's affair


def test_every_event_of_the_ports_has_a_handler():
    machine = SessionMachine(Hand().settings)
    assert set(HANDLERS) == set(ports.ProviderEvent.__args__)
    for part, handle in HANDLERS.values():
        owner = type(part(machine))
        assert owner is SessionMachine or getattr(owner, handle.__name__) is handle


def test_usage_is_summed_over_all_terminals_and_counted_once_each():
    hand = Hand()
    for name, kwargs in (("R1", {}), ("O1", {"in_conversation": False}), ("R2", {})):
        hand.begin(name, **kwargs)
        for _ in range(2):
            hand.end(name, usage=Usage(input_tokens=2, output_tokens=3), **kwargs)
    assert hand.machine.usage == Usage(input_tokens=6, output_tokens=9)


# ---------------------------------------------------------------- turns and nudges


def owed_phase(hand: Hand) -> tuple[NudgePhase, int]:
    request = hand.machine._slot.owed
    if request is None:
        request = next(iter(hand.machine._slot.active.answers))
    return request.nudge.phase, request.nudge.attempts


def test_a_commit_awaits_an_answer_and_its_beginning_acknowledges():
    hand = Hand()
    hand.user_turn("U1", "hello")
    assert owed_phase(hand) == (NudgePhase.AWAITING, 0)
    hand.begin("R1")
    assert owed_phase(hand) == (NudgePhase.ACKNOWLEDGED, 0)


def test_a_refused_nudge_is_an_acknowledgement_that_keeps_the_count():
    hand = Hand()
    hand.user_turn("U1", "hello")
    hand.wait(0.75)
    busy(hand, hand.sent(p.CreateResponse)[0].ref)
    assert owed_phase(hand) == (NudgePhase.ACKNOWLEDGED, 1)
    assert not hand.of(ev.ProviderErrorReported)


@pytest.mark.parametrize("nudged", [True, False])
def test_a_refusal_after_output_has_started_stays_internal(nudged):
    hand = Hand()
    hand.user_turn("U1", "hello")
    if nudged:
        hand.wait(0.75)
    hand.begin("R1")
    hand.see(p.TextDelta("e1", "R1", "A1", "one "))
    busy(hand)
    hand.see(p.TextDelta("e2", "R1", "A1", "two"))
    assert [e.delta for e in hand.of(ev.OutputTextDeltaForItem)] == ["one ", "two"]
    assert not hand.of(ev.ProviderErrorReported)


def test_repeated_refusals_stay_internal_until_the_response_ends():
    hand = Hand()
    hand.user_turn("U1", "hello")
    hand.wait(0.75)
    for _ in range(3):
        busy(hand, hand.sent(p.CreateResponse)[0].ref)
    hand.begin("R1")
    assert owed_phase(hand) == (NudgePhase.ACKNOWLEDGED, 1)
    hand.end("R1")
    assert not hand.of(ev.ProviderErrorReported)
    assert hand.sizes() == {}


def test_an_acknowledged_turn_that_stays_silent_stalls_and_the_session_lives():
    hand = Hand(nudge_timeout=0.005, nudge_max_attempts=1)
    hand.user_turn("U1", "hello")
    hand.begin("R1")
    hand.wait(0.01)
    assert hand.of(ev.Stalled) == [ev.Stalled(attempts=1, waited_ms=10)]
    assert not hand.effects_of(fx.EndSession)


def test_a_terminal_right_after_the_beginning_is_told():
    hand = Hand()
    hand.user_turn("U1", "hello")
    hand.begin("R1")
    hand.end("R1")
    assert hand.of(ev.TurnCompleted)[0].stop_reason is StopReason.END_TURN
    hand.wait(60.0)
    assert not hand.of(ev.Nudged)


def test_a_stale_terminal_after_a_new_commit_is_not_told_again():
    hand = Hand()
    hand.text_response("R1", "A1", "x")
    hand.user_turn("U2", "more", previous="A1")
    hand.end("R1")
    hand.begin("R2")
    hand.end("R1")
    hand.end("R2")
    assert [e.response_id for e in hand.of(ev.TurnCompleted)] == ["R1", "R2"]


def test_a_continuation_completes_whenever_the_old_terminal_comes():
    hand = Hand(tools=(tool(),))
    hand.begin("R1")
    hand.call("R1", "c1")
    hand.do("tool_returned", result("c1"))
    hand.begin("R2")  # the provider continues before it ends the old one
    hand.end("R1")
    hand.end("R2")
    assert [e.response_id for e in hand.of(ev.TurnCompleted)] == ["R1", "R2"]


def test_a_refresh_is_one_update_and_what_comes_meanwhile_is_told():
    hand = Hand()
    hand.begin("R1")
    ref = hand.do("update_session", {"instructions": "x"}, None)
    hand.see(p.TextDelta("e1", "R1", "A1", "meanwhile"), p.SessionUpdated())
    assert hand.sent() == [p.UpdateSession(ref=ref, projection={"instructions": "x"})]
    assert hand.of(ev.OutputTextDeltaForItem)
    assert hand.effects_of(fx.SettleCommand) == [fx.SettleCommand(ref=ref)]


def test_two_updates_are_acknowledged_in_their_order():
    hand = Hand()
    refs = [hand.do("update_session", {"n": n}, None) for n in range(2)]
    hand.see(p.SessionUpdated(), p.SessionUpdated(), p.SessionUpdated())
    assert [e.ref for e in hand.effects_of(fx.SettleCommand)] == refs


# ---------------------------------------------------------------- interruptions


def test_interrupt_names_the_active_response():
    hand = Hand()
    hand.begin("R1")
    hand.do("interrupt")
    assert [c.response_id for c in hand.sent(p.CancelResponse)] == ["R1"]


def test_after_a_barge_in_the_first_interrupt_means_the_dying_response_and_the_next_the_new_one():
    hand = Hand()
    hand.begin("R1")
    hand.speak("R1", "A1", "x", 1.0)
    hand.see(p.SpeechStarted(item_id="U1"))
    hand.do("interrupt")
    hand.do("interrupt")
    hand.end("R1", p.ResponseStatus.CANCELLED)
    hand.see(p.InputCommitted(item_id="U1"))
    hand.begin("R2")
    hand.do("interrupt")
    assert [c.response_id for c in hand.sent(p.CancelResponse)] == ["R1", "R2"]


def test_a_redundant_cancel_is_swallowed_and_forgotten():
    hand = Hand()
    hand.begin("R1")
    hand.do("interrupt")
    ref = hand.sent(p.CancelResponse)[0].ref
    hand.end("R1", p.ResponseStatus.CANCELLED)
    hand.see(
        p.CommandRefused(
            meaning=p.ErrorMeaning.NOTHING_TO_CANCEL, fault=ev.ProviderFault(), ref=ref
        )
    )
    assert not hand.of(ev.ProviderErrorReported)
    assert hand.sizes() == {}


def test_speech_over_audio_interrupts_before_the_turn_starts():
    hand = Hand()
    hand.begin("R1")
    hand.speak("R1", "A1", "x", 1.0)
    hand.see(p.SpeechStarted(item_id="U1"))
    assert told(hand, ev.Interrupted, ev.InputSpeechStarted, ev.TurnStarted) == [
        "Interrupted",
        "InputSpeechStarted",
        "TurnStarted",
    ]
    assert hand.of(ev.Interrupted) == [ev.Interrupted("R1")]


def test_a_commit_over_audio_without_announced_speech_interrupts_too():
    hand = Hand()
    hand.begin("R1")
    hand.speak("R1", "A1", "x", 1.0)
    hand.see(p.InputCommitted(item_id="U1"))
    assert told(hand, ev.Interrupted, ev.TurnStarted, ev.TurnCommitted) == [
        "Interrupted",
        "TurnStarted",
        "TurnCommitted",
    ]


def test_audio_that_began_under_the_users_speech_is_cancelled_by_the_commit():
    hand = Hand()
    hand.see(p.SpeechStarted(item_id="U1"))
    hand.begin("R1")  # an answer to something older, in the middle of the user's sentence
    hand.speak("R1", "A1", "x", 1.0)
    hand.see(p.InputCommitted(item_id="U1"))
    assert [c.response_id for c in hand.sent(p.CancelResponse)] == ["R1"]
    assert told(hand, ev.TurnStarted, ev.Interrupted, ev.TurnCommitted) == [
        "TurnStarted",
        "Interrupted",
        "TurnCommitted",
    ]


@pytest.mark.parametrize("again", [True, False])
def test_a_cancelled_terminal_is_one_interrupted_and_then_one_completed(again):
    hand = Hand()
    hand.begin("R1")
    hand.speak("R1", "A1", "x", 1.0)
    for _ in range(2 if again else 1):
        hand.end("R1", p.ResponseStatus.CANCELLED)
    assert told(hand, ev.Interrupted, ev.TurnCompleted) == ["Interrupted", "TurnCompleted"]


def test_speech_and_then_the_cancelled_terminal_interrupt_once():
    hand = Hand()
    hand.begin("R1")
    hand.speak("R1", "A1", "x", 1.0)
    hand.see(p.SpeechStarted(item_id="U1"))
    hand.end("R1", p.ResponseStatus.CANCELLED)
    assert told(hand, ev.Interrupted, ev.TurnStarted, ev.TurnCompleted) == [
        "Interrupted",
        "TurnStarted",
        "TurnCompleted",
    ]


def test_one_response_can_be_interrupted_alone():
    hand = Hand(provider_interrupts=False)
    for number in (1, 2):  # the first has ended, and still sounds
        hand.begin(f"R{number}")
        hand.item(f"R{number}", f"A{number}")
        hand.speak(f"R{number}", f"A{number}", "x", 5.0)
        hand.deliver(f"A{number}", 5.0)
        if number == 1:
            hand.end("R1")
    waiting = hand.do("request_response", p.ResponseOptions())
    hand.do("interrupt", response_id="R9")  # of which nobody has heard
    assert not hand.of(ev.Interrupted)
    hand.do("interrupt", response_id="R1")
    hand.do("interrupt", response_id="R1")
    assert hand.of(ev.Interrupted) == [ev.Interrupted("R1")]
    assert not hand.sent(p.CancelResponse), "it has ended: there is nothing to cancel"
    hand.do("interrupt", response_id="R2")
    assert hand.of(ev.Interrupted) == [ev.Interrupted("R1"), ev.Interrupted("R2")]
    assert [cancel.response_id for cancel in hand.sent(p.CancelResponse)] == ["R2"]
    assert hand.outcome(waiting) is None
    hand.end("R2", p.ResponseStatus.CANCELLED)
    assert len(hand.sent(p.CreateResponse)) == 1, "what was asked since goes on"


def test_a_response_that_is_not_in_the_conversation_is_stopped_by_its_id_alone():
    hand = Hand(provider_interrupts=False, tools=(tool(),))
    hand.begin("R1")
    request = hand.do("request_response", p.ResponseOptions(in_conversation=False))
    (create,) = hand.sent(p.CreateResponse)
    hand.begin("O1", ref=create.ref, in_conversation=False)
    hand.speak("O1", "X1", "psst", 2.0)
    hand.call("O1", "C1")
    hand.do("interrupt")
    assert hand.of(ev.Interrupted) == [ev.Interrupted("R1")]
    assert hand.do("interrupt", response_id="O1") == ("C1",)
    assert hand.of(ev.Interrupted) == [ev.Interrupted("R1"), ev.Interrupted("O1")]
    assert [cancel.response_id for cancel in hand.sent(p.CancelResponse)] == ["R1", "O1"]
    assert fx.FlushOutput("O1") in hand.effects
    heard = len(hand.events)
    hand.see(p.OutputItemBegan(response_id="O1", item_id="X2", kind=p.ItemKind.ASSISTANT))
    hand.speak("O1", "X2", "and on", 2.0)
    assert len(hand.events) == heard, "what still comes of it is for nobody"
    hand.end("O1", p.ResponseStatus.CANCELLED, in_conversation=False)
    assert hand.outcome(request) == fx.Answered(response_id="O1", stop_reason=StopReason.CANCELLED)
    hand.end("R1", p.ResponseStatus.CANCELLED)
    assert not [entry for entry in hand.transcript if entry.response_id == "O1"]
    assert not hand.sent(p.TruncateItem, p.DeleteItem), "the conversation has nothing of it"
    hand.do("tool_stopped", "C1")
    hand.wait(5.0)  # nobody acknowledges a cancellation
    assert hand.sizes() == {}


def test_so_is_one_whose_end_the_provider_does_not_tell():
    hand = Hand()
    hand.begin("O1", in_conversation=False)
    hand.do("interrupt", response_id="O1")
    hand.wait(5.0)
    (end,) = hand.of(ev.TurnCompleted)
    assert (end.response_id, end.error.code) == ("O1", "cancel_timeout")
    assert hand.transcript == []
    assert hand.sizes() == {}


def test_a_written_response_survives_speech():
    hand = Hand()
    hand.begin("R1")
    hand.see(p.TextDelta("e1", "R1", "A1", "one "))
    hand.see(p.SpeechStarted(item_id="U1"))
    hand.see(p.TextDelta("e2", "R1", "A1", "two"))
    assert not hand.of(ev.Interrupted)
    assert [e.delta for e in hand.of(ev.OutputTextDeltaForItem)] == ["one ", "two"]
    hand.end("R1")
    assert hand.texts == ["one two"]


def test_a_written_response_that_the_provider_cancels_over_speech_keeps_its_words():
    hand = Hand()
    hand.begin("R1")
    hand.see(p.TextDelta("e1", "R1", "A1", "one "), p.SpeechStarted(item_id="U1"))
    hand.end("R1", p.ResponseStatus.CANCELLED, reason="turn_detected")
    assert told(hand, ev.Interrupted, ev.TurnCompleted) == ["Interrupted", "TurnCompleted"]
    assert hand.texts == ["one "]


# ---------------------------------------------------------------- tools, commands, determinism


def test_a_result_is_sent_before_the_continuation_is_requested():
    hand = Hand(tools=(tool(),))
    hand.begin("R1")
    hand.call("R1", "c1")
    hand.end("R1")
    hand.do("tool_returned", result("c1"))
    assert [type(c) for c in hand.sent()] == [p.SendToolOutput, p.CreateResponse]


def test_audio_text_commit_and_interrupt_are_sent_in_order():
    hand = Hand(turning_mode=EXPLICIT)
    hand.do("audio_appended", 4800)
    hand.do("send_text", "and this", respond=True)
    hand.do("commit_turn", None)
    hand.begin("R1", ref=hand.sent(p.CreateResponse)[0].ref)
    hand.do("interrupt")
    assert [type(c) for c in hand.sent()] == [
        p.CreateItem,
        p.CommitAudio,
        p.CreateResponse,
        p.CancelResponse,
    ]


def test_raw_events_are_sent_as_they_are_and_their_errors_are_named():
    hand = Hand()
    payload = {"type": "conversation.item.retrieve", "item_id": "A1"}
    ref = hand.do("send_raw", payload)
    assert hand.sent() == [p.SendRaw(ref=ref, payload=payload)]
    fault = ev.ProviderFault(code="item_retrieve_invalid_item_id")
    hand.see(p.CommandRefused(meaning=p.ErrorMeaning.UNKNOWN_ITEM, fault=fault, ref=ref))
    assert hand.of(ev.ProviderErrorReported) == [
        ev.ProviderErrorReported(fault=fault, command="raw")
    ]


def test_a_raw_event_is_a_json_object():
    hand = Hand()
    with pytest.raises(Exception, match="JSON object"):
        hand.do("send_raw", ["not", "one"])
    assert not hand.effects


def test_ids_are_short_unique_and_depend_on_the_seed_alone():
    def ids(seed: int) -> list[str]:
        hand = Hand(seed=seed)
        for number in range(3):
            hand.do("send_text", str(number), respond=True)
        return [getattr(c, "item_id", "") + c.ref for c in hand.sent()]

    assert ids(1) == ids(1)
    assert not set(ids(1)) & set(ids(2))
    hand = Hand(seed=2**200)
    assert len(hand.do("send_text", "x", respond=False)) <= 32


def test_the_lists_of_a_drain_are_the_callers():
    hand = Hand()
    hand.machine.observe(p.SpeechStarted(), hand.now)
    events, _, _ = hand.machine.drain()
    events.clear()
    hand.machine.observe(p.SpeechStopped(), hand.now)
    assert len(hand.machine.drain()[0]) == 1


def test_deltas_may_stay_until_something_else_is_said_of_the_transcript():
    hand = Hand()
    hand.begin("R")
    hand.item("R", "A")
    hand.keep_runs = True
    before = len(hand.transcript)
    for n, word in enumerate(("one ", "two ", "three ")):
        said = hand.see(p.TranscriptDelta(f"e{n}", "R", "A", word))
        assert [event.delta for event in said] == [word]
    assert len(hand.transcript) == before
    hand.machine.observe(p.TextDelta("e3", "R", "B", "four"), hand.now)
    _, (run, *others), _ = hand.machine.drain(keep_run=True)
    assert (run.delta_ids, run.deltas) == (["e0", "e1", "e2"], ["one ", "two ", "three "])
    assert others
    hand.machine.observe(p.TranscriptDelta("e4", "R", "A", "five"), hand.now)
    assert hand.machine.drain(keep_run=True)[1] == ()
    assert [delta.delta for delta in hand.machine.drain()[1]] == ["five"]
    assert not hand.machine.drain()[1]
