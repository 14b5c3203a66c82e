"""Server events become neutral ones."""

from __future__ import annotations

import base64
import json

import attrs
import pytest
from openai_dialect_kit import decode_one, error_frame, fault_of, frame, generated_frames
from support.openai_oracle import models

from meerkat_rt.model.conversation import Usage
from meerkat_rt.model.events import ProviderFault, RateLimit
from meerkat_rt.providers.openai import decoding
from meerkat_rt.providers.openai.decoding import IGNORED, PASSED_ON, TRANSLATED, decode
from meerkat_rt.turn import ports
from meerkat_rt.turn.ports import ErrorMeaning, ItemKind, ResponseStatus

TRANSCRIPTION = "conversation.item.input_audio_transcription"
PART = {"response_id": "resp_1", "item_id": "item_1", "output_index": 0, "content_index": 0}

# Every event of the vendor's union, with the neutral events that it may become.
TABLE: dict[str, set[type]] = {
    "conversation.created": set(),
    "conversation.item.added": {ports.ItemAdded},
    "conversation.item.created": {ports.ItemAdded},
    "conversation.item.deleted": {ports.ItemDeleted},
    "conversation.item.done": {ports.ItemAdded},
    f"{TRANSCRIPTION}.completed": {ports.InputTranscriptDone},
    f"{TRANSCRIPTION}.delta": {ports.InputTranscriptDelta},
    f"{TRANSCRIPTION}.failed": {ports.InputTranscriptFailed},
    f"{TRANSCRIPTION}.segment": {ports.UnknownFrame},
    "conversation.item.retrieved": {ports.UnknownFrame},
    "conversation.item.truncated": {ports.ItemTruncated},
    "error": {ports.ProviderError, ports.CommandRefused},
    "input_audio_buffer.cleared": {ports.InputCleared},
    "input_audio_buffer.committed": {ports.InputCommitted},
    "input_audio_buffer.dtmf_event_received": {ports.UnknownFrame},
    "input_audio_buffer.speech_started": {ports.SpeechStarted},
    "input_audio_buffer.speech_stopped": {ports.SpeechStopped},
    "input_audio_buffer.timeout_triggered": {ports.UnknownFrame},
    "mcp_list_tools.completed": {ports.ServerToolProgress},
    "mcp_list_tools.failed": {ports.ServerToolProgress},
    "mcp_list_tools.in_progress": {ports.ServerToolProgress},
    "output_audio_buffer.cleared": {ports.UnknownFrame},
    "output_audio_buffer.started": {ports.UnknownFrame},
    "output_audio_buffer.stopped": {ports.UnknownFrame},
    "rate_limits.updated": {ports.RateLimits},
    "response.content_part.added": {ports.OutputProgress},
    "response.content_part.done": {ports.OutputProgress},
    "response.created": {ports.ResponseBegan},
    "response.done": {ports.ResponseEnded},
    "response.function_call_arguments.delta": {ports.OutputProgress},
    "response.function_call_arguments.done": {ports.ToolCalled},
    "response.mcp_call.completed": {ports.ServerToolProgress},
    "response.mcp_call.failed": {ports.ServerToolProgress},
    "response.mcp_call.in_progress": {ports.ServerToolProgress},
    "response.mcp_call_arguments.delta": {ports.OutputProgress},
    "response.mcp_call_arguments.done": {ports.OutputProgress, ports.ServerToolProgress},
    "response.output_audio.delta": {ports.AudioDelta, ports.OutputProgress},
    "response.output_audio.done": {ports.AudioDone},
    "response.output_audio_transcript.delta": {ports.TranscriptDelta},
    "response.output_audio_transcript.done": {ports.TranscriptDone},
    "response.output_item.added": {ports.OutputItemBegan, ports.ServerToolProgress},
    "response.output_item.done": {
        ports.OutputItemEnded,
        ports.ToolCalled,
        ports.ServerToolProgress,
    },
    "response.output_text.delta": {ports.TextDelta},
    "response.output_text.done": {ports.TextDone},
    "session.created": {ports.SessionCreated},
    "session.updated": {ports.SessionUpdated},
}

# ---------------------------------------------------------------- completeness


def test_every_event_of_the_vendors_union_is_in_one_of_our_three_lists():
    assert len(TABLE) == 46
    assert set(models("server")) == set(TABLE)
    assert set(TABLE) == TRANSLATED | PASSED_ON | IGNORED
    assert len(TRANSLATED) + len(PASSED_ON) + len(IGNORED) == len(TABLE)
    assert {kind for kind, events in TABLE.items() if not events} == IGNORED
    assert {kind for kind, events in TABLE.items() if events == {ports.UnknownFrame}} == PASSED_ON


