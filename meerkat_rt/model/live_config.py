"""The settings of a live session that the open config does not carry.

Everything is optional.  An unset field (None) is left to the provider and left out of JSON; `NULL`
switches a thing off; `""` clears the instruction and `()` the tools.  Ranges are checked here, what
one provider or model lacks by its dialect, before it connects.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Literal, TypeAlias

import attrs

from . import checks as check
from ._json import json_field
from .conversation import JSON
from .errors import InvalidConfig
from .input_config import NULL as NULL
from .input_config import AudioEncoding as AudioEncoding
from .input_config import Eagerness as Eagerness
from .input_config import InterruptionDetection as InterruptionDetection
from .input_config import NoiseReduction as NoiseReduction
from .input_config import NoiseReductionType as NoiseReductionType
from .input_config import Null as Null
from .input_config import TranscriptionConfig as TranscriptionConfig
from .input_config import TranscriptionDelay as TranscriptionDelay
from .input_config import VadConfig as VadConfig
from .input_config import VadMode as VadMode
from .media import ResponseModality
from .tool_config import McpApproval as McpApproval
from .tool_config import McpApprovalFilter as McpApprovalFilter
from .tool_config import McpCaller as McpCaller
from .tool_config import McpTool as McpTool
from .tool_config import McpToolFilter as McpToolFilter
from .tool_config import ToolChoice as ToolChoice
from .tool_config import ToolChoiceFunction as ToolChoiceFunction
from .tool_config import ToolChoiceMcp as ToolChoiceMcp
from .tool_config import ToolChoiceMode as ToolChoiceMode
from .tool_config import ToolDefinition as ToolDefinition
from .tool_config import ToolSpec as ToolSpec

# ---------------------------------------------------------------- parts


@attrs.frozen
class VoiceId:
    """A custom voice.  A stock voice is a plain string."""

    id: str = attrs.field(validator=check.named)


class TruncationMode(StrEnum):
    """What happens when the context is full: drop the oldest items, or fail."""

    AUTO = "auto"
    DISABLED = "disabled"


@attrs.frozen
class TokenLimits:
    """`post_instructions`: how many tokens of conversation are kept after the instructions."""

    post_instructions: int | None = attrs.field(
        default=None, validator=check.number(0, integer=True)
    )


@attrs.frozen
class RetentionRatio:
    """When the context is full, keep this share (0 to 1) of it, so that it is not full at once."""

    retention_ratio: float = attrs.field(validator=check.number(0, 1))
    token_limits: TokenLimits | None = None


@attrs.frozen(kw_only=True)
class TracingConfig:
    """How the provider names this session in its traces."""

    workflow_name: str | None = attrs.field(default=None, validator=check.named)
    group_id: str | None = attrs.field(default=None, validator=check.named)
    metadata: Mapping[str, JSON] | None = attrs.field(default=None, validator=check.json_object)


@attrs.frozen
class PromptRef:
    """A prompt stored at the provider; the session's own fields override what it says."""

    id: str = attrs.field(validator=check.named)
    version: str | None = attrs.field(default=None, validator=check.named)
    variables: Mapping[str, JSON] | None = attrs.field(default=None, validator=check.json_object)


class ReasoningEffort(StrEnum):
    """How much a reasoning model thinks before it speaks."""

    MINIMAL = "minimal"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    XHIGH = "xhigh"


def _effort(value: str) -> ReasoningEffort:
    return check.member(ReasoningEffort, "ReasoningConfig.effort")(value)


@attrs.frozen
class ReasoningConfig:
    """Reasoning, for models that do it."""

    effort: ReasoningEffort = attrs.field(converter=_effort)


Voice: TypeAlias = str | VoiceId
Truncation: TypeAlias = TruncationMode | RetentionRatio
Tracing: TypeAlias = Literal["auto"] | TracingConfig | Null
MaxTokens: TypeAlias = int | Literal["inf"]


# ---------------------------------------------------------------- converters


def _modalities(value: Iterable[str] | None) -> tuple[ResponseModality, ...] | None:
    values = check.optional_tuple(value)
    if values is None:
        return None
    if len(values) != 1:
        raise InvalidConfig(
            f"RealtimeConfig.modalities is {values!r}; allowed: exactly one of audio and "
            "text, whatever the model (audio always comes with its transcript)"
        )
    return (check.member(ResponseModality, "RealtimeConfig.modalities")(values[0]),)


