"""What a durable state must satisfy, and what its JSON form is."""

from __future__ import annotations

import json

import attrs
import pytest
from transcript.transcript_kit import Log, done, intr, obs, skip, spoken, text, trunc, user

from meerkat_rt.model import codec
from meerkat_rt.model.conversation import StopReason, Usage
from meerkat_rt.transcript import (
    SESSION_REALTIME_TRANSCRIPT_STATE_KEY,
    RealtimeTranscriptRole,
    RealtimeTranscriptState,
    TranscriptAuthority,
    TranscriptCompletionState,
    TranscriptItemState,
    TranscriptLane,
    TranscriptStateError,
    state_from_json,
    state_to_json,
)

USER, ASSISTANT = RealtimeTranscriptRole.USER, RealtimeTranscriptRole.ASSISTANT


def item(role=USER, prev=None, words="", response=None, *, lane="display", **flags):
    return TranscriptItemState(
        role=role,
        previous_item_id=prev,
        response_id=response,
        content_segments={0: words} if words else {},
        lane=TranscriptLane(lane),
        **flags,
    )


def settled(role=USER, prev=None, response=None, **more):
    return item(role, prev, response=response, ready=True, materialized=True, **more)


def state(items, *, order=None, completions=None, **more):
    return RealtimeTranscriptState(
        items=items,
        first_seen_order=tuple(items if order is None else order),
        assistant_completions={
            response: TranscriptCompletionState(
                stop_reason=StopReason.END_TURN, usage_consumed=consumed
            )
            for response, consumed in (completions or {}).items()
        },
        **more,
    )


REFUSED = {
    "an item that the order lacks": (
        "order_matches_items",
        "b",
        state({"a": item(), "b": item()}, order="a"),
    ),
    "an id in the order without an item": (
        "order_matches_items",
        "b",
        state({"a": item()}, order="ab"),
    ),
    "an item twice in the order": ("order_matches_items", "a", state({"a": item()}, order="aa")),
    "a blank item id": ("ids_not_blank", "item id", state({" ": item()})),
    "a blank predecessor": ("ids_not_blank", "predecessor", state({"a": item(prev="")})),
    "a blank response of an item": (
        "ids_not_blank",
        "response of an item",
        state({"a": item(ASSISTANT, response=" ")}),
    ),
    "a blank delta id": ("ids_not_blank", "delta id", state({}, seen_delta_ids=("",))),
    "a blank completed response": (
        "ids_not_blank",
        "completed response",
        state({}, completions={"": False}),
    ),
    "a blank discarded response": (
        "ids_not_blank",
        "discarded response",
        state({}, discarded_assistant_response_ids=("\t",)),
    ),
    "an item that follows itself": ("no_cycle", "a", state({"a": item(prev="a")})),
    "two items that follow each other": (
        "no_cycle",
        "a",
        state({"a": item(prev="b"), "b": item(prev="a")}),
    ),
    "a chain that runs into a cycle": (
        "no_cycle",
        "b",
        state({"a": item(prev="b"), "b": item(prev="c"), "c": item(prev="b")}),
    ),
    "a settled item after an unknown one": (
        "settled_after_predecessor",
        "a",
        state({"a": settled(prev="gone")}),
    ),
    "a settled item after a waiting one": (
        "settled_after_predecessor",
        "b",
        state({"a": item(), "b": settled(prev="a")}),
    ),
    "a settled item that was never ready": (
        "settled_is_ready",
        "a",
        state({"a": item(materialized=True)}),
    ),
    "a ready assistant item without a response": (
        "assistant_has_response",
        "a",
        state({"a": item(ASSISTANT, ready=True)}),
    ),
    "a settled assistant item without a response": (
        "assistant_has_response",
        "a",
        state({"a": settled(ASSISTANT)}),
    ),
    "assistant text without a response": (
        "text_of_completed_is_ready",
        "a",
        state({"a": item(ASSISTANT, words="x")}),
    ),
    "assistant text of an ended response that is not ready": (
        "text_of_completed_is_ready",
        "a",
        state({"a": item(ASSISTANT, "u", "x", "r")}, completions={"r": False}),
    ),
    "a ready item of a response that has not ended": (
        "ready_has_completion",
        "a",
        state({"a": item(ASSISTANT, "u", "x", "r", ready=True)}),
    ),
    "a settled item of a response that has not ended": (
        "ready_has_completion",
        "a",
        state({"a": settled(ASSISTANT, response="r")}),
    ),
    "a settled item whose usage is still to come": (
        "settled_usage_consumed",
        "a",
        state({"a": settled(ASSISTANT, response="r")}, completions={"r": False}),
    ),
    "spoken text of a discarded response": (
        "discarded_keeps_no_spoken",
        "a",
        state(
            {"a": item(ASSISTANT, "u", "x", "r", lane="spoken", ready=True)},
            completions={"r": False},
            discarded_assistant_response_ids=("r",),
        ),
    ),
    "a delta id of an item that was not seen": (
        "delta_ids_owned_once",
        "a",
        state({"a": item(delta_ids=("d",))}),
    ),
    "a delta id of two items": (
        "delta_ids_owned_once",
        "b",
        state({"a": item(delta_ids=("d",)), "b": item(delta_ids=("d",))}, seen_delta_ids=("d",)),
    ),
    "a delta id twice in an item": (
        "delta_ids_owned_once",
        "a",
        state({"a": item(delta_ids=("d", "d"))}, seen_delta_ids=("d",)),
    ),
    "a delta id of a settled item": (
        "delta_ids_owned_once",
        "a",
        state({"a": settled(delta_ids=("d",))}, seen_delta_ids=("d",)),
    ),
}


