"""Every wait of a session has a deadline; here each of them passes, on a virtual clock."""

from __future__ import annotations

import json

import pytest
import trio
from runtimekit import (
    CONNECTORS,
    EXPLICIT,
    NOTHING,
    closing,
    kinds,
    linger,
    meeting,
    of,
    open_config,
    outcome,
    refused,
    rest,
    serving,
    take,
)
from trio.testing import wait_all_tasks_blocked

from meerkat_rt import (
    Answered,
    Lost,
    OpenAIRealtime,
    RealtimeTextChunk,
    SessionLimits,
    ToolDef,
    UserMessage,
    events,
    open_session,
    tool,
)
from meerkat_rt.model.conversation import StopReason
from meerkat_rt.runtime import errors

# ---------------------------------------------------------------- opening


@pytest.mark.parametrize("name", CONNECTORS)
@pytest.mark.parametrize(
    ("step", "seconds", "words"),
    [
        ("connect", 10, "no connection to ws://peer/v1/realtime within 10 s"),
        ("upgrade", 10, "no connection to ws://peer/v1/realtime within 10 s"),
        ("created", 10, "'session created'"),
        ("updated", 10, "'session updated'"),
        ("seeded", 6, "'seed acknowledged'"),
        ("never reads", 10, "'session updated'"),
    ],
)
async def test_every_step_of_opening_has_its_deadline(
    step, seconds, words, name, autojump_clock
) -> None:
    began: list[float] = []

    async def script(peer) -> None:
        if step in ("connect", "upgrade"):
            began.append(trio.current_time())
            return await peer.linger()
        await peer.accept()
        began.append(trio.current_time())
        await trio.sleep(3)  # it is slow, but in time
        if step == "never reads":
            peer.socket.stop_reading()
        if step != "created":
            await peer.session_created()
            began.append(trio.current_time())
            if step == "seeded":
                update = await peer.expect("session.update")
                await trio.sleep(9)
                await peer.session_updated(update)
                began.append(trio.current_time())
        await peer.linger()

    config = open_config().with_seed_messages([UserMessage("hello")])
    if step == "connect":

        class Hanging:
            name = "hanging"

            async def connect(self, target, *, nursery):
                await trio.sleep_forever()

        began.append(trio.current_time())
        with pytest.raises(errors.NetworkTimeout) as raised:
            async with open_session(
                config,
                provider=OpenAIRealtime(
                    api_key="k", base_url="ws://peer/v1/realtime", connector=Hanging()
                ),
            ):
                raise AssertionError
        error = raised.value
    else:
        error = await refused(script, name=name, config=config, patience=60)
    assert isinstance(error, errors.NetworkTimeout)
    assert words in str(error)
    assert error.duration_ms == seconds * 1000
    assert error.retryable
    assert trio.current_time() - began[-1] == pytest.approx(seconds)


async def test_the_connection_deadline_is_the_limits(autojump_clock) -> None:
    async with serving(linger, client_may_leave=True) as server:
        with pytest.raises(errors.NetworkTimeout):
            async with server.open(limits=SessionLimits(connect=0.5)):
                raise AssertionError
        assert server.wire.client.closed


# ---------------------------------------------------------------- the connection


@pytest.mark.parametrize("name", CONNECTORS)
async def test_a_peer_that_takes_nothing_has_stalled(name: str, autojump_clock) -> None:
    async def script(peer) -> None:
        peer.socket.stop_reading(room=100)
        await peer.linger()

    async with meeting(script, name=name, client_may_leave=True) as m:
        await wait_all_tasks_blocked()
        began = trio.current_time()
        await m.session.send_audio(b"\0" * 4800)
        read, error = await outcome(m.session)
        assert trio.current_time() - began == SessionLimits().write
    assert isinstance(error, errors.TransportStalled)
    assert error.retryable
    reason = closing(read)
    assert (reason.by, reason.clean) == ("network", False)
    assert reason.text == "the peer took nothing for 10 s"


