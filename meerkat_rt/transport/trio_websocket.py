"""The other transport: trio-websocket, kept on a short lead.

The library has a reader task of its own that reads ahead, answers pings and close frames by itself,
and takes its time about ending.  Here it gets a stream of ours in place of the socket (`_Wire`):

* It reads once for each call of `receive` that wants more, so that a batch is what one read held,
  and a slow receiver slows the peer and not the memory.  The receiver is woken once a read.
* What it writes is queued for our writer.  There is one write for everything, and nothing follows a
  torn frame.
* Its own close handshake is not used.  It would wait without a deadline, throw away what had been
  received, and fail when the peer pings meanwhile.  Close frames and messages are encoded by
  wsproto, which the library encodes them with too; without extensions a frame needs no context.
* Its tasks live in the caller's nursery, but each in a cancel scope that `aclose` cancels and
  waits for, and no error of theirs gets out (`_Tasks`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
import trio_websocket
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, TextMessage
from wsproto.frame_protocol import Opcode

from .base import RECEIVE_BUFFER
from .core import MESSAGE_TOO_BIG, Ending, TransportCore
from .opening import open_byte_stream, refused, status_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from .base import OpenStream, WebSocketTarget

# The reader must not wait for room: it would never come back for its next read, which is how a
# batch is known to be complete.  The smallest message takes two bytes of it.
_QUEUE = RECEIVE_BUFFER // 2

# The library forgets the messages it has queued when it meets one over its limit.  With a limit of
# at least one read nothing else can have been in that read; a smaller limit is ours to enforce.
_LEAST_LIBRARY_LIMIT = RECEIVE_BUFFER

_STREAM_ERRORS = (trio.BrokenResourceError, trio.ClosedResourceError)


class _Tasks:
    """The library's tasks: in the caller's nursery, but ours to stop, and silent when they fail."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.failure: Exception | None = None
        self._nursery = nursery
        self._scopes: set[trio.CancelScope] = set()
        self._idle = trio.lowlevel.ParkingLot()

    def start(self, task: Callable[..., Awaitable[object]], *arguments: object) -> None:
        scope = trio.CancelScope()
        self._scopes.add(scope)
        self._nursery.start_soon(self._run, scope, task, arguments, name="trio-websocket")

    async def _run(
        self,
        scope: trio.CancelScope,
        task: Callable[..., Awaitable[object]],
        arguments: tuple[object, ...],
    ) -> None:
        try:
            with scope:
                await task(*arguments)
        except Exception as error:
            # A refusal comes this way, and the library's own faults.  In the caller's nursery it
            # would crash a session that could have reported it.
            self.failure = self.failure or error
        finally:
            self._scopes.discard(scope)
            if not self._scopes:
                self._idle.unpark_all()

    def stop(self) -> None:
        """Cancel all tasks; they end without waiting for anything."""
        for scope in self._scopes:
            scope.cancel(reason="the transport has ended")

    async def wait_ended(self) -> None:
        """Wait for all tasks, after `stop`; not cancellable, but they wait for nothing."""
        if self._scopes:
            with trio.CancelScope(shield=True):
                await self._idle.park()


class _ReaderNursery:
    """Given to the library in place of a nursery, to start its reader in.

    The library waits for its reader to finish the handshake, and nothing ends that wait if the
    reader ends first: the peer vanished, or refused.  `handshake` is cancelled then.
    """

    def __init__(self, tasks: _Tasks, wire: _Wire) -> None:
        self.handshake = trio.CancelScope()
        self._tasks = tasks
        self._wire = wire

    def start_soon(self, reader: Callable[[], Awaitable[object]]) -> None:
        self._tasks.start(self._read, reader)

    async def _read(self, reader: Callable[[], Awaitable[object]]) -> None:
        try:
            await reader()
        finally:
            self.handshake.cancel(reason="the reader has ended")
            self._wire.reader_ended()
            self._tasks.stop()  # nobody else would end a ping that waits for its pong


