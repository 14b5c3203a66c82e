"""Stores and recorders that fail in ways that they should not: typed errors, nothing left, no harm.

A store of the application's own may raise whatever its database raises.  That is a failure of the
store, as if it had said so in our words; the error itself is the cause.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import asynccontextmanager, contextmanager, suppress

import pytest
import trio
from runtimekit import (
    EXPLICIT,
    closing,
    linger,
    meeting,
    one_turn,
    one_turn_of,
    open_config,
    outcome,
    provider,
    rest,
    serving,
    speaking,
    take,
    welcoming,
)

from meerkat_rt import (
    RealtimeTextChunk,
    UserMessage,
    errors,
    events,
    open_session,
)
from meerkat_rt.recording import FlightRecorder
from meerkat_rt.runtime.ports import Conversation
from meerkat_rt.runtime.tool_dispatch import describe
from meerkat_rt.storage import MemoryStore
from meerkat_rt.testing import quiescent_after
from meerkat_rt.turn.machine import SessionMachine

FAILURES = [
    OSError(28, "No space left on device"),
    ValueError("embedded null byte"),
    sqlite3.OperationalError("database is locked"),
    ExceptionGroup("both replicas", [OSError("one"), ValueError("two")]),
]
each_failure = pytest.mark.parametrize("failure", FAILURES, ids=lambda each: type(each).__name__)


class Store(MemoryStore):
    """A store of the application's: raises `failure` where it is told to."""

    def __init__(self, failure, *where):
        super().__init__()
        self.failure, self.where = failure, where
        self.left = False

    @asynccontextmanager
    async def open(self, session_id, **options):
        self.at("open")
        async with super().open(session_id, **options) as journal:
            try:
                yield Journal(journal, self)
            finally:
                self.left = True
                self.at("close")

    def at(self, place):
        if place in self.where:
            raise self.failure


class Journal:
    def __init__(self, journal, store):
        self._journal, self._store = journal, store
        self.commits = 0

    @property
    def restored(self):
        self._store.at("restored")
        return self._journal.restored

    async def commit(self, batch):
        await trio.lowlevel.checkpoint()
        self.commits += 1
        self._store.at("write")
        if self.commits == 2:  # the first one is of the text that was sent
            self._store.at("second write")
        made = await self._journal.commit(batch)
        if self.commits == 2:
            self._store.at("second write, late")
        return made


@each_failure
@pytest.mark.parametrize("where", ["open", "restored"])
async def test_a_store_that_cannot_be_opened_for_reasons_of_its_own(failure, where, autojump_clock):
    store = Store(failure, where)
    with pytest.raises(errors.StoreUnusable) as caught:
        async with meeting(linger, beside={"store": store}, client_may_leave=True):
            raise AssertionError("it opened")
    assert caught.value.__cause__ is failure
    assert describe(failure) in str(caught.value)


@each_failure
async def test_a_store_that_does_not_take_what_a_conversation_begins_with(failure, autojump_clock):
    store = Store(failure, "write")
    config = open_config().with_seed_messages([UserMessage("before")])
    with quiescent_after():
        with pytest.raises(errors.StoreUnusable) as caught:
            async with speaking(store, config=config):
                raise AssertionError("it opened")
    assert caught.value.__cause__ is failure
    assert store.left


@each_failure
async def test_a_write_that_fails_for_reasons_of_the_store_ends_the_session_with_a_typed_error(
    failure, autojump_clock
):
    store = Store(failure, "second write")
    with quiescent_after():
        async with speaking(store) as m:
            await m.session.send_input(RealtimeTextChunk("hello"))
            read, error = await outcome(m.session)
    assert isinstance(error, errors.StoreUnusable)
    assert error.__cause__ is failure
    reason = closing(read)
    assert reason.text.startswith("the store failed: the store failed to write: ")
    assert not reason.clean
    assert reason.uncommitted_items
    assert store.left


