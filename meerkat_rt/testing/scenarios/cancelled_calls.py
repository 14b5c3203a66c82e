"""Calls of the session that are cancelled by the application, which goes on with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from ...model import events as ev
from ...runtime import errors
from ...runtime.limits import SessionLimits
from ...runtime.reading import FRAMES_PER_STEP
from .bodies import read_out, take
from .openai import TONE, scenarios_of
from .stage import this_witness, undisturbed

if TYPE_CHECKING:
    from ...runtime.session import RealtimeSession
    from ..openai_peer import OpenAIPeer

case = scenarios_of("cancelled calls")


async def patient_server(peer: OpenAIPeer) -> None:
    for _ in range(3):
        await peer.item_created(await peer.expect("conversation.item.create"))
    await peer.linger()


@case(patient_server)
async def commands_take_effect_or_are_cancelled(session: RealtimeSession) -> None:
    watching = this_witness().watching
    assert watching is not None
    for number in range(3):
        before = watching.commands
        try:
            await session.send_text(f"message {number}")
        except trio.Cancelled:
            assert watching.commands == before, "a command took effect and was cancelled"
            raise


async def reading_server(peer: OpenAIPeer) -> None:
    await peer.expect("response.create")
    await peer.text_response("All of these words must be read, and in their order.")
    await peer.close()


@case(reading_server)
async def reads_that_are_cancelled_lose_nothing(session: RealtimeSession) -> None:
    await session.create_response()
    event: object = session
    while event is not None:
        for _ in range(2):
            with trio.CancelScope() as scope:
                scope.cancel("the application thinks better of it")
                await session.next_event()
        event = await session.next_event()


@case(reading_server)
async def a_batch_that_comes_as_its_read_is_cancelled_is_not_lost(session: RealtimeSession) -> None:
    request = await session.create_response()
    reading = trio.CancelScope()

    async def think_better_of_it() -> None:
        await request.outcome()  # which is known in the same step as the last event of the turn
        reading.cancel("the application has what it wanted")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(think_better_of_it)
        with reading:
            while await session.next_events():
                pass
        while await session.next_events():
            pass


async def bursting_server(peer: OpenAIPeer) -> None:
    response = await peer.response(await peer.expect("response.create"))
    message = await response.message("text")
    peer.socket.cork()
    for number in range(FRAMES_PER_STEP + 1):
        await message.text(f"{number} ")
    await message.done()
    await response.done()
    await peer.socket.uncork()
    await peer.linger()


@case(bursting_server)
async def an_application_that_leaves_in_the_middle_of_a_burst(session: RealtimeSession) -> None:
    request = await session.create_response()
    await take(session, ev.OutputTextDeltaForItem)
    with trio.move_on_after(1) as waiting:
        await request.outcome()
    late = waiting.cancelled_caught and undisturbed()
    assert not late, "the rest of the burst was left lying until something else came"


async def full_server(peer: OpenAIPeer) -> None:
    peer.socket.stop_reading()
    await trio.sleep(5)
    await peer.socket.drop()


@case(
    full_server,
    unwind=0.25,
    limits=SessionLimits(control_commands=2),
    ends=(errors.ConnectionReset, errors.SessionClosedError),
)
async def commands_wait_for_room_no_longer_than_the_session_lives(
    session: RealtimeSession,
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read_out, session)
        await session.send_audio(TONE)
        for _ in range(40):
            await session.clear_audio()
        nursery.cancel_scope.cancel()


async def muted_server(peer: OpenAIPeer) -> None:
    await peer.user_turn("hello?")
    await peer.audio_response("Sorry, yes.", create=await peer.expect("response.create"))
    await peer.linger()


@case(muted_server)
async def a_nudge_while_the_microphone_is_open(session: RealtimeSession) -> None:
    async def speak() -> None:
        while True:
            await session.send_audio(TONE)
            await trio.sleep(0.1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(speak)
        await take(session, ev.Nudged)
        nursery.cancel_scope.cancel("nudged")
