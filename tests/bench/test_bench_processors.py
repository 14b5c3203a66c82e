"""The subject's processor and the server's."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.progress import Progress

from bench import __main__ as command
from bench import pacing, processors
from bench.crew import crew
from bench.peers import Subject
from bench.server import serving
from bench.workloads import WORKLOADS


@pytest.mark.parametrize(
    ("allowed", "own", "others"),
    [
        ({0, 1}, {1}, {0}),
        ({2, 3, 7}, {7}, {2, 3}),
        ({5}, {5}, {5}),
    ],
)
def test_the_subject_has_a_processor_to_itself_if_there_are_two(allowed, own, others) -> None:
    assert processors.split(allowed) == (own, others)


@pytest.mark.skipif(sys.platform != "linux", reason="no other system can be told")
def test_a_subject_and_a_server_run_where_they_are_told_and_we_anywhere() -> None:
    before = os.sched_getaffinity(0)
    own, others = processors.split(before)
    with (
        serving(WORKLOADS["text"]),
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as subject,
    ):
        processors.give(subject.pid)
        assert os.sched_getaffinity(subject.pid) == own
        served = [os.sched_getaffinity(each.pid) for each in multiprocessing.active_children()]
        assert others in served
        assert os.sched_getaffinity(0) == before
        subject.communicate(b"\n")


@pytest.mark.skipif(sys.platform != "linux", reason="no other system can be told")
def test_every_subject_is_told_where_to_run(tmp_path: Path) -> None:
    own, _ = processors.split(os.sched_getaffinity(0))
    with crew(tmp_path, [Subject("meerkat")]) as found:
        assert os.sched_getaffinity(found.workers["meerkat"]._process.pid) == own
    started = pacing._started(tmp_path, {"transport"}, None)
    try:
        assert os.sched_getaffinity(started["transport"].pid) == own
    finally:
        pacing._end(started)


@pytest.mark.parametrize("call", ["sched_setaffinity", "sched_getaffinity"])
def test_where_nobody_may_be_told_they_run_anywhere(
    call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = []

    def refuse(*_: object) -> None:
        refused.append(call)
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(processors.sys, "platform", "linux")
    monkeypatch.setattr(os, call, refuse, raising=False)
    processors.give(os.getpid())
    processors.leave()
    assert refused == [call] * 2


def test_progress_is_drawn_at_each_step_and_not_between(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr(Progress, "refresh", lambda self: drawn.append(self.live.auto_refresh))
    with command._progress(2) as step:
        drawn.clear()
        step("one")
        step("two")
        assert drawn == [False, False]
