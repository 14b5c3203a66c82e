"""What close codes and error frames mean."""

from __future__ import annotations

import pytest
from gemini_dialect_kit import MODEL, dialect

from meerkat_rt.model import errors as er
from meerkat_rt.model.events import ClosedBy, ProviderFault

CLOSES = [
    (1000, "", None, None),
    (1001, "", er.ConnectionReset, True),
    (1005, "", er.ConnectionReset, True),
    (1006, "", er.ConnectionReset, True),
    (None, "", er.ConnectionReset, True),
    (1007, "Request contains an invalid argument.", er.InvalidRequest, False),
    (1007, 'Invalid JSON payload received. Unknown name "x"', er.InvalidRequest, False),
    (1007, "API key expired. Please renew the API key.", er.InvalidApiKey, False),
    (1007, "API key not valid. Please pass a valid API key.", er.InvalidApiKey, False),
    (1007, "Invalid session resumption handle", er.SessionExpired, True),
    (1007, "The input token count (9) exceeds the limit", er.ContextLengthExceeded, False),
    (1007, "too many function declarations", er.InvalidRequest, False),
    (1008, "The operation was aborted.", er.SessionExpired, True),
    (1008, "models/x is not found for API version v1beta", er.ModelNotFound, False),
    (1008, "models/x is not supported for bidiGenerateContent", er.ModelNotFound, False),
    (1008, "Policy violation", er.InvalidRequest, False),
    (1009, "", er.RequestTooLarge, False),
    (1011, "Internal error encountered.", er.ServerError, True),
    (1011, "Deadline expired before operation could complete.", er.SessionExpired, True),
    (1011, "You exceeded your current quota", er.QuotaExhausted, False),
    (1011, "Resource has been exhausted (e.g. check quota).", er.RateLimited, True),
    (1011, "The model is overloaded", er.ServerOverloaded, True),
    (1013, "", er.ServerOverloaded, True),
    (4321, "eh", er.UnknownProviderError, True),
]


@pytest.mark.parametrize(("code", "text", "error", "retryable"), CLOSES)
def test_close_codes(code, text, error, retryable):
    reason, made = dialect().close_reason(code, text)
    assert reason.code == code
    assert reason.clean is (error is None)
    if error is None:
        assert made is None
        return
    assert type(made) is error
    assert made.retryable is retryable
    network = code in (None, 1006)
    assert reason.by is (ClosedBy.NETWORK if network else ClosedBy.PROVIDER)
    if error is er.ModelNotFound:
        assert made.model == MODEL


@pytest.mark.parametrize(
    ("code", "status", "message", "error"),
    [
        ("400", "INVALID_ARGUMENT", "no", er.InvalidRequest),
        ("401", "UNAUTHENTICATED", "no", er.AuthenticationFailed),
        ("403", "PERMISSION_DENIED", "no", er.InvalidApiKey),
        ("404", "NOT_FOUND", "no", er.ModelNotFound),
        ("429", "RESOURCE_EXHAUSTED", "no", er.RateLimited),
        ("503", None, "", er.ServerOverloaded),
        ("404", None, "", er.ModelNotFound),
        ("500", None, "no", er.ServerError),
        ("x", None, "no", er.UnknownProviderError),
        (None, None, "", er.UnknownProviderError),
    ],
)
def test_error_frames(code, status, message, error):
    fault = ProviderFault(code=code, kind=status, message=message)
    assert type(dialect().fault_error(fault)) is error


@pytest.mark.parametrize(
    "secret", ["AIzaSyA-1234567890abcdef", "ya29.a0AfH6SM-x_y", "auth_tokens/abc.def"]
)
def test_keys_that_the_provider_repeats_are_not_shown(secret):
    reason, error = dialect().close_reason(1007, f"bad key {secret} given")
    assert secret not in reason.text
    assert secret not in str(error)
    assert "[key]" in reason.text
