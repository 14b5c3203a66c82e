"""`serve`: the embedded provider for other programs."""

from __future__ import annotations

import math
import signal
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

import click
import trio

from meerkat_rt.embedded import AccessPolicy, ServerOptions, serve_embedded

from .failures import sentences
from .output import OutputLost, say

if TYPE_CHECKING:
    from typing import Any


class Finite(click.FloatRange):
    """A range without infinity, and without NaN, which is not outside of any range."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number.  Raises `click.BadParameter` for what is none, or outside."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number in the range x>={self.min:g}.", param, ctx)
        return number


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default=True,
    help="0: any free port.",
)
@click.option("--token", envvar="MEERKAT_RT_TOKEN", help="The bearer token that clients must show.")
@click.option(
    "--pace",
    type=Finite(0),
    default=4.0,
    show_default=True,
    help="Times faster than speech; 0: no pace.",
)
@click.option(
    "--tls-cert", type=click.Path(path_type=Path), help="Speak TLS with this chain (PEM)."
)
@click.option(
    "--tls-key",
    type=click.Path(path_type=Path),
    help="The key of the chain (PEM) [default: in the file of the chain].",
)
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
    context = _context(tls_cert, tls_key)
    lost: OutputLost | None = None
    failures: list[str] = []

    async def main() -> None:
        nonlocal lost
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with serve_embedded(options, host=host, port=port, ssl_context=context) as server:
                try:
                    say(f"{server.url}\n{server.gemini_url}")  # at once, lest `head -1` end us
                except OutputLost as error:
                    lost = error
                    return
                async for _ in signals:
                    break

    try:
        trio.run(main)
    except* (OSError, UnicodeError) as group:  # the latter: what can be no host's name
        failures = sentences(group)
    for failure in failures:
        click.echo(f"Cannot listen on {host}:{port}: {failure}", err=True)
    if failures:
        raise SystemExit(1)
    if lost is not None:
        raise lost


def _context(chain: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if chain is None:
        if key is None:
            return None
        click.echo("TLS needs --tls-cert as well as --tls-key, which alone is no use.", err=True)
        raise SystemExit(2)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(chain, key)
    except OSError as error:  # what is no PEM is an SSLError, which is one too
        if key is not None:
            words = f"Cannot use {chain} with the key {key} for TLS: {error}"
        elif isinstance(error, ssl.SSLError):
            words = f"Cannot use {chain} for TLS: {error}; without --tls-key, the key must be in it"
        else:
            words = f"Cannot use {chain} for TLS: {error}"
        click.echo(words, err=True)
        raise SystemExit(2) from None
    return context
