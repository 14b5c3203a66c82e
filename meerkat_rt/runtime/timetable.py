"""When a connection is replaced: the provider's cap, what it announces, and what may wait."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import trio

from .continuity_policy import ContinuityPolicy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .journey import Swap
    from .link import Link

_GOING_AWAY = 0.8  # of the time that the provider leaves; then the swap happens anyway
_MAX_MARGIN = 0.25  # of a cap; short ones must leave some life to a connection
_MAX_LAST_CALL = 0.05


class Timetable:
    """What is known beforehand about the end of the session's connection.

    `ends_at`: when the provider will end it, if it has said so.
    """

    def __init__(self, policy: ContinuityPolicy | None) -> None:
        self._policy = policy
        self.ends_at: float | None = None
        self._last_moment = math.inf  # then it is not waited any longer for a boundary
        self._not_before = -math.inf

    def announced(self, time_left: float | None) -> None:
        """The provider will end the connection, in so many seconds if it says."""
        if self._policy is not None:
            left = self._policy.last_call if time_left is None else max(0.0, time_left)
            now = trio.current_time()
            self.ends_at, self._last_moment = now + left, now + left * _GOING_AWAY

    def forget(self) -> None:
        """What was announced was about a connection that there is no more."""
        self.ends_at, self._last_moment = None, math.inf

    def postpone(self) -> None:
        """A swap has failed, or they come too often: there is none for a while."""
        self._not_before = trio.current_time() + (self._policy or ContinuityPolicy()).max_backoff

    def cap(self, link: Link) -> float:
        """When the connection will be ended for its age."""
        policy = self._policy
        if policy is None or not policy.rotate:
            return math.inf
        age = policy.max_age if policy.max_age is not None else link.dialect.profile.session_cap
        return math.inf if age is None else link.opened_at + age

    def rotate_at(self, link: Link) -> float:
        """From when on a boundary between turns is good for a rotation."""
        if self.ends_at is not None:
            return max(trio.current_time(), self._not_before)
        policy, cap = self._policy, self.cap(link)
        if policy is None or cap == math.inf:
            return math.inf
        margin = min(policy.rotation_margin, (cap - link.opened_at) * _MAX_MARGIN)
        return max(cap - margin, self._not_before)

    def _last_call(self, link: Link) -> float:
        """When a rotation happens whatever is going on."""
        policy = self._policy
        assert policy is not None
        if self.ends_at is not None:
            return self._last_moment
        cap = self.cap(link)
        return cap - min(policy.last_call, (cap - link.opened_at) * _MAX_LAST_CALL)

    def until(self, link: Link, swaps: Iterable[Swap]) -> float:
        """How long a boundary may be waited for, with these changes asked for."""
        until = [-math.inf if swap.at_once else swap.deadline for swap in swaps]
        if self._policy is not None and (self.ends_at is not None or self.cap(link) < math.inf):
            until.append(self._last_call(link))
        return min(until, default=-math.inf)
