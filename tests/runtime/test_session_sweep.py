"""Scenarios of sessions, cancelled at some of their steps: nothing is left, and nothing hangs.

All steps of each, on every wire, are for `python -m meerkat_rt.testing.sweep`; `.ci/run` runs it.
"""

from __future__ import annotations

from typing import Any

import pytest
import trio

from meerkat_rt.model.events import SessionClosed
from meerkat_rt.runtime import link as links
from meerkat_rt.runtime.core import SessionCore
from meerkat_rt.testing import cancel_everywhere
from meerkat_rt.testing.scenarios import SCENARIOS, hazards
from meerkat_rt.testing.sweep.case import Case
from meerkat_rt.testing.sweep.plan import BLOW_UNWIND
from meerkat_rt.testing.wires import WireName
from meerkat_rt.turn.machine import SessionMachine


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


# ---------------------------------------------------------------- would it be noticed?


async def _never_ends(*_: object) -> None:
    await trio.sleep_forever()


async def _not_released(core: Any, link: Any, hosts: trio.Nursery) -> None:
    link.gone.set()
    hosts.cancel_scope.cancel()


def _forgets(self: Any, now: float) -> None:
    """End the session for the application, and keep everything."""


def _says_nothing(self: Any) -> None:
    self.events.end(None)
    self.closed.set()


def _says_it_twice(self: Any) -> None:
    self.events.put([SessionClosed(self.reason)])
    _finish(self)


_finish = SessionCore.finish

MISTAKES = {
    "waits for a peer that has closed": (links, "say_goodbye", _never_ends, "slow unwind"),
    "leaves its socket open": (links, "release", _not_released, "the socket is open"),
    "keeps what has ended": (SessionMachine, "close", _forgets, "still remembered"),
    "has no last word": (SessionCore, "finish", _says_nothing, "closing"),
    "has two last words": (SessionCore, "finish", _says_it_twice, "closing"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_session_with_a_mistake_does_not_pass(
    mistake: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    where, name, instead, violation = MISTAKES[mistake]
    monkeypatch.setattr(where, name, instead)
    report = swept(SCENARIOS["a_tool_turn_with_three_parallel_calls"], sample=5, check=False)
    assert any(violation in kind for kind in report.kinds()), str(report)
