"""What the runtime asks of its surroundings: providers that open sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from ..model.media import RealtimeCapabilities, RealtimeTurningMode
    from ..model.open_config import RealtimeExternalSessionTarget, RealtimeSessionOpenConfig
    from .limits import SessionLimits
    from .session import RealtimeSession
    from .tools import ToolSet


class RealtimeSessionFactory(Protocol):
    """Opens sessions with one provider."""

    def capabilities(self) -> RealtimeCapabilities:
        """What the provider's canonical model can do."""
        ...

    def open_session(
        self,
        config: RealtimeSessionOpenConfig,
        *,
        tools: ToolSet | None = None,
        limits: SessionLimits = ...,
    ) -> AbstractAsyncContextManager[RealtimeSession]:
        """Open a new session from `config`; the context manager yields it ready."""
        ...

    def attach_external_session(
        self,
        target: RealtimeExternalSessionTarget,
        turning_mode: RealtimeTurningMode,
        *,
        tools: ToolSet | None = None,
        limits: SessionLimits = ...,
    ) -> AbstractAsyncContextManager[RealtimeSession]:
        """Attach to an existing session; nothing of it is configured or seeded."""
        ...
