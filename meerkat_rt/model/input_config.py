"""How a live session takes in audio: encoding, turn detection, transcription, noise filter."""

from __future__ import annotations

from enum import Enum, StrEnum
from typing import Final

import attrs

from . import checks as check
from ._json import json_field
from .media import RealtimeAudioFormat


class Null(Enum):
    """The type of `NULL`."""

    NULL = "null"


NULL: Final = Null.NULL
"""Switch this off.  In JSON it is an explicit null, where an unset field (None) is left out.

A session update merges: what it leaves out stays as it is, so "off" has to be said.
"""


# ---------------------------------------------------------------- encoding


class AudioEncoding(StrEnum):
    """The encodings of live sessions: 16-bit little-endian PCM, and the two laws of G.711."""

    PCM16 = "pcm16"
    G711_ULAW = "g711_ulaw"
    G711_ALAW = "g711_alaw"

    @property
    def mime_type(self) -> str:
        """The encoding's mime type."""
        return _MIME_TYPES[self]

    def as_format(
        self, sample_rate_hz: int | None = None, channels: int = 1
    ) -> RealtimeAudioFormat:
        """The encoding with a rate: by default 24 kHz for PCM, 8 kHz for G.711."""
        default = 24_000 if self is AudioEncoding.PCM16 else 8_000
        return RealtimeAudioFormat(
            mime_type=self.mime_type,
            sample_rate_hz=default if sample_rate_hz is None else sample_rate_hz,
            channels=channels,
        )


_MIME_TYPES = {
    AudioEncoding.PCM16: "audio/pcm",
    AudioEncoding.G711_ULAW: "audio/pcmu",
    AudioEncoding.G711_ALAW: "audio/pcma",
}


# ---------------------------------------------------------------- turn detection


class InterruptionDetection(StrEnum):
    """Whether the user's speech cuts the model off by itself.

    `AUTOMATIC`: the provider's voice activity detection does.  `MANUAL`: only `interrupt()` does.
    """

    MANUAL = "manual"
    AUTOMATIC = "automatic"


class VadMode(StrEnum):
    """How the end of a turn is found.

    `SERVER_VAD`: by silence.  `SEMANTIC_VAD`: by whether the user seems to have finished.  `NONE`:
    not at all; the application commits.
    """

    SERVER_VAD = "server_vad"
    SEMANTIC_VAD = "semantic_vad"
    NONE = "none"


