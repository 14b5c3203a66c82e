"""The plain form of what a machine takes and gives, and the way back.

A form describes itself: an attrs value is `{"$": its class, field: ...}` without the fields that
have their defaults, an enum `{"$e": [class, value]}`, bytes `{"$b": ...}`, a mapping
`{"$m": [[key, value], ...]}`, redacted text `{"$t": [placeholder, digest]}`.  Every sequence
becomes a list, and a tuple again.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Protocol, get_args

import attrs
import msgspec

from ..model import conversation, events, media
from ..model.errors import InvalidJson
from ..turn import crossing, effects, ports

if TYPE_CHECKING:
    from ..model.conversation import JSON


class Leaves(Protocol):
    """How the parts of a value are written that may hold what people said.

    `owner` is the name of the class that has the `field`; both are empty for a bare value.
    """

    def text(self, owner: str, field: str, value: str) -> JSON:
        """The form of a string."""
        ...

    def data(self, value: bytes) -> JSON:
        """The form of bytes."""
        ...

    def content(self, owner: str, field: str, value: Any) -> JSON:
        """The form of a mapping, or of JSON of any shape."""
        ...


class Verbatim:
    """Everything as it is."""

    def text(self, _owner: str, _field: str, value: str) -> JSON:
        """The string."""
        return value

    def data(self, value: bytes) -> JSON:
        """All of it."""
        return {"$b": base64.b64encode(value).decode("ascii")}

    def content(self, _owner: str, _field: str, value: Any) -> JSON:
        """All of it."""
        return _json(value)


_CONTENT: Final = frozenset({"arguments", "payload"})
"""Fields whose value is JSON of any shape, unless it is a string."""

_OPAQUE: Final = "projection"
"""The field of a value that only a dialect can read, and no rule of the machine: it is left out."""

_MISSING: Final = object()
_FIELDS: dict[type, tuple[tuple[str, Any], ...]] = {}


def _is_made(default: Any) -> bool:
    return type(default).__name__ == "Factory"


def _fields(cls: type) -> tuple[tuple[str, Any], ...]:
    return tuple(
        (field.name, _MISSING if _is_made(field.default) else field.default)
        for field in attrs.fields(cls)
        if field.init
    )


def plain(value: Any, leaves: Leaves, owner: str = "", field: str = "") -> JSON:
    """The form of `value`.

    Raises:
        InvalidJson: a part of it has none.
    """
    # The order is that of frequency: this runs for every part of everything that a machine says.
    kind: Any = type(value)
    if field in _CONTENT and kind is not str:
        return leaves.content(owner, field, value)
    if field == _OPAQUE:
        return None
    if kind is str:
        return leaves.text(owner, field, value)
    if value is None or kind is int or kind is bool:
        return value
    if kind is tuple or kind is list:
        return [plain(each, leaves, owner, field) for each in value]
    fields = _FIELDS.get(kind)
    if fields is None and attrs.has(kind):
        fields = _FIELDS[kind] = _fields(kind)
    if fields is not None:
        name = kind.__name__
        form: dict[str, JSON] = {"$": name}
        for part, default in fields:
            held = getattr(value, part)
            if held is not default and held != default:
                form[part] = plain(held, leaves, name, part)
        return form
    return _rare(value, leaves, owner, field)


def _rare(value: Any, leaves: Leaves, owner: str, field: str) -> JSON:
    if isinstance(value, Enum):
        return {"$e": [type(value).__name__, value.value]}
    if isinstance(value, bytes):
        return leaves.data(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$f": repr(value)}
    if isinstance(value, Mapping):
        return leaves.content(owner, field, value)
    if isinstance(value, str):
        return leaves.text(owner, field, str(value))
    if callable(value):
        return {"$call": True}
    raise InvalidJson(f"{type(value).__name__} has no form in a recording")


def _json(value: Any) -> JSON:
    if isinstance(value, Mapping):
        return {"$m": [[key, _json(each)] for key, each in value.items()]}
    if isinstance(value, (list, tuple)):
        return [_json(each) for each in value]
    if type(value) is float and not math.isfinite(value):
        return {"$f": repr(value)}
    return value


def compact(form: JSON) -> bytes:
    """A form as JSON on one line."""
    try:
        return msgspec.json.encode(form)
    except (UnicodeEncodeError, OverflowError):  # half a surrogate pair; an enormous number
        return json.dumps(form, separators=(",", ":")).encode("ascii")


# ---------------------------------------------------------------- the way back


def _classes() -> dict[str, type]:
    found: list[Any] = [
        *get_args(ports.ProviderEvent),
        ports.ResponseOptions,
        crossing.Terms,
        effects.MachineSettings,
        effects.ToolSpec,
        events.ProviderFault,
        events.RateLimit,
        events.CloseReason,
        conversation.Usage,
        conversation.ToolResult,
        conversation.TextContent,
        *get_args(conversation.Message),
        *get_args(conversation.AssistantBlock),
        *get_args(conversation.ContentBlock),
        conversation.InlineData,
        conversation.BlobRef,
        media.RealtimeAudioFormat,
        media.RealtimeCapabilities,
    ]
    enums = [
        each
        for module in (ports, effects, events, conversation, media)
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, Enum)
    ]
    return {cls.__name__: cls for cls in (*found, *enums)}


_CLASSES: Final = _classes()


def value_of(form: Any) -> Any:
    """The value that `form` describes; redacted text is its placeholder, redacted data zeros.

    Raises:
        InvalidJson: it is not the form of anything that a machine takes.
    """
    try:
        return _value(form)
    except (KeyError, TypeError, ValueError, AttributeError) as wrong:
        raise InvalidJson(f"not the form of a value: {wrong!r}") from wrong


def _not_recorded(_arguments: JSON) -> str | None:
    """Stands for a function; whoever plays the recording puts the recorded answers in its place."""
    raise InvalidJson("a function was called that is not part of the recording")


def _value(form: Any) -> Any:
    if isinstance(form, list):
        return tuple(_value(each) for each in form)
    if not isinstance(form, dict):
        return form
    if "$" in form:
        cls = _CLASSES[form["$"]]
        return cls(**{key: _value(each) for key, each in form.items() if key != "$"})
    ((tag, held),) = form.items()
    if tag == "$e":
        return _CLASSES[held[0]](held[1])
    if tag == "$t":
        return held[0]
    if tag == "$m":
        return {key: _value(each) for key, each in held}
    if tag == "$f":
        return float(held)
    if tag == "$b":
        return base64.b64decode(held) if isinstance(held, str) else bytes(held[0])
    if tag == "$call":
        return _not_recorded
    raise InvalidJson(f"{tag!r} is no kind of form")
