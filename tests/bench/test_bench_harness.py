"""What the server sends, and that a subject which delivers too little is found out."""

from __future__ import annotations

import json
import re
import struct
import sys
import xml.dom.minidom
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner

from bench import (
    layers,
    outbound,
    pacing,
    peers,
    plot,
    png,
    publish,
    report,
    server,
    svg,
    targets,
    throughput,
    trace,
)
from bench.__main__ import main
from bench.crew import Crew, Worker, WorkerFailed, crew
from bench.peers import Subject
from bench.server import _frame_size, _framed, serving
from bench.subjects import LAST_WORD
from bench.workloads import WORKLOADS
from meerkat_rt import (
    OpenAIRealtime,
    RealtimeSessionOpenConfig,
    RealtimeTurningMode,
    SessionLlmIdentity,
    events,
    open_session,
)
from meerkat_rt.providers.openai import decoding
from meerkat_rt.turn import ports


@pytest.mark.parametrize("name", WORKLOADS)
def test_frames_are_ones_that_we_understand(name: str) -> None:
    workload = WORKLOADS[name]
    messages = list(workload.messages(2))
    assert len(messages) == 2 * workload.events
    for message in messages:
        assert b"@" not in message
        for event in decoding.decode(message):
            assert not isinstance(event, (ports.ProtocolFault, ports.UnknownFrame))


@pytest.mark.parametrize("name", WORKLOADS)
def test_ids_are_unique_where_they_must_be(name: str) -> None:
    events = [json.loads(message) for message in WORKLOADS[name].messages(3)]
    ids = [event["event_id"] for event in events]
    assert len(set(ids)) == len(ids)
    begun = [event for event in events if event["type"] == "response.created"]
    responses = 3 * WORKLOADS[name].responses
    assert len({event["response"]["id"] for event in begun}) == len(begun) == responses


@pytest.mark.parametrize("name", ["text", "mix", "audio-8k"])
def test_a_workload_says_what_it_carries(name: str) -> None:
    workload = WORKLOADS[name]
    text = audio = 0
    for message in workload.messages(1):
        for event in decoding.decode(message):
            if isinstance(event, (ports.TextDelta, ports.TranscriptDelta)):
                text += len(event.delta)
            elif isinstance(event, ports.AudioDelta):
                audio += len(event.data)
    assert (text, audio) == (workload.text, workload.audio)


@pytest.mark.parametrize(("name", "parts"), [("text", 1), ("mix", 1), ("tools", 4), ("session", 4)])
def test_a_workload_says_of_how_many_parts_it_is(name: str, parts: int) -> None:
    assert WORKLOADS[name].parts == parts


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
def test_frame_sizes(size: int) -> None:
    framed = _framed(bytes(size))
    assert _frame_size(memoryview(framed + b"more")) == len(framed)


def test_who_asks_again_gets_the_last_word_with_what_it_asked_with() -> None:
    service = server._Burst(WORKLOADS["tools"])
    first, second = (service._last_word(metadata) for metadata in ({"key": "a"}, None))
    assert json.loads(first[0])["response"]["metadata"] == {"key": "a"}
    ids = [json.loads(message)["event_id"] for message in (*first, *second)]
    assert len(set(ids)) == len(ids)
    said = [
        event.delta
        for message in first
        for event in decoding.decode(message)
        if isinstance(event, ports.TranscriptDelta)
    ]
    assert said == [LAST_WORD]


@pytest.mark.parametrize(
    "pace",
    [None, server.Pace(sessions=1, rate=50.0, seconds=0.02, rounds=1, groups=("meerkat",))],
    ids=["burst", "paced"],
)
def test_a_response_says_which_request_it_answers(pace: server.Pace | None) -> None:
    async def begun(url: str) -> bool:
        config = RealtimeSessionOpenConfig(
            RealtimeTurningMode.PROVIDER_MANAGED, SessionLlmIdentity(model="bench-1-meerkat")
        )
        provider = OpenAIRealtime(api_key="bench", base_url=url)
        async with open_session(config, provider=provider) as session:
            request = await session.create_response()
            async for event in session:
                if isinstance(event, events.ResponseStarted):
                    return event.request_id == request.id
        return False

    with serving(WORKLOADS["transcript"], pace=pace) as url:
        assert trio.run(begun, url)


