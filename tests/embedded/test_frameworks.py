"""Frameworks for voice agents, as their users have them, against `meerkat-rt serve`.

Each speaks a turn, interrupts an answer and has a tool called, over real sockets and all at once.
Installed in environments of their own, which are kept in pytest's cache.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from frameworks.environments import (
    FRAMEWORKS,
    Framework,
    NotInstallable,
    environment,
    interpreter,
)
from support.embedded_session import spoken_turn

KEY = "test-key"
PATIENCE = 120  # seconds; only to end a conversation that would hang
SECOND = 48_000  # bytes of audio
PACE = 5  # times faster than speech: an answer of half a minute can be interrupted for six seconds
EVERY_FRAMEWORK = "MEERKAT_FRAMEWORKS"  # set: all are tested


@contextmanager
def serving() -> Iterator[str]:
    """The server as a user starts it; it must end in peace and have complained about nothing."""
    server = subprocess.Popen(
        [sys.executable, "-m", "meerkat_rt", "serve", "--token", KEY, "--pace", str(PACE)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.send_signal(signal.SIGINT)
        _, complaints = server.communicate(timeout=PATIENCE)
        assert (server.returncode, complaints) == (0, "")
    finally:
        server.kill()
        server.communicate()


@pytest.fixture
def python(
    framework: Framework, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The interpreter that has the framework."""
    if not framework.always and not os.environ.get(EVERY_FRAMEWORK):
        pytest.skip(f"set {EVERY_FRAMEWORK}=1 to test {framework.name} as well")
    kept = pytestconfig.cache
    cache = tmp_path_factory.getbasetemp() if kept is None else kept.mkdir("frameworks")
    try:
        return interpreter(framework, cache)
    except NotInstallable as error:
        pytest.skip(f"{framework.name} cannot be installed here: {error}")


@pytest.mark.parametrize("framework", FRAMEWORKS, ids=lambda framework: framework.name)
def test_a_framework_speaks_interrupts_and_calls_tools(
    framework: Framework, python: Path, tmp_path: Path
) -> None:
    speech = tmp_path / "speech.pcm"
    speech.write_bytes(spoken_turn())
    with serving() as url:
        done = subprocess.run(
            [python, framework.script, url, KEY, speech],
            capture_output=True,
            text=True,
            env=environment(),
            timeout=PATIENCE,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    turns = json.loads(done.stdout.splitlines()[-1])
    said = {
        name: "".join(each["text"] for each in turn["said"] if each["role"] == "assistant")
        for name, turn in turns.items()
    }
    assert not any(turn["errors"] for turn in turns.values()), turns

    assert said["voice"].endswith("just start talking.")
    assert turns["voice"]["audio"] > 30 * SECOND

    assert "just start talking." not in said["interrupted"]
    assert said["interrupted"].endswith("I find that rather encouraging.")
    assert turns["interrupted"]["audio"] < 2 * turns["voice"]["audio"] - 20 * SECOND

    assert turns["tool"]["tools"] == ["It is sunny in Lisbon."]
    assert said["tool"] == "Here is what get weather says: It is sunny in Lisbon."
    assert turns["tool"]["audio"] > 4 * SECOND


def test_a_framework_that_cannot_be_installed_is_passed_over_with_the_reason(
    tmp_path: Path,
) -> None:
    missing = Framework("missing", (str(tmp_path / "no-such-package"),))
    with pytest.raises(NotInstallable, match="no-such-package"):
        interpreter(missing, tmp_path)
