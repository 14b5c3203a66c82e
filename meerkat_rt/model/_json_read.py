"""JSON to values: the hooks of the converter, and what is said about JSON that is none."""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import attrs
from cattrs.errors import AttributeValidationNote, BaseValidationError, ForbiddenExtraKeysError
from cattrs.gen import make_dict_structure_fn, override

from . import input_config, live_config, tool_config
from ._json import marks_of
from ._json_types import (
    ERROR_KEY,
    converter,
    expected,
    fields_of,
    is_any,
    is_error,
    is_mapping,
    is_optional,
    is_sequence,
    is_union,
    joined,
    plain_json,
)
from ._tags import FAMILY_OF, TAG_OF, Family, snake_case
from .conversation import JSON, ContentBlock
from .errors import InvalidJson, LlmError, UnknownTag
from .input_config import NULL, Null
from .live_config import RealtimeConfig, SessionUpdateConfig

Hook = Callable[[Any, Any], Any]

_CONFIGURATION = {module.__name__ for module in (input_config, tool_config, live_config)}
"""Modules whose classes refuse keys that they do not know: people write these by hand."""

# ---------------------------------------------------------------- faults


def explained(exc: Exception, path: str = "") -> InvalidJson | UnknownTag:
    """The first fault of a failed read, with its path."""
    if isinstance(exc, ForbiddenExtraKeysError):
        keys = ", ".join(sorted(exc.extra_fields))
        return InvalidJson(f"unknown key: {keys}", path)
    if isinstance(exc, BaseValidationError):
        first = exc.exceptions[0]
        for note in getattr(first, "__notes__", ()):
            if isinstance(note, AttributeValidationNote):
                path = joined(path, note.name)
        return explained(first, path)
    if isinstance(exc, UnknownTag):
        return UnknownTag(exc.tag, exc.of, exc.known, joined(path, exc.path))
    if isinstance(exc, InvalidJson):
        return InvalidJson(exc.message, joined(path, exc.path))
    if isinstance(exc, KeyError):
        return InvalidJson("missing", path)
    return InvalidJson(str(exc) or type(exc).__name__, path)


# ---------------------------------------------------------------- values


def _read_str(value: Any, as_type: Any) -> Any:
    if as_type is not str:
        return _read_enum(value, as_type)
    if type(value) is not str:
        raise expected("a string", value)
    return value


def _read_bool(value: Any, _type: Any) -> bool:
    if type(value) is not bool:
        raise expected("a boolean", value)
    return value


def _read_int(value: Any, _type: Any) -> int:
    if type(value) is not int:
        raise expected("an integer", value)
    return value


def _read_float(value: Any, _type: Any) -> float:
    if type(value) not in (int, float):
        raise expected("a number", value)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InvalidJson("the number is not finite")
    return number


def _read_bytes(value: Any, _type: Any) -> bytes:
    if type(value) is not str:
        raise expected("base64 text", value)
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise InvalidJson(f"not base64: {exc}") from None


def _read_enum(value: Any, enum: Any) -> Any:
    if type(value) is not str:
        raise expected("a string", value)
    try:
        return enum(value)
    except ValueError:
        known = tuple(member.value for member in enum)
        raise UnknownTag(value, enum.__name__, known) from None


def _read_sequence(sequence: Any) -> Hook:
    element = get_args(sequence)[0] if get_args(sequence) else Any
    build = list if get_origin(sequence) is list else tuple
    read = converter.get_structure_hook(element)

    def each(values: Sequence[Any]) -> Iterator[Any]:
        for index, value in enumerate(values):
            try:
                yield read(value, element)
            except Exception as exc:
                raise explained(exc, f"[{index}]") from None

    def hook(value: Any, _type: Any) -> Any:
        if not isinstance(value, (list, tuple)):
            raise expected("an array", value)
        return build(each(value))

    return hook


def _read_text_or_blocks(sequence: Any) -> Hook:
    read = _read_sequence(sequence)
    return lambda value, t: value if type(value) is str else read(value, t)


_DECIMAL = re.compile(r"-?(0|[1-9][0-9]{0,19})")  # one spelling a number: no two keys are one


def _read_mapping(mapping: Any) -> Hook:
    key_type, value_type = get_args(mapping) or (str, Any)
    read = converter.get_structure_hook(value_type)

    def hook(value: Any, _type: Any) -> Any:
        if not isinstance(value, Mapping):
            raise expected("an object", value)
        result = {}
        for key, each in value.items():
            if type(key) is not str:
                raise InvalidJson(f"the key {key!r} is not a string")
            if key_type is int and not _DECIMAL.fullmatch(key):
                raise InvalidJson(f"the key {key!r} is not a decimal integer")
            try:
                result[int(key) if key_type is int else key] = read(each, value_type)
            except Exception as exc:
                raise explained(exc, key) from None
        return result

    return hook


def _read_class(cls: Any) -> Hook:
    overrides: dict[str, Any] = {}
    implied: dict[str, JSON] = {}  # what stands for an absent key
    nulls: dict[str, JSON] = {}  # what stands for an explicit null
    flat: list[str] = []
    for field in fields_of(cls):
        marks = marks_of(field)
        key = marks.name or field.name
        blocks = marks.plain_text or field.type == tuple[ContentBlock, ...]
        overrides[field.name] = override(
            rename=marks.name,
            omit=marks.absent,
            struct_hook=_read_text_or_blocks(field.type) if blocks else None,
        )
        if field.default is not None and is_optional(field.type):
            implied[key] = None
        if marks.null is not None:
            nulls[key] = marks.null
        if marks.flatten:
            flat.append(field.name)
    read = make_dict_structure_fn(
        cls,
        converter,
        _cattrs_forbid_extra_keys=cls.__module__ in _CONFIGURATION,
        **overrides,
    )
    family = FAMILY_OF.get(cls)

    def hook(value: Any, _type: Any) -> Any:
        if not isinstance(value, Mapping):
            raise expected("an object", value)
        body = {**implied, **value}
        if family is not None:
            _check_own_tag(family, cls, body)
        for name in flat:
            body[name] = value
        for key, meant in nulls.items():
            if key in body and body[key] is None:
                body[key] = meant
        return read(body, cls)

    return hook


