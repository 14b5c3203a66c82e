"""The half of a Gemini session that listens: realtime input, the user's turns, their words.

The core of a session stands here too: messages to send, work to do, the configuration.  `engine` is
the half that answers.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from ..audio import AudioFormat
from ..brain import BrainMessage
from ..effects import Close, Effect, Recognize, SessionLimits
from ..input_audio import InputAudio, TurnStarted, TurnStopped
from ..schema import sendable
from .history import History, remembered
from .proto import invalid
from .schema import MOST_AUDIO_BYTES
from .wire import Message, offset

if TYPE_CHECKING:
    from ..input_audio import InputEvent
    from .setup import Setup
    from .wire import Terms

DEFAULT_RATE = 16_000  # Hz
RATES = (8_000, 48_000)  # Hz; the lowest and the highest that are taken
MOST_TYPED = 64 * 1024  # characters of text that wait for the end of an activity
_PCM = re.compile(
    r"audio/(?:pcm|l16)\s*(?:;\s*(?:rate=([0-9]{1,6})|[^;=]*=[^;]*)\s*)*", re.IGNORECASE
)
_IMAGE = re.compile(r"image/(?:jpeg|png|webp)", re.IGNORECASE)


class Hearing(ABC):
    """What a session hears; `GeminiEngine` completes it."""

    def __init__(self, terms: Terms, limits: SessionLimits) -> None:
        self.outgoing: list[Message] = []
        self.effects: list[Effect] = []
        self._terms = terms
        self._setup: Setup | None = None
        self._closed = False
        self._sent = 0
        self._history = History()
        self._input = InputAudio(limit=limits.buffered_audio_bytes)
        self._activity = False  # the client's activity is open
        self._typed: list[str] = []  # realtime text that waits for the activity's end
        self._recognizing: set[str] = set()
        self._held: list[Message] = []  # quirk: waits for the end of the model's turn
        self._turns = 0

    # ---------------------------------------------------------------- what the other half does

    @abstractmethod
    def _interrupt(self) -> None:
        """Stop the model, if it is doing anything."""

    @abstractmethod
    def _respond(self) -> None:
        """The model answers: now, or when it is done with what it is doing."""

    @property
    @abstractmethod
    def _answering(self) -> bool: ...

    # ---------------------------------------------------------------- the core

    @property
    def _session(self) -> Setup:
        assert self._setup is not None
        return self._setup

    def _send(self, message: Message) -> None:
        if self._closed:
            return
        self._sent += 1
        if self._terms.quirks.unknown_fields:
            message = {**message, "xFromTheFuture": {"version": 2}}
        self.outgoing.append(message)
        if self._terms.quirks.unknown_events and self._sent % 5 == 0:
            self.outgoing.append({"weatherReport": {"sky": "blue"}})

    def _content(self, content: Message) -> None:
        self._send({"serverContent": content})

    def _close(self, code: int, reason: str) -> None:
        if not self._closed:
            self._closed = True
            self.effects.append(Close(code=code, reason=sendable(reason)))

    # ---------------------------------------------------------------- realtime input

    def _on_realtime_input(self, body: Message) -> None:
        if len(body) != 1:
            told = ", ".join(body) or "none"
            raise invalid(
                f"Request contains an invalid argument: realtime_input has one field, not {told}."
            )
        ((name, value),) = body.items()
        match name:
            case "audio":
                self._on_audio(value)
            case "video":
                self._on_video(value)
            case "mediaChunks":
                if not self._session.takes_media_chunks:
                    raise invalid("realtime_input.media_chunks is deprecated. Use audio, video.")
                for blob in value:
                    is_image = _IMAGE.fullmatch(blob.get("mimeType", ""))
                    (self._on_video if is_image else self._on_audio)(blob)
            case "text":
                self._on_text(value)
            case "activityStart":
                self._on_activity_start()
            case "activityEnd":
                self._on_activity_end()
            case _:
                self._on_audio_stream_end(ended=value)

    def _on_audio(self, blob: Message) -> None:
        mime_type, data = blob.get("mimeType", ""), blob.get("data", b"")
        pcm = _PCM.fullmatch(mime_type)
        if pcm is None:
            raise invalid(f'Unsupported mime type for realtime audio: "{mime_type[:40]}"')
        rate = DEFAULT_RATE if pcm[1] is None else int(pcm[1])
        if not RATES[0] <= rate <= RATES[1]:
            raise invalid(f"Unsupported sample rate: {rate}")
        if len(data) > MOST_AUDIO_BYTES:
            raise invalid(f"realtime_input.audio: at most {MOST_AUDIO_BYTES} bytes are allowed.")
        if rate != self._input.format.rate:
            self._set_format(rate)
        if self._session.detection is not None or self._activity:
            self._input.append(data)

    def _set_format(self, rate: int) -> None:
        audio_format = AudioFormat(name="audio/pcm", rate=rate, width=2)
        self._input.configure(audio_format, self._session.detection)

    def _on_video(self, blob: Message) -> None:
        """A picture costs tokens; nobody here looks at it."""
        mime_type = blob.get("mimeType", "")
        if not _IMAGE.fullmatch(mime_type):
            raise invalid(f'Unsupported mime type for realtime video: "{mime_type[:40]}"')
        self._history.add(remembered(BrainMessage(role="user", text=""), images=1))

    def _on_text(self, text: str) -> None:
        if self._session.detection is None:
            self._typed.append(text)
            if sum(map(len, self._typed)) > MOST_TYPED:
                raise invalid("realtime_input.text: too much text in one activity.")
            return
        if self._session.interrupts:
            self._interrupt()
        self._history.add(remembered(BrainMessage(role="user", text=text)))
        self._respond()

    def _on_activity_start(self) -> None:
        if self._session.detection is not None:
            raise invalid(
                "Explicit activity control is not supported when automatic activity detection is "
                "enabled."
            )
        self._activity = True
        self._began()

    def _on_activity_end(self) -> None:
        if not self._activity:
            raise invalid("activity_end was sent without an activity_start.")
        self._activity = False
        audio = self._input.take()
        typed, self._typed = "\n".join(self._typed), []
        if audio:
            self._add_speech(audio)
        if typed:
            self._history.add(remembered(BrainMessage(role="user", text=typed)))
        if audio or typed:
            self._respond()

    def _on_audio_stream_end(self, *, ended: bool) -> None:
        if self._session.detection is None:
            raise invalid(
                "audio_stream_end is only supported when automatic activity detection is enabled."
            )
        stopped = self._input.stop() if ended else None
        if stopped is not None:
            self._heard(stopped)

    # ---------------------------------------------------------------- the user's turns

    @property
    def _speaking(self) -> bool:
        """The user is in the middle of something."""
        return self._activity or self._input.speaking

    def examine(self) -> bool:
        """Listen to the next few seconds of the audio; whether there is more."""
        if self._closed:
            return False
        for event in self._input.examine():
            self._heard(event)
        stopped = self._input.force_stop()
        if stopped is not None:
            self._heard(stopped)
        return self._input.unexamined

    def _heard(self, event: InputEvent) -> None:
        match event:
            case TurnStarted(audio_start_ms):
                self._tell_activity("START", audio_start_ms)
                self._began()
            case TurnStopped(audio_end_ms, audio):
                self._tell_activity("END", audio_end_ms)
                self._add_speech(audio)
                self._respond()
            case _:
                pass  # nobody is asked again for being silent here

    def _began(self) -> None:
        if self._session.interrupts:
            self._interrupt()

    def _tell_activity(self, which: str, at_ms: int) -> None:
        if self._session.signals_vad:
            kind = "SOS" if which == "START" else "EOS"
            self._send(
                {"voiceActivityDetectionSignal": {"vadSignalType": f"VAD_SIGNAL_TYPE_{kind}"}}
            )
        elif self._session.tells:
            activity = {"type": f"ACTIVITY_{which}", "audioOffset": offset(at_ms)}
            self._send({"voiceActivity": activity})

    def _add_speech(self, audio: bytes) -> None:
        self._turns += 1
        turn_id = f"user_{self._turns}"
        audio_format = self._input.format
        seconds = audio_format.milliseconds(len(audio)) / 1000
        message = BrainMessage(role="user", text="", speech_seconds=seconds)
        self._history.add(remembered(message, id=turn_id))
        if self._session.transcribes_input or self._terms.hears_words:
            self._recognizing.add(turn_id)
            self.effects.append(
                Recognize(item_id=turn_id, audio=audio, sample_rate=audio_format.rate)
            )

    # ---------------------------------------------------------------- their words

    def recognized(self, item_id: str, text: str) -> None:
        """The recognizer is done with a turn."""
        text = sendable(text)
        self._recognizing.discard(item_id)
        if self._terms.hears_words:
            self._history.heard(item_id, text)
        if self._setup is None or not self._setup.transcribes_input or not text:
            return
        words = text.split(" ")
        for index, word in enumerate(words):
            said: Message = {"text": word if index == 0 else f" {word}"}
            if self._setup.tells and index == len(words) - 1:
                said["finished"] = True
            self._transcription({"serverContent": {"inputTranscription": said}})

    def _transcription(self, message: Message) -> None:
        if self._terms.quirks.transcription == "after" and self._answering:
            self._held.append(message)
        else:
            self._send(message)

    def _release(self) -> None:
        """The model's turn is over."""
        held, self._held = self._held, []
        for message in held:
            self._send(message)

    def recognition_failed(self, item_id: str, code: str, message: str) -> None:
        """The recognizer could not make out a turn; this protocol does not tell."""
        self._recognizing.discard(item_id)
