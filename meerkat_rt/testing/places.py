"""Where a task is: the task, the file and the line, in a form that people can follow."""

from __future__ import annotations

import functools
import inspect
import re
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from .scheduler import is_trio

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_KIT_DIR = str(Path(__file__).parent) + "/"
_RUNTIME_DIR = str(Path(__file__).parents[1]) + "/"
_STDLIB_DIRS = tuple(
    {sysconfig.get_path(name) + "/" for name in ("stdlib", "platstdlib")},
)
_SITE_DIRS = ("/site-packages/", "/dist-packages/")
_IN_A_THREAD = inspect.unwrap(trio.to_thread.run_sync).__code__
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


@functools.lru_cache(maxsize=4096)
def is_library(path: str) -> bool:
    """Whether a source file is Trio's, the standard library's, or of an installed package."""
    return (
        is_trio(path)
        or any(part in path for part in _SITE_DIRS)
        or path.startswith(_STDLIB_DIRS)
        or path.startswith("<")
    )


@functools.lru_cache(maxsize=4096)
def _is_trios_or_the_kits(path: str) -> bool:
    return is_trio(path) or path.startswith(_KIT_DIR)


@functools.lru_cache(maxsize=4096)
def shown(path: str) -> str:
    """A path as short as it can be without being ambiguous here."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return "/".join(Path(path).parts[-2:])


def task_name(task: trio.lowlevel.Task) -> str:
    """The last part of a task's name, free of memory addresses: the same in every run."""
    return _last_part(task.name)


@functools.lru_cache(maxsize=4096)
def _last_part(name: str) -> str:
    name = _ADDRESS.sub("", name)
    return name if name.startswith("<") else name.rpartition(".")[2]


def lines(task: trio.lowlevel.Task) -> Iterator[tuple[str, int]]:
    """The awaits that a blocked task is in, outermost first, without Trio's and the kit's own."""
    if getattr(task.coro, "cr_frame", None) is None:
        return  # it has exited
    for frame, line in task.iter_await_frames():
        path = frame.f_code.co_filename
        if not _is_trios_or_the_kits(path):
            yield path, line


def where(task: trio.lowlevel.Task) -> str:
    """``file:line`` of a task's innermost await, in code that is not a library's if it can be."""
    ours, theirs = "", ""
    for path, line in lines(task):
        if is_library(path):
            theirs = f"{shown(path)}:{line}"
        else:
            ours = f"{shown(path)}:{line}"
    return ours or theirs or "?"


def is_in_thread(task: trio.lowlevel.Task) -> bool:
    """Whether a blocked task waits for a worker thread, or for its turn to have one."""
    if getattr(task.coro, "cr_frame", None) is None:
        return False  # it has exited
    return any(frame.f_code is _IN_A_THREAD for frame, _ in task.iter_await_frames())


def outside(task: trio.lowlevel.Task) -> str:
    """What a blocked task waits for outside the program, as the end of a line; else nothing."""
    if is_in_thread(task):
        return ", for a worker thread"
    if getattr(task.coro, "cr_frame", None) is None:
        return ""
    awaits = (frame.f_code.co_filename for frame, _ in task.iter_await_frames())
    return ", for the operating system" if any(map(_is_trios_io, awaits)) else ""


def _is_trios_io(path: str) -> bool:
    return is_trio(path) and Path(path).name.startswith("_io_")


def caller() -> str:
    """``file:line`` of the innermost calling frame that is neither Trio's nor the kit's."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename
        if not _is_trios_or_the_kits(path):
            return f"{shown(path)}:{frame.f_lineno}"
        frame = frame.f_back
    return "?"


def is_called_by_the_runtime() -> bool:
    """Whether what calls into Trio just now, innermost, is code of this package's."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not is_trio(frame.f_code.co_filename):
        frame = frame.f_back  # an instrument
    while frame is not None and is_trio(frame.f_code.co_filename):
        frame = frame.f_back
    return frame is not None and frame.f_code.co_filename.startswith(_RUNTIME_DIR)


def all_tasks() -> Iterator[trio.lowlevel.Task]:
    """Every task of the current run, parents before children, Trio's own init task included."""
    root = trio.lowlevel.current_root_task()
    waiting = [] if root is None else [root]
    while waiting:
        task = waiting.pop()
        yield task
        for nursery in task.child_nurseries:
            waiting.extend(nursery.child_tasks)


def is_trios_own(task: trio.lowlevel.Task) -> bool:
    """Whether a task belongs to Trio itself: init, or the entry queue for calls from outside.

    Not merely a task that runs a function of Trio's, such as somebody's `sleep_forever`.
    """
    code = getattr(task.coro, "cr_code", None)
    return task.name.startswith("<") and code is not None and is_trio(code.co_filename)
