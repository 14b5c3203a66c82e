"""Which processor runs what: the subject under test has one to itself, the server another.

Left alone, Linux wakes a client beside the server that has just written to it, and moves it away
only later: now and then, for the first twentieth of a second, both were measured on one processor.
Where a process cannot be told where to run, or there is one processor alone, it runs anywhere.
"""

from __future__ import annotations

import contextlib
import os
import sys


def split(allowed: set[int]) -> tuple[set[int], set[int]]:
    """The subject's processor and the server's; both are any where there is but one.

    The subject's is the last, because it is the first that serves the interrupts, as a rule.
    """
    if len(allowed) < 2:
        return allowed, allowed
    own = {max(allowed)}
    return own, allowed - own


def give(pid: int) -> None:
    """Let this process, a subject that has just been started, run on the subject's processor."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # it is not allowed everywhere
            own, _ = split(os.sched_getaffinity(0))
            os.sched_setaffinity(pid, own)


def leave() -> None:
    """Let the calling process, a server that has no threads yet, keep off that processor."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            _, others = split(os.sched_getaffinity(0))
            os.sched_setaffinity(0, others)
