"""A socket that waits before it reads, and writes at once.

`trio.SocketStream.receive_some` tries to read first and waits only when nothing was there.  A live
session is nearly always waiting for its next event, so the first try is a system call and an
exception for nothing, on every event.  This stream waits first, except right after a read that
filled the buffer, when more is likely to be there already.

What a session writes is small, and the kernel takes all of it; only what it does not take needs a
loop, and the machinery that goes with it.
"""

from __future__ import annotations

import os
import sys

import trio

from .base import RECEIVE_BUFFER
from .standby import ReadInterrupted, SharedStream, SocketStandby, share_socket


class WaitFirstStream(SharedStream):
    """A TCP stream whose reads wait for data before they ask for it.

    Reading is a checkpoint and cancel-safe.  Writing is a checkpoint; cancelled, nobody knows how
    much was written.
    """

    reads_alone = True

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._descriptor = stream.socket.fileno()  # -1 from the moment that it is closed
        self._more = False  # the last read filled the buffer
        self._writing = False
        self._standby: SocketStandby | None = None

    def standby(self) -> SocketStandby | None:
        """How its reading is shared; None: not on this platform, or there is no descriptor left."""
        if self._standby is None and self._descriptor >= 0:
            self._standby = share_socket(self._descriptor)
        return self._standby

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return what has arrived, at least a byte, or nothing at the end of the stream.

        Raises:
            trio.BrokenResourceError: the connection is broken.
            trio.ClosedResourceError: we closed it.
            trio.BusyResourceError: another task is reading.
            ReadInterrupted: see `Standby.interrupt`.
        """
        size = RECEIVE_BUFFER if max_bytes is None else max_bytes
        standby = self._standby
        while self._descriptor >= 0:
            if standby is not None and standby.announced:
                standby.announced = False
            elif self._more:
                self._more = False
                await trio.lowlevel.checkpoint()
            else:
                if standby is not None and standby.interrupted:
                    standby.interrupted = False
                    raise ReadInterrupted
                try:
                    await trio.lowlevel.wait_readable(self._descriptor)
                except trio.ClosedResourceError:
                    continue  # closed, or interrupted
            data = self.receive_nowait(size)
            if data is not None:  # else a wake-up for nothing, which the kernel is free to give
                self._more = len(data) == size
                return data
        raise trio.ClosedResourceError("this socket was closed")

    def receive_nowait(self, max_bytes: int) -> bytes | None:
        """What has arrived; None: nothing has.

        Raises:
            trio.BrokenResourceError: the connection is broken.
            trio.ClosedResourceError: we closed it.
        """
        # Between a wake-up and this line somebody may have closed the socket, and its number may
        # belong to another one by now.
        self._check_open()
        try:
            return os.read(self._descriptor, max_bytes)
        except BlockingIOError:
            return None
        except OSError as error:
            raise trio.BrokenResourceError(f"socket connection broken: {error}") from error

    def _check_open(self) -> None:
        if self._descriptor < 0:
            raise trio.ClosedResourceError("this socket was closed")

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Write all of `data`.

        Raises:
            trio.BrokenResourceError: the connection is broken.
            trio.ClosedResourceError: we closed it, now or before.
            trio.BusyResourceError: another task is writing.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check_open()
        if self._writing:
            raise trio.BusyResourceError("another task is writing to this stream")
        written = self._write(data)
        if written == len(data):
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        self._writing = True
        try:
            with memoryview(data) as whole:
                while written < len(whole):
                    await self.wait_send_all_might_not_block()
                    written += self._write(whole[written:])
        finally:
            self._writing = False

    def _write(self, data: bytes | bytearray | memoryview) -> int:
        """Write what the kernel takes; return how much that was."""
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise trio.BrokenResourceError(f"socket connection broken: {error}") from error

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until a write may succeed at once.

        Raises:
            trio.ClosedResourceError: we closed it.
        """
        while True:
            self._check_open()
            try:
                await trio.lowlevel.wait_writable(self._descriptor)
            except trio.ClosedResourceError:
                continue  # closed; or a read was interrupted, which wakes whoever writes, too
            self._check_open()
            return

    async def aclose(self) -> None:
        """Close the socket."""
        self._descriptor = -1
        if self._standby is not None:
            self._standby.close()
        await self._stream.aclose()


async def open_tcp(host: str, port: int) -> trio.abc.Stream:
    """Connect to (host, port), racing its addresses (RFC 8305), with TCP_NODELAY set.

    A checkpoint.  Cancelled or failed, it leaves no socket behind.

    Raises:
        OSError: no address of the host could be connected to.
    """
    stream = await trio.open_tcp_stream(host, port)
    # `os.read` knows nothing of sockets on Windows.
    return stream if sys.platform == "win32" else WaitFirstStream(stream)
