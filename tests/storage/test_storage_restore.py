"""What is read is what was written, or there is an error that says where it is not."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3

import pytest
from storage.storage_kit import commit, conversation_log, dying, staged, stored, writing
from transcript.transcript_kit import spoken, text, user

from meerkat_rt.model.conversation import SystemMessage
from meerkat_rt.storage import StoreCorrupted, StoredStateRefused, StoreError
from meerkat_rt.storage.encoding import checksum, from_bytes, to_bytes
from meerkat_rt.storage.sqlite import SqliteStore
from meerkat_rt.transcript import TranscriptStateRule

LOG = conversation_log(6, seed=2)


@pytest.fixture
def store(path):
    """Two sessions with something in every table."""
    for session_id in ("s", "other"):
        with dying(path, session_id) as writer:
            commit(writer, *LOG[:20], history=[SystemMessage("be kind")])
            writer._try_snapshot()
            commit(writer, *LOG[20:], text("open", "d1", "waiting", "unknown", "text"))
            commit(writer, text("open", "d2", "waiting", None, "more"))
            commit(writer, stage=[staged("s1"), staged("s2")])
    return path


@pytest.fixture
def edit(store):
    """Changes the file behind the store's back."""

    def edit(sql, values=()):
        connection = sqlite3.connect(store)
        changed = connection.execute(sql, values).rowcount
        connection.commit()
        connection.close()
        assert changed > 0

    return edit


def refused(path):
    with pytest.raises(StoreCorrupted) as by_writer:
        stored(path)
    with pytest.raises(StoreCorrupted) as by_reader:
        SqliteStore(path)._read("s")
    assert str(by_reader.value) == str(by_writer.value)
    # It is as it was, and so are others.
    assert stored(path, "other")[2] == [staged("s1"), staged("s2")]
    error = by_writer.value
    assert error.session_id == "s"
    assert error.path == str(path)
    assert not error.retryable
    return error


NUMBERED = ["message", "journal", "staged"]
KEYS = {**dict.fromkeys(NUMBERED, "number"), "item": "seen", "response": "response_id"}
TABLES = [*KEYS, "snapshot", "session"]
KEY_OF_S = "(SELECT key FROM session WHERE session_id = 's')"


def where(table):
    return "session_id = 's'" if table == "session" else f"session = {KEY_OF_S}"


@pytest.mark.parametrize("table", TABLES)
def test_a_changed_body_is_found(store, edit, table):
    edit(f"UPDATE {table} SET body = replace(body, 'e', 'f') WHERE {where(table)}")
    error = refused(store)
    assert error.table == table
    assert "checksum does not match" in str(error)
    if table in KEYS:
        assert error.row


@pytest.mark.parametrize("table", TABLES)
def test_a_changed_checksum_is_found(store, edit, table):
    edit(f"UPDATE {table} SET checksum = x'00' WHERE {where(table)}")
    assert refused(store).table == table


@pytest.mark.parametrize("table", TABLES)
def test_a_body_that_is_no_bytes_is_found(store, edit, table):
    edit(f"UPDATE {table} SET body = 'text' WHERE {where(table)}")
    assert refused(store).table == table


@pytest.mark.parametrize("which", ["min", "max"])
@pytest.mark.parametrize("table", KEYS)
def test_a_missing_row_is_found(store, edit, table, which):
    key = KEYS[table]
    edit(
        f"DELETE FROM {table} WHERE {where(table)}"
        f" AND {key} = (SELECT {which}({key}) FROM {table} WHERE {where(table)})"
    )
    error = refused(store)
    assert error.table == table
    if table == "message":
        assert error.row == ("1" if which == "min" else "13")


def test_a_missing_snapshot_is_found(store, edit):
    edit(f"DELETE FROM snapshot WHERE {where('snapshot')}")
    assert refused(store).table == "snapshot"


@pytest.mark.parametrize("table", ["message", "journal", "item", "staged"])
def test_rows_that_changed_places_are_found(store, edit, table):
    key = KEYS[table]
    edit(f"UPDATE {table} SET {key} = -{key} WHERE {where(table)}")
    edit(
        f"UPDATE {table} SET {key} = {key} + (SELECT 1 - min({key}) FROM {table}"
        f" WHERE {where(table)}) WHERE {where(table)}"
    )
    assert refused(store).table == table


def test_a_row_of_another_session_is_found(store, edit):
    edit(f"DELETE FROM message WHERE {where('message')} AND number = 3")
    edit(
        f"INSERT INTO message SELECT {KEY_OF_S}, number, body, checksum FROM message"
        f" WHERE session != {KEY_OF_S} AND number = 3"
    )
    error = refused(store)
    assert (error.table, error.row) == ("message", "3")


def test_an_old_snapshot_with_its_old_journal_is_found(path):
    with dying(path) as writer:
        commit(writer, *LOG[:20])
        writer._try_snapshot()
    old = sqlite3.connect(path)
    row = old.execute("SELECT * FROM snapshot").fetchone()
    old.close()
    with writing(path) as writer:
        commit(writer, *LOG[20:])
    connection = sqlite3.connect(path)
    connection.execute("REPLACE INTO snapshot VALUES (?, ?, ?)", row)
    connection.commit()
    connection.close()
    with pytest.raises(StoreCorrupted, match="of another moment"):
        stored(path)


# ---------------------------------------------------------------- right checksums, wrong content