def test_every_generated_event_becomes_what_the_table_says():
    seen: dict[str, set[type]] = {kind: set() for kind in TABLE}
    for raw in generated_frames():
        seen[json.loads(raw)["type"]].update(map(type, decode(raw)))
    # The generated items are never calls that a response completed as an MCP call or the like.
    for kind, found in seen.items():
        assert found <= TABLE[kind], kind
        assert bool(found) is bool(TABLE[kind]), kind


# Where the vendor's types keep what a neutral event calls by another name.
ELSEWHERE = {
    ("ItemAdded", "item_id"): "item.id",
    ("OutputItemBegan", "item_id"): "item.id",
    ("OutputItemEnded", "item_id"): "item.id",
    ("ResponseBegan", "response_id"): "response.id",
    ("ResponseEnded", "response_id"): "response.id",
    ("SessionCreated", "session_id"): "session.id",
    ("SessionCreated", "expires_at"): "session.expires_at",
    ("SessionUpdated", "session_id"): "session.id",
    ("ProviderError", "ref"): "error.event_id",
    ("CommandRefused", "ref"): "error.event_id",
    ("InputTranscriptDone", "text"): "transcript",
    ("TranscriptDone", "text"): "transcript",
}
PLAIN = {
    "response_id", "item_id", "previous_item_id", "content_index", "audio_start_ms",
    "audio_end_ms", "event_id", "delta", "text", "call_id", "session_id", "expires_at", "ref",
}  # fmt: skip


@pytest.mark.parametrize("raw", generated_frames())
def test_a_generated_event_says_what_the_vendors_types_say(raw):
    event = json.loads(raw)
    vendor = models("server")[event["type"]].model_validate(event)
    for found in decode(raw):
        name = type(found).__name__
        if isinstance(found, (ports.UnknownFrame, ports.OutputProgress)):
            assert getattr(found, "raw", raw) == raw
            continue
        if isinstance(found, ports.ServerToolProgress) and "output_item" in event["type"]:
            assert found.item_id == vendor.item.id
            continue
        for field in type(found).__attrs_attrs__:
            path = ELSEWHERE.get((name, field.name), field.name)
            if field.name not in PLAIN:
                continue
            value = vendor
            for part in path.split("."):
                value = getattr(value, part, None)
            absent = 0 if field.name == "content_index" else None
            assert getattr(found, field.name) == (absent if value is None else value), field.name
        if isinstance(found, ports.AudioDelta):
            assert found.data == base64.b64decode(vendor.delta)
        if isinstance(found, ports.ResponseEnded):
            _same_terminal(found, vendor.response)


def _same_terminal(found: ports.ResponseEnded, vendor) -> None:
    assert found.status.value == vendor.status
    assert (found.usage is None) is (vendor.usage is None)
    if found.usage is not None and vendor.usage.input_tokens is not None:
        assert found.usage.input_tokens == vendor.usage.input_tokens
    if found.usage is not None and vendor.usage.output_tokens is not None:
        assert found.usage.output_tokens == vendor.usage.output_tokens
    assert found.item_ids == tuple(item.id for item in vendor.output or () if item.id)
    whole = [
        item.call_id
        for item in vendor.output or ()
        if item.type == "function_call" and item.call_id and item.status in (None, "completed")
    ]
    assert [call.call_id for call in found.calls] == (whole if vendor.status == "completed" else [])


# ---------------------------------------------------------------- what is not understood


def test_an_event_of_an_unknown_type_is_passed_on_as_it_came():
    raw = frame("response.telepathy.delta", delta="hm")
    assert decode(raw) == (ports.UnknownFrame(type="response.telepathy.delta", raw=raw),)


def test_beta_names_are_unknown():
    for name in ("response.audio.delta", "response.text.delta", "response.cancelled"):
        assert decode(frame(name)) == (ports.UnknownFrame(type=name, raw=frame(name)),)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b'"response.done"',
        b"{",
        b"{}",
        b'{"type":null}',
        b'{"type":7}',
        b'{"type":"response.done"',
        b'{"type":"unheard.of"',
        b'{"type":"unheard.of","x":[1,]}',
        b'{"type":"unheard.of","x":"\xff"}',
        b'{"type":"conversation.created"',
        b'{"type":"conversation.item.retrieved"',
        b"\xef\xbb\xbf{}",
        b"\x00\x01\x02",
    ],
)
def test_what_is_no_event_is_a_fault_and_keeps_the_frame(raw):
    fault = fault_of(raw)
    assert fault.raw == raw
    assert fault.message


