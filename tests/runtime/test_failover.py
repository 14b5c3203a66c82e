"""A second provider, for when the first cannot be reached any more."""

from __future__ import annotations

import pytest
import trio
from continuitykit import MANAGED, Call, exchange, open_config, welcoming

from meerkat_rt import (
    AiStudio,
    ContinuityPolicy,
    Failover,
    GeminiLive,
    OpenAIRealtime,
    Provider,
    RealtimeConfig,
    RealtimeTextChunk,
    RequiresResumption,
    SessionLlmIdentity,
    errors,
    open_session,
)
from meerkat_rt.model import events as ev
from meerkat_rt.testing.gemini_peer import gemini_peer
from meerkat_rt.transport import connector

GEMINI = SessionLlmIdentity(model="gemini-3.8-live", provider=Provider.GEMINI)


async def lost_after_a_turn(peer):
    await peer.item_created(await peer.expect("conversation.item.create"))
    await peer.audio_response("Good morning.", create=await peer.expect("response.create"))
    await trio.sleep(3)
    await peer.reset()


def openai(dialling, **settings):
    return OpenAIRealtime(
        api_key="k",
        base_url="ws://peer/v1/realtime",
        connector=connector("websockets", open_stream=dialling.open_stream),
        seed=1,
        **settings,
    )


def gemini(dialling, **settings):
    return GeminiLive(
        platform=AiStudio(api_key="k", base_url="ws://peer"),
        connector=connector("websockets", open_stream=dialling.open_stream),
        **{"input_rate": 24_000, **settings},
    )


def policy(provider, identity=None, **settings):
    failover = Failover(provider=provider, llm_identity=identity)
    return ContinuityPolicy(seed=1, max_attempts=2, failover=failover, **settings)


async def test_when_all_attempts_fail_the_conversation_goes_on_elsewhere(autojump_clock):
    async def second(peer):
        items = await peer.welcome_back(2)
        assert [item["role"] for item in items] == ["user", "assistant"]
        await peer.item_created(await peer.expect("conversation.item.create"))
        await peer.audio_response("Here.", create=await peer.expect("response.create"))
        await peer.linger()

    async with exchange(welcoming(lost_after_a_turn)) as here, exchange(second) as there:
        async with open_session(
            open_config(MANAGED), provider=openai(here), continuity=policy(openai(there))
        ) as session:
            call = Call(session, here)
            await session.send_input(RealtimeTextChunk("hello"))
            await call.until(ev.SessionRotated)
            assert [event.attempt for event in call.of(ev.Reconnecting)] == [1, 2, 1]
            await session.send_input(RealtimeTextChunk("where are you?"))
            await call.until(ev.MessageCommitted, 2)
    assert [text for _, text in call.said] == ["hello", "Good morning.", "where are you?", "Here."]


async def test_it_may_be_another_kind_of_provider_with_the_same_audio(autojump_clock):
    async def second(peer):
        await peer.welcome(historyConfig={"initialHistoryInClientContent": True})
        turns = (await peer.expect("clientContent"))["clientContent"]["turns"]
        assert [turn["role"] for turn in turns] == ["user", "model"]
        await peer.expect_turn("where are you?")
        await peer.audio_response("Here.", ms=40)
        await peer.linger()

    async with (
        exchange(welcoming(lost_after_a_turn)) as here,
        exchange(second, peer_of=gemini_peer) as there,
    ):
        async with open_session(
            open_config(MANAGED), provider=openai(here), continuity=policy(gemini(there), GEMINI)
        ) as session:
            call = Call(session, here)
            await session.send_input(RealtimeTextChunk("hello"))
            await call.until(ev.SessionRotated)
            assert not session.capabilities.truncate_supported
            await session.send_input(RealtimeTextChunk("where are you?"))
            await call.until(ev.TurnCompleted)
            await trio.sleep(2)
    assert [text for _, text in call.said] == ["hello", "Good morning.", "where are you?", "Here."]