@each_failure
async def test_text_that_the_store_does_not_take_is_not_accepted(failure, autojump_clock):
    async def script(peer):
        await peer.expect_silence(5)
        await linger(peer)

    beside = {"store": Store(failure, "write")}
    async with meeting(script, mode=EXPLICIT, beside=beside, client_may_leave=True) as m:
        with pytest.raises(errors.StoreUnusable):
            await m.session.send_input(RealtimeTextChunk("hello"))
        assert m.session.is_connected
        await trio.sleep(6)


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
async def test_what_such_a_failure_left_in_doubt_is_written_once_if_the_session_goes_on(
    late, autojump_clock
):
    async def script(peer):
        await one_turn_of(peer)
        await one_turn(peer)

    store = Store(FAILURES[0], "second write" + (", late" if late else ""))
    kept = Conversation(store=store, id="talk", on_failure="continue")
    async with meeting(script, beside={"store": kept}) as m:
        await m.session.send_input(RealtimeTextChunk("hello"))
        read = await take(m.session, events.StoreFailed)
        assert "No space left" in read[-1].message
        await m.session.send_input(RealtimeTextChunk("are you there?"))
        await take(m.session, events.TurnCompleted)
        await m.session.aclose()
        assert closing(await rest(m.session)).uncommitted_items == ()
    said = [entry.message.text_content() for entry in (await store.read("talk")).messages]
    assert said == ["hello", "Good morning.", "are you there?", "Good morning."]
    if not late:  # else the store kept to itself what it had made
        assert [each.text_content() for each in m.session.transcript] == said


@each_failure
async def test_a_store_that_cannot_be_closed_says_so_at_the_end_of_the_block(
    failure, autojump_clock
):
    with quiescent_after():
        with pytest.raises(errors.StoreUnusable, match="failed to close") as caught:
            async with speaking(Store(failure, "close")) as m:
                await m.session.send_input(RealtimeTextChunk("hello"))
                await take(m.session, events.MessageCommitted, events.MessageCommitted)
    assert caught.value.__cause__ is failure
    assert m.session.closed.clean


@each_failure
async def test_a_store_that_cannot_be_closed_hides_no_exception_of_the_block(
    failure, autojump_clock
):
    mine = KeyError("mine")
    with pytest.raises(KeyError) as caught:
        async with speaking(Store(failure, "close")):
            raise mine
    assert caught.value is mine
    assert mine.__context__ is None
    assert mine.__notes__ == [f"besides, the store failed to close: {describe(failure)}"]


async def test_a_store_that_cannot_be_closed_is_told_of_when_the_block_was_cancelled(
    autojump_clock,
):
    beside = {"store": Store(FAILURES[0], "close")}
    async with serving(welcoming(linger), client_may_leave=True) as server:
        with trio.move_on_after(5):
            with pytest.raises(errors.StoreUnusable):
                async with server.open(beside=beside):
                    await trio.sleep_forever()
    assert trio.current_time() == pytest.approx(5, abs=0.3)


class Swallowing(MemoryStore):
    """Its block hides whatever ends it."""

    @asynccontextmanager
    async def open(self, session_id, **options):
        async with super().open(session_id, **options) as journal:
            with suppress(BaseException):
                yield journal


async def test_a_store_swallows_no_exception_of_the_block(autojump_clock):
    with pytest.raises(KeyError, match="mine"):
        async with speaking(Swallowing()):
            raise KeyError("mine")
    with trio.move_on_after(5) as scope:
        async with speaking(Swallowing()):
            await trio.sleep_forever()
    assert scope.cancelled_caught


class WithTasks(MemoryStore):
    """Its block is in a nursery, which puts what comes out of it into a group."""

    @asynccontextmanager
    async def open(self, session_id, **options):
        async with super().open(session_id, **options) as journal, trio.open_nursery():
            yield journal


async def test_an_exception_of_the_block_comes_out_as_it_is_though_the_store_has_a_nursery(
    autojump_clock,
):
    mine = KeyError("mine")
    with pytest.raises(KeyError) as caught:
        async with speaking(WithTasks()):
            raise mine
    assert caught.value is mine
    assert not hasattr(mine, "__notes__")


class Mumbling(MemoryStore):
    """Gives back something else than it should."""

    def __init__(self, restored=None, made=None):
        super().__init__()
        self.restored, self.made = restored, made

    @asynccontextmanager
    async def open(self, session_id, **options):
        async with super().open(session_id, **options) as journal:
            yield MumblingJournal(self.restored or journal.restored, self.made)


