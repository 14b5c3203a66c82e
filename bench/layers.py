"""What one event costs in each room, alone: CPU microseconds, on the same frames.

A layer is fed what the one before it made, in memory and without tasks, so that a regression names
its room.  `calibration` is a loop of ordinary Python that nothing in this project can change:
layers are compared with it, and so from one machine to another.  A transport has a second measure:
most of its work is to carry bytes, and what memory costs beside a bytecode differs by more than
half between processors; `carry` does the least of it that any transport does.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Iterable
from itertools import accumulate
from typing import Any

import trio
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from meerkat_rt import (
    GeminiLive,
    OpenAIRealtime,
    RealtimeSessionOpenConfig,
    RealtimeTurningMode,
    SessionLlmIdentity,
)
from meerkat_rt.runtime.event_lane import EventLane
from meerkat_rt.runtime.limits import SessionLimits
from meerkat_rt.transcript import TranscriptAuthority
from meerkat_rt.transport import BURST_BUFFER, WebSocketTarget, WebSocketTransport
from meerkat_rt.turn.machine import SessionMachine

from . import gemini
from .parsers import gemini_parser, openai_parser
from .workloads import WORKLOADS

LAYERS = ("transport", "decode", "dialect", "machine", "transcript", "lane")
_MEASURED = ("transport", "carry", "decode", "codec", "machine", "transcript", "lane")
BATCH = 96
CALIBRATION_ROUNDS = 20_000

Found = dict[str, list[float]]
"""CPU microseconds an event, by layer."""


class Recording(trio.abc.Stream):
    """A stream that hands out what others have read, a burst at a time."""

    def __init__(self, reads: Iterable[bytes]) -> None:
        self._reads = iter(reads)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return next(self._reads, b"")

    async def send_all(self, data: bytes | bytearray | memoryview) -> None: ...

    async def wait_send_all_might_not_block(self) -> None: ...

    async def aclose(self) -> None: ...


def opened(stream: trio.abc.Stream) -> WebSocketTransport:
    """Our transport on a stream, its handshake done."""
    target = WebSocketTarget(url="ws://localhost/")
    protocol = ClientProtocol(parse_uri(target.url), max_size=target.max_message_size)
    server = ServerProtocol()
    protocol.send_request(protocol.connect())
    server.receive_data(b"".join(protocol.data_to_send()))
    (request,) = server.events_received()
    server.send_response(server.accept(request))  # type: ignore[arg-type]
    protocol.receive_data(b"".join(server.data_to_send()))
    protocol.events_received()
    return WebSocketTransport(stream, protocol, target)


class Bed:
    """One workload, taken apart.  Each method returns CPU microseconds an event."""

    def __init__(self, workload: str, units: int) -> None:
        provider: OpenAIRealtime | GeminiLive
        if workload == gemini.WORKLOAD:
            provider, model = GeminiLive(api_key="bench"), "gemini-live-2.5-flash"
            self._frames, parser = list(gemini.messages(units)), gemini_parser
        else:
            provider, model = OpenAIRealtime(api_key="bench"), "bench"
            self._frames, parser = list(WORKLOADS[workload].messages(units)), openai_parser
        self._parsers = list(map(parser, self._frames))
        self._n = len(self._frames)
        framed = [Frame(Opcode.TEXT, f).serialize(mask=False) for f in self._frames]
        self._blob = b"".join(framed)
        ends = list(accumulate(map(len, framed)))
        self._payloads = [(end - len(f), end) for f, end in zip(self._frames, ends, strict=True)]
        starts = range(0, len(self._blob), BURST_BUFFER)
        self._reads = [self._blob[start : start + BURST_BUFFER] for start in starts]
        config = RealtimeSessionOpenConfig(
            RealtimeTurningMode.PROVIDER_MANAGED, SessionLlmIdentity(model=model)
        )
        self._settings = provider.settings(config)
        self._dialect = provider.dialect(config)
        self._decoded = self._dialect.codec("link").decode_all(self._frames)
        machine = SessionMachine(self._settings)
        self._events, self._transcript = [], []
        for start in range(0, len(self._decoded), BATCH):
            for event in self._decoded[start : start + BATCH]:
                machine.observe(event, 0.0)
            events, transcript, _ = machine.drain()
            self._events.append(events)
            self._transcript.append(transcript)

    def _cost(self, work: Callable[[], object]) -> float:
        gc.collect()
        start = time.process_time()
        work()
        return (time.process_time() - start) / self._n * 1e6

    def transport(self) -> float:
        """Bytes to messages."""
        return trio.run(self._receive) / self._n * 1e6

    async def _receive(self) -> float:
        transport = opened(Recording(self._reads))
        left, start = self._n, time.process_time()
        while left:
            left -= len(await transport.receive())
        return time.process_time() - start

    def carry(self) -> float:
        """The least of it: each message is cut out, and looked through for what is not text."""
        blob = self._blob

        def work() -> None:
            for start, end in self._payloads:
                blob[start:end].isascii()

        return self._cost(work)

    def decode(self) -> float:
        """Messages to typed frames.  Nothing is kept: audio would have to be paged in."""

        def work() -> None:
            for parse, frame in zip(self._parsers, self._frames, strict=True):
                parse(frame)

        return self._cost(work)

    def codec(self) -> float:
        """Messages to neutral events, which is `decode` and the dialect."""
        decode_all = self._dialect.codec("link").decode_all

        def work() -> None:
            for start in range(0, self._n, BATCH):
                decode_all(self._frames[start : start + BATCH])

        return self._cost(work)

    def machine(self) -> float:
        """Neutral events to those of the session."""
        machine = SessionMachine(self._settings)

        def work() -> None:
            for start in range(0, len(self._decoded), BATCH):
                machine.observe_all(self._decoded[start : start + BATCH], 0.0)
                machine.drain()

        return self._cost(work)

    def transcript(self) -> float:
        """Transcript events to canonical messages, a batch at once."""
        apply = TranscriptAuthority(keep_heard_prefix=True).apply_all

        def work() -> None:
            for batch in self._transcript:
                apply(batch)

        return self._cost(work)

    def lane(self) -> float:
        """Session events to the application's hands, without a second task."""
        return trio.run(self._read) / self._n * 1e6

    async def _read(self) -> float:
        lane = EventLane(
            SessionLimits(), self._settings.output_format, lambda *_: None, lambda _: None
        )
        start = time.process_time()
        for batch in self._events:
            lane.put(batch)
            for _ in batch:
                await lane.following()
        return time.process_time() - start


