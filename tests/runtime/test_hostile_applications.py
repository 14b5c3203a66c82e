"""Applications that do what they should not: the session survives it, or says what was wrong."""

from __future__ import annotations

import asyncio
import math

import pytest
import trio
from runtimekit import linger, meeting, of, open_config, take

from meerkat_rt import ToolDef, ToolResult, events
from meerkat_rt.runtime import errors


class Speechless(Exception):
    """An error that cannot even say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


async def speechless() -> str:
    raise Speechless


async def half_a_pair() -> str:
    return "\ud83d"


async def half_a_pair_in_a_result() -> ToolResult:
    return ToolResult(tool_use_id="", content="\ud83d")


async def half_a_pair_in_an_error() -> str:
    raise ValueError("\ud83d")


async def cancelled_in_asyncio() -> str:
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("tool", "words"),
    [
        (speechless, "Speechless"),
        (half_a_pair, "surrogates not allowed"),
        (half_a_pair_in_a_result, "surrogates not allowed"),
        (half_a_pair_in_an_error, "ValueError: \\ud83d"),
        (cancelled_in_asyncio, "CancelledError"),
    ],
)
async def test_a_tool_that_fails_in_the_oddest_way_ends_in_an_error_of_its_own(
    tool, words, autojump_clock
) -> None:
    async def script(peer) -> None:
        (call_id,) = await peer.tool_call_response((tool.__name__, {}))
        assert words in (await peer.expect_tool_output(call_id))["error"]
        await peer.text_response("Sorry.", await peer.expect("response.create"))
        await peer.linger()

    async with meeting(script, tools=[tool]) as m:
        read = await take(m.session, events.TurnCompleted, events.TurnCompleted)
    assert [event.outcome for event in of(read, events.ToolCallFinished)] == ["error"]


async def test_an_interrupt_in_a_tool_is_not_taken_for_its_outcome(autojump_clock) -> None:
    async def stopped() -> str:
        raise KeyboardInterrupt

    async def script(peer) -> None:
        await peer.tool_call_response(("stopped", {}))
        await peer.linger()

    with pytest.raises(KeyboardInterrupt):
        async with meeting(script, tools=[stopped], client_may_leave=True) as m:
            await take(m.session, events.SessionClosed)


async def test_what_cannot_be_sent_is_refused_and_the_call_stays_open(autojump_clock) -> None:
    call_id = "call_x"

    async def script(peer) -> None:
        response = await peer.response()
        await response.call("mine", {}, call_id=call_id)
        await response.done()
        assert await peer.expect_tool_output(call_id) == "fine"
        await peer.linger()

    config = open_config().with_visible_tools(
        [ToolDef(name="mine", description="", input_schema={"type": "object"})]
    )
    async with meeting(script, config=config) as m:
        await take(m.session, events.ToolCallRequested)
        bad = ToolResult(tool_use_id=call_id, content="\ud83d")
        with pytest.raises(errors.InvalidRequest, match="the result cannot be sent"):
            await m.session.submit_tool_result(bad)
        with pytest.raises(errors.InvalidRequest, match="error cannot be sent"):
            await m.session.submit_tool_error(call_id, "\ud83d")
        with pytest.raises(errors.InvalidRequest, match="error is None; allowed: a string"):
            await m.session.submit_tool_error(call_id, None)
        with pytest.raises(errors.RequestTooLarge, match="5000000 bytes, limit 4194304 bytes"):
            await m.session.submit_tool_error(call_id, "x" * 5_000_000)
        await m.session.submit_tool_result(ToolResult(tool_use_id=call_id, content="fine"))
        await take(m.session, events.ToolCallFinished)
        await trio.sleep(1)


@pytest.mark.parametrize("number", [math.nan, math.inf, -1, -0.5, 1.5, "1", None])
async def test_a_position_that_is_no_number_of_milliseconds_is_refused(
    number, autojump_clock
) -> None:
    async def script(peer) -> None:
        await peer.audio_response("Hello there", ms=200)
        await linger(peer)

    async with meeting(script) as m:
        chunk = (await take(m.session, events.OutputAudioChunk))[-1]
        await take(m.session, events.RateLimitsUpdated)
        with pytest.raises(errors.InvalidRequest, match="allowed: a whole number from 0"):
            m.session.playback.report(chunk.item_id, 0, number)
        with pytest.raises(errors.InvalidRequest, match="allowed: a whole number from 0"):
            await m.session.truncate_assistant_output(chunk.item_id, 0, number)
        with pytest.raises(errors.InvalidRequest, match="allowed: a whole number from 0"):
            await m.session.truncate_assistant_output(chunk.item_id, number, 0)
        m.session.playback.report(chunk.item_id, 0, 100.0)  # a computed one will do
        assert m.session.is_connected


# ---------------------------------------------------------------- another thread


async def read_all(session) -> None:
    async for _ in session:
        pass


FROM_ELSEWHERE = {
    "send_text": lambda session: session.send_text("hello"),
    "send_audio": lambda session: session.send_audio(bytes(960)),
    "create_response": lambda session: session.create_response(),
    "interrupt": lambda session: session.interrupt(),
    "next_event": lambda session: session.next_event(),
    "next_events": lambda session: session.next_events(),
    "async for": read_all,
    "send_text_and_wait": lambda session: session.send_text_and_wait("hello"),
    "collect_audio": lambda session: session.collect_audio(),
    "aclose": lambda session: session.aclose(),
}


@pytest.mark.parametrize("call", FROM_ELSEWHERE.values(), ids=FROM_ELSEWHERE)
async def test_a_call_from_another_run_is_refused_and_does_nothing(call) -> None:
    async def script(peer) -> None:
        await peer.expect_item(type="message")
        await peer.text_response("Yes.", await peer.expect("response.create"))
        await peer.linger()

    def elsewhere(session) -> None:
        with pytest.raises(RuntimeError, match="belongs to another Trio run"):
            trio.run(call, session)
        with pytest.raises(RuntimeError, match="belongs to another Trio run"):
            session.playback.report("item", 0, 10)

    async with meeting(script) as meet:
        await trio.testing.wait_all_tasks_blocked()
        await trio.to_thread.run_sync(elsewhere, meet.session)
        with trio.fail_after(5):
            read = await meet.session.send_text_and_wait("hello")
    assert of(read, events.TurnCompleted)
