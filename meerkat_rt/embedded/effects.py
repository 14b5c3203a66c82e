"""What the engine asks of its driver, and what one session may cost."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class Think:
    """Ask the brain for `response_id`, once the recognizer is done with the items in `after`."""

    response_id: str
    after: frozenset[str]


@attrs.frozen(kw_only=True)
class Abandon:
    """The response has ended: stop thinking about it and advancing it."""

    response_id: str


@attrs.frozen(kw_only=True)
class Recognize:
    """Recognize an item's audio, 16-bit samples at `sample_rate`; then call `recognized`."""

    item_id: str
    audio: bytes
    sample_rate: int


@attrs.frozen(kw_only=True)
class Close:
    """Close the connection with this code and reason, once all events so far have been sent."""

    code: int
    reason: str


Effect = Think | Abandon | Recognize | Close


@attrs.frozen(kw_only=True)
class SessionLimits:
    """What one session may keep in memory, in bytes."""

    buffered_audio_bytes: int = 32 * 1024 * 1024  # uncommitted; 11 minutes of pcm
    retained_audio_bytes: int = 64 * 1024 * 1024  # in items; the oldest lose theirs first
