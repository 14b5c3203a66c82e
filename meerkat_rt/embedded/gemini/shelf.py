"""Sessions that can be resumed: what a server keeps between two connections."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable

import attrs

from .history import Snapshot
from .proto import INTERNAL, Refused, invalid

MOST_HANDLES = 1024  # on the whole shelf; the oldest are forgotten
HANDLE_SECONDS = 7200.0  # that a handle is good for


@attrs.frozen(kw_only=True)
class Kept:
    """A session at one moment, in seconds of the shelf's clock."""

    session_id: str
    model: str
    history: Snapshot
    at: float


@attrs.define(eq=False)
class Shelf:
    """What was kept under which handle, and which sessions have a connection.

    `clock` gives seconds; `mint` makes handles that nobody can guess.
    """

    clock: Callable[[], float]
    mint: Callable[[], str] = lambda: secrets.token_urlsafe(24)
    _kept: OrderedDict[str, Kept] = attrs.field(factory=OrderedDict, init=False)
    _connected: set[str] = attrs.field(factory=set, init=False)

    def keep(self, session_id: str, model: str, history: Snapshot) -> str:
        """Keep a session as it is now; the handle."""
        now = self.clock()
        while self._kept and (
            len(self._kept) >= MOST_HANDLES
            or next(iter(self._kept.values())).at < now - HANDLE_SECONDS
        ):
            self._kept.popitem(last=False)
        handle = self.mint()
        self._kept[handle] = Kept(session_id=session_id, model=model, history=history, at=now)
        return handle

    def take(self, handle: str, model: str) -> Kept:
        """What is kept under a handle, which stays good.

        Raises:
            Refused: there is nothing (any more), it is another model's, or the session still has a
                connection.
        """
        kept = self._kept.get(handle)
        if kept is None or kept.at < self.clock() - HANDLE_SECONDS:
            raise invalid("Invalid session resumption handle: BidiGenerateContent session expired")
        if kept.model != model:
            raise invalid("Invalid session resumption handle: the model cannot be changed")
        if kept.session_id in self._connected:
            raise Refused(INTERNAL, "The session is still connected: it cannot be resumed yet.")
        return kept

    def connect(self, session_id: str) -> None:
        """The session has a connection."""
        self._connected.add(session_id)

    def disconnect(self, session_id: str) -> None:
        """It has none any more."""
        self._connected.discard(session_id)
