"""The JSON form of the durable state: one object, kept in session metadata.

Written out as the tables below say, rather than derived: the form outlives the classes, and what is
read back is the one thing here that must never be guessed.  Every refusal is a TranscriptStateError
that names the place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any, NoReturn, TypeVar

from ..model.conversation import JSON, StopReason, Usage
from ..model.transcript import RealtimeTranscriptRole, TranscriptLane
from ..model.transcript_state import (
    RealtimeTranscriptState,
    TranscriptCompletionState,
    TranscriptItemState,
    TranscriptStateError,
    TranscriptStateRule,
)

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)

# Part of the form, for pictures that users send; this authority does not keep any, so they may be
# there but empty.
_UNSUPPORTED = ("user_content_identities", "user_content_tombstones", "pending_user_content_blob")
_UNSUPPORTED_OF_ITEM = ("user_content_segments", "user_content_segment_fingerprints")


def state_to_json(state: RealtimeTranscriptState) -> dict[str, JSON]:
    """The JSON form.  What is empty is left out where the form allows it."""
    data: dict[str, JSON] = {
        "items": {item_id: _item_to_json(item) for item_id, item in state.items.items()},
        "first_seen_order": list(state.first_seen_order),
        "seen_delta_ids": list(state.seen_delta_ids),
        "assistant_completions": {
            response_id: _completion_to_json(completion)
            for response_id, completion in state.assistant_completions.items()
        },
    }
    if state.discarded_assistant_response_ids:
        data["discarded_assistant_response_ids"] = list(state.discarded_assistant_response_ids)
    return data


def state_from_json(data: JSON) -> RealtimeTranscriptState:
    """The state that `data` is the JSON form of.

    Raises TranscriptStateError with the rule `readable` for a field that is unknown or has the
    wrong type.  Whether the state is consistent is asked when an authority is made from it.
    """
    fields = _Fields(data, "state", ignore_if_empty=_UNSUPPORTED)
    state = RealtimeTranscriptState(
        items=fields.take("items", _mapping(_item_from_json), {}),
        first_seen_order=fields.take("first_seen_order", _strings, ()),
        seen_delta_ids=fields.take("seen_delta_ids", _strings, ()),
        assistant_completions=fields.take(
            "assistant_completions", _mapping(_completion_from_json), {}
        ),
        discarded_assistant_response_ids=fields.take(
            "discarded_assistant_response_ids", _strings, ()
        ),
    )
    fields.finish()
    return state


# ---------------------------------------------------------------- items and completions


def _item_to_json(item: TranscriptItemState) -> dict[str, JSON]:
    data: dict[str, JSON] = {
        "role": item.role.value,
        "previous_item_id": item.previous_item_id,
        "response_id": item.response_id,
        "content_segments": {str(index): text for index, text in item.content_segments.items()},
        "skipped": item.skipped,
        "ready": item.ready,
        "materialized": item.materialized,
        "lane": item.lane.value,
    }
    if item.delta_ids:
        data["delta_ids"] = list(item.delta_ids)
    if item.text_digest is not None:
        data["text_digest"] = item.text_digest
    if item.heard_content_index is not None:
        data["heard_content_index"] = item.heard_content_index
    return data


def _item_from_json(data: JSON, place: str) -> TranscriptItemState:
    fields = _Fields(data, place, ignore_if_empty=_UNSUPPORTED_OF_ITEM)
    item = TranscriptItemState(
        role=fields.require("role", _member(RealtimeTranscriptRole)),
        previous_item_id=fields.take("previous_item_id", _optional(_string), None),
        response_id=fields.take("response_id", _optional(_string), None),
        content_segments=fields.take("content_segments", _segments, {}),
        skipped=fields.take("skipped", _flag, False),
        ready=fields.take("ready", _flag, False),
        materialized=fields.take("materialized", _flag, False),
        lane=fields.take("lane", _member(TranscriptLane), TranscriptLane.DISPLAY),
        delta_ids=fields.take("delta_ids", _strings, ()),
        text_digest=fields.take("text_digest", _optional(_string), None),
        heard_content_index=fields.take("heard_content_index", _optional(_count), None),
    )
    fields.finish()
    return item


def _completion_to_json(completion: TranscriptCompletionState) -> dict[str, JSON]:
    data: dict[str, JSON] = {"stop_reason": completion.stop_reason.value}
    if completion.usage is not None:
        data["usage"] = _usage_to_json(completion.usage)
    data["usage_consumed"] = completion.usage_consumed
    return data


def _completion_from_json(data: JSON, place: str) -> TranscriptCompletionState:
    fields = _Fields(data, place)
    completion = TranscriptCompletionState(
        stop_reason=fields.require("stop_reason", _member(StopReason)),
        usage=fields.take("usage", _optional(_usage_from_json), None),
        usage_consumed=fields.take("usage_consumed", _flag, False),
    )
    fields.finish()
    return completion


def _usage_to_json(usage: Usage) -> dict[str, JSON]:
    data: dict[str, JSON] = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
    }
    if usage.cache_creation_tokens is not None:
        data["cache_creation_tokens"] = usage.cache_creation_tokens
    if usage.cache_read_tokens is not None:
        data["cache_read_tokens"] = usage.cache_read_tokens
    return data


def _usage_from_json(data: JSON, place: str) -> Usage:
    fields = _Fields(data, place)
    usage = Usage(
        input_tokens=fields.take("input_tokens", _count, 0),
        output_tokens=fields.take("output_tokens", _count, 0),
        cache_creation_tokens=fields.take("cache_creation_tokens", _optional(_count), None),
        cache_read_tokens=fields.take("cache_read_tokens", _optional(_count), None),
    )
    fields.finish()
    return usage


# ---------------------------------------------------------------- readers

_Reader = Callable[[JSON, str], T]


class _Fields:
    """The fields of one JSON object, each of which is to be taken once."""

    def __init__(self, data: JSON, place: str, ignore_if_empty: Iterable[str] = ()) -> None:
        if not isinstance(data, Mapping):
            _unreadable(place, "an object", data)
        self._place = place
        self._left = {str(key): value for key, value in data.items()}
        for key in ignore_if_empty:
            if not self._left.get(key):
                self._left.pop(key, None)

    def take(self, key: str, reader: _Reader[T], default: T) -> T:
        if key not in self._left:
            return default
        return reader(self._left.pop(key), f"{self._place}.{key}")

    def require(self, key: str, reader: _Reader[T]) -> T:
        if key not in self._left:
            _unreadable(f"{self._place}.{key}", "there", None)
        return reader(self._left.pop(key), f"{self._place}.{key}")

    def finish(self) -> None:
        for key, value in self._left.items():
            _unreadable(f"{self._place}.{key}", "absent", value)


def _unreadable(place: str, expected: str, value: object) -> NoReturn:
    raise TranscriptStateError(
        TranscriptStateRule.READABLE, place, f"should be {expected}, is {value!r:.80}"
    )


def _string(value: JSON, place: str) -> str:
    return value if isinstance(value, str) else _unreadable(place, "a string", value)


def _flag(value: JSON, place: str) -> bool:
    return value if isinstance(value, bool) else _unreadable(place, "true or false", value)


def _count(value: JSON, place: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    _unreadable(place, "a count", value)


def _strings(value: JSON, place: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        _unreadable(place, "a list of strings", value)
    return tuple(_string(entry, place) for entry in value)


def _segments(value: JSON, place: str) -> dict[int, str]:
    texts = _mapping(_string)(value, place)
    for key in texts:
        # One spelling each: no sign, no leading zero, nothing beyond the 32 bits of the wire.
        if not (key.isascii() and key.isdigit() and len(key) <= 10 and key == str(int(key))):
            _unreadable(place, "keyed by content indexes", key)
    return {int(key): text for key, text in texts.items()}


def _optional(reader: _Reader[T]) -> _Reader[T | None]:
    return lambda value, place: None if value is None else reader(value, place)


def _member(kind: type[E]) -> _Reader[E]:
    members = {member.value: member for member in kind}

    def read(value: JSON, place: str) -> E:
        if isinstance(value, str) and value in members:
            return members[value]
        _unreadable(place, f"one of {', '.join(members)}", value)

    return read


def _mapping(reader: _Reader[T]) -> _Reader[dict[str, T]]:
    def read(value: JSON, place: str) -> dict[str, T]:
        if not isinstance(value, Mapping):
            _unreadable(place, "an object", value)
        entries: dict[Any, Any] = dict(value)
        return {
            _string(key, place): reader(entry, f"{place}.{key}") for key, entry in entries.items()
        }

    return read
