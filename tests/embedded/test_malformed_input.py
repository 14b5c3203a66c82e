"""Whatever a client sends, it gets an answer in the protocol and the session goes on."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.damage import json_values, mutants
from support.embedded_session import Session, appends, function_tool, only, session_update, typed
from support.openai_oracle import problems

CODES = {
    "invalid_json",
    "invalid_event",
    "invalid_value",
    "invalid_type",
    "unknown_parameter",
    "missing_required_parameter",
    "cannot_update_voice",
    "conversation_already_has_active_response",
    "response_cancel_not_active",
    "input_audio_buffer_commit_empty",
    "item_truncate_invalid_item_id",
    "item_delete_invalid_item_id",
    "item_retrieve_invalid_item_id",
    "item_create_duplicate_item_id",
    "invalid_tool_call_id",
}

VALID = [
    session_update(
        instructions="x",
        tools=[function_tool()],
        tool_choice="auto",
        max_output_tokens=100,
        audio={
            "input": {
                "format": {"type": "audio/pcm", "rate": 24000},
                "turn_detection": {"type": "server_vad", "threshold": 0.5, "idle_timeout_ms": 6000},
                "transcription": {"model": "whisper-1", "language": "en"},
                "noise_reduction": {"type": "near_field"},
            },
            "output": {"voice": "ash", "speed": 1.0},
        },
        truncation={"type": "retention_ratio", "retention_ratio": 0.5},
    ),
    appends(b"\0\0" * 480)[0],
    {"type": "input_audio_buffer.commit"},
    {"type": "input_audio_buffer.clear"},
    typed("hello", id="mine"),
    {"type": "conversation.item.retrieve", "item_id": "mine"},
    {
        "type": "conversation.item.truncate",
        "item_id": "mine",
        "content_index": 0,
        "audio_end_ms": 0,
    },
    {"type": "conversation.item.delete", "item_id": "mine"},
    {
        "type": "conversation.item.create",
        "item": {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
    },
    {
        "type": "conversation.item.create",
        "item": {"type": "function_call_output", "call_id": "c", "output": "{}"},
    },
    {
        "type": "response.create",
        "event_id": "e",
        "response": {
            "conversation": "none",
            "input": [typed("x")["item"], {"type": "item_reference", "id": "mine"}],
            "metadata": {"a": "b"},
            "output_modalities": ["text"],
            "tools": [function_tool()],
            "tool_choice": {"type": "function", "name": "get_weather"},
        },
    },
    {"type": "response.cancel"},
]

values = json_values(["", "root", "auto", "none", "audio", "realtime", "x" * 600, "AAAA", "mine"])


def answers_properly(client: Session, frame: str | bytes | dict) -> None:
    for event in client.send(frame, valid=False):
        if event["type"] == "error":
            assert event["error"]["code"] in CODES
            assert event["error"]["message"]


def still_works(client: Session) -> None:
    client.run()
    client.send(session_update(output_modalities=["text"], tool_choice="none"))
    done = only(client.ask("hello"), "response.done")["response"]
    assert done["status"] == "completed"


@settings(max_examples=250, deadline=None)
@given(st.lists(mutants(VALID, values), max_size=4))
def test_one_wrong_value_is_answered_and_the_session_goes_on(frames):
    client = Session()
    client.send(typed("hello", id="mine"))
    client.send({"type": "conversation.item.delete", "item_id": "mine"})

    for frame in frames:
        answers_properly(client, json.dumps(frame))
        client.recognize()
        client.step(2)

    still_works(client)


@settings(max_examples=150, deadline=None)
@given(mutants(VALID, values))
def test_what_the_types_refuse_is_refused(frame):
    """The server is at least as strict as the vendor's types, except where those are wrong."""
    client = Session()
    client.send(typed("hello", id="mine"), VALID[8])
    frame = json.loads(json.dumps(frame))

    back = client.send(json.dumps(frame), valid=False)

    refused = [event for event in back if event["type"] == "error"]
    if not refused:
        unexplained = [
            problem
            for problem in problems(frame, "client")
            # Null stands for absent everywhere on the wire, and a missing content is an empty one.
            if "null is not allowed" not in problem
        ]
        assert not unexplained or _nulls_removed_is_fine(frame), unexplained


