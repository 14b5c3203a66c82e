"""Plausible arguments for a tool, from its JSON schema and from what the user typed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

DEEPEST = 8  # levels; a schema may refer to itself

_PLACE = re.compile(r"\b(?:in|for|at|to|of)\s+([A-Z][\w'-]*(?:\s+[A-Z][\w'-]*)*)")
_NUMBER = re.compile(r"-?\d{1,12}(?:\.\d{1,6})?")
# What a string property is about, by a word in its name.
_BY_NAME = (
    (("city", "location", "place", "town", "destination", "address"), "Lisbon"),
    (("country",), "Portugal"),
    (("email", "mail"), "ada@example.com"),
    (("phone",), "+351210000000"),
    (("date", "day"), "2025-06-21"),
    (("time",), "12:00"),
    (("url", "link"), "https://example.com/"),
    (("lang", "locale"), "en"),
    (("currency",), "EUR"),
    (("unit",), "celsius"),
    (("name", "user", "person", "customer"), "Ada"),
    (("id", "code", "number", "key"), "A-17"),
)
_BY_FORMAT = {
    "date": "2025-06-21",
    "time": "12:00:00Z",
    "date-time": "2025-06-21T12:00:00Z",
    "email": "ada@example.com",
    "uri": "https://example.com/",
    "uuid": "6f1c2a34-5b6d-4e7f-8a9b-0c1d2e3f4a5b",
}


def plausible_arguments(schema: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Arguments that satisfy the usual schema: its required properties, filled by type and name.

    What the user typed is used where it fits: a place after a preposition, a number, the whole text
    for a query.  Patterns and conditional schemas are beyond it; then the tool may refuse the call.
    """
    value = _value(schema, "", text, schema, 0)
    return value if isinstance(value, dict) else {}


def _value(schema: Any, name: str, text: str, root: Mapping[str, Any], depth: int) -> Any:
    if not isinstance(schema, dict) or depth > DEEPEST:
        return None if depth > DEEPEST else text or "meerkats"
    reference = schema.get("$ref")
    if isinstance(reference, str):
        return _value(_resolved(reference, root), name, text, root, depth + 1)
    if "const" in schema:
        return schema["const"]
    for key in ("enum", "examples"):
        if isinstance(schema.get(key), list) and schema[key]:
            return schema[key][0]
    if "default" in schema:
        return schema["default"]
    for key in ("anyOf", "oneOf", "allOf"):
        options = schema.get(key)
        if isinstance(options, list) and options:
            return _value(options[0], name, text, root, depth + 1)
    return _typed(schema, name, text, root, depth)


def _typed(
    schema: dict[str, Any], name: str, text: str, root: Mapping[str, Any], depth: int
) -> Any:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0] if kind else None
    if kind is None:
        kind = "object" if depth == 0 or "properties" in schema else "string"
    match kind:
        case "object":
            properties = schema.get("properties")
            required = schema.get("required")
            if not isinstance(properties, dict) or not isinstance(required, list):
                return {}
            return {
                key: _value(properties.get(key), key, text, root, depth + 1)
                for key in required
                if isinstance(key, str)
            }
        case "array":
            least = schema.get("minItems")
            count = least if isinstance(least, int) and 0 <= least <= 16 else 1
            return [_value(schema.get("items"), name, text, root, depth + 1)] * count
        case "integer" | "number":
            return _number(schema, text, whole=kind == "integer")
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return _string(schema, name, text)


def _number(schema: dict[str, Any], text: str, *, whole: bool) -> float:
    found = _NUMBER.search(text)
    value = float(found.group()) if found else 7.0
    low, high = schema.get("minimum"), schema.get("maximum")
    if isinstance(low, int | float) and value < low:
        value = float(low)
    if isinstance(high, int | float) and value > high:
        value = float(high)
    return int(value) if whole else value


def _string(schema: dict[str, Any], name: str, text: str) -> str:
    known = _BY_FORMAT.get(str(schema.get("format")))
    if known is not None:
        return known
    words = set(re.findall(r"[a-z]+", re.sub(r"([A-Z])", r" \1", name).lower()))
    for hints, value in _BY_NAME:
        if words & set(hints):
            place = _PLACE.search(text) if value in {"Lisbon", "Portugal"} else None
            return place.group(1) if place else value
    answer = text.strip() or "meerkats"
    longest = schema.get("maxLength")
    return answer[:longest] if isinstance(longest, int) and longest > 0 else answer


def _resolved(reference: str, root: Mapping[str, Any]) -> Any:
    """The schema that a local reference ("#/$defs/x") points to; any other is an empty schema."""
    node: Any = root
    for part in reference.removeprefix("#/").split("/"):
        node = node.get(part) if isinstance(node, dict) else None
    return node if isinstance(node, dict) else {"type": "string"}
