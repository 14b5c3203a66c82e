"""Virtual time, and the watch that notices when there is none left to wait for."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import trio
import trio.testing

from . import places, threads

if TYPE_CHECKING:
    from collections.abc import Callable

IDLE_LOOPS = (
    5  # a wake-up may cost the loop one or two passes; five in a row mean that none will come
)
THREAD_PATIENCE = 1.0  # real seconds; a synced commit to a busy disk takes a tenth of that

watched: trio.lowlevel.RunVar[bool] = trio.lowlevel.RunVar("watched", default=False)
"""Whether somebody notices a deadlock of this run already, so that another watch is for nothing."""


def virtual_clock() -> trio.testing.MockClock:
    """A clock that stands still while anything can run, then jumps to the next deadline.

    Hours of timeouts pass in milliseconds.  Starts at 0.0.
    """
    return trio.testing.MockClock(autojump_threshold=0)


class StallWatch(trio.abc.Instrument):
    """Notices that every task is blocked and no deadline will wake one: a deadlock.

    Under a virtual clock the run loop then spins, so a test would hang for ever.  `on_stall` is
    called, in the run loop, with one line for each task, its name and where it waits, and one for
    each worker thread at work.  It is called again each time the loop has stayed idle as long.

    `patience` is how long, in real seconds, the loop must stay idle; more than zero where something
    outside Trio may wake it (a socket).

    A worker thread lives in real time.  It gets `thread_patience` real seconds, from the moment
    that a task begins to wait for it: for so long nobody is told of a stall, and `clock`, if it is
    given, stands still.  Then the wait is like any other: time goes on to the next deadline, and if
    there is none it is a stall.  A thread that its task has abandoned holds nothing up.

    `horizon`: it is a stall too when this moment is past, in case a heart beats for ever.  The next
    one is as far away again.
    """

    def __init__(
        self,
        on_stall: Callable[[list[str]], object],
        *,
        patience: float = 0.0,
        thread_patience: float = THREAD_PATIENCE,
        clock: trio.testing.MockClock | None = None,
        horizon: float = math.inf,
    ) -> None:
        self._on_stall = on_stall
        self._patience = patience
        self._thread_patience = thread_patience
        self._clock = clock
        self._horizon = self._next_horizon = horizon
        self._idle_loops = 0
        self._idle_since = 0.0
        # Since when, in real time, each task waits for its thread.
        self.in_threads: dict[trio.lowlevel.Task, float] = {}
        self._held: float | None = None  # the clock's own threshold, while it is held

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """A task runs: not idle."""
        self._idle_loops = 0

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Note whether the task waits for a thread now."""
        if not trio.testing.active_thread_count():
            if not self.in_threads:
                return
            self.in_threads.clear()
        elif places.is_in_thread(task):
            self.in_threads[task] = time.perf_counter()
        else:
            self.in_threads.pop(task, None)
        self._hold(self._gives_threads_time())

    def before_io_wait(self, timeout: float) -> None:
        """The loop has nothing to do but wait."""
        # Real time, not the run's: the question is whether the loop spins.
        if self._idle_loops == 0:
            self._idle_since = time.perf_counter()
        self._idle_loops += 1
        if self.in_threads:
            if self._gives_threads_time():
                return
            if self._held is not None:
                self._hold(False)
                # The loop is about to sleep for as long again: it was asked before.
                trio.lowlevel.current_trio_token().run_sync_soon(_nothing, idempotent=True)
        if self._horizon != math.inf and trio.current_time() > self._next_horizon:
            self._next_horizon += self._horizon
            self._stall()
            return
        if self._idle_loops < IDLE_LOOPS:
            return
        if time.perf_counter() - self._idle_since < self._patience:
            return
        stats = trio.lowlevel.current_statistics()
        if stats.tasks_runnable:
            return
        if stats.seconds_to_next_deadline != math.inf:
            return
        self._stall()

    def _stall(self) -> None:
        self._idle_loops = 0
        self._on_stall(waiters())

    def _gives_threads_time(self) -> bool:
        now = time.perf_counter()
        return any(now - since < self._thread_patience for since in self.in_threads.values())

    def _hold(self, held: bool) -> None:
        """Let the clock stand still, or let it go on as before."""
        if self._clock is None or held is (self._held is not None):
            return
        if held:
            self._held = self._clock.autojump_threshold
            self._clock.autojump_threshold = self._thread_patience
        elif self._held is not None:
            self._clock.autojump_threshold, self._held = self._held, None


def _nothing() -> None:
    """Wakes the run loop."""


def waiters() -> list[str]:
    """One line for each task of the run that is not Trio's own: its name, and where it waits.

    Then one for each worker thread that a task may wait for, with the function that it runs.
    """
    tasks = sorted(
        f"{places.task_name(task)} @ {places.where(task)}{places.outside(task)}"
        for task in places.all_tasks()
        if not places.is_trios_own(task)
    )
    if not any(map(places.is_in_thread, places.all_tasks())):
        return tasks
    busy = sorted(f"thread {each}" for each in threads.at_work() if each.is_worker)
    return [*tasks, *busy]
