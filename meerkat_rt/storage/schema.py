"""The tables of a store, how one is made, and how an older one is brought up to date.

| table    | a row is                                 | written        | removed         |
|----------|------------------------------------------|----------------|-----------------|
| store    | the store: how many sessions it has      | for each       | never           |
| session  | a session: its counters                  | by each commit | never           |
| message  | a canonical message                      | once           | never           |
| journal  | a batch of events that no snapshot has   | once           | by the snapshot |
| snapshot | the unsettled part of a session's state  | now and then   | by the next     |
| item     | a settled item                           | once           | never           |
| response | a response without unsettled items       | as it changes  | when it revives |
| staged   | a text whose turn is not committed       | once           | when it was     |

A body is JSON; its checksum covers the body, the table, the session and the row's key.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from .errors import NotAStore, StoreReadOnly, StoreTooNew, StoreUnavailable
from .failures import check_path, of_os_error, translated

if TYPE_CHECKING:
    from pathlib import Path

APPLICATION_ID = 0x6D6B7274  # "mkrt", in the header of the file
WAL_LIMIT = 4 * 1024 * 1024  # bytes of the write-ahead log that are kept between checkpoints
_SWITCHES = 5  # attempts; two will do: one process makes the switch, and all others find it made

_TABLES = """
CREATE TABLE store (
    key INTEGER PRIMARY KEY, body BLOB NOT NULL, checksum BLOB NOT NULL);
CREATE TABLE session (
    key INTEGER PRIMARY KEY, session_id TEXT NOT NULL UNIQUE,
    body BLOB NOT NULL, checksum BLOB NOT NULL);
CREATE TABLE message (
    session INTEGER NOT NULL, number INTEGER NOT NULL,
    body BLOB NOT NULL, checksum BLOB NOT NULL,
    PRIMARY KEY (session, number)) WITHOUT ROWID;
CREATE TABLE journal (
    session INTEGER NOT NULL, number INTEGER NOT NULL,
    body BLOB NOT NULL, checksum BLOB NOT NULL,
    PRIMARY KEY (session, number)) WITHOUT ROWID;
CREATE TABLE snapshot (
    session INTEGER PRIMARY KEY, body BLOB NOT NULL, checksum BLOB NOT NULL);
CREATE TABLE item (
    session INTEGER NOT NULL, seen INTEGER NOT NULL,
    body BLOB NOT NULL, checksum BLOB NOT NULL,
    PRIMARY KEY (session, seen)) WITHOUT ROWID;
CREATE TABLE response (
    session INTEGER NOT NULL, response_id BLOB NOT NULL,
    body BLOB NOT NULL, checksum BLOB NOT NULL,
    PRIMARY KEY (session, response_id)) WITHOUT ROWID;
CREATE TABLE staged (
    session INTEGER NOT NULL, number INTEGER NOT NULL, item_id BLOB NOT NULL,
    body BLOB NOT NULL, checksum BLOB NOT NULL,
    PRIMARY KEY (session, number), UNIQUE (session, item_id)) WITHOUT ROWID;
"""

_HEADER = """
SELECT user_version, application_id, (SELECT count(*) FROM sqlite_master)
FROM pragma_user_version, pragma_application_id
"""

MIGRATIONS: tuple[str, ...] = (_TABLES,)
"""What leads from one schema version to the next; a new store goes through all of them."""


@attrs.frozen(kw_only=True)
class StoreOptions:
    """How a store's file is used.

    `sync`: a commit returns when the disk has it; without, it survives the death of the process but
    not of the machine.  `busy_timeout`: seconds to wait for other sessions that are being written
    to the same file (SQLite's own default, in Python, is 5).  `max_bytes`: the size that the file
    may reach.  `snapshot_bytes`: how much journal may pile up before a snapshot replaces it, at
    least; a restart replays at most that much, or as much as the unsettled text is long.
    """

    sync: bool = True
    busy_timeout: float = 5.0
    max_bytes: int | None = None
    snapshot_bytes: int = 64 * 1024
    migrations: Sequence[str] = MIGRATIONS


def connect(path: Path, options: StoreOptions) -> sqlite3.Connection:
    """Open the store for writing; make it, or bring it up to date, where that is needed.

    Raises:
        StoreError: it is not a store, too new, or cannot be opened or written.
    """
    with translated(path):
        connection = open_file(path, "rwc", options)
    try:
        with translated(path):
            # Before anything is written: the file may be somebody else's.
            version = check_version(connection, path, options)
            if not os.access(path, os.W_OK):
                # SQLite opens it for reading, and would say so at the first commit.
                raise StoreReadOnly(message="the file is read-only", path=str(path))
            if _switch_to_log(connection) != "wal":
                raise StoreUnavailable(
                    message="the file system cannot do write-ahead logging", path=str(path)
                )
            # EXTRA and FULL are the same with a write-ahead log.
            connection.execute(f"PRAGMA synchronous = {'FULL' if options.sync else 'NORMAL'}")
            connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT}")
            if options.max_bytes is not None:
                page_size = connection.execute("PRAGMA page_size").fetchone()[0]
                pages = max(1, options.max_bytes // page_size)  # 0 would be no limit
                connection.execute(f"PRAGMA max_page_count = {pages}")
            if version < len(options.migrations):
                _migrate(connection, path, options)
    except BaseException:
        connection.close()
        raise
    return connection


def _switch_to_log(connection: sqlite3.Connection) -> str:
    def switched() -> str:
        mode: str = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        return mode

    # SQLite reads the header before it asks for the lock to write it, and whoever reads is not made
    # to wait: while another process makes the same switch, ours fails at once.  A transaction that
    # does nothing waits for the other one as long as every transaction waits.
    for _ in range(_SWITCHES - 1):
        try:
            return switched()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    return switched()


def open_file(path: Path, mode: str, options: StoreOptions) -> sqlite3.Connection:
    """Open the file as SQLite does, in the `mode` of its URI; what it is, is not looked at.

    Raises:
        StoreError: the path leads to no file.
        sqlite3.Error: it cannot be opened.
    """
    check_path(path)
    try:
        is_directory = path.is_dir()
    except OSError as error:
        raise of_os_error(error, path) from error
    if is_directory:
        raise StoreUnavailable(message="is a directory", path=str(path))
    # One thread at a time uses it, but not always the same one.  No implicit transactions.
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=options.busy_timeout,
        isolation_level=None,
        check_same_thread=False,
    )


def check_version(connection: sqlite3.Connection, path: Path, options: StoreOptions) -> int:
    """The version of the schema; 0 for a file that is still empty.

    To be asked in every transaction: somebody may have made or migrated the store meanwhile.

    Raises:
        NotAStore: it is another application's.
        StoreTooNew: it is a later one.
    """
    # One statement sees the file at one moment; between two, another process may make the store.
    version: int
    version, application_id, tables = connection.execute(_HEADER).fetchone()
    if application_id != APPLICATION_ID and (application_id or version or tables):
        raise NotAStore(message="another application's database", path=str(path))
    known = len(options.migrations)
    if version > known:
        raise StoreTooNew(
            message=f"written by a later version: schema {version}, known {known}",
            path=str(path),
            found=version,
            known=known,
        )
    return version


def _migrate(connection: sqlite3.Connection, path: Path, options: StoreOptions) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have done it while this one waited.
        version = check_version(connection, path, options)
        for number, script in enumerate(options.migrations[version:], version + 1):
            for statement in filter(str.strip, script.split(";")):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
