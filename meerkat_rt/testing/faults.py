"""What a network, a proxy or a confused server does to frames, as a layer under a script.

Every scripted peer has one, as `peer.faults`.  Each verb arms one fault for the next frame that the
peer sends, or for the next of some type; the script itself need not know.  They are synchronous, so
a script may call them as steps, a test before the script begins, and a sweep at every point: see
`Faults.register`.

Bytes on their way are the wire's business: `Wire.split`, `hold`, `reset`, `vanish` and so on.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import attrs
import trio

from .wires import WireStream

if TYPE_CHECKING:
    from .trial import Trial
    from .websocket_peer import WebSocketPeer

GARBAGE = b"\xff\x00\xde\xad\xbe\xef" * 3
"""No frame begins with these bytes: three reserved bits are set."""

SPLIT_PATIENCE = 1.0  # virtual seconds for the client to read the first part of a split frame


@attrs.define(kw_only=True)
class _Armed:
    """A fault that waits for its frame."""

    kind: str
    times: int
    strike: Callable[[str], Awaitable[None]]


class Faults:
    """The faults of one scripted peer; see the module.

    Every verb takes the `kind` of frame that it is for, a pattern such as ``response.*`` in the
    provider's words, and most a number of `times`.  Of several that fit a frame the first armed
    strikes it.
    """

    def __init__(self, socket: WebSocketPeer) -> None:
        self._socket = socket
        self._armed: list[_Armed] = []
        self._frames = 0  # of the script's, that an armed fault could have struck
        self._late: list[tuple[int, str]] = []  # how many frames go first, and the frame
        self._corked = 0  # frames that still go into the one write

    def _arm(self, strike: Callable[[str], Awaitable[None]], kind: str, times: int = 1) -> None:
        if times < 1:
            raise ValueError(f"a fault strikes once or more often, not {times} times")
        self._armed.append(_Armed(kind=kind, times=times, strike=strike))

    # -- frames that come to harm ---------------------------------

    def drop(self, kind: str = "*", *, times: int = 1) -> None:
        """The frame is not sent."""

        async def strike(text: str) -> None:
            await trio.lowlevel.checkpoint()

        self._arm(strike, kind, times)

    def duplicate(self, kind: str = "*", *, times: int = 1) -> None:
        """The frame is sent twice."""

        async def strike(text: str) -> None:
            await self._socket.send_message(text)
            await self._socket.send_message(text)

        self._arm(strike, kind, times)

    def reorder(self, kind: str = "*", *, behind: int = 1, times: int = 1) -> None:
        """The frame is sent `behind` so many of the next ones, or when the script next waits."""

        async def strike(text: str) -> None:
            # It counts itself down first, like any frame that is sent.
            self._late.append((behind + 1, text))
            await trio.lowlevel.checkpoint()

        self._arm(strike, kind, times)

    def delay(self, seconds: float, kind: str = "*", *, times: int = 1) -> None:
        """The frame and all behind it are sent so much later."""

        async def strike(text: str) -> None:
            await trio.sleep(seconds)
            await self._socket.send_message(text)

        self._arm(strike, kind, times)

    def coalesce(self, count: int, kind: str = "*") -> None:
        """The frame and the next ones, `count` in all, arrive in one read.

        Fewer do if the script waits for the client before it has sent so many.
        """

        async def strike(text: str) -> None:
            self._corked = count + 1
            self._socket.cork()
            await self._socket.send_message(text)

        self._arm(strike, kind)

    def split(self, at: int, kind: str = "*", *, times: int = 1) -> None:
        """The client reads the first `at` bytes of the frame, head included, before the rest."""

        async def strike(text: str) -> None:
            whole = self._socket.encoded(text)
            await self._socket.send_bytes(whole[:at])
            if isinstance(self._socket.stream, WireStream):
                with trio.move_on_after(SPLIT_PATIENCE):
                    await self._socket.stream.wait_read()
            await self._socket.send_bytes(whole[at:])

        self._arm(strike, kind, times)

    def garble(self, kind: str = "*", *, times: int = 1) -> None:
        """A frame that is no JSON is sent in place of the frame: its first half."""

        async def strike(text: str) -> None:
            await self._socket.send_message(text[: max(1, len(text) // 2)])

        self._arm(strike, kind, times)

    # -- connections that come to harm ----------------------------

    def garbage(self, kind: str = "*", data: bytes = GARBAGE) -> None:
        """Bytes that are no frame at all are sent before the frame."""

        async def strike(text: str) -> None:
            await self._socket.send_bytes(data)
            await self._socket.send_message(text)

        self._arm(strike, kind)

    def reset(self, kind: str = "*", *, keep: int | None = None) -> None:
        """The connection is reset after the first `keep` bytes (half) of the frame."""

        async def strike(text: str) -> None:
            await self._socket.cut_frame(text, keep=keep)

        self._arm(strike, kind)

    def half_close(self, kind: str = "*") -> None:
        """After the frame the peer sends no more, and goes on reading."""

        async def strike(text: str) -> None:
            await self._socket.send_message(text)
            await self._socket.half_close()

        self._arm(strike, kind)

    def stop_reading(self, kind: str = "*", *, room: int = 0) -> None:
        """After the frame the peer reads no more; see `WebSocketPeer.stop_reading`."""

        async def strike(text: str) -> None:
            await self._socket.send_message(text)
            self._socket.stop_reading(room=room)

        self._arm(strike, kind)

    # -- the layer ------------------------------------------------

    async def deliver(self, kind: str, text: str) -> None:
        """Send a frame of the script's, or do to it what is armed.

        Raises:
            ClientGone: the connection is closing or closed.
        """
        self._frames += 1
        for armed in self._armed:
            if fnmatchcase(kind, armed.kind):
                armed.times -= 1
                if not armed.times:
                    self._armed.remove(armed)
                await armed.strike(text)
                break
        else:
            await self._socket.send_message(text)
        await self._count_down()

    async def _count_down(self) -> None:
        self._late = [(number - 1, text) for number, text in self._late]
        while self._late and self._late[0][0] <= 0:
            await self._socket.send_message(self._late.pop(0)[1])
        if self._corked:
            self._corked -= 1
            if not self._corked:
                await self._socket.uncork()

    async def settle(self) -> None:
        """Send what is held back: the script is about to wait for the client, or ends.

        Raises:
            ClientGone: the connection is closing or closed.
        """
        late, self._late = self._late, []
        for _, text in late:
            await self._socket.send_message(text)
        if self._corked:
            self._corked = 0
            await self._socket.uncork()

    def register(self, trial: Trial) -> None:
        """Let a sweep arm each of `FAULTS` once before every frame, which it strikes."""
        for name, arm in FAULTS.items():
            trial.action(name, functools.partial(arm, self), stage=lambda: (self, self._frames))


FAULTS: dict[str, Callable[[Faults], None]] = {
    "drop a frame": Faults.drop,
    "duplicate a frame": Faults.duplicate,
    "reorder frames": Faults.reorder,
    "delay a frame": lambda faults: faults.delay(2.0),
    "coalesce frames": lambda faults: faults.coalesce(3),
    "split a frame": lambda faults: faults.split(1),
    "garble a frame": Faults.garble,
    "send garbage": Faults.garbage,
    "reset in a frame": Faults.reset,
    "half-close": Faults.half_close,
    "stop reading": Faults.stop_reading,
}
"""The faults that a sweep can arm, by the names of their actions."""
