"""What a dialect tells the machine: one neutral fact each, with the provider's ids.

The hot events carry the field names that OpenAI's wire uses, so that its dialect can decode a frame
straight into them, and the parser checks what the annotations say beside the type.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, TypeAlias

import attrs
from msgspec import Meta

from ..model.conversation import Usage
from ..model.events import ProviderFault, RateLimit
from ..model.quick import quick

MAX_INDEX = 2**31 - 1  # of a content part


def shown_size(data: bytes) -> str:
    """What a repr shows of media and raw frames: they are long, and may hold what people said."""
    return f"<{len(data)} bytes>"


# ================================================================ events: the session


@attrs.frozen(kw_only=True)
class SessionCreated:
    """The provider has opened the session.  `expires_at`: Unix seconds, if it said so."""

    session_id: str | None = None
    expires_at: float | None = None


@attrs.frozen(kw_only=True)
class SessionUpdated:
    """The provider has applied the newest configuration that it was sent."""

    session_id: str | None = None


@attrs.frozen(kw_only=True)
class ProviderError:
    """The provider reported an error.

    `ref` is the reference of the command that caused it, where the provider said so.  `fatal`: the
    dialect knows from the code that the provider ends the session.
    """

    fault: ProviderFault
    ref: str | None = None
    fatal: bool = False


class ErrorMeaning(StrEnum):
    """What an error means to the machine, so that no rule depends on a provider's wording."""

    ACTIVE_RESPONSE = "active_response"  # a response was requested while one was active
    NOTHING_TO_CANCEL = "nothing_to_cancel"
    EMPTY_COMMIT = "empty_commit"
    TRUNCATION_REFUSED = "truncation_refused"
    UNKNOWN_ITEM = "unknown_item"
    DUPLICATE_ITEM = "duplicate_item"
    UNKNOWN_CALL = "unknown_call"
    CONFIG_REFUSED = "config_refused"
    OTHER = "other"


@attrs.frozen(kw_only=True)
class CommandRefused:
    """The provider refused one command; the session goes on.

    `ref` is None where the provider did not tie the error to a command.
    """

    meaning: ErrorMeaning
    fault: ProviderFault
    ref: str | None = None


@attrs.frozen
class RateLimits:
    """The provider told what is left."""

    limits: tuple[RateLimit, ...]


@attrs.frozen(kw_only=True)
class GoingAway:
    """The provider will end the connection in `time_left` seconds (None: it did not say)."""

    time_left: float | None = None


@attrs.frozen(kw_only=True)
class ResumptionUpdated:
    """The provider told from where the session can be resumed on another connection.

    `handle` names the newest such state; None: there is none at this moment, and resuming from the
    one before would lose what came after.  `last_consumed`: index of the last message of ours that
    the state includes, where the provider counts them.
    """

    handle: str | None = attrs.field(default=None, repr=False)  # whoever has it has the session
    last_consumed: int | None = None


@attrs.frozen
class UsageReported:
    """Tokens that belong to no response that is still open, beside those of `ResponseEnded`."""

    usage: Usage


@attrs.frozen(kw_only=True)
class UnknownFrame:
    """A well-formed frame of an unknown type."""

    type: str | None
    raw: bytes = attrs.field(repr=shown_size)


@attrs.frozen(kw_only=True)
class ProtocolFault:
    """A frame that breaks the protocol; `message` says how.  It never ends the session."""

    message: str
    raw: bytes = attrs.field(repr=shown_size)


# ================================================================ events: the user's input


@attrs.frozen(kw_only=True)
class SpeechStarted:
    """Voice activity began.  `item_id` is the item that the turn will become, if it is known."""

    item_id: str | None = None
    audio_start_ms: int = 0


@attrs.frozen(kw_only=True)
class SpeechStopped:
    """Voice activity ended."""

    item_id: str | None = None
    audio_end_ms: int = 0


@attrs.frozen(kw_only=True)
class InputCommitted:
    """Input audio became the item `item_id`.  `inferred`: the boundary was not declared."""

    item_id: str | None = None
    previous_item_id: str | None = None
    inferred: bool = False


@attrs.frozen
class InputCleared:
    """Uncommitted input audio was dropped."""


@attrs.frozen(kw_only=True)
class InputTranscriptDelta:
    """More recognized user speech."""

    item_id: str | None = None
    content_index: int = 0
    delta: str = ""


@attrs.frozen(kw_only=True)
class InputTranscriptDone:
    """What the user said in an item, for good.  `item_id` None: the provider has no identity."""

    item_id: str | None = None
    content_index: int = 0
    text: str = ""


@attrs.frozen(kw_only=True)
class InputTranscriptFailed:
    """The user's speech could not be recognized."""

    item_id: str
    content_index: int = 0
    fault: ProviderFault = attrs.field(factory=ProviderFault)


# ================================================================ events: items


class ItemKind(StrEnum):
    """What an item of the provider's conversation is."""

    USER = "user"
    ASSISTANT = "assistant"
    SYSTEM = "system"
    TOOL_CALL = "tool_call"
    TOOL_OUTPUT = "tool_output"
    OTHER = "other"


@attrs.frozen(kw_only=True)
class ItemAdded:
    """An item entered the conversation after `previous_item_id`, or was reported again.

    `final`: its content is complete.  `item_id` is None where the provider gave none.
    """

    item_id: str | None
    previous_item_id: str | None = None
    kind: ItemKind
    final: bool = False


@attrs.frozen(kw_only=True)
class ItemTruncated:
    """The item was cut to `audio_end_ms`."""

    item_id: str
    content_index: int = 0
    audio_end_ms: int


