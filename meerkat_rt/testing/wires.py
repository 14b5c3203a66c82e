"""In-memory connections whose peer can misbehave on command.

Three kinds, chosen by name; each shows what the others hide:

- ``memory``: unbounded and quick; a write never blocks, so cancellation never meets one;
- ``lockstep``: a write returns when the peer has read all of it: shows what waits behind a write;
- ``tearing``: a write goes out in three pieces; a cancelled one leaves part of a frame on the wire,
  as a real socket with a full buffer does.

The faults are verbs of `Wire`, synchronous so that a sweep can use them as actions.
"""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Literal, get_args

import attrs
import trio
import trio.abc

from ..transport.standby import ReadInterrupted, SharedStream

if TYPE_CHECKING:
    from collections.abc import Callable

WireName = Literal["memory", "lockstep", "tearing"]

WIRES: tuple[WireName, ...] = get_args(WireName)
"""The names of all kinds, to run a test on each."""

_FIRST_PIECE = 3  # bytes: within the header of any WebSocket frame, and of any HTTP line


class Pipe:
    """One direction of a wire.

    `capacity` is how many bytes may wait to be read before a write blocks.  `chunk` is the most
    that one read returns.  While `held`, bytes stay in the pipe and nobody is told.  `cut_after` is
    how many more bytes are handed over before the connection breaks.
    """

    def __init__(self) -> None:
        self.waiting = bytearray()
        self.capacity: float = math.inf
        self.chunk: int | None = None
        self.held = False
        self.cut_after: int | None = None
        self.ended = False  # no more will be written: end of file once all is read
        self.reader_gone = False
        self.broken = False
        self.told: Callable[[], None] | None = None  # of what there is to read, beside the reader
        self._readable = trio.lowlevel.ParkingLot()
        self._writable = trio.lowlevel.ParkingLot()

    def changed(self) -> None:
        """Let everybody who waits look again."""
        self.tell()
        self._writable.unpark_all()

    def tell(self) -> None:
        """Let whoever waits to read look again."""
        self._readable.unpark_all()
        if self.told is not None:
            self.told()

    @property
    def readable(self) -> bool:
        """Whether a read would not wait."""
        if self.broken or self.reader_gone or self.cut_after == 0:
            return True
        return not self.held and (bool(self.waiting) or self.ended)

    def break_off(self) -> None:
        """The connection is reset: what has not been read is lost."""
        self.broken = True
        self.waiting.clear()
        self.changed()

    def put(self, data: memoryview) -> int:
        """Take in as many bytes as there is room for."""
        if self.broken or self.reader_gone:
            raise trio.BrokenResourceError("the other end is gone")
        room = max(0, self.capacity - len(self.waiting))
        taken = len(data) if room >= len(data) else int(room)
        if taken:
            self.waiting += data[:taken]
            self.tell()
        return taken

    async def room(self) -> None:
        """Wait until a write may get further."""
        await self._writable.park()

    def take(self, most: int | None) -> bytes | None:
        """The next bytes; b"" at the end; None where there is nothing yet."""
        if self.held:
            return None
        if self.waiting:
            return self._hand_over(most)
        return b"" if self.ended else None

    async def news(self) -> None:
        """Wait until there may be something to take."""
        await self._readable.park()

    def _hand_over(self, most: int | None) -> bytes:
        limits = [limit for limit in (most, self.chunk, self.cut_after) if limit is not None]
        size = min([len(self.waiting), *limits])
        data = bytes(self.waiting[:size])
        del self.waiting[:size]
        if self.cut_after is not None:
            self.cut_after -= size
        self._writable.unpark_all()
        return data


