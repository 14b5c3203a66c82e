"""How a session is closed: by the application, by the peer, by the network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from ...runtime import errors
from ...runtime.limits import SessionLimits
from .bodies import idle_server, read_out, slow
from .openai import TONE, scenarios_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ...runtime.session import RealtimeSession
    from ..openai_peer import OpenAIPeer

case = scenarios_of("closes")


@case(idle_server)
async def a_close_from_another_task(session: RealtimeSession) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.aclose)
        nursery.start_soon(session.aclose)
        while await session.next_event() is not None:
            pass
    await session.aclose()


GRACE = SessionLimits().close_grace


async def deaf_server(peer: OpenAIPeer) -> None:
    await peer.expect("input_audio_buffer.append")
    peer.socket.stop_reading()
    await trio.sleep(60)


@case(deaf_server, unwind=GRACE)
async def a_server_that_stops_reading(session: RealtimeSession) -> None:
    for _ in range(20):
        await session.send_audio(TONE)
    await session.create_response()
    await trio.sleep(1)
    await session.interrupt()


SLOW = 0.1  # virtual seconds


async def slow_server(peer: OpenAIPeer) -> None:
    await peer.expect("input_audio_buffer.append")
    peer.socket.stop_reading()
    await trio.sleep(SLOW)
    peer.socket.start_reading()
    await peer.linger()


@case(slow_server, unwind=SLOW)
async def a_server_that_is_slow_to_read(session: RealtimeSession) -> None:
    for _ in range(3):
        await session.send_audio(TONE)
    await trio.sleep(SLOW)


async def cutting_server(peer: OpenAIPeer) -> None:
    await peer.expect("input_audio_buffer.append")
    await peer.cut_frame()


@case(cutting_server, ends=(errors.ConnectionReset, errors.SessionClosedError))
async def a_reset_in_the_middle_of_a_frame(session: RealtimeSession) -> None:
    await session.send_audio(TONE)
    await read_out(session)


def closing_server(code: int, reason: str) -> Callable[[OpenAIPeer], Awaitable[None]]:
    async def script(peer: OpenAIPeer) -> None:
        response = await peer.response(await peer.expect("response.create"))
        await response.call("slow", {"name": "zzzz"})
        await peer.close(code, reason)

    return script


# In order, at the end of the session's life, and for a fault.  Another code is another error.
CLOSE_CODES = (
    (1000, ""),
    (1001, "Your session hit the maximum duration of 60 minutes."),
    (4000, "invalid_request_error.invalid_model"),
)
for _code, _reason in CLOSE_CODES:

    async def _closed_by_the_server(session: RealtimeSession) -> None:
        await session.create_response()
        while await session.next_event() is not None:
            pass

    _closed_by_the_server.__name__ = f"a_close_by_the_server_with_{_code}"
    case(
        closing_server(_code, _reason),
        tools=[slow],
        ends=(errors.LlmError,),
    )(_closed_by_the_server)
