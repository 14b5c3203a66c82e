"""Sessions that outlive their connections, with what writes them down: stores and recorders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
from continuitykit import calling, calling_gemini, exchange

from meerkat_rt import (
    ContinuityPolicy,
    OpenAIRealtime,
    RealtimeConfig,
    RealtimeExternalSessionTarget,
    RealtimeTextChunk,
    RealtimeTurningMode,
    attach_external_session,
    errors,
)
from meerkat_rt.model import events as ev
from meerkat_rt.recording import FlightRecorder, replay
from meerkat_rt.recording.replay import Verdict
from meerkat_rt.storage import MemoryStore
from meerkat_rt.testing.long_call import LongCall
from meerkat_rt.testing.openai_peer import OpenAIPeer
from meerkat_rt.transport import connector


async def answering(peer: Any, text: str) -> None:
    await peer.audio_response(text, create=await peer.expect("response.create"))


async def test_what_is_durable_is_what_the_next_session_is_told(autojump_clock: Any) -> None:
    async def first(peer: Any) -> None:
        await peer.item_created(await peer.expect("conversation.item.create"))
        await answering(peer, "Good morning.")
        await trio.sleep(3)
        await peer.reset()

    async def second(peer: Any) -> None:
        items = await peer.welcome_back(3)
        assert [item["role"] for item in items] == ["user", "assistant", "user"]
        await answering(peer, "As I said.")
        await peer.linger()

    store = MemoryStore()
    async with calling(first, second, store=store) as call:
        await call.session.send_input(RealtimeTextChunk("hello"))
        await call.until(ev.Reconnecting)
        await call.session.send_input(RealtimeTextChunk("again?"))
        await call.until(ev.MessageCommitted, 2)
    conversation = await store.read(call.session.conversation_id)
    assert [entry.message.text_content() for entry in conversation.messages] == [
        "hello",
        "Good morning.",
        "again?",
        "As I said.",
    ]


@pytest.mark.parametrize("redact", [True, False])
@pytest.mark.parametrize("provider", ["openai", "gemini", "vertex"])
async def test_a_recorded_call_plays_the_same_again(
    autojump_clock: Any, tmp_path: Path, provider: str, redact: bool
) -> None:
    recorder = FlightRecorder(tmp_path / "call.rec", redact=redact)
    call = LongCall(provider=provider, turns=15, drop_every=50.0, max_age=90.0)
    outcome = await call.run(recorder=recorder)
    assert outcome.faults == ()
    report = replay(recorder.path)
    assert report.verdict is Verdict.SAME, report
    methods = [step.method for step in report.steps]
    assert methods.count("link_dropped") == methods.count("link_restored") > 8


async def test_a_change_of_formats_plays_the_same_again(
    autojump_clock: Any, tmp_path: Path
) -> None:
    async def first(peer: Any) -> None:
        await answering(peer, "Hello.")
        await peer.expect_close()

    async def second(peer: Any) -> None:
        await peer.welcome_back(1)
        await answering(peer, "Again.")
        await peer.linger()

    recorder = FlightRecorder(tmp_path / "x.rec")
    mulaw = RealtimeConfig(input_audio_format="g711_ulaw", output_audio_format="g711_ulaw")
    async with calling(first, second, recorder=recorder, continuity=None) as call:
        await call.session.create_response()
        await call.until(ev.TurnCompleted)
        await call.session.resume_with(mulaw)
        await call.session.create_response()
        await call.until(ev.TurnCompleted)
        await trio.sleep(2)
    report = replay(recorder.path)
    assert report.verdict is Verdict.SAME, report


async def test_an_attached_session_has_nothing_to_be_opened_from(autojump_clock: Any) -> None:
    async def server(peer: OpenAIPeer) -> None:
        await peer.accept()
        await peer.session_created()
        await peer.linger()

    async with exchange(server) as made:
        provider = OpenAIRealtime(
            api_key="k",
            base_url="ws://peer/v1/realtime",
            connector=connector("websockets", open_stream=made.open_stream),
        )
        async with attach_external_session(
            RealtimeExternalSessionTarget("call_1"),
            RealtimeTurningMode.PROVIDER_MANAGED,
            provider=provider,
        ) as session:
            with pytest.raises(errors.InvalidRequest, match="attached to"):
                await session.resume_with(RealtimeConfig(voice="cedar"))


async def test_usage_sums_over_all_connections(autojump_clock: Any) -> None:
    async def first(peer: Any) -> None:
        await peer.welcome()
        await peer.expect_turn()
        await peer.audio_response("One.", ms=40)
        await peer.resumable("h1")
        await trio.sleep(1)
        await peer.reset()

    async def second(peer: Any) -> None:
        await peer.welcome()
        await peer.expect_turn()
        await peer.audio_response("Two.", ms=40)
        await peer.linger()

    policy = ContinuityPolicy(seed=1)
    async with calling_gemini(first, second, continuity=policy) as call:
        await call.session.send_input(RealtimeTextChunk("1"))
        await call.until(ev.SessionRotated)
        await call.session.send_input(RealtimeTextChunk("2"))
        await call.until(ev.TurnCompleted)
        assert call.session.usage.total_tokens == 92
