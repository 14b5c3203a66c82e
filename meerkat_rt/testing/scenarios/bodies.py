"""What servers and bodies of scenarios say and do often, whatever the provider."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from . import stage
from .stage import Body, EndedEarly, Script, Side

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ...runtime.session import RealtimeSession

PATIENCE = 100.0  # virtual seconds; a session that is kept alive would let a body wait for ever


def welcoming(script: Callable[[Any], Awaitable[object]]) -> Script:
    """The script, after a successful handshake."""

    async def play(peer: Any) -> None:
        await peer.welcome()
        await script(peer)

    return play


def cases(side: Side, family: str) -> Callable[..., Callable[[Body], Body]]:
    """A decorator that registers scenarios of one family with one provider.

    As `stage.scenario`, for servers that play a script after the handshake; with `greeted=False`
    they play it from the upgrade on.
    """

    def case(*scripts: Script, greeted: bool = True, **settings: Any) -> Callable[[Body], Body]:
        whole = map(welcoming, scripts) if greeted else scripts
        return stage.scenario(*whole, side=side, family=family, **settings)

    return case


async def idle_server(peer: Any) -> None:
    """A server that says no more, and answers the close."""
    await peer.linger()


async def take(session: RealtimeSession, kind: type, *more: type) -> list[Any]:
    """Read up to and including the first event of `kind`, then of the next kind, and so on."""
    read: list[Any] = []
    for wanted in (kind, *more):
        event, ended = None, False
        with trio.CancelScope() as scope:
            while not (ended or isinstance(event, wanted)):
                scope.deadline = trio.current_time() + PATIENCE
                event = await session.next_event()
                ended = event is None
                read.append(event)
        if ended or scope.cancelled_caught:
            there_were = [type(each).__name__ for each in read if each is not None]
            what = f"{wanted.__name__}; there were {there_were}"
            assert ended, f"in {PATIENCE} s there came no {what}"
            raise EndedEarly(f"the session ended before {what}")
    return read


async def read_out(session: RealtimeSession) -> None:
    """Read events until the session has ended."""
    while await session.next_event() is not None:
        pass


async def slow(name: str) -> str:
    """Look something up."""
    try:
        await trio.sleep(len(name) / 10)
    finally:
        with trio.CancelScope(shield=True, relative_deadline=0.01):
            await trio.lowlevel.checkpoint()
    return name.upper()
