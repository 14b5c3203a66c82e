"""Sessions as programs for a sweep, and what must hold however each of them has ended.

A scenario takes the trial of one run and the kind of wire.  Its region is the session's whole life
as an application lives it; the server is outside and survives.  After each run the sweep checks
that nothing is left; `verify` checks what the session has said, and what it still remembers.

Besides being cancelled a session can be given other blows: its connection is "reset", or somebody
calls "interrupt".
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio
from runtimekit import PROVIDER_MANAGED, open_config, provider, welcoming

from meerkat_rt import (
    RealtimeSession,
    RealtimeSessionOpenConfig,
    RealtimeTurningMode,
    SessionLimits,
    ToolSet,
    errors,
    open_session,
)
from meerkat_rt.model import events as ev
from meerkat_rt.testing import Trial
from meerkat_rt.testing.openai_peer import OpenAIPeer, openai_peer
from meerkat_rt.testing.scripted_peer import ScriptError
from meerkat_rt.testing.wires import Wire, WireName

PATIENCE = 30.0  # virtual seconds; then a body whose server was put off by a blow gives up


@attrs.frozen(kw_only=True)
class Scenario:
    """A program to be swept.

    `unwind`: virtual seconds within which it must have ended after a cancellation.  `ends`: errors
    that it may end with.
    """

    name: str
    play: Callable[[Trial, WireName, str], Awaitable[None]]
    unwind: float = 0.0
    ends: tuple[type[BaseException], ...] = ()


SCENARIOS: dict[str, Scenario] = {}


class Witness:
    """What one run came to: its connection, its session, and everything that the session said."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self.dialled: list[Any] = []
        self.wire: Wire | None = None
        self.session: RealtimeSession | None = None
        self.said: list[Any] = []

    def watch(self, session: RealtimeSession) -> None:
        """Note every event, read or not."""
        self.session = session
        lane = session._core.events
        assert not lane._queue or not self.said
        put = lane.put

        def noted(events: Iterable[Any]) -> None:
            events = list(events)
            self.said += events
            put(events)

        self.said += lane._queue
        lane.put = noted  # type: ignore[method-assign]


def scenario(
    script: Callable[[OpenAIPeer], Awaitable[object]],
    *,
    unwind: float = 0.0,
    ends: tuple[type[BaseException], ...] = (),
    tools: Iterable[Any] = (),
    mode: RealtimeTurningMode = PROVIDER_MANAGED,
    config: RealtimeSessionOpenConfig | None = None,
    limits: SessionLimits | None = None,
    greeted: bool = True,
) -> Callable[[Callable[[RealtimeSession], Awaitable[object]]], Any]:
    """The body of a session against a server that plays `script` (after the handshake)."""

    def register(body: Callable[[RealtimeSession], Awaitable[object]]) -> Any:
        async def play(trial: Trial, wire_name: WireName, connector: str) -> None:
            witness = trial.witness = Witness(trial)  # type: ignore[attr-defined]
            whole = welcoming(script) if greeted else script
            async with _server(witness, whole, wire_name) as stream:
                with trial.region(), _blows(witness, ends):
                    async with open_session(
                        config or open_config(mode),
                        provider=provider(stream, connector, witness.dialled),
                        tools=ToolSet(tools),
                        limits=limits or SessionLimits(),
                    ) as session:
                        witness.watch(session)
                        with trio.move_on_after(PATIENCE):
                            await body(session)

        name = body.__name__
        SCENARIOS[name] = Scenario(name=name, play=play, unwind=unwind, ends=ends)
        return body

    return register


@asynccontextmanager
async def _server(
    witness: Witness, script: Callable[[OpenAIPeer], Awaitable[object]], wire_name: WireName
) -> AsyncIterator[trio.abc.Stream]:
    trial = witness.trial
    wire = witness.wire = trial.wire(wire_name)
    trial.action("reset", wire.reset, ends=True)

    async def forgiving(peer: OpenAIPeer) -> None:
        try:
            await script(peer)
        except ScriptError:
            if not trial.was_injected():
                raise
            await peer.linger()  # a session that ends leaves the script, and still wants its close

    wanted = trio.Event()
    trial.action("interrupt", wanted.set)

    async def interrupt() -> None:
        await wanted.wait()
        if witness.session is not None:
            with contextlib.suppress(errors.SessionClosedError):
                await witness.session.interrupt()

    async with openai_peer(wire.server, forgiving, client_may_leave=True):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(interrupt, name="interrupter")
            yield wire.client
            nursery.cancel_scope.cancel()


@contextlib.contextmanager
def _blows(witness: Witness, ends: tuple[type[BaseException], ...]) -> Iterator[None]:
    """Take the errors that the scenario may end with, and those that a blow makes of it."""
    trial = witness.trial
    try:
        yield
    except (errors.LlmError, BaseExceptionGroup) as error:
        cancelled: BaseException | None = None
        found: BaseException | None = error
        if isinstance(error, BaseExceptionGroup):  # a nursery of the body's
            cancelled, found = error.split(trio.Cancelled)
        if found is None or not all(
            isinstance(leaf, ends) or (trial.was_injected() and isinstance(leaf, errors.LlmError))
            for leaf in _leaves(found)
        ):
            raise
        trial.ended_by(found)
        if cancelled is not None:
            raise cancelled from None


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error


# ---------------------------------------------------------------- what must hold


def verify(trial: Trial) -> Iterable[str]:
    """What is wrong with how a run ended, whatever was done to it."""
    witness: Witness = trial.witness  # type: ignore[attr-defined]
    if witness.dialled and not witness.wire.client.closed:
        yield "the socket is open"
    if witness.session is None:
        return
    core, said = witness.session._core, witness.said
    closings = [event for event in said if isinstance(event, ev.SessionClosed)]
    if len(closings) != 1 or said[-1] is not closings[0]:
        yield f"closing: {len(closings)} closing events in {len(said)}, the last is {said[-1:]}"
    if witness.session.closed is None or witness.session.is_connected:
        yield "closing: the session does not say that it is closed"
    elif witness.session.closed.text == "internal error":
        yield "a bug of the runtime ended the session"
    sizes = {
        **core.machine.ledger_sizes(),
        "requests": len(core.requests),
        "acknowledgements": len(core.acknowledgements),
        "running calls": len(core.tools.running),
    }
    if remembered := {name: size for name, size in sizes.items() if size}:
        yield f"still remembered: {remembered}"
    yield from _unbalanced(said)


def _unbalanced(said: list[Any]) -> Iterable[str]:
    started = Counter(e.response_id for e in said if isinstance(e, ev.ResponseStarted))
    ended = Counter(e.response_id for e in said if isinstance(e, ev.TurnCompleted))
    if started != ended or set(started.values()) - {1}:
        yield f"responses: started {dict(started)}, ended {dict(ended)}"
    interrupted = Counter(e.response_id for e in said if isinstance(e, ev.Interrupted))
    if set(interrupted.values()) - {1}:
        yield f"interrupted {dict(interrupted)}"
    called = Counter(e.call_id for e in said if isinstance(e, ev.ToolCallRequested))
    finished = Counter(e.call_id for e in said if isinstance(e, ev.ToolCallFinished))
    if called != finished or set(called.values()) - {1}:
        yield f"calls: requested {dict(called)}, finished {dict(finished)}"
