"""Responses: order, modalities, tools, cancellation, out of band, limits, usage."""

from __future__ import annotations

import json

import pytest
from support.embedded_session import (
    Session,
    audio_of,
    every,
    function_tool,
    kinds,
    only,
    session_update,
    typed,
)

from meerkat_rt.embedded import BrainCall, BrainMessage, BrainOutput, Call, Say

CREATE = {"type": "response.create"}
CANCEL = {"type": "response.cancel"}
WRITTEN_ANSWER = [
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
    "response.done",
    "rate_limits.updated",
]
TOOL_CALL = [
    "response.output_item.added",
    "conversation.item.added",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "conversation.item.done",
    "response.output_item.done",
]
ALL_KEYS = {
    "object",
    "id",
    "status",
    "status_details",
    "output",
    "conversation_id",
    "output_modalities",
    "max_output_tokens",
    "audio",
    "usage",
    "metadata",
}


class Scripted:
    """A brain that says what it is told, and remembers what it was asked."""

    def __init__(self, *replies) -> None:
        self.replies = list(replies)
        self.requests = []

    def reply(self, request):
        self.requests.append(request)
        return self.replies


def output(call_id: str, text: str = "{}") -> dict:
    item = {"type": "function_call_output", "call_id": call_id, "output": text}
    return {"type": "conversation.item.create", "item": item}


def test_a_written_answer_in_the_captured_order():
    client = Session()

    events = client.ask("hello", output_modalities=["text"])

    assert kinds(events) == WRITTEN_ANSWER
    text = "".join(event["delta"] for event in every(events, "response.output_text.delta"))
    assert text == only(events, "response.output_text.done")["text"] == "Hello! How can I help you?"
    part = only(events, "response.content_part.done")["part"]
    assert part == {"type": "text", "text": text}
    item = only(events, "response.output_item.done")["item"]
    assert item["content"] == [{"type": "output_text", "text": text}]


def test_a_spoken_answer_has_words_along_with_its_sound():
    client = Session()

    events = client.ask("hello")

    spoken = "".join(e["delta"] for e in every(events, "response.output_audio_transcript.delta"))
    assert spoken == "Hello! How can I help you?"
    item = only(events, "conversation.item.done")["item"]
    assert item["content"] == [{"type": "output_audio", "transcript": spoken}]
    order = [e["type"] for e in events if e["type"].endswith(".delta")]
    first_audio = order.index("response.output_audio.delta")
    assert first_audio > 0
    assert "response.output_audio_transcript.delta" in order[first_audio:]
    assert 1.5 < len(audio_of(events)) / 48000 < 3.5


@pytest.mark.parametrize(("form", "rate"), [("audio/pcmu", 8000), ("audio/pcma", 8000)])
def test_the_answer_comes_in_the_output_format(form, rate):
    client = Session()
    client.send(session_update(audio={"output": {"format": {"type": form}}}))

    events = client.ask("hello")

    assert 1.5 < len(audio_of(events)) / rate < 3.5
    assert only(events, "response.done")["response"]["audio"]["output"]["format"] == {"type": form}


def test_speed_shortens_the_answer():
    normal = audio_of(Session().ask("tell me a story"))
    client = Session()
    client.send(session_update(audio={"output": {"speed": 1.5}}))

    fast = audio_of(client.ask("tell me a story"))

    assert len(normal) / len(fast) == pytest.approx(1.5, abs=0.01)


def test_the_response_object_always_has_all_its_keys():
    events = Session().ask("hello", metadata={"topic": "t"})

    created = only(events, "response.created")["response"]
    done = only(events, "response.done")["response"]
    assert set(created) == set(done) == ALL_KEYS
    assert (created["status"], created["output"], created["usage"]) == ("in_progress", [], None)
    assert created["metadata"] == done["metadata"] == {"topic": "t"}
    assert done["status"] == "completed"
    assert done["conversation_id"].startswith("conv_")


