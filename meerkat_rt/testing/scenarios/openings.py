"""How a session is opened, with and without history, and how that fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from ...model.conversation import SystemMessage, UserMessage
from ...runtime import errors
from .bodies import idle_server
from .openai import open_config, scenarios_of

if TYPE_CHECKING:
    from ...runtime.session import RealtimeSession
    from ..openai_peer import OpenAIPeer

case = scenarios_of("openings")


@case(idle_server)
async def idle(session: RealtimeSession) -> None:
    await trio.sleep(1)


async def seeding_server(peer: OpenAIPeer) -> None:
    await peer.accept()
    await trio.sleep(0.1)
    await peer.session_created()
    update = await peer.expect("session.update")
    await trio.sleep(0.1)
    await peer.session_updated(update)
    for _ in range(2):
        create = await peer.expect("conversation.item.create")
        await trio.sleep(0.1)
        await peer.item_created(create)
    await peer.linger()


@case(
    seeding_server,
    greeted=False,
    config=open_config().with_seed_messages([SystemMessage("be brief"), UserMessage("hello")]),
)
async def opening_with_history(session: RealtimeSession) -> None:
    await trio.sleep(0.1)


async def mute_server(peer: OpenAIPeer) -> None:
    await peer.accept()
    await peer.linger()


@case(mute_server, greeted=False, ends=(errors.NetworkTimeout,))
async def a_server_that_never_creates_the_session(session: RealtimeSession) -> None:
    raise AssertionError("opened")


async def refusing_server(peer: OpenAIPeer) -> None:
    await peer.accept()
    await peer.fail("invalid_api_key")


@case(refusing_server, greeted=False, ends=(errors.AuthenticationFailed,))
async def a_server_that_refuses_the_key(session: RealtimeSession) -> None:
    raise AssertionError("opened")
