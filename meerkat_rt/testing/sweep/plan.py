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
    wire and transport (None: on all, and then everything of the above too), `elsewhere` points.
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


AMOUNTS: dict[Level, Amount] = {
    "quick": Amount(
        points=30,
        others=1,
        pairs=1,
        repeat=1,
        seeds=1,
        seeded=3,
        nearest=0,
        settings=1,
        elsewhere=1,
    ),
    "standard": Amount(
        points=None,
        others=3,
        pairs=4,
        repeat=1,
        seeds=20,
        seeded=25,
        nearest=6,
        settings=5,
        elsewhere=4,
    ),
    "all": Amount(
        points=None,
        others=None,
        pairs=100,
        repeat=2,
        seeds=40,
        seeded=25,
        nearest=300,
        settings=None,
        elsewhere=None,
    ),
}
OF_A_LONG_ONE = attrs.evolve(AMOUNTS["quick"], points=4, pairs=0, seeds=0, settings=0)
"""What the quick level runs of a case that is `long`; the standard level runs the quick amount."""

OF_A_VARIANT = attrs.evolve(AMOUNTS["standard"], seeds=1, seeded=25, nearest=0, settings=2)
"""What the standard level runs of a case that is a `variant`."""

SEEDS_A_JOB = 20
STRIKES = ("cancel(*)", "raise(*)")


def plan(level: Level, cases: Iterable[tuple[str, Case]]) -> list[Job]:
    """The jobs of a level for these cases, each with the source that it is found by."""
    return [job for source, case in cases for job in _jobs(_amount(level, case), source, case)]


def _amount(level: Level, case: Case) -> Amount:
    if case.long and level != "all":
        return OF_A_LONG_ONE if level == "quick" else AMOUNTS["quick"]
    if case.variant and level == "standard":
        return OF_A_VARIANT
    return AMOUNTS[level]


def _jobs(amount: Amount, source: str, case: Case) -> Iterator[Job]:
    first, *rest = itertools.product(case.wires, case.transports)
    yield from _everything(amount, _base(source, case, *first), case)
    if amount.settings is None:
        for setting in rest:
            yield from _everything(amount, _base(source, case, *setting), case)
        return
    # Where only some are visited, other scenarios visit others.
    start = zlib.crc32(case.name.encode()) % max(1, len(rest))
    for setting in (rest[start:] + rest[:start])[: amount.settings]:
        yield attrs.evolve(_base(source, case, *setting), sample=amount.elsewhere)


def _base(source: str, case: Case, wire: WireName, transport: str) -> Job:
    return Job(source=source, case=case.name, wire=wire, transport=transport, unwind=case.unwind)


def _everything(amount: Amount, base: Job, case: Case) -> Iterator[Job]:
    """All that is done on one wire with one transport."""
    yield attrs.evolve(base, sample=amount.points, repeat=amount.repeat)
    blow = attrs.evolve(base, unwind=max(case.unwind, BLOW_UNWIND))
    # In one job where they are few: each costs a run or two before its first.
    others = [case.blows, case.faults, *((strike,) for strike in STRIKES)]
    if amount.others == 1:
        others = [tuple(itertools.chain.from_iterable(others))]
    for actions in others:
        if actions:
            yield attrs.evolve(blow, actions=actions, sample=amount.others)
    both = (CANCEL, *(each for each in case.blows if each != "interrupt"))
    if amount.pairs:
        yield attrs.evolve(blow, actions=both, sample=0, pairs=amount.pairs)
    for start in range(0, amount.seeds, SEEDS_A_JOB):
        seeds = range(start, min(start + SEEDS_A_JOB, amount.seeds))
        yield attrs.evolve(base, seeds=tuple(seeds), sample=amount.seeded)
    if amount.nearest:
        yield attrs.evolve(base, deviations=amount.nearest)
