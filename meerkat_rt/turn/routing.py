"""Who in the machine takes which event of the provider, and which deadline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import ports

if TYPE_CHECKING:
    from collections.abc import Callable

    from .machine import SessionMachine

HANDLERS: dict[type, Callable[[Any], Callable[[Any, float], None]]] = {
    ports.AudioDelta: lambda m: m._output.audio_delta,
    ports.TranscriptDelta: lambda m: m._output.transcript_delta,
    ports.TextDelta: lambda m: m._output.text_delta,
    ports.TranscriptDone: lambda m: m._output.transcript_done,
    ports.TextDone: lambda m: m._output.text_done,
    ports.AudioDone: lambda m: m._output.audio_done,
    ports.ResponseBegan: lambda m: m._output.began,
    ports.ResponseInterrupted: lambda m: m._input.response_interrupted,
    ports.OutputItemBegan: lambda m: m._output.item_began,
    ports.OutputItemEnded: lambda m: m._output.item_began,
    ports.OutputProgress: lambda m: m._output.progress,
    ports.ToolCalled: lambda m: m._output.tool_called,
    ports.ResponseEnded: lambda m: m._output.ended,
    ports.SpeechStarted: lambda m: m._input.speech_started,
    ports.SpeechStopped: lambda m: m._input.speech_stopped,
    ports.InputCommitted: lambda m: m._input.committed,
    ports.InputCleared: lambda m: m._input.cleared,
    ports.InputTranscriptDelta: lambda m: m._input.transcript_delta,
    ports.InputTranscriptDone: lambda m: m._input.transcript_done,
    ports.InputTranscriptFailed: lambda m: m._input.transcript_failed,
    ports.ItemAdded: lambda m: m._item_added,
    ports.ItemTruncated: lambda m: m._item_truncated,
    ports.ItemDeleted: lambda m: m._item_deleted,
    ports.ToolCallsRevoked: lambda m: m._calls_revoked,
    ports.ServerToolProgress: lambda m: m._server_tools.progress,
    ports.SessionUpdated: lambda m: m._session_updated,
    ports.ProviderError: lambda m: m._faults.provider_error,
    ports.CommandRefused: lambda m: m._faults.command_refused,
    ports.RateLimits: lambda m: m._rate_limits,
    ports.UsageReported: lambda m: m._usage_reported,
    ports.UnknownFrame: lambda m: m._unknown_frame,
    ports.ProtocolFault: lambda m: m._faults.protocol_fault,
    ports.GoingAway: lambda m: m._going_away,
    ports.ResumptionUpdated: lambda m: m._resumption_updated,
    # The handshake's:
    ports.SessionCreated: lambda m: m._ignore,
    ports.SeedAcknowledged: lambda m: m._ignore,
}


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


class Handlers(dict[type, "Callable[[Any, float], None]"]):
    """Who takes which event, bound when the first of its kind comes.

    An idle session, of which there may be thousands, does not hold three dozen bound methods.
    """

    def __init__(self, machine: SessionMachine) -> None:
        super().__init__()
        self._machine = machine

    def __missing__(self, kind: type) -> Callable[[Any, float], None]:
        handler = self[kind] = HANDLERS[kind](self._machine)
        return handler
