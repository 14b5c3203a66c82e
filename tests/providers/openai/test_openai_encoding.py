"""Neutral commands become client events, each of which the vendor's own types know."""

from __future__ import annotations

import base64
import json
import re

import pytest
from openai_dialect_kit import EXPLICIT, dialect, frame, sent
from support.openai_oracle import models

from meerkat_rt.model.checks import shown
from meerkat_rt.model.conversation import (
    AssistantMessage,
    AssistantText,
    AssistantToolUse,
    ImageContent,
    InlineData,
    SystemMessage,
    SystemNoticeMessage,
    ToolResult,
    ToolResultsMessage,
    UserMessage,
)
from meerkat_rt.model.errors import InvalidRequest, RequestTooLarge
from meerkat_rt.model.live_config import RealtimeConfig, VoiceId
from meerkat_rt.model.media import ResponseModality
from meerkat_rt.providers.openai.decoding import decode
from meerkat_rt.turn import ports
from meerkat_rt.turn.ports import CreateResponse, ResponseOptions

PCM = {"type": "audio/pcm", "rate": 24000}
LIMIT = 15 * 1024 * 1024


def one(command, by=None):
    (event,) = sent(command, by)
    return event


def response(options=ResponseOptions(), by=None):  # noqa: B008 - frozen
    return one(CreateResponse(ref="req_1", options=options), by)["response"]


# ---------------------------------------------------------------- limits first


def test_more_than_15_mib_of_audio_in_one_event_is_refused():
    with pytest.raises(RequestTooLarge) as caught:
        dialect().encode(ports.AppendAudio(bytes(LIMIT + 1)))
    assert (caught.value.encoded_bytes, caught.value.max_bytes) == (LIMIT + 1, LIMIT)
    (raw,) = dialect().encode(ports.AppendAudio(bytes(LIMIT)))
    assert len(raw) > LIMIT


def test_more_than_15_mib_of_audio_in_a_raw_event_is_refused():
    payload = {"type": "input_audio_buffer.append", "audio": "A" * (LIMIT // 3 * 4)}
    assert dialect().encode(ports.SendRaw(ref="x", payload=payload))
    payload["audio"] += "AAAAAAAA"
    with pytest.raises(RequestTooLarge):
        dialect().encode(ports.SendRaw(ref="x", payload=payload))


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({str(n): "x" for n in range(16)}, "at most 15"),
        ({"k" * 65: "x"}, "64 characters"),
        ({"k": "v" * 513}, "512 in a value"),
        ({"k": 1}, "text to text"),
        ({"meerkat_request": "mine"}, "own"),
        ({5: "x"}, "text to text; 5 is 'x'"),
        ("x", "metadata is 'x'; allowed: a mapping"),
    ],
)
def test_metadata_beyond_the_limits_is_refused(metadata, words):
    with pytest.raises(InvalidRequest, match=words):
        response(ResponseOptions(metadata=metadata))


@pytest.mark.parametrize("tokens", [0, -1, 4097, "5", 1.5, True])
def test_an_impossible_token_cap_is_refused(tokens):
    with pytest.raises(InvalidRequest, match="1 to 4096"):
        response(ResponseOptions(max_output_tokens=tokens))


@pytest.mark.parametrize(
    ("option", "wrong", "allowed"),
    [
        ("input", "hello", "a list of items, as the provider's JSON objects"),
        ("input", ["hello"], "a list of items"),
        ("input", {"type": "message"}, "a list of items"),
        ("tools", [print], "a list of tools"),
        ("instructions", 5, "a string"),
        ("tool_choice", {"type": "function"}, "auto, none, required, or the name of a tool"),
        ("tool_choice", "", "auto, none, required, or the name of a tool"),
        ("tool_choice", "any tool", "auto, none, required, or the name of a tool"),
        ("extra", ["x"], "a mapping of text to JSON"),
    ],
)
def test_an_option_of_another_kind_is_refused_by_name(option, wrong, allowed):
    words = re.escape(f"{option} is {shown(wrong)}; allowed: {allowed}")
    with pytest.raises(InvalidRequest, match=words):
        response(ResponseOptions(**{option: wrong}))


@pytest.mark.parametrize(
    "payload", [{}, {"type": ""}, {"type": None}, {"type": 3}, {"type": "x", "y": object()}]
)
def test_a_raw_event_that_is_none_is_refused(payload):
    with pytest.raises(InvalidRequest):
        dialect().encode(ports.SendRaw(ref="x", payload=payload))


