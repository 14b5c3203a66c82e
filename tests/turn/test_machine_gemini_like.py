"""The machine with a provider that has no response ids, cancels nothing and truncates nothing.

It answers turns by itself, goes on by itself after tools, and says only that it was interrupted and
that its turn is over.  The last test lets a real codec and the machine talk to each other in random
conversations.
"""

from __future__ import annotations

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.damage import gemini_messages
from turnkit import EXPLICIT, PROVIDER_MANAGED, Hand, ev, fx, p, result, tool

from meerkat_rt.model.conversation import StopReason, Usage
from meerkat_rt.model.errors import LlmError
from meerkat_rt.providers.gemini import AiStudio, GeminiDialect


def gemini(**changes):
    lacking = {"interrupt_supported": False, "truncate_supported": False, "nudge_supported": False}
    return Hand(
        **{
            **lacking,
            "provider_continues": True,
            "echoes_refs": False,
            "nudge_timeout": 2.5,
            **changes,
        }
    )


def test_an_inferred_commit_says_so_and_its_answer_answers_it():
    hand = gemini()
    hand.see(p.InputCommitted(item_id="u", inferred=True), p.ResponseBegan(response_id="r"))
    assert hand.of(ev.TurnCommitted) == [ev.TurnCommitted(inferred=True)]
    hand.speak("r", "s", "Hi", 1)
    hand.see(p.InputTranscriptDone(item_id="u", text="Hello"))
    hand.end("r")
    hand.deliver("s", 1)
    hand.wait(20)
    assert hand.texts == ["Hello", "Hi"]
    assert hand.of(ev.Nudged, ev.Stalled) == []
    assert hand.sent() == []


def test_an_interruption_cuts_without_cancelling_or_truncating():
    hand = gemini()
    hand.begin("r")
    hand.speak("r", "s", "one two three four", 4)
    hand.deliver("s", 4)
    hand.wait(2)
    hand.see(p.ResponseInterrupted(response_id="r"))
    assert hand.of(ev.Interrupted) == [ev.Interrupted("r")]
    assert hand.effects_of(fx.FlushOutput) == [fx.FlushOutput("r")]
    hand.see(p.AudioDelta("r", "s", bytes(100)))
    hand.end("r", p.ResponseStatus.CANCELLED)
    assert hand.of(ev.TurnCompleted)[0].stop_reason is StopReason.CANCELLED
    assert hand.sent() == []
    assert len(hand.of(ev.Interrupted)) == 1
    hand.do("close")
    assert hand.texts == ["one two"]


def test_an_interruption_of_what_has_ended_cuts_what_still_plays():
    hand = gemini()
    hand.begin("r")
    hand.speak("r", "s", "one two three four", 4)
    hand.spoken("r", "s", "one two three four")
    hand.end("r")
    hand.deliver("s", 4)
    hand.wait(2)
    hand.see(p.ResponseInterrupted())
    assert hand.of(ev.Interrupted) == [ev.Interrupted("r")]
    hand.do("close")
    assert hand.texts == ["one two"]


def test_an_interruption_without_anything_to_be_heard_means_nothing():
    hand = gemini()
    assert hand.see(p.ResponseInterrupted()) == []
    hand.begin("r")
    hand.speak("r", "s", "Hi", 1)
    hand.end("r")
    hand.deliver("s", 1)
    hand.wait(2)
    assert hand.see(p.ResponseInterrupted(response_id="r")) == []
    assert hand.of(ev.TurnStarted) == []


def test_an_interruption_by_the_user_supersedes_what_waits_and_one_by_us_does_not():
    for by_user in (True, False):
        hand = gemini()
        hand.begin("r")
        hand.speak("r", "s", "Hi", 1)
        request = hand.do("request_response", p.ResponseOptions())
        hand.see(p.ResponseInterrupted(response_id="r", by_user=by_user))
        assert isinstance(hand.outcome(request), fx.Superseded) is by_user
        assert bool(hand.of(ev.TurnStarted)) is by_user
        hand.end("r", p.ResponseStatus.CANCELLED)
        assert len(hand.sent(p.CreateResponse)) == (0 if by_user else 1)


def test_a_silent_response_can_be_interrupted_too():
    hand = gemini()
    hand.begin("r")
    hand.see(p.OutputProgress(response_id="r"), p.ResponseInterrupted(response_id="r"))
    assert hand.of(ev.Interrupted) == [ev.Interrupted("r")]


