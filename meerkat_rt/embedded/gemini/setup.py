"""What a client's `setup` asks for, and what is refused in it.

Which settings a model has is what `providers.gemini.generations` says of its name; a name that fits
no known family has them all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from ...providers.gemini.generations import (
    LIVE_3_1,
    LIVE_3_8,
    UNKNOWN,
    Generation,
    bare,
    generation,
)
from ..brain import BrainTool
from ..settings import TurnDetection
from ..vad import VadSettings
from .proto import POLICY, Refused, invalid

MOST_FUNCTIONS = 512
DEFAULT_TRIGGER = 0.8  # of the context window
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")
_AI_STUDIO = re.compile(r"(?:models|tunedModels)/[\w.-]{1,200}")
_VERTEX = re.compile(
    r"projects/[\w:.-]{1,200}/locations/[\w-]{1,63}/publishers/[\w-]{1,63}/models/[\w.@-]{1,200}"
)

# The service's own sensitivities have no numbers; these are the detector's on either side of its
# middle.
_THRESHOLDS = {"HIGH": 0.4, "LOW": 0.6}
_SILENCES_MS = {"HIGH": 500, "LOW": 800}


@attrs.frozen(kw_only=True)
class Function:
    """A function that the client offers; `blocking`: the model waits for its answer."""

    tool: BrainTool
    blocking: bool


@attrs.frozen(kw_only=True)
class Compression:
    """From how many tokens the context is cut, and to how many."""

    trigger: int
    target: int


@attrs.frozen(kw_only=True)
class Setup:
    """One session's configuration.

    `detection` None: activity is the client's to tell.  `interrupts`: the user's activity stops the
    model.  `tells`: this model tells of voice activity, of the end of transcriptions and of the
    interaction's status.  `newest`: it is one of the newest, which let the user's text in without
    being stopped by it.
    """

    model: str
    generation: Generation
    modality: str
    voice: str
    instructions: str
    functions: Mapping[str, Function]
    detection: TurnDetection | None
    interrupts: bool
    transcribes_input: bool
    transcribes_output: bool
    handle: str | None
    resumption: bool
    transparent: bool
    compression: Compression | None
    expects_history: bool
    max_output_tokens: int | None
    signals_vad: bool
    tells: bool
    newest: bool

    @property
    def text_all_session(self) -> bool:
        """Content may come at any time, not only as initial history."""
        return self.generation.text_all_session

    @property
    def takes_media_chunks(self) -> bool:
        """The deprecated way of sending audio and pictures still works."""
        return self.generation not in (LIVE_3_1, LIVE_3_8)


def parse_setup(
    wire: Mapping[str, Any],
    *,
    vertex: bool,
    models: frozenset[str] | None,
    voice: str,
    context: int,
) -> Setup:
    """The configuration that a checked `setup` stands for.

    `voice` is the default one, `context` the window in tokens.

    Raises:
        Refused: it asks for what there is not.
    """
    path = wire.get("model", "")
    if not (_VERTEX if vertex else _AI_STUDIO).fullmatch(path):
        form = "projects/*/locations/*/publishers/*/models/*" if vertex else "models/*"
        raise invalid(f'setup.model is not of the form {form}: "{path[:60]}"')
    model = bare(path)
    if models is not None and model not in models:
        raise Refused(
            POLICY,
            f"{path[:60]} is not found for API version v1beta, or is not supported for "
            "bidiGenerateContent.",
        )
    known = generation(model)
    config = wire.get("generationConfig", {})
    resumption = wire.get("sessionResumption")
    realtime = wire.get("realtimeInputConfig", {})
    _refuse_unsupported(wire, config, known, vertex=vertex)
    handle = None if resumption is None else resumption.get("handle") or None
    speech = config.get("speechConfig", {}).get("voiceConfig", {}).get("prebuiltVoiceConfig", {})
    return Setup(
        model=model,
        generation=known,
        modality=_modality(config, known),
        voice=speech.get("voiceName") or voice,
        instructions=text_of(wire.get("systemInstruction", {})),
        functions=functions_of(wire.get("tools", ()), known),
        detection=_detection(realtime.get("automaticActivityDetection", {}), vertex=vertex),
        interrupts=realtime.get("activityHandling") != "NO_INTERRUPTION",
        transcribes_input="inputAudioTranscription" in wire,
        transcribes_output="outputAudioTranscription" in wire,
        handle=handle,
        resumption=resumption is not None,
        transparent=bool(resumption and resumption.get("transparent")),
        compression=_compression(wire.get("contextWindowCompression"), context),
        expects_history=bool(
            wire.get("historyConfig", {}).get("initialHistoryInClientContent") and handle is None
        ),
        max_output_tokens=config.get("maxOutputTokens"),
        signals_vad=bool(wire.get("explicitVadSignal")),
        tells=known in (LIVE_3_8, UNKNOWN),
        newest=known is LIVE_3_8,
    )


def _refuse_unsupported(
    wire: Mapping[str, Any], config: Mapping[str, Any], known: Generation, *, vertex: bool
) -> None:
    thinking = config.get("thinkingConfig", {})
    resumption = wire.get("sessionResumption", {})
    proactive = wire.get("proactivity", {})
    refused = {
        "Thinking level is not supported for this model.": (
            "thinkingLevel" in thinking and not known.thinking_level
        ),
        "Thinking budget is not supported for this model.": (
            "thinkingBudget" in thinking and not known.thinking_budget
        ),
        "Affective dialog is not supported for this model.": (
            "enableAffectiveDialog" in config and not known.affective_dialog
        ),
        "Proactivity is not supported for this model.": (bool(proactive) and not known.proactivity),
        "Proactive audio cannot be switched off for this model.": (
            known.always_proactive and proactive.get("proactiveAudio") is False
        ),
        "Multi-speaker voices are not supported in Live sessions.": (
            "multiSpeakerVoiceConfig" in config.get("speechConfig", {})
        ),
        "Transparent session resumption is not supported.": (
            bool(resumption.get("transparent")) and not vertex
        ),
        "explicit_vad_signal is not supported.": (
            bool(wire.get("explicitVadSignal")) and not vertex
        ),
    }
    for reason, applies in refused.items():
        if applies:
            raise invalid(f"Request contains an invalid argument: {reason}")


def _modality(config: Mapping[str, Any], known: Generation) -> str:
    allowed = [modality.value.upper() for modality in known.modalities]
    asked = config.get("responseModalities") or allowed[:1]
    if len(asked) != 1 or asked[0] not in allowed:
        told = " or ".join(allowed)
        raise invalid(
            f"Cannot extract voices from a non-audio request: response modalities "
            f"{', '.join(asked)[:30]} are not one of {told}."
            if len(asked) == 1
            else f"At most one response modality is allowed: one of {told}."
        )
    return str(asked[0]).lower()


def _detection(wire: Mapping[str, Any], *, vertex: bool) -> TurnDetection | None:
    if wire.get("disabled"):
        return None
    usual = "LOW" if vertex else "HIGH"
    start = wire.get("startOfSpeechSensitivity", "").removeprefix("START_SENSITIVITY_")
    end = wire.get("endOfSpeechSensitivity", "").removeprefix("END_SENSITIVITY_")
    silence = wire.get("silenceDurationMs", _SILENCES_MS.get(end, _SILENCES_MS[usual]))
    for name in ("prefixPaddingMs", "silenceDurationMs"):
        if wire.get(name, 0) < 0:
            raise invalid(f"automatic_activity_detection: {name} must not be negative.")
    return TurnDetection(
        vad=VadSettings(
            threshold=_THRESHOLDS.get(start, _THRESHOLDS[usual]), silence_duration_ms=silence
        ),
        create_response=True,
        interrupt_response=True,
        idle_timeout_ms=None,
    )


def _compression(wire: Mapping[str, Any] | None, context: int) -> Compression | None:
    if wire is None:
        return None
    if "slidingWindow" not in wire:
        raise invalid("context_window_compression: a compression mechanism must be set.")
    trigger = wire.get("triggerTokens", int(context * DEFAULT_TRIGGER))
    target = wire["slidingWindow"].get("targetTokens", trigger // 2)
    if not 0 <= target < trigger:
        raise invalid("context_window_compression: target_tokens must be less than trigger_tokens.")
    return Compression(trigger=min(trigger, context), target=min(target, context // 2))


# ---------------------------------------------------------------- instruction and functions


def text_of(content: Mapping[str, Any]) -> str:
    """The text of a content's parts, each a paragraph of its own."""
    return "\n\n".join(part["text"] for part in content.get("parts", ()) if part.get("text"))


