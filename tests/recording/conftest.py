"""Recordings are made of the sessions that the tests of the runtime play."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from meerkat_rt.recording import recorder

for _room in ("runtime", "turn"):
    sys.path.append(str(Path(__file__).parents[1] / _room))


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a thread may be late; what the grace is for has a test of its own."""
    monkeypatch.setattr(recorder, "FLUSH_GRACE", 20.0)
