"""Every deadline of a session, in one heap."""

from __future__ import annotations

import heapq
from typing import TypeAlias

Key: TypeAlias = tuple[str, str]
"""What a deadline is for: its kind, and the id of what it belongs to."""


class Deadlines:
    """Absolute times by key.

    Setting a key again replaces its time; equal times expire in the order of setting.  `changed`:
    something has been set or cancelled since `next` was asked for, which a session does not do once
    an event.
    """

    __slots__ = (
        "_current",
        "_heap",
        "_turn",
        "changed",
    )

    def __init__(self) -> None:
        self._current: dict[Key, tuple[float, int]] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._turn = 0
        self.changed = False

    def __len__(self) -> int:
        return len(self._current)

    def __contains__(self, key: Key) -> bool:
        return key in self._current

    def set(self, key: Key, when: float) -> None:
        """Expire `key` at `when`."""
        self.changed = True
        self._turn += 1
        self._current[key] = (when, self._turn)
        heapq.heappush(self._heap, (when, self._turn, key))
        # Entries that were cancelled or replaced stay in the heap until they come up; a key that is
        # set again and again must not make it grow.
        if len(self._heap) > 64 + 2 * len(self._current):
            self._heap = [(when, turn, key) for key, (when, turn) in self._current.items()]
            heapq.heapify(self._heap)

    def cancel(self, key: Key) -> None:
        """Forget `key`; harmless if it is not set."""
        if self._current.pop(key, None) is not None:
            self.changed = True

    def clear(self) -> None:
        """Forget everything."""
        self.changed = True
        self._current.clear()
        self._heap.clear()

    @property
    def next(self) -> float | None:
        """The earliest time, or None."""
        self.changed = False
        return self._first()

    def _first(self) -> float | None:
        heap = self._heap
        while heap:
            when, turn, key = heap[0]
            if self._current.get(key) == (when, turn):
                return when
            heapq.heappop(heap)
        return None

    def pop_due(self, now: float) -> Key | None:
        """Remove and return the earliest key whose time has come, or None."""
        when = self._first()
        if when is None or when > now:
            return None
        self.changed = True
        key = heapq.heappop(self._heap)[2]
        del self._current[key]
        return key
