"""What of a session's events the outside may see."""

from __future__ import annotations

from typing import get_args

import attrs
import pytest
from hypothesis import given, settings
from support.strategies import of_type

from meerkat_rt import codec, events, public
from meerkat_rt.model.channel import RealtimeChannelState, RealtimeChannelStatus
from meerkat_rt.model.conversation import StopReason, UserMessage
from meerkat_rt.model.conversation import Usage as TokenUsage
from meerkat_rt.model.media import (
    RealtimeAudioChunk,
    RealtimeAudioFormat,
    RealtimeVideoChunk,
    ResponseModality,
)
from meerkat_rt.model.transcript import ItemSkipped

AUDIO = RealtimeAudioChunk.of(b"\x00\x00", RealtimeAudioFormat.pcm(24_000))
VIDEO = RealtimeVideoChunk("video/h264", b"\x01")
FAULT = events.ProviderFault(code="bad_thing", kind="server_error", message="it broke", param="x")


def finished(outcome, output=None):
    return events.ToolCallFinished(
        call_id="c", tool_name="t", outcome=outcome, output=output, elapsed_ms=15_001
    )


def server_tool(status):
    return events.ProviderToolCall(item_id="i", tool_name="t", arguments="{}", status=status)


def closed(*, clean, text):
    reason = events.CloseReason(by=events.ClosedBy.PROVIDER, clean=clean, text=text)
    return events.SessionClosed(reason)


# ---------------------------------------------------------------- nothing that is internal


def test_a_tool_request_keeps_call_id_and_name_and_drops_the_arguments():
    request = events.ToolCallRequested("call_1", "lookup", {"q": "otter"})
    assert request.to_public_event() == public.ToolCallRequested("call_1", "lookup")
    assert "otter" not in codec.dumps(request.to_public_event())


@pytest.mark.parametrize(
    "event",
    [
        events.RealtimeTranscript(ItemSkipped(item_id="i")),
        events.InputAudioCleared(),
        events.ToolUnresponsive(call_id="c", tool_name="t", grace_ms=250),
        events.Nudged(attempt=1, waited_ms=750, modality=ResponseModality.AUDIO),
        events.UnknownProviderEvent(type="x", raw=b"{}"),
        events.RateLimitsUpdated((events.RateLimit(name="tokens"),)),
        events.MessageCommitted(message=UserMessage("hi"), item_ids=("i",)),
        events.ResponseStarted(response_id="r", in_conversation=False),
        server_tool("pondering"),
    ],
    ids=lambda event: type(event).__name__,
)
def test_an_internal_event_has_no_public_form(event):
    assert event.to_public_event() is None


@settings(max_examples=150, deadline=None)
@given(of_type(events.RealtimeSessionEvent))
def test_no_public_event_names_a_response_a_delta_or_arguments(event):
    shown = event.to_public_event()
    if shown is None:
        return
    assert isinstance(shown, get_args(public.RealtimeEvent))
    keys = set(codec.encode(shown))
    assert not keys & {
        "response_id",
        "delta_id",
        "request_id",
        "previous_item_id",
        "arguments",
        "usage",
        "stop_reason",
        "output",
    }


def test_what_is_no_session_event_is_the_callers_mistake():
    with pytest.raises(TypeError, match="str is not a session event"):
        public.to_public_event("hello")
    with pytest.raises(TypeError):
        public.to_public_event(public.TurnStarted())


def test_every_session_event_is_decided_about_and_has_the_method():
    assert set(public._PROJECTIONS) == set(get_args(events.RealtimeSessionEvent))
    for cls in get_args(events.RealtimeSessionEvent):
        assert callable(cls.to_public_event)
        assert "__dict__" not in dir(cls)


# ---------------------------------------------------------------- the projection


