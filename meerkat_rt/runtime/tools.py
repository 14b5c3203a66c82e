"""The tools of a session: functions with type hints, or explicit definitions with a handler."""

from __future__ import annotations

import functools
import inspect
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, get_type_hints

import attrs
import jsonschema
import msgspec
from jsonschema.exceptions import SchemaError
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for

from ..model import checks as check
from ..model.conversation import JSON, TextContent, ToolDef, ToolResult
from ..model.errors import InvalidRequest, RequestTooLarge
from ..turn.effects import InterruptPolicy, ToolSpec

if TYPE_CHECKING:
    from ..model.open_config import RealtimeSessionOpenConfig

Handler: TypeAlias = Callable[..., Any]

# What one provider or another takes; its dialect knows which of these it does not.
_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_ALLOWED_NAMES = "1 to 128 letters, digits, underscores, dots, colons and dashes"

MAX_OUTPUT_BYTES = 4 * 1024 * 1024  # of one call; a million tokens, and no context has as many


@attrs.frozen
class _Schema:
    """A schema, known by its text: `repr` also tells a tuple, which is no JSON array, from one."""

    text: str
    schema: dict[str, Any] = attrs.field(eq=False)


@functools.lru_cache(maxsize=256)
def _checked(given: _Schema) -> type[Validator]:
    """The validator of a sound schema.

    Kept, because the check takes milliseconds, and tools are often made anew for each session.

    Raises:
        SchemaError: it is no schema.
    """
    validator: type[Validator] = validator_for(
        given.schema, default=jsonschema.Draft202012Validator
    )
    validator.check_schema(given.schema)
    return validator


def _policy(value: str) -> InterruptPolicy:
    return check.member(InterruptPolicy, "on_interrupt", InvalidRequest)(value)


@attrs.frozen(kw_only=True)
class Tool:
    """One tool and how its calls are run.

    `handler` takes the arguments by name (or, for an explicit definition, as one dict when
    `takes_arguments` is True); a coroutine function runs in the session's nursery, a plain function
    in a worker thread that is abandoned on cancellation.  `deadline`: seconds, None for the
    session's default. `on_interrupt`: what an interruption does to a running call.

    Raises:
        InvalidRequest: one of these is something else, or the schema is none of an object.
    """

    definition: ToolDef
    handler: Handler
    deadline: float | None = attrs.field(
        default=None, validator=check.seconds(optional=True, error=InvalidRequest)
    )
    on_interrupt: InterruptPolicy = attrs.field(default=InterruptPolicy.CANCEL, converter=_policy)
    takes_arguments: bool = False
    _convert: Callable[[JSON], dict[str, Any]] | None = attrs.field(default=None, alias="convert")
    _validator: Validator = attrs.field(init=False, repr=False)

    @_validator.default
    def _make_validator(self) -> Validator:
        check.expect(self.definition, ToolDef, "definition", "ToolDef(name=..., input_schema=...)")
        if not callable(self.handler):
            raise InvalidRequest(
                f"tool {self.name!r}: handler is {check.shown(self.handler)}; allowed: a function, "
                "or another callable (a tool without one belongs into visible_tools)"
            )
        schema = object_schema(self.definition)
        try:
            validator = _checked(_Schema(repr(schema), schema))
        except SchemaError as error:
            raise InvalidRequest(
                f"tool {self.name!r}: input_schema is not a valid JSON Schema: {error.message}"
            ) from None
        made: Validator = validator(schema)
        return made

    @property
    def name(self) -> str:
        """The name that the model calls it by."""
        return self.definition.name

    @property
    def is_async(self) -> bool:
        """The handler is a coroutine function (or an object whose call is one)."""
        function = _unbound(self.handler)
        if inspect.iscoroutinefunction(function):
            return True
        call = None if isinstance(function, type) else getattr(function, "__call__", None)  # noqa: B004
        return inspect.iscoroutinefunction(call)

    def problem(self, arguments: JSON) -> str | None:
        """What is wrong with `arguments`, in words for the model; None when they fit the schema."""
        error = next(iter(self._validator.iter_errors(arguments)), None)
        if error is not None:
            where = "/".join(str(part) for part in error.absolute_path)
            return f"{where}: {error.message}" if where else str(error.message)
        if self._convert is not None:
            try:
                self._convert(arguments)
            except msgspec.ValidationError as unfit:
                return str(unfit)
        return None

    def bound(self, arguments: JSON) -> Callable[[], Any]:
        """The handler with valid `arguments` applied."""
        if self.takes_arguments:
            return lambda: self.handler(arguments)
        keywords = self._convert(arguments) if self._convert else dict(arguments)
        return lambda: self.handler(**keywords)

    def spec(self, default_deadline: float) -> ToolSpec:
        """What the machine needs to know."""
        return ToolSpec(
            name=self.name,
            handled=True,
            deadline=self.deadline if self.deadline is not None else default_deadline,
            on_interrupt=self.on_interrupt,
            validate=self.problem,
        )


