"""One writer for each session: a lock that the operating system drops when its holder dies."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import SessionLocked, StoreUnavailable
from .failures import check_path, of_os_error

if TYPE_CHECKING:
    from typing import Self

if sys.platform != "win32":
    import fcntl

# A lock is of the open file, and a child that is forked has a copy of that: unless it closes its
# copy, the lock outlives its holder.  While one is taken or let go, there is no forking, so that
# the child knows of every copy that it has.  Reentrant, for a signal handler that forks.
_guard = threading.RLock()
_held: set[SessionLock] = set()


def _forget_in_child() -> None:
    for lock in _held:
        lock._forget()
    _held.clear()
    _guard.release()


if sys.platform != "win32":
    os.register_at_fork(
        before=_guard.acquire,
        after_in_parent=_guard.release,
        after_in_child=_forget_in_child,
    )


class SessionLock:
    """The lock of one session of one store.  Not to be used from two threads at a time.

    It is a file beside the store, locked as a whole; what it contains is for people and for the
    error message of the next one who wants it.  The file is named by the session, not listed in the
    store, so that the lock works before there is a store.  A child that is forked does not hold it.
    """

    def __init__(self, store: Path, session_id: str) -> None:
        check_path(store)
        # Two names of one store must lead to one lock.
        real = Path(os.path.realpath(store))
        digest = blake2b(session_id.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
        self.path = real.with_name(f"{real.name}-{digest}.lock")
        self._store = store
        self._session_id = session_id
        self._descriptor: int | None = None

    def acquire(self) -> Self:
        """Take the lock, or fail at once.

        Raises:
            SessionLocked: another process, or another part of this one, has it.
            StoreReadOnly, StoreUnavailable, StoreFull: the lock's file cannot be made.
        """
        while self._descriptor is None:
            with _guard:
                self._try()
        return self

    def _try(self) -> None:
        if sys.platform == "win32":
            raise StoreUnavailable(
                message="stores in files need flock, which Windows lacks", path=str(self._store)
            )
        try:
            # Of whoever may write the store; `umask` takes away what it should not give.
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise of_os_error(error, self._store) from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise self._locked(_holder(descriptor)) from None
            # The holder removes the file before it lets go.  Whoever was waiting at the removed
            # file has a lock on nothing, and starts again.
            if self._is_current(descriptor):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
                self._descriptor = descriptor
                _held.add(self)
        except OSError as error:
            raise of_os_error(error, self._store) from error
        finally:
            if self._descriptor is None:
                os.close(descriptor)

    def release(self) -> None:
        """Let go.  Doing it twice is the same as once."""
        with _guard:
            descriptor, self._descriptor = self._descriptor, None
            _held.discard(self)
            if descriptor is None:
                return
            try:
                # A directory may have become read-only; a file that is left is no obstacle.
                with suppress(OSError):
                    if self._is_current(descriptor):
                        self.path.unlink(missing_ok=True)
            finally:
                os.close(descriptor)

    def _forget(self) -> None:
        # Closing the copy of a descriptor lets nothing go, and the file is still the parent's.
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with suppress(OSError):
                os.close(descriptor)

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self.path))
        except FileNotFoundError:
            return False

    def _locked(self, pid: int | None) -> SessionLocked:
        if pid is None:
            who = "another writer"
        else:
            who = "this process" if pid == os.getpid() else f"process {pid}"
        return SessionLocked(
            message=f"session {self._session_id!r} is being written by {who}",
            path=str(self._store),
            session_id=self._session_id,
            pid=pid,
        )


def _holder(descriptor: int) -> int | None:
    # The holder writes its id after it has taken the lock, so that it may be missing for a moment.
    text = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
    return int(text) if text.isdecimal() else None
