"""What the authority knows of one item and of one response, while it matters and afterwards."""

from __future__ import annotations

from functools import cache
from hashlib import blake2b
from typing import TYPE_CHECKING

import attrs

from ..model.conversation import StopReason, Usage
from ..model.transcript import RealtimeTranscriptRole, TranscriptLane

if TYPE_CHECKING:
    from ..model.delta_run import DeltaRun
    from ..model.transcript import AssistantTextDelta, AssistantTranscriptDelta


def text_digest(text: str) -> str:
    """What is kept of a settled text, to tell a repetition from a contradiction."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


@attrs.define(eq=False, kw_only=True)
class Item:
    """An item whose place in history is not settled yet.

    `seen` is its number in the order of arrival.  While `blocked`, its predecessor is not settled
    and `depth` means nothing.  `hint` is a shortcut towards the head of its chain.
    """

    item_id: str
    seen: int
    role: RealtimeTranscriptRole
    previous: str | None = None
    hint: str | None = None
    blocked: bool = False
    depth: int = 0
    # The id stays when the item is skipped; the response then no longer has it among its items.
    response_id: str | None = None
    response: Response | None = None
    skipped: bool = False
    lane: TranscriptLane = TranscriptLane.DISPLAY
    # The lane on which a delta may be appended to `tail` without any further question; None where
    # there is one to ask: no text yet, replaced text, heard or interrupted, skipped, a user's item.
    fast_lane: TranscriptLane | None = None
    # Only segments with text are here, so that "has text" is "has segments".
    segments: dict[int, list[str]] = attrs.field(factory=dict)
    tail: list[str] = attrs.field(factory=list)
    tail_index: int = -1
    delta_ids: list[str] = attrs.field(factory=list)
    heard_index: int | None = None

    def attach(self, response: Response) -> None:
        """Make the item one of a response."""
        self.response, self.response_id = response, response.response_id
        response.items[self] = None

    def detach(self) -> None:
        """The item has no further part in its response."""
        if self.response is not None:
            self.response.items.pop(self, None)
            self.response.due.pop(self, None)
            self.response = None

    def append(self, index: int, text: str) -> None:
        """Add non-empty text to a segment."""
        self.tail = self.segments.setdefault(index, [])
        self.tail.append(text)
        self.tail_index = index
        self.fast_lane = None if self.response is None else self.lane

    def grows_by(
        self, delta: AssistantTextDelta | AssistantTranscriptDelta | DeltaRun, lane: TranscriptLane
    ) -> bool:
        """Whether a delta on `lane` is but one more piece of the text at `tail`."""
        return (
            self.fast_lane is lane
            and self.tail_index == delta.content_index
            and self.response_id == delta.response_id
            and (delta.previous_item_id == self.previous or delta.previous_item_id is None)
        )

    def begins_with(self, run: DeltaRun) -> bool:
        """Whether a run is the first text of the item, and nothing else: its response goes on."""
        response = self.response  # none where the item is skipped, or the response discarded
        return (
            response is not None
            and response.stop_reason is None
            and self.response_id == run.response_id
            and not self.segments
            and self.heard_index is None
            and run.content_index >= 0
            and (run.previous_item_id == self.previous or run.previous_item_id is None)
        )

    def replace(self, index: int, text: str) -> None:
        """Set the text of a segment; empty text removes the segment."""
        if text:
            self.segments[index] = [text]
        else:
            self.segments.pop(index, None)
        self._leave_fast_lane()

    def hear(self, index: int, text: str) -> None:
        """Cut the item to what was heard: everything before segment `index`, and `text` of it."""
        for later in [other for other in self.segments if other > index]:
            del self.segments[later]
        self.replace(index, text)
        self.heard_index = index

    def shortens_heard(self, index: int, text: str) -> bool:
        """Whether `text` at segment `index` leaves less of the heard text than there is."""
        assert self.heard_index is not None
        length = len(self.segment(index))
        if index == self.heard_index:
            return len(text) < length
        return index < self.heard_index and len(text) <= length

    def skip(self) -> None:
        """Make the item a place in the order without content."""
        self.skipped = True
        self.segments.clear()
        self.heard_index = None
        self._leave_fast_lane()

    def _leave_fast_lane(self) -> None:
        # `tail` may be the last that holds on to text which was replaced.
        self.fast_lane = None
        self.tail = []

    def segment(self, index: int) -> str:
        """The text of one segment."""
        return "".join(self.segments.get(index, ()))

    def text(self) -> str:
        """The text of the item: its segments in ascending order, without separators."""
        return "".join(self.segment(index) for index in sorted(self.segments))


@attrs.frozen(kw_only=True)
class SettledItem:
    """What remains of an item: enough to recognise it, and to order what follows it."""

    seen: int
    depth: int
    role: RealtimeTranscriptRole
    lane: TranscriptLane
    skipped: bool
    previous: str | None
    response_id: str | None
    digest: str | None


@attrs.define(eq=False, kw_only=True)
class Response:
    """A response that may still have a say.

    `items` are its unsettled items that are not skipped.  `due` are those of them that wait for
    nothing but the completion; it is empty while there is one.  A completion is in force while
    `stop_reason` is set; `emitted` says that an item has become canonical under it.
    """

    response_id: str
    items: dict[Item, None] = attrs.field(factory=dict)
    due: dict[Item, None] = attrs.field(factory=dict)
    discarded: bool = False
    stop_reason: StopReason | None = None
    usage: Usage | None = None
    emitted: bool = False

    def take_usage(self) -> Usage | None:
        """The usage, the first time; None afterwards."""
        usage, self.usage, self.emitted = self.usage, None, True
        return usage


@attrs.frozen
class PastResponse:
    """What remains of a response: enough to answer what arrives for it late.

    `usage` is there if no item has carried it.
    """

    discarded: bool
    stop_reason: StopReason | None
    emitted: bool
    usage: Usage | None = None


# Without usage there are only a few different ends, so that one costs an entry of a dict.
_past_response = cache(PastResponse)


class ResponseLedger:
    """All responses by id, the living and the past."""

    def __init__(self) -> None:
        self.live: dict[str, Response] = {}
        self.past: dict[str, PastResponse] = {}

    def find(self, response_id: str) -> Response | PastResponse | None:
        """What is known of a response."""
        return self.live.get(response_id) or self.past.get(response_id)

    def is_discarded(self, response_id: str) -> bool:
        """Whether the response was interrupted or cancelled."""
        response = self.find(response_id)
        return response is not None and response.discarded

    def revive(self, response_id: str) -> Response:
        """The response as something that can change, new if it is not known."""
        response = self.live.get(response_id)
        if response is None:
            response = self.live[response_id] = Response(response_id=response_id)
            past = self.past.pop(response_id, None)
            if past is not None:
                response.discarded = past.discarded
                response.stop_reason = past.stop_reason
                response.emitted = past.emitted
                response.usage = past.usage
        return response

    def tidy(self, response: Response) -> None:
        """Forget what no later event can ask."""
        if response.items:
            return
        ended = response.stop_reason is not None
        if response.discarded and not response.emitted:
            # Nothing will ever come of it, so how it ended does not matter.
            self.past[response.response_id] = _past_response(True, None, False)
        elif ended and (response.emitted or response.usage is None):
            self.past[response.response_id] = _past_response(
                response.discarded, response.stop_reason, response.emitted
            )
        elif ended:
            self.past[response.response_id] = PastResponse(
                response.discarded, response.stop_reason, response.emitted, response.usage
            )
        self.live.pop(response.response_id, None)
