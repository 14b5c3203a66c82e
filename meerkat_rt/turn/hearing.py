"""What was heard decides: interruptions, truncations, and when history gets a response.

A response that has ended is not over while its audio still waits to be heard: its completion is
held back from history until then, because an interruption would still change what was said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..model.conversation import StopReason
from ..model.errors import InvalidRequest
from ..model.events import Interrupted
from ..model.transcript import (
    AssistantTranscriptTruncated,
    AssistantTurnCompleted,
    AssistantTurnInterrupted,
)
from .context import CommandName
from .effects import FlushOutput
from .playback import Cut, Part, PlaybackLedger, Verdict
from .ports import CancelResponse
from .records import Response, ResponsePhase, ResponseTrigger
from .truncations import Truncations

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..model.conversation import Usage
    from .context import Context
    from .items import ItemMemory
    from .ports import ItemTruncated
    from .responses import ResponseSlot
    from .tools import ToolLedger


_GENERATING = (ResponsePhase.ACTIVE, ResponsePhase.DYING)


class Hearing:
    """Applies the playback ledger to responses, to history, and to the provider's conversation."""

    def __init__(
        self, ctx: Context, items: ItemMemory, slot: ResponseSlot, tools: ToolLedger
    ) -> None:
        self._ctx = ctx
        self._items = items
        self._slot = slot
        self._tools = tools
        self.ledger = PlaybackLedger(ctx.settings.output_format)
        self.truncations = Truncations(ctx)

    def sizes(self) -> dict[str, int]:
        """How much is remembered about audio that has not been heard."""
        return {"playback_parts": len(self.ledger)}

    # ---------------------------------------------------------------- interrupting

    def unheard(self, response: Response) -> bool:
        """Some of the response's audio is still to be heard.

        What an out-of-band response says is the application's own affair.
        """
        return response.in_conversation and any(part.unheard for part in response.parts.values())

    def audible(self, now: float) -> list[Response]:
        """The responses that speech would interrupt: their audio is being made or still plays."""
        self.ledger.advance(now)
        return [
            response
            for response in self._slot.live.values()
            if response.in_conversation
            and not response.interrupted
            and (
                (response.phase in _GENERATING and response.sounded)
                or (response.phase is ResponsePhase.ENDED and self.unheard(response))
            )
        ]

    def stopped(self, response_id: str | None, now: float) -> list[Response]:
        """The responses that the provider means when it says that it stopped speaking."""
        stopped = self.audible(now)
        named = None if response_id is None else self._slot.live.get(response_id)
        if (
            named is not None
            and named.phase is ResponsePhase.ACTIVE
            and not named.interrupted
            and named not in stopped
        ):
            stopped.append(named)
        return stopped

    def interruptible(self, now: float) -> list[Response]:
        """The responses that the application's interruption can stop.

        Also silent ones, those with open calls, and those that are not in the conversation.
        """
        self.ledger.advance(now)
        return [
            response
            for response in self._slot.live.values()
            if not response.interrupted
            and (
                response.phase in _GENERATING
                or self.unheard(response)
                or self._tools.interruptible(response.id)
            )
        ]

    def cut(self, responses: Iterable[Response], now: float, *, cancel: bool) -> list[str]:
        """Interrupt these responses; returns the tool handlers that are being cancelled.

        `cancel`: ask the provider to stop; without it, it stops by itself.
        """
        cut = [
            response
            for response in responses
            if response.fire(ResponseTrigger.CUT)
            # Displaced by another one, it is dying already; but nobody was told, and it may sound.
            or (response.phase is ResponsePhase.DYING and not response.interrupted)
        ]
        generating = [response for response in cut if response.phase is ResponsePhase.DYING]
        for response in cut:
            self.announce(response)
            self._ctx.effects.append(FlushOutput(response.id))
        for response in generating:
            if cancel:
                self.cancel(response, now)
            self._ctx.deadlines.set(
                ("cancel", response.id), now + self._ctx.settings.cancel_deadline
            )
        self._truncate([response for response in cut if response.in_conversation], now)
        stopped = [
            call_id for response in cut for call_id in self._tools.interrupt(response.id, now)
        ]
        for response in cut:
            self.quiesce(response)
        return stopped

    def announce(self, response: Response) -> None:
        """Say Interrupted, once a response."""
        if not response.interrupted:
            response.interrupted = True
            self._ctx.events.append(Interrupted(response.id))

    def cancel(self, response: Response, now: float) -> None:
        """Ask the provider to stop a response that it is known to be making."""
        if response.cancel_sent or not self._ctx.settings.capabilities.interrupt_supported:
            return
        response.cancel_sent = True
        ref = self._ctx.mint("cancel")
        self._ctx.remember(
            ref,
            CommandName.CANCEL_RESPONSE,
            now + self._ctx.settings.cancel_deadline,
            response.id,
        )
        self._ctx.send(CancelResponse(ref=ref, response_id=response.id))

    def _truncate(self, cut: list[Response], now: float) -> None:
        by_id = {response.id: response for response in cut}
        deleted: set[str] = set()
        for step in self.ledger.plan(by_id, now):
            response = by_id[step.part.response_id]
            self._write_heard(response, step)
            step.part.cut = True
            self.ledger.remove(step.part)
            if step.verdict is Verdict.TRUNCATE:
                self.truncations.ask(step, now)
            elif step.verdict is Verdict.DELETE and step.part.item_id not in deleted:
                deleted.add(step.part.item_id)
                self.truncations.ask(step, now)
        for response in cut:
            if response.phase is ResponsePhase.DYING:
                for item_id, item in response.items.items():
                    if item.text:
                        self._items.place(item_id, content=True)
                self._ctx.transcript.append(AssistantTurnInterrupted(response.id))
            else:
                self.release(response)

    def _write_heard(self, response: Response, step: Cut) -> None:
        """History keeps what was heard of the part.

        An interrupted response keeps only spoken text that was truncated, so a part that was heard
        whole is written too; a completed one keeps everything that is not truncated.
        """
        item = response.items.get(step.part.item_id)
        if item is None or not item.text:
            return
        if response.phase is ResponsePhase.DYING:
            if not step.text or step.part.cut:
                return
        elif response.held is None or step.verdict is Verdict.KEEP:
            return
        self._write_cut(response, step)

    def _write_cut(self, response: Response, step: Cut) -> None:
        self._ctx.transcript.append(
            AssistantTranscriptTruncated(
                response_id=response.id,
                item_id=step.part.item_id,
                content_index=step.part.content_index,
                text=step.text,
            )
        )
        step.part.deltas = [step.text] if step.text else []
        item = response.items[step.part.item_id]
        item.text = any(
            part.deltas for part in response.parts.values() if part.item_id == step.part.item_id
        ) or any(item_id == step.part.item_id for item_id, _ in response.written)

    def truncate(self, item_id: str, content_index: int, played_ms: int, now: float) -> str:
        """The application truncates an item itself; returns the reference.

        Raises:
            InvalidRequest: the provider cannot truncate, the item is unknown, or a number is
                negative.
        """
        if not self._ctx.settings.capabilities.truncate_supported:
            raise InvalidRequest("this provider cannot truncate what it said")
        if played_ms < 0 or content_index < 0:
            raise InvalidRequest("neither content index nor played length may be negative")
        if item_id not in self._items.known:
            raise InvalidRequest(f"there is no item {item_id!r}")
        part = self.ledger.get(item_id, content_index)
        if part is None:
            return self.truncations.again(item_id, content_index, played_ms, now)
        self.ledger.advance(now)
        step = self.ledger.cut_at(part, played_ms)
        self._apply(step)
        return self.truncations.ask(step, now)

    def truncated(self, event: ItemTruncated) -> None:
        """The provider cut an item, because it was asked to or by itself."""
        if self.truncations.acknowledged(event.item_id, event.content_index):
            return
        part = self.ledger.get(event.item_id, event.content_index)
        if part is not None:
            step = self.ledger.cut_at(part, event.audio_end_ms)
            self.truncations.announce(step)
            self._apply(step)

    def _apply(self, step: Cut) -> None:
        part = step.part
        part.cut = True
        self.ledger.remove(part)
        response = self._slot.live[part.response_id]  # it lives as long as its parts
        item = response.items.get(part.item_id)
        alive = response.phase is ResponsePhase.ACTIVE or response.held is not None
        if alive and item is not None and item.text:
            self._write_cut(response, step)
        self.settle_heard(response)

    # ---------------------------------------------------------------- completions

    def complete(
        self, response: Response, stop_reason: StopReason, usage: Usage, now: float
    ) -> None:
        """The response's terminal, for history: now if everything was heard, else when it is."""
        if stop_reason is StopReason.TOOL_USE:
            # Its continuation is another response; this one must not stay open in front of it.
            stop_reason = StopReason.END_TURN
        response.held = (stop_reason, usage)
        self.ledger.advance(now)
        if response.phase is ResponsePhase.ENDED and self.unheard(response):
            self.expect(response, now)
        else:
            self.release(response)

    def release(self, response: Response) -> None:
        """History gets the response."""
        if response.held is None:
            return
        stop_reason, usage = response.held
        response.held = None
        for item_id, item in response.items.items():
            self._items.place(item_id, content=item.text)
        self._items.close_gaps()
        if stop_reason is not StopReason.CANCELLED:  # else history was told when it was cut
            self._ctx.transcript.append(
                AssistantTurnCompleted(
                    response_id=response.id, stop_reason=stop_reason, usage=usage
                )
            )
        for item_id in response.items:
            self._items.settle(item_id)

    def release_all(self) -> None:
        """A new turn begins, or the session ends: history gets what was said.

        Nobody interrupted it.
        """
        for response in list(self._slot.live.values()):
            self.release(response)
            self.quiesce(response)

    def close(self) -> None:
        """The session ends: history gets what was said, and nothing is left to hear."""
        for response in list(self._slot.live.values()):
            for part in response.parts.values():
                part.cut = True
                self.ledger.remove(part)
            self.release(response)
            self.quiesce(response)

    def expect(self, response: Response, now: float) -> None:
        """Come back when the response will have been heard, if that can be told."""
        parts = response.parts.values()
        last = next((part for part in reversed(parts) if part.unheard), None)
        when = None if last is None else self.ledger.heard_at(last, now)
        if when is not None:
            self._ctx.deadlines.set(("heard", response.id), when)

    def settle_heard(self, response: Response) -> None:
        """Release the response if nothing of it is left to hear."""
        if response.phase in (ResponsePhase.ENDED, ResponsePhase.SILENCED) and not self.unheard(
            response
        ):
            self.release(response)
            self.quiesce(response)

    def quiesce(self, response: Response) -> None:
        """Forget the response once nothing is left to hear, to write, or to answer."""
        if response.phase not in (ResponsePhase.ENDED, ResponsePhase.SILENCED):
            return
        if response.held is not None or self._tools.has_open(response.id):
            return
        if response.phase is ResponsePhase.ENDED and self.unheard(response):
            return
        response.fire(ResponseTrigger.QUIET)
        for part in response.parts.values():
            self.ledger.remove(part)
        self._ctx.deadlines.cancel(("heard", response.id))
        self._ctx.deadlines.cancel(("cancel", response.id))
        self._slot.forget(response)

    # ---------------------------------------------------------------- between two connections

    @property
    def generating(self) -> bool:
        """The model is saying something."""
        return any(response.phase in _GENERATING for response in self._slot.live.values())

    @property
    def quiet(self) -> bool:
        """Nothing is being said, and nothing is left to be heard."""
        return all(
            response.phase is ResponsePhase.ENDED and not self.unheard(response)
            for response in self._slot.live.values()
        )

    def held(self) -> list[tuple[tuple[str, ...], str]]:
        """What was said whole and is not history yet: items and text of each response."""
        said = []
        for response in self._slot.live.values():
            if response.held is None or response.phase is not ResponsePhase.ENDED:
                continue
            texts = [part.text for part in response.parts.values()]
            texts += ["".join(written) for written in response.written.values()]
            text = "\n".join(filter(None, texts))
            if text:
                said.append((tuple(response.items), text))
        return said

    def new_conversation(self) -> None:
        """What is still to be heard belongs to a conversation that is gone."""
        self.truncations.elsewhere = frozenset(
            item_id for response in self._slot.live.values() for item_id in response.items
        )

    def configure(self) -> None:
        """Another connection may have another output format: what came in the old one was heard."""
        if self.ledger.format != self._ctx.settings.output_format:
            self.close()
            self.ledger = PlaybackLedger(self._ctx.settings.output_format)

    # ---------------------------------------------------------------- playback

    def on_heard(self, response_id: str, now: float) -> None:
        """By the estimate, everything of the response has been heard."""
        response = self._slot.live.get(response_id)
        if response is not None:
            self.ledger.advance(now)
            self.settle_heard(response)
            if response.phase is ResponsePhase.ENDED:
                self.expect(response, now)

    def delivered(self, item_id: str, content_index: int, n_bytes: int, now: float) -> None:
        """The application took audio."""
        part = self.ledger.get(item_id, content_index)
        if part is None:
            return
        self.ledger.deliver(part, n_bytes, now)
        # While some of it waits to be taken, nobody can tell when it will have been heard.
        received = part.received
        if part.delivered >= received or part.heard >= received:
            self._moved(part, now)

    def dropped(self, item_id: str, content_index: int, n_bytes: int, now: float) -> None:
        """Audio was dropped before the application took it: it will not be heard."""
        part = self.ledger.get(item_id, content_index)
        if part is not None:
            self.ledger.skip(part, n_bytes, now)
            self._moved(part, now)

    def _moved(self, part: Part, now: float) -> None:
        response = self._slot.live[part.response_id]
        if response.phase is ResponsePhase.ENDED:
            if part.unheard or self.unheard(response):
                self.expect(response, now)
            else:
                self._ctx.deadlines.set(("heard", response.id), now)

    def reported(self, item_id: str, content_index: int, played_ms: int, now: float) -> None:
        """The application says how far it has played.

        Raises:
            InvalidRequest: the position is negative.
        """
        if played_ms < 0:
            raise InvalidRequest(f"the played length must not be negative, not {played_ms} ms")
        part = self.ledger.get(item_id, content_index)
        if part is None:
            return
        self.ledger.report(part, played_ms, now)
        for response in list(self._slot.live.values()):
            self.settle_heard(response)