def object_schema(definition: ToolDef) -> dict[str, Any]:
    """The schema of a tool's arguments, which are an object.

    Raises:
        InvalidRequest: it says that they are something else.
    """
    schema: Any = definition.input_schema
    kind = schema.get("type", "object") if isinstance(schema, Mapping) else None
    kinds = kind if isinstance(kind, list) else [kind]
    # A word that is no type at all is left to the check of the schema.
    if all(each is None or each in _NO_OBJECTS for each in kinds):
        raise InvalidRequest(
            f"tool {definition.name!r}: input_schema is {check.shown(schema)}; allowed: a JSON "
            'Schema of an object, such as {"type": "object", "properties": {...}}'
        )
    return dict(schema)


_NO_OBJECTS = ("string", "number", "integer", "boolean", "array", "null")


def _unbound(handler: Handler) -> Handler:
    """The callable under `functools.partial`."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    return handler


def _written(handler: Handler) -> Any:
    """What has the type hints and the docstring of a handler: of an object, its `__call__`."""
    function = _unbound(handler)
    call = getattr(type(function), "__call__")  # noqa: B004, B009 - not whether it has one
    # What wraps a function in an object has copied both, as `functools.wraps` does.
    plain = isinstance(function, type) or hasattr(function, "__wrapped__")
    return function if plain or not inspect.isfunction(call) else call


def _parameters(handler: Handler, shown: str) -> list[inspect.Parameter]:
    """What is left for the model to give: what `functools.partial` has bound is not."""
    try:
        parameters = inspect.signature(handler).parameters
    except (TypeError, ValueError) as error:
        raise InvalidRequest(
            f"tool {shown!r}: its parameters cannot be found out ({error}); allowed: functions "
            "with type hints, or Tool(definition=..., handler=...)"
        ) from None
    bound = handler.keywords if isinstance(handler, functools.partial) else {}
    return [each for each in parameters.values() if each.name not in bound]


def _hints(handler: Handler, shown: str) -> dict[str, Any]:
    try:
        return get_type_hints(_written(handler), include_extras=True)
    except Exception as error:  # they are evaluated, so it may be any
        raise InvalidRequest(
            f"tool {shown!r}: its type hints cannot be evaluated ({type(error).__name__}: {error});"
            " allowed: types that can be found where the function is defined"
        ) from error


def _documentation(handler: Handler) -> str:
    written = _written(handler)
    if written is not _unbound(handler) and not written.__doc__:
        return inspect.getdoc(type(_unbound(handler))) or ""
    # Not of a `__call__` without one, of which `getdoc` says what Python says of every call.
    return inspect.getdoc(written) or ""


def _named(function: Handler, name: str | None) -> str:
    """The name of a tool, which is the function's own unless another is given."""
    under = _unbound(function)
    chosen: Any = getattr(under, "__name__", type(under).__name__) if name is None else name
    if not isinstance(chosen, str) or not _NAME.fullmatch(chosen):
        raise InvalidRequest(f"a tool's name is {check.shown(chosen)}; allowed: {_ALLOWED_NAMES}")
    return chosen


