"""What is known about the provider's items: their places, and whether history is done with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..model.transcript import ItemObserved, ItemSkipped, RealtimeTranscriptRole
from .context import SEED_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .context import Context


class ItemMemory:
    """The order of the conversation's items, and the gaps in it that must not stall history.

    An item of history waits for its predecessor, so each predecessor has to be accounted for: items
    that the session was seeded with are history already; an item that was never announced, or that
    nobody gives a content, is a gap and is closed with `ItemSkipped` before something behind it
    could wait for it.

    Grows by one entry a settled item (`known`); everything else is pruned when its item settles.
    """

    __slots__ = (
        "_arrived_after",
        "_ctx",
        "_gaps",
        "_owner",
        "_seeds",
        "known",
        "previous",
        "tail",
    )

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self.known: dict[str, bool] = {}  # item id -> history is done with it
        self.tail: str | None = None  # the newest item, None before the first
        self._seeds: set[str] = set()
        self.previous: dict[str, str] = {}  # the first that was reported, of unsettled items
        self._arrived_after: dict[str, str] = {}  # for items whose predecessor is not reported
        self._owner: dict[str, str] = {}  # assistant item -> response id
        self._gaps: dict[str, None] = {}

    def sizes(self) -> dict[str, int]:
        """How much is remembered about items that have not settled."""
        return {
            "item_predecessors": len(self.previous),
            "item_arrivals": len(self._arrived_after),
            "item_owners": len(self._owner),
            "item_gaps": len(self._gaps),
        }

    def seeded(self, item_ids: Iterable[str]) -> None:
        """These items are history already."""
        self._seeds.update(item_ids)

    def is_seed(self, item_id: str | None) -> bool:
        """The session was seeded with this item."""
        return item_id is not None and (item_id in self._seeds or item_id.startswith(SEED_PREFIX))

    def owner(self, item_id: str) -> str | None:
        """The response that an unsettled assistant item belongs to."""
        return self._owner.get(item_id)

    def settled(self, item_id: str) -> bool:
        """History is done with the item."""
        return self.known.get(item_id, False)

    def new_conversation(self) -> None:
        """The provider starts anew: what is settled is nothing that it could speak of.

        What something unsettled, or yet to come, stands behind stays known, or it would be a gap.
        """
        self._seeds.clear()
        before = {self.tail, *self.previous.values(), *self._arrived_after.values()}
        self.known = {
            item_id: done for item_id, done in self.known.items() if not done or item_id in before
        }

    def see(self, item_id: str, previous: str | None) -> bool:
        """Take note of the item; True if that told something new about its place."""
        known = item_id in self.known
        if previous is not None and (previous in self._seeds or previous == item_id):
            previous = None
        if not known:
            self.known[item_id] = False
            # A gap is what something already follows.
            if previous is None and self.tail is not None and item_id not in self._gaps:
                self._arrived_after[item_id] = self.tail
            self.tail = item_id
        elif self.known[item_id] or item_id in self.previous or previous is None:
            return False
        if previous is not None:
            self.previous[item_id] = previous
            self._arrived_after.pop(item_id, None)
            if previous not in self.known:
                self._gaps[previous] = None
        self._gaps.pop(item_id, None)
        return True

    def observe(
        self,
        item_id: str,
        previous: str | None,
        role: RealtimeTranscriptRole,
        response_id: str | None = None,
    ) -> None:
        """Note the item, and write down what is new about it."""
        if response_id is not None and self._owner.get(item_id) != response_id:
            if self.settled(item_id) or item_id in self._owner:
                return
            self._owner[item_id] = response_id
            self.see(item_id, previous)
            self._gaps.pop(item_id, None)
        elif not self.see(item_id, previous):
            return
        self._ctx.order(
            ItemObserved(
                item_id=item_id,
                previous_item_id=self.previous.get(item_id),
                role=role,
                response_id=self._owner.get(item_id),
            )
        )

    def place(self, item_id: str, *, content: bool) -> None:
        """An assistant item is about to settle: without predecessor, it follows what it came after.

        Otherwise an answer would overtake a question whose words are still being recognized.
        Without `content` it is skipped.
        """
        previous = self._arrived_after.get(item_id)
        if not content:
            self.skip(item_id, previous)
        elif previous is not None and not self.settled(item_id):
            self.observe(item_id, previous, RealtimeTranscriptRole.ASSISTANT)

    def adopt(self, item_id: str, response_id: str) -> None:
        """Remember whose item it is without writing anything down yet."""
        if not self.settled(item_id):
            self.see(item_id, None)
            self._owner.setdefault(item_id, response_id)
            self._gaps.pop(item_id, None)

    def unclaimed(self, item_id: str) -> None:
        """Nothing says that the item will get a content.

        It is a gap, unless something comes before it matters.
        """
        if not self.settled(item_id):
            self._gaps[item_id] = None

    def claim(self, item_id: str) -> None:
        """A content will come, or has come."""
        self._gaps.pop(item_id, None)

    def skip(self, item_id: str, previous: str | None = None) -> None:
        """The item has a place but no content; settles it."""
        self.see(item_id, previous)
        if self.settled(item_id):
            return
        self._ctx.order(ItemSkipped(item_id=item_id, previous_item_id=self.previous.get(item_id)))
        self.settle(item_id)

    def settle(self, item_id: str) -> None:
        """History is done with the item: keep only that."""
        self.known[item_id] = True
        self.previous.pop(item_id, None)
        self._arrived_after.pop(item_id, None)
        self._owner.pop(item_id, None)
        self._gaps.pop(item_id, None)

    def close_gaps(self) -> None:
        """Skip what would stall the history behind it."""
        for item_id in list(self._gaps):
            self.skip(item_id)
