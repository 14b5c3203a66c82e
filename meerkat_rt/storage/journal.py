"""The one writer of one session in a SQLite store: commits, snapshots, failures.

Synchronous and for one thread at a time; `sqlite` puts it on a thread of its own.

What a commit costs does not depend on how long the conversation is: one row of journal for all of
its events, one row for each message, the session's counters.  When the journal has grown, a
snapshot replaces it: the items that have settled since the last one are written for good, and of
the rest, which is small, a new copy.  Should the rest be large, because much text is unsettled,
then the next snapshot waits until the journal is as large again, so that on average every event is
written a bounded number of times.
"""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs

from ..runtime.ports import RestoredConversation, StoredMessage, TranscriptBatch
from ..transcript import TranscriptAuthority
from ..transcript.increments import StateTracker, item_to_json, response_to_json
from .conversation import adopted
from .encoding import (
    checksum,
    encode_events,
    encode_message,
    named_responses,
    staged_to_json,
    text_key,
    to_bytes,
    unsettled_to_json,
)
from .errors import JournalClosed, SessionExists, SessionLocked, StoreError, StoreUnavailable
from .failures import of_os_error, translated
from .lock import SessionLock
from .restore import Counters, SessionReader, nothing_loaded, session_rows
from .schema import StoreOptions, check_version, connect

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from ..runtime.ports import StagedTranscript, StoredConversation
    from .restore import LoadedSession

_logger = logging.getLogger("meerkat_rt.storage")


# In a forked child: what must not even be closed by being forgotten.
_of_parents: list[sqlite3.Connection] = []


@attrs.frozen(kw_only=True)
class _Unwritten:
    """A batch that has been taken in and is not durable."""

    journal: bytes | None
    messages: tuple[StoredMessage, ...]
    bodies: tuple[bytes, ...]  # of the messages
    unstaged: tuple[str, ...]


class _File:
    """Which file it was that a path led to."""

    def __init__(self, path: Path) -> None:
        self._path = os.path.realpath(path)
        self._status = os.stat(self._path)

    def is_gone(self) -> bool:
        """Whether the path leads to another file, or none.

        Where files have no numbers, only their absence is noticed.  What cannot be looked at, in a
        directory that must not be searched any more, is not known to be gone.
        """
        try:
            return not os.path.samestat(os.stat(self._path), self._status)
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:
            return False


