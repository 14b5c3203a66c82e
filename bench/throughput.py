"""Events a second, end to end: every subject on every workload, interleaved and repeated."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable

import attrs

from .crew import TIMEOUT, Crew, Worker, WorkerFailed
from .server import serving
from .workloads import WORKLOADS, Workload

PROBE_UNITS = 2  # of a first run, which warms up and tells how much keeps a subject busy
FEWEST_UNITS = 2  # of a measurement, so that what begins a conversation does not weigh on the slow
LIMIT_BYTES = 160 * 1024 * 1024  # of one measurement


@attrs.define
class Samples:
    """The repetitions of one subject on one workload, n-th beside n-th of the others.

    `cpu` is microseconds of the client's process an event, `rate` events a second by the clock.
    """

    units: int = 0
    cpu: list[float] = attrs.field(factory=list)
    rate: list[float] = attrs.field(factory=list)
    failed: str = ""


Found = dict[str, dict[str, Samples]]
"""Samples by workload and subject."""


def run(
    names: Iterable[str],
    crew: Crew,
    *,
    repetitions: int,
    seconds: float,
    step: Callable[[str], None],
) -> Found:
    """Measure these workloads: every subject `repetitions` times, in turn, `seconds` each.

    `step` is told before each measurement.
    """
    found: Found = {}
    for name in names:
        workload = WORKLOADS[name]
        if workload.secure and crew.tls is None:
            crew.missing[name] = "needs `trustme`, of the extra `bench`"
            continue
        row = found[name] = {subject: Samples() for subject in crew.workers}
        with serving(workload, certificate=crew.tls if workload.secure else None) as url:
            for subject, worker in crew.workers.items():
                step(f"{name}: {subject} warms up")
                _probe(workload, worker, url, row[subject], seconds)
            for _ in range(repetitions):
                for subject, worker in crew.workers.items():
                    step(f"{name}: {subject}")
                    _measure(workload, worker, url, row[subject])
    return found


def steps(names: Iterable[str], crew: Crew, repetitions: int) -> int:
    """How often `run` will call `step`."""
    return len(list(names)) * len(crew.workers) * (repetitions + 1)


def _probe(workload: Workload, worker: Worker, url: str, samples: Samples, seconds: float) -> None:
    try:
        worker.measure(workload, url, PROBE_UNITS, TIMEOUT)
        answer = worker.measure(workload, url, PROBE_UNITS, TIMEOUT)
    except WorkerFailed as failed:
        samples.failed = str(failed)
        return
    wanted = round(PROBE_UNITS * seconds / max(answer["cpu"], 1e-4))
    most = min(workload.units_limit, LIMIT_BYTES // workload.size)
    samples.units = max(FEWEST_UNITS, min(wanted, most))


def _measure(workload: Workload, worker: Worker, url: str, samples: Samples) -> None:
    if samples.failed:
        return
    try:
        answer = worker.measure(workload, url, samples.units, TIMEOUT)
    except WorkerFailed as failed:
        samples.failed = str(failed)
        return
    events = samples.units * workload.events
    with contextlib.suppress(ZeroDivisionError):
        samples.cpu.append(answer["cpu"] / events * 1e6)
        samples.rate.append(events / answer["wall"])
