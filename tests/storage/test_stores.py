"""What every store does, in memory and in a file, as a session sees it."""

from __future__ import annotations

import os
import threading

import pytest
import trio
from storage.storage_kit import conversation_log, messages_of, staged
from transcript.transcript_kit import done, spoken, text, trunc, user
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from meerkat_rt.model.conversation import (
    AssistantMessage,
    AssistantToolUse,
    SystemMessage,
    UserMessage,
)
from meerkat_rt.model.errors import InvalidJson, InvalidRequest
from meerkat_rt.runtime.ports import StoredConversation, TranscriptBatch
from meerkat_rt.storage import (
    JournalClosed,
    MemoryStore,
    SessionExists,
    SessionLocked,
    SessionNotFound,
    SqliteStore,
    StagedTextConflict,
    conversation_from_json,
    conversation_to_json,
)
from meerkat_rt.transcript import (
    RealtimeTranscriptState,
    TranscriptItemState,
    TranscriptStateError,
)

LOG = conversation_log(8, seed=11)
HELLO = [user("u", None, "hello"), text("r", "d", "a", "u", "hi"), done("r")]


@pytest.fixture(params=["memory", "sqlite"])
def make_store(request, path):
    def make(**options):
        if request.param == "memory":
            return MemoryStore(**options)
        return SqliteStore(path, sync=False, **options)

    return make


@pytest.fixture
def store(make_store):
    return make_store()


def batch(*events, **fields):
    return TranscriptBatch(events=events, **fields)


async def ids(store, session_id="s"):
    return [entry.item_ids for entry in (await store.read(session_id)).messages]


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize("session_id", ["", " \n", "\ud800"])
async def test_a_session_id_that_is_none(store, session_id):
    with pytest.raises(InvalidRequest):
        async with store.open(session_id):
            pass
    with pytest.raises(InvalidRequest):
        await store.read(session_id)


async def test_a_second_writer_is_refused_at_once_and_the_first_goes_on(store):
    async with store.open("s") as journal:
        with pytest.raises(SessionLocked) as refused:
            async with store.open("s"):
                pass
        assert refused.value.pid == os.getpid()
        assert refused.value.session_id == "s"
        async with store.open("another"):
            pass
        await journal.commit(batch(*HELLO))
    async with store.open("s") as journal:
        assert len(journal.restored.messages) == 2


async def test_reading_what_is_not_there(store):
    async with store.open("s"):
        pass
    with pytest.raises(SessionNotFound, match="no session 's'") as refused:
        await store.read("s")
    assert refused.value.session_id == "s"
    assert await store.sessions() == ()


async def test_the_journal_is_closed_with_its_block(store):
    async with store.open("s") as journal:
        await journal.commit(batch(*HELLO))
    with pytest.raises(JournalClosed) as refused:
        await journal.commit(batch())
    assert isinstance(refused.value, trio.ClosedResourceError)
    assert not refused.value.retryable
    assert await ids(store) == [("u",), ("a",)]


async def test_what_is_no_event_changes_nothing(store):
    async with store.open("s") as journal:
        with pytest.raises(TypeError):
            await journal.commit(batch(HELLO[0], None))
        assert len(await journal.commit(batch(HELLO[0]))) == 1


async def test_a_contradiction_of_staged_text_changes_nothing(store):
    async with store.open("s") as journal:
        await journal.commit(batch(stage=[staged("x", "one")]))
        with pytest.raises(StagedTextConflict) as refused:
            await journal.commit(batch(*HELLO, stage=[staged("x", "two")]))
        assert refused.value.item_id == "x"
        await journal.commit(batch(HELLO[0]))
        with pytest.raises(StagedTextConflict):
            await journal.commit(batch(stage=[staged("u", "not hello")]))
    assert await ids(store) == [("u",)]
    assert (await store.read("s")).staged == (staged("x", "one"),)


# ---------------------------------------------------------------- conversations


async def test_everything_checkpoints(store):
    with assert_checkpoints():
        async with store.open("s") as journal:
            with assert_checkpoints():
                await journal.commit(batch(*HELLO))
            with assert_checkpoints():
                await journal.commit(batch())
    with assert_checkpoints():
        await store.read("s")
    with assert_checkpoints():
        await store.sessions()


