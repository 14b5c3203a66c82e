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


class WaitFirstStream(trio.abc.Stream):
    """A TCP stream whose reads wait for data before they ask for it.

    Reading is a checkpoint and cancel-safe.  Writing is a checkpoint; cancelled, nobody knows how
    much was written.
    """

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._descriptor = stream.socket.fileno()  # -1 from the moment that it is closed
        self._more = False  # the last read filled the buffer
        self._writing = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return what has arrived, at least a byte, or nothing at the end of the stream.

        Raises:
            trio.BrokenResourceError: the connection is broken.
            trio.ClosedResourceError: we closed it.
            trio.BusyResourceError: another task is reading.
        """
        size = RECEIVE_BUFFER if max_bytes is None else max_bytes
        if self._more:
            data: bytes = await self._stream.receive_some(size)
            self._more = len(data) == size
            return data
        while True:
            if self._descriptor < 0:
                raise trio.ClosedResourceError("this socket was closed")
            await trio.lowlevel.wait_readable(self._descriptor)
            # Between the wake-up and this line somebody may have closed the socket, and its number
            # may belong to another one by now.
            if self._descriptor < 0:
                raise trio.ClosedResourceError("this socket was closed")
            try:
                data = os.read(self._descriptor, size)
                self._more = len(data) == size
                return data
            except BlockingIOError:
                continue  # a wake-up for nothing, which the kernel is free to give
            except OSError as error:
                raise trio.BrokenResourceError(f"socket connection broken: {error}") from error

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Write all of `data`.

        Raises:
            trio.BrokenResourceError: the connection is broken.
            trio.ClosedResourceError: we closed it, now or before.
            trio.BusyResourceError: another task is writing.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._descriptor < 0:
            raise trio.ClosedResourceError("this socket was closed")
        if self._writing:
            raise trio.BusyResourceError("another task is writing to this stream")
        try:
            written = os.write(self._descriptor, data)
        except BlockingIOError:
            written = 0
        except OSError as error:
            raise trio.BrokenResourceError(f"socket connection broken: {error}") from error
        if written == len(data):
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        self._writing = True
        try:
            with memoryview(data) as whole:
                await self._stream.send_all(whole[written:])
        finally:
            self._writing = False

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until a write may succeed at once."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close the socket."""
        self._descriptor = -1
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
