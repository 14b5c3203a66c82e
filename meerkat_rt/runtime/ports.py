"""What the runtime asks of its surroundings: providers that open sessions, stores that keep them.

A store keeps conversations.  Whoever writes one opens its journal, which makes it the only writer,
and hands over batches of transcript events; what they materialize is durable when `commit` returns,
and may then be announced.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from ..model import checks as check
from ..model.conversation import Message
from ..model.delta_run import TranscriptEntry, one_by_one
from ..model.errors import InvalidRequest
from ..model.transcript import (
    AppendRealtimeTranscript,
    RealtimeTranscriptEvent,
    RealtimeTranscriptRole,
    UserTranscriptFinal,
)
from ..model.transcript_state import RealtimeTranscriptState
from ..transcript import TranscriptAuthority

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    from ..model.events import CloseReason
    from ..model.media import RealtimeCapabilities, RealtimeTurningMode
    from ..model.open_config import RealtimeExternalSessionTarget, RealtimeSessionOpenConfig
    from ..turn.effects import MachineSettings
    from ..turn.machine import SessionMachine
    from .continuity_policy import ContinuityPolicy
    from .limits import SessionLimits
    from .session import RealtimeSession
    from .tools import ToolSet


class RealtimeSessionFactory(Protocol):
    """Opens sessions with one provider."""

    def capabilities(self) -> RealtimeCapabilities:
        """What the provider's canonical model can do."""
        ...

    def open_session(
        self,
        config: RealtimeSessionOpenConfig,
        *,
        tools: ToolSet | None = None,
        store: SessionStore | Conversation | None = None,
        recorder: Recorder | None = None,
        limits: SessionLimits | None = None,
        continuity: ContinuityPolicy | None = None,
    ) -> AbstractAsyncContextManager[RealtimeSession]:
        """Open a new session from `config`; the context manager yields it ready.

        `continuity` is given only where the application asks for it.
        """
        ...

    def attach_external_session(
        self,
        target: RealtimeExternalSessionTarget,
        turning_mode: RealtimeTurningMode,
        *,
        tools: ToolSet | None = None,
        store: SessionStore | Conversation | None = None,
        recorder: Recorder | None = None,
        limits: SessionLimits | None = None,
    ) -> AbstractAsyncContextManager[RealtimeSession]:
        """Attach to an existing session; nothing of it is configured or seeded."""
        ...


# ---------------------------------------------------------------- recorders


class Recording(Protocol):
    """What one session is written down in.  Nothing of it waits, and nothing of it may raise."""

    def machine(self, settings: MachineSettings) -> SessionMachine:
        """A machine whose every input is written down."""
        ...

    def wire(self, now: float, *, received: int = 0, sent: int = 0) -> None:
        """So many bytes of frames went over the wire."""
        ...

    def closed(self, reason: CloseReason) -> None:
        """The session has ended."""
        ...


class Recorder(Protocol):
    """Writes down what goes into a session, so that it can be played again."""

    def begin(self) -> AbstractContextManager[Recording]:
        """Record one session, until the block is left.

        Raises:
            LlmError: nothing can be recorded; the session is not opened.
        """
        ...


# ---------------------------------------------------------------- stores


@attrs.frozen
class StagedTranscript:
    """A user's text that the provider has, and that waits for its turn to be committed.

    It is part of no history.  `previous_item_id` is the item that it follows.

    Raises:
        InvalidRequest: the id is blank, the text empty, or the text not the user's.
    """

    append: AppendRealtimeTranscript = attrs.field()
    previous_item_id: str | None = None

    @append.validator
    def _can_be_committed(self, _attribute: object, append: AppendRealtimeTranscript) -> None:
        if not append.item_id.strip():
            raise InvalidRequest("staged text needs the id of its item")
        if not append.text:
            raise InvalidRequest(f"the text staged for {append.item_id!r} is empty")
        if append.role is not RealtimeTranscriptRole.USER:
            raise InvalidRequest(f"only a user's text can be staged, not the {append.role}'s")

    @property
    def item_id(self) -> str:
        """The id under which the provider has it."""
        return self.append.item_id

    def final(self) -> UserTranscriptFinal:
        """The event that makes it part of the conversation."""
        return UserTranscriptFinal(
            item_id=self.append.item_id,
            previous_item_id=self.previous_item_id,
            content_index=0,
            text=self.append.text,
        )


