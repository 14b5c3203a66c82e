"""The error tree: what is retryable, what an HTTP status means, how an error reads and travels."""

from __future__ import annotations

import copy
import pickle

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.strategies import error_classes, values

from meerkat_rt.model import errors
from meerkat_rt.model.errors import (
    AudioFormatMismatch,
    AuthenticationFailed,
    ConnectionReset,
    ContentFiltered,
    ContextLengthExceeded,
    IncompleteResponse,
    InvalidApiKey,
    InvalidConfig,
    InvalidInputShape,
    InvalidJson,
    InvalidRequest,
    LlmError,
    ModelNotFound,
    NetworkTimeout,
    QuotaExhausted,
    RateLimited,
    RequestTooLarge,
    ServerError,
    ServerOverloaded,
    SessionExpired,
    StreamParseError,
    ToolCallSettled,
    UnknownProviderError,
    UnknownTag,
    from_http_status,
    parse_retry_after,
)

RETRYABLE = {
    RateLimited,
    ServerOverloaded,
    NetworkTimeout,
    ConnectionReset,
    SessionExpired,
    ServerError,
    UnknownProviderError,
}
PERMANENT = {
    InvalidRequest,
    InvalidConfig,
    InvalidInputShape,
    AudioFormatMismatch,
    RequestTooLarge,
    AuthenticationFailed,
    InvalidApiKey,
    QuotaExhausted,
    ContentFiltered,
    ContextLengthExceeded,
    ModelNotFound,
    StreamParseError,
    IncompleteResponse,
    ToolCallSettled,
    UnknownTag,
    InvalidJson,
}


def _made(cls):
    return cls("t", "U", ("a",)) if cls is UnknownTag else cls("what happened")


# ---------------------------------------------------------------- retryable


@pytest.mark.parametrize("cls", sorted(PERMANENT, key=lambda c: c.__name__))
def test_a_retry_does_not_help(cls):
    assert _made(cls).retryable is False


@pytest.mark.parametrize("cls", sorted(RETRYABLE, key=lambda c: c.__name__))
def test_a_retry_may_help(cls):
    assert _made(cls).retryable is True


def test_every_error_is_in_one_of_the_two_lists():
    assert set(error_classes()) == RETRYABLE | PERMANENT


@pytest.mark.parametrize(("status", "retryable"), [(400, False), (499, False), (500, True)])
def test_a_server_error_is_retryable_from_500_on(status, retryable):
    assert ServerError("x", status).retryable is retryable


# ---------------------------------------------------------------- HTTP


@pytest.mark.parametrize(
    ("status", "cls", "retryable"),
    [
        (401, AuthenticationFailed, False),
        (403, InvalidApiKey, False),
        (404, ModelNotFound, False),
        (413, RequestTooLarge, False),
        (429, RateLimited, True),
        (503, ServerOverloaded, True),
        (500, ServerError, True),
        (502, ServerError, True),
        (599, ServerError, True),
        (400, InvalidRequest, False),
        (409, InvalidRequest, False),
        (422, InvalidRequest, False),
        (302, UnknownProviderError, True),
        (0, UnknownProviderError, True),
    ],
)
def test_an_http_status_has_its_error(status, cls, retryable):
    error = from_http_status(status, "the body")
    assert type(error) is cls
    assert error.retryable is retryable
    assert error.message == "the body"


def test_a_server_error_keeps_its_status():
    error = from_http_status(504, "x")
    assert isinstance(error, ServerError)
    assert error.status == 504


