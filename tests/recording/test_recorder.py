"""The recorder beside a session: it never hurts it, is bounded, and leaves nothing."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
import trio
from runtimekit import of, open_config, provider, serving, take, welcoming
from turnkit import Hand, p, settings

from meerkat_rt import RealtimeTextChunk, errors, open_session
from meerkat_rt.model import events as ev
from meerkat_rt.recording import FlightRecorder, Verdict, replay
from meerkat_rt.recording import file as files
from meerkat_rt.recording import recorder as room
from meerkat_rt.recording.machine import INPUTS
from meerkat_rt.testing import assert_quiescent
from meerkat_rt.testing.scenarios.openai_turns import writing_server
from meerkat_rt.turn.machine import SessionMachine


def threads() -> list[str]:
    return [each.name for each in threading.enumerate() if "recorder" in each.name]


async def one_session(recorder: FlightRecorder) -> list[str]:
    """A text turn with this recorder on; the kinds of its events, sorted.

    A message is announced with the batch that settled it, so how frames fell into reads decides
    what else comes first.
    """
    read: list[Any] = []
    async with serving(welcoming(writing_server)) as server:
        async with open_session(
            open_config(), provider=provider(server.wire.client), recorder=recorder
        ) as session:
            await session.send_input(RealtimeTextChunk("hello"))
            read = await take(session, ev.TurnCompleted)
            awaited: set[type] = {ev.MessageCommitted, ev.RateLimitsUpdated}
            while awaited:
                event = await session.next_event()
                assert event is not None
                awaited.discard(type(event))
                read.append(event)
        read += [event async for event in session]
    assert session.closed is not None
    assert session.closed.clean
    return sorted(type(event).__name__ for event in read)


async def test_a_recorder_changes_nothing_and_leaves_nothing(
    autojump_clock: trio.abc.Clock, tmp_path: Path
) -> None:
    (tmp_path / "x.rec").write_text("an older one")
    (tmp_path / "x.rec").chmod(0o644)
    recorder = FlightRecorder(tmp_path / "x.rec")
    assert recorder.status.records == 0
    async with serving(welcoming(writing_server)) as server:
        async with open_session(
            open_config(), provider=provider(server.wire.client), recorder=recorder
        ) as session:
            assert len(threads()) == 1
            await session.send_input(RealtimeTextChunk("hello"))
            await take(session, ev.TurnCompleted)
    assert threads() == []
    assert_quiescent()
    assert recorder.status.failure is None
    assert recorder.status.lost == 0
    assert "records=" in repr(recorder)
    assert stat.S_IMODE(recorder.path.stat().st_mode) == 0o600


async def test_a_full_disk_is_counted_and_the_session_does_not_notice(
    autojump_clock: trio.abc.Clock, tmp_path: Path
) -> None:
    expected = await one_session(FlightRecorder(tmp_path / "x.rec"))
    recorder = FlightRecorder("/dev/full")
    assert await one_session(recorder) == expected
    status = recorder.status
    assert isinstance(status.failure, OSError)
    assert "No space left" in str(status.failure)
    assert status.lost == status.records > 10
    assert not status.abandoned
    assert threads() == []


async def test_a_disk_that_fills_up_leaves_a_beginning_that_can_be_read(
    autojump_clock: trio.abc.Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_BATCH", 200)
    put = files.Ring._put
    written = []

    def fills_up(ring: files.Ring, at: int, data: bytes) -> None:
        if len(written) == 3:
            put(ring, at, data[:20])
            raise OSError(28, "No space left on device")
        written.append(at)
        put(ring, at, data)

    monkeypatch.setattr(files.Ring, "_put", fills_up)
    recorder = FlightRecorder(tmp_path / "x.rec")
    await one_session(recorder)
    status = recorder.status
    assert isinstance(status.failure, OSError)
    assert 0 < status.lost < status.records
    report = replay(recorder.path)
    assert report.verdict is Verdict.SAME  # of what is there
    assert (report.ended, report.torn) == (False, True)
    assert len(report.steps) == status.records - status.lost
    assert "cut off" in str(report)
    assert "not closed" in str(report)


async def test_a_disk_that_hangs_holds_a_close_up_no_longer_than_its_grace(
    autojump_clock: trio.abc.Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs = threading.Event()
    monkeypatch.setattr(files.Ring, "_put", lambda *_: hangs.wait(60) and None)
    monkeypatch.setattr(room, "FLUSH_GRACE", 0.02)
    monkeypatch.setattr(room, "BACKLOG", 2000)
    recorder = FlightRecorder(tmp_path / "x.rec")
    try:
        await one_session(recorder)
        status = recorder.status
        assert status.abandoned
        assert status.lost == status.records
        assert recorder._recording is not None
        assert recorder._recording._bytes < 3000  # of memory, however much was said
    finally:
        hangs.set()
        for thread in threading.enumerate():
            if "recorder" in thread.name:
                thread.join(10)
    assert threads() == []


async def test_a_mistake_of_ours_ends_the_recording_and_nothing_else(
    autojump_clock: trio.abc.Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = await one_session(FlightRecorder(tmp_path / "x.rec"))

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    for where in ("plain", "compact"):
        with monkeypatch.context() as patched:
            patched.setattr(room, where, broken)
            recorder = FlightRecorder(tmp_path / "y.rec")
            assert await one_session(recorder) == expected
            assert isinstance(recorder.status.failure, ZeroDivisionError)
            assert recorder.status.lost > 10


async def test_a_file_that_cannot_be_made_is_said_before_anything_is_connected(
    tmp_path: Path,
) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "no" / "such.rec", tmp_path, tmp_path / "pipe"):
        with pytest.raises(errors.InvalidConfig, match="cannot record to"):
            async with open_session(
                open_config(),
                provider=provider(trio.testing.memory_stream_pair()[0]),
                recorder=FlightRecorder(path),
            ):
                raise AssertionError("opened")
    with pytest.raises(errors.InvalidConfig, match="a recording needs"):
        FlightRecorder(tmp_path / "x.rec", max_bytes=100)
    assert threads() == []


def test_one_recorder_records_one_session_at_a_time(tmp_path: Path) -> None:
    recorder = FlightRecorder(tmp_path / "x.rec")
    with recorder.begin() as recording:
        recording.machine(settings())
        with pytest.raises(errors.InvalidRequest, match="is recording another session"):
            with recorder.begin():
                raise AssertionError("begun twice")
    with recorder.begin() as recording:
        recording.machine(settings())
    assert replay(recorder.path).verdict is Verdict.SAME


def test_the_newest_is_kept_and_nothing_is_claimed_of_it(tmp_path: Path) -> None:
    recorder = FlightRecorder(tmp_path / "x.rec", max_bytes=room.MIN_BYTES)
    with recorder.begin() as recording:
        hand = Hand()
        hand.machine = recording.machine(hand.settings)
        for number in range(4000):
            hand.now += 0.013
            hand.see(p.InputTranscriptDone(item_id=f"U{number}", text=f"{number * 7919}"))
            if number % 50 == 0:
                while recording._writer.lines.qsize():
                    recording._writer.hurry.set()
                    os.sched_yield()
        hand.do("close")
    assert recorder.path.stat().st_size <= room.MIN_BYTES
    assert recorder.status.lost == 0
    report = replay(recorder.path)
    assert report.verdict is Verdict.PARTIAL
    assert report.lost + len(report.steps) == recorder.status.records
    assert report.lost > 1000
    assert report.ended
    assert report.steps[0].index == report.lost + 1
    assert [step.method for step in report.steps[-2:]] == ["close", "$end"]
    assert "InputTranscriptFinalForItem" in report.steps[0].names
    assert "nothing is claimed" in str(report)
    assert all(step.events == () for step in report.steps)


def test_every_way_into_a_machine_is_recorded() -> None:
    outputs = {"drain", "next_deadline", "usage", "dropped", "late_tool_outcomes", "ledger_sizes"}
    outputs |= {"at_boundary", "turn_over", "unanswered", "known_items", "open_calls", "unheard"}
    outputs |= {"knows_call", "knows_response", "due", "user_turn", "responses", "keeps_run"}
    public = {name for name in vars(SessionMachine) if not name.startswith("_")}
    assert public - outputs == {*INPUTS, "observe_all"}  # which is many times `observe`


def test_every_way_into_a_machine_plays_the_same_again(tmp_path: Path) -> None:
    recorder = FlightRecorder(tmp_path / "x.rec")
    with recorder.begin() as recording:
        hand = Hand()
        hand.machine = recording.machine(hand.settings)
        hand.machine.seeded(name for name in ("seed_1", "seed_2"))
        item = hand.machine.send_text("staged", respond=True, now=hand.now)
        hand.machine.unstage_text(item)
        hand.see(p.ItemAdded(item_id="seed_1", kind=p.ItemKind.USER))
        hand.see(p.ItemAdded(item_id="new", previous_item_id="seed_2", kind=p.ItemKind.USER))
        with pytest.raises(errors.InvalidRequest):
            hand.do("send_raw", ["not", "an", "object"])
        with pytest.raises(errors.InvalidRequest):
            hand.do("submit_tool_error", "no such call", "x")
        hand.do("link_lost")
        hand.do("close")
    report = replay(recorder.path)
    assert report.verdict is Verdict.SAME, report
    assert report.steps[0].arguments == {"item_ids": ("seed_1", "seed_2")}


def test_events_are_all_of_the_machines_own(tmp_path: Path) -> None:
    recorder = FlightRecorder(tmp_path / "x.rec")
    with recorder.begin() as recording:
        hand = Hand()
        hand.machine = recording.machine(hand.settings)
        hand.begin("R1")
        hand.see(p.TextDelta("e1", "R1", "A1", "two words"))
        hand.do("close")
    played = [event for step in replay(recorder.path).steps for event in step.events]
    assert [type(event) for event in played] == [type(event) for event in hand.events]
    (delta,) = of(played, ev.OutputTextDeltaForItem)
    assert delta.delta == "xxx xxxxx"
