"""A provider's server that plays a script: expect this frame, send these, wait, misbehave.

Neutral between providers; `openai_peer` adds the events of one.  A script is an async function of
the
peer and reads like the conversation::

    async def script(peer):
        await peer.welcome()
        await peer.expect("conversation.item.create")
        await peer.expect("response.create")
        await peer.text_response("Good morning.")

Whatever goes wrong in a script ends the test at once with an error that says what the script was
waiting for, what came instead, and what had come before: nothing waits for ever.
"""

from __future__ import annotations

import contextlib
import difflib
import json
from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import trio

from . import places
from .clock import StallWatch, watched
from .faults import Faults
from .websocket_peer import ClientGone, CloseFrame, WebSocketPeer
from .wires import WireStream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping

    Frame = dict[str, Any]

PATIENCE = 30.0  # virtual seconds that `expect` waits; the longest wait of a client is shorter
STALL_PATIENCE = 1.0  # real seconds of everybody waiting for ever, under a virtual clock
FINISH_WITHIN = 5.0  # virtual seconds that a script has to end in, once the test's block has
_SHOWN_FRAMES = 6
_SHOWN_STRING = 60

compact = json.JSONEncoder(separators=(",", ":")).encode
"""A frame as text, as short as JSON can be."""


class ScriptError(AssertionError):
    """The client did not play its part of the script, or the script went wrong."""


class ScriptMismatch(ScriptError):
    """A frame came that is not the expected one; `received` is that frame."""

    def __init__(self, message: str, received: Frame) -> None:
        self.received = received
        super().__init__(message)


class ScriptTimeout(ScriptError):
    """The expected frame did not come in time."""


class ScriptUnfinished(ScriptError):
    """The test's block ended, and the script was still in the middle of something."""


@attrs.frozen
class Received:
    """A frame from the client, with the time (of the run's clock) at which it came."""

    time: float
    frame: dict[str, Any]


