"""What is refused before connecting: settings that the protocol, the model or the mode lacks."""

from __future__ import annotations

from typing import NoReturn

import attrs

from ...model.errors import InvalidConfig
from ...model.live_config import NULL, InterruptionDetection, RealtimeConfig, VadMode
from ...model.media import RealtimeTurningMode
from . import generations

MAX_OUTPUT_TOKENS = 4096
INCLUDABLE = "item.input_audio_transcription.logprobs"

_LACKING = {
    "temperature": "has no temperature in this protocol",
    "cached_content": "has its prompts cached by the provider itself",
    "affective_dialog": "has no affective dialog",
}
LEAVE_OUT = "leave it out"
_BETA = {
    "modalities": "modalities",
    "voice": "voice",
    "input_audio_format": "input_audio_format",
    "output_audio_format": "output_audio_format",
    "input_audio_transcription": "input_audio_transcription",
    "turn_detection": "turn_detection",
    "input_audio_noise_reduction": "noise_reduction",
    "speed": "speed",
    "max_response_output_tokens": "max_response_output_tokens",
}
_OWNED = {
    "type": "nothing: the dialect sets it",
    "model": "the open config's llm_identity",
    "instructions": "RealtimeConfig.instruction",
    "tools": "RealtimeConfig.tools, the open config or the ToolSet",
}


@attrs.frozen
class Judge:
    """Refuses settings, naming the setting, its value, the model and what is allowed.

    `model` None: it is somebody else's session, and its model is not known.
    """

    model: str | None

    def refuse(self, field: str, value: object, why: str, allowed: str = LEAVE_OUT) -> NoReturn:
        who = self.model or "the session's model"
        raise InvalidConfig(f"RealtimeConfig.{field} is {value!r}: {who} {why}; allowed: {allowed}")

    def refuse_in_mode(
        self, field: str, value: object, mode: RealtimeTurningMode, why: str, allowed: str
    ) -> NoReturn:
        """What contradicts the turning mode."""
        who = self.model or "the session's model"
        raise InvalidConfig(
            f"{field} is {value}: {who} {why}, and the turning mode is {mode.value}; "
            f"allowed: {allowed}"
        )


def check_supported(config: RealtimeConfig, model: str | None) -> None:
    """Refuse what the protocol, or the model by its name, does not have.

    Raises:
        InvalidConfig: the message names the field and its value.
    """
    judge = Judge(model)
    for field, why in _LACKING.items():
        if (value := getattr(config, field)) is not None:
            judge.refuse(field, value, why)
    extra = config.extra or {}
    for key in extra:
        if key in _LACKING:
            judge.refuse(f"extra[{key!r}]", extra[key], _LACKING[key])
        if key in _BETA:
            judge.refuse(
                f"extra[{key!r}]",
                extra[key],
                "is told it elsewhere",
                f"RealtimeConfig.{_BETA[key]}",
            )
        if key in _OWNED:
            judge.refuse(f"extra[{key!r}]", extra[key], "is told it elsewhere", _OWNED[key])
    if model is not None and generations.reasons(model) is False:
        for field in ("reasoning", "parallel_tool_calls"):
            value = extra.get(field) if getattr(config, field) is None else getattr(config, field)
            if value is not None:
                judge.refuse(field, value, "does not reason, and refuses every setting beside it")
    tokens = config.max_response_output_tokens
    if isinstance(tokens, int) and tokens > MAX_OUTPUT_TOKENS:
        judge.refuse(
            "max_response_output_tokens",
            tokens,
            "says no more in one answer",
            f"1 to {MAX_OUTPUT_TOKENS}, or 'inf'",
        )
    for name in config.include or ():
        if name != INCLUDABLE:
            judge.refuse("include", name, "has no such field to include", INCLUDABLE)
    if config.input_audio_transcription not in (None, NULL):
        _check_transcription(config)
    vad = config.turn_detection
    if vad is not None and vad.mode is VadMode.NONE:
        for name in _VAD_NUMBERS:
            if (value := getattr(vad, name)) is not None:
                judge.refuse(
                    f"turn_detection.{name}", value, "does not listen for speech with mode none"
                )


_VAD_NUMBERS = (
    "threshold", "prefix_padding_ms", "silence_duration_ms", "idle_timeout_ms", "eagerness",
)  # fmt: skip
_KEYWORDED = ("gpt-transcribe", "gpt-live-transcribe")
_OTHERS = ("whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe", "gpt-realtime-whisper")
STREAMING = "gpt-realtime-whisper"


def _check_transcription(config: RealtimeConfig) -> None:
    wanted = config.input_audio_transcription
    assert wanted is not None
    assert wanted is not NULL
    model = wanted.model
    judge = Judge(model)  # the one that transcribes
    where = "input_audio_transcription"
    if model.startswith(_OTHERS):
        for field in ("keywords", "languages"):
            if (value := getattr(wanted, field)) is not None:
                others = " and ".join(_KEYWORDED)
                judge.refuse(f"{where}.{field}", value, f"has none, only {others} have")
    if wanted.delay is not None and model != STREAMING and model.startswith((*_OTHERS, "gpt-")):
        judge.refuse(f"{where}.delay", wanted.delay.value, f"has none, only {STREAMING} has")
    if wanted.prompt is not None and (model == STREAMING or "diarize" in model):
        judge.refuse(f"{where}.prompt", wanted.prompt, "takes none")


def check_mode(judge: Judge, config: RealtimeConfig, mode: RealtimeTurningMode) -> None:
    """Refuse what contradicts the turning mode.

    Raises:
        InvalidConfig: the message names setting, value, model, mode, and what is allowed.
    """
    detection = config.turn_detection
    off = detection is not None and detection.mode is VadMode.NONE
    if mode is RealtimeTurningMode.PROVIDER_MANAGED and off:
        judge.refuse_in_mode(
            "RealtimeConfig.turn_detection",
            "off",
            mode,
            "would not hear the end of a turn",
            "server_vad, semantic_vad, or the turning mode explicit_commit",
        )
    if mode is RealtimeTurningMode.EXPLICIT_COMMIT:
        if detection is not None and not off:
            judge.refuse_in_mode(
                "RealtimeConfig.turn_detection",
                detection.mode.value,
                mode,
                "does not listen for speech where the application ends the turns",
                "none, or the turning mode provider_managed",
            )
        if config.interruption_detection is InterruptionDetection.AUTOMATIC:
            judge.refuse_in_mode(
                "RealtimeConfig.interruption_detection",
                "automatic",
                mode,
                "does not listen for speech where the application ends the turns",
                "manual, or the turning mode provider_managed",
            )
