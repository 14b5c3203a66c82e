"""Tools with Gemini: parallel calls, calls that it takes back, and how it ends a connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from ...model import events as ev
from ...model.media import RealtimeTextChunk
from ...runtime import errors
from ...runtime.tools import tool
from .bodies import read_out, slow, take
from .gemini import TONE, scenarios_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ...runtime.session import RealtimeSession
    from ..gemini_peer import GeminiPeer

case = scenarios_of("gemini tools and ends")


async def three_calls_server(peer: GeminiPeer) -> None:
    await peer.expect_turn()
    calls = await peer.tool_call(
        ("slow", {"name": "a"}), ("slow", {"name": "bb"}), ("slow", {"name": "ccc"})
    )
    await peer.expect_tool_response(*calls)
    await peer.audio_response("Done.", ms=80)
    await peer.linger()


@case(three_calls_server, tools=[slow])
async def a_tool_turn_of_gemini_with_three_parallel_calls(session: RealtimeSession) -> None:
    await session.send_input(RealtimeTextChunk("look them up"))
    await take(session, ev.TurnCompleted, ev.TurnCompleted)


async def cancelling_server(peer: GeminiPeer) -> None:
    await peer.expect_turn()
    first, second = await peer.tool_call(("slow", {"name": "zzzzz"}), ("slow", {"name": "zzz"}))
    await trio.sleep(0.1)
    await peer.cancel_calls(first)
    await peer.expect_tool_response(second)
    await peer.audio_response("Done.", ms=80)
    await peer.linger()


@case(cancelling_server, tools=[slow])
async def calls_that_gemini_cancels(session: RealtimeSession) -> None:
    await session.send_input(RealtimeTextChunk("look them up"))
    await take(session, ev.ToolCallFinished, ev.ToolCallFinished, ev.TurnCompleted)


async def barging_server(peer: GeminiPeer) -> None:
    await peer.expect_turn()
    await peer.speak("Let me look", ms=200)
    calls = await peer.tool_call(("slow", {"name": "zzzzzz"}))
    await trio.sleep(0.1)
    await peer.interrupted(*calls)
    await peer.user_turn("never mind")
    await peer.audio_response("Fine.", ms=80)
    await peer.linger()


@case(barging_server, tools=[slow])
async def a_barge_in_that_cancels_calls_of_gemini(session: RealtimeSession) -> None:
    await session.send_input(RealtimeTextChunk("look it up"))
    await take(session, ev.ToolCallRequested, ev.ToolCallFinished)
    await take(session, ev.TurnCompleted, ev.TurnCompleted)


async def patient_server(peer: GeminiPeer) -> None:
    await peer.expect_turn()
    calls = await peer.tool_call(("slow", {"name": "zzz"}))
    await peer.content(interrupted=True)
    await peer.turn_complete()
    await peer.expect_tool_response(*calls)
    await peer.linger()


@case(patient_server, tools=[tool(slow, on_interrupt="finish_silently")])
async def a_call_that_outlives_an_interruption_by_gemini(session: RealtimeSession) -> None:
    await session.send_input(RealtimeTextChunk("look it up"))
    await take(session, ev.ToolCallFinished)


# ---------------------------------------------------------------- how a connection ends


async def leaving_server(peer: GeminiPeer) -> None:
    await peer.go_away(1)
    await trio.sleep(1)
    await peer.close(1008, "The operation was aborted.")


@case(leaving_server, tools=[slow], ends=(errors.SessionExpired,))
async def a_gemini_that_goes_away(session: RealtimeSession) -> None:
    await session.send_audio(TONE)
    await read_out(session)


async def cutting_server(peer: GeminiPeer) -> None:
    await peer.receive()
    await peer.cut_frame()


@case(cutting_server, ends=(errors.ConnectionReset, errors.SessionClosedError))
async def a_reset_of_gemini_in_the_middle_of_a_frame(session: RealtimeSession) -> None:
    await session.send_audio(TONE)
    await read_out(session)


def closing_server(code: int, reason: str) -> Callable[[GeminiPeer], Awaitable[None]]:
    async def script(peer: GeminiPeer) -> None:
        await peer.expect_turn()
        await peer.speak("Let me", ms=80)
        await peer.tool_call(("slow", {"name": "zzzz"}))
        await peer.close(code, reason)

    return script


# In order, and for a fault.  Another code is another error.
CLOSE_CODES = (
    (1000, ""),
    (1007, "Request contains an invalid argument."),
)
for _code, _reason in CLOSE_CODES:

    async def _closed_by_gemini(session: RealtimeSession) -> None:
        await session.send_input(RealtimeTextChunk("look it up"))
        await read_out(session)

    _closed_by_gemini.__name__ = f"a_close_by_gemini_with_{_code}"
    case(
        closing_server(_code, _reason),
        tools=[slow],
        ends=(errors.LlmError,),
    )(_closed_by_gemini)
