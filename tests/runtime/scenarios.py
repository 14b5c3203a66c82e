"""What a session goes through, each as a small program that a sweep cancels at every step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio
from runtimekit import EXPLICIT, open_config, take
from stage import SCENARIOS as SCENARIOS
from stage import scenario

from meerkat_rt import (
    RealtimeSession,
    RealtimeTextChunk,
    SessionLimits,
    SystemMessage,
    UserMessage,
    errors,
    tool,
)
from meerkat_rt.model import events as ev
from meerkat_rt.testing.openai_peer import OpenAIPeer

TONE = b"\x01\x00" * 480  # 20 ms
GRACE = SessionLimits().close_grace


# ---------------------------------------------------------------- help for bodies


async def until(session: RealtimeSession, *kinds: type) -> None:
    await take(session, *kinds)


# ---------------------------------------------------------------- opening


async def idle_server(peer: OpenAIPeer) -> None:
    await peer.linger()


@scenario(idle_server)
async def idle(session: RealtimeSession) -> None:
    await trio.sleep(1)


async def seeding_server(peer: OpenAIPeer) -> None:
    await peer.accept()
    await trio.sleep(0.1)
    await peer.session_created()
    update = await peer.expect("session.update")
    await trio.sleep(0.1)
    await peer.session_updated(update)
    for _ in range(2):
        create = await peer.expect("conversation.item.create")
        await trio.sleep(0.1)
        await peer.item_created(create)
    await peer.linger()


@scenario(
    seeding_server,
    greeted=False,
    config=open_config().with_seed_messages([SystemMessage("be brief"), UserMessage("hello")]),
)
async def opening_with_history(session: RealtimeSession) -> None:
    await trio.sleep(0.1)


async def mute_server(peer: OpenAIPeer) -> None:
    await peer.accept()
    await peer.linger()


@scenario(mute_server, greeted=False, ends=(errors.NetworkTimeout,))
async def a_server_that_never_creates_the_session(session: RealtimeSession) -> None:
    raise AssertionError("opened")


async def refusing_server(peer: OpenAIPeer) -> None:
    await peer.accept()
    await peer.fail("invalid_api_key")


@scenario(refusing_server, greeted=False, ends=(errors.AuthenticationFailed,))
async def a_server_that_refuses_the_key(session: RealtimeSession) -> None:
    raise AssertionError("opened")


# ---------------------------------------------------------------- turns


async def talking_server(peer: OpenAIPeer) -> None:
    await peer.expect("input_audio_buffer.append")
    await peer.user_turn("hello there")
    await peer.audio_response("Good morning.", ms=200)
    await peer.rate_limits()
    await peer.linger()


@scenario(talking_server)
async def a_user_turn_and_its_spoken_answer(session: RealtimeSession) -> None:
    for _ in range(3):
        await session.send_audio(TONE)
    await until(session, ev.TurnCompleted, ev.MessageCommitted)


async def writing_server(peer: OpenAIPeer) -> None:
    await peer.item_created(await peer.expect("conversation.item.create"))
    await peer.text_response("Good morning to you.", await peer.expect("response.create"))
    await peer.linger()


@scenario(writing_server)
async def a_text_turn(session: RealtimeSession) -> None:
    await session.send_input(RealtimeTextChunk("hello"))
    await until(session, ev.TurnCompleted)


async def committed_server(peer: OpenAIPeer) -> None:
    await peer.expect("input_audio_buffer.append")
    await peer.item_created(await peer.expect("conversation.item.create"))
    await peer.expect("input_audio_buffer.commit")
    await peer.committed()
    await peer.audio_response("Yes.", create=await peer.expect("response.create"))
    await peer.linger()


@scenario(committed_server, mode=EXPLICIT)
async def an_explicit_commit(session: RealtimeSession) -> None:
    await session.send_audio(TONE)
    await session.send_input(RealtimeTextChunk("and this"))
    request = await session.commit_turn()
    await until(session, ev.TurnCompleted)
    await request.outcome()


# ---------------------------------------------------------------- tools


async def slow(name: str) -> str:
    """Look something up."""
    try:
        await trio.sleep(len(name) / 10)
    finally:
        with trio.CancelScope(shield=True, relative_deadline=0.01):
            await trio.lowlevel.checkpoint()
    return name.upper()


async def three_calls_server(peer: OpenAIPeer) -> None:
    await peer.expect("response.create")
    calls = await peer.tool_call_response(
        ("slow", {"name": "a"}), ("slow", {"name": "bb"}), ("slow", {"name": "ccc"})
    )
    for call_id in calls:
        await peer.expect_tool_output(call_id)
    await peer.audio_response("Done.", create=await peer.expect("response.create"))
    await peer.linger()


@scenario(three_calls_server, tools=[slow])
async def a_tool_turn_with_three_parallel_calls(session: RealtimeSession) -> None:
    await session.create_response()
    await until(session, ev.TurnCompleted, ev.TurnCompleted)


async def one_call_server(peer: OpenAIPeer) -> None:
    await peer.expect("response.create")
    await peer.tool_call_response(("hang_up", {}))
    await peer.linger()


_sessions: list[RealtimeSession] = []


async def hang_up() -> str:
    """End the call."""
    await trio.sleep(0.1)
    await _sessions[-1].aclose()
    raise AssertionError("a tool outlived its session")


@scenario(one_call_server, tools=[hang_up])
async def a_close_from_inside_a_tool(session: RealtimeSession) -> None:
    _sessions.append(session)
    await session.create_response()
    while await session.next_event() is not None:
        pass


async def stop_everything() -> str:
    """Interrupt the model."""
    await trio.sleep(0.1)
    await _sessions[-1].interrupt()
    raise AssertionError("a tool outlived its own interruption")


async def interrupting_call_server(peer: OpenAIPeer) -> None:
    await peer.expect("response.create")
    calls = await peer.tool_call_response(("stop_everything", {}), ("slow", {"name": "zzzzz"}))
    for call_id in calls:
        await peer.expect_tool_output(call_id)
    await peer.linger()


@scenario(interrupting_call_server, tools=[stop_everything, slow])
async def an_interruption_from_inside_a_tool(session: RealtimeSession) -> None:
    _sessions.append(session)
    await session.create_response()
    await until(session, ev.ToolCallFinished, ev.ToolCallFinished)


@scenario(idle_server)
async def a_close_from_another_task(session: RealtimeSession) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.aclose)
        nursery.start_soon(session.aclose)
        while await session.next_event() is not None:
            pass
    await session.aclose()


# ---------------------------------------------------------------- interruptions


async def barged_in_server(peer: OpenAIPeer) -> None:
    response = await peer.response()
    message = await response.message("audio")
    await message.speak("A long story about meerkats", ms=400)
    await trio.sleep(0.2)
    await peer.speech_started()
    await response.cancelled(message, reason="turn_detected")
    await peer.item_truncated(await peer.expect("conversation.item.truncate"))
    await peer.linger()


@scenario(barged_in_server)
async def a_barge_in_while_the_model_generates(session: RealtimeSession) -> None:
    await until(session, ev.OutputAudioChunk, ev.Interrupted, ev.TurnCompleted)
    await until(session, ev.AssistantTranscriptTruncated)


async def barged_in_later_server(peer: OpenAIPeer) -> None:
    await peer.audio_response("A long story about meerkats", ms=2000)
    await trio.sleep(0.5)
    await peer.speech_started()
    await peer.item_truncated(await peer.expect("conversation.item.truncate"))
    await peer.linger()


@scenario(barged_in_later_server)
async def a_barge_in_while_the_model_only_plays(session: RealtimeSession) -> None:
    await until(session, ev.TurnCompleted, ev.Interrupted, ev.AssistantTranscriptTruncated)


async def interrupted_server(peer: OpenAIPeer) -> None:
    response = await peer.response(await peer.expect("response.create"))
    message = await response.message("audio")
    await message.speak("A long story", ms=300)
    await response.call("slow", {"name": "zzzzzzzz"})
    await peer.expect("response.cancel")
    await response.cancelled(message)
    await peer.linger()


@scenario(interrupted_server, tools=[tool(slow, on_interrupt="finish_silently")])
async def an_interruption_by_the_application(session: RealtimeSession) -> None:
    await session.create_response()
    await take(session, ev.ToolCallRequested)
    await session.interrupt()
    await until(session, ev.Interrupted, ev.TurnCompleted)


# ---------------------------------------------------------------- silence


async def nudged_server(peer: OpenAIPeer) -> None:
    await peer.user_turn("hello?")
    await peer.audio_response("Sorry, yes.", create=await peer.expect("response.create"))
    await peer.linger()


@scenario(nudged_server)
async def a_nudge(session: RealtimeSession) -> None:
    await until(session, ev.Nudged, ev.TurnCompleted)


async def silent_server(peer: OpenAIPeer) -> None:
    await peer.user_turn("hello?")
    for _ in range(3):
        await peer.expect("response.create")
    await peer.linger()


@scenario(silent_server)
async def a_stall(session: RealtimeSession) -> None:
    await until(session, ev.Stalled)


# ---------------------------------------------------------------- bad ends


async def deaf_server(peer: OpenAIPeer) -> None:
    await peer.expect("input_audio_buffer.append")
    peer.socket.stop_reading()
    await trio.sleep(60)


@scenario(deaf_server, unwind=GRACE)
async def a_server_that_stops_reading(session: RealtimeSession) -> None:
    for _ in range(20):
        await session.send_audio(TONE)
    await session.create_response()
    await trio.sleep(1)
    await session.interrupt()


async def cutting_server(peer: OpenAIPeer) -> None:
    await peer.expect("input_audio_buffer.append")
    await peer.cut_frame()


@scenario(cutting_server, ends=(errors.ConnectionReset, errors.SessionClosedError))
async def a_reset_in_the_middle_of_a_frame(session: RealtimeSession) -> None:
    await session.send_audio(TONE)
    while await session.next_event() is not None:
        pass


def closing_server(code: int, reason: str) -> Callable[[OpenAIPeer], Awaitable[None]]:
    async def script(peer: OpenAIPeer) -> None:
        response = await peer.response(await peer.expect("response.create"))
        await response.call("slow", {"name": "zzzz"})
        await peer.close(code, reason)

    return script


CLOSE_CODES = (
    (1000, ""),
    (1001, "Your session hit the maximum duration of 60 minutes."),
    (1008, "policy"),
    (1009, "too big"),
    (1011, "internal"),
    (1012, "restart"),
    (1013, "overloaded"),
    (3000, "invalid_request_error.invalid_api_key"),
    (3003, "forbidden"),
    (4000, "invalid_request_error.invalid_model"),
)
for _code, _reason in CLOSE_CODES:

    async def _closed_by_the_server(session: RealtimeSession) -> None:
        await session.create_response()
        while await session.next_event() is not None:
            pass

    _closed_by_the_server.__name__ = f"a_close_by_the_server_with_{_code}"
    scenario(closing_server(_code, _reason), tools=[slow], ends=(errors.LlmError,))(
        _closed_by_the_server
    )
