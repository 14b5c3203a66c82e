"""The one converter: the JSON form of every value of the vocabulary, and the way back.

The rules: a field stands under its own name; an optional field that is None is left out; bytes are
base64 (standard alphabet, padded); enums are their values; a variant of a union carries its tag
(`type`, `role`, `kind` or `source`), also when it is encoded alone.  Marks on a field (`_json`) say
where one departs from that.  Unknown keys are ignored, unknown tags and enum values are errors.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Callable, Mapping
from enum import Enum
from types import UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin

import attrs
import cattrs

from ._json import JsonField, marks_of
from ._tags import ERRORS, UNION_OF, TaggedUnion
from .conversation import JSON, Provider, TextContent
from .errors import InvalidJson, LlmError, UnknownTag
from .input_config import NULL, Null

T = TypeVar("T")

_ALIASES: dict[type[Enum], dict[str, Enum]] = {Provider: {"open_a_i": Provider.OPENAI}}


class _At(Exception):
    """A fault below; collects the path on its way up."""

    def __init__(self, error: LlmError) -> None:
        self.error = error
        self.path: list[str] = []
        super().__init__(error)


def _fault(message: str) -> _At:
    return _At(InvalidJson(message))


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    if value is None:
        return "null"
    return names.get(type(value), "a number" if isinstance(value, (int, float)) else "not JSON")


# ---------------------------------------------------------------- out


def _plain(value: Any) -> JSON:
    """A JSON value as it is, if it is one."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidJson(f"{value} has no JSON form")
        return value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise InvalidJson(f"the key {key!r} of a JSON object must be a string")
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    raise InvalidJson(f"{type(value).__name__} has no JSON form")


def _out(value: Any, declared: Any) -> JSON:
    if declared is Any:
        return _plain(value)
    if value is NULL:
        return None
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if attrs.has(type(value)):
        return _converter.unstructure(value)
    if isinstance(value, (tuple, list)):
        inner = next(iter(_item_types(declared)), Any)
        return [_out(entry, inner) for entry in value]
    if isinstance(value, Mapping):
        key_type, inner = _mapping_types(declared)
        if key_type is str and inner is Any:
            return _plain(value)
        return {str(key): _out(entry, inner) for key, entry in value.items()}
    return _plain(value)


def _alternatives(declared: Any) -> tuple[Any, ...]:
    if get_origin(declared) in (Union, UnionType):
        return get_args(declared)
    return (declared,)


def _item_types(declared: Any) -> list[Any]:
    return [
        get_args(each)[0] for each in _alternatives(declared) if get_origin(each) in (tuple, list)
    ]


def _mapping_types(declared: Any) -> tuple[Any, Any]:
    for each in _alternatives(declared):
        if get_origin(each) is Mapping:
            key, inner = get_args(each)
            return key, inner
    return str, Any


def _encoder(cls: type) -> Callable[[Any], dict[str, JSON]]:
    fields = _fields(cls)
    union = UNION_OF.get(cls)

    def encode_object(value: Any) -> dict[str, JSON]:
        data: dict[str, JSON] = {} if union is None else {union.key: union.tags[cls]}
        for field, name, marks, declared, optional in fields:
            entry = getattr(value, field.name)
            if entry is None and optional:
                continue
            if marks.omit_default and entry == _default(field):
                continue
            if marks.plain_text and len(entry) == 1 and isinstance(entry[0], TextContent):
                data[name] = entry[0].text
            elif marks.flatten:
                data.update(cast("dict[str, JSON]", _out(entry, declared)))
            elif marks.null is not None and _out(entry, declared) == marks.null:
                data[name] = None
            else:
                data[name] = _out(entry, declared)
        return data

    return encode_object


def _fields(cls: type) -> list[tuple[attrs.Attribute[Any], str, JsonField, Any, bool]]:
    attrs.resolve_types(cls)
    found = []
    for field in attrs.fields(cls):
        marks = marks_of(field)
        if marks.absent or not field.init:
            continue
        optional = type(None) in _alternatives(field.type) or (
            field.type is Any and field.default is None
        )
        found.append((field, marks.name or field.name, marks, field.type, optional))
    return found


