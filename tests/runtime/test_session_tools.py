"""Tool calls of a live session: run beside the conversation, ended once, stopped with what they
belong to."""

from __future__ import annotations

import pytest
import trio
from runtimekit import EXPLICIT, closing, kinds, linger, meeting, of, open_config, rest, take
from trio.testing import wait_all_tasks_blocked

from meerkat_rt import (
    SessionLimits,
    ToolDef,
    ToolResult,
    events,
    tool,
)
from meerkat_rt.runtime import errors


def outcomes(read: list) -> dict[str, str]:
    return {event.tool_name: str(event.outcome) for event in of(read, events.ToolCallFinished)}


async def test_157_parallel_calls_run_together_and_are_continued_once(autojump_clock) -> None:
    async def slow(seconds: float) -> dict:
        await trio.sleep(seconds)
        return {"slept": seconds}

    async def script(peer) -> None:
        calls = [("slow", {"seconds": seconds}) for seconds in (3, 1, 2)]
        call_ids = await peer.tool_call_response(*calls)
        for index, seconds in ((1, 1), (2, 2), (0, 3)):
            output = await peer.expect_tool_output(call_ids[index])
            assert output == {"slept": seconds}
            assert trio.current_time() - began == seconds
        create = await peer.expect("response.create")
        await peer.text_response("All done.", create)
        await peer.expect_silence(5)
        await peer.linger()

    began = trio.current_time()
    async with meeting(script, tools=[slow]) as m:
        read = await take(m.session, *[events.ToolCallFinished] * 3)
        read += await take(m.session, events.TurnCompleted)
        await trio.sleep(6)
    assert [event.outcome for event in of(read, events.ToolCallFinished)] == ["result"] * 3
    assert [event.elapsed_ms for event in of(read, events.ToolCallFinished)] == [1000, 2000, 3000]


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("half", {"number": "seven"}, "number: 'seven' is not of type 'integer'"),
        ("half", {}, "'number' is a required property"),
        ("half", "not json", "the arguments are not JSON"),
        ("half", "[1]", "must be a JSON object"),
        ("double", {}, "there is no tool named 'double'; there is: half"),
        ("half", {"number": 7}, "ValueError: 7 is odd"),
    ],
)
async def test_093_159_what_goes_wrong_with_a_call_is_told_to_the_model_which_goes_on(
    name, arguments, words, autojump_clock
) -> None:
    async def half(number: int) -> int:
        if number % 2:
            raise ValueError(f"{number} is odd")
        return number // 2

    async def script(peer) -> None:
        (call_id,) = await peer.tool_call_response((name, arguments))
        assert words in (await peer.expect_tool_output(call_id))["error"]
        await peer.text_response("Sorry.", await peer.expect("response.create"))
        await peer.linger()

    async with meeting(script, tools=[half]) as m:
        read = await take(m.session, events.TurnCompleted, events.TurnCompleted)
    assert outcomes(read) == {name: "error"}


# ---------------------------------------------------------------- interruption


async def story(peer) -> None:
    """A spoken response that also calls every tool it knows, and goes on and on."""
    response = await peer.response()
    message = await response.message("audio")
    await message.speak("once upon a time there was", ms=300)
    for offered in peer.session["tools"]:
        await response.call(offered["name"], {})
    await peer.expect("response.cancel", response_id=response.id)
    await response.cancelled(message)
    await peer.linger()


async def test_an_interruption_treats_each_call_by_its_policy(autojump_clock) -> None:
    async def cancelled() -> str:
        await trio.sleep_forever()
        raise AssertionError

    async def silent() -> str:
        await trio.sleep(1)
        return "in silence"

    async def spoken() -> str:
        await trio.sleep(2)
        return "aloud"

    async def script(peer) -> None:
        peer.skipped = peer.skipped | {"conversation.item.truncate", "conversation.item.delete"}
        response = await peer.response()
        message = await response.message("audio")
        await message.speak("wait", ms=100)
        ids = [await response.call(each["name"], {}) for each in peer.session["tools"]]
        first = await peer.expect_one_of("response.cancel", "conversation.item.create")
        second = await peer.expect_one_of("response.cancel", "conversation.item.create")
        kinds_ = {first["type"], second["type"]}
        assert kinds_ == {"response.cancel", "conversation.item.create"}
        await response.cancelled(message)
        assert await peer.expect_tool_output(ids[1]) == "in silence"
        await peer.expect_silence(0.9)
        assert await peer.expect_tool_output(ids[2]) == "aloud"
        await peer.text_response("As I said.", await peer.expect("response.create"))
        await peer.linger()

    tools = [
        tool(cancelled),
        tool(silent, on_interrupt="finish_silently"),
        tool(spoken, on_interrupt="finish_and_respond"),
    ]
    async with meeting(script, tools=tools) as m:
        await take(m.session, *[events.ToolCallRequested] * 3)
        began = trio.current_time()
        await m.session.interrupt()
        assert trio.current_time() == began
        assert [call.tool.name for call in m.core.tools.running] == ["silent", "spoken"]
        read = await take(m.session, *[events.ToolCallFinished] * 3)
        read += await take(m.session, events.TurnCompleted)
    assert outcomes(read) == {"cancelled": "cancelled", "silent": "result", "spoken": "result"}


