"""Stored conversations for people and for other programs.  Pure: values in, text or JSON out.

What a model or a user said is printed as text and as nothing else: control characters, which could
move a terminal's cursor or hide what follows, are shown as escapes, and Markdown is quoted so that
it cannot pass for the page's own.
"""

from __future__ import annotations

import datetime
import json
import re
from typing import TYPE_CHECKING

from ..model import codec
from ..model.conversation import (
    JSON,
    AssistantImage,
    AssistantMessage,
    AssistantReasoning,
    AssistantServerTool,
    AssistantText,
    AssistantToolUse,
    AssistantTranscript,
    Message,
    StopReason,
    SystemMessage,
    SystemNoticeMessage,
    ToolResultsMessage,
    UserMessage,
)
from ..model.errors import InvalidJson
from ..runtime.ports import StoredConversation, StoredMessage
from ..transcript import (
    SESSION_REALTIME_TRANSCRIPT_STATE_KEY,
    RealtimeTranscriptState,
    state_from_json,
    state_to_json,
)
from .encoding import staged_from_json, staged_to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..model.conversation import AssistantBlock
    from ..runtime.ports import StoredSession

# ---------------------------------------------------------------- JSON


def conversation_to_json(conversation: StoredConversation) -> dict[str, JSON]:
    """The JSON form: messages with their items, and the transcript state in the metadata.

    It has everything: `conversation_from_json` gives the conversation back, for another store to
    adopt.
    """
    data: dict[str, JSON] = {
        "session_id": conversation.session_id,
        **_times(conversation),
        "messages": [
            {"item_ids": list(entry.item_ids), "message": codec.encode(entry.message)}
            for entry in conversation.messages
        ],
        "staged": list(map(staged_to_json, conversation.staged)),
        "metadata": {SESSION_REALTIME_TRANSCRIPT_STATE_KEY: state_to_json(conversation.state)},
    }
    return data


