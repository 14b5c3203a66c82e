"""What a setup may say, what closes the connection, and sessions that are resumed."""

from __future__ import annotations

import json

import pytest
from support.gemini_engine import (
    AUDIO,
    MANUAL,
    MODEL,
    SPOKEN,
    TEXT,
    Session,
    declared,
    handles,
    kinds,
    realtime,
    shelf,
    typed,
    wrote,
)

from meerkat_rt.embedded import Say
from meerkat_rt.embedded.gemini.engine import CONTEXT_TOKENS
from meerkat_rt.embedded.gemini.shelf import HANDLE_SECONDS, MOST_HANDLES, Shelf

NEWEST = "models/gemini-3.8-live"
LIVE_3_1 = "models/gemini-3.1-flash-live-preview"
NATIVE = "models/gemini-2.5-flash-native-audio-preview-12-2025"
VERTEX = "projects/p/locations/l/publishers/google/models/gemini-test"


class Counting:
    """Says how much it remembers."""

    def reply(self, request):
        return [Say(f"{len(request.history)} entries")]


def test_setup_is_acknowledged_with_the_sessions_id():
    session = Session(setup={"generationConfig": AUDIO})

    assert session.messages == [{"setupComplete": {"sessionId": "session_t"}}]


def test_every_setting_of_the_protocol_is_taken_in_either_spelling():
    session = Session()

    session.send(
        {
            "setup": {
                "model": MODEL,
                "generationConfig": {
                    **AUDIO,
                    "temperature": 0.5,
                    "topP": 0.9,
                    "topK": 40,
                    "maxOutputTokens": 500,
                    "seed": 7,
                    "mediaResolution": "MEDIA_RESOLUTION_LOW",
                    "speechConfig": {
                        "voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}},
                        "languageCode": "en-US",
                    },
                    "thinkingConfig": {"thinkingBudget": 0, "includeThoughts": True},
                    "enableAffectiveDialog": True,
                },
                "systemInstruction": {"parts": [{"text": "Be brief"}]},
                "tools": [declared(behavior="NON_BLOCKING"), {"googleSearch": {}}],
                "realtimeInputConfig": {
                    "automaticActivityDetection": {
                        "startOfSpeechSensitivity": "START_SENSITIVITY_LOW",
                        "endOfSpeechSensitivity": "END_SENSITIVITY_LOW",
                        "prefixPaddingMs": 20,
                        "silenceDurationMs": 700,
                    },
                    "activityHandling": "START_OF_ACTIVITY_INTERRUPTS",
                    "turnCoverage": "TURN_INCLUDES_ALL_INPUT",
                },
                "inputAudioTranscription": {"languageCodes": ["en"], "mode": "VERBATIM"},
                "outputAudioTranscription": {},
                "sessionResumption": {},
                "contextWindowCompression": {
                    "triggerTokens": 1000,
                    "slidingWindow": {"targetTokens": 500},
                },
                "proactivity": {"proactiveAudio": True},
                "historyConfig": {"initialHistoryInClientContent": True},
            }
        }
    )
    snake = Session()
    snake.send(
        {
            "setup": {
                "model": MODEL,
                "generation_config": {"response_modalities": ["TEXT"], "top_k": 3},
                "output_audio_transcription": None,
                "realtime_input_config": {"automatic_activity_detection": {"disabled": True}},
            }
        },
        valid=False,
    )

    assert kinds(session.messages) == ["setupComplete"]
    assert kinds(snake.messages) == ["setupComplete"]


