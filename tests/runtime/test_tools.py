"""Tools: what a model is told of a function, and how its arguments are checked."""

from __future__ import annotations

import functools
import math
import re
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


class Forecast:
    """About the class."""

    def __init__(self, unit: Unit = Unit.CELSIUS) -> None:
        self.unit = unit

    async def __call__(self, city: str, days: int = 1) -> str:
        """Tell the weather of the next days."""
        return f"{city} {self.unit.value} {days}"


class Silent:
    """What is said of the class."""

    def __call__(self, city: str) -> str:
        return city


class Wrapped:
    """An object in the place of a function, like `functools.lru_cache`."""

    def __init__(self, function: Any) -> None:
        functools.update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.__wrapped__(*args, **kwargs)  # type: ignore[attr-defined]


def add(a: int, b: int, c: int = 3) -> int:
    """Add up."""
    return a + b + c


def lost(a: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821


def listed(a: list[int] = [1]) -> None: ...  # noqa: B006


@pytest.mark.parametrize(
    ("given", "name", "doc", "properties", "arguments", "result"),
    [
        (functools.partial(add, 1), "add", "Add up.", "b c", {"b": 2}, 6),
        (functools.partial(add, b=5), "add", "Add up.", "a c", {"a": 1}, 9),
        (functools.partial(functools.partial(add, 1), c=0), "add", "Add up.", "b", {"b": 2}, 3),
        (Silent(), "Silent", "What is said of the class.", "city", {"city": "Oslo"}, "Oslo"),
        (Wrapped(add), "add", "Add up.", "a b c", {"a": 1, "b": 2}, 6),
        (functools.lru_cache(add), "add", "Add up.", "a b c", {"a": 1, "b": 2}, 6),
    ],
)
def test_partials_and_callable_objects_are_functions_too(
    given: Any, name: str, doc: str, properties: str, arguments: Any, result: object
) -> None:
    made = tool(given)
    assert (made.name, made.definition.description) == (name, doc)
    assert " ".join(made.definition.input_schema["properties"]) == properties
    assert not made.is_async
    assert made.problem(arguments) is None
    assert made.bound(arguments)() == result


async def test_an_object_whose_call_is_async_is_run_as_a_coroutine() -> None:
    for given in (Forecast(Unit.KELVIN), functools.partial(Forecast(Unit.KELVIN), days=1)):
        made = tool(given)
        assert made.is_async
        assert (made.name, made.definition.description) == (
            "Forecast",
            "Tell the weather of the next days.",
        )
        assert await made.bound({"city": "Oslo"})() == "Oslo kelvin 1"
    assert "days" not in made.definition.input_schema["properties"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (dict, "tool 'dict': "),
        (int, "tool 'int': "),
        (lost, "tool 'lost': its type hints cannot be evaluated (NameError: name 'Nowhere'"),
        (listed, "tool 'listed': "),
        (functools.partial(lost), "tool 'lost': its type hints"),
        (functools.partial(print), "tool 'print': parameter *args"),
        (lambda: None, "a tool's name is '<lambda>'; allowed: 1 to 128 letters, digits"),
    ],
)
def test_what_cannot_be_described_is_refused_with_its_name(given: Any, words: str) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(words)):
        tool(given)


@pytest.mark.parametrize("name", ["a b", "", 5, "x" * 129, "größe", b"add"])
def test_a_name_is_one_that_some_provider_takes(name: Any) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(f"a tool's name is {name!r}"[:40])):
        tool(add, name=name)
    assert tool(lambda: None, name="a.b:c-d_1").name == "a.b:c-d_1"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"handler": None}, "tool 't': handler is None; allowed: a function"),
        ({"definition": {"name": "t"}}, "definition is {'name': 't'}; allowed: ToolDef("),
        (
            {"definition": ToolDef(name="t", input_schema={"type": "string"})},
            "tool 't': input_schema is {'type': 'string'}; allowed: a JSON Schema of an object",
        ),
        (
            {"definition": ToolDef(name="t", input_schema={"type": ["array", "null"]})},
            "allowed: a JSON Schema of an object",
        ),
        ({"deadline": "5"}, "Tool.deadline is '5'"),
        ({"on_interrupt": 5}, "on_interrupt is 5; allowed: cancel"),
    ],
)
def test_an_explicit_tool_is_checked_as_well(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(words)):
        Tool(**{"definition": ToolDef(name="t"), "handler": add, **wrong})
    for schema in ({}, {"properties": {}}, {"type": ["object", "null"]}):
        Tool(definition=ToolDef(name="t", input_schema=schema), handler=add)


def test_a_description_is_text() -> None:
    with pytest.raises(InvalidRequest, match="tool 'add': description is 5; allowed: a string"):
        tool(add, description=5)  # type: ignore[arg-type]


def test_the_arguments_of_a_visible_tool_are_an_object() -> None:
    def config(schema: Any) -> RealtimeSessionOpenConfig:
        visible = ToolDef(name="mine", input_schema=schema)
        return RealtimeSessionOpenConfig(
            RealtimeTurningMode.PROVIDER_MANAGED, SessionLlmIdentity(model="m"), [visible]
        )

    with pytest.raises(InvalidRequest, match="tool 'mine': input_schema is"):
        advertised(config({"type": "string"}), ToolSet(), 30.0)
    advertised(config({}), ToolSet(), 30.0)


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
    for wrong in (0, -1, "5", math.nan, True):
        words = f"Tool.deadline is {wrong!r}; allowed: a number of seconds, more than 0; or None"
        with pytest.raises(InvalidRequest, match=re.escape(words)):
            tool(get_weather, deadline=wrong)
    with pytest.raises(InvalidRequest, match="on_interrupt is 'ask'; allowed: cancel, finish_sil"):
        tool(get_weather, on_interrupt="ask")


def test_return_values_become_text() -> None:
    assert as_result("c", "plain").text_content() == "plain"
    assert as_result("c", {"t": 21.5}).text_content() == '{"t":21.5}'
    assert as_result("c", None).text_content() == "null"
    own = ToolResult(tool_use_id="?", content=(StructuredContent([1]), TextContent("x")))
    assert as_result("c", own).tool_use_id == "c"
    with pytest.raises(TypeError):
        as_result("c", object())
