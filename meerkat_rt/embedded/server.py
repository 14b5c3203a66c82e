"""The server: sockets in, sessions out, whatever their protocol."""

from __future__ import annotations

import logging
import secrets
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import trio

from .connection import Connection
from .gemini.door import GeminiDoor
from .gemini.shelf import Shelf
from .openai_door import OpenAIDoor
from .options import ServerOptions

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

    from .doors import Door

logger = logging.getLogger("meerkat_rt.embedded")

HANDSHAKE_SLACK = 16  # connections beyond the limit that may be told so; more are dropped unheard


class EmbeddedServer:
    """A server that speaks the OpenAI Realtime protocol and Gemini Live; the path says which.

    Made by `serve_embedded`, or started in a nursery with
    `nursery.start(EmbeddedServer(...).serve)`. `seed` is the prefix of all ids (default: random, so
    that ids of two servers differ).  With an `ssl_context` it speaks TLS.  Gemini
    sessions can be resumed by any server that has the same `shelf` (default: one of its own).
    """

    def __init__(
        self,
        options: ServerOptions | None = None,
        *,
        seed: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        shelf: Shelf | None = None,
    ) -> None:
        self.options = options or ServerOptions()
        shelf = shelf or Shelf(clock=trio.current_time)
        self._doors: tuple[Door, ...] = (
            OpenAIDoor(self.options),
            GeminiDoor(self.options, shelf),
        )
        self._ssl_context = ssl_context
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
        return f"{self._scheme}://{self.authority}/v1/realtime"

    @property
    def gemini_url(self) -> str:
        """The base URL of Gemini Live, as `AiStudio(base_url=...)` takes it.

        Raises:
            RuntimeError: the server does not listen.
        """
        return f"{self._scheme}://{self.authority}"

    @property
    def _scheme(self) -> str:
        return "ws" if self._ssl_context is None else "wss"

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
                await nursery.start(trio.serve_listeners, self._handle_socket, listeners)
                task_status.started(self)
        finally:
            self._authority = None

    async def _handle_socket(self, stream: trio.SocketStream) -> None:
        if self._ssl_context is None:
            await self.handle_stream(stream)
        else:
            # Its own handshake happens with the first byte, so within the deadline of ours.
            await self.handle_stream(
                trio.SSLStream(stream, self._ssl_context, server_side=True, https_compatible=True)
            )

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
            self._doors,
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
    ssl_context: ssl.SSLContext | None = None,
    shelf: Shelf | None = None,
) -> AsyncIterator[EmbeddedServer]:
    """Serve while the block runs; yields the server, which says where to connect to.

    Leaving the block closes every connection (code 1001) and the listening socket, within
    `limits.shutdown_seconds`.  An exception of the block comes out as it is.

    Raises:
        OSError: the address cannot be bound.
    """
    failure: BaseException | None = None
    server = EmbeddedServer(options, seed=seed, ssl_context=ssl_context, shelf=shelf)
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
