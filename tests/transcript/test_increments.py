"""The parts of a state, written one after the other, make the whole state."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from storage.storage_kit import conversation_log, garbage_logs
from transcript.transcript_kit import done, obs, skip, text, user

from meerkat_rt.transcript import TranscriptAuthority, TranscriptStateError
from meerkat_rt.transcript.increments import (
    SettledText,
    StateTracker,
    assemble,
    compare_settled_text,
    item_from_json,
    item_to_json,
    response_from_json,
    response_to_json,
)


class Written:
    """What a careful writer has, going through JSON."""

    def __init__(self, authority, tracker=None):
        self.authority = authority
        self.tracker = tracker or StateTracker(authority)
        self.settled, self.responses, self.unsettled = [], {}, None
        self.sizes = []

    def apply(self, event):
        response_id = getattr(event, "response_id", None)
        if response_id:
            self.tracker.touch(response_id)
        self.authority.apply(event)

    def write(self):
        increment = self.tracker.increment()
        self.sizes.append(len(increment.settled) + len(increment.responses))
        self.settled += [through_json(item) for item in increment.settled]
        for response_id, response in increment.responses.items():
            if response is None:
                self.responses.pop(response_id, None)
            else:
                data = json.loads(json.dumps(response_to_json(response_id, response)))
                read_id, self.responses[response_id] = response_from_json(data)
                assert read_id == response_id
        self.unsettled = increment.unsettled
        self.tracker.written()
        assert len(self.settled) == increment.settled_total
        assert len(self.responses) == increment.responses_total

    def state(self):
        return assemble(self.settled, self.responses, self.unsettled)


def through_json(item):
    read = item_from_json(json.loads(json.dumps(item_to_json(item))))
    assert read == item
    return read


def test_item_json_that_is_no_item_is_refused():
    with pytest.raises(TranscriptStateError, match="cannot be read"):
        item_from_json([])
    with pytest.raises(TranscriptStateError, match="cannot be read"):
        item_from_json({"item_id": "i", "seen": "1", "role": "user"})
    with pytest.raises(TranscriptStateError, match="role"):
        item_from_json({"item_id": "i", "seen": 1, "role": "narrator"})


def test_response_json_that_is_no_response_is_refused():
    with pytest.raises(TranscriptStateError, match="cannot be read"):
        response_from_json(None)
    with pytest.raises(TranscriptStateError, match="cannot be read"):
        response_from_json({"response_id": "r", "discarded": 1})
    with pytest.raises(TranscriptStateError, match="stop_reason"):
        response_from_json({"response_id": "r", "completion": {"stop_reason": "bored"}})


def test_two_items_cannot_have_arrived_at_the_same_time():
    written = Written(TranscriptAuthority())
    written.apply(user("u", None, "hi"))
    written.write()
    with pytest.raises(TranscriptStateError, match="arrived at the same time as 'u'"):
        assemble(written.settled * 2, {}, written.unsettled)


@settings(max_examples=150, deadline=None)
@given(garbage_logs, st.booleans(), st.data())
def test_increments_make_the_whole_state(log, keep_heard_prefix, data):
    written = Written(TranscriptAuthority(keep_heard_prefix=keep_heard_prefix))
    written.write()
    for event in log:
        written.apply(event)
        if data.draw(st.booleans()):
            written.write()
            assert written.state() == written.authority.state
            TranscriptAuthority(written.state())
    written.write()
    assert written.state() == written.authority.state


@settings(max_examples=50, deadline=None)
@given(garbage_logs, garbage_logs)
def test_increments_of_a_restored_authority(before, after):
    first = TranscriptAuthority()
    for event in before:
        first.apply(event)
    restored = TranscriptAuthority(first.state)
    written = Written(restored, StateTracker.of_nothing(restored))
    written.write()
    assert written.state() == first.state
    for event in after:
        written.apply(event)
    written.write()
    assert written.state() == restored.state


def test_an_increment_is_as_large_as_what_happened_and_not_as_the_conversation():
    written = Written(TranscriptAuthority())
    for turn in range(500):
        before = f"a{turn - 1}" if turn else None
        written.apply(user(f"u{turn}", before, "question"))
        written.apply(text(f"r{turn}", f"d{turn}", f"a{turn}", f"u{turn}", "answer"))
        written.apply(done(f"r{turn}"))
        written.write()
    assert set(written.sizes) == {3}
    assert written.state() == written.authority.state


def test_a_response_that_changes_without_being_named():
    # The skip takes the item, which still waits for its turn, out of a response that has ended.
    written = Written(TranscriptAuthority())
    for event in (obs("a", "unknown", "assistant", "r"), done("r"), skip("a")):
        written.apply(event)
        written.write()
        assert written.state() == written.authority.state
    assert list(written.responses) == ["r"]


def test_well_formed_log_in_many_increments():
    written = Written(TranscriptAuthority(keep_heard_prefix=True))
    for number, event in enumerate(conversation_log(40, seed=3)):
        written.apply(event)
        if number % 7 == 0:
            written.write()
    written.write()
    assert written.state() == written.authority.state


def test_settled_text_is_compared_by_item():
    authority = TranscriptAuthority()
    authority.apply(user("u", None, "hi"))
    authority.apply(skip("c", "u"))
    assert compare_settled_text(authority, " u ", "hi") is SettledText.SAME
    assert compare_settled_text(authority, "u", "ho") is SettledText.OTHER
    assert compare_settled_text(authority, "c", "anything") is SettledText.OTHER
    assert compare_settled_text(authority, "v", "hi") is SettledText.UNSETTLED
