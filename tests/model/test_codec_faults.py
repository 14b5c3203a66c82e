"""What the codec refuses, and what it says about it."""

from __future__ import annotations

import math

import attrs
import pytest
from cattrs.errors import StructureHandlerNotFoundError

from meerkat_rt import codec
from meerkat_rt.model.client_events import ClientEvent, ToolCall
from meerkat_rt.model.conversation import (
    AssistantBlock,
    AssistantText,
    ContentBlock,
    Message,
    Provider,
    StopReason,
    StructuredContent,
    SystemMessage,
    TextContent,
    ToolDef,
    ToolResult,
    Usage,
)
from meerkat_rt.model.errors import InvalidConfig, InvalidJson, LlmError, UnknownTag
from meerkat_rt.model.events import (
    MessageCommitted,
    OutputAudioChunk,
    RateLimit,
    RealtimeSessionEvent,
    ToolCallRequested,
)
from meerkat_rt.model.live_config import RealtimeConfig, ToolSpec, VadConfig
from meerkat_rt.model.media import (
    RealtimeAudioFormat,
    RealtimeCapabilities,
    RealtimeInputChunk,
    RealtimeTurningMode,
    RealtimeVideoChunk,
)
from meerkat_rt.model.open_config import RealtimeExternalSessionTarget
from meerkat_rt.model.public import RealtimeEvent
from meerkat_rt.model.transcript import (
    AppendRealtimeTranscript,
    ItemObserved,
    RealtimeTranscriptEvent,
)
from meerkat_rt.model.transcript_state import RealtimeTranscriptState

AUDIO = {"mime_type": "audio/pcm", "sample_rate_hz": 24000, "channels": 1, "data": "AAA="}


# ---------------------------------------------------------------- unknown tags


def test_an_unknown_tag_is_named_with_its_union_and_the_known_tags():
    with pytest.raises(UnknownTag) as caught:
        codec.decode({"type": "item_forgotten", "item_id": "i"}, RealtimeTranscriptEvent)
    assert caught.value.tag == "item_forgotten"
    assert caught.value.of == "RealtimeTranscriptEvent"
    assert caught.value.known == (
        "item_observed",
        "item_skipped",
        "user_transcript_final",
        "assistant_text_delta",
        "assistant_transcript_delta",
        "assistant_transcript_truncated",
        "assistant_transcript_final_text",
        "assistant_turn_completed",
        "assistant_turn_interrupted",
    )
    assert "item_forgotten" in str(caught.value)
    assert "assistant_turn_interrupted" in str(caught.value)


@pytest.mark.parametrize(
    ("union", "data"),
    [
        (RealtimeSessionEvent, {"type": "unknown"}),
        (RealtimeSessionEvent, {"type": "TurnStarted"}),
        (RealtimeEvent, {"type": "turn_interrupted"}),
        (RealtimeInputChunk, {"kind": "image_chunk", "data": ""}),
        (RealtimeInputChunk, {"kind": "text", "text": "hi"}),
        (ContentBlock, {"type": "audio"}),
        (AssistantBlock, {"type": "structured", "data": 1}),
        (Message, {"role": "tool", "content": ""}),
        (ClientEvent, {"type": "response.createe"}),
        (ToolSpec, {"type": "web_search"}),
        (LlmError, {"kind": "out_of_cheese"}),
    ],
)
def test_no_union_takes_an_unknown_tag_for_a_known_one(union, data):
    with pytest.raises(UnknownTag):
        codec.decode(data, union)


def test_user_content_final_of_later_systems_never_enters_through_the_transcript_seam():
    data = {
        "type": "user_content_final",
        "idempotency_key": "k",
        "item_id": "i",
        "content_index": 0,
        "content": [],
    }
    with pytest.raises(UnknownTag, match="user_content_final"):
        codec.decode(data, RealtimeTranscriptEvent)


@pytest.mark.parametrize("key", ["lane", "role"])
def test_an_unknown_lane_or_role_is_a_typed_error(key):
    data = {"item_id": "i", "text": "t", "role": "user", "lane": "display", key: "unknown"}
    with pytest.raises(UnknownTag) as caught:
        codec.decode(data, AppendRealtimeTranscript)
    assert caught.value.path == key
    assert caught.value.tag == "unknown"


