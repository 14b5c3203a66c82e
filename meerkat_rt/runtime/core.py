"""The state that the tasks of one session share, and its atomic steps.

A step is synchronous: it calls the machine, then hands out what the machine said.  Every task and
every command of the application goes through here, and never awaits in between, so the machine
needs no lock.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs
import trio

from ..model.errors import ConnectionReset, LlmError, NetworkTimeout
from ..model.events import (
    ClosedBy,
    CloseReason,
    OutputAudioChunk,
    ProviderFault,
    SessionClosed,
    StoreFailed,
    ToolUnresponsive,
)
from ..model.transcript import (
    AppendRealtimeTranscript,
    RealtimeTranscriptRole,
    TranscriptLane,
)
from ..turn.effects import (
    Lost,
    SettleCommand,
)
from ..turn.machine import SessionMachine
from ..turn.ports import CommandRefused, ErrorMeaning
from .effects import EFFECTS, without_flushed
from .errors import ConsumerTooSlow, SessionClosedError, WorkerLost
from .event_lane import EventLane
from .handover import drop_link
from .history import History
from .lanes import SendLanes
from .ports import StagedTranscript
from .requests import Acknowledgement, ResponseRequest
from .signal import Signal
from .tool_dispatch import ToolDispatch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from ..model.conversation import ToolResult
    from ..model.live_config import RealtimeConfig
    from ..providers.base import Dialect
    from ..turn.effects import MachineSettings
    from ..turn.ports import ProviderCommand, ProviderEvent
    from .continuity import Continuity
    from .journal_writer import JournalWriter
    from .limits import SessionLimits
    from .link import Link
    from .ports import Recording, StoredMessage
    from .sent_audio import SentAudio
    from .tools import ToolSet


class SessionCore:
    """Machine, transcript and lanes of one session, and how it is asked to close."""

    __slots__ = (
        "_deadline",
        "_links",
        "_run",
        "_staging",
        "_timer",
        "_wound_up",
        "acknowledgements",
        "attended",
        "boundary",
        "close_requested",
        "closed",
        "connected",
        "continuity",
        "conversation_id",
        "dialect",
        "error",
        "events",
        "history",
        "journal",
        "keep_going_without_store",
        "lanes",
        "limits",
        "link",
        "machine",
        "now",
        "reason",
        "recording",
        "requests",
        "sent_audio",
        "session_id",
        "settings",
        "stale_events",
        "summons",
        "tools",
        "unresponsive",
        "when_acknowledged",
    )

    def __init__(
        self,
        *,
        dialect: Dialect,
        settings: MachineSettings,
        tools: ToolSet,
        limits: SessionLimits,
        keep_going_without_store: bool = False,
        recording: Recording | None = None,
    ) -> None:
        self.keep_going_without_store = keep_going_without_store
        self.dialect = dialect
        self.settings = settings
        self.limits = limits
        self.recording = recording
        self.machine = (
            SessionMachine(settings) if recording is None else recording.machine(settings)
        )
        self.history = History()
        self.journal: JournalWriter | None = None  # without one, messages are announced at once
        # The run's clock, for what asks at each event: `trio.current_time` looks for it each time.
        self.now = trio.lowlevel.current_clock().current_time
        self._run = trio.lowlevel.current_trio_token()
        self.lanes = SendLanes(limits)
        self.events = EventLane(
            limits, settings.output_format, self._audio_delivered, self._audio_dropped
        )
        self.tools = ToolDispatch(
            tools,
            returned=self._tool_returned,
            raised=self._tool_raised,
            stopped=self._tool_stopped,
            broken=lambda: self.worker_lost("tool dispatch"),
        )
        self.requests: dict[str, ResponseRequest] = {}
        self.acknowledgements: dict[str, Acknowledgement] = {}
        # What is the case once the provider has acknowledged a command, whoever waits for that.
        self.when_acknowledged: dict[str, Callable[[], None]] = {}
        self.link: Link | None = None  # the current one
        self.continuity: Continuity | None = None  # None: attached, so there is nothing to go on
        self.sent_audio: SentAudio | None = None  # where it may have to be sent again
        self.boundary: Signal | None = None  # somebody waits for the boundary between two turns
        self.attended: Callable[[], None] | None = None  # by who waits for an answer, at each step
        self.summons = Signal()  # the supervisor has something to do
        self.stale_events = 0  # of connections that are not the session's any more
        self.session_id: str | None = None
        self.conversation_id: str | None = None  # of the store
        self.connected = False
        self.close_requested = trio.Event()
        self.closed = trio.Event()
        self._wound_up = False
        self._staging: set[trio.CancelScope] = set()  # of tasks that wait for the store
        self.reason: CloseReason | None = None
        self.error: LlmError | None = None
        self.unresponsive: dict[str, str] = {}  # call id -> tool name
        self._timer: trio.CancelScope | None = None
        self._deadline = math.inf  # of the timer
        self._links = 0  # connections so far

    # ---------------------------------------------------------------- steps

    def step(self, *, whole: bool = False) -> None:
        """Hand out what the machine said since the last step.  The second half of every step.

        Deltas of one text come to the transcript together, when something else is said of it, or
        the store does not wait any longer, or all of it is wanted: `whole`.
        """
        events, transcript, effects = self.machine.drain(keep_run=not whole)
        if effects:
            for effect in effects:
                EFFECTS[type(effect)](self, effect)
            events = without_flushed(events, effects)
        if transcript:
            journal = self.journal
            events += self.history.take_in(transcript, stored=journal is not None)
            if journal is not None:
                journal.add(transcript)  # announces later, see `announce`
        elif self.journal is not None and self.machine.keeps_run():
            self.journal.keep_back()
        if events and self.events.put(events):
            self._consumer_too_slow()
        if self.machine.deadlines.changed:
            self.set_timer()
        if self.boundary is not None and self.at_boundary:
            self.boundary.set()
        if self.attended is not None:
            self.attended()

    @property
    def at_boundary(self) -> bool:
        """Between two turns; audio that nobody reads will not be heard, so it is not waited for."""
        machine = self.machine
        asking = () if self.continuity is None else self.continuity.changes.callers
        return machine.at_boundary(asking) or (
            self.events.left_unread and machine.turn_over(asking)
        )

    def _consumer_too_slow(self) -> None:
        text = (
            f"the application left {self.events.waiting} events unread; the limit is "
            f"{self.limits.waiting_events} (SessionLimits.waiting_events)"
        )
        self.request_close(
            CloseReason(by=ClosedBy.RUNTIME, text=text, clean=False), ConsumerTooSlow(text)
        )

    def observe(self, events: Iterable[ProviderEvent], now: float) -> None:
        """One batch of provider events."""
        self.machine.observe_all(events, now)
        self.step()

    def announce(self, stored: Iterable[StoredMessage]) -> None:
        """Tell the application of messages that have become durable."""
        if events := self.history.stored(stored):
            self.events.put(events)

    def reconfigured(self, update: RealtimeConfig) -> None:
        """The provider has acknowledged this change of its configuration."""
        self.dialect = self.dialect.with_config(self.dialect.config.merged_with(update))
        if self.link is not None:
            self.link.speak(self.dialect)

    async def stage(self, item_id: str, text: str) -> None:
        """Make staged text durable before its sending is acknowledged; without a store, nothing.

        Cancelled or failed, the text is not staged any more.

        Raises:
            LlmError: the store did not take it, or the session was closed meanwhile.
        """
        if self.journal is None:
            return
        try:
            append = AppendRealtimeTranscript(
                item_id=item_id,
                text=text,
                role=RealtimeTranscriptRole.USER,
                lane=TranscriptLane.DISPLAY,
            )
            with trio.CancelScope() as scope:
                self._staging.add(scope)
                try:
                    await self.journal.stage(StagedTranscript(append))
                finally:
                    self._staging.remove(scope)
            if scope.cancelled_caught:
                raise self.closed_error() from self.error
        except BaseException:
            self.machine.unstage_text(item_id)
            raise

    def store_failed(self, error: LlmError) -> None:
        """The store does not take what was said: end, or go on in memory if that was asked for."""
        if self.keep_going_without_store:
            self.events.put([StoreFailed(message=str(error), retryable=error.retryable)])
        else:
            text = f"the store failed: {error}"
            self.request_close(CloseReason(by=ClosedBy.RUNTIME, text=text, clean=False), error)

    def check_open(self) -> None:
        """Refuse commands to a session that is closing.

        Raises:
            SessionClosedError: always, from the moment that the close was requested.
            RuntimeError: see `check_run`.
        """
        self.check_run()
        if self.close_requested.is_set():
            raise self.closed_error() from self.error

    def closed_error(self) -> SessionClosedError:
        """What says to whoever wants something of the session that it has ended, and of what."""
        return SessionClosedError(self.reason, self.error)

    def check_run(self) -> None:
        """Refuse whoever is not in the session's run: what it touches is no other thread's.

        Raises:
            RuntimeError: the caller is in another Trio run, or in a thread without one.
        """
        try:
            here = trio.lowlevel.current_trio_token()
        except RuntimeError:
            here = None
        if here is not self._run:
            raise RuntimeError(
                "this session belongs to another Trio run; from a thread, go through "
                "trio.from_thread.run(...) with the token of that run"
            )

    # ---------------------------------------------------------------- closing

    def request_close(self, reason: CloseReason, error: LlmError | None = None) -> None:
        """Ask for the one close.  The first reason stands."""
        if self.reason is None:
            self.reason = reason
            self.error = error
            self.close_requested.set()
            self.summons.set()
            self.lanes.close()

    def wind_up(self) -> None:
        """End what the session still has going, once: its responses, calls, waits and requests."""
        if not self._wound_up:
            self._wound_up = True
            for scope in self._staging:
                scope.cancel(reason="the session is closing")
            self.machine.close(trio.current_time())
            self.step(whole=True)

    def link_lost(self, link: Link, reason: CloseReason, error: LlmError | None) -> None:
        """A connection is gone.  If it was the session's it is replaced, or the session ends."""
        if link is not self.link:
            if link.warming:
                self.warming_ended()
            return
        self.connected = False
        if not self.close_requested.is_set():
            if self.continuity is not None and self.continuity.may_recover(error):
                drop_link(self, link)
                self.continuity.lost(link, error)
                return
            self.machine.link_lost(trio.current_time())
            self.step()
        self.request_close(reason, error)

    def warming_ended(self) -> None:
        """A connection that was to become the session's has ended before."""
        if self.continuity is not None:
            self.continuity.notice()

    def worker_lost(self, name: str) -> None:
        """A task without which a session cannot live has ended.  After a request to close it may.

        A session without a receiver, say, would wait for ever and look alive.
        """
        text = f"internal error: the {name} ended before the session"
        reason = CloseReason(by=ClosedBy.RUNTIME, text=text, clean=False)
        self.request_close(reason, WorkerLost(text))

    async def vital(self, run: Callable[..., Awaitable[None]], *args: object) -> None:
        """Run a task without which the session cannot live, whether it fails or is cancelled."""
        try:
            await run(*args)
        finally:
            self.worker_lost(trio.lowlevel.current_task().name)

    def tool_unresponsive(self, call_id: str, tool_name: str, grace: float) -> None:
        """Tell the application, once, which call does not stop."""
        if call_id in self.unresponsive or self.closed.is_set():
            return
        self.unresponsive[call_id] = tool_name
        self.events.put(
            [ToolUnresponsive(call_id=call_id, tool_name=tool_name, grace_ms=round(grace * 1000))]
        )

    def next_link(self) -> str:
        """A name for the next connection, which no other has: ids are minted from it."""
        self._links += 1
        return f"{self.settings.seed & 0xFFFF_FFFF:08x}_{self._links:x}"

    def unsendable(self, command: ProviderCommand, error: LlmError) -> None:
        """The dialect has no words for a command: it is refused, as if by the provider."""
        fault = ProviderFault(
            code="not_sent", kind="invalid_request_error", message=f"nothing was sent: {error}"
        )
        ref = getattr(command, "ref", None)
        refused = CommandRefused(meaning=ErrorMeaning.OTHER, fault=fault, ref=ref)
        self.observe([refused], trio.current_time())

    def finish(self) -> None:
        """Say the last word, in band, after every producer has stopped.

        Nobody waits for this session any more after it.
        """
        assert self.reason is not None
        self.reason = attrs.evolve(
            self.reason,
            abandoned_threads=tuple(sorted(self.tools.threads)),
            unresponsive_tools=tuple(self.unresponsive),
            uncommitted_items=() if self.journal is None else self.journal.unwritten,
        )
        for acknowledgement in self.acknowledgements.values():
            acknowledgement.arrived.set()
        self.acknowledgements.clear()
        if self.continuity is not None:
            self.continuity.close()
        for request in self.requests.values():  # none, unless the machine was never closed
            request._settle(Lost(reason="the session has ended"))
        self.requests.clear()
        if self.recording is not None:
            self.recording.closed(self.reason)
        self.events.put([SessionClosed(self.reason)])
        self.events.end(self.error)
        self.closed.set()

    # ---------------------------------------------------------------- timer

    def set_timer(self) -> None:
        """Something has another deadline than before, or none any more."""
        if self._timer is not None:
            deadline = self._next_deadline()
            if deadline != self._deadline:
                self._deadline = self._timer.deadline = deadline

    def _next_deadline(self) -> float:
        deadline = self.machine.next_deadline
        if deadline is None:
            deadline = math.inf
        return deadline if self.journal is None else min(deadline, self.journal.look_at)

    async def run_timer(self) -> None:
        """The nudge timer: sleep to the next absolute deadline, whatever it is for."""
        while True:
            self._deadline = self._next_deadline()
            with trio.CancelScope(deadline=self._deadline) as scope:
                self._timer = scope
                try:
                    await trio.sleep_forever()
                finally:
                    self._timer = None
            now = trio.current_time()
            if self.journal is not None:
                self.journal.look(now)
            due = self.machine.next_deadline
            if due is not None and due <= now:
                self.machine.timer(now)
                self.step()

    # ---------------------------------------------------------------- acknowledgements

    async def acknowledged(self, ref: str) -> SettleCommand:
        """Wait for the provider's answer to command `ref`; the machine bounds the wait.

        A checkpoint.  Cancelled: the command may have been sent.

        Raises:
            SessionClosedError: the session ended first.
            ConnectionReset: it was lost with its connection, and the session goes on elsewhere.
            NetworkTimeout: the provider did not answer in time.
        """
        wait = self.acknowledgements.setdefault(ref, Acknowledgement())
        try:
            await wait.arrived.wait()
        finally:
            self.acknowledgements.pop(ref, None)
        if wait.result is None or _moot(wait.result):
            if not self.close_requested.is_set():
                raise ConnectionReset("the command was lost with its connection")
            raise self.closed_error() from self.error
        if wait.result.timed_out:
            seconds = self.limits.update_acknowledgement
            raise NetworkTimeout(
                f"the provider did not acknowledge the command within {seconds:g} s",
                round(seconds * 1000),
            )
        return wait.result

    # ---------------------------------------------------------------- callbacks

    def _audio_delivered(self, event: OutputAudioChunk, size: int) -> None:
        item_id = event.item_id
        if item_id is not None:
            machine = self.machine
            machine.audio_delivered(item_id, event.content_index or 0, size, self.now())
            if machine.deadlines.changed:
                self.set_timer()

    def _audio_dropped(self, event: OutputAudioChunk) -> None:
        # Within a step, which sets the timer at its end.
        if event.item_id is not None:
            self.machine.audio_dropped(
                event.item_id, event.content_index or 0, len(event.chunk.data), trio.current_time()
            )

    def _tool_returned(self, result: ToolResult) -> None:
        self.machine.tool_returned(result, trio.current_time())
        self._tool_left(result.tool_use_id)

    def _tool_raised(self, call_id: str, error: str) -> None:
        self.machine.tool_raised(call_id, error, trio.current_time())
        self._tool_left(call_id)

    def _tool_stopped(self, call_id: str) -> None:
        self.machine.tool_stopped(call_id, trio.current_time())
        self._tool_left(call_id)

    def _tool_left(self, call_id: str) -> None:
        # What held up the close is named in its reason; what held up an interruption has been told.
        if not self.close_requested.is_set():
            self.unresponsive.pop(call_id, None)
        self.step()


def _moot(settled: SettleCommand) -> bool:
    """Whether it was the end of the session that settled the command."""
    fault = settled.fault
    return fault is not None and fault.code in ("session_closed", "connection_lost")
