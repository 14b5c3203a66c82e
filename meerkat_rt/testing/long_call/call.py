"""A long call, played and judged."""

from __future__ import annotations

import contextlib
import gc
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs
import trio

from ...model import events as ev
from ...model.conversation import AssistantMessage, Provider, SessionLlmIdentity, UserMessage
from ...model.media import RealtimeTurningMode
from ...model.open_config import RealtimeSessionOpenConfig
from ...providers.gemini.addresses import AiStudio, Platform, Vertex
from ...runtime.continuity_policy import ContinuityPolicy
from ...runtime.factories import OpenAIRealtime, open_session
from ...runtime.factories_gemini import GeminiLive
from ...runtime.limits import SessionLimits
from ...transport import connector
from ..wires import make_wire
from .mind import expected, words_of
from .servers import FRAME, GeminiServer, OpenAIServer, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from ...runtime.session import RealtimeSession
    from ..wires import Wire

FRAME_EVERY = 0.1  # seconds
LOOKUP = (3.0, 9.0)  # seconds

_KEPT = (
    ev.SessionRotating,
    ev.Reconnecting,
    ev.ToolCallRequested,
    ev.ToolCallFinished,
    ev.ProviderErrorReported,
    ev.InputTranscriptionFailed,
    ev.Stalled,
    ev.Interrupted,
)
_WRONG = (ev.ProviderErrorReported, ev.InputTranscriptionFailed, ev.Stalled, ev.Interrupted)
_ROOMS = tuple(f"meerkat_rt.{room}." for room in ("turn", "runtime", "providers", "transport"))


@attrs.frozen(kw_only=True)
class Outcome:
    """What a call came to.

    `drops` counts resets by what was going on; `growth` how many objects of the session's lived at
    each quarter of the call, what was said left out.  `faults`: everything that was wrong.
    """

    drops: dict[str, int]
    rotations: int
    reconnections: int
    connections: int
    lookups: int
    growth: tuple[int, ...]
    faults: tuple[str, ...]


@attrs.frozen(kw_only=True)
class LongCall:
    """A call of `turns` turns, one every `turn_every` seconds, with "openai", "gemini" or "vertex".

    `drop_every`: seconds in each of which the connection is reset once (None: never).  `max_age`:
    seconds after which a connection is replaced (None: as the provider wants it).  `seed` chooses
    the moments.  `measured`: objects are counted, which costs time.
    """

    provider: str = "openai"
    turns: int = 270  # three hours
    turn_every: float = 40.0
    drop_every: float | None = 600.0
    max_age: float | None = 420.0
    seed: int = 0
    measured: bool = False

    async def run(
        self,
        *,
        wire: Callable[[], Wire] = make_wire,
        transport: str = "websockets",
        region: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext,
        opened: Callable[[RealtimeSession], None] = lambda session: None,
        **opening: Any,
    ) -> Outcome:
        """Play the call, under a virtual clock.

        `wire` makes the connections, `region` is entered around the session and its application,
        and `opened` is told of the session.  `opening` goes to `open_session`.
        """
        play = _Play(self, wire, transport)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(play.serve, nursery, name="switchboard")
            if self.drop_every is not None:
                nursery.start_soon(play.world.disturb, self.drop_every, name="disturbance")
            try:
                with region():
                    async with play.session(opening) as session:
                        opened(session)
                        await play.converse(session)
            finally:
                nursery.cancel_scope.cancel("the call is over")
        return play.outcome()


