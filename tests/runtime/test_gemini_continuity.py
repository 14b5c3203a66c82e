"""Gemini's sessions outlive their connections by handles; where there is none, by telling again."""

from __future__ import annotations

from functools import partial

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

from meerkat_rt import (
    ContinuityPolicy,
    RealtimeConfig,
    RealtimeTextChunk,
    RequiresResumption,
    errors,
)
from meerkat_rt.model import events as ev

TONE = bytes(640)  # 20 ms at 16 kHz


def told(frame):
    """The words of a message of contents."""
    return [
        (turn["role"], "".join(part["text"] for part in turn["parts"]))
        for turn in frame["clientContent"]["turns"]
    ]


async def one_turn(peer, question="hello", answer="Good morning.", handle="h1"):
    await peer.expect_turn(question)
    await peer.audio_response(answer, ms=120)
    if handle is not None:
        await peer.resumable(handle)


async def test_a_lost_connection_is_resumed_with_the_newest_handle_and_nothing_is_told_again(
    autojump_clock,
):
    async def first(peer):
        await peer.welcome(sessionResumption={})
        await one_turn(peer, handle="h1")
        await peer.resumable("h2")
        await trio.sleep(3)
        await peer.reset()

    async def second(peer):
        await peer.welcome(sessionResumption={"handle": "h2"})
        await one_turn(peer, "again", "As I said.", "h3")
        await peer.expect_silence(2)
        await peer.linger()

    async with calling_gemini(first, second) as call:
        await call.session.send_input(RealtimeTextChunk("hello"))
        await call.until(ev.SessionRotated)
        assert call.of(ev.SessionRotated)[0].state_restored
        await call.session.send_input(RealtimeTextChunk("again"))
        await call.until(ev.TurnCompleted)
        await trio.sleep(3)
    assert [text for _, text in call.said] == ["hello", "Good morning.", "again", "As I said."]


async def test_a_state_that_cannot_be_resumed_does_not_replace_the_one_before(autojump_clock):
    async def first(peer):
        await peer.welcome()
        await one_turn(peer, handle="h1")
        await peer.not_resumable()
        await trio.sleep(3)
        await peer.reset()

    async def second(peer):
        await peer.welcome(sessionResumption={"handle": "h1"})
        await peer.linger()

    async with calling_gemini(first, second) as call:
        await call.session.send_input(RealtimeTextChunk("hello"))
        await call.until(ev.SessionRotated)


async def test_what_was_said_after_the_handle_is_told_to_the_resumed_session(autojump_clock):
    async def first(peer):
        await peer.welcome()
        await one_turn(peer, handle="h1")
        await one_turn(peer, "and now?", "Later.", handle=None)
        await trio.sleep(3)
        await peer.reset()

    async def second(peer):
        await peer.welcome(sessionResumption={"handle": "h1"})
        frames = [await peer.expect("clientContent") for _ in range(2)]
        assert [told(frame) for frame in frames] == [
            [("user", "and now?")],
            [("model", "Later.")],
        ]
        assert not any(frame["clientContent"]["turnComplete"] for frame in frames)
        await peer.expect_silence(2)
        await peer.linger()

    async with calling_gemini(first, second) as call:
        await call.session.send_input(RealtimeTextChunk("hello"))
        await call.until(ev.TurnCompleted)
        await trio.sleep(1)
        await call.session.send_input(RealtimeTextChunk("and now?"))
        await call.until(ev.SessionRotated)
        await trio.sleep(3)


async def test_without_a_handle_a_new_session_is_told_everything(autojump_clock):
    async def first(peer):
        setup = await peer.welcome()
        assert "sessionResumption" not in setup
        await one_turn(peer, handle=None)
        await trio.sleep(3)
        await peer.reset()

    async def second(peer):
        await peer.welcome(historyConfig={"initialHistoryInClientContent": True})
        frame = await peer.expect("clientContent")
        assert told(frame) == [("user", "hello"), ("model", "Good morning.")]
        await peer.linger()

    async with calling_gemini(first, second, resumption=False) as call:
        await call.session.send_input(RealtimeTextChunk("hello"))
        await call.until(ev.SessionRotated)
        assert not call.of(ev.SessionRotated)[0].state_restored
        await trio.sleep(1)


