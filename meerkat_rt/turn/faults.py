"""What the provider did not like: which command it was about, and what comes of that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..model.events import ClosedBy, CloseReason, ProviderFault
from .context import CommandName
from .effects import EndSession
from .ports import ErrorMeaning

if TYPE_CHECKING:
    from . import ports
    from .context import Context, SentCommand
    from .hearing import Hearing
    from .responses import ResponseSlot


class Faults:
    """Ties each error to the command that caused it; only a fatal one ends the session."""

    __slots__ = ("_ctx", "_hearing", "_slot")

    def __init__(self, ctx: Context, slot: ResponseSlot, hearing: Hearing) -> None:
        self._ctx = ctx
        self._slot = slot
        self._hearing = hearing

    def protocol_fault(self, event: ports.ProtocolFault, now: float) -> None:
        """A frame made no sense."""
        self._ctx.report(ProviderFault(code="protocol_fault", message=event.message))

    def provider_error(self, event: ports.ProviderError, now: float) -> None:
        """Something went wrong there, maybe for good."""
        if event.fatal:
            reason = CloseReason(by=ClosedBy.PROVIDER, text=event.fault.message, clean=False)
            self._ctx.effects.append(EndSession(reason, event.fault))
        else:
            self._failed(event.ref, ErrorMeaning.OTHER, event.fault, now)

    def command_refused(self, event: ports.CommandRefused, now: float) -> None:
        """A command of ours had no effect, for a reason that is known."""
        self._failed(event.ref, event.meaning, event.fault, now)

    def _failed(
        self, ref: str | None, meaning: ErrorMeaning, fault: ProviderFault, now: float
    ) -> None:
        if meaning is ErrorMeaning.ACTIVE_RESPONSE and self._slot.busy(ref, fault, now):
            return
        if ref is not None and self._slot.refuse(ref, fault, now):
            return
        sent = self._ctx.sent.get(ref) if ref is not None else self._guess(meaning)
        if meaning in (ErrorMeaning.NOTHING_TO_CANCEL, ErrorMeaning.DUPLICATE_ITEM):
            # What was asked for is the case already.
            if sent is not None:
                self._ctx.acknowledge(sent.ref)
            return
        if sent is None:
            self._ctx.report(fault)
        elif sent.name in (CommandName.TRUNCATE, CommandName.DELETE):
            self._hearing.truncations.refused(sent, meaning, fault, now)
        else:
            self._ctx.refuse(sent.ref, fault)
            self._ctx.report(fault, sent.name)

    def _guess(self, meaning: ErrorMeaning) -> SentCommand | None:
        """The command that an error without a reference must be about: its kind's oldest."""
        name = {
            ErrorMeaning.NOTHING_TO_CANCEL: CommandName.CANCEL_RESPONSE,
            ErrorMeaning.EMPTY_COMMIT: CommandName.COMMIT,
            ErrorMeaning.TRUNCATION_REFUSED: CommandName.TRUNCATE,
            ErrorMeaning.CONFIG_REFUSED: CommandName.UPDATE,
        }.get(meaning)
        return None if name is None else self._ctx.oldest(name)
