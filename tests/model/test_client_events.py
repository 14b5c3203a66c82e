"""Raw client events, tool answers and the outcome of a context mutation."""

from __future__ import annotations

import math

import pytest

from meerkat_rt.model.client_events import (
    MAX_EVENT_ID,
    Applied,
    AudioDelta,
    ConversationItemCreate,
    ConversationItemTruncate,
    InputAudioBufferClear,
    Message,
    MessageRole,
    RequiresResumption,
    ResponseCreate,
    SessionUpdate,
    ToolCall,
    ToolResponse,
)
from meerkat_rt.model.conversation import ImageContent, InlineData, TextContent
from meerkat_rt.model.errors import InvalidRequest
from meerkat_rt.model.live_config import RealtimeConfig
from meerkat_rt.model.media import RealtimeAudioFormat


def test_an_event_id_is_at_most_as_long_as_the_provider_takes():
    assert InputAudioBufferClear(event_id="e" * MAX_EVENT_ID).event_id == "e" * 512
    for build in (
        lambda event_id: InputAudioBufferClear(event_id=event_id),
        lambda event_id: SessionUpdate({}, event_id=event_id),
        lambda event_id: ResponseCreate(event_id=event_id),
        lambda event_id: Message("user", "hi", event_id=event_id),
    ):
        with pytest.raises(InvalidRequest, match="513 characters; allowed: at most 512"):
            build("e" * 513)


@pytest.mark.parametrize(("content_index", "audio_end_ms"), [(-1, 0), (0, -1)])
def test_a_truncation_cuts_at_a_place_that_can_be(content_index, audio_end_ms):
    with pytest.raises(ValueError, match=">= 0"):
        ConversationItemTruncate("i", content_index, audio_end_ms)


def test_a_message_has_a_known_role():
    assert Message("model", "hi").role is MessageRole.ASSISTANT
    assert Message("developer", "hi").role is MessageRole.SYSTEM
    with pytest.raises(ValueError, match="narrator"):
        Message("narrator", "hi")


def test_a_message_of_several_parts():
    parts = [TextContent("look"), ImageContent("image/png", InlineData(b"\x00"))]
    assert Message("user", parts).parts == tuple(parts)
    assert Message("user", "look").parts == (TextContent("look"),)


def test_items_in_the_form_of_the_wire():
    assert ConversationItemCreate.user_text("hi").item == {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": "hi"}],
    }
    answer = ToolResponse("c", {"n": 1})
    assert ConversationItemCreate.tool_output(answer, item_id="i").item == {
        "id": "i",
        "type": "function_call_output",
        "call_id": "c",
        "output": '{"n":1}',
    }


@pytest.mark.parametrize(
    ("output", "text"),
    [
        ("plain", "plain"),
        ("", ""),
        ({"a": [1, None]}, '{"a":[1,null]}'),
        (None, "null"),
        (True, "true"),
        ("Grüße", "Grüße"),
        (["Grüße"], '["Grüße"]'),
    ],
)
def test_a_tool_answers_in_plain_text_or_in_json(output, text):
    assert ToolResponse("c", output).output_text() == text


@pytest.mark.parametrize(("output", "error"), [(object(), TypeError), (math.nan, ValueError)])
def test_an_answer_that_is_no_json_is_refused_and_never_becomes_null(output, error):
    with pytest.raises(error):
        ToolResponse("c", output).output_text()


def test_an_answer_from_a_string_is_that_string():
    assert ToolResponse.from_string("c", '{"a":1}') == ToolResponse("c", '{"a":1}')


def test_raw_audio_may_say_its_format_and_does_not_show_itself():
    fmt = RealtimeAudioFormat.pcm(24_000)
    assert AudioDelta(b"\x00\x00", format=fmt).format == fmt
    assert "<2 bytes>" in repr(AudioDelta(b"\x00\x00"))


def test_outcomes_of_a_context_mutation_match():
    config = RealtimeConfig(voice="marin")
    match RequiresResumption(config):
        case Applied():
            pytest.fail("it was not applied")
        case RequiresResumption(needed):
            assert needed is config
    assert Applied() == Applied()
    assert ToolCall("c", "t", {"a": 1}).arguments == {"a": 1}
