"""Wire events of responses, and of tools that run at the provider, as neutral ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ...model.conversation import Usage
from ...model.events import ProviderFault
from ...turn import ports
from ...turn.ports import ResponseStatus
from . import frames, ranges
from .conversation import kind_of
from .faults import to_fault

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from ...turn.ports import ProviderEvent

    Events: TypeAlias = tuple[ProviderEvent, ...]

# ---------------------------------------------------------------- responses

_CUT = frozenset({"incomplete", "in_progress"})  # statuses of an item that is not whole


def _response_id(value: str) -> str:
    return ranges.known(value, "response_id")


def _ref(response: frames.Response) -> str | None:
    return ranges.named(response.metadata.meerkat_request) if response.metadata else None


def response_created(frame: frames.ResponseFrame) -> Events:
    """`response.created`."""
    response = frame.response
    return (
        ports.ResponseBegan(
            response_id=_response_id(response.id),
            ref=_ref(response),
            in_conversation=response.conversation_id is not None,
        ),
    )


def response_done(frame: frames.ResponseFrame) -> Events:
    """`response.done`: always sent, whatever became of the response."""
    response = frame.response
    response_id = _response_id(response.id)
    details = response.status_details or frames.StatusDetails()
    word = response.status or details.type or ResponseStatus.COMPLETED
    try:
        status, reason = ResponseStatus(word), details.reason
    except ValueError:  # it has ended, whatever else the word may mean
        status, reason = ResponseStatus.INCOMPLETE, details.reason or word
    output = response.output or ()
    fault = None if details.error is None else to_fault(details.error)
    if fault is None and status is ResponseStatus.FAILED:
        fault = ProviderFault(message="the response failed and the provider did not say why")
    # What a response that was cut off still calls may be half a call, and nobody waits for it.
    calls = output if status is ResponseStatus.COMPLETED else ()
    return (
        ports.ResponseEnded(
            response_id=response_id,
            status=status,
            ref=_ref(response),
            reason=reason,
            usage=_usage(response.usage),
            fault=fault,
            calls=tuple(
                call
                for item in calls
                if item.status not in _CUT and (call := _call(response_id, item)) is not None
            ),
            item_ids=tuple(filter(None, (ranges.named(item.id) for item in output))),
            in_conversation=response.conversation_id is not None,
        ),
    )


def _usage(usage: frames.UsageBody | None) -> Usage | None:
    if usage is None:
        return None
    taken = usage.input_token_details or frames.InputDetails()
    given = usage.output_token_details or frames.OutputDetails()
    cached = ranges.count(taken.cached_tokens)
    if cached is None and (kinds := taken.cached_tokens_details) is not None:
        cached = _total(kinds.text_tokens, kinds.audio_tokens, kinds.image_tokens)
    input_tokens = ranges.count(usage.input_tokens)
    if input_tokens is None:
        input_tokens = _total(taken.text_tokens, taken.audio_tokens, taken.image_tokens)
    output_tokens = ranges.count(usage.output_tokens)
    if output_tokens is None:
        output_tokens = _total(given.text_tokens, given.audio_tokens)
    return Usage(
        input_tokens=input_tokens or 0,
        output_tokens=output_tokens or 0,
        cache_read_tokens=cached,
    )


def _total(*counts: int | None) -> int | None:
    said = [count for each in counts if (count := ranges.count(each)) is not None]
    return sum(said) if said else None


def _call(response_id: str, item: frames.Item) -> ports.ToolCalled | None:
    call_id = ranges.named(item.call_id)
    if item.type != "function_call" or call_id is None:
        return None  # a call without an id cannot be answered
    return ports.ToolCalled(
        response_id=response_id,
        item_id=ranges.named(item.id),
        call_id=call_id,
        name=item.name or "",
        arguments=item.arguments or "",
    )


def output_item_added(frame: frames.OutputItemFrame) -> Events:
    """`response.output_item.added`."""
    item = frame.item
    began = ports.OutputItemBegan(
        response_id=_response_id(frame.response_id),
        item_id=ranges.named(item.id),
        kind=kind_of(item),
    )
    if item.type == "mcp_call" and item.id:
        return (began, _server_tool(item, "requested"))
    return (began,)


def output_item_done(frame: frames.OutputItemFrame) -> Events:
    """`response.output_item.done`, with the call that the item is, if that is whole."""
    item = frame.item
    response_id = _response_id(frame.response_id)
    ended = ports.OutputItemEnded(
        response_id=response_id,
        item_id=ranges.named(item.id),
        kind=kind_of(item),
        incomplete=item.status in _CUT,
    )
    if item.type == "mcp_approval_request" and item.id:
        return (ended, _server_tool(item, "approval_requested"))
    # Without a status only whole arguments say that the call is; if not, the response's end does.
    if item.status == "completed" or (item.status is None and _is_whole(item.arguments)):
        call = _call(response_id, item)
        if call is not None:
            return (ended, call)
    return (ended,)


def _server_tool(item: frames.Item, status: str) -> ports.ServerToolProgress:
    return ports.ServerToolProgress(
        item_id=item.id or "", status=status, name=item.name or "", arguments=item.arguments or ""
    )


def progress(frame: frames.ProgressFrame) -> Events:
    """Whatever says only that the response goes on."""
    return (ports.OutputProgress(response_id=_response_id(frame.response_id)),)


def _is_whole(arguments: str | None) -> bool:
    """A JSON object that was cut anywhere is none."""
    try:
        return isinstance(msgspec.json.decode(arguments or ""), dict)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return False


def arguments_done(frame: frames.ArgumentsFrame) -> Events:
    """The call, if it is surely whole.

    This event also comes when a response is cut, before the item's status says so: blank or broken
    arguments wait for `response.output_item.done` or for the response's end.
    """
    item = frames.Item(
        id=frame.item_id,
        type="function_call",
        call_id=frame.call_id,
        name=frame.name,
        arguments=frame.arguments,
    )
    response_id = _response_id(frame.response_id)
    call = _call(response_id, item)
    if call is None or not call.name or not _is_whole(frame.arguments):
        return (ports.OutputProgress(response_id=response_id),)
    return (call,)


def _part_done(frame: frames.PartDoneFrame) -> tuple[str, str, str, int]:
    response_id, item_id = _response_id(frame.response_id), ranges.known(frame.item_id, "item_id")
    index = ranges.index(frame.content_index)
    # An id of our own, where the frame has none: the same for the same part, unlike any delta's.
    event_id = ranges.named(frame.event_id) or f"done:{item_id}:{index}"
    return event_id, response_id, item_id, index


def text_done(frame: frames.PartDoneFrame) -> Events:
    """`response.output_text.done`."""
    event_id, response_id, item_id, index = _part_done(frame)
    return (
        ports.TextDone(
            event_id=event_id,
            response_id=response_id,
            item_id=item_id,
            text=frame.text or "",
            content_index=index,
        ),
    )


def transcript_done(frame: frames.PartDoneFrame) -> Events:
    """`response.output_audio_transcript.done`."""
    event_id, response_id, item_id, index = _part_done(frame)
    return (
        ports.TranscriptDone(
            event_id=event_id,
            response_id=response_id,
            item_id=item_id,
            text=frame.transcript or "",
            content_index=index,
        ),
    )


def audio_done(frame: frames.PartDoneFrame) -> Events:
    """`response.output_audio.done`, which carries no audio."""
    _, response_id, item_id, index = _part_done(frame)
    return (ports.AudioDone(response_id=response_id, item_id=item_id, content_index=index),)


# ---------------------------------------------------------------- tools at the provider


def mcp(status: str, name: str = "") -> Callable[[frames.ItemIdFrame], Events]:
    """A translation of one step of a tool, or of the list of tools, of a server."""

    def translate(frame: frames.ItemIdFrame) -> Events:
        item_id = ranges.known(frame.item_id, "item_id")
        return (ports.ServerToolProgress(item_id=item_id, status=status, name=name),)

    return translate


def mcp_arguments(frame: frames.ArgumentsFrame) -> Events:
    """`response.mcp_call_arguments.done`."""
    goes_on = ports.OutputProgress(response_id=_response_id(frame.response_id))
    if not (item_id := ranges.named(frame.item_id)):
        return (goes_on,)
    arguments = frame.arguments or ""
    requested = ports.ServerToolProgress(item_id=item_id, status="requested", arguments=arguments)
    return (goes_on, requested)
