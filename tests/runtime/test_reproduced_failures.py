"""Failures that were reproduced in other systems, each stated for this one under its number.

LK: LiveKit's agents; PC: Pipecat; A to G: the vendor's agents.  Those of sessions that replace
their connections, M, H and the rest of LK and PC, are in `test_continuity_of_others`.
"""

from __future__ import annotations

from typing import Any

import pytest
import test_continuity_of_others
import trio
from continuitykit import TONE
from runtimekit import meeting, of, outcome, rest, serving, take

from meerkat_rt import (
    GeminiLive,
    OpenAIRealtime,
    SessionLimits,
    errors,
    open_session,
)
from meerkat_rt.model import events as ev
from meerkat_rt.testing.scenarios import gemini, openai
from meerkat_rt.transport import connector
from meerkat_rt.turn.effects import Answered


async def answering(peer: Any, text: str = "Fine.", **speech: Any) -> None:
    await peer.audio_response(text, create=await peer.expect("response.create"), **speech)


# ---------------------------------------------------------------- LK


async def test_lk4_a_server_that_stops_reading_is_left_in_time_and_fills_no_memory(autojump_clock):
    """Its queue had no bound, an interrupt stood behind all of it, and closing took for ever."""

    async def script(peer: Any) -> None:
        await peer.response()
        peer.socket.stop_reading()
        await trio.sleep(600)

    dropped = 0
    limits = SessionLimits(write=1000.0)
    async with serving(_greeted(script), wire="lockstep", client_may_leave=True) as server:
        async with server.open(limits=limits) as session:
            await take(session, ev.ResponseStarted)
            for _ in range(700):  # 14 s of audio
                dropped += await session.send_audio(TONE)
                await trio.sleep(0.02)
            begun = trio.current_time()
            await session.interrupt()
            await session.aclose()
            assert trio.current_time() - begun <= limits.interrupt_grace + limits.close_grace
    most = limits.mic_max_age * 24_000 * 2 + 4 * 16 * 1024
    assert dropped >= 700 * len(TONE) - most


def _greeted(script: Any) -> Any:
    async def play(peer: Any) -> None:
        await peer.welcome()
        await script(peer)

    return play


# ---------------------------------------------------------------- PC


async def test_pc1_a_truncation_that_is_refused_ends_nothing(autojump_clock):
    """Any error but two ended the receive loop, and the call was deaf from then on."""

    async def script(peer: Any) -> None:
        response = await peer.response()
        message = await response.message("audio")
        await message.speak("A long story", ms=2000)
        await trio.sleep(0.5)
        await peer.speech_started()
        await response.cancelled(message, reason="turn_detected")
        truncate = await peer.expect("conversation.item.truncate")
        await peer.error("invalid_value", to=truncate, message="already shorter than that")
        await peer.user_turn("hello")
        await peer.audio_response("Still here.")
        await peer.linger()

    async with meeting(script) as meet:
        read = await take(meet.session, ev.Interrupted, ev.TurnCompleted, ev.TurnCompleted)
        assert of(read, ev.TurnCompleted)[-1].stop_reason == "end_turn"
        assert meet.session.is_connected


async def test_pc3_answers_that_were_heard_are_not_kept_as_audio(autojump_clock):
    """A buffer of everything the model had said was never emptied: 170 MB an hour."""

    async def script(peer: Any) -> None:
        for _ in range(50):
            await answering(peer, "Two seconds of speech.", ms=2000)
        await peer.linger()

    async with meeting(script) as meet:
        for _ in range(50):
            await meet.session.create_response()
            await take(meet.session, ev.TurnCompleted, ev.MessageCommitted)
        sizes = meet.core.machine.ledger_sizes()
        assert all(size <= 2 for size in sizes.values()), sizes
        assert meet.core.events._audio_bytes == 0


async def test_pc4_a_dial_that_fails_is_a_typed_error_where_the_session_is_opened(autojump_clock):
    """The failure was only logged: the call was silent, and connected to nothing."""

    async def nowhere(_host: str, _port: int) -> trio.abc.Stream:
        raise OSError("no route to host")

    wires = connector("websockets", open_stream=nowhere)
    for make, config in ((OpenAIRealtime, openai), (GeminiLive, gemini)):
        with pytest.raises(errors.LlmError, match="no route to host"):
            async with open_session(
                config.open_config(), provider=make(api_key="k", connector=wires)
            ):
                pytest.fail("it was opened")


