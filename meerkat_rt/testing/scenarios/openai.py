"""Sessions with OpenAI on the stage, and what the bodies of scenarios say often."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from ...model.conversation import SessionLlmIdentity
from ...model.open_config import RealtimeSessionOpenConfig
from ...runtime.factories import OpenAIRealtime
from ...transport import connector
from ..openai_peer import OpenAIPeer, openai_peer
from . import stage
from .stage import PROVIDER_MANAGED, EndedEarly, Side

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ...model.media import RealtimeTurningMode
    from ...runtime.session import RealtimeSession
    from ...transport import OpenStream
    from .stage import Script

TONE = b"\x01\x00" * 480  # 20 ms
PATIENCE = 100.0  # virtual seconds; a session that is kept alive would let a body wait for ever


def open_config(
    mode: RealtimeTurningMode = PROVIDER_MANAGED, *args: Any
) -> RealtimeSessionOpenConfig:
    """The plainest open configuration."""
    return RealtimeSessionOpenConfig(mode, SessionLlmIdentity(model="gpt-realtime"), *args)


def provider(open_stream: OpenStream, transport: str) -> OpenAIRealtime:
    """OpenAI, reached over streams of the caller's own."""
    return OpenAIRealtime(
        api_key="k",
        base_url="ws://peer/v1/realtime",
        connector=connector(transport, open_stream=open_stream),
        seed=1,
    )


OPENAI = Side(peer=openai_peer, provider=provider, config=open_config)


def welcoming(script: Callable[[OpenAIPeer], Awaitable[object]]) -> Script:
    """The script, after a successful handshake."""

    async def play(peer: OpenAIPeer) -> None:
        await peer.welcome()
        await script(peer)

    return play


def scenarios_of(family: str) -> Callable[..., Callable[[stage.Body], stage.Body]]:
    """The decorator with which a family's module registers its scenarios.

    As `stage.scenario`, for servers that play a script after the handshake; with `greeted=False`
    they play it from the upgrade on.
    """

    def case(
        *scripts: Script, greeted: bool = True, **settings: Any
    ) -> Callable[[stage.Body], stage.Body]:
        whole = map(welcoming, scripts) if greeted else scripts
        return stage.scenario(*whole, side=OPENAI, family=family, **settings)

    return case


async def take(session: RealtimeSession, kind: type, *more: type) -> list[Any]:
    """Read up to and including the first event of `kind`, then of the next kind, and so on."""
    read: list[Any] = []
    for wanted in (kind, *more):
        event = None
        while not isinstance(event, wanted):
            with trio.move_on_after(PATIENCE) as scope:
                event = await session.next_event()
            there_were = [type(each).__name__ for each in read]
            what = f"{wanted.__name__}; there were {there_were}"
            assert not scope.cancelled_caught, f"in {PATIENCE} s there came no {what}"
            if event is None:
                raise EndedEarly(f"the session ended before {what}")
            read.append(event)
    return read


async def read_out(session: RealtimeSession) -> None:
    """Read events until the session has ended."""
    while await session.next_event() is not None:
        pass


async def idle_server(peer: OpenAIPeer) -> None:
    """A server that says no more, and answers the close."""
    await peer.linger()


async def slow(name: str) -> str:
    """Look something up."""
    try:
        await trio.sleep(len(name) / 10)
    finally:
        with trio.CancelScope(shield=True, relative_deadline=0.01):
            await trio.lowlevel.checkpoint()
    return name.upper()
