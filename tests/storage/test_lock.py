"""One writer a session, as the operating system keeps it."""

from __future__ import annotations

import errno
import os
import signal

import pytest
from storage.storage_kit import as_nobody, run

from meerkat_rt.storage import SessionLocked, StoreFull, StoreUnavailable
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
    dead._forget()  # what the kernel does
    lock = SessionLock(path, "s").acquire()
    assert lock.path.read_text() == f"{os.getpid()}\n"
    lock.release()


def test_a_file_left_by_another_user_is_no_obstacle_where_everybody_may_write(path):
    path.parent.chmod(0o777)
    mask = os.umask(0)
    try:
        dead = SessionLock(path, "s").acquire()
    finally:
        os.umask(mask)
    dead._forget()
    code = """
        SessionLock(Path(sys.argv[1]), "s").acquire().release()
        print("released")
    """
    assert as_nobody(code, path) == ["released"]
    assert not dead.path.exists()


@pytest.mark.parametrize("call", ["ftruncate", "pwrite"])
def test_a_file_for_which_there_is_no_room_is_not_kept_locked(path, monkeypatch, call):
    def full(*_arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = descriptors()
    with monkeypatch.context() as patched:
        patched.setattr(os, call, full)
        with pytest.raises(StoreFull):
            SessionLock(path, "s").acquire()
    assert descriptors() == before
    SessionLock(path, "s").acquire().release()  # there is room again


def test_a_directory_that_became_read_only_meanwhile(path):
    path.parent.chmod(0o777)
    code = """
        folder = Path(sys.argv[1]).parent / "folder"
        folder.mkdir()
        for _ in range(2):
            lock = SessionLock(folder / "c.db", "s").acquire()
            folder.chmod(0o555)
            lock.release()
            folder.chmod(0o755)
            print(lock.path.exists())
    """
    assert as_nobody(code, path) == ["True", "True"]


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


# ---------------------------------------------------------------- forking

ORPHAN = """
    import os, signal, sys
    from pathlib import Path
    from meerkat_rt.storage.lock import SessionLock

    lock = SessionLock(Path(sys.argv[1]), "s").acquire()
    heard, said = os.pipe()
    child = os.fork()  # as multiprocessing and pools of processes do
    if not child:
        os.close(1)
        os.close(2)
        lock.release()
        os.write(said, b".")
        while True:
            signal.pause()
    os.read(heard, 1)
    print(child, lock.path.exists())
"""


def test_the_lock_ends_with_its_process_and_not_with_the_last_that_it_forked(path):
    child, exists = run(ORPHAN, path)
    try:
        assert exists == "True"  # the child let go of nothing
        SessionLock(path, "s").acquire().release()
    finally:
        os.kill(int(child), signal.SIGKILL)


AT_ONCE = """
    import fcntl, os, sys, threading
    from pathlib import Path
    from meerkat_rt.storage.lock import SessionLock

    locking, forking = threading.Event(), threading.Event()
    flock = fcntl.flock

    def flock_while_another_forks(descriptor, operation):
        locking.set()
        forking.wait()
        flock(descriptor, operation)

    fcntl.flock = flock_while_another_forks
    os.register_at_fork(before=forking.set)
    lock = SessionLock(Path(sys.argv[1]), "s")
    thread = threading.Thread(target=lock.acquire)
    thread.start()
    locking.wait()
    if not (child := os.fork()):
        open_files = [os.path.realpath(entry) for entry in os.scandir("/proc/self/fd")]
        print(str(lock.path) in open_files, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
    thread.join()
    fcntl.flock = flock
    try:
        SessionLock(Path(sys.argv[1]), "s").acquire()
    except Exception as error:
        print(type(error).__name__)
"""


def test_a_process_that_is_forked_while_another_thread_takes_the_lock(path):
    assert run(AT_ONCE, path) == ["False", "SessionLocked"]
