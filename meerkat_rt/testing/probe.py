"""The instrument that numbers the points of a run, fires actions at them, and writes the trace.

A *step* is one stretch of one task between two yields to the run loop.  A *point* is a moment
between steps: one after every step, and one before the first step of every batch, because the clock
may have moved and I/O may have come since the batch before.  "Before the next step" within a batch
is the same state as "after this step", so it is not counted twice.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections import Counter
from typing import TYPE_CHECKING

import attrs
import trio
import trio.testing

from . import places
from .clock import StallWatch, watched
from .scheduler import about_to_raise, can_raise_in, raise_in, run_in_scope
from .targets import CANCEL_TASK, RAISE_IN_TASK, Target, name_of
from .trial import CANCEL, REASON

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .scheduler import Schedule
    from .trial import Trial


_LATEST = 1000  # entries of the trace; who is in them is what keeps a run from ending


@functools.cache
def _actions_on(name: str) -> tuple[str, str]:
    """The two things that can be done to a task of a name."""
    return str(Target(CANCEL_TASK, name)), str(Target(RAISE_IN_TASK, name))


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


def _in_threads() -> bool:
    """Whether some task may wait for a worker thread."""
    # Where no thread was ever started, Trio would find that out by an exception.
    return threading.active_count() > 1 and trio.testing.active_thread_count() > 0


class _BeforeSteps(trio.abc.Instrument):
    """The hook before a step, by itself."""

    def __init__(self, look: Callable[[trio.lowlevel.Task], object]) -> None:
        self._look = look

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._look(task)


class Probe(trio.abc.Instrument):
    """Counts, injects and records during one run of a scenario.

    Trio logs an exception in a hook and drops the instrument, so the first one is kept in `error`
    for the harness to raise.

    A hook costs something at each step of each run, so only the one after a step is always there:
    batches are told of by the schedule, and `_BeforeSteps` is added where it is needed.
    """

    def __init__(
        self,
        trial: Trial,
        schedule: Schedule,
        clock: trio.testing.MockClock,
        *,
        inject: tuple[tuple[int, str], ...] = (),
        survey: bool | str = False,
        idle: float = 0.0,
        thread_patience: float,
        max_steps: int,
    ) -> None:
        self.trial = trial
        self.watchdog = trio.CancelScope()
        self.trace: list[str] = []
        self.points = 0
        self.steps = 0
        # For each action, the points at which it can be fired; filled in by a survey only.
        self.eligible: dict[str, list[int]] = {}
        self._on_the_runtime: dict[str, list[int]] = {}  # the same of those on its own tasks
        self._stages: dict[str, object] = {}  # of the actions that have any, at the last point
        self.places: list[Place] = []
        self.ending_at: float | None = None  # virtual time of the first action that ends the region
        self.prefix_length: int | None = None  # of the trace, when the first action was fired
        self.delivered: str | None = None  # the first task that our Cancelled reached
        self.deadlock: list[str] | None = None
        self.error: BaseException | None = None
        self._schedule = schedule
        schedule.on_batch = self._on_batch
        self._clock = clock
        # No instrument of its own: it is told here what it needs to hear.
        self._watch = StallWatch(
            self._stalled, patience=idle, thread_patience=thread_patience, clock=clock
        )
        self._max_steps = max_steps
        self._survey = bool(survey)
        # That of an action on a task is of them all: which tasks there are is most of the work.
        named = isinstance(survey, str) and Target.of(survey) is None
        self._only = survey if named else None
        self.unfired = list(inject)
        self._next = self.unfired[0][0] if self.unfired else -1
        self._labels: dict[trio.lowlevel.Task, str] = {}
        # The tasks that this run does something to, by name: each runs in a scope of its own.
        targets = (Target.of(action) for _, action in inject)
        self._wanted = {target.name for target in targets if target is not None}
        self._scopes: dict[trio.lowlevel.Task, trio.CancelScope] = {}
        self._runtimes: set[trio.lowlevel.Task] = set()  # that code of this runtime's spawned
        self._before_steps = _BeforeSteps(self._before_step)
        self._batch: list[trio.lowlevel.Task] = []
        self._to_run = 0  # of its tasks
        self._at_head = False  # an action waits for the first step of this batch
        self._now = -1.0

    # -- points ---------------------------------------------------

    def _on_batch(self, batch: list[trio.lowlevel.Task]) -> None:
        """The head of a batch; one without a task is a pass of the loop in which nobody ran."""
        try:
            if not batch:
                self._watch.before_io_wait(0.0)
                return
            self._watch.before_task_step(batch[-1])
            self._batch, self._to_run = list(batch), len(batch)
            now = self._clock.current_time()
            if now != self._now:
                self._now = now
                self.trace.append(f"time {now:.6f}")
            if self._survey and self.trial.in_region:
                self._note_eligible()
            if self.points == self._next:
                self._at_head = True  # no task is current yet, and an action may want one
                trio.lowlevel.add_instrument(self._before_steps)
            else:
                self.points += 1
        except BaseException as exc:
            self._keep(exc)

    def _before_step(self, task: trio.lowlevel.Task) -> None:
        """A step after the head of a batch where an action waits, or while our Cancelled is due."""
        try:
            if self._at_head:
                self._at_head = False
                self._fire("before a step of", task)
            error = about_to_raise(task)
            if isinstance(error, trio.Cancelled) and error.reason == REASON:
                self.delivered = self._located(task)
            if self.delivered is not None or self.trial.injected != CANCEL:
                trio.lowlevel.remove_instrument(self._before_steps)
        except BaseException as exc:
            self._keep(exc)

    def _note_eligible(self) -> None:
        for name, action in self.trial.actions.items():
            if self._only not in (None, name):
                continue
            points = self.eligible.setdefault(name, [])
            if action.stage is not None:
                stage = action.stage()
                if points and self._stages.get(name) == stage:
                    points.pop()
                self._stages[name] = stage
            points.append(self.points)
        for name, noted in self._targeted().items() if self._only is None else ():
            noted.setdefault(name, []).append(self.points)

    def _targeted(self) -> dict[str, dict[str, list[int]]]:
        """The actions on single tasks that are possible now, and where to note them."""
        found: dict[str, dict[str, list[int]]] = {}
        for task in self._others():
            cancel, raises = _actions_on(name_of(task))
            if cancel in found:
                continue  # of several the oldest is meant
            noted = self._on_the_runtime if task in self._runtimes else self.eligible
            found[cancel] = noted
            if can_raise_in(task):
                found[raises] = noted
        return found

    def _others(self) -> Iterable[trio.lowlevel.Task]:
        """The tasks of the region, but for the one that entered it; the oldest first.

        Those of the program come before those of this runtime.
        """
        others = [task for task, spawned_at in self.trial.region_tasks.items() if spawned_at]
        if self._runtimes:
            others.sort(key=self._runtimes.__contains__)
        return others

    @property
    def runtimes(self) -> frozenset[str]:
        """The actions that only a task of this runtime's has been there for."""
        return frozenset(self._on_the_runtime.keys() - self.eligible.keys())

    def all_eligible(self) -> dict[str, list[int]]:
        """`eligible`, with the actions on this runtime's own tasks."""
        return self._on_the_runtime | self.eligible

    def _fire(self, beside: str, task: trio.lowlevel.Task) -> None:
        """Do what is to be done at this point, and count the point."""
        trial = self.trial
        point, name = self.unfired.pop(0)
        self.points += 1
        self._next = self.unfired[0][0] if self.unfired else -1
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

    def before_run(self) -> None:
        """Spare the run other watches."""
        watched.set(True)

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        """Name the task, and put it down to the region if the region's code spawned it."""
        label = self._labels[task] = f"{len(self._labels)}:{places.task_name(task)}"
        self.trace.append(f"spawn {label}")
        if not self.trial.in_region:
            return
        with contextlib.suppress(RuntimeError):  # spawned by nobody: a callback of the run loop
            if trio.lowlevel.current_task() in self.trial.region_tasks:
                self.trial.region_tasks[task] = places.caller()
                if places.is_called_by_the_runtime():
                    self._runtimes.add(task)
                if name_of(task) in self._wanted:
                    scope = self._scopes[task] = trio.CancelScope()
                    run_in_scope(task, scope)

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        """Forget the task."""
        self.trace.append(f"exit {self._labels[task]}")
        self.trial.region_tasks.pop(task, None)
        self._runtimes.discard(task)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Note the step, and count the point after it."""
        self.trace.append(self._labels[task])
        self.steps += 1
        if self.steps >= self._max_steps:
            self._schedule.stop(f"livelock: {self._who_does_not_stop()}")
        try:
            self._to_run -= 1
            if not self._to_run and (self._watch.in_threads or _in_threads()):
                # Once a batch: it is in time for the clock.
                for each in self._batch:
                    self._watch.after_task_step(each)
            if self._survey and self.trial.in_region:
                self._note_eligible()
            if self.points == self._next:
                self._fire("after a step of", task)
                if self.trial.injected == CANCEL and self.delivered is None:
                    trio.lowlevel.add_instrument(self._before_steps)
            else:
                self.points += 1
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

    def _who_does_not_stop(self) -> str:
        """The task that took most of the last steps, and where the region's others are."""
        tasks = {label: task for task, label in self._labels.items()}
        latest = Counter(entry for entry in self.trace[-_LATEST:] if entry in tasks)
        ((label, _steps),) = latest.most_common(1)
        others = (each for each in self.trial.region_tasks if each is not tasks[label])
        lines = [
            f"{self._located(tasks[label])} has not stopped within {self.steps} steps",
            *sorted(f"{self._labels[each]} @ {places.where(each)}" for each in others),
        ]
        return "; ".join(lines)
