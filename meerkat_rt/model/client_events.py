"""What an application may send into a session as a raw event, and the tool and context vocabulary.

The names and the JSON forms are those of the OpenAI Realtime client events, except for `Message`,
which every dialect translates.  A raw event goes past none of the session's rules: what has an
owner (a response request, a tool output) is taken over by it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import TypeAlias

import attrs
from attrs import validators

from ._json import json_field
from .conversation import JSON, ContentBlock, TextContent
from .errors import InvalidRequest
from .live_config import RealtimeConfig
from .media import RealtimeAudioFormat

MAX_EVENT_ID = 512  # characters; OpenAI refuses longer ones


def _event_id_length(_instance: object, _attribute: object, value: str | None) -> None:
    if value is not None and len(value) > MAX_EVENT_ID:
        raise InvalidRequest(
            f"event_id has {len(value)} characters; allowed: at most {MAX_EVENT_ID}"
        )


def _event_id() -> str | None:
    return attrs.field(default=None, kw_only=True, validator=_event_id_length)


# ---------------------------------------------------------------- the session


@attrs.frozen
class SessionUpdate:
    """`session.update`: merge the given keys into the session's settings.

    `session` is in the provider's own form; `mutate_context()` starts from a RealtimeConfig.
    """

    session: Mapping[str, JSON]
    event_id: str | None = _event_id()


# ---------------------------------------------------------------- input audio


@attrs.frozen
class AudioDelta:
    """`input_audio_buffer.append`: more of the user's audio, as raw bytes (base64 in JSON).

    `format`, where given, is compared with what the session negotiated; it has no place in JSON.
    """

    audio: bytes = attrs.field(repr=lambda audio: f"<{len(audio)} bytes>")
    format: RealtimeAudioFormat | None = attrs.field(
        default=None, kw_only=True, metadata=json_field(absent=True)
    )
    event_id: str | None = _event_id()


@attrs.frozen
class InputAudioBufferCommit:
    """`input_audio_buffer.commit`: what was appended becomes a user item.  Requests no response."""

    event_id: str | None = _event_id()


@attrs.frozen
class InputAudioBufferClear:
    """`input_audio_buffer.clear`: forget what was appended."""

    event_id: str | None = _event_id()


@attrs.frozen
class OutputAudioBufferClear:
    """`output_audio_buffer.clear`: stop playback at the provider's end (WebRTC and SIP only)."""

    event_id: str | None = _event_id()


# ---------------------------------------------------------------- items


@attrs.frozen
class ConversationItemCreate:
    """`conversation.item.create`: add an item, in the provider's own form.

    It goes to the end, after `previous_item_id`, or first if that is `"root"`.
    """

    item: Mapping[str, JSON]
    previous_item_id: str | None = attrs.field(default=None, kw_only=True)
    event_id: str | None = _event_id()

    @classmethod
    def user_text(cls, text: str, *, item_id: str | None = None) -> ConversationItemCreate:
        """A user message."""
        content = [{"type": "input_text", "text": text}]
        return cls({**_id(item_id), "type": "message", "role": "user", "content": content})

    @classmethod
    def tool_output(
        cls, response: ToolResponse, *, item_id: str | None = None
    ) -> ConversationItemCreate:
        """The output of a call."""
        output = response.output_text()
        return cls(
            {
                **_id(item_id),
                "type": "function_call_output",
                "call_id": response.call_id,
                "output": output,
            }
        )


def _id(item_id: str | None) -> dict[str, JSON]:
    return {} if item_id is None else {"id": item_id}


@attrs.frozen
class ConversationItemTruncate:
    """`conversation.item.truncate`: cut an assistant item to the `audio_end_ms` that were heard.

    The provider refuses more than it has generated, and drops the item's transcript.
    """

    item_id: str
    content_index: int = attrs.field(validator=validators.ge(0))
    audio_end_ms: int = attrs.field(validator=validators.ge(0))
    event_id: str | None = _event_id()


