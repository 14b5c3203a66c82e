"""The transcript append seam: events with identity in, canonical messages out."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias

import attrs

from ._json import json_field
from .conversation import AssistantMessage, StopReason, Usage, UserMessage
from .quick import quick

SESSION_REALTIME_TRANSCRIPT_STATE_KEY = "realtime_transcript_state"
"""The key of session metadata under which the durable transcript state is kept."""


class RealtimeTranscriptRole(StrEnum):
    """Who an item belongs to."""

    USER = "user"
    ASSISTANT = "assistant"


class TranscriptLane(StrEnum):
    """`DISPLAY`: text that the model wrote.  `SPOKEN`: text of what it said aloud.

    The first lane that gives an item text keeps it.
    """

    DISPLAY = "display"
    SPOKEN = "spoken"


@attrs.frozen(kw_only=True)
class ItemObserved:
    """An item exists, after `previous_item_id`.  It has no content yet."""

    item_id: str
    previous_item_id: str | None = None
    role: RealtimeTranscriptRole
    response_id: str | None = None


@attrs.frozen(kw_only=True)
class ItemSkipped:
    """An item that takes part in the order but never has content (a tool call, for example)."""

    item_id: str
    previous_item_id: str | None = None


@attrs.frozen(kw_only=True)
class UserTranscriptFinal:
    """What the user said in an item, for good."""

    item_id: str
    previous_item_id: str | None = None
    content_index: int
    text: str


@quick
@attrs.frozen(kw_only=True, weakref_slot=False)
class AssistantTextDelta:
    """More text that the model wrote (display lane)."""

    response_id: str
    delta_id: str
    item_id: str
    previous_item_id: str | None = None
    content_index: int
    delta: str


@quick
@attrs.frozen(kw_only=True, weakref_slot=False)
class AssistantTranscriptDelta:
    """More text of what the model says aloud (spoken lane)."""

    response_id: str
    delta_id: str
    item_id: str
    previous_item_id: str | None = None
    content_index: int
    delta: str


@attrs.frozen(kw_only=True)
class AssistantTranscriptTruncated:
    """The item was cut to what the user heard: `text`."""

    response_id: str
    item_id: str
    content_index: int
    text: str


@attrs.frozen(kw_only=True)
class AssistantTranscriptFinalText:
    """The authoritative text of a spoken item; replaces what its deltas have built."""

    response_id: str
    item_id: str
    content_index: int
    text: str


@attrs.frozen(kw_only=True)
class AssistantTurnCompleted:
    """The response ended."""

    response_id: str
    stop_reason: StopReason
    usage: Usage


@attrs.frozen
class AssistantTurnInterrupted:
    """The response was interrupted before it ended."""

    response_id: str


RealtimeTranscriptEvent: TypeAlias = (
    ItemObserved
    | ItemSkipped
    | UserTranscriptFinal
    | AssistantTextDelta
    | AssistantTranscriptDelta
    | AssistantTranscriptTruncated
    | AssistantTranscriptFinalText
    | AssistantTurnCompleted
    | AssistantTurnInterrupted
)
"""The nine events.  In JSON tagged on `type` with the snake_case of the class's name."""


@attrs.frozen(kw_only=True)
class AppendRealtimeTranscript:
    """Text that is staged for a turn which has not been committed.

    `item_id` is the id under which the provider already has it.
    """

    item_id: str
    text: str
    role: RealtimeTranscriptRole
    lane: TranscriptLane


@attrs.frozen
class MaterializedUser:
    """A user item became part of the canonical conversation."""

    item_id: str
    text: str


@attrs.frozen(kw_only=True)
class MaterializedAssistant:
    """An assistant item became part of the canonical conversation.

    `usage` is the response's, on the first item that materializes for it, and zero on the others.
    `truncated`: `text` is the part that was heard.
    """

    item_id: str
    response_id: str
    text: str
    stop_reason: StopReason
    usage: Usage
    lane: TranscriptLane
    truncated: bool = attrs.field(default=False, metadata=json_field(omit_default=True))


RealtimeTranscriptMaterializedMessage: TypeAlias = MaterializedUser | MaterializedAssistant
"""In JSON tagged on `role`: user, assistant."""


class TranscriptRule(StrEnum):
    """Why an event, or a part of one, was ignored."""

    BLANK_ITEM_ID = "blank_item_id"
    BLANK_RESPONSE_ID = "blank_response_id"
    DUPLICATE_DELTA = "duplicate_delta"
    DISCARDED_RESPONSE = "discarded_response"
    ITEM_SETTLED = "item_settled"
    ITEM_SKIPPED = "item_skipped"
    ROLE_CONFLICT = "role_conflict"
    RESPONSE_CONFLICT = "response_conflict"
    LANE_CONFLICT = "lane_conflict"
    TEXT_CONFLICT = "text_conflict"
    PREDECESSOR_CONFLICT = "predecessor_conflict"
    PREDECESSOR_CYCLE = "predecessor_cycle"
    SKIP_OF_ITEM_WITH_TEXT = "skip_of_item_with_text"
    COMPLETION_REPEATED = "completion_repeated"
    EMPTY_TEXT = "empty_text"
    DUPLICATE_TEXT = "duplicate_text"
    HEARD_PREFIX = "heard_prefix"
    INVALID_CONTENT_INDEX = "invalid_content_index"


@attrs.frozen(kw_only=True)
class TranscriptDiagnostic:
    """Why something was ignored: the rule, what it was about, and a sentence for people."""

    rule: TranscriptRule
    message: str
    item_id: str | None = None
    response_id: str | None = None


class TranscriptWait(StrEnum):
    """What an item waits for."""

    PREDECESSOR = "predecessor"
    RESPONSE = "response"
    TEXT = "text"
    COMPLETION = "completion"


@attrs.frozen(kw_only=True)
class BlockedTranscriptItem:
    """An item that is not canonical yet, and the first thing that keeps it from becoming so.

    `waits_for` a `PREDECESSOR` that is not settled (or not known), to be told its `RESPONSE`, for
    `TEXT`, or for the `COMPLETION` of its response.
    """

    item_id: str
    waits_for: TranscriptWait
    previous_item_id: str | None = None
    response_id: str | None = None


@attrs.frozen(kw_only=True)
class RealtimeTranscriptApplyOutcome:
    """What one event did.

    `materialized_messages` has one entry per *item*; `messages` are the canonical messages that
    those items form (consecutive items of one response share one).  `diagnostics` say what was
    ignored.
    """

    materialized_messages: tuple[RealtimeTranscriptMaterializedMessage, ...] = ()
    messages: tuple[UserMessage | AssistantMessage, ...] = ()
    diagnostics: tuple[TranscriptDiagnostic, ...] = ()

    @property
    def is_inert(self) -> bool:
        """Nothing became canonical."""
        return not self.materialized_messages
