"""The scanner against the library, byte for byte: same messages, same answers, same ends."""

from __future__ import annotations

import logging
import random
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from meerkat_rt.transport import (
    BURST_BUFFER,
    RECEIVE_BUFFER,
    TransportClosed,
    WebSocketTarget,
    WebSocketTransport,
)
from meerkat_rt.transport.scanner import FrameScanner

MAX = 100_000
TARGET = WebSocketTarget(url="ws://peer/", max_message_size=MAX)

logging.getLogger("websockets.client").setLevel(logging.CRITICAL + 1)


class Replay(trio.abc.Stream):
    """A stream that gives the pieces of a recording, one a read, and keeps what is written."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = list(pieces)
        self.written = b""

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        return self.pieces.pop(0) if self.pieces else b""

    async def send_all(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.written += data

    async def wait_send_all_might_not_block(self) -> None: ...

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


class LibraryAlone(WebSocketTransport):
    """The reference: every byte goes to the library, one at a time.

    Given more at once, it would act on a later frame before our UTF-8 check sees an earlier one.
    """

    def _parse(self, data: bytes) -> list[bytes]:
        messages: list[bytes] = []
        for index in range(len(data)):
            messages += self._feed_library(data[index : index + 1])
            if self._end is not None:
                break
        return messages


def opened(cls: type[WebSocketTransport], stream: Replay, *, deflate: bool) -> WebSocketTransport:
    protocol = ClientProtocol(
        parse_uri(TARGET.url), max_size=MAX, logger=logging.getLogger("websockets.client")
    )
    server = ServerProtocol()
    protocol.send_request(protocol.connect())
    server.receive_data(b"".join(protocol.data_to_send()))
    (request,) = server.events_received()
    server.send_response(server.accept(request))
    protocol.receive_data(b"".join(server.data_to_send()))
    protocol.events_received()
    assert protocol.state is State.OPEN
    if deflate:
        protocol.extensions = [PerMessageDeflate(True, True, 15, 15)]
    return cls(stream, protocol, TARGET)


def unmasked(blob: bytes) -> list[tuple[int, bytes]]:
    """The control frames that a client has written: first byte and payload of each."""
    found = []
    while blob:
        size = blob[1] & 127
        mask, body = blob[2:6], blob[6 : 6 + size]
        found.append((blob[0], bytes(b ^ mask[i % 4] for i, b in enumerate(body))))
        blob = blob[6 + size :]
    return found


async def outcome(
    cls: type[WebSocketTransport], pieces: list[bytes], *, deflate: bool, close_after: int | None
) -> tuple[list[bytes], tuple[object, ...], list[tuple[int, bytes]]]:
    """What one transport makes of a recording: messages, how it ended, and what it answered."""
    stream = Replay(pieces)
    transport = opened(cls, stream, deflate=deflate)
    messages: list[bytes] = []
    reads = 0
    while True:
        if reads == close_after:
            transport.start_close(1000)
        reads += 1
        try:
            messages += await transport.receive()
        except TransportClosed as closed:
            ending = (closed.code, closed.reason, closed.by)
            break
    with pytest.raises(TransportClosed):
        while True:
            await transport.send(())
    return messages, ending, unmasked(stream.written)


def compare(pieces: list[bytes], *, deflate: bool = False, close_after: int | None = None) -> None:
    async def both() -> None:
        expected = await outcome(LibraryAlone, pieces, deflate=deflate, close_after=close_after)
        found = await outcome(WebSocketTransport, pieces, deflate=deflate, close_after=close_after)
        assert found == expected

    trio.run(both)


def cut(blob: bytes, sizes: list[int]) -> list[bytes]:
    pieces = []
    for size in sizes:
        if not blob:
            break
        pieces.append(blob[:size])
        blob = blob[size:]
    return [*pieces, blob] if blob else pieces


def raw_header(first: int, second: int, length: int) -> bytes:
    """A header as given: lengths in any of the three forms, with any bits."""
    form = second & 127
    extended = {126: 2, 127: 8}.get(form, 0)
    return bytes([first, second]) + (length.to_bytes(8, "big")[-extended:] if extended else b"")


payloads = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=30).map(str.encode),
    st.sampled_from([b"", b"a" * 125, b"b" * 126, b"c" * 1200, "é".encode() * 200]),
)


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    kind = draw(st.integers(0, 19))
    payload = draw(payloads)
    if kind < 7:
        return Frame(Opcode.TEXT, payload).serialize(mask=False)
    if kind < 10:
        return Frame(Opcode.BINARY, payload).serialize(mask=False)
    if kind == 10:
        return Frame(Opcode.TEXT, payload, fin=False).serialize(mask=False)
    if kind in (11, 12):
        return Frame(Opcode.CONT, payload, fin=kind == 12).serialize(mask=False)
    if kind in (13, 14):
        opcode = Opcode.PING if kind == 13 else Opcode.PONG
        return Frame(opcode, payload[:125]).serialize(mask=False)
    if kind == 15:
        return Frame(Opcode.CLOSE, b"\x03\xe8" + payload[:100]).serialize(mask=False)
    if kind == 16:
        return Frame(Opcode.TEXT, payload).serialize(mask=True)
    if kind == 17:  # any two bytes for a header
        return raw_header(draw(st.integers(0, 255)), draw(st.integers(0, 255)), len(payload)) + (
            payload
        )
    if kind == 18:  # a length in a longer form than it needs
        first = draw(st.sampled_from([0x81, 0x82]))
        return raw_header(first, draw(st.sampled_from([126, 127])), len(payload)) + payload
    return raw_header(0x81, 127, draw(st.sampled_from([MAX, MAX + 1, 2**62, 2**63 + 5]))) + payload


@settings(max_examples=250, deadline=None)
@given(
    recording=st.lists(frames(), max_size=14),
    sizes=st.lists(st.one_of(st.integers(1, 12), st.integers(1, 3000)), max_size=30),
    deflate=st.booleans(),
    close_after=st.one_of(st.none(), st.integers(0, 4)),
)
@example(recording=[b"\x81\x00", b"\x00\x80"], sizes=[], deflate=False, close_after=1)
def test_same_as_the_library(
    recording: list[bytes], sizes: list[int], deflate: bool, close_after: int | None
) -> None:
    compare(cut(b"".join(recording), sizes), deflate=deflate, close_after=close_after)


@settings(max_examples=150, deadline=None)
@given(blob=st.binary(max_size=60), sizes=st.lists(st.integers(1, 5), max_size=40))
def test_noise(blob: bytes, sizes: list[int]) -> None:
    compare(cut(blob, sizes))


@pytest.mark.parametrize("seed", range(4))
def test_valid_traffic_cut_anywhere(seed: int) -> None:
    """Long streams in which everything is legal, so that nothing ends them early."""
    rng = random.Random(seed)
    blob = b""
    for _ in range(60):
        body = bytes(
            rng.choice(b"abcdefgh \xc3") for _ in range(rng.choice([0, 3, 130, 9000, 66_000]))
        )
        body = body.replace(b"\xc3", "é".encode())
        roll = rng.random()
        if roll < 0.8:
            blob += Frame(Opcode.TEXT, body).serialize(mask=False)
        elif roll < 0.9:
            blob += Frame(Opcode.PING, body[:100]).serialize(mask=False)
        else:
            blob += Frame(Opcode.TEXT, body, fin=False).serialize(mask=False)
            blob += Frame(Opcode.PING, b"between").serialize(mask=False)
            blob += Frame(Opcode.CONT, body).serialize(mask=False)
    compare(cut(blob, [rng.choice([1, 2, 3, 7, 100, 5000, 65536]) for _ in range(4000)]))


def test_compressed_and_plain_messages_on_one_connection() -> None:
    sender = PerMessageDeflate(True, True, 15, 15)
    plain = Frame(Opcode.TEXT, b"plain" * 30).serialize(mask=False)
    packed = Frame(Opcode.TEXT, b"packed" * 300)
    blob = b"".join(
        plain + packed.serialize(mask=False, extensions=[sender]) + plain for _ in range(3)
    )
    compare(cut(blob, [1] * 300 + [50] * 50), deflate=True)


def test_one_byte_a_read() -> None:
    blob = b"".join(
        Frame(Opcode.TEXT, text).serialize(mask=False) for text in (b"", b"one", b"two" * 100)
    )
    compare([blob[index : index + 1] for index in range(len(blob))])


@pytest.mark.parametrize("left", range(1, 10))
def test_the_end_in_the_middle_of_a_header(left: int) -> None:
    """What the library would have refused already must not pass for a broken network."""
    for first in (0x81, 0xF1, 0x8F):
        for second in (126, 127, 200, 255):
            compare([raw_header(first, second, 1000)[:left]])


def test_common_frames_do_not_reach_the_library() -> None:
    scanner, messages = FrameScanner(MAX), []
    bodies = [b"", b"x" * 10, b"x" * 300, b"x" * 70_000, "é".encode()]
    blob = b"".join(Frame(Opcode.TEXT, body).serialize(mask=False) for body in bodies)
    bodies += (binary := [b"", b"\xff" * 10, b"\xff" * 300, b"\xff" * 70_000])
    blob += b"".join(Frame(Opcode.BINARY, body).serialize(mask=False) for body in binary)
    for piece in cut(blob, [3, 20, 40_000]):
        scanner.feed(piece)
        assert scanner.scan(messages) == b""
    assert messages == bodies
    assert scanner.unparsed() == b""


def test_bytes_of_an_unfinished_frame_are_kept_once() -> None:
    scanner, messages = FrameScanner(MAX), []
    blob = Frame(Opcode.TEXT, b"x" * 1000).serialize(mask=False)
    for piece in (blob[:1], blob[1:3], blob[3:500]):
        scanner.feed(piece)
        assert scanner.scan(messages) == b""
    assert not messages
    assert scanner.unparsed() == blob[:500]


def text(size: int) -> bytes:
    return Frame(Opcode.TEXT, b"x" * size).serialize(mask=False)


@contextmanager
def traced() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("rest", [0, 1, 2, 3, 500, 5_000, 20_000])
def test_a_burst_is_not_kept_in_memory_once_it_is_scanned(rest: int) -> None:
    """But for what the beginning of a frame behind it needs."""
    scanner, messages = FrameScanner(MAX), []
    burst, begun = text(70_000) * 4, text(70_000)
    with traced():
        scanner.feed(bytes(bytearray(burst + begun[:rest])))
        assert scanner.scan(messages) == b""
        assert len(messages) == 4
        messages.clear()
        kept, _ = tracemalloc.get_traced_memory()
    assert kept < 3_000 + 4 * rest
    scanner.feed(begun[rest:])
    assert scanner.scan(messages) == b""
    assert messages == [b"x" * 70_000]


def test_a_large_piece_is_looked_at_and_not_copied() -> None:
    blob = text(1_000_000)
    scanner, messages = FrameScanner(1 << 20), []
    first, last = blob[:900_000], blob[900_000:] + text(2)
    with traced():
        scanner.feed(first)
        assert scanner.scan(messages) == b""
        assert tracemalloc.get_traced_memory()[1] < 10_000
        tracemalloc.reset_peak()
        scanner.feed(last)
        assert scanner.scan(messages) == b""
        assert tracemalloc.get_traced_memory()[1] < 1_010_000
    assert list(map(len, messages)) == [1_000_000, 2]


@pytest.mark.parametrize("before", [b"", text(9)])
def test_a_close_in_the_middle_of_a_payload_gives_the_header_on_once(before: bytes) -> None:
    blob = text(300) + text(5) + text(7)
    compare([before + blob[:100], blob[100:200], blob[200:306], blob[306:]], close_after=1)


@pytest.mark.parametrize("header", [2, 4, 10])
@pytest.mark.parametrize("bad", [False, True])
def test_a_frame_of_many_reads_is_taken_whole_and_judged_whole(header: int, bad: bool) -> None:
    scanner, messages = FrameScanner(MAX), []
    size = {2: 100, 4: 1000, 10: 70_000}[header]
    body = ("é" * (size // 2)).encode()
    body = body[:-2] + b"\xff\xff" if bad else body  # not UTF-8, at its very end
    blob = Frame(Opcode.TEXT, body).serialize(mask=False)
    to_library = b""
    for piece in cut(blob + b"\x81\x02hi", [1, 1, 3, 7, 31]):
        scanner.feed(piece)
        while chunk := scanner.scan(messages):
            to_library += chunk
    assert to_library == (blob if bad else b"")
    assert messages == [*([] if bad else [body]), b"hi"]


def test_an_oversize_frame_is_the_librarys_from_its_header_on() -> None:
    scanner, messages = FrameScanner(100), []
    blob = Frame(Opcode.TEXT, b"x" * 1000).serialize(mask=False)
    scanner.feed(blob[:4])
    assert scanner.scan(messages) == blob[:4]
    scanner.feed(blob[4:] + b"\x81\x02hi")
    assert scanner.scan(messages) == blob[4:]
    assert scanner.scan(messages) == b""
    assert messages == [b"hi"]


class Quiet(Replay):
    """One that says no more, and does not end."""

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if not self.pieces:
            await trio.sleep_forever()
        return await super().receive_some(max_bytes)


@pytest.mark.parametrize("kind", ["a binary message", "control frames"])
async def test_a_quiet_connection_keeps_nothing_of_its_last_read(kind: str) -> None:
    def read() -> bytes:
        if kind == "control frames":
            return Frame(Opcode.PONG, b"x" * 120).serialize(mask=False) * 800
        return Frame(Opcode.BINARY, b"x" * 95_000).serialize(mask=False)

    async def receive() -> None:
        while True:
            await transport.receive()

    transport = opened(WebSocketTransport, stream := Quiet([]), deflate=False)
    with traced():
        async with trio.open_nursery() as nursery:
            stream.pieces.append(read())
            nursery.start_soon(receive)
            await wait_all_tasks_blocked()
            kept, _ = tracemalloc.get_traced_memory()
            nursery.cancel_scope.cancel()
    assert kept < 50_000


async def test_reads_are_large_for_as_long_as_much_comes() -> None:
    asked = []

    class Asked(Replay):
        async def receive_some(self, max_bytes: int | None = None) -> bytes:
            asked.append(max_bytes)
            return await super().receive_some(max_bytes)

    def burst(size: int) -> bytes:
        header = 4 if size - 4 < 65536 else 10
        return Frame(Opcode.TEXT, b"x" * (size - header)).serialize(mask=False)

    sizes = [300, RECEIVE_BUFFER, RECEIVE_BUFFER + 40_000, 2 * RECEIVE_BUFFER, 40_000, 300]
    stream = Asked([burst(size) for size in sizes])
    transport = opened(WebSocketTransport, stream, deflate=False)
    transport._scanner = FrameScanner(BURST_BUFFER)
    for _ in sizes:
        await transport.receive()
    assert asked == [RECEIVE_BUFFER] * 2 + [BURST_BUFFER] * 3 + [RECEIVE_BUFFER]
