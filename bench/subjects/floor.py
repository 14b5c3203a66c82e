"""The physical limit: a blocking socket, frames cut out by index, the fastest JSON parser."""

from __future__ import annotations

import orjson

from . import Tally, _socket

NAME = "floor"
TITLE = "floor: blocking socket, orjson"
PACKAGES = ("orjson",)
NOTE = "a dict a frame; audio stays base64; no types, no checks, no session"


_TEXT = ("response.output_audio_transcript.delta", "response.output_text.delta")


def run(url: str, units: int, modality: str) -> Tally:
    """Receive that many units."""
    tally = Tally(units)
    loads = orjson.loads
    sock, buffer = _socket.connect(url, units)
    with sock:
        tally.start()
        _socket.ask(sock)
        while True:
            position, size = 0, len(buffer)
            while size - position >= 10:  # the longest header; no frame is shorter
                length, start = buffer[position + 1], position + 2
                if length == 126:
                    start = position + 4
                    length = buffer[position + 2] << 8 | buffer[position + 3]
                elif length == 127:
                    start = position + 10
                    length = int.from_bytes(buffer[position + 2 : start], "big")
                end = start + length
                if end > size:
                    break
                event = loads(buffer[start:end])
                kind = event["type"]
                if kind == "response.output_audio.delta":
                    tally.audio += len(event["delta"]) * 3 // 4
                elif kind in _TEXT:
                    tally.text += len(event["delta"])
                elif kind == "response.done" and tally.response():
                    return tally
                position = end
            buffer = buffer[position:] + sock.recv(_socket.BUFFER)
