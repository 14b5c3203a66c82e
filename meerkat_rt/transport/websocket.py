"""The default transport: the sans-I/O protocol of `websockets`, driven on a Trio stream.

The library parses and masks (in C); whoever reads feeds it, the sender's task writes what it
produced.  There is no task in between, so a read of the socket is one batch, and there is no lock,
so nothing can be lost by a cancelled owner of one.

Nearly all frames are whole text frames without anything special; those are cut out by a scanner
and do not reach the library, see there.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, cast

import trio
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus
from websockets.extensions.permessage_deflate import enable_client_permessage_deflate
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from .base import BURST_BUFFER, RECEIVE_BUFFER
from .core import INVALID_DATA, TransportCore, is_text
from .opening import open_byte_stream, refused, status_of
from .scanner import FrameScanner
from .standby import ReadInterrupted, SharedStream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from websockets.typing import Subprotocol

    from .base import OpenStream, WebSocketTarget
    from .standby import Arrival, Standby

# The library writes every header to its debug log, an API key among them, and formats each frame
# for it.  Its own logger would do so for whoever turns debugging on for everything; this one never
# does.
_LOGGER = logging.getLogger("meerkat_rt.transport.websockets")
_LOGGER.setLevel(logging.INFO)

_TEXT = Opcode.TEXT
_BINARY = Opcode.BINARY
_CONTINUATION = Opcode.CONT
_PONG = Opcode.PONG

_FEW = 4096  # bytes of a read that is likely to hold one frame, or a few

_STATUS_LINE_BYTES = 16  # "HTTP/1.1 401 " and a little
_END_OF_HEADERS = b"\r\n\r\n"

_STREAM_ERRORS = (trio.BrokenResourceError, trio.ClosedResourceError)


class WebSocketTransport(TransportCore[bytes]):
    """A connection of `WebSocketConnector`; see `Transport` for what its methods promise."""

    def __init__(
        self, stream: trio.abc.Stream, protocol: ClientProtocol, target: WebSocketTarget
    ) -> None:
        super().__init__()
        self._stream = stream
        self._shared = stream if isinstance(stream, SharedStream) else None
        self._protocol = protocol
        self._scanner = FrameScanner(target.max_message_size)
        self._read_size = RECEIVE_BUFFER
        # The fragments of an unfinished message.  One buffer, not a list of them: a peer may send
        # its message a byte a frame.
        self._partial = bytearray()
        self._partial_is_text = True

    def standby(self) -> Standby | None:
        """How two tasks share its reading: as its stream's is; see `Transport.standby`."""
        return None if self._shared is None else self._shared.standby()

    def arrival(self) -> Arrival | None:
        """How to wait for what `receive_nowait` returns; see `Transport.arrival`."""
        if self._shared is None or not self._shared.reads_alone:
            return None
        standby = self._shared.standby()
        return None if standby is None else standby.arrival

    def pending(self) -> bool:
        """Whether `receive` has something to say at once; see `Transport.pending`."""
        if self._end is not None or self._ready:
            return True
        return self._shared is not None and self._shared.pending()

    def start(self, data: bytes) -> None:
        """Begin with what came in one read with the answer to the handshake."""
        self._ready = self._parse(data)

    async def receive(self) -> list[bytes]:
        """Return the messages that one read of the stream completed; see `Transport.receive`."""
        if self._reading:
            raise trio.BusyResourceError("another task is receiving on this transport")
        self._reading = True
        try:
            if self._ready or self._end is not None:
                await trio.lowlevel.checkpoint()
            messages, self._ready = self._ready, []
            while not messages and self._end is None:
                try:
                    data = bytes(await self._stream.receive_some(self._read_size))
                except ReadInterrupted:
                    return messages
                except _STREAM_ERRORS as error:
                    self._closed_by_network(error)
                    break
                messages = self._came(data)
                del data  # which may be long, and what comes next may be long in coming
            if messages:
                return messages
        finally:
            self._reading = False
        assert self._end is not None
        raise self._end.error()

    def receive_nowait(self) -> list[bytes]:
        """What `receive` would return at once; see `Transport.receive_nowait`."""
        if self._reading:
            raise trio.BusyResourceError("another task is receiving on this transport")
        if self._ready or self._end is not None:
            messages, self._ready = self._ready, []
            return messages
        assert self._shared is not None
        try:
            data = self._shared.receive_nowait(self._read_size)
        except _STREAM_ERRORS as error:
            self._closed_by_network(error)
            return []
        return [] if data is None else self._came(data)

    def _came(self, data: bytes) -> list[bytes]:
        """The messages that a read has completed; it may have been the last."""
        if not data:
            messages = self._feed_library(self._scanner.unparsed())
            self._closed_by_network(None)
            return messages
        self.heard_at = trio.current_time()
        # Much at once is followed by more.  And who reads less than there is can keep the kernel
        # from opening the window, and gets no more than what fills it ever after.
        self._read_size = BURST_BUFFER if len(data) >= RECEIVE_BUFFER else RECEIVE_BUFFER
        few = self._scanner.whole(data) if len(data) <= _FEW else None
        return self._parse(data) if few is None or self._closing is not None else few

    def _parse(self, data: bytes) -> list[bytes]:
        """Turn what was read into messages; note what else it says."""
        scanner = self._scanner
        if self._closing is not None:
            # The library knows what still counts during a close, and which of its own mistakes the
            # peer has been told of.
            return self._feed_library(scanner.unparsed() + data)
        messages: list[bytes] = []
        scanner.feed(data)
        while chunk := scanner.scan(messages):
            messages += self._feed_library(chunk)
            if self._end is not None:
                break
        return messages

    def _feed_library(self, data: bytes) -> list[bytes]:
        if not data:
            return []
        self._protocol.receive_data(data)
        # All frames: the one event that is none, the answer to the handshake, came first.
        return self._take(cast("list[Frame]", self._protocol.events_received()))

    def _take(self, frames: Sequence[Frame]) -> list[bytes]:
        """Turn the library's frames into messages; note what else they and their answers say."""
        if answers := self._protocol.data_to_send():
            self._queue_answers(answers)
        messages: list[bytes] = []
        for frame in frames:
            opcode = frame.opcode
            if opcode is _TEXT or opcode is _BINARY:
                if not frame.fin:
                    self._scanner.fragmented = True
                    self._partial += frame.data
                    self._partial_is_text = opcode is _TEXT
                    continue
                payload = bytes(frame.data)
                text = opcode is _TEXT
            elif opcode is _CONTINUATION:
                self._partial += frame.data
                if not frame.fin:
                    continue
                self._scanner.fragmented = False
                payload = bytes(self._partial)
                text = self._partial_is_text
                self._partial.clear()
            else:
                if opcode is _PONG:
                    self._pong_came(bytes(frame.data))
                continue  # pings and the close were seen to by the protocol
            if text and not is_text(payload):
                self._fail(INVALID_DATA, "a text message is not UTF-8")
                return messages
            messages.append(payload)
        if self._protocol.state is not State.OPEN:
            self._note_close()
        return messages

    def _queue_answers(self, answers: list[bytes]) -> None:
        # An empty write asks for a half-close of TCP; the stream is closed as a whole, by `aclose`.
        pongs = [answer for answer in answers if answer]
        if pongs and self._closing is None and self._protocol.state is not State.OPEN:
            # The last answer closed the protocol: it echoes the peer's close frame, or says what
            # the peer did wrong.
            self._queue(pongs.pop())
        for pong in pongs:
            self._answer(pong)

    def _note_close(self) -> None:
        received, sent = self._protocol.close_rcvd, self._protocol.close_sent
        if received is not None:
            # Asked first: a close frame amid a fragmented message is to the library an error as
            # well.
            self._closed_by_peer(int(received.code), received.reason)
        elif self._closing is None:
            assert sent is not None
            self._fail(int(sent.code), sent.reason)

    def _encode(self, messages: Sequence[bytes]) -> list[bytes]:
        for message in messages:
            self._protocol.send_text(message)
        return self._protocol.data_to_send()

    def _encode_ping(self, payload: bytes) -> bytes:
        self._protocol.send_ping(payload)
        return b"".join(self._protocol.data_to_send())

    def _encode_close(self, code: int, reason: str) -> bytes | None:
        if self._protocol.state is not State.OPEN:
            return None  # the protocol has sent one of its own, which waits for the writer
        self._protocol.send_close(code, reason)
        return b"".join(self._protocol.data_to_send())

    async def _write(self, frames: list[bytes]) -> None:
        await self._stream.send_all(frames[0] if len(frames) == 1 else b"".join(frames))

    async def _release(self) -> None:
        await trio.aclose_forcefully(self._stream)