@attrs.frozen
class ConversationItemDelete:
    """`conversation.item.delete`: take an item out of the conversation."""

    item_id: str
    event_id: str | None = _event_id()


@attrs.frozen
class ConversationItemRetrieve:
    """`conversation.item.retrieve`: ask for an item with its audio."""

    item_id: str
    event_id: str | None = _event_id()


# ---------------------------------------------------------------- responses


@attrs.frozen
class ResponseCreate:
    """`response.create`: ask for a response; `response` overrides the session's settings for it."""

    response: Mapping[str, JSON] | None = None
    event_id: str | None = _event_id()


@attrs.frozen
class ResponseCancel:
    """`response.cancel`: stop a response; None means the conversation's active one."""

    response_id: str | None = None
    event_id: str | None = _event_id()


# ---------------------------------------------------------------- ours


class MessageRole(StrEnum):
    """Whose message it is.  `developer` is taken for system, `model` for assistant."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"

    @classmethod
    def _missing_(cls, value: object) -> MessageRole | None:
        return {"developer": cls.SYSTEM, "model": cls.ASSISTANT}.get(str(value))


def _parts(parts: str | list[ContentBlock] | tuple[ContentBlock, ...]) -> tuple[ContentBlock, ...]:
    return (TextContent(parts),) if isinstance(parts, str) else tuple(parts)


@attrs.frozen
class Message:
    """`message`: a message in neutral form; `parts` may be given as a plain string.

    The dialect gives every part the form that the role asks for, and refuses what it cannot say.
    """

    role: MessageRole = attrs.field(converter=MessageRole)
    parts: tuple[ContentBlock, ...] = attrs.field(converter=_parts)
    event_id: str | None = _event_id()


ClientEvent: TypeAlias = (
    SessionUpdate
    | AudioDelta
    | InputAudioBufferCommit
    | InputAudioBufferClear
    | OutputAudioBufferClear
    | ConversationItemCreate
    | ConversationItemTruncate
    | ConversationItemDelete
    | ConversationItemRetrieve
    | ResponseCreate
    | ResponseCancel
    | Message
)
"""In JSON tagged on `type`, with the dotted names of the wire."""

CLIENT_EVENT_TAGS: dict[type, str] = {
    SessionUpdate: "session.update",
    AudioDelta: "input_audio_buffer.append",
    InputAudioBufferCommit: "input_audio_buffer.commit",
    InputAudioBufferClear: "input_audio_buffer.clear",
    OutputAudioBufferClear: "output_audio_buffer.clear",
    ConversationItemCreate: "conversation.item.create",
    ConversationItemTruncate: "conversation.item.truncate",
    ConversationItemDelete: "conversation.item.delete",
    ConversationItemRetrieve: "conversation.item.retrieve",
    ResponseCreate: "response.create",
    ResponseCancel: "response.cancel",
    Message: "message",
}


# ---------------------------------------------------------------- tools


@attrs.frozen
class ToolCall:
    """A call that the model made.  `arguments` is an object, where the model kept the schema."""

    call_id: str
    name: str
    arguments: JSON


@attrs.frozen
class ToolResponse:
    """What a tool answered: any JSON value."""

    call_id: str
    output: JSON

    @classmethod
    def from_string(cls, call_id: str, output: str) -> ToolResponse:
        """An answer in plain text."""
        return cls(call_id, output)

    def output_text(self) -> str:
        """What the model is given: a string as it is, anything else as its JSON.

        Raises:
            TypeError, ValueError: `output` has no JSON form.
        """
        if isinstance(self.output, str):
            return self.output
        return json.dumps(self.output, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


# ---------------------------------------------------------------- context mutation


@attrs.frozen
class Applied:
    """The provider changed the live session."""


@attrs.frozen
class RequiresResumption:
    """The provider cannot change a live session: open a new connection with `config`."""

    config: RealtimeConfig


ContextMutationOutcome: TypeAlias = Applied | RequiresResumption
"""In JSON tagged on `type`: applied, requires_resumption."""
