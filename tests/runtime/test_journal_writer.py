"""When the journal writer commits, and what becomes of a commit that the store breaks in."""

from __future__ import annotations

import attrs
import pytest
import trio

from meerkat_rt.model.conversation import StopReason, Usage, UserMessage
from meerkat_rt.model.transcript import (
    AppendRealtimeTranscript,
    AssistantTranscriptDelta,
    AssistantTurnCompleted,
    RealtimeTranscriptEvent,
    RealtimeTranscriptRole,
    TranscriptLane,
)
from meerkat_rt.runtime.errors import StoreUnusable
from meerkat_rt.runtime.guests import GuestJournal
from meerkat_rt.runtime.journal_writer import LINGER, JournalWriter
from meerkat_rt.runtime.ports import (
    RestoredConversation,
    StagedTranscript,
    StoredMessage,
    TranscriptBatch,
)
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


class Breaking(Journal):
    """A commit is refused when its time is up, as long as it is `broken`."""

    broken = True

    async def commit(self, batch: TranscriptBatch) -> tuple[StoredMessage, ...]:
        made = await super().commit(batch)
        if self.broken:
            raise OSError("the disk is on fire")
        return made


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


class Timed:
    """A writer with a timer, as a session has one."""

    def __init__(self, journal: Journal, patience: float) -> None:
        self.failures: list[Exception] = []
        self.announced: list[StoredMessage] = []
        self.looks = 0
        self.sleep = trio.CancelScope()
        self.writer = JournalWriter(
            GuestJournal(journal, patience),
            announce=self.announced.extend,
            failed=self.failures.append,
            rearmed=self.rearm,
            fetch=self.fetch,
        )
        self.kept: list[AssistantTranscriptDelta] = []

    def keep_back(self, text: str) -> None:
        self.kept.append(said(text))
        self.writer.keep_back()

    def fetch(self) -> None:
        kept, self.kept = self.kept, []
        self.writer.add(kept)

    def rearm(self) -> None:
        self.sleep.deadline = self.writer.look_at

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.writer.run)
            while True:
                with trio.CancelScope(deadline=self.writer.look_at) as self.sleep:
                    await trio.sleep_forever()
                self.looks += 1
                self.writer.look(trio.current_time())


async def timed(journal: Journal, nursery: trio.Nursery, patience: float) -> tuple[Timed, float]:
    """A writer that has nothing to do yet, and the time."""
    found = Timed(journal, patience)
    nursery.start_soon(found.run)
    await trio.testing.wait_all_tasks_blocked()
    return found, trio.current_time()


async def running(journal: Journal, nursery: trio.Nursery) -> tuple[JournalWriter, float]:
    found, start = await timed(journal, nursery, 30.0)
    return found.writer, start


async def recovers(found: Timed, journal: Journal) -> None:
    """What a commit that took too long was to write goes in with the next."""
    assert len(found.failures) == 1
    assert found.writer.unwritten == ("i",)
    journal.takes = 0.0
    found.writer.add([END])
    await found.writer.wait_written()
    assert journal.commits[-1][1] == ["a", "(the end)", "(the end)"]
    assert found.writer.unwritten == ()
    assert len(found.failures) == 1


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


async def test_words_that_are_kept_back_are_fetched_when_they_have_waited(nursery, autojump_clock):
    journal = Journal()
    found, start = await timed(journal, nursery, 30.0)
    for text in "abcd":
        found.keep_back(text)
        await trio.sleep(LINGER * 0.4)
    assert await since(start, journal) == [
        (LINGER, ["a", "b", "c"]),
        (LINGER * 2.2, ["d"]),
    ]
    nursery.cancel_scope.cancel()


async def test_they_come_with_what_is_added_next_or_is_waited_for(nursery, autojump_clock):
    journal = Journal()
    found, start = await timed(journal, nursery, 30.0)
    found.keep_back("a")
    await trio.sleep(LINGER * 0.8)
    found.writer.add([*found.kept, said("b")])
    found.kept.clear()
    await trio.sleep(LINGER)
    found.keep_back("c")
    await found.writer.wait_written()
    assert journal.commits[-1][1] == ["c"]
    assert (await since(start, journal))[0] == (LINGER, ["a", "b"])
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
    found = Timed(journal, 30.0)
    start = trio.current_time()
    found.writer.add([said("a")])
    nursery.start_soon(found.run)
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


