"""From one connection of a session to the next.

What belongs to the conversation outlives a connection: history, the calls of the model, what is
still to be heard, the requests for answers.  What belongs to the connection ends with it: the
response that was being made, the commands that nobody will acknowledge, the provider's buffer of
input audio.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from ..model.conversation import Message, StopReason, Usage
from ..model.events import InputAudioCleared, ProviderFault
from .context import OUTLASTING, CommandName
from .effects import Answered, MachineSettings, ToolSpec
from .ports import CreateItem
from .records import Response, ResponsePhase

if TYPE_CHECKING:
    from .context import Context
    from .hearing import Hearing
    from .input import InputSide
    from .items import ItemMemory
    from .output import OutputSide
    from .responses import ResponseSlot
    from .tools import ToolLedger


@attrs.frozen(kw_only=True)
class Terms:
    """How a conversation goes on over another connection.

    `resumed`: the provider's own session goes on there; otherwise it is a new one, which was told
    what had been said.  `missing` is what it was not told of yet.  `answerable` are the open calls
    that it waits for, `known` calls of whose outcome it knows, or is told in `missing`.  `waiting`
    are the references of commands that wait in the lanes (`commits`: of commits of audio), with
    `audio` bytes of input, of which `uncommitted` bytes follow the last commit.  `replayed`: what
    the provider had not heeded was sent to it again, `expected`: something that it answers with it;
    the outcomes of `unsent` calls were not among it.  `moved`: it is another provider's.
    `settings` and `tools` replace those of before.
    """

    resumed: bool = False
    replayed: bool = False
    expected: bool = False
    unsent: tuple[str, ...] = ()
    moved: bool = False
    missing: tuple[Message, ...] = ()
    answerable: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    commits: tuple[str, ...] = ()
    audio: int = 0
    uncommitted: int = 0
    settings: MachineSettings | None = None
    tools: tuple[ToolSpec, ...] | None = None


LOST = ProviderFault(code="connection_lost", message="the connection was lost")


class Crossing:
    """Ends what ends with a connection, and lets the rest go on over the next."""

    def __init__(
        self,
        ctx: Context,
        *,
        items: ItemMemory,
        slot: ResponseSlot,
        tools: ToolLedger,
        hearing: Hearing,
        inputs: InputSide,
        output: OutputSide,
    ) -> None:
        self._ctx = ctx
        self._items = items
        self._slot = slot
        self._tools = tools
        self._hearing = hearing
        self._input = inputs
        self._output = output

    # ---------------------------------------------------------------- the old connection ends

    def dropped(self, kept_since: float, now: float) -> tuple[float, int | None, bool]:
        """The connection is gone.  See `InputSide.link_dropped` for what is returned."""
        self._ctx.linked, self._ctx.away = False, True
        mark = self._input.link_dropped(kept_since)
        for response in list(self._slot.live.values()):
            if response.phase is ResponsePhase.ACTIVE:
                self._cut(response, now, again=mark[2])
            elif response.phase is ResponsePhase.DYING:
                self._output.terminal(response, StopReason.CANCELLED, Usage(), LOST, now)
        self._slot.suspend()
        self._forget_commands()
        self._items.close_gaps()
        return mark

    def _cut(self, response: Response, now: float, *, again: bool) -> None:
        """The response ends as far as it came; nobody interrupted it, so it is heard to that end.

        `again`: the turn that it answers will be heard and answered once more.
        """
        if response.called:
            # Its calls go on, and the model is asked to speak about them.
            for request in tuple(response.answers):
                self._slot.settle(
                    request, Answered(response_id=response.id, stop_reason=StopReason.TOOL_USE)
                )
            response.answers.clear()
            self._output.terminal(response, StopReason.TOOL_USE, Usage(), LOST, now)
            return
        whole = bool(response.parts) and all(part.done for part in response.parts.values())
        if whole:  # only its end was not told
            self._output.terminal(response, StopReason.END_TURN, Usage(), None, now)
            return
        if response.in_conversation and not (again and not response.answers):
            self._slot.take_back(response, now)
        lost = None if response.in_conversation else LOST.message
        self._output.terminal(response, StopReason.END_TURN, Usage(), LOST, now, lost=lost)

    def _forget_commands(self) -> None:
        for sent in list(self._ctx.sent.values()):
            if sent.name in OUTLASTING:
                self._ctx.deadlines.cancel(("command", sent.ref))
            elif sent.name in (CommandName.TRUNCATE, CommandName.DELETE):
                self._hearing.truncations.link_dropped(sent)
            else:
                self._ctx.refuse(sent.ref, LOST)

    # ---------------------------------------------------------------- the new one is there

    def restored(self, terms: Terms, now: float) -> None:
        """Another connection is there."""
        ctx = self._ctx
        if terms.settings is not None:
            ctx.settings = terms.settings
            self._input.configure()
            self._output.configure()
            self._hearing.configure()
        if terms.tools is not None:
            self._tools.advertise(terms.tools)
        ctx.linked, ctx.away = True, False
        if not terms.resumed:
            self._items.new_conversation()
            self._hearing.new_conversation()
        self._go_on_with_commands(terms, now)
        self._input.link_restored(audio=terms.audio, uncommitted=terms.uncommitted)
        for message in terms.missing:
            ctx.send(CreateItem(ref=ctx.mint("item"), item_id=ctx.mint("seed"), message=message))
        if terms.replayed:
            self._tools.replayed(terms.unsent)
        continued = self._tools.restored(terms.answerable, terms.known, now)
        if continued and ctx.settings.provider_continues:
            self._slot.continued(now)
        self._slot.resume(now, expected=terms.expected)

    def _go_on_with_commands(self, terms: Terms, now: float) -> None:
        ctx = self._ctx
        deadline = now + ctx.settings.update_deadline
        for sent in list(ctx.sent.values()):
            if sent.ref in terms.waiting:
                ctx.deadlines.set(("command", sent.ref), deadline)
            elif sent.name is CommandName.UPDATE and sent.command is not None and not terms.moved:
                # In the order in which they were made, whether they had been written or not.
                ctx.deadlines.set(("command", sent.ref), deadline)
                ctx.send(sent.command)
            elif sent.name is CommandName.CLEAR:
                ctx.acknowledge(sent.ref)
                ctx.events.append(InputAudioCleared())
            else:
                ctx.refuse(sent.ref, LOST)
                ctx.report(LOST, sent.name)
                if sent.name is CommandName.COMMIT:
                    self._slot.lose_commit()
        for ref in terms.commits:
            if ref not in ctx.sent:  # acknowledged, but what was said died with the connection
                ctx.remember(ref, CommandName.COMMIT, deadline)