@pytest.mark.parametrize("kind", sorted(TRANSLATED - {"session.created", "session.updated"}))
def test_an_event_without_what_it_must_have_is_a_fault_that_names_the_event(kind):
    bare = decode(frame(kind, response_id="", item_id="", item={}, response={}, error=None))
    tolerant = {
        "rate_limits.updated", "input_audio_buffer.cleared", "input_audio_buffer.committed",
        "input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped",
        "conversation.item.added", "conversation.item.created", "conversation.item.done",
        f"{TRANSCRIPTION}.delta",
    }  # fmt: skip
    if kind in tolerant:
        assert not any(isinstance(event, ports.ProtocolFault) for event in bare)
    else:
        (fault,) = bare
        assert isinstance(fault, ports.ProtocolFault)
        assert fault.message.startswith(kind)


def test_a_faults_message_does_not_repeat_what_people_said():
    raw = frame("response.output_text.delta", response_id="r", delta="my secret")
    assert "secret" not in fault_of(raw).message


def test_a_nested_type_does_not_deceive():
    raw = b'{"x":{"type":"response.done"},"event_id":"e","type":"input_audio_buffer.cleared"}'
    assert decode(raw) == (ports.InputCleared(),)


def test_an_escaped_type_is_read():
    raw = b'{"type":"input_audio_buffer.\\u0063leared","event_id":"e"}'
    assert decode(raw) == (ports.InputCleared(),)


def test_spaces_and_order_do_not_matter():
    event = {"type": "response.output_text.delta", "event_id": "e", "delta": "hi", **PART}
    expected = (ports.TextDelta("e", "resp_1", "item_1", "hi"),)
    assert decode(json.dumps(event).encode()) == expected
    assert decode(json.dumps(event, indent=2).encode()) == expected
    assert decode(json.dumps(dict(reversed(event.items()))).encode()) == expected


# ---------------------------------------------------------------- null is absent


@pytest.mark.parametrize("kind", sorted(set(TABLE) - IGNORED - PASSED_ON))
def test_null_is_the_same_as_absent(kind):
    for raw in generated_frames():
        event = json.loads(raw)
        # A response says with an explicit null that it stands outside the conversation.
        if event["type"] != kind or "response" in event:
            continue
        assert decode(json.dumps(event | _nulls(kind)).encode()) == decode(raw)


def _nulls(kind: str) -> dict[str, None]:
    fields = {"obfuscation": None, "x_future": None}
    required = models("server")[kind].model_fields
    return {name: None for name in fields if name not in required}


def test_optional_fields_may_be_null_on_the_hot_path():
    wire = PART | {"content_index": None}
    event = decode_one("response.output_text.delta", delta="a", **wire)
    assert event == ports.TextDelta("event_1", "resp_1", "item_1", "a", 0)
    event = decode_one("response.output_audio_transcript.delta", delta=None, **wire)
    assert event == ports.TranscriptDelta("event_1", "resp_1", "item_1", "", 0)
    event = decode_one("response.output_audio.delta", delta="AAA=", **wire)
    assert event == ports.AudioDelta("resp_1", "item_1", b"\0\0", 0)


def test_a_terminal_survives_fields_of_the_wrong_type():
    event = decode_one(
        "response.done",
        response={
            "id": "resp_1",
            "status": "completed",
            "status_details": "?",
            "usage": {"input_tokens": "many", "output_tokens": 3, "input_token_details": []},
            "output": [7, {"id": "item_1", "type": "message", "role": 1}, None],
            "metadata": {"meerkat_request": 5},
            "conversation_id": [],
        },
    )
    assert event == ports.ResponseEnded(
        response_id="resp_1",
        status=ResponseStatus.COMPLETED,
        usage=Usage(output_tokens=3),
        item_ids=("item_1",),
    )


def test_a_changed_session_shape_does_not_hide_the_acknowledgement():
    event = decode_one("session.updated", session={"id": 5, "expires_at": "soon", "audio": 1})
    assert event == ports.SessionUpdated()
    assert decode_one("session.created", session=[]) == ports.SessionCreated()


# ---------------------------------------------------------------- the quick way


