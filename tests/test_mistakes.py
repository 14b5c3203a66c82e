"""The mistakes of a first hour: each is answered with what was wrong and what is allowed."""

from __future__ import annotations

import re

import pytest
import trio

from meerkat_rt import (
    OpenAIRealtime,
    RealtimeConfig,
    RealtimeSessionOpenConfig,
    RealtimeTextChunk,
    RealtimeTurningMode,
    SessionLlmIdentity,
    ToolSet,
    attach_external_session,
    errors,
    events,
    open_session,
    tool,
)
from meerkat_rt import RealtimeExternalSessionTarget as Target
from meerkat_rt.embedded import EmbeddedProvider, Quirks, ServerOptions
from meerkat_rt.testing.quiescence import quiescent_after

IDENTITY = SessionLlmIdentity(model="embedded")
MODE = RealtimeTurningMode.PROVIDER_MANAGED
CONFIG = RealtimeSessionOpenConfig(MODE, IDENTITY)


def embedded() -> EmbeddedProvider:
    return EmbeddedProvider(options=ServerOptions(pace=None))


async def get_weather(city: str) -> str:
    """Tell the weather in a city."""
    await trio.lowlevel.checkpoint()
    return f"It is sunny in {city}."


async def answered_with(*tools: object) -> str:
    """The output of the one tool call of a turn, in a session that was given these tools."""
    with quiescent_after(), trio.fail_after(10):
        async with open_session(CONFIG, provider=embedded(), tools=tools) as session:
            await session.send_input(RealtimeTextChunk("What is the weather in Lisbon?"))
            async for event in session:
                if isinstance(event, events.ToolCallFinished):
                    return event.output
    raise AssertionError("no tool call ended")


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: open_session("x", provider=embedded()), "InvalidConfig", "config is 'x'; allowed"),
        (lambda: open_session(CONFIG, provider="openai"), "InvalidConfig", "provider is 'openai'"),
        (
            lambda: open_session(CONFIG, provider=EmbeddedProvider),
            "InvalidConfig",
            "provider is the class EmbeddedProvider; allowed: an instance",
        ),
        (
            lambda: attach_external_session(Target("call_1"), MODE, provider=OpenAIRealtime),
            "InvalidConfig",
            "provider is the class OpenAIRealtime",
        ),
        (
            lambda: open_session(CONFIG, provider=embedded(), store="talk.db"),
            "InvalidConfig",
            "store is 'talk.db'; allowed: a SessionStore such as SqliteStore",
        ),
        (
            lambda: attach_external_session(
                Target("call_1"), MODE, provider=embedded(), store="talk.db"
            ),
            "InvalidConfig",
            "store is 'talk.db'",
        ),
        (
            lambda: open_session(CONFIG, provider=embedded(), limits={"connect": 1}),
            "InvalidConfig",
            "limits is {'connect': 1}; allowed: SessionLimits",
        ),
        (lambda: OpenAIRealtime(api_key=None), "InvalidConfig", "api_key is NoneType; allowed"),
        (lambda: OpenAIRealtime(api_key="  "), "InvalidConfig", "api_key is empty; allowed"),
        (
            lambda: RealtimeSessionOpenConfig("explicit", IDENTITY),
            "InvalidConfig",
            "turning_mode is 'explicit'; allowed: provider_managed, explicit_commit",
        ),
        (
            lambda: RealtimeSessionOpenConfig(MODE, "gpt-realtime"),
            "InvalidConfig",
            "llm_identity is 'gpt-realtime'; allowed: SessionLlmIdentity",
        ),
        (lambda: ToolSet(get_weather), "InvalidRequest", "takes a list of tools"),
        (lambda: ToolSet(tool(get_weather)), "InvalidRequest", "takes a list of tools"),
        (lambda: ToolSet([3]), "InvalidRequest", "a tool is 3; allowed: functions"),
    ],
)
def test_a_mistake_in_opening_is_explained_before_anything_is_connected(make, error, words):
    with pytest.raises(getattr(errors, error), match=re.escape(words)):
        make()


def test_a_server_of_ones_own_may_want_no_key():
    assert OpenAIRealtime(api_key="", base_url="ws://127.0.0.1:1/v1/realtime")


def test_a_connection_cannot_break_after_no_event():
    with pytest.raises(errors.InvalidConfig, match="drop_after_events"):
        Quirks(drop_after_events=0)


async def test_a_mistake_in_a_command_is_explained_and_nothing_is_sent():
    with quiescent_after(), trio.fail_after(10):
        async with open_session(CONFIG, provider=embedded()) as session:
            for command, words in [
                (lambda: session.send_text(None), "text is None; allowed: a string"),
                (lambda: session.send_input(RealtimeTextChunk(3)), "text is 3; allowed: a string"),
                (lambda: session.submit_tool_result("done"), "result is 'done'; allowed: ToolRes"),
                (lambda: session.send_tool_response("done"), "allowed: ToolResponse(call_id"),
                (lambda: session.mutate_context({"voice": "x"}), "allowed: RealtimeConfig(...)"),
                (lambda: session.send_event(["x"]), "list is not a client event; allowed"),
            ]:
                with pytest.raises(errors.InvalidRequest, match=re.escape(words)):
                    await command()
            with pytest.raises(errors.InvalidConfig, match="config is None; allowed"):
                await session.refresh_projection(None)
            for command, words in [
                (lambda: session.send_audio(4800), "audio is int; allowed: bytes"),
                (lambda: session.send_audio("abc"), "audio is str; allowed: bytes"),
                (lambda: session.send_audio_base64(None), "the audio is not base64"),
                (lambda: session.send_input("hello"), "allowed: a RealtimeTextChunk or"),
            ]:
                with pytest.raises(errors.InvalidInputShape, match=re.escape(words)):
                    await command()
            await session.mutate_context(RealtimeConfig(instruction="Be brief."))  # it goes on


async def test_functions_alone_will_do_for_tools():
    assert await answered_with(get_weather) == "It is sunny in Lisbon."


async def test_an_async_function_behind_a_plain_one_is_awaited():
    def wrapped(city: str):
        return get_weather(city)

    offered = tool(wrapped, name="get_weather", description="Tell the weather in a city.")
    assert await answered_with(offered) == "It is sunny in Lisbon."


async def test_a_function_that_returns_a_tuple_gives_all_of_it():
    def pair(city: str):
        return (city, 24)

    offered = tool(pair, name="get_weather", description="Tell the weather in a city.")
    assert await answered_with(offered) == '["Lisbon",24]'
