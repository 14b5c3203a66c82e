"""One connection of a session: how it is opened, read, written, kept alive and closed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio

from ..model.errors import ConnectionReset, LlmError, NetworkTimeout, from_http_status
from ..model.events import ClosedBy, CloseReason
from ..providers.base import Dialect
from ..transport import HandshakeFailed, Transport, TransportClosed, WebSocketTarget
from ..turn.ports import ProviderEvent, SessionCreated
from .errors import TransportStalled

if TYPE_CHECKING:
    from ..providers.base import Opening
    from ..transport import Connector
    from .core import SessionCore
    from .limits import SessionLimits


@attrs.define(eq=False, kw_only=True)
class Link:
    """One open connection.

    `held` are events that arrived during the handshake and belong to the conversation.  `ended` is
    set when the peer or the network ended it.
    """

    transport: Transport
    dialect: Dialect
    session_id: str | None = None
    held: list[ProviderEvent] = attrs.field(factory=list)
    ended: trio.Event = attrs.field(factory=trio.Event)


async def open_link(
    *,
    dialect: Dialect,
    connector: Connector,
    opening: Opening,
    limits: SessionLimits,
    hosts: trio.Nursery,
) -> Link:
    """Connect and bring the session to readiness.

    `hosts` runs the tasks that the transport's library needs.  Cancelled or failed at any point, it
    leaves no socket behind.

    Raises:
        LlmError: no session; a connection that fails is ConnectionReset, one that takes too long
            NetworkTimeout, and what the provider refuses has its own class.
    """
    transport = await _connect(dialect, connector, limits, hosts)
    try:
        link = Link(transport=transport, dialect=dialect)
        await _shake_hands(link, opening, limits)
    except BaseException:
        await _abandon(transport)
        raise
    return link


async def _connect(
    dialect: Dialect, connector: Connector, limits: SessionLimits, hosts: trio.Nursery
) -> Transport:
    endpoint = dialect.endpoint
    target = WebSocketTarget(
        url=endpoint.url, headers=endpoint.headers, subprotocols=endpoint.subprotocols
    )
    try:
        with trio.fail_after(limits.connect):
            return await connector.connect(target, nursery=hosts)
    except trio.TooSlowError as slow:
        raise NetworkTimeout(
            f"no connection to {_origin(endpoint.url)} within {limits.connect:g} s",
            round(limits.connect * 1000),
        ) from slow
    except HandshakeFailed as failed:
        if failed.status is None:
            raise ConnectionReset(f"no connection to {_origin(endpoint.url)}: {failed}") from failed
        raise from_http_status(failed.status, str(failed)) from failed


async def _shake_hands(link: Link, opening: Opening, limits: SessionLimits) -> None:
    transport = link.transport
    phase = opening.phase
    deadline = trio.current_time() + opening.deadline
    frames = list(opening.begin())
    try:
        while True:
            if opening.phase != phase:
                phase = opening.phase
                deadline = trio.current_time() + opening.deadline
            if opening.ready and not frames:
                return
            with trio.fail_at(deadline):
                await transport.send(frames)
                frames = []
                if opening.ready:
                    return
                batch = await transport.receive()
            for frame in batch:
                for event in link.dialect.decode(frame):
                    if type(event) is SessionCreated:
                        link.session_id = event.session_id
                    more, ours = opening.observe(event)
                    frames.extend(more)
                    if not ours:
                        link.held.append(event)
    except trio.TooSlowError as slow:
        raise NetworkTimeout(
            f"the provider did not get as far as {phase!r} in time", round(opening.deadline * 1000)
        ) from slow
    except TransportClosed as closed:
        _, error = link.dialect.close_reason(closed.code, closed.reason)
        raise error or ConnectionReset(f"the provider ended the connection: {closed}") from closed


async def receive(core: SessionCore, link: Link) -> None:
    """The receiver: the only reader of the socket.

    Ends when the connection does; that is reported as state, not raised.
    """
    transport, decode = link.transport, link.dialect.decode
    while True:
        try:
            batch = await transport.receive()
        except TransportClosed as closed:
            link.ended.set()
            reason, error = link.dialect.close_reason(closed.code, closed.reason)
            core.link_lost(reason, error)
            return
        events: list[ProviderEvent] = []
        for frame in batch:
            events += decode(frame)
        core.observe(events, trio.current_time())


async def send(core: SessionCore, link: Link) -> None:
    """The sender: the only writer of the socket.

    Its write is cancelled only when the connection is to be cut.  Ends when the connection does.
    """
    transport, encode, lanes = link.transport, link.dialect.encode, core.lanes
    transport.on_output(lanes.ready.set)
    while True:
        await lanes.ready.wait()
        while True:
            commands = lanes.take(trio.current_time())
            frames = [frame for command in commands for frame in encode(command)]
            try:
                with trio.fail_after(core.limits.write):
                    await transport.send(frames)
            except trio.TooSlowError:
                text = f"the peer took nothing for {core.limits.write:g} s"
                _lost(core, link, text, TransportStalled(text))
                return
            except TransportClosed:
                return  # the receiver sees the same, and the close frame behind it
            if not len(lanes):
                lanes.drained.unpark_all()
                break


async def keep_alive(core: SessionCore, link: Link) -> None:
    """Ping by the provider's policy; a ping without an answer ends the connection."""
    profile = link.dialect.profile
    if profile.ping_interval is None:
        return
    while True:
        await trio.sleep(profile.ping_interval)
        pong = link.transport.ping()
        with trio.move_on_after(profile.ping_timeout):
            await pong.wait()
            continue
        text = f"no answer to a ping within {profile.ping_timeout:g} s"
        _lost(core, link, text, TransportStalled(text))
        return


def _lost(core: SessionCore, link: Link, text: str, error: LlmError) -> None:
    link.ended.set()
    core.link_lost(CloseReason(by=ClosedBy.NETWORK, text=text, clean=False), error)


async def say_goodbye(core: SessionCore, link: Link) -> None:
    """Write what is owed, then a close frame, and wait for the peer's.  The caller bounds it.

    A checkpoint; cancelled, the connection is cut wherever it is.
    """
    core.lanes.flush_audio()
    while len(core.lanes):
        await core.lanes.drained.park()
    link.transport.start_close(1000)
    core.lanes.ready.set()
    await link.ended.wait()


async def _abandon(transport: Transport) -> None:
    with trio.CancelScope(shield=True, relative_deadline=1.0):  # only frees the socket
        await transport.aclose()


def _origin(url: str) -> str:
    """The address without its query, which may name a call or a key."""
    return url.split("?", 1)[0]