def test_the_application_interrupts_locally_and_the_terminal_is_synthesized():
    hand = gemini()
    hand.begin("r")
    hand.speak("r", "s", "Hi", 1)
    hand.do("interrupt")
    assert hand.sent(p.CancelResponse) == []
    hand.wait(5)
    (done,) = hand.of(ev.TurnCompleted)
    assert done.error.code == "cancel_timeout"
    hand.end("r")
    assert len(hand.of(ev.TurnCompleted)) == 1


def test_answers_to_tools_are_continued_by_the_provider():
    hand = gemini(tools=(tool(),))
    hand.begin("r")
    hand.call("r", "a")
    hand.call("r", "b")
    for call_id in ("a", "b"):
        hand.do("tool_returned", result(call_id))
    hand.end("r")
    hand.text_response("r2", "s", "Done")
    hand.wait(30)
    assert len(hand.sent(p.SendToolOutput)) == 2
    assert hand.sent(p.CreateResponse) == []
    assert hand.of(ev.Stalled) == []


def test_revoked_calls_are_cancelled_unanswered_and_continue_nothing():
    hand = gemini(tools=(tool(),))
    hand.begin("r")
    hand.call("r", "a")
    hand.see(p.ToolCallsRevoked(("a", "unknown")))
    hand.end("r")
    hand.wait(30)
    assert hand.sent() == []
    assert hand.of(ev.ToolCallFinished)[0].outcome == "cancelled"
    assert [effect.call_id for effect in hand.effects_of(fx.CancelTool)] == ["a"]
    assert hand.of(ev.Stalled) == []
    assert hand.sizes() == {}


def test_usage_outside_of_responses_is_counted():
    hand = gemini()
    hand.see(p.UsageReported(Usage(input_tokens=3, output_tokens=4)))
    assert hand.machine.usage == Usage(input_tokens=3, output_tokens=4)


def test_what_the_runtime_alone_needs_disturbs_nothing():
    hand = gemini()
    assert hand.see(p.ResumptionUpdated(handle="h"), p.GoingAway(time_left=1.0)) == []


# ---------------------------------------------------------------- codec and machine together

SERVER = gemini_messages("AAAA" * 400, " ")
APPLICATION = st.sampled_from(
    ["audio", "text", "say", "commit", "respond", "interrupt", "tool", "wait", "written"]
)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.booleans(), st.lists(SERVER | APPLICATION, max_size=40))
def test_any_conversation_of_codec_and_machine_keeps_the_promises(manual, steps):
    mode = EXPLICIT if manual else PROVIDER_MANAGED
    dialect = GeminiDialect(
        platform=AiStudio(api_key="k"), model="gemini-3.8-live", turning_mode=mode
    )
    profile = dialect.profile
    hand = gemini(
        turning_mode=mode,
        interrupt_supported=profile.capabilities.interrupt_supported,
        provider_responds=profile.provider_responds,
        provider_interrupts=profile.provider_interrupts,
        tools=(tool("f"),),
    )
    codec = dialect.codec("l")
    requests, encoded = [], 0
    for step in steps:
        if isinstance(step, dict):
            hand.see(*codec.decode(json.dumps(step).encode()))
        elif step == "audio":
            hand.do("audio_appended", 640)
            codec.encode(p.AppendAudio(bytes(640)))
        elif step in ("text", "say"):
            hand.do("send_text", "words", respond=step == "text")
        elif step in ("commit", "respond"):
            try:
                name = "commit_turn" if step == "commit" else "request_response"
                options = None if step == "commit" else p.ResponseOptions()
                requests.append(hand.do(name, options))
            except LlmError:
                pass
        elif step == "interrupt":
            hand.do("interrupt")
        elif step == "tool":
            for effect in hand.effects_of(fx.StartTool)[:1]:
                hand.do("tool_returned", result(effect.call_id))
        elif step == "wait":
            hand.wait(1)
        commands = hand.sent()
        for command in commands[encoded:]:
            codec.encode(command)  # the machine asks for nothing that Gemini does not have
        encoded = len(commands)
        hand.see(*codec.written())
    hand.wait(40)
    hand.do("close")
    started = [event.response_id for event in hand.of(ev.ResponseStarted)]
    completed = [event.response_id for event in hand.of(ev.TurnCompleted)]
    interrupted = [event.response_id for event in hand.of(ev.Interrupted)]
    assert sorted(started) == sorted(completed)
    assert len(set(started)) == len(started)
    assert len(set(interrupted)) == len(interrupted)
    requested = [event.call_id for event in hand.of(ev.ToolCallRequested)]
    finished = [event.call_id for event in hand.of(ev.ToolCallFinished)]
    assert sorted(requested) == sorted(finished)
    assert all(hand.outcome(request) is not None for request in requests)
    assert hand.sizes() == {}
