"""The command line, as a user runs it: in a process of its own, over a real socket."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import wave
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "meerkat_rt"]
ENVIRONMENT = {**os.environ, "PYTHONWARNINGS": "error", "OPENAI_API_KEY": "", "COLUMNS": "200"}
TIMEOUT = 90  # seconds; only to end a test that would hang


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=TIMEOUT,
        check=False,
    )


def test_talk_holds_the_whole_conversation_and_proves_that_nothing_is_left(tmp_path: Path) -> None:
    reply = tmp_path / "reply.wav"
    result = run("talk", "--fast", "--output", str(reply))
    assert result.returncode == 0, result.stdout + result.stderr
    shown = result.stdout
    for part in (
        "the provider hears speech",
        "the model calls get_weather",
        "interrupted",
        "cut off here",
        "The canonical conversation",
        "Turn end to first audio:",
        "Usage:",
        "Left behind: nothing",
    ):
        assert part in shown, shown
    with wave.open(str(reply)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (24_000, 1, 2)
        assert file.getnframes() > 24_000
    assert result.stderr == ""


def test_talk_json_prints_events_and_nothing_else() -> None:
    result = run("talk", "--fast", "--json")
    assert result.returncode == 0, result.stderr
    kinds = [json.loads(line)["type"] for line in result.stdout.splitlines()]
    assert kinds[-1] == "session_closed"
    assert kinds.count("session_closed") == 1
    for kind in ("tool_call_requested", "tool_call_finished", "interrupted", "message_committed"):
        assert kind in kinds
    assert kinds.index("tool_call_requested") < kinds.index("output_audio_chunk")


def test_talk_takes_a_recording_of_the_users_and_says_what_it_converted(tmp_path: Path) -> None:
    speech = Path(__file__).parents[2] / "meerkat_rt" / "console" / "data" / "goforward.wav"
    result = run("talk", "--fast", "--wav", str(speech))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "resampled from 16000 to 24000 Hz" in result.stdout


def test_a_second_talk_with_the_same_store_remembers_the_first_and_it_can_be_printed(
    tmp_path: Path,
) -> None:
    store = tmp_path / "talks.db"
    first = run("talk", "--fast", "--store", str(store))
    assert first.returncode == 0, first.stdout + first.stderr
    assert "0 messages are remembered" in first.stdout
    listed = json.loads(run("transcript", str(store), "--format", "json").stdout)
    (entry,) = listed
    assert entry["messages"] >= 6
    second = run("talk", "--fast", "--store", str(store))
    assert second.returncode == 0, second.stdout + second.stderr
    assert f"{entry['messages']} messages are remembered" in second.stdout
    name = entry["session_id"]
    printed = run("transcript", str(store), name)
    assert printed.returncode == 0, printed.stderr
    assert printed.stdout.count("of speech)") >= 6
    told = json.loads(run("transcript", str(store), name, "--format", "json").stdout)
    assert len(told["messages"]) > entry["messages"]
    assert run("transcript", str(store), name, "--format", "markdown").stdout.startswith("# ")


def test_transcript_says_what_it_cannot_read(tmp_path: Path) -> None:
    missing = run("transcript", str(tmp_path / "none.db"))
    assert (missing.returncode, missing.stdout) == (2, "")
    assert "There is no file" in missing.stderr
    text = tmp_path / "text.db"
    text.write_text("not a store at all, only some words in a file")
    refused = run("transcript", str(text))
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "NotAStore" in refused.stderr


def test_ctrl_c_ends_talk_cleanly_with_a_summary_and_no_traceback() -> None:
    process = subprocess.Popen(
        [*COMMAND, "talk"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=ENVIRONMENT,
    )
    try:
        assert process.stdout is not None
        shown = ""
        for line in process.stdout:
            shown += line
            if "hears speech" in line:
                process.send_signal(signal.SIGINT)
                break
        rest, _ = process.communicate(timeout=TIMEOUT)
    finally:
        process.kill()
    shown += rest
    assert process.returncode == 130, shown
    assert "Traceback" not in shown
    assert "Left behind: nothing" in shown
    assert "after Ctrl-C" in shown


def test_talk_with_openai_needs_a_key_and_says_so() -> None:
    result = run("talk", "--provider", "openai")
    assert result.returncode == 2
    assert result.stderr.strip() == "--provider openai needs a key: --api-key, or OPENAI_API_KEY."


def test_serve_prints_its_url_first_and_ends_on_ctrl_c() -> None:
    process = subprocess.Popen(
        [*COMMAND, "serve", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert re.fullmatch(r"ws://127\.0\.0\.1:\d+/v1/realtime", url)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=TIMEOUT)
    finally:
        process.kill()
    assert (process.returncode, out, err) == (0, "", "")


def test_doctor_connects_to_the_embedded_provider_and_names_what_is_missing() -> None:
    result = run("doctor")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "embedded provider: connected in" in result.stdout
    assert "OpenAI: no key is set" in result.stdout
    assert re.search(r"^trio \d", result.stdout, re.MULTILINE)


@pytest.mark.parametrize("command", ["talk", "serve", "doctor"])
def test_every_command_has_help(command: str) -> None:
    result = run(command, "--help")
    assert result.returncode == 0
    assert "Usage:" in result.stdout
