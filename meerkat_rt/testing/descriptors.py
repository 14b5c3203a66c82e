"""The open file descriptors of this process, and what each of them is."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import stat
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

from . import places

if TYPE_CHECKING:
    from collections.abc import Callable

_FD_DIRS = ("/proc/self/fd", "/dev/fd")
_MOST_TRIED = 4096  # descriptors, where there is no directory to read them from


def numbers() -> frozenset[int]:
    """The descriptors that are open now."""
    for folder in _FD_DIRS:
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        # Reading the directory takes a descriptor of its own, which is closed again by now: the
        # lowest that was free, so most often the highest of all.
        found = set(map(int, names))
        gone = next((each for each in sorted(found, reverse=True) if not _is_open(each)), None)
        return frozenset(found - {gone})
    return frozenset(filter(_is_open, range(_MOST_TRIED)))


def identities() -> dict[int, tuple[int, int, int]]:
    """What each open descriptor stands for: a number that is used again is another descriptor."""
    found: dict[int, tuple[int, int, int]] = {}
    for number in numbers():
        with contextlib.suppress(OSError):
            status = os.fstat(number)
            found[number] = (status.st_dev, status.st_ino, stat.S_IFMT(status.st_mode))
    return found


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def describe(number: int) -> str:
    """A descriptor for people: its number, what it is, where it was made if that is known.

    The line is known where `tracemalloc` was tracing when its socket or file was made.
    """
    return f"{number} ({_kind(number)}){_origin(number)}"


def _kind(number: int) -> str:
    try:
        mode = os.fstat(number).st_mode
    except OSError:
        return "closed meanwhile"
    if stat.S_ISSOCK(mode):
        return _socket(number)
    if stat.S_ISFIFO(mode):
        return "pipe"
    for folder in _FD_DIRS:
        with contextlib.suppress(OSError):
            return str(Path(folder, str(number)).readlink())
    return "file" if stat.S_ISREG(mode) else "descriptor"


def _socket(number: int) -> str:
    try:
        with socket.socket(fileno=os.dup(number)) as copy:
            ends = [_address(copy.getsockname)]
            with contextlib.suppress(OSError):
                ends.append(_address(copy.getpeername))
    except OSError:
        return "socket"
    return f"socket {' -> '.join(ends)}"


def _address(get: Callable[[], object]) -> str:
    address = get()
    if isinstance(address, tuple):
        return ":".join(map(str, address[:2]))
    return str(address) or "unnamed"


def _origin(number: int) -> str:
    if not tracemalloc.is_tracing():
        return ""
    for thing in gc.get_objects():
        if not issubclass(type(thing), socket.socket):
            continue
        if thing.fileno() == number and (trace := tracemalloc.get_object_traceback(thing)):
            for frame in reversed(trace):
                if not places.is_library(frame.filename):
                    return f", made at {places.shown(frame.filename)}:{frame.lineno}"
    return ""
