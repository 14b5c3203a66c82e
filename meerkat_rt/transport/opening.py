"""From a target to a byte stream: TCP, then TLS where the URL asks for it."""

from __future__ import annotations

import functools
import re
import ssl
from typing import TYPE_CHECKING

import trio

from .base import HandshakeFailed
from .socket_stream import open_tcp
from .tls import open_tls

if TYPE_CHECKING:
    from .base import OpenStream, WebSocketTarget

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])[ \r\n]")

_STREAM_ERRORS = (OSError, trio.BrokenResourceError, trio.ClosedResourceError)


@functools.cache
def default_ssl_context() -> ssl.SSLContext:
    """Return the context of every wss connection that brings none: loading the roots is slow."""
    return ssl.create_default_context()


async def open_byte_stream(
    target: WebSocketTarget, open_stream: OpenStream | None = None
) -> trio.abc.Stream:
    """Open the stream that the WebSocket to `target` will run on.

    `open_stream` replaces TCP; for wss, TLS is laid over its stream as it is over TCP.

    A checkpoint.  Cancelled or failed, it leaves no stream open.

    Raises:
        HandshakeFailed: no stream; `__cause__` is what went wrong.
    """
    host, port = target.host, target.port
    try:
        stream = await (open_tcp if open_stream is None else open_stream)(host, port)
    except _STREAM_ERRORS as error:
        raise HandshakeFailed(f"cannot connect to {target.authority}: {error}") from error
    if not target.secure:
        return stream
    try:
        return await open_tls(stream, target.ssl_context or default_ssl_context(), host)
    except _STREAM_ERRORS as error:
        await trio.aclose_forcefully(stream)
        why = error.__cause__ or error  # Trio's own error says only that the stream is broken
        raise HandshakeFailed(f"no TLS with {target.authority}: {why}") from error
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise


def status_of(answer: bytes | bytearray) -> int | None:
    """Return the status of the HTTP answer that starts with these bytes, or None.

    The libraries report it only for an answer that they could read to its end.
    """
    match = _STATUS_LINE.match(answer)
    return None if match is None else int(match[1])


def refused(
    target: WebSocketTarget, status: int | None, body: bytes, cause: BaseException | None
) -> HandshakeFailed:
    """Make the error for an answer that is no upgrade: a refusal, or something malformed."""
    if status is None or status == 101:  # an upgrade that is not one
        why = "the peer vanished" if cause is None else str(cause)
        error = HandshakeFailed(f"no WebSocket with {target.authority}: {why}")
    else:
        said = body[:200].decode(errors="replace").strip()
        error = HandshakeFailed(
            f"{target.authority} refused the WebSocket with HTTP status {status}"
            + (f": {said}" if said else ""),
            status=status,
            body=body,
        )
    error.__cause__ = cause
    return error
