"""JSON as Google's servers read it, and how they refuse it.

Names are taken in camel case and in snake case, null stands for an absent field, 64-bit numbers may
be texts, bytes may be base64 of either alphabet with or without padding, and an unknown name is an
error.  Sources: the JSON mapping of proto3, and the reasons in the close frames of live servers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import pybase64

Check: TypeAlias = Callable[[Any, str], Any]
"""Takes a parsed value and its path; returns what it stands for."""

INVALID = 1007  # the close code for what cannot be understood
POLICY = 1008  # for what is understood and not allowed
INTERNAL = 1011

_INT32 = 2**31


class Refused(Exception):
    """What a client did closes its connection, with this code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def invalid(reason: str) -> Refused:
    """Refuse with the code for invalid arguments."""
    return Refused(INVALID, reason)


def _wrong(path: str, kind: str, value: object) -> Refused:
    return invalid(f"Invalid value at '{path}' ({kind}), {_shown(value)}")


def _shown(value: object) -> str:
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text[:40]


def snake(name: str) -> str:
    """A camel case name in snake case."""
    return re.sub(r"([A-Z])", lambda match: f"_{match[1].lower()}", name)


def message(fields: Mapping[str, Check]) -> Check:
    """An object with some of these fields (in camel case) and no other."""
    names = {key: name for name in fields for key in (name, snake(name))}

    def check(value: Any, path: str) -> Any:
        if not isinstance(value, dict):
            raise _wrong(path, "a message", value)
        out: dict[str, Any] = {}
        for key, entry in value.items():
            name = names.get(key)
            if name is None:
                where = f" at '{path}'" if path else ""
                raise invalid(
                    f'Invalid JSON payload received. Unknown name "{key[:40]}"{where}: '
                    "Cannot find field."
                )
            if name in out:
                raise invalid(f"Invalid JSON payload received. '{join(path, name)}' is set twice.")
            if entry is not None:
                out[name] = fields[name](entry, join(path, name))
        return out

    return check


def join(path: str, name: str) -> str:
    """The path of a field, as the servers write it: in snake case."""
    return f"{path}.{snake(name)}" if path else snake(name)


def array(inner: Check) -> Check:
    """A list."""

    def check(value: Any, path: str) -> Any:
        if not isinstance(value, list):
            raise _wrong(path, "a list", value)
        return [inner(entry, f"{path}[{index}]") for index, entry in enumerate(value)]

    return check


def mapping(inner: Check) -> Check:
    """An object with free keys."""

    def check(value: Any, path: str) -> Any:
        if not isinstance(value, dict):
            raise _wrong(path, "a map", value)
        return {key: inner(entry, f"{path}.{key[:40]}") for key, entry in value.items()}

    return check


def text(value: Any, path: str) -> Any:
    """A string."""
    if not isinstance(value, str):
        raise _wrong(path, "TYPE_STRING", value)
    return value


def boolean(value: Any, path: str) -> Any:
    """True or false."""
    if not isinstance(value, bool):
        raise _wrong(path, "TYPE_BOOL", value)
    return value


def integer(value: Any, path: str) -> Any:
    """A 32-bit number, or the text of one."""
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,10}", value):
        value = int(value)
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if not whole or isinstance(value, bool) or not -_INT32 <= value < _INT32:
        raise _wrong(path, "TYPE_INT32", value)
    return int(value)


def number(value: Any, path: str) -> Any:
    """A number."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise _wrong(path, "TYPE_FLOAT", value)
    return value


def enum(*names: str) -> Check:
    """One of these names."""

    def check(value: Any, path: str) -> Any:
        if value not in names:
            raise _wrong(path, f"one of {', '.join(names)}", value)
        return value

    return check


def struct(value: Any, path: str) -> Any:
    """Any JSON object."""
    if not isinstance(value, dict):
        raise _wrong(path, "type.googleapis.com/google.protobuf.Struct", value)
    return value


def anything(value: Any, path: str) -> Any:
    """Any JSON value."""
    return value


def base64_bytes(value: Any, path: str) -> Any:
    """The bytes of base64 in either alphabet, padded or not."""
    if not isinstance(value, str):
        raise _wrong(path, "TYPE_BYTES", value)
    plain = value.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return pybase64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except ValueError:
        raise _wrong(path, "TYPE_BYTES", "Base64 decoding failed") from None