ODD = [
    {},
    {"delta": ""},
    {"delta": None},
    {"delta": 7},
    {"delta": 'é😀"\\'},
    {"event_id": ""},
    {"event_id": None},
    {"item_id": ""},
    {"item_id": 3},
    {"response_id": ""},
    {"content_index": 1},
    {"content_index": -1},
    {"content_index": 2**31},
    {"content_index": 2**31 - 1},
    {"content_index": 2**80},
    {"content_index": 1.0},
    {"content_index": "1"},
    {"content_index": None},
    {"event_id": " "},
    {"item_id": "\t", "delta": None},
    {"response_id": "\u3000", "content_index": 1},
    {"obfuscation": "xyz", "future": {"delta": "other"}},
]


@pytest.mark.parametrize(
    "kind", ["response.output_text.delta", "response.output_audio_transcript.delta"]
)
@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_the_quick_way_makes_of_a_delta_what_the_careful_one_does(kind, odd):
    raw = frame(kind, **{"delta": "hi", **PART, **odd})
    (event,) = decode(raw)
    assert decode(_type_last(raw)) == (attrs.evolve(event, **_raw_of(event, _type_last(raw))),)
    assert decode(raw[:-1]) == decoding._carefully(raw[:-1])


def _type_last(raw: bytes) -> bytes:
    event = json.loads(raw)
    kind = event.pop("type")
    return json.dumps({**event, "type": kind}, separators=(",", ":")).encode()


def _raw_of(event: ports.ProviderEvent, raw: bytes) -> dict[str, bytes]:
    """What a fault says beside the mistake: the frame."""
    return {"raw": raw} if isinstance(event, ports.ProtocolFault) else {}


@pytest.mark.parametrize("more", [b',"x":1e400', b',"x":' + b"9" * 5000, b',"\xff":1'], ids=len)
def test_what_nobody_reads_is_not_looked_at_wherever_the_type_stands(more):
    raw = frame("response.output_text.delta", delta="hi", **PART)
    for form in (raw, _type_last(raw)):
        event = ports.TextDelta("event_1", "resp_1", "item_1", "hi")
        assert decode(form[:-1] + more + b"}") == (event,)


@pytest.mark.parametrize("blank", ["", " "])
@pytest.mark.parametrize(
    "kind",
    [
        "response.output_text.delta",
        "response.output_audio.delta",
        "response.output_audio_transcript.delta",
    ],
)
def test_a_longer_name_is_another_whatever_was_seen_before(kind, blank):
    begun = f'{{"type":{blank}"{kind}'
    for end in ("", "s", "_of_another_kind", '"', 's"'):
        assert isinstance(decode((begun + end).encode())[0], ports.ProtocolFault)
    decode(frame(kind, delta="hi", **PART))
    for more in ("s", "_of_another_kind"):
        raw = frame(kind + more, delta="AAA=", **PART).replace(b":", b":" + blank.encode(), 1)
        assert decode(raw) == (ports.UnknownFrame(type=kind + more, raw=raw),)


def test_frames_that_begin_in_ever_other_ways_are_not_remembered_for_ever():
    for number in range(1000):
        decode(b'{"type":"response.output_text.delta","%d":1,"delta":"hi"}' % number)
    assert len(decoding._known) <= 256


def test_frames_that_come_together_are_what_they_are_alone():
    frames = [*generated_frames(), b"{", frame("response.output_text.delta", delta=5), b"[]"]
    together = decoding.decode_all(frames)
    assert together == [event for raw in frames for event in decode(raw)]
    assert {type(event) for event in together} > {ports.ProtocolFault, ports.UnknownFrame}


# ---------------------------------------------------------------- ranges


@pytest.mark.parametrize("index", [-1, 2**31, 10**30, 1e300, 0.5])
@pytest.mark.parametrize(
    "kind",
    [
        "response.output_text.delta",
        "response.output_audio_transcript.delta",
        "response.output_text.done",
        "response.output_audio.done",
        f"{TRANSCRIPTION}.completed",
    ],
)
def test_an_impossible_content_index_never_becomes_an_event_with_it(kind, index):
    wire = PART | {"content_index": index}
    (event,) = decode(frame(kind, delta="a", **wire))
    if isinstance(event, ports.ProtocolFault):
        assert "content_index" in event.message
    else:
        assert (index, event.content_index) == (0.5, 0)  # no integer at all: absent


def test_a_content_index_written_as_a_float_is_an_index():
    wire = PART | {"content_index": 2.0}
    assert decode_one("response.output_text.delta", delta="a", **wire).content_index == 2


def test_an_impossible_time_does_not_cost_a_barge_in():
    for at in (-1, 10**30, "now", None):
        event = decode_one("input_audio_buffer.speech_started", item_id="i", audio_start_ms=at)
        assert event == ports.SpeechStarted(item_id="i", audio_start_ms=0)