async def test_interrupt_returns_when_the_calls_have_ended_their_cleanup(autojump_clock) -> None:
    ended: list[str] = []

    async def tidy() -> str:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.3)
            ended.append("tidy")
        raise AssertionError

    async with meeting(story, tools=[tidy], client_may_leave=True) as m:
        await take(m.session, events.ToolCallRequested)
        await wait_all_tasks_blocked()
        began = trio.current_time()
        await m.session.interrupt()
        assert ended == ["tidy"]
        assert trio.current_time() - began == pytest.approx(0.3)
        read = await take(m.session, events.ToolCallFinished)
        assert not of(read, events.ToolUnresponsive)


async def test_a_call_that_does_not_stop_is_named_and_interrupt_returns_after_the_grace(
    autojump_clock,
) -> None:
    async def stubborn() -> str:
        with trio.CancelScope(shield=True):
            await trio.sleep(4)
        return "late"

    async with meeting(story, tools=[stubborn], client_may_leave=True) as m:
        await take(m.session, events.ToolCallRequested)
        await wait_all_tasks_blocked()
        began = trio.current_time()
        await m.session.interrupt()
        assert trio.current_time() - began == SessionLimits().interrupt_grace
        read = await take(m.session, events.ToolUnresponsive)
        assert outcomes(read) == {"stubborn": "cancelled"}
        assert m.core.unresponsive
        await m.session.interrupt()  # nothing is left to interrupt
        assert trio.current_time() - began == SessionLimits().interrupt_grace
        await trio.sleep(3.5)
        assert m.core.machine.late_tool_outcomes == 1
        assert m.core.unresponsive == {}
    assert closing(await rest(m.session)).unresponsive_tools == ()


@pytest.mark.parametrize("nested", [False, True])
async def test_a_call_that_interrupts_waits_for_the_others_and_then_is_cancelled(
    nested, autojump_clock
) -> None:
    order: list[str] = []

    async def other() -> str:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.5)
            order.append("other")
        raise AssertionError

    async def stop_all() -> str:
        await trio.sleep(1)
        try:
            if nested:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(m.session.interrupt)
            else:
                await m.session.interrupt()
        finally:
            order.append("stop_all")
        raise AssertionError("it was not cancelled")

    async with meeting(story, tools=[other, stop_all], client_may_leave=True) as m:
        read = await take(m.session, events.Interrupted, *[events.ToolCallFinished] * 2)
        await trio.sleep(1)
        assert order == ["other", "stop_all"]
        assert m.core.tools.running == ()
    assert outcomes(read) == {"other": "cancelled", "stop_all": "cancelled"}
    assert len(of(read, events.Interrupted)) == 1


async def test_two_calls_that_both_interrupt_do_not_wait_for_each_other(autojump_clock) -> None:
    async def one() -> str:
        await trio.sleep(1)
        await m.session.interrupt()
        raise AssertionError

    async def two() -> str:
        await trio.sleep(1)
        await m.session.interrupt()
        raise AssertionError

    async with meeting(story, tools=[one, two], client_may_leave=True) as m:
        read = await take(m.session, events.Interrupted, *[events.ToolCallFinished] * 2)
        await wait_all_tasks_blocked()
        assert m.core.tools.running == ()
        assert trio.current_time() == 1
    assert outcomes(read) == {"one": "cancelled", "two": "cancelled"}


