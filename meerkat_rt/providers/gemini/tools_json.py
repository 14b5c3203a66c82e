"""Tools in the provider's JSON, and when the model is told what they answered."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

from ...model.errors import InvalidConfig
from ...model.live_config import McpTool, ToolDefinition

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ...model.conversation import JSON, ToolDef
    from ...model.open_config import RealtimeSessionOpenConfig
    from .generations import Generation

MAX_DECLARATIONS = 512
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")


class ToolBehavior(StrEnum):
    """Whether the model waits for a tool's answer, or talks on."""

    BLOCKING = "BLOCKING"
    NON_BLOCKING = "NON_BLOCKING"


class ToolScheduling(StrEnum):
    """When the model speaks about the answer of a tool that it did not wait for.

    An answer that nobody wants to hear about (see `InterruptPolicy.FINISH_SILENTLY`) is given
    silently whatever is chosen here.
    """

    WHEN_IDLE = "WHEN_IDLE"
    INTERRUPT = "INTERRUPT"


Scheduling: TypeAlias = ToolScheduling | Mapping[str, ToolScheduling] | None
"""For every tool, or by its name."""

SILENT = "SILENT"


def scheduling_of(scheduling: Scheduling, name: str) -> ToolScheduling | None:
    """What is chosen for one tool."""
    return scheduling.get(name) if isinstance(scheduling, Mapping) else scheduling


def check_asynchrony(
    behavior: ToolBehavior | None,
    scheduling: Scheduling,
    generation: Generation,
    model: str,
) -> None:
    """Refuse what the model does not do.

    Raises:
        InvalidConfig: the model waits for every tool, or is told to.
    """
    chosen = scheduling or None
    if generation.async_tools:
        if behavior is ToolBehavior.BLOCKING and chosen is not None:
            raise InvalidConfig(
                f"tool_scheduling is {_shown(chosen)}, and tool_behavior is BLOCKING, so that "
                f"{model} waits for every answer; allowed with tool_scheduling: NON_BLOCKING"
            )
        return
    why = f"{model} waits for every answer; allowed: leave it out"
    if chosen is not None:
        raise InvalidConfig(f"tool_scheduling is {_shown(chosen)}: {why}")
    if behavior is ToolBehavior.NON_BLOCKING:
        raise InvalidConfig(f"tool_behavior is NON_BLOCKING: {why}, or BLOCKING")


def _shown(scheduling: ToolScheduling | Mapping[str, ToolScheduling]) -> str:
    if not isinstance(scheduling, Mapping):
        return scheduling.value
    return ", ".join(f"{name}={kind.value}" for name, kind in scheduling.items())


def is_async(
    name: str, behavior: ToolBehavior | None, scheduling: Scheduling, generation: Generation
) -> bool:
    """Whether the model talks on while the tool runs."""
    if behavior is not None:
        return behavior is ToolBehavior.NON_BLOCKING
    if scheduling_of(scheduling, name) is not None:
        return True
    return generation.async_by_default


def declaration(
    tool: ToolDef | ToolDefinition,
    behavior: ToolBehavior | None,
    scheduling: Scheduling,
    generation: Generation,
) -> dict[str, JSON]:
    """A function.  A blank description and an empty schema are left out.

    The schema goes as JSON Schema, never as the provider's own subset of OpenAPI as well: a
    declaration with both closes the connection.

    Raises:
        InvalidConfig: the provider does not take the name.
    """
    if not _NAME.fullmatch(tool.name):
        raise InvalidConfig(
            f"a tool is named {tool.name!r}; Gemini allows: a letter or an underscore, then at "
            "most 127 letters, digits, underscores, dots, colons and dashes"
        )
    wire: dict[str, JSON] = {"name": tool.name}
    if tool.description and tool.description.strip():
        wire["description"] = tool.description
    schema = tool.parameters if isinstance(tool, ToolDefinition) else tool.input_schema
    if schema:
        wire["parametersJsonSchema"] = dict(schema)
    wanted = behavior
    if wanted is None and scheduling_of(scheduling, tool.name) is not None:
        wanted = ToolBehavior.NON_BLOCKING
    default = ToolBehavior.NON_BLOCKING if generation.async_by_default else ToolBehavior.BLOCKING
    if wanted is not None and wanted is not default:
        wire["behavior"] = wanted.value
    return wire


def advertised(
    config: RealtimeSessionOpenConfig | None,
    tools: Sequence[ToolDef],
    configured: Iterable[ToolDefinition | McpTool],
) -> list[ToolDef | ToolDefinition]:
    """Every function that the model is to be offered.

    `tools` is what the runtime advertises; tools of the open config that are not among them come
    too.  Functions in the `RealtimeConfig` count where the session has none, or has the same.

    Raises:
        InvalidConfig: the `RealtimeConfig` has functions that the session does not have, or there
            are more than the provider takes.
    """
    names = {tool.name for tool in tools}
    visible = () if config is None else config.visible_tools
    ours = [*(tool for tool in visible if tool.name not in names), *tools]
    theirs = [tool for tool in configured if isinstance(tool, ToolDefinition)]
    if ours:
        known = {_meaning(tool) for tool in ours}
        odd = [tool.name for tool in theirs if _meaning(tool) not in known]
        if odd:
            raise InvalidConfig(
                f"RealtimeConfig.tools has {', '.join(odd)}, which the open config's visible_tools "
                f"and the ToolSet do not have like that (they have "
                f"{', '.join(tool.name for tool in ours)}); give all functions in one place"
            )
    chosen: list[ToolDef | ToolDefinition] = list(ours) if ours else list(theirs)
    if len(chosen) > MAX_DECLARATIONS:
        raise InvalidConfig(
            f"{len(chosen)} functions are advertised; Gemini allows {MAX_DECLARATIONS}"
        )
    return chosen


def _meaning(tool: ToolDef | ToolDefinition) -> tuple[str, str, str]:
    schema = tool.parameters if isinstance(tool, ToolDefinition) else tool.input_schema
    return tool.name, (tool.description or "").strip(), repr(schema or {})