async def test_a_call_in_flight_is_told_to_the_other_provider_in_words(autojump_clock):
    async def first(peer):
        create = await peer.expect("response.create")
        await peer.tool_call_response(("slow", {}), create=create)
        await peer.reset(deliver=True)

    async def second(peer):
        await peer.welcome()
        turns = (await peer.expect("clientContent"))["clientContent"]["turns"]
        assert turns[0]["parts"][0]["text"] == "[tool slow({})]\n(never answered)"
        told = (await peer.expect("clientContent"))["clientContent"]["turns"]
        assert told[0]["parts"][0]["text"] == "[tool result]\nslow gave: done"
        await peer.expect("clientContent", clientContent={"turnComplete": True})
        await peer.audio_response("Done.", ms=40)
        await peer.expect_silence(3)
        await peer.linger()

    async def slow() -> str:
        """Slow."""
        await trio.sleep(20)
        return "done"

    async with (
        exchange(welcoming(first)) as here,
        exchange(second, peer_of=gemini_peer) as there,
    ):
        async with open_session(
            open_config(MANAGED),
            provider=openai(here),
            tools=[slow],
            continuity=policy(gemini(there), GEMINI),
        ) as session:
            call = Call(session, here)
            await session.create_response()
            await call.until(ev.TurnCompleted, 2)
            await trio.sleep(4)
            assert len(call.of(ev.ToolCallFinished)) == 1


async def test_a_failure_that_no_retry_can_help_goes_there_at_once(autojump_clock):
    async def first(peer):
        await trio.sleep(1)
        await peer.close(1008, "policy")

    async def second(peer):
        await peer.welcome_back(0)
        await peer.linger()

    async with exchange(welcoming(first)) as here, exchange(second) as there:
        async with open_session(
            open_config(MANAGED), provider=openai(here), continuity=policy(openai(there))
        ) as session:
            call = Call(session, here)
            await call.until(ev.SessionRotated)
            assert len(here.dialled_at) == 1


async def test_when_the_other_fails_too_the_session_ends(autojump_clock):
    async def first(peer):
        await trio.sleep(1)
        await peer.reset()

    async with exchange(welcoming(first)) as here, exchange() as there:
        async with open_session(
            open_config(MANAGED), provider=openai(here), continuity=policy(openai(there))
        ) as session:
            call = Call(session, here)
            await call.until(ev.SessionClosed)
            with pytest.raises(errors.ReconnectExhausted):
                await session.next_event()
            assert (len(here.dialled_at), len(there.dialled_at)) == (3, 2)


async def test_once_there_a_loss_is_replaced_there(autojump_clock):
    async def first(peer):
        await trio.sleep(1)
        await peer.reset()

    async def second(peer):
        await peer.welcome_back(0)
        await trio.sleep(20)
        await peer.reset()

    async def third(peer):
        await peer.welcome_back(0, tag="c")
        await peer.linger()

    async with exchange(welcoming(first)) as here, exchange(second, third) as there:
        async with open_session(
            open_config(MANAGED), provider=openai(here), continuity=policy(openai(there))
        ) as session:
            call = Call(session, here)
            await call.until(ev.SessionRotated, 2)
            assert (len(here.dialled_at), len(there.dialled_at)) == (3, 2)


async def test_a_change_of_the_configuration_goes_to_where_the_session_is(autojump_clock):
    async def first(peer):
        await trio.sleep(1)
        await peer.reset()

    async def second(peer):
        await peer.welcome_back(0)
        await peer.expect_close()

    async def third(peer):
        await peer.wait_request()
        assert "model=other" in peer.socket.request.path
        await peer.welcome_back(0, tag="c")
        await peer.linger()

    async with exchange(welcoming(first)) as here, exchange(second, third) as there:
        async with open_session(
            open_config(MANAGED), provider=openai(here), continuity=policy(openai(there))
        ) as session:
            call = Call(session, here)
            await call.until(ev.SessionRotated)
            outcome = await session.mutate_context(RealtimeConfig(model="other"))
            assert isinstance(outcome, RequiresResumption)
            await session.resume_with(outcome)


async def test_another_format_of_audio_is_refused_before_anything_is_dialled(autojump_clock):
    async with exchange() as here, exchange() as there:
        with pytest.raises(errors.InvalidConfig, match=r"failover provider's input audio is .*"):
            async with open_session(
                open_config(MANAGED),
                provider=openai(here),
                continuity=policy(gemini(there, input_rate=16_000), GEMINI),
            ):
                raise AssertionError("opened")
        with pytest.raises(errors.InvalidConfig, match="this is Gemini's protocol"):
            async with open_session(
                open_config(MANAGED), provider=openai(here), continuity=policy(gemini(there))
            ):
                raise AssertionError("opened")
        assert here.dialled_at == there.dialled_at == []
