"""TLS over a byte stream, for one reader and one writer.

`trio.SSLStream` serves everybody: it takes a lock and passes a full checkpoint for each of its
steps, which a session that receives an event a wake-up pays on each of them.  Here the reader waits
in one place, for bytes of the network, and takes out everything that they decrypt to; the writer
encrypts without waiting and writes once.  What reading makes necessary to write (TLS 1.3's key
updates, TLS 1.2's renegotiation) is written by the reader.
"""

from __future__ import annotations

import contextlib
import ssl

import trio

from .base import RECEIVE_BUFFER
from .standby import SharedStream, Standby

_RECORD = 16 * 1024  # bytes of plaintext that a record holds at most (RFC 8446 section 5.1)
_PIECE = 2 * _RECORD  # bytes that TLS is given at once: it keeps as much room ever after
_NOTHING = memoryview(b"")
# Seconds.  An answer of TLS itself is a few bytes, and half of it would doom the connection: a
# reader that is cancelled meanwhile still writes it, unless the peer takes nothing at all.
ANSWER_GRACE = 1.0


class TLSStream(SharedStream):
    """A client's TLS connection; made by `open_tls`.

    Like most servers, it takes an end of the stream for an end, with a farewell (close_notify) or
    without, and says none itself: the WebSocket above has its own.
    """

    def __init__(self, stream: trio.abc.Stream, context: ssl.SSLContext, host: str) -> None:
        self._stream = stream
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._unfed = _NOTHING  # what was read, and TLS has not been given yet
        self._writing = trio.Lock()  # the writer's, and now and then the reader's
        self._feeds = 0  # reads of the network so far
        self._fed: trio.Event | None = None  # of a writer that waits for the next one
        # Apart: a failed write must not hide from the reader what the peer had said before.
        self._unreadable: Exception | None = None
        self._unwritable: BaseException | None = None
        self._ended = False

    def standby(self) -> Standby | None:
        """How its reading is shared: as that of the stream below is, if it can be."""
        return self._stream.standby() if isinstance(self._stream, SharedStream) else None

    async def handshake(self) -> None:
        """Shake hands.

        A checkpoint.  Cancelled: the connection is of no use any more.

        Raises:
            ssl.SSLError: the peers cannot agree, or the certificate is not to be trusted.
            trio.BrokenResourceError: the peer vanished.
        """
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                if not self._feed_rest():
                    await self._flush()
                    await self._feed(RECEIVE_BUFFER)
            except ssl.SSLError:
                await self._flush()  # the alert that says why
                raise
            else:
                await self._flush()
                return

    # ---------------------------------------------------------------- reading

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return what one read of the network decrypts to, or nothing at the end of the stream.

        A checkpoint.  Cancel-safe: a cancelled call loses nothing.

        Raises:
            trio.BrokenResourceError: the connection is broken, or what came is not TLS.
            trio.ClosedResourceError: we closed it.
            trio.BusyResourceError: another task is reading.
            ReadInterrupted: see `Standby.interrupt`.
        """
        size = RECEIVE_BUFFER if max_bytes is None else max_bytes
        if self.pending():
            await trio.lowlevel.checkpoint()
        else:
            await self._feed(size)
        while True:
            if self._unreadable is not None:
                raise trio.BrokenResourceError("the peer broke TLS") from self._unreadable
            data = self._decrypted(size)
            # A writer takes along what there is to say.
            if self._outgoing.pending and not self._writing.locked():
                await self._answer()
            if data is not None:
                return data
            await self._feed(size)

    def pending(self) -> bool:
        """Whether a read has something to return, or to raise, without the network."""
        return self._more() or self._ended or self._unreadable is not None

    def _more(self) -> bool:
        """Whether TLS has something that it was not asked for.  To find nothing costs an error."""
        incoming = self._incoming
        more = incoming.pending > 0 or incoming.eof or self._tls.pending() > 0
        return more or bool(self._unfed)

    def _decrypted(self, size: int) -> bytes | None:
        """All that is there, up to `size`; empty at the end; None: the network has to give more."""
        records: list[bytes] = []
        left = size
        try:
            while left > 0:
                try:
                    record = self._tls.read(min(left, _RECORD))
                except ssl.SSLWantReadError:
                    if self._feed_rest():
                        continue
                    if not records:
                        return None
                    break
                if not record:
                    self._ended = True
                    break
                records.append(record)
                left -= len(record)
                if not self._more():
                    break
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            self._ended = True
        except ssl.SSLError as error:
            self._unreadable = error
            if not records:
                raise trio.BrokenResourceError(f"the peer broke TLS: {error}") from error
        return records[0] if len(records) == 1 else b"".join(records)

    async def _feed(self, size: int) -> None:
        data = await self._stream.receive_some(size)
        if not data:
            self._incoming.write_eof()
        elif len(data) <= _PIECE:
            self._incoming.write(data)
        else:
            self._unfed = memoryview(data)
            self._feed_rest()
            return
        self._was_fed()

    def _feed_rest(self) -> bool:
        """Give TLS a piece of what was read before; whether there was any."""
        if not self._unfed:
            return False
        self._incoming.write(self._unfed[:_PIECE])
        self._unfed = self._unfed[_PIECE:] or _NOTHING
        self._was_fed()
        return True

    def _was_fed(self) -> None:
        self._feeds += 1
        if self._fed is not None:
            self._fed.set()
            self._fed = None

    async def _answer(self) -> None:
        with (
            contextlib.suppress(trio.BrokenResourceError),  # the reader sees the end by itself
            trio.CancelScope(shield=True, relative_deadline=ANSWER_GRACE),
        ):
            await self._flush()

    # ---------------------------------------------------------------- writing

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and write all of `data`.

        A checkpoint.  Not cancel-safe, like every write.

        Raises:
            trio.BrokenResourceError: the connection is broken.
            trio.ClosedResourceError: we closed it.
        """
        left = memoryview(data)
        while left:
            feeds = self._feeds
            try:
                left = left[self._tls.write(left) :]
            except ssl.SSLWantReadError:
                # A renegotiation: the answer to it is the reader's to read.
                await self._flush()
                if feeds == self._feeds:
                    fed = self._fed = self._fed or trio.Event()
                    await fed.wait()
            except ssl.SSLError as error:
                raise trio.BrokenResourceError(f"TLS is broken: {error}") from error
        await self._flush()

    async def _flush(self) -> None:
        """Write what TLS has to say.  Whoever comes second finds it written."""
        async with self._writing:
            if self._unwritable is not None:
                raise trio.BrokenResourceError("a write was cut short") from self._unwritable
            while self._outgoing.pending:
                try:
                    await self._stream.send_all(self._outgoing.read())
                except BaseException as error:
                    self._unwritable = error  # half a record is on the wire, perhaps
                    raise

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until a write may succeed at once."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close the stream below, without a farewell."""
        await self._stream.aclose()


async def open_tls(stream: trio.abc.Stream, context: ssl.SSLContext, host: str) -> TLSStream:
    """Lay TLS over `stream`, as a client of `host`, whose name the certificate must bear.

    A checkpoint.  Cancelled or failed, the stream below is the caller's to close.

    Raises:
        ssl.SSLError: the peers cannot agree, or the certificate is not to be trusted.
        trio.BrokenResourceError: the peer vanished.
    """
    tls = TLSStream(stream, context, host)
    await tls.handshake()
    return tls
