"""Messages handed over in memory: a transport without bytes.

For tests of what happens above the wire and for measuring what a session costs without one.  It
keeps the promises of the real transports, the unpleasant ones too: a write waits for a peer that
does not read, a cancelled write dooms, an end that is closed without a close frame looks like a
broken network to the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import attrs
import trio

from .base import MAX_MESSAGE_SIZE
from .core import INVALID_DATA, MESSAGE_TOO_BIG, TransportCore, is_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .base import WebSocketTarget

# Bytes that wait for a reader before the writer does.  A socket pair on Linux holds about 200 KiB.
CAPACITY = 256 * 1024


@attrs.frozen(kw_only=True)
class _Frame:
    kind: Literal["text", "ping", "pong", "close"]
    payload: bytes
    code: int = 0  # of a close

    @property
    def size(self) -> int:
        return len(self.payload) + 8  # empty messages have to be bounded too


class _Wire:
    """One direction: frames on their way, written by one end and read by the other."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.frames: list[_Frame] = []
        self.size = 0
        self.writer_gone = False
        self.reader_gone = False
        self.changed = trio.lowlevel.ParkingLot()  # at most the two ends wait

    async def put(self, frames: list[_Frame]) -> None:
        # A whole write goes in as soon as there is any room: bounded by the capacity and one write.
        parked = False
        while self.size >= self.capacity and not (self.reader_gone or self.writer_gone):
            await self.changed.park()
            parked = True
        if self.writer_gone:
            raise trio.ClosedResourceError("this end was closed")
        if self.reader_gone:
            raise trio.BrokenResourceError("the other end was closed")
        self.frames.extend(frames)
        self.size += sum(frame.size for frame in frames)
        self.changed.unpark_all()
        if not parked:
            # After the effect there is no cancellation left to notice.
            await trio.lowlevel.cancel_shielded_checkpoint()

    def take(self) -> list[_Frame]:
        frames, self.frames = self.frames, []
        self.size = 0
        self.changed.unpark_all()
        return frames


class MemoryTransport(TransportCore[_Frame]):
    """One end of `memory_transport_pair`; see `Transport` for what its methods promise."""

    def __init__(self, incoming: _Wire, outgoing: _Wire, max_message_size: int) -> None:
        super().__init__()
        self._incoming = incoming
        self._outgoing = outgoing
        self._max_message_size = max_message_size

    async def receive(self) -> list[bytes]:
        """Return all messages that wait; see `Transport.receive`."""
        if self._reading:
            raise trio.BusyResourceError("another task is receiving on this transport")
        self._reading = True
        try:
            messages: list[bytes] = []
            wire = self._incoming
            if wire.frames or wire.writer_gone or self._end is not None:
                await trio.lowlevel.checkpoint()
            while not messages and self._end is None:
                if wire.frames:
                    self.heard_at = trio.current_time()
                    messages = self._take(wire.take())
                elif wire.writer_gone or wire.reader_gone:
                    self._closed_by_network(None)
                else:
                    await wire.changed.park()
            if messages:
                return messages
        finally:
            self._reading = False
        assert self._end is not None
        raise self._end.error()

    def _take(self, frames: list[_Frame]) -> list[bytes]:
        messages: list[bytes] = []
        for frame in frames:
            if frame.kind == "text":
                if len(frame.payload) > self._max_message_size:
                    self._fail(
                        MESSAGE_TOO_BIG,
                        f"a message of {len(frame.payload)} bytes, over {self._max_message_size}",
                    )
                elif not is_text(frame.payload):
                    self._fail(INVALID_DATA, "a text message is not UTF-8")
                else:
                    messages.append(frame.payload)
            elif frame.kind == "ping":
                self._answer(_Frame(kind="pong", payload=frame.payload))
            elif frame.kind == "pong":
                self._pong_came(frame.payload)
            else:
                if self._closing is None:
                    self._queue(frame)  # the echo
                self._closed_by_peer(frame.code, frame.payload.decode())
            if self._end is not None:
                break
        return messages

    def _encode(self, messages: Sequence[bytes]) -> list[_Frame]:
        return [_Frame(kind="text", payload=message) for message in messages]

    def _encode_ping(self, payload: bytes) -> _Frame:
        return _Frame(kind="ping", payload=payload)

    def _encode_close(self, code: int, reason: str) -> _Frame:
        return _Frame(kind="close", payload=reason.encode(), code=code)

    async def _write(self, frames: list[_Frame]) -> None:
        await self._outgoing.put(frames)

    async def _release(self) -> None:
        self._outgoing.writer_gone = True
        self._incoming.reader_gone = True
        self._incoming.frames.clear()
        self._outgoing.changed.unpark_all()
        self._incoming.changed.unpark_all()
        await trio.lowlevel.checkpoint()


def memory_transport_pair(
    *, capacity: int = CAPACITY, max_message_size: int = MAX_MESSAGE_SIZE
) -> tuple[MemoryTransport, MemoryTransport]:
    """Make two transports, each of which receives what the other sends.

    `capacity` is the bytes that may wait for a reader before the writer of more has to wait.
    """
    there, back = _Wire(capacity), _Wire(capacity)
    return (
        MemoryTransport(back, there, max_message_size),
        MemoryTransport(there, back, max_message_size),
    )


class MemoryConnector:
    """Connects to a peer in this process.

    `accept` gets the target and the peer's end of each connection; it starts whatever serves it.
    """

    name = "memory"

    def __init__(self, accept: Callable[[WebSocketTarget, MemoryTransport], None]) -> None:
        self._accept = accept

    async def connect(self, target: WebSocketTarget, *, nursery: trio.Nursery) -> MemoryTransport:
        """Open a connection; see `Connector.connect`.  Starts nothing in `nursery`."""
        await trio.lowlevel.checkpoint()
        ours, theirs = memory_transport_pair(max_message_size=target.max_message_size)
        self._accept(target, theirs)
        return ours
