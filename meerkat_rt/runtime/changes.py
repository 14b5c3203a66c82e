"""The changes of the configuration that the application waits for, until a connection has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from .journey import Swap

if TYPE_CHECKING:
    from ..model.errors import LlmError
    from ..model.live_config import RealtimeConfig

_ISSUED = 8  # configurations that may still be resumed with; the newest are known


class Changes:
    """The swaps that were asked for and are not made yet, the oldest first."""

    def __init__(self) -> None:
        self.swaps: list[Swap] = []
        self._issued: list[tuple[RealtimeConfig, RealtimeConfig]] = []  # merged, update

    def on(self, config: RealtimeConfig) -> RealtimeConfig:
        """The configuration as it will be when every pending change is made to this one."""
        for swap in self.swaps:
            config = config.merged_with(swap.updates)
        return config

    def issued(self, merged: RealtimeConfig, update: RealtimeConfig) -> None:
        """`RequiresResumption(merged)` was returned for `update`; it may be resumed with later.

        Until then other changes may be made, which the merged configuration does not have.
        """
        self._issued = [*self._issued[1 - _ISSUED :], (merged, update)]

    def ask(
        self,
        config: RealtimeConfig,
        *,
        at_once: bool,
        bridge: str | None,
        patience: float,
        caller: str | None,
    ) -> Swap:
        """Take one in.  `patience`: seconds to wait for a turn's end; `caller`: the call."""
        updates = next((update for merged, update in self._issued if merged == config), config)
        swap = Swap(updates, at_once, bridge, trio.current_time() + patience, caller)
        self.swaps.append(swap)
        return swap

    @property
    def callers(self) -> tuple[str, ...]:
        """The calls that wait for a swap, which does not wait for them in turn."""
        return tuple(swap.caller for swap in self.swaps if swap.caller is not None)

    def withdraw(self, swap: Swap) -> None:
        """Nobody waits for the swap any more; if it has not begun, it does not happen."""
        if not swap.begun and swap in self.swaps:
            self.swaps.remove(swap)

    def begin(self) -> tuple[Swap, ...]:
        """All that are asked for by now go with the connection that is opened now."""
        for swap in self.swaps:
            swap.begun = True
        return tuple(self.swaps)

    def fail(self, error: LlmError) -> None:
        """Those that had begun did not come about."""
        for swap in [each for each in self.swaps if each.begun]:
            self.swaps.remove(swap)
            swap.finish(error)

    def take(self, swaps: tuple[Swap, ...]) -> list[Swap]:
        """These are made, as far as somebody still waits for them; returns those."""
        made = [swap for swap in swaps if swap in self.swaps]
        for swap in made:
            self.swaps.remove(swap)
        return made

    def close(self) -> None:
        """The session has ended."""
        for swap in self.swaps:
            swap.done.set()
        self.swaps.clear()
