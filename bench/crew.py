"""Subjects at work: a process each, which is started once and measured again and again."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import attrs

from . import processors
from .certificates import certificate
from .peers import SUBJECTS, Subject, interpreter
from .server import Certificate
from .workloads import Workload

START_TIMEOUT = 60.0  # seconds; importing a framework counts
TIMEOUT = 20.0  # seconds; of one measurement, which takes a fraction of one


class WorkerFailed(Exception):
    """A subject's process said that it could not measure, or died, or said nothing."""


class Worker:
    """A subject's process; another one in its place if it has been ended."""

    def __init__(self, subject: Subject, python: Path, authority: str | None) -> None:
        root = Path(__file__).parent.parent
        self._command = [python, "-m", "bench.worker", subject.module]
        self._root = root
        self._environment = {
            **os.environ,
            "OPENAI_API_KEY": "bench",
            "PYTHONPATH": str(root),
            **({} if authority is None else {"SSL_CERT_FILE": authority}),
        }
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            self._command,
            cwd=self._root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self._environment,
        )
        processors.give(self._process.pid)
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
        return self._asked({**order, "timeout": TIMEOUT})

    def _asked(self, order: dict[str, Any]) -> dict[str, Any]:
        if self._process.poll() is not None:
            self.close()
            self._start()
            self.versions()
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
                self._process.kill()  # its answer, once it came, would be taken for the next one
                self._process.wait()
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


@attrs.frozen(kw_only=True)
class Crew:
    """Workers and versions by subject, who is missing and why, and the certificate they trust."""

    workers: dict[str, Worker] = attrs.field(factory=dict)
    versions: dict[str, dict[str, str]] = attrs.field(factory=dict)
    missing: dict[str, str] = attrs.field(factory=dict)
    tls: Certificate | None

    def of(self, names: Iterable[str]) -> dict[str, Worker]:
        """The workers of these subjects, as far as they are there."""
        asked = frozenset(names)
        return {name: worker for name, worker in self.workers.items() if name in asked}


@contextmanager
def crew(where: Path, subjects: Iterable[Subject] = SUBJECTS) -> Iterator[Crew]:
    """All of these subjects that can be had, started."""
    with ExitStack() as stack:
        tls = stack.enter_context(certificate())
        found = Crew(tls=tls)
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
                found.workers[name] = worker
        yield found
