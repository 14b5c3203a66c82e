"""The writer of a session: what it writes, what is there afterwards, and how much that costs."""

from __future__ import annotations

import random
import sqlite3
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from storage.storage_kit import (
    commit,
    conversation_log,
    dying,
    garbage_logs,
    in_batches,
    messages_of,
    staged,
    stored,
    writing,
)
from transcript.transcript_kit import done, intr, obs, skip, spoken, text, trunc, user

from meerkat_rt.model.conversation import (
    AssistantMessage,
    AssistantText,
    ImageContent,
    InlineData,
    SystemMessage,
    TextContent,
    ToolResult,
    ToolResultsMessage,
    UserMessage,
)
from meerkat_rt.runtime.ports import StoredMessage, TranscriptBatch
from meerkat_rt.storage import JournalClosed, SessionLocked, StagedTextConflict
from meerkat_rt.transcript import TranscriptAuthority


def state_of(log, *, keep_heard_prefix=True):
    authority = TranscriptAuthority(keep_heard_prefix=keep_heard_prefix)
    for event in log:
        authority.apply(event)
    return authority.state


def rows(path, table):
    connection = sqlite3.connect(path)
    try:
        return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    finally:
        connection.close()


HELLO = [user("u", None, "hello"), text("r", "d", "a", "u", "hi"), done("r", tokens=(3, 4))]


# ---------------------------------------------------------------- what cannot be committed


def test_what_is_no_event_leaves_everything_as_it_was(path):
    with writing(path) as writer:
        with pytest.raises(TypeError, match="not a transcript event: 'hello'"):
            commit(writer, user("u", None, "hello"), "hello")
        assert commit(writer) == ()
        assert len(commit(writer, user("u", None, "hello"))) == 1
    assert len(stored(path)[0]) == 1


def test_history_that_cannot_be_encoded_leaves_everything_as_it_was(path):
    with writing(path) as writer:
        with pytest.raises(Exception, match=r"JSON form"):
            commit(writer, user("u", None, "hello"), history=[SystemMessage(object())])
        assert len(commit(writer, user("u", None, "hello"))) == 1
    assert len(stored(path)[0]) == 1


def test_a_closed_writer_refuses(path):
    with writing(path) as writer:
        commit(writer, *HELLO)
    with pytest.raises(JournalClosed, match="has been closed"):
        commit(writer)
    writer.close()


def test_an_event_that_fails_half_way_ends_the_writer_and_not_the_session(path, monkeypatch):
    with writing(path) as writer:
        commit(writer, *HELLO)
        authority = writer._conversation.authority
        apply_all = authority.apply_all

        def half_way(batch):
            apply_all(batch[:1])
            raise ZeroDivisionError

        monkeypatch.setattr(authority, "apply_all", half_way)
        with pytest.raises(ZeroDivisionError):
            commit(writer, user("w", "a", "kept?"), user("v", "w", "bad"))
        with pytest.raises(JournalClosed, match="by half"):
            commit(writer)
    assert [entry.item_ids for entry in stored(path)[0]] == [("u",), ("a",)]


def test_a_writer_that_slipped_past_the_lock_is_noticed(path):
    # As on a file system where locks do nothing.
    with writing(path) as writer:
        commit(writer, *HELLO)
        writer._lock.path.unlink()
        with writing(path) as intruder:
            commit(intruder, user("v", "a", "mine"))
        with pytest.raises(SessionLocked, match="in spite of the lock"):
            commit(writer, user("w", "a", "no, mine"))
        with pytest.raises(JournalClosed, match="in spite of the lock"):
            commit(writer)
    assert [entry.item_ids for entry in stored(path)[0]] == [("u",), ("a",), ("v",)]


def test_two_writers_that_begin_a_session_in_spite_of_the_lock(path):
    with writing(path) as writer:
        writer._lock.path.unlink()
        with writing(path) as intruder:
            commit(intruder, user("v", None, "mine"))
        with pytest.raises(SessionLocked, match="in spite of the lock"):
            commit(writer, user("w", None, "no, mine"))
    assert [entry.item_ids for entry in stored(path)[0]] == [("v",)]


