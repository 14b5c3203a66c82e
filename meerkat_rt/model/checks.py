"""Validators of what applications hand over.

A refusal names the field, its value and what is allowed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, TypeVar

from .errors import InvalidConfig, InvalidInputShape, InvalidRequest

if TYPE_CHECKING:
    import attrs

E = TypeVar("E", bound=StrEnum)
T = TypeVar("T")

Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]
Refusal: TypeAlias = type[InvalidConfig | InvalidInputShape | InvalidRequest]

_MOST_SHOWN = 60  # characters of a value


def shown(value: object) -> str:
    """A value in an error: bounded, for it may be anything."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    text = repr(value)
    if len(text) <= _MOST_SHOWN:
        return text
    return f"{text[: _MOST_SHOWN - 3]}... ({type(value).__name__})"


def refuse(
    instance: object, field: str, value: object, allowed: str, error: Refusal = InvalidConfig
) -> NoReturn:
    """Raise `error` for one field."""
    raise error(f"{type(instance).__name__}.{field} is {shown(value)}; allowed: {allowed}")


def expect(value: Any, types: type | tuple[type, ...], what: str, allowed: str) -> None:
    """Refuse a value of another type.

    Raises:
        InvalidRequest: says what was given and what is allowed.
    """
    if not isinstance(value, types):
        raise InvalidRequest(f"{what} is {shown(value)}; allowed: {allowed}")


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


def whole(
    low: int,
    high: int | None = None,
    *,
    optional: bool = False,
    error: Refusal = InvalidConfig,
) -> Validator:
    """A whole number from `low` to `high`, both included.  1e6 is one, True is none."""
    allowed = f"a whole number, {_range(low, high)}{_or_none(optional)}"

    def check(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value is None and optional:
            return
        if not _is_whole(value) or value < low or (high is not None and value > high):
            refuse(instance, attribute.name, value, allowed, error)

    return check


def seconds(
    *, zero: bool = False, optional: bool = False, error: Refusal = InvalidConfig
) -> Validator:
    """A time above 0, or with `zero` from 0 on.  It may be infinite."""
    bound = "0 or more" if zero else "more than 0"
    allowed = f"a number of seconds, {bound}{_or_none(optional)}"

    def check(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value is None and optional:
            return
        if not is_real(value) or not (value > 0 or (zero and value == 0)):
            refuse(instance, attribute.name, value, allowed, error)

    return check


def _is_whole(value: Any) -> bool:
    if type(value) is int:  # as most are; what follows is slower
        return True
    whole = value.is_integer() if isinstance(value, float) else isinstance(value, Integral)
    return whole and not isinstance(value, bool)


def is_real(value: Any) -> bool:
    """A number, and not True or False."""
    return isinstance(value, Real) and not isinstance(value, bool)


def _or_none(optional: bool) -> str:
    return "; or None" if optional else ""


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
    if value is not None:
        a_name(instance, attribute, value)


def a_name(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """A string that is not blank."""
    if not isinstance(value, str) or not value.strip():
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


def is_a(*types: type, what: str, optional: bool = True) -> Validator:
    """An instance of one of `types`, or None where that is `optional`."""

    def check(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if not isinstance(value, types) and not (value is None and optional):
            refuse(instance, attribute.name, value, what)

    return check


def has(*methods: str, what: str) -> Validator:
    """An object, and not a class, that has all these `methods`: of a protocol, for example."""

    def check(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if isinstance(value, type) or not all(hasattr(value, name) for name in methods):
            refuse(instance, attribute.name, value, what)

    return check


def member(enum: type[E], where: str, error: Refusal = InvalidConfig) -> Callable[[str], E]:
    """A converter to `enum`; `where` names the field in the refusal."""

    def convert(value: str) -> E:
        try:
            return enum(value)
        except ValueError:
            allowed = ", ".join(enum)
            raise error(f"{where} is {shown(value)}; allowed: {allowed}") from None

    return convert


def tuple_of(
    values: Iterable[T], types: type | tuple[type, ...], where: str, what: str
) -> tuple[T, ...]:
    """The `values` as a tuple, each of one of the `types`; `where` names the field.

    Raises:
        InvalidConfig: it is no iterable, or something else is in it; a string would be taken apart.
    """
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise InvalidConfig(f"{where} is {shown(values)}; allowed: a list, of {what}")
    made = tuple(values)
    for index, value in enumerate(made):
        if not isinstance(value, types):
            raise InvalidConfig(f"{where}[{index}] is {shown(value)}; allowed: {what}")
    return made


def optional_tuple(values: Iterable[T] | None) -> tuple[T, ...] | None:
    """None stays; a string is refused, for it would be taken apart; the rest becomes a tuple."""
    if isinstance(values, (str, bytes)):
        raise InvalidConfig(f"{values!r} stands where a list is expected")
    return None if values is None else tuple(values)


def strings(values: Iterable[str] | None) -> tuple[str, ...] | None:
    """A converter: None or a tuple of strings."""
    return optional_tuple(values)
