"""The picture of a session: well-formed, every lane there, every bar where it belongs."""

from __future__ import annotations

import math
import os
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from recordkit import RecordedHand, play_scenario
from test_turn_properties import TOOLS, modes, play, steps
from turnkit import SECOND, p

from meerkat_rt.model.conversation import TextContent, ToolResult
from meerkat_rt.model.media import RealtimeAudioFormat
from meerkat_rt.recording import FlightRecorder, Step, Verdict, replay, to_svg
from meerkat_rt.recording.timeline import LANES, timeline
from meerkat_rt.turn import effects as fx

SVG = "{http://www.w3.org/2000/svg}"


def drawn(text: str) -> dict[str, list[str]]:
    """The titles in each lane of a picture, which must be well-formed and inside its frame."""
    root = ET.fromstring(text)
    assert root.tag == f"{SVG}svg"
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for rect in root.iter(f"{SVG}rect"):
        x, y, w, h = (float(rect.attrib.get(key, 0)) for key in ("x", "y", "width", "height"))
        assert 0 <= x <= x + w <= width + 0.1
        assert 0 <= y <= y + h <= height + 0.1
    found = {}
    for group in root.findall(f"{SVG}g"):
        found[group.attrib["id"]] = [title.text or "" for title in group.iter(f"{SVG}title")]
    return found


