"""What waits for the application.

It belongs to the session, not to a connection, and is touched only in synchronous steps.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol, final

import attrs
import trio

from ..model.events import MediaGap, OutputAudioChunk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..model.events import RealtimeSessionEvent
    from ..model.media import RealtimeAudioFormat
    from .limits import SessionLimits
    from .reading import Wait

EVENTS_PER_YIELD = 128  # a full checkpoint costs as much as decoding two events
_CHUNKS = 65_536  # of audio that wait; at 20 ms each as long as the 32 MiB of the default limit
_HOLES = 1024  # places of dropped audio that a queue nobody reads may hold on to


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


class Source(Protocol):
    """Where events come from, for a reader that has nothing else to do; see `Reading`."""

    under_way: bool
    wait: Wait

    def enter(self) -> bool: ...

    def heard(self, frames: list[bytes] | None) -> None: ...

    def failed(self, failure: BaseException) -> bool: ...

    def interrupt(self) -> None: ...


class EventLane:
    """Events on their way to the application, in order.

    Output audio is bounded, by bytes and by chunks: the oldest is dropped, one `MediaGap` in its
    place.  Control events are never dropped: too many of them end the session.  One reader at a
    time.  `on_audio` is told of each chunk that is read and its bytes, or of the first of several
    of one part that are read at once, and the bytes of all; `on_dropped` of each that is dropped.

    Invariants: `_audio` holds, oldest first, exactly the places of the queue whose event is a
    chunk; `_audio_bytes` sums the chunks of live responses, `_dead_bytes` those of flushed ones;
    `_holes` counts the places of the queue that hold nothing any more, `_gap` is the one that holds
    a `MediaGap`.
    """

    def __init__(
        self,
        limits: SessionLimits,
        output_format: RealtimeAudioFormat,
        on_audio: Callable[[OutputAudioChunk, int], None],
        on_dropped: Callable[[OutputAudioChunk], None],
    ) -> None:
        self._limits = limits
        self._most = limits.waiting_events
        self._format = output_format
        self._on_audio = on_audio
        self._on_dropped = on_dropped
        self._queue: deque[RealtimeSessionEvent | _Audio] = deque()
        self._audio: deque[_Audio] = deque()
        self._live: dict[str | None, _Waiting] = {}  # by response id
        self._audio_bytes = 0
        self._dead_bytes = 0
        self._holes = 0
        self._gap: _Audio | None = None
        self._reader: trio.lowlevel.Task | None = None  # asleep until something comes
        self._source: Source | None = None
        self._busy = False
        self._since_yield = 0
        self._ended = False
        self._error: Exception | None = None
        self.dropped_bytes = 0

    def speak(self, output_format: RealtimeAudioFormat) -> None:
        """From now on the output audio is in this format."""
        self._format = output_format

    def draw_from(self, source: Source | None) -> None:
        """From now on a reader that finds nothing here looks there while it waits."""
        self._wake()
        self._source = source

    @property
    def waiting(self) -> int:
        """Control events that have not been read: what is neither audio nor its gap."""
        places = len(self._audio) + self._holes + (self._gap is not None)
        return len(self._queue) - places

    @property
    def left_unread(self) -> bool:
        """Something waits, and nobody is reading."""
        return bool(self._queue) and not self._busy

    @property
    def audio_bytes(self) -> int:
        """Bytes of output audio that wait and will be delivered."""
        return self._audio_bytes

    # ---------------------------------------------------------------- writing

    def put(self, events: Iterable[RealtimeSessionEvent]) -> bool:
        """Queue events and wake the reader once.

        Returns whether more control events wait now than an application that reads lets pile up.
        """
        queue = self._queue
        added = 0
        for event in events:
            if type(event) is OutputAudioChunk:
                response = self._live.get(event.response_id)
                if response is None:
                    response = self._live[event.response_id] = _Waiting()
                place = _Audio(event, response)
                queue.append(place)
                self._audio.append(place)
                size = len(event.chunk.data)
                response.bytes += size
                added += size
            else:
                queue.append(event)
        if self._audio:
            self._audio_bytes += added
            self._keep_bounds()
        # Whoever reads the connection itself needs no waking, and pays for no call at each event.
        if self._reader is not None or (self._source is not None and self._source.under_way):
            self._wake()
        return len(queue) > self._most and self.waiting > self._most

    def _keep_bounds(self) -> None:
        while self._audio and (
            self._audio_bytes > self._limits.output_audio_bytes or len(self._audio) > _CHUNKS
        ):
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
            self._forget(event.response_id, response)
        return True

    def _forget(self, response_id: str | None, response: _Waiting) -> None:
        """Nothing of the response waits, unless a chunk without a byte was the last to be read."""
        if self._live.get(response_id) is response:
            del self._live[response_id]

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
        self._wake()

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
            self.check_reader()
        if self._queue and self._since_yield < EVENTS_PER_YIELD:
            await trio.lowlevel.checkpoint_if_cancelled()
            entry = self._queue.popleft()
            if type(entry) is not _Audio:
                self._since_yield += 1
                return entry
            if (event := self._taken(entry)) is not None:
                self._since_yield += 1
                return event
            # Audio that is not there any more.
        self._busy = True
        self._since_yield = 1
        try:
            # Waiting for the next event is a checkpoint already; another one would cost a paced
            # session a turn of the scheduler for each event.
            if self._queue or self._ended:
                await trio.lowlevel.checkpoint()
            while True:
                if self._queue:
                    entry = self._queue.popleft()
                    if type(entry) is not _Audio:
                        return entry
                    if (event := self._taken(entry)) is not None:
                        return event
                elif not self._ended:
                    source = self._source
                    if source is not None and source.enter():
                        wait = source.wait
                        try:
                            frames = await wait()
                        except BaseException as failure:
                            if not source.failed(failure):
                                raise
                        else:
                            source.heard(frames)
                            frames = None  # is not kept while nothing comes
                        continue
                    # A coroutine of its own for the sleep would cost each event of a paced session.
                    self._reader = trio.lowlevel.current_task()
                    await trio.lowlevel.wait_task_rescheduled(self._leave)
                elif self._error is not None:
                    # Without what earlier reads have added: it would grow with each.
                    raise self._error.with_traceback(None)
                else:
                    raise StopAsyncIteration
        finally:
            self._busy = False

    def check_reader(self) -> None:
        """Refuse a second reader.

        Raises:
            trio.BusyResourceError: another task is reading.
        """
        if self._busy:
            raise trio.BusyResourceError("another task is reading this session's events")

    def poll(self) -> RealtimeSessionEvent | None:
        """What can be read without waiting, if anything can.  No checkpoint.

        Raises:
            trio.BusyResourceError: another task is reading.
        """
        self.check_reader()
        while self._queue:
            entry = self._queue.popleft()
            event = self._taken(entry) if type(entry) is _Audio else entry
            if event is not None:
                return event
        return None

    async def take(self) -> list[RealtimeSessionEvent]:
        """The next event and those that wait behind it, in order.

        At most as many as may be read without a full checkpoint; for the rest see `following`.
        """
        events = [await self.following()]
        most = EVENTS_PER_YIELD + 1 - self._since_yield
        queue = self._queue
        chunk: OutputAudioChunk | None = None  # the first of those that are to be told of
        size = 0  # of all of them
        while queue and len(events) < most:
            entry = queue.popleft()
            if type(entry) is not _Audio:
                events.append(entry)
                continue
            event = self._taken(entry, tell=False)
            if event is None:
                continue
            events.append(event)
            if type(event) is OutputAudioChunk:
                if chunk is not None and not _of_one_part(chunk, event):
                    self._on_audio(chunk, size)
                    chunk, size = None, 0
                chunk = chunk or event
                size += len(event.chunk.data)
        if chunk is not None:
            self._on_audio(chunk, size)
        self._since_yield += len(events) - 1
        return events

    def _wake(self) -> None:
        reader = self._reader
        if reader is not None:
            self._reader = None
            trio.lowlevel.reschedule(reader)
        elif self._source is not None and self._source.under_way:
            self._source.interrupt()

    def _leave(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self._reader = None
        return trio.lowlevel.Abort.SUCCEEDED

    def _taken(self, place: _Audio, *, tell: bool = True) -> OutputAudioChunk | MediaGap | None:
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
                self._forget(event.response_id, response)
            if tell:
                self._on_audio(event, size)
        elif event is None:
            self._holes -= 1
        else:
            self._gap = None
        return event


def _of_one_part(one: OutputAudioChunk, other: OutputAudioChunk) -> bool:
    return one.item_id == other.item_id and one.content_index == other.content_index