# ---------------------------------------------------------------- commits


def test_nothing_is_written_before_the_first_commit(path):
    with writing(path) as writer:
        assert commit(writer) == ()
        assert commit(writer, unstage=["u"]) == ()
    assert rows(path, "session") == 0
    assert stored(path) == ([], TranscriptAuthority().state, [])


def test_commit_returns_the_messages_that_it_made_durable(path):
    with writing(path) as writer:
        assert commit(writer, *HELLO[:2]) == (StoredMessage(UserMessage("hello"), ["u"]),)
        made = commit(writer, *HELLO[2:])
        assert [entry.item_ids for entry in made] == [("a",)]
        assert made[0].message.blocks == (AssistantText("hi"),)
        assert made[0].message.usage.total_tokens == 7
        assert commit(writer, *HELLO) == ()


def test_one_message_of_several_items_names_them_all(path):
    with writing(path) as writer:
        made = commit(
            writer,
            text("r", "d1", "a", None, "report"),
            spoken("r", "d2", "b", "a", "aloud"),
            done("r"),
        )
    assert [entry.item_ids for entry in made] == [("a", "b")]
    assert stored(path)[0] == list(made)


def test_history_comes_before_what_the_events_make(path):
    history = [
        SystemMessage("be kind"),
        UserMessage((TextContent("look"), ImageContent("image/png", InlineData(b"\x89PNG")))),
        AssistantMessage(blocks=(AssistantText("a cat"),)),
        ToolResultsMessage((ToolResult(tool_use_id="t", content="42"),)),
    ]
    with dying(path) as writer:
        made = commit(writer, *HELLO, history=history)
    assert [entry.message for entry in made[:4]] == history
    assert [entry.item_ids for entry in made] == [(), (), (), (), ("u",), ("a",)]
    assert stored(path)[0] == list(made)
    with writing(path) as writer:
        commit(writer, user("v", "a", "more"), history=[SystemMessage("resumed")])
    assert [entry.item_ids for entry in stored(path)[0]][4:] == [("u",), ("a",), (), ("v",)]


def test_text_that_is_not_valid_unicode_survives(path):
    # A provider cut a delta in the middle of an emoji.
    log = [
        user("u\ud83d", None, "\udca9 \0 \u2028"),
        text("r\ud83d", "d\ud83d", "a", "u\ud83d", "\ud83d"),
        text("r\ud83d", "e", "a", None, "\udca9"),
    ]
    with dying(path) as writer:
        commit(writer, *log, stage=[staged("s\ud83d", "\ud83d")])
    messages, state, entries = stored(path)
    assert messages == messages_of(log)
    assert state == state_of(log)
    assert entries == [staged("s\ud83d", "\ud83d")]
    with writing(path) as writer:
        commit(writer, done("r\ud83d"), unstage=["s\ud83d"])
    assert stored(path)[0] == messages_of([*log, done("r\ud83d")])
    assert stored(path)[2] == []


def test_sessions_in_one_file_do_not_touch_each_other(path):
    logs = {f"s{number}": conversation_log(5, seed=number) for number in range(3)}
    with dying(path, "s0") as a, dying(path, "s1") as b, dying(path, "s2", snapshot_bytes=1) as c:
        for number in range(20):
            for writer, log in zip((a, b, c), logs.values(), strict=True):
                commit(writer, *log[number : number + 1])
    for session_id, log in logs.items():
        assert stored(path, session_id)[:2] == (messages_of(log[:20]), state_of(log[:20]))


# ---------------------------------------------------------------- restarts