async def test_a_call_that_was_cancelled_before_its_first_step_does_nothing(autojump_clock) -> None:
    began: list[str] = []

    async def eager() -> str:
        began.append("eager")  # before any checkpoint
        return "done"

    async with meeting(linger, tools=[eager]) as m:
        dispatch = m.core.tools
        dispatch.start("call", "eager", {})
        dispatch.cancel("call", "too late")
        await wait_all_tasks_blocked()
        assert dispatch.running == ()
    assert began == []


# ---------------------------------------------------------------- handlers with tasks of their own


async def test_a_handler_with_a_nursery_is_cancelled_like_any_other(autojump_clock) -> None:
    async def wide() -> str:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(trio.sleep_forever)
        raise AssertionError

    async with meeting(story, tools=[wide], client_may_leave=True) as m:
        await take(m.session, events.ToolCallRequested)
        await wait_all_tasks_blocked()
        await m.session.interrupt()
        assert m.core.tools.running == ()
        read = await take(m.session, events.ToolCallFinished)
    assert outcomes(read) == {"wide": "cancelled"}


@pytest.mark.parametrize("end", ["interrupt", "aclose"])
async def test_an_error_in_the_cleanup_of_a_cancelled_handler_is_not_the_sessions(
    end, autojump_clock
) -> None:
    async def messy() -> str:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise ZeroDivisionError("in the cleanup")

    async with meeting(story, tools=[messy], client_may_leave=True) as m:
        await take(m.session, events.ToolCallRequested)
        await wait_all_tasks_blocked()
        await getattr(m.session, end)()
        if end == "interrupt":
            await m.session.send_text("still there")
        read = await take(m.session, events.ToolCallFinished)
    assert outcomes(read) == {"messy": "cancelled"}
    assert m.session.closed.clean


async def test_the_errors_of_a_handlers_tasks_are_told_in_words(autojump_clock) -> None:
    async def fails() -> None:
        raise ValueError("no bread")

    async def shop() -> str:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails)
        return "never"

    async def script(peer) -> None:
        (call_id,) = await peer.tool_call_response(("shop", {}))
        assert await peer.expect_tool_output(call_id) == {"error": "ValueError: no bread"}
        await peer.linger()

    async with meeting(script, tools=[shop]) as m:
        await take(m.session, events.ToolCallFinished)
        await wait_all_tasks_blocked()


async def test_a_tool_may_use_its_session(autojump_clock) -> None:
    async def note() -> str:
        await m.session.send_text("noted")
        return "ok"

    async def script(peer) -> None:
        await peer.tool_call_response(("note", {}))
        await peer.expect_item(role="user", content=[{"type": "input_text", "text": "noted"}])
        await peer.expect_item(type="function_call_output", output="ok")
        await peer.expect("response.create")
        await peer.linger()

    async with meeting(script, tools=[note]) as m:
        await take(m.session, events.ToolCallFinished)
        await wait_all_tasks_blocked()


# ---------------------------------------------------------------- what the application answers


DEBT = open_config().with_visible_tools([ToolDef(name="ask_a_person")])


async def owed(peer, *, count: int = 1) -> list[str]:
    return await peer.tool_call_response(*[("ask_a_person", {})] * count)


async def test_118_122_a_result_is_sent_as_its_text_and_then_continued(autojump_clock) -> None:
    async def script(peer) -> None:
        (call_id,) = await owed(peer)
        create = await peer.expect_item()
        assert create["item"] == {
            "type": "function_call_output",
            "call_id": call_id,
            "output": '{"bread": true}',
        }
        await peer.expect("response.create", response={"output_modalities": ["audio"]})
        await peer.linger()

    async with meeting(script, config=DEBT) as m:
        (*_, called) = await take(m.session, events.ToolCallRequested)
        result = ToolResult(tool_use_id=called.call_id, content='{"bread": true}')
        await m.session.submit_tool_result(result)
        with pytest.raises(errors.ToolCallSettled):
            await m.session.submit_tool_result(result)
        with pytest.raises(errors.InvalidRequest, match="made no tool call 'nobody'"):
            await m.session.submit_tool_error("nobody", "x")
        await take(m.session, events.ToolCallFinished)
        await wait_all_tasks_blocked()