@pytest.mark.parametrize("name", CONNECTORS)
async def test_a_ping_without_an_answer_ends_the_session(name: str, autojump_clock) -> None:
    async def script(peer) -> None:
        peer.socket.go_silent()
        await peer.linger()

    async with meeting(script, name=name, client_may_leave=True) as m:
        began = trio.current_time()
        read, error = await outcome(m.session)
        assert trio.current_time() - began == 20 + 20
    assert isinstance(error, errors.TransportStalled)
    assert closing(read).text == "no answer to a ping within 20 s"


@pytest.mark.parametrize("name", CONNECTORS)
async def test_an_idle_session_with_a_healthy_peer_lives_on(name: str, autojump_clock) -> None:
    async with meeting(linger, name=name) as m:
        with trio.move_on_after(600) as scope:
            await m.session.next_event()
        assert scope.cancelled_caught
        assert m.session.is_connected


@pytest.mark.parametrize("name", CONNECTORS)
async def test_a_peer_that_speaks_is_not_pinged_and_one_that_falls_silent_is(
    name: str, autojump_clock
) -> None:
    async def script(peer) -> None:
        for _ in range(20):
            await trio.sleep(15)
            await peer.send(dict(RATES))
        await trio.sleep(19.9)
        assert peer.socket.pings == 0
        await trio.sleep(0.2)
        assert peer.socket.pings == 1
        peer.socket.go_silent()
        await peer.linger()

    async with meeting(script, name=name, client_may_leave=True, patience=600) as m:
        began = trio.current_time()
        _, error = await outcome(m.session)
        answered = 20 * 15 + 20
        assert trio.current_time() - began == pytest.approx(answered + 20 + 20)
    assert isinstance(error, errors.TransportStalled)


RATES = {"type": "rate_limits.updated", "rate_limits": []}


async def test_words_are_a_sign_of_life_though_no_pong_comes(autojump_clock) -> None:
    async def script(peer) -> None:
        await trio.sleep(30)
        await peer.send(dict(RATES))
        await peer.linger()

    async with meeting(script, client_may_leave=True) as m:
        asked: list[float] = []

        def ping() -> trio.Event:
            asked.append(trio.current_time() - began)
            return trio.Event()

        m.core.link.transport.ping = ping
        began = trio.current_time()
        _, error = await outcome(m.session)
        assert asked == [20, 50]
        assert trio.current_time() - began == 70
    assert isinstance(error, errors.TransportStalled)


@pytest.mark.parametrize("name", CONNECTORS)
@pytest.mark.parametrize("what", ["a piece of a message", "a ping", "words that tell us nothing"])
async def test_whatever_comes_is_a_sign_of_life(what: str, name: str, autojump_clock) -> None:
    async def script(peer) -> None:
        long = peer.socket.encoded(json.dumps({**RATES, "x": "y" * 3000}))
        for at in range(0, 3100, 100):  # 62 s in which something comes every 2 s
            if what == "words that tell us nothing":
                await peer.send(dict(NOTHING))
            else:
                ping = b"\x89\x00"
                await peer.socket.send_bytes(ping if what == "a ping" else long[at : at + 100])
            await trio.sleep(2)
        await peer.linger()

    async with meeting(script, name=name, client_may_leave=True, patience=100) as m:
        m.core.link.transport.ping = trio.Event  # pongs stay behind what is under way
        with trio.move_on_after(60):
            await outcome(m.session)
        assert m.session.is_connected


async def test_a_pong_that_has_come_counts_though_the_loop_was_held_up(autojump_clock) -> None:
    async with meeting(linger, client_may_leave=True) as m:
        came = m.peer.socket._frame_came

        def held_up(frame) -> None:  # its pong is written in this very step
            came(frame)
            if m.peer.socket.pings == 1:
                autojump_clock.jump(25)

        m.peer.socket._frame_came = held_up
        with trio.move_on_after(100):
            await outcome(m.session)
        assert m.session.is_connected


