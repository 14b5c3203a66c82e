"""What the user says: speech, its text, typing, and commits."""

from __future__ import annotations

import pytest
from turnkit import EXPLICIT, Hand, ev, fx, p

from meerkat_rt.model import transcript as tr
from meerkat_rt.model.conversation import UserMessage
from meerkat_rt.model.errors import InvalidRequest
from meerkat_rt.model.media import ResponseModality

FAULT = ev.ProviderFault(code="input_audio_buffer_commit_empty", message="too short")


def test_typed_text_is_a_whole_turn_at_once():
    hand = Hand()
    item_id = hand.do("send_text", "hello", respond=True)
    assert hand.events == [
        ev.TurnStarted(),
        ev.InputTranscriptPartial("hello"),
        ev.InputTranscriptFinalForItem(item_id=item_id, content_index=0, text="hello"),
        ev.TurnCommitted(),
    ]
    item, create = hand.sent()
    assert (item.item_id, item.message) == (item_id, UserMessage("hello"))
    assert isinstance(create, p.CreateResponse)
    assert hand.transcript == [
        tr.UserTranscriptFinal(item_id=item_id, content_index=0, text="hello")
    ]
    assert item_id.startswith("mk_text_")
    assert len(item_id) <= 32


@pytest.mark.parametrize("mode", [{}, {"turning_mode": EXPLICIT}])
def test_text_that_asks_for_no_response_is_sent_at_once_in_either_mode(mode):
    hand = Hand(**mode)
    item_id = hand.do("send_text", "for your information", respond=False)
    assert [type(c) for c in hand.sent()] == [p.CreateItem]
    assert hand.texts == ["for your information"]
    assert hand.of(ev.InputTranscriptFinalForItem)[0].item_id == item_id
    assert not hand.of(ev.TurnStarted, ev.TurnCommitted)
    hand.wait(60.0)
    assert not hand.sent(p.CreateResponse)


def test_several_staged_texts_are_committed_in_order_with_the_ids_they_were_given():
    hand = Hand(turning_mode=EXPLICIT)
    first = hand.do("send_text", "one", respond=True)
    second = hand.do("send_text", "two", respond=True)
    hand.do("audio_appended", 4800)
    hand.do("commit_turn", None)
    assert [type(c) for c in hand.sent()] == [
        p.CreateItem,
        p.CreateItem,
        p.CommitAudio,
        p.CreateResponse,
    ]
    assert [c.item_id for c in hand.sent(p.CreateItem)] == [first, second]
    assert (
        hand.names(hand.events)
        == [
            "TurnStarted",
            "InputTranscriptPartial",
            "InputTranscriptFinalForItem",
            "TurnCommitted",
        ]
        * 2
    )
    finals = hand.of(ev.InputTranscriptFinalForItem)
    assert [(e.item_id, e.previous_item_id) for e in finals] == [(first, None), (second, first)]
    assert hand.texts == ["one", "two"]


def test_explicit_text_after_the_commit_is_one_turn_and_then_nothing():
    hand = Hand(turning_mode=EXPLICIT)
    item_id = hand.do("send_text", "hello", respond=True)
    hand.do("commit_turn", None)
    assert hand.events == [
        ev.TurnStarted(),
        ev.InputTranscriptPartial("hello"),
        ev.InputTranscriptFinalForItem(item_id=item_id, content_index=0, text="hello"),
        ev.TurnCommitted(),
    ]
    assert len(hand.sent(p.CreateResponse)) == 1
    assert not hand.sent(p.CommitAudio)


def test_a_commit_carries_its_modality():
    hand = Hand(turning_mode=EXPLICIT)
    hand.do("send_text", "hello", respond=True)
    hand.do("commit_turn", p.ResponseOptions(modality=ResponseModality.TEXT))
    assert hand.sent(p.CreateResponse)[0].options.modality is ResponseModality.TEXT


def test_the_provider_decides_about_turns_in_its_own_mode():
    hand = Hand()
    hand.do("audio_appended", 4800)
    with pytest.raises(InvalidRequest, match="explicit"):
        hand.do("commit_turn", None)
    assert not hand.sent()


