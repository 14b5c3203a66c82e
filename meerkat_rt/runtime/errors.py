"""Errors of a live session, beside those of the model."""

from __future__ import annotations

from typing import ClassVar

import attrs
import trio

from ..model.errors import LlmError
from ..model.errors import _WithMessage as WithMessage
from ..model.events import CloseReason


@attrs.define(eq=False)
class SessionClosedError(LlmError, trio.ClosedResourceError):
    """The session has been closed; `reason` says why.  Nothing was sent."""

    reason: CloseReason | None = None

    def __str__(self) -> str:
        if self.reason is None:
            return "the session is closing"
        return f"the session was closed by the {self.reason.by}" + (
            f": {self.reason.text}" if self.reason.text else ""
        )


@attrs.define(eq=False)
class ConsumerTooSlow(WithMessage):
    """The application did not read its events: more control events waited than the limit allows."""


@attrs.define(eq=False)
class TransportStalled(WithMessage):
    """The peer did not take what was written, or did not answer a ping, in time."""

    retryable: ClassVar[bool] = True
