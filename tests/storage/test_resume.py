"""A new session that remembers a stored one, as much of it as fits."""

from __future__ import annotations

import math
import re

import pytest
from storage.storage_kit import commit, writing
from transcript.transcript_kit import done, text, user

from meerkat_rt.model.conversation import (
    AssistantImage,
    AssistantMessage,
    AssistantReasoning,
    AssistantServerTool,
    AssistantText,
    AssistantToolUse,
    AssistantTranscript,
    ImageContent,
    InlineData,
    SessionLlmIdentity,
    StructuredContent,
    SystemMessage,
    SystemNoticeMessage,
    TextContent,
    ToolDef,
    ToolResult,
    ToolResultsMessage,
    UserMessage,
)
from meerkat_rt.model.errors import InvalidConfig, InvalidRequest
from meerkat_rt.model.media import RealtimeTurningMode
from meerkat_rt.model.open_config import RealtimeSessionOpenConfig
from meerkat_rt.model.turns import whole_turns
from meerkat_rt.runtime.ports import (
    Conversation,
    StoredConversation,
    StoredMessage,
    TranscriptBatch,
)
from meerkat_rt.storage import (
    LeftOut,
    MemoryStore,
    SessionNotFound,
    SqliteStore,
    StoreNotFound,
    estimate_tokens,
    resume_config,
)

BASE = RealtimeSessionOpenConfig(
    RealtimeTurningMode.PROVIDER_MANAGED,
    SessionLlmIdentity(model="some-model"),
    visible_tools=[ToolDef(name="clock")],
    response_nudge_timeout_ms=900,
)


def answer(said):
    return AssistantMessage(blocks=(AssistantText(said),))


async def store_of(*messages):
    store = MemoryStore()
    await store.adopt(
        StoredConversation(session_id="s", messages=[StoredMessage(m) for m in messages])
    )
    return store


def one_each(_message):
    return 1


TURNS = [UserMessage("one"), answer("1"), UserMessage("two"), answer("2"), UserMessage("three")]


# ---------------------------------------------------------------- what is refused


async def test_a_session_that_is_not_there():
    with pytest.raises(SessionNotFound):
        await resume_config(MemoryStore(), "s", BASE)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"budget": -1}, "budget is -1; allowed: a number of tokens, 0 or more; or None"),
        ({"budget": "1000"}, "budget is '1000'; allowed: a number of tokens"),
        ({"budget": math.nan}, "budget is nan; allowed"),
        ({"budget": True}, "budget is True; allowed"),
        ({"count": 5}, "count is 5; allowed: a function of a message"),
        ({"store": None}, "store is None; allowed: a SessionStore such as SqliteStore(path)"),
        ({"store": MemoryStore}, "store is the class MemoryStore; allowed"),
        ({"session_id": None}, "the session id is None; allowed: a string"),
        ({"session_id": 5}, "the session id is 5; allowed: a string"),
        ({"session_id": " "}, "must not be blank"),
        ({"base_config": None}, "base_config is None; allowed: RealtimeSessionOpenConfig(...)"),
    ],
)
async def test_what_cannot_be_resumed_from_is_refused_by_its_name(wrong, words):
    given = {"store": await store_of(), "session_id": "s", "base_config": BASE, **wrong}
    with pytest.raises(InvalidRequest, match=re.escape(words)):
        await resume_config(**given)
    assert (await resume_config(await store_of(), "s", BASE, budget=math.inf)).tokens == 0


@pytest.mark.parametrize("store", [MemoryStore(), SqliteStore("never_made.db")])
async def test_a_store_takes_text_alone_as_an_id(store):
    for session_id in (None, 5, b"s"):
        with pytest.raises(InvalidRequest, match=r"the session id is .*; allowed: a string"):
            await store.read(session_id)


def test_the_conversation_of_a_session_is_checked_where_it_is_named():
    store = MemoryStore()
    for field, wrong, allowed in [
        ("id", 5, "a string"),
        ("store", "talk.db", "a SessionStore such as SqliteStore(path)"),
        ("store", MemoryStore, "a SessionStore"),
        ("on_failure", "wait", "close, continue"),
    ]:
        words = rf"Conversation\.{field} is .*; allowed: {re.escape(allowed)}"
        with pytest.raises(InvalidConfig, match=words):
            Conversation(**{"store": store, field: wrong})
    assert Conversation(store=store).id is None
    assert Conversation(store=store, id="s", on_failure="continue").id == "s"


# ---------------------------------------------------------------- what is remembered


async def test_everything_is_remembered_without_a_budget():
    resumed = await resume_config(await store_of(*TURNS), "s", BASE)
    assert resumed.config == BASE.with_seed_messages(TURNS)
    assert resumed.left_out == LeftOut()
    assert resumed.tokens == sum(map(estimate_tokens, TURNS))


async def test_what_was_really_said_is_remembered_from_a_file(path):
    with writing(path) as writer:
        commit(writer, user("u", None, "remember amber"), text("r", "d", "a", "u", "I will"))
        commit(writer, done("r"))
    resumed = await resume_config(SqliteStore(path), "s", BASE)
    question, reply = resumed.config.seed_messages
    assert question == UserMessage("remember amber")
    assert reply.text_content() == "I will"


async def test_nothing_to_remember():
    resumed = await resume_config(await store_of(), "s", BASE, budget=0)
    assert resumed.config == BASE
    assert (resumed.tokens, resumed.left_out) == (0, LeftOut())


