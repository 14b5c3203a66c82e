"""What the transcript authority has to remember across a restart, as values."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import attrs

from ._json import json_field
from .conversation import StopReason, Usage
from .transcript import RealtimeTranscriptRole, TranscriptLane


@attrs.frozen(kw_only=True)
class TranscriptItemState:
    """One item.

    `ready`: its content may become canonical once the item's turn comes.  `skipped`: it has a place
    in the order and never content.  `materialized`: its place in history is settled; such an item
    keeps only a digest of its text.  `delta_ids` are those that an unsettled item has taken.
    `heard_content_index` is set when the text is the part that was heard: the last segment of it.
    """

    role: RealtimeTranscriptRole
    previous_item_id: str | None = None
    response_id: str | None = None
    content_segments: Mapping[int, str] = attrs.field(factory=dict)
    skipped: bool = False
    ready: bool = False
    materialized: bool = False
    lane: TranscriptLane = TranscriptLane.DISPLAY
    delta_ids: tuple[str, ...] = attrs.field(default=(), metadata=json_field(omit_default=True))
    text_digest: str | None = None
    heard_content_index: int | None = None


@attrs.frozen(kw_only=True)
class TranscriptCompletionState:
    """How a response ended.  `usage` is kept until an item of the response has carried it."""

    stop_reason: StopReason
    usage: Usage | None = None
    usage_consumed: bool = False


@attrs.frozen(kw_only=True)
class RealtimeTranscriptState:
    """The whole of it, between two events.

    `first_seen_order` has every key of `items` once.  `seen_delta_ids` are the delta ids of all
    unsettled items, and any that an older state holds without saying whose they are.
    """

    items: Mapping[str, TranscriptItemState] = attrs.field(factory=dict)
    first_seen_order: tuple[str, ...] = ()
    seen_delta_ids: tuple[str, ...] = ()
    assistant_completions: Mapping[str, TranscriptCompletionState] = attrs.field(factory=dict)
    discarded_assistant_response_ids: tuple[str, ...] = attrs.field(
        default=(), metadata=json_field(omit_default=True)
    )


class TranscriptStateRule(StrEnum):
    """What a durable state must satisfy."""

    READABLE = "readable"
    """Every field is known and has the right type."""
    ORDER_MATCHES_ITEMS = "order_matches_items"
    """The order lists exactly the items, each once."""
    IDS_NOT_BLANK = "ids_not_blank"
    """No id is empty or white space."""
    NO_CYCLE = "no_cycle"
    """No item follows itself, directly or through others."""
    SETTLED_AFTER_PREDECESSOR = "settled_after_predecessor"
    """A settled item's predecessor exists and is settled."""
    SETTLED_IS_READY = "settled_is_ready"
    """A settled item was ready or skipped."""
    ASSISTANT_HAS_RESPONSE = "assistant_has_response"
    """An assistant item that is not skipped has a response, unless it is entirely blank."""
    READY_HAS_COMPLETION = "ready_has_completion"
    """The response of a ready assistant item has a completion."""
    SETTLED_USAGE_CONSUMED = "settled_usage_consumed"
    """The completion of a settled assistant item's response is consumed."""
    TEXT_OF_COMPLETED_IS_READY = "text_of_completed_is_ready"
    """An assistant item with text has a response; if that has ended, the item is ready."""
    DISCARDED_KEEPS_NO_SPOKEN = "discarded_keeps_no_spoken"
    """An unsettled item of a discarded response is skipped, display text, or a heard prefix."""
    DELTA_IDS_OWNED_ONCE = "delta_ids_owned_once"
    """The delta ids of an item are seen ones, and no other item's; a settled item has none."""


@attrs.define(eq=False)
class TranscriptStateError(ValueError):
    """A durable transcript state was refused.  Nothing is repaired and nothing is reset.

    `rule` is what it breaks; `subject` the item, response or field that breaks it.
    """

    rule: TranscriptStateRule
    subject: str
    message: str

    def __str__(self) -> str:
        return f"{self.message} ({self.rule}, {self.subject!r})"
