"""Every bound of a session in one place: deadlines in seconds, caps in bytes or items."""

from __future__ import annotations

from typing import Any

import attrs
from attrs import validators

_positive: Any = validators.gt(0)


@attrs.frozen(kw_only=True)
class SessionLimits:
    """How long a session waits, and how much it holds.

    The defaults suit a voice call.  Every wait of a session has one of these deadlines.
    """

    connect: float = attrs.field(default=10.0, validator=_positive)  # websockets waits 10
    write: float = attrs.field(default=10.0, validator=_positive)  # one write; then it has stalled
    close_grace: float = attrs.field(default=0.25, validator=_positive)  # websockets 10, livekit 60
    interrupt_grace: float = attrs.field(default=1.0, validator=_positive)
    store_patience: float = attrs.field(default=30.0, validator=_positive)  # opening; one commit
    store_grace: float = attrs.field(default=5.0, validator=_positive)
    tool_deadline: float = attrs.field(default=30.0, validator=_positive)
    cancel_acknowledgement: float = attrs.field(default=5.0, validator=_positive)
    truncation_acknowledgement: float = attrs.field(default=5.0, validator=_positive)
    update_acknowledgement: float = attrs.field(default=10.0, validator=_positive)
    response_request: float = attrs.field(default=30.0, validator=_positive)
    turn_end: float = attrs.field(default=30.0, validator=_positive)  # waited for by resume_with
    nudge_timeout: float = attrs.field(default=0.75, validator=_positive)
    nudge_max_attempts: int = attrs.field(default=3, validator=validators.ge(0))

    mic_max_age: float = attrs.field(default=2.0, validator=_positive)
    mic_max_bytes: int = attrs.field(default=8 * 1024 * 1024, validator=_positive)  # 3 min of PCM
    control_commands: int = attrs.field(default=256, validator=_positive)  # then callers wait
    control_overflow: int = attrs.field(default=4096, validator=_positive)  # then it has stalled
    media_bytes_per_write: int = attrs.field(default=16 * 1024, validator=_positive)
    output_audio_bytes: int = attrs.field(default=32 * 1024 * 1024, validator=_positive)  # 11 min
    waiting_events: int = attrs.field(default=65_536, validator=_positive)
    warming_bytes: int = attrs.field(default=4 * 1024 * 1024, validator=_positive)  # unheard