def _tuple(values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(values)


@attrs.frozen(kw_only=True)
class TranscriptBatch:
    """What one commit makes durable, all of it or nothing.

    `history`: messages that were there before any event, e.g. those a session was seeded with; they
    come first.  `events`: transcript events in the order in which they were applied; runs of deltas
    may be among them, which `entries` has as they came.  `stage`: texts to stage, after the events;
    staging the same again changes nothing.  `unstage`: ids of staged texts to remove, because
    `events` has their finals or because they are discarded; ids that are not staged are passed
    over.
    """

    history: tuple[Message, ...] = attrs.field(default=(), converter=_tuple)
    entries: tuple[TranscriptEntry, ...] = attrs.field(default=(), converter=_tuple, alias="events")
    stage: tuple[StagedTranscript, ...] = attrs.field(default=(), converter=_tuple)
    unstage: tuple[str, ...] = attrs.field(default=(), converter=_tuple)

    @property
    def events(self) -> tuple[RealtimeTranscriptEvent, ...]:
        """The nine kinds of event alone.  Made anew at each call: `entries` costs less."""
        return tuple(one_by_one(self.entries))

    @classmethod
    def committing(cls, staged: Iterable[StagedTranscript]) -> TranscriptBatch:
        """Commit staged texts: the final of each, in this order, and none staged any more.

        The caller applies `events` to its own authority as well.
        """
        staged = tuple(staged)
        return cls(
            events=[entry.final() for entry in staged],
            unstage=[entry.item_id for entry in staged],
        )


@attrs.frozen
class StoredMessage:
    """A canonical message as it is kept.

    `item_ids` are those of the items that it was made of: one for a user's, one for each block of
    an assistant's, none for history from before the first event.
    """

    message: Message
    item_ids: tuple[str, ...] = attrs.field(default=(), converter=_tuple)


@attrs.frozen(kw_only=True)
class RestoredConversation:
    """What the store had when the journal was opened; empty for a new session.

    `authority` is in the state of the last committed event.  It is made for whoever opened the
    journal, who goes on with it.  `staged` are texts staged and neither committed nor discarded, in
    stage order; someone has to decide about them.
    """

    messages: tuple[StoredMessage, ...] = ()
    authority: TranscriptAuthority
    staged: tuple[StagedTranscript, ...] = ()


@attrs.frozen(kw_only=True)
class StoredConversation:
    """A conversation as it is in the store.

    `created_at` and `updated_at` are seconds since the Unix epoch, of the first and the last
    commit; None if the store was given no clock.
    """

    session_id: str
    messages: tuple[StoredMessage, ...] = attrs.field(default=(), converter=_tuple)
    state: RealtimeTranscriptState = attrs.field(factory=RealtimeTranscriptState)
    staged: tuple[StagedTranscript, ...] = attrs.field(default=(), converter=_tuple)
    created_at: float | None = None
    updated_at: float | None = None


@attrs.frozen(kw_only=True)
class StoredSession:
    """An entry in the list of what a store has.  Times are as in `StoredConversation`."""

    session_id: str
    messages: int
    staged: int = 0
    created_at: float | None = None
    updated_at: float | None = None


class SessionJournal(Protocol):
    """The one writer of one conversation."""

    @property
    def restored(self) -> RestoredConversation:
        """What was there when the journal was opened."""
        ...

    async def commit(self, batch: TranscriptBatch) -> tuple[StoredMessage, ...]:
        """Make `batch` durable.  Returns the messages that it has added, in order.

        A checkpoint, and cancel-safe: either it raises Cancelled and has done nothing, or it goes
        through to its end, which is bounded, and returns.  Commits of several tasks are done one
        after the other in the order of the calls.

        If it fails with a LlmError other than the first two below, the history, events and
        `unstage` of the batch stay with the journal and go in before those of the next commit,
        which may be an empty one; the messages are returned by the commit that made them durable.
        The `stage` of a failed commit is forgotten.

        Raises:
            TypeError: something in the batch is no transcript event; nothing has been done.
            LlmError: staged text contradicts what is staged or settled under the same id (nothing
                has been done); or it could not be written (`retryable` says whether a retry may
                help).
            trio.ClosedResourceError: the block of `open` has been left.
        """
        ...


class OnStoreFailure(StrEnum):
    """What a session does when its store does not take what was said.

    `CLOSE`: it ends with the store's error.  `CONTINUE`: it goes on in memory, and says so in a
    `StoreFailed` event; the messages go in later if the store recovers.
    """

    CLOSE = "close"
    CONTINUE = "continue"


def _on_failure(value: str) -> OnStoreFailure:
    return check.member(OnStoreFailure, "Conversation.on_failure")(value)


@attrs.frozen(kw_only=True)
class Conversation:
    """Which conversation of a store a session writes: `id`, new or stored; None for a new one.

    To go on with a stored conversation, open the session from `storage.resume_config(...)`, so that
    the provider knows it too.
    """

    store: SessionStore = attrs.field(
        validator=check.has("open", what="a SessionStore such as SqliteStore(path)")
    )
    id: str | None = attrs.field(default=None, validator=check.text)
    on_failure: OnStoreFailure = attrs.field(default=OnStoreFailure.CLOSE, converter=_on_failure)


class SessionStore(Protocol):
    """Keeps conversations by the id of their session."""

    def open(
        self, session_id: str, *, keep_heard_prefix: bool = True
    ) -> AbstractAsyncContextManager[SessionJournal]:
        """Become the one writer of a conversation, new or stored, until the block is left.

        Entering and leaving are checkpoints.  Leaving closes whatever happens, in bounded time, and
        is not cancellable.  `keep_heard_prefix` must be that of the authority that the writer goes
        on with; see `TranscriptAuthority`.

        Raises:
            LlmError: another has it open; or what is stored cannot be read, or is not consistent.
        """
        ...

    async def sessions(self) -> tuple[StoredSession, ...]:
        """What there is, oldest first.  Needs no lock.  A checkpoint; cancelling has no effect.

        Raises:
            LlmError: the store cannot be read.
        """
        ...

    async def read(self, session_id: str) -> StoredConversation:
        """The conversation as of its last commit, also while another writes it.

        A checkpoint; cancelling has no effect.

        Raises:
            LlmError: there is no such session, or it cannot be read, or it is not consistent.
        """
        ...