class ScriptedPeer:
    """The server's side of one connection, for a script to drive.

    `received` holds every frame of the client's, in order; `sent` every frame sent.  Frames whose
    type is in `skipped` are recorded, but `expect` passes over them unless it is one of them that
    it expects.  `faults` is what may befall the frames that it sends.
    """

    def __init__(
        self, stream: trio.abc.Stream, *, patience: float = PATIENCE, skipped: frozenset[str]
    ) -> None:
        self.socket = WebSocketPeer(stream, self._came, self._wake)
        self.faults = Faults(self.socket)
        self.received: list[Received] = []
        self.sent: list[Frame] = []
        self.patience = patience
        self.skipped = skipped
        self.finished = False  # the script has been played to its end
        self.lingering = False
        self._unread: deque[Received] = deque()
        self._news = trio.Event()

    def frame_type(self, frame: Mapping[str, Any]) -> str:
        """What kind of frame this is, in the provider's own words."""
        return str(frame.get("type", "(no type)"))

    def _came(self, message: str | bytes) -> None:
        frame: Frame
        try:
            parsed = json.loads(message)
            frame = (
                parsed if isinstance(parsed, dict) else {"type": "(not an object)", "is": parsed}
            )
        except ValueError:
            frame = {"type": "(not JSON)", "is": repr(message)}
        if isinstance(message, bytes):
            frame = {"type": "(binary)", "is": frame}
        received = Received(trio.current_time(), frame)
        self.received.append(received)
        self._unread.append(received)
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = trio.Event()

    @property
    def unread(self) -> list[Frame]:
        """Frames that have come and that no `expect` has taken, the skipped ones left out."""
        return [
            each.frame for each in self._unread if self.frame_type(each.frame) not in self.skipped
        ]

    def frames(self, kind: str | None = None) -> list[Frame]:
        """All frames received so far, or those of one type."""
        return [
            each.frame
            for each in self.received
            if kind is None or self.frame_type(each.frame) == kind
        ]

    # -- the opening ----------------------------------------------

    async def wait_request(self) -> None:
        """Wait for the upgrade request; `socket.request` then has its path and headers."""
        with self._deadline("an upgrade request"):
            while self.socket.request is None:
                self._check_not_gone("an upgrade request")
                await self._news.wait()

    async def accept(self, *, subprotocol: str | None = None) -> None:
        """Wait for the upgrade request and accept it."""
        await self.wait_request()
        await self.socket.accept(subprotocol=subprotocol)

    async def reject(self, status: int, text: str = "") -> None:
        """Wait for the upgrade request and refuse it with an HTTP status."""
        await self.wait_request()
        await self.socket.reject(status, text)

    # -- expecting ------------------------------------------------

    async def receive(self, *, within: float | None = None) -> Frame:
        """The next frame of the client's, whatever it is, not even passing over the skipped ones.

        Raises:
            ScriptTimeout: none came within `within` seconds (`patience`).
            ClientGone: the client closed or left.
        """
        return await self._next("any frame", within)

    async def _next(self, what: str, within: float | None = None) -> Frame:
        with self._deadline(what, within):
            await self.faults.settle()
            if self._unread:
                await trio.lowlevel.checkpoint()
            while not self._unread:
                self._check_not_gone(what)
                await self._news.wait()
            return self._unread.popleft().frame

    async def upcoming(self) -> Frame:
        """The next frame of the client's, left for others to take.

        Raises:
            ScriptTimeout: none came within `patience` seconds.
            ClientGone: the client closed or left.
        """
        with self._deadline("any frame"):
            if self._unread:
                await trio.lowlevel.checkpoint()
            while not self._unread:
                self._check_not_gone("any frame")
                await self._news.wait()
            return self._unread[0].frame

    @contextlib.contextmanager
    def _deadline(self, what: str, within: float | None = None) -> Iterator[None]:
        seconds = self.patience if within is None else within
        try:
            with trio.fail_after(seconds):
                yield
        except trio.TooSlowError:
            raise ScriptTimeout(
                f"expected {what}: nothing came within {seconds:g} s{self._so_far()}"
            ) from None

    def _check_not_gone(self, what: str) -> None:
        if self.socket.gone:
            close = self.socket.client_close
            how = "left without a close frame"
            if close is not None:
                how = f"closed with {close.code}" + (f" ({close.reason})" if close.reason else "")
            raise ClientGone(f"expected {what}: the client {how}{self._so_far()}")

    async def expect(self, kind: str, /, **fields: Any) -> Frame:
        """The next frame, which must be of type `kind` and hold at least `fields`.

        Nested objects need hold only what is given of them; everything else must be equal.

        Raises:
            ScriptMismatch: another frame came; the message shows the difference.
            ScriptTimeout: none came within `patience` seconds.
            ClientGone: the client closed or left.
        """
        return await self.expect_one_of(kind, **fields)

    async def expect_one_of(self, *kinds: str, **fields: Any) -> Frame:
        """Like `expect`, for a frame of any of several types."""
        what = " or ".join(kinds)
        while True:
            frame = await self._next(what)
            kind = self.frame_type(frame)
            if kind in kinds:
                break
            if kind not in self.skipped:
                raise ScriptMismatch(
                    f"expected {what}, received {kind}:\n{_pretty(frame)}{self._so_far()}", frame
                )
        if not _holds(frame, fields):
            raise ScriptMismatch(
                f"{kind} came, but not as expected:\n{_difference(fields, frame)}{self._so_far()}",
                frame,
            )
        return frame

    async def expect_silence(self, seconds: float) -> None:
        """Nothing but skipped frames may come for so long.

        Raises:
            ScriptMismatch: something came.
        """
        with trio.move_on_after(seconds):
            while True:
                while self._unread:
                    frame = self._unread.popleft().frame
                    if self.frame_type(frame) not in self.skipped:
                        raise ScriptMismatch(
                            f"expected nothing, received {self.frame_type(frame)}:\n"
                            f"{_pretty(frame)}{self._so_far()}",
                            frame,
                        )
                if self.socket.gone:
                    return
                await self._news.wait()

    async def expect_close(self, *, within: float | None = None) -> CloseFrame | None:
        """Wait until the client has closed or left; its close frame, or None if it sent none.

        Raises:
            ScriptTimeout: it is still there after `within` seconds (`patience`).
        """
        with self._deadline("the client to close", within):
            await self._gone()
        return self.socket.client_close

    async def expect_pong(self) -> None:
        """Ping the client and wait for its answer.

        Raises:
            ScriptTimeout: no pong came within `patience` seconds.
            ClientGone: the client closed or left.
        """
        before = self.socket.pongs
        await self.socket.ping()
        with self._deadline("a pong"):
            while self.socket.pongs == before:
                self._check_not_gone("a pong")
                await self._news.wait()

    async def _gone(self) -> None:
        while not self.socket.gone:
            await self._news.wait()

    def _so_far(self) -> str:
        frames = [f"{each.time:g} s {self.frame_type(each.frame)}" for each in self.received]
        if len(frames) > _SHOWN_FRAMES:
            frames = [f"({len(frames) - _SHOWN_FRAMES} before)", *frames[-_SHOWN_FRAMES:]]
        return f"\nreceived so far: {', '.join(frames) or 'nothing'}"

    # -- sending --------------------------------------------------

    async def send(self, frame: Mapping[str, Any]) -> None:
        """Send one event.

        Raises:
            ClientGone: the connection is closing or closed.
        """
        frame = self.prepare(dict(frame))
        self.sent.append(frame)
        text = compact(frame)
        await self.faults.deliver(self.frame_type(frame), text)

    def prepare(self, frame: Frame) -> Frame:
        """Add what every frame of the provider's carries."""
        return frame

    async def reset(self, *, deliver: bool = False) -> None:
        """Reset the connection; `deliver`: after the client has read what was sent."""
        stream = self.socket.stream
        if isinstance(stream, WireStream):
            stream.reset(deliver=deliver)
            await trio.lowlevel.checkpoint()
        else:
            await trio.aclose_forcefully(stream)

    async def linger(self) -> None:
        """Do nothing until the client leaves or the test ends; the script counts as finished."""
        self.lingering = True
        await self.faults.settle()
        await self._gone()


