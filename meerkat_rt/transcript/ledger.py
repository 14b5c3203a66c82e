"""What the rules do to items: create, link, skip, discard, and settle them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..model.conversation import StopReason
from ..model.transcript import (
    AssistantTranscriptFinalText,
    AssistantTranscriptTruncated,
    MaterializedAssistant,
    MaterializedUser,
    RealtimeTranscriptMaterializedMessage,
    RealtimeTranscriptRole,
    TranscriptLane,
    TranscriptRule,
)
from .messages import NO_USAGE
from .order import CausalOrder, rank
from .records import Item, Response, ResponseLedger, text_digest
from .step import Step, given_id

if TYPE_CHECKING:
    from ..model.delta_run import DeltaRun

_ASSISTANT = RealtimeTranscriptRole.ASSISTANT
_DISPLAY = TranscriptLane.DISPLAY
_SPOKEN = TranscriptLane.SPOKEN


class ItemLedger:
    """Items in their order, the responses they belong to, and the delta ids they have taken.

    An item is free to be settled when it is not blocked and is skipped, or has text and, if it is
    the assistant's, a response that has ended.  Whatever may make an item free offers it.
    """

    def __init__(
        self, order: CausalOrder, responses: ResponseLedger, seen_delta_ids: set[str]
    ) -> None:
        self.order = order
        self.responses = responses
        self.seen_delta_ids = seen_delta_ids
        # A state that this class has made has nothing left that is free.  What another left undone
        # is settled with the next event, because only events have outcomes.
        self._overdue = [item for item in order.waiting.values() if self._may_settle(item)]

    def observe(
        self,
        raw_item_id: str,
        raw_previous: str | None,
        role: RealtimeTranscriptRole,
        response_id: str | None,
        step: Step,
    ) -> Item | None:
        """The unsettled item that an event is about; created, linked and attached as it says.

        None if the event cannot be about it.
        """
        item_id, previous = step.item_id(raw_item_id), given_id(raw_previous)
        if item_id is None or self.is_settled(item_id, step):
            return None
        item = self.order.waiting.get(item_id)
        if item is None:
            if self._closes_cycle(item_id, previous, step):
                return None
            item = self.order.add(item_id, previous, role)
        elif item.skipped:
            step.note(TranscriptRule.ITEM_SKIPPED, "the item never has content", item_id)
            return None
        elif item.role is not role:
            step.note(TranscriptRule.ROLE_CONFLICT, f"the item is the {item.role}'s", item_id)
            return None
        else:
            self._link(item, previous, step)
            if step.response_conflict(item, response_id):
                return None
        if response_id is not None and item.response is None:
            item.attach(self.responses.revive(response_id))
        return item

    def spoken_item(
        self, event: AssistantTranscriptFinalText | AssistantTranscriptTruncated, step: Step
    ) -> Item | None:
        """The item whose spoken text the event replaces, unless it must not."""
        response_id = step.response_id(event.response_id)
        if response_id is None:
            return None
        if self.responses.is_discarded(response_id):
            self.anchor(event.item_id, None, response_id, step)
            return None
        item = self.observe(event.item_id, None, _ASSISTANT, response_id, step)
        if item is None or not step.accepts_index(item, event.content_index):
            return None
        if item.segments and item.lane is not _SPOKEN:
            step.lane_conflict(item, _SPOKEN)
            return None
        return item

    def anchor(
        self, raw_item_id: str, raw_previous: str | None, response_id: str, step: Step
    ) -> None:
        """An item of a discarded response: only its place counts, so that others can follow it."""
        step.note(
            TranscriptRule.DISCARDED_RESPONSE,
            "the response was discarded; of its items only the place counts",
            raw_item_id,
            response_id,
        )
        self.skip(raw_item_id, raw_previous, response_id, step)

    def skip(
        self, raw_item_id: str, raw_previous: str | None, discarded_id: str | None, step: Step
    ) -> None:
        """Make an item without text a mere place.  `discarded_id` is the response that is why."""
        item_id, previous = step.item_id(raw_item_id), given_id(raw_previous)
        if item_id is None or self.is_settled(item_id, step):
            return
        item = self.order.waiting.get(item_id)
        if item is None:
            if self._closes_cycle(item_id, previous, step):
                return
            item = self.order.add(item_id, previous, _ASSISTANT)
        elif item.skipped:
            step.note(TranscriptRule.ITEM_SKIPPED, "the item is skipped already", item_id)
            return
        elif discarded_id is not None and item.role is not _ASSISTANT:
            step.note(TranscriptRule.ROLE_CONFLICT, f"the item is the {item.role}'s", item_id)
            return
        else:
            self._link(item, previous, step)
            if step.response_conflict(item, discarded_id):
                return
            if item.segments:
                if discarded_id is None:
                    step.note(TranscriptRule.SKIP_OF_ITEM_WITH_TEXT, "the item has text", item_id)
                return
        self.drop(item, step)

    def drop(self, item: Item, step: Step) -> None:
        """Make an item a mere place, whatever it has."""
        item.skip()
        self._leave_response(item)
        self.offer(item, step)

    def _leave_response(self, item: Item) -> None:
        response = item.response
        if response is not None:
            item.detach()
            self.responses.tidy(response)

    def discard(self, response: Response, step: Step, *, keep_display: bool) -> None:
        """Drop the unsettled items of a response, except heard text, and display text if asked."""
        response.discarded = True
        for item in list(response.items):
            if item.segments and (
                item.heard_index is not None or (keep_display and item.lane is _DISPLAY)
            ):
                item.fast_lane = None
            else:
                item.skip()
                item.detach()
                self.offer(item, step)
        if response.items:
            # What is kept becomes canonical as if the response had ended here; nobody is charged.
            response.stop_reason = response.stop_reason or StopReason.CANCELLED
            step.free.extend(response.due)
        self.responses.tidy(response)

    def _link(self, item: Item, previous: str | None, step: Step) -> None:
        if previous is None or item.previous == previous:
            return
        if item.previous is not None:
            step.note(
                TranscriptRule.PREDECESSOR_CONFLICT,
                f"the item follows {item.previous!r}, not {previous!r}",
                item.item_id,
            )
        elif not self._closes_cycle(item.item_id, previous, step):
            self.order.link(item, previous)
            if item.blocked and item.response is not None:
                item.response.due.pop(item, None)

    def _closes_cycle(self, item_id: str, previous: str | None, step: Step) -> bool:
        if previous is None or not self.order.closes_cycle(item_id, previous):
            return False
        step.note(TranscriptRule.PREDECESSOR_CYCLE, f"{previous!r} comes after the item", item_id)
        return True

    def is_settled(
        self, raw_item_id: str, step: Step, index: int | None = None, text: str = ""
    ) -> bool:
        """Whether it is too late for the item.

        A settled item answers for itself; if `text` is known to contradict it, it says so.
        """
        item_id = raw_item_id.strip()
        record = self.order.settled.get(item_id)
        if record is None:
            return False
        if index == 0 and text and record.digest not in (None, text_digest(text)):
            step.note(TranscriptRule.TEXT_CONFLICT, "the item is settled with other text", item_id)
        else:
            step.note(TranscriptRule.ITEM_SETTLED, "the item is settled", item_id)
        return True

    # ------------------------------------------------------------ settling

    def _may_settle(self, item: Item) -> bool:
        # Also keeps the response's list of what is due when it ends.
        if item.blocked:
            return False
        if item.skipped:
            return True
        response = item.response
        if not item.segments:
            if response is not None:
                response.due.pop(item, None)
            return False
        if response is None or response.stop_reason is not None:
            return True
        response.due[item] = None
        return False

    def offer(self, item: Item, step: Step) -> None:
        """Something has changed about the item: have it settled if it is free now."""
        if self._may_settle(item):
            step.free.append(item)

    def may_begin(self, item: Item, run: DeltaRun) -> bool:
        """Whether nothing comes of a run but that the item has text; see `begun`."""
        return not self._overdue and item.begins_with(run)

    def begun(self, item: Item) -> None:
        """The item has its first text, and waits for the end of its response."""
        self._may_settle(item)

    def settle(self, step: Step) -> list[RealtimeTranscriptMaterializedMessage]:
        """Settle what the event has set free, and all that this sets free in turn.

        In waves: what is free now, then what follows it, and so on, so that branches come out
        breadth first.  Returns what became canonical.
        """
        free = step.free
        if self._overdue:
            overdue, self._overdue = self._overdue, []
            free.extend(item for item in overdue if item not in free and self._may_settle(item))
        entries: list[RealtimeTranscriptMaterializedMessage] = []
        while free:
            free.sort(key=rank)
            freed: list[Item] = []
            for item in free:
                digest = None
                if not item.skipped:
                    text = item.text()
                    entries.append(_materialize(item, text))
                    if item.segments.keys() == {0}:
                        digest = text_digest(text)
                self.seen_delta_ids.difference_update(item.delta_ids)
                self._leave_response(item)
                freed += filter(self._may_settle, self.order.settle(item, digest))
            free = freed
        return entries


def _materialize(item: Item, text: str) -> RealtimeTranscriptMaterializedMessage:
    response = item.response
    if response is None:
        return MaterializedUser(item.item_id, text)
    assert response.stop_reason is not None  # else the item were not free
    return MaterializedAssistant(
        item_id=item.item_id,
        response_id=response.response_id,
        text=text,
        stop_reason=response.stop_reason,
        usage=response.take_usage() or NO_USAGE,
        lane=item.lane,
        truncated=item.heard_index is not None,
    )
