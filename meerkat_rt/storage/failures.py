"""From what SQLite and the operating system say to the errors of a store."""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .errors import (
    NotAStore,
    StoreBusy,
    StoreCorrupted,
    StoreError,
    StoreFull,
    StoreNotFound,
    StoreReadOnly,
    StoreUnavailable,
    StoreWriteFailed,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_PLACE = (errno.ENAMETOOLONG, errno.ELOOP)
_MISSING = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR)


def check_path(path: Path) -> None:
    """Whether `path` can be the name of a file; SQLite would take what precedes a NUL.

    Raises:
        StoreUnavailable: it cannot.
    """
    try:
        usable = b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        usable = False
    if not usable:
        raise StoreUnavailable(message="not the name of a file", path=ascii(str(path)))


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Whatever SQLite raises in here leaves as an error of the store at `path`."""
    try:
        yield
    except (sqlite3.ProgrammingError, sqlite3.InterfaceError):
        raise  # the module was called wrongly
    except sqlite3.Error as error:
        raise of_sqlite_error(error, path) from error
    except UnicodeDecodeError as error:
        # A complaint of SQLite's that quotes what it found.
        raise StoreCorrupted(
            message=f"unreadable text: {error.object!r}", path=str(path)
        ) from error


def of_sqlite_error(error: sqlite3.Error, path: Path) -> StoreError:
    """The error of the store."""
    # Extended result codes carry the primary one in their lowest byte.
    text, name = str(error), str(path)
    # An error without a code is the module's own, about text that is no text.
    match getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF:
        case sqlite3.SQLITE_FULL:
            return StoreFull(message=text, path=name)
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return StoreReadOnly(message=text, path=name)
        case sqlite3.SQLITE_CANTOPEN:
            return _cannot_open(path, text)
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StoreBusy(message=text, path=name)
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_ERROR | sqlite3.SQLITE_CONSTRAINT:
            # The latter two: a table, column or row is not there, or is there twice.
            return StoreCorrupted(message=text, path=name)
        case sqlite3.SQLITE_NOTADB:
            return NotAStore(message="not a store of conversations", path=name)
        case _:
            return StoreWriteFailed(message=text, path=name)


def of_os_error(error: OSError, path: Path) -> StoreError:
    """The error of the store, for a file beside it."""
    text, name = error.strerror or str(error), str(path)
    if error.errno in _FULL:
        return StoreFull(message=text, path=name)
    if error.errno in _READ_ONLY:
        return StoreReadOnly(message=text, path=name)
    if error.errno in _NO_PLACE:
        return StoreUnavailable(message=text, path=name)
    if error.errno in _MISSING:
        return _cannot_open(path, text)
    return StoreWriteFailed(message=text, path=name)


def _cannot_open(path: Path, text: str) -> StoreError:
    # SQLite says no more than that it cannot.  (`os.path` says no where pathlib raises.)
    directory = path.parent
    if not os.path.isdir(directory):
        return StoreUnavailable(message=f"no directory {directory}", path=str(path))
    if not os.path.exists(path) and os.access(directory, os.W_OK):
        return StoreNotFound(message="no such file", path=str(path))
    if not os.access(directory, os.W_OK) or not os.access(path, os.W_OK):
        return StoreReadOnly(message="the directory or the file is read-only", path=str(path))
    return StoreUnavailable(message=text, path=str(path))
