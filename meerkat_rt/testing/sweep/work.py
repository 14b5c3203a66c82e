"""One job of the command, done in this process."""

from __future__ import annotations

import shlex
import time
import traceback
from typing import TYPE_CHECKING

import attrs

from ..everywhere import cancel_everywhere
from ..explore import explore, explore_nearby
from ..failures import grouped, in_short
from .plan import Job
from .sources import OURS, cases_of

if TYPE_CHECKING:
    from ..everywhere import Survey
    from ..failures import Failure

COMMAND = "python -m meerkat_rt.testing.sweep"
_ENOUGH = 3  # failures of one job that are worth telling, those that are alike being one
_REMEMBERED = 8  # surveys

_surveys: dict[tuple[str, ...], Survey] = {}
"""What the latest jobs of this process have found out about their scenarios without an action."""


@attrs.frozen(kw_only=True)
class Outcome:
    """What a job came to: how much was run, and a text for each failure."""

    job: Job
    points: int = 0
    seeds: int = 0
    runs: int = 0
    failed: int = 0
    failures: tuple[str, ...] = ()
    seconds: float = 0.0  # real
    cpu: float = 0.0  # seconds of a processor


def do(job: Job) -> Outcome:
    """Run a job.  What goes wrong with the job itself is a failure too."""
    began, used = time.perf_counter(), time.process_time()
    try:
        outcome = (_explored if job.seeds else _nearby if job.deviations else _swept)(job)
    except Exception:
        text = f"{job.case}: could not be swept\n{traceback.format_exc()}"
        outcome = Outcome(job=job, failed=1, failures=(text,))
    return attrs.evolve(
        outcome, seconds=time.perf_counter() - began, cpu=time.process_time() - used
    )


def _swept(job: Job) -> Outcome:
    case = cases_of(job.source)[job.case]
    what = (job.source, job.case, job.wire, job.transport)
    report = cancel_everywhere(
        case.on(job.wire, job.transport),
        actions=job.actions,
        sample=job.sample,
        pairs=job.pairs,
        repeat=job.repeat,
        max_unwind=job.unwind,
        allowed=case.allowed,
        verify=case.verify,
        spare=case.spare,
        spare_runtime=case.spare_runtime,
        check=False,
        surveyed=_surveys.get(what),
    )
    assert report.survey is not None
    if what not in _surveys:
        # The next jobs are most likely of the same scenario; those of the last but one are done.
        while len(_surveys) >= _REMEMBERED:
            del _surveys[next(iter(_surveys))]
        _surveys[what] = report.survey
    return Outcome(
        job=job,
        points=sum(sweep.points for sweep in report.sweeps),
        runs=report.runs,
        failed=len(report.failures),
        failures=_told(job, report.scenario, report.failures),
    )


def _explored(job: Job) -> Outcome:
    case = cases_of(job.source)[job.case]
    assert job.sample is not None
    result = explore(
        case.on(job.wire, job.transport),
        seeds=job.seeds,
        points=job.sample,
        action=job.actions[0],
        max_unwind=job.unwind,
        allowed=case.allowed,
        verify=case.verify,
        stop_after=_ENOUGH,
        check=False,
    )
    return Outcome(
        job=job,
        seeds=len(job.seeds),
        runs=result.runs,
        failed=len(result.failures),
        failures=_told(job, result.scenario, result.failures),
    )


def _nearby(job: Job) -> Outcome:
    case = cases_of(job.source)[job.case]
    result = explore_nearby(
        case.on(job.wire, job.transport),
        depth=2,
        limit=job.deviations,
        max_unwind=job.unwind,
        allowed=case.allowed,
        verify=case.verify,
        stop_after=_ENOUGH,
        check=False,
    )
    return Outcome(
        job=job,
        runs=result.runs,
        failed=len(result.failures),
        failures=_told(job, result.scenario, result.failures),
    )


def _told(job: Job, scenario: str, failures: list[Failure]) -> tuple[str, ...]:
    return tuple(
        f"{scenario}: {in_short(alike)}\n    {replay_command(job, str(alike[0].recipe))}"
        for alike in grouped(failures)[:_ENOUGH]
    )


def replay_command(job: Job, recipe: str) -> str:
    """The command that makes one failed run happen again."""
    words = [] if job.source == OURS else [job.source]
    words += ["--only", job.case, "--wire", job.wire]
    if job.transport:
        words += ["--transport", job.transport]
    words += ["--unwind", f"{job.unwind:g}", "--replay", recipe]
    return f"{COMMAND} {shlex.join(words)}"
