"""What the provider's errors and close codes mean.

Codes decide.  Prose is read only where the provider gives no code of its own for a thing.  Sources:
the vendor's realtime reference, and captures of live sessions for close codes and unlisted codes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ...model import errors
from ...model.events import ClosedBy, CloseReason, ProviderFault
from ...turn.ports import CommandRefused, ErrorMeaning, ProviderError

if TYPE_CHECKING:
    from .frames import ErrorBody

# ---------------------------------------------------------------- redaction

_DATA_URL = re.compile(r"\bdata:[a-z0-9.+/-]*(?:;[a-z0-9=._-]+)*,[^\s\"'<>]*", re.IGNORECASE)
_KEY = re.compile(r"\b(?:sk|ek)[-_][A-Za-z0-9_-]{8,}")


def redact(text: str) -> str:
    """`text` without media and keys that the provider may have echoed into it."""
    text = _DATA_URL.sub(lambda found: f"[data URL, {len(found[0])} characters]", text)
    return _KEY.sub("[key]", text)


def to_fault(body: ErrorBody) -> ProviderFault:
    """The neutral form of the provider's error, fit to be shown."""
    return ProviderFault(
        code=body.code,
        kind=body.type,
        message=redact(body.message or ""),
        param=None if body.param is None else redact(body.param),
    )


# ---------------------------------------------------------------- classification

FATAL_CODES = frozenset(
    {
        "session_expired",
        "invalid_api_key",
        "missing_model",
        "invalid_model",
        "beta_api_shape_disabled",
        "account_deactivated",
    }
)
"""The provider closes the connection after these.  Lack of quota is not among them."""

_FATAL_TYPES = frozenset({"authentication_error"})

_MEANINGS = {
    "conversation_already_has_active_response": ErrorMeaning.ACTIVE_RESPONSE,
    "response_cancel_not_active": ErrorMeaning.NOTHING_TO_CANCEL,
    "input_audio_buffer_commit_empty": ErrorMeaning.EMPTY_COMMIT,
    "item_truncate_invalid_item_id": ErrorMeaning.TRUNCATION_REFUSED,
    "item_delete_invalid_item_id": ErrorMeaning.UNKNOWN_ITEM,
    "item_retrieve_invalid_item_id": ErrorMeaning.UNKNOWN_ITEM,
    "item_create_duplicate_item_id": ErrorMeaning.DUPLICATE_ITEM,
    "invalid_tool_call_id": ErrorMeaning.UNKNOWN_CALL,
    "cannot_update_voice": ErrorMeaning.CONFIG_REFUSED,
}

# Older servers, and compatible ones, send these without a code.
_PROSE = (
    ("already has an active response", ErrorMeaning.ACTIVE_RESPONSE),
    ("active response in progress", ErrorMeaning.ACTIVE_RESPONSE),
    ("no active response found", ErrorMeaning.NOTHING_TO_CANCEL),
    ("is already shorter than", ErrorMeaning.TRUNCATION_REFUSED),
    ("buffer too small", ErrorMeaning.EMPTY_COMMIT),
    ("buffer is empty", ErrorMeaning.EMPTY_COMMIT),
)

# A truncation beyond the end has only the general code invalid_value.  Anchored, so that no text
# which the provider quotes can look like it.
_TOO_LATE = re.compile(r"Audio content of \d+ ?ms is already shorter than \d+ ?ms", re.IGNORECASE)


def classify(body: ErrorBody) -> CommandRefused | ProviderError:
    """A refused command, or an error of the provider's own."""
    fault = to_fault(body)
    if body.code in FATAL_CODES or body.type in _FATAL_TYPES:
        return ProviderError(fault=fault, ref=body.event_id, fatal=True)
    meaning = _meaning(fault)
    if meaning is ErrorMeaning.OTHER and fault.kind != "invalid_request_error":
        return ProviderError(fault=fault, ref=body.event_id)
    return CommandRefused(meaning=meaning, fault=fault, ref=body.event_id)


