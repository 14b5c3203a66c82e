"""Our runtime over trio-websocket."""

from __future__ import annotations

from . import Tally, meerkat

NAME = "meerkat-trio-websocket"
TITLE = "meerkat-rt, trio-websocket"
PACKAGES = (*meerkat.PACKAGES, "trio-websocket")
NOTE = "as above, over the other client transport"
SPEAKING = "as above, over the other client transport"


def run(url: str, units: int, modality: str) -> Tally:
    """Receive that many units."""
    return meerkat.run(url, units, modality, connector="trio-websocket")


def speak(url: str, chunks: int, data: bytes, pause: float) -> Tally:
    """Send that much speech, a chunk a call."""
    return meerkat.speak(url, chunks, data, pause, connector="trio-websocket")
