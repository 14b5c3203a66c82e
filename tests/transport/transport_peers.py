"""The other side of a transport under test, made of nothing that the transport is made of.

`RawPeer` is a WebSocket server: wsproto for the handshake and for reading what the transport sends,
frames built by hand for what it is sent, so that they may be broken.  `MemoryPeer` holds the far
ends of an in-memory transport.  Both have the same face.
"""

from __future__ import annotations

import functools
import ssl
import struct
from collections import deque
from typing import TYPE_CHECKING

import attrs
import pytest
import trio
import trio.testing
import wsproto
from wsproto import events

from meerkat_rt.transport import TransportClosed, WebSocketTarget, connector
from meerkat_rt.transport.memory import MemoryTransport, _Frame, _Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wsproto.extensions import Extension

    from meerkat_rt.transport import Transport

TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10

PATIENCE = 10  # seconds, far more than anything takes; virtual where the clock is


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> bytes:
    """A frame as a server sends it: RFC 6455 section 5.2, without a mask."""
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    if len(payload) < 126:
        return head + bytes([len(payload)]) + payload
    if len(payload) < 65536:
        return head + b"\x7e" + struct.pack("!H", len(payload)) + payload
    return head + b"\x7f" + struct.pack("!Q", len(payload)) + payload


def close_frame(code: int, reason: str = "") -> bytes:
    return frame(CLOSE, struct.pack("!H", code) + reason.encode())


class RecordingStream(trio.abc.Stream):
    """Passes everything on, and keeps what was written, a list item for each write.

    `piece` cuts writes up, with a checkpoint after each piece, so that a cancelled write is torn.
    """

    def __init__(self, inner: trio.abc.Stream, *, piece: int | None = None) -> None:
        self.inner = inner
        self.piece = piece
        self.writes: list[bytes] = []
        self.closed = False
        self.reads_cancelled = 0

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        data = bytes(data)
        self.writes.append(b"")
        for start in range(0, len(data), self.piece or len(data)):
            part = data[start : start + (self.piece or len(data))]
            await self.inner.send_all(part)
            self.writes[-1] += part

    async def wait_send_all_might_not_block(self) -> None:
        await self.inner.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        try:
            return await self.inner.receive_some(max_bytes)
        except trio.Cancelled:
            self.reads_cancelled += 1
            raise

    async def aclose(self) -> None:
        self.closed = True
        await self.inner.aclose()


