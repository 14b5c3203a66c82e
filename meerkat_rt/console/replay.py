"""`replay`: what is in a recording, whether a machine does the same again, and a picture of it."""

from __future__ import annotations

from pathlib import Path

import click

from meerkat_rt.recording import ReplayReport, Step, UnreadableRecording, Verdict, to_svg
from meerkat_rt.recording import replay as play

from .output import say

EXIT = {Verdict.SAME: 0, Verdict.DIVERGED: 1, Verdict.PARTIAL: 3}
"""Exit codes; 2 is for what cannot be read."""


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--timeline",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw the session into this SVG file.",
)
@click.option("--quiet", is_flag=True, help="Print the verdict alone.")
@click.option("--inputs", is_flag=True, help="Print every input too, also those without events.")
def replay(file: Path, timeline: Path | None, quiet: bool, inputs: bool) -> None:
    """Play the recording FILE through a fresh machine, and compare.

    Prints what the session told its application, with times, and the verdict.  Exits with 0 if the
    machine did the same, 1 if it did not, 2 if FILE cannot be read, 3 if it is not all there.
    """
    try:
        report = play(file)
    except (OSError, UnreadableRecording) as error:
        click.echo(f"{file}: {error}", err=True)
        raise SystemExit(2) from None
    if timeline is not None:
        try:
            timeline.write_text(to_svg(report), encoding="utf-8")
        except OSError as error:
            click.echo(f"{timeline}: {error}", err=True)
            raise SystemExit(2) from None
    if not quiet:
        for step in report.steps:
            _print(step, inputs)
    say(_verdict(report))
    raise SystemExit(EXIT[report.verdict])


def _print(step: Step, inputs: bool) -> None:
    names = [name for name in step.names if inputs or name[0] not in "~>"]
    if step.method == "$closed":
        reason = step.arguments.get("reason")
        say(f"{step.at:10.3f} s  closed by the {getattr(reason, 'by', 'unknown')}")
    elif inputs or names:
        what = type(step.arguments.get("event")).__name__
        cause = what if step.method == "observe" else step.method
        say(f"{step.at:10.3f} s  {cause:24} {', '.join(names)}".rstrip())


def _verdict(report: ReplayReport) -> str:
    return f"Recorded by meerkat_rt {report.package}.\n{report}"
