"""How a store's file is made, brought up to date, and told from other files."""

from __future__ import annotations

import multiprocessing
import sqlite3

import pytest
from storage.storage_kit import before_each_statement, commit, stored, writing
from transcript.transcript_kit import user

from meerkat_rt.storage import (
    NotAStore,
    SessionNotFound,
    StoreBusy,
    StoreError,
    StoreReadOnly,
    StoreTooNew,
    StoreUnavailable,
    journal,
    schema,
)
from meerkat_rt.storage.reading import read_store
from meerkat_rt.storage.schema import MIGRATIONS, StoreOptions, connect
from meerkat_rt.storage.sqlite import SqliteStore


def read_sessions(path, **options):
    return SqliteStore(path, **options)._sessions()


def database(path, *statements):
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


# ---------------------------------------------------------------- not a store


@pytest.mark.parametrize(
    "content", [b"# a shopping list\n" * 500, b"SQLite format 3\0" + b"x" * 900]
)
def test_another_kind_of_file_is_refused_and_left_alone(path, content):
    path.write_bytes(content)
    for attempt in (stored, read_sessions):
        with pytest.raises(NotAStore) as refused:
            attempt(path)
        assert str(path) in str(refused.value)
        assert not refused.value.retryable
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TABLE notes (text TEXT)"],
        ["PRAGMA application_id = 77"],
        ["PRAGMA user_version = 1"],
        ["CREATE TABLE notes (text TEXT)", "PRAGMA user_version = 500"],
    ],
    ids=["tables", "application", "version", "version and tables"],
)
def test_another_applications_database_is_refused_and_left_alone(path, statements):
    database(path, *statements)
    content = path.read_bytes()
    for attempt in (stored, read_sessions):
        with pytest.raises(NotAStore, match="another application's"):
            attempt(path)
    assert path.read_bytes() == content
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_directory_is_refused(folder):
    for attempt in (stored, read_sessions):
        with pytest.raises(StoreUnavailable, match="is a directory"):
            attempt(folder)


def test_a_missing_directory_is_named(path):
    for attempt in (stored, read_sessions):
        with pytest.raises(StoreUnavailable, match=r"no directory .*nowhere"):
            attempt(path.parent / "nowhere" / path.name)


def test_a_missing_file_can_be_written_and_not_read(path):
    with pytest.raises(StoreUnavailable, match="no such file"):
        read_sessions(path)
    assert not path.exists()
    assert stored(path)[0] == []
    assert read_sessions(path) == ()


@pytest.mark.parametrize("statements", [[], ["PRAGMA journal_mode = WAL"]], ids=["empty", "log"])
def test_a_file_without_tables_has_no_sessions_and_becomes_a_store_when_it_is_written(
    path, statements
):
    # As it is while it is made, and where its maker was killed.
    path.touch()
    database(path, *statements)
    assert read_sessions(path) == ()
    with pytest.raises(SessionNotFound):
        SqliteStore(path)._read("s")
    assert stored(path)[0] == []
    assert read_sessions(path) == ()


@pytest.mark.parametrize("name", ["a\0b.db", "\ud83d.db"], ids=["NUL", "half a surrogate pair"])
def test_what_is_not_the_name_of_a_file(path, name):
    for attempt in (stored, read_sessions):
        with pytest.raises(StoreUnavailable, match="not the name of a file") as refused:
            attempt(path.with_name(name))
        str(refused.value).encode()
    assert list(path.parent.iterdir()) == []


# ---------------------------------------------------------------- versions


def test_a_later_version_is_refused_and_left_alone(path):
    with writing(path) as writer:
        commit(writer, user("u", None, "hello"))
    database(path, "PRAGMA user_version = 99")
    content = path.read_bytes()
    for attempt in (stored, read_sessions):
        with pytest.raises(StoreTooNew, match="schema 99, known 1") as refused:
            attempt(path)
        assert (refused.value.found, refused.value.known) == (99, len(MIGRATIONS))
    assert path.read_bytes() == content


NEWER = (*MIGRATIONS, "CREATE TABLE extra (note TEXT); INSERT INTO extra VALUES ('made')")
BROKEN = (*MIGRATIONS, "CREATE TABLE extra (note TEXT); INSERT INTO nonsense VALUES (1)")


def notes(connection):
    return connection.execute("SELECT note FROM extra").fetchall()


