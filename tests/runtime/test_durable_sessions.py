"""A session with a store: durable before announced, staged before acknowledged."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from runtimekit import (
    EXPLICIT,
    linger,
    meeting,
    of,
    one_turn,
    open_config,
    provider,
    rest,
    serving,
    take,
    welcoming,
)

from meerkat_rt import (
    Conversation,
    RealtimeTextChunk,
    SessionLimits,
    SystemMessage,
    errors,
    open_session,
)
from meerkat_rt.model import events as ev
from meerkat_rt.model.delta_run import one_by_one
from meerkat_rt.runtime.journal_writer import LINGER
from meerkat_rt.runtime.ports import StoredMessage, TranscriptBatch
from meerkat_rt.storage import MemoryStore, StoreFull, StoreReadOnly, resume_config
from meerkat_rt.testing import Trial, cancel_everywhere
from meerkat_rt.testing.openai_peer import OpenAIPeer, openai_peer
from meerkat_rt.transcript import TranscriptAuthority


class Slow(MemoryStore):
    """A store whose commits wait for `gate`, and fail with `failure` while there is one."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = trio.Event()
        self.failure: errors.LlmError | None = None
        self.commits: list[TranscriptBatch] = []

    @asynccontextmanager
    async def open(self, session_id: str, **options: Any) -> AsyncIterator[Any]:
        async with super().open(session_id, **options) as journal:
            yield _SlowJournal(self, journal)


class _SlowJournal:
    def __init__(self, store: Slow, journal: Any) -> None:
        self._store = store
        self._journal = journal
        self._kept: list[TranscriptBatch] = []
        self.restored = journal.restored

    async def commit(self, batch: TranscriptBatch) -> tuple[StoredMessage, ...]:
        self._store.commits.append(batch)
        await self._store.gate.wait()
        self._kept.append(batch)
        if self._store.failure is not None:
            raise self._store.failure
        made: tuple[StoredMessage, ...] = ()
        for kept in self._kept:
            made += await self._journal.commit(kept)
        self._kept.clear()
        return made


async def test_a_message_is_announced_when_it_is_durable_and_not_before(
    autojump_clock: trio.abc.Clock,
) -> None:
    store = Slow()
    async with serving(welcoming(one_turn)) as server:
        async with open_session(
            open_config(), provider=provider(server.wire.client), store=store
        ) as session:
            await session.send_input(RealtimeTextChunk("hello"))
            read = await take(session, ev.TurnCompleted)
            assert not any(isinstance(event, ev.MessageCommitted) for event in read)
            assert session.transcript == ()
            store.gate.set()
            read = await take(session, ev.MessageCommitted, ev.MessageCommitted)
            committed = of(read, ev.MessageCommitted)
            said = [event.message.text_content() for event in committed]
            assert said == ["hello", "Good morning."]
            assert [message.text_content() for message in session.transcript] == said
            name = session.conversation_id
        assert name is not None
        stored = await store.read(name)
    assert [entry.message.text_content() for entry in stored.messages] == said
    assert session.closed is not None
    assert session.closed.uncommitted_items == ()


async def test_the_close_waits_for_the_journal_within_its_grace_and_names_what_is_missing(
    autojump_clock: trio.abc.Clock,
) -> None:
    store = Slow()
    async with serving(welcoming(one_turn)) as server:
        async with open_session(
            open_config(),
            provider=provider(server.wire.client),
            store=store,
            limits=SessionLimits(store_grace=3.0),
        ) as session:
            await session.send_input(RealtimeTextChunk("hello"))
            await take(session, ev.TurnCompleted)
            start = trio.current_time()
        assert trio.current_time() - start == pytest.approx(3.0, abs=0.3)
    assert session.closed is not None
    assert len(session.closed.uncommitted_items) == 2
    assert session.closed.uncommitted_items[0].startswith("mk_text_")


async def test_a_close_flushes_what_a_working_store_can_still_take(
    autojump_clock: trio.abc.Clock,
) -> None:
    store = MemoryStore()
    async with serving(welcoming(one_turn)) as server:
        async with open_session(
            open_config(), provider=provider(server.wire.client), store=store
        ) as session:
            await session.send_input(RealtimeTextChunk("hello"))
            await take(session, ev.TurnCompleted)
        read = await rest(session)
    assert isinstance(read[-1], ev.SessionClosed)
    assert len(session.transcript) == 2
    (entry,) = await store.sessions()
    assert entry.messages == 2


