"""What a connection was agreed on beforehand, and the server's smaller messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from ..quirks import Quirks

if TYPE_CHECKING:
    from ..usage import Tokens

Message = dict[str, Any]


@attrs.frozen(kw_only=True)
class Terms:
    """What a session is under, whatever its `setup` says; times in seconds.

    `vertex`: it came in by the address of Google Cloud.  `models` are those that exist (None: any).
    `share` is how much of the time that a piece takes to send a client spends playing it.  The
    connection ends at the age of `connection_seconds`, and says so `go_away_seconds` before.
    """

    vertex: bool = False
    models: frozenset[str] | None = None
    voice: str = "Puck"
    hears_words: bool = False
    quirks: Quirks = attrs.field(factory=Quirks)
    share: float = 1.0
    setup_seconds: float = 10.0
    connection_seconds: float = 600.0
    go_away_seconds: float = 60.0


def offset(milliseconds: float) -> str:
    """A time as the protocol writes it."""
    return f"{milliseconds / 1000:.3f}s"


def usage_of(prompt: Tokens, output: Tokens, *, vertex: bool) -> Message:
    """What a turn has cost so far.  Google Cloud has other names for the answer's part."""
    answer = "candidates" if vertex else "response"
    return {
        "promptTokenCount": prompt.total,
        f"{answer}TokenCount": output.total,
        "totalTokenCount": prompt.total + output.total,
        "promptTokensDetails": _details(prompt),
        f"{answer}TokensDetails": _details(output),
    }


def _details(tokens: Tokens) -> list[Message]:
    counts = {"TEXT": tokens.text, "AUDIO": tokens.audio, "IMAGE": tokens.image}
    return [{"modality": kind, "tokenCount": count} for kind, count in counts.items() if count]


def resumption(handle: str | None, last_consumed: int | None) -> Message:
    """From where the session can be resumed; what is false or nothing is left out."""
    update: Message = {}
    if handle is not None:
        update = {"newHandle": handle, "resumable": True}
    if handle is not None and last_consumed is not None:
        update["lastConsumedClientMessageIndex"] = str(last_consumed)  # 64 bits
    return {"sessionResumptionUpdate": update}
