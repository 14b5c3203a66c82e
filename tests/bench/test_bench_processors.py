"""The subject's processor and the server's."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys

import pytest

from bench import processors
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
        (server,) = multiprocessing.active_children()
        assert os.sched_getaffinity(server.pid) == others
        assert os.sched_getaffinity(0) == before
        subject.communicate(b"\n")
