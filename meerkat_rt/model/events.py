"""What a session tells the application.

The first fifteen variants are the provider-neutral contract; the rest are this runtime's.  A public
projection of each, free of internal identity, is in `public`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias, cast

import attrs

from ._json import json_field
from .conversation import JSON, AssistantMessage, StopReason, Usage, UserMessage
from .media import RealtimeAudioChunk, RealtimeVideoChunk, ResponseModality
from .quick import quick
from .transcript import RealtimeTranscriptEvent

if TYPE_CHECKING:
    from .public import RealtimeEvent
    from .server_events import ServerEvent


class _SessionEvent:
    """What every session event can do."""

    __slots__ = ()

    def to_public_event(self) -> RealtimeEvent | None:
        """The event without internal identity, arguments and usage; None if it is internal only."""
        from .public import to_public_event  # it knows every class of this module

        return to_public_event(cast("RealtimeSessionEvent", self))

    def to_server_event(self) -> ServerEvent | None:
        """The event as the second seed's vocabulary has it; None where that has no word for it."""
        from .server_events import to_server_event  # as above

        return to_server_event(cast("RealtimeSessionEvent", self))


# ---------------------------------------------------------------- the user


@attrs.frozen
class InputTranscriptPartial(_SessionEvent):
    """More of what the user is saying, as recognized so far."""

    text: str


@attrs.frozen
class InputTranscriptFinal(_SessionEvent):
    """What the user said, from a provider that gives no item identity."""

    text: str


@attrs.frozen(kw_only=True)
class InputTranscriptFinalForItem(_SessionEvent):
    """What the user said in one item."""

    item_id: str
    previous_item_id: str | None = None
    content_index: int
    text: str


@attrs.frozen
class TurnStarted(_SessionEvent):
    """The user began a turn."""


@attrs.frozen
class TurnCommitted(_SessionEvent):
    """The user's turn is complete and the provider has it.

    `inferred`: the provider does not say when a turn ends; that it answered tells.
    """

    inferred: bool = attrs.field(default=False, metadata=json_field(omit_default=True))


# ---------------------------------------------------------------- the model


@attrs.frozen(kw_only=True)
class TurnCompleted(_SessionEvent):
    """A response reached its one terminal.

    `error` is set when the provider failed to finish it; what was said until then stands.
    """

    response_id: str
    stop_reason: StopReason
    usage: Usage
    error: ProviderFault | None = None


@attrs.frozen
class OutputTextDelta(_SessionEvent):
    """More text from a provider that gives no item identity."""

    delta: str


@quick
@attrs.frozen(weakref_slot=False)
class OutputTextDeltaForItem(_SessionEvent):
    """More text that the model wrote."""

    response_id: str
    delta_id: str
    item_id: str
    previous_item_id: str | None
    content_index: int
    delta: str


@quick
@attrs.frozen(weakref_slot=False)
class OutputAudioTranscriptDeltaForItem(_SessionEvent):
    """More text of what the model says aloud."""

    response_id: str
    delta_id: str
    item_id: str
    previous_item_id: str | None
    content_index: int
    delta: str


@attrs.frozen(kw_only=True)
class AssistantTranscriptFinal(_SessionEvent):
    """The authoritative text of a spoken item."""

    response_id: str
    item_id: str
    previous_item_id: str | None = None
    content_index: int
    text: str


@quick
@attrs.frozen(weakref_slot=False)
class OutputAudioChunk(_SessionEvent):
    """A piece of the model's speech.  The ids serve `session.playback.report()`."""

    chunk: RealtimeAudioChunk
    response_id: str | None = None
    item_id: str | None = None
    content_index: int | None = None


@attrs.frozen
class OutputVideoChunk(_SessionEvent):
    """A piece of the model's video."""

    chunk: RealtimeVideoChunk


@attrs.frozen
class Interrupted(_SessionEvent):
    """The response was cut off: stop playing it.  At most once a response.

    May follow `TurnCompleted` of the same response: models generate faster than speech is played.
    """

    response_id: str | None = None


@attrs.frozen
class ToolCallRequested(_SessionEvent):
    """The model called a tool.  `arguments` is a JSON object."""

    call_id: str
    tool_name: str
    arguments: JSON


