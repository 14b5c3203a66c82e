"""Playing a recording: the same inputs into a fresh machine, compared step by step."""

from __future__ import annotations

import inspect
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from ..model.events import RealtimeSessionEvent
from ..turn.effects import MachineSettings
from ..turn.machine import SessionMachine
from .file import UnreadableRecording, read
from .form import value_of
from .machine import INPUTS, Input, RecordedMachine
from .redaction import Shapes

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from ..model.conversation import JSON
    from ..turn.effects import ToolSpec
    from .file import RecordingFile
    from .machine import Reaction

_PARAMETERS: Final = {
    name: tuple(inspect.signature(getattr(SessionMachine, name)).parameters)[1:] for name in INPUTS
}


class Verdict(StrEnum):
    """What a replay has shown.

    `SAME`: a fresh machine did the same at every step.  `DIVERGED`: it did not.  `PARTIAL`: the
    recording lacks its beginning or something in its middle, so that nothing can be said about all
    of it.
    """

    SAME = "same"
    DIVERGED = "diverged"
    PARTIAL = "partial"


@attrs.frozen(kw_only=True)
class Step:
    """One record: an input of the machine, or a fact of the runtime's (`$wire`, `$closed`, `$end`).

    `at` is in seconds since the first record.  `names` are what the session's machine said then,
    `events` what the replayed one did (none where it was not played).  `arguments` are redacted if
    the recording is.
    """

    index: int
    at: float
    method: str
    arguments: dict[str, Any]
    names: tuple[str, ...] = ()
    events: tuple[RealtimeSessionEvent, ...] = ()

    def __str__(self) -> str:
        what = self.arguments.get("event")
        detail = type(what).__name__ if attrs.has(type(what)) else ""
        return f"{self.at:10.3f} s  #{self.index} {self.method} {detail}".rstrip()


@attrs.frozen(kw_only=True)
class Divergence:
    """The first step at which a fresh machine did something else.

    `recorded` and `replayed` name what the two said; where the names agree, the contents differ.
    `before` are the steps that led there.
    """

    step: Step
    recorded: tuple[str, ...]
    replayed: tuple[str, ...]
    why: str
    before: tuple[Step, ...] = ()

    def __str__(self) -> str:
        lines = [f"first divergence at {self.step}: {self.why}"]
        lines += [f"  recorded: {', '.join(self.recorded) or 'nothing'}"]
        lines += [f"  replayed: {', '.join(self.replayed) or 'nothing'}"]
        lines += ["  before it:", *(f"    {step}" for step in self.before)] if self.before else []
        return "\n".join(lines)


@attrs.frozen(kw_only=True)
class ReplayReport:
    """What a recording holds, and what playing it has shown.

    `ended`: it was closed in order; else its process died, or still runs, or its disk failed.
    `torn`: its last frame was cut off, and is missing.  `lost`: how many records are missing before
    or between those that are there.  `package` is the version that recorded.
    """

    verdict: Verdict
    divergence: Divergence | None = None
    steps: tuple[Step, ...] = ()
    settings: MachineSettings
    package: str
    redacted: bool
    ended: bool
    torn: bool
    lost: int

    def __str__(self) -> str:
        played = f"{len(self.steps)} records"
        if self.verdict is Verdict.SAME:
            text = f"same: a fresh machine did the same in all {played}"
        elif self.verdict is Verdict.DIVERGED:
            text = f"diverged: {self.divergence}"
        else:
            text = (
                f"partial: {self.lost} records are missing, {played} are there; without its whole "
                "beginning a session cannot be played, so nothing is claimed"
            )
        if self.torn:
            text += "\nThe last frame was cut off; what was in it is missing."
        if not self.ended:
            text += "\nThe recording was not closed: it ends where it was last written."
        return text


class _Player:
    """Gives a fresh machine the recorded verdicts, and takes its reactions."""

    def __init__(self) -> None:
        self.verdicts: list[str | None] = []
        self.reaction: Reaction | None = None
        self.failure: Exception | None = None

    def validator(self, _spec: ToolSpec) -> Callable[[JSON], str | None]:
        return lambda _arguments: self.verdicts.pop(0) if self.verdicts else None

    def reacted(self, _told: Input, reaction: Reaction) -> None:
        self.reaction = reaction

    def failed(self, error: Exception) -> None:
        self.failure = error