@pytest.mark.parametrize(
    ("code", "reason"), [(1007, "Invalid session resumption handle"), (1008, "not found")]
)
async def test_a_handle_that_is_refused_falls_back_to_a_new_session_at_once(
    autojump_clock, code, reason
):
    async def first(peer):
        await peer.welcome()
        await one_turn(peer, handle="old")
        await trio.sleep(3)
        await peer.reset()

    async def refusing(peer):
        await peer.accept()
        await peer.expect("setup", setup={"sessionResumption": {"handle": "old"}})
        await peer.close(code, reason)

    async def third(peer):
        setup = await peer.welcome()
        assert setup["sessionResumption"] == {}
        assert told(await peer.expect("clientContent")) == [
            ("user", "hello"),
            ("model", "Good morning."),
        ]
        await peer.linger()

    async with calling_gemini(first, refusing, third) as call:
        await call.session.send_input(RealtimeTextChunk("hello"))
        await call.until(ev.SessionRotated)
        assert len(call.of(ev.Reconnecting)) == 1
        await trio.sleep(1)


async def test_going_away_is_acted_on_at_the_next_boundary_and_the_old_one_is_closed_first(
    autojump_clock,
):
    closed = []

    async def first(peer):
        await peer.welcome()
        await one_turn(peer, handle="h1")
        await peer.go_away(50)
        await peer.expect_close(within=60)
        closed.append(trio.current_time())

    async def second(peer):
        assert closed, "resumed while the old connection was there"
        await peer.welcome(sessionResumption={"handle": "h1"})
        await peer.linger()

    async with calling_gemini(first, second) as call:
        await call.session.send_input(RealtimeTextChunk("hello"))
        await call.until(ev.SessionRotated)
        assert call.of(ev.SessionRotating)[0].why == "going_away"
        assert not call.of(ev.Reconnecting)
        assert trio.current_time() < 2


async def test_going_away_is_acted_on_though_the_server_falls_silent(autojump_clock):
    async def first(peer):
        await peer.welcome()
        await one_turn(peer, handle="h1")
        await peer.expect_turn("still there?")
        await peer.audio(40)
        await peer.go_away(10)
        await peer.expect_close(within=60)

    async def second(peer):
        await peer.welcome(sessionResumption={"handle": "h1"})
        assert told(await peer.expect("clientContent")) == [("user", "still there?")]
        await peer.expect("clientContent", clientContent={"turnComplete": True})
        await peer.audio_response("Yes.", ms=40)
        await peer.linger()

    async with calling_gemini(first, second) as call:
        await call.session.send_input(RealtimeTextChunk("hello"))
        await call.until(ev.TurnCompleted)
        await trio.sleep(1)
        await call.session.send_input(RealtimeTextChunk("still there?"))
        await call.until(ev.SessionRotated)
        assert trio.current_time() == pytest.approx(9, abs=1)
        await call.until(ev.TurnCompleted)
        await trio.sleep(1)
    assert [text for _, text in call.said] == ["hello", "Good morning.", "still there?", "Yes."]


async def test_without_a_policy_going_away_is_left_to_the_provider(autojump_clock):
    async def first(peer):
        await peer.welcome()
        await peer.go_away(1)
        await trio.sleep(5)
        await peer.close(1000, "gone")

    async with calling_gemini(first, continuity=None) as call:
        await call.until(ev.SessionClosed)
        assert trio.current_time() == 5


async def test_a_call_that_the_resumed_session_knows_is_answered_there_under_its_id(autojump_clock):
    async def first(peer):
        await calling_a_tool(peer, "slow")
        await trio.sleep(1)
        await peer.reset()

    second = partial(hearing_of_it, sessionResumption={"handle": "h1"})
    async with calling_gemini(first, second, tools=[taking(5, "slow")]) as call:
        await until_it_is_spoken_about(call)


async def test_an_answer_that_the_handle_does_not_include_is_given_once_more(autojump_clock):
    async def first(peer):
        await calling_a_tool(peer, "quick")
        await peer.expect_tool_response("call_1")
        await peer.reset()

    second = partial(hearing_of_it, sessionResumption={"handle": "h1"})
    async with calling_gemini(first, second, tools=[taking(1, "quick")]) as call:
        await until_it_is_spoken_about(call)


async def test_a_call_that_the_session_has_lost_is_told_in_words_and_spoken_about(autojump_clock):
    async def first(peer):
        await peer.welcome()
        await one_turn(peer, handle="h1")
        await peer.expect_turn()
        await peer.tool_call(("slow", {}))
        await trio.sleep(1)
        await peer.reset()

    async def second(peer):
        await peer.welcome(sessionResumption={"handle": "h1"})
        assert told(await peer.expect("clientContent")) == [("user", "go")]
        ((role, words),) = told(await peer.expect("clientContent"))
        assert role == "user"
        assert words == "[tool result]\nslow gave: done"
        await peer.expect("clientContent", clientContent={"turnComplete": True})
        await peer.audio_response("Done.", ms=40)
        await peer.expect_silence(5)
        await peer.linger()

    async with calling_gemini(first, second, tools=[taking(5, "slow")]) as call:
        await call.session.send_input(RealtimeTextChunk("hello"))
        await call.until(ev.TurnCompleted)
        await trio.sleep(1)
        await call.session.send_input(RealtimeTextChunk("go"))
        await call.until(ev.TurnCompleted, 2)
        await trio.sleep(6)