def test_usage_adds_up_and_later_prompts_are_partly_cached():
    client = Session()
    client.ask("tell me a story")

    usage = only(client.ask("hello"), "response.done")["response"]["usage"]

    details, out = usage["input_token_details"], usage["output_token_details"]
    assert usage["input_tokens"] == details["text_tokens"] + details["audio_tokens"]
    assert usage["output_tokens"] == out["text_tokens"] + out["audio_tokens"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    cached = details["cached_tokens_details"]
    assert details["cached_tokens"] == cached["text_tokens"] + cached["audio_tokens"]
    assert out["audio_tokens"] > 0
    assert details["audio_tokens"] > 0


def test_rate_limits_follow_the_response():
    events = Session().ask("hello")

    (limit,) = events[-1]["rate_limits"]
    used = only(events, "response.done")["response"]["usage"]["total_tokens"]
    assert limit["name"] == "tokens"
    assert limit["limit"] - limit["remaining"] == used


def test_a_tool_call_and_the_answer_after_it():
    client = Session()
    client.send(session_update(tools=[function_tool()]))

    events = client.ask("What is the weather in Paris?")

    assert kinds(events) == ["response.created", *TOOL_CALL, "response.done", "rate_limits.updated"]
    done = only(events, "response.function_call_arguments.done")
    deltas = every(events, "response.function_call_arguments.delta")
    assert done["name"] == "get_weather"
    assert json.loads(done["arguments"]) == {"city": "Paris"}
    assert "".join(event["delta"] for event in deltas) == done["arguments"]
    (item,) = only(events, "response.done")["response"]["output"]
    assert item["call_id"] == done["call_id"]
    assert item["arguments"] == done["arguments"]
    added = only(events, "response.output_item.added")["item"]
    assert (added["arguments"], added["status"]) == ("", "in_progress")

    client.send(output(done["call_id"], '{"temperature": 21, "sky": "clear"}'))
    answer = client.send(CREATE) + client.run()

    assert only(answer, "response.output_audio_transcript.done")["transcript"] == (
        "Here is what get weather says: temperature is 21, sky is clear."
    )


def test_a_spoken_turn_uses_a_tool_once_then_talks_at_length():
    client = Session()
    client.send(session_update(tools=[function_tool("lookup", query={"type": "string"})]))

    first = client.hear() + client.run()
    call = only(first, "response.function_call_arguments.done")
    client.send(output(call["call_id"], "seventeen"))
    second = client.send(CREATE) + client.run()
    third = client.hear() + client.run()

    assert "seventeen" in only(second, "response.output_audio_transcript.done")["transcript"]
    assert every(third, "response.function_call_arguments.done") == []
    assert len(audio_of(third)) / 48000 > 20


def test_parallel_calls_when_they_are_allowed():
    tools = [function_tool("weather_now"), function_tool("news_now")]
    client = Session()
    client.send(session_update(tools=tools, parallel_tool_calls=True))

    events = client.hear() + client.run()

    names = [e["name"] for e in every(events, "response.function_call_arguments.done")]
    assert names == ["weather_now", "news_now"]
    added = every(events, "response.output_item.added")
    assert [event["output_index"] for event in added] == [0, 1]
    assert len({event["item"]["call_id"] for event in added}) == 2
    assert len(only(events, "response.done")["response"]["output"]) == 2


def test_words_and_a_call_in_one_response():
    client = Session(brain=Scripted(Say("One moment."), Call("f", {"a": 1})))

    events = client.ask("go", output_modalities=["text"])

    output_items = only(events, "response.done")["response"]["output"]
    assert [item["type"] for item in output_items] == ["message", "function_call"]
    assert kinds(events)[5:] == [
        "response.output_text.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        *TOOL_CALL,
        "response.done",
        "rate_limits.updated",
    ]


@pytest.mark.parametrize(
    ("choice", "called"),
    [
        ("none", []),
        ("required", ["get_weather"]),
        ({"type": "function", "name": "other"}, ["other"]),
        ("auto", []),
    ],
)
def test_tool_choice(choice, called):
    client = Session()
    client.send(session_update(tools=[function_tool(), function_tool("other")]))

    events = client.ask("hello", tool_choice=choice)

    names = [e["name"] for e in every(events, "response.function_call_arguments.done")]
    assert names == called


def test_one_response_at_a_time():
    client = Session()
    client.send(typed("hello"), CREATE)
    client.step(1)

    client.fails(CREATE, "conversation_already_has_active_response")

    client.run()
    assert client.send(CREATE)[0]["type"] == "response.created"


def test_cancel_ends_the_response_with_its_tail():
    client = Session()
    client.send(typed("tell me a story"), CREATE)
    client.step(3)

    events = client.send(CANCEL)

    assert kinds(events) == [
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
        "rate_limits.updated",
    ]
    done = only(events, "response.done")["response"]
    assert done["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
    assert only(events, "response.output_item.done")["item"]["status"] == "incomplete"
    assert client.run() == []
    client.fails(CANCEL, "response_cancel_not_active")


def test_a_cancelled_call_is_incomplete():
    client = Session()
    client.send(session_update(tools=[function_tool()]))
    client.send(typed("weather in Paris?"), CREATE)
    client.step(1)

    events = client.send(CANCEL)

    item = only(events, "response.output_item.done")["item"]
    assert item["status"] == "incomplete"
    assert item["arguments"] == '{"city": "Pa'


def test_cancel_names_a_response():
    client = Session()
    created = client.send({**CREATE, "response": {"conversation": "none"}})
    client.send(typed("hello"), CREATE)
    client.step(1)

    client.fails({**CANCEL, "response_id": "resp_nobody"}, "response_cancel_not_active")
    events = client.send({**CANCEL, "response_id": created[0]["response"]["id"]})

    assert only(events, "response.done")["response"]["id"] == created[0]["response"]["id"]
    assert only(client.run(), "response.done")["response"]["status"] == "completed"


def test_out_of_band_leaves_the_conversation_alone():
    client = Session()
    client.send(typed("hello"), CREATE)
    client.step(1)

    request = {"conversation": "none", "output_modalities": ["text"], "metadata": {"k": "v"}}
    created = client.send({**CREATE, "response": request})
    events = created + client.run()

    out = [e for e in events if e.get("response_id") == created[0]["response"]["id"]]
    assert kinds(out) == [
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
    ]
    done = [e["response"] for e in every(events, "response.done")]
    assert [d["metadata"] for d in done if d["conversation_id"] is None] == [{"k": "v"}]
    assert len(every(events, "conversation.item.done")) == 1


def test_input_replaces_the_context():
    brain = Scripted(Say("ok"))
    client = Session(brain=brain)
    client.send(typed("one", id="first"), typed("two"))

    entries = [{"type": "item_reference", "id": "first"}, typed("three")["item"]]
    client.send({**CREATE, "response": {"conversation": "none", "input": entries}})
    client.run()
    client.send({**CREATE, "response": {"conversation": "none", "input": []}})
    client.run()

    assert [entry.text for entry in brain.requests[0].history] == ["one", "three"]
    assert brain.requests[1].history == ()


BAD_RESPONSES = [
    ({"temperature": 1}, "unknown_parameter", "response.temperature"),
    ({"conversation": "other"}, "invalid_value", "response.conversation"),
    ({"output_modalities": ["audio", "text"]}, "invalid_value", "response.output_modalities"),
    ({"max_output_tokens": 5000}, "invalid_value", "response.max_output_tokens"),
    ({"metadata": {str(n): "v" for n in range(17)}}, "invalid_value", "response.metadata"),
    ({"metadata": {"k" * 65: "v"}}, "invalid_value", "response.metadata"),
    ({"metadata": {"k": "v" * 513}}, "invalid_value", "response.metadata.k"),
    ({"metadata": {"k": 1}}, "invalid_type", "response.metadata.k"),
    ({"input": [{"type": "item_reference", "id": "x"}]}, "invalid_value", "response.input[0].id"),
    ({"input": [{"type": "item_reference"}]}, "missing_required_parameter", "response.input[0].id"),
    ({"input": [{"type": "thought"}]}, "invalid_value", "response.input[0].type"),
    ({"input": ["x"]}, "invalid_type", "response.input[0]"),
    (
        {"tool_choice": {"type": "function", "name": "x"}},
        "invalid_value",
        "response.tool_choice",
    ),
    ({"audio": {"output": {"speed": 1}}}, "unknown_parameter", "response.audio.output.speed"),
]


@pytest.mark.parametrize(("response", "code", "param"), BAD_RESPONSES)
def test_a_bad_response_is_refused_by_name_and_not_created(response, code, param):
    client = Session()

    client.fails({**CREATE, "response": response}, code, param)

    assert client.thinking == []


def test_overrides_hold_for_one_response_only():
    brain = Scripted(Say("ok"))
    client = Session(brain=brain)

    done = only(
        client.ask(
            "one",
            instructions="be brief",
            output_modalities=["text"],
            max_output_tokens=50,
            tools=[function_tool()],
        ),
        "response.done",
    )["response"]
    after = only(client.ask("two"), "response.done")["response"]

    assert brain.requests[0].instructions == "be brief"
    assert brain.requests[0].modality == "text"
    assert [tool.name for tool in brain.requests[0].tools] == ["get_weather"]
    assert done["max_output_tokens"] == 50
    assert brain.requests[1].instructions != "be brief"
    assert brain.requests[1].tools == ()
    assert after["output_modalities"] == ["audio"]
    assert after["max_output_tokens"] == "inf"


@pytest.mark.parametrize("modality", ["text", "audio"])
def test_the_token_limit_makes_a_response_incomplete(modality):
    client = Session()

    events = client.ask("tell me a story", output_modalities=[modality], max_output_tokens=12)

    done = only(events, "response.done")["response"]
    assert done["status"] == "incomplete"
    assert done["status_details"] == {"type": "incomplete", "reason": "max_output_tokens"}
    assert done["output"][0]["status"] == "incomplete"
    assert 0 < done["usage"]["output_tokens"] <= 12


def test_a_failure_of_the_brain_fails_the_response():
    client = Session()
    client.send(typed("hello"), CREATE)
    work = client.thinking[0]

    client.engine.fail(work.response_id, "The brain failed: ValueError.")
    events = client.take()

    done = only(events, "response.done")["response"]
    assert done["status"] == "failed"
    assert done["status_details"]["error"]["code"] == "server_error"
    assert client.send(CREATE)[0]["type"] == "response.created"


def test_a_brain_that_says_nothing_completes_an_empty_response():
    events = Session(brain=Scripted()).ask("hello")

    assert kinds(events) == ["response.created", "response.done", "rate_limits.updated"]
    assert events[1]["response"]["status"] == "completed"


def test_what_utf8_cannot_carry_is_replaced():
    events = Session(brain=Scripted(Say("a\ud800b"))).ask("hello", output_modalities=["text"])

    assert only(events, "response.output_text.done")["text"] == "a?b"


def test_what_the_brain_sees():
    brain = Scripted(Say("Well."), Call("f", {"a": 1}))
    client = Session(brain=brain)
    client.send(typed("hello"))
    client.hear()
    client.run()
    answered = brain.requests[0]
    call = every(client.events, "response.function_call_arguments.done")[0]
    client.send(output(call["call_id"], "42"), CREATE)
    client.run()

    typed_turn, spoken_turn = answered.history
    assert typed_turn == BrainMessage(role="user", text="hello")
    assert spoken_turn.text == ""
    assert spoken_turn.speech_seconds == pytest.approx(2.7, abs=0.2)
    said, called, got = brain.requests[1].history[2:]
    assert (said.role, said.text) == ("assistant", "Well.")
    assert called == BrainCall(call_id=call["call_id"], name="f", arguments='{"a": 1}')
    assert got == BrainOutput(call_id=call["call_id"], output="42")