async def test_a_conversation_over_several_openings(store):
    made = []
    for start in range(0, len(LOG), 5):
        async with store.open("s") as journal:
            assert list(journal.restored.messages) == made
            assert journal.restored.authority.state == (await state_of(store, "s"))
            for event in LOG[start : start + 5]:
                made += await journal.commit(batch(event))
    assert made == messages_of(LOG)
    assert list((await store.read("s")).messages) == made
    async with store.open("s") as journal:
        assert await journal.commit(batch(*LOG)) == ()


async def state_of(store, session_id):
    try:
        return (await store.read(session_id)).state
    except SessionNotFound:
        return RealtimeTranscriptState()


async def test_reading_while_another_writes(store):
    async with store.open("s") as journal:
        await journal.commit(batch(*HELLO[:2], stage=[staged("x")]))
        seen = await store.read("s")
        assert [entry.item_ids for entry in seen.messages] == [("u",)]
        assert seen.state.items["a"].content_segments == {0: "hi"}
        assert seen.staged == (staged("x"),)
        await journal.commit(batch(HELLO[2], unstage=["x"]))
        assert await ids(store) == [("u",), ("a",)]
        assert (await store.read("s")).staged == ()


async def test_history_of_a_seeded_session(store):
    async with store.open("s") as journal:
        seeds = [SystemMessage("be kind"), UserMessage("earlier")]
        made = await journal.commit(batch(history=seeds))
        assert [entry.message for entry in made] == seeds
        await journal.commit(batch(*HELLO))
    assert await ids(store) == [(), (), ("u",), ("a",)]


async def test_the_list_of_sessions(make_store):
    clock = iter(range(100, 200)).__next__
    store = make_store(wall_clock=clock)
    async with store.open("first") as first, store.open("second") as second:
        await second.commit(batch(stage=[staged("x"), staged("y")]))
        await first.commit(batch(*HELLO))
        await second.commit(batch(HELLO[0], unstage=["x"]))
    one, two = await store.sessions()
    assert (one.session_id, one.messages, one.staged) == ("second", 1, 1)
    assert (two.session_id, two.messages, two.staged) == ("first", 2, 0)
    assert one.created_at < two.created_at
    assert one.created_at < one.updated_at
    seen = await store.read("second")
    assert (seen.created_at, seen.updated_at) == (one.created_at, one.updated_at)


async def test_without_a_clock_nothing_is_dated(store):
    async with store.open("s") as journal:
        await journal.commit(batch(*HELLO))
    (session,) = await store.sessions()
    assert (session.created_at, session.updated_at) == (None, None)


async def test_the_mode_of_heard_prefixes_may_change_between_openings(store):
    cut = [spoken("r", "d", "a", None, "one two"), trunc("r", "a", "one")]
    async with store.open("s") as journal:
        await journal.commit(batch(*cut))
    async with store.open("s", keep_heard_prefix=False) as journal:
        assert journal.restored.authority.state.items["a"].heard_content_index == 0
        more = [spoken("q", "e", "b", None, "three four"), trunc("q", "b", "three")]
        await journal.commit(batch(*more))
    state = (await store.read("s")).state
    assert state.items["b"].heard_content_index is None


def call_nested(depth):
    args = {}
    for _ in range(depth):
        args = {"a": [args]}
    return AssistantMessage(blocks=(AssistantToolUse(id="c", name="clock", args=args),))


async def test_history_that_is_accepted_can_be_read_and_what_is_too_deep_is_refused(path):
    store = SqliteStore(path, sync=False)
    async with store.open("s") as journal:
        for depth in (63, 64, 100, 1000):
            with pytest.raises(InvalidJson, match=r"nested (more than 128 levels|too) deep"):
                await journal.commit(batch(history=[call_nested(depth)]))
        await journal.commit(batch(history=[call_nested(61)]))
    (entry,) = (await store.read("s")).messages
    assert entry.message == call_nested(61)


# ---------------------------------------------------------------- staged text


async def test_text_under_explicit_commit(store):
    """Nothing is history before the commit; then every text is a message, in stage order."""
    async with store.open("s") as journal:
        for entry in (staged("x", "hello"), staged("y", " world", "x")):
            await journal.commit(batch(stage=[entry]))
            assert (await store.read("s")).messages == ()
        waiting = (await store.read("s")).staged
        made = await journal.commit(TranscriptBatch.committing(waiting))
    assert [entry.message for entry in made] == [UserMessage("hello"), UserMessage(" world")]
    assert (await store.read("s")).staged == ()


