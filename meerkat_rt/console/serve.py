"""`serve`: the embedded provider for other programs."""

from __future__ import annotations

import signal

import click
import trio

from meerkat_rt.embedded import AccessPolicy, ServerOptions, serve_embedded


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", default=0, show_default=True, help="0: any free port.")
@click.option("--token", envvar="MEERKAT_RT_TOKEN", help="The bearer token that clients must show.")
@click.option(
    "--pace", default=4.0, show_default=True, help="Times faster than speech; 0: no pace."
)
def serve(host: str, port: int, token: str | None, pace: float) -> None:
    """Serve OpenAI's Realtime protocol.  The first line printed is the URL to connect to."""
    options = ServerOptions(access=AccessPolicy(token=token), pace=pace)

    async def main() -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with serve_embedded(options, host=host, port=port) as server:
                click.echo(server.url)
                async for _ in signals:
                    break

    try:
        trio.run(main)
    except* OSError as group:
        reason = next(iter(group.exceptions))
        click.echo(f"Cannot listen on {host}:{port}: {reason}", err=True)
        raise SystemExit(1) from None
