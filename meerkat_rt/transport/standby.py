"""Two readers of one connection, of whom one stands by for when the other does something else.

The task that waits for a session's next event reads the connection itself meanwhile: what arrives
is one wake-up away from it, not two.  When it leaves with an event it may stay away for long, and
the session must go on, so the receiver stands by, and reads then.

Neither may cost the other a turn of the scheduler.  The one that stands by waits for a descriptor
of its own, through which the socket is seen only while nobody else is about to read.
"""

from __future__ import annotations

import contextlib
import functools
import select
import sys
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_READABLE = 0x001  # EPOLLIN, which `select` has on Linux alone


Arrival: TypeAlias = "Callable[[], Coroutine[Any, Any, None]]"
"""How to wait for something to read."""


class ReadInterrupted(Exception):  # no error: somebody asked for it
    """A read was called off by `Standby.interrupt`.  Nothing is lost by it."""


class Standby(Protocol):
    """How two tasks share the reading of a connection: one that comes and goes, and one behind it.

    `enter`, `leave` and `call` are for the one that comes and goes, `stand_by` is for the one
    behind it, and `interrupt` for everybody else.
    """

    def enter(self) -> bool:
        """Read from now on, if somebody stands by; what arrives does not wake that one any more.

        Returns whether the caller may read.  If so, it has to `leave`.
        """
        ...

    def leave(self) -> None:
        """Read no more: what arrives, or is there, wakes the one that stands by."""
        ...

    def call(self) -> None:
        """Wake the one that stands by, whether or not there is anything to read."""
        ...

    def interrupt(self) -> None:
        """End the read under way, which raises `ReadInterrupted` unless it has got something.

        Or the wait for `arrival`.
        """
        ...

    @property
    def arrival(self) -> Arrival:
        """Waits, for the one that has entered, until there is something to read.

        A checkpoint; cancel-safe.  Raises `trio.ClosedResourceError` if it was interrupted, or the
        connection was closed.
        """
        ...

    async def stand_by(self) -> None:
        """Wait until there is something to read and nobody else is about to, or for `call`.

        The caller reads then, at once: its next read does not wait again for what was waited for
        here.  Also returns when the connection is closed.  A checkpoint; cancel-safe.
        """
        ...


class SharedStream(trio.abc.Stream):
    """A stream whose reading can be shared, where its platform allows it."""

    @abstractmethod
    def standby(self) -> Standby | None:
        """How its reading is shared, for as long as it is open; None: it cannot be."""

    def pending(self) -> bool:
        """Whether a read has something to return, or to raise, for which nobody would be woken."""
        return False

    reads_alone = False
    """Whether to read takes no writing, as it may over TLS: there is `receive_nowait` then."""

    def receive_nowait(self, max_bytes: int) -> bytes | None:
        """What has arrived, as `receive_some` returns it; None: nothing has.  No checkpoint.

        Raises:
            NotImplementedError: where it does not read alone.
            trio.BrokenResourceError: the connection is broken.
            trio.ClosedResourceError: we closed it.
        """
        raise NotImplementedError


class SocketStandby:
    """The reading of a socket, shared.

    `interrupted` and `announced` are for the stream to look at, when it reads, and to take down:
    the read under way is to end; there was something to read a moment ago.
    """

    __slots__ = (
        "_attended",
        "_closed",
        "_epoll",
        "_socket",
        "_standing",
        "announced",
        "arrival",
        "interrupted",
    )

    def __init__(self, socket: int) -> None:
        assert sys.platform == "linux"
        self._socket = socket
        self._epoll = select.epoll()
        self._epoll.register(socket, _READABLE)
        self._attended = False  # somebody else is about to read
        self._standing = False  # somebody stands by, and has not been called
        self._closed = False
        self.interrupted = False
        self.announced = False
        self.arrival: Arrival = functools.partial(trio.lowlevel.wait_readable, socket)

    def enter(self) -> bool:
        """Read from now on; see `Standby.enter`."""
        if not self._standing:
            return False
        self._attended = True
        self._epoll.modify(self._socket, 0)
        return True

    def leave(self) -> None:
        """Read no more; see `Standby.leave`."""
        self._attended = self.interrupted = False
        if not self._closed:
            self._epoll.modify(self._socket, _READABLE)

    def call(self) -> None:
        """Wake the one that stands by; see `Standby.call`."""
        if self._standing:
            self._standing = False
            trio.lowlevel.notify_closing(self._epoll.fileno())

    def interrupt(self) -> None:
        """End the read under way; see `Standby.interrupt`."""
        self.interrupted = True
        if not self._closed:
            trio.lowlevel.notify_closing(self._socket)  # the only wake-up that is no cancellation

    async def stand_by(self) -> None:
        """Wait for something to read; see `Standby.stand_by`."""
        if self._closed:
            await trio.lowlevel.checkpoint()
            return
        self._standing = True
        try:
            while True:
                with contextlib.suppress(trio.ClosedResourceError):  # called, or closed
                    await trio.lowlevel.wait_readable(self._epoll.fileno())
                if not self._standing:
                    return
                if not self._attended:  # else: it has come back meanwhile, or the peer hung up
                    self.announced = True
                    return
        finally:
            self._standing = False

    def close(self) -> None:
        """Nothing can be read any more, and the socket is about to be closed.  Idempotent."""
        if not self._closed:
            self.call()
            self._closed = True
            self._epoll.close()


def share_socket(descriptor: int) -> SocketStandby | None:
    """Share the reading of this socket; None where there is no epoll, or no descriptor left."""
    if sys.platform != "linux":
        return None
    try:
        return SocketStandby(descriptor)
    except OSError:
        return None
