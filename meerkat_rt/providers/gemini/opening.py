"""The handshake: the setup, its acknowledgement, and the history, which nobody acknowledges.

    setup  ->  setupComplete  ->  clientContent with the history

Nothing may be sent before the acknowledgement.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING

import attrs

from ...model.errors import InvalidConfig, InvalidRequest, LlmError
from ...model.events import ProviderFault
from ...turn.ports import ProviderError, SessionCreated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...turn.ports import ProviderEvent

SETUP_DEADLINE = 10.0  # seconds; the vendor's own client waits for ever


class Phase(StrEnum):
    """What the handshake waits for."""

    SETUP = "setup complete"
    READY = "ready"


@attrs.define(eq=False, kw_only=True)
class GeminiOpening:
    """One handshake: `setup` is the first frame; `history` follows its acknowledgement."""

    _setup: bytes = attrs.field(repr=False)
    _history: tuple[bytes, ...] = attrs.field(repr=False)
    _typed: Callable[[ProviderFault], LlmError]
    _phase: Phase = Phase.SETUP

    @property
    def ready(self) -> bool:
        """The session is configured, and its history is on the way."""
        return self._phase is Phase.READY

    @property
    def phase(self) -> str:
        """What is being waited for."""
        return self._phase.value

    @property
    def deadline(self) -> float:
        """Seconds that the present phase may take, from its beginning."""
        return SETUP_DEADLINE

    def begin(self) -> Sequence[bytes]:
        """The setup: the client speaks first."""
        return (self._setup,)

    def observe(self, event: ProviderEvent) -> tuple[Sequence[bytes], bool]:
        """Frames to send now, and whether the event was the handshake's own.

        Raises:
            LlmError: the provider refused the session.
        """
        match event:
            case SessionCreated():
                if self.ready:
                    return (), True
                self._phase = Phase.READY
                history, self._history = self._history, ()  # this may live as long as the link
                return history, True
            case ProviderError(fault=fault) if not self.ready:
                error = self._typed(fault)
                if isinstance(error, InvalidRequest):
                    raise InvalidConfig(f"the provider refused its setup: {fault.message}")
                raise error
        return (), False
