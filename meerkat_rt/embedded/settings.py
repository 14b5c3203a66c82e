"""The session configuration: what a client may set, how updates merge, what the server tells back.

Source: the Realtime session object, and what its server was seen to do: an update is a merge of the
keys that are present, and one bad key rejects the whole update.
"""

from __future__ import annotations

import copy
import re
from typing import Any, Literal

import attrs

from . import schema as s
from .audio import FORMATS, AudioFormat
from .faults import Fault, invalid_value, missing_parameter, unknown_parameter
from .session_schema import OVERRIDES, UPDATES
from .vad import VadSettings

SessionKind = Literal["realtime", "transcription"]

DEFAULT_VOICE = "marin"
DEFAULT_INSTRUCTIONS = "You are a friendly voice assistant. Keep answers short and conversational."

# Milliseconds of silence that end a turn, by eagerness.  The vendor's semantic detector weighs
# words and waits at most 8, 4 or 2 s; an energy detector has only the pause to go by, so a fixed
# pause stands in.
SEMANTIC_SILENCE_MS = {"low": 1500, "medium": 800, "auto": 800, "high": 400}

_SERVER_VAD_DEFAULTS: dict[str, Any] = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": 500,
    "idle_timeout_ms": None,
    "create_response": True,
    "interrupt_response": True,
}
_SEMANTIC_VAD_DEFAULTS: dict[str, Any] = {
    "type": "semantic_vad",
    "eagerness": "auto",
    "create_response": True,
    "interrupt_response": True,
}

_REASONING_MODEL = re.compile(r"gpt-realtime-2(\.\d+)?(-|$)")
_OLDER_MODEL = re.compile(r"gpt-(realtime|4o-realtime|4o-mini-realtime|audio)")


def default_session(kind: SessionKind, model: str, *, voice: str = DEFAULT_VOICE) -> dict[str, Any]:
    """The configuration that a session starts with, in the shape that the protocol sends."""
    audio_input = {
        "format": {"type": "audio/pcm", "rate": 24000},
        "transcription": None,
        "noise_reduction": None,
        "turn_detection": dict(_SERVER_VAD_DEFAULTS),
    }
    if kind == "transcription":
        return {"type": kind, "include": None, "audio": {"input": audio_input}}
    return {
        "type": kind,
        "model": model,
        "output_modalities": ["audio"],
        "instructions": DEFAULT_INSTRUCTIONS,
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "tracing": None,
        "truncation": "auto",
        "prompt": None,
        "include": None,
        "audio": {
            "input": audio_input,
            "output": {
                "format": {"type": "audio/pcm", "rate": 24000},
                "voice": voice,
                "speed": 1.0,
            },
        },
    }


def updated_session(
    current: dict[str, Any], patch: Any, *, audio_spoken: bool, path: str = "session"
) -> dict[str, Any]:
    """Return `current` merged with a client's `patch`; neither is changed.

    `audio_spoken` says that the session has already sent audio, which freezes the voice.

    Raises:
        Fault: the patch is refused as a whole.
    """
    kind = current["type"]
    if not isinstance(patch, dict):
        s.any_object(patch, path)
    if "type" not in patch:
        raise missing_parameter(f"{path}.type")
    wanted = s.choice("realtime", "transcription")(patch["type"], f"{path}.type")
    if wanted != kind:
        raise invalid_value(
            f"{path}.type",
            f"Passing a {wanted} session update event to a {kind} session is not allowed.",
        )
    checked = UPDATES[kind](patch, path)
    if kind == "realtime":
        _check_frozen(current, checked, audio_spoken=audio_spoken, path=path)
    merged = copy.deepcopy(current)
    audio = checked.pop("audio", {})
    merged.update(copy.deepcopy(checked))
    for side, part in audio.items():
        for key, value in part.items():
            merged["audio"][side][key] = _merged_part(key, merged["audio"][side].get(key), value)
    if "tool_choice" in checked:
        check_tool_choice(merged["tool_choice"], merged["tools"], f"{path}.tool_choice")
    return merged


def _check_frozen(
    current: dict[str, Any], patch: dict[str, Any], *, audio_spoken: bool, path: str
) -> None:
    model = current["model"]
    if patch.get("model", model) != model:
        raise invalid_value(
            f"{path}.model", "The model of a session cannot be changed after it was created."
        )
    if patch.get("reasoning") is not None:
        check_reasoning(model, f"{path}.reasoning")
    voice = patch.get("audio", {}).get("output", {}).get("voice")
    check_voice(current, voice, audio_spoken=audio_spoken, path=f"{path}.audio.output.voice")
    tracing = current["tracing"]
    if tracing is not None and patch.get("tracing", tracing) != tracing:
        raise invalid_value(f"{path}.tracing", "Tracing cannot be changed once it is enabled.")