@attrs.frozen
class SeedAcknowledged:
    """The provider reported an item that the session was seeded with.

    The handshake waits for these.  The machine has nothing to do with them: canonical history
    already holds what was seeded, and dialects never name a seeded item as a predecessor.
    """

    item_id: str


@attrs.frozen
class ItemDeleted:
    """The item left the conversation."""

    item_id: str


# ================================================================ events: responses


@attrs.frozen(kw_only=True)
class ResponseBegan:
    """A response exists.

    `ref` is the reference of the `CreateResponse` that it answers, where the provider echoes it.
    `in_conversation` False: out-of-band, holds no slot, writes no history.
    """

    response_id: str
    ref: str | None = None
    in_conversation: bool = True


@attrs.frozen(kw_only=True)
class ResponseInterrupted:
    """The provider stopped speaking and wants nothing more of it to be heard.

    Its terminal, if it is still owed, follows.  `response_id` None: what is still to be heard has
    ended already.  `by_user`: the user spoke, so that a new turn has begun; else a command of ours
    interrupted it.
    """

    response_id: str | None = None
    by_user: bool = True


@attrs.frozen(kw_only=True)
class OutputItemBegan:
    """The response produced an item."""

    response_id: str
    item_id: str | None
    kind: ItemKind


@attrs.frozen(kw_only=True)
class OutputItemEnded:
    """The item is complete, or `incomplete` because the response was cut."""

    response_id: str
    item_id: str | None
    kind: ItemKind
    incomplete: bool = False


# Checked by a parser that fills an event itself, and by nobody else.
Id: TypeAlias = Annotated[str, Meta(min_length=1)]
Index: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_INDEX)]


@attrs.frozen
class TextDelta:
    """More written text."""

    event_id: Id
    response_id: Id
    item_id: Id
    delta: str
    content_index: Index = 0


@attrs.frozen
class TranscriptDelta:
    """More text of spoken output."""

    event_id: Id
    response_id: Id
    item_id: Id
    delta: str
    content_index: Index = 0


@quick
@attrs.frozen(weakref_slot=False)
class AudioDelta:
    """More spoken output: bytes in the negotiated output format."""

    response_id: str
    item_id: str
    data: bytes = attrs.field(repr=shown_size)
    content_index: int = 0


@attrs.frozen(kw_only=True)
class TextDone:
    """The authoritative written text of one content part."""

    event_id: str
    response_id: str
    item_id: str
    text: str
    content_index: int = 0


@attrs.frozen(kw_only=True)
class TranscriptDone:
    """The authoritative text of one spoken content part."""

    event_id: str
    response_id: str
    item_id: str
    text: str
    content_index: int = 0


@attrs.frozen(kw_only=True)
class AudioDone:
    """No more audio for this content part."""

    response_id: str
    item_id: str
    content_index: int = 0


@attrs.frozen(kw_only=True)
class ToolCalled:
    """The model called a tool; `arguments` is its text, not yet parsed.

    May be reported several times for one `call_id`.
    """

    response_id: str
    item_id: str | None = None
    call_id: str
    name: str
    arguments: str


@attrs.frozen
class ToolCallsRevoked:
    """The provider no longer wants the answers to these calls (Gemini)."""

    call_ids: tuple[str, ...]


@attrs.frozen(kw_only=True)
class ServerToolProgress:
    """A tool that runs at the provider (MCP).

    `status`: requested, approval_requested, completed or failed.  One call is reported as requested
    more than once while more of it becomes known: its name first, then its arguments.
    """

    item_id: str
    status: str
    name: str = ""
    arguments: str = ""


@quick
@attrs.frozen(kw_only=True, weakref_slot=False)
class OutputProgress:
    """Something else of this response arrived (argument deltas, content parts): no silence."""

    response_id: str


class ResponseStatus(StrEnum):
    """How a response ended."""

    COMPLETED = "completed"
    CANCELLED = "cancelled"
    INCOMPLETE = "incomplete"
    FAILED = "failed"


@attrs.frozen(kw_only=True)
class ResponseEnded:
    """The one terminal of a response.

    `calls` are the complete tool calls in its output; `reason` the provider's word for why
    it is cancelled or incomplete (`max_output_tokens`, `content_filter`, ...); `usage` None when
    unknown.  `item_ids`: all items of its output.  `ref`: as in `ResponseBegan`, for a response
    whose beginning was never told.
    """

    response_id: str
    status: ResponseStatus
    ref: str | None = None
    reason: str | None = None
    usage: Usage | None = None
    fault: ProviderFault | None = None
    calls: tuple[ToolCalled, ...] = ()
    item_ids: tuple[str, ...] = ()
    in_conversation: bool = True


ProviderEvent: TypeAlias = (
    SessionCreated
    | SessionUpdated
    | ProviderError
    | CommandRefused
    | RateLimits
    | GoingAway
    | ResumptionUpdated
    | UsageReported
    | UnknownFrame
    | ProtocolFault
    | SpeechStarted
    | SpeechStopped
    | InputCommitted
    | InputCleared
    | InputTranscriptDelta
    | InputTranscriptDone
    | InputTranscriptFailed
    | ItemAdded
    | ItemTruncated
    | SeedAcknowledged
    | ItemDeleted
    | ResponseBegan
    | ResponseInterrupted
    | OutputItemBegan
    | OutputItemEnded
    | TextDelta
    | TranscriptDelta
    | AudioDelta
    | TextDone
    | TranscriptDone
    | AudioDone
    | ToolCalled
    | ToolCallsRevoked
    | ServerToolProgress
    | OutputProgress
    | ResponseEnded
)
