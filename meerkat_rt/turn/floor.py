"""Whether the user is speaking, as far as that keeps the model from being asked to."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .context import Context

TURN_TAIL = 1.0  # seconds after speech in which the provider says whether the turn is complete

_LISTENING = ("listening", "")


class Floor:
    """Who has the floor: the user while `user_speaks`, and for a moment behind that."""

    __slots__ = (
        "_ctx",
        "_listens_until",
        "user_speaks",
    )

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self.user_speaks = False
        self._listens_until = 0.0

    def taken(self, now: float) -> bool:
        """To speak now would be to talk over the user."""
        return self.user_speaks or now < self._listens_until

    def speech_began(self) -> None:
        """The user speaks."""
        self.user_speaks = True

    def speech_paused(self, now: float) -> None:
        """The user speaks no more.  The turn is complete, or the provider took noise for speech."""
        self.user_speaks = False
        self._listens_until = now + TURN_TAIL
        self._ctx.deadlines.set(_LISTENING, self._listens_until)

    def free(self, now: float = 0.0) -> None:
        """The turn is complete, or dropped, or there is nobody to listen to."""
        self.user_speaks = False
        self._listens_until = now
        self._ctx.deadlines.cancel(_LISTENING)
