"""What is sent, message by message, held against the vendor's types."""

from __future__ import annotations

import base64

import pytest
from gemini_dialect_kit import CASCADE, EXPLICIT, FLASH_3_1, NATIVE, Link, dialect, names

from meerkat_rt import RealtimeConfig, ToolBehavior, ToolScheduling, VadConfig
from meerkat_rt.model.conversation import UserMessage
from meerkat_rt.model.errors import InvalidRequest, RequestTooLarge
from meerkat_rt.model.media import ResponseModality
from meerkat_rt.turn import ports as p

START = {"realtimeInput": {"activityStart": {}}}
END = {"realtimeInput": {"activityEnd": {}}}
COMPLETE = {"clientContent": {"turnComplete": True}}


def text(words="Hello", *, turn=True):
    return p.CreateItem(ref="r", item_id="i", message=UserMessage(words), turn=turn)


def manual(**rest):
    return Link(dialect(EXPLICIT, **rest))


# ---------------------------------------------------------------- audio


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 48_000])
def test_audio_is_labelled_with_its_rate(rate):
    (message,) = Link(dialect(input_rate=rate)).sends(p.AppendAudio(b"\1\2\3\4"))
    blob = message["realtimeInput"]["audio"]
    assert blob["mimeType"] == f"audio/pcm;rate={rate}"
    assert base64.b64decode(blob["data"]) == b"\1\2\3\4"


def test_much_audio_goes_in_pieces_and_too_much_not_at_all():
    data = bytes(range(256)) * 500
    messages = Link().sends(p.AppendAudio(data))
    assert len(messages) == 4
    pieces = [base64.b64decode(m["realtimeInput"]["audio"]["data"]) for m in messages]
    assert b"".join(pieces) == data
    assert all(len(piece) % 2 == 0 for piece in pieces)
    assert Link().sends(p.AppendAudio(b"")) == []
    with pytest.raises(RequestTooLarge):
        Link().sends(p.AppendAudio(bytes(15 * 1024 * 1024 + 2)))


def test_audio_that_is_refused_begins_no_activity():
    link = manual()
    with pytest.raises(RequestTooLarge):
        link.sends(p.AppendAudio(bytes(15 * 1024 * 1024 + 2)))
    assert link.sends(p.AppendAudio(b"\0\0"))[0] == START


# ---------------------------------------------------------------- manual activity


def test_activity_frames_are_exactly_these():
    link = manual()
    messages = link.sends(p.AppendAudio(b"\0\0"))
    assert messages[0] == START
    assert link.sends(p.CommitAudio(ref="c")) == []
    assert link.sends(p.CreateResponse(ref="r")) == [END]


def test_only_the_explicit_mode_is_manual():
    assert len(Link().sends(p.AppendAudio(b"\0\0"))) == 1
    assert Link().sends(p.CommitAudio(ref="c")) == [{"realtimeInput": {"audioStreamEnd": True}}]


def test_one_start_whoever_asks_for_it_and_the_end_arms_it_again():
    link = manual()
    raw = p.SendRaw(ref="x", payload={"realtimeInput": {"activityStart": {}}})
    assert link.sends(p.CancelResponse(ref="x")) == [START]
    assert link.sends(p.CancelResponse(ref="y")) == []
    assert link.sends(raw) == []
    assert link.sends(p.AppendAudio(b"\0\0"))[0] != START
    end = p.SendRaw(ref="x", payload={"realtime_input": {"activity_end": {}}})
    assert link.sends(end) == [END]
    assert link.sends(end) == []
    assert link.sends(raw) == [START]


def test_the_committed_turn_is_told_once_it_is_written_and_is_declared():
    link = manual()
    link.sends(p.AppendAudio(b"\0\0"))
    link.sends(p.CommitAudio(ref="c"))
    (committed,) = link.wrote()
    assert isinstance(committed, p.InputCommitted)
    assert not committed.inferred
    assert link.wrote() == []


def test_what_was_written_comes_before_the_next_frame_where_nobody_asked():
    link = manual()
    link.sends(p.AppendAudio(b"\0\0"))
    link.sends(p.CommitAudio(ref="c"))
    link.sends(p.CreateResponse(ref="r"))
    assert names(link.audio()) == ["InputCommitted", "ResponseBegan", "AudioDelta"]
    assert link.wrote() == []


