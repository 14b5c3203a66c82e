"""What has been said in one session: its transcript authority, and the messages that came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..model.conversation import AssistantMessage, UserMessage
from ..model.events import MessageCommitted
from ..transcript import TranscriptAuthority

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..model.conversation import Message
    from ..model.delta_run import TranscriptEntry
    from .ports import StoredMessage


class History:
    """The messages of a session, as they become canonical, and as they may be announced.

    `authority` knows all that was said in this session, `past` what was said in those that it goes
    on from.  `spoken` is what became canonical in this one, durable or not, with the items of each
    message in `spoken_items`: the next connection is told of it, which can wait for no store.
    """

    __slots__ = (
        "_messages",
        "_transcript",
        "authority",
        "past",
        "spoken",
        "spoken_items",
    )

    def __init__(self) -> None:
        self.authority = TranscriptAuthority(keep_heard_prefix=True)
        self.past: TranscriptAuthority | None = None
        self.spoken: list[Message] = []
        self.spoken_items: list[tuple[str, ...]] = []
        self._messages: list[Message] = []  # that may be announced
        self._transcript: tuple[Message, ...] = ()

    def begin_with(
        self, messages: Iterable[Message], past: TranscriptAuthority | None = None
    ) -> None:
        """What was said before this session, with its authority; the open config has it, too."""
        self._messages += messages
        if past is not None:
            self.past = past

    @property
    def transcript(self) -> tuple[Message, ...]:
        """The messages as they are now.  Copied once a message, not once a look."""
        if len(self._transcript) != len(self._messages):
            self._transcript = tuple(self._messages)
        return self._transcript

    def take_in(
        self, entries: Iterable[TranscriptEntry], *, stored: bool
    ) -> list[MessageCommitted]:
        """More was said; returns what that completes, unless it is to be `stored` first."""
        committed: list[MessageCommitted] = []
        for outcome in self.authority.apply_all(entries):
            ids = tuple(item.item_id for item in outcome.materialized_messages)
            shares = _share(ids, outcome.messages)
            self.spoken += outcome.messages
            self.spoken_items += shares
            if not stored:
                self._messages += outcome.messages
                committed += (
                    MessageCommitted(message=message, item_ids=own)
                    for message, own in zip(outcome.messages, shares, strict=True)
                )
        return committed

    def stored(self, entries: Iterable[StoredMessage]) -> list[MessageCommitted]:
        """These messages have become durable; returns what the application is told of them."""
        committed: list[MessageCommitted] = []
        for entry in entries:
            self._messages.append(entry.message)
            if isinstance(entry.message, (UserMessage, AssistantMessage)):
                committed.append(MessageCommitted(message=entry.message, item_ids=entry.item_ids))
        return committed


def _share(
    ids: tuple[str, ...], messages: tuple[UserMessage | AssistantMessage, ...]
) -> list[tuple[str, ...]]:
    """Which of the materialized items each message is made of: one a user's, else one a block."""
    shares: list[tuple[str, ...]] = []
    start = 0
    for message in messages:
        size = len(message.blocks) if hasattr(message, "blocks") else 1
        shares.append(ids[start : start + size])
        start += size
    return shares
