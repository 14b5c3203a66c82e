"""What the authority does with one event after another: refusals first, then what it keeps."""

from __future__ import annotations

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

from meerkat_rt.model.conversation import StopReason, Usage
from meerkat_rt.transcript import (
    MaterializedAssistant,
    MaterializedUser,
    RealtimeTranscriptApplyOutcome,
    TranscriptAuthority,
    TranscriptLane,
)


@pytest.fixture(params=[False, True], ids=["straight", "restarting"])
def log(request):
    return Log(restarting=request.param)


# ---------------------------------------------------------------- what is refused, and why


def test_what_is_no_event_is_a_type_error(log):
    with pytest.raises(TypeError, match="not a transcript event"):
        log.authority.apply("assistant_turn_interrupted")


@pytest.mark.parametrize(
    "event",
    [
        obs(" "),
        skip(""),
        user("\t", None, "x"),
        text("rA", "d1", " ", None, "x"),
        final("rA", "", "x"),
    ],
    ids=["observed", "skipped", "user", "delta", "final"],
)
def test_an_event_that_names_no_item_does_nothing(log, event):
    assert log(event) == []
    assert log.rules == ["blank_item_id"]
    assert log.authority.state.items == {}


@pytest.mark.parametrize(
    "event",
    [
        text(" ", "d1", "i", None, "x"),
        final("", "i", "x"),
        trunc(" ", "i", "x"),
        done(""),
        intr(""),
    ],
    ids=["delta", "final", "truncated", "completed", "interrupted"],
)
def test_an_event_that_names_no_response_does_nothing(log, event):
    assert log(event) == []
    assert log.rules == ["blank_response_id"]
    assert log.authority.state == TranscriptAuthority().state


def test_a_blank_predecessor_or_response_of_an_observation_is_none(log):
    log(obs("i", "  ", response=" "))
    item = log.authority.state.items["i"]
    assert (item.previous_item_id, item.response_id) == (None, None)


def test_ids_are_compared_without_surrounding_white_space(log):
    log.all(text(" rA ", "d1", " i", " u ", "one "), text("rA", "d2", "i ", "u", "two"))
    log.all(user("u ", None, "q"), done("rA\n"))
    assert log.history == [("U", "q"), ("A", "T:one two")]


def test_delta_ids_are_compared_as_they_are(log):
    log.all(text("rA", "d", "i", None, "a"), text("rA", "d ", "i", None, "b"), done("rA"))
    assert log.history == [("A", "T:ab")]


@pytest.mark.parametrize("delta_id", ["", "  "])
def test_a_blank_delta_id_says_nothing_about_repetition(log, delta_id):
    log.all(*[text("rA", delta_id, "i", None, "ab")] * 3, done("rA"))
    assert log.history == [("A", "T:ababab")]


def test_a_delta_id_is_unique_across_items_while_its_item_is_unsettled(log):
    log(text("rA", "d", "i", None, "one"))
    assert log(text("rA", "d", "j", "i", "two")) == []
    assert log.rules == ["duplicate_delta"]
    log(done("rA"))
    assert log(text("rA", "d", "k", "i", "three")) == ["k"]


def test_a_refused_delta_still_counts_as_seen(log):
    log.all(spoken("rA", "d1", "i", None, "said"), text("rA", "d2", "i", None, "written"))
    assert log.rules == ["lane_conflict"]
    log(spoken("rA", "d2", "i", None, " more"))
    assert log.rules == ["duplicate_delta"]


def test_an_item_of_another_role_refuses_content(log):
    log(user("u", "x", "question"))
    log(text("rA", "d", "u", None, "oops"))
    assert log.rules == ["role_conflict"]
    log(obs("u", role="assistant"))
    assert log.rules == ["role_conflict"]
    log.all(text("rA", "d2", "a", "x", "answer"), user("a", None, "oops"))
    assert log.rules == ["role_conflict"]


def test_an_item_of_another_response_refuses_content(log):
    log(text("rA", "d1", "i", None, "fromA"))
    log(text("rB", "d2", "i", None, "fromB"))
    assert log.rules == ["response_conflict"]
    log(final("rB", "i", "fromB"))
    assert log.rules == ["response_conflict"]
    assert log(done("rB")) == []
    assert log(done("rA")) == ["i"]
    assert log.history == [("A", "T:fromA")]


