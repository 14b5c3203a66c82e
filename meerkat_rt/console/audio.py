"""A microphone and a loudspeaker that keep the pace of real ones, without any hardware."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from meerkat_rt import RealtimeSession
    from meerkat_rt.model.events import OutputAudioChunk

FRAME_MS = 20  # what telephony and browsers send


class Microphone:
    """Streams what is being said, and silence in between, as a microphone does.

    `pace` is how many times faster than speech it streams.
    """

    def __init__(self, session: RealtimeSession, rate: int, pace: float) -> None:
        self._session = session
        self._frame = rate * 2 * FRAME_MS // 1000
        self._pace = pace
        self._saying = b""
        self._said = trio.Event()
        self.sent_ms = 0
        self.dropped_bytes = 0

    async def say(self, pcm: bytes) -> None:
        """Say something; returns when the last of it has been sent."""
        self._saying, self._said = pcm, trio.Event()
        await self._said.wait()

    async def run(self) -> None:
        """Stream until cancelled, or until the session is closed."""
        start = trio.current_time()
        while True:
            frame, self._saying = self._saying[: self._frame], self._saying[self._frame :]
            if not self._saying:
                self._said.set()
            frame = frame.ljust(self._frame, b"\0")
            self.dropped_bytes += await self._session.send_audio(frame)
            self.sent_ms += FRAME_MS
            # Against the start, not against the last frame: no drift.
            await trio.sleep_until(start + self.sent_ms / 1000 / self._pace)


class Loudspeaker:
    """Plays chunks one after the other and tells the session what has been heard.

    `pace` is how many times faster than speech it plays.  What was played is added to `heard`.
    """

    def __init__(self, session: RealtimeSession, pace: float, heard: bytearray) -> None:
        self._session = session
        self._pace = pace
        self._queue: deque[OutputAudioChunk] = deque()
        self._arrived = trio.Event()
        self._played_ms: dict[tuple[str, int], float] = {}
        self._silenced: set[str | None] = set()
        self._idle = trio.Event()
        self._idle.set()
        self._heard = heard

    @property
    def playing(self) -> bool:
        """Something is being played or waits to be."""
        return not self._idle.is_set()

    def put(self, event: OutputAudioChunk) -> None:
        """Queue a chunk."""
        self._queue.append(event)
        self._idle = trio.Event() if self._idle.is_set() else self._idle
        self._arrived.set()

    def silence(self, response_id: str | None) -> None:
        """Stop playing one response at once: what has not been played of it never will be."""
        self._silenced.add(response_id)
        self._queue = deque(event for event in self._queue if event.response_id != response_id)

    async def wait_idle(self) -> None:
        """Wait until everything queued has been played."""
        await self._idle.wait()

    async def run(self) -> None:
        """Play until cancelled."""
        while True:
            if not self._queue:
                self._idle.set()
                self._arrived = trio.Event()
                await self._arrived.wait()
            await self._play(self._queue.popleft())

    async def _play(self, event: OutputAudioChunk) -> None:
        chunk = event.chunk
        sound = chunk.format()
        step = sound.bytes_per_second * FRAME_MS // 1000
        key = (event.item_id or "", event.content_index or 0)
        for start in range(0, len(chunk.data), step):
            piece = chunk.data[start : start + step]
            await trio.sleep(sound.duration_ms(len(piece)) / 1000 / self._pace)
            self._heard += piece
            self._played_ms[key] = self._played_ms.get(key, 0.0) + sound.duration_ms(len(piece))
            if event.item_id is not None:
                self._session.playback.report(*key, round(self._played_ms[key]))
            if event.response_id in self._silenced:
                return
