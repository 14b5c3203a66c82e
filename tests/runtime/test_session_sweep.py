"""Every scenario of a session, cancelled at every task step: nothing is left, and nothing hangs."""

from __future__ import annotations

import pytest
from scenarios import SCENARIOS, Scenario

from meerkat_rt.testing import Trial, cancel_everywhere
from meerkat_rt.testing.wires import WIRES, WireName


def swept(scenario: Scenario, wire: WireName, connector: str = "websockets", **options: object):
    async def play(trial: Trial) -> None:
        await scenario.play(trial, wire, connector)

    return cancel_everywhere(
        play, name=f"{scenario.name} on {wire}", max_unwind=scenario.unwind + 0.05, **options
    )


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_point_of_every_scenario_leaves_nothing(name: str) -> None:
    report = swept(SCENARIOS[name], "memory", repeat=1)
    (sweep,) = report.sweeps
    assert sweep.points == sweep.eligible > 20


@pytest.mark.parametrize("wire", [wire for wire in WIRES if wire != "memory"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_wires_that_push_back_and_tear_show_nothing_new(name: str, wire: WireName) -> None:
    swept(SCENARIOS[name], wire, repeat=1, sample=60)


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_other_transport_leaves_nothing_either(name: str) -> None:
    swept(SCENARIOS[name], "memory", "trio-websocket", repeat=1, sample=25)


@pytest.mark.parametrize("name", ["idle", "a_tool_turn_with_three_parallel_calls", "a_text_turn"])
def test_the_same_point_twice_is_the_same_run_and_a_second_blow_changes_nothing(name: str) -> None:
    swept(SCENARIOS[name], "lockstep", repeat=2, sample=20, pairs=20)
