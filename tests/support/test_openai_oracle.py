"""The oracle must reject what it should: a check that passes everything would hide every defect."""

from __future__ import annotations

import copy
import json

import pytest
from support.openai_oracle import check, models, problems

USAGE = {
    "total_tokens": 3,
    "input_tokens": 1,
    "output_tokens": 2,
    "input_token_details": {"text_tokens": 1, "audio_tokens": 0, "cached_tokens": 0},
    "output_token_details": {"text_tokens": 2, "audio_tokens": 0},
}
ITEM = {
    "id": "item_1",
    "type": "message",
    "object": "realtime.item",
    "status": "completed",
    "role": "assistant",
    "content": [{"type": "output_audio", "transcript": None}],
}
RESPONSE = {
    "object": "realtime.response",
    "id": "resp_1",
    "status": "completed",
    "status_details": None,
    "output": [ITEM],
    "conversation_id": "conv_1",
    "output_modalities": ["audio"],
    "max_output_tokens": "inf",
    "audio": {"output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "marin"}},
    "usage": USAGE,
    "metadata": None,
}

GOOD_SERVER = [
    {"type": "response.done", "event_id": "e", "response": RESPONSE},
    {"type": "conversation.item.added", "event_id": "e", "previous_item_id": None, "item": ITEM},
    {"type": "input_audio_buffer.cleared", "event_id": "e"},
    {
        "type": "error",
        "event_id": "e",
        "error": {"type": "t", "code": None, "message": "m", "param": None, "event_id": None},
    },
    {
        "type": "session.created",
        "event_id": "e",
        "session": {
            "type": "realtime",
            "id": "sess_1",
            "object": "realtime.session",
            "expires_at": 1,
            "audio": {"input": {"turn_detection": None}, "output": {"speed": 1}},
        },
    },
    {
        "type": "rate_limits.updated",
        "event_id": "e",
        "rate_limits": [{"name": "tokens", "limit": 1, "remaining": 1, "reset_seconds": 0}],
    },
]
GOOD_CLIENT = [
    {"type": "response.create"},
    {"type": "input_audio_buffer.append", "audio": "AAA=", "event_id": "e" * 512},
    {
        "type": "response.create",
        "response": {
            "conversation": "none",
            "input": [{"type": "item_reference", "id": "i"}],
            "metadata": {"a": "b"},
        },
    },
    {
        "type": "session.update",
        "session": {
            "type": "realtime",
            "max_output_tokens": 5,
            "tool_choice": {"type": "function", "name": "f"},
            "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
            "audio": {"input": {"turn_detection": {"type": "semantic_vad", "eagerness": "low"}}},
        },
    },
    {
        "type": "conversation.item.create",
        "item": {"type": "function_call_output", "call_id": "c", "output": "{}"},
    },
]


def _changed(frame: dict, path: str, value: object) -> dict:
    out = copy.deepcopy(frame)
    *parents, last = path.split(".")
    node = out
    for key in parents:
        node = node[int(key)] if isinstance(node, list) else node[key]
    node[last] = value
    return out


BAD = [
    ("server", _changed(GOOD_SERVER[0], "response.status", "done"), "response.status"),
    ("server", _changed(GOOD_SERVER[0], "response.usage.total_tokens", "3"), "total_tokens"),
    ("server", _changed(GOOD_SERVER[0], "response.usage.input_tokens", True), "input_tokens"),
    ("server", _changed(GOOD_SERVER[0], "response.usage.tokens", 3), "no such field"),
    ("server", _changed(GOOD_SERVER[0], "response.output.0.role", "robot"), "role"),
    ("server", _changed(GOOD_SERVER[0], "response.output.0.content.0.type", "audio"), "type"),
    ("server", _changed(GOOD_SERVER[0], "obfuscation", "x"), "no such field"),
    ("server", {"type": "input_audio_buffer.cleared"}, "event_id"),
    ("server", {"type": "conversation.item.new", "event_id": "e"}, "no server event"),
    ("server", {"type": "response.create"}, "no server event"),
    ("server", [], "object"),
    ("client", {"type": "session.update", "session": {"instructions": "x"}}, "type"),
    ("client", {"type": "session.update", "session": {"type": "realtime", "voice": "a"}}, "voice"),
    ("client", {"type": "response.create", "response": {"temperature": 1.0}}, "temperature"),
    ("client", {"type": "input_audio_buffer.append"}, "audio"),
    ("client", {"type": "input_audio_buffer.commit", "event_id": "e" * 513}, "512"),
    ("client", {"type": "input_audio_buffer.commit", "event_id": 1}, "event_id"),
    (
        "client",
        {"type": "conversation.item.create", "item": {"type": "item_reference", "id": "x"}},
        "item",
    ),
    (
        "client",
        {"type": "response.create", "response": {"input": [{"type": "item_reference", "id": 1}]}},
        "input",
    ),
]


@pytest.mark.parametrize("frame", GOOD_SERVER, ids=lambda frame: frame["type"])
def test_good_server_frames_pass(frame):
    check(frame, "server")


@pytest.mark.parametrize("frame", GOOD_CLIENT, ids=lambda frame: frame["type"])
def test_good_client_frames_pass(frame):
    check(frame, "client")


@pytest.mark.parametrize(("side", "frame", "about"), BAD)
def test_bad_frames_are_rejected_and_the_fault_is_named(side, frame, about):
    found = problems(frame, side)
    assert found
    assert about in " ".join(found)


def test_all_event_types_of_both_sides_are_known():
    assert len(models("client")) == 11
    assert len(models("server")) == 46


@pytest.mark.parametrize("frame", GOOD_SERVER, ids=lambda frame: frame["type"])
def test_a_misspelt_key_anywhere_is_found(frame):
    for path, mutant in _misspelt(frame):
        assert problems(mutant, "server"), f"survived: {path}"


def _misspelt(frame: dict, prefix: tuple = ()):
    """Every copy of the frame with one key of one object misspelt."""
    node = frame
    for key in prefix:
        node = node[key]
    for key in list(node) if isinstance(node, dict) else range(len(node)):
        if isinstance(node, dict):
            mutant = json.loads(json.dumps(frame))
            target = mutant
            for step in prefix:
                target = target[step]
            target[f"{key}_"] = target.pop(key)
            yield (*prefix, key), mutant
        if isinstance(node[key], dict | list):
            yield from _misspelt(frame, (*prefix, key))
