"""The converter, what it asks of a type, and the plain JSON that both directions share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Final, Union, get_args, get_origin

import attrs
import cattrs

from .errors import InvalidJson, LlmError

if TYPE_CHECKING:
    from .conversation import JSON

converter: Final = cattrs.Converter(detailed_validation=True)

ERROR_KEY: Final = "kind"
"""The key that holds an error's tag."""

# ---------------------------------------------------------------- types


def is_any(as_type: Any) -> bool:
    return as_type is Any


def is_union(as_type: Any) -> bool:
    return get_origin(as_type) in (Union, UnionType)


def is_optional(as_type: Any) -> bool:
    return is_union(as_type) and NoneType in get_args(as_type)


def is_sequence(as_type: Any) -> bool:
    origin = get_origin(as_type)
    return origin is list or (origin is tuple and get_args(as_type)[-1:] == (Ellipsis,))


def is_mapping(as_type: Any) -> bool:
    return get_origin(as_type) in (dict, Mapping)


def is_error(as_type: Any) -> bool:
    return isinstance(as_type, type) and issubclass(as_type, LlmError)


def fields_of(cls: Any) -> tuple[attrs.Attribute[Any], ...]:
    """The fields of a class, with their types in place of the names of their types."""
    fields: tuple[attrs.Attribute[Any], ...] = attrs.fields(attrs.resolve_types(cls))
    return fields


# ---------------------------------------------------------------- paths and kinds


def joined(outer: str, inner: str) -> str:
    """One path below another: `a` and `b` are `a.b`, `a` and `[0]` are `a[0]`."""
    if not outer or not inner:
        return outer or inner
    return outer + inner if inner.startswith("[") else f"{outer}.{inner}"


_KINDS = {
    NoneType: "null",
    bool: "a boolean",
    str: "a string",
    int: "an integer",
    float: "a number",
    list: "an array",
    tuple: "an array",
    dict: "an object",
}


def expected(what: str, value: Any) -> InvalidJson:
    """The fault of a value of the wrong kind."""
    kind = _KINDS.get(type(value), f"{type(value).__name__}, which has no JSON form")
    return InvalidJson(f"expected {what}, not {kind}")


# ---------------------------------------------------------------- any JSON


def plain_json(value: Any, path: str = "") -> JSON:
    """A copy of `value`, if it is JSON."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidJson(f"{value} is not a JSON number", path)
        return value
    if isinstance(value, (list, tuple)):
        return [plain_json(each, f"{path}[{i}]") for i, each in enumerate(value)]
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise InvalidJson(f"the key {key!r} is not a string", path)
        return {str(key): plain_json(each, joined(path, key)) for key, each in value.items()}
    raise InvalidJson(f"{type(value).__name__} has no JSON form", path)
