"""From the authority's memory to a durable state and back, with every check on the way back."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NoReturn

from ..model.transcript import RealtimeTranscriptRole, TranscriptLane
from ..model.transcript_state import (
    RealtimeTranscriptState,
    TranscriptCompletionState,
    TranscriptItemState,
    TranscriptStateError,
    TranscriptStateRule,
)
from .order import CausalOrder, depth_after
from .records import Item, PastResponse, Response, ResponseLedger, SettledItem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet

# ---------------------------------------------------------------- out


def snapshot(
    order: CausalOrder, responses: ResponseLedger, seen_delta_ids: AbstractSet[str]
) -> RealtimeTranscriptState:
    """The durable state."""
    records: dict[str, Item | SettledItem] = {**order.settled, **order.waiting}
    in_order = sorted(records.items(), key=lambda pair: pair[1].seen)
    known: dict[str, Response | PastResponse] = {**responses.past, **responses.live}
    return RealtimeTranscriptState(
        items={item_id: _item_state(record) for item_id, record in in_order},
        first_seen_order=tuple(item_id for item_id, _ in in_order),
        seen_delta_ids=tuple(sorted(seen_delta_ids)),
        assistant_completions={
            response_id: TranscriptCompletionState(
                stop_reason=response.stop_reason,
                usage=response.usage,
                usage_consumed=response.emitted,
            )
            for response_id, response in sorted(known.items())
            if response.stop_reason is not None
        },
        discarded_assistant_response_ids=tuple(
            sorted(response_id for response_id, response in known.items() if response.discarded)
        ),
    )


def _item_state(record: Item | SettledItem) -> TranscriptItemState:
    if isinstance(record, SettledItem):
        return TranscriptItemState(
            role=record.role,
            previous_item_id=record.previous,
            response_id=record.response_id,
            skipped=record.skipped,
            ready=True,
            materialized=True,
            lane=record.lane,
            text_digest=record.digest,
        )
    response = record.response
    ended = record.role is RealtimeTranscriptRole.USER or (
        response is not None and response.stop_reason is not None
    )
    return TranscriptItemState(
        role=record.role,
        previous_item_id=record.previous,
        response_id=record.response_id,
        content_segments={index: record.segment(index) for index in sorted(record.segments)},
        skipped=record.skipped,
        ready=record.skipped or (ended and bool(record.segments)),
        lane=record.lane,
        delta_ids=tuple(record.delta_ids),
        heard_content_index=record.heard_index,
    )


# ---------------------------------------------------------------- checks


def check(state: RealtimeTranscriptState) -> None:
    """Raise TranscriptStateError, naming the rule and the subject, unless `state` is consistent."""
    order = set(state.first_seen_order)
    if len(order) != len(state.first_seen_order) or order != state.items.keys():
        odd = sorted(order ^ state.items.keys()) or _repeated(state.first_seen_order)
        _refuse(TranscriptStateRule.ORDER_MATCHES_ITEMS, odd[0], "order and items differ")
    for kind, name in _ids(state):
        if not name.strip():
            _refuse(TranscriptStateRule.IDS_NOT_BLANK, kind, f"blank {kind}")
    _check_cycles(state)
    discarded = set(state.discarded_assistant_response_ids)
    seen, owned = set(state.seen_delta_ids), set[str]()
    for item_id, item in state.items.items():
        if item.materialized:
            _check_settled(state, item_id, item)
        if item.role is RealtimeTranscriptRole.ASSISTANT and not item.skipped:
            _check_assistant(state, item_id, item, discarded)
        ids = set(item.delta_ids)
        if (
            not ids <= seen
            or ids & owned
            or len(ids) < len(item.delta_ids)
            or (ids and item.materialized)
        ):
            _refuse(TranscriptStateRule.DELTA_IDS_OWNED_ONCE, item_id, "delta ids are in doubt")
        owned |= ids


def _check_settled(state: RealtimeTranscriptState, item_id: str, item: TranscriptItemState) -> None:
    if item.previous_item_id is not None:
        predecessor = state.items.get(item.previous_item_id)
        if predecessor is None or not predecessor.materialized:
            _refuse(
                TranscriptStateRule.SETTLED_AFTER_PREDECESSOR,
                item_id,
                f"settled before its predecessor {item.previous_item_id!r}",
            )
    if not (item.ready or item.skipped):
        _refuse(TranscriptStateRule.SETTLED_IS_READY, item_id, "settled but never ready")


def _check_assistant(
    state: RealtimeTranscriptState,
    item_id: str,
    item: TranscriptItemState,
    discarded: set[str],
) -> None:
    rules = TranscriptStateRule
    has_text = any(item.content_segments.values())
    if item.response_id is None:
        if has_text:
            _refuse(rules.TEXT_OF_COMPLETED_IS_READY, item_id, "text without a response")
        if item.ready or item.materialized:
            _refuse(rules.ASSISTANT_HAS_RESPONSE, item_id, "no response")
        return
    completion = state.assistant_completions.get(item.response_id)
    if item.ready and completion is None:
        _refuse(rules.READY_HAS_COMPLETION, item_id, "ready in a response that has not ended")
    if item.materialized:
        if completion is None or not completion.usage_consumed:
            _refuse(rules.SETTLED_USAGE_CONSUMED, item_id, "settled, and its usage is not consumed")
        return
    if has_text and completion is not None and not item.ready:
        _refuse(rules.TEXT_OF_COMPLETED_IS_READY, item_id, "its response has ended")
    if (
        item.response_id in discarded
        and item.lane is not TranscriptLane.DISPLAY
        and item.heard_content_index is None
    ):
        _refuse(rules.DISCARDED_KEEPS_NO_SPOKEN, item_id, "spoken text of a discarded response")


def _check_cycles(state: RealtimeTranscriptState) -> None:
    # Every chain is walked until it ends or meets one that is known to end: linear in the items.
    ends: set[str] = set()
    for start in state.first_seen_order:
        path: dict[str, None] = {}
        item_id: str | None = start
        while item_id is not None and item_id not in ends:
            if item_id in path:
                _refuse(TranscriptStateRule.NO_CYCLE, item_id, "the item follows itself")
            path[item_id] = None
            item = state.items.get(item_id)
            item_id = None if item is None else item.previous_item_id
        ends.update(path)


def _ids(state: RealtimeTranscriptState) -> Iterator[tuple[str, str]]:
    for item_id, item in state.items.items():
        yield "item id", item_id
        if item.previous_item_id is not None:
            yield "predecessor", item.previous_item_id
        if item.response_id is not None:
            yield "response of an item", item.response_id
    for delta_id in state.seen_delta_ids:
        yield "delta id", delta_id
    for response_id in state.assistant_completions:
        yield "completed response", response_id
    for response_id in state.discarded_assistant_response_ids:
        yield "discarded response", response_id


def _repeated(ids: tuple[str, ...]) -> list[str]:
    return sorted(item_id for item_id, count in Counter(ids).items() if count > 1)


def _refuse(rule: TranscriptStateRule, subject: str, message: str) -> NoReturn:
    raise TranscriptStateError(rule, subject, message)


# ---------------------------------------------------------------- in


def rebuild(state: RealtimeTranscriptState) -> tuple[CausalOrder, ResponseLedger, set[str]]:
    """The memory that `state` is the durable form of.  Raises TranscriptStateError."""
    check(state)
    responses = ResponseLedger()
    for response_id, completion in state.assistant_completions.items():
        response = responses.revive(response_id)
        response.stop_reason = completion.stop_reason
        response.usage = completion.usage
        response.emitted = completion.usage_consumed
    for response_id in state.discarded_assistant_response_ids:
        responses.revive(response_id).discarded = True
    order = CausalOrder()
    arrival = {item_id: seen for seen, item_id in enumerate(state.first_seen_order)}
    order.next_seen = len(arrival)
    for item_id in _settled_in_causal_order(state):
        item = state.items[item_id]
        order.settled[item_id] = SettledItem(
            seen=arrival[item_id],
            depth=depth_after(arrival[item_id], order.settled.get(item.previous_item_id or "")),
            role=item.role,
            lane=item.lane,
            skipped=item.skipped,
            previous=item.previous_item_id,
            response_id=item.response_id,
            digest=item.text_digest,
        )
    for item_id, seen in arrival.items():
        item = state.items[item_id]
        if not item.materialized:
            record = order.waiting[item_id] = _waiting_item(item_id, seen, item)
            if item.previous_item_id is not None:
                order.link(record, item.previous_item_id)
            if record.response_id is not None and not record.skipped:
                record.attach(responses.revive(record.response_id))
    for response in list(responses.live.values()):
        responses.tidy(response)
    return order, responses, set(state.seen_delta_ids)


def _waiting_item(item_id: str, seen: int, item: TranscriptItemState) -> Item:
    assistant = item.role is RealtimeTranscriptRole.ASSISTANT
    record = Item(
        item_id=item_id,
        seen=seen,
        role=item.role,
        response_id=item.response_id if assistant else None,
        lane=item.lane,
        segments={index: [text] for index, text in item.content_segments.items() if text},
        delta_ids=list(item.delta_ids),
        heard_index=item.heard_content_index,
    )
    if item.skipped:
        record.skip()
    return record


def _settled_in_causal_order(state: RealtimeTranscriptState) -> Iterator[str]:
    done: set[str] = set()
    for start in state.first_seen_order:
        path: list[str] = []
        item_id: str | None = start
        while item_id is not None and item_id not in done and state.items[item_id].materialized:
            done.add(item_id)
            path.append(item_id)
            item_id = state.items[item_id].previous_item_id
        yield from reversed(path)
