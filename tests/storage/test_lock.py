"""One writer a session, as the operating system keeps it."""

from __future__ import annotations

import os

import pytest

from meerkat_rt.storage import SessionLocked, StoreUnavailable
from meerkat_rt.storage.lock import SessionLock


def descriptors():
    return set(os.listdir("/proc/self/fd"))


def test_the_second_is_refused_at_once_and_told_who_has_it(path):
    first = SessionLock(path, "s").acquire()
    before = descriptors()
    with pytest.raises(
        SessionLocked, match="session 's' is being written by this process"
    ) as refused:
        SessionLock(path, "s").acquire()
    assert refused.value.pid == os.getpid()
    assert descriptors() == before
    first.release()


def test_a_holder_that_has_not_said_who_it_is(path):
    first = SessionLock(path, "s").acquire()
    os.truncate(first.path, 0)
    with pytest.raises(SessionLocked, match="another writer") as refused:
        SessionLock(path, "s").acquire()
    assert refused.value.pid is None
    first.release()


def test_the_lock_of_a_missing_directory(path):
    with pytest.raises(StoreUnavailable, match="no directory"):
        SessionLock(path.parent / "nowhere" / "file", "s").acquire()


def test_two_names_of_one_store_are_one_lock(path, folder):
    path.touch()
    other = folder / "alias.db"
    other.symlink_to(path)
    first = SessionLock(path, "s").acquire()
    with pytest.raises(SessionLocked):
        SessionLock(other, "s").acquire()
    first.release()


def test_sessions_and_stores_have_locks_of_their_own(path, folder):
    locks = [
        SessionLock(path, "s").acquire(),
        SessionLock(path, "t").acquire(),
        SessionLock(folder / "other.db", "s").acquire(),
    ]
    for lock in locks:
        lock.release()


def test_released_it_leaves_nothing_and_can_be_taken_again(path, folder):
    before = descriptors()
    for _ in range(3):
        lock = SessionLock(path, "s").acquire()
        lock.release()
        lock.release()
    assert list(folder.iterdir()) == []
    assert descriptors() == before


def test_a_file_left_by_a_dead_owner_is_no_obstacle(path):
    dead = SessionLock(path, "s").acquire()
    os.close(dead._descriptor)  # what the kernel does
    lock = SessionLock(path, "s").acquire()
    assert lock.path.read_text() == f"{os.getpid()}\n"
    lock.release()


def test_a_lock_on_a_file_that_was_removed_meanwhile_does_not_count(path, monkeypatch):
    # The holder lets go between our opening of its file and our locking of it.
    import fcntl

    holder = SessionLock(path, "s").acquire()
    flock = fcntl.flock

    def flock_too_late(descriptor, operation):
        monkeypatch.setattr(fcntl, "flock", flock)
        holder.release()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock_too_late)
    lock = SessionLock(path, "s").acquire()
    with pytest.raises(SessionLocked):
        SessionLock(path, "s").acquire()
    lock.release()
