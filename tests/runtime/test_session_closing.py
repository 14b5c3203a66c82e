"""How a session ends: by whom, in what order, how quickly, and that nothing is left."""

from __future__ import annotations

import threading
import traceback

import pytest
import trio
from runtimekit import (
    CONNECTORS,
    closing,
    kinds,
    linger,
    meeting,
    of,
    open_config,
    outcome,
    rest,
    serving,
    take,
    welcoming,
)
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from meerkat_rt import Lost, RealtimeTextChunk, SessionLimits, events
from meerkat_rt.runtime.errors import ConnectionReset, LlmError, SessionClosedError
from meerkat_rt.testing.quiescence import (
    NotQuiescent,
    assert_quiescent,
    quiescence_baseline,
    quiescent_after,
)

GRACE = SessionLimits().close_grace


@pytest.mark.parametrize("name", CONNECTORS)
async def test_leaving_the_block_closes_with_a_close_frame_and_leaves_nothing(
    name: str, autojump_clock
) -> None:
    async def script(peer) -> None:
        frame = await peer.expect_close()
        assert (frame.code, frame.reason) == (1000, "")

    with quiescent_after():
        async with meeting(script, name=name) as m:
            assert m.session.is_connected
            assert m.session.session_id == "sess_1"
            assert m.session.closed is None
    assert trio.current_time() == 0
    assert not m.session.is_connected
    assert m.session.closed.by == "application"
    assert m.session.closed.clean
    assert kinds(await rest(m.session)) == ["SessionClosed"]
    for _ in range(2):
        with assert_checkpoints():
            assert await m.session.next_event() is None
        with pytest.raises(StopAsyncIteration):
            await m.session.__anext__()


async def test_closing_is_idempotent_and_every_caller_returns_when_nothing_is_left(
    autojump_clock,
) -> None:
    ended: list[int] = []

    async def close(session, number: int) -> None:
        await session.aclose()
        assert session.closed is not None
        ended.append(number)

    async with meeting(linger) as m:
        with quiescent_after():  # the session's own tasks were there before: none may be there now
            async with trio.open_nursery() as nursery:
                for number in range(3):
                    nursery.start_soon(close, m.session, number)
        assert sorted(ended) == [0, 1, 2]
        assert m.wire.client.closed
        await m.session.close()
        with assert_checkpoints():
            await m.session.aclose()
        names = {task.name for nursery in trio.lowlevel.current_root_task().child_nurseries
                 for task in nursery.child_tasks}  # fmt: skip
        assert "supervisor" not in names
        assert closing(await rest(m.session)).by == "application"


@pytest.mark.parametrize("shape", ["plain", "in a nursery of its own", "in a child task"])
async def test_a_tool_may_close_its_own_session(shape: str, autojump_clock) -> None:
    seen: list[str] = []

    async def hang_up() -> str:
        try:
            match shape:
                case "plain":
                    await m.session.aclose()
                case "in a nursery of its own":
                    async with trio.open_nursery():
                        await m.session.aclose()
                case _:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(m.session.aclose)
        except BaseException as error:
            seen.append(type(error).__name__)
            raise
        raise AssertionError("the call went on after its session was closed")

    async def script(peer) -> None:
        await peer.tool_call_response(("hang_up", {}))
        await peer.expect_close()

    with quiescent_after():
        async with meeting(script, tools=[hang_up]) as m:
            read = await rest(m.session)
        assert trio.current_time() == 0
    (finished,) = of(read, events.ToolCallFinished)
    assert finished.outcome == "cancelled"
    assert closing(read) == events.CloseReason(by=events.ClosedBy.APPLICATION)
    assert seen in (["Cancelled"], ["BaseExceptionGroup"])


async def test_a_task_that_a_tool_has_left_with_the_application_may_close_too(
    autojump_clock,
) -> None:
    closed = trio.Event()

    async def close_later() -> None:
        await trio.sleep(1)
        await m.session.aclose()
        closed.set()

    async def hang_up_later() -> str:
        nursery.start_soon(close_later)
        return "in a second"

    async def script(peer) -> None:
        await peer.tool_call_response(("hang_up_later", {}))
        await peer.linger()

    async with meeting(script, tools=[hang_up_later]) as m, trio.open_nursery() as nursery:
        read = await rest(m.session)
        assert closing(read).by == "application"
        with trio.fail_after(5):
            await closed.wait()


async def test_a_sync_tool_may_close_its_session_from_its_thread() -> None:
    async def script(peer) -> None:
        await peer.tool_call_response(("hang_up", {}))
        await peer.linger()

    def hang_up() -> str:
        trio.from_thread.run(m.session.aclose)
        done.set()
        return "closed"

    done = threading.Event()
    async with meeting(script, tools=[hang_up]) as m:
        read = await rest(m.session)
        await trio.to_thread.run_sync(done.wait, 5)
    assert closing(read).by == "application"
    assert of(read, events.ToolCallFinished)[0].outcome == "cancelled"


# ---------------------------------------------------------------- how long it takes


