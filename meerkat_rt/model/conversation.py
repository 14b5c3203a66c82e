"""What a conversation is made of: messages, blocks, tools, usage, and who the model is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, TypeAlias

import attrs
from attrs import validators

from . import checks as check
from ._json import json_field

JSON: TypeAlias = Any
"""A JSON value: None, bool, int, float, str, list, or dict with str keys."""


class StopReason(StrEnum):
    """Why a response ended."""

    END_TURN = "end_turn"
    TOOL_USE = "tool_use"
    MAX_TOKENS = "max_tokens"
    STOP_SEQUENCE = "stop_sequence"
    CONTENT_FILTER = "content_filter"
    CANCELLED = "cancelled"


_count = validators.ge(0)


@attrs.frozen(kw_only=True)
class Usage:
    """Token counts.  `input_tokens` already includes those read from the cache.

    Cache counters are None where the provider did not report them.
    """

    input_tokens: int = attrs.field(default=0, validator=_count)
    output_tokens: int = attrs.field(default=0, validator=_count)
    cache_creation_tokens: int | None = attrs.field(
        default=None, validator=validators.optional(_count)
    )
    cache_read_tokens: int | None = attrs.field(default=None, validator=validators.optional(_count))

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cache_creation_tokens=_add(self.cache_creation_tokens, other.cache_creation_tokens),
            cache_read_tokens=_add(self.cache_read_tokens, other.cache_read_tokens),
        )


def _add(a: int | None, b: int | None) -> int | None:
    return a if b is None else b if a is None else a + b


# ---------------------------------------------------------------- content


@attrs.frozen
class InlineData:
    """Media carried in the block itself.  `data` is raw bytes (base64 in JSON)."""

    data: bytes = attrs.field(repr=lambda data: f"<{len(data)} bytes>")


@attrs.frozen
class BlobRef:
    """Media kept in a blob store of the application's."""

    blob_id: str


@attrs.frozen
class UriRef:
    """Media at an address."""

    uri: str


ImageSource: TypeAlias = InlineData | BlobRef
VideoSource: TypeAlias = InlineData | UriRef
"""In JSON their keys stand in the block itself, tagged on `source`: inline, blob, uri."""


@attrs.frozen
class TextContent:
    """Plain text."""

    text: str

    def text_projection(self) -> str:
        """The block as text."""
        return self.text


@attrs.frozen
class ImageContent:
    """A picture."""

    media_type: str
    source: ImageSource = attrs.field(metadata=json_field(flatten=True))

    def text_projection(self) -> str:
        """The block as text: a marker with the media type."""
        return f"[image: {self.media_type}]"


@attrs.frozen(kw_only=True)
class VideoContent:
    """A film of `duration_ms` milliseconds."""

    media_type: str
    duration_ms: int = attrs.field(validator=_count)
    source: VideoSource = attrs.field(metadata=json_field(flatten=True))

    def text_projection(self) -> str:
        """The block as text: a marker with the media type."""
        return f"[video: {self.media_type}]"


@attrs.frozen
class StructuredContent:
    """A JSON value."""

    data: JSON

    def text_projection(self) -> str:
        """The block as text: its JSON."""
        return json.dumps(self.data, ensure_ascii=False, separators=(",", ":"))


ContentBlock: TypeAlias = TextContent | ImageContent | VideoContent | StructuredContent
"""What users and tools say.  In JSON tagged on `type`: text, image, video, structured."""


# ---------------------------------------------------------------- tools


@attrs.frozen
class ToolProvenance:
    """Where a tool came from."""

    kind: str
    source_id: str


@attrs.frozen(kw_only=True)
class ToolDef:
    """A tool that the model may call.  `input_schema` is a JSON Schema of an object."""

    name: str = attrs.field(validator=check.a_name)
    description: str = attrs.field(default="", validator=check.text)
    input_schema: Mapping[str, JSON] = attrs.field(
        factory=lambda: {"type": "object", "properties": {}}, validator=check.json_object
    )
    provenance: ToolProvenance | None = None


def _as_blocks(content: str | list[ContentBlock] | tuple[ContentBlock, ...]) -> Any:
    return (TextContent(content),) if isinstance(content, str) else tuple(content)


@attrs.frozen(kw_only=True)
class ToolResult:
    """What a tool answered.  `content` may be given as a plain string."""

    tool_use_id: str
    content: tuple[ContentBlock, ...] = attrs.field(
        converter=_as_blocks, metadata=json_field(plain_text=True)
    )
    is_error: bool = False

    def text_content(self) -> str:
        """The content as text: the non-empty projections of its blocks, joined by newlines."""
        return "\n".join(filter(None, (block.text_projection() for block in self.content)))


# ---------------------------------------------------------------- messages


class TranscriptSource(StrEnum):
    """What a transcript block was derived from."""

    SPOKEN = "spoken"


