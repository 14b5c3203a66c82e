"""What one client may cost the server."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class ServerLimits:
    """Bounds on connections, sizes (bytes) and waits (seconds)."""

    max_connections: int = 32
    """Sessions at a time; more are told to come back later (close code 1013)."""
    max_message_size: int = 24 * 1024 * 1024
    """Characters in one frame; 15 MiB of audio are 20 MiB of base64."""
    session_seconds: float = 3600.0
    """Age at which a session expires (close code 1001); the service's own limit is 60 minutes."""
    handshake_seconds: float = 10.0
    """For a client to send its upgrade request."""
    setup_seconds: float = 10.0
    """Gemini: for a client to send its setup (then close code 1011)."""
    connection_seconds: float = 600.0
    """Gemini: age at which a connection is aborted (close code 1008); the service's is about that.
    The session itself can be resumed."""
    go_away_seconds: float = 60.0
    """Gemini: how long before that the client is warned with a `goAway`."""
    write_seconds: float = 10.0
    """For a client to take one frame; one that does not read is cut off."""
    close_seconds: float = 1.0
    """For a client to answer a close frame."""
    shutdown_seconds: float = 0.25
    """The same, while the server itself is being shut down."""
    keepalive_seconds: float = 20.0
    """Between pings; the service sends one about every 20 s."""
    pong_seconds: float = 20.0
    """For a client to answer a ping."""
    brain_seconds: float = 60.0
    """For the brain to answer; then the response ends as failed."""
    recognizer_seconds: float = 30.0
    """For the recognizer; then the transcription ends as failed."""
    outbox_bytes: int = 4 * 1024 * 1024
    """Waiting to be sent; beyond it no more is read from the client, and no more is generated."""
