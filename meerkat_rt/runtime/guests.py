"""The store and the recorder that an application brings: a session survives what they raise.

Both have a contract, in `ports`, and are often code of the application's own.  What escapes from a
store that is no `LlmError` is a failure of the store all the same, with that as the cause.  What
escapes from a recorder ends the recording; only if it cannot begin is there no session.
"""

from __future__ import annotations

import logging
import math
from contextlib import asynccontextmanager, contextmanager
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import attrs
import trio

from ..model.errors import InvalidConfig, LlmError
from .errors import StoreUnusable
from .failures import beside, reraise
from .ports import RestoredConversation, StoredMessage, TranscriptBatch
from .tool_dispatch import describe

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence

    from ..model.events import CloseReason
    from ..turn.effects import MachineSettings
    from ..turn.machine import SessionMachine
    from .limits import SessionLimits
    from .ports import Recorder, Recording, SessionJournal, SessionStore

_logger = logging.getLogger("meerkat_rt.runtime")


class GuestJournal:
    """A store's journal, whose every failure is an `LlmError`.

    A commit that takes longer than `patience` seconds has failed.  After a failure that was no
    `LlmError`, nobody knows what the journal has of the batch, so its events are handed over again
    with the next: an event that is there already changes nothing.
    """

    def __init__(self, journal: SessionJournal, patience: float) -> None:
        self._journal = journal
        self.patience = patience
        self._commits = 0
        # Of commits that have failed, in order: what is handed over again, with their numbers.
        self._again: list[tuple[int, TranscriptBatch]] = []
        self.restored = journal.restored
        _check(self.restored, RestoredConversation, "restored")

    async def commit(
        self, batch: TranscriptBatch, *, timed: bool = False
    ) -> tuple[StoredMessage, ...]:
        """As `SessionJournal.commit`.

        `timed`: it is the caller who cancels it when patience has ended, and knows that it is
        `too_slow`; otherwise it takes a scope of its own, which costs more than a small commit.

        Raises:
            LlmError: the store's; `StoreUnusable` for what is not of ours.
        """
        self._commits += 1
        again, self._again = self._again, []
        own = self._commits, batch
        try:
            whole = _together([*again, own]) if again else batch
            if timed:
                made = tuple(await self._journal.commit(whole))
            else:
                with trio.move_on_after(self.patience) as scope:
                    made = tuple(await self._journal.commit(whole))
                if scope.cancelled_caught:
                    raise _too_slow(self.patience)
            for each in made:
                _check(each, StoredMessage, "a message that was committed")
        except LlmError as error:
            if isinstance(error, StoreUnusable):
                self._keep([*again, own])
            raise
        except BaseException as error:
            self._keep([*again, own])
            failure = error
            if isinstance(error, BaseExceptionGroup) and not isinstance(error, Exception):
                # A store with a nursery is cancelled in a group, with what went wrong meanwhile.
                failure = error.split(trio.Cancelled)[1] or error
            if isinstance(failure, Exception):
                raise _unusable("failed to write", failure) from failure
            raise
        return made

    def too_slow(self) -> StoreUnusable:
        """What has become of a commit whose time was up."""
        return _unusable("failed to write", _too_slow(self.patience))

    def _keep(self, failed: Iterable[tuple[int, TranscriptBatch]]) -> None:
        # Another commit that was under way may have failed first.
        kept = [(n, batch) for n, batch in failed if batch.entries or batch.unstage]
        self._again = sorted([*self._again, *kept], key=itemgetter(0))


def _together(batches: Sequence[tuple[int, TranscriptBatch]]) -> TranscriptBatch:
    """The last of these, with the events and the removals of all."""
    return attrs.evolve(
        batches[-1][1],
        events=[entry for _, batch in batches for entry in batch.entries],
        unstage=[item_id for _, batch in batches for item_id in batch.unstage],
    )