def _default(field: attrs.Attribute[Any]) -> Any:
    default: Any = field.default
    return default.factory() if isinstance(default, attrs.Factory) else default  # type: ignore[arg-type]


# ---------------------------------------------------------------- in


def _in(value: JSON, declared: Any) -> Any:
    """A value of the declared type.  Raises _At."""
    if declared is Any:
        try:
            return _plain(value)
        except InvalidJson as error:
            raise _At(error) from None
    kinds = _alternatives(declared)
    if value is None:
        if Null in kinds:
            return NULL
        if type(None) in kinds:
            return None
        raise _fault("null is not allowed here")
    kinds = tuple(kind for kind in kinds if kind not in (type(None), Null))
    if len(kinds) == 1:
        return _one(value, kinds[0])
    if isinstance(value, Mapping):
        classes = [kind for kind in kinds if attrs.has(kind)]
        if len(classes) == 1:
            return _one(value, classes[0])
        if classes and UNION_OF.get(classes[0]) is not None:
            return _variant(value, UNION_OF[classes[0]], tuple(classes))
    faults: list[str] = []
    for kind in kinds:
        try:
            return _one(value, kind)
        except _At as fault:
            faults.append(str(fault.error))
    raise _fault(faults[-1] if len(set(faults)) == 1 else "; or ".join(dict.fromkeys(faults)))


def _one(value: JSON, kind: Any) -> Any:
    origin = get_origin(kind)
    if origin in (tuple, list):
        if not isinstance(value, list):
            raise _fault(f"a list is expected, not {_kind(value)}")
        inner = get_args(kind)[0]
        return tuple(_at(f"[{index}]", _in, entry, inner) for index, entry in enumerate(value))
    if origin is Mapping:
        if not isinstance(value, Mapping):
            raise _fault(f"an object is expected, not {_kind(value)}")
        key_type, inner = get_args(kind)
        return {
            _key(key, key_type): _at(f".{key}", _in, entry, inner) for key, entry in value.items()
        }
    if origin is Literal:
        if value in get_args(kind):
            return value
        raise _fault(f"{value!r} is not one of {', '.join(map(repr, get_args(kind)))}")
    if attrs.has(kind):
        return _object(value, kind)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _enum(value, kind)
    return _scalar(value, kind)


def _key(key: str, kind: Any) -> Any:
    if kind is int:
        if not key.isdecimal():
            raise _fault(f"the key {key!r} is not a number")
        return int(key)
    return key


def _enum(value: JSON, kind: type[Enum]) -> Enum:
    alias = _ALIASES.get(kind, {}).get(value if isinstance(value, str) else "")
    if alias is not None:
        return alias
    for member in kind:
        if member.value == value:
            return member
    known = tuple(str(member.value) for member in kind)
    if isinstance(value, str):
        raise _At(UnknownTag(tag=value, of=kind.__name__, known=known))
    raise _fault(f"one of {', '.join(known)} is expected, not {_kind(value)}")


def _scalar(value: JSON, kind: Any) -> Any:
    if kind is bytes:
        if not isinstance(value, str):
            raise _fault(f"base64 text is expected, not {_kind(value)}")
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError) as error:
            raise _fault(f"not base64: {error}") from None
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise _fault(f"{value} is not a JSON number")
        return float(value)
    if kind is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind in (str, bool) and isinstance(value, kind):
        return value
    raise _fault(f"{_kind_of_type(kind)} is expected, not {_kind(value)}")


def _kind_of_type(kind: Any) -> str:
    names = {str: "a string", int: "an integer", float: "a number", bool: "a boolean"}
    return names.get(kind, str(kind))


