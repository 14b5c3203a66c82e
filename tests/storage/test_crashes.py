"""A writer that is killed while it writes: nothing announced is missing, what is there is right.

Two hundred deaths in all, at points that only chance and the seed decide.
"""

from __future__ import annotations

import base64
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from storage.storage_kit import conversation_log, in_batches, run, staged, stored, writing
from transcript.transcript_kit import user

from meerkat_rt.runtime.ports import TranscriptBatch
from meerkat_rt.storage import SessionLocked
from meerkat_rt.storage.conversation import Conversation
from meerkat_rt.transcript import TranscriptAuthority

CHILD = Path(__file__).with_name("crash_child.py")
ROOT = Path(__file__).parents[2]


class Victim:
    """The process that forks those who write and are killed."""

    def __init__(self):
        self.writing = False
        self.process = subprocess.Popen(
            [sys.executable, str(CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def start(self, path, session_id, snapshot_bytes, batches):
        request = pickle.dumps((str(path), session_id, snapshot_bytes, batches))
        self.process.stdin.write(base64.b64encode(request) + b"\n")
        self.process.stdin.flush()
        word, pid = self.read()
        assert word == "pid"
        self.pid, self.writing = int(pid), True

    def read(self):
        return self.process.stdout.readline().decode().split()

    def kill(self):
        """Returns what the child had still said, and leaves nobody running."""
        self.writing = False
        os.kill(self.pid, signal.SIGKILL)
        said = []
        while (words := self.read())[0] != "dead":
            said.append(words)
        assert words[1] == str(int(signal.SIGKILL))
        return said

    def close(self):
        if self.writing:  # a test failed before it came to that
            self.kill()
        self.process.stdin.close()
        self.process.stdout.close()
        assert self.process.wait(timeout=10) == 0


@pytest.fixture(scope="module")
def victim():
    victim = Victim()
    yield victim
    victim.close()


def batches_of(rng, session_number):
    """A conversation with staged text in it, as batches."""
    log = conversation_log(12, seed=rng.random(), prefix=f"{session_number}.")
    batches = [TranscriptBatch(events=events) for events in in_batches(log, rng)]
    for number in range(3):
        entry = staged(f"{session_number}.s{number}", f"staged {number}")
        last = TranscriptBatch.committing([entry])
        if number == 2:
            last = TranscriptBatch(unstage=[entry.item_id])
        at = rng.randint(0, len(batches))
        batches.insert(rng.randint(at, len(batches)), last)
        batches.insert(at, TranscriptBatch(stage=[entry]))
    return batches


class Uncrashed:
    """What there should be after so many batches."""

    def __init__(self, batches):
        conversation = Conversation(TranscriptAuthority(keep_heard_prefix=True))
        self.messages, self.staged = [[]], [[]]
        self.states = [conversation.authority.state]
        for batch in batches:
            fresh = conversation.check(batch)
            made = conversation.apply(batch.events)
            conversation.unstage(batch)
            conversation.stage(fresh)
            self.messages.append([*self.messages[-1], *made])
            self.staged.append(list(conversation.staged.values()))
            self.states.append(conversation.authority.state)


def spin(seconds):
    # Sleeping is too coarse to hit the middle of a write that takes a tenth of a millisecond.
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


@pytest.mark.parametrize("seed", range(4))
def test_killed_writers(path, victim, seed):
    rng = random.Random(seed)
    deaths = session_number = writing_when_killed = 0
    while deaths < 50:
        session_number += 1
        session_id = f"session {session_number}"
        batches = batches_of(rng, session_number)
        uncrashed = Uncrashed(batches)
        start = announced = 0
        straight = True  # no batch has been delivered again after a later one
        finished = False
        while not finished:
            where = f"seed {seed}, death {deaths}, from batch {start}"
            numbered = list(enumerate(batches, 1))[start:]
            victim.start(path, session_id, rng.choice([1, 500, 5000]), numbered)
            said = []
            for _ in range(rng.choice([0, 0, 1, 2, 3, 5, 8, 60])):
                said.append(victim.read())
                if said[-1] == ["end"]:
                    break
            spin(rng.random() * (0.0005 if said else 0.003))
            said += victim.kill()
            deaths += 1
            assert ["failed"] not in said, where
            finished = ["end"] in said
            writing_when_killed += bool(said) and not finished
            position = max(
                [int(words[1]) for words in said if words[0] == "durable"], default=start
            )
            announced = max(announced, position)
            # The lock went with its owner, and everything announced is there.
            messages, state, entries = stored(path, session_id)
            assert messages == uncrashed.messages[-1][: len(messages)], where
            assert len(messages) >= len(uncrashed.messages[announced]), where
            if straight:
                # The batch that was being written is there as a whole, or not at all.
                there = [
                    number
                    for number in range(position, min(position + 2, len(batches) + 1))
                    if messages == uncrashed.messages[number]
                    and entries == uncrashed.staged[number]
                    and state == uncrashed.states[number]
                ]
                assert there, where
            # Delivered again from the beginning, from where it stopped, or from in between.
            start = rng.choice([0, position, position, rng.randint(0, position)])
            straight = straight and start == position
        assert stored(path, session_id) == (
            uncrashed.messages[-1],
            uncrashed.states[-1],
            uncrashed.staged[-1],
        )
    assert deaths >= 50
    assert writing_when_killed > 20  # the others while they opened, or when they had finished


def test_the_next_writer_takes_over_when_the_first_has_been_killed(path, victim):
    batches = [(1, TranscriptBatch(events=[user("u", None, "hello")]))]
    victim.start(path, "s", 1000, batches)
    while victim.read() != ["end"]:
        pass
    with pytest.raises(SessionLocked) as refused, writing(path):
        pass
    assert refused.value.pid == victim.pid
    assert f"process {victim.pid}" in str(refused.value)
    assert refused.value.retryable
    with writing(path, "another session in the same file") as writer:
        assert writer.restored.messages == ()
    victim.kill()
    with writing(path) as writer:
        assert [entry.item_ids for entry in writer.restored.messages] == [("u",)]
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


# ---------------------------------------------------------------- forking

FORKED = """
    import os, sys
    from pathlib import Path
    from storage.storage_kit import commit, stored, writing
    from transcript.transcript_kit import user
    from meerkat_rt.storage import StoreError

    path = Path(sys.argv[1])
    with writing(path) as writer:
        commit(writer, user("u", None, "hello"))
        if not (child := os.fork()):
            for attempt in (lambda: commit(writer, user("v", "u", "mine")), lambda: stored(path)):
                try:
                    print(attempt())
                except StoreError as error:
                    print(type(error).__name__)
            writer.close()
            print(writer._lock.path.exists(), flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        print(len(commit(writer, user("w", "u", "ours"))))
    print(len(stored(path)[0]))
"""


def test_the_journal_stays_with_the_process_that_opened_it(path):
    assert run(FORKED, path) == ["JournalClosed", "SessionLocked", "True", "1", "2"]
