"""Everything that a server is told once."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import attrs

from ..model import checks as check
from .brain import Brain
from .default_brain import DefaultBrain
from .doors import AccessPolicy
from .limits import ServerLimits
from .quirks import Quirks
from .recognizer import Recognizer, SpeechMeter
from .settings import DEFAULT_VOICE

DEFAULT_PACE = 4.0  # times faster than speech; the service is a few times faster too


def _now() -> float:
    return datetime.datetime.now(datetime.UTC).timestamp()


@attrs.frozen(kw_only=True)
class ServerOptions:
    """How a server behaves.

    `pace` is how many times faster than speech it streams (None or 0: as fast as the client takes
    it).  `playback` is how many times faster than speech clients are assumed to play what they get:
    on the Gemini side a turn is over when it has been played (None or 0: when it has been
    streamed).  `wall_clock` gives seconds since 1970, for the sessions' `expires_at` and nothing
    else.
    """

    access: AccessPolicy = attrs.field(
        factory=AccessPolicy,
        validator=check.is_a(AccessPolicy, what="AccessPolicy(...)", optional=False),
    )
    pace: float | None = attrs.field(default=DEFAULT_PACE)
    playback: float | None = attrs.field(default=1.0)
    brain: Brain = attrs.field(
        factory=DefaultBrain,
        validator=check.has("reply", what="a Brain: an object with a method reply"),
    )
    recognizer: Recognizer = attrs.field(
        factory=SpeechMeter,
        validator=check.has("transcribe", what="a Recognizer: an object with a method transcribe"),
    )
    quirks: Quirks = attrs.field(
        factory=Quirks, validator=check.is_a(Quirks, what="Quirks(...)", optional=False)
    )
    limits: ServerLimits = attrs.field(
        factory=ServerLimits,
        validator=check.is_a(ServerLimits, what="ServerLimits(...)", optional=False),
    )
    voice: str = attrs.field(default=DEFAULT_VOICE, validator=check.a_name)
    wall_clock: Callable[[], float] = _now

    @pace.validator
    @playback.validator
    def _check_pace(self, attribute: attrs.Attribute[float | None], pace: Any) -> None:
        if pace is not None and not (check.is_real(pace) and pace >= 0):
            check.refuse(self, attribute.name, pace, "a number, 0 or more; or None")

    @property
    def hears_words(self) -> bool:
        """Whether the recognizer's text is what was said."""
        return bool(getattr(self.recognizer, "hears_words", True))