class JournalWriter:
    """The writer of one session.  Made by `open_journal`.  Ends with `close`."""

    def __init__(
        self,
        *,
        path: Path,
        file: _File,
        connection: sqlite3.Connection,
        lock: SessionLock,
        session_id: str,
        loaded: LoadedSession,
        keep_heard_prefix: bool,
        options: StoreOptions,
        wall_clock: Callable[[], float] | None,
    ) -> None:
        self._path = path
        self._file = file
        self._pid = os.getpid()
        self._connection = connection
        self._lock = lock
        self._session_id = session_id
        self._options = options
        self._wall_clock = wall_clock
        self._closed: str | None = None  # why nothing can be written any more
        # Invariant: `_conversation` is what is durable, with `_unwritten` on top.
        self._conversation = loaded.conversation
        self._tracker = loaded.tracker
        self._unwritten: list[_Unwritten] = []
        # As in the row of the session; None for the key as long as there is no row.
        self._key = loaded.key
        self._counters = loaded.counters
        self._checksum = loaded.checksum
        self._journal_bytes = loaded.journal_bytes
        self._snapshot_bytes = loaded.snapshot_bytes
        if loaded.counters.keep_heard_prefix != keep_heard_prefix:
            self._change_mode(keep_heard_prefix)
        self._restored = RestoredConversation(
            messages=loaded.messages,
            authority=self._copy(keep_heard_prefix),
            staged=tuple(loaded.conversation.staged.values()),
        )

    @property
    def restored(self) -> RestoredConversation:
        """What was there when the journal was opened."""
        return self._restored

    # ------------------------------------------------------------ commits

    def commit(self, batch: TranscriptBatch) -> tuple[StoredMessage, ...]:
        """As `SessionJournal.commit`, without the waiting."""
        self._check_open()
        staged = self._conversation.check(batch)
        self._take_in(batch)
        if not self._unwritten and not staged:
            return ()
        with self._transaction() as counters:
            journal_bytes = self._write_batches(counters)
            self._write_staged(counters, staged)
        self._journal_bytes += journal_bytes
        self._conversation.stage(staged)
        unwritten, self._unwritten = self._unwritten, []
        if self._journal_bytes >= max(self._options.snapshot_bytes, self._snapshot_bytes):
            self._try_snapshot()
        return tuple(message for taken in unwritten for message in taken.messages)

    def _take_in(self, batch: TranscriptBatch) -> None:
        # From here on the batch is the journal's, whatever becomes of the writing.
        if not (batch.entries or batch.history or batch.unstage):
            return
        # Whatever cannot be encoded is found before anything is taken in.
        records = encode_events(batch.entries)
        history = [StoredMessage(message) for message in batch.history]
        bodies = [encode_message(message) for message in history]
        journal = None
        if records or history:
            journal = to_bytes({"history": len(history), "events": records})
        for response_id in named_responses(records):
            self._tracker.touch(response_id)
        try:
            made = self._conversation.apply(batch.entries)
            bodies += [encode_message(message) for message in made]
        except BaseException:
            self._closed = "a batch was taken in by half; the session has to be opened again"
            raise
        unstaged = self._conversation.unstage(batch)
        if journal is not None or unstaged:
            self._unwritten.append(
                _Unwritten(
                    journal=journal,
                    messages=(*history, *made),
                    bodies=tuple(bodies),
                    unstaged=tuple(unstaged),
                )
            )

    def _write_batches(self, counters: Counters) -> int:
        key, size = self._session_key(), 0
        for taken in self._unwritten:
            if taken.journal is not None:
                counters.batches += 1
                size += len(taken.journal)
                self._insert("journal", key, counters.batches, taken.journal)
            for body in taken.bodies:
                counters.messages += 1
                self._insert("message", key, counters.messages, body)
            for item_id in taken.unstaged:
                counters.staged -= 1
                self._connection.execute(
                    "DELETE FROM staged WHERE session = ? AND item_id = ?",
                    (key, text_key(item_id)),
                )
        return size

    def _write_staged(self, counters: Counters, staged: Iterable[StagedTranscript]) -> None:
        key = self._session_key()
        for entry in staged:
            counters.staged += 1
            counters.staged_number += 1
            number, body = counters.staged_number, to_bytes(staged_to_json(entry))
            self._connection.execute(
                "INSERT INTO staged VALUES (?, ?, ?, ?, ?)",
                (key, number, text_key(entry.item_id), body, self._sum("staged", number, body)),
            )

    # ------------------------------------------------------------ snapshots

    def _try_snapshot(self) -> None:
        # Everything is durable without it: a snapshot that fails is tried again later.
        try:
            with self._transaction() as counters:
                snapshot_bytes = self._write_snapshot(counters)
        except Exception as error:  # whatever it is, it must not hide what has been committed
            known = isinstance(error, StoreError)
            _logger.warning(
                "no snapshot of session %r: %s", self._session_id, error, exc_info=not known
            )
            self._snapshot_bytes = 2 * self._journal_bytes
        else:
            self._snapshot_written(snapshot_bytes)

    def _write_snapshot(self, counters: Counters) -> int:
        key, increment = self._session_key(), self._tracker.increment()
        for item in increment.settled:
            self._insert("item", key, item.seen, to_bytes(item_to_json(item)))
        for response_id, response in increment.responses.items():
            row = text_key(response_id)
            if response is None:
                self._connection.execute(
                    "DELETE FROM response WHERE session = ? AND response_id = ?", (key, row)
                )
            else:
                body = to_bytes(response_to_json(response_id, response))
                self._connection.execute(
                    "INSERT OR REPLACE INTO response VALUES (?, ?, ?, ?)",
                    (key, row, body, self._sum("response", response_id, body)),
                )
        body = to_bytes(
            {
                "covered": counters.batches,
                "messages": counters.messages,
                "settled": increment.settled_total,
                "responses": increment.responses_total,
                "unsettled": unsettled_to_json(increment.unsettled),
            }
        )
        self._connection.execute(
            "INSERT OR REPLACE INTO snapshot VALUES (?, ?, ?)",
            (key, body, self._sum("snapshot", "", body)),
        )
        self._connection.execute(
            "DELETE FROM journal WHERE session = ? AND number <= ?", (key, counters.batches)
        )
        counters.covered = counters.batches
        return len(body)

    def _snapshot_written(self, snapshot_bytes: int) -> None:
        self._tracker.written()
        self._journal_bytes, self._snapshot_bytes = 0, snapshot_bytes

    def _change_mode(self, keep_heard_prefix: bool) -> None:
        # The journal has to be replayed as it was written, so that none of it may be left.
        if self._key is None:
            self._counters.keep_heard_prefix = keep_heard_prefix
        else:
            with self._transaction() as counters:
                snapshot_bytes = self._write_snapshot(counters)
                counters.keep_heard_prefix = keep_heard_prefix
            self._snapshot_written(snapshot_bytes)
        self._conversation.authority = self._copy(keep_heard_prefix)
        self._tracker = StateTracker(self._conversation.authority)

    def _copy(self, keep_heard_prefix: bool) -> TranscriptAuthority:
        state = self._conversation.authority.state
        return TranscriptAuthority(state, keep_heard_prefix=keep_heard_prefix)

    # ------------------------------------------------------------ import

    def adopt(self, conversation: StoredConversation) -> None:
        """Make `conversation` the content of this session, which must be new.

        Raises:
            SessionExists: it is not new.
            InvalidRequest: the messages are not those of the state.
            TranscriptStateError: the state is inconsistent.
        """
        self._check_open()
        if self._key is not None or self._unwritten:
            raise SessionExists(
                message=f"session {self._session_id!r} is there already",
                path=str(self._path),
                session_id=self._session_id,
            )
        ours = adopted(conversation, self._counters.keep_heard_prefix)
        before = self._conversation, self._tracker
        self._conversation, self._tracker = ours, StateTracker.of_nothing(ours.authority)
        try:
            with self._transaction() as counters:
                key = self._session_key()
                for number, message in enumerate(conversation.messages, 1):
                    self._insert("message", key, number, encode_message(message))
                counters.messages = len(conversation.messages)
                counters.created_at = conversation.created_at
                self._write_staged(counters, ours.staged.values())
                snapshot_bytes = self._write_snapshot(counters)
        except BaseException:
            self._conversation, self._tracker = before
            raise
        self._snapshot_written(snapshot_bytes)

    # ------------------------------------------------------------ rows

    def _insert(self, table: str, key: int, number: int, body: bytes) -> None:
        self._connection.execute(
            f"INSERT INTO {table} VALUES (?, ?, ?, ?)",
            (key, number, body, self._sum(table, number, body)),
        )

    def _sum(self, table: str, row: object, body: bytes) -> bytes:
        return checksum(table, self._session_id, str(row), body)

    def _session_key(self) -> int:
        # Within a transaction, in which nobody else can take the same.
        if self._key is not None:
            return self._key
        key: int = self._connection.execute(
            "SELECT coalesce(max(key), 0) + 1 FROM session"
        ).fetchone()[0]
        return key

    def _write_session(self, counters: Counters) -> tuple[int, bytes]:
        counters.updated_at = None if self._wall_clock is None else self._wall_clock()
        if self._key is None and counters.created_at is None:
            counters.created_at = counters.updated_at
        key = self._session_key()
        body = to_bytes(attrs.asdict(counters))
        sum_ = self._sum("session", "", body)
        if self._key is None:
            count = len(session_rows(self._connection, self._path)) + 1
            body_of_store = to_bytes({"sessions": count})
            self._connection.execute(
                "INSERT INTO session VALUES (?, ?, ?, ?)", (key, self._session_id, body, sum_)
            )
            self._connection.execute(
                "INSERT OR REPLACE INTO store VALUES (1, ?, ?)",
                (body_of_store, checksum("store", "", "", body_of_store)),
            )
        else:
            self._connection.execute(
                "UPDATE session SET body = ?, checksum = ? WHERE key = ?", (body, sum_, key)
            )
        return key, sum_

    @contextmanager
    def _transaction(self) -> Iterator[Counters]:
        # Gives the counters, to be changed; they are written, and become ours, at the end.
        counters = attrs.evolve(self._counters)
        with translated(self._path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                check_version(self._connection, self._path, self._options)
                self._check_file()
                self._check_owner()
                yield counters
                key, sum_ = self._write_session(counters)
                self._connection.execute("COMMIT")
            except BaseException:
                # SQLite has already rolled back where nothing else was possible.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        self._key, self._counters, self._checksum = key, counters, sum_

    def _check_file(self) -> None:
        # SQLite goes on writing to a file that has been removed or moved, and nobody reads it.
        if self._file.is_gone():
            self._closed = "the file has been removed, moved or replaced"
            raise StoreUnavailable(message=self._closed, path=str(self._path))

    def _check_owner(self) -> None:
        # The lock should make it impossible; on some network file systems it locks nothing.
        row = self._connection.execute(
            "SELECT checksum FROM session WHERE session_id = ?", (self._session_id,)
        ).fetchone()
        if (b"" if row is None else row[0]) != self._checksum:
            self._closed = "another writer has written to the session in spite of the lock"
            raise SessionLocked(
                message=self._closed, path=str(self._path), session_id=self._session_id
            )

    # ------------------------------------------------------------ closing

    def _check_open(self) -> None:
        if os.getpid() != self._pid:
            self._closed = "the journal is that of the process that opened it, not of its child"
        if self._closed is not None:
            raise JournalClosed(message=self._closed, path=str(self._path))

    def close(self) -> None:
        """Take a last snapshot if there is something to take, and let go of everything.

        What could not be written before stays unwritten.  Doing it twice is the same as once.
        """
        usable, self._closed = self._closed is None, "the journal has been closed"
        if os.getpid() != self._pid:
            # SQLite forbids even to close a connection there: that could end what the parent, in
            # another thread, has just begun.
            _of_parents.append(self._connection)
            return
        try:
            if usable and not self._unwritten and self._counters.covered < self._counters.batches:
                self._try_snapshot()
        finally:
            try:
                self._connection.close()
            finally:
                self._lock.release()


def open_journal(
    path: Path,
    session_id: str,
    *,
    options: StoreOptions,
    keep_heard_prefix: bool = True,
    wall_clock: Callable[[], float] | None = None,
) -> JournalWriter:
    """Become the one writer of a session.

    Raises:
        StoreError: as `SqliteStore.open`.
    """
    lock = SessionLock(path, session_id).acquire()
    try:
        connection = connect(path, options)
        try:
            try:
                file = _File(path)
            except OSError as error:  # removed at once
                raise of_os_error(error, path) from error
            with translated(path):
                connection.execute("BEGIN")
                check_version(connection, path, options)
                loaded = SessionReader(connection, path, session_id).load()
                connection.execute("COMMIT")
            return JournalWriter(
                path=path,
                file=file,
                connection=connection,
                lock=lock,
                session_id=session_id,
                loaded=loaded or nothing_loaded(keep_heard_prefix),
                keep_heard_prefix=keep_heard_prefix,
                options=options,
                wall_clock=wall_clock,
            )
        except BaseException:
            connection.close()
            raise
    except BaseException:
        lock.release()
        raise
