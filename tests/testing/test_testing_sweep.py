"""`cancel_everywhere`, on a program with mistakes to choose from: each must be found."""

from __future__ import annotations

import contextlib
import os
import re
import threading

import pytest
import trio
from courier import GRACE, MISTAKES, round_trip, verify

from meerkat_rt.testing import (
    WIRES,
    CancellationFailed,
    HarnessError,
    Recipe,
    cancel_everywhere,
    replay,
)
from meerkat_rt.testing.run import run_once

# Two tasks write one count; only under some orders does one overwrite the other.
ONLY_BY_ORDER = {"stale-count"}

FOUND_BY = {
    "leak-task": ("leaked task", {}),
    "swallow": ("swallowed", {}),
    "unshielded-goodbye": ("no goodbye", {}),
    "endless-goodbye": ("deadlock", {"polite": False}),
    "shield-before-started": ("deadlock", {}),
    "leak-channel": ("open channel", {}),
    "leak-descriptor": ("open descriptor", {}),
    "cut-parcel": ("wire", {"wire": "tearing"}),
    "naive-writer": ("escaped", {"action": "drop"}),
}


def sweep(mistake=None, *, wire="memory", polite=True, action="cancel", **more):
    return cancel_everywhere(
        round_trip(mistake, wire=wire, polite=polite),
        actions=(action,),
        verify=verify,
        max_unwind=GRACE,
        check=False,
        **{"repeat": 1, **more},
    )


def test_every_mistake_has_a_tool_that_must_find_it():
    assert set(FOUND_BY) | ONLY_BY_ORDER == set(MISTAKES)


@pytest.mark.parametrize("mistake", FOUND_BY)
def test_a_mistake_is_found(mistake):
    kind, how = FOUND_BY[mistake]
    report = sweep(mistake, **how)
    assert report.kinds()[kind], str(report)
    failure = next(f for f in report.failures if any(v.startswith(kind) for v in f.violations))
    again = replay(
        round_trip(mistake, **{k: v for k, v in how.items() if k != "action"}),
        str(failure.recipe),
        verify=verify,
        max_unwind=GRACE,
    )
    assert any(v.startswith(kind) for v in again.violations)


def test_no_sweep_in_one_order_finds_a_mistake_of_order():
    assert not sweep("stale-count").failures


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("polite", [True, False], ids=["polite", "rude"])
@pytest.mark.parametrize("action", ["cancel", "drop"])
def test_the_correct_program_passes(wire, polite, action):
    report = sweep(wire=wire, polite=polite, action=action, repeat=2)
    assert not report.failures, str(report)
    (only,) = report.sweeps
    assert only.points == only.eligible > 50
    assert only.runs == 2 * only.points
    # A rude depot costs the whole grace and not a moment more; a polite one costs nothing.
    if action == "cancel":
        assert only.max_unwind == pytest.approx(0.1 if polite else GRACE, abs=0.11)


def test_a_failure_names_task_file_and_line_and_how_to_do_it_again():
    with pytest.raises(CancellationFailed) as caught:
        cancel_everywhere(round_trip("leak-channel"), verify=verify, max_unwind=GRACE, repeat=1)
    report = caught.value.report
    text = str(caught.value)
    failure = report.failures[0]
    assert "courier.py:" in failure.violations[0]
    assert "courier.py:" in failure.landed
    assert any("round_trip" in line or "courier.py" in line for line in failure.awaiting)
    assert f"replay(scenario, {str(failure.recipe)!r})" in text
    assert len(report.failures) > 1  # it fails at more than one point
    assert "open channel x" in text
    assert "and " in text.splitlines()[-1]  # the rest is counted, not listed


def test_pairs_land_a_second_action_after_the_first():
    report = sweep(pairs=20)
    assert not report.failures, str(report)
    assert report.sweeps[0].pairs > 10


def test_a_second_blow_finds_what_one_does_not():
    async def scenario(trial):
        event = trio.Event()

        def second():
            if trial.scope.cancel_called:
                event.set()

        trial.action("second", second)
        async with trio.open_nursery() as outer:
            with trial.region():
                try:
                    await trio.sleep(5)
                finally:
                    with trio.CancelScope(shield=True):
                        await trio.lowlevel.checkpoint()
                        if event.is_set():
                            outer.start_soon(trio.sleep, 1, name="orphan")

    assert not cancel_everywhere(scenario, actions=("cancel", "second"), repeat=1).failures
    report = cancel_everywhere(
        scenario, actions=("cancel", "second"), repeat=1, pairs=30, check=False
    )
    assert report.kinds()["leaked task"], str(report)
    assert "+" in str(report.failures[0].recipe)


def test_a_sample_is_a_subset_with_both_ends_and_says_so():
    whole, part = sweep(), sweep(sample=10)
    assert part.sweeps[0].points == 10
    assert part.sweeps[0].eligible == whole.sweeps[0].eligible
    assert f"10 of {whole.sweeps[0].eligible} points" in part.line()


