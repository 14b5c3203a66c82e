"""What `talk` shows: a timeline with a progress bar for people, or JSON lines for programs."""

from __future__ import annotations

from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Protocol, cast

import trio
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from meerkat_rt import codec, events
from meerkat_rt.model.conversation import AssistantMessage, AssistantTranscript, UserMessage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meerkat_rt import RealtimeSessionEvent

    from .output import Output
    from .talk import Summary

_QUIET = (
    events.OutputTextDeltaForItem,
    events.OutputAudioTranscriptDeltaForItem,
    events.OutputAudioChunk,
    events.RealtimeTranscript,
    events.RateLimitsUpdated,
    events.InputTranscriptPartial,
)


class Screen(Protocol):
    """Where the run is shown."""

    def note(self, text: str) -> None:
        """Say something about the run itself."""

    def event(self, event: RealtimeSessionEvent) -> None:
        """Show an event."""

    def step(self, text: str) -> None:
        """The next part of the scenario begins."""

    def summary(self, summary: Summary) -> None:
        """Show how it went."""


class JsonScreen:
    """Every event as one JSON line, and nothing else."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def note(self, text: str) -> None:
        """Not shown."""

    def step(self, text: str) -> None:
        """Not shown."""

    def summary(self, summary: Summary) -> None:
        """Not shown."""

    def event(self, event: RealtimeSessionEvent) -> None:
        """Print the event."""
        print(codec.dumps(event), file=self._output, flush=True)


class TimelineScreen:
    """A line an event, with the time since the start; a bar for the parts of the scenario."""

    def __init__(self, console: Console, progress: Progress, bar: TaskID) -> None:
        self._console = console
        self._progress = progress
        self._bar = bar
        self._start: float | None = None
        self._chunks = 0
        self._spoken = ""

    def _line(self, mark: str, text: str, style: str = "") -> None:
        if self._start is None:
            self._start = trio.current_time()
        seconds = trio.current_time() - self._start
        body = f"[{style}]{escape(text)}[/]" if style else escape(text)
        self._progress.console.print(f"[dim]{seconds:7.2f} s[/]  {mark}  {body}")

    def note(self, text: str) -> None:
        """Say something about the run itself."""
        self._line("·", text, "dim")

    def step(self, text: str) -> None:
        """The next part of the scenario begins."""
        self._progress.update(self._bar, advance=1, description=text)
        self._line("▶", text, "bold")

    def event(self, event: RealtimeSessionEvent) -> None:
        """Show the event; what comes many times a second is gathered into one line."""
        if isinstance(event, events.OutputAudioChunk):
            self._chunks += 1
        elif isinstance(event, events.OutputAudioTranscriptDeltaForItem):
            self._spoken += event.delta
        if isinstance(event, _QUIET):
            return
        if self._spoken and not isinstance(event, events.ToolCallFinished):
            self._line("◀", f"“{self._spoken}” ({self._chunks} chunks of speech)", "cyan")
            self._spoken, self._chunks = "", 0
        mark, text, style = describe(event)
        self._line(mark, text, style)

    def summary(self, summary: Summary) -> None:
        """Show conversation, latencies, usage, and that nothing is left."""
        show = self._progress.console.print
        show()
        table = Table(title="The canonical conversation", title_justify="left", show_header=False)
        for message in summary.transcript:
            if isinstance(message, AssistantMessage):
                text = message.text_content()
                cut = any(
                    isinstance(block, AssistantTranscript) and block.truncated
                    for block in message.blocks
                )
                table.add_row("model", escape(text) + (" [red]— cut off here[/]" if cut else ""))
            elif isinstance(message, UserMessage):
                table.add_row("user", escape(message.text_content()))
        show(table)
        if summary.latencies_ms:
            shown = ", ".join(f"{latency:.0f} ms" for latency in summary.latencies_ms)
            show(f"Turn end to first audio: {shown}")
        usage = summary.usage
        show(f"Usage: {usage.input_tokens} tokens in, {usage.output_tokens} out")
        if summary.closed is not None:
            show(f"Closed by the {summary.closed.by}" + (" after Ctrl-C" * summary.stopped))
        show(f"Left behind: {escape(summary.left_behind)}")


@contextmanager
def timeline(steps: int, output: Output) -> Iterator[TimelineScreen]:
    """A timeline screen with a progress bar of `steps` parts."""
    console = Console(file=cast("IO[str]", output), highlight=False)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield TimelineScreen(console, progress, progress.add_task("starting", total=steps))


def describe(event: RealtimeSessionEvent) -> tuple[str, str, str]:
    """Mark, words and style of one line of the timeline."""
    match event:
        case events.InputSpeechStarted():
            return "▷", "the provider hears speech", "green"
        case events.InputSpeechStopped():
            return "▷", "the speech has ended", "green"
        case events.InputTranscriptFinalForItem():
            return "▷", f"user: {event.text}", "green"
        case events.TurnCommitted():
            return "▷", "the turn is committed", "green"
        case events.ResponseStarted():
            return "◀", "the model responds", "cyan"
        case events.ToolCallRequested():
            return "⚙", f"the model calls {event.tool_name}({event.arguments})", "yellow"
        case events.ToolCallFinished():
            text = f"{event.tool_name}: {event.outcome} after {event.elapsed_ms} ms: {event.output}"
            return "⚙", text, "yellow"
        case events.Interrupted():
            return "✂", "interrupted: what was queued is dropped", "red"
        case events.AssistantTranscriptTruncated():
            heard = f"{event.audio_played_ms} ms heard: “{event.truncated_text or ''}”"
            return "✂", f"the provider cut the item, {heard}", "red"
        case events.TurnCompleted():
            return "◀", f"the response ended: {event.stop_reason}", "cyan"
        case events.MessageCommitted():
            return "✔", f"committed: {event.message.text_content()}", "magenta"
        case events.Nudged():
            return "!", f"silence for {event.waited_ms} ms: asked again", "yellow"
        case events.Stalled():
            return "!", "the model stays silent", "red"
        case events.ProviderErrorReported():
            fault = event.fault
            return "!", f"the provider reports {fault.code or fault.kind}: {fault.message}", "red"
        case events.SessionClosed():
            return "■", f"closed by the {event.reason.by}", "bold"
        case _:
            return "·", type(event).__name__, "dim"
