"""What a brain gets to see of a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .brain import BrainCall, BrainEntry, BrainMessage, BrainOutput, BrainRequest, BrainTool

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .items import Item
    from .settings import ResponseSettings


def brain_request(settings: ResponseSettings, context: Iterable[Item]) -> BrainRequest:
    """The request for one response; what a recognizer has found out since is in it."""
    choice = settings.tool_choice
    forced = None
    if isinstance(choice, dict):
        # A forced MCP tool cannot be called from here; any offered function has to do.
        forced = choice["name"] if choice["type"] == "function" else None
        choice = "required"
    return BrainRequest(
        history=tuple(entry for item in context for entry in _entries(item)),
        instructions=settings.instructions,
        tools=tuple(
            BrainTool(
                name=tool["name"],
                description=tool.get("description") or "",
                parameters=tool.get("parameters") or {},
            )
            for tool in settings.tools
            if tool["type"] == "function"
        ),
        tool_choice=choice,
        forced_tool=forced,
        parallel_tool_calls=settings.parallel_tool_calls,
        modality=settings.modality,
        metadata=settings.metadata or {},
    )


def _entries(item: Item) -> list[BrainEntry]:
    match item.type:
        case "message":
            return [_message(item)]
        case "function_call":
            return [
                BrainCall(
                    call_id=item.extra["call_id"],
                    name=item.extra["name"],
                    arguments=item.extra["arguments"],
                )
            ]
        case "function_call_output":
            return [BrainOutput(call_id=item.extra["call_id"], output=item.extra["output"])]
        case _:
            return []


def _message(item: Item) -> BrainMessage:
    texts: list[str] = []
    for part in item.parts:
        # A user's transcript may be a measure of length; only what was heard as words counts.
        spoken = part.heard if item.role == "user" else part.transcript
        texts.append(part.text or spoken or "")
    return BrainMessage(
        role=item.role or "user",
        text=" ".join(text for text in texts if text),
        speech_seconds=sum(part.seconds for part in item.parts),
        truncated=item.truncated or item.status == "incomplete",
    )
