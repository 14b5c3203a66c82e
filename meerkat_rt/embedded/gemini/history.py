"""What was said in a session, as a brain sees it, with the tokens that it takes.

Entries are values: a snapshot is cheap, and what is kept for a resumption never changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import attrs
import msgspec

from ..brain import BrainCall, BrainEntry, BrainMessage, BrainOutput
from ..usage import TOKENS_PER_IMAGE, TOKENS_PER_ITEM, Tokens, text_tokens

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

AUDIO_RATE = 25.0  # tokens a second, heard and spoken; the vendor quotes 25 and 32


@attrs.frozen(kw_only=True)
class Remembered:
    """One entry.  `id` is that of the user's turn, for what is heard later."""

    entry: BrainEntry
    tokens: Tokens
    id: str = ""


Snapshot = tuple[Remembered, ...]


def remembered(entry: BrainEntry, *, id: str = "", images: int = 0) -> Remembered:  # noqa: A002
    """An entry with the tokens that it takes."""
    match entry:
        case BrainMessage(text=text, speech_seconds=seconds):
            written = 0 if seconds else text_tokens(text)
            tokens = Tokens(text=TOKENS_PER_ITEM + written, audio=int(seconds * AUDIO_RATE))
        case BrainCall(name=name, arguments=arguments):
            tokens = Tokens(text=TOKENS_PER_ITEM + text_tokens(name + arguments))
        case BrainOutput(output=output):
            tokens = Tokens(text=TOKENS_PER_ITEM + text_tokens(output))
    return Remembered(entry=entry, tokens=tokens + Tokens(image=images * TOKENS_PER_IMAGE), id=id)


class History:
    """The entries in order."""

    def __init__(self, entries: Iterable[Remembered] = ()) -> None:
        self._entries = list(entries)
        self.tokens = sum((each.tokens for each in self._entries), Tokens())

    def add(self, each: Remembered) -> None:
        """Append one."""
        self._entries.append(each)
        self.tokens += each.tokens

    def heard(self, turn_id: str, text: str) -> None:
        """The words of a user's turn are known."""
        # Searched from the end: it is nearly always one of the last few.
        for index in range(len(self._entries) - 1, -1, -1):
            each = self._entries[index]
            if each.id == turn_id and isinstance(each.entry, BrainMessage):
                entry = attrs.evolve(each.entry, text=text)
                self._entries[index] = attrs.evolve(each, entry=entry)
                return

    def snapshot(self) -> Snapshot:
        """All entries, as a value."""
        return tuple(self._entries)

    @property
    def entries(self) -> tuple[BrainEntry, ...]:
        """What a brain gets to see."""
        return tuple(each.entry for each in self._entries)

    def cut(self, target: int) -> None:
        """Forget the oldest entries until at most `target` tokens remain, from a user's turn on."""
        dropped = 0
        total = self.tokens
        for index, each in enumerate(self._entries):
            user = isinstance(each.entry, BrainMessage) and each.entry.role == "user"
            if total.total <= target and user:
                break
            dropped = index + 1
            total = Tokens(
                text=total.text - each.tokens.text,
                audio=total.audio - each.tokens.audio,
                image=total.image - each.tokens.image,
            )
        del self._entries[:dropped]
        self.tokens = total


def json_text(value: Any) -> str:
    """JSON as text."""
    return msgspec.json.encode(value).decode()


def contents(turns: Sequence[Mapping[str, Any]]) -> list[Remembered]:
    """The entries that a client's contents stand for."""
    out: list[Remembered] = []
    for content in turns:
        role: Literal["assistant", "user"] = (
            "assistant" if content.get("role") == "model" else "user"
        )
        texts: list[str] = []
        images = 0
        for part in content.get("parts", ()):
            if part.get("text") and not part.get("thought"):
                texts.append(part["text"])
            images += "inlineData" in part or "fileData" in part
            if (call := part.get("functionCall")) is not None:
                out.append(
                    remembered(
                        BrainCall(
                            call_id=call.get("id", ""),
                            name=call.get("name", ""),
                            arguments=json_text(call.get("args", {})),
                        )
                    )
                )
            if (answer := part.get("functionResponse")) is not None:
                output = json_text(answer.get("response", {}))
                out.append(remembered(BrainOutput(call_id=answer.get("id", ""), output=output)))
        if texts or images:
            message = BrainMessage(role=role, text="\n".join(texts))
            out.append(remembered(message, images=images))
    return out
