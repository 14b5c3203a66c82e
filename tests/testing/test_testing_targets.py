"""Single tasks and single blocks struck alone, on a small program with two workers."""

from __future__ import annotations

import pytest
import trio

from meerkat_rt.testing import (
    CancellationFailed,
    HarnessError,
    InjectedError,
    Trial,
    cancel_everywhere,
    explore,
    replay,
)
from meerkat_rt.testing.targets import Target, expanded


async def pump(values: list[int]) -> None:
    for _ in range(3):
        await trio.sleep(1)
        values.append(len(values))


async def poll() -> None:
    for _ in range(100):
        await trio.sleep(0.5)


async def workers(trial: Trial) -> None:
    trial.keep.values = []
    with trial.region():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(poll, name="poll")
            async with trio.open_nursery() as pumping:
                pumping.start_soon(pump, trial.keep.values, name="the pump")
            nursery.cancel_scope.cancel()


def test_a_task_is_cancelled_alone_and_its_siblings_live_on() -> None:
    seen = []

    def verify(trial: Trial) -> None:
        seen.append(len(trial.keep.values))

    report = cancel_everywhere(workers, actions=["cancel(the pump)"], verify=verify, repeat=1)
    (sweep,) = report.sweeps
    assert sweep.points == sweep.eligible > 10
    assert {0, 1, 2, 3} <= set(seen)


def test_a_pattern_is_every_task_in_turn() -> None:
    report = cancel_everywhere(workers, actions=["cancel", "cancel(*)", "raise(p*)"], sample=3)
    names = [sweep.action for sweep in report.sweeps]
    assert names == ["cancel", "cancel(poll)", "cancel(the pump)", "raise(poll)"]


def test_a_spared_task_is_left_alone() -> None:
    report = cancel_everywhere(workers, actions=["cancel(*)"], spare=["the *"], sample=3)
    assert [sweep.action for sweep in report.sweeps] == ["cancel(poll)"]


def test_an_exception_is_raised_where_the_task_waits_and_only_there() -> None:
    landed = set()

    async def scenario(trial: Trial) -> None:
        async def worker() -> None:
            await trio.lowlevel.checkpoint()  # nothing can be raised in it: it does not wait
            try:
                await trio.sleep(1)
            except InjectedError:
                landed.add("sleep")
                raise
            with trio.CancelScope(shield=True):
                try:
                    await trio.sleep(1)
                except InjectedError:
                    landed.add("shielded sleep")
                    raise

        with trial.region():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(worker, name="worker")

    cancel_everywhere(scenario, actions=["raise(worker)"])
    assert landed == {"sleep", "shielded sleep"}


def test_what_is_raised_is_the_scenarios_choice_and_may_be_swallowed() -> None:
    caught = []

    async def scenario(trial: Trial) -> None:
        trial.error = lambda: OSError("the disk is gone")

        async def worker() -> None:
            try:
                await trio.sleep(1)
            except OSError as error:
                caught.append(str(error))

        with trial.region():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(worker, name="worker")

    cancel_everywhere(scenario, actions=["raise(worker)"])
    assert set(caught) == {"the disk is gone"}


def test_another_exception_that_comes_of_it_is_a_failure() -> None:
    async def scenario(trial: Trial) -> None:
        async def worker() -> None:
            try:
                await trio.sleep(1)
            except InjectedError:
                raise KeyError("clumsy") from None

        with trial.region():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(worker, name="worker")

    with pytest.raises(CancellationFailed, match="escaped: KeyError: 'clumsy'"):
        cancel_everywhere(scenario, actions=["raise(worker)"])


def test_a_failure_says_where_the_struck_task_stood_and_replays() -> None:
    def verify(trial: Trial) -> None:
        assert len(trial.keep.values) == 3, "the pump stopped"

    report = cancel_everywhere(
        workers, actions=["cancel(the pump)"], verify=verify, repeat=1, check=False
    )
    failure = report.failures[-1]
    assert "the pump stood at" in failure.landed
    assert "test_testing_targets.py:" in failure.landed
    assert "cancel(the pump)" in str(failure.recipe)
    result = replay(workers, str(failure.recipe), verify=verify)
    (violation,) = result.violations
    assert violation.startswith("verify: the pump stopped")


def test_a_block_is_cancelled_by_its_name_while_it_runs() -> None:
    async def scenario(trial: Trial) -> None:
        with trial.region():
            await trio.sleep(1)
            with trial.cancellable("the wait") as scope:
                await trio.sleep(1)
            trial.keep.cut = scope.cancelled_caught
            await trio.sleep(1)

    cuts = []
    report = cancel_everywhere(
        scenario, actions=["the wait"], verify=lambda trial: cuts.append(trial.keep.cut)
    )
    assert 1 < report.sweeps[0].eligible < report.points
    # Not in the runs without an action, which come first; then at every point.
    assert cuts == [False] * 2 + [True] * report.runs


def test_a_recipe_for_a_task_that_is_not_there_is_the_harness_error() -> None:
    with pytest.raises(HarnessError, match="there is no task 'nobody' at point 5"):
        replay(workers, "at=5:cancel(nobody)")
    with pytest.raises(HarnessError, match="is at no checkpoint"):
        replay(workers, f"at={_just_spawned()}:raise(the pump)")


def _just_spawned() -> int:
    report = cancel_everywhere(workers, actions=["cancel(the pump)"], sample=2, repeat=1)
    assert report.sweeps[0].points == 2
    return _first_point("cancel(the pump)")


def _first_point(action: str) -> int:
    from meerkat_rt.testing.run import run_once

    return run_once(workers, survey=True).eligible[action][0]


def test_an_action_of_ones_own_may_not_look_like_one_on_a_task() -> None:
    with pytest.raises(ValueError, match="the form of an action on a task"):
        Trial().action("cancel(x)", lambda: None)


def test_exploring_lands_on_single_tasks_too() -> None:
    result = explore(workers, seeds=range(5), points=2, action="cancel(the pump)")
    assert result.runs == 15


def test_patterns_expand_in_the_order_of_what_there_is() -> None:
    known = ["cancel", "cancel(b)", "raise(b)", "cancel(a)"]
    assert expanded(["cancel(*)"], known) == ("cancel(b)", "cancel(a)")
    assert expanded(["raise(*)", "cancel"], known) == ("raise(b)", "cancel")
    assert expanded(["cancel(z)"], known) == ("cancel(z)",)  # refused later, by name
    assert Target.of("cancel") is None
    assert str(Target.of("raise(tool slow)")) == "raise(tool slow)"
