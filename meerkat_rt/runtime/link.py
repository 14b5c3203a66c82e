"""One connection of a session: how it is read, written, kept alive and closed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs
import trio

from ..model.errors import ConnectionReset, LlmError
from ..model.events import ClosedBy, CloseReason
from ..providers.base import Dialect, LinkCodec
from ..transport import Transport, TransportClosed
from ..turn.ports import GoingAway, ProviderEvent
from .aliases import Aliases
from .dialing import dial
from .endings import ending
from .errors import TransportStalled, WorkerLost
from .reading import Reading
from .signal import Signal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..providers.base import Opening
    from ..transport import Connector
    from .core import SessionCore

SOCKET_RELEASE = 1.0  # seconds; closing a local socket does not wait for the peer
READ_OUT = 1.0  # seconds; after a failed write, for the reader to find out why
FRAME_COST = 1024  # bytes that a held frame counts for beside its own: its events are objects


@attrs.define(eq=False, kw_only=True)
class Link:
    """One open connection.

    From readiness on it is `warming`, until it becomes the session's or is retired.  If it has to
    wait for that, `start` lets its tasks run meanwhile: it is read and kept alive, and nothing but
    frames of the WebSocket protocol is written.  `held` are the events that belong to the
    conversation and came before it began, with the times when they came.  `ended` is set when the
    peer or the network ended it, for the reason that `ending` tells; `gone` when nothing of it is
    left.  `scope` holds its tasks.  `reading` is how it is read.  `name` is no other connection's.

    What is held is bounded: once it comes to more than `SessionLimits.warming_bytes`, the next read
    gives the connection up, like one that the network ended.
    """

    name: str
    transport: Transport
    dialect: Dialect
    codec: LinkCodec
    session_id: str | None = None
    warming: bool = True
    held: list[tuple[float, ProviderEvent]] = attrs.field(factory=list)
    held_bytes: int = 0
    ending: tuple[CloseReason, LlmError | None] | None = None
    opened_at: float = attrs.field(factory=trio.current_time)
    start: trio.Event = attrs.field(factory=trio.Event)
    ended: trio.Event = attrs.field(factory=trio.Event)
    flushed: trio.Event = attrs.field(factory=trio.Event)  # the sender has written its last
    gone: trio.Event = attrs.field(factory=trio.Event)
    ready: Signal = attrs.field(factory=Signal)  # something waits for the sender
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    reading: Reading = attrs.field(init=False)
    aliases: Aliases | None = None  # where ids may be those of something before it

    def begin(self, now: float) -> list[ProviderEvent]:
        """Be the session's from now on; returns what was held, in order.

        What was told as a time that is left has less of it left by now.
        """
        self.warming = False
        self.start.set()
        held, self.held = self.held, []
        return [_aged(event, now - came) for came, event in held]

    def hold(self, frames: list[bytes], events: list[ProviderEvent], now: float) -> None:
        """Keep these events, of these frames, until it begins."""
        self.held += ((now, event) for event in events)
        self.held_bytes += sum(map(len, frames)) + FRAME_COST * len(frames)

    def retire(self, grace: float) -> None:
        """Another connection took its place: close it in order, within `grace` seconds."""
        self.warming = False
        self.start.set()
        self.held.clear()
        self.transport.start_close(1000)
        self.ready.set()
        self.scope.deadline = trio.current_time() + grace

    def speak(self, dialect: Dialect) -> None:
        """Use this dialect from the next command on."""
        self.dialect = dialect
        self.codec = dialect.codec(self.name)


@attrs.define(eq=False)
class _Opened:
    """What came of opening a connection, once it is `known`: a link, or an error, or nothing.

    `scope` holds the task that opens it and then runs it.
    """

    known: trio.Event = attrs.field(factory=trio.Event)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    link: Link | None = None
    error: LlmError | None = None


async def start_link(
    core: SessionCore,
    connector: Connector,
    dialect: Dialect,
    opening: Opening,
    nursery: trio.Nursery,
) -> Link:
    """Open a connection that lives in `nursery`; see `run_link`.

    A checkpoint.  Cancelled, there is none.

    Raises:
        LlmError: no session; see `dial`.
        WorkerLost: somebody cancelled the task alone.
    """
    opened = _Opened()
    nursery.start_soon(run_link, core, connector, dialect, opening, opened, name="receiver")
    try:
        await opened.known.wait()
    except BaseException:
        opened.scope.cancel(reason="nobody waits for the connection any more")
        raise
    if opened.link is not None:
        return opened.link
    if opened.error is None:
        # An error of the task's ends the nursery, and us with it.
        await trio.lowlevel.checkpoint_if_cancelled()
    raise opened.error or WorkerLost("internal error: the receiver ended before the session")


async def run_link(
    core: SessionCore, connector: Connector, dialect: Dialect, opening: Opening, opened: _Opened
) -> None:
    """One connection, from its opening to its end.  Tells `opened` what came of the former.

    Its tasks begin with `Link.start`, and end when the connection does, or `scope` is cancelled;
    then the socket is released.

    It is the receiver itself, in one coroutine: each that stood in between would have to be gone
    through at every event of a paced session.
    """
    try:
        with opened.scope:
            async with trio.open_nursery() as hosts:
                link = await _open(core, connector, dialect, opening, opened, hosts)
                if link is None:
                    return
                try:
                    with link.scope:
                        await link.start.wait()
                        async with trio.open_nursery() as io:
                            _start_others(core, link, io)
                            try:
                                await receive(core, link)
                            finally:
                                _must_have_ended(core, link)
                            await _have_last_word(core, link)
                            io.cancel_scope.cancel(reason="the connection has ended")
                finally:
                    await _leave(core, link, hosts)
    finally:
        opened.known.set()


async def _open(
    core: SessionCore,
    connector: Connector,
    dialect: Dialect,
    opening: Opening,
    opened: _Opened,
    hosts: trio.Nursery,
) -> Link | None:
    try:
        name = core.next_link()
        codec = dialect.codec(name)
        dialled = await dial(connector, dialect, opening, core.limits, hosts, codec)
        link = opened.link = Link(
            name=name,
            transport=dialled.transport,
            dialect=dialect,
            codec=codec,
            session_id=dialled.session_id,
            held=dialled.held,
        )
        link.reading = Reading(link.transport, lambda frames: hear(core, link, frames))
        opened.known.set()
    except LlmError as error:
        opened.error = error
        hosts.cancel_scope.cancel(reason="there is no connection")
    return opened.link


def _start_others(core: SessionCore, link: Link, io: trio.Nursery) -> None:
    """The tasks beside the receiver."""
    io.start_soon(_worker, core, link, send, name="sender")
    if link.dialect.profile.ping_interval is not None:
        io.start_soon(_worker, core, link, keep_alive, name="keepalive")


async def _worker(
    core: SessionCore, link: Link, run: Callable[[SessionCore, Link], Awaitable[None]]
) -> None:
    try:
        await run(core, link)
    finally:
        _must_have_ended(core, link)


def _must_have_ended(core: SessionCore, link: Link) -> None:
    """A task without which the session's connection cannot live has ended: so has the connection.

    One that has not begun yet is given up then.
    """
    if not link.ended.is_set():
        if core.link is link:
            core.worker_lost(trio.lowlevel.current_task().name)
        elif link.warming:
            link.scope.cancel(reason="a task of the connection's has ended")


async def _have_last_word(core: SessionCore, link: Link) -> None:
    """Let the sender answer the peer's close frame."""
    link.ready.set()
    with trio.move_on_after(core.limits.close_grace):
        await link.flushed.wait()


