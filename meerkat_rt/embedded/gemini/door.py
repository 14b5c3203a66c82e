"""The way in to the Gemini side: its two addresses, and who is let in.

The upgrade always succeeds; what is wrong is in the close frame, in the words of the service.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

import attrs

from ..doors import Entry, Refusal
from ..options import ServerOptions
from .engine import GeminiEngine
from .proto import INTERNAL, INVALID, POLICY
from .shelf import Shelf
from .wire import Terms

if TYPE_CHECKING:
    from ..doors import AccessPolicy, Upgrade

_AI_STUDIO = re.compile(
    r"/ws/google\.ai\.generativelanguage\.v1(?:beta|alpha)?\.GenerativeService"
    r"\.BidiGenerateContent(?:Constrained)?/?"
)
_VERTEX = re.compile(
    r"/ws/google\.cloud\.aiplatform\.v1(?:beta1)?\.LlmBidiService/BidiGenerateContent/?"
)


@attrs.frozen
class GeminiDoor:
    """Admits clients of Gemini Live.  Its sessions can be resumed from the `shelf`."""

    options: ServerOptions
    shelf: Shelf = attrs.field(repr=False)

    @property
    def path(self) -> str:
        """Where it is."""
        return "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"

    def admit(self, upgrade: Upgrade, *, full: bool) -> Entry | None:
        """Decide about a request; None: it is not for this door."""
        vertex = _VERTEX.fullmatch(upgrade.path) is not None
        if not vertex and _AI_STUDIO.fullmatch(upgrade.path) is None:
            return None
        refusal = _refuse_credentials(upgrade, self.options.access)
        if refusal is None and full:
            refusal = Refusal(
                code="RESOURCE_EXHAUSTED",
                message="",
                close_code=INTERNAL,
                reason="Resource has been exhausted (e.g. check quota).",
            )
        return Entry(
            engine=partial(self._engine, vertex=vertex),
            refusal=refusal,
            binary=True,
        )

    def _engine(self, seed: str, *, vertex: bool) -> GeminiEngine:
        options = self.options
        limits = options.limits
        terms = Terms(
            vertex=vertex,
            models=options.access.models,
            voice=options.voice,
            hears_words=options.hears_words,
            quirks=options.quirks,
            share=_share(options.pace, options.playback),
            setup_seconds=limits.setup_seconds,
            connection_seconds=limits.connection_seconds,
            go_away_seconds=limits.go_away_seconds,
        )
        return GeminiEngine(terms, self.shelf, seed=seed)


def _share(pace: float | None, playback: float | None) -> float:
    """How much of the time that a piece takes to send a client spends playing it."""
    if not pace or not playback:
        return 1.0
    return min(playback / pace, 1.0)


def _refuse_credentials(upgrade: Upgrade, policy: AccessPolicy) -> Refusal | None:
    headers = upgrade.headers
    _, _, token = headers.get("authorization", "").partition(" ")
    shown = [
        key.strip()
        for key in (
            headers.get("x-goog-api-key", ""),
            upgrade.query.get("key", ""),
            upgrade.query.get("access_token", ""),
            token,
        )
        if key.strip()
    ]
    if policy.accepts(shown):
        return None
    if shown:
        return Refusal(
            code="INVALID_ARGUMENT",
            message="",
            close_code=INVALID,
            reason="API key not valid. Please pass a valid API key.",
        )
    return Refusal(
        code="PERMISSION_DENIED",
        message="",
        close_code=POLICY,
        reason="Method doesn't allow unregistered callers (callers without established identity).",
    )
