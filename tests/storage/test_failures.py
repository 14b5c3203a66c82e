"""Disks that are full, read-only or slow: typed errors, and nothing lost that could be kept."""

from __future__ import annotations

import errno
import os
import shutil

import pytest
from storage.storage_kit import (
    as_nobody,
    commit,
    conversation_log,
    messages_of,
    run,
    staged,
    stored,
    writing,
)
from transcript.transcript_kit import done, text, user

from meerkat_rt.storage import (
    JournalClosed,
    StoreBusy,
    StoreFull,
    StoreNotFound,
    StoreReadOnly,
    StoreUnavailable,
    StoreWriteFailed,
    journal,
)
from meerkat_rt.storage.failures import of_os_error
from meerkat_rt.storage.schema import StoreOptions, connect


def limit(writer, pages):
    writer._connection.execute(f"PRAGMA max_page_count = {pages}")


def fill(writer):
    """Commits until the disk is full; returns the events that were committed, and the one not."""
    limit(writer, 1)  # as many as there are
    committed, previous = [], None
    for number in range(1000):
        event = user(f"u{number}", previous, "x" * 500)
        try:
            commit(writer, event)
        except StoreFull:
            return committed, event
        committed.append(event)
        previous = event.item_id
    raise AssertionError("never full")


# ---------------------------------------------------------------- full


def test_a_full_disk_loses_nothing_that_was_announced(path):
    with writing(path) as writer:
        committed, _ = fill(writer)
    assert committed
    assert stored(path)[0] == messages_of(committed)


def test_what_could_not_be_written_goes_in_with_the_next_commit(path):
    with writing(path) as writer:
        committed, refused = fill(writer)
        more = user("more", refused.item_id, "y")
        with pytest.raises(StoreFull):
            commit(writer, more)
        limit(writer, 10_000)
        made = commit(writer)
        assert [entry.item_ids for entry in made] == [(refused.item_id,), ("more",)]
        assert commit(writer) == ()
    assert stored(path)[0] == messages_of([*committed, refused, more])


def test_text_that_could_not_be_staged_is_not_staged_later(path):
    with writing(path) as writer:
        _, refused = fill(writer)
        with pytest.raises(StoreFull):
            commit(writer, stage=[staged("s", "z" * 5000)])
        limit(writer, 10_000)
        assert [entry.item_ids for entry in commit(writer)] == [(refused.item_id,)]
        assert stored_staged(writer) == []
        commit(writer, stage=[staged("s", "other text")])
    assert stored(path)[2] == [staged("s", "other text")]


def stored_staged(writer):
    return writer._connection.execute("SELECT * FROM staged").fetchall()


def test_removing_staged_text_is_kept_for_later_too(path):
    with writing(path) as writer:
        commit(writer, stage=[staged("s")])
        _, refused = fill(writer)
        with pytest.raises(StoreFull):
            commit(writer, *[user(f"v{n}", None, "x" * 900) for n in range(9)], unstage=["s"])
        assert len(stored_staged(writer)) == 1
        limit(writer, 10_000)
        assert len(commit(writer)) == 10
        assert stored_staged(writer) == []
    assert refused.item_id in stored(path)[1].items


def test_a_snapshot_that_finds_no_room_is_not_missed(path, caplog):
    log = conversation_log(20, seed=4)
    with writing(path, snapshot_bytes=10**9) as writer:
        commit(writer, *log)
        limit(writer, 1)
        writer._try_snapshot()
        assert "no snapshot of session 's'" in caplog.text
        limit(writer, 10_000)
        commit(writer, user("last", None, "the end"))
    assert stored(path)[0] == messages_of([*log, user("last", None, "the end")])


def test_a_snapshot_that_fails_in_an_unforeseen_way_does_not_hide_what_was_committed(path, caplog):
    moments = []

    def clock():
        moments.append(len(moments))
        if len(moments) == 2:
            raise OSError("no clock")  # for the snapshot, when the commit is durable
        return 1.0

    with writing(path, snapshot_bytes=1, wall_clock=clock) as writer:
        made = commit(writer, user("u", None, "hello"))
        assert "no clock" in caplog.text
    assert [entry.item_ids for entry in made] == [("u",)]
    assert stored(path)[0] == list(made)


def test_closing_without_room_for_the_last_snapshot(path):
    log = conversation_log(20, seed=4)
    with writing(path, snapshot_bytes=10**9) as writer:
        commit(writer, *log)
        limit(writer, 1)
    assert stored(path)[0] == messages_of(log)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_closing_a_writer_with_unwritten_batches_takes_no_snapshot_of_them(path):
    with writing(path, snapshot_bytes=1) as writer:
        committed, _ = fill(writer)
        limit(writer, 10_000)
    messages, state, _ = stored(path)
    assert messages == messages_of(committed)
    assert len(state.items) == len(committed)


def test_the_size_that_a_store_may_reach(path):
    with pytest.raises(StoreFull), writing(path, max_bytes=8192):
        pass
    with writing(path, max_bytes=200_000) as writer:
        with pytest.raises(StoreFull, match="full") as refused:
            commit(writer, *(user(f"u{number}", None, "x" * 1000) for number in range(1000)))
        assert refused.value.retryable
    assert path.stat().st_size <= 200_000