def calibration() -> float:
    """CPU microseconds of one round of ordinary Python: JSON, dicts, attributes, calls."""
    text = json.dumps({"type": "delta", "id": "x" * 20, "index": 1, "delta": "word" * 4})
    table: dict[str, Any] = {"delta": len}

    def work() -> None:
        kept: list[object] = []
        for _ in range(CALIBRATION_ROUNDS):
            value = json.loads(text)
            handler = table.get(value["type"])
            if handler is not None:
                kept.append((handler(value["delta"]), value["index"]))
            if len(kept) > 64:
                kept.clear()

    gc.collect()
    start = time.process_time()
    work()
    return (time.process_time() - start) / CALIBRATION_ROUNDS * 1e6


def measure(workload: str, *, units: int, repetitions: int, step: Callable[[str], None]) -> Found:
    """Every layer, and the calibration between each two, `repetitions` times in turn.

    What the dialect costs is a difference, of the whole way to neutral events and of its parser.
    """
    bed = Bed(workload, units)
    found: Found = {name: [] for name in (*_MEASURED, "dialect", "calibration")}
    for _ in range(repetitions):
        step(f"{workload}: layers")
        found["calibration"].append(calibration())
        for name in _MEASURED:
            found[name].append(getattr(bed, name)())
        found["dialect"].append(found["codec"][-1] - found["decode"][-1])
    return found


def relative(found: Found) -> dict[str, float]:
    """Each layer's cost in rounds of the calibration loop, and of `carry` for the transport's: the
    least of the repetitions over the least, because noise only ever adds.
    """
    least = {name: min(values) for name, values in found.items() if values}
    least["dialect"] = least["codec"] - least["decode"]  # not the least difference, which is noise
    rounds = dict.fromkeys(LAYERS, least["calibration"])
    rounds["transport"] += least["carry"]
    return {name: least[name] / rounds[name] for name in LAYERS}