def test_an_item_of_a_live_response_is_not_lost_to_a_discarded_one(log):
    log.all(obs("i", None, response="rB"), intr("rA"))
    assert log(text("rA", "d1", "i", None, "stray")) == []
    assert log.rules == ["discarded_response", "response_conflict"]
    assert log.all(text("rB", "d2", "i", None, "kept"), done("rB")) == ["i"]


def test_an_item_of_the_user_is_not_lost_to_a_discarded_response(log):
    log.all(obs("u", None, role="user"), intr("rA"), text("rA", "d1", "u", None, "stray"))
    assert log.rules == ["discarded_response", "role_conflict"]
    assert log(user("u", None, "question")) == ["u"]


@pytest.mark.parametrize("late", [user("i", None, "x"), text("rA", "d", "i", None, "x"), skip("i")])
def test_a_skipped_item_takes_no_content(log, late):
    log.all(skip("i", "root"), late)
    assert log.rules == ["item_skipped"]
    assert log(user("root", None, "root")) == ["root"]


@pytest.mark.parametrize(
    ("content", "after", "history"),
    [
        (user("i", "u", "said"), None, ("U", "said")),
        (text("rA", "d", "i", "u", "said"), done("rA"), ("A", "T:said")),
    ],
)
def test_a_skip_does_not_take_text_away(log, content, after, history):
    log.all(content, skip("i", "u"))
    assert log.rules == ["skip_of_item_with_text"]
    log.all(*filter(None, [after]), user("u", None, "q"))
    assert log.history == [("U", "q"), history]


def test_a_skip_releases_a_users_item_without_text(log):
    log.all(user("u", None, ""), user("v", "u", "second"))
    assert log.rules == []
    assert log(skip("u")) == ["v"]
    assert log.history == [("U", "second")]


def test_the_first_predecessor_wins(log):
    log.all(user("v", "u", "second"), user("v", "x", "second"))
    assert log.rules == ["predecessor_conflict", "duplicate_text"]
    assert log(user("u", None, "first")) == ["u", "v"]


def test_a_delta_may_bring_the_predecessor_late_but_not_another_one(log):
    log.all(text("r", "1", "a", None, "one "), text("r", "2", "a", "u", "two"))
    assert log.rules == []
    log(text("r", "3", "a", "x", " three"))
    assert log.rules == ["predecessor_conflict"]
    assert log(done("r")) == []
    assert log(user("u", None, "q")) == ["u", "a"]
    assert log.history == [("U", "q"), ("A", "T:one two three")]


def test_an_item_cannot_follow_itself(log):
    assert log(user("u", "u", "x")) == []
    assert log.rules == ["predecessor_cycle"]
    assert log.authority.state.items == {}


def test_a_link_that_closes_a_cycle_is_refused_and_the_rest_of_the_event_is_not(log):
    log.all(user("a", "b", "A"), obs("b", None, role="user"))
    assert log(user("b", "a", "B")) == ["b", "a"]
    assert log.rules == ["predecessor_cycle"]


def test_an_event_that_would_create_an_item_in_a_cycle_is_ignored(log):
    log.all(user("a", "b", "A"), user("b", "c", "B"))
    assert log(user("c", "a", "C")) == []
    assert log.rules == ["predecessor_cycle"]
    assert log(user("c", None, "C")) == ["c", "b", "a"]


def test_a_settled_item_refuses_links_responses_and_text(log):
    log(user("u", None, "hello"))
    before = log.authority.state
    for event in (
        obs("u", "later", role="user"),
        user("u", "later", "hello"),
        user("u", None, "", 0),
        skip("u", "later"),
        text("rA", "d", "u", "later", "x"),
        trunc("rA", "u", "x"),
    ):
        assert log(event) == []
        assert log.rules == ["item_settled"]
    assert log.authority.state == before