async def test_pc5_an_answer_without_usage_is_an_answer(autojump_clock):
    """`usage: null` raised, and the exception ended the receive loop without a word."""

    async def script(peer: Any) -> None:
        response = await peer.response(await peer.expect("response.create"))
        message = await response.message("audio")
        await message.speak("Yes", ms=40)
        await message.done()
        done = response.value("completed")
        await peer.send({"type": "response.done", "response": {**done, "usage": None}})
        await answering(peer, "And again.")
        await peer.linger()

    async with meeting(script) as meet:
        for _ in range(2):
            request = await meet.session.create_response()
            await take(meet.session, ev.TurnCompleted)
            assert isinstance(await request.outcome(), Answered)


async def test_pc6_an_event_from_the_future_is_told_and_ends_nothing(autojump_clock):
    """An unknown type raised in the parser, and the loop ended."""

    async def script(peer: Any) -> None:
        await peer.send({"type": "response.brand_new_thing", "x": 1})
        await answering(peer)
        await peer.linger()

    async with meeting(script) as meet:
        (unknown,) = of(await take(meet.session, ev.UnknownProviderEvent), ev.UnknownProviderEvent)
        assert unknown.type == "response.brand_new_thing"
        assert b"brand_new_thing" in bytes(unknown.raw)
        await meet.session.create_response()
        await take(meet.session, ev.TurnCompleted)


# ---------------------------------------------------------------- A to G


async def test_a_an_application_that_does_not_read_costs_a_bounded_amount_of_memory(autojump_clock):
    """5,000 deltas waited in a queue without a bound, at 23 MB for 200 s of audio."""
    limits = SessionLimits(output_audio_bytes=1_000_000)

    async def script(peer: Any) -> None:
        response = await peer.response()
        message = await response.message("audio")
        for _ in range(200):  # 200 s, 9.6 MB
            await message.audio(bytes(48_000))
        await message.done()
        await response.done()
        await peer.linger()

    async with meeting(script, limits=limits) as meet:
        await trio.sleep(1)
        assert meet.core.events._audio_bytes <= limits.output_audio_bytes
        read = await take(meet.session, ev.TurnCompleted)
    (gap,) = of(read, ev.MediaGap)
    kept = sum(len(each.chunk.data) for each in of(read, ev.OutputAudioChunk))
    assert kept + gap.dropped_bytes == 200 * 48_000
    assert kept <= limits.output_audio_bytes


async def test_b_a_request_that_collides_with_the_providers_own_response_is_made_again(
    autojump_clock,
):
    """The rejected request was lost, and with it the answer to the tool's result."""

    async def script(peer: Any) -> None:
        create = await peer.expect("response.create")
        response = await peer.response()  # the provider was faster
        await peer.error("conversation_already_has_active_response", to=create)
        message = await response.message("audio")
        await message.speak("Mine", ms=40)
        await message.done()
        await response.done()
        await answering(peer, "Yours")
        await peer.linger()

    async with meeting(script) as meet:
        request = await meet.session.create_response()
        await take(meet.session, ev.TurnCompleted, ev.TurnCompleted)
        assert isinstance(await request.outcome(), Answered)


async def test_c_the_conversation_has_the_providers_order_whatever_comes_when(autojump_clock):
    """[u1, u1b, a1] became [u1, a1, u1b]: the second word of the user's stood after the answer."""

    async def script(peer: Any) -> None:
        first = await peer.speech_started()
        await peer.speech_stopped(first)
        await peer.committed(first)
        second = await peer.speech_started()
        await peer.speech_stopped(second)
        await peer.committed(second)
        await peer.audio_response("a1")
        await peer.transcribed(second, "u1b")  # the later words are known first
        await peer.transcribed(first, "u1")
        await peer.linger()

    async with meeting(script) as meet:
        await take(meet.session, *[ev.MessageCommitted] * 3)
        said = [message.text_content() for message in meet.session.transcript]
    assert said == ["u1", "u1b", "a1"]


