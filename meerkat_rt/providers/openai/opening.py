"""The handshakes: opening a new session, and attaching to a call.

    session.created  ->  session.update  ->  session.updated  ->  seed items, each acknowledged

The upgrade to a WebSocket succeeds even where the session is refused; the refusal is then the first
frame.  Nothing else is waited for: live servers send no `conversation.created`.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, NoReturn

import attrs

from ...model.errors import InvalidConfig, InvalidRequest, LlmError
from ...model.events import ProviderFault
from ...turn.ports import (
    CommandRefused,
    ErrorMeaning,
    ProviderError,
    SeedAcknowledged,
    SessionCreated,
    SessionUpdated,
)
from .seeding import Seed, acknowledgement_deadline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...turn.ports import ProviderEvent

CREATED_DEADLINE = 10.0  # seconds; the official client waits for ever
UPDATED_DEADLINE = 10.0

UPDATE_REF = "mk_open_update"


class Phase(StrEnum):
    """What the handshake waits for."""

    CREATED = "session created"
    UPDATED = "session updated"
    SEEDED = "seed acknowledged"
    READY = "ready"


@attrs.define(eq=False, kw_only=True)
class OpenAIOpening:
    """One handshake.  `update` None: attach, configure nothing, seed nothing."""

    _update: bytes | None
    _seeds: tuple[Seed, ...]
    _typed: Callable[[ProviderFault], LlmError]
    _phase: Phase = Phase.CREATED
    _waiting: dict[str, Seed] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._waiting = {seed.item_id: seed for seed in self._seeds}

    @property
    def ready(self) -> bool:
        """The session is configured and seeded."""
        return self._phase is Phase.READY

    @property
    def phase(self) -> str:
        """What is being waited for."""
        return self._phase.value

    @property
    def deadline(self) -> float:
        """Seconds that the present phase may take, from its beginning."""
        if self._phase is Phase.CREATED:
            return CREATED_DEADLINE
        if self._phase is Phase.UPDATED:
            return UPDATED_DEADLINE
        return acknowledgement_deadline(sum(len(seed.frame) for seed in self._seeds))

    def begin(self) -> Sequence[bytes]:
        """Nothing: the server speaks first."""
        return ()

    def observe(self, event: ProviderEvent) -> tuple[Sequence[bytes], bool]:
        """Frames to send now, and whether the event was the handshake's own.

        Raises:
            LlmError: the provider refused the session, its configuration or its seed.
        """
        match event:
            case SessionCreated():
                return self._created(), True
            case SessionUpdated():
                return self._updated(), True
            case SeedAcknowledged(item_id=item_id):
                self._acknowledged(item_id)
                return (), True
            case CommandRefused() if not self.ready:
                return (), self._refused(event)
            case ProviderError() if not self.ready:
                return (), self._failed(event)
        return (), False

    def _created(self) -> Sequence[bytes]:
        if self._phase is not Phase.CREATED:
            return ()
        if self._update is None:
            self._phase = Phase.READY
            return ()
        self._phase = Phase.UPDATED
        return (self._update,)

    def _updated(self) -> Sequence[bytes]:
        if self._phase is not Phase.UPDATED:
            return ()
        self._phase = Phase.SEEDED if self._waiting else Phase.READY
        return tuple(seed.frame for seed in self._seeds)

    def _acknowledged(self, item_id: str) -> None:
        self._waiting.pop(item_id, None)
        if self._phase is Phase.SEEDED and not self._waiting:
            self._phase = Phase.READY
            self._seeds = ()  # whoever made the connection may keep this for as long as that lives

    def _refused(self, event: CommandRefused) -> bool:
        if self._phase is Phase.CREATED:
            raise self._typed(event.fault)
        if self._phase is Phase.UPDATED:
            self._give_up(event.fault, "its configuration (session.update)")
        if event.meaning is ErrorMeaning.DUPLICATE_ITEM:
            if event.ref is not None:  # it is there, which is what we want
                self._acknowledged(event.ref)
            return True
        # Nothing but seeds is under way, so an error without a reference is about one of them.
        seed = self._waiting.get(event.ref or "")
        self._give_up(event.fault, "its history" if seed is None else f"its history: {seed.origin}")

    def _failed(self, event: ProviderError) -> bool:
        if event.fatal or self._phase is not Phase.SEEDED or event.ref in self._waiting:
            raise self._typed(event.fault)
        return False

    def _give_up(self, fault: ProviderFault, what: str) -> NoReturn:
        error = self._typed(fault)
        if isinstance(error, InvalidRequest):
            where = "" if fault.param is None else f" ({fault.param})"
            raise InvalidConfig(f"the provider refused {what}{where}: {fault.message}")
        raise error