def _at(step: str, read: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return read(*arguments)
    except _At as fault:
        fault.path.insert(0, step)
        raise


def _variant(value: JSON, union: TaggedUnion, classes: tuple[type, ...]) -> Any:
    if not isinstance(value, Mapping):
        raise _fault(f"an object is expected, not {_kind(value)}")
    known = tuple(tag for cls, tag in union.tags.items() if cls in classes)
    tag = value.get(union.key)
    if tag is None and union.default in classes:
        return _object(value, cast("type[Any]", union.default))
    if tag is None:
        raise _fault(f"the tag {union.key!r} is missing; known tags: {', '.join(known)}")
    if tag not in known:
        raise _At(UnknownTag(tag=str(tag), of=union.name, known=known))
    return _object(value, union.classes[cast("str", tag)])


def _object(value: JSON, cls: type) -> Any:
    if not isinstance(value, Mapping):
        raise _fault(f"an object is expected, not {_kind(value)}")
    union = UNION_OF.get(cls)
    if union is not None:
        tag = value.get(union.key)
        if tag is not None and tag != union.tags[cls]:
            raise _At(UnknownTag(tag=str(tag), of=cls.__name__, known=(union.tags[cls],)))
    arguments: dict[str, Any] = {}
    for field, name, marks, declared, optional in _fields_of(cls):
        if marks.flatten:
            arguments[field.alias or field.name] = _in(value, declared)
            continue
        if name not in value:
            if field.default is attrs.NOTHING:
                if optional:
                    arguments[field.alias or field.name] = None
                    continue
                raise _fault(f"the field {name!r} is missing")
            continue
        entry = value[name]
        if entry is None and marks.null is not None:
            entry = marks.null
        if marks.plain_text and isinstance(entry, str):
            arguments[field.alias or field.name] = (TextContent(entry),)
            continue
        arguments[field.alias or field.name] = _at(f".{name}", _in, entry, declared)
    try:
        return cls(**arguments)
    except LlmError as error:
        raise _At(error) from None
    except (TypeError, ValueError) as error:
        raise _fault(str(error)) from None


_cache: dict[type, list[tuple[attrs.Attribute[Any], str, JsonField, Any, bool]]] = {}


def _fields_of(cls: type) -> list[tuple[attrs.Attribute[Any], str, JsonField, Any, bool]]:
    found = _cache.get(cls)
    if found is None:
        found = _cache[cls] = _fields(cls)
    return found


# ---------------------------------------------------------------- the converter


def _structure_object(value: JSON, cls: Any) -> Any:
    return _object(value, cls)


_converter = cattrs.Converter(detailed_validation=False)
_converter.register_unstructure_hook_factory(attrs.has, _encoder)
_converter.register_structure_hook_func(lambda kind: attrs.has(kind), _structure_object)
_converter.register_structure_hook_func(
    lambda kind: not attrs.has(kind), lambda value, kind: _in(value, kind)
)


def encode(value: Any) -> JSON:
    """The JSON-able form of any value of the vocabulary, or of a list of such.

    Raises:
        InvalidJson: it holds something without a JSON form (a NaN, an object of another library).
    """
    return _out(value, tuple[Any, ...] if isinstance(value, (list, tuple)) else type(value))


def decode(data: JSON, kind: type[T] | Any) -> T:
    """The value of type `kind` (a class of the vocabulary, or one of its unions) that `data` says.

    Raises:
        UnknownTag: `data` names a variant or an enum value that does not exist.
        InvalidJson: `data` has another shape; the error's `path` says where.
        LlmError: the value itself is refused (an InvalidConfig, for example).
    """
    try:
        if kind is LlmError:
            return cast("T", _variant(data, ERRORS, tuple(ERRORS.tags)))
        return cast("T", _converter.structure(data, cast("type[Any]", kind)))
    except _At as fault:
        error = fault.error
        if isinstance(error, InvalidJson) and not error.path:
            error.path = "".join(fault.path).lstrip(".")
        raise error from None


def dumps(value: Any) -> str:
    """The JSON text of any value of the vocabulary, on one line."""
    return json.dumps(encode(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def loads(text: str | bytes, kind: type[T] | Any) -> T:
    """The value of type `kind` that a JSON text says.

    Raises:
        InvalidJson, UnknownTag, LlmError: as `decode`; also when `text` is not JSON.
    """
    try:
        data = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidJson(f"not JSON: {error}") from None
    return cast("T", decode(data, kind))


def _no_constant(name: str) -> JSON:
    raise ValueError(f"{name} is not a JSON number")
