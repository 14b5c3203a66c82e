"""What the user says: speech, its transcription, typed text, and when a turn is committed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..model.conversation import UserMessage
from ..model.errors import InvalidRequest
from ..model.events import (
    InputAudioCleared,
    InputSpeechStarted,
    InputSpeechStopped,
    InputTranscriptFinal,
    InputTranscriptFinalForItem,
    InputTranscriptionFailed,
    InputTranscriptPartial,
    ProviderFault,
    TurnCommitted,
    TurnStarted,
)
from ..model.media import RealtimeTurningMode
from ..model.transcript import RealtimeTranscriptRole, UserTranscriptFinal
from .context import CommandName
from .effects import FlushInput
from .ports import ClearAudio, CommitAudio, CreateItem, ResponseOptions
from .records import Why

if TYPE_CHECKING:
    from .context import Context
    from .hearing import Hearing
    from .items import ItemMemory
    from .ports import (
        InputCleared,
        InputCommitted,
        InputTranscriptDelta,
        InputTranscriptDone,
        InputTranscriptFailed,
        ResponseInterrupted,
        SpeechStarted,
        SpeechStopped,
    )
    from .responses import ResponseSlot

ONSET = 1.0  # seconds of audio before speech was noticed that may belong to it
UNINTELLIGIBLE = "[unintelligible]"  # stands in history for speech that was not recognized
AUDIO = "[audio]"  # and for speech that nobody tries to recognize


class InputSide:
    """The user's side of the conversation."""

    def __init__(
        self, ctx: Context, items: ItemMemory, slot: ResponseSlot, hearing: Hearing
    ) -> None:
        self._ctx = ctx
        self._items = items
        self._slot = slot
        self._hearing = hearing
        self._staged: list[tuple[str, str]] = []  # item id, text
        self._staged_audio = 0  # bytes since the last commit
        self._turn_open = False  # TurnStarted was said, TurnCommitted not yet
        # Committed items whose text is awaited, and since when audio of theirs was sent.
        self._transcribing: dict[str, float] = {}
        self._turn_from = -math.inf  # when the audio of the present turn began, at the latest
        self._committed_at = -math.inf
        self._heard_ms: int | None = None  # how much input the provider has made turns of
        self._stopped_ms: int | None = None
        self._again: str | None = None  # its audio is to be heard once more, on another connection
        self.configure()

    def configure(self) -> None:
        """Take the rules from the settings, at first and when another connection has others."""
        settings = self._ctx.settings
        self._explicit = settings.turning_mode is RealtimeTurningMode.EXPLICIT_COMMIT
        # Without voice activity detection there is nothing that the provider could do by itself.
        self._provider_responds = settings.provider_responds and not self._explicit
        self._provider_interrupts = settings.provider_interrupts and not self._explicit

    def sizes(self) -> dict[str, int]:
        """How much is remembered about input that history does not have yet."""
        return {"staged_texts": len(self._staged), "transcriptions": len(self._transcribing)}

    # ---------------------------------------------------------------- speech

    def _barge_in(self, now: float, *, provider_stops: bool) -> bool:
        """The user speaks: interrupt what is audible.  Whether anything was."""
        if not (provider_stops or self._ctx.settings.cancel_on_barge_in):
            return False
        audible = self._hearing.audible(now)
        if not audible:
            return False
        self._slot.supersede("barge_in", now)
        self._hearing.cut(audible, now, cancel=not provider_stops)
        return True

    def _start_turn(self) -> None:
        if not self._turn_open:
            self._turn_open = True
            self._ctx.events.append(TurnStarted())

    def _end_turn(self, now: float, *, answered: bool) -> None:
        self._turn_open = False
        self._slot.turn_ended(now, answered=answered)

    def speech_started(self, event: SpeechStarted, now: float) -> None:
        """The user began to speak."""
        self._slot.floor.speech_began()
        self._turn_from = max(self._turn_from, now - ONSET)
        self._barge_in(now, provider_stops=self._provider_interrupts)
        self._hearing.release_all()
        self._ctx.events.append(
            InputSpeechStarted(item_id=event.item_id, audio_start_ms=event.audio_start_ms)
        )
        self._start_turn()

    def speech_stopped(self, event: SpeechStopped, now: float) -> None:
        """The user stopped."""
        self._slot.floor.speech_paused(now)
        self._stopped_ms = event.audio_end_ms or None
        self._ctx.events.append(
            InputSpeechStopped(item_id=event.item_id, audio_end_ms=event.audio_end_ms)
        )

    def response_interrupted(self, event: ResponseInterrupted, now: float) -> None:
        """The provider stopped what it was saying; with nothing to be heard it means nothing."""
        cut = self._hearing.stopped(event.response_id, now)
        if not cut:
            return
        if event.by_user:
            self._slot.supersede("barge_in", now)
        self._hearing.cut(cut, now, cancel=False)
        if event.by_user:
            self._start_turn()

    def committed(self, event: InputCommitted, now: float) -> None:
        """Input audio became an item of the conversation."""
        item_id = event.item_id
        if item_id is not None and (
            self._items.is_seed(item_id)
            or self._items.settled(item_id)
            or item_id in self._transcribing
        ):
            self._ctx.dropped += 1
            return
        own = self._ctx.oldest(CommandName.COMMIT)
        if own is not None:
            self._ctx.acknowledge(own.ref)
        # The provider stops at the beginning of speech; if it announced that, what is audible now
        # began later, and it will not stop that.
        elif self._barge_in(now, provider_stops=self._provider_interrupts and not self._turn_open):
            self._start_turn()
        self._hearing.release_all()
        if item_id is not None:
            self._items.observe(item_id, event.previous_item_id, RealtimeTranscriptRole.USER)
            self._items.claim(item_id)
            self._await_transcription(item_id, now)
        self._ctx.events.append(TurnCommitted(inferred=event.inferred))
        answered = own is None and self._provider_responds
        self._end_turn(now, answered=answered)
        self._turn_from = self._committed_at = now
        self._heard_ms, self._stopped_ms = self._stopped_ms, None
        if answered:
            self._slot.owe(now)

    def cleared(self, event: InputCleared, now: float) -> None:
        """Uncommitted audio was dropped."""
        own = self._ctx.oldest(CommandName.CLEAR)
        if own is not None:
            self._ctx.acknowledge(own.ref)
        self._end_turn(now, answered=False)
        self._ctx.events.append(InputAudioCleared())

    # ---------------------------------------------------------------- transcription

    def _await_transcription(self, item_id: str, now: float) -> None:
        if not self._ctx.settings.transcribes_input:
            self._write(item_id, 0, AUDIO)
            return
        self._transcribing[item_id] = self._turn_from
        self._ctx.deadlines.set(
            ("transcription", item_id), now + self._ctx.settings.transcription_deadline
        )

    def transcript_delta(self, event: InputTranscriptDelta, now: float) -> None:
        """More recognized speech."""
        if not self._items.is_seed(event.item_id):
            self._ctx.events.append(InputTranscriptPartial(event.delta))

    def transcript_done(self, event: InputTranscriptDone, now: float) -> None:
        """What the user said."""
        item_id = event.item_id
        if item_id is None:
            self._ctx.events.append(InputTranscriptFinal(event.text))
            self._write(self._ctx.mint("said"), event.content_index, event.text)
            return
        if self._items.is_seed(item_id) or self._items.settled(item_id):
            self._ctx.dropped += 1
            return
        self._ctx.events.append(
            InputTranscriptFinalForItem(
                item_id=item_id,
                previous_item_id=self._items.previous.get(item_id),
                content_index=event.content_index,
                text=event.text,
            )
        )
        self._write(item_id, event.content_index, event.text)

    def transcript_failed(self, event: InputTranscriptFailed, now: float) -> None:
        """What the user said could not be recognized."""
        item_id = event.item_id
        if self._items.is_seed(item_id) or self._items.settled(item_id):
            self._ctx.dropped += 1
            return
        self._not_transcribed(item_id, event.content_index, event.fault)

    def on_transcription_deadline(self, item_id: str) -> None:
        """The provider never said what the user said; history goes on without it."""
        if item_id in self._transcribing:
            fault = ProviderFault(code="timeout", message="the provider sent no transcription")
            self._not_transcribed(item_id, 0, fault)

    def _not_transcribed(self, item_id: str, content_index: int, fault: ProviderFault) -> None:
        self._ctx.events.append(
            InputTranscriptionFailed(item_id=item_id, code=fault.code, message=fault.message)
        )
        self._write(item_id, content_index, UNINTELLIGIBLE)

    def _write(self, item_id: str, content_index: int, text: str) -> None:
        """History gets the user's words; it would wait for ever for an item without any."""
        self._transcribing.pop(item_id, None)
        self._ctx.deadlines.cancel(("transcription", item_id))
        self._items.see(item_id, None)
        self._items.claim(item_id)
        self._items.close_gaps()
        if not text:
            self._items.skip(item_id)
            return
        self._ctx.transcript.append(
            UserTranscriptFinal(
                item_id=item_id,
                previous_item_id=self._items.previous.get(item_id),
                content_index=content_index,
                text=text,
            )
        )
        self._items.settle(item_id)

    def close(self) -> None:
        """The session ends: history waits for no transcription any more."""
        self._staged.clear()
        fault = ProviderFault(code="session_closed", message="the session was closed")
        for item_id in list(self._transcribing):
            self._not_transcribed(item_id, 0, fault)

    def item_deleted(self, item_id: str) -> None:
        """An item left the conversation before anybody said what is in it."""
        if item_id in self._transcribing:
            self._transcribing.pop(item_id)
            self._ctx.deadlines.cancel(("transcription", item_id))
            self._items.skip(item_id)

    # ---------------------------------------------------------------- the application

    def audio_appended(self, n_bytes: int) -> None:
        """Input audio was accepted."""
        self._staged_audio += n_bytes
        self._ctx.given += 1

    def send_text(self, text: str, *, respond: bool, now: float) -> str:
        """Typed input; returns its item id."""
        item_id = self._ctx.mint("text")
        self._ctx.given += 1
        if self._explicit and respond:
            # Neither side sees it before the turn is committed, or an abandoned turn would leave
            # the provider with words that history does not have.
            self._staged.append((item_id, text))
            return item_id
        self._send_text(item_id, text, now, turn=respond)
        if respond:
            self._slot.ask(ResponseOptions(), Why.TEXT, now)
        return item_id

    def unstage_text(self, item_id: str) -> None:
        """Forget a staged text; one that is not staged any more is passed over."""
        self._staged = [entry for entry in self._staged if entry[0] != item_id]

    def _send_text(self, item_id: str, text: str, now: float, *, turn: bool) -> None:
        ref = self._ctx.mint("item")
        self._ctx.remember(
            ref, CommandName.CREATE_ITEM, now + self._ctx.settings.update_deadline, item_id
        )
        self._ctx.send(CreateItem(ref=ref, item_id=item_id, message=UserMessage(text), turn=turn))
        self._hearing.release_all()
        # The provider appends it: it stands after the newest item, however unfinished that is.
        self._items.see(item_id, self._items.tail)
        final = InputTranscriptFinalForItem(
            item_id=item_id,
            previous_item_id=self._items.previous.get(item_id),
            content_index=0,
            text=text,
        )
        if turn:
            self._ctx.events += [
                TurnStarted(),
                InputTranscriptPartial(text),
                final,
                TurnCommitted(),
            ]
        else:
            self._ctx.events.append(final)
        self._write(item_id, 0, text)

    def commit_turn(self, options: ResponseOptions | None, now: float) -> str:
        """The user's turn is complete; returns the id of the request for its answer.

        Raises:
            InvalidRequest: the provider decides about turns, or nothing was said.
        """
        if not self._explicit:
            raise InvalidRequest(
                "commit_turn is for explicit commit; in provider-managed mode the provider commits"
            )
        if not self._staged and not self._staged_audio:
            raise InvalidRequest("there is no input to commit: send text or audio first")
        if self._staged_audio and self._barge_in(now, provider_stops=False):
            self._start_turn()
        staged, self._staged = self._staged, []
        for item_id, text in staged:
            self._send_text(item_id, text, now, turn=True)
        if self._staged_audio:
            self._commit(now)
        return self._slot.ask(options or ResponseOptions(), Why.COMMIT, now).id

    def commit_audio(self, now: float) -> str:
        """Make the appended audio an item; requests nothing.  Returns the command's reference."""
        self._barge_in(now, provider_stops=False)
        return self._commit(now)

    def _commit(self, now: float) -> str:
        self._staged_audio = 0
        self._ctx.given += 1
        command = CommitAudio(ref=self._ctx.mint("commit"))
        deadline = now + self._ctx.settings.update_deadline
        self._ctx.remember(command.ref, CommandName.COMMIT, deadline, command=command)
        self._ctx.send(command)
        return command.ref

    def clear_audio(self, now: float) -> str:
        """Drop what was appended and not committed; returns the command's reference."""
        self._staged_audio = 0
        self._ctx.effects.append(FlushInput())
        command = ClearAudio(ref=self._ctx.mint("clear"))
        deadline = now + self._ctx.settings.update_deadline
        self._ctx.remember(command.ref, CommandName.CLEAR, deadline, command=command)
        self._ctx.send(command)
        return command.ref

    # ---------------------------------------------------------------- between two connections

    @property
    def speaking(self) -> bool:
        """The user is in the middle of something."""
        explicit = self._explicit and (self._staged_audio > 0 or bool(self._staged))
        return self.in_turn or explicit

    @property
    def in_turn(self) -> bool:
        """A turn of speech has begun and is not committed."""
        return self._slot.floor.user_speaks or self._turn_open

    @property
    def pending(self) -> int:
        """Messages of the user's whose words are awaited."""
        return len(self._transcribing)

    def link_dropped(self, kept_since: float) -> tuple[float, int | None, bool]:
        """The connection is gone, and with it the audio that was not committed.

        The words of a turn that nobody has begun to answer are not lost where all its audio has
        been kept, that is, what was sent after `kept_since`: it will be heard once more.  Returns
        since when sent audio has to be sent again, and after how many milliseconds of it where that
        is known better; and whether a committed turn is to be heard again.
        """
        since, heard_ms = self._committed_at, self._heard_ms
        pending = list(self._transcribing)
        if pending and self._slot.unheeded and self._transcribing[pending[-1]] >= kept_since:
            self._again = pending.pop()
            since, heard_ms = self._transcribing.pop(self._again), None
            self._ctx.deadlines.cancel(("transcription", self._again))
            self._items.skip(self._again)
            self._slot.heard_again()
        fault = ProviderFault(code="connection_lost", message="the connection was lost")
        for item_id in pending:
            self._not_transcribed(item_id, 0, fault)
        self._heard_ms = self._stopped_ms = None
        return since, heard_ms, self._again is not None

    def link_restored(self, *, audio: int, uncommitted: int) -> None:
        """There is another connection, and so many bytes of audio wait to be sent on it."""
        self._staged_audio = uncommitted
        if not audio:  # nothing is left of what was being said
            self._turn_open = False
        again, self._again = self._again, None
        if again is not None and not audio:
            self._slot.lose_commit()
            self._ctx.events.append(
                InputTranscriptionFailed(
                    item_id=again,
                    code="connection_lost",
                    message="the connection was lost for longer than audio is kept",
                )
            )
