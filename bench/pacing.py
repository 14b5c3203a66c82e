"""Delivery at the pace of a conversation: many sessions, one event a wake-up.

The server writes the turn and the time of sending into each event's id; the clock is the same for
all processes of a machine.  All subjects of a scenario are connected at once, each in a process of
its own, and have their turns; a turn is a repetition.  A subject is run as
`python -m bench.pacing SUBJECT URL SESSIONS`.
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
TIMEOUT = 120
BETWEEN = 25  # events between two looks at the CPU clock, which costs a microsecond
CLOCK = 10**14  # as in `bench.server`, which not all of the environments can import
Measured = dict[str, list[float]]


class Clock:
    """Latencies of all sessions by turn, and the CPU from a turn's first event to its last."""

    def __init__(self) -> None:
        self._turns: list[list[int]] = []
        self._cpu: list[float] = []
        self._latencies: list[int] = []
        self._turn = -1
        self._start = self._now = 0.0

    def came(self, event_id: str) -> None:
        """An event has reached the application."""
        turn, sent = divmod(int(event_id[6:]), CLOCK)
        latency = (time.monotonic_ns() - sent) % CLOCK
        if turn > self._turn:
            self._end_turn()
            self._turn = turn
        self._latencies.append(latency)
        if len(self._latencies) % BETWEEN == 0:
            self._now = time.process_time()

    def _end_turn(self) -> None:
        counted = len(self._latencies) // BETWEEN * BETWEEN
        if counted:
            self._turns.append(self._latencies)
            self._cpu.append((self._now - self._start) / counted * 1e6)
        self._latencies = []
        self._start = time.process_time()

    def found(self) -> Measured:
        """Microseconds, of CPU an event and of latency, turn by turn."""
        from .percentiles import percentile

        self._end_turn()
        return {
            "cpu_us": self._cpu,
            "p50_us": [percentile(turn, 0.5) / 1000 for turn in self._turns],
            "p99_us": [percentile(turn, 0.99) / 1000 for turn in self._turns],
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

    clock = Clock()
    config = RealtimeSessionOpenConfig(
        RealtimeTurningMode.PROVIDER_MANAGED, SessionLlmIdentity(model="bench-1-meerkat")
    )

    async def one() -> None:
        provider = OpenAIRealtime(api_key="bench", base_url=url)
        async with open_session(config, provider=provider) as session:
            await session.create_response()
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

    clock = Clock()

    async def one(nursery: Any) -> None:
        target = WebSocketTarget(url=f"{url}?model=bench-1-transport")
        connection = await connector("websockets").connect(target, nursery=nursery)
        await connection.receive()
        await connection.send([b'{"type":"response.create"}'])
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

    clock = Clock()
    client = AsyncOpenAI(api_key="bench", websocket_base_url=url.removesuffix("/realtime"))

    async def one() -> None:
        async with client.realtime.connect(model="bench-1-openai") as connection:
            await connection.response.create()
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
QUICK = tuple(SCENARIOS)[1:]  # those that have a target


def run(
    where: Path,
    *,
    names: tuple[str, ...] = tuple(SCENARIOS),
    rounds: int,
    seconds: float,
    step: Callable[[str], None],
) -> dict[str, dict[str, Measured]]:
    """These scenarios; in each, every subject has `rounds` turns of `seconds`."""
    from .certificates import certificate
    from .peers import SUBJECTS, interpreter

    peer = next(subject for subject in SUBJECTS if subject.name == "openai")
    pythons = {"openai": interpreter(peer, where)}
    found: dict[str, dict[str, Measured]] = {}
    with certificate() as tls:
        for scenario in names:
            step(f"paced: {scenario}")
            *_, secure, subjects = SCENARIOS[scenario]
            if secure and tls is None:
                continue
            here = {subject: pythons.get(subject, Path(sys.executable)) for subject in subjects}
            installed = {name: python for name, python in here.items() if python is not None}
            found[scenario] = _scenario(scenario, installed, rounds, seconds, tls)
    return found


def _scenario(
    scenario: str, pythons: dict[str, Path], rounds: int, seconds: float, tls: Any
) -> dict[str, Measured]:
    from .server import Pace, serving
    from .workloads import WORKLOADS

    sessions, rate, secure, _ = SCENARIOS[scenario]
    pace = Pace(sessions=sessions, rate=rate, seconds=seconds, rounds=rounds, groups=tuple(pythons))
    root = Path(__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": str(root)}
    if secure:
        environment["SSL_CERT_FILE"] = tls.authority
    found = {}
    with serving(WORKLOADS["transcript"], pace=pace, certificate=tls if secure else None) as url:
        processes = {
            subject: subprocess.Popen(
                [python, "-m", "bench.pacing", subject, url, str(sessions)],
                cwd=root,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            for subject, python in pythons.items()
        }
        try:
            for subject, process in processes.items():
                said, _ = process.communicate(timeout=TIMEOUT)
                found[subject] = json.loads(said)
        except (subprocess.TimeoutExpired, ValueError):
            # One that fails leaves the server waiting for it, and so all of them.
            return {}
        finally:
            for process in processes.values():
                process.kill()
                process.communicate()
    return found


if __name__ == "__main__":
    subjects = {"meerkat": meerkat, "transport": transport, "openai": openai}
    print(json.dumps(subjects[sys.argv[1]](sys.argv[2], int(sys.argv[3])).found()))
