"""Events a second, end to end: every subject on every workload, interleaved and repeated."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs

from .certificates import certificate
from .peers import SUBJECTS, Subject, interpreter
from .server import Certificate, serving
from .workloads import WORKLOADS, Workload

PROBE_UNITS = 2  # of a first run, which warms up and tells how much keeps a subject busy
START_TIMEOUT = 60.0  # seconds; importing a framework counts
PROBE_TIMEOUT = 20.0  # seconds; of one measurement, which takes a fraction of one
LIMIT_BYTES = 160 * 1024 * 1024  # of one measurement


class WorkerFailed(Exception):
    """A subject's process said that it could not measure, or died, or said nothing."""


@attrs.define
class Samples:
    """The repetitions of one subject on one workload, n-th beside n-th of the others.

    `cpu` is microseconds of the client's process an event, `rate` events a second by the clock.
    """

    units: int = 0
    cpu: list[float] = attrs.field(factory=list)
    rate: list[float] = attrs.field(factory=list)
    failed: str = ""


class Worker:
    """A subject's process."""

    def __init__(self, subject: Subject, python: Path, authority: str | None) -> None:
        root = Path(__file__).parent.parent
        self._process = subprocess.Popen(
            [python, "-m", "bench.worker", subject.module],
            cwd=root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={
                **os.environ,
                "OPENAI_API_KEY": "bench",
                "PYTHONPATH": str(root),
                **({} if authority is None else {"SSL_CERT_FILE": authority}),
            },
        )
        self._selector = selectors.DefaultSelector()
        assert self._process.stdout is not None
        self._selector.register(self._process.stdout, selectors.EVENT_READ)
        self._buffer = b""

    def versions(self) -> dict[str, str]:
        """What it measures; waits until it is ready."""
        found: dict[str, str] = self._answer(START_TIMEOUT)["versions"]
        return found

    def measure(self, workload: Workload, url: str, units: int, timeout: float) -> dict[str, Any]:
        """One measurement.

        Raises:
            WorkerFailed: there is none.
        """
        order = {
            "url": url,
            "units": units,
            "responses": workload.responses,
            "parts": workload.parts,
            "modality": workload.modality,
            "timeout": timeout,
        }
        answer = self._asked(order)
        for what, each in [("text", workload.text), ("audio", workload.audio)]:
            if each is not None and answer[what] not in (None, units * each):
                raise WorkerFailed(f"delivered {answer[what]} of {units * each} of the {what}")
        return answer

    def speak(self, url: str, chunks: int, size: int, pause: float) -> dict[str, Any]:
        """Have it send that many chunks of microphone audio, with a pause behind each.

        Raises:
            WorkerFailed: it could not.
        """
        order = {
            "url": url,
            "units": chunks,
            "responses": 1,
            "parts": 1,
            "speak": size,
            "pause": pause,
        }
        return self._asked({**order, "timeout": PROBE_TIMEOUT})

    def _asked(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise WorkerFailed(f"the process is gone: {error}") from error
        return self._answer(order["timeout"] + 10)

    def _answer(self, timeout: float) -> dict[str, Any]:
        deadline = time.monotonic() + timeout
        assert self._process.stdout is not None
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not self._selector.select(left):
                raise WorkerFailed(f"no answer within {timeout:.0f} s")
            data = os.read(self._process.stdout.fileno(), 65536)
            if not data:
                raise WorkerFailed("the process has ended")
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerFailed(answer["error"])
        return answer

    def close(self) -> None:
        """End the process."""
        self._selector.close()
        self._process.kill()
        self._process.communicate()


@attrs.define
class Throughput:
    """What was found: samples by workload and subject, versions by subject, who is missing."""

    samples: dict[str, dict[str, Samples]] = attrs.field(factory=dict)
    versions: dict[str, dict[str, str]] = attrs.field(factory=dict)
    missing: dict[str, str] = attrs.field(factory=dict)


def run(
    names: Iterable[str],
    where: Path,
    *,
    repetitions: int,
    seconds: float,
    step: Callable[[str], None],
    subjects: Iterable[Subject] = SUBJECTS,
) -> Throughput:
    """Measure these workloads: every subject `repetitions` times, in turn, `seconds` each.

    `step` is told before each measurement.
    """
    found = Throughput()
    with ExitStack() as stack:
        tls = stack.enter_context(certificate())
        workers = dict(started(subjects, where, found, stack, tls))
        for name in names:
            workload = WORKLOADS[name]
            if workload.secure and tls is None:
                found.missing[name] = "needs `trustme`, of the extra `bench`"
                continue
            row = found.samples[name] = {subject: Samples() for subject in workers}
            with serving(workload, certificate=tls if workload.secure else None) as url:
                for subject, worker in workers.items():
                    step(f"{name}: {subject} warms up")
                    _probe(workload, worker, url, row[subject], seconds)
                for _ in range(repetitions):
                    for subject, worker in workers.items():
                        step(f"{name}: {subject}")
                        _measure(workload, worker, url, row[subject])
    return found


def steps(names: Iterable[str], where: Path, repetitions: int) -> int:
    """How often `run` will call `step`."""
    subjects = sum(interpreter(subject, where) is not None for subject in SUBJECTS)
    return len(list(names)) * subjects * (repetitions + 1)


def started(
    subjects: Iterable[Subject],
    where: Path,
    found: Throughput,
    stack: ExitStack,
    tls: Certificate | None,
) -> Iterator[tuple[str, Worker]]:
    starting = []
    for subject in subjects:
        python = interpreter(subject, where)
        if python is None:
            found.missing[subject.name] = "not installed; `python -m bench setup` tries"
            continue
        worker = Worker(subject, python, None if tls is None else tls.authority)
        stack.callback(worker.close)
        starting.append((subject.name, worker))
    for name, worker in starting:
        try:
            found.versions[name] = worker.versions()
        except WorkerFailed as failed:
            found.missing[name] = str(failed)
        else:
            yield name, worker


def _probe(workload: Workload, worker: Worker, url: str, samples: Samples, seconds: float) -> None:
    try:
        worker.measure(workload, url, PROBE_UNITS, PROBE_TIMEOUT)
        answer = worker.measure(workload, url, PROBE_UNITS, PROBE_TIMEOUT)
    except WorkerFailed as failed:
        samples.failed = str(failed)
        return
    wanted = round(PROBE_UNITS * seconds / max(answer["cpu"], 1e-4))
    samples.units = max(1, min(wanted, workload.units_limit, LIMIT_BYTES // workload.size))


def _measure(workload: Workload, worker: Worker, url: str, samples: Samples) -> None:
    if samples.failed:
        return
    try:
        answer = worker.measure(workload, url, samples.units, PROBE_TIMEOUT)
    except WorkerFailed as failed:
        samples.failed = str(failed)
        return
    events = samples.units * workload.events
    with contextlib.suppress(ZeroDivisionError):
        samples.cpu.append(answer["cpu"] / events * 1e6)
        samples.rate.append(events / answer["wall"])
