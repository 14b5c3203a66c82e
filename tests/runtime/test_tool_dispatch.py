"""Tool dispatch: every call is reported once, however it ends."""

from __future__ import annotations

import threading

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from meerkat_rt.runtime.tool_dispatch import ToolDispatch, current_call
from meerkat_rt.runtime.tools import ToolSet


class Reports:
    def __init__(self, *functions: object) -> None:
        self.said: list[tuple[str, ...]] = []
        self.dispatch = ToolDispatch(
            ToolSet(functions),
            returned=lambda result: self.said.append(
                ("returned", result.tool_use_id, result.text_content())
            ),
            raised=lambda call_id, error: self.said.append(("raised", call_id, error)),
            stopped=lambda call_id: self.said.append(("stopped", call_id)),
            broken=lambda: self.said.append(("broken",)),
        )


async def test_results_and_errors_are_reported_once_each() -> None:
    async def double(n: int) -> int:
        await trio.sleep(n)
        return 2 * n

    async def fail() -> None:
        raise ValueError("out of sardines")

    async def fail_without_words() -> None:
        raise KeyError

    async def unspeakable() -> object:
        return object()

    reports = Reports(double, fail, fail_without_words, unspeakable)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reports.dispatch.run)
        reports.dispatch.start("a", "double", {"n": 0})
        reports.dispatch.start("b", "fail", {})
        await wait_all_tasks_blocked()
        reports.dispatch.start("c", "fail_without_words", {})
        reports.dispatch.start("d", "unspeakable", {})
        await wait_all_tasks_blocked()
        assert not reports.dispatch.running
        nursery.cancel_scope.cancel()
    assert len(reports.said) == 4
    assert ("returned", "a", "0") in reports.said
    assert ("raised", "b", "ValueError: out of sardines") in reports.said
    assert ("raised", "c", "KeyError") in reports.said
    assert {said[:2] for said in reports.said} == {
        ("returned", "a"),
        ("raised", "b"),
        ("raised", "c"),
        ("raised", "d"),
    }


async def test_a_cancelled_call_ends_alone_and_sets_done_after_its_report() -> None:
    order: list[str] = []

    async def forever() -> None:
        try:
            await trio.sleep_forever()
        finally:
            order.append("unwound")

    reports = Reports(forever)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reports.dispatch.run)
        reports.dispatch.start("a", "forever", {})
        reports.dispatch.start("b", "forever", {})
        await wait_all_tasks_blocked()
        (call, other) = reports.dispatch.find(["a", "b", "unknown"])
        reports.dispatch.cancel("a", "because")
        await call.done.wait()
        assert order == ["unwound"]
        assert reports.said == [("stopped", "a")]
        assert reports.dispatch.running == (other,)
        nursery.cancel_scope.cancel()
    assert reports.said == [("stopped", "a"), ("stopped", "b")]


async def test_calls_that_never_began_are_reported_when_the_dispatch_is_torn_down() -> None:
    async def never() -> None:
        raise AssertionError("must not run")

    reports = Reports(never)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reports.dispatch.run)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        reports.dispatch.start("late", "never", {})
    assert reports.said == [("stopped", "late")]
    assert not reports.dispatch.running


async def test_a_tool_that_swallows_its_cancellation_is_still_reported_once() -> None:
    async def stubborn() -> str:
        with pytest.raises(trio.Cancelled):
            await trio.sleep_forever()
        return "anyway"

    reports = Reports(stubborn)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reports.dispatch.run)
        reports.dispatch.start("a", "stubborn", {})
        await wait_all_tasks_blocked()
        reports.dispatch.cancel("a", "because")
        await wait_all_tasks_blocked()
        assert len(reports.said) == 1
        nursery.cancel_scope.cancel()
    assert len(reports.said) == 1


async def test_a_sync_tool_runs_in_a_named_thread_that_is_abandoned_on_cancellation() -> None:
    release = threading.Event()
    names: list[str] = []
    started = threading.Event()

    def block(seconds: int) -> int:
        names.append(threading.current_thread().name)
        started.set()
        release.wait(10)
        return seconds

    reports = Reports(block)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reports.dispatch.run)
            reports.dispatch.start("a", "block", {"seconds": 1})
            await trio.to_thread.run_sync(started.wait, 10)
            reports.dispatch.cancel("a", "because")
            (call,) = reports.dispatch.find(["a"])
            await call.done.wait()
            assert reports.said == [("stopped", "a")]
            assert reports.dispatch.threads == ["tool block (a)"] == names
            nursery.cancel_scope.cancel()
    finally:
        release.set()


async def test_a_call_knows_itself_and_the_dispatch_it_belongs_to() -> None:
    seen: list[object] = []

    async def who() -> None:
        await trio.lowlevel.checkpoint()
        seen.append(current_call.get())

    reports = Reports(who)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reports.dispatch.run)
        reports.dispatch.start("a", "who", {})
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    (call,) = seen
    assert call is not None
    assert (call.call_id, call.owner) == ("a", reports.dispatch)
    assert current_call.get() is None
