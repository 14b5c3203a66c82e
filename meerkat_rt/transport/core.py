"""What every transport shares: the writer's half, the pings, and how a connection ends.

A transport differs from another in what a frame is (bytes with a masked payload, or a value handed
to the other end) and in how frames arrive.  Who may write when, what is still written after the
end, and whose close code is reported are the same everywhere, and live here.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Generic, TypeVar

import attrs
import trio

from .base import ClosedBy, TransportClosed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .standby import Arrival, Standby

F = TypeVar("F")

# Pongs that wait for the writer.  RFC 6455 section 5.5.3 lets us answer only the latest ping, so a
# peer that pings and never reads cannot make us hoard answers.
PONGS_KEPT = 16
# Pings without an answer, beyond which no more are sent: a peer that reads nothing gets no more.
PINGS_IN_FLIGHT = 16

_REASON_BYTES = 123  # RFC 6455 section 5.5: 125 for a control frame, less two for the code

NORMAL_CLOSURE = 1000
INVALID_DATA = 1007
MESSAGE_TOO_BIG = 1009


@attrs.frozen
class Ending:
    """How a connection ended, and the error to raise for it (a new one for each reader)."""

    code: int | None
    reason: str
    by: ClosedBy
    cause: Exception | None = None

    def error(self) -> TransportClosed:
        """Make the error that tells of this ending."""
        error = TransportClosed(self.code, self.reason, self.by)
        error.__cause__ = self.cause
        return error


CUT = Ending(None, "", "us")


def check_close_code(code: int) -> None:
    """Refuse a code that RFC 6455 section 7.4 keeps out of close frames.

    Raises:
        ValueError: such a code.
    """
    if not ((1000 <= code <= 1014 and code not in (1004, 1005, 1006)) or 3000 <= code <= 4999):
        raise ValueError(f"{code} may not be sent in a close frame")


def cut_reason(reason: str) -> str:
    """Cut a reason to what a close frame holds, between two characters."""
    return reason.encode()[:_REASON_BYTES].decode(errors="ignore")


def is_text(payload: bytes) -> bool:
    """Tell whether a payload is UTF-8.  Most of what a model sends is ASCII, which costs a scan."""
    if payload.isascii():
        return True
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


class TransportCore(ABC, Generic[F]):
    """The part of a transport that does not know what a frame is.

    A subclass reads: it calls `_answer` for pongs, `_pong_came` and the `_closed_by_*` and
    `_fail` methods as frames tell it to, and raises `_end` once everything before it was returned.
    """

    def __init__(self) -> None:
        self.heard_at = -math.inf
        self._wake: Callable[[], None] | None = None
        # Frames that wait for the writer.  Invariant: a close frame is the last of `_control`, and
        # nothing is queued after it.
        self._pongs: list[F] = []
        self._control: list[F] = []
        # Messages that have been parsed but not returned yet.
        self._ready: list[bytes] = []
        self._pings: dict[bytes, trio.Event] = {}
        self._ping_count = 0
        # The reader's view: set once, when the last message before the end has been parsed.
        self._end: Ending | None = None
        # Our close frame, from the moment it is queued.
        self._closing: Ending | None = None
        # The writer's view: set when nothing more may be written.  It is apart from `_end` because
        # a failed write must not hide from the reader what the peer had said before.
        self._dead: Ending | None = None
        self._reading = False
        self._writing = False

    # -- what a subclass adds --

    @abstractmethod
    def _encode(self, messages: Sequence[bytes]) -> list[F]: ...

    @abstractmethod
    def _encode_ping(self, payload: bytes) -> F | None:
        """Make a ping frame, or arrange for one to be queued later and return None."""

    @abstractmethod
    def _encode_close(self, code: int, reason: str) -> F | None:
        """Make a close frame; None if one is queued already (an answer to the peer's)."""

    @abstractmethod
    async def _write(self, frames: list[F]) -> None:
        """Write all frames at once.  Raises BrokenResourceError or ClosedResourceError."""

    @abstractmethod
    async def _release(self) -> None:
        """Close the stream at once, even if cancelled, and wake whoever uses it."""

    # -- the writer --

    async def send(self, messages: Sequence[bytes]) -> None:
        """Write queued protocol frames and `messages`, in one write; see `Transport.send`."""
        if self._writing:
            raise trio.BusyResourceError("another task is sending on this transport")
        # A cancellation must be seen here, before compression and masking have consumed the
        # messages: once they are encoded there is no way back.
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._dead is not None:
            raise (self._end or self._dead).error()
        refusal = self._end or self._closing
        frames = self._encode(messages) if refusal is None and messages else []
        if self._pongs or self._control:
            frames = [*self._pongs, *self._control, *frames]
            self._pongs.clear()
            self._control.clear()
        if frames:
            await self._write_or_die(frames)
        elif self._end is None:
            await trio.lowlevel.checkpoint()
        if refusal is not None and (messages or (not frames and self._end is not None)):
            raise refusal.error()

    async def _write_or_die(self, frames: list[F]) -> None:
        self._writing = True
        try:
            await self._write(frames)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            if self._dead is None:
                self._dead = self._closing or Ending(None, "", "network", error)
            raise (self._end or self._dead).error() from error
        except BaseException:
            # Cancelled, most likely: nobody knows how much of it is on the wire.
            if self._dead is None:
                self._dead = CUT
            raise
        finally:
            self._writing = False

    def on_output(self, wake: Callable[[], None]) -> None:
        """Call `wake` whenever protocol frames wait for the writer; see `Transport.on_output`."""
        self._wake = wake
        if self._pongs or self._control:
            wake()

    def ping(self) -> trio.Event:
        """Queue a ping and return the event of its pong; see `Transport.ping`."""
        if self._ended_or_closing():
            return trio.Event()
        if len(self._pings) >= PINGS_IN_FLIGHT:
            return next(reversed(self._pings.values()))
        self._ping_count += 1
        payload = self._ping_count.to_bytes(4, "big")
        event = self._pings[payload] = trio.Event()
        frame = self._encode_ping(payload)
        if frame is not None:
            self._queue(frame)
        return event

    def start_close(self, code: int = NORMAL_CLOSURE, reason: str = "") -> None:
        """Queue a close frame; see `Transport.start_close`."""
        check_close_code(code)
        if not self._ended_or_closing():
            self._begin_close(Ending(code, cut_reason(reason), "us"))

    async def aclose(self) -> None:
        """Close the stream at once; see `Transport.aclose`."""
        self._finish(CUT)
        self._dead = self._end
        await self._release()

    # -- who reads --

    def standby(self) -> Standby | None:
        """How two tasks share its reading; see `Transport.standby`."""
        return None

    def arrival(self) -> Arrival | None:
        """How to wait for what `receive_nowait` returns; see `Transport.arrival`."""
        return None

    def receive_nowait(self) -> list[bytes]:
        """What `receive` would return at once; see `Transport.receive_nowait`."""
        raise NotImplementedError

    def pending(self) -> bool:
        """Whether `receive` has something to say at once; see `Transport.pending`."""
        return self._end is not None or bool(self._ready)

    def _ended_or_closing(self) -> bool:
        return (self._end or self._closing or self._dead) is not None

    # -- what the reader found --

    def _queue(self, frame: F) -> None:
        self._control.append(frame)
        if self._wake is not None:
            self._wake()

    def _answer(self, pong: F) -> None:
        if self._closing is None:
            self._pongs.append(pong)
            del self._pongs[:-PONGS_KEPT]
            if self._wake is not None:
                self._wake()

    def _pong_came(self, payload: bytes) -> None:
        """Set the events of this ping and of those before it (RFC 6455 section 5.5.3)."""
        waiting = list(self._pings)
        if payload in self._pings:
            for answered in waiting[: waiting.index(payload) + 1]:
                self._pings.pop(answered).set()

    def _begin_close(self, ending: Ending) -> None:
        assert ending.code is not None
        self._closing = ending
        frame = self._encode_close(ending.code, ending.reason)
        if frame is not None:
            self._queue(frame)

    def _fail(self, code: int, reason: str) -> None:
        """End the connection because the peer broke the protocol."""
        ending = Ending(code, cut_reason(reason), "us")
        if not self._ended_or_closing():
            self._begin_close(ending)
        self._finish(ending)

    def _closed_by_peer(self, code: int, reason: str) -> None:
        self._finish(Ending(code, reason, "peer"))

    def _closed_by_network(self, cause: Exception | None) -> None:
        self._finish(CUT if self._dead is CUT else Ending(None, "", "network", cause))

    def _finish(self, ending: Ending) -> None:
        # The first end counts.  Once we have begun to close, whatever comes of it is our doing.
        if self._end is None:
            self._end = self._closing or ending
