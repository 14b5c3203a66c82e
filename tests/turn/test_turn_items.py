"""The order of items, and the gaps in it."""

from __future__ import annotations

from turnkit import Hand, ev, p, settings

from meerkat_rt.model.transcript import ItemObserved, ItemSkipped, RealtimeTranscriptRole
from meerkat_rt.turn.context import Context
from meerkat_rt.turn.items import ItemMemory

USER, ASSISTANT = RealtimeTranscriptRole.USER, RealtimeTranscriptRole.ASSISTANT


def memory() -> tuple[ItemMemory, list]:
    ctx = Context(settings())
    return ItemMemory(ctx), ctx.transcript


def test_the_first_predecessor_wins_and_repetitions_say_nothing():
    items, said = memory()
    items.observe("U", None, USER)
    items.observe("A", None, ASSISTANT, "R")
    items.observe("A", "U", ASSISTANT)
    items.observe("A", "elsewhere", ASSISTANT)
    items.observe("A", "U", ASSISTANT)
    assert said == [
        ItemObserved(item_id="U", role=USER),
        ItemObserved(item_id="A", role=ASSISTANT, response_id="R"),
        ItemObserved(item_id="A", previous_item_id="U", role=ASSISTANT, response_id="R"),
    ]


def test_an_item_belongs_to_the_response_that_claimed_it_first():
    items, _ = memory()
    items.observe("A", None, ASSISTANT, "R1")
    items.observe("A", None, ASSISTANT, "R2")
    assert items.owner("A") == "R1"


def test_an_item_is_never_its_own_predecessor():
    items, _ = memory()
    items.observe("A", "A", ASSISTANT)
    assert "A" not in items.previous


def test_a_missing_predecessor_is_a_gap_until_it_appears():
    items, said = memory()
    items.observe("B", "A", USER)
    items.observe("A", None, USER)
    items.close_gaps()
    assert not [event for event in said if isinstance(event, ItemSkipped)]
    items.observe("C", "never", USER)
    items.close_gaps()
    assert said[-1] == ItemSkipped(item_id="never")


def test_settled_items_leave_one_record_each():
    items, _ = memory()
    for number in range(100):
        previous = f"I{number - 1}" if number else None
        items.observe(f"I{number}", previous, ASSISTANT, f"R{number}")
        items.settle(f"I{number}")
    assert sum(items.sizes().values()) == 0
    assert len(items.known) == 100
    assert items.tail == "I99"


def test_nothing_more_is_said_of_settled_items():
    items, said = memory()
    items.skip("X", "Y")
    before = len(said)
    items.observe("X", "Z", ASSISTANT)
    items.observe("X", None, ASSISTANT, "R")
    items.skip("X", "Z")
    items.adopt("X", "R")
    items.unclaimed("X")
    assert len(said) == before
    assert items.owner("X") is None


def test_an_item_without_a_predecessor_follows_what_it_came_after():
    items, said = memory()
    items.observe("U", None, USER)
    items.observe("A", None, ASSISTANT, "R")
    items.place("A", content=True)
    assert said[-1] == ItemObserved(
        item_id="A", previous_item_id="U", role=ASSISTANT, response_id="R"
    )


def test_what_something_follows_already_is_not_placed_behind_it():
    items, said = memory()
    items.observe("U", "A", USER)
    items.observe("A", None, ASSISTANT, "R")
    items.place("A", content=True)
    assert said[-1].previous_item_id is None


def test_ordering_facts_reach_the_application_and_history_alike():
    hand = Hand()
    hand.see(p.ItemAdded(item_id="F1", previous_item_id=None, kind=p.ItemKind.TOOL_CALL))
    assert hand.events == [ev.RealtimeTranscript(ItemSkipped(item_id="F1"))]
    assert hand.transcript == [ItemSkipped(item_id="F1")]


def test_reordered_and_repeated_announcements_give_the_same_history():
    def announce(order: list[int]) -> list[str]:
        hand = Hand()
        facts = [
            p.InputCommitted(item_id="U1"),
            p.ItemAdded(item_id="U1", kind=p.ItemKind.USER),
            p.ItemAdded(item_id="U2", previous_item_id="U1", kind=p.ItemKind.USER),
            p.InputCommitted(item_id="U2", previous_item_id="U1"),
        ]
        for index in order:
            hand.see(facts[index], facts[index])
        hand.see(p.InputTranscriptDone(item_id="U2", text="second"))
        hand.see(p.InputTranscriptDone(item_id="U1", text="first"))
        return hand.texts

    assert announce([0, 1, 2, 3]) == ["first", "second"]
    assert announce([3, 0, 2, 1]) == ["first", "second"]
    assert announce([2, 1, 3, 0]) == ["first", "second"]
