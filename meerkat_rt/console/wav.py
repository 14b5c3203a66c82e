"""WAV files in and out: any usual recording in, the session's format out."""

from __future__ import annotations

import wave
from typing import TYPE_CHECKING, TypeAlias

import attrs
import numpy as np
import soxr

if TYPE_CHECKING:
    from pathlib import Path

Samples: TypeAlias = "np.ndarray[tuple[int, ...], np.dtype[np.float64]]"

LOWEST_RATE, HIGHEST_RATE = 8_000, 48_000  # Hz
LONGEST = 600.0  # seconds; a demonstration, not an archive


class WavError(Exception):
    """The file cannot be used; the message is one sentence for people."""


@attrs.frozen
class Recording:
    """16-bit mono PCM at `rate` Hz.  `note` says what was converted, or is empty."""

    pcm: bytes = attrs.field(repr=lambda pcm: f"<{len(pcm)} bytes>")
    rate: int
    note: str

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return len(self.pcm) / 2 / self.rate


def read_wav(path: Path, rate: int) -> Recording:
    """Read a WAV file as 16-bit mono PCM at `rate` Hz, converting what must be converted.

    Raises:
        WavError: the file is missing, empty, not a WAV, or of a kind that is not understood.
    """
    try:
        with wave.open(str(path), "rb") as file:
            width, channels = file.getsampwidth(), file.getnchannels()
            own_rate, frames = file.getframerate(), file.getnframes()
            data = file.readframes(frames)
    except FileNotFoundError:
        raise WavError(f"There is no file {str(path)!r}.") from None
    except IsADirectoryError:
        raise WavError(f"{str(path)!r} is a directory, not a WAV file.") from None
    except PermissionError:
        raise WavError(f"The file {str(path)!r} may not be read.") from None
    except EOFError:
        raise WavError(f"The file {str(path)!r} is empty or cut short.") from None
    except OSError as error:
        raise WavError(f"{str(path)!r} cannot be read: {error.strerror}.") from None
    except wave.Error as error:
        raise WavError(f"{str(path)!r} is not a WAV file of PCM samples ({error}).") from None
    if not LOWEST_RATE <= own_rate <= HIGHEST_RATE:
        raise WavError(
            f"{str(path)!r} has a rate of {own_rate} Hz; "
            f"{LOWEST_RATE} to {HIGHEST_RATE} Hz can be used."
        )
    if channels not in (1, 2):
        raise WavError(f"{str(path)!r} has {channels} channels; mono and stereo can be used.")
    data = data[: len(data) - len(data) % (width * channels)]
    if not data:
        raise WavError(f"The file {str(path)!r} holds no sound.")
    if len(data) / (width * channels) / own_rate > LONGEST:
        raise WavError(f"{str(path)!r} is longer than {LONGEST:g} s.")
    samples = _samples(data, width).reshape(-1, channels).mean(axis=1)
    done = []
    if channels == 2:
        done.append("mixed to mono")
    if width != 2:
        done.append(f"converted from {8 * width} to 16 bit")
    if own_rate != rate:
        samples = soxr.resample(samples, own_rate, rate)
        done.append(f"resampled from {own_rate} to {rate} Hz")
    pcm = (np.clip(samples, -1.0, 1.0) * 32767).astype("<i2").tobytes()
    return Recording(pcm, rate, ", ".join(done))


def _samples(data: bytes, width: int) -> Samples:
    """Samples of 1 to 4 bytes as numbers from -1 to 1."""
    if width == 1:  # unsigned, unlike all others
        unsigned: Samples = np.frombuffer(data, np.uint8).astype(np.float64)
        return (unsigned - 128) / 128
    if width == 3:
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        data, width = wide.tobytes(), 4
    kind = {2: "<i2", 4: "<i4"}[width]
    samples: Samples = np.frombuffer(data, kind).astype(np.float64)
    return samples / float(2 ** (8 * width - 1))


def check_writable(path: Path) -> None:
    """Whether `write_wav` can write there, as far as can be known before there is sound.

    What is there stays as it is; where nothing is, nothing is left.

    Raises:
        WavError: the file cannot be written.
    """
    try:
        if path.is_fifo():
            return  # to open it is to wait for its reader, and to close it is to tell him the end
        new = not path.exists()
        with path.open("ab"):
            pass
        if new:
            path.resolve().unlink()  # itself, and not a link that led there
    except OSError as error:
        raise WavError(f"{str(path)!r} cannot be written: {error.strerror}.") from None


def write_wav(path: Path, pcm: bytes, rate: int) -> None:
    """Write 16-bit mono PCM.

    Raises:
        WavError: the file cannot be written.
    """
    try:
        with path.open("wb") as raw, wave.open(raw, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes(pcm)
    except OSError as error:
        raise WavError(f"{str(path)!r} cannot be written: {error.strerror}.") from None
