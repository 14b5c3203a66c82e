"""The socket alone: what the server can deliver.  No client can be faster than this."""

from __future__ import annotations

from . import Tally, _socket

NAME = "drain"
TITLE = "the socket, read and thrown away"
PACKAGES = ()
NOTE = "nothing is parsed: the server's limit, not a client's"

_LAST = b'"response.done"'


def run(url: str, units: int, modality: str) -> Tally:
    """Receive that many units."""
    tally = Tally(units)
    tally.text = tally.audio = None  # nobody looked
    sock, _ = _socket.connect(url, units)
    with sock:
        tally.start()
        _socket.ask(sock)
        seam = b""
        while True:
            data = seam + sock.recv(_socket.BUFFER)
            for _ in range(data.count(_LAST)):
                if tally.response():
                    return tally
            seam = data[-len(_LAST) + 1 :]
