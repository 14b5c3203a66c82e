"""The pytest plugin, beside pytest-trio: virtual time, seeded orders, and nothing left behind.

- fixture `virtual_time`: the test runs under a virtual clock (the fixture's value) and in FIFO
  order, and if all its tasks wait for what can never come, it fails with the name and line of every
  waiter instead of hanging;
- marker `virtual_time`: the same without the value, and with other limits than the usual ones.
  ``threads=SECONDS`` (1.0) of real time are what a worker thread gets, from the moment that a task
  waits for it: so long time stands still, then it is a wait like any other, which the next deadline
  ends, or the test fails with the function that runs in the thread.  ``horizon=SECONDS`` (86400) of
  virtual time are what the test gets, lest a heart that beats for ever keep it from failing;
- marker `seeded`: the test runs under a seeded order of its tasks, once for each of
  ``--meerkat-seeds N`` seeds (default 1), or under ``--meerkat-seed S`` alone; a failure prints the
  command that repeats it;
- fixture `quiescent`: the test fails if it leaves a memory channel end, a descriptor or a thread.

Only for tests that pytest-trio runs; `cancel_everywhere` and the like are called from plain
functions.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
import trio.testing

from .clock import THREAD_PATIENCE, StallWatch, virtual_clock
from .quiescence import quiescent_after
from .run import bury
from .scheduler import Schedule, own_order

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator

    from .quiescence import QuiescenceBaseline

_SEED = "meerkat_seed"
_VIRTUAL_TIME = "virtual_time"
_SCHEDULE = pytest.StashKey[Schedule]()


HORIZON = 86_400.0  # virtual seconds; the longest session that a provider grants is two hours


class Deadlock(AssertionError):
    """Every task of a test waits for what can never come; the message names them all."""

    def __init__(self, waiters: list[str], problem: str = "every task waits for ever") -> None:
        self.waiters = waiters
        super().__init__(f"{problem}:\n" + "\n".join(f"  {each}" for each in waiters))


@attrs.frozen(kw_only=True)
class Limits:
    """The arguments of the marker `virtual_time`."""

    threads: float = attrs.field(default=THREAD_PATIENCE, validator=attrs.validators.ge(0))
    horizon: float = attrs.field(default=HORIZON, validator=attrs.validators.gt(0))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that choose the seeds."""
    group = parser.getgroup("meerkat", "deterministic Trio tests")
    group.addoption(
        "--meerkat-seeds",
        type=int,
        default=1,
        metavar="N",
        help="run every test marked 'seeded' under N seeds, 0 to N-1 (default 1)",
    )
    group.addoption(
        "--meerkat-seed",
        type=int,
        default=None,
        metavar="S",
        help="run every test marked 'seeded' under this seed only",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers."""
    config.addinivalue_line(
        "markers", "seeded: run under seeded orders of tasks, see --meerkat-seeds"
    )
    config.addinivalue_line(
        "markers",
        "virtual_time(threads=1.0, horizon=86400.0): run under a virtual clock; real seconds for "
        "each worker thread, virtual seconds for the test",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test a seed."""
    if metafunc.definition.get_closest_marker("seeded") is None:
        return
    only = metafunc.config.getoption("--meerkat-seed")
    seeds = range(metafunc.config.getoption("--meerkat-seeds")) if only is None else [only]
    metafunc.fixturenames.append(_SEED)
    metafunc.parametrize(_SEED, list(seeds), ids=[f"seed{seed}" for seed in seeds], indirect=True)


@pytest.fixture
def meerkat_seed(request: pytest.FixtureRequest) -> int:
    """The seed that a test marked `seeded` runs under."""
    return int(request.param)


@pytest.fixture
def virtual_time() -> trio.testing.MockClock:
    """A virtual clock for this test, which fails instead of waiting for ever."""
    return virtual_clock()


@pytest.fixture
def quiescent() -> Iterator[QuiescenceBaseline]:
    """Fail the test if it leaves a memory channel end, a descriptor or a busy thread."""
    with quiescent_after() as baseline:
        yield baseline


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have pytest-trio run the tests that ask for it under our clock and our order."""
    for item in items:
        if item.get_closest_marker("trio") is None:
            continue
        if _limits_of(item) is not None or _seed_of(item) is not None:
            run = functools.partial(_run, item)
            item.add_marker(pytest.mark.trio(run=run), append=False)


def _run(
    item: pytest.Item,
    async_fn: Callable[..., Awaitable[Any]],
    *args: Any,
    clock: trio.abc.Clock | None = None,
    instruments: Iterable[trio.abc.Instrument] = (),
) -> Any:
    """`trio.run` for one test."""
    __tracebackhide__ = True
    instruments = list(instruments)
    scope = trio.CancelScope()
    stalled: list[Deadlock] = []
    schedule = Schedule(seed=_seed_of(item))

    def on_stall(waiters: list[str]) -> None:
        if stalled:
            schedule.stop("deadlock behind a shield")
        elif trio.current_time() > horizon:
            stalled.append(Deadlock(waiters, f"not over after {horizon:g} virtual seconds"))
        else:
            stalled.append(Deadlock(waiters))
        scope.cancel("deadlock")

    horizon = math.inf
    if (limits := _limits_of(item)) is not None:
        horizon = limits.horizon
        clock = clock or virtual_clock()
        watch = StallWatch(
            on_stall,
            thread_patience=limits.threads,
            clock=clock if isinstance(clock, trio.testing.MockClock) else None,
            horizon=horizon,
        )
        instruments.append(watch)

    async def main() -> Any:
        with scope:
            return await async_fn(*args)

    item.stash[_SCHEDULE] = schedule
    error: Exception | BaseExceptionGroup | None = None
    result = None
    try:
        with own_order(schedule):
            result = trio.run(main, clock=clock, instruments=instruments)
    except (Exception, BaseExceptionGroup) as exc:
        if not stalled:
            raise
        error = exc
    if schedule.stopped is not None:
        bury(error)
        error = None
    if stalled:
        raise stalled[0] from error
    return result


def _limits_of(item: pytest.Item) -> Limits | None:
    """The limits of a test that runs in virtual time.

    Raises:
        UsageError: there is no such limit, or it cannot be so small.
    """
    marker = item.get_closest_marker(_VIRTUAL_TIME)
    if marker is not None:
        try:
            return Limits(*marker.args, **marker.kwargs)
        except (TypeError, ValueError) as exc:
            raise pytest.UsageError(f"{item.nodeid}: marker {_VIRTUAL_TIME}: {exc}") from exc
    return Limits() if _VIRTUAL_TIME in getattr(item, "fixturenames", ()) else None


def _seed_of(item: pytest.Item) -> int | None:
    # Not by the fixture: pytest leaves out one that neither the test nor another fixture names.
    params = getattr(getattr(item, "callspec", None), "params", {})
    return params.get(_SEED)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, Any, None]:
    """Say how to repeat a seeded test that failed."""
    outcome = yield
    report = outcome.get_result()
    schedule = item.stash.get(_SCHEDULE, None)
    if (
        report.when == "call"
        and report.failed
        and schedule is not None
        and schedule.seed is not None
    ):
        command = f"pytest '{item.nodeid}' --meerkat-seed {schedule.seed}"
        report.sections.append(("to repeat this order of tasks", command))
