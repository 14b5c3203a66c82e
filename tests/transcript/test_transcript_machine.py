"""Arbitrary streams of events, held against the naive authority, and what must hold throughout."""

from __future__ import annotations

import json

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from transcript.naive_authority import NaiveAuthority
from transcript.transcript_kit import (
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

from meerkat_rt.model.conversation import AssistantMessage, Usage
from meerkat_rt.transcript import (
    MaterializedUser,
    TranscriptAuthority,
    state_from_json,
    state_to_json,
)

ITEMS = st.sampled_from([*"abcdef"] * 4 + [" a", "b ", "", " "])
PREVIOUS = st.one_of(st.none(), st.sampled_from([*"abcdefx"] * 3 + [" a ", ""]))
RESPONSES = st.sampled_from(["r1", "r2", "r3"] * 4 + [" r1 ", ""])
MAYBE_RESPONSES = st.one_of(st.none(), RESPONSES)
DELTA_IDS = st.one_of(st.integers(0, 40).map("d{}".format), st.sampled_from(["", " ", "d1 "]))
TEXTS = st.text("xyz ", max_size=3)
INDEXES = st.sampled_from([0, 0, 0, 1, 2])
STOPS = st.sampled_from(["end_turn", "end_turn", "tool_use", "max_tokens", "cancelled"])
TOKENS = st.tuples(st.integers(0, 9), st.integers(0, 9))


def flat(entry):
    if isinstance(entry, MaterializedUser):
        return (entry.item_id, "user", entry.text, None, None, None, None, False)
    return (
        entry.item_id,
        "assistant",
        entry.text,
        entry.response_id,
        entry.stop_reason,
        None if entry.usage == Usage() else entry.usage,
        entry.lane,
        entry.truncated,
    )


def without_empty_usage(entry):
    return (*entry[:5], None if entry[5] == Usage() else entry[5], *entry[6:])


class AnyStream(RuleBasedStateMachine):
    @initialize(keep=st.booleans())
    def start(self, keep):
        self.keep = keep
        self.authority = TranscriptAuthority(keep_heard_prefix=keep)
        self.naive = NaiveAuthority(keep)
        self.entries = []
        self.settled = set()
        self.discarded = set()
        self.lanes = {}
        self.runs = 0

    @rule(item=ITEMS, prev=PREVIOUS, role=st.sampled_from(["user", "assistant"]), r=MAYBE_RESPONSES)
    def observed(self, item, prev, role, r):
        self.apply(obs(item, prev, role, r))

    @rule(item=ITEMS, prev=PREVIOUS)
    def skipped(self, item, prev):
        self.apply(skip(item, prev))

    @rule(item=ITEMS, prev=PREVIOUS, said=TEXTS, index=INDEXES)
    def user_final(self, item, prev, said, index):
        self.apply(user(item, prev, said, index))

    @rule(
        make=st.sampled_from([text, spoken]),
        r=RESPONSES,
        d=DELTA_IDS,
        item=ITEMS,
        prev=PREVIOUS,
        more=TEXTS,
        index=INDEXES,
    )
    def delta(self, make, r, d, item, prev, more, index):
        self.apply(make(r, d, item, prev, more, index))

    @rule(
        make=st.sampled_from([text, spoken]),
        r=RESPONSES,
        ds=st.lists(DELTA_IDS, min_size=2, max_size=4),
        item=ITEMS,
        prev=PREVIOUS,
    )
    def deltas(self, make, r, ds, item, prev):
        for d in ds:
            self.apply(make(r, d, item, prev, d))

    @rule(
        make=st.sampled_from([text, spoken]),
        r=RESPONSES,
        ds=st.lists(DELTA_IDS, min_size=1, max_size=4),
        item=ITEMS,
        prev=PREVIOUS,
        said=st.lists(TEXTS, min_size=4, max_size=4),
        index=INDEXES,
    )
    def run_of_deltas(self, make, r, ds, item, prev, said, index):
        deltas = [make(r, d, item, prev, more, index) for d, more in zip(ds, said, strict=False)]
        self.apply(*deltas, entry=run_of(deltas))

    @rule(
        make=st.sampled_from([text, spoken]),
        r=RESPONSES,
        item=ITEMS,
        prev=PREVIOUS,
        said=st.lists(TEXTS.filter(bool), min_size=1, max_size=4),
    )
    def item_and_run(self, make, r, item, prev, said):
        """As a response begins: its item, and then many words at once."""
        self.apply(obs(item, prev, "assistant", r))
        self.runs += 1
        deltas = [
            make(r, f"{self.runs}.{number}", item, prev, more) for number, more in enumerate(said)
        ]
        self.apply(*deltas, entry=run_of(deltas))

    @rule(make=st.sampled_from([final, trunc]), r=RESPONSES, item=ITEMS, said=TEXTS, index=INDEXES)
    def replaced(self, make, r, item, said, index):
        self.apply(make(r, item, said, index))

    @rule(r=RESPONSES, stop=STOPS, tokens=TOKENS)
    def completed(self, r, stop, tokens):
        self.apply(done(r, stop, tokens))

    @rule(r=RESPONSES)
    def interrupted(self, r):
        self.apply(intr(r))

    @rule()
    def restarted(self):
        # Through JSON, passing every check, with nothing lost that a later event could show.
        state = self.authority.state
        data = json.loads(json.dumps(state_to_json(state)))
        read = state_from_json(data)
        assert read == state
        self.authority = TranscriptAuthority(read, keep_heard_prefix=self.keep)
        assert self.authority.state == state

    def apply(self, *events, entry=None):
        before = {item.item_id: item for item in self.authority.blocked}
        had_text = {i: s for i, s in self.authority.state.items.items() if s.content_segments}
        if entry is None:
            outcomes = [self.authority.apply(event) for event in events]
        else:
            outcomes = self.authority.apply_all([entry])
        entries = [flat(each) for outcome in outcomes for each in outcome.materialized_messages]
        expected = [each for event in events for each in self.naive.apply(event)]
        assert entries == [without_empty_usage(each) for each in expected]
        for outcome in outcomes:
            made = [flat(each) for each in outcome.materialized_messages]
            assert bool(outcome.messages) == bool(made)
            assert messages_of(made) == [
                [block.text for block in message.blocks]
                if isinstance(message, AssistantMessage)
                else message.text_content()
                for message in outcome.messages
            ]
        state = self.authority.state
        assert before.keys() - state.items.keys() == set()
        for item_id, item in had_text.items():
            now = state.items[item_id]
            if now.content_segments:  # a lane is fixed for as long as the item has text
                assert now.lane is item.lane
        self.entries += entries

    @invariant()
    def the_books_agree(self):
        if not hasattr(self, "authority"):
            return
        assert list(self.authority.in_flight_response_ids) == self.naive.in_flight()
        state = self.authority.state
        TranscriptAuthority(state)
        assert list(state.items) == list(self.naive.items)
        for item_id, item in state.items.items():
            naive = self.naive.items[item_id]
            assert item.materialized == naive["settled"]
            assert item.skipped == naive["skipped"]
            assert item.previous_item_id == naive["previous"]
        assert set(state.seen_delta_ids) == set(self.naive.seen)
        assert set(state.discarded_assistant_response_ids) == self.naive.discarded

    @invariant()
    def what_is_settled_stays_so_and_nothing_comes_twice(self):
        if not hasattr(self, "authority"):
            return
        state = self.authority.state
        settled = {i for i, item in state.items.items() if item.materialized}
        discarded = set(state.discarded_assistant_response_ids)
        assert self.settled <= settled
        assert self.discarded <= discarded
        self.settled, self.discarded = settled, discarded
        ids = [entry[0] for entry in self.entries]
        assert len(set(ids)) == len(ids)
        assert settled == set(ids) | {i for i in settled if state.items[i].skipped}
        assert all(entry[2] for entry in self.entries)
        waiting = {item.item_id for item in self.authority.blocked}
        assert waiting == state.items.keys() - settled

    @invariant()
    def usage_is_counted_once_per_response(self):
        if not hasattr(self, "authority"):
            return
        charged = [entry[3] for entry in self.entries if entry[5] is not None]
        assert len(set(charged)) == len(charged)


def messages_of(entries):
    """The grouping once more: runs of one response, the user's items on their own."""
    messages, previous = [], None
    for entry in entries:
        key = entry[3] if entry[1] == "assistant" else None
        if key is None:
            messages.append(entry[2])
        elif key == previous:
            messages[-1].append(entry[2])
        else:
            messages.append([entry[2]])
        previous = key
    return messages


AnyStream.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, derandomize=False
)
TestAnyStream = AnyStream.TestCase