@asynccontextmanager
async def journal_of(
    store: SessionStore, conversation_id: str, limits: SessionLimits
) -> AsyncGenerator[GuestJournal, None]:
    """`store.open`, whose every failure is an `LlmError`.

    The block's own exception comes out, whatever the store makes of it; what fails in closing the
    store besides is noted on it.  Opening that takes longer than `SessionLimits.store_patience` has
    failed, and closing that takes longer than `store_grace`.

    Raises:
        LlmError: the store's; `StoreUnusable` for what is not of ours.
    """
    own: BaseException | None = None
    ending = False
    try:
        try:
            # Around all of it, for the store may have scopes open until it is closed.
            with trio.CancelScope(relative_deadline=limits.store_patience) as scope:
                with _of_the_store():
                    context = store.open(conversation_id)
                    opened = await context.__aenter__()
                scope.deadline = math.inf
                try:
                    with _of_the_store():
                        if scope.cancel_called:  # and it did not heed that
                            raise _too_slow(limits.store_patience)
                        journal = GuestJournal(opened, limits.store_patience)
                    yield journal
                except BaseException as error:
                    own = error
                ending = True
                scope.deadline = trio.current_time() + limits.store_grace
                await context.__aexit__(*_told(own))
        except BaseException as error:
            if not ending:
                raise
            failed = error if isinstance(error, LlmError) else _unusable("failed to close", error)
            own = beside(own, error, failed)
        if scope.cancelled_caught:
            slow = _too_slow(limits.store_grace if ending else limits.store_patience)
            what = "failed to close" if ending else "cannot be opened"
            own = beside(own, slow, _unusable(what, slow))
        if own is not None:
            reraise(own)
    finally:
        del own  # this frame is in its traceback


@contextmanager
def recording_by(recorder: Recorder) -> Iterator[GuestRecording]:
    """`recorder.begin`, whose recording hurts no session.

    The block's own exception comes out, whatever the recorder makes of it.

    Raises:
        LlmError: it cannot begin; `InvalidConfig` for what is not of ours.
    """
    with _of_the_recorder():
        context = recorder.begin()
        begun = context.__enter__()
    own: BaseException | None = None
    try:
        try:
            yield GuestRecording(begun)
        except BaseException as error:
            own = error
        try:
            context.__exit__(*_told(own))
        except BaseException as error:
            if not isinstance(error, Exception):
                own = beside(own, error, error)
            elif error is not own:
                _logger.warning("the recorder failed to end", exc_info=error)
        if own is not None:
            reraise(own)
    finally:
        del own  # this frame is in its traceback


class GuestRecording:
    """A recording that ends, and says so in the log, when the recorder raises."""

    def __init__(self, recording: Recording) -> None:
        self._recording: Recording | None = recording

    def machine(self, settings: MachineSettings) -> SessionMachine:
        """As `Recording.machine`.

        Raises:
            LlmError: there is none; `InvalidConfig` for what is not of ours.
        """
        assert self._recording is not None
        with _of_the_recorder():
            return self._recording.machine(settings)

    def wire(self, now: float, *, received: int = 0, sent: int = 0) -> None:
        """As `Recording.wire`."""
        if self._recording is not None:
            self._do(self._recording.wire, now, received=received, sent=sent)

    def closed(self, reason: CloseReason) -> None:
        """As `Recording.closed`."""
        if self._recording is not None:
            self._do(self._recording.closed, reason)

    def _do(self, tell: Callable[..., None], *args: object, **kwargs: object) -> None:
        try:
            tell(*args, **kwargs)
        except Exception as error:
            self._recording = None
            _logger.warning("the recorder failed; no more is recorded", exc_info=error)


def _told(own: BaseException | None) -> tuple[Any, BaseException | None, Any]:
    """What `__exit__` is told of an exception."""
    return (None, None, None) if own is None else (type(own), own, own.__traceback__)


def _too_slow(seconds: float) -> trio.TooSlowError:
    return trio.TooSlowError(f"it took longer than {seconds:g} s")


def _unusable(what: str, error: BaseException) -> StoreUnusable:
    unusable = StoreUnusable(f"the store {what}: {describe(error)}")
    unusable.__cause__ = error
    return unusable


@contextmanager
def _of_the_store() -> Iterator[None]:
    try:
        yield
    except LlmError:
        raise
    except Exception as error:
        raise _unusable("cannot be opened", error) from error


@contextmanager
def _of_the_recorder() -> Iterator[None]:
    try:
        yield
    except LlmError:
        raise
    except Exception as error:
        raise InvalidConfig(f"the recorder cannot begin: {describe(error)}") from error


def _check(value: object, kind: type, what: str) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"{what} is a {type(value).__name__}; allowed: {kind.__name__}")
