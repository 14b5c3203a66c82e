"""The playback ledger: of each spoken part, what was generated, delivered, and heard.

Models speak faster than they are played, so what an interruption cuts is decided by what was heard.
The application may report its position; until it ever does, the position is estimated: what was
delivered plays in order and in real time, without gaps of our own.
"""

from __future__ import annotations

import unicodedata
from enum import Enum, auto
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Collection

    from ..model.media import RealtimeAudioFormat

MAX_PARTS = 256  # parts of speech that wait to be heard; past that the oldest counts as heard


@attrs.define(eq=False)
class Part:
    """One spoken content part.  Counts are bytes of the output format.

    Invariant: `heard <= received`, `delivered <= received`, and none ever decreases.
    """

    response_id: str
    item_id: str
    content_index: int
    received: int = 0
    delivered: int = 0
    heard: float = 0.0
    done: bool = False  # no more audio will come
    cut: bool = False  # what was not heard will not be
    deltas: list[str] = attrs.field(factory=list)
    odd: bytes = b""  # the beginning of a sample, until the rest of it comes

    @property
    def text(self) -> str:
        """What it says, as far as known."""
        if len(self.deltas) > 1:
            self.deltas = ["".join(self.deltas)]
        return self.deltas[0] if self.deltas else ""

    @property
    def unheard(self) -> bool:
        """Some of the received audio has not been heard."""
        return not self.cut and self.heard < self.received


class Verdict(Enum):
    """What a barge-in does to a part."""

    KEEP = auto()
    TRUNCATE = auto()
    DELETE = auto()


@attrs.frozen(kw_only=True)
class Cut:
    """One step of a plan: `played_ms` of the part were heard, which say `text`."""

    verdict: Verdict
    part: Part
    played_ms: int
    text: str


