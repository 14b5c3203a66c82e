"""`python -m tests.mutants`: does the scenario suite notice the mistakes that matter?"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed

import click

from .hunting import Verdict, hunt
from .mistakes import MUTANTS
from .table import known, remember, rendered, write_guide


def verdicts(names: Sequence[str], processes: int, hints: dict[str, Verdict]) -> Iterator[Verdict]:
    """Each mutant's verdict, as soon as there is one.  Every one has a process of its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, max_tasks_per_child=1) as pool:
        futures = {pool.submit(hunt, name, hints.get(name)): name for name in names}
        for future in as_completed(futures):
            yield future.result()


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1, metavar="[MUTANT]...")
@click.option("--again", is_flag=True, help="Look where each was found last, before everywhere.")
@click.option("--write", is_flag=True, help="Keep what was found, and put it into the guide.")
@click.option("--processes", type=click.IntRange(1), help="How many at once (default: cores).")
def main(names: tuple[str, ...], again: bool, write: bool, processes: int | None) -> None:
    """Plant each MUTANT (default: all) and say which tool of the scenario suite kills it.

    Exits with 0 if every one survived the happy path and was killed, with 1 if not.
    """
    if unknown := sorted(set(names) - MUTANTS.keys()):
        raise click.UsageError(f"no mutant {unknown[0]!r}; there are {', '.join(MUTANTS)}")
    for mutant in MUTANTS.values():
        mutant.check()
    began = time.perf_counter()
    chosen = names or tuple(MUTANTS)
    found = known()
    hints = found if again else {}
    bad = []
    for number, verdict in enumerate(
        verdicts(chosen, processes or os.cpu_count() or 1, hints), start=1
    ):
        found[verdict.mutant] = verdict
        took = time.perf_counter() - began
        where = f"{verdict.scenario} on {verdict.wire} with {verdict.transport}"
        what = f"{verdict.tool}: {where}" if verdict.tool else "SURVIVED"
        click.echo(f"{number:2}/{len(chosen)} {took:4.0f} s  {verdict.mutant}: {what}", err=True)
        click.echo(f"          {verdict.violation}", err=True)
        if not verdict.killed:
            bad.append(verdict.mutant)
    if write:
        remember(found)
        write_guide()
    click.echo(rendered({name: found[name] for name in chosen}))
    click.echo(
        f"{len(chosen)} mutants, {len(chosen) - len(bad)} killed, "
        f"{time.perf_counter() - began:.0f} s"
    )
    if bad:
        raise SystemExit(f"survived, or too coarse for the happy path: {', '.join(bad)}")


if __name__ == "__main__":
    main()
