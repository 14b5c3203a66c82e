"""Sessions as programs for a sweep: the stage on which every scenario of this package plays.

A scenario is the body of one session against a scripted server.  Its region is the session's whole
life as an application lives it; the server is outside and survives.  After each run the sweep
checks that nothing is left, and `promises.verify` checks what the session has said.

Besides being cancelled a session can be given other blows: its connection is "reset", somebody
calls "interrupt", or one of the faults of `faults.FAULTS` befalls the server's next frame.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import trio

from ...model.media import RealtimeTurningMode
from ...model.open_config import RealtimeSessionOpenConfig
from ...runtime import errors
from ...runtime.factories import open_session
from ...runtime.failures import leaves
from ...runtime.limits import SessionLimits
from ...runtime.ports import RealtimeSessionFactory
from ...runtime.tools import ToolSet
from ...transport import OpenStream
from ..faults import FAULTS
from ..scripted_peer import ScriptError
from ..sweep.case import Case
from ..targets import Target
from ..websocket_peer import ClientGone
from .promises import verify
from .watching import Watching

if TYPE_CHECKING:
    from ...runtime.session import RealtimeSession
    from ..trial import Trial
    from ..wires import Wire, WireName

PROVIDER_MANAGED = RealtimeTurningMode.PROVIDER_MANAGED
EXPLICIT = RealtimeTurningMode.EXPLICIT_COMMIT
_HERE = Path(__file__).parent
PATIENCE = 30.0  # virtual seconds; then a body whose server was put off by a blow gives up

Script = Callable[[Any], Awaitable[object]]
"""What a server says and expects on one connection, from the upgrade on."""

Body = Callable[["RealtimeSession"], Awaitable[object]]
"""What an application does with an open session."""


class EndedEarly(AssertionError):
    """The session ended cleanly before a body was done; forgiven where a blow was the reason."""


@attrs.frozen(kw_only=True)
class Side:
    """A provider as a scenario meets it: its scripted peer, and our factory for sessions with it.

    `peer` plays a script at the server's end of a stream; `provider` takes what opens the
    connections and the name of a transport; `config` gives the plainest open configuration.
    """

    peer: Callable[..., AbstractAsyncContextManager[Any]]
    provider: Callable[[OpenStream, str], RealtimeSessionFactory]
    config: Callable[[RealtimeTurningMode], RealtimeSessionOpenConfig]


SCENARIOS: dict[str, Case] = {}
"""Every scenario by its name, once the modules of the package have been imported."""


class Witness:
    """What one run came to: its connections, its session, and everything that it said."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self.wires: list[Wire] = []  # one a connection; the first is there before it is dialled
        self.taken: list[Wire] = []  # those that the session has got
        self.session: RealtimeSession | None = None
        self.said: list[Any] = []
        self.watching: Watching | None = None
        self.gave_up = False  # the body waited longer than PATIENCE
        self.surfaced = False  # an exception that was raised in a task came out of the block

    @property
    def wire(self) -> Wire:
        """The newest connection."""
        return self.wires[-1]

    def watch(self, session: RealtimeSession) -> None:
        """Note every event, read or not."""
        self.session = session
        lane = session._core.events
        assert not lane._queue or not self.said
        put = lane.put

        def noted(events: Iterable[Any]) -> bool:
            events = list(events)
            self.said += events
            return put(events)

        self.said += lane._queue
        lane.put = noted  # type: ignore[method-assign]


_witness: ContextVar[Witness] = ContextVar("witness")


def this_witness() -> Witness:
    """What watches the session of the run, for bodies that look at it themselves."""
    return _witness.get()


def this_session() -> RealtimeSession:
    """The session of the run, for tools and other code that is handed none."""
    session = _witness.get().session
    assert session is not None, "the session is not open yet"
    return session


def undisturbed() -> bool:
    """Nothing has been done to the run: what a body finds must be as it expects."""
    return not _witness.get().trial.was_injected()


def scenario(
    *scripts: Script,
    side: Side,
    family: str,
    unwind: float = 0.0,
    ends: tuple[type[BaseException], ...] = (),
    tools: Iterable[Any] = (),
    mode: RealtimeTurningMode = PROVIDER_MANAGED,
    config: RealtimeSessionOpenConfig | None = None,
    limits: SessionLimits | None = None,
    survives_reset: bool = False,
    spare: tuple[str, ...] = (),
    variant: bool = False,
    **opening: Any,
) -> Callable[[Body], Body]:
    """Put the body of a session among `SCENARIOS`, under its own name.

    The first connection is served by the first of `scripts`, and so on; one more is refused.
    `unwind`: virtual seconds within which the session must have ended after a cancellation.
    `ends`: errors that it may end with.  `survives_reset`: a reset is not expected to end it.
    `spare`: tasks that are not struck alone, such as a tool that the whole scenario is about.
    `variant`: see `Case`.  `opening` goes to `open_session`.
    """

    def register(body: Body) -> Body:
        async def play(trial: Trial, wire_name: WireName, transport: str) -> None:
            witness = trial.keep.witness = Witness(trial)
            _witness.set(witness)
            trial.action("reset", lambda: witness.wire.reset(), ends=not survives_reset)
            async with _servers(witness, scripts, side, wire_name) as open_stream:
                with trial.region(), _blows(witness, ends):
                    async with open_session(
                        config or side.config(mode),
                        provider=side.provider(open_stream, transport),
                        tools=ToolSet(tools),
                        limits=limits or SessionLimits(),
                        **opening,
                    ) as session:
                        witness.watch(session)
                        witness.watching = Watching(session)
                        with trio.move_on_after(PATIENCE) as patience:
                            await body(session)
                        witness.gave_up = patience.cancelled_caught

        name = body.__name__
        if name in SCENARIOS:
            raise ValueError(f"there are two scenarios called {name!r}")
        SCENARIOS[name] = Case(
            name=name,
            family=family,
            play=play,
            verify=verify,
            unwind=unwind,
            faults=tuple(FAULTS),
            spare=spare,
            spare_runtime=False,  # it is what is tested
            variant=variant,
            # Of those that end by an error some never open, and there is nothing to interrupt.
            blows=("reset",) if ends else ("reset", "interrupt"),
        )
        return body

    return register


