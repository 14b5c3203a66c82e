"""What is left behind is named, each kind with the line it came from; what is not, is not."""

from __future__ import annotations

import os
import socket
import threading
import tracemalloc

import pytest
import trio

from meerkat_rt.testing import (
    NotQuiescent,
    assert_quiescent,
    quiescence_baseline,
    quiescent_after,
)
from meerkat_rt.testing import descriptors as descriptors_module


def kinds(error):
    return [leak.kind for leak in error.leaks]


def until_at_work(baseline):
    """A worker thread may be cancelled before it has begun: let it reach what it waits for."""
    for _ in range(10_000):
        if baseline.leaks():
            return


async def test_an_ordinary_block_leaves_nothing(autojump_clock):
    with quiescent_after():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 1)
        send, receive = trio.open_memory_channel(1)
        with send, receive, socket.socket():
            await trio.to_thread.run_sync(int)


async def test_a_task_in_somebody_elses_nursery_is_named(nursery):
    async def straggler():
        await trio.sleep_forever()

    baseline = quiescence_baseline()
    nursery.start_soon(straggler)
    await trio.testing.wait_all_tasks_blocked()
    with pytest.raises(NotQuiescent, match=r"task: straggler @ .*test_testing_quiescence.py:") as e:
        assert_quiescent(baseline)
    assert kinds(e.value) == ["task"]
    nursery.cancel_scope.cancel()


async def test_a_task_that_runs_nothing_but_trio_is_a_leak_too(nursery):
    with pytest.raises(NotQuiescent, match="task: sleep_forever"), quiescent_after():
        nursery.start_soon(trio.sleep_forever)
    nursery.cancel_scope.cancel()


async def test_tasks_of_before_are_not_leaks(nursery):
    nursery.start_soon(trio.sleep_forever)
    await trio.testing.wait_all_tasks_blocked()
    with quiescent_after():
        await trio.lowlevel.checkpoint()
    nursery.cancel_scope.cancel()


async def test_a_channel_end_is_named_by_the_line_that_opened_it():
    baseline = quiescence_baseline()
    send, receive = trio.open_memory_channel(3)
    clone = send.clone()
    receive.close()
    with pytest.raises(
        NotQuiescent, match=r"channel: opened at .*test_testing_quiescence.py:\d+, "
    ) as e:
        assert_quiescent(baseline)
    assert "send ends open: 2, receive ends open: 0" in str(e.value)
    send.close()
    clone.close()
    assert_quiescent(baseline)


