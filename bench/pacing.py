"""Delivery at the pace of a conversation: many sessions, one event a wake-up.

The server writes the turn and the time of sending into each event's id; the clock is the same for
all processes of a machine.  All subjects of a scenario are connected at once, each in a process of
its own, and have their turns; a turn is a repetition.  A subject is run as
`python -m bench.pacing SUBJECT`, and told URL and sessions of each scenario on its input.

A latency says something about the subject only if nobody else had its processor meanwhile.  The
kernel knows how long a process was ready to run and had to wait; events that came behind such a
wait, until the subject has caught up, are set aside, and a turn that consists of too many of them
tells no latency at all.  (What the subject itself keeps its events waiting for, be it work or the
collection of garbage, is no such wait.)
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from . import processors

ID = b'"event_id":"event_'
TIMEOUT = 120
BETWEEN = 25  # events between two looks at the CPU clock and at waits, which cost microseconds
LATE = 500_000  # nanoseconds; a wait for a processor that is longer is somebody else's doing
ASIDE = 0.5  # of a turn's events; with more of them set aside, the rest tells no percentile
CLOCK = 10**14  # as in `bench.server`, which not all of the environments can import
Measured = dict[str, list[float]]


def told(measured: Measured, what: str) -> list[float | None]:
    """A figure turn by turn; None where too little of a turn is left to tell a latency."""
    if what == "cpu_us":
        return list(measured[what])
    return [
        None if aside > ASIDE else value
        for value, aside in zip(measured[what], measured["aside"], strict=True)
    ]


class Waits:
    """How long this process was ready to run and had no processor, as far as the kernel tells."""

    def __init__(self) -> None:
        try:
            self._file = os.open("/proc/self/schedstat", os.O_RDONLY)
        except OSError:
            self._file = -1
        self._seen = 0
        self.grown()

    def grown(self) -> int:
        """By how many nanoseconds that has grown since the last call."""
        if self._file < 0:
            return 0
        _, waited, _ = os.pread(self._file, 80, 0).split()
        grown = int(waited) - self._seen
        self._seen += grown
        return grown


class Clock:
    """Latencies of all sessions by turn, and the CPU from a turn's first event to its last.

    The first turn warms up.  `sessions` are open once `opened` was called so often; what opening
    them has left behind is collected then, so that it does not fall due while events come.
    """

    def __init__(self, sessions: int) -> None:
        self._opening = sessions
        self._turns: list[list[int]] = []
        self._cpu: list[float] = []
        self._rates: list[float] = []
        self._aside: list[float] = []
        self._latencies: list[int] = []
        self._turn = self._count = self._first = self._last = self._came = 0
        self._start = self._now = 0.0
        self._waits = Waits()
        self._behind = False  # somebody else had the processor, and what came since is not handled

    def opened(self) -> None:
        """One more session is open and has asked for its answer."""
        self._opening -= 1
        if not self._opening:
            gc.collect()

    def came(self, event_id: str) -> None:
        """An event has reached the application."""
        now = time.monotonic_ns() % CLOCK
        turn, sent = divmod(int(event_id[6:]), CLOCK)
        if turn > self._turn:
            self._end_turn()
            self._turn = turn
            self._first = sent
            self._waits.grown()
            self._start = time.process_time()
        if not turn:
            return
        self._count = count = self._count + 1
        latency = (now - sent) % CLOCK
        if count % BETWEEN == 0:
            self._now = time.process_time()
        if self._behind and sent > self._came:
            self._behind = False
        if (latency > LATE or count % BETWEEN == 0) and self._waits.grown() > LATE:
            self._behind = True
        if not self._behind:
            self._latencies.append(latency)
        self._last, self._came = sent, now

    def _end_turn(self) -> None:
        counted = self._count // BETWEEN * BETWEEN
        if counted:
            self._turns.append(self._latencies)
            self._aside.append(1 - len(self._latencies) / self._count)
            self._cpu.append((self._now - self._start) / counted * 1e6)
            self._rates.append((self._count - 1) / ((self._last - self._first) % CLOCK) * 1e9)
        self._latencies, self._count, self._behind = [], 0, False

    def found(self) -> Measured:
        """Turn by turn: CPU an event and latencies, in microseconds; events a second as they were
        sent; and which part of them was set aside.
        """
        from .percentiles import percentile

        self._end_turn()
        return {
            "cpu_us": self._cpu,
            "p50_us": [percentile(turn or [0], 0.5) / 1000 for turn in self._turns],
            "p99_us": [percentile(turn or [0], 0.99) / 1000 for turn in self._turns],
            "rate": self._rates,
            "aside": self._aside,
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
        RealtimeTurningMode.PROVIDER_MANAGED, SessionLlmIdentity(model="bench-1-meerkat")
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
        target = WebSocketTarget(url=f"{url}?model=bench-1-transport")
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
        async with client.realtime.connect(model="bench-1-openai") as connection:
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
QUICK = tuple(SCENARIOS)[1:]  # those that have a target


def run(
    where: Path,
    *,
    names: tuple[str, ...] = tuple(SCENARIOS),
    rounds: int,
    seconds: float,
    step: Callable[[str], None],
) -> dict[str, dict[str, Measured]]:
    """These scenarios; in each, every subject has `rounds` turns of `seconds`, and one before."""
    from .certificates import certificate

    found: dict[str, dict[str, Measured]] = {}
    with ExitStack() as stack:
        tls = stack.enter_context(certificate())
        processes = _started(where, {name for each in names for name in SCENARIOS[each][3]}, tls)
        stack.callback(_end, processes)
        for scenario in names:
            step(f"paced: {scenario}")
            *_, secure, subjects = SCENARIOS[scenario]
            if secure and tls is None:
                continue
            present = {name: processes[name] for name in subjects if name in processes}
            found[scenario] = _scenario(scenario, present, rounds, seconds, tls)
            if not found[scenario]:
                break  # somebody has failed, and left the server waiting, and so the others
    return found


def _started(where: Path, names: set[str], tls: Any) -> dict[str, subprocess.Popen[bytes]]:
    """A process for each of the subjects that are installed."""
    from .peers import SUBJECTS, interpreter

    peer = next(subject for subject in SUBJECTS if subject.name == "openai")
    pythons = {"openai": interpreter(peer, where)}
    here = {name: pythons.get(name, Path(sys.executable)) for name in sorted(names)}
    root = Path(__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": str(root)}
    if tls is not None:
        environment["SSL_CERT_FILE"] = tls.authority
    processes = {
        name: subprocess.Popen(
            [python, "-m", "bench.pacing", name],
            cwd=root,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        for name, python in here.items()
        if python is not None
    }
    for process in processes.values():
        processors.give(process.pid)
    return processes


def _end(processes: dict[str, subprocess.Popen[bytes]]) -> None:
    for process in processes.values():
        process.kill()
        process.communicate()


def _scenario(
    scenario: str,
    processes: dict[str, subprocess.Popen[bytes]],
    rounds: int,
    seconds: float,
    tls: Any,
) -> dict[str, Measured]:
    """What each found; nothing if one of them failed."""
    from .server import Pace, serving
    from .workloads import WORKLOADS

    sessions, rate, secure, _ = SCENARIOS[scenario]
    pace = Pace(
        sessions=sessions,
        rate=rate,
        seconds=seconds,
        rounds=rounds + 1,
        groups=tuple(processes),
    )
    found = {}
    with serving(WORKLOADS["transcript"], pace=pace, certificate=tls if secure else None) as url:
        for process in processes.values():
            assert process.stdin is not None
            process.stdin.write(f"{url} {sessions}\n".encode())
            process.stdin.flush()
        for name, process in processes.items():
            assert process.stdout is not None
            if not select.select([process.stdout], [], [], TIMEOUT)[0]:
                return {}
            said = process.stdout.readline()
            if not said:
                return {}
            found[name] = json.loads(said)
    return found


def main() -> None:
    """Be the subject named on the command line."""
    subject = {"meerkat": meerkat, "transport": transport, "openai": openai}[sys.argv[1]]
    for line in sys.stdin:
        url, sessions = line.split()
        print(json.dumps(subject(url, int(sessions)).found()), flush=True)


if __name__ == "__main__":
    main()