P = TypeVar("P", bound=ScriptedPeer)


@contextlib.asynccontextmanager
async def played(
    peer: P,
    script: Callable[[P], Awaitable[object]],
    *,
    client_may_leave: bool | Callable[[], bool] = False,
) -> AsyncIterator[P]:
    """Play `script` beside the block; the connection is closed when the block ends.

    A script that fails ends the block and raises here.  When the block ends by itself, the script
    has a few seconds to end too.  `client_may_leave` (a flag, or a function asked at that moment)
    says that a client which closes or drops the connection in the middle of the script is no
    failure.  For a sweep pass a function, `trial.was_injected`: once it says so, a frame that does
    not fit is none either, for a client that gives up may well say that (`response.cancel`).  Then
    the script ends there, and the peer lingers.

    Raises:
        ScriptError: the client did not play its part, or the script was not played to its end.
        ClientGone: the client left before the script's end.
    """

    def may_leave() -> bool:
        return client_may_leave() if callable(client_may_leave) else client_may_leave

    done = trio.Event()

    async def play() -> None:
        try:
            await script(peer)
            peer.finished = True
        except ClientGone:
            if not may_leave():
                raise
        except ScriptError:
            if not (callable(client_may_leave) and client_may_leave()):
                raise
            with contextlib.suppress(ClientGone):
                await peer.linger()
        finally:
            done.set()

    stalled = trio.Event()
    waiters: list[str] = []

    def on_stall(names: list[str]) -> None:
        waiters[:] = names
        stalled.set()

    async def guard() -> None:
        # Under a virtual clock a deadlock spins for ever: nobody has a deadline that could end it.
        await stalled.wait()
        raise ScriptError("every task waits for ever:\n" + "\n".join(f"  {w}" for w in waiters))

    watch = None if watched.get() else StallWatch(on_stall, patience=STALL_PATIENCE)
    if watch is not None:
        trio.lowlevel.add_instrument(watch)
    try:
        async with trio.open_nursery() as nursery:
            try:
                if watch is not None:
                    nursery.start_soon(guard, name="peer guard")
                nursery.start_soon(peer.socket.run, name="peer reader")
                nursery.start_soon(play, name="peer script")
                yield peer
                if not peer.lingering:
                    with trio.move_on_after(FINISH_WITHIN):
                        await done.wait()
                if not (done.is_set() or peer.lingering or may_leave()):
                    raise ScriptUnfinished(f"the script has not ended: it is {_doing(nursery)}")
            finally:
                nursery.cancel_scope.cancel("the test is over")
                await _cut(peer.socket.stream)
    except BaseExceptionGroup as group:
        # The nursery is this function's own business: a lone error leaves it as it was raised.
        if len(group.exceptions) != 1:
            raise
        only = group.exceptions[0]
        context = only.__context__
        try:
            raise only
        finally:
            only.__context__ = context
            del only, context
    finally:
        if watch is not None:
            with contextlib.suppress(KeyError):  # Trio drops an instrument that has failed
                trio.lowlevel.remove_instrument(watch)


async def _cut(stream: trio.abc.Stream) -> None:
    """Close it at once; not a checkpoint on an in-memory wire."""
    if isinstance(stream, WireStream):
        stream.close()
        return
    # Shielded, or the cancellation would replace the block's own error.  Waits for nothing.
    with trio.CancelScope(shield=True):
        await trio.aclose_forcefully(stream)


def _doing(nursery: trio.Nursery) -> str:
    scripts = [task for task in nursery.child_tasks if task.name == "peer script"]
    return f"at {places.where(scripts[0])}" if scripts else "ending"


################################################################
# Showing what differs
################################################################


def _holds(actual: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return isinstance(actual, dict) and all(
            key in actual and _holds(actual[key], value) for key, value in wanted.items()
        )
    return bool(wanted == actual)


def _restricted(actual: Any, wanted: Any) -> Any:
    """What was received of that which was wanted."""
    if isinstance(wanted, dict) and isinstance(actual, dict):
        return {
            key: _restricted(actual[key], value) for key, value in wanted.items() if key in actual
        }
    return actual


def _difference(wanted: Frame, actual: Frame) -> str:
    lines = difflib.unified_diff(
        _pretty(wanted).splitlines(),
        _pretty(_restricted(actual, wanted)).splitlines(),
        "expected",
        "received",
        lineterm="",
        n=100,
    )
    return "\n".join(lines)


def _pretty(value: Any) -> str:
    return json.dumps(_clipped(value), indent=2, sort_keys=True, ensure_ascii=False, default=repr)


def _clipped(value: Any) -> Any:
    """Without the bulk: audio in base64 says nothing to a reader."""
    if isinstance(value, dict):
        return {key: _clipped(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_clipped(each) for each in value]
    if isinstance(value, str) and len(value) > _SHOWN_STRING:
        return f"{value[:_SHOWN_STRING]}... ({len(value)} characters)"
    return value
