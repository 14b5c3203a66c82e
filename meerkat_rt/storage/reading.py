"""Reading a store, whether or not somebody is writing it, also where nothing may be written."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING, TypeVar

from .errors import StoreBusy, StoreError, StoreReadOnly, StoreUnavailable
from .failures import check_path, translated
from .schema import check_version, open_file

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from pathlib import Path

    from .schema import StoreOptions

T = TypeVar("T")

_ATTEMPTS = 5  # each is in vain only if a writer came or went just then


def read_store(
    path: Path, options: StoreOptions, read: Callable[[sqlite3.Connection], T]
) -> T | None:
    """What `read` makes of the store at one moment; None if the file is still empty.

    Empty is what is just being made, or was left by somebody who was killed before the first table.

    Raises:
        StoreError: it is not a store, too new, too old, or cannot be read.
    """
    check_path(path)
    for _ in range(_ATTEMPTS):
        had_log = os.path.exists(_log(path))
        try:
            # Not "ro", which cannot remove the log and its index when it was the last to close.
            return _read(path, "rw", options, read)
        except (StoreReadOnly, StoreUnavailable) as error:
            refused = error
        # In a directory that we must not write, SQLite has no place for the index of the log.  If
        # there is no log, then there is no writer either, and the file is all there is: it is read
        # without a look at what others do.  So we look whether somebody came in the meantime, who
        # brings a log and its index, and may have changed the file under our eyes.
        if had_log or not os.path.isfile(path):
            raise refused
        before = _unwritten(path)
        if before is None:
            continue
        try:
            found = _read(path, "ro&immutable=1", options, read)
        except StoreError:
            if _unwritten(path) == before:
                raise
        else:
            if _unwritten(path) == before:
                return found
    raise StoreBusy(message="written again and again while it was read", path=str(path))


def _read(
    path: Path, mode: str, options: StoreOptions, read: Callable[[sqlite3.Connection], T]
) -> T | None:
    with translated(path), closing(open_file(path, mode, options)) as connection:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("BEGIN")  # one moment for all the tables
        version = check_version(connection, path, options)
        if not version:
            return None
        if version < len(options.migrations):
            raise StoreReadOnly(
                message=f"schema {version} has to be brought up to {len(options.migrations)} "
                "by opening the store for writing",
                path=str(path),
            )
        return read(connection)


def _log(path: Path) -> str:
    # It is beside the file, and not beside its alias.
    return f"{os.path.realpath(path)}-wal"


def _unwritten(path: Path) -> tuple[int, int, int] | None:
    # What changes when somebody writes; None where somebody is writing.  The log is looked for
    # first: who ends removes it last.
    if os.path.exists(_log(path)):
        return None
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
