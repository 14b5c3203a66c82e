"""The pytest plugin, in a pytest of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]

SUITE = """
import pytest
import trio

pytestmark = pytest.mark.trio


async def test_hours(virtual_time):
    await trio.sleep(36_000)
    assert trio.current_time() == virtual_time.current_time() == 36_000


async def wait_for_a_friend():
    await trio.Event().wait()


async def test_deadlock(virtual_time):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_for_a_friend)


async def test_deadlock_behind_a_shield(virtual_time):
    with trio.CancelScope(shield=True):
        await trio.Event().wait()


async def test_real_socket(virtual_time):
    ours, theirs = trio.socket.socketpair()
    with ours, theirs:
        await ours.recv(1)


async def test_fails_by_itself(virtual_time):
    assert trio.current_time() == 1


@pytest.mark.seeded
async def test_order(record_property):
    order = []
    async with trio.open_nursery() as nursery:
        for number in range(6):

            async def child(number=number):
                order.append(number)

            nursery.start_soon(child)
    print("ORDER", order)
    assert order[0] == 0


async def test_leaks_a_channel(quiescent):
    trio.open_memory_channel(1)


async def test_leaves_nothing(quiescent, virtual_time):
    await trio.sleep(1)
"""


def run_pytest(folder, *options):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "meerkat_rt.testing.plugin"),
            *("-p", "no:cacheprovider", "-rA", "--strict-markers", "-W", "error", *options),
            str(folder),
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout + done.stderr


def outcome(output, name):
    return [
        line.split()[0]
        for line in output.splitlines()
        if re.match(rf"(PASSED|FAILED|ERROR) \S*::{re.escape(name)}(\s|$)", line)
    ]


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    folder = tmp_path_factory.mktemp("suite")
    (folder / "test_suite.py").write_text(SUITE, encoding="utf-8")
    return run_pytest(folder, "--meerkat-seeds", "5")


def test_hours_pass_at_once(output):
    assert outcome(output, "test_hours") == ["PASSED"]


@pytest.mark.parametrize(
    "name", ["test_deadlock", "test_deadlock_behind_a_shield", "test_real_socket"]
)
def test_a_test_that_would_wait_for_ever_fails(output, name):
    assert outcome(output, name) == ["FAILED"]


def test_it_names_the_waiter(output):
    assert re.search(r"wait_for_a_friend @ \S*test_suite.py:14", output)


def test_a_wait_for_the_real_world_is_named_too(output):
    assert re.search(r"test_real_socket\S* @ \S*test_suite.py:\d+", output)


def test_an_ordinary_failure_stays_itself(output):
    assert outcome(output, "test_fails_by_itself") == ["FAILED"]
    assert "assert 0.0 == 1" in output


def test_seeds_give_orders_and_a_failure_prints_the_command_that_repeats_it(output, tmp_path):
    outcomes = {seed: outcome(output, f"test_order[seed{seed}]") for seed in range(5)}
    assert all(len(each) == 1 for each in outcomes.values())
    failed = [seed for seed, each in outcomes.items() if each == ["FAILED"]]
    assert failed
    assert len(failed) < 5
    seed = failed[0]
    assert f"'test_suite.py::test_order[seed{seed}]' --meerkat-seed {seed}" in output
    (tmp_path / "test_suite.py").write_text(SUITE, encoding="utf-8")
    again = run_pytest(tmp_path, "-k", "test_order", "--meerkat-seed", str(seed))
    assert outcome(again, f"test_order[seed{seed}]") == ["FAILED"]
    orders = set(re.findall(r"ORDER .*", again))
    assert len(orders) == 1
    assert orders <= set(re.findall(r"ORDER .*", output))


def test_what_a_test_leaves_is_an_error(output):
    assert outcome(output, "test_leaks_a_channel")[-1] == "ERROR"
    assert re.search(r"channel: opened at \S*test_suite.py:\d+", output)
    assert outcome(output, "test_leaves_nothing") == ["PASSED"]
