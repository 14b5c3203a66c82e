"""Looks for the first tool of the scenario suite that notices a mistake.

Runs in a process of its own, in which nothing of the package is imported before the mistake has
been planted: so nothing is imported here that imports it.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING

import attrs

from .mistakes import MUTANTS
from .planting import plant

if TYPE_CHECKING:
    from meerkat_rt.testing.failures import Failure
    from meerkat_rt.testing.sweep.case import Case
    from meerkat_rt.testing.sweep.plan import Job

CHECKED, CANCELLED = "a run with the checks", "cancellation"
LONG = "long calls"  # the family of scenarios that this leaves out: they take most of the time
HAPPY, UNNOTICED = "the happy path", ""
_BLOWS = {"reset": "a reset of the connection", "interrupt": "an interruption"}
RAISED = "raise(*)"
_STRIKES = {"cancel(*)": "cancellation of one task", RAISED: "an exception in one task"}
_WRONG_BY_ITSELF = ("escaped", "deadlock", "livelock")


@attrs.frozen(kw_only=True)
class Verdict:
    """What became of a mutant: the tool that killed it, with which scenario, and how to see it.

    `tool` is HAPPY for a mistake too coarse to count, and UNNOTICED for one that survived.
    """

    mutant: str
    tool: str
    scenario: str = ""
    wire: str = ""
    transport: str = ""
    unwind: float = 0.0
    recipe: str = ""
    violation: str = ""

    @property
    def killed(self) -> bool:
        """It survived the happy path, and not the tools."""
        return self.tool not in (HAPPY, UNNOTICED)

    def command(self) -> str:
        """What shows it again."""
        words = [self.mutant, "--only", self.scenario, "--wire", self.wire]
        words += ["--transport", self.transport, "--unwind", f"{self.unwind:g}"]
        return "python -m tests.mutants.replay " + shlex.join([*words, "--replay", self.recipe])


def hunt(name: str, hint: Verdict | None = None) -> Verdict:
    """Plant a mistake and look for it; `hint` says where it was found last, which is tried first.

    Without a hint the tools are tried from the cheapest to the dearest, each with every scenario.
    """
    plant(MUTANTS[name])
    from meerkat_rt.testing.run import many_runs
    from meerkat_rt.testing.scenarios import SCENARIOS

    with many_runs():
        for case in SCENARIOS.values():
            if case.family != LONG and (wrong := _plainly(case)):
                return Verdict(mutant=name, tool=HAPPY, scenario=case.name, violation=wrong)
    if hint is not None and hint.killed and (found := _replayed(hint)) is not None:
        return found
    jobs = list(_jobs())
    if hint is not None:
        jobs.sort(key=lambda each: not _as_last_time(hint, *each))  # stable
    for tool, job in jobs:
        failure = _checked(job) if tool == CHECKED else _first_failure(job)
        if failure is not None:
            return Verdict(
                mutant=name,
                tool=tool,
                scenario=job.case,
                wire=job.wire,
                transport=job.transport,
                unwind=job.unwind,
                recipe=str(failure.recipe),
                violation=failure.violations[0],
            )
    return Verdict(mutant=name, tool=UNNOTICED)


def _plainly(case: Case) -> str | None:
    """What goes wrong when a scenario is just run once, and nobody looks at what is left."""
    from meerkat_rt.testing.run import Checks, run_once

    result = run_once(case.on(), checks=Checks(max_unwind=math.inf, allowed=case.allowed))
    wrong = (each for each in result.violations if each.startswith(_WRONG_BY_ITSELF))
    return next(wrong, None)


def _as_last_time(hint: Verdict, tool: str, job: Job) -> bool:
    where = (hint.tool, hint.scenario, hint.wire, hint.transport)
    return where == (tool, job.case, job.wire, job.transport)


def _replayed(hint: Verdict) -> Verdict | None:
    """The same run again; None if it is sound, or the scenario is another than it was."""
    from meerkat_rt.testing.everywhere import replay
    from meerkat_rt.testing.scenarios import SCENARIOS

    case = SCENARIOS.get(hint.scenario)
    if case is None or not hint.recipe:
        return None
    result = replay(
        case.on(hint.wire, hint.transport),  # type: ignore[arg-type]
        hint.recipe,
        max_unwind=hint.unwind,
        allowed=case.allowed,
        verify=case.verify,
    )
    wrong = [each for each in result.violations if not each.startswith("diverged")]
    return attrs.evolve(hint, violation=wrong[0]) if wrong else None


def _jobs() -> Iterator[tuple[str, Job]]:
    """What to try, each scenario with a tool before the next tool."""
    from meerkat_rt.testing.scenarios import SCENARIOS
    from meerkat_rt.testing.sweep.plan import BLOW_UNWIND, Job

    def job(case: Case, place: int = 0, **settings: object) -> Job:
        wires = [(wire, transport) for transport in case.transports for wire in case.wires]
        wire, transport = wires[place]
        return Job(
            **{  # type: ignore[arg-type]
                "source": "",
                "case": case.name,
                "wire": wire,
                "transport": transport,
                "unwind": case.unwind,
                **settings,
            }
        )

    cases = [case for case in SCENARIOS.values() if case.family != LONG]
    most = max(len(case.wires) * len(case.transports) for case in cases)
    everywhere = [
        (case, place)
        for place in range(1, most)
        for case in cases
        if place < len(case.wires) * len(case.transports)
    ]
    for case in cases:
        yield CHECKED, job(case)
    for case, place in everywhere:
        yield CHECKED, job(case, place)
    # A little of every tool, then much of each: most mistakes die early.
    for few in (True, False):
        for case in cases:
            yield CANCELLED, job(case, sample=10 if few else None)
        for strike, tool in _STRIKES.items():
            for case in cases:
                unwind = max(case.unwind, BLOW_UNWIND)
                yield tool, job(case, actions=(strike,), sample=2 if few else 15, unwind=unwind)
        for blow, tool in _BLOWS.items():
            for case in cases:
                if blow in case.blows:
                    sample, unwind = 10 if few else None, max(case.unwind, BLOW_UNWIND)
                    yield tool, job(case, actions=(blow,), sample=sample, unwind=unwind)
        for case, place in everywhere:
            yield CANCELLED, job(case, place, sample=2 if few else 25)
        for case in cases:
            yield "other orders", job(case, seeds=tuple(range(2 if few else 30)), sample=10)
        for case in cases:
            both = ("cancel", *(blow for blow in case.blows if blow != "interrupt"))
            pairs, unwind = 2 if few else 20, max(case.unwind, BLOW_UNWIND)
            yield "two blows", job(case, actions=both, sample=0, pairs=pairs, unwind=unwind)


def _checked(job: Job) -> Failure | None:
    """Run it once, with nothing injected."""
    from meerkat_rt.testing.failures import Failure
    from meerkat_rt.testing.run import Checks, run_once
    from meerkat_rt.testing.scenarios import SCENARIOS

    case = SCENARIOS[job.case]
    checks = Checks(max_unwind=job.unwind, allowed=case.allowed, verify=case.verify)
    result = run_once(case.on(job.wire, job.transport), checks=checks)
    if not result.violations:
        return None
    return Failure(recipe=result.recipe, violations=result.violations, landed="nothing injected")


def _first_failure(job: Job) -> Failure | None:
    """Do the job, and give the first of what it finds."""
    from meerkat_rt.testing.everywhere import cancel_everywhere
    from meerkat_rt.testing.explore import explore
    from meerkat_rt.testing.scenarios import SCENARIOS

    case = SCENARIOS[job.case]
    scenario = case.on(job.wire, job.transport)
    checks = {"max_unwind": job.unwind, "allowed": case.allowed, "verify": case.verify}
    if job.seeds:
        assert job.sample is not None
        found = explore(scenario, seeds=job.seeds, points=job.sample, check=False, **checks)  # type: ignore[arg-type]
        return found.failures[0] if found.failures else None
    report = cancel_everywhere(
        scenario,
        actions=job.actions,
        sample=job.sample,
        pairs=job.pairs,
        repeat=1,
        # In `Nursery.start`, where these wait for a connection, no exception arises by itself.
        spare=(*case.spare, "supervisor", "continuity") if job.actions == (RAISED,) else case.spare,
        spare_runtime=case.spare_runtime,
        check=False,
        **checks,  # type: ignore[arg-type]
    )
    return report.failures[0] if report.failures else None
