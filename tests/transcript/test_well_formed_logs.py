"""Logs of a sound provider: one chain of items, each response ended after its contents.

What must come of them is simple enough to be said without an authority, however they are delivered.
"""

from __future__ import annotations

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from transcript.transcript_kit import Log, done, final, intr, obs, skip, spoken, text, trunc, user

from meerkat_rt.transcript import MaterializedUser

WORDS = st.text("abc ", min_size=1, max_size=4)
BUDGET = settings(max_examples=120, deadline=None)


@attrs.define
class Conversation:
    """The events of each item, the ends of each response, and what must come of it."""

    items: list[tuple[str | None, list]]  # (response, events), in causal order
    ends: dict[str, list]
    flat: list[tuple[str, str, str, str, bool]]  # (item, role, lane, text, truncated)
    tokens: tuple[int, int]

    def in_order(self):
        events, response_items = [], [response for response, _ in self.items]
        for n, (response, of_item) in enumerate(self.items):
            events += of_item
            if response is not None and response not in response_items[n + 1 :]:
                events += self.ends[response]
        return events

    def shuffled(self, random):
        """Any interleaving that keeps each item's events in order and a response's end last."""
        queues = [(response, list(events)) for response, events in self.items]
        ends = {response: list(events) for response, events in self.ends.items()}
        events = []
        while queues or ends:
            busy = {response for response, _ in queues}
            choices = [queue for _, queue in queues]
            choices += [queue for response, queue in ends.items() if response not in busy]
            events.append(random.choice(choices).pop(0))
            queues = [(response, queue) for response, queue in queues if queue]
            ends = {response: queue for response, queue in ends.items() if queue}
        return events


@st.composite
def conversations(draw, *, interrupts=True, mid_skips=True, heard=False):
    items, ends, flat, tokens = [], {}, [], [0, 0]
    previous, deltas = None, 0

    def add(events_of, response=None):
        nonlocal previous
        item_id = f"i{len(items)}"
        items.append((response, events_of(item_id, previous)))
        previous = item_id
        return item_id

    for turn in range(draw(st.integers(1, 4))):
        if draw(st.booleans()):
            said = draw(WORDS)
            first = [obs] if draw(st.booleans()) else []
            item = add(
                lambda i, p, said=said, first=first: [
                    *(o(i, p, role="user") for o in first),
                    user(i, p, said),
                ]
            )
            flat.append((item, "user", "", said, False))
        if draw(st.booleans()):
            add(lambda i, p: [skip(i, p)])
        response = f"r{turn}"
        interrupted = interrupts and draw(st.booleans())
        emits = False
        for _ in range(draw(st.integers(0, 3))):
            lane = draw(st.sampled_from([text, spoken]))
            parts = draw(st.lists(WORDS, min_size=1, max_size=3))
            ids = [f"d{deltas + n}" for n in range(len(parts))]
            deltas += len(parts)
            whole = "".join(parts)
            whole_said = draw(st.none() | st.just(whole + "!")) if lane is spoken else None
            cut = draw(st.none() | st.just(whole[:1])) if heard and lane is spoken else None

            def events(i, p, lane=lane, parts=parts, ids=ids, f=whole_said, c=cut, r=response):
                made = [lane(r, d, i, p, part) for d, part in zip(ids, parts, strict=True)]
                made += [final(r, i, f)] if f is not None else []
                made += [trunc(r, i, c)] if c is not None else []
                return made

            item = add(events, response)
            if lane is text or not interrupted or cut is not None:
                shown = cut or whole_said or whole
                name = "display" if lane is text else "spoken"
                flat.append((item, "assistant", name, shown, cut is not None))
                emits = True
            if mid_skips and draw(st.booleans()):
                add(lambda i, p: [skip(i, p)])
        if not any(of == response for of, _ in items):
            continue
        if interrupted:
            ends[response] = [intr(response)]
        else:
            spent = draw(st.tuples(st.integers(0, 9), st.integers(0, 9)))
            stop = draw(st.sampled_from(["end_turn", "max_tokens", "content_filter"]))
            ends[response] = [done(response, stop, spent)]
            if emits:
                tokens = [have + more for have, more in zip(tokens, spent, strict=True)]
    return Conversation(items, ends, flat, tuple(tokens))


