from __future__ import annotations

import numpy as np
import pytest

from meerkat_rt.embedded.audio import FORMATS, PCMA, PCMU
from meerkat_rt.embedded.vad import SpeechStarted, SpeechStopped, VoiceActivityDetector
from meerkat_rt.embedded.voice import speak

TEXT = (
    "Meerkats live in groups of about twenty, called mobs, in the dry country of southern Africa. "
    "One of them is always on guard. Would you like to hear more about that?"
)


def sound(text: str = TEXT, *, chunk: int = 4800, **options) -> np.ndarray:
    options = {"voice": "marin", "rate": 24000, **options}
    return np.concatenate(list(speak(text, **options).render(chunk)))


def test_it_speaks_at_about_150_words_a_minute():
    utterance = speak(TEXT, voice="marin", rate=24000)

    assert len(utterance.words) / utterance.seconds * 60 == pytest.approx(150, rel=0.15)


def test_longer_texts_take_longer():
    lengths = [speak(TEXT[:end], voice="ash", rate=24000).seconds for end in (20, 60, 120)]

    assert lengths == sorted(lengths)
    assert lengths[2] > 3 * lengths[0]


@pytest.mark.parametrize("chunk", [1, 977, 4800, 10**6])
def test_the_chunk_size_does_not_change_the_sound(chunk):
    text = "Hello there."

    assert np.array_equal(sound(text, chunk=chunk), sound(text))


def test_the_same_words_sound_the_same_and_voices_differ():
    assert np.array_equal(sound(), sound())
    assert not np.array_equal(sound(voice="ash"), sound(voice="marin"))
    assert not np.array_equal(sound("Hello."), sound("Hullo."))


def test_it_is_loud_enough_and_never_clips():
    level = np.abs(sound().astype(int))

    assert 3000 < level.max() < 16000


@pytest.mark.parametrize("rate", [8000, 24000])
def test_a_detector_takes_it_for_speech(rate):
    quiet = np.zeros(rate, dtype=np.int16)

    events = VoiceActivityDetector(rate).feed(np.concatenate((quiet, sound(rate=rate), quiet)))

    assert [type(event) for event in events] == [SpeechStarted, SpeechStopped]


def test_words_cover_the_text_and_the_time():
    utterance = speak(TEXT, voice="marin", rate=24000)

    assert "".join(word.text for word in utterance.words) == TEXT
    assert utterance.words[0].start == 0
    assert utterance.words[-1].end == pytest.approx(utterance.seconds)


@pytest.mark.parametrize("text", ["", "   ", "...", "12 %", "привет", "a" * 300, "\n\n"])
def test_any_text_can_be_spoken(text):
    utterance = speak(text, voice="marin", rate=24000)

    assert sum(len(chunk) for chunk in utterance.render(4800)) == utterance.samples


@pytest.mark.parametrize("law", [PCMU, PCMA], ids=["pcmu", "pcma"])
def test_companding_keeps_the_sound(law):
    samples = sound(rate=8000)

    back = law.samples(law.encode(samples))

    error = back.astype(float) - samples
    assert np.mean(error**2) < np.mean(samples.astype(float) ** 2) / 1000


def test_companding_matches_the_recommendation_at_its_landmarks():
    # ITU-T G.711 tables 2a and 1a: the codes of silence and of both extremes.
    assert list(PCMU.samples(bytes([0xFF, 0x7F, 0x80, 0x00]))) == [0, 0, 32124, -32124]
    assert list(PCMA.samples(bytes([0xD5, 0x55, 0xAA, 0x2A]))) == [8, -8, 32256, -32256]


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
def test_every_code_survives_a_round_trip(form):
    samples = form.samples(bytes(range(256)))

    assert np.array_equal(form.samples(form.encode(samples)), samples)
