"""Runs of deltas: how a session carries what it has thousands of a minute of."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, final

from .transcript import AssistantTextDelta, AssistantTranscriptDelta, RealtimeTranscriptEvent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@final
class DeltaRun:
    """Deltas of one piece of text that followed each other, as one entry.

    It stands for as many events of the class `kind`, in this order; iterating gives them.  What
    they share is here once; `delta_ids` and `deltas` are as long as each other, and never empty.
    No value of the vocabulary: whoever makes a run adds to it until it is handed on, and nobody
    does afterwards.
    """

    __slots__ = (
        "_plain",
        "content_index",
        "delta_ids",
        "deltas",
        "item_id",
        "kind",
        "previous_item_id",
        "response_id",
    )

    def __init__(
        self,
        kind: type[AssistantTextDelta | AssistantTranscriptDelta],
        *,
        response_id: str,
        item_id: str,
        previous_item_id: str | None,
        content_index: int,
        delta_ids: list[str],
        deltas: list[str],
    ) -> None:
        self.kind = kind
        self.response_id = response_id
        self.item_id = item_id
        self.previous_item_id = previous_item_id
        self.content_index = content_index
        self.delta_ids = delta_ids
        self.deltas = deltas
        self._plain: bool | None = None

    @classmethod
    def of(cls, delta: AssistantTextDelta | AssistantTranscriptDelta) -> DeltaRun:
        """A run that is as yet this delta alone."""
        return cls(
            delta.__class__,
            response_id=delta.response_id,
            item_id=delta.item_id,
            previous_item_id=delta.previous_item_id,
            content_index=delta.content_index,
            delta_ids=[delta.delta_id],
            deltas=[delta.delta],
        )

    @property
    def plain(self) -> bool:
        """Whether every delta has text, and an id of its own that is not blank.

        Found out once, by the first who asks; nothing is added afterwards.
        """
        if self._plain is None:
            ids = self.delta_ids
            self._plain = (
                all(self.deltas) and all(map(str.strip, ids)) and len(set(ids)) == len(ids)
            )
        return self._plain

    def __len__(self) -> int:
        return len(self.deltas)

    def __iter__(self) -> Iterator[AssistantTextDelta | AssistantTranscriptDelta]:
        for delta_id, delta in zip(self.delta_ids, self.deltas, strict=True):
            yield self.kind(
                response_id=self.response_id,
                delta_id=delta_id,
                item_id=self.item_id,
                previous_item_id=self.previous_item_id,
                content_index=self.content_index,
                delta=delta,
            )


TranscriptEntry: TypeAlias = RealtimeTranscriptEvent | DeltaRun
"""One of the nine events, or a run that stands for several."""


def one_by_one(entries: Iterable[TranscriptEntry]) -> Iterator[RealtimeTranscriptEvent]:
    """The events of entries: each run gives its own."""
    for entry in entries:
        if isinstance(entry, DeltaRun):
            yield from entry
        else:
            yield entry