@pytest.mark.parametrize(
    ("budget", "kept", "left_out"),
    [
        (5, 5, LeftOut()),
        (4, 3, LeftOut(turns=1, messages=2, tokens=2)),
        (3, 3, LeftOut(turns=1, messages=2, tokens=2)),
        (2, 1, LeftOut(turns=2, messages=4, tokens=4)),
        (1, 1, LeftOut(turns=2, messages=4, tokens=4)),
        (0, 0, LeftOut(turns=3, messages=5, tokens=5)),
    ],
)
async def test_the_newest_whole_turns_that_fit(budget, kept, left_out):
    store = await store_of(*TURNS)
    resumed = await resume_config(store, "s", BASE, budget=budget, count=one_each)
    assert list(resumed.config.seed_messages) == TURNS[len(TURNS) - kept :]
    assert resumed.left_out == left_out
    assert resumed.tokens == kept


async def test_a_turn_that_does_not_fit_ends_it_although_an_older_one_would():
    store = await store_of(UserMessage("a"), UserMessage("b"), answer("long " * 50), *TURNS[:2])
    resumed = await resume_config(store, "s", BASE, budget=30)
    assert list(resumed.config.seed_messages) == TURNS[:2]
    assert resumed.left_out.turns == 1


async def test_a_call_stays_with_its_result():
    call = AssistantMessage(blocks=(AssistantToolUse(id="c", name="clock", args={}),))
    result = ToolResultsMessage((ToolResult(tool_use_id="c", content="noon"),))
    turn = [UserMessage("the time?"), call, result, answer("noon")]
    store = await store_of(*TURNS[:4], *turn)
    resumed = await resume_config(store, "s", BASE, budget=5, count=one_each)
    assert list(resumed.config.seed_messages) == turn


async def test_instructions_at_the_beginning_are_kept_whatever_the_budget():
    store = await store_of(SystemMessage("be kind"), SystemNoticeMessage(kind="peer"), *TURNS)
    resumed = await resume_config(store, "s", BASE, budget=1, count=one_each)
    assert resumed.config.seed_messages == (
        SystemMessage("be kind"),
        SystemNoticeMessage(kind="peer"),
    )
    assert resumed.tokens == 2


async def test_own_seed_messages_come_first_unless_they_are_stored():
    own = BASE.with_seed_messages([SystemMessage("be kind")])
    resumed = await resume_config(await store_of(*TURNS), "s", own)
    assert resumed.config.seed_messages == (SystemMessage("be kind"), *TURNS)
    again = await resume_config(await store_of(*resumed.config.seed_messages), "s", own)
    assert again.config == resumed.config


async def test_resuming_what_was_resumed_remembers_both():
    store = MemoryStore()
    for number in range(3):
        config = BASE
        if number:
            config = (await resume_config(store, f"s{number - 1}", BASE)).config
        async with store.open(f"s{number}") as journal:
            await journal.commit(TranscriptBatch(history=config.seed_messages))
            await journal.commit(TranscriptBatch(events=[user("u", None, f"run {number}")]))
    resumed = await resume_config(store, "s2", BASE)
    said = [message.text_content() for message in resumed.config.seed_messages]
    assert said == ["run 0", "run 1", "run 2"]


# ---------------------------------------------------------------- turns and tokens


def test_turns():
    greeting = answer("hello, who is there?")
    late = SystemNoticeMessage(kind="peer")
    several = [UserMessage("me"), UserMessage("again"), answer("oh"), late, UserMessage("bye")]
    preamble, turns = whole_turns([SystemMessage("x"), greeting, *several])
    assert preamble == [SystemMessage("x")]
    assert turns == [[greeting], several[:4], several[4:]]
    assert whole_turns([]) == ([], [])


PICTURE = ImageContent("image/png", InlineData(b"..."))


@pytest.mark.parametrize(
    ("message", "tokens"),
    [
        (UserMessage("x" * 400), 104),
        (UserMessage(""), 4),
        (UserMessage("\N{GREEK SMALL LETTER ALPHA}" * 400), 204),
        (UserMessage("\ud83d"), 5),
        (UserMessage((TextContent("abcd"), PICTURE)), 1005),
        (UserMessage((StructuredContent({"a": 1}),)), 6),
        (SystemMessage("abcde"), 6),
        (SystemNoticeMessage(kind="peer", body="abcd", blocks="abcd"), 6),
        (ToolResultsMessage((ToolResult(tool_use_id="c", content="abcd"),)), 5),
        (answer("abcd"), 5),
        (AssistantMessage(blocks=(AssistantTranscript(text="abcd"),)), 5),
        (AssistantMessage(blocks=(AssistantReasoning("abcd"),)), 5),
        (AssistantMessage(blocks=(AssistantToolUse(id="c", name="clock", args={}),)), 7),
        (AssistantMessage(blocks=(AssistantServerTool({"a": 1}),)), 6),
        (AssistantMessage(blocks=(AssistantImage("image/png", InlineData(b"")),)), 1004),
    ],
)
def test_estimated_tokens(message, tokens):
    assert estimate_tokens(message) == tokens


# ------------------------------------------------------------ the first time


@pytest.mark.parametrize("store", ["memory", "no file", "no session"])
async def test_a_conversation_that_is_not_there_yet_begins_where_that_is_allowed(store, path):
    if store == "no session":
        with writing(path, "another") as writer:
            commit(writer, user("u", None, "hello"))
    kept = MemoryStore() if store == "memory" else SqliteStore(path)
    missing = StoreNotFound if store == "no file" else SessionNotFound
    with pytest.raises(missing):
        await resume_config(kept, "mine", BASE)
    base = BASE.with_seed_messages([SystemMessage("Be brief.")])
    began = await resume_config(kept, "mine", base, missing_ok=True, budget=100)
    assert began.config == base
    assert began.tokens == estimate_tokens(base.seed_messages[0])
    assert began.left_out == LeftOut()
    assert path.exists() is (store == "no session")
