"""A run is the same run in another process, whatever the hash seed; a failure fails again."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from courier import CASES

from meerkat_rt.testing import RunResult, replay
from meerkat_rt.testing.scenarios import SCENARIOS
from meerkat_rt.testing.sweep import Case

HERE = Path(__file__).parent
HASH_SEEDS = ("0", "1", "random")


def again(case: Case, recipe: str) -> RunResult:
    return replay(
        case.on(), recipe, verify=case.verify, max_unwind=case.unwind, allowed=case.allowed
    )


def in_another_process(
    hash_seed: str, case: Case, recipe: str, *source: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "meerkat_rt.testing.sweep", *source),
            *("--only", case.name, "--replay", recipe),
        ],
        cwd=HERE,
        env={
            **os.environ,
            "PYTHONHASHSEED": hash_seed,
            "PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), str(HERE)]),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_failure_under_a_seed_fails_again_under_it_in_every_new_process() -> None:
    case = CASES["stale-count"]
    recipes = (f"seed={seed}" for seed in range(200))
    recipe, first = next(
        (recipe, result) for recipe in recipes if (result := again(case, recipe)).violations
    )
    for hash_seed in HASH_SEEDS:
        done = in_another_process(hash_seed, case, recipe, "courier:CASES")
        assert done.returncode == 1, done.stdout + done.stderr
        for violation in first.violations:
            assert violation.partition("\n")[0] in done.stdout
        assert f"trace {first.digest}, " in done.stdout


@pytest.mark.parametrize("recipe", ["seed=7 at=100:cancel", "at=150:cancel(receiver)", "seed=3"])
def test_a_run_of_a_whole_session_is_the_same_in_every_new_process(recipe: str) -> None:
    case = SCENARIOS["a_tool_turn_with_three_parallel_calls"]
    here = again(case, recipe)
    digests = set()
    for hash_seed in HASH_SEEDS:
        done = in_another_process(hash_seed, case, recipe)
        assert done.returncode == 0, done.stdout + done.stderr
        digests |= set(re.findall(r"trace (\w+), ok", done.stdout))
    assert digests == {here.digest}