def test_an_impossible_truncation_is_a_fault():
    raw = frame("conversation.item.truncated", item_id="i", content_index=0, audio_end_ms=-5)
    assert "audio_end_ms" in fault_of(raw).message


def test_negative_token_counts_count_as_unsaid():
    event = decode_one(
        "response.done",
        response={"id": "r", "status": "completed", "usage": {"input_tokens": -3}},
    )
    assert event.usage == Usage()


# ---------------------------------------------------------------- media


def test_audio_is_decoded_once_to_bytes_with_its_identity():
    pcm = bytes(range(256)) * 4
    event = decode_one("response.output_audio.delta", delta=base64.b64encode(pcm).decode(), **PART)
    assert event == ports.AudioDelta("resp_1", "item_1", pcm, 0)


@pytest.mark.parametrize("text", ["AAA", "A-_A", "AAAA\n", "A===", "é", "AA AA"])
def test_bad_base64_is_a_fault_not_silence(text):
    fault_of(frame("response.output_audio.delta", delta=text, **PART))


def test_an_empty_audio_delta_only_says_that_the_response_goes_on():
    event = decode_one("response.output_audio.delta", delta="", **PART)
    assert event == ports.OutputProgress(response_id="resp_1")


def test_an_odd_number_of_bytes_is_passed_on_for_somebody_else_to_align():
    assert decode_one("response.output_audio.delta", delta="AQ==", **PART).data == b"\1"


# ---------------------------------------------------------------- a scripted run


def test_a_scripted_run_maps_in_order():
    script = [
        frame(f"{TRANSCRIPTION}.delta", item_id="u1", content_index=0, delta="what's"),
        frame(f"{TRANSCRIPTION}.completed", item_id="u1", content_index=0, transcript="what's up"),
        frame("input_audio_buffer.speech_started", item_id="u2", audio_start_ms=640),
        frame("input_audio_buffer.committed", item_id="u2", previous_item_id="u1"),
        frame("response.output_text.delta", delta="hi", **PART),
        frame("response.output_audio.delta", delta="AAA=", **PART),
        frame(
            "response.function_call_arguments.done",
            response_id="resp_1", item_id="f1", output_index=1, call_id="call_1",
            name="look_up", arguments='{"a":1}',
        ),
        frame(
            "response.done",
            response={
                "id": "resp_1", "status": "cancelled",
                "status_details": {"type": "cancelled", "reason": "turn_detected"},
            },
        ),
    ]  # fmt: skip
    assert [event for raw in script for event in decode(raw)] == [
        ports.InputTranscriptDelta(item_id="u1", delta="what's"),
        ports.InputTranscriptDone(item_id="u1", text="what's up"),
        ports.SpeechStarted(item_id="u2", audio_start_ms=640),
        ports.InputCommitted(item_id="u2", previous_item_id="u1"),
        ports.TextDelta("event_1", "resp_1", "item_1", "hi"),
        ports.AudioDelta("resp_1", "item_1", b"\0\0"),
        ports.ToolCalled(
            response_id="resp_1",
            item_id="f1",
            call_id="call_1",
            name="look_up",
            arguments='{"a":1}',
        ),
        ports.ResponseEnded(
            response_id="resp_1", status=ResponseStatus.CANCELLED, reason="turn_detected"
        ),
    ]


def test_text_and_transcript_keep_their_order_on_two_lanes():
    kinds = ["output_text", "output_audio_transcript", "output_text", "output_audio_transcript"]
    script = [frame(f"response.{kind}.delta", delta=str(n), **PART) for n, kind in enumerate(kinds)]
    events = [event for raw in script for event in decode(raw)]
    assert [(type(event), event.delta) for event in events] == [
        (ports.TextDelta, "0"),
        (ports.TranscriptDelta, "1"),
        (ports.TextDelta, "2"),
        (ports.TranscriptDelta, "3"),
    ]


def test_a_transcripts_end_carries_the_authoritative_text_and_its_identity():
    event = decode_one("response.output_audio_transcript.done", transcript="all of it", **PART)
    assert event == ports.TranscriptDone(
        event_id="event_1", response_id="resp_1", item_id="item_1", text="all of it"
    )
    event = decode_one("response.output_text.done", text="all of it", **PART)
    assert type(event) is ports.TextDone
    assert event.text == "all of it"


def test_an_end_without_an_event_id_gets_one_that_no_delta_has():
    raw = json.dumps({"type": "response.output_text.done", "text": "x", **PART}).encode()
    (event,) = decode(raw)
    assert event.event_id == "done:item_1:0"