def test_a_limit_of_less_than_a_page_is_a_limit(path):
    with pytest.raises(StoreFull), writing(path, max_bytes=4000):
        pass


SIZE_LIMIT = """
    import resource, sys
    from storage.storage_kit import commit, writing
    from transcript.transcript_kit import user
    from meerkat_rt.storage import StoreError
    from pathlib import Path

    with writing(Path(sys.argv[1])) as writer:
        commit(writer, user("u", None, "hello"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
        number = 0
        try:
            while True:
                commit(writer, user(f"u{number}", None, "x" * 1000))
                number += 1
        except StoreError as error:
            print(type(error).__name__, error.retryable, number)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        print(len(commit(writer)))
"""


def test_a_limit_of_the_operating_system(path):
    name, retryable, number, later = run(SIZE_LIMIT, path)
    assert (name, retryable, later) == ("StoreWriteFailed", "True", "1")
    assert len(stored(path)[0]) == int(number) + 2


# ---------------------------------------------------------------- read-only

READ_ONLY = """
    path = Path(sys.argv[1])
    for attempt in (lambda: stored(path)[0], lambda: SqliteStore(path)._read("s").messages):
        try:
            print(len(attempt()))
        except StoreError as error:
            print(type(error).__name__)
"""


@pytest.fixture
def filled(path):
    with writing(path) as writer:
        commit(writer, user("u", None, "hello"))
    yield path
    path.parent.chmod(0o755)


def test_a_read_only_directory_can_be_read_and_not_written(filled):
    filled.chmod(0o444)
    filled.parent.chmod(0o555)
    assert as_nobody(READ_ONLY, filled) == ["StoreReadOnly", "1"]


def test_a_read_only_file_in_a_directory_that_is_not(filled):
    filled.parent.chmod(0o777)
    filled.chmod(0o444)
    assert as_nobody(READ_ONLY, filled) == ["StoreReadOnly", "1"]


def test_a_read_only_directory_without_a_store(path):
    path.parent.chmod(0o555)
    assert as_nobody(READ_ONLY, path) == ["StoreReadOnly", "StoreReadOnly"]
    path.parent.chmod(0o755)


def test_a_store_that_nobody_may_read(filled):
    filled.parent.chmod(0o777)
    filled.chmod(0o000)
    assert as_nobody(READ_ONLY, filled) == ["StoreReadOnly", "StoreReadOnly"]


# ---------------------------------------------------------------- a file that is gone


@pytest.mark.parametrize("how", ["removed", "moved", "replaced"])
def test_what_is_written_to_a_file_that_is_gone_is_not_announced(path, how):
    elsewhere = path.with_name("elsewhere.db")
    with writing(path) as writer:
        commit(writer, user("u", None, "hello"))
        if how == "removed":
            path.unlink()
        else:
            path.rename(elsewhere)
        if how == "replaced":
            shutil.copy(elsewhere, path)
        with pytest.raises(StoreUnavailable, match="removed, moved or replaced") as refused:
            commit(writer, user("v", "u", "again"))
        assert not refused.value.retryable
        with pytest.raises(JournalClosed, match="removed, moved or replaced"):
            commit(writer)


def test_a_file_that_is_gone_as_soon_as_it_is_open(path, monkeypatch):
    def opened(path, options):
        connection = connect(path, options)
        path.unlink()
        return connection

    monkeypatch.setattr(journal, "connect", opened)
    with pytest.raises(StoreUnavailable, match="no such file"), writing(path):
        pass
    assert not any(entry.suffix == ".lock" for entry in path.parent.iterdir())


def test_a_file_that_cannot_be_looked_at_is_not_known_to_be_gone(path):
    path.parent.chmod(0o777)
    code = """
        folder = Path(sys.argv[1]).parent / "folder"
        folder.mkdir()
        with writing(folder / "c.db") as writer:
            commit(writer, user("u", None, "hello"))
            folder.chmod(0o600)
            print(len(commit(writer, user("v", "u", "again"))))
            folder.chmod(0o755)
        print(len(stored(folder / "c.db")[0]))
    """
    assert as_nobody(code, path) == ["1", "2"]


# ---------------------------------------------------------------- busy, and the rest


def test_others_that_write_for_too_long(path):
    with writing(path, busy_timeout=0.05) as writer:
        commit(writer, user("u", None, "hello"))
        other = connect(path, StoreOptions())
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusy) as refused:
            commit(writer, text("r", "d", "a", "u", "hi"), done("r"))
        assert refused.value.retryable
        other.execute("ROLLBACK")
        other.close()
        assert [entry.item_ids for entry in commit(writer)] == [("a",)]


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, StoreFull),
        (errno.EDQUOT, StoreFull),
        (errno.EROFS, StoreReadOnly),
        (errno.EACCES, StoreReadOnly),
        (errno.EIO, StoreWriteFailed),
        (errno.EMFILE, StoreWriteFailed),
        (errno.ENOENT, StoreNotFound),
        (errno.ENAMETOOLONG, StoreUnavailable),
        (errno.ELOOP, StoreUnavailable),
    ],
)
def test_errors_of_the_operating_system(path, number, kind):
    error = of_os_error(OSError(number, os.strerror(number)), path)
    assert type(error) is kind
    assert error.path == str(path)
