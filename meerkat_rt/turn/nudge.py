"""When a silent model is asked again, and when it is declared stalled.

A clock belongs to one obligation: something that the model ought to answer.  Its windows end at
`start + k * timeout`, whatever else happens in the session.
"""

from __future__ import annotations

import math
from enum import Enum, auto


class NudgePhase(Enum):
    """Where a clock is."""

    IDLE = auto()  # nothing is owed, or it waits for its turn to be sent
    AWAITING = auto()  # the model owes an answer
    NUDGED = auto()  # it has been asked again
    ACKNOWLEDGED = auto()  # it has said that it will answer, but nothing came yet
    STALLED = auto()  # it was given up


class NudgeTrigger(Enum):
    """What moves a clock."""

    ARM = auto()
    NUDGE = auto()
    ACKNOWLEDGE = auto()
    DISARM = auto()
    GIVE_UP = auto()


_P, _T = NudgePhase, NudgeTrigger

NUDGE_TABLE: dict[NudgePhase, dict[NudgeTrigger, NudgePhase]] = {
    _P.IDLE: {_T.ARM: _P.AWAITING, _T.ACKNOWLEDGE: _P.ACKNOWLEDGED},
    _P.AWAITING: {
        _T.NUDGE: _P.NUDGED,
        _T.ACKNOWLEDGE: _P.ACKNOWLEDGED,
        _T.DISARM: _P.IDLE,
        _T.GIVE_UP: _P.STALLED,
    },
    _P.NUDGED: {
        _T.NUDGE: _P.NUDGED,
        _T.ACKNOWLEDGE: _P.ACKNOWLEDGED,
        _T.DISARM: _P.IDLE,
        _T.GIVE_UP: _P.STALLED,
    },
    _P.ACKNOWLEDGED: {_T.DISARM: _P.IDLE, _T.GIVE_UP: _P.STALLED},
    _P.STALLED: {},
}


class NudgeClock:
    """The clock of one obligation.

    `attempts` counts nudges, and the passive windows of one that is acknowledged.
    """

    def __init__(self, timeout: float) -> None:
        self.phase = NudgePhase.IDLE
        self.attempts = 0
        self._timeout = timeout
        self._start = 0.0
        self._window = 0

    def fire(self, trigger: NudgeTrigger) -> bool:
        """Take the transition if there is one; whether there was."""
        phase = NUDGE_TABLE[self.phase].get(trigger)
        if phase is None:
            return False
        self.phase = phase
        return True

    @property
    def running(self) -> bool:
        """The clock has a deadline."""
        return self.phase in (NudgePhase.AWAITING, NudgePhase.NUDGED, NudgePhase.ACKNOWLEDGED)

    def arm(self, now: float) -> None:
        """The answer is owed from `now` on.  Earlier attempts for the same obligation count."""
        if self.fire(NudgeTrigger.ARM):
            self._start = now
            self._window = 1

    @property
    def deadline(self) -> float:
        """The end of the present window."""
        return self._start + self._window * self._timeout

    @property
    def waited_ms(self) -> int:
        """Milliseconds from the start to the end of the present window."""
        return round(self._window * self._timeout * 1000)

    def next_window(self, now: float) -> None:
        """The present window is over.

        Windows that were missed altogether do not follow in a burst.
        """
        elapsed = math.floor((now - self._start) / self._timeout)
        self._window = max(self._window, elapsed) + 1