def functions_of(tools: Sequence[Mapping[str, Any]], known: Generation) -> dict[str, Function]:
    """The functions in a list of tools, by name.

    Raises:
        Refused: a function is declared twice, badly, or as the model cannot have it.
    """
    functions: dict[str, Function] = {}
    for declared in (each for tool in tools for each in tool.get("functionDeclarations", ())):
        name = declared.get("name", "")
        where = f"tools.function_declarations[{len(functions)}]"
        if not _NAME.fullmatch(name):
            raise invalid(f'{where}.name: Invalid function name "{name[:40]}".')
        if name in functions:
            raise invalid(f"Duplicate function declaration found: {name[:60]}")
        if "parameters" in declared and "parametersJsonSchema" in declared:
            raise invalid(f"{where}: only one of parameters, parameters_json_schema may be set.")
        behavior = declared.get("behavior")
        if behavior == "NON_BLOCKING" and not known.async_tools:
            raise invalid(f"{where}.behavior: NON_BLOCKING is not supported for this model.")
        schema = declared.get("parametersJsonSchema")
        if schema is None:
            schema = json_schema(declared.get("parameters", {}))
        functions[name] = Function(
            tool=BrainTool(
                name=name,
                description=declared.get("description", ""),
                parameters=schema if isinstance(schema, dict) else {},
            ),
            blocking=(
                not known.async_by_default
                if behavior in (None, "UNSPECIFIED")
                else behavior == "BLOCKING"
            ),
        )
    if len(functions) > MOST_FUNCTIONS:
        raise invalid(f"At most {MOST_FUNCTIONS} function declarations are allowed.")
    return functions


def json_schema(value: Any) -> Any:
    """The provider's subset of OpenAPI as JSON Schema: types are in upper case there."""
    match value:
        case dict():
            return {
                key: entry.lower()
                if key == "type" and isinstance(entry, str)
                else json_schema(entry)
                for key, entry in value.items()
            }
        case list():
            return [json_schema(entry) for entry in value]
        case _:
            return value