def _encoding(where: str, value: str | None) -> AudioEncoding | None:
    return None if value is None else check.member(AudioEncoding, where)(value)


def _input_format(value: str | None) -> AudioEncoding | None:
    return _encoding("RealtimeConfig.input_audio_format", value)


def _output_format(value: str | None) -> AudioEncoding | None:
    return _encoding("RealtimeConfig.output_audio_format", value)


def _turn_detection(value: VadConfig | Null | None) -> VadConfig | None:
    return VadConfig.disabled() if value is NULL else value


def _tools(value: Iterable[ToolSpec] | None) -> tuple[ToolSpec, ...] | None:
    tools = check.optional_tuple(value)
    for tool in tools or ():
        if not isinstance(tool, (ToolDefinition, McpTool)):
            raise InvalidConfig(
                f"RealtimeConfig.tools has {tool!r}; allowed: ToolDefinition and McpTool"
            )
    return tools


def _tool_choice(value: str | ToolChoice | None) -> ToolChoice | None:
    if isinstance(value, str):
        return check.member(ToolChoiceMode, "RealtimeConfig.tool_choice")(value)
    return value


def _truncation(value: str | Truncation | None) -> Truncation | None:
    if isinstance(value, str):
        return check.member(TruncationMode, "RealtimeConfig.truncation")(value)
    return value


def _interruption(value: str | None) -> InterruptionDetection | None:
    where = "RealtimeConfig.interruption_detection"
    return None if value is None else check.member(InterruptionDetection, where)(value)


_token_count = check.number(1, integer=True)


def _max_tokens(instance: object, attribute: attrs.Attribute[MaxTokens], value: object) -> None:
    if value != "inf":
        _token_count(instance, attribute, value)


def _voice(instance: object, attribute: attrs.Attribute[Voice], value: object) -> None:
    if not isinstance(value, VoiceId):
        check.named(instance, attribute, value)


def _tracing(instance: object, attribute: attrs.Attribute[Tracing], value: object) -> None:
    if value is not None and value != "auto" and not isinstance(value, (TracingConfig, Null)):
        check.refuse(instance, attribute.name, value, "auto, a TracingConfig, NULL or None")


# ---------------------------------------------------------------- the config


