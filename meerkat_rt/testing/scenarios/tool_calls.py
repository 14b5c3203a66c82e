"""Calls of tools: several at once, and tools that close or interrupt their own session."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from ...model import events as ev
from .. import openai_frames as frames
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


async def stubborn_calls_server(peer: OpenAIPeer) -> None:
    await peer.expect("response.create")
    await peer.tool_call_response(("stop_everything", {}), ("deaf", {}))
    for _ in range(2):
        await peer.expect("conversation.item.create")
    await peer.linger()


DEAF = 3.0  # virtual seconds


async def deaf() -> str:
    """Take no notice of anything for a while."""
    with trio.CancelScope(shield=True):  # ended by the sleep
        await trio.sleep(DEAF)
    return "what?"


@case(
    stubborn_calls_server,
    tools=[stop_everything, deaf],
    unwind=DEAF,
    spare=("tool stop_everything", "tool deaf"),
)
async def an_interruption_with_a_call_that_does_not_stop(session: RealtimeSession) -> None:
    await session.create_response()
    await take(session, ev.ToolUnresponsive)


async def quick(name: str) -> str:
    """Answer at once."""
    await trio.lowlevel.checkpoint()
    return name


async def dawdling_server(peer: OpenAIPeer) -> None:
    response = await peer.response(await peer.expect("response.create"))
    for name in ("a", "b"):
        await response.call("quick", {"name": name})
        await peer.expect("conversation.item.create")
    await trio.sleep(0.1)
    peer.skipped |= {"conversation.item.create"}  # an output that comes again is seen by the checks
    await response.done()
    await peer.audio_response("Done.", create=await peer.expect("response.create"))
    await peer.linger()


@case(dawdling_server, tools=[quick])
async def calls_that_are_quicker_than_their_response(session: RealtimeSession) -> None:
    await session.create_response()
    await take(session, ev.TurnCompleted, ev.TurnCompleted)


async def hasty_server(peer: OpenAIPeer) -> None:
    response = await peer.response(await peer.expect("response.create"))
    # The third comes just when the dispatch, which has started the first two, is about to sleep.
    for index, call_id in enumerate(("call_a", "call_b", "call_c")):
        item = frames.call_item(
            peer.new_id("item"),
            "completed",
            call_id=call_id,
            name="quick",
            arguments='{"name":"z"}',
        )
        where = {"response_id": response.id, "output_index": index}
        await peer.send({"type": "response.output_item.done", **where, "item": item})
    peer.skipped |= {"conversation.item.create", "response.create"}  # the body says what matters
    await response.done()
    await peer.linger()


@case(hasty_server, tools=[quick])
async def calls_that_follow_each_other_closely(session: RealtimeSession) -> None:
    await session.create_response()
    await take(session, *3 * [ev.ToolCallFinished])