def test_text_that_utf8_cannot_carry_is_refused():
    with pytest.raises(InvalidRequest):
        dialect().encode(
            ports.CreateItem(ref="x", item_id="i", message=UserMessage("half a \ud83d smile"))
        )


# ---------------------------------------------------------------- audio


def test_audio_is_written_as_one_append_with_nothing_else():
    data = bytes(range(256))
    (raw,) = dialect().encode(ports.AppendAudio(data))
    assert isinstance(raw, bytes)
    event = json.loads(raw)
    assert event.keys() == {"type", "audio"}
    assert base64.b64decode(event["audio"], validate=True) == data
    assert one(ports.AppendAudio(data)) == event


def test_no_audio_is_no_event():
    assert list(dialect().encode(ports.AppendAudio(b""))) == []


# ---------------------------------------------------------------- simple commands


@pytest.mark.parametrize(
    ("command", "event"),
    [
        (ports.CommitAudio(ref="c"), {"type": "input_audio_buffer.commit"}),
        (ports.ClearAudio(ref="c"), {"type": "input_audio_buffer.clear"}),
        (ports.CancelResponse(ref="c"), {"type": "response.cancel"}),
        (
            ports.CancelResponse(ref="c", response_id="r"),
            {"type": "response.cancel", "response_id": "r"},
        ),
        (
            ports.DeleteItem(ref="c", item_id="i"),
            {"type": "conversation.item.delete", "item_id": "i"},
        ),
        (
            ports.TruncateItem(ref="c", item_id="i", content_index=0, audio_end_ms=1500),
            {
                "type": "conversation.item.truncate",
                "item_id": "i",
                "content_index": 0,
                "audio_end_ms": 1500,
            },
        ),
        (
            ports.UpdateSession(ref="c", projection={"type": "realtime", "instructions": ""}),
            {"type": "session.update", "session": {"type": "realtime", "instructions": ""}},
        ),
    ],
)
def test_commands_carry_their_reference_as_event_id(command, event):
    assert one(command) == event | {"event_id": "c"}


@pytest.mark.parametrize(("ms", "wire"), [(-1, 0), (2**32 - 1, 2**32 - 1), (2**40, 2**32 - 1)])
def test_a_truncation_is_clamped_to_what_the_wire_can_say(ms, wire):
    command = ports.TruncateItem(ref="c", item_id="i", content_index=0, audio_end_ms=ms)
    assert one(command)["audio_end_ms"] == wire


# ---------------------------------------------------------------- items


def test_typed_input_is_a_user_item_with_our_id():
    command = ports.CreateItem(
        ref="c", item_id="mk_text_1", message=UserMessage(" hi "), previous_item_id="i0"
    )
    assert one(command) == {
        "type": "conversation.item.create",
        "event_id": "c",
        "previous_item_id": "i0",
        "item": {
            "id": "mk_text_1",
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": " hi "}],
        },
    }


@pytest.mark.parametrize(
    ("message", "role", "kind"),
    [
        (SystemMessage("be kind"), "system", "input_text"),
        (SystemNoticeMessage(kind="peer", body="it answered"), "user", "input_text"),
        (AssistantMessage(blocks=[AssistantText("well")]), "assistant", "output_text"),
    ],
)
def test_messages_of_every_role_have_an_item(message, role, kind):
    item = one(ports.CreateItem(ref="c", item_id="i", message=message))["item"]
    assert item["role"] == role
    assert [part["type"] for part in item["content"]] == [kind]


def test_a_picture_becomes_a_data_url_and_its_bytes_stay_out_of_reprs():
    data = b"\x89PNG\r\n\x1a\nsecretpixels"
    message = UserMessage([ImageContent("image/png", InlineData(data))])
    command = ports.CreateItem(ref="c", item_id="i", message=message)
    (part,) = one(command)["item"]["content"]
    assert part == {
        "type": "input_image",
        "image_url": "data:image/png;base64," + base64.b64encode(data).decode(),
    }
    assert "secretpixels" not in repr(command)
    assert "base64" not in repr(command)


def test_a_message_without_an_item_form_is_no_event():
    command = ports.CreateItem(ref="c", item_id="i", message=UserMessage("  "))
    assert sent(command) == []


def test_a_message_of_several_items_is_chained_with_short_ids():
    message = AssistantMessage(
        blocks=[
            AssistantText("let me see"),
            AssistantToolUse(id="call_1", name="look", args={"a": 1}),
            AssistantText("now"),
        ]
    )
    events = sent(ports.CreateItem(ref="c", item_id="m" * 32, message=message))
    ids = [event["item"]["id"] for event in events]
    assert [event["item"]["type"] for event in events] == ["message", "function_call", "message"]
    assert [event.get("previous_item_id") for event in events] == [None, *ids[:-1]]
    assert len(set(ids)) == 3
    assert max(map(len, ids)) <= 32
    assert {event["event_id"] for event in events} == {"c"}


