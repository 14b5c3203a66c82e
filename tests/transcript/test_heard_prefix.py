"""With `keep_heard_prefix`, the transcript says what the user heard."""

from __future__ import annotations

import pytest
from transcript.transcript_kit import Log, done, final, intr, skip, spoken, text, trunc, user

from meerkat_rt.model.conversation import StopReason


@pytest.fixture(params=[False, True], ids=["straight", "restarting"])
def log(request):
    return Log(keep_heard_prefix=True, restarting=request.param)


@pytest.mark.parametrize("end", [intr("rA"), done("rA", "cancelled", (5, 5))])
def test_by_default_the_heard_prefix_goes_with_the_spoken_lane(end):
    log = Log(restarting=True)
    log.all(spoken("rA", "d", "a", None, "hello world"), trunc("rA", "a", "hello"), end)
    assert log(user("u", "a", "stop")) == ["u"]
    assert log.history == [("U", "stop")]


def test_by_default_nothing_is_marked_truncated():
    log = Log(restarting=True)
    log.all(spoken("rA", "d", "a", None, "hello world"), trunc("rA", "a", "hello"), done("rA"))
    assert log.history == [("A", "S:hello")]
    assert not log.entries[0].truncated


@pytest.mark.parametrize("end", [intr("rA"), done("rA", "cancelled", (5, 5))])
def test_the_heard_prefix_survives_its_response(log, end):
    log.all(user("u", None, "q"), spoken("rA", "d", "a", "u", "hello world"))
    assert log.all(trunc("rA", "a", "hello"), end) == ["a"]
    assert log.history == [("U", "q"), ("A", "H:hello")]
    assert log.entries[1].truncated
    assert log.messages[1].stop_reason is StopReason.CANCELLED
    assert log.usage == (0, 0)
    assert log.in_flight == []


def test_a_heard_prefix_is_marked_also_when_its_response_completes(log):
    log.all(spoken("rA", "d", "a", None, "hello world"), trunc("rA", "a", "hello"))
    log(done("rA", tokens=(1, 2)))
    assert log.history == [("A", "H:hello")]
    assert log.messages[0].stop_reason is StopReason.END_TURN
    assert log.usage == (1, 2)


def test_spoken_text_that_was_not_truncated_is_dropped_as_ever(log):
    log.all(spoken("rA", "d1", "a", None, "heard"), spoken("rA", "d2", "b", "a", "unheard"))
    assert log.all(trunc("rA", "a", "hea"), intr("rA"), user("u", "b", "stop")) == ["u"]
    assert log.history == [("A", "H:hea"), ("U", "stop")]


def test_display_text_beside_a_heard_prefix_keeps_its_fate(log):
    log.all(spoken("rA", "d1", "s", None, "said"), text("rA", "d2", "t", "s", "shown"))
    assert log.all(trunc("rA", "s", "sa"), intr("rA")) == ["s", "t"]
    assert log.history == [("A", "H:sa", "T:shown")]

    log = Log(keep_heard_prefix=True)
    log.all(spoken("rA", "d1", "s", None, "said"), text("rA", "d2", "t", "s", "shown"))
    assert log.all(trunc("rA", "s", "sa"), done("rA", "cancelled")) == ["s"]


def test_nothing_lengthens_or_replaces_what_was_heard(log):
    log.all(spoken("rA", "d1", "a", "u", "hello world"), trunc("rA", "a", "hello"))
    for late in (
        spoken("rA", "d2", "a", "u", " again"),
        text("rA", "d3", "a", "u", " written"),
        final("rA", "a", "hello world"),
        trunc("rA", "a", "hello wor"),
        trunc("rA", "a", "HELLO"),
        trunc("rA", "a", "more", index=1),
        spoken("rA", "d4", "a", "u", "next segment", index=1),
    ):
        log(late)
        assert log.rules == ["heard_prefix"]
    log.all(done("rA"), user("u", None, "q"))
    assert log.history == [("U", "q"), ("A", "H:hello")]


