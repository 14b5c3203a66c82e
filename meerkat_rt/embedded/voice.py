"""A synthetic voice: tones shaped like speech, as long as the text would take to say.

It says no words and does not pretend to.  Each syllable is a harmonic tone under three formants
(those of its vowel), with a soft consonant in front, on a pitch line that falls over a sentence and
rises at a question.  The same text, voice and rate give the same samples.  Audio is made on demand,
a syllable at a time (well under a millisecond each), so that a long answer never holds up an event
loop.
"""

from __future__ import annotations

import re
import zlib
from functools import lru_cache
from typing import TYPE_CHECKING

import attrs
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

# Seconds.  With 1.5 syllables a word this comes to about 150 words a minute.
SYLLABLE = 0.225
WORD_GAP = 0.065
COMMA_GAP = 0.16
SENTENCE_GAP = 0.30
LEVEL = 0.22  # of full scale: comfortable, and far above any noise floor

# First three formants in Hz of five vowels (Peterson and Barney 1952, rounded means of their
# speakers).
_FORMANTS = {
    "a": (750.0, 1150.0, 2500.0),
    "e": (530.0, 1850.0, 2500.0),
    "i": (290.0, 2300.0, 3000.0),
    "o": (560.0, 870.0, 2450.0),
    "u": (320.0, 850.0, 2250.0),
}
_BANDWIDTHS = (90.0, 130.0, 190.0)
_GAINS = (1.0, 0.5, 0.18)
_WORDS = re.compile(r"\S+\s*")
_VOWELS = re.compile(r"[aeiouyAEIOUY]+")
# Pitch steps in semitones that the melody moves by: a pentatonic scale cannot sound sour.
_STEPS = (0.0, 2.0, 4.0, -3.0, -5.0, 7.0)


@attrs.frozen(kw_only=True)
class Word:
    """One word: its text with the space after it, and when it is said, in seconds."""

    text: str
    start: float
    end: float


@attrs.frozen(kw_only=True)
class _Syllable:
    start: float
    seconds: float
    pitch: float
    vowel: str
    consonant: float  # strength of the noise in front, 0 for none
    seed: int


@attrs.frozen(kw_only=True)
class Utterance:
    """A text as it will sound; `seconds` is its length."""

    words: tuple[Word, ...]
    seconds: float
    rate: int
    _syllables: tuple[_Syllable, ...] = attrs.field(alias="syllables")

    @property
    def samples(self) -> int:
        """How many samples `render` gives in all."""
        return int(self.seconds * self.rate)

    def render(self, chunk_samples: int) -> Iterator[NDArray[np.int16]]:
        """Yield the audio in chunks of `chunk_samples` (the last may be shorter)."""
        waiting = iter(self._syllables)
        upcoming = next(waiting, None)
        # Syllables overlap a chunk's edge; what lies beyond it is carried over.
        carried = np.zeros(0, dtype=np.float32)
        for start in range(0, self.samples, chunk_samples):
            size = min(chunk_samples, self.samples - start)
            work = np.zeros(max(size, len(carried)), dtype=np.float32)
            work[: len(carried)] += carried
            while upcoming is not None and int(upcoming.start * self.rate) < start + size:
                tone = _render(upcoming, self.rate)
                offset = int(upcoming.start * self.rate) - start
                if offset + len(tone) > len(work):
                    work = np.pad(work, (0, offset + len(tone) - len(work)))
                work[offset : offset + len(tone)] += tone
                upcoming = next(waiting, None)
            carried = work[size:]
            yield np.clip(np.rint(work[:size] * 32767.0), -32768, 32767).astype(np.int16)