def test_an_older_store_is_brought_up_to_date_with_everything_in_it(path):
    with writing(path) as writer:
        commit(writer, user("u", None, "hello"))
    with pytest.raises(StoreReadOnly, match="schema 1 has to be brought up to 2"):
        read_store(path, StoreOptions(migrations=NEWER), notes)
    with writing(path, migrations=NEWER) as writer:
        assert [entry.item_ids for entry in writer.restored.messages] == [("u",)]
        commit(writer, user("v", "u", "again"))
    assert len(stored(path, migrations=NEWER)[0]) == 2
    assert read_store(path, StoreOptions(migrations=NEWER), notes) == [("made",)]
    with pytest.raises(StoreTooNew):
        stored(path)


def test_a_migration_that_fails_leaves_the_older_store_as_it_was(path):
    with writing(path) as writer:
        commit(writer, user("u", None, "hello"))
    with pytest.raises(StoreError, match="nonsense"):
        connect(path, StoreOptions(migrations=BROKEN))
    assert len(stored(path)[0]) == 1
    assert len(stored(path, migrations=NEWER)[0]) == 1


def test_a_writer_notices_that_the_store_was_migrated_under_it(path):
    with writing(path) as writer:
        commit(writer, user("u", None, "hello"))
        with writing(path, "another", migrations=NEWER):
            pass
        with pytest.raises(StoreTooNew):
            commit(writer, user("v", "u", "again"))
    assert len(stored(path, migrations=NEWER)[0]) == 1


def test_a_store_migrated_between_opening_and_reading_is_too_new(path, monkeypatch):
    begun(path, "s")

    def opened(*arguments):
        connection = connect(*arguments)
        connect(path, StoreOptions(migrations=(*MIGRATIONS, "DROP TABLE message"))).close()
        return connection

    monkeypatch.setattr(journal, "connect", opened)
    with pytest.raises(StoreTooNew):
        stored(path)


def begun(path, session_id, **options):
    with writing(path, session_id, **options) as writer:
        commit(writer, user("u", None, f"hello from {session_id}"))


def begin(path, number, results):
    try:
        begun(path, f"s{number}")
        results.put(None)
    except BaseException as error:
        results.put(repr(error))


def test_many_processes_make_one_store_at_the_same_time(path):
    spawn = multiprocessing.get_context("forkserver")
    spawn.set_forkserver_preload(["storage.storage_kit"])
    results = spawn.Queue()
    processes = [spawn.Process(target=begin, args=(path, n, results)) for n in range(4)]
    for process in processes:
        process.start()
    assert [results.get(timeout=30) for _ in processes] == [None] * 4
    for process in processes:
        process.join()
    results.close()
    assert {session.session_id for session in read_sessions(path)} == {f"s{n}" for n in range(4)}


@pytest.mark.parametrize("moment", range(10))
def test_another_makes_the_store_between_two_statements_of_ours(path, monkeypatch, moment):
    statements = 0
    other = None

    def make_another(_statement):
        nonlocal statements, other
        statements += 1
        if statements == moment + 1:
            monkeypatch.undo()
            try:
                begun(path, "other", busy_timeout=0)
                other = "written"
            except StoreError as error:  # it is our turn, and the other one does not wait
                other = error

    before_each_statement(monkeypatch, make_another)
    begun(path, "s")
    assert other is not None
    expected = {"s", "other"} if other == "written" else {"s"}
    assert {session.session_id for session in read_sessions(path)} == expected


def test_the_switch_to_the_log_waits_for_another_that_has_just_the_write_lock(path, monkeypatch):
    # SQLite does not wait there, whatever its timeout.
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    statements = []

    def end_after_the_switch(statement):
        if statements and "journal_mode" in statements[-1]:
            other.execute("ROLLBACK")
            other.close()
        statements.append(statement)

    before_each_statement(monkeypatch, end_after_the_switch)
    connection = connect(path, StoreOptions())
    connection.close()
    assert sum("journal_mode" in statement for statement in statements) == 2


def test_another_that_keeps_the_write_lock_while_a_store_is_made(path):
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusy):
        connect(path, StoreOptions(busy_timeout=0))
    other.close()
    begun(path, "s")


class Busy:
    """A connection that is always told that others are busy when it makes the switch."""

    def __init__(self):
        self.switches = 0

    def execute(self, statement):
        if "journal_mode" in statement:
            self.switches += 1
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY_RECOVERY
            raise error


def test_the_switch_to_the_log_is_given_up_at_last():
    busy = Busy()
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        schema._switch_to_log(busy)
    assert busy.switches == 5


# ---------------------------------------------------------------- options


def test_a_commit_waits_for_the_disk_unless_told_otherwise(path):
    for sync, level in ((True, 2), (False, 1)):
        connection = connect(path, StoreOptions(sync=sync))
        assert connection.execute("PRAGMA synchronous").fetchone() == (level,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        connection.close()