def test_a_server_that_does_not_come_up_is_not_waited_for() -> None:
    nowhere = server.Certificate(chain="/nowhere", key="/nowhere", authority="/nowhere")
    with pytest.raises(EOFError), serving(WORKLOADS["text"], certificate=nowhere):
        pass


OURS = Subject("meerkat")


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[Crew]:
    with crew(tmp_path, [OURS, Subject("openai_client", "openai")]) as found:
        yield found


def run(found: Crew, names: list[str]) -> throughput.Found:
    return throughput.run(names, found, repetitions=3, seconds=0.01, step=lambda _: None)


def test_a_run_measures_and_checks_what_was_delivered(ours: Crew) -> None:
    samples = run(ours, ["text"])["text"]["meerkat"]
    assert not samples.failed
    assert len(samples.cpu) == len(samples.rate) == 3
    assert min(samples.cpu + samples.rate) > 0
    assert "trio" in ours.versions["meerkat"]
    assert "setup" in ours.missing["openai"]


def test_a_subject_that_loses_events_is_not_compared(
    ours: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = {"cpu": 1.0, "wall": 1.0, "text": 3, "audio": 0, "versions": {}}
    monkeypatch.setattr(Worker, "_answer", lambda *_: answer)
    samples = run(ours, ["text"])["text"]["meerkat"]
    assert re.search(r"delivered 3 of \d+ of the text", samples.failed)
    assert not samples.cpu


def test_a_subject_that_cannot_start_is_missing(tmp_path: Path) -> None:
    with crew(tmp_path, [Subject("no_such_subject")]) as found:
        assert found.missing == {"no-such-subject": "the process has ended"}
        assert run(found, ["text"]) == {"text": {}}


def test_a_subject_that_answers_too_late_is_started_anew(ours: Crew) -> None:
    """Its answer would be taken for one to the next question."""
    worker = ours.workers["meerkat"]
    first = worker._process.pid
    with serving(WORKLOADS["text"]) as url:
        order = {"url": url, "units": 1, "responses": 1, "parts": 1, "modality": "text"}
        with pytest.raises(WorkerFailed, match="no answer within 0 s"):
            worker._asked({**order, "timeout": -10})
        answer = worker.measure(WORKLOADS["text"], url, 2, 20)
    assert answer["text"] == 2 * (WORKLOADS["text"].text or 0)
    assert worker._process.pid != first


def test_what_subjects_need_is_read_without_importing_them() -> None:
    for subject in peers.SUBJECTS:
        if subject.environment is not None:
            assert peers.packages(subject)
        assert report.note_of(subject.module)
    assert "agents" not in sys.modules


def test_an_environment_counts_once_it_is_complete(tmp_path: Path) -> None:
    subject = Subject("openai_client", "openai")
    assert peers.interpreter(subject, tmp_path) is None
    (tmp_path / "openai").mkdir()
    assert peers.interpreter(subject, tmp_path) is None
    (tmp_path / "openai" / "ready").touch()
    assert peers.interpreter(subject, tmp_path) is not None


def test_the_cache_is_where_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(peers.ENVIRONMENT_VARIABLE, str(tmp_path / "variable"))
    assert peers.cache(tmp_path / "option") == tmp_path / "option"
    assert peers.cache(None) == tmp_path / "variable"
    monkeypatch.delenv(peers.ENVIRONMENT_VARIABLE)
    assert peers.cache(None) == peers.DEFAULT_CACHE


def stored(path: Path, cpu: float) -> Path:
    row = {"meerkat": {"cpu": [cpu] * 3}, "floor": {"cpu": [2.0] * 3}}
    path.write_text(json.dumps({"throughput": {"mix": row}}), encoding="utf-8")
    return path


def test_compare(tmp_path: Path) -> None:
    before, after = stored(tmp_path / "a.json", 8.0), stored(tmp_path / "b.json", 4.0)
    done = CliRunner().invoke(main, ["--compare", str(before), str(after)])
    assert done.exit_code == 0
    assert "-50 %" in done.output


RATES = {
    "date": "2026-01-01T00:00",
    "throughput": {"mix": {"a<b": {"cpu": [4.0] * 3}, "drain": {"cpu": [4.0] * 3}}},
}


def test_pictures_are_svg() -> None:
    picture = plot.rates(RATES)
    assert picture.startswith("<svg")
    assert "a&lt;b" in picture
    assert "250,000" in picture
    assert "drain" not in picture


def test_pictures_are_svg_or_png_and_nothing_else(tmp_path: Path) -> None:
    plot.write(RATES, tmp_path / "run.svg")
    assert (tmp_path / "run.svg").read_text(encoding="utf-8") == plot.rates(RATES)
    plot.write(RATES, tmp_path / "run.png")
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="SVG or PNG"):
        plot.write(RATES, tmp_path / "run.gif")
    done = CliRunner().invoke(main, ["--plot", str(tmp_path / "run.gif")])
    assert done.exit_code == 2
    assert "SVG or PNG" in done.output