class Eagerness(StrEnum):
    """How soon semantic detection takes the turn: it waits at most 8, 4 or 2 s; auto is medium."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    AUTO = "auto"


def _mode(value: str) -> VadMode:
    return check.member(VadMode, "VadConfig.mode")(value)


def _eagerness(value: str | None) -> Eagerness | None:
    return None if value is None else check.member(Eagerness, "VadConfig.eagerness")(value)


_SILENCE_MS = 500  # of the second seed; OpenAI documents 500 and was seen to use 200
_SERVER_ONLY = ("threshold", "prefix_padding_ms", "silence_duration_ms", "idle_timeout_ms")


@attrs.frozen(kw_only=True)
class VadConfig:
    """Voice activity detection.  In JSON `mode` is called `type`.

    `threshold` is the level of speech, 0 to 1; `prefix_padding_ms` the audio kept from before it;
    `silence_duration_ms` the silence that ends a turn; `idle_timeout_ms` (5,000 to 30,000) how long
    after a response a silent user is asked again.  Those four belong to server VAD, `eagerness` to
    semantic VAD.  `create_response`: answer at the end of the turn; `interrupt_response`: stop
    answering when the user speaks (also where `create_response` is False).
    """

    mode: VadMode = attrs.field(
        default=VadMode.SERVER_VAD, converter=_mode, metadata=json_field(name="type")
    )
    silence_duration_ms: int | None = attrs.field(validator=check.number(0, integer=True))
    threshold: float | None = attrs.field(default=None, validator=check.number(0, 1))
    prefix_padding_ms: int | None = attrs.field(
        default=None, validator=check.number(0, integer=True)
    )
    interrupt_response: bool | None = attrs.field(validator=check.flag)
    eagerness: Eagerness | None = attrs.field(default=None, converter=_eagerness)
    create_response: bool | None = attrs.field(default=None, validator=check.flag)
    idle_timeout_ms: int | None = attrs.field(
        default=None, validator=check.number(5_000, 30_000, integer=True)
    )

    @silence_duration_ms.default
    def _default_silence(self) -> int | None:
        return _SILENCE_MS if self.mode is VadMode.SERVER_VAD else None

    @interrupt_response.default
    def _default_interrupt(self) -> bool | None:
        return None if self.mode is VadMode.NONE else True

    def __attrs_post_init__(self) -> None:
        if self.mode is VadMode.SEMANTIC_VAD:
            for name in _SERVER_ONLY:
                if getattr(self, name) is not None:
                    check.refuse(self, name, getattr(self, name), "nothing with semantic_vad")
        if self.mode is VadMode.SERVER_VAD and self.eagerness is not None:
            check.refuse(self, "eagerness", str(self.eagerness), "nothing with server_vad")

    @classmethod
    def server_vad(cls) -> VadConfig:
        """Detection by silence, with the defaults."""
        return cls()

    @classmethod
    def semantic_vad(cls, eagerness: str | None = None) -> VadConfig:
        """Detection by meaning."""
        return cls(mode=VadMode.SEMANTIC_VAD, eagerness=eagerness)

    @classmethod
    def disabled(cls) -> VadConfig:
        """No detection: the application commits and asks for responses."""
        return cls(mode=VadMode.NONE)

    def with_silence_duration(self, ms: int) -> VadConfig:
        """The same with another silence, in milliseconds."""
        return attrs.evolve(self, silence_duration_ms=ms)

    def with_interrupt(self, interrupt: bool) -> VadConfig:
        """The same with another answer to "does speech cut the model off?"."""
        return attrs.evolve(self, interrupt_response=interrupt)


# ---------------------------------------------------------------- transcription


class TranscriptionDelay(StrEnum):
    """How long a streaming recognizer waits for more before it commits to a word."""

    MINIMAL = "minimal"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    XHIGH = "xhigh"


def _delay(value: str | None) -> TranscriptionDelay | None:
    where = "TranscriptionConfig.delay"
    return None if value is None else check.member(TranscriptionDelay, where)(value)


@attrs.frozen
class TranscriptionConfig:
    """Recognition of the user's speech, beside the model.

    `language` is an ISO 639-1 code, `languages` several; `prompt` guides the recognizer and
    `keywords` are words that it should know.  Which of them a `model` takes is the provider's rule.
    """

    model: str = attrs.field(validator=check.named)
    language: str | None = attrs.field(default=None, kw_only=True, validator=check.named)
    languages: tuple[str, ...] | None = attrs.field(
        default=None, kw_only=True, converter=check.strings, validator=check.names
    )
    keywords: tuple[str, ...] | None = attrs.field(
        default=None, kw_only=True, converter=check.strings, validator=check.names
    )
    prompt: str | None = attrs.field(default=None, kw_only=True, validator=check.text)
    delay: TranscriptionDelay | None = attrs.field(default=None, kw_only=True, converter=_delay)

    def __attrs_post_init__(self) -> None:
        if self.languages == ():
            check.refuse(self, "languages", self.languages, "at least one, or None")

    @classmethod
    def whisper(cls) -> TranscriptionConfig:
        """The model whisper-1."""
        return cls("whisper-1")


# ---------------------------------------------------------------- noise


class NoiseReductionType(StrEnum):
    """Where the microphone is: a headset (near) or a room (far)."""

    NEAR_FIELD = "near_field"
    FAR_FIELD = "far_field"


def _noise_type(value: str) -> NoiseReductionType:
    return check.member(NoiseReductionType, "NoiseReduction.type")(value)


@attrs.frozen
class NoiseReduction:
    """A filter before detection and model.  `strength` omitted keeps the present one."""

    type: NoiseReductionType = attrs.field(converter=_noise_type)
    strength: float | None = attrs.field(default=None, validator=check.number(0))
