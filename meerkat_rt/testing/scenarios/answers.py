"""Applications that wait for a whole answer, which comes, or does not, or tells of more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...runtime.errors import Unanswered
from .bodies import slow
from .openai import scenarios_of

if TYPE_CHECKING:
    from ...runtime.session import RealtimeSession
    from ..openai_peer import OpenAIPeer

case = scenarios_of("answers")


async def answering_server(peer: OpenAIPeer) -> None:
    await peer.expect_item(type="message")
    create = await peer.expect("response.create")
    (call_id,) = await peer.tool_call_response(("slow", {"name": "a"}), create=create)
    await peer.expect_tool_output(call_id)
    await peer.audio_response("Done.", create=await peer.expect("response.create"))
    await peer.linger()


@case(answering_server, tools=[slow])
async def a_wait_for_an_answer_past_its_tools(session: RealtimeSession) -> None:
    read = await session.send_text_and_wait("do it")
    assert read, "an answer without an event"


async def silent_server(peer: OpenAIPeer) -> None:
    await peer.expect_item(type="message")
    create = await peer.expect("response.create")
    (call_id,) = await peer.tool_call_response(("slow", {"name": "a"}), create=create)
    await peer.expect_tool_output(call_id)
    await peer.linger()


@case(silent_server, tools=[slow])
async def a_wait_for_an_answer_that_does_not_go_on(session: RealtimeSession) -> None:
    try:
        await session.send_text_and_wait("do it")
    except Unanswered:
        return
    raise AssertionError("an answer that nobody gave")


async def interrupted_server(peer: OpenAIPeer) -> None:
    await peer.expect("response.create")
    await peer.tool_call_response(("slow", {"name": "aaaaaaaa"}))
    item_id = await peer.speech_started()
    await peer.item_created(await peer.expect("conversation.item.create"))
    await peer.speech_stopped(item_id)
    await peer.committed(item_id)
    await peer.audio_response("Both are done.")
    await peer.linger()


@case(interrupted_server, tools=[slow])
async def a_tool_that_is_done_while_the_user_speaks(session: RealtimeSession) -> None:
    await session.create_response()
    assert await session.collect_audio(), "an answer without sound"
