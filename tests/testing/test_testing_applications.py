"""Somebody's application over a session in a sweep: what is theirs is struck, the session is not.

Without any option a correct one passes, and one with a mistake does not.
"""

from __future__ import annotations

import pytest
import trio
from click.testing import CliRunner, Result

from meerkat_rt import (
    RealtimeSession,
    RealtimeSessionOpenConfig,
    RealtimeTurningMode,
    SessionLlmIdentity,
    events,
    open_session,
)
from meerkat_rt.testing import (
    Case,
    OpenAIPeer,
    Trial,
    cancel_everywhere,
    openai_on,
    openai_peer,
)
from meerkat_rt.testing.sweep.__main__ import main
from meerkat_rt.testing.trial import Scenario

CONFIG = RealtimeSessionOpenConfig(
    RealtimeTurningMode.PROVIDER_MANAGED, SessionLlmIdentity(model="gpt-realtime")
)
TONE = b"\x01\x00" * 480  # 20 ms


async def look_up(word: str) -> str:
    """Look a word up."""
    await trio.sleep(0.1)
    return f"{word} is a noun"


async def server(peer: OpenAIPeer) -> None:
    peer.skipped |= {"input_audio_buffer.append"}
    await peer.welcome()
    create = await peer.expect("response.create")
    (call,) = await peer.tool_call_response(("look_up", {"word": "meerkat"}), create=create)
    await peer.expect_tool_output(call)
    await peer.audio_response("It is a noun.", create=await peer.expect("response.create"))
    await peer.linger()


async def microphone(session: RealtimeSession) -> None:
    for _ in range(3):
        await session.send_audio(TONE)
        await trio.sleep(0.02)


async def converse(session: RealtimeSession) -> None:
    await session.create_response()
    async for event in session:
        if isinstance(event, events.AssistantTranscriptFinal):
            return


def an_application(*, leaks: bool = False, microphone_name: str = "microphone") -> Scenario:
    """One that speaks and listens; `leaks`: its microphone outlives it."""

    async def application(trial: Trial) -> None:
        wire = trial.wire()
        async with (
            trio.open_nursery() as elsewhere,
            openai_peer(wire.server, server, client_may_leave=trial.was_injected),
        ):
            with trial.region():
                provider = openai_on(wire)
                async with open_session(CONFIG, provider=provider, tools=[look_up]) as session:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(microphone, session, name=microphone_name)
                        if leaks:
                            elsewhere.start_soon(trio.sleep, 1, name="a straggler")
                        await converse(session)
            elsewhere.cancel_scope.cancel()

    return application


SOUND = [an_application()]
LEAKY = [an_application(leaks=True)]
NAMED = Case.of(an_application(), blows=("cancel(tool look_up)", "cancel(receiver)"))
WHOLE = Case.of(an_application(), spare_runtime=False)


def swept(name: str) -> Result:
    arguments = ["--processes", "1", "--quick", f"{__name__}:{name}"]
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def test_a_correct_one_passes_with_no_options() -> None:
    result = swept("SOUND")
    assert result.exit_code == 0, result.output
    assert " 0 failures" in result.output


def test_a_leak_in_it_is_found() -> None:
    result = swept("LEAKY")
    assert result.exit_code == 1
    assert "leaked task: a straggler" in result.output


def struck(scenario: Scenario, *actions: str, spare_runtime: bool = True) -> list[str]:
    report = cancel_everywhere(
        scenario, actions=actions, sample=1, repeat=1, check=False, spare_runtime=spare_runtime
    )
    return [sweep.action for sweep in report.sweeps]


def test_a_pattern_means_the_applications_own_tasks_unless_it_names_others() -> None:
    scenario = an_application()
    assert struck(scenario, "cancel(*)", "raise(*)") == [
        "cancel(microphone)",
        "raise(microphone)",
    ]
    assert struck(scenario, "cancel(*look_up)") == ["cancel(tool look_up)"]
    assert struck(scenario, "cancel(receiver)") == ["cancel(receiver)"]
    assert {"cancel(receiver)", "cancel(microphone)", "cancel(tool look_up)"} <= set(
        struck(scenario, "cancel(*)", spare_runtime=False)
    )


@pytest.mark.parametrize("name", ["receiver", "sender"])
def test_of_two_tasks_of_one_name_the_applications_is_meant(name: str) -> None:
    scenario = an_application(microphone_name=name)
    report = cancel_everywhere(
        scenario, actions=["cancel", "cancel(*)"], repeat=1, sample=6, pairs=6
    )
    sweep = report.sweeps[1]
    assert sweep.action == f"cancel({name})"
    assert 0 < sweep.eligible < report.points / 2  # it lives for a part of the session


def test_a_case_strikes_a_sessions_tasks_where_it_says_so() -> None:
    assert "WorkerLost" in swept("WHOLE").output
    named = swept("NAMED")
    assert "the receiver ended before the session" in named.output
    assert "nudge timer ended" not in named.output
