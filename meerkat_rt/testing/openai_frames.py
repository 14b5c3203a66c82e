"""The values inside OpenAI Realtime (GA) server events: session, items, responses, usage, errors.

Pure builders.  They give what live sessions have been captured to send, with nulls where those have
them: a client that is tested against less is surprised in production.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Json = dict[str, Any]
Modality = Literal["audio", "text"]
Status = Literal["completed", "cancelled", "failed", "incomplete"]

DEFAULT_MODEL = "gpt-realtime"
SESSION_SECONDS = 3600  # the documented maximum duration of a session
PCM = {"type": "audio/pcm", "rate": 24000}
BYTES_PER_MS = 48  # of 24 kHz 16-bit mono PCM


def default_session(model: str = DEFAULT_MODEL) -> Json:
    """The effective configuration of a session that nothing has been said to."""
    return {
        "type": "realtime",
        "object": "realtime.session",
        "id": "sess_1",
        "model": model,
        "output_modalities": ["audio"],
        "instructions": "You are a helpful assistant.",
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "tracing": None,
        "truncation": "auto",
        "prompt": None,
        "expires_at": SESSION_SECONDS,
        "audio": {
            "input": {
                "format": dict(PCM),
                "transcription": None,
                "noise_reduction": None,
                "turn_detection": {
                    "type": "server_vad",
                    "threshold": 0.5,
                    "prefix_padding_ms": 300,
                    "silence_duration_ms": 200,
                    "idle_timeout_ms": None,
                    "create_response": True,
                    "interrupt_response": True,
                },
            },
            "output": {"format": dict(PCM), "voice": "marin", "speed": 1.0},
        },
        "include": None,
    }


def merged(session: Mapping[str, Any], update: Mapping[str, Any]) -> Json:
    """A session configuration with an update applied: only keys that are present change."""
    result = {key: _copied(value) for key, value in {**session, **update}.items()}
    for key, value in update.items():
        before = session.get(key)
        if isinstance(value, dict) and isinstance(before, dict) and _same_type(before, value):
            result[key] = merged(before, value)
    return result


def _copied(value: Any) -> Any:
    """A JSON value that shares nothing with the given one; `deepcopy` takes ten times as long."""
    if isinstance(value, dict):
        return {key: _copied(each) for key, each in value.items()}
    return [_copied(each) for each in value] if isinstance(value, list) else value


def _same_type(before: Json, update: Json) -> bool:
    """What is chosen by its type (a format, a turn detection) is replaced by another, not mixed."""
    return bool(update.get("type", before.get("type")) == before.get("type"))


def user_audio_item(item_id: str, transcript: str | None = None) -> Json:
    """A user's spoken message, as the conversation holds it: without its audio."""
    return {
        "id": item_id,
        "type": "message",
        "status": "completed",
        "role": "user",
        "content": [{"type": "input_audio", "transcript": transcript}],
    }


def assistant_item(item_id: str, status: str, content: list[Json] | None = None) -> Json:
    """A message of the model's."""
    return {
        "id": item_id,
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": content or [],
    }


def call_item(item_id: str, status: str, *, call_id: str, name: str, arguments: str) -> Json:
    """A function call of the model's."""
    return {
        "id": item_id,
        "type": "function_call",
        "status": status,
        "name": name,
        "call_id": call_id,
        "arguments": arguments,
    }


def part(modality: Modality, text: str) -> Json:
    """A content part, as `response.content_part.*` names it: text, or audio with its transcript."""
    return {"type": "text", "text": text} if modality == "text" else _audio_part(text)


def _audio_part(transcript: str) -> Json:
    return {"type": "audio", "transcript": transcript}


def content(modality: Modality, text: str) -> Json:
    """The same content, as a finished item names it."""
    if modality == "text":
        return {"type": "output_text", "text": text}
    return {"type": "output_audio", "transcript": text}


