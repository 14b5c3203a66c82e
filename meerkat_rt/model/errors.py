"""What can go wrong between a session and its provider; each says whether a retry may help."""

from __future__ import annotations

import re
from typing import ClassVar

import attrs


@attrs.define(eq=False)
class LlmError(Exception):
    """Base of every error of a session.

    `retryable` says whether the same thing, tried again later or on a new connection, may work.
    Copies and pickles keep class and fields.
    """

    retryable: ClassVar[bool] = False

    def __str__(self) -> str:
        return _spaced(type(self).__name__)


def _spaced(name: str) -> str:
    """The words of a class name, for an error that has nothing better to say."""
    return re.sub(r"(?<!^)(?=[A-Z])", " ", name).lower()


@attrs.define(eq=False)
class _WithMessage(LlmError):
    message: str = ""

    def __str__(self) -> str:
        text = self.message or _spaced(type(self).__name__)
        detail = self._detail()
        return f"{text} ({detail})" if detail else text

    def _detail(self) -> str:
        """What the other fields say, for people."""
        return ""


# ---------------------------------------------------------------- a retry may help


@attrs.define(eq=False)
class RateLimited(_WithMessage):
    """Too many requests.  `retry_after_ms` is the provider's hint, if it gave one."""

    retry_after_ms: int | None = None
    retryable: ClassVar[bool] = True

    def _detail(self) -> str:
        return "" if self.retry_after_ms is None else f"retry after {self.retry_after_ms} ms"


@attrs.define(eq=False)
class ServerOverloaded(_WithMessage):
    """The provider has no capacity now."""

    retryable: ClassVar[bool] = True


@attrs.define(eq=False)
class NetworkTimeout(_WithMessage):
    """Nothing came within `duration_ms` milliseconds."""

    duration_ms: int = 0
    retryable: ClassVar[bool] = True

    def _detail(self) -> str:
        return f"after {self.duration_ms} ms" if self.duration_ms else ""


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

    def _detail(self) -> str:
        return f"status {self.status}"


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

    def _detail(self) -> str:
        size = "" if self.encoded_bytes is None else f"{self.encoded_bytes} bytes"
        limit = "" if self.max_bytes is None else f"limit {self.max_bytes} bytes"
        return ", ".join(filter(None, (size, limit)))


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

    def _detail(self) -> str:
        requested = f"{self.requested} tokens" if self.requested else ""
        limit = f"limit {self.max} tokens" if self.max else ""
        return ", ".join(filter(None, (requested, limit)))


@attrs.define(eq=False)
class ModelNotFound(_WithMessage):
    """The provider does not have `model`."""

    model: str = ""

    def _detail(self) -> str:
        return f"model {self.model}" if self.model else ""


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
    """JSON names a variant of `of` that does not exist.  `known` lists those that do.

    `path` says where in the JSON value, for example `event.role`; it is empty at the top.
    """

    tag: str
    of: str
    known: tuple[str, ...]
    path: str = ""

    def __str__(self) -> str:
        place = f"{self.path}: " if self.path else ""
        known = ", ".join(self.known)
        return f"{place}unknown tag {self.tag!r} for {self.of}; known tags: {known}"


@attrs.define(eq=False)
class InvalidJson(LlmError):
    """JSON does not have the shape of the type that it should be, or a value has no JSON form.

    `path` says where, for example `messages[2].content`; it is empty at the top.
    """

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


_SECONDS = re.compile(r"[0-9]{1,10}(\.[0-9]+)?")  # ten digits are three centuries


def parse_retry_after(value: str | None) -> int | None:
    """Milliseconds of a Retry-After header that gives seconds, as an integer or a decimal.

    None for what is neither (a date, which needs a clock; garbage), and for a decimal that is zero.
    """
    text = (value or "").strip()
    if not _SECONDS.fullmatch(text):
        return None
    if text.isdecimal():
        return int(text) * 1000
    return round(float(text) * 1000) or None