def test_a_delta_without_an_event_id_is_a_fault():
    raw = json.dumps({"type": "response.output_text.delta", "delta": "x", **PART}).encode()
    assert "event_id" in fault_of(raw).message


# ---------------------------------------------------------------- items


@pytest.mark.parametrize(
    ("item", "kind"),
    [
        ({"type": "message", "role": "user"}, ItemKind.USER),
        ({"type": "message", "role": "assistant"}, ItemKind.ASSISTANT),
        ({"type": "message", "role": "system"}, ItemKind.SYSTEM),
        ({"type": "message", "role": "developer"}, ItemKind.OTHER),
        ({"type": "function_call"}, ItemKind.TOOL_CALL),
        ({"type": "function_call_output"}, ItemKind.TOOL_OUTPUT),
        ({"type": "mcp_call"}, ItemKind.OTHER),
        ({"type": "hologram"}, ItemKind.OTHER),
        ({}, ItemKind.OTHER),
    ],
)
def test_items_come_with_their_kind_and_predecessor(item, kind):
    event = decode_one("conversation.item.added", item={"id": "b", **item}, previous_item_id="a")
    assert event == ports.ItemAdded(item_id="b", previous_item_id="a", kind=kind)


def test_an_item_is_final_when_it_is_done_and_not_before():
    item = {"id": "b", "type": "message", "role": "user", "status": "completed"}
    assert not decode_one("conversation.item.added", item=item).final
    assert not decode_one("conversation.item.created", item=item).final
    assert decode_one("conversation.item.done", item=item).final


def test_function_call_items_surface_with_their_predecessor():
    item = {"id": "f", "type": "function_call", "call_id": "c", "name": "n", "arguments": ""}
    event = decode_one("conversation.item.added", item=item, previous_item_id="u")
    assert (event.kind, event.previous_item_id) == (ItemKind.TOOL_CALL, "u")
    event = decode_one("input_audio_buffer.committed", item_id="v", previous_item_id="f")
    assert event.previous_item_id == "f"


def test_an_item_without_an_id_is_still_an_item():
    event = decode_one("conversation.item.added", item={"type": "message", "role": "user"})
    assert (event.item_id, event.kind) == (None, ItemKind.USER)


def test_either_order_of_the_two_endings_of_an_item_is_accepted():
    item = {"id": "a", "type": "message", "role": "assistant", "status": "completed"}
    done = frame("conversation.item.done", item=item, previous_item_id=None)
    output = frame("response.output_item.done", item=item, response_id="r", output_index=0)
    one = decode(done) + decode(output)
    assert set(one) == set(decode(output) + decode(done))
    assert ports.OutputItemEnded(response_id="r", item_id="a", kind=ItemKind.ASSISTANT) in one


# ---------------------------------------------------------------- responses


def test_a_response_says_which_request_it_answers():
    wire = {"id": "r", "metadata": {"topic": "x", "meerkat_request": "req_7"}}
    assert decode_one("response.created", response=wire).ref == "req_7"
    for metadata in (None, {}, {"meerkat_request": None}, {"meerkat_request": " "}, "odd"):
        event = decode_one("response.created", response={"id": "r", "metadata": metadata})
        assert event == ports.ResponseBegan(response_id="r")


def test_only_an_explicit_null_puts_a_response_outside_the_conversation():
    for kind in ("response.created", "response.done"):
        out = decode_one(kind, response={"id": "r", "conversation_id": None})
        assert not out.in_conversation
        assert decode_one(kind, response={"id": "r"}).in_conversation
        assert decode_one(kind, response={"id": "r", "conversation_id": "conv_1"}).in_conversation


@pytest.mark.parametrize(
    ("wire", "status", "reason"),
    [
        ({"status": "completed"}, ResponseStatus.COMPLETED, None),
        (
            {"status": "cancelled", "status_details": {"reason": "client_cancelled"}},
            ResponseStatus.CANCELLED,
            "client_cancelled",
        ),
        (
            {"status": "incomplete", "status_details": {"reason": "max_output_tokens"}},
            ResponseStatus.INCOMPLETE,
            "max_output_tokens",
        ),
        (
            {"status": "incomplete", "status_details": {"reason": "content_filter"}},
            ResponseStatus.INCOMPLETE,
            "content_filter",
        ),
        ({"status": None, "status_details": {"type": "failed"}}, ResponseStatus.FAILED, None),
        ({"status": None}, ResponseStatus.COMPLETED, None),
        ({"status": "in_progress"}, ResponseStatus.INCOMPLETE, "in_progress"),
        ({"status": "evaporated"}, ResponseStatus.INCOMPLETE, "evaporated"),
    ],
)
def test_a_response_ends_with_its_status_and_reason(wire, status, reason):
    event = decode_one("response.done", response={"id": "r", **wire})
    assert (event.status, event.reason) == (status, reason)