@pytest.mark.parametrize(
    ("event", "shown"),
    [
        (events.InputTranscriptPartial("he"), public.InputTranscriptPartial("he")),
        (events.InputTranscriptFinal("hello"), public.InputTranscriptFinal("hello")),
        (
            events.InputTranscriptFinalForItem(
                item_id="i", previous_item_id="p", content_index=0, text="hello"
            ),
            public.InputTranscriptFinal("hello", prosody_hint=None),
        ),
        (events.TurnStarted(), public.TurnStarted()),
        (events.TurnCommitted(), public.TurnCommitted()),
        (
            events.TurnCompleted(
                response_id="r",
                stop_reason=StopReason.MAX_TOKENS,
                usage=TokenUsage(input_tokens=1),
            ),
            public.TurnCompleted(),
        ),
        (events.OutputTextDelta("x"), public.OutputTextDelta("x")),
        (
            events.OutputTextDeltaForItem("r", "d", "i", "p", 0, "x"),
            public.OutputTextDelta("x"),
        ),
        (
            events.OutputAudioTranscriptDeltaForItem("r", "d", "i", "p", 0, "x"),
            public.OutputTranscriptDelta("x"),
        ),
        (
            events.AssistantTranscriptFinal(
                response_id="r", item_id="i", content_index=0, text="said"
            ),
            public.AssistantTranscriptFinal("i", "said"),
        ),
        (events.OutputAudioChunk(AUDIO, "r", "i", 0), public.OutputAudioChunk(AUDIO)),
        (events.OutputVideoChunk(VIDEO), public.OutputVideoChunk(VIDEO)),
        (events.Interrupted("r"), public.Interrupted()),
        (events.Interrupted(), public.Interrupted()),
        (
            events.AssistantTranscriptTruncated(
                response_id="r", item_id="i", audio_played_ms=40, truncated_text="sa"
            ),
            public.AssistantTranscriptTruncated(
                item_id="i", audio_played_ms=40, truncated_text="sa"
            ),
        ),
        (
            events.AssistantTranscriptTruncated(item_id="i", audio_played_ms=0),
            public.AssistantTranscriptTruncated(item_id="i", audio_played_ms=0),
        ),
        (finished(events.ToolOutcome.RESULT, "42"), public.ToolCallCompleted("c")),
        (finished(events.ToolOutcome.ERROR, "no key"), public.ToolCallFailed("c", "no key")),
        (finished(events.ToolOutcome.ERROR), public.ToolCallFailed("c", "failed")),
        (finished(events.ToolOutcome.TIMEOUT), public.ToolCallTimedOut("c", 15_001)),
        # An error that only looks like a timeout is none.
        (finished(events.ToolOutcome.ERROR, "timeout"), public.ToolCallFailed("c", "timeout")),
        (finished(events.ToolOutcome.CANCELLED), public.ToolCallFailed("c", "cancelled")),
        (server_tool("requested"), public.ToolCallRequested("i", "t")),
        (server_tool("completed"), public.ToolCallCompleted("i")),
        (server_tool("failed"), public.ToolCallFailed("i", "failed")),
        (
            events.InputSpeechStarted(item_id="i", audio_start_ms=10),
            public.InputSpeechStarted(10),
        ),
        (events.InputSpeechStopped(audio_end_ms=20), public.InputSpeechStopped(20)),
        (
            events.InputTranscriptionFailed(item_id="i", code="e", message="too noisy"),
            public.InputTranscriptionFailed("too noisy"),
        ),
        (events.ResponseStarted(response_id="r", request_id="q"), public.ResponseStarted()),
        (events.Stalled(attempts=3, waited_ms=3000), public.Stalled(3000)),
        (events.MediaGap(dropped_bytes=960, dropped_ms=20), public.MediaGap(20)),
        (
            events.ProviderErrorReported(fault=FAULT, command="response.create", response_id="r"),
            public.ErrorReported("it broke", "bad_thing"),
        ),
        (
            closed(clean=True, text=""),
            public.StatusChanged(RealtimeChannelStatus(state=RealtimeChannelState.CLOSED)),
        ),
        (
            closed(clean=False, text="reset"),
            public.StatusChanged(
                RealtimeChannelStatus(state=RealtimeChannelState.ERROR, reason="reset")
            ),
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_projection(event, shown):
    assert event.to_public_event() == shown


# ---------------------------------------------------------------- events themselves


def test_session_events_are_frozen_comparable_and_match():
    one = events.OutputTextDelta("x")
    assert one == events.OutputTextDelta("x")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        one.delta = "y"
    match one:
        case events.OutputTextDelta(delta):
            assert delta == "x"
        case _:
            pytest.fail("no match")


def test_a_repr_shows_how_much_audio_there_is_and_not_the_audio():
    assert "<2 bytes>" in repr(events.OutputAudioChunk(AUDIO))
