"""`next_events`: all that waits in one read, and in everything else as event by event."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Self

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from runtimekit import closing, meeting, of, rest, take
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from meerkat_rt import SessionLimits, events
from meerkat_rt.model.errors import LlmError
from meerkat_rt.model.events import MediaGap, OutputAudioChunk, OutputTextDelta, TurnStarted
from meerkat_rt.model.media import RealtimeAudioChunk, RealtimeAudioFormat
from meerkat_rt.runtime import errors
from meerkat_rt.runtime.event_lane import EVENTS_PER_YIELD, EventLane
from meerkat_rt.storage import MemoryStore

PCM = RealtimeAudioFormat.pcm(24_000)


def audio(item_id: str | None, n: int = 480, response_id: str = "r") -> OutputAudioChunk:
    return OutputAudioChunk(RealtimeAudioChunk.of(b"\0" * n, PCM), response_id, item_id, 0)


class Lane:
    """A lane, and what it told of the audio that was read."""

    def __init__(self, **limits: float) -> None:
        self.told: list[tuple[str | None, int]] = []
        self.dropped: list[OutputAudioChunk] = []
        self.events = EventLane(
            SessionLimits(**limits),
            PCM,
            lambda event, size: self.told.append((event.item_id, size)),
            self.dropped.append,
        )

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Coroutine[object, object, object]:
        return self.events.following()

    @property
    def heard(self) -> list[tuple[str | None, int]]:
        """The same with neighbours of one part added up."""
        found: list[tuple[str | None, int]] = []
        for item_id, size in self.told:
            if found and found[-1][0] == item_id:
                size += found.pop()[1]
            found.append((item_id, size))
        return found


# ---------------------------------------------------------------- the lane


async def test_all_that_waits_comes_at_once_and_in_order() -> None:
    lane = Lane()
    written = [OutputTextDelta("a"), audio("A"), OutputTextDelta("b"), audio("A"), TurnStarted()]
    lane.events.put(written)
    assert await lane.events.take() == written
    assert lane.events.audio_bytes == lane.events.waiting == 0


async def test_a_batch_is_bounded_and_the_next_goes_on_behind_it() -> None:
    lane = Lane()
    written = [OutputTextDelta(str(number)) for number in range(2 * EVENTS_PER_YIELD + 5)]
    lane.events.put(written)
    batches = [await lane.events.take() for _ in range(3)]
    assert [len(batch) for batch in batches] == [EVENTS_PER_YIELD, EVENTS_PER_YIELD, 5]
    assert [event for batch in batches for event in batch] == written


async def test_chunks_of_one_part_are_told_together_and_those_of_others_in_their_order() -> None:
    lane = Lane()
    lane.events.put([audio(item_id) for item_id in "AAABBA"])
    await lane.events.take()
    assert lane.heard == [("A", 3 * 480), ("B", 2 * 480), ("A", 480)]
    assert len(lane.told) == 4  # the first is read as any other


async def test_dead_audio_is_left_out_and_a_batch_of_nothing_else_waits_for_more() -> None:
    lane = Lane()
    lane.events.put([audio("A", response_id="dead") for _ in range(5)])
    lane.events.flush("dead")
    batches: list[list[object]] = []

    async def read() -> None:
        batches.append(await lane.events.take())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        assert not batches
        lane.events.put([TurnStarted(), audio("B")])
    assert batches == [[TurnStarted(), audio("B")]]
    assert lane.told == [("B", 480)]


async def test_a_gap_is_part_of_the_batch() -> None:
    lane = Lane(output_audio_bytes=1000)
    lane.events.put([TurnStarted(), *[audio("A") for _ in range(4)]])
    batch = await lane.events.take()
    gap = MediaGap(dropped_bytes=960, dropped_ms=20)
    assert batch == [TurnStarted(), gap, audio("A"), audio("A")]
    assert lane.heard == [("A", 960)]


async def test_a_cancelled_read_loses_nothing_and_a_second_reader_is_refused() -> None:
    lane = Lane()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lane.events.take)
        await wait_all_tasks_blocked()
        for read in (lane.events.take, lane.events.get):
            with pytest.raises(trio.BusyResourceError):
                await read()
        nursery.cancel_scope.cancel()
    written = [TurnStarted(), audio("A"), OutputTextDelta("a")]
    lane.events.put(written)
    for _ in range(3):
        with trio.CancelScope() as scope:
            scope.cancel()
            await lane.events.take()
        assert scope.cancelled_caught
    assert lane.told == []
    assert await lane.events.take() == written


async def test_the_end_comes_behind_what_waits_and_again_with_each_read() -> None:
    lane = Lane()
    lane.events.put([TurnStarted(), TurnStarted()])
    error = LlmError()
    lane.events.end(error)
    assert await lane.events.take() == [TurnStarted(), TurnStarted()]
    for _ in range(2):
        with pytest.raises(LlmError) as raised:
            await lane.events.take()
        assert raised.value is error


async def test_who_reads_full_batches_lets_others_run_between_them() -> None:
    lane = Lane()
    lane.events.put([TurnStarted()] * (3 * EVENTS_PER_YIELD))
    await lane.events.take()
    for _ in range(2):
        with assert_checkpoints():
            await lane.events.take()


@pytest.mark.parametrize("singly", [1, 64, 127, 128])
async def test_no_batch_puts_off_the_full_checkpoint(singly: int) -> None:
    lane = Lane()
    lane.events.put([TurnStarted()] * 300)
    read = 0
    for _ in range(singly):
        await lane.events.get()
        read += 1
    if read < EVENTS_PER_YIELD:
        assert read + len(await lane.events.take()) == EVENTS_PER_YIELD
    with assert_checkpoints():
        await lane.events.take()


@given(st.lists(st.one_of(st.integers(1, 400), st.none()), max_size=30), st.data())
def test_what_comes_in_one_batch_is_queued_as_if_it_came_one_by_one(
    sizes: list[int | None], data: st.DataObject
) -> None:
    """Numbers are bytes of audio, None is another event."""
    written = [
        OutputTextDelta(str(number)) if size is None else audio("AB"[number % 2], size)
        for number, size in enumerate(sizes)
    ]
    at = data.draw(st.integers(0, len(written)))
    once, singly = Lane(output_audio_bytes=1000), Lane(output_audio_bytes=1000)
    for batch in (written[:at], written[at:]):
        once.events.put(batch)
        for event in batch:
            singly.events.put([event])
    assert once.dropped == singly.dropped
    assert once.events.dropped_bytes == singly.events.dropped_bytes
    assert once.events.audio_bytes == singly.events.audio_bytes <= 1000

    async def rest_of(lane: Lane) -> list[object]:
        lane.events.end(None)
        return [event async for event in lane]

    assert trio.run(rest_of, once) == trio.run(rest_of, singly)


operations = st.lists(
    st.one_of(
        st.tuples(st.just("audio"), st.sampled_from("AB"), st.sampled_from("rs"), st.just(100)),
        st.tuples(st.just("control"), st.integers(0, 9)),
        st.tuples(st.just("flush"), st.sampled_from("rs")),
        st.tuples(st.just("read")),
    ),
    max_size=60,
)


@given(operations)
def test_batches_hold_what_single_reads_give(done: list[tuple]) -> None:
    async def main() -> None:
        one, many = Lane(output_audio_bytes=700), Lane(output_audio_bytes=700)
        singly: list[object] = []
        batched: list[object] = []

        async def read_singly() -> None:
            while True:
                singly.append(await one.events.get())

        async def read_batches() -> None:
            while True:
                batched.extend(await many.events.take())

        for operation in [*done, ("read",)]:
            match operation:
                case ("audio", item_id, response_id, size):
                    for lane in (one, many):
                        lane.events.put([audio(item_id, size, response_id)])
                case ("control", number):
                    for lane in (one, many):
                        lane.events.put([OutputTextDelta(str(number))])
                case ("flush", response_id):
                    for lane in (one, many):
                        lane.events.flush(response_id)
                case ("read",):
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(read_singly)
                        nursery.start_soon(read_batches)
                        await wait_all_tasks_blocked()
                        nursery.cancel_scope.cancel()
        assert batched == singly
        assert many.heard == one.heard
        for lane in (one, many):
            books = lane.events.audio_bytes, lane.events._dead_bytes, lane.events.waiting
            assert books == (0, 0, 0)
            assert not lane.events._live

    trio.run(main)


# ---------------------------------------------------------------- the session


async def talk(peer) -> None:
    for number in range(3):
        await peer.audio_response(f"This is sentence number {number}.", ms=500)
    await peer.close()


async def test_a_session_read_by_batches_says_the_same_and_remembers_the_same(
    autojump_clock,
) -> None:
    async with meeting(talk) as m:
        one_by_one = await rest(m.session)
        said = m.session.transcript
    batched: list[object] = []
    async with meeting(talk) as m:
        while batch := await m.session.next_events():
            batched += batch
        assert await m.session.next_events() == []
        assert m.session.transcript == said
    assert [type(event) for event in batched] == [type(event) for event in one_by_one]
    assert closing(batched) == closing(one_by_one)


async def test_a_session_with_a_store_announces_what_is_durable_in_batches_too(
    autojump_clock,
) -> None:
    store = MemoryStore()
    read: list[object] = []
    async with meeting(talk, beside={"store": store}) as m:
        while batch := await m.session.next_events():
            read += batch
            await trio.sleep(1)
        said = m.session.transcript
    assert [event.message for event in of(read, events.MessageCommitted)] == list(said)
    assert len(said) == 3


async def test_what_was_read_in_a_batch_counts_as_taken(autojump_clock) -> None:
    """A barge-in cuts the answer where its audio, all of it read, has come to by the clock."""

    async def script(peer) -> None:
        response = await peer.response()
        message = await response.message("audio")
        await message.speak("one two three four five six seven eight nine ten", ms=2000)
        await trio.sleep(1)
        item = await peer.speech_started()
        await response.cancelled(message, reason="turn_detected")
        cut.append(await peer.expect("conversation.item.truncate", item_id=message.id))
        await peer.speech_stopped(item)
        await peer.linger()

    cut: list[dict] = []
    async with meeting(script) as m:
        read: list[object] = []
        while not of(read, events.Interrupted):
            read += await m.session.next_events()
        await take(m.session, events.TurnCompleted)
        await wait_all_tasks_blocked()
    assert sum(len(event.chunk.data) for event in of(read, OutputAudioChunk)) == 96_000
    assert cut[0]["audio_end_ms"] == 1000


async def test_a_failure_comes_behind_the_last_batch(autojump_clock) -> None:
    async def script(peer) -> None:
        await peer.text_response("Hello.")
        await peer.close(1011, "broken")

    read: list[object] = []
    async with meeting(script) as m:
        for _ in range(2):
            with pytest.raises(LlmError) as raised:
                while batch := await m.session.next_events():
                    read += batch
            assert isinstance(raised.value, errors.ServerError | errors.ConnectionReset)
    assert closing(read).code == 1011
