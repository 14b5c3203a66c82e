"""The lanes of a session: what waits to be sent, and what waits for the application.

Both belong to the session, not to a connection, and are touched only in synchronous steps.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import attrs
import trio

from ..model.events import MediaGap, OutputAudioChunk
from ..turn.ports import AppendAudio, CommitAudio, CreateItem, CreateResponse, SendRaw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..model.events import RealtimeSessionEvent
    from ..model.media import RealtimeAudioFormat
    from ..turn.ports import ProviderCommand
    from .limits import SessionLimits

# Commands that must not overtake audio which was accepted before them, once a commit waits behind
# that audio: the provider must see the audio, the commit, and only then the request to answer it.
_FENCED = (CreateResponse, CreateItem, SendRaw)

_EVENTS_PER_YIELD = 64  # a full checkpoint costs as much as decoding two events


class Signal:
    """A flag that one task waits for.  Setting it twice before the wait is setting it once."""

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
        await trio.lowlevel.checkpoint_if_cancelled()
        if not self._set:
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

    def __init__(self, limits: SessionLimits) -> None:
        self._limits = limits
        self.ready = Signal()  # something waits for the sender; also set for protocol frames
        self.drained = trio.lowlevel.ParkingLot()  # whoever waits for empty lanes
        self._control: deque[ProviderCommand] = deque()
        self._media: deque[tuple[float, ProviderCommand]] = deque()
        self._media_bytes = 0
        self._fences = 0  # commits waiting in the media lane
        self._room = trio.lowlevel.ParkingLot()
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

        A checkpoint; cancel-safe.  Capacity is not held: the caller's next step is synchronous.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while len(self._control) >= self._limits.control_commands:
            await self._room.park()

    def put(self, command: ProviderCommand, now: float) -> None:
        """Queue a command in the lane it belongs to."""
        if isinstance(command, CommitAudio):
            self._fences += 1
            self._media.append((now, command))
        elif self._fences and isinstance(command, _FENCED):
            self._media.append((now, command))
        else:
            self._control.append(command)
        self.ready.set()

    def put_audio(self, data: bytes, now: float) -> int:
        """Queue microphone audio; return how many bytes of older audio were dropped for it."""
        self._media.append((now, AppendAudio(data)))
        self._media_bytes += len(data)
        dropped = self._drop_stale(now)
        while self._media_bytes > self._limits.mic_max_bytes:
            dropped += self._drop_oldest()
        self.ready.set()
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
            elif isinstance(command, CommitAudio):
                self._fences -= 1
            taken.append(command)
        return taken

    def flush_audio(self) -> None:
        """Drop the microphone audio that waits; what must stay in order with it remains."""
        kept = [entry for entry in self._media if not isinstance(entry[1], AppendAudio)]
        self._media = deque(kept)
        self._media_bytes = 0

    def _drop_stale(self, now: float) -> int:
        oldest_allowed = now - self._limits.mic_max_age
        dropped = 0
        while self._media_bytes and self._first_audio_time() < oldest_allowed:
            dropped += self._drop_oldest()
        return dropped

    def _first_audio_time(self) -> float:
        return next(at for at, command in self._media if isinstance(command, AppendAudio))

    def _drop_oldest(self) -> int:
        for index, (_, command) in enumerate(self._media):
            if isinstance(command, AppendAudio):
                del self._media[index]
                size = len(command.data)
                self._media_bytes -= size
                self.dropped_bytes += size
                return size
        raise AssertionError("bytes are counted but no audio waits")


@attrs.define(eq=False)
class _Waiting:
    """How much audio of one response waits; `dead` once it was flushed."""

    bytes: int = 0
    dead: bool = False


@attrs.define(eq=False)
class _Audio:
    """The place of one output chunk; the chunk itself may be dropped for lack of reading."""

    event: OutputAudioChunk | MediaGap | None
    response: _Waiting


class EventLane:
    """Events on their way to the application, in order.

    Output audio is bounded by bytes: the oldest is dropped, one `MediaGap` in its place.  Control
    events are never dropped: too many of them end the session.  One reader at a time.

    Invariants: `_audio` holds, oldest first, exactly the places of the queue whose event is a
    chunk; `_audio_bytes` sums the chunks of live responses, `_dead_bytes` those of flushed ones.
    """

    def __init__(
        self,
        limits: SessionLimits,
        output_format: RealtimeAudioFormat,
        on_audio: Callable[[OutputAudioChunk], None],
    ) -> None:
        self._limits = limits
        self._format = output_format
        self._on_audio = on_audio
        self._queue: deque[RealtimeSessionEvent | _Audio] = deque()
        self._audio: deque[_Audio] = deque()
        self._live: dict[str | None, _Waiting] = {}  # by response id
        self._audio_bytes = 0
        self._dead_bytes = 0
        self._control = 0  # events that are neither audio nor gaps
        self._gap: _Audio | None = None
        self._readable = Signal()
        self._busy = False
        self._since_yield = 0
        self._ended = False
        self._error: Exception | None = None
        self.dropped_bytes = 0

    @property
    def waiting(self) -> int:
        """Control events that have not been read."""
        return self._control

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
        append = self._queue.append
        for event in events:
            if type(event) is OutputAudioChunk:
                self._put_audio(event)
            else:
                append(event)
                self._control += 1
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
        while self._audio_bytes > self._limits.output_audio_bytes:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        place = self._audio.popleft()
        event, place.event = place.event, None
        assert isinstance(event, OutputAudioChunk)
        if not self._uncount(event, place.response):
            return
        total = len(event.chunk.data)
        self.dropped_bytes += total
        if self._gap is None:
            self._gap = place
        elif isinstance(self._gap.event, MediaGap):
            total += self._gap.event.dropped_bytes
        self._gap.event = MediaGap(
            dropped_bytes=total, dropped_ms=round(self._format.duration_ms(total))
        )

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
        for place in self._audio:
            if place.response.dead:
                place.event = None
        self._audio = deque(place for place in self._audio if place.event is not None)
        self._dead_bytes = 0

    def end(self, error: Exception | None) -> None:
        """Let readers see the end after what is queued; `error` on every read after a failure."""
        self._ended = True
        self._error = error
        self._readable.set()

    # ---------------------------------------------------------------- reading

    async def get(self) -> RealtimeSessionEvent | None:
        """The next event; None after a clean end.

        A checkpoint: a full one at least every 64 events and whenever the lane is empty, in between
        only a look for a cancellation.  Cancel-safe: a cancelled read loses nothing.

        Raises:
            trio.BusyResourceError: another task is reading.
            LlmError: the session failed; the same error on every read.
        """
        if self._busy:
            raise trio.BusyResourceError("another task is reading this session's events")
        self._busy = True
        try:
            if self._since_yield >= _EVENTS_PER_YIELD or not self._queue:
                self._since_yield = 0
                await trio.lowlevel.checkpoint()
            else:
                await trio.lowlevel.checkpoint_if_cancelled()
            while True:
                event = self._pop()
                if event is not None:
                    self._since_yield += 1
                    return event
                if self._ended:
                    if self._error is not None:
                        raise self._error
                    return None
                await self._readable.wait()
        finally:
            self._busy = False

    def _pop(self) -> RealtimeSessionEvent | None:
        queue = self._queue
        while queue:
            entry = queue.popleft()
            if not isinstance(entry, _Audio):
                self._control -= 1
                return entry
            event = entry.event
            if isinstance(event, MediaGap):
                self._gap = None
                return event
            if event is not None:
                self._audio.popleft()
                if self._uncount(event, entry.response):
                    self._on_audio(event)
                    return event
        return None