async def test_d_a_tool_that_does_not_stop_is_named_and_waited_for(autojump_clock):
    """Closing returned after a second and left the tool running for nobody."""
    ended: list[float] = []

    async def stubborn() -> str:
        """Do not stop."""
        with trio.CancelScope(shield=True):
            await trio.sleep(5)
        ended.append(trio.current_time())
        return "at last"

    async def script(peer: Any) -> None:
        await peer.tool_call_response(("stubborn", {}))
        await peer.linger()

    async with meeting(script, tools=[stubborn], client_may_leave=True) as meet:
        await take(meet.session, ev.ToolCallRequested)
        await trio.sleep(0.1)
        await meet.session.aclose()
        assert ended == [5.0]
        read = await rest(meet.session)
    (named,) = of(read, ev.ToolUnresponsive)
    assert named.tool_name == "stubborn"


async def test_e_a_barge_in_considers_every_item_that_was_not_heard(autojump_clock):
    """1 s of the first of two items was heard; only the second was truncated, at 1 s."""

    async def script(peer: Any) -> None:
        response = await peer.response()
        first = await response.message("audio")
        await first.speak("eight seconds of it", ms=8000)
        await first.done()
        second = await response.message("audio")
        await second.speak("five more", ms=5000)
        await second.done()
        await response.done()
        await trio.sleep(2)
        await peer.speech_started()
        truncate = await peer.expect("conversation.item.truncate")
        delete = await peer.expect("conversation.item.delete")
        assert (truncate["item_id"], truncate["audio_end_ms"]) == (first.id, 1000)
        assert delete["item_id"] == second.id
        await peer.item_truncated(truncate)
        await peer.item_deleted(delete)
        await peer.linger()

    async with meeting(script) as meet:
        (chunk,) = of(await take(meet.session, ev.OutputAudioChunk), ev.OutputAudioChunk)
        await take(meet.session, ev.TurnCompleted)
        meet.session.playback.report(chunk.item_id, chunk.content_index or 0, 1000)
        await take(meet.session, ev.Interrupted, ev.AssistantTranscriptTruncated)


async def test_f_what_was_queued_is_read_before_the_error_that_ended_the_session(autojump_clock):
    """50 deltas had come before the connection broke; the consumer saw none of them."""

    async def script(peer: Any) -> None:
        response = await peer.response()
        message = await response.message("audio")
        for number in range(50):
            await message.transcript(f"{number} ")
        await trio.sleep(0.1)  # a reset takes along what is still on the wire
        await peer.reset()

    async with meeting(script) as meet:
        await trio.sleep(5)
        read, error = await outcome(meet.session)
    words = [event.delta for event in of(read, ev.OutputAudioTranscriptDeltaForItem)]
    assert words == [f"{number} " for number in range(50)]
    assert isinstance(read[-1], ev.SessionClosed)
    assert isinstance(error, errors.ConnectionReset)


async def test_g_hundreds_of_answers_leave_nothing_behind_but_their_words(autojump_clock):
    """The tracker of the model's audio kept a state for every response that there had been."""

    async def script(peer: Any) -> None:
        for _ in range(500):
            await answering(peer, "Yes", ms=20)
        await peer.linger()

    async with meeting(script) as meet:
        for _ in range(500):
            await meet.session.create_response()
            await take(meet.session, ev.TurnCompleted, ev.MessageCommitted)
        assert sum(meet.core.machine.ledger_sizes().values()) <= 4
        assert len(meet.core.requests) <= 1
        assert len(meet.session.transcript) == 500


# ---------------------------------------------------------------- all of them


def test_every_failure_has_its_test():
    numbers = [
        *(f"m{n}" for n in range(1, 11)),
        *(f"lk{n}" for n in range(1, 5)),
        *(f"pc{n}" for n in range(1, 7)),
        *(f"h{n}" for n in range(1, 4)),
        *"abcdefg",
    ]
    names = [*vars(test_continuity_of_others), *globals()]
    found = [name.split("_")[1] for name in names if name.startswith("test_")]
    assert [number for number in numbers if found.count(number) != 1] == []
