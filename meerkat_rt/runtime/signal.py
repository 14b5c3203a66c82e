"""A flag between two tasks, cheaper than an event and without a queue of waiters."""

from __future__ import annotations

import trio


class Signal:
    """A flag that one task waits for.  Setting it twice before the wait is setting it once."""

    __slots__ = (
        "_set",
        "_waiter",
    )

    def __init__(self) -> None:
        self._set = False
        self._waiter: trio.lowlevel.Task | None = None

    def set(self) -> None:
        """Wake the waiter, now or when it comes."""
        self._set = True
        if self._waiter is not None:
            waiter, self._waiter = self._waiter, None
            trio.lowlevel.reschedule(waiter)

    async def wait(self) -> None:
        """Wait for the flag and take it down.  A checkpoint; cancelled, it leaves the flag up."""
        if self._set:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:  # to sleep is to look for a cancellation
            self._waiter = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._abort)
        self._set = False

    def _abort(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self._waiter = None
        return trio.lowlevel.Abort.SUCCEEDED
