"""`doctor`: what is installed, whether there is a key, whether we can connect."""

from __future__ import annotations

import platform
from importlib import metadata

import click
import trio

from meerkat_rt import (
    OpenAIRealtime,
    RealtimeSessionOpenConfig,
    RealtimeTurningMode,
    SessionLlmIdentity,
    open_session,
)
from meerkat_rt.embedded import EmbeddedProvider
from meerkat_rt.runtime.errors import LlmError

PACKAGES = (
    "meerkat-rt", "trio", "websockets", "trio-websocket", "attrs", "cattrs", "msgspec", "pybase64",
)  # fmt: skip


@click.command()
@click.option("--api-key", envvar="OPENAI_API_KEY", help="OpenAI's key [env: OPENAI_API_KEY].")
@click.option("--model", default="gpt-realtime-2.1", show_default=True)
def doctor(api_key: str | None, model: str) -> None:
    """Check the installation and the connections."""
    click.echo(f"Python {platform.python_version()} on {platform.system()} {platform.machine()}")
    for name in PACKAGES:
        try:
            click.echo(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            click.echo(f"{name} is not installed as a package")
    sound = trio.run(_try, "embedded provider", EmbeddedProvider(), "embedded")
    if api_key:
        sound &= trio.run(_try, "OpenAI", OpenAIRealtime(api_key=api_key), model)
    else:
        click.echo("OpenAI: no key is set (OPENAI_API_KEY), not tried")
    if not sound:
        raise SystemExit(1)


async def _try(name: str, provider: OpenAIRealtime | EmbeddedProvider, model: str) -> bool:
    config = RealtimeSessionOpenConfig(
        RealtimeTurningMode.PROVIDER_MANAGED, SessionLlmIdentity(model=model)
    )
    start = trio.current_time()
    try:
        async with open_session(config, provider=provider):
            click.echo(f"{name}: connected in {(trio.current_time() - start) * 1000:.0f} ms")
    except LlmError as error:
        click.echo(f"{name}: {type(error).__name__}: {error}")
        return False
    return True
