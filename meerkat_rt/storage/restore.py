"""From the rows of a session back to its conversation, believing nothing.

Every body is checked against its checksum, every table against the number of rows that it should
have, the state against the rules of the transcript, the messages against the state and against what
the journal's events make.  The first thing that is wrong is an error which says where; nothing is
repaired and nothing is left out.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import attrs

from ..model.errors import LlmError
from ..runtime.ports import StoredMessage
from ..transcript import TranscriptAuthority, TranscriptStateError
from ..transcript.increments import (
    StateTracker,
    UnsettledState,
    assemble,
    item_from_json,
    response_from_json,
)
from .conversation import Conversation, contradiction
from .encoding import (
    decode_events,
    decode_message,
    from_bytes,
    is_intact,
    named_responses,
    staged_from_json,
    unsettled_from_json,
)
from .errors import StoreCorrupted, StoredStateRefused

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ..model.conversation import JSON


T = TypeVar("T")


@attrs.define(kw_only=True)
class Counters:
    """What the row of a session says: how many rows of each kind there must be.  To be copied.

    `batches` have been journaled so far, of which `covered` are in the snapshot; `staged_number` is
    the last number given to a staged text.
    """

    keep_heard_prefix: bool
    batches: int = 0
    covered: int = 0
    messages: int = 0
    staged: int = 0
    staged_number: int = 0
    created_at: float | None = None
    updated_at: float | None = None


@attrs.frozen(kw_only=True)
class LoadedSession:
    """A session as it was read.

    `key` and `checksum` are those of its row.  `tracker` knows what the snapshot has, and what the
    journal has changed since; the bytes are the lengths of the two.
    """

    key: int | None
    counters: Counters
    checksum: bytes = b""
    conversation: Conversation
    tracker: StateTracker
    messages: tuple[StoredMessage, ...] = ()
    journal_bytes: int = 0
    snapshot_bytes: int = 0


def nothing_loaded(keep_heard_prefix: bool) -> LoadedSession:
    """A session of which there is nothing yet."""
    authority = TranscriptAuthority(keep_heard_prefix=keep_heard_prefix)
    return LoadedSession(
        key=None,
        counters=Counters(keep_heard_prefix=keep_heard_prefix),
        conversation=Conversation(authority),
        tracker=StateTracker(authority),
    )


@attrs.frozen(kw_only=True)
class _Snapshot:
    messages: int = 0
    settled: int = 0
    responses: int = 0
    unsettled: UnsettledState = attrs.field(factory=UnsettledState)
    size: int = 0


def session_rows(connection: sqlite3.Connection, path: Path) -> dict[str, JSON]:
    """The bodies of all rows of sessions, oldest first, by the id of the session.

    To be asked before it is believed that there is no such session.  Takes time for all sessions.

    Raises:
        StoreCorrupted: a row is damaged, or there are not as many as there should be.
    """

    def corrupted(table: str, message: str, session_id: object = None) -> StoreCorrupted:
        name = None if session_id is None else str(session_id)
        return StoreCorrupted(message=message, path=str(path), table=table, session_id=name)

    expected, rows = 0, {}
    store = connection.execute("SELECT body, checksum FROM store").fetchone()
    if store is not None:
        if not is_intact("store", "", "", *store):
            raise corrupted("store", "the checksum does not match")
        expected = from_bytes(store[0])["sessions"]
    for session_id, body, sum_ in connection.execute(
        "SELECT session_id, body, checksum FROM session NOT INDEXED ORDER BY key"
    ):
        if not isinstance(session_id, str) or not is_intact("session", session_id, "", body, sum_):
            raise corrupted("session", "the checksum does not match", session_id)
        rows[session_id] = from_bytes(body)
    if len(rows) != expected:
        raise corrupted("session", f"{len(rows)} sessions, should be {expected}")
    return rows


class SessionReader:
    """Reads one session, within a transaction that the caller has begun."""

    def __init__(self, connection: sqlite3.Connection, path: Path, session_id: str) -> None:
        self._connection = connection
        self._path = path
        self._session_id = session_id
        self._key = 0

    def load(self) -> LoadedSession | None:
        """The session, or None if the store has never had it.

        Raises:
            StoreCorrupted: something is not what was written.
            StoredStateRefused: the state breaks a rule of the transcript.
        """
        row = self._connection.execute(
            "SELECT key, body, checksum FROM session WHERE session_id = ?", (self._session_id,)
        ).fetchone()
        if row is None:
            if self._session_id in session_rows(self._connection, self._path):
                self._corrupted("session", "the index does not have it", "")
            return None
        self._key = row[0]
        counters = self._counters(row[1], row[2])
        snapshot = self._snapshot(counters)
        messages = self._messages(counters)
        authority = self._authority(snapshot, counters.keep_heard_prefix)
        staged = [entry for _, entry, _ in self._numbered("staged", staged_from_json)]
        self._expect(len(staged) == counters.staged, "staged", f"{len(staged)} rows")
        conversation = Conversation(authority, staged)
        tracker = StateTracker(authority)
        journal_bytes = self._replay(conversation, tracker, counters, snapshot, messages)
        problem = contradiction(authority, messages)
        if problem is not None:
            number, what = problem
            self._corrupted("message", what, number)
        return LoadedSession(
            key=self._key,
            counters=counters,
            checksum=row[2],
            conversation=conversation,
            tracker=tracker,
            messages=tuple(messages),
            journal_bytes=journal_bytes,
            snapshot_bytes=snapshot.size,
        )

    # ------------------------------------------------------------ tables

    def _counters(self, body: bytes, sum_: bytes) -> Counters:
        data = self._read("session", "", body, sum_)
        with self._reading("session", ""):
            return Counters(**data)

    def _snapshot(self, counters: Counters) -> _Snapshot:
        row = self._connection.execute(
            "SELECT body, checksum FROM snapshot WHERE session = ?", (self._key,)
        ).fetchone()
        if row is None:
            self._expect(counters.covered == 0, "snapshot", "there is none")
            return _Snapshot()
        data = self._read("snapshot", "", *row)
        with self._reading("snapshot", ""):
            self._expect(data["covered"] == counters.covered, "snapshot", "of another moment")
            return _Snapshot(
                messages=data["messages"],
                settled=data["settled"],
                responses=data["responses"],
                unsettled=unsettled_from_json(data["unsettled"]),
                size=len(row[0]),
            )

    def _messages(self, counters: Counters) -> list[StoredMessage]:
        messages: list[StoredMessage] = []
        for number, message, _ in self._numbered("message", decode_message):
            messages.append(message)
            self._expect(number == len(messages), "message", "missing", len(messages))
        self._expect(len(messages) == counters.messages, "message", "missing", counters.messages)
        return messages

    def _authority(self, snapshot: _Snapshot, keep_heard_prefix: bool) -> TranscriptAuthority:
        settled = [item for _, item, _ in self._numbered("item", item_from_json, "seen")]
        self._expect(len(settled) == snapshot.settled, "item", f"{len(settled)} rows")
        responses = {}
        for row_id, body, sum_ in self._connection.execute(
            "SELECT response_id, body, checksum FROM response WHERE session = ?", (self._key,)
        ):
            with self._reading("response", row_id):
                row = row_id.decode("utf-8", "surrogatepass")
            data = self._read("response", row, body, sum_)
            with self._reading("response", row):
                response_id, response = response_from_json(data)
            responses[response_id] = response
        self._expect(len(responses) == snapshot.responses, "response", f"{len(responses)} rows")
        with self._reading("item", None):
            return TranscriptAuthority(
                assemble(settled, responses, snapshot.unsettled),
                keep_heard_prefix=keep_heard_prefix,
            )

    def _replay(
        self,
        conversation: Conversation,
        tracker: StateTracker,
        counters: Counters,
        snapshot: _Snapshot,
        messages: list[StoredMessage],
    ) -> int:
        expected, size, made = counters.covered, 0, snapshot.messages
        for number, data, length in self._numbered("journal", lambda data: data):
            expected += 1
            size += length
            self._expect(number == expected, "journal", "missing", expected)
            with self._reading("journal", number):
                for response_id in named_responses(data["events"]):
                    tracker.touch(response_id)
                made += data["history"]
                for message in conversation.apply(decode_events(data["events"])):
                    self._expect(
                        made < len(messages) and messages[made] == message,
                        "message",
                        "not what its events make",
                        made + 1,
                    )
                    made += 1
        self._expect(expected == counters.batches, "journal", "missing", counters.batches)
        self._expect(made == len(messages), "message", "no event makes it", made + 1)
        return size

    # ------------------------------------------------------------ rows

    def _numbered(
        self, table: str, decode: Callable[[JSON], T], key: str = "number"
    ) -> Iterator[tuple[int, T, int]]:
        rows = self._connection.execute(
            f"SELECT {key}, body, checksum FROM {table} WHERE session = ? ORDER BY {key}",
            (self._key,),
        )
        for number, body, sum_ in rows:
            data = self._read(table, str(number), body, sum_)
            with self._reading(table, number):
                value = decode(data)
            yield number, value, len(body)

    def _read(self, table: str, row: str, body: Any, sum_: Any) -> Any:
        if not is_intact(table, self._session_id, row, body, sum_):
            self._corrupted(table, "the checksum does not match", row)
        with self._reading(table, row):
            return from_bytes(body)

    @contextmanager
    def _reading(self, table: str, row: object) -> Iterator[None]:
        # The checksum is right, and still it cannot be read: it was written by something else.
        try:
            yield
        except StoreCorrupted:
            raise
        except TranscriptStateError as error:
            raise StoredStateRefused(
                message=str(error),
                path=str(self._path),
                session_id=self._session_id,
                table=table,
                row=None if row is None else str(row),
                rule=error.rule,
                subject=error.subject,
            ) from error
        except (LlmError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise self._corruption(table, f"cannot be read: {error!r}", row) from error

    def _expect(self, holds: object, table: str, message: str, row: object = None) -> None:
        if not holds:
            self._corrupted(table, message, row)

    def _corrupted(self, table: str, message: str, row: object = None) -> NoReturn:
        raise self._corruption(table, message, row)

    def _corruption(self, table: str, message: str, row: object) -> StoreCorrupted:
        return StoreCorrupted(
            message=message,
            path=str(self._path),
            session_id=self._session_id,
            table=table,
            row=None if row is None else str(row),
        )
