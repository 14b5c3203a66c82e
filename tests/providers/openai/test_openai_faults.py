"""What the provider's errors and close codes mean."""

from __future__ import annotations

import pytest
from openai_dialect_kit import MODEL, dialect, error_frame

from meerkat_rt.model import errors
from meerkat_rt.model.errors import InvalidRequest
from meerkat_rt.model.events import ClosedBy, ProviderFault
from meerkat_rt.model.open_config import RealtimeExternalSessionTarget
from meerkat_rt.providers.openai.decoding import decode
from meerkat_rt.providers.openai.faults import close_reason, fault_error, redact
from meerkat_rt.turn.ports import CommandRefused, ErrorMeaning, ProviderError


def event_of(**error):
    (event,) = decode(error_frame(**error))
    return event


# ---------------------------------------------------------------- classification


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        ("conversation_already_has_active_response", ErrorMeaning.ACTIVE_RESPONSE),
        ("response_cancel_not_active", ErrorMeaning.NOTHING_TO_CANCEL),
        ("input_audio_buffer_commit_empty", ErrorMeaning.EMPTY_COMMIT),
        ("item_truncate_invalid_item_id", ErrorMeaning.TRUNCATION_REFUSED),
        ("item_delete_invalid_item_id", ErrorMeaning.UNKNOWN_ITEM),
        ("item_retrieve_invalid_item_id", ErrorMeaning.UNKNOWN_ITEM),
        ("item_create_duplicate_item_id", ErrorMeaning.DUPLICATE_ITEM),
        ("invalid_tool_call_id", ErrorMeaning.UNKNOWN_CALL),
        ("cannot_update_voice", ErrorMeaning.CONFIG_REFUSED),
        ("invalid_value", ErrorMeaning.OTHER),
        ("unheard_of", ErrorMeaning.OTHER),
    ],
)
def test_a_refused_command_is_known_by_its_code(code, meaning):
    event = event_of(code=code, message="whatever it says", event_id="cmd_1")
    assert isinstance(event, CommandRefused)
    assert (event.meaning, event.ref, event.fault.code) == (meaning, "cmd_1", code)


def test_the_code_decides_and_not_the_prose():
    event = event_of(code="invalid_value", message="already has an active response")
    assert event.meaning is ErrorMeaning.OTHER
    event = event_of(code="response_cancel_not_active", message="active response in progress")
    assert event.meaning is ErrorMeaning.NOTHING_TO_CANCEL


@pytest.mark.parametrize(
    ("message", "meaning"),
    [
        ("Conversation already has an active response", ErrorMeaning.ACTIVE_RESPONSE),
        ("Conversation ALREADY has an active response: r1", ErrorMeaning.ACTIVE_RESPONSE),
        ("There is an active response in progress", ErrorMeaning.ACTIVE_RESPONSE),
        ("Cancellation failed: no active response found", ErrorMeaning.NOTHING_TO_CANCEL),
        ("Error committing input audio buffer: buffer too small", ErrorMeaning.EMPTY_COMMIT),
        ("Audio content of 100ms is already shorter than 200ms", ErrorMeaning.TRUNCATION_REFUSED),
        ("Something else", ErrorMeaning.OTHER),
    ],
)  # fmt: skip
def test_prose_is_read_where_there_is_no_code(message, meaning):
    assert event_of(code=None, message=message).meaning is meaning


def test_a_truncation_beyond_the_end_is_known_by_its_parameter_or_its_anchored_text():
    said = "Audio content of 9250ms is already shorter than 57340ms"
    assert event_of(code="invalid_value", message=said).meaning is ErrorMeaning.TRUNCATION_REFUSED
    event = event_of(code="invalid_value", message="no", param="audio_end_ms")
    assert event.meaning is ErrorMeaning.TRUNCATION_REFUSED
    quoted = f"Invalid value: '{said}'"
    assert event_of(code="invalid_value", message=quoted).meaning is ErrorMeaning.OTHER


