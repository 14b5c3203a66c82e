"""Sessions that outlive their connections: a script for each connection that is dialled."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from meerkat_rt import (
    AiStudio,
    AssistantMessage,
    ContinuityPolicy,
    GeminiLive,
    OpenAIRealtime,
    Provider,
    RealtimeSession,
    RealtimeTextChunk,
    RealtimeTurningMode,
    SessionLimits,
    SessionLlmIdentity,
    ToolSet,
    open_session,
)
from meerkat_rt import RealtimeSessionOpenConfig as OpenConfig
from meerkat_rt.model import events as ev
from meerkat_rt.testing.gemini_peer import gemini_peer
from meerkat_rt.testing.openai_peer import OpenAIPeer, openai_peer
from meerkat_rt.testing.wires import Wire, WireName, make_wire
from meerkat_rt.transport import connector

MANAGED = RealtimeTurningMode.PROVIDER_MANAGED
EXPLICIT = RealtimeTurningMode.EXPLICIT_COMMIT
QUICK = ContinuityPolicy(seed=1)
TONE = b"\x01\x00" * 480  # 20 ms

Script = Callable[[Any], Awaitable[object]]


def open_config(mode: RealtimeTurningMode = MANAGED) -> OpenConfig:
    return OpenConfig(mode, SessionLlmIdentity(model="gpt-realtime"))


@attrs.define(eq=False)
class Exchange:
    """Where connections are dialled: the `n`-th is served by the `n`-th script.

    An exception in the place of a script is what dialling raises.
    """

    nursery: trio.Nursery
    scripts: tuple[Script | BaseException, ...]
    wire_name: WireName = "memory"
    peer_of: Callable[..., Any] = openai_peer
    wires: list[Wire] = attrs.field(factory=list)
    peers: list[Any] = attrs.field(factory=list)
    dialled_at: list[float] = attrs.field(factory=list)

    async def open_stream(self, _host: str, _port: int) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        number = len(self.dialled_at)
        self.dialled_at.append(trio.current_time())
        script = self.scripts[number] if number < len(self.scripts) else OSError("refused")
        if isinstance(script, BaseException):
            raise script
        wire = make_wire(self.wire_name)
        self.wires.append(wire)
        await self.nursery.start(self._serve, wire, script)
        return wire.client

    async def _serve(self, wire: Wire, script: Script, *, task_status: Any) -> None:
        async with self.peer_of(wire.server, script, client_may_leave=True) as peer:
            self.peers.append(peer)
            task_status.started()
            await trio.sleep_forever()

    async def played(self) -> None:
        """Every script has come to where it lingers, or to its end; a moment is left for that.

        One that waits for a frame that never comes would not complain when the session has left.
        """
        await trio.sleep(2)
        for peer in self.peers:
            assert peer.lingering or peer.finished or peer.socket.gone, (
                f"a script waits for more than {peer.frames()[-3:]}"
            )

    def settled(self) -> None:
        for wire in self.wires:
            assert wire.offences == []
            assert wire.client.closed, "the session left a socket open"


@asynccontextmanager
async def exchange(*scripts: Any, **settings: Any) -> AsyncIterator[Exchange]:
    try:
        async with trio.open_nursery() as nursery:
            made = Exchange(nursery, scripts, **settings)
            yield made
            for peer in made.peers:
                if not (peer.lingering or peer.socket.gone):
                    assert peer.finished, f"a script has not ended: {peer.frames()[-3:]}"
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        while len(group.exceptions) == 1 and isinstance(group.exceptions[0], BaseExceptionGroup):
            group = group.exceptions[0]
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise
    made.settled()


@attrs.define(eq=False)
class Call:
    """A session, its servers, and everything that it has said so far."""

    session: RealtimeSession
    exchange: Exchange
    events: list[Any] = attrs.field(factory=list)

    @property
    def core(self) -> Any:
        return self.session._core

    async def until(self, kind: type, count: int = 1) -> list[Any]:
        """Read up to and including the `count`-th event of a kind from here."""
        read: list[Any] = []
        with trio.move_on_after(300):
            while (event := await self.session.next_event()) is not None:
                read.append(event)
                self.events.append(event)
                count -= isinstance(event, kind)
                if not count:
                    return read
        names = [type(event).__name__ for event in self.events]
        raise AssertionError(f"no {kind.__name__} after {names}")

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def said(self) -> list[tuple[str, str]]:
        return [
            ("assistant" if isinstance(each, AssistantMessage) else "user", each.text_content())
            for each in self.session.transcript
        ]


def welcoming(script: Script) -> Script:
    async def play(peer: OpenAIPeer) -> None:
        await peer.welcome()
        await script(peer)

    return play


@asynccontextmanager
async def calling_gemini(
    *scripts: Any,
    continuity: ContinuityPolicy | None = QUICK,
    mode: RealtimeTurningMode = MANAGED,
    tools: Any = (),
    limits: SessionLimits | None = None,
    platform: Any = None,
    **settings: Any,
) -> AsyncIterator[Call]:
    """The same with Gemini; every script plays from the upgrade on."""
    async with exchange(*scripts, peer_of=gemini_peer) as made:
        provider = GeminiLive(
            platform=platform or AiStudio(api_key="k", base_url="ws://peer"),
            connector=connector("websockets", open_stream=made.open_stream),
            seed=1,
            **settings,
        )
        identity = SessionLlmIdentity(model="gemini-3.8-live", provider=Provider.GEMINI)
        async with open_session(
            OpenConfig(mode, identity),
            provider=provider,
            tools=ToolSet(tools),
            limits=limits or SessionLimits(),
            continuity=continuity,
        ) as session:
            yield Call(session, made)
            await made.played()


@asynccontextmanager
async def calling(
    *scripts: Any,
    continuity: ContinuityPolicy | None = QUICK,
    mode: RealtimeTurningMode = MANAGED,
    tools: Any = (),
    wire: WireName = "memory",
    limits: SessionLimits | None = None,
    config: OpenConfig | None = None,
    **opening: Any,
) -> AsyncIterator[Call]:
    """An open session; the first script plays after the handshake, the others from the upgrade."""
    first, *others = scripts
    async with exchange(welcoming(first), *others, wire_name=wire) as made:
        provider = OpenAIRealtime(
            api_key="k",
            base_url="ws://peer/v1/realtime",
            connector=connector("websockets", open_stream=made.open_stream),
            seed=1,
        )
        async with open_session(
            config or open_config(mode),
            provider=provider,
            tools=ToolSet(tools),
            limits=limits or SessionLimits(),
            continuity=continuity,
            **opening,
        ) as session:
            yield Call(session, made)
            await made.played()


# ---------------------------------------------------------------- Gemini calls a tool


def taking(seconds: float, name: str) -> Callable[[], Awaitable[str]]:
    """A tool of that name that takes so long and says that it is done."""

    async def run() -> str:
        await trio.sleep(seconds)
        return "done"

    run.__name__ = name
    return run


async def calling_a_tool(peer: Any, name: str, **resumable: Any) -> None:
    """A first connection of Gemini's, up to a call and a state that can be resumed after it."""
    await peer.welcome()
    await peer.expect_turn()
    await peer.tool_call((name, {}))
    await peer.resumable("h1", **resumable)


async def hearing_of_it(peer: Any, **setup: Any) -> None:
    """The next one, which is given the outcome once, and has the model speak about it."""
    await peer.welcome(**setup)
    answers = await peer.expect_tool_response("call_1")
    assert answers["call_1"]["response"] == {"output": "done"}
    await peer.audio_response("Done.", ms=40)
    await peer.expect_silence(5)
    await peer.linger()


async def until_it_is_spoken_about(call: Call) -> None:
    """Ask for it, and read up to the end of the second answer; it is over then."""
    await call.session.send_input(RealtimeTextChunk("go"))
    await call.until(ev.TurnCompleted, 2)
    assert len(call.of(ev.ToolCallFinished)) == 1
    await trio.sleep(6)