def test_a_commit_returns_the_request_that_its_answer_settles():
    hand = Hand(turning_mode=EXPLICIT)
    hand.do("audio_appended", 4800)
    request = hand.do("commit_turn", None)
    hand.see(p.InputCommitted(item_id="U1"))
    hand.text_response("R1", "A1", "x", ref=hand.sent(p.CreateResponse)[0].ref)
    assert isinstance(hand.outcome(request), fx.Answered)
    assert hand.names(hand.events)[:3] == ["RealtimeTranscript", "TurnCommitted", "ResponseStarted"]


@pytest.mark.parametrize("mode", [{}, {"turning_mode": EXPLICIT}])
def test_commit_audio_requests_nothing_and_owes_nothing(mode):
    hand = Hand(**mode)
    hand.do("audio_appended", 4800)
    ref = hand.do("commit_audio")
    hand.see(p.InputCommitted(item_id="U1"), p.InputTranscriptDone(item_id="U1", text="hm"))
    assert fx.SettleCommand(ref=ref) in hand.effects
    hand.wait(60.0)
    assert [type(c) for c in hand.sent()] == [p.CommitAudio]
    assert hand.of(ev.TurnCommitted)
    assert hand.sizes() == {}


def test_commit_audio_unstages_the_audio():
    hand = Hand(turning_mode=EXPLICIT)
    hand.do("audio_appended", 4800)
    hand.do("commit_audio")
    with pytest.raises(InvalidRequest):
        hand.do("commit_turn", None)


def test_an_empty_commit_is_reported_and_the_turn_goes_on():
    hand = Hand(turning_mode=EXPLICIT)
    hand.do("audio_appended", 10)
    hand.do("commit_turn", None)
    hand.see(p.CommandRefused(meaning=p.ErrorMeaning.EMPTY_COMMIT, fault=FAULT))
    (report,) = hand.of(ev.ProviderErrorReported)
    assert report.command == "input_audio_buffer.commit"
    (settled,) = hand.effects_of(fx.SettleCommand)
    assert settled.fault == FAULT


def test_clearing_drops_what_waits_and_what_was_sent():
    hand = Hand(turning_mode=EXPLICIT)
    hand.do("audio_appended", 4800)
    ref = hand.do("clear_audio")
    assert hand.effects[0] == fx.FlushInput()
    assert isinstance(hand.effects[1].command, p.ClearAudio)
    with pytest.raises(InvalidRequest):
        hand.do("commit_turn", None)
    hand.see(p.InputCleared())
    assert hand.of(ev.InputAudioCleared)
    assert fx.SettleCommand(ref=ref) in hand.effects


def test_commands_that_are_never_acknowledged_are_settled_at_their_deadline():
    hand = Hand()
    refs = [hand.do("commit_audio"), hand.do("clear_audio"), hand.do("update_session", {}, None)]
    hand.do("send_raw", {"type": "x"})
    hand.do("send_text", "x", respond=False)
    hand.wait(10.0)
    timed_out = [e.ref for e in hand.effects_of(fx.SettleCommand) if e.timed_out]
    assert timed_out[:3] == refs
    assert hand.sizes() == {}


def test_the_items_announcement_acknowledges_typed_text():
    hand = Hand()
    item_id = hand.do("send_text", "x", respond=False)
    hand.see(p.ItemAdded(item_id=item_id, kind=p.ItemKind.USER, final=True))
    assert hand.sizes() == {}
    assert not hand.of(ev.RealtimeTranscript)


def test_a_refused_text_is_reported_with_its_command():
    hand = Hand()
    hand.do("send_text", "x", respond=False)
    ref = hand.sent(p.CreateItem)[0].ref
    hand.see(p.CommandRefused(meaning=p.ErrorMeaning.OTHER, fault=FAULT, ref=ref))
    assert hand.of(ev.ProviderErrorReported)[0].command == "conversation.item.create"


def test_an_item_that_exists_already_is_as_good_as_created():
    hand = Hand()
    hand.do("send_text", "x", respond=False)
    ref = hand.sent(p.CreateItem)[0].ref
    hand.see(p.CommandRefused(meaning=p.ErrorMeaning.DUPLICATE_ITEM, fault=FAULT, ref=ref))
    assert not hand.of(ev.ProviderErrorReported)
    assert hand.sizes() == {}


def test_empty_text_is_sent_but_leaves_no_message():
    hand = Hand()
    hand.do("send_text", "", respond=False)
    hand.do("send_text", "then", respond=False)
    assert len(hand.sent(p.CreateItem)) == 2
    assert hand.texts == ["then"]


# ---------------------------------------------------------------- speech


