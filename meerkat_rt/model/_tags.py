"""Which union a class belongs to in JSON, and under which tag."""

from __future__ import annotations

import re
from typing import Any, get_args

import attrs

from . import (
    channel,
    client_events,
    conversation,
    events,
    live_config,
    media,
    public,
    server_events,
    transcript,
)


def snake_case(name: str) -> str:
    """`TurnCompleted` -> `turn_completed`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


@attrs.frozen(kw_only=True)
class Family:
    """One tagged union: its name, the key that holds the tag, and the class of each tag.

    `untagged` is the tag that is understood where there is none, and never written.
    """

    name: str
    key: str
    classes: dict[str, type]
    untagged: str | None = None


def _by_class_name(name: str, union: Any) -> Family:
    classes = {snake_case(cls.__name__): cls for cls in get_args(union)}
    return Family(name=name, key="type", classes=classes)


FAMILIES: tuple[Family, ...] = (
    _by_class_name("RealtimeSessionEvent", events.RealtimeSessionEvent),
    _by_class_name("RealtimeEvent", public.RealtimeEvent),
    _by_class_name("RealtimeTranscriptEvent", transcript.RealtimeTranscriptEvent),
    _by_class_name("ContextMutationOutcome", client_events.ContextMutationOutcome),
    Family(
        name="RealtimeInputChunk",
        key="kind",
        classes={
            "text_chunk": media.RealtimeTextChunk,
            "audio_chunk": media.RealtimeAudioChunk,
            "video_chunk": media.RealtimeVideoChunk,
        },
    ),
    Family(
        name="ContentBlock",
        key="type",
        classes={
            "text": conversation.TextContent,
            "image": conversation.ImageContent,
            "video": conversation.VideoContent,
            "structured": conversation.StructuredContent,
        },
    ),
    Family(
        name="MediaSource",
        key="source",
        classes={
            "inline": conversation.InlineData,
            "blob": conversation.BlobRef,
            "uri": conversation.UriRef,
        },
    ),
    Family(
        name="AssistantBlock",
        key="type",
        classes={
            "text": conversation.AssistantText,
            "transcript": conversation.AssistantTranscript,
            "reasoning": conversation.AssistantReasoning,
            "tool_use": conversation.AssistantToolUse,
            "server_tool_content": conversation.AssistantServerTool,
            "image": conversation.AssistantImage,
        },
    ),
    Family(
        name="Message",
        key="role",
        classes={
            "system": conversation.SystemMessage,
            "system_notice": conversation.SystemNoticeMessage,
            "user": conversation.UserMessage,
            "assistant": conversation.AssistantMessage,
            "tool_results": conversation.ToolResultsMessage,
        },
    ),
    Family(
        name="RealtimeTranscriptMaterializedMessage",
        key="role",
        classes={
            "user": transcript.MaterializedUser,
            "assistant": transcript.MaterializedAssistant,
        },
    ),
    Family(
        name="ClientEvent",
        key="type",
        classes={tag: cls for cls, tag in client_events.CLIENT_EVENT_TAGS.items()},
    ),
    Family(
        name="ServerEvent",
        key="type",
        classes={tag: cls for cls, tag in server_events.SERVER_EVENT_TAGS.items()},
    ),
    Family(
        name="RealtimeToolTimeoutPolicy",
        key="type",
        classes={
            "default": channel.ToolTimeoutDefault,
            "disabled": channel.ToolTimeoutDisabled,
            "finite": channel.ToolTimeoutFinite,
        },
    ),
    Family(
        name="ToolSpec",
        key="type",
        classes={"function": live_config.ToolDefinition, "mcp": live_config.McpTool},
        untagged="function",
    ),
    Family(
        name="ToolChoice",
        key="type",
        classes={
            "function": live_config.ToolChoiceFunction,
            "mcp": live_config.ToolChoiceMcp,
        },
    ),
    Family(
        name="Truncation",
        key="type",
        classes={"retention_ratio": live_config.RetentionRatio},
    ),
)

FAMILY_OF: dict[type, Family] = {
    cls: family for family in FAMILIES for cls in family.classes.values()
}
TAG_OF: dict[type, str] = {cls: tag for family in FAMILIES for tag, cls in family.classes.items()}
