"""The gate: which change fails, and that every layer is measured."""

from __future__ import annotations

import json

import pytest

from bench import gate, gemini, layers, parsers
from bench.workloads import WORKLOADS
from meerkat_rt import (
    GeminiLive,
    RealtimeSessionOpenConfig,
    RealtimeTurningMode,
    SessionLlmIdentity,
)
from meerkat_rt.turn import ports

CONFIG = RealtimeSessionOpenConfig(
    RealtimeTurningMode.PROVIDER_MANAGED, SessionLlmIdentity(model="gemini-live-2.5-flash")
)


def test_only_what_became_dearer_fails() -> None:
    baseline = {"mix": {"decode": 1.0, "machine": 1.0, "lane": 1.0}}
    found = {"mix": {"decode": gate.TOLERANCE + 0.01, "machine": gate.TOLERANCE, "lane": 0.2}}
    verdicts = gate.judge(baseline, found)
    assert [verdict.layer for verdict in verdicts if verdict.failed] == ["decode"]


def test_what_costs_next_to_nothing_is_not_gated() -> None:
    (verdict,) = gate.judge({"mix": {"lane": gate.SMALL / 2}}, {"mix": {"lane": 1.0}})
    assert not verdict.failed


def test_layers_of_which_nothing_is_known_are_passed_over() -> None:
    assert gate.judge({"old": {"lane": 1.0}}, {"mix": {"lane": 1.0}}) == []
    assert gate.judge({"mix": {"gone": 1.0}}, {"mix": {"lane": 1.0}}) == []


def test_the_baseline_has_every_gated_layer() -> None:
    baseline = json.loads(gate.BASELINE.read_text(encoding="utf-8"))
    assert baseline.keys() == set(gate.WORKLOADS)
    assert all(row.keys() == set(layers.LAYERS) for row in baseline.values())


def test_the_least_of_the_repetitions_counts() -> None:
    found = {name: [4.0, 2.0, 8.0] for name in layers.LAYERS} | {"calibration": [3.0, 1.0]}
    found["codec"] = [9.0, 5.0]
    found["carry"] = [4.0, 3.0]
    others = dict.fromkeys(layers.LAYERS, 2.0)
    assert layers.relative(found) == {**others, "dialect": 3.0, "transport": 0.5}


@pytest.mark.parametrize("workload", ["mix", gemini.WORKLOAD])
def test_every_layer_takes_the_whole_workload(workload: str) -> None:
    said: list[str] = []
    found = layers.measure(workload, units=1, repetitions=1, step=said.append)
    dialect = found.pop("dialect")
    assert dialect == [found["codec"][0] - found["decode"][0]]
    assert found.keys() == {*layers.LAYERS, "carry", "codec", "calibration"} - {"dialect"}
    assert all(value > 0 for values in found.values() for value in values)
    assert len(said) == 1


@pytest.mark.parametrize("workload", WORKLOADS)
def test_the_parser_of_every_frame_is_known(workload: str) -> None:
    frames = list(WORKLOADS[workload].messages(1))
    for frame in frames:
        assert parsers.openai_parser(frame)(frame) is not None


def test_gemini_says_what_the_mix_says() -> None:
    """And its parser decodes the audio too, which is text to the one of the message."""
    codec = GeminiLive(api_key="bench").dialect(CONFIG).codec("link")
    text = audio = 0
    for frame in gemini.messages(1):
        parsers.gemini_parser(frame)(frame)
        for event in codec.decode(frame):
            assert not isinstance(event, (ports.ProtocolFault, ports.UnknownFrame))
            if isinstance(event, ports.TranscriptDelta):
                text += len(event.delta)
            elif isinstance(event, ports.AudioDelta):
                audio += len(event.data)
    assert (text, audio) == (WORKLOADS["mix"].text, WORKLOADS["mix"].audio)
    broken = b'{"serverContent":{"modelTurn":{"parts":[{"inlineData":{"data":"=bad="}}]}}}'
    with pytest.raises(ValueError, match="base64"):
        parsers.gemini_parser(broken)(broken)
