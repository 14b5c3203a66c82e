"""Session events in the vocabulary of the OpenAI Realtime server events: the second seed's view.

`to_server_event()` projects a session event onto it, whichever provider it came from.  What a
session event does not carry is None or zero; what has no counterpart there has no projection.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import attrs

from . import events
from .conversation import JSON
from .transcript import ItemObserved, ItemSkipped


@attrs.frozen(kw_only=True)
class ErrorInfo:
    """What a provider said about a failure."""

    type: str = "provider_error"
    code: str | None = None
    message: str = ""
    param: str | None = None


@attrs.frozen(kw_only=True)
class Error:
    """The provider reported an error that the session survives."""

    error: ErrorInfo
    event_id: str | None = None


@attrs.frozen(kw_only=True)
class SpeechStarted:
    """The user began to speak, so many ms into the session's input audio."""

    audio_start_ms: int
    item_id: str | None = None
    event_id: str | None = None


@attrs.frozen(kw_only=True)
class SpeechStopped:
    """The user stopped speaking."""

    audio_end_ms: int
    item_id: str | None = None
    event_id: str | None = None


@attrs.frozen(kw_only=True)
class AudioCommitted:
    """The user's turn is complete."""

    item_id: str | None = None
    event_id: str | None = None


@attrs.frozen(kw_only=True)
class AudioCleared:
    """Uncommitted input audio was dropped."""

    event_id: str | None = None


@attrs.frozen(kw_only=True)
class ItemCreated:
    """An item entered the conversation."""

    item: Mapping[str, JSON]
    event_id: str | None = None


@attrs.frozen(kw_only=True)
class ResponseCreated:
    """A response began; `response` has its id."""

    response: Mapping[str, JSON]
    event_id: str | None = None


@attrs.frozen(kw_only=True)
class ResponseDone:
    """A response ended; `response` has its id, status, usage and error."""

    response: Mapping[str, JSON]
    event_id: str | None = None


@attrs.frozen(kw_only=True)
class AudioDelta:
    """More of the model's speech, as bytes (base64 in JSON)."""

    response_id: str | None = None
    item_id: str | None = None
    output_index: int = 0
    content_index: int = 0
    delta: bytes = attrs.field(repr=lambda data: f"<{len(data)} bytes>")
    event_id: str | None = None


@attrs.frozen(kw_only=True)
class TextDelta:
    """More text that the model wrote."""

    response_id: str | None = None
    item_id: str | None = None
    output_index: int = 0
    content_index: int = 0
    delta: str
    event_id: str | None = None


@attrs.frozen(kw_only=True)
class TranscriptDelta:
    """More text of what the model says aloud."""

    response_id: str | None = None
    item_id: str | None = None
    output_index: int = 0
    content_index: int = 0
    delta: str
    event_id: str | None = None


@attrs.frozen(kw_only=True)
class TranscriptDone:
    """The authoritative text of what the model said aloud."""

    response_id: str | None = None
    item_id: str | None = None
    output_index: int = 0
    content_index: int = 0
    transcript: str
    event_id: str | None = None


@attrs.frozen(kw_only=True)
class FunctionCallDone:
    """The model called a tool; `arguments` is JSON text."""

    call_id: str
    name: str
    arguments: str
    response_id: str | None = None
    item_id: str | None = None
    output_index: int = 0
    event_id: str | None = None


@attrs.frozen(kw_only=True)
class RateLimitsUpdated:
    """What is left of the account's limits."""

    rate_limits: tuple[Mapping[str, JSON], ...]
    event_id: str | None = None


@attrs.frozen(kw_only=True)
class InputTranscriptDelta:
    """More of what the user is saying."""

    delta: str
    item_id: str | None = None
    content_index: int = 0
    event_id: str | None = None


@attrs.frozen(kw_only=True)
class InputTranscriptCompleted:
    """What the user said."""

    transcript: str
    item_id: str | None = None
    content_index: int = 0
    event_id: str | None = None


@attrs.frozen(kw_only=True)
class Unknown:
    """A frame that nobody knows, with what it was."""

    provider_type: str | None = None
    raw: bytes = attrs.field(repr=lambda raw: f"<{len(raw)} bytes>")


ServerEvent: TypeAlias = (
    Error
    | SpeechStarted
    | SpeechStopped
    | AudioCommitted
    | AudioCleared
    | ItemCreated
    | ResponseCreated
    | ResponseDone
    | AudioDelta
    | TextDelta
    | TranscriptDelta
    | TranscriptDone
    | FunctionCallDone
    | RateLimitsUpdated
    | InputTranscriptDelta
    | InputTranscriptCompleted
    | Unknown
)
"""In JSON tagged on `type`, with the dotted names of the wire; `unknown` for what has none."""