@attrs.frozen(kw_only=True)
class RealtimeConfig:
    """Settings of a live session; the `with_*` methods give a changed copy.

    The open config wins for model, tools and instruction; a conflict is refused when the session is
    opened.  `interruption_detection`, where set, overrides `turn_detection.interrupt_response`.
    `max_response_output_tokens` counts tool calls too; `"inf"` lifts the cap.  `speed` is 0.25 to
    1.5 times the normal one, `temperature` 0 to 2.  `include` names extra fields of events.
    `extra` goes to the provider as it is, on top of everything else.

    Raises:
        InvalidConfig: a value is not allowed; the message names the field, it, and what is.
    """

    model: str | None = attrs.field(default=None, validator=check.named)
    instruction: str | None = attrs.field(default=None, validator=check.text)
    voice: Voice | None = attrs.field(default=None, validator=_voice)
    modalities: tuple[ResponseModality, ...] | None = attrs.field(
        default=None, converter=_modalities
    )
    input_audio_format: AudioEncoding | None = attrs.field(default=None, converter=_input_format)
    output_audio_format: AudioEncoding | None = attrs.field(default=None, converter=_output_format)
    turn_detection: VadConfig | None = attrs.field(
        default=None,
        converter=_turn_detection,
        validator=check.is_a(VadConfig, what="a VadConfig, NULL or None"),
        metadata=json_field(null={"type": "none"}),
    )
    tools: tuple[ToolSpec, ...] | None = attrs.field(default=None, converter=_tools)
    tool_choice: ToolChoice | None = attrs.field(
        default=None,
        converter=_tool_choice,
        validator=check.is_a(
            ToolChoiceMode, ToolChoiceFunction, ToolChoiceMcp, what="auto, none, required or a tool"
        ),
    )
    input_audio_transcription: TranscriptionConfig | Null | None = attrs.field(
        default=None,
        validator=check.is_a(TranscriptionConfig, Null, what="a TranscriptionConfig, NULL or None"),
    )
    temperature: float | None = attrs.field(default=None, validator=check.number(0, 2))
    max_response_output_tokens: MaxTokens | None = attrs.field(default=None, validator=_max_tokens)
    cached_content: str | None = attrs.field(default=None, validator=check.named)
    interruption_detection: InterruptionDetection | None = attrs.field(
        default=None, converter=_interruption
    )
    affective_dialog: bool | None = attrs.field(default=None, validator=check.flag)
    noise_reduction: NoiseReduction | Null | None = attrs.field(
        default=None,
        validator=check.is_a(NoiseReduction, Null, what="a NoiseReduction, NULL or None"),
    )
    speed: float | None = attrs.field(default=None, validator=check.number(0.25, 1.5))
    truncation: Truncation | None = attrs.field(
        default=None,
        converter=_truncation,
        validator=check.is_a(
            TruncationMode, RetentionRatio, what="auto, disabled or a RetentionRatio"
        ),
    )
    tracing: Tracing | None = attrs.field(default=None, validator=_tracing)
    prompt: PromptRef | Null | None = attrs.field(
        default=None, validator=check.is_a(PromptRef, Null, what="a PromptRef, NULL or None")
    )
    reasoning: ReasoningConfig | None = attrs.field(
        default=None, validator=check.is_a(ReasoningConfig, what="a ReasoningConfig or None")
    )
    parallel_tool_calls: bool | None = attrs.field(default=None, validator=check.flag)
    include: tuple[str, ...] | None = attrs.field(
        default=None, converter=check.strings, validator=check.names
    )
    extra: Mapping[str, JSON] | None = attrs.field(default=None, validator=check.json_object)

    def __attrs_post_init__(self) -> None:
        detection = self.turn_detection
        if (
            self.interruption_detection is InterruptionDetection.AUTOMATIC
            and detection is not None
            and detection.mode is VadMode.NONE
        ):
            raise InvalidConfig(
                "RealtimeConfig.interruption_detection is 'automatic' and turn_detection.mode is "
                "'none'; allowed: automatic interruption with voice activity detection only"
            )
        names = [tool.name for tool in self.tools or () if isinstance(tool, ToolDefinition)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InvalidConfig(
                f"RealtimeConfig.tools has {', '.join(twice)} more than once; allowed: each once"
            )

    @property
    def effective_turn_detection(self) -> VadConfig | None:
        """`turn_detection` with what `interruption_detection` says about interrupting."""
        if self.interruption_detection is None:
            return self.turn_detection
        if self.turn_detection is not None and self.turn_detection.mode is VadMode.NONE:
            return self.turn_detection
        base = self.turn_detection or VadConfig(silence_duration_ms=None)
        return base.with_interrupt(self.interruption_detection is InterruptionDetection.AUTOMATIC)

    def is_empty(self) -> bool:
        """Nothing is set."""
        return self == RealtimeConfig()

    def merged_with(self, update: SessionUpdateConfig | RealtimeConfig) -> RealtimeConfig:
        """This config with every field that `update` sets.

        `extra` is merged key by key, so that a delta does not wipe what the session keeps there.
        """
        delta = update.config if isinstance(update, SessionUpdateConfig) else update
        changes = {
            field.name: value
            for field in attrs.fields(RealtimeConfig)
            if (value := getattr(delta, field.name)) is not None
        }
        if self.extra is not None and delta.extra is not None:
            changes["extra"] = {**self.extra, **delta.extra}
        return attrs.evolve(self, **changes)

    # Each builder returns a changed copy.

    def with_model(self, model: str) -> RealtimeConfig:
        """With this model."""
        return attrs.evolve(self, model=model)

    def with_instruction(self, instruction: str) -> RealtimeConfig:
        """With this system instruction; `""` clears it."""
        return attrs.evolve(self, instruction=instruction)

    def with_voice(self, voice: Voice) -> RealtimeConfig:
        """With this voice.  Providers freeze it once the model has spoken."""
        return attrs.evolve(self, voice=voice)

    def with_modalities(self, modalities: Iterable[str]) -> RealtimeConfig:
        """With exactly one output modality."""
        return attrs.evolve(self, modalities=modalities)

    def with_audio_only(self) -> RealtimeConfig:
        """The model speaks (and its words come as a transcript)."""
        return self.with_modalities([ResponseModality.AUDIO])

    def with_text_only(self) -> RealtimeConfig:
        """The model writes."""
        return self.with_modalities([ResponseModality.TEXT])

    def with_audio_formats(self, *, input: str, output: str) -> RealtimeConfig:  # noqa: A002
        """With these encodings."""
        return attrs.evolve(self, input_audio_format=input, output_audio_format=output)

    def with_vad(self, vad: VadConfig) -> RealtimeConfig:
        """With this turn detection."""
        return attrs.evolve(self, turn_detection=vad)

    def with_server_vad(self) -> RealtimeConfig:
        """Turn detection by silence, with the defaults."""
        return self.with_vad(VadConfig.server_vad())

    def with_semantic_vad(self, eagerness: str | None = None) -> RealtimeConfig:
        """Turn detection by meaning."""
        return self.with_vad(VadConfig.semantic_vad(eagerness))

    def without_vad(self) -> RealtimeConfig:
        """No turn detection: the application commits."""
        return self.with_vad(VadConfig.disabled())

    def with_tool(self, tool: ToolSpec) -> RealtimeConfig:
        """With one tool more."""
        return attrs.evolve(self, tools=(*(self.tools or ()), tool))

    def with_tools(self, tools: Iterable[ToolSpec]) -> RealtimeConfig:
        """With these tools; none clears them."""
        return attrs.evolve(self, tools=tools)

    def with_tool_choice(self, choice: str | ToolChoice) -> RealtimeConfig:
        """With this choice: auto, none, required, or one tool."""
        return attrs.evolve(self, tool_choice=choice)

    def with_transcription(
        self, transcription: TranscriptionConfig | Null | None = None
    ) -> RealtimeConfig:
        """With transcription of the user's speech, by whisper-1 unless told otherwise."""
        chosen = TranscriptionConfig.whisper() if transcription is None else transcription
        return attrs.evolve(self, input_audio_transcription=chosen)

    def with_temperature(self, temperature: float) -> RealtimeConfig:
        """With this temperature."""
        return attrs.evolve(self, temperature=temperature)

    def with_max_response_output_tokens(self, tokens: MaxTokens) -> RealtimeConfig:
        """With this cap on one response."""
        return attrs.evolve(self, max_response_output_tokens=tokens)

    def with_cached_content(self, cached_content: str) -> RealtimeConfig:
        """With content that the provider has cached."""
        return attrs.evolve(self, cached_content=cached_content)

    def with_interruption_detection(self, detection: str) -> RealtimeConfig:
        """With this answer to "does the user's speech cut the model off?"."""
        return attrs.evolve(self, interruption_detection=detection)

    def with_automatic_interruption(self) -> RealtimeConfig:
        """The user's speech cuts the model off."""
        return self.with_interruption_detection(InterruptionDetection.AUTOMATIC)

    def with_affective_dialog(self, enabled: bool) -> RealtimeConfig:
        """With or without an answer to the user's tone."""
        return attrs.evolve(self, affective_dialog=enabled)

    def with_noise_reduction(self, noise_reduction: NoiseReduction | Null) -> RealtimeConfig:
        """With this filter on the microphone; NULL switches it off."""
        return attrs.evolve(self, noise_reduction=noise_reduction)

    def with_speed(self, speed: float) -> RealtimeConfig:
        """With this speed of speech."""
        return attrs.evolve(self, speed=speed)

    def with_truncation(self, truncation: str | Truncation) -> RealtimeConfig:
        """With this behaviour when the context is full."""
        return attrs.evolve(self, truncation=truncation)

    def with_tracing(self, tracing: Tracing) -> RealtimeConfig:
        """With this tracing."""
        return attrs.evolve(self, tracing=tracing)

    def with_prompt(self, prompt: PromptRef | Null) -> RealtimeConfig:
        """With this stored prompt."""
        return attrs.evolve(self, prompt=prompt)

    def with_reasoning(self, effort: str) -> RealtimeConfig:
        """With this reasoning effort."""
        return attrs.evolve(self, reasoning=ReasoningConfig(effort))

    def with_parallel_tool_calls(self, allowed: bool) -> RealtimeConfig:
        """With or without several calls in one response."""
        return attrs.evolve(self, parallel_tool_calls=allowed)

    def with_include(self, include: Iterable[str]) -> RealtimeConfig:
        """With these extra fields of events."""
        return attrs.evolve(self, include=include)

    def with_extra(self, extra: Mapping[str, JSON]) -> RealtimeConfig:
        """With these provider-specific settings."""
        return attrs.evolve(self, extra=extra)


@attrs.frozen
class SessionUpdateConfig:
    """A sparse change to a live session: only what it sets changes.

    Build it from a fresh config.  One made from the config that the session was opened with would
    send again what cannot change any more (the model, the voice), and be refused.
    """

    config: RealtimeConfig = attrs.field(factory=RealtimeConfig)