@attrs.frozen(kw_only=True)
class AssistantTranscriptTruncated(_SessionEvent):
    """The provider cut the item to what was played.

    `audio_played_ms` is the played length of the item in milliseconds; `truncated_text` the heard
    part (an aligned prefix), or None where nothing is known about the text.
    """

    response_id: str | None = None
    item_id: str
    audio_played_ms: int
    truncated_text: str | None = None


@attrs.frozen
class RealtimeTranscript(_SessionEvent):
    """An ordering or append fact for the transcript that has no other event."""

    event: RealtimeTranscriptEvent


# ---------------------------------------------------------------- this runtime's


@attrs.frozen(kw_only=True)
class InputSpeechStarted(_SessionEvent):
    """The provider heard the user begin to speak, `audio_start_ms` into the input audio."""

    item_id: str | None = None
    audio_start_ms: int


@attrs.frozen(kw_only=True)
class InputSpeechStopped(_SessionEvent):
    """The provider heard the user stop, `audio_end_ms` into the input audio."""

    item_id: str | None = None
    audio_end_ms: int


@attrs.frozen(kw_only=True)
class InputTranscriptionFailed(_SessionEvent):
    """What the user said in this item could not be recognized; a placeholder stands in history."""

    item_id: str
    code: str | None = None
    message: str = ""


@attrs.frozen
class InputAudioCleared(_SessionEvent):
    """The provider emptied its buffer of uncommitted input audio."""


@attrs.frozen(kw_only=True)
class ResponseStarted(_SessionEvent):
    """The model began a response.

    `request_id` is that of the `create_response` (or nudge, or tool continuation) that it answers;
    None when the provider began it by itself.  `in_conversation` is False for an out-of-band one.
    """

    response_id: str
    request_id: str | None = None
    in_conversation: bool = True


class ToolOutcome(StrEnum):
    """How a tool call ended."""

    RESULT = "result"
    ERROR = "error"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"


@attrs.frozen(kw_only=True)
class ToolCallFinished(_SessionEvent):
    """A tool call reached its one outcome, `elapsed_ms` after it was requested.

    `output` is the text given to the model; it is None where nothing was sent.
    """

    call_id: str
    tool_name: str
    outcome: ToolOutcome
    output: str | None = None
    elapsed_ms: int


@attrs.frozen(kw_only=True)
class ToolUnresponsive(_SessionEvent):
    """A tool did not stop within the grace of an interruption or a close (`grace_ms`)."""

    call_id: str
    tool_name: str
    grace_ms: int


@attrs.frozen(kw_only=True)
class ProviderToolCall(_SessionEvent):
    """The provider runs a tool by itself (MCP).  `status`: requested, completed or failed."""

    item_id: str
    tool_name: str
    arguments: str
    status: str


@attrs.frozen(kw_only=True)
class Nudged(_SessionEvent):
    """Silent for `waited_ms` after a turn, the model was asked again, the `attempt`-th time."""

    attempt: int
    waited_ms: int
    modality: ResponseModality


@attrs.frozen(kw_only=True)
class Stalled(_SessionEvent):
    """The model stayed silent through every nudge.  The session lives on."""

    attempts: int
    waited_ms: int


@attrs.frozen(kw_only=True)
class MediaGap(_SessionEvent):
    """Output audio was dropped here because the application did not keep up."""

    dropped_bytes: int
    dropped_ms: int


@attrs.frozen(kw_only=True)
class ProviderFault:
    """What a provider said about a failure."""

    code: str | None = None
    kind: str | None = None
    message: str = ""
    param: str | None = None


@attrs.frozen(kw_only=True)
class ProviderErrorReported(_SessionEvent):
    """The provider reported an error that the session survives.

    `command` names the command that caused it (`response.create`, for example) and `request_id` its
    request, where either is known.  A frame that could not be understood has code `protocol_fault`.
    """

    fault: ProviderFault
    command: str | None = None
    request_id: str | None = None
    response_id: str | None = None