def test_other_text_for_a_settled_item_is_a_conflict_and_the_same_is_not(log):
    log(user("u", None, "hello"))
    log(user("u", None, "goodbye"))
    assert log.rules == ["text_conflict"]
    log.all(spoken("rA", "d", "a", "u", "spoken"), done("rA"), final("rA", "a", "spoken better"))
    assert log.rules == ["text_conflict"]
    log(final("rA", "a", "spoken"))
    assert log.rules == ["item_settled"]
    assert log.history == [("U", "hello"), ("A", "S:spoken")]


def test_a_segment_of_a_settled_text_is_no_conflict(log):
    log.all(user("u", "x", "one ", 0), user("u", "x", "two", 1), user("x", None, "root"))
    log(user("u", "x", "one ", 0))
    assert log.rules == ["item_settled"]


def test_a_late_segment_of_a_settled_item_is_not_shown(log):
    log.all(user("u", None, "first"), user("u", None, "second", 1))
    assert log.rules == ["item_settled"]
    assert log.history == [("U", "first")]


@pytest.mark.parametrize(
    "event",
    [user("i", "u", "x", -1), text("rA", "d", "i", "u", "x", -1), final("rA", "i", "x", -1)],
)
def test_there_is_no_segment_below_zero(log, event):
    log(event)
    assert log.rules == ["invalid_content_index"]
    assert log.authority.state.items["i"].content_segments == {}


def test_the_first_final_text_of_a_users_segment_wins(log):
    log.all(user("u", "x", "one"), user("u", "x", "two"))
    assert log.rules == ["text_conflict"]
    log(user("u", "x", ""))
    assert log.rules == ["empty_text"]
    assert log(user("x", None, "root")) == ["x", "u"]
    assert log.history == [("U", "root"), ("U", "one")]


def test_white_space_is_text(log):
    assert log(user("u", None, " ")) == ["u"]


# ---------------------------------------------------------------- once, and in order


def test_each_event_counts_once():
    log = Log(restarting=True)
    events = [
        user("u", None, "hello"),
        text("rA", "d1", "a", "u", "hi"),
        done("rA"),
    ]
    assert [log(event) for event in events for _ in range(2)] == [["u"], [], [], [], ["a"], []]
    assert log.history == [("U", "hello"), ("A", "T:hi")]


def test_an_answer_that_overtakes_its_question_waits_for_it(log):
    assert log.all(text("rA", "d1", "a", "u", "answer"), done("rA")) == []
    assert log(user("u", None, "question")) == ["u", "a"]
    assert log.history == [("U", "question"), ("A", "T:answer")]


def test_a_full_replay_changes_nothing(log):
    events = [user("u", None, "hello"), text("rA", "d1", "a", "u", "world"), done("rA")]
    log.all(*events)
    before = list(log.messages)
    assert [log(event) for event in events] == [[], [], []]
    assert log.messages == before


def test_empty_text_cannot_erase_a_settled_item(log):
    said = user("u", None, "remember amber lantern")
    assert [log(event) for event in (said, user("u", None, ""), said)] == [["u"], [], []]
    assert log.history == [("U", "remember amber lantern")]


def test_an_empty_final_can_still_be_filled(log):
    assert log(user("u", None, "")) == []
    assert log.rules == ["empty_text"]
    assert log.messages == []
    assert log(user("u", None, "remember amber lantern")) == ["u"]


def test_a_skipped_anchor_links_what_follows_it(log):
    delta, end, anchor = text("rA", "d1", "a", "tool", "done"), done("rA"), skip("tool", "u")
    assert [log(delta), log(end), log(anchor)] == [[], [], []]
    assert log.messages == []
    assert log(user("u", None, "please use the tool")) == ["u", "a"]
    assert log.history == [("U", "please use the tool"), ("A", "T:done")]
    assert [log(event) for event in (anchor, delta, end)] == [[], [], []]


def test_an_observed_item_without_text_holds_back_what_follows(log):
    log.all(obs("u", role="user"), user("v", "u", "second"))
    assert log.blocked == [("u", "text"), ("v", "predecessor")]
    assert log(user("u", None, "first")) == ["u", "v"]
    assert log.blocked == []


def test_segments_are_joined_in_ascending_order_without_separator(log):
    log.all(user("u", "x", "world", 3), user("u", "x", "hello ", 1), user("x", None, "root"))
    assert log.history == [("U", "root"), ("U", "hello world")]


