"""Messages of the canonical conversation as items of the provider's.

Everything that was said or done is replayed, in order and untrimmed: system rows where they stand,
notices and what users said as the user's, text and speech of the model as its text, tool calls and
their results as such, paired, so that the model finds its own past whole.  Reasoning and pictures
of the model's have no item form.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

import attrs
import pybase64

from ...model.conversation import (
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
from ...turn.context import SEED_PREFIX
from .wire_json import to_json

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from ...model.conversation import (
        JSON,
        AssistantBlock,
        ContentBlock,
        Message,
        PendingSystemContextAppend,
        ToolResult,
    )
    from ...model.open_config import RealtimeSessionOpenConfig

ACK_BASE = 5.0  # seconds
ACK_BYTES = 512 * 1024  # one second more for each of these that was started
CALL_ID_MAX = 32  # characters; field reports, the reference is silent

UNANSWERED = "No result: this call was never answered."


# ---------------------------------------------------------------- one message


def _message(role: str, *parts: dict[str, JSON]) -> dict[str, JSON]:
    return {"type": "message", "role": role, "content": list(parts)}


def _input_text(text: str) -> dict[str, JSON]:
    return {"type": "input_text", "text": text}


def _user_part(block: ContentBlock) -> dict[str, JSON] | None:
    match block:
        case TextContent(text=text):
            return _input_text(text) if text.strip() else None
        case ImageContent(media_type=media_type, source=InlineData(data=data)):
            encoded = pybase64.b64encode(data).decode()
            return {"type": "input_image", "image_url": f"data:{media_type};base64,{encoded}"}
        case ImageContent(source=BlobRef(blob_id=blob_id)):
            raise InvalidConfig(
                f"an image in the history is not hydrated: it is the blob {blob_id!r}, and the "
                "provider needs its bytes"
            )
        case other:
            return _input_text(other.text_projection())


def _notice(notice: SystemNoticeMessage) -> str:
    text = notice.text_content()
    return f"[{notice.kind}]\n{text}" if text else f"[{notice.kind}]"


def _arguments(args: JSON) -> str:
    if isinstance(args, str):
        return args  # the model's own text, where it was no JSON
    return "{}" if args is None else to_json(args).decode()


def _call(call_id: str, use: AssistantToolUse) -> dict[str, JSON]:
    return {
        "type": "function_call",
        "call_id": call_id,
        "name": use.name,
        "arguments": _arguments(use.args),
    }


def _output(call_id: str, text: str) -> dict[str, JSON]:
    return {"type": "function_call_output", "call_id": call_id, "output": text}


_CALL_ID = re.compile(rf"[A-Za-z0-9_-]{{1,{CALL_ID_MAX}}}")


def call_id(original: str, salt: int = 0) -> str:
    """`original` if the provider takes it and `salt` is 0, else a short id made from both."""
    if salt == 0 and _CALL_ID.fullmatch(original):
        return original
    digest = hashlib.sha256(f"{salt}\0{original}".encode(errors="surrogatepass")).hexdigest()
    return f"mk_call_{digest[:20]}"


class _Pairing:
    """Gives each tool call of a conversation, and the result that answers it, one id on the wire.

    A result answers the oldest call of its id that has none; one id may have been called twice.
    """

    def __init__(self, messages: Iterable[Message]) -> None:
        self._uses: dict[str, int] = {}
        self._open: dict[str, list[str]] = {}
        self.answered: set[str] = set()
        for message in messages:
            match message:
                case AssistantMessage(blocks=blocks):
                    for block in blocks:
                        if isinstance(block, AssistantToolUse):
                            self.use(block.id)
                case ToolResultsMessage(results=results):
                    self.answered.update(filter(None, map(self.answer, results)))
        self._uses.clear()
        self._open.clear()

    def use(self, original: str) -> str:
        """The id of the next call with the id `original`."""
        salt = self._uses.get(original, 0)
        self._uses[original] = salt + 1
        wire = call_id(original, salt)
        self._open.setdefault(original, []).append(wire)
        return wire

    def answer(self, result: ToolResult) -> str | None:
        """The id of the call that `result` answers; None: the conversation has no such call."""
        waiting = self._open.get(result.tool_use_id)
        return waiting.pop(0) if waiting else None


def _assistant_items(
    blocks: Iterable[AssistantBlock], pairing: _Pairing
) -> Iterator[dict[str, JSON]]:
    said: list[str] = []
    unanswered: list[str] = []
    for block in blocks:
        match block:
            case AssistantText(text=text) | AssistantTranscript(text=text):
                said.append(text)
            case AssistantToolUse():
                yield from _said(said)
                said = []
                wire = pairing.use(block.id)
                yield _call(wire, block)
                if wire not in pairing.answered:
                    unanswered.append(wire)
    yield from _said(said)
    yield from (_output(wire, UNANSWERED) for wire in unanswered)


def _said(texts: list[str]) -> Iterator[dict[str, JSON]]:
    text = "\n".join(filter(None, texts)).strip()
    if text:
        yield _message("assistant", {"type": "output_text", "text": text})


def _result_item(result: ToolResult, pairing: _Pairing) -> dict[str, JSON]:
    wire = pairing.answer(result)
    text = result.text_content()
    if wire is not None:
        return _output(wire, text)
    # The call is not part of this history; an output without one would be refused.
    return _message("user", _input_text(f"[result of an earlier tool call]\n{text}"))


def _items(message: Message, pairing: _Pairing) -> Iterator[dict[str, JSON]]:
    match message:
        case SystemMessage(content=text):
            yield _message("system", _input_text(text))
        case SystemNoticeMessage():
            yield _message("user", _input_text(_notice(message)))
        case UserMessage(content=content):
            parts = [part for block in content if (part := _user_part(block)) is not None]
            if parts:
                yield _message("user", *parts)
        case AssistantMessage(blocks=blocks):
            yield from _assistant_items(blocks, pairing)
        case ToolResultsMessage(results=results):
            for result in results:
                yield _result_item(result, pairing)


def items_of(message: Message) -> list[dict[str, JSON]]:
    """Items of one message of a running conversation, without ids.

    Results are taken to answer calls that the provider knows, calls to be answered later.

    Raises:
        InvalidConfig: an image is not hydrated.
    """
    if isinstance(message, ToolResultsMessage):
        return [
            _output(call_id(result.tool_use_id), result.text_content())
            for result in message.results
        ]
    pairing = _Pairing(())
    if isinstance(message, AssistantMessage):
        uses = (block.id for block in message.blocks if isinstance(block, AssistantToolUse))
        pairing.answered.update(map(call_id, uses))
    return list(_items(message, pairing))


# ---------------------------------------------------------------- the whole history


def _context(append: PendingSystemContextAppend) -> dict[str, JSON]:
    source = f"source: {append.source}\n\n" if append.source else "\n"
    return _message("system", _input_text(f"[Runtime System Context]\n{source}{append.text}"))


@attrs.frozen(kw_only=True)
class Seed:
    """One item to create.  `origin` says for people which part of the configuration it is."""

    item_id: str
    frame: bytes = attrs.field(repr=False)
    origin: str


def seeds(config: RealtimeSessionOpenConfig, open_calls: Collection[str] = ()) -> tuple[Seed, ...]:
    """What the session has to be told before it is ready, in order.

    `open_calls` will be answered in the session; other calls without a result are told so.

    Raises:
        InvalidConfig: an image in the history is not hydrated.
    """
    history = list(_history(config.runtime_system_context, config.seed_messages, open_calls))
    return tuple(_seed(index, item, origin) for index, (item, origin) in enumerate(history))


def _history(
    context: Iterable[PendingSystemContextAppend],
    messages: Sequence[Message],
    open_calls: Collection[str],
) -> Iterator[tuple[dict[str, JSON], str]]:
    for index, append in enumerate(context):
        yield _context(append), f"runtime_system_context[{index}]"
    pairing = _Pairing(messages)
    pairing.answered.update(open_calls)
    for index, message in enumerate(messages):
        yield from ((item, f"seed_messages[{index}]") for item in _items(message, pairing))


def _seed(index: int, item: dict[str, JSON], origin: str) -> Seed:
    digest = hashlib.sha256(to_json(item)).hexdigest()
    item_id = f"{SEED_PREFIX}{index:04}_{digest[:12]}"
    event = {
        "type": "conversation.item.create",
        "event_id": item_id,
        "item": {"id": item_id, **item},
    }
    return Seed(item_id=item_id, frame=to_json(event), origin=origin)


def acknowledgement_deadline(n_bytes: int) -> float:
    """Seconds that the provider has to acknowledge `n_bytes` of seed."""
    return ACK_BASE + -(-n_bytes // ACK_BYTES)
