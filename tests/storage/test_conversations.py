"""Whole conversations, as they stand in the store, with a restart between any two events."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from storage.storage_kit import commit, dying, staged, stored, writing
from transcript.transcript_kit import done, intr, obs, short, skip, spoken, text, trunc, user

from meerkat_rt.model import codec
from meerkat_rt.runtime.ports import TranscriptBatch
from meerkat_rt.transcript import (
    RealtimeTranscriptEvent,
    TranscriptStateError,
    state_from_json,
    state_to_json,
)

VECTORS = json.loads(
    Path(__file__).parents[1].joinpath("data", "transcript_vectors.json").read_text()
)["vectors"]


class Restarting:
    """A session whose process ends after every event, without taking leave."""

    def __init__(self, path, **options):
        self.path = path
        self.options = options

    def __call__(self, *events):
        """Returns what the last one made."""
        made = ()
        for event in events:
            with dying(self.path, **self.options) as writer:
                made = commit(writer, event)
        return [short(entry.message) for entry in made]

    @property
    def history(self):
        return [short(entry.message) for entry in stored(self.path, **self.options)[0]]


@pytest.fixture(params=[1, 10**6], ids=["snapshots", "replays"])
def said(request, path):
    return Restarting(path, snapshot_bytes=request.param)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"].split()[0])
def test_vectors_through_the_journal(path, vector):
    events = [codec.decode(event, RealtimeTranscriptEvent) for event in vector["events"]]
    options = {"keep_heard_prefix": False, "snapshot_bytes": 300}
    made = []
    for event in events:
        with dying(path, **options) as writer:
            made.append(commit(writer, event))
    items = [[item_id for entry in each for item_id in entry.item_ids] for each in made]
    assert items == vector["expected"]["materialized_per_event"]
    with dying(path, **options) as writer:
        authority = writer.restored.authority
        restored = [codec.encode(entry.message) for entry in writer.restored.messages]
    assert list(authority.in_flight_response_ids) == vector["expected"]["in_flight_response_ids"]
    assert [message["role"] for message in restored] == [
        message["role"] for message in vector["expected"]["messages"]
    ]
    assert [entry for each in made for entry in each] == stored(path, **options)[0]


# ---------------------------------------------------------------- a tool in between


def test_a_response_continued_after_a_tool_is_one_message(said):
    assert said(user("u", None, "cedar seven")) == [("U", "cedar seven")]
    assert said(text("rA", "d1", "a", "u", "asking ")) == []
    assert said(done("rA", "tool_use")) == []
    assert said(text("rA", "d2", "a", "u", "done")) == []
    assert said(done("rA")) == [("A", "T:asking done")]
    assert said.history == [("U", "cedar seven"), ("A", "T:asking done")]


def test_a_delta_that_arrives_twice_is_in_the_message_once(said):
    said(user("u", None, "are you"), *[text("rA", "d1", "a", "u", "ready")] * 2)
    assert said(done("rA")) == [("A", "T:ready")]


def test_events_without_identity_change_no_history(said):
    said(
        user("", None, "who am I"), text("", "d", "a", None, "text"), text("r", "d", " ", None, "x")
    )
    assert said(done("r"), done(" "), intr("")) == []
    assert said.history == []


# ---------------------------------------------------------------- explicit commit


def test_two_texts_under_explicit_commit_are_one_turn_in_order(path):
    with dying(path) as writer:
        commit(writer, stage=[staged("s1", "hello")])
        commit(writer, stage=[staged("s2", " world", "s1")])
    assert stored(path)[0] == []
    with dying(path) as writer:
        writer.commit(TranscriptBatch.committing(writer.restored.staged))
    messages, state, entries = stored(path)
    assert "".join(entry.message.text_content() for entry in messages) == "hello world"
    assert [entry.item_ids for entry in messages] == [("s1",), ("s2",)]
    assert state.items["s2"].previous_item_id == "s1"
    assert entries == []


def test_a_disconnect_before_the_commit_changes_no_history_and_loses_no_text(path):
    with dying(path) as writer:
        commit(writer, user("u", None, "before"), stage=[staged("s1", "hello", "u")])
    messages, state, entries = stored(path)
    assert [entry.item_ids for entry in messages] == [("u",)]
    assert list(state.items) == ["u"]
    assert entries == [staged("s1", "hello", "u")]


def test_staging_is_a_synthetic_item_with_no_predecessor_and_index_zero():
    final = staged("synthetic", "hello").final()
    assert (final.item_id, final.previous_item_id, final.content_index) == ("synthetic", None, 0)


# ---------------------------------------------------------------- interruptions


def test_an_interrupted_turn_and_a_new_one(said):
    said(user("u1", None, "tell me"), text("rA", "d1", "a1", "u1", "Once"), intr("rA"))
    said(user("u2", "a1", "again"), spoken("rB", "d2", "a2", "u2", "amber lantern. "))
    assert said(spoken("rB", "d3", "a2", "u2", "birch seventeen."), done("rB")) == [
        ("A", "S:amber lantern. birch seventeen.")
    ]
    assert said.history == [
        ("U", "tell me"),
        ("A", "T:Once"),
        ("U", "again"),
        ("A", "S:amber lantern. birch seventeen."),
    ]


def test_a_cancelled_turn_leaves_no_history(said):
    said(user("u", None, "hello"), spoken("r", "d", "a", "u", "hi"), text("r", "e", "b", "a", "hi"))
    assert said(done("r", "cancelled")) == []
    assert said(intr("r"), done("r")) == []
    assert said.history == [("U", "hello")]


def test_what_was_heard_before_an_interruption_is_kept(said):
    said(user("u", None, "go on"), spoken("r", "d", "a", "u", "one two three"))
    said(trunc("r", "a", "one two"))
    assert said(intr("r")) == [("A", "H:one two")]
    assert said(spoken("r", "e", "a", "u", " four")) == []


def test_the_predecessor_of_a_function_call_and_of_what_follows_it_is_kept(said):
    said(obs("u", None, "user"), skip("call", "u"), obs("v", "call", "user"))
    assert said(user("v", None, "and now?")) == []
    assert said(user("u", None, "what time is it?")) == [
        ("U", "what time is it?"),
        ("U", "and now?"),
    ]


# ---------------------------------------------------------------- the journal's own record


def test_after_a_snapshot_one_event_is_a_journal_of_exactly_that_event(path):
    with dying(path) as writer:
        commit(writer, user("u", None, "hello"))
        writer._try_snapshot()
        commit(writer, text("r", "d", "a", "u", "hi"))
        rows = writer._connection.execute("SELECT number, body FROM journal").fetchall()
    assert [number for number, _ in rows] == [2]
    assert json.loads(rows[0][1])["events"] == [["display", "a", "r", 0, "u", ["d"], ["hi"]]]


def test_replaying_the_record_leaves_nothing_pending(path):
    with dying(path) as writer:
        commit(writer, user("u", None, "hello"), text("r", "d", "a", "u", "hi"), done("r"))
    with dying(path) as writer:
        assert commit(writer) == ()
        assert writer.restored.authority.in_flight_response_ids == ()
        assert writer.restored.authority.blocked == ()


def test_the_whole_state_is_what_the_parts_make_and_a_malformed_one_is_refused(path):
    with writing(path) as writer:
        commit(writer, user("u", None, "hello"), text("r", "d", "a", "u", "hi"))
    state = stored(path)[1]
    assert state_from_json(json.loads(json.dumps(state_to_json(state)))) == state
    with pytest.raises(TranscriptStateError):
        state_from_json({"items": {"u": {"role": "narrator"}}})
