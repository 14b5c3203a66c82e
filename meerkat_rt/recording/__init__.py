"""The flight recorder: what went into a session, to be played again.  The guide is README.md."""

from __future__ import annotations

from .file import UnreadableRecording as UnreadableRecording
from .recorder import FlightRecorder as FlightRecorder
from .recorder import RecorderStatus as RecorderStatus
from .replay import Divergence as Divergence
from .replay import ReplayReport as ReplayReport
from .replay import Step as Step
from .replay import Verdict as Verdict
from .replay import replay as replay
from .timeline import to_svg as to_svg