def test_an_unknown_stop_reason_is_a_typed_error_that_says_where():
    data = {
        "type": "assistant_turn_completed",
        "response_id": "r",
        "stop_reason": "bored",
        "usage": {"input_tokens": 0, "output_tokens": 0},
    }
    with pytest.raises(UnknownTag) as caught:
        codec.decode(data, RealtimeTranscriptEvent)
    assert caught.value.of == "StopReason"
    assert caught.value.path == "stop_reason"
    assert caught.value.known == tuple(StopReason)


@pytest.mark.parametrize("enum", [StopReason, Provider, RealtimeTurningMode])
def test_enum_values_are_matched_exactly(enum):
    for member in enum:
        assert codec.decode(member.value, enum) is member
        with pytest.raises(UnknownTag):
            codec.decode(member.value.upper(), enum)
    with pytest.raises(InvalidJson):
        codec.decode(0, enum)


def test_a_class_refuses_the_tag_of_another():
    with pytest.raises(UnknownTag) as caught:
        codec.decode({"type": "item_skipped", "item_id": "i", "role": "user"}, ItemObserved)
    assert caught.value.known == ("item_observed",)


# ---------------------------------------------------------------- missing things and wrong types


@pytest.mark.parametrize("data", [None, [], "turn_started", 1, True])
def test_what_is_no_object_is_no_event(data):
    with pytest.raises(InvalidJson, match="expected an object"):
        codec.decode(data, RealtimeSessionEvent)


def test_a_missing_tag_is_named():
    with pytest.raises(InvalidJson, match="'type' is missing"):
        codec.decode({"text": "hello"}, RealtimeSessionEvent)
    with pytest.raises(InvalidJson, match="'kind' is missing"):
        codec.decode({"text": "hello"}, RealtimeInputChunk)


def test_a_tag_that_is_no_string_is_refused():
    with pytest.raises(InvalidJson, match="expected a string, not an integer") as caught:
        codec.decode({"type": 5}, RealtimeSessionEvent)
    assert caught.value.path == "type"


@pytest.mark.parametrize("field", ["mime_type", "sample_rate_hz", "channels", "data"])
def test_an_audio_chunk_needs_all_of_its_fields(field):
    data = {"kind": "audio_chunk", **AUDIO}
    del data[field]
    with pytest.raises(InvalidJson, match="missing") as caught:
        codec.decode(data, RealtimeInputChunk)
    assert caught.value.path == field


@pytest.mark.parametrize(
    ("as_type", "data", "path", "what"),
    [
        (ItemObserved, {"item_id": 5, "role": "user"}, "item_id", "expected a string"),
        (ItemObserved, {"item_id": None, "role": "user"}, "item_id", "not null"),
        (Usage, {"input_tokens": "7", "output_tokens": 0}, "input_tokens", "expected an integer"),
        (Usage, {"input_tokens": 7.0, "output_tokens": 0}, "input_tokens", "expected an integer"),
        (Usage, {"input_tokens": True, "output_tokens": 0}, "input_tokens", "not a boolean"),
        (Usage, {"input_tokens": -1, "output_tokens": 0}, "", "input_tokens"),
        (RateLimit, {"reset_seconds": "soon"}, "reset_seconds", "expected a number"),
        (RateLimit, {"reset_seconds": math.inf}, "reset_seconds", "not finite"),
        (RateLimit, {"reset_seconds": 10**400}, "reset_seconds", "not finite"),
        (RealtimeCapabilities, {"video_supported": 1}, "video_supported", "expected a boolean"),
        (RealtimeCapabilities, {"input_kinds": "text"}, "input_kinds", "expected an array"),
        (RealtimeCapabilities, {"input_kinds": ["text", 3]}, "input_kinds[1]", "expected a string"),
        (ToolDef, {"name": "n", "input_schema": []}, "input_schema", "expected an object"),
        (ToolDef, {"name": ""}, "", "name"),
        (ToolResult, {"tool_use_id": "t", "content": 5}, "content", "expected an array"),
        (
            RealtimeAudioFormat,
            {"mime_type": "m", "sample_rate_hz": 0, "channels": 1},
            "",
            "or more",
        ),
        (RealtimeExternalSessionTarget, {"provider_session_id": " "}, "", "must not be empty"),
        (StructuredContent, {"data": math.nan}, "data", "nan"),
    ],
)
def test_a_wrong_value_is_refused_with_its_path(as_type, data, path, what):
    with pytest.raises(InvalidJson) as caught:
        codec.decode(data, as_type)
    assert caught.value.path == path
    assert what in caught.value.message


