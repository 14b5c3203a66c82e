"""Virtual time, and the watch for deadlocks."""

from __future__ import annotations

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


def test_a_patient_watch_lets_a_thread_finish():
    told = []

    async def main():
        with trio.move_on_after(10):
            await trio.to_thread.run_sync(lambda: sum(range(100_000)))

    trio.run(main, instruments=[StallWatch(told.append, patience=30)])
    assert told == []
