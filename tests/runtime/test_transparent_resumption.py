"""Vertex counts our messages: what its resumable state lacks is sent again, each exactly once."""

from __future__ import annotations

import base64

import pytest
import trio
from continuitykit import (
    EXPLICIT,
    calling_a_tool,
    calling_gemini,
    hearing_of_it,
    taking,
    until_it_is_spoken_about,
)

from meerkat_rt import RealtimeTextChunk, Vertex
from meerkat_rt.model import events as ev
from meerkat_rt.providers.gemini.unconsumed import MAX_BYTES, Unconsumed
from meerkat_rt.turn.effects import Answered
from meerkat_rt.turn.ports import AppendAudio

VERTEX = Vertex(project="p", location="l", access_token="t", base_url="ws://peer")


def call(*scripts, **settings):
    return calling_gemini(*scripts, platform=VERTEX, transparent=True, **settings)


def numbered(count, first=0):
    return [number.to_bytes(4, "little") * 160 for number in range(first, first + count)]


def numbers(peer):
    return [
        int.from_bytes(base64.b64decode(frame["realtimeInput"]["audio"]["data"])[:4], "little")
        for frame in peer.frames("realtimeInput.audio")
    ]


@pytest.mark.parametrize("consumed", [0, 1, 4, 9])
async def test_of_n_messages_those_after_the_kth_are_sent_again(autojump_clock, consumed):
    async def first(peer):
        await peer.welcome(sessionResumption={"transparent": True})
        for _ in range(9):
            await peer.receive()
        await peer.resumable("h1", last_consumed=consumed)
        await peer.reset(deliver=True)

    async def second(peer):
        await peer.welcome(sessionResumption={"handle": "h1", "transparent": True})
        await peer.linger()

    async with call(first, second) as met:
        for chunk in numbered(9):
            await met.session.send_audio(chunk)
        await met.until(ev.Reconnecting)
        for chunk in numbered(2, first=9):
            await met.session.send_audio(chunk)
        await met.until(ev.SessionRotated)
        await trio.sleep(1)
        before, after = met.exchange.peers
        assert numbers(before)[:consumed] + numbers(after) == list(range(11))


async def test_audio_older_than_the_microphone_may_wait_is_sent_again_too(autojump_clock):
    async def first(peer):
        await peer.welcome()
        await peer.resumable("h1")
        for _ in range(3):
            await peer.receive()
        await trio.sleep(5)
        await peer.reset()

    async def second(peer):
        await peer.welcome()
        await peer.linger()

    async with call(first, second) as met:
        await trio.sleep(0.1)
        for chunk in numbered(3):
            await met.session.send_audio(chunk)
        await met.until(ev.SessionRotated)
        await trio.sleep(1)
        assert numbers(met.exchange.peers[1]) == [0, 1, 2]


async def test_a_question_that_was_not_heeded_is_sent_again_and_not_asked_twice(autojump_clock):
    async def first(peer):
        await peer.welcome()
        await peer.resumable("h1")
        await peer.expect_turn("hello")
        await peer.reset()

    async def second(peer):
        await peer.welcome()
        await peer.expect_turn("hello")
        await peer.audio_response("Hi.", ms=40)
        await peer.expect_silence(3)
        await peer.linger()

    async with call(first, second) as met:
        await trio.sleep(0.1)
        await met.session.send_text("hello")
        request = await met.session.create_response()
        await met.until(ev.TurnCompleted)
        assert isinstance(await request.outcome(), Answered)
        await trio.sleep(4)
    assert met.said == [("user", "hello"), ("assistant", "Hi.")]


