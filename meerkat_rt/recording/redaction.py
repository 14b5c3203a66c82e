"""What a recording keeps of what people said: lengths, shapes and digests, and no more.

The machine must take the same decisions on what is left, and some of its rules look at text: a text
may be empty, or begin with another, or be cut at a word.  So a character is replaced by one of its
kind: white space stays, a wide character (written without spaces) becomes another wide one, what
JSON escapes becomes something that it escapes to the same length, and all else becomes `x`.
Cutting, joining and quoting redacted text therefore gives the redacted form of the text cut,
joined, quoted.

Digests are keyed with bytes that are nowhere written down: within one file equal texts have equal
digests, and nobody can try guesses against them.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import attrs

from ..model.conversation import TextContent, ToolResult
from ..turn import ports

if TYPE_CHECKING:
    from ..model.conversation import JSON

_WIDE: Final = "〇"  # noqa: RUF001 - it is meant
_ANOTHER: Final = {"x": "y", _WIDE: "〆", '"': "\\", "\x01": "\x02"}
"""For each placeholder one of the same kind."""

_MAX_DEPTH: Final = 16  # of JSON whose shape is kept; nothing that a tool takes is as deep
_MAX_SEEN: Final = 256  # parts whose text is remembered; as many as the machine lets wait


def _placeholder(char: str) -> str:
    if "a" <= char <= "z" or "A" <= char <= "Z":
        return "x"
    if char.isspace() or char == "\b":
        return char
    if char in '"\\':
        return '"'
    if char < " ":
        return "\x01"
    return _WIDE if unicodedata.east_asian_width(char) in "WF" else "x"


class _Placeholders(dict[int, str]):
    """For `str.translate`; grows by one entry for each character in use."""

    def __missing__(self, code: int) -> str:
        made = self[code] = _placeholder(chr(code))
        return made


_PLACEHOLDERS: Final = _Placeholders()


def shape(text: str) -> str:
    """`text` with each character replaced by one of its kind.  The shape of a shape is itself."""
    return text.translate(_PLACEHOLDERS)


def json_shape(value: Any, depth: int = 0) -> JSON:
    """JSON of the same shape: numbers are 0, keys are numbered, strings all `x`."""
    if value is None:
        return None
    if isinstance(value, bool):
        return False
    if isinstance(value, int):
        return 0
    if isinstance(value, float):
        return 0.0
    if isinstance(value, str):
        return "x" * len(value)
    if depth >= _MAX_DEPTH:
        return None
    if isinstance(value, Mapping):
        return {f"k{i}": json_shape(each, depth + 1) for i, each in enumerate(value.values())}
    if isinstance(value, (list, tuple)):
        return [json_shape(each, depth + 1) for each in value]
    return None


def arguments_shape(text: str) -> str:
    """Text of a tool's arguments: JSON of the same shape, or something that is as little JSON."""
    if not text.strip():
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return "x" * len(text)
    return json.dumps(json_shape(value))


# ---------------------------------------------------------------- which field is what

_IDS: Final = frozenset(
    {
        "answerable", "call_id", "call_ids", "commits", "delta_id", "event_id", "id", "item_id",
        "item_ids", "known", "previous_item_id", "ref", "request_id", "response_id", "tool_use_id",
        "unsent", "waiting",
    }
)  # fmt: skip
_WORDS: Final = frozenset(
    {"by", "code", "command", "kind", "mime_type", "reason", "status", "tool_choice", "type"}
)
_WORD: Final = re.compile(r"[A-Za-z][A-Za-z0-9_./-]{0,63}")
_PLAIN: Final = frozenset({"delta", "text"})  # always what somebody said
_NAMES: Final = {
    ("ToolCalled", "name"), ("StartTool", "name"), ("SendToolOutput", "name"),
    ("Recollect", "name"), ("ToolSpec", "name"), ("ServerToolProgress", "name"),
}  # fmt: skip
_PARSED: Final = (
    "ToolCallRequested",
    "StartTool",
    "Recollect",
)  # in these they are no text
_OUTPUTS: Final = {
    ("ToolCallFinished", "output"), ("SendToolOutput", "output"), ("Recollect", "output"),
}  # fmt: skip

# What the machine says of unusable calls quotes them, or says where the fault was.
_QUOTING: Final = tuple(
    f'{{"error": "{text}' for text in ("the arguments are not JSON", "there is no tool named")
)


@functools.lru_cache(maxsize=256)
def _word(value: str) -> str:
    return value if _WORD.fullmatch(value) else "?" + "x" * (len(value) - 1)