def test_a_failed_response_says_why():
    error = {"type": "invalid_request_error", "code": "rate_limit_exceeded", "message": "slow"}
    wire = {"id": "r", "status": "failed", "status_details": {"type": "failed", "error": error}}
    event = decode_one("response.done", response=wire)
    assert event.fault == ProviderFault(
        code="rate_limit_exceeded", kind="invalid_request_error", message="slow"
    )
    silent = decode_one("response.done", response={"id": "r", "status": "failed"})
    assert silent.fault is not None
    assert "did not say why" in silent.fault.message


@pytest.mark.parametrize(
    ("wire", "usage"),
    [
        (None, None),
        ({}, Usage()),
        (
            {
                "total_tokens": 30, "input_tokens": 20, "output_tokens": 10,
                "input_token_details": {"text_tokens": 5, "audio_tokens": 15, "cached_tokens": 8},
            },
            Usage(input_tokens=20, output_tokens=10, cache_read_tokens=8),
        ),
        (
            {
                "input_tokens": 20,
                "input_token_details": {
                    "cached_tokens": None,
                    "cached_tokens_details": {"text_tokens": 2, "audio_tokens": 3},
                },
            },
            Usage(input_tokens=20, cache_read_tokens=5),
        ),
        ({"input_tokens": 1, "input_token_details": None}, Usage(input_tokens=1)),
        (
            {
                "input_tokens": None, "output_tokens": None,
                "input_token_details": {"text_tokens": 4, "audio_tokens": 6},
                "output_token_details": {"text_tokens": 1, "audio_tokens": 2},
            },
            Usage(input_tokens=10, output_tokens=3),
        ),
    ],
)  # fmt: skip
def test_usage_is_read_where_the_provider_nests_it(wire, usage):
    for status in ResponseStatus:
        event = decode_one("response.done", response={"id": "r", "status": status, "usage": wire})
        assert event.usage == usage


# ---------------------------------------------------------------- tool calls

CALL = {
    "id": "f1", "type": "function_call", "status": "completed",
    "call_id": "call_1", "name": "look_up", "arguments": '{"a":1}',
}  # fmt: skip
CALLED = ports.ToolCalled(
    response_id="r", item_id="f1", call_id="call_1", name="look_up", arguments='{"a":1}'
)


def arguments_done(arguments, **more):
    wire = {"response_id": "r", "item_id": "f1", "output_index": 0, "call_id": "call_1"}
    wire |= {"name": "look_up", "arguments": arguments}
    return decode_one("response.function_call_arguments.done", **(wire | more))


def item_done(**item):
    return decode(
        frame("response.output_item.done", response_id="r", output_index=0, item=CALL | item)
    )


def test_a_valid_call_is_reported_with_its_arguments_as_text():
    assert arguments_done('{"a":1}') == CALLED


def test_a_call_is_reported_again_with_its_item_and_with_the_response():
    assert item_done()[1:] == (CALLED,)
    ended = decode_one(
        "response.done", response={"id": "r", "status": "completed", "output": [CALL]}
    )
    assert ended.calls == (CALLED,)


@pytest.mark.parametrize("arguments", ["", None, "  ", '{"a":', '{"a":1', "[1]", "7", "nonsense"])
def test_arguments_that_may_have_been_cut_wait_for_the_items_status(arguments):
    assert arguments_done(arguments) == ports.OutputProgress(response_id="r")
    (ended,) = item_done(arguments=arguments, status="incomplete")
    assert ended.incomplete
    (_, called) = item_done(arguments=arguments, status="completed")
    assert called.arguments == (arguments or "")


def test_a_call_without_a_name_yet_waits_for_its_item():
    assert arguments_done("{}", name=None) == ports.OutputProgress(response_id="r")


def test_a_call_without_an_id_cannot_be_answered_and_is_not_reported():
    assert [type(event) for event in item_done(call_id=None)] == [ports.OutputItemEnded]
    wire = {"id": "r", "status": "completed", "output": [CALL | {"call_id": " "}]}
    assert decode_one("response.done", response=wire).calls == ()


def test_an_item_without_a_status_counts_if_its_arguments_are_whole():
    assert item_done(status=None)[1:] == (CALLED,)
    assert item_done(status=None, arguments='{"a":')[1:] == ()


