"""What an event costs, counted in executed instructions, and what stays in memory."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from pathlib import Path

import pytest
from transcript.transcript_kit import (
    Log,
    done,
    final,
    intr,
    obs,
    run_of,
    skip,
    spoken,
    text,
    trunc,
    user,
)

from meerkat_rt import transcript
from meerkat_rt.transcript import TranscriptAuthority

ROOM = str(Path(transcript.__file__).parent)


class NoSweep(dict):
    """A dict that may be asked, but not walked: that would be a loop which no tracer sees."""

    def _refuse(self):
        raise AssertionError("an event walked over everything")

    __iter__ = keys = values = items = copy = _refuse


def instructions(authority, events):
    """How many instructions of the room's code the events take."""

    def apply_all():
        for event in events:
            authority.apply(event)

    return counted(apply_all)


def counted(work):
    count = 0

    def trace(frame, kind, _):
        nonlocal count
        if not frame.f_code.co_filename.startswith(ROOM):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += kind == "opcode"
        return trace

    before = sys.gettrace()
    # Python 3.12 looks only as it begins whether anybody wants to see instructions.
    sys._getframe().f_trace_opcodes = True
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def watched():
    authority = TranscriptAuthority(keep_heard_prefix=True)
    order, responses = authority._items.order, authority._responses
    order.waiting = authority._waiting = NoSweep()
    order.settled = NoSweep()
    order._followers = NoSweep()
    responses.live, responses.past = NoSweep(), NoSweep()
    return authority


def turn(n, deltas=3):
    """A user's item, a tool's, and two of the assistant."""
    response, prev = f"r{n}", f"s{n - 1}" if n else None
    yield user(f"u{n}", prev, "question")
    yield skip(f"t{n}", f"u{n}")
    yield obs(f"a{n}", f"t{n}", response=response)
    for d in range(deltas):
        yield text(response, f"d{n}.{d}", f"a{n}", f"t{n}", "shown ")
        yield spoken(response, f"e{n}.{d}", f"s{n}", f"a{n}", "said ")
    if n % 3 == 0:
        yield final(response, f"s{n}", "said said")
    if n % 3 == 1:
        yield trunc(response, f"s{n}", "said")
    yield intr(response) if n % 4 == 0 else done(response, tokens=(1, 1))


