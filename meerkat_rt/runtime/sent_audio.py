"""What was written of the user's audio, for as long as it may have to be written again.

The provider's buffer dies with its connection.  What was in it and is not too old is sent once more
on the next one, to a session that has never heard it.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

from ..turn.ports import AppendAudio, ClearAudio, CommitAudio

if TYPE_CHECKING:
    from ..model.media import RealtimeAudioFormat
    from ..turn.ports import ProviderCommand

TRUSTED_MS = 100  # by which a provider may count more audio than it was sent


class SentAudio:
    """The audio written on one connection within the last `max_age` seconds, with its commits.

    `kept_since` is when it began to remember, -inf if that was with the connection.

    Invariant: everything written after `kept_since`, and not cleared since, is here.
    """

    def __init__(self, max_age: float, fmt: RealtimeAudioFormat, kept_since: float) -> None:
        self.kept_since = kept_since
        self._counted = kept_since == -math.inf  # all bytes of the connection
        self._max_age = max_age
        self._bytes_per_ms = fmt.bytes_per_second / 1000
        self._entries: deque[tuple[float, int, ProviderCommand]] = deque()  # time, bytes until then
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def note(self, commands: list[ProviderCommand], now: float) -> None:
        """These commands are being written."""
        for command in commands:
            kind = type(command)
            if kind is AppendAudio:
                self._bytes += len(command.data)  # type: ignore[union-attr]
            elif kind is ClearAudio:
                self._entries.clear()
                continue
            elif kind is not CommitAudio:
                continue
            self._entries.append((now, self._bytes, command))
        self.prune(now)

    def prune(self, now: float) -> None:
        """Forget what has become too old to be sent again."""
        oldest = now - self._max_age
        entries = self._entries
        while entries and entries[0][0] < oldest:
            self.kept_since = entries.popleft()[0]

    def since(self, time: float, heard_ms: int | None) -> list[tuple[float, ProviderCommand]]:
        """What was written after `time`, or after `heard_ms` of audio where that is given."""
        most = self._bytes + TRUSTED_MS * self._bytes_per_ms
        if self._counted and heard_ms is not None and heard_ms * self._bytes_per_ms <= most:
            heard = heard_ms * self._bytes_per_ms
            return [(at, command) for at, end, command in self._entries if end > heard]
        return [(at, command) for at, _, command in self._entries if at >= time]
