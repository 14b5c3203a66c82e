"""How one connection is read: by its receiver, or for it by whoever waits for the session's events.

The application's task reads the connection itself while it has nothing else to do: an event costs
it one wake-up then, and not one of the receiver's and one of its own.  While it does something else
the receiver reads.  What is read goes the same way, in the same steps, whoever reads it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, final

import trio

from ..transport import TransportClosed

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from ..transport import Transport

# Frames between two looks at the other tasks.  Fewer than the events that an application reads
# between two of its own, so that a burst does not leave one behind that keeps reading; and an
# interruption waits for this many frames at most.
FRAMES_PER_STEP = 96

Wait: TypeAlias = "Callable[[], Coroutine[Any, Any, list[bytes] | None]]"
"""Waits for what comes next, and returns it, or None if it is to be fetched."""


@final
class Reading:
    """The reading of one connection.

    `hear` is given what was read, at most `FRAMES_PER_STEP` frames at a time, in a step of whoever
    reads.  The receiver calls `run`; the task that waits for events calls `enter`, which says
    whether it may read.  `under_way` says that it waits, and may be interrupted.

    Invariant: only one of the two waits for the transport, and what that one gets is heard before
    anything that came after.
    """

    __slots__ = (
        "_failure",
        "_hear",
        "_standby",
        "_transport",
        "_unheard",
        "under_way",
        "wait",
    )

    def __init__(self, transport: Transport, hear: Callable[[list[bytes]], None]) -> None:
        self._transport = transport
        self._standby = transport.standby()
        arrival = None if self._standby is None else transport.arrival()
        self.wait: Wait = transport.receive if arrival is None else arrival
        self._hear = hear
        self._unheard: list[list[bytes]] = []  # the rest of a burst, a step each, the last first
        self._failure: Exception | None = None  # of a step in another task, for the receiver
        self.under_way = False

    async def run(self) -> None:
        """Be the receiver: read and hear whenever nobody else does.

        A checkpoint; cancel-safe.  Does not return.

        Raises:
            TransportClosed: the connection has ended, and everything before has been heard.
        """
        transport, standby = self._transport, self._standby
        while True:
            if self._unheard:
                await trio.lowlevel.checkpoint()
                self._hear(self._unheard.pop())
                continue
            if standby is not None and not transport.pending():
                await standby.stand_by()
                while self.under_way:  # somebody closed the transport, and it is on its way out
                    await trio.lowlevel.checkpoint()
            if self._failure is not None:
                raise self._failure
            if not self._unheard:
                frames = await transport.receive()
                if len(frames) > FRAMES_PER_STEP:
                    frames = self._first_step(frames)
                self._hear(frames)
                del frames  # a quiet connection does not keep its last burst

    def _first_step(self, frames: list[bytes]) -> list[bytes]:
        """So much of a burst as makes a step; the rest is for the next ones."""
        starts = range(0, len(frames), FRAMES_PER_STEP)
        self._unheard = [frames[start : start + FRAMES_PER_STEP] for start in reversed(starts)]
        return self._unheard.pop()

    # ---------------------------------------------------------------- in the receiver's place

    def enter(self) -> bool:
        """Be the reader from now on; whether the caller may.

        If so it has to `wait`, once, and to say in the same step what came of it: `heard`, or
        `failed`.  A coroutine around the three would cost each event of a paced session.
        """
        standby = self._standby
        if standby is None or not standby.enter():
            return False
        self.under_way = True
        return True

    def heard(self, frames: list[bytes] | None) -> None:
        """Hear what has come; `frames` is what `wait` has returned."""
        standby, hear = self._standby, self._hear
        assert standby is not None
        self.under_way = False
        try:
            if frames is None:
                frames = self._transport.receive_nowait()
            if len(frames) > FRAMES_PER_STEP:
                frames = self._first_step(frames)
            if frames:
                hear(frames)
        except BaseException as failure:
            if not self._broke(failure):
                raise
            return
        if self._unheard or self._transport.pending():
            standby.call()
        standby.leave()

    def failed(self, failure: BaseException) -> bool:
        """Say what `wait` has raised; whether that is for the receiver to raise, not for you."""
        if not isinstance(failure, trio.ClosedResourceError):
            return self._broke(failure)
        # Interrupted; or closed, of which the receiver has learnt already.
        assert self._standby is not None
        self.under_way = False
        self._standby.leave()
        return True

    def _broke(self, failure: BaseException) -> bool:
        standby = self._standby
        assert standby is not None
        self.under_way = False
        if isinstance(failure, Exception) and not isinstance(failure, TransportClosed):
            self._failure = failure  # a bug of ours; and of an end the transport knows
        # Whoever only looks in, time and again, must not keep the receiver from reading, either.
        standby.call()
        standby.leave()
        return isinstance(failure, Exception)

    def interrupt(self) -> None:
        """Let the `wait` under way end."""
        assert self._standby is not None
        self._standby.interrupt()
