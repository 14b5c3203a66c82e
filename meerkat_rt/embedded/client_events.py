"""The client's eleven events: parsing, and the checks that need nothing but the frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from . import schema as s
from .faults import Fault, invalid_value, missing_parameter

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_EVENT_ID = 512
MOST_APPEND_BYTES = 15 * 1024 * 1024


def _audio(value: Any, path: str) -> bytes:
    return s.base64_bytes(value, path, most=MOST_APPEND_BYTES)


def _event(fields: dict[str, Callable[[Any, str], Any]], *required: str) -> Callable[..., Any]:
    common = {"type": s.anything, "event_id": s.nullable(s.text(longest=LONGEST_EVENT_ID))}
    return s.record({**common, **fields}, *required)


_item_id = s.text()
_CHECKS: dict[str, Callable[[Any, str], Any]] = {
    # What is inside `session`, `item` and `response` depends on the session: the engine checks it.
    "session.update": _event({"session": s.any_object}, "session"),
    "input_audio_buffer.append": _event({"audio": _audio}, "audio"),
    "input_audio_buffer.commit": _event({}),
    "input_audio_buffer.clear": _event({}),
    "output_audio_buffer.clear": _event({}),
    "conversation.item.create": _event(
        {"item": s.any_object, "previous_item_id": s.nullable(s.text())}, "item"
    ),
    "conversation.item.retrieve": _event({"item_id": _item_id}, "item_id"),
    "conversation.item.truncate": _event(
        {"item_id": _item_id, "content_index": s.integer(0), "audio_end_ms": s.integer(0)},
        "item_id",
        "content_index",
        "audio_end_ms",
    ),
    "conversation.item.delete": _event({"item_id": _item_id}, "item_id"),
    "response.create": _event({"response": s.nullable(s.any_object)}),
    "response.cancel": _event({"response_id": s.nullable(s.text())}),
}
CLIENT_EVENTS = tuple(_CHECKS)


def parse_frame(frame: str | bytes) -> dict[str, Any]:
    """The JSON object in a text frame.

    Raises:
        Fault: code invalid_json or invalid_event.
    """
    if isinstance(frame, bytes):
        raise Fault("invalid_event", "Binary frames are not supported; send JSON as text.")
    try:
        # Strict where json.loads is not: no NaN, no lone surrogates that could not be sent back.
        parsed = msgspec.json.decode(frame)
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError) as error:
        raise Fault("invalid_json", f"The frame is not valid JSON: {error}"[:300]) from None
    s.check_depth(parsed)
    if not isinstance(parsed, dict):
        raise Fault("invalid_event", "An event must be a JSON object.")
    return parsed


def event_id_of(parsed: dict[str, Any]) -> str | None:
    """The client's own id of an event, where it is one that can be told back."""
    event_id = parsed.get("event_id")
    if isinstance(event_id, str) and len(event_id) <= LONGEST_EVENT_ID:
        return event_id
    return None


def check_event(parsed: dict[str, Any]) -> dict[str, Any]:
    """The event with its fields checked and its audio decoded.

    Raises:
        Fault: with the path of the offending field.
    """
    if "type" not in parsed:
        raise missing_parameter("type")
    kind = parsed["type"]
    if not isinstance(kind, str):
        s.text()(kind, "type")
    if kind not in _CHECKS:
        listed = ", ".join(f"'{known}'" for known in CLIENT_EVENTS)
        raise invalid_value(
            "type", f"Invalid value: '{kind[:80]}'. Supported values are: {listed}."
        )
    checked: dict[str, Any] = _CHECKS[kind](parsed, "")
    return checked
