"""The lanes of a session: what waits to be sent, and what waits for the application.

Both belong to the session, not to a connection, and are touched only in synchronous steps.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, final

import attrs
import trio

from ..model.events import MediaGap, OutputAudioChunk
from ..turn.ports import (
    AppendAudio,
    ClearAudio,
    CommitAudio,
    CreateItem,
    CreateResponse,
    SendRaw,
    SendToolOutput,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..model.events import RealtimeSessionEvent
    from ..model.media import RealtimeAudioFormat
    from ..turn.ports import ProviderCommand
    from .limits import SessionLimits

# Commands that must not overtake a commit which waits behind its audio, nor each other then: the
# provider must see the audio, the commit, and only then the request to answer it.
_ORDERED = (ClearAudio, CreateItem, CreateResponse, SendRaw)

_KEPT = (AppendAudio, CommitAudio, ClearAudio)  # of the media lane, from one link to the next

_EVENTS_PER_YIELD = 128  # a full checkpoint costs as much as decoding two events
_CHUNKS = 65_536  # of audio that wait; at 20 ms each as long as the 32 MiB of the default limit
_HOLES = 1024  # places of dropped audio that a queue nobody reads may hold on to


class Signal:
    """A flag that one task waits for.  Setting it twice before the wait is setting it once."""

    __slots__ = (
        "_set",
        "_waiter",
    )

    def __init__(self) -> None:
        self._set = False
        self._waiter: trio.lowlevel.Task | None = None

    def set(self) -> None:
        """Wake the waiter, now or when it comes."""
        self._set = True
        if self._waiter is not None:
            waiter, self._waiter = self._waiter, None
            trio.lowlevel.reschedule(waiter)

    async def wait(self) -> None:
        """Wait for the flag and take it down.  A checkpoint; cancelled, it leaves the flag up."""
        if self._set:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:  # to sleep is to look for a cancellation
            self._waiter = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._abort)
        self._set = False

    def _abort(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self._waiter = None
        return trio.lowlevel.Abort.SUCCEEDED


class SendLanes:
    """Commands and PCM on their way to the sender.

    The control lane goes first; the media lane holds microphone audio and whatever must stay in
    order with it.  Encoded frames never wait here: the sender encodes what it takes.
    """

    __slots__ = (
        "_closed",
        "_control",
        "_limits",
        "_media",
        "_media_bytes",
        "_ordered",
        "_room",
        "_untold",
        "drained",
        "dropped_bytes",
        "ready",
    )

    def __init__(self, limits: SessionLimits) -> None:
        self._limits = limits
        self.ready = Signal()  # something waits for the sender; also set for protocol frames
        self.drained = trio.lowlevel.ParkingLot()  # whoever waits for empty lanes
        self._control: list[ProviderCommand] = []
        self._media: deque[tuple[float, ProviderCommand]] = deque()
        self._media_bytes = 0
        self._ordered = 0  # commands other than audio in the media lane
        self._room = trio.lowlevel.ParkingLot()
        self._closed = False
        self._untold = 0  # dropped bytes that no caller has been told of
        self.dropped_bytes = 0

    def __len__(self) -> int:
        return len(self._control) + len(self._media)

    @property
    def media_bytes(self) -> int:
        """Bytes of microphone audio that wait."""
        return self._media_bytes

    @property
    def overflowing(self) -> bool:
        """More control commands wait than a working transport ever lets pile up."""
        return len(self._control) > self._limits.control_overflow

    async def wait_for_room(self) -> None:
        """Wait until the control lane takes another command of the application's.

        A checkpoint if it waits; cancel-safe.  Capacity is not held: the caller's next step is
        synchronous.  Returns at once, room or not, when the lanes are closed.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while len(self._control) >= self._limits.control_commands and not self._closed:
            await self._room.park()

    def close(self) -> None:
        """Let nobody wait for room any more: the session is closing.  What waits is still sent."""
        self._closed = True
        self._room.unpark_all()

    def put(self, command: ProviderCommand, now: float) -> None:
        """Queue a command in the lane it belongs to."""
        if isinstance(command, CommitAudio) or (self._ordered and isinstance(command, _ORDERED)):
            self._ordered += 1
            self._media.append((now, command))
        else:
            self._control.append(command)
        self.ready.set()

    def put_audio(self, data: bytes, now: float) -> int:
        """Queue microphone audio.

        Returns how many bytes of older audio were dropped since the last call, for this one or
        because they had waited for too long.
        """
        self._media.append((now, AppendAudio(data)))
        self._media_bytes += len(data)
        self._drop_stale(now)
        while self._media_bytes > self._limits.mic_max_bytes:
            self._drop_oldest()
        self.ready.set()
        dropped, self._untold = self._untold, 0
        return dropped

    def take(self, now: float) -> list[ProviderCommand]:
        """All control commands, then media up to the bytes of one write."""
        taken = list(self._control)
        self._control.clear()
        if taken:
            self._room.unpark_all()
        if not self._media:
            return taken
        self._drop_stale(now)
        media, budget = self._media, self._limits.media_bytes_per_write
        while media and budget > 0:
            command = media.popleft()[1]
            if isinstance(command, AppendAudio):
                size = len(command.data)
                self._media_bytes -= size
                budget -= size
            else:
                self._ordered -= 1
            taken.append(command)
        return taken

    def flush_audio(self) -> None:
        """Drop the audio that waits and belongs to no commit yet."""
        while self._media and isinstance(command := self._media[-1][1], AppendAudio):
            self._media.pop()
            self._media_bytes -= len(command.data)

    def cross(self, again: Iterable[tuple[float, ProviderCommand]], now: float) -> list[SendRaw]:
        """The connection is gone: keep what makes sense on the next one.

        That is audio with its commits and clears; everything else is made up for, or sent again,
        when there is a connection.  `again` was written to the old one already, and
        goes in front, with the times of then.  Returns the client events of the application's own
        that are dropped.
        """
        raw = [each for each in self._control if isinstance(each, SendRaw)]
        raw += [each for _, each in self._media if isinstance(each, SendRaw)]
        self._control.clear()
        self._media = deque(
            (*again, *(entry for entry in self._media if isinstance(entry[1], _KEPT)))
        )
        audio = [each.data for _, each in self._media if isinstance(each, AppendAudio)]
        self._media_bytes = sum(map(len, audio))
        self._ordered = len(self._media) - len(audio)
        self._drop_stale(now)
        self._room.unpark_all()
        return raw

    def expire(self, now: float) -> None:
        """Drop audio that has waited for too long, and commits for which none is left."""
        self._drop_stale(now)
        kept: deque[tuple[float, ProviderCommand]] = deque()
        heard = False
        for entry in self._media:
            if isinstance(entry[1], CommitAudio) and not heard:
                self._ordered -= 1
                continue
            heard = isinstance(entry[1], AppendAudio)
            kept.append(entry)
        self._media = kept

    def serve(self, ready: Signal) -> None:
        """From now on another sender takes what waits here; `ready` wakes it."""
        self.ready = ready
        ready.set()

    def waiting_refs(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """References of all commands that wait and have one, and of the commits among them."""
        commands = (*self._control, *(each for _, each in self._media))
        refs = tuple(ref for each in commands if (ref := getattr(each, "ref", None)) is not None)
        commits = tuple(each.ref for _, each in self._media if isinstance(each, CommitAudio))
        return refs, commits

    def waiting_outputs(self) -> frozenset[str]:
        """The calls whose outcome waits to be written."""
        return frozenset(each.call_id for each in self._control if isinstance(each, SendToolOutput))

    @property
    def uncommitted_bytes(self) -> int:
        """Bytes of microphone audio that wait behind the last commit."""
        size = 0
        for _, command in reversed(self._media):
            if isinstance(command, CommitAudio):
                break
            if isinstance(command, AppendAudio):
                size += len(command.data)
        return size

    def drop_audio(self) -> None:
        """Drop all audio that waits, committed or not; what must stay in order with it remains."""
        kept = [entry for entry in self._media if not isinstance(entry[1], AppendAudio)]
        self._media = deque(kept)
        self._media_bytes = 0

    def _drop_stale(self, now: float) -> None:
        oldest_allowed = now - self._limits.mic_max_age
        while self._media_bytes and self._first_audio_time() < oldest_allowed:
            self._drop_oldest()

    def _first_audio_time(self) -> float:
        return next(at for at, command in self._media if isinstance(command, AppendAudio))

    def _drop_oldest(self) -> None:
        for index, (_, command) in enumerate(self._media):
            if isinstance(command, AppendAudio):
                del self._media[index]
                size = len(command.data)
                self._media_bytes -= size
                self.dropped_bytes += size
                self._untold += size
                return
        raise AssertionError("bytes are counted but no audio waits")


@attrs.define(eq=False)
class _Waiting:
    """How much audio of one response waits; `dead` once it was flushed."""

    bytes: int = 0
    dead: bool = False


@final
@attrs.define(eq=False)
class _Audio:
    """The place of one output chunk; the chunk itself may be dropped for lack of reading."""

    event: OutputAudioChunk | MediaGap | None
    response: _Waiting


class EventLane:
    """Events on their way to the application, in order.

    Output audio is bounded, by bytes and by chunks: the oldest is dropped, one `MediaGap` in its
    place.  Control events are never dropped: too many of them end the session.  One reader at a
    time.  `on_audio` is told of each chunk that is read, `on_dropped` of each that is dropped.

    Invariants: `_audio` holds, oldest first, exactly the places of the queue whose event is a
    chunk; `_audio_bytes` sums the chunks of live responses, `_dead_bytes` those of flushed ones;
    `_holes` counts the places of the queue that hold nothing any more.
    """

    def __init__(
        self,
        limits: SessionLimits,
        output_format: RealtimeAudioFormat,
        on_audio: Callable[[OutputAudioChunk], None],
        on_dropped: Callable[[OutputAudioChunk], None],
    ) -> None:
        self._limits = limits
        self._format = output_format
        self._on_audio = on_audio
        self._on_dropped = on_dropped
        self._queue: deque[RealtimeSessionEvent | _Audio] = deque()
        self._audio: deque[_Audio] = deque()
        self._live: dict[str | None, _Waiting] = {}  # by response id
        self._audio_bytes = 0
        self._dead_bytes = 0
        self._holes = 0
        self._control = 0  # events that are neither audio nor gaps
        self._gap: _Audio | None = None
        self._readable = Signal()
        self._busy = False
        self._since_yield = 0
        self._ended = False
        self._error: Exception | None = None
        self.dropped_bytes = 0

    def speak(self, output_format: RealtimeAudioFormat) -> None:
        """From now on the output audio is in this format."""
        self._format = output_format

    @property
    def waiting(self) -> int:
        """Control events that have not been read."""
        return self._control

    @property
    def left_unread(self) -> bool:
        """Something waits, and nobody is reading."""
        return bool(self._queue) and not self._busy

    @property
    def overflowing(self) -> bool:
        """More control events wait than an application that reads lets pile up."""
        return self._control > self._limits.waiting_events

    @property
    def audio_bytes(self) -> int:
        """Bytes of output audio that wait and will be delivered."""
        return self._audio_bytes

    # ---------------------------------------------------------------- writing

    def put(self, events: Iterable[RealtimeSessionEvent]) -> None:
        """Queue events and wake the reader once.  They are queued even when the lane overflows."""
        control = 0
        for event in events:
            if type(event) is OutputAudioChunk:
                self._put_audio(event)
            else:
                self._queue.append(event)
                control += 1
        self._control += control
        self._readable.set()

    def _put_audio(self, event: OutputAudioChunk) -> None:
        size = len(event.chunk.data)
        response = self._live.get(event.response_id)
        if response is None:
            response = self._live[event.response_id] = _Waiting()
        place = _Audio(event, response)
        self._queue.append(place)
        self._audio.append(place)
        self._audio_bytes += size
        response.bytes += size
        while self._audio_bytes > self._limits.output_audio_bytes or len(self._audio) > _CHUNKS:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        place = self._audio.popleft()
        event, place.event = place.event, None
        assert isinstance(event, OutputAudioChunk)
        if not self._uncount(event, place.response):
            self._leave_holes(1)
            return
        total = len(event.chunk.data)
        self.dropped_bytes += total
        self._on_dropped(event)
        if self._gap is None:
            self._gap = place
        else:
            assert isinstance(self._gap.event, MediaGap)
            total += self._gap.event.dropped_bytes
            self._leave_holes(1)
        self._gap.event = MediaGap(
            dropped_bytes=total, dropped_ms=round(self._format.duration_ms(total))
        )

    def _leave_holes(self, number: int) -> None:
        """Places of the queue have lost their event.  While nobody reads they must not pile up."""
        self._holes += number
        if self._holes > _HOLES and self._holes > len(self._queue) // 2:
            self._queue = deque(
                entry
                for entry in self._queue
                if not isinstance(entry, _Audio) or entry.event is not None
            )
            self._holes = 0

    def _uncount(self, event: OutputAudioChunk, response: _Waiting) -> bool:
        """Take a chunk that leaves the queue out of the books; say whether it was alive."""
        size = len(event.chunk.data)
        if response.dead:
            self._dead_bytes -= size
            return False
        self._audio_bytes -= size
        response.bytes -= size
        if not response.bytes:
            self._live.pop(event.response_id, None)
        return True

    def flush(self, response_id: str) -> None:
        """Drop the audio of one response that has not been read.

        Constant time, so that an interruption does not wait for its backlog: the chunks are skipped
        when the reader reaches them, or swept when they are many.
        """
        response = self._live.pop(response_id, None)
        if response is None:
            return
        response.dead = True
        self._audio_bytes -= response.bytes
        self._dead_bytes += response.bytes
        if self._dead_bytes > self._limits.output_audio_bytes:
            self._sweep()

    def _sweep(self) -> None:
        before = len(self._audio)
        for place in self._audio:
            if place.response.dead:
                place.event = None
        self._audio = deque(place for place in self._audio if place.event is not None)
        self._dead_bytes = 0
        self._leave_holes(before - len(self._audio))

    def end(self, error: Exception | None) -> None:
        """Let readers see the end after what is queued; `error` on every read after a failure."""
        self._ended = True
        self._error = error
        self._readable.set()

    # ---------------------------------------------------------------- reading

    async def get(self) -> RealtimeSessionEvent | None:
        """The next event; None after a clean end.  For the rest see `following`."""
        try:
            return await self.following()
        except StopAsyncIteration:
            return None

    async def following(self) -> RealtimeSessionEvent:
        """The next event.

        A checkpoint: a full one at least every 128 events and whenever the lane is empty, otherwise
        only a look for a cancellation.  Cancel-safe: a cancelled read loses nothing.

        Raises:
            StopAsyncIteration: the session has ended, and not by a failure.
            trio.BusyResourceError: another task is reading.
            LlmError: the session failed; the same error on every read.
        """
        if self._busy:
            raise trio.BusyResourceError("another task is reading this session's events")
        if self._queue and self._since_yield < _EVENTS_PER_YIELD:
            await trio.lowlevel.checkpoint_if_cancelled()
            entry = self._queue.popleft()
            if type(entry) is not _Audio:
                self._control -= 1
                event: RealtimeSessionEvent | None = entry
            else:
                event = self._taken(entry) or self._pop()
            if event is not None:
                self._since_yield += 1
                return event
        event = await self._wait()
        if event is None:
            raise StopAsyncIteration
        return event

    async def _wait(self) -> RealtimeSessionEvent | None:
        self._busy = True
        self._since_yield = 0
        try:
            # Waiting for the next event is a checkpoint already; another one would cost a paced
            # session a turn of the scheduler for each event.
            if self._queue or self._ended:
                await trio.lowlevel.checkpoint()
            while True:
                event = self._pop()
                if event is not None:
                    self._since_yield = 1
                    return event
                if self._ended:
                    if self._error is not None:
                        # Without what earlier reads have added: it would grow with each.
                        raise self._error.with_traceback(None)
                    return None
                await self._readable.wait()
        finally:
            self._busy = False

    def _pop(self) -> RealtimeSessionEvent | None:
        queue = self._queue
        while queue:
            entry = queue.popleft()
            if type(entry) is not _Audio:
                self._control -= 1
                return entry
            if (event := self._taken(entry)) is not None:
                return event
        return None

    def _taken(self, place: _Audio) -> OutputAudioChunk | MediaGap | None:
        """What the reader gets from a place that has left the queue, if anything."""
        event = place.event
        if type(event) is OutputAudioChunk:
            self._audio.popleft()
            response, size = place.response, len(event.chunk.data)
            if response.dead:
                self._dead_bytes -= size
                return None
            self._audio_bytes -= size
            response.bytes -= size
            if not response.bytes:
                self._live.pop(event.response_id, None)
            self._on_audio(event)
        elif event is None:
            self._holes -= 1
        else:
            self._gap = None
        return event
