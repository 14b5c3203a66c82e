"""The command line of the benchmarks."""

from __future__ import annotations

import click

from .smoke import measure, table


@click.command()
@click.option("--smoke", is_flag=True, help="The throughput smoke; also what runs without options.")
def main(smoke: bool) -> None:
    """Measure what the runtime costs per event."""
    del smoke  # the only benchmark so far
    with table() as row:
        for name, deltas in [("text", 1000), ("transcript", 1000), ("mix", 400), ("audio", 100)]:
            row(measure(name, deltas=deltas))


if __name__ == "__main__":
    main()
