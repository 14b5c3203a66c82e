"""A plain WebSocket client of the embedded server that holds every frame against the oracle."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager

import trio
from support.openai_oracle import check
from trio_websocket import ConnectionClosed, wrap_client_stream

from meerkat_rt.embedded import AccessPolicy, Quirks, ServerLimits, ServerOptions

PATIENCE = 10  # seconds; real ones in socket tests, so far more than anything takes

FAST = ServerLimits(close_seconds=0.5)


def options(**changes: object) -> ServerOptions:
    """Server options for tests: as fast as possible, with what is given for access and limits."""
    access = {k: changes.pop(k) for k in ("token", "models", "calls") if k in changes}
    return ServerOptions(
        **{
            "pace": None,
            "limits": FAST,
            "quirks": Quirks(),
            "access": AccessPolicy(**access),
            **changes,
        }
    )


class Client:
    """One connection.  Frames are checked unless `oracle` is False."""

    def __init__(self, ws, *, oracle: bool = True) -> None:
        self.ws = ws
        self.oracle = oracle
        self.seen: list[dict] = []

    async def send(self, *events: dict) -> None:
        """Send valid events."""
        for event in events:
            check(event, "client")
            await self.ws.send_message(json.dumps(event))

    async def next(self) -> dict:
        """The next event."""
        with trio.fail_after(PATIENCE):
            frame = await self.ws.get_message()
        event = json.loads(frame)
        if self.oracle:
            check(event, "server")
        self.seen.append(event)
        return event

    async def until(self, kind: str) -> list[dict]:
        """All events up to and including the first of that type."""
        events = [await self.next()]
        while events[-1]["type"] != kind:
            assert events[-1]["type"] != "error" or kind == "error", events[-1]
            events.append(await self.next())
        return events

    async def closed(self) -> tuple[int, str | None]:
        """Read to the end; the code and reason of the close frame."""
        try:
            while True:
                await self.next()
        except ConnectionClosed as closed:
            return closed.reason.code, closed.reason.reason


@asynccontextmanager
async def connect(url: str, *, headers=(), subprotocols=(), oracle: bool = True):
    """A client on a real socket.

    The stream is ours: the library leaves it open when the server closes first.
    """
    authority, _, resource = url.removeprefix("ws://").partition("/")
    host, _, port = authority.rpartition(":")
    with trio.fail_after(2 * PATIENCE):
        stream = await trio.open_tcp_stream(host, int(port))
        try:
            async with trio.open_nursery() as nursery:
                ws = await wrap_client_stream(
                    nursery,
                    stream,
                    authority,
                    f"/{resource}",
                    extra_headers=list(headers),
                    subprotocols=list(subprotocols),
                    max_message_size=64 * 1024 * 1024,
                    receive_buffer_size=65536,
                    message_queue_size=64,
                )
                yield Client(ws, oracle=oracle)
                with trio.move_on_after(1):
                    await ws.aclose()
                nursery.cancel_scope.cancel()
        finally:
            await trio.aclose_forcefully(stream)


async def over_stream(nursery, stream, *, resource: str = "/v1/realtime?model=m", **kwargs):
    """A client on any stream, which the caller closes."""
    return Client(await wrap_client_stream(nursery, stream, "test", resource, **kwargs))