class Shapes:
    """Leaves of redacted values, without digests: what two runs must have in common.

    `tools` are the names of tools that were configured; a name that the model made up is content.
    """

    def __init__(self) -> None:
        self.tools: set[str] = set()

    def text(self, owner: str, field: str, value: str) -> JSON:
        """Ids, words and known names as they are; anything else as its shape."""
        if field in _IDS or not value:
            return value
        if field in _PLAIN:
            return value.translate(_PLACEHOLDERS)
        if field in _WORDS:
            return _word(value)
        if (owner, field) in _NAMES or field == "tool_name":
            return value if value in self.tools else "?" + "x" * (len(value) - 1)
        if field == "arguments":
            return "x" * len(value) if owner in _PARSED else arguments_shape(value)
        if (owner, field) in _OUTPUTS:
            for start in _QUOTING:
                if value.startswith(start):
                    return start
        return shape(value)

    def data(self, value: bytes) -> JSON:
        """How much."""
        return {"$b": [len(value)]}

    def content(self, _owner: str, _field: str, value: Any) -> JSON:
        """The shape of JSON."""
        return json_shape(value)


class Redaction(Shapes):
    """Leaves of redacted inputs: as `Shapes`, with digests beside text and data."""

    def __init__(self, key: bytes) -> None:
        super().__init__()
        self._key = key

    def text(self, owner: str, field: str, value: str) -> JSON:
        """The placeholder of text, and its digest."""
        kept = super().text(owner, field, value)
        return kept if kept == value else self.replaced(value, str(kept))

    def replaced(self, value: str, placeholder: str) -> JSON:
        """`placeholder` in the place of `value`."""
        return {"$t": [placeholder, self._digest(value.encode("utf-8", "surrogatepass"))]}

    def data(self, value: bytes) -> JSON:
        """How much, and its digest."""
        return {"$b": [len(value), self._digest(value)]}

    def content(self, owner: str, field: str, value: Any) -> JSON:
        """As `Shapes`; a mapping is marked as one."""
        return _marked(super().content(owner, field, value))

    def _digest(self, data: bytes) -> str:
        return hashlib.blake2b(data, digest_size=6, key=self._key).hexdigest()


def _marked(value: JSON) -> JSON:
    if isinstance(value, dict):
        return {"$m": [[key, _marked(each)] for key, each in value.items()]}
    if isinstance(value, list):
        return [_marked(each) for each in value]
    return value


# ---------------------------------------------------------------- inputs


@attrs.define
class _Seen:
    """The text of one part so far, and what stands for it in the recording."""

    real: list[str] = attrs.field(factory=list)
    told: list[str] = attrs.field(factory=list)


class Texts:
    """Keeps the one relation between texts that shapes lose: whether one begins with another.

    A part's final text is compared with what its deltas said.  Where shapes agree and the texts do
    not, the placeholder of the final text gets another character of the same kind there.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str, int, bool], _Seen] = {}

    def delta(self, event: ports.TextDelta | ports.TranscriptDelta) -> None:
        """More text."""
        seen = self._part(event, spoken=type(event) is ports.TranscriptDelta)
        seen.real.append(event.delta)
        seen.told.append(shape(event.delta))

    def done(self, event: ports.TextDone | ports.TranscriptDone) -> str:
        """The placeholder of a final text."""
        spoken = type(event) is ports.TranscriptDone
        seen = self._part(event, spoken=spoken)
        real, told = "".join(seen.real), "".join(seen.told)
        begins = event.text.startswith(real)
        if begins:
            placeholder = told + shape(event.text[len(real) :])
        else:
            placeholder = shape(event.text)
            at = _common(event.text, real)
            if at < min(len(placeholder), len(told)) and placeholder[at] == told[at]:
                other = _ANOTHER.get(placeholder[at], placeholder[at])
                placeholder = placeholder[:at] + other + placeholder[at + 1 :]
        if begins or (spoken and event.text):
            seen.real, seen.told = [event.text], [placeholder]
        return placeholder

    def ended(self, response_id: str) -> None:
        """No more text of the response will come."""
        for key in [key for key in self._seen if key[0] == response_id]:
            del self._seen[key]

    def _part(self, event: Any, *, spoken: bool) -> _Seen:
        key = (event.response_id, event.item_id, event.content_index, spoken)
        seen = self._seen.get(key)
        if seen is None:
            if len(self._seen) >= _MAX_SEEN:
                del self._seen[next(iter(self._seen))]
            seen = self._seen[key] = _Seen()
        return seen


def _common(one: str, other: str) -> int:
    """The length of what both begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


def simplified(result: ToolResult) -> ToolResult:
    """A tool's result as the machine sees it: text."""
    return attrs.evolve(result, content=(TextContent(result.text_content()),))