@pytest.mark.parametrize("how", ["error result", "submit_tool_error"])
async def test_119_120_reversed_an_error_is_continued_as_a_result_is(how, autojump_clock) -> None:
    async def script(peer) -> None:
        (call_id,) = await owed(peer)
        create = await peer.expect_item(call_id=call_id)
        expected = "closed" if how == "error result" else '{"error": "closed"}'
        assert create["item"]["output"] == expected
        await peer.expect("response.create")
        await peer.linger()

    async with meeting(script, config=DEBT) as m:
        (*_, called) = await take(m.session, events.ToolCallRequested)
        if how == "error result":
            result = ToolResult(tool_use_id=called.call_id, content="closed", is_error=True)
            await m.session.submit_tool_result(result)
        else:
            await m.session.submit_tool_error(called.call_id, "closed")
        read = await take(m.session, events.ToolCallFinished)
        assert outcomes(read) == {"ask_a_person": "error"}
        await wait_all_tasks_blocked()


async def test_158_reversed_a_call_without_a_handler_is_the_applications_debt(
    autojump_clock,
) -> None:
    async def script(peer) -> None:
        first, second = await owed(peer, count=2)
        await peer.expect_item(call_id=second)
        await peer.expect_silence(1)
        await peer.expect_item(call_id=first)
        await peer.expect("response.create")
        await peer.linger()

    async with meeting(script, config=DEBT) as m:
        read = await take(m.session, *[events.ToolCallRequested] * 2)
        first, second = of(read, events.ToolCallRequested)
        await m.session.submit_tool_error(second.call_id, "no")
        await trio.sleep(2)
        await m.session.submit_tool_error(first.call_id, "no")
        await wait_all_tasks_blocked()


async def test_an_answer_of_the_applications_stops_the_handler(autojump_clock) -> None:
    async def slow() -> str:
        await trio.sleep_forever()
        raise AssertionError

    async def script(peer) -> None:
        await peer.tool_call_response(("slow", {}))
        await peer.expect_item(output='{"error": "never mind"}')
        await peer.expect("response.create")
        await peer.linger()

    async with meeting(script, tools=[slow], mode=EXPLICIT) as m:
        (*_, called) = await take(m.session, events.ToolCallRequested)
        await wait_all_tasks_blocked()
        await m.session.submit_tool_error(called.call_id, "never mind")
        await wait_all_tasks_blocked()
        assert m.core.tools.running == ()
        assert "ToolCallFinished" in kinds(await take(m.session, events.ToolCallFinished))


async def test_a_task_that_a_call_has_left_with_the_application_waits_for_that_call_too(
    autojump_clock,
) -> None:
    order: list[str] = []

    async def stop_later() -> None:
        await trio.sleep(1)
        await m.session.interrupt()
        order.append("interrupted")

    async def work() -> str:
        nursery.start_soon(stop_later)
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.3)
            order.append("work ended")
        raise AssertionError

    async with (
        meeting(story, tools=[work], client_may_leave=True) as m,
        trio.open_nursery() as nursery,
    ):
        read = await take(m.session, events.ToolCallFinished)
        await trio.sleep(1)
        assert order == ["work ended", "interrupted"]
    assert outcomes(read) == {"work": "cancelled"}


@pytest.mark.parametrize("by", ["the server", "another task"])
async def test_an_interrupt_waits_for_what_another_one_has_stopped(by, autojump_clock):
    ended = []

    async def work() -> str:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.5)
            ended.append(trio.current_time())

    async def script(peer):
        response = await peer.response()
        await response.call("work", {})
        await trio.sleep(0.1)
        if by == "the server":
            await response.done("cancelled", reason="turn_detected")
        await linger(peer)

    async with meeting(script, tools=[work]) as m:
        await take(m.session, events.ToolCallRequested)
        async with trio.open_nursery() as nursery:
            if by == "another task":
                await trio.sleep(0.1)
                nursery.start_soon(m.session.interrupt)
            await take(m.session, events.Interrupted)
            await m.session.interrupt()
            assert ended


async def test_two_tools_that_interrupt_do_not_wait_for_each_other(autojump_clock):
    left = []

    async def hush(seconds: float) -> str:
        try:
            await trio.sleep(seconds)
        finally:
            with trio.CancelScope(shield=True):
                await m.session.interrupt()
            left.append(trio.current_time())
        return "hushed"

    async def script(peer):
        response = await peer.response()
        for seconds in (0.1, 10):
            await response.call("hush", {"seconds": seconds})
        await linger(peer)

    async with meeting(script, tools=[hush]) as m:
        read = await take(m.session, events.ToolCallFinished, events.ToolCallFinished)
        await m.session.interrupt()
        assert left == [0.1, 0.1]
    assert of(read + await rest(m.session), events.ToolUnresponsive) == []
