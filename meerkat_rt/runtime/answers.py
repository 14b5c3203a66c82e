"""The wait for a whole answer, for those who send something and want to read what comes of it.

What the model is asked has one outcome, and not each outcome is an event; nor does every answer
that is begun go on (its tools are answered, and the model stays silent).  So the wait is for the
events and for the session's state, and ends where neither has anything more to say.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, final

import trio

from ..model.conversation import StopReason
from ..model.events import Interrupted, ResponseStarted, TurnCommitted, TurnCompleted
from ..turn.crossing import LOST
from ..turn.effects import Answered, Lost, Refused, Superseded
from .errors import Unanswered

if TYPE_CHECKING:
    from ..model.errors import LlmError
    from ..model.events import RealtimeSessionEvent
    from .core import SessionCore
    from .requests import ResponseRequest


@final
class Answer:
    """One answer, event by event: `next_event` until `ended`.

    `request`: what it is an answer to.  Without one it is whatever is answered next, but for the
    responses that are `earlier`; to speech, if its turn is complete within `patience` seconds.  An
    answer that calls tools goes on until the model has spoken about them.  A reader of the
    session's events.
    """

    def __init__(
        self,
        core: SessionCore,
        request: ResponseRequest | None = None,
        *,
        earlier: frozenset[str] = frozenset(),
        patience: float = math.inf,
    ) -> None:
        self._core = core
        self._request = request  # until a response to it has ended
        self._earlier = earlier
        self._until = trio.current_time() + patience
        self._due = request is not None  # the model had something to say to it
        self._calls: set[str] = set()  # its responses that called tools
        self._aside: set[str] = set()  # responses that are not of the conversation
        self._scope: trio.CancelScope | None = None
        self.ended = False

    async def next_event(self) -> RealtimeSessionEvent:
        """The next event; with the last one of the answer, `ended` is set.

        A checkpoint if nothing waits to be read.  Cancelled: nothing is lost.

        Raises:
            Unanswered: there is no answer, or none any more.
            LlmError: the provider refused it, or failed to finish it, or the session has ended.
            trio.BusyResourceError: another task is reading.
        """
        while True:
            event = self._core.events.poll()
            if event is None:
                event = await self._arrival()
            if event is not None:
                self._note(event)
                return event
            if self._limit() < math.inf or self._refused:
                raise self._failure()

    async def _arrival(self) -> RealtimeSessionEvent | None:
        """What comes next; None if nothing will, or not in time."""
        with trio.CancelScope() as self._scope:
            self._core.attended = self._attend
            self._attend()
            try:
                return await self._core.events.following()
            except StopAsyncIteration:
                raise self._core.closed_error() from self._core.error
            finally:
                self._core.attended = None
        return self._core.events.poll()  # what came in the same moment is not too late

    # ---------------------------------------------------------------- whether it will come

    def _attend(self) -> None:
        """After a step of the session: is there still something to wait for, and how long?"""
        assert self._scope is not None
        if self._refused:
            self._scope.cancel(reason="the request has no answer")
            return
        limit = self._limit()
        if limit == 0 or (limit < math.inf) is not (self._scope.deadline < math.inf):
            self._scope.deadline = trio.current_time() + limit

    @property
    def _refused(self) -> bool:
        """The request has its outcome, and that is no answer."""
        request = self._request
        return (
            request is not None
            and request.settled
            and not isinstance(request.result, Answered)
            and not self._core.close_requested.is_set()  # what ended the session says more
        )

    def _limit(self) -> float:
        """How many seconds the next event may take, as things are."""
        machine = self._core.machine
        if machine.due or self._core.close_requested.is_set():
            self._due = self._due or self._until == math.inf
            return math.inf
        if machine.user_turn:  # which the model will answer, and that answers this as well
            return self._core.limits.response_request
        return 0.0 if self._due else max(0.0, self._until - trio.current_time())

    def _failure(self) -> LlmError:
        outcome = None if self._request is None else self._request.result
        if isinstance(outcome, Refused):
            return self._core.dialect.fault_error(outcome.fault)
        if isinstance(outcome, (Superseded, Lost)):
            return Unanswered(f"the request was not answered: {outcome}", outcome)
        if self._calls:
            return Unanswered("the model did not go on after its tool calls")
        return Unanswered("no answer came, and none is due: the model took nothing for its turn")

    # ---------------------------------------------------------------- what has come

    def _note(self, event: RealtimeSessionEvent) -> None:
        match event:
            case ResponseStarted(in_conversation=False):
                self._aside.add(event.response_id)
            case TurnCommitted():
                self._due = True
            case Interrupted(response_id=response_id) if response_id in self._calls:
                self.ended = True
            case TurnCompleted() if not is_lost(event) and event.response_id not in self._aside:
                self._completed(event)
            case _:
                pass

    def _completed(self, event: TurnCompleted) -> None:
        if self._request is not None:
            outcome = self._request.result
            if not isinstance(outcome, Answered) or outcome.response_id != event.response_id:
                return  # what was asked before
            self._request = None
        elif event.response_id in self._earlier:
            return
        if event.error is not None:
            raise self._core.dialect.fault_error(event.error)
        if event.stop_reason is StopReason.TOOL_USE:
            self._calls.add(event.response_id)
        else:
            self.ended = True


def is_lost(event: TurnCompleted) -> bool:
    """Ended with its connection: either it is asked for again, or the session ends and says why."""
    return event.error is not None and event.error.code == LOST.code
