"""What the machine asks of the tasks around it, and the outcomes of what the application asked."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import TypeAlias

import attrs

from ..model.conversation import JSON, StopReason
from ..model.events import CloseReason, ProviderFault
from ..model.media import RealtimeAudioFormat, RealtimeCapabilities, ResponseModality
from ..model.media import RealtimeTurningMode as TurningMode
from .ports import ProviderCommand

# ================================================================ effects


@attrs.frozen
class Send:
    """Give `command` to the sender; the runtime knows the lane of each command."""

    command: ProviderCommand


@attrs.frozen(kw_only=True)
class StartTool:
    """Run the handler of `name`."""

    call_id: str
    name: str
    arguments: JSON


@attrs.frozen(kw_only=True)
class CancelTool:
    """Cancel the running handler of a call that has its outcome.  `reason` is for people."""

    call_id: str
    reason: str


@attrs.frozen
class FlushOutput:
    """Drop what waits for the application of this response's media."""

    response_id: str


@attrs.frozen
class FlushInput:
    """Drop the input audio that waits to be sent."""


@attrs.frozen
class SettleRequest:
    """A response request reached its one outcome."""

    request_id: str
    outcome: RequestOutcome


@attrs.frozen(kw_only=True)
class SettleCommand:
    """A command that somebody awaits was acknowledged (`fault` None), refused, or timed out."""

    ref: str
    fault: ProviderFault | None = None
    timed_out: bool = False


@attrs.frozen
class EndSession:
    """The provider said that the session is over."""

    reason: CloseReason
    fault: ProviderFault | None = None


@attrs.frozen
class LinkEnding:
    """The provider will end the connection in `time_left` seconds (None: it did not say)."""

    time_left: float | None = None


@attrs.frozen(kw_only=True)
class ResumptionPoint:
    """The provider's session can be resumed as it is now, from `handle` (None: not from now).

    `last_consumed`: index of the last message of ours that this state includes.  `items`: how many
    items of the conversation there have been, all of which it includes.
    """

    handle: str | None = attrs.field(default=None, repr=False)  # whoever has it has the session
    last_consumed: int | None = None
    items: int = 0


@attrs.frozen(kw_only=True)
class Recollect:
    """A call has its outcome; the next session has to be told of both.

    `pending`: so many messages were said before the call and are not history yet.
    """

    call_id: str
    name: str
    arguments: JSON
    output: str
    is_error: bool = False
    pending: int = 0


Effect: TypeAlias = (
    Send
    | StartTool
    | CancelTool
    | FlushOutput
    | FlushInput
    | SettleRequest
    | SettleCommand
    | EndSession
    | LinkEnding
    | ResumptionPoint
    | Recollect
)

# ================================================================ outcomes of a response request


@attrs.frozen(kw_only=True)
class Answered:
    """A response was made for the request; `stop_reason` is CANCELLED if it was interrupted."""

    response_id: str
    stop_reason: StopReason


@attrs.frozen(kw_only=True)
class Superseded:
    """Something newer (an interruption, a new turn) made the request moot before its answer."""

    by: str


@attrs.frozen(kw_only=True)
class Refused:
    """The provider would not, or the response failed."""

    fault: ProviderFault


@attrs.frozen(kw_only=True)
class Lost:
    """No answer came: the model stayed silent, the deadline passed, or the session ended."""

    reason: str


RequestOutcome: TypeAlias = Answered | Superseded | Refused | Lost


# ================================================================ settings


class InterruptPolicy(StrEnum):
    """What an interruption does to a running tool call.

    `CANCEL`: the call is cancelled.  `FINISH_SILENTLY`: it runs on, its output is sent, the model
    is not asked to speak.  `FINISH_AND_RESPOND`: it runs on, and the model is asked to speak about
    it.
    """

    CANCEL = "cancel"
    FINISH_SILENTLY = "finish_silently"
    FINISH_AND_RESPOND = "finish_and_respond"


TOOL_DEADLINE = 30.0  # seconds; neighbours: 15 and 30 in the systems we follow, none elsewhere


@attrs.frozen(kw_only=True)
class ToolSpec:
    """What the machine knows of one advertised tool.

    `handled`: a handler runs it (else the application answers).  `deadline`: seconds.  `validate`
    returns what is wrong with parsed arguments, or None; it is pure.
    """

    name: str
    handled: bool = False
    deadline: float = TOOL_DEADLINE
    on_interrupt: InterruptPolicy = InterruptPolicy.CANCEL
    validate: Callable[[JSON], str | None] | None = None


@attrs.frozen(kw_only=True)
class MachineSettings:
    """How a session is to behave.  All durations in seconds.

    `provider_responds`: the provider answers a committed audio turn by itself.
    `provider_interrupts`: it cancels its response by itself when the user speaks.  `echoes_refs`:
    `ResponseBegan.ref` can be trusted to name the request.  `provider_continues`: it speaks by
    itself once a response's calls are answered.  `cancel_on_barge_in`: where the provider does not
    interrupt by itself, we do. `transcribes_input`: the provider will say what the user said; where
    it does not within `transcription_deadline`, a placeholder takes the item's place in history.
    `seed` makes ids reproducible.
    """

    turning_mode: TurningMode
    capabilities: RealtimeCapabilities
    modality: ResponseModality = ResponseModality.AUDIO
    output_format: RealtimeAudioFormat
    provider_responds: bool = True
    provider_interrupts: bool = True
    provider_continues: bool = False
    cancel_on_barge_in: bool = True
    transcribes_input: bool = True
    echoes_refs: bool = False
    tools: tuple[ToolSpec, ...] = ()
    nudge_timeout: float = 0.75
    nudge_max_attempts: int = 3
    cancel_deadline: float = 5.0
    truncation_deadline: float = 5.0
    update_deadline: float = 10.0
    request_deadline: float = 30.0
    transcription_deadline: float = 30.0
    max_request_retries: int = 3
    seed: int = 0
