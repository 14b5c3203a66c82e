"""`python -m meerkat_rt.testing.long_call`: calls of three hours, one for each seed."""

from __future__ import annotations

import argparse
import functools
import sys
from concurrent.futures import ProcessPoolExecutor

import trio

from ..clock import virtual_clock
from .call import LongCall, Outcome

PROVIDERS = ("openai", "gemini", "vertex")


def _play(call: LongCall) -> Outcome:
    return trio.run(call.run, clock=virtual_clock())


def main(arguments: list[str] | None = None) -> int:
    """Play the calls; say what was wrong; 1 if anything was."""
    parser = argparse.ArgumentParser(
        prog="python -m meerkat_rt.testing.long_call", description=__doc__
    )
    parser.add_argument("--provider", choices=(*PROVIDERS, "all"), default="all")
    parser.add_argument("--seeds", type=int, default=100, help="how many, from --first on")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--turns", type=int, default=270, help="each takes 40 s; 270: three hours")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    given = parser.parse_args(arguments)
    providers = PROVIDERS if given.provider == "all" else (given.provider,)
    calls = [
        LongCall(provider=provider, turns=given.turns, seed=seed)
        for provider in providers
        for seed in range(given.first, given.first + given.seeds)
    ]
    faulty = 0
    show = functools.partial(print, flush=True)
    with ProcessPoolExecutor(given.jobs) as pool:
        for call, outcome in zip(calls, pool.map(_play, calls), strict=True):
            faulty += bool(outcome.faults)
            verdict = "; ".join(outcome.faults[:3]) if outcome.faults else "ok"
            show(
                f"{call.provider} seed {call.seed}: {outcome.connections} connections "
                f"({outcome.rotations} rotations, {sum(outcome.drops.values())} drops, "
                f"{outcome.drops.get('looking_up', 0)} of them during a lookup): {verdict}"
            )
    show(f"{len(calls)} calls, {faulty} with faults")
    return 1 if faulty else 0


if __name__ == "__main__":
    sys.exit(main())