def conversation_from_json(data: JSON) -> StoredConversation:
    """The conversation that `data` is the JSON form of.

    Whether its messages and its state are consistent is asked by the store that adopts it.

    Raises:
        TranscriptStateError: the transcript state cannot be read.
        InvalidJson, UnknownTag: something else cannot be read.
    """
    try:
        if not isinstance(data["session_id"], str):
            raise TypeError("the session id is no string")
        for time in (data.get("created_at"), data.get("updated_at")):
            if time is not None and not isinstance(time, (int, float)):
                raise TypeError(f"{time!r} is no time")
        state = data.get("metadata", {}).get(SESSION_REALTIME_TRANSCRIPT_STATE_KEY)
        return StoredConversation(
            session_id=data["session_id"],
            messages=[
                StoredMessage(codec.decode(entry["message"], Message), entry.get("item_ids", ()))
                for entry in data["messages"]
            ],
            state=RealtimeTranscriptState() if state is None else state_from_json(state),
            staged=map(staged_from_json, data.get("staged", ())),
            created_at=data.get("created_at"),
            updated_at=data.get("updated_at"),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidJson(f"not a stored conversation: {error!r}") from error


def sessions_to_json(sessions: Iterable[StoredSession]) -> list[JSON]:
    """The list of a store's sessions."""
    return [
        {
            "session_id": session.session_id,
            **_times(session),
            "messages": session.messages,
            "staged": session.staged,
        }
        for session in sessions
    ]


def _times(of: StoredConversation | StoredSession) -> dict[str, JSON]:
    times = {"created_at": of.created_at, "updated_at": of.updated_at}
    return {name: time for name, time in times.items() if time is not None}


# ---------------------------------------------------------------- text


def conversation_to_text(conversation: StoredConversation) -> str:
    """The conversation as plain text: who spoke, then what, indented."""
    lines = [f"session {_visible(conversation.session_id)}{_when(conversation)}"]
    for speaker, parts in _spoken(conversation):
        lines += ["", f"{speaker}:"]
        lines += [f"    {line}".rstrip() for part in parts for line in part.split("\n")]
    return "\n".join(lines) + "\n"


def sessions_to_text(sessions: Iterable[StoredSession]) -> str:
    """One line for each session: id, number of messages, staged texts if any, and when."""
    rows = [
        (
            _visible(session.session_id, newline=False),
            _counted(session.messages, "message"),
            f", {session.staged} staged" if session.staged else "",
            _when(session),
        )
        for session in sessions
    ]
    width = max((len(row[0]) for row in rows), default=0)
    return "".join(
        f"{name:<{width}}  {count}{staged}{when}\n" for name, count, staged, when in rows
    )


# ---------------------------------------------------------------- Markdown


def conversation_to_markdown(conversation: StoredConversation) -> str:
    """The conversation as Markdown: a heading for each message, what was said as quotations."""
    title = _visible(conversation.session_id, newline=False).replace("`", "'")
    lines = [f"# Session `{title}`"]
    if when := _when(conversation):
        lines += ["", when.removeprefix(", ")]
    for speaker, parts in _spoken(conversation):
        lines += ["", f"## {speaker.capitalize()}"]
        for part in parts:
            lines += ["", *_quotation(part)]
    return "\n".join(lines) + "\n"


_INLINE = re.compile(r"[\\`*_\[\]<>#|~&!]")
_LIST = re.compile(r"^(\d*)([-+=.)])")


def _quotation(text: str) -> Iterator[str]:
    lines = [line.strip() for line in text.split("\n")]
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        escaped = _LIST.sub(r"\1\\\2", _INLINE.sub(r"\\\g<0>", line))
        # A backslash at the end keeps the line break.
        yield f"> {escaped}{chr(92) if line and following else ''}".rstrip()


# ---------------------------------------------------------------- what was said


def _spoken(conversation: StoredConversation) -> Iterator[tuple[str, list[str]]]:
    for entry in conversation.messages:
        yield _speaker(entry.message), [_visible(part) for part in _parts(entry.message)]
    if conversation.staged:
        texts = [_visible(entry.append.text) for entry in conversation.staged]
        yield "user (staged, not committed)", texts


def _speaker(message: Message) -> str:
    match message:
        case UserMessage():
            return "user"
        case AssistantMessage(stop_reason=StopReason.END_TURN):
            return "assistant"
        case AssistantMessage(stop_reason=stop_reason):
            return f"assistant ({stop_reason.value.replace('_', ' ')})"
        case SystemMessage():
            return "system"
        case SystemNoticeMessage(kind=kind):
            return f"notice ({_visible(kind, newline=False)})"
        case ToolResultsMessage():
            return "tools"


def _parts(message: Message) -> Iterator[str]:
    match message:
        case SystemMessage(content=text):
            yield text
        case UserMessage() | SystemNoticeMessage():
            yield message.text_content()
        case ToolResultsMessage(results=results):
            for result in results:
                failed = "error: " if result.is_error else ""
                yield f"[{result.tool_use_id}] {failed}{result.text_content()}"
        case AssistantMessage(blocks=blocks):
            yield from map(_block, blocks)


def _block(block: AssistantBlock) -> str:
    match block:
        case AssistantTranscript(text=text, truncated=True):
            return f"{text} [no more was heard]"
        case AssistantText(text=text) | AssistantTranscript(text=text):
            return text
        case AssistantReasoning(text=text):
            return f"[reasoning] {text}"
        case AssistantToolUse(name=name, args=args):
            return f"[call] {name}({json.dumps(args, ensure_ascii=False)})"
        case AssistantServerTool(content=content):
            return f"[server tool] {json.dumps(content, ensure_ascii=False)}"
        case AssistantImage(media_type=media_type):
            return f"[image: {media_type}]"


# Control characters but tab and newline, line separators, direction overrides, half surrogates.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def _visible(text: str, *, newline: bool = True) -> str:
    text = text.replace("\r\n", "\n")
    if not newline:
        text = text.replace("\n", "\\n")
    return _INVISIBLE.sub(lambda match: ascii(match[0])[1:-1], text)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _when(of: StoredConversation | StoredSession) -> str:
    if of.updated_at is None:
        return ""
    if of.created_at is None or _minute(of.created_at) == _minute(of.updated_at):
        return f", {_minute(of.updated_at)}"
    return f", {_minute(of.created_at)} to {_minute(of.updated_at)}"


def _minute(time: float) -> str:
    try:
        return f"{datetime.datetime.fromtimestamp(time, datetime.UTC):%Y-%m-%d %H:%M} UTC"
    except (ValueError, OverflowError, OSError):  # of another unit, or none
        return f"time {time!r}"
