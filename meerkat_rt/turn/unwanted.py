"""Responses that were asked for and that nobody wants any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .context import Context

_UNASKED = ("unwanted", "")  # the deadline of the answer that the provider was about to give


class Unwanted:
    """Which creates were superseded after they had been sent; what begins for them is cancelled.

    Each is known by the reference of its create, for as long as a cancel may take: after that the
    provider is taken to have dropped it.  `unasked` stands for the one response that the provider
    was about to make by itself.
    """

    __slots__ = (
        "_ctx",
        "_requests",
    )

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._requests: dict[str, str] = {}  # by reference: the id of the request that it was for

    def __len__(self) -> int:
        return len(self._requests)

    def __contains__(self, ref: str | None) -> bool:
        return ref in self._requests

    @property
    def oldest(self) -> str | None:
        """The create that is answered first where the provider repeats no reference."""
        return next(iter(self._requests), None)

    def add(self, refs: Iterable[str], request_id: str, now: float) -> None:
        """These creates of one request."""
        for ref in refs:
            self._requests[ref] = request_id
            self._ctx.deadlines.set(("unwanted", ref), now + self._ctx.settings.cancel_deadline)

    def add_unasked(self, now: float) -> None:
        """The response that the provider is about to make by itself."""
        self._ctx.deadlines.set(_UNASKED, now + self._ctx.settings.cancel_deadline)

    @property
    def unasked(self) -> bool:
        """A response that the provider makes by itself now is not wanted."""
        return _UNASKED in self._ctx.deadlines

    def forget_unasked(self) -> None:
        """What the provider makes by itself is wanted."""
        self._ctx.deadlines.cancel(_UNASKED)

    def began(self, ref: str) -> None:
        """A response came of this create: the one that comes of its whole request."""
        request_id = self._requests[ref]
        for other in [key for key, value in self._requests.items() if value == request_id]:
            self.forget(other)

    def forget(self, ref: str) -> None:
        """Nothing will come of this create any more."""
        self._requests.pop(ref, None)
        self._ctx.deadlines.cancel(("unwanted", ref))

    def clear(self) -> None:
        """Nothing will come of any."""
        for ref in list(self._requests):
            self.forget(ref)
        self.forget_unasked()
