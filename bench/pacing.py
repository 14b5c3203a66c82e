"""Delivery at the pace of a conversation: many sessions, one event a wake-up.

The server writes the time of sending into each event's id; the clock is the same for all processes
of a machine.  Run as a process of its own: `python -m bench.pacing SUBJECT URL SESSIONS`.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ID = b'"event_id":"event_'
TIMEOUT = 60


class Clock:
    """Latencies of all sessions, and the CPU from the first event to the last."""

    def __init__(self, sessions: int) -> None:
        self._open = sessions
        self.latencies: list[int] = []
        self._cpu = self._last = 0.0

    def opened(self) -> None:
        """One more session waits for events."""
        self._open -= 1
        if not self._open:
            self._cpu = time.process_time()

    def came(self, event_id: str) -> None:
        """An event has reached the application."""
        self.latencies.append(time.monotonic_ns() - int(event_id[6:]))
        if len(self.latencies) % 100 == 0:  # closing the sessions does not count
            self._last = time.process_time()

    def found(self) -> dict[str, float]:
        """Microseconds, of CPU an event and of latency."""
        from .percentiles import percentile

        cpu = self._last - self._cpu
        return {
            "cpu_us": cpu / (len(self.latencies) // 100 * 100) * 1e6,
            "p50_us": percentile(self.latencies, 0.5) / 1000,
            "p99_us": percentile(self.latencies, 0.99) / 1000,
        }


def meerkat(url: str, sessions: int) -> Clock:
    """Our runtime, whole."""
    import trio

    from meerkat_rt import (
        OpenAIRealtime,
        RealtimeSessionOpenConfig,
        RealtimeTurningMode,
        SessionLlmIdentity,
        events,
        open_session,
    )

    clock = Clock(sessions)
    config = RealtimeSessionOpenConfig(
        RealtimeTurningMode.PROVIDER_MANAGED, SessionLlmIdentity(model="bench-1")
    )

    async def one() -> None:
        provider = OpenAIRealtime(api_key="bench", base_url=url)
        async with open_session(config, provider=provider) as session:
            await session.create_response()
            clock.opened()
            async for event in session:
                match event:
                    case events.OutputAudioTranscriptDeltaForItem():
                        clock.came(event.delta_id)
                    case events.TurnCompleted():
                        return

    async def all_of_them() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(sessions):
                nursery.start_soon(one)
                await trio.sleep(0.001)

    trio.run(all_of_them)
    return clock


def transport(url: str, sessions: int) -> Clock:
    """The default transport alone."""
    import trio

    from meerkat_rt.transport import WebSocketTarget, connector

    clock = Clock(sessions)

    async def one(nursery: Any) -> None:
        target = WebSocketTarget(url=f"{url}?model=bench-1")
        connection = await connector("websockets").connect(target, nursery=nursery)
        await connection.receive()
        await connection.send([b'{"type":"response.create"}'])
        clock.opened()
        while True:
            for message in await connection.receive():
                if b'.delta"' in message[:60]:
                    at = message.index(ID) + len(ID)
                    clock.came("event_" + message[at : at + 16].decode())
                elif message.startswith(b'{"type":"response.done"'):
                    await connection.aclose()
                    return

    async def all_of_them() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(sessions):
                nursery.start_soon(one, nursery)
                await trio.sleep(0.001)

    trio.run(all_of_them)
    return clock


def openai(url: str, sessions: int) -> Clock:
    """The `openai` client."""
    from openai import AsyncOpenAI

    clock = Clock(sessions)
    client = AsyncOpenAI(api_key="bench", websocket_base_url=url.removesuffix("/realtime"))

    async def one() -> None:
        async with client.realtime.connect(model="bench-1") as connection:
            await connection.response.create()
            clock.opened()
            async for event in connection:
                if event.type == "response.output_audio_transcript.delta":
                    clock.came(event.event_id)
                elif event.type == "response.done":
                    return

    async def all_of_them() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(sessions):
                group.create_task(one())
                await asyncio.sleep(0.001)

    asyncio.run(all_of_them())
    return clock


SCENARIOS = {
    "1 x 50/s": (1, 50.0, False, ("transport", "meerkat", "openai")),
    "100 x 50/s": (100, 50.0, False, ("transport", "meerkat", "openai")),
    "1000 x 10/s": (1000, 10.0, False, ("transport", "meerkat")),
    "100 x 50/s, TLS": (100, 50.0, True, ("transport", "meerkat", "openai")),
}


def run(
    where: Path, *, repetitions: int, seconds: float, step: Callable[[str], None]
) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Every scenario, its subjects in turn, `repetitions` times."""
    from .certificates import certificate
    from .peers import SUBJECTS, interpreter
    from .server import Pace, serving
    from .workloads import WORKLOADS

    peer = next(subject for subject in SUBJECTS if subject.name == "openai")
    pythons = {"openai": interpreter(peer, where)}
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    with certificate() as tls:
        for scenario, (sessions, rate, secure, subjects) in SCENARIOS.items():
            if secure and tls is None:
                continue
            row = found.setdefault(scenario, {})
            pace = Pace(sessions=sessions, rate=rate, seconds=seconds)
            with serving(
                WORKLOADS["transcript"], pace=pace, certificate=tls if secure else None
            ) as url:
                for _ in range(repetitions):
                    for subject in subjects:
                        python = pythons.get(subject, Path(sys.executable))
                        if python is None:
                            continue
                        step(f"{scenario}: {subject}")
                        ca = None if tls is None else tls.authority
                        for what, value in _measure(python, subject, url, sessions, ca).items():
                            row.setdefault(subject, {}).setdefault(what, []).append(value)
    return found


def _measure(
    python: Path, subject: str, url: str, sessions: int, authority: str | None
) -> dict[str, float]:
    root = Path(__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": str(root)}
    if authority is not None:
        environment["SSL_CERT_FILE"] = authority
    done = subprocess.run(
        [python, "-m", "bench.pacing", subject, url, str(sessions)],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=True,
    )
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


if __name__ == "__main__":
    subjects = {"meerkat": meerkat, "transport": transport, "openai": openai}
    print(json.dumps(subjects[sys.argv[1]](sys.argv[2], int(sys.argv[3])).found()))
