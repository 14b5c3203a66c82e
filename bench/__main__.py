"""The command line of the benchmarks: `python -m bench --help`."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs
import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from . import (
    gate,
    gemini,
    growth,
    layers,
    outbound,
    pacing,
    peers,
    plot,
    report,
    targets,
    throughput,
)
from . import publish as documents
from .crew import crew as begin
from .targets import Results
from .workloads import WORKLOADS

QUICK = ("text", "mix", "audio-8k")


@attrs.frozen(kw_only=True)
class Thoroughness:
    """How much is measured.

    `repetitions` of `seconds` of CPU for each subject and workload; `rounds` of the scenarios
    `paced`, each of `turn` seconds; `spoken` times each of the `manners` of sending speech; and
    `growth` times each of the lengths.
    """

    repetitions: int
    seconds: float
    paced: tuple[str, ...]
    rounds: int
    turn: float
    manners: tuple[str, ...]
    spoken: int
    growth: int


LAYER_ROUNDS = 5
BRIEF = Thoroughness(
    repetitions=5,
    seconds=0.1,
    paced=pacing.QUICK,
    rounds=9,
    turn=0.2,
    manners=outbound.QUICK,
    spoken=3,
    growth=1,
)
WHOLE = Thoroughness(
    repetitions=11,
    seconds=0.2,
    paced=tuple(pacing.SCENARIOS),
    rounds=9,
    turn=1.8,
    manners=tuple(outbound.SPEECH),
    spoken=5,
    growth=3,
)


def _cache_option(function: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--cache",
        type=click.Path(path_type=Path, file_okay=False),
        help=f"Where the peers' environments are (.bench, or ${peers.ENVIRONMENT_VARIABLE}).",
    )(function)


@click.group(invoke_without_command=True)
@click.option("--quick", is_flag=True, help="Three workloads and all installed subjects.")
@click.option("--only", multiple=True, type=click.Choice(list(WORKLOADS)), help="These workloads.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Keep the results.")
@click.option(
    "--plot", "plot_file", type=click.Path(path_type=Path), help="Draw them (.svg or .png)."
)
@click.option(
    "--compare",
    nargs=2,
    type=click.Path(path_type=Path, exists=True),
    help="Two kept results side by side; measures nothing.",
)
@click.option("--gate", "gated", is_flag=True, help="Only the regression gate, by layer.")
@click.option("--store-baseline", is_flag=True, help="Make this the gate's baseline.")
@_cache_option
@click.pass_context
def main(
    context: click.Context,
    quick: bool,
    only: tuple[str, ...],
    json_file: Path | None,
    plot_file: Path | None,
    compare: tuple[Path, Path] | None,
    gated: bool,
    store_baseline: bool,
    cache: Path | None,
) -> None:
    """Measure how many events a second reach the application, beside every peer and the limit."""
    if context.invoked_subcommand is not None:
        return
    console = Console(width=None if sys.stdout.isatty() else 120)
    if compare:
        report.compare(console, *compare)
        return
    if store_baseline:
        gate.store(console)
        return
    if gated:
        sys.exit(gate.run(console))
    if plot_file is not None and plot_file.suffix not in plot.SUFFIXES:
        raise click.UsageError("pictures are SVG or PNG: --plot FILE.svg or FILE.png")
    where = peers.cache(cache)
    names = only or (QUICK if quick else tuple(WORKLOADS))
    results = _measure(names, where, quick=quick)
    if json_file is not None:
        json_file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if plot_file is not None:
        plot.write(results, plot_file)
    sys.exit(show(console, results))


def show(console: Console, results: Results) -> int:
    """Print everything; returns the exit status."""
    report.subjects(console, results)
    report.throughput(console, results)
    report.layers(console, results)
    report.growth(console, results)
    report.outbound(console, results)
    report.paced(console, results)
    report.costs(console, results)
    checked = targets.check(results)
    report.targets(console, checked)
    line, status = targets.verdict(checked)
    console.print(line, highlight=False, soft_wrap=True)
    return status


def _measure(names: tuple[str, ...], where: Path, *, quick: bool) -> Results:
    much = BRIEF if quick else WHOLE
    layered = [*names, *([gemini.WORKLOAD] if "mix" in names else [])]
    with ExitStack() as stack:
        crew = stack.enter_context(begin(where))
        total = (
            throughput.steps(names, crew, much.repetitions)
            + len(layered) * LAYER_ROUNDS
            + growth.steps(quick=quick)
            + len(much.manners)
            + len(much.paced)
            + 1
        )
        step = stack.enter_context(_progress(total))
        found = throughput.run(
            names, crew, repetitions=much.repetitions, seconds=much.seconds, step=step
        )
        grown = growth.run(crew, repetitions=much.growth, quick=quick, step=step)
        spoken = outbound.run(crew, repetitions=much.spoken, step=step, manners=much.manners)
        alone = {
            name: layers.measure(name, units=10, repetitions=LAYER_ROUNDS, step=step)
            for name in layered
        }
        paced = pacing.run(
            where, names=much.paced, rounds=much.rounds, seconds=much.turn, step=step
        )
        step("other costs")
        costs = json.loads(
            subprocess.run(
                [sys.executable, "-m", "bench.costs"],
                cwd=Path(__file__).parent.parent,
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes"),
        "machine": _machine(),
        "throughput": {
            name: {subject: attrs.asdict(samples) for subject, samples in row.items()}
            for name, row in found.items()
        },
        "versions": crew.versions,
        "missing": crew.missing,
        "speaking": {each.name: report.note_of(each.module, "SPEAKING") for each in peers.SUBJECTS},
        "notes": {subject.name: report.note_of(subject.module) for subject in peers.SUBJECTS},
        "layers": alone,
        "growth": grown,
        "outbound": spoken,
        "paced": paced,
        "costs": costs,
    }


def _machine() -> str:
    found = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}"
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="ascii").splitlines():
            if line.startswith("model name"):
                found = f"{os.cpu_count()} cores of {line.partition(':')[2].strip()}, Linux"
                break
    return f"{found}, CPython {platform.python_version()}"


@contextmanager
def _progress(total: int) -> Iterator[Callable[[str], None]]:
    columns = (
        TextColumn("{task.description:<42}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    # It is drawn between two measurements: whoever draws meanwhile needs a processor.
    with Progress(
        *columns, console=Console(stderr=True), transient=True, auto_refresh=False
    ) as progress:
        task = progress.add_task("", total=total)

        def step(what: str) -> None:
            progress.update(task, description=what, advance=1, refresh=True)

        yield step


@main.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def publish(run: Path) -> None:
    """Put a kept run (--json) into the README files, with its pictures."""
    try:
        for path in documents.publish(json.loads(run.read_text(encoding="utf-8"))):
            click.echo(f"wrote {path.name}")
    except ValueError as error:
        raise click.ClickException(str(error)) from error


@main.command()
@_cache_option
def setup(cache: Path | None) -> None:
    """Make the peers' environments, once."""
    where = peers.cache(cache)
    where.mkdir(parents=True, exist_ok=True)
    for subject, failure in peers.setup(where):
        click.echo(f"{subject.name}: {failure or 'ready'}")
    missing = [each.name for each in peers.SUBJECTS if peers.interpreter(each, where) is None]
    click.echo(f"missing: {', '.join(missing)}" if missing else "all subjects are ready")


if __name__ == "__main__":
    main()