def pixels(file: bytes) -> tuple[int, int, list[bytes]]:
    """Width, height and rows of a PNG as we write it."""
    kinds, at = {}, 8
    while at < len(file):
        size, kind = struct.unpack(">I4s", file[at : at + 8])
        data, check = file[at + 8 : at + 8 + size], file[at + 8 + size : at + 12 + size]
        assert struct.pack(">I", zlib.crc32(kind + data)) == check
        kinds[kind] = data
        at += size + 12
    width, height = struct.unpack(">II", kinds[b"IHDR"][:8])
    raw, step = zlib.decompress(kinds[b"IDAT"]), 3 * width + 1
    assert len(raw) == step * height
    return width, height, [raw[row * step + 1 : (row + 1) * step] for row in range(height)]


def test_a_png_shows_what_the_svg_says() -> None:
    body = [
        svg.bar(10, 30, 20, 10, "#b3541e"),
        svg.line([(40, 35), (60, 35)], "#4a78a8"),
        svg.text(100, 60, "I"),
        svg.text(100, 80, "I", anchor="end"),
        svg.text(100, 100, "é"),  # has no form, and takes its room
    ]
    width, height, rows = pixels(png.png(svg.picture(110, "", body)))

    def at(x: float, y: float) -> str:
        column = round(x * png.SCALE) * 3
        return rows[round(y * png.SCALE)][column : column + 3].hex()

    assert (width, height) == (svg.WIDTH * png.SCALE, 110 * png.SCALE)
    assert at(9, 35) == at(31, 35) == at(20, 41) == "ffffff"
    assert at(20, 35) == "b3541e"
    assert at(50, 35) == at(58, 33) == "4a78a8"  # the line, and the dot at its end
    assert at(50, 38) == "ffffff"
    assert at(102, 56) == at(96, 76) == "000000"  # the upright stroke
    assert at(100, 56) == "ffffff"


# ---------------------------------------------------------------- a whole run


@pytest.fixture
def whole() -> dict[str, object]:
    """A run of everything, as `--json` keeps it."""
    three = [4.0, 4.2, 4.1]
    measured = {"cpu_us": three, "p50_us": three, "p99_us": three, "aside": [0.0] * 3}
    measured["rate"] = [5000.0] * 3
    row = {
        name: {"cpu": three, "rate": three, "failed": "", "units": 1}
        for name in ("drain", "floor", "meerkat", "openai")
    }
    row["floor"]["cpu"] = [1.0, 4.0, 9.0]
    row["broken"] = {"cpu": [], "rate": [], "failed": "TimeoutError", "units": 0}
    waits = {"interrupt, idle": {"frame_us": three, "gone_us": three}}
    return {
        "date": "2026-01-01T00:00",
        "machine": "a machine",
        "throughput": {"mix": row},
        "versions": {"openai": {"openai": "3"}},
        "missing": {"pipecat": "not installed"},
        "notes": {"openai": "typed"},
        "speaking": {"meerkat": "a lane"},
        "layers": {"mix": {name: [0.5] * 3 for name in (*layers.LAYERS, "calibration")}},
        "growth": {
            axis: {"meerkat": {"10": three, "100": three}} for axis in ("answer", "conversation")
        },
        "outbound": {"20 ms": {"meerkat": three}},
        "paced": {"100 x 50/s": {"meerkat": measured, "transport": measured}},
        "costs": {"idle": {"kib": [50.0]}, "close with 3 tools": {"close_us": three}, **waits},
    }


