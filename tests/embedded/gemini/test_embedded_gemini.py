"""Our own sessions with the embedded Gemini endpoint, over real sockets."""

from __future__ import annotations

import pytest
import trio
from support.embedded_session import recording, spoken_turn_16k

from meerkat_rt import (
    Answered,
    AssistantMessage,
    EmbeddedGemini,
    Provider,
    RealtimeConfig,
    RealtimeExternalSessionTarget,
    RealtimeSessionOpenConfig,
    RealtimeTextChunk,
    RealtimeTurningMode,
    SessionLlmIdentity,
    ToolSet,
    UserMessage,
    attach_external_session,
    errors,
    events,
    open_session,
)
from meerkat_rt.embedded import AccessPolicy, Quirks, Say, ServerLimits, ServerOptions
from meerkat_rt.model.conversation import AssistantTranscript, StopReason
from meerkat_rt.testing.quiescence import quiescent_after

PATIENCE = 15  # seconds; nothing takes one
MANAGED, EXPLICIT = RealtimeTurningMode.PROVIDER_MANAGED, RealtimeTurningMode.EXPLICIT_COMMIT
CONNECTORS = ["websockets", "trio-websocket"]
MODELS = [
    "embedded",
    "gemini-3.8-live",
    "gemini-3.1-flash-live-preview",
    "gemini-2.5-flash-native-audio-preview-12-2025",
]
QUIRKS = [
    {},
    {"odd_audio_deltas": True},
    {"urlsafe_base64": True},
    {"thoughts": True},
    {"unknown_events": True, "unknown_fields": True},
    {"transcription": "after"},
]


async def get_weather(city: str) -> str:
    """Tell the weather in a city."""
    await trio.lowlevel.checkpoint()
    return f"It is sunny in {city}."


def open_config(mode=MANAGED, model="embedded", **rest):
    identity = SessionLlmIdentity(model=model, provider=Provider.GEMINI)
    return RealtimeSessionOpenConfig(mode, identity, **rest)


def fast(**rest):
    return ServerOptions(pace=None, **rest)


async def answer(session):
    received = []
    async for event in session:
        received.append(event)
        if isinstance(event, events.TurnCompleted) and event.stop_reason != "tool_use":
            break
    return received


def audio_of(received):
    return b"".join(
        event.chunk.data for event in received if isinstance(event, events.OutputAudioChunk)
    )


def said(received):
    return "".join(
        event.delta
        for event in received
        if isinstance(event, events.OutputAudioTranscriptDeltaForItem)
    )


@pytest.mark.parametrize("mode", [MANAGED, EXPLICIT])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("connector", CONNECTORS)
async def test_a_typed_turn_with_a_tool_and_a_spoken_turn(connector, model, mode):
    provider = EmbeddedGemini(options=fast(), connector=connector)
    with quiescent_after(), trio.fail_after(PATIENCE):
        async with open_session(
            open_config(mode, model), provider=provider, tools=ToolSet([get_weather])
        ) as session:
            await session.send_input(RealtimeTextChunk("What is the weather in Lisbon?"))
            if mode is EXPLICIT:
                request = await session.commit_turn()
            received = await answer(session)
            if model == "gemini-3.8-live":
                # It talks on while the tool runs: its turn with the call is over by itself.
                assert "sunny" in said(received) or "sunny" in said(await answer(session))
            else:
                assert "It is sunny in Lisbon" in said(received)
            if mode is EXPLICIT:
                assert isinstance(await request.outcome(), Answered)
            await session.send_audio(spoken_turn_16k())
            if mode is EXPLICIT:
                await session.commit_turn()
            spoken = await answer(session)
            assert len(audio_of(spoken)) > 10 * 48_000
            (words,) = [e for e in spoken if isinstance(e, events.InputTranscriptFinalForItem)]
            assert words.text == "(1.9 s of speech)"
            committed = [e for e in spoken if isinstance(e, events.TurnCommitted)]
            assert len(committed) == 1
        assert session.closed.clean
        assert session.usage.output_tokens > 0
    assert [type(message) for message in session.transcript][-1] is AssistantMessage


