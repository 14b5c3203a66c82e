"""What can go wrong between a session and its provider; each says whether a retry may help."""

from __future__ import annotations

from typing import ClassVar

import attrs


@attrs.define(eq=False)
class LlmError(Exception):
    """Base of every error of a session.

    `retryable` says whether the same thing, tried again later or on a new connection, may work.
    """

    retryable: ClassVar[bool] = False

    def __str__(self) -> str:
        return getattr(self, "message", "") or type(self).__name__


@attrs.define(eq=False)
class _WithMessage(LlmError):
    message: str = ""


# ---------------------------------------------------------------- a retry may help


@attrs.define(eq=False)
class RateLimited(_WithMessage):
    """Too many requests.  `retry_after_ms` is the provider's hint, if it gave one."""

    retry_after_ms: int | None = None
    retryable: ClassVar[bool] = True


@attrs.define(eq=False)
class ServerOverloaded(_WithMessage):
    """The provider has no capacity now."""

    retryable: ClassVar[bool] = True


@attrs.define(eq=False)
class NetworkTimeout(_WithMessage):
    """Nothing came within `duration_ms` milliseconds."""

    duration_ms: int = 0
    retryable: ClassVar[bool] = True


@attrs.define(eq=False)
class ConnectionReset(_WithMessage):
    """The connection broke, or ended without a reason."""

    retryable: ClassVar[bool] = True


@attrs.define(eq=False)
class SessionExpired(_WithMessage):
    """The provider's cap on the length of a session was reached; a new session may go on."""

    retryable: ClassVar[bool] = True


@attrs.define(eq=False)
class ServerError(_WithMessage):
    """The provider failed with HTTP-like `status`; retryable from 500 on."""

    status: int = 500

    @property
    def retryable(self) -> bool:  # type: ignore[override]
        """Whether a retry may help: server faults yes, others no."""
        return self.status >= 500


@attrs.define(eq=False)
class UnknownProviderError(_WithMessage):
    """The provider said something that fits no class."""

    retryable: ClassVar[bool] = True


# ---------------------------------------------------------------- a retry does not help


@attrs.define(eq=False)
class InvalidRequest(_WithMessage):
    """What was asked is wrong; the message says what is allowed."""


@attrs.define(eq=False)
class InvalidConfig(_WithMessage):
    """The configuration cannot be used with this provider or model; raised before connecting."""


@attrs.define(eq=False)
class InvalidInputShape(_WithMessage):
    """One input was refused; the session goes on."""


@attrs.define(eq=False)
class AudioFormatMismatch(InvalidInputShape):
    """Audio is labelled with another format than the session negotiated.  Nothing is resampled."""


@attrs.define(eq=False)
class RequestTooLarge(_WithMessage):
    """An input is over the limit."""

    encoded_bytes: int | None = None
    max_bytes: int | None = None


@attrs.define(eq=False)
class AuthenticationFailed(_WithMessage):
    """The credentials were refused."""


@attrs.define(eq=False)
class InvalidApiKey(AuthenticationFailed):
    """The API key is unknown or lacks the permission."""


@attrs.define(eq=False)
class QuotaExhausted(_WithMessage):
    """The account has no credit left."""


@attrs.define(eq=False)
class ContentFiltered(_WithMessage):
    """The provider's filter refused the content."""


@attrs.define(eq=False)
class ContextLengthExceeded(_WithMessage):
    """The conversation does not fit; token counts are 0 where the provider did not say them."""

    max: int = 0
    requested: int = 0


@attrs.define(eq=False)
class ModelNotFound(_WithMessage):
    """The provider does not have `model`."""

    model: str = ""


@attrs.define(eq=False)
class StreamParseError(_WithMessage):
    """Something could not be parsed."""


@attrs.define(eq=False)
class IncompleteResponse(_WithMessage):
    """A response lacked what it must have."""


@attrs.define(eq=False)
class ToolCallSettled(InvalidRequest):
    """The call already has its one outcome."""


@attrs.define(eq=False)
class UnknownTag(LlmError):
    """JSON names a variant that does not exist.  `known` lists those that do."""

    tag: str
    of: str
    known: tuple[str, ...]

    def __str__(self) -> str:
        return f"unknown tag {self.tag!r} for {self.of}; known tags: {', '.join(self.known)}"


@attrs.define(eq=False)
class InvalidJson(LlmError):
    """JSON does not have the shape of the type that it should be.  `path` says where."""

    message: str
    path: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


def from_http_status(status: int, message: str, *, retry_after: str | None = None) -> LlmError:
    """Map an HTTP status to an error.  `retry_after` is the header's text (seconds)."""
    match status:
        case 401:
            return AuthenticationFailed(message)
        case 403:
            return InvalidApiKey(message)
        case 404:
            return ModelNotFound(message)
        case 413:
            return RequestTooLarge(message)
        case 429:
            return RateLimited(message, parse_retry_after(retry_after))
        case 503:
            return ServerOverloaded(message)
    if status >= 500:
        return ServerError(message, status)
    if status >= 400:
        return InvalidRequest(message)
    return UnknownProviderError(message)


def parse_retry_after(value: str | None) -> int | None:
    """Milliseconds of a Retry-After header in seconds (integer or decimal); None if it is neither."""
    try:
        seconds = float(value) if value is not None else -1.0
    except ValueError:
        return None
    return round(seconds * 1000) if 0 < seconds < float("inf") else None
