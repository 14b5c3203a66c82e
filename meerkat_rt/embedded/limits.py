"""What one client may cost the server."""

from __future__ import annotations

import attrs

from ..model import checks as check

_some_time = check.seconds(zero=True)
_at_least_one = check.whole(1)


@attrs.frozen(kw_only=True)
class ServerLimits:
    """Bounds on connections, sizes (bytes) and waits (seconds)."""

    max_connections: int = attrs.field(default=32, validator=check.whole(0))
    """Sessions at a time; more are told to come back later (close code 1013)."""
    max_message_size: int = attrs.field(default=24 * 1024 * 1024, validator=_at_least_one)
    """Characters in one frame; 15 MiB of audio are 20 MiB of base64."""
    session_seconds: float = attrs.field(default=3600.0, validator=_some_time)
    """Age at which a session expires (close code 1001); the service's own limit is 60 minutes."""
    handshake_seconds: float = attrs.field(default=10.0, validator=_some_time)
    """For a client to send its upgrade request."""
    setup_seconds: float = attrs.field(default=10.0, validator=_some_time)
    """Gemini: for a client to send its setup (then close code 1011)."""
    connection_seconds: float = attrs.field(default=600.0, validator=_some_time)
    """Gemini: age at which a connection is aborted (close code 1008); the service's is about that.
    The session itself can be resumed."""
    go_away_seconds: float = attrs.field(default=60.0, validator=_some_time)
    """Gemini: how long before that the client is warned with a `goAway`."""
    write_seconds: float = attrs.field(default=10.0, validator=_some_time)
    """For a client to take one frame; one that does not read is cut off."""
    close_seconds: float = attrs.field(default=1.0, validator=_some_time)
    """For a client to answer a close frame."""
    shutdown_seconds: float = attrs.field(default=0.25, validator=_some_time)
    """The same, while the server itself is being shut down."""
    keepalive_seconds: float = attrs.field(default=20.0, validator=_some_time)
    """Between pings; the service sends one about every 20 s."""
    pong_seconds: float = attrs.field(default=20.0, validator=_some_time)
    """For a client to answer a ping."""
    brain_seconds: float = attrs.field(default=60.0, validator=_some_time)
    """For the brain to answer; then the response ends as failed."""
    recognizer_seconds: float = attrs.field(default=30.0, validator=_some_time)
    """For the recognizer; then the transcription ends as failed."""
    outbox_bytes: int = attrs.field(default=4 * 1024 * 1024, validator=_at_least_one)
    """Waiting to be sent; beyond it no more is read from the client, and no more is generated."""
