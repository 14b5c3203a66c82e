"""Which tools a live session offers the model, and whether it must use one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import TypeAlias

import attrs

from . import checks as check
from .conversation import JSON
from .errors import InvalidConfig


@attrs.frozen
class ToolDefinition:
    """A function that the model may call.  `parameters` is a JSON Schema of an object."""

    name: str = attrs.field(validator=check.named)
    description: str | None = attrs.field(default=None, validator=check.text)
    parameters: Mapping[str, JSON] | None = attrs.field(default=None, validator=check.json_object)

    def with_description(self, description: str) -> ToolDefinition:
        """The same with another description."""
        return attrs.evolve(self, description=description)

    def with_parameters(self, parameters: Mapping[str, JSON]) -> ToolDefinition:
        """The same with another schema."""
        return attrs.evolve(self, parameters=parameters)


# ---------------------------------------------------------------- tools on the provider's side


@attrs.frozen(kw_only=True)
class McpToolFilter:
    """Some of a server's tools: those with these names, or those marked read-only."""

    tool_names: tuple[str, ...] | None = attrs.field(
        default=None, converter=check.strings, validator=check.names
    )
    read_only: bool | None = attrs.field(default=None, validator=check.flag)


class McpApproval(StrEnum):
    """Whether calls wait for the application's approval."""

    ALWAYS = "always"
    NEVER = "never"


@attrs.frozen(kw_only=True)
class McpApprovalFilter:
    """Which calls always, and which never, wait for approval."""

    always: McpToolFilter | None = None
    never: McpToolFilter | None = None


class McpCaller(StrEnum):
    """Who may call: the model itself, or code that it writes."""

    DIRECT = "direct"
    PROGRAMMATIC = "programmatic"


def _approval(
    value: str | McpApprovalFilter | None,
) -> McpApproval | McpApprovalFilter | None:
    if isinstance(value, str):
        return check.member(McpApproval, "McpTool.require_approval")(value)
    return value


def _allowed_tools(
    value: list[str] | tuple[str, ...] | McpToolFilter | None,
) -> tuple[str, ...] | McpToolFilter | None:
    return value if isinstance(value, McpToolFilter) else check.optional_tuple(value)


def _callers(value: list[str] | tuple[str, ...] | None) -> tuple[McpCaller, ...] | None:
    each = check.member(McpCaller, "McpTool.allowed_callers")
    values = check.optional_tuple(value)
    return None if values is None else tuple(each(one) for one in values)


_TUNNEL = re.compile(r"tunnel_[a-z0-9]{32}")


@attrs.frozen(kw_only=True)
class McpTool:
    """A Model Context Protocol server whose tools the provider runs by itself.

    Exactly one of `server_url`, `connector_id` and `tunnel_id` says where it is.  Unless
    `require_approval` says otherwise, the provider asks before every call.
    """

    server_label: str = attrs.field(validator=check.named)
    server_url: str | None = attrs.field(default=None, validator=check.named)
    connector_id: str | None = attrs.field(default=None, validator=check.named)
    tunnel_id: str | None = attrs.field(default=None, validator=check.named)
    authorization: str | None = attrs.field(default=None, repr=False)
    headers: Mapping[str, str] | None = attrs.field(
        default=None, repr=False, validator=check.json_object
    )
    server_description: str | None = attrs.field(default=None, validator=check.text)
    allowed_tools: tuple[str, ...] | McpToolFilter | None = attrs.field(
        default=None, converter=_allowed_tools
    )
    require_approval: McpApproval | McpApprovalFilter | None = attrs.field(
        default=None, converter=_approval
    )
    allowed_callers: tuple[McpCaller, ...] | None = attrs.field(default=None, converter=_callers)
    defer_loading: bool | None = attrs.field(default=None, validator=check.flag)

    def __attrs_post_init__(self) -> None:
        places = [
            name
            for name in ("server_url", "connector_id", "tunnel_id")
            if getattr(self, name) is not None
        ]
        if len(places) != 1:
            given = " and ".join(places) or "nothing"
            raise InvalidConfig(
                f"McpTool {self.server_label!r} has {given}; allowed: exactly one of server_url, "
                "connector_id and tunnel_id"
            )
        if self.tunnel_id is not None and not _TUNNEL.fullmatch(self.tunnel_id):
            check.refuse(
                self, "tunnel_id", self.tunnel_id, "tunnel_ and 32 of the characters a-z, 0-9"
            )


ToolSpec: TypeAlias = ToolDefinition | McpTool
"""In JSON a server has `type: mcp`; what has no `type`, or `type: function`, is a function."""


# ---------------------------------------------------------------- choice


class ToolChoiceMode(StrEnum):
    """`AUTO`: the model decides.  `NONE`: it must not call.  `REQUIRED`: it must call one."""

    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"


@attrs.frozen
class ToolChoiceFunction:
    """The model must call this function."""

    name: str = attrs.field(validator=check.named)


@attrs.frozen
class ToolChoiceMcp:
    """The model must call a tool of this server: the named one, or any."""

    server_label: str = attrs.field(validator=check.named)
    name: str | None = attrs.field(default=None, validator=check.named)


ToolChoice: TypeAlias = ToolChoiceMode | ToolChoiceFunction | ToolChoiceMcp
"""In JSON auto, none or required, or an object tagged on `type`: function, mcp."""
