"""Whose turn it is: text, speech, activity told by the client, interruptions."""

from __future__ import annotations

import pytest
from support.embedded_session import recording, spoken_turn_16k
from support.gemini_engine import (
    AUDIO,
    MANUAL,
    SPOKEN,
    TEXT,
    Session,
    audio_of,
    chunks,
    contents,
    heard,
    kinds,
    parts,
    realtime,
    said,
    typed,
    wrote,
)

from meerkat_rt.embedded import BrainMessage, Quirks, Say

STORY = "Tell me a story"
OLDER = "models/gemini-2.0-flash-live-001"  # tells of no activity, and no ends of transcriptions
NEWEST = "models/gemini-3.8-live"
UNINTERRUPTED = {"realtimeInputConfig": {"activityHandling": "NO_INTERRUPTION"}}


class Echo:
    """Says what it was told last, and keeps every history that it saw."""

    def __init__(self) -> None:
        self.seen: list[tuple] = []

    def reply(self, request):
        self.seen.append(request.history)
        return [Say(f"{len(request.history)}: {request.history[-1].text}")]


def test_a_text_turn():
    session = Session(setup={"generationConfig": TEXT})

    messages = session.ask("What is 6 times 7?")

    assert wrote(messages) == "That makes 42."
    assert kinds(messages) == [
        "modelTurn",
        "generationComplete",
        "turnComplete",
        "interactionStatus",
        "usageMetadata",
    ]
    usage = messages[-1]["usageMetadata"]
    assert usage["totalTokenCount"] == usage["promptTokenCount"] + usage["responseTokenCount"]
    assert usage["responseTokensDetails"] == [
        {"modality": "TEXT", "tokenCount": usage["responseTokenCount"]}
    ]


def test_content_that_is_not_complete_waits_for_the_rest():
    brain = Echo()
    session = Session(setup={"generationConfig": TEXT}, brain=brain)

    assert session.send(typed("one", complete=False)) == []
    assert session.run() == []
    session.ask("two")

    assert [entry.text for entry in brain.seen[0]] == ["one", "two"]


def test_a_spoken_turn_with_the_words_of_both():
    session = Session(setup={"generationConfig": AUDIO, **SPOKEN})

    messages = session.hear() + session.run()

    assert heard(messages) == "(speech)"
    assert said(messages).startswith("I heard you")
    assert len(audio_of(messages)) > 10 * 48_000
    assert kinds(messages)[:5] == [
        "voiceActivity",
        "voiceActivity",
        "inputTranscription",
        "outputTranscription",
        "modelTurn",
    ]
    assert [m["voiceActivity"]["type"] for m in messages if "voiceActivity" in m] == [
        "ACTIVITY_START",
        "ACTIVITY_END",
    ]
    assert contents(messages, "inputTranscription")[-1]["finished"] is True
    assert contents(messages, "outputTranscription")[-1] == {"finished": True}


def test_older_models_tell_of_no_activity_and_no_ends_of_words():
    session = Session(setup={"model": OLDER, "generationConfig": AUDIO, **SPOKEN})

    messages = session.hear() + session.run()

    assert not any("voiceActivity" in message for message in messages)
    assert not any("finished" in each for each in contents(messages, "inputTranscription"))
    assert not any("finished" in each for each in contents(messages, "outputTranscription"))
    assert contents(messages, "interactionStatus") == []


def test_words_are_told_only_where_they_are_asked_for():
    session = Session(setup={"generationConfig": AUDIO})

    messages = session.hear() + session.run()

    assert (heard(messages), said(messages)) == ("", "")
    assert audio_of(messages)


