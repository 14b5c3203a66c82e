"""Streams of transcript events, a writer without trio, and processes of their own."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from pathlib import Path

from hypothesis import strategies as st
from transcript.transcript_kit import done, final, intr, obs, skip, spoken, text, trunc, user

from meerkat_rt.model.conversation import StopReason
from meerkat_rt.model.transcript import (
    AppendRealtimeTranscript,
    RealtimeTranscriptRole,
    TranscriptLane,
)
from meerkat_rt.runtime.ports import StagedTranscript, TranscriptBatch
from meerkat_rt.storage.conversation import stored_messages
from meerkat_rt.storage.journal import open_journal
from meerkat_rt.storage.schema import StoreOptions
from meerkat_rt.transcript import TranscriptAuthority

ROOT = Path(__file__).parents[2]

# ---------------------------------------------------------------- moments


def before_each_statement(monkeypatch, act):
    """SQLite's connections from now on `act` before each statement, with its text."""
    opened = sqlite3.connect

    def traced(*arguments, **options):
        connection = opened(*arguments, **options)
        connection.set_trace_callback(act)
        return connection

    monkeypatch.setattr(sqlite3, "connect", traced)


# ---------------------------------------------------------------- garbage

_items = st.sampled_from(["i1", "i2", "i3", "i4", " i1 ", ""])
_previous = st.sampled_from([None, "i1", "i2", "i3", "i4", "unknown", " "])
_responses = st.sampled_from(["r1", "r2", "r3", " r1 ", ""])
_deltas = st.sampled_from(["d1", "d2", "d3", "d4", "", " "])
_indexes = st.integers(-1, 2)
_texts = st.sampled_from(["", "a", "b ", "\N{GRINNING FACE}", "\ud83d", "x\0y\n", "\u2028"])

garbage_events = st.one_of(
    st.builds(
        obs, _items, _previous, st.sampled_from(["user", "assistant"]), st.none() | _responses
    ),
    st.builds(skip, _items, _previous),
    st.builds(user, _items, _previous, _texts, _indexes),
    st.builds(text, _responses, _deltas, _items, _previous, _texts, _indexes),
    st.builds(spoken, _responses, _deltas, _items, _previous, _texts, _indexes),
    st.builds(trunc, _responses, _items, _texts, _indexes),
    st.builds(final, _responses, _items, _texts, _indexes),
    st.builds(
        done,
        _responses,
        st.sampled_from([reason.value for reason in StopReason]),
        st.tuples(st.integers(0, 3), st.integers(0, 3)),
    ),
    st.builds(intr, _responses),
)
garbage_logs = st.lists(garbage_events, max_size=25)

# ---------------------------------------------------------------- well-formed logs


def conversation_log(turns, seed=0, *, deltas=4, prefix="", interrupts=True):
    """Turns of one chain: a user's text, an answer in deltas, now and then a tool or a barge-in."""
    rng = random.Random(seed)
    events, previous = [], None
    for turn in range(turns):
        said, answer, response = (f"{prefix}{kind}{turn}" for kind in ("u", "a", "r"))
        heard = user(said, previous, f"question {turn} \N{SNOWMAN}")
        late = rng.random() < 0.3
        answered = [
            spoken(response, f"{prefix}d{turn}.{number}", answer, said, f"word{number} ")
            for number in range(rng.randint(1, deltas))
        ]
        previous = answer
        events += [
            obs(said, None, "user") if turn == 0 else obs(said, heard.previous_item_id, "user")
        ]
        events += [*answered, heard] if late else [heard, *answered]
        if interrupts and rng.random() < 0.2:
            events += [
                trunc(response, answer, "word0"),
                intr(response),
                done(response, "cancelled"),
            ]
        else:
            if rng.random() < 0.3:
                call = f"{prefix}c{turn}"
                events += [skip(call, answer)]
                previous = call
            events += [final(response, answer, "".join(d.delta for d in answered))]
            events += [done(response, tokens=(turn + 1, 2))]
    return events


def in_batches(events, rng, largest=8):
    """The events in batches of random size."""
    position = 0
    while position < len(events):
        size = rng.randint(1, largest)
        yield events[position : position + size]
        position += size


def messages_of(events, *, keep_heard_prefix=True):
    """What an authority that never restarts makes of events."""
    authority = TranscriptAuthority(keep_heard_prefix=keep_heard_prefix)
    messages = []
    for event in events:
        messages += stored_messages(authority.apply(event))
    return messages


def staged(item_id, text_="hello", previous=None, role="user"):
    return StagedTranscript(
        AppendRealtimeTranscript(
            item_id=item_id,
            text=text_,
            role=RealtimeTranscriptRole(role),
            lane=TranscriptLane.DISPLAY,
        ),
        previous,
    )


# ---------------------------------------------------------------- a writer without trio


@contextmanager
def writing(path, session_id="s", *, keep_heard_prefix=True, wall_clock=None, **options):
    """The synchronous writer of a session.  Does not wait for the disk."""
    writer = open_journal(
        path,
        session_id,
        options=StoreOptions(**{"sync": False, **options}),
        keep_heard_prefix=keep_heard_prefix,
        wall_clock=wall_clock,
    )
    try:
        yield writer
    finally:
        writer.close()


@contextmanager
def dying(path, session_id="s", **options):
    """A writer that ends without closing: no last snapshot is taken."""
    with writing(path, session_id, **options) as writer:
        try:
            yield writer
        finally:
            writer._closed = "died"


def commit(writer, *events, **fields):
    return writer.commit(TranscriptBatch(events=events, **fields))


def stored(path, session_id="s", **options):
    """What a writer that opens the session now would go on with: messages, state, staged texts."""
    with dying(path, session_id, **options) as writer:
        restored = writer.restored
        return list(restored.messages), restored.authority.state, list(restored.staged)


# ---------------------------------------------------------------- processes


def run(code, *arguments):
    """The words that a Python program prints."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        env={
            **os.environ,
            "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout.split()


_AS_NOBODY = """
import os, sys
from pathlib import Path
from storage.storage_kit import commit, stored, writing
from transcript.transcript_kit import user
from meerkat_rt.storage import StoreError
from meerkat_rt.storage.lock import SessionLock
from meerkat_rt.storage.sqlite import SqliteStore

if os.getuid() == 0:  # whom no mode keeps out; now that everything is imported
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
"""


def as_nobody(code, *arguments):
    """As `run`, with what is needed imported, and never as root."""
    return run(_AS_NOBODY + textwrap.dedent(code), *arguments)
