"""Recordings are made of the sessions that the tests of the runtime play."""

from __future__ import annotations

import sys
from pathlib import Path

for _room in ("runtime", "turn"):
    sys.path.append(str(Path(__file__).parents[1] / _room))
