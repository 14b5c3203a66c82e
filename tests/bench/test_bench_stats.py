"""When a ratio is refused, and what a run's last line says."""

from __future__ import annotations

from typing import Any

import pytest

from bench.__main__ import BRIEF, WHOLE, Thoroughness
from bench.percentiles import percentile
from bench.stats import DISAGREE, FEWEST, Spread, ratio, spread
from bench.targets import TURNS, Target, check, verdict


def test_nothing_has_no_spread() -> None:
    with pytest.raises(ValueError, match="no repetitions"):
        spread([])


def test_spread_is_the_middle_half() -> None:
    assert spread([5, 1, 2, 3, 4]) == Spread(3, 2, 4)
    assert spread([5, 1, 2, 3, 4]).relative == pytest.approx(1 / 3)
    assert spread([2, 4]) == Spread(3, 2, 4)
    assert spread([0, 0, 0]).relative == 0


def test_one_wild_repetition_does_not_move_the_median() -> None:
    assert spread([1, 1, 1, 1, 100]).median == 1


def test_ratio_pairs_what_was_measured_together() -> None:
    """Both were slowed three times over in the second round: the ratio stays."""
    found = ratio([10, 30, 10], [5, 15, 5])
    assert found.value is not None
    assert found.value.median == 2
    assert found.value.relative == 0
    assert str(found) == "2.00x"


def test_ratio_of_disagreeing_repetitions_is_refused() -> None:
    found = ratio([1, 2, 4, 8], [1, 1, 1, 1])
    assert found.value is None
    assert "disagree" in found.refused
    assert str(found) == "?"


def test_ratio_at_the_bound() -> None:
    inside = [1 - DISAGREE, 1 - DISAGREE, 1, 1 + DISAGREE, 1 + DISAGREE]
    assert ratio(inside, [1] * 5).value is not None
    outside = [1 - 1.1 * DISAGREE] * 2 + [1] + [1 + 1.1 * DISAGREE] * 2
    assert ratio(outside, [1] * 5).value is None


@pytest.mark.parametrize(
    ("ours", "theirs", "why"),
    [
        ([], [], "0 repetitions"),
        ([1, 1], [1, 1], "2 repetitions"),
        ([1, 1, 1], [1, 1], "2 repetitions"),
        ([1, 0, 1], [1, 1, 1], "measured nothing"),
        ([1, 1, 1], [1, -1, 1], "measured nothing"),
    ],
)
def test_too_little_is_refused(ours: list[float], theirs: list[float], why: str) -> None:
    found = ratio(ours, theirs)
    assert found.value is None
    assert why in found.refused


@pytest.mark.parametrize(
    ("part", "expected"), [(0.0, 1), (0.01, 1), (0.5, 5), (0.51, 6), (0.99, 10), (1.0, 10)]
)
def test_percentiles(part: float, expected: int) -> None:
    assert percentile([7, 3, 1, 9, 5, 2, 8, 4, 10, 6], part) == expected


def results(**cpu: list[float]) -> dict[str, Any]:
    names = {name.replace("_", "-"): {"cpu": values} for name, values in cpu.items()}
    return {"throughput": {"mix": names}}


def named(found: list[Target], measure: str) -> Target:
    return next(target for target in found if target.measure == measure)


def test_targets_are_decided_by_the_ratio() -> None:
    found = check(results(meerkat=[5, 5, 5], openai=[41, 41, 41], floor=[2, 2, 2]))
    assert named(found, "mix, against openai").holds is True
    assert named(found, "mix, against floor").holds is False


def test_reading_by_batches_is_held_against_the_limit_of_its_own() -> None:
    found = check(results(meerkat=[5, 5, 5], meerkat_batches=[4, 4, 4], floor=[2, 2, 2]))
    assert named(found, "mix, against floor").holds is False
    assert named(found, "mix by batches, against floor").holds is True


def test_a_target_that_was_not_measured_is_not_met() -> None:
    found = check(results(meerkat=[5, 5, 5], openai=[10, 40, 80]))
    assert named(found, "mix, against openai").holds is None
    assert named(found, "mix, against livekit").holds is None


def test_store_cost() -> None:
    found = check(results(meerkat=[10, 10, 10], meerkat_store=[12, 12, 12]))
    assert named(found, "mix, cost of the memory store").holds is False
    assert named(found, "mix, cost of the memory store").found == "20 %"


def target(name: str, holds: bool | None) -> Target:
    return Target(measure=name, bound="", found="", holds=holds)


def test_last_line_and_exit_status() -> None:
    assert verdict([target("a", True), target("b", True)]) == ("all 2 targets hold", 0)
    line, status = verdict([target("a", True), target("b", None)])
    assert (line, status) == ("1 of 2 targets cannot be told: b", 2)
    line, status = verdict([target("a", False), target("b", None)])
    assert line == "1 of 2 targets are missed: a. 1 of 2 targets cannot be told: b"
    assert status == 1
    line, status = verdict([target("a", False), target("b", True)])
    assert (line, status) == ("1 of 2 targets are missed: a", 1)


@pytest.mark.parametrize("much", [BRIEF, WHOLE], ids=["quick", "whole"])
def test_a_run_has_turns_enough_for_percentiles_that_others_disturb(much: Thoroughness) -> None:
    assert much.rounds >= TURNS * FEWEST
