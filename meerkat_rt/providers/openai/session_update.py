"""From the configuration to `session.update`.

One mapping serves opening, refreshing and changing a session: `changes()` turns what a
`RealtimeConfig` sets into the provider's fields; a new session has defaults underneath and `extra`
on top.  What this protocol does not have, or does not have in that range, is refused here, before
connecting.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs

from ...model.conversation import JSON
from ...model.errors import InvalidConfig
from ...model.live_config import (
    NULL,
    AudioEncoding,
    PromptRef,
    RealtimeConfig,
    RetentionRatio,
    TracingConfig,
    VadMode,
    VoiceId,
)
from ...model.media import RealtimeAudioFormat, RealtimeTurningMode, ResponseModality
from .checks import STREAMING, Judge, check_mode
from .tools_json import tool_choice

if TYPE_CHECKING:
    from ...model.live_config import TranscriptionConfig, VadConfig

DEFAULT_VOICE = "marin"  # one of the two that the provider recommends
DEFAULT_TRANSCRIPTION = "gpt-transcribe"  # its predecessors are shut down in February 2027

# ---------------------------------------------------------------- the parts

_FORMATS: dict[str, dict[str, JSON]] = {
    AudioEncoding.PCM16: {"type": "audio/pcm", "rate": 24_000},
    AudioEncoding.G711_ULAW: {"type": "audio/pcmu"},
    AudioEncoding.G711_ALAW: {"type": "audio/pcma"},
}
_NEUTRAL_FORMATS = {
    wire["type"]: AudioEncoding(encoding).as_format() for encoding, wire in _FORMATS.items()
}


def _vad(vad: VadConfig) -> JSON:
    if vad.mode is VadMode.NONE:
        return None
    wire: dict[str, JSON] = {
        "type": vad.mode.value,
        "create_response": vad.create_response is not False,
        "interrupt_response": vad.interrupt_response is not False,
    }
    for name in ("threshold", "prefix_padding_ms", "silence_duration_ms", "idle_timeout_ms"):
        if (value := getattr(vad, name)) is not None:
            wire[name] = value
    if vad.eagerness is not None:
        wire["eagerness"] = vad.eagerness.value
    return wire


def _language(code: str | None) -> str | None:
    """A language code, or None for "find out": `auto`, `none` and blanks mean that too."""
    code = (code or "").strip()
    return None if code.casefold() in ("", "auto", "none") else code


def _transcription(wanted: TranscriptionConfig) -> dict[str, JSON]:
    wire: dict[str, JSON] = {"model": wanted.model}
    if language := _language(wanted.language):
        wire["language"] = language
    for name in ("languages", "keywords"):
        if (value := getattr(wanted, name)) is not None:
            wire[name] = list(value)
    if wanted.prompt is not None:
        wire["prompt"] = wanted.prompt
    if wanted.delay is not None:
        wire["delay"] = wanted.delay.value
    return wire


def _truncation(config: RealtimeConfig) -> JSON:
    match config.truncation:
        case RetentionRatio(retention_ratio=ratio, token_limits=limits):
            wire: dict[str, JSON] = {"type": "retention_ratio", "retention_ratio": ratio}
            if limits is not None and limits.post_instructions is not None:
                wire["token_limits"] = {"post_instructions": limits.post_instructions}
            return wire
        case mode:
            return None if mode is None else mode.value


def _set_fields(value: TracingConfig | PromptRef) -> dict[str, JSON]:
    fields = attrs.asdict(value)
    return {name: field for name, field in fields.items() if field is not None}


# ---------------------------------------------------------------- the whole


def changes(config: RealtimeConfig, *, output_language: str | None = None) -> dict[str, JSON]:
    """Every field that `config` sets, without tools and `extra`."""
    wire: dict[str, JSON] = {}
    if config.modalities is not None:
        wire["output_modalities"] = [modality.value for modality in config.modalities]
    instruction = instructions(config.instruction, output_language)
    if instruction is not None:
        wire["instructions"] = instruction
    if config.tool_choice is not None:
        wire["tool_choice"] = tool_choice(config.tool_choice)
    if config.max_response_output_tokens is not None:
        wire["max_output_tokens"] = config.max_response_output_tokens
    audio = {"input": _input_changes(config), "output": _output_changes(config)}
    if audio := {side: fields for side, fields in audio.items() if fields}:
        wire["audio"] = audio
    if config.truncation is not None:
        wire["truncation"] = _truncation(config)
    if config.tracing is not None:
        wire["tracing"] = _part(config.tracing)
    if config.prompt is not None:
        wire["prompt"] = _part(config.prompt)
    if config.reasoning is not None:
        wire["reasoning"] = {"effort": config.reasoning.effort.value}
    if config.parallel_tool_calls is not None:
        wire["parallel_tool_calls"] = config.parallel_tool_calls
    if config.include is not None:
        wire["include"] = list(config.include)
    return wire


def _part(value: object) -> JSON:
    if isinstance(value, (TracingConfig, PromptRef)):
        return _set_fields(value)
    return None if value is NULL else value


def _input_changes(config: RealtimeConfig) -> dict[str, JSON]:
    wire: dict[str, JSON] = {}
    if config.input_audio_format is not None:
        wire["format"] = dict(_FORMATS[config.input_audio_format])
    if (vad := config.effective_turn_detection) is not None:
        wire["turn_detection"] = _vad(vad)
    if (noise := config.noise_reduction) is NULL:
        wire["noise_reduction"] = None
    elif noise is not None:
        wire["noise_reduction"] = {"type": noise.type.value}
        if noise.strength is not None:
            wire["noise_reduction"]["strength"] = noise.strength
    if (wanted := config.input_audio_transcription) is NULL:
        wire["transcription"] = None
    elif wanted is not None:
        wire["transcription"] = _transcription(wanted)
    return wire


def _output_changes(config: RealtimeConfig) -> dict[str, JSON]:
    wire: dict[str, JSON] = {}
    if config.output_audio_format is not None:
        wire["format"] = dict(_FORMATS[config.output_audio_format])
    if (voice := config.voice) is not None:
        wire["voice"] = {"id": voice.id} if isinstance(voice, VoiceId) else voice
    if config.speed is not None:
        wire["speed"] = config.speed
    return wire


def merge(below: Mapping[str, JSON], above: Mapping[str, JSON]) -> dict[str, JSON]:
    """`above` on top of `below`, object by object.

    An object of another `type` replaces the one below it: their fields do not mix.
    """
    merged = dict(below)
    for key, value in above.items():
        present = merged.get(key)
        if (
            isinstance(present, Mapping)
            and isinstance(value, Mapping)
            and value.get("type", present.get("type")) == present.get("type")
        ):
            merged[key] = merge(present, value)
        else:
            merged[key] = value
    return merged


def _defaults(mode: RealtimeTurningMode) -> dict[str, JSON]:
    explicit = mode is RealtimeTurningMode.EXPLICIT_COMMIT
    # Thresholds and durations are the server's: it knows its model.
    vad = {"type": "server_vad", "create_response": True, "interrupt_response": True}
    pcm = _FORMATS[AudioEncoding.PCM16]
    return {
        "type": "realtime",
        "output_modalities": [ResponseModality.AUDIO.value],
        "audio": {
            "input": {
                "format": dict(pcm),
                "turn_detection": None if explicit else vad,
                "transcription": {"model": DEFAULT_TRANSCRIPTION},
            },
            "output": {"format": dict(pcm), "voice": DEFAULT_VOICE},
        },
    }


def new_session(
    config: RealtimeConfig,
    mode: RealtimeTurningMode,
    *,
    model: str | None = None,
    output_language: str | None = None,
) -> dict[str, JSON]:
    """The whole configuration of a new session with `model`, without its tools.

    Raises:
        InvalidConfig: `config` and `mode` contradict each other, or `extra` breaks what must hold.
    """
    judge = Judge(model)
    check_mode(judge, config, mode)
    session = merge(_defaults(mode), changes(config, output_language=output_language))
    if config.extra is not None:
        session = merge(session, config.extra)
    _check_whole(judge, session, mode)
    return session


def _check_whole(judge: Judge, session: Mapping[str, JSON], mode: RealtimeTurningMode) -> None:
    who = judge.model or "the session's model"
    modalities = session.get("output_modalities")
    if modalities not in (["audio"], ["text"]):
        raise InvalidConfig(
            f"output_modalities is {modalities!r}: {who} answers in one modality; "
            "allowed: exactly one of audio and text"
        )
    for side in ("input", "output"):
        kind = _at(session, "audio", side, "format", "type")
        rate = _at(session, "audio", side, "format", "rate")
        if kind not in _NEUTRAL_FORMATS:
            allowed = ", ".join(_NEUTRAL_FORMATS)
            raise InvalidConfig(
                f"audio.{side}.format.type is {kind!r}: {who} has no such format; "
                f"allowed: {allowed}"
            )
        known = _NEUTRAL_FORMATS[kind].sample_rate_hz
        if rate not in (None, known):
            raise InvalidConfig(
                f"audio.{side}.format.rate is {rate!r}: {who} has {kind} at one rate; "
                f"allowed: {known}"
            )
    detection = _at(session, "audio", "input", "turn_detection")
    if (detection is None) is not (mode is RealtimeTurningMode.EXPLICIT_COMMIT):
        judge.refuse_in_mode(
            "audio.input.turn_detection",
            repr(detection),
            mode,
            f"then contradicts the turning mode {mode.value}",
            "none with explicit_commit, and one with provider_managed",
        )
    if detection is not None and _at(session, "audio", "input", "transcription", "model") == (
        STREAMING
    ):
        judge.refuse_in_mode(
            "RealtimeConfig.input_audio_transcription.model",
            STREAMING,
            mode,
            "transcribes with it without turn detection only",
            "another model, or the turning mode explicit_commit",
        )


def _at(value: JSON, *path: str) -> JSON:
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


# ---------------------------------------------------------------- instructions

_LANGUAGES = {
    "ar": "Arabic",
    "de": "German",
    "en": "English",
    "es": "Spanish",
    "fr": "French",
    "hi": "Hindi",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "nl": "Dutch",
    "pl": "Polish",
    "pt": "Portuguese",
    "ru": "Russian",
    "sv": "Swedish",
    "tr": "Turkish",
    "uk": "Ukrainian",
    "zh": "Chinese",
}


def instructions(instruction: str | None, output_language: str | None) -> str | None:
    """The session's instructions: the language to answer in, if one is pinned, then `instruction`.

    The pin stands first, so that an instruction which speaks of languages has the last word.
    """
    code = _language(output_language)
    if code is None:
        return instruction
    name = _LANGUAGES.get(code.lower(), f"the language with the ISO code '{code}'")
    pin = (
        f"Answer in {name}, in the spoken audio and in the written transcript alike, unless the "
        "instructions below say otherwise."
    )
    return f"{pin}\n\n{instruction}" if instruction else pin


# ---------------------------------------------------------------- what follows from it


@attrs.frozen(kw_only=True)
class Settings:
    """What the rest of the dialect needs to know about a session's configuration.

    `modality` and `voice` None: not known to us, the session is somebody else's.
    """

    modality: ResponseModality | None
    voice: JSON
    output_format: JSON
    input_audio: RealtimeAudioFormat
    output_audio: RealtimeAudioFormat
    transcribes: bool
    responds: bool
    interrupts: bool


def settings_of(session: Mapping[str, JSON]) -> Settings:
    """The facts of a whole configuration."""
    detection = _at(session, "audio", "input", "turn_detection")
    output_format = _at(session, "audio", "output", "format")
    return Settings(
        modality=ResponseModality(session["output_modalities"][0]),
        voice=_at(session, "audio", "output", "voice"),
        output_format=output_format,
        input_audio=_NEUTRAL_FORMATS[_at(session, "audio", "input", "format", "type")],
        output_audio=_NEUTRAL_FORMATS[output_format["type"]],
        transcribes=_at(session, "audio", "input", "transcription") is not None,
        responds=detection is not None and detection.get("create_response") is not False,
        interrupts=detection is not None and detection.get("interrupt_response") is not False,
    )
