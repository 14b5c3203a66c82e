"""Virtual time, and the watch for deadlocks."""

from __future__ import annotations

import re
import threading

import pytest
import trio

from meerkat_rt.testing import StallWatch, virtual_clock


def test_hours_take_no_time():
    async def main():
        assert trio.current_time() == 0.0
        await trio.sleep(7200)
        return trio.current_time()

    assert trio.run(main, clock=virtual_clock()) == 7200.0


def test_a_stall_is_told_with_the_name_and_line_of_every_waiter():
    told = []
    scope = trio.CancelScope()

    def on_stall(waiters):
        told.append(waiters)
        scope.cancel()

    async def waits_for_ever():
        await trio.Event().wait()

    async def main():
        with scope:
            await trio.sleep(5)  # a deadline is no stall
            async with trio.open_nursery() as nursery:
                nursery.start_soon(waits_for_ever, name="the waiter")

    trio.run(main, clock=virtual_clock(), instruments=[StallWatch(on_stall)])
    (waiters,) = told
    assert len(waiters) == 2
    assert any(line.startswith("main @ ") for line in waiters)
    waiter = next(line for line in waiters if line.startswith("the waiter @ "))
    assert "test_testing_clock.py:" in waiter


class Door:
    """What a thread waits at until the test is over."""

    def __init__(self):
        self.open = threading.Event()

    def hold(self):
        assert self.open.wait(60)


@pytest.fixture
def door():
    door = Door()
    yield door
    door.open.set()


def test_a_thread_that_is_waited_for_for_longer_than_it_gets_is_a_stall(door):
    told = []
    scope = trio.CancelScope()

    def on_stall(waiters):
        told.append(waiters)
        scope.cancel()

    async def main():
        with scope:
            await trio.to_thread.run_sync(door.hold, abandon_on_cancel=True)

    clock = virtual_clock()
    watch = StallWatch(on_stall, clock=clock, thread_patience=0.02)
    trio.run(main, clock=clock, instruments=[watch])
    ((task, thread),) = told
    assert re.fullmatch(r"main @ \S*test_testing_clock.py:\d+, for a worker thread", task)
    assert re.fullmatch(r"thread hold from \S*main @ hold, \S*test_testing_clock.py:\d+", thread)
    assert clock.autojump_threshold == 0


def test_a_thread_holds_time_still_whatever_limiter_it_counts_for():
    async def main():
        limiter = trio.CapacityLimiter(1)
        with trio.fail_after(0.001):
            for _ in range(20):
                await trio.to_thread.run_sync(sum, range(10_000), limiter=limiter)
        return trio.current_time()

    clock = virtual_clock()
    told = []
    watch = StallWatch(told.append, clock=clock, thread_patience=30)
    assert trio.run(main, clock=clock, instruments=[watch]) == 0
    assert told == []


def test_time_goes_on_past_a_thread_that_does_not_end(door):
    async def main():
        for seconds in (60, 3600):  # the second time with the first thread still there
            with trio.move_on_after(seconds):
                await trio.to_thread.run_sync(door.hold, abandon_on_cancel=True)
        return trio.current_time(), clock.autojump_threshold

    clock = virtual_clock()
    told = []
    watch = StallWatch(told.append, clock=clock, thread_patience=0.02)
    assert trio.run(main, clock=clock, instruments=[watch]) == (3660, 0)
    assert told == []


def test_a_horizon_is_told_when_it_is_past_and_again_as_far_on():
    told = []

    async def main():
        for _ in range(25):
            await trio.sleep(10)

    trio.run(
        main,
        clock=virtual_clock(),
        instruments=[StallWatch(lambda _: told.append(trio.current_time()), horizon=100)],
    )
    assert told == [110, 210]
