"""From the configuration to the `setup` message.

Nothing in it can change on a live connection, and what the model does not have closes the
connection: so everything is judged here, before connecting.  The mapping is that of the vendor's
reference; what has no counterpart in this protocol is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NoReturn

import attrs

from ...model.errors import InvalidConfig
from ...model.live_config import (
    NULL,
    AudioEncoding,
    InterruptionDetection,
    McpTool,
    RealtimeConfig,
    RetentionRatio,
    ToolChoiceMode,
    TruncationMode,
    VadMode,
    VoiceId,
)
from ...model.media import RealtimeTurningMode, ResponseModality
from .generations import Generation, generation

if TYPE_CHECKING:
    from ...model.conversation import JSON
    from ...model.live_config import TranscriptionConfig, VadConfig

LEAVE_OUT = "leave it out"

# ---------------------------------------------------------------- what the protocol does not have

_LACKING = {
    "speed": "has no speaking rate",
    "prompt": "has no stored prompts",
    "tracing": "has no traces",
    "parallel_tool_calls": "calls tools in parallel as it sees fit",
    "include": "has no extra fields to include",
    "cached_content": "takes no cached content in a live session",
    "noise_reduction": "has no noise filter",
}
_OFF_ANYWAY = frozenset({"prompt", "tracing", "noise_reduction"})
_VAD_LACKING = {
    "threshold": "has no level of speech; allowed: extra['realtimeInputConfig'] with "
    "startOfSpeechSensitivity and endOfSpeechSensitivity",
    "idle_timeout_ms": "does not ask a silent user again; allowed: leave it out",
}
_OWNED = {
    "model": "the open config's llm_identity",
    "systemInstruction": "RealtimeConfig.instruction",
    "sessionResumption": "the provider's `resumption` setting",
    "historyConfig": "the open config's seed_messages",
}
# Of the same name in the setup, which takes what is not configured here.
_FIELDS = frozenset(field.name for field in attrs.fields(RealtimeConfig)) - {"tools", "extra"}
_SENSITIVITIES = {
    "startOfSpeechSensitivity": ("START_SENSITIVITY_HIGH", "START_SENSITIVITY_LOW"),
    "endOfSpeechSensitivity": ("END_SENSITIVITY_HIGH", "END_SENSITIVITY_LOW"),
}
_HANDLING = ("START_OF_ACTIVITY_INTERRUPTS", "NO_INTERRUPTION")
_COVERAGE = (
    "TURN_INCLUDES_ONLY_ACTIVITY",
    "TURN_INCLUDES_ALL_INPUT",
    "TURN_INCLUDES_AUDIO_ACTIVITY_AND_ALL_VIDEO",
)


@attrs.frozen
class _Judge:
    """Refuses settings, naming the setting, its value, the model and what is allowed."""

    model: str
    generation: Generation

    def refuse(self, setting: str, value: object, why: str, allowed: str = LEAVE_OUT) -> NoReturn:
        raise InvalidConfig(f"{setting} is {value!r}: {self.model} {why}; allowed: {allowed}")

    # -------------------------------------------------------- RealtimeConfig

    def fields(self, config: RealtimeConfig) -> None:
        for name, why in _LACKING.items():
            value = getattr(config, name)
            if value is None or (value is NULL and name in _OFF_ANYWAY):
                continue
            self.refuse(f"RealtimeConfig.{name}", value, why)
        for name in ("input_audio_format", "output_audio_format"):
            value = getattr(config, name)
            if value not in (None, AudioEncoding.PCM16):
                rate = 16_000 if name.startswith("input") else 24_000
                self.refuse(
                    f"RealtimeConfig.{name}", value.value, f"speaks PCM at {rate} Hz", "pcm16"
                )
        self._modalities(config)
        if isinstance(config.voice, VoiceId):
            self.refuse(
                "RealtimeConfig.voice", config.voice, "has no custom voices", "a prebuilt voice"
            )
        if config.tool_choice not in (None, ToolChoiceMode.AUTO):
            self.refuse(
                "RealtimeConfig.tool_choice",
                getattr(config.tool_choice, "value", config.tool_choice),
                "decides by itself whether to call a tool",
                "auto",
            )
        for tool in config.tools or ():
            if isinstance(tool, McpTool):
                self.refuse(
                    "RealtimeConfig.tools", tool.server_label, "runs no MCP servers", "functions"
                )
        if config.affective_dialog is not None and not self.generation.affective_dialog:
            self.refuse(
                "RealtimeConfig.affective_dialog", config.affective_dialog, "does not have it"
            )
        if config.reasoning is not None and not self.generation.thinking_level:
            self.refuse(
                "RealtimeConfig.reasoning", config.reasoning.effort.value, "has no thinking levels"
            )
        tokens, most = config.max_response_output_tokens, self.generation.max_output_tokens
        if isinstance(tokens, int) and most is not None and tokens > most:
            self.refuse(
                "RealtimeConfig.max_response_output_tokens",
                tokens,
                "says no more in one answer",
                f"1 to {most}, or 'inf'",
            )
        if isinstance(config.truncation, RetentionRatio) and _trigger(config.truncation) is None:
            self.refuse(
                "RealtimeConfig.truncation",
                config.truncation,
                "counts in tokens",
                "a retention ratio with token_limits.post_instructions, 'auto' or 'disabled'",
            )
        if (wanted := config.input_audio_transcription) not in (None, NULL):
            self._transcription(wanted)

    def _modalities(self, config: RealtimeConfig) -> None:
        for modality in config.modalities or ():
            if modality not in self.generation.modalities:
                allowed = ", ".join(self.generation.modalities)
                self.refuse(
                    "RealtimeConfig.modalities",
                    modality.value,
                    "answers in another modality only (its words come as a transcript)",
                    allowed,
                )

    def _transcription(self, wanted: TranscriptionConfig) -> None:
        where = "RealtimeConfig.input_audio_transcription"
        if wanted.model != self.model:
            self.refuse(
                f"{where}.model", wanted.model, "recognizes speech by itself", repr(self.model)
            )
        for name in ("prompt", "delay"):
            if (value := getattr(wanted, name)) is not None:
                self.refuse(f"{where}.{name}", value, "has no such hint")
        if not self.generation.transcription_hints:
            for name in ("language", "languages", "keywords"):
                if (value := getattr(wanted, name)) is not None:
                    self.refuse(f"{where}.{name}", value, "takes no hints for recognition")

    def detection(self, vad: VadConfig, mode: RealtimeTurningMode) -> None:
        where = "RealtimeConfig.turn_detection"
        manual = mode is RealtimeTurningMode.EXPLICIT_COMMIT
        off = vad.mode is VadMode.NONE
        if off and not manual:
            self.refuse(
                f"{where}.mode",
                vad.mode.value,
                "would not hear the end of a turn, and the turning mode is provider_managed",
                "server_vad, or the turning mode explicit_commit",
            )
        if manual and not off:
            self.refuse(
                f"{where}.mode",
                vad.mode.value,
                "does not listen for speech where the turning mode is explicit_commit",
                "none, or the turning mode provider_managed",
            )
        if vad.mode is VadMode.SEMANTIC_VAD:
            self.refuse(f"{where}.mode", vad.mode.value, "detects turns by silence", "server_vad")
        if manual:
            for name in ("silence_duration_ms", "prefix_padding_ms", *_VAD_LACKING):
                if (value := getattr(vad, name)) is not None:
                    self.refuse(f"{where}.{name}", value, "does not listen for speech in this mode")
        for name, why in _VAD_LACKING.items():
            if (value := getattr(vad, name)) is not None:
                raise InvalidConfig(f"{where}.{name} is {value!r}: {self.model} {why}")
        if vad.create_response is False:
            self.refuse(f"{where}.create_response", False, "answers every turn", "True")

    # -------------------------------------------------------- the whole

    def extra(self, extra: Mapping[str, JSON], *, vertex: bool) -> None:
        for key in extra:
            where = f"RealtimeConfig.extra[{key!r}]"
            if key in _OWNED:
                self.refuse(where, extra[key], "is told it elsewhere", _OWNED[key])
            if key in _FIELDS:
                self.refuse(where, extra[key], "is told it elsewhere", f"RealtimeConfig.{key}")
            if "_" in key:
                head, *rest = key.split("_")
                camel = head + "".join(word.capitalize() for word in rest)
                self.refuse(where, extra[key], "has its settings in camel case", repr(camel))
        if "cachedContent" in extra:
            self.refuse(
                "RealtimeConfig.extra['cachedContent']",
                extra["cachedContent"],
                _LACKING["cached_content"],
            )
        where = "RealtimeConfig.extra['explicitVadSignal']"
        if not vertex and extra.get("explicitVadSignal"):
            self.refuse(where, True, "has it on Vertex only")
        if vertex and "labels" in extra:
            self.refuse("RealtimeConfig.extra['labels']", extra["labels"], "has it off Vertex only")
        for tool in _objects(extra.get("tools")):
            if "functionDeclarations" in tool:
                self.refuse(
                    "RealtimeConfig.extra['tools']",
                    "functionDeclarations",
                    "is told its functions elsewhere",
                    "RealtimeConfig.tools, the open config or the ToolSet",
                )

    def whole(self, setup: Mapping[str, JSON], mode: RealtimeTurningMode) -> None:
        self._whole_generation(_object(setup.get("generationConfig")))
        self._whole_input(_object(setup.get("realtimeInputConfig")), mode)
        proactivity = _object(setup.get("proactivity"))
        if proactivity and not self.generation.proactivity:
            self.refuse("proactivity", proactivity, "does not have it")
        if self.generation.always_proactive and proactivity.get("proactiveAudio") is False:
            self.refuse("proactivity.proactiveAudio", False, "is always proactive", "True")
        compression = setup.get("contextWindowCompression")
        if compression is not None:
            self._compression(_object(compression))

    def _whole_generation(self, config: Mapping[str, JSON]) -> None:
        modalities = config.get("responseModalities")
        allowed = [modality.value.upper() for modality in self.generation.modalities]
        if not (isinstance(modalities, list) and len(modalities) == 1 and modalities[0] in allowed):
            self.refuse(
                "generationConfig.responseModalities",
                modalities,
                "answers in one modality",
                " or ".join(f"[{each!r}]" for each in allowed),
            )
        thinking = _object(config.get("thinkingConfig"))
        if "thinkingLevel" in thinking and not self.generation.thinking_level:
            level = thinking["thinkingLevel"]
            self.refuse("thinkingConfig.thinkingLevel", level, "has no thinking levels")
        if "thinkingBudget" in thinking and not self.generation.thinking_budget:
            budget = thinking["thinkingBudget"]
            self.refuse("thinkingConfig.thinkingBudget", budget, "has no thinking budget")
        if "multiSpeakerVoiceConfig" in _object(config.get("speechConfig")):
            self.refuse("speechConfig.multiSpeakerVoiceConfig", "set", "speaks with one voice live")
        if "enableAffectiveDialog" in config and not self.generation.affective_dialog:
            dialog = config["enableAffectiveDialog"]
            self.refuse("generationConfig.enableAffectiveDialog", dialog, "does not have it")

    def _whole_input(self, config: Mapping[str, JSON], mode: RealtimeTurningMode) -> None:
        detection = _object(config.get("automaticActivityDetection"))
        where = "realtimeInputConfig.automaticActivityDetection"
        manual = mode is RealtimeTurningMode.EXPLICIT_COMMIT
        if bool(detection.get("disabled")) is not manual:
            self.refuse(
                f"{where}.disabled",
                detection.get("disabled"),
                f"is to be used with the turning mode {mode.value}",
                str(manual),
            )
        for name, value in detection.items():
            if name != "disabled" and manual:
                self.refuse(f"{where}.{name}", value, "does not listen for speech in this mode")
            if name in _SENSITIVITIES and value not in _SENSITIVITIES[name]:
                allowed = ", ".join(_SENSITIVITIES[name])
                self.refuse(f"{where}.{name}", value, "does not know it", allowed)
            if name in ("prefixPaddingMs", "silenceDurationMs") and (
                not isinstance(value, int) or isinstance(value, bool) or value < 0
            ):
                self.refuse(f"{where}.{name}", value, "counts milliseconds", "0 and more")
        for name, known in (("activityHandling", _HANDLING), ("turnCoverage", _COVERAGE)):
            if name in config and config[name] not in known:
                allowed = ", ".join(known)
                self.refuse(
                    f"realtimeInputConfig.{name}", config[name], "does not know it", allowed
                )

    def _compression(self, config: Mapping[str, JSON]) -> None:
        where = "contextWindowCompression"
        if not isinstance(config.get("slidingWindow"), Mapping):
            self.refuse(
                f"{where}.slidingWindow",
                config.get("slidingWindow"),
                "needs it",
                "an object, or {}",
            )
        trigger = config.get("triggerTokens")
        target = config["slidingWindow"].get("targetTokens")
        if isinstance(trigger, int) and isinstance(target, int) and target >= trigger:
            self.refuse(
                f"{where}.slidingWindow.targetTokens",
                target,
                "must cut off something",
                f"less than triggerTokens, which is {trigger}",
            )


def check_supported(config: RealtimeConfig, model: str) -> None:
    """Refuse what the protocol, or the model by its name, does not have.

    Raises:
        InvalidConfig: the message names setting, value, model, and what is allowed.
    """
    _Judge(model, generation(model)).fields(config)


# ---------------------------------------------------------------- the parts


def _trigger(ratio: RetentionRatio) -> int | None:
    return None if ratio.token_limits is None else ratio.token_limits.post_instructions


def _compression(config: RealtimeConfig) -> dict[str, JSON] | None:
    match config.truncation:
        case TruncationMode.AUTO:
            return {"slidingWindow": {}}
        case RetentionRatio(retention_ratio=ratio) as kept if trigger := _trigger(kept):
            target = min(int(trigger * ratio), trigger - 1)
            return {"triggerTokens": trigger, "slidingWindow": {"targetTokens": target}}
    return None


def _transcription(wanted: TranscriptionConfig) -> dict[str, JSON]:
    wire: dict[str, JSON] = {}
    codes = [*(wanted.languages or ())]
    if wanted.language is not None and wanted.language not in codes:
        codes.insert(0, wanted.language)
    if codes:
        wire["languageCodes"] = codes
    if wanted.keywords is not None:
        wire["customVocabulary"] = list(wanted.keywords)
    return wire


def _generation_config(config: RealtimeConfig, known: Generation) -> dict[str, JSON]:
    modality = (config.modalities or known.modalities)[0]
    wire: dict[str, JSON] = {"responseModalities": [modality.value.upper()]}
    if config.temperature is not None:
        wire["temperature"] = config.temperature
    if isinstance(config.max_response_output_tokens, int):
        wire["maxOutputTokens"] = config.max_response_output_tokens
    if isinstance(config.voice, str):
        wire["speechConfig"] = {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": config.voice}}}
    if config.reasoning is not None:
        wire["thinkingConfig"] = {"thinkingLevel": config.reasoning.effort.value.upper()}
    if config.affective_dialog is not None:
        wire["enableAffectiveDialog"] = config.affective_dialog
    return wire


def _realtime_input(config: RealtimeConfig, mode: RealtimeTurningMode) -> dict[str, JSON]:
    detection: dict[str, JSON] = {}
    vad = config.effective_turn_detection
    if mode is RealtimeTurningMode.EXPLICIT_COMMIT:
        detection["disabled"] = True
    elif vad is not None:
        if vad.prefix_padding_ms is not None:
            detection["prefixPaddingMs"] = vad.prefix_padding_ms
        if vad.silence_duration_ms is not None:
            detection["silenceDurationMs"] = vad.silence_duration_ms
    wire: dict[str, JSON] = {}
    if detection:
        wire["automaticActivityDetection"] = detection
    uninterrupted = vad is not None and vad.interrupt_response is False
    if uninterrupted or config.interruption_detection is InterruptionDetection.MANUAL:
        wire["activityHandling"] = "NO_INTERRUPTION"
    return wire


# ---------------------------------------------------------------- the whole


def merge(below: Mapping[str, JSON], above: Mapping[str, JSON]) -> dict[str, JSON]:
    """`above` on top of `below`, object by object."""
    merged = dict(below)
    for key, value in above.items():
        present = merged.get(key)
        if isinstance(present, Mapping) and isinstance(value, Mapping):
            merged[key] = merge(present, value)
        else:
            merged[key] = value
    return merged


def new_setup(
    config: RealtimeConfig, model: str, mode: RealtimeTurningMode, *, vertex: bool = False
) -> dict[str, JSON]:
    """The whole `setup` of a session with `model`, without model path, instruction and functions.

    Raises:
        InvalidConfig: `config` asks for what the model does not have, or contradicts `mode`.
    """
    known = generation(model)
    judge = _Judge(model, known)
    judge.fields(config)
    vad = config.turn_detection
    if vad is not None:
        judge.detection(vad, mode)
    if (
        mode is RealtimeTurningMode.EXPLICIT_COMMIT
        and config.interruption_detection is InterruptionDetection.AUTOMATIC
    ):
        judge.refuse(
            "RealtimeConfig.interruption_detection",
            "automatic",
            "does not listen for speech where the turning mode is explicit_commit",
            "manual, or the turning mode provider_managed",
        )
    setup: dict[str, JSON] = {"generationConfig": _generation_config(config, known)}
    realtime = _realtime_input(config, mode)
    if realtime:
        setup["realtimeInputConfig"] = realtime
    wanted = config.input_audio_transcription
    if wanted is not NULL:
        setup["inputAudioTranscription"] = {} if wanted is None else _transcription(wanted)
    if setup["generationConfig"]["responseModalities"] == ["AUDIO"]:
        setup["outputAudioTranscription"] = {}
    compression = _compression(config)
    if compression is not None:
        setup["contextWindowCompression"] = compression
    if config.extra is not None:
        judge.extra(config.extra, vertex=vertex)
        setup = merge(setup, config.extra)
    judge.whole(setup, mode)
    return setup


def _object(value: JSON) -> Mapping[str, JSON]:
    return value if isinstance(value, Mapping) else {}


def _objects(value: JSON) -> list[Mapping[str, JSON]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


# ---------------------------------------------------------------- what follows from it


@attrs.frozen(kw_only=True)
class Settings:
    """What the rest of the dialect needs to know about a session's configuration.

    `interrupts`: the user's activity cuts the model off.  `experimental`: it needs an experimental
    version of the API.
    """

    modality: ResponseModality
    manual: bool
    interrupts: bool
    transcribes: bool
    compresses: bool
    experimental: bool


def settings_of(setup: Mapping[str, JSON], mode: RealtimeTurningMode) -> Settings:
    """The facts of a whole setup."""
    config = _object(setup.get("generationConfig"))
    realtime = _object(setup.get("realtimeInputConfig"))
    return Settings(
        modality=ResponseModality(config["responseModalities"][0].lower()),
        manual=mode is RealtimeTurningMode.EXPLICIT_COMMIT,
        interrupts=realtime.get("activityHandling") != "NO_INTERRUPTION",
        transcribes=setup.get("inputAudioTranscription") is not None,
        compresses=setup.get("contextWindowCompression") is not None,
        experimental="enableAffectiveDialog" in config or "proactivity" in setup,
    )
