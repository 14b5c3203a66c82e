"""Our messages that no resumable state of the provider's includes yet (transparent resumption).

The provider counts the client's messages on each connection, the setup being the 0th, and tells
with each handle the index of the last one that its state includes.  What came after is kept here,
so that it can be sent again, exactly, on the connection that resumes the state.

What the model has begun to act upon is not sent again: it would be answered twice.  It is told in
words, like everything that a handle lacks.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import attrs

from ...turn import ports
from ...turn.ports import ProviderCommand
from ..base import Replay

if TYPE_CHECKING:
    from collections.abc import Iterable


MAX_BYTES = 4 * 1024 * 1024  # of frames; a minute and a half of audio


@attrs.frozen
class Sent:
    """One message, and what it carried."""

    index: int
    frame: bytes
    command: ProviderCommand


class Unconsumed:
    """The messages after the newest resumable state, as long as nobody has heeded them.

    `lost` counts those that had to be forgotten because they were too many.
    """

    def __init__(self) -> None:
        self.lost = 0
        self._count = 0
        self._sent: deque[Sent] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._sent)

    def note(self, frames: Iterable[bytes], command: ProviderCommand) -> None:
        """These messages are being written."""
        for frame in frames:
            self._count += 1
            self._sent.append(Sent(self._count, frame, command))
            self._bytes += len(frame)
        while self._bytes > MAX_BYTES:
            self._forget()
            self.lost += 1

    def _forget(self) -> None:
        self._bytes -= len(self._sent.popleft().frame)

    def consumed(self, index: int) -> None:
        """A state includes everything up to this message."""
        while self._sent and self._sent[0].index <= index:
            self._forget()

    def heeded(self) -> None:
        """The model acts upon what it was told so far."""
        self.consumed(self._count)

    def replay(self) -> Replay:
        """What is to be sent again."""
        items, calls, asked = set[str](), set[str](), False
        for each in self._sent:
            match each.command:
                case ports.CreateItem(item_id=item_id):
                    items.add(item_id)
                case ports.SendToolOutput(call_id=call_id):
                    calls.add(call_id)
                case ports.CreateResponse():
                    asked = True
        return Replay(
            frames=tuple(each.frame for each in self._sent),
            items=frozenset(items),
            calls=frozenset(calls),
            asked=asked,
        )

    def go_on(self, before: Unconsumed) -> None:
        """These were sent again as the first messages of this connection."""
        for each in before._sent:
            self.note((each.frame,), each.command)
