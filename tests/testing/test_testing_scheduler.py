"""The hooks into Trio: each is proved by behaviour, and missed by name."""

from __future__ import annotations

import gc
import importlib
import random

import pytest
import trio

from meerkat_rt.testing import Schedule, UnsupportedTrio, own_order, scheduler, selfcheck

run_module = importlib.import_module("trio._core._run")
channel_module = importlib.import_module("trio._channel")


@pytest.fixture(autouse=True)
def _no_forgotten_baseline():
    """A baseline that another test forgot listens for channels until it is collected."""
    gc.collect()


def fresh_selfcheck():
    selfcheck.__wrapped__()


def test_this_trio_has_every_hook():
    fresh_selfcheck()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (run_module, "_r"),
        (run_module, "_ALLOW_DETERMINISTIC_SCHEDULING"),
        (channel_module, "MemoryChannelState"),
    ],
)
def test_a_hook_that_is_gone_is_named(monkeypatch, module, name):
    monkeypatch.delattr(module, name)
    with pytest.raises(UnsupportedTrio, match=f"no {module.__name__}.{name}"):
        fresh_selfcheck()


def test_a_loop_that_no_longer_asks_is_named(monkeypatch):
    # As if Trio sorted the batch, but took its permutation from elsewhere.
    monkeypatch.setattr(Schedule, "shuffle", lambda self, batch: None)
    with pytest.raises(UnsupportedTrio, match=r"_run\._r\.shuffle no longer orders batches"):
        fresh_selfcheck()


def test_a_channel_class_that_is_no_longer_used_is_named(monkeypatch):
    monkeypatch.setattr(scheduler, "_install_channel_hook", lambda: None)
    monkeypatch.setattr(scheduler, "_untracked_state", channel_module.MemoryChannelState)
    with pytest.raises(UnsupportedTrio, match=r"MemoryChannelState no longer tells"):
        fresh_selfcheck()


def test_a_task_that_no_longer_shows_its_cancelled_is_named(monkeypatch):
    monkeypatch.setattr(scheduler, "about_to_raise", lambda task: None)
    with pytest.raises(UnsupportedTrio, match=r"Task\._next_send no longer shows"):
        fresh_selfcheck()


def test_a_task_without_the_attribute_is_named(monkeypatch):
    def missing(task):
        raise AttributeError("_next_send")

    monkeypatch.setattr(scheduler, "about_to_raise", missing)
    with pytest.raises(UnsupportedTrio, match=r"Task\._next_send no longer shows"):
        fresh_selfcheck()


def test_a_coroutine_that_is_not_taken_is_named(monkeypatch):
    monkeypatch.setattr(scheduler, "run_in_scope", lambda task, scope: None)
    with pytest.raises(UnsupportedTrio, match=r"Task\.coro no longer takes"):
        fresh_selfcheck()


@pytest.mark.parametrize("name", ["_abort_func", "_attempt_abort"])
def test_a_wait_that_nothing_can_be_raised_in_is_named(monkeypatch, name):
    def missing(*_):
        raise AttributeError(name)

    monkeypatch.setattr(scheduler, "can_raise_in", missing)
    with pytest.raises(UnsupportedTrio, match=rf"Task\._abort_func and .* no longer .*{name}"):
        fresh_selfcheck()


def test_an_exception_that_is_not_raised_is_named(monkeypatch):
    monkeypatch.setattr(scheduler, "raise_in", lambda task, error: None)
    with pytest.raises(UnsupportedTrio, match=r"_attempt_abort no longer raise"):
        fresh_selfcheck()


def test_deadlines_that_are_not_told_are_named(monkeypatch):
    monkeypatch.setattr(scheduler, "armed_deadlines", list)
    with pytest.raises(UnsupportedTrio, match=r"runner\.deadlines no longer tells"):
        fresh_selfcheck()


def test_a_runner_without_deadlines_is_named(monkeypatch):
    def missing():
        raise AttributeError("'Deadlines' object has no attribute '_heap'")

    monkeypatch.setattr(scheduler, "armed_deadlines", missing)
    with pytest.raises(UnsupportedTrio, match="_heap"):
        fresh_selfcheck()


def test_everything_is_put_back():
    before = run_module._r, run_module._ALLOW_DETERMINISTIC_SCHEDULING
    state = channel_module.MemoryChannelState
    with pytest.raises(KeyError), own_order(Schedule()):
        assert run_module._r is not before[0]
        with scheduler.tracked_channels(lambda channel: None):
            assert channel_module.MemoryChannelState is not state
            raise KeyError
    assert (run_module._r, run_module._ALLOW_DETERMINISTIC_SCHEDULING) == before
    assert channel_module.MemoryChannelState is state


def test_channel_listeners_may_leave_in_any_order():
    state = channel_module.MemoryChannelState
    first, second = [], []

    def to_first(channel):
        first.append(channel)

    def to_second(channel):
        second.append(channel)

    scheduler.watch_channels(to_first)
    scheduler.watch_channels(to_second)
    scheduler.unwatch_channels(to_first)
    trio.open_memory_channel(1)
    scheduler.unwatch_channels(to_second)
    trio.open_memory_channel(1)
    assert (len(first), len(second)) == (0, 1)
    assert second[0].path == __file__
    assert second[0].open_ends == (1, 1)
    assert channel_module.MemoryChannelState is state


def test_a_schedule_is_seeded_or_explicit():
    with pytest.raises(ValueError, match="either"):
        Schedule(seed=1, orders={})


def spawn_order(schedule, count=6):
    order = []

    async def child(number):
        order.append(number)
        await trio.lowlevel.checkpoint()
        order.append(number)

    async def main():
        async with trio.open_nursery() as nursery:
            for number in range(count):
                nursery.start_soon(child, number)

    with own_order(schedule):
        trio.run(main)
    return order


def test_fifo_is_the_order_of_spawning():
    assert spawn_order(Schedule()) == [0, 1, 2, 3, 4, 5] * 2


def test_a_seed_is_one_order_and_its_log_replays_it():
    seeded = Schedule(seed=11)
    order = spawn_order(seeded)
    assert spawn_order(Schedule(seed=11)) == order
    assert spawn_order(Schedule(seed=12)) != order
    assert spawn_order(Schedule(orders=seeded.taken)) == order


@pytest.mark.parametrize("size", [2, 3, 5, 30])
def test_a_drawn_order_is_a_sample_of_the_generator(size):
    for seed in range(20):
        ours, theirs = random.Random(seed), random.Random(seed)
        assert scheduler._drawn(ours, size) == tuple(theirs.sample(range(size), size))
        assert ours.getstate() == theirs.getstate()


def test_the_batches_are_told_in_the_order_in_which_they_run_and_the_empty_ones_too():
    told = []
    schedule = Schedule(orders={0: (2, 0, 1)})
    schedule.on_batch = lambda batch: told.append(list(batch))
    for batch in (["a", "b", "c"], [], ["d"]):
        schedule.shuffle(batch)
    assert told == [["b", "a", "c"], [], ["d"]]  # the loop takes the last one first


def test_only_departures_are_logged():
    schedule = Schedule(orders={0: (0, 1)})
    spawn_order(schedule)
    assert schedule.taken == {}


def test_a_stopped_schedule_ends_the_loop_from_outside_any_task():
    schedule = Schedule()
    schedule.shuffle([])
    schedule.stop("enough")
    schedule.stop("too late to matter")
    with pytest.raises(scheduler.HardStop, match="enough"):
        schedule.shuffle([])


def test_selfcheck_runs_once():
    selfcheck()
    assert selfcheck.cache_info().currsize == 1
