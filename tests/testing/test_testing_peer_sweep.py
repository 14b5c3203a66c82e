"""The scripted peer inside a sweep: a real client, cancelled everywhere, on every wire."""

from __future__ import annotations

import contextlib

import pytest
import trio
from wire_client import connected

from meerkat_rt.testing import WIRES, ClientGone, ScriptUnfinished, cancel_everywhere, openai_peer
from meerkat_rt.transport import HandshakeFailed, TransportClosed

GONE = (TransportClosed, HandshakeFailed)


async def script(peer):
    await peer.welcome()
    create = await peer.expect("response.create")
    await peer.audio_response("Good morning.", create, ms=200, pause=0.1)
    await peer.expect_close()


def a_turn(wire_name, *, excuse=True):
    async def scenario(trial):
        wire = trial.wire(wire_name)
        trial.action("drop", wire.drop, ends=True)
        trial.action("reset", wire.reset, ends=True)
        excused = trial.was_injected if excuse else False
        async with openai_peer(wire.server, script, client_may_leave=excused) as peer:
            trial.keep.peer = peer
            with trial.region():
                try:
                    await converse(wire)
                except* GONE as lost:
                    trial.ended_by(lost)

    return scenario


async def converse(wire):
    async with connected(wire) as client:
        assert (await client.next())["type"] == "session.created"
        await client.send({"type": "session.update", "session": {"type": "realtime"}})
        assert (await client.next())["type"] == "session.updated"
        await client.send({"type": "response.create"})
        while (await client.next())["type"] != "rate_limits.updated":
            pass


def verify(trial):
    if not trial.was_injected():
        assert trial.keep.peer.finished
        assert trial.keep.peer.unread == []


@pytest.mark.parametrize("wire", WIRES)
def test_a_client_of_the_peer_can_be_cancelled_everywhere(wire):
    report = cancel_everywhere(
        a_turn(wire),
        actions=("cancel", "drop", "reset"),
        verify=verify,
        repeat=1,
        max_unwind=0.0,
        sample=40,
    )
    assert {sweep.points for sweep in report.sweeps} == {40}


def test_a_peer_that_excuses_nothing_fails_when_the_client_is_cancelled():
    report = cancel_everywhere(a_turn("memory", excuse=False), repeat=1, check=False, sample=20)
    assert not report.broken
    escaped = {violation for failure in report.failures for violation in failure.violations}
    assert escaped
    assert all(
        violation.startswith((f"escaped: {ClientGone.__name__}", "escaped: Script"))
        for violation in escaped
    )
    assert issubclass(ScriptUnfinished, AssertionError)


def test_what_a_client_says_as_it_gives_up_is_no_failure_of_the_sweep():
    async def give_up(wire):
        async with connected(wire) as client:
            await client.send({"type": "session.update", "session": {"type": "realtime"}})
            try:
                await trio.sleep(1)
                await client.send({"type": "response.create"})
                while (await client.next())["type"] != "rate_limits.updated":
                    pass
            except trio.Cancelled:
                with trio.CancelScope(shield=True), contextlib.suppress(TransportClosed):
                    await client.send({"type": "response.cancel"})
                raise

    async def scenario(trial):
        wire = trial.wire()
        async with openai_peer(wire.server, script, client_may_leave=trial.was_injected):
            with trial.region():
                await give_up(wire)

    report = cancel_everywhere(scenario, repeat=1)
    assert report.points > 20


def test_a_script_that_is_out_of_step_is_found_before_anything_is_injected():
    async def wrong(peer):
        await peer.welcome()
        await peer.expect("input_audio_buffer.commit")

    async def scenario(trial):
        wire = trial.wire()
        async with openai_peer(wire.server, wrong):
            with trial.region():
                await converse(wire)

    report = cancel_everywhere(scenario, check=False)
    (failure,) = report.broken
    assert any("expected input_audio_buffer.commit" in line for line in failure.violations)
    assert trio.lowlevel.in_trio_run() is False
