"""Is this message one that the vendor's own types know, exactly?

The `google-genai` package's models are the reference, in the JSON that is on the wire: camel case
names, enums by name, bytes in base64.  Every field there is optional, so a parse proves little:
this walks the annotations instead, and knows what else a message must be: one key from a client,
one field in a realtime input, an object where the package takes a text as well.  What the wire
carries beyond the types is listed below, each with its reason.
"""

from __future__ import annotations

import binascii
import enum
import re
import types
import typing
from typing import Any, Literal

import pybase64
import pydantic
from google.genai import types as vendor

Side = Literal["client", "server"]

# (model, field on the wire): annotation.  On the wire, though the type lacks it or allows more.
WIRE: dict[tuple[str, str], Any] = {
    # Known to the package's converter only.
    ("LiveClientSetup", "realtimeInputConfig"): vendor.RealtimeInputConfig,
    # The package converts texts and lists; on the wire it is a content, and a list of tools.
    ("LiveClientSetup", "systemInstruction"): vendor.Content,
    ("LiveClientSetup", "tools"): list[vendor.Tool],
    ("LiveClientContextUpdate", "systemInstruction"): vendor.Content,
    ("LiveClientContextUpdateTools", "tools"): list[vendor.Tool],
    # The package renames it.
    ("VoiceActivity", "type"): vendor.VoiceActivityType,
    # Vertex's names for response tokens.
    ("UsageMetadata", "candidatesTokenCount"): int,
    ("UsageMetadata", "candidatesTokensDetails"): list[vendor.ModalityTokenCount],
}
NOT_ON_THE_WIRE = {("VoiceActivity", "voiceActivityType")}
INT64 = {"lastConsumedClientMessageIndex"}
CLIENT_KEYS = {"setup", "clientContent", "realtimeInput", "toolResponse", "contextUpdate"}

_BASE64 = re.compile(r"[A-Za-z0-9+/_-]*={0,2}")
_DURATION = re.compile(r"\d+(\.\d{1,9})?s")
_DURATIONS = {"timeLeft", "audioOffset", "startOffset", "endOffset"}


def problems(message: Any, side: Side) -> list[str]:
    """What is wrong with a parsed message sent by `side`; empty if nothing is."""
    if not isinstance(message, dict):
        return [f"a message is an object, not {_kind(message)}"]
    walk = _Walk()
    if side == "server":
        walk.model(vendor.LiveServerMessage, message, "")
        return walk.found
    walk.model(vendor.LiveClientMessage, message, "")
    if len(message) != 1:
        walk.found.append(f"a client message has one key, not {sorted(message)}")
    inputs = message.get("realtimeInput")
    if isinstance(inputs, dict) and len(inputs) != 1:
        walk.found.append(f".realtimeInput: has one field, not {sorted(inputs)}")
    setup = message.get("setup")
    if isinstance(setup, dict) and not setup.get("model"):
        walk.found.append(".setup.model: required")
    return walk.found or _second_opinion(message)


def check(message: Any, side: Side) -> None:
    """Raise AssertionError if the vendor's types do not know this message."""
    found = problems(message, side)
    shown = ", ".join(message) if isinstance(message, dict) else message
    assert not found, f"{shown}: {found}"


def _second_opinion(message: dict[str, Any]) -> list[str]:
    """The package's own parser, which forbids what it does not know."""
    setup = message.get("setup")
    if isinstance(setup, dict):
        message = {"setup": {k: v for k, v in setup.items() if k != "realtimeInputConfig"}}
    try:
        vendor.LiveClientMessage.model_validate(message)
    except pydantic.ValidationError as error:
        return [f"pydantic: {error.errors()[0]['loc']}: {error.errors()[0]['msg']}"]
    return []


class _Walk:
    def __init__(self) -> None:
        self.found: list[str] = []

    def model(self, model: type[pydantic.BaseModel], value: Any, path: str) -> None:
        if not isinstance(value, dict):
            self.found.append(f"{path}: expected {model.__name__}, got {_kind(value)}")
            return
        fields = {
            field.alias or name: field.annotation for name, field in model.model_fields.items()
        }
        for name, entry in value.items():
            where = f"{path}.{name}"
            key = (model.__name__, name)
            if key in WIRE:
                self.value(WIRE[key], entry, where)
            elif name not in fields or key in NOT_ON_THE_WIRE:
                self.found.append(f"{where}: {model.__name__} has no such field")
            else:
                self.value(fields[name], entry, where)

    def value(self, annotation: Any, value: Any, path: str) -> None:
        members = [member for member in _members(annotation) if member is not type(None)]
        if value is None:
            if Any not in members and object not in members:
                self.found.append(f"{path}: null is not sent")
            return
        attempts = []
        for member in members:
            attempt = _Walk()
            attempt.one(member, value, path)
            if not attempt.found:
                return
            attempts.append(attempt.found)
        self.found += min(attempts, key=len, default=[f"{path}: nothing fits {value!r:.60}"])

    def one(self, annotation: Any, value: Any, path: str) -> None:
        origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
        name = path.rsplit(".", 1)[-1]
        if annotation in (Any, object):
            return
        if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
            self.model(annotation, value, path)
        elif isinstance(annotation, type) and issubclass(annotation, enum.Enum):
            if value not in [member.value for member in annotation]:
                self.found.append(f"{path}: {value!r} is no {annotation.__name__}")
        elif origin is list:
            if isinstance(value, list):
                for index, entry in enumerate(value):
                    self.value(arguments[0], entry, f"{path}[{index}]")
            else:
                self.found.append(f"{path}: expected an array, got {_kind(value)}")
        elif origin is dict:
            if isinstance(value, dict):
                for key, entry in value.items():
                    self.value(arguments[1], entry, f"{path}.{key}")
            else:
                self.found.append(f"{path}: expected an object, got {_kind(value)}")
        elif annotation is bytes:
            if not (isinstance(value, str) and _is_base64(value)):
                self.found.append(f"{path}: not base64")
        elif annotation is int and name in INT64 and isinstance(value, str):
            if not value.isdecimal():
                self.found.append(f"{path}: {value!r} is no integer")
        elif annotation is str and name in _DURATIONS:
            if not (isinstance(value, str) and _DURATION.fullmatch(value)):
                self.found.append(f"{path}: {value!r} is no duration")
        elif annotation in _SCALARS:
            if type(value) not in _SCALARS[annotation]:
                self.found.append(f"{path}: expected {annotation.__name__}, got {_kind(value)}")
        else:
            raise TypeError(f"no rule for {annotation!r} at {path}")


_SCALARS: dict[Any, set[type]] = {str: {str}, bool: {bool}, int: {int}, float: {int, float}}


def _is_base64(text: str) -> bool:
    if not _BASE64.fullmatch(text):
        return False
    plain = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        pybase64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except binascii.Error:
        return False
    return True


def _members(annotation: Any) -> list[Any]:
    while typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [entry for part in typing.get_args(annotation) for entry in _members(part)]
    return [annotation]


def _kind(value: Any) -> str:
    return "null" if value is None else type(value).__name__