def test_the_same_sweep_under_another_order():
    seeded = sweep(seed=3, sample=10)
    assert not seeded.failures, str(seeded)
    broken = sweep("leak-channel", seed=3, sample=10)
    assert "seed=" not in str(broken.failures[0].recipe)


def test_progress_is_told():
    told = []
    sweep(sample=5, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]


# -- what the harness itself refuses ------------------------------


def test_a_scenario_without_a_region_is_an_error():
    async def scenario(trial):
        await trio.lowlevel.checkpoint()

    report = cancel_everywhere(scenario, check=False)
    assert report.broken[0].violations[0].startswith("no region")


def test_an_action_that_is_never_possible_is_an_error():
    with pytest.raises(ValueError, match="'dorp' cannot be fired"):
        cancel_everywhere(round_trip(), actions=("dorp",))


def test_a_second_region_is_an_error():
    async def scenario(trial):
        for _ in range(2):
            with trial.region():
                await trio.lowlevel.checkpoint()

    report = cancel_everywhere(scenario, check=False)
    assert "enters its region once" in report.broken[0].violations[0]


def test_a_name_that_no_recipe_can_hold_is_refused():
    async def scenario(trial):
        trial.action("a:b", print)

    report = cancel_everywhere(scenario, check=False)
    assert "does not fit into a recipe" in report.broken[0].violations[0]


def test_of_the_points_at_one_stage_of_an_action_the_last_is_swept():
    async def scenario(trial):
        steps = []
        trial.action("prepare", lambda: trial.note(len(steps)), stage=lambda: len(steps) // 4)
        with trial.region():
            for _ in range(10):
                steps.append(None)
                await trio.lowlevel.checkpoint()

    base = run_once(scenario, survey=True)
    everywhere, staged = base.eligible["cancel"], base.eligible["prepare"]
    assert len(everywhere) > 15
    assert staged[-1] == everywhere[-1]
    assert set(staged) < set(everywhere)
    noted = []
    cancel_everywhere(
        scenario, actions=["prepare"], repeat=1, verify=lambda trial: noted.extend(trial.log)
    )
    assert noted[-3:] == [(3,), (7,), (10,)]


def test_what_an_earlier_sweep_has_surveyed_is_not_run_again():
    runs = []

    async def scenario(trial):
        runs.append(trial)
        with trial.region():
            await trio.lowlevel.checkpoint()

    first = cancel_everywhere(scenario, repeat=1)
    assert len(runs) == first.runs + 2
    runs.clear()
    second = cancel_everywhere(scenario, repeat=1, surveyed=first.survey)
    assert len(runs) == second.runs == first.runs
    assert second.points == first.points


def test_an_action_that_raises_is_the_harness_users_fault():
    async def scenario(trial):
        trial.action("oops", lambda: 1 / 0)
        with trial.region():
            await trio.sleep(1)

    with pytest.raises(HarnessError, match="ZeroDivisionError"):
        cancel_everywhere(scenario, actions=("oops",))


def test_a_verify_that_breaks_is_not_a_finding():
    async def scenario(trial):
        with trial.region():
            await trio.sleep(1)

    def broken(trial):
        raise LookupError("my own bug")

    with pytest.raises(LookupError, match="my own bug"):
        cancel_everywhere(scenario, verify=broken)


async def test_not_from_inside_a_run():
    with pytest.raises(RuntimeError, match="plain function"):
        cancel_everywhere(round_trip())


# -- each check by itself -----------------------------------------


def check_kinds(scenario, **more):
    return cancel_everywhere(scenario, check=False, repeat=2, **more).kinds()


def test_two_runs_that_differ_are_found():
    runs = iter(range(1000))

    async def scenario(trial):
        with trial.region():
            for _ in range(2 + next(runs) % 2):
                await trio.lowlevel.checkpoint()

    assert check_kinds(scenario) == {"nondeterministic": 1}


def test_what_only_the_first_run_ever_does_is_not_the_program():
    seen = []

    async def scenario(trial):
        with trial.region():
            for _ in range(1 if seen else 5):  # as a first use of something would
                await trio.lowlevel.checkpoint()
        seen.append(trial)

    assert cancel_everywhere(scenario).points < 20


def test_a_difference_after_the_action_is_found():
    runs = iter(range(1000))

    async def scenario(trial):
        with trial.region():
            try:
                await trio.sleep(1)
            finally:
                with trio.CancelScope(shield=True):
                    if trial.was_injected():
                        for _ in range(next(runs) % 2):
                            await trio.lowlevel.checkpoint()

    assert check_kinds(scenario)["nondeterministic"]


def test_a_livelock_is_found_and_named():
    async def scenario(trial):
        with trial.region():
            while True:
                try:
                    await trio.sleep(1)
                    return
                except trio.Cancelled:
                    pass

    report = cancel_everywhere(scenario, check=False, repeat=1, max_steps=2000)
    assert report.kinds()["livelock"]
    assert any("test_testing_sweep.py:" in v for f in report.failures for v in f.violations)


def test_of_a_livelock_the_task_that_does_not_stop_is_named_first():
    async def stubborn():
        while True:
            with contextlib.suppress(trio.Cancelled):
                await trio.sleep(1)

    async def scenario(trial):
        with trial.region():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep, 5, name="one that stops")
                nursery.start_soon(stubborn)
                await trio.sleep(3)
                nursery.cancel_scope.cancel()

    report = cancel_everywhere(scenario, check=False, repeat=1, max_steps=2000)
    (failure,) = report.broken
    (violation,) = failure.violations
    assert re.fullmatch(
        r"livelock: \d+:stubborn @ \S+:\d+ has not stopped within 2000 steps; 1:main @ \S+:\d+",
        violation,
    )


