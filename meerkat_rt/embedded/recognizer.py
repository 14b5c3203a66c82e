"""What the user said, in words, if somebody plugs in what can tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import trio

from .vad import FRAME_MS, SpeechStarted, SpeechStopped, VoiceActivityDetector

if TYPE_CHECKING:
    from collections.abc import Awaitable

SLICE_SECONDS = 10  # audio measured between two checkpoints: about 1 ms of work


class RecognitionFailed(Exception):
    """A recognizer could not make out words.

    The client gets a transcription failure with this text.
    """

    def __init__(self, message: str, *, code: str = "audio_unintelligible") -> None:
        super().__init__(message)
        self.code = code


class Recognizer(Protocol):
    """Turns speech into text.  One recognizer serves all sessions of a server."""

    def transcribe(self, audio: bytes, sample_rate: int) -> str | Awaitable[str]:
        """The words in `audio` (16-bit little-endian mono samples).

        A plain function runs in a worker thread, a coroutine function in the event loop.  "" stands
        for silence.  A recognizer that does not produce words sets the attribute `hears_words` to
        False: its text is shown to the client but never given to the brain.

        Raises:
            RecognitionFailed: the audio could not be understood.
        """
        ...


class SpeechMeter:
    """The recognizer that the server comes with: it measures and does not pretend to understand."""

    hears_words = False

    async def transcribe(self, audio: bytes, sample_rate: int) -> str:
        """How much speech there is, for instance "(1.8 s of speech)".  A checkpoint."""
        await trio.lowlevel.checkpoint()
        detector = VoiceActivityDetector(sample_rate)
        samples = np.frombuffer(audio, dtype="<i2")
        # Half a second of quiet at the end closes the last turn.
        samples = np.concatenate((samples, np.zeros(sample_rate, dtype=np.int16)))
        spoken = 0.0
        began = 0
        for start in range(0, len(samples), SLICE_SECONDS * sample_rate):
            for event in detector.feed(samples[start : start + SLICE_SECONDS * sample_rate]):
                match event:
                    case SpeechStarted(sample):
                        began = sample
                    case SpeechStopped(sample):
                        hang_over = detector.settings.silence_duration_ms * sample_rate // 1000
                        spoken += max(sample - hang_over - began, 0) / sample_rate
            await trio.lowlevel.checkpoint()
        if spoken * 1000 < FRAME_MS:
            return "(no speech)"
        return f"({spoken:.1f} s of speech)"
