"""The response slot: who may create a response, and what became of each request.

A provider makes one response of the conversation at a time.  Requests therefore wait for the slot
in order; each ends in exactly one of answered, superseded, refused, lost.  What the provider ought
to answer without being asked (a committed turn) is a request too, one that sends nothing until it
has to be nudged, so a nudge never competes with the answer that it asks for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..model.conversation import StopReason
from ..model.events import Nudged, ProviderFault, Stalled
from .context import CommandName
from .effects import Answered, Lost, Refused, SettleRequest, Superseded
from .floor import Floor
from .nudge import NudgeClock, NudgePhase, NudgeTrigger
from .ports import CreateResponse, ResponseOptions
from .records import Request, RequestState, RequestTrigger, Response, ResponseTrigger, Why
from .unwanted import Unwanted

if TYPE_CHECKING:
    from .context import Context
    from .effects import RequestOutcome
    from .ports import ResponseBegan

MAX_CUTS = 3  # connections that may end in the middle of answers to one request
RETRY_DELAY = 0.25  # seconds; a refusal by a response that we know nothing of
ENDED_IDS = (
    256  # ids of dead responses that are still recognized; late frames come within one or two
)


_OF_A_TURN = frozenset({Why.TURN, Why.COMMIT, Why.APPLICATION})


class ResponseSlot:
    """Arbitrates the one response of the conversation.

    Invariant:
    - at most one response is `active`, and a request is sent only when none is and no create is
      outstanding;
    - every request settles exactly once, and is in none of the maps afterwards.
    """

    __slots__ = (
        "_aside",
        "_ctx",
        "_ended",
        "_queue",
        "_refs",
        "_requests",
        "active",
        "floor",
        "live",
        "outstanding",
        "owed",
        "unwanted",
    )

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self.active: Response | None = None
        self.outstanding: Request | None = None
        self.owed: Request | None = None  # the turn that the provider should answer by itself
        self.live: dict[str, Response] = {}
        self.floor = Floor(ctx)
        self.unwanted = Unwanted(ctx)
        self._queue: list[Request] = []
        self._aside: dict[str, Request] = {}  # out-of-band requests without a response yet
        self._requests: dict[str, Request] = {}  # by id, until they settle
        self._refs: dict[str, Request] = {}  # by the references of their creates
        self._ended: list[str] = []

    def sizes(self) -> dict[str, int]:
        """How much is remembered about what has not ended."""
        return {
            "responses": len(self.live),
            "requests_queued": len(self._queue),
            "requests_outstanding": int(self.outstanding is not None),
            "requests_owed": int(self.owed is not None),
            "requests_out_of_band": len(self._aside),
            "requests": len(self._requests),
            "request_refs": len(self._refs),
            "unwanted_refs": len(self.unwanted),
        }

    # ---------------------------------------------------------------- requests

    def ask(self, options: ResponseOptions, why: Why, now: float) -> Request:
        """Request a response; it is sent as soon as the slot is idle."""
        if why is Why.TOOLS:
            for waiting in self._queue:
                if waiting.why is Why.TOOLS:
                    return waiting
        request = self._new(options, why, RequestState.QUEUED, now)
        if options.in_conversation:
            self._queue.append(request)
            self.pump(now)
        else:
            self._aside[request.id] = request
            if self._ctx.linked:
                self._create(request)
                request.fire(RequestTrigger.SEND)
        return request

    def owe(self, now: float, why: Why = Why.TURN) -> None:
        """The provider has what it should answer by itself."""
        if self.owed is not None:
            self.settle(self.owed, Superseded(by="turn"))
        self.unwanted.forget_unasked()
        self.owed = self._new(ResponseOptions(), why, RequestState.OWED, now)
        self._arm(self.owed, now)

    def _new(self, options: ResponseOptions, why: Why, state: RequestState, now: float) -> Request:
        settings = self._ctx.settings
        request = Request(
            id=self._ctx.mint("req"),
            why=why,
            options=options,
            nudge=NudgeClock(settings.nudge_timeout),
            state=state,
        )
        if not self._ctx.away:  # then the clock starts with the next connection
            self._ctx.deadlines.set(("request", request.id), now + settings.request_deadline)
        self._requests[request.id] = request
        return request

    @property
    def idle(self) -> bool:
        """A request may be sent."""
        return (
            self.active is None
            and self.outstanding is None
            and (self._ctx.settings.echoes_refs or not self.unwanted)
        )

    def pump(self, now: float) -> None:
        """Send the next request if the slot is idle."""
        if not self._queue or not self.idle or not self._ctx.linked:
            return
        request = next((each for each in self._queue if not self._held(each, now)), None)
        if request is None or request.not_before > now:
            return
        self._queue.remove(request)
        self.outstanding = request
        self._create(request)
        request.fire(RequestTrigger.SEND)
        self._arm(request, now)

    def _held(self, request: Request, now: float) -> bool:
        """The model would talk over the user about its tools, instead of when it answers."""
        return request.why is Why.TOOLS and self.floor.taken(now)

    def turn_ended(self, now: float, *, answered: bool) -> None:
        """The user's turn is complete, or dropped; `answered`: the provider will, unasked.

        That answer knows what the provider has of the tools.
        """
        self.floor.free(now)
        if not answered:
            self.pump(now)
        elif self._ctx.oldest(CommandName.CREATE_ITEM) is None:
            for request in [each for each in self._queue if each.why is Why.TOOLS]:
                self.settle(request, Superseded(by="turn"))

    def _create(self, request: Request) -> None:
        ref = self._ctx.mint("ask")
        request.refs.append(ref)
        self._refs[ref] = request
        self._ctx.send(CreateResponse(ref=ref, options=request.options))

    def _arm(self, request: Request, now: float) -> None:
        request.nudge.arm(now)
        if request.nudge.running:
            self._ctx.deadlines.set(("nudge", request.id), request.nudge.deadline)

    def settle(self, request: Request, outcome: RequestOutcome) -> None:
        """The request ends here."""
        if not request.fire(RequestTrigger.SETTLE):
            return
        if self.outstanding is request:
            self.outstanding = None
        if self.owed is request:
            self.owed = None
        if request in self._queue:
            self._queue.remove(request)
        self._aside.pop(request.id, None)
        self._requests.pop(request.id, None)
        for ref in request.refs:
            self._refs.pop(ref, None)
        self._ctx.deadlines.cancel(("request", request.id))
        self._ctx.deadlines.cancel(("nudge", request.id))
        request.nudge.fire(NudgeTrigger.DISARM)
        self._ctx.effects.append(SettleRequest(request.id, outcome))

    def supersede(self, by: str, now: float, *, stop_owed: bool = False) -> None:
        """Drop every request that has no response yet.

        A response that comes for one of them nevertheless is cancelled as it begins.  `stop_owed`:
        so is the one that the provider was about to make by itself.
        """
        for request in (*self._queue, self.outstanding, self.owed):
            if request is None or request.state is RequestState.RUNNING:
                continue
            self.unwanted.add(request.refs, request.id, now)
            if request is self.owed and stop_owed:
                self.unwanted.add_unasked(now)
            self.settle(request, Superseded(by=by))

    def lose_all(self, reason: str) -> None:
        """No request will be answered any more."""
        for request in list(self._requests.values()):
            self.settle(request, Lost(reason=reason))
        self._stop_waiting()

    def _stop_waiting(self) -> None:
        self.unwanted.clear()
        self.floor.free()
        self._ctx.deadlines.cancel(("retry", ""))

    # ---------------------------------------------------------------- between two connections

    @property
    def waiting(self) -> bool:
        """Something of the conversation is to be answered, and no response to it has begun."""
        return bool(self._queue) or self.outstanding is not None or self.owed is not None

    @property
    def unheeded(self) -> bool:
        """Nothing has come yet of an answer to the newest turn."""
        active = self.active
        if active is not None:
            return not (active.parts or active.written or active.called)
        requests = (*self._queue, self.outstanding, self.owed)
        return any(request is not None and request.why in _OF_A_TURN for request in requests)

    def heard_again(self) -> None:
        """The provider will hear the turn once more, and answer it by itself."""
        if self.owed is not None and self.owed.why is Why.TURN:
            self.settle(self.owed, Superseded(by="reconnection"))
        if self.active is not None:
            answers = self.active.answers
            for request in [each for each in answers if each.why is Why.TURN]:
                answers.remove(request)
                self.settle(request, Superseded(by="reconnection"))

    def take_back(self, response: Response, now: float) -> None:
        """The response was cut with its connection: what it answers is asked again on the next."""
        answers, response.answers = response.answers, []
        answers.sort(key=lambda request: request.why is Why.TURN)  # an application's goes first
        for number, request in enumerate(answers):
            request.cuts += 1
            if number and request.why is Why.TURN:
                self.settle(request, Superseded(by="reconnection"))
            elif request.cuts > MAX_CUTS:
                self.settle(request, Lost(reason="connection after connection was lost"))
            else:
                request.fire(RequestTrigger.RELINK)
                self._queue.insert(0, request)
        if not answers:
            self._queue.insert(0, self._new(ResponseOptions(), Why.TURN, RequestState.QUEUED, now))

    def suspend(self) -> None:
        """There is no connection for a while: what was asked and not begun is asked again."""
        self._stop_waiting()
        for request in (self.outstanding, self.owed):
            if request is not None and request not in self._queue:
                request.fire(RequestTrigger.RELINK)
                self._queue.insert(0, request)
        self.outstanding = self.owed = None
        for request in self._requests.values():
            request.fire(RequestTrigger.RELINK)
            request.refs.clear()
            request.not_before = 0.0
            # Nudges that a connection took with it were never heard.
            request.nudge = NudgeClock(self._ctx.settings.nudge_timeout)
            self._ctx.deadlines.cancel(("request", request.id))
            self._ctx.deadlines.cancel(("nudge", request.id))
        self._refs.clear()

    def resume(self, now: float, *, expected: bool = False) -> None:
        """There is a connection again; `expected`: the first request is answered unasked."""
        if expected and self._queue and self.owed is None:
            self.owed = self._queue.pop(0)
            self.owed.fire(RequestTrigger.EXPECT)
            self._arm(self.owed, now)
        for request in self._requests.values():
            self._ctx.deadlines.set(
                ("request", request.id), now + self._ctx.settings.request_deadline
            )
        for request in self._aside.values():
            self._create(request)
            request.fire(RequestTrigger.SEND)
        self.pump(now)

    def continued(self, now: float) -> None:
        """The provider goes on by itself about the outputs that it was just given."""
        for request in self._queue:
            if request.why is Why.TOOLS:
                self.settle(request, Superseded(by="tools"))
                self.owe(now, Why.TOOLS)
                return

    def lose_commit(self) -> None:
        """The audio of the committed turn is gone: there is nothing to answer."""
        for request in [each for each in self._queue if each.why is Why.COMMIT]:
            self.settle(request, Lost(reason="the audio of the turn was lost with its connection"))

    # ---------------------------------------------------------------- what the provider said

    def recently_ended(self, response_id: str) -> bool:
        """The response was here and is dead."""
        return response_id in self._ended

    def begin(self, event: ResponseBegan, now: float) -> tuple[Response, bool] | None:
        """A response exists.  None: it is known already.  The flag: nobody wants it."""
        if event.response_id in self.live or event.response_id in self._ended:
            return None
        response = Response(event.response_id, event.in_conversation)
        self.live[response.id] = response
        if not event.in_conversation:
            request = self._aside_for(event.ref)
            if request is not None:
                self._assign(request, response, now)
            return response, False
        request, unwanted = self._match(event.ref)
        self.active = response
        if request is not None:
            self._assign(request, response, now)
        if self.owed is not None and not unwanted and self.owed is not request:
            # The conversation that it answers contains the turn: asking again would answer it
            # twice.
            self._assign(self.owed, response, now)
        return response, unwanted

    def claim(self, response: Response, ref: str | None, now: float) -> None:
        """The terminal names the request that the response answers.

        That is news only if its beginning was never told: without it the request would be nudged,
        and so answered twice.
        """
        request = None if ref is None else self._refs.get(ref)
        if request is not None and request.state is not RequestState.RUNNING:
            self._assign(request, response, now)

    def displace(self, response: Response) -> None:
        """Another response has begun in the conversation: no more output of this one is wanted."""
        response.fire(ResponseTrigger.CUT)
        if self.active is response:
            self.active = None

    def _aside_for(self, ref: str | None) -> Request | None:
        if ref is not None:
            request = self._refs.get(ref)
            return request if request is not None and request.id in self._aside else None
        if self._ctx.settings.echoes_refs:
            return None
        return next(iter(self._aside.values()), None)

    def _match(self, ref: str | None) -> tuple[Request | None, bool]:
        request = None if ref is None else self._refs.get(ref)
        if request is None and not self._ctx.settings.echoes_refs and ref not in self.unwanted:
            ref = self.unwanted.oldest
            request = self.outstanding
        if ref is not None and ref in self.unwanted:
            self.unwanted.began(ref)
            return None, True
        if request is not None and request.state is not RequestState.RUNNING:
            return request, False
        # The provider began it by itself.
        unwanted = self.owed is None and self.unwanted.unasked
        self.unwanted.forget_unasked()
        return None, unwanted

    def _assign(self, request: Request, response: Response, now: float) -> None:
        if request in self._queue:
            self._queue.remove(request)
        self._aside.pop(request.id, None)
        if self.outstanding is request:
            self.outstanding = None
        if self.owed is request:
            self.owed = None
        request.fire(RequestTrigger.BEGAN)
        response.answers.append(request)
        if request.why is not Why.TURN or request.refs:
            response.request_id = response.request_id or request.id
        self._ctx.deadlines.cancel(("request", request.id))
        # The answer was announced: from here the clock only waits for it to say something.
        if request.options.in_conversation:
            request.nudge.fire(NudgeTrigger.ACKNOWLEDGE)

    def progress(self, response: Response) -> None:
        """The response says something: nothing more to nudge."""
        response.progressed = True
        for request in response.answers:
            request.nudge.fire(NudgeTrigger.DISARM)
            self._ctx.deadlines.cancel(("nudge", request.id))

    def busy(self, ref: str | None, fault: ProviderFault, now: float) -> bool:
        """The provider refused a create because a response is active; whether that is settled."""
        if ref is not None and ref in self.unwanted:
            self.unwanted.forget(ref)
            self.pump(now)
            return True
        request = self.outstanding if ref is None else self._refs.get(ref)
        if request is None:
            # A nudge that crossed the answer it asked for: its request is being answered, or was.
            return True
        if request.options.in_conversation is False:
            return False
        if request.state is RequestState.RUNNING:
            if len(request.refs) == 1 and not self._ctx.settings.echoes_refs:
                return self._misattributed(request, ref, fault, now)
            return True
        if request.why is Why.TURN:
            # It is being answered, says the provider; the count of attempts stands.
            request.nudge.fire(NudgeTrigger.ACKNOWLEDGE)
            if self.outstanding is request:
                self.outstanding = None
            return True
        return self._block(request, ref, fault, now)

    def _misattributed(
        self, request: Request, ref: str | None, fault: ProviderFault, now: float
    ) -> bool:
        # First come was not first served: the response that began was the provider's own.
        for response in self.live.values():
            if request in response.answers:
                response.answers.remove(request)
                if response.request_id == request.id:
                    response.request_id = None
        self._ctx.deadlines.set(("request", request.id), now + self._ctx.settings.request_deadline)
        return self._block(request, ref, fault, now)

    def _block(self, request: Request, ref: str | None, fault: ProviderFault, now: float) -> bool:
        if not request.fire(RequestTrigger.BUSY):
            return True
        refused = ref or request.refs[-1]
        request.refs.remove(refused)
        self._refs.pop(refused, None)
        if self.outstanding is request:
            self.outstanding = None
        request.retries += 1
        if request.retries > self._ctx.settings.max_request_retries:
            self._ctx.report(fault, CommandName.CREATE_RESPONSE, request_id=request.id)
            self.settle(request, Refused(fault=fault))
            self.pump(now)
            return True
        # It waits for a reason now: its clock starts again when it is sent again.
        request.nudge.fire(NudgeTrigger.DISARM)
        self._ctx.deadlines.cancel(("nudge", request.id))
        self._queue.insert(0, request)
        if self.active is None:
            request.not_before = now + RETRY_DELAY
            self._ctx.deadlines.set(("retry", ""), request.not_before)
        return True

    def refuse(self, ref: str, fault: ProviderFault, now: float) -> bool:
        """The provider would not make the response; whether `ref` is a request's."""
        if ref in self.unwanted:
            self.unwanted.forget(ref)
            self.pump(now)
            return True
        request = self._refs.get(ref)
        if request is None:
            return False
        self._ctx.report(fault, CommandName.CREATE_RESPONSE, request_id=request.id)
        if request.state is not RequestState.RUNNING:
            self.settle(request, Refused(fault=fault))
            self.pump(now)
        return True

    def finish(
        self,
        response: Response,
        stop_reason: StopReason,
        fault: ProviderFault | None,
        lost: str | None,
        now: float,
    ) -> None:
        """The terminal of `response`: settle what it answers and free the slot."""
        outcome: RequestOutcome
        if lost is not None:
            outcome = Lost(reason=lost)
        elif fault is not None and stop_reason is not StopReason.CANCELLED:
            outcome = Refused(fault=fault)
        else:
            outcome = Answered(response_id=response.id, stop_reason=stop_reason)
        for request in response.answers:
            self.settle(request, outcome)
        response.answers.clear()
        if self.active is response:
            self.active = None
        self.pump(now)

    def forget(self, response: Response) -> None:
        """Nothing is left to say about the response."""
        del self.live[response.id]
        self._ended.append(response.id)
        del self._ended[:-ENDED_IDS]

    # ---------------------------------------------------------------- time

    def on_nudge(self, request_id: str, now: float) -> None:
        """A window of a request's clock is over."""
        request = self._requests.get(request_id)
        if request is None:
            return
        clock, settings = request.nudge, self._ctx.settings
        may_ask = self.idle or (self.active is None and self.outstanding is request)
        may_ask = may_ask and not self.floor.user_speaks  # the model would talk over the user
        if clock.phase is not NudgePhase.ACKNOWLEDGED and not may_ask:
            clock.next_window(now)  # it waits for a reason: neither a nudge nor an attempt
        elif clock.attempts >= settings.nudge_max_attempts:
            self._stall(request, now)
            return
        else:
            clock.attempts += 1
            if clock.phase is not NudgePhase.ACKNOWLEDGED and settings.capabilities.nudge_supported:
                self._nudge(request)
            clock.next_window(now)
        self._ctx.deadlines.set(("nudge", request.id), clock.deadline)

    def _nudge(self, request: Request) -> None:
        clock = request.nudge
        clock.fire(NudgeTrigger.NUDGE)
        self.outstanding = request
        self._create(request)
        self._ctx.events.append(
            Nudged(
                attempt=clock.attempts,
                waited_ms=clock.waited_ms,
                modality=request.options.modality or self._ctx.settings.modality,
            )
        )

    def _stall(self, request: Request, now: float) -> None:
        clock = request.nudge
        clock.fire(NudgeTrigger.GIVE_UP)
        self._ctx.events.append(Stalled(attempts=clock.attempts, waited_ms=clock.waited_ms))
        for response in self.live.values():
            if request in response.answers:
                response.answers.remove(request)
        self.settle(request, Lost(reason="the model stayed silent"))
        self.pump(now)

    def on_request_deadline(self, request_id: str, now: float) -> None:
        """No response came in time."""
        request = self._requests.get(request_id)
        if request is not None:
            seconds = self._ctx.settings.request_deadline
            self.settle(request, Lost(reason=f"no response within {seconds:g} s"))
            self.pump(now)
