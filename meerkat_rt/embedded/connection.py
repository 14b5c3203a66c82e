"""One client's connection: the tasks around a `SessionEngine`.

The tree: `run` owns the reader of the library (shielded, ended by `run` alone, so that a close
handshake can complete while everything else is cancelled) and the session's nursery with the
dispatcher, the only writer, the keepalive, the age limit, and one task per response and
recognition.
Every wait has a deadline, and the stream is closed whatever happens.
"""

from __future__ import annotations

import inspect
import json
import logging
import struct
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeVar, cast

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream
from wsproto.utilities import LocalProtocolError

from .brain import Call, Say
from .doors import Upgrade
from .effects import Abandon, Close, Recognize, Think
from .faults import SERVER_ERROR
from .outbox import CloseFrame, Outbox
from .recognizer import RecognitionFailed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from .brain import Reply
    from .doors import Door, Entry, SessionEngine
    from .options import ServerOptions

logger = logging.getLogger("meerkat_rt.embedded")

T = TypeVar("T")

READ_BUFFER = 64 * 1024  # bytes; the library's 4 KiB makes audio three times as expensive
MESSAGE_QUEUE = 8  # frames: while it is full the library answers no pings, so it is soon emptied
PARALLEL_RECOGNITIONS = 4
# After a protocol error of the client the library has closed without noting it; its framing
# layer then refuses to send.
GONE = (ConnectionClosed, LocalProtocolError)
LONGEST_CLOSE_REASON = 123  # bytes, RFC 6455 section 5.5


