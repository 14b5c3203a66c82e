"""The journal writer: commits what was said, then announces it.

Transcript events are gathered while a commit is under way and go in together with the next one, off
the event loop.  A message is announced when it is durable, and not before.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import trio

from ..model.errors import LlmError
from ..model.transcript import (
    AssistantTurnCompleted,
    AssistantTurnInterrupted,
    UserTranscriptFinal,
)
from .ports import TranscriptBatch
from .signal import Signal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..model.conversation import Message
    from ..model.delta_run import TranscriptEntry
    from .guests import GuestJournal
    from .ports import StagedTranscript, StoredMessage

RETRY_DELAY = 1.0  # seconds between attempts, where the store says that a retry may help
ATTEMPTS = 3
LINGER = 0.25  # seconds; what a crash may lose of words that were not announced

# Only these complete a message, as a rule; the others wait a little for company.
_COMPLETING = frozenset({UserTranscriptFinal, AssistantTurnCompleted, AssistantTurnInterrupted})


class JournalWriter:
    """Writes the journal of one session.  `announce` gets what has become durable, in order.

    `failed` is told, once, when the store does not take what it should; what could not be written
    stays with the journal and goes in with a later commit.  It has no timer of its own: at
    `look_at`, or as soon after as may be, it wants to be told to `look`, and `rearmed` is told when
    that has become another time.
    """

    def __init__(
        self,
        journal: GuestJournal,
        *,
        announce: Callable[[Iterable[StoredMessage]], None],
        failed: Callable[[LlmError], None],
        rearmed: Callable[[], None],
    ) -> None:
        self._journal = journal
        self._announce = announce
        self._failed = failed
        self._rearmed = rearmed
        self.look_at = math.inf
        self._events: list[TranscriptEntry] = []
        self._overdue = 0.0  # when the first of them will have waited for long enough
        self._owed: dict[str, None] = {}  # items of events that the journal has and the store not
        self._under_way: tuple[TranscriptEntry, ...] = ()  # in the commit that is
        self._writing = False
        self._staged: set[str] = set()
        self._due = Signal()
        self._cut = False  # a commit took too long
        self._idle = trio.lowlevel.ParkingLot()

    @property
    def unwritten(self) -> tuple[str, ...]:
        """Ids of the items about which something is not durable."""
        return tuple({**self._owed, **_items(self._under_way), **_items(self._events)})

    def add(self, events: Iterable[TranscriptEntry]) -> None:
        """Take events in, in the order in which they happened."""
        events = tuple(events)
        first = not self._events
        self._events += events
        if not _COMPLETING.isdisjoint(map(type, events)):
            self._due.set()
        elif first:
            self._overdue = trio.current_time() + LINGER
            if self.look_at == math.inf:
                self.look_at = self._overdue
                self._rearmed()

    def look(self, now: float) -> None:
        """Have written what has waited for long enough.

        A look that was asked for stays, even if what it was for is written before: so a session
        that says much does not ask for one with each answer.
        """
        if now < self.look_at:
            return
        self.look_at = math.inf
        if self._events:
            if now < self._overdue:
                self.look_at = self._overdue
            else:
                self._due.set()

    async def begin(self, history: tuple[Message, ...]) -> tuple[Message, ...]:
        """Store what a new conversation was seeded with; returns what was added.

        A conversation that has messages already keeps them as they are.

        Raises:
            LlmError: the store did not take it.
        """
        if not history or self._journal.restored.messages:
            return ()
        await self._journal.commit(TranscriptBatch(history=history))
        return history

    async def stage(self, staged: StagedTranscript) -> None:
        """Make a text durable that waits for its turn to be committed.

        A checkpoint, and cancel-safe: cancelled, nothing was staged.

        Raises:
            LlmError: the store did not take it; nothing was staged.
        """
        await self._journal.commit(TranscriptBatch(stage=(staged,)))
        self._staged.add(staged.item_id)

    async def run(self) -> None:
        """Write until cancelled.  A commit that has begun goes through.

        What completes no message waits a little for more, also behind a commit: one costs much more
        than an event.
        """
        while True:
            # One for many commits: one for each would cost a tenth of it.
            with trio.CancelScope() as scope:
                while True:
                    await self._due.wait()
                    if scope.cancel_called:
                        self._due.set()
                        break
                    await self._write(scope)
            # Its deadline is that of a commit, or of one that has long ended.
            if self._cut:
                self._cut = False
                self._failed(self._journal.too_slow())
                self._idle.unpark_all()

    async def wait_written(self) -> None:
        """Wait until everything taken in so far is durable, or was given up."""
        while self._events or self._writing:
            self._due.set()
            await self._idle.park()

    async def _write(self, scope: trio.CancelScope) -> None:
        if self._events:
            await self._write_down(scope)
        self._idle.unpark_all()

    async def _write_down(self, scope: trio.CancelScope) -> None:
        events, self._events = tuple(self._events), []
        done: list[str] = []
        if self._staged:
            finals = _items(event for event in events if isinstance(event, UserTranscriptFinal))
            done = [item_id for item_id in finals if item_id in self._staged]
            self._staged.difference_update(done)
        batch = TranscriptBatch(events=events, unstage=done)
        self._writing, self._under_way = True, events
        try:
            await self._commit(batch, scope)
        finally:
            # Whose items they are is asked only where they did not get through.
            self._owed |= _items(self._under_way)
            self._writing, self._under_way = False, ()

    async def _commit(self, batch: TranscriptBatch, scope: trio.CancelScope) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                stored = await self._journal.commit(batch, within=scope)
            except LlmError as error:
                if attempt == ATTEMPTS or not error.retryable or scope.cancel_called:
                    self._failed(error)
                    return
                batch = TranscriptBatch()  # the journal keeps what it could not write
                scope.deadline = math.inf
                await trio.sleep(RETRY_DELAY)
            except trio.Cancelled:
                self._cut = True
                raise
            else:
                # A commit takes along what earlier ones could not write.
                self._owed.clear()
                self._under_way = ()
                self._announce(stored)
                return


def _items(events: Iterable[TranscriptEntry]) -> dict[str, None]:
    """Ids of the items that events are about, in order."""
    return {
        event.item_id: None
        for event in events
        if not isinstance(event, (AssistantTurnCompleted, AssistantTurnInterrupted))
    }
