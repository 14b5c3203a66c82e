"""Tools that fail, return and spawn in odd ways: one outcome a call, and the session lives."""

from __future__ import annotations

import math

import pytest
import trio
from runtimekit import closing, linger, meeting, of, rest, serving, take, welcoming

from meerkat_rt import events
from meerkat_rt.testing import quiescent_after


class Odd(BaseException):
    """Neither an error nor a wish to stop."""


async def group() -> str:
    raise ExceptionGroup("several", [ValueError("one"), ExceptionGroup("x", [KeyError("two")])])


async def group_with_a_stranger() -> str:
    raise BaseExceptionGroup("several", [ValueError("one"), Odd("two")])


async def generator_exit() -> str:
    raise GeneratorExit


async def stop_iteration() -> str:
    raise StopIteration("three")


async def stop_async_iteration() -> str:
    raise StopAsyncIteration("four")


async def stranger() -> str:
    raise Odd("five")


async def too_slow() -> str:
    with trio.fail_after(1):
        await trio.sleep(2)
    return "never"


async def cancelled_by_its_own_scope() -> str:
    with trio.CancelScope() as scope:
        scope.cancel()
        await trio.sleep(1)
    return "fine"


async def kept_cancelled() -> str:
    """A `Cancelled` that is raised again outside the scope that it belongs to."""
    kept = None
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.sleep(1)
        except trio.Cancelled as error:
            kept = error
            raise
    raise kept


async def deep() -> str:
    return await deep()


def numbers():
    async def generate():
        try:
            yield 1
            yield 2
        finally:
            await trio.lowlevel.checkpoint()

    return generate()


async def left_open() -> str:
    async for number in numbers():
        return str(number)
    return "none"


async def a_generator() -> object:
    return numbers()


async def not_json() -> object:
    return {"x": object()}


async def a_set() -> object:
    return {1, 2}


async def not_a_number() -> object:
    return math.nan


async def itself() -> object:
    loop: list = []
    loop.append(loop)
    return loop


async def bytes_of_it() -> object:
    return b"\xff"


async def big_integer() -> object:
    return 10**400


async def huge() -> str:
    return "x" * 5_000_000


async def large() -> str:
    return "x" * 4_000_000


async def wordy() -> str:
    raise ValueError("x" * 1_000_000)


async def deep_value() -> object:
    value: list = []
    for _ in range(1_000_000):  # from Python 3.14 on it is the stack that runs out, no count
        value = [value]
    return value


async def grouped_with_its_own_cancellation() -> str:
    """One of its tasks is cancelled by nobody but itself, another fails."""

    async def failing():
        raise GeneratorExit

    async def stray():
        await kept_cancelled()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(failing)
        nursery.start_soon(stray)
    return "never"


def plain_stop_iteration() -> str:
    raise StopIteration("six")


def plain_group() -> str:
    raise BaseExceptionGroup("several", [GeneratorExit(), ValueError("seven")])


@pytest.mark.parametrize(
    ("tool", "words"),
    [
        (group, "ValueError: one; KeyError: 'two'"),
        (generator_exit, "GeneratorExit"),
        (stop_iteration, "coroutine raised StopIteration"),
        (stop_async_iteration, "StopAsyncIteration: four"),
        (plain_stop_iteration, "RuntimeError: coroutine raised StopIteration"),
        (plain_group, "GeneratorExit; ValueError: seven"),
        (too_slow, "TooSlowError"),
        (kept_cancelled, "Cancelled"),
        (grouped_with_its_own_cancellation, "GeneratorExit"),
        (deep, "RecursionError"),
        (a_generator, "async_generator"),
        (not_json, "object"),
        (itself, "ecursion"),
        (deep_value, "ecursion"),
        (huge, "RequestTooLarge: the result cannot be sent (5000000 bytes, limit 4194304 bytes)"),
        (wordy, "xxx... (1000000 characters)"),
    ],
)
async def test_it_is_an_error_of_the_call_and_the_session_lives(tool, words, virtual_time):
    async def script(peer):
        (call_id,) = await peer.tool_call_response((tool.__name__, {}))
        assert words in (await peer.expect_tool_output(call_id))["error"]
        await peer.text_response("Sorry.", await peer.expect("response.create"))
        await linger(peer)

    with quiescent_after():
        async with meeting(script, tools=[tool]) as m:
            read = await take(m.session, events.TurnCompleted, events.TurnCompleted)
    assert [event.outcome for event in of(read, events.ToolCallFinished)] == ["error"]