def test_a_rate_limit_keeps_the_hint():
    error = from_http_status(429, "x", retry_after="1.5")
    assert isinstance(error, RateLimited)
    assert error.retry_after_ms == 1500
    assert from_http_status(429, "x", retry_after="tomorrow").retry_after_ms is None


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("-0.5", None),
        ("0.0", None),
        ("nan", None),
        ("inf", None),
        ("1e3", None),
        ("1_000", None),
        ("٣", None),
        ("1.", None),
        ("99999999999", None),
        ("Fri, 31 Dec 1999 23:59:59 GMT", None),
        ("0", 0),
        ("1", 1_000),
        (" 20 ", 20_000),
        ("0.25", 250),
        ("1.9996", 2_000),
        ("9999999999", 9_999_999_999_000),
    ],
)
def test_retry_after_is_seconds(text, ms):
    assert parse_retry_after(text) == ms


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=12))
def test_any_retry_after_gives_milliseconds_or_nothing(text):
    ms = parse_retry_after(text)
    assert ms is None or (isinstance(ms, int) and ms >= 0)


# ---------------------------------------------------------------- how they read


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (InvalidRequest("no such item"), "no such item"),
        (InvalidRequest(), "invalid request"),
        (ServerOverloaded(), "server overloaded"),
        (LlmError(), "llm error"),
        (RateLimited("slow down"), "slow down"),
        (RateLimited("slow down", 500), "slow down (retry after 500 ms)"),
        (RateLimited("slow down", 0), "slow down (retry after 0 ms)"),
        (NetworkTimeout("no answer", 5000), "no answer (after 5000 ms)"),
        (NetworkTimeout("no answer"), "no answer"),
        (ServerError("bad gateway", 502), "bad gateway (status 502)"),
        (RequestTooLarge("too big", 10, 5), "too big (10 bytes, limit 5 bytes)"),
        (RequestTooLarge("too big", max_bytes=5), "too big (limit 5 bytes)"),
        (ContextLengthExceeded("full", 10, 12), "full (12 tokens, limit 10 tokens)"),
        (ContextLengthExceeded("full"), "full"),
        (ModelNotFound("not there", "gpt-x"), "not there (model gpt-x)"),
        (InvalidJson("missing", "a[0].b"), "a[0].b: missing"),
        (InvalidJson("missing"), "missing"),
        (UnknownTag("x", "U", ("a", "b")), "unknown tag 'x' for U; known tags: a, b"),
        (UnknownTag("x", "U", ("a",), "p"), "p: unknown tag 'x' for U; known tags: a"),
    ],
)
def test_an_error_explains_itself(error, text):
    assert str(error) == text


def test_the_message_comes_first_and_by_position():
    for cls in RETRYABLE | PERMANENT - {UnknownTag}:
        assert cls("what happened").message == "what happened"


# ---------------------------------------------------------------- how they travel


@pytest.mark.parametrize("cls", error_classes(), ids=lambda cls: cls.__name__)
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_copies_and_pickles_keep_class_and_fields(cls, data):
    error = data.draw(values(cls))
    for twin in (
        copy.copy(error),
        copy.deepcopy(error),
        pickle.loads(pickle.dumps(error)),
        attrs.evolve(error),
    ):
        assert type(twin) is cls
        assert attrs.asdict(twin) == attrs.asdict(error)
        assert str(twin) == str(error)


def test_a_caught_error_keeps_its_traceback_and_cause():
    with pytest.raises(ConnectionReset) as caught:
        try:
            raise OSError("broken pipe")
        except OSError as exc:
            raise ConnectionReset("gone") from exc
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__traceback__ is not None


def test_errors_are_compared_by_identity_and_can_be_set_members():
    one, two = InvalidRequest("x"), InvalidRequest("x")
    assert one != two
    assert len({one, two, one}) == 2


def test_an_error_may_also_be_another_rooms_exception():
    class Closed(Exception):
        """As another library would define it."""

    @attrs.define(eq=False)
    class SessionGone(LlmError, Closed):
        message: str = ""

    assert isinstance(SessionGone("gone"), Closed)
    assert SessionGone("gone").message == "gone"


def test_the_narrow_errors_are_kinds_of_the_wide_ones():
    assert issubclass(AudioFormatMismatch, InvalidInputShape)
    assert issubclass(InvalidApiKey, AuthenticationFailed)
    assert issubclass(ToolCallSettled, InvalidRequest)
    for cls in error_classes():
        assert issubclass(cls, LlmError)
        assert cls.__doc__
        assert cls.__module__ == errors.__name__
