"""Conversation items and their order.

Source: the Realtime conversation item unions.  On the wire an item never carries audio bytes,
except in the answer to `conversation.item.retrieve`.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import attrs
import pybase64

from . import schema as s
from .audio import PCM16, AudioFormat
from .faults import Fault, invalid_value, missing_parameter

ROOT = "root"  # the `previous_item_id` that stands for the beginning
LONGEST_ID = 32  # characters; what clients of the real service report


@attrs.define(kw_only=True)
class Part:
    """One content part of a message."""

    type: str
    text: str | None = None
    transcript: str | None = None
    image_url: str | None = None
    detail: str | None = None
    audio: bytearray | None = None
    format: AudioFormat = PCM16
    generated_bytes: int = 0  # of audio, whatever was dropped since
    heard: str = ""  # what a recognizer understood, whether or not the client may see it

    @property
    def seconds(self) -> float:
        """How much audio was spoken, in seconds."""
        return self.format.milliseconds(self.generated_bytes) / 1000

    def wire(self, *, with_audio: bool) -> dict[str, Any]:
        """The part as the protocol spells it."""
        out: dict[str, Any] = {"type": self.type}
        match self.type:
            case "input_text" | "output_text":
                out["text"] = self.text or ""
            case "input_image":
                out["image_url"] = self.image_url
                if self.detail is not None:
                    out["detail"] = self.detail
            case _:
                out["transcript"] = self.transcript
                if with_audio and self.audio is not None:
                    out["audio"] = pybase64.b64encode(self.audio).decode("ascii")
        return out


@attrs.define(kw_only=True)
class Item:
    """One item of a conversation, with its audio."""

    id: str
    type: str
    role: Literal["system", "user", "assistant"] | None = None
    status: str = "completed"
    parts: list[Part] = attrs.field(factory=list)
    extra: dict[str, Any] = attrs.field(factory=dict)  # what the wire has for the other item types
    truncated: bool = False

    def wire(self, *, with_audio: bool = False) -> dict[str, Any]:
        """The item as the protocol spells it."""
        out: dict[str, Any] = {"id": self.id, "type": self.type}
        if self.type in {"message", "function_call", "function_call_output"}:
            out["object"] = "realtime.item"
            out["status"] = self.status
        if self.role is not None:
            out["role"] = self.role
            out["content"] = [part.wire(with_audio=with_audio) for part in self.parts]
        return {**out, **self.extra}

    @property
    def audio_bytes(self) -> int:
        """How many bytes of audio the item holds."""
        return sum(len(part.audio) for part in self.parts if part.audio is not None)


class Conversation:
    """The items in order, by id, with a bound on the audio that they keep."""

    def __init__(self, conversation_id: str, *, audio_budget: int) -> None:
        self.id = conversation_id
        self._items: dict[str, Item] = {}
        self._order: list[str] = []
        self._audio_budget = audio_budget

    def __contains__(self, item_id: str) -> bool:
        return item_id in self._items

    def __len__(self) -> int:
        return len(self._order)

    def get(self, item_id: str) -> Item | None:
        """The item with that id, if there is one."""
        return self._items.get(item_id)

    @property
    def items(self) -> tuple[Item, ...]:
        """All items in order."""
        return tuple(self._items[item_id] for item_id in self._order)

    @property
    def last_id(self) -> str | None:
        """The id of the last item."""
        return self._order[-1] if self._order else None

    def previous_id(self, item_id: str) -> str | None:
        """The id of the item before, or None for the first."""
        # Searched from the end: it is nearly always one of the last few.
        for index in range(len(self._order) - 1, 0, -1):
            if self._order[index] == item_id:
                return self._order[index - 1]
        return None

    def insert(self, item: Item, previous_item_id: str | None = None) -> None:
        """Put `item` after another one, first for "root", last for None.

        Raises:
            Fault: the id is taken, or the previous item does not exist.
        """
        if item.id in self._items:
            raise Fault(
                "item_create_duplicate_item_id",
                f"Error adding item: an item with id '{item.id}' already exists.",
                param="item.id",
            )
        if previous_item_id is None:
            self._order.append(item.id)
        elif previous_item_id == ROOT:
            self._order.insert(0, item.id)
        elif previous_item_id in self._items:
            self._order.insert(self._order.index(previous_item_id) + 1, item.id)
        else:
            raise invalid_value(
                "previous_item_id",
                f"Error adding item: the previous item '{previous_item_id}' does not exist.",
            )
        self._items[item.id] = item

    def remove(self, item_id: str) -> None:
        """Take an item out; it must be there."""
        del self._items[item_id]
        self._order.remove(item_id)

    def has_call(self, call_id: str) -> bool:
        """Whether an item holds the function call with that id."""
        return any(
            item.type == "function_call" and item.extra["call_id"] == call_id
            for item in self._items.values()
        )

    def trim_audio(self) -> None:
        """Forget the audio of the oldest items beyond the budget; a retrieval then has none."""
        kept = 0
        for item_id in reversed(self._order):
            item = self._items[item_id]
            kept += item.audio_bytes
            if kept > self._audio_budget and item.status != "in_progress":
                for part in item.parts:
                    part.audio = None


_status = s.nullable(s.choice("completed", "incomplete", "in_progress"))
_item_id = s.nullable(s.text(longest=LONGEST_ID))
_common = {
    "id": _item_id,
    "type": s.anything,
    "object": s.nullable(s.choice("realtime.item")),
    "status": _status,
}
_input_text = s.record({"type": s.anything, "text": s.text()}, "text")
_CONTENT = {
    "system": s.tagged({"input_text": _input_text}),
    "user": s.tagged(
        {
            "input_text": _input_text,
            "input_audio": s.record(
                {"type": s.anything, "audio": s.text(), "transcript": s.nullable(s.text())},
                "audio",
            ),
            "input_image": s.record(
                {
                    "type": s.anything,
                    "image_url": s.text(),
                    "detail": s.nullable(s.choice("auto", "low", "high")),
                },
                "image_url",
            ),
        }
    ),
    "assistant": s.tagged({"output_text": _input_text}),
}
_MESSAGES = {
    role: s.record(
        {**_common, "role": s.anything, "content": s.array(content)},
        "content",
    )
    for role, content in _CONTENT.items()
}
_message = s.tagged(_MESSAGES, "role")
_call_id = s.text(longest=64)
_ITEM = s.tagged(
    {
        "message": _message,
        "function_call": s.record(
            {**_common, "name": s.text(), "arguments": s.text(), "call_id": s.nullable(_call_id)},
            "name",
            "arguments",
        ),
        "function_call_output": s.record(
            {**_common, "call_id": _call_id, "output": s.text()}, "call_id", "output"
        ),
        "mcp_approval_response": s.record(
            {
                "id": _item_id,
                "type": s.anything,
                "approval_request_id": s.text(),
                "approve": s.boolean,
                "reason": s.nullable(s.text()),
            },
            "approval_request_id",
            "approve",
        ),
    }
)


def parse_item(
    value: Any, path: str, *, new_id: str, new_call_id: str, audio_format: AudioFormat
) -> Item:
    """The item that a client describes.

    Ids that it left out are taken from `new_id` and `new_call_id`.

    Raises:
        Fault: it is not an item that a client may create.
    """
    if not isinstance(value, dict):
        s.any_object(value, path)
    _refuse_assistant_audio(value, path)
    wire = _ITEM(value, path)
    item_id = wire.get("id") or new_id
    if item_id == ROOT:
        raise invalid_value(f"{path}.id", "'root' is reserved and cannot be an item id.")
    match wire["type"]:
        case "message":
            read = partial(_parse_part, audio_format=audio_format)
            parts = [
                read(part, f"{path}.content[{index}]") for index, part in enumerate(wire["content"])
            ]
            return Item(id=item_id, type="message", role=wire["role"], parts=parts)
        case "function_call":
            extra = {key: wire[key] for key in ("name", "arguments")}
            extra["call_id"] = wire.get("call_id") or new_call_id
        case "function_call_output":
            extra = {key: wire[key] for key in ("call_id", "output")}
        case _:
            extra = {key: wire[key] for key in ("approval_request_id", "approve")}
    return Item(id=item_id, type=wire["type"], extra=extra)


def _refuse_assistant_audio(value: dict[str, Any], path: str) -> None:
    content = value.get("content")
    if value.get("role") != "assistant" or not isinstance(content, list):
        return
    for index, part in enumerate(content):
        if isinstance(part, dict) and part.get("type") == "output_audio":
            raise invalid_value(
                f"{path}.content[{index}].type",
                "Assistant audio messages cannot be created by a client; use 'output_text'.",
            )


def _parse_part(wire: dict[str, Any], path: str, *, audio_format: AudioFormat) -> Part:
    part = Part(
        type=wire["type"],
        text=wire.get("text"),
        transcript=wire.get("transcript"),
        image_url=wire.get("image_url"),
        detail=wire.get("detail"),
    )
    if "audio" in wire:
        data = s.base64_bytes(wire["audio"], f"{path}.audio")
        part.audio = bytearray(data[: len(data) // audio_format.width * audio_format.width])
        part.format = audio_format
        part.generated_bytes = len(part.audio)
        part.heard = part.transcript or ""
    return part


def truncate(item: Item | None, item_id: str, content_index: int, audio_end_ms: int) -> None:
    """Cut an assistant's audio; its transcript goes too, since nobody knows which words remain.

    Raises:
        Fault: there is no such item, part, or that much audio.
    """
    if item is None:
        raise Fault(
            "item_truncate_invalid_item_id",
            f"Error truncating item: the item with id '{item_id}' does not exist.",
            param="item_id",
        )
    if item.role != "assistant":
        raise invalid_value("item_id", "Only model output audio messages can be truncated.")
    if content_index >= len(item.parts):
        raise invalid_value(
            "content_index",
            f"Content index {content_index} is out of range: the item has {len(item.parts)} parts.",
        )
    part = item.parts[content_index]
    if part.type != "output_audio":
        raise invalid_value("content_index", "Only model output audio messages can be truncated.")
    have = int(part.format.milliseconds(part.generated_bytes))
    if audio_end_ms > have:
        raise invalid_value(
            "audio_end_ms",
            f"Audio content of {have}ms is already shorter than {audio_end_ms}ms",
        )
    size = part.format.bytes_for(audio_end_ms)
    part.generated_bytes = size
    if part.audio is not None:
        del part.audio[size:]
    part.transcript = None
    item.truncated = True


def reference_id(value: dict[str, Any], path: str) -> str:
    """The id in an `item_reference` entry of a response's input."""
    checked = s.record({"type": s.anything, "id": s.text()})(value, path)
    if "id" not in checked:
        raise missing_parameter(f"{path}.id")
    return str(checked["id"])
