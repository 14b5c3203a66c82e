"""What the runtime asks of a transport: batches of messages in, single writes out.

A transport carries whole messages over a Trio stream.  It owns the byte stream and the framing and
nothing else: no hidden tasks that outlive it, no deadlines of its own, no retries.  The link in the
runtime owns the deadlines, reads from exactly one task (the receiver) and writes from exactly one
task (the sender).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

import attrs
import trio

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Mapping, Sequence

RECEIVE_BUFFER = 64 * 1024  # bytes a read; trio-websocket's 4 KiB triples the cost of audio
MAX_MESSAGE_SIZE = 32 * 1024 * 1024  # bytes; a retrieved item may carry minutes of base64 audio

ClosedBy = Literal["us", "peer", "network"]


class TransportClosed(trio.BrokenResourceError):
    """The connection has ended; everything received before has already been handed over.

    `code` and `reason` are those of the close frame (RFC 6455 section 7.4), or None and "" where none
    arrived.  `by` says who ended it: "us", the "peer" (a close frame), or the "network" (the stream
    broke or ended without a close frame; RFC code 1006).
    """

    def __init__(self, code: int | None, reason: str, by: ClosedBy) -> None:
        self.code = code
        self.reason = reason
        self.by: ClosedBy = by
        shown = "without a close frame" if code is None else f"with code {code}"
        super().__init__(f"connection closed by {by} {shown}" + (f": {reason}" if reason else ""))


class HandshakeFailed(trio.BrokenResourceError):
    """The WebSocket could not be opened.

    `status` is the HTTP status of the refused upgrade, or None when the failure was below HTTP (name
    resolution, TCP, TLS, a peer that vanished, a malformed answer).
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        self.status = status
        super().__init__(message)


@attrs.frozen(kw_only=True)
class WebSocketTarget:
    """Where to connect, and how.

    `url` is ws:// or wss://.  `headers` are sent with the upgrade request.  `ssl_context` is used for
    wss (None: the default context).  `compression` offers permessage-deflate where the connector can.
    """

    url: str
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)  # may hold an API key
    subprotocols: Sequence[str] = ()
    ssl_context: ssl.SSLContext | None = attrs.field(default=None, repr=False)
    max_message_size: int = MAX_MESSAGE_SIZE
    compression: bool = False


class Transport(Protocol):
    """One open connection.

    One task reads, one task writes; a second concurrent reader or writer gets
    `trio.BusyResourceError`.  `ping`, `start_close` and `abort` are synchronous and may be called
    by anybody.
    """

    async def receive(self) -> list[bytes]:
        """Return the next batch: the payloads of all messages that one socket read completed.

        At least one.  Text and binary messages alike come as bytes; text has been checked to be
        UTF-8.  Answers to pings and close frames are queued for the writer, who is woken by the
        function given to `on_output`.

        A checkpoint.  Cancel-safe: a cancelled call loses nothing.

        Raises:
            TransportClosed: the connection has ended, after everything received was returned.  A
                message over the size limit or invalid UTF-8 closes with 1009 or 1007, by "us".
        """
        ...

    async def send(self, messages: Sequence[bytes]) -> None:
        """Write queued protocol frames (pongs, pings, close), then `messages` as text frames.

        One write for all of it.  An empty sequence flushes protocol frames only.

        A checkpoint.  NOT cancel-safe: a cancelled write may have cut a frame in half, so it dooms the
        connection: the transport is broken from then on (`send` raises TransportClosed, nothing
        more is written, not even a close frame).

        Raises:
            TransportClosed: the connection has ended or is doomed.
        """
        ...

    def on_output(self, wake: Callable[[], None]) -> None:
        """Call `wake` (synchronously) whenever protocol frames wait for the writer."""
        ...

    def ping(self) -> trio.Event:
        """Queue a ping; the event is set when its pong (or a later one) arrives.  Never blocks."""
        ...

    def start_close(self, code: int = 1000, reason: str = "") -> None:
        """Queue a close frame for the writer.  A second call does nothing.  Never blocks."""
        ...

    async def aclose(self) -> None:
        """Close the stream at once and release the socket.  Idempotent; closes even if cancelled.

        Does not wait for a close handshake: whoever wants grace sends the close frame and waits
        for `receive` to raise, under a deadline, before calling this.
        """
        ...


class Connector(Protocol):
    """Opens transports.  Chosen by name: "websockets" (the default) or "trio-websocket"."""

    @property
    def name(self) -> str:
        """The name it is chosen by."""
        ...

    async def connect(self, target: WebSocketTarget, *, nursery: trio.Nursery) -> Transport:
        """Open a connection and complete the WebSocket handshake.

        `nursery` hosts the tasks that the underlying library needs, if it needs any; the caller keeps
        it alive as long as the transport.  Has no deadline of its own: the caller sets one.

        A checkpoint.  Cancelled or failed, it leaves no socket behind.

        Raises:
            HandshakeFailed: no connection; `status` says what the server answered, if it did.
        """
        ...


OpenStream = "Callable[[str, int], Awaitable[trio.abc.Stream]]"
"""How a connector gets its byte stream for (host, port); tests pass in-memory streams here."""