async def test_a_channel_opened_by_a_library_is_its_own_business(tmp_path, monkeypatch):
    package = tmp_path / "site-packages"
    package.mkdir()
    (package / "a_library.py").write_text(
        "import trio\nkept = trio.open_memory_channel(1)\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(package)
    with quiescent_after():
        import a_library

        assert a_library.kept


def test_a_socket_is_named_with_its_addresses():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        baseline = quiescence_baseline()
        with socket.create_connection(listener.getsockname()):
            with pytest.raises(
                NotQuiescent, match=rf"socket 127.0.0.1:\d+ -> 127.0.0.1:{port}"
            ) as e:
                assert_quiescent(baseline)
            assert kinds(e.value) == ["descriptor"]


def test_a_socket_is_named_by_its_line_while_tracemalloc_traces():
    tracemalloc.start()
    try:
        baseline = quiescence_baseline()
        with socket.socket():
            with pytest.raises(NotQuiescent, match=r"made at .*test_testing_quiescence.py:\d+"):
                assert_quiescent(baseline)
    finally:
        tracemalloc.stop()


def test_other_descriptors_are_named_by_what_they_are(tmp_path):
    baseline = quiescence_baseline()
    reading, writing = os.pipe()
    path = tmp_path / "kept open"
    with path.open("w"), pytest.raises(NotQuiescent) as e:
        assert_quiescent(baseline)
    os.close(reading)
    os.close(writing)
    text = str(e.value)
    assert f"{reading} (pipe)" in text
    assert "kept open" in text
    assert kinds(e.value) == ["descriptor"] * 3
    assert_quiescent(baseline)


def test_a_number_used_again_is_another_descriptor():
    reading, writing = os.pipe()
    baseline = quiescence_baseline()
    os.close(reading)
    again, other = os.pipe()
    assert again == reading
    with pytest.raises(NotQuiescent) as e:
        assert_quiescent(baseline)
    assert kinds(e.value) == ["descriptor", "descriptor"]
    for number in (again, other, writing):
        os.close(number)


def test_descriptors_are_found_without_a_directory_of_them(monkeypatch):
    expected = descriptors_module.numbers()
    monkeypatch.setattr(descriptors_module, "_FD_DIRS", ("/nonexistent",))
    assert descriptors_module.numbers() == expected


async def test_an_abandoned_worker_thread_is_named(autojump_clock):
    release = threading.Event()

    def stuck_tool():
        release.wait()

    baseline = quiescence_baseline()
    with trio.move_on_after(1):
        await trio.to_thread.run_sync(stuck_tool, abandon_on_cancel=True)
    until_at_work(baseline)
    with pytest.raises(NotQuiescent, match=r"thread: stuck_tool from .* @ stuck_tool, .*:\d+") as e:
        assert_quiescent(baseline)
    assert kinds(e.value) == ["thread"]
    release.set()


async def test_an_abandoned_builtin_is_named(autojump_clock):
    release = threading.Event()
    with (
        pytest.raises(NotQuiescent, match="thread: wait from ") as e,
        quiescent_after() as baseline,
    ):
        with trio.move_on_after(1):
            await trio.to_thread.run_sync(release.wait, abandon_on_cancel=True)
        until_at_work(baseline)
    assert kinds(e.value) == ["thread"]
    release.set()


def test_a_thread_of_ones_own_is_named():
    release = threading.Event()
    baseline = quiescence_baseline()
    thread = threading.Thread(target=release.wait, name="forgotten")
    thread.start()
    try:
        with pytest.raises(NotQuiescent, match="thread: forgotten"):
            assert_quiescent(baseline)
    finally:
        release.set()
        thread.join()
    assert_quiescent(baseline)


async def test_a_block_that_fails_keeps_its_error_and_notes_what_is_left():
    with pytest.raises(KeyError) as caught, quiescent_after():
        send, receive = trio.open_memory_channel(1)
        raise KeyError
    assert "channel: opened at" in caught.value.__notes__[0]
    send.close()
    receive.close()


async def test_without_a_baseline_the_callers_own_nurseries_are_judged():
    async def caller(*, task_status):
        async with trio.open_nursery() as own:
            assert_quiescent()
            own.start_soon(trio.sleep_forever, name="mine")
            with pytest.raises(NotQuiescent, match="task: mine") as e:
                assert_quiescent()
            assert kinds(e.value) == ["task"]
            own.cancel_scope.cancel()
        task_status.started()

    async with trio.open_nursery() as outer:
        outer.start_soon(trio.sleep_forever, name="a sibling, not the caller's to judge")
        await outer.start(caller)
        outer.cancel_scope.cancel()


async def test_without_a_baseline_a_hidden_system_task_is_found():
    stop = trio.Event()
    trio.lowlevel.spawn_system_task(stop.wait, name="hidden")
    with pytest.raises(NotQuiescent, match="task: hidden"):
        assert_quiescent()
    stop.set()


async def test_a_forgotten_baseline_stops_listening():
    from meerkat_rt.testing import scheduler

    before = len(scheduler._channel_listeners)
    baseline = quiescence_baseline()
    assert len(scheduler._channel_listeners) == before + 1
    del baseline
    assert len(scheduler._channel_listeners) == before


async def test_a_deadline_that_is_still_armed_is_named_with_its_task(autojump_clock):
    before = trio.CancelScope(deadline=trio.current_time() + 99)
    with before:
        with pytest.raises(NotQuiescent) as caught, quiescent_after():
            scope = trio.CancelScope(deadline=trio.current_time() + 5)
            scope.__enter__()
        scope.__exit__(None, None, None)
    (leak,) = caught.value.leaks
    assert leak.kind == "deadline"
    assert leak.what.startswith("in 5 s, around ")
    with quiescent_after(), trio.move_on_after(5):
        await trio.sleep(1)


async def test_a_task_is_named_with_the_line_that_spawned_it(nursery, autojump_clock):
    baseline = quiescence_baseline()
    nursery.start_soon(trio.sleep, 99)
    with pytest.raises(NotQuiescent) as caught:
        assert_quiescent(baseline)
    baseline.close()
    nursery.cancel_scope.cancel()
    (leak,) = [each for each in caught.value.leaks if each.kind == "task"]
    assert "spawned at" in leak.what
    assert "test_testing_quiescence.py:" in leak.what.partition("spawned at")[2]
