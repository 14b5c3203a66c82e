"""When the journal writer commits, and what becomes of a commit that the store breaks in."""

from __future__ import annotations

import attrs
import pytest
import trio

from meerkat_rt.model.conversation import StopReason, Usage
from meerkat_rt.model.transcript import (
    AssistantTranscriptDelta,
    AssistantTurnCompleted,
    RealtimeTranscriptEvent,
)
from meerkat_rt.runtime.errors import StoreUnusable
from meerkat_rt.runtime.guests import GuestJournal
from meerkat_rt.runtime.journal_writer import LINGER, JournalWriter
from meerkat_rt.runtime.ports import RestoredConversation, StoredMessage, TranscriptBatch
from meerkat_rt.transcript import TranscriptAuthority


@attrs.define
class Journal:
    """Notes when it is told of what; a commit takes `takes` seconds."""

    takes: float = 0.0
    commits: list[tuple[float, list[str]]] = attrs.field(factory=list)
    restored: RestoredConversation = attrs.field(
        factory=lambda: RestoredConversation(authority=TranscriptAuthority())
    )

    async def commit(self, batch: TranscriptBatch) -> tuple[StoredMessage, ...]:
        """As `SessionJournal.commit`."""
        self.commits.append((trio.current_time(), list(map(words, batch.events))))
        await trio.sleep(self.takes)
        return ()


def words(event: RealtimeTranscriptEvent) -> str:
    return event.delta if isinstance(event, AssistantTranscriptDelta) else "(the end)"


def said(text: str) -> AssistantTranscriptDelta:
    return AssistantTranscriptDelta(
        response_id="r",
        delta_id=f"d_{text}",
        item_id="i",
        previous_item_id=None,
        content_index=0,
        delta=text,
    )


END = AssistantTurnCompleted(response_id="r", stop_reason=StopReason.END_TURN, usage=Usage())


def writer(journal: Journal) -> JournalWriter:
    def failed(error: Exception) -> None:
        raise error

    return JournalWriter(journal, announce=list, failed=failed)


async def running(journal: Journal, nursery: trio.Nursery) -> tuple[JournalWriter, float]:
    """A writer that has nothing to do yet, and the time."""
    writing = writer(journal)
    nursery.start_soon(writing.run)
    await trio.testing.wait_all_tasks_blocked()
    return writing, trio.current_time()


async def since(start: float, journal: Journal) -> list[tuple[float, list[str]]]:
    await trio.sleep(10)
    return [(pytest.approx(at - start), what) for at, what in journal.commits]


async def test_words_wait_for_company_and_no_longer_than_the_first_may(nursery, autojump_clock):
    journal = Journal()
    writing, start = await running(journal, nursery)
    for text in "abcd":
        writing.add([said(text)])
        await trio.sleep(LINGER * 0.4)
    assert await since(start, journal) == [
        (LINGER, ["a", "b", "c"]),
        (LINGER * 2.2, ["d"]),
    ]
    nursery.cancel_scope.cancel()


async def test_the_end_of_an_answer_is_written_at_once_with_what_waited(nursery, autojump_clock):
    journal = Journal()
    writing, start = await running(journal, nursery)
    writing.add([said("a")])
    await trio.sleep(LINGER / 2)
    writing.add([END])
    assert await since(start, journal) == [(LINGER / 2, ["a", "(the end)"])]
    nursery.cancel_scope.cancel()


async def test_what_was_said_before_it_runs_is_written_soon(nursery, autojump_clock):
    journal = Journal()
    writing = writer(journal)
    start = trio.current_time()
    writing.add([said("a")])
    nursery.start_soon(writing.run)
    assert await since(start, journal) == [(LINGER, ["a"])]
    nursery.cancel_scope.cancel()


async def test_what_is_said_during_a_commit_goes_in_with_the_next(nursery, autojump_clock):
    journal = Journal(takes=1.0)
    writing, start = await running(journal, nursery)
    writing.add([END])
    await trio.sleep(0.5)
    writing.add([said("a")])
    writing.add([said("b")])
    assert await since(start, journal) == [(0.0, ["(the end)"]), (1.0, ["a", "b"])]
    nursery.cancel_scope.cancel()


async def test_a_close_does_not_wait_for_company(nursery, autojump_clock):
    journal = Journal()
    writing, start = await running(journal, nursery)
    writing.add([said("a")])
    await writing.wait_written()
    assert trio.current_time() == start
    assert writing.unwritten == ()
    assert journal.commits == [(start, ["a"])]
    nursery.cancel_scope.cancel()


class Breaking(Journal):
    """A commit is refused when its time is up, as long as it is `broken`."""

    broken = True

    async def commit(self, batch: TranscriptBatch) -> tuple[StoredMessage, ...]:
        made = await super().commit(batch)
        if self.broken:
            raise OSError("the disk is on fire")
        return made


async def test_of_commits_that_fail_side_by_side_nothing_is_forgotten(nursery, autojump_clock):
    store = Breaking(takes=1.0)
    journal = GuestJournal(store, patience=30.0)

    async def commit(*events: RealtimeTranscriptEvent) -> None:
        with pytest.raises(StoreUnusable):
            await journal.commit(TranscriptBatch(events=events))

    nursery.start_soon(commit, said("a"))
    await trio.sleep(0.5)
    nursery.start_soon(commit)  # such as a text that is staged meanwhile
    await trio.sleep(1.2)
    nursery.start_soon(commit)  # has what failed with it
    await trio.sleep(0.1)
    nursery.start_soon(commit, said("b"))
    await trio.sleep(0.7)
    store.takes = 2.0
    nursery.start_soon(commit)  # has "a", and fails after "b" has
    await trio.sleep(5)
    store.broken = False
    await journal.commit(TranscriptBatch(events=[said("c")]))
    assert store.commits[-1][1] == ["a", "b", "c"]
    await journal.commit(TranscriptBatch(events=[said("d")]))
    assert store.commits[-1][1] == ["d"]
