"""The server's events as they stand on the wire, with the fields that we read.

A required field is one without which the event means nothing.  Everything else may be absent, null
or, at worst, of another type than documented: it then counts as absent, so that an odd field in a
terminal event does not cost the terminal.  Unknown fields are never looked at.

`msgspec` fills these classes without running validators, so they have none: ranges are checked
where an event is translated.
"""

from __future__ import annotations

from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import attrs
import msgspec

F = TypeVar("F")


class Malformed(ValueError):
    """A frame of a known type that does not have what its type must have."""


# ---------------------------------------------------------------- errors and the session


@attrs.frozen(kw_only=True)
class ErrorBody:
    """What went wrong.  `event_id` is that of the client event to blame."""

    type: str | None = None
    code: str | None = None
    message: str | None = None
    param: str | None = None
    event_id: str | None = None


@attrs.frozen(kw_only=True)
class ErrorFrame:
    """`error`."""

    error: ErrorBody


@attrs.frozen(kw_only=True)
class SessionBody:
    """The session, of which only the identity matters to us."""

    id: str | None = None
    expires_at: float | None = None


@attrs.frozen(kw_only=True)
class SessionFrame:
    """`session.created`, `session.updated`."""

    session: SessionBody | None = None


@attrs.frozen(kw_only=True)
class RateLimitBody:
    """One limit."""

    name: str | None = None
    limit: int | None = None
    remaining: int | None = None
    reset_seconds: float | None = None


@attrs.frozen(kw_only=True)
class RateLimitsFrame:
    """`rate_limits.updated`."""

    rate_limits: list[RateLimitBody] | None = None


# ---------------------------------------------------------------- input


@attrs.frozen(kw_only=True)
class SpeechStartedFrame:
    """`input_audio_buffer.speech_started`."""

    item_id: str | None = None
    audio_start_ms: int | None = None


@attrs.frozen(kw_only=True)
class SpeechStoppedFrame:
    """`input_audio_buffer.speech_stopped`."""

    item_id: str | None = None
    audio_end_ms: int | None = None


@attrs.frozen(kw_only=True)
class CommittedFrame:
    """`input_audio_buffer.committed`."""

    item_id: str | None = None
    previous_item_id: str | None = None


@attrs.frozen(kw_only=True)
class BareFrame:
    """An event whose type says it all."""


@attrs.frozen(kw_only=True)
class InputDeltaFrame:
    """`conversation.item.input_audio_transcription.delta`."""

    item_id: str
    content_index: int | None = None
    delta: str | None = None


@attrs.frozen(kw_only=True)
class InputDoneFrame:
    """`conversation.item.input_audio_transcription.completed`."""

    item_id: str
    content_index: int | None = None
    transcript: str | None = None


@attrs.frozen(kw_only=True)
class InputFailedFrame:
    """`conversation.item.input_audio_transcription.failed`."""

    item_id: str
    content_index: int | None = None
    error: ErrorBody | None = None


# ---------------------------------------------------------------- items


@attrs.frozen(kw_only=True)
class Item:
    """An item of the conversation, without its content."""

    id: str | None = None
    type: str | None = None
    role: str | None = None
    status: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None


@attrs.frozen(kw_only=True)
class ItemFrame:
    """`conversation.item.added`, `.created`, `.done`."""

    item: Item
    previous_item_id: str | None = None


@attrs.frozen(kw_only=True)
class ItemIdFrame:
    """`conversation.item.deleted`, `mcp_list_tools.*`, `response.mcp_call.*`."""

    item_id: str


@attrs.frozen(kw_only=True)
class TruncatedFrame:
    """`conversation.item.truncated`."""

    item_id: str
    audio_end_ms: int
    content_index: int | None = None


# ---------------------------------------------------------------- responses


@attrs.frozen(kw_only=True)
class Metadata:
    """Of a response's metadata, the pair that we put there."""

    meerkat_request: str | None = None


@attrs.frozen(kw_only=True)
class CachedDetails:
    """Cached input tokens by kind."""

    text_tokens: int | None = None
    audio_tokens: int | None = None
    image_tokens: int | None = None


@attrs.frozen(kw_only=True)
class InputDetails:
    """Input tokens by kind; those read from the cache are among them."""

    text_tokens: int | None = None
    audio_tokens: int | None = None
    image_tokens: int | None = None
    cached_tokens: int | None = None
    cached_tokens_details: CachedDetails | None = None