class MumblingJournal:
    def __init__(self, restored, made):
        self.restored, self._made = restored, made

    async def commit(self, batch):
        await trio.lowlevel.checkpoint()
        return self._made if batch.events else ()


async def test_a_store_that_restores_something_else_is_refused(autojump_clock):
    with pytest.raises(errors.StoreUnusable, match="restored is a list; allowed: Restored"):
        async with speaking(Mumbling(restored=["hello"])):
            raise AssertionError("it opened")


@pytest.mark.parametrize("made", [None, 5, [UserMessage("hello")]])
async def test_a_store_that_returns_something_else_has_failed(made, autojump_clock):
    async with speaking(Mumbling(made=made)) as m:
        await m.session.send_input(RealtimeTextChunk("hello"))
        _, error = await outcome(m.session)
    assert isinstance(error, errors.StoreUnusable)
    assert isinstance(error.__cause__, TypeError)


# ---------------------------------------------------------------- recorders


class FailingRecorder:
    """A recorder of the application's: raises `failure` where it is told to."""

    def __init__(self, failure, where):
        self.failure, self.where = failure, where
        self.told = []

    @contextmanager
    def begin(self):
        self.at("begin")
        try:
            yield self
        finally:
            self.at("end")

    def at(self, place):
        self.told.append(place)
        if place == self.where:
            raise self.failure

    def machine(self, settings):
        self.at("machine")
        return SessionMachine(settings)

    def wire(self, now, *, received=0, sent=0):
        self.at("received" if received else "sent")

    def closed(self, reason):
        self.at("closed")


@each_failure
@pytest.mark.parametrize("where", ["begin", "machine"])
async def test_a_recorder_that_cannot_begin_is_told_of_before_anything_is_dialled(
    failure, where, autojump_clock
):
    dialled = []
    recorder = FailingRecorder(failure, where)
    with pytest.raises(errors.InvalidConfig, match="the recorder cannot begin") as caught:
        async with open_session(
            open_config(), provider=provider(None, dialled=dialled), recorder=recorder
        ):
            raise AssertionError("it opened")
    assert caught.value.__cause__ is failure
    assert not dialled
    assert recorder.told[-1] == ("begin" if where == "begin" else "end")


@each_failure
@pytest.mark.parametrize("where", ["received", "sent", "closed", "end"])
async def test_a_recorder_that_fails_hurts_no_session(failure, where, autojump_clock, caplog):
    recorder = FailingRecorder(failure, where)
    with quiescent_after():
        async with meeting(one_turn, beside={"recorder": recorder}) as m:
            await m.session.send_input(RealtimeTextChunk("hello"))
            await take(m.session, events.TurnCompleted)
        read = await rest(m.session)
    assert closing(read).clean
    assert recorder.told.count(where) == 1
    (record,) = caplog.records
    assert record.exc_info[1] is failure


async def test_a_recorder_that_cannot_end_hides_no_exception_of_the_block(autojump_clock):
    with pytest.raises(KeyError) as caught:
        beside = {"recorder": FailingRecorder(OSError("full"), "end")}
        async with meeting(linger, beside=beside, client_may_leave=True):
            raise KeyError("mine")
    assert caught.value.__context__ is None


async def test_a_recording_whose_folder_vanishes_is_kept_up_and_hurts_nothing(
    autojump_clock, tmp_path
):
    folder = tmp_path / "calls"
    folder.mkdir()
    recorder = FlightRecorder(folder / "x.rec")
    async with meeting(one_turn, beside={"recorder": recorder}) as m:
        shutil.rmtree(folder)
        await m.session.send_input(RealtimeTextChunk("hello"))
        await take(m.session, events.TurnCompleted)
    assert closing(await rest(m.session)).clean
    assert recorder.status.failure is None
    with pytest.raises(errors.InvalidConfig, match="cannot record to"):
        async with meeting(one_turn, beside={"recorder": recorder}, client_may_leave=True):
            raise AssertionError("it opened")
