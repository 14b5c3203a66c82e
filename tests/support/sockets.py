"""Connected sockets, with TLS or without: a stream of ours at one end, Trio's at the other."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
import trustme

from meerkat_rt.transport.socket_stream import WaitFirstStream
from meerkat_rt.transport.tls import TLSStream, open_tls

Contexts = tuple[ssl.SSLContext, ssl.SSLContext]


def contexts(authority: trustme.CA) -> Contexts:
    """(the context of the server peer.test, the context of a client that trusts it)."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("peer.test", "127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


@asynccontextmanager
async def connected(tls: Contexts | None = None) -> AsyncIterator[tuple[trio.abc.Stream, ...]]:
    """(our end, Trio's end), both closed afterwards; over TLS with these contexts."""
    ours, theirs = (
        trio.SocketStream(trio.socket.from_stdlib_socket(each)) for each in socket.socketpair()
    )
    near: trio.abc.Stream = WaitFirstStream(ours)
    far: trio.abc.Stream = theirs
    try:
        if tls is not None:
            far = trio.SSLStream(theirs, tls[0], server_side=True, https_compatible=True)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(far.do_handshake)
                near = await open_tls(near, tls[1], "peer.test")
        yield near, far
    finally:
        await trio.aclose_forcefully(near)
        await trio.aclose_forcefully(far)


def is_open(near: trio.abc.Stream) -> bool:
    """Whether our end, with TLS or without, still has its socket."""
    below = near._stream if isinstance(near, TLSStream) else near
    assert isinstance(below, WaitFirstStream)
    return below._stream.socket.fileno() >= 0
