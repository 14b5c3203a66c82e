"""Own the order in which Trio runs its tasks.  The only module that touches private Trio API.

Trio runs all runnable tasks as one *batch*, looks for I/O and expired deadlines, and runs the next.
The order within a batch is random by design, so a failure that needs one order is seen once in a
thousand runs and never again.  A `Schedule` takes that decision over: first in, first out by spawn
order, unless it was given a seed or explicit orders.  It logs every departure from FIFO, so a run
can be repeated from its log without the seed.

Private API, all of it, each proved by behaviour in `selfcheck` before the first use of any:

=============================================  =================================================
``trio._core._run._ALLOW_DETERMINISTIC_...``   makes the run loop sort each batch by spawn order
``trio._core._run._r``                         the generator whose `shuffle` then permutes it
``trio._channel.MemoryChannelState``           subclassed, to learn of every memory channel opened
``Task._next_send``                            read, to see a `Cancelled` on its way to a task
``Task.coro``                                  replaced before the first step, to put one task into
                                               a cancel scope of its own
``Task._abort_func``, ``Task._attempt_abort``  to raise an exception in the wait that a task is in,
                                               as Trio itself raises `KeyboardInterrupt` there
``GLOBAL_RUN_CONTEXT.runner.deadlines``        read, to learn which deadlines are armed
``CancelScope._registered_deadline``           read, to tell a stale entry among them
``CancelScope._cancel_status``                 read, to name the tasks that a deadline is about
=============================================  =================================================

The first two have been in Trio since 2019 for its own Hypothesis plugin.
Nothing else in this package needs anything that Trio does not document.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import random
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import attrs
import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from types import FrameType, ModuleType

Order = tuple[int, ...]
Orders = Mapping[int, Order]
"""For each batch that does not run FIFO, which of its tasks runs first, second, ..."""


class HardStop(BaseException):
    """Raised inside the run loop to end a run that neither ends nor can be cancelled."""


class UnsupportedTrio(RuntimeError):
    """The installed Trio lacks a hook that the test kit stands on; the message names it."""


class Schedule:
    """Decides the order of every batch of a run, and records what it decided.

    With no arguments, plain FIFO by spawn order.  `seed` gives a random but repeatable order;
    `orders` gives explicit orders for some batches (numbered from 0, counting only batches of two
    or more tasks) and FIFO for the rest.

    `sizes` lists the size of every numbered batch; `taken` the orders that were not FIFO;
    `diverged` tells that an explicit order did not fit its batch, so the program is not the one it
    came from.  `on_batch` is called, in the run loop, with each batch, the empty ones too, once it
    is in order; the task that runs first is the last of the list.
    """

    def __init__(self, *, seed: int | None = None, orders: Orders | None = None) -> None:
        if seed is not None and orders is not None:
            raise ValueError("a schedule is either seeded or explicit")
        self.seed = seed
        self._random = None if seed is None else random.Random(seed)
        self._orders = dict(orders or {})
        self.sizes: list[int] = []
        self.taken: dict[int, Order] = {}
        self.diverged = False
        self.on_batch: Callable[[list[Any]], object] | None = None
        self._stop: str | None = None

    @property
    def stopped(self) -> str | None:
        """Why the run was ended by force, if it was."""
        return self._stop

    def stop(self, why: str) -> None:
        """End the run at the next batch, whatever shields are up.

        The tasks that were alive cannot be unwound any more.  The last resort against a livelock or
        a deadlock behind a shield.
        """
        if self._stop is None:
            self._stop = why

    def shuffle(self, batch: list[Any]) -> None:
        """Order one batch.  Called by Trio's run loop, with the batch sorted by spawn order.

        The loop calls it outside any task, so an exception raised here can be neither caught nor
        shielded from.  It is called for empty batches too.
        """
        if self._stop is not None:
            raise HardStop(self._stop)
        size = len(batch)
        if size > 1:
            batch.reverse()  # the loop takes tasks from the end: now the oldest comes first
            number = len(self.sizes)
            self.sizes.append(size)
            wanted = self._wanted(number, size)
            if wanted is not None:
                self.taken[number] = wanted
                oldest_first = batch[::-1]
                batch[:] = [oldest_first[i] for i in reversed(wanted)]
        if self.on_batch is not None:
            self.on_batch(batch)

    def _wanted(self, number: int, size: int) -> Order | None:
        """The order of a batch, if it is to depart from FIFO."""
        if self._random is not None:
            wanted = _drawn(self._random, size)
        elif number in self._orders:
            wanted = self._orders[number]
            if sorted(wanted) != list(range(size)):
                self.diverged = True
                return None
        else:
            return None
        return None if wanted == _fifo(size) else wanted

    def random(self) -> float:
        """Trio asks for this only when it shuffles by itself."""
        raise UnsupportedTrio(f"trio {trio.__version__} no longer lets the test kit order batches")

    def uniform(self, low: float, high: float) -> float:
        """Trio asks for this to offset its system clock."""
        return low


@functools.cache
def _fifo(size: int) -> Order:
    return tuple(range(size))


def _drawn(source: random.Random, size: int) -> Order:
    """What `source.sample(range(size), size)` gives, in half the time."""
    bits = source.getrandbits
    pool = list(range(size))
    drawn: list[int] = []
    for left in range(size, 0, -1):
        width = left.bit_length()
        place = bits(width)
        while place >= left:
            place = bits(width)
        drawn.append(pool[place])
        pool[place] = pool[left - 1]
    return tuple(drawn)


def _private(module: str, name: str) -> ModuleType:
    """The module that holds a private name, or `UnsupportedTrio` with the name in it."""
    try:
        found = importlib.import_module(module)
    except ImportError as exc:
        raise UnsupportedTrio(f"trio {trio.__version__} has no {module}") from exc
    if not hasattr(found, name):
        raise UnsupportedTrio(f"trio {trio.__version__} has no {module}.{name}")
    return found


@contextlib.contextmanager
def own_order(schedule: Schedule) -> Iterator[None]:
    """Let `schedule` decide the order of tasks in every `trio.run` made inside the block.

    The hooks are process-wide: do not run another Trio loop in another thread meanwhile.

    Raises:
        UnsupportedTrio: this Trio lacks a hook.
    """
    from .selfcheck import selfcheck  # which proves what is in here

    selfcheck()
    with own_order_unchecked(schedule):
        yield


@contextlib.contextmanager
def own_order_unchecked(schedule: Schedule) -> Iterator[None]:
    """`own_order` before the self-check has been passed: for the self-check."""
    run = _private("trio._core._run", "_r")
    flag = "_ALLOW_DETERMINISTIC_SCHEDULING"
    _private("trio._core._run", flag)
    saved = getattr(run, flag), run._r
    setattr(run, flag, True)
    run._r = schedule  # type: ignore[attr-defined]
    try:
        yield
    finally:
        setattr(run, flag, saved[0])
        run._r = saved[1]  # type: ignore[attr-defined]


################################################################
# Every memory channel that is opened
################################################################


@attrs.define(eq=False)
class OpenedChannel:
    """A memory channel, with the line that opened it."""

    path: str
    line: int
    _state: Any = attrs.field(repr=False)

    @property
    def open_ends(self) -> tuple[int, int]:
        """How many send ends and how many receive ends are open now."""
        return self._state.open_send_channels, self._state.open_receive_channels


_channel_listeners: list[Callable[[OpenedChannel], object]] = []
_untracked_state: Any = None  # Trio's own class, while ours stands in for it


@contextlib.contextmanager
def tracked_channels(on_open: Callable[[OpenedChannel], object]) -> Iterator[None]:
    """Call `on_open` for every memory channel opened inside the block, by any task."""
    watch_channels(on_open)
    try:
        yield
    finally:
        unwatch_channels(on_open)


def watch_channels(on_open: Callable[[OpenedChannel], object]) -> None:
    """Call `on_open` for every memory channel opened from now on, until `unwatch_channels`."""
    if not _channel_listeners:
        _install_channel_hook()
    _channel_listeners.append(on_open)


def unwatch_channels(on_open: Callable[[OpenedChannel], object]) -> None:
    """End a `watch_channels`; listeners may leave in any order."""
    global _untracked_state
    _channel_listeners.remove(on_open)
    if not _channel_listeners:
        channel = _private("trio._channel", "MemoryChannelState")
        channel.MemoryChannelState = _untracked_state  # type: ignore[attr-defined]
        _untracked_state = None


def _install_channel_hook() -> None:
    global _untracked_state
    channel = _private("trio._channel", "MemoryChannelState")
    _untracked_state = channel.MemoryChannelState
    channel.MemoryChannelState = _tracked(_untracked_state)  # type: ignore[attr-defined]


@functools.cache
def _tracked(original: Any) -> Any:
    """A class that tells the listeners of each of its instances; made once, not for each run."""
    probe = original(1)
    for name in ("open_send_channels", "open_receive_channels"):
        if not hasattr(probe, name):
            raise UnsupportedTrio(
                f"trio {trio.__version__} has no trio._channel.MemoryChannelState.{name}"
            )

    class TrackedState(original):  # type: ignore[misc]
        __slots__ = ()

        def __init__(self, max_buffer_size: float) -> None:
            super().__init__(max_buffer_size)
            frame = _first_frame_outside_trio(sys._getframe(1))
            opened = OpenedChannel(frame.f_code.co_filename, frame.f_lineno, self)
            for listener in _channel_listeners:
                listener(opened)

    return TrackedState


_TRIO_DIR = trio.__file__.rpartition("__init__")[0]


def is_trio(path: str) -> bool:
    """Whether a source file is part of Trio."""
    return path.startswith(_TRIO_DIR)


def _first_frame_outside_trio(frame: FrameType) -> FrameType:
    while is_trio(frame.f_code.co_filename) and frame.f_back is not None:
        frame = frame.f_back
    return frame


################################################################
# A Cancelled on its way to a task
################################################################


def about_to_raise(task: trio.lowlevel.Task) -> BaseException | None:
    """The exception that the next step of a runnable task begins with, if it begins with one.

    Meaningful in an instrument's `before_task_step`.
    """
    return getattr(task._next_send, "error", None)


################################################################
# One task alone
################################################################


def run_in_scope(task: trio.lowlevel.Task, scope: trio.CancelScope) -> None:
    """Let a task that has not had its first step run inside a cancel scope of its own.

    Cancelled, it ends as if it had returned.  The scope costs it no step.
    """
    wrapped: Any = _in_scope(task.coro, scope)
    task.coro = wrapped


async def _in_scope(coro: Coroutine[Any, Any, Any], scope: trio.CancelScope) -> Any:
    with scope:
        return await coro


def can_raise_in(task: trio.lowlevel.Task) -> bool:
    """Whether a task waits at a checkpoint where an exception can be raised now.

    Not while it is about to run, and not in the shielded half of a bare `checkpoint`.
    """
    return task._abort_func is not None


def raise_in(task: trio.lowlevel.Task, error: BaseException) -> None:
    """Have the wait that a task is in raise `error`; see `can_raise_in`."""

    def raise_it() -> NoReturn:
        raise error

    task._attempt_abort(raise_it)


################################################################
# Deadlines
################################################################


def armed_deadlines() -> list[trio.CancelScope]:
    """The cancel scopes of the current run that have a deadline and are around some task now."""
    _private("trio._core._run", "GLOBAL_RUN_CONTEXT")
    run: Any = importlib.import_module("trio._core._run")
    heap = run.GLOBAL_RUN_CONTEXT.runner.deadlines._heap
    found = {
        id(scope): scope for deadline, _, scope in heap if scope._registered_deadline == deadline
    }
    return list(found.values())


def tasks_within(scope: trio.CancelScope) -> list[trio.lowlevel.Task]:
    """The tasks that a cancel scope is the innermost one around."""
    status = scope._cancel_status
    return [] if status is None else list(status._tasks)