def test_results_in_a_message_are_outputs():
    message = ToolResultsMessage([ToolResult(tool_use_id="call_1", content="42")])
    item = one(ports.CreateItem(ref="c", item_id="i", message=message))["item"]
    assert item == {
        "id": "i",
        "type": "function_call_output",
        "call_id": "call_1",
        "output": "42",
    }


# ---------------------------------------------------------------- tools


def test_a_result_is_its_text_without_any_wrapper():
    command = ports.SendToolOutput(ref="c", call_id="call_1", name="look", output='{"sunny": true}')
    assert one(command) == {
        "type": "conversation.item.create",
        "event_id": "c",
        "item": {
            "type": "function_call_output",
            "call_id": "call_1",
            "output": '{"sunny": true}',
        },
    }


@pytest.mark.parametrize("wants_response", [True, False])
def test_an_error_is_the_output_item_alone_with_its_payload_preserved(wants_response):
    command = ports.SendToolOutput(
        ref="c",
        call_id="call_1",
        name="look",
        output='{"error": "out of order"}',
        is_error=True,
        wants_response=wants_response,
    )
    item = one(command)["item"]
    assert item["output"] == '{"error": "out of order"}'
    assert item.keys() == {"type", "call_id", "output"}


def test_a_success_is_continued_by_a_response_request_of_its_own():
    by = dialect()
    commands = [
        ports.SendToolOutput(ref="a", call_id="call_1", name="look", output="42"),
        CreateResponse(ref="b"),
    ]
    events = [event for command in commands for event in sent(command, by)]
    assert [event["type"] for event in events] == ["conversation.item.create", "response.create"]
    assert events[1]["response"]["output_modalities"] == ["audio"]


# ---------------------------------------------------------------- responses


def test_a_spoken_response_nests_format_and_voice_and_has_no_voice_on_top():
    assert response() == {
        "conversation": "auto",
        "output_modalities": ["audio"],
        "audio": {"output": {"format": PCM, "voice": "marin"}},
        "metadata": {"meerkat_request": "req_1"},
    }


def test_a_written_response_has_no_audio_block():
    for wire in (
        response(ResponseOptions(modality=ResponseModality.TEXT)),
        response(by=dialect(config=RealtimeConfig(modalities=["text"]))),
    ):
        assert wire["output_modalities"] == ["text"]
        assert "audio" not in wire


def test_a_response_may_be_spoken_in_a_written_session():
    by = dialect(config=RealtimeConfig(modalities=["text"], voice=VoiceId("voice_1")))
    wire = response(ResponseOptions(modality=ResponseModality.AUDIO), by)
    assert wire["audio"]["output"]["voice"] == {"id": "voice_1"}


def test_the_request_is_read_back_from_the_response_that_answers_it():
    wire = response(ResponseOptions(metadata={str(n): "x" for n in range(15)}))
    assert len(wire["metadata"]) == 16
    (began,) = decode(frame("response.created", response={"id": "r", "metadata": wire["metadata"]}))
    assert began.ref == "req_1"


def test_an_out_of_band_response_says_so_and_brings_its_input():
    wire = response(
        ResponseOptions(
            in_conversation=False,
            modality=ResponseModality.TEXT,
            input=({"type": "item_reference", "id": "i1"},),
        )
    )
    assert wire["conversation"] == "none"
    assert wire["input"] == [{"type": "item_reference", "id": "i1"}]
    assert response(ResponseOptions(input=()))["input"] == []


def test_everything_that_a_response_may_override_is_sent():
    tool = {"type": "function", "name": "f", "parameters": {"type": "object"}}
    wire = response(
        ResponseOptions(
            instructions="briefly",
            tools=(tool,),
            tool_choice="f",
            max_output_tokens=4096,
            extra={"parallel_tool_calls": False, "reasoning": {"effort": "low"}},
        )
    )
    assert wire["instructions"] == "briefly"
    assert wire["tools"] == [tool]
    assert wire["tool_choice"] == {"type": "function", "name": "f"}
    assert wire["max_output_tokens"] == 4096
    assert wire["reasoning"] == {"effort": "low"}
    for mode in ("auto", "none", "required"):
        assert response(ResponseOptions(tool_choice=mode))["tool_choice"] == mode


