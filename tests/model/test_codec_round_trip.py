"""Every value of the vocabulary comes back equal from its JSON text."""

from __future__ import annotations

import contextlib
import json

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.strategies import error_classes, json_values, of_type, values, vocabulary

from meerkat_rt import codec
from meerkat_rt.model import (
    channel,
    client_events,
    conversation,
    events,
    live_config,
    media,
    public,
    server_events,
    transcript,
)
from meerkat_rt.model.errors import InvalidJson, LlmError, UnknownTag

UNIONS = {
    "RealtimeSessionEvent": events.RealtimeSessionEvent,
    "RealtimeEvent": public.RealtimeEvent,
    "RealtimeTranscriptEvent": transcript.RealtimeTranscriptEvent,
    "MaterializedMessage": transcript.RealtimeTranscriptMaterializedMessage,
    "RealtimeInputChunk": media.RealtimeInputChunk,
    "ContentBlock": conversation.ContentBlock,
    "AssistantBlock": conversation.AssistantBlock,
    "ImageSource": conversation.ImageSource,
    "VideoSource": conversation.VideoSource,
    "Message": conversation.Message,
    "ClientEvent": client_events.ClientEvent,
    "ServerEvent": server_events.ServerEvent,
    "ContextMutationOutcome": client_events.ContextMutationOutcome,
    "ToolSpec": live_config.ToolSpec,
    "ToolChoice": live_config.ToolChoice,
    "Truncation": live_config.Truncation,
    "Tracing": live_config.Tracing,
    "Voice": live_config.Voice,
    "MaxTokens": live_config.MaxTokens,
    "RealtimeToolTimeoutPolicy": channel.RealtimeToolTimeoutPolicy,
}

few = settings(max_examples=12, deadline=None)
more = settings(max_examples=40, deadline=None)


@pytest.mark.parametrize("cls", vocabulary(), ids=lambda cls: cls.__qualname__)
@few
@given(data=st.data())
def test_every_class_comes_back_equal(cls, data):
    value = data.draw(values(cls))
    back = codec.loads(codec.dumps(value), cls)
    assert back == value
    assert type(back) is cls


@pytest.mark.parametrize("name", UNIONS)
@more
@given(data=st.data())
def test_every_union_tells_its_variants_apart(name, data):
    value = data.draw(of_type(UNIONS[name]))
    back = codec.decode(codec.encode(value), UNIONS[name])
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize("cls", error_classes(), ids=lambda cls: cls.__name__)
@few
@given(data=st.data())
def test_every_error_comes_back_with_its_class_and_fields(cls, data):
    error = data.draw(values(cls))
    for as_type in (LlmError, cls):
        back = codec.loads(codec.dumps(error), as_type)
        assert type(back) is cls
        assert attrs.asdict(back) == attrs.asdict(error)


@more
@given(st.lists(of_type(conversation.Message), max_size=3).map(tuple))
def test_a_conversation_is_a_tuple_of_messages(messages):
    encoded = codec.encode(messages)
    assert codec.decode(encoded, tuple[conversation.Message, ...]) == messages
    assert codec.decode(encoded, list[conversation.Message]) == list(messages)


@more
@given(of_type(events.RealtimeSessionEvent))
def test_the_text_is_one_line_of_ascii_whose_first_key_is_the_tag(event):
    text = codec.dumps(event)
    assert text.isascii()
    assert "\n" not in text
    assert text.startswith('{"type":')


@more
@given(of_type(events.RealtimeSessionEvent))
def test_encoding_what_was_decoded_gives_the_same_json(event):
    encoded = codec.encode(event)
    assert codec.encode(codec.decode(encoded, events.RealtimeSessionEvent)) == encoded


@more
@given(of_type(client_events.ClientEvent))
def test_nothing_in_the_json_is_shared_with_the_value(event):
    encoded = codec.encode(event)
    assert json.loads(json.dumps(encoded)) == encoded
    before = codec.dumps(event)
    if isinstance(encoded.get("item"), dict):
        encoded["item"]["changed"] = True
    assert codec.dumps(event) == before


def _spoilt(data, value):
    """`value` with one of its parts taken away or replaced."""
    if isinstance(value, dict) and value and data.draw(st.booleans()):
        key = data.draw(st.sampled_from(sorted(value)))
        if data.draw(st.booleans()):
            return {k: v for k, v in value.items() if k != key}
        return {**value, key: _spoilt(data, value[key])}
    if isinstance(value, list) and value and data.draw(st.booleans()):
        index = data.draw(st.integers(0, len(value) - 1))
        return [*value[:index], _spoilt(data, value[index]), *value[index + 1 :]]
    return data.draw(json_values)


@pytest.mark.parametrize("name", UNIONS)
@more
@given(data=st.data())
def test_spoilt_json_is_decoded_or_refused_with_a_typed_error(name, data):
    spoilt = _spoilt(data, codec.encode(data.draw(of_type(UNIONS[name]))))
    with contextlib.suppress(InvalidJson, UnknownTag):
        value = codec.decode(spoilt, UNIONS[name])
        assert codec.decode(codec.encode(value), UNIONS[name]) == value