def conversation(size):
    return [event for n in range(size // 10) for event in turn(n)]


def one_long_item(size):
    deltas = [spoken("r", f"d{n}", "a", None, "word ") for n in range(size)]
    return [*deltas, done("r")]


def chain_behind_a_late_head(size):
    chain = [user(f"i{n}", f"i{n - 1}", "x") for n in range(1, size)]
    return [*chain, user("i0", None, "x")]


def chain_delivered_backwards(size):
    return [user(f"i{n}", f"i{n - 1}" if n else None, "x") for n in reversed(range(size))]


def chain_behind_a_late_head_that_refuses_a_cycle(size):
    chain = [user(f"i{n}", f"i{n - 1}", "x") for n in range(1, size)]
    return [*chain, *[user("i0", f"i{size - n}", "x") for n in range(1, size)]]


def chain_joined_piece_by_piece_backwards(size):
    # Every join asks for the head of a chain that is already long.
    pieces = [user(f"i{n}", f"i{n - 1}", "x") for n in range(size - 1, 0, -2)]
    return [*pieces, *[user(f"i{n}", f"i{n - 1}", "x") for n in range(2, size - 1, 2)]]


def many_waiting_items_and_their_response_ends_over_and_over(size):
    items = [text("r", f"d{n}", f"a{n}", "gone", "x") for n in range(size // 2)]
    toggles = [done("r"), done("r", "tool_use")] * (size // 4)
    return [*items, *toggles]


def many_empty_items_and_their_response_ends_over_and_over(size):
    items = [obs(f"a{n}", None, response="r") for n in range(size // 2)]
    return [*items, *([done("r"), done("r", "tool_use")] * (size // 4))]


def many_kept_items_interrupted_over_and_over(size):
    items = [text("r", f"d{n}", f"a{n}", "gone", "x") for n in range(size // 2)]
    return [*items, *[intr("r"), done("r", "cancelled")] * (size // 4)]


def items_of_other_responses_wait_meanwhile(size):
    waiting = [spoken(f"r{n}", f"d{n}", f"a{n}", "gone", "x") for n in range(size // 2)]
    return [*waiting, *[e for n in range(size // 20) for e in turn(n)]]


def full_replay(size):
    return conversation(size // 2) * 2


STREAMS = [
    conversation,
    one_long_item,
    chain_behind_a_late_head,
    chain_delivered_backwards,
    chain_behind_a_late_head_that_refuses_a_cycle,
    chain_joined_piece_by_piece_backwards,
    many_waiting_items_and_their_response_ends_over_and_over,
    many_empty_items_and_their_response_ends_over_and_over,
    many_kept_items_interrupted_over_and_over,
    items_of_other_responses_wait_meanwhile,
    full_replay,
]


@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.__name__)
def test_an_event_costs_the_same_in_a_long_session(stream):
    small, large = stream(200), stream(2000)
    per_event = [instructions(watched(), events) / len(events) for events in (small, large)]
    assert per_event[1] < 1.15 * per_event[0]


def test_an_item_costs_the_same_to_restore_in_a_long_chain():
    def restored(size, backwards):
        authority = TranscriptAuthority()
        for n in reversed(range(size)) if backwards else range(size):
            authority.apply(user(f"i{n}", f"i{n - 1}" if n else None, "x"))
            authority.apply(user(f"w{n}", f"w{n - 1}", "x"))
        state = authority.state
        return counted(lambda: TranscriptAuthority(state)) / size

    for backwards in (False, True):
        assert restored(1000, backwards) < 1.15 * restored(100, backwards)


def test_a_sweep_would_be_noticed():
    authority = watched()
    authority.apply(obs("a"))
    with pytest.raises(AssertionError, match="walked"):
        list(authority.blocked)


def test_one_more_delta_is_a_short_path():
    authority = watched()
    first, *more = [spoken("r", f"d{n}", "a", "u", "word ") for n in range(101)]
    authority.apply(first)
    cost = counted(lambda: authority.apply_all(more)) / 100
    assert cost < 100  # on each Python; the other path takes several times that
    assert authority.apply(spoken("r", "last", "a", "u", "x")) is authority.apply(
        spoken("r", "very last", "a", "u", "x")
    )


def test_a_run_of_deltas_costs_next_to_nothing_each():
    first, *more = [spoken("r", f"d{n}", "a", "u", "word ") for n in range(1001)]
    at_once, one_by_one = TranscriptAuthority(), TranscriptAuthority()
    for authority in (at_once, one_by_one):
        authority.apply(first)
    cost = counted(lambda: at_once.apply_all([run_of(more)])) / 1000
    one_by_one.apply_all(more)
    assert cost < 1
    assert at_once.state == one_by_one.state


def test_a_run_that_begins_an_item_is_slow_for_its_first_delta_alone():
    deltas = [spoken("r", f"d{n}", "a", None, "word ") for n in range(1000)]
    authority = watched()
    assert counted(lambda: authority.apply_all([run_of(deltas)])) < 1200


# ---------------------------------------------------------------- memory


def test_when_all_is_settled_only_the_records_are_left():
    authority = TranscriptAuthority()
    for event in conversation(1000):
        authority.apply(event)
    order, responses = authority._items.order, authority._responses
    assert order.waiting == {}
    assert order._followers == {}
    assert responses.live == {}
    assert authority._seen_delta_ids == set()
    assert len(order.settled) == 400
    assert TranscriptAuthority(authority.state)._responses.live == {}
    # What is known of a past response is one of a few shared values.
    assert len(responses.past) == 100
    assert len(set(map(id, responses.past.values()))) <= 3


def test_a_response_that_only_called_tools_leaves_nothing():
    authority = TranscriptAuthority()
    for n in range(100):
        authority.apply(obs(f"f{n}", None, response=f"r{n}"))
        authority.apply(skip(f"f{n}"))
        authority.apply(done(f"r{n}", "tool_use"))
    responses = authority._responses
    assert (responses.live, responses.past) == ({}, {})


def test_a_response_that_ended_without_items_is_only_remembered():
    authority = TranscriptAuthority()
    for n in range(100):
        authority.apply(done(f"r{n}", tokens=(1, 1)))
        authority.apply(intr(f"i{n}"))
    responses = authority._responses
    assert responses.live == {}
    assert len(responses.past) == 200


def test_delta_ids_go_with_their_item():
    log = Log()
    for n in range(50):
        log(spoken("r", f"d{n}", "a", None, "x"))
    log(spoken("r", "other", "b", "a", "y"))
    assert len(log.authority._seen_delta_ids) == 51
    log.all(obs("c", None), skip("c"))
    assert len(log.authority._seen_delta_ids) == 51
    log(done("r"))
    assert log.authority._seen_delta_ids == set()


def test_a_skipped_response_that_waits_gives_up_its_text():
    authority = TranscriptAuthority()
    for n in range(50):
        authority.apply(spoken("r", f"d{n}", "a", "gone", "x" * 1000))
    authority.apply(intr("r"))
    item = authority._waiting["a"]
    assert item.text() == ""
    assert sum(map(len, item.tail)) == 0


def test_memory_grows_with_settled_items_and_not_with_deltas():
    def held(deltas, turns):
        authority = TranscriptAuthority()
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for n in range(turns):
            for event in turn(n, deltas):
                authority.apply(event)
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before

    tracemalloc.start()
    try:
        held(3, 5)
        short, talkative = held(3, 500), held(60, 500)
    finally:
        tracemalloc.stop()
    assert talkative < 1.02 * short
    assert short < 500 * 4 * 500  # bytes for each of four items a turn, with the strings of its ids


def test_replaced_text_is_not_held():
    authority = TranscriptAuthority()
    for n in range(50):
        authority.apply(spoken("r", f"d{n}", "a", None, "x" * 1000))
    authority.apply(final("r", "a", "short"))
    assert sum(map(len, authority._waiting["a"].tail)) <= len("short")