async def test_words_behind_a_commit_wait_for_company_as_well(nursery, autojump_clock):
    journal = Journal(takes=LINGER / 5)
    writing, start = await running(journal, nursery)
    writing.add([END])
    await trio.sleep(LINGER / 10)
    writing.add([said("a")])
    await trio.sleep(LINGER / 5)
    writing.add([said("b")])
    assert await since(start, journal) == [(0.0, ["(the end)"]), (LINGER * 1.1, ["a", "b"])]
    nursery.cancel_scope.cancel()


async def test_a_session_that_says_much_is_looked_after_no_more_often(nursery, autojump_clock):
    journal = Journal()
    found, _ = await timed(journal, nursery, 30.0)
    answers = 100
    for _ in range(answers):
        found.writer.add([said("a")])
        await trio.sleep(LINGER / 50)
        found.writer.add([END])
        await trio.sleep(LINGER / 50)
    assert len(journal.commits) == answers
    assert 0 < found.looks <= answers * 2 / 50 + 1
    nursery.cancel_scope.cancel()


async def test_a_commit_whose_time_is_up_has_failed_and_the_next_has_its_own(
    nursery, autojump_clock
):
    journal = Journal(takes=2.0)
    found, start = await timed(journal, nursery, 3.0)
    found.writer.add([END])
    await trio.sleep(2.5)
    found.writer.add([END])  # while the deadline of the first has not passed
    await trio.sleep(3.0)
    assert found.failures == []
    journal.takes = 4.0
    found.writer.add([said("a"), END])
    await found.writer.wait_written()
    assert trio.current_time() == start + 5.5 + 3.0
    (failure,) = found.failures
    assert isinstance(failure, StoreUnusable)
    assert "longer than 3 s" in str(failure)
    await recovers(found, journal)
    nursery.cancel_scope.cancel()


async def test_a_commit_with_a_nursery_is_cut_like_any(nursery, autojump_clock):
    class Nursing(Journal):
        async def commit(self, batch: TranscriptBatch) -> tuple[StoredMessage, ...]:
            async with trio.open_nursery() as replicas:
                replicas.start_soon(super().commit, batch)
            return ()

    journal = Nursing(takes=4.0)
    found, _ = await timed(journal, nursery, 3.0)
    found.writer.add([said("a"), END])
    await trio.sleep(4)
    await recovers(found, journal)
    nursery.cancel_scope.cancel()


async def test_what_a_staged_text_takes_along_is_announced(nursery, autojump_clock):
    message = StoredMessage(UserMessage("hello"))

    class Once(Breaking):
        async def commit(self, batch: TranscriptBatch) -> tuple[StoredMessage, ...]:
            await super().commit(batch)
            return (message,) if batch.events else ()

    journal = Once()
    found, _ = await timed(journal, nursery, 3.0)
    found.writer.add([said("a"), END])
    await trio.testing.wait_all_tasks_blocked()
    assert len(found.failures) == 1
    assert found.writer.unwritten == ("i",)
    journal.broken = False
    await found.writer.stage(
        StagedTranscript(
            AppendRealtimeTranscript(
                item_id="u",
                text="later",
                role=RealtimeTranscriptRole.USER,
                lane=TranscriptLane.DISPLAY,
            )
        )
    )
    assert found.announced == [message]
    assert found.writer.unwritten == ()
    nursery.cancel_scope.cancel()


async def test_a_commit_that_goes_through_as_its_time_is_up_has_not_failed(nursery, autojump_clock):
    class Deaf(Journal):
        async def commit(self, batch: TranscriptBatch) -> tuple[StoredMessage, ...]:
            with trio.CancelScope(shield=True):
                return await super().commit(batch)

    journal = Deaf(takes=4.0)
    found, start = await timed(journal, nursery, 3.0)
    found.writer.add([END])
    await trio.sleep(3.5)
    found.writer.add([END])
    journal.takes = 0.0
    assert await since(start, journal) == [(0.0, ["(the end)"]), (4.0, ["(the end)"])]
    assert found.failures == []
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