class _Reader:
    """Hosts the library's reader task.

    `wrap_server_stream` waits for a request that never comes when the client goes away during the
    handshake, and lets protocol errors of its own escape into the nursery that it is given.  Given
    this in place of a nursery, the end of the reader is seen and its errors end the connection
    only.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._scope = trio.CancelScope(shield=True)  # ended by stop(), in the finally of run()
        self.ended = trio.Event()

    def start_soon(self, read: Callable[[], Awaitable[None]]) -> None:
        """What the library calls."""
        self._nursery.start_soon(self._run, read, name="websocket reader")

    async def _run(self, read: Callable[[], Awaitable[None]]) -> None:
        try:
            with self._scope:
                await read()
        except Exception as error:
            logger.debug("websocket reader ended: %r", error)
        finally:
            self.ended.set()

    def stop(self) -> None:
        """End the reader."""
        self._scope.cancel(reason="the connection has ended")


class Connection:
    """One connection, from the first byte to the last."""

    def __init__(
        self,
        stream: trio.abc.Stream,
        options: ServerOptions,
        doors: Sequence[Door],
        *,
        seed: str,
        full: Callable[[], bool],
    ) -> None:
        self._stream = stream
        self._options = options
        self._doors = doors
        self._limits = options.limits
        self._seed = seed
        self._full = full
        self._outbox = Outbox(options.limits.outbox_bytes)
        self._torn = False  # a frame may have been cut in half: nothing more can be sent
        self._close = CloseFrame(1001, "server is shutting down")
        self._responding: dict[str, trio.CancelScope] = {}
        self._recognitions: dict[str, trio.Event] = {}
        self._recognizers = trio.Semaphore(PARALLEL_RECOGNITIONS)
        self._binary = False
        self._engine: SessionEngine
        self._nursery: trio.Nursery

    async def run(self) -> None:
        """Serve the connection; returns when it has ended and the stream is closed.

        Cancellation closes the connection with code 1001, within `shutdown_seconds`.
        """
        try:
            async with trio.open_nursery() as nursery:
                reader = _Reader(nursery)
                try:
                    await self._serve(reader)
                finally:
                    reader.stop()
        finally:
            await trio.aclose_forcefully(self._stream)

    async def _serve(self, reader: _Reader) -> None:
        opened = await self._open(reader)
        if opened is None:
            return
        ws, entry = opened
        self._engine, self._binary = entry.engine(self._seed), entry.binary
        grace = self._limits.shutdown_seconds
        try:
            await self._session(ws, entry)
            grace = self._limits.close_seconds
        finally:
            self._engine.ended()
            with trio.CancelScope(shield=True, relative_deadline=grace):
                await self._say_goodbye(ws, reader)

    async def _open(self, reader: _Reader) -> tuple[WebSocketConnection, Entry] | None:
        """Complete the opening handshake; None when there is nobody to serve."""
        opened = None
        with trio.move_on_after(self._limits.handshake_seconds):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cancel_after, reader.ended, nursery.cancel_scope)
                opened = await self._accept(reader)
                nursery.cancel_scope.cancel(reason="the handshake is over")
        return opened

    async def _accept(self, reader: _Reader) -> tuple[WebSocketConnection, Entry] | None:
        request = await wrap_server_stream(
            cast("trio.Nursery", reader),
            self._stream,
            message_queue_size=MESSAGE_QUEUE,
            max_message_size=self._limits.max_message_size,
            receive_buffer_size=READ_BUFFER,
        )
        upgrade = Upgrade.of(request.path, request.headers, request.proposed_subprotocols)
        full = self._full()
        entries = (door.admit(upgrade, full=full) for door in self._doors)
        entry = next((entry for entry in entries if entry is not None), None)
        try:
            if entry is None:
                known = ", ".join(door.path for door in self._doors)
                await request.reject(404, body=f"There is nothing here; try {known}.\n".encode())
                return None
            ws = await request.accept(subprotocol=entry.subprotocol)
        except ConnectionClosed:
            return None
        return ws, entry

    async def _say_goodbye(self, ws: WebSocketConnection, reader: _Reader) -> None:
        if self._torn:
            return
        reason = self._close.reason.encode()[:LONGEST_CLOSE_REASON].decode(errors="ignore")
        try:
            if ws.closed is None and not reader.ended.is_set():
                await ws.aclose(self._close.code, reason)
            # After an oversize message the library has sent its close frame and stopped reading.
            # Closing the socket on unread data would reset it and destroy that frame.
            await reader.ended.wait()
            while await self._stream.receive_some(READ_BUFFER):
                pass
        except (*GONE, trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # there is nobody left to say goodbye to

    async def _session(self, ws: WebSocketConnection, entry: Entry) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._writer, ws, name="writer")
            nursery.start_soon(self._keepalive, ws, name="keepalive")
            if entry.refusal is None:
                self._call(self._engine.open)
            else:
                self._call(self._engine.refuse, entry.refusal)
            nursery.start_soon(self._alarms, name="alarms")
            await self._dispatch(ws)
            nursery.cancel_scope.cancel(reason="the client has left")

    # Steps of the engine: synchronous, and what they produced is taken at once
    # ----------------------

    def _call(self, step: Callable[..., T], *arguments: Any) -> T | None:
        """Run one step of the engine; a bug in it is reported, and the session goes on."""
        try:
            return step(*arguments)
        except Exception:
            logger.exception("the embedded server failed")
            self._engine.broken()
            return None
        finally:
            self._take()

    def _take(self) -> None:
        """Collect what the engine produced: events to send, work to start."""
        events, self._engine.outgoing = self._engine.outgoing, []
        for event in events:
            text = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
            self._outbox.put(text.encode() if self._binary else text)
        self._start_work()

    def _start_work(self) -> None:
        effects, self._engine.effects = self._engine.effects, []
        for effect in effects:
            match effect:
                case Think(response_id=response_id):
                    scope = trio.CancelScope()
                    self._responding[response_id] = scope
                    self._nursery.start_soon(self._respond, effect, scope, name=response_id)
                case Abandon(response_id=response_id):
                    ended = self._responding.pop(response_id, None)
                    if ended is not None:
                        ended.cancel(reason="the response has ended")
                case Recognize(item_id=item_id):
                    self._recognitions[item_id] = trio.Event()
                    self._nursery.start_soon(self._recognize, effect, name=f"hear {item_id}")
                case Close(code=code, reason=reason):
                    self._outbox.finish(code, reason)

    # Tasks
    # -----------------------------------------------------------------------------------------

    async def _dispatch(self, ws: WebSocketConnection) -> None:
        """Hand the client's frames to the engine until the client has gone."""
        try:
            while True:
                # Reading stops while the client does not take what it is sent.
                await self._outbox.room()
                frame = await ws.get_message()
                self._call(self._engine.receive, frame)
                while self._call(self._engine.examine):
                    await trio.lowlevel.checkpoint()
        except ConnectionClosed:
            return

    async def _writer(self, ws: WebSocketConnection) -> None:
        """Send what is in the outbox; the only task that writes events."""
        sent = 0
        while True:
            frame = await self._outbox.take()
            if isinstance(frame, CloseFrame):
                self._close = frame
                break
            self._torn = True
            with trio.move_on_after(self._limits.write_seconds) as patience:
                try:
                    await ws.send_message(frame)
                except GONE:
                    break
                self._torn = False
            if patience.cancelled_caught:
                logger.info("client cut off: it did not read for %s s", self._limits.write_seconds)
                break
            sent += 1
            if sent == self._options.quirks.drop_after_events:
                self._torn = True
                break
        self._nursery.cancel_scope.cancel(reason="the writer has ended")

    async def _keepalive(self, ws: WebSocketConnection) -> None:
        count = 0
        while True:
            await trio.sleep(self._limits.keepalive_seconds)
            count += 1
            with trio.move_on_after(self._limits.pong_seconds) as patience:
                try:
                    await ws.ping(struct.pack("!Q", count))
                except GONE:
                    return
            if patience.cancelled_caught:
                logger.info("client cut off: no pong for %s s", self._limits.pong_seconds)
                self._torn = True  # the ping itself may have been cut in half
                self._nursery.cancel_scope.cancel(reason="the client is gone")
                return

    async def _alarms(self) -> None:
        """Take the steps that the session's age asks for."""
        start = trio.current_time()
        for age, step in sorted(self._engine.alarms(), key=itemgetter(0)):
            await trio.sleep_until(start + age)
            self._call(step)

    async def _respond(self, work: Think, scope: trio.CancelScope) -> None:
        with scope:
            with trio.move_on_after(self._limits.brain_seconds) as patience:
                replies = await self._think(work)
            if patience.cancelled_caught:
                self._call(self._engine.fail, work.response_id, "The brain took too long.")
            elif replies is not None:
                self._call(self._engine.answer, work.response_id, replies)
                await self._stream_response(work.response_id)

    async def _think(self, work: Think) -> Sequence[Reply] | None:
        for item_id in work.after:
            if item_id in self._recognitions:
                await self._recognitions[item_id].wait()
        request = self._engine.brain_request(work.response_id)
        if request is None:
            return None
        try:
            answer = self._options.brain.reply(request)
            replies = await answer if inspect.isawaitable(answer) else answer
            if not all(isinstance(reply, Say | Call) for reply in replies):
                raise TypeError("a brain replies with Say and Call")
        except Exception as error:
            logger.warning("the brain failed", exc_info=True)
            message = f"The brain failed: {type(error).__name__}."
            self._call(self._engine.fail, work.response_id, message)
            return None
        return replies

    async def _stream_response(self, response_id: str) -> None:
        pace = self._options.pace
        due = trio.current_time()
        try:
            while (seconds := self._engine.advance(response_id)) is not None:
                self._take()
                await self._outbox.room()
                if pace:
                    due += seconds / pace
                    await trio.sleep_until(due)
            self._take()
        except Exception:
            logger.exception("a response failed")
            self._call(self._engine.fail, response_id, "The server had an error.")

    async def _recognize(self, work: Recognize) -> None:
        engine, limits = self._engine, self._limits
        done = self._recognitions[work.item_id]
        try:
            async with self._recognizers:
                with trio.fail_after(limits.recognizer_seconds):
                    text = await self._transcribe(work)
            self._call(engine.recognized, work.item_id, text)
        except RecognitionFailed as error:
            self._call(engine.recognition_failed, work.item_id, error.code, str(error))
        except trio.TooSlowError:
            message = "The recognizer took too long."
            self._call(engine.recognition_failed, work.item_id, "timeout", message)
        except Exception as error:
            logger.warning("the recognizer failed", exc_info=True)
            message = f"The recognizer failed: {type(error).__name__}."
            self._call(engine.recognition_failed, work.item_id, SERVER_ERROR, message)
        finally:
            done.set()
            if self._recognitions.get(work.item_id) is done:
                del self._recognitions[work.item_id]

    async def _transcribe(self, work: Recognize) -> str:
        transcribe = self._options.recognizer.transcribe
        if inspect.iscoroutinefunction(transcribe):
            return str(await transcribe(work.audio, work.sample_rate))
        # A recognizer computes: it gets a thread, which is left behind if it does not end in time.
        result = await trio.to_thread.run_sync(
            transcribe, work.audio, work.sample_rate, abandon_on_cancel=True
        )
        return str(await result if inspect.isawaitable(result) else result)


async def _cancel_after(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel(reason="the client has gone")
