"""Sessions that outlive their connections: losses, and what goes on after them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from ...model import events as ev
from ...model.live_config import RealtimeConfig
from ...model.media import RealtimeTextChunk
from ...runtime import errors
from ...runtime.continuity_policy import ContinuityPolicy
from .bodies import idle_server, read_out, slow, take, welcoming
from .gemini import scenarios_of as gemini_scenarios_of
from .openai import TONE, scenarios_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ...runtime.session import RealtimeSession
    from ..gemini_peer import GeminiPeer
    from ..openai_peer import OpenAIPeer
    from . import stage

POLICY = ContinuityPolicy(seed=1)

_case = scenarios_of("continuity")


def case(
    first: Callable[[OpenAIPeer], Awaitable[object]], *others: stage.Script, **settings: Any
) -> Callable[[stage.Body], stage.Body]:
    """A case whose first server greets; the others play from the upgrade on."""
    settings = {"continuity": POLICY, "survives_reset": True, **settings}
    return _case(welcoming(first), *others, greeted=False, **settings)


# ---------------------------------------------------------------- losses


async def dropping_mid_turn(peer: OpenAIPeer) -> None:
    await peer.expect("input_audio_buffer.append")
    await peer.user_turn("tell me a story")
    response = await peer.response()
    message = await response.message("audio")
    await message.speak("Once upon a time", ms=200)
    await peer.reset()


async def going_on_with_the_story(peer: OpenAIPeer) -> None:
    await peer.welcome_back()
    await peer.audio_response("there was a meerkat.", create=await request(peer))
    await peer.linger()


async def request(peer: OpenAIPeer) -> dict[str, Any]:
    """The request for an answer."""
    return await peer.expect("response.create")


@case(dropping_mid_turn, going_on_with_the_story)
async def a_drop_in_the_middle_of_an_answer(session: RealtimeSession) -> None:
    await session.send_audio(TONE)
    await take(session, ev.Reconnecting)
    await session.send_audio(TONE)
    await take(session, ev.SessionRotated, ev.TurnCompleted)


async def dropping_during_a_call(peer: OpenAIPeer) -> None:
    create = await peer.expect("response.create")
    await peer.tool_call_response(
        ("slow", {"name": "a"}), ("slow", {"name": "z" * 8}), create=create
    )
    await trio.sleep(0.2)
    await peer.reset()


async def answering_the_call(peer: OpenAIPeer) -> None:
    told = await peer.welcome_back()
    if "call_2" not in [each["call_id"] for each in told if "output" in each]:
        await peer.expect_tool_output("call_2")
    await peer.audio_response("Done.", create=await request(peer))
    await peer.linger()


@case(dropping_during_a_call, answering_the_call, tools=[slow])
async def a_call_across_a_drop(session: RealtimeSession) -> None:
    await session.create_response()
    await take(session, ev.SessionRotated, ev.TurnCompleted)


async def dropping(peer: OpenAIPeer) -> None:
    await trio.sleep(0.2)
    await peer.reset()


@case(dropping, ends=(errors.ReconnectExhausted,))
async def attempts_that_all_fail(session: RealtimeSession) -> None:
    await session.send_audio(TONE)
    await read_out(session)


async def deaf_and_dropping(peer: OpenAIPeer) -> None:
    await peer.expect("input_audio_buffer.append")
    peer.socket.stop_reading()
    await trio.sleep(1)
    await peer.reset()


async def told_once(peer: OpenAIPeer) -> None:
    await peer.welcome_back(2)
    peer.skipped |= {"conversation.item.create"}  # one that was not meant for it: for the checks
    await peer.linger()


@case(deaf_and_dropping, told_once, unwind=0.25)
async def a_drop_with_commands_that_wait(session: RealtimeSession) -> None:
    await session.send_audio(TONE)
    await trio.sleep(0.5)
    await session.send_text("Is anybody there?")
    await session.send_text("Hello?")
    await take(session, ev.SessionRotated)
    await trio.sleep(1)


async def mute(peer: OpenAIPeer) -> None:
    await peer.accept()
    await peer.linger()


@case(dropping, mute)
async def a_close_in_the_middle_of_a_reconnection(session: RealtimeSession) -> None:
    await take(session, ev.Reconnecting)
    await trio.sleep(1.0)
    await session.send_text("still there?")
    await session.aclose()


# ---------------------------------------------------------------- planned swaps

AGED = ContinuityPolicy(seed=1, max_age=8.0)  # looks for a boundary from 6 s on, goes at 7.6 s


async def left_in_order(peer: OpenAIPeer) -> None:
    await peer.expect("input_audio_buffer.append")
    await peer.user_turn("hello")
    await peer.audio_response("Hi.", ms=200)
    await peer.linger()


async def taking_over(peer: OpenAIPeer) -> None:
    await peer.welcome_back(2)
    await peer.linger()


@case(left_in_order, taking_over, continuity=AGED)
async def a_rotation_between_two_turns(session: RealtimeSession) -> None:
    await session.send_audio(TONE)
    await take(session, ev.SessionRotating, ev.SessionRotated)
    await session.send_audio(TONE)


async def talking_when_it_was_left(peer: OpenAIPeer) -> None:
    await peer.expect("input_audio_buffer.append")
    await peer.user_turn("hello")
    await peer.audio_response("Hi.", ms=200)
    peer.socket.stop_reading()  # so that it does not see that it is left
    await trio.sleep_until(6.1)
    await peer.user_turn("nobody hears that")
    await peer.error("late")


@case(talking_when_it_was_left, taking_over, continuity=AGED, unwind=0.25)
async def a_connection_that_talks_on_when_it_was_left(session: RealtimeSession) -> None:
    await session.send_audio(TONE)
    await take(session, ev.SessionRotating, ev.SessionRotated)
    await trio.sleep(1)
    await session.send_audio(TONE)


async def slow_to_take_over(peer: OpenAIPeer) -> None:
    await peer.accept()
    peer.tag = "b"
    await peer.session_created()
    update = await peer.expect("session.update")
    await trio.sleep(1)
    await peer.session_updated(update)
    await peer.linger()


@case(idle_server, slow_to_take_over, continuity=AGED)
async def a_close_while_the_next_connection_is_made(session: RealtimeSession) -> None:
    await take(session, ev.SessionRotating)
    await trio.sleep(0.5)


async def talking_meanwhile(peer: OpenAIPeer) -> None:
    await trio.sleep(6.5)
    await peer.user_turn("hello")
    await peer.audio_response("Hi there.", ms=800)
    await peer.linger()


async def pinging_meanwhile(peer: OpenAIPeer) -> None:
    await peer.accept()
    peer.tag = "b"
    await peer.session_created()
    update = await peer.expect("session.update")
    await trio.sleep(0.8)
    await peer.session_updated(update)
    await peer.expect_pong()
    await peer.error("early")
    for role in ("user", "assistant"):
        await peer.expect_item(role=role)
    await peer.linger()


@case(talking_meanwhile, pinging_meanwhile, continuity=AGED)
async def a_rotation_that_waits_for_the_end_of_a_turn(session: RealtimeSession) -> None:
    await take(session, ev.SessionRotating, ev.ProviderErrorReported, ev.SessionRotated)
    await trio.sleep(1)


async def talking_on(peer: OpenAIPeer) -> None:
    create = await peer.expect("response.create")
    response = await peer.response(create)
    message = await response.message("audio")
    await message.speak("On and on", ms=200)
    await response.call("slow", {"name": "z" * 8})
    await peer.linger()


async def with_another_model(peer: OpenAIPeer) -> None:
    await peer.welcome_back(1)
    await peer.expect_item(role="assistant")
    await peer.expect_item(role="system")
    await peer.expect_tool_output("call_1")
    await peer.audio_response("and on.", create=await request(peer))
    await peer.linger()


OTHER = RealtimeConfig(model="gpt-realtime-2")


@case(talking_on, with_another_model, tools=[slow], continuity=None, survives_reset=False)
async def another_configuration_at_once(session: RealtimeSession) -> None:
    await session.create_response()
    await take(session, ev.ToolCallRequested)
    await session.resume_with(OTHER, when="now", bridge="Be brief.")
    await take(session, ev.SessionRotated, ev.TurnCompleted)


@case(left_in_order, taking_over, continuity=None, survives_reset=False)
async def another_configuration_at_the_end_of_the_turn(session: RealtimeSession) -> None:
    await session.send_audio(TONE)
    await take(session, ev.ResponseStarted)
    await session.resume_with(OTHER)
    await take(session, ev.SessionRotated)


# ---------------------------------------------------------------- Gemini

gemini_case = gemini_scenarios_of("continuity")


async def resumable(peer: GeminiPeer) -> None:
    await peer.welcome()
    await peer.expect_turn()
    await peer.tool_call(("slow", {"name": "z" * 8}))
    await peer.resumable("h1")
    await trio.sleep(0.2)
    await peer.reset()


async def resumed(peer: GeminiPeer) -> None:
    await peer.welcome(sessionResumption={"handle": "h1"})
    await peer.expect_tool_response("call_1")
    peer.tag = "b"
    await peer.audio_response("Done.", ms=40)
    await peer.linger()


@gemini_case(
    resumable, resumed, greeted=False, tools=[slow], continuity=POLICY, survives_reset=True
)
async def a_session_resumed_by_its_handle(session: RealtimeSession) -> None:
    await session.send_input(RealtimeTextChunk("go"))
    await take(session, ev.SessionRotated, ev.TurnCompleted)


async def going_away(peer: GeminiPeer) -> None:
    await peer.welcome()
    await peer.expect_turn()
    await peer.audio_response("Good morning.", ms=40)
    await peer.resumable("h1")
    await peer.go_away(20)
    await peer.linger()


async def coming_back(peer: GeminiPeer) -> None:
    await peer.welcome(sessionResumption={"handle": "h1"})
    await peer.linger()


@gemini_case(going_away, coming_back, greeted=False, continuity=POLICY, survives_reset=True)
async def a_connection_that_is_going_away(session: RealtimeSession) -> None:
    await session.send_input(RealtimeTextChunk("hello"))
    await take(session, ev.SessionRotating, ev.SessionRotated)
