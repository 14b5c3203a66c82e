"""What the application waits for: the outcome of a response request, the answer to a command."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio

from ..turn.effects import SettleCommand

if TYPE_CHECKING:
    from ..turn.effects import RequestOutcome


class ResponseRequest:
    """A response that was asked for.  It ends in exactly one outcome."""

    def __init__(self, request_id: str) -> None:
        self.id = request_id
        self._outcome: RequestOutcome | None = None
        self._settled = trio.Event()

    def __repr__(self) -> str:
        return f"<ResponseRequest {self.id}: {self._outcome or 'open'}>"

    @property
    def settled(self) -> bool:
        """The outcome is known."""
        return self._outcome is not None

    @property
    def result(self) -> RequestOutcome | None:
        """The outcome, if it is known."""
        return self._outcome

    async def outcome(self) -> RequestOutcome:
        """Wait for what became of it: Answered, Superseded, Refused or Lost.

        A checkpoint; cancelling has no effect on the request.  Bounded by the deadlines of the
        session: every request is settled, at the latest when the session ends.
        """
        await self._settled.wait()
        assert self._outcome is not None
        return self._outcome

    def _settle(self, outcome: RequestOutcome) -> None:
        self._outcome = outcome
        self._settled.set()


@attrs.define(eq=False)
class Acknowledgement:
    """The wait for the provider's answer to one command."""

    arrived: trio.Event = attrs.field(factory=trio.Event)
    result: SettleCommand | None = None