def test_the_path_leads_through_lists_and_unions():
    data = {
        "type": "message_committed",
        "item_ids": ["i"],
        "message": {
            "role": "assistant",
            "blocks": [{"type": "text", "text": "a"}, {"type": "tool_use", "id": "c", "args": {}}],
        },
    }
    with pytest.raises(InvalidJson, match="missing") as caught:
        codec.decode(data, RealtimeSessionEvent)
    assert caught.value.path == "message.blocks[1].name"


def test_a_member_of_a_wider_union_does_not_stand_for_one_of_a_narrower():
    data = {"message": {"role": "system", "content": "s"}, "item_ids": []}
    with pytest.raises(UnknownTag) as caught:
        codec.decode(data, MessageCommitted)
    assert set(caught.value.known) == {"user", "assistant"}
    assert caught.value.path == "message"


@pytest.mark.parametrize(
    ("segments", "path", "what"),
    [
        ({"one": "a"}, "items.i.content_segments", "'one' is not a decimal"),
        ({"01": "a"}, "items.i.content_segments", "'01' is not a decimal"),
        ({"٣": "a"}, "items.i.content_segments", "not a decimal"),
        ({"": "a"}, "items.i.content_segments", "not a decimal"),
        ({3: "a"}, "items.i.content_segments", "not a string"),
        ({"3": 5}, "items.i.content_segments.3", "expected a string"),
        (["a"], "items.i.content_segments", "expected an object"),
    ],
)
def test_numbered_segments_are_keyed_by_decimals_and_nothing_else(segments, path, what):
    data = {"items": {"i": {"role": "user", "content_segments": segments}}}
    with pytest.raises(InvalidJson) as caught:
        codec.decode(data, RealtimeTranscriptState)
    assert caught.value.path == path
    assert what in caught.value.message


def test_values_that_no_tag_tells_apart_are_no_union():
    with pytest.raises(TypeError, match="no one tag"):
        codec.decode({"type": "text"}, TextContent | AssistantText)


# ---------------------------------------------------------------- base64


@pytest.mark.parametrize("text", ["AAA", "A", "AA=A", "AA==AA==", "A-_A", "AA AA==", "AA==\n", "é"])
def test_bad_base64_is_refused(text):
    with pytest.raises(InvalidJson, match="base64") as caught:
        codec.decode({"kind": "audio_chunk", **AUDIO, "data": text}, RealtimeInputChunk)
    assert caught.value.path == "data"


@pytest.mark.parametrize("data", [[0, 1, 2], {"0": 1}, 5, None])
def test_audio_is_base64_text_and_nothing_else(data):
    with pytest.raises(InvalidJson, match="base64"):
        codec.decode({"kind": "audio_chunk", **AUDIO, "data": data}, RealtimeInputChunk)


def test_bad_base64_in_a_message_says_which_block():
    blocks = [
        {"type": "text", "text": "look"},
        {"type": "image", "media_type": "image/png", "source": "inline", "data": "?"},
    ]
    with pytest.raises(InvalidJson, match="base64") as caught:
        codec.decode({"role": "user", "content": blocks}, Message)
    assert caught.value.path == "content[1].source.data"


# ---------------------------------------------------------------- configuration


