"""The durable state in parts, so that what grows with a conversation is written only once.

The state of an authority has a part that only grows, the settled items; a part of which an event
changes little, the responses without unsettled items; and a small part that changes all the time,
the unsettled rest.  `StateTracker` says what a writer owes since it last wrote; `assemble` makes
the state of what has been written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum, auto
from itertools import islice
from typing import TYPE_CHECKING

import attrs

from ..model.transcript_state import (
    RealtimeTranscriptState,
    TranscriptCompletionState,
    TranscriptItemState,
    TranscriptStateError,
    TranscriptStateRule,
)
from .durable import state_from_json, state_to_json
from .records import text_digest
from .restore import _item_state

if TYPE_CHECKING:
    from ..model.conversation import JSON
    from .authority import TranscriptAuthority
    from .records import PastResponse, Response


@attrs.frozen
class PlacedItem:
    """An item and its number in the order of arrival."""

    seen: int
    item_id: str
    state: TranscriptItemState


@attrs.frozen(kw_only=True)
class ResponseState:
    """What is known of a response, apart from its items."""

    completion: TranscriptCompletionState | None = None
    discarded: bool = False


@attrs.frozen(kw_only=True)
class UnsettledState:
    """All that may still change: unsettled items, their responses, and ownerless delta ids."""

    items: tuple[PlacedItem, ...] = ()
    responses: Mapping[str, ResponseState] = attrs.field(factory=dict)
    loose_delta_ids: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class StateIncrement:
    """What has to be written.

    `settled`: to be added.  `responses`: to be replaced; those with None to be removed.
    `unsettled`: replaces all of its kind.  The totals count everything that is then written.
    """

    settled: tuple[PlacedItem, ...]
    responses: Mapping[str, ResponseState | None]
    unsettled: UnsettledState
    settled_total: int
    responses_total: int


class StateTracker:
    """Follows one authority, which must be in the state that has been written.

    Every response that an event names has to be told to `touch`.
    """

    def __init__(self, authority: TranscriptAuthority) -> None:
        self._order = authority._items.order
        self._ledger = authority._items.responses
        self._seen_delta_ids = authority._items.seen_delta_ids
        self._written = len(self._order.settled)
        self._touched: set[str] = set()

    @classmethod
    def of_nothing(cls, authority: TranscriptAuthority) -> StateTracker:
        """A tracker of an authority of which nothing has been written yet."""
        tracker = cls(authority)
        tracker._written = 0
        tracker._touched.update(tracker._ledger.past)
        return tracker

    def touch(self, response_id: str) -> None:
        """An event named this response."""
        self._touched.add(response_id.strip())

    def increment(self) -> StateIncrement:
        """What is owed.  Costs time proportional to it, not to the conversation."""
        settled = self._order.settled
        # Items are settled for good and in insertion order, so that the new ones are at the end.
        fresh = [*islice(reversed(settled.items()), len(settled) - self._written)]
        added = tuple(
            PlacedItem(record.seen, item_id, _item_state(record))
            for item_id, record in reversed(fresh)
        )
        waiting = self._order.waiting.values()
        # An event changes the response that it names.  It can change another only through that
        # response's items, which are then still there, or settled, and name it.
        touched = self._touched | {item.state.response_id for item in added}
        touched.update(item.response_id for item in waiting)
        past = self._ledger.past
        owned = {delta_id for item in waiting for delta_id in item.delta_ids}
        return StateIncrement(
            settled=added,
            responses={
                response_id: _response_state(past[response_id]) if response_id in past else None
                for response_id in touched
                if response_id
            },
            unsettled=UnsettledState(
                items=tuple(
                    PlacedItem(item.seen, item.item_id, _item_state(item)) for item in waiting
                ),
                responses={
                    response_id: state
                    for response_id, response in self._ledger.live.items()
                    if (state := _response_state(response)) != _NOTHING_KNOWN
                },
                loose_delta_ids=tuple(sorted(self._seen_delta_ids - owned)),
            ),
            settled_total=len(settled),
            responses_total=len(past),
        )

    def written(self) -> None:
        """The increment as of now has been written."""
        self._written = len(self._order.settled)
        self._touched.clear()


_NOTHING_KNOWN = ResponseState()


def _response_state(response: Response | PastResponse) -> ResponseState:
    completion = None
    if response.stop_reason is not None:
        completion = TranscriptCompletionState(
            stop_reason=response.stop_reason,
            usage=response.usage,
            usage_consumed=response.emitted,
        )
    return ResponseState(completion=completion, discarded=response.discarded)


def assemble(
    settled: Iterable[PlacedItem],
    responses: Mapping[str, ResponseState],
    unsettled: UnsettledState,
) -> RealtimeTranscriptState:
    """The state whose parts these are.  Whether it is consistent, an authority will say.

    Raises TranscriptStateError if the parts contradict each other.
    """
    places: dict[int, PlacedItem] = {}
    for item in (*settled, *unsettled.items):
        if item.seen in places:
            raise TranscriptStateError(
                TranscriptStateRule.ORDER_MATCHES_ITEMS,
                item.item_id,
                f"arrived at the same time as {places[item.seen].item_id!r}",
            )
        places[item.seen] = item
    in_order = [places[seen] for seen in sorted(places)]
    owned = (delta_id for item in unsettled.items for delta_id in item.state.delta_ids)
    known = {**responses, **unsettled.responses}
    return RealtimeTranscriptState(
        items={item.item_id: item.state for item in in_order},
        first_seen_order=tuple(item.item_id for item in in_order),
        seen_delta_ids=tuple(sorted({*owned, *unsettled.loose_delta_ids})),
        assistant_completions={
            response_id: response.completion
            for response_id, response in sorted(known.items())
            if response.completion is not None
        },
        discarded_assistant_response_ids=tuple(
            sorted(response_id for response_id, response in known.items() if response.discarded)
        ),
    )


# ---------------------------------------------------------------- settled items


def canonical_item_ids(authority: TranscriptAuthority) -> Iterator[str]:
    """The items that have become part of the conversation, as they were settled."""
    settled = authority._items.order.settled
    return (item_id for item_id, record in settled.items() if not record.skipped)


class SettledText(Enum):
    """How a text compares with what an item was settled with."""

    UNSETTLED = auto()
    SAME = auto()
    """Or it cannot be told any more."""
    OTHER = auto()
    """Or with none: it is skipped."""


def compare_settled_text(authority: TranscriptAuthority, item_id: str, text: str) -> SettledText:
    """Whether an item is settled, and with this text."""
    record = authority._items.order.settled.get(item_id.strip())
    if record is None:
        return SettledText.UNSETTLED
    same = not record.skipped and record.digest in (None, text_digest(text))
    return SettledText.SAME if same else SettledText.OTHER


# ---------------------------------------------------------------- JSON


def item_to_json(item: PlacedItem) -> dict[str, JSON]:
    """The JSON form: that of the item in the whole state, with its id and its place."""
    whole = state_to_json(RealtimeTranscriptState(items={item.item_id: item.state}))
    return {"seen": item.seen, "item_id": item.item_id, **whole["items"][item.item_id]}


def item_from_json(data: JSON) -> PlacedItem:
    """The item that `data` is the JSON form of.  Raises TranscriptStateError."""
    fields = dict(_object(data, "item"))
    item_id, seen = fields.pop("item_id", None), fields.pop("seen", None)
    if not isinstance(item_id, str) or type(seen) is not int:
        raise _unreadable("item", data)
    return PlacedItem(seen, item_id, state_from_json({"items": {item_id: fields}}).items[item_id])


def response_to_json(response_id: str, response: ResponseState) -> dict[str, JSON]:
    """The JSON form: that of its completion in the whole state, with its id."""
    data: dict[str, JSON] = {"response_id": response_id}
    if response.discarded:
        data["discarded"] = True
    if response.completion is not None:
        whole = state_to_json(
            RealtimeTranscriptState(assistant_completions={response_id: response.completion})
        )
        data["completion"] = whole["assistant_completions"][response_id]
    return data


def response_from_json(data: JSON) -> tuple[str, ResponseState]:
    """The response that `data` is the JSON form of.  Raises TranscriptStateError."""
    fields = _object(data, "response")
    response_id, discarded = fields.get("response_id"), fields.get("discarded", False)
    if not isinstance(response_id, str) or not isinstance(discarded, bool):
        raise _unreadable("response", data)
    completion = None
    if "completion" in fields:
        whole = state_from_json({"assistant_completions": {response_id: fields["completion"]}})
        completion = whole.assistant_completions[response_id]
    return response_id, ResponseState(completion=completion, discarded=discarded)


def _object(data: JSON, what: str) -> Mapping[str, JSON]:
    if not isinstance(data, dict):
        raise _unreadable(what, data)
    return data


def _unreadable(what: str, data: JSON) -> TranscriptStateError:
    return TranscriptStateError(TranscriptStateRule.READABLE, what, f"cannot be read: {data!r:.80}")
