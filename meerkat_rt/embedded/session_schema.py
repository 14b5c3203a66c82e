"""What a client may put into `session.update` and `response.create`, field by field.

Source: the request types of the Realtime API and the ranges that its documentation gives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import schema as s
from .faults import invalid_value

if TYPE_CHECKING:
    from collections.abc import Callable

_format = s.tagged(
    {
        "audio/pcm": s.record({"type": s.anything, "rate": s.choice(24000)}, "type"),
        "audio/pcmu": s.record({"type": s.anything}, "type"),
        "audio/pcma": s.record({"type": s.anything}, "type"),
    }
)
_turn_detection = s.tagged(
    {
        "server_vad": s.record(
            {
                "type": s.anything,
                "threshold": s.number(0, 1),
                "prefix_padding_ms": s.integer(0, 10_000),
                "silence_duration_ms": s.integer(0, 60_000),
                "idle_timeout_ms": s.nullable(s.integer(5000, 30000)),
                "create_response": s.boolean,
                "interrupt_response": s.boolean,
            }
        ),
        "semantic_vad": s.record(
            {
                "type": s.anything,
                "eagerness": s.choice("low", "medium", "high", "auto"),
                "create_response": s.boolean,
                "interrupt_response": s.boolean,
            }
        ),
    }
)
_noise_reduction = s.record(
    {"type": s.choice("near_field", "far_field"), "strength": s.number(0, 1)}, "type"
)
_transcription = s.record(
    {
        "model": s.text(),
        "language": s.nullable(s.text(longest=16)),
        "languages": s.nullable(s.array(s.text(longest=16), least=1)),
        "keywords": s.nullable(s.array(s.text(longest=512))),
        "prompt": s.nullable(s.text()),
        "delay": s.nullable(s.choice("minimal", "low", "medium", "high", "xhigh")),
    }
)


def _voice(value: Any, path: str) -> str:
    """A name, or an object with the id of a custom voice; responses echo the string."""
    if isinstance(value, dict):
        return str(s.record({"id": s.text(longest=256)}, "id")(value, path)["id"])
    return str(s.text(longest=256)(value, path))


def _modalities(value: Any, path: str) -> list[str]:
    chosen: list[str] = s.array(s.choice("text", "audio"))(value, path)
    if len(chosen) != 1:
        raise invalid_value(
            path,
            f"Invalid modalities: {chosen}. Supported combinations are: ['text'] and ['audio'].",
        )
    return chosen


def _max_tokens(value: Any, path: str) -> int | str:
    if isinstance(value, str):
        return str(s.choice("inf")(value, path))
    return int(s.integer(1, 4096)(value, path))


def _filter(value: Any, path: str) -> Any:
    return s.record({"read_only": s.boolean, "tool_names": s.array(s.text())})(value, path)


def _allowed_tools(value: Any, path: str) -> Any:
    return s.array(s.text())(value, path) if isinstance(value, list) else _filter(value, path)


def _require_approval(value: Any, path: str) -> Any:
    if isinstance(value, str):
        return s.choice("always", "never")(value, path)
    return s.record({"always": _filter, "never": _filter})(value, path)


def _mcp(value: Any, path: str) -> Any:
    tool = s.record(
        {
            "type": s.anything,
            "server_label": s.text(longest=256),
            "server_url": s.text(),
            "connector_id": s.text(),
            "tunnel_id": s.text(),
            "authorization": s.nullable(s.text()),
            "headers": s.nullable(s.mapping(s.text())),
            "server_description": s.nullable(s.text()),
            "allowed_tools": s.nullable(_allowed_tools),
            "require_approval": s.nullable(_require_approval),
            "allowed_callers": s.nullable(s.array(s.choice("direct", "programmatic"))),
            "defer_loading": s.boolean,
        },
        "server_label",
    )(value, path)
    targets = [key for key in ("server_url", "connector_id", "tunnel_id") if key in tool]
    if len(targets) != 1:
        raise invalid_value(
            path, "Exactly one of 'server_url', 'connector_id' and 'tunnel_id' must be provided."
        )
    return tool


_function = s.record(
    {
        "type": s.anything,
        "name": s.text(longest=128),
        "description": s.nullable(s.text()),
        "parameters": s.nullable(s.any_object),
    },
    "name",
)


def _tools(value: Any, path: str) -> list[dict[str, Any]]:
    tools: list[dict[str, Any]] = s.array(s.tagged({"function": _function, "mcp": _mcp}), most=512)(
        value, path
    )
    seen: set[str] = set()
    for index, tool in enumerate(tools):
        name = tool["name"] if tool["type"] == "function" else f"mcp:{tool['server_label']}"
        if name in seen:
            raise invalid_value(f"{path}[{index}]", f"Duplicate tool: '{name}'.")
        seen.add(name)
    return tools


def _tool_choice(value: Any, path: str) -> Any:
    if isinstance(value, str):
        return s.choice("auto", "none", "required")(value, path)
    return s.tagged(
        {
            "function": s.record({"type": s.anything, "name": s.text()}, "name"),
            "mcp": s.record(
                {"type": s.anything, "server_label": s.text(), "name": s.nullable(s.text())},
                "server_label",
            ),
        }
    )(value, path)


def _tracing(value: Any, path: str) -> Any:
    if isinstance(value, str):
        return s.choice("auto")(value, path)
    return s.record({"workflow_name": s.text(), "group_id": s.text(), "metadata": s.anything})(
        value, path
    )


def _truncation(value: Any, path: str) -> Any:
    if isinstance(value, str):
        return s.choice("auto", "disabled")(value, path)
    return s.tagged(
        {
            "retention_ratio": s.record(
                {
                    "type": s.anything,
                    "retention_ratio": s.number(0, 1),
                    "token_limits": s.record({"post_instructions": s.integer(0)}),
                },
                "retention_ratio",
            )
        }
    )(value, path)


_prompt = s.nullable(
    s.record(
        {
            "id": s.text(),
            "version": s.nullable(s.text()),
            "variables": s.nullable(s.mapping(s.anything)),
        },
        "id",
    )
)
_reasoning = s.nullable(s.record({"effort": s.choice("minimal", "low", "medium", "high", "xhigh")}))
_include = s.nullable(s.array(s.choice("item.input_audio_transcription.logprobs")))

_input_fields: dict[str, Callable[[Any, str], Any]] = {
    "format": _format,
    "turn_detection": s.nullable(_turn_detection),
    "noise_reduction": s.nullable(_noise_reduction),
    "transcription": s.nullable(_transcription),
}
UPDATES: dict[str, Callable[[Any, str], Any]] = {
    "realtime": s.record(
        {
            "type": s.anything,
            "model": s.text(),
            "output_modalities": _modalities,
            "instructions": s.text(),
            "max_output_tokens": _max_tokens,
            "tools": _tools,
            "tool_choice": _tool_choice,
            "parallel_tool_calls": s.boolean,
            "reasoning": _reasoning,
            "include": _include,
            "prompt": _prompt,
            "tracing": s.nullable(_tracing),
            "truncation": _truncation,
            "audio": s.record(
                {
                    "input": s.record(_input_fields),
                    "output": s.record(
                        {"format": _format, "voice": _voice, "speed": s.number(0.25, 1.5)}
                    ),
                }
            ),
        }
    ),
    "transcription": s.record(
        {
            "type": s.anything,
            "include": _include,
            "audio": s.record({"input": s.record(_input_fields)}),
        }
    ),
}
OVERRIDES = s.record(
    {
        "instructions": s.nullable(s.text()),
        "output_modalities": s.nullable(_modalities),
        "tools": s.nullable(_tools),
        "tool_choice": s.nullable(_tool_choice),
        "parallel_tool_calls": s.nullable(s.boolean),
        "reasoning": _reasoning,
        "max_output_tokens": s.nullable(_max_tokens),
        "prompt": _prompt,
        "audio": s.nullable(s.record({"output": s.record({"format": _format, "voice": _voice})})),
        "conversation": s.nullable(s.choice("auto", "none")),
        "input": s.nullable(s.array(s.any_object, most=4096)),
        "metadata": s.nullable(s.mapping(s.text(longest=512), most=16, longest_key=64)),
    }
)
