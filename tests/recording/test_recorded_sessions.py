"""Real sessions with a recorder on: a fresh machine does the same again, step by step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from recordkit import RecordedHand, healthy, play_scenario, recorded
from runtimekit import provider as client
from runtimekit import serving, take
from test_turn_properties import TOOLS, modes, play, steps

from meerkat_rt import (
    RealtimeExternalSessionTarget,
    RealtimeSessionOpenConfig,
    RealtimeTextChunk,
    RealtimeTurningMode,
    SessionLlmIdentity,
    attach_external_session,
    events,
    open_session,
)
from meerkat_rt.embedded import EmbeddedProvider, ServerOptions
from meerkat_rt.recording import FlightRecorder, Verdict, replay
from meerkat_rt.testing import Trial, cancel_everywhere
from meerkat_rt.testing.openai_peer import OpenAIPeer
from meerkat_rt.testing.scenarios import SCENARIOS

SAYS = {
    "an_audio_turn_as_openai": {"TurnCommitted", "OutputAudioChunk", ">SettleRequest"},
    "a_text_turn": {"OutputTextDeltaForItem", "~AssistantTextDelta", ">CreateResponse"},
    "an_explicit_commit": {">CommitAudio", ">CreateItem"},
    "a_tool_turn_with_three_parallel_calls": {"ToolCallFinished", ">StartTool", ">SendToolOutput"},
    "an_interruption_from_inside_a_tool": {"Interrupted", ">CancelTool"},
    "a_barge_in_as_openai": {"Interrupted", ">TruncateItem", ">FlushOutput"},
    "a_barge_in_while_the_model_only_plays": {"Interrupted", "~AssistantTranscriptTruncated"},
    "an_interruption_by_the_application_as_openai": {"Interrupted", ">CancelResponse"},
    "a_nudge": {"Nudged", "TurnCompleted"},
    "a_stall": {"Nudged", "Stalled"},
    "a_reset_in_the_middle_of_a_frame": set(),
    "a_reader_of_batches": {"OutputAudioChunk", "TurnCompleted"},
    "a_close_by_the_server_with_4000": {"Interrupted", ">SettleRequest", ">CancelTool"},
}
"""What must be in the recording of each: an empty recording would also play the same."""


@pytest.mark.parametrize("redact", [True, False], ids=["redacted", "in full"])
@pytest.mark.parametrize("name", SAYS)
def test_a_recorded_session_plays_the_same_again(
    name: str, redact: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = FlightRecorder(tmp_path / "flight.rec", redact=redact)
    play_scenario(monkeypatch, name, recorder)
    healthy(recorder)
    report = replay(recorder.path)
    assert report.verdict is Verdict.SAME, report
    assert (report.ended, report.torn, report.lost) == (True, False, 0)
    assert report.redacted is redact
    said = {name for step in report.steps for name in step.names}
    assert said >= SAYS[name]
    assert [step.index for step in report.steps] == list(range(1, recorder.status.records + 1))
    methods = [step.method for step in report.steps]
    assert methods[-2:] == ["$closed", "$end"]
    assert methods.count("close") == 1
    assert ("link_lost" in methods) == ("reset" in name or "server" in name)


def test_a_handshake_that_fails_leaves_a_recording_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = FlightRecorder(tmp_path / "flight.rec")
    play_scenario(monkeypatch, "a_server_that_refuses_the_key", recorder)
    report = replay(recorder.path)
    assert report.verdict is Verdict.SAME
    assert [step.method for step in report.steps] == ["close", "$closed", "$end"]


@pytest.mark.parametrize(
    "name",
    [
        "a_text_turn",
        "a_tool_turn_with_three_parallel_calls",
        "a_barge_in_as_openai",
        "a_reset_in_the_middle_of_a_frame",
        "a_server_that_never_creates_the_session",
    ],
)
def test_cancelled_anywhere_a_recorded_session_leaves_nothing_and_its_recording_plays(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = FlightRecorder(tmp_path / "flight.rec")
    recorded(monkeypatch, recorder)
    scenario = SCENARIOS[name]

    def verify(trial: Trial) -> list[str]:
        status = recorder.status
        if status.failure is not None or status.lost or status.abandoned:
            return [f"the recording suffered: {status}"]
        report = replay(recorder.path)
        return [] if report.verdict is Verdict.SAME and report.ended else [str(report)]

    report = cancel_everywhere(
        scenario.on(), repeat=1, sample=50, verify=verify, max_unwind=scenario.unwind + 0.05
    )
    assert report.sweeps[0].points > 20


async def test_the_embedded_provider_records_too(tmp_path: Path) -> None:
    recorder = FlightRecorder(tmp_path / "flight.rec")
    config = RealtimeSessionOpenConfig(
        RealtimeTurningMode.PROVIDER_MANAGED, SessionLlmIdentity(model="gpt-realtime")
    )
    provider = EmbeddedProvider(options=ServerOptions(pace=None))
    async with open_session(config, provider=provider, recorder=recorder) as session:
        await session.send_input(RealtimeTextChunk("What do meerkats eat?"))
        async for event in session:
            if isinstance(event, events.TurnCompleted):
                break
    healthy(recorder)
    report = replay(recorder.path)
    assert report.verdict is Verdict.SAME, report
    received = sum(step.arguments.get("received", 0) for step in report.steps)
    sent = sum(step.arguments.get("sent", 0) for step in report.steps)
    heard = sum(
        len(step.arguments["event"].data)
        for step in report.steps
        if type(step.arguments.get("event")).__name__ == "AudioDelta"
    )
    assert received > heard > 0
    assert sent > 0


async def test_an_attached_session_is_recorded_too(
    autojump_clock: trio.abc.Clock, tmp_path: Path
) -> None:
    async def script(peer: OpenAIPeer) -> None:
        await peer.accept()
        await peer.session_created()
        await peer.text_response("Good morning.")
        await peer.linger()

    recorder = FlightRecorder(tmp_path / "flight.rec")
    async with serving(script) as server:
        async with attach_external_session(
            RealtimeExternalSessionTarget("rtc_1"),
            RealtimeTurningMode.PROVIDER_MANAGED,
            provider=client(server.wire.client),
            recorder=recorder,
        ) as session:
            await take(session, events.TurnCompleted)
    healthy(recorder)
    report = replay(recorder.path)
    assert report.verdict is Verdict.SAME, report
    assert "TurnCompleted" in {name for step in report.steps for name in step.names}


def _odd(arguments: Any) -> str | None:
    return 'no "quotes"\n\\ here' if len(str(arguments)) % 2 else None


JUDGED = (*TOOLS[:1], attrs.evolve(TOOLS[1], validate=_odd), *TOOLS[2:])


@pytest.mark.parametrize("redact", [True, False], ids=["redacted", "in full"])
@given(mode=modes, script=steps)
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_whatever_happens_to_a_machine_plays_the_same_again(
    redact: bool, tmp_path_factory: pytest.TempPathFactory, mode: Any, script: Any
) -> None:
    path = tmp_path_factory.getbasetemp() / f"machine_{redact}.rec"
    hand = RecordedHand(path, redact=redact, tools=JUDGED, **mode)
    play(hand, script)
    hand.do("close")
    report = hand.report()
    assert report.verdict is Verdict.SAME, report