def check_voice(
    current: dict[str, Any], voice: str | None, *, audio_spoken: bool, path: str
) -> None:
    """Refuse another voice after the first audio.

    Raises:
        Fault: code cannot_update_voice.
    """
    if audio_spoken and voice is not None and voice != current["audio"]["output"]["voice"]:
        raise Fault(
            "cannot_update_voice",
            "Cannot update a conversation's voice if assistant audio is present.",
            param=path,
        )


def check_reasoning(model: str, path: str) -> None:
    """Refuse the reasoning key for those of the vendor's models that do not know it."""
    if _OLDER_MODEL.match(model) and not _REASONING_MODEL.match(model):
        raise unknown_parameter(path)


def check_tool_choice(choice: Any, tools: list[dict[str, Any]], path: str) -> None:
    """Refuse a choice that names a tool which is not offered."""
    if not _is_offered(choice, tools):
        name = choice.get("name") or choice["server_label"]
        raise invalid_value(path, f"Tool choice '{name}' not found in 'tools' parameter.")


def _is_offered(choice: Any, tools: list[dict[str, Any]]) -> bool:
    if not isinstance(choice, dict):
        return True
    key = "name" if choice["type"] == "function" else "server_label"
    return any(tool["type"] == choice["type"] and tool.get(key) == choice[key] for tool in tools)


def _merged_part(key: str, current: Any, value: Any) -> Any:
    """The new value of one key of `audio.input` or `audio.output`."""
    if value is None:
        return None
    if key == "turn_detection":
        if current is not None and current["type"] == value["type"]:
            return {**current, **value}
        defaults = _SERVER_VAD_DEFAULTS if value["type"] == "server_vad" else _SEMANTIC_VAD_DEFAULTS
        return {**defaults, **value}
    if key == "noise_reduction":
        strength = 1.0 if current is None else current.get("strength", 1.0)
        return {"strength": strength, **value}
    if key == "format" and value["type"] == "audio/pcm":
        return {"type": "audio/pcm", "rate": 24000}
    return copy.deepcopy(value)


def checked_overrides(value: Any, path: str = "response") -> dict[str, Any]:
    """The settings of one response; null stands for "as the session says" and is left out.

    Raises:
        Fault: the response is refused.
    """
    overrides: dict[str, Any] = OVERRIDES(value, path)
    return {key: entry for key, entry in overrides.items() if entry is not None}


@attrs.frozen(kw_only=True)
class TurnDetection:
    """What the session says about turn detection, in the terms of our detector."""

    vad: VadSettings
    create_response: bool
    interrupt_response: bool
    idle_timeout_ms: int | None

    @classmethod
    def of(cls, session: dict[str, Any]) -> TurnDetection | None:
        """None when turns are committed by hand."""
        wire = session["audio"]["input"]["turn_detection"]
        if wire is None:
            return None
        if wire["type"] == "semantic_vad":
            vad = VadSettings(silence_duration_ms=SEMANTIC_SILENCE_MS[wire["eagerness"]])
        else:
            vad = VadSettings(
                threshold=wire["threshold"],
                prefix_padding_ms=wire["prefix_padding_ms"],
                silence_duration_ms=wire["silence_duration_ms"],
            )
        return cls(
            vad=vad,
            create_response=wire["create_response"],
            interrupt_response=wire["interrupt_response"],
            idle_timeout_ms=wire.get("idle_timeout_ms"),
        )


def input_format(session: dict[str, Any]) -> AudioFormat:
    """The format of the audio that the client sends."""
    return FORMATS[session["audio"]["input"]["format"]["type"]]


@attrs.frozen(kw_only=True)
class ResponseSettings:
    """The session's settings with one response's overrides applied."""

    instructions: str
    modality: str
    tools: tuple[dict[str, Any], ...]
    tool_choice: Any
    parallel_tool_calls: bool
    max_output_tokens: int | str
    format: AudioFormat
    voice: str
    speed: float
    metadata: dict[str, str] | None

    @classmethod
    def of(cls, session: dict[str, Any], overrides: dict[str, Any]) -> ResponseSettings:
        """Apply `overrides`, which `checked_overrides` returned."""
        output = {**session["audio"]["output"], **overrides.get("audio", {}).get("output", {})}
        tools = overrides.get("tools", session["tools"])
        if "tool_choice" in overrides:
            choice = overrides["tool_choice"]
            check_tool_choice(choice, tools, "response.tool_choice")
        else:
            # The tools may have been replaced since the session named one of them.
            choice = (
                session["tool_choice"] if _is_offered(session["tool_choice"], tools) else "auto"
            )
        return cls(
            instructions=overrides.get("instructions", session["instructions"]),
            modality=overrides.get("output_modalities", session["output_modalities"])[0],
            tools=tuple(tools),
            tool_choice=choice,
            parallel_tool_calls=overrides.get(
                "parallel_tool_calls", session.get("parallel_tool_calls", False)
            ),
            max_output_tokens=overrides.get("max_output_tokens", session["max_output_tokens"]),
            format=FORMATS[output["format"]["type"]],
            voice=output["voice"],
            speed=float(output["speed"]),
            metadata=overrides.get("metadata"),
        )
