"""What the end of a connection means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..model.errors import LlmError, NetworkTimeout, StreamParseError
from ..model.events import ClosedBy, CloseReason

if TYPE_CHECKING:
    from ..providers.base import Dialect
    from ..transport import TransportClosed


def ending(dialect: Dialect, closed: TransportClosed) -> tuple[CloseReason, LlmError | None]:
    """Who ended the connection, and the error if that was no clean end."""
    if closed.by == "us" and closed.code is not None:
        # We close by ourselves when the peer breaks the WebSocket protocol, or our size limit.
        text = f"the peer broke the protocol: {closed.reason}"
        reason = CloseReason(by=ClosedBy.RUNTIME, code=closed.code, text=text, clean=False)
        return reason, StreamParseError(text)
    reason, error = dialect.close_reason(closed.code, closed.reason)
    if closed.code is None and error is not None and timed_out(closed):
        error = NetworkTimeout(str(closed))
    return reason, error


def timed_out(error: BaseException | None) -> bool:
    """The operating system gave the connection up after waiting: by type, whatever its words."""
    while error is not None and not isinstance(error, TimeoutError):
        error = error.__cause__
    return error is not None
