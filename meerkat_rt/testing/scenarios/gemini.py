"""Sessions with Gemini on the stage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...model.conversation import Provider, SessionLlmIdentity
from ...model.open_config import RealtimeSessionOpenConfig
from ...providers.gemini import AiStudio
from ...runtime.factories_gemini import GeminiLive
from ...transport import connector
from ..gemini_peer import gemini_peer
from .bodies import cases
from .stage import PROVIDER_MANAGED, Side

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...model.media import RealtimeTurningMode
    from ...transport import OpenStream
    from .stage import Body

TONE = b"\x01\x00" * 320  # 20 ms


def open_config(
    mode: RealtimeTurningMode = PROVIDER_MANAGED, *args: Any
) -> RealtimeSessionOpenConfig:
    """The plainest open configuration."""
    identity = SessionLlmIdentity(model="gemini-3.8-live", provider=Provider.GEMINI)
    return RealtimeSessionOpenConfig(mode, identity, *args)


def provider(open_stream: OpenStream, transport: str) -> GeminiLive:
    """Gemini, reached over streams of the caller's own."""
    return GeminiLive(
        platform=AiStudio(api_key="k", base_url="ws://peer"),
        connector=connector(transport, open_stream=open_stream),
        seed=1,
    )


GEMINI = Side(peer=gemini_peer, provider=provider, config=open_config)


def scenarios_of(family: str) -> Callable[..., Callable[[Body], Body]]:
    """The decorator with which a family's module registers its scenarios; see `bodies.cases`."""
    return cases(GEMINI, family)
