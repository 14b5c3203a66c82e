"""Cancel a scenario at every point, one run for each, and check each run."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from typing import TYPE_CHECKING

import attrs
import trio

from .clock import THREAD_PATIENCE
from .failures import SHOWN, Failure, told
from .recipe import Recipe
from .run import Checks, RunResult, many_runs, run_once
from .shrinking import smallest
from .targets import expanded
from .trial import CANCEL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .scheduler import Orders
    from .trial import Scenario, Verify


@attrs.define(kw_only=True)
class ActionSweep:
    """What became of one action: the points it could be fired at, and how the runs went."""

    action: str
    eligible: int  # points at which it can be fired
    points: int = 0  # points at which it was
    pairs: int = 0  # runs with a second action after the first
    runs: int = 0
    wall: float = 0.0  # real seconds
    max_unwind: float = 0.0  # virtual seconds
    failures: list[Failure] = attrs.field(factory=list)
    stopped_early: bool = False

    def line(self) -> str:
        """This sweep on one line."""
        of = "" if self.points == self.eligible else f" of {self.eligible}"
        pairs = f" and {self.pairs} pairs" if self.pairs else ""
        verdict = f"{len(self.failures)} FAILED" if self.failures else "ok"
        if self.stopped_early:
            verdict += ", stopped early"
        return (
            f"{self.action}: {self.points}{of} points{pairs}, {self.runs} runs, "
            f"{1000 * self.wall / max(1, self.runs):.1f} ms a run, "
            f"unwound within {self.max_unwind:g} s, {verdict}"
        )


@attrs.frozen
class Survey:
    """What a scenario does without an action: the run, and what is wrong with it already."""

    base: RunResult
    violations: tuple[str, ...] = ()


@attrs.define(kw_only=True)
class Report:
    """The outcome of `cancel_everywhere`.  `str` of it is what a person wants to read."""

    scenario: str
    steps: int = 0  # of the run in which nothing is injected
    points: int = 0  # of the same, inside the region or not
    broken: list[Failure] = attrs.field(factory=list)  # that run already failed; nothing was swept
    sweeps: list[ActionSweep] = attrs.field(factory=list)
    awaited: set[str] = attrs.field(factory=set)  # "file:line" of every await an action landed in
    library_channels: Counter[str] = attrs.field(factory=Counter)
    survey: Survey | None = attrs.field(default=None, repr=False)

    @property
    def failures(self) -> list[Failure]:
        """Every failure, in the order found."""
        return [*self.broken, *itertools.chain.from_iterable(s.failures for s in self.sweeps)]

    @property
    def runs(self) -> int:
        """How many runs with an action were made."""
        return sum(sweep.runs for sweep in self.sweeps)

    def kinds(self) -> Counter[str]:
        """How many failed runs there were of each kind of violation."""
        return Counter(
            kind
            for failure in self.failures
            for kind in {violation.partition(":")[0] for violation in failure.violations}
        )

    def line(self) -> str:
        """The whole report on one line."""
        if self.broken:
            first = self.broken[0].violations[0].partition("\n")[0]
            return f"{self.scenario}: FAILS with nothing injected: {first}"
        return f"{self.scenario}: " + "; ".join(sweep.line() for sweep in self.sweeps)

    def __str__(self) -> str:
        failures = self.failures
        if not failures:
            return self.line()
        kinds = ", ".join(f"{kind} x{count}" for kind, count in self.kinds().most_common())
        return "\n".join([self.line(), kinds, *told(failures)])


class CancellationFailed(AssertionError):
    """A scenario broke a promise when something was done to it; `report` says where."""

    def __init__(self, report: Report) -> None:
        self.report = report
        super().__init__(str(report))


def cancel_everywhere(
    scenario: Scenario,
    *,
    actions: Sequence[str] = (CANCEL,),
    repeat: int = 2,
    max_unwind: float = 1.0,
    allowed: tuple[type[BaseException], ...] = (),
    verify: Verify | None = None,
    sample: int | None = None,
    pairs: int = 0,
    seed: int | None = None,
    orders: Orders | None = None,
    idle: float = 0.0,
    thread_patience: float = THREAD_PATIENCE,
    max_steps: int = 50_000,
    check: bool = True,
    spare: Sequence[str] = (),
    spare_runtime: bool = True,
    name: str | None = None,
    progress: Callable[[int, int], object] | None = None,
    surveyed: Survey | None = None,
) -> Report:
    """Run a scenario once for each point of its region, doing something to it exactly there.

    A point is after every step of every task, and before the first step of every batch.  At each,
    each of `actions` is fired in a run of its own: "cancel", which cancels the region; whatever the
    scenario registered with `Trial.action` or `Trial.cancellable`; ``cancel(NAME)``, which cancels
    the task of that name alone; ``raise(NAME)``, which raises an exception where that task stands
    (`Trial.error` makes it).  A NAME may be a pattern: ``cancel(*)`` is each task that the region's
    code spawned, but for those whose names fit a pattern in `spare`.  Nor does ``*`` mean a task
    that a session of this runtime's spawned for itself: no program can cancel the receiver alone.
    One that is named is struck (``cancel(tool look_up)``), and with `spare_runtime=False` all are.
    After each run:

    - no task spawned by the region's code is alive when the region has ended, whoever's nursery it
      is in;
    - every memory channel opened by code that is not a library's is closed at both ends;
    - no file descriptor is left open;
    - a `Cancelled` that reached the region's tasks came out of the region: it was not swallowed;
    - nothing else escaped, except instances of `allowed`;
    - after an action that ends the region, its end came within `max_unwind` virtual seconds;
    - there was no deadlock and no livelock (`max_steps` steps);
    - the run went like the one without an action up to the point, and like its own repetition after
      it (each point is run `repeat` times);
    - `verify(trial)` yields no line and fails no assertion.

    `sample` limits each action to that many points, chosen by a fixed seed and, but for a single
    one, including the first and the last; 0 is none, for the pairs alone.  `pairs` adds that many
    runs in which a second action follows the first, at a later point: a second blow during the
    teardown.  `seed` or `orders` runs it all under another order of tasks than FIFO.  `idle` (real
    seconds) is for scenarios with real sockets, `thread_patience` (real seconds) for worker threads
    that take their time: for so long virtual time stands still for one.  `progress` is called with
    the number of points done and to do.

    `surveyed` is what an earlier sweep of the same scenario, under the same order, has found out
    without an action (`Report.survey`); it need not be found out again.

    The first failures are shrunk: of a pair to the one blow that does it, if one does; of another
    order to the fewest batches that must depart from FIFO.

    Makes its own Trio loops, under a virtual clock: call it from a plain `def` test.

    Returns:
        the report.

    Raises:
        CancellationFailed: something was wrong; with `check=False` it is only reported.
        ValueError: an action cannot be fired anywhere, so the sweep would prove nothing.
        HarnessError: an action raised.
        UnsupportedTrio: this Trio lacks a hook that the kit stands on.
    """
    __tracebackhide__ = True
    if trio.lowlevel.in_trio_run():
        raise RuntimeError(
            "cancel_everywhere runs Trio loops of its own: call it from a plain function"
        )
    checks = Checks(
        max_unwind=max_unwind,
        allowed=allowed,
        verify=verify,
        idle=idle,
        thread_patience=thread_patience,
        max_steps=max_steps,
    )
    recipe = Recipe(seed=seed, orders=dict(orders or {}))
    report = Report(scenario=name or str(getattr(scenario, "__name__", scenario)))
    sweeper = _Sweeper(scenario, checks, recipe, repeat, report)
    with many_runs():
        survey = report.survey = surveyed or sweeper.survey()
        base = survey.base
        report.points, report.steps = base.points, base.steps
        if survey.violations:
            report.broken.append(Failure.of(base, survey.violations))
        else:
            spared = base.runtimes if spare_runtime else ()
            chosen = expanded(actions, base.eligible, spare, spared)
            sweeper.sweep(base, chosen, sample, pairs, progress)
    if check and report.failures:
        raise CancellationFailed(report)
    return report


class _Sweeper:
    """The runs of one sweep."""

    def __init__(
        self, scenario: Scenario, checks: Checks, recipe: Recipe, repeat: int, report: Report
    ) -> None:
        self._scenario = scenario
        self._checks = checks
        self._recipe = recipe
        self._repeat = max(1, repeat)
        self._report = report
        self._shrunk = 0  # failures that were

    def _run(self, inject: Sequence[tuple[int, str]] = (), *, survey: bool = False) -> RunResult:
        recipe = attrs.evolve(self._recipe, inject=tuple(inject))
        return run_once(self._scenario, recipe, self._checks, survey=survey)

    def survey(self) -> Survey:
        """The run without an action, twice: it must be sound, and the same both times."""
        base, again = self._run(survey=True), self._run()
        if base.violations or _difference("", base, again):
            # Somebody's first import or first use may happen in the first run ever; that is not the
            # program.
            base = self._run(survey=True)
        violations = [*base.violations, *_difference("two runs with nothing injected", base, again)]
        if base.violations and base.orders:
            base = smallest(base, lambda recipe: run_once(self._scenario, recipe, self._checks))
            violations = list(base.violations)
        return Survey(base, tuple(violations))

    def sweep(
        self,
        base: RunResult,
        actions: Sequence[str],
        sample: int | None,
        pairs: int,
        progress: Callable[[int, int], object] | None,
    ) -> None:
        chosen = {action: _choose(base, action, sample) for action in actions}
        total, done = sum(map(len, chosen.values())), 0
        for action, points in chosen.items():
            sweep = ActionSweep(action=action, eligible=len(base.eligible[action]))
            self._report.sweeps.append(sweep)
            for point in points:
                self._one_point(sweep, base, point)
                done += 1
                if progress is not None:
                    progress(done, total)
                if sweep.stopped_early:
                    break
            else:
                self._pairs(sweep, base, actions, pairs)

    def _one_point(self, sweep: ActionSweep, base: RunResult, point: int) -> None:
        first = self._run([(point, sweep.action)])
        violations = [*first.violations, *_prefix_difference(base, first)]
        sweep.points += 1
        self._count(sweep, first)
        for _ in range(self._repeat - 1):
            if first.hard_stopped:
                break  # its tasks can never be unwound; once is enough
            again = self._run([(point, sweep.action)])
            self._count(sweep, again)
            violations += _difference("the same point twice", first, again)
        self._judge(sweep, first, violations)

    def _pairs(
        self,
        sweep: ActionSweep,
        base: RunResult,
        actions: Sequence[str],
        pairs: int,
    ) -> None:
        """A second action at some later point: most of them fall into the teardown."""
        chooser = random.Random(f"{sweep.action} {pairs}")
        for _ in range(pairs):
            point = chooser.choice(base.eligible[sweep.action])
            # Where the second can go is known only from a run with the first.
            after_first = run_once(
                self._scenario,
                attrs.evolve(self._recipe, inject=((point, sweep.action),)),
                self._checks,
                survey=True,
            )
            second = chooser.choice(actions)
            if second in after_first.runtimes - base.runtimes:
                continue  # its task did not come, and one of this runtime's has the same name
            later = [each for each in after_first.eligible.get(second, ()) if each > point]
            if not later:
                continue
            result = self._run([(point, sweep.action), (chooser.choice(later), second)])
            sweep.pairs += 1
            self._count(sweep, result)
            self._judge(sweep, result, [*result.violations, *_prefix_difference(base, result)])
            if sweep.stopped_early:
                return

    def _count(self, sweep: ActionSweep, result: RunResult) -> None:
        sweep.runs += 1
        sweep.wall += result.wall
        sweep.max_unwind = max(sweep.max_unwind, result.unwind or 0.0)
        self._report.library_channels.update(result.library_channels)
        for place in result.places:
            self._report.awaited.update(each.rpartition(" @ ")[2] for each in place.awaiting)

    def _judge(self, sweep: ActionSweep, result: RunResult, violations: Iterable[str]) -> None:
        sweep.stopped_early |= result.hard_stopped
        violations = tuple(violations)
        if not violations:
            return
        shrinkable = len(result.recipe.inject) > 1 or bool(result.orders)
        if shrinkable and result.violations and self._shrunk < SHOWN:
            self._shrunk += 1
            result = smallest(result, lambda recipe: run_once(self._scenario, recipe, self._checks))
            violations = result.violations
        sweep.failures.append(Failure.of(result, violations))


def _choose(base: RunResult, action: str, sample: int | None) -> list[int]:
    points = base.eligible.get(action, [])
    if not points:
        known = ", ".join(sorted(base.eligible)) or "none: the region has no points"
        raise ValueError(f"action {action!r} cannot be fired at any point (actions: {known})")
    if sample is None or sample >= len(points):
        return points
    if not sample:
        return []
    chooser = random.Random(f"{action} {sample}")
    if sample == 1:
        return [chooser.choice(points)]
    ends = {points[0], points[-1]}
    between = points[1:-1]
    return sorted(ends | set(chooser.sample(between, max(0, sample - len(ends)))))


def _difference(what: str, first: RunResult, second: RunResult) -> list[str]:
    for number, (a, b) in enumerate(itertools.zip_longest(first.trace, second.trace)):
        if a != b:
            return [f"nondeterministic: {what} differ from step {number} on: {a!r}, {b!r}"]
    return []


def _prefix_difference(base: RunResult, injected: RunResult) -> list[str]:
    length = injected.prefix_length
    if length is None or injected.trace[:length] == base.trace[:length]:
        return []
    return [
        "nondeterministic: the run differs from the one with nothing injected before the action"
    ]


def replay(
    scenario: Scenario,
    recipe: Recipe | str,
    *,
    max_unwind: float = 1.0,
    allowed: tuple[type[BaseException], ...] = (),
    verify: Verify | None = None,
    idle: float = 0.0,
    thread_patience: float = THREAD_PATIENCE,
    max_steps: int = 50_000,
) -> RunResult:
    """Run a scenario once, as the recipe of a failure says; give it the same limits as the sweep.

    Raises:
        ValueError: not a recipe.
        HarnessError: an action raised, or does not exist.
        UnsupportedTrio: this Trio lacks a hook that the kit stands on.
    """
    if isinstance(recipe, str):
        recipe = Recipe.parse(recipe)
    checks = Checks(
        max_unwind=max_unwind,
        allowed=allowed,
        verify=verify,
        idle=idle,
        thread_patience=thread_patience,
        max_steps=max_steps,
    )
    return run_once(scenario, recipe, checks)
