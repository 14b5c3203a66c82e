"""The flight recorder: writes down what goes into a session, off the event loop.

On the loop a record is made, which takes some tens of microseconds, and handed over.  One thread a
recording gathers what comes within a quarter of a second, compresses and writes it.  It is the
session's own: it ends with the session's block, at the latest `FLUSH_GRACE` after it.
"""

from __future__ import annotations

import os
import queue
import secrets
import stat
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from ..model.errors import InvalidConfig, InvalidRequest
from ..turn import ports
from .file import FORMAT, MIN_BYTES, Ring
from .form import Verbatim, compact, plain
from .machine import Input, RecordedMachine
from .redaction import Redaction, Shapes, Texts, simplified

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterator

    from ..model.conversation import JSON
    from ..model.events import CloseReason
    from ..turn.effects import MachineSettings, ToolSpec
    from .machine import Reaction

MAX_BYTES: Final = 16 * 1024 * 1024  # an hour or more of lively conversation, redacted
GATHER: Final = 0.25  # seconds; what a crash of the process can cost
FLUSH_GRACE: Final = 0.25  # seconds; for the last records, and as long as a close may take
BACKLOG: Final = 4 * 1024 * 1024  # bytes that wait for a slow disk; past that records are lost
_BATCH: Final = 64 * 1024  # bytes of one frame before compression
_WIRE_EVERY: Final = 0.1  # seconds between records of how many bytes went over the wire


@attrs.frozen(kw_only=True)
class RecorderStatus:
    """How a recording goes, or went.

    `records` were made; `lost` of them are not in the file because the disk did not take them, or
    not in time (those still on their way count too while the session lives).  `failure` is what
    ended the recording early: an error of the disk, or a mistake of ours.  `abandoned`: the disk
    took nothing any more when the session ended, and the thread that waits for it was left behind.
    """

    records: int = 0
    lost: int = 0
    failure: Exception | None = None
    abandoned: bool = False


