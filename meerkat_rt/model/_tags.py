"""The tagged unions of the vocabulary, and what their variants are called in JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast, get_args

import attrs

from . import (
    channel,
    client_events,
    conversation,
    errors,
    events,
    live_config,
    media,
    public,
    tool_config,
    transcript,
)


def snake_case(name: str) -> str:
    """CamelCase as snake_case."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


@attrs.frozen(kw_only=True)
class TaggedUnion:
    """A union whose variants are told apart by the value under `key`.

    `default` is the variant that JSON without the key is taken for.
    """

    name: str
    key: str
    tags: Mapping[type, str]
    default: type | None = None
    classes: Mapping[str, type] = attrs.field(init=False)

    @classes.default
    def _by_tag(self) -> dict[str, type]:
        return {tag: cls for cls, tag in self.tags.items()}


def members(union: Any) -> tuple[type, ...]:
    """The classes of a union."""
    return cast("tuple[type, ...]", get_args(union))


def _union(name: str, union: Any, key: str, /, **tags: type) -> TaggedUnion:
    """A union whose variants are called by their class's name, unless `tags` says otherwise."""
    named = {cls: tag for tag, cls in tags.items()}
    return TaggedUnion(
        name=name,
        key=key,
        tags={cls: named.get(cls, snake_case(cls.__name__)) for cls in members(union)},
    )


def _error_classes() -> tuple[type, ...]:
    found: list[type[errors.LlmError]] = []
    queue: list[type[errors.LlmError]] = [errors.LlmError]
    while queue:
        cls = queue.pop(0)
        queue += [each for each in cls.__subclasses__() if each.__module__ == errors.__name__]
        if not cls.__name__.startswith("_") and cls is not errors.LlmError:
            found.append(cls)
    return tuple(dict.fromkeys(found))


ERRORS = TaggedUnion(
    name="LlmError", key="kind", tags={cls: snake_case(cls.__name__) for cls in _error_classes()}
)

_CLIENT_EVENTS = {
    client_events.SessionUpdate: "session.update",
    client_events.AudioDelta: "input_audio_buffer.append",
    client_events.InputAudioBufferCommit: "input_audio_buffer.commit",
    client_events.InputAudioBufferClear: "input_audio_buffer.clear",
    client_events.OutputAudioBufferClear: "output_audio_buffer.clear",
    client_events.ConversationItemCreate: "conversation.item.create",
    client_events.ConversationItemTruncate: "conversation.item.truncate",
    client_events.ConversationItemDelete: "conversation.item.delete",
    client_events.ConversationItemRetrieve: "conversation.item.retrieve",
    client_events.ResponseCreate: "response.create",
    client_events.ResponseCancel: "response.cancel",
    client_events.Message: "message",
}

UNIONS: tuple[TaggedUnion, ...] = (
    _union(
        "RealtimeInputChunk",
        media.RealtimeInputChunk,
        "kind",
        text_chunk=media.RealtimeTextChunk,
        audio_chunk=media.RealtimeAudioChunk,
        video_chunk=media.RealtimeVideoChunk,
    ),
    TaggedUnion(
        name="Source",
        key="source",
        tags={
            conversation.InlineData: "inline",
            conversation.BlobRef: "blob",
            conversation.UriRef: "uri",
        },
    ),
    _union(
        "ContentBlock",
        conversation.ContentBlock,
        "type",
        text=conversation.TextContent,
        image=conversation.ImageContent,
        video=conversation.VideoContent,
        structured=conversation.StructuredContent,
    ),
    _union(
        "AssistantBlock",
        conversation.AssistantBlock,
        "type",
        text=conversation.AssistantText,
        transcript=conversation.AssistantTranscript,
        reasoning=conversation.AssistantReasoning,
        tool_use=conversation.AssistantToolUse,
        server_tool_content=conversation.AssistantServerTool,
        image=conversation.AssistantImage,
    ),
    _union(
        "Message",
        conversation.Message,
        "role",
        system=conversation.SystemMessage,
        system_notice=conversation.SystemNoticeMessage,
        user=conversation.UserMessage,
        assistant=conversation.AssistantMessage,
        tool_results=conversation.ToolResultsMessage,
    ),
    _union("RealtimeTranscriptEvent", transcript.RealtimeTranscriptEvent, "type"),
    _union(
        "RealtimeTranscriptMaterializedMessage",
        transcript.RealtimeTranscriptMaterializedMessage,
        "role",
        user=transcript.MaterializedUser,
        assistant=transcript.MaterializedAssistant,
    ),
    _union("RealtimeSessionEvent", events.RealtimeSessionEvent, "type"),
    _union("RealtimeEvent", public.RealtimeEvent, "type"),
    TaggedUnion(name="ClientEvent", key="type", tags=_CLIENT_EVENTS),
    _union("ContextMutationOutcome", client_events.ContextMutationOutcome, "type"),
    TaggedUnion(
        name="RealtimeToolTimeoutPolicy",
        key="type",
        tags={
            channel.ToolTimeoutDefault: "default",
            channel.ToolTimeoutDisabled: "disabled",
            channel.ToolTimeoutFinite: "finite",
        },
    ),
    TaggedUnion(
        name="ToolSpec",
        key="type",
        tags={tool_config.ToolDefinition: "function", tool_config.McpTool: "mcp"},
        default=tool_config.ToolDefinition,
    ),
    TaggedUnion(
        name="ToolChoice",
        key="type",
        tags={tool_config.ToolChoiceFunction: "function", tool_config.ToolChoiceMcp: "mcp"},
    ),
    TaggedUnion(
        name="Truncation", key="type", tags={live_config.RetentionRatio: "retention_ratio"}
    ),
    ERRORS,
)

UNION_OF: dict[type, TaggedUnion] = {cls: union for union in UNIONS for cls in union.tags}
"""Which union a variant belongs to."""
