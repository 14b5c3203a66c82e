"""One turn of the model's: what it streams, what of it was heard, and how it ends.

Pure and paced from outside, like `responses`: `advance` sends the next piece and says how long that
takes.  The turn of a spoken answer goes on after everything was generated, for as long as a client
is assumed to play it: `turnComplete` comes then, and an interruption until then cuts the answer off
at what was played.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from typing import TYPE_CHECKING, Any

import attrs
import pybase64

from ..brain import Call, Say
from ..delivery import CHUNK_SECONDS, WORD_SECONDS, spoken, written
from ..quirks import Quirks
from ..schema import sendable
from ..usage import Tokens, text_tokens
from ..voice import speak
from .history import AUDIO_RATE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..brain import Reply

RATE = 24_000  # Hz of what the model says
_HALVES = 2  # quirk: messages that one chunk's audio is cut into


class Phase(Enum):
    """What a turn is doing."""

    THINKING = "thinking"
    GENERATING = "generating"
    WAITING = "waiting for tools"
    PLAYING = "playing"


class _BudgetSpent(Exception):
    """`maxOutputTokens` is reached."""


@attrs.define(kw_only=True)
class ModelTurn:
    """A turn from its request to its end.

    `id` is by which the brain's work for it goes.  `content` sends one `serverContent`; `calls`
    sends the calls of an answer and says whether the model waits for them.  `share` is how much of
    a piece's time a client spends playing that piece, at the pace at which it is sent.
    """

    id: str
    prompt: Tokens
    modality: str
    voice: str
    transcribes: bool
    tells: bool
    budget: int | None
    share: float
    quirks: Quirks
    content: Callable[[dict[str, Any]], None]
    calls: Callable[[list[Call]], bool]
    phase: Phase = Phase.THINKING
    begun: bool = False  # something was sent
    output: Tokens = attrs.field(factory=Tokens)
    reason: str | None = None  # why it ends, where that is not as usual
    _words: list[tuple[str, float]] = attrs.field(factory=list, init=False)  # with their times
    _generated: float = attrs.field(default=0.0, init=False)  # seconds
    _played: float = attrs.field(default=0.0, init=False)  # seconds
    _step: float = attrs.field(default=0.0, init=False)  # seconds that the last piece takes
    _told: float = attrs.field(default=0.0, init=False)  # seconds that the history has
    _script: Iterator[float] | None = attrs.field(default=None, init=False)

    def answer(self, replies: Sequence[Reply]) -> None:
        """Take what the brain wants to say and call; `advance` then streams it."""
        self.phase = Phase.GENERATING
        self._script = self._play(replies)

    def advance(self) -> float | None:
        """Send the next piece; the seconds that it takes, or None when there is no more for now."""
        if self._script is None:
            return None
        # What the last piece took has passed by now.
        self._played = min(self._played + self._step * self.share, self._generated)
        seconds = next(self._script, None)
        self._step = seconds or 0.0
        return seconds

    def take_said(self) -> tuple[str, float]:
        """All words since this was last asked, and the seconds that they take."""
        words, self._words = self._words, []
        seconds, self._told = self._generated - self._told, self._generated
        return "".join(word for word, _ in words), seconds

    def take_heard(self) -> tuple[str, float]:
        """The same of what a client has played; the rest is forgotten."""
        if self.modality == "text":
            return self.take_said()
        played = self._played
        text = "".join(word for word, start in self._words if start < played)
        self._words, seconds = [], max(played - self._told, 0.0)
        return text, seconds

    # ---------------------------------------------------------------- streaming

    def _play(self, replies: Sequence[Reply]) -> Iterator[float]:
        try:
            yield from self._stream(replies)
        except _BudgetSpent:
            calls = []
        else:
            calls = [reply for reply in replies if isinstance(reply, Call)]
        self._finish_words()
        if calls:
            self.begun = True
            if self.calls(calls):
                self.phase = Phase.WAITING
                return
        self.phase = Phase.PLAYING
        self._send({"generationComplete": True})
        while (rest := self._generated - self._played) > 0.001 and self.share < 1:
            yield min(rest, CHUNK_SECONDS) / self.share

    def _stream(self, replies: Sequence[Reply]) -> Iterator[float]:
        if self.quirks.thoughts:
            thought = {"text": "The user wants an answer.", "thought": True}
            self._send({"modelTurn": {"role": "model", "parts": [thought]}})
        for reply in replies:
            match reply:
                case Say(text) if self.modality == "audio":
                    yield from self._speak(sendable(text))
                case Say(text):
                    yield from self._write(sendable(text))
                case _:
                    pass  # calls follow what is said

    def _write(self, text: str) -> Iterator[float]:
        for piece in written(text):
            self._spend(Tokens(text=text_tokens(piece)))
            self._words.append((piece, self._generated))
            self._send({"modelTurn": {"role": "model", "parts": [{"text": piece}]}})
            yield WORD_SECONDS

    def _speak(self, text: str) -> Iterator[float]:
        base = self._generated
        utterance = speak(text, voice=self.voice, rate=RATE)
        for words, samples in spoken(utterance):
            seconds = len(samples) / RATE
            self._spend(Tokens(audio=max(round(seconds * AUDIO_RATE), 1)))
            for word in words:
                self._words.append((word.text, base + word.start))
                if self.transcribes:
                    self._send({"outputTranscription": {"text": word.text}})
            self._generated += seconds
            self._send_audio(samples.astype("<i2").tobytes())
            yield seconds

    def _send_audio(self, data: bytes) -> None:
        cut = len(data) // _HALVES | 1  # odd
        pieces = [data[:cut], data[cut:]] if self.quirks.odd_audio_deltas else [data]
        for piece in pieces:
            encode = (
                pybase64.urlsafe_b64encode if self.quirks.urlsafe_base64 else pybase64.b64encode
            )
            blob = {"mimeType": f"audio/pcm;rate={RATE}", "data": encode(piece).decode()}
            self._send({"modelTurn": {"role": "model", "parts": [{"inlineData": blob}]}})

    def _finish_words(self) -> None:
        if self.transcribes and self.tells and self.modality == "audio" and self._words:
            self._send({"outputTranscription": {"finished": True}})

    def _send(self, content: dict[str, Any]) -> None:
        self.begun = True
        self.content(content)

    def spend(self, tokens: Tokens) -> None:
        """Count output, whatever the budget is."""
        self.output += tokens

    def _spend(self, tokens: Tokens) -> None:
        if self.budget is not None and self.output.total + tokens.total > self.budget:
            raise _BudgetSpent
        self.spend(tokens)
