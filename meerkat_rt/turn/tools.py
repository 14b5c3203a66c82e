"""The tool ledger: one outcome per call, one continuation per response."""

from __future__ import annotations

import json
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

import attrs

from ..model.conversation import JSON, SystemNoticeMessage
from ..model.errors import InvalidRequest, ToolCallSettled
from ..model.events import ToolCallFinished, ToolCallRequested, ToolOutcome
from .context import CommandName
from .effects import CancelTool, InterruptPolicy, Recollect, StartTool, ToolSpec
from .ports import CreateItem, SendToolOutput

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from ..model.conversation import ToolResult
    from .context import Context
    from .ports import ToolCalled
    from .records import Response


OUTCOMES = 32  # of the newest calls; what a connection took with it is newer than that


class CallState(Enum):
    """Where a call is."""

    OPEN = auto()  # running, or owed by the application
    DETACHED = auto()  # its response was interrupted; it runs on
    SETTLED = auto()


class CallTrigger(Enum):
    """What moves a call."""

    DETACH = auto()
    SETTLE = auto()


CALL_TABLE: dict[CallState, dict[CallTrigger, CallState]] = {
    CallState.OPEN: {
        CallTrigger.DETACH: CallState.DETACHED,
        CallTrigger.SETTLE: CallState.SETTLED,
    },
    CallState.DETACHED: {CallTrigger.SETTLE: CallState.SETTLED},
    CallState.SETTLED: {},
}


@attrs.define(eq=False)
class Call:
    """One open call."""

    call_id: str
    spec: ToolSpec
    response_id: str
    requested_at: float
    running: bool = False  # a handler runs it
    state: CallState = CallState.OPEN
    arguments: JSON = None
    foreign: bool = False  # the provider's present session has no such call

    def fire(self, trigger: CallTrigger) -> bool:
        """Take the transition if there is one; whether there was."""
        state = CALL_TABLE[self.state].get(trigger)
        if state is None:
            return False
        self.state = state
        return True


@attrs.define(eq=False)
class Round:
    """The calls of one response."""

    response_id: str
    in_conversation: bool
    open: dict[str, Call] = attrs.field(factory=dict)
    ended: bool = False  # the response's terminal was seen
    interrupted: bool = False
    respond: bool = False  # a call that outlived the interruption wants to be spoken about
    answered: bool = False  # some output was given that the model has not spoken about
    told: bool = False  # some output was given as words, about which nobody speaks unasked


@attrs.frozen(kw_only=True)
class OpenCall:
    """A call without an outcome, as the next session has to be told of it."""

    call_id: str
    name: str
    arguments: JSON


@attrs.define(eq=False)
class Outcome:
    """What a call came to, as long as another connection may have to be told."""

    call: Call
    output: str
    is_error: bool
    wants_response: bool
    delivered: bool  # to the provider, on some connection


