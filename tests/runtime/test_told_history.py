"""How much of a long conversation a new session is told: the newest turns that fit."""

from __future__ import annotations

import pytest
import trio
from continuitykit import QUICK, calling

from meerkat_rt import ContinuityPolicy, errors
from meerkat_rt.model import events as ev

TURN = 10  # tokens of "u1" and "a1": four a message, one for its text


def policy(budget: int | None) -> ContinuityPolicy:
    return ContinuityPolicy(seed=1, budget=budget)


async def three_turns(peer):
    for number in "123":
        await peer.user_turn(f"u{number}")
        await peer.audio_response(f"a{number}")
        await trio.sleep(1)  # it is heard
    await peer.reset()


def welcoming_back(*texts):
    """A server that is told of these, then has one more turn, and hears of nothing else."""

    async def script(peer):
        items = await peer.welcome_back(len(texts))
        assert [item["content"][0]["text"] for item in items] == list(texts)
        await peer.user_turn("u4")
        await peer.audio_response("a4")
        await peer.linger()

    return script


@pytest.mark.parametrize(
    ("budget", "told"),
    [
        (None, ("u1", "a1", "u2", "a2", "u3", "a3")),
        (3 * TURN, ("u1", "a1", "u2", "a2", "u3", "a3")),
        (3 * TURN - 1, ("u2", "a2", "u3", "a3")),
        (TURN, ("u3", "a3")),
        (TURN - 1, ()),
        (0, ()),
    ],
)
async def test_the_newest_whole_turns_that_fit_are_told(budget, told, autojump_clock):
    async with calling(three_turns, welcoming_back(*told), continuity=policy(budget)) as call:
        await call.until(ev.SessionRotated)
        await call.until(ev.MessageCommitted, 2)
    # What the model was not told of is history all the same.
    assert call.said == [
        (role, f"{role[0]}{number}") for number in "1234" for role in ("user", "assistant")
    ]


async def test_a_call_that_runs_is_told_and_answered_whatever_the_budget(autojump_clock):
    async def first(peer):
        await peer.user_turn("u1")
        await peer.tool_call_response(("look", {}))
        await trio.sleep(1)
        await peer.reset()

    async def second(peer):
        (item,) = await peer.welcome_back(1)
        assert item["type"] == "function_call"
        await peer.expect_tool_output(item["call_id"])
        await peer.audio_response("a1", create=await peer.expect("response.create"))
        await peer.linger()

    async def look() -> str:
        """Look."""
        await trio.sleep(5)
        return "seen"

    async with calling(first, second, tools=[look], continuity=policy(0)) as call:
        await call.until(ev.TurnCompleted, 2)
    assert [text for _, text in call.said] == ["u1", "a1"]


def test_a_budget_is_not_negative():
    assert QUICK.budget is None
    with pytest.raises(
        errors.InvalidConfig, match=r"ContinuityPolicy\.budget is -1; allowed: a whole"
    ):
        ContinuityPolicy(budget=-1)
