"""The event stream: one reader, nothing lost, and a slow application that holds nobody up."""

from __future__ import annotations

import pytest
import trio
from runtimekit import (
    CONNECTORS,
    closing,
    kinds,
    linger,
    meeting,
    of,
    outcome,
    rest,
    take,
)
from trio.testing import wait_all_tasks_blocked

from meerkat_rt import SessionLimits, events
from meerkat_rt.runtime import errors

# ---------------------------------------------------------------- one reader


async def test_a_second_reader_is_refused_and_the_first_reads_on(autojump_clock) -> None:
    async def script(peer) -> None:
        await peer.expect_item()
        await peer.linger()

    async with meeting(script) as m, trio.open_nursery() as nursery:
        read: list[object] = []

        async def reader() -> None:
            read.extend(await take(m.session, events.InputTranscriptFinalForItem))

        nursery.start_soon(reader)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await m.session.next_event()
        with pytest.raises(trio.BusyResourceError):
            await anext(m.session)
        await m.session.send_text("x")
        await wait_all_tasks_blocked()
        assert kinds(read) == ["InputTranscriptFinalForItem"]


async def test_a_cancelled_reader_loses_nothing(autojump_clock) -> None:
    async def script(peer) -> None:
        for number in range(100):
            await trio.sleep(0.01)
            await peer.text_response(f"number {number}")
        await peer.close()

    read: list[object] = []
    async with meeting(script) as m:
        ended = False
        while not ended:
            with trio.move_on_after(0.0004) as scope:  # again and again, in the middle of waiting
                while (event := await m.session.next_event()) is not None:
                    read.append(event)
                ended = True
            assert ended or scope.cancelled_caught
    deltas = "".join(event.delta for event in of(read, events.OutputTextDeltaForItem))
    assert deltas == "".join(f"number {number}" for number in range(100))
    assert len(of(read, events.TurnCompleted)) == 100
    assert closing(read).clean


async def test_reading_is_a_checkpoint_that_lets_others_run(autojump_clock) -> None:
    async def script(peer) -> None:
        for _ in range(400):
            await peer.send({"type": "input_audio_buffer.cleared"})
        await peer.linger()

    others = 0

    async def other() -> None:
        nonlocal others
        while True:
            await trio.lowlevel.checkpoint()
            others += 1

    async with meeting(script) as m:
        await wait_all_tasks_blocked()
        await m.session.next_event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)
            for _ in range(399):
                await m.session.next_event()
            assert 1 <= others <= 50, f"{others} turns for others in 399 reads"
            with trio.CancelScope() as scope:
                scope.cancel()
                await m.session.next_event()
            assert scope.cancelled_caught
            nursery.cancel_scope.cancel()


async def test_events_are_read_by_matching_until_the_session_ends(autojump_clock) -> None:
    async def script(peer) -> None:
        await peer.text_response("Hello there.")
        await peer.close()

    text = ""
    async with meeting(script) as m:
        async for event in m.session:
            match event:
                case events.OutputTextDeltaForItem(delta=delta):
                    text += delta
                case events.SessionClosed(reason=reason):
                    text += f" ({reason.by})"
    assert text == "Hello there. (provider)"


# ---------------------------------------------------------------- a slow application


@pytest.mark.parametrize("name", CONNECTORS)
async def test_a_slow_application_never_stops_the_receiver(name: str, autojump_clock) -> None:
    async def script(peer) -> None:
        for number in range(300):
            await peer.audio_response("So much to say.", ms=200)
            await peer.socket.ping(str(number).encode())
        await wait_all_tasks_blocked()
        assert peer.socket.pongs > 0
        answered.set()
        await peer.close(1001, "enough")

    answered = trio.Event()
    async with meeting(script, name=name) as m:
        await answered.wait()
        await wait_all_tasks_blocked()
        assert m.session.closed.code == 1001, "the close was not seen while nobody read"
        read, error = await outcome(m.session)
    assert len(of(read, events.OutputAudioChunk)) == 600
    assert len(of(read, events.TurnCompleted)) == 300
    assert isinstance(error, errors.ConnectionReset)


async def test_a_barge_in_is_handled_while_nobody_reads_and_flushes_what_is_dead(
    autojump_clock,
) -> None:
    async def script(peer) -> None:
        response = await peer.response()
        message = await response.message("audio")
        await message.speak("I could go on like this for hours", ms=2000)
        item = await peer.speech_started()
        await response.cancelled(message, reason="turn_detected")
        await peer.expect("conversation.item.delete", item_id=message.id)
        await peer.speech_stopped(item)
        await peer.linger()

    async with meeting(script) as m:
        await wait_all_tasks_blocked()
        assert m.core.events.audio_bytes == 0
        read = await take(m.session, events.Interrupted, events.TurnCompleted)
    assert not of(read, events.OutputAudioChunk)
    assert kinds(read, events.RealtimeTranscript)[-4:] == [
        "Interrupted",
        "InputSpeechStarted",
        "TurnStarted",
        "TurnCompleted",
    ]


