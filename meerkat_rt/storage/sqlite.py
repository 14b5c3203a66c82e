"""A store in a SQLite file."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from ..runtime.ports import RestoredConversation, StoredConversation, StoredMessage, StoredSession
from .conversation import checked_session_id
from .errors import SessionNotFound
from .journal import JournalWriter, open_journal
from .reading import read_store
from .restore import SessionReader, session_rows
from .schema import StoreOptions

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Callable

    from ..runtime.ports import TranscriptBatch


_NO_THREAD = "can't start new thread"  # all that Python says of it


class SqliteJournal:
    """The `SessionJournal` of a `SqliteStore`.  Every commit runs in a worker thread."""

    def __init__(self, writer: JournalWriter, limiter: trio.CapacityLimiter) -> None:
        self._writer = writer
        self._limiter = limiter

    @property
    def restored(self) -> RestoredConversation:
        """What was there when the journal was opened."""
        return self._writer.restored

    async def commit(self, batch: TranscriptBatch) -> tuple[StoredMessage, ...]:
        """As `SessionJournal.commit`.  Bounded by the store's `busy_timeout` and the disk.

        Raises:
            TypeError: something in the batch is no transcript event.
            InvalidJson: its history cannot be written, or is nested too deeply to be read again.
            StagedTextConflict: other text is staged or settled under the same id.
            StoreError: it could not be written; see `errors`.
            JournalClosed: the block has been left.
        """
        # Cancelled while it waits for the turn of the one thread: nothing has been done.  Once the
        # thread has it, its end is awaited.
        return await trio.to_thread.run_sync(self._writer.commit, batch, limiter=self._limiter)


class SqliteStore:
    """The `SessionStore` in the file `path`, which is made when it is first written to.

    The directory must exist.  A relative path is that of the moment when the store is made.  Any
    number of sessions share the file, each with one writer, in the same process or in others.
    `sync`: a commit returns when the disk has it; without, it survives the death of the process but
    not of the machine.  `busy_timeout`: seconds to wait for other writers to the file.
    `max_bytes`: the size that the file may reach.  `snapshot_bytes`: how much journal may pile up
    before a snapshot replaces it.  `wall_clock`: seconds since the Unix epoch; with it the store
    notes when a session was begun and last written to.

    Not for network file systems, whose locks cannot be relied upon.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        sync: bool = True,
        busy_timeout: float = 5.0,
        max_bytes: int | None = None,
        snapshot_bytes: int = 64 * 1024,
        wall_clock: Callable[[], float] | None = None,
    ) -> None:
        self.path = Path(path).absolute()
        self._wall_clock = wall_clock
        self._options = StoreOptions(
            sync=sync,
            busy_timeout=busy_timeout,
            max_bytes=max_bytes,
            snapshot_bytes=snapshot_bytes,
        )

    def __repr__(self) -> str:
        return f"<SqliteStore {self.path}>"

    @asynccontextmanager
    async def open(
        self, session_id: str, *, keep_heard_prefix: bool = True
    ) -> AsyncIterator[SqliteJournal]:
        """As `SessionStore.open`.

        Raises:
            SessionLocked: somebody else is writing the session.  Says so at once.
            StoreCorrupted: what is stored is not what was written, or breaks a rule.
            StoreError: the file cannot be used; see `errors`.
            InvalidRequest: the session id is blank or no text.
        """
        checked = checked_session_id(session_id)
        limiter = trio.CapacityLimiter(1)
        writer = await trio.to_thread.run_sync(
            self._open, checked, keep_heard_prefix, limiter=limiter
        )
        try:
            yield SqliteJournal(writer, limiter)
        finally:
            # Ended by the thread, whose waits are bounded by `busy_timeout`.
            with trio.CancelScope(shield=True):
                try:
                    await trio.to_thread.run_sync(writer.close, limiter=limiter)
                except RuntimeError as error:
                    # The system's limit on threads must not keep a lock; anything else is ours.
                    if str(error) != _NO_THREAD:
                        raise
                    writer.close()

    async def sessions(self) -> tuple[StoredSession, ...]:
        """As `SessionStore.sessions`.  A checkpoint.  Cancelled: waits for the reading to end.

        Raises:
            StoreNotFound: there is no such file.
            StoreError: it cannot be read; see `errors`.
        """
        return await trio.to_thread.run_sync(self._sessions)

    async def read(self, session_id: str) -> StoredConversation:
        """As `SessionStore.read`.  A checkpoint.  Cancelled: waits for the reading to end.

        Raises:
            SessionNotFound: there is no such session.
            StoreNotFound: there is no such file.
            StoreCorrupted: what is stored is not what was written, or breaks a rule.
            StoreError: the file cannot be read; see `errors`.
        """
        return await trio.to_thread.run_sync(self._read, checked_session_id(session_id))

    async def adopt(
        self, conversation: StoredConversation, *, keep_heard_prefix: bool = True
    ) -> None:
        """Take over a conversation from elsewhere, as a new session under its own id.

        A checkpoint; once begun it goes through to its end.

        Raises:
            SessionExists: there is such a session.
            InvalidJson: a message cannot be written, or is nested too deeply to be read again.
            InvalidRequest: the messages are not those of the state, or the id is no id.
            TranscriptStateError: the state is inconsistent.
            StoreError: as for `open`.
        """
        checked_session_id(conversation.session_id)
        await trio.to_thread.run_sync(self._adopt, conversation, keep_heard_prefix)

    def _open(self, session_id: str, keep_heard_prefix: bool) -> JournalWriter:
        return open_journal(
            self.path,
            session_id,
            options=self._options,
            keep_heard_prefix=keep_heard_prefix,
            wall_clock=self._wall_clock,
        )

    def _adopt(self, conversation: StoredConversation, keep_heard_prefix: bool) -> None:
        writer = self._open(conversation.session_id, keep_heard_prefix)
        try:
            writer.adopt(conversation)
        finally:
            writer.close()

    def _sessions(self) -> tuple[StoredSession, ...]:
        rows = read_store(
            self.path, self._options, lambda connection: session_rows(connection, self.path)
        )
        return tuple(
            StoredSession(
                session_id=session_id,
                messages=data["messages"],
                staged=data["staged"],
                created_at=data["created_at"],
                updated_at=data["updated_at"],
            )
            for session_id, data in (rows or {}).items()
        )

    def _read(self, session_id: str) -> StoredConversation:
        loaded = read_store(
            self.path,
            self._options,
            lambda connection: SessionReader(connection, self.path, session_id).load(),
        )
        if loaded is None:
            raise SessionNotFound(
                message=f"no session {session_id!r}", path=str(self.path), session_id=session_id
            )
        return StoredConversation(
            session_id=session_id,
            messages=loaded.messages,
            state=loaded.conversation.authority.state,
            staged=tuple(loaded.conversation.staged.values()),
            created_at=loaded.counters.created_at,
            updated_at=loaded.counters.updated_at,
        )
