"""The instrument that numbers the points of a run, fires actions at them, and writes the trace.

A *step* is one stretch of one task between two yields to the run loop.  A *point* is a moment
between steps: one after every step, and one before the first step of every batch, because the clock
may have moved and I/O may have come since the batch before.  "Before the next step" within a batch
is the same state as "after this step", so it is not counted twice.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import attrs
import trio
import trio.testing

from . import places
from .clock import StallWatch
from .scheduler import about_to_raise, can_raise_in, raise_in, run_in_scope
from .targets import CANCEL_TASK, RAISE_IN_TASK, Target, name_of
from .trial import REASON

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .scheduler import Schedule
    from .trial import Trial


@attrs.frozen
class Place:
    """Where an action landed: between which steps, and what the region's tasks were awaiting."""

    point: int
    action: str
    beside: str  # "after a step of" or "before a step of" some task
    awaiting: tuple[str, ...]  # "task @ file:line" of every task of the region
    target: str = ""  # the same of the one task that it was done to
    ends: bool = False  # it is expected to end the region

    def __str__(self) -> str:
        at = f", while {self.target}" if self.target else ""
        return f"{self.action} at point {self.point}, {self.beside}{at}"


class Probe(StallWatch):
    """Counts, injects and records during one run of a scenario.

    Trio logs an exception in a hook and drops the instrument, so the first one is kept in `error`
    for the harness to raise.
    """

    def __init__(
        self,
        trial: Trial,
        schedule: Schedule,
        clock: trio.testing.MockClock,
        *,
        inject: tuple[tuple[int, str], ...] = (),
        survey: bool = False,
        idle: float = 0.0,
        thread_patience: float,
        max_steps: int,
    ) -> None:
        super().__init__(self._stalled, patience=idle, thread_patience=thread_patience, clock=clock)
        self.trial = trial
        self.watchdog = trio.CancelScope()
        self.trace: list[str] = []
        self.points = 0
        self.steps = 0
        # For each action, the points at which it can be fired; filled in by a survey only.
        self.eligible: dict[str, list[int]] = {}
        self.places: list[Place] = []
        self.ending_at: float | None = None  # virtual time of the first action that ends the region
        self.prefix_length: int | None = None  # of the trace, when the first action was fired
        self.delivered: str | None = None  # the first task that our Cancelled reached
        self.deadlock: list[str] | None = None
        self.error: BaseException | None = None
        self._schedule = schedule
        self._max_steps = max_steps
        self._survey = survey
        self.unfired = list(inject)
        self._next = self.unfired[0][0] if self.unfired else -1
        self._labels: dict[trio.lowlevel.Task, str] = {}
        # The tasks that this run does something to, by name: each runs in a scope of its own.
        targets = (Target.of(action) for _, action in inject)
        self._wanted = {target.name for target in targets if target is not None}
        self._scopes: dict[trio.lowlevel.Task, trio.CancelScope] = {}
        self._new_batch = True
        self._now = -1.0

    # -- points ---------------------------------------------------

    def _point(self, beside: str, task: trio.lowlevel.Task) -> None:
        point = self.points
        self.points += 1
        if self._survey and self.trial.in_region:
            for name in (*self.trial.actions, *self._targeted()):
                self.eligible.setdefault(name, []).append(point)
        if point == self._next:
            self._fire(point, self.unfired.pop(0)[1], beside, task)
            self._next = self.unfired[0][0] if self.unfired else -1

    def _targeted(self) -> Iterable[str]:
        """The actions on single tasks that are possible now."""
        found: dict[str, None] = {}
        for task in self._others():
            name = name_of(task)
            if str(Target(CANCEL_TASK, name)) in found:
                continue  # of several the oldest is meant
            found[str(Target(CANCEL_TASK, name))] = None
            if can_raise_in(task):
                found[str(Target(RAISE_IN_TASK, name))] = None
        return found

    def _others(self) -> Iterator[trio.lowlevel.Task]:
        """The tasks of the region, but for the one that entered it; the oldest first."""
        return (task for task, spawned_at in self.trial.region_tasks.items() if spawned_at)

    def _fire(self, point: int, name: str, beside: str, task: trio.lowlevel.Task) -> None:
        trial = self.trial
        if trial.injected is None:
            trial.injected = name
            self.prefix_length = len(self.trace)
        awaiting = tuple(
            sorted(f"{self._labels[each]} @ {places.where(each)}" for each in trial.region_tasks)
        )
        beside = f"{beside} {self._located(task)}"
        self.trace.append(f"inject {name}")
        target = Target.of(name)
        if target is None:
            action = trial.actions[name]
            if action.ends and self.ending_at is None:
                self.ending_at = trio.current_time()
            self.places.append(Place(point, name, beside, awaiting, ends=action.ends))
            action.fire()
            return
        chosen = next((each for each in self._others() if name_of(each) == target.name), None)
        if chosen is None:
            raise LookupError(f"there is no task {target.name!r} at point {point}")
        where = f"{self._labels[chosen]} stood at {places.where(chosen)}"
        self.places.append(Place(point, name, beside, awaiting, where))
        if target.verb == CANCEL_TASK:
            self._scopes[chosen].cancel(REASON)
        elif can_raise_in(chosen):
            trial.raised = trial.error()
            raise_in(chosen, trial.raised)
        else:
            raise LookupError(f"task {target.name!r} is at no checkpoint at point {point}")

    def _located(self, task: trio.lowlevel.Task) -> str:
        label = self._labels[task]
        location = places.where(task)
        return f"{label} @ {location}" if location != "?" else label

    # -- hooks ----------------------------------------------------

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        """Name the task, and put it down to the region if the region's code spawned it."""
        label = self._labels[task] = f"{len(self._labels)}:{places.task_name(task)}"
        self.trace.append(f"spawn {label}")
        if not self.trial.in_region:
            return
        with contextlib.suppress(RuntimeError):  # spawned by nobody: a callback of the run loop
            if trio.lowlevel.current_task() in self.trial.region_tasks:
                self.trial.region_tasks[task] = places.caller()
                if name_of(task) in self._wanted:
                    scope = self._scopes[task] = trio.CancelScope()
                    run_in_scope(task, scope)

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        """Forget the task."""
        self.trace.append(f"exit {self._labels[task]}")
        self.trial.region_tasks.pop(task, None)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Count the point at the head of a batch, and note the step."""
        super().before_task_step(task)
        try:
            if self._new_batch:
                self._new_batch = False
                now = trio.current_time()
                if now != self._now:
                    self._now = now
                    self.trace.append(f"time {now:.6f}")
                self._point("before a step of", task)
            self.trace.append(self._labels[task])
            if self.trial.injected is not None and self.delivered is None:
                self._look_for_our_cancelled(task)
        except BaseException as exc:
            self._keep(exc)

    def _look_for_our_cancelled(self, task: trio.lowlevel.Task) -> None:
        error = about_to_raise(task)
        if isinstance(error, trio.Cancelled) and error.reason == REASON:
            self.delivered = self._located(task)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Count the point after a step."""
        self.steps += 1
        if self.steps >= self._max_steps:
            self._schedule.stop(f"livelock: {self.steps} steps; {self._where_all_are()}")
        try:
            super().after_task_step(task)
            self._point("after a step of", task)
        except BaseException as exc:
            self._keep(exc)

    def before_io_wait(self, timeout: float) -> None:
        """The next step begins a batch."""
        self._new_batch = True
        try:
            super().before_io_wait(timeout)
        except BaseException as exc:
            self._keep(exc)

    def _keep(self, exc: BaseException) -> None:
        if self.error is None:
            self.error = exc
        self.watchdog.cancel("the harness failed")

    # -- runs that do not end -------------------------------------

    def _stalled(self, waiters: list[str]) -> None:
        if self.deadlock is None:
            self.deadlock = waiters
            self.watchdog.cancel("deadlock")
        else:
            # Still stuck, so somebody is shielded.  Not even a KeyboardInterrupt would get through:
            # it goes to the main task only.
            self._schedule.stop("deadlock behind a shield")

    def _where_all_are(self) -> str:
        return "; ".join(
            sorted(
                f"{self._labels[each]} @ {places.where(each)}" for each in self.trial.region_tasks
            )
        )