async def test_what_the_model_had_begun_to_answer_is_told_in_words(autojump_clock):
    async def first(peer):
        await peer.welcome()
        await peer.resumable("h1")
        await peer.expect_turn("hello")
        await peer.audio(40)
        await peer.said("Good ")
        await peer.reset(deliver=True)

    async def second(peer):
        await peer.welcome()
        for role, text in (("user", "hello"), ("model", "Good ")):
            frame = await peer.expect("clientContent", clientContent={"turnComplete": False})
            (turn,) = frame["clientContent"]["turns"]
            assert (turn["role"], turn["parts"][0]["text"]) == (role, text)
        await peer.expect("clientContent", clientContent={"turnComplete": True})
        await peer.audio_response("morning.", ms=40)
        await peer.linger()

    async with call(first, second) as met:
        await trio.sleep(0.1)
        await met.session.send_input(RealtimeTextChunk("hello"))
        await met.until(ev.TurnCompleted, 2)
        await trio.sleep(2)
    assert [text.strip() for _, text in met.said] == ["hello", "Good", "morning."]


async def test_an_outcome_that_was_not_heeded_is_sent_again_once(autojump_clock):
    async def first(peer):
        await calling_a_tool(peer, "quick", last_consumed=2)
        await peer.expect_tool_response("call_1")
        await peer.reset()

    async with call(first, hearing_of_it, tools=[taking(1, "quick")]) as met:
        await until_it_is_spoken_about(met)


async def test_an_outcome_that_came_without_a_connection_is_given_once(autojump_clock):
    async def first(peer):
        await calling_a_tool(peer, "quick", last_consumed=2)
        await peer.reset(deliver=True)

    async with call(first, hearing_of_it, tools=[taking(0.01, "quick")]) as met:
        await until_it_is_spoken_about(met)


async def test_an_activity_that_was_begun_goes_on_where_it_was(autojump_clock):
    async def first(peer):
        await peer.welcome()
        await peer.resumable("h1")
        await peer.expect("realtimeInput.activityStart")
        await peer.receive()
        await peer.reset()

    async def second(peer):
        await peer.welcome()
        await peer.expect("realtimeInput.activityStart")
        await peer.expect("realtimeInput.activityEnd")
        await peer.heard("hello", finished=True)
        await peer.audio_response("Hi.", ms=40)
        await peer.linger()

    async with call(first, second, mode=EXPLICIT) as met:
        await trio.sleep(0.1)
        (chunk, more) = numbered(2)
        await met.session.send_audio(chunk)
        await met.until(ev.SessionRotated)
        await met.session.send_audio(more)
        await met.session.commit_turn()
        await met.until(ev.TurnCompleted)
        assert numbers(met.exchange.peers[1]) == [0, 1]
        await trio.sleep(1)
    assert [text for _, text in met.said] == ["hello", "Hi."]


async def test_a_second_loss_before_any_new_state_sends_all_of_it_again(autojump_clock):
    async def first(peer):
        await peer.welcome()
        await peer.resumable("h1")
        for _ in range(2):
            await peer.receive()
        await peer.reset()

    async def second(peer):
        await peer.welcome(sessionResumption={"handle": "h1"})
        for _ in range(3):
            await peer.receive()
        await peer.reset()

    async def third(peer):
        await peer.welcome(sessionResumption={"handle": "h1"})
        await peer.linger()

    async with call(first, second, third) as met:
        await trio.sleep(0.1)
        for chunk in numbered(2):
            await met.session.send_audio(chunk)
        await met.until(ev.SessionRotated)
        await met.session.send_audio(numbered(1, first=2)[0])
        await met.until(ev.SessionRotated)
        await trio.sleep(1)
        assert numbers(met.exchange.peers[2]) == [0, 1, 2]


def test_what_is_kept_has_a_bound_and_a_counter():
    kept = Unconsumed()
    frame = bytes(64 * 1024)
    for _ in range(100):
        kept.note([frame], AppendAudio(b""))
    assert len(kept) == MAX_BYTES // len(frame)
    assert kept.lost == 100 - len(kept)
    kept.consumed(99)
    assert len(kept) == 1
    kept.heeded()
    assert len(kept) == 0
