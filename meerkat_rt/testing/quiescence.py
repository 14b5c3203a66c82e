"""Is anything left?  Tasks, deadlines, channel ends, descriptors, busy threads, each by name.

Take a `quiescence_baseline` before the block under test and `assert_quiescent` after it, or put the
block into `with quiescent_after():`.  What the baseline has seen is not a leak; what came later and
is still there is one.
"""

from __future__ import annotations

import contextlib
import weakref
from typing import TYPE_CHECKING, Literal

import attrs
import trio

from . import descriptors, places, scheduler, threads

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .scheduler import OpenedChannel
    from .threads import BusyThread

LeakKind = Literal["task", "deadline", "channel", "descriptor", "thread"]


@attrs.frozen
class Leak:
    """One thing that is left: its kind, and for people what it is and where it came from."""

    kind: LeakKind
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}"


class NotQuiescent(AssertionError):
    """Something is left; `leaks` lists it."""

    def __init__(self, leaks: tuple[Leak, ...]) -> None:
        self.leaks = leaks
        super().__init__("something is left:\n" + "\n".join(f"  {leak}" for leak in leaks))


class _Spawns(trio.abc.Instrument):
    """Remembers which line spawned a task, as long as the task is alive."""

    def __init__(self) -> None:
        self.lines: dict[trio.lowlevel.Task, str] = {}

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        self.lines[task] = places.caller()

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        self.lines.pop(task, None)


class QuiescenceBaseline:
    """What there was before the block under test.  Make it with `quiescence_baseline`."""

    def __init__(self) -> None:
        self.tasks = frozenset(_tasks())
        self.deadlines = _deadlines()
        self.descriptors = descriptors.identities()
        self.threads = frozenset(threads.at_work())
        channels: list[OpenedChannel] = []
        self._channels = channels

        # The listener must not hold the baseline, or it would never be finalized.
        def on_open(channel: OpenedChannel) -> None:
            channels.append(channel)

        scheduler.watch_channels(on_open)
        self._unwatch = weakref.finalize(self, scheduler.unwatch_channels, on_open)
        self._spawns = _Spawns()
        if trio.lowlevel.in_trio_run():
            trio.lowlevel.add_instrument(self._spawns)

    def leaks(self) -> tuple[Leak, ...]:
        """What came since and is still there.  Synchronous: this very moment is judged."""
        tasks = [task for task in _tasks() if task not in self.tasks]
        return (
            *(_task_leak(task, self._spawns.lines.get(task, "")) for task in tasks),
            *_deadline_leaks(self.deadlines, tasks),
            *_channel_leaks(self._channels),
            *_descriptor_leaks(self.descriptors),
            *_thread_leaks(self.threads),
        )

    def close(self) -> None:
        """Stop listening for memory channels.  Also done when the baseline is forgotten."""
        self._unwatch()
        with contextlib.suppress(KeyError, RuntimeError):  # the run it was taken in is over
            trio.lowlevel.remove_instrument(self._spawns)


def quiescence_baseline() -> QuiescenceBaseline:
    """Remember what there is now: tasks, deadlines, descriptors, busy threads.

    Channels are noted from now on, and so are the lines that spawn tasks, if it is taken within the
    run that the block belongs to.

    Raises:
        UnsupportedTrio: this Trio does not tell of memory channels.
    """
    return QuiescenceBaseline()


def assert_quiescent(baseline: QuiescenceBaseline | None = None) -> None:
    """Fail unless everything that came since `baseline` is gone again.

    Without a baseline less can be told from what was there before: tasks in the nurseries that the
    caller has open, system tasks that are not Trio's own, and worker threads at work.

    Not a checkpoint: what is only about to go counts as there.

    Raises:
        NotQuiescent: names each thing that is left, and where it can be known, the line it came
            from.
    """
    leaks = _leaks_without_baseline() if baseline is None else baseline.leaks()
    if leaks:
        raise NotQuiescent(leaks)


@contextlib.contextmanager
def quiescent_after() -> Iterator[QuiescenceBaseline]:
    """Fail when the block has left something behind.

    If the block raises, what is left is added to that exception as a note instead.

    Raises:
        NotQuiescent: as `assert_quiescent`.
    """
    baseline = quiescence_baseline()
    try:
        yield baseline
    except BaseException as exc:
        leaks = baseline.leaks()
        if leaks:
            exc.add_note(str(NotQuiescent(leaks)))
        raise
    else:
        assert_quiescent(baseline)
    finally:
        baseline.close()


################################################################
# One kind each
################################################################


def _tasks() -> Iterator[trio.lowlevel.Task]:
    if trio.lowlevel.in_trio_run():
        yield from (task for task in places.all_tasks() if not places.is_trios_own(task))


def _task_leak(task: trio.lowlevel.Task, spawned_at: str = "") -> Leak:
    parent = task.parent_nursery
    owner = "" if parent is None else f", in a nursery of {places.task_name(parent.parent_task)}"
    line = f", spawned at {spawned_at}" if spawned_at else ""
    return Leak("task", f"{places.task_name(task)} @ {places.where(task)}{owner}{line}")


def _deadlines() -> list[trio.CancelScope]:
    return scheduler.armed_deadlines() if trio.lowlevel.in_trio_run() else []


def _deadline_leaks(
    before: list[trio.CancelScope], leaked: list[trio.lowlevel.Task]
) -> Iterator[Leak]:
    """New deadlines, but for those of tasks that are told of by themselves."""
    for scope in _deadlines():
        inside = scheduler.tasks_within(scope)
        if scope in before or not set(inside).isdisjoint(leaked):
            continue
        seconds = scope.deadline - trio.current_time()
        names = sorted(f"{places.task_name(task)} @ {places.where(task)}" for task in inside)
        yield Leak("deadline", f"in {seconds:g} s, around {', '.join(names) or 'nobody'}")


def _channel_leaks(channels: list[OpenedChannel]) -> Iterator[Leak]:
    for channel in channels:
        sends, receives = channel.open_ends
        if (sends or receives) and not places.is_library(channel.path):
            yield Leak(
                "channel",
                f"opened at {places.shown(channel.path)}:{channel.line}, "
                f"send ends open: {sends}, receive ends open: {receives}",
            )


def _descriptor_leaks(before: dict[int, tuple[int, int, int]]) -> Iterator[Leak]:
    for number, identity in sorted(descriptors.identities().items()):
        if before.get(number) != identity:
            yield Leak("descriptor", descriptors.describe(number))


def _thread_leaks(before: frozenset[BusyThread]) -> Iterator[Leak]:
    for thread in threads.at_work():
        if thread not in before:
            yield Leak("thread", str(thread))


def _leaks_without_baseline() -> tuple[Leak, ...]:
    tasks = _below_or_at_the_root() if trio.lowlevel.in_trio_run() else ()
    return (*map(_task_leak, tasks), *_thread_leaks(frozenset()))


def _below_or_at_the_root() -> Iterator[trio.lowlevel.Task]:
    """Tasks in the caller's own open nurseries, and system tasks that are not Trio's."""
    here = trio.lowlevel.current_task()
    below = list(here.child_nurseries)
    while below:
        for task in below.pop().child_tasks:
            yield task
            below.extend(task.child_nurseries)
    ancestors = {here}
    nursery = here.parent_nursery
    while nursery is not None:
        ancestors.add(nursery.parent_task)
        nursery = nursery.parent_task.parent_nursery
    root = trio.lowlevel.current_root_task()
    for nursery in () if root is None else root.child_nurseries:
        for task in nursery.child_tasks:
            if task not in ancestors and not places.is_trios_own(task):
                yield task
