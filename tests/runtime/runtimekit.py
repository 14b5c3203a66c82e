"""A session against a scripted server over an in-memory wire, in a few words."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
import trio

from meerkat_rt import (
    OpenAIRealtime,
    RealtimeSession,
    RealtimeSessionOpenConfig,
    RealtimeTurningMode,
    SessionLimits,
    SessionLlmIdentity,
    ToolSet,
    open_session,
)
from meerkat_rt.model import events as ev
from meerkat_rt.testing.openai_peer import OpenAIPeer, openai_peer
from meerkat_rt.testing.quiescence import quiescent_after
from meerkat_rt.testing.wires import Wire, WireName, make_wire
from meerkat_rt.transport import connector

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

PROVIDER_MANAGED = RealtimeTurningMode.PROVIDER_MANAGED
EXPLICIT = RealtimeTurningMode.EXPLICIT_COMMIT
PATIENCE = 100.0  # virtual seconds; a session that is kept alive would let a test wait for ever
CONNECTORS = ("websockets", "trio-websocket")

NOTHING = {"type": "conversation.created", "conversation": {"id": "c"}}  # no event comes of it

Script: TypeAlias = Callable[[OpenAIPeer], Awaitable[object]]


def open_config(
    mode: RealtimeTurningMode = PROVIDER_MANAGED, *args: Any
) -> RealtimeSessionOpenConfig:
    return RealtimeSessionOpenConfig(mode, SessionLlmIdentity(model="gpt-realtime"), *args)


def provider(
    stream: trio.abc.Stream,
    name: str = "websockets",
    dialled: list[Any] | None = None,
    **settings: Any,
) -> OpenAIRealtime:
    """The OpenAI provider whose one connection is `stream`; `dialled` gets it when it is taken."""

    async def open_stream(_host: str, _port: int) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        if dialled is not None:
            dialled.append(stream)
        return stream

    return OpenAIRealtime(
        api_key="k",
        base_url="ws://peer/v1/realtime",
        connector=connector(name, open_stream=open_stream),
        seed=1,
        **settings,
    )


def nobody_else_holds(values: list[list[Any]]) -> bool:
    """Whether these are in memory for `values` alone, which is empty afterwards."""
    held = {sys.getrefcount(values.pop()) for _ in range(len(values))}
    return held == {sys.getrefcount([])}


@attrs.frozen(kw_only=True)
class Server:
    """A scripted server for one connection, and the wire to it."""

    peer: OpenAIPeer
    wire: Wire
    name: str

    @asynccontextmanager
    async def open(
        self,
        *,
        tools: Iterable[Any] = (),
        mode: RealtimeTurningMode = PROVIDER_MANAGED,
        config: RealtimeSessionOpenConfig | None = None,
        limits: SessionLimits | None = None,
        beside: dict[str, Any] | None = None,
        **settings: Any,
    ) -> AsyncIterator[RealtimeSession]:
        """Open a session with it; `beside` is for `open_session`, `settings` for the provider."""
        async with open_session(
            config or open_config(mode),
            provider=provider(self.wire.client, self.name, **settings),
            tools=ToolSet(tools),
            limits=limits or SessionLimits(),
            **(beside or {}),
        ) as session:
            yield session


@asynccontextmanager
async def serving(
    script: Script,
    *,
    wire: Wire | WireName = "memory",
    name: str = "websockets",
    client_may_leave: bool | Callable[[], bool] = False,
    patience: float = 30.0,
) -> AsyncIterator[Server]:
    """A server that plays `script` from the upgrade on.  The client must leave its end closed."""
    pair = make_wire(wire) if isinstance(wire, str) else wire
    async with openai_peer(
        pair.server, script, client_may_leave=client_may_leave, patience=patience
    ) as peer:
        yield Server(peer=peer, wire=pair, name=name)
        assert pair.offences == []
        assert pair.client.closed, "the session left its socket open"


def welcoming(script: Script) -> Script:
    """The script, after a successful handshake."""

    async def play(peer: OpenAIPeer) -> None:
        await peer.welcome()
        await script(peer)

    return play


@attrs.frozen(kw_only=True)
class Meeting:
    """Both ends of one session, and what is between them."""

    session: RealtimeSession
    peer: OpenAIPeer
    wire: Wire

    @property
    def core(self) -> Any:
        return self.session._core


@asynccontextmanager
async def meeting(
    script: Script,
    *,
    wire: WireName = "memory",
    name: str = "websockets",
    client_may_leave: bool = False,
    patience: float = 30.0,
    **opening: Any,
) -> AsyncIterator[Meeting]:
    """An open session, and its server, which has said `welcome` and goes on with `script`."""
    async with (
        serving(
            welcoming(script),
            wire=wire,
            name=name,
            client_may_leave=client_may_leave,
            patience=patience,
        ) as server,
        server.open(**opening) as session,
    ):
        yield Meeting(session=session, peer=server.peer, wire=server.wire)


async def refused(
    script: Script,
    *,
    name: str = "websockets",
    config: RealtimeSessionOpenConfig | None = None,
    **kwargs: Any,
) -> BaseException:
    """The error that opening a session with such a server raises; nothing may be left."""
    with quiescent_after():
        async with serving(script, name=name, client_may_leave=True, **kwargs) as server:
            try:
                async with server.open(config=config):
                    raise AssertionError("the session opened")
            except Exception as error:
                raised = error
            assert server.wire.client.closed
    return raised


async def linger(peer: OpenAIPeer) -> None:
    """A server that says no more, and answers the close."""
    await peer.linger()


async def take(session: RealtimeSession, kind: type, *more: type) -> list[Any]:
    """Read up to and including the first event of `kind`, then of the next kind, and so on."""
    read: list[Any] = []
    for wanted in (kind, *more):
        event = None
        while not isinstance(event, wanted):
            with trio.move_on_after(PATIENCE) as scope:
                event = await session.next_event()
            what = f"{wanted.__name__}; there were {kinds(read)}"
            assert not scope.cancelled_caught, f"in {PATIENCE} s there came no {what}"
            assert event is not None, f"the session ended before {what}"
            read.append(event)
    return read


async def rest(session: RealtimeSession) -> list[Any]:
    """All events that are left, up to a clean end."""
    return [event async for event in session]


async def outcome(session: RealtimeSession) -> tuple[list[Any], BaseException | None]:
    """All events that are left, and the error that they end with, if they do."""
    read: list[Any] = []
    try:
        while (event := await session.next_event()) is not None:
            read.append(event)
    except Exception as error:
        return read, error
    return read, None


def kinds(read: Iterable[Any], *leave_out: type) -> list[str]:
    """The names of the events' classes."""
    return [type(event).__name__ for event in read if not isinstance(event, leave_out)]


def of(read: Iterable[Any], *wanted: type) -> list[Any]:
    return [event for event in read if isinstance(event, wanted)]


def closing(read: list[Any]) -> ev.CloseReason:
    """The reason of the one closing event, which must be the last."""
    (last,) = of(read, ev.SessionClosed)
    assert read[-1] is last
    return last.reason


async def one_turn_of(peer: OpenAIPeer) -> None:
    """A server that answers one message."""
    await peer.item_created(await peer.expect("conversation.item.create"))
    await peer.text_response("Good morning.", await peer.expect("response.create"))


async def one_turn(peer: OpenAIPeer) -> None:
    """As above, and stays."""
    await one_turn_of(peer)
    await linger(peer)


def speaking(store: Any, **settings: Any) -> Any:
    """A session with this store, and a server that answers one message."""
    return meeting(one_turn, beside={"store": store}, client_may_leave=True, **settings)
