"""What becomes of what the machine asks for: commands to be sent, calls, settled requests.

Each is part of a synchronous step of the session's core, see there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from ..model.events import ClosedBy, CloseReason, OutputAudioChunk
from ..turn.effects import (
    CancelTool,
    EndSession,
    FlushInput,
    FlushOutput,
    LinkEnding,
    Recollect,
    ResumptionPoint,
    Send,
    SettleCommand,
    SettleRequest,
    StartTool,
)
from .errors import TransportStalled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..model.events import RealtimeSessionEvent
    from ..turn.effects import Effect
    from .core import SessionCore


def _send(core: SessionCore, effect: Send) -> None:
    core.lanes.put(effect.command, trio.current_time())
    if core.lanes.overflowing:
        text = f"more than {core.limits.control_overflow} commands wait to be written"
        core.request_close(
            CloseReason(by=ClosedBy.NETWORK, text=text, clean=False), TransportStalled(text)
        )


def _start_tool(core: SessionCore, effect: StartTool) -> None:
    core.tools.start(effect.call_id, effect.name, effect.arguments)


def _cancel_tool(core: SessionCore, effect: CancelTool) -> None:
    core.tools.cancel(effect.call_id, effect.reason)


def _flush_output(core: SessionCore, effect: FlushOutput) -> None:
    core.events.flush(effect.response_id)


def without_flushed(
    events: list[RealtimeSessionEvent], effects: Iterable[Effect]
) -> list[RealtimeSessionEvent]:
    """The events of a step without the audio that the step itself has made dead.

    It came in the same read as what cut its response off, and is not in the lane yet.
    """
    flushed = {effect.response_id for effect in effects if isinstance(effect, FlushOutput)}
    if not flushed:
        return events
    return [
        event
        for event in events
        if not (isinstance(event, OutputAudioChunk) and event.response_id in flushed)
    ]


def _flush_input(core: SessionCore, _effect: FlushInput) -> None:
    core.lanes.flush_audio()


def _settle_request(core: SessionCore, effect: SettleRequest) -> None:
    request = core.requests.pop(effect.request_id, None)
    if request is not None:
        request._settle(effect.outcome)


def _settle_command(core: SessionCore, effect: SettleCommand) -> None:
    applied = core.when_acknowledged.pop(effect.ref, None)
    if applied is not None and effect.fault is None and not effect.timed_out:
        applied()
    wait = core.acknowledgements.get(effect.ref)
    if wait is not None:
        wait.result = effect
        wait.arrived.set()


def _end_session(core: SessionCore, effect: EndSession) -> None:
    error = None if effect.fault is None else core.dialect.fault_error(effect.fault)
    if error is not None and core.continuity is not None and core.continuity.may_recover(error):
        core.continuity.ending(effect.reason, error)  # in the middle of a step no link is lost
    else:
        core.request_close(effect.reason, error)


def _link_ending(core: SessionCore, effect: LinkEnding) -> None:
    if core.continuity is not None:
        core.continuity.link_ending(effect)


def _resumption_point(core: SessionCore, effect: ResumptionPoint) -> None:
    if core.continuity is not None:
        core.continuity.resumption_point(effect)


def _recollect(core: SessionCore, effect: Recollect) -> None:
    if core.continuity is not None:
        core.continuity.recollect(effect)


EFFECTS: dict[type, Callable[[SessionCore, Any], None]] = {
    Send: _send,
    StartTool: _start_tool,
    CancelTool: _cancel_tool,
    FlushOutput: _flush_output,
    FlushInput: _flush_input,
    SettleRequest: _settle_request,
    SettleCommand: _settle_command,
    EndSession: _end_session,
    LinkEnding: _link_ending,
    ResumptionPoint: _resumption_point,
    Recollect: _recollect,
}
"""Who carries out which effect."""
