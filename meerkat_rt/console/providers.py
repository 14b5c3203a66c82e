"""Who answers: the providers that a command can be pointed at, by name."""

from __future__ import annotations

import os
from collections.abc import Callable

import attrs
import click

from meerkat_rt import GeminiLive, OpenAIRealtime, Provider, SessionLlmIdentity
from meerkat_rt.embedded import EmbeddedGemini, EmbeddedProvider, ServerOptions
from meerkat_rt.runtime.ports import RealtimeSessionFactory

EMBEDDED_PACE = 4.0  # times faster than speech that the embedded server streams


@attrs.frozen(kw_only=True)
class Choice:
    """One provider: its name for people, its default model, and the source of its key, if any."""

    title: str
    family: Provider
    model: str
    make: Callable[[str, float], RealtimeSessionFactory]
    key: str | None = None  # the environment variable


def _options(pace: float) -> ServerOptions:
    return ServerOptions(pace=EMBEDDED_PACE * pace, playback=pace)


CHOICES = {
    "embedded": Choice(
        title="embedded provider",
        family=Provider.OPENAI,
        model="embedded",
        make=lambda _, pace: EmbeddedProvider(options=_options(pace)),
    ),
    "embedded-gemini": Choice(
        title="embedded Gemini provider",
        family=Provider.GEMINI,
        model="embedded",
        make=lambda _, pace: EmbeddedGemini(options=_options(pace)),
    ),
    "openai": Choice(
        title="OpenAI",
        family=Provider.OPENAI,
        model="gpt-realtime-2.1",
        make=lambda key, _: OpenAIRealtime(api_key=key),
        key="OPENAI_API_KEY",
    ),
    "gemini": Choice(
        title="Gemini",
        family=Provider.GEMINI,
        model="gemini-3.8-live",
        make=lambda key, _: GeminiLive(api_key=key),
        key="GEMINI_API_KEY",
    ),
}


def provider_named(
    name: str, model: str | None, api_key: str | None, *, pace: float
) -> tuple[RealtimeSessionFactory, SessionLlmIdentity]:
    """The provider and whom it asks; an embedded one is `pace` times faster than speech.

    Raises:
        click.UsageError: it takes a key, and there is none.
    """
    choice = CHOICES[name]
    key = api_key or os.environ.get(choice.key or "") or ""
    if choice.key is not None and not key:
        raise click.UsageError(f"--provider {name} needs a key: --api-key, or {choice.key}.")
    identity = SessionLlmIdentity(model=model or choice.model, provider=choice.family)
    return choice.make(key, pace), identity


def input_rate(provider: RealtimeSessionFactory) -> int:
    """Samples a second that the provider takes."""
    audio = provider.capabilities().audio_input_format
    assert audio is not None  # all of them listen
    return audio.sample_rate_hz
