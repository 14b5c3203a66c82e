"""`python -m meerkat_rt.testing.sweep`: cancel scenarios everywhere, over all cores."""

from __future__ import annotations

import fnmatch
import json
import os
import time
from typing import TYPE_CHECKING

import attrs
import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ..everywhere import replay as replay_recipe
from .plan import Level, plan
from .pool import outcomes
from .sources import OURS, NoScenarios, cases_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .case import Case
    from .plan import Job
    from .work import Outcome


_COUNTED = ("scenarios", "points", "seeds", "runs", "failures")
_JOBS_A_LINE = 50


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("sources", nargs=-1, metavar="[MODULE:ATTRIBUTE]...")
@click.option("--quick", "level", flag_value="quick", help="A sample; under a minute on two cores.")
@click.option("--all", "level", flag_value="all", help="The full product; half an hour or more.")
@click.option("--only", metavar="PATTERN", default="*", help="Scenarios with such a name alone.")
@click.option("--processes", type=click.IntRange(1), help="How many at once (default: cores).")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one line of JSON.")
@click.option("--replay", metavar="RECIPE", help="Run one recipe of the one scenario instead.")
@click.option("--wire", help="The wire of a replay (default: the scenario's first).")
@click.option("--transport", help="The transport of a replay (default: the scenario's first).")
@click.option("--unwind", type=float, help="Virtual seconds that a replay may take to unwind.")
def main(
    sources: tuple[str, ...],
    level: Level | None,
    only: str,
    processes: int | None,
    as_json: bool,
    replay: str | None,
    wire: str | None,
    transport: str | None,
    unwind: float | None,
) -> None:
    """Cancel scenarios at every point, and check what is left after each run.

    Without MODULE:ATTRIBUTE, this runtime's own scenarios.  An attribute is an async function that
    takes a trial, a `Case`, or a collection of either.  Without --quick or --all: every point in
    FIFO order, samples of everything else, twenty seeds of twenty-five points; some minutes.

    With --all: every point on every wire with every transport, twice on the first, where nothing
    but the schedule may decide; more of everything else.  Failures are told as they are found.  A
    scenario that is `long` takes every point on its first wire, and samples elsewhere.

    Exits with 0 if nothing failed, with 1 if something did, with 2 if it could not begin.
    """
    cases = _chosen(sources or (OURS,), only)
    if replay is not None:
        _replay(cases, replay, wire, transport, unwind)
        return
    began = time.perf_counter()
    jobs = plan(level or "standard", cases)
    done = _run(jobs, processes or os.cpu_count() or 1, tell_on_stderr=as_json)
    seconds = time.perf_counter() - began
    failed = sum(outcome.failed for outcome in done)
    totals = {
        "scenarios": len(cases),
        "points": sum(outcome.points for outcome in done),
        "seeds": sum(outcome.seeds for outcome in done),
        "runs": sum(outcome.runs for outcome in done),
        "failures": failed,
        "cpu": round(sum(outcome.cpu for outcome in done), 1),
        "seconds": round(seconds, 1),
    }
    if as_json:
        rows = [attrs.asdict(outcome) for outcome in done]
        click.echo(json.dumps({"level": level or "standard", **totals, "jobs": rows}))
    else:
        counts = ", ".join(f"{totals[key]} {key}" for key in _COUNTED)
        click.echo(f"{counts}, {seconds:.1f} s")
    raise SystemExit(1 if failed else 0)


def _chosen(sources: Sequence[str], only: str) -> list[tuple[str, Case]]:
    try:
        found = [(source, case) for source in sources for case in cases_of(source).values()]
    except NoScenarios as error:
        raise click.UsageError(str(error)) from None
    cases = [(source, case) for source, case in found if fnmatch.fnmatchcase(case.name, only)]
    if not cases:
        names = ", ".join(case.name for _, case in found)
        raise click.UsageError(f"no scenario is called {only!r}; there are {names}")
    return cases


def _run(jobs: Sequence[Job], processes: int, *, tell_on_stderr: bool) -> list[Outcome]:
    """Run the jobs.  Tells each failure as it is found, and how far it has come."""
    done: list[Outcome] = []
    runs = failed = 0
    console = Console(stderr=True)
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[failed]} failed  {task.description}"),
    )
    quiet = not console.is_terminal  # the bar's thread would draw for nobody
    with Progress(*columns, console=console, transient=True, disable=quiet) as progress:
        bar = progress.add_task("", total=len(jobs), failed=0)
        for outcome in outcomes(jobs, processes):
            done.append(outcome)
            runs, failed = runs + outcome.runs, failed + outcome.failed
            progress.update(bar, advance=1, failed=failed, description=outcome.job.case)
            for failure in outcome.failures:
                click.echo(failure, err=tell_on_stderr)
            # A file gets no bar, but a line now and then.
            if quiet and len(done) % _JOBS_A_LINE == 0:
                click.echo(
                    f"{len(done)} of {len(jobs)} jobs, {runs} runs, {failed} failures", err=True
                )
    return done


def _replay(
    cases: Sequence[tuple[str, Case]],
    recipe: str,
    wire: str | None,
    transport: str | None,
    unwind: float | None,
) -> None:
    if len(cases) != 1:
        raise click.UsageError(f"--replay wants one scenario; --only gives {len(cases)}")
    ((_, case),) = cases
    chosen = next((name for name in case.wires if wire in (None, name)), None)
    if chosen is None:
        raise click.UsageError(f"no wire {wire!r}; there are {', '.join(case.wires)}")
    if transport is not None and transport not in case.transports:
        raise click.UsageError(f"no transport {transport!r}; there are {case.transports}")
    try:
        result = replay_recipe(
            case.on(chosen, transport),
            recipe,
            max_unwind=case.unwind if unwind is None else unwind,
            allowed=case.allowed,
            verify=case.verify,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    for place in result.places:
        click.echo(str(place))
        for line in place.awaiting:
            click.echo(f"    awaiting: {line}")
    for violation in result.violations:
        click.echo(f"    {violation}")
    verdict = f"{len(result.violations)} violations" if result.violations else "ok"
    click.echo(f"{case.name}: {result.steps} steps, trace {result.digest}, {verdict}")
    raise SystemExit(1 if result.violations else 0)


if __name__ == "__main__":
    main()