async def test_audio_that_comes_in_one_read_with_the_barge_in_is_dead_too(autojump_clock) -> None:
    async def script(peer) -> None:
        response = await peer.response()
        message = await response.message("audio")
        peer.socket.cork()
        await message.speak("Nobody hears this", ms=500)
        item = await peer.speech_started()
        await peer.socket.uncork()
        await response.cancelled(message, reason="turn_detected")
        await peer.speech_stopped(item)
        await peer.linger()

    async with meeting(script) as m:
        read = await take(m.session, events.Interrupted)
        assert m.core.events.audio_bytes == 0
        read += await take(m.session, events.TurnCompleted)
    assert not of(read, events.OutputAudioChunk)


async def test_unread_audio_is_bounded_with_a_gap_in_its_place_and_is_not_heard(
    autojump_clock,
) -> None:
    async def script(peer) -> None:
        for _ in range(4):
            await peer.audio_response("One second of words.", ms=1000)
        await peer.expect_item()
        await peer.linger()

    limits = SessionLimits(output_audio_bytes=48_000)
    async with meeting(script, limits=limits) as m:
        await wait_all_tasks_blocked()
        assert m.core.events.audio_bytes <= 48_000
        assert m.core.events.dropped_bytes == 3 * 48_000
        read = await take(m.session, *[events.TurnCompleted] * 4)
        (gap,) = of(read, events.MediaGap)
        assert (gap.dropped_bytes, gap.dropped_ms) == (144_000, 3000)
        assert len(of(read, events.OutputAudioChunk)) == 10
        # What was dropped is not waited for: the responses are over when the last has been heard.
        await trio.sleep(1.01)
        assert len(m.session.transcript) == 4
        sizes = m.core.machine.ledger_sizes()
        assert {name: size for name, size in sizes.items() if size} == {}
        await m.session.send_text("go on")


async def test_too_many_unread_control_events_end_the_session_after_all_of_them(
    autojump_clock,
) -> None:
    async def script(peer) -> None:
        for _ in range(60):
            await peer.send({"type": "input_audio_buffer.cleared"})
        await peer.linger()

    async with meeting(script, limits=SessionLimits(waiting_events=50), client_may_leave=True) as m:
        await wait_all_tasks_blocked()
        assert m.session.closed is not None
        read, error = await outcome(m.session)
        assert len(of(read, events.InputAudioCleared)) >= 51
        assert isinstance(error, errors.ConsumerTooSlow)
        assert not error.retryable
        assert "SessionLimits.waiting_events" in str(error)
        reason = closing(read)
        assert (reason.by, reason.clean) == ("runtime", False)
        with pytest.raises(errors.ConsumerTooSlow):
            await m.session.next_event()


async def test_the_stream_may_be_read_after_the_block(autojump_clock) -> None:
    async def script(peer) -> None:
        await peer.text_response("Read me later.")
        await peer.linger()

    async with meeting(script) as m:
        await wait_all_tasks_blocked()
    read = await rest(m.session)
    assert of(read, events.TurnCompleted)
    assert closing(read).by == "application"


# ---------------------------------------------------------------- time and order (173 to 175)


async def test_173_chunks_arrive_in_order_when_they_were_sent(autojump_clock) -> None:
    at = [0.010, 0.011, 0.012, 0.013, 0.050, 0.051, 0.100]

    async def script(peer) -> None:
        response = await peer.response()
        message = await response.message("audio")
        began = trio.current_time()
        for number, seconds in enumerate(at):
            await trio.sleep_until(began + seconds)
            await message.audio(bytes([number]) * 480)
        await peer.linger()

    async with meeting(script) as m:
        await take(m.session, events.ResponseStarted)
        began = trio.current_time()
        arrived: list[tuple[int, float]] = []
        while len(arrived) < len(at):
            event = await m.session.next_event()
            if isinstance(event, events.OutputAudioChunk):
                arrived.append((event.chunk.data[0], round(trio.current_time() - began, 9)))
    assert [number for number, _ in arrived] == list(range(len(at)))
    for (_, seen), sent in zip(arrived, at, strict=True):
        assert abs(seen - sent) < 0.005


@pytest.mark.parametrize("idle", [0.0, 5.0])
async def test_174_175_a_burst_arrives_complete_and_in_order_however_late_it_is_read(
    idle: float, autojump_clock
) -> None:
    async def script(peer) -> None:
        response = await peer.response()
        message = await response.message("audio")
        for number in range(10):
            await message.audio(bytes([number]) * 480)
        await message.done()
        await response.done()
        await peer.linger()

    async with meeting(script) as m:
        await trio.sleep(idle)
        read = await take(m.session, events.TurnCompleted)
    assert [chunk.chunk.data[0] for chunk in of(read, events.OutputAudioChunk)] == list(range(10))


async def test_the_transcript_costs_no_copy_for_each_look(autojump_clock) -> None:
    async with meeting(linger) as m:
        await m.session.send_text("one")
        before = m.session.transcript
        assert m.session.transcript is before
        await m.session.send_text("two")
        assert [message.text_content() for message in m.session.transcript] == ["one", "two"]
        assert [message.text_content() for message in before] == ["one"]


async def test_two_sessions_read_apart(autojump_clock) -> None:
    async def script(peer) -> None:
        await peer.text_response("hello")
        await peer.linger()

    async with meeting(script) as one, meeting(linger) as two:
        await take(one.session, events.TurnCompleted)
        with trio.move_on_after(1) as scope:
            await two.session.next_event()
        assert scope.cancelled_caught
