"""Stored conversations as text, as Markdown and as JSON."""

from __future__ import annotations

import json

import pytest
from storage.storage_kit import conversation_log, messages_of, staged

from meerkat_rt.model.conversation import (
    AssistantImage,
    AssistantMessage,
    AssistantReasoning,
    AssistantServerTool,
    AssistantText,
    AssistantToolUse,
    AssistantTranscript,
    InlineData,
    StopReason,
    SystemMessage,
    SystemNoticeMessage,
    ToolResult,
    ToolResultsMessage,
    UserMessage,
)
from meerkat_rt.model.errors import InvalidJson, UnknownTag
from meerkat_rt.runtime.ports import StoredConversation, StoredMessage, StoredSession
from meerkat_rt.storage import (
    conversation_from_json,
    conversation_to_json,
    conversation_to_markdown,
    conversation_to_text,
    sessions_to_json,
    sessions_to_text,
)
from meerkat_rt.transcript import (
    SESSION_REALTIME_TRANSCRIPT_STATE_KEY,
    TranscriptAuthority,
    TranscriptStateError,
)

NOON = 1_700_000_000.0  # 2023-11-14 22:13:20 UTC


def conversation(*messages, **fields):
    return StoredConversation(
        session_id="s", messages=[StoredMessage(message) for message in messages], **fields
    )


ALL = conversation(
    SystemMessage("be kind"),
    SystemNoticeMessage(kind="peer", body="is here"),
    UserMessage("what time\nis it?"),
    AssistantMessage(
        blocks=(
            AssistantReasoning("a question of time"),
            AssistantToolUse(id="c", name="clock", args={"zone": "UTC"}),
            AssistantServerTool({"found": 3}),
        ),
        stop_reason=StopReason.TOOL_USE,
    ),
    ToolResultsMessage(
        (
            ToolResult(tool_use_id="c", content="noon"),
            ToolResult(tool_use_id="d", content="no such clock", is_error=True),
        )
    ),
    AssistantMessage(
        blocks=(
            AssistantTranscript(text="It is"),
            AssistantTranscript(text="no", truncated=True),
            AssistantText("12:00"),
            AssistantImage("image/png", InlineData(b"")),
        ),
        stop_reason=StopReason.CANCELLED,
    ),
    AssistantMessage(blocks=(AssistantText("Noon."),)),
    staged=[staged("x", "thank you")],
    created_at=NOON,
    updated_at=NOON + 7200,
)


def test_text():
    assert (
        conversation_to_text(ALL)
        == """\
session s, 2023-11-14 22:13 UTC to 2023-11-15 00:13 UTC

system:
    be kind

notice (peer):
    is here

user:
    what time
    is it?

assistant (tool use):
    [reasoning] a question of time
    [call] clock({"zone": "UTC"})
    [server tool] {"found": 3}

tools:
    [c] noon
    [d] error: no such clock

assistant (cancelled):
    It is
    no [no more was heard]
    12:00
    [image: image/png]

assistant:
    Noon.

user (staged, not committed):
    thank you
"""
    )


def test_text_of_nothing():
    assert conversation_to_text(conversation()) == "session s\n"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("\x1b[2J\x07", r"\x1b[2J\x07"),
        ("a\rb", r"a\rb"),
        ("\x9b31m", r"\x9b31m"),
        ("\u202egnirts", r"\u202egnirts"),
        ("\u2066x\u2028", r"\u2066x\u2028"),
        ("\ud83d", r"\ud83d"),
        ("tab\tand\N{SNOWMAN}", "tab\tand\N{SNOWMAN}"),
        ("family \U0001f468\u200d\U0001f469", "family \U0001f468\u200d\U0001f469"),
    ],
)
def test_what_was_said_cannot_steer_a_terminal(said, shown):
    text = conversation_to_text(conversation(UserMessage(said)))
    assert text == f"session s\n\nuser:\n    {shown}\n"
    text.encode()
    assert shown in conversation_to_text(conversation(SystemNoticeMessage(kind=said, body="")))


def test_carriage_returns_before_newlines_are_newlines():
    assert conversation_to_text(conversation(UserMessage("a\r\nb"))).endswith("    a\n    b\n")


