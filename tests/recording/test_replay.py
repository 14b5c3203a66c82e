"""What a replay shows: the same, the first step that differs, or that it cannot tell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest
from click.testing import CliRunner
from recordkit import RecordedHand
from turnkit import EXPLICIT, p

from meerkat_rt.console import main
from meerkat_rt.model import events as ev
from meerkat_rt.model.conversation import TextContent, ToolResult
from meerkat_rt.recording import UnreadableRecording, Verdict, replay
from meerkat_rt.recording.file import Ring, read
from meerkat_rt.turn import effects as fx
from meerkat_rt.turn import nudge, playback, tools
from meerkat_rt.turn.responses import ResponseSlot


def recorded(path: Path, **mode: Any) -> Path:
    """A recording of a session with a bit of everything."""

    def problem(_arguments: Any) -> str | None:
        return "no" if mode.get("judges") else None

    settings = {key: value for key, value in mode.items() if key not in ("judges", "redact")}
    spec = fx.ToolSpec(name="look", handled=True, validate=problem)
    hand = RecordedHand(path, redact=mode.get("redact", True), tools=(spec,), **settings)
    hand.user_turn("U1", "hello")
    hand.wait(2.0)  # two nudges
    hand.begin("R1")
    hand.item("R1", "A1")
    hand.speak("R1", "A1", "one two three four", 2.0)
    hand.see(p.ToolCalled(response_id="R1", call_id="c1", name="look", arguments='{"a": "b"}'))
    hand.deliver("A1", 2.0)
    hand.wait(0.7)
    hand.see(p.SpeechStarted())
    hand.wait(0.3)
    hand.do("tool_returned", ToolResult(tool_use_id="c1", content=(TextContent("x"),)))
    hand.do("close")
    report = hand.report()
    assert report.verdict is Verdict.SAME, report
    said = {name for step in report.steps for name in step.names}
    assert said >= {"Nudged", "Interrupted", "OutputAudioChunk", "ToolCallRequested"}
    return path


def diverged(path: Path) -> Any:
    report = replay(path)
    assert report.verdict is Verdict.DIVERGED
    assert report.divergence is not None
    assert str(report).startswith("diverged: first divergence at")
    return report.divergence


def test_a_changed_rule_is_seen_at_the_step_where_it_matters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = recorded(tmp_path / "x.rec")
    right = playback.PlaybackLedger.ms
    monkeypatch.setattr(playback.PlaybackLedger, "ms", lambda self, n: right(self, n) + 1)
    found = diverged(path)
    assert found.step.method == "observe"
    assert type(found.step.arguments["event"]) is p.SpeechStarted
    assert found.why == "the machine said the same things with other contents"
    assert type(found.step.events[0]) is ev.Interrupted
    assert len(found.before) == 5
    assert found.before[-1].index == found.step.index - 1
    assert "SpeechStarted" in str(found)


def test_a_nudge_that_does_not_come_is_seen_at_its_timer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = recorded(tmp_path / "x.rec")
    monkeypatch.setattr(ResponseSlot, "_nudge", lambda self, request: None)
    found = diverged(path)
    assert found.step.method == "timer"
    assert found.step.at == pytest.approx(0.75)
    assert "Nudged" in found.recorded
    assert found.replayed == ()
    assert found.why == "the machine said something else"
    assert "replayed: nothing" in str(found)


def test_a_nudge_that_comes_late_is_seen_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = recorded(tmp_path / "x.rec")
    deadline = nudge.NudgeClock.deadline.fget
    assert deadline is not None
    monkeypatch.setattr(nudge.NudgeClock, "deadline", property(lambda c: deadline(c) + 0.01))
    assert diverged(path).step.method == "timer"


def test_an_error_that_is_not_raised_any_more_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand = RecordedHand(tmp_path / "x.rec", turning_mode=EXPLICIT)
    with pytest.raises(Exception, match="no input to commit"):
        hand.do("commit_turn", None)
    hand.do("close")
    hand.report()
    monkeypatch.setattr("meerkat_rt.turn.input.InputSide.commit_turn", lambda *_, **__: "mk_1")
    assert diverged(tmp_path / "x.rec").why == "InvalidRequest was raised, and now none"


def test_an_error_that_is_new_is_seen_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = recorded(tmp_path / "x.rec")

    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("meerkat_rt.turn.tools.ToolLedger.called", broken)
    assert diverged(path).why == "no error was raised, and now ZeroDivisionError"


@pytest.mark.parametrize("judges", [True, False])
def test_the_verdict_on_arguments_is_the_recorded_one(tmp_path: Path, judges: bool) -> None:
    report = replay(recorded(tmp_path / "x.rec", judges=judges))
    started = [name for step in report.steps for name in step.names if name == ">StartTool"]
    assert len(started) == (0 if judges else 1)


def test_arguments_that_are_not_judged_any_more_are_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = recorded(tmp_path / "x.rec")
    monkeypatch.setattr(tools, "_parse", lambda _text: ({"k0": "x"}, "the arguments are not JSON"))
    assert diverged(path).why == "arguments were judged 1 times, and now 0 times"


# ---------------------------------------------------------------- files that are not as they were


def rewritten(path: Path, change: Any) -> Path:
    """The same recording with other records; `change` takes each as a list, None drops it."""
    found = read(path)
    other = path.with_suffix(".changed")
    with other.open("wb", buffering=0) as file:
        ring = Ring(file, found.header["max_bytes"])
        header = change(0, found.header)
        ring.begin(json.dumps(header).encode())
        for number, record in found.records:
            made = change(number, record)
            if made is not None:
                ring.write(number, [json.dumps(made).encode()])
    return other


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (["fly", 1.0, {}, "", []], "'fly', which is no input"),
        (["observe", 1.0, {}], "which is no input"),
        (["observe", 1.0, [], "", []], "has no arguments"),
        (["observe", "noon", {}, "", []], "has no arguments, or no time"),
        (["observe", 1.0, {"event": {"$": "Nothing"}}, "", []], "record 3 cannot be read"),
        (["observe", 1.0, {"event": {"$": "AudioDelta"}}, "", []], "record 3 cannot be read"),
        (["timer", 1.0, {"when": 1}, "", []], "record 3 cannot be played"),
    ],
)
def test_records_that_nobody_wrote_are_refused(tmp_path: Path, broken: list[Any], why: str) -> None:
    path = recorded(tmp_path / "x.rec")
    changed = rewritten(path, lambda number, record: broken if number == 3 else record)
    with pytest.raises(UnreadableRecording, match=why):
        replay(changed)


@pytest.mark.parametrize("form", [None, {"$": "AudioDelta"}, {"$": "RateLimits", "limits": []}])
def test_settings_that_are_none_are_refused(tmp_path: Path, form: Any) -> None:
    path = recorded(tmp_path / "x.rec")
    changed = rewritten(
        path, lambda number, what: {**what, "settings": form} if number == 0 else what
    )
    with pytest.raises(UnreadableRecording, match="settings"):
        replay(changed)


def test_a_record_that_is_missing_is_a_gap_and_nothing_is_claimed(tmp_path: Path) -> None:
    path = recorded(tmp_path / "x.rec")
    report = replay(rewritten(path, lambda number, what: None if number in (4, 9) else what))
    assert report.verdict is Verdict.PARTIAL
    assert report.lost == 2


def test_a_tail_of_time_starts_at_zero(tmp_path: Path) -> None:
    path = recorded(tmp_path / "x.rec")
    whole = replay(path)
    tail = replay(rewritten(path, lambda number, what: None if 0 < number < 9 else what))
    assert tail.verdict is Verdict.PARTIAL
    assert tail.steps[0].at == 0.0
    assert tail.steps[-1].at == pytest.approx(whole.steps[-1].at - whole.steps[8].at)


# ---------------------------------------------------------------- the command


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["replay", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.output


def test_replay_prints_events_with_times_and_the_verdict(tmp_path: Path) -> None:
    path = recorded(tmp_path / "x.rec")
    code, shown = run(path)
    assert code == 0
    assert "0.750 s  timer                    Nudged" in shown
    assert "SpeechStarted            Interrupted" in shown
    assert "same: a fresh machine did the same in all" in shown
    assert ">" not in shown
    code, more = run(path, "--inputs")
    assert ">CreateResponse" in more
    assert len(more) > len(shown)
    code, verdict = run(path, "--quiet")
    assert verdict.count("\n") == 2


def test_replay_exits_with_one_when_it_diverged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = recorded(tmp_path / "x.rec")
    monkeypatch.setattr(ResponseSlot, "_nudge", lambda self, request: None)
    code, shown = run(path, "--timeline", tmp_path / "x.svg")
    assert code == 1
    assert "recorded: Nudged, >CreateResponse" in shown
    assert 'id="divergence"' in (tmp_path / "x.svg").read_text()


def test_replay_exits_with_two_and_one_line_for_what_it_cannot_read(tmp_path: Path) -> None:
    text = tmp_path / "x.txt"
    text.write_text("something else")
    path = recorded(tmp_path / "x.rec")
    for arguments in (
        [tmp_path / "none.rec"],
        [text],
        [tmp_path],
        [path, "--quiet", "--timeline", tmp_path / "no" / "x.svg"],
    ):
        code, shown = run(*arguments)
        assert code == 2
        assert shown.count("\n") == 1, shown


def test_replay_exits_with_three_for_a_tail(tmp_path: Path) -> None:
    path = recorded(tmp_path / "x.rec")
    tail = rewritten(path, lambda number, what: None if 0 < number < 9 else what)
    code, shown = run(tail, "--timeline", tmp_path / "x.svg")
    assert code == 3
    assert "partial: 8 records are missing" in shown
    assert (tmp_path / "x.svg").exists()


def test_the_command_explains_its_exit_codes() -> None:
    code, shown = run("--help")
    assert code == 0
    for word in ("--timeline", "Exits with 0", "3 if it is not all there"):
        assert word in " ".join(shown.split())


def test_reports_are_values(tmp_path: Path) -> None:
    report = replay(recorded(tmp_path / "x.rec", redact=False))
    assert attrs.evolve(report, torn=True).torn
    assert report.package
    assert report.settings.seed == 7
