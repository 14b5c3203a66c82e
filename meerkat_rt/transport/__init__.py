"""Frames over a Trio stream: connect, receive a batch, send, close.

The README beside this file says what each transport guarantees and why there are two libraries.
"""

from __future__ import annotations

from .base import BURST_BUFFER as BURST_BUFFER
from .base import MAX_MESSAGE_SIZE as MAX_MESSAGE_SIZE
from .base import RECEIVE_BUFFER as RECEIVE_BUFFER
from .base import ClosedBy as ClosedBy
from .base import Connector as Connector  # noqa: TC001
from .base import HandshakeFailed as HandshakeFailed
from .base import OpenStream as OpenStream  # noqa: TC001
from .base import Transport as Transport
from .base import TransportClosed as TransportClosed
from .base import WebSocketTarget as WebSocketTarget
from .memory import MemoryConnector as MemoryConnector
from .memory import MemoryTransport as MemoryTransport
from .memory import memory_transport_pair as memory_transport_pair
from .trio_websocket import TrioWebSocketConnector as TrioWebSocketConnector
from .trio_websocket import TrioWebSocketTransport as TrioWebSocketTransport
from .websocket import WebSocketConnector as WebSocketConnector
from .websocket import WebSocketTransport as WebSocketTransport

_CONNECTORS: dict[str, type[WebSocketConnector | TrioWebSocketConnector]] = {
    WebSocketConnector.name: WebSocketConnector,
    TrioWebSocketConnector.name: TrioWebSocketConnector,
}


def connector(
    name: str = WebSocketConnector.name, *, open_stream: OpenStream | None = None
) -> Connector:
    """Return the connector of that name: "websockets" (the default) or "trio-websocket".

    `open_stream` replaces TCP with streams of the caller's own.

    Raises:
        ValueError: no such connector; the message names those there are.
    """
    try:
        chosen = _CONNECTORS[name]
    except KeyError:
        choices = ", ".join(repr(choice) for choice in _CONNECTORS)
        raise ValueError(f"no transport is called {name!r}; choose one of {choices}") from None
    return chosen(open_stream=open_stream)
