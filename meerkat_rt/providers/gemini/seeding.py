"""Messages of the canonical conversation as the provider's contents.

There are two roles, `user` and `model`, and one system instruction.  System messages that open the
history belong to the instruction; what the runtime or a system message says later, and what tools
were asked and answered, is told in the user's role, marked in brackets.  Calls and results are told
as text: a call without its declaration, or an answer without its call, closes the connection, and a
model that finds brackets in its own mouth says them aloud.  Reasoning and pictures of the model's
have no form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pybase64

from ...model.conversation import (
    JSON,
    AssistantMessage,
    AssistantText,
    AssistantToolUse,
    AssistantTranscript,
    BlobRef,
    ImageContent,
    InlineData,
    SystemMessage,
    SystemNoticeMessage,
    TextContent,
    ToolResultsMessage,
    UserMessage,
)
from ...model.errors import InvalidConfig
from .wire_json import to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ...model.conversation import ContentBlock, Message, PendingSystemContextAppend
    from ...model.open_config import RealtimeSessionOpenConfig

MAX_FRAME = 512 * 1024  # bytes of contents in one message; a picture may make it longer

UNANSWERED = "(never answered)"


@attrs.frozen
class _Piece:
    """One part of one role's."""

    role: str
    part: dict[str, JSON]


def _text(role: str, text: str) -> Iterator[_Piece]:
    if text.strip():
        yield _Piece(role, {"text": text})


def _user_part(block: ContentBlock) -> Iterator[_Piece]:
    match block:
        case TextContent(text=text):
            yield from _text("user", text)
        case ImageContent(media_type=media_type, source=InlineData(data=data)):
            encoded = pybase64.b64encode(data).decode()
            yield _Piece("user", {"inlineData": {"mimeType": media_type, "data": encoded}})
        case ImageContent(source=BlobRef(blob_id=blob_id)):
            raise InvalidConfig(
                f"an image in the history is not hydrated: it is the blob {blob_id!r}, and the "
                "provider needs its bytes"
            )
        case other:
            yield from _text("user", other.text_projection())


def _arguments(args: JSON) -> str:
    if isinstance(args, str):
        return args  # the model's own text, where it was no JSON
    return "" if args is None else to_json(args).decode()


def _pieces(message: Message, answers: _Answers) -> Iterator[_Piece]:
    match message:
        case SystemMessage(content=text):
            yield from _text("user", f"[system]\n{text}" if text.strip() else "")
        case SystemNoticeMessage(kind=kind):
            yield from _text("user", f"[{kind}]\n{message.text_content()}".rstrip())
        case UserMessage(content=content):
            for block in content:
                yield from _user_part(block)
        case AssistantMessage(blocks=blocks):
            for said in blocks:
                match said:
                    case AssistantText(text=text) | AssistantTranscript(text=text):
                        yield from _text("model", text)
                    case AssistantToolUse(id=call_id, name=name, args=args):
                        answer = answers.take(call_id)
                        told = UNANSWERED if answer is None else answer
                        yield from _text("user", f"[tool {name}({_arguments(args)})]\n{told}")
        case ToolResultsMessage(results=results):
            for result in results:
                if answers.orphan(result.tool_use_id):
                    text = result.text_content()
                    yield from _text("user", f"[result of an earlier tool call]\n{text}".rstrip())


class _Answers:
    """The results of a conversation, each told where its call is.

    A result answers the oldest call of its id that has none; one id may have been called twice.
    """

    def __init__(self, messages: Iterable[Message]) -> None:
        self._open: dict[str, list[list[str]]] = {}
        self._calls: dict[str, list[list[str]]] = {}
        self._orphans: dict[str, list[bool]] = {}
        for message in messages:
            match message:
                case AssistantMessage(blocks=blocks):
                    for block in blocks:
                        if isinstance(block, AssistantToolUse):
                            answer: list[str] = []
                            self._open.setdefault(block.id, []).append(answer)
                            self._calls.setdefault(block.id, []).append(answer)
                case ToolResultsMessage(results=results):
                    for result in results:
                        waiting = self._open.get(result.tool_use_id)
                        lone = not waiting
                        if waiting:
                            waiting.pop(0).append(result.text_content())
                        self._orphans.setdefault(result.tool_use_id, []).append(lone)

    def take(self, call_id: str) -> str | None:
        """What was answered to the next call with this id."""
        answer = self._calls[call_id].pop(0)
        return answer[0] if answer else None

    def orphan(self, call_id: str) -> bool:
        """Whether the next result for this id answers a call that the history does not have."""
        return self._orphans[call_id].pop(0)


def _contents(pieces: Iterable[_Piece]) -> list[dict[str, JSON]]:
    contents: list[dict[str, JSON]] = []
    for piece in pieces:
        if contents and contents[-1]["role"] == piece.role:
            contents[-1]["parts"].append(piece.part)
        else:
            contents.append({"role": piece.role, "parts": [piece.part]})
    return contents


def contents_of(message: Message) -> list[dict[str, JSON]]:
    """The contents of one message of a running conversation.

    Raises:
        InvalidConfig: an image is not hydrated.
    """
    return _contents(_pieces(message, _Answers([message])))


# ---------------------------------------------------------------- the whole history


def _context(append: PendingSystemContextAppend) -> str:
    source = f"source: {append.source}\n\n" if append.source else "\n"
    return f"[Runtime System Context]\n{source}{append.text}"


def split(messages: Sequence[Message]) -> tuple[list[str], Sequence[Message]]:
    """The system messages that open a history, and the rest of it."""
    opening: list[str] = []
    for message in messages:
        if not isinstance(message, SystemMessage):
            break
        opening.append(message.content)
    return opening, messages[len(opening) :]


def instruction(config: RealtimeSessionOpenConfig, ours: str | None) -> list[dict[str, JSON]]:
    """The parts of the system instruction, each a paragraph of its own.

    Raises:
        InvalidConfig: `ours`, the `RealtimeConfig`'s, and the history's contradict each other.
    """
    opening, _ = split(config.seed_messages)
    if opening and ours and opening[0] != ours:
        raise InvalidConfig(
            f"RealtimeConfig.instruction begins {ours[:40]!r}, and the open config's history "
            f"begins with the system message {opening[0][:40]!r}; give one of the two, or the same"
        )
    texts = opening or ([ours] if ours else [])
    texts += [_context(append) for append in config.runtime_system_context]
    return [{"text": text} for text in texts if text.strip()]


def history(config: RealtimeSessionOpenConfig) -> list[list[dict[str, JSON]]]:
    """The contents of the open config's history, in the batches in which they are to be sent.

    Raises:
        InvalidConfig: an image is not hydrated.
    """
    _, messages = split(config.seed_messages)
    answers = _Answers(messages)
    contents = _contents(piece for message in messages for piece in _pieces(message, answers))
    batches: list[list[dict[str, JSON]]] = []
    size = 0
    for content in contents:
        length = len(to_json(content))
        if not batches or size + length > MAX_FRAME:
            batches.append([])
            size = 0
        batches[-1].append(content)
        size += length
    return batches