class PlaybackLedger:
    """Parts in the order in which they are played.

    Invariants: no part of the ledger is `cut`; `taken`, the part that the application took last, is
    one of them or None.
    """

    def __init__(self, fmt: RealtimeAudioFormat) -> None:
        self.format = fmt
        self._rate = fmt.bytes_per_second
        self._parts: dict[tuple[str, int], Part] = {}
        self._played_until = 0.0
        # The part that the application takes, when it last did, and until when what it has taken
        # plays, with all that plays before it: what joins it until then need not move the position.
        self.taken: Part | None = None
        self._taken_at = 0.0
        self._taken_until = 0.0
        self.reported = False  # the application tells where it is; nothing is estimated any more

    def __len__(self) -> int:
        return len(self._parts)

    def add(self, part: Part) -> Part | None:
        """Enter a new part; returns the part that had to go for it, if any, which counts as heard.

        There may be too many, or two responses may claim one item.
        """
        gone = self.get(part.item_id, part.content_index)
        if gone is None and len(self._parts) >= MAX_PARTS:
            gone = next(iter(self._parts.values()))
        if gone is not None:
            self.remove(gone)
            gone.cut = True
        self._parts[part.item_id, part.content_index] = part
        return gone

    def get(self, item_id: str, content_index: int) -> Part | None:
        """The part, while it may still be cut."""
        return self._parts.get((item_id, content_index))

    def remove(self, part: Part) -> None:
        """Forget the part; harmless if it is not there."""
        key = (part.item_id, part.content_index)
        if self._parts.get(key) is part:
            self.advance(self._taken_at)  # what it has played until then, no other part plays
            del self._parts[key]
            self.taken = None

    def ms(self, n_bytes: float) -> int:
        """Whole milliseconds of that much audio."""
        return int(n_bytes * 1000 / self._rate + 1e-6)

    # ---------------------------------------------------------------- the position

    def advance(self, now: float) -> None:
        """Let the estimated position move on to `now`."""
        elapsed = now - self._played_until
        if elapsed <= 0:
            return
        self._played_until = now
        if self.reported:
            return
        budget = elapsed * self._rate
        for part in self._parts.values():
            left = part.delivered - part.heard
            if left <= 0:
                continue
            # Within a byte is all of it: times are floats.
            if budget + 1.0 >= left:
                part.heard = float(part.delivered)
                budget = max(0.0, budget - left)
            else:
                part.heard += budget
                return

    def deliver(self, part: Part, n_bytes: int, now: float) -> None:
        """The application took that much of the part."""
        if part is not self.taken or now >= self._taken_until:
            self.advance(now)
            self.taken = part
            self._taken_until = now + self._waiting(part) / self._rate
        left = part.received - part.delivered
        if n_bytes > left:
            n_bytes = left
        part.delivered += n_bytes
        self._taken_at = now
        self._taken_until += n_bytes / self._rate

    def more(self, item_id: str, content_index: int, n_bytes: int, now: float) -> bool:
        """`deliver`, if it is that simple, as it is for nearly all of a burst.

        That is: more of the part that was taken last and still plays, of which something is left to
        be taken, and to be heard.  False: it is not, and nothing has happened.
        """
        part = self.taken
        if (
            part is not None
            and now < self._taken_until
            and part.item_id == item_id
            and part.content_index == content_index
            and (delivered := part.delivered + n_bytes) < (received := part.received)
            and part.heard < received
        ):
            part.delivered = delivered
            self._taken_at = now
            self._taken_until += n_bytes / self._rate
            return True
        return False

    def _waiting(self, last: Part) -> float:
        """Bytes that the application has and that are still to be played, up to those of `last`."""
        waiting = 0.0
        for part in self._parts.values():
            waiting += part.delivered - part.heard
            if part is last:
                break
        return waiting

    def skip(self, part: Part, n_bytes: int, now: float) -> None:
        """That much of the part was dropped and will never be played."""
        self.advance(now)
        self.taken = None
        part.delivered = min(part.received, part.delivered + n_bytes)
        part.heard = max(part.heard, min(float(part.delivered), part.heard + n_bytes))

    def report(self, part: Part, played_ms: int, now: float) -> None:
        """The application says how much of the part was played.

        What comes before it was played, too.
        """
        self.advance(now)
        self.reported = True
        self.taken = None
        for earlier in self._parts.values():
            if earlier is part:
                break
            earlier.heard = float(earlier.received)
        heard = float(part.received)
        if played_ms < int(self.format.duration_ms(part.received)):
            heard = min(heard, played_ms * self._rate / 1000)
        part.heard = max(part.heard, heard)

    def heard_at(self, last: Part, now: float) -> float | None:
        """When everything up to and including `last` will have been heard.

        None if that is not known.
        """
        if self.reported:
            return None
        self.advance(now)
        if not last.cut and last.delivered < last.received:
            return None  # as the walk below would find, at its end
        waiting = 0.0
        for part in self._parts.values():
            if part.delivered < part.received:
                return None
            waiting += part.delivered - part.heard
            if part is last:
                return now + waiting / self._rate
        return None

    # ---------------------------------------------------------------- cutting

    def plan(self, response_ids: Collection[str], now: float) -> list[Cut]:
        """What an interruption of these responses means for each part of theirs, in playback order.

        An item none of which was heard is deleted; a part that is still being made ends where it
        was heard, however little of it waits here, because the provider may have made more.
        """
        self.advance(now)
        parts = [part for part in self._parts.values() if part.response_id in response_ids]
        heard_items = {part.item_id for part in parts if self.ms(part.heard) > 0}
        cuts = []
        for part in parts:
            played_ms = self.ms(part.heard)
            if part.done and not part.unheard and part.received:
                verdict = Verdict.KEEP
            elif part.item_id in heard_items:
                verdict = Verdict.TRUNCATE
            else:
                verdict = Verdict.DELETE
            cuts.append(
                Cut(
                    verdict=verdict,
                    part=part,
                    played_ms=played_ms,
                    text=heard_text(part.text, part.heard, part.received),
                )
            )
        return cuts

    def cut_at(self, part: Part, played_ms: int) -> Cut:
        """The explicit truncation of one part, clamped to what was received."""
        heard = min(played_ms * self._rate / 1000, float(part.received))
        return Cut(
            verdict=Verdict.TRUNCATE,
            part=part,
            played_ms=self.ms(heard),
            text=heard_text(part.text, heard, part.received),
        )


def heard_text(text: str, heard: float, received: float) -> str:
    """The prefix of `text` that was heard, ending at a word.

    It is proportional to the audio, since no alignment is known.  More heard never gives less text.
    """
    if heard >= received:
        return text if received else ""
    end = int(len(text) * heard / received)
    while end > 0 and not _is_boundary(text, end):
        end -= 1
    return text[:end].rstrip()


def _is_boundary(text: str, index: int) -> bool:
    before, after = text[index - 1], text[index]
    # Scripts that are written without spaces are wide; a character of theirs is as good as a word.
    return before.isspace() or after.isspace() or unicodedata.east_asian_width(before) in "WF"