async def test_an_explicit_turn_is_made_again_where_the_handle_is_older(autojump_clock):
    async def first(peer):
        await peer.welcome()
        await peer.resumable("h1")
        await peer.expect("realtimeInput.activityStart")
        await peer.expect("realtimeInput.activityEnd")
        await peer.reset()

    async def second(peer):
        await peer.welcome(sessionResumption={"handle": "h1"})
        await peer.expect("realtimeInput.activityStart")
        await peer.expect("realtimeInput.activityEnd")
        await peer.heard("hello", finished=True)
        await peer.audio_response("Hi.", ms=40)
        await peer.linger()

    async with calling_gemini(first, second, mode=EXPLICIT) as call:
        await trio.sleep(0.1)
        await call.session.send_audio(TONE)
        request = await call.session.commit_turn()
        await call.until(ev.TurnCompleted)
        await request.outcome()
        await trio.sleep(1)
        audio = call.exchange.peers[1].frames("realtimeInput.audio")
        assert len(audio) == 1
    assert [text for _, text in call.said] == ["hello", "Hi."]


async def test_another_configuration_resumes_the_session_with_it(autojump_clock):
    async def first(peer):
        await peer.welcome()
        await one_turn(peer, handle="h1")
        await peer.expect_close()

    async def second(peer):
        setup = await peer.welcome(sessionResumption={"handle": "h1"})
        assert setup["systemInstruction"] == {"parts": [{"text": "speak French"}]}
        assert told(await peer.expect("clientContent")) == [("user", "[system]\nBonjour!")]
        await peer.expect_silence(3)
        await peer.linger()

    async with calling_gemini(first, second, continuity=None) as call:
        await call.session.send_input(RealtimeTextChunk("hello"))
        await call.until(ev.TurnCompleted)
        outcome = await call.session.mutate_context(RealtimeConfig(instruction="speak French"))
        assert isinstance(outcome, RequiresResumption)
        await call.session.resume_with(outcome, bridge="Bonjour!")
        await trio.sleep(4)
        assert (await call.until(ev.SessionRotated))[-1].state_restored


async def test_a_configuration_that_is_refused_resumes_the_session_as_it_was(autojump_clock):
    async def first(peer):
        await peer.welcome()
        await one_turn(peer, handle="h1")
        await peer.expect_close()

    async def refusing(peer):
        await peer.accept()
        await peer.expect("setup")
        await peer.close(1007, "Unsupported voice")

    async def third(peer):
        setup = await peer.welcome(sessionResumption={"handle": "h1"})
        assert "speechConfig" not in setup["generationConfig"]
        await one_turn(peer, "still there?", "Yes.")
        await peer.linger()

    async with calling_gemini(first, refusing, third, continuity=None) as call:
        await call.session.send_input(RealtimeTextChunk("hello"))
        await call.until(ev.TurnCompleted)
        with pytest.raises(errors.InvalidRequest, match="Unsupported voice"):
            await call.session.resume_with(RealtimeConfig(voice="Nobody"))
        await call.session.send_input(RealtimeTextChunk("still there?"))
        await call.until(ev.TurnCompleted)


async def test_an_answer_that_was_being_made_is_made_again_by_the_resumed_session(autojump_clock):
    async def first(peer):
        await peer.welcome()
        await peer.resumable("h0")
        await peer.user_turn("tell me a story")
        await peer.audio(40)
        await peer.said("Once upon")
        await peer.reset(deliver=True)

    async def second(peer):
        await peer.welcome(sessionResumption={"handle": "h0"})
        assert told(await peer.expect("clientContent")) == [("user", "tell me a story")]
        assert told(await peer.expect("clientContent")) == [("model", "Once upon")]
        await peer.expect("clientContent", clientContent={"turnComplete": True})
        await peer.audio_response("a time", ms=40)
        await peer.linger()

    async with calling_gemini(first, second, continuity=ContinuityPolicy(seed=2)) as call:
        await call.session.send_audio(TONE)
        await call.until(ev.TurnCompleted, 2)
        await trio.sleep(1)
    assert [text for _, text in call.said] == ["tell me a story", "Once upon", "a time"]