@asynccontextmanager
async def _servers(
    witness: Witness, scripts: tuple[Script, ...], side: Side, wire_name: WireName
) -> AsyncIterator[OpenStream]:
    """Servers for the connections that the session opens, and what opens them."""
    trial = witness.trial
    witness.wires.append(trial.wire(wire_name))
    over, wanted = trio.Event(), trio.Event()
    trial.action("interrupt", wanted.set)
    interrupting = trio.CancelScope()

    async def interrupt_when_wanted() -> None:
        await wanted.wait()
        if witness.session is not None and not over.is_set():
            with interrupting, contextlib.suppress(errors.SessionClosedError):
                await witness.session.interrupt()

    called, dialled = [trio.Event() for _ in scripts], list[int]()

    # Not started by who dials: the servers are not the session's, and survive its cancellation.
    async def serve(number: int) -> None:
        async def forgiving(peer: Any) -> None:
            peer.faults.register(trial)
            try:
                await scripts[number](peer)
            except ScriptError:
                if not trial.was_injected():
                    raise
                with contextlib.suppress(ClientGone):
                    await peer.linger()  # a session that ends leaves the script, wants its close

        await called[number].wait()
        if not over.is_set():
            server = witness.wires[number].server
            async with side.peer(server, forgiving, client_may_leave=True):
                if number == 0:  # it lives as long as the session does
                    await interrupt_when_wanted()
                if not over.is_set():
                    await over.wait()

    async def open_stream(_host: str, _port: int) -> trio.abc.Stream:
        number = len(dialled)
        if number == len(scripts):
            raise OSError("connection refused: there is no script for one more")
        if number == len(witness.wires):
            witness.wires.append(trial.wire(wire_name))
        called[number].set()
        dialled.append(number)
        await trio.lowlevel.checkpoint()
        witness.taken.append(witness.wires[number])
        return witness.wires[number].client

    async with trio.open_nursery() as nursery:
        for number in range(len(scripts)):
            nursery.start_soon(serve, number, name="server")
        yield open_stream
        over.set()
        wanted.set()
        for each in called:
            each.set()
        interrupting.cancel("the session is over")


@contextlib.contextmanager
def _blows(witness: Witness, ends: tuple[type[BaseException], ...]) -> Iterator[None]:
    """Take the errors that the scenario may end with, and those that a blow makes of it."""
    trial = witness.trial
    try:
        yield
    except (Exception, BaseExceptionGroup) as error:
        cancelled: BaseException | None = None
        found: BaseException | None = error
        if isinstance(error, BaseExceptionGroup):  # a nursery of the body's
            cancelled, found = error.split(trio.Cancelled)
        if found is None:
            raise
        ended_by = list(leaves(found))
        witness.surfaced = any(leaf is trial.raised for leaf in ended_by)
        if not all(isinstance(leaf, ends) or _by_the_blow(trial, leaf) for leaf in ended_by):
            raise
        trial.ended_by(found)
        if cancelled is not None:
            raise cancelled from None


def _by_the_blow(trial: Trial, error: BaseException) -> bool:
    if error is trial.raised:
        return True
    if isinstance(error, (errors.LlmError, EndedEarly)):
        return trial.was_injected()
    if trial.injected in FAULTS:  # a body may well insist on what a sound server says
        return isinstance(error, (AssertionError, trio.TooSlowError))
    if isinstance(error, AssertionError) and _is_of_a_body(error):
        # As on what a sound session does.  What the runtime insists on is its own.
        return trial.injected is not None and Target.of(trial.injected) is not None
    # Trio's word for a supervisor that was cancelled alone before it had started.
    return trial.injected == "cancel(supervisor)" and isinstance(error, RuntimeError)


def _is_of_a_body(error: BaseException) -> bool:
    """Whether it was raised by a line of a scenario."""
    *_, (frame, _line) = traceback.walk_tb(error.__traceback__)
    return Path(frame.f_code.co_filename).parent == _HERE
