"""What the provider's close codes and rare error frames mean.

The protocol reports errors by closing the connection; code and reason of the close frame are the
only diagnosis, and the codes are too general to tell a bad key from a bad setting.  So prose is
read here: phrases that live servers have been seen to send.  Other prose falls back to the code.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ...model import errors
from ...model.events import ClosedBy, CloseReason, ProviderFault

if TYPE_CHECKING:
    from collections.abc import Callable

    from .frames import ErrorBody, ServerMessage

# ---------------------------------------------------------------- redaction

_SECRETS = re.compile(
    r"\bAIza[0-9A-Za-z_-]{10,}|\bya29\.[0-9A-Za-z_.-]+|\bauth_tokens/[0-9A-Za-z_.-]+"
)


def redact(text: str) -> str:
    """`text` without keys and tokens that the provider may have echoed into it."""
    return _SECRETS.sub("[key]", text)


def to_fault(body: ErrorBody | ServerMessage) -> ProviderFault:
    """The neutral form of an error frame, fit to be shown."""
    return ProviderFault(
        code=None if body.code is None else str(body.code),
        kind=body.status,
        message=redact(body.message or ""),
    )


# ---------------------------------------------------------------- prose

_Made = type[errors.LlmError]
_PHRASES: tuple[tuple[re.Pattern[str], _Made], ...] = tuple(
    (re.compile(phrase, re.IGNORECASE), made)
    for phrase, made in (
        (r"api.?key.{0,20}(expired|not valid|invalid|not found)", errors.InvalidApiKey),
        (r"permission.?denied|unregistered callers|has not been used in", errors.InvalidApiKey),
        (r"unauthenticated|invalid authentication|access token", errors.AuthenticationFailed),
        (r"exceeded your current quota|billing", errors.QuotaExhausted),
        (r"resource.?exhausted|quota|rate limit|too many requests", errors.RateLimited),
        (
            r"model.{0,200}not found|not found for api version|not supported for bidi",
            errors.ModelNotFound,
        ),
        (
            r"token count.{0,40}exceed|context (window|length)|maximum number of tokens",
            errors.ContextLengthExceeded,
        ),
        (r"resumption|invalid handle|session.{0,20}(expired|not found)", errors.SessionExpired),
        (r"deadline expired|maximum duration|operation was aborted", errors.SessionExpired),
        (r"overloaded|unavailable", errors.ServerOverloaded),
        (r"safety|blocked|prohibited", errors.ContentFiltered),
    )
)

_BY_STATUS: dict[str, _Made] = {
    "UNAUTHENTICATED": errors.AuthenticationFailed,
    "PERMISSION_DENIED": errors.InvalidApiKey,
    "NOT_FOUND": errors.ModelNotFound,
    "RESOURCE_EXHAUSTED": errors.RateLimited,
    "UNAVAILABLE": errors.ServerOverloaded,
    "INTERNAL": errors.ServerError,
    "DEADLINE_EXCEEDED": errors.ServerError,
    "INVALID_ARGUMENT": errors.InvalidRequest,
    "FAILED_PRECONDITION": errors.InvalidRequest,
}


def _make(cls: _Made, text: str, model: str) -> errors.LlmError:
    if cls is errors.ModelNotFound:
        return errors.ModelNotFound(text, model)
    make: Callable[[str], errors.LlmError] = cls
    return make(text)


def _by_prose(text: str) -> _Made | None:
    return next((made for phrase, made in _PHRASES if phrase.search(text)), None)


def fault_error(fault: ProviderFault, model: str = "") -> errors.LlmError:
    """The typed error for an error frame; `model` is the one that the session asked for."""
    said = fault.message or fault.kind or fault.code or ""
    cls = _by_prose(fault.message) or _BY_STATUS.get(fault.kind or "")
    if cls is not None:
        return _make(cls, said, model)
    if fault.code is not None and fault.code.isascii() and fault.code.isdecimal():
        status = int(fault.code[:4])
        if status == 404:
            return errors.ModelNotFound(said, model)
        return errors.from_http_status(status, said)
    return errors.UnknownProviderError(said)


# ---------------------------------------------------------------- close frames


def close_reason(
    code: int | None, reason: str, model: str = ""
) -> tuple[CloseReason, errors.LlmError | None]:
    """What a close frame means; `code` None: the connection ended without one."""
    text = redact(reason)
    if code is None or code in (1006, 1015):
        said = text or "the connection ended without a close frame"
        return (
            CloseReason(by=ClosedBy.NETWORK, code=code, text=said, clean=False),
            errors.ConnectionReset(said),
        )
    if code == 1000:
        return CloseReason(by=ClosedBy.PROVIDER, code=code, text=text), None
    error = _close_error(code, text, model)
    return CloseReason(by=ClosedBy.PROVIDER, code=code, text=text, clean=False), error


def _close_error(code: int, text: str, model: str) -> errors.LlmError:
    said = text or f"the provider closed the connection with code {code}"
    cls = _by_prose(text)
    if cls is not None:
        return _make(cls, said, model)
    match code:
        case 1001 | 1005 | 1012:
            return errors.ConnectionReset(said)
        case 1009:
            return errors.RequestTooLarge(said)
        case 1011:
            return errors.ServerError(said)
        case 1013:
            return errors.ServerOverloaded(said)
        case 1002 | 1003 | 1007 | 1008:
            return errors.InvalidRequest(said)
    return errors.UnknownProviderError(said)