def test_a_commit_without_audio_is_refused_by_its_reference():
    link = manual()
    link.sends(p.CommitAudio(ref="c"))
    (refused,) = link.wrote()
    assert (refused.meaning, refused.ref) == (p.ErrorMeaning.EMPTY_COMMIT, "c")


def test_two_commits_are_two_turns():
    link = manual()
    for _ in range(2):
        link.sends(p.AppendAudio(b"\0\0"))
        link.sends(p.CommitAudio(ref="c"))
    link.wrote()
    assert len({event.item_id for event in link.of(p.InputCommitted)}) == 2


def test_an_automatic_session_is_not_told_of_activity():
    link = Link()
    for name in ("activityStart", "activityEnd"):
        with pytest.raises(InvalidRequest, match="listens for speech"):
            link.sends(p.SendRaw(ref="x", payload={"realtimeInput": {name: {}}}))
    with pytest.raises(InvalidRequest, match="speech stops"):
        link.sends(p.CancelResponse(ref="x"))
    with pytest.raises(InvalidRequest, match="activityEnd"):
        manual().sends(p.SendRaw(ref="x", payload={"realtimeInput": {"audioStreamEnd": True}}))


def test_without_interruption_an_activity_does_not_cancel():
    link = manual(config=RealtimeConfig(interruption_detection="manual"))
    with pytest.raises(InvalidRequest):
        link.sends(p.CancelResponse(ref="x"))


# ---------------------------------------------------------------- text and requests


def test_text_joins_the_conversation_and_the_request_asks_for_the_answer():
    link = Link()
    turns = [{"role": "user", "parts": [{"text": "Hello"}]}]
    assert link.sends(text()) == [{"clientContent": {"turns": turns, "turnComplete": False}}]
    assert link.sends(p.CreateResponse(ref="r")) == [COMPLETE]
    (added,) = link.wrote()
    assert (added.item_id, added.kind, added.final) == ("i", p.ItemKind.USER, True)
    assert link.sends(text("   ")) == []


def test_where_text_is_history_only_it_goes_as_realtime_text_and_answers_itself():
    link = Link(dialect(model=FLASH_3_1))
    assert link.sends(text()) == [{"realtimeInput": {"text": "Hello"}}]
    assert link.sends(p.CreateResponse(ref="r")) == []
    with pytest.raises(InvalidRequest, match=r"3\.1"):
        link.sends(p.CreateResponse(ref="r"))
    with pytest.raises(InvalidRequest, match=r"3\.1"):
        link.sends(text(turn=False))


def test_realtime_text_in_a_manual_session_is_an_activity():
    link = manual(model=FLASH_3_1)
    assert link.sends(text()) == [START, {"realtimeInput": {"text": "Hello"}}]
    assert link.sends(p.CreateResponse(ref="r")) == [END]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"instructions": "Sing"}, "instructions"),
        ({"tools": ({"name": "f"},)}, "tools"),
        ({"tool_choice": "none"}, "tool_choice"),
        ({"max_output_tokens": 5}, "max_output_tokens"),
        ({"metadata": {"a": "b"}}, "metadata"),
        ({"in_conversation": False}, "in_conversation"),
        ({"input": ({"a": 1},)}, "input"),
        ({"extra": {"a": 1}}, "extra"),
        ({"modality": ResponseModality.TEXT}, "modality"),
    ],
)
def test_a_response_cannot_differ_from_the_session(options, named):
    command = p.CreateResponse(ref="r", options=p.ResponseOptions(**options))
    for refuse in (dialect().check, Link().sends):
        with pytest.raises(InvalidRequest, match=named):
            refuse(command)


def test_options_that_say_what_the_session_is_are_none():
    options = p.ResponseOptions(modality=ResponseModality.AUDIO, extra={}, metadata={})
    assert Link().sends(p.CreateResponse(ref="r", options=options)) == [COMPLETE]


@pytest.mark.parametrize(
    "command",
    [
        p.ClearAudio(ref="r"),
        p.TruncateItem(ref="r", item_id="i", content_index=0, audio_end_ms=1),
        p.DeleteItem(ref="r", item_id="i"),
        p.UpdateSession(ref="r", projection={}),
    ],
)
def test_what_the_protocol_has_no_message_for(command):
    for refuse in (dialect().check, Link().sends):
        with pytest.raises(InvalidRequest):
            refuse(command)