@pytest.mark.parametrize("quirk", QUIRKS, ids="+".join)
@pytest.mark.parametrize("mode", [MANAGED, EXPLICIT])
async def test_a_session_works_with_every_quirk_of_the_server(quirk, mode):
    provider = EmbeddedGemini(options=fast(quirks=Quirks(**quirk)))
    with quiescent_after(), trio.fail_after(PATIENCE):
        async with open_session(open_config(mode), provider=provider) as session:
            for text in ("hello", "What is 2 + 2?"):
                await session.send_input(RealtimeTextChunk(text))
                if mode is EXPLICIT:
                    await session.commit_turn()
                received = await answer(session)
                assert received[-1].stop_reason is StopReason.END_TURN
                assert len(audio_of(received)) % 2 == 0
            assert said(received) == "That makes 4."
        texts = [message.text_content() for message in session.transcript]
        assert texts == ["hello", "Hello! How can I help you?", "What is 2 + 2?", "That makes 4."]


async def test_a_barge_in_by_voice_keeps_what_was_heard():
    provider = EmbeddedGemini(options=ServerOptions(pace=20, playback=20))
    speech = recording("goforward", 16_000).tobytes()
    with quiescent_after(), trio.fail_after(PATIENCE):
        async with open_session(open_config(), provider=provider) as session:
            await session.send_input(RealtimeTextChunk("Tell me a story"))
            async for event in session:
                if isinstance(event, events.OutputAudioChunk):
                    break
            await trio.sleep(0.2)  # in which four seconds of it are sent
            session.playback.report(event.item_id, event.content_index or 0, 1500)
            await session.send_audio(speech + bytes(32_000))
            received = await answer(session)
            assert len([e for e in received if isinstance(e, events.Interrupted)]) == 1
            assert received[-1].stop_reason is StopReason.CANCELLED
            following = await answer(session)
            assert following[-1].stop_reason is StopReason.END_TURN
        cut = session.transcript[1]
        assert any(isinstance(b, AssistantTranscript) and b.truncated for b in cut.blocks)
        assert len(cut.text_content()) < len(session.transcript[-1].text_content())


async def test_an_interruption_by_the_application_where_it_tells_of_activity():
    provider = EmbeddedGemini(options=ServerOptions(pace=80, playback=20))
    with quiescent_after(), trio.fail_after(PATIENCE):
        async with open_session(open_config(EXPLICIT), provider=provider) as session:
            await session.send_input(RealtimeTextChunk("Tell me a story"))
            request = await session.commit_turn()
            async for event in session:
                if isinstance(event, events.OutputAudioChunk):
                    break
            await session.interrupt()
            received = await answer(session)
            assert received[-1].stop_reason is StopReason.CANCELLED
            assert isinstance(await request.outcome(), Answered)
            await session.send_audio(spoken_turn_16k())
            await session.commit_turn()
            assert (await answer(session))[-1].stop_reason is StopReason.END_TURN


async def test_history_is_told_and_not_answered():
    class Remembering:
        def reply(self, request):
            return [Say(" / ".join(entry.text for entry in request.history))]

    provider = EmbeddedGemini(options=fast(brain=Remembering()))
    history = [UserMessage("I am Ada")]
    for model in MODELS:
        with quiescent_after(), trio.fail_after(PATIENCE):
            config = open_config(model=model, seed_messages=history)
            async with open_session(config, provider=provider) as session:
                await session.send_input(RealtimeTextChunk("Who am I?"))
                assert said(await answer(session)) == "I am Ada / Who am I?"


