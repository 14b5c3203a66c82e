"""In which order items come free, and links that cannot be."""

from __future__ import annotations

import pytest
from transcript.transcript_kit import Log, done, obs, skip, text, user


@pytest.fixture(params=[False, True], ids=["straight", "restarting"])
def log(request):
    return Log(restarting=request.param)


def test_branches_come_out_breadth_first(log):
    log.all(obs("hold", role="user"), user("a", "hold", "a"), user("a2", "a", "a2"))
    log.all(user("b", "hold", "b"), user("b2", "b", "b2"))
    assert log(user("hold", None, "hold")) == ["hold", "a", "b", "a2", "b2"]


def test_siblings_come_out_in_order_of_arrival(log):
    log.all(*[user(name, "root", name) for name in "dacb"])
    assert log(user("root", None, "r")) == ["root", "d", "a", "c", "b"]


def test_an_item_that_arrived_before_its_predecessor_has_its_turn_after_later_roots(log):
    # x arrived first, but it names p: going through the arrivals, p and y come before x.
    log.all(text("r", "1", "x", "p", "x"), user("p", None, "p"), text("r", "2", "y", None, "y"))
    assert log(done("r")) == ["y", "x"]


def test_that_order_survives_a_restart_after_the_predecessor_was_settled(log):
    log.all(text("r", "1", "x", "p", "x"), text("r", "2", "z", "x", "z"), user("p", None, "p"))
    log.all(text("r", "3", "w", "v", "w"), user("v", None, "v"), text("r", "4", "y", None, "y"))
    assert log(done("r")) == ["y", "x", "w", "z"]


def test_an_item_inherits_the_place_of_a_predecessor_that_was_settled_late(log):
    log.all(user("p", "q", "p"), user("q", None, "q"))
    log.all(text("r", "1", "x", "p", "x"), text("r", "2", "y", None, "y"))
    assert log(done("r")) == ["y", "x"]


def test_a_skip_between_two_items_of_a_response_does_not_split_their_message(log):
    log.all(text("r", "1", "a", None, "A"), skip("s", "a"), text("r", "2", "b", "s", "B"))
    assert log(done("r")) == ["a", "b"]
    assert log.history == [("A", "T:A", "T:B")]


def test_a_link_may_arrive_after_the_text_but_not_after_the_item_was_settled(log):
    log.all(text("r", "1", "a", None, "a"), obs("a", "u", response="r"), done("r"))
    assert log(user("u", None, "q")) == ["u", "a"]
    log.all(user("v", None, "hello"), obs("v", "w", role="user"))
    assert log.rules == ["item_settled"]


def test_a_link_to_a_settled_item_does_not_hold_back(log):
    log.all(user("u", None, "q"), text("r", "1", "a", None, "a"), obs("a", "u", response="r"))
    assert log.authority.state.items["a"].previous_item_id == "u"
    assert log(done("r")) == ["a"]


@pytest.mark.parametrize("backwards", [False, True])
def test_a_cycle_is_found_through_a_long_chain(backwards):
    log = Log()
    numbers = range(1, 2000)
    for n in reversed(numbers) if backwards else numbers:
        log(user(f"i{n}", f"i{n - 1}", "x"))
        assert log.rules == []
    assert log(user("i0", "i1999", "x")) == []
    assert log.rules == ["predecessor_cycle"]
    assert log(user("i0", None, "x")) == [f"i{n}" for n in range(2000)]


def test_a_shortcut_past_items_that_were_settled_does_not_invent_a_cycle(log):
    # b, c, d hang below a; the search for a's head leaves shortcuts from d to a.
    log.all(user("b", "a", "b"), obs("c", "b", role="user"), user("d", "c", "d"))
    log(user("a", "d", "a"))
    assert log.rules == ["predecessor_cycle"]
    assert log(user("a", None, "a")) == ["a", "b"]
    # a and b are settled.  x, which y waits for, may now follow d.
    log.all(obs("y", "x", role="user"), user("x", "d", "x"))
    assert log.rules == []
    assert log(user("c", None, "c")) == ["c", "d", "x"]