@pytest.mark.parametrize("param", ["session", "session.audio.output.voice", "session.tools[0]"])
def test_whatever_is_wrong_with_the_session_is_a_refused_configuration(param):
    event = event_of(code="unknown_parameter", param=param)
    assert event.meaning is ErrorMeaning.CONFIG_REFUSED
    elsewhere = event_of(code="unknown_parameter", param=f"response.{param}")
    assert elsewhere.meaning is ErrorMeaning.OTHER


@pytest.mark.parametrize(
    "code",
    [
        "session_expired",
        "invalid_api_key",
        "missing_model",
        "invalid_model",
        "beta_api_shape_disabled",
        "account_deactivated",
    ],
)
def test_errors_that_a_close_follows_are_fatal(code):
    event = event_of(code=code)
    assert isinstance(event, ProviderError)
    assert event.fatal


def test_refused_authentication_is_fatal_without_a_code():
    assert event_of(type="authentication_error", code=None).fatal


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("server_error", None),
        ("server_error", "server_error"),
        ("rate_limit_error", "rate_limit_exceeded"),
        ("insufficient_quota", "insufficient_quota"),
        ("mystery_error", None),
        (None, None),
    ],
)
def test_errors_of_the_providers_own_are_reported_and_survived(kind, code):
    event = event_of(type=kind, code=code, event_id="cmd_1")
    assert isinstance(event, ProviderError)
    assert not event.fatal
    assert event.ref == "cmd_1"


def test_an_error_with_nothing_in_it_is_still_an_error():
    (event,) = decode(b'{"type":"error","error":{}}')
    assert event == ProviderError(fault=ProviderFault())


# ---------------------------------------------------------------- typed errors


@pytest.mark.parametrize(
    ("kind", "code", "expected"),
    [
        ("rate_limit_error", None, errors.RateLimited),
        ("invalid_request_error", "rate_limit_exceeded", errors.RateLimited),
        ("tokens", "inference_rate_limit_exceeded", errors.RateLimited),
        ("authentication_error", None, errors.AuthenticationFailed),
        ("invalid_request_error", "invalid_api_key", errors.InvalidApiKey),
        ("permission_error", None, errors.InvalidApiKey),
        ("insufficient_quota", "insufficient_quota", errors.QuotaExhausted),
        ("insufficient_quota", None, errors.QuotaExhausted),
        ("invalid_request_error", "billing_hard_limit_reached", errors.QuotaExhausted),
        ("invalid_request_error", "account_deactivated", errors.AuthenticationFailed),
        ("invalid_request_error", "session_expired", errors.SessionExpired),
        ("invalid_request_error", "invalid_model", errors.ModelNotFound),
        ("invalid_request_error", "missing_model", errors.ModelNotFound),
        ("invalid_request_error", "context_length_exceeded", errors.ContextLengthExceeded),
        ("invalid_request_error", "context_window_exceeded", errors.ContextLengthExceeded),
        ("invalid_request_error", "content_policy_violation", errors.ContentFiltered),
        ("invalid_request_error", "unknown_parameter", errors.InvalidRequest),
        ("invalid_request_error", None, errors.InvalidRequest),
        ("server_error", None, errors.ServerError),
        ("overloaded_error", None, errors.ServerOverloaded),
        ("mystery", "mystery", errors.UnknownProviderError),
        (None, None, errors.UnknownProviderError),
    ],
)
def test_a_fault_has_its_typed_error(kind, code, expected):
    error = fault_error(ProviderFault(code=code, kind=kind, message="said so"))
    assert type(error) is expected
    assert error.message == "said so"


def test_context_words_in_prose_alone_stay_an_invalid_request_with_its_message():
    message = "context_length_exceeded: your context_window_exceeded the limit"
    error = fault_error(ProviderFault(kind="invalid_request_error", message=message))
    assert type(error) is errors.InvalidRequest
    assert error.message == message


@pytest.mark.parametrize(
    ("message", "hint"),
    [
        ("Rate limit reached. Please try again in 1.2s. Visit ...", 1200),
        ("Please try again in 350ms.", 350),
        ("Slow down.", None),
    ],
)
def test_the_retry_hint_of_a_rate_limit_is_read(message, hint):
    error = fault_error(ProviderFault(code="rate_limit_exceeded", message=message))
    assert error.retry_after_ms == hint


