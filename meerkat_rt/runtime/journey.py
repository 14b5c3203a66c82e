"""What the task that replaces connections hands from one step to the next."""

from __future__ import annotations

from collections.abc import Collection

import attrs
import trio

from ..model.errors import LlmError
from ..model.live_config import RealtimeConfig
from ..providers.base import Replay
from .origin import Plan


@attrs.frozen(kw_only=True)
class ResumeAt:
    """A state of the provider's session that it can be resumed from.

    `items`: how many items it includes; `recollected`: how many entries of the recollection.
    `calls` were open in it.
    """

    handle: str
    at: float
    items: int
    recollected: int
    calls: frozenset[str]


@attrs.define(eq=False)
class Swap:
    """A change of the configuration that the application waits for, in the call `caller` if any."""

    updates: RealtimeConfig
    at_once: bool
    bridge: str | None
    deadline: float
    caller: str | None = None
    done: trio.Event = attrs.field(factory=trio.Event)
    error: LlmError | None = None
    begun: bool = False
    made: bool = False

    def finish(self, error: LlmError | None = None) -> None:
        """Wake whoever waits."""
        self.error = error
        self.made = error is None
        self.done.set()


@attrs.frozen(kw_only=True)
class Journey:
    """A connection on its way, and what its session knows or will know.

    `told`: the items of which it knows; `recollected`: how many entries.  `point`: it is the
    provider's session that goes on from there.  `elsewhere`: at another provider.  `swaps` are made
    with it; the live session was configured with what is `current` when it was prepared.
    """

    plan: Plan
    swaps: tuple[Swap, ...]
    current: object
    point: ResumeAt | None
    told: Collection[str]
    recollected: int
    seeded_calls: tuple[str, ...]
    replay: Replay | None
    elsewhere: bool