def _check_own_tag(family: Family, cls: type, body: dict[str, JSON]) -> None:
    """Take the tag out of a body that is to be read as one certain class, if it has one."""
    tag = body.pop(family.key, TAG_OF[cls])
    if tag != TAG_OF[cls]:
        raise UnknownTag(str(tag), cls.__name__, (TAG_OF[cls],))


def _read_error(base: Any) -> Hook:
    def hook(value: Any, _type: Any) -> Any:
        # Looked up at each read: a later room may have errors of its own.
        classes = {snake_case(cls.__name__): cls for cls in _errors_under(base)}
        tag = _tag(value, ERROR_KEY, None)
        if tag not in classes:
            raise UnknownTag(tag, base.__name__, tuple(classes))
        return _error_reader(classes[tag])(value, classes[tag])

    return hook


_error_readers: dict[type, Hook] = {}


def _error_reader(cls: type) -> Hook:
    if cls not in _error_readers:
        _error_readers[cls] = _read_class(cls)
    return _error_readers[cls]


def _errors_under(base: Any) -> Iterator[type]:
    if base is not LlmError and not base.__name__.startswith("_"):
        yield base
    for cls in base.__subclasses__():
        yield from _errors_under(cls)


# ---------------------------------------------------------------- unions


def _tag(value: Any, key: str, default: str | None) -> str:
    if not isinstance(value, Mapping):
        raise expected("an object", value)
    if key not in value:
        if default is None:
            raise InvalidJson(f"the tag {key!r} is missing")
        return default
    tag = value[key]
    if type(tag) is not str:
        raise InvalidJson(expected("a string", tag).message, key)
    return tag


def _read_variant(members: Sequence[Any]) -> Hook:
    """Read an object as the variant that its tag names."""
    family = FAMILY_OF[members[0]]
    if any(FAMILY_OF.get(member) is not family for member in members):
        raise TypeError(f"no one tag tells {', '.join(m.__name__ for m in members)} apart")
    hooks = {
        tag: (converter.get_structure_hook(cls), cls)
        for tag, cls in family.classes.items()
        if cls in members
    }
    name = family.name
    if len(members) < len(family.classes):
        name = " | ".join(member.__name__ for member in members)

    def hook(value: Any, _type: Any) -> Any:
        tag = _tag(value, family.key, family.untagged)
        if tag not in hooks:
            raise UnknownTag(tag, name, tuple(hooks))
        read, cls = hooks[tag]
        return read(value, cls)

    return hook


def _read_union(union: Any) -> Hook:
    optional = NoneType in get_args(union)
    nullable = Null in get_args(union)
    members = [member for member in get_args(union) if member not in (NoneType, Null)]
    classes = [member for member in members if attrs.has(member)]
    others = [member for member in members if member not in classes]
    if len(members) == 1:
        read = converter.get_structure_hook(members[0])
    elif not others:
        read = _read_variant(classes)
    else:
        read = _read_mixture(classes, others)
    as_type = members[0] if len(members) == 1 else union

    def hook(value: Any, _type: Any) -> Any:
        if value is None and nullable:
            return NULL
        if value is None and optional:
            return None
        return read(value, as_type)

    return hook


def _read_mixture(classes: Sequence[Any], others: Sequence[Any]) -> Hook:
    """Read a union of objects and plain values: the kind of JSON value tells which.

    Of the plain members, at most one may take strings freely; literals are tried before it.
    """
    words = {word for each in others if get_origin(each) is Literal for word in get_args(each)}
    plain = [each for each in others if get_origin(each) is not Literal]
    if any(each in FAMILY_OF for each in classes):
        read_object = _read_variant(classes)
    elif classes:
        read_object = converter.get_structure_hook(classes[0])
    else:
        read_object = None

    def hook(value: Any, _type: Any) -> Any:
        if isinstance(value, Mapping) and read_object is not None:
            return read_object(value, classes[0])
        if type(value) is str and value in words:
            return value
        if not plain:
            if type(value) is str:
                raise UnknownTag(value, "value", tuple(sorted(words)))
            raise expected("an object or a string", value)
        return converter.get_structure_hook(plain[0])(value, plain[0])

    return hook


def _read_update(value: Any, _type: Any) -> SessionUpdateConfig:
    return SessionUpdateConfig(converter.structure(value, RealtimeConfig))


converter.register_structure_hook(str, _read_str)
converter.register_structure_hook(bool, _read_bool)
converter.register_structure_hook(int, _read_int)
converter.register_structure_hook(float, _read_float)
converter.register_structure_hook(bytes, _read_bytes)
converter.register_structure_hook_factory(is_any, lambda _: lambda value, _type: plain_json(value))
converter.register_structure_hook_factory(is_union, _read_union)
converter.register_structure_hook_factory(is_sequence, _read_sequence)
converter.register_structure_hook_factory(is_mapping, _read_mapping)
converter.register_structure_hook_factory(attrs.has, _read_class)
converter.register_structure_hook_factory(is_error, _read_error)
converter.register_structure_hook(SessionUpdateConfig, _read_update)
