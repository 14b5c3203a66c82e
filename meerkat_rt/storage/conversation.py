"""One conversation as its writer has it in memory: the rules of a commit, without any storage."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from ..model import checks as check
from ..model.conversation import AssistantMessage
from ..model.delta_run import DeltaRun
from ..model.errors import InvalidRequest
from ..model.transcript import RealtimeTranscriptEvent
from ..runtime.ports import (
    StagedTranscript,
    StoredConversation,
    StoredMessage,
    TranscriptBatch,
)
from ..transcript import TranscriptAuthority
from ..transcript.increments import SettledText, canonical_item_ids, compare_settled_text
from .errors import StagedTextConflict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..model.delta_run import TranscriptEntry
    from ..model.transcript import RealtimeTranscriptApplyOutcome


_ENTRIES = frozenset((*get_args(RealtimeTranscriptEvent), DeltaRun))


class Conversation:
    """The state of the last batch that was taken in.

    `staged` is by item id, in stage order.
    """

    def __init__(
        self, authority: TranscriptAuthority, staged: Iterable[StagedTranscript] = ()
    ) -> None:
        self.authority = authority
        self.staged = {entry.item_id: entry for entry in staged}

    def check(self, batch: TranscriptBatch) -> list[StagedTranscript]:
        """Whether `batch` can be taken in, and what of its `stage` is new.  Changes nothing.

        Text that is settled already has been committed before and is not staged again.

        Raises:
            TypeError: something in it is no transcript event.
            StagedTextConflict: it contradicts what is staged or settled.
        """
        if not _ENTRIES.issuperset(map(type, batch.entries)):
            wrong = next(entry for entry in batch.entries if type(entry) not in _ENTRIES)
            raise TypeError(f"not a transcript event: {wrong!r}")
        fresh: dict[str, StagedTranscript] = {}
        removed = set(batch.unstage)
        for entry in batch.stage:
            present = fresh.get(entry.item_id)
            if present is None and entry.item_id not in removed:
                present = self.staged.get(entry.item_id)
            if present is not None:
                if present != entry:
                    raise _conflict(entry, "staged")
                continue
            match compare_settled_text(self.authority, entry.item_id, entry.append.text):
                case SettledText.UNSETTLED:
                    fresh[entry.item_id] = entry
                case SettledText.OTHER:
                    raise _conflict(entry, "settled")
        return list(fresh.values())

    def apply(self, entries: Iterable[TranscriptEntry]) -> list[StoredMessage]:
        """Take in events and runs of them; returns the messages that they make."""
        return [
            message
            for outcome in self.authority.apply_all(entries)
            for message in stored_messages(outcome)
        ]

    def unstage(self, batch: TranscriptBatch) -> list[str]:
        """Remove what `batch` removes; returns the ids of those that were there."""
        return [item_id for item_id in batch.unstage if self.staged.pop(item_id, None) is not None]

    def stage(self, fresh: Iterable[StagedTranscript]) -> None:
        """Add what `check` gave."""
        self.staged.update((entry.item_id, entry) for entry in fresh)


def stored_messages(outcome: RealtimeTranscriptApplyOutcome) -> list[StoredMessage]:
    """The messages of an outcome, each with its items: one a user's, else one a block."""
    item_ids = iter(outcome.materialized_messages)
    return [
        StoredMessage(
            message,
            [
                next(item_ids).item_id
                for _ in (message.blocks if isinstance(message, AssistantMessage) else (None,))
            ],
        )
        for message in outcome.messages
    ]


def _conflict(entry: StagedTranscript, how: str) -> StagedTextConflict:
    return StagedTextConflict(
        message=f"other text is {how} under the item id {entry.item_id!r}", item_id=entry.item_id
    )


def contradiction(
    authority: TranscriptAuthority, messages: Iterable[StoredMessage]
) -> tuple[int | None, str] | None:
    """What is wrong between a state and messages: the message, by number, and a sentence.

    Every item that has become part of the conversation is in one message, once, and no other is.
    """
    placed: dict[str, int] = {}
    for number, message in enumerate(messages, 1):
        for item_id in message.item_ids:
            if item_id in placed:
                return number, f"repeats the item {item_id!r}"
            placed[item_id] = number
    for item_id in canonical_item_ids(authority):
        if placed.pop(item_id, None) is None:
            return None, f"there is none for the item {item_id!r}"
    for item_id, number in placed.items():
        return number, f"the item {item_id!r} is not settled"
    return None


def adopted(conversation: StoredConversation, keep_heard_prefix: bool) -> Conversation:
    """What a writer of `conversation`, which comes from elsewhere, begins with.

    Raises:
        InvalidRequest: the messages are not those of the state.
        TranscriptStateError: the state is inconsistent.
        StagedTextConflict: what is staged contradicts itself or the state.
    """
    authority = TranscriptAuthority(conversation.state, keep_heard_prefix=keep_heard_prefix)
    problem = contradiction(authority, conversation.messages)
    if problem is not None:
        number, what = problem
        raise InvalidRequest(what if number is None else f"message {number}: {what}")
    ours = Conversation(authority)
    ours.stage(ours.check(TranscriptBatch(stage=conversation.staged)))
    return ours


def checked_session_id(session_id: str) -> str:
    """The id, if it can be the name of a session.

    Raises:
        InvalidRequest: it is no text or blank, or has half of a surrogate pair.
    """
    check.expect(session_id, str, "the session id", "a string")
    if not session_id.strip():
        raise InvalidRequest("a session id must not be blank")
    try:
        session_id.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(f"the session id {session_id!r} is not valid text") from None
    return session_id
