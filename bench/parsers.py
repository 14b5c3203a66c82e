"""Where decoding ends and the dialect begins, so that both can be measured.

A parser turns a frame's bytes into the typed frame of its kind, as the dialect's own does, and does
nothing else.  What the dialect's whole way to neutral events costs beside that is the dialect:
finding the handler, checking, translating.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from typing import Any

from meerkat_rt.providers.gemini import frames as gemini
from meerkat_rt.providers.gemini.wire_json import from_base64
from meerkat_rt.providers.openai import decoding as openai

Parser = Callable[[bytes], Any]

# Frames of text have no typed form of their own: the parser fills the neutral event itself.  Audio
# is cut out and decoded where it stands, and what stands around it is known: that is parsing alone.
_AT_ONCE: dict[str, Parser] = {
    "response.output_text.delta": openai._text_delta,
    "response.output_audio_transcript.delta": openai._transcript_delta,
    "response.output_audio.delta": openai._audio_delta,
}


def openai_parser(frame: bytes) -> Parser:
    """The parser of this frame's type."""
    kind = json.loads(frame)["type"]
    if kind in _AT_ONCE:
        return _AT_ONCE[kind]
    parser: Parser = inspect.getclosurevars(openai._TRANSLATED[kind]).nonlocals["strict"]
    return parser


def gemini_parser(frame: bytes) -> Parser:
    """The one of all messages, and that of audio, which is text to the former."""
    return _gemini_audio if b'"inlineData"' in frame else gemini.read


def _gemini_audio(frame: bytes) -> None:
    content = gemini.read(frame).server_content
    assert content is not None
    assert content.model_turn is not None
    for part in content.model_turn.parts or ():
        if part.inline_data is not None:
            from_base64(part.inline_data.data or "")
