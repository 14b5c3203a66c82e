"""Waiting for a whole answer: of what was asked and nothing else, and never for one that fails."""

from __future__ import annotations

import pytest
import trio
from runtimekit import EXPLICIT, linger, meeting, of, take

from meerkat_rt import RealtimeTextChunk, errors, events
from meerkat_rt.runtime.answers import Answer
from meerkat_rt.turn.effects import Lost, Superseded

TONE = b"\x01\x00" * 2400  # 100 ms at 24 kHz
AN_HOUR = 3600.0


async def asked(peer):
    """The message and the request of a `send_text_and_wait`."""
    await peer.expect_item(type="message")
    return await peer.expect("response.create")


def texts(read):
    return [event.text for event in of(read, events.AssistantTranscriptFinal)]


async def look(place: str) -> str:
    """Look somewhere."""
    return f"nothing in {place}"


# ---------------------------------------------------------------- no answer comes


async def silent(peer):
    await asked(peer)
    await linger(peer)


async def begun_and_silent(peer):
    await peer.response(await asked(peer))
    await linger(peer)


@pytest.mark.parametrize("script", [silent, begun_and_silent])
async def test_what_is_not_answered_ends_in_an_error(autojump_clock, script):
    async with meeting(script) as meet:
        with trio.fail_after(AN_HOUR), pytest.raises(errors.Unanswered) as caught:
            await meet.session.send_text_and_wait("hello")
        assert isinstance(caught.value.outcome, Lost)
        assert caught.value.retryable
        assert meet.session.closed is None


async def test_what_speech_takes_the_place_of_ends_in_an_error(autojump_clock):
    async def script(peer):
        response = await peer.response(await peer.expect("response.create"))
        message = await response.message("audio")
        await message.speak("A long story", ms=4000)
        await peer.expect_item(type="message")
        await peer.speech_started()
        await linger(peer)

    async with meeting(script) as meet:
        await meet.session.create_response()
        await take(meet.session, events.OutputAudioChunk)
        with trio.fail_after(AN_HOUR), pytest.raises(errors.Unanswered) as caught:
            await meet.session.send_text_and_wait("hello")
        assert caught.value.outcome == Superseded(by="barge_in")
        assert not caught.value.retryable


async def test_what_is_refused_or_fails_raises_what_the_provider_said(autojump_clock):
    async def script(peer):
        await peer.error("invalid_value", to=await asked(peer), message="no such voice")
        response = await peer.response(await asked(peer))
        await response.done("failed", error={"code": "server_error", "type": "server_error"})
        await linger(peer)

    async with meeting(script) as meet:
        for wanted in (errors.InvalidRequest, errors.LlmError):
            with trio.fail_after(AN_HOUR), pytest.raises(wanted):
                await meet.session.send_text_and_wait("hello")


@pytest.mark.parametrize("tools", [[look], []], ids=["ours", "unknown"])
@pytest.mark.parametrize("way", ["text", "audio"])
async def test_an_answer_that_does_not_go_on_after_its_tools_ends_in_an_error(
    autojump_clock, tools, way
):
    async def script(peer):
        (call_id,) = await peer.tool_call_response(
            ("look", {"place": "here"}), create=await asked(peer)
        )
        await peer.expect_tool_output(call_id)
        await linger(peer)

    async with meeting(script, tools=tools) as meet:
        session = meet.session
        with trio.fail_after(AN_HOUR), pytest.raises(errors.Unanswered, match="after its tool"):
            if way == "text":
                await session.send_text_and_wait("look")
            else:
                await session.send_text("look")
                await session.create_response()
                await session.collect_audio()


async def test_speech_that_the_provider_never_takes_for_a_turn_ends_in_an_error(autojump_clock):
    async with meeting(linger) as meet:
        start = trio.current_time()
        with trio.fail_after(AN_HOUR), pytest.raises(errors.Unanswered, match="none is due"):
            await meet.session.send_audio_and_wait(TONE)
        # The limit, and as long as it takes to say it.
        assert trio.current_time() - start == pytest.approx(30.1)


async def test_speech_whose_turn_never_ends_does_so_too(autojump_clock):
    async def script(peer):
        await peer.expect("input_audio_buffer.append")
        await peer.speech_started()
        await linger(peer)

    async with meeting(script) as meet:
        with trio.fail_after(AN_HOUR), pytest.raises(errors.Unanswered):
            await meet.session.send_audio_and_wait(TONE)


async def test_what_comes_as_the_wait_ends_is_not_too_late(autojump_clock, monkeypatch):
    async with meeting(linger) as meet:
        lane = meet.core.events
        following, late = lane.following, events.InputAudioCleared()

        async def given_up():
            try:
                return await following()
            except trio.Cancelled:
                lane.put([late])
                raise

        monkeypatch.setattr(lane, "following", given_up)
        assert await Answer(meet.core, patience=1).next_event() is late