def tool(
    function: Handler,
    *,
    name: str | None = None,
    description: str | None = None,
    deadline: float | None = None,
    on_interrupt: InterruptPolicy | str = InterruptPolicy.CANCEL,
) -> Tool:
    """Make a tool of a function.

    Its schema comes from its type hints, its description from the first paragraph of its docstring.
    `Annotated[int, msgspec.Meta(ge=0, description="...")]` adds constraints and descriptions.  A
    function that is not async runs in a worker thread, which a cancelled call leaves behind; what
    it returns may be awaitable, and is then awaited in the session.

    An object with a `__call__` will do, and a `functools.partial`: what that has bound is not
    offered to the model.

    Raises:
        InvalidRequest: it is no function, or its parameters cannot be described: `*args`,
            `**kwargs`, one that is positional-only, or one without a type hint that can be
            evaluated; or another argument is not allowed.
    """
    if not callable(function):
        raise InvalidRequest(f"a tool is {function!r}; allowed: functions, and Tool(...)")
    shown = _named(function, name)
    if description is not None:
        check.expect(description, str, f"tool {shown!r}: description", "a string")
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    parameters, hints = _parameters(function, shown), _hints(function, shown)
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise InvalidRequest(
                f"tool {shown!r}: parameter {parameter} cannot be described to a model; "
                f"give it named parameters, or use Tool(definition=..., takes_arguments=True)"
            )
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise InvalidRequest(
                f"tool {shown!r}: parameter {parameter.name!r} is positional-only; "
                "a model gives arguments by name"
            )
        if parameter.name not in hints:
            raise InvalidRequest(f"tool {shown!r}: parameter {parameter.name!r} has no type hint")
        hint = hints[parameter.name]
        if parameter.default is parameter.empty:
            fields.append((parameter.name, hint))
        else:
            fields.append((parameter.name, hint, parameter.default))
    try:
        arguments = msgspec.defstruct(
            f"{shown}_arguments", fields, kw_only=True, forbid_unknown_fields=True
        )
        (reference,), components = msgspec.json.schema_components([arguments])
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"tool {shown!r}: {error}") from None
    schema = components.pop(reference["$ref"].rsplit("/", 1)[-1], reference)
    schema.pop("title", None)
    if components:
        schema["$defs"] = components
    schema = json.loads(json.dumps(schema).replace("#/components/schemas/", "#/$defs/"))

    def convert(values: JSON) -> dict[str, Any]:
        struct = msgspec.convert(values, arguments)
        return {field: getattr(struct, field) for field in arguments.__struct_fields__}

    doc = _documentation(function)
    return Tool(
        definition=ToolDef(
            name=shown,
            description=description if description is not None else doc.split("\n\n")[0],
            input_schema=schema,
        ),
        handler=function,
        deadline=deadline,
        on_interrupt=on_interrupt,
        convert=convert,
    )


class ToolSet:
    """The tools that a session runs by itself: functions, or `Tool`s.

    Raises:
        InvalidRequest: two tools have one name, or a function cannot be described to a model.
    """

    def __init__(self, tools: Iterable[Tool | Handler] = ()) -> None:
        self._tools: dict[str, Tool] = {}
        if isinstance(tools, Tool) or not isinstance(tools, Iterable):
            raise InvalidRequest(
                f"ToolSet takes a list of tools, not {tools!r} alone: ToolSet([...])"
            )
        for given in tools:
            made = given if isinstance(given, Tool) else tool(given)
            if made.name in self._tools:
                raise InvalidRequest(f"two tools are named {made.name!r}; names must be unique")
            self._tools[made.name] = made

    def __len__(self) -> int:
        return len(self._tools)

    def __getitem__(self, name: str) -> Tool:
        return self._tools[name]

    def definitions(self) -> tuple[ToolDef, ...]:
        """What the model is told, in the order given."""
        return tuple(made.definition for made in self._tools.values())

    def specs(self, default_deadline: float) -> tuple[ToolSpec, ...]:
        """What the machine is told."""
        return tuple(made.spec(default_deadline) for made in self._tools.values())


def as_result(call_id: str, value: Any) -> ToolResult:
    """A handler's return value as a tool result: text as it is, anything else as JSON.

    Raises:
        TypeError: the value has no JSON form.
        UnicodeEncodeError: the text has half a surrogate pair, which cannot be sent.
        RequestTooLarge: over `MAX_OUTPUT_BYTES` of text.
    """
    if isinstance(value, ToolResult):
        result = attrs.evolve(value, tool_use_id=call_id)
    else:
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        result = ToolResult(tool_use_id=call_id, content=(TextContent(text),))
    size = len(result.text_content().encode())
    if size > MAX_OUTPUT_BYTES:
        raise RequestTooLarge("the result cannot be sent", size, MAX_OUTPUT_BYTES)
    return result


def advertised(
    config: RealtimeSessionOpenConfig, tools: ToolSet, default_deadline: float
) -> tuple[tuple[ToolDef, ...], tuple[ToolSpec, ...]]:
    """The definitions and the rules of `visible_tools` and `tools` together.

    Raises:
        InvalidRequest: a name appears twice, or arguments are no object.
    """
    for definition in config.visible_tools:
        if definition.input_schema:
            object_schema(definition)
    definitions = (*config.visible_tools, *tools.definitions())
    names = [definition.name for definition in definitions]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidRequest(
            f"tools named twice, in visible_tools or the ToolSet: {', '.join(twice)}"
        )
    debts = tuple(
        ToolSpec(name=definition.name, deadline=default_deadline)
        for definition in config.visible_tools
    )
    return definitions, debts + tools.specs(default_deadline)
