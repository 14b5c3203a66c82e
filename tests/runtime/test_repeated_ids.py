"""Servers that count from one again: on the next connection, in the next session, in an answer.

Ids are the provider's, and a server that serves a connection knows of no other.
"""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio
from continuitykit import calling, calling_gemini, exchange, open_config
from runtimekit import closing, meeting, rest, take

from meerkat_rt import (
    Answered,
    Conversation,
    Lost,
    OpenAIRealtime,
    RealtimeConfig,
    RealtimeTextChunk,
    events,
    open_session,
)
from meerkat_rt.storage import MemoryStore, SqliteStore, resume_config
from meerkat_rt.transport import connector

OTHER = RealtimeConfig(model="gpt-realtime-2")


async def shout(text: str) -> str:
    """Say it louder."""
    await trio.lowlevel.checkpoint()
    return f"{text.upper()}!"


async def one_turn(peer):
    """A question in writing, a call, and an answer with what came of it."""
    item = await peer.expect("conversation.item.create")
    await peer.item_created(item)
    said = item["item"]["content"][0]["text"]
    create = await peer.expect("response.create")
    (call_id,) = await peer.tool_call_response(("shout", {"text": said}), create=create)
    answer = await peer.expect_tool_output(call_id)
    await peer.text_response(answer, await peer.expect("response.create"))


async def spoken_turn(peer, text):
    await peer.user_turn(text)
    await peer.audio_response(f"You said {text}.", ms=200)


def counting_anew(peer):
    """Like a server that was just started."""
    peer.tag = ""
    peer._counts.clear()


async def first(peer):
    await one_turn(peer)
    await spoken_turn(peer, "a")
    await trio.sleep(1)
    await peer.reset()


async def second(peer):
    await peer.welcome_back()
    counting_anew(peer)
    await one_turn(peer)
    await spoken_turn(peer, "b")
    await peer.linger()


SAID = [
    *(("user", "one"), ("assistant", ""), ("assistant", "ONE!")),
    *(("user", "a"), ("assistant", "You said a.")),
    *(("user", "two"), ("assistant", ""), ("assistant", "TWO!")),
    *(("user", "b"), ("assistant", "You said b.")),
]
"""What is said by the scripts, but for the calls, which are messages without a text."""


def in_words(said):
    return [entry for entry in said if entry[1]]


