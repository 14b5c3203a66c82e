"""Each task of a session's own, cancelled or broken alone: the session ends and says so."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from runtimekit import closing, linger, meeting, outcome

from meerkat_rt import errors
from meerkat_rt.model.events import ClosedBy
from meerkat_rt.runtime import link as links
from meerkat_rt.runtime.core import SessionCore
from meerkat_rt.runtime.tool_dispatch import ToolDispatch
from meerkat_rt.testing import InjectedError, cancel_everywhere
from meerkat_rt.testing.scenarios import SCENARIOS

WORKERS = {
    "receiver": (links, "receive"),
    "sender": (links, "send"),
    "keepalive": (links, "keep_alive"),
    "nudge timer": (SessionCore, "run_timer"),
    "tool dispatch": (ToolDispatch, "run"),
}


@pytest.mark.parametrize("worker", WORKERS)
async def test_a_worker_that_returns_ends_the_session_with_a_runtime_reason(
    worker: str, monkeypatch: pytest.MonkeyPatch, autojump_clock: Any
) -> None:
    where, name = WORKERS[worker]

    async def returns(*_: object) -> None:
        await trio.sleep(1)

    monkeypatch.setattr(where, name, returns)
    async with meeting(linger, client_may_leave=True) as met:
        read, error = await outcome(met.session)
        grace = met.core.limits.close_grace  # for a goodbye that nobody may be there to say
        assert 1 <= trio.current_time() <= 1 + grace
    reason = closing(read)
    assert reason.by is ClosedBy.RUNTIME
    assert reason.text == f"internal error: the {worker} ended before the session"
    assert not reason.clean
    assert isinstance(error, errors.WorkerLost)
    assert error.retryable


@pytest.mark.parametrize("worker", WORKERS)
async def test_a_worker_that_fails_ends_the_session_and_the_bug_comes_out(
    worker: str, monkeypatch: pytest.MonkeyPatch, autojump_clock: Any
) -> None:
    where, name = WORKERS[worker]

    async def fails(*_: object) -> None:
        await trio.sleep(1)
        raise InjectedError("a bug")

    monkeypatch.setattr(where, name, fails)
    sessions = []
    with pytest.raises(InjectedError, match="a bug"):
        async with meeting(linger, client_may_leave=True) as met:
            sessions.append(met.session)
            await outcome(met.session)
            raise AssertionError("the block was not cancelled")
    assert sessions[0].closed is not None
    assert sessions[0].closed.text == f"internal error: the {worker} ended before the session"


@pytest.mark.parametrize("action", ["cancel(*)", "raise(*)"])
@pytest.mark.parametrize(
    "name",
    [
        "a_text_turn",
        "a_tool_turn_with_three_parallel_calls",
        "an_audio_turn_as_openai",
    ],
)
def test_every_task_struck_alone_at_any_step_leaves_nothing_and_no_silence(
    name: str, action: str
) -> None:
    case = SCENARIOS[name]
    report = cancel_everywhere(
        case.on(),
        actions=[action],
        sample=12,
        repeat=1,
        verify=case.verify,
        max_unwind=case.unwind,
        spare_runtime=False,
    )
    struck = {sweep.action.partition("(")[2][:-1] for sweep in report.sweeps}
    assert set(WORKERS) | {"supervisor", "close when cancelled"} <= struck


def test_what_a_body_expects_is_no_verdict_on_a_session_whose_task_was_struck() -> None:
    """Its tool returns although nobody interrupted: the dispatch that was struck cancelled it."""
    case = SCENARIOS["hazard_10_a_tool_that_swallows_its_cancellation"]
    report = cancel_everywhere(
        case.on(), actions=["raise(tool dispatch)"], repeat=1, verify=case.verify, max_unwind=1
    )
    assert report.points > 50


def test_what_the_runtime_expects_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def insist(self: SessionCore, name: str) -> None:
        assert self.close_requested.is_set(), "no such task can end"

    monkeypatch.setattr(SessionCore, "worker_lost", insist)
    case = SCENARIOS["a_text_turn"]
    report = cancel_everywhere(
        case.on(), actions=["cancel(tool dispatch)"], sample=3, repeat=1, check=False
    )
    assert list(report.kinds()) == ["escaped"]
    assert "no such task can end" in str(report)


@pytest.mark.parametrize(
    ("worker", "violation"), [("receiver", "silently dead"), ("sender", "silently dead")]
)
def test_a_session_that_goes_on_without_a_worker_is_noticed(
    worker: str, violation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SessionCore, "worker_lost", lambda self, name: None)
    case = SCENARIOS["a_text_turn"]
    report = cancel_everywhere(
        case.on(), actions=[f"cancel({worker})"], repeat=1, verify=case.verify, check=False
    )
    assert any(violation in kind for kind in report.kinds()), str(report)


def test_a_connection_whose_task_is_cancelled_before_it_begins_ends_the_session() -> None:
    """Every point: between readiness and the beginning lie only some of them."""
    case = SCENARIOS["a_text_turn"]
    cancel_everywhere(
        case.on(),
        actions=["cancel(receiver)"],
        repeat=1,
        verify=case.verify,
        max_unwind=case.unwind,
    )
