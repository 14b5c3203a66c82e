"""The server's end of a WebSocket on a Trio stream, with faults at command.

It drives the sans-I/O server protocol of `websockets`.  One task reads, always, so that pings and
close frames are answered while a script is busy elsewhere; what to send is the script's business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio
from websockets.frames import Opcode
from websockets.http11 import Request
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from .wires import WireStream

if TYPE_CHECKING:
    from collections.abc import Callable

    from websockets.frames import Frame

_READ_SIZE = 64 * 1024  # bytes


class ClientGone(AssertionError):
    """The client closed, broke or left the connection while the script still had a use for it."""


@attrs.frozen
class CloseFrame:
    """A close frame: its code (1005 for none, RFC 6455 section 7.4.1) and reason."""

    code: int
    reason: str


class WebSocketPeer:
    """A WebSocket server for one connection that is already open as a byte stream.

    `run` must be running in a task of its own; it hands every complete message to `on_message`
    (text as `str`, binary as `bytes`), and calls `on_news` when the upgrade request has come
    (`request`), when a pong has (`pongs` counts them) and when nothing more will come from the
    client (`gone`). `pings` counts the client's own. `client_close` is the client's close frame, if
    it sent one.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        on_message: Callable[[str | bytes], object],
        on_news: Callable[[], object],
    ) -> None:
        self.stream = stream
        self.request: Request | None = None
        self.gone = False
        self.pongs = 0
        self.pings = 0
        self.binary = False  # whether `send_message` sends binary frames, as Gemini does
        self._on_message = on_message
        self._on_news = on_news
        self._protocol = ServerProtocol(max_size=None)
        self._writing = trio.Lock()
        self._fragments: list[bytes] = []
        self._text = False
        self._silent = False
        self._corked: list[bytes] | None = None  # what goes out in one write
        self._hearing = trio.Event()
        self._hearing.set()
        self._read_scope = trio.CancelScope()

    @property
    def open(self) -> bool:
        """Whether the upgrade is done and no close frame has gone either way."""
        return self._protocol.state is OPEN

    @property
    def client_close(self) -> CloseFrame | None:
        """The close frame that the client sent, if it has."""
        close = self._protocol.close_rcvd
        return None if close is None else CloseFrame(int(close.code), close.reason)

    # -- reading --------------------------------------------------

    async def run(self) -> None:
        """Read until the client is gone, and answer pings and close frames."""
        try:
            while await self._read_once():
                pass
        except (trio.BrokenResourceError, trio.ClosedResourceError, ClientGone):
            pass
        finally:
            self.gone = True
            self._on_news()

    async def _read_once(self) -> bool:
        if not self._hearing.is_set():
            await self._hearing.wait()
        data: bytes | bytearray | None = None
        if isinstance(self.stream, WireStream):
            data = await self.stream.receive_some(_READ_SIZE)  # it stops reading by itself
        else:
            with trio.CancelScope() as self._read_scope:
                data = await self.stream.receive_some(_READ_SIZE)
        if data is None:
            return True  # told to stop reading
        if data:
            self._protocol.receive_data(bytes(data))
        else:
            self._protocol.receive_eof()
            self.gone = True  # at once: while an answer is flushed a script may want to write
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self.request = event
                self._on_news()
            else:
                # A server's events are its client's request and frames; the types allow a response.
                self._frame_came(event)  # type: ignore[arg-type]
        await self._flush()
        return bool(data)

    def _frame_came(self, frame: Frame) -> None:
        match frame.opcode:
            case Opcode.TEXT | Opcode.BINARY | Opcode.CONT:
                if frame.opcode is not Opcode.CONT:
                    self._text = frame.opcode is Opcode.TEXT
                self._fragments.append(bytes(frame.data))
                if frame.fin:
                    whole = b"".join(self._fragments)
                    self._fragments.clear()
                    self._on_message(whole.decode() if self._text else whole)
            case Opcode.PONG:
                self.pongs += 1
                self._on_news()
            case Opcode.PING:
                self.pings += 1  # the protocol answers it
            case _:
                pass  # the protocol answers close frames

    # -- writing --------------------------------------------------

    async def _flush(self) -> None:
        """Write what the protocol has to say; close the stream when it says so."""
        pieces = self._protocol.data_to_send()
        if not pieces or self._silent:
            return
        await self._turn_to_write()
        try:
            for data in pieces:
                if not data:
                    if self._corked:
                        corked, self._corked = self._corked, []
                        await self._write(b"".join(corked))
                    await self.stream.aclose()
                elif self._corked is None:
                    await self._write(data)
                else:
                    self._corked.append(data)
        finally:
            self._writing.release()

    async def _turn_to_write(self) -> None:
        """Take the lock: first come, first served, so the pieces stay in order.

        Yields only where somebody has it: each step of a peer is a point of every sweep.
        """
        if self._writing.locked():
            await self._writing.acquire()
        else:
            self._writing.acquire_nowait()

    async def _write(self, data: bytes) -> None:
        try:
            await self.stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise ClientGone("the client is gone: it can be sent nothing more") from exc

    async def accept(self, *, subprotocol: str | None = None) -> None:
        """Answer the upgrade request, which must have come, with 101."""
        if self.request is None or self.gone:
            raise ClientGone("the client has left, and waits for no answer to an upgrade request")
        if subprotocol is not None:
            self._protocol.available_subprotocols = [Subprotocol(subprotocol)]
        self._protocol.send_response(self._protocol.accept(self.request))
        await self._flush()
        if self._protocol.handshake_exc is not None:
            raise ClientGone(f"bad upgrade request: {self._protocol.handshake_exc}")

    async def reject(self, status: int, text: str = "") -> None:
        """Answer the upgrade request with an HTTP error, and close."""
        self._protocol.send_response(self._protocol.reject(status, text))
        await self._flush()

    def _check_open(self) -> None:
        if not self.open:
            raise ClientGone(f"the connection is {self._protocol.state.name.lower()}")

    async def send_text(self, text: str) -> None:
        """Send one text frame.  Raises ClientGone when the connection is closing or closed."""
        self._check_open()
        self._protocol.send_text(text.encode())
        await self._flush()

    async def send_message(self, text: str) -> None:
        """Send text as the server at hand does, see `binary`.  Raises like `send_text`."""
        self._check_open()
        self._put(text)
        await self._flush()

    def _put(self, text: str) -> None:
        send = self._protocol.send_binary if self.binary else self._protocol.send_text
        send(text.encode())

    async def send_binary(self, data: bytes) -> None:
        """Send one binary frame.  Raises like `send_text`."""
        self._check_open()
        self._protocol.send_binary(data)
        await self._flush()

    async def send_fragments(self, *parts: str) -> None:
        """Send one text message in several frames.  Raises like `send_text`."""
        self._check_open()
        last = len(parts) - 1
        for number, part in enumerate(parts):
            send = self._protocol.send_text if number == 0 else self._protocol.send_continuation
            send(part.encode(), number == last)
        await self._flush()

    async def send_bytes(self, data: bytes) -> None:
        """Put bytes on the stream that are no frame of the protocol's making.  For garbage."""
        async with self._writing:
            await self._write(data)

    def encoded(self, text: str) -> bytes:
        """A message's frame as the bytes to be sent; the protocol believes that it was.

        Raises like `send_text`.
        """
        self._check_open()
        self._put(text)
        return b"".join(self._protocol.data_to_send())

    async def ping(self, payload: bytes = b"") -> None:
        """Send a ping; `pongs` counts the answers.  Raises like `send_text`."""
        self._check_open()
        self._protocol.send_ping(payload)
        await self._flush()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Send a close frame.  The stream is closed when the client has answered it."""
        self._check_open()
        self._protocol.send_close(code, reason)
        await self._flush()

    # -- faults ---------------------------------------------------

    async def cut_frame(self, text: str, *, keep: int | None = None) -> None:
        """Send the first `keep` bytes (half) of a message's frame, then reset the connection."""
        whole = self.encoded(text)
        await self.send_bytes(whole[: len(whole) // 2 if keep is None else keep])
        if isinstance(self.stream, WireStream):
            self.stream.reset(deliver=True)
        else:
            await trio.aclose_forcefully(self.stream)

    async def drop(self) -> None:
        """Close the stream without a close frame."""
        await trio.aclose_forcefully(self.stream)

    async def half_close(self) -> None:
        """Send the stream's end of file without a close frame, and go on reading.

        Raises ClientGone when the client is gone.
        """
        self._silent = True
        if isinstance(self.stream, trio.abc.HalfCloseableStream):
            async with self._writing:
                try:
                    await self.stream.send_eof()
                except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
                    raise ClientGone("the client is gone: it can be sent no end either") from exc

    def cork(self) -> None:
        """Gather what is sent from now on, until `uncork`."""
        if self._corked is None:
            self._corked = []

    async def uncork(self) -> None:
        """Send what was gathered, in one write.  Raises ClientGone when the client is gone."""
        gathered, self._corked = self._corked, None
        if gathered:
            await self.send_bytes(b"".join(gathered))

    def stop_reading(self, *, room: int = 0) -> None:
        """Read nothing more, not even a close frame.

        On an in-memory wire the client's writes block after `room` more bytes; on a real socket,
        when the kernel's buffers are full.
        """
        self._hearing = trio.Event()
        self._read_scope.cancel("the peer stops reading")
        if isinstance(self.stream, WireStream):
            self.stream.stop_reading(room=room)

    def start_reading(self) -> None:
        """Read again."""
        self._hearing.set()
        if isinstance(self.stream, WireStream):
            self.stream.start_reading()

    def go_silent(self) -> None:
        """Go on reading, but never write again: no pong, no answer to a close frame."""
        self._silent = True