def _meaning(fault: ProviderFault) -> ErrorMeaning:
    if fault.code is None:
        message = fault.message.casefold()
        for words, meaning in _PROSE:
            if words in message:
                return meaning
    elif fault.code in _MEANINGS:
        return _MEANINGS[fault.code]
    elif fault.code == "invalid_value" and (
        fault.param == "audio_end_ms" or _TOO_LATE.match(fault.message)
    ):
        return ErrorMeaning.TRUNCATION_REFUSED
    if fault.param is not None and (fault.param + ".").startswith("session."):
        return ErrorMeaning.CONFIG_REFUSED
    return ErrorMeaning.OTHER


# ---------------------------------------------------------------- errors for people and programs

_TRY_AGAIN = re.compile(r"try again in (\d+(?:\.\d+)?) ?(ms|s)\b", re.IGNORECASE)


def _retry_after(message: str) -> int | None:
    found = _TRY_AGAIN.search(message)
    if found is None:
        return None
    return round(float(found[1]) * (1 if found[2].lower() == "ms" else 1000))


_RATE_LIMITED = {"rate_limit_exceeded", "inference_rate_limit_exceeded", "rate_limit_error"}
_BY_CODE: dict[str, type[errors.LlmError]] = {
    "insufficient_quota": errors.QuotaExhausted,
    "billing_hard_limit_reached": errors.QuotaExhausted,
    "account_deactivated": errors.AuthenticationFailed,
    "invalid_api_key": errors.InvalidApiKey,
    "session_expired": errors.SessionExpired,
    "missing_model": errors.ModelNotFound,
    "invalid_model": errors.ModelNotFound,
    "model_not_found": errors.ModelNotFound,
    "context_length_exceeded": errors.ContextLengthExceeded,
    "context_window_exceeded": errors.ContextLengthExceeded,
    "content_filter": errors.ContentFiltered,
    "content_policy_violation": errors.ContentFiltered,
    "server_overloaded": errors.ServerOverloaded,
    "overloaded": errors.ServerOverloaded,
    "server_error": errors.ServerError,
}
_BY_TYPE: dict[str, type[errors.LlmError]] = {
    "authentication_error": errors.AuthenticationFailed,
    "permission_error": errors.InvalidApiKey,
    "insufficient_quota": errors.QuotaExhausted,
    "overloaded_error": errors.ServerOverloaded,
    "server_error": errors.ServerError,
    "invalid_request_error": errors.InvalidRequest,
}


def fault_error(fault: ProviderFault, model: str = "") -> errors.LlmError:
    """The typed error for `fault`; `model` is the one that the session asked for."""
    kinds = {fault.code, fault.kind}
    cls = _BY_CODE.get(fault.code or "")
    if cls is None and kinds & _RATE_LIMITED:
        return errors.RateLimited(fault.message, _retry_after(fault.message))
    if cls is None:
        cls = _BY_TYPE.get(fault.kind or "", errors.UnknownProviderError)
    if cls is errors.ModelNotFound:
        return errors.ModelNotFound(fault.message, model)
    return cls(fault.message or fault.code or fault.kind or "")  # type: ignore[call-arg]


# ---------------------------------------------------------------- close frames

_NAMED = re.compile(r"([a-z_]+)\.([a-z_0-9]+)")  # type.code: the reason of codes 3000 and 4000
_TOO_OLD = re.compile(r"maximum duration|session_expired", re.IGNORECASE)


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
    if named := _NAMED.fullmatch(text):
        fault = ProviderFault(kind=named[1], code=named[2], message=said)
        return fault_error(fault, model)
    if _TOO_OLD.search(text):
        return errors.SessionExpired(said)
    match code:
        case 1001 | 1005 | 1012:
            return errors.ConnectionReset(said)
        case 1013:
            return errors.ServerOverloaded(said)
        case 1011:
            return errors.ServerError(said)
        case 1009:
            return errors.RequestTooLarge(said)
        case 3000:
            return errors.AuthenticationFailed(said)
        case 3003:
            return errors.InvalidApiKey(said)
        case 3008:
            return errors.NetworkTimeout(said)
        case 1002 | 1003 | 1007 | 1008 | 4000:
            return errors.InvalidRequest(said)
    return errors.UnknownProviderError(said)
