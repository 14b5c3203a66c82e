"""Wire events of the session, of the user's input and of items, as neutral ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...model.events import ProviderFault, RateLimit
from ...turn import ports
from ...turn.context import SEED_PREFIX
from ...turn.ports import ItemKind
from . import frames, ranges
from .faults import classify, to_fault
from .frames import Malformed

if TYPE_CHECKING:
    from typing import TypeAlias

    from ...turn.ports import ProviderEvent

    Events: TypeAlias = tuple[ProviderEvent, ...]

# ---------------------------------------------------------------- session


def error(frame: frames.ErrorFrame) -> Events:
    """`error`."""
    return (classify(frame.error),)


def session_created(frame: frames.SessionFrame) -> Events:
    """`session.created`."""
    session = frame.session or frames.SessionBody()
    expires = ranges.seconds(session.expires_at)
    return (ports.SessionCreated(session_id=ranges.named(session.id), expires_at=expires),)


def session_updated(frame: frames.SessionFrame) -> Events:
    """`session.updated`, whatever shape the configuration in it has by now."""
    session = frame.session or frames.SessionBody()
    return (ports.SessionUpdated(session_id=ranges.named(session.id)),)


def rate_limits(frame: frames.RateLimitsFrame) -> Events:
    """`rate_limits.updated`."""
    limits = tuple(
        RateLimit(
            name=limit.name,
            limit=ranges.count(limit.limit),
            remaining=ranges.count(limit.remaining),
            reset_seconds=ranges.seconds(limit.reset_seconds),
        )
        for limit in frame.rate_limits or ()
    )
    return (ports.RateLimits(limits),)


# ---------------------------------------------------------------- input


def speech_started(frame: frames.SpeechStartedFrame) -> Events:
    """`input_audio_buffer.speech_started`: a barge-in, maybe, so an odd offset is let pass."""
    at = ranges.count(frame.audio_start_ms) or 0
    return (ports.SpeechStarted(item_id=ranges.named(frame.item_id), audio_start_ms=at),)


def speech_stopped(frame: frames.SpeechStoppedFrame) -> Events:
    """`input_audio_buffer.speech_stopped`."""
    at = ranges.count(frame.audio_end_ms) or 0
    return (ports.SpeechStopped(item_id=ranges.named(frame.item_id), audio_end_ms=at),)


def committed(frame: frames.CommittedFrame) -> Events:
    """`input_audio_buffer.committed`."""
    previous = _live(frame.previous_item_id)
    return (ports.InputCommitted(item_id=ranges.named(frame.item_id), previous_item_id=previous),)


def cleared(_frame: frames.BareFrame) -> Events:
    """`input_audio_buffer.cleared`."""
    return (ports.InputCleared(),)


def input_delta(frame: frames.InputDeltaFrame) -> Events:
    """`conversation.item.input_audio_transcription.delta`; without a delta it says nothing."""
    if not frame.delta:
        return ()
    return (
        ports.InputTranscriptDelta(
            item_id=ranges.known(frame.item_id, "item_id"),
            content_index=ranges.index(frame.content_index),
            delta=frame.delta,
        ),
    )


def input_done(frame: frames.InputDoneFrame) -> Events:
    """`conversation.item.input_audio_transcription.completed`."""
    return (
        ports.InputTranscriptDone(
            item_id=ranges.known(frame.item_id, "item_id"),
            content_index=ranges.index(frame.content_index),
            text=frame.transcript or "",
        ),
    )


def input_failed(frame: frames.InputFailedFrame) -> Events:
    """`conversation.item.input_audio_transcription.failed`; the item stays."""
    return (
        ports.InputTranscriptFailed(
            item_id=ranges.known(frame.item_id, "item_id"),
            content_index=ranges.index(frame.content_index),
            fault=ProviderFault() if frame.error is None else to_fault(frame.error),
        ),
    )


# ---------------------------------------------------------------- items

_ROLES = {"user": ItemKind.USER, "assistant": ItemKind.ASSISTANT, "system": ItemKind.SYSTEM}
_KINDS = {"function_call": ItemKind.TOOL_CALL, "function_call_output": ItemKind.TOOL_OUTPUT}


def kind_of(item: frames.Item) -> ItemKind:
    """What an item is."""
    if item.type == "message":
        return _ROLES.get(item.role or "", ItemKind.OTHER)
    return _KINDS.get(item.type or "", ItemKind.OTHER)


def _live(item_id: str | None) -> str | None:
    """A predecessor as the live conversation knows it: what was seeded stands before all of it."""
    item_id = ranges.named(item_id)
    return None if item_id is None or item_id.startswith(SEED_PREFIX) else item_id


def _item(frame: frames.ItemFrame, *, final: bool) -> Events:
    item_id = ranges.named(frame.item.id)
    if item_id is not None and item_id.startswith(SEED_PREFIX):
        return (ports.SeedAcknowledged(item_id),)
    return (
        ports.ItemAdded(
            item_id=item_id,
            previous_item_id=_live(frame.previous_item_id),
            kind=kind_of(frame.item),
            final=final,
        ),
    )


def item_added(frame: frames.ItemFrame) -> Events:
    """`conversation.item.added`, and `.created` of older servers."""
    return _item(frame, final=False)


def item_done(frame: frames.ItemFrame) -> Events:
    """`conversation.item.done`."""
    return _item(frame, final=True)


def item_truncated(frame: frames.TruncatedFrame) -> Events:
    """`conversation.item.truncated`."""
    end = ranges.count(frame.audio_end_ms)
    if end is None:
        raise Malformed("audio_end_ms: out of range")
    return (
        ports.ItemTruncated(
            item_id=ranges.known(frame.item_id, "item_id"),
            content_index=ranges.index(frame.content_index),
            audio_end_ms=end,
        ),
    )


def item_deleted(frame: frames.ItemIdFrame) -> Events:
    """`conversation.item.deleted`."""
    return (ports.ItemDeleted(ranges.known(frame.item_id, "item_id")),)