def usage(input_tokens: int = 120, output_tokens: int = 80) -> Json:
    """The token counts of one response."""
    return {
        "total_tokens": input_tokens + output_tokens,
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "input_token_details": {
            "text_tokens": input_tokens,
            "audio_tokens": 0,
            "image_tokens": 0,
            "cached_tokens": 0,
            "cached_tokens_details": {"text_tokens": 0, "audio_tokens": 0, "image_tokens": 0},
        },
        "output_token_details": {"text_tokens": output_tokens // 4, "audio_tokens": 0},
    }


def tone(ms: int) -> bytes:
    """So many milliseconds of 24 kHz 16-bit mono: a quiet square wave of 240 Hz."""
    wave = b"\x00\x04" * 50 + b"\x00\xfc" * 50
    return (wave * (ms * BYTES_PER_MS // len(wave) + 1))[: ms * BYTES_PER_MS]


def pieces(text: str) -> list[str]:
    """A text as a model gives it: two words at a time, which join to the whole."""
    words = text.split(" ")
    groups = [" ".join(words[i : i + 2]) for i in range(0, len(words), 2)]
    return [f"{group} " for group in groups[:-1]] + groups[-1:]


RATE_LIMITS: list[Json] = [
    {"name": "tokens", "limit": 40_000, "remaining": 39_000, "reset_seconds": 1.5}
]

INVALID_REQUEST = "invalid_request_error"

ERROR_MESSAGES = {
    "invalid_json": "The event could not be parsed as JSON.",
    "invalid_event": "The event is not valid.",
    "invalid_value": "Invalid value.",
    "unknown_parameter": "Unknown parameter.",
    "missing_required_parameter": "Missing required parameter.",
    "cannot_update_voice": "Cannot update a conversation's voice if assistant audio is present.",
    "conversation_already_has_active_response": (
        "Conversation already has an active response in progress. Wait until it is finished."
    ),
    "response_cancel_not_active": "Cancellation failed: no active response found",
    "input_audio_buffer_commit_empty": (
        "Error committing input audio buffer: buffer too small. Expected at least 100ms of audio."
    ),
    "item_truncate_invalid_item_id": "Item with the given item_id does not exist.",
    "item_delete_invalid_item_id": "Item with the given item_id does not exist.",
    "item_retrieve_invalid_item_id": "Item with the given item_id does not exist.",
    "item_create_duplicate_item_id": "An item with this id already exists.",
    "invalid_tool_call_id": "Tool call ID not found in conversation.",
    "rate_limit_exceeded": "Rate limit reached.",
    "insufficient_quota": "You exceeded your current quota.",
    "server_error": "The server had an error while processing your request.",
    "session_expired": "Your session hit the maximum duration of 60 minutes.",
    "invalid_api_key": "Incorrect API key provided.",
    "missing_model": "You must provide a model parameter.",
    "invalid_model": "The requested model does not exist.",
    "beta_api_shape_disabled": "The Realtime Beta API is no longer supported.",
}
"""The documented error codes, with a message of the kind that comes with each."""

ERROR_TYPES = {
    "rate_limit_exceeded": "rate_limit_error",
    "insufficient_quota": "insufficient_quota",
    "server_error": "server_error",
}

FATAL_CODES = {
    "invalid_api_key": (3000, "invalid_request_error.invalid_api_key"),
    "beta_api_shape_disabled": (4000, "invalid_request_error.beta_api_shape_disabled"),
    "missing_model": (4000, "invalid_request_error.missing_model"),
    "invalid_model": (4000, "invalid_request_error.invalid_model"),
    "session_expired": (1001, ERROR_MESSAGES["session_expired"]),
}
"""For the errors that end the session: the code and reason of the close frame that follows."""


def error(
    code: str | None,
    *,
    message: str | None = None,
    param: str | None = None,
    event_id: str | None = None,
    kind: str | None = None,
) -> Json:
    """An `error` event.  `event_id` is the client event it answers, if the server can tell."""
    known = code or ""
    return {
        "type": "error",
        "error": {
            "type": kind or ERROR_TYPES.get(known, INVALID_REQUEST),
            "code": code,
            "message": message or ERROR_MESSAGES.get(known, "Something went wrong."),
            "param": param,
            "event_id": event_id,
        },
    }
