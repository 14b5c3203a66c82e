"""Calls of tools: several at once, and tools that close or interrupt their own session."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from ...model import events as ev
from .bodies import read_out, slow, take
from .openai import scenarios_of
from .stage import this_session

if TYPE_CHECKING:
    from ...runtime.session import RealtimeSession
    from ..openai_peer import OpenAIPeer

case = scenarios_of("tool calls")


async def three_calls_server(peer: OpenAIPeer) -> None:
    await peer.expect("response.create")
    calls = await peer.tool_call_response(
        ("slow", {"name": "a"}), ("slow", {"name": "bb"}), ("slow", {"name": "ccc"})
    )
    for call_id in calls:
        await peer.expect_tool_output(call_id)
    await peer.audio_response("Done.", create=await peer.expect("response.create"))
    await peer.linger()


@case(three_calls_server, tools=[slow])
async def a_tool_turn_with_three_parallel_calls(session: RealtimeSession) -> None:
    await session.create_response()
    await take(session, ev.TurnCompleted, ev.TurnCompleted)


async def one_call_server(peer: OpenAIPeer) -> None:
    await peer.expect("response.create")
    await peer.tool_call_response(("hang_up", {}))
    await peer.linger()


async def hang_up() -> str:
    """End the call."""
    await trio.sleep(0.1)
    await this_session().aclose()
    raise AssertionError("a tool outlived its session")


@case(one_call_server, tools=[hang_up], spare=("tool hang_up",))
async def a_close_from_inside_a_tool(session: RealtimeSession) -> None:
    await session.create_response()
    await read_out(session)


async def stop_everything() -> str:
    """Interrupt the model."""
    await trio.sleep(0.1)
    await this_session().interrupt()
    raise AssertionError("a tool outlived its own interruption")


async def interrupting_call_server(peer: OpenAIPeer) -> None:
    await peer.expect("response.create")
    calls = await peer.tool_call_response(("stop_everything", {}), ("slow", {"name": "zzzzz"}))
    for call_id in calls:
        await peer.expect_tool_output(call_id)
    await peer.linger()


@case(interrupting_call_server, tools=[stop_everything, slow])
async def an_interruption_from_inside_a_tool(session: RealtimeSession) -> None:
    await session.create_response()
    await take(session, ev.ToolCallFinished, ev.ToolCallFinished)
