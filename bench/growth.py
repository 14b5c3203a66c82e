"""How the cost of an event grows: with the length of an answer, and with that of a conversation.

(With the number of sessions: see `bench.pacing`.)  Ours beside the peers', end to end, in turn.
"""

from __future__ import annotations

from collections.abc import Callable

from .crew import Crew, Worker, WorkerFailed
from .server import serving
from .workloads import Workload, long_answer, short_answer

ANSWERS = (1_000, 4_000, 16_000)  # deltas of one response
TURNS = (50, 200, 800)  # responses of one conversation, of some thirty events each
OURS = "meerkat"
QUICK = frozenset({OURS})
ALL = frozenset({OURS, "openai", "openai-agents", "livekit", "pydantic-ai", "pipecat"})
TIMEOUT = 15.0  # seconds; what grows faster than it receives is not waited for

Found = dict[str, dict[str, dict[int, list[float]]]]
"""CPU microseconds an event, by axis (`answer`, `conversation`), subject and length."""


def run(crew: Crew, *, repetitions: int, quick: bool, step: Callable[[str], None]) -> Found:
    """Measure every length, `repetitions` times."""
    asked = QUICK if quick else ALL
    answers, turns_of = _lengths(quick=quick)
    found: Found = {"answer": {}, "conversation": {}}
    ready = crew.of(asked)
    for deltas in answers:
        step(f"growth: an answer of {deltas} deltas")
        _enter(found["answer"], deltas, _measure(long_answer(deltas), 1, ready, repetitions))
    ready = crew.of(asked)
    for turns in turns_of:
        step(f"growth: a conversation of {turns} answers")
        _enter(found["conversation"], turns, _measure(short_answer(), turns, ready, repetitions))
    return found


def steps(*, quick: bool) -> int:
    """How often `run` calls `step`."""
    return sum(map(len, _lengths(quick=quick)))


def _lengths(*, quick: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shortest and the longest tell whether anything grows at all."""
    return (ANSWERS[::2], TURNS[::2]) if quick else (ANSWERS, TURNS)


def _measure(
    workload: Workload, units: int, ready: dict[str, Worker], repetitions: int
) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in ready}
    with serving(workload) as url:
        for repetition in range(repetitions + 1):
            for name in list(ready):
                try:
                    answer = ready[name].measure(workload, url, units, TIMEOUT)
                except WorkerFailed:
                    del ready[name]  # it would only be worse with more
                    continue
                if repetition:  # the first warms up
                    found[name].append(answer["cpu"] / (units * workload.events) * 1e6)
    return found


def _enter(
    found: dict[str, dict[int, list[float]]], length: int, row: dict[str, list[float]]
) -> None:
    for name, values in row.items():
        if values:
            found.setdefault(name, {})[length] = values
