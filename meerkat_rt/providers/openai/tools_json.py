"""Tools and the choice among them, in the provider's JSON."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ...model.errors import InvalidConfig
from ...model.live_config import (
    McpApprovalFilter,
    McpTool,
    McpToolFilter,
    ToolChoiceFunction,
    ToolChoiceMcp,
    ToolDefinition,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ...model.conversation import JSON, ToolDef
    from ...model.live_config import ToolChoice
    from ...model.open_config import RealtimeSessionOpenConfig


TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def function_tool(tool: ToolDef | ToolDefinition) -> dict[str, JSON]:
    """A function tool.  A blank description and an empty schema are left out.

    Raises:
        InvalidConfig: the provider does not take the name.
    """
    if not TOOL_NAME.fullmatch(tool.name):
        raise InvalidConfig(
            f"a tool is named {tool.name!r}; OpenAI allows: 1 to 64 letters, digits, underscores "
            "and dashes"
        )
    wire: dict[str, JSON] = {"type": "function", "name": tool.name}
    if tool.description and tool.description.strip():
        wire["description"] = tool.description
    parameters = tool.parameters if isinstance(tool, ToolDefinition) else tool.input_schema
    if parameters:
        wire["parameters"] = dict(parameters)
    return wire


def mcp_tool(tool: McpTool) -> dict[str, JSON]:
    """A server whose tools the provider runs."""
    wire: dict[str, JSON] = {"type": "mcp", "server_label": tool.server_label}
    for name in (
        "server_url",
        "connector_id",
        "tunnel_id",
        "authorization",
        "server_description",
        "defer_loading",
    ):
        if (value := getattr(tool, name)) is not None:
            wire[name] = value
    if tool.headers is not None:
        wire["headers"] = dict(tool.headers)
    if isinstance(tool.allowed_tools, McpToolFilter):
        wire["allowed_tools"] = _filter(tool.allowed_tools)
    elif tool.allowed_tools is not None:
        wire["allowed_tools"] = list(tool.allowed_tools)
    if isinstance(tool.require_approval, McpApprovalFilter):
        wire["require_approval"] = {
            name: _filter(some)
            for name in ("always", "never")
            if (some := getattr(tool.require_approval, name)) is not None
        }
    elif tool.require_approval is not None:
        wire["require_approval"] = tool.require_approval.value
    if tool.allowed_callers is not None:
        wire["allowed_callers"] = [caller.value for caller in tool.allowed_callers]
    return wire


def _filter(some: McpToolFilter) -> dict[str, JSON]:
    wire: dict[str, JSON] = {}
    if some.tool_names is not None:
        wire["tool_names"] = list(some.tool_names)
    if some.read_only is not None:
        wire["read_only"] = some.read_only
    return wire


def tool_choice(choice: ToolChoice) -> JSON:
    """A choice among tools."""
    match choice:
        case ToolChoiceFunction(name=name):
            return {"type": "function", "name": name}
        case ToolChoiceMcp(server_label=label, name=None):
            return {"type": "mcp", "server_label": label}
        case ToolChoiceMcp(server_label=label, name=name):
            return {"type": "mcp", "server_label": label, "name": name}
        case mode:
            return mode.value


def choice_by_name(name: str) -> JSON:
    """The choice that a plain string means: a mode, or one function."""
    return name if name in ("auto", "none", "required") else {"type": "function", "name": name}


def advertised(
    config: RealtimeSessionOpenConfig,
    tools: Sequence[ToolDef],
    configured: Iterable[ToolDefinition | McpTool],
) -> list[dict[str, JSON]]:
    """Everything the model is to be offered: the session's functions, then the provider's servers.

    `tools` is what the runtime advertises; tools of the open config that are not among them come
    too.  Functions in the `RealtimeConfig` count where the session has none, or has the same.

    Raises:
        InvalidConfig: the `RealtimeConfig` has functions that the session does not have.
    """
    names = {tool.name for tool in tools}
    ours = [*(tool for tool in config.visible_tools if tool.name not in names), *tools]
    functions = [function_tool(tool) for tool in ours]
    theirs = [function_tool(tool) for tool in configured if isinstance(tool, ToolDefinition)]
    servers = [mcp_tool(tool) for tool in configured if isinstance(tool, McpTool)]
    if functions:
        odd = [tool["name"] for tool in theirs if tool not in functions]
        if odd:
            raise InvalidConfig(
                f"RealtimeConfig.tools has {', '.join(odd)}, which the open config's visible_tools "
                f"and the ToolSet do not have like that (they have "
                f"{', '.join(tool['name'] for tool in functions)}); give all functions in one place"
            )
        theirs = []
    return [*functions, *theirs, *servers]
