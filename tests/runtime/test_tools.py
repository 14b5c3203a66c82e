"""Tools: what a model is told of a function, and how its arguments are checked."""

from __future__ import annotations

import threading
from enum import Enum
from typing import Annotated, Any, Literal

import msgspec
import pytest

from meerkat_rt.model.conversation import (
    SessionLlmIdentity,
    StructuredContent,
    TextContent,
    ToolDef,
    ToolResult,
)
from meerkat_rt.model.errors import InvalidRequest
from meerkat_rt.model.media import RealtimeTurningMode
from meerkat_rt.model.open_config import RealtimeSessionOpenConfig
from meerkat_rt.runtime.tools import Tool, ToolSet, advertised, as_result, tool
from meerkat_rt.turn.effects import InterruptPolicy


class Unit(Enum):
    CELSIUS = "celsius"
    KELVIN = "kelvin"


async def get_weather(
    city: Annotated[str, msgspec.Meta(min_length=1, description="Where")],
    unit: Unit = Unit.CELSIUS,
    days: int = 1,
    detail: Literal["low", "high"] | None = None,
) -> str:
    """Tell the weather.

    A second paragraph is for people, not for the model.
    """
    return f"{city} {unit.value} {days} {detail}"


def test_the_schema_comes_from_type_hints_and_the_description_from_the_docstring() -> None:
    made = tool(get_weather)
    assert made.name == "get_weather"
    assert made.definition.description == "Tell the weather."
    schema = made.definition.input_schema
    assert schema["type"] == "object"
    assert schema["required"] == ["city"]
    assert schema["properties"]["city"] == {
        "type": "string",
        "minLength": 1,
        "description": "Where",
    }
    assert schema["properties"]["days"] == {"type": "integer", "default": 1}
    assert schema["additionalProperties"] is False
    assert schema["$defs"]["Unit"]["enum"] == ["celsius", "kelvin"]
    assert "#/components" not in msgspec.json.encode(schema).decode()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"city": "Oslo"}, None),
        ({"city": "Oslo", "unit": "kelvin", "days": 2, "detail": "low"}, None),
        ({}, "'city' is a required property"),
        ({"city": ""}, "city: '' should be non-empty"),
        ({"city": 3}, "city: 3 is not of type 'string'"),
        ({"city": "Oslo", "unit": "rankine"}, "'rankine' is not one of"),
        ({"city": "Oslo", "wind": True}, "'wind' was unexpected"),
        ([], "[] is not of type 'object'"),
        (None, "None is not of type 'object'"),
    ],
)
def test_arguments_are_checked_in_words_for_the_model(
    arguments: object, problem: str | None
) -> None:
    found = tool(get_weather).problem(arguments)
    if problem is None:
        assert found is None
    else:
        assert found is not None
        assert problem in found


async def test_arguments_are_converted_to_the_hinted_types() -> None:
    made = tool(get_weather)
    assert await made.bound({"city": "Oslo", "unit": "kelvin"})() == "Oslo kelvin 1 None"


async def test_an_explicit_definition_takes_keywords_or_one_dict() -> None:
    definition = ToolDef(
        name="add",
        input_schema={
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
        },
    )
    by_name = Tool(definition=definition, handler=lambda a, b: a + b)
    by_dict = Tool(definition=definition, handler=lambda d: d["a"] * d["b"], takes_arguments=True)
    assert by_name.bound({"a": 2, "b": 3})() == 5
    assert by_dict.bound({"a": 2, "b": 3})() == 6
    assert not by_name.is_async
    assert by_name.problem({"a": 2}) == "'b' is a required property"


def test_what_a_model_cannot_be_told_is_refused_by_name() -> None:
    def star(*args: int) -> None: ...
    def unhinted(a) -> None: ...
    def positional(a: int, /) -> None: ...
    def exotic(a: threading.Event) -> None: ...

    for function, words in [
        (star, r"\*args"),
        (unhinted, "'a' has no type hint"),
        (positional, "positional-only"),
        (exotic, "Event"),
    ]:
        with pytest.raises(InvalidRequest, match=words):
            tool(function)
    with pytest.raises(InvalidRequest, match="not a valid JSON Schema"):
        Tool(definition=ToolDef(name="bad", input_schema={"type": "objekt"}), handler=lambda: None)


def test_a_schema_that_was_sound_once_vouches_for_its_equals_alone() -> None:
    def made(required: Any) -> Tool:
        schema = {"type": "object", "properties": {"a": {}}, "required": required}
        return Tool(definition=ToolDef(name="t", input_schema=schema), handler=lambda: None)

    first, second = made(["a"]), made(["a"])
    assert first.problem({}) == second.problem({}) == "'a' is a required property"
    with pytest.raises(InvalidRequest, match="is not of type 'array'"):
        made(("a",))


def test_names_are_unique_within_a_set_and_together_with_the_visible_tools() -> None:
    with pytest.raises(InvalidRequest, match="two tools are named 'get_weather'"):
        ToolSet([get_weather, get_weather])
    config = RealtimeSessionOpenConfig(
        RealtimeTurningMode.PROVIDER_MANAGED,
        SessionLlmIdentity(model="m"),
        [ToolDef(name="get_weather"), ToolDef(name="app_tool")],
    )
    with pytest.raises(InvalidRequest, match="get_weather"):
        advertised(config, ToolSet([get_weather]), 30.0)
    definitions, specs = advertised(config, ToolSet(), 12.0)
    assert [definition.name for definition in definitions] == ["get_weather", "app_tool"]
    assert [(spec.handled, spec.deadline) for spec in specs] == [(False, 12.0), (False, 12.0)]


def test_each_tool_has_its_deadline_and_policy() -> None:
    quick = tool(get_weather, name="quick", deadline=1.5, on_interrupt="finish_silently")
    (spec, default) = ToolSet([quick, get_weather]).specs(30.0)
    assert (spec.deadline, spec.on_interrupt) == (1.5, InterruptPolicy.FINISH_SILENTLY)
    assert (default.deadline, default.on_interrupt) == (30.0, InterruptPolicy.CANCEL)
    assert spec.handled
    with pytest.raises(ValueError, match="deadline"):
        tool(get_weather, deadline=0)


def test_return_values_become_text() -> None:
    assert as_result("c", "plain").text_content() == "plain"
    assert as_result("c", {"t": 21.5}).text_content() == '{"t":21.5}'
    assert as_result("c", None).text_content() == "null"
    own = ToolResult(tool_use_id="?", content=(StructuredContent([1]), TextContent("x")))
    assert as_result("c", own).tool_use_id == "c"
    with pytest.raises(TypeError):
        as_result("c", object())
