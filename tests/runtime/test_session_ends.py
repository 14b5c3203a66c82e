"""What each end of a connection means: its class of error, and the reason that is kept."""

from __future__ import annotations

import pytest
from runtimekit import CONNECTORS, closing, kinds, meeting, of, outcome

from meerkat_rt import SessionLimits, events
from meerkat_rt.runtime import errors
from meerkat_rt.testing.quiescence import quiescent_after
from meerkat_rt.transport import MAX_MESSAGE_SIZE

EXPIRED = "Your session hit the maximum duration of 60 minutes."

CODES = [
    (1000, "", None),
    (1000, "bye", None),
    (1001, EXPIRED, errors.SessionExpired),
    (1001, "going away", errors.ConnectionReset),
    (1005, "", errors.ConnectionReset),
    (1006, "", errors.ConnectionReset),
    (1008, "policy", errors.InvalidRequest),
    (1009, "too big", errors.RequestTooLarge),
    (1011, "internal", errors.ServerError),
    (1012, "restart", errors.ConnectionReset),
    (1013, "overloaded", errors.ServerOverloaded),
    (3000, "invalid_request_error.invalid_api_key", errors.AuthenticationFailed),
    (3003, "forbidden", errors.InvalidApiKey),
    (4000, "invalid_request_error.beta_api_shape_disabled", errors.InvalidRequest),
    (4000, "invalid_request_error.invalid_model", errors.ModelNotFound),
    (4999, "who knows", errors.UnknownProviderError),
]
"""Documented and captured close codes, with the error that each ends a session with."""


@pytest.mark.parametrize("name", CONNECTORS)
@pytest.mark.parametrize(("code", "text", "error"), CODES)
async def test_every_close_code_has_its_error_and_its_reason(
    code, text, error, name, autojump_clock
) -> None:
    async def script(peer) -> None:
        await peer.text_response("Before the end.")
        if code == 1006:
            await peer.socket.drop()
        elif code == 1005:
            await peer.socket.send_bytes(b"\x88\x00")  # a close frame without a code
        else:
            await peer.close(code, text)

    with quiescent_after():
        async with meeting(script, name=name, client_may_leave=True) as m:
            read, raised = await outcome(m.session)
    assert "TurnCompleted" in kinds(read)
    reason = closing(read)
    if code == 1006:
        assert (reason.by, reason.code) == ("network", None)
    else:
        assert (reason.by, reason.code, reason.text) == ("provider", code, text)
    assert reason.clean is (error is None)
    assert isinstance(raised, error or type(None))


@pytest.mark.parametrize("name", CONNECTORS)
@pytest.mark.parametrize(
    ("garbage", "code"),
    [
        (b"\x81\x02\xff\xfe", 1007),  # text that is not UTF-8
        (b"\x83\x00", 1002),  # a reserved opcode
        (b"\x81\x7f" + (MAX_MESSAGE_SIZE + 1).to_bytes(8, "big"), 1009),
    ],
)
async def test_a_peer_that_breaks_the_protocol_ends_the_session_by_our_doing(
    garbage, code, name, autojump_clock
) -> None:
    async def script(peer) -> None:
        await peer.socket.send_bytes(garbage)
        if code == 1009 and name == "trio-websocket":
            await peer.socket.send_bytes(bytes(1 << 20) * 33)  # it looks when it is all there
        close = await peer.expect_close()
        assert close is None or close.code in (code, 1000)

    async with meeting(script, name=name) as m:
        read, raised = await outcome(m.session)
    reason = closing(read)
    assert (reason.by, reason.code, reason.clean) == ("runtime", code, False)
    assert isinstance(raised, errors.StreamParseError)
    assert "broke the protocol" in str(raised)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("session_expired", errors.SessionExpired),
        ("invalid_api_key", errors.AuthenticationFailed),
        ("account_deactivated", errors.AuthenticationFailed),
    ],
)
async def test_a_fatal_error_frame_ends_the_session_with_its_class(
    code, error, autojump_clock
) -> None:
    async def script(peer) -> None:
        await peer.text_response("Before the end.")
        await peer.error(code)
        await peer.expect_close()

    async with meeting(script) as m:
        read, raised = await outcome(m.session)
        with pytest.raises(errors.SessionClosedError):
            await m.session.send_text("x")
    assert "TurnCompleted" in kinds(read)
    assert isinstance(raised, errors.LlmError)
    assert isinstance(raised, error)
    reason = closing(read)
    assert (reason.by, reason.clean) == ("provider", False)


@pytest.mark.parametrize(
    "code",
    [
        "invalid_value",
        "rate_limit_exceeded",
        "insufficient_quota",
        "server_error",
        "new_code",
        None,
    ],
)
async def test_any_other_error_frame_is_an_event(code, autojump_clock) -> None:
    async def script(peer) -> None:
        await peer.error(code, message="something is wrong")
        await peer.text_response("Never mind.")
        await peer.close()

    async with meeting(script) as m:
        read, raised = await outcome(m.session)
    assert raised is None
    (reported,) = of(read, events.ProviderErrorReported)
    assert (reported.fault.code, reported.fault.message) == (code, "something is wrong")
    assert "TurnCompleted" in kinds(read)


@pytest.mark.parametrize(
    "frame",
    [
        "not json",
        "[]",
        '"x"',
        "{}",
        '{"type": 7}',
        '{"type":"response.done","response":null}',
        "{" * 9,
    ],
)
async def test_a_frame_that_makes_no_sense_is_an_event(frame, autojump_clock) -> None:
    async def script(peer) -> None:
        await peer.socket.send_text(frame)
        await peer.text_response("Never mind.")
        await peer.close()

    async with meeting(script) as m:
        read, raised = await outcome(m.session)
    assert raised is None
    assert len(of(read, events.ProviderErrorReported, events.UnknownProviderEvent)) == 1
    assert "TurnCompleted" in kinds(read)


async def test_a_connection_reset_in_the_middle_of_a_frame_loses_that_frame_alone(
    autojump_clock,
) -> None:
    async def script(peer) -> None:
        await peer.text_response("All of this arrives.")
        await peer.cut_frame()

    async with meeting(script, limits=SessionLimits()) as m:
        read, raised = await outcome(m.session)
    assert isinstance(raised, errors.ConnectionReset)
    assert "TurnCompleted" in kinds(read)
    assert closing(read).by == "network"


async def test_what_was_said_before_the_connection_broke_is_history(autojump_clock) -> None:
    async def script(peer) -> None:
        response = await peer.response()
        message = await response.message("text")
        await message.text("Half a sent")
        await peer.socket.drop()

    async with meeting(script) as m:
        read, _ = await outcome(m.session)
    (completed,) = of(read, events.TurnCompleted)
    assert completed.stop_reason == "cancelled"
    assert completed.error.code == "connection_lost"
    assert len(of(read, events.Interrupted)) == 1
