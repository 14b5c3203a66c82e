"""What can go wrong with a store.  Each says which file, and whether a retry may help."""

from __future__ import annotations

from typing import ClassVar

import attrs
import trio

from ..model.errors import LlmError
from ..transcript import TranscriptStateRule


@attrs.define(eq=False, kw_only=True)
class StoreError(LlmError):
    """Base of all of them.  `path` is the store's file; empty for a store in memory."""

    message: str
    path: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


# ---------------------------------------------------------------- a retry may help


@attrs.define(eq=False, kw_only=True)
class SessionLocked(StoreError):
    """Another writer has the session.  `pid` is its process, if that is known.

    The lock is free as soon as that process ends, however it ends.
    """

    session_id: str
    pid: int | None = None
    retryable: ClassVar[bool] = True


@attrs.define(eq=False, kw_only=True)
class StoreBusy(StoreError):
    """Others were writing to the same file for longer than this one was ready to wait."""

    retryable: ClassVar[bool] = True


@attrs.define(eq=False, kw_only=True)
class StoreFull(StoreError):
    """The disk is full, or the file has reached the size that it was allowed."""

    retryable: ClassVar[bool] = True


@attrs.define(eq=False, kw_only=True)
class StoreWriteFailed(StoreError):
    """The operating system refused to read or write: a quota, a size limit, a failing disk."""

    retryable: ClassVar[bool] = True


# ---------------------------------------------------------------- a retry does not help


@attrs.define(eq=False, kw_only=True)
class StoreReadOnly(StoreError):
    """The file, or the directory that it is in, cannot be written."""


@attrs.define(eq=False, kw_only=True)
class StoreUnavailable(StoreError):
    """There is nothing that could be opened: no such directory, no such file, not a file."""


@attrs.define(eq=False, kw_only=True)
class StoreNotFound(StoreUnavailable):
    """There is no such file.  One is made by writing to it."""


@attrs.define(eq=False, kw_only=True)
class NotAStore(StoreError):
    """The file exists and is something else.  It has been left as it is."""


@attrs.define(eq=False, kw_only=True)
class StoreTooNew(StoreError):
    """The file was written by a later version, with the schema `found`; this one knows `known`."""

    found: int
    known: int


@attrs.define(eq=False, kw_only=True)
class SessionNotFound(StoreError):
    """The store has no such session."""

    session_id: str


@attrs.define(eq=False, kw_only=True)
class SessionExists(StoreError):
    """The store has such a session already."""

    session_id: str


@attrs.define(eq=False, kw_only=True)
class StoreCorrupted(StoreError):
    """What was read is not what was written.  Nothing was repaired, dropped or reset.

    `table` and `row` say where, as far as that is known; `row` is the key within the session.
    """

    session_id: str | None = None
    table: str | None = None
    row: str | None = None

    def __str__(self) -> str:
        session = "" if self.session_id is None else f", session {self.session_id!r}"
        place = "" if self.table is None else f", table {self.table}"
        row = "" if self.row is None else f", row {self.row}"
        return f"{StoreError.__str__(self)}{session}{place}{row}"


@attrs.define(eq=False, kw_only=True)
class StoredStateRefused(StoreCorrupted):
    """The stored transcript state breaks `rule`; `subject` is the item or response that does."""

    rule: TranscriptStateRule
    subject: str


@attrs.define(eq=False, kw_only=True)
class StagedTextConflict(StoreError):
    """Other text is staged, or settled, under the same item id."""

    item_id: str


@attrs.define(eq=False, kw_only=True)
class JournalClosed(StoreError, trio.ClosedResourceError):
    """The journal's block has been left, or the journal could not be trusted any more."""