# ---------------------------------------------------------------- tool answers


def answered(link, said="1", *, name="f", **rest):
    link.hears(toolCall={"functionCalls": [{"id": "a", "name": name, "args": {}}]})
    command = p.SendToolOutput(ref="r", call_id="a", name=name, output=said, **rest)
    (message,) = link.sends(command)
    (answer,) = message["toolResponse"]["functionResponses"]
    return answer


@pytest.mark.parametrize(
    ("said", "response"),
    [
        ("rain", {"output": "rain"}),
        ("", {"output": ""}),
        ("12", {"output": 12}),
        ("[1, 2]", {"output": [1, 2]}),
        ("null", {"output": None}),
        ('{"a": 1}', {"a": 1}),
        ("{broken", {"output": "{broken"}),
    ],
)
def test_an_answer_is_always_an_object_with_its_id_and_name(said, response):
    answer = answered(Link(), said)
    assert answer == {"id": "a", "name": "f", "response": response}


def test_an_error_is_told_as_one():
    assert answered(Link(), "no", is_error=True)["response"] == {"error": "no"}
    assert answered(Link(), '{"error":"no"}', is_error=True)["response"] == {"error": "no"}


@pytest.mark.parametrize(
    ("by", "wants", "scheduling"),
    [
        ({}, True, None),
        ({}, False, "SILENT"),
        ({"tool_scheduling": "INTERRUPT"}, True, "INTERRUPT"),
        ({"tool_scheduling": {"f": "WHEN_IDLE"}}, True, "WHEN_IDLE"),
        ({"tool_scheduling": {"g": "INTERRUPT"}}, True, None),
        ({"tool_scheduling": "INTERRUPT"}, False, "SILENT"),
        ({"tool_behavior": "BLOCKING"}, False, None),
        ({"model": NATIVE}, False, None),
        ({"model": NATIVE, "tool_scheduling": ToolScheduling.INTERRUPT}, False, "SILENT"),
        ({"model": CASCADE, "tool_behavior": ToolBehavior.NON_BLOCKING}, False, "SILENT"),
    ],
)
def test_when_the_model_speaks_about_an_answer(by, wants, scheduling):
    answer = answered(Link(dialect(**by)), wants_response=wants)
    assert answer.get("scheduling") == scheduling


def test_a_second_answer_is_not_sent_and_an_unknown_call_is_refused():
    link = Link()
    answered(link)
    assert link.sends(p.SendToolOutput(ref="r", call_id="a", name="f", output="2")) == []
    with pytest.raises(InvalidRequest, match="'zzz'"):
        link.sends(p.SendToolOutput(ref="r", call_id="zzz", name="f", output="2"))


# ---------------------------------------------------------------- raw messages


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"type": "response.cancel"},
        {"setup": {"model": "x"}},
        {"clientContent": {}, "realtimeInput": {"text": "a"}},
        {"clientContent": []},
        {"realtimeInput": {}},
        {"realtimeInput": {"text": "a", "audioStreamEnd": True}},
        {"toolResponse": {"functionResponses": []}},
    ],
)
def test_raw_messages_that_are_none(payload):
    command = p.SendRaw(ref="r", payload=payload)
    for refuse in (dialect().check, Link().sends):
        with pytest.raises(InvalidRequest):
            refuse(command)


@pytest.mark.parametrize(
    "payload",
    [
        {"realtimeInput": {"video": {"mimeType": "image/jpeg", "data": "AAAA"}}},
        {"contextUpdate": {"systemInstruction": {"parts": [{"text": "Be brief"}]}}},
        {"clientContent": {"turns": [{"role": "user", "parts": [{"text": "a"}]}]}},
    ],
)
def test_raw_messages_go_as_they_are(payload):
    assert Link().sends(p.SendRaw(ref="r", payload=payload)) == [payload]


def test_turn_detection_numbers_do_not_change_what_is_sent():
    config = RealtimeConfig(turn_detection=VadConfig(prefix_padding_ms=20))
    assert Link(dialect(config=config)).sends(p.CreateResponse(ref="r")) == [COMPLETE]
