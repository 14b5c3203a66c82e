"""Session events as the outside may see them: no response or delta ids, no arguments, no usage.

`RealtimeEvent` is the public union; `to_public_event()` projects one session event onto it.  The
first sixteen variants are the public contract of the system that the session seam comes from; the
rest make this runtime's own facts visible to a caption view, a player or a status line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from . import events
from .channel import RealtimeChannelState, RealtimeChannelStatus
from .media import RealtimeAudioChunk, RealtimeVideoChunk

if TYPE_CHECKING:
    from collections.abc import Callable

# ---------------------------------------------------------------- the contract


@attrs.frozen
class InputTranscriptPartial:
    """More of what the user is saying."""

    text: str


@attrs.frozen
class InputTranscriptFinal:
    """What the user said.  `prosody_hint`: how, from a provider that tells."""

    text: str
    prosody_hint: str | None = None


@attrs.frozen
class TurnStarted:
    """The user began a turn."""


@attrs.frozen
class TurnCommitted:
    """The user's turn is complete."""


@attrs.frozen
class TurnCompleted:
    """The model's answer is complete."""


@attrs.frozen
class OutputTextDelta:
    """More text that the model writes."""

    delta: str


@attrs.frozen
class OutputAudioChunk:
    """A piece of the model's speech."""

    chunk: RealtimeAudioChunk


@attrs.frozen
class OutputVideoChunk:
    """A piece of the model's video."""

    chunk: RealtimeVideoChunk


@attrs.frozen
class Interrupted:
    """The answer was cut off: stop playing it."""


@attrs.frozen
class ToolCallRequested:
    """The model called a tool."""

    call_id: str
    tool_name: str


@attrs.frozen
class ToolCallCompleted:
    """The call has its result."""

    call_id: str


@attrs.frozen
class ToolCallFailed:
    """The call failed, or was called off (`error` is then `cancelled`)."""

    call_id: str
    error: str


@attrs.frozen
class ToolCallTimedOut:
    """The call took too long: `elapsed_ms` milliseconds."""

    call_id: str
    elapsed_ms: int


@attrs.frozen(kw_only=True)
class AssistantTranscriptTruncated:
    """The item was cut to the `audio_played_ms` milliseconds that were heard."""

    item_id: str
    audio_played_ms: int
    truncated_text: str | None = None


@attrs.frozen
class StatusChanged:
    """The channel is in another state."""

    status: RealtimeChannelStatus


@attrs.frozen
class NeedsReattach:
    """The provider session is gone; attach again to go on."""


# ---------------------------------------------------------------- this runtime's


@attrs.frozen
class OutputTranscriptDelta:
    """More text of what the model says aloud."""

    delta: str


@attrs.frozen
class AssistantTranscriptFinal:
    """The authoritative text of a spoken item."""

    item_id: str
    text: str


@attrs.frozen
class InputTranscriptionFailed:
    """What the user said could not be recognized."""

    message: str


@attrs.frozen
class InputSpeechStarted:
    """The user began to speak, `audio_start_ms` into the input audio."""

    audio_start_ms: int


@attrs.frozen
class InputSpeechStopped:
    """The user stopped, `audio_end_ms` into the input audio."""

    audio_end_ms: int


@attrs.frozen
class ResponseStarted:
    """The model began to answer."""


@attrs.frozen
class Stalled:
    """The model has been silent for `waited_ms` milliseconds and is not asked again."""

    waited_ms: int


@attrs.frozen
class MediaGap:
    """`dropped_ms` milliseconds of the model's speech are missing here."""

    dropped_ms: int


@attrs.frozen
class ErrorReported:
    """The provider reported an error that the session survives."""

    message: str
    code: str | None = None


RealtimeEvent: TypeAlias = (
    InputTranscriptPartial
    | InputTranscriptFinal
    | TurnStarted
    | TurnCommitted
    | TurnCompleted
    | OutputTextDelta
    | OutputAudioChunk
    | OutputVideoChunk
    | Interrupted
    | ToolCallRequested
    | ToolCallCompleted
    | ToolCallFailed
    | ToolCallTimedOut
    | AssistantTranscriptTruncated
    | StatusChanged
    | NeedsReattach
    | OutputTranscriptDelta
    | AssistantTranscriptFinal
    | InputTranscriptionFailed
    | InputSpeechStarted
    | InputSpeechStopped
    | ResponseStarted
    | Stalled
    | MediaGap
    | ErrorReported
)
"""In JSON tagged on `type` with the class's name in snake_case."""


# ---------------------------------------------------------------- the projection


def _truncated(event: events.AssistantTranscriptTruncated) -> RealtimeEvent:
    return AssistantTranscriptTruncated(
        item_id=event.item_id,
        audio_played_ms=event.audio_played_ms,
        truncated_text=event.truncated_text,
    )


