"""The conversations: what the server does, what the application does, and what came of it.

A conversation knows no provider.  What it finds out it notes, under the words of the table; notes
of one conversation may differ between providers, and its assertions must hold with all of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

import attrs
import trio

from ...model import events as ev
from ...model.client_events import Applied
from ...model.conversation import AssistantMessage, AssistantTranscript, StopReason, UserMessage
from ...model.live_config import RealtimeConfig
from ...model.media import RealtimeTextChunk, RealtimeTurningMode
from ...runtime import errors
from ...runtime.continuity_policy import ContinuityPolicy
from ...runtime.session import RealtimeSession
from ..scenarios.bodies import read_out, take
from ..scenarios.stage import EXPLICIT, PROVIDER_MANAGED
from ..scripted_peer import ScriptError
from .scenes import Scene

Note = Callable[[str, str], None]
"""Notes what came of something: its name in the table, and the entry."""

Server = Callable[[Scene, Note], Awaitable[object]]
"""What a server does on one connection."""

T = TypeVar("T")

YES, NO = "yes", "no"


@attrs.frozen(kw_only=True)
class Conversation:
    """One conversation of the suite.

    `server` has the first connection, `others` have those that follow.  The other settings are
    those of `scenarios.stage.scenario`.
    """

    name: str
    server: Server
    application: Callable[[RealtimeSession, Note], Awaitable[object]]
    mode: RealtimeTurningMode = PROVIDER_MANAGED
    tools: tuple[Any, ...] = ()
    ends: tuple[type[BaseException], ...] = ()
    spare: tuple[str, ...] = ()
    others: tuple[Server, ...] = ()
    continuity: ContinuityPolicy | None = None


SCENES: dict[str, Conversation] = {}
"""Every conversation by its name."""


def conversation(server: Server, **settings: Any) -> Callable[[Any], Any]:
    """Put the application's side of a conversation into the suite, with its server."""

    def register(application: Any) -> Any:
        name = application.__name__
        SCENES[name] = Conversation(name=name, server=server, application=application, **settings)
        return application

    return register


