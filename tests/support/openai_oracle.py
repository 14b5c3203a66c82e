"""Is this frame one that the vendor's own types know, exactly?

The models of the `openai` package accept anything extra and coerce what they can, so parsing with
them proves nothing.  This walks the annotations of the two realtime unions instead: required
fields, exact JSON types, literals, discriminated unions, and no field that is not declared.  What
the wire is known to carry beyond the types is listed below, each with its reason.  As a second
opinion the frame is also validated by pydantic in strict mode, which sees what a walk over
annotations cannot (validators).
"""

from __future__ import annotations

import json
import types
import typing
from functools import cache
from typing import Any, Literal

import pydantic
from openai.types import realtime

Side = Literal["client", "server"]

# (model, field): on the wire, though the types lack it.
BEYOND_THE_TYPES: dict[Side, frozenset[tuple[str, str]]] = {
    "client": frozenset(),
    "server": frozenset(
        {
            # Typed as the request model; the server sends the response model of the REST API.
            (model, field)
            for model in (
                "RealtimeSessionCreateRequest",
                "RealtimeTranscriptionSessionCreateRequest",
            )
            for field in ("id", "object", "expires_at")
        }
    ),
}
# Accepted by the service in `response.input`, but missing from the item union there.
ITEM_REFERENCE = {"type": str, "id": str}
LONGEST_EVENT_ID = 512


def problems(frame: Any, side: Side) -> list[str]:
    """What is wrong with a parsed frame sent by `side`; empty if nothing is."""
    if not isinstance(frame, dict):
        return [f"a frame is an object, not {_kind(frame)}"]
    known = models(side)
    kind = frame.get("type")
    if not isinstance(kind, str) or kind not in known:
        return [f"type: no {side} event is called {kind!r}"]
    walk = _Walk(BEYOND_THE_TYPES[side])
    walk.model(known[kind], frame, "")
    event_id = frame.get("event_id")
    if isinstance(event_id, str) and len(event_id) > LONGEST_EVENT_ID:
        walk.found.append("event_id: longer than 512 characters")
    return walk.found or _second_opinion(known[kind], frame)


def check(frame: Any, side: Side) -> None:
    """Raise AssertionError if the vendor's types do not know this frame."""
    found = problems(frame, side)
    assert not found, f"{frame.get('type') if isinstance(frame, dict) else frame}: {found}"


@cache
def models(side: Side) -> dict[str, type[pydantic.BaseModel]]:
    """The event models of one side, by their type tag."""
    union = realtime.RealtimeClientEvent if side == "client" else realtime.RealtimeServerEvent
    found: dict[str, type[pydantic.BaseModel]] = {}
    for model in _members(union):
        for tag in _literals(model.model_fields["type"].annotation):
            found[tag] = model
    return found


def _second_opinion(model: type[pydantic.BaseModel], frame: dict[str, Any]) -> list[str]:
    try:
        model.model_validate_json(json.dumps(_without_references(frame)), strict=True)
    except pydantic.ValidationError as error:
        return [f"pydantic: {error.errors()[0]['loc']}: {error.errors()[0]['msg']}"]
    return []


def _without_references(frame: dict[str, Any]) -> dict[str, Any]:
    response = frame.get("response")
    if frame["type"] != "response.create" or not isinstance(response, dict):
        return frame
    entries = response.get("input")
    if not isinstance(entries, list):
        return frame
    kept = [entry for entry in entries if entry.get("type") != "item_reference"]
    return {**frame, "response": {**response, "input": kept}}


class _Walk:
    def __init__(self, beyond: frozenset[tuple[str, str]]) -> None:
        self.beyond = beyond
        self.found: list[str] = []

    def model(self, model: type[pydantic.BaseModel], value: Any, path: str) -> None:
        if not isinstance(value, dict):
            self.found.append(f"{path}: expected {model.__name__}, got {_kind(value)}")
            return
        fields = {field.alias or name: field for name, field in model.model_fields.items()}
        for name, field in fields.items():
            if name in value:
                self.value(field.annotation, value[name], f"{path}.{name}")
            elif field.is_required():
                self.found.append(f"{path}.{name}: required by {model.__name__}")
        for name in value:
            if name not in fields and (model.__name__, name) not in self.beyond:
                self.found.append(f"{path}.{name}: {model.__name__} has no such field")

    def value(self, annotation: Any, value: Any, path: str) -> None:
        members = _members(annotation)
        if value is None:
            if type(None) not in members:
                self.found.append(f"{path}: null is not allowed")
            return
        members = [member for member in members if member is not type(None)]
        if isinstance(value, dict):
            members = _narrowed(members, value)
        attempts = []
        for member in members:
            attempt = _Walk(self.beyond)
            attempt.one(member, value, path)
            if not attempt.found:
                return
            attempts.append(attempt.found)
        if _is_reference(value, path):
            return
        self.found += min(attempts, key=len, default=[f"{path}: no variant fits {value!r:.60}"])

    def one(self, annotation: Any, value: Any, path: str) -> None:
        origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
        if _is_model(annotation):
            self.model(annotation, value, path)
        elif origin is Literal:
            # Types are compared as well: True equals 1 in Python, not in JSON.
            if not any(type(value) is type(known) and value == known for known in arguments):
                self.found.append(f"{path}: {value!r} is not one of {arguments}")
        elif origin is list:
            if isinstance(value, list):
                for index, entry in enumerate(value):
                    self.value(arguments[0], entry, f"{path}[{index}]")
            else:
                self.found.append(f"{path}: expected an array, got {_kind(value)}")
        elif origin is dict or annotation is dict:
            if not isinstance(value, dict):
                self.found.append(f"{path}: expected an object, got {_kind(value)}")
            elif arguments:
                for key, entry in value.items():
                    self.value(arguments[1], entry, f"{path}.{key}")
        elif annotation in _SCALARS:
            if type(value) not in _SCALARS[annotation]:
                self.found.append(f"{path}: expected {annotation.__name__}, got {_kind(value)}")
        elif annotation not in (object, Any):
            raise TypeError(f"no rule for {annotation!r} at {path}")


_SCALARS = {str: {str}, bool: {bool}, int: {int}, float: {int, float}}


def _narrowed(members: list[Any], value: dict[str, Any]) -> list[Any]:
    """The models whose `type` and `role` literals agree with the value, if any of them has such."""
    for tag in ("type", "role"):
        candidates = [
            member
            for member in members
            if not _is_model(member)
            or tag not in member.model_fields
            or not _literals(member.model_fields[tag].annotation)
            or value.get(tag) in _literals(member.model_fields[tag].annotation)
        ]
        members = candidates or members
    return members


def _is_reference(value: Any, path: str) -> bool:
    return (
        path.startswith(".response.input[")
        and path.endswith("]")
        and isinstance(value, dict)
        and value.get("type") == "item_reference"
        and {key: type(entry) for key, entry in value.items()} == ITEM_REFERENCE
    )


def _members(annotation: Any) -> list[Any]:
    while typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    if isinstance(annotation, typing.TypeAliasType if hasattr(typing, "TypeAliasType") else ()):
        return _members(annotation.__value__)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [entry for part in typing.get_args(annotation) for entry in _members(part)]
    return [annotation]


def _literals(annotation: Any) -> tuple[Any, ...]:
    return tuple(
        value
        for member in _members(annotation)
        if typing.get_origin(member) is Literal
        for value in typing.get_args(member)
    )


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel)


def _kind(value: Any) -> str:
    return "null" if value is None else type(value).__name__
