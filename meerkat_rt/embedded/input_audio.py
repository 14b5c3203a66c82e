"""The input audio buffer: what the client said, cut into turns.

Without turn detection it gathers everything until it is committed or cleared.  With it, it keeps
the padding that a turn may begin with, and hands out each turn as it ends.  All times are
milliseconds of audio written since the session began.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import attrs

from .audio import PCM16, AudioFormat
from .faults import Fault
from .vad import SpeechStarted as RawStart
from .vad import SpeechStopped as RawStop
from .vad import VadSettings, VoiceActivityDetector

if TYPE_CHECKING:
    from .settings import TurnDetection

LEAST_COMMIT_MS = 100
ONSET_SLACK_MS = 200  # a turn is detected up to 100 ms after it began
STEP_MS = 4000  # audio examined in one step: 2 ms of work


@attrs.frozen
class TurnStarted:
    """Speech began; `audio_start_ms` includes the padding."""

    audio_start_ms: int


@attrs.frozen
class TurnStopped:
    """Speech ended; `audio` reaches from the start, padding included, to `audio_end_ms`."""

    audio_end_ms: int
    audio: bytes


@attrs.frozen
class IdleTimeout:
    """Nobody spoke for as long as the session allows; `audio` is the silence."""

    audio_start_ms: int
    audio_end_ms: int
    audio: bytes


InputEvent = TurnStarted | TurnStopped | IdleTimeout


class InputAudio:
    """One session's input audio buffer."""

    def __init__(self, *, limit: int) -> None:
        self.format: AudioFormat = PCM16
        self._limit = limit  # bytes; a client that never commits must not fill the memory
        self._detection: TurnDetection | None = None
        self._detector = VoiceActivityDetector(self.format.rate)
        self._waiting: deque[bytes] = deque()  # appended, not yet examined
        self._waiting_bytes = 0
        self._odd = b""  # the first half of a sample whose second half has not come
        self._buffer = bytearray()
        self._origin_ms = 0.0  # session time of the detector's sample 0
        self._examined = 0  # samples since the origin
        self._buffer_start = 0  # sample number of the buffer's first sample
        self._idle_deadline_ms: float | None = None

    @property
    def speaking(self) -> bool:
        """Whether a turn is being spoken."""
        return self._detection is not None and self._detector.speaking

    @property
    def position_ms(self) -> float:
        """Milliseconds of audio examined since the session began."""
        return self._time(self._examined)

    def _time(self, sample: int) -> float:
        return self._origin_ms + sample * 1000 / self.format.rate

    def configure(self, audio_format: AudioFormat, detection: TurnDetection | None) -> None:
        """Apply the session's format and turn detection; a new format empties the buffer."""
        if audio_format is not self.format:
            self._origin_ms = self.position_ms
            self.format = audio_format
            self._examined = 0
            self._detector = VoiceActivityDetector(audio_format.rate)
            self.clear()
            self._waiting.clear()
            self._waiting_bytes = 0
        if detection is None:
            self._detector.reset()
            self._idle_deadline_ms = None
        self._detection = detection
        self._detector.settings = VadSettings() if detection is None else detection.vad

    def append(self, data: bytes) -> None:
        """Take in what the client sent; `examine` then finds the turns in it.

        Raises:
            Fault: the buffer is full.
        """
        if len(self._buffer) + self._waiting_bytes + len(data) > self._limit:
            raise Fault(
                "input_audio_buffer_full",
                f"Error appending input audio: the buffer holds at most {self._limit} bytes. "
                "Commit or clear it.",
                param="audio",
            )
        data = self._odd + data
        whole = len(data) // self.format.width * self.format.width
        self._odd = data[whole:]
        step = self.format.bytes_for(STEP_MS)
        for start in range(0, whole, step):
            self._waiting.append(data[start : min(start + step, whole)])
        self._waiting_bytes += whole

    def examine(self) -> list[InputEvent]:
        """Look at the next few seconds of what was appended; what happened in it."""
        if not self._waiting:
            return []
        data = self._waiting.popleft()
        self._waiting_bytes -= len(data)
        self._buffer += data
        self._examined += len(data) // self.format.width
        # Fed in either mode, so that its sample numbers stay ours and it knows the noise floor.
        events = self._detector.feed(self.format.samples(data))
        if self._detection is None:
            self._detector.reset()
            return []
        found: list[InputEvent] = []
        for event in events:
            match event:
                case RawStart(sample):
                    self._idle_deadline_ms = None
                    found.append(self._started(sample, self._detection.vad.prefix_padding_ms))
                case RawStop(sample):
                    found.append(self._stopped(sample))
        found += self._idle()
        self._forget()
        return found

    @property
    def unexamined(self) -> bool:
        """Whether `examine` has more to do."""
        return bool(self._waiting)

    def _started(self, sample: int, padding_ms: int) -> TurnStarted:
        start = max(sample - padding_ms * self.format.rate // 1000, self._buffer_start)
        self._drop_before(start)
        return TurnStarted(int(self._time(start)))

    def _stopped(self, sample: int) -> TurnStopped:
        audio = self._take_until(sample)
        return TurnStopped(int(self._time(sample)), audio)

    def _idle(self) -> list[InputEvent]:
        detection, deadline = self._detection, self._idle_deadline_ms
        if detection is None or detection.idle_timeout_ms is None or deadline is None:
            return []
        if self.speaking or self.position_ms < deadline:
            return []
        self._idle_deadline_ms = None
        keep = self.format.bytes_for(detection.idle_timeout_ms) // self.format.width
        self._drop_before(max(self._examined - keep, self._buffer_start))
        start = int(self._time(self._buffer_start))
        audio = self._take_until(self._examined)
        return [IdleTimeout(start, int(self.position_ms), audio)]

    def start_idle_timer(self, played_out_ms: float) -> None:
        """Count silence from the moment that the reply will have been heard."""
        if self._detection is not None and self._detection.idle_timeout_ms is not None:
            heard = max(played_out_ms, self.position_ms)
            self._idle_deadline_ms = heard + self._detection.idle_timeout_ms

    def stop_idle_timer(self) -> None:
        """A response has begun; its end starts the timer again."""
        self._idle_deadline_ms = None

    def _forget(self) -> None:
        """Keep only what a turn that has not begun yet may need."""
        if self._detector.speaking or self._detection is None:
            return
        keep_ms = self._detection.vad.prefix_padding_ms + ONSET_SLACK_MS
        if self._idle_deadline_ms is not None:
            keep_ms = max(keep_ms, self._detection.idle_timeout_ms or 0)
        self._drop_before(self._examined - int(keep_ms * self.format.rate / 1000))

    def _drop_before(self, sample: int) -> None:
        dropped = max(sample - self._buffer_start, 0)
        del self._buffer[: dropped * self.format.width]
        self._buffer_start += dropped

    def _take_until(self, sample: int) -> bytes:
        size = (sample - self._buffer_start) * self.format.width
        audio = bytes(self._buffer[:size])
        self._drop_before(sample)
        return audio

    def force_stop(self) -> TurnStopped | None:
        """End the turn being spoken because the buffer is nearly full."""
        if len(self._buffer) + self.format.bytes_for(STEP_MS) < self._limit:
            return None
        return self.stop()

    def stop(self) -> TurnStopped | None:
        """End the turn being spoken, if there is one, without waiting for silence."""
        if not self.speaking:
            return None
        self._detector.reset()
        return self._stopped(self._examined)

    def commit(self) -> bytes:
        """Return everything in the buffer and empty it.

        Raises:
            Fault: code input_audio_buffer_commit_empty, for less than 100 ms.
        """
        have = self.format.milliseconds(len(self._buffer))
        if have < LEAST_COMMIT_MS:
            raise Fault(
                "input_audio_buffer_commit_empty",
                "Error committing input audio buffer: buffer too small. Expected at least "
                f"{LEAST_COMMIT_MS}ms of audio, but buffer only has {have:.2f}ms of audio.",
            )
        return self.take()

    def take(self) -> bytes:
        """Return everything in the buffer, however little, and empty it."""
        audio = self._take_until(self._examined)
        self._detector.reset()
        return audio

    def clear(self) -> None:
        """Forget what is in the buffer."""
        self._buffer.clear()
        self._odd = b""
        self._buffer_start = self._examined
        self._detector.reset()
