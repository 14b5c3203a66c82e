"""The gate: which change fails, and that every layer is measured."""

from __future__ import annotations

import json

from bench import gate, layers


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
    assert layers.relative(found) == dict.fromkeys(layers.LAYERS, 2.0)


def test_every_layer_takes_the_whole_workload() -> None:
    said: list[str] = []
    found = layers.measure("mix", units=1, repetitions=1, step=said.append)
    assert found.keys() == {*layers.LAYERS, "calibration"}
    assert all(value > 0 for values in found.values() for value in values)
    assert len(said) == 1
