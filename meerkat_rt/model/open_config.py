"""With what a session is opened, and to what it may attach."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import attrs

from . import checks as check
from ._json import json_field
from .conversation import Message, PendingSystemContextAppend, SessionLlmIdentity, ToolDef
from .errors import InvalidRequest
from .media import RealtimeTurningMode

if TYPE_CHECKING:
    from collections.abc import Iterable


def _turning_mode(value: str) -> RealtimeTurningMode:
    return check.member(RealtimeTurningMode, "turning_mode")(value)


# One for each field: the type of its argument is that of the argument of `__init__`.


def _tools(values: Iterable[ToolDef]) -> tuple[ToolDef, ...]:
    what = "ToolDef(name=..., ...); functions go into open_session(..., tools=[...])"
    return check.tuple_of(values, ToolDef, "visible_tools", what)


def _messages(values: Iterable[Message]) -> tuple[Message, ...]:
    what = "messages such as UserMessage(text) and SystemMessage(text)"
    return check.tuple_of(values, get_args(Message), "seed_messages", what)


def _context(
    values: Iterable[PendingSystemContextAppend],
) -> tuple[PendingSystemContextAppend, ...]:
    what = "PendingSystemContextAppend(text=..., accepted_at=...)"
    return check.tuple_of(values, PendingSystemContextAppend, "runtime_system_context", what)


@attrs.frozen
class RealtimeExternalSessionTarget:
    """An existing session at the provider.  The id is kept as given; a blank one is refused."""

    provider_session_id: str = attrs.field()

    @provider_session_id.validator
    def _not_blank(self, _attribute: object, value: Any) -> None:
        if not isinstance(value, str) or not value.strip():
            raise InvalidRequest("provider realtime session id must not be empty")


@attrs.frozen
class RealtimeSessionOpenConfig:
    """The canonical conversation that a provider session is opened from.

    `runtime_system_context` is the only authoritative source of runtime context; markers in the
    seed messages are not parsed back.  `response_nudge_timeout_ms` (milliseconds) and
    `response_nudge_max_attempts` override the runtime's defaults; None inherits them.
    """

    turning_mode: RealtimeTurningMode = attrs.field(converter=_turning_mode)
    llm_identity: SessionLlmIdentity = attrs.field(
        validator=check.is_a(
            SessionLlmIdentity, what="SessionLlmIdentity(model=...)", optional=False
        )
    )
    visible_tools: tuple[ToolDef, ...] = attrs.field(default=(), converter=_tools)
    seed_messages: tuple[Message, ...] = attrs.field(default=(), converter=_messages)
    runtime_system_context: tuple[PendingSystemContextAppend, ...] = attrs.field(
        default=(), converter=_context, kw_only=True, metadata=json_field(omit_default=True)
    )
    response_nudge_timeout_ms: int | None = attrs.field(
        default=None, kw_only=True, validator=check.whole(1, optional=True)
    )
    response_nudge_max_attempts: int | None = attrs.field(
        default=None, kw_only=True, validator=check.whole(0, 255, optional=True)
    )

    def with_runtime_system_context(
        self, runtime_system_context: Iterable[PendingSystemContextAppend]
    ) -> RealtimeSessionOpenConfig:
        """The same with typed runtime context."""
        return attrs.evolve(self, runtime_system_context=runtime_system_context)

    def with_response_nudge_timeout_ms(self, timeout_ms: int | None) -> RealtimeSessionOpenConfig:
        """The same with another nudge timeout, in milliseconds."""
        return attrs.evolve(self, response_nudge_timeout_ms=timeout_ms)

    def with_response_nudge_max_attempts(
        self, max_attempts: int | None
    ) -> RealtimeSessionOpenConfig:
        """The same with another number of nudges (0 to 255)."""
        return attrs.evolve(self, response_nudge_max_attempts=max_attempts)

    def with_seed_messages(self, seed_messages: Iterable[Message]) -> RealtimeSessionOpenConfig:
        """The same with another history."""
        return attrs.evolve(self, seed_messages=seed_messages)

    def with_visible_tools(self, visible_tools: Iterable[ToolDef]) -> RealtimeSessionOpenConfig:
        """The same with other tools."""
        return attrs.evolve(self, visible_tools=visible_tools)
