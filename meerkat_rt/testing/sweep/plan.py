"""What the command runs: a list of jobs, each of which fits into one process."""

from __future__ import annotations

import itertools
import zlib
from typing import TYPE_CHECKING, Literal

import attrs

from ..trial import CANCEL
from ..wires import WireName

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

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
        points=15,
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
"""What the standard level runs of the second and each further variant of a scenario.

The seeds are the scenario's: each variant has its share of them, see `_dealt`."""

SEEDS_A_JOB = 20
STRIKES = ("cancel(*)", "raise(*)")


def plan(level: Level, cases: Iterable[tuple[str, Case]]) -> list[Job]:
    """The jobs of a level for these cases, each with the source that it is found by.

    Those of long cases come first: one that came last would keep one process busy alone.
    """
    in_order = sorted(cases, key=lambda each: not each[1].long)
    dealt = _dealt(in_order) if level == "standard" else {}
    jobs: list[Job] = []
    for source, case in in_order:
        number, of = dealt.get((source, case.name), (0, 1))
        amount = OF_A_LONG_ONE[level] if case.long else AMOUNTS[level]
        if number:
            amount = OF_A_VARIANT
        jobs += _jobs(amount, range(number, amount.seeds, of), source, case)
    return jobs


def scenarios(cases: Iterable[tuple[str, Case]]) -> set[tuple[str, str]]:
    """The scenarios that these cases are, or are variants of, with their sources."""
    return {(source, case.variant_of or case.name) for source, case in cases}


def _dealt(cases: Iterable[tuple[str, Case]]) -> dict[tuple[str, str], tuple[int, int]]:
    """Of each variant: which one of its scenario's it is, from 0, and how many there are."""
    variants: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for source, case in cases:
        if case.variant_of:
            variants.setdefault((source, case.variant_of), []).append((source, case.name))
    return {
        name: (number, len(names))
        for names in variants.values()
        for number, name in enumerate(names)
    }


def _jobs(amount: Amount, seeds: Sequence[int], source: str, case: Case) -> Iterator[Job]:
    first, *rest = itertools.product(case.wires, case.transports)
    yield from _everything(amount, seeds, _base(source, case, *first), case)
    # Where only some are visited, other scenarios visit others.
    start = zlib.crc32(case.name.encode()) % max(1, len(rest))
    for setting in (rest[start:] + rest[:start])[: amount.settings]:
        base = _base(source, case, *setting)
        yield attrs.evolve(base, sample=amount.elsewhere)
        if amount.others_elsewhere:
            yield from _others(amount.others_elsewhere, base, case)


def _base(source: str, case: Case, wire: WireName, transport: str) -> Job:
    return Job(source=source, case=case.name, wire=wire, transport=transport, unwind=case.unwind)


def _everything(amount: Amount, seeds: Sequence[int], base: Job, case: Case) -> Iterator[Job]:
    """All that is done on the first wire with the first transport."""
    yield attrs.evolve(base, sample=amount.points, repeat=amount.repeat)
    yield from _others(amount.others, base, case)
    both = (CANCEL, *(each for each in case.blows if each != "interrupt"))
    if amount.pairs:
        yield attrs.evolve(_struck(base), actions=both, sample=0, pairs=amount.pairs)
    for start in range(0, len(seeds), SEEDS_A_JOB):
        some = tuple(seeds[start : start + SEEDS_A_JOB])
        yield attrs.evolve(base, seeds=some, sample=amount.seeded)
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