async def test_interval_and_timeout_are_the_providers(
    monkeypatch: pytest.MonkeyPatch, autojump_clock
) -> None:
    monkeypatch.setattr("meerkat_rt.providers.openai.dialect.PING_INTERVAL", 13.0)

    async def script(peer) -> None:
        await trio.sleep(14)
        peer.socket.go_silent()
        await peer.linger()

    async with meeting(script, client_may_leave=True) as m:
        began = trio.current_time()
        await outcome(m.session)
        assert trio.current_time() - began == 13 + 13 + 20


async def test_a_connection_that_is_broken_for_writing_alone_is_lost(autojump_clock) -> None:
    async with meeting(linger, client_may_leave=True) as m:
        m.wire.to_server.reader_gone = True  # writes break; reads just hang
        began = trio.current_time()
        await m.session.send_text("anybody there?")
        _, error = await outcome(m.session)
        assert isinstance(error, errors.ConnectionReset)
        assert trio.current_time() - began <= 1
        m.wire.to_server.reader_gone = False


# ---------------------------------------------------------------- commands


async def test_a_refresh_that_is_not_acknowledged_is_a_timeout_and_the_session_lives(
    autojump_clock,
) -> None:
    async def script(peer) -> None:
        await peer.expect("session.update")
        update = await peer.expect("session.update")
        await peer.session_updated(update)
        await peer.linger()

    async with meeting(script) as m:
        began = trio.current_time()
        with pytest.raises(errors.NetworkTimeout, match="did not acknowledge"):
            await m.session.refresh_projection(open_config())
        assert trio.current_time() - began == SessionLimits().update_acknowledgement
        await m.session.refresh_projection(open_config())
        assert m.core.acknowledgements == {}
        assert m.core.machine.ledger_sizes()["commands"] == 0


async def test_a_cancel_that_is_not_acknowledged_gets_its_terminal_all_the_same(
    autojump_clock,
) -> None:
    async def script(peer) -> None:
        create = await peer.expect("response.create")
        response = await peer.response(create)
        message = await response.message("audio")
        await message.speak("a long story about nothing", ms=300)
        await peer.expect("response.cancel", response_id=response.id)
        await trio.sleep(6)
        await message.speak("it goes on and on", ms=300)  # late: for nobody
        await response.cancelled(message)
        await peer.linger()

    async with meeting(script) as m:
        request = await m.session.create_response()
        await take(m.session, events.OutputAudioChunk)
        began = trio.current_time()
        await m.session.interrupt()
        assert trio.current_time() == began
        read = await take(m.session, events.TurnCompleted)
        assert trio.current_time() - began == SessionLimits().cancel_acknowledgement
        assert (await request.outcome()) == Answered(
            response_id="resp_1", stop_reason=StopReason.CANCELLED
        )
        await trio.sleep(5)
        await m.session.aclose()
        late = await rest(m.session)
    assert len(of(read, events.Interrupted)) == 1
    assert of(read, events.TurnCompleted)[0].error.code == "cancel_timeout"
    assert not of(read + late, events.OutputAudioChunk)
    assert not of(late, events.TurnCompleted, events.Interrupted)


async def test_a_truncation_that_is_not_acknowledged_is_reported(autojump_clock) -> None:
    async def script(peer) -> None:
        create = await peer.expect("response.create")
        await peer.audio_response("some words", create, ms=300)
        await peer.expect("conversation.item.truncate", audio_end_ms=100)
        await peer.linger()

    async with meeting(script) as m:
        await m.session.create_response()
        read = await take(m.session, events.TurnCompleted)
        item_id = of(read, events.OutputAudioChunk)[0].item_id
        began = trio.current_time()
        await m.session.truncate_assistant_output(item_id, 0, 100)
        read = await take(m.session, events.ProviderErrorReported)
        assert trio.current_time() - began == SessionLimits().truncation_acknowledgement
        fault = of(read, events.ProviderErrorReported)[0]
    assert (fault.fault.code, fault.command) == ("timeout", "conversation.item.truncate")


