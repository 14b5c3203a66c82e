"""What comes out of the block around a session: its own exception, as if there were no tasks."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
import trio
from runtimekit import linger, meeting, open_config, provider, serving, take, welcoming
from trio.testing import wait_all_tasks_blocked

from meerkat_rt import (
    Lost,
    OpenAIRealtime,
    RealtimeExternalSessionTarget,
    RealtimeTurningMode,
    SessionLimits,
    attach_external_session,
    events,
    open_session,
)
from meerkat_rt.testing.quiescence import quiescent_after


class Own(Exception):
    pass


async def run_block(body, *, script=linger, tools=()):
    """Open a session and run `body(session)` in its block; the exception that comes out."""
    with quiescent_after():
        async with serving(welcoming(script), client_may_leave=True) as server:
            try:
                async with server.open(tools=tools) as session:
                    await body(session)
            except BaseException as error:
                return session, error
            return session, None


async def test_the_blocks_exception_comes_out_bare_with_its_own_context(autojump_clock) -> None:
    cause, context = KeyError("cause"), ValueError("context")
    own = Own("mine")

    async def body(session) -> None:
        try:
            raise context
        except ValueError:
            raise own from cause

    session, error = await run_block(body)
    assert error is own
    assert error.__context__ is context
    assert error.__cause__ is cause
    assert session.closed == events.CloseReason(by=events.ClosedBy.APPLICATION)


async def test_an_exception_without_context_gets_none_from_us(autojump_clock) -> None:
    async def body(session) -> None:
        await trio.lowlevel.checkpoint()
        raise Own

    _, error = await run_block(body)
    assert isinstance(error, Own)
    assert error.__context__ is None


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit, StopAsyncIteration])
async def test_interrupts_and_odd_exceptions_come_out_untouched(kind, autojump_clock) -> None:
    own = kind("odd")

    async def body(session) -> None:
        await session.send_text("x")
        raise own

    session, error = await run_block(body)
    assert error is own
    assert session.closed.by == "application"


async def test_a_group_of_the_applications_comes_out_as_it_is(autojump_clock) -> None:
    own = ExceptionGroup("mine", [Own("one")])

    async def body(session) -> None:
        raise own

    _, error = await run_block(body)
    assert error is own


async def test_a_cancellation_comes_out_bare(autojump_clock) -> None:
    seen: list[BaseException] = []

    async with serving(welcoming(linger), client_may_leave=True) as server:
        with trio.CancelScope() as scope:
            try:
                async with server.open():
                    scope.cancel()
                    await trio.sleep_forever()
            except BaseException as error:
                seen.append(error)
                raise
    assert [type(error) for error in seen] == [trio.Cancelled]
    assert scope.cancelled_caught


async def test_an_error_in_a_cancelled_block_wins_over_the_cancellation(autojump_clock) -> None:
    own = Own()
    async with serving(welcoming(linger), client_may_leave=True) as server:
        with trio.CancelScope() as scope, pytest.raises(Own) as raised:
            async with server.open():
                scope.cancel()
                try:
                    await trio.sleep_forever()
                finally:
                    raise own
    assert raised.value is own


async def test_a_cancellation_caught_inside_the_block_is_none_of_the_sessions_business(
    autojump_clock,
) -> None:
    async def body(session) -> None:
        with trio.move_on_after(1):
            await session.next_event()
        assert session.closed is None

    session, error = await run_block(body)
    assert error is None
    assert session.closed.text == ""


async def test_an_error_of_a_task_of_the_block_keeps_the_blocks_own_group(autojump_clock) -> None:
    async def fail() -> None:
        raise Own

    async def body(session) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.next_event)
            nursery.start_soon(fail)

    _, error = await run_block(body)
    assert isinstance(error, ExceptionGroup)
    assert [type(leaf) for leaf in error.exceptions] == [Own]


# ---------------------------------------------------------------- our own failures


def break_machine(session) -> None:
    """Plant a bug: the next event of the provider's makes the machine raise."""

    def observe(event, now) -> None:
        raise ZeroDivisionError("a bug")

    session._core.machine.observe_all = observe


async def hello_once(peer) -> None:
    await peer.expect("conversation.item.create")
    await peer.text_response("hello")
    await peer.linger()


async def test_a_bug_of_ours_cancels_the_block_and_comes_out_bare(autojump_clock) -> None:
    ends: list[object] = []

    async def body(session) -> None:
        request = await session.create_response()
        break_machine(session)
        await session.send_text("x")
        try:
            await trio.sleep_forever()
        finally:
            with trio.move_on_after(10, shield=True):
                ends.append(await request.outcome())

    async def script(peer) -> None:
        await peer.expect("response.create")
        await hello_once(peer)

    session, error = await run_block(body, script=script)
    assert isinstance(error, ZeroDivisionError)
    assert session.closed.by == "runtime"
    assert session.closed.text == "internal error: the receiver ended before the session"
    assert not session.closed.clean
    assert ends == [Lost(reason="the session was closed")]


async def test_where_block_and_session_both_fail_they_come_as_a_group(autojump_clock) -> None:
    own = Own()

    async def body(session) -> None:
        break_machine(session)
        await session.send_text("x")
        try:
            await trio.sleep_forever()
        finally:
            raise own

    _, error = await run_block(body, script=hello_once)
    assert isinstance(error, ExceptionGroup)
    assert [type(leaf) for leaf in error.exceptions] == [Own, ZeroDivisionError]
    assert error.exceptions[0] is own