class RawPeer:
    """A WebSocket server on one stream."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._protocol = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
        self._heard: deque[tuple[object, ...]] = deque()
        self._text = ""

    async def read_request(self) -> events.Request:
        while True:
            self._protocol.receive_data(bytes(await self.stream.receive_some()))
            for event in self._protocol.events():
                assert isinstance(event, events.Request)
                return event

    async def accept(
        self, *, extensions: Sequence[Extension] = (), then: bytes = b"", **more
    ) -> events.Request:
        """Shake hands; `then` goes out in one write with the answer."""
        request = await self.read_request()
        answer = events.AcceptConnection(extensions=list(extensions), **more)
        await self.stream.send_all(self._protocol.send(answer) + then)
        return request

    async def write(self, *frames: bytes) -> None:
        await self.stream.send_all(b"".join(frames))

    async def say(self, *messages: bytes) -> None:
        await self.write(*(frame(TEXT, message) for message in messages))

    async def ping(self, payload: bytes) -> None:
        await self.write(frame(PING, payload))

    async def pong(self, payload: bytes) -> None:
        await self.write(frame(PONG, payload))

    async def close(self, code: int, reason: str = "") -> None:
        await self.write(close_frame(code, reason))

    async def hear(self) -> tuple[object, ...]:
        """The next thing said by the transport: ("text", str), ("close", code, reason), ..."""
        with trio.fail_after(PATIENCE):
            while not self._heard:
                data = await self.stream.receive_some()
                if not data:
                    return ("end",)
                self._protocol.receive_data(bytes(data))
                for event in self._protocol.events():
                    self._note(event)
        return self._heard.popleft()

    def _note(self, event: events.Event) -> None:
        if isinstance(event, events.TextMessage):
            self._text += event.data
            if event.message_finished:
                self._heard.append(("text", self._text))
                self._text = ""
        elif isinstance(event, events.Ping):
            self._heard.append(("ping", bytes(event.payload)))
        elif isinstance(event, events.Pong):
            self._heard.append(("pong", bytes(event.payload)))
        elif isinstance(event, events.CloseConnection):
            self._heard.append(("close", event.code, event.reason or ""))
        else:
            raise AssertionError(event)

    async def vanish(self) -> None:
        await trio.aclose_forcefully(self.stream)


class MemoryPeer:
    """The far ends of the two wires of a memory transport, and nothing that answers by itself."""

    def __init__(self, to_transport: _Wire, from_transport: _Wire) -> None:
        self._to = to_transport
        self._from = from_transport
        self._heard: deque[_Frame] = deque()

    async def say(self, *messages: bytes) -> None:
        await self._to.put([_Frame(kind="text", payload=message) for message in messages])

    async def ping(self, payload: bytes) -> None:
        await self._to.put([_Frame(kind="ping", payload=payload)])

    async def pong(self, payload: bytes) -> None:
        await self._to.put([_Frame(kind="pong", payload=payload)])

    async def close(self, code: int, reason: str = "") -> None:
        await self._to.put([_Frame(kind="close", payload=reason.encode(), code=code)])

    async def hear(self) -> tuple[object, ...]:
        with trio.fail_after(PATIENCE):
            while not self._heard:
                if self._from.frames:
                    self._heard.extend(self._from.take())
                elif self._from.writer_gone:
                    return ("end",)
                else:
                    await self._from.changed.park()
        heard = self._heard.popleft()
        if heard.kind == "close":
            return ("close", heard.code, heard.payload.decode())
        return (heard.kind, heard.payload.decode() if heard.kind == "text" else heard.payload)

    async def vanish(self) -> None:
        self._to.writer_gone = True
        self._from.reader_gone = True
        self._to.changed.unpark_all()
        self._from.changed.unpark_all()
        await trio.lowlevel.checkpoint()


@attrs.define
class Rig:
    """A transport, its peer, and where they meet."""

    transport: Transport
    peer: RawPeer | MemoryPeer
    stream: RecordingStream | None  # under the transport; None where there are no bytes
    woken: list[float]  # when the writer was woken

    async def receive(self) -> list[bytes]:
        with trio.fail_after(PATIENCE), trio.testing.assert_checkpoints():
            return await self.transport.receive()

    async def send(self, *messages: bytes) -> None:
        with trio.fail_after(PATIENCE), trio.testing.assert_checkpoints():
            await self.transport.send(messages)


def streams_for(wire: str) -> tuple[trio.abc.Stream, trio.abc.Stream]:
    """A connected pair; on a "lockstep" pair a write waits until all of it was read."""
    if wire == "lockstep":
        return trio.testing.lockstep_stream_pair()
    return trio.testing.memory_stream_pair()


def connector_on(name: str, stream: trio.abc.Stream):
    """The connector of that name, for one connection over `stream`."""

    async def open_stream(_host: str, _port: int) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        return stream

    return connector(name, open_stream=open_stream)


async def open_rig(
    name: str,
    nursery: trio.Nursery,
    *,
    wire: str = "memory",
    piece: int | None = None,
    capacity: int = 4096,
    accept: Callable[[RawPeer], object] = RawPeer.accept,
    tls: tuple[ssl.SSLContext, ssl.SSLContext] | None = None,
    **target,
) -> Rig:
    """Connect a transport of the named kind to a peer.  `tls` is (the peer's, the transport's)."""
    woken: list[float] = []
    if name == "memory":
        there, back = _Wire(capacity), _Wire(capacity)
        transport = MemoryTransport(back, there, target.get("max_message_size", 2**25))
        rig = Rig(transport, MemoryPeer(back, there), None, woken)
    else:
        near, far = streams_for(wire)
        stream = RecordingStream(near, piece=piece)
        if tls is not None:
            far = trio.SSLStream(far, tls[0], server_side=True, https_compatible=True)
            target |= {"ssl_context": tls[1], "url": "wss://peer.test/v1/realtime"}
        peer = RawPeer(far)
        where = WebSocketTarget(**({"url": "ws://peer.test/v1/realtime"} | target))
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as opening:
                opening.start_soon(functools.partial(accept, peer))
                with trio.testing.assert_checkpoints():
                    transport = await connector_on(name, stream).connect(where, nursery=nursery)
        stream.writes.clear()
        rig = Rig(transport, peer, stream, woken)
    rig.transport.on_output(lambda: woken.append(trio.current_time()))
    return rig


async def ended(rig) -> tuple[int | None, str, str]:
    """How the reader is told that it is over; it is told the same again and again."""
    with pytest.raises(TransportClosed) as first:
        await rig.receive()
    with pytest.raises(TransportClosed) as second:
        await rig.receive()
    assert str(first.value) == str(second.value)
    assert first.value is not second.value
    error = first.value
    return error.code, error.reason, error.by


async def refused(rig, *messages: bytes) -> tuple[int | None, str, str]:
    with pytest.raises(TransportClosed) as caught:
        await rig.transport.send(messages)
    return caught.value.code, caught.value.reason, caught.value.by
