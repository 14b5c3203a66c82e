"""Whole sessions with the embedded provider over real sockets: its quirks, and many at once."""

from __future__ import annotations

from collections import Counter
from contextlib import asynccontextmanager

import pytest
import trio

from meerkat_rt import (
    Answered,
    OpenAIRealtime,
    RealtimeSessionOpenConfig,
    RealtimeTurningMode,
    SessionLimits,
    SessionLlmIdentity,
    Superseded,
    ToolSet,
    errors,
    events,
    open_session,
)
from meerkat_rt.embedded import Quirks, ServerLimits, ServerOptions, serve_embedded
from meerkat_rt.testing.quiescence import quiescent_after

MODES = list(RealtimeTurningMode)
CONNECTORS = ["websockets", "trio-websocket"]
HARMLESS = [
    {"obfuscation": True},
    {"conversation_created": True},
    {"swapped_done_order": True},
    {"null_error_event_id": True},
    {"transcription": "before"},
    {"transcription": "after"},
    {"odd_audio_deltas": True},
    {"unknown_events": True},
    {"unknown_fields": True},
    {"done_without_created": True},
    {"close_without_error": True},
]
EVERYTHING = {name: value for quirk in HARMLESS for name, value in quirk.items()}


async def get_weather(city: str) -> str:
    """Tell the weather in a city."""
    await trio.lowlevel.checkpoint()
    return f"It is sunny in {city}."


@asynccontextmanager
async def session_with(server, connector, mode=RealtimeTurningMode.PROVIDER_MANAGED, **settings):
    async with open_session(
        RealtimeSessionOpenConfig(mode, SessionLlmIdentity(model="embedded")),
        provider=OpenAIRealtime(api_key="", base_url=server.url, connector=connector),
        tools=ToolSet([get_weather]),
        **settings,
    ) as session:
        yield session


async def ask(session, text):
    await session.send_text(text)
    return await session.create_response()


def audio_of(received):
    return b"".join(
        event.chunk.data for event in received if isinstance(event, events.OutputAudioChunk)
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("connector", CONNECTORS)
@pytest.mark.parametrize("quirk", [*HARMLESS, EVERYTHING], ids=lambda quirk: "+".join(quirk))
async def test_a_session_works_with_every_quirk_of_the_server(quirk, connector, mode):
    options = ServerOptions(pace=None, quirks=Quirks(**quirk))
    with quiescent_after(), trio.fail_after(10):
        async with (
            serve_embedded(options) as server,
            session_with(server, connector, mode) as session,
        ):
            received = await session.send_text_and_wait("What is the weather in Lisbon?")
            said = next(e for e in received if isinstance(e, events.AssistantTranscriptFinal))
            assert "sunny" in said.text
            assert len([e for e in received if isinstance(e, events.ToolCallFinished)]) == 1
            assert audio_of(received)
            assert len(audio_of(received)) % 2 == 0
            request = await ask(session, "hello")
            assert isinstance(await request.outcome(), Answered)
        assert session.closed.clean
        roles = [type(message).__name__ for message in session.transcript]
        assert roles[0] == "UserMessage"
        assert roles.count("UserMessage") == 2
        assert roles[-1] == "AssistantMessage"


@pytest.mark.parametrize("connector", CONNECTORS)
@pytest.mark.parametrize("count", [1, 2, 3, 5, 10])
async def test_a_connection_that_breaks_anywhere_ends_the_session_with_a_typed_error(
    count, connector
):
    options = ServerOptions(pace=None, quirks=Quirks(drop_after_events=count))
    with quiescent_after(), trio.fail_after(10):
        async with serve_embedded(options) as server:
            with pytest.raises(errors.ConnectionReset) as broken:
                async with session_with(server, connector) as session:
                    await ask(session, "What is the weather in Lisbon?")
                    async for _ in session:
                        pass
            assert str(broken.value)


async def test_fifty_sessions_at_once_with_tools_and_interruptions_leave_nothing():
    outcomes: Counter[type] = Counter()
    options = ServerOptions(pace=20.0, limits=ServerLimits(max_connections=50))
    patient = SessionLimits(nudge_timeout=30.0)  # where a machine is busy, nobody is silent

    async def converse(server, connector):
        received = []
        async with (
            session_with(server, connector, limits=patient) as session,
            trio.open_nursery() as nursery,
        ):

            async def read():
                received.extend([event async for event in session])

            nursery.start_soon(read)
            request = await ask(session, "What is the weather in Lisbon?")
            outcomes[type(await request.outcome())] += 1
            request = await ask(session, "Tell me a long story")
            await trio.sleep(0.2)
            await session.interrupt()
            outcomes[type(await request.outcome())] += 1
            request = await ask(session, "hello")
            outcomes[type(await request.outcome())] += 1
            await session.aclose()
        kinds = Counter(type(event) for event in received)
        assert kinds[events.ToolCallFinished] == 1
        interrupted = [e.response_id for e in received if isinstance(e, events.Interrupted)]
        assert len(interrupted) == len(set(interrupted))
        assert type(received[-1]) is events.SessionClosed
        assert kinds[events.SessionClosed] == 1
        assert received[-1].reason.clean

    with quiescent_after(), trio.fail_after(60):
        async with serve_embedded(options) as server, trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(converse, server, CONNECTORS[number % 2])
    assert sum(outcomes.values()) == 150
    assert set(outcomes) <= {Answered, Superseded}
    assert outcomes[Answered] >= 100
