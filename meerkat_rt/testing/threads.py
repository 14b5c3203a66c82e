"""What threads do: who is at work, in which function, at which line."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

import attrs

from . import places
from .scheduler import is_trio

if TYPE_CHECKING:
    from types import FrameType


@attrs.frozen
class BusyThread:
    """A thread that is at work, and where it is."""

    ident: int
    name: str
    place: str = attrs.field(eq=False)  # "function, file:line"
    is_worker: bool = attrs.field(eq=False)  # of `trio.to_thread`

    def __str__(self) -> str:
        return f"{self.name} @ {self.place}"


def at_work() -> list[BusyThread]:
    """The threads at work, but for this one and the main one.

    Trio keeps idle worker threads for later use: one whose stack holds nothing but Trio's own code
    and `threading`'s is such.  A busy one is in somebody's function, called through `outcome`.
    """
    stacks = sys._current_frames()
    # This very frame is among them: kept, it would hold itself and everything that called it.
    del stacks[threading.get_ident()]
    stacks.pop(threading.main_thread().ident or 0, None)
    found: list[BusyThread] = []
    for thread in threading.enumerate():
        if thread.ident is None or thread.ident not in stacks:
            continue
        stack = _stack(stacks[thread.ident])
        is_worker = any(is_trio(frame.f_code.co_filename) for frame in stack)
        if is_worker and not any(map(_is_at_work, stack)):
            continue
        frame = next(filter(_is_ours, stack), stack[0])
        place = f"{frame.f_code.co_name}, {places.shown(frame.f_code.co_filename)}:{frame.f_lineno}"
        found.append(BusyThread(thread.ident, thread.name, place, is_worker))
    return found


def _stack(innermost: FrameType) -> list[FrameType]:
    stack: list[FrameType] = []
    frame: FrameType | None = innermost
    while frame is not None:
        stack.append(frame)
        frame = frame.f_back
    return stack


def _is_at_work(frame: FrameType) -> bool:
    path = frame.f_code.co_filename
    return not is_trio(path) and path != threading.__file__


def _is_ours(frame: FrameType) -> bool:
    return not places.is_library(frame.f_code.co_filename)
