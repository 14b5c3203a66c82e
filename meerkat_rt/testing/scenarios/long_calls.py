"""Five minutes of a long call (`testing.long_call`), struck anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..long_call import LongCall
from ..sweep.case import Case
from .stage import SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ...runtime.session import RealtimeSession
    from ..trial import Trial
    from ..wires import Wire, WireName

SURVIVED = (None, "reset")  # what a call has to come to its whole transcript in spite of


def _register(provider: str) -> None:
    call = LongCall(provider=provider, turns=8, drop_every=60.0, max_age=100.0)

    async def play(trial: Trial, wire_name: WireName, transport: str) -> None:
        wires: list[Wire] = []
        sessions: list[RealtimeSession] = []
        trial.keep.sessions, trial.keep.outcome = sessions, None

        def wire() -> Wire:
            wires.append(trial.wire(wire_name))
            return wires[-1]

        def reset() -> None:
            if wires:
                wires[-1].reset()

        trial.action("reset", reset, ends=False)
        trial.keep.outcome = await call.run(
            wire=wire, transport=transport, region=trial.region, opened=sessions.append
        )

    name = f"five_minutes_with_{provider}"
    SCENARIOS[name] = Case(
        name=name,
        family="long calls",
        play=play,
        verify=verify,
        unwind=0.0,
        blows=("reset",),
        spare_runtime=False,
        spare=("*",),  # its reader takes no other end of a session than its own
        long=True,
    )


def verify(trial: Trial) -> Iterable[str]:
    """The whole transcript, unless the session was ended; and an end that leaves nothing."""
    if trial.injected in SURVIVED and not trial.scope.cancel_called:
        yield from trial.keep.outcome.faults
    for session in trial.keep.sessions:
        if session.closed is None or session.is_connected:
            yield "closing: the session does not say that it is closed"
        sizes = session._core.machine.ledger_sizes()
        if remembered := {name: size for name, size in sizes.items() if size}:
            yield f"still remembered: {remembered}"


for _provider in ("openai", "gemini"):
    _register(_provider)
