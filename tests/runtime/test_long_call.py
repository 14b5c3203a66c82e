"""Calls of three hours whose connections are taken away, and what would be noticed in them.

`python -m meerkat_rt.testing.long_call` plays a hundred of each; here are a few.
"""

from __future__ import annotations

from typing import Any

import pytest

from meerkat_rt.runtime.recollection import Recollection
from meerkat_rt.runtime.sent_audio import SentAudio
from meerkat_rt.testing.long_call import LongCall
from meerkat_rt.turn.responses import ResponseSlot
from meerkat_rt.turn.tools import ToolLedger

PROVIDERS = ("openai", "gemini", "vertex")


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_three_hours(autojump_clock: Any, provider: str) -> None:
    outcome = await LongCall(provider=provider, measured=True).run()
    assert outcome.faults == ()
    assert sum(outcome.drops.values()) == 18
    assert outcome.drops["looking_up"] >= 6
    assert outcome.rotations >= 12
    assert outcome.lookups == 90
    # At the first quarter little is remembered of calls; all that grows has a cap by the third.
    assert outcome.growth[3] <= outcome.growth[2] + 60


@pytest.mark.parametrize("seed", range(1, 5))
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_half_an_hour(autojump_clock: Any, provider: str, seed: int) -> None:
    call = LongCall(provider=provider, turns=45, seed=seed, drop_every=120, max_age=200)
    outcome = await call.run()
    assert outcome.faults == ()
    assert sum(outcome.drops.values()) == 15


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_the_same_call_undisturbed(autojump_clock: Any, provider: str) -> None:
    outcome = await LongCall(provider=provider, turns=10, drop_every=None, max_age=100_000).run()
    assert outcome.faults == ()
    assert (outcome.connections, outcome.lookups) == (1, 4)


def _nothing(*_: Any, **__: Any) -> list[Any]:
    return []


async def _nobody(*_: Any, **__: Any) -> None:
    """Do nothing."""


MISTAKES: dict[str, tuple[Any, str, Any]] = {
    "audio is not sent again": (SentAudio, "since", _nothing),
    "nothing is told": (Recollection, "history", _nothing),
    "outcomes are not carried over": (ToolLedger, "restored", lambda *_: False),
    "what was cut is not asked for again": (ResponseSlot, "take_back", _nothing),
    "what nobody knows is not told": (Recollection, "missing", _nothing),
}


@pytest.mark.parametrize("mistake", MISTAKES)
async def test_a_mistake_is_noticed(
    autojump_clock: Any, monkeypatch: pytest.MonkeyPatch, mistake: str
) -> None:
    where, name, instead = MISTAKES[mistake]
    monkeypatch.setattr(where, name, instead)
    found: list[str] = []
    for provider in PROVIDERS:
        call = LongCall(provider=provider, turns=45, drop_every=60, max_age=100)
        found += (await call.run()).faults
    assert found