@pytest.mark.parametrize("grace", [GRACE, 1.5])
@pytest.mark.parametrize("how", ["never answers", "never reads"])
@pytest.mark.parametrize("wire", ["memory", "lockstep", "tearing"])
@pytest.mark.parametrize("name", CONNECTORS)
async def test_a_peer_cannot_hold_the_close(
    how: str, wire: str, name: str, grace: float, autojump_clock
) -> None:
    told = trio.Event()

    async def script(peer) -> None:
        if how == "never answers":
            peer.socket.go_silent()
        else:
            peer.socket.stop_reading()
        told.set()
        await peer.linger()

    with quiescent_after():
        async with meeting(
            script,
            limits=SessionLimits(close_grace=grace),
            wire=wire,
            name=name,
            client_may_leave=True,
        ) as m:
            await told.wait()
            await m.session.send_audio(b"\0" * 4800)  # a write is in flight, or blocked
            await wait_all_tasks_blocked()
            began = trio.current_time()
            await m.session.aclose()
            assert trio.current_time() - began <= grace
            assert m.session.closed.clean


async def test_what_is_owed_is_written_before_the_close_frame(autojump_clock) -> None:
    async def script(peer) -> None:
        await peer.expect("conversation.item.create", item={"role": "user"})
        assert (await peer.expect_close()).code == 1000

    async with meeting(script) as m:
        await m.session.send_text("one last thing")


async def test_a_tool_that_shields_itself_is_named_and_is_the_only_thing_that_holds_the_close(
    autojump_clock,
) -> None:
    started = trio.Event()

    async def stubborn() -> str:
        with trio.CancelScope(shield=True):
            started.set()
            await trio.sleep(7)
        return "late"

    async def script(peer) -> None:
        await peer.tool_call_response(("stubborn", {}))
        await peer.linger()

    with quiescent_after():
        async with meeting(script, tools=[stubborn]) as m:
            await started.wait()
            began = trio.current_time()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(m.session.aclose)
                read = await take(m.session, events.ToolUnresponsive)
                assert trio.current_time() - began == SessionLimits().interrupt_grace
                assert m.session.closed is None
            assert trio.current_time() - began == 7
        read += await rest(m.session)
    (unresponsive,) = of(read, events.ToolUnresponsive)
    assert unresponsive.tool_name == "stubborn"
    assert unresponsive.grace_ms == 1000
    assert [finished.outcome for finished in of(read, events.ToolCallFinished)] == ["cancelled"]
    assert closing(read).unresponsive_tools == (unresponsive.call_id,)


async def test_a_sync_tool_is_abandoned_at_the_close_and_its_thread_is_named() -> None:
    release, started = threading.Event(), threading.Event()

    def block() -> str:
        started.set()
        release.wait(10)
        return "late"

    async def script(peer) -> None:
        await peer.tool_call_response(("block", {}))
        await peer.linger()

    try:
        before = quiescence_baseline()
        async with meeting(script, tools=[block]) as m:
            await trio.to_thread.run_sync(started.wait, 10)
        read = await rest(m.session)
        assert closing(read).abandoned_threads == ("tool block (call_1)",)
        assert of(read, events.ToolCallFinished)[0].outcome == "cancelled"
        with pytest.raises(NotQuiescent, match=r"tool block \(call_1\)"):
            assert_quiescent(before)
    finally:
        release.set()


async def test_closing_during_an_interruption_ends_both(autojump_clock) -> None:
    started = trio.Event()

    async def slow_to_die() -> str:
        started.set()
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.5)
        raise AssertionError

    async def script(peer) -> None:
        await peer.tool_call_response(("slow_to_die", {}))
        await peer.linger()

    async with meeting(script, tools=[slow_to_die]) as m, trio.open_nursery() as nursery:
        await take(m.session, events.TurnCompleted)
        await started.wait()
        nursery.start_soon(m.session.interrupt)
        await wait_all_tasks_blocked()
        nursery.start_soon(m.session.aclose)
        read = await rest(m.session)
        assert trio.current_time() == 0.5
    assert [finished.outcome for finished in of(read, events.ToolCallFinished)] == ["cancelled"]
    assert closing(read).unresponsive_tools == ()


# ---------------------------------------------------------------- waiting for what will not come


async def test_nobody_waits_for_a_closed_session(autojump_clock) -> None:
    ends: dict[str, object] = {}

    async def note(name: str, wait) -> None:
        try:
            ends[name] = await wait()
        except Exception as error:
            ends[name] = error

    async with meeting(linger) as m, trio.open_nursery() as nursery:
        request = await m.session.create_response()
        nursery.start_soon(note, "outcome", request.outcome)
        nursery.start_soon(note, "refresh", lambda: m.session.refresh_projection(open_config()))
        nursery.start_soon(note, "read", lambda: rest(m.session))
        await wait_all_tasks_blocked()
        await m.session.aclose()
    assert isinstance(ends["outcome"], Lost)
    assert isinstance(ends["refresh"], SessionClosedError)
    assert ends["refresh"].reason.by == "application"
    assert closing(ends["read"]).clean
    assert request.settled
    assert isinstance(await request.outcome(), Lost)


