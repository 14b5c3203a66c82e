"""Turns of a conversation with OpenAI: spoken, written, committed by hand, nudged, stalled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from ...model import events as ev
from ...model.media import RealtimeTextChunk
from .bodies import PATIENCE, take
from .openai import TONE, scenarios_of
from .stage import EXPLICIT, EndedEarly

if TYPE_CHECKING:
    from ...runtime.session import RealtimeSession
    from ..openai_peer import OpenAIPeer

case = scenarios_of("openai turns")


async def writing_server(peer: OpenAIPeer) -> None:
    await peer.item_created(await peer.expect("conversation.item.create"))
    await peer.text_response("Good morning to you.", await peer.expect("response.create"))
    await peer.linger()


@case(writing_server)
async def a_text_turn(session: RealtimeSession) -> None:
    await session.send_input(RealtimeTextChunk("hello"))
    await take(session, ev.TurnCompleted)


async def talking_server(peer: OpenAIPeer) -> None:
    await peer.audio_response("Yes, of course.", create=await peer.expect("response.create"))
    await peer.linger()


@case(talking_server)
async def a_reader_of_batches(session: RealtimeSession) -> None:
    await session.create_response()
    over = False
    with trio.fail_after(PATIENCE):
        while not over:
            batch = await session.next_events()
            if not batch:
                raise EndedEarly("the session ended before its turn")
            over = any(isinstance(event, ev.TurnCompleted) for event in batch)
            await trio.sleep(0.01)  # so that several wait


async def committed_server(peer: OpenAIPeer) -> None:
    await peer.expect("input_audio_buffer.append")
    await peer.item_created(await peer.expect("conversation.item.create"))
    await peer.expect("input_audio_buffer.commit")
    await peer.committed()
    await peer.audio_response("Yes.", create=await peer.expect("response.create"))
    await peer.linger()


@case(committed_server, mode=EXPLICIT)
async def an_explicit_commit(session: RealtimeSession) -> None:
    await session.send_audio(TONE)
    await session.send_input(RealtimeTextChunk("and this"))
    request = await session.commit_turn()
    await take(session, ev.TurnCompleted)
    await request.outcome()


async def nudged_server(peer: OpenAIPeer) -> None:
    await peer.user_turn("hello?")
    await peer.audio_response("Sorry, yes.", create=await peer.expect("response.create"))
    await peer.linger()


@case(nudged_server)
async def a_nudge(session: RealtimeSession) -> None:
    await take(session, ev.Nudged, ev.TurnCompleted)


async def silent_server(peer: OpenAIPeer) -> None:
    await peer.user_turn("hello?")
    for _ in range(3):
        await peer.expect("response.create")
    await peer.linger()


@case(silent_server)
async def a_stall(session: RealtimeSession) -> None:
    await take(session, ev.Stalled)
