"""One run of a scenario under the harness, and what is checked after it."""

from __future__ import annotations

import atexit
import contextlib
import gc
import hashlib
import itertools
import sys
import time
from typing import TYPE_CHECKING, Any

import attrs
import trio

from ..runtime.failures import leaves
from . import descriptors, places, scheduler
from .clock import THREAD_PATIENCE, virtual_clock
from .probe import Place, Probe
from .recipe import Recipe
from .trial import CANCEL, Trial, Verify

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .trial import Scenario


_COLLECT_EVERY = 50  # runs; each leaves some cyclic garbage
_runs = itertools.count(1)


class HarnessError(RuntimeError):
    """The harness could not do its work: an action or a check of its own failed."""


@attrs.frozen(kw_only=True)
class Checks:
    """What a run is held to.

    `max_unwind`: virtual seconds from an action that ends the region to the region's end.
    `allowed`: exceptions that the scenario may end with.  `verify`: the scenario's own invariants.
    `idle`: real seconds of idleness before time moves or a deadlock is declared; above zero only
    for scenarios that use real sockets.  `thread_patience`: real seconds that a worker thread may
    hold virtual time still, as in `StallWatch`.  `max_steps`: more than that is a livelock.
    """

    max_unwind: float = 1.0
    allowed: tuple[type[BaseException], ...] = ()
    verify: Verify | None = None
    idle: float = 0.0
    thread_patience: float = THREAD_PATIENCE
    max_steps: int = 50_000


@attrs.frozen(kw_only=True)
class RunResult:
    """What one run did, and everything that was wrong with it."""

    recipe: Recipe
    violations: tuple[str, ...]
    places: tuple[Place, ...]
    trace: tuple[str, ...] = attrs.field(repr=False)
    prefix_length: int | None  # how much of the trace came before the first action
    log: tuple[tuple[Any, ...], ...] = attrs.field(repr=False)
    points: int
    steps: int
    eligible: dict[str, list[int]] = attrs.field(repr=False)
    runtimes: frozenset[str] = attrs.field(repr=False)  # of these, those on its own tasks alone
    batches: tuple[int, ...] = attrs.field(repr=False)  # sizes, of those of two tasks or more
    orders: dict[int, tuple[int, ...]] = attrs.field(repr=False)  # the departures from FIFO
    unwind: float | None  # virtual seconds from the first ending action to the region's end
    hard_stopped: bool
    library_channels: tuple[str, ...]
    wall: float  # real seconds

    @property
    def digest(self) -> str:
        """Equal for two runs exactly if the same tasks took the same steps at the same times."""
        text = "\n".join(self.trace).encode()
        return hashlib.blake2b(text, digest_size=12).hexdigest()


def run_once(
    scenario: Scenario,
    recipe: Recipe | None = None,
    checks: Checks | None = None,
    *,
    survey: bool | str = False,
    instruments: Iterable[trio.abc.Instrument] = (),
) -> RunResult:
    """Run a scenario once, as `recipe` says, and check it.

    Runs its own Trio loop under a virtual clock.  `survey` also records at which points each action
    can be fired, or at least the one that it names.

    Raises:
        HarnessError: an action failed, or does not exist.
        UnsupportedTrio: this Trio lacks a hook.
    """
    recipe, checks = recipe or Recipe(), checks or Checks()
    trial, schedule, clock = Trial(), recipe.schedule(), virtual_clock()
    if checks.idle:
        clock.autojump_threshold = checks.idle
    probe = Probe(
        trial,
        schedule,
        clock,
        inject=recipe.inject,
        survey=survey,
        idle=checks.idle,
        thread_patience=checks.thread_patience,
        max_steps=checks.max_steps,
    )

    async def main() -> None:
        with probe.watchdog:
            await scenario(trial)

    error: BaseException | None = None
    descriptors_before = descriptors.numbers()
    with _no_collection(), scheduler.own_order(schedule):
        began = time.perf_counter()
        with scheduler.tracked_channels(trial.on_channel_open):
            try:
                trio.run(main, clock=clock, instruments=[probe, *instruments])
            except (Exception, BaseExceptionGroup) as exc:
                if _is_an_interrupt(exc):
                    raise
                error = exc
        wall = time.perf_counter() - began
    if schedule.stopped is not None:
        bury(error, trial, probe)
        error = None
    if probe.error is not None:
        raise HarnessError(f"{recipe}: {_flat(probe.error)}") from probe.error

    unwind = _unwind(trial, probe)
    found = list(_violations(trial, probe, schedule, error, unwind, checks, descriptors_before))
    if probe.deadlock is None and schedule.stopped is None:
        found += _verdict(trial, checks.verify, found)
    return RunResult(
        recipe=recipe,
        violations=tuple(found),
        places=tuple(probe.places),
        trace=tuple(probe.trace),
        prefix_length=probe.prefix_length,
        log=tuple(trial.log),
        points=probe.points,
        steps=probe.steps,
        eligible=probe.all_eligible(),
        runtimes=probe.runtimes,
        batches=tuple(schedule.sizes),
        orders=schedule.taken,
        unwind=unwind,
        hard_stopped=schedule.stopped is not None,
        library_channels=tuple(trial.library_channels),
        wall=wall,
    )


