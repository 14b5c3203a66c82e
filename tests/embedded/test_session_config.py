"""What a session starts with, what updates change, and that a bad update changes nothing."""

from __future__ import annotations

import copy

import pytest
from support.embedded_session import Session, function_tool, only, session_update, typed

BAD_UPDATES = [
    ({"instructions": "x"}, "missing_required_parameter", "session.type"),
    ({"type": "live"}, "invalid_value", "session.type"),
    ({"type": 1}, "invalid_type", "session.type"),
    ({"type": "transcription"}, "invalid_value", "session.type"),
    ({"type": "realtime", "modalities": ["text"]}, "unknown_parameter", "session.modalities"),
    ({"type": "realtime", "temperature": 0.8}, "unknown_parameter", "session.temperature"),
    ({"type": "realtime", "voice": "ash"}, "unknown_parameter", "session.voice"),
    ({"type": "realtime", "id": "x"}, "unknown_parameter", "session.id"),
    ({"type": "realtime", "model": "other"}, "invalid_value", "session.model"),
    ({"type": "realtime", "instructions": None}, "invalid_type", "session.instructions"),
    (
        {"type": "realtime", "output_modalities": ["audio", "text"]},
        "invalid_value",
        "session.output_modalities",
    ),
    ({"type": "realtime", "output_modalities": []}, "invalid_value", "session.output_modalities"),
    (
        {"type": "realtime", "output_modalities": ["smell"]},
        "invalid_value",
        "session.output_modalities[0]",
    ),
    ({"type": "realtime", "max_output_tokens": 0}, "invalid_value", "session.max_output_tokens"),
    (
        {"type": "realtime", "max_output_tokens": True},
        "invalid_type",
        "session.max_output_tokens",
    ),
    (
        {"type": "realtime", "max_output_tokens": "many"},
        "invalid_value",
        "session.max_output_tokens",
    ),
    ({"type": "realtime", "tools": [{"type": "function"}]}, "missing_required_parameter", None),
    (
        {"type": "realtime", "tools": [{"type": "function", "name": "f", "strict": True}]},
        "unknown_parameter",
        "session.tools[0].strict",
    ),
    (
        {"type": "realtime", "tools": [{"type": "function", "name": "f"}] * 2},
        "invalid_value",
        "session.tools[1]",
    ),
    (
        {"type": "realtime", "tools": [{"type": "mcp", "server_label": "s"}]},
        "invalid_value",
        "session.tools[0]",
    ),
    (
        {"type": "realtime", "tool_choice": {"type": "function", "name": "nope"}},
        "invalid_value",
        "session.tool_choice",
    ),
    (
        {"type": "realtime", "audio": {"output": {"speed": 1.6}}},
        "invalid_value",
        "session.audio.output.speed",
    ),
    (
        {"type": "realtime", "audio": {"input": {"format": "pcm16"}}},
        "invalid_type",
        "session.audio.input.format",
    ),
    (
        {"type": "realtime", "audio": {"input": {"format": {"type": "audio/pcm", "rate": 16000}}}},
        "invalid_value",
        "session.audio.input.format.rate",
    ),
    (
        {"type": "realtime", "audio": {"input": {"turn_detection": {"type": "none"}}}},
        "invalid_value",
        "session.audio.input.turn_detection.type",
    ),
    (
        {
            "type": "realtime",
            "audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 2}}},
        },
        "invalid_value",
        "session.audio.input.turn_detection.threshold",
    ),
    (
        {
            "type": "realtime",
            "audio": {"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 99}}},
        },
        "invalid_value",
        "session.audio.input.turn_detection.idle_timeout_ms",
    ),
    (
        {
            "type": "realtime",
            "audio": {"input": {"turn_detection": {"type": "semantic_vad", "threshold": 0.5}}},
        },
        "unknown_parameter",
        "session.audio.input.turn_detection.threshold",
    ),
    (
        {
            "type": "realtime",
            "audio": {"input": {"transcription": {"model": "whisper-1", "languages": []}}},
        },
        "invalid_value",
        "session.audio.input.transcription.languages",
    ),
    (
        {"type": "realtime", "truncation": {"type": "retention_ratio", "retention_ratio": 2}},
        "invalid_value",
        "session.truncation.retention_ratio",
    ),
    ({"type": "realtime", "include": ["everything"]}, "invalid_value", "session.include[0]"),
]


@pytest.mark.parametrize(("session", "code", "param"), BAD_UPDATES)
def test_a_bad_update_is_refused_by_name_and_changes_nothing(session, code, param):
    client = Session()
    before = copy.deepcopy(only(client.events, "session.created")["session"])
    good = {"instructions": "changed", "output_modalities": ["text"]}

    client.fails({"type": "session.update", "session": {**good, **session}}, code, param)

    (now,) = client.send({"type": "session.update", "session": {"type": "realtime"}})
    assert now["session"] == before


def test_a_session_starts_with_a_complete_configuration():
    session = only(Session(model="gpt-realtime").events, "session.created")["session"]

    assert session["object"] == "realtime.session"
    assert session["id"].startswith("sess_")
    assert session["expires_at"] == 1_800_000_000
    assert session["model"] == "gpt-realtime"
    assert session["output_modalities"] == ["audio"]
    assert session["tools"] == []
    assert session["tool_choice"] == "auto"
    assert session["max_output_tokens"] == "inf"
    assert session["audio"]["input"]["turn_detection"] == {
        "type": "server_vad",
        "threshold": 0.5,
        "prefix_padding_ms": 300,
        "silence_duration_ms": 500,
        "idle_timeout_ms": None,
        "create_response": True,
        "interrupt_response": True,
    }
    assert session["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 24000}
    assert session["audio"]["output"]["format"] == {"type": "audio/pcm", "rate": 24000}


def test_an_update_merges_and_the_answer_is_the_whole_configuration():
    client = Session()
    client.send(session_update(instructions="one", audio={"output": {"voice": "ash"}}))

    (event,) = client.send(session_update(audio={"output": {"speed": 1.25}}))

    session = event["session"]
    assert event["type"] == "session.updated"
    assert session["instructions"] == "one"
    assert session["audio"]["output"]["voice"] == "ash"
    assert session["audio"]["output"]["speed"] == 1.25
    assert session["audio"]["input"]["turn_detection"]["type"] == "server_vad"
    assert {"id", "object", "expires_at", "model", "tools", "truncation"} <= set(session)


def test_null_clears_what_can_be_cleared():
    client = Session()
    client.send(
        session_update(
            instructions="one",
            tools=[function_tool()],
            audio={
                "input": {
                    "transcription": {"model": "whisper-1"},
                    "noise_reduction": {"type": "near_field"},
                }
            },
        )
    )

    cleared = {"transcription": None, "noise_reduction": None, "turn_detection": None}
    (event,) = client.send(session_update(instructions="", tools=[], audio={"input": cleared}))

    for key in cleared:
        assert event["session"]["audio"]["input"][key] is None
    assert event["session"]["instructions"] == ""
    assert event["session"]["tools"] == []


def test_turn_detection_merges_within_its_type_and_starts_over_with_another():
    client = Session()

    def detect(**fields):
        update = session_update(audio={"input": {"turn_detection": fields}})
        return client.send(update)[0]["session"]["audio"]["input"]["turn_detection"]

    assert detect(type="server_vad", threshold=0.9)["silence_duration_ms"] == 500
    both = detect(type="server_vad", silence_duration_ms=900)
    assert (both["threshold"], both["silence_duration_ms"]) == (0.9, 900)
    assert detect(type="semantic_vad") == {
        "type": "semantic_vad",
        "eagerness": "auto",
        "create_response": True,
        "interrupt_response": True,
    }
    assert detect(type="server_vad")["threshold"] == 0.5


def test_noise_reduction_keeps_its_strength_when_it_is_left_out():
    client = Session()

    def reduce(value):
        update = session_update(audio={"input": {"noise_reduction": value}})
        return client.send(update)[0]["session"]["audio"]["input"]["noise_reduction"]

    assert reduce({"type": "near_field"})["strength"] == 1.0
    assert reduce({"type": "near_field", "strength": 0.4})["strength"] == 0.4
    assert reduce({"type": "far_field"}) == {"type": "far_field", "strength": 0.4}


def test_the_voice_is_frozen_by_the_first_audio():
    client = Session()
    client.send(session_update(audio={"output": {"voice": "ash"}}))
    client.ask("hello")

    client.fails(
        session_update(instructions="x", audio={"output": {"voice": "echo"}}),
        "cannot_update_voice",
        "session.audio.output.voice",
    )
    client.fails(
        {"type": "response.create", "response": {"audio": {"output": {"voice": "echo"}}}},
        "cannot_update_voice",
        "response.audio.output.voice",
    )

    (same,) = client.send(session_update(audio={"output": {"voice": "ash"}}))
    assert same["session"]["instructions"] != "x"


def test_text_does_not_freeze_the_voice():
    client = Session()
    client.ask("hello", output_modalities=["text"])

    (event,) = client.send(session_update(audio={"output": {"voice": "echo"}}))

    assert event["session"]["audio"]["output"]["voice"] == "echo"


def test_a_custom_voice_is_told_back_by_its_id():
    client = Session()
    client.send(session_update(audio={"output": {"voice": {"id": "voice_123"}}}))

    done = only(client.ask("hello"), "response.done")

    assert done["response"]["audio"]["output"]["voice"] == "voice_123"


def test_enabled_tracing_cannot_be_changed():
    client = Session()
    client.send(session_update(tracing="auto"))

    client.fails(session_update(tracing={"group_id": "g"}), "invalid_value", "session.tracing")
    assert client.send(session_update(tracing="auto"))[0]["type"] == "session.updated"


@pytest.mark.parametrize("model", ["gpt-realtime", "gpt-realtime-2025-08-28", "gpt-realtime-mini"])
def test_models_without_reasoning_refuse_the_whole_update(model):
    client = Session(model=model)

    client.fails(
        session_update(reasoning={"effort": "low"}), "unknown_parameter", "session.reasoning"
    )


@pytest.mark.parametrize("model", ["gpt-realtime-2", "gpt-realtime-2.1-mini", "something-else"])
def test_models_with_reasoning_accept_it(model):
    (event,) = Session(model=model).send(session_update(reasoning={"effort": "low"}))

    assert event["session"]["reasoning"] == {"effort": "low"}


def test_a_tool_choice_that_lost_its_tool_falls_back_to_auto():
    client = Session()
    choice = {"type": "function", "name": "get_weather"}
    client.send(session_update(tools=[function_tool()], tool_choice=choice))
    client.send(session_update(tools=[]))

    done = only(client.ask("hello"), "response.done")

    assert done["response"]["status"] == "completed"


def test_mcp_servers_are_not_contacted_and_the_listing_fails():
    client = Session()
    tool = {"type": "mcp", "server_label": "s", "server_url": "https://example.com/mcp"}

    events = client.send(session_update(tools=[tool]))
    again = client.send(session_update(tools=[tool]))

    assert [event["type"] for event in events] == [
        "session.updated",
        "mcp_list_tools.in_progress",
        "conversation.item.added",
        "conversation.item.done",
        "mcp_list_tools.failed",
    ]
    assert [event["type"] for event in again] == ["session.updated"]


def test_the_client_s_event_id_comes_back_in_the_error():
    client = Session()

    error = client.fails({**session_update(nonsense=1), "event_id": "my-id"}, "unknown_parameter")

    assert error["event_id"] == "my-id"
    assert client.fails(session_update(nonsense=1), "unknown_parameter")["event_id"] is None


def test_every_event_has_an_id_of_its_own():
    client = Session()
    client.ask("hello")
    client.send(typed("again"))

    ids = [event["event_id"] for event in client.events]

    assert len(set(ids)) == len(ids) > 10


def test_a_transcription_session_has_its_own_configuration():
    client = Session(kind="transcription")
    created = only(client.events, "session.created")["session"]

    assert created["object"] == "realtime.transcription_session"
    assert set(created) == {"type", "include", "audio", "id", "object", "expires_at"}
    update = {"type": "session.update", "session": {"type": "transcription", "instructions": "x"}}
    client.fails(update, "unknown_parameter", "session.instructions")
    client.fails(session_update(), "invalid_value", "session.type")
    client.fails({"type": "response.create"}, "invalid_value", "type")