@attrs.frozen
class AssistantText:
    """Text that the model wrote."""

    text: str


@attrs.frozen(kw_only=True)
class AssistantTranscript:
    """Text of what the model said aloud.

    `truncated` says that the model was interrupted and that `text` is the part that was heard.
    """

    text: str
    source: TranscriptSource = TranscriptSource.SPOKEN
    truncated: bool = attrs.field(default=False, metadata=json_field(omit_default=True))


@attrs.frozen
class AssistantReasoning:
    """Reasoning that the provider disclosed."""

    text: str


@attrs.frozen(kw_only=True)
class AssistantToolUse:
    """A call that the model made."""

    id: str
    name: str
    args: JSON


@attrs.frozen
class AssistantServerTool:
    """What a tool on the provider's side produced."""

    content: JSON


@attrs.frozen
class AssistantImage:
    """A picture that the model made."""

    media_type: str
    source: ImageSource = attrs.field(metadata=json_field(flatten=True))


AssistantBlock: TypeAlias = (
    AssistantText
    | AssistantTranscript
    | AssistantReasoning
    | AssistantToolUse
    | AssistantServerTool
    | AssistantImage
)
"""In JSON tagged on `type`: text, transcript, reasoning, tool_use, server_tool_content, image."""


@attrs.frozen
class SystemMessage:
    """Instructions at their place in the conversation."""

    content: str


@attrs.frozen(kw_only=True)
class SystemNoticeMessage:
    """Something the runtime tells the model about, e.g. that a peer answered."""

    kind: str
    body: str | None = None
    blocks: tuple[ContentBlock, ...] = attrs.field(
        default=(), converter=_as_blocks, metadata=json_field(omit_default=True)
    )

    def text_content(self) -> str:
        """The notice as text: body, then blocks, joined by newlines."""
        parts = [self.body or "", *(block.text_projection() for block in self.blocks)]
        return "\n".join(filter(None, parts))


@attrs.frozen
class UserMessage:
    """What the user said.  `content` may be given as a plain string."""

    content: tuple[ContentBlock, ...] = attrs.field(converter=_as_blocks)

    def text_content(self) -> str:
        """The content as text: the non-empty projections of its blocks, joined by newlines."""
        return "\n".join(filter(None, (block.text_projection() for block in self.content)))


def _as_assistant_blocks(blocks: Iterable[AssistantBlock]) -> tuple[AssistantBlock, ...]:
    return tuple(blocks)


@attrs.frozen(kw_only=True)
class AssistantMessage:
    """What the model said: blocks in the order it said them."""

    blocks: tuple[AssistantBlock, ...] = attrs.field(converter=_as_assistant_blocks)
    stop_reason: StopReason = StopReason.END_TURN
    usage: Usage | None = None

    def text_content(self) -> str:
        """Text and transcript blocks in order, joined by newlines."""
        return "\n".join(
            block.text
            for block in self.blocks
            if isinstance(block, (AssistantText, AssistantTranscript)) and block.text
        )


def _as_results(results: Iterable[ToolResult]) -> tuple[ToolResult, ...]:
    return tuple(results)


@attrs.frozen
class ToolResultsMessage:
    """What the tools answered."""

    results: tuple[ToolResult, ...] = attrs.field(converter=_as_results)


Message: TypeAlias = (
    SystemMessage | SystemNoticeMessage | UserMessage | AssistantMessage | ToolResultsMessage
)
"""In JSON tagged on `role`: system, system_notice, user, assistant, tool_results."""


# ---------------------------------------------------------------- identity and context


class Provider(StrEnum):
    """Who serves the model."""

    ANTHROPIC = "anthropic"
    OPENAI = "openai"
    GEMINI = "gemini"
    SELF_HOSTED = "self_hosted"
    OTHER = "other"

    @classmethod
    def _missing_(cls, value: object) -> Provider | None:
        # Older records spell it as a machine would split it.
        return cls.OPENAI if value == "open_a_i" else None


def _provider(value: str) -> Provider:
    return check.member(Provider, "SessionLlmIdentity.provider")(value)


@attrs.frozen(kw_only=True)
class SessionLlmIdentity:
    """Which model a session talks to, and with whose credentials.

    `provider` may be given as a plain string.
    """

    model: str = attrs.field(validator=check.a_name)
    provider: Provider = attrs.field(default=Provider.OPENAI, converter=_provider)
    self_hosted_server_id: str | None = None
    provider_params: JSON = None
    auth_binding: str | None = None


@attrs.frozen(kw_only=True)
class PendingSystemContextAppend:
    """A fact that the runtime, not the user, adds to the conversation.

    `accepted_at` is seconds since the Unix epoch.  The typed value is the only source from which a
    session is rebuilt; a marker that merely looks like one inside a transcript has no authority.
    """

    text: str
    source: str | None = None
    idempotency_key: str | None = None
    accepted_at: float
