"""What one event costs in each room, alone: CPU microseconds, on the same frames.

A layer is fed what the one before it made, in memory and without tasks, so that a regression names
its room.  `calibration` is a loop of ordinary Python that nothing in this project can change:
layers are compared with it, and so from one machine to another.
"""

from __future__ import annotations

import gc
import json
import math
import time
from collections.abc import Callable
from typing import Any

import trio
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from meerkat_rt import (
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

from .stats import spread
from .workloads import WORKLOADS

LAYERS = ("transport", "decode", "machine", "transcript", "lane")
BATCH = 96
CALIBRATION_ROUNDS = 20_000


class Recording(trio.abc.Stream):
    """A stream that hands out bytes of memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        end = self._position + (max_bytes or BURST_BUFFER)
        data = self._data[self._position : end]
        self._position = end
        return data

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
        self._frames = list(WORKLOADS[workload].messages(units))
        self._n = len(self._frames)
        self._blob = b"".join(Frame(Opcode.TEXT, f).serialize(mask=False) for f in self._frames)
        provider = OpenAIRealtime(api_key="bench")
        config = RealtimeSessionOpenConfig(
            RealtimeTurningMode.PROVIDER_MANAGED, SessionLlmIdentity(model="bench")
        )
        self._settings = provider.settings(config)
        self._dialect = provider.dialect(config)
        self._decoded = [event for frame in self._frames for event in self._dialect.decode(frame)]
        machine = SessionMachine(self._settings)
        self._events, self._transcript = [], []
        for start in range(0, len(self._decoded), BATCH):
            for event in self._decoded[start : start + BATCH]:
                machine.observe(event, 0.0)
            events, transcript, _ = machine.drain()
            self._events.append(events)
            self._transcript += transcript

    def _cost(self, work: Callable[[], object]) -> float:
        gc.collect()
        start = time.process_time()
        work()
        return (time.process_time() - start) / self._n * 1e6

    def transport(self) -> float:
        """Bytes to messages."""
        return trio.run(self._receive) / self._n * 1e6

    async def _receive(self) -> float:
        transport = opened(Recording(self._blob))
        left, start = self._n, time.process_time()
        while left:
            left -= len(await transport.receive())
        return time.process_time() - start

    def decode(self) -> float:
        """Messages to neutral events.  Nothing is kept: audio would have to be paged in."""
        decode = self._dialect.decode

        def work() -> None:
            for frame in self._frames:
                decode(frame)

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
        """Transcript events to canonical messages."""
        apply = TranscriptAuthority(keep_heard_prefix=True).apply

        def work() -> None:
            for event in self._transcript:
                apply(event)

        return self._cost(work)

    def lane(self) -> float:
        """Session events to the application's hands, without a second task."""
        return trio.run(self._read) / self._n * 1e6

    async def _read(self) -> float:
        lane = EventLane(
            SessionLimits(), self._settings.output_format, lambda _: None, lambda _: None
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


def measure(
    workload: str, *, units: int, repetitions: int, step: Callable[[str], None]
) -> dict[str, list[float]]:
    """Every layer, and the calibration between each two, `repetitions` times in turn."""
    bed = Bed(workload, units)
    found: dict[str, list[float]] = {name: [] for name in (*LAYERS, "calibration")}
    for _ in range(repetitions):
        step(f"{workload}: layers")
        found["calibration"].append(calibration())
        for name in LAYERS:
            found[name].append(getattr(bed, name)())
    return found


def relative(found: dict[str, list[float]]) -> dict[str, float]:
    """Each layer's cost in rounds of the calibration loop: the least of the repetitions over the
    least, because noise only ever adds.
    """
    round_cost = min(found["calibration"], default=math.nan)
    return {name: min(found[name]) / round_cost for name in LAYERS}


def medians(found: dict[str, list[float]]) -> dict[str, float]:
    """Microseconds an event, by layer."""
    return {name: spread(values).median for name, values in found.items()}
