"""`serve`: the embedded provider for other programs."""

from __future__ import annotations

import signal
import ssl
from pathlib import Path

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
@click.option(
    "--tls-cert", type=click.Path(path_type=Path), help="Speak TLS with this chain (PEM)."
)
@click.option("--tls-key", type=click.Path(path_type=Path), help="The key of the chain (PEM).")
def serve(
    host: str,
    port: int,
    token: str | None,
    pace: float,
    tls_cert: Path | None,
    tls_key: Path | None,
) -> None:
    """Serve OpenAI's Realtime protocol and Gemini Live, on one port.

    The first line printed is the URL of the one, the second the base URL of the other.
    """
    options = ServerOptions(access=AccessPolicy(token=token), pace=pace)
    context = None if tls_cert is None else _context(tls_cert, tls_key)

    async def main() -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with serve_embedded(options, host=host, port=port, ssl_context=context) as server:
                click.echo(server.url)
                click.echo(server.gemini_url)
                async for _ in signals:
                    break

    try:
        trio.run(main)
    except* OSError as group:
        reason = next(iter(group.exceptions))
        click.echo(f"Cannot listen on {host}:{port}: {reason}", err=True)
        raise SystemExit(1) from None


def _context(chain: Path, key: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(chain, key)
    except OSError as error:  # what is no PEM is an SSLError, which is one too
        click.echo(f"Cannot use {chain} for TLS: {error}", err=True)
        raise SystemExit(2) from None
    return context
