"""How a connection is opened: connect, and shake hands until the session is ready."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio

from ..model.errors import ConnectionReset, InvalidConfig, NetworkTimeout, from_http_status
from ..transport import HandshakeFailed, Transport, TransportClosed, WebSocketTarget
from ..turn.ports import ProviderEvent, SessionCreated
from .endings import ending, timed_out

if TYPE_CHECKING:
    from ..providers.base import Dialect, LinkCodec, Opening
    from ..transport import Connector
    from .limits import SessionLimits


@attrs.define(eq=False)
class Dialled:
    """A connection that is ready.

    `held` are the events that came meanwhile and belong to the conversation, with the times when
    they came.
    """

    transport: Transport
    session_id: str | None = None
    held: list[tuple[float, ProviderEvent]] = attrs.field(factory=list)


async def dial(
    connector: Connector,
    dialect: Dialect,
    opening: Opening,
    limits: SessionLimits,
    hosts: trio.Nursery,
    codec: LinkCodec,
) -> Dialled:
    """Connect and bring the session to readiness.

    `codec` is that of the link, and `hosts` runs the tasks that the transport's library needs.  A
    checkpoint.  Cancelled or failed at any point, it leaves no socket behind.

    Raises:
        LlmError: no session; a connection that fails is ConnectionReset, one that takes too long
            NetworkTimeout, and what the provider refuses has its own class.
    """
    dialled = Dialled(await _connect(dialect, connector, limits, hosts))
    try:
        await _shake_hands(dialled, codec, dialect, opening)
    except BaseException:
        await _abandon(dialled.transport)
        raise
    return dialled


async def _connect(
    dialect: Dialect, connector: Connector, limits: SessionLimits, hosts: trio.Nursery
) -> Transport:
    endpoint = dialect.endpoint
    try:
        target = WebSocketTarget(
            url=endpoint.url, headers=endpoint.headers, subprotocols=endpoint.subprotocols
        )
    except ValueError as wrong:
        raise InvalidConfig(f"cannot connect with this configuration: {wrong}") from None
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
            lost = NetworkTimeout if timed_out(failed) else ConnectionReset
            raise lost(f"no connection to {_origin(endpoint.url)}: {failed}") from failed
        raise from_http_status(failed.status, str(failed)) from failed


async def _shake_hands(
    dialled: Dialled, codec: LinkCodec, dialect: Dialect, opening: Opening
) -> None:
    transport = dialled.transport
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
                for event in codec.decode(frame):
                    if type(event) is SessionCreated:
                        dialled.session_id = event.session_id
                    more, ours = opening.observe(event)
                    frames.extend(more)
                    if not ours:
                        dialled.held.append((trio.current_time(), event))
    except trio.TooSlowError as slow:
        raise NetworkTimeout(
            f"the provider did not get as far as {phase!r} in time", round(opening.deadline * 1000)
        ) from slow
    except TransportClosed as closed:
        _, error = ending(dialect, closed)
        raise error or ConnectionReset(f"the provider ended the connection: {closed}") from closed


async def _abandon(transport: Transport) -> None:
    with trio.CancelScope(shield=True, relative_deadline=1.0):  # only frees the socket
        await transport.aclose()


def _origin(url: str) -> str:
    """The address without its query, which may name a call or a key."""
    return url.split("?", 1)[0]
