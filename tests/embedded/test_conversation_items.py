"""Creating, retrieving, truncating and deleting items."""

from __future__ import annotations

import base64

import pytest
from support.embedded_session import (
    Session,
    appends,
    audio_of,
    every,
    only,
    recording,
    spoken_turn,
    turn_detection,
    typed,
)

from meerkat_rt.embedded.effects import SessionLimits


def create(item: dict, **fields: object) -> dict:
    return {"type": "conversation.item.create", "item": item, **fields}


def text_item(**fields: object) -> dict:
    return typed("hello", **fields)["item"]


BAD_ITEMS = [
    ({"role": "user", "content": []}, "missing_required_parameter", "item.type"),
    ({"type": "thought"}, "invalid_value", "item.type"),
    ({"type": "mcp_call"}, "invalid_value", "item.type"),
    ({"type": "message", "content": []}, "missing_required_parameter", "item.role"),
    ({"type": "message", "role": "robot", "content": []}, "invalid_value", "item.role"),
    ({"type": "message", "role": "user"}, "missing_required_parameter", "item.content"),
    ({"type": "message", "role": "user", "content": "hi"}, "invalid_type", "item.content"),
    (
        {"type": "message", "role": "user", "content": [{"type": "text", "text": "hi"}]},
        "invalid_value",
        "item.content[0].type",
    ),
    (
        {"type": "message", "role": "user", "content": [{"type": "input_text"}]},
        "missing_required_parameter",
        "item.content[0].text",
    ),
    (
        {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": "?"}]},
        "invalid_value",
        "item.content[0].audio",
    ),
    (
        {"type": "message", "role": "assistant", "content": [{"type": "output_audio"}]},
        "invalid_value",
        "item.content[0].type",
    ),
    (
        {"type": "message", "role": "system", "content": [{"type": "output_text", "text": "x"}]},
        "invalid_value",
        "item.content[0].type",
    ),
    ({"type": "function_call", "name": "f"}, "missing_required_parameter", "item.arguments"),
    (
        {"type": "function_call_output", "call_id": "c", "output": {"a": 1}},
        "invalid_type",
        "item.output",
    ),
    (
        {"type": "function_call_output", "call_id": "nobody", "output": "{}"},
        "invalid_tool_call_id",
        "item.call_id",
    ),
    (
        {"type": "mcp_approval_response", "approval_request_id": "r", "approve": True},
        "invalid_value",
        "item.approval_request_id",
    ),
    (text_item(id="i" * 33), "invalid_value", "item.id"),
    (text_item(id="root"), "invalid_value", "item.id"),
    (text_item(nonsense=1), "unknown_parameter", "item.nonsense"),
]


@pytest.mark.parametrize(("item", "code", "param"), BAD_ITEMS)
def test_a_bad_item_is_refused_by_name(item, code, param):
    Session().fails(create(item), code, param)


def test_an_item_is_added_and_done_with_its_content():
    added, done = Session().send(typed("hello", id="mine"))

    assert [added["type"], done["type"]] == ["conversation.item.added", "conversation.item.done"]
    assert added["item"] == {
        "id": "mine",
        "type": "message",
        "object": "realtime.item",
        "status": "completed",
        "role": "user",
        "content": [{"type": "input_text", "text": "hello"}],
    }
    assert added["previous_item_id"] is None


def test_items_are_ordered_by_previous_item_id():
    client = Session()
    for item_id, where in [("b", {}), ("d", {}), ("a", {"previous_item_id": "root"})]:
        client.send(create(text_item(id=item_id), **where))
    added, _ = client.send(create(text_item(id="c"), previous_item_id="b"))
    last, _ = client.send(create(text_item(id="e")))

    assert added["previous_item_id"] == "b"
    assert last["previous_item_id"] == "d"
    before = every(client.events, "conversation.item.added")
    assert [event["previous_item_id"] for event in before] == [None, "b", None, "b", "d"]


def test_an_unknown_previous_item_inserts_nothing():
    client = Session()

    client.fails(
        create(text_item(id="mine"), previous_item_id="nobody"), "invalid_value", "previous_item_id"
    )

    client.fails(
        {"type": "conversation.item.retrieve", "item_id": "mine"}, "item_retrieve_invalid_item_id"
    )


def test_an_id_can_be_used_once_until_the_item_is_deleted():
    client = Session()
    client.send(typed("one", id="mine"))

    client.fails(typed("two", id="mine"), "item_create_duplicate_item_id", "item.id")
    (deleted,) = client.send({"type": "conversation.item.delete", "item_id": "mine"})
    again, _ = client.send(typed("two", id="mine"))

    assert deleted["type"] == "conversation.item.deleted"
    assert deleted["item_id"] == "mine"
    assert again["item"]["content"][0]["text"] == "two"


def test_our_ids_avoid_the_client_s():
    client = Session()
    added, _ = client.send(typed("one"))
    taken = added["item"]["id"][:-1] + str(int(added["item"]["id"][-1]) + 1)
    client.send(typed("two", id=taken))

    third, _ = client.send(typed("three"))

    assert third["item"]["id"] not in {taken, added["item"]["id"]}


@pytest.mark.parametrize("verb", ["retrieve", "delete"])
def test_an_unknown_item_has_a_code_of_its_own(verb):
    Session().fails(
        {"type": f"conversation.item.{verb}", "item_id": "nobody"},
        f"item_{verb}_invalid_item_id",
        "item_id",
    )


def test_function_calls_of_a_client_can_be_answered():
    client = Session()
    call = {"type": "function_call", "name": "f", "arguments": "{}", "call_id": "call-1"}
    client.send(create(call))

    output = {"type": "function_call_output", "call_id": "call-1", "output": "42"}
    added, _ = client.send(create(output))

    assert added["item"]["output"] == "42"
    assert added["item"]["call_id"] == "call-1"


def test_the_output_of_a_deleted_call_is_refused():
    client = Session()
    call = {"type": "function_call", "name": "f", "arguments": "{}", "call_id": "c", "id": "i"}
    client.send(create(call), {"type": "conversation.item.delete", "item_id": "i"})

    client.fails(
        create({"type": "function_call_output", "call_id": "c", "output": "42"}),
        "invalid_tool_call_id",
    )


def test_audio_is_shown_only_when_it_is_retrieved():
    client = Session()
    audio = base64.b64encode(recording()[:4800].tobytes()).decode()
    content = [{"type": "input_audio", "audio": audio, "transcript": "go"}]

    added, done = client.send(
        create({"type": "message", "role": "user", "id": "mine", "content": content})
    )
    (retrieved,) = client.send({"type": "conversation.item.retrieve", "item_id": "mine"})

    for event in (added, done):
        assert event["item"]["content"] == [{"type": "input_audio", "transcript": "go"}]
    assert retrieved["item"]["content"][0]["audio"] == audio


def test_a_spoken_turn_and_its_answer_can_be_retrieved_with_their_audio():
    client = Session()
    events = client.hear() + client.run()
    user = only(events, "input_audio_buffer.committed")["item_id"]
    assistant = only(events, "response.output_item.added")["item"]["id"]

    (heard,) = client.send({"type": "conversation.item.retrieve", "item_id": user})
    (said,) = client.send({"type": "conversation.item.retrieve", "item_id": assistant})

    start = only(events, "input_audio_buffer.speech_started")["audio_start_ms"]
    stop = only(events, "input_audio_buffer.speech_stopped")["audio_end_ms"]
    sent = spoken_turn()[start * 48 : stop * 48]
    assert base64.b64decode(heard["item"]["content"][0]["audio"]) == sent
    assert base64.b64decode(said["item"]["content"][0]["audio"]) == audio_of(events)


def test_the_audio_of_the_oldest_items_is_forgotten_first():
    client = Session(limits=SessionLimits(retained_audio_bytes=200_000))
    client.send(turn_detection(None))
    ids = []
    for _ in range(3):
        events = client.send(*appends(recording().tobytes()), {"type": "input_audio_buffer.commit"})
        ids.append(only(events, "input_audio_buffer.committed")["item_id"])

    kept = []
    for item_id in ids:
        (event,) = client.send({"type": "conversation.item.retrieve", "item_id": item_id})
        kept.append("audio" in event["item"]["content"][0])

    assert kept == [False, False, True]


def truncate(item_id: str, end: int, index: int = 0) -> dict:
    return {
        "type": "conversation.item.truncate",
        "item_id": item_id,
        "content_index": index,
        "audio_end_ms": end,
    }


def test_truncation_cuts_the_audio_and_drops_the_transcript():
    client = Session()
    events = client.ask("tell me a story")
    item_id = only(events, "response.output_item.added")["item"]["id"]

    (event,) = client.send(truncate(item_id, 1500))
    (item,) = client.send({"type": "conversation.item.retrieve", "item_id": item_id})

    assert event == {
        "type": "conversation.item.truncated",
        "event_id": event["event_id"],
        "item_id": item_id,
        "content_index": 0,
        "audio_end_ms": 1500,
    }
    part = item["item"]["content"][0]
    assert part["transcript"] is None
    assert base64.b64decode(part["audio"]) == audio_of(events)[: 1500 * 48]


def test_truncation_to_all_of_the_audio_is_allowed_and_past_it_is_not():
    client = Session()
    events = client.ask("hello")
    item_id = only(events, "response.output_item.added")["item"]["id"]
    length = len(audio_of(events)) // 48

    error = client.fails(truncate(item_id, length + 1), "invalid_value", "audio_end_ms")
    assert error["message"] == (
        f"Audio content of {length}ms is already shorter than {length + 1}ms"
    )
    assert client.send(truncate(item_id, length))[0]["type"] == "conversation.item.truncated"
    client.send(truncate(item_id, 500))
    client.fails(truncate(item_id, 501), "invalid_value", "audio_end_ms")


def test_truncation_is_refused_where_there_is_nothing_to_cut():
    client = Session()
    client.send(typed("hello", id="user"))
    spoken = only(client.ask("hello"), "response.output_item.added")["item"]["id"]
    written = only(client.ask("hi", output_modalities=["text"]), "response.output_item.added")

    client.fails(truncate("nobody", 10), "item_truncate_invalid_item_id", "item_id")
    client.fails(truncate("user", 10), "invalid_value", "item_id")
    client.fails(truncate(written["item"]["id"], 10), "invalid_value", "content_index")
    client.fails(truncate(spoken, 10, index=1), "invalid_value", "content_index")
    client.fails(truncate(spoken, -1), "invalid_value", "audio_end_ms")


def test_an_answer_that_is_being_spoken_can_be_truncated_and_deleted():
    client = Session()
    client.send(typed("tell me a story"), {"type": "response.create"})
    events = client.step(4)
    item_id = only(events, "response.output_item.added")["item"]["id"]

    client.send(truncate(item_id, 300))
    client.step(2)
    (item,) = client.send({"type": "conversation.item.retrieve", "item_id": item_id})
    assert len(base64.b64decode(item["item"]["content"][0]["audio"])) == 300 * 48
    client.send({"type": "conversation.item.delete", "item_id": item_id})
    rest = client.run()

    assert every(rest, "conversation.item.done") == []
    assert only(rest, "response.done")["response"]["status"] == "completed"