class FlightRecorder:
    """Records one session into one file, to be played with `replay()`.

    `redact`: the file has no audio, text, arguments or keys, only lengths, shapes and digests; see
    the guide for what they tell.  `max_bytes` bounds the file, which keeps the newest; a recording
    that has lost its beginning can be looked at, but not be played.  An older file of that name is
    replaced.

    A recorder never hurts its session.  Where the disk fails, the recording ends; `status` counts
    what is lost.

    Raises:
        InvalidConfig: `max_bytes` is too small to hold anything.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, redact: bool = True, max_bytes: int = MAX_BYTES
    ) -> None:
        if max_bytes < MIN_BYTES:
            raise InvalidConfig(f"max_bytes is {max_bytes}; a recording needs {MIN_BYTES}")
        self.path = Path(path)
        self._redact = redact
        self._max_bytes = max_bytes
        self._recording: FlightRecording | None = None
        self._open = False

    def __repr__(self) -> str:
        return f"<FlightRecorder {str(self.path)!r}: {self.status}>"

    @property
    def status(self) -> RecorderStatus:
        """How the newest recording goes, or went."""
        return RecorderStatus() if self._recording is None else self._recording.status

    @contextmanager
    def begin(self) -> Iterator[FlightRecording]:
        """Record one session, until the block is left.  Sessions do this by themselves.

        Leaving waits for the last records, at most `FLUSH_GRACE`.

        Raises:
            InvalidConfig: the file cannot be made.
            InvalidRequest: another session is being recorded by it.
        """
        if self._open:
            raise InvalidRequest(f"{str(self.path)!r} is recording another session")
        try:
            file = open(self.path, "wb", buffering=0, opener=_private)  # noqa: SIM115
        except OSError as error:
            raise InvalidConfig(f"cannot record to {str(self.path)!r}: {error}") from None
        self._open = True
        self._recording = FlightRecording(file, redact=self._redact, max_bytes=self._max_bytes)
        try:
            yield self._recording
        finally:
            self._open = False
            self._recording.finish()


def _private(path: str, flags: int) -> int:
    # Not blocking, or a pipe that nobody reads would hold the session up.
    number = os.open(path, flags | getattr(os, "O_NONBLOCK", 0), 0o600)
    if hasattr(os, "fchmod") and stat.S_ISREG(os.fstat(number).st_mode):
        os.fchmod(number, 0o600)  # the file may be an older one's
    return number


class _Writer(threading.Thread):
    """Writes what it is given until it is told to end, or the disk fails."""

    def __init__(self, file: io.FileIO, max_bytes: int) -> None:
        super().__init__(name="meerkat-rt flight recorder", daemon=True)
        self.lines: queue.SimpleQueue[tuple[int, bytes] | None] = queue.SimpleQueue()
        self.hurry = threading.Event()
        self.ending = False
        self.written = 0
        self.taken_bytes = 0
        self.failure: Exception | None = None
        self._file = file
        self._ring = Ring(file, max_bytes)

    def run(self) -> None:
        try:
            header = self.lines.get()
            if header is None:
                return
            self._ring.begin(header[1])
            while self._write_next():
                pass
        except Exception as error:
            self.failure = error
        finally:
            self._file.close()

    def _write_next(self) -> bool:
        """Write what comes within a moment; False at the end."""
        line = self.lines.get()
        if line is None:
            return False
        if self.hurry.wait(GATHER) and not self.ending:
            self.hurry.clear()
        while line is not None:
            first, batch, size = line[0], [line[1]], len(line[1])
            while True:
                try:
                    line = self.lines.get_nowait()
                except queue.Empty:
                    self._flush(first, batch, size)
                    return True
                if line is None or size >= _BATCH or line[0] != first + len(batch):
                    break
                batch.append(line[1])
                size += len(line[1])
            self._flush(first, batch, size)
        return False

    def _flush(self, first: int, batch: list[bytes], size: int) -> None:
        self.written += self._ring.write(first, batch)
        self.taken_bytes += size


class FlightRecording:
    """One session being recorded.  See `runtime.ports.Recording`."""

    def __init__(self, file: io.FileIO, *, redact: bool, max_bytes: int) -> None:
        self._redaction = Redaction(secrets.token_bytes(16)) if redact else None
        self._leaves = self._redaction or Verbatim()
        self._max_bytes = max_bytes
        self._texts = Texts()
        self._writer = _Writer(file, max_bytes)
        self._count = 0  # records made, the header not counted
        self._bytes = 0
        self._failure: Exception | None = None
        self._last: float | None = None
        self._received = 0
        self._sent = 0
        self._wire_at: float | None = None
        self._abandoned = False
        self._writer.start()

    @property
    def status(self) -> RecorderStatus:
        """How it goes."""
        return RecorderStatus(
            records=self._count,
            lost=self._count - self._writer.written,
            failure=self._failure or self._writer.failure,
            abandoned=self._abandoned,
        )

    def machine(self, settings: MachineSettings) -> RecordedMachine:
        """A machine whose every input is written down."""
        shapes = None
        if self._redaction is not None:
            shapes = Shapes()
            self._redaction.tools = shapes.tools
        machine = RecordedMachine(settings, self, shapes)
        try:
            header = {
                "format": FORMAT,
                "package": _version(),
                "redacted": shapes is not None,
                "max_bytes": self._max_bytes,
                "settings": plain(settings, self._leaves),
            }
            self._writer.lines.put((0, compact(header)))
        except Exception as error:
            self.failed(error)
        return machine

    # ---------------------------------------------------------------- what happens

    def validator(self, spec: ToolSpec) -> Callable[[JSON], str | None]:
        """The tool's own."""
        assert spec.validate is not None
        return spec.validate

    def reacted(self, told: Input, reaction: Reaction) -> None:
        """Write down an input, and what came of it."""
        if told.now is not None:
            self._last = told.now
        arguments = {
            name: self._argument(name, value)
            for name, value in told.arguments.items()
            if value is not None
        }
        verdicts = [
            verdict if verdict is None else plain(verdict, self._leaves, "", "verdict")
            for verdict in reaction.verdicts
        ]
        record: list[Any] = [told.method, told.now, arguments, reaction.digest, reaction.names]
        if verdicts or reaction.raised:
            record += [verdicts, reaction.raised]
        self._write(record)

    def wire(self, now: float, *, received: int = 0, sent: int = 0) -> None:
        """Count bytes; they are written down ten times a second at most."""
        self._received += received
        self._sent += sent
        self._last = now
        if self._wire_at is None or now >= self._wire_at + _WIRE_EVERY:
            self._wire_at = now
            self._write_wire()

    def closed(self, reason: CloseReason) -> None:
        """Write down how the session ended."""
        self._write_wire()
        try:
            self._write(["$closed", self._last, {"reason": plain(reason, self._leaves)}])
        except Exception as error:
            self.failed(error)

    def failed(self, error: Exception) -> None:
        """A mistake of ours: the recording ends here, the session does not notice."""
        self._count += 1
        self._failure = self._failure or error

    def finish(self) -> None:
        """Write what is left and let the thread end."""
        if self._failure is None:
            self._write(["$end", self._last, {}])
        self._writer.lines.put(None)
        self._writer.ending = True
        self._writer.hurry.set()
        self._writer.join(FLUSH_GRACE)
        self._abandoned = self._writer.is_alive()

    # ---------------------------------------------------------------- records

    def _argument(self, name: str, value: Any) -> JSON:
        if name == "result":
            return plain(simplified(value), self._leaves)
        if name != "event" or self._redaction is None:
            return plain(value, self._leaves, "", name)
        form: Any = plain(value, self._redaction)
        kind = type(value)
        if kind is ports.TranscriptDelta or kind is ports.TextDelta:
            self._texts.delta(value)
        elif kind is ports.TranscriptDone or kind is ports.TextDone:
            form["text"] = self._redaction.replaced(value.text, self._texts.done(value))
        elif kind is ports.ResponseEnded:
            self._texts.ended(value.response_id)
        made: JSON = form
        return made

    def _write_wire(self) -> None:
        if self._received or self._sent:
            counts = {"received": self._received, "sent": self._sent}
            self._received = self._sent = 0
            self._write(["$wire", self._last, counts])

    def _write(self, record: list[Any]) -> None:
        self._count += 1
        if self._failure is not None or self._writer.failure is not None:
            return
        try:
            line = compact(record)
        except Exception as error:  # a session must not suffer from being watched
            self._failure = error
            return
        waiting = self._bytes - self._writer.taken_bytes
        if waiting > BACKLOG and record[0] not in ("$closed", "$end"):
            return  # counted as lost, and a gap in the numbers
        if waiting > _BATCH:
            self._writer.hurry.set()
        self._bytes += len(line)
        self._writer.lines.put((self._count, line))


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("meerkat-rt")
    except metadata.PackageNotFoundError:
        return "unknown"
