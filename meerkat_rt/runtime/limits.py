"""Every bound of a session in one place: deadlines in seconds, caps in bytes or items."""

from __future__ import annotations

import attrs

from ..model import checks as check

_time = check.seconds()
_count = check.whole(1)


@attrs.frozen(kw_only=True)
class SessionLimits:
    """How long a session waits, and how much it holds.

    The defaults suit a voice call.  Every wait of a session has one of these deadlines.

    Raises:
        InvalidConfig: a value is not allowed; the message names the field, it, and what is.
    """

    connect: float = attrs.field(default=10.0, validator=_time)  # websockets waits 10
    write: float = attrs.field(default=10.0, validator=_time)  # one write; then it has stalled
    close_grace: float = attrs.field(default=0.25, validator=_time)  # websockets 10, livekit 60
    interrupt_grace: float = attrs.field(default=1.0, validator=_time)
    store_patience: float = attrs.field(default=30.0, validator=_time)  # opening; one commit
    store_grace: float = attrs.field(default=5.0, validator=_time)
    tool_deadline: float = attrs.field(default=30.0, validator=_time)
    cancel_acknowledgement: float = attrs.field(default=5.0, validator=_time)
    truncation_acknowledgement: float = attrs.field(default=5.0, validator=_time)
    update_acknowledgement: float = attrs.field(default=10.0, validator=_time)
    response_request: float = attrs.field(default=30.0, validator=_time)
    turn_end: float = attrs.field(default=30.0, validator=_time)  # waited for by resume_with
    nudge_timeout: float = attrs.field(default=0.75, validator=_time)
    nudge_max_attempts: int = attrs.field(default=3, validator=check.whole(0))

    mic_max_age: float = attrs.field(default=2.0, validator=_time)
    mic_max_bytes: int = attrs.field(default=8 * 1024 * 1024, validator=_count)  # 3 min of PCM
    control_commands: int = attrs.field(default=256, validator=_count)  # then callers wait
    control_overflow: int = attrs.field(default=4096, validator=_count)  # then it has stalled
    media_bytes_per_write: int = attrs.field(default=16 * 1024, validator=_count)
    output_audio_bytes: int = attrs.field(default=32 * 1024 * 1024, validator=_count)  # 11 min
    waiting_events: int = attrs.field(default=65_536, validator=_count)
    warming_bytes: int = attrs.field(default=4 * 1024 * 1024, validator=_count)  # unheard
