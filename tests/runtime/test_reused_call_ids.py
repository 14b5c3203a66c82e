"""A call id that a server uses again while the handler of the settled call still lives."""

from __future__ import annotations

import threading

import trio
from runtimekit import closing, linger, meeting, of, open_config, rest, take

from meerkat_rt import ToolDef, ToolResult, events

TURNS = [events.TurnCompleted] * 3


async def is_cut_off(peer, seconds, **arguments):
    """The first response calls, and is interrupted while the call runs."""
    response = await peer.response()
    await response.call("work", arguments, call_id="call_0")
    await trio.sleep(seconds)
    await response.done("cancelled", reason="turn_detected")
    await peer.expect_tool_output("call_0")


async def calls_again(peer, name="work", **arguments):
    """A second response calls with the id of the first one's call; what it is answered."""
    response = await peer.response()
    await response.call(name, arguments, call_id="call_0")
    await response.done()
    return await peer.expect_tool_output("call_0")


async def goes_on(peer):
    await peer.text_response("Done.", await peer.expect("response.create"))
    await linger(peer)


async def test_the_late_end_of_the_first_is_not_the_seconds(autojump_clock) -> None:
    async def work(text: str) -> str:
        try:
            await trio.sleep(0.5 if text == "two" else 100)
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.2)
            return "one, too late"
        return text.upper()

    async def script(peer):
        await is_cut_off(peer, 0.1, text="one")
        assert await calls_again(peer, text="two") == "TWO"
        await goes_on(peer)

    async with meeting(script, tools=[work]) as m:
        read = await take(m.session, *TURNS)
    outcomes = [each.outcome for each in of(read, events.ToolCallFinished)]
    assert outcomes == ["cancelled", "result"]


async def test_both_may_come_in_one_read(autojump_clock) -> None:
    async def work(text: str) -> str:
        await trio.sleep(1)
        return text.upper()

    async def script(peer):
        response = await peer.response()
        await response.call("work", {"text": "one"}, call_id="call_0")
        await trio.sleep(0.5)
        peer.socket.cork()
        await response.done("cancelled", reason="turn_detected")
        response = await peer.response()
        await response.call("work", {"text": "two"}, call_id="call_0")
        await response.done()
        await peer.socket.uncork()
        await peer.expect_tool_output("call_0")
        assert await peer.expect_tool_output("call_0") == "TWO"
        await goes_on(peer)

    async with meeting(script, tools=[work]) as m:
        read = await take(m.session, *TURNS)
    outcomes = [each.outcome for each in of(read, events.ToolCallFinished)]
    assert outcomes == ["cancelled", "result"]


async def test_a_first_one_that_does_not_end_is_named_at_the_close(autojump_clock) -> None:
    release = trio.Event()

    async def work(text: str) -> str:
        if text == "one":
            with trio.CancelScope(shield=True):
                await release.wait()
        return text.upper()

    async def script(peer):
        response = await peer.response()
        await response.call("work", {"text": "one"}, call_id="call_0")
        await response.done()
        await peer.expect_tool_output("call_0")  # it took too long
        await peer.text_response("Slow.", await peer.expect("response.create"))
        assert await calls_again(peer, text="two") == "TWO"
        await goes_on(peer)

    async def let_go():
        await trio.sleep(80)
        release.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(let_go)
        async with meeting(script, tools=[work], patience=100) as m:
            await take(m.session, *TURNS, events.TurnCompleted)
            await m.session.aclose()
            read = await rest(m.session)
    assert [each.tool_name for each in of(read, events.ToolUnresponsive)] == ["work"]
    assert closing(read).unresponsive_tools == ("call_0",)


async def test_a_thread_that_the_first_one_left_behind_is_still_counted(virtual_time) -> None:
    release = threading.Event()

    def work(text: str) -> str:
        if text == "one":
            release.wait(20)
        return text.upper()

    async def script(peer):
        await is_cut_off(peer, 1, text="one")
        assert await calls_again(peer, text="two") == "TWO"
        await goes_on(peer)

    try:
        async with meeting(script, tools=[work]) as m:
            await take(m.session, *TURNS)
        assert closing(await rest(m.session)).abandoned_threads == ("tool work (call_0)",)
    finally:
        release.set()


async def test_a_call_that_the_application_owes_is_not_answered_by_the_first_one(
    autojump_clock,
) -> None:
    async def work() -> str:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.2)
        return "one, too late"

    async def script(peer):
        await is_cut_off(peer, 0.1)
        assert await calls_again(peer, "owed") == "by the application"
        await goes_on(peer)

    owed = ToolDef(name="owed", description="", input_schema={"type": "object"})
    async with meeting(script, tools=[work], config=open_config().with_visible_tools((owed,))) as m:
        await take(m.session, events.Interrupted, events.TurnCompleted, events.ToolCallRequested)
        await trio.sleep(1)
        result = ToolResult(tool_use_id="call_0", content="by the application")
        await m.session.submit_tool_result(result)
        await take(m.session, events.TurnCompleted, events.TurnCompleted)