@pytest.mark.parametrize(
    ("setup", "code", "text"),
    [
        ({"model": ""}, 1007, "not of the form"),
        ({"model": "gpt-realtime"}, 1007, "not of the form"),
        ({"model": VERTEX}, 1007, "not of the form"),
        ({"nonsense": 1}, 1007, 'Unknown name "nonsense" at \'setup\''),
        ({"generationConfig": {"voice": "x"}}, 1007, "at 'setup.generation_config'"),
        ({"generationConfig": {"responseModalities": ["AUDIO", "TEXT"]}}, 1007, "At most one"),
        ({"generationConfig": {"responseModalities": ["audio"]}}, 1007, "modalities[0]'"),
        ({"generationConfig": {"temperature": "hot"}}, 1007, "TYPE_FLOAT"),
        ({"generationConfig": {"seed": 1.5}}, 1007, "TYPE_INT32"),
        ({"systemInstruction": "be brief"}, 1007, "system_instruction"),
        ({"tools": [declared(), declared()]}, 1007, "Duplicate"),
        ({"tools": [declared("not a name")]}, 1007, "Invalid function name"),
        ({"tools": [declared(parametersJsonSchema={})]}, 1007, "only one of"),
        ({"contextWindowCompression": {}}, 1007, "compression"),
        (
            {
                "contextWindowCompression": {
                    "triggerTokens": 5,
                    "slidingWindow": {"targetTokens": 5},
                }
            },
            1007,
            "target_tokens",
        ),
        ({"sessionResumption": {"handle": "never seen"}}, 1007, "resumption handle"),
        ({"sessionResumption": {"transparent": True}}, 1007, "ransparent"),
        ({"explicitVadSignal": True}, 1007, "explicit_vad_signal"),
        (
            {"realtimeInputConfig": {"automaticActivityDetection": {"silenceDurationMs": -1}}},
            1007,
            "silenceDurationMs",
        ),
        ({"model": NEWEST, "generationConfig": TEXT}, 1007, "AUDIO"),
        (
            {"model": NEWEST, "generationConfig": {"thinkingConfig": {"thinkingLevel": "LOW"}}},
            1007,
            "hinking level",
        ),
        (
            {"model": NEWEST, "generationConfig": {"enableAffectiveDialog": True}},
            1007,
            "Affective dialog",
        ),
        ({"model": NEWEST, "proactivity": {"proactiveAudio": False}}, 1007, "switched off"),
        ({"model": LIVE_3_1, "proactivity": {"proactiveAudio": True}}, 1007, "Proactivity"),
        ({"model": LIVE_3_1, "tools": [declared(behavior="NON_BLOCKING")]}, 1007, "NON_BLOCKING"),
        ({"model": "models/gemini-other"}, 1008, "not found"),
    ],
)  # fmt: skip
def test_what_a_setup_may_not_say(setup, code, text):
    session = Session(models=frozenset(m.split("/")[1] for m in (MODEL, NEWEST, LIVE_3_1)))

    session.refuses({"setup": {"model": MODEL, **setup}}, code, text)


@pytest.mark.parametrize("known", [None, frozenset({"gemini-test"})])
def test_vertex_has_its_own_names_of_models(known):
    session = Session(vertex=True, models=known)
    session.send({"setup": {"model": VERTEX, "explicitVadSignal": True}})
    assert kinds(session.messages) == ["setupComplete"]
    assert kinds(session.hear()) == ["voiceActivityDetectionSignal"] * 2

    Session(vertex=True).refuses({"setup": {"model": MODEL}}, 1007, "not of the form")


