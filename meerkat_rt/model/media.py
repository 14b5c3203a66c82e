"""Audio, text and video as they enter and leave a session, and what a provider can do with them.

Audio is bytes here; it becomes base64 only in JSON and on provider wires.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, TypeAlias

import attrs

from . import checks as check
from ._json import json_field
from .errors import InvalidInputShape
from .quick import unchecked


class RealtimeTurningMode(StrEnum):
    """Who decides that the user's turn has ended.

    `PROVIDER_MANAGED`: the provider's voice activity detection.  `EXPLICIT_COMMIT`: the
    application, by `commit_turn()`.  Fixed for the life of a session.
    """

    PROVIDER_MANAGED = "provider_managed"
    EXPLICIT_COMMIT = "explicit_commit"


class RealtimeInputKind(StrEnum):
    """What a session accepts."""

    TEXT = "text"
    AUDIO = "audio"
    VIDEO = "video"


class RealtimeOutputKind(StrEnum):
    """What a session produces."""

    TEXT = "text"
    AUDIO = "audio"
    VIDEO = "video"


class ResponseModality(StrEnum):
    """What one response is made of.  Audio always comes with a transcript; the two never mix."""

    AUDIO = "audio"
    TEXT = "text"


_BYTES_PER_SAMPLE = {"audio/pcm": 2, "audio/pcmu": 1, "audio/pcma": 1}


@attrs.frozen(kw_only=True)
class RealtimeAudioFormat:
    """An audio encoding: mime type, sampling rate in Hz, number of interleaved channels.

    `audio/pcm` is signed 16-bit little-endian; `audio/pcmu` and `audio/pcma` are 8-bit G.711.
    """

    mime_type: str
    sample_rate_hz: int = attrs.field(validator=check.whole(1))
    channels: int = attrs.field(validator=check.whole(1))

    @classmethod
    def pcm(cls, sample_rate_hz: int, channels: int = 1) -> RealtimeAudioFormat:
        """16-bit little-endian PCM at `sample_rate_hz`."""
        return cls(mime_type="audio/pcm", sample_rate_hz=sample_rate_hz, channels=channels)

    @property
    def bytes_per_second(self) -> int:
        """Bytes of one second of audio; for a mime type we do not know, as 16-bit samples."""
        return self.sample_rate_hz * self.frame_bytes

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample on every channel: the unit that a chunk's length is a multiple of."""
        return self.channels * _BYTES_PER_SAMPLE.get(self.mime_type, 2)

    def duration_ms(self, n_bytes: int) -> float:
        """How many milliseconds `n_bytes` of this format last."""
        return n_bytes * 1000 / self.bytes_per_second

    def __str__(self) -> str:
        return f"{self.mime_type} {self.sample_rate_hz} Hz, {self.channels} channel(s)"


@attrs.frozen(kw_only=True)
class RealtimeCapabilities:
    """What a provider can honour for one model.  Nothing is claimed unless it is said here.

    Input audio must be stamped with `audio_input_format`; output audio comes in
    `audio_output_format`.  `truncate_supported`, `nudge_supported` and `declared_turns` are ours: a
    provider may lack truncation, may not accept an unprompted response request, and may only let us
    infer its turn ends.
    """

    input_kinds: tuple[RealtimeInputKind, ...] = attrs.field(
        default=(), metadata=json_field(omit_default=True)
    )
    output_kinds: tuple[RealtimeOutputKind, ...] = attrs.field(
        default=(), metadata=json_field(omit_default=True)
    )
    turning_modes: tuple[RealtimeTurningMode, ...] = attrs.field(
        default=(), metadata=json_field(omit_default=True)
    )
    interrupt_supported: bool = False
    transcript_supported: bool = False
    tool_lifecycle_events_supported: bool = False
    video_supported: bool = False
    truncate_supported: bool = False
    nudge_supported: bool = False
    declared_turns: bool = False
    audio_input_format: RealtimeAudioFormat | None = None
    audio_output_format: RealtimeAudioFormat | None = None


@attrs.frozen
class RealtimeTextChunk:
    """Typed user input."""

    text: str


_at_least_one = check.whole(1, error=InvalidInputShape)


@attrs.frozen(kw_only=True, weakref_slot=False)
class RealtimeAudioChunk:
    """A piece of audio, labelled with its format.  `data` is raw bytes (base64 in JSON)."""

    mime_type: str
    sample_rate_hz: int = attrs.field(validator=_at_least_one)
    channels: int = attrs.field(validator=_at_least_one)
    data: bytes = attrs.field(repr=lambda data: f"<{len(data)} bytes>")

    @data.validator
    def _is_bytes(self, _attribute: object, data: Any) -> None:
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise InvalidInputShape(
                f"RealtimeAudioChunk.data is {type(data).__name__}; allowed: bytes"
            )

    @classmethod
    def of(cls, data: bytes, fmt: RealtimeAudioFormat) -> RealtimeAudioChunk:
        """Label `data` with `fmt`."""
        return _new_chunk(fmt.mime_type, fmt.sample_rate_hz, fmt.channels, data)

    def format(self) -> RealtimeAudioFormat:
        """The chunk's label."""
        return RealtimeAudioFormat(
            mime_type=self.mime_type,
            sample_rate_hz=self.sample_rate_hz,
            channels=self.channels,
        )


_new_chunk = unchecked(RealtimeAudioChunk)  # labels have been validated as formats


@attrs.frozen
class RealtimeVideoChunk:
    """A piece of video.  `data` is raw bytes (base64 in JSON)."""

    mime_type: str
    data: bytes = attrs.field(repr=lambda data: f"<{len(data)} bytes>")


RealtimeInputChunk: TypeAlias = RealtimeTextChunk | RealtimeAudioChunk | RealtimeVideoChunk
"""One piece of user input.  In JSON tagged on `kind`: text_chunk, audio_chunk, video_chunk."""
