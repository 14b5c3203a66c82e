"""A short cut in front of the library's parser, for the frames that nearly all traffic is made of.

At a frame boundary, a whole frame of text or of binary data that is final, unmasked and without
extension bits needs no parser: its payload is a slice.  Everything else (fragments, control frames,
compressed, masked, oversize and malformed ones, text that is not UTF-8) is handed to the library
byte for byte, one frame at a time, so that the scanner always knows where the next frame begins,
and what the library says of it counts.
"""

from __future__ import annotations

import struct

from .core import is_text

_FINAL_TEXT = 0x81  # RFC 6455 section 5.2: FIN, no reserved bit, opcode 1
_FINAL_BINARY = 0x82
_TAKEN = frozenset({_FINAL_TEXT, _FINAL_BINARY})
_MASKED = 0x80
_ORDINARY = bytes([_FINAL_TEXT, 126])  # and two bytes of length
_ORDINARY_KIND = int.from_bytes(_ORDINARY, "big")
_begin = struct.Struct(">HH").unpack_from  # those four bytes
_TWO_BYTES = 0xFFFF  # the longest payload whose length takes two
_EXTENDED = {126: 2, 127: 8}  # bytes of the length that follow a header which says so
_VIEWED = 4  # how many times its own size a piece may keep in memory; what is less is copied


class FrameScanner:
    """Cuts the bytes of a connection into messages and what the library is to parse.

    `fragmented` is the owner's to keep: a fragmented message has begun and not ended.  While it is
    set, no frame is taken here.

    Invariant: all bytes fed so far are, in order, frames that were returned or given to the
    library, then `_header` and `_pieces`, the beginning of one frame that needs `_missing` more
    bytes before anything can be said of it (there is none while there are no pieces), then `_data`
    from `_position` on.  `_header` is empty until it is known that the frame may be taken, and
    `_pieces` are of its payload alone from then on: they are put together once.  While `_owed` is
    not 0, that many bytes more belong to a frame whose beginning the library has.
    """

    __slots__ = (
        "_data",
        "_header",
        "_max_size",
        "_missing",
        "_owed",
        "_pieces",
        "_position",
        "fragmented",
    )

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._header = b""
        self._pieces: list[bytes | memoryview] = []
        self._missing = 0
        self._owed = 0
        self._data = b""
        self._position = 0
        self.fragmented = False

    def feed(self, data: bytes) -> None:
        """Add what was read.  All that was fed before must have been scanned."""
        self._data = data
        self._position = 0

    def whole(self, data: bytes) -> list[bytes] | None:
        """The messages of a read that is ordinary frames and nothing else, as nearly all are.

        None, and nothing has happened, if it is anything else: then it has to be fed.
        """
        if self._pieces or self._owed or self.fragmented or self._max_size < _TWO_BYTES:
            return None
        # At the pace of a conversation it is one.
        size = len(data)
        if size > 4 and data.startswith(_ORDINARY) and (data[2] << 8 | data[3]) == size - 4:
            payload = data[4:]
            return [payload] if payload.isascii() else None
        messages: list[bytes] = []
        return messages if _ordinary(data, 0, messages) == size else None

    def unparsed(self) -> bytes:
        """Everything that neither the library nor the caller has; the scanner forgets it."""
        left = b"".join([self._header, *self._pieces, self._data[self._position :]])
        self._pieces.clear()
        self._missing = self._owed = self._position = 0
        self._header = self._data = b""
        return left

    def scan(self, messages: list[bytes]) -> bytes:
        """Append whole messages to `messages`; return what the library has to parse next.

        Empty: everything was scanned.  Otherwise call again once the library has parsed it.
        """
        chunk = self._scan(messages)
        if not chunk:
            self._data, self._position = b"", 0  # a quiet connection does not keep its last burst
        return chunk

    def _scan(self, messages: list[bytes]) -> bytes:
        while True:
            if self._owed:
                chunk = self._data[self._position : self._position + self._owed]
                self._position += len(chunk)
                self._owed -= len(chunk)
                return chunk
            if self._pieces:
                if not self._complete():
                    return b""
                if chunk := self._scan_pieces(messages):
                    return chunk
                continue
            position = self._position = self._run(self._data, self._position, messages)
            if self._missing:
                self._keep(self._data, position)
                self._position = len(self._data)
            if self._position == len(self._data):
                return b""

    def _keep(self, data: bytes, position: int) -> None:
        """Begin with the pieces of a frame that `data` ends within; its header, if it is whole."""
        payload = position + len(self._header)
        rest = len(data) - payload
        # A view keeps what it looks at alive, so not more than a multiple of itself.
        view = rest * _VIEWED > len(data)
        self._pieces.append(memoryview(data)[payload:] if view else data[payload:])

    def _scan_pieces(self, messages: list[bytes]) -> bytes:
        """Scan what stands across two reads or more, joined without what follows it."""
        whole = b"".join(self._pieces)
        self._pieces.clear()
        if header := self._header:
            self._header = b""
            if header[0] == _FINAL_BINARY or is_text(whole):
                messages.append(whole)
                return b""
            return header + whole
        if self._run(whole, 0, messages) == len(whole):
            return b""
        if self._missing:
            self._keep(whole, 0)
            return b""
        self._owed -= len(whole)
        return whole

    def _complete(self) -> bool:
        """Add to the pieces what they lack, as far as it is there; whether that was all of it."""
        data, position = self._data, self._position
        there = min(len(data) - position, self._missing)
        whole = there == len(data)
        self._pieces.append(data if whole else memoryview(data)[position : position + there])
        self._position += there
        self._missing -= there
        return self._missing == 0

    def _run(self, data: bytes, position: int, messages: list[bytes]) -> int:
        """Take frames from `position` on; return where a frame begins that is not taken.

        `_missing` is then what it lacks, and `_header` what there is of it before its payload if
        that is all it lacks; or `_owed` is how much of it is the library's.
        """
        size = len(data)
        limit = -1 if self.fragmented else self._max_size
        while True:
            if limit >= _TWO_BYTES:
                position = _ordinary(data, position, messages)
            if size - position < 2:
                break
            length = data[position + 1]
            if length < 126:
                start = position + 2
            elif length & _MASKED:
                # An error of the peer's, which ends the connection: the library says so at once.
                self._owed = size - position
                return position
            else:
                start = position + 2 + _EXTENDED[length]
                if start > size:
                    self._missing = start - size
                    return position
                length = int.from_bytes(data[position + 2 : start], "big")
            end = start + length
            first = data[position]
            if first in _TAKEN and length <= limit:
                if end > size:
                    self._missing = end - size
                    self._header = data[position:start]
                    return position
                payload = data[start:end]
                if first == _FINAL_BINARY or is_text(payload):
                    messages.append(payload)
                    position = end
                    continue
            self._owed = end - position
            return position
        self._missing = 1 if position < size else 0
        return position


def _ordinary(data: bytes, position: int, messages: list[bytes]) -> int:
    """Take whole frames of the most ordinary kind: final text in ASCII, two bytes of length.

    Returns where the first frame begins that is not of that kind or not whole.
    """
    size = len(data)
    last = size - 4
    while position < last:
        kind, length = _begin(data, position)
        end = position + 4 + length
        if kind != _ORDINARY_KIND or end > size:
            break
        payload = data[position + 4 : end]
        if not payload.isascii():
            break
        messages.append(payload)
        position = end
    return position