async def _leave(core: SessionCore, link: Link, hosts: trio.Nursery) -> None:
    """Its tasks have ended."""
    await release(link, hosts)
    if core.link is link:  # it was cancelled alone
        core.worker_lost("receiver")
    elif link.warming:
        core.warming_ended()


async def release(link: Link, hosts: trio.Nursery) -> None:
    """Free the socket, and stop the tasks of the transport's library."""
    try:
        with trio.CancelScope(shield=True, relative_deadline=SOCKET_RELEASE):
            await link.transport.aclose()
    finally:
        link.ended.set()
        link.gone.set()
        hosts.cancel_scope.cancel(reason="the connection is closed")


async def receive(core: SessionCore, link: Link) -> None:
    """The receiver: reads the socket, unless whoever waits for the session's events does.

    Ends when the connection does; that is reported as state, not raised.
    """
    try:
        await link.reading.run()
    except TransportClosed as closed:
        _lost(core, link, *ending(link.dialect, closed))


def hear(core: SessionCore, link: Link, frames: list[bytes]) -> None:
    """A step: what these frames of a connection say to the session."""
    if core.recording is not None:
        core.recording.wire(trio.current_time(), received=sum(map(len, frames)))
    events = link.codec.decode_all(frames)  # another codec after `Link.speak`
    if core.link is link and core.connected:
        if link.aliases is not None:
            events = link.aliases.heard(events)
        now = core.now  # looked up as a method, an attribute would cost three times as much
        core.observe(events, now())
    elif not link.warming:
        core.stale_events += len(events)
    elif link.held_bytes > core.limits.warming_bytes:
        _overheard(core, link)
    else:
        link.hold(frames, events, trio.current_time())


async def send(core: SessionCore, link: Link) -> None:
    """The sender: the only writer of the socket.

    Its write is cancelled only when the connection is to be cut.  Ends when the connection does.
    Before this connection is the session's, and once another one is, it writes frames of the
    WebSocket protocol, such as pongs and what closes it, and no more.
    """
    try:
        await _send(core, link)
    finally:
        link.flushed.set()


