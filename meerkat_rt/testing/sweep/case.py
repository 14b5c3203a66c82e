"""A scenario together with what a sweep of it needs to know."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import attrs

from ..trial import Trial, Verify
from ..wires import WIRES, WireName

if TYPE_CHECKING:
    from ..trial import Scenario

TRANSPORTS = ("websockets", "trio-websocket")
"""The transports of a session, as `transport.connector` names them."""


@attrs.frozen(kw_only=True)
class Case:
    """A scenario of the sweep command.

    `play` gets the trial of one run, the kind of wire and the name of the transport.  A program
    that has neither is wrapped by `Case.of`.  `unwind`: virtual seconds within which it must have
    ended after a cancellation.  `blows`: the actions that it registers, besides "cancel", and
    `faults` are more of them, of the network's.  `spare`: patterns of the names of tasks that are
    not struck alone, as those are not that a session spawns for itself, unless `spare_runtime` is
    false; one that is named among the `blows` is (``cancel(tool look_up)``).  `long`: a run takes
    so much time that only `--all` sweeps every point, and the other levels take a few.  `variant`:
    it differs in a parameter from another one, which at the standard level stands for it on most
    wires and in the orders nearest to FIFO; points and random orders are its own.  `allowed`:
    exceptions that it may end with.  `verify`: its own invariants.
    """

    name: str
    play: Callable[[Trial, WireName, str], Awaitable[object]]
    family: str = ""
    verify: Verify | None = None
    unwind: float = 1.0
    blows: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    spare: tuple[str, ...] = ()
    spare_runtime: bool = True
    long: bool = False
    variant: bool = False
    allowed: tuple[type[BaseException], ...] = ()
    wires: tuple[WireName, ...] = WIRES
    transports: tuple[str, ...] = TRANSPORTS

    @classmethod
    def of(
        cls,
        scenario: Scenario,
        *,
        name: str | None = None,
        verify: Verify | None = None,
        **settings: object,
    ) -> Case:
        """A case of a plain scenario, which makes its own wires if it needs any.

        `name` is the function's, unless given; `settings` are further fields of the case.
        """

        async def play(trial: Trial, _wire: WireName, _transport: str) -> None:
            await scenario(trial)

        return cls(
            name=name or str(getattr(scenario, "__name__", scenario)),
            play=play,
            verify=verify,
            wires=("memory",),
            transports=("",),
            **settings,  # type: ignore[arg-type]
        )

    def on(self, wire: WireName = "memory", transport: str | None = None) -> Scenario:
        """The scenario on one kind of wire, with one transport (the first, unless told)."""
        chosen = self.transports[0] if transport is None else transport

        async def play(trial: Trial) -> None:
            await self.play(trial, wire, chosen)

        play.__name__ = self.label(wire, chosen)
        return play

    def label(self, wire: WireName, transport: str) -> str:
        """Its name, with the wire and the transport where it has several."""
        several = len(self.wires) > 1 or len(self.transports) > 1
        return f"{self.name} on {wire} with {transport}" if several else self.name
