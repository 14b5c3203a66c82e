"""How materialized items form canonical messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..model.conversation import (
    AssistantBlock,
    AssistantMessage,
    AssistantText,
    AssistantTranscript,
    TextContent,
    Usage,
    UserMessage,
)
from ..model.transcript import (
    MaterializedAssistant,
    MaterializedUser,
    RealtimeTranscriptMaterializedMessage,
    TranscriptLane,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

NO_USAGE = Usage()


def canonical_messages(
    entries: Iterable[RealtimeTranscriptMaterializedMessage],
) -> tuple[UserMessage | AssistantMessage, ...]:
    """The messages of one event's materialized items.

    Consecutive items of one response share a message, whose blocks follow the items.  Its usage is
    None where there is nothing to count.
    """
    messages: list[UserMessage | AssistantMessage] = []
    group: list[MaterializedAssistant] = []
    for entry in entries:
        if group and (
            isinstance(entry, MaterializedUser) or entry.response_id != group[0].response_id
        ):
            messages.append(_assistant_message(group))
            group = []
        if isinstance(entry, MaterializedUser):
            messages.append(UserMessage((TextContent(entry.text),)))
        else:
            group.append(entry)
    if group:
        messages.append(_assistant_message(group))
    return tuple(messages)


def _assistant_message(group: list[MaterializedAssistant]) -> AssistantMessage:
    # Only the first item of a response carries usage, and it is the first of its group.
    usage = group[0].usage
    blocks = tuple(_block(entry) for entry in group)
    return AssistantMessage(
        blocks=blocks,
        stop_reason=group[0].stop_reason,
        usage=None if usage == NO_USAGE else usage,
    )


def _block(entry: MaterializedAssistant) -> AssistantBlock:
    if entry.lane is TranscriptLane.SPOKEN:
        return AssistantTranscript(text=entry.text, truncated=entry.truncated)
    return AssistantText(entry.text)
