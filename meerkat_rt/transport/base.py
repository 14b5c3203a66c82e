"""What the runtime asks of a transport: batches of messages in, single writes out.

A transport carries whole messages over a Trio stream.  It owns the byte stream and the framing and
nothing else: no hidden tasks that outlive it, no deadlines of its own, no retries.  The link in the
runtime owns the deadlines, reads from one task at a time (the receiver, or for it whoever waits for
the session's events) and writes from exactly one (the sender).
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Protocol
from urllib.parse import urlsplit

import attrs
import trio

if TYPE_CHECKING:
    from .standby import Arrival, Standby

RECEIVE_BUFFER = 64 * 1024  # bytes a read; trio-websocket's 4 KiB triples the cost of audio
BURST_BUFFER = 1024 * 1024  # bytes a read after one that filled the buffer
MAX_MESSAGE_SIZE = 32 * 1024 * 1024  # bytes; a retrieved item may carry minutes of base64 audio

ClosedBy = Literal["us", "peer", "network"]

OpenStream = Callable[[str, int], Awaitable[trio.abc.Stream]]
"""How a connector gets its byte stream for (host, port); tests pass in-memory streams here."""


class TransportClosed(trio.BrokenResourceError):
    """The connection has ended; everything received before has already been handed over.

    `by` says who ended it, and with it whose `code` and `reason` these are (RFC 6455 section 7.4):

    * "us": we began the close (`start_close`, or the peer broke the protocol: 1002, 1007, 1009),
      and they are those of our close frame; or we cut the stream (`aclose`, a cancelled `send`),
      and they are None and "".
    * "peer": it began the close, and they are those of its close frame (1005 for a frame without a
      code).
    * "network": the stream broke or ended without a close frame (1006 in the RFC); they are None
      and "", and `__cause__` is the error of the stream, if it gave one.
    """

    def __init__(self, code: int | None, reason: str, by: ClosedBy) -> None:
        self.code = code
        self.reason = reason
        self.by: ClosedBy = by
        shown = "without a close frame" if code is None else f"with code {code}"
        super().__init__(f"connection closed by {by} {shown}" + (f": {reason}" if reason else ""))


class HandshakeFailed(trio.BrokenResourceError):
    """The WebSocket could not be opened.

    `status` is the HTTP status of the refused upgrade, or None when the failure was below HTTP
    (name resolution, TCP, TLS, a peer that vanished, a malformed answer).  `body` is what the
    server said about a refusal, as far as it arrived.
    """

    def __init__(self, message: str, *, status: int | None = None, body: bytes = b"") -> None:
        self.status = status
        self.body = body
        super().__init__(message)


# RFC 9110 section 5.1 and 5.5: what a header may be made of.  Anything else, a line break above
# all, would let a value write headers of its own.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")
_OWN_HEADERS = frozenset({"host", "upgrade", "connection"})  # and everything sec-websocket-*


def _check_url(_instance: object, _attribute: object, url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss"):
        raise ValueError(f"a WebSocket URL starts with ws:// or wss://, not {parts.scheme!r}")
    if not parts.hostname:
        raise ValueError("a WebSocket URL needs a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a WebSocket URL carries no credentials: put them into a header")
    if parts.fragment:
        raise ValueError("a WebSocket URL has no fragment")
    if not url.isascii() or any(character <= " " for character in url):
        raise ValueError("a WebSocket URL is ASCII without blanks: percent-encode the rest")
    parts.hostname.encode("idna")  # UnicodeError, a ValueError: a label that DNS cannot carry
    if parts.port == 0:  # reading it raises ValueError for a port out of range
        raise ValueError("port 0 cannot be connected to")


def _check_headers(_instance: object, _attribute: object, headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"not a header name: {name!r}")
        if not _HEADER_VALUE.fullmatch(value):
            raise ValueError(f"the value of header {name!r} is not printable ASCII")  # may be a key
        if name.lower() in _OWN_HEADERS or name.lower().startswith("sec-websocket-"):
            raise ValueError(f"header {name!r} belongs to the WebSocket handshake")


def _shown_url(url: str) -> str:
    base, question_mark, _ = url.partition("?")  # some providers take their API key in the query
    return repr(base + ("?..." if question_mark else ""))


@attrs.frozen(kw_only=True)
class WebSocketTarget:
    """Where to connect, and how.

    `url` is ws:// or wss://.  `headers` are sent with the upgrade request.  `ssl_context` is used
    for wss (None: the default context).  `max_message_size` is in bytes, after decompression.
    `compression` offers permessage-deflate where the connector can.

    Raises:
        ValueError: a URL that no WebSocket can be opened to, a header that HTTP cannot carry or
            that belongs to the handshake, or a size that is not positive.
    """

    url: str = attrs.field(validator=_check_url, repr=_shown_url)
    headers: Mapping[str, str] = attrs.field(
        factory=dict, validator=_check_headers, repr=False
    )  # not shown: may hold an API key
    subprotocols: Sequence[str] = ()
    ssl_context: ssl.SSLContext | None = attrs.field(default=None, repr=False)
    max_message_size: int = attrs.field(default=MAX_MESSAGE_SIZE, validator=attrs.validators.gt(0))
    compression: bool = False

    @property
    def secure(self) -> bool:
        """Whether the connection is to be encrypted (wss)."""
        return urlsplit(self.url).scheme == "wss"

    @property
    def host(self) -> str:
        """The host to connect to: a name, or an address without its brackets."""
        host = urlsplit(self.url).hostname
        assert host is not None  # the validator saw to it
        return host

    @property
    def port(self) -> int:
        """The port to connect to: the URL's, or the scheme's own."""
        return urlsplit(self.url).port or (443 if self.secure else 80)

    @property
    def resource(self) -> str:
        """The path and query to ask for."""
        parts = urlsplit(self.url)
        return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")

    @property
    def authority(self) -> str:
        """The host and, unless it is the scheme's own, the port: the value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"


