"""The real providers with their connections on wires: an application's own code meets a peer.

A wire is one connection.  At its far end a scripted peer serves (`openai_peer`, `gemini_peer`), at
the near one the provider dials as ever, upgrade and all, and the application notices nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from ..providers.gemini import AiStudio
from ..runtime.factories import OpenAIRealtime
from ..runtime.factories_gemini import GeminiLive
from ..transport import connector

if TYPE_CHECKING:
    from ..transport import Connector
    from .wires import Wire


def openai_on(*wires: Wire, transport: str = "websockets", **settings: Any) -> OpenAIRealtime:
    """The OpenAI provider, which dials these wires in turn instead of the network.

    The first connection is the client's end of the first wire, and so on; one more is refused, as
    by a server that is down.  `transport` is "websockets" or "trio-websocket"; `settings` are
    further arguments of `OpenAIRealtime`.  The ids that its sessions mint are the same in each run.
    """
    given = {"api_key": "k", "base_url": "ws://peer/v1/realtime", "seed": 1, **settings}
    return OpenAIRealtime(connector=_dialling(wires, transport), **given)


def gemini_on(*wires: Wire, transport: str = "websockets", **settings: Any) -> GeminiLive:
    """The Gemini provider, which dials these wires in turn; otherwise as `openai_on`."""
    given = {"platform": AiStudio(api_key="k", base_url="ws://peer"), "seed": 1, **settings}
    return GeminiLive(connector=_dialling(wires, transport), **given)


def _dialling(wires: tuple[Wire, ...], transport: str) -> Connector:
    left = list(wires)

    async def open_stream(_host: str, _port: int) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        if not left:
            raise OSError("connection refused: there is no wire for one more")
        return left.pop(0).client

    return connector(transport, open_stream=open_stream)
