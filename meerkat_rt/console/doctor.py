"""`doctor`: what is installed, whether there is a key, whether we can connect."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from typing import TYPE_CHECKING

import click
import trio

from meerkat_rt import (
    RealtimeSessionOpenConfig,
    RealtimeTurningMode,
    SessionLlmIdentity,
    open_session,
)
from meerkat_rt.runtime.errors import LlmError

from .output import say
from .providers import CHOICES, provider_named

if TYPE_CHECKING:
    from meerkat_rt.runtime.ports import RealtimeSessionFactory

PACKAGES = (
    "meerkat-rt", "trio", "websockets", "trio-websocket", "attrs", "cattrs", "msgspec", "pybase64",
)  # fmt: skip


@click.command()
def doctor() -> None:
    """Check the installation and the connections: to the embedded servers, and where keys are."""
    say(f"Python {platform.python_version()} on {platform.system()} {platform.machine()}")
    for name in PACKAGES:
        try:
            say(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            say(f"{name} is not installed as a package")
    sound = True
    for name, choice in CHOICES.items():
        if choice.key is not None and not os.environ.get(choice.key):
            say(f"{choice.title}: no key is set ({choice.key}), not tried")
            continue
        sound &= trio.run(_try, choice.title, *provider_named(name, None, None, pace=1.0))
    if not sound:
        raise SystemExit(1)


async def _try(name: str, provider: RealtimeSessionFactory, identity: SessionLlmIdentity) -> bool:
    config = RealtimeSessionOpenConfig(RealtimeTurningMode.PROVIDER_MANAGED, identity)
    start = trio.current_time()
    try:
        async with open_session(config, provider=provider):
            elapsed = trio.current_time() - start
    except LlmError as error:
        say(f"{name}: {type(error).__name__}: {error}")
        return False
    say(f"{name}: connected in {elapsed * 1000:.0f} ms")
    return True