@pytest.mark.parametrize("first", [typed("hello"), realtime(text="hello"), {"toolResponse": {}}])
def test_nothing_may_come_before_the_setup(first):
    Session().refuses(first, 1007, "first message")


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"setup": {"model": MODEL}}, "once"),
        ({"clientContent": {"turns": [{"role": "system", "parts": [{"text": "x"}]}]}}, "role"),
        ({"clientContent": {"turns": [{"role": "robot", "parts": []}]}}, "turns[0].role"),
        ({"clientContent": {}, "toolResponse": {}}, "one message type"),
        ({}, "one message type"),
        ({"hello": {}}, "Unknown name"),
        (realtime(text="x", audioStreamEnd=True), "one field"),
        (realtime(), "one field"),
        (realtime(activityStart={}), "Explicit activity control"),
        (realtime(activityEnd={}), "without an activity_start"),
        (realtime(audio={"mimeType": "audio/mp3", "data": "AAAA"}), "mime type"),
        (realtime(audio={"mimeType": "audio/pcm;rate=4000", "data": "AAAA"}), "sample rate"),
        (realtime(audio={"mimeType": "audio/pcm", "data": "A"}), "TYPE_BYTES"),
        (realtime(video={"mimeType": "text/plain", "data": "AAAA"}), "mime type"),
        ([], "object"),
    ],
)
def test_what_a_live_session_may_not_say(message, text):
    session = Session(setup={"generationConfig": AUDIO})

    session.refuses(json.dumps(message), 1007, text)
    assert session.send(typed("hello")) == []


def test_a_session_that_is_told_of_activity_does_not_take_the_end_of_a_stream():
    session = Session(setup={"generationConfig": AUDIO, **MANUAL})

    session.refuses(realtime(audioStreamEnd=True), 1007, "audio_stream_end")


@pytest.mark.parametrize("model", [LIVE_3_1, NEWEST])
def test_media_chunks_are_of_the_past(model):
    chunk = {"mimeType": "audio/pcm;rate=16000", "data": "AAAA"}
    Session(setup={"model": NATIVE}).send(realtime(mediaChunks=[chunk]))

    session = Session(setup={"model": model})
    session.refuses(realtime(mediaChunks=[chunk]), 1007, "deprecated")


def test_content_after_the_history_closes_the_connection_of_a_model_that_takes_none():
    session = Session(setup={"model": LIVE_3_1})

    session.refuses(typed("hello"), 1007, "initial history")


def test_both_kinds_of_frame_are_read():
    session = Session()

    session.send(b'{"setup": {"model": "models/x"}}')

    assert kinds(session.messages) == ["setupComplete"]


# ---------------------------------------------------------------- history and context


def test_initial_history_triggers_nothing_and_is_remembered():
    announced = {"historyConfig": {"initialHistoryInClientContent": True}}
    session = Session(setup={"generationConfig": TEXT, **announced}, brain=Counting())

    assert session.send(typed("one", complete=False)) == []
    assert session.send(typed("two", role="model")) == []
    assert session.run() == []

    assert wrote(session.ask("three")) == "3 entries"


def test_instruction_and_functions_change_in_a_live_session():
    class Describing:
        def reply(self, request):
            return [Say(f"{request.instructions}: {[tool.name for tool in request.tools]}")]

    setup = {"generationConfig": TEXT, "tools": [declared("a")]}
    session = Session(setup=setup, brain=Describing())
    instruction = {"parts": [{"text": "Be brief"}]}
    update = {"systemInstruction": instruction, "tools": {"tools": [declared("b")]}}

    session.send({"contextUpdate": update})
    assert wrote(session.ask("?")) == "Be brief: ['b']"
    session.send({"contextUpdate": {"tools": {}}})
    assert wrote(session.ask("?")) == "Be brief: []"

    older = Session(setup={"model": NATIVE})
    older.refuses({"contextUpdate": {"systemInstruction": instruction}}, 1007, "context_update")


def test_a_context_that_is_too_long_closes_the_connection():
    session = Session(setup={"generationConfig": TEXT})

    session.send(typed("x" * 4 * CONTEXT_TOKENS))

    assert session.closed.code == 1007
    assert "token count exceeds" in session.closed.reason


def test_a_context_that_is_compressed_forgets_the_oldest_turns():
    window = {"triggerTokens": 200, "slidingWindow": {"targetTokens": 100}}
    setup = {"generationConfig": TEXT, "contextWindowCompression": window}
    session = Session(setup=setup, brain=Counting())

    told = [int(wrote(session.ask("word " * 20)).split()[0]) for _ in range(20)]

    assert max(told) <= 14
    assert all(count % 2 for count in told)  # it begins with a turn of the user's