async def test_a_store_that_fails_ends_the_session_with_its_error_unless_told_otherwise(
    autojump_clock: trio.abc.Clock,
) -> None:
    store = Slow()
    store.gate.set()
    store.failure = StoreReadOnly(message="nothing can be written", path="x.db")
    async with serving(welcoming(one_turn), client_may_leave=True) as server:
        with pytest.raises(StoreReadOnly):
            async with open_session(
                open_config(), provider=provider(server.wire.client), store=store
            ) as session:
                await session.send_input(RealtimeTextChunk("hello"))
                read = []
                while True:
                    read.append(await session.next_event())
    assert isinstance(read[-1], ev.SessionClosed)
    assert read[-1].reason.by is ev.ClosedBy.RUNTIME
    assert "nothing can be written" in read[-1].reason.text
    assert not any(isinstance(event, ev.MessageCommitted) for event in read)


async def test_going_on_in_memory_says_so_and_catches_up_when_the_store_recovers(
    autojump_clock: trio.abc.Clock,
) -> None:
    async def script(peer: OpenAIPeer) -> None:
        for text in ("Good morning.", "Again."):
            await peer.item_created(await peer.expect("conversation.item.create"))
            await peer.text_response(text, await peer.expect("response.create"))
        await peer.linger()

    store = Slow()
    store.gate.set()
    store.failure = StoreFull(message="the disk is full")
    kept = Conversation(store=store, id="talk", on_failure="continue")
    async with serving(welcoming(script)) as server:
        async with open_session(
            open_config(), provider=provider(server.wire.client), store=kept
        ) as session:
            await session.send_input(RealtimeTextChunk("hello"))
            failed = (await take(session, ev.StoreFailed))[-1]
            assert failed.retryable
            assert "disk is full" in failed.message
            store.failure = None
            await session.send_input(RealtimeTextChunk("are you there?"))
            await take(session, *[ev.MessageCommitted] * 4)
            assert session.conversation_id == "talk"
    assert [message.text_content() for message in session.transcript] == [
        "hello",
        "Good morning.",
        "are you there?",
        "Again.",
    ]


async def test_staged_text_is_durable_before_it_is_acknowledged_and_invisible_until_committed(
    autojump_clock: trio.abc.Clock,
) -> None:
    async def script(peer: OpenAIPeer) -> None:
        await peer.expect_silence(5)
        await peer.item_created(await peer.expect("conversation.item.create"))
        await peer.text_response("Yes.", await peer.expect("response.create"))
        await peer.linger()

    store = MemoryStore()
    kept = Conversation(store=store, id="talk")
    async with serving(welcoming(script)) as server:
        async with open_session(
            open_config(EXPLICIT), provider=provider(server.wire.client), store=kept
        ) as session:
            await session.send_input(RealtimeTextChunk("staged"))
            stored = await store.read("talk")
            assert [entry.append.text for entry in stored.staged] == ["staged"]
            assert stored.messages == ()
            await trio.sleep(6)
            await session.commit_turn()
            await take(session, ev.MessageCommitted, ev.MessageCommitted)
            stored = await store.read("talk")
            assert stored.staged == ()
            assert len(stored.messages) == 2


async def test_text_that_cannot_be_staged_is_not_staged_here_either(
    autojump_clock: trio.abc.Clock,
) -> None:
    store = Slow()
    store.gate.set()
    store.failure = StoreFull(message="the disk is full")
    async with serving(welcoming(linger)) as server:
        async with open_session(
            open_config(EXPLICIT), provider=provider(server.wire.client), store=store
        ) as session:
            with pytest.raises(StoreFull):
                await session.send_input(RealtimeTextChunk("lost"))
            with pytest.raises(errors.InvalidRequest, match="no input to commit"):
                await session.commit_turn()
            store.failure, store.gate = None, trio.Event()
            with trio.move_on_after(1) as scope:
                await session.send_input(RealtimeTextChunk("cancelled"))
            assert scope.cancelled_caught
            with pytest.raises(errors.InvalidRequest, match="no input to commit"):
                await session.commit_turn()
            store.gate.set()


async def test_a_conversation_goes_on_in_another_session_that_is_seeded_with_it(
    autojump_clock: trio.abc.Clock,
) -> None:
    store = MemoryStore()
    base = open_config().with_seed_messages([SystemMessage("be brief")])

    async def greeted(peer: OpenAIPeer) -> None:
        update = await peer.expect("session.update")
        await peer.session_updated(update)
        await peer.item_created(await peer.expect("conversation.item.create"))
        await one_turn(peer)

    async def script(peer: OpenAIPeer) -> None:
        await peer.accept()
        await peer.session_created()
        await greeted(peer)

    async with serving(script) as server:
        async with open_session(
            base,
            provider=provider(server.wire.client),
            store=Conversation(store=store, id="talk"),
        ) as session:
            await session.send_input(RealtimeTextChunk("hello"))
            await take(session, ev.MessageCommitted, ev.MessageCommitted)
    resumption = await resume_config(store, "talk", base)
    roles = [type(message).__name__ for message in resumption.config.seed_messages]
    assert roles == ["SystemMessage", "UserMessage", "AssistantMessage"]

    seeded: list[str] = []

    async def second(peer: OpenAIPeer) -> None:
        await peer.accept()
        await peer.session_created()
        await peer.session_updated(await peer.expect("session.update"))
        for _ in range(3):
            create = await peer.expect("conversation.item.create")
            seeded.append(create["item"]["content"][0]["text"])
            await peer.item_created(create)
        await peer.linger()

    async with serving(second) as server:
        async with open_session(
            resumption.config,
            provider=provider(server.wire.client),
            store=Conversation(store=store, id="talk"),
        ) as session:
            assert len(session.transcript) == 3
    assert seeded == ["be brief", "hello", "Good morning."]
    assert len((await store.read("talk")).messages) == 3