@attrs.frozen(kw_only=True)
class OutputDetails:
    """Output tokens by kind."""

    text_tokens: int | None = None
    audio_tokens: int | None = None


@attrs.frozen(kw_only=True)
class UsageBody:
    """Token counts of a response."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    input_token_details: InputDetails | None = None
    output_token_details: OutputDetails | None = None


@attrs.frozen(kw_only=True)
class StatusDetails:
    """Why a response ended as it did."""

    type: str | None = None
    reason: str | None = None
    error: ErrorBody | None = None


@attrs.frozen(kw_only=True)
class Response:
    """A response.  `conversation_id` null (not absent) marks one outside the conversation."""

    id: str
    status: str | None = None
    status_details: StatusDetails | None = None
    conversation_id: str | msgspec.UnsetType | None = msgspec.UNSET
    metadata: Metadata | None = None
    usage: UsageBody | None = None
    output: list[Item] | None = None


@attrs.frozen(kw_only=True)
class ResponseFrame:
    """`response.created`, `response.done`."""

    response: Response


@attrs.frozen(kw_only=True)
class OutputItemFrame:
    """`response.output_item.added`, `.done`."""

    response_id: str
    item: Item


@attrs.frozen(kw_only=True)
class ProgressFrame:
    """An event of a response that tells nothing but that it goes on."""

    response_id: str


@attrs.frozen(kw_only=True)
class ArgumentsFrame:
    """`response.function_call_arguments.done`, `response.mcp_call_arguments.done`."""

    response_id: str
    item_id: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None


@attrs.frozen(kw_only=True)
class DeltaFrame:
    """A delta of text or of a transcript, where it is not in the shape of the hot path."""

    event_id: str
    response_id: str
    item_id: str
    delta: str | None = None
    content_index: int | None = None


@attrs.frozen(kw_only=True)
class AudioDeltaFrame:
    """`response.output_audio.delta`; `delta` is base64."""

    response_id: str
    item_id: str
    delta: str | None = None
    content_index: int | None = None


@attrs.frozen(kw_only=True)
class PartDoneFrame:
    """`response.output_text.done`, `.output_audio_transcript.done`, `.output_audio.done`."""

    response_id: str
    item_id: str
    event_id: str | None = None
    content_index: int | None = None
    text: str | None = None
    transcript: str | None = None


# ---------------------------------------------------------------- the type


@attrs.frozen(kw_only=True)
class TypedFrame:
    """Any event, of which nothing is known but the type."""

    type: str


type_of = msgspec.json.Decoder(TypedFrame).decode
"""The event's own `type`, wherever it stands; a nested or escaped one does not deceive it."""


# ---------------------------------------------------------------- reading what is odd


@cache
def _fields(cls: Any) -> tuple[tuple[str, Any, bool], ...]:
    hints = get_type_hints(cls)
    return tuple(
        (field.name, hints[field.name], field.default is attrs.NOTHING)
        for field in attrs.fields(cls)
    )


def lenient(cls: type[F], data: object) -> F:
    """Build `cls` from parsed JSON, taking what does not fit for absent.

    Raises:
        Malformed: a required field is missing or does not fit.
    """
    if not isinstance(data, dict):
        raise Malformed("not an object")
    values: dict[str, Any] = {}
    fields: Any = cls  # hashable, as every class is
    for name, kind, required in _fields(fields):
        try:
            if name in data:
                values[name] = _fit(kind, data[name])
            elif required:
                raise Malformed("missing")
        except Malformed as error:
            if required:
                raise Malformed(f"{name}: {error}") from None
    return cls(**values)


def _fit(kind: Any, value: object) -> Any:
    if get_origin(kind) in (Union, UnionType):
        kinds = get_args(kind)
        if value is None and NoneType in kinds:
            return None
        return _fit(kinds[0], value)  # the alternatives to the first are null and unset
    if get_origin(kind) is list:
        return _fit_all(get_args(kind)[0], value)
    if attrs.has(kind):
        return lenient(kind, value)
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    accepted = (int, float) if kind is float else kind
    if not isinstance(value, accepted) or isinstance(value, bool):
        raise Malformed(f"not of type {kind.__name__}")
    return value


def _fit_all(kind: Any, value: object) -> list[Any]:
    if not isinstance(value, list):
        raise Malformed("not an array")
    entries = []
    for entry in value:
        try:
            entries.append(_fit(kind, entry))
        except Malformed:
            continue
    return entries