SERVER_EVENT_TAGS: Mapping[type, str] = {
    Error: "error",
    SpeechStarted: "input_audio_buffer.speech_started",
    SpeechStopped: "input_audio_buffer.speech_stopped",
    AudioCommitted: "input_audio_buffer.committed",
    AudioCleared: "input_audio_buffer.cleared",
    ItemCreated: "conversation.item.created",
    ResponseCreated: "response.created",
    ResponseDone: "response.done",
    AudioDelta: "response.output_audio.delta",
    TextDelta: "response.output_text.delta",
    TranscriptDelta: "response.output_audio_transcript.delta",
    TranscriptDone: "response.output_audio_transcript.done",
    FunctionCallDone: "response.function_call_arguments.done",
    RateLimitsUpdated: "rate_limits.updated",
    InputTranscriptDelta: "conversation.item.input_audio_transcription.delta",
    InputTranscriptCompleted: "conversation.item.input_audio_transcription.completed",
    Unknown: "unknown",
}


# ---------------------------------------------------------------- the projection

_STATUS = {"cancelled": "cancelled", "max_tokens": "incomplete", "content_filter": "incomplete"}


def _done(event: events.TurnCompleted) -> ResponseDone:
    status = "failed" if event.error is not None else _STATUS.get(event.stop_reason, "completed")
    response: dict[str, JSON] = {
        "id": event.response_id,
        "status": status,
        "stop_reason": event.stop_reason.value,
        "usage": {
            "input_tokens": event.usage.input_tokens,
            "output_tokens": event.usage.output_tokens,
            "total_tokens": event.usage.total_tokens,
        },
    }
    if event.error is not None:
        response["error"] = {"code": event.error.code, "message": event.error.message}
    return ResponseDone(response=response)


def _call(event: events.ToolCallRequested) -> FunctionCallDone:
    arguments = event.arguments
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return FunctionCallDone(call_id=event.call_id, name=event.tool_name, arguments=text)


def _item(event: events.RealtimeTranscript) -> ItemCreated | None:
    match event.event:
        case ItemObserved(item_id=item_id, role=role):
            return ItemCreated(item={"id": item_id, "type": "message", "role": role.value})
        case ItemSkipped(item_id=item_id):
            return ItemCreated(item={"id": item_id})
        case _:
            return None


def _error(event: events.ProviderErrorReported) -> Error:
    fault = event.fault
    return Error(
        error=ErrorInfo(
            type=fault.kind or "provider_error",
            code=fault.code,
            message=fault.message,
            param=fault.param,
        )
    )


def _limits(event: events.RateLimitsUpdated) -> RateLimitsUpdated:
    return RateLimitsUpdated(
        rate_limits=tuple(
            attrs.asdict(limit, filter=lambda _, value: value is not None) for limit in event.limits
        )
    )


_PROJECTIONS: Mapping[type, Callable[[Any], ServerEvent | None]] = {
    events.InputTranscriptPartial: lambda e: InputTranscriptDelta(delta=e.text),
    events.InputTranscriptFinal: lambda e: InputTranscriptCompleted(transcript=e.text),
    events.InputTranscriptFinalForItem: lambda e: InputTranscriptCompleted(
        transcript=e.text, item_id=e.item_id, content_index=e.content_index
    ),
    events.TurnCommitted: lambda e: AudioCommitted(),
    events.TurnCompleted: _done,
    events.OutputTextDelta: lambda e: TextDelta(delta=e.delta),
    events.OutputTextDeltaForItem: lambda e: TextDelta(
        response_id=e.response_id,
        item_id=e.item_id,
        content_index=e.content_index,
        delta=e.delta,
        event_id=e.delta_id,
    ),
    events.OutputAudioTranscriptDeltaForItem: lambda e: TranscriptDelta(
        response_id=e.response_id,
        item_id=e.item_id,
        content_index=e.content_index,
        delta=e.delta,
        event_id=e.delta_id,
    ),
    events.AssistantTranscriptFinal: lambda e: TranscriptDone(
        response_id=e.response_id,
        item_id=e.item_id,
        content_index=e.content_index,
        transcript=e.text,
    ),
    events.OutputAudioChunk: lambda e: AudioDelta(
        response_id=e.response_id,
        item_id=e.item_id,
        content_index=e.content_index or 0,
        delta=e.chunk.data,
    ),
    events.ToolCallRequested: _call,
    events.RealtimeTranscript: _item,
    events.InputSpeechStarted: lambda e: SpeechStarted(
        audio_start_ms=e.audio_start_ms, item_id=e.item_id
    ),
    events.InputSpeechStopped: lambda e: SpeechStopped(
        audio_end_ms=e.audio_end_ms, item_id=e.item_id
    ),
    events.InputAudioCleared: lambda e: AudioCleared(),
    events.ResponseStarted: lambda e: ResponseCreated(response={"id": e.response_id}),
    events.ProviderErrorReported: _error,
    events.UnknownProviderEvent: lambda e: Unknown(provider_type=e.type, raw=e.raw),
    events.RateLimitsUpdated: _limits,
}


def to_server_event(event: events.RealtimeSessionEvent) -> ServerEvent | None:
    """`event` as a server event; None where that vocabulary has no word for it."""
    project = _PROJECTIONS.get(type(event))
    return None if project is None else project(event)