def replay(path: str | os.PathLike[str], *, context: int = 5) -> ReplayReport:
    """Play the recording in `path`; `context` steps are shown before a divergence.

    Reads the whole file into memory.  Blocks; no checkpoint.

    Raises:
        UnreadableRecording: the file is no recording, or of a version that this one cannot read.
        OSError: the file cannot be read.
    """
    recorded = read(Path(path))
    header = recorded.header
    settings = _decoded(header.get("settings"), "the settings")
    if not isinstance(settings, MachineSettings):
        raise UnreadableRecording("the header has no settings of a session")
    steps = _steps(recorded)
    redacted = bool(header.get("redacted"))
    divergence = None
    if recorded.complete:
        steps, divergence = _play(steps, recorded, settings, redacted, context)
        verdict = Verdict.SAME if divergence is None else Verdict.DIVERGED
    else:
        verdict = Verdict.PARTIAL
    last = recorded.first - 1 + len(steps)
    missing = (steps[-1].index - len(steps)) if steps else max(last, 0)
    return ReplayReport(
        verdict=verdict,
        divergence=divergence,
        steps=steps,
        settings=settings,
        package=str(header.get("package")),
        redacted=redacted,
        ended=bool(steps) and steps[-1].method == "$end",
        torn=recorded.torn,
        lost=missing,
    )


def _decoded(form: Any, what: str) -> Any:
    try:
        return value_of(form)
    except Exception as error:
        raise UnreadableRecording(f"{what} cannot be read: {error}") from error


def _steps(recorded: RecordingFile) -> tuple[Step, ...]:
    steps = []
    start: float | None = None
    at = 0.0
    for index, record in recorded.records:
        method, now, arguments = record[:3]
        if not isinstance(arguments, dict) or not isinstance(now, (int, float, type(None))):
            raise UnreadableRecording(f"record {index} has no arguments, or no time")
        if now is not None:
            start = now if start is None else start
            at = now - start
        steps.append(
            Step(
                index=index,
                at=at,
                method=method,
                arguments={
                    name: _decoded(form, f"record {index}") for name, form in arguments.items()
                },
                names=tuple(record[4]) if len(record) > 4 else (),
            )
        )
    return tuple(steps)


def _play(
    steps: tuple[Step, ...],
    recorded: RecordingFile,
    settings: MachineSettings,
    redacted: bool,
    context: int,
) -> tuple[tuple[Step, ...], Divergence | None]:
    player = _Player()
    machine = RecordedMachine(settings, player, Shapes() if redacted else None)
    played = list(steps)
    for place, (step, (_, record)) in enumerate(zip(steps, recorded.records, strict=True)):
        if step.method.startswith("$"):
            continue
        reaction, why = _one(machine, player, step, record)
        if reaction is not None:
            played[place] = step = attrs.evolve(step, events=reaction.events)
        if why is not None:
            return tuple(played), Divergence(
                step=step,
                recorded=step.names,
                replayed=() if reaction is None else reaction.names,
                why=why,
                before=steps[max(place - context, 0) : place],
            )
    return tuple(played), None


def _one(
    machine: RecordedMachine, player: _Player, step: Step, record: list[Any]
) -> tuple[Reaction | None, str | None]:
    """Play one input; what came of it, and how that differs from what is recorded."""
    parameters = _PARAMETERS.get(step.method)
    if parameters is None or len(record) < 5:
        raise UnreadableRecording(f"record {step.index} is {step.method!r}, which is no input")
    if unknown := set(step.arguments).difference(parameters):
        raise UnreadableRecording(
            f"record {step.index} cannot be played: {step.method} takes no {', '.join(unknown)}"
        )
    arguments = dict.fromkeys(parameters) | step.arguments
    if "now" in arguments:
        arguments["now"] = record[1]
    verdicts, raised = (record[5], record[6]) if len(record) > 6 else ([], None)
    player.verdicts = [_decoded(verdict, f"record {step.index}") for verdict in verdicts]
    player.reaction = None
    try:
        getattr(machine, step.method)(**arguments)
    except Exception as error:
        if player.reaction is None:
            raise UnreadableRecording(f"record {step.index} cannot be played: {error}") from error
    reaction: Reaction | None = player.reaction
    if reaction is None:
        return None, f"what the replayed machine said has no form: {player.failure}"
    if reaction.raised != raised:
        return reaction, f"{raised or 'no error'} was raised, and now {reaction.raised or 'none'}"
    if len(reaction.verdicts) != len(verdicts):
        return reaction, (
            f"arguments were judged {len(verdicts)} times, and now {len(reaction.verdicts)} times"
        )
    if reaction.names != step.names:
        return reaction, "the machine said something else"
    if reaction.digest != record[3]:
        return reaction, "the machine said the same things with other contents"
    return reaction, None
