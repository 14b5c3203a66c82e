"""What `talk` and `transcript` say when something goes wrong: a sentence, and no traceback."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import attrs
import pytest
from click.testing import CliRunner, Result

from meerkat_rt import OpenAIRealtime, errors
from meerkat_rt.console import main
from meerkat_rt.console.failures import sentences
from meerkat_rt.console.providers import CHOICES
from meerkat_rt.embedded import EmbeddedProvider, ServerLimits, ServerOptions

talking = importlib.import_module("meerkat_rt.console.talk")  # whose name the command has
LONG = "a" * 300


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert isinstance(result.exception, SystemExit), result.exception
    return result


def told(result: Result) -> str:
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr.strip()


def answered_by(monkeypatch: pytest.MonkeyPatch, provider: Any) -> None:
    choice = attrs.evolve(CHOICES["embedded"], make=lambda _key, _pace: provider)
    monkeypatch.setitem(CHOICES, "embedded", choice)


def test_each_failure_is_one_sentence_however_deep_and_however_often_seen() -> None:
    group = ExceptionGroup(
        "",
        [
            ExceptionGroup("", [errors.ServerError("it broke"), ValueError("no number")]),
            errors.ServerError("it broke"),
        ],
    )
    assert sentences(group) == ["ServerError: it broke (status 500)", "no number"]


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["timeline", "json"])
def test_a_store_that_cannot_be_used_is_one_line(tmp_path: Path, form: list[str]) -> None:
    text = tmp_path / "text.db"
    text.write_text("not a store at all, only some words in a file")
    for store, words in (
        (tmp_path / "none" / "x.db", f"no directory {tmp_path / 'none'}"),
        (text, "NotAStore"),
        (tmp_path / LONG, "StoreUnavailable"),
    ):
        result = run("talk", "--fast", "--store", store, *form)
        assert result.exit_code == 1
        assert words in told(result)
    assert text.read_text().startswith("not a store")


def test_a_provider_that_cannot_be_reached_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = OpenAIRealtime(api_key="x", base_url="ws://127.0.0.1:1")
    answered_by(monkeypatch, nobody)
    result = run("talk", "--fast")
    assert result.exit_code == 1
    assert told(result).startswith("ConnectionReset: no connection to ws://127.0.0.1:1")


def test_a_provider_that_ends_the_session_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = ServerLimits(session_seconds=0.01)
    answered_by(monkeypatch, EmbeddedProvider(options=ServerOptions(limits=limits)))
    result = run("talk", "--fast")
    assert result.exit_code == 1
    assert "maximum duration" in told(result)
    assert "Group" not in result.stderr


def test_a_provider_that_falls_silent_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talking, "PATIENCE", 0.0)
    result = run("talk", "--fast")
    assert result.exit_code == 1
    assert told(result) == "The conversation did not go on: the provider fell silent."


def test_transcript_says_that_a_name_is_too_long(tmp_path: Path) -> None:
    result = run("transcript", tmp_path / LONG)
    assert result.exit_code == 2
    assert "StoreUnavailable" in told(result)


@pytest.mark.parametrize("option", ["--output", "--wav"])
def test_talk_says_that_a_name_is_too_long(tmp_path: Path, option: str) -> None:
    result = run("talk", option, tmp_path / LONG)
    assert (result.exit_code, result.stdout) == (2, "")
    assert str(tmp_path) in told(result)


@pytest.mark.parametrize("place", ["none/x.wav", "."])
def test_an_output_that_cannot_be_written_is_told_before_the_conversation(
    tmp_path: Path, place: str
) -> None:
    result = run("talk", "--fast", "--output", tmp_path / place)
    assert (result.exit_code, result.stdout) == (2, "")
    assert told(result).startswith(f"{str(tmp_path / place)!r} cannot be written: ")


def test_an_output_stays_as_it_was_where_nothing_was_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = tmp_path / "old.wav", tmp_path / "new.wav"
    old.write_bytes(b"something precious")
    nobody = OpenAIRealtime(api_key="x", base_url="ws://127.0.0.1:1")
    answered_by(monkeypatch, nobody)
    for path in (old, new):
        assert run("talk", "--fast", "--output", path).exit_code == 1
    assert old.read_bytes() == b"something precious"
    assert not new.exists()