# ---------------------------------------------------------------- resumption

RESUMABLE = {"generationConfig": TEXT, "sessionResumption": {}}


def test_a_handle_comes_with_the_setup_and_after_every_turn_and_none_while_it_generates():
    session = Session(setup=RESUMABLE)

    session.ask("hello")

    assert handles(session.messages) == ["handle1", None, "handle2"]
    assert handles(Session(setup={"generationConfig": TEXT}).messages) == []


def test_a_resumed_session_remembers_what_its_handle_knew():
    kept = shelf()
    first = Session(setup=RESUMABLE, kept=kept, brain=Counting())
    first.ask("one")
    first.ask("two")
    early, late = handles(first.messages)[2::2]
    first.engine.ended()

    def resumed(handle: str) -> Session:
        setup = {**RESUMABLE, "sessionResumption": {"handle": handle}}
        return Session(setup=setup, kept=kept, brain=Counting(), seed="u")

    again = resumed(late)
    assert again.messages[0]["setupComplete"]["sessionId"] == "session_t"
    assert wrote(again.ask("three")) == "5 entries"
    again.engine.ended()
    older = resumed(early)
    assert wrote(older.ask("three")) == "3 entries"
    older.engine.ended()
    assert wrote(resumed(late).ask("three")) == "5 entries"


def test_everything_but_the_model_may_differ_in_a_resumed_session():
    kept = shelf()
    first = Session(setup=RESUMABLE, kept=kept)
    first.ask("one")
    handle = handles(first.messages)[-1]
    first.engine.ended()
    resumption = {"sessionResumption": {"handle": handle}}

    other = Session(kept=kept)
    other.refuses({"setup": {"model": NATIVE, **resumption}}, 1007, "model cannot be changed")
    spoken = Session(setup={"generationConfig": AUDIO, **SPOKEN, **resumption}, kept=kept)
    assert kinds(spoken.messages)[0] == "setupComplete"


def test_a_session_that_still_has_a_connection_is_not_resumed():
    kept = shelf()
    first = Session(setup=RESUMABLE, kept=kept)
    setup = {"model": MODEL, "sessionResumption": {"handle": handles(first.messages)[-1]}}

    Session(kept=kept).refuses({"setup": setup}, 1011, "still connected")
    first.engine.ended()
    assert Session(setup=setup, kept=kept).closed is None


def test_a_handle_is_good_for_two_hours():
    now = [0.0]
    kept = shelf(now)
    first = Session(setup=RESUMABLE, kept=kept)
    first.engine.ended()
    setup = {"model": MODEL, "sessionResumption": {"handle": handles(first.messages)[-1]}}

    now[0] = HANDLE_SECONDS
    again = Session(setup=setup, kept=kept)
    assert again.closed is None
    again.engine.ended()
    now[0] += 1
    Session(kept=kept).refuses({"setup": setup}, 1007, "session expired")


def test_the_shelf_forgets_the_oldest_and_the_expired():
    now = [0.0]
    kept: Shelf = shelf(now)
    first = kept.keep("s", "m", ())
    for _ in range(MOST_HANDLES):
        kept.keep("s", "m", ())
    assert len(kept._kept) == MOST_HANDLES
    assert first not in kept._kept

    now[0] = HANDLE_SECONDS + 1
    kept.keep("s", "m", ())
    assert len(kept._kept) == 1


def test_transparent_resumption_counts_what_it_holds():
    session = Session(vertex=True)
    resumption = {"handle": "", "transparent": True}
    session.send(
        {"setup": {"model": VERTEX, "generationConfig": TEXT, "sessionResumption": resumption}}
    )
    session.ask("one")
    session.ask("two")

    updates = [m["sessionResumptionUpdate"] for m in session.messages[1:] if handles([m]) != []]
    told = [each.get("lastConsumedClientMessageIndex") for each in updates]
    assert told == ["0", None, "1", None, "2"]
