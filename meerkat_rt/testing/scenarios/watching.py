"""What the promises say about a session while it runs: watched from inside, step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from ...model import events as ev
from ...runtime import errors
from ...turn.effects import InterruptPolicy
from ...turn.ports import (
    AppendAudio,
    CancelResponse,
    ClearAudio,
    CommitAudio,
    CreateResponse,
    UpdateSession,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ...providers.base import LinkCodec
    from ...runtime.link import Link
    from ...runtime.session import RealtimeSession
    from ...runtime.signal import Signal
    from ...turn.ports import ProviderCommand, ProviderEvent

_MEDIA = (ev.OutputAudioChunk, ev.MediaGap)
_CROSSING = (AppendAudio, CommitAudio, ClearAudio, UpdateSession)  # from one link to the next
_OUTPUT = (
    ev.OutputAudioChunk,
    ev.OutputAudioTranscriptDeltaForItem,
    ev.OutputTextDeltaForItem,
    ev.AssistantTranscriptFinal,
)


def _override(thing: object, **methods: Callable[..., object]) -> None:
    """Give one object other methods; it may have no room for them, so its class gets a child."""
    names: dict[str, object] = {"__slots__": ()}
    for name, method in methods.items():
        names[name] = lambda _self, *args, _method=method: _method(*args)
    kind = type(thing)
    thing.__class__ = type(kind.__name__, (kind,), names)


class _Overheard:
    """A codec that tells what it decodes; two connections may have one between them."""

    def __init__(self, codec: LinkCodec, told: Callable[[tuple[ProviderEvent, ...]], None]) -> None:
        self._codec = codec
        self._told = told

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codec, name)

    def decode_all(self, batch: Iterable[bytes]) -> list[ProviderEvent]:
        """As the codec itself."""
        events = self._codec.decode_all(batch)
        self._told(tuple(events))
        return events


class Watching:
    """Every event, read, command and interruption of one session, from its opening on."""

    def __init__(self, session: RealtimeSession) -> None:
        self.commands = 0  # that were queued for the provider
        self.of_the_store: list[BaseException | None] = []  # what it raised that is no LlmError
        self._core = session._core
        self._said: list[Any] = []
        self._read: list[Any] = []
        self._offences: dict[str, None] = {}
        self._ended = False  # the application has been told so
        self._cancelled: set[str | None] = set()  # responses that the provider was told to stop
        self._urgent = False  # such a command is queued
        self._lost_at: float | None = None  # its last connection, while no call ran
        self._store_failed = False
        self._retired: dict[Link, float] = {}  # connections that were replaced, and when
        self._stale: tuple[ProviderEvent, ...] = ()  # what one of them said last
        self._watch_events()
        self._watch_journal()
        self._watch_connection()
        self._watch_links()
        self._watch_commands()
        self._watch_interruptions(session)

    def offences(self, *, struck: bool) -> Iterator[str]:
        """What was wrong.  To be called when the session has ended.

        `struck`: a task of the session's own was, which may keep it from writing everything.
        """
        yield from self._offences
        core = self._core
        if any(not waiting.bytes for waiting in core.events._live.values()):
            yield "still remembered: responses of which no audio waits"
        lost = () if core.journal is None else core.journal.unwritten
        excused = struck or self._store_failed
        if lost and not (excused and core.reason and core.reason.uncommitted_items == lost):
            yield f"not durable: {lost}"
        yield from self._late()
        yield from self._missed()

    def _offence(self, text: str) -> None:
        self._offences[text] = None

    # ---------------------------------------------------------------- events

    def _watch_events(self) -> None:
        core, lane = self._core, self._core.events
        put, following, take, poll = lane.put, lane.following, lane.take, lane.poll

        def said(events: Iterable[Any]) -> bool:
            events = list(events)
            self._said += events
            if core.closed.is_set():
                self._offence(f"closing: after the end came {events}")
            if any(isinstance(event, ev.SessionClosed) for event in events):
                self._last_word()
            return put(events)

        async def reading() -> Any:
            try:
                event = await following()
            except (StopAsyncIteration, errors.LlmError):
                self._end()
                raise
            self._read.append(event)
            return event

        async def taking() -> Any:
            before = len(self._read)
            try:
                events = await take()
            except trio.Cancelled:
                del self._read[before:]  # what `following` gave it, and nobody got
                raise
            self._read[before:] = events
            return events

        def polling() -> Any:
            event = poll()
            if event is not None:
                self._read.append(event)
            return event

        self._said += lane._queue
        lane.poll = polling  # type: ignore[method-assign]
        lane.put = said  # type: ignore[method-assign]
        lane.following = reading  # type: ignore[method-assign]
        lane.take = taking  # type: ignore[method-assign]

    def _watch_journal(self) -> None:
        writer = self._core.journal
        if writer is None:
            return
        failed = writer._failed

        def failing(error: errors.LlmError) -> None:
            self._store_failed = True
            self.of_the_store.append(error.__cause__)
            failed(error)

        writer._failed = failing

    def _watch_connection(self) -> None:
        core, close = self._core, self._core.lanes.close

        def closing() -> None:
            self._look_for_retired()
            close()
            # The loss of the connection is why; what else there is to wait for is not.
            lost = core.link is not None and not core.connected
            if lost and not core.tools.running and core.journal is None:
                self._lost_at = trio.current_time()

        _override(core.lanes, close=closing)

    def _watch_links(self) -> None:
        core = self._core
        serve, observe = core.lanes.serve, core.observe
        link = core.link

        def serving(ready: Signal) -> None:
            nonlocal link
            self._look_for_retired()
            if link is not None and link is not core.link:
                self._retire(link)
            link = core.link
            serve(ready)

        def observing(events: list[ProviderEvent], now: float) -> None:
            if any(event is stale for event in events for stale in self._stale):
                self._offence("heard: what a connection said that had been replaced")
            observe(events, now)

        _override(core.lanes, serve=serving)
        _override(core, observe=observing)

    def _retire(self, link: Link) -> None:
        self._retired[link] = trio.current_time()

        def decoded(events: tuple[ProviderEvent, ...]) -> None:
            self._stale = events

        link.codec = _Overheard(link.codec, decoded)

    def _look_for_retired(self) -> None:
        """A connection that was replaced is gone by now."""
        latest = trio.current_time() - self._core.limits.close_grace
        if any(at < latest and not link.gone.is_set() for link, at in self._retired.items()):
            self._offence("connections: one that was replaced is still open")

    def _last_word(self) -> None:
        """A session without a connection, whose tools have ended, has nothing to wait for."""
        if self._lost_at is not None:
            late = trio.current_time() - self._lost_at
            if late > 0:
                self._offence(f"closing: it took {late:g} s after the connection was lost")

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            if not (self._read and isinstance(self._read[-1], ev.SessionClosed)):
                self._offence(f"closing: the stream ended after {self._read[-1:]}")

    def _late(self) -> Iterator[str]:
        interrupted: set[str | None] = set()
        for event in self._said:
            if isinstance(event, ev.Interrupted):
                interrupted.add(event.response_id)
            elif isinstance(event, _OUTPUT) and event.response_id in interrupted:
                kind = type(event).__name__
                yield f"late: {kind} of the interrupted response {event.response_id}"
                return

    def _missed(self) -> Iterator[str]:
        """Audio may be flushed or dropped; everything else is read in the order it was said."""
        controls = (event for event in self._said if not isinstance(event, _MEDIA))
        for event in self._read:
            if not isinstance(event, _MEDIA):
                meant = next(controls, None)
                if meant is not event:
                    yield f"missed: {meant} was not read, but {event}"
                    return

    # ---------------------------------------------------------------- commands

    def _watch_commands(self) -> None:
        core, lanes = self._core, self._core.lanes
        put, take, serve = lanes.put, lanes.take, lanes.serve

        def queued(command: ProviderCommand, now: float) -> None:
            self.commands += 1
            match command:
                case CancelResponse(response_id=response_id):
                    if response_id in self._cancelled:
                        self._offence(f"response {response_id} was cancelled twice")
                    self._cancelled.add(response_id)
                    self._urgent = True
                case CreateResponse(options=options) if options.in_conversation:
                    if core.machine._slot.active is not None:
                        self._offence("a response was asked for while another was active")
                case _:
                    pass
            put(command, now)

        def taken(now: float) -> list[ProviderCommand]:
            commands = take(now)
            if self._urgent and not any(isinstance(each, CancelResponse) for each in commands):
                self._offence("an interruption waits behind what is queued")
            self._urgent = False
            return commands

        def serving(ready: Signal) -> None:
            waiting = (*lanes._control, *(command for _, command in lanes._media))
            for command in waiting:
                if not isinstance(command, _CROSSING):
                    self._offence(f"{type(command).__name__} waits for another connection")
            self._urgent = False  # what was to be cancelled ended with the old connection
            serve(ready)

        _override(lanes, put=queued, take=taken, serve=serving)

    # ---------------------------------------------------------------- interruptions

    def _watch_interruptions(self, session: RealtimeSession) -> None:
        core, interrupt = self._core, session.interrupt

        async def interrupting(response_id: str | None = None) -> None:
            own = core.tools.own_call()
            to_stop = [
                call
                for call in core.tools.running
                if call.tool.on_interrupt is InterruptPolicy.CANCEL
                and call is not own
                and not call.scope.cancel_called
            ]
            began = trio.current_time()
            await interrupt(response_id)
            if trio.current_time() - began > core.limits.interrupt_grace:
                self._offence("an interruption took longer than its grace")
            for call in to_stop:
                if not call.done.is_set() and call.call_id not in core.unresponsive:
                    self._offence(f"call {call.call_id} outlived an interruption")

        session.interrupt = interrupting  # type: ignore[method-assign]
