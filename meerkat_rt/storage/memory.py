"""A store in memory: for tests, and for conversations that need not outlive the process."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import trio

from ..runtime.ports import RestoredConversation, StoredConversation, StoredMessage, StoredSession
from ..transcript import TranscriptAuthority
from .conversation import Conversation, adopted, checked_session_id
from .errors import JournalClosed, SessionExists, SessionLocked, SessionNotFound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from ..runtime.ports import StagedTranscript, TranscriptBatch


@attrs.define(eq=False, kw_only=True)
class _Kept:
    """One session."""

    conversation: Conversation
    keep_heard_prefix: bool
    messages: list[StoredMessage] = attrs.field(factory=list)
    created_at: float | None = None
    updated_at: float | None = None

    def copy(self, keep_heard_prefix: bool) -> TranscriptAuthority:
        state = self.conversation.authority.state
        return TranscriptAuthority(state, keep_heard_prefix=keep_heard_prefix)

    def staged(self) -> tuple[StagedTranscript, ...]:
        return tuple(self.conversation.staged.values())


class MemoryJournal:
    """The `SessionJournal` of a `MemoryStore`."""

    def __init__(self, kept: _Kept, written: Callable[[], None]) -> None:
        self._kept = kept
        self._written = written
        self._closed = False
        self._restored = RestoredConversation(
            messages=tuple(kept.messages),
            authority=kept.copy(kept.keep_heard_prefix),
            staged=kept.staged(),
        )

    @property
    def restored(self) -> RestoredConversation:
        """What was there when the journal was opened."""
        return self._restored

    async def commit(self, batch: TranscriptBatch) -> tuple[StoredMessage, ...]:
        """As `SessionJournal.commit`.

        Raises:
            TypeError: something in the batch is no transcript event.
            StagedTextConflict: other text is staged or settled under the same id.
            JournalClosed: the block has been left.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        made = self._commit(batch)
        await trio.lowlevel.cancel_shielded_checkpoint()
        return made

    def _commit(self, batch: TranscriptBatch) -> tuple[StoredMessage, ...]:
        if self._closed:
            raise JournalClosed(message="the journal has been closed")
        conversation = self._kept.conversation
        staged = conversation.check(batch)
        if not (batch.history or batch.entries or batch.unstage or staged):
            return ()
        made = (*map(StoredMessage, batch.history), *conversation.apply(batch.entries))
        conversation.unstage(batch)
        conversation.stage(staged)
        self._kept.messages += made
        self._written()
        return made

    def close(self) -> None:
        """Refuse every further commit."""
        self._closed = True


class MemoryStore:
    """The `SessionStore` that lives as long as the object.

    Nothing runs in threads, so that it also suits a virtual clock.  `wall_clock` gives seconds
    since the Unix epoch; with it the store notes when a session was begun and last written to.
    """

    def __init__(self, *, wall_clock: Callable[[], float] | None = None) -> None:
        self._wall_clock = wall_clock
        # A session is there from its first commit on, and has a writer before.
        self._kept: dict[str, _Kept] = {}
        self._writers: set[str] = set()

    @asynccontextmanager
    async def open(
        self, session_id: str, *, keep_heard_prefix: bool = True
    ) -> AsyncIterator[MemoryJournal]:
        """As `SessionStore.open`.

        Raises:
            SessionLocked: somebody else is writing the session.
            InvalidRequest: the session id is blank or no text.
        """
        checked_session_id(session_id)
        await trio.lowlevel.checkpoint()
        if session_id in self._writers:
            raise SessionLocked(
                message=f"session {session_id!r} is being written by this process",
                session_id=session_id,
                pid=os.getpid(),
            )
        kept = self._kept.get(session_id)
        if kept is None:
            authority = TranscriptAuthority(keep_heard_prefix=keep_heard_prefix)
            kept = _Kept(conversation=Conversation(authority), keep_heard_prefix=keep_heard_prefix)
        elif kept.keep_heard_prefix is not keep_heard_prefix:
            kept.keep_heard_prefix = keep_heard_prefix
            kept.conversation.authority = kept.copy(keep_heard_prefix)
        self._writers.add(session_id)
        journal = MemoryJournal(kept, lambda: self._written(session_id, kept))
        try:
            yield journal
        finally:
            journal.close()
            self._writers.discard(session_id)
            await trio.lowlevel.cancel_shielded_checkpoint()

    async def sessions(self) -> tuple[StoredSession, ...]:
        """As `SessionStore.sessions`.  A checkpoint.  Cancelled: no effect."""
        await trio.lowlevel.checkpoint()
        return tuple(
            StoredSession(
                session_id=session_id,
                messages=len(kept.messages),
                staged=len(kept.conversation.staged),
                created_at=kept.created_at,
                updated_at=kept.updated_at,
            )
            for session_id, kept in self._kept.items()
        )

    async def read(self, session_id: str) -> StoredConversation:
        """As `SessionStore.read`.  A checkpoint.  Cancelled: no effect.

        Raises:
            SessionNotFound: there is no such session.
        """
        checked_session_id(session_id)
        await trio.lowlevel.checkpoint()
        kept = self._kept.get(session_id)
        if kept is None:
            raise SessionNotFound(message=f"no session {session_id!r}", session_id=session_id)
        return StoredConversation(
            session_id=session_id,
            messages=kept.messages,
            state=kept.conversation.authority.state,
            staged=kept.staged(),
            created_at=kept.created_at,
            updated_at=kept.updated_at,
        )

    async def adopt(
        self, conversation: StoredConversation, *, keep_heard_prefix: bool = True
    ) -> None:
        """Take over a conversation from elsewhere, as a new session under its own id.

        A checkpoint; cancelled, it has done nothing.

        Raises:
            SessionExists: there is such a session, or it is being begun.
            InvalidRequest: the messages are not those of the state, or the id is no id.
            TranscriptStateError: the state is inconsistent.
        """
        session_id = checked_session_id(conversation.session_id)
        await trio.lowlevel.checkpoint()
        if session_id in self._kept or session_id in self._writers:
            raise SessionExists(
                message=f"session {session_id!r} is there already", session_id=session_id
            )
        kept = _Kept(
            conversation=adopted(conversation, keep_heard_prefix),
            keep_heard_prefix=keep_heard_prefix,
            messages=list(conversation.messages),
            created_at=conversation.created_at,
        )
        self._written(session_id, kept)

    def _written(self, session_id: str, kept: _Kept) -> None:
        now = None if self._wall_clock is None else self._wall_clock()
        if kept.created_at is None:
            kept.created_at = now
        kept.updated_at = now
        self._kept.setdefault(session_id, kept)
