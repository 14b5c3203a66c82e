"""Cutting the provider's conversation to what was heard, and what becomes of each such command."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from ..model.events import AssistantTranscriptTruncated, ProviderFault
from .context import CommandName, SentCommand
from .playback import Cut, Verdict, heard_text
from .ports import DeleteItem, ErrorMeaning, TruncateItem

if TYPE_CHECKING:
    from .context import Context

REPLAN_FACTOR = 0.9  # of a position that was refused: the provider has less audio than it sent us
REMEMBERED = 64  # parts that were cut and may be truncated again; applications do that at once


@attrs.define(eq=False)
class Truncation:
    """A part that was cut: `played_ms` of it were heard, which say `text` (None: unknown)."""

    item_id: str
    content_index: int
    response_id: str | None
    played_ms: int
    text: str | None
    asked_ms: int = 0
    retried: bool = False
    unseen: bool = False  # the application knows nothing of it


class Truncations:
    """Asks the provider for cuts, clamped and monotone, and tells when they are made."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._made: dict[tuple[str, int], Truncation] = {}
        # Unsettled items of conversations that are gone: they are cut in history alone.
        self.elsewhere: frozenset[str] = frozenset()

    def ask(self, step: Cut, now: float) -> str:
        """Carry out one step of a plan; returns the reference."""
        truncation = self._remember(_of(step))
        if not self._reaches(truncation.item_id):
            self._tell(truncation)
            return ""
        if step.verdict is not Verdict.DELETE:
            return self._truncate(truncation, now)
        return self._delete(truncation, now)

    def drop(self, item_id: str, response_id: str, now: float) -> None:
        """Delete an item that was made after its response was cut: the application never saw it."""
        if self._reaches(item_id):
            self._delete(Truncation(item_id, 0, response_id, 0, "", unseen=True), now)

    def _reaches(self, item_id: str) -> bool:
        """The provider can truncate, and its present conversation has the item."""
        able = self._ctx.settings.capabilities.truncate_supported
        return able and self._ctx.linked and item_id not in self.elsewhere

    def _delete(self, truncation: Truncation, now: float) -> str:
        ref = self._ctx.mint("cut")
        deadline = now + self._ctx.settings.truncation_deadline
        self._ctx.remember(ref, CommandName.DELETE, deadline, truncation)
        self._ctx.send(DeleteItem(ref=ref, item_id=truncation.item_id))
        return ref

    def again(self, item_id: str, content_index: int, played_ms: int, now: float) -> str:
        """Truncate a part that is out of the ledger: heard long ago, or cut before.

        Applications often truncate what an interruption has truncated already; a cut is never made
        longer, and one that changes nothing is not sent.
        """
        made = self._made.get((item_id, content_index))
        if made is None:
            return self._truncate(
                self._remember(Truncation(item_id, content_index, None, played_ms, None)), now
            )
        if played_ms >= made.played_ms:
            ref = self._ctx.mint("cut")
            self._ctx.acknowledge(ref)
            return ref
        text = None if made.text is None else heard_text(made.text, played_ms, made.played_ms)
        shorter = Truncation(item_id, content_index, made.response_id, played_ms, text)
        return self._truncate(self._remember(shorter), now)

    def announce(self, step: Cut) -> None:
        """The provider cut the part by itself."""
        self._tell(self._remember(_of(step)))

    def _remember(self, truncation: Truncation) -> Truncation:
        self._made[truncation.item_id, truncation.content_index] = truncation
        if len(self._made) > REMEMBERED:
            del self._made[next(iter(self._made))]
        return truncation

    def _truncate(self, truncation: Truncation, now: float) -> str:
        truncation.asked_ms = truncation.played_ms
        ref = self._ctx.mint("cut")
        if not self._reaches(truncation.item_id):
            self._tell(truncation)
            self._ctx.acknowledge(ref)
            return ref
        self._send(ref, truncation, now)
        return ref

    def _send(self, ref: str, truncation: Truncation, now: float) -> None:
        deadline = now + self._ctx.settings.truncation_deadline
        self._ctx.remember(ref, CommandName.TRUNCATE, deadline, truncation)
        self._ctx.send(
            TruncateItem(
                ref=ref,
                item_id=truncation.item_id,
                content_index=truncation.content_index,
                audio_end_ms=truncation.asked_ms,
            )
        )

    def _tell(self, truncation: Truncation) -> None:
        if truncation.unseen:
            return
        self._ctx.events.append(
            AssistantTranscriptTruncated(
                response_id=truncation.response_id,
                item_id=truncation.item_id,
                audio_played_ms=truncation.played_ms,
                truncated_text=truncation.text,
            )
        )

    # ---------------------------------------------------------------- the provider's answers

    def acknowledged(self, item_id: str, content_index: int) -> bool:
        """The provider cut the part; whether it had been asked to."""
        for sent in self._ctx.sent.values():
            if sent.name is CommandName.TRUNCATE and (
                (sent.subject.item_id, sent.subject.content_index) == (item_id, content_index)
            ):
                self._ctx.acknowledge(sent.ref)
                self._tell(sent.subject)
                return True
        return False

    def deleted(self, item_id: str) -> bool:
        """The provider removed the item; whether it had been asked to."""
        for sent in self._ctx.sent.values():
            if sent.name is CommandName.DELETE and sent.subject.item_id == item_id:
                self._ctx.acknowledge(sent.ref)
                self._tell(sent.subject)
                return True
        return False

    def refused(
        self, sent: SentCommand, meaning: ErrorMeaning, fault: ProviderFault, now: float
    ) -> None:
        """The provider would not: try once more at an earlier position, then leave it."""
        truncation = sent.subject
        if (
            sent.name is CommandName.TRUNCATE
            and meaning is ErrorMeaning.TRUNCATION_REFUSED
            and not truncation.retried
            and truncation.asked_ms > 0
        ):
            truncation.retried = True
            truncation.asked_ms = int(truncation.asked_ms * REPLAN_FACTOR)
            # The same reference: whoever awaits this command awaits its last answer.
            self._send(sent.ref, truncation, now)
            return
        self._ctx.refuse(sent.ref, fault)
        self._ctx.report(fault, sent.name, response_id=truncation.response_id)

    def link_dropped(self, sent: SentCommand) -> None:
        """The conversation that was to be cut is gone; the next one knows what was heard."""
        self._ctx.acknowledge(sent.ref)
        self._tell(sent.subject)

    def expired(self, sent: SentCommand) -> None:
        """The provider never said whether it did."""
        fault = ProviderFault(
            code="timeout", message="the provider did not acknowledge the truncation"
        )
        self._ctx.report(fault, sent.name, response_id=sent.subject.response_id)


def _of(step: Cut) -> Truncation:
    part = step.part
    return Truncation(part.item_id, part.content_index, part.response_id, step.played_ms, step.text)
