"""A real client at the near end of an in-memory wire."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager

import trio

from meerkat_rt.transport import HandshakeFailed, TransportClosed, WebSocketTarget, connector


@asynccontextmanager
async def connected(wire):
    """Connect; pings, pongs and close frames are written when there are any."""

    async def open_stream(host, port):
        return wire.client

    async with trio.open_nursery() as nursery:
        transport = await connector("websockets", open_stream=open_stream).connect(
            WebSocketTarget(url="ws://provider.test/v1/realtime?model=m", headers={"x-k": "v"}),
            nursery=nursery,
        )
        client = Client(transport)
        nursery.start_soon(client.flush)
        try:
            yield client
        finally:
            with trio.CancelScope(shield=True):
                await transport.aclose()
            nursery.cancel_scope.cancel()


async def refusal(wire):
    """The error of a connection that cannot be opened."""
    errors = []
    try:
        async with connected(wire):
            pass
    except* HandshakeFailed as group:
        errors += group.exceptions
    (error,) = errors
    return error


class Client:
    def __init__(self, transport):
        self.transport = transport
        self.waiting = []
        self.writing = trio.Lock()
        self.woken = trio.Event()
        transport.on_output(lambda: self.woken.set())

    async def send(self, *frames):
        async with self.writing:
            await self.transport.send([json.dumps(frame).encode() for frame in frames])

    async def flush(self):
        while True:
            await self.woken.wait()
            self.woken = trio.Event()
            try:
                await self.send()
            except TransportClosed:
                return

    async def next(self):
        while not self.waiting:
            self.waiting += await self.transport.receive()
        return json.loads(self.waiting.pop(0))