def test_a_misspelled_setting_is_refused():
    with pytest.raises(InvalidJson, match="voise"):
        codec.decode({"voise": "marin"}, RealtimeConfig)
    with pytest.raises(InvalidJson, match="silence_ms") as caught:
        codec.decode({"turn_detection": {"silence_ms": 5}}, RealtimeConfig)
    assert caught.value.path == "turn_detection"


def test_an_unknown_key_elsewhere_is_of_a_newer_writer_and_ignored():
    data = {"type": "turn_started", "mood": "cheerful"}
    assert codec.encode(codec.decode(data, RealtimeSessionEvent)) == {"type": "turn_started"}


def test_a_setting_out_of_range_is_refused_with_its_range():
    with pytest.raises(InvalidJson, match=r"VadConfig.threshold is 2.*0 to 1"):
        codec.decode({"type": "server_vad", "threshold": 2}, VadConfig)
    with pytest.raises(InvalidConfig):
        VadConfig(threshold=2)


# ---------------------------------------------------------------- what cannot be written


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_does_not_have_are_refused(number):
    for value in (
        ToolCallRequested("c", "t", {"deep": [number]}),
        RateLimit(reset_seconds=number),
        StructuredContent(number),
        ToolCall("c", "n", number),
        number,
    ):
        with pytest.raises(InvalidJson):
            codec.encode(value)
        with pytest.raises(InvalidJson):
            codec.dumps(value)
    with pytest.raises(InvalidJson):
        codec.loads(f'{{"reset_seconds": {str(number).replace("inf", "Infinity")}}}', RateLimit)


def test_a_fault_in_arguments_says_where():
    with pytest.raises(InvalidJson) as caught:
        codec.encode(ToolCallRequested("c", "t", {"deep": [1, math.nan]}))
    assert caught.value.path == "deep[1]"


@pytest.mark.parametrize(
    "value",
    [
        object(),
        {1, 2},
        SystemMessage(object()),
        SystemMessage(b"bytes"),
        ToolCallRequested("c", "t", {5: "five"}),
        ToolCallRequested("c", "t", {"when": object()}),
        RealtimeVideoChunk(mime_type="m", data="text"),
        OutputAudioChunk("no chunk"),
        Usage(input_tokens=1.5),
        RateLimit(reset_seconds="soon"),
        {object(): 1},
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_has_no_json_form_is_refused(value):
    with pytest.raises(InvalidJson):
        codec.encode(value)


def test_json_that_is_nested_too_deeply_is_refused():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    for call in (
        lambda: codec.encode(ToolCallRequested("c", "t", deep)),
        lambda: codec.decode({"data": deep}, StructuredContent),
        lambda: codec.loads("[" * 100_000, StructuredContent),
    ):
        with pytest.raises(InvalidJson):
            call()
    while deep:  # freed from the outside, or its destructor recurses
        deep = deep.pop()


@pytest.mark.parametrize("text", ["", "{", "{'type': 1}", b"\xff\xfe", "NaN", "turn_started"])
def test_text_that_is_no_json_is_refused(text):
    with pytest.raises(InvalidJson):
        codec.loads(text, RealtimeSessionEvent)


def test_half_a_surrogate_pair_from_a_provider_can_be_written_anywhere():
    value = codec.loads('{"type": "output_text_delta", "delta": "\\ud83d"}', RealtimeSessionEvent)
    text = codec.dumps(value)
    assert text.encode("ascii")
    assert codec.loads(text, RealtimeSessionEvent) == value


# ---------------------------------------------------------------- types of other rooms


def test_an_error_of_another_room_has_a_json_form_too():
    @attrs.define(eq=False)
    class CheeseShopClosed(LlmError):
        message: str = ""
        until: float | None = None

    error = CheeseShopClosed("closed", 9.5)
    data = codec.encode(error)
    assert data == {"kind": "cheese_shop_closed", "message": "closed", "until": 9.5}
    back = codec.decode(data, LlmError)
    assert type(back) is CheeseShopClosed
    assert (back.message, back.until) == ("closed", 9.5)


def test_a_type_without_a_json_form_is_the_callers_mistake_and_not_the_datas():
    with pytest.raises(StructureHandlerNotFoundError):
        codec.decode([], object)