@pytest.mark.parametrize(("rule", "subject", "bad"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(rule, subject, bad):
    with pytest.raises(TranscriptStateError) as refusal:
        TranscriptAuthority(bad)
    assert (refusal.value.rule, refusal.value.subject) == (rule, subject)
    assert repr(subject) in str(refusal.value)
    assert rule in str(refusal.value)
    # It is the rule that refuses, not the form: the state has one, and comes back from it.
    assert state_from_json(json.loads(json.dumps(state_to_json(bad)))) == bad


ACCEPTED = {
    "nothing": state({}),
    "an item that waits for an unknown one": state({"b": item(prev="a", words="x", ready=True)}),
    "an acyclic chain, children first": state(
        {"c": settled(prev="b"), "b": settled(prev="a"), "a": settled()}
    ),
    "a blank assistant item": state({"a": item(ASSISTANT)}),
    "a skipped item after an unknown one": state(
        {"a": item(ASSISTANT, "gone", skipped=True, ready=True)}
    ),
    "display text of a discarded response": state(
        {"a": item(ASSISTANT, "u", "x", "r", ready=True)},
        completions={"r": False},
        discarded_assistant_response_ids=("r",),
    ),
    "a heard prefix of a discarded response": state(
        {"a": item(ASSISTANT, "u", "x", "r", lane="spoken", ready=True, heard_content_index=0)},
        completions={"r": False},
        discarded_assistant_response_ids=("r",),
    ),
}


@pytest.mark.parametrize("good", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_accepted_and_given_back_as_it_was(good):
    assert TranscriptAuthority(good).state == good


def test_a_long_waiting_chain_is_accepted():
    chain = {f"i{n}": item(prev=f"i{n - 1}", words="x", ready=True) for n in range(1, 4097)}
    authority = TranscriptAuthority(state(chain))
    outcome = authority.apply(user("i0", None, "x"))
    assert len(outcome.messages) == 4097


def test_a_long_settled_chain_is_accepted_in_any_order():
    chain = {f"i{n}": settled(prev=f"i{n - 1}" if n else None) for n in reversed(range(4096))}
    authority = TranscriptAuthority(state(chain))
    assert authority.blocked == ()


def test_what_an_older_state_left_undone_is_done_with_the_next_event():
    undone = state(
        {
            "u": item(words="q", ready=True),
            "a": item(ASSISTANT, "u", "x", "r", ready=True),
            "s": item(ASSISTANT, skipped=True, ready=True),
        },
        completions={"r": False},
    )
    outcome = TranscriptAuthority(undone).apply(intr("other"))
    assert [entry.item_id for entry in outcome.materialized_messages] == ["u", "a"]
    # The event counts before what was left undone.
    outcome = TranscriptAuthority(undone).apply(done("r", "cancelled"))
    assert [entry.item_id for entry in outcome.materialized_messages] == ["u"]
    outcome = TranscriptAuthority(undone).apply(user("u", "later", "other"))
    assert outcome.messages == ()
    outcome = TranscriptAuthority(undone).apply(user("u", None, " more", 1))
    assert [entry.text for entry in outcome.materialized_messages] == ["q more", "x"]


def test_delta_ids_that_no_item_owns_are_kept():
    older = state({"a": item(ASSISTANT, words="hel", response="r")}, seen_delta_ids=("d1", "d2"))
    authority = TranscriptAuthority(older)
    (repeated,) = authority.apply(text("r", "d1", "a", None, "hel")).diagnostics
    assert repeated.rule == "duplicate_delta"
    outcome = [authority.apply(e) for e in (text("r", "d3", "a", None, "lo"), done("r"))][-1]
    assert outcome.messages[0].text_content() == "hello"
    assert authority.state.seen_delta_ids == ("d1", "d2")


def test_text_of_a_skipped_item_in_an_older_state_is_gone():
    older = state({"a": item(USER, "u", "lost", skipped=True, ready=True)})
    assert TranscriptAuthority(older).state.items["a"].content_segments == {}


def test_a_heard_prefix_stays_one_in_an_authority_that_keeps_none():
    log = Log(keep_heard_prefix=True)
    log.all(spoken("r", "d", "a", "u", "hello"), trunc("r", "a", "he"), intr("r"))
    authority = TranscriptAuthority(log.authority.state)
    (message,) = authority.apply(user("u", None, "q")).messages[1:]
    assert message.blocks[0].truncated


# ---------------------------------------------------------------- the JSON form


def test_the_json_form_is_the_documented_one():
    log = Log(keep_heard_prefix=True)
    log.all(user("u1", None, "hi"), text("r0", "d0", "a0", "u1", "x"), done("r0", tokens=(7, 3)))
    log.all(intr("rX"), spoken("r1", "d1", "a1", "a0", "hel"))
    log.all(spoken("r1", "d2", "a1", "a0", "lo", index=1), trunc("r1", "a1", "l", index=1))
    log.all(obs("a2", "a1"), skip("s", "a2"), done("r2", tokens=(1, 2)))
    settled_item = {
        "previous_item_id": None,
        "response_id": None,
        "content_segments": {},
        "skipped": False,
        "ready": True,
        "materialized": True,
        "lane": "display",
    }
    waiting = settled_item | {"ready": False, "materialized": False}
    assert SESSION_REALTIME_TRANSCRIPT_STATE_KEY == "realtime_transcript_state"
    data = state_to_json(log.authority.state)
    for digested in ("u1", "a0"):
        digest = data["items"][digested].pop("text_digest")
        assert len(digest) == 16
    assert data == {
        "items": {
            "u1": settled_item | {"role": "user"},
            "a0": settled_item
            | {"role": "assistant", "previous_item_id": "u1", "response_id": "r0"},
            "a1": waiting
            | {
                "role": "assistant",
                "previous_item_id": "a0",
                "response_id": "r1",
                "content_segments": {"0": "hel", "1": "l"},
                "lane": "spoken",
                "delta_ids": ["d1", "d2"],
                "heard_content_index": 1,
            },
            "a2": waiting | {"role": "assistant", "previous_item_id": "a1"},
            "s": waiting
            | {"role": "assistant", "previous_item_id": "a2", "skipped": True, "ready": True},
        },
        "first_seen_order": ["u1", "a0", "a1", "a2", "s"],
        "seen_delta_ids": ["d1", "d2"],
        "assistant_completions": {
            "r0": {"stop_reason": "end_turn", "usage_consumed": True},
            "r2": {
                "stop_reason": "end_turn",
                "usage": {"input_tokens": 1, "output_tokens": 2},
                "usage_consumed": False,
            },
        },
        "discarded_assistant_response_ids": ["rX"],
    }


def test_the_converter_of_the_vocabulary_reads_and_writes_the_same_form():
    log = Log(keep_heard_prefix=True)
    log.all(user("u", None, "q"), spoken("r", "d", "a", "u", "hello"), trunc("r", "a", "he"))
    log.all(intr("rX"), done("rY", tokens=(1, 2)))
    for whole in (log.authority.state, TranscriptAuthority().state):
        written = state_to_json(whole)
        assert codec.decode(written, RealtimeTranscriptState) == whole
        assert state_from_json(codec.encode(whole)) == whole
        for item_data in written["items"].values():  # which leaves out what is null
            for key in [key for key, value in item_data.items() if value is None]:
                del item_data[key]
        assert codec.encode(whole) == written


def test_what_is_absent_is_empty():
    assert state_from_json({}) == RealtimeTranscriptState()
    read = state_from_json({"items": {"a": {"role": "user"}}, "first_seen_order": ["a"]})
    assert read.items["a"] == item()
    assert read.items["a"].lane is TranscriptLane.DISPLAY


def test_a_state_with_full_texts_of_settled_items_is_read():
    older = {
        "items": {
            "u1": {
                "role": "user",
                "previous_item_id": None,
                "response_id": None,
                "content_segments": {"0": "hi"},
                "skipped": False,
                "ready": True,
                "materialized": True,
                "lane": "display",
                "user_content_segments": {},
            },
            "a1": {
                "role": "assistant",
                "previous_item_id": "u1",
                "response_id": "r1",
                "content_segments": {"0": "hel", "1": "lo"},
                "skipped": False,
                "ready": False,
                "materialized": False,
                "lane": "spoken",
            },
        },
        "first_seen_order": ["u1", "a1"],
        "seen_delta_ids": ["d1", "d2"],
        "assistant_completions": {
            "r0": {
                "stop_reason": "end_turn",
                "usage": {"input_tokens": 7, "output_tokens": 3},
                "usage_consumed": True,
            }
        },
        "discarded_assistant_response_ids": ["rX"],
        "user_content_tombstones": {},
        "pending_user_content_blob": None,
    }
    authority = TranscriptAuthority(state_from_json(older))
    assert authority.in_flight_response_ids == ("r1",)
    (message,) = authority.apply(done("r1")).messages
    assert message.text_content() == "hello"


def test_usage_goes_through_json_with_its_cache_counters():
    usage = Usage(input_tokens=1, output_tokens=2, cache_creation_tokens=3, cache_read_tokens=0)
    completion = TranscriptCompletionState(stop_reason=StopReason.MAX_TOKENS, usage=usage)
    whole = attrs.evolve(state({}), assistant_completions={"r": completion})
    assert state_from_json(json.loads(json.dumps(state_to_json(whole)))) == whole
    assert TranscriptAuthority(whole).state == whole


UNREADABLE = {
    "no object": ([], "state"),
    "an unknown field": ({"version": 3}, "state.version"),
    "pictures": ({"user_content_identities": {"k": {}}}, "state.user_content_identities"),
    "an item that is no object": ({"items": {"a": 1}}, "state.items.a"),
    "items in a list": ({"items": []}, "state.items"),
    "an item without a role": ({"items": {"a": {}}}, "state.items.a.role"),
    "an unknown role": ({"items": {"a": {"role": "system"}}}, "state.items.a.role"),
    "an unknown lane": (
        {"items": {"a": {"role": "user", "lane": "sung"}}},
        "state.items.a.lane",
    ),
    "an unknown field of an item": (
        {"items": {"a": {"role": "user", "mood": "good"}}},
        "state.items.a.mood",
    ),
    "a number for a flag": ({"items": {"a": {"role": "user", "ready": 1}}}, "state.items.a.ready"),
    "a number for an id": (
        {"items": {"a": {"role": "user", "response_id": 1}}},
        "state.items.a.response_id",
    ),
    "a segment that is no index": (
        {"items": {"a": {"role": "user", "content_segments": {"-1": "x"}}}},
        "state.items.a.content_segments",
    ),
    "a segment with a leading zero": (
        {"items": {"a": {"role": "user", "content_segments": {"0": "x", "00": "y"}}}},
        "state.items.a.content_segments",
    ),
    "a segment beyond all bounds": (
        {"items": {"a": {"role": "user", "content_segments": {"9" * 5000: "x"}}}},
        "state.items.a.content_segments",
    ),
    "a segment that is no text": (
        {"items": {"a": {"role": "user", "content_segments": {"0": None}}}},
        "state.items.a.content_segments.0",
    ),
    "a negative index": (
        {"items": {"a": {"role": "user", "heard_content_index": -1}}},
        "state.items.a.heard_content_index",
    ),
    "a text for a list": ({"seen_delta_ids": "d1"}, "state.seen_delta_ids"),
    "an id that is no text": ({"first_seen_order": [1]}, "state.first_seen_order"),
    "a completion without a reason": (
        {"assistant_completions": {"r": {}}},
        "state.assistant_completions.r.stop_reason",
    ),
    "an unknown stop reason": (
        {"assistant_completions": {"r": {"stop_reason": "bored"}}},
        "state.assistant_completions.r.stop_reason",
    ),
    "a boolean for a count": (
        {
            "assistant_completions": {
                "r": {"stop_reason": "end_turn", "usage": {"input_tokens": True}}
            }
        },
        "state.assistant_completions.r.usage.input_tokens",
    ),
}


@pytest.mark.parametrize(("data", "place"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_unreadable(data, place):
    with pytest.raises(TranscriptStateError) as refusal:
        state_from_json(data)
    assert (refusal.value.rule, refusal.value.subject) == ("readable", place)