# ---------------------------------------------------------------- completion


def test_completion_concerns_its_own_response_only(log):
    log.all(user("u", None, "q"), text("rA", "d1", "a", "u", "answer a"))
    assert log(done("rB")) == []
    assert len(log.messages) == 1
    assert log(done("rA")) == ["a"]


def test_a_completion_may_come_first_and_does_not_leak_to_other_responses(log):
    log.all(user("u", None, "q"), done("rA"))
    assert log(text("rB", "d1", "b", "u", "wrong response")) == []
    assert log(text("rA", "d2", "a", "u", "right response")) == ["a"]


def test_a_late_duplicate_completion_does_not_complete_another_response(log):
    log.all(user("u", None, "q"), text("rA", "d1", "a", "u", "first"), done("rA"))
    assert len(log.messages) == 2
    assert log(text("rB", "d2", "b", "a", "second")) == []
    assert log(done("rA")) == []
    assert log.rules == ["completion_repeated"]
    assert log(done("rB")) == ["b"]
    assert len(log.messages) == 3


def test_a_completion_that_overtakes_the_deltas_commits_the_first_alone(log):
    log(done("rA", tokens=(3, 4)))
    assert log(text("rA", "d1", "a", None, "he")) == ["a"]
    assert log(text("rA", "d2", "a", None, "llo")) == []
    assert log.rules == ["item_settled"]
    assert (log.history, log.usage) == ([("A", "T:he")], (3, 4))


def test_the_first_completion_counts(log):
    log.all(text("rA", "d1", "a", "u", "x"), done("rA", tokens=(1, 2)))
    log(done("rA", "max_tokens", (100, 200)))
    log(user("u", None, "q"))
    assert log.messages[1].stop_reason is StopReason.END_TURN
    assert log.usage == (1, 2)


def test_tool_use_leaves_the_response_open(log):
    log.all(user("u", None, "cedar seven"), text("rA", "d1", "a", "u", "asking "))
    assert log.all(done("rA", "tool_use", (5, 5)), text("rA", "d2", "a", "u", "done")) == []
    assert log.in_flight == ["rA"]
    assert log(done("rA")) == ["a"]
    assert log.history == [("U", "cedar seven"), ("A", "T:asking done")]
    assert log.usage == (0, 0)


def test_tool_use_withdraws_a_completion_under_which_nothing_was_emitted(log):
    log.all(text("rA", "d1", "a", "u", "x"), done("rA", tokens=(1, 1)))
    assert log.authority.state.items["a"].ready
    log(done("rA", "tool_use"))
    assert not log.authority.state.items["a"].ready
    assert log(user("u", None, "q")) == ["u"]
    assert log(done("rA", tokens=(2, 2))) == ["a"]
    assert log.usage == (2, 2)


def test_tool_use_withdraws_a_completion_that_came_before_everything(log):
    log.all(done("rA", tokens=(1, 1)), done("rA", "tool_use"))
    assert log(text("rA", "d1", "a", None, "late")) == []
    assert log.in_flight == ["rA"]


def test_tool_use_does_not_withdraw_a_completion_under_which_something_was_emitted(log):
    log.all(text("rA", "d1", "a", None, "x"), done("rA", tokens=(1, 1)), done("rA", "tool_use"))
    assert log.rules == ["completion_repeated"]
    assert log.all(done("rA", tokens=(2, 2)), text("rA", "d2", "b", "a", "y")) == ["b"]
    assert log.usage == (1, 1)


def test_late_items_of_a_completed_response_form_a_second_message(log):
    log.all(text("rA", "d1", "a", None, "x"), done("rA", "max_tokens", (1, 1)))
    assert log(text("rA", "d2", "b", "a", "y")) == ["b"]
    assert log.history == [("A", "T:x"), ("A", "T:y")]
    assert [message.stop_reason for message in log.messages] == [StopReason.MAX_TOKENS] * 2
    assert [message.usage for message in log.messages] == [
        Usage(input_tokens=1, output_tokens=1),
        None,
    ]