async def test_two_sessions_cannot_write_one_conversation(autojump_clock: trio.abc.Clock) -> None:
    store = MemoryStore()
    kept = Conversation(store=store, id="talk")
    async with serving(welcoming(linger)) as server:
        async with open_session(open_config(), provider=provider(server.wire.client), store=kept):
            with pytest.raises(errors.LlmError, match="is being written"):
                async with open_session(
                    open_config(), provider=provider(server.wire.client), store=kept
                ):
                    raise AssertionError("opened twice")


def test_cancelled_at_any_point_nothing_announced_is_missing_from_the_store() -> None:
    stores: list[MemoryStore] = []

    async def scenario(trial: Trial) -> None:
        store = MemoryStore()
        stores.append(store)
        announced: list[str] = []
        wire = trial.wire()
        async with openai_peer(
            wire.server, welcoming(one_turn), client_may_leave=trial.was_injected
        ):
            with trial.region():
                async with open_session(
                    open_config(),
                    provider=provider(wire.client),
                    store=Conversation(store=store, id="talk"),
                ) as session:
                    await session.send_input(RealtimeTextChunk("hello"))
                    while len(announced) < 2:
                        event = await session.next_event()
                        if isinstance(event, ev.MessageCommitted):
                            announced.append(event.message.text_content())
            stored = (
                [entry.message.text_content() for entry in (await store.read("talk")).messages]
                if await store.sessions()
                else []
            )
            trial.note("stored", stored[: len(announced)] == announced)

    def verify(trial: Trial) -> list[str]:
        return [] if trial.log in ([], [("stored", True)]) else [f"not durable: {trial.log}"]

    report = cancel_everywhere(scenario, repeat=1, verify=verify)
    assert report.sweeps[0].points > 50


async def test_a_text_that_waits_for_its_store_does_not_outlive_the_session(autojump_clock) -> None:
    store, refused = Slow(), []

    async def stage(session) -> None:
        with pytest.raises(errors.SessionClosedError):
            await session.send_input(RealtimeTextChunk("hello"))
        refused.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        async with meeting(linger, mode=EXPLICIT, beside={"store": store}) as m:
            nursery.start_soon(stage, m.session)
            await trio.sleep(1)
        assert refused == [1.0]
        assert len(store.commits) == 1


async def test_the_words_of_an_answer_that_goes_on_are_durable_before_its_end(
    autojump_clock,
) -> None:
    store = Slow()
    store.gate.set()
    words = ["one ", "two ", "three "]

    async def script(peer: OpenAIPeer) -> None:
        message = await (await peer.response()).message("text")
        for word in words:
            await message.text(word)
            await trio.sleep(0.1)
        await linger(peer)

    async with (
        serving(welcoming(script)) as server,
        open_session(open_config(), provider=provider(server.wire.client), store=store) as session,
    ):
        await take(session, *[ev.OutputTextDeltaForItem] * len(words))
        await trio.sleep(3 * LINGER)
        said = [event for batch in store.commits for event in one_by_one(batch.events)]
        assert [event.delta for event in said if hasattr(event, "delta")] == words


async def test_without_a_store_the_transcript_hears_of_words_together(
    monkeypatch: pytest.MonkeyPatch, autojump_clock
) -> None:
    took: list[int] = []
    apply_all = TranscriptAuthority.apply_all

    def noted(authority: TranscriptAuthority, entries: Any) -> Any:
        took.append(sum(1 for _ in one_by_one(entries)))
        return apply_all(authority, entries)

    monkeypatch.setattr(TranscriptAuthority, "apply_all", noted)

    async def script(peer: OpenAIPeer) -> None:
        message = await (await peer.response()).message("text")
        for _ in range(20):
            await message.text("word ")
            await trio.sleep(0.1)
        await linger(peer)

    async with (
        serving(welcoming(script)) as server,
        open_session(open_config(), provider=provider(server.wire.client)) as session,
    ):
        await take(session, *[ev.OutputTextDeltaForItem] * 20)
        assert sum(took) < 5
        await session.close()
    assert sum(took) > 20