@pytest.mark.parametrize("status", ["cancelled", "incomplete", "failed"])
def test_calls_of_a_response_that_was_cut_are_not_reported_as_complete(status):
    wire = {"id": "r", "status": status, "output": [CALL, CALL | {"status": "incomplete"}]}
    event = decode_one("response.done", response=wire)
    assert event.calls == ()
    assert event.item_ids == ("f1", "f1")


def test_a_cut_call_in_a_completed_response_is_not_reported():
    wire = {"id": "r", "status": "completed", "output": [CALL | {"status": "in_progress"}]}
    assert decode_one("response.done", response=wire).calls == ()


def test_a_response_may_end_without_naming_the_calls_it_made():
    ended = decode_one("response.done", response={"id": "r", "status": "completed", "output": []})
    assert arguments_done('{"a":1}').response_id == ended.response_id
    assert ended.calls == ()


# ---------------------------------------------------------------- tools at the provider


def test_tools_at_the_provider_are_progress_and_never_calls_to_us():
    item = {"id": "m", "type": "mcp_call", "name": "search", "arguments": "", "server_label": "s"}
    script = [
        frame("response.output_item.added", response_id="r", output_index=0, item=item),
        frame("response.mcp_call_arguments.delta", response_id="r", item_id="m", delta="{"),
        frame("response.mcp_call_arguments.done", response_id="r", item_id="m", arguments="{}"),
        frame("response.mcp_call.in_progress", item_id="m", output_index=0),
        frame("response.mcp_call.completed", item_id="m", output_index=0),
        frame(
            "response.output_item.done", response_id="r", output_index=0,
            item=item | {"arguments": "{}", "output": "found", "call_id": "c"},
        ),
    ]  # fmt: skip
    events = [event for raw in script for event in decode(raw)]
    assert not any(isinstance(event, ports.ToolCalled) for event in events)
    progress = [event for event in events if isinstance(event, ports.ServerToolProgress)]
    assert [(step.status, step.name, step.arguments) for step in progress] == [
        ("requested", "search", ""),
        ("requested", "", "{}"),
        ("requested", "", ""),
        ("completed", "", ""),
    ]
    assert {step.item_id for step in progress} == {"m"}
    wire = {"id": "r", "status": "completed", "output": [item | {"call_id": "c"}]}
    assert decode_one("response.done", response=wire).calls == ()


def test_an_approval_that_the_provider_waits_for_is_reported():
    item = {"id": "mcpr_1", "type": "mcp_approval_request", "name": "pay", "arguments": '{"n":1}'}
    raw = frame("response.output_item.done", response_id="r", output_index=0, item=item)
    assert decode(raw)[1] == ports.ServerToolProgress(
        item_id="mcpr_1", status="approval_requested", name="pay", arguments='{"n":1}'
    )


def test_a_server_whose_tools_cannot_be_listed_is_reported():
    event = decode_one("mcp_list_tools.failed", item_id="m")
    assert (event.status, event.name) == ("failed", "mcp_list_tools")


# ---------------------------------------------------------------- the rest


def test_a_transcription_that_failed_says_for_which_item_and_why():
    error = {"type": "transcription_error", "code": "audio_unintelligible", "message": "mumbling"}
    event = decode_one(f"{TRANSCRIPTION}.failed", item_id="u", content_index=0, error=error)
    assert event.item_id == "u"
    assert event.fault.code == "audio_unintelligible"


def test_an_input_delta_without_a_delta_says_nothing():
    for delta in (None, ""):
        assert decode(frame(f"{TRANSCRIPTION}.delta", item_id="u", delta=delta)) == ()


def test_rate_limits_may_lack_anything():
    limits = [{"name": "tokens", "limit": 5, "remaining": 4, "reset_seconds": 0}, {}, None]
    assert decode_one("rate_limits.updated", rate_limits=limits) == ports.RateLimits(
        (RateLimit(name="tokens", limit=5, remaining=4, reset_seconds=0.0), RateLimit())
    )
    assert decode_one("rate_limits.updated", rate_limits=None) == ports.RateLimits(())


def test_an_error_frame_is_tied_to_the_command_that_caused_it():
    raw = error_frame(code="conversation_already_has_active_response", event_id="cmd_1")
    (event,) = decode(raw)
    assert (event.ref, event.meaning) == ("cmd_1", ErrorMeaning.ACTIVE_RESPONSE)


def test_session_created_tells_id_and_expiry():
    event = decode_one("session.created", session={"id": "sess_1", "expires_at": 1793000000})
    assert event == ports.SessionCreated(session_id="sess_1", expires_at=1793000000)