def test_extra_does_not_override_what_is_set():
    with pytest.raises(InvalidRequest, match="'metadata'"):
        response(ResponseOptions(extra={"metadata": {}}))


def test_a_response_in_an_attached_call_leaves_the_calls_voice_alone():
    by = dialect(call_id="rtc_1")
    assert response(by=by) == {
        "conversation": "auto",
        "metadata": {"meerkat_request": "req_1"},
    }
    spoken = response(ResponseOptions(modality=ResponseModality.AUDIO), by)
    assert spoken["output_modalities"] == ["audio"]
    assert "audio" not in spoken
    by = dialect(call_id="rtc_1", config=RealtimeConfig(modalities=["audio"], voice="cedar"))
    assert response(by=by)["audio"]["output"]["voice"] == "cedar"


# ---------------------------------------------------------------- a turn


def test_an_explicit_turn_with_audio_and_text_and_an_interruption():
    by = dialect(EXPLICIT)
    commands = [
        ports.AppendAudio(b"\0\0" * 480),
        ports.CreateItem(ref="t", item_id="mk_text_1", message=UserMessage("and this")),
        ports.CommitAudio(ref="c"),
        CreateResponse(ref="r"),
        ports.CancelResponse(ref="x", response_id="resp_1"),
    ]
    events = [event for command in commands for event in sent(command, by)]
    assert [event["type"] for event in events] == [
        "input_audio_buffer.append",
        "conversation.item.create",
        "input_audio_buffer.commit",
        "response.create",
        "response.cancel",
    ]
    assert events[-1]["response_id"] == "resp_1"


# ---------------------------------------------------------------- raw events

RAW = {
    "session.update": {"session": {"type": "realtime"}},
    "input_audio_buffer.append": {"audio": "AAA="},
    "input_audio_buffer.commit": {},
    "input_audio_buffer.clear": {},
    "conversation.item.create": {
        "item": {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": "x"}],
        }
    },
    "conversation.item.retrieve": {"item_id": "i"},
    "conversation.item.truncate": {"item_id": "i", "content_index": 0, "audio_end_ms": 0},
    "conversation.item.delete": {"item_id": "i"},
    "response.create": {},
    "response.cancel": {},
    "output_audio_buffer.clear": {},
}


def test_raw_events_cover_the_vendors_client_union():
    assert set(RAW) == set(models("client"))
    assert len(RAW) == 11


@pytest.mark.parametrize("kind", RAW)
def test_every_client_event_can_be_sent_raw(kind):
    payload = {"type": kind, **RAW[kind]}
    assert one(ports.SendRaw(ref="x", payload=payload)) == payload | {"event_id": "x"}
    own = payload | {"event_id": "mine"}
    assert one(ports.SendRaw(ref="x", payload=own)) == own


def test_a_raw_event_of_an_unknown_type_goes_out_as_it_is():
    (raw,) = dialect().encode(ports.SendRaw(ref="x", payload={"type": "future.event", "a": [1]}))
    assert json.loads(raw) == {"type": "future.event", "a": [1], "event_id": "x"}


def test_a_raw_session_update_gets_the_type_that_the_protocol_insists_on():
    payload = {"type": "session.update", "session": {"instructions": "hi"}}
    event = one(ports.SendRaw(ref="x", payload=payload))
    assert event["session"] == {"type": "realtime", "instructions": "hi"}
    assert payload["session"] == {"instructions": "hi"}


def test_commands_together_cover_the_client_events_that_a_session_needs():
    commands = [
        ports.UpdateSession(ref="x", projection={"type": "realtime"}),
        ports.AppendAudio(b"\0\0"),
        ports.CommitAudio(ref="x"),
        ports.ClearAudio(ref="x"),
        ports.CreateItem(ref="x", item_id="i", message=UserMessage("x")),
        ports.SendToolOutput(ref="x", call_id="c", name="n", output=""),
        ports.TruncateItem(ref="x", item_id="i", content_index=0, audio_end_ms=0),
        ports.DeleteItem(ref="x", item_id="i"),
        CreateResponse(ref="x"),
        ports.CancelResponse(ref="x"),
        ports.SendRaw(ref="x", payload={"type": "conversation.item.retrieve", "item_id": "i"}),
    ]
    assert {type(command) for command in commands} == set(ports.ProviderCommand.__args__)
    kinds = {event["type"] for command in commands for event in sent(command)}
    assert kinds == set(models("client")) - {"output_audio_buffer.clear"}  # raw only: WebRTC's
