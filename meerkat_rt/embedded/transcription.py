"""The events that tell a client what it said."""

from __future__ import annotations

from typing import Any

from .usage import INPUT_AUDIO_RATE, text_tokens

_PREFIX = "conversation.item.input_audio_transcription"

WireEvent = tuple[str, dict[str, Any]]


def transcript_events(
    item_id: str, text: str, seconds: float, model: str | None
) -> list[WireEvent]:
    """The deltas and the completion for an item of so many seconds of audio."""
    common: dict[str, Any] = {"item_id": item_id, "content_index": 0}
    # whisper-1 does not stream: it gives its text at once, and is billed by duration.
    whole = model == "whisper-1"
    words = [text] if whole else text.split(" ")
    pieces = [word if index == 0 else f" {word}" for index, word in enumerate(words)]
    events = [(f"{_PREFIX}.delta", {**common, "delta": piece}) for piece in pieces if piece]
    usage = {"type": "duration", "seconds": round(seconds, 3)} if whole else _tokens(text, seconds)
    events.append((f"{_PREFIX}.completed", {**common, "transcript": text, "usage": usage}))
    return events


def _tokens(text: str, seconds: float) -> dict[str, Any]:
    heard, written = round(seconds * INPUT_AUDIO_RATE), text_tokens(text)
    return {
        "type": "tokens",
        "input_tokens": heard,
        "output_tokens": written,
        "total_tokens": heard + written,
        "input_token_details": {"text_tokens": 0, "audio_tokens": heard},
    }


def failed_event(item_id: str, code: str, message: str) -> WireEvent:
    """The event for an item that the recognizer could not make out."""
    error = {"type": "transcription_error", "code": code, "message": message, "param": None}
    return f"{_PREFIX}.failed", {"item_id": item_id, "content_index": 0, "error": error}