class Forger:
    """Writes rows that are wrong, with checksums that are right."""

    def __init__(self, path):
        self.connection = sqlite3.connect(path)

    def change(self, table, change, row="", condition="1"):
        body = self.connection.execute(
            f"SELECT body FROM {table} WHERE {where(table)} AND {condition}"
        ).fetchone()[0]
        data = change(from_bytes(body))
        self.put(table, row, to_bytes(data), condition)

    def put(self, table, row, body, condition="1"):
        self.connection.execute(
            f"UPDATE {table} SET body = ?, checksum = ? WHERE {where(table)} AND {condition}",
            (body, checksum(table, "s", row, body)),
        )
        self.connection.commit()


@pytest.fixture
def forger(store):
    forger = Forger(store)
    yield forger
    forger.connection.close()


@pytest.mark.parametrize("table", TABLES)
def test_a_body_that_is_no_json_is_refused(store, forger, table):
    key = KEYS.get(table)
    row, condition = "", "1"
    if key is not None:
        found = forger.connection.execute(
            f"SELECT {key} FROM {table} WHERE {where(table)} ORDER BY {key} LIMIT 1"
        ).fetchone()[0]
        row = found.decode() if isinstance(found, bytes) else str(found)
        condition = f"{key} = x'{found.hex()}'" if isinstance(found, bytes) else f"{key} = {found}"
    for body in (b"{", b"\xff", b"null", b"[]", b'{"unexpected": 1}'):
        forger.put(table, row, body, condition)
        error = refused(store)
        assert error.table == table
        assert "cannot be read" in str(error)


SAID = {"type": "text", "text": "I never said that"}


def test_a_message_that_its_events_do_not_make_is_refused(store, forger):
    last = forger.connection.execute(
        f"SELECT max(number) FROM message WHERE {where('message')}"
    ).fetchone()[0]

    def other_text(data):
        data["message"] = {"role": "user", "content": [SAID]}
        return data

    forger.change("message", other_text, str(last), f"number = {last}")
    error = refused(store)
    assert (error.table, error.row) == ("message", str(last))
    assert "not what its events make" in str(error)


def test_a_message_that_no_item_has_is_refused(store, forger):
    def another_item(data):
        data["item_ids"] = ["stranger"]
        return data

    forger.change("message", another_item, "2", "number = 2")
    assert "there is none for the item '" in str(refused(store))

    def item_twice(data):
        data["item_ids"] = [LOG[0].item_id, LOG[0].item_id]
        return data

    forger.change("message", item_twice, "2", "number = 2")
    assert "repeats the item" in str(refused(store))


def test_a_message_that_no_event_makes_is_refused(store, forger):
    number = forger.connection.execute(
        f"SELECT max(number) FROM journal WHERE {where('journal')}"
    ).fetchone()[0]
    journal = "journal", str(number), f"number = {number}"
    forger.change(journal[0], lambda data: {**data, "history": 1}, *journal[1:])
    assert refused(store).table == "message"
    forger.change(journal[0], lambda data: {**data, "history": 0}, *journal[1:])
    assert stored(store)[2]


def test_a_state_that_breaks_a_rule_is_refused_with_the_rule_and_the_item(store, forger):
    with dying(store) as writer:
        writer._try_snapshot()

    def follows_itself(data):
        (item,) = [item for item in data["unsettled"]["items"] if item["item_id"] == "waiting"]
        item["previous_item_id"] = "waiting"
        return data

    forger.change("snapshot", follows_itself)
    error = refused(store)
    assert isinstance(error, StoredStateRefused)
    assert (error.rule, error.subject) == (TranscriptStateRule.NO_CYCLE, "waiting")
    assert "no_cycle" in str(error)
    assert "'waiting'" in str(error)


# ---------------------------------------------------------------- any damage at all


@pytest.fixture
def whole(folder):
    path = folder / "whole.db"
    with writing(path, snapshot_bytes=2000) as writer:
        for event in LOG:
            commit(writer, event)
        commit(writer, stage=[staged("s1")])
    return path


def is_refused(path, expected):
    """Whether a damaged file is refused; otherwise it must be read as it was written."""
    try:
        assert stored(path) == expected
    except StoreError:
        return True
    return False


def test_damaged_files_are_refused_or_read_as_they_were_written(whole, folder):
    expected, content = stored(whole), whole.read_bytes()
    rng = random.Random(7)
    used = [at for at in range(len(content)) if content[at]]
    refusals = 0
    for number in range(150):
        damaged = folder / f"damaged{number}.db"
        data = bytearray(content)
        at = rng.choice(used)
        length = rng.choice([1, 1, 1, 16, 600])
        data[at : at + length] = rng.randbytes(len(data[at : at + length]))
        damaged.write_bytes(data)
        refusals += is_refused(damaged, expected)
    assert refusals > 75


def test_files_cut_short_are_refused_or_read_as_they_were_written(whole, folder):
    expected, size = stored(whole), whole.stat().st_size
    refusals = 0
    for length in range(1024, size, 4096):
        cut = shutil.copy(whole, folder / f"cut{length}.db")
        os.truncate(cut, length)
        refusals += is_refused(cut, expected)
    assert refusals > 5


def test_a_store_without_its_tables_is_refused(path):
    with writing(path) as writer:
        commit(writer, user("u", None, "hello"), spoken("r", "d", "a", "u", "hi"))
    connection = sqlite3.connect(path)
    connection.execute("DROP TABLE item")
    connection.commit()
    connection.close()
    with pytest.raises(StoreCorrupted, match="no such table: item"):
        stored(path)
