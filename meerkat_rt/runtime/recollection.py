"""What the next session has to be told: the canonical conversation, and what the tools said.

Canonical history has no tool calls.  A model that is told of its answers, but not of what they rest
on, calls its tools again; so the newest calls are remembered here with their outcomes.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import attrs

from ..model.conversation import (
    AssistantMessage,
    AssistantToolUse,
    AssistantTranscript,
    Message,
    SystemNoticeMessage,
    TextContent,
    ToolResult,
    ToolResultsMessage,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ..turn.effects import Recollect
    from .core import SessionCore
    from .journey import Journey

ENTRIES = 64
BYTES = 256 * 1024  # of text of outcomes; the newest are kept


@attrs.frozen(kw_only=True)
class Entry:
    """Something that was said `position` messages into the conversation, and is none of them.

    `words`: the same as one message, for a session that takes no calls but its own.
    """

    number: int
    position: int
    messages: tuple[Message, ...]
    words: Message | None = None
    call_id: str | None = None
    size: int = 0

    def told(self, in_words: bool) -> tuple[Message, ...]:
        """The messages that it is told in."""
        return self.messages if self.words is None or not in_words else (self.words,)


class Recollection:
    """Remembers the newest entries, and interleaves them with the messages."""

    def __init__(self) -> None:
        self.count = 0  # entries so far
        self._entries: deque[Entry] = deque()
        self._size = 0

    def call(self, made: Recollect, messages: int) -> None:
        """A call has its outcome; there are `messages` canonical ones by now."""
        use = AssistantToolUse(id=made.call_id, name=made.name, args=made.arguments)
        result = ToolResult(
            tool_use_id=made.call_id, content=(TextContent(made.output),), is_error=made.is_error
        )
        self._add(
            (AssistantMessage(blocks=(use,)), ToolResultsMessage([result])),
            messages + made.pending,
            words=SystemNoticeMessage(kind="tool result", body=f"{made.name} gave: {made.output}"),
            call_id=made.call_id,
            size=len(made.output),
        )

    def tell(self, message: Message, messages: int) -> None:
        """The model was told something that nobody said; there are `messages` canonical ones."""
        self._add((message,), messages)

    def _add(
        self,
        messages: tuple[Message, ...],
        position: int,
        *,
        words: Message | None = None,
        call_id: str | None = None,
        size: int = 0,
    ) -> None:
        self.count += 1
        self._entries.append(
            Entry(
                number=self.count,
                position=position,
                messages=messages,
                words=words,
                call_id=call_id,
                size=size,
            )
        )
        self._size += size
        while len(self._entries) > ENTRIES or (self._size > BYTES and len(self._entries) > 1):
            self._size -= self._entries.popleft().size

    def calls(self, after: int = 0) -> tuple[str, ...]:
        """The calls that are remembered, of those that came after the first `after` entries."""
        return tuple(
            entry.call_id
            for entry in self._entries
            if entry.number > after and entry.call_id is not None
        )

    def history(
        self,
        messages: Sequence[Message],
        items: Sequence[tuple[str, ...]],
        *,
        told: Collection[str] | None = None,
        after: int = 0,
        without: Collection[str] = (),
        in_words: bool = False,
    ) -> list[Message]:
        """The conversation in order, with the entries where they were made.

        `items` are those that each message was made of.  With `told`, only messages of other items
        than these, and entries after the first `after`; the calls `without` are left out.
        `in_words`: calls are told as what somebody says about them.
        """
        entries = [
            entry
            for entry in self._entries
            if entry.number > after and entry.call_id not in without
        ]
        whole: list[Message] = []
        place = 0
        for number, (message, own) in enumerate(zip(messages, items, strict=True)):
            while place < len(entries) and entries[place].position <= number:
                whole += entries[place].told(in_words)
                place += 1
            if told is None or any(item_id not in told for item_id in own):
                whole.append(message)
        for entry in entries[place:]:
            whole += entry.told(in_words)
        return whole

    def so_far(self, core: SessionCore) -> tuple[list[Message], set[str]]:
        """Everything that has been said, and the items that it was said in."""
        told = {item_id for items in core.history.spoken_items for item_id in items}
        history = self.history(core.history.spoken, core.history.spoken_items)
        for items, text in core.machine.unheard():
            told.update(items)
            history.append(_said(text))
        return history, told

    def missing(
        self, core: SessionCore, journey: Journey, without: Collection[str]
    ) -> list[Message]:
        """What was said and the session of `journey` does not know, but the calls `without`."""
        missing = self.history(
            core.history.spoken,
            core.history.spoken_items,
            told=journey.told,
            after=journey.recollected,
            without=without,
            in_words=not journey.plan.dialect.seeds_call("call"),
        )
        missing += (
            _said(text)
            for items, text in core.machine.unheard()
            if any(item_id not in journey.told for item_id in items)
        )
        return missing


def _said(text: str) -> AssistantMessage:
    return AssistantMessage(blocks=(AssistantTranscript(text=text),))