def test_a_deadlock_without_a_shield_is_found_and_unwound():
    async def scenario(trial):
        with trial.region():
            await trio.Event().wait()

    report = cancel_everywhere(scenario, check=False)
    (failure,) = report.broken
    assert failure.violations[0].startswith("deadlock: ")
    assert "test_testing_sweep.py:" in failure.violations[0]


def test_a_slow_unwinding_is_found():
    async def scenario(trial):
        with trial.region():
            try:
                await trio.sleep(1)
            finally:
                with trio.CancelScope(shield=True):
                    await trio.sleep(3)

    assert check_kinds(scenario, max_unwind=2.9)["slow unwind"]
    assert not check_kinds(scenario, max_unwind=3.0)


def test_only_what_is_declared_may_escape():
    class Lost(Exception):
        pass

    async def scenario(trial):
        with trial.region():
            try:
                await trio.sleep(1)
            except trio.Cancelled:
                raise Lost from None

    assert check_kinds(scenario)["escaped"]
    assert not check_kinds(scenario, allowed=(Lost,))


def test_an_error_that_wins_over_the_cancellation_may_be_declared():
    def scenario_that(declares):
        async def scenario(trial):
            with trial.region():
                try:
                    await trio.sleep(1)
                except trio.Cancelled:
                    if declares:
                        trial.ended_by(ConnectionError("lost meanwhile"))

        return scenario

    assert check_kinds(scenario_that(False))["swallowed"]
    assert not check_kinds(scenario_that(True))


def test_a_program_that_simply_finishes_has_swallowed_nothing():
    async def scenario(trial):
        with trial.region(), trio.CancelScope(shield=True):
            await trio.sleep(1)

    assert not check_kinds(scenario)


def test_a_system_task_is_put_down_to_who_spawned_it():
    async def scenario(trial):
        with trial.region():
            try:
                await trio.sleep(1)
            finally:
                trio.lowlevel.spawn_system_task(trio.sleep, 1, name="hidden")

    report = cancel_everywhere(scenario, check=False)
    assert "leaked task: hidden" in report.broken[0].violations[0]
    assert "test_testing_sweep.py:" in report.broken[0].violations[0]


def test_a_channel_of_a_task_outside_the_region_is_not_its_business():
    async def scenario(trial):
        async with trio.open_nursery() as outer:

            async def bystander():
                trio.open_memory_channel(1)
                await trio.sleep(1)

            outer.start_soon(bystander)
            with trial.region():
                await trio.sleep(2)

    assert not check_kinds(scenario)


def test_an_interrupt_of_the_operator_is_not_a_finding():
    async def scenario(trial):
        with trial.region():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cancel_everywhere(scenario)


def test_worker_threads_hold_virtual_time_still():
    started = []

    def work():
        fd = os.open(os.devnull, os.O_RDONLY)
        started.append(fd)
        os.close(fd)

    async def scenario(trial):
        with trial.region(), trio.move_on_after(0.001):
            await trio.to_thread.run_sync(work)
            trial.note("worked", trio.current_time())

    result = replay(scenario, Recipe())
    assert not result.violations
    assert result.log == (("worked", 0.0),)


def test_a_worker_thread_that_does_not_end_is_named():
    door = threading.Event()

    def hold():
        assert door.wait(60)

    async def scenario(trial):
        with trial.region():
            await trio.to_thread.run_sync(hold, abandon_on_cancel=True)

    try:
        result = replay(scenario, Recipe(), thread_patience=0.02)
    finally:
        door.set()
    (deadlock,) = result.violations
    assert re.search(r"deadlock: main @ \S+:\d+, for a worker thread; thread hold from ", deadlock)
    assert re.search(r"@ hold, \S*test_testing_sweep.py:\d+$", deadlock)