_FIXTURE = [HealthCheck.function_scoped_fixture]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(log=garbage_logs, keep_heard_prefix=st.booleans(), data=st.data())
def test_restarting_between_any_two_events_changes_nothing(folder, log, keep_heard_prefix, data):
    path = folder / f"{uuid4()}.db"
    made = []
    position = 0
    while True:
        end = data.draw(st.integers(position, len(log)), label="next restart")
        snapshot_bytes = data.draw(st.sampled_from([1, 200, 10**6]), label="snapshot_bytes")
        ending = data.draw(st.sampled_from([writing, dying]), label="ending")
        with ending(
            path, keep_heard_prefix=keep_heard_prefix, snapshot_bytes=snapshot_bytes
        ) as writer:
            restored = writer.restored
            assert list(restored.messages) == messages_of(
                log[:position], keep_heard_prefix=keep_heard_prefix
            )
            assert restored.authority.state == state_of(
                log[:position], keep_heard_prefix=keep_heard_prefix
            )
            while position < end:
                size = data.draw(st.integers(1, end - position), label="batch")
                made += commit(writer, *log[position : position + size])
                position += size
        if end == len(log):
            break
    messages, state, _ = stored(path, keep_heard_prefix=keep_heard_prefix)
    assert messages == made == messages_of(log, keep_heard_prefix=keep_heard_prefix)
    assert state == state_of(log, keep_heard_prefix=keep_heard_prefix)


def test_restart_after_every_event_of_a_conversation(path):
    log = conversation_log(12, seed=5)
    for position, event in enumerate(log):
        ending = dying if position % 3 else writing
        with ending(path, snapshot_bytes=300) as writer:
            assert writer.restored.authority.state == state_of(log[:position])
            commit(writer, event)
    assert stored(path)[:2] == (messages_of(log), state_of(log))


def test_a_finished_conversation_replayed_as_a_whole_is_inert(path):
    log = conversation_log(10, seed=1)
    with writing(path) as writer:
        first = commit(writer, *log)
    with writing(path) as writer:
        assert commit(writer, *log) == ()
        assert [commit(writer, event) for event in log] == [()] * len(log)
    assert stored(path)[0] == list(first)


@pytest.mark.parametrize("seed", range(6))
def test_redelivery_after_losing_what_was_not_committed_converges(path, seed):
    rng = random.Random(seed)
    log = conversation_log(8, seed=seed)
    whole = messages_of(log)
    done_up_to = 0
    while done_up_to < len(log):
        with dying(path, snapshot_bytes=rng.choice([1, 400, 10**6])) as writer:
            assert list(writer.restored.messages) == whole[: len(writer.restored.messages)]
            start = rng.randint(0, done_up_to)
            stop = min(len(log), done_up_to + rng.randint(1, 12))
            for batch in in_batches(log[start:stop], rng):
                commit(writer, *batch)
            done_up_to = stop
    assert stored(path)[0] == whole


def test_the_caller_goes_on_with_an_authority_of_its_own(path):
    with writing(path) as writer:
        commit(writer, *HELLO[:2])
    with writing(path) as writer:
        writer.restored.authority.apply(done("r"))  # applied, never committed
    assert [entry.item_ids for entry in stored(path)[0]] == [("u",)]


def test_the_mode_of_heard_prefixes_is_that_of_each_opening(path):
    cut = [user("u", None, "go on"), spoken("r", "d", "a", "u", "one two"), trunc("r", "a", "one")]
    with dying(path, keep_heard_prefix=True) as writer:
        commit(writer, *cut)
    with dying(path, keep_heard_prefix=False) as writer:
        # What was heard under the other mode stays heard: the journal was replayed as written.
        assert writer.restored.authority.state == state_of(cut, keep_heard_prefix=True)
        assert [len(made.item_ids) for made in commit(writer, intr("r"))] == [1]
        commit(
            writer, user("v", "a", "next"), spoken("s", "e", "b", "v", "1 2"), trunc("s", "b", "1")
        )
        assert commit(writer, intr("s")) == ()
    with writing(path, keep_heard_prefix=True) as writer:
        assert [entry.item_ids for entry in writer.restored.messages] == [("u",), ("a",), ("v",)]


