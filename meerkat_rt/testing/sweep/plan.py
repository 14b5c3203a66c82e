"""What the command runs: a list of jobs, each of which fits into one process."""

from __future__ import annotations

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
    """How much of everything a level runs.  A sample of None is every point, of 0 no run at all."""

    elsewhere: int | None  # points on the other wires and transports
    blows: int | None  # points of each action of the scenario's own
    faults: int | None  # points at which each fault of the network is armed
    tasks: int | None  # points at which each task is cancelled, and raised in, alone
    pairs: int
    repeat: int
    seeds: int
    points: int  # of each seed
    deviations: int  # orders that depart from FIFO in one batch, then in two


AMOUNTS: dict[Level, Amount] = {
    "quick": Amount(
        elsewhere=2, blows=4, faults=1, tasks=1, pairs=2, repeat=1, seeds=2, points=4, deviations=0
    ),
    "standard": Amount(
        elsewhere=20,
        blows=20,
        faults=3,
        tasks=6,
        pairs=10,
        repeat=1,
        seeds=20,
        points=25,
        deviations=10,
    ),
    "all": Amount(
        elsewhere=None,
        blows=None,
        faults=None,
        tasks=None,
        pairs=400,
        repeat=2,
        seeds=200,
        points=25,
        deviations=2_000,
    ),
}
SEEDS_A_JOB = 20


def plan(level: Level, cases: Iterable[tuple[str, Case]]) -> list[Job]:
    """The jobs of a level for these cases, each with the source that it is found by."""
    return [job for source, case in cases for job in _jobs(AMOUNTS[level], source, case)]


def _jobs(amount: Amount, source: str, case: Case) -> Iterator[Job]:
    unwind = max(case.unwind, BLOW_UNWIND)
    for transport in case.transports:
        for wire in case.wires:
            first = transport == case.transports[0] and wire == case.wires[0]
            base = Job(
                source=source, case=case.name, wire=wire, transport=transport, unwind=case.unwind
            )
            whole = attrs.evolve(base, sample=None if first else amount.elsewhere)
            yield attrs.evolve(whole, repeat=amount.repeat)
            if not first and amount.elsewhere is not None:
                continue
            for blow in case.blows:
                yield attrs.evolve(base, actions=(blow,), sample=amount.blows, unwind=unwind)
            if case.faults:
                yield attrs.evolve(base, actions=case.faults, sample=amount.faults, unwind=unwind)
            if amount.tasks is None or amount.tasks:
                for strike in ("cancel(*)", "raise(*)"):
                    yield attrs.evolve(base, actions=(strike,), sample=amount.tasks, unwind=unwind)
            both = (CANCEL, *(blow for blow in case.blows if blow != "interrupt"))
            yield attrs.evolve(base, actions=both, sample=0, pairs=amount.pairs, unwind=unwind)
            for start in range(0, amount.seeds, SEEDS_A_JOB):
                seeds = range(start, min(start + SEEDS_A_JOB, amount.seeds))
                yield attrs.evolve(base, seeds=tuple(seeds), sample=amount.points)
            if amount.deviations:
                yield attrs.evolve(base, deviations=amount.deviations)
