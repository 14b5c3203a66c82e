"""WAV files: every usual kind comes in, and what cannot be used is said in one sentence."""

from __future__ import annotations

import io
import os
import wave
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from meerkat_rt.console import main
from meerkat_rt.console.wav import WavError, check_writable, read_wav, write_wav


def tone(path: Path, *, rate: int, channels: int = 1, width: int = 2, seconds: float = 0.5) -> Path:
    t = np.arange(int(rate * seconds)) / rate
    samples = 0.5 * np.sin(2 * np.pi * 440 * t)
    top = 2 ** (8 * width - 1) - 1
    values = np.repeat((samples * top).astype("<i8"), channels)
    if width == 1:
        data = (values + 128).astype("u1").tobytes()
    else:
        data = b"".join(int(v).to_bytes(width, "little", signed=True) for v in values)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(data)
    return path


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 44_100, 48_000])
@pytest.mark.parametrize(("channels", "width"), [(1, 2), (2, 2), (1, 1), (2, 3), (1, 4)])
def test_every_usual_recording_becomes_24_khz_mono(
    tmp_path: Path, rate: int, channels: int, width: int
) -> None:
    path = tone(tmp_path / "tone.wav", rate=rate, channels=channels, width=width)
    recording = read_wav(path, 24_000)
    assert recording.rate == 24_000
    assert recording.seconds == pytest.approx(0.5, abs=0.01)
    samples = np.frombuffer(recording.pcm, "<i2") / 32768
    assert np.abs(samples).max() == pytest.approx(0.5, abs=0.03)
    spectrum = np.abs(np.fft.rfft(samples))
    assert np.argmax(spectrum) * 24_000 / len(samples) == pytest.approx(440, abs=5)
    assert ("resampled" in recording.note) is (rate != 24_000)
    assert ("mono" in recording.note) is (channels == 2)
    assert ("16 bit" in recording.note) is (width != 2)


def unusable(tmp_path: Path) -> dict[str, tuple[Path, str]]:
    empty = tmp_path / "empty.wav"
    empty.write_bytes(b"")
    text = tmp_path / "text.wav"
    text.write_text("this is not sound, and long enough to have a header of sorts")
    silent = tmp_path / "silent.wav"
    write_wav(silent, b"", 16_000)
    cut = tmp_path / "cut.wav"
    whole = io.BytesIO(tone(tmp_path / "whole.wav", rate=16_000).read_bytes())
    cut.write_bytes(whole.read(20))
    return {
        "missing": (tmp_path / "nowhere.wav", "There is no file"),
        "directory": (tmp_path, "is a directory"),
        "empty": (empty, "empty or cut short"),
        "cut": (cut, "cut short"),
        "text": (text, "is not a WAV file"),
        "silent": (silent, "holds no sound"),
        "slow": (tone(tmp_path / "slow.wav", rate=4_000), "8000 to 48000 Hz"),
        "wide": (tone(tmp_path / "wide.wav", rate=16_000, channels=3), "3 channels"),
    }


@pytest.mark.parametrize(
    "kind", ["missing", "directory", "empty", "cut", "text", "silent", "slow", "wide"]
)
def test_talk_says_one_sentence_about_a_file_it_cannot_use_and_exits_with_2(
    tmp_path: Path, kind: str
) -> None:
    path, words = unusable(tmp_path)[kind]
    with pytest.raises(WavError, match=words):
        read_wav(path, 24_000)
    result = CliRunner().invoke(main, ["talk", "--wav", str(path)])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert words in result.stderr


def test_an_output_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(WavError, match="cannot be written"):
        write_wav(tmp_path / "no" / "such" / "folder.wav", b"\0\0", 24_000)


def test_whether_an_output_can_be_written_is_seen_without_a_trace(tmp_path: Path) -> None:
    old, new, link = tmp_path / "old.wav", tmp_path / "new.wav", tmp_path / "link.wav"
    old.write_bytes(b"something precious")
    link.symlink_to(new)
    before = old.stat()
    for path in (old, new, link):
        check_writable(path)
    assert old.read_bytes() == b"something precious"
    assert old.stat().st_mtime_ns == before.st_mtime_ns
    assert not new.exists()
    assert link.is_symlink()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    check_writable(pipe)  # does not wait for a reader
    for path in (tmp_path, tmp_path / "no" / "x.wav", old / "x.wav", tmp_path / ("a" * 300)):
        with pytest.raises(WavError, match="cannot be written"):
            check_writable(path)
