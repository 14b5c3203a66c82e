"""One ToolSet, store, recorder or provider for several sessions: it works, or is refused."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
from continuitykit import MANAGED, exchange
from runtimekit import closing, linger, of, open_config, rest, take

from meerkat_rt import (
    Conversation,
    EmbeddedGemini,
    EmbeddedProvider,
    OpenAIRealtime,
    Provider,
    RealtimeTextChunk,
    SessionLlmIdentity,
    ToolSet,
    errors,
    events,
    open_session,
)
from meerkat_rt import RealtimeSessionOpenConfig as OpenConfig
from meerkat_rt.embedded import ServerOptions
from meerkat_rt.recording import FlightRecorder, Verdict, replay
from meerkat_rt.storage import MemoryStore, SessionLocked, SqliteStore
from meerkat_rt.testing import quiescent_after
from meerkat_rt.transport import connector

SAYINGS = ("one", "two")


async def asks(peer, tag="a"):
    """A server whose model calls a tool with what it was told, and says what came of it."""
    await peer.welcome()
    peer.tag = tag
    item = await peer.expect_item(role="user")
    create = await peer.expect("response.create")
    said = item["item"]["content"][0]["text"]
    (call_id,) = await peer.tool_call_response(("shout", {"text": said}), create=create)
    answer = await peer.expect_tool_output(call_id)
    await peer.text_response(answer, await peer.expect("response.create"))
    await linger(peer)


@asynccontextmanager
async def sharing(*scripts):
    """A provider whose connections are served by these scripts, one after the other."""
    async with exchange(*scripts) as made:
        yield OpenAIRealtime(
            api_key="k",
            base_url="ws://peer/v1/realtime",
            connector=connector("websockets", open_stream=made.open_stream),
        )


async def converse(session, text):
    """Say something to it, and read up to its answer."""
    await session.send_input(RealtimeTextChunk(text))
    await take(session, events.TurnCompleted, events.TurnCompleted)


class Shouting:
    """A tool that all sessions share; `meet` makes each call wait for the other."""

    def __init__(self, *, meet=False):
        self.calls = []
        self._meet = meet
        self._both = trio.Event()

    async def shout(self, text: str) -> str:
        """Say it louder."""
        self.calls.append(text)
        if len(self.calls) == len(SAYINGS):
            self._both.set()
        if self._meet:
            await self._both.wait()
        return f"{text.upper()}!"


@pytest.mark.parametrize("concurrent", [True, False], ids=["at once", "in turn"])
async def test_tools_and_store_and_provider_of_several_sessions(concurrent, autojump_clock):
    shouting = Shouting(meet=concurrent)
    tools, store = ToolSet([shouting.shout]), MemoryStore()
    answers = {}

    async def one(provider, text):
        kept = Conversation(store=store, id=text)
        async with open_session(
            open_config(), provider=provider, tools=tools, store=kept
        ) as session:
            await converse(session, text)
        answers[text] = session.transcript[-1].text_content()
        assert closing(await rest(session)).clean

    with quiescent_after():
        async with sharing(asks, asks) as provider:
            async with trio.open_nursery() as nursery:
                for text in SAYINGS:
                    if concurrent:
                        nursery.start_soon(one, provider, text)
                    else:
                        await one(provider, text)
    assert answers == {"one": "ONE!", "two": "TWO!"}
    assert sorted(shouting.calls) == ["one", "two"]
    for text in SAYINGS:
        kept = await store.read(text)
        assert kept.messages[0].message.text_content() == text
        assert kept.messages[-1].message.text_content() == f"{text.upper()}!"


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_conversation_that_another_session_writes_is_refused_before_anything_is_dialled(
    kind, virtual_time, tmp_path
):
    store = MemoryStore() if kind == "memory" else SqliteStore(tmp_path / "x.db", sync=False)
    kept = Conversation(store=store, id="talk")
    async with sharing(asks, partial(asks, tag="b")) as provider:
        async with open_session(
            open_config(), provider=provider, tools=[Shouting().shout], store=kept
        ) as session:
            with pytest.raises(SessionLocked):
                async with open_session(open_config(), provider=provider, store=kept):
                    raise AssertionError("it opened")
            await converse(session, "one")
        async with open_session(
            open_config(), provider=provider, tools=[Shouting().shout], store=kept
        ) as session:
            await converse(session, "two")
    said = [entry.message.text_content() for entry in (await store.read("talk")).messages]
    assert [text for text in said if text] == ["one", "ONE!", "two", "TWO!"]


async def test_a_recorder_that_another_session_has_is_refused_before_anything_is_dialled(
    autojump_clock, tmp_path
):
    recorder = FlightRecorder(tmp_path / "x.rec")
    tools = ToolSet([Shouting().shout])
    async with sharing(asks, asks) as provider:
        async with open_session(
            open_config(), provider=provider, tools=tools, recorder=recorder
        ) as session:
            with pytest.raises(errors.InvalidRequest, match="is recording another session"):
                async with open_session(open_config(), provider=provider, recorder=recorder):
                    raise AssertionError("it opened")
            await converse(session, "one")
        first = replay(recorder.path)
        async with open_session(
            open_config(), provider=provider, tools=tools, recorder=recorder
        ) as session:
            await converse(session, "two")
        second = replay(recorder.path)
    assert first.verdict is second.verdict is Verdict.SAME
    assert recorder.status.lost == 0


@pytest.mark.parametrize("concurrent", [True, False], ids=["at once", "in turn"])
@pytest.mark.parametrize("kind", [EmbeddedProvider, EmbeddedGemini])
async def test_an_embedded_provider_serves_several_sessions(kind, concurrent):
    provider = kind(options=ServerOptions(pace=None))
    which = Provider.GEMINI if kind is EmbeddedGemini else Provider.OPENAI
    config = OpenConfig(MANAGED, SessionLlmIdentity(model="embedded", provider=which))
    tools, store = ToolSet([get_weather]), MemoryStore()
    answers = {}

    async def one(city):
        async with open_session(config, provider=provider, tools=tools, store=store) as session:
            await session.send_input(RealtimeTextChunk(f"What is the weather in {city}?"))
            read = await take(session, events.TurnCompleted, events.TurnCompleted)
            answers[city] = "".join(each.text for each in of(read, events.AssistantTranscriptFinal))

    with quiescent_after(), trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            for city in ("Lisbon", "Oslo"):
                if concurrent:
                    nursery.start_soon(one, city)
                else:
                    await one(city)
    assert {city: city in answer for city, answer in answers.items()} == {
        "Lisbon": True,
        "Oslo": True,
    }


async def get_weather(city: str) -> str:
    """Tell the weather in a city."""
    await trio.lowlevel.checkpoint()
    return f"It is sunny in {city}."
