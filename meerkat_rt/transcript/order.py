"""The causal order of items: who waits for whom, and in which order they come free.

Every item may name a predecessor.  It is settled after its predecessor, which may be unknown for a
long time.  Nothing here walks over all items: a settled item hands its place to those that wait for
it, and only to them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .records import Item, SettledItem

if TYPE_CHECKING:
    from ..model.transcript import RealtimeTranscriptRole


class CausalOrder:
    """Unsettled and settled items by id, in the order of their arrival."""

    def __init__(self) -> None:
        self.waiting: dict[str, Item] = {}
        self.settled: dict[str, SettledItem] = {}
        # Unsettled items by the unsettled (or unknown) predecessor that they wait for.
        self._followers: dict[str, list[Item]] = {}
        self.next_seen = 0

    def add(self, item_id: str, previous: str | None, role: RealtimeTranscriptRole) -> Item:
        """Take in a new item.  The caller has asked `closes_cycle`."""
        item = Item(item_id=item_id, seen=self.next_seen, role=role)
        self.next_seen += 1
        self.waiting[item_id] = item
        if previous is not None:
            self.link(item, previous)
        return item

    def link(self, item: Item, previous: str) -> None:
        """Give a predecessor to an unsettled item that has none.  As for `add`, no cycles."""
        item.previous = item.hint = previous
        predecessor = self.settled.get(previous)
        if predecessor is None:
            item.blocked = True
            self._followers.setdefault(previous, []).append(item)
        else:
            item.depth = depth_after(item.seen, predecessor)

    def closes_cycle(self, item_id: str, previous: str) -> bool:
        """Whether `item_id`, which has no predecessor yet, already comes before `previous`.

        Only an item that others wait for can.  The walk to the head of the chain leaves shortcuts
        behind, as in a union-find forest, so that long chains are walked once.  A shortcut may lead
        to an item that is settled by now: what follows a settled item does not follow `item_id`.
        """
        if previous == item_id:
            return True
        if item_id not in self._followers:
            return False
        head, path = previous, []
        while (item := self.waiting.get(head)) is not None and item.hint is not None:
            path.append(item)
            head = item.hint
        for item in path:
            item.hint = head
        return head == item_id

    def settle(self, item: Item, digest: str | None) -> list[Item]:
        """Settle an item that is not blocked.  Returns the items that this sets free."""
        del self.waiting[item.item_id]
        record = self.settled[item.item_id] = SettledItem(
            seen=item.seen,
            depth=item.depth,
            role=item.role,
            lane=item.lane,
            skipped=item.skipped,
            previous=item.previous,
            response_id=item.response_id,
            digest=digest,
        )
        freed = self._followers.pop(item.item_id, [])
        for follower in freed:
            follower.blocked = False
            follower.depth = depth_after(follower.seen, record)
        return freed


def depth_after(seen: int, predecessor: SettledItem | None) -> int:
    """How often the order of arrival is gone through before an item has its turn.

    Once more than for its predecessor if it arrived earlier than that, else in the same go.
    """
    return 0 if predecessor is None else predecessor.depth + (seen < predecessor.seen)


def rank(item: Item) -> tuple[int, int]:
    """The sort key of items that are free at the same time: depth, then arrival."""
    return item.depth, item.seen
