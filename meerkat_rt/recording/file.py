"""The file of a recording: a header that stays, and a ring of two halves that keeps the newest.

A half is a chain of frames.  A frame holds consecutive records, one line of JSON each, compressed,
behind a head with a mark, the length, a checksum, and the number of its first record.  When a half
is full the other one is overwritten from its start; whatever of older frames is left behind the
newest is told by its numbers.  So between one and two halves of the newest records are there, a
frame that was cut off is seen, and nothing has to be repaired.
"""

from __future__ import annotations

import itertools
import json
import struct
import zlib
from typing import TYPE_CHECKING, Any, Final

import attrs

if TYPE_CHECKING:
    import io
    from pathlib import Path

    from ..model.conversation import JSON

MAGIC: Final = b"meerkat-rt recording\n"
FORMAT: Final = 1
_MARK: Final = b"MKfr"
_HEAD: Final = struct.Struct(">4sIIQ")  # mark, length, checksum, number of the first record

MIN_BYTES: Final = 16 * 1024  # below that not even a header with many tools fits


class UnreadableRecording(ValueError):
    """The file is no recording, or not one that this version can read."""


# ---------------------------------------------------------------- writing


class Ring:
    """Writes frames.  Blocks as files do; whoever uses it does so off the event loop.

    Raises:
        OSError: from every method; what was written before can still be read.
    """

    def __init__(self, file: io.FileIO, max_bytes: int) -> None:
        self._file = file
        self._max = max_bytes
        self._start = 0
        self._half = 0
        self._which = 0
        self._used = 0

    def begin(self, header: bytes) -> None:
        """Write what stays."""
        frame = MAGIC + _frame(header, 0)
        self._put(0, frame)
        self._start = len(frame)
        self._half = max((self._max - self._start) // 2, 0)

    def write(self, first: int, lines: list[bytes]) -> int:
        """Write records; returns how many, which is less where one is larger than a half."""
        frame = _frame(b"\n".join(lines), first)
        if len(frame) > self._half:
            if len(lines) == 1:
                return 0
            middle = len(lines) // 2
            return self.write(first, lines[:middle]) + self.write(first + middle, lines[middle:])
        if self._used + len(frame) > self._half:
            self._which, self._used = 1 - self._which, 0
        self._put(self._start + self._which * self._half + self._used, frame)
        self._used += len(frame)
        return len(lines)

    def _put(self, at: int, data: bytes) -> None:
        self._file.seek(at)
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) or 0 :]


def _frame(payload: bytes, first: int) -> bytes:
    packed = zlib.compress(payload, 6)
    return _HEAD.pack(_MARK, len(packed), _checksum(first, packed), first) + packed


def _checksum(first: int, packed: bytes) -> int:
    return zlib.crc32(packed, zlib.crc32(first.to_bytes(8, "big")))


# ---------------------------------------------------------------- reading


@attrs.frozen(kw_only=True)
class RecordingFile:
    """What is in a recording.

    `records` have their numbers.  `first` is that of the first record: as many but one were
    overwritten.  `gaps` are numbers of records behind which some are missing.  `torn`: its last
    frame was cut off.
    """

    header: dict[str, Any]
    records: tuple[tuple[int, list[Any]], ...]
    first: int = 1
    gaps: tuple[int, ...] = ()
    torn: bool = False

    @property
    def complete(self) -> bool:
        """Every record is there, from the first."""
        return self.first == 1 and not self.gaps


@attrs.define
class _Chain:
    lines: list[tuple[int, bytes]] = attrs.field(factory=list)
    torn: bool = False
    end: int = 0


def read(path: Path) -> RecordingFile:
    """Read a recording, also one that is being written or was cut off.

    Raises:
        UnreadableRecording: it is none, or of another format.
        OSError: the file cannot be read.
    """
    data = path.read_bytes()
    if not data.startswith(MAGIC):
        raise UnreadableRecording(f"{str(path)!r} is not a recording of meerkat_rt")
    head = _frame_at(data, len(MAGIC))
    if head is None or head[0] != 0:
        raise UnreadableRecording(f"the recording {str(path)!r} has no header")
    _, payload, start = head
    header: Any = _json(payload)
    if not isinstance(header, dict):
        raise UnreadableRecording(f"the header of {str(path)!r} is not a JSON object")
    if header.get("format") != FORMAT:
        raise UnreadableRecording(
            f"{str(path)!r} has format {header.get('format')!r}; this version reads {FORMAT}"
        )
    half = header.get("max_bytes")
    if not isinstance(half, int):
        raise UnreadableRecording(f"the header of {str(path)!r} does not say how large it gets")
    half = max((half - start) // 2, 0)
    chains = [_chain(data[: start + half], start), _chain(data, start + half)]
    chains.sort(key=lambda chain: chain.lines[0][0] if chain.lines else 0)
    lines = [line for chain in chains for line in chain.lines]
    gaps = [before[0] for before, after in itertools.pairwise(lines)
            if after[0] != before[0] + 1]  # fmt: skip
    return RecordingFile(
        header=header,
        records=tuple((number, _record(line)) for number, line in lines),
        first=lines[0][0] if lines else 1,
        gaps=tuple(gaps),
        torn=any(chain.torn for chain in chains),
    )


def _chain(data: bytes, at: int) -> _Chain:
    chain = _Chain()
    expected = 1
    while (found := _frame_at(data, at)) is not None and found[0] >= expected:
        first, payload, at = found
        chain.lines += enumerate(payload.split(b"\n"), first)
        expected = chain.lines[-1][0] + 1
    rest = data[at : at + _HEAD.size]
    if len(rest) == _HEAD.size:
        mark, length, _, first = _HEAD.unpack(rest)
        whole = found is not None
        chain.torn = mark == _MARK and not whole and first >= expected and length > 0
    else:
        chain.torn = bool(rest.strip(b"\0"))
    return chain


def _frame_at(data: bytes, at: int) -> tuple[int, bytes, int] | None:
    """The number of the first record, the payload and where the next frame is; None: no frame."""
    if len(data) - at < _HEAD.size:
        return None
    mark, length, checksum, first = _HEAD.unpack_from(data, at)
    end = at + _HEAD.size + length
    packed = data[at + _HEAD.size : end]
    if mark != _MARK or len(packed) != length:
        return None
    if _checksum(first, packed) != checksum:
        return None
    try:
        return first, zlib.decompress(packed), end
    except zlib.error:
        return None


def _record(line: bytes) -> list[Any]:
    record: Any = _json(line)
    if not isinstance(record, list) or len(record) < 3 or not isinstance(record[0], str):
        raise UnreadableRecording("a record is not a list that begins with its kind")
    return record


def _json(data: bytes) -> JSON:
    try:
        value: JSON = json.loads(data)
    except (ValueError, RecursionError) as wrong:
        raise UnreadableRecording(f"a record is not JSON: {wrong}") from wrong
    return value
