"""The guide's examples do what it says: the mistake is found, the mended program passes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import trio
from wire_client import connected

import meerkat_rt.testing
from meerkat_rt.testing import CancellationFailed, ClientGone, make_wire, openai_peer

GUIDE = Path(meerkat_rt.testing.__file__).with_name("README.md").read_text(encoding="utf-8")
BROKEN, TEST, MENDED, SCRIPT = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)


def run(*blocks):
    names = {}
    for block in blocks:
        exec(compile(block, "the guide", "exec"), names)
    return names


def test_the_ten_lines_find_the_mistake():
    with pytest.raises(CancellationFailed) as caught:
        run(BROKEN, TEST)["test_nothing_is_lost"]()
    assert set(caught.value.report.kinds()) == {"verify"}
    (shown,) = re.findall(r"```text\n(.*?)```", GUIDE, re.DOTALL)
    first, second = shown.splitlines()[:2]
    report = str(caught.value).splitlines()
    # The figures of the guide are those of the run, but for the time that it took.
    assert re.sub(r"[\d.]+ ms", "_", first) == re.sub(r"[\d.]+ ms", "_", report[0])
    assert second == report[1]


def test_the_mended_program_passes_it():
    run(BROKEN, MENDED, TEST)["test_nothing_is_lost"]()


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