async def test_staged_text_waits_for_a_decision_after_a_restart(store):
    async with store.open("s") as journal:
        await journal.commit(batch(stage=[staged("x", "yes"), staged("y", "no", "x")]))
    async with store.open("s") as journal:
        yes, no = journal.restored.staged
        assert journal.restored.messages == ()
        # Staged again by a client that never learned that it was.
        await journal.commit(batch(stage=[yes]))
        await journal.commit(TranscriptBatch.committing([yes]))
        await journal.commit(batch(unstage=[no.item_id]))
    async with store.open("s") as journal:
        assert journal.restored.staged == ()
        assert [entry.message for entry in journal.restored.messages] == [UserMessage("yes")]
        # And once more, after it was committed.
        await journal.commit(batch(stage=[yes]))
        assert await journal.commit(TranscriptBatch.committing([yes])) == ()
    assert (await store.read("s")).staged == ()


@pytest.mark.parametrize(
    ("item_id", "said", "role"),
    [(" ", "hello", "user"), ("x", "", "user"), ("x", "hello", "assistant")],
    ids=["blank id", "no text", "assistant"],
)
def test_what_cannot_be_staged(item_id, said, role):
    with pytest.raises(InvalidRequest):
        staged(item_id, said, role=role)


# ---------------------------------------------------------------- adopting


async def full_conversation(store):
    async with store.open("s") as journal:
        await journal.commit(batch(*LOG[:25], history=[SystemMessage("be kind")]))
        await journal.commit(batch(stage=[staged("x", "staged", "unknown")]))
    return await store.read("s")


async def test_a_conversation_moves_from_one_store_to_another_by_its_json(store, path):
    conversation = await full_conversation(store)
    other = SqliteStore(path.with_name("other.db"), sync=False)
    await other.adopt(conversation_from_json(conversation_to_json(conversation)))
    assert await other.read("s") == conversation
    async with other.open("s") as journal, store.open("s") as original:
        assert await journal.commit(batch(*LOG)) == await original.commit(batch(*LOG))
    assert (await other.read("s")).state == (await store.read("s")).state


async def test_adopting_into_every_store(store):
    conversation = await full_conversation(MemoryStore())
    await store.adopt(conversation)
    assert await store.read("s") == conversation
    with pytest.raises(SessionExists):
        await store.adopt(conversation)
    async with store.open("s") as journal:
        await journal.commit(batch(*LOG))
    assert list((await store.read("s")).messages)[1:] == messages_of(LOG)


async def test_what_is_inconsistent_is_not_adopted(store):
    conversation = await full_conversation(MemoryStore())
    stranger = StoredConversation(session_id="s", messages=conversation.messages)
    with pytest.raises(InvalidRequest, match=r"message 2: the item 'u0' is not settled"):
        await store.adopt(stranger)
    silent = StoredConversation(session_id="s", state=conversation.state)
    with pytest.raises(InvalidRequest, match="there is none for the item 'u0'"):
        await store.adopt(silent)
    lost = {"i": TranscriptItemState(role="user", previous_item_id="i")}
    broken = RealtimeTranscriptState(items=lost, first_seen_order=("i",))
    with pytest.raises(TranscriptStateError):
        await store.adopt(StoredConversation(session_id="s", state=broken))
    with pytest.raises(InvalidRequest):
        await store.adopt(StoredConversation(session_id=" "))
    assert await store.sessions() == ()
    async with store.open("s"):
        pass


# ---------------------------------------------------------------- cancellation


async def test_cancelled_before_it_begins_nothing_is_opened(store):
    with trio.CancelScope() as scope:
        scope.cancel()
        async with store.open("s"):
            pytest.fail("opened")
    assert scope.cancelled_caught
    async with store.open("s"):
        pass


async def test_a_cancelled_commit_has_done_nothing(store):
    async with store.open("s") as journal:
        with trio.CancelScope() as scope:
            scope.cancel()
            await journal.commit(batch(*HELLO))
        assert scope.cancelled_caught
        assert journal.restored.messages == ()
        assert len(await journal.commit(batch(*HELLO))) == 2


async def test_leaving_while_cancelled_still_closes(store):
    with trio.CancelScope() as scope:
        async with store.open("s") as journal:
            await journal.commit(batch(*HELLO))
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    async with store.open("s") as journal:
        assert len(journal.restored.messages) == 2


async def test_commits_of_several_tasks_are_done_one_after_the_other(store):
    async def write(number):
        for turn in range(5):
            await journal.commit(batch(user(f"u{number}.{turn}", None, "hi")))

    async with store.open("s") as journal, trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(write, number)
    assert len(await ids(store)) == 20