def _unwind(trial: Trial, probe: Probe) -> float | None:
    if probe.ending_at is None or trial.ended_at is None:
        return None
    return max(0.0, trial.ended_at - probe.ending_at)


def _violations(
    trial: Trial,
    probe: Probe,
    schedule: scheduler.Schedule,
    error: BaseException | None,
    unwind: float | None,
    checks: Checks,
    descriptors_before: frozenset[int],
) -> Iterator[str]:
    if probe.deadlock is not None:
        yield f"deadlock: {'; '.join(probe.deadlock)}"
    if schedule.stopped is not None:
        yield schedule.stopped
    stuck = probe.deadlock is not None or schedule.stopped is not None
    if error is not None and not stuck:
        yield from (
            f"escaped: {_flat(leaf)}"
            for leaf in leaves(error)
            if not isinstance(leaf, checks.allowed) and leaf is not trial.raised
        )
    yield from trial.leaks
    for wire in trial.wires:
        yield from (f"wire: {offence}" for offence in wire.offences)
    if unwind is not None and unwind > checks.max_unwind:
        yield f"slow unwind: {unwind:g} s of virtual time, {checks.max_unwind:g} s allowed"
    if schedule.diverged:
        yield "diverged: an explicit order did not fit its batch"
    for at, action in probe.unfired:
        yield f"diverged: the run ended at point {probe.points}, before {action!r} at point {at}"
    if stuck:
        return  # its tasks were torn out, so what follows would only be noise
    if _swallowed(trial, probe, error):
        yield f"swallowed: Cancelled reached {probe.delivered} and never came out of the region"
    if not trial.entered:
        yield "no region: the scenario ended without entering Trial.region()"
    left = descriptors.numbers() - descriptors_before
    yield from (f"open descriptor: {descriptors.describe(number)}" for number in sorted(left))


def _swallowed(trial: Trial, probe: Probe, error: BaseException | None) -> bool:
    return (
        trial.injected == CANCEL
        and probe.delivered is not None
        and error is None
        and trial.excused is None
        and not trial.scope.cancelled_caught
    )


def _verdict(trial: Trial, verify: Verify | None, found: list[str]) -> list[str]:
    if verify is None:
        return []
    try:
        return list(verify(trial) or ())
    except AssertionError as exc:
        return [f"verify: {str(exc) or 'an assertion failed'}"]
    except Exception as exc:
        # It may well break on a run that broke off; on any other it is wrong itself.
        if not found:
            raise
        return [f"verify: could not judge this run: {_flat(exc)}"]


def _is_an_interrupt(error: BaseException) -> bool:
    """Whether somebody wants the process to stop, which is no finding."""
    return isinstance(error, BaseExceptionGroup) and (
        error.subgroup((KeyboardInterrupt, SystemExit)) is not None
    )


def _flat(error: BaseException) -> str:
    """An exception on one line, with the line that raised it."""
    text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    traceback = error.__traceback__
    site = ""
    while traceback is not None:
        path = traceback.tb_frame.f_code.co_filename
        if not places.is_library(path) and path != __file__:
            site = f" ({places.shown(path)}:{traceback.tb_lineno})"
        traceback = traceback.tb_next
    return text + site


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Keep the cyclic garbage collector out: it would run finalizers at random steps."""
    if next(_runs) % _COLLECT_EVERY == 0:
        gc.collect()
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextlib.contextmanager
def many_runs() -> Iterator[None]:
    """Collect garbage only once in so many runs inside, and only what they left.

    A run leaves some hundred objects in cycles, and a collection after each looks at all that is
    young, three times over before it is old.
    """
    was_on = gc.isenabled()
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        if was_on:
            gc.enable()


# What hard-stopped runs left behind.  The run loop is gone, so these coroutines can never be
# unwound, and finalizing them runs their `finally` blocks outside Trio, noisily: they are kept
# until the end.
_graveyard: list[Any] = []


def bury(*remains: object) -> None:
    """Keep what a hard-stopped run left, so that nothing of it is ever finalized."""
    if not _graveyard:
        atexit.register(setattr, sys, "unraisablehook", lambda _: None)
    _graveyard.append(remains)
