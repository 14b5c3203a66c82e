"""Standard output that ends before the command does: it ends too, in order and without a word."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from consolekit import COMMAND, ENVIRONMENT, TIMEOUT
from trio.testing import MockClock, wait_all_tasks_blocked

from meerkat_rt import (
    Conversation,
    EmbeddedProvider,
    FlightRecorder,
    RealtimeSessionOpenConfig,
    RealtimeTextChunk,
    RealtimeTurningMode,
    SessionLlmIdentity,
    SqliteStore,
    events,
    open_session,
)
from meerkat_rt.console.output import UNREAD, Output

FULL = Path("/dev/full")


def unread(*arguments: str, lines: int = 0) -> tuple[int, str]:
    """Exit code and standard error of a command of which so many lines are read, as by `head`."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        process = subprocess.Popen(
            [*COMMAND, *arguments], stdout=writing, stderr=subprocess.PIPE, env=ENVIRONMENT
        )
        os.close(writing)
        try:
            for _ in range(lines):
                assert pipe.readline()
            pipe.close()
            _, complaint = process.communicate(timeout=TIMEOUT)
        finally:
            process.kill()
    return process.returncode, complaint.decode()


def recorded(path: Path) -> Path:
    async def session() -> None:
        config = RealtimeSessionOpenConfig(
            RealtimeTurningMode.PROVIDER_MANAGED, SessionLlmIdentity(model="embedded")
        )
        recorder = FlightRecorder(path)
        async with open_session(config, provider=EmbeddedProvider(), recorder=recorder):
            pass

    trio.run(session)
    return path


def stored(path: Path) -> Path:
    """A store with one conversation, called "kitchen"; whoever else has written is gone."""

    async def conversation() -> None:
        config = RealtimeSessionOpenConfig(
            RealtimeTurningMode.PROVIDER_MANAGED, SessionLlmIdentity(model="embedded")
        )
        store = Conversation(store=SqliteStore(path), id="kitchen")
        async with open_session(config, provider=EmbeddedProvider(), store=store) as session:
            await session.send_input(RealtimeTextChunk("Hello."))
            async for event in session:
                if isinstance(event, events.TurnCompleted):
                    break

    trio.run(conversation)
    return path


# With JSON, what is not read is more than a pipe holds: it cannot be over before we have left.
@pytest.mark.parametrize(("form", "lines"), [([], 0), (["--json"], 1)], ids=["timeline", "json"])
def test_talk_ends_in_order_when_nobody_reads(tmp_path: Path, form: list[str], lines: int) -> None:
    store, reply = tmp_path / "talks.db", tmp_path / "reply.wav"
    arguments = ["talk", "--fast", "--store", str(store), "--output", str(reply), *form]
    # Had the session left anything behind, that would have been told.
    assert unread(*arguments, lines=lines) == (UNREAD, "")
    if store.exists():  # it may have ended before anything was to be kept
        assert trio.run(SqliteStore(store).sessions) is not None
    assert reply.exists() <= (lines > 0)  # nothing is heard before the first line


@pytest.mark.parametrize("command", ["transcript", "replay", "doctor", "serve"])
def test_every_command_ends_when_nobody_reads(tmp_path: Path, command: str) -> None:
    drawing = tmp_path / "x.svg"
    match command:
        case "transcript":
            arguments = [str(stored(tmp_path / "talks.db")), "kitchen"]
        case "replay":
            arguments = [str(recorded(tmp_path / "x.rec")), "--timeline", str(drawing)]
        case _:
            arguments = []
    assert unread(command, *arguments) == (UNREAD, "")
    assert drawing.exists() is (command == "replay")


@pytest.mark.skipif(not FULL.exists(), reason="the system has no full device")
@pytest.mark.parametrize("command", [["talk", "--fast"], ["serve"]], ids=" ".join)
def test_an_output_that_is_full_is_one_line(command: list[str]) -> None:
    with FULL.open("w") as full:
        result = subprocess.run(
            [*COMMAND, *command],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
            timeout=TIMEOUT,
            check=False,
        )
    words = f"The output cannot be written: {os.strerror(errno.ENOSPC)}.\n"
    assert (result.returncode, result.stderr) == (1, words)


def test_talk_goes_its_way_without_any_output() -> None:
    result = subprocess.run(
        ["sh", "-c", 'exec "$0" "$@" >&-', *COMMAND, "talk", "--fast"],
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
        timeout=TIMEOUT,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, b"")


# ---------------------------------------------------------------- the file that screens write to


class Pipe(io.StringIO):
    """Its reader leaves after some characters."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self.tries = 0

    def write(self, text: str) -> int:
        self.tries += 1
        self.room -= len(text)
        if self.room < 0:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")
        return super().write(text)


def test_what_cannot_be_written_is_left_out_and_tried_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipe = Pipe(room=6)
    monkeypatch.setattr(sys, "stdout", pipe)
    output = Output()
    for _ in range(4):
        print("word", file=output, flush=True)
    assert pipe.getvalue() == "word\n"
    assert pipe.tries == 3  # the word, its end, and the one that failed
    assert isinstance(output.failure, BrokenPipeError)
    assert output.isatty() is False


@pytest.mark.parametrize("thread", [False, True])
async def test_whoever_waits_is_told(
    monkeypatch: pytest.MonkeyPatch, virtual_time: MockClock, thread: bool
) -> None:
    monkeypatch.setattr(sys, "stdout", Pipe(room=0))
    output = Output()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(output.wait_lost)
        await wait_all_tasks_blocked()
        assert nursery.child_tasks
        if thread:  # Rich draws its bar from one
            await trio.to_thread.run_sync(output.write, "word")
        else:
            output.write("word")
    with trio.fail_after(1):
        await output.wait_lost()  # also who comes late
