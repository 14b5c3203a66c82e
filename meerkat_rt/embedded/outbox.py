"""Frames on their way to a client: many put, one takes, and a full box makes the putters wait."""

from __future__ import annotations

from collections import deque

import attrs
import trio


@attrs.frozen
class CloseFrame:
    """The last thing to send: a close frame."""

    code: int
    reason: str


class Outbox:
    """An ordered queue of frames (`str`: text, `bytes`: binary), bounded by size.

    `put` never blocks, because it is called from synchronous steps; whoever can wait calls `room`
    before the step.  So the box holds at most its limit and what one step per putter adds.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit  # characters or bytes
        self._frames: deque[str | bytes | CloseFrame] = deque()
        self._size = 0
        self._closing = False
        self._filled = trio.Event()
        self._drained = trio.Event()

    def put(self, frame: str | bytes) -> None:
        """Queue a frame; after `finish` it is dropped."""
        if not self._closing:
            self._frames.append(frame)
            self._size += len(frame)
            self._filled.set()

    def finish(self, code: int, reason: str) -> None:
        """Queue the close frame; a second call does nothing."""
        if not self._closing:
            self._closing = True
            self._frames.append(CloseFrame(code, reason))
            self._filled.set()

    async def take(self) -> str | bytes | CloseFrame:
        """Wait for the next frame.  A checkpoint; cancel-safe."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._frames:
            self._filled = trio.Event()
            await self._filled.wait()
        frame = self._frames.popleft()
        if not isinstance(frame, CloseFrame):
            self._size -= len(frame)
        if self._size < self._limit:
            self._drained.set()
            self._drained = trio.Event()
        await trio.lowlevel.cancel_shielded_checkpoint()
        return frame

    async def room(self) -> None:
        """Wait until the box is below its limit.  A checkpoint."""
        await trio.lowlevel.checkpoint()
        while self._size >= self._limit and not self._closing:
            await self._drained.wait()
