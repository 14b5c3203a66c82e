"""A throughput smoke: events per second of the whole runtime, and where the time of one event goes.

The layers are measured one by one on the same frames, in CPU time of this process; what the whole
session costs beyond their sum is tasks and lanes.  A task hop or a checkpoint per event would show
there at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import attrs
import trio

from meerkat_rt import (
    OpenAIRealtime,
    RealtimeSessionOpenConfig,
    RealtimeTurningMode,
    SessionLlmIdentity,
    events,
    open_session,
)
from meerkat_rt.transcript import TranscriptAuthority
from meerkat_rt.transport import WebSocketTarget, connector
from meerkat_rt.turn.machine import SessionMachine

from .frames import workload
from .server import serving

BATCH = 64  # frames a socket read completes, about, when a provider bursts


@attrs.frozen(kw_only=True)
class Costs:
    """CPU microseconds per event by layer, and events per second of the whole session."""

    workload: str
    n_events: int
    transport: float
    decode: float
    machine: float
    transcript: float
    whole: float
    per_second: float

    @property
    def rest(self) -> float:
        """Tasks and lanes: what the layers do not explain."""
        return self.whole - self.transport - self.decode - self.machine - self.transcript


def measure(name: str, *, responses: int = 20, deltas: int = 1000) -> Costs:
    """Measure one workload: every layer, then the whole session over a real socket."""
    frames = workload(name, responses, deltas)
    n = len(frames)
    config = RealtimeSessionOpenConfig(
        RealtimeTurningMode.PROVIDER_MANAGED, SessionLlmIdentity(model="bench")
    )
    with serving(frames) as url:
        provider = OpenAIRealtime(api_key="bench", base_url=url)
        decode, machine, transcript = _layers(provider, config, frames)
        transport = trio.run(_transport, url, n)
        whole, seconds = trio.run(_whole, provider, config, responses)
    return Costs(
        workload=name,
        n_events=n,
        transport=transport / n * 1e6,
        decode=decode / n * 1e6,
        machine=machine / n * 1e6,
        transcript=transcript / n * 1e6,
        whole=whole / n * 1e6,
        per_second=n / seconds,
    )


def _cpu(work: Callable[[], None]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _layers(
    provider: OpenAIRealtime, config: RealtimeSessionOpenConfig, frames: list[bytes]
) -> tuple[float, float, float]:
    dialect = provider.dialect(config)
    decoded: list[object] = []

    def decode() -> None:
        for frame in frames:
            decoded.extend(dialect.decode(frame))

    decode_time = _cpu(decode)
    machine = SessionMachine(provider.settings(config))
    transcript: list[object] = []

    def observe() -> None:
        for start in range(0, len(decoded), BATCH):
            for event in decoded[start : start + BATCH]:
                machine.observe(event, 0.0)
            transcript.extend(machine.drain()[1])

    machine_time = _cpu(observe)
    authority = TranscriptAuthority(keep_heard_prefix=True)

    def apply() -> None:
        for event in transcript:
            authority.apply(event)

    return decode_time, machine_time, _cpu(apply)


async def _transport(url: str, n: int) -> float:
    async with trio.open_nursery() as nursery:
        transport = await connector("websockets").connect(
            WebSocketTarget(url=f"{url}?model=bench"), nursery=nursery
        )
        await transport.receive()
        await transport.send([b'{"type":"response.create"}'])
        seen, start = 0, time.process_time()
        while seen < n:
            seen += len(await transport.receive())
        cost = time.process_time() - start
        await transport.aclose()
    return cost


async def _whole(
    provider: OpenAIRealtime, config: RealtimeSessionOpenConfig, responses: int
) -> tuple[float, float]:
    async with open_session(config, provider=provider) as session:
        await session.create_response()
        done, cpu, wall = 0, time.process_time(), time.perf_counter()
        async for event in session:
            if isinstance(event, events.TurnCompleted):
                done += 1
                if done == responses:
                    break
        return time.process_time() - cpu, time.perf_counter() - wall


@contextmanager
def table() -> Iterator[Callable[[Costs], None]]:
    """Print a line a workload under one head."""
    columns = ["transport", "decode", "machine", "transcript", "rest", "whole"]
    print("CPU microseconds per event, by layer (one process, one core)\n")
    print(f"{'workload':<12}{'events/s':>12}" + "".join(f"{name:>12}" for name in columns))

    def row(costs: Costs) -> None:
        cells = "".join(f"{getattr(costs, name):>12.2f}" for name in columns)
        print(f"{costs.workload:<12}{costs.per_second:>12,.0f}{cells}", flush=True)

    yield row
