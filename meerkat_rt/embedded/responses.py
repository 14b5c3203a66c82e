"""One response: what it streams, in what order, and how it ends.

Pure and paced from outside: `advance` emits the next piece and says how long it takes to say.
Whatever ends a response early closes what is open with the same events in the same order as a
normal end. Source: the captured event order of the Realtime service.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import pybase64

from .brain import Call, Say
from .delivery import WORD_SECONDS, spoken, written
from .items import Conversation, Item, Part
from .quirks import Quirks
from .schema import sendable
from .settings import ResponseSettings
from .usage import OUTPUT_AUDIO_RATE, Tokens, prompt_tokens, text_tokens, usage
from .voice import speak

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .brain import Reply

ARGUMENT_PIECE = 12  # characters of a call's arguments in one delta


class Emit(Protocol):
    """Sends one event."""

    def __call__(self, kind: str, /, **fields: Any) -> None: ...


class _BudgetSpent(Exception):
    """`max_output_tokens` is reached."""


@attrs.define(kw_only=True)
class _Open:
    """The item that is being streamed."""

    item: Item
    index: int
    part: Part | None = None
    text: str = ""  # streamed so far: words, or a call's arguments


@attrs.define(kw_only=True)
class ResponseRun:
    """A response from its creation to `response.done`."""

    id: str
    settings: ResponseSettings
    context: tuple[Item, ...]
    conversation: Conversation
    in_conversation: bool
    emit: Emit
    new_id: Callable[[str], str]
    quirks: Quirks
    cache: Tokens  # the prompt of the response before
    on_audio: Callable[[ResponseRun], None]
    on_end: Callable[[ResponseRun], None]
    status: str = "in_progress"
    audio_ms: float = 0.0  # generated so far
    audio_began_ms: float | None = None  # position of the input when the first audio went out
    prompt: Tokens = attrs.field(factory=Tokens)
    output_tokens: Tokens = attrs.field(factory=Tokens)
    _output: list[Item] = attrs.field(factory=list, init=False)
    _open: _Open | None = attrs.field(default=None, init=False)
    _script: Iterator[float] | None = attrs.field(default=None, init=False)
    _half_sample: bytes = attrs.field(default=b"", init=False)

    @property
    def ended(self) -> bool:
        """Whether `response.done` has been sent."""
        return self.status != "in_progress"

    def begin(self) -> None:
        """Announce the response."""
        self.prompt = prompt_tokens(self.context, self.settings.instructions, self.settings.tools)
        if not self.quirks.done_without_created:
            self.emit("response.created", response=self._wire(None, None))

    def answer(self, replies: Sequence[Reply]) -> None:
        """Take what the brain wants to say; `advance` then streams it."""
        self._script = self._play(replies)

    def advance(self) -> float | None:
        """Stream the next piece; how many seconds it lasts, or None when the response has ended."""
        if self.ended or self._script is None:
            return None
        try:
            return next(self._script)
        except StopIteration:
            self._end("completed", None)
        except _BudgetSpent:
            self.end_early("incomplete", {"type": "incomplete", "reason": "max_output_tokens"})
        return None

    def end_early(self, status: str, details: dict[str, Any]) -> None:
        """Close what is open as incomplete and end; nothing happens if it has ended already."""
        if self.ended:
            return
        self._script = None
        self._close_item("incomplete")
        self._end(status, details)

    def _end(self, status: str, details: dict[str, Any] | None) -> None:
        self.status = status
        self._script = None
        cached = self.prompt.cached_from(self.cache)
        self.emit(
            "response.done",
            response=self._wire(details, usage(self.prompt, cached, self.output_tokens)),
        )
        self.on_end(self)

    def _wire(
        self, details: dict[str, Any] | None, tokens: dict[str, Any] | None
    ) -> dict[str, Any]:
        settings = self.settings
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": self.status,
            "status_details": details,
            "output": [item.wire() for item in self._output],
            "conversation_id": self.conversation.id if self.in_conversation else None,
            "output_modalities": [settings.modality],
            "max_output_tokens": settings.max_output_tokens,
            "audio": {"output": {"format": settings.format.wire, "voice": settings.voice}},
            "usage": tokens,
            "metadata": settings.metadata,
        }

    def _play(self, replies: Sequence[Reply]) -> Iterator[float]:
        for reply in replies:
            match reply:
                case Say(text) if self.settings.modality == "audio":
                    yield from self._speak(sendable(text))
                case Say(text):
                    yield from self._write(sendable(text))
                case Call(name, arguments):
                    given = arguments if isinstance(arguments, str) else json.dumps(arguments)
                    yield from self._call(sendable(name), sendable(given))
            self._close_item("completed")

    def _write(self, text: str) -> Iterator[float]:
        streaming, part = self._open_message("output_text")
        for piece in written(text):
            self._spend(Tokens(text=text_tokens(piece)))
            streaming.text += piece
            part.text = streaming.text
            self._emit_part("response.output_text.delta", streaming, delta=piece)
            yield WORD_SECONDS

    def _speak(self, text: str) -> Iterator[float]:
        settings = self.settings
        audio_format = settings.format
        streaming, part = self._open_message("output_audio")
        utterance = speak(text, voice=settings.voice, rate=audio_format.rate, speed=settings.speed)
        for words, samples in spoken(utterance):
            for word in words:
                self._spend(Tokens(text=text_tokens(word.text)))
                streaming.text += word.text
                if not streaming.item.truncated:
                    part.transcript = streaming.text
                self._emit_part(
                    "response.output_audio_transcript.delta", streaming, delta=word.text
                )
            seconds = len(samples) / audio_format.rate
            self._spend(Tokens(audio=max(round(seconds * OUTPUT_AUDIO_RATE), 1)))
            self._send_audio(streaming, part, audio_format.encode(samples), seconds)
            yield seconds

    def _send_audio(self, streaming: _Open, part: Part, data: bytes, seconds: float) -> None:
        self.audio_ms += seconds * 1000
        if self.audio_began_ms is None:
            self.on_audio(self)
        if not streaming.item.truncated:
            part.generated_bytes += len(data)
            if part.audio is not None:
                part.audio += data
        if self.quirks.odd_audio_deltas:
            data = self._half_sample + data
            keep = 1 - len(data) % 2
            self._half_sample = data[len(data) - keep :]
            data = data[: len(data) - keep]
        self._emit_audio(streaming, data)

    def _emit_audio(self, streaming: _Open, data: bytes) -> None:
        encoded = pybase64.b64encode(data).decode("ascii")
        self._emit_part("response.output_audio.delta", streaming, delta=encoded)

    def _call(self, name: str, text: str) -> Iterator[float]:
        call = Item(
            id=self.new_id("item"),
            type="function_call",
            status="in_progress",
            extra={"name": name, "call_id": self.new_id("call"), "arguments": ""},
        )
        streaming = self._open_item(call)
        for start in range(0, len(text), ARGUMENT_PIECE):
            piece = text[start : start + ARGUMENT_PIECE]
            self._spend(Tokens(text=text_tokens(piece)))
            streaming.text += piece
            call.extra["arguments"] = streaming.text
            self.emit(
                "response.function_call_arguments.delta",
                response_id=self.id,
                item_id=call.id,
                output_index=streaming.index,
                call_id=call.extra["call_id"],
                delta=piece,
            )
            yield WORD_SECONDS

    def _spend(self, tokens: Tokens) -> None:
        budget = self.settings.max_output_tokens
        if isinstance(budget, int) and self.output_tokens.total + tokens.total > budget:
            raise _BudgetSpent
        self.output_tokens += tokens

    def _open_message(self, kind: str) -> tuple[_Open, Part]:
        item = Item(id=self.new_id("item"), type="message", role="assistant", status="in_progress")
        streaming = self._open_item(item)
        if kind == "output_audio":
            part = Part(type=kind, transcript="", audio=bytearray(), format=self.settings.format)
        else:
            part = Part(type=kind, text="")
        item.parts.append(part)
        streaming.part = part
        self._emit_part("response.content_part.added", streaming, part=_part_wire(kind, ""))
        return streaming, part

    def _open_item(self, item: Item) -> _Open:
        streaming = _Open(item=item, index=len(self._output))
        self._open = streaming
        self._output.append(item)
        self.emit(
            "response.output_item.added",
            response_id=self.id,
            output_index=streaming.index,
            item=item.wire(),
        )
        if self.in_conversation:
            previous = self.conversation.last_id
            self.conversation.insert(item)
            self.emit("conversation.item.added", previous_item_id=previous, item=item.wire())
        return streaming

    def _close_item(self, status: str) -> None:
        streaming = self._open
        if streaming is None:
            return
        self._open = None
        item, part = streaming.item, streaming.part
        item.status = status
        if part is None:
            self.emit(
                "response.function_call_arguments.done",
                response_id=self.id,
                item_id=item.id,
                output_index=streaming.index,
                call_id=item.extra["call_id"],
                name=item.extra["name"],
                arguments=streaming.text,
            )
        else:
            if part.type == "output_audio":
                if self._half_sample:
                    self._emit_audio(streaming, self._half_sample)
                    self._half_sample = b""
                self._emit_part("response.output_audio.done", streaming)
                self._emit_part(
                    "response.output_audio_transcript.done", streaming, transcript=streaming.text
                )
            else:
                self._emit_part("response.output_text.done", streaming, text=streaming.text)
            self._emit_part(
                "response.content_part.done", streaming, part=_part_wire(part.type, streaming.text)
            )
        self._emit_done(streaming)

    def _emit_done(self, streaming: _Open) -> None:
        item = streaming.item
        events: list[tuple[str, dict[str, Any]]] = []
        # A client may have deleted the item while it was streamed.
        if self.in_conversation and item.id in self.conversation:
            previous = self.conversation.previous_id(item.id)
            item_done = {"previous_item_id": previous, "item": item.wire()}
            events.append(("conversation.item.done", item_done))
        output_done = {
            "response_id": self.id,
            "output_index": streaming.index,
            "item": item.wire(),
        }
        events.append(("response.output_item.done", output_done))
        if self.quirks.swapped_done_order:
            events.reverse()
        for kind, fields in events:
            self.emit(kind, **fields)

    def _emit_part(self, kind: str, streaming: _Open, **fields: Any) -> None:
        self.emit(
            kind,
            response_id=self.id,
            item_id=streaming.item.id,
            output_index=streaming.index,
            content_index=0,
            **fields,
        )


def _part_wire(kind: str, text: str) -> dict[str, Any]:
    # Content parts are called "audio" and "text" here, and output_audio and output_text inside
    # items.
    if kind == "output_audio":
        return {"type": "audio", "transcript": text}
    return {"type": "text", "text": text}