def test_usage_is_counted_at_the_first_emission_even_if_another_message_comes_between(log):
    log.all(obs("h", role="user"), text("rA", "d1", "a1", "h", "one"), user("u", "h", "mid"))
    log.all(text("rA", "d2", "a2", "h", "two"), done("rA", tokens=(10, 20)))
    assert log(user("h", None, "head")) == ["h", "a1", "u", "a2"]
    assert log.history == [("U", "head"), ("A", "T:one"), ("U", "mid"), ("A", "T:two")]
    assert log.usage == (10, 20)


def test_cancelled_drops_both_lanes_and_releases_what_follows(log):
    log.all(text("rA", "d1", "a", None, "shown"), spoken("rA", "d2", "b", "a", "said"))
    assert log(done("rA", "cancelled", (5, 5))) == []
    assert log(user("u", "b", "next")) == ["u"]
    assert (log.history, log.usage) == ([("U", "next")], (0, 0))


def test_cancelled_after_an_emission_keeps_the_completion_and_drops_what_waits(log):
    log.all(text("rA", "d1", "a", None, "one"), done("rA", tokens=(1, 1)))
    log.all(text("rA", "d2", "b", "u", "two"), done("rA", "cancelled"))
    assert log.authority.state.assistant_completions["rA"].usage_consumed
    assert log(user("u", "a", "q")) == ["u"]
    assert log.history == [("A", "T:one"), ("U", "q")]
    assert log.in_flight == []


# ---------------------------------------------------------------- lanes


def test_spoken_text_becomes_a_transcript_block(log):
    log(spoken("r", "d", "i", None, "I said hi"))
    assert log(done("r")) == ["i"]
    assert log.history == [("A", "S:I said hi")]
    assert log.messages[0].blocks[0].source == "spoken"
    assert log.entries[0].lane is TranscriptLane.SPOKEN


def test_display_text_becomes_a_text_block(log):
    log.all(text("r", "d", "i", None, "I wrote"), done("r"))
    assert log.history == [("A", "T:I wrote")]
    assert log.entries[0].lane is TranscriptLane.DISPLAY


def test_a_final_text_replaces_the_deltas(log):
    log(spoken("rA", "d", "i", None, "incom"))
    assert log(final("rA", "i", "complete answer")) == []
    log(done("rA"))
    assert log.history == [("A", "S:complete answer")]


def test_a_final_text_alone_is_enough(log):
    assert log(final("rA", "i", "spoken-final-only")) == []
    assert log(done("rA")) == ["i"]
    assert log.history == [("A", "S:spoken-final-only")]


def test_a_final_text_is_no_lock(log):
    log.all(final("rA", "i", "hello"), spoken("rA", "d", "i", None, "lo"), done("rA"))
    assert log.history == [("A", "S:hellolo")]


def test_deltas_go_on_after_a_final_text_replaced_what_was_there(log):
    log.all(spoken("rA", "d1", "i", None, "hel"), spoken("rA", "d2", "i", None, "o"))
    log.all(final("rA", "i", "hello"), spoken("rA", "d3", "i", None, " you"))
    log.all(spoken("rA", "d4", "i", None, " all"), done("rA"))
    assert log.history == [("A", "S:hello you all")]


def test_of_truncation_and_final_text_the_last_one_stands(log):
    log.all(spoken("rA", "d", "i", None, "hello world"), trunc("rA", "i", "hello"))
    log.all(final("rA", "i", "hello world"), done("rA"))
    assert log.history == [("A", "S:hello world")]


def test_an_empty_final_text_erases_and_the_item_waits_for_text_again(log):
    log.all(spoken("rA", "d", "i", None, "hello"), trunc("rA", "i", ""))
    assert log(done("rA")) == []
    assert log.blocked == [("i", "text")]
    assert log(spoken("rA", "d2", "i", None, "again")) == ["i"]


def test_truncation_may_come_first(log):
    log.all(trunc("rA", "i", "what was actually heard"), done("rA"))
    assert log.history == [("A", "S:what was actually heard")]


def test_truncation_of_display_text_is_refused(log):
    log.all(text("rA", "d", "i", None, "display-text-from-delta"), trunc("rA", "i", "spoken"))
    assert log.rules == ["lane_conflict"]
    log(done("rA"))
    assert log.history == [("A", "T:display-text-from-delta")]


