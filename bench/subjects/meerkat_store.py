"""Our runtime with a memory store."""

from __future__ import annotations

from meerkat_rt.storage import MemoryStore

from . import Tally, meerkat

NAME = "meerkat-store"
TITLE = "meerkat-rt, memory store"
PACKAGES = meerkat.PACKAGES
NOTE = "as above, and every event durable in the store's sense before it is announced"


def run(url: str, units: int, modality: str) -> Tally:
    """Receive that many units."""
    return meerkat.run(url, units, modality, store=MemoryStore)
