"""The real providers on wires of the kit, as somebody who tests an application uses them."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from meerkat_rt import (
    ContinuityPolicy,
    Provider,
    RealtimeSessionOpenConfig,
    RealtimeTurningMode,
    SessionLlmIdentity,
    errors,
    events,
    open_session,
)
from meerkat_rt.testing import (
    GeminiPeer,
    OpenAIPeer,
    gemini_on,
    gemini_peer,
    make_wire,
    openai_on,
    openai_peer,
)
from meerkat_rt.testing.sweep import TRANSPORTS

MANAGED = RealtimeTurningMode.PROVIDER_MANAGED
WITH_OPENAI = RealtimeSessionOpenConfig(MANAGED, SessionLlmIdentity(model="gpt-realtime"))
WITH_GEMINI = RealtimeSessionOpenConfig(
    MANAGED, SessionLlmIdentity(model="gemini-3.8-live", provider=Provider.GEMINI)
)


async def answering(peer: OpenAIPeer) -> None:
    await peer.welcome()
    await peer.text_response("Hello.", create=await peer.expect("response.create"))
    await peer.linger()


async def idle(peer: GeminiPeer) -> None:
    await peer.welcome()
    await peer.linger()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_session_with_openai_is_held_over_a_wire(
    transport: str, autojump_clock: Any
) -> None:
    wire = make_wire()
    async with openai_peer(wire.server, answering):
        provider = openai_on(wire, transport=transport, output_language="en")
        assert provider.output_language == "en"
        async with open_session(WITH_OPENAI, provider=provider) as session:
            await session.create_response()
            async for event in session:
                if isinstance(event, events.TurnCompleted):
                    break


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_one_with_gemini_too(transport: str, autojump_clock: Any) -> None:
    wire = make_wire()
    async with (
        gemini_peer(wire.server, idle),
        open_session(WITH_GEMINI, provider=gemini_on(wire, transport=transport)) as session,
    ):
        assert session.is_connected


async def test_each_connection_takes_the_next_wire_and_one_more_is_refused(
    autojump_clock: Any,
) -> None:
    first, second = make_wire(), make_wire()
    provider = openai_on(first, second)

    async def dropping(peer: OpenAIPeer) -> None:
        await peer.welcome()
        await trio.sleep(1)
        await peer.socket.drop()

    async with (
        openai_peer(first.server, dropping),
        openai_peer(second.server, answering),
        open_session(WITH_OPENAI, provider=provider, continuity=ContinuityPolicy()) as session,
    ):
        await trio.sleep(5)
        request = await session.create_response()
        await request.outcome()
    with pytest.raises(errors.LlmError, match="no wire for one more"):
        async with open_session(WITH_OPENAI, provider=provider):
            raise AssertionError("there was a third connection")