@attrs.frozen(kw_only=True)
class UnknownProviderEvent(_SessionEvent):
    """A frame of a type that this runtime does not know.  `raw` is the frame as it came.

    In JSON `type` is the tag of the event, and the frame's is called `provider_type`.
    """

    type: str | None = attrs.field(metadata=json_field(name="provider_type"))
    raw: bytes


@attrs.frozen(kw_only=True)
class RateLimit:
    """One limit of the account.  `reset_seconds` is the time until it is whole again."""

    name: str | None = None
    limit: int | None = None
    remaining: int | None = None
    reset_seconds: float | None = None


@attrs.frozen
class RateLimitsUpdated(_SessionEvent):
    """The provider told what is left."""

    limits: tuple[RateLimit, ...]


@attrs.frozen(kw_only=True)
class MessageCommitted(_SessionEvent):
    """A message became canonical; it is durable already, where there is a store."""

    message: UserMessage | AssistantMessage
    item_ids: tuple[str, ...]


@attrs.frozen(kw_only=True)
class StoreFailed(_SessionEvent):
    """What was said could not be made durable; the session goes on in memory, as was asked.

    `retryable`: the store may take it later, together with what follows.
    """

    message: str
    retryable: bool


@attrs.frozen(kw_only=True)
class SessionRotating(_SessionEvent):
    """Another connection is about to take the place of this one.

    `why`: `age` (the provider's cap is near), `going_away` (the provider said so), or `resume_with`
    (the application wants another configuration).
    """

    why: str


@attrs.frozen(kw_only=True)
class SessionRotated(_SessionEvent):
    """Another connection has taken the place of the one before; the conversation goes on.

    `session_id` is the provider's new id, if it gave one.  `state_restored`: the provider's own
    session goes on, with all that it knows; otherwise a new one was told what had been said.  After
    a loss it ends the reconnection.
    """

    session_id: str | None = None
    state_restored: bool


@attrs.frozen(kw_only=True)
class Reconnecting(_SessionEvent):
    """The connection was lost; the `attempt`-th attempt at another begins in `next_delay` seconds.

    `reason` says, for people, why the last connection or attempt failed.
    """

    attempt: int
    next_delay: float
    reason: str = ""


class ClosedBy(StrEnum):
    """Who ended a session."""

    APPLICATION = "application"
    PROVIDER = "provider"
    NETWORK = "network"
    RUNTIME = "runtime"


@attrs.frozen(kw_only=True)
class CloseReason:
    """Why a session ended.

    `code` is the WebSocket close code where one was seen.  `abandoned_threads` are the names of
    sync tools whose worker thread could not be stopped; `uncommitted_items` what the store did not
    take in time; `unresponsive_tools` the calls that outlived their grace.
    """

    by: ClosedBy
    code: int | None = None
    text: str = ""
    clean: bool = True
    abandoned_threads: tuple[str, ...] = ()
    uncommitted_items: tuple[str, ...] = ()
    unresponsive_tools: tuple[str, ...] = ()


@attrs.frozen
class SessionClosed(_SessionEvent):
    """The last event of every session, exactly once."""

    reason: CloseReason


RealtimeSessionEvent: TypeAlias = (
    InputTranscriptPartial
    | InputTranscriptFinal
    | InputTranscriptFinalForItem
    | TurnStarted
    | TurnCommitted
    | TurnCompleted
    | OutputTextDelta
    | OutputTextDeltaForItem
    | OutputAudioTranscriptDeltaForItem
    | AssistantTranscriptFinal
    | OutputAudioChunk
    | OutputVideoChunk
    | Interrupted
    | ToolCallRequested
    | AssistantTranscriptTruncated
    | RealtimeTranscript
    | InputSpeechStarted
    | InputSpeechStopped
    | InputTranscriptionFailed
    | InputAudioCleared
    | ResponseStarted
    | ToolCallFinished
    | ToolUnresponsive
    | ProviderToolCall
    | Nudged
    | Stalled
    | MediaGap
    | ProviderErrorReported
    | UnknownProviderEvent
    | RateLimitsUpdated
    | MessageCommitted
    | StoreFailed
    | SessionRotating
    | SessionRotated
    | Reconnecting
    | SessionClosed
)
"""Everything a session can say.  In JSON tagged on `type` with the class's name in snake_case."""