def test_a_missing_model_is_named():
    error = dialect().fault_error(ProviderFault(code="invalid_model", message="no such model"))
    assert error.model == MODEL


def test_a_blank_call_target_is_refused_with_a_fixed_message():
    with pytest.raises(InvalidRequest, match="provider realtime session id must not be empty"):
        RealtimeExternalSessionTarget("  ")


# ---------------------------------------------------------------- redaction

PNG = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"


@pytest.mark.parametrize("url", [PNG, PNG.upper(), PNG.replace("data", "DATA"), "data:,abc,def"])
def test_media_in_an_error_message_is_redacted_whatever_its_case(url):
    event = event_of(message=f"Invalid image_url '{url}' in item", param=f"item.{url}", code="x")
    shown = f"{event.fault.message} {event.fault.param}"
    assert url not in shown
    assert "data:image" not in shown.lower()
    assert f"{len(url)} characters" in shown
    assert shown.startswith("Invalid image_url '")
    assert "in item" in shown
    assert url[-8:] not in str(dialect().fault_error(event.fault))


def test_an_ordinary_message_is_not_touched():
    for text in ("the data: see below", "metadata:a,b", "data; base64", "ask-me-anything", ""):
        assert redact(text) == text


def test_a_key_in_an_error_message_is_redacted():
    event = event_of(message="Incorrect API key provided: sk-proj-abcdEFGH1234. Find yours at x.")
    assert "abcdEFGH" not in event.fault.message
    assert "Find yours at x." in event.fault.message


# ---------------------------------------------------------------- close codes


@pytest.mark.parametrize(
    ("code", "reason", "expected", "retryable"),
    [
        (3000, "invalid_request_error.invalid_api_key", errors.InvalidApiKey, False),
        (3000, "", errors.AuthenticationFailed, False),
        (3003, "", errors.InvalidApiKey, False),
        (3008, "", errors.NetworkTimeout, True),
        (4000, "invalid_request_error.beta_api_shape_disabled", errors.InvalidRequest, False),
        (4000, "invalid_request_error.missing_model", errors.ModelNotFound, False),
        (4000, "invalid_request_error.invalid_model", errors.ModelNotFound, False),
        (4000, "", errors.InvalidRequest, False),
        (1001, "Your session hit the maximum duration of 60 minutes.", errors.SessionExpired, True),
        (1001, "", errors.ConnectionReset, True),
        (1005, "", errors.ConnectionReset, True),
        (1006, "", errors.ConnectionReset, True),
        (1011, "keepalive", errors.ServerError, True),
        (1012, "", errors.ConnectionReset, True),
        (1013, "", errors.ServerOverloaded, True),
        (1015, "", errors.ConnectionReset, True),
        (1009, "", errors.RequestTooLarge, False),
        (1002, "", errors.InvalidRequest, False),
        (1007, "", errors.InvalidRequest, False),
        (1008, "", errors.InvalidRequest, False),
        (4999, "odd", errors.UnknownProviderError, True),
        (None, "", errors.ConnectionReset, True),
        (None, "reset while it timed out", errors.ConnectionReset, True),
    ],
)
def test_a_close_code_has_its_typed_error(code, reason, expected, retryable):
    why, error = close_reason(code, reason, MODEL)
    assert type(error) is expected
    assert error.retryable is retryable
    assert not why.clean
    assert why.code == code
    assert str(error)


def test_who_ended_it():
    assert close_reason(1001, "")[0].by is ClosedBy.PROVIDER
    assert close_reason(None, "")[0].by is ClosedBy.NETWORK
    assert close_reason(1006, "")[0].by is ClosedBy.NETWORK


def test_a_normal_close_is_no_error():
    why, error = dialect().close_reason(1000, "bye")
    assert error is None
    assert (why.by, why.clean, why.text) == (ClosedBy.PROVIDER, True, "bye")
