"""Every state machine of the room against its table: what is not in it changes nothing."""

from __future__ import annotations

from enum import Enum

import pytest

from meerkat_rt.turn.nudge import NUDGE_TABLE, NudgeClock, NudgePhase, NudgeTrigger
from meerkat_rt.turn.ports import ResponseOptions
from meerkat_rt.turn.records import (
    REQUEST_TABLE,
    RESPONSE_TABLE,
    Request,
    RequestState,
    RequestTrigger,
    Response,
    ResponsePhase,
    ResponseTrigger,
    Why,
)
from meerkat_rt.turn.tools import CALL_TABLE, Call, CallState, CallTrigger, ToolSpec


def request_in(state: RequestState) -> Request:
    return Request(
        id="q", why=Why.TEXT, options=ResponseOptions(), nudge=NudgeClock(1.0), state=state
    )


def response_in(phase: ResponsePhase) -> Response:
    return Response("R", phase=phase)


def call_in(state: CallState) -> Call:
    return Call("c", ToolSpec(name="f"), "R", 0.0, state=state)


def clock_in(phase: NudgePhase) -> NudgeClock:
    clock = NudgeClock(1.0)
    clock.phase = phase
    return clock


MACHINES = {
    "request": (REQUEST_TABLE, RequestState, RequestTrigger, request_in, "state"),
    "response": (RESPONSE_TABLE, ResponsePhase, ResponseTrigger, response_in, "phase"),
    "call": (CALL_TABLE, CallState, CallTrigger, call_in, "state"),
    "nudge": (NUDGE_TABLE, NudgePhase, NudgeTrigger, clock_in, "phase"),
}


@pytest.mark.parametrize("name", MACHINES)
def test_every_state_has_a_row(name):
    table, states, triggers, _, _ = MACHINES[name]
    assert set(table) == set(states)
    for row in table.values():
        assert set(row) <= set(triggers)


@pytest.mark.parametrize("name", MACHINES)
def test_pairs_outside_the_table_change_nothing_and_the_others_lead_where_it_says(name):
    table, states, triggers, make, attribute = MACHINES[name]
    for state in states:
        for trigger in triggers:
            thing = make(state)
            expected = table[state].get(trigger)
            assert thing.fire(trigger) is (expected is not None)
            assert getattr(thing, attribute) is (state if expected is None else expected)


@pytest.mark.parametrize("name", MACHINES)
def test_every_state_can_be_reached_and_every_life_can_end(name):
    table, states, _, _, _ = MACHINES[name]
    starts: dict[str, tuple[Enum, ...]] = {
        "request": (RequestState.OWED, RequestState.QUEUED),
        "response": (ResponsePhase.ACTIVE,),
        "call": (CallState.OPEN,),
        "nudge": (NudgePhase.IDLE,),
    }
    reached: set[Enum] = set()
    todo = list(starts[name])
    while todo:
        state = todo.pop()
        if state not in reached:
            reached.add(state)
            todo += table[state].values()
    assert reached == set(states)
    ends = {state for state in states if not table[state]}
    assert len(ends) == 1


def test_a_settled_request_and_a_dead_response_stay_so():
    assert REQUEST_TABLE[RequestState.SETTLED] == {}
    assert RESPONSE_TABLE[ResponsePhase.GONE] == {}
    assert CALL_TABLE[CallState.SETTLED] == {}


def test_a_response_has_one_terminal_and_one_cut_on_every_path():
    def paths(phase: ResponsePhase, seen: tuple[ResponseTrigger, ...]) -> None:
        assert seen.count(ResponseTrigger.TERMINAL) <= 1
        assert seen.count(ResponseTrigger.CUT) <= 1
        for trigger, after in RESPONSE_TABLE[phase].items():
            paths(after, (*seen, trigger))

    paths(ResponsePhase.ACTIVE, ())
