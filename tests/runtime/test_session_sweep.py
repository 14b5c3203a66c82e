"""Every scenario of a session, cancelled at every task step: nothing is left, and nothing hangs."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from meerkat_rt.model.events import SessionClosed
from meerkat_rt.runtime import link as links
from meerkat_rt.runtime import supervisor
from meerkat_rt.runtime.core import SessionCore
from meerkat_rt.testing import cancel_everywhere
from meerkat_rt.testing.explore import explore
from meerkat_rt.testing.scenarios import SCENARIOS, hazards
from meerkat_rt.testing.sweep.case import Case
from meerkat_rt.testing.wires import WIRES, WireName
from meerkat_rt.turn.machine import SessionMachine


def swept(
    case: Case,
    wire: WireName = "memory",
    transport: str = "websockets",
    *,
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
def test_every_point_of_every_scenario_leaves_nothing(name: str) -> None:
    (sweep,) = swept(SCENARIOS[name]).sweeps
    assert sweep.points == sweep.eligible > 20


@pytest.mark.parametrize("wire", [wire for wire in WIRES if wire != "memory"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_wires_that_push_back_and_tear_show_nothing_new(name: str, wire: WireName) -> None:
    swept(SCENARIOS[name], wire, sample=40)


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_other_transport_leaves_nothing_either(name: str) -> None:
    swept(SCENARIOS[name], "tearing", "trio-websocket", sample=30)


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_connection_may_break_at_any_step(name: str) -> None:
    # A call of the session ends when it does; what the application waits for besides is its own.
    swept(SCENARIOS[name], actions=["reset"], sample=30, unwind=1.0)


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_application_may_interrupt_at_any_step(name: str) -> None:
    if "interrupt" in SCENARIOS[name].blows:
        swept(SCENARIOS[name], actions=["interrupt"], sample=30)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_second_blow_during_the_teardown_changes_nothing(name: str) -> None:
    swept(SCENARIOS[name], actions=["cancel", "reset"], sample=2, pairs=10, unwind=1.0)


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_same_point_twice_is_the_same_run(name: str) -> None:
    swept(SCENARIOS[name], "lockstep", repeat=2, sample=6)


@pytest.mark.parametrize("name", SCENARIOS)
def test_other_orders_of_the_tasks_show_nothing_new(name: str) -> None:
    case = SCENARIOS[name]
    explore(case.on(), seeds=range(12), points=2, verify=case.verify, max_unwind=case.unwind)


# ---------------------------------------------------------------- would it be noticed?


async def _never_ends(*_: object) -> None:
    await trio.sleep_forever()


async def _not_released(core: Any, link: Any, hosts: trio.Nursery) -> None:
    core.connected = False
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
    "leaves its socket open": (supervisor, "_release", _not_released, "the socket is open"),
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
