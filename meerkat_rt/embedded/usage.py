"""Plausible token counts.

Sources: the vendor's rule for audio (a user's audio is one token per 100 ms, an assistant's one per
50 ms); text at the usual four characters a token.  The numbers add up and grow as real ones do;
they are not a bill.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .items import Item

CHARACTERS_PER_TOKEN = 4
INPUT_AUDIO_RATE = 10.0  # tokens a second
OUTPUT_AUDIO_RATE = 20.0
TOKENS_PER_ITEM = 4  # what separates one item from the next
TOKENS_PER_IMAGE = 255
CACHE_STEP = 64  # prompts are cached in blocks
RATE_LIMIT = 250_000  # tokens a minute, as rate_limits.updated reports them


def text_tokens(text: str) -> int:
    """About how many tokens a text takes."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


@attrs.frozen(kw_only=True)
class Tokens:
    """A number of tokens of each kind."""

    text: int = 0
    audio: int = 0
    image: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(
            text=self.text + other.text,
            audio=self.audio + other.audio,
            image=self.image + other.image,
        )

    @property
    def total(self) -> int:
        """All kinds together."""
        return self.text + self.audio + self.image

    def cached_from(self, earlier: Tokens) -> Tokens:
        """What of this prompt a cache of the earlier one would give."""
        return Tokens(
            text=min(self.text, earlier.text) // CACHE_STEP * CACHE_STEP,
            audio=min(self.audio, earlier.audio) // CACHE_STEP * CACHE_STEP,
        )

    @property
    def wire(self) -> dict[str, int]:
        """The counts as the protocol spells them."""
        return {
            "text_tokens": self.text,
            "audio_tokens": self.audio,
            "image_tokens": self.image,
        }


def prompt_tokens(
    items: Iterable[Item], instructions: str, tools: Iterable[Mapping[str, Any]]
) -> Tokens:
    """What a model would read before it answers."""
    total = Tokens(text=text_tokens(instructions) + sum(text_tokens(str(tool)) for tool in tools))
    for item in items:
        total += Tokens(text=TOKENS_PER_ITEM)
        for value in item.extra.values():
            total += Tokens(text=text_tokens(str(value)))
        for part in item.parts:
            rate = OUTPUT_AUDIO_RATE if item.role == "assistant" else INPUT_AUDIO_RATE
            total += Tokens(
                text=text_tokens(part.text or ""),
                audio=int(part.seconds * rate),
                image=TOKENS_PER_IMAGE if part.image_url else 0,
            )
    return total


def usage(prompt: Tokens, cached: Tokens, output: Tokens) -> dict[str, Any]:
    """The `usage` object of a response."""
    return {
        "total_tokens": prompt.total + output.total,
        "input_tokens": prompt.total,
        "output_tokens": output.total,
        "input_token_details": {
            **prompt.wire,
            "cached_tokens": cached.total,
            "cached_tokens_details": cached.wire,
        },
        "output_token_details": {"text_tokens": output.text, "audio_tokens": output.audio},
    }


def rate_limits(used: int) -> list[dict[str, Any]]:
    """The `rate_limits` list after a response that took so many tokens."""
    return [
        {
            "name": "tokens",
            "limit": RATE_LIMIT,
            "remaining": max(RATE_LIMIT - used, 0),
            "reset_seconds": round(used * 60 / RATE_LIMIT, 3),
        }
    ]
