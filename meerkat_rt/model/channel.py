"""What a public channel in front of a session says about itself."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias

import attrs
from attrs import validators

DEFAULT_TOOL_TIMEOUT_MS = 15_000  # of the 0.6 contract


class RealtimeProtocolVersion(StrEnum):
    """Versions of the public channel.  `V2` added audio rate, channels and typed error codes."""

    V2 = "2"

    @classmethod
    def parse(cls, text: str) -> RealtimeProtocolVersion | None:
        """The version that `text` names, or None if there is no such one."""
        return cls(text) if text in tuple(cls) else None


class RealtimeChannelState(StrEnum):
    """Where a channel is in its life."""

    OPENING = "opening"
    READY = "ready"
    INTERRUPTED = "interrupted"
    RECONNECTING = "reconnecting"
    CLOSED = "closed"
    ERROR = "error"


@attrs.frozen(kw_only=True)
class RealtimeChannelStatus:
    """A channel's state.  `next_retry_at` and `deadline_at` are RFC 3339 times."""

    state: RealtimeChannelState = attrs.field(converter=RealtimeChannelState)
    attempt_count: int = attrs.field(default=0, validator=validators.ge(0))
    next_retry_at: str | None = None
    deadline_at: str | None = None
    reason: str | None = None


# ---------------------------------------------------------------- tool timeout policy


@attrs.frozen
class ToolTimeoutDefault:
    """Whatever the default is: another thing than asking for the same number."""

    def effective_ms(self) -> int | None:
        """Milliseconds that a call may take."""
        return DEFAULT_TOOL_TIMEOUT_MS


@attrs.frozen
class ToolTimeoutDisabled:
    """Calls may take for ever."""

    def effective_ms(self) -> int | None:
        """None: there is no deadline."""
        return None


@attrs.frozen
class ToolTimeoutFinite:
    """Calls may take `timeout_ms` milliseconds."""

    timeout_ms: int = attrs.field(validator=validators.ge(0))

    def effective_ms(self) -> int | None:
        """Milliseconds that a call may take."""
        return self.timeout_ms


RealtimeToolTimeoutPolicy: TypeAlias = ToolTimeoutDefault | ToolTimeoutDisabled | ToolTimeoutFinite
"""In JSON tagged on `type`: default, disabled, finite."""


@attrs.frozen
class RealtimeChannelConfig:
    """Settings of one channel."""

    tool_timeout: RealtimeToolTimeoutPolicy = attrs.field(factory=ToolTimeoutDefault)
