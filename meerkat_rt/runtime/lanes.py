"""What waits to be sent.

It belongs to the session, not to a connection, and is touched only in synchronous steps.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import trio

from ..turn.ports import (
    AppendAudio,
    ClearAudio,
    CommitAudio,
    CreateItem,
    CreateResponse,
    SendRaw,
    SendToolOutput,
)
from .signal import Signal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..turn.ports import ProviderCommand
    from .limits import SessionLimits

# Commands that must not overtake a commit which waits behind its audio, nor each other then: the
# provider must see the audio, the commit, and only then the request to answer it.
_ORDERED = (ClearAudio, CreateItem, CreateResponse, SendRaw)

_KEPT = (AppendAudio, CommitAudio, ClearAudio)  # of the media lane, from one link to the next


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
        if self._media and self._media[0][0] >= oldest_allowed:
            return  # they are in the order of their times
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