# ---------------------------------------------------------------- threads


class Gate:
    """Holds the writer's thread in the middle of a commit."""

    def __init__(self, journal, monkeypatch):
        self.entered, self.opened = threading.Event(), threading.Event()
        commit = journal._writer.commit

        def held(batch):
            self.entered.set()
            self.opened.wait(10)
            return commit(batch)

        monkeypatch.setattr(journal._writer, "commit", held)


async def test_a_commit_that_has_begun_goes_through_although_it_is_cancelled(path, monkeypatch):
    store = SqliteStore(path, sync=False)
    made = []

    async def write():
        made.extend(await journal.commit(batch(*HELLO)))

    async with store.open("s") as journal:
        gate = Gate(journal, monkeypatch)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            await trio.to_thread.run_sync(gate.entered.wait)
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await wait_all_tasks_blocked()
                assert made == []
            gate.opened.set()
        assert len(made) == 2
    assert await ids(store) == [("u",), ("a",)]


async def test_a_commit_that_waits_behind_another_can_be_cancelled(path, monkeypatch):
    store = SqliteStore(path, sync=False)
    async with store.open("s") as journal:
        gate = Gate(journal, monkeypatch)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(journal.commit, batch(HELLO[0]))
            await trio.to_thread.run_sync(gate.entered.wait)
            with trio.move_on_after(0) as scope:
                await journal.commit(batch(*HELLO[1:]))
            assert scope.cancelled_caught
            gate.opened.set()
    assert await ids(store) == [("u",)]


async def test_leaving_waits_for_the_commit_that_is_under_way(path, monkeypatch):
    store = SqliteStore(path, sync=False)
    async with trio.open_nursery() as nursery, store.open("s") as journal:
        gate = Gate(journal, monkeypatch)
        nursery.start_soon(journal.commit, batch(*HELLO))
        await trio.to_thread.run_sync(gate.entered.wait)
        gate.opened.set()
    assert await ids(store) == [("u",), ("a",)]


async def test_the_event_loop_runs_while_a_commit_waits(path, monkeypatch):
    store = SqliteStore(path, sync=False)
    async with store.open("s") as journal:
        gate = Gate(journal, monkeypatch)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(journal.commit, batch(*HELLO))
            await trio.to_thread.run_sync(gate.entered.wait)
            for _ in range(1000):
                await trio.lowlevel.checkpoint()
            gate.opened.set()


async def test_nothing_stays_open_after_the_block(path):
    store = SqliteStore(path, sync=False)
    async with store.open("s") as journal:
        await journal.commit(batch(*HELLO))
        with pytest.raises(SessionLocked):
            async with store.open("s"):
                pass
        assert list(descriptors_of(path))
    await store.read("s")
    await store.sessions()
    assert os.listdir(path.parent) == [path.name]
    assert list(descriptors_of(path)) == []


@pytest.mark.parametrize("message", ["can't start new thread", "another"])
async def test_closing_where_there_is_no_thread_and_where_something_else_is_wrong(
    path, monkeypatch, message
):
    async def no_thread(*_arguments, **_options):
        raise RuntimeError(message)

    opening = SqliteStore(path, sync=False).open("s")
    journal = await opening.__aenter__()
    await journal.commit(batch(*HELLO))
    with monkeypatch.context() as patched:
        patched.setattr(trio.to_thread, "run_sync", no_thread)
        if message == "another":
            with pytest.raises(RuntimeError, match="another"):
                await opening.__aexit__(None, None, None)
            journal._writer.close()
        else:
            await opening.__aexit__(None, None, None)
    assert list(descriptors_of(path)) == []
    assert await ids(SqliteStore(path)) == [("u",), ("a",)]


def descriptors_of(path):
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue
        if str(path.parent) in target:
            yield target


def test_a_store_says_which_it_is(path):
    assert repr(SqliteStore(path)) == f"<SqliteStore {path}>"
    assert SqliteStore(str(path)).path == path


async def test_a_relative_path_is_that_of_the_moment_when_the_store_was_made(folder, monkeypatch):
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder)
    store = SqliteStore("c.db", sync=False)
    assert store.path == folder / "c.db"
    async with store.open("s") as journal:
        await journal.commit(batch(*HELLO))
    monkeypatch.chdir(folder / "elsewhere")
    async with store.open("s") as journal:
        assert len(journal.restored.messages) == 2
