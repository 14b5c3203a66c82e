"""Validators of configuration values.  A refusal names the field, its value and what is allowed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from .errors import InvalidConfig

if TYPE_CHECKING:
    import attrs

E = TypeVar("E", bound=StrEnum)
T = TypeVar("T")

Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def refuse(instance: object, field: str, value: object, allowed: str) -> NoReturn:
    """Raise InvalidConfig for one field."""
    raise InvalidConfig(f"{type(instance).__name__}.{field} is {value!r}; allowed: {allowed}")


def _range(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f"{low} to {high}"
    return f"{low} or more" if low is not None else "any finite one"


def number(
    low: float | None = None, high: float | None = None, *, integer: bool = False
) -> Validator:
    """None, or a finite number (an integer, if asked for) from `low` to `high`, both included."""
    kind = "an integer" if integer else "a number"
    types = (int,) if integer else (int, float)
    allowed = f"{kind}, {_range(low, high)}"

    def check(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value is None:
            return
        if (
            isinstance(value, bool)
            or not isinstance(value, types)
            or not math.isfinite(value)
            or (low is not None and value < low)
            or (high is not None and value > high)
        ):
            refuse(instance, attribute.name, value, allowed)

    return check


def flag(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """None, True or False."""
    if value is not None and not isinstance(value, bool):
        refuse(instance, attribute.name, value, "True or False")


def text(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """None or any string; the empty one often means "clear it"."""
    if value is not None and not isinstance(value, str):
        refuse(instance, attribute.name, value, "a string")


def named(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """None or a string that is not blank."""
    if value is not None and (not isinstance(value, str) or not value.strip()):
        refuse(instance, attribute.name, value, "a string that is not blank")


def names(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """None or strings, none of them blank."""
    if value is None:
        return
    if not all(isinstance(each, str) and each.strip() for each in value):
        refuse(instance, attribute.name, value, "strings that are not blank")


def json_object(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """None or a mapping with string keys."""
    if value is None:
        return
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        refuse(instance, attribute.name, value, "an object (a mapping with string keys)")


def is_a(*types: type, what: str) -> Validator:
    """None or an instance of one of `types`."""

    def check(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value is not None and not isinstance(value, types):
            refuse(instance, attribute.name, value, what)

    return check


def member(enum: type[E], where: str) -> Callable[[str], E]:
    """A converter to `enum`; `where` names the field in the refusal."""

    def convert(value: str) -> E:
        try:
            return enum(value)
        except ValueError:
            allowed = ", ".join(enum)
            raise InvalidConfig(f"{where} is {value!r}; allowed: {allowed}") from None

    return convert


def optional_tuple(values: Iterable[T] | None) -> tuple[T, ...] | None:
    """None stays; a string is refused, for it would be taken apart; the rest becomes a tuple."""
    if isinstance(values, (str, bytes)):
        raise InvalidConfig(f"{values!r} stands where a list is expected")
    return None if values is None else tuple(values)


def strings(values: Iterable[str] | None) -> tuple[str, ...] | None:
    """A converter: None or a tuple of strings."""
    return optional_tuple(values)
