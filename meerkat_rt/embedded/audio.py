"""Audio formats of the protocol, and G.711.

Sources: the Realtime session's `audio.*.format` (pcm is 24 kHz s16le mono; pcmu and pcma are 8
kHz), and ITU-T G.711 for the companding laws.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


@attrs.frozen(kw_only=True)
class AudioFormat:
    """One of the three formats: its wire name, samples a second and bytes a sample."""

    name: str
    rate: int
    width: int

    def samples(self, data: bytes) -> NDArray[np.int16]:
        """The 16-bit samples of `data`, which holds whole samples."""
        match self.name:
            case "audio/pcmu":
                return _ulaw_decoder()[np.frombuffer(data, dtype=np.uint8)]
            case "audio/pcma":
                return _alaw_decoder()[np.frombuffer(data, dtype=np.uint8)]
            case _:
                return np.frombuffer(data, dtype="<i2")

    def encode(self, samples: NDArray[np.int16]) -> bytes:
        """`samples` as bytes of this format."""
        match self.name:
            case "audio/pcmu":
                return _ulaw_encoder()[samples.view(np.uint16)].tobytes()
            case "audio/pcma":
                return _alaw_encoder()[samples.view(np.uint16)].tobytes()
            case _:
                return samples.astype("<i2").tobytes()

    def bytes_for(self, milliseconds: float) -> int:
        """How many bytes hold that much audio, in whole samples, rounded down."""
        return int(milliseconds * self.rate / 1000) * self.width

    def milliseconds(self, size: int) -> float:
        """How much audio `size` bytes hold."""
        return size * 1000 / (self.rate * self.width)

    @property
    def wire(self) -> dict[str, Any]:
        """The format as the protocol spells it."""
        return {"type": self.name, "rate": self.rate} if self is PCM16 else {"type": self.name}


PCM16 = AudioFormat(name="audio/pcm", rate=24000, width=2)
PCMU = AudioFormat(name="audio/pcmu", rate=8000, width=1)
PCMA = AudioFormat(name="audio/pcma", rate=8000, width=1)
FORMATS: Mapping[str, AudioFormat] = {known.name: known for known in (PCM16, PCMU, PCMA)}


@cache
def _ulaw_decoder() -> NDArray[np.int16]:
    code = ~np.arange(256, dtype=np.uint8)
    exponent = (code >> 4) & 0x07
    mantissa = (code & 0x0F).astype(np.int32)
    magnitude = (((mantissa << 3) + 0x84) << exponent) - 0x84
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


@cache
def _alaw_decoder() -> NDArray[np.int16]:
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    exponent = ((code >> 4) & 0x07).astype(np.int32)
    mantissa = (code & 0x0F).astype(np.int32)
    low = (mantissa << 4) + 8
    high = (low + 0x100) << np.maximum(exponent - 1, 0)
    magnitude = np.where(exponent == 0, low, high)
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


@cache
def _ulaw_encoder() -> NDArray[np.uint8]:
    return _nearest(_ulaw_decoder())


@cache
def _alaw_encoder() -> NDArray[np.uint8]:
    return _nearest(_alaw_decoder())


def _nearest(decoder: NDArray[np.int16]) -> NDArray[np.uint8]:
    """The code whose value is nearest, for each 16-bit pattern read as unsigned.

    Inverting the decoder by search instead of writing the segment arithmetic twice: the two can
    then never disagree, and 65,536 table entries are cheaper than either.
    """
    order = np.argsort(decoder, kind="stable")
    levels = decoder[order].astype(np.int32)
    borders = (levels[1:] + levels[:-1]) / 2
    values = np.arange(65536, dtype=np.uint16).view(np.int16)
    return order[np.searchsorted(borders, values)].astype(np.uint8)