def test_display_text_on_a_spoken_item_is_refused(log):
    log.all(trunc("rA", "i", "what was actually heard"), text("rA", "d", "i", None, "no"))
    assert log.rules == ["lane_conflict"]
    log(done("rA"))
    assert log.history == [("A", "S:what was actually heard")]


def test_spoken_text_on_a_display_item_is_refused(log):
    log.all(text("rA", "d1", "i", None, "display-locked-text"))
    log(spoken("rA", "d2", "i", None, "should-not-appear"))
    assert log.rules == ["lane_conflict"]
    log(done("rA"))
    assert log.history == [("A", "T:display-locked-text")]


def test_an_empty_delta_does_not_fix_the_lane(log):
    log.all(text("rA", "d1", "i", None, ""), spoken("rA", "d2", "i", None, "hey"), done("rA"))
    assert log.history == [("A", "S:hey")]


def test_a_final_text_after_the_commit_changes_nothing(log):
    log.all(spoken("rA", "d", "i", None, "delta-accumulated"))
    assert log(done("rA")) == ["i"]
    assert log(final("rA", "i", "authoritative")) == []
    assert log.history == [("A", "S:delta-accumulated")]


def test_the_lanes_of_a_response_share_one_message_and_its_usage(log):
    log(text("r", "d1", "d", None, "Here's the report:"))
    log(spoken("r", "s1", "s", "d", "I'm reading the report aloud:"))
    log.all(text("r", "d2", "d", None, " (still writing)"), spoken("r", "s2", "s", "d", " two."))
    assert log(done("r", tokens=(11, 22))) == ["d", "s"]
    assert log.history == [
        ("A", "T:Here's the report: (still writing)", "S:I'm reading the report aloud: two.")
    ]
    assert log.usage == (11, 22)
    assert [entry.usage for entry in log.entries] == [
        Usage(input_tokens=11, output_tokens=22),
        Usage(),
    ]


# ---------------------------------------------------------------- interruption


def test_an_interruption_commits_display_text_and_releases_the_user(log):
    log.all(user("rep", None, "repeat until stop"), text("rL", "d1", "loop", "rep", "Looping now"))
    assert log(user("stop", "loop", "Stop.")) == []
    assert log(intr("rL")) == ["loop", "stop"]
    assert log.history == [("U", "repeat until stop"), ("A", "T:Looping now"), ("U", "Stop.")]
    assert log.messages[1].stop_reason is StopReason.CANCELLED


def test_what_comes_after_an_interruption_stays_out(log):
    log.all(user("rep", None, "repeat"), obs("loop", "rep"))
    assert log(intr("rL")) == []
    assert log(user("stop", "loop", "Stop.")) == []
    assert log(text("rL", "late", "loop", "rep", "Looping now")) == ["stop"]
    assert log.rules == ["discarded_response"]
    assert log(done("rL")) == []
    assert log.history == [("U", "repeat"), ("U", "Stop.")]


def test_an_interruption_concerns_its_own_response_only(log):
    log.all(user("u", None, "q"), text("rA", "d1", "a", "u", "interrupted display"))
    log(text("rB", "d2", "b", "u", "keep me"))
    assert log(intr("rA")) == ["a"]
    assert log(done("rB")) == ["b"]
    assert log.history == [("U", "q"), ("A", "T:interrupted display"), ("A", "T:keep me")]


def test_an_interruption_keeps_the_display_lane_of_a_chained_pair(log):
    log(text("r", "d1", "d", None, "Working on the report..."))
    log(spoken("r", "s1", "s", "d", "I'm reading the report"))
    assert log(intr("r")) == ["d"]
    assert log(done("r", "cancelled", (9, 9))) == []
    assert log.history == [("A", "T:Working on the report...")]
    assert (log.in_flight, log.usage) == ([], (0, 0))


def test_an_interruption_keeps_the_display_lane_of_two_roots(log):
    log.all(text("r", "d1", "d", None, "Working"), spoken("r", "s1", "s", None, "Reading"))
    log.all(intr("r"), done("r", "cancelled"))
    assert log.history == [("A", "T:Working")]


