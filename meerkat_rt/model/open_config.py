"""With what a session is opened, and to what it may attach."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
from attrs import validators

from ._checks import is_a, member
from ._json import json_field
from .conversation import Message, PendingSystemContextAppend, SessionLlmIdentity, ToolDef
from .errors import InvalidRequest
from .media import RealtimeTurningMode

if TYPE_CHECKING:
    from collections.abc import Iterable


def _tuple(values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(values)


def _turning_mode(value: str) -> RealtimeTurningMode:
    return member(RealtimeTurningMode, "turning_mode")(value)


@attrs.frozen
class RealtimeExternalSessionTarget:
    """An existing session at the provider.  The id is kept as given; a blank one is refused."""

    provider_session_id: str = attrs.field()

    @provider_session_id.validator
    def _not_blank(self, _attribute: object, value: str) -> None:
        if not value.strip():
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
        validator=is_a(SessionLlmIdentity, what="SessionLlmIdentity(model=...)")
    )
    visible_tools: tuple[ToolDef, ...] = attrs.field(default=(), converter=_tuple)
    seed_messages: tuple[Message, ...] = attrs.field(default=(), converter=_tuple)
    runtime_system_context: tuple[PendingSystemContextAppend, ...] = attrs.field(
        default=(), converter=_tuple, kw_only=True, metadata=json_field(omit_default=True)
    )
    response_nudge_timeout_ms: int | None = attrs.field(
        default=None, kw_only=True, validator=validators.optional(validators.gt(0))
    )
    response_nudge_max_attempts: int | None = attrs.field(
        default=None,
        kw_only=True,
        validator=validators.optional(validators.and_(validators.ge(0), validators.le(255))),
    )

    def with_runtime_system_context(
        self, runtime_system_context: Iterable[PendingSystemContextAppend]
    ) -> RealtimeSessionOpenConfig:
        """The same with typed runtime context."""
        return attrs.evolve(self, runtime_system_context=tuple(runtime_system_context))

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
        return attrs.evolve(self, seed_messages=tuple(seed_messages))

    def with_visible_tools(self, visible_tools: Iterable[ToolDef]) -> RealtimeSessionOpenConfig:
        """The same with other tools."""
        return attrs.evolve(self, visible_tools=tuple(visible_tools))