async def test_a_transport_that_fails_to_close_holds_nobody(autojump_clock) -> None:
    """What its library left running in our nursery is stopped all the same."""

    class Broken:
        name = "broken"

        async def connect(self, target, *, nursery):
            transport = await real.connect(target, nursery=nursery)
            nursery.start_soon(trio.sleep_forever)

            async def aclose() -> None:
                await close()
                raise OSError("not closed")

            close, transport.aclose = transport.aclose, aclose
            return transport

    async with serving(welcoming(linger)) as server:
        real = provider(server.wire.client).connector
        broken = OpenAIRealtime(api_key="k", base_url="ws://peer", connector=Broken())
        with trio.fail_after(5), quiescent_after(), pytest.raises(OSError, match="not closed"):
            async with open_session(open_config(), provider=broken) as session:
                await session.send_text("x")
        assert session.closed is not None


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("nested", [False, True])
async def test_an_interrupt_in_a_tool_is_no_outcome_of_the_call(
    kind, nested, autojump_clock
) -> None:
    async def interrupted() -> str:
        await trio.lowlevel.checkpoint()
        if nested:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                raise kind("now")
        raise kind("now")

    async def script(peer) -> None:
        await peer.tool_call_response(("interrupted", {}))
        await peer.linger()

    async def body(session) -> None:
        await take(session, events.SessionClosed)

    session, error = await run_block(body, script=script, tools=[interrupted])
    assert type(error) is kind
    assert session.closed is not None


async def test_a_failed_session_raises_where_it_is_read_and_nowhere_else(autojump_clock) -> None:
    async def script(peer) -> None:
        await peer.socket.drop()

    async with meeting(script) as m:
        await wait_all_tasks_blocked()
        assert m.session.closed is not None
    assert not m.session.closed.clean  # and the block was left without an exception


@pytest.mark.parametrize("order", ["watcher first", "block first"])
async def test_a_block_that_is_cancelled_between_commands_is_not_told_that_it_closed_the_session(
    order, autojump_clock
) -> None:
    """The session hears of the cancellation by a task of its own, maybe before the block does."""
    async with serving(welcoming(linger), client_may_leave=True) as server:
        with trio.CancelScope() as scope:
            async with server.open() as session:
                scope.cancel()
                if order == "watcher first":
                    await trio.lowlevel.cancel_shielded_checkpoint()
                    await trio.lowlevel.cancel_shielded_checkpoint()
                await session.send_text("x")
        assert scope.cancelled_caught


@pytest.mark.parametrize("fill", [0, 5])
async def test_a_deadline_around_a_busy_block_is_only_a_deadline(fill, autojump_clock) -> None:
    async def script(peer) -> None:
        if fill:
            peer.socket.stop_reading()
        await peer.linger()

    limits = SessionLimits(control_commands=fill + 1)
    async with serving(welcoming(script), client_may_leave=True, wire="lockstep") as server:
        with trio.move_on_after(0.5) as scope:
            async with server.open(limits=limits) as session, trio.open_nursery() as nursery:

                async def busy(command) -> None:
                    while True:
                        await command()
                        await trio.sleep(0.01)

                nursery.start_soon(busy, lambda: session.send_text("x"))
                nursery.start_soon(busy, lambda: session.send_audio(b"\0\0"))
                nursery.start_soon(busy, session.interrupt)
                nursery.start_soon(busy, session.create_response)
        assert scope.cancelled_caught


# ---------------------------------------------------------------- who forgets to enter it

ENTER = r"write `async with open_session\(\.\.\.\) as session:` and use `session`"


def unentered():
    return open_session(open_config(), provider=OpenAIRealtime(api_key="k"))


async def test_a_session_that_was_not_entered_says_how_it_is() -> None:
    session = unentered()
    with pytest.raises(AttributeError, match=f"'send_text' is the open session's; {ENTER}"):
        await session.send_text("hello?")
    with pytest.raises(TypeError, match=f"is not awaited but entered; {ENTER}"):
        await session
    with pytest.raises(TypeError, match=f"the events are the open session's; {ENTER}"):
        async for _ in session:
            raise AssertionError("an event")
    with pytest.raises(TypeError, match=f"wants `async with`; {ENTER}"), session:
        raise AssertionError("entered")


async def test_so_does_one_that_was_to_be_attached_to() -> None:
    session = attach_external_session(
        RealtimeExternalSessionTarget("rtc_1"),
        RealtimeTurningMode.PROVIDER_MANAGED,
        provider=OpenAIRealtime(api_key="k"),
    )
    with pytest.raises(AttributeError, match=r"`async with attach_external_session\(\.\.\.\) as"):
        await session.aclose()


async def test_a_session_is_entered_once(autojump_clock) -> None:
    async with serving(welcoming(linger), client_may_leave=True) as server:
        block = open_session(open_config(), provider=provider(server.wire.client))
        async with block as session:
            with pytest.raises(RuntimeError, match=r"call open_session\(\.\.\.\) again"):
                async with block:
                    raise AssertionError("entered")
            assert session.is_connected
        with pytest.raises(RuntimeError, match="was entered before"):
            await block.__aenter__()


async def test_it_enters_and_leaves_as_any_block_does(autojump_clock) -> None:
    async with (
        serving(welcoming(linger), client_may_leave=True) as server,
        AsyncExitStack() as stack,
    ):
        session = await stack.enter_async_context(
            open_session(open_config(), provider=provider(server.wire.client))
        )
        assert session.is_connected
        await stack.aclose()
        assert session.closed is not None