def test_an_interruption_commits_display_text_at_once(log):
    log(text("rA", "d", "i", None, "committed-display-text"))
    assert log.messages == []
    assert log(intr("rA")) == ["i"]
    assert log.history == [("A", "T:committed-display-text")]


def test_an_interruption_may_come_before_any_item(log):
    log(intr("rA"))
    assert log(spoken("rA", "d", "a", None, "late")) == []
    assert log(user("u", "a", "next")) == ["u"]
    assert log.history == [("U", "next")]


def test_a_second_interruption_does_nothing(log):
    log.all(text("rA", "d1", "a", "u", "shown"), intr("rA"))
    before = log.authority.state
    log(intr("rA"))
    assert log.rules == ["discarded_response"]
    assert log.authority.state == before


def test_a_delta_that_was_seen_before_the_interruption_is_a_plain_repetition(log):
    log.all(spoken("rA", "d1", "a", "u", "said"), intr("rA"), spoken("rA", "d1", "a", "u", "said"))
    assert log.rules == ["duplicate_delta"]


@pytest.mark.parametrize(
    "late",
    [
        text("rA", "d2", "a", "u", " more"),
        obs("a", "u", response="rA"),
        final("rA", "a", "other"),
        trunc("rA", "a", ""),
        done("rA", "cancelled"),
        done("rA", tokens=(9, 9)),
    ],
    ids=["delta", "observed", "final", "truncated", "cancelled", "completed"],
)
def test_kept_display_text_that_still_waits_survives_what_comes_late(log, late):
    log.all(text("rA", "d1", "a", "u", "shown"), intr("rA"), late)
    assert "discarded_response" in log.rules
    assert log(user("u", None, "q")) == ["u", "a"]
    assert log.history == [("U", "q"), ("A", "T:shown")]
    assert log.usage == (0, 0)


def test_an_interruption_drops_spoken_text_that_is_complete_but_waits(log):
    log.all(spoken("rA", "d", "a", "u", "fully said"), done("rA", tokens=(7, 8)), intr("rA"))
    assert log(user("u", None, "q")) == ["u"]
    assert log.usage == (0, 0)


def test_an_interruption_keeps_the_completion_of_display_text_that_waits(log):
    log.all(text("rA", "d", "a", "u", "fully shown"), done("rA", tokens=(7, 8)), intr("rA"))
    assert log(user("u", None, "q")) == ["u", "a"]
    assert log.messages[1].stop_reason is StopReason.END_TURN
    assert log.usage == (7, 8)


# ---------------------------------------------------------------- queries and outcomes


def test_in_flight_lists_each_live_response_once_in_order_of_its_first_item(log):
    log.all(spoken("rA", "d1", "a1", None, "x"), spoken("rA", "d2", "a2", None, "x"))
    log.all(spoken("rB", "d3", "b", None, "x"), spoken("rC", "d4", "c", None, "x"))
    log.all(intr("rC"), obs("u", role="user", response="rU"))
    assert log.in_flight == ["rA", "rB"]


def test_in_flight_goes_by_the_arrival_of_items_not_of_response_ids(log):
    log.all(obs("early"), spoken("rB", "d1", "late", None, "x"), obs("early", response="rA"))
    assert log.in_flight == ["rA", "rB"]


def test_in_flight_is_empty_after_the_commit(log):
    log(spoken("r", "d", "i", None, "x"))
    assert log.in_flight == ["r"]
    assert log(done("r")) == ["i"]
    assert log.in_flight == []
    assert log.history == [("A", "S:x")]


def test_a_skipped_item_that_waits_is_not_in_flight(log):
    log.all(obs("a", "gone", response="rA"), obs("b", "gone", response="rB"), skip("a"))
    assert log.in_flight == ["rB"]
    assert log.blocked == [("a", "predecessor"), ("b", "predecessor")]


