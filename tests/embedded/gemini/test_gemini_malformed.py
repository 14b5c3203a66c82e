"""Whatever a client sends, it is understood or closes the connection, and nothing else happens."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.damage import json_values, mutants
from support.gemini_engine import MODEL, Session, declared, realtime, typed
from support.gemini_oracle import problems

from meerkat_rt.embedded.effects import SessionLimits
from meerkat_rt.embedded.gemini import GeminiEngine
from meerkat_rt.embedded.gemini.wire import Terms

SETUP = {
    "setup": {
        "model": MODEL,
        "generationConfig": {
            "responseModalities": ["TEXT"],
            "temperature": 0.5,
            "speechConfig": {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}},
            "thinkingConfig": {"thinkingBudget": 0},
        },
        "systemInstruction": {"parts": [{"text": "Be brief"}]},
        "tools": [declared()],
        "realtimeInputConfig": {
            "automaticActivityDetection": {"silenceDurationMs": 500},
            "activityHandling": "NO_INTERRUPTION",
        },
        "inputAudioTranscription": {"languageCodes": ["en"]},
        "sessionResumption": {},
        "contextWindowCompression": {"triggerTokens": 900, "slidingWindow": {}},
    }
}
VALID = [
    SETUP,
    typed("hello"),
    typed("hello", complete=False, role="model"),
    {
        "clientContent": {
            "turns": [
                {
                    "role": "model",
                    "parts": [
                        {"functionCall": {"id": "c", "name": "f", "args": {"a": 1}}},
                        {"functionResponse": {"id": "c", "name": "f", "response": {"b": 2}}},
                        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
                    ],
                }
            ],
            "turnComplete": True,
        }
    },
    realtime(audio={"mimeType": "audio/pcm;rate=16000", "data": "AAAA"}),
    realtime(video={"mimeType": "image/jpeg", "data": "AAAA"}),
    realtime(text="hello"),
    realtime(audioStreamEnd=True),
    realtime(activityStart={}),
    {
        "toolResponse": {
            "functionResponses": [
                {"id": "c", "name": "f", "response": {"a": 1}, "scheduling": "SILENT"}
            ]
        }
    },
    {"contextUpdate": {"systemInstruction": {"parts": [{"text": "x"}]}, "tools": {"tools": []}}},
]

values = json_values(["", "user", "model", "AUDIO", "TEXT", "x" * 600, "AAAA", MODEL, "1s"])
frames = (
    mutants(VALID, values).map(json.dumps)
    | st.text(max_size=60)
    | st.binary(max_size=60)
    | values.map(json.dumps)
)


def is_sound(session: Session) -> None:
    for message in session.messages:
        assert problems(message, "server") == []
    if session.closed is not None:
        assert session.closed.code in (1007, 1008)
        assert session.closed.reason


@settings(max_examples=300, deadline=None)
@given(frame=frames)
def test_anything_as_the_first_message(frame):
    session = Session(oracle=False)

    session.send(frame, valid=False)

    is_sound(session)
    assert (session.closed is None) == (session.messages != [])


@settings(max_examples=300, deadline=None)
@given(sent=st.lists(frames | st.sampled_from([json.dumps(each) for each in VALID]), max_size=6))
def test_anything_in_a_live_session(sent):
    session = Session(setup=SETUP["setup"], oracle=False)

    for frame in sent:
        session.send(frame, valid=False)
        session.step(2)
    session.run()

    is_sound(session)
    if session.closed is None:
        assert session.send(realtime(text="hello")) is not None
        session.run()
        answers = {"sessionResumptionUpdate", "serverContent", "toolCall"}
        assert session.messages[-1].keys() & answers


@pytest.mark.parametrize(
    "frame",
    ["", "{", "null", "[]", '{"setup": ' + "[" * 2000, "\ud800", b"\xff\xfe", '{"a": NaN}'],
)
def test_what_is_no_json_closes_the_connection(frame):
    session = Session()
    session.engine.receive(frame)
    session.take()

    assert session.closed.code == 1007
    assert session.messages == []


def test_text_that_utf8_cannot_carry_is_never_sent():
    session = Session()

    session.refuses('{"setup": {"model": "\\ud800"}}', 1007, "Invalid JSON")
    session.closed.reason.encode()


def test_audio_without_end_is_bounded():
    session = Session()
    limits = SessionLimits(buffered_audio_bytes=64_000)
    session.engine = GeminiEngine(Terms(), session.shelf, seed="t", limits=limits)
    manual = {"automaticActivityDetection": {"disabled": True}}
    session.send({"setup": {"model": MODEL, "realtimeInputConfig": manual}})
    chunk = realtime(audio={"mimeType": "audio/pcm;rate=16000", "data": "AAAA" * 8000})

    session.send(realtime(activityStart={}), chunk, chunk)
    assert session.closed is None
    session.refuses(chunk, 1007, "buffer")


def test_content_without_end_is_bounded():
    session = Session(setup={"generationConfig": {"responseModalities": ["TEXT"]}})

    for _ in range(40):
        session.send(typed("x" * 50_000, complete=False))

    assert session.closed.code == 1007
    assert "token count exceeds" in session.closed.reason


def test_typed_text_without_end_is_bounded():
    manual = {"automaticActivityDetection": {"disabled": True}}
    session = Session(setup={"realtimeInputConfig": manual})

    session.send(realtime(text="x" * 60_000))
    session.refuses(realtime(text="x" * 60_000), 1007, "too much text")