class WebSocketConnector:
    """Opens WebSockets with the `websockets` protocol: the default.

    `open_stream` replaces TCP; TLS for wss is laid over it.
    """

    name = "websockets"

    def __init__(self, *, open_stream: OpenStream | None = None) -> None:
        self._open_stream = open_stream

    async def connect(
        self, target: WebSocketTarget, *, nursery: trio.Nursery
    ) -> WebSocketTransport:
        """Open a connection; see `Connector.connect`.  Starts nothing in `nursery`."""
        stream = await open_byte_stream(target, self._open_stream)
        try:
            return await _shake_hands(stream, target)
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise


async def _shake_hands(stream: trio.abc.Stream, target: WebSocketTarget) -> WebSocketTransport:
    protocol = ClientProtocol(
        parse_uri(target.url),
        extensions=enable_client_permessage_deflate(None) if target.compression else None,
        subprotocols=cast("list[Subprotocol]", list(target.subprotocols)) or None,
        max_size=target.max_message_size,
        logger=_LOGGER,
    )
    request = protocol.connect()
    request.headers.update(target.headers)
    protocol.send_request(request)
    answer = bytearray()  # its beginning, for the status of an answer that is cut short
    rest = b""  # frames that came in one read with the answer
    seam = b""  # the end of what has been read, which may be half of the end of the headers
    try:
        await stream.send_all(b"".join(protocol.data_to_send()))
        while _undecided(protocol):
            data = bytes(await stream.receive_some(RECEIVE_BUFFER))
            answer += data[: _STATUS_LINE_BYTES - len(answer)]
            if not data:
                protocol.receive_eof()
                break
            found = (seam + data).find(_END_OF_HEADERS)
            cut = len(data) if found < 0 else found + len(_END_OF_HEADERS) - len(seam)
            seam = (seam + data)[-len(_END_OF_HEADERS) + 1 :]
            rest = data[cut:]
            protocol.receive_data(data[:cut])
            if rest and _undecided(protocol):
                protocol.receive_data(rest)  # the body of a refusal
    except _STREAM_ERRORS as error:
        raise refused(target, status_of(answer), b"", error) from error
    failure = protocol.handshake_exc
    if failure is not None:
        body = bytes(failure.response.body or b"") if isinstance(failure, InvalidStatus) else b""
        raise refused(target, status_of(answer), body, failure)
    protocol.events_received()  # the answer, which has been looked at
    transport = WebSocketTransport(stream, protocol, target)
    transport.start(rest)
    return transport


def _undecided(protocol: ClientProtocol) -> bool:
    return protocol.state is State.CONNECTING and protocol.handshake_exc is None
