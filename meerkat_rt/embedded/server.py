"""The server: sockets in, sessions out."""

from __future__ import annotations

import logging
import secrets
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import trio

from .connection import Connection
from .options import ServerOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

logger = logging.getLogger("meerkat_rt.embedded")

HANDSHAKE_SLACK = 16  # connections beyond the limit that may be told so; more are dropped unheard


class EmbeddedServer:
    """A server that speaks the OpenAI Realtime protocol.

    Made by `serve_embedded`, or started in a nursery with
    `nursery.start(EmbeddedServer(...).serve)`. `seed` is the prefix of all ids (default: random, so
    that ids of two servers differ).
    """

    def __init__(self, options: ServerOptions | None = None, *, seed: str | None = None) -> None:
        self.options = options or ServerOptions()
        self._seed = secrets.token_hex(3) if seed is None else seed
        self._opened = 0
        self._connections = 0
        self._authority: str | None = None

    @property
    def authority(self) -> str:
        """Host and port, for instance "127.0.0.1:49321".

        Raises:
            RuntimeError: the server does not listen.
        """
        if self._authority is None:
            raise RuntimeError("the server is not listening")
        return self._authority

    @property
    def url(self) -> str:
        """The WebSocket URL of the Realtime endpoint, without a model.

        Raises:
            RuntimeError: the server does not listen.
        """
        return f"ws://{self.authority}/v1/realtime"

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return self._connections

    async def serve(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        task_status: trio.TaskStatus[EmbeddedServer] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Listen until cancelled.  Cancellation closes every connection with code 1001.

        Raises:
            OSError: the address cannot be bound.
        """
        listeners = await trio.open_tcp_listeners(port, host=host)
        self._authority = _authority(listeners[0])
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(trio.serve_listeners, self.handle_stream, listeners)
                task_status.started(self)
        finally:
            self._authority = None

    async def handle_stream(self, stream: trio.abc.Stream) -> None:
        """Serve one client on a stream, which is closed on return.

        Cancellation closes the connection with code 1001, bounded by `limits.shutdown_seconds`.
        """
        limit = self.options.limits.max_connections
        if self._connections >= limit + HANDSHAKE_SLACK:
            await trio.aclose_forcefully(stream)
            return
        self._connections += 1
        self._opened += 1
        connection = Connection(
            stream,
            self.options,
            seed=f"{self._seed}{self._opened:04x}",
            full=lambda: self._connections > limit,
        )
        try:
            await connection.run()
        except Exception:
            # A bug of ours in one connection must not take the others down.
            logger.exception("a connection failed")
        finally:
            self._connections -= 1


def _authority(listener: trio.SocketListener) -> str:
    host, port = listener.socket.getsockname()[:2]
    if host in {"0.0.0.0", "::"}:
        host = "127.0.0.1"  # listening everywhere includes here, and that can be connected to
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@asynccontextmanager
async def serve_embedded(
    options: ServerOptions | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    seed: str | None = None,
) -> AsyncIterator[EmbeddedServer]:
    """Serve while the block runs; yields the server, whose `url` is where to connect.

    Leaving the block closes every connection (code 1001) and the listening socket, within
    `limits.shutdown_seconds`.  An exception of the block comes out as it is.

    Raises:
        OSError: the address cannot be bound.
    """
    failure: BaseException | None = None
    server = EmbeddedServer(options, seed=seed)
    async with trio.open_nursery() as nursery:
        try:
            await nursery.start(partial(server.serve, host=host, port=port))
            yield server
        except trio.Cancelled:
            raise
        except BaseException as error:
            failure = error
        nursery.cancel_scope.cancel(reason="the block has been left")
    if failure is not None:
        raise failure
