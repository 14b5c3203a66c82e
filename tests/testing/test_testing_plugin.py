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
import threading

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


doors = []


def hold_the_door():
    door = threading.Event()
    doors.append(door)
    assert door.wait(60)


@pytest.fixture
def in_the_end_the_door_opens():
    yield
    for door in doors:
        door.set()


async def wait_for_a_thread():
    await trio.to_thread.run_sync(hold_the_door, abandon_on_cancel=True)


@pytest.mark.virtual_time(threads=0.05)
async def test_thread(in_the_end_the_door_opens):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_for_a_thread)


@pytest.mark.virtual_time(threads=0.05)
async def test_thread_that_is_not_abandoned(in_the_end_the_door_opens):
    await trio.to_thread.run_sync(hold_the_door)


@pytest.mark.virtual_time(threads=0.05)
async def test_thread_within_a_deadline(virtual_time, in_the_end_the_door_opens):
    with trio.move_on_after(3600) as scope:
        await wait_for_a_thread()
    assert scope.cancelled_caught
    assert trio.current_time() == 3600
    # The thread that was left behind holds nobody up: not even for the time that one is given.
    assert virtual_time.autojump_threshold == 0


async def test_thread_at_work(virtual_time):
    limiter = trio.CapacityLimiter(1)
    for _ in range(20):
        with trio.move_on_after(0.001) as scope:
            await trio.to_thread.run_sync(sum, range(100_000), limiter=limiter)
        assert not scope.cancelled_caught
    assert trio.current_time() == 0
    await trio.sleep(36_000)  # and time is not held any longer


async def beat():
    while True:
        await trio.sleep(20)


@pytest.mark.virtual_time(horizon=3600)
async def test_deadlock_with_a_heartbeat():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(beat)
        nursery.start_soon(wait_for_a_friend)


@pytest.mark.virtual_time(horizon=3600)
async def test_fails_by_itself_after_long():
    await trio.sleep(3599)
    raise ValueError("at last")


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


def line(text):
    """The number of the first line of the suite with this in it."""
    return next(n for n, each in enumerate(SUITE.splitlines(), start=1) if text in each)


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
    "name",
    [
        "test_deadlock",
        "test_deadlock_behind_a_shield",
        "test_deadlock_with_a_heartbeat",
        "test_real_socket",
        "test_thread",
        "test_thread_that_is_not_abandoned",
    ],
)
def test_a_test_that_would_wait_for_ever_fails(output, name):
    assert outcome(output, name) == ["FAILED"]


def test_it_names_the_waiter(output):
    assert re.search(rf"wait_for_a_friend @ \S*test_suite.py:{line('trio.Event().wait()')}", output)


def test_a_wait_for_the_real_world_is_named_too(output):
    place = rf"test_suite.py:{line('await ours.recv')}"
    assert re.search(rf"test_real_socket\S* @ \S*{place}, for the operating system", output)


def test_of_a_thread_that_is_waited_for_the_function_is_named(output):
    place = rf"test_suite.py:{line('run_sync(hold_the_door, abandon')}"
    assert re.search(rf"wait_for_a_thread @ \S*{place}, for a worker thread", output)
    place = rf"test_suite.py:{line('door.wait')}"
    assert re.search(rf"thread hold_the_door from \S+ @ hold_the_door, \S*{place}", output)


def test_a_thread_has_its_time_and_then_the_deadline_comes(output):
    assert outcome(output, "test_thread_at_work") == ["PASSED"]
    assert outcome(output, "test_thread_within_a_deadline") == ["PASSED"]


def test_a_heartbeat_does_not_hide_a_deadlock(output):
    assert "not over after 3600 virtual seconds:" in output
    assert re.search(r"  beat @ \S*test_suite.py", output)
    assert outcome(output, "test_fails_by_itself_after_long") == ["FAILED"]
    assert "ValueError: at last" in output


def test_a_limit_that_there_is_not_is_refused(tmp_path):
    (tmp_path / "test_limits.py").write_text(
        "import pytest\n"
        "@pytest.mark.trio\n"
        "@pytest.mark.virtual_time(hours=1)\n"
        "async def test_limits():\n"
        "    pass\n",
        encoding="utf-8",
    )
    output = run_pytest(tmp_path)
    assert re.search(r"ERROR: test_limits.py::test_limits: .* argument 'hours'", output)


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
