"""Sessions that keep what was said in a store which is slow, or fails."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from ...model import events as ev
from ...model.media import RealtimeTextChunk
from ...runtime import errors
from ...runtime.limits import SessionLimits
from ...runtime.ports import RestoredConversation, StoredMessage
from ...transcript import TranscriptAuthority
from .bodies import read_out, take
from .openai import scenarios_of
from .stage import EndedEarly

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ...runtime.ports import StoredConversation, StoredSession, TranscriptBatch
    from ...runtime.session import RealtimeSession
    from ..openai_peer import OpenAIPeer

case = scenarios_of("journals")

COMMIT = 0.1  # seconds that a commit takes
GOING_THROUGH = COMMIT  # what a cancelled session waits for besides: the commit that has begun


class SlowJournal:
    """A `SessionJournal` in memory, whose commits take a while; from commit `fails_at` on none."""

    def __init__(self, fails_at: int | None) -> None:
        self._authority = TranscriptAuthority(keep_heard_prefix=True)
        self._fails_at = fails_at
        self._commits = 0
        self._lock = trio.Lock()
        self.restored = RestoredConversation(authority=TranscriptAuthority(keep_heard_prefix=True))

    async def commit(self, batch: TranscriptBatch) -> tuple[StoredMessage, ...]:
        """As `SessionJournal.commit`."""
        async with self._lock:
            with trio.CancelScope(shield=True, relative_deadline=2 * COMMIT):
                await trio.sleep(COMMIT)
        self._commits += 1
        if self._fails_at is not None and self._commits >= self._fails_at:
            raise errors.ServerError("the disk is full", 507)
        made = [StoredMessage(message) for message in batch.history]
        for event in batch.events:
            outcome = self._authority.apply(event)
            ids = tuple(item.item_id for item in outcome.materialized_messages)
            made += [StoredMessage(message, ids) for message in outcome.messages]
        return tuple(made)


class SlowStore:
    """A `SessionStore` that forgets a conversation when its block is left: each run is the same."""

    def __init__(self, fails_at: int | None = None) -> None:
        self._fails_at = fails_at

    @asynccontextmanager
    async def open(
        self, session_id: str, *, keep_heard_prefix: bool = True
    ) -> AsyncIterator[SlowJournal]:
        """As `SessionStore.open`."""
        await trio.lowlevel.checkpoint()
        yield SlowJournal(self._fails_at)

    async def sessions(self) -> tuple[StoredSession, ...]:
        """There are none."""
        await trio.lowlevel.checkpoint()
        return ()

    async def read(self, session_id: str) -> StoredConversation:
        """There is nothing to read."""
        await trio.lowlevel.checkpoint()
        raise errors.InvalidRequest(f"there is no session {session_id!r}")


async def two_turns(peer: OpenAIPeer) -> None:
    for words in ("Good morning to you.", "And good night."):
        await peer.item_created(await peer.expect("conversation.item.create"))
        await peer.text_response(words, await peer.expect("response.create"))
    await peer.linger()


@case(two_turns, store=SlowStore(), unwind=2 * GOING_THROUGH)
async def a_stored_conversation(session: RealtimeSession) -> None:
    for words in ("hello", "good night"):
        await session.send_input(RealtimeTextChunk(words))
        await take(session, ev.MessageCommitted, ev.MessageCommitted)
    assert len(session.transcript) == 4


@case(
    two_turns,
    store=SlowStore(fails_at=2),
    unwind=SessionLimits().store_grace,  # it is tried again
    ends=(errors.ServerError,),
)
async def a_store_that_fails(session: RealtimeSession) -> None:
    await session.send_input(RealtimeTextChunk("hello"))
    await read_out(session)
    raise EndedEarly("a failed store looked like a clean end")
