"""What the command runs: a list of jobs, each of which fits into one process."""

from __future__ import annotations

import itertools
import zlib
from typing import TYPE_CHECKING, Literal

import attrs

from ..trial import CANCEL
from ..wires import WireName

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .case import Case

Level = Literal["quick", "standard", "all"]

BLOW_UNWIND = 1.0
"""Virtual seconds to the end after a blow that is not the caller's own cancellation: the session
ends at once, and the body may be waiting for something besides."""


@attrs.frozen(kw_only=True)
class Job:
    """One sweep, or one exploration, of one case on one wire with one transport.

    With `seeds` it explores: `sample` points of `actions[0]` under each.  With `deviations` it
    explores so many orders nearest to FIFO.  Otherwise it sweeps:
    `sample` points of each action (None: every point), and `pairs` pairs.
    """

    source: str
    case: str
    wire: WireName
    transport: str
    actions: tuple[str, ...] = (CANCEL,)
    sample: int | None = None
    pairs: int = 0
    repeat: int = 1
    seeds: tuple[int, ...] = ()
    deviations: int = 0
    unwind: float


@attrs.frozen(kw_only=True)
class Amount:
    """How much of everything a level runs.  A sample of None is every point, of 0 no run at all.

    On the first wire with the first transport: `points` of the cancellation of the whole, `others`
    of every other action, `pairs` of blows, `seeds` random orders with `seeded` points each, and
    `nearest` orders that depart from FIFO in a batch or two.  On `settings` further combinations of
    wire and transport (None: on all), `elsewhere` points of the cancellation of the whole and
    `others_elsewhere` of every other action.
    """

    points: int | None
    others: int | None
    pairs: int
    repeat: int
    seeds: int
    seeded: int
    nearest: int
    settings: int | None
    elsewhere: int | None
    others_elsewhere: int


AMOUNTS: dict[Level, Amount] = {
    "quick": Amount(
        points=25,
        others=1,
        pairs=1,
        repeat=1,
        seeds=1,
        seeded=3,
        nearest=0,
        settings=1,
        elsewhere=1,
        others_elsewhere=0,
    ),
    "standard": Amount(
        points=None,
        others=1,
        pairs=2,
        repeat=1,
        seeds=20,
        seeded=25,
        nearest=2,
        settings=5,
        elsewhere=1,
        others_elsewhere=0,
    ),
    "all": Amount(
        points=None,
        others=25,
        pairs=20,
        repeat=2,
        seeds=24,
        seeded=25,
        nearest=20,
        settings=None,
        elsewhere=None,
        others_elsewhere=1,
    ),
}
OF_A_LONG_ONE: dict[Level, Amount] = {
    "quick": attrs.evolve(AMOUNTS["quick"], points=4, pairs=0, seeds=0, settings=0),
    "standard": attrs.evolve(AMOUNTS["quick"], points=10),
    "all": attrs.evolve(AMOUNTS["standard"], seeds=1, nearest=0, settings=1, elsewhere=10),
}
"""What a level runs of a case that is `long`."""

OF_A_VARIANT = attrs.evolve(AMOUNTS["standard"], nearest=0, settings=1)
"""What the standard level runs of a case that is a `variant`."""

SEEDS_A_JOB = 20
STRIKES = ("cancel(*)", "raise(*)")


def plan(level: Level, cases: Iterable[tuple[str, Case]]) -> list[Job]:
    """The jobs of a level for these cases, each with the source that it is found by.

    Those of long cases come first: one that came last would keep one process busy alone.
    """
    in_order = sorted(cases, key=lambda each: not each[1].long)
    return [job for source, case in in_order for job in _jobs(_amount(level, case), source, case)]


def _amount(level: Level, case: Case) -> Amount:
    if case.long:
        return OF_A_LONG_ONE[level]
    if case.variant and level == "standard":
        return OF_A_VARIANT
    return AMOUNTS[level]


def _jobs(amount: Amount, source: str, case: Case) -> Iterator[Job]:
    first, *rest = itertools.product(case.wires, case.transports)
    yield from _everything(amount, _base(source, case, *first), case)
    # Where only some are visited, other scenarios visit others.
    start = zlib.crc32(case.name.encode()) % max(1, len(rest))
    for setting in (rest[start:] + rest[:start])[: amount.settings]:
        base = _base(source, case, *setting)
        yield attrs.evolve(base, sample=amount.elsewhere)
        if amount.others_elsewhere:
            yield from _others(amount.others_elsewhere, base, case)


def _base(source: str, case: Case, wire: WireName, transport: str) -> Job:
    return Job(source=source, case=case.name, wire=wire, transport=transport, unwind=case.unwind)


def _everything(amount: Amount, base: Job, case: Case) -> Iterator[Job]:
    """All that is done on the first wire with the first transport."""
    yield attrs.evolve(base, sample=amount.points, repeat=amount.repeat)
    yield from _others(amount.others, base, case)
    both = (CANCEL, *(each for each in case.blows if each != "interrupt"))
    if amount.pairs:
        yield attrs.evolve(_struck(base), actions=both, sample=0, pairs=amount.pairs)
    for start in range(0, amount.seeds, SEEDS_A_JOB):
        seeds = range(start, min(start + SEEDS_A_JOB, amount.seeds))
        yield attrs.evolve(base, seeds=tuple(seeds), sample=amount.seeded)
    if amount.nearest:
        yield attrs.evolve(base, deviations=amount.nearest)


def _others(sample: int | None, base: Job, case: Case) -> Iterator[Job]:
    """Every action but the cancellation of the whole."""
    kinds = [case.blows, case.faults, *((strike,) for strike in STRIKES)]
    if sample == 1:
        kinds = [tuple(itertools.chain.from_iterable(kinds))]  # so few are not worth a job each
    for actions in filter(None, kinds):
        yield attrs.evolve(_struck(base), actions=actions, sample=sample)


def _struck(base: Job) -> Job:
    return attrs.evolve(base, unwind=max(base.unwind, BLOW_UNWIND))
