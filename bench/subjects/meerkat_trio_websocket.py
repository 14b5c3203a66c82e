"""Our runtime over trio-websocket."""

from __future__ import annotations

from . import Tally, meerkat

NAME = "meerkat-trio-websocket"
TITLE = "meerkat-rt, trio-websocket"
PACKAGES = (*meerkat.PACKAGES, "trio-websocket")
NOTE = "as above, over the other client transport"


def run(url: str, units: int, modality: str) -> Tally:
    """Receive that many units."""
    return meerkat.run(url, units, modality, connector="trio-websocket")
