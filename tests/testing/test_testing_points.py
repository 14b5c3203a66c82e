"""How many points a scenario has, held against an instrument that shares no code with the kit."""

from __future__ import annotations

import sys

import outcome
import trio
from courier import round_trip

from meerkat_rt.testing import cancel_everywhere
from meerkat_rt.testing.run import run_once


class StepCounter(trio.abc.Instrument):
    """Counts steps and batches by the public hooks alone."""

    def __init__(self):
        self.steps = 0
        self.batches = 0
        self.steps_since_wait = 0

    def before_io_wait(self, timeout):
        self.steps_since_wait = 0

    def after_task_step(self, task):
        self.steps += 1
        self.steps_since_wait += 1
        self.batches += self.steps_since_wait == 1


def test_points_are_the_steps_and_the_batches_that_had_any():
    counter = StepCounter()
    result = run_once(round_trip(), instruments=[counter])
    assert result.points == counter.steps + counter.batches
    assert result.steps == counter.steps > 50
    # And the hooks of the instrument agree with what the coroutines themselves went through.
    assert result.points == cancel_everywhere(round_trip(), sample=1, repeat=1).points


def test_points_of_a_region_counted_by_hand():
    async def scenario(trial):
        await trio.lowlevel.checkpoint()  # Trio's own tasks have their first step meanwhile
        with trial.region():
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()

    report = cancel_everywhere(scenario)
    # The region is entered in some step and left in the second after it.  In between lie: the end
    # of the step that entered it; then the head of a batch and the end of a step for the one
    # checkpoint that falls inside as a whole; and the head of the batch in whose step the region is
    # left.
    assert report.sweeps[0].eligible == 4


def test_every_yield_of_the_region_is_a_point_after_a_step():
    """Against the interpreter: the coroutine of each task is counted as it yields."""
    yields = []

    async def scenario(trial):
        with trial.region():
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(work)

    async def work():
        for _ in range(4):
            await trio.lowlevel.checkpoint()

    def profiler(frame, event, argument):
        # Every await of Trio's ends in this generator.  It hands a message to the run loop when it
        # yields, and the outcome of the wait to the task when it returns.
        ours = event == "return" and frame.f_code.co_name == "_real_async_yield"
        if ours and not isinstance(argument, outcome.Outcome):
            yields.append(argument)

    class Profiled(trio.abc.Instrument):
        ends = 0

        def task_exited(self, task):
            self.ends += 1

    profiled = Profiled()
    sys.setprofile(profiler)
    try:
        result = run_once(scenario, instruments=[profiled])
    finally:
        sys.setprofile(None)
    assert result.steps == len(yields) + profiled.ends


def test_points_outside_the_region_are_not_swept():
    async def scenario(trial):
        for _ in range(50):
            await trio.lowlevel.checkpoint()
        with trial.region():
            await trio.lowlevel.checkpoint()
        for _ in range(50):
            await trio.lowlevel.checkpoint()

    report = cancel_everywhere(scenario)
    assert report.points > 200
    assert report.sweeps[0].eligible == 2