async def test_commands_that_wait_for_room_are_refused_when_the_session_closes(
    autojump_clock,
) -> None:
    async def script(peer) -> None:
        peer.socket.stop_reading()
        await peer.linger()

    refused: list[str] = []

    async def say(number: int) -> None:
        try:
            await m.session.send_text(f"text {number}")
        except SessionClosedError as error:
            refused.append(str(error))

    limits = SessionLimits(control_commands=2)
    async with (
        meeting(script, limits=limits, wire="lockstep", client_may_leave=True) as m,
        trio.open_nursery() as nursery,
    ):
        for number in range(10):
            nursery.start_soon(say, number)
            await wait_all_tasks_blocked()
        await m.session.aclose()
    assert len(refused) == 7  # one is being written, two wait in the lane
    assert set(refused) == {"the session was closed by the application"}


async def test_every_command_to_a_closed_session_is_refused(autojump_clock) -> None:
    async with meeting(linger) as m:
        session = m.session
    commands = [
        lambda: session.send_input(RealtimeTextChunk("x")),
        lambda: session.send_audio(b""),
        lambda: session.send_audio(b"\0\0"),
        lambda: session.send_text("x"),
        session.commit_turn,
        session.commit_audio,
        session.clear_audio,
        session.create_response,
        lambda: session.create_response(modality="smoke signals"),
        session.interrupt,
        lambda: session.truncate_assistant_output("item", 0, 0),
        lambda: session.submit_tool_error("call", "no"),
        lambda: session.refresh_projection(None),
    ]
    for command in commands:
        with pytest.raises(SessionClosedError) as raised:
            await command()
        assert isinstance(raised.value, LlmError)
        assert isinstance(raised.value, trio.ClosedResourceError)
        assert raised.value.reason == session.closed
    session.playback.report("item", 0, 10)  # late news is no command
    assert len(session.transcript) == 0
    assert "closed" in repr(session)


async def test_a_command_after_a_failure_says_what_the_session_failed_with(autojump_clock) -> None:
    """Who only sends must be able to tell whether to try again, as who reads is."""

    async def script(peer) -> None:
        await peer.cut_frame()

    async with meeting(script, client_may_leave=True) as m:
        _, failed = await outcome(m.session)
        assert isinstance(failed, ConnectionReset)
        with pytest.raises(SessionClosedError) as raised:
            await m.session.send_audio(bytes(960))
    assert raised.value.error is raised.value.__cause__ is failed
    assert raised.value.retryable
    assert not SessionClosedError().retryable


# ---------------------------------------------------------------- who ended it


async def test_a_clean_end_by_the_provider_comes_after_what_was_said(autojump_clock) -> None:
    async def script(peer) -> None:
        await peer.text_response("Goodbye then.")
        await peer.close(1000, "done")

    async with meeting(script) as m:
        await wait_all_tasks_blocked()
        assert not m.session.is_connected
        read = await rest(m.session)
        with pytest.raises(SessionClosedError, match="closed by the provider: done"):
            await m.session.send_text("x")
    assert kinds(read)[-1] == "SessionClosed"
    assert of(read, events.TurnCompleted)
    reason = closing(read)
    assert (reason.by, reason.code, reason.text, reason.clean) == ("provider", 1000, "done", True)


async def test_a_failure_is_raised_after_everything_queued_and_at_every_read_alike(
    autojump_clock,
) -> None:
    async def script(peer) -> None:
        for _ in range(50):
            await peer.text_response("One word after the other.")
        await peer.socket.drop()

    async with meeting(script) as m:
        await wait_all_tasks_blocked()
        read, error = await outcome(m.session)
        assert len(of(read, events.TurnCompleted)) == 50
        reason = closing(read)
        assert (reason.by, reason.clean) == ("network", False)
        assert isinstance(error, ConnectionReset)
        assert error.retryable
        lengths = set()
        for _ in range(5):
            with pytest.raises(ConnectionReset) as raised:
                await m.session.next_event()
            assert raised.value is error
            lengths.add(len(traceback.extract_tb(raised.value.__traceback__)))
        assert len(lengths) == 1, "the error drags its earlier raisings along"


@pytest.mark.parametrize("shielded", [False, True])
@pytest.mark.parametrize("name", CONNECTORS)
async def test_an_outer_cancellation_still_says_goodbye(
    name: str, shielded: bool, autojump_clock
) -> None:
    async def script(peer) -> None:
        assert (await peer.expect_close()).code == 1000

    with quiescent_after():
        async with serving(welcoming(script), name=name) as server:
            with trio.CancelScope() as scope:
                async with server.open() as session:
                    scope.cancel()
                    if shielded:
                        # The session closes under a body that cannot be cancelled, and tells it so.
                        with trio.CancelScope(shield=True):
                            assert closing(await rest(session)).text == "cancelled"
                    await trio.sleep_forever()
            assert scope.cancelled_caught
    assert session.closed == events.CloseReason(by=events.ClosedBy.APPLICATION, text="cancelled")
    assert trio.current_time() == 0