class ToolLedger:
    """Every call of the session, until it has its outcome.

    `on_round_over(response_id, continue_)` is called when the last call of an ended response is
    settled; its last argument: some output was told in words.  `pending()` counts the messages that
    history does not have yet.  Grows by one id a settled call.
    """

    def __init__(
        self,
        ctx: Context,
        on_round_over: Callable[[str, bool, float, bool], None],
        pending: Callable[[], int],
    ) -> None:
        self._ctx = ctx
        self._pending = pending
        self._outcomes: dict[str, Outcome] = {}  # the newest, see OUTCOMES
        self._on_round_over = on_round_over
        self._specs = {spec.name: spec for spec in ctx.settings.tools}
        self._calls: dict[str, Call] = {}
        self._rounds: dict[str, Round] = {}
        # By call id the response that it was of; None if that was on an earlier connection.
        self._settled: dict[str, str | None] = {}
        self.late = 0  # outcomes that came after the call had one

    def sizes(self) -> dict[str, int]:
        """How much is remembered about calls that are open."""
        return {"calls": len(self._calls), "tool_rounds": len(self._rounds)}

    def advertise(self, specs: Iterable[ToolSpec]) -> None:
        """The provider knows these tools from now on."""
        self._specs = {spec.name: spec for spec in specs}

    def has_open(self, response_id: str) -> bool:
        """The response has calls without an outcome, or its continuation is still to be decided."""
        return response_id in self._rounds

    def interruptible(self, response_id: str) -> bool:
        """An interruption of the response would change something for its calls."""
        found = self._rounds.get(response_id)
        return found is not None and not found.interrupted

    # ---------------------------------------------------------------- the model calls

    def called(self, event: ToolCalled, response: Response, now: float) -> None:
        """The model called a tool: once per call id, however often that is reported.

        Some servers give the id of a settled call to one of a later response.
        """
        if event.call_id in self._calls:
            return
        if self._settled.get(event.call_id, "") in (None, response.id):
            return
        self._settled.pop(event.call_id, None)
        arguments, problem = _parse(event.arguments)
        spec = self._specs.get(event.name)
        if spec is None:
            known = ", ".join(sorted(self._specs)) or "none"
            problem = f"there is no tool named {event.name!r}; there is: {known}"
        elif problem is None and spec.validate is not None:
            problem = spec.validate(arguments)
        self._ctx.events.append(ToolCallRequested(event.call_id, event.name, arguments))
        response.called = True
        call = Call(
            call_id=event.call_id,
            spec=spec or ToolSpec(name=event.name),
            response_id=response.id,
            requested_at=now,
            arguments=arguments,
        )
        owner = self._rounds.setdefault(response.id, Round(response.id, response.in_conversation))
        owner.open[call.call_id] = call
        self._calls[call.call_id] = call
        if problem is not None:
            self._settle(call, ToolOutcome.ERROR, error_text(problem), now, is_error=True)
        elif call.spec.handled:
            call.running = True
            self._ctx.effects.append(
                StartTool(call_id=call.call_id, name=call.spec.name, arguments=arguments)
            )
            self._ctx.deadlines.set(("tool", call.call_id), now + call.spec.deadline)
        elif response.in_conversation:
            self._ctx.deadlines.set(("tool", call.call_id), now + call.spec.deadline)
        else:
            # The application asked for these arguments and nobody waits for an answer.
            self._settle(call, ToolOutcome.RESULT, None, now)

    def knows(self, call_id: str) -> bool:
        """Whether there has been such a call."""
        return call_id in self._calls or call_id in self._settled

    def ended(self, response_id: str, now: float) -> None:
        """The response's terminal was seen: from here its calls can be continued."""
        owner = self._rounds.get(response_id)
        if owner is not None:
            owner.ended = True
            self._close_if_over(owner, now)

    # ---------------------------------------------------------------- outcomes

    def submit(self, call_id: str, text: str, now: float, *, outcome: ToolOutcome) -> None:
        """The application answers a call.

        Raises:
            ToolCallSettled: the call has its outcome.
            InvalidRequest: no such call was made.
        """
        call = self._calls.get(call_id)
        if call is None:
            if call_id in self._settled:
                raise ToolCallSettled(f"tool call {call_id!r} already has its outcome")
            raise InvalidRequest(f"the model made no tool call {call_id!r}")
        if call.running:
            self._cancel_handler(call, "the application answered the call")
        self._settle(call, outcome, text, now, is_error=outcome is not ToolOutcome.RESULT)

    def finished(self, call_id: str, text: str, now: float, *, outcome: ToolOutcome) -> None:
        """A handler ended.  Too late is not an error: the call may have been settled without it."""
        call = self._calls.get(call_id)
        if call is None or not call.running:  # or another call has the id by now
            self.late += 1
        else:
            call.running = False
            self._settle(call, outcome, text, now, is_error=outcome is not ToolOutcome.RESULT)

    def on_deadline(self, call_id: str, now: float) -> None:
        """A call took too long."""
        call = self._calls.get(call_id)
        if call is not None:
            seconds = f"{call.spec.deadline:g} s"
            if call.running:
                self._cancel_handler(call, f"no result within {seconds}")
            text = error_text(f"the tool gave no result within {seconds}")
            self._settle(call, ToolOutcome.TIMEOUT, text, now, is_error=True)

    def interrupt(self, response_id: str, now: float) -> list[str]:
        """The response was interrupted: apply each tool's policy; the handlers to wait for."""
        owner = self._rounds.get(response_id)
        if owner is None or owner.interrupted:
            return []
        owner.interrupted = True
        cancelled = []
        for call in list(owner.open.values()):
            if call.spec.on_interrupt is InterruptPolicy.CANCEL:
                if call.running:
                    cancelled.append(call.call_id)
                    self._cancel_handler(call, "the response was interrupted")
                text = error_text("the call was cancelled: the user interrupted")
                self._settle(call, ToolOutcome.CANCELLED, text, now, is_error=True)
            else:
                call.fire(CallTrigger.DETACH)
        return cancelled

    def revoke(self, call_ids: Iterable[str], now: float) -> None:
        """The provider wants no answer to these calls."""
        for call_id in call_ids:
            call = self._calls.get(call_id)
            if call is not None:
                if call.running:
                    self._cancel_handler(call, "the provider revoked the call")
                self._settle(call, ToolOutcome.CANCELLED, None, now)

    def cancel_all(self, reason: str, now: float) -> None:
        """The session ends: every call is cancelled and nothing more is sent."""
        for owner in self._rounds.values():
            owner.interrupted = True
        for call in list(self._calls.values()):
            if call.running:
                self._cancel_handler(call, reason)
            self._settle(call, ToolOutcome.CANCELLED, None, now)

    def _cancel_handler(self, call: Call, reason: str) -> None:
        call.running = False
        self._ctx.effects.append(CancelTool(call_id=call.call_id, reason=reason))

    def _settle(
        self,
        call: Call,
        outcome: ToolOutcome,
        output: str | None,
        now: float,
        *,
        is_error: bool = False,
    ) -> None:
        detached = call.state is CallState.DETACHED
        if not call.fire(CallTrigger.SETTLE):
            return
        owner = self._rounds[call.response_id]
        del self._calls[call.call_id]
        del owner.open[call.call_id]
        self._settled[call.call_id] = call.response_id
        self._ctx.deadlines.cancel(("tool", call.call_id))
        speak = not owner.interrupted
        if detached and call.spec.on_interrupt is InterruptPolicy.FINISH_AND_RESPOND:
            owner.respond = speak = True
        if output is not None and owner.in_conversation and (self._ctx.linked or self._ctx.away):
            owner.answered = True
            owner.told = owner.told or call.foreign
            self._answer(Outcome(call, output, is_error, speak, self._ctx.linked), now)
        else:
            output = None
        self._ctx.events.append(
            ToolCallFinished(
                call_id=call.call_id,
                tool_name=call.spec.name,
                outcome=outcome,
                output=output,
                elapsed_ms=round((now - call.requested_at) * 1000),
            )
        )
        self._close_if_over(owner, now)

    def _answer(self, outcome: Outcome, now: float) -> None:
        call = outcome.call
        self._outcomes[call.call_id] = outcome
        if len(self._outcomes) > OUTCOMES:
            del self._outcomes[next(iter(self._outcomes))]
        if outcome.delivered:
            self._give(outcome, now)
        self._ctx.effects.append(
            Recollect(
                call_id=call.call_id,
                name=call.spec.name,
                arguments=call.arguments,
                output=outcome.output,
                is_error=outcome.is_error,
                pending=self._pending(),
            )
        )

    def _give(self, outcome: Outcome, now: float) -> None:
        """Give the model an output: as the answer to its call, or in words."""
        call = outcome.call
        outcome.delivered = True
        ref = self._ctx.mint("tool")
        if call.foreign:
            self._ctx.send(
                CreateItem(ref=ref, item_id=self._ctx.mint("seed"), message=told(outcome))
            )
            return
        self._ctx.remember(
            ref, CommandName.CREATE_ITEM, now + self._ctx.settings.update_deadline, call.call_id
        )
        self._ctx.send(
            SendToolOutput(
                ref=ref,
                call_id=call.call_id,
                name=call.spec.name,
                output=outcome.output,
                is_error=outcome.is_error,
                wants_response=outcome.wants_response,
            )
        )

    # ---------------------------------------------------------------- between two connections

    def open_calls(self) -> tuple[OpenCall, ...]:
        """The calls of the conversation without an outcome."""
        return tuple(
            OpenCall(call_id=call.call_id, name=call.spec.name, arguments=call.arguments)
            for call in self._calls.values()
            if self._rounds[call.response_id].in_conversation
        )

    def replayed(self, unsent: Collection[str]) -> None:
        """What was written on the connection before has been written again; `unsent` never was."""
        for call_id, outcome in self._outcomes.items():
            if call_id in unsent:
                outcome.delivered = False

    def restored(self, answerable: Collection[str], known: Collection[str], now: float) -> bool:
        """There is another connection, whose session waits for the outcomes of `answerable`.

        It knows the outcomes of `known`.  Of every other open call it knows nothing: those outcomes
        are told in words.  Whether an answer was given that the provider goes on about by itself.
        """
        # A session that goes on there may report once more what it had reported here.
        self._settled = dict.fromkeys(self._settled)
        for call in self._calls.values():
            call.foreign = call.call_id not in answerable
        continued = False
        for call_id, outcome in list(self._outcomes.items()):
            if call_id in answerable:
                outcome.call.foreign = False
            elif outcome.delivered or call_id in known:
                outcome.delivered = True
                continue
            else:
                outcome.call.foreign = True
            self._give(outcome, now)
            continued = continued or (outcome.wants_response and not outcome.call.foreign)
        return continued

    def _close_if_over(self, owner: Round, now: float) -> None:
        if owner.open or not owner.ended or owner.response_id not in self._rounds:
            return
        del self._rounds[owner.response_id]
        speak = owner.answered and (owner.respond or not owner.interrupted)
        self._on_round_over(owner.response_id, speak, now, owner.told)


def told(outcome: Outcome) -> SystemNoticeMessage:
    """An outcome in words, for a model that does not know the call."""
    return SystemNoticeMessage(
        kind="tool result", body=f"{outcome.call.spec.name} gave: {outcome.output}"
    )


def error_text(message: str) -> str:
    """An error as the model is told about it."""
    return json.dumps({"error": message}, ensure_ascii=False)


def result_text(result: ToolResult) -> str:
    """A result as the model is told about it: its meaning, without our wrapper."""
    return result.text_content()


def _parse(text: str) -> tuple[JSON, str | None]:
    """The arguments, and what is wrong with them.  Unparseable text stays as it is."""
    if not text.strip():
        return {}, None
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        return text, f"the arguments are not JSON: {error}"
    if not isinstance(value, dict):
        return value, "the arguments must be a JSON object"
    return value, None
