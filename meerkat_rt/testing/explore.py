"""Run a scenario under orders of its tasks that FIFO never takes, and shrink what fails.

Two ways.  `explore` draws random orders from seeds, and lands an action at random points of each.
`explore_nearby` tries every order that differs from FIFO in one batch, in which one task is moved
to the front or to the back: linear in the length of the run, and no luck is involved.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import attrs
import trio

from .failures import Failure, told
from .recipe import Recipe
from .run import Checks, RunResult, many_runs, run_once
from .shrinking import smallest
from .trial import CANCEL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .scheduler import Order
    from .trial import Scenario, Verify


@attrs.define(kw_only=True)
class Exploration:
    """What an exploration found.  The recipe of a failure holds the fewest departures from FIFO."""

    scenario: str
    runs: int = 0
    digests: set[str] = attrs.field(factory=set, repr=False)
    failures: list[Failure] = attrs.field(factory=list)

    @property
    def schedules(self) -> int:
        """How many different ways the scenario went with nothing injected."""
        return len(self.digests)

    def __str__(self) -> str:
        verdict = f"{len(self.failures)} FAILED" if self.failures else "ok"
        line = f"{self.scenario}: {self.runs} runs, {self.schedules} schedules, {verdict}"
        return "\n".join([line, *told(self.failures)])


class ExplorationFailed(AssertionError):
    """A scenario broke a promise under some order of its tasks; `exploration` says which."""

    def __init__(self, exploration: Exploration) -> None:
        self.exploration = exploration
        super().__init__(str(exploration))


def explore(
    scenario: Scenario,
    *,
    seeds: Iterable[int],
    points: int = 1,
    action: str = CANCEL,
    max_unwind: float = 1.0,
    allowed: tuple[type[BaseException], ...] = (),
    verify: Verify | None = None,
    stop_after: int = 1,
    check: bool = True,
    name: str | None = None,
) -> Exploration:
    """Run a scenario under a random order for each seed: untouched, then with `action` injected.

    `action` is fired at `points` random points, each in a run of its own.  Every run is checked as
    by `cancel_everywhere`.  A failure is shrunk: its recipe names the fewest batches that must
    depart from FIFO, and replays without the seed.  Ends after `stop_after` failures.

    Raises:
        ExplorationFailed: something was wrong; with `check=False` it is only reported.
        HarnessError, UnsupportedTrio: as `cancel_everywhere`.
    """
    __tracebackhide__ = True
    explorer = _Explorer(
        scenario, Checks(max_unwind=max_unwind, allowed=allowed, verify=verify), name, stop_after
    )
    with many_runs():
        for seed in seeds:
            base = explorer.run(Recipe(seed=seed), survey=action)
            explorer.result.digests.add(base.digest)
            eligible = base.eligible.get(action, [])
            if base.violations or not eligible:
                explorer.judge(base)
            else:
                chooser = random.Random(seed)
                for point in sorted(chooser.sample(eligible, min(points, len(eligible)))):
                    explorer.judge(explorer.run(Recipe(inject=((point, action),), seed=seed)))
            if explorer.enough:
                break
    return explorer.finish(check)


def explore_nearby(
    scenario: Scenario,
    *,
    max_unwind: float = 1.0,
    allowed: tuple[type[BaseException], ...] = (),
    verify: Verify | None = None,
    depth: int = 1,
    limit: int = 10_000,
    stop_after: int = 1,
    check: bool = True,
    name: str | None = None,
) -> Exploration:
    """Run a scenario under every order that departs from FIFO in at most `depth` batches.

    In each, one task runs first or last and the others keep their order.  At most `limit` runs,
    spread over the whole length of the program: their number grows with the power `depth` of that
    length.  Nothing is injected.

    Raises:
        ExplorationFailed: something was wrong; with `check=False` it is only reported.
        HarnessError, UnsupportedTrio: as `cancel_everywhere`.
    """
    __tracebackhide__ = True
    explorer = _Explorer(
        scenario, Checks(max_unwind=max_unwind, allowed=allowed, verify=verify), name, stop_after
    )
    waiting: list[dict[int, Order]] = [{}]
    with many_runs():
        while waiting and explorer.result.runs < limit and not explorer.enough:
            orders = waiting.pop(0)
            result = explorer.run(Recipe(orders=orders))
            explorer.result.digests.add(result.digest)
            explorer.judge(result)
            if len(orders) < depth and not result.violations and len(waiting) < limit:
                waiting += _spread(list(_one_further(orders, result.batches)), limit)
    return explorer.finish(check)


def _one_further(orders: dict[int, Order], batches: tuple[int, ...]) -> Iterator[dict[int, Order]]:
    """The orders with one more departure, behind those that there are."""
    first_new = max(orders, default=-1) + 1
    for batch, size in enumerate(batches):
        if batch >= first_new:
            yield from ({**orders, batch: order} for order in _one_moved(size))


def _spread(found: list[dict[int, Order]], limit: int) -> list[dict[int, Order]]:
    """All, or where they are too many, so many of them over the whole length of the run."""
    if len(found) <= limit:
        return found
    return [found[number * len(found) // limit] for number in range(limit)]


def _one_moved(size: int) -> Iterator[Order]:
    """FIFO with one task moved to the front or to the back."""
    fifo = tuple(range(size))
    seen = {fifo}
    for moved in fifo:
        rest = fifo[:moved] + fifo[moved + 1 :]
        for order in ((moved, *rest), (*rest, moved)):
            if order not in seen:
                seen.add(order)
                yield order


class _Explorer:
    """The runs of one exploration."""

    def __init__(
        self, scenario: Scenario, checks: Checks, name: str | None, stop_after: int
    ) -> None:
        if trio.lowlevel.in_trio_run():
            raise RuntimeError(
                "exploring runs Trio loops of its own: call it from a plain function"
            )
        self._scenario = scenario
        self._checks = checks
        self._stop_after = stop_after
        self._hard_stopped = False
        self.result = Exploration(scenario=name or str(getattr(scenario, "__name__", scenario)))

    def run(self, recipe: Recipe, *, survey: bool | str = False) -> RunResult:
        self.result.runs += 1
        return run_once(self._scenario, recipe, self._checks, survey=survey)

    @property
    def enough(self) -> bool:
        return self._hard_stopped or len(self.result.failures) >= self._stop_after

    def judge(self, result: RunResult) -> None:
        if not result.violations or self.enough:
            return
        # Each such run leaves tasks that can never be unwound.
        self._hard_stopped = result.hard_stopped
        self.result.failures.append(Failure.of(smallest(result, self.run)))

    def finish(self, check: bool) -> Exploration:
        __tracebackhide__ = True
        if check and self.result.failures:
            raise ExplorationFailed(self.result)
        return self.result
