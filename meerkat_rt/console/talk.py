"""`talk`: the main job.  Recorded speech in, a live session, and the proof that nothing is left."""

from __future__ import annotations

import signal
import sys
from contextlib import nullcontext
from functools import partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import click
import trio

from meerkat_rt import (
    CloseReason,
    Message,
    RealtimeSessionOpenConfig,
    RealtimeTurningMode,
    SessionLlmIdentity,
    StopReason,
    SystemMessage,
    ToolSet,
    Usage,
    events,
    open_session,
)
from meerkat_rt.runtime.errors import LlmError
from meerkat_rt.testing.quiescence import quiescent_after

from .audio import Loudspeaker, Microphone
from .failures import sentences
from .output import Output, output_lost
from .providers import CHOICES, input_rate, provider_named
from .screen import JsonScreen, timeline
from .stored import going_on
from .wav import WavError, check_writable, read_wav, write_wav

if TYPE_CHECKING:
    from collections.abc import Callable

    from meerkat_rt import RealtimeSession
    from meerkat_rt.runtime.ports import RealtimeSessionFactory

    from .screen import Screen

HEARD_RATE = 24_000  # Hz; what all providers speak with
FAST = 20.0  # times faster than speech, with --fast
PATIENCE = 60.0  # seconds at most for one part of the scenario, at speaking pace
INTERRUPT_AFTER = 1.5  # seconds of an answer that are heard before the user cuts in

STEPS = 5


async def get_weather(city: str) -> dict[str, str | int]:
    """Tell the present weather in a city."""
    await trio.sleep(0.2)  # as long as asking somebody takes
    return {"city": city, "weather": "sunny", "celsius": 24}


@attrs.define(kw_only=True)
class Summary:
    """How a run went."""

    transcript: tuple[Message, ...] = ()
    usage: Usage = attrs.field(factory=Usage)
    closed: CloseReason | None = None
    latencies_ms: list[float] = attrs.field(factory=list)
    stopped: bool = False
    heard: bytearray = attrs.field(factory=bytearray)
    left_behind: str = "not checked"


