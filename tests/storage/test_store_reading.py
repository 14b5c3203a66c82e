"""Reading a store without a lock: beside its writers, and where nothing may be written."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import ExitStack

import pytest
from storage.storage_kit import as_nobody, before_each_statement, commit, writing
from transcript.transcript_kit import user

from meerkat_rt.storage import StoreBusy, StoreCorrupted, StoreReadOnly, StoreTooNew, reading
from meerkat_rt.storage.reading import read_store
from meerkat_rt.storage.restore import SessionReader
from meerkat_rt.storage.schema import MIGRATIONS, StoreOptions, connect
from meerkat_rt.storage.sqlite import SqliteStore


def say(writer, *numbers):
    for number in numbers:
        commit(writer, user(f"u{number}", None, "x" * 2000))


def said(path, *numbers):
    with writing(path) as writer:
        say(writer, *numbers)


def count(path, before=None):
    """How many messages a reader finds; `before` is called when it has begun."""

    def read(connection):
        if before is not None:
            before()
        return SessionReader(connection, path, "s").load()

    return len(read_store(path, StoreOptions(), read).messages)


class AnotherUser:
    """Somebody who must not write the directory, as long as there is no log in it."""

    def __init__(self, monkeypatch):
        self.refused = True
        self.before_refusal = lambda: None
        self._original = reading._read
        monkeypatch.setattr(reading, "_read", self._read)

    def _read(self, path, mode, *arguments):
        if mode == "rw" and self.refused:
            self.before_refusal()
            raise StoreReadOnly(message="attempt to write a readonly database", path=str(path))
        return self._original(path, mode, *arguments)


@pytest.fixture
def another_user(monkeypatch):
    return AnotherUser(monkeypatch)


# ---------------------------------------------------------------- where nothing may be written


@pytest.mark.usefixtures("another_user")
def test_a_writer_that_came_and_went_while_it_was_read(path):
    said(path, *range(200))
    visits = iter([range(200, 400)])
    assert count(path, lambda: said(path, *next(visits, ()))) == 400


def test_a_writer_that_has_come_while_it_was_read(path, another_user):
    said(path, 1)
    with ExitStack() as stack:

        def come():
            if another_user.refused:
                another_user.refused = False
                say(stack.enter_context(writing(path)), 2)

        assert count(path, come) == 2


def test_a_writer_that_came_before_it_was_read(path, another_user):
    said(path, 1)
    with ExitStack() as stack:

        def come():
            another_user.refused = False
            say(stack.enter_context(writing(path)), 2)

        another_user.before_refusal = come
        assert count(path) == 2


@pytest.mark.usefixtures("another_user")
def test_writers_that_come_and_go_all_the_time(path):
    said(path, 0)
    numbers = iter(range(1, 100))
    with pytest.raises(StoreBusy, match="again and again") as refused:
        count(path, lambda: said(path, next(numbers)))
    assert refused.value.retryable
    assert next(numbers) < 10


def test_a_writer_that_is_there_can_be_read_beside_by_who_may_not_write(path):
    with writing(path) as writer:
        say(writer, 1, 2)
        path.parent.chmod(0o555)
        code = 'print(len(SqliteStore(sys.argv[1])._read("s").messages))'
        assert as_nobody(code, path) == ["2"]
        path.parent.chmod(0o755)


@pytest.mark.usefixtures("another_user")
def test_what_is_damaged_without_a_writer_is_damaged(path):
    said(path, 1)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("UPDATE message SET body = x'00'")
    connection.close()
    with pytest.raises(StoreCorrupted):
        count(path)


def test_the_log_is_looked_for_beside_the_file_and_not_beside_its_alias(folder):
    # A copy of a store that was being written.
    path, copy, links = folder / "c.db", folder / "copy", folder / "links"
    copy.mkdir()
    links.mkdir()
    said(path, 1)
    with writing(path) as writer:
        say(writer, 2)
        shutil.copy(path, copy)
        shutil.copy(f"{path}-wal", copy)
    (links / "alias.db").symlink_to(copy / "c.db")
    for directory, mode in ((folder, 0o755), (copy, 0o555), (links, 0o555)):
        directory.chmod(mode)
    code = """
        for path in map(Path, sys.argv[1:]):
            try:
                print(len(SqliteStore(path)._read("s").messages))
            except StoreError as error:
                print(type(error).__name__)
    """
    # Not the one message that is in the file.
    assert as_nobody(code, copy / "c.db", links / "alias.db") == ["StoreReadOnly"] * 2
    for directory in (copy, links):
        directory.chmod(0o755)


@pytest.mark.parametrize(
    ("name", "error"),
    [("x" * 300, "StoreUnavailable"), ("folder/c.db", "StoreReadOnly")],
    ids=["long", "unsearchable"],
)
def test_a_path_that_cannot_even_be_looked_at(path, name, error):
    (path.parent / "folder").mkdir(mode=0o000)
    path.parent.chmod(0o777)
    code = """
        path = Path(sys.argv[1])
        for attempt in (lambda: stored(path), lambda: SqliteStore(path)._sessions()):
            try:
                print(attempt())
            except StoreError as error:
                print(type(error).__name__)
    """
    assert as_nobody(code, path.parent / name) == [error] * 2
    (path.parent / "folder").chmod(0o755)


# ---------------------------------------------------------------- versions

NEWER = (*MIGRATIONS, "ALTER TABLE session RENAME TO conversation")


@pytest.mark.parametrize("moment", range(4))
@pytest.mark.parametrize("what", ["_sessions", "_read"])
def test_a_store_migrated_between_two_statements_is_read_as_it_was_or_too_new(
    path, monkeypatch, what, moment
):
    said(path, 1)
    statements = []

    def migrate(statement):
        statements.append(statement)
        if len(statements) == moment + 1:
            monkeypatch.undo()
            connect(path, StoreOptions(migrations=NEWER)).close()

    before_each_statement(monkeypatch, migrate)
    store = SqliteStore(path)
    try:
        assert (store._read("s") if what == "_read" else store._sessions()) != ()
    except StoreTooNew:
        assert moment < 3  # not when it had begun to read
    assert len(statements) > moment
