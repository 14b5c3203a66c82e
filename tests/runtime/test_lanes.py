"""The lanes: what overtakes what, what is dropped, what never is."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from meerkat_rt.model.errors import LlmError
from meerkat_rt.model.events import MediaGap, OutputAudioChunk, OutputTextDelta, TurnStarted
from meerkat_rt.model.media import RealtimeAudioChunk, RealtimeAudioFormat
from meerkat_rt.runtime.event_lane import EventLane
from meerkat_rt.runtime.lanes import SendLanes
from meerkat_rt.runtime.limits import SessionLimits
from meerkat_rt.runtime.signal import Signal
from meerkat_rt.turn.ports import (
    AppendAudio,
    CancelResponse,
    ClearAudio,
    CommitAudio,
    CreateResponse,
    SendToolOutput,
)

PCM = RealtimeAudioFormat.pcm(24_000)


def audio(response_id: str, n: int = 480, item_id: str = "item") -> OutputAudioChunk:
    return OutputAudioChunk(RealtimeAudioChunk.of(b"\0" * n, PCM), response_id, item_id, 0)


# ---------------------------------------------------------------- sending


def test_an_interrupt_is_taken_before_any_waiting_audio() -> None:
    lanes = SendLanes(SessionLimits(mic_max_age=1e9, mic_max_bytes=10**9))
    for _ in range(10_000):
        lanes.put_audio(b"\0" * 960, 0.0)
    cancel = CancelResponse(ref="c", response_id="r")
    lanes.put(cancel, 0.0)
    assert lanes.take(0.0)[0] == cancel


def test_one_write_carries_at_most_16_kib_of_media_beyond_one_chunk() -> None:
    lanes = SendLanes(SessionLimits())
    for _ in range(100):
        lanes.put_audio(b"\0" * 960, 0.0)
    taken = lanes.take(0.0)
    assert sum(len(command.data) for command in taken) <= 16 * 1024 + 960
    assert len(taken) > 1


def test_a_commit_follows_the_audio_accepted_before_it_and_is_followed_by_its_request() -> None:
    lanes = SendLanes(SessionLimits())
    lanes.put_audio(b"\0" * 960, 0.0)
    lanes.put(CommitAudio(ref="commit"), 0.0)
    lanes.put(CreateResponse(ref="create"), 0.0)
    lanes.put(SendToolOutput(ref="t", call_id="c", name="n", output="o"), 0.0)
    kinds = [type(command) for command in lanes.take(0.0)]
    assert kinds == [SendToolOutput, AppendAudio, CommitAudio, CreateResponse]
    lanes.put_audio(b"\0" * 960, 0.0)
    lanes.put(CreateResponse(ref="later"), 0.0)
    assert [type(command) for command in lanes.take(0.0)] == [CreateResponse, AppendAudio]


def test_stale_audio_is_dropped_oldest_first_and_counted() -> None:
    lanes = SendLanes(SessionLimits(mic_max_age=2.0))
    assert lanes.put_audio(b"a" * 10, 0.0) == 0
    assert lanes.put_audio(b"b" * 20, 1.0) == 0
    assert lanes.put_audio(b"c" * 30, 2.5) == 10
    assert lanes.dropped_bytes == 10
    taken = lanes.take(3.5)
    assert [command.data[:1] for command in taken] == [b"c"]
    assert lanes.dropped_bytes == 30
    assert lanes.media_bytes == 0


def test_audio_is_bounded_in_bytes_too_and_a_commit_among_it_is_never_dropped() -> None:
    lanes = SendLanes(SessionLimits(mic_max_bytes=100))
    lanes.put_audio(b"a" * 60, 0.0)
    lanes.put(CommitAudio(ref="commit"), 0.0)
    assert lanes.put_audio(b"b" * 60, 0.0) == 60
    taken = lanes.take(0.0)
    assert [type(command) for command in taken] == [CommitAudio, AppendAudio]


def test_clearing_drops_the_uncommitted_audio_alone_and_stays_behind_the_commit() -> None:
    lanes = SendLanes(SessionLimits())
    lanes.put_audio(b"a" * 60, 0.0)
    lanes.put(CommitAudio(ref="commit"), 0.0)
    lanes.put_audio(b"b" * 60, 0.0)
    lanes.flush_audio()
    lanes.put(ClearAudio(ref="clear"), 0.0)
    assert lanes.media_bytes == 60
    taken = lanes.take(0.0)
    assert [type(command) for command in taken] == [AppendAudio, CommitAudio, ClearAudio]
    lanes.put_audio(b"c" * 60, 0.0)
    lanes.flush_audio()
    lanes.put(ClearAudio(ref="clear"), 0.0)
    assert [type(command) for command in lanes.take(0.0)] == [ClearAudio]
    assert lanes.media_bytes == 0


def test_dropping_all_audio_keeps_what_is_not_audio() -> None:
    lanes = SendLanes(SessionLimits())
    lanes.put_audio(b"a" * 60, 0.0)
    lanes.put(CommitAudio(ref="commit"), 0.0)
    lanes.put_audio(b"a" * 60, 0.0)
    lanes.drop_audio()
    assert lanes.media_bytes == 0
    assert [type(command) for command in lanes.take(0.0)] == [CommitAudio]


def test_what_waits_behind_a_commit_stays_in_order_when_a_write_is_full_of_audio() -> None:
    lanes = SendLanes(SessionLimits(media_bytes_per_write=100))
    lanes.put_audio(b"a" * 60, 0.0)
    lanes.put_audio(b"b" * 60, 0.0)
    lanes.put(CommitAudio(ref="commit"), 0.0)
    lanes.put(CreateResponse(ref="first"), 0.0)
    assert [type(command) for command in lanes.take(0.0)] == [AppendAudio, AppendAudio]
    lanes.put_audio(b"c" * 200, 0.0)
    lanes.put(CreateResponse(ref="second"), 0.0)  # not before the first, nor before the commit
    taken = [command for _ in range(3) for command in lanes.take(0.0)]
    assert [getattr(command, "ref", "audio") for command in taken] == [
        "commit",
        "first",
        "audio",
        "second",
    ]


def test_audio_that_grew_stale_in_the_lane_is_told_to_the_next_caller() -> None:
    lanes = SendLanes(SessionLimits(mic_max_age=2.0))
    lanes.put_audio(b"a" * 10, 0.0)
    assert lanes.take(5.0) == []
    assert lanes.dropped_bytes == 10
    assert lanes.put_audio(b"b" * 10, 5.0) == 10
    assert lanes.put_audio(b"c" * 10, 5.0) == 0


async def test_closed_lanes_let_nobody_wait_for_room() -> None:
    lanes = SendLanes(SessionLimits(control_commands=1))
    lanes.put(CancelResponse(ref="c"), 0.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lanes.wait_for_room)
        await wait_all_tasks_blocked()
        lanes.close()
    await lanes.wait_for_room()
    assert len(lanes.take(0.0)) == 1


async def test_commands_wait_while_the_control_lane_is_full_and_lose_nothing_when_cancelled() -> (
    None
):
    lanes = SendLanes(SessionLimits(control_commands=2))
    passed: list[int] = []

    async def command(number: int) -> None:
        await lanes.wait_for_room()
        passed.append(number)
        lanes.put(CancelResponse(ref=str(number)), 0.0)

    async with trio.open_nursery() as nursery:
        for number in range(2):
            await command(number)
        nursery.start_soon(command, 2)
        await wait_all_tasks_blocked()
        assert passed == [0, 1]
        with trio.move_on_after(0):
            await lanes.wait_for_room()
        assert len(lanes.take(0.0)) == 2
    assert passed == [0, 1, 2]


async def test_a_signal_set_before_the_wait_is_not_lost_and_a_cancelled_wait_leaves_it_up() -> None:
    signal = Signal()
    signal.set()
    with trio.CancelScope() as scope:
        scope.cancel()
        await signal.wait()
    await signal.wait()
    woken = False

    async def waiter() -> None:
        nonlocal woken
        await signal.wait()
        woken = True

    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiter)
        await wait_all_tasks_blocked()
        assert not woken
        signal.set()
        signal.set()
    assert woken


# ---------------------------------------------------------------- events


def lane(**limits: float) -> EventLane:
    return EventLane(SessionLimits(**limits), PCM, lambda event, size: None, lambda event: None)


async def drain(events: EventLane) -> list[object]:
    events.end(None)
    read: list[object] = []
    while (event := await events.get()) is not None:
        read.append(event)
    return read


async def test_events_come_in_order_and_the_end_comes_after_them_for_ever() -> None:
    events = lane()
    events.put([TurnStarted(), OutputTextDelta("a")])
    events.end(None)
    assert await events.get() == TurnStarted()
    assert await events.get() == OutputTextDelta("a")
    for _ in range(2):
        with assert_checkpoints():
            assert await events.get() is None


async def test_a_failure_is_raised_after_everything_queued_and_on_every_later_read() -> None:
    events = lane()
    events.put([TurnStarted()])
    error = LlmError()
    events.end(error)
    assert await events.get() == TurnStarted()
    for _ in range(2):
        with pytest.raises(LlmError) as raised:
            await events.get()
        assert raised.value is error


async def test_a_second_reader_is_refused_and_a_cancelled_one_loses_nothing() -> None:
    events = lane()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(events.get)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await events.get()
        nursery.cancel_scope.cancel()
    events.put([TurnStarted()])
    with trio.CancelScope() as scope:
        scope.cancel()
        await events.get()
    assert scope.cancelled_caught
    assert await events.get() == TurnStarted()


async def test_old_audio_makes_room_with_one_gap_in_its_place_and_control_events_stay() -> None:
    events = lane(output_audio_bytes=1000)
    events.put([audio("r", 480), TurnStarted(), audio("r", 480), audio("r", 480), audio("r", 480)])
    assert events.audio_bytes <= 1000
    read = await drain(events)
    assert read == [
        MediaGap(dropped_bytes=960, dropped_ms=20),
        TurnStarted(),
        audio("r", 480),
        audio("r", 480),
    ]
    assert events.dropped_bytes == 960


async def test_a_gap_that_was_read_is_followed_by_a_new_one() -> None:
    events = lane(output_audio_bytes=500)
    events.put([audio("r", 480), audio("r", 480)])
    assert isinstance(await events.get(), MediaGap)
    events.put([audio("r", 480)])
    assert isinstance(await events.get(), MediaGap)
    assert await events.get() == audio("r", 480)


async def test_flushing_a_response_drops_its_audio_alone() -> None:
    delivered: list[tuple[OutputAudioChunk, int]] = []
    events = EventLane(
        SessionLimits(), PCM, lambda *read: delivered.append(read), lambda event: None
    )
    events.put([audio("dead"), TurnStarted(), audio("alive"), audio("dead")])
    events.flush("dead")
    assert events.audio_bytes == 480
    events.put([OutputTextDelta("after")])
    assert await drain(events) == [TurnStarted(), audio("alive"), OutputTextDelta("after")]
    assert delivered == [(audio("alive"), 480)]
    assert events.audio_bytes == 0


async def test_dead_audio_that_nobody_reads_is_swept() -> None:
    events = lane(output_audio_bytes=1000)
    for number in range(20):
        events.put([audio(f"r{number}", 900)])
        events.flush(f"r{number}")
    assert events._dead_bytes <= 1000
    assert len(events._audio) <= 2
    assert await drain(events) == []


async def test_a_chunk_without_a_byte_hides_nothing_from_the_flush() -> None:
    events = lane()
    events.put([audio("r", 2), audio("r", 0)])
    assert await events.get() == audio("r", 2)
    events.put([audio("r", 4)])
    assert await events.get() == audio("r", 0)
    events.flush("r")
    assert events.audio_bytes == 0
    assert await drain(events) == []


async def test_every_dropped_chunk_is_told_and_none_that_was_read_or_flushed() -> None:
    dropped: list[OutputAudioChunk] = []
    events = EventLane(
        SessionLimits(output_audio_bytes=1000), PCM, lambda event, size: None, dropped.append
    )
    events.put([audio("r", 480, f"item {number}") for number in range(4)])
    assert [event.item_id for event in dropped] == ["item 0", "item 1"]
    events.flush("r")
    events.put([audio("s", 480, f"item {number}") for number in range(4, 6)])
    assert len(dropped) == 2
    assert len(await drain(events)) == 3


async def test_places_of_dropped_audio_do_not_pile_up_while_nobody_reads() -> None:
    events = lane(output_audio_bytes=1000)
    for number in range(10_000):
        events.put([audio(f"r{number % 7}", 400)])
        if number % 100 == 99:
            events.flush(f"r{number % 7}")
    assert len(events._queue) <= 2 * 1024 + 10
    read = await drain(events)
    assert isinstance(read[0], MediaGap)
    assert sum(isinstance(event, MediaGap) for event in read) == 1
    assert (events._holes, len(events._audio), events.audio_bytes) == (0, 0, 0)


async def test_empty_chunks_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meerkat_rt.runtime.event_lane._CHUNKS", 100)
    events = lane()
    events.put([audio("r", 0) for _ in range(5000)])
    assert len(events._queue) <= 100 + 1024 + 1


async def test_a_failure_that_is_read_again_and_again_does_not_grow() -> None:
    events = lane()
    events.end(LlmError())
    sizes = set()
    for _ in range(5):
        with pytest.raises(LlmError) as raised:
            await events.get()
        sizes.add(len(raised.traceback))
    assert len(sizes) == 1


async def test_too_many_unread_control_events_overflow_but_audio_does_not_count() -> None:
    events = lane(waiting_events=3)
    events.put([audio("r") for _ in range(10)])
    events.flush("r")
    assert not events.put([TurnStarted()] * 3)
    assert events.put([TurnStarted()])  # there are too many
    assert events.waiting == 4
    assert await drain(events) == [TurnStarted()] * 4


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("audio"), st.sampled_from("abc"), st.integers(1, 400)),
            st.tuples(st.just("control"), st.integers(0, 99)),
            st.tuples(st.just("flush"), st.sampled_from("abc")),
            st.tuples(st.just("read"), st.integers(1, 4)),
        ),
        max_size=60,
    )
)
def test_any_order_of_writes_flushes_and_reads_keeps_the_books(operations: list[tuple]) -> None:
    async def main() -> None:
        events = lane(output_audio_bytes=1000)
        expected: list[object] = []  # an independent list model: live entries in order
        sent = read_bytes = flushed = 0

        def normalized() -> list[object]:
            return [entry for entry in expected if entry is not None]

        got: list[object] = []
        for operation in operations:
            match operation:
                case ("audio", response_id, size):
                    event = audio(response_id, size)
                    events.put([event])
                    expected.append(event)
                    sent += size
                case ("control", number):
                    events.put([OutputTextDelta(str(number))])
                    expected.append(OutputTextDelta(str(number)))
                case ("flush", response_id):
                    events.flush(response_id)
                    flushed += 1
                case ("read", count):
                    for _ in range(count):
                        with trio.move_on_after(0):  # there may be nothing
                            got.append(await events.get())
        got += await drain(events)
        controls = [event for event in got if isinstance(event, OutputTextDelta)]
        assert controls == [e for e in normalized() if isinstance(e, OutputTextDelta)]
        chunks = [event for event in got if isinstance(event, OutputAudioChunk)]
        read_bytes = sum(len(event.chunk.data) for event in chunks)
        gaps = sum(event.dropped_bytes for event in got if isinstance(event, MediaGap))
        assert gaps == events.dropped_bytes
        assert read_bytes + gaps <= sent
        if not flushed:
            assert read_bytes + gaps == sent
        # what is delivered is a subsequence of what was put, in order
        remaining = iter(e for e in expected if isinstance(e, OutputAudioChunk))
        assert all(any(event is candidate for candidate in remaining) for event in chunks)
        assert (events.audio_bytes, events._dead_bytes, events.waiting) == (0, 0, 0)
        assert not events._live

    trio.run(main)
