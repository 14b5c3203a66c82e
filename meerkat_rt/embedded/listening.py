"""The half of a session that listens: input audio, turns, and what was said in them.

The core of every session stands here too: ids, events to send, work to do.  `engine` is the half
that answers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from . import items as it
from .effects import Effect, Recognize, SessionLimits
from .faults import Fault
from .input_audio import IdleTimeout, InputAudio, TurnStarted, TurnStopped
from .quirks import Quirks
from .schema import sendable
from .settings import DEFAULT_VOICE, SessionKind, TurnDetection, default_session, input_format
from .transcription import failed_event, transcript_events
from .usage import Tokens

if TYPE_CHECKING:
    from .responses import ResponseRun


class Listening(ABC):
    """What a session hears; `Engine` completes it."""

    def __init__(
        self,
        *,
        kind: SessionKind,
        model: str,
        seed: str,
        expires_at: int,
        session_seconds: float = 3600.0,
        voice: str = DEFAULT_VOICE,
        hears_words: bool = False,
        quirks: Quirks | None = None,
        limits: SessionLimits | None = None,
    ) -> None:
        self.outgoing: list[dict[str, Any]] = []
        self.effects: list[Effect] = []
        self._kind = kind
        self._seed = seed
        self._expires_at = expires_at
        self._closing = False
        self._session_seconds = session_seconds
        self._hears_words = hears_words
        self._quirks = quirks or Quirks()
        self._limits = limits or SessionLimits()
        self._counts: dict[str, int] = {}
        self._session = default_session(kind, model, voice=voice)
        self._model = model
        self._session_id = self._new_id("sess")
        self._conversation = it.Conversation(
            self._new_id("conv"), audio_budget=self._limits.retained_audio_bytes
        )
        self._input = InputAudio(limit=self._limits.buffered_audio_bytes)
        self._input.configure(input_format(self._session), TurnDetection.of(self._session))
        self._turn_item_id: str | None = None  # of the turn being spoken
        self._active: ResponseRun | None = None  # the one in the conversation
        self._runs: dict[str, ResponseRun] = {}  # every response that has not ended
        self._recognizing: dict[str, bool] = {}  # item id -> whether the client wants to know
        self._held_turn: str | None = None  # quirk: its response waits for its transcription
        self._held_events: list[tuple[str, dict[str, Any]]] = []  # quirk: wait for a response's end
        self._audio_spoken = False
        self._last_prompt = Tokens()

    def _new_id(self, prefix: str) -> str:
        self._counts[prefix] = self._counts.get(prefix, 0) + 1
        return f"{prefix}_{self._seed}{self._counts[prefix]:06d}"

    def _new_item_id(self) -> str:
        # A client may have used what would be our next id.
        while (item_id := self._new_id("item")) in self._conversation:
            pass
        return item_id

    def _fresh_id(self, prefix: str) -> str:
        return self._new_item_id() if prefix == "item" else self._new_id(prefix)

    def _emit(self, kind: str, /, **fields: Any) -> None:
        event = {"type": kind, "event_id": self._new_id("event"), **fields}
        if self._quirks.obfuscation and kind.endswith(".delta"):
            event["obfuscation"] = "x" * (self._counts["event"] % 16)
        if self._quirks.unknown_fields:
            event["x_from_the_future"] = {"version": 2}
        self.outgoing.append(event)
        if self._quirks.unknown_events and self._counts["event"] % 5 == 0:
            unknown = {"type": "session.weather", "event_id": self._new_id("event"), "sky": "blue"}
            self.outgoing.append(unknown)

    def report(self, fault: Fault, *, event_id: str | None = None) -> None:
        """Tell the client about a fault; `event_id` is the client's id of the event at fault."""
        self._emit(
            "error",
            error={
                "type": fault.kind,
                "code": fault.code,
                "message": fault.message,
                "param": fault.param,
                "event_id": None if self._quirks.null_error_event_id else event_id,
            },
        )

    # What the other half does --------------------------------------------------------------------

    @abstractmethod
    def _create_response(self, overrides: dict[str, Any]) -> None: ...

    @abstractmethod
    def _cancel(self, run: ResponseRun, reason: str) -> None: ...

    @abstractmethod
    def _add_item(self, item: it.Item, previous_item_id: str | None = None) -> None: ...

    # Input audio ---------------------------------------------------------------------------------

    def _on_append(self, event: dict[str, Any]) -> None:
        self._input.append(event["audio"])

    def examine(self) -> bool:
        """Listen to the next few seconds of what was appended; whether there is more.

        At most a few milliseconds of work.
        """
        for event in self._input.examine():
            self._heard(event)
        stopped = self._input.force_stop()
        if stopped is not None:
            self._heard(stopped)
        return self._input.unexamined

    def _heard(self, event: TurnStarted | TurnStopped | IdleTimeout) -> None:
        detection = TurnDetection.of(self._session)
        match event:
            case TurnStarted(audio_start_ms):
                self._turn_item_id = self._new_item_id()
                self._emit(
                    "input_audio_buffer.speech_started",
                    audio_start_ms=audio_start_ms,
                    item_id=self._turn_item_id,
                )
                if self._active is not None and detection and detection.interrupt_response:
                    self._cancel(self._active, "turn_detected")
            case TurnStopped(audio_end_ms, audio):
                item_id = self._turn_item_id or self._new_item_id()
                self._turn_item_id = None
                self._emit(
                    "input_audio_buffer.speech_stopped", audio_end_ms=audio_end_ms, item_id=item_id
                )
                self._commit(item_id, audio)
                if detection and detection.create_response:
                    self._respond_to_turn(item_id)
            case IdleTimeout(audio_start_ms, audio_end_ms, audio):
                item_id = self._new_item_id()
                self._emit(
                    "input_audio_buffer.timeout_triggered",
                    item_id=item_id,
                    audio_start_ms=audio_start_ms,
                    audio_end_ms=audio_end_ms,
                )
                self._commit(item_id, audio)
                self._respond_to_turn(item_id)

    def _respond_to_turn(self, item_id: str) -> None:
        if self._kind == "transcription":
            return
        if self._quirks.transcription == "before" and item_id in self._recognizing:
            self._held_turn = item_id
            return
        try:
            self._create_response({})
        except Fault as fault:
            self.report(fault)

    def _on_commit(self, event: dict[str, Any]) -> None:
        audio = self._input.commit()
        item_id = self._turn_item_id or self._new_item_id()
        self._turn_item_id = None
        self._commit(item_id, audio)

    def _commit(self, item_id: str, audio: bytes) -> None:
        audio_format = self._input.format
        self._emit(
            "input_audio_buffer.committed",
            item_id=item_id,
            previous_item_id=self._conversation.last_id,
        )
        part = it.Part(
            type="input_audio",
            audio=bytearray(audio),
            format=audio_format,
            generated_bytes=len(audio),
        )
        item = it.Item(id=item_id, type="message", role="user", parts=[part])
        self._add_item(item)
        wanted = self._session["audio"]["input"]["transcription"] is not None
        if wanted or self._hears_words:
            self._recognize(item, announce=wanted)

    def _on_clear(self, event: dict[str, Any]) -> None:
        self._input.clear()
        self._turn_item_id = None
        self._emit("input_audio_buffer.cleared")

    # Transcription -------------------------------------------------------------------------------

    def _recognize(self, item: it.Item, *, announce: bool) -> None:
        for part in item.parts:
            if part.type == "input_audio" and part.audio is not None:
                self._recognizing[item.id] = announce
                samples = part.format.samples(bytes(part.audio))
                self.effects.append(
                    Recognize(
                        item_id=item.id,
                        audio=samples.astype("<i2").tobytes(),
                        sample_rate=part.format.rate,
                    )
                )
                return

    def recognized(self, item_id: str, text: str) -> None:
        """The recognizer is done with an item."""
        text = sendable(text)
        announce = self._recognizing.pop(item_id, False)
        item = self._conversation.get(item_id)
        seconds = 0.0
        if item is not None:
            for part in item.parts:
                if part.type == "input_audio":
                    seconds = part.seconds
                    part.heard = text if self._hears_words else ""
                    part.transcript = text if announce else part.transcript
        if announce:
            config = self._session["audio"]["input"]["transcription"] or {}
            for kind, fields in transcript_events(item_id, text, seconds, config.get("model")):
                self._transcription_event(kind, **fields)
        self._release_turn(item_id)

    def recognition_failed(self, item_id: str, code: str, message: str) -> None:
        """The recognizer could not make out an item."""
        if self._recognizing.pop(item_id, False):
            kind, fields = failed_event(item_id, code, message)
            self._transcription_event(kind, **fields)
        self._release_turn(item_id)

    def _transcription_event(self, kind: str, /, **fields: Any) -> None:
        if self._quirks.transcription == "after" and self._active is not None:
            self._held_events.append((kind, fields))
        else:
            self._emit(kind, **fields)

    def _release_turn(self, item_id: str) -> None:
        if self._held_turn == item_id:
            self._held_turn = None
            self._respond_to_turn(item_id)
