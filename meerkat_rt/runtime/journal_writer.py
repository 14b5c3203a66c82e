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
    stays with the journal and goes in with a later commit.  It has no timer of its own: somebody is
    to call `look` at `look_at`, which a call moves on, and for which `rearmed` is told when it has
    come nearer by itself.  `fetch` has what was kept back added; see `keep_back`.
    """

    def __init__(
        self,
        journal: GuestJournal,
        *,
        announce: Callable[[Iterable[StoredMessage]], None],
        failed: Callable[[LlmError], None],
        rearmed: Callable[[], None],
        fetch: Callable[[], None],
    ) -> None:
        self._journal = journal
        self._announce = announce
        self._failed = failed
        self._rearmed = rearmed
        self._fetch = fetch
        self._kept_back = False
        self.look_at = math.inf
        self._events: list[TranscriptEntry] = []
        self._overdue = 0.0  # when the first of them will have waited for long enough
        self._owed: dict[str, None] = {}  # items of events that the journal has and the store not
        self._under_way: tuple[TranscriptEntry, ...] = ()  # in the commit that is
        self._writing = False
        self._staged: set[str] = set()
        self._due = Signal()
        self._late = math.inf  # when the commit under way will have taken too long
        self._cut = False  # one has
        self._scope = trio.CancelScope()  # of the commit under way, and of many before it
        self._idle = trio.lowlevel.ParkingLot()

    @property
    def unwritten(self) -> tuple[str, ...]:
        """Ids of the items about which something is not durable."""
        return tuple({**self._owed, **_items(self._under_way), **_items(self._events)})

    def add(self, events: Iterable[TranscriptEntry]) -> None:
        """Take events in, in the order in which they happened."""
        events = tuple(events)
        first = not (self._events or self._kept_back)
        self._kept_back = False
        self._events += events
        if not _COMPLETING.isdisjoint(map(type, events)):
            self._due.set()
        elif first:
            self._wait_for_company()

    def keep_back(self) -> None:
        """There are words that stay where they are, for more to join them, as if they were added.

        They are fetched when they have waited for long enough, or come with whatever is added next.
        """
        if not (self._events or self._kept_back):
            self._wait_for_company()
        self._kept_back = True

    def _wait_for_company(self) -> None:
        self._overdue = trio.current_time() + LINGER
        self._look_at(self._overdue)

    def look(self, now: float) -> None:
        """Have written what has waited for long enough, and give up a commit that takes too long.

        A look that was asked for stays, even if what it was for is over before: so a session that
        says much does not ask for one with each answer.
        """
        if now < self.look_at:
            return
        if now >= self._late:
            self._late = math.inf
            self._scope.cancel(reason="the store takes too long")
        self.look_at = self._late
        if self._events or self._kept_back:
            if now < self._overdue:
                self.look_at = min(self._late, self._overdue)
            else:
                self._fetch_kept_back()
                self._due.set()

    def _fetch_kept_back(self) -> None:
        if self._kept_back:
            self._fetch()
            self._kept_back = False

    def _look_at(self, when: float) -> None:
        if when < self.look_at:
            self.look_at = when
            self._rearmed()

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
        self._taken(await self._journal.commit(TranscriptBatch(stage=(staged,))))
        self._staged.add(staged.item_id)

    async def run(self) -> None:
        """Write until cancelled.  A commit that has begun goes through.

        What completes no message waits a little for more, also behind a commit: one costs much more
        than an event.
        """
        while True:
            # One for many commits: one for each, with a deadline, would cost a quarter of it.
            with trio.CancelScope() as self._scope:
                while True:
                    await self._due.wait()
                    if self._events:
                        await self._write()
                    self._idle.unpark_all()
            if self._cut:  # and has not been done after all
                self._cut = False
                self._failed(self._journal.too_slow())
                self._idle.unpark_all()

    async def wait_written(self) -> None:
        """Wait until everything taken in so far is durable, or was given up."""
        self._fetch_kept_back()
        while self._events or self._writing:
            self._due.set()
            await self._idle.park()

    async def _write(self) -> None:
        events, self._events = tuple(self._events), []
        done: list[str] = []
        if self._staged:
            finals = _items(event for event in events if isinstance(event, UserTranscriptFinal))
            done = [item_id for item_id in finals if item_id in self._staged]
            self._staged.difference_update(done)
        batch = TranscriptBatch(events=events, unstage=done)
        self._writing, self._under_way = True, events
        try:
            await self._commit(batch)
        finally:
            # Whose items they are is asked only where they did not get through.
            self._owed |= _items(self._under_way)
            self._writing, self._under_way = False, ()
            self._late = math.inf

    async def _commit(self, batch: TranscriptBatch) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._late = trio.current_time() + self._journal.patience
                self._look_at(self._late)
                stored = await self._journal.commit(batch, timed=True)
            except LlmError as error:
                if attempt == ATTEMPTS or not error.retryable or self._scope.cancel_called:
                    self._failed(error)
                    return
                batch = TranscriptBatch()  # the journal keeps what it could not write
                self._late = math.inf
                await trio.sleep(RETRY_DELAY)
            except BaseException:  # cancelled; by a store with a nursery, in a group
                self._cut = True
                raise
            else:
                self._under_way = ()
                self._taken(stored)
                return

    def _taken(self, stored: tuple[StoredMessage, ...]) -> None:
        # A commit takes along what earlier ones could not write.
        self._owed.clear()
        self._announce(stored)


def _items(events: Iterable[TranscriptEntry]) -> dict[str, None]:
    """Ids of the items that events are about, in order."""
    return {
        event.item_id: None
        for event in events
        if not isinstance(event, (AssistantTurnCompleted, AssistantTurnInterrupted))
    }