class _Play:
    """One call being played."""

    def __init__(self, call: LongCall, wire: Callable[[], Wire], transport: str) -> None:
        self.call = call
        self.wire = wire
        self.transport = transport
        self.world = World(random.Random(call.seed))
        self.lookups: list[int] = []
        self.events: list[Any] = []
        self.growth: list[int] = []
        self.opened: RealtimeSession | None = None
        self._dialled = trio.Event()

    async def serve(self, nursery: trio.Nursery) -> None:
        """Start a server for each connection.  Not who dials does: servers outlive a session."""
        served = 0
        while True:
            await self._dialled.wait()
            self._dialled = trio.Event()
            for server in self.world.servers[served:]:
                nursery.start_soon(server.run, name="server")
            served = len(self.world.servers)

    @contextlib.asynccontextmanager
    async def session(self, opening: dict[str, Any]) -> Any:
        """The session."""
        call = self.call
        policy = ContinuityPolicy(
            seed=call.seed, max_age=call.max_age, max_attempts=8, max_total=0, steady=1.0
        )
        async with open_session(
            self.config(),
            provider=self.provider(),
            tools=[self.lookup],
            limits=SessionLimits(mic_max_age=5.0),
            continuity=policy,
            **opening,
        ) as session:
            self.opened = session
            yield session

    async def lookup(self, turn: int) -> str:
        """Look something up."""
        self.lookups.append(turn)
        number = len(self.lookups)
        shortest, longest = LOOKUP
        await trio.sleep(shortest + turn * 37 % 100 / 100 * (longest - shortest))
        return f"found{turn}.{number}"

    def config(self) -> RealtimeSessionOpenConfig:
        """The plainest of the provider."""
        openai = self.call.provider == "openai"
        identity = SessionLlmIdentity(
            model="gpt-realtime" if openai else "gemini-3.8-live",
            provider=Provider.OPENAI if openai else Provider.GEMINI,
        )
        return RealtimeSessionOpenConfig(RealtimeTurningMode.PROVIDER_MANAGED, identity)

    def provider(self) -> Any:
        """The provider, whose connections are wires to servers of ours."""
        dialler = connector(self.transport, open_stream=self.open_stream)
        if self.call.provider == "openai":
            return OpenAIRealtime(
                api_key="k", base_url="ws://peer/v1/realtime", connector=dialler, seed=1
            )
        transparent = self.call.provider == "vertex"
        platform: Platform = AiStudio(api_key="k", base_url="ws://peer")
        if transparent:
            platform = Vertex(project="p", location="l", access_token="t", base_url="ws://peer")
        return GeminiLive(platform=platform, transparent=transparent, connector=dialler, seed=1)

    async def open_stream(self, _host: str, _port: int) -> trio.abc.Stream:
        """One more connection."""
        await trio.lowlevel.checkpoint()
        pair = self.wire()
        kind = OpenAIServer if self.call.provider == "openai" else GeminiServer
        server = kind(self.world, pair, f"{len(self.world.servers)}_")
        self.world.servers.append(server)
        self._dialled.set()
        return pair.client

    # ---------------------------------------------------------------- the application

    async def converse(self, session: RealtimeSession) -> None:
        """Read everything, and speak at fixed times."""
        async with trio.open_nursery() as application:
            application.start_soon(self.read, session, name="reader")
            begun = trio.current_time()
            turns, quarter = self.call.turns, max(1, self.call.turns // 4)
            for turn in range(turns):
                await trio.sleep_until(begun + turn * self.call.turn_every)
                if self.call.measured and turn % quarter == quarter - 1:
                    self.growth.append(_living())
                for number in words_of(turn):
                    await session.send_audio(number.to_bytes(4, "little").ljust(FRAME, b"\0"))
                    await trio.sleep(FRAME_EVERY)
            await trio.sleep_until(begun + turns * self.call.turn_every)
            application.cancel_scope.cancel("everything was said")

    async def read(self, session: RealtimeSession) -> None:
        """Keep the events that the judgement is about."""
        async for event in session:
            if isinstance(event, _KEPT):
                self.events.append(event)

    # ---------------------------------------------------------------- the judgement

    def of(self, kind: type) -> list[Any]:
        """Events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def outcome(self) -> Outcome:
        """What the call came to."""
        faults = [fault for judge in (self._wire, self._calls, self._said) for fault in judge()]
        return Outcome(
            drops=dict(self.world.drops),
            rotations=len(self.of(ev.SessionRotating)),
            reconnections=sum(event.attempt == 1 for event in self.of(ev.Reconnecting)),
            connections=len(self.world.servers),
            lookups=len(self.lookups),
            growth=tuple(self.growth),
            faults=tuple(faults),
        )

    def _wire(self) -> Iterator[str]:
        for number, server in enumerate(self.world.servers):
            yield from (f"connection {number}: {puzzle}" for puzzle in server.mind.puzzles)
            yield from (f"connection {number}: {each}" for each in server.wire.offences)
            if not server.wire.client.closed:
                yield f"connection {number}: the socket is open"

    def _calls(self) -> Iterator[str]:
        if twice := [turn for turn, count in Counter(self.lookups).items() if count > 1]:
            yield f"looked up more than once: {twice}"
        requested = Counter(event.call_id for event in self.of(ev.ToolCallRequested))
        finished = Counter(event.call_id for event in self.of(ev.ToolCallFinished))
        if requested != finished or set(requested.values()) - {1}:
            yield f"calls: requested {requested - finished}, finished {finished - requested}"
        for event in self.of(ev.ToolCallFinished):
            if event.outcome is not ev.ToolOutcome.RESULT:
                yield str(event)

    def _said(self) -> Iterator[str]:
        yield from (str(event) for event in self.events if isinstance(event, _WRONG))
        if self.opened is None:
            yield "the session was not opened"
            return
        said, wanted = tuple(_joined(self.opened)), expected(self.call.turns)
        if said != wanted:
            at = next(
                (n for n, (a, b) in enumerate(zip(said, wanted, strict=False)) if a != b),
                min(len(said), len(wanted)),
            )
            yield f"line {at} of {len(wanted)} is {said[at : at + 2]}, not {wanted[at : at + 2]}"
        sizes = self.opened._core.machine.ledger_sizes()
        if remembered := {name: size for name, size in sizes.items() if size}:
            yield f"still remembered: {remembered}"


def _joined(session: RealtimeSession) -> Iterator[tuple[str, str]]:
    """The transcript, in which an answer that came in pieces is one."""
    last: tuple[str, str] | None = None
    for message in session.transcript:
        if not isinstance(message, (AssistantMessage, UserMessage)):
            continue
        role = "assistant" if isinstance(message, AssistantMessage) else "user"
        text = " ".join(message.text_content().split())
        if last is not None and last[0] == role == "assistant":
            last = role, f"{last[1]} {text}".strip()
            continue
        if last is not None:
            yield last
        last = role, text
    if last is not None:
        yield last


def _living() -> int:
    gc.collect()
    # Some classes of others make a property of what should be the name of their module.
    modules = (getattr(type(each), "__module__", None) for each in gc.get_objects())
    return sum(isinstance(module, str) and module.startswith(_ROOMS) for module in modules)
