"""Values of wire events, checked.

The parser fills types; ranges are its business in deltas of text alone, whose event says them.
"""

from __future__ import annotations

from ...turn.provider_events import MAX_INDEX
from .frames import Malformed

MAX_COUNT = 2**53  # what a JSON number holds exactly; a session of 60 minutes is far below


def index(value: int | None) -> int:
    """A content index; absent means 0.

    Raises:
        Malformed: out of range.
    """
    if value is None:
        return 0
    if not 0 <= value <= MAX_INDEX:
        raise Malformed("content_index: out of range")
    return value


def known(value: str, name: str) -> str:
    """An id without which the event means nothing.

    Raises:
        Malformed: it is blank.
    """
    if not value.strip():
        raise Malformed(f"{name}: blank")
    return value


def named(value: str | None) -> str | None:
    """An id that may be missing; a blank one is."""
    return value if value and value.strip() else None


def count(value: int | None) -> int | None:
    """A count, or a number of milliseconds; None where it is out of range."""
    return value if value is not None and 0 <= value <= MAX_COUNT else None


def seconds(value: float | None) -> float | None:
    """A time; None where it is out of range."""
    return value if value is not None and 0 <= value <= MAX_COUNT else None