def test_a_run_goes_into_the_documents(
    whole: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("README", "ROOM"):
        original: Path = getattr(publish, name)
        copy = tmp_path / f"{name}.md"
        copy.write_text(original.read_text(encoding="utf-8"), encoding="utf-8")
        monkeypatch.setattr(publish, name, copy)
    monkeypatch.setattr(publish, "HERE", tmp_path)
    for _ in range(2):  # a second run replaces the first
        files = publish.publish(whole)
    assert [path.name for path in files] == [
        "rates.svg", "layers.svg", "growth.svg", "README.md", "ROOM.md"
    ]  # fmt: skip
    readme, room = (path.read_text(encoding="utf-8") for path in files[-2:])
    assert readme.count("2026-01-01 on a machine") == 1
    assert "| openai | 243,902 (1.00x) |" in readme
    assert "| broken | TimeoutError |" in room
    assert "(no ratio to floor: repetitions disagree: " in room
    assert "(the server, not meerkat, may be what the clock measured.)" in room
    assert "| meerkat | 4.1 ±1% | a lane |" in room
    assert "Missing: pipecat: not installed." in room
    assert "| idle | kib 50 |" in room
    assert "| interrupt, idle | frame_us 4.1 ±1%, gone_us 4.1 ±1% |" in room
    assert "| close with three running tools | < 2000 us | 4.1 ±1% us | yes |" in room
    assert "100 x 50/s: cpu against transport" in room
    for picture in files[:3]:
        xml.dom.minidom.parse(str(picture))


def test_only_a_whole_run_is_published(whole: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="no paced"):
        publish.publish({**whole, "paced": {}})


def test_a_document_without_marks_is_left_alone() -> None:
    with pytest.raises(ValueError, match="no place"):
        publish._put("text", "rates", "table")


def test_a_stack_adds_up(whole: dict[str, object]) -> None:
    (stack,) = plot.stacked(whole).values()
    assert stack.keys() == set(plot.STACK)
    assert stack["rest"] == 0  # the parts are dearer than the whole


class Arrivals:
    """A pacing clock on a time of its own, and what the kernel says of waits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.waited = 10**12, 0
        monkeypatch.setattr(pacing.time, "monotonic_ns", lambda: self.now)
        monkeypatch.setattr(pacing.Waits, "grown", lambda _: self.waited)
        self.clock = pacing.Clock(1)

    def come(self, turn: int, latency: int, after: int = 100_000) -> None:
        self.now += after
        self.clock.came(f"event_{turn:02}{self.now - latency:014}")


def test_a_clock_tells_turns_apart_and_leaves_the_first_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arrivals = Arrivals(monkeypatch)
    for turn in range(3):
        for _ in range(pacing.BETWEEN):
            arrivals.come(turn, 1000 * (turn + 1))
    found = arrivals.clock.found()
    assert found["p99_us"] == [2.0, 3.0]
    assert found["rate"] == [10_000.0] * 2
    assert len(found["cpu_us"]) == len(found["p50_us"]) == 2


def test_what_somebody_else_kept_waiting_is_set_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The events behind a wait for the processor, until one was sent after all were handled."""
    arrivals = Arrivals(monkeypatch)
    for _ in range(pacing.BETWEEN):
        arrivals.come(1, 1000)
    arrivals.waited = 2 * pacing.LATE
    arrivals.come(1, 3 * pacing.LATE)
    arrivals.waited = 0
    arrivals.come(1, 2 * pacing.LATE)
    assert len(arrivals.clock._latencies) == pacing.BETWEEN
    arrivals.come(1, 1000)
    found = arrivals.clock.found()
    assert found["p99_us"] == [1.0]
    assert found["aside"] == [pytest.approx(2 / (pacing.BETWEEN + 3))]


def test_what_the_subject_itself_kept_waiting_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    arrivals = Arrivals(monkeypatch)
    arrivals.waited = pacing.LATE // 2
    for _ in range(pacing.BETWEEN):
        arrivals.come(1, 20 * pacing.LATE)
    found = arrivals.clock.found()
    assert found["aside"] == [0]
    assert found["p99_us"] == [20 * pacing.LATE / 1000]


def test_waits_are_those_of_the_kernel() -> None:
    waits = pacing.Waits()
    assert waits.grown() >= 0
    waits._file = -1  # a system that does not count them
    assert waits.grown() == 0


def paced_row(p99: list[float], aside: list[float]) -> pacing.Measured:
    return {"cpu_us": [1.0] * len(p99), "p99_us": p99, "aside": aside}


def test_with_fewer_turns_left_a_repetition_has_two_of_them() -> None:
    row = paced_row([3.0, 1.0] * 3 + [9.0] * 3, [0.0] * 6 + [0.9] * 3)
    paced = {"meerkat": row, "transport": paced_row([1.0] * 9, [0.0] * 9)}
    assert str(targets.paced_ratio(paced, "transport", "p99_us")) == "2.00x"


def test_turns_of_which_too_little_is_left_tell_no_latency() -> None:
    row = paced_row([2.0] * 4, [0.0, 0.9, pacing.ASIDE, 0.1])
    assert pacing.told(row, "p99_us") == [2.0, None, 2.0, 2.0]
    assert pacing.told(row, "cpu_us") == row["cpu_us"]


def test_a_repetition_of_a_percentile_is_the_median_of_three_turns() -> None:
    quiet = [0.0] * 9
    ours, theirs = [2.0, 4.0, 90.0] * 3, [2.0, 1.0, 2.0] * 3
    paced = {"meerkat": paced_row(ours, quiet), "transport": paced_row(theirs, quiet)}
    found = targets.paced_ratio(paced, "transport", "p99_us")
    assert str(found) == "2.00x"
    assert found.value is not None
    assert found.value.relative == 0
    paced["transport"] = paced_row(theirs, [*quiet[:5], *[0.9] * 4])
    assert targets.paced_ratio(paced, "transport", "p99_us").refused == (
        "others had the processor in 4 of 9"
    )
    assert str(targets.paced_ratio(paced, "transport", "cpu_us")) == "1.00x"
    assert targets.paced_ratio(paced, "openai", "cpu_us").refused == "not measured"


def test_a_server_that_falls_behind_says_so() -> None:
    three = [1.0] * 3
    row = {"cpu_us": three, "p50_us": three, "p99_us": three, "aside": [0.9, 0.9, 0.9]}
    slow = {"100 x 50/s": {"meerkat": {**row, "rate": [4000.0] * 3}}}
    assert list(report.paced_rows({"paced": slow})) == [
        ["100 x 50/s", "meerkat", "1 ±0%", "-", "-", "90%"]
    ]
    assert list(report.paced_notes({"paced": slow})) == [
        "100 x 50/s: the server sent meerkat 4,000 events a second instead of 5,000"
    ]


def test_a_paced_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(pacing.SCENARIOS, "few", (2, 50.0, False, ("transport", "meerkat")))
    found = pacing.run(tmp_path, names=("few",), rounds=2, seconds=0.5, step=lambda _: None)
    assert found["few"].keys() == {"transport", "meerkat"}
    assert all(len(values) == 2 for row in found["few"].values() for values in row.values())


def test_microphone_audio_arrives(ours: Crew) -> None:
    found = outbound.run(ours, repetitions=1, step=lambda _: None)
    assert found.keys() == set(outbound.SPEECH) >= set(outbound.QUICK)
    assert all(row["meerkat"][0] > 0 for row in found.values())


def test_everybody_who_sends_audio_says_what_a_call_does() -> None:
    speaking = {each.name for each in peers.SUBJECTS if report.note_of(each.module, "SPEAKING")}
    assert speaking == outbound.ASKED


def test_the_recorded_conversation_is_a_whole_one() -> None:
    kinds = [json.loads(frame)["type"] for frame in trace.unit()]
    assert "input_audio_buffer.speech_started" in kinds
    assert "response.function_call_arguments.done" in kinds
    ends = [json.loads(frame) for frame in trace.unit() if b'"response.done"' in frame[:40]]
    assert {end["response"]["status"] for end in ends} == {"completed", "cancelled"}