async def _send(core: SessionCore, link: Link) -> None:
    transport, lanes, ready = link.transport, core.lanes, link.ready
    transport.on_output(ready.set)
    # One scope for all writes: its deadline is that of the one under way.
    with trio.CancelScope() as writing:
        while True:
            await ready.wait()
            while True:
                now = trio.current_time()
                frames = _next_frames(core, link, now) if core.link is link else []
                writing.deadline = now + core.limits.write
                try:
                    await transport.send(frames)
                except TransportClosed as closed:
                    writing.deadline = math.inf
                    await _unwritable(core, link, closed)
                    return
                writing.deadline = math.inf
                if core.recording is not None:
                    core.recording.wire(trio.current_time(), sent=sum(map(len, frames)))
                del frames  # a quiet connection does not keep what it has written
                if core.link is not link:
                    break
                if written := link.codec.written():
                    core.observe(list(written), trio.current_time())
                if not len(lanes):
                    lanes.drained.unpark_all()
                    break
    _stalled(core, link, f"the peer took nothing for {core.limits.write:g} s")


async def _unwritable(core: SessionCore, link: Link, closed: TransportClosed) -> None:
    if link.ended.is_set():
        return
    # The receiver sees the same, and the close frame behind it, unless the connection is broken in
    # one direction only.
    with trio.move_on_after(READ_OUT):
        await link.ended.wait()
    if not link.ended.is_set():
        _lost(core, link, *ending(link.dialect, closed))
        link.scope.cancel(reason="the connection is lost")


def _next_frames(core: SessionCore, link: Link, now: float) -> list[bytes]:
    """What the lanes have, as it is written."""
    commands = core.lanes.take(now)
    if core.sent_audio is not None:
        core.sent_audio.note(commands, now)
    frames: list[bytes] = []
    for command in commands:
        wire = command if link.aliases is None else link.aliases.said(command)
        try:
            frames += link.codec.encode(wire)
        except LlmError as error:
            core.unsendable(command, error)
    return frames


async def keep_alive(core: SessionCore, link: Link) -> None:
    """Ping what was silent for so long as the provider's policy says; silence ends the connection.

    Whatever comes is a sign of life.  Who speaks is not asked for one, so that sessions which were
    opened together do not all stop for a ping at once; and a pong may be behind much else.
    """
    profile, transport = link.dialect.profile, link.transport
    assert profile.ping_interval is not None
    while True:
        asked = trio.current_time()
        silent_since = max(transport.heard_at, link.opened_at)
        if asked < silent_since + profile.ping_interval:
            await trio.sleep_until(silent_since + profile.ping_interval)
            continue
        pong = transport.ping()
        until = asked + profile.ping_timeout
        with trio.move_on_at(until):
            await pong.wait()
        late = trio.current_time() - until
        if late > 0 and transport.heard_at < asked:
            # The loop was held up.  Something may have come meanwhile, and nobody has read it yet.
            with trio.move_on_after(late):
                await pong.wait()
        if transport.heard_at < asked:
            _stalled(core, link, f"no answer to a ping within {profile.ping_timeout:g} s")
            return


def _stalled(core: SessionCore, link: Link, text: str) -> None:
    if not link.ended.is_set():
        reason = CloseReason(by=ClosedBy.NETWORK, text=text, clean=False)
        _lost(core, link, reason, TransportStalled(text))
    link.scope.cancel(reason=text)


def _overheard(core: SessionCore, link: Link) -> None:
    text = (
        f"the connection sent {link.held_bytes} bytes before it began; the limit is "
        f"{core.limits.warming_bytes} (SessionLimits.warming_bytes)"
    )
    reason = CloseReason(by=ClosedBy.RUNTIME, text=text, clean=False)
    _lost(core, link, reason, ConnectionReset(text))
    link.scope.cancel(reason=text)


def _lost(core: SessionCore, link: Link, reason: CloseReason, error: LlmError | None) -> None:
    link.ending = reason, error
    link.ended.set()
    core.link_lost(link, reason, error)


def _aged(event: ProviderEvent, seconds: float) -> ProviderEvent:
    if isinstance(event, GoingAway) and event.time_left is not None:
        return attrs.evolve(event, time_left=max(0.0, event.time_left - seconds))
    return event


async def say_goodbye(core: SessionCore, link: Link) -> None:
    """Write what is owed, then a close frame, and wait for the peer's.  The caller bounds it.

    A checkpoint; cancelled, the connection is cut wherever it is.
    """
    core.lanes.drop_audio()
    while len(core.lanes):
        await core.lanes.drained.park()
    link.transport.start_close(1000)
    link.ready.set()
    await link.ended.wait()
