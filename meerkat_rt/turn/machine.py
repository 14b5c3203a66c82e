"""The machine of one live session: provider events, commands, time and outcomes in; facts out.

Pure and synchronous.  Every method takes `now` (seconds of any monotonic clock) and appends to
three output lists, which the driver takes with `drain()` after each batch:

* `events`: what the application is told, in order;
* `transcript`: what the transcript authority is told, in order;
* `effects`: what the tasks around the machine must do.

Same inputs, same outputs, bit for bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..model.conversation import StopReason, Usage
from ..model.delta_run import DeltaRun
from ..model.errors import ConnectionReset, InvalidRequest
from ..model.events import (
    ProviderFault,
    RateLimitsUpdated,
    ToolOutcome,
    UnknownProviderEvent,
)
from ..model.transcript import (
    AssistantTextDelta,
    AssistantTranscriptDelta,
    RealtimeTranscriptRole,
)
from . import ports
from .context import CommandName, Context
from .crossing import Crossing
from .effects import LinkEnding, ResumptionPoint
from .faults import Faults
from .hearing import Hearing
from .input import InputSide
from .items import ItemMemory
from .output import OutputSide
from .ports import ItemKind, ResponseOptions
from .records import ResponsePhase, Why
from .responses import ResponseSlot
from .routing import EXPIRED, HANDLERS
from .server_tools import ServerTools
from .tools import ToolLedger, error_text, result_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from ..model.conversation import ToolResult
    from ..model.delta_run import TranscriptEntry
    from ..model.events import RealtimeSessionEvent
    from .crossing import Terms
    from .effects import Effect, MachineSettings, ToolSpec
    from .ports import ProviderEvent
    from .records import Response
    from .tools import OpenCall


_DELTAS = frozenset({AssistantTextDelta, AssistantTranscriptDelta, DeltaRun})


class SessionMachine:
    """See the module."""

    def __init__(self, settings: MachineSettings) -> None:
        self._ctx = Context(settings)
        self._items = ItemMemory(self._ctx)
        self._slot: ResponseSlot = ResponseSlot(self._ctx)
        self._tools: ToolLedger = ToolLedger(self._ctx, self._round_over, self._pending)
        self._hearing: Hearing = Hearing(self._ctx, self._items, self._slot, self._tools)
        self._input = InputSide(self._ctx, self._items, self._slot, self._hearing)
        self._output: OutputSide = OutputSide(
            self._ctx, self._items, self._slot, self._tools, self._hearing
        )
        self._closed = False
        self._server_tools = ServerTools(self._ctx)
        self._faults = Faults(self._ctx, self._slot, self._hearing)
        self._crossing = Crossing(
            self._ctx,
            items=self._items,
            slot=self._slot,
            tools=self._tools,
            hearing=self._hearing,
            inputs=self._input,
            output=self._output,
        )
        # Whether `next_deadline` may say something else than at the last look: its `changed`.
        self.deadlines = self._ctx.deadlines

    # ---------------------------------------------------------------- outputs

    def drain(
        self, *, keep_run: bool = False
    ) -> tuple[list[RealtimeSessionEvent], Sequence[TranscriptEntry], Sequence[Effect]]:
        """Everything said since the last time.  The sequences are the caller's.

        `keep_run`: deltas of one text stay here as long as nothing else is said of the transcript,
        for those that follow to join them.
        """
        ctx = self._ctx
        events, transcript, effects = ctx.events, ctx.transcript, ctx.effects
        ctx.events = []
        if effects:  # which few events have
            ctx.effects = []
        if keep_run and len(transcript) == 1 and transcript[0].__class__ in _DELTAS:
            return events, (), effects or ()
        ctx.transcript = []
        return events, transcript, effects or ()

    def keeps_run(self) -> bool:
        """Deltas were kept by `drain(keep_run=True)`, or something was said since."""
        return bool(self._ctx.transcript)

    @property
    def next_deadline(self) -> float | None:
        """When `timer` must be called, at the latest; None: not until something happens."""
        return self._ctx.deadlines.next

    @property
    def usage(self) -> Usage:
        """Tokens of all responses that have ended."""
        return self._output.usage

    def at_boundary(self, but_for: Collection[str] = ()) -> bool:
        """Between two turns: nobody speaks, nothing is to be answered, heard, or acknowledged.

        `but_for`: calls that wait for the boundary themselves.
        """
        return self._hearing.quiet and self.turn_over(but_for)

    def turn_over(self, but_for: Collection[str] = ()) -> bool:
        """As `at_boundary`, but what the model has said may still be to be heard."""
        return (
            all(call.call_id in but_for for call in self._tools.open_calls())
            and not self._input.speaking
            and not self._input.pending
            and not self._slot.waiting
            and not self._hearing.generating
            and not self._ctx.sent
        )

    @property
    def unanswered(self) -> bool:
        """Something is due: input since the last response ended, a request, an answer, a call."""
        return self._ctx.given != self._ctx.answered or self.due

    @property
    def due(self) -> bool:
        """The model has something to say, or says it, or a call is open that it waits for."""
        return self._slot.waiting or self._hearing.generating or bool(self._tools.open_calls())

    @property
    def user_turn(self) -> bool:
        """The user says something that the model has not begun to answer."""
        return self._input.in_turn

    @property
    def responses(self) -> frozenset[str]:
        """The ids of the responses that are made or heard."""
        return frozenset(self._slot.live)

    @property
    def known_items(self) -> tuple[str, ...]:
        """The items of the provider's conversation, in the order in which they became known."""
        return tuple(self._items.known)

    def knows_response(self, response_id: str) -> bool:
        """Whether the response is alive, or ended a short while ago."""
        return response_id in self._slot.live or self._slot.recently_ended(response_id)

    def knows_call(self, call_id: str) -> bool:
        """Whether the model has made such a call."""
        return self._tools.knows(call_id)

    def open_calls(self) -> tuple[OpenCall, ...]:
        """The calls of the conversation without an outcome."""
        return self._tools.open_calls()

    def unheard(self) -> list[tuple[tuple[str, ...], str]]:
        """What the model said and history does not have yet: the items and text of each answer."""
        return self._hearing.held()

    @property
    def dropped(self) -> int:
        """Provider events that belonged to nothing alive."""
        return self._ctx.dropped

    @property
    def late_tool_outcomes(self) -> int:
        """Outcomes of handlers whose call had been settled without them."""
        return self._tools.late

    def ledger_sizes(self) -> dict[str, int]:
        """How much is remembered about what has not ended; all zero when everything has."""
        return {
            **self._slot.sizes(),
            **self._items.sizes(),
            **self._tools.sizes(),
            **self._hearing.sizes(),
            **self._input.sizes(),
            **self._server_tools.sizes(),
            "commands": len(self._ctx.sent),
            "deadlines": len(self._ctx.deadlines),
        }

    # ---------------------------------------------------------------- provider, time, link

    def seeded(self, item_ids: Iterable[str]) -> None:
        """The provider's conversation was seeded with these items, which history has already."""
        self._items.seeded(item_ids)

    def observe(self, event: ProviderEvent, now: float) -> None:
        """The provider said something.  Never raises for what it says."""
        if not self._closed:
            part, handle = HANDLERS[type(event)]
            handle(part(self), event, now)

    def observe_all(self, events: Iterable[ProviderEvent], now: float) -> None:
        """The provider said all this at once: `observe`, for each."""
        if not self._closed:
            for event in events:
                part, handle = HANDLERS[type(event)]
                handle(part(self), event, now)

    def timer(self, now: float) -> None:
        """Let what is due by `now` expire."""
        pop_due = self._ctx.deadlines.pop_due
        while (key := pop_due(now)) is not None:
            EXPIRED[key[0]](self)(key[1], now)

    def link_lost(self, now: float) -> None:
        """The connection is gone: nothing more will be acknowledged, answered, or finished."""
        if self._closed:
            return
        self._ctx.linked = self._ctx.away = False
        fault = ProviderFault(code="connection_lost", message="the connection was lost")
        self._ctx.fail_all(fault)
        self._end_active(fault, "the connection was lost", now)

    def link_dropped(self, kept_since: float, now: float) -> tuple[float, int | None, bool]:
        """The connection is gone, and another one will take its place (or `link_lost` says no).

        What the model was saying ends as far as it came, and is heard like any other; what was
        asked for is asked for again.  Audio sent after `kept_since` can be sent again: see
        `InputSide.link_dropped` for what is returned about it.
        """
        if self._closed:
            return now, None, False
        self._server_tools.clear()
        return self._crossing.dropped(kept_since, now)

    def link_restored(self, terms: Terms, now: float) -> None:
        """Another connection is there: everything that waited for it goes on."""
        if not self._closed:
            self._crossing.restored(terms, now)

    def close(self, now: float) -> None:
        """The session ends.  What was said and not interrupted becomes history; nothing follows."""
        if self._closed:
            return
        self._closed = True
        fault = ProviderFault(code="session_closed", message="the session was closed")
        self._end_active(fault, "the session was closed", now)
        self._tools.cancel_all("the session was closed", now)
        self._ctx.fail_all(fault)
        self._input.close()
        self._hearing.close()
        self._server_tools.clear()
        self._items.close_gaps()
        self._ctx.linked = self._ctx.away = False
        self._ctx.deadlines.clear()

    def _end_active(self, fault: ProviderFault, reason: str, now: float) -> None:
        alive = [
            response
            for response in self._slot.live.values()
            if response.phase in (ResponsePhase.ACTIVE, ResponsePhase.DYING)
        ]
        self._slot.lose_all(reason)
        self._hearing.cut(
            [response for response in alive if response.in_conversation], now, cancel=True
        )
        for response in alive:
            self._output.terminal(response, StopReason.CANCELLED, Usage(), fault, now, lost=reason)

    # ---------------------------------------------------------------- the application

    def audio_appended(self, n_bytes: int, now: float) -> None:
        """`n_bytes` of input audio were accepted for sending."""
        self._input.audio_appended(n_bytes)

    def send_text(self, text: str, *, respond: bool, now: float) -> str:
        """Typed user input; returns the id of its item.

        `respond`: a response is requested, in explicit-commit mode by `commit_turn`, until when the
        text is only staged.  Without it the text is sent at once in either mode.
        """
        return self._input.send_text(text, respond=respond, now=now)

    def unstage_text(self, item_id: str) -> None:
        """Take a text back that `send_text` has staged; one already committed is passed over."""
        self._input.unstage_text(item_id)

    def commit_turn(self, options: ResponseOptions | None, now: float) -> str:
        """The user's turn is complete; returns the id of the request for its answer.

        Raises:
            InvalidRequest: not in explicit-commit mode, or nothing is staged.
        """
        return self._input.commit_turn(options, now)

    def commit_audio(self, now: float) -> str:
        """Make the appended audio a user item; requests no response.  Returns the reference."""
        return self._input.commit_audio(now)

    def clear_audio(self, now: float) -> str:
        """Drop input audio that was not committed.  Returns the reference."""
        return self._input.clear_audio(now)

    def request_response(self, options: ResponseOptions, now: float) -> str:
        """Request a response as soon as the slot is free; returns the id of the request."""
        return self._slot.ask(options, Why.APPLICATION, now).id

    def interrupt(self, now: float, response_id: str | None = None) -> tuple[str, ...]:
        """Stop what is being said, made or worked on, or of that one response alone.

        Returns the calls whose handlers are cancelled.  Requests without a response are superseded,
        and a response that comes for one nevertheless is cancelled as it begins; with a
        `response_id` they go on.  A response that is not in the conversation is stopped by its id
        alone.  Without anything to stop, nothing happens.
        """
        if response_id is None:
            self._slot.supersede("interrupt", now, stop_owed=True)

        def meant(response: Response) -> bool:
            if response_id is None:
                return response.in_conversation
            return response.id == response_id

        for response in self._slot.live.values():
            if response.phase is ResponsePhase.DYING and meant(response):
                self._hearing.cancel(response, now)
        stopped = filter(meant, self._hearing.interruptible(now))
        return tuple(self._hearing.cut(stopped, now, cancel=True))

    def truncate(self, item_id: str, content_index: int, played_ms: int, now: float) -> str:
        """Cut a spoken item to what was played; returns the reference.  More than came is clamped.

        Raises:
            InvalidRequest: the provider cannot truncate, or the item is unknown, or a number is
                negative.
        """
        return self._hearing.truncate(item_id, content_index, played_ms, now)

    def submit_tool_result(self, result: ToolResult, now: float) -> None:
        """Answer a call.

        Raises:
            ToolCallSettled: the call has its outcome.
            InvalidRequest: no such call was made.
        """
        outcome = ToolOutcome.ERROR if result.is_error else ToolOutcome.RESULT
        self._tools.submit(result.tool_use_id, result_text(result), now, outcome=outcome)

    def submit_tool_error(self, call_id: str, error: str, now: float) -> None:
        """Answer a call with an error.

        Raises:
            ToolCallSettled: the call has its outcome.
            InvalidRequest: no such call was made.
        """
        self._tools.submit(call_id, error_text(error), now, outcome=ToolOutcome.ERROR)

    def update_session(
        self, projection: object, tools: tuple[ToolSpec, ...] | None, now: float
    ) -> str:
        """Change the provider's configuration; `tools` None leaves them.  Returns the reference."""
        command = ports.UpdateSession(ref=self._ctx.mint("update"), projection=projection)
        deadline = now + self._ctx.settings.update_deadline
        self._ctx.remember(command.ref, CommandName.UPDATE, deadline, tools, command)
        self._ctx.send(command)
        return command.ref

    def send_raw(self, payload: object, now: float) -> str:
        """Send a client event of the application's own; returns the reference.

        Raises:
            InvalidRequest: the payload is not a JSON object.
            ConnectionReset: there is no connection at this moment; nothing of this kind waits.
        """
        if not isinstance(payload, dict):
            raise InvalidRequest(f"a client event is a JSON object, not {type(payload).__name__}")
        if self._ctx.away:
            raise ConnectionReset(
                "there is no connection at this moment, and client events of the application's own "
                "do not wait for the next"
            )
        ref = self._ctx.mint("raw")
        self._ctx.remember(ref, CommandName.RAW, now + self._ctx.settings.update_deadline)
        self._ctx.send(ports.SendRaw(ref=ref, payload=payload))
        return ref

    # ---------------------------------------------------------------- playback and tools

    def audio_delivered(self, item_id: str, content_index: int, n_bytes: int, now: float) -> None:
        """The application took that much output audio."""
        hearing = self._hearing
        if not hearing.ledger.more(item_id, content_index, n_bytes, now):
            hearing.delivered(item_id, content_index, n_bytes, now)

    def audio_dropped(self, item_id: str, content_index: int, n_bytes: int, now: float) -> None:
        """That much output audio was dropped before the application took it."""
        self._hearing.dropped(item_id, content_index, n_bytes, now)

    def report_playback(self, item_id: str, content_index: int, played_ms: int, now: float) -> None:
        """The application has played the part up to `played_ms`.

        Raises:
            InvalidRequest: `played_ms` is negative.
        """
        self._hearing.reported(item_id, content_index, played_ms, now)

    def tool_returned(self, result: ToolResult, now: float) -> None:
        """A handler returned."""
        outcome = ToolOutcome.ERROR if result.is_error else ToolOutcome.RESULT
        self._tools.finished(result.tool_use_id, result_text(result), now, outcome=outcome)

    def tool_raised(self, call_id: str, error: str, now: float) -> None:
        """A handler failed."""
        self._tools.finished(call_id, error_text(error), now, outcome=ToolOutcome.ERROR)

    def tool_stopped(self, call_id: str, now: float) -> None:
        """A handler was cancelled."""
        text = error_text("the call was cancelled")
        self._tools.finished(call_id, text, now, outcome=ToolOutcome.CANCELLED)

    def _pending(self) -> int:
        return self._input.pending + len(self._hearing.held())

    def _round_over(self, response_id: str, speak: bool, now: float, told: bool) -> None:
        if speak and (self._ctx.linked or self._ctx.away) and not self._closed:
            if self._ctx.settings.provider_continues and self._ctx.linked and not told:
                self._slot.owe(now, Why.TOOLS)
            else:
                self._slot.ask(ResponseOptions(), Why.TOOLS, now)
        response = self._slot.live.get(response_id)
        if response is not None:
            self._hearing.quiesce(response)

    # ---------------------------------------------------------------- items

    def _item_added(self, event: ports.ItemAdded, now: float) -> None:
        item_id = event.item_id
        if item_id is None or self._items.is_seed(item_id):
            return
        for sent in self._ctx.sent.values():
            if sent.name is CommandName.CREATE_ITEM and sent.subject == item_id:
                self._ctx.acknowledge(sent.ref)
                break
        if event.kind is ItemKind.USER:
            self._announce(item_id, event.previous_item_id, RealtimeTranscriptRole.USER)
        elif event.kind is ItemKind.ASSISTANT:
            self._announce(item_id, event.previous_item_id, RealtimeTranscriptRole.ASSISTANT)
        else:
            self._items.skip(item_id, event.previous_item_id)

    def _announce(self, item_id: str, previous: str | None, role: RealtimeTranscriptRole) -> None:
        new = item_id not in self._items.known
        self._items.observe(item_id, previous, role)
        if new and self._items.owner(item_id) is None:
            self._items.unclaimed(item_id)

    def _item_truncated(self, event: ports.ItemTruncated, now: float) -> None:
        self._hearing.truncated(event)

    def _item_deleted(self, event: ports.ItemDeleted, now: float) -> None:
        if not self._hearing.truncations.deleted(event.item_id):
            self._input.item_deleted(event.item_id)

    # ---------------------------------------------------------------- tools of the provider

    def _calls_revoked(self, event: ports.ToolCallsRevoked, now: float) -> None:
        self._tools.revoke(event.call_ids, now)

    # ---------------------------------------------------------------- the session and its errors

    def _ignore(self, event: ProviderEvent, now: float) -> None:
        pass

    def _session_updated(self, event: ports.SessionUpdated, now: float) -> None:
        sent = self._ctx.oldest(CommandName.UPDATE)
        if sent is not None:
            if sent.subject is not None:
                self._tools.advertise(sent.subject)
            self._ctx.acknowledge(sent.ref)

    def _going_away(self, event: ports.GoingAway, now: float) -> None:
        self._ctx.effects.append(LinkEnding(event.time_left))

    def _resumption_updated(self, event: ports.ResumptionUpdated, now: float) -> None:
        self._ctx.effects.append(
            ResumptionPoint(
                handle=event.handle,
                last_consumed=event.last_consumed,
                items=len(self._items.known),
            )
        )

    def _rate_limits(self, event: ports.RateLimits, now: float) -> None:
        self._ctx.events.append(RateLimitsUpdated(event.limits))

    def _usage_reported(self, event: ports.UsageReported, now: float) -> None:
        self._output.usage += event.usage

    def _unknown_frame(self, event: ports.UnknownFrame, now: float) -> None:
        self._ctx.events.append(UnknownProviderEvent(type=event.type, raw=event.raw))

    # ---------------------------------------------------------------- deadlines

    def _on_retry(self, _key: str, now: float) -> None:
        self._slot.pump(now)

    def _on_unwanted(self, ref: str, now: float) -> None:
        self._slot.unwanted.forget(ref)
        self._slot.pump(now)

    def _on_transcription_deadline(self, item_id: str, now: float) -> None:
        self._input.on_transcription_deadline(item_id)

    def _on_command_deadline(self, ref: str, now: float) -> None:
        sent = self._ctx.expire(ref)
        if sent is not None and sent.name in (CommandName.TRUNCATE, CommandName.DELETE):
            self._hearing.truncations.expired(sent)
