"""The JSON form of everything in the vocabulary: one cattrs converter, and two functions over it.

The rules.  A union is tagged (`type`, for most), with snake_case tags; a value carries its tag
unless the declared type of the field that holds it says already which variant it is.  Optional
fields are left out when None, and may be null or absent when read.  Bytes are base64 in the
standard alphabet.  An error is tagged on `kind`.  Reading is strict about what is there (types,
ranges, enum values and tags are all checked; no number becomes a string) and indifferent to keys
that it does not know, so that an older reader can read newer data; only configuration, where such a
key is a misspelling, refuses them.  NaN and infinities are refused both ways.  Every value comes
back equal.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar, overload

from ._json_read import explained
from ._json_types import ERROR_KEY as ERROR_KEY
from ._json_types import converter as converter
from ._json_write import encoded
from .errors import InvalidJson

if TYPE_CHECKING:
    from .conversation import JSON

T = TypeVar("T")


def encode(value: Any) -> JSON:
    """The JSON-able form of a value of the vocabulary, or of a list, tuple or mapping of such.

    Raises:
        InvalidJson: something in it has no JSON form.
    """
    try:
        return encoded(value)
    except InvalidJson:
        raise
    except RecursionError:
        raise InvalidJson("nested too deeply") from None
    except (TypeError, AttributeError, ValueError) as exc:
        raise InvalidJson(f"{type(value).__name__} has a field of the wrong type: {exc}") from exc


@overload
def decode(data: JSON, as_type: type[T]) -> T: ...
@overload
def decode(data: JSON, as_type: object) -> Any: ...
def decode(data: JSON, as_type: Any) -> Any:
    """The value that `data` is the form of; `as_type` is a class, a union, or `tuple[X, ...]`.

    Raises:
        UnknownTag: a tag or an enum value does not exist; it names the known ones.
        InvalidJson: anything else is wrong, a range too; it says where.
    """
    read = converter.get_structure_hook(as_type)
    try:
        return read(data, as_type)
    except RecursionError:
        raise InvalidJson("nested too deeply") from None
    except Exception as exc:
        raise explained(exc) from None


def dumps(value: Any) -> str:
    """`encode(value)` as compact JSON text on one line, in ASCII.

    Raises:
        InvalidJson: as `encode`.
    """
    return json.dumps(encode(value), separators=(",", ":"), allow_nan=False)


@overload
def loads(text: str | bytes, as_type: type[T]) -> T: ...
@overload
def loads(text: str | bytes, as_type: object) -> Any: ...
def loads(text: str | bytes, as_type: Any) -> Any:
    """`decode` of JSON text.

    Raises:
        UnknownTag, InvalidJson: as `decode`, and where the text is no JSON.
    """
    try:
        data = json.loads(text)
    except RecursionError:
        raise InvalidJson("nested too deeply") from None
    except ValueError as exc:  # not JSON, or not UTF-8
        raise InvalidJson(f"not JSON: {exc}") from None
    return decode(data, as_type)
