from __future__ import annotations

import numpy as np
import pytest
from support.embedded_session import RECORDINGS, recording

from meerkat_rt.embedded.audio import PCMA, PCMU
from meerkat_rt.embedded.vad import (
    SpeechStarted,
    SpeechStopped,
    VadSettings,
    VoiceActivityDetector,
)


def quiet(seconds: float, rate: int, level: float = 12, seed: int = 3) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, level, int(seconds * rate))
    return noise.astype(np.int16)


def turns(samples: np.ndarray, rate: int, **settings) -> list[tuple[str, float]]:
    events = VoiceActivityDetector(rate, VadSettings(**settings)).feed(samples)
    return [(type(event).__name__, event.sample / rate) for event in events]


@pytest.mark.parametrize("rate", [8000, 16000, 24000])
@pytest.mark.parametrize(
    ("name", "starts", "speech_ends"), [("goforward", 0.50, 2.38), ("something", 0.46, 2.74)]
)
def test_real_speech_is_one_turn_with_its_edges_where_they_are(name, rate, starts, speech_ends):
    samples = np.concatenate((recording(name, rate), quiet(2, rate)))

    (_, start), (_, stop) = turns(samples, rate)

    assert start == pytest.approx(starts, abs=0.06)
    assert stop - 0.5 == pytest.approx(speech_ends, abs=0.12)


@pytest.mark.parametrize("law", [PCMU, PCMA], ids=["pcmu", "pcma"])
def test_companded_speech_is_found_at_the_same_place(law):
    samples = np.concatenate((recording("goforward", 8000), quiet(1, 8000)))

    plain = turns(samples, 8000)
    companded = turns(law.samples(law.encode(samples)), 8000)

    assert [kind for kind, _ in companded] == [kind for kind, _ in plain]
    for (_, ours), (_, theirs) in zip(companded, plain, strict=True):
        assert ours == pytest.approx(theirs, abs=0.1)


def test_two_recordings_with_a_pause_are_two_turns():
    one, two = recording("goforward", 24000), recording("something", 24000)
    samples = np.concatenate((one, quiet(1, 24000), two, quiet(1, 24000)))

    assert [kind for kind, _ in turns(samples, 24000)] == ["SpeechStarted", "SpeechStopped"] * 2


def test_how_audio_is_cut_into_chunks_changes_nothing():
    samples = np.concatenate((recording("goforward", 24000), quiet(1, 24000)))
    whole = VoiceActivityDetector(24000).feed(samples)

    detector = VoiceActivityDetector(24000)
    rng = np.random.default_rng(11)
    pieces, position = [], 0
    while position < len(samples):
        size = int(rng.integers(1, 3000))
        pieces += detector.feed(samples[position : position + size])
        position += size

    assert pieces == whole


def test_the_hang_over_is_the_silence_duration():
    samples = np.concatenate((recording("goforward", 24000), quiet(3, 24000)))

    ends = [
        turns(samples, 24000, silence_duration_ms=silence)[-1][1] for silence in (500, 1000, 2000)
    ]

    assert ends[1] - ends[0] == pytest.approx(0.5, abs=0.03)
    assert ends[2] - ends[1] == pytest.approx(1.0, abs=0.03)


def test_a_short_hang_over_splits_at_a_pause_that_a_long_one_bridges():
    gap = np.concatenate((recording("goforward", 24000)[:50000], quiet(0.35, 24000)))
    samples = np.concatenate((gap, recording("goforward", 24000)[12000:], quiet(1, 24000)))

    assert len(turns(samples, 24000, silence_duration_ms=200)) > 2
    assert len(turns(samples, 24000, silence_duration_ms=800)) == 2


@pytest.mark.parametrize("level", [0, 12, 100, 300])
def test_steady_noise_is_not_speech(level):
    assert turns(quiet(10, 24000, level), 24000) == []


def test_loud_noise_lifts_the_floor_and_goes_quiet():
    detector = VoiceActivityDetector(24000)

    events = detector.feed(quiet(10, 24000, level=3000))

    assert [type(event) for event in events] == [SpeechStarted, SpeechStopped]
    assert events[-1].sample < 5 * 24000
    assert detector.floor > -30


def test_speech_is_found_over_noise_that_has_become_the_floor():
    noise = quiet(8, 24000, level=200)
    samples = noise.copy()
    speech = recording("something", 24000)
    samples[4 * 24000 : 4 * 24000 + len(speech)] += speech

    (_, start), (_, stop) = turns(samples, 24000)

    assert start == pytest.approx(4.5, abs=0.15)
    assert stop < 7.6


def test_a_click_is_not_speech():
    samples = quiet(2, 24000)
    samples[24000 : 24000 + 480] = quiet(0.02, 24000, level=8000)

    assert turns(samples, 24000) == []
    samples[24000 : 24000 + 1920] = quiet(0.08, 24000, level=8000)
    assert len(turns(samples, 24000)) == 2


def test_a_dc_offset_is_not_speech():
    assert turns(quiet(2, 24000) + np.int16(8000), 24000) == []


def test_a_higher_threshold_wants_louder_speech():
    soft = (recording("goforward", 24000) * 0.06).astype(np.int16)
    samples = np.concatenate((soft, quiet(1, 24000, level=2)))

    assert turns(samples, 24000, threshold=0.1)
    assert turns(samples, 24000, threshold=1.0) == []


def test_reset_ends_a_turn_without_an_event():
    detector = VoiceActivityDetector(24000)
    samples = recording("goforward", 24000)
    detector.feed(samples[:24000])
    assert detector.speaking

    detector.reset()

    assert not detector.speaking
    assert detector.feed(quiet(1, 24000)) == []


def test_shipped_recordings_are_small_and_licensed():
    files = sorted(RECORDINGS.glob("*.wav"))

    assert files
    assert sum(path.stat().st_size for path in files) < 200_000
    for path in files:
        assert "Copyright" in (RECORDINGS / f"LICENSE-{path.stem}.txt").read_text()
