"""The twelve ways in which peers of this runtime were seen to break when something is cancelled.

Each is a scenario of the sweep, so it is cancelled at every step besides what it shows by itself.
Three belong to reconnection; here they have the form that they can take with one connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from ...model import events as ev
from ...model.media import RealtimeTextChunk
from ...runtime import errors
from ...runtime.tools import tool
from ...turn.effects import Lost, Superseded
from ...turn.input import UNINTELLIGIBLE
from .bodies import read_out, slow, take
from .openai import TONE, scenarios_of
from .stage import EndedEarly, this_session

if TYPE_CHECKING:
    from ...runtime.session import RealtimeSession
    from ..openai_peer import OpenAIPeer

case = scenarios_of("hazards")


# ---------------------------------------------------------------- 1: a tool closes its own session


async def say_goodbye() -> str:
    """End the conversation."""
    await this_session().aclose()
    raise AssertionError("a tool outlived its session")


async def two_calls(peer: OpenAIPeer) -> None:
    await peer.expect("response.create")
    await peer.tool_call_response(("say_goodbye", {}), ("say_goodbye", {}))
    await peer.linger()


@case(two_calls, tools=[say_goodbye])
async def hazard_01_two_tools_close_their_own_session(session: RealtimeSession) -> None:
    await session.create_response()
    await read_out(session)
    assert session.closed is None or session.closed.by is ev.ClosedBy.APPLICATION


# ---------------------------------------------------------------- 2: closing is cancelled half-way


async def no_goodbye(peer: OpenAIPeer) -> None:
    await peer.expect("input_audio_buffer.append")
    peer.socket.stop_reading()
    await trio.sleep(60)


@case(no_goodbye, unwind=0.25)
async def hazard_02_a_close_that_is_cancelled_still_closes(session: RealtimeSession) -> None:
    await session.send_audio(TONE)
    with trio.move_on_after(0.1):
        await session.aclose()
    await session.aclose()
    assert not session.is_connected


# ---------------------------------------------------------------- 3, 4: cancelled while dialling


async def slow_to_answer(peer: OpenAIPeer) -> None:
    await trio.sleep(2)
    await peer.accept()
    await trio.sleep(2)
    await peer.session_created()
    await trio.sleep(2)
    await peer.session_updated(await peer.expect("session.update"))
    await peer.linger()


@case(slow_to_answer, greeted=False)
async def hazard_03_and_04_a_slow_dial(session: RealtimeSession) -> None:
    assert session.is_connected


# ---------------------------------------------------------------- 5: the peer stops reading


@case(no_goodbye, unwind=0.25)
async def hazard_05_the_peer_reads_nothing_while_we_close(session: RealtimeSession) -> None:
    for _ in range(50):
        await session.send_audio(TONE)
    start = trio.current_time()
    await session.aclose()
    assert trio.current_time() - start <= 0.26


# ---------------------------------------------------------------- 6: a drop while somebody waits


async def dropping(peer: OpenAIPeer) -> None:
    await peer.response(await peer.expect("response.create"))
    await trio.sleep(0.5)
    await peer.socket.drop()


@case(dropping, ends=(errors.ConnectionReset,))
async def hazard_06_the_socket_drops_while_a_turns_end_is_awaited(
    session: RealtimeSession,
) -> None:
    request = await session.create_response()
    with trio.fail_after(2):
        assert isinstance(await request.outcome(), Lost)
    await read_out(session)
    raise EndedEarly("a lost connection looked like a clean end")


# ---------------------------------------------------------------- 7: between result and sending


async def result_then_silence(peer: OpenAIPeer) -> None:
    peer.skipped |= {"response.cancel"}  # comes where the interrupt is quicker than the terminal
    await peer.expect("response.create")
    (call,) = await peer.tool_call_response(("slow", {"name": "a"}))
    await peer.expect_tool_output(call)
    await peer.linger()


@case(result_then_silence, tools=[tool(slow, on_interrupt="finish_silently")])
async def hazard_07_an_interrupt_between_a_result_and_what_follows_it(
    session: RealtimeSession,
) -> None:
    await session.create_response()
    await take(session, ev.ToolCallRequested)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.interrupt)
        await take(session, ev.ToolCallFinished)
    await session.interrupt()
    await trio.sleep(1)


# ---------------------------------------------------------------- 8: a warning, then silence


async def silent_for_ever(peer: OpenAIPeer) -> None:
    await peer.user_turn("are you there?")
    peer.socket.stop_reading()
    await trio.sleep(300)


@case(silent_for_ever, unwind=0.25, ends=(errors.TransportStalled,))
async def hazard_08_a_server_that_falls_silent_is_noticed_by_a_timer(
    session: RealtimeSession,
) -> None:
    with trio.fail_after(60):
        while await session.next_event() is not None:
            pass
    raise EndedEarly("the silence looked like a clean end")


# ---------------------------------------------------------------- 9: before `response.created`


async def late_response(peer: OpenAIPeer) -> None:
    create = await peer.expect("response.create")
    await trio.sleep(1)
    response = await peer.response(create)
    await peer.expect("response.cancel", response_id=response.id)
    await response.cancelled()
    await peer.linger()


@case(late_response)
async def hazard_09_an_interrupt_before_the_response_exists(session: RealtimeSession) -> None:
    request = await session.create_response()
    await trio.sleep(0.5)
    await session.interrupt()
    assert isinstance(await request.outcome(), Superseded)
    await take(session, ev.TurnCompleted)


# ---------------------------------------------------------------- 10: cancellation is swallowed


async def stubborn() -> str:
    """Ignore that it was cancelled."""
    try:
        await trio.sleep(30)
    except trio.Cancelled:
        return "anyway"
    return "done"


async def interrupted_call(peer: OpenAIPeer) -> None:
    await peer.expect("response.create")
    (call,) = await peer.tool_call_response(("stubborn", {}))
    await peer.expect_tool_output(call)
    await peer.linger()


@case(interrupted_call, tools=[stubborn], spare=("tool stubborn",))
async def hazard_10_a_tool_that_swallows_its_cancellation(session: RealtimeSession) -> None:
    await session.create_response()
    await take(session, ev.ToolCallRequested, ev.TurnCompleted)
    await session.interrupt()
    (finished,) = (await take(session, ev.ToolCallFinished))[-1:]
    assert finished.outcome is ev.ToolOutcome.CANCELLED


# ---------------------------------------------------------------- 11: items out of order


async def disordered(peer: OpenAIPeer) -> None:
    for item_id, previous in (("b", "a"), ("b", "a"), ("a", "never"), ("c", "b")):
        place = {"item_id": item_id, "previous_item_id": previous}
        await peer.send({"type": "input_audio_buffer.committed", **place})
        await peer.send(
            {
                "type": "conversation.item.added",
                "previous_item_id": previous,
                "item": {
                    "id": item_id,
                    "type": "message",
                    "role": "user",
                    "status": "completed",
                    "content": [{"type": "input_audio", "transcript": None}],
                },
            }
        )
    for item_id in ("c", "a", "b", "b"):
        await peer.transcribed(item_id, item_id.upper(), deltas=False)
    await peer.linger()


@case(disordered)
async def hazard_11_items_come_doubled_reordered_and_without_predecessor(
    session: RealtimeSession,
) -> None:
    read = await take(session, *[ev.MessageCommitted] * 3)
    said = [
        event.message.text_content() for event in read if isinstance(event, ev.MessageCommitted)
    ]
    if UNINTELLIGIBLE in said:
        raise EndedEarly("the session ended before it knew the words")
    assert sorted(said) == ["A", "B", "C"]


# ---------------------------------------------------------------- 12: an error with events queued


async def fatal_after_words(peer: OpenAIPeer) -> None:
    await peer.item_created(await peer.expect("conversation.item.create"))
    await peer.text_response("These words were said.", await peer.expect("response.create"))
    await peer.fail("session_expired")


@case(fatal_after_words, ends=(errors.SessionExpired,))
async def hazard_12_a_fatal_error_comes_after_what_was_queued(session: RealtimeSession) -> None:
    await session.send_input(RealtimeTextChunk("hello"))
    await trio.sleep(1)
    read = await take(session, ev.SessionClosed)
    words = "".join(e.delta for e in read if isinstance(e, ev.OutputTextDeltaForItem))
    try:
        await session.next_event()
    except errors.SessionExpired:
        assert words == "These words were said."
        raise
    raise EndedEarly("a fatal error looked like a clean end")
