"""What the application hands over is looked at here, where the mistake is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from ..model.checks import expect, shown
from ..model.errors import InvalidConfig, InvalidInputShape, InvalidRequest, RequestTooLarge
from ..model.open_config import RealtimeSessionOpenConfig
from .limits import SessionLimits
from .ports import Conversation
from .tools import MAX_OUTPUT_BYTES, ToolSet

if TYPE_CHECKING:
    from collections.abc import Iterable

PcmBytes: TypeAlias = bytes | bytearray | memoryview
"""Audio without a label: of the session's input format."""


def check_text(text: Any) -> None:
    """Refuse what is not a string.

    Raises:
        InvalidRequest: says what was given and what is allowed.
    """
    expect(text, str, "text", "a string")


def check_sendable(text: Any, what: str) -> None:
    """Refuse what is no text, half a surrogate pair, and more than any model can read.

    Raises:
        InvalidRequest: says what was given and what is allowed.
        RequestTooLarge: over `MAX_OUTPUT_BYTES`.
    """
    expect(text, str, what, "a string")
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"{what} cannot be sent: {error}") from None
    if size > MAX_OUTPUT_BYTES:
        raise RequestTooLarge(f"{what} cannot be sent", size, MAX_OUTPUT_BYTES)


def check_count(number: Any, what: str) -> None:
    """Refuse what does not count something.

    Raises:
        InvalidRequest: says what was given and what is allowed.
    """
    whole = isinstance(number, int) or (isinstance(number, float) and number.is_integer())
    if not whole or number < 0:
        raise InvalidRequest(f"{what} is {shown(number)}; allowed: a whole number from 0")


def check_bytes(audio: Any) -> None:
    """Refuse what is not bytes: of a number, `bytes` would make so much silence.

    Raises:
        InvalidInputShape: says what was given and what is allowed.
    """
    if not isinstance(audio, PcmBytes):
        raise InvalidInputShape(
            f"audio is {type(audio).__name__}; allowed: bytes in the session's input format, or a "
            "RealtimeAudioChunk"
        )


def check_provider(provider: Any) -> None:
    """Refuse what cannot open sessions.

    Raises:
        InvalidConfig: says what was given and what is allowed.
    """
    if isinstance(provider, type) or not hasattr(provider, "open_session"):
        raise InvalidConfig(
            f"provider is {shown(provider)}; allowed: an instance of a RealtimeSessionFactory, "
            "such as OpenAIRealtime(api_key=...) or EmbeddedProvider()"
        )


def check_open_config(config: Any) -> None:
    """Refuse what is no open config.

    Raises:
        InvalidConfig: says what was given and what is allowed.
    """
    if not isinstance(config, RealtimeSessionOpenConfig):
        raise InvalidConfig(
            f"config is {shown(config)}; allowed: RealtimeSessionOpenConfig(turning_mode, "
            "SessionLlmIdentity(model=...))"
        )


def check_store(store: Any) -> None:
    """Refuse what cannot keep a conversation; the path of a file is the usual mistake.

    Raises:
        InvalidConfig: says what was given and what is allowed.
    """
    if not (store is None or isinstance(store, Conversation) or hasattr(store, "open")) or (
        isinstance(store, type)
    ):
        raise InvalidConfig(
            f"store is {shown(store)}; allowed: a SessionStore such as SqliteStore(path), "
            "or Conversation(store=..., id=...)"
        )


def tool_set(tools: ToolSet | Iterable[Any] | None) -> ToolSet:
    """The tools as a ToolSet: functions alone will do.

    Raises:
        InvalidRequest: see `ToolSet`.
    """
    return tools if isinstance(tools, ToolSet) else ToolSet(tools if tools is not None else ())


def session_limits(limits: SessionLimits | None) -> SessionLimits:
    """The limits, or the default ones.

    Raises:
        InvalidConfig: says what was given and what is allowed.
    """
    if limits is None:
        return SessionLimits()
    if not isinstance(limits, SessionLimits):
        raise InvalidConfig(f"limits is {shown(limits)}; allowed: SessionLimits(...) or None")
    return limits
