"""The command line: `python -m meerkat_rt`, also `meerkat-rt`."""

from __future__ import annotations

import click

from .doctor import doctor
from .replay import replay
from .serve import serve
from .stored import transcript
from .talk import talk


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="meerkat-rt")
def main() -> None:
    """Realtime (speech-to-speech) model sessions on Trio."""


main.add_command(talk)
main.add_command(serve)
main.add_command(transcript)
main.add_command(replay)
main.add_command(doctor)