def _nulls_removed_is_fine(frame) -> bool:
    def strip(node):
        if isinstance(node, dict):
            return {key: strip(value) for key, value in node.items() if value is not None}
        return [strip(value) for value in node] if isinstance(node, list) else node

    return not problems(strip(frame), "client")


@settings(max_examples=100, deadline=None)
@given(values)
def test_any_json_is_answered(value):
    client = Session()

    (event,) = client.send(json.dumps(value))

    assert event["type"] == "error"


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=40) | st.binary(max_size=40))
def test_anything_that_is_not_an_event_is_an_error(frame):
    (event,) = Session().send(frame)

    assert event["error"]["code"] in {"invalid_json", "invalid_event", "missing_required_parameter"}


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("", "invalid_json"),
        ("{", "invalid_json"),
        ('{"type": NaN}', "invalid_json"),
        ('{"type": "\\ud800"}', "invalid_json"),
        ('{"a":' * 5000 + "1" + "}" * 5000, "invalid_json"),
        ("[" * 200 + "]" * 200, "invalid_json"),
        ('{"type": 1e999}', "invalid_json"),
        (f'{{"type": {"9" * 5000}}}', "invalid_json"),
        ("[]", "invalid_event"),
        ("null", "invalid_event"),
        (b"{}", "invalid_event"),
        ("{}", "missing_required_parameter"),
        ('{"type": null}', "invalid_type"),
        ('{"type": {"type": "response.create"}}', "invalid_type"),
        ('{"type": "response.created"}', "invalid_value"),
        ('{"type": "response.create", "event_id": 7}', "invalid_type"),
        ('{"type": "response.create", "extra": 7}', "unknown_parameter"),
        ('{"type": "input_audio_buffer.append"}', "missing_required_parameter"),
        ('{"type": "input_audio_buffer.append", "audio": "-_-_"}', "invalid_value"),
        ('{"type": "input_audio_buffer.append", "audio": "AAA"}', "invalid_value"),
        ('{"type": "input_audio_buffer.append", "audio": "AA\\nAA"}', "invalid_value"),
        ('{"type": "input_audio_buffer.append", "audio": null}', "invalid_type"),
    ],
)
def test_known_ways_to_get_it_wrong(frame, code):
    client = Session()

    client.fails(frame, code)

    still_works(client)


def test_an_unknown_type_is_told_the_known_ones():
    message = Session().fails({"type": "conversation.item.new"}, "invalid_value", "type")["message"]

    assert "'conversation.item.create'" in message


@pytest.mark.parametrize(
    ("length", "code", "told_back"),
    [(512, "response_cancel_not_active", True), (513, "invalid_value", False)],
)
def test_an_event_id_of_512_characters_is_the_longest(length, code, told_back):
    event_id = "e" * length

    error = Session().fails({"type": "response.cancel", "event_id": event_id}, code)

    assert error["event_id"] == (event_id if told_back else None)


def test_more_than_15_mib_in_one_append_is_refused():
    client = Session()
    limit = 15 * 1024 * 1024

    client.fails(appends(bytes(limit + 3), limit + 3)[0], "invalid_value", "audio")

    assert client.send(appends(bytes(limit), limit)[0]) == []


def test_the_message_never_repeats_a_long_value():
    error = Session().fails({"type": "x" * 100_000}, "invalid_value")

    assert len(error["message"]) < 1000


def test_big_numbers_in_a_schema_come_back_as_they_were():
    client = Session()
    tool = function_tool()
    tool["parameters"]["maximum"] = 2**70

    (event,) = client.send(session_update(tools=[tool]))

    assert event["session"]["tools"][0]["parameters"]["maximum"] == 2**70