def _response_started(event: events.ResponseStarted) -> RealtimeEvent | None:
    return ResponseStarted() if event.in_conversation else None


def _tool_finished(event: events.ToolCallFinished) -> RealtimeEvent:
    match event.outcome:
        case events.ToolOutcome.RESULT:
            return ToolCallCompleted(event.call_id)
        case events.ToolOutcome.ERROR:
            return ToolCallFailed(event.call_id, event.output or "failed")
        case events.ToolOutcome.TIMEOUT:
            return ToolCallTimedOut(event.call_id, event.elapsed_ms)
        case events.ToolOutcome.CANCELLED:
            return ToolCallFailed(event.call_id, "cancelled")


def _provider_tool(event: events.ProviderToolCall) -> RealtimeEvent | None:
    match event.status:
        case "requested":
            return ToolCallRequested(event.item_id, event.tool_name)
        case "completed":
            return ToolCallCompleted(event.item_id)
        case "failed":
            return ToolCallFailed(event.item_id, "failed")
        case _:
            return None


def _closed(event: events.SessionClosed) -> RealtimeEvent:
    reason = event.reason
    state = RealtimeChannelState.CLOSED if reason.clean else RealtimeChannelState.ERROR
    return StatusChanged(RealtimeChannelStatus(state=state, reason=reason.text or None))


def _rotated(_event: events.SessionRotated) -> RealtimeEvent:
    return StatusChanged(RealtimeChannelStatus(state=RealtimeChannelState.READY))


def _reconnecting(event: events.Reconnecting) -> RealtimeEvent:
    return StatusChanged(
        RealtimeChannelStatus(
            state=RealtimeChannelState.RECONNECTING,
            attempt_count=event.attempt,
            reason=event.reason or None,
        )
    )


def _internal(_event: object) -> None:
    return None


_PROJECTIONS: dict[type, Callable[[Any], RealtimeEvent | None]] = {
    events.InputTranscriptPartial: lambda e: InputTranscriptPartial(e.text),
    events.InputTranscriptFinal: lambda e: InputTranscriptFinal(e.text),
    events.InputTranscriptFinalForItem: lambda e: InputTranscriptFinal(e.text),
    events.TurnStarted: lambda e: TurnStarted(),
    events.TurnCommitted: lambda e: TurnCommitted(),
    events.TurnCompleted: lambda e: TurnCompleted(),
    events.OutputTextDelta: lambda e: OutputTextDelta(e.delta),
    events.OutputTextDeltaForItem: lambda e: OutputTextDelta(e.delta),
    events.OutputAudioTranscriptDeltaForItem: lambda e: OutputTranscriptDelta(e.delta),
    events.AssistantTranscriptFinal: lambda e: AssistantTranscriptFinal(e.item_id, e.text),
    events.OutputAudioChunk: lambda e: OutputAudioChunk(e.chunk),
    events.OutputVideoChunk: lambda e: OutputVideoChunk(e.chunk),
    events.Interrupted: lambda e: Interrupted(),
    events.ToolCallRequested: lambda e: ToolCallRequested(e.call_id, e.tool_name),
    events.AssistantTranscriptTruncated: _truncated,
    events.RealtimeTranscript: _internal,
    events.InputSpeechStarted: lambda e: InputSpeechStarted(e.audio_start_ms),
    events.InputSpeechStopped: lambda e: InputSpeechStopped(e.audio_end_ms),
    events.InputTranscriptionFailed: lambda e: InputTranscriptionFailed(e.message),
    events.InputAudioCleared: _internal,
    events.ResponseStarted: _response_started,
    events.ToolCallFinished: _tool_finished,
    events.ToolUnresponsive: _internal,
    events.ProviderToolCall: _provider_tool,
    events.Nudged: _internal,
    events.Stalled: lambda e: Stalled(e.waited_ms),
    events.MediaGap: lambda e: MediaGap(e.dropped_ms),
    events.ProviderErrorReported: lambda e: ErrorReported(e.fault.message, e.fault.code),
    events.UnknownProviderEvent: _internal,
    events.RateLimitsUpdated: _internal,
    events.MessageCommitted: _internal,  # its blocks carry tool arguments
    events.StoreFailed: _internal,
    events.SessionRotating: _internal,
    events.SessionRotated: _rotated,
    events.Reconnecting: _reconnecting,
    events.SessionClosed: _closed,
}
"""Every session event, those without a public form too, so that a new one cannot be forgotten."""


def to_public_event(event: events.RealtimeSessionEvent) -> RealtimeEvent | None:
    """The public form of `event`; None if it has none.

    Raises:
        TypeError: `event` is not a session event.
    """
    project = _PROJECTIONS.get(type(event))
    if project is None:
        raise TypeError(f"{type(event).__name__} is not a session event")
    return project(event)