def test_what_a_recognizer_hears_reaches_the_brain_though_nobody_asked_for_transcription():
    brain = Echo()
    session = Session(setup={"generationConfig": AUDIO}, brain=brain, hears="good morning")

    session.hear()
    assert session.thinking[0].after == {"user_1"}
    messages = session.run()

    assert brain.seen[0][-1].text == "good morning"
    assert brain.seen[0][-1].speech_seconds > 1
    assert heard(messages) == ""


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 48_000])
def test_audio_of_any_declared_rate_is_heard(rate):
    session = Session(setup={"generationConfig": AUDIO, **SPOKEN})
    speech = recording("goforward", rate).tobytes() + bytes(rate * 2)

    messages = session.send(*chunks(speech, rate // 5, f"audio/pcm;rate={rate}"))

    assert kinds(messages) == ["voiceActivity", "voiceActivity"]
    (work,) = session.work
    assert work.sample_rate == rate


def test_the_end_of_the_audio_stream_ends_a_turn_without_waiting_for_silence():
    session = Session(setup={"generationConfig": AUDIO})
    speech = recording("goforward", 16_000)[: 16_000 * 3 // 2].tobytes()

    assert kinds(session.send(*chunks(speech))) == ["voiceActivity"]
    messages = session.send(realtime(audioStreamEnd=True)) + session.run()

    assert kinds(messages)[:2] == ["voiceActivity", "modelTurn"]
    assert session.send(realtime(audioStreamEnd=True)) == []


def test_a_longer_pause_can_be_asked_for():
    slow = {"automaticActivityDetection": {"silenceDurationMs": 3000}}
    session = Session(setup={"generationConfig": AUDIO, "realtimeInputConfig": slow})

    assert kinds(session.hear(spoken_turn_16k(silence=2.0))) == ["voiceActivity"]
    assert kinds(session.hear(bytes(32_000 * 2))) == ["voiceActivity"]


def test_a_turn_that_the_client_tells_the_ends_of():
    session = Session(setup={"generationConfig": AUDIO, **SPOKEN, **MANUAL})

    assert session.send(*chunks(spoken_turn_16k())) == []  # outside of an activity
    assert session.send(realtime(activityStart={})) == []
    assert session.send(*chunks(spoken_turn_16k()), *chunks(spoken_turn_16k())) == []
    messages = session.send(realtime(activityEnd={})) + session.run()

    assert heard(messages) == "(speech)"
    assert said(messages).startswith("I heard you")


def test_an_activity_with_nothing_in_it_is_no_turn():
    session = Session(setup={"generationConfig": AUDIO, **MANUAL})

    assert session.send(realtime(activityStart={}), realtime(activityEnd={})) == []
    assert session.run() == []


def test_text_typed_during_an_activity_belongs_to_it():
    brain = Echo()
    session = Session(setup={"generationConfig": AUDIO, **SPOKEN, **MANUAL}, brain=brain)

    session.send(realtime(activityStart={}), *chunks(spoken_turn_16k()), realtime(text="and this"))
    assert session.thinking == []
    session.send(realtime(activityEnd={}))
    session.run()

    spoken, text = brain.seen[0]
    assert (spoken.text, text.text) == ("", "and this")


def test_realtime_text_is_a_turn_of_its_own_where_the_model_listens():
    session = Session(setup={"generationConfig": AUDIO, **SPOKEN})

    messages = session.send(realtime(text="hello")) + session.run()

    assert said(messages) == "Hello! How can I help you?"


def test_a_picture_costs_tokens():
    plain, seeing = (Session(setup={"generationConfig": TEXT}) for _ in range(2))
    seeing.send(realtime(video={"mimeType": "image/jpeg", "data": "AAAA"}))

    costs = [s.ask("hello")[-1]["usageMetadata"]["promptTokenCount"] for s in (plain, seeing)]

    assert costs[1] > costs[0] + 200


# ---------------------------------------------------------------- interruptions


def interrupt_kinds(messages: list[dict]) -> list[str]:
    wanted = {"interrupted", "generationComplete", "turnComplete", "toolCallCancellation"}
    return [kind for kind in kinds(messages) if kind in wanted]


@pytest.mark.parametrize("by", ["speech", "content", "text", "activity"])
def test_an_interruption_ends_the_turn_without_the_end_of_a_generation(by):
    manual = MANUAL if by == "activity" else {}
    session = Session(setup={"generationConfig": AUDIO, **SPOKEN, **manual})
    session.send(typed(STORY))
    session.step(10)

    match by:
        case "speech":
            messages = session.hear()
        case "content":
            messages = session.send(typed("stop"))
        case "text":
            messages = session.send(realtime(text="stop"))
        case _:
            messages = session.send(realtime(activityStart={}))

    assert interrupt_kinds(messages) == ["interrupted", "turnComplete"]
    if by == "activity":
        session.send(*chunks(spoken_turn_16k()), realtime(activityEnd={}))
    assert interrupt_kinds(session.run()) == ["generationComplete", "turnComplete"]


def test_what_was_not_played_yet_is_not_remembered():
    brain = Echo()
    # A quarter of the time that a piece takes to send is spent playing it.
    session = Session(setup={"generationConfig": AUDIO, **SPOKEN}, brain=brain, share=0.25)
    session.send(typed("one two three four five six seven eight nine ten eleven twelve"))
    generated = session.step(17)  # 3.4 s of speech, of which 0.8 s were played
    session.ask("stop")

    _, answer, _ = brain.seen[1]
    assert isinstance(answer, BrainMessage)
    assert answer.truncated
    assert said(generated).startswith(answer.text)
    assert 0 < len(answer.text) < len(said(generated)) / 2


def test_a_turn_is_over_when_it_has_been_played():
    session = Session(setup={"generationConfig": AUDIO, **SPOKEN}, share=0.25)
    session.send(typed("hello"))
    steps = 0
    messages: list[dict] = []
    while not contents(messages, "generationComplete"):
        messages += session.step()
        steps += 1
    pieces = len(parts(messages))
    while not contents(messages, "turnComplete"):
        messages += session.step()
        steps += 1

    assert steps > 1.7 * pieces  # pieces of 0.2 s, and then of 0.8 s at that pace

    # Interrupted while it plays: it had been generated, so its end was told before.
    session.send(typed("hello"))
    while not contents(session.step(), "generationComplete"):
        pass
    assert interrupt_kinds(session.send(typed("stop"))) == ["interrupted", "turnComplete"]


def test_a_turn_that_nobody_has_noticed_is_dropped_without_a_word():
    session = Session(setup={"generationConfig": TEXT})

    assert session.send(typed("hello")) == []
    assert session.send(typed("What is 1 + 1?")) == []
    assert wrote(session.run()) == "That makes 2."


def test_without_interruption_the_next_answer_waits_for_this_one():
    session = Session(setup={"generationConfig": AUDIO, **SPOKEN, **UNINTERRUPTED})
    session.send(typed(STORY))
    session.step(3)

    assert interrupt_kinds(session.hear()) == []
    messages = session.run()

    assert interrupt_kinds(messages) == ["generationComplete", "turnComplete"] * 2


def test_the_newest_models_take_content_that_asks_for_nothing_without_being_stopped():
    newest = Session(setup={"model": NEWEST, "generationConfig": AUDIO})
    older = Session(setup={"model": OLDER, "generationConfig": AUDIO})

    for session in (newest, older):
        session.send(typed(STORY))
        session.step(3)

    assert newest.send(typed("by the way", complete=False)) == []
    assert interrupt_kinds(older.send(typed("by the way", complete=False))) == [
        "interrupted",
        "turnComplete",
    ]


# ---------------------------------------------------------------- how it ends, and quirks


def test_an_answer_is_cut_at_the_most_tokens_that_it_may_take():
    config = {**TEXT, "maxOutputTokens": 20}
    session = Session(setup={"generationConfig": config})

    messages = session.ask(STORY)

    assert messages[-1]["usageMetadata"]["responseTokenCount"] <= 20
    assert interrupt_kinds(messages) == ["generationComplete", "turnComplete"]


def test_a_brain_that_fails_ends_the_turn_and_says_so():
    session = Session(setup={"generationConfig": TEXT})
    session.send(typed("hello"))
    (work,) = session.thinking

    session.engine.fail(work.response_id, "it broke")
    messages = session.take()

    assert contents(messages, "turnCompleteReason") == ["RESPONSE_REJECTED"]
    assert session.closed is None


def test_a_bug_of_ours_closes_with_an_internal_error():
    session = Session(setup={"generationConfig": TEXT})

    session.engine.broken()
    session.take()

    assert (session.closed.code, session.closed.reason) == (1011, "Internal error encountered.")
    assert session.send(typed("hello")) == []


def test_quirks():
    quirks = Quirks(odd_audio_deltas=True, urlsafe_base64=True, thoughts=True)
    plain = Session(setup={"generationConfig": AUDIO})
    odd = Session(setup={"generationConfig": AUDIO}, quirks=quirks)

    usual, messages = plain.ask("hello"), odd.ask("hello")

    assert audio_of(messages) == audio_of(usual)
    assert parts(messages)[0]["thought"] is True
    encoded = [part["inlineData"]["data"] for part in parts(messages)[1:]]
    assert any(len(data.rstrip("=")) * 3 // 4 % 2 for data in encoded)
    assert any("-" in data or "_" in data for data in encoded)


def test_messages_and_fields_from_the_future():
    quirks = Quirks(unknown_events=True, unknown_fields=True)
    session = Session(setup={"generationConfig": TEXT}, quirks=quirks, oracle=False)

    session.ask("hello")

    assert all("xFromTheFuture" in m or "weatherReport" in m for m in session.messages)
    assert any("weatherReport" in message for message in session.messages)


def test_transcriptions_may_trail_the_answer():
    session = Session(
        setup={"generationConfig": AUDIO, **SPOKEN}, quirks=Quirks(transcription="after")
    )
    session.hear()
    session.think()
    session.recognize()

    order = kinds(session.run())

    assert order.index("turnComplete") < order.index("inputTranscription")