async def test_ids_that_come_again_on_the_next_connection_are_other_things(autojump_clock):
    store = MemoryStore()
    kept = Conversation(store=store, id="talk")
    async with calling(first, second, tools=[shout], store=kept) as call:
        await call.session.send_input(RealtimeTextChunk("one"))
        await call.until(events.SessionRotated)
        await call.session.send_input(RealtimeTextChunk("two"))
        await call.until(events.MessageCommitted, len(in_words(SAID)) // 2)
    assert in_words(call.said) == in_words(SAID)
    outcomes = [each.outcome for each in call.of(events.ToolCallFinished)]
    assert outcomes == ["result", "result"]
    ids = [each.call_id for each in call.of(events.ToolCallRequested)]
    assert len(set(ids)) == 2
    assert not call.of(events.ProviderErrorReported)
    stored = (await store.read("talk")).messages
    assert [entry.message.text_content() for entry in stored if entry.message.text_content()] == [
        text for _, text in in_words(SAID)
    ]


async def test_they_are_so_too_where_every_frame_comes_alone(autojump_clock):
    def slowly(peer):
        send = peer.send

        async def paced(frame):
            await send(frame)
            await trio.sleep(0.1)

        peer.send = paced

    async def second_slowly(peer):
        await peer.welcome_back()
        counting_anew(peer)
        slowly(peer)
        await one_turn(peer)
        await spoken_turn(peer, "b")
        await peer.linger()

    async with calling(first, second_slowly, tools=[shout]) as call:
        await call.session.send_input(RealtimeTextChunk("one"))
        await call.until(events.SessionRotated)
        await call.session.send_input(RealtimeTextChunk("two"))
        await call.until(events.MessageCommitted, len(in_words(SAID)) // 2)
    started = [each.response_id for each in call.of(events.ResponseStarted)]
    assert len(set(started)) == len(started)
    assert started == [each.response_id for each in call.of(events.TurnCompleted)]
    assert in_words(call.said) == in_words(SAID)


async def test_what_is_said_of_such_a_thing_is_said_in_the_providers_words(autojump_clock):
    async def talking(peer):
        response = await peer.response(await peer.expect("response.create"))
        message = await response.message("audio")
        await message.speak("On and on", ms=4000)
        await peer.reset()

    async def talking_again(peer):
        await peer.welcome_back()
        counting_anew(peer)
        response = await peer.response(await peer.expect("response.create"))
        message = await response.message("audio")
        await message.speak("and on and on", ms=4000)
        cancel = await peer.expect("response.cancel")
        assert cancel.get("response_id", response.id) == response.id
        await response.cancelled(message, reason="client_cancelled")
        truncate = await peer.expect("conversation.item.truncate")
        assert truncate["item_id"] == message.id
        await peer.item_truncated(truncate)
        await peer.linger()

    async with calling(talking, talking_again) as call:
        await call.session.create_response()
        await call.until(events.SessionRotated)
        *_, chunk = await call.until(events.OutputAudioChunk, 10)
        call.session.playback.report(chunk.item_id, 0, 200)
        await call.session.interrupt()
        await call.until(events.AssistantTranscriptTruncated)
        await trio.sleep(1)
        assert not call.of(events.ProviderErrorReported)


@asynccontextmanager
async def talk(script, store, seed, *, goes_on, tools=()):
    """A session of the one conversation in `store`."""
    config = open_config()
    if goes_on:
        config = (await resume_config(store, "talk", config)).config
    async with exchange(script) as made:
        provider = OpenAIRealtime(
            api_key="k",
            base_url="ws://peer/v1/realtime",
            connector=connector("websockets", open_stream=made.open_stream),
            seed=seed,
        )
        kept = Conversation(store=store, id="talk")
        async with open_session(config, provider=provider, tools=tools, store=kept) as session:
            yield session


async def talked(store):
    """What is stored of it."""
    return [entry.message.text_content() for entry in (await store.read("talk")).messages]


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_ids_that_come_again_in_the_next_session_of_a_conversation_are_other_things(
    kind, virtual_time, tmp_path
):
    store = MemoryStore() if kind == "memory" else SqliteStore(tmp_path / "x.db", sync=False)

    async def one_session(text, seed):
        async def script(peer):
            await peer.welcome_back()
            counting_anew(peer)
            await one_turn(peer)
            await spoken_turn(peer, "a")
            await peer.linger()

        async with talk(script, store, seed, goes_on=seed > 1, tools=[shout]) as session:
            await session.send_input(RealtimeTextChunk(text))
            await take(session, *[events.MessageCommitted] * 4)
        assert closing(await rest(session)).uncommitted_items == ()

    for seed, text in enumerate(("one", "two", "three"), start=1):
        await one_session(text, seed)
    said = await talked(store)
    turns = [[text, f"{text.upper()}!", "a", "You said a."] for text in ("one", "two", "three")]
    assert [text for text in said if text] == [text for turn in turns for text in turn]


async def test_a_call_id_that_a_later_answer_uses_again_is_another_call(autojump_clock):
    async def script(peer):
        for text in ("one", "two"):
            response = await peer.response(await peer.expect("response.create"))
            await response.call("shout", {"text": text}, call_id="call_0")
            await response.done()
            assert await peer.expect_tool_output("call_0") == f"{text.upper()}!"
            await peer.text_response("Done.", await peer.expect("response.create"))
        await peer.linger()

    async with meeting(script, tools=[shout]) as m:
        for _ in range(2):
            await m.session.create_response()
            read = await take(m.session, events.TurnCompleted, events.TurnCompleted)
            (finished,) = [each for each in read if isinstance(each, events.ToolCallFinished)]
            assert finished.outcome == "result"


async def test_call_ids_of_gemini_that_come_again_on_the_next_connection_are_other_calls(
    autojump_clock,
):
    async def turn(peer, text):
        peer._calls = 0
        (call_id,) = await peer.tool_call(("shout", {"text": text}))
        answers = await peer.expect_tool_response(call_id)
        assert f"{text.upper()}!" in str(answers[call_id])
        await peer.audio_response("Done.", ms=40)

    async def first_connection(peer):
        await peer.welcome()
        await peer.expect_turn("one")
        await turn(peer, "one")
        await trio.sleep(1)
        await peer.socket.drop()

    async def second_connection(peer):
        await peer.welcome()
        await peer.receive()  # what was said so far
        await peer.expect_turn("two")
        await turn(peer, "two")
        await peer.linger()

    async with calling_gemini(first_connection, second_connection, tools=[shout]) as call:
        await call.session.send_input(RealtimeTextChunk("one"))
        await call.until(events.SessionRotated)
        await call.session.send_input(RealtimeTextChunk("two"))
        await call.until(events.TurnCompleted, 2)
    assert [each.outcome for each in call.of(events.ToolCallFinished)] == ["result"] * 2
    first, second = (each.call_id for each in call.of(events.ToolCallRequested))
    assert second.startswith(first)
    assert second != first


async def test_an_answer_under_the_id_of_an_ended_one_is_none_and_its_request_is_lost(
    autojump_clock,
):
    async def script(peer):
        await peer.text_response("One.", await peer.expect("response.create"))
        last = peer.last_item_id
        counting_anew(peer)
        await peer.text_response("Two.", await peer.expect("response.create"))
        peer._counts.update(response=10, item=10)
        peer.last_item_id = last
        for _ in range(3):  # the nudges
            await peer.expect("response.create")
        await peer.text_response("Three.", await peer.expect("response.create"))
        await peer.linger()

    async with meeting(script, patience=100) as m:
        first = await m.session.create_response()
        await take(m.session, events.TurnCompleted)
        second = await m.session.create_response()
        await take(m.session, events.Stalled)
        assert isinstance(await first.outcome(), Answered)
        assert isinstance(await second.outcome(), Lost)
        third = await m.session.create_response()
        await take(m.session, events.TurnCompleted)
        assert isinstance(await third.outcome(), Answered)


async def test_words_in_an_item_that_has_its_words_are_heard_and_told_of_as_a_fault(
    autojump_clock,
):
    async def script(peer):
        await peer.text_response("One.", await peer.expect("response.create"))
        create = await peer.expect("response.create")
        peer._counts["item"] -= 1
        await peer.text_response("Two.", create)
        await peer.linger()

    async with meeting(script) as m:
        for text in ("One.", "Two."):
            request = await m.session.create_response()
            read = await take(m.session, events.TurnCompleted)
            assert isinstance(await request.outcome(), Answered)
            assert [each.delta for each in read if hasattr(each, "delta")] == [text]
        (reported,) = [each for each in read if isinstance(each, events.ProviderErrorReported)]
        assert reported.fault.code == "protocol_fault"
        assert "resp_2 speaks in item item_1" in reported.fault.message


async def written_answer(peer, words, create=None, *, ends=True):
    """Some words, a delta each."""
    response = await peer.response(create)
    message = await response.message("text")
    for word in words.split("|"):
        await message.text(word)
    if ends:
        await message.done()
        await response.done()


async def test_pieces_of_a_text_whose_ids_come_again_on_the_next_connection_are_other_pieces(
    autojump_clock,
):
    async def talking(peer):
        response = await peer.response(await peer.expect("response.create"))
        message = await response.message("audio")
        await message.speak("Good morning to you all", ms=60_000)  # it is heard for a minute
        await peer.reset()

    async def talking_again(peer):
        await peer.welcome_back()
        counting_anew(peer)
        create = await peer.expect("response.create")
        await written_answer(peer, "One |two |three", create)
        await peer.linger()

    async with calling(talking, talking_again) as call:
        await call.session.create_response()
        await call.until(events.SessionRotated)
        await call.until(events.TurnCompleted)
        await trio.sleep(1)
    assert call.said[-1] == ("assistant", "One two three")


async def going_on_after_a_crash(first, second, questions):
    """What is stored when a session has died after the first question, and another went on."""
    store, left = MemoryStore(), MemoryStore()

    async def ask(session, question):
        if question is None:
            await session.create_response()
        else:
            await session.send_input(RealtimeTextChunk(question))

    async with talk(first, store, 1, goes_on=False) as session:
        await ask(session, questions[0])
        await trio.sleep(2)
        await left.adopt(await store.read("talk"))  # as it is at this moment
    async with talk(second, left, 2, goes_on=True) as session:
        for question in questions[1:]:
            await ask(session, question)
            await take(session, events.TurnCompleted)
        await trio.sleep(2)
    reason = closing(await rest(session))
    assert (reason.clean, reason.uncommitted_items) == (True, ())
    return await talked(left)


def answering(*answers, written, last_ends=True):
    async def script(peer):
        await peer.welcome_back()
        counting_anew(peer)
        for number, words in enumerate(answers, start=1):
            if written:
                await peer.item_created(await peer.expect("conversation.item.create"))
            create = await peer.expect("response.create")
            ends = last_ends or number < len(answers)
            await written_answer(peer, words, create, ends=ends)
        await peer.linger()

    return script


@pytest.mark.parametrize(
    "answers",
    [["One |two |three |four |five"], ["One |two", "Three", "Four"]],
    ids=["more pieces than before", "fewer pieces than before"],
)
async def test_ids_that_come_again_after_a_crash_are_other_things(answers, virtual_time):
    said = await going_on_after_a_crash(
        answering("Good |morning |to |you", written=True, last_ends=False),
        answering(*answers, written=True),
        [f"q{number}" for number in range(len(answers) + 1)],
    )
    told = [text for n, each in enumerate(answers, 1) for text in (f"q{n}", each.replace("|", ""))]
    assert said == ["q0", *told]


async def test_ids_that_come_again_after_a_crash_in_the_first_answer_are_other_things(
    virtual_time,
):
    said = await going_on_after_a_crash(
        answering("Good |morning ", written=False, last_ends=False),
        answering("One |two |three", written=False),
        [None, None],
    )
    assert said == ["One two three"]


async def test_with_the_same_seed_the_next_session_of_a_conversation_gives_other_ids(virtual_time):
    store = MemoryStore()
    for number, question in enumerate(("q1", "q2", "q3")):

        async def script(peer, question=question):
            await peer.welcome_back()
            peer.tag = question  # the server's ids are others
            await peer.item_created(await peer.expect("conversation.item.create"))
            await written_answer(peer, f"To {question}.", await peer.expect("response.create"))
            await peer.linger()

        async with talk(script, store, 1, goes_on=number > 0) as session:
            await session.send_input(RealtimeTextChunk(question))
            await take(session, events.TurnCompleted)
            await trio.sleep(2)
    assert await talked(store) == ["q1", "To q1.", "q2", "To q2.", "q3", "To q3."]
