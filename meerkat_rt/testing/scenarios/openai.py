"""Sessions with OpenAI on the stage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...model.conversation import SessionLlmIdentity
from ...model.open_config import RealtimeSessionOpenConfig
from ...runtime.factories import OpenAIRealtime
from ...transport import connector
from ..openai_peer import openai_peer
from .bodies import cases
from .stage import PROVIDER_MANAGED, Side

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...model.media import RealtimeTurningMode
    from ...transport import OpenStream
    from .stage import Body

TONE = b"\x01\x00" * 480  # 20 ms


def open_config(
    mode: RealtimeTurningMode = PROVIDER_MANAGED, *args: Any
) -> RealtimeSessionOpenConfig:
    """The plainest open configuration."""
    return RealtimeSessionOpenConfig(mode, SessionLlmIdentity(model="gpt-realtime"), *args)


def provider(open_stream: OpenStream, transport: str) -> OpenAIRealtime:
    """OpenAI, reached over streams of the caller's own."""
    return OpenAIRealtime(
        api_key="k",
        base_url="ws://peer/v1/realtime",
        connector=connector(transport, open_stream=open_stream),
        seed=1,
    )


OPENAI = Side(peer=openai_peer, provider=provider, config=open_config)


def scenarios_of(family: str) -> Callable[..., Callable[[Body], Body]]:
    """The decorator with which a family's module registers its scenarios; see `bodies.cases`."""
    return cases(OPENAI, family)
