"""Nothing that a server can send makes the codec raise, or lets a broken value through."""

from __future__ import annotations

import json

import attrs
import pytest
from gemini_dialect_kit import EXPLICIT, dialect, generated
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.damage import gemini_messages, json_values, paths, replaced
from support.gemini_oracle import problems

from meerkat_rt.model.conversation import UserMessage
from meerkat_rt.model.errors import LlmError
from meerkat_rt.turn import ports as p

MESSAGES = generated()
EVENTS = p.ProviderEvent.__args__
quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

KEYS = [
    *("setupComplete", "serverContent", "toolCall", "toolCallCancellation", "usageMetadata"),
    *("goAway", "sessionResumptionUpdate", "voiceActivity", "error", "code"),
    *("modelTurn", "parts", "text", "inlineData", "data", "mimeType", "functionCalls", "id"),
    *("name", "args", "ids", "turnComplete", "interrupted", "generationComplete", "newHandle"),
    *("resumable", "inputTranscription", "outputTranscription", "promptTokenCount", "type"),
]
VALUES = ["ACTIVITY_START", "IN_PROGRESS", "audio/pcm;rate=24000", "AAAA", "a", "10s", *KEYS]
ANY = json_values(VALUES, keys=st.sampled_from(KEYS), leaves=12)


def acceptable(raw, codec=None):
    """Decode, and check every value of what comes out."""
    events = (codec or dialect().codec("l")).decode(raw)
    assert isinstance(events, tuple)
    for event in events:
        assert isinstance(event, EVENTS)
        hash(event)
        for field in attrs.fields(type(event)):
            value = getattr(event, field.name)
            if field.name in ("response_id", "event_id", "call_id"):
                assert value is None or (isinstance(value, str) and value)
            elif field.name in ("delta", "text", "arguments", "message"):
                assert isinstance(value, str)
            elif field.name in ("audio_start_ms", "audio_end_ms", "content_index"):
                assert type(value) is int
                assert value >= 0
            elif field.name in ("data", "raw"):
                assert type(value) is bytes
    return events


@quick
@given(st.binary(max_size=200))
def test_any_bytes(raw):
    acceptable(raw)


@quick
@given(ANY)
def test_any_json(value):
    acceptable(json.dumps(value).encode())


@quick
@given(st.dictionaries(st.sampled_from(KEYS[:10]), ANY, max_size=4))
def test_any_values_under_known_keys(value):
    acceptable(json.dumps(value).encode())


ODD = [None, True, -1, 0.5, 2**64, 10**40, 1e300, "", " ", "x", [], {}, [None], {"text": 1}]


@pytest.mark.parametrize("raw", MESSAGES[::3])
def test_every_field_odd(raw):
    message = json.loads(raw)
    for path in list(paths(message))[1:30]:
        for odd in ODD:
            acceptable(json.dumps(replaced(message, path, odd)).encode())


@quick
@given(st.sampled_from(MESSAGES), st.data())
def test_truncation_and_damage(raw, data):
    acceptable(raw[: data.draw(st.integers(0, len(raw) - 1))])
    damaged = bytearray(raw)
    for _ in range(data.draw(st.integers(1, 5))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    acceptable(bytes(damaged))


def test_bytes_that_are_no_text_are_a_fault_wherever_they_stand():
    call = b'{"toolCall":{"functionCalls":[{"id":"c","name":"f","args":{"city":"%b"}}]}}'
    (fault,) = dialect().codec("l").decode(call % b"\xc3")
    assert isinstance(fault, p.ProtocolFault)
    assert "utf-8" in fault.message
    assert [type(event) for event in dialect().codec("l").decode(call % "ü".encode())][
        -1
    ] is p.ToolCalled


@pytest.mark.parametrize(
    "more",
    [
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        b"9" * 5_000,
        b"1e400",
        b'"\\ud800"',
        b'"\xff"',
        b"NaN",
        b"01",
    ],
)
@pytest.mark.parametrize("key", [*KEYS[:10], "x"])
def test_deep_huge_and_broken(key, more):
    acceptable(b'{"%s":%s}' % (key.encode(), more))
    acceptable(b'{"serverContent":{"turnComplete":true,"%s":%s}}' % (key.encode(), more))


# ---------------------------------------------------------------- whole conversations

COMMANDS = st.sampled_from(
    [
        p.AppendAudio(b"\0\0" * 10),
        p.CommitAudio(ref="c"),
        p.CreateResponse(ref="r"),
        p.CancelResponse(ref="x"),
        p.CreateItem(ref="i", item_id="i", message=UserMessage("x"), turn=True),
        p.CreateItem(ref="i", item_id="j", message=UserMessage("y")),
        p.SendToolOutput(ref="o", call_id="a", name="f", output="1"),
        p.SendToolOutput(ref="o", call_id="b", name="f", output="{}", wants_response=False),
        p.SendRaw(ref="s", payload={"realtimeInput": {"activityEnd": {}}}),
    ]
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.booleans(), st.lists(COMMANDS | gemini_messages("AAEA"), max_size=40))
def test_in_any_order_responses_begin_and_end_once_and_calls_are_told_once(manual, steps):
    by = dialect(EXPLICIT) if manual else dialect()
    codec = by.codec("l")
    told = []
    activity = False
    for step in steps:
        if isinstance(step, dict):
            told += acceptable(json.dumps(step).encode(), codec)
            continue
        try:
            frames = codec.encode(step)
        except LlmError:
            frames = []
        for raw in frames:
            message = json.loads(raw)
            assert problems(message, "client") == []
            inputs = message.get("realtimeInput", {})
            if "activityStart" in inputs:
                assert manual
                assert not activity
                activity = True
            if "activityEnd" in inputs:
                assert activity
                activity = False
            if manual and "audio" in inputs:
                assert activity
        told += codec.written()
    open_response = None
    ended, items, settled, called = set(), set(), set(), []
    for event in told:
        match event:
            case p.ResponseBegan(response_id=response_id):
                assert open_response is None
                assert response_id not in ended
                open_response = response_id
            case p.ResponseEnded(response_id=response_id):
                assert response_id == open_response
                ended.add(response_id)
                open_response = None
            case p.AudioDelta() | p.TextDelta() | p.ToolCalled() | p.OutputProgress():
                assert event.response_id == open_response
                if isinstance(event, p.ToolCalled):
                    called.append(event.call_id)
            case p.TranscriptDelta():
                assert event.response_id == open_response or event.response_id in ended
            case p.InputCommitted(item_id=item_id):
                assert item_id not in items
                items.add(item_id)
            case (
                p.InputTranscriptDone(item_id=item_id)
                | p.InputTranscriptFailed(item_id=item_id)
                | p.ItemDeleted(item_id=item_id)
            ):
                assert item_id in items
                assert item_id not in settled
                settled.add(item_id)
    assert len(called) == len(set(called))
    assert len(items) - len(settled) <= 2
