"""The guide's examples do what it says: the mistake is found, the mended program passes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import trio
from wire_client import connected

import meerkat_rt.testing
from meerkat_rt.testing import (
    CancellationFailed,
    ClientGone,
    StallWatch,
    make_wire,
    openai_peer,
    virtual_clock,
)
from meerkat_rt.testing.plugin import Deadlock

GUIDE = Path(meerkat_rt.testing.__file__).with_name("README.md").read_text(encoding="utf-8")
BROKEN, TEST, MENDED, APP, SWEPT, SCRIPT = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
(SETTINGS,) = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)
SWEEP = ["meerkat_rt.testing.sweep", "--quick", "--processes", "1"]

FOUND, STALLED = re.findall(r"```text\n(.*?)```", GUIDE, re.DOTALL)


def run(*blocks):
    names = {}
    for block in blocks:
        exec(compile(block, "the guide", "exec"), names)
    return names


def test_the_ten_lines_find_the_mistake():
    with pytest.raises(CancellationFailed) as caught:
        run(BROKEN, TEST)["test_nothing_is_lost"]()
    assert set(caught.value.report.kinds()) == {"verify"}
    first, second = FOUND.splitlines()[:2]
    report = str(caught.value).splitlines()
    # The figures of the guide are those of the run, but for the time that it took.
    assert re.sub(r"[\d.]+ ms", "_", first) == re.sub(r"[\d.]+ ms", "_", report[0])
    assert second == report[1]
    assert FOUND.splitlines()[-2:] == report[-2:]


def test_the_mended_program_passes_it():
    run(BROKEN, MENDED, TEST)["test_nothing_is_lost"]()


def test_a_wait_for_a_thread_is_told_as_the_guide_shows():
    door = threading.Event()

    def ask():
        assert door.wait(60)

    async def test_a_lookup():
        with scope:
            await trio.to_thread.run_sync(ask, abandon_on_cancel=True)

    def on_stall(waiters):
        told.append(str(Deadlock(waiters)))
        scope.cancel()

    told = []
    scope = trio.CancelScope()
    watch = StallWatch(on_stall, thread_patience=0.3)
    try:
        trio.run(test_a_lookup, clock=virtual_clock(), instruments=[watch])
    finally:
        door.set()
    names = re.compile(r"[\w.<>/]*(test_a_lookup)|\S+\.py:\d+")
    assert [names.sub(r"\1", text).strip() for text in told] == [names.sub(r"\1", STALLED).strip()]


def test_an_application_is_tested_as_the_guide_says_by_pytest_and_by_the_command(tmp_path):
    (tmp_path / "pyproject.toml").write_text(SETTINGS, encoding="utf-8")
    (tmp_path / "test_asking.py").write_text(f"{APP}\n{SWEPT}", encoding="utf-8")
    for command, counted in [
        (["pytest", "-q", "-W", "error", "-p", "no:cacheprovider"], "2 passed"),
        ([*SWEEP, "test_asking:SCENARIOS"], " 0 failures"),
    ]:
        result = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        assert counted in result.stdout.splitlines()[-1]


async def test_the_script_of_the_guide_plays(autojump_clock):
    script = run(SCRIPT)["script"]
    wire = make_wire()
    async with openai_peer(wire.server, script) as peer, connected(wire) as client:
        await client.send(
            {"type": "session.update", "session": {"type": "realtime"}},
            {"type": "response.create"},
        )
        while (await client.next())["type"] != "rate_limits.updated":
            pass
        await client.send({"type": "conversation.item.truncate"})
        await trio.sleep(1)
        assert peer.lingering
    with pytest.raises(ClientGone):
        async with openai_peer(make_wire().server, script) as peer:
            await peer.socket.drop()