def conversation(path: Path, **mode: Any) -> RecordedHand:
    """A session in which everything happens that has a lane."""
    spec = fx.ToolSpec(name="<look> & \x00find", handled=True)
    pcm = RealtimeAudioFormat.pcm(24_000)
    hand = RecordedHand(path, tools=(spec,), audio_input_format=pcm, **mode)
    for _ in range(10):
        hand.do("audio_appended", SECOND // 10)
        hand.now += 0.1
    hand.see(p.SpeechStarted(item_id="U1"))
    hand.wait(0.5)
    hand.see(p.SpeechStopped(item_id="U1"), p.InputCommitted(item_id="U1"))
    hand.wait(1.0)  # a nudge
    hand.begin("R1")
    hand.item("R1", "A1")
    hand.speak("R1", "A1", "one two three four", 2.0)
    hand.see(p.ToolCalled(response_id="R1", call_id="c1", name=spec.name, arguments="{}"))
    hand.deliver("A1", 2.0)
    hand.wait(0.5)
    hand.do("tool_returned", ToolResult(tool_use_id="c1", content=(TextContent("x"),)))
    hand.wait(0.5)
    hand.see(p.SpeechStarted(item_id="U2"))
    hand.wait(0.5)
    hand.end("R1", p.ResponseStatus.CANCELLED)
    hand.do("send_text", "and?", respond=False)
    hand.recorder._recording.wire(hand.now, received=700, sent=40)
    hand.do("close")
    return hand


def test_every_lane_is_there_and_says_what_happened(tmp_path: Path) -> None:
    report = conversation(tmp_path / "x.rec").report()
    lanes = drawn(to_svg(report))
    assert set(lanes) >= {name.replace(" ", "-") for name in LANES} | {"axis"}
    assert any(title.startswith("speech (1.000 to 1.500 s)") for title in lanes["user-speech"])
    assert any(title.startswith("microphone (0.000") for title in lanes["user-speech"])
    assert any(title.startswith("text") for title in lanes["user-speech"])
    assert lanes["audio-generated"] == ["R1: 2000 ms (2.500 s)"]
    assert lanes["audio-heard"] == ["estimated (2.500 to 3.500 s)"]  # cut by the barge-in
    assert lanes["responses"] == ["R1: cancelled (2.500 to 4.000 s)"]
    assert lanes["tools"] == ["<look> & ?find: result (2.500 to 3.000 s)"]
    assert [title.split(" ")[0] for title in lanes["nudges"]] == ["nudged"]
    assert lanes["interruptions"][0] == "barge-in or cancel (3.500 s)"
    assert lanes["interruptions"][-1].startswith("close")
    assert "700 bytes received, 40 sent" in lanes["wire-bytes"]
    assert "divergence" not in lanes


def test_reported_playback_is_drawn_as_reported(tmp_path: Path) -> None:
    hand = RecordedHand(tmp_path / "x.rec")
    hand.begin("R1")
    hand.item("R1", "A1")
    hand.speak("R1", "A1", "one two", 2.0)
    hand.deliver("A1", 2.0)
    hand.wait(1.0)
    hand.do("report_playback", "A1", 0, 400)
    hand.do("report_playback", "A1", 0, 300)
    hand.do("close")
    assert drawn(to_svg(hand.report()))["audio-heard"] == ["reported (0.600 to 1.000 s)"]


@pytest.mark.parametrize(
    ("name", "lane", "title"),
    [
        ("a_stall", "nudges", "stalled"),
        ("a_reset_in_the_middle_of_a_frame", "interruptions", "link lost"),
        ("an_interruption_by_the_application_as_openai", "interruptions", "interrupt()"),
        ("a_tool_turn_with_three_parallel_calls", "tools", "slow: result"),
        ("an_interruption_from_inside_a_tool", "tools", "slow: cancelled"),
        ("an_audio_turn_as_openai", "audio-generated", "resp_1: 80 ms"),
        ("an_audio_turn_as_openai", "wire-bytes", ""),
    ],
)
def test_real_sessions_are_drawn(
    name: str, lane: str, title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = FlightRecorder(tmp_path / "x.rec")
    play_scenario(monkeypatch, name, recorder)
    found = drawn(to_svg(replay(recorder.path)))[lane]
    assert any(each.startswith(title) for each in found), found


def test_an_empty_session_and_one_without_a_clock_can_be_drawn(tmp_path: Path) -> None:
    recorder = FlightRecorder(tmp_path / "x.rec")
    hand = RecordedHand(tmp_path / "x.rec")
    hand.do("close")
    hand.do("close")
    report = hand.report()
    assert set(drawn(to_svg(report))) >= {"axis", "tools"}
    assert set(drawn(to_svg(attrs.evolve(report, steps=())))) >= {"axis", "tools"}
    assert os.fspath(recorder.path)


@pytest.mark.parametrize("length", [0.0004, 0.1, 0.99, 1, 9.5, 61, 3600, 90_000])
def test_the_axis_has_a_readable_number_of_ticks(tmp_path: Path, length: float) -> None:
    hand = RecordedHand(tmp_path / "x.rec")
    hand.do("clear_audio")
    hand.now += length
    hand.do("close")
    report = hand.report()
    axis = ET.fromstring(to_svg(report)).find(f"{SVG}g[@id='axis']")
    assert axis is not None
    labels = [text.text for text in axis.iter(f"{SVG}text")]
    assert 4 <= len(labels) <= 14
    assert len(set(labels)) == len(labels)


@given(mode=modes, script=steps)
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_whatever_happens_can_be_drawn(
    tmp_path_factory: pytest.TempPathFactory, mode: Any, script: Any
) -> None:
    path = tmp_path_factory.getbasetemp() / "drawn.rec"
    hand = RecordedHand(path, tools=TOOLS, **mode)
    play(hand, script)
    report = hand.report()
    assert report.verdict is Verdict.SAME, report
    drawn(to_svg(report))
    picture = timeline(report)
    for lane, bars in picture.bars.items():
        for bar in bars:
            assert 0 <= bar.start <= bar.end <= picture.length + 1e-9, (lane, bar)
            assert math.isfinite(bar.end)


def test_a_tail_is_drawn_from_what_is_there(tmp_path: Path) -> None:
    report = conversation(tmp_path / "x.rec").report()
    steps: list[Step] = [attrs.evolve(step, events=()) for step in report.steps]
    tail = attrs.evolve(report, steps=tuple(steps[15:]), verdict=Verdict.PARTIAL, lost=15)
    lanes = drawn(to_svg(tail))
    assert lanes["tools"] == ["<look> & ?find: result (2.500 to 3.000 s)"]
    assert "15 before them are lost" in to_svg(tail)
