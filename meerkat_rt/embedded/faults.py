"""A client's mistake, as the protocol reports it."""

from __future__ import annotations

INVALID_REQUEST = "invalid_request_error"
SERVER_ERROR = "server_error"


class Fault(Exception):
    """What a client did wrong; it becomes one `error` event and nothing else changes.

    `code` is the protocol's error code, `param` the path of the offending field (for instance
    "session.audio.output.voice"), `kind` the protocol's error type.
    """

    def __init__(
        self, code: str, message: str, *, param: str | None = None, kind: str = INVALID_REQUEST
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
        self.kind = kind


def unknown_parameter(path: str) -> Fault:
    """The fault of a key that the protocol does not know."""
    return Fault("unknown_parameter", f"Unknown parameter: '{path}'.", param=path)


def missing_parameter(path: str) -> Fault:
    """The fault of a required key that is absent."""
    return Fault("missing_required_parameter", f"Missing required parameter: '{path}'.", param=path)


def invalid_value(path: str, message: str) -> Fault:
    """The fault of a value of the right type that is not allowed."""
    return Fault("invalid_value", message, param=path)


def invalid_type(path: str, expected: str, value: object) -> Fault:
    """The fault of a value of the wrong JSON type; `expected` comes with its article."""
    return Fault(
        "invalid_type",
        f"Invalid type for '{path}': expected {expected}, but got {json_type(value)} instead.",
        param=path,
    )


def json_type(value: object) -> str:
    """The JSON type of a parsed value, with its article, for a message."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int():
            return "an integer"
        case float():
            return "a decimal"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"
