"""Scenarios of sessions, cancelled at some of their steps: nothing is left, and nothing hangs.

All steps of each, on every wire, are for `python -m meerkat_rt.testing.sweep`; `.ci/run` runs it.
"""

from __future__ import annotations

from typing import Any

import pytest

from meerkat_rt.testing import cancel_everywhere
from meerkat_rt.testing.scenarios import SCENARIOS, hazards
from meerkat_rt.testing.sweep.case import Case
from meerkat_rt.testing.sweep.plan import BLOW_UNWIND
from meerkat_rt.testing.wires import WireName


def swept(
    case: Case,
    wire: WireName = "memory",
    transport: str = "websockets",
    unwind: float | None = None,
    **options: Any,
) -> Any:
    return cancel_everywhere(
        case.on(wire, transport),
        max_unwind=case.unwind if unwind is None else unwind,
        verify=case.verify,
        **{"repeat": 1, **options},
    )


def test_every_hazard_is_a_scenario() -> None:
    numbers = [name.split("_")[1] for name in SCENARIOS if name.startswith("hazard_")]
    assert numbers == ["01", "02", "03", "05", "06", "07", "08", "09", "10", "11", "12"]
    assert "hazard_03_and_04" in " ".join(SCENARIOS)
    assert hazards.__doc__


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_few_points_of_every_scenario_leave_nothing(name: str) -> None:
    case = SCENARIOS[name]
    swept(case, sample=4, repeat=2)
    wire, transport = case.wires[-1], case.transports[-1]
    swept(case, wire, transport, sample=2)
    swept(case, wire, transport, actions=case.blows, sample=2, unwind=BLOW_UNWIND)
