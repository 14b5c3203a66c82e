"""What a model's name says about it.

Generations of Live models differ in what they accept, and an unknown or forbidden setting closes
the connection.  Names change faster than releases of this package: of a name that fits no known
family nothing is forbidden.

Source: the vendor's model pages and migration notes, as of September 2026.
"""

from __future__ import annotations

import re

import attrs

from ...model.media import ResponseModality

_AUDIO = (ResponseModality.AUDIO,)
_EITHER = (ResponseModality.AUDIO, ResponseModality.TEXT)


@attrs.frozen(kw_only=True)
class Generation:
    """One family of models.

    `text_all_session`: text may enter the conversation at any time as `clientContent`; else only
    as initial history, and afterwards as realtime text, which the model answers.
    `initial_history`: history is announced in the setup (`historyConfig`), so that it triggers
    nothing.  `async_tools`: tools may be NON_BLOCKING and their answers scheduled;
    `async_by_default`: they are.
    `always_proactive`: proactivity cannot be switched off.  `max_output_tokens`: of one answer,
    where that is known.
    """

    name: str
    modalities: tuple[ResponseModality, ...] = _EITHER
    text_all_session: bool = True
    initial_history: bool = False
    async_tools: bool = True
    async_by_default: bool = False
    affective_dialog: bool = True
    proactivity: bool = True
    always_proactive: bool = False
    thinking_level: bool = True
    thinking_budget: bool = True
    transcription_hints: bool = True
    max_output_tokens: int | None = None


LIVE_3_8 = Generation(
    name="Gemini 3.8 Live",
    modalities=_AUDIO,
    initial_history=True,
    async_by_default=True,
    affective_dialog=False,
    always_proactive=True,
    thinking_level=False,
    max_output_tokens=65_536,
)
LIVE_3_1 = Generation(
    name="Gemini 3.1 Flash Live",
    modalities=_AUDIO,
    text_all_session=False,
    initial_history=True,
    async_tools=False,
    affective_dialog=False,
    proactivity=False,
    thinking_budget=False,
    transcription_hints=False,
)
NATIVE_AUDIO = Generation(
    name="Gemini 2.5 native audio",
    modalities=_AUDIO,
    thinking_level=False,
    transcription_hints=False,
)
HALF_CASCADE = Generation(
    name="Gemini Live 2.0 and 2.5, half cascade",
    affective_dialog=False,
    proactivity=False,
    thinking_level=False,
    thinking_budget=False,
    transcription_hints=False,
)
UNKNOWN = Generation(name="an unknown generation")

_FAMILIES = (
    (re.compile(r"gemini-3\.8(?:-[a-z]+)*-live(?:-.*)?"), LIVE_3_8),
    (re.compile(r"gemini-3\.1(?:-[a-z]+)*-live(?:-.*)?"), LIVE_3_1),
    (re.compile(r"gemini-(?:live-)?2\.5-flash(?:-preview)?-native-audio(?:-.*)?"), NATIVE_AUDIO),
    (re.compile(r"gemini-live-2\.5-flash(?:-preview.*)?"), HALF_CASCADE),
    (re.compile(r"gemini-2\.0-flash-live(?:-.*)?|gemini-2\.0-flash-exp"), HALF_CASCADE),
)


def bare(model: str) -> str:
    """The model's own name, without the path to it."""
    return model.rsplit("/", 1)[-1]


def generation(model: str) -> Generation:
    """What is known of `model`."""
    name = bare(model)
    return next((found for family, found in _FAMILIES if family.fullmatch(name)), UNKNOWN)
