"""The namespace `meerkat_rt.errors`: errors of a live session, and those of the model."""

from __future__ import annotations

from typing import ClassVar

import attrs
import trio

from ..model.errors import AudioFormatMismatch as AudioFormatMismatch
from ..model.errors import AuthenticationFailed as AuthenticationFailed
from ..model.errors import ConnectionReset as ConnectionReset
from ..model.errors import ContentFiltered as ContentFiltered
from ..model.errors import ContextLengthExceeded as ContextLengthExceeded
from ..model.errors import IncompleteResponse as IncompleteResponse
from ..model.errors import InvalidApiKey as InvalidApiKey
from ..model.errors import InvalidConfig as InvalidConfig
from ..model.errors import InvalidInputShape as InvalidInputShape
from ..model.errors import InvalidJson as InvalidJson
from ..model.errors import InvalidRequest as InvalidRequest
from ..model.errors import LlmError as LlmError
from ..model.errors import ModelNotFound as ModelNotFound
from ..model.errors import NetworkTimeout as NetworkTimeout
from ..model.errors import QuotaExhausted as QuotaExhausted
from ..model.errors import RateLimited as RateLimited
from ..model.errors import RequestTooLarge as RequestTooLarge
from ..model.errors import ServerError as ServerError
from ..model.errors import ServerOverloaded as ServerOverloaded
from ..model.errors import SessionExpired as SessionExpired
from ..model.errors import StreamParseError as StreamParseError
from ..model.errors import ToolCallSettled as ToolCallSettled
from ..model.errors import UnknownProviderError as UnknownProviderError
from ..model.errors import UnknownTag as UnknownTag
from ..model.errors import _WithMessage as WithMessage
from ..model.events import CloseReason
from ..turn.effects import Lost, Superseded


@attrs.define(eq=False)
class SessionClosedError(LlmError, trio.ClosedResourceError):
    """The session has been closed; `reason` says why.  Nothing was sent.

    `error`: what the session failed with, which its events end with as well; it is the cause, too,
    and says whether a retry may help.  None: it did not fail.
    """

    reason: CloseReason | None = None
    error: LlmError | None = None

    @property
    def retryable(self) -> bool:  # type: ignore[override]
        """Whether a retry may help: whether it may against what the session failed with."""
        return self.error is not None and self.error.retryable

    def __str__(self) -> str:
        if self.reason is None:
            return "the session is closing"
        return f"the session was closed by the {self.reason.by}" + (
            f": {self.reason.text}" if self.reason.text else ""
        )


@attrs.define(eq=False)
class Unanswered(WithMessage):
    """What was to be answered was not; the session goes on.

    `outcome`: what became of the request, if that is why: superseded by something newer, or lost.
    """

    outcome: Superseded | Lost | None = None

    @property
    def retryable(self) -> bool:  # type: ignore[override]
        """Whether a retry may help: unless something newer has taken its place."""
        return not isinstance(self.outcome, Superseded)


@attrs.define(eq=False)
class ConsumerTooSlow(WithMessage):
    """The application did not read its events: more control events waited than the limit allows."""


@attrs.define(eq=False)
class TransportStalled(WithMessage):
    """The peer did not take what was written, or did not answer a ping, in time."""

    retryable: ClassVar[bool] = True


@attrs.define(eq=False)
class WorkerLost(WithMessage):
    """A task of the session's own ended before the session did: a bug, or cancelled by somebody.

    The session has ended with it, for it cannot live without.
    """

    retryable: ClassVar[bool] = True


@attrs.define(eq=False)
class ReconnectExhausted(WithMessage):
    """The connection was lost and could not be replaced within what the policy allows.

    `attempts` were made; the last one's error is the cause.
    """

    attempts: int = 0
    retryable: ClassVar[bool] = True


@attrs.define(eq=False)
class StoreUnusable(WithMessage):
    """The store raised something else than an `LlmError`, or took too long; that is the cause.

    What it was to write goes in again with what it is to write next, if the session goes on.
    """
