"""Virtual time, and the watch that notices when there is none left to wait for."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import trio
import trio.testing

from . import places

if TYPE_CHECKING:
    from collections.abc import Callable

IDLE_LOOPS = (
    5  # a wake-up may cost the loop one or two passes; five in a row mean that none will come
)
THREADS_STALLED = 5.0  # real seconds that a busy worker thread may keep everybody waiting
THREAD_PATIENCE = 0.25  # real seconds that a busy worker thread holds virtual time still


def virtual_clock() -> trio.testing.MockClock:
    """A clock that stands still while anything can run, then jumps to the next deadline.

    Hours of timeouts pass in milliseconds.  Starts at 0.0.
    """
    return trio.testing.MockClock(autojump_threshold=0)


class StallWatch(trio.abc.Instrument):
    """Notices that every task is blocked and no deadline will wake one: a deadlock.

    Under a virtual clock the run loop then spins, so a test would hang for ever.  `on_stall` is
    called, in the run loop, with one line for each task: its name and where it waits.  It is called
    again each time the loop has stayed idle as long.

    `patience` is how long, in real seconds, the loop must stay idle; more than zero where something
    outside Trio may wake it (a socket, a thread).
    """

    def __init__(self, on_stall: Callable[[list[str]], object], *, patience: float = 0.0) -> None:
        self._on_stall = on_stall
        self._patience = patience
        self._idle_loops = 0
        self._idle_since = 0.0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """A task runs: not idle."""
        self._idle_loops = 0

    def before_io_wait(self, timeout: float) -> None:
        """The loop has nothing to do but wait."""
        # Real time, not the run's: the question is whether the loop spins.
        if self._idle_loops == 0:
            self._idle_since = time.perf_counter()
        self._idle_loops += 1
        if self._idle_loops < IDLE_LOOPS:
            return
        if time.perf_counter() - self._idle_since < self._patience_now():
            return
        stats = trio.lowlevel.current_statistics()
        if stats.tasks_runnable or stats.seconds_to_next_deadline != math.inf:
            return
        self._idle_loops = 0
        self._on_stall(waiters())

    def _patience_now(self) -> float:
        if trio.to_thread.current_default_thread_limiter().borrowed_tokens:
            return max(self._patience, THREADS_STALLED)
        return self._patience


def waiters() -> list[str]:
    """One line for each task of the run that is not Trio's own: its name, and where it waits."""
    return sorted(
        f"{places.task_name(task)} @ {places.where(task)}"
        for task in places.all_tasks()
        if not places.is_trios_own(task)
    )
