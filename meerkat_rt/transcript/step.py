"""What one event comes to while it is taken in, and what is said about the rest of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..model.transcript import TranscriptDiagnostic, TranscriptLane, TranscriptRule

if TYPE_CHECKING:
    from .records import Item


class Step:
    """What one event has come to so far: the items it sets free, and what of it was ignored."""

    __slots__ = ("free", "notes")

    def __init__(self) -> None:
        self.free: list[Item] = []
        self.notes: list[TranscriptDiagnostic] = []

    def note(
        self,
        rule: TranscriptRule,
        message: str,
        item_id: str | None = None,
        response_id: str | None = None,
    ) -> None:
        """Say that something was ignored."""
        self.notes.append(
            TranscriptDiagnostic(
                rule=rule, message=message, item_id=item_id, response_id=response_id
            )
        )

    def item_id(self, raw: str) -> str | None:
        """The id of the item that the event names, if it does."""
        item_id = raw.strip()
        if not item_id:
            self.note(TranscriptRule.BLANK_ITEM_ID, "the event names no item", raw)
        return item_id or None

    def response_id(self, raw: str) -> str | None:
        """The id of the response that the event names, if it does."""
        response_id = raw.strip()
        if not response_id:
            self.note(TranscriptRule.BLANK_RESPONSE_ID, "the event names no response")
        return response_id or None

    def accepts_index(self, item: Item, index: int) -> bool:
        """Whether there can be such a segment."""
        if index >= 0:
            return True
        self.note(TranscriptRule.INVALID_CONTENT_INDEX, f"content index {index} < 0", item.item_id)
        return False

    def response_conflict(self, item: Item, response_id: str | None) -> bool:
        """Whether the item belongs to another response."""
        if response_id is None or item.response_id in (None, response_id):
            return False
        self.note(
            TranscriptRule.RESPONSE_CONFLICT,
            f"the item belongs to the response {item.response_id!r}",
            item.item_id,
            response_id,
        )
        return True

    def heard_already(self, item: Item, message: str) -> None:
        """The event would change what was heard."""
        self.note(TranscriptRule.HEARD_PREFIX, message, item.item_id, item.response_id)

    def discarded_already(self, response_id: str) -> None:
        """The event is about the end of a response that has come to a bad one."""
        self.note(
            TranscriptRule.DISCARDED_RESPONSE,
            "the response was discarded before",
            response_id=response_id,
        )

    def lane_conflict(self, item: Item, lane: TranscriptLane) -> None:
        """The item has text on the other lane."""
        self.note(
            TranscriptRule.LANE_CONFLICT,
            f"the item has {item.lane} text; {lane} text is ignored",
            item.item_id,
            item.response_id,
        )


def given_id(raw: str | None) -> str | None:
    """An id as it is compared: without surrounding white space.  A blank one is none."""
    return (raw.strip() or None) if raw is not None else None