@pytest.mark.parametrize("own", [None, 2.5])
async def test_a_tool_that_takes_too_long_is_a_timeout_that_the_model_hears_of(
    own, autojump_clock
) -> None:
    async def slow() -> str:
        await trio.sleep_forever()
        raise AssertionError

    async def script(peer) -> None:
        (call_id,) = await peer.tool_call_response(("slow", {}))
        assert "no result within" in (await peer.expect_tool_output(call_id))["error"]
        await peer.expect("response.create")
        await peer.text_response("It took too long.")
        await peer.linger()

    async with meeting(script, tools=[tool(slow, deadline=own)], patience=60) as m:
        began = trio.current_time()
        read = await take(m.session, events.ToolCallFinished)
        assert trio.current_time() - began == (own or SessionLimits().tool_deadline)
        assert read[-1].outcome == "timeout"
        await take(m.session, events.TurnCompleted)


async def test_a_call_that_the_application_owes_is_under_the_same_deadline(autojump_clock) -> None:
    async def script(peer) -> None:
        (call_id,) = await peer.tool_call_response(("ask_a_person", {}))
        assert "no result within 30 s" in (await peer.expect_tool_output(call_id))["error"]
        await peer.linger()

    config = open_config().with_visible_tools([ToolDef(name="ask_a_person")])
    async with meeting(script, config=config, patience=60) as m:
        began = trio.current_time()
        read = await take(m.session, events.ToolCallFinished)
        assert trio.current_time() - began == 30
        assert read[-1].elapsed_ms == 30_000
        with pytest.raises(errors.ToolCallSettled):
            await m.session.submit_tool_error(read[-1].call_id, "late")


async def test_a_request_that_is_never_answered_is_lost(autojump_clock) -> None:
    async def script(peer) -> None:
        response = await peer.response()  # of its own, and endless
        message = await response.message("text")
        await message.text("...")
        await peer.linger()

    async with meeting(script) as m:
        await take(m.session, events.OutputTextDeltaForItem)
        began = trio.current_time()
        request = await m.session.create_response()
        assert isinstance(await request.outcome(), Lost)
        assert trio.current_time() - began == SessionLimits().response_request
        assert m.core.requests == {}


async def test_a_silent_model_is_nudged_then_declared_stalled_and_the_session_lives(
    autojump_clock,
) -> None:
    async def script(peer) -> None:
        await peer.expect_item()
        for _ in range(4):  # the request and three nudges
            await peer.expect("response.create")
        await peer.expect_item()
        create = await peer.expect("response.create")
        await peer.text_response("Awake again.", create)
        await peer.linger()

    async def microphone() -> None:
        while True:  # which must not keep the nudge from coming
            await trio.sleep(0.02)
            await m.session.send_audio(b"\0" * 960)

    async with meeting(script) as m, trio.open_nursery() as nursery:
        nursery.start_soon(microphone)
        began = trio.current_time()
        await m.session.send_input(RealtimeTextChunk("hello?"))
        times: list[float] = []
        while True:
            event = await m.session.next_event()
            if isinstance(event, (events.Nudged, events.Stalled)):
                times.append(round(trio.current_time() - began, 6))
            if isinstance(event, events.Stalled):
                break
        assert times == [0.75, 1.5, 2.25, 3.0]
        await m.session.send_input(RealtimeTextChunk("hello again"))
        assert "TurnCompleted" in kinds(await take(m.session, events.TurnCompleted))
        nursery.cancel_scope.cancel()


async def test_a_commit_that_nobody_acknowledges_leaves_no_trace(autojump_clock) -> None:
    async with meeting(linger, mode=EXPLICIT) as m:
        await m.session.send_audio(b"\0" * 4800)
        await m.session.commit_audio()
        await m.session.clear_audio()
        await trio.sleep(SessionLimits().update_acknowledgement + 1)
        assert m.core.machine.ledger_sizes()["commands"] == 0
        assert m.core.machine.next_deadline is None
