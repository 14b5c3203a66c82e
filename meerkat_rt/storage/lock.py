"""One writer for each session: a lock that the operating system drops when its holder dies."""

from __future__ import annotations

import os
import sys
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import SessionLocked, StoreUnavailable
from .failures import of_os_error

if TYPE_CHECKING:
    from typing import Self

if sys.platform != "win32":
    import fcntl


class SessionLock:
    """The lock of one session of one store.  Not to be used from two threads at a time.

    It is a file beside the store, locked as a whole; what it contains is for people and for the
    error message of the next one who wants it.  The file is named by the session, not listed in the
    store, so that the lock works before there is a store.
    """

    def __init__(self, store: Path, session_id: str) -> None:
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
        if sys.platform == "win32":
            raise StoreUnavailable(
                message="stores in files need flock, which Windows lacks", path=str(self._store)
            )
        while self._descriptor is None:
            try:
                descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            except OSError as error:
                raise of_os_error(error, self._store) from error
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pid = _holder(descriptor)
                os.close(descriptor)
                raise self._locked(pid) from None
            except OSError as error:
                os.close(descriptor)
                raise of_os_error(error, self._store) from error
            # The holder removes the file before it lets go.  Whoever was waiting at the removed
            # file has a lock on nothing, and starts again.
            if self._is_current(descriptor):
                self._descriptor = descriptor
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            else:
                os.close(descriptor)
        return self

    def release(self) -> None:
        """Let go.  Doing it twice is the same as once."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            if self._is_current(descriptor):
                self.path.unlink(missing_ok=True)
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
