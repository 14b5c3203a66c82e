"""How one connection is read: by its receiver, or for it by whoever waits for the session's events.

The application's task reads the connection itself while it has nothing else to do: an event costs
it one wake-up then, and not one of the receiver's and one of its own.  While it does something else
the receiver reads.  What is read goes the same way, in the same steps, whoever reads it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import trio

from ..transport import TransportClosed

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..transport import Transport

# Frames between two looks at the other tasks.  Fewer than the events that an application reads
# between two of its own, so that a burst does not leave one behind that keeps reading; and an
# interruption waits for this many frames at most.
FRAMES_PER_STEP = 96


@final
class Reading:
    """The reading of one connection.

    `hear` is given what was read, at most `FRAMES_PER_STEP` frames at a time, in a step of whoever
    reads.  The receiver calls `run`; the task that waits for events calls `enter`, which says
    whether it may `read`, and then has to.  `under_way` says that it waits there, and may be
    interrupted.

    Invariant: only one of the two is in `Transport.receive`, and what it returned is heard before
    anything is that came after.
    """

    __slots__ = (
        "_failure",
        "_hear",
        "_standby",
        "_transport",
        "_unheard",
        "enter",
        "under_way",
    )

    def __init__(self, transport: Transport, hear: Callable[[list[bytes]], None]) -> None:
        self._transport = transport
        self._standby = standby = transport.standby()
        self.enter = _never if standby is None else standby.enter
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
            if standby is not None and not transport.pending:
                await standby.stand_by()
                while self.under_way:  # somebody closed the transport, and it is on its way out
                    await trio.lowlevel.checkpoint()
            if self._failure is not None:
                raise self._failure
            if not self._unheard:
                self._step(await transport.receive())

    def _step(self, frames: list[bytes]) -> None:
        if len(frames) > FRAMES_PER_STEP:
            starts = range(0, len(frames), FRAMES_PER_STEP)
            self._unheard = [frames[start : start + FRAMES_PER_STEP] for start in reversed(starts)]
            frames = self._unheard.pop()
        self._hear(frames)

    # ---------------------------------------------------------------- in the receiver's place

    async def read(self) -> None:
        """Read and hear once, in the place of the receiver, which learns of the end, or a failure.

        Only after `enter` has allowed it.  A checkpoint; cancel-safe.  Returns without having heard
        anything if it was interrupted.
        """
        transport, standby = self._transport, self._standby
        assert standby is not None
        self.under_way = True
        try:
            frames = await transport.receive()
            self.under_way = False
            if frames:
                self._step(frames)
        except TransportClosed:
            pass  # which is pending from now on, for the receiver
        except Exception as failure:  # a bug of ours, which is the session's and not the caller's
            self._failure = failure
            standby.call()
        except BaseException:
            standby.call()  # whoever only looks in, time and again, must not keep it from reading
            raise
        finally:
            self.under_way = False
            if self._unheard or transport.pending:
                standby.call()
            standby.leave()

    def interrupt(self) -> None:
        """Let the `read` under way return."""
        assert self._standby is not None
        self._standby.interrupt()


def _never() -> bool:
    return False
