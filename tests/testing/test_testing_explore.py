"""Other orders than FIFO: random, near FIFO, shrunk, and the same in another process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from courier import CASES, GRACE, round_trip, verify

from meerkat_rt.testing import (
    ExplorationFailed,
    Recipe,
    cancel_everywhere,
    explore,
    explore_nearby,
    replay,
)
from meerkat_rt.testing.run import run_once
from meerkat_rt.testing.shrinking import shrink

HERE = Path(__file__).parent


def test_random_orders_find_a_mistake_of_order_and_shrink_it_to_one_batch():
    scenario = round_trip("stale-count")
    found = explore(scenario, seeds=range(200), verify=verify, max_unwind=GRACE, check=False)
    (failure,) = found.failures
    assert failure.violations[0].startswith("miscounted")
    assert len(failure.recipe.orders) == 1
    assert failure.recipe.seed is None
    again = replay(scenario, str(failure.recipe), verify=verify)
    assert again.violations == failure.violations


def test_orders_near_fifo_find_it_without_luck():
    scenario = round_trip("stale-count")
    with pytest.raises(ExplorationFailed, match="miscounted") as caught:
        explore_nearby(scenario, verify=verify)
    (failure,) = caught.value.exploration.failures
    assert len(failure.recipe.orders) == 1


def test_the_correct_program_passes_under_every_order_tried():
    scenario = round_trip()
    drawn = explore(scenario, seeds=range(40), points=2, verify=verify, max_unwind=GRACE)
    assert drawn.runs == 40 * 3
    assert drawn.schedules > 20
    near = explore_nearby(scenario, verify=verify, depth=2, limit=150)
    assert near.runs == 150


def test_a_failure_at_a_point_keeps_its_point():
    found = explore(
        round_trip("unshielded-goodbye"),
        seeds=range(20),
        points=3,
        verify=verify,
        max_unwind=GRACE,
        check=False,
    )
    (failure,) = found.failures
    assert failure.recipe.inject
    assert failure.recipe.orders == {}  # it fails in FIFO order too, and the shrinking finds that


def test_shrinking_leaves_only_what_is_needed():
    orders = dict.fromkeys(range(40), (1, 0))
    tried = []

    def fails(fewer):
        tried.append(fewer)
        return 7 in fewer and 31 in fewer

    assert set(shrink(orders, fails)) == {7, 31}
    assert len(tried) < 80


async def test_not_from_inside_a_run():
    with pytest.raises(RuntimeError, match="plain function"):
        explore(round_trip(), seeds=[1])


def traces(environment):
    program = (
        "import sys; sys.path[:0] = sys.argv[1:3]\n"
        "from courier import round_trip\n"
        "from meerkat_rt.testing import Recipe\n"
        "from meerkat_rt.testing.run import run_once\n"
        "for recipe in ('fifo', 'seed=5', 'at=40:cancel seed=5'):\n"
        "    print(run_once(round_trip(), Recipe.parse(recipe)).digest)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(HERE), str(HERE.parents[1])],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def test_the_same_seed_is_the_same_run_in_another_process():
    here = [
        run_once(round_trip(), Recipe.parse(recipe)).digest
        for recipe in ("fifo", "seed=5", "at=40:cancel seed=5")
    ]
    assert len(set(here)) == 3
    assert traces({"PYTHONHASHSEED": "1"}) == here
    assert traces({"PYTHONHASHSEED": "2"}) == here


def test_an_order_that_does_not_fit_is_not_passed_off_as_a_replay():
    result = replay(round_trip(), Recipe(orders={0: (8, 7, 6, 5, 4, 3, 2, 1, 0)}))
    assert "diverged: an explicit order did not fit its batch" in result.violations


def test_a_point_that_is_never_reached_is_not_passed_off_as_a_replay():
    result = replay(round_trip(), "at=99999:cancel")
    assert any(violation.startswith("diverged: the run ended") for violation in result.violations)


def test_a_run_under_a_seed_is_not_fifo():
    order = []

    async def scenario(trial):
        with trial.region():
            async with trio.open_nursery() as nursery:
                for name in "abcdefgh":

                    async def child(name=name):
                        order.append(name)

                    nursery.start_soon(child)

    replay(scenario, "fifo")
    assert "".join(order) == "abcdefgh"
    order.clear()
    replay(scenario, "seed=1")
    assert sorted(order) == list("abcdefgh")
    assert "".join(order) != "abcdefgh"


def test_a_failure_of_a_seeded_sweep_is_shrunk_and_replays_without_the_seed():
    case = CASES["stale-count"]
    seed = next(
        seed
        for seed in range(200)
        if replay(case.on(), f"seed={seed}", verify=case.verify, max_unwind=99).violations
    )
    report = cancel_everywhere(
        case.on(), seed=seed, sample=3, verify=case.verify, max_unwind=99, check=False, repeat=1
    )
    (broken,) = report.broken  # under this order it fails by itself
    assert broken.recipe.seed is None
    assert len(broken.recipe.orders) == 1
    assert replay(case.on(), str(broken.recipe), verify=case.verify, max_unwind=99).violations


def test_a_pair_of_blows_is_shrunk_to_the_one_that_does_it():
    async def scenario(trial):
        trial.action("harmless", lambda: None)
        trial.keep.whole = False
        with trial.region():
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
            await trio.sleep(1)
            trial.keep.whole = True

    def verify(trial):
        if trial.scope.cancel_called:
            assert trial.keep.whole, "cancelled"

    report = cancel_everywhere(
        scenario, actions=["harmless", "cancel"], sample=0, pairs=30, verify=verify, check=False
    )
    pairs = [failure.recipe.inject for failure in report.failures]
    assert pairs
    assert {len(blows) for blows in pairs[:8]} == {1}
    assert {blows[0][1] for blows in pairs[:8]} == {"cancel"}