class _Wire(trio.abc.Stream):
    """What the library has for a stream: it reads when told to, and writes to our queue."""

    def __init__(self, stream: trio.abc.Stream, queue: Callable[[bytes], None]) -> None:
        self.waiting = False  # the reader has handed on all it read, and wants to be told to go on
        self.ended = False  # the stream has ended, or broken with `cause`
        self.cause: Exception | None = None
        self.answer = bytearray()  # the head of the peer's answer to the handshake
        self._stream = stream
        self._queue = queue
        self._requested = False
        self._opened = False
        self._demand = trio.lowlevel.ParkingLot()
        self._rest = trio.lowlevel.ParkingLot()

    # -- for the transport --

    def read_on(self) -> None:
        """Let the reader read once more."""
        self.waiting = False
        self._demand.unpark()

    async def wait_waiting(self) -> None:
        """Wait until the reader has handed on all that it has read, or has ended."""
        await self._rest.park()

    def reader_ended(self) -> None:
        """Note that there is no reader any more."""
        self.waiting = True
        self._rest.unpark_all()

    # -- for the library --

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if self._opened:
            self.waiting = True
            self._rest.unpark_all()
            while self.waiting:
                await self._demand.park()
        try:
            data = await self._stream.receive_some(RECEIVE_BUFFER)
        except _STREAM_ERRORS as error:
            self.ended, self.cause = True, error
            raise
        if not data:
            self.ended = True
        if not self._opened:
            self._note_answer(data)
        return data

    def _note_answer(self, data: bytes | bytearray) -> None:
        # From the upgrade on, the reader goes on only when told to.  A refusal is read to its end.
        if status_of(self.answer) in (None, 101):
            self.answer += data
        self._opened = status_of(self.answer) == 101 and b"\r\n\r\n" in self.answer

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if not self._requested:
            # The request of the handshake: nobody but the library writes yet.
            self._requested = True
            try:
                await self._stream.send_all(data)
            except _STREAM_ERRORS as error:
                self.ended, self.cause = True, error  # the library would keep it to itself
                raise
            return
        await trio.lowlevel.checkpoint_if_cancelled()
        self._queue(bytes(data))
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """The stream is ours to close, not the library's."""
        await trio.lowlevel.checkpoint()


