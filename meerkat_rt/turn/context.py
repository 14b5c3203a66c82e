"""What the parts of the machine share: settings, deadlines, ids, output lists, command memory."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

import attrs

from ..model.events import ProviderErrorReported, ProviderFault, RealtimeTranscript
from . import ports
from .deadlines import Deadlines
from .effects import Send, SettleCommand
from .ports import ProviderCommand

if TYPE_CHECKING:
    from ..model.delta_run import TranscriptEntry
    from ..model.events import RealtimeSessionEvent
    from ..model.transcript import ItemObserved, ItemSkipped
    from .effects import Effect, MachineSettings


SEED_PREFIX = "mk_seed_"
"""Ids of items that only tell a provider what history has already begin like this."""


class CommandName(StrEnum):
    """What a command is called when an error is reported: the best known wire's names."""

    CREATE_RESPONSE = "response.create"
    CANCEL_RESPONSE = "response.cancel"
    CREATE_ITEM = "conversation.item.create"
    TRUNCATE = "conversation.item.truncate"
    DELETE = "conversation.item.delete"
    COMMIT = "input_audio_buffer.commit"
    CLEAR = "input_audio_buffer.clear"
    UPDATE = "session.update"
    RAW = "raw"


@attrs.define(eq=False)
class SentCommand:
    """A command whose fate is not known yet.  `subject` is what its sender needs to remember."""

    ref: str
    name: CommandName
    subject: Any = None
    command: ProviderCommand | None = None  # to be sent again on the next connection


# What waits in the lanes for the next connection while there is none.
_WAITING = (ports.CommitAudio, ports.ClearAudio)
OUTLASTING = frozenset({CommandName.COMMIT, CommandName.CLEAR, CommandName.UPDATE})
"""Commands that outlast the connection on which they were sent."""


class Context:
    """Shared by the parts of one machine."""

    __slots__ = (
        "_minted",
        "_seed",
        "answered",
        "away",
        "deadlines",
        "dropped",
        "effects",
        "events",
        "given",
        "linked",
        "sent",
        "settings",
        "transcript",
    )

    def __init__(self, settings: MachineSettings) -> None:
        self.settings = settings
        self.deadlines = Deadlines()
        self.events: list[RealtimeSessionEvent] = []
        self.transcript: list[TranscriptEntry] = []
        self.effects: list[Effect] = []
        self.linked = True
        self.away = False  # not linked, and another connection is to come
        self.given = 0  # inputs of the application
        self.answered = 0  # of these, when the last response ended
        self.dropped = 0  # provider events that belong to nothing alive
        self.sent: dict[str, SentCommand] = {}
        self._minted = 0
        self._seed = f"{settings.seed & 0xFFFF_FFFF:08x}"

    def mint(self, kind: str) -> str:
        """A new id: at most 32 characters, the same for the same seed and history."""
        self._minted += 1
        return f"mk_{kind}_{self._seed}_{self._minted:x}"

    def send(self, command: ProviderCommand) -> None:
        """Give `command` to the sender, unless there is no link any more.

        Between two links only what stays in order with the audio; the rest is made up for, or sent
        from what is remembered, when the next one is there.
        """
        if self.linked or (self.away and isinstance(command, _WAITING)):
            self.effects.append(Send(command))

    def order(self, event: ItemObserved | ItemSkipped) -> None:
        """Write an ordering fact, which the application sees too."""
        self.transcript.append(event)
        self.events.append(RealtimeTranscript(event))

    # ---------------------------------------------------------------- commands that await an answer

    def remember(
        self,
        ref: str,
        name: CommandName,
        deadline: float,
        subject: Any = None,
        command: ProviderCommand | None = None,
    ) -> None:
        """Keep `ref` until it is acknowledged, refused, or `deadline` has passed.

        Between two links there is no deadline: the next one sets it.
        """
        if self.linked:
            self.sent[ref] = SentCommand(ref, name, subject, command)
            self.deadlines.set(("command", ref), deadline)
        elif self.away and name in OUTLASTING:
            self.sent[ref] = SentCommand(ref, name, subject, command)

    def oldest(self, name: CommandName) -> SentCommand | None:
        """The oldest unanswered command called `name`: answers without reference come in order."""
        return next((sent for sent in self.sent.values() if sent.name is name), None)

    def acknowledge(self, ref: str) -> None:
        """The command has taken effect."""
        self._forget(ref)
        self.effects.append(SettleCommand(ref=ref))

    def refuse(self, ref: str, fault: ProviderFault) -> None:
        """The command has failed."""
        self._forget(ref)
        self.effects.append(SettleCommand(ref=ref, fault=fault))

    def expire(self, ref: str) -> SentCommand | None:
        """The command's deadline has passed."""
        sent = self.sent.pop(ref, None)
        if sent is not None:
            self.effects.append(SettleCommand(ref=ref, timed_out=True))
        return sent

    def fail_all(self, fault: ProviderFault) -> None:
        """No command will be answered any more."""
        for ref in list(self.sent):
            self.refuse(ref, fault)

    def _forget(self, ref: str) -> None:
        self.sent.pop(ref, None)
        self.deadlines.cancel(("command", ref))

    def report(
        self,
        fault: ProviderFault,
        command: CommandName | None = None,
        *,
        request_id: str | None = None,
        response_id: str | None = None,
    ) -> None:
        """Tell the application about an error that the session survives."""
        self.events.append(
            ProviderErrorReported(
                fault=fault,
                command=None if command is None else command.value,
                request_id=request_id,
                response_id=response_id,
            )
        )
