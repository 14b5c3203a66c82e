"""Spoken turns: detection, manual commits, interruption, the idle timer, transcription."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from support.embedded_session import (
    Session,
    appends,
    every,
    kinds,
    only,
    recording,
    session_update,
    spoken_turn,
    turn_detection,
    typed,
)

from meerkat_rt.embedded.effects import SessionLimits

COMMIT = {"type": "input_audio_buffer.commit"}
CLEAR = {"type": "input_audio_buffer.clear"}
SPOKEN_ANSWER = [
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "response.output_audio_transcript.delta",
    "response.output_audio.delta",
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
    "response.done",
    "rate_limits.updated",
]
TURN = [
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "conversation.item.added",
    "conversation.item.done",
]


def silence(seconds: float) -> bytes:
    noise = np.random.default_rng(5).normal(0, 12, int(seconds * 24000))
    return noise.astype("<i2").tobytes()


def test_a_spoken_turn_in_the_captured_order():
    client = Session()

    events = client.hear() + client.run()

    assert kinds(events) == [*TURN, "response.created", *SPOKEN_ANSWER]
    started, stopped = events[0], events[1]
    assert started["audio_start_ms"] == pytest.approx(500 - 300, abs=60)
    assert stopped["audio_end_ms"] == pytest.approx(2380 + 500, abs=120)
    user = events[3]["item"]
    assert user["content"] == [{"type": "input_audio", "transcript": None}]
    assert user["status"] == "completed"
    assert {started["item_id"], stopped["item_id"], events[2]["item_id"]} == {user["id"]}


@pytest.mark.parametrize("form", ["audio/pcmu", "audio/pcma"])
def test_a_companded_turn(form):
    client = Session()
    client.send(session_update(audio={"input": {"format": {"type": form}}}))

    events = client.send(*appends(spoken_turn(form=form), 160))

    assert kinds(events) == [*TURN, "response.created"]
    assert events[0]["audio_start_ms"] == pytest.approx(200, abs=80)


def test_a_second_turn_follows_the_first_in_time_and_in_the_conversation():
    client = Session()
    first = client.hear() + client.run()
    second = client.hear(spoken_turn("something")) + client.run()

    answer = only(first, "response.output_item.added")["item"]["id"]
    assert only(second, "input_audio_buffer.committed")["previous_item_id"] == answer
    offset = len(spoken_turn()) / 48
    start = only(second, "input_audio_buffer.speech_started")["audio_start_ms"]
    assert start == pytest.approx(offset + 160, abs=60)


def test_without_create_response_nobody_answers():
    client = Session()
    client.send(turn_detection({"type": "server_vad", "create_response": False}))

    assert kinds(client.hear()) == TURN


@pytest.mark.parametrize(("eagerness", "silence_ms"), [("high", 400), ("low", 1500)])
def test_semantic_detection_waits_by_eagerness(eagerness, silence_ms):
    client = Session()
    client.send(turn_detection({"type": "semantic_vad", "eagerness": eagerness}))

    events = client.hear(spoken_turn(silence=2.0))

    stop = only(events, "input_audio_buffer.speech_stopped")["audio_end_ms"]
    assert stop == pytest.approx(2380 + silence_ms, abs=120)


def test_by_hand_nothing_happens_until_the_commit():
    client = Session()
    client.send(turn_detection(None))

    assert client.hear() == []
    assert kinds(client.send(COMMIT)) == TURN[2:]
    assert kinds(client.send({"type": "response.create"}) + client.run())[1:] == SPOKEN_ANSWER


def test_a_commit_of_less_than_100_ms_is_refused():
    client = Session()
    client.send(turn_detection(None))

    error = client.fails(COMMIT, "input_audio_buffer_commit_empty")
    assert "0.00ms" in error["message"]
    client.send(*appends(silence(0.099)))
    assert "99.00ms" in client.fails(COMMIT, "input_audio_buffer_commit_empty")["message"]
    client.send(*appends(silence(0.001)))
    assert kinds(client.send(COMMIT)) == TURN[2:]
    client.fails(COMMIT, "input_audio_buffer_commit_empty")


def test_clear_forgets_what_was_said():
    client = Session()
    client.send(turn_detection(None), *appends(silence(1)))

    assert kinds(client.send(CLEAR)) == ["input_audio_buffer.cleared"]
    client.fails(COMMIT, "input_audio_buffer_commit_empty")


def test_a_turn_cleared_while_it_is_spoken_never_happened():
    client = Session()
    started = client.send(*appends(recording()[:36000].tobytes()))
    assert kinds(started) == ["input_audio_buffer.speech_started"]

    client.send(CLEAR)

    assert client.send(*appends(silence(2))) == []


def test_a_turn_committed_while_it_is_spoken_keeps_its_id_and_gets_no_answer():
    client = Session()
    (started,) = client.send(*appends(recording()[:36000].tobytes()))

    events = client.send(COMMIT)

    assert kinds(events) == TURN[2:]
    assert events[0]["item_id"] == started["item_id"]
    assert client.send(*appends(silence(2))) == []


def test_samples_cut_in_half_between_appends_are_joined():
    client = Session()
    client.send(turn_detection(None))
    audio = recording()[:4801].tobytes()

    client.send(*appends(audio, 333))
    item_id = only(client.send(COMMIT), "input_audio_buffer.committed")["item_id"]

    (event,) = client.send({"type": "conversation.item.retrieve", "item_id": item_id})
    assert base64.b64decode(event["item"]["content"][0]["audio"]) == audio


def test_speech_interrupts_the_answer_and_closes_it_in_order():
    client = Session()
    client.hear()
    client.step(5)

    events = client.send(*appends(recording()[:36000].tobytes()))

    assert kinds(events) == [
        "input_audio_buffer.speech_started",
        *SPOKEN_ANSWER[SPOKEN_ANSWER.index("response.output_audio.done") :],
    ]
    done = only(events, "response.done")["response"]
    assert done["status"] == "cancelled"
    assert done["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    assert done["output"][0]["status"] == "incomplete"
    assert only(events, "conversation.item.done")["item"]["status"] == "incomplete"
    said = only(events, "response.output_audio_transcript.done")["transcript"]
    assert 0 < len(said) < 60
    assert client.run() == []


def test_the_interrupting_turn_is_answered():
    client = Session()
    client.hear()
    client.step(5)

    events = client.hear(spoken_turn("something")) + client.run()

    assert [event["response"]["status"] for event in every(events, "response.done")] == [
        "cancelled",
        "completed",
    ]


def test_speech_before_the_first_word_ends_an_empty_response():
    client = Session()
    client.hear()

    events = client.send(*appends(recording()[:36000].tobytes()))

    assert kinds(events)[1:] == ["response.done", "rate_limits.updated"]
    assert events[1]["response"]["output"] == []
    assert client.run() == []


def test_without_interruption_the_answer_goes_on_and_the_new_turn_has_none():
    client = Session()
    client.send(turn_detection({"type": "server_vad", "interrupt_response": False}))
    client.hear()
    client.step(5)

    events = client.hear(spoken_turn("something"))

    assert kinds(events) == [*TURN, "error"]
    assert events[-1]["error"]["code"] == "conversation_already_has_active_response"
    assert only(client.run(), "response.done")["response"]["status"] == "completed"


def test_no_response_but_interruption_still_cancels():
    client = Session()
    client.send(turn_detection({"type": "server_vad", "create_response": False}))
    client.send(typed("tell me a story"), {"type": "response.create"})
    client.step(5)

    events = client.hear()

    assert only(events, "response.done")["response"]["status"] == "cancelled"
    assert every(events, "response.created") == []


def test_out_of_band_responses_are_not_interrupted():
    client = Session()
    client.send({"type": "response.create", "response": {"conversation": "none"}})
    client.step(2)

    assert every(client.hear(), "response.done") == []


def test_a_full_buffer_ends_the_turn_being_spoken():
    client = Session(limits=SessionLimits(buffered_audio_bytes=400_000))
    speech = recording()[12000:60000].tobytes()

    events = []
    for _ in range(6):
        events += client.send(*appends(speech))

    assert len(every(events, "input_audio_buffer.committed")) >= 1
    assert every(events, "error") == []


def test_a_full_buffer_refuses_more_when_turns_are_committed_by_hand():
    client = Session(limits=SessionLimits(buffered_audio_bytes=100_000))
    client.send(turn_detection(None), *appends(silence(2)))

    client.fails(appends(silence(1), 50_000)[0], "input_audio_buffer_full", "audio")

    assert kinds(client.send(COMMIT)) == TURN[2:]


def test_a_new_format_starts_with_an_empty_buffer_and_time_goes_on():
    client = Session()
    client.send(*appends(silence(2)))
    client.send(session_update(audio={"input": {"format": {"type": "audio/pcmu"}}}))

    events = client.send(*appends(spoken_turn(form="audio/pcmu"), 160))

    assert events[0]["audio_start_ms"] == pytest.approx(2000 + 200, abs=80)


IDLE = {"type": "server_vad", "idle_timeout_ms": 5000}


def test_silence_after_an_answer_times_out_and_is_answered():
    client = Session()
    client.send(turn_detection(IDLE))
    spoken = client.hear() + client.run()
    length = sum(len(base64.b64decode(e["delta"])) for e in spoken if "audio.delta" in e["type"])

    early = client.send(*appends(silence(length / 48000 + 4.9), 24000))
    events = client.send(*appends(silence(0.3)))

    assert early == []
    assert kinds(events) == [
        "input_audio_buffer.timeout_triggered",
        *TURN[2:],
        "response.created",
    ]
    timeout = events[0]
    assert timeout["audio_end_ms"] - timeout["audio_start_ms"] == pytest.approx(5000, abs=1)
    assert timeout["item_id"] == only(events, "input_audio_buffer.committed")["item_id"]


def test_speech_stops_the_idle_timer_even_if_nobody_answers_it():
    client = Session()
    client.send(turn_detection(IDLE))
    client.hear()
    client.run()
    client.send(turn_detection({**IDLE, "create_response": False}))

    assert kinds(client.hear()) == TURN
    assert client.send(*appends(silence(60), 24000)) == []


def test_the_idle_timer_stands_still_while_an_answer_is_being_made():
    client = Session()
    client.send(turn_detection(IDLE))
    client.ask("hello")
    client.send(typed("hello"), {"type": "response.create"})

    assert client.send(*appends(silence(30), 24000)) == []
    client.run()
    events = client.send(*appends(silence(9), 24000))
    assert kinds(events)[0] == "input_audio_buffer.timeout_triggered"


def test_nobody_waits_before_the_first_answer():
    client = Session()
    client.send(turn_detection(IDLE))

    assert client.send(*appends(silence(12), 24000)) == []


def transcribe(model: str) -> dict:
    return session_update(audio={"input": {"transcription": {"model": model}}})


def test_a_turn_is_transcribed_when_that_is_configured():
    client = Session(measures="(1.8 s of speech)")
    client.send(transcribe("gpt-4o-mini-transcribe"))
    item_id = only(client.hear(), "input_audio_buffer.committed")["item_id"]

    events = client.recognize()

    prefix = "conversation.item.input_audio_transcription"
    assert kinds(events) == [f"{prefix}.delta", f"{prefix}.completed"]
    assert "".join(event["delta"] for event in events[:-1]) == "(1.8 s of speech)"
    done = events[-1]
    assert (done["item_id"], done["transcript"]) == (item_id, "(1.8 s of speech)")
    usage = done["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 0
    (item,) = client.send({"type": "conversation.item.retrieve", "item_id": item_id})
    assert item["item"]["content"][0]["transcript"] == "(1.8 s of speech)"


def test_whisper_sends_one_delta_and_bills_by_duration():
    client = Session(measures="one two three")
    client.send(transcribe("whisper-1"))
    client.hear()

    delta, done = client.recognize()

    assert delta["delta"] == "one two three"
    assert done["usage"]["type"] == "duration"
    assert done["usage"]["seconds"] == pytest.approx(2.7, abs=0.2)


def test_a_failed_transcription_leaves_the_turn_and_its_answer_alone():
    client = Session()
    client.send(transcribe("gpt-4o-transcribe"))
    client.hear()

    client.engine.recognition_failed(client.work[0].item_id, "audio_unintelligible", "mumbled")
    (event,) = client.take()

    assert event["type"] == "conversation.item.input_audio_transcription.failed"
    assert event["error"]["code"] == "audio_unintelligible"
    assert only(client.run(), "response.done")["response"]["status"] == "completed"


def test_nothing_is_recognized_unless_somebody_wants_to_know():
    client = Session()
    client.hear()

    assert client.work == []


def test_what_is_recognized_as_words_reaches_the_brain_even_unconfigured():
    client = Session(hears="what is 2 plus 3")
    client.hear()
    assert client.recognize() == []

    events = client.run()

    said = only(events, "response.output_audio_transcript.done")["transcript"]
    assert said == "That makes 5."


def test_the_brain_waits_for_the_words():
    client = Session(hears="hello")
    client.hear()

    assert client.thinking[0].after == {client.work[0].item_id}


def test_a_transcription_session_hears_turns_and_never_answers():
    client = Session(kind="transcription")
    update = {
        "type": "transcription",
        "audio": {"input": {"transcription": {"model": "whisper-1"}}},
    }
    client.send({"type": "session.update", "session": update})

    assert kinds(client.hear()) == TURN
    assert client.recognize()[-1]["type"].endswith(".completed")
    assert client.run() == []


def test_output_audio_clear_is_for_webrtc():
    Session().fails({"type": "output_audio_buffer.clear"}, "invalid_value", "type")