class TrioWebSocketTransport(TransportCore[bytes]):
    """A connection of `TrioWebSocketConnector`; see `Transport` for what its methods promise."""

    def __init__(
        self, stream: trio.abc.Stream, target: WebSocketTarget, nursery: trio.Nursery
    ) -> None:
        super().__init__()
        self._stream = stream
        self._max_message_size = target.max_message_size
        self._tasks = _Tasks(nursery)
        self._wire = _Wire(stream, self._library_wrote)
        self._encoder = Connection(ConnectionType.CLIENT)
        self._echo: bytes | None = None  # the close frame that the library has written
        self._websocket: trio_websocket.WebSocketConnection

    async def open(self, target: WebSocketTarget) -> None:
        """Shake hands.  Raises HandshakeFailed; closing the transport is left to the caller."""
        reader = _ReaderNursery(self._tasks, self._wire)
        with reader.handshake:
            self._websocket = await trio_websocket.wrap_client_stream(
                reader,  # type: ignore[arg-type]  # all it uses of a nursery is start_soon
                self._wire,  # type: ignore[arg-type]  # any stream will do
                target.authority,
                target.resource,
                subprotocols=list(target.subprotocols),
                extra_headers=[(n.encode(), v.encode()) for n, v in target.headers.items()],
                message_queue_size=_QUEUE,
                max_message_size=max(target.max_message_size, _LEAST_LIBRARY_LIMIT),
            )
        if reader.handshake.cancelled_caught:
            failure = self._tasks.failure or self._wire.cause
            body = getattr(failure, "body", None) or b""
            raise refused(target, status_of(self._wire.answer), body, failure)

    async def receive(self) -> list[bytes]:
        """Return the messages that one read of the stream completed; see `Transport.receive`."""
        if self._reading:
            raise trio.BusyResourceError("another task is receiving on this transport")
        self._reading = True
        try:
            waited = False
            while True:
                if self._wire.waiting:
                    self._take()
                if self._ready or self._end is not None:
                    break
                self._wire.read_on()
                await self._wire.wait_waiting()
                self.heard_at = trio.current_time()
                waited = True
            if not waited:
                await trio.lowlevel.checkpoint()
            messages, self._ready = self._ready, []
            if messages:
                return messages
        finally:
            self._reading = False
        assert self._end is not None
        raise self._end.error()

    def _take(self) -> None:
        """Move what the library has queued to `_ready`, and note whether it has ended."""
        # The library can only be asked for one message, and only by waiting for it; its channel is
        # the one private name that is used here.
        channel = self._websocket._recv_channel
        while self._end is None:
            try:
                message = channel.receive_nowait()
            except trio.WouldBlock:
                break
            except trio.EndOfChannel:
                self._library_ended()
            except trio.ClosedResourceError:
                # The library closes this end of its channel for one reason, and empties it.
                self._fail(MESSAGE_TOO_BIG, f"a message over {self._max_message_size} bytes")
            else:
                payload = message.encode() if isinstance(message, str) else bytes(message)
                # The library counts characters, and may have been given a higher limit.
                if len(payload) > self._max_message_size:
                    self._fail(MESSAGE_TOO_BIG, f"a message over {self._max_message_size} bytes")
                else:
                    self._ready.append(payload)

    def _library_ended(self) -> None:
        closed = self._websocket.closed
        if self._echo is not None and closed is not None:
            if self._closing is None:
                self._queue(self._echo)
            self._closed_by_peer(closed.code, closed.reason or "")
        elif self._wire.ended:
            self._closed_by_network(self._wire.cause)
        elif closed is not None:
            # The peer broke the protocol.  The library says so to us, and to the peer nothing.
            self._fail(closed.code, closed.reason or "")
        else:
            self._finish(Ending(None, "", "us", self._tasks.failure))

    def _library_wrote(self, frame: bytes) -> None:
        opcode = frame[0] & 0x0F  # RFC 6455 section 5.2
        if opcode == Opcode.CLOSE:
            # Queued when the receiver has learned of the end: the sender would not know yet that
            # this is the last frame.
            self._echo = frame
        elif opcode == Opcode.PONG:
            self._answer(frame)
        elif not self._ended_or_closing():
            self._queue(frame)

    def _encode(self, messages: Sequence[bytes]) -> list[bytes]:
        return [self._encoder.send(TextMessage(data=message.decode())) for message in messages]

    def _encode_ping(self, payload: bytes) -> None:
        # Only the library sees the pongs, and it tells of them only to whoever pings through it.
        self._tasks.start(self._ping, payload)

    async def _ping(self, payload: bytes) -> None:
        try:
            await self._websocket.ping(payload)
        except trio_websocket.ConnectionClosed:
            return
        self._pong_came(payload)

    def _encode_close(self, code: int, reason: str) -> bytes:
        return self._encoder.send(CloseConnection(code=code, reason=reason))

    async def _write(self, frames: list[bytes]) -> None:
        await self._stream.send_all(b"".join(frames))

    async def _release(self) -> None:
        self._tasks.stop()
        try:
            await trio.aclose_forcefully(self._stream)
        finally:
            await self._tasks.wait_ended()


class TrioWebSocketConnector:
    """Opens WebSockets with trio-websocket.

    `open_stream` replaces TCP; TLS for wss is laid over it.  Has no permessage-deflate.
    """

    name = "trio-websocket"

    def __init__(self, *, open_stream: OpenStream | None = None) -> None:
        self._open_stream = open_stream

    async def connect(
        self, target: WebSocketTarget, *, nursery: trio.Nursery
    ) -> TrioWebSocketTransport:
        """Open a connection; see `Connector.connect`.  Starts the library's reader in `nursery`."""
        stream = await open_byte_stream(target, self._open_stream)
        transport = TrioWebSocketTransport(stream, target, nursery)
        try:
            await transport.open(target)
        except BaseException:
            await transport.aclose()
            raise
        return transport
