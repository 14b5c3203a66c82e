"""A Gemini session against a scripted server over an in-memory wire, in a few words."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
import trio
from support.gemini_oracle import check

from meerkat_rt import (
    GeminiLive,
    Provider,
    RealtimeSession,
    RealtimeSessionOpenConfig,
    RealtimeTurningMode,
    SessionLimits,
    SessionLlmIdentity,
    ToolSet,
    open_session,
)
from meerkat_rt.model import events as ev
from meerkat_rt.providers.gemini import AiStudio
from meerkat_rt.testing.gemini_peer import GeminiPeer, gemini_peer
from meerkat_rt.testing.wires import Wire, make_wire
from meerkat_rt.transport import connector

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

MODEL = "gemini-3.8-live"
MANAGED = RealtimeTurningMode.PROVIDER_MANAGED
PATIENCE = 100.0  # virtual seconds
EXPLICIT = RealtimeTurningMode.EXPLICIT_COMMIT


def open_config(
    mode: RealtimeTurningMode = MANAGED, *, model: str = MODEL, **rest: Any
) -> RealtimeSessionOpenConfig:
    identity = SessionLlmIdentity(model=model, provider=Provider.GEMINI)
    return RealtimeSessionOpenConfig(mode, identity, **rest)


def provider(stream: trio.abc.Stream, **settings: Any) -> GeminiLive:
    """The Gemini provider whose one connection is `stream`."""

    async def open_stream(_host: str, _port: int) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        return stream

    return GeminiLive(
        platform=AiStudio(api_key="k", base_url="ws://peer"),
        connector=connector("websockets", open_stream=open_stream),
        seed=1,
        **settings,
    )


@attrs.frozen(kw_only=True)
class Meeting:
    """Both ends of one session; `events` are those that `until` and `seen` have read."""

    session: RealtimeSession
    peer: GeminiPeer
    wire: Wire
    events: list[Any] = attrs.field(factory=list)

    async def until(self, kind: type, count: int = 1) -> list[Any]:
        """Read up to and including the `count`-th event of a kind from here."""
        read = []
        with trio.move_on_after(PATIENCE):
            async for event in self.session:
                read.append(event)
                self.events.append(event)
                if isinstance(event, kind):
                    count -= 1
                    if not count:
                        return read
        names = ", ".join(type(event).__name__ for event in self.events)
        raise AssertionError(f"{kind.__name__} never came; there came: {names}")

    def of(self, kind: type) -> list[Any]:
        """The events of one kind read so far."""
        return [event for event in self.events if isinstance(event, kind)]


@asynccontextmanager
async def meeting(
    script: Callable[[GeminiPeer], Awaitable[object]],
    *,
    tools: Iterable[Any] = (),
    mode: RealtimeTurningMode = MANAGED,
    config: RealtimeSessionOpenConfig | None = None,
    limits: SessionLimits | None = None,
    client_may_leave: bool = False,
    **settings: Any,
) -> AsyncIterator[Meeting]:
    """An open session, and its server, which has said `welcome` and goes on with `script`.

    Every message of both sides must be known to the vendor's types.
    """

    async def play(peer: GeminiPeer) -> None:
        await peer.welcome()
        await script(peer)

    wire = make_wire("memory")
    async with gemini_peer(wire.server, play, client_may_leave=client_may_leave) as peer:
        async with open_session(
            config or open_config(mode),
            provider=provider(wire.client, **settings),
            tools=ToolSet(tools),
            limits=limits or SessionLimits(),
        ) as session:
            yield Meeting(session=session, peer=peer, wire=wire)
    assert wire.offences == []
    for received in peer.received:
        check(received.frame, "client")
    for sent in peer.sent:
        check(sent, "server")


def texts(session: RealtimeSession) -> list[tuple[str, str]]:
    """The canonical conversation: who said what."""
    return [
        (type(message).__name__.removesuffix("Message").lower(), message.text_content())
        for message in session.transcript
    ]


def heard_audio(events: Iterable[Any]) -> bytes:
    """The audio of these events."""
    return b"".join(e.chunk.data for e in events if isinstance(e, ev.OutputAudioChunk))