def tone(session: RealtimeSession, ms: int = 20) -> bytes:
    """So much sound, in the session's own format."""
    audio = session.capabilities.audio_input_format
    assert audio is not None
    return b"\x01\x00" * (audio.sample_rate_hz * ms // 1000)


def said(session: RealtimeSession) -> list[str]:
    """The texts of the canonical conversation."""
    return [
        message.text_content()
        for message in session.transcript
        if isinstance(message, UserMessage | AssistantMessage)
    ]


async def until_said(session: RealtimeSession, *texts: str) -> None:
    """Read on until the canonical conversation is this."""
    while said(session) != list(texts):
        await take(session, ev.MessageCommitted)


def only(kind: type[T], found: Iterable[object]) -> T:
    """The one thing of this kind; a server that was put off may have kept it back."""
    fitting = [each for each in found if isinstance(each, kind)]
    assert len(fitting) == 1, f"{len(fitting)} times {kind.__name__}"
    return fitting[0]


async def refused(doing: Awaitable[object]) -> str:
    """Whether something can be asked for."""
    try:
        await doing
    except errors.InvalidRequest:
        return NO
    return YES


# ---------------------------------------------------------------- turns


async def typing_server(scene: Scene, _note: Note) -> None:
    await scene.typed("hello")
    await scene.answers("Good morning.")
    await scene.linger()


@conversation(typing_server)
async def a_text_turn(session: RealtimeSession, note: Note) -> None:
    await session.send_input(RealtimeTextChunk("hello"))
    read = await take(session, ev.TurnCompleted)
    assert read[-1].stop_reason is StopReason.END_TURN
    await until_said(session, "hello", "Good morning.")
    assert session.usage.output_tokens > 0
    note("typed turn", YES)
    formats = session.capabilities
    note("audio in", str(formats.audio_input_format))
    note("audio out", str(formats.audio_output_format))
    note("modalities of an answer", ", ".join(formats.output_kinds))


async def hearing_server(scene: Scene, _note: Note) -> None:
    await scene.spoken("hello there")
    await scene.answers("Good morning.")
    await scene.linger()


@conversation(hearing_server)
async def an_audio_turn(session: RealtimeSession, note: Note) -> None:
    await session.send_audio(tone(session))
    read = await take(session, ev.TurnCompleted)
    committed = only(ev.TurnCommitted, read)
    await until_said(session, "hello there", "Good morning.")
    note("spoken turn", YES)
    note("end of a spoken turn", "inferred, or declared" if committed.inferred else "declared")


async def committed_server(scene: Scene, _note: Note) -> None:
    await scene.committed("hello there")
    await scene.answers("Good morning.")
    await scene.linger()


@conversation(committed_server, mode=EXPLICIT)
async def an_explicit_commit(session: RealtimeSession, note: Note) -> None:
    await session.send_audio(tone(session, 200))
    request = await session.commit_turn()
    await take(session, ev.TurnCompleted)
    await request.outcome()
    await until_said(session, "hello there", "Good morning.")
    note("turn committed by the application", YES)


async def keeping_server(scene: Scene, _note: Note) -> None:
    await scene.told("by the way")
    await scene.typed("hello")
    await scene.answers("Good morning.")
    await scene.linger()


@conversation(keeping_server)
async def words_that_are_not_answered(session: RealtimeSession, note: Note) -> None:
    await session.send_text("by the way")
    await session.send_input(RealtimeTextChunk("hello"))
    await take(session, ev.TurnCompleted)
    await until_said(session, "by the way", "hello", "Good morning.")
    note("text that asks for nothing", YES)


# ---------------------------------------------------------------- tools


async def look_up(name: str) -> str:
    """Look something up."""
    if name == "nothing":
        raise LookupError("there is nothing")
    return name.upper()


async def calling_server(scene: Scene, note: Note) -> None:
    await scene.typed("look them up")
    good, bad = await scene.calls(("look_up", {"name": "it"}), ("look_up", {"name": "nothing"}))
    outputs, asked = await scene.outcomes([good, bad])
    if "IT" not in outputs[good] or "there is nothing" not in outputs[bad]:
        raise ScriptError(f"the outcomes are {outputs}")
    note("who lets the model go on", "the runtime" if asked else "the provider")
    await scene.answers("Done.")
    await scene.linger()


@conversation(calling_server, tools=(look_up,), spare=("tool look_up",))
async def a_tool_turn_with_parallel_calls(session: RealtimeSession, note: Note) -> None:
    await session.send_input(RealtimeTextChunk("look them up"))
    read = await take(session, ev.TurnCompleted, ev.TurnCompleted)
    outcomes = [event.outcome for event in read if isinstance(event, ev.ToolCallFinished)]
    assert sorted(outcomes) == ["error", "result"]
    first, second = (event for event in read if isinstance(event, ev.TurnCompleted))
    assert (first.stop_reason, second.stop_reason) == (StopReason.TOOL_USE, StopReason.END_TURN)
    note("parallel tool calls", YES)


# ---------------------------------------------------------------- interruptions


async def interrupted_server(scene: Scene, _note: Note) -> None:
    await scene.typed("tell me")
    await scene.begins("A long story about meerkats", ms=400)
    await trio.sleep(0.2)
    await scene.is_interrupted()
    await scene.linger()


@conversation(interrupted_server)
async def a_barge_in(session: RealtimeSession, note: Note) -> None:
    await session.send_input(RealtimeTextChunk("tell me"))
    (*_, chunk) = await take(session, ev.OutputAudioChunk)
    await trio.sleep(0.1)
    session.playback.report(chunk.item_id, chunk.content_index or 0, 200)
    read = await take(session, ev.Interrupted, ev.TurnCompleted)
    assert read[-1].stop_reason is StopReason.CANCELLED
    await session.aclose()
    await read_out(session)
    answer = only(AssistantMessage, session.transcript[-1:])
    block = only(AssistantTranscript, answer.blocks)
    assert block.truncated
    assert "meerkats" not in block.text
    note("barge-in by voice", YES)
    cut = session.capabilities.truncate_supported
    note("what was not heard is cut", "there too" if cut else "here; the provider estimates")


async def stopped_server(scene: Scene, note: Note) -> None:
    await scene.typed("tell me")
    await scene.begins("A long story about meerkats")
    told = await scene.is_stopped()
    note("interrupt(), where the provider hears the user", "stops it" if told else "mutes it")
    await scene.linger()


@conversation(stopped_server)
async def an_interruption_by_the_application(session: RealtimeSession, note: Note) -> None:
    await session.send_input(RealtimeTextChunk("tell me"))
    await take(session, ev.OutputAudioChunk)
    await session.interrupt()
    read = await take(session, ev.Interrupted, ev.TurnCompleted)
    assert read[-1].stop_reason is StopReason.CANCELLED
    after = [event for event in read[read.index(_first(read)) :] if _is_sound(event)]
    assert after == []


def _first(read: list[Any]) -> Any:
    return next(event for event in read if isinstance(event, ev.Interrupted))


def _is_sound(event: object) -> bool:
    return isinstance(event, ev.OutputAudioChunk | ev.OutputAudioTranscriptDeltaForItem)


async def stopped_by_hand_server(scene: Scene, note: Note) -> None:
    await scene.committed("tell me")
    await scene.begins("A long story about meerkats")
    told = await scene.is_stopped()
    note("interrupt(), where the application commits", "stops it" if told else "mutes it")
    await scene.linger()


@conversation(stopped_by_hand_server, mode=EXPLICIT)
async def an_interruption_where_the_application_commits(
    session: RealtimeSession, note: Note
) -> None:
    await session.send_audio(tone(session, 200))
    await session.commit_turn()
    await take(session, ev.OutputAudioChunk)
    await session.interrupt()
    await take(session, ev.Interrupted, ev.TurnCompleted)


# ---------------------------------------------------------------- what can be asked for


async def changing_server(scene: Scene, _note: Note) -> None:
    await scene.changes()
    await scene.linger()


@conversation(changing_server)
async def a_mutation(session: RealtimeSession, note: Note) -> None:
    config = RealtimeConfig(instruction="Be brief.")
    outcome = await session.mutate_context(config)
    if outcome == Applied():
        note("other instructions in a live session", "applied")
    else:
        assert outcome.config.instruction == "Be brief."  # type: ignore[union-attr]
        note("other instructions in a live session", "take a new one")


async def asked_server(scene: Scene, _note: Note) -> None:
    await scene.typed("hello")
    await scene.answers("Good morning to you all.")
    await scene.linger()


@conversation(asked_server)
async def what_can_be_asked_for(session: RealtimeSession, note: Note) -> None:
    await session.send_input(RealtimeTextChunk("hello"))
    (*_, chunk) = await take(session, ev.OutputAudioChunk)
    await take(session, ev.TurnCompleted)
    cut = session.truncate_assistant_output(chunk.item_id, chunk.content_index or 0, 40)
    note("truncate_assistant_output()", await refused(cut))
    note("clear_audio()", await refused(session.clear_audio()))
    note("commit_audio()", await refused(session.commit_audio()))
    note("create_response()", await refused(session.create_response()))
    special = session.create_response(instructions="Whisper.")
    note("instructions of a single response", await refused(special))
    note("nudges of a silent model", YES if session.capabilities.nudge_supported else NO)


# ---------------------------------------------------------------- other connections

POLICY = ContinuityPolicy(seed=1)


async def dropping_server(scene: Scene, _note: Note) -> None:
    await scene.typed("hello")
    await scene.answers("Good morning.")
    await scene.remembers()
    await trio.sleep(5)
    await scene.drops()


async def taking_server(scene: Scene, _note: Note) -> None:
    await scene.goes_on(2)
    await scene.typed("again")
    await scene.answers("Once more.")
    await scene.linger()


@conversation(dropping_server, others=(taking_server,), continuity=POLICY)
async def a_drop(session: RealtimeSession, note: Note) -> None:
    await session.send_input(RealtimeTextChunk("hello"))
    read = await take(session, ev.Reconnecting, ev.SessionRotated)
    assert session.is_connected
    await session.send_input(RealtimeTextChunk("again"))
    await take(session, ev.TurnCompleted)
    await until_said(session, "hello", "Good morning.", "again", "Once more.")
    restored = read[-1].state_restored
    note("a connection that is lost", "resumed" if restored else "a new session, told everything")


async def left_server(scene: Scene, _note: Note) -> None:
    await scene.typed("hello")
    await scene.answers("Good morning.")
    await scene.remembers()
    await scene.is_left()


async def changed_server(scene: Scene, note: Note) -> None:
    instruction = await scene.goes_on(2)
    if instruction != "Be brief.":
        raise ScriptError(f"the instruction is {instruction!r}")
    await scene.typed("again")
    await scene.answers("Yes.")
    await scene.linger()


@conversation(left_server, others=(changed_server,))
async def a_resumption(session: RealtimeSession, note: Note) -> None:
    await session.send_input(RealtimeTextChunk("hello"))
    await take(session, ev.TurnCompleted)
    await session.resume_with(RealtimeConfig(instruction="Be brief."))
    await session.send_input(RealtimeTextChunk("again"))
    await take(session, ev.SessionRotated, ev.TurnCompleted)
    await until_said(session, "hello", "Good morning.", "again", "Yes.")
    note("resume_with()", YES)


# ---------------------------------------------------------------- errors


async def failing_server(scene: Scene, _note: Note) -> None:
    await scene.reports("something went wrong")
    await scene.typed("hello")
    await scene.answers("Good morning.")
    await scene.linger()


@conversation(failing_server)
async def an_error_that_ends_nothing(session: RealtimeSession, note: Note) -> None:
    read = await take(session, ev.ProviderErrorReported)
    assert read[-1].fault.message == "something went wrong"
    await session.send_input(RealtimeTextChunk("hello"))
    await take(session, ev.TurnCompleted)
    note("a reported error", "an event")


async def closing_server(scene: Scene, _note: Note) -> None:
    await scene.typed("hello")
    await scene.begins("Good")
    await scene.close(1011, "Internal error encountered.")


@conversation(closing_server, ends=(errors.ServerError,))
async def an_error_that_ends_the_session(session: RealtimeSession, note: Note) -> None:
    await session.send_input(RealtimeTextChunk("hello"))
    try:
        await read_out(session)
    except errors.LlmError as error:
        note("a connection that the provider ends", f"`{type(error).__name__}`")
        raise
    raise AssertionError("it ended cleanly")
