"""JSON as it goes out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from ...model.errors import InvalidRequest

if TYPE_CHECKING:
    from ...model.conversation import JSON


def _other(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


_encode = msgspec.json.Encoder(enc_hook=_other).encode


def to_json(value: JSON) -> bytes:
    """`value` as compact UTF-8.

    Raises:
        InvalidRequest: it is not JSON, or holds text that UTF-8 cannot carry.
    """
    try:
        return _encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"not representable as JSON: {error}") from error
