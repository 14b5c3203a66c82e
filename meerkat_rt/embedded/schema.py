"""Checks for parsed JSON that fail the way the protocol fails.

A check takes a parsed value and its path and returns the value it stands for; what it cannot accept
raises `Fault` with the code, the path and a message.  Nothing is coerced.  A check never changes
the value that it was given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pybase64

from .faults import Fault, invalid_type, invalid_value, missing_parameter, unknown_parameter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Check = "Callable[[Any, str], Any]"

MAX_DEPTH = 100  # levels of nesting in one frame; a tool schema needs about ten


def text(*, longest: int | None = None) -> Callable[[Any, str], Any]:
    """A string of at most `longest` characters."""

    def check(value: Any, path: str) -> Any:
        if not isinstance(value, str):
            raise invalid_type(path, "a string", value)
        if longest is not None and len(value) > longest:
            raise invalid_value(
                path,
                f"Invalid '{path}': string too long. Expected a string with maximum length "
                f"{longest}, but got a string with length {len(value)} instead.",
            )
        return value

    return check


def boolean(value: Any, path: str) -> Any:
    """True or false."""
    if not isinstance(value, bool):
        raise invalid_type(path, "a boolean", value)
    return value


def integer(low: int | None = None, high: int | None = None) -> Callable[[Any, str], Any]:
    """A whole number within the bounds, both included."""

    def check(value: Any, path: str) -> Any:
        if not isinstance(value, int) or isinstance(value, bool):
            raise invalid_type(path, "an integer", value)
        _bounded(value, low, high, path)
        return value

    return check


def number(low: float | None = None, high: float | None = None) -> Callable[[Any, str], Any]:
    """A number within the bounds, both included."""

    def check(value: Any, path: str) -> Any:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise invalid_type(path, "a decimal", value)
        _bounded(value, low, high, path)
        return value

    return check


def _bounded(value: float, low: float | None, high: float | None, path: str) -> None:
    if low is not None and value < low:
        raise invalid_value(
            path, f"Invalid '{path}': value below minimum. Expected a value >= {low}."
        )
    if high is not None and value > high:
        raise invalid_value(
            path, f"Invalid '{path}': value above maximum. Expected a value <= {high}."
        )


def choice(*values: object) -> Callable[[Any, str], Any]:
    """One of a few strings or numbers."""

    def check(value: Any, path: str) -> Any:
        # Types are compared too: in Python True equals 1.
        if not any(type(value) is type(known) and value == known for known in values):
            if type(value) not in {type(known) for known in values}:
                raise invalid_type(path, _one_of(values), value)
            raise invalid_value(
                path, f"Invalid value: {_quoted(value)}. Supported values are: {_listed(values)}."
            )
        return value

    return check


def _one_of(values: tuple[object, ...]) -> str:
    return f"one of {_listed(values)}"


def _listed(values: tuple[object, ...]) -> str:
    return ", ".join(_quoted(value) for value in values)


def _quoted(value: object) -> str:
    shown = str(value)
    return f"'{shown[:80]}'"


def nullable(inner: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    """Null, or what `inner` accepts."""

    def check(value: Any, path: str) -> Any:
        return None if value is None else inner(value, path)

    return check


def array(
    inner: Callable[[Any, str], Any], *, least: int = 0, most: int | None = None
) -> Callable[[Any, str], Any]:
    """A list with a number of entries within the bounds, both included."""

    def check(value: Any, path: str) -> Any:
        if not isinstance(value, list):
            raise invalid_type(path, "an array", value)
        if len(value) < least:
            raise invalid_value(
                path, f"Invalid '{path}': empty array. Expected at least {least} entries."
            )
        if most is not None and len(value) > most:
            raise invalid_value(
                path, f"Invalid '{path}': array too long. Expected at most {most} entries."
            )
        return [inner(entry, f"{path}[{index}]") for index, entry in enumerate(value)]

    return check


def mapping(
    inner: Callable[[Any, str], Any], *, most: int | None = None, longest_key: int | None = None
) -> Callable[[Any, str], Any]:
    """An object with free keys."""

    def check(value: Any, path: str) -> Any:
        if not isinstance(value, dict):
            raise invalid_type(path, "an object", value)
        if most is not None and len(value) > most:
            raise invalid_value(path, f"Invalid '{path}': at most {most} pairs are allowed.")
        for key in value:
            if longest_key is not None and len(key) > longest_key:
                raise invalid_value(
                    path, f"Invalid '{path}': keys have at most {longest_key} characters."
                )
        return {key: inner(entry, f"{path}.{key}") for key, entry in value.items()}

    return check


def record(
    fields: Mapping[str, Callable[[Any, str], Any]], *required: str
) -> Callable[[Any, str], Any]:
    """An object with these fields and no other; only the fields present are returned."""

    def check(value: Any, path: str) -> Any:
        if not isinstance(value, dict):
            raise invalid_type(path, "an object", value)
        for key in value:
            if key not in fields:
                raise unknown_parameter(join(path, key))
        for key in required:
            if key not in value:
                raise missing_parameter(join(path, key))
        return {key: fields[key](entry, join(path, key)) for key, entry in value.items()}

    return check


def tagged(
    variants: Mapping[str, Callable[[Any, str], Any]], tag: str = "type"
) -> Callable[[Any, str], Any]:
    """An object whose `tag` says which of the variants it is."""
    pick = choice(*variants)

    def check(value: Any, path: str) -> Any:
        if not isinstance(value, dict):
            raise invalid_type(path, "an object", value)
        if tag not in value:
            raise missing_parameter(join(path, tag))
        return variants[pick(value[tag], join(path, tag))](value, path)

    return check


def anything(value: Any, path: str) -> Any:
    """Any JSON value."""
    return value


def any_object(value: Any, path: str) -> Any:
    """Any JSON object."""
    if not isinstance(value, dict):
        raise invalid_type(path, "an object", value)
    return value


def base64_bytes(value: Any, path: str, *, most: int | None = None) -> bytes:
    """The bytes of a string in the standard base64 alphabet with padding."""
    if not isinstance(value, str):
        raise invalid_type(path, "a string", value)
    try:
        data = pybase64.b64decode(value, validate=True)
    except ValueError:
        raise invalid_value(
            path,
            f"Invalid '{path}'. Expected base64-encoded audio bytes, but got an invalid value.",
        ) from None
    if most is not None and len(data) > most:
        raise invalid_value(
            path, f"Invalid '{path}': {len(data)} bytes of audio; at most {most} are allowed."
        )
    return data


def sendable(text: str) -> str:
    """`text` without what UTF-8 cannot carry: lone surrogates, which unescaped JSON can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def join(path: str, key: str) -> str:
    """The path of `key` inside the object at `path`."""
    return f"{path}.{key}" if path else key


def check_depth(value: Any) -> None:
    """Refuse what is nested so deeply that echoing it could exhaust the stack.

    Raises:
        Fault: code invalid_json.
    """
    level = [value]
    for _ in range(MAX_DEPTH):
        following: list[Any] = []
        for entry in level:
            if isinstance(entry, dict):
                following += entry.values()
            elif isinstance(entry, list):
                following += entry
        if not following:
            return
        level = following
    raise Fault("invalid_json", f"The JSON is nested more than {MAX_DEPTH} levels deep.")