async def test_an_interruption_before_the_answer_says_so_and_one_amid_it_is_its_end(
    autojump_clock,
):
    async def script(peer):
        await asked(peer)
        response = await peer.response(await asked(peer))
        message = await response.message("audio")
        await message.speak("A long story", ms=4000)
        await peer.expect("response.cancel")
        await response.done("cancelled")
        await linger(peer)

    async with meeting(script) as meet, trio.open_nursery() as nursery:

        @nursery.start_soon
        async def interrupting() -> None:
            for _ in range(2):
                await trio.sleep(0.5)
                await meet.session.interrupt()

        with pytest.raises(errors.Unanswered) as caught:
            await meet.session.send_text_and_wait("hello")
        assert isinstance(caught.value.outcome, Superseded)
        read = await meet.session.send_text_and_wait("tell me")
        assert read[-1].stop_reason == "cancelled"


async def test_an_interruption_of_its_tools_is_the_end_of_an_answer(autojump_clock):
    async def patient(place: str) -> str:
        """Look for long."""
        await trio.sleep(20)
        return place

    async def script(peer):
        await peer.tool_call_response(("patient", {"place": "x"}), create=await asked(peer))
        await linger(peer)

    async with meeting(script, tools=[patient]) as meet, trio.open_nursery() as nursery:

        @nursery.start_soon
        async def interrupting() -> None:
            await trio.sleep(1)
            await meet.session.interrupt()

        with trio.fail_after(5):
            read = await meet.session.send_text_and_wait("look")
        assert of(read, events.Interrupted)


async def test_what_closes_the_session_is_raised_and_not_that_there_is_no_answer(autojump_clock):
    for waiting in ("send_text_and_wait", "collect_audio"):
        async with meeting(linger) as meet, trio.open_nursery() as nursery:
            nursery.start_soon(meet.session.aclose)
            with pytest.raises(errors.SessionClosedError):
                if waiting == "collect_audio":
                    await meet.session.create_response()
                    await meet.session.collect_audio()
                else:
                    await meet.session.send_text_and_wait("hello")


# ---------------------------------------------------------------- whose answer it is


async def echo(peer):
    """Answers five messages with what they say, late, in order."""
    said = []
    for _ in range(10):
        frame = await peer.receive()
        if frame["type"] == "conversation.item.create":
            said.append(frame["item"]["content"][0]["text"])
            await peer.item_created(frame)
        elif frame["type"] == "response.create":
            await trio.sleep(0.2)
            await peer.audio_response(f"to {said[-1]}", create=frame, ms=20)
    await linger(peer)


async def test_the_answer_is_that_of_what_was_asked_and_not_an_earlier_one(autojump_clock):
    async with meeting(echo) as meet:
        await meet.session.send_input(RealtimeTextChunk("A"))
        assert texts(await meet.session.send_text_and_wait("B"))[-1] == "to B"
        with trio.move_on_after(0.1):
            await meet.session.send_text_and_wait("C")
        assert texts(await meet.session.send_text_and_wait("D"))[-1] == "to D"
        assert texts(await meet.session.send_text_and_wait("E")) == ["to E"]


async def test_spoken_audio_is_not_answered_by_what_was_being_said_before_it(autojump_clock):
    async def script(peer):
        response = await peer.response(await peer.expect("response.create"))
        message = await response.message("audio")
        await message.speak("the old", ms=20)
        await peer.expect("input_audio_buffer.append")
        await message.done()
        await response.done()
        await trio.sleep(1)
        await peer.user_turn("what is new?")
        await peer.audio_response("the new", ms=20)
        await linger(peer)

    async with meeting(script) as meet:
        await meet.session.create_response()
        await trio.sleep(1)
        assert texts(await meet.session.send_audio_and_wait(TONE))[-1] == "the new"


async def test_an_out_of_band_response_is_not_the_answer(autojump_clock):
    async def script(peer):
        aside = await peer.expect("response.create")
        create = await asked(peer)
        (call_id,) = await peer.tool_call_response(("look", {"place": "here"}), create=create)
        await peer.text_response("a title", aside)
        await peer.expect_tool_output(call_id)
        await peer.audio_response("Nothing.", create=await peer.expect("response.create"))
        await linger(peer)

    async with meeting(script, tools=[look]) as meet:
        await meet.session.create_response(in_conversation=False)
        with trio.fail_after(5):
            read = await meet.session.send_text_and_wait("look")
        assert texts(read)[-1] == "Nothing."


# ---------------------------------------------------------------- who may wait


@pytest.mark.parametrize("way", ["send_text_and_wait", "send_audio_and_wait", "collect_audio"])
async def test_a_second_reader_is_refused_before_anything_is_sent(autojump_clock, way):
    async with meeting(linger, mode=EXPLICIT) as meet, trio.open_nursery() as nursery:
        nursery.start_soon(meet.session.next_event)
        await trio.testing.wait_all_tasks_blocked()
        before = len(meet.peer.frames())
        with pytest.raises(trio.BusyResourceError):
            await getattr(meet.session, way)(
                *{"send_text_and_wait": ["hi"], "collect_audio": []}.get(way, [TONE])
            )
        await trio.testing.wait_all_tasks_blocked()
        assert len(meet.peer.frames()) == before
        nursery.cancel_scope.cancel()