def test_a_second_truncation_shortens(log):
    log.all(spoken("rA", "d", "a", None, "hello world"), trunc("rA", "a", "hello"))
    log.all(trunc("rA", "a", "he"), intr("rA"))
    assert log.history == [("A", "H:he")]


def test_a_second_truncation_shortens_also_after_the_interruption(log):
    log.all(spoken("rA", "d", "a", "u", "hello world"), trunc("rA", "a", "hello"), intr("rA"))
    assert log.all(trunc("rA", "a", "he"), user("u", None, "q")) == ["u", "a"]
    assert log.history == [("U", "q"), ("A", "H:he")]


def test_a_heard_prefix_that_shrinks_to_nothing_after_the_interruption_is_only_a_place(log):
    log.all(spoken("rA", "d", "a", "u", "hello"), trunc("rA", "a", "he"), intr("rA"))
    log.all(trunc("rA", "a", ""), user("v", "a", "next"))
    assert log(user("u", None, "q")) == ["u", "v"]
    assert log.history == [("U", "q"), ("U", "next")]


def test_when_nothing_was_heard_the_interruption_drops_the_item(log):
    log.all(spoken("rA", "d", "a", None, "hello"), trunc("rA", "a", ""))
    assert log.blocked == [("a", "text")]
    assert log.all(intr("rA"), user("u", "a", "stop")) == ["u"]


def test_when_nothing_was_heard_a_skip_releases_what_follows(log):
    log.all(spoken("rA", "d", "a", None, "hello"), trunc("rA", "a", ""), done("rA"))
    assert log.all(user("u", "a", "next"), skip("a")) == ["u"]


def test_what_comes_after_the_place_of_a_truncation_was_not_heard(log):
    log.all(spoken("rA", "d1", "a", None, "one "), spoken("rA", "d2", "a", None, "two", index=1))
    log.all(spoken("rA", "d3", "a", None, "three", index=2), trunc("rA", "a", "tw", index=1))
    assert log.authority.state.items["a"].content_segments == {0: "one ", 1: "tw"}
    log.all(trunc("rA", "a", "one ", index=0), trunc("rA", "a", "on", index=0), intr("rA"))
    assert log.history == [("A", "H:on")]


def test_a_truncation_at_an_earlier_segment_cannot_add_text(log):
    log.all(spoken("rA", "d", "a", None, "two", index=1), trunc("rA", "a", "tw", index=1))
    log(trunc("rA", "a", "one", index=0))
    assert log.rules == ["heard_prefix"]
    log(trunc("rA", "a", "", index=-1))
    assert log.rules == ["invalid_content_index"]
    log(intr("rA"))
    assert log.history == [("A", "H:tw")]


def test_a_truncation_in_the_name_of_another_response_is_refused(log):
    log.all(trunc("rA", "a", "hello"), trunc("rB", "a", "he"))
    assert log.rules == ["response_conflict"]
    log.all(intr("rC"), trunc("rC", "a", "he"))
    assert log.rules == ["discarded_response", "response_conflict"]
    log(trunc(" ", "a", "he"))
    assert log.rules == ["blank_response_id"]
    log(done("rA"))
    assert log.history == [("A", "H:hello")]


def test_a_truncation_that_comes_after_the_interruption_is_too_late(log):
    log.all(spoken("rA", "d", "a", None, "hello world"), intr("rA"), trunc("rA", "a", "hello"))
    assert log.history == []


def test_a_truncation_of_display_text_is_refused(log):
    log.all(text("rA", "d", "a", None, "shown"), trunc("rA", "a", "sh"))
    assert log.rules == ["lane_conflict"]
    log(intr("rA"))
    assert log.history == [("A", "T:shown")]


def test_a_heard_prefix_keeps_the_completion_that_came_before_the_interruption(log):
    log.all(spoken("rA", "d", "a", "u", "hello"), trunc("rA", "a", "he"))
    log.all(done("rA", "max_tokens", (7, 8)), intr("rA"), user("u", None, "q"))
    assert log.history == [("U", "q"), ("A", "H:he")]
    assert log.messages[1].stop_reason is StopReason.MAX_TOKENS
    assert log.usage == (7, 8)
