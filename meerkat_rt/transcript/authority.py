"""The transcript authority: which items become canonical, with which text, in which order.

Items are ordered by their predecessors and otherwise by arrival.  An item is settled after its
predecessor, when it is skipped, when it is a user's item with text, or when it is an assistant's
item with text whose response has ended.  Settled items never change: history is append-only.

What is worth knowing beyond the rules of the single events (each is at its handler):

* The first completion of a response counts.  One that says `tool_use` leaves the response open; it
  even withdraws an earlier completion under which nothing has become canonical yet.
* A completion that overtakes the text of its response commits the first delta alone, because
  nothing says which delta is the last.  Whoever feeds the authority sends completions last.
* Several segments of a user's item are joined without a separator.  The first one commits the item
  if it waits for nothing; what comes later is refused.
* Delta ids are compared as they are, across all items, for as long as their item is unsettled; a
  settled item refuses every delta.  A blank delta id says nothing about repetition.
* An observed item without text keeps all that follow it waiting.  `blocked` shows which; a skip,
  text, or the end of its response resolves it.
* `AssistantTranscriptTruncated` and `AssistantTranscriptFinalText` name no predecessor.  If one of
  them is the first that is heard of an item, the item must be linked before its response ends.

The state machine is a pure reducer: no I/O, no clock, and the same events give the same outcomes.
An event costs amortized constant time, apart from sorting the items that come free together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..model.conversation import StopReason
from ..model.delta_run import DeltaRun
from ..model.transcript import (
    AssistantTextDelta,
    AssistantTranscriptDelta,
    AssistantTranscriptFinalText,
    AssistantTranscriptTruncated,
    AssistantTurnCompleted,
    AssistantTurnInterrupted,
    BlockedTranscriptItem,
    ItemObserved,
    ItemSkipped,
    RealtimeTranscriptApplyOutcome,
    RealtimeTranscriptEvent,
    RealtimeTranscriptRole,
    TranscriptLane,
    TranscriptRule,
    TranscriptWait,
    UserTranscriptFinal,
)
from .ledger import ItemLedger
from .messages import canonical_messages
from .order import CausalOrder
from .records import Item, ResponseLedger
from .restore import rebuild, snapshot
from .step import Step, given_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..model.delta_run import TranscriptEntry
    from ..model.transcript_state import RealtimeTranscriptState

_ASSISTANT = RealtimeTranscriptRole.ASSISTANT
_USER = RealtimeTranscriptRole.USER
_DISPLAY = TranscriptLane.DISPLAY
_SPOKEN = TranscriptLane.SPOKEN

_NOTHING = RealtimeTranscriptApplyOutcome()

_LANES: dict[type, TranscriptLane] = {
    AssistantTextDelta: _DISPLAY,
    AssistantTranscriptDelta: _SPOKEN,
}


class TranscriptAuthority:
    """Turns transcript events into canonical messages.

    `state` is what an earlier authority had as its `state`.  With `keep_heard_prefix`, a truncation
    says what the user heard, for good: the text is a heard prefix that deltas and final texts no
    longer change, that a second truncation can only shorten, that survives when its response is
    then interrupted or cancelled, and that is marked `truncated`.  Otherwise a truncation is one
    replacement of the text among others, and goes with the rest of the spoken text when the
    response is interrupted.

    Raises TranscriptStateError if `state` is inconsistent.
    """

    def __init__(
        self, state: RealtimeTranscriptState | None = None, *, keep_heard_prefix: bool = False
    ) -> None:
        self._keep_heard_prefix = keep_heard_prefix
        if state is None:
            self._items = ItemLedger(CausalOrder(), ResponseLedger(), set())
        else:
            self._items = ItemLedger(*rebuild(state))
        self._responses = self._items.responses
        self._waiting = self._items.order.waiting
        self._seen_delta_ids = self._items.seen_delta_ids

    # ------------------------------------------------------------ queries

    @property
    def state(self) -> RealtimeTranscriptState:
        """What a restart needs.  Costs time proportional to all items and undelivered text."""
        return snapshot(self._items.order, self._responses, self._seen_delta_ids)

    @property
    def items_known(self) -> int:
        """Of how many items anything has been said."""
        order = self._items.order
        return len(order.settled) + len(order.waiting)

    @property
    def delta_ids(self) -> frozenset[str]:
        """The ids of the deltas that would be taken for copies: those of unsettled items."""
        return frozenset(self._seen_delta_ids)

    def knows_item(self, item_id: str) -> bool:
        """Whether anything has been said of the item."""
        order = self._items.order
        return item_id in order.settled or item_id in order.waiting

    def knows_response(self, response_id: str) -> bool:
        """Whether anything has been said of the response."""
        return self._responses.find(response_id) is not None

    @property
    def in_flight_response_ids(self) -> tuple[str, ...]:
        """The responses that have unsettled items and were not discarded, by their first item."""
        return tuple(
            dict.fromkeys(
                item.response.response_id
                for item in self._waiting.values()
                if item.response is not None and not item.response.discarded
            )
        )

    @property
    def blocked(self) -> tuple[BlockedTranscriptItem, ...]:
        """The unsettled items in the order of arrival, and what each waits for."""
        return tuple(
            BlockedTranscriptItem(
                item_id=item.item_id,
                waits_for=_wait(item),
                previous_item_id=item.previous,
                response_id=item.response_id,
            )
            for item in self._waiting.values()
        )

    # ------------------------------------------------------------ events

    def apply(self, event: RealtimeTranscriptEvent) -> RealtimeTranscriptApplyOutcome:
        """Take in one event.  What cannot be used is ignored and named in the diagnostics.

        Raises TypeError if `event` is none of the nine.
        """
        return self._apply(event)

    def apply_all(self, entries: Iterable[TranscriptEntry]) -> list[RealtimeTranscriptApplyOutcome]:
        """As `apply` for each, in order; returns the outcomes in which there is something.

        A run is taken in at once where each of its deltas is but one more piece of text.  It comes
        to what its events one by one come to.

        Raises TypeError at the first that is none of the nine; those before it have been taken in.
        """
        outcomes: list[RealtimeTranscriptApplyOutcome] = []
        seen, waiting = self._seen_delta_ids, self._waiting.get
        entry: Any
        for entry in entries:
            kind = entry.__class__
            if kind in _LANES:
                item = waiting(entry.item_id)
                if item is not None and item.grows_by(entry, _LANES[kind]):
                    delta_id, delta = entry.delta_id, entry.delta
                    # Ids that differ in white space only take the other path.
                    if delta and delta_id not in seen and delta_id.strip():
                        seen.add(delta_id)
                        item.delta_ids.append(delta_id)
                        item.tail.append(delta)
                        continue
            elif kind is DeltaRun:
                self._take_run(entry, outcomes)
                continue
            outcome = self._apply(entry)
            if outcome is not _NOTHING:
                outcomes.append(outcome)
        return outcomes

    def _take_run(self, run: DeltaRun, outcomes: list[RealtimeTranscriptApplyOutcome]) -> None:
        if self._appended(run, run.delta_ids, run.deltas):
            return
        # The first delta takes the long way, and those behind it may not have to.
        one_by_one = iter(run)
        outcomes += self.apply_all((next(one_by_one),))
        if not self._appended(run, run.delta_ids[1:], run.deltas[1:]):
            outcomes += self.apply_all(one_by_one)

    def _appended(self, run: DeltaRun, ids: list[str], deltas: list[str]) -> bool:
        """Append deltas of a run to their item, if each is but one more piece of its text."""
        item, seen, lane = self._waiting.get(run.item_id), self._seen_delta_ids, _LANES[run.kind]
        if item is None:
            return False
        begins = not item.grows_by(run, lane)
        if begins and not self._items.may_begin(item, run):
            return False
        if not (run.plain and seen.isdisjoint(ids)):
            return False
        seen.update(ids)
        item.delta_ids += ids
        if begins:
            item.lane = lane
            item.append(run.content_index, deltas[0])
            deltas = deltas[1:]
            self._items.begun(item)
        item.tail += deltas
        return True

    def _apply(self, event: RealtimeTranscriptEvent) -> RealtimeTranscriptApplyOutcome:
        try:
            rule = _RULES[event.__class__]
        except KeyError:
            raise TypeError(f"not a transcript event: {event!r}") from None
        step = Step()
        rule(self, event, step)
        entries = self._items.settle(step)
        if not entries and not step.notes:
            return _NOTHING
        return RealtimeTranscriptApplyOutcome(
            materialized_messages=tuple(entries),
            messages=canonical_messages(entries),
            diagnostics=tuple(step.notes),
        )

    def _item_observed(self, event: ItemObserved, step: Step) -> None:
        # The item's place, and perhaps its response; never content.
        response_id = given_id(event.response_id) if event.role is _ASSISTANT else None
        if response_id is not None and self._responses.is_discarded(response_id):
            self._items.anchor(event.item_id, event.previous_item_id, response_id, step)
        else:
            self._items.observe(
                event.item_id, event.previous_item_id, event.role, response_id, step
            )

    def _item_skipped(self, event: ItemSkipped, step: Step) -> None:
        # Also releases a user's item that has no text: an empty transcription would otherwise hold
        # back the rest of the session.
        self._items.skip(event.item_id, event.previous_item_id, None, step)

    def _user_transcript_final(self, event: UserTranscriptFinal, step: Step) -> None:
        # The first text of a segment wins, also over an empty one.  White space is text.
        index, text = event.content_index, event.text
        if self._items.is_settled(event.item_id, step, index, text):
            return
        item = self._items.observe(event.item_id, event.previous_item_id, _USER, None, step)
        if item is None or not step.accepts_index(item, index):
            return
        present = item.segment(index)
        if not text:
            step.note(TranscriptRule.EMPTY_TEXT, "the final text is empty", item.item_id)
        elif not present:
            item.append(index, text)
            self._items.offer(item, step)
        elif present == text:
            step.note(TranscriptRule.DUPLICATE_TEXT, "the text is already there", item.item_id)
        else:
            step.note(TranscriptRule.TEXT_CONFLICT, "the first final text stays", item.item_id)

    def _assistant_delta(
        self, event: AssistantTextDelta | AssistantTranscriptDelta, step: Step
    ) -> None:
        lane = _LANES[event.__class__]
        response_id = step.response_id(event.response_id)
        if response_id is None:
            return
        if event.delta_id in self._seen_delta_ids:
            step.note(
                TranscriptRule.DUPLICATE_DELTA,
                f"the delta {event.delta_id!r} was there before",
                event.item_id,
                response_id,
            )
            return
        if self._responses.is_discarded(response_id):
            self._items.anchor(event.item_id, event.previous_item_id, response_id, step)
            return
        item = self._items.observe(
            event.item_id, event.previous_item_id, _ASSISTANT, response_id, step
        )
        # An id counts as seen even if its text is refused, as long as there is an item to hold it.
        holder = self._waiting.get(event.item_id.strip())
        if holder is not None and event.delta_id.strip():
            self._seen_delta_ids.add(event.delta_id)
            holder.delta_ids.append(event.delta_id)
        if item is None or not step.accepts_index(item, event.content_index):
            return
        if item.heard_index is not None:
            step.heard_already(item, "the item was cut to what was heard")
        elif item.segments and item.lane is not lane:
            step.lane_conflict(item, lane)
        else:
            item.lane = lane
            if event.delta:
                item.append(event.content_index, event.delta)
                self._items.offer(item, step)

    def _assistant_final_text(self, event: AssistantTranscriptFinalText, step: Step) -> None:
        # Replaces one segment and is no lock: a later delta is appended to it.
        if self._items.is_settled(event.item_id, step, event.content_index, event.text):
            return
        item = self._items.spoken_item(event, step)
        if item is None:
            return
        if item.heard_index is not None:
            step.heard_already(item, "the item was cut to what was heard")
        else:
            item.lane = _SPOKEN
            item.replace(event.content_index, event.text)
            self._items.offer(item, step)

    def _assistant_truncated(self, event: AssistantTranscriptTruncated, step: Step) -> None:
        index, text = event.content_index, event.text
        heard = self._waiting.get(event.item_id.strip())
        if heard is not None and heard.heard_index is not None and not heard.skipped:
            # What was heard stays so when the response is discarded, and so can be shortened.
            if heard.response_id != given_id(event.response_id):
                self._items.spoken_item(event, step)  # says what is wrong
            elif not step.accepts_index(heard, index):
                return
            elif not heard.shortens_heard(index, text):
                step.heard_already(heard, "what was heard can only become shorter")
            else:
                heard.hear(index, text)
                if not heard.segments and heard.response is not None and heard.response.discarded:
                    self._items.drop(heard, step)
                else:
                    self._items.offer(heard, step)
            return
        item = self._items.spoken_item(event, step)
        if item is None:
            return
        item.lane = _SPOKEN
        if self._keep_heard_prefix:
            item.hear(index, text)
        else:
            item.replace(index, text)
        self._items.offer(item, step)

    def _assistant_turn_completed(self, event: AssistantTurnCompleted, step: Step) -> None:
        response_id = step.response_id(event.response_id)
        if response_id is None:
            return
        known = self._responses.find(response_id)
        if known is not None and known.discarded:
            # Kept display text may still be waiting; the usual `cancelled` must not drop it.
            step.discarded_already(response_id)
        elif event.stop_reason is StopReason.CANCELLED:
            self._items.discard(self._responses.revive(response_id), step, keep_display=False)
        elif event.stop_reason is StopReason.TOOL_USE and (known is None or not known.emitted):
            if known is not None:
                response = self._responses.revive(response_id)
                response.stop_reason = response.usage = None
                self._responses.tidy(response)
        elif known is not None and known.stop_reason is not None:
            step.note(
                TranscriptRule.COMPLETION_REPEATED,
                f"the response has ended with {known.stop_reason}",
                response_id=response_id,
            )
        else:
            response = self._responses.revive(response_id)
            response.stop_reason, response.usage = event.stop_reason, event.usage
            step.free.extend(response.due)
            self._responses.tidy(response)

    def _assistant_turn_interrupted(self, event: AssistantTurnInterrupted, step: Step) -> None:
        response_id = step.response_id(event.response_id)
        if response_id is None:
            return
        if self._responses.is_discarded(response_id):
            step.discarded_already(response_id)
        else:
            self._items.discard(self._responses.revive(response_id), step, keep_display=True)


def _wait(item: Item) -> TranscriptWait:
    if item.blocked:
        return TranscriptWait.PREDECESSOR
    if item.role is _ASSISTANT and item.response is None:
        return TranscriptWait.RESPONSE
    return TranscriptWait.COMPLETION if item.segments else TranscriptWait.TEXT


_RULES: dict[type, Callable[[TranscriptAuthority, Any, Step], None]] = {
    ItemObserved: TranscriptAuthority._item_observed,
    ItemSkipped: TranscriptAuthority._item_skipped,
    UserTranscriptFinal: TranscriptAuthority._user_transcript_final,
    AssistantTextDelta: TranscriptAuthority._assistant_delta,
    AssistantTranscriptDelta: TranscriptAuthority._assistant_delta,
    AssistantTranscriptTruncated: TranscriptAuthority._assistant_truncated,
    AssistantTranscriptFinalText: TranscriptAuthority._assistant_final_text,
    AssistantTurnCompleted: TranscriptAuthority._assistant_turn_completed,
    AssistantTurnInterrupted: TranscriptAuthority._assistant_turn_interrupted,
}
