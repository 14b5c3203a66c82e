"""The server's messages as they stand on the wire, with the fields that we read.

One message may hold several keys, and all of them count.  Every field is optional: this protocol
omits what has its default value.  Unknown fields are never looked at, and a field of another type
than documented counts as absent, so that an odd field does not cost the rest of its message.

Sources: the vendor's reference of BidiGenerateContent, and the types of its Python package.
"""

from __future__ import annotations

from functools import cache
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin

import msgspec

S = TypeVar("S", bound=msgspec.Struct)

Int64 = int | str | None
"""A 64-bit integer, which JSON may carry as a string."""


class Wire(msgspec.Struct, rename="camel", kw_only=True):
    """Base of all: names are in camel case on the wire.  Nobody changes one once it is read."""


# ---------------------------------------------------------------- content


class Blob(Wire):
    """Bytes in base64, of either alphabet, padded or not."""

    mime_type: str | None = None
    data: str | None = None


class ExecutableCode(Wire):
    """Code that the model runs at the provider."""

    id: str | None = None
    code: str | None = None


class CodeExecutionResult(Wire):
    """What came of it."""

    id: str | None = None
    outcome: str | None = None


class FunctionCall(Wire):
    """One call, `args` as they stand there.

    `will_continue`: more of it follows in another message.
    """

    id: str | None = None
    name: str | None = None
    args: msgspec.Raw = msgspec.Raw()
    will_continue: bool | None = None


class Part(Wire):
    """One part of what the model says.  `thought`: the text is thinking, not an answer."""

    text: str | None = None
    thought: bool | None = None
    inline_data: Blob | None = None
    function_call: FunctionCall | None = None
    executable_code: ExecutableCode | None = None
    code_execution_result: CodeExecutionResult | None = None


class Content(Wire):
    """What the model says, in parts."""

    parts: list[Part] | None = None


class Transcription(Wire):
    """Words of somebody's speech.  `finished`: there will be no more of it."""

    text: str | None = None
    finished: bool | None = None


class ServerContent(Wire):
    """What happened in the model's turn."""

    model_turn: Content | None = None
    turn_complete: bool | None = None
    turn_complete_reason: str | None = None
    interaction_status: str | None = None
    interrupted: bool | None = None
    generation_complete: bool | None = None
    input_transcription: Transcription | None = None
    output_transcription: Transcription | None = None
    interim_input_transcription: Any = None
    grounding_metadata: Any = None
    url_context_metadata: Any = None


# ---------------------------------------------------------------- the other keys


class SetupComplete(Wire):
    """The session is configured."""

    session_id: str | None = None


class ToolCall(Wire):
    """Calls for the client to answer."""

    function_calls: list[FunctionCall] | None = None


class ToolCallCancellation(Wire):
    """Calls whose answers nobody wants any more."""

    ids: list[str] | None = None


class UsageMetadata(Wire):
    """Tokens of the present turn so far.  Vertex says `candidates` where AI Studio says `response`.

    The prompt's count includes what was read from the cache.
    """

    prompt_token_count: Int64 = None
    tool_use_prompt_token_count: Int64 = None
    cached_content_token_count: Int64 = None
    response_token_count: Int64 = None
    candidates_token_count: Int64 = None
    thoughts_token_count: Int64 = None


class GoAway(Wire):
    """The connection will be aborted.  `time_left` is a duration: `"10s"`."""

    time_left: str | None = None


class SessionResumptionUpdate(Wire):
    """From where the session can be resumed."""

    new_handle: str | None = None
    resumable: bool | None = None
    last_consumed_client_message_index: Int64 = None


class VoiceActivity(Wire):
    """The user began or stopped.  The key is `type`; the vendor's package calls it otherwise."""

    type: str | None = None
    voice_activity_type: str | None = None
    audio_offset: str | None = None


class VoiceActivityDetectionSignal(Wire):
    """The same on Vertex, where it was asked for."""

    vad_signal_type: str | None = None


class ErrorBody(Wire):
    """What went wrong.  Rare: the protocol's errors are close frames."""

    code: int | str | None = None
    status: str | None = None
    message: str | None = None


class ServerMessage(Wire):
    """One message.  `code`, `status` and `message` stand alone in a bare error."""

    setup_complete: SetupComplete | None = None
    server_content: ServerContent | None = None
    tool_call: ToolCall | None = None
    tool_call_cancellation: ToolCallCancellation | None = None
    usage_metadata: UsageMetadata | None = None
    go_away: GoAway | None = None
    session_resumption_update: SessionResumptionUpdate | None = None
    voice_activity: VoiceActivity | None = None
    voice_activity_detection_signal: VoiceActivityDetectionSignal | None = None
    error: ErrorBody | None = None
    code: int | str | None = None
    status: str | None = None
    message: str | None = None


NOTHING = ServerMessage()
"""A message in which no key is known."""

_strict = msgspec.json.Decoder(ServerMessage).decode


def read(frame: bytes) -> ServerMessage:
    """The message of a frame.

    Raises:
        ValueError: it is not a JSON object.
    """
    try:
        return _strict(frame)
    except msgspec.ValidationError:
        return lenient(ServerMessage, msgspec.json.decode(frame))


def keys(frame: bytes) -> tuple[str, ...]:
    """The top-level keys of a frame that `read` takes."""
    value = msgspec.json.decode(frame)
    return tuple(value) if isinstance(value, dict) else ()


# ---------------------------------------------------------------- reading what is odd


@cache
def _fields(cls: Any) -> tuple[tuple[str, str, Any], ...]:
    return tuple(
        (field.name, field.encode_name, field.type) for field in msgspec.structs.fields(cls)
    )


def lenient(cls: type[S], data: object) -> S:
    """Build `cls` from parsed JSON, taking what does not fit for absent.

    Raises:
        ValueError: it is not an object.
    """
    if not isinstance(data, dict):
        raise ValueError("not an object")
    values: dict[str, Any] = {}
    known: Any = cls  # hashable, as every class is
    for name, key, kind in _fields(known):
        if data.get(key) is not None:
            values[name] = _fit(kind, data[key])
    return cls(**values)


def _fit(kind: Any, value: object) -> Any:
    """`value` as `kind`, or None."""
    if kind is msgspec.Raw:
        return msgspec.Raw(msgspec.json.encode(value))
    kinds = [each for each in get_args(kind) if each is not NoneType] or [kind]
    only = kinds[0]
    if isinstance(only, type) and issubclass(only, Wire):
        return lenient(only, value) if isinstance(value, dict) else None
    if get_origin(only) is list:
        if not isinstance(value, list):
            return None
        entries = (_fit(get_args(only)[0], entry) for entry in value)
        return [entry for entry in entries if entry is not None]
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return None
