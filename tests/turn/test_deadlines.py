"""The deadline heap."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from meerkat_rt.turn.deadlines import Deadlines


def test_nothing_is_due_when_nothing_is_set():
    deadlines = Deadlines()
    assert deadlines.next is None
    assert deadlines.pop_due(1e9) is None


def test_a_cancelled_deadline_never_expires():
    deadlines = Deadlines()
    deadlines.set(("a", ""), 1.0)
    deadlines.cancel(("a", ""))
    deadlines.cancel(("never set", ""))
    assert deadlines.next is None
    assert deadlines.pop_due(2.0) is None


def test_setting_again_replaces_the_time():
    deadlines = Deadlines()
    deadlines.set(("a", ""), 1.0)
    deadlines.set(("a", ""), 3.0)
    assert deadlines.next == 3.0
    assert deadlines.pop_due(2.0) is None
    assert deadlines.pop_due(3.0) == ("a", "")
    assert deadlines.pop_due(3.0) is None


def test_equal_times_expire_in_the_order_in_which_they_were_set():
    deadlines = Deadlines()
    for name in "cab":
        deadlines.set((name, ""), 1.0)
    assert [deadlines.pop_due(1.0) for _ in range(3)] == [("c", ""), ("a", ""), ("b", "")]


def test_a_deadline_that_is_moved_for_ever_does_not_grow_the_heap():
    deadlines = Deadlines()
    for step in range(10_000):
        deadlines.set(("a", ""), float(step))
    assert len(deadlines._heap) < 200
    assert len(deadlines) == 1
    assert ("a", "") in deadlines


def test_clear_forgets_everything():
    deadlines = Deadlines()
    deadlines.set(("a", ""), 1.0)
    deadlines.clear()
    assert deadlines.next is None
    assert len(deadlines) == 0


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("set"), st.sampled_from("abcd"), st.integers(0, 20)),
            st.tuples(st.just("cancel"), st.sampled_from("abcd")),
            st.tuples(st.just("pop"), st.integers(0, 20)),
        )
    )
)
def test_it_behaves_like_a_sorted_list(script):
    deadlines = Deadlines()
    lines: list[tuple[int, int, str]] = []  # time, age, key
    for age, (what, *arguments) in enumerate(script):
        if what == "set":
            key, when = arguments
            deadlines.set((key, ""), float(when))
            lines = [line for line in lines if line[2] != key]
            lines.append((when, age, key))
        elif what == "cancel":
            deadlines.cancel((arguments[0], ""))
            lines = [line for line in lines if line[2] != arguments[0]]
        else:
            due = sorted(line for line in lines if line[0] <= arguments[0])
            expected = (due[0][2], "") if due else None
            assert deadlines.pop_due(float(arguments[0])) == expected
            lines = [line for line in lines if not due or line != due[0]]
        assert deadlines.next == (float(min(lines)[0]) if lines else None)
        assert len(deadlines) == len(lines)


def test_it_says_whether_another_look_is_worth_it():
    deadlines = Deadlines()
    assert not deadlines.changed
    deadlines.set(("a", ""), 2.0)
    assert deadlines.changed
    assert deadlines.next == 2.0
    assert not deadlines.changed
    deadlines.cancel(("b", ""))  # was not set
    assert deadlines.pop_due(1.0) is None
    assert not deadlines.changed
    deadlines.cancel(("a", ""))
    assert deadlines.changed
    deadlines.set(("a", ""), 3.0)
    assert deadlines.next == 3.0
    assert deadlines.pop_due(3.0) == ("a", "")
    assert deadlines.changed
    assert deadlines.next is None
    deadlines.clear()
    assert deadlines.changed
