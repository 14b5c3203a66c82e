"""Tools whose outcome comes while the user speaks: the model is not asked to talk over them."""

from __future__ import annotations

import pytest
import trio
from runtimekit import linger, meeting, of, open_config, provider, serving, take, welcoming

from meerkat_rt import RealtimeConfig, VadConfig, events, open_session

NO_ANSWER = RealtimeConfig(turn_detection=VadConfig(create_response=False))


async def look_up(dish: str) -> str:
    """Look up a price."""
    await trio.sleep(2)
    return f"{dish}: 12 euros"


async def called(peer):
    """The user has asked, a call runs, and one second later the user speaks again."""
    await peer.user_turn("how much is the soup?")
    (call_id,) = await peer.tool_call_response(("look_up", {"dish": "soup"}))
    await trio.sleep(1)
    item_id = await peer.speech_started()
    output = await peer.expect("conversation.item.create")
    assert output["item"]["call_id"] == call_id
    return item_id, output


async def test_nothing_is_asked_while_the_user_speaks_and_the_turns_answer_is_the_tools_as_well(
    autojump_clock,
):
    async def script(peer):
        item_id, output = await called(peer)
        await peer.item_created(output)
        await peer.expect_silence(20)
        await peer.speech_stopped(item_id)
        await peer.committed(item_id)
        await peer.audio_response("12 euros, and yes.", ms=20)
        await peer.expect_silence(20)
        await linger(peer)

    async with meeting(script, tools=[look_up]) as meet:
        read = await take(meet.session, events.TurnCompleted, events.TurnCompleted)
        assert len(of(read, events.ResponseStarted)) == 2
        await trio.sleep(30)  # the script's second silence


async def test_an_output_that_the_provider_may_have_got_too_late_is_spoken_about_afterwards(
    autojump_clock,
):
    async def script(peer):
        item_id, output = await called(peer)
        await peer.speech_stopped(item_id)
        await peer.committed(item_id)
        await peer.item_created(output)
        await peer.audio_response("Yes.", ms=20)
        await peer.audio_response("12 euros.", create=await peer.expect("response.create"), ms=20)
        await linger(peer)

    async with meeting(script, tools=[look_up]) as meet:
        with trio.fail_after(10):
            await take(meet.session, *[events.TurnCompleted] * 3)


@pytest.mark.parametrize("end", ["committed", "cleared", "nothing"])
async def test_it_is_asked_for_after_a_turn_that_the_provider_does_not_answer(autojump_clock, end):
    async def script(peer):
        item_id, output = await called(peer)
        await peer.item_created(output)
        await peer.expect_silence(5)
        await peer.speech_stopped(item_id)
        start = trio.current_time()
        if end == "committed":
            await peer.committed(item_id)
        elif end == "cleared":
            await peer.send({"type": "input_audio_buffer.cleared"})
        create = await peer.expect("response.create")
        assert trio.current_time() - start == pytest.approx(1.0 if end == "nothing" else 0)
        await peer.audio_response("12 euros.", create=create, ms=20)
        await linger(peer)

    settings = {"config": NO_ANSWER} if end == "committed" else {}
    async with serving(welcoming(script)) as server:
        ours = provider(server.wire.client, **settings)
        async with open_session(open_config(), provider=ours, tools=[look_up]) as session:
            with trio.fail_after(30):
                await take(session, events.TurnCompleted, events.TurnCompleted)


async def test_what_the_application_asks_for_is_asked_at_once(autojump_clock):
    async def script(peer):
        await called(peer)
        await peer.audio_response("Wait.", create=await peer.expect("response.create"), ms=20)
        await linger(peer)

    async with meeting(script, tools=[look_up]) as meet:
        await take(meet.session, events.ToolCallFinished)
        request = await meet.session.create_response()
        with trio.fail_after(1):
            await take(meet.session, events.TurnCompleted)
        assert request.settled


async def test_a_wait_for_the_answer_goes_on_through_what_the_user_says_amid_its_tools(
    autojump_clock,
):
    async def script(peer):
        create = await peer.expect("response.create")
        await peer.tool_call_response(("look_up", {"dish": "soup"}), create=create)
        await trio.sleep(1)
        item_id = await peer.speech_started()
        await peer.item_created(await peer.expect("conversation.item.create"))
        await trio.sleep(20)
        await peer.speech_stopped(item_id)
        await peer.committed(item_id)
        await peer.audio_response("12 euros, and yes.", ms=20)
        await linger(peer)

    async with meeting(script, tools=[look_up]) as meet:
        request = await meet.session.create_response()
        with trio.fail_after(60):
            pieces = await meet.session.collect_audio()
        assert pieces
        assert request.settled
