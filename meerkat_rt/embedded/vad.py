"""Voice activity by energy over an adaptive noise floor.

Time is counted in samples: the same audio gives the same turns, however fast it arrives.

The audio is cut into frames of 20 ms.  A frame is voiced when its level stands `margin` dB above
the noise floor and above an absolute gate.  The floor is a low percentile of the levels of the last
three seconds in blocks of 100 ms: speech has gaps, so its floor stays down, while a steady noise
lifts the floor to itself and goes quiet.  A turn starts when three of five frames are voiced (a
click has one), and ends when `silence_duration_ms` have passed without a voiced frame.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import attrs
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

FRAME_MS = 20
BLOCK_FRAMES = 5  # 100 ms: long enough that noise averages out, short enough to fall between words
FLOOR_BLOCKS = 30  # three seconds of history
FLOOR_RANK = 10  # the floor is the lowest tenth of the history
FLOOR_CAP = -38.0  # dBFS; until the history is full, it may hold nothing but speech
ONSET_FRAMES = 5
ONSET_VOICED = 3
HYSTERESIS = 4.0  # dB that a running turn may be softer than what starts one
QUIETEST = -96.0  # dBFS of 16-bit digital silence


@attrs.frozen(kw_only=True)
class VadSettings:
    """What a session says about turn detection by silence.

    `threshold` from 0 (nearly everything is speech) to 1 (only what is loud); times in
    milliseconds.
    """

    threshold: float = 0.5
    prefix_padding_ms: int = 300
    silence_duration_ms: int = 500

    @property
    def margin(self) -> float:
        """Decibels over the noise floor that make a frame voiced."""
        return 3.0 + 12.0 * self.threshold

    @property
    def gate(self) -> float:
        """dBFS below which nothing is speech, however quiet it was before.

        Room tone is at -70 to -48 and soft speech close to a microphone peaks above -40, so by
        default what is below -45 does not count; else a fan that starts would be a turn.
        """
        return -55.0 + 20.0 * self.threshold


@attrs.frozen
class SpeechStarted:
    """A turn began; `sample` is where its first voiced frame starts, without padding."""

    sample: int


@attrs.frozen
class SpeechStopped:
    """A turn ended; `sample` is one past its last, the silence that ended it included."""

    sample: int


class VoiceActivityDetector:
    """The turns in one stream of samples."""

    def __init__(self, rate: int, settings: VadSettings | None = None) -> None:
        self.rate = rate
        self.settings = settings or VadSettings()
        self.speaking = False
        self.position = 0  # samples seen in whole frames
        self.voiced_frames = 0  # of the current turn, or of the one that ended last
        self._frame = rate * FRAME_MS // 1000
        self._rest = np.empty(0, dtype=np.int16)
        self._block: list[float] = []
        self._floor_history: deque[float] = deque(maxlen=FLOOR_BLOCKS)
        self.floor = FLOOR_CAP  # the estimated noise floor in dBFS
        self._recent: deque[bool] = deque(maxlen=ONSET_FRAMES)
        self._quiet_frames = 0

    def reset(self) -> None:
        """End the current turn without an event; the noise floor is kept."""
        self.speaking = False
        self._recent.clear()
        self._quiet_frames = 0

    def feed(self, samples: NDArray[np.int16]) -> list[SpeechStarted | SpeechStopped]:
        """Return the turn boundaries inside `samples` (and what was left of the last call)."""
        audio = np.concatenate((self._rest, samples)) if len(self._rest) else samples
        whole = len(audio) // self._frame * self._frame
        self._rest = audio[whole:].copy()
        frames = audio[:whole].reshape(-1, self._frame).astype(np.float32) / 32768.0
        # Without its mean: a microphone's DC offset is not sound.
        power = np.maximum(np.var(frames, axis=1, dtype=np.float32), 10 ** (QUIETEST / 10))
        events: list[SpeechStarted | SpeechStopped] = []
        for level in (10.0 * np.log10(power)).tolist():
            self._step(level, events)
        return events

    def _step(self, level: float, events: list[SpeechStarted | SpeechStopped]) -> None:
        needed = max(self.floor + self.settings.margin, self.settings.gate)
        voiced = level > needed - (HYSTERESIS if self.speaking else 0.0)
        self._learn(level)
        self.position += self._frame
        if self.speaking:
            self.voiced_frames += voiced
            self._quiet_frames = 0 if voiced else self._quiet_frames + 1
            if self._quiet_frames * FRAME_MS >= max(self.settings.silence_duration_ms, FRAME_MS):
                self.reset()
                events.append(SpeechStopped(self.position))
            return
        self._recent.append(voiced)
        if sum(self._recent) >= ONSET_VOICED:
            first = self._recent.index(True)
            self.voiced_frames = sum(self._recent)
            events.append(SpeechStarted(self.position - (len(self._recent) - first) * self._frame))
            self.reset()
            self.speaking = True

    def _learn(self, level: float) -> None:
        self._block.append(level)
        if len(self._block) < BLOCK_FRAMES:
            return
        self._floor_history.append(sum(self._block) / BLOCK_FRAMES)
        self._block.clear()
        history = sorted(self._floor_history)
        low = history[len(history) // FLOOR_RANK]
        self.floor = low if len(history) == FLOOR_BLOCKS else min(low, FLOOR_CAP)
