"""The connection that is ready and waits for the end of a turn before it takes over."""

from __future__ import annotations

import contextlib

import pytest
import trio
from continuitykit import calling, calling_gemini

from meerkat_rt import ContinuityPolicy, RealtimeConfig, SessionLimits, errors
from meerkat_rt.model import events as ev
from meerkat_rt.runtime import link as links
from meerkat_rt.testing.quiescence import quiescent_after

# Looks for a boundary from 180 s on and goes at 230 s; tries again 5 s after a failure.
AGED = ContinuityPolicy(seed=1, max_age=240.0)
OTHER = RealtimeConfig(model="gpt-realtime-2")


def talking(seconds, *, after=181.0):
    """A server whose turn begins while the next connection is made, and lasts."""

    async def play(peer):
        await trio.sleep(after)
        await peer.user_turn("hello")
        response = await peer.response()
        message = await response.message("audio")
        await message.speak("Once upon", ms=500)
        with trio.move_on_after(seconds):
            await peer.expect_close(within=1000)
            return
        await message.speak(" a time", ms=500)
        await message.done()
        await response.done()
        assert await peer.expect_close(within=200) is not None

    return play


def ready(then, *, seconds=2, seeds=0):
    """A server that has the session ready some seconds after it was dialled, at 182 s."""

    async def play(peer):
        await peer.accept()
        peer.tag = "b"
        await peer.session_created()
        update = await peer.expect("session.update")
        await trio.sleep(seconds)
        await peer.session_updated(update)
        for _ in range(seeds):
            await peer.item_created(await peer.expect("conversation.item.create"))
        await then(peer)

    return play


async def idle(peer):
    await peer.linger()


async def going_on(peer):
    """A server of a session that goes on in the middle of an answer."""
    await peer.welcome_back(2)
    await peer.linger()


class Left(Exception):
    """The application has left the block."""


def pinging(every, *, within=5.0):
    """A server that drops who does not answer its pings."""

    async def play(peer):
        for _ in range(5):
            await trio.sleep(every)
            with trio.move_on_after(within) as waited:
                await peer.expect_pong()
            if waited.cancelled_caught:
                await peer.reset()
                return
        await peer.linger()

    return play


async def test_a_server_that_pings_the_waiting_connection_is_answered(autojump_clock):
    async with calling(talking(40), ready(pinging(10)), continuity=AGED) as call:
        await call.until(ev.SessionRotated)
        assert trio.current_time() > 220
        await trio.sleep(20)
        assert call.exchange.dialled_at == [0, 180]
        assert call.exchange.peers[1].socket.pongs == 5
        assert call.session.is_connected
        assert not call.core.events.waiting
        assert [text for _, text in call.said] == ["hello", "Once upon a time"]


async def test_nothing_but_frames_of_the_protocol_is_written_before_it_takes_over(autojump_clock):
    async def second(peer):
        await pinging(10)(peer)

    async with calling(talking(20), ready(second), continuity=AGED) as call:
        await call.until(ev.OutputAudioChunk)
        await trio.sleep(12)
        await call.session.send_audio(b"\x01\x00" * 480)
        await trio.sleep(1)
        old, new = call.exchange.peers
        assert len(old.frames("input_audio_buffer.append")) == 1
        assert [new.frame_type(each) for each in new.frames()] == ["session.update"]
        assert new.socket.pongs == 1
        await call.until(ev.SessionRotated)
        await trio.sleep(40)


async def closing(peer):
    await trio.sleep(3)
    await peer.close(1000, "idle")


async def breaking(peer):
    await trio.sleep(3)
    await peer.reset()


async def failing(peer):
    await trio.sleep(3)
    await peer.close(1011, "internal")


@pytest.mark.parametrize("end", [closing, breaking, failing])
async def test_one_that_ends_while_it_waits_is_replaced_at_a_measured_pace(autojump_clock, end):
    scripts = talking(30), ready(end), ready(end, seeds=1), ready(idle, seeds=1)
    async with calling(*scripts, continuity=AGED) as call:
        await call.until(ev.SessionRotated)
        assert call.exchange.dialled_at == [0, 180, 190, 200]
        assert len(call.of(ev.SessionRotating)) == 1
        assert not call.of(ev.Reconnecting)
        assert [turn.error for turn in call.of(ev.TurnCompleted)] == [None]
        await trio.sleep(20)
        assert call.session.is_connected
        assert not call.core.events.waiting


async def test_a_server_that_falls_silent_is_found_out_while_its_connection_waits(autojump_clock):
    async def silent(peer):
        peer.socket.go_silent()
        await peer.linger()

    async with calling(talking(60), ready(silent), ready(idle, seeds=1), continuity=AGED) as call:
        await call.until(ev.SessionRotated)
        assert call.exchange.dialled_at == [0, 180, 227]  # 20 s to the ping, 20 s for its answer
        assert trio.current_time() == pytest.approx(230, abs=0.1)
        assert not call.of(ev.Reconnecting)


async def test_with_no_time_left_the_end_of_the_old_one_is_a_loss_like_another(autojump_clock):
    async def first(peer):
        with trio.move_on_at(240):
            await talking(100)(peer)
        await peer.reset()

    async def late(peer):
        await trio.sleep(44)
        await peer.close(1000, "idle")

    async def refused(peer):
        await peer.reject(503)

    async with calling(first, ready(late), refused, refused, going_on, continuity=AGED) as call:
        await call.until(ev.Reconnecting)
        assert trio.current_time() == 240
        assert call.exchange.dialled_at == [0, 180, 231, 236]
        assert not call.of(ev.SessionRotated)
        await call.until(ev.SessionRotated)


