"""Proves, by behaviour, that the installed Trio still has every hook that `scheduler` stands on."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING

import trio
import trio.testing

from . import scheduler
from .scheduler import Schedule, UnsupportedTrio

if TYPE_CHECKING:
    from collections.abc import Callable


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
    _check_deadlines()


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
        with scheduler.own_order_unchecked(schedule):
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
    seen: list[scheduler.OpenedChannel] = []
    with scheduler.tracked_channels(seen.append):
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
            error = scheduler.about_to_raise(task)
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
            scheduler.run_in_scope(task, self._scope)

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
        could.append(scheduler.can_raise_in(task))
        scheduler.raise_in(task, KeyError())
        could.append(scheduler.can_raise_in(task))

    ended = _ends_when(do)
    if (could, ended) != ([True, False], ["chosen raised", "other slept"]):
        raise UnsupportedTrio(
            f"trio {trio.__version__}: Task._abort_func and Task._attempt_abort no longer raise in "
            f"a task that waits: {ended}"
        )


def _check_deadlines() -> None:
    async def main() -> list[bool]:
        with trio.CancelScope(deadline=trio.current_time() + 50) as scope:
            armed = [scope in scheduler.armed_deadlines()]
            scope.deadline += 50
            armed.append(scheduler.armed_deadlines().count(scope) == 1)
            armed.append(scheduler.tasks_within(scope) == [trio.lowlevel.current_task()])
            await trio.lowlevel.checkpoint()
        return [*armed, scope not in scheduler.armed_deadlines()]

    try:
        armed = trio.run(main)
    except AttributeError as error:
        raise UnsupportedTrio(
            f"trio {trio.__version__}: runner.deadlines no longer tells of deadlines: {error}"
        ) from error
    if not all(armed):
        raise UnsupportedTrio(
            f"trio {trio.__version__}: runner.deadlines no longer tells of deadlines: {armed}"
        )
