"""Stores that take their time, or more: bounded waits, typed errors, nothing lost that was told."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio
from runtimekit import closing, meeting, outcome, rest, speaking, take

from meerkat_rt import RealtimeTextChunk, SessionLimits, UserMessage, errors, events
from meerkat_rt.runtime.ports import Conversation
from meerkat_rt.storage import MemoryStore


class Hanging(MemoryStore):
    """Its block is never left."""

    @asynccontextmanager
    async def open(self, session_id, **options):
        async with super().open(session_id, **options) as journal:
            try:
                yield journal
            finally:
                await trio.sleep_forever()


@pytest.mark.parametrize("failing", [False, True])
async def test_a_store_that_does_not_come_to_an_end_is_given_up(failing, autojump_clock):
    limits = SessionLimits(store_grace=3.0)
    with pytest.raises(KeyError if failing else errors.StoreUnusable) as caught:
        async with speaking(Hanging(), limits=limits):
            began = trio.current_time()
            if failing:
                raise KeyError("mine")
    assert trio.current_time() - began == pytest.approx(3, abs=0.3)
    words = [*getattr(caught.value, "__notes__", ()), str(caught.value)]
    assert "the store failed to close: TooSlowError" in words[0]


class Slow(MemoryStore):
    """Takes `opening` seconds, then `committing` for the first commit of what was said.

    It waits in a way of its own: `alone`, in a nursery of a `group`, whose cancellation comes out
    as one, or of a group in which something breaks as it is cancelled.
    """

    def __init__(self, *, opening=0.0, committing=0.0, heeds=True, waits="alone"):
        super().__init__()
        self.opening, self.committing, self.heeds, self.waits = opening, committing, heeds, waits

    @asynccontextmanager
    async def open(self, session_id, **options):
        with trio.CancelScope(shield=not self.heeds):
            await trio.sleep(self.opening)
        async with super().open(session_id, **options) as journal:
            yield SlowJournal(journal, self)


class SlowJournal:
    def __init__(self, journal, store):
        self._journal, self._store = journal, store
        self.restored = journal.restored

    async def commit(self, batch):
        if batch.events:
            seconds, self._store.committing = self._store.committing, 0.0
            if seconds:
                await self._wait(seconds)
        return await self._journal.commit(batch)

    async def _wait(self, seconds):
        if self._store.waits == "alone":
            await trio.sleep(seconds)
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, seconds)
            if self._store.waits == "breaking group":
                nursery.start_soon(self._break)

    async def _break(self):
        try:
            await trio.sleep_forever()
        finally:
            raise OSError("connection lost")


WAYS = {
    "alone": "TooSlowError: it took longer than 3 s",
    "group": "TooSlowError: it took longer than 3 s",
    "breaking group": "connection lost",
}
each_way = pytest.mark.parametrize("waits", WAYS)


@pytest.mark.parametrize("heeds", [True, False])
async def test_a_store_that_does_not_open_in_time_is_no_store(heeds, autojump_clock):
    limits = SessionLimits(store_patience=3.0)
    with pytest.raises(errors.StoreUnusable, match="cannot be opened: TooSlowError") as caught:
        async with speaking(Slow(opening=7.0, heeds=heeds), limits=limits):
            raise AssertionError("there is no session")
    assert "it took longer than 3 s" in str(caught.value)
    assert isinstance(caught.value.__cause__, trio.TooSlowError)
    assert trio.current_time() == pytest.approx(3 if heeds else 7, abs=0.3)


async def test_a_store_has_its_time_to_open_and_no_more_of_the_sessions(autojump_clock):
    limits = SessionLimits(store_patience=3.0)
    async with speaking(Slow(opening=2.9), limits=limits) as m:
        await trio.sleep(4)
        await m.session.send_input(RealtimeTextChunk("hello"))
        await take(m.session, events.MessageCommitted, events.MessageCommitted)


@each_way
async def test_a_commit_that_takes_too_long_ends_the_session(waits, autojump_clock):
    limits = SessionLimits(store_patience=3.0)
    async with speaking(Slow(committing=7.0, waits=waits), limits=limits) as m:
        await m.session.send_input(RealtimeTextChunk("hello"))
        read, error = await outcome(m.session)
    assert isinstance(error, errors.StoreUnusable)
    assert str(error).startswith("the store failed to write: ")
    assert WAYS[waits] in str(error)
    assert "the store failed to write" in closing(read).text


@each_way
async def test_what_a_commit_that_took_too_long_was_to_write_goes_in_with_the_next(
    waits, autojump_clock
):
    store = Conversation(store=Slow(committing=7.0, waits=waits), on_failure="continue")
    limits = SessionLimits(store_patience=3.0)
    async with speaking(store, limits=limits) as m:
        await m.session.send_input(RealtimeTextChunk("hello"))
        await take(m.session, events.StoreFailed)
        await m.session.send_input(RealtimeTextChunk("again"))
        await take(m.session, *[events.MessageCommitted] * 3)
        said = [each for each in m.session.transcript if isinstance(each, UserMessage)]
        assert [each.text_content() for each in said] == ["hello", "again"]


@each_way
async def test_a_close_gives_up_a_commit_that_does_not_end(waits, autojump_clock):
    limits = SessionLimits(store_grace=3.0)
    async with speaking(Slow(committing=70.0, waits=waits), limits=limits) as m:
        await m.session.send_input(RealtimeTextChunk("hello"))
        await take(m.session, events.TurnCompleted)
        before = trio.current_time()
        await m.session.aclose()
        assert trio.current_time() - before == pytest.approx(3, abs=0.3)
        read = await rest(m.session)
    assert closing(read).uncommitted_items


async def test_a_store_is_no_more_patiently_waited_for_while_a_tool_holds_the_close(
    autojump_clock,
):
    started = trio.Event()
    seen = {}

    async def stubborn() -> str:
        with trio.CancelScope(shield=True):
            started.set()
            await trio.sleep(20)
        return "late"

    async def script(peer):
        await peer.tool_call_response(("stubborn", {}))
        await trio.sleep(1)
        await peer.user_turn("hi")
        await peer.linger()

    async def read(session):
        async for event in session:
            seen.setdefault(type(event), trio.current_time())

    async with meeting(
        script,
        tools=[stubborn],
        limits=SessionLimits(store_patience=3.0),
        beside={"store": Conversation(store=Slow(committing=40.0), on_failure="continue")},
        client_may_leave=True,
    ) as m:
        await started.wait()
        await trio.sleep(1.1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, m.session)
            await m.session.aclose()
    assert seen[events.StoreFailed] == pytest.approx(3, abs=0.3)
    assert seen[events.SessionClosed] == pytest.approx(20, abs=0.3)