async def test_the_old_one_is_lost_after_the_waiting_one(autojump_clock):
    async def first(peer):
        with trio.move_on_at(187):  # while the next attempt is waited for
            await talking(100)(peer)
        await peer.reset()

    async with calling(first, ready(closing), going_on, continuity=AGED) as call:
        await call.until(ev.SessionRotated)
        assert len(call.of(ev.Reconnecting)) == 1
        assert 187 <= trio.current_time() < 188


async def test_what_was_said_before_it_took_over_is_heard_in_order_after(autojump_clock):
    said = [f"early_{number}" for number in range(300)]  # of more than one look at other tasks

    async def second(peer):
        for code in said:
            await peer.error(code)
        await trio.sleep(30)
        await peer.error("late")
        await peer.linger()

    async with calling(talking(20), ready(second), continuity=AGED) as call:
        await call.until(ev.OutputAudioChunk)
        await trio.sleep(10)
        assert not call.core.events.waiting
        await call.until(ev.SessionRotated)
        while len(call.of(ev.ProviderErrorReported)) <= len(said):
            await call.until(ev.ProviderErrorReported)
        assert [each.fault.code for each in call.of(ev.ProviderErrorReported)] == [*said, "late"]


async def test_one_that_says_too_much_is_given_up(autojump_clock):
    async def second(peer):
        for _ in range(30):
            await peer.error("early")
            await trio.sleep(0.1)
        await peer.linger()

    limits = SessionLimits(warming_bytes=20_000)
    scripts = talking(30), ready(second), ready(idle, seeds=1)
    async with calling(*scripts, continuity=AGED, limits=limits) as call:
        await call.until(ev.SessionRotated)
        assert len(call.exchange.dialled_at) == 3
        assert 187 < call.exchange.dialled_at[2] < 190
        assert not call.of(ev.ProviderErrorReported)


async def test_an_end_that_was_announced_while_it_waited_is_not_put_off_by_that(autojump_clock):
    async def first(peer):
        await peer.welcome()
        await trio.sleep(20)
        await peer.go_away(100)
        await trio.sleep(1)
        await peer.user_turn("hello")
        await peer.audio_response("a long answer", ms=20_000)
        assert await peer.expect_close(within=200) is not None

    async def second(peer):
        await peer.accept()
        await trio.sleep(3)
        await peer.setup_complete(await peer.expect("setup"))
        await peer.go_away(50)
        await peer.linger()

    async def third(peer):
        await peer.welcome()
        await peer.linger()

    async with calling_gemini(first, second, third) as call:
        await call.until(ev.SessionRotated)
        assert trio.current_time() > 40
        assert call.core.continuity.timetable.ends_at == pytest.approx(73, abs=0.1)
        await trio.sleep(20)


async def test_a_change_whose_connection_ends_while_it_waits_is_made_by_another(autojump_clock):
    scripts = talking(14, after=1), ready(closing), ready(idle, seeds=1)
    async with calling(*scripts, continuity=None) as call:
        await call.session.resume_with(OTHER)
        assert call.core.dialect.model == "gpt-realtime-2"
        assert len(call.exchange.dialled_at) == 3


async def test_a_change_for_which_no_time_is_left_then_fails_and_the_session_goes_on(
    autojump_clock,
):
    scripts = talking(30, after=1), ready(closing)
    limits = SessionLimits(turn_end=8.0)
    async with calling(*scripts, continuity=None, limits=limits) as call:
        with pytest.raises(errors.ConnectionReset, match="ended before it took over"):
            await call.session.resume_with(OTHER)
        assert trio.current_time() == pytest.approx(5, abs=0.1)
        assert call.session.is_connected
        await call.until(ev.TurnCompleted)
        assert call.core.dialect.model == "gpt-realtime"
        await call.session.aclose()


@pytest.mark.parametrize("how", ["close", "leave", "cancel"])
async def test_a_session_that_closes_meanwhile_leaves_neither(autojump_clock, how):
    with quiescent_after():
        scripts = talking(40), ready(pinging(10))
        with trio.CancelScope() as scope, contextlib.suppress(Left):
            async with calling(*scripts, continuity=AGED) as call:
                await call.until(ev.OutputAudioChunk)
                await trio.sleep(5)
                assert len(call.exchange.dialled_at) == 2
                if how == "cancel":
                    scope.cancel()
                elif how == "close":
                    await call.session.aclose()
                else:
                    raise Left
        assert scope.cancelled_caught == (how == "cancel")
        assert all(wire.client.closed for wire in call.exchange.wires)


@pytest.mark.parametrize("worker", ["send", "keep_alive", "receive"])
async def test_a_task_of_the_waiting_one_that_ends_costs_that_one_alone(
    autojump_clock, monkeypatch, worker
):
    run = getattr(links, worker)

    async def ends_on_the_second(core, link):
        if link.name.endswith("_2"):
            await trio.sleep(3)
        else:
            await run(core, link)

    monkeypatch.setattr(links, worker, ends_on_the_second)
    async with calling(talking(30), ready(idle), ready(idle, seeds=1), continuity=AGED) as call:
        await call.until(ev.SessionRotated)
        assert call.exchange.dialled_at == [0, 180, pytest.approx(190, abs=1)]
        assert call.session.is_connected


async def test_a_connection_that_ends_at_once_was_the_sessions_all_the_same(autojump_clock):
    async def second(peer):
        await peer.welcome_back(0)
        await peer.error("on the way out")
        await peer.close(1011, "internal")

    async with calling(breaking, second, ready(idle)) as call:
        await call.until(ev.SessionRotated, 2)
        assert [each.attempt for each in call.of(ev.Reconnecting)] == [1, 2]
        (told,) = call.of(ev.ProviderErrorReported)
        assert told.fault.code == "on the way out"
