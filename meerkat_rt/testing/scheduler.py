"""Own the order in which Trio runs its tasks.  The only module that touches private Trio API.

Trio runs all runnable tasks as one *batch*, looks for I/O and expired deadlines, and runs the next.
The order within a batch is random by design, so a failure that needs one order is seen once in a
thousand runs and never again.  A `Schedule` takes that decision over: first in, first out by spawn
order, unless it was given a seed or explicit orders.  It logs every departure from FIFO, so a run
can be repeated from its log without the seed.

Private API, all of it, each proved by behaviour in `selfcheck` before the first use:

=============================================  =================================================
``trio._core._run._ALLOW_DETERMINISTIC_...``   makes the run loop sort each batch by spawn order
``trio._core._run._r``                         the generator whose `shuffle` then permutes it
``trio._channel.MemoryChannelState``           subclassed, to learn of every memory channel opened
``Task._next_send``                            read, to see a `Cancelled` on its way to a task
``Task.coro``                                  replaced before the first step, to put one task into
                                               a cancel scope of its own
``Task._abort_func``, ``Task._attempt_abort``  to raise an exception in the wait that a task is in,
                                               as Trio itself raises `KeyboardInterrupt` there
=============================================  =================================================

The first two have been in Trio since 2019 for its own Hypothesis plugin, the last since 2017.
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
import trio.testing

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
    came from.
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
        batch.reverse()  # the loop takes tasks from the end: now the oldest comes first
        size = len(batch)
        if size < 2:
            return
        number = len(self.sizes)
        self.sizes.append(size)
        if self._random is None and number not in self._orders:
            return
        fifo = tuple(range(size))
        if self._random is not None:
            wanted = tuple(self._random.sample(fifo, size))
        else:
            wanted = self._orders[number]
            if tuple(sorted(wanted)) != fifo:
                self.diverged = True
                return
        if wanted != fifo:
            self.taken[number] = wanted
            oldest_first = batch[::-1]
            batch[:] = [oldest_first[i] for i in reversed(wanted)]

    def random(self) -> float:
        """Trio asks for this only when it shuffles by itself."""
        raise UnsupportedTrio(f"trio {trio.__version__} no longer lets the test kit order batches")

    def uniform(self, low: float, high: float) -> float:
        """Trio asks for this to offset its system clock."""
        return low


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
    selfcheck()
    with _own_order(schedule):
        yield


@contextlib.contextmanager
def _own_order(schedule: Schedule) -> Iterator[None]:
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
    original: Any = channel.MemoryChannelState
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

    _untracked_state = original
    channel.MemoryChannelState = TrackedState  # type: ignore[attr-defined]


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
# The self-check
################################################################


@functools.cache
def selfcheck() -> None:
    """Prove, by behaviour, that this Trio still has every hook in the table above.

    Runs once a process, takes a few milliseconds, and must not be called from inside `trio.run`.

    Raises:
        UnsupportedTrio: with the name of the hook that is gone or no longer does what it did.
    """
    _check_order()
    _check_channels()
    _check_about_to_raise()
    _check_run_in_scope()
    _check_raise_in()


def _check_order() -> None:
    started: list[int] = []

    async def child(number: int) -> None:
        started.append(number)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(child, number)

    def order_under(schedule: Schedule) -> list[int]:
        started.clear()
        with _own_order(schedule):
            trio.run(main)
        return list(started)

    fifo = Schedule()
    if order_under(fifo) != [0, 1, 2, 3] or 4 not in fifo.sizes:
        raise UnsupportedTrio(
            f"trio {trio.__version__}: trio._core._run._r.shuffle no longer orders batches"
        )
    wanted = (3, 1, 0, 2)
    if order_under(Schedule(orders={fifo.sizes.index(4): wanted})) != list(wanted):
        raise UnsupportedTrio(
            f"trio {trio.__version__}: trio._core._run._r.shuffle no longer decides the order"
        )


def _check_channels() -> None:
    seen: list[OpenedChannel] = []
    with tracked_channels(seen.append):
        send, receive = trio.open_memory_channel[int](7)
    here = [channel for channel in seen if channel.path == __file__]
    if [channel.open_ends for channel in here] != [(1, 1)]:
        raise UnsupportedTrio(
            f"trio {trio.__version__}: trio._channel.MemoryChannelState no longer tells of channels"
        )
    send.close()
    receive.close()
    if here[0].open_ends != (0, 0):
        raise UnsupportedTrio(
            f"trio {trio.__version__}: trio._channel.MemoryChannelState no longer counts open ends"
        )


class _SeesCancelled(trio.abc.Instrument):
    def __init__(self) -> None:
        self.reasons: list[str | None] = []

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        # A hook that raises is dropped with a log message: an AttributeError must not get out.
        with contextlib.suppress(AttributeError):
            error = about_to_raise(task)
            if isinstance(error, trio.Cancelled):
                self.reasons.append(error.reason)


def _check_about_to_raise() -> None:
    async def main() -> None:
        with trio.CancelScope() as scope:
            scope.cancel("selfcheck")
            async with trio.open_nursery():
                await trio.lowlevel.checkpoint()

    instrument = _SeesCancelled()
    trio.run(main, instruments=[instrument])
    if "selfcheck" not in instrument.reasons:
        raise UnsupportedTrio(
            f"trio {trio.__version__}: Task._next_send no longer shows a Cancelled on its way"
        )


class _OneTaskAlone(trio.abc.Instrument):
    """Puts the task "chosen" into a scope, and does something once it waits."""

    def __init__(self, do: Callable[[trio.lowlevel.Task, trio.CancelScope], object]) -> None:
        self._do = do
        self._scope = trio.CancelScope()
        self._done = False
        self.error: AttributeError | None = None

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        if task.name == "chosen":
            run_in_scope(task, self._scope)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task.name == "chosen" and not self._done:
            self._done = True
            # A hook that raises is dropped with a log message: an error must not get out.
            try:
                self._do(task, self._scope)
            except AttributeError as error:
                self.error = error


def _ends_when(do: Callable[[trio.lowlevel.Task, trio.CancelScope], object]) -> list[str]:
    """How a chosen task and another one end, if that is done to the chosen one."""
    ended: list[str] = []

    async def wait(name: str) -> None:
        try:
            await trio.sleep(1)
            ended.append(f"{name} slept")
        except KeyError:
            ended.append(f"{name} raised")
        except trio.Cancelled:
            ended.append(f"{name} cancelled")
            raise

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, "chosen", name="chosen")
            nursery.start_soon(wait, "other", name="other")

    instrument = _OneTaskAlone(do)
    trio.run(main, instruments=[instrument], clock=trio.testing.MockClock(autojump_threshold=0))
    return [*ended, *([str(instrument.error)] if instrument.error else [])]


def _check_run_in_scope() -> None:
    ended = _ends_when(lambda _, scope: scope.cancel("selfcheck"))
    if ended != ["chosen cancelled", "other slept"]:
        raise UnsupportedTrio(
            f"trio {trio.__version__}: Task.coro no longer takes a coroutine of ours: {ended}"
        )


def _check_raise_in() -> None:
    could: list[bool] = []

    def do(task: trio.lowlevel.Task, _: trio.CancelScope) -> None:
        could.append(can_raise_in(task))
        raise_in(task, KeyError())
        could.append(can_raise_in(task))

    ended = _ends_when(do)
    if (could, ended) != ([True, False], ["chosen raised", "other slept"]):
        raise UnsupportedTrio(
            f"trio {trio.__version__}: Task._abort_func and Task._attempt_abort no longer raise in "
            f"a task that waits: {ended}"
        )