def with_copies(events, random):
    """Copies of some events, each somewhere after the first."""
    events = list(events)
    for _ in range(random.randint(1, 8) if events else 0):
        at = random.randrange(len(events))
        events.insert(random.randint(at + 1, len(events)), events[at])
    return events


def delivered(events, **mode):
    log = Log(**mode)
    log.all(*events)
    return log


def flat(log):
    return [
        (entry.item_id, "user", "", entry.text, False)
        if isinstance(entry, MaterializedUser)
        else (entry.item_id, "assistant", entry.lane.value, entry.text, entry.truncated)
        for entry in log.entries
    ]


def assert_whole(log, conversation):
    assert flat(log) == conversation.flat
    assert log.usage == conversation.tokens
    # Every item had text, a skip, or a response that ended: nothing is left over.
    assert log.blocked == []
    assert log.in_flight == []
    assert log.authority.state.seen_delta_ids == ()


randoms = st.randoms(use_true_random=False)


@BUDGET
@given(conversations())
def test_delivered_in_order_the_chain_is_the_transcript(conversation):
    log = delivered(conversation.in_order())
    assert_whole(log, conversation)


@BUDGET
@given(conversations(), randoms)
def test_copies_of_events_change_neither_messages_nor_usage(conversation, random):
    events = conversation.in_order()
    plain, repeated = delivered(events), delivered(with_copies(events, random))
    assert repeated.messages == plain.messages
    assert repeated.usage == plain.usage


@BUDGET
@given(conversations(interrupts=False), randoms)
def test_the_order_of_delivery_across_items_does_not_matter(conversation, random):
    assert_whole(delivered(conversation.shuffled(random)), conversation)


@BUDGET
@given(conversations(interrupts=False, mid_skips=False), randoms)
def test_without_skips_inside_responses_the_messages_do_not_depend_on_delivery_either(
    conversation, random
):
    shuffled = delivered(conversation.shuffled(random))
    assert shuffled.messages == delivered(conversation.in_order()).messages


@BUDGET
@given(conversations(), randoms)
def test_shuffled_copied_and_interrupted_the_transcript_is_the_same(conversation, random):
    events = with_copies(conversation.shuffled(random), random)
    assert_whole(delivered(events), conversation)


@BUDGET
@given(conversations(heard=True), randoms)
def test_what_was_heard_is_the_same_however_it_is_delivered(conversation, random):
    events = with_copies(conversation.shuffled(random), random)
    assert_whole(delivered(events, keep_heard_prefix=True), conversation)


@BUDGET
@given(conversations(), randoms)
def test_the_customary_cancelled_after_an_interruption_changes_nothing(conversation, random):
    events = conversation.shuffled(random)
    for response, ends in conversation.ends.items():
        if ends == [intr(response)]:
            at = events.index(intr(response))
            events.insert(random.randint(at + 1, len(events)), done(response, "cancelled", (9, 9)))
    assert_whole(delivered(events), conversation)


@BUDGET
@given(conversations(), randoms)
def test_a_full_replay_of_a_finished_log_is_inert(conversation, random):
    events = conversation.shuffled(random)
    log = delivered(events)
    before = log.authority.state
    assert [log(event) for event in events] == [[] for _ in events]
    assert log.authority.state == before


@BUDGET
@given(conversations(), randoms)
def test_after_a_crash_redelivery_from_any_earlier_point_converges(conversation, random):
    events = conversation.shuffled(random)
    crash = random.randint(0, len(events))
    log = delivered(events[:crash])
    log.restart()
    log.all(*events[random.randint(0, crash) :])
    assert_whole(log, conversation)


@BUDGET
@given(conversations(), randoms)
def test_messages_are_only_ever_appended(conversation, random):
    events = conversation.shuffled(random)
    log, before = Log(), []
    for event in events:
        log(event)
        assert log.messages[: len(before)] == before
        before = list(log.messages)
    cut = random.randint(0, len(events))
    prefix = delivered(events[:cut]).messages
    assert log.messages[: len(prefix)] == prefix
