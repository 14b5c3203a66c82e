"""The user speaks, or the application interrupts, while the model generates or only plays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from ...model import events as ev
from .bodies import take
from .openai import TONE, scenarios_of

if TYPE_CHECKING:
    from ...runtime.session import RealtimeSession
    from ..openai_peer import OpenAIPeer

case = scenarios_of("interruptions")


async def barged_in_later_server(peer: OpenAIPeer) -> None:
    await peer.audio_response("A long story about meerkats", ms=400)
    await trio.sleep(0.1)
    await peer.speech_started()
    await peer.item_truncated(await peer.expect("conversation.item.truncate"))
    await peer.linger()


@case(barged_in_later_server)
async def a_barge_in_while_the_model_only_plays(session: RealtimeSession) -> None:
    await take(session, ev.TurnCompleted, ev.Interrupted, ev.AssistantTranscriptTruncated)


async def late_frames_server(peer: OpenAIPeer) -> None:
    response = await peer.response()
    message = await response.message("audio")
    await message.speak("A long story", ms=200)
    await trio.sleep(0.1)
    await peer.speech_started()
    await message.speak(" about meerkats", ms=200)
    another = await response.message("audio")
    await another.speak("in Africa", ms=100)
    await response.cancelled(message, another, reason="turn_detected")
    peer.skipped |= {"conversation.item.delete"}
    await peer.item_truncated(await peer.expect("conversation.item.truncate"))
    await peer.linger()


@case(late_frames_server)
async def late_frames_of_a_response_that_was_cut_off(session: RealtimeSession) -> None:
    await take(session, ev.OutputAudioChunk, ev.Interrupted, ev.TurnCompleted)


async def microphone_server(peer: OpenAIPeer) -> None:
    response = await peer.response(await peer.expect("response.create"))
    await peer.expect("response.cancel", response_id=response.id)
    await response.cancelled()
    await peer.linger()


@case(microphone_server)
async def an_interruption_overtakes_the_microphone(session: RealtimeSession) -> None:
    await session.create_response()
    await take(session, ev.ResponseStarted)
    await session.send_audio(TONE * 200)  # a dozen writes
    await session.interrupt()
    await take(session, ev.TurnCompleted)


async def two_answers_server(peer: OpenAIPeer) -> None:
    await peer.text_response("The first.", await peer.expect("response.create"))
    response = await peer.response(await peer.expect("response.create"))
    message = await response.message("audio")
    await message.speak("The second", ms=300)
    await peer.expect("response.cancel", response_id=response.id)
    await response.cancelled()
    await peer.linger()


@case(two_answers_server)
async def an_interruption_of_a_response_that_is_over(session: RealtimeSession) -> None:
    await session.create_response()
    *_, first = await take(session, ev.TurnCompleted)
    await session.create_response()
    *_, second = await take(session, ev.OutputAudioChunk)
    await session.interrupt(first.response_id)
    await session.interrupt(second.response_id)
    *_, interrupted = await take(session, ev.Interrupted)
    assert interrupted.response_id == second.response_id
    await take(session, ev.TurnCompleted)


async def unhelpful_server(peer: OpenAIPeer) -> None:
    response = await peer.response(await peer.expect("response.create"))
    message = await response.message("audio")
    await message.speak("A long story", ms=300)
    await peer.expect("response.cancel")
    await peer.linger()


@case(unhelpful_server)
async def an_interruption_that_is_never_acknowledged(session: RealtimeSession) -> None:
    await session.create_response()
    await take(session, ev.OutputAudioChunk)
    await session.interrupt()
    await session.interrupt()
    await take(session, ev.TurnCompleted)