class Transport(Protocol):
    """One open connection.

    One task reads at a time, one task writes; a second concurrent reader or writer gets
    `trio.BusyResourceError`.  `on_output`, `ping` and `start_close` are synchronous and may be
    called by anybody; none of them writes: that is the writer's work alone.

    `heard_at` is the time (`trio.current_time()`) of the last read that returned anything, be it a
    piece of a message, a pong or a ping of the peer's; -inf before the first.
    """

    heard_at: float

    async def receive(self) -> list[bytes]:
        """Return the next batch: the payloads of all messages that one socket read completed.

        At least one, unless the read was interrupted (see `standby`).  Text and binary messages
        alike come as bytes; text has been checked to be UTF-8.  Answers to pings and close frames
        are queued for the writer, who is woken by the function given to `on_output`; nothing is
        answered while nobody receives.

        A checkpoint.  Cancel-safe: a cancelled call loses nothing.

        Raises:
            TransportClosed: the connection has ended, after everything received was returned.  A
                message over the size limit or invalid UTF-8 closes with 1009 or 1007, by "us".
                Raised as soon as the close frame of the peer is seen; the answer to it still waits
                for the writer then, and `send(())` writes it.
            trio.BusyResourceError: another task is receiving.
        """
        ...

    def standby(self) -> Standby | None:
        """How two tasks share the work of calling `receive`; None: they cannot.  Asked once.

        While `pending`, the one that stands by has to be called, and must not stand by: what is
        there already is nothing that the stream would wake it for.
        """
        ...

    def pending(self) -> bool:
        """Whether `receive` has something to return, or to raise, without reading."""
        ...

    def arrival(self) -> Arrival | None:
        """How the one that has entered may wait instead of calling `receive`, which costs more.

        What came is then to be had from `receive_nowait`.  None: only `receive` knows how to wait.
        """
        ...

    def receive_nowait(self) -> list[bytes]:
        """What `receive` would return at once; nothing, if it would wait.

        An end that it finds is `pending`.  Only where there is an `arrival`.  No checkpoint.

        Raises:
            trio.BusyResourceError: another task is receiving.
        """
        ...

    async def send(self, messages: Sequence[bytes]) -> None:
        """Write queued protocol frames (pongs, pings, close), then `messages` as text frames.

        One write for all of it.  An empty sequence flushes protocol frames only.  `messages` are
        refused once either side has begun to close: what is owed goes before `start_close`.

        A checkpoint.  NOT cancel-safe: a cancelled write may have cut a frame in half, so it dooms
        the connection: the transport is broken from then on (`send` raises TransportClosed, nothing
        more is written, not even a close frame).  Only a call that is cancelled before it starts
        has no effect.  `receive` still hands over what arrives.

        Raises:
            TransportClosed: the connection has ended or is doomed.  Protocol frames that could
                still be written have been.
            trio.BusyResourceError: another task is sending.
        """
        ...

    def on_output(self, wake: Callable[[], None]) -> None:
        """Call `wake` (synchronously) whenever protocol frames wait for the writer.

        Called at once if some wait already.  There is one such function: the latest given.
        """
        ...

    def ping(self) -> trio.Event:
        """Queue a ping; the event is set when its pong (or a later one) arrives.  Never blocks.

        Once the connection has ended or is closing nothing is queued and the event is never set:
        wait for it under a deadline.  While many pings are unanswered no more are queued, and the
        event is that of the last.
        """
        ...

    def start_close(self, code: int = 1000, reason: str = "") -> None:
        """Queue a close frame for the writer.  A second call does nothing.  Never blocks.

        Does nothing either once the connection has ended.  A reason longer than a close frame can
        carry is cut.  `receive` goes on until the peer has answered.

        Raises:
            ValueError: a code that no close frame may carry (RFC 6455 section 7.4).
        """
        ...

    async def aclose(self) -> None:
        """Close the stream at once and release the socket.  Idempotent; closes even if cancelled.

        Does not wait for a close handshake: whoever wants grace sends the close frame and waits
        for `receive` to raise, under a deadline, before calling this.  A task that is receiving or
        sending gets TransportClosed.

        A checkpoint.
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

        `nursery` hosts the tasks that the underlying library needs, if it needs any; the caller
        keeps it alive as long as the transport.  Has no deadline of its own: the caller sets one.

        A checkpoint.  Cancelled or failed, it leaves no socket behind.

        Raises:
            HandshakeFailed: no connection; `status` says what the server answered, if it did.
        """
        ...
