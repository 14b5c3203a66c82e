"""Values to JSON: the hooks of the converter."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from types import NoneType
from typing import Any, get_args

import attrs
from cattrs.gen import make_dict_unstructure_fn, override

from ._json import marks_of
from ._json_types import (
    ERROR_KEY,
    converter,
    expected,
    fields_of,
    is_any,
    is_mapping,
    is_optional,
    is_sequence,
    is_union,
    plain_json,
)
from ._tags import FAMILY_OF, TAG_OF, snake_case
from .conversation import JSON, TextContent
from .errors import InvalidJson, LlmError
from .input_config import NULL, Null
from .live_config import SessionUpdateConfig

Writer = Callable[[Any], Any]


def encoded(value: Any) -> JSON:
    """The JSON form of `value`, with its tag, if its class has one."""
    cls = type(value)
    if cls in TAG_OF:
        return _tagged(cls, value)
    if isinstance(value, LlmError):
        return {ERROR_KEY: snake_case(cls.__name__), **converter.unstructure(value)}
    if isinstance(value, Enum):
        return _write_enum(value)
    if attrs.has(cls) or isinstance(value, bytes):
        return converter.unstructure(value)
    if isinstance(value, (list, tuple)):
        return [encoded(each) for each in value]
    if isinstance(value, Mapping):
        return {_key(key): encoded(each) for key, each in value.items()}
    return plain_json(value)


def _tagged(cls: type, value: Any) -> dict[str, JSON]:
    family, tag = FAMILY_OF[cls], TAG_OF[cls]
    body: dict[str, JSON] = converter.unstructure(value)
    return body if tag == family.untagged else {family.key: tag, **body}


def _key(key: Any) -> str:
    """Integer keys are written in decimal."""
    if isinstance(key, int) and not isinstance(key, bool):
        return str(key)
    if not isinstance(key, str):
        raise InvalidJson(f"the key {key!r} is neither a string nor an integer")
    return str(key)


def _write_str(value: Any) -> str:
    """Also a StrEnum, which is written as its value."""
    if type(value) is str:
        return value
    if isinstance(value, str):
        return str(value)
    raise expected("a string", value)


def _write_int(value: Any) -> int:
    if type(value) is not int:
        raise expected("an integer", value)
    return value


def _write_bool(value: Any) -> bool:
    if type(value) is not bool:
        raise expected("a boolean", value)
    return value


def _write_bytes(value: Any) -> str:
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise expected("bytes", value)
    return base64.b64encode(value).decode("ascii")


def _write_float(value: Any) -> float:
    if type(value) not in (int, float):
        raise expected("a number", value)
    if not math.isfinite(value):
        raise InvalidJson(f"{value} is not a JSON number")
    return float(value)


def _write_enum(value: Enum) -> JSON:
    return None if isinstance(value, Null) else value.value


def _write_union(union: Any) -> Writer:
    members = [member for member in get_args(union) if member not in (NoneType, Null)]
    write = converter.get_unstructure_hook(members[0]) if len(members) == 1 else encoded
    return lambda value: None if value is None or value is NULL else write(value)


def _write_sequence(sequence: Any) -> Writer:
    element = get_args(sequence)[0] if get_args(sequence) else Any
    write = converter.get_unstructure_hook(element)
    return lambda values: [write(value) for value in values]


def _write_mapping(mapping: Any) -> Writer:
    write = converter.get_unstructure_hook((get_args(mapping) or (Any, Any))[1])
    return lambda values: {_key(key): write(value) for key, value in values.items()}


def _write_text_or_blocks(sequence: Any) -> Writer:
    write = _write_sequence(sequence)

    def hook(blocks: Sequence[Any]) -> JSON:
        if len(blocks) == 1 and isinstance(blocks[0], TextContent):
            return blocks[0].text
        return write(blocks)

    return hook


def _write_class(cls: Any) -> Writer:
    overrides: dict[str, Any] = {}
    flat: dict[str, Writer] = {}
    bare: list[str] = []  # optional, but None is not what they default to
    for field in fields_of(cls):
        marks = marks_of(field)
        overrides[field.name] = override(
            rename=marks.name,
            omit=marks.absent or marks.flatten,
            omit_if_default=marks.omit_default or field.default is None,
            unstruct_hook=_write_text_or_blocks(field.type) if marks.plain_text else None,
        )
        if marks.flatten:
            flat[field.name] = converter.get_unstructure_hook(field.type)
        if field.default is not None and is_optional(field.type):
            bare.append(marks.name or field.name)
    write = make_dict_unstructure_fn(cls, converter, **overrides)
    if not flat and not bare:
        return write

    def hook(value: Any) -> JSON:
        body = write(value)
        for name in bare:
            if body[name] is None:
                del body[name]
        for name, part in flat.items():
            body.update(part(getattr(value, name)))
        return body

    return hook


converter.register_unstructure_hook(str, _write_str)
converter.register_unstructure_hook(int, _write_int)
converter.register_unstructure_hook(bool, _write_bool)
converter.register_unstructure_hook(bytes, _write_bytes)
converter.register_unstructure_hook(float, _write_float)
converter.register_unstructure_hook_factory(is_any, lambda _: plain_json)
converter.register_unstructure_hook_factory(is_union, _write_union)
converter.register_unstructure_hook_factory(is_sequence, _write_sequence)
converter.register_unstructure_hook_factory(is_mapping, _write_mapping)
converter.register_unstructure_hook_factory(attrs.has, _write_class)
converter.register_unstructure_hook(
    SessionUpdateConfig, lambda value: converter.unstructure(value.config)
)