def test_a_new_session_in_either_mode(path):
    cut = [spoken("r", "d", "a", None, "one two"), trunc("r", "a", "one"), intr("r")]
    for session_id, kept in (("s", True), ("t", False)):
        with dying(path, session_id, keep_heard_prefix=kept) as writer:
            assert bool(commit(writer, *cut)) is kept
        assert bool(stored(path, session_id, keep_heard_prefix=kept)[0]) is kept


# ---------------------------------------------------------------- staged text


def test_staged_text_is_durable_and_in_no_history(path):
    with dying(path) as writer:
        commit(writer, *HELLO)
        assert commit(writer, stage=[staged("s1", "one", "a"), staged("s2", " two", "s1")]) == ()
    messages, state, entries = stored(path)
    assert [entry.item_ids for entry in messages] == [("u",), ("a",)]
    assert state == state_of(HELLO)
    assert entries == [staged("s1", "one", "a"), staged("s2", " two", "s1")]


def test_staging_the_same_twice_stages_once(path):
    with writing(path) as writer:
        commit(writer, stage=[staged("s"), staged("s")])
        commit(writer, stage=[staged("s")])
    with writing(path) as writer:
        commit(writer, stage=[staged("s")])
    assert rows(path, "staged") == 1
    assert stored(path)[2] == [staged("s")]


@pytest.mark.parametrize(
    "other", [staged("s", "other"), staged("s", "hello", "elsewhere")], ids=["text", "place"]
)
def test_other_text_under_a_staged_id_is_a_conflict_and_nothing_of_the_batch_is_done(path, other):
    with writing(path) as writer:
        commit(writer, stage=[staged("s")])
        with pytest.raises(StagedTextConflict, match=r"other text is staged .* 's'"):
            commit(writer, *HELLO, stage=[staged("t"), other])
        with pytest.raises(StagedTextConflict):
            commit(writer, stage=[staged("t", "a"), staged("t", "b")])
        assert commit(writer) == ()
    assert stored(path)[0] == []
    assert stored(path)[2] == [staged("s")]


def test_text_that_was_committed_before_is_not_staged_again(path):
    with writing(path) as writer:
        commit(writer, user("s", None, "hello"))
        assert commit(writer, stage=[staged("s", "hello")]) == ()
        with pytest.raises(StagedTextConflict, match="other text is settled"):
            commit(writer, stage=[staged("s", "other")])
    assert stored(path)[2] == []


def test_committing_staged_texts_makes_them_messages_in_stage_order(path):
    entries = [staged("s2", "hello"), staged("s1", " world", "s2")]
    with dying(path) as writer:
        commit(writer, stage=entries)
    with dying(path) as writer:
        assert list(writer.restored.staged) == entries
        made = writer.commit(TranscriptBatch.committing(writer.restored.staged))
        assert [entry.message for entry in made] == [UserMessage("hello"), UserMessage(" world")]
    assert stored(path)[0] == list(made)
    assert stored(path)[2] == []


def test_discarding_staged_text_leaves_nothing(path):
    with dying(path) as writer:
        commit(writer, stage=[staged("s1"), staged("s2")])
        commit(writer, unstage=["s1", "unknown"])
        commit(writer, unstage=["s1"])
    assert stored(path)[0] == []
    assert stored(path)[2] == [staged("s2")]


def test_an_id_can_be_staged_again_after_it_was_discarded(path):
    with dying(path) as writer:
        commit(writer, stage=[staged("s", "first"), staged("t", "second")])
        commit(writer, stage=[staged("s", "third")], unstage=["s"])
    assert stored(path)[2] == [staged("t", "second"), staged("s", "third")]


# ---------------------------------------------------------------- what it costs


class Counted:
    """A connection that counts the statements that write, and their bytes."""

    def __init__(self, connection):
        self._connection = connection
        self.statements = self.bytes = 0

    def execute(self, sql, values=()):
        if sql.startswith(("INSERT", "UPDATE", "DELETE")):
            self.statements += 1
            self.bytes += sum(len(value) for value in values if isinstance(value, bytes))
        return self._connection.execute(sql, values)

    def __getattr__(self, name):
        return getattr(self._connection, name)


