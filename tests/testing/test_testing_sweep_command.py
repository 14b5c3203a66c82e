"""The sweep command: what it finds, runs, prints, and how it exits."""

from __future__ import annotations

import json
import re
import shlex

import pytest
import trio
from click.testing import CliRunner, Result

from meerkat_rt.testing import WIRES, Trial
from meerkat_rt.testing.scenarios import SCENARIOS
from meerkat_rt.testing.sweep import TRANSPORTS, Case
from meerkat_rt.testing.sweep.__main__ import main
from meerkat_rt.testing.sweep.plan import AMOUNTS, Job, Level, plan
from meerkat_rt.testing.sweep.sources import OURS, NoScenarios, cases_of
from meerkat_rt.testing.trial import CANCEL

HERE = __name__


async def sound(trial: Trial) -> None:
    with trial.region():
        await trio.sleep(1)


async def unsound(trial: Trial) -> None:
    with trial.region():
        try:
            await trio.sleep(1)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(5)


A_NUMBER = 7
A_LIST = [sound, Case.of(unsound)]
TWICE = {"one": sound, "two": sound}


def command(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["--processes", "1", *arguments], catch_exceptions=False)


def test_a_sound_program_of_ones_own_passes_and_the_last_line_counts() -> None:
    result = command("--quick", f"{HERE}:sound")
    assert result.exit_code == 0, result.output
    last = result.output.splitlines()[-1]
    found = re.fullmatch(
        r"1 scenarios, (\d+) points, 1 seeds, (\d+) runs, 0 failures, [\d.]+ s", last
    )
    assert found is not None, last
    points, runs = map(int, found.groups())
    assert 2 < points < runs


def test_an_unsound_one_fails_and_its_own_command_replays_the_failure() -> None:
    result = command("--quick", f"{HERE}:A_LIST")
    assert result.exit_code == 1
    assert "slow unwind: 5 s of virtual time" in result.output
    assert not result.output.splitlines()[-1].startswith("2 scenarios, 0")
    assert "    and 3 more points: " in result.output  # they are alike
    line = next(line for line in result.output.splitlines() if "--replay" in line)
    again = command(*shlex.split(line.strip())[3:])
    assert again.exit_code == 1
    assert "slow unwind" in again.output


def test_json_is_one_line_with_every_job() -> None:
    result = command("--quick", "--json", "--only", "sound", f"{HERE}:A_LIST")
    data = json.loads(result.stdout)
    assert data["failures"] == 0
    assert data["runs"] == sum(job["runs"] for job in data["jobs"])
    assert {job["job"]["case"] for job in data["jobs"]} == {"sound"}


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("nowhere", "module:attribute"),
        ("no.such.module:x", "No module named"),
        (f"{HERE}:nothing", "no attribute 'nothing'"),
        (f"{HERE}:A_NUMBER", "holds 'int'"),
        (f"{HERE}:TWICE", "two scenarios are called 'sound'"),
    ],
)
def test_a_source_that_is_none_says_why(source: str, why: str) -> None:
    with pytest.raises(NoScenarios, match=why):
        cases_of(source)
    result = command("--quick", source)
    assert result.exit_code == 2
    assert why in result.output


def test_a_pattern_that_fits_nothing_lists_what_there_is() -> None:
    result = command("--only", "nothing", f"{HERE}:A_LIST")
    assert result.exit_code == 2
    assert "sound, unsound" in result.output


def test_over_processes_the_result_is_the_same() -> None:
    alone = json.loads(command("--quick", "--json", "--only", "idle").stdout)
    two = CliRunner().invoke(
        main, ["--quick", "--json", "--only", "idle", "--processes", "2"], catch_exceptions=False
    )
    both = json.loads(two.stdout)
    for key in ("scenarios", "points", "seeds", "runs", "failures"):
        assert alone[key] == both[key], key
    assert alone["failures"] == 0


def of_level(level: Level) -> list[Job]:
    return plan(level, [(OURS, case) for case in SCENARIOS.values()])


@pytest.mark.parametrize("level", ["standard", "all"])
def test_every_scenario_is_cancelled_at_every_point(level: Level) -> None:
    whole = {job.case for job in of_level(level) if job.sample is None and job.actions == (CANCEL,)}
    long = {name for name, case in SCENARIOS.items() if case.long}
    assert whole == (set(SCENARIOS) if level == "all" else set(SCENARIOS) - long)
    assert len(long) < 5


def test_of_a_long_scenario_the_gate_takes_a_few_points() -> None:
    (case,) = [Case.of(sound, long=True)]
    for level in AMOUNTS:
        samples = [job.sample for job in plan(level, [("x:y", case)]) if job.actions == (CANCEL,)]
        assert (None in samples) == (level == "all")


@pytest.mark.parametrize("level", AMOUNTS)
def test_every_action_of_each_scenario_is_swept(level: Level) -> None:
    jobs = of_level(level)
    for case in SCENARIOS.values():
        swept = {action for job in jobs if job.case == case.name for action in job.actions}
        assert swept == {CANCEL, *case.blows, *case.faults, "cancel(*)", "raise(*)"}


def test_the_gate_runs_twenty_seeds_of_twenty_five_points_and_every_setting() -> None:
    jobs = of_level("standard")
    for case in SCENARIOS.values():
        if case.long:
            continue
        ours = [job for job in jobs if job.case == case.name]
        assert [(job.seeds, job.sample) for job in ours if job.seeds] == [(tuple(range(20)), 25)]
        if case.variant:
            continue
        settings = {(job.wire, job.transport) for job in ours}
        assert len(settings) == len(case.wires) * len(case.transports)


def test_less_than_half_of_the_scenarios_are_variants_of_others() -> None:
    variants = [case for case in SCENARIOS.values() if case.variant]
    assert 0 < len(variants) < len(SCENARIOS) / 2


def test_the_quick_level_visits_every_setting_by_some_scenario() -> None:
    settings = {(job.wire, job.transport) for job in of_level("quick")}
    assert len(settings) == len(WIRES) * len(TRANSPORTS)
