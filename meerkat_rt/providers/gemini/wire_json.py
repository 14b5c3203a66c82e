"""Values of the wire: JSON going out; base64, durations and counts coming in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec
import pybase64

from ...model.errors import InvalidRequest

if TYPE_CHECKING:
    from ...model.conversation import JSON

MAX_COUNT = 2**53  # what a JSON number holds exactly


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


_encode = msgspec.json.Encoder(enc_hook=_plain).encode


def to_json(value: JSON) -> bytes:
    """`value` as compact UTF-8.

    Raises:
        InvalidRequest: it has no JSON form, or holds text that UTF-8 cannot carry.
    """
    try:
        return _encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"not representable as JSON: {error}") from error


def from_base64(text: str) -> bytes:
    """The bytes of base64 in either alphabet, padded or not.

    Raises:
        ValueError: it is neither.
    """
    try:
        return pybase64.b64decode(text, validate=True)
    except ValueError:
        standard = text.replace("-", "+").replace("_", "/").rstrip("=")
        return pybase64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)


_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)s")


def seconds(text: str | None) -> float | None:
    """The seconds of a duration such as `"1.5s"`; None for anything else."""
    found = _DURATION.fullmatch(text or "")
    return None if found is None else float(found[1])


def milliseconds(text: str | None) -> int:
    """The milliseconds of a duration; 0 where there is none."""
    return int((seconds(text) or 0.0) * 1000)


def count(value: int | str | None) -> int | None:
    """A count, given as a number or as text; None where it is out of range."""
    if isinstance(value, str):
        value = int(value) if value.isascii() and value.isdecimal() and len(value) <= 16 else None
    return value if value is not None and 0 <= value <= MAX_COUNT else None


def from_json(text: str) -> JSON:
    """The value of JSON text; text that is none stands for itself."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return text
