"""The conversations of the parity suite, on the stage of every provider."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..parity.scenes import GeminiScene, OpenAIScene
from ..parity.suite import SCENES
from . import stage
from .bodies import cases, welcoming
from .gemini import GEMINI
from .openai import OPENAI

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...runtime.session import RealtimeSession
    from ..parity.scenes import Scene
    from ..parity.suite import Conversation, Server
    from ..sweep.case import Case
    from .stage import Script, Side

_STAGES: dict[str, tuple[Side, Callable[[Any], Scene]]] = {
    "OpenAI": (OPENAI, OpenAIScene),
    "Gemini": (GEMINI, GeminiScene),
}

SIDES: dict[str, dict[str, Case]] = {provider: {} for provider in _STAGES}
"""By provider, every conversation of the suite as a case."""

_notes: dict[tuple[str, str], dict[str, str]] = {}


def notes_of(name: str, provider: str) -> dict[str, str]:
    """What the last run of a conversation came to."""
    return _notes[name, provider]


def _register(conversation: Conversation, provider: str) -> None:
    side, scene = _STAGES[provider]
    notes = _notes[conversation.name, provider] = {}

    def script(server: Server) -> Script:
        async def play(peer: Any) -> None:
            await server(scene(peer), notes.__setitem__)

        return play

    async def body(session: RealtimeSession) -> None:
        try:
            await conversation.application(session, notes.__setitem__)
        except AssertionError:
            if stage.undisturbed():
                raise

    body.__name__ = f"{conversation.name}_as_{provider.lower()}"
    cases(side, f"parity with {provider}")(
        welcoming(script(conversation.server)),
        *map(script, conversation.others),
        greeted=False,
        survives_reset=bool(conversation.others),  # at least while another one is made
        continuity=conversation.continuity,
        mode=conversation.mode,
        tools=conversation.tools,
        ends=conversation.ends,
        spare=conversation.spare,
        variant=True,  # of what the families of the provider have
    )(body)
    SIDES[provider][conversation.name] = stage.SCENARIOS[body.__name__]


for _provider in _STAGES:
    for _conversation in SCENES.values():
        _register(_conversation, _provider)