def turn(number, before):
    """Six events in two batches, of which three items come."""
    u, a, c, r = (f"{kind}{number:06}" for kind in "uacr")
    yield [obs(u, before, "user"), user(u, before, "a question of the usual length")]
    yield [
        *(spoken(r, f"{r}.{part}", a, u, f"part {part} of the answer ") for part in range(3)),
        skip(c, a),
        done(r, tokens=(100, 100)),
    ]


def test_what_an_event_costs_does_not_depend_on_the_length_of_the_conversation(path):
    costs, items, last = [], 0, "first"
    with dying(path, snapshot_bytes=8192) as writer:
        commit(writer, skip("first"))
        counted = writer._connection = Counted(writer._connection)
        for length in (1_000, 100_000):
            # Items up to where it is measured, many at a time.
            while items < length - 600:
                batch = []
                for number in range(items, min(items + 1000, length - 600)):
                    item = f"f{number:06}"
                    batch.append(user(item, last, "text") if number % 5 else skip(item, last))
                    last = item
                items += len(batch)
                commit(writer, *batch)
            writer._try_snapshot()
            before = counted.statements, counted.bytes
            for number in range(items, items + 600, 3):
                for batch in turn(number, last):
                    commit(writer, *batch)
                last = f"c{number:06}"
            items += 600
            writer._try_snapshot()
            costs.append((counted.statements - before[0], counted.bytes - before[1]))
        assert len(writer._conversation.authority._items.order.settled) == 100_001
    (few_statements, few_bytes), (many_statements, many_bytes) = costs
    assert many_statements <= few_statements < 200 * 13
    assert many_bytes <= few_bytes * 1.02  # numbers in the counters have more digits


def test_the_file_is_bounded_by_messages_and_items_and_not_by_deltas(folder):
    def size(name, pieces):
        path = folder / name
        largest = 0
        with dying(path, snapshot_bytes=8192) as writer:
            for number in range(100):
                u, a, r = f"u{number}", f"a{number}", f"r{number}"
                commit(writer, user(u, f"a{number - 1}" if number else None, "question"))
                for piece in range(pieces):
                    delta = "x" * (3000 // pieces)
                    commit(writer, spoken(r, f"a delta id {number}.{piece}", a, u, delta))
                commit(writer, done(r))
                largest = max(largest, rows(path, "journal"))
        return path.stat().st_size, largest

    whole, _ = size("whole.db", 1)
    in_pieces, journal_rows = size("pieces.db", 100)
    assert in_pieces < whole * 1.1
    assert journal_rows < 200


def test_much_unsettled_text_does_not_make_snapshots_expensive(path):
    # A response that never ends: every snapshot contains all of it.
    with dying(path, snapshot_bytes=1000) as writer:
        counted = writer._connection = Counted(writer._connection)
        for number in range(2000):
            commit(writer, spoken("r", f"d{number}", "a", None, "some more text "))
        length = writer._snapshot_bytes
        assert length > 30_000
        assert counted.bytes < 12 * (length + writer._journal_bytes)
    assert stored(path)[0] == []


def test_a_clean_end_leaves_nothing_to_replay(path):
    with writing(path) as writer:
        commit(writer, *HELLO, text("s", "e", "b", "a", "unfinished"))
    assert rows(path, "journal") == 0
    assert stored(path)[1] == state_of([*HELLO, text("s", "e", "b", "a", "unfinished")])


def test_a_run_of_deltas_is_one_record(path):
    log = [spoken("r", f"d{number}", "a", "u", f"{number} ") for number in range(50)]
    with dying(path) as writer:
        commit(writer, *log)
        few = writer._journal_bytes
        commit(writer, *(spoken(f"r{n}", f"d{n}", f"a{n}", "u", f"{n} ") for n in range(50)))
        assert few * 2 < writer._journal_bytes - few
    assert stored(path)[1].items["a"].content_segments == {0: "".join(d.delta for d in log)}
