"""What the default brain says, and the arguments that it makes up."""

from __future__ import annotations

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meerkat_rt.embedded import (
    BrainCall,
    BrainMessage,
    BrainOutput,
    BrainRequest,
    BrainTool,
    Call,
    DefaultBrain,
    Say,
)
from meerkat_rt.embedded.plausible import plausible_arguments

WEATHER = BrainTool(name="get_weather", description="The weather in a city.")
ORDERS = BrainTool(name="lookupOrder", description="Find an order.")


def user(text: str = "", seconds: float = 0.0) -> BrainMessage:
    return BrainMessage(role="user", text=text, speech_seconds=seconds)


def reply(*history, **request):
    return DefaultBrain().reply(BrainRequest(history=tuple(history), **request))


def said(*history, **request) -> str:
    (answer,) = reply(*history, **request)
    assert isinstance(answer, Say)
    return answer.text


def called(*history, **request) -> list[str]:
    return [answer.name for answer in reply(*history, **request) if isinstance(answer, Call)]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Hi there", "Hello!"),
        ("what is 12 * 12?", "144"),
        ("what's 1 divided by 0", "zero"),
        ("7 minus 9.5", "-2.5"),
        ("repeat after me: the sky is blue", "the sky is blue"),
        ("who are you?", "embedded brain"),
        ("thank you", "welcome"),
        ("tell me a story", "meerkats"),
        ("xyzzy", 'You said: "xyzzy"'),
    ],
)
def test_a_handful_of_answers(text, answer):
    assert answer in said(user(text))


def test_it_speaks_first_when_nobody_has_spoken():
    assert "listening" in said()


def test_later_spoken_turns_get_long_and_different_answers():
    first = said(user(seconds=2))
    second = said(user(seconds=2), BrainMessage(role="assistant", text=first), user(seconds=2))

    assert first != second
    assert len(second.split()) > 50


def test_a_typed_turn_calls_the_tool_that_it_mentions():
    assert called(user("What's the weather like?"), tools=(ORDERS, WEATHER)) == ["get_weather"]
    assert called(user("find my order 17"), tools=(WEATHER, ORDERS)) == ["lookupOrder"]
    assert called(user("hello"), tools=(WEATHER, ORDERS)) == []
    assert called(user("where is my parcel?"), tools=(WEATHER,)) == ["get_weather"]


def test_a_spoken_turn_calls_the_first_tool_once():
    assert called(user(seconds=2), tools=(WEATHER, ORDERS)) == ["get_weather"]
    history = (
        user(seconds=2),
        BrainCall(call_id="c", name="get_weather", arguments="{}"),
        BrainOutput(call_id="c", output="sunny"),
        BrainMessage(role="assistant", text="Sunny."),
        user(seconds=2),
    )
    assert called(*history, tools=(WEATHER,)) == []


def test_tool_choice_is_obeyed():
    tools = (WEATHER, ORDERS)
    assert called(user("weather?"), tools=tools, tool_choice="none") == []
    assert called(user("hello"), tools=tools, tool_choice="required") == ["get_weather"]
    assert called(user("hello"), tools=tools, forced_tool="lookupOrder") == ["lookupOrder"]
    assert called(user("hello"), tool_choice="required") == []


def test_parallel_calls_only_when_allowed():
    both = {"tools": (WEATHER, ORDERS)}
    assert len(called(user(seconds=1), parallel_tool_calls=True, **both)) == 2
    assert len(called(user(seconds=1), **both)) == 1


@pytest.mark.parametrize(
    ("output", "spoken"),
    [
        ('{"sky": "clear", "rain": false}', "sky is clear, rain is no"),
        ('["a", "b"]', "a, b"),
        ("plain words.", "plain words"),
        ("", "nothing"),
        ('{"error_code": null}', "error code is nothing"),
        ("[" * 5000, "[[["),
    ],
)
def test_it_speaks_about_what_a_tool_gave(output, spoken):
    history = (
        user(seconds=2),
        BrainCall(call_id="c", name="getWeather", arguments="{}"),
        BrainOutput(call_id="c", output=output),
    )

    answer = said(*history, tools=(WEATHER,))

    assert answer.startswith("Here is what get weather says: ")
    assert spoken in answer


def test_all_fresh_outputs_are_spoken_about():
    history = (
        user(seconds=2),
        BrainCall(call_id="c", name="a", arguments="{}"),
        BrainCall(call_id="d", name="b", arguments="{}"),
        BrainOutput(call_id="c", output="one"),
        BrainOutput(call_id="d", output="two"),
    )

    answer = said(*history)

    assert "one" in answer
    assert "two" in answer


SCHEMAS = [
    {},
    {"type": "object"},
    {"properties": {"city": {"type": "string"}}, "required": ["city"]},
    {
        "type": "object",
        "properties": {
            "n": {"type": "integer", "minimum": 10},
            "x": {"type": "number", "maximum": 1},
            "on": {"type": "boolean"},
            "unit": {"enum": ["c", "f"]},
            "kind": {"const": "k"},
            "when": {"type": "string", "format": "date-time"},
            "tags": {"type": "array", "items": {"type": "string"}, "minItems": 2},
            "who": {"$ref": "#/$defs/person"},
            "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "several": {"type": ["string", "null"]},
            "nothing": {"type": "null"},
            "given": {"type": "string", "default": "d"},
        },
        "required": [
            *("n", "x", "on", "unit", "kind", "when", "tags", "who", "maybe", "several"),
            *("nothing", "given"),
        ],
        "$defs": {
            "person": {
                "type": "object",
                "properties": {"name": {"type": "string"}},
                "required": ["name"],
            }
        },
    },
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=range(len(SCHEMAS)))
def test_arguments_satisfy_the_schema(schema):
    arguments = plausible_arguments(schema, "how many trees are in Lyon?")

    jsonschema.validate(arguments, {"type": "object", **schema})


def test_what_was_typed_is_used_where_it_fits():
    schema = {
        "properties": {
            "city": {"type": "string"},
            "count": {"type": "integer"},
            "query": {"type": "string", "maxLength": 10},
        },
        "required": ["city", "count", "query"],
    }

    arguments = plausible_arguments(schema, "Book 3 rooms in New York please")

    assert arguments == {"city": "New York", "count": 3, "query": "Book 3 roo"}


def test_a_schema_that_refers_to_itself_ends():
    schema = {"properties": {"child": {"$ref": "#"}}, "required": ["child"]}

    assert plausible_arguments(schema, "x")


_KEYWORDS = (
    "type properties required items enum anyOf $ref minItems maxLength minimum maximum const "
    "default format a"
)
_keys = st.sampled_from(_KEYWORDS.split())
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(_keys, _json, max_size=6), st.text(max_size=20))
def test_no_schema_and_no_text_can_break_it(schema, text):
    arguments = plausible_arguments(schema, text)

    assert isinstance(arguments, dict)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.builds(
            BrainMessage,
            role=st.sampled_from(["user", "assistant", "system"]),
            text=st.text(max_size=30),
        )
        | st.builds(BrainCall, call_id=st.just("c"), name=st.text(max_size=5), arguments=st.text())
        | st.builds(BrainOutput, call_id=st.just("c"), output=st.text(max_size=30)),
        max_size=5,
    ),
    st.sampled_from(["auto", "none", "required"]),
    st.booleans(),
)
def test_it_always_answers(history, choice, parallel):
    replies = reply(*history, tools=(WEATHER,), tool_choice=choice, parallel_tool_calls=parallel)

    assert replies
    assert all(isinstance(answer, Say | Call) for answer in replies)