def test_a_spoken_turn_in_order():
    hand = Hand()
    hand.see(p.SpeechStarted(item_id="U1", audio_start_ms=320))
    hand.see(p.InputTranscriptDelta(item_id="U1", delta="hel"))
    hand.see(p.SpeechStopped(item_id="U1", audio_end_ms=900))
    hand.see(p.InputCommitted(item_id="U1"))
    hand.see(p.InputTranscriptDone(item_id="U1", text="hello"))
    assert hand.events == [
        ev.InputSpeechStarted(item_id="U1", audio_start_ms=320),
        ev.TurnStarted(),
        ev.InputTranscriptPartial("hel"),
        ev.InputSpeechStopped(item_id="U1", audio_end_ms=900),
        ev.RealtimeTranscript(tr.ItemObserved(item_id="U1", role=tr.RealtimeTranscriptRole.USER)),
        ev.TurnCommitted(),
        ev.InputTranscriptFinalForItem(item_id="U1", content_index=0, text="hello"),
    ]


def test_speech_that_pauses_is_one_turn():
    hand = Hand()
    hand.see(p.SpeechStarted(item_id="U1"), p.SpeechStopped(item_id="U1"))
    hand.see(p.SpeechStarted(item_id="U1"), p.SpeechStopped(item_id="U1"))
    hand.see(p.InputCommitted(item_id="U1"))
    assert len(hand.of(ev.TurnStarted)) == len(hand.of(ev.TurnCommitted)) == 1
    hand.see(p.SpeechStarted(item_id="U2"))
    assert len(hand.of(ev.TurnStarted)) == 2


def test_a_cleared_buffer_ends_the_turn_without_a_commit():
    hand = Hand()
    hand.see(p.SpeechStarted(), p.InputCleared(), p.SpeechStarted())
    assert len(hand.of(ev.TurnStarted)) == 2


def test_a_commit_reported_twice_counts_once():
    hand = Hand()
    hand.see(p.InputCommitted(item_id="U1"), p.InputCommitted(item_id="U1"))
    assert len(hand.of(ev.TurnCommitted)) == 1
    hand.see(p.InputTranscriptDone(item_id="U1", text="x"), p.InputCommitted(item_id="U1"))
    assert len(hand.of(ev.TurnCommitted)) == 1


def test_words_without_an_item_are_a_message_of_their_own():
    hand = Hand()
    hand.see(p.InputCommitted(inferred=True), p.InputTranscriptDone(text="who knows where"))
    assert hand.of(ev.InputTranscriptFinal) == [ev.InputTranscriptFinal("who knows where")]
    assert hand.texts == ["who knows where"]
    assert hand.of(ev.TurnCommitted)


def test_final_words_are_final():
    hand = Hand()
    hand.user_turn("U1", "hello")
    hand.see(
        p.InputTranscriptDone(item_id="U1", text="hallo"),
        p.InputTranscriptFailed(item_id="U1", fault=FAULT),
    )
    assert len(hand.of(ev.InputTranscriptFinalForItem)) == 1
    assert not hand.of(ev.InputTranscriptionFailed)
    assert hand.texts == ["hello"]


def test_words_of_seeded_items_are_history_already():
    hand = Hand()
    hand.machine.seeded(["S1"])
    hand.see(
        p.InputCommitted(item_id="S1"),
        p.InputTranscriptDelta(item_id="S1", delta="x"),
        p.InputTranscriptDone(item_id="S1", text="x"),
        p.InputTranscriptFailed(item_id="S1"),
    )
    assert hand.events == []
    assert hand.transcript == []


def test_words_that_are_still_awaited_at_the_close_do_not_hold_back_the_answer():
    hand = Hand()
    hand.user_turn("U1")
    hand.begin("R1")
    hand.item("R1", "A1", "U1")
    hand.see(p.TextDelta("e", "R1", "A1", "an answer"))
    hand.end("R1")
    hand.do("close")
    assert hand.texts == ["[unintelligible]", "an answer"]
    assert hand.of(ev.InputTranscriptionFailed)[0].code == "session_closed"


def test_a_provider_that_does_not_respond_by_itself_owes_nothing():
    hand = Hand(provider_responds=False)
    hand.user_turn("U1", "hello")
    hand.wait(60.0)
    assert not hand.of(ev.Nudged, ev.Stalled)
    assert hand.sizes() == {}