@pytest.mark.parametrize(
    ("tool", "output"),
    [
        (cancelled_by_its_own_scope, "fine"),
        (a_set, [1, 2]),
        (not_a_number, None),
        (bytes_of_it, "/w=="),
        (big_integer, 10**400),
        (large, "x" * 4_000_000),
    ],
)
async def test_what_can_be_said_in_json_is_a_result(tool, output, autojump_clock):
    async def script(peer):
        (call_id,) = await peer.tool_call_response((tool.__name__, {}))
        assert await peer.expect_tool_output(call_id) == output
        await peer.text_response("Thanks.", await peer.expect("response.create"))
        await linger(peer)

    async with meeting(script, tools=[tool]) as m:
        read = await take(m.session, events.TurnCompleted, events.TurnCompleted)
    assert [event.outcome for event in of(read, events.ToolCallFinished)] == ["result"]


@pytest.mark.parametrize("tool", [stranger, group_with_a_stranger])
async def test_what_is_no_error_ends_the_session_and_comes_out_as_it_is(tool, autojump_clock):
    async def script(peer):
        await peer.tool_call_response((tool.__name__, {}))
        await linger(peer)

    with quiescent_after():
        async with serving(welcoming(script), client_may_leave=True) as server:
            with pytest.raises(BaseException) as caught:  # noqa: PT011
                async with server.open(tools=[tool]) as session:
                    await take(session, events.SessionClosed)
    assert Odd in map(type, leaves(caught.value))


def leaves(error):
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in leaves(each)]
    return [error]


async def test_a_call_that_raises_a_cancellation_of_its_own_takes_no_other_with_it(
    autojump_clock,
):
    async def slow() -> str:
        await trio.sleep(1)
        return "slept"

    async def script(peer):
        first, second = await peer.tool_call_response(("kept_cancelled", {}), ("slow", {}))
        assert "Cancelled" in (await peer.expect_tool_output(first))["error"]
        assert await peer.expect_tool_output(second) == "slept"
        await peer.text_response("Thanks.", await peer.expect("response.create"))
        await linger(peer)

    async with meeting(script, tools=[kept_cancelled, slow]) as m:
        read = await take(m.session, events.TurnCompleted, events.TurnCompleted)
    assert [event.outcome for event in of(read, events.ToolCallFinished)] == ["error", "result"]


async def test_a_close_is_not_held_up_by_a_call_that_raises_another_cancellation(autojump_clock):
    async def stubborn() -> str:
        try:
            await trio.sleep_forever()
        finally:
            await kept_cancelled()

    async def script(peer):
        await peer.tool_call_response(("stubborn", {}))
        await linger(peer)

    async with meeting(script, tools=[stubborn]) as m:
        await take(m.session, events.ToolCallRequested)
        await m.session.aclose()
        read = await rest(m.session)
    assert [event.outcome for event in of(read, events.ToolCallFinished)] == ["cancelled"]
    assert closing(read).clean


@pytest.mark.filterwarnings("ignore:.*garbage collected:ResourceWarning")
async def test_an_async_generator_that_a_tool_leaves_open_holds_nothing_up(autojump_clock):
    async def script(peer):
        (call_id,) = await peer.tool_call_response(("left_open", {}))
        assert await peer.expect_tool_output(call_id) == 1
        await peer.text_response("Thanks.", await peer.expect("response.create"))
        await linger(peer)

    async with meeting(script, tools=[left_open]) as m:
        await take(m.session, events.TurnCompleted, events.TurnCompleted)
    assert trio.current_time() < 1


async def test_a_task_that_a_tool_puts_into_a_nursery_of_the_application_is_the_applications(
    autojump_clock,
):
    ended = []

    async def outlives(session):
        try:
            await trio.sleep(1)
            await session.interrupt()  # is no part of the call any more
            await trio.sleep_forever()
        finally:
            ended.append(trio.current_time())

    async def spawn() -> str:
        nursery.start_soon(outlives, m.session)
        return "spawned"

    async def script(peer):
        (call_id,) = await peer.tool_call_response(("spawn", {}))
        assert await peer.expect_tool_output(call_id) == "spawned"
        await peer.text_response("Thanks.", await peer.expect("response.create"))
        await linger(peer)

    async with trio.open_nursery() as nursery:
        async with meeting(script, tools=[spawn]) as m:
            await take(m.session, events.TurnCompleted, events.TurnCompleted)
            await trio.sleep(5)
        assert closing(await rest(m.session)).clean
        assert not ended
        nursery.cancel_scope.cancel()
    assert len(ended) == 1
