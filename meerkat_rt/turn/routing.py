"""Who in the machine takes which event of the provider, and which deadline."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

from . import ports
from .faults import Faults
from .input import InputSide
from .output import OutputSide
from .server_tools import ServerTools

if TYPE_CHECKING:
    from collections.abc import Callable

    from .machine import SessionMachine

_faults = attrgetter("_faults")
_input = attrgetter("_input")
_output = attrgetter("_output")
_server_tools = attrgetter("_server_tools")


def _itself(machine: SessionMachine) -> SessionMachine:
    return machine


# One table for all machines: an idle session, of which there may be thousands, does not hold three
# dozen bound methods, and those of a busy one are in the processor's cache.
HANDLERS: dict[type, tuple[Callable[[Any], Any], Callable[[Any, Any, float], None]]] = {
    ports.AudioDelta: (_output, OutputSide.audio_delta),
    ports.TranscriptDelta: (_output, OutputSide.transcript_delta),
    ports.TextDelta: (_output, OutputSide.text_delta),
    ports.TranscriptDone: (_output, OutputSide.transcript_done),
    ports.TextDone: (_output, OutputSide.text_done),
    ports.AudioDone: (_output, OutputSide.audio_done),
    ports.ResponseBegan: (_output, OutputSide.began),
    ports.ResponseInterrupted: (_input, InputSide.response_interrupted),
    ports.OutputItemBegan: (_output, OutputSide.item_began),
    ports.OutputItemEnded: (_output, OutputSide.item_began),
    ports.OutputProgress: (_output, OutputSide.progress),
    ports.ToolCalled: (_output, OutputSide.tool_called),
    ports.ResponseEnded: (_output, OutputSide.ended),
    ports.SpeechStarted: (_input, InputSide.speech_started),
    ports.SpeechStopped: (_input, InputSide.speech_stopped),
    ports.InputCommitted: (_input, InputSide.committed),
    ports.InputCleared: (_input, InputSide.cleared),
    ports.InputTranscriptDelta: (_input, InputSide.transcript_delta),
    ports.InputTranscriptDone: (_input, InputSide.transcript_done),
    ports.InputTranscriptFailed: (_input, InputSide.transcript_failed),
    ports.ItemAdded: (_itself, lambda m, event, now: m._item_added(event, now)),
    ports.ItemTruncated: (_itself, lambda m, event, now: m._item_truncated(event, now)),
    ports.ItemDeleted: (_itself, lambda m, event, now: m._item_deleted(event, now)),
    ports.ToolCallsRevoked: (_itself, lambda m, event, now: m._calls_revoked(event, now)),
    ports.ServerToolProgress: (_server_tools, ServerTools.progress),
    ports.SessionUpdated: (_itself, lambda m, event, now: m._session_updated(event, now)),
    ports.ProviderError: (_faults, Faults.provider_error),
    ports.CommandRefused: (_faults, Faults.command_refused),
    ports.RateLimits: (_itself, lambda m, event, now: m._rate_limits(event, now)),
    ports.UsageReported: (_itself, lambda m, event, now: m._usage_reported(event, now)),
    ports.UnknownFrame: (_itself, lambda m, event, now: m._unknown_frame(event, now)),
    ports.ProtocolFault: (_faults, Faults.protocol_fault),
    ports.GoingAway: (_itself, lambda m, event, now: m._going_away(event, now)),
    ports.ResumptionUpdated: (_itself, lambda m, event, now: m._resumption_updated(event, now)),
    # The handshake's:
    ports.SessionCreated: (_itself, lambda m, event, now: m._ignore(event, now)),
    ports.SeedAcknowledged: (_itself, lambda m, event, now: m._ignore(event, now)),
}
"""By the event's type: which part of a machine takes it, and the method of that part."""


EXPIRED: dict[str, Callable[[SessionMachine], Callable[[str, float], None]]] = {
    "nudge": lambda m: m._slot.on_nudge,
    "request": lambda m: m._slot.on_request_deadline,
    "retry": lambda m: m._on_retry,
    "listening": lambda m: m._on_retry,
    "unwanted": lambda m: m._on_unwanted,
    "cancel": lambda m: m._output.on_cancel_deadline,
    "heard": lambda m: m._hearing.on_heard,
    "tool": lambda m: m._tools.on_deadline,
    "command": lambda m: m._on_command_deadline,
    "transcription": lambda m: m._on_transcription_deadline,
}