def speak(text: str, *, voice: str, rate: int, speed: float = 1.0) -> Utterance:
    """Plan how `voice` says `text` at `rate` samples a second; `speed` 2 takes half the time."""
    base = 105.0 + zlib.crc32(voice.encode()) % 110  # Hz: each voice has its own pitch
    words: list[Word] = []
    syllables: list[_Syllable] = []
    now = 0.0
    phrase = 0  # syllables since the sentence began
    for match in _WORDS.finditer(text):
        word = match.group()
        start = now
        groups = _VOWELS.findall(word) or [word[0]]
        asks = word.rstrip().rstrip("\"')").endswith("?")
        for index, vowels in enumerate(groups):
            seed = zlib.crc32(f"{voice}|{match.start()}|{index}|{word}".encode())
            last = index == len(groups) - 1
            syllables.append(
                _Syllable(
                    start=now,
                    seconds=SYLLABLE / speed,
                    pitch=_pitch(base, phrase, seed, rising=asks and last),
                    vowel=_vowel(vowels),
                    consonant=0.0 if index == 0 and word[0] in "aeiouAEIOU" else 0.4,
                    seed=seed,
                )
            )
            now += SYLLABLE / speed
            phrase += 1
        bare = word.rstrip().rstrip("\"')")
        if bare.endswith((".", "!", "?", ":")):
            now += SENTENCE_GAP / speed
            phrase = 0
        else:
            now += (COMMA_GAP if bare.endswith((",", ";")) else WORD_GAP) / speed
        words.append(Word(text=word, start=start, end=now))
    return Utterance(words=tuple(words), seconds=now, rate=rate, syllables=tuple(syllables))


def _pitch(base: float, phrase: int, seed: int, *, rising: bool) -> float:
    fall = -0.25 * min(phrase, 16)  # semitones: a sentence sinks as the breath goes
    step = 5.0 if rising else _STEPS[seed % len(_STEPS)] * 0.6
    return float(base * 2.0 ** ((2.0 + fall + step) / 12.0))


def _vowel(group: str) -> str:
    first = group[0].lower()
    return first if first in _FORMANTS else "i" if first == "y" else "a"


def _render(syllable: _Syllable, rate: int) -> NDArray[np.float32]:
    size = int(syllable.seconds * rate)
    time = np.arange(size, dtype=np.float32) / rate
    # A slow glide and a little vibrato keep the tone from sounding like a dial tone.
    pitch = syllable.pitch * (
        1.0 - 0.06 * time / syllable.seconds + 0.012 * np.sin(2 * np.pi * 5.2 * time)
    )
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    harmonics = np.arange(1, max(int(min(3400.0, rate / 2.2) / syllable.pitch), 1) + 1)
    weights = _formant_weights(syllable.vowel, syllable.pitch, len(harmonics))
    tone = (weights[:, None] * np.sin(harmonics[:, None] * phase)).sum(axis=0)
    tone *= _envelope(size, rate, attack=0.03, release=0.07)
    peak = float(np.max(np.abs(tone))) or 1.0
    tone *= LEVEL / peak
    if syllable.consonant:
        length = min(int(0.035 * rate), size)
        noise = np.random.default_rng(syllable.seed).standard_normal(length + 2)
        # A three-point difference leaves the hiss and takes the rumble.
        hiss = (noise[2:] - noise[:-2]) * 0.25
        tone[:length] += (
            hiss
            * _envelope(length, rate, attack=0.008, release=0.02)
            * (LEVEL * 0.25 * syllable.consonant)
        )
    return np.asarray(tone, dtype=np.float32)


@lru_cache(maxsize=1024)
def _formant_weights(vowel: str, pitch: float, count: int) -> NDArray[np.float64]:
    frequency = np.arange(1, count + 1) * pitch
    weights = np.zeros(count)
    for centre, width, gain in zip(_FORMANTS[vowel], _BANDWIDTHS, _GAINS, strict=True):
        weights += gain / (1.0 + ((frequency - centre) / width) ** 2)
    return weights + 0.04 / np.arange(1, count + 1)


def _envelope(size: int, rate: int, *, attack: float, release: float) -> NDArray[np.float64]:
    rise = min(int(attack * rate), size // 2)
    fall = min(int(release * rate), size - rise)
    shape = np.ones(size)
    shape[:rise] = 0.5 - 0.5 * np.cos(np.pi * np.arange(rise) / max(rise, 1))
    if fall:
        shape[size - fall :] *= 0.5 + 0.5 * np.cos(np.pi * np.arange(fall) / fall)
    return shape