class WireStandby:
    """The reading of one end of a wire, shared as that of a socket is; see `Standby`."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._lot = trio.lowlevel.ParkingLot()
        self._attended = False  # somebody else is about to read
        self._standing = False  # somebody stands by, and has not been called
        self.interrupted = False
        self.announced = False
        pipe.told = self._look

    def enter(self) -> bool:
        """Read from now on; see `Standby.enter`."""
        self._attended |= self._standing
        return self._standing

    async def arrival(self) -> None:
        """Wait for something to read; see `Standby.arrival`."""
        if self._pipe.readable:
            await trio.lowlevel.checkpoint()
            return
        while not self._pipe.readable:
            await self._pipe.news()
            if self.interrupted:
                raise trio.ClosedResourceError("the read was interrupted")

    def leave(self) -> None:
        """Read no more; see `Standby.leave`."""
        self._attended = self.interrupted = False
        self._look()

    def call(self) -> None:
        """Wake the one that stands by; see `Standby.call`."""
        self._standing = False
        self._lot.unpark_all()

    def interrupt(self) -> None:
        """End the read under way; see `Standby.interrupt`."""
        self.interrupted = True
        self._pipe.tell()

    def _look(self) -> None:
        if not self._attended and self._pipe.readable:
            self._lot.unpark_all()

    async def stand_by(self) -> None:
        """Wait for something to read; see `Standby.stand_by`."""
        self._standing = True
        try:
            if self._pipe.readable and not self._attended:
                await trio.lowlevel.checkpoint()
            else:
                await self._lot.park()
            while self._standing and (self._attended or not self._pipe.readable):
                await self._lot.park()
            self.announced = self._standing
        finally:
            self._standing = False


class WireStream(SharedStream, trio.abc.HalfCloseableStream):
    """One end of a wire.

    `receive_some` is cancel-safe.  `send_all` is as safe as the kind of wire allows: on a tearing
    wire, or into a full pipe, a cancelled call may have sent a part; `torn` tells.
    """

    reads_alone = True

    def __init__(self, outgoing: Pipe, incoming: Pipe, kind: WireName) -> None:
        self.torn = False
        self.offences: list[str] = []
        self._out = outgoing
        self._in = incoming
        self._kind = kind
        self._closed = False
        self._sending = False
        self._receiving = False
        self._standby: WireStandby | None = None

    def standby(self) -> WireStandby:
        """How its reading is shared."""
        if self._standby is None:
            self._standby = WireStandby(self._in)
        return self._standby

    def _begin_sending(self) -> None:
        # No context manager: most of what a run under a sweep does goes through here.
        if self._sending:
            raise trio.BusyResourceError("another task is writing to this stream")
        self._sending = True

    def _check_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this end of the wire was closed")

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Write all of `data`.  A checkpoint; a cancelled call may have written a part.

        Raises:
            BrokenResourceError: the peer is gone.
            ClosedResourceError: this end was closed, or has sent its end of file.
            BusyResourceError: another task is writing.
        """
        self._begin_sending()
        try:
            self._check_open()
            if self._out.ended:
                raise trio.ClosedResourceError("this end of the wire has sent its end of file")
            if self.torn and len(data):
                self.offences.append("a write after one that was cancelled half-way")
            await trio.lowlevel.checkpoint()
            await self._write(memoryview(bytes(data)))
            if self._kind == "lockstep":
                await self._all_read()
        finally:
            self._sending = False

    async def _all_read(self) -> None:
        out = self._out
        while out.waiting and not out.reader_gone:
            await out.room()
            self._check_open()
        if out.waiting or out.broken:
            raise trio.BrokenResourceError("the other end is gone")

    async def _write(self, data: memoryview) -> None:
        total = len(data)
        stops = [total]
        if self._kind == "tearing" and total > 1:
            stops = sorted({min(_FIRST_PIECE, total), total // 2, total})
        done = 0
        try:
            for stop in stops:
                if done:
                    await trio.lowlevel.checkpoint()
                while True:
                    self._check_open()
                    done += self._out.put(data[done:stop])
                    if done >= stop:
                        break
                    await self._out.room()
        except trio.Cancelled:
            self.torn |= 0 < done < total
            raise

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until there is room.  A checkpoint, cancel-safe.  Raises like `send_all`."""
        self._begin_sending()
        try:
            await trio.lowlevel.checkpoint()
            while True:
                self._check_open()
                self._out.put(memoryview(b""))
                if len(self._out.waiting) < self._out.capacity:
                    return
                await self._out.room()
        finally:
            self._sending = False

    async def send_eof(self) -> None:
        """Say that nothing more will be written.  A checkpoint.  Raises like `send_all`."""
        self._begin_sending()
        try:
            self._check_open()
            await trio.lowlevel.checkpoint()
            self.end()
        finally:
            self._sending = False

    async def wait_read(self) -> None:
        """Wait until the other end has read all that was written, or is gone.  Cancel-safe."""
        await trio.lowlevel.checkpoint()
        while self._out.waiting and not (self._out.reader_gone or self._out.broken):
            await self._out.room()

    def end(self) -> None:
        """`send_eof` without the checkpoint."""
        self._out.ended = True
        self._out.changed()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """The next bytes, or b"" after the peer's end of file.  A checkpoint, cancel-safe.

        Yields as a socket of Trio's does: where bytes wait it takes them and lets others run, where
        none do it sleeps, and returns as soon as it has been woken.

        Raises:
            BrokenResourceError: the connection was reset.
            ClosedResourceError: this end was closed.
            BusyResourceError: another task is reading.
            ReadInterrupted: see `Standby.interrupt`.
        """
        if max_bytes is not None and operator.index(max_bytes) < 1:
            raise ValueError("max_bytes must be at least 1")
        if self._receiving:
            raise trio.BusyResourceError("another task is reading from this stream")
        self._receiving = True
        try:
            standby = self._standby
            if standby is not None and standby.announced:
                standby.announced = False  # to stand by was to sleep
                data = self._take(max_bytes)
            else:
                await trio.lowlevel.checkpoint_if_cancelled()
                data = self._take(max_bytes)
                if data is not None:
                    await trio.lowlevel.cancel_shielded_checkpoint()
            while data is None:
                if standby is not None and standby.interrupted:
                    standby.interrupted = False
                    raise ReadInterrupted
                await self._in.news()
                data = self._take(max_bytes)
            return data
        finally:
            self._receiving = False

    def receive_nowait(self, max_bytes: int | None = None) -> bytes | None:
        """The next bytes, b"" after the peer's end of file, None where there is nothing yet.

        Raises:
            BrokenResourceError: the connection was reset.
            ClosedResourceError: this end was closed.
            BusyResourceError: another task is reading.
        """
        if self._receiving:
            raise trio.BusyResourceError("another task is reading from this stream")
        return self._take(max_bytes)

    def _take(self, most: int | None) -> bytes | None:
        self._check_open()
        if self._in.cut_after == 0:
            self.reset()
        if self._in.broken:
            raise trio.BrokenResourceError("connection reset by the peer")
        return self._in.take(most)

    def reset(self, *, deliver: bool = False) -> None:
        """Break the connection in both directions; what is on its way is lost.

        With `deliver`, the other end first reads what has been written to it.
        """
        self._in.break_off()
        if deliver and self._out.waiting:
            self._out.cut_after = len(self._out.waiting)
            self._out.changed()
        else:
            self._out.break_off()

    def stop_reading(self, *, room: int = 0) -> None:
        """Take nothing in any more: after `room` more bytes the other end's writes block."""
        self._in.held = True
        self._in.capacity = len(self._in.waiting) + room

    def start_reading(self) -> None:
        """Take in what waits, and everything after it."""
        self._in.held = False
        self._in.capacity = math.inf
        self._in.changed()

    def close(self) -> None:
        """Close this end at once: the peer reads what is on its way, then an end.  Idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._standby is not None:
            self._standby.call()
        self._out.ended = True
        self._in.reader_gone = True
        self._out.changed()
        self._in.changed()

    async def aclose(self) -> None:
        """`close`, then a checkpoint.  Closes even if cancelled."""
        self.close()
        await trio.lowlevel.checkpoint()

    @property
    def closed(self) -> bool:
        """Whether this end was closed by its owner."""
        return self._closed


@attrs.define(kw_only=True, eq=False)
class Wire:
    """A connection between the program under test (`client`) and its peer (`server`).

    The verbs are faults of the peer or of the network between; all are synchronous and legal at any
    time.  `offences` lists what the client did that a real network does not forgive.
    """

    name: WireName
    client: WireStream
    server: WireStream
    to_client: Pipe
    to_server: Pipe

    @property
    def offences(self) -> list[str]:
        """What the client did wrong."""
        return self.client.offences

    def drop(self) -> None:
        """The peer goes: reads end after what is on its way, writes break."""
        self.server.close()

    def reset(self, *, after: int = 0) -> None:
        """The connection is reset, at once or after the client has read `after` more bytes."""
        if after:
            self.to_client.cut_after = after
            self.to_client.changed()
        else:
            self.client.reset()

    def half_close(self) -> None:
        """The peer says that it will send no more, and goes on reading."""
        self.server.end()

    def stop_reading(self, *, room: int = 0) -> None:
        """The peer stops reading: after `room` more bytes the client's writes block."""
        self.server.stop_reading(room=room)

    def start_reading(self) -> None:
        """The peer reads again."""
        self.server.start_reading()

    def hold(self) -> None:
        """Keep what the peer sends in the network until `release`."""
        self.to_client.held = True

    def release(self) -> None:
        """Deliver what was held, and everything after it."""
        self.to_client.held = False
        self.to_client.changed()

    def vanish(self, *, room: int = 0) -> None:
        """The network goes silent: nothing arrives on either side any more, and nobody is told."""
        self.hold()
        self.stop_reading(room=room)

    def split(self, size: int) -> None:
        """From now on a read of the client returns at most `size` bytes."""
        self.to_client.chunk = size


def make_wire(name: WireName = "memory") -> Wire:
    """A connected pair of in-memory streams of the kind `name`.

    Raises:
        ValueError: no such kind.
    """
    if name not in WIRES:
        raise ValueError(f"no wire {name!r}; there are {', '.join(WIRES)}")
    to_client, to_server = Pipe(), Pipe()
    # Only the client is torn: it is the program under test, and a torn peer shows nothing more.
    peer: WireName = "lockstep" if name == "lockstep" else "memory"
    return Wire(
        name=name,
        client=WireStream(to_server, to_client, name),
        server=WireStream(to_client, to_server, peer),
        to_client=to_client,
        to_server=to_server,
    )