def test_blocked_says_what_each_item_waits_for_first(log):
    log.all(obs("a"), obs("b", response="rB"), text("rC", "d", "c", None, "x"), skip("s", "gone"))
    assert log.blocked == [
        ("a", "response"),
        ("b", "text"),
        ("c", "completion"),
        ("s", "predecessor"),
    ]
    waiting = log.authority.blocked[3]
    assert (waiting.previous_item_id, waiting.response_id) == ("gone", None)
    assert log.authority.blocked[2].response_id == "rC"


def test_the_outcome_has_one_entry_per_item_and_one_message_per_group():
    authority = TranscriptAuthority()
    for event in (text("r", "1", "a", None, "A"), spoken("r", "2", "b", "a", "B")):
        assert authority.apply(event) == RealtimeTranscriptApplyOutcome()
    authority.apply(user("u", "b", "U"))
    outcome = authority.apply(done("r", tokens=(1, 2)))
    usage = Usage(input_tokens=1, output_tokens=2)
    assert outcome.materialized_messages == (
        MaterializedAssistant(
            item_id="a",
            response_id="r",
            text="A",
            stop_reason=StopReason.END_TURN,
            usage=usage,
            lane=TranscriptLane.DISPLAY,
        ),
        MaterializedAssistant(
            item_id="b",
            response_id="r",
            text="B",
            stop_reason=StopReason.END_TURN,
            usage=Usage(),
            lane=TranscriptLane.SPOKEN,
        ),
        MaterializedUser("u", "U"),
    )
    assert [type(message).__name__ for message in outcome.messages] == [
        "AssistantMessage",
        "UserMessage",
    ]
    assert outcome.messages[0].usage == usage
    assert outcome.diagnostics == ()


def test_a_diagnostic_names_rule_item_and_response():
    authority = TranscriptAuthority()
    authority.apply(text("rA", "d1", "i", None, "A"))
    (diagnostic,) = authority.apply(text("rB", "d2", "i", None, "B")).diagnostics
    assert diagnostic.rule == "response_conflict"
    assert (diagnostic.item_id, diagnostic.response_id) == ("i", "rB")
    assert "'rA'" in diagnostic.message


def test_a_run_is_for_apply_all_and_not_for_apply():
    first, second = (spoken("r", each, "a", None, "word") for each in ("d1", "d2"))
    run = run_of([first, second])
    with pytest.raises(TypeError, match="not a transcript event"):
        TranscriptAuthority().apply(run)


BEFORE_A_RUN = {
    "nothing": [],
    "its item": [obs("a", None, "assistant", "r")],
    "its item, which is not free yet": [
        obs("u", None, "user", None),
        obs("a", "u", "assistant", "r"),
    ],
    "its item, without a response": [obs("a", None, "assistant", None)],
    "its item, of another response": [obs("a", None, "assistant", "q")],
    "its item, as a user's": [obs("a", None, "user", None)],
    "its item, skipped": [obs("a", None, "assistant", "r"), skip("a")],
    "its item, whose response has ended": [obs("a", None, "assistant", "r"), done("r")],
    "its item, whose response was interrupted": [obs("a", None, "assistant", "r"), intr("r")],
    "text": [text("r", "d0", "a", None, "So: ")],
    "speech": [spoken("r", "d0", "a", None, "So: ")],
    "speech that was cut": [spoken("r", "d0", "a", None, "So: "), trunc("r", "a", "")],
    "text that was replaced": [text("r", "d0", "a", None, "So: "), final("r", "a", "")],
    "a delta of the same id": [text("r", "d2", "b", None, "So: ")],
}


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("index", [0, 1, -1])
@pytest.mark.parametrize("previous", [None, "u"])
@pytest.mark.parametrize("before", BEFORE_A_RUN)
def test_a_run_comes_to_what_its_deltas_come_to(before, previous, index, keep):
    run = [text("r", f"d{n}", "a", previous, f"{n} ", index) for n in (1, 2, 3)]
    after = [run[1], user("u", None, "yes?"), done("r", tokens=(1, 2)), intr("r")]

    def told(entries):
        authority = TranscriptAuthority(keep_heard_prefix=keep)
        authority.apply_all(BEFORE_A_RUN[before])
        found = [authority.apply_all(entries), authority.state]
        for event in after:
            found += [authority.apply(event), authority.state]
        return found

    assert told([run_of(run)]) == told(run)