async def test_a_later_session_of_the_same_provider_resumes_an_earlier_one():
    class Counting:
        def reply(self, request):
            return [Say(f"{len(request.history)} entries")]

    config = RealtimeConfig(model="embedded")
    provider = EmbeddedGemini(options=fast(brain=Counting()), config=config)
    with quiescent_after(), trio.fail_after(PATIENCE):
        async with open_session(open_config(), provider=provider) as session:
            await session.send_input(RealtimeTextChunk("one"))
            await answer(session)
            first = session.session_id
            await session.send_input(RealtimeTextChunk("two"))
            await answer(session)
        handle = next(reversed(provider._sessions._kept))
        target = RealtimeExternalSessionTarget(handle)
        async with attach_external_session(target, MANAGED, provider=provider) as session:
            assert session.session_id == first
            await session.send_input(RealtimeTextChunk("three"))
            assert said(await answer(session)) == "5 entries"


@pytest.mark.parametrize("count", [1, 2, 3, 5, 10])
@pytest.mark.parametrize("connector", CONNECTORS)
async def test_a_connection_that_breaks_anywhere_ends_the_session_with_a_typed_error(
    count, connector
):
    provider = EmbeddedGemini(
        options=fast(quirks=Quirks(drop_after_events=count)), connector=connector
    )
    with quiescent_after(), trio.fail_after(PATIENCE):
        with pytest.raises(errors.ConnectionReset) as broken:
            async with open_session(open_config(), provider=provider) as session:
                await session.send_input(RealtimeTextChunk("Tell me a story"))
                async for _ in session:
                    pass
        assert str(broken.value)


async def test_a_connection_that_is_too_old_ends_the_session_with_a_typed_error():
    limits = ServerLimits(connection_seconds=0.3, go_away_seconds=0.2)
    provider = EmbeddedGemini(options=fast(limits=limits))
    with quiescent_after(), trio.fail_after(PATIENCE):
        with pytest.raises(errors.SessionExpired):
            async with open_session(open_config(), provider=provider) as session:
                async for _ in session:
                    pass


async def test_a_model_that_does_not_exist_is_told_when_opening():
    access = AccessPolicy(models=frozenset({"other"}))
    with quiescent_after(), trio.fail_after(PATIENCE):
        with pytest.raises(errors.ModelNotFound):
            provider = EmbeddedGemini(options=fast(access=access))
            async with open_session(open_config(), provider=provider):
                pytest.fail("it was opened")


async def test_parallel_calls_are_answered_in_one_turn():
    async def get_time(city: str) -> str:
        """Tell the time in a city."""
        await trio.sleep(0.05)
        return "noon"

    tools = ToolSet([get_weather, get_time])
    with quiescent_after(), trio.fail_after(PATIENCE):
        async with open_session(
            open_config(), provider=EmbeddedGemini(options=fast()), tools=tools
        ) as session:
            await session.send_input(RealtimeTextChunk("Weather and time in Rome?"))
            received = await answer(session)
            finished = [e for e in received if isinstance(e, events.ToolCallFinished)]
            assert {e.tool_name for e in finished} == {"get_weather", "get_time"}
            assert "noon" in said(received)
            assert "sunny in Rome" in said(received)


async def test_twenty_sessions_at_once_leave_nothing():
    provider = EmbeddedGemini(options=ServerOptions(pace=80, playback=80))
    completed = []

    async def converse():
        async with open_session(open_config(), provider=provider) as session:
            await session.send_input(RealtimeTextChunk("hello"))
            completed.append((await answer(session))[-1])
            await session.send_input(RealtimeTextChunk("Tell me a long story"))
            async for event in session:
                if isinstance(event, events.OutputAudioChunk):
                    break

    with quiescent_after(), trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(converse)
    assert [each.stop_reason for each in completed] == [StopReason.END_TURN] * 20


def test_a_providers_sessions_are_not_shown():
    provider = EmbeddedGemini()
    provider._sessions.connect("secret")
    assert "secret" not in repr(provider)
