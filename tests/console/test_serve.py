"""The options of `serve`: what is not allowed is refused before anything listens."""

from __future__ import annotations

import importlib
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from click.testing import CliRunner, Result

from meerkat_rt.console import main

serving = importlib.import_module("meerkat_rt.console.serve")  # whose name the command has


@pytest.fixture
def listened(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What it would have listened with; it does not listen."""
    calls: list[dict[str, Any]] = []

    @asynccontextmanager
    async def serve_embedded(options: Any, **rest: Any) -> Any:
        calls.append({"options": options, **rest})
        raise OSError("not today")
        yield

    monkeypatch.setattr(serving, "serve_embedded", serve_embedded)
    return calls


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(main, ["serve", *arguments])
    assert isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.mark.parametrize("pace", ["-1", "nan", "inf", "-inf", "1e999"])
def test_a_pace_is_a_finite_number_that_is_not_negative(
    listened: list[dict[str, Any]], pace: str
) -> None:
    result = run("--pace", pace)
    assert (result.exit_code, listened) == (2, [])
    assert "Invalid value for '--pace'" in result.stderr
    assert "in the range x>=0." in result.stderr


@pytest.mark.parametrize("port", ["-1", "65536", "99999"])
def test_a_port_has_sixteen_bits(listened: list[dict[str, Any]], port: str) -> None:
    result = run("--port", port)
    assert (result.exit_code, listened) == (2, [])
    assert f"{port} is not in the range 0<=x<=65535." in result.stderr


def test_what_is_allowed_is_what_it_listens_with(listened: list[dict[str, Any]]) -> None:
    result = run("--pace", "0", "--port", "65535")
    assert result.exit_code == 1
    assert result.stderr == "Cannot listen on 127.0.0.1:65535: not today\n"
    (call,) = listened
    assert (call["options"].pace, call["port"], call["ssl_context"]) == (0, 65535, None)


@pytest.mark.parametrize("host", ["a" * 300, "a..b"])
def test_what_can_be_no_host_is_one_line(host: str) -> None:
    result = run("--host", host)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Cannot listen on {host}:0: ")
    assert result.stderr.count("\n") == 1


def test_a_key_without_its_chain_serves_nothing(
    listened: list[dict[str, Any]], tmp_path: Path
) -> None:
    result = run("--tls-key", str(tmp_path / "key.pem"))
    assert (result.exit_code, listened) == (2, [])
    assert result.stderr == "TLS needs --tls-cert as well as --tls-key, which alone is no use.\n"


def test_a_chain_without_a_key_serves_tls_where_the_key_is_in_its_file(
    listened: list[dict[str, Any]], tmp_path: Path
) -> None:
    both, chain = tmp_path / "both.pem", tmp_path / "chain.pem"
    certificate = trustme.CA().issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(both)
    certificate.cert_chain_pems[0].write_to_path(chain)
    assert run("--tls-cert", str(both)).exit_code == 1
    (call,) = listened
    assert call["ssl_context"] is not None
    result = run("--tls-cert", str(chain))
    assert (result.exit_code, len(listened)) == (2, 1)
    assert result.stderr.startswith(f"Cannot use {chain} for TLS: ")
    assert result.stderr.endswith("; without --tls-key, the key must be in it\n")


def test_a_key_that_is_missing_is_named(tmp_path: Path) -> None:
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    trustme.CA().issue_cert("127.0.0.1").cert_chain_pems[0].write_to_path(chain)
    result = run("--tls-cert", str(chain), "--tls-key", str(key))
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Cannot use {chain} with the key {key} for TLS: ")