class Conversation:
    """The scenario, played against one session."""

    def __init__(
        self, session: RealtimeSession, screen: Screen, summary: Summary, pace: float
    ) -> None:
        self._session = session
        self._screen = screen
        self._summary = summary
        self._pace = pace
        audio = session.capabilities.audio_input_format
        assert audio is not None  # all providers listen
        self.microphone = Microphone(session, audio.sample_rate_hz, pace)
        self.loudspeaker = Loudspeaker(session, pace, summary.heard)
        self._committed_at: float | None = None
        self._spoken_ms = 0.0  # of the newest response
        self._happened = trio.Condition()
        self._answers = 0
        self._interruptions = 0

    async def run(self, first: bytes, second: bytes) -> None:
        """Speak, be answered by way of a tool, speak again, interrupt the answer, be answered."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read)
            nursery.start_soon(self.microphone.run)
            nursery.start_soon(self.loudspeaker.run)
            self._screen.step("you speak; the model looks something up and answers")
            await self.microphone.say(first)
            await self._until(lambda: self._answers >= 1)
            await self.loudspeaker.wait_idle()
            self._screen.step("you speak again; the model gives a long answer")
            self._spoken_ms = 0.0
            await self.microphone.say(second)
            await self._until(lambda: self._spoken_ms >= INTERRUPT_AFTER * 1000)
            await trio.sleep(INTERRUPT_AFTER / self._pace)
            self._screen.step("you interrupt it in the middle of a sentence")
            await self.microphone.say(first)
            await self._until(lambda: self._interruptions >= 1)
            self._screen.step("the model answers what you cut in with")
            answered = self._answers
            await self._until(lambda: self._answers > answered)
            self._screen.step("you have heard enough, and leave")
            nursery.cancel_scope.cancel(reason="the conversation is over")

    async def _until(self, condition: Callable[[], bool]) -> None:
        with trio.fail_after(PATIENCE):
            async with self._happened:
                while not condition():
                    await self._happened.wait()

    async def _read(self) -> None:
        async for event in self._session:
            self._screen.event(event)
            async with self._happened:
                self._take(event)
                self._happened.notify_all()

    def _take(self, event: events.RealtimeSessionEvent) -> None:
        now = trio.current_time()
        match event:
            case events.TurnCommitted():
                self._committed_at = now
            case events.ResponseStarted():
                self._spoken_ms = 0.0
            case events.OutputAudioChunk():
                if self._committed_at is not None:
                    self._summary.latencies_ms.append((now - self._committed_at) * 1000)
                    self._committed_at = None
                chunk = event.chunk
                self._spoken_ms += chunk.format().duration_ms(len(chunk.data))
                self.loudspeaker.put(event)
            case events.Interrupted():
                self._interruptions += 1
                self.loudspeaker.silence(event.response_id)
            case events.TurnCompleted(stop_reason=StopReason.END_TURN):
                self._answers += 1
            case _:
                pass


async def converse(
    provider: RealtimeSessionFactory,
    identity: SessionLlmIdentity,
    screen: Screen,
    summary: Summary,
    *,
    speech: tuple[bytes, bytes],
    pace: float,
    store: Path | None,
) -> None:
    """Hold the conversation.

    Raises:
        LlmError: the session could not be opened, or failed.
    """
    config = RealtimeSessionOpenConfig(
        RealtimeTurningMode.PROVIDER_MANAGED,
        identity,
        seed_messages=[
            SystemMessage("You are a friendly guide. Answer in two or three sentences.")
        ],
    )
    kept = None
    if store is not None:
        kept, config, remembered = await going_on(store, config)
        screen.note(f"{remembered} messages are remembered from {store}")
    tools = ToolSet([get_weather])
    session = None
    try:
        async with open_session(config, provider=provider, tools=tools, store=kept) as session:
            screen.note(f"session {session.session_id} is ready")
            await Conversation(session, screen, summary, pace).run(*speech)
    finally:
        if session is not None:
            await _show_rest(session, screen)
            summary.transcript, summary.usage = session.transcript, session.usage
            summary.closed = session.closed


async def _show_rest(session: RealtimeSession, screen: Screen) -> None:
    """What was still queued, and the closing event."""
    with trio.CancelScope(shield=True, relative_deadline=1.0):  # only reads what is there
        try:
            while (event := await session.next_event()) is not None:
                screen.event(event)
        except LlmError:
            return  # it is being raised already, by whoever saw it first


async def _run(
    provider: RealtimeSessionFactory,
    identity: SessionLlmIdentity,
    screen: Screen,
    shown: Output,
    *,
    note: str,
    speech: tuple[bytes, bytes],
    pace: float,
    output: Path | None,
    store: Path | None,
) -> Summary:
    summary = Summary()
    if note:
        screen.note(note)
    with quiescent_after():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_on_interrupt, nursery.cancel_scope, summary)
            nursery.start_soon(_cancel_when_lost, nursery.cancel_scope, shown)
            await converse(
                provider, identity, screen, summary, speech=speech, pace=pace, store=store
            )
            nursery.cancel_scope.cancel(reason="the conversation is over")
    summary.left_behind = "nothing: no task, no socket, no file, no thread"
    screen.summary(summary)
    if output is not None and summary.heard:
        write_wav(output, bytes(summary.heard), HEARD_RATE)
        screen.note(f"what you heard is in {output}")
    elif output is not None:
        screen.note(f"you heard nothing, and {output} is as it was")
    return summary


async def _cancel_on_interrupt(scope: trio.CancelScope, summary: Summary) -> None:
    with trio.open_signal_receiver(signal.SIGINT) as interrupts:
        async for _ in interrupts:
            summary.stopped = True
            scope.cancel(reason="Ctrl-C")


async def _cancel_when_lost(scope: trio.CancelScope, shown: Output) -> None:
    await shown.wait_lost()
    scope.cancel(reason="standard output takes nothing more")


def _clip(name: str, rate: int) -> bytes:
    with resources.as_file(resources.files(__package__) / "data" / name) as path:
        return read_wav(path, rate).pcm


@click.command()
@click.option(
    "--provider",
    "name",
    type=click.Choice(list(CHOICES)),
    default="embedded",
    show_default=True,
    help="Who answers: a server inside this process that speaks OpenAI's or Gemini's protocol, or "
    "one of the two (they need a key).",
)
@click.option("--model", help="The model [default: the provider's newest].")
@click.option("--api-key", help="The key [env: OPENAI_API_KEY, GEMINI_API_KEY].")
@click.option("--wav", type=click.Path(path_type=Path), help="Speech of your own (WAV, 8-48 kHz).")
@click.option("--output", type=click.Path(path_type=Path), help="Write what was heard to a WAV.")
@click.option(
    "--store",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Keep the conversation in this file, and go on with the one that is there.",
)
@click.option("--json", "as_json", is_flag=True, help="Print every event as a JSON line.")
@click.option("--fast", is_flag=True, help="Do not keep the pace of speech.")
def talk(
    name: str,
    model: str | None,
    api_key: str | None,
    wav: Path | None,
    output: Path | None,
    store: Path | None,
    as_json: bool,
    fast: bool,
) -> None:
    """Hold a spoken conversation: recorded speech in, a tool call, a barge-in, a clean end."""
    pace = FAST if fast else 1.0
    try:
        provider, identity = provider_named(name, model, api_key, pace=pace)
        rate = input_rate(provider)
        recording = None if wav is None else read_wav(wav, rate)
        speech = (
            (_clip("goforward.wav", rate), _clip("something.wav", rate))
            if recording is None
            else (recording.pcm, recording.pcm)
        )
        if output is not None:
            check_writable(output)
    except (click.UsageError, WavError) as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    shown = Output()
    stopped = False
    failures: list[str] = []
    with nullcontext(JsonScreen(shown)) if as_json else timeline(STEPS, shown) as screen:
        note = "" if recording is None or not recording.note else f"{wav}: {recording.note}"
        run = partial(
            _run,
            provider,
            identity,
            screen,
            shown,
            note=note,
            speech=speech,
            pace=pace,
            output=output,
            store=store,
        )
        try:
            stopped = trio.run(run).stopped
        except* (LlmError, WavError) as group:
            failures += sentences(group)
        except* trio.TooSlowError:
            failures.append("The conversation did not go on: the provider fell silent.")
    for failure in failures:
        click.echo(failure, err=True)
    if shown.failure is not None:
        raise output_lost(shown.failure)
    if failures:
        sys.exit(1)
    if stopped:
        sys.exit(130)
