"""The command line, as a user runs it: in a process of its own, over a real socket."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import wave
from pathlib import Path

import pytest
import trustme
from consolekit import COMMAND, ENVIRONMENT, TIMEOUT, run


@pytest.mark.parametrize(
    "provider",
    [
        ["embedded"],
        ["embedded-gemini"],
        ["embedded-gemini", "--model", "gemini-3.8-live"],
        ["embedded-gemini", "--model", "gemini-2.5-flash-native-audio"],
    ],
    ids="-".join,
)
def test_talk_holds_the_whole_conversation_and_proves_that_nothing_is_left(
    tmp_path: Path, provider: list[str]
) -> None:
    reply = tmp_path / "reply.wav"
    result = run("talk", "--fast", "--output", str(reply), "--provider", *provider)
    assert result.returncode == 0, result.stdout + result.stderr
    shown = result.stdout
    for part in (
        "user: (1.9 s of speech)",
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


@pytest.mark.parametrize("provider", ["embedded", "embedded-gemini"])
def test_talk_json_prints_events_and_nothing_else(provider: str) -> None:
    result = run("talk", "--fast", "--json", "--provider", provider)
    assert result.returncode == 0, result.stderr
    kinds = [json.loads(line)["type"] for line in result.stdout.splitlines()]
    assert kinds[-1] == "session_closed"
    assert kinds.count("session_closed") == 1
    for kind in ("tool_call_requested", "tool_call_finished", "interrupted", "message_committed"):
        assert kind in kinds
    assert kinds.count("turn_committed") == 3
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
    assert entry["updated_at"] >= entry["created_at"] > 1.7e9  # of this century
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


@pytest.mark.parametrize(
    ("provider", "key"), [("openai", "OPENAI_API_KEY"), ("gemini", "GEMINI_API_KEY")]
)
def test_talk_with_a_live_provider_needs_a_key_and_says_so(provider: str, key: str) -> None:
    result = run("talk", "--provider", provider)
    assert result.returncode == 2
    assert result.stderr.strip() == f"--provider {provider} needs a key: --api-key, or {key}."


@pytest.mark.parametrize("tls", [False, True])
def test_serve_prints_its_urls_first_and_ends_on_ctrl_c(tmp_path: Path, tls: bool) -> None:
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    certificate = trustme.CA().issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(chain)
    certificate.private_key_pem.write_to_path(key)
    secure = ["--tls-cert", str(chain), "--tls-key", str(key)] if tls else []
    scheme = "wss" if tls else "ws"
    process = subprocess.Popen(
        [*COMMAND, "serve", "--port", "0", *secure],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    try:
        assert process.stdout is not None
        url, base = (process.stdout.readline().strip() for _ in range(2))
        assert re.fullmatch(scheme + r"://127\.0\.0\.1:\d+/v1/realtime", url)
        assert url == f"{base}/v1/realtime"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=TIMEOUT)
    finally:
        process.kill()
    assert (process.returncode, out, err) == (0, "", "")


def test_serve_says_which_certificate_it_cannot_use(tmp_path: Path) -> None:
    missing = run("serve", "--tls-cert", str(tmp_path / "none.pem"))
    assert missing.returncode == 2
    assert missing.stderr.startswith(f"Cannot use {tmp_path / 'none.pem'} for TLS: ")
    assert missing.stderr.count("\n") == 1


def test_doctor_connects_to_the_embedded_provider_and_names_what_is_missing() -> None:
    result = run("doctor")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "embedded provider: connected in" in result.stdout
    assert "embedded Gemini provider: connected in" in result.stdout
    assert "OpenAI: no key is set (OPENAI_API_KEY)" in result.stdout
    assert "Gemini: no key is set (GEMINI_API_KEY)" in result.stdout
    assert re.search(r"^trio \d", result.stdout, re.MULTILINE)


@pytest.mark.parametrize("command", ["talk", "serve", "doctor"])
def test_every_command_has_help(command: str) -> None:
    result = run(command, "--help")
    assert result.returncode == 0
    assert "Usage:" in result.stdout
