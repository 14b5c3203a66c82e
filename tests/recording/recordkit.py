"""Sessions with a recorder on, and machines that record themselves."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import runtimekit
from turnkit import Hand

from meerkat_rt.recording import FlightRecorder, ReplayReport, replay
from meerkat_rt.testing.run import run_once
from meerkat_rt.testing.scenarios import SCENARIOS, stage


def play_scenario(monkeypatch: Any, name: str, recorder: FlightRecorder) -> None:
    """One scenario of the runtime's, uninterrupted, with a recorder on."""
    recorded(monkeypatch, recorder)
    result = run_once(SCENARIOS[name].on())
    assert not result.violations, result.violations


def recorded(monkeypatch: Any, recorder: FlightRecorder) -> None:
    """Every session of the runtime's tests gets the recorder."""
    for module in (runtimekit, stage):
        opening = functools.partial(_open_session, recorder=recorder)
        monkeypatch.setattr(module, "open_session", opening)


_open_session = runtimekit.open_session


def healthy(recorder: FlightRecorder) -> None:
    status = recorder.status
    assert status.failure is None, status
    assert (status.lost, status.abandoned) == (0, False)
    assert status.records > 2


class RecordedHand(Hand):
    """The turn tests' hand on a machine, which records itself."""

    def __init__(self, path: Path, *, redact: bool = True, **settings: Any) -> None:
        super().__init__(**settings)
        self.recorder = FlightRecorder(path, redact=redact)
        self._begun = self.recorder.begin()
        recording = self._begun.__enter__()
        self.machine = recording.machine(self.settings)

    def report(self) -> ReplayReport:
        """End the recording and play it."""
        self._begun.__exit__(None, None, None)
        healthy(self.recorder)
        return replay(self.recorder.path)
