"""Turns of a conversation with Gemini: written, spoken, told by the application, interrupted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from ...model import events as ev
from ...model.conversation import SystemMessage, UserMessage
from ...model.media import RealtimeTextChunk
from ...runtime import errors
from .bodies import take
from .gemini import TONE, open_config, scenarios_of
from .stage import EXPLICIT

if TYPE_CHECKING:
    from ...runtime.session import RealtimeSession
    from ..gemini_peer import GeminiPeer

case = scenarios_of("gemini turns")


async def telling_server(peer: GeminiPeer) -> None:
    await peer.receive()
    await peer.user_turn("hello there", told=True)
    await peer.audio_response("Good morning.", ms=200)
    await peer.linger()


@case(telling_server)
async def a_spoken_turn_whose_end_is_told(session: RealtimeSession) -> None:
    await session.send_audio(TONE)
    await take(session, ev.InputSpeechStarted, ev.TurnCompleted, ev.MessageCommitted)


async def barged_in_later_server(peer: GeminiPeer) -> None:
    await peer.expect_turn()
    await peer.speak("A long story about meerkats", ms=400)
    await peer.generation_complete()
    await trio.sleep(0.1)
    await peer.interrupted()
    await peer.linger()


@case(barged_in_later_server)
async def a_barge_in_while_gemini_only_plays(session: RealtimeSession) -> None:
    await session.send_input(RealtimeTextChunk("hello"))
    await take(session, ev.OutputAudioChunk, ev.Interrupted)


async def commanded_server(peer: GeminiPeer) -> None:
    await peer.expect_activity()
    await peer.speak("A long story", ms=200)
    await peer.expect("realtimeInput.activityStart")
    await peer.interrupted()
    await peer.linger()


@case(commanded_server, mode=EXPLICIT)
async def an_interruption_by_the_application_with_gemini(session: RealtimeSession) -> None:
    await session.send_audio(TONE)
    await session.commit_turn()
    await take(session, ev.OutputAudioChunk)
    await session.interrupt()
    await take(session, ev.Interrupted, ev.TurnCompleted)


async def silent_server(peer: GeminiPeer) -> None:
    await peer.expect_turn()
    await peer.linger()


@case(silent_server)
async def a_stall_of_gemini(session: RealtimeSession) -> None:
    await session.send_input(RealtimeTextChunk("hello?"))
    await take(session, ev.Stalled)


async def seeding_server(peer: GeminiPeer) -> None:
    await peer.accept()
    await trio.sleep(0.1)
    await peer.expect("setup")
    await trio.sleep(0.1)
    await peer.setup_complete()
    await peer.expect("clientContent", clientContent={"turnComplete": True})
    await peer.linger()


@case(
    seeding_server,
    greeted=False,
    config=open_config().with_seed_messages([SystemMessage("be brief"), UserMessage("hello")]),
)
async def opening_gemini_with_history(session: RealtimeSession) -> None:
    await trio.sleep(0.1)


async def mute_server(peer: GeminiPeer) -> None:
    await peer.accept()
    await peer.linger()


@case(mute_server, greeted=False, ends=(errors.NetworkTimeout,))
async def a_gemini_that_never_completes_the_setup(session: RealtimeSession) -> None:
    raise AssertionError("opened")


async def refusing_server(peer: GeminiPeer) -> None:
    await peer.accept()
    await peer.close(1007, "API key not valid. Please pass a valid API key.")


@case(refusing_server, greeted=False, ends=(errors.InvalidApiKey,))
async def a_gemini_that_refuses_the_key(session: RealtimeSession) -> None:
    raise AssertionError("opened")