def test_markdown():
    assert conversation_to_markdown(ALL).startswith(
        """\
# Session `s`

2023-11-14 22:13 UTC to 2023-11-15 00:13 UTC

## System

> be kind

## Notice (peer)

> is here

## User

> what time\\
> is it?

## Assistant (tool use)

> \\[reasoning\\] a question of time

"""
    )


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("# heading", "> \\# heading"),
        ("> quoted", "> \\> quoted"),
        ("- item\n+ item", "> \\- item\\\n> \\+ item"),
        ("1. item\n20) item", "> 1\\. item\\\n> 20\\) item"),
        ("*bold* _it_ `code`", "> \\*bold\\* \\_it\\_ \\`code\\`"),
        ("<script>&amp;", "> \\<script\\>\\&amp;"),
        ("![x](http://y)", "> \\!\\[x\\](http://y)"),
        ("    indented\n\nmore", "> indented\n>\n> more"),
        ("a | b\n---", "> a \\| b\\\n> \\---"),
    ],
)
def test_what_was_said_is_not_markdown(said, shown):
    page = conversation_to_markdown(conversation(UserMessage(said)))
    assert page == f"# Session `s`\n\n## User\n\n{shown}\n"


def test_a_session_id_is_not_markdown_either():
    odd = StoredConversation(session_id="`x`\n# y")
    assert conversation_to_markdown(odd) == "# Session `'x'\\n# y`\n"


# ---------------------------------------------------------------- lists


def test_list_of_sessions():
    sessions = [
        StoredSession(session_id="long name", messages=1, created_at=NOON, updated_at=NOON + 1),
        StoredSession(session_id="b\x1b", messages=20, staged=2, updated_at=NOON),
        StoredSession(session_id="c", messages=0),
    ]
    assert sessions_to_text(sessions) == (
        "long name  1 message, 2023-11-14 22:13 UTC\n"
        "b\\x1b      20 messages, 2 staged, 2023-11-14 22:13 UTC\n"
        "c          0 messages\n"
    )
    assert sessions_to_text([]) == ""
    assert json.loads(json.dumps(sessions_to_json(sessions)))[1:] == [
        {"session_id": "b\x1b", "updated_at": NOON, "messages": 20, "staged": 2},
        {"session_id": "c", "messages": 0, "staged": 0},
    ]


@pytest.mark.parametrize("time", [1.7e12, -1e18, float("nan")])
def test_a_time_that_is_none_hides_nothing(time):
    session = StoredSession(session_id="s", messages=1, updated_at=time)
    assert sessions_to_text([session]) == f"s  1 message, time {time!r}\n"
    assert conversation_to_text(conversation(UserMessage("hi"), created_at=time)).endswith("hi\n")


# ---------------------------------------------------------------- JSON


def through_json(value):
    return conversation_from_json(json.loads(json.dumps(conversation_to_json(value))))


def test_json_has_everything():
    assert through_json(ALL) == ALL
    log = conversation_log(5, seed=3)[:-1]
    authority = TranscriptAuthority(keep_heard_prefix=True)
    for event in log:
        authority.apply(event)
    whole = StoredConversation(
        session_id="s", messages=messages_of(log), state=authority.state, staged=[staged("x")]
    )
    assert through_json(whole) == whole
    state = conversation_to_json(whole)["metadata"][SESSION_REALTIME_TRANSCRIPT_STATE_KEY]
    assert set(state["items"]) == set(authority.state.items)


def test_json_without_the_optional_parts():
    bare = conversation_from_json({"session_id": "s", "messages": []})
    assert bare == StoredConversation(session_id="s")


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        {"session_id": 5, "messages": []},
        {"session_id": "s", "messages": [], "created_at": "noon"},
        {"session_id": "s", "messages": [{"message": {"role": "system"}, "item_ids": 5}]},
        {"session_id": "s", "messages": None},
        {"session_id": "s", "messages": [{}]},
        {"session_id": "s", "messages": [], "metadata": []},
        {"session_id": "s", "messages": [], "staged": [{}]},
    ],
)
def test_json_that_is_no_conversation(data):
    with pytest.raises(InvalidJson):
        conversation_from_json(data)


def test_json_with_an_unknown_role():
    with pytest.raises(UnknownTag):
        conversation_from_json({"session_id": "s", "messages": [{"message": {"role": "ghost"}}]})


def test_json_with_an_unreadable_state():
    with pytest.raises(TranscriptStateError):
        conversation_from_json(
            {
                "session_id": "s",
                "messages": [],
                "metadata": {SESSION_REALTIME_TRANSCRIPT_STATE_KEY: {"items": {"u": {}}}},
            }
        )
