"""How a session outlives its connections: rotation before the provider's cap, and reconnection.

One task, among the producers, so that a closing session stops it first.  It owns no connection: a
link is a task of the supervisor's, of which at most one is the session's and at most one is being
made ready to take its place.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

import trio

from ..model.conversation import SystemMessage
from ..model.errors import ConnectionReset, LlmError, NetworkTimeout, RateLimited
from ..model.events import ClosedBy, CloseReason, Reconnecting, SessionRotated, SessionRotating
from ..model.turns import newest_turns
from ..turn.crossing import Terms
from . import link as links
from .changes import Changes
from .continuity_policy import ContinuityPolicy
from .errors import ReconnectExhausted
from .handover import adopt, drop_link, keep_sent_audio
from .journey import Journey, ResumeAt, Swap
from .recollection import Recollection
from .signal import Signal
from .timetable import Timetable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..model.conversation import Message
    from ..model.live_config import RealtimeConfig
    from ..providers.base import Replay
    from ..turn.effects import LinkEnding, Recollect, ResumptionPoint
    from .core import SessionCore
    from .link import Link
    from .origin import Origin


class Continuity:
    """What of a session outlives its connections, and the task that replaces them."""

    def __init__(self, core: SessionCore, origin: Origin, policy: ContinuityPolicy | None) -> None:
        self._core = core
        self.origin = origin
        self.policy = policy
        self.recollection = Recollection()
        self.point: ResumeAt | None = None
        self.wake = Signal()
        self.running = False
        self.changes = Changes()
        self.timetable = Timetable(policy)
        self._rng: random.Random | None = None  # 2.5 KiB, which most sessions never need
        self._error: LlmError | None = None  # why there is no connection
        self._attempts = 0  # since a connection was steady
        self._doomed: tuple[CloseReason, LlmError] | None = None
        self._moved = False
        self._replay: Replay | None = None  # to be sent to the session that is resumed
        self._unsent: frozenset[str] = frozenset()
        self._failed_over = False
        self._replacing = False  # another connection is on its way
        self._before: Link | None = None  # the last one, whose session may be resumed

    # ---------------------------------------------------------------- what happens to the link

    def may_recover(self, error: LlmError | None) -> bool:
        """Whether a link that ended with `error` (None: cleanly) is to be replaced."""
        policy = self.policy
        if self._replacing:
            return True
        if policy is None or policy.max_attempts == 0:
            return False
        if error is None:
            # An orderly end, by the provider.  It came amiss only if somebody waits for an answer,
            # or if it was the announced end of the connection and not of the conversation.
            return self._core.machine.unanswered or self.timetable.ends_at is not None
        return error.retryable or (policy.failover is not None and not self._failed_over)

    def lost(self, link: Link, error: LlmError | None) -> None:
        """The session has no connection any more."""
        self._before = link
        self._error = error
        self._doomed = None
        self.timetable.forget()
        if self._lasted(link):
            self._attempts = 0
        self.notice()

    def _lasted(self, link: Link) -> bool:
        policy = self.policy or ContinuityPolicy()
        return trio.current_time() - link.opened_at >= policy.steady

    def dropping(self, replay: Replay | None, unsent: frozenset[str]) -> None:
        """The connection is being given up; `replay` is what its provider has not heeded."""
        self._replay, self._unsent = replay, unsent

    def link_ending(self, effect: LinkEnding) -> None:
        """The provider will end the connection."""
        self.timetable.announced(effect.time_left)
        self.notice()

    def ending(self, reason: CloseReason, error: LlmError) -> None:
        """The provider said that the session is over; its close frame may follow."""
        self._doomed = reason, error
        self.notice()

    def notice(self) -> None:
        """Let the task look again, whatever it waits for."""
        self.wake.set()
        if self._core.boundary is not None:
            self._core.boundary.set()

    def close(self) -> None:
        """The session has ended."""
        self.changes.close()

    def resumption_point(self, effect: ResumptionPoint) -> None:
        """The provider told from where its session can be resumed.

        Where it says that it cannot be resumed from now, the state before stands.
        """
        if effect.handle is None:
            return
        core = self._core
        calls = {call.call_id for call in core.machine.open_calls()}
        self.point = ResumeAt(
            handle=effect.handle,
            at=trio.current_time(),
            items=effect.items,
            recollected=self.recollection.count,
            calls=frozenset(calls | core.lanes.waiting_outputs()),
        )

    def recollect(self, effect: Recollect) -> None:
        """A call has its outcome."""
        self.recollection.call(effect, len(self._core.history.spoken))

    # ---------------------------------------------------------------- the configuration

    @property
    def config(self) -> RealtimeConfig:
        """The configuration as it will be when every pending change is made."""
        return self.changes.on(self._core.dialect.config)

    def ask(
        self, config: RealtimeConfig, *, at_once: bool, bridge: str | None, patience: float
    ) -> Swap:
        """Ask for a swap; the task does it.  `patience`: seconds to wait for a turn's end."""
        call = self._core.tools.own_call()
        swap = self.changes.ask(
            config,
            at_once=at_once,
            bridge=bridge,
            patience=patience,
            caller=None if call is None else call.call_id,
        )
        self.notice()
        self._core.summons.set()
        return swap

    # ---------------------------------------------------------------- the task

    async def run(self, nursery: trio.Nursery) -> None:
        """Replace links, in `nursery`, until cancelled, or until there will be no other."""
        self.running = True
        core = self._core
        while not core.close_requested.is_set():
            if self._doomed is not None:
                (reason, error), self._doomed = self._doomed, None
                if core.link is not None:
                    core.link.scope.cancel(reason=reason.text)
                    core.link_lost(core.link, reason, error)
            elif core.link is None:
                await self._reconnect(nursery)
            elif self.changes.swaps or trio.current_time() >= self.timetable.rotate_at(core.link):
                await self._replace(nursery, core.link)
            else:
                with trio.move_on_at(self.timetable.rotate_at(core.link)):
                    await self.wake.wait()

    # ---------------------------------------------------------------- a planned swap

    async def _replace(self, nursery: trio.Nursery, old: Link) -> None:
        core = self._core
        keep_sent_audio(core, trio.current_time())
        if not await self._boundary(old):
            return  # it is lost: that comes first
        asked = bool(self.changes.swaps)  # some may have been withdrawn, or have come
        if not asked and trio.current_time() < self.timetable.rotate_at(old):
            return
        why = "resume_with" if asked else "age" if self.timetable.ends_at is None else "going_away"
        core.events.put([SessionRotating(why=why)])
        self._replacing = True
        try:
            await self._swap(nursery, old)
        finally:
            self._replacing = False

    async def _swap(self, nursery: trio.Nursery, old: Link) -> None:
        core = self._core
        while True:
            try:
                journey = self._prepare()
                if journey.point is not None:
                    break
                link = await self._dial(nursery, journey)
            except LlmError as error:
                if core.link is old:
                    self._fail(error)
                return
            if await self._warm(old, link, journey):
                self._cross(link, journey)
                return
            if link.ended.is_set() and not await self._outwait(old, link):
                return
        # The provider refuses to resume a session that still has its connection.
        self._let_go(old)
        with trio.move_on_after(2 * core.limits.close_grace):
            await old.gone.wait()
        await self._reconnect(nursery, planned=True)

    async def _warm(self, old: Link, link: Link, journey: Journey) -> bool:
        """Keep `link` ready until it may take over.  Whether it can; if not it is let go."""
        fit = False
        link.start.set()
        try:
            if self._core.link is old:
                await self._boundary(old, link)
            # Of what was changed, or asked for, meanwhile, it does not know.
            same = journey.current == self._current() and journey.swaps == tuple(self.changes.swaps)
            fit = same and not link.ended.is_set()
        finally:
            if not fit:
                link.retire(self._core.limits.close_grace)
        return fit

    async def _outwait(self, old: Link, link: Link) -> bool:
        """`link` ended while it waited for its turn: whether to try once more, after a while.

        Not where the last moment comes first: then the end of the old one is a loss like another.
        """
        core = self._core
        _, error = link.ending or (None, None)
        if error is None:
            error = ConnectionReset("the next connection ended before it took over")
        if core.link is old and self._doomed is None:
            again = trio.current_time() + (self.policy or ContinuityPolicy()).max_backoff
            if not error.retryable or again >= self.timetable.until(old, self.changes.swaps):
                self._fail(error)
                return False
            with trio.move_on_at(again):
                while core.link is old and self._doomed is None:
                    await self.wake.wait()
        return core.link is old and self._doomed is None

    def _fail(self, error: LlmError) -> None:
        """The swaps that had begun did not come about; all else goes on as it was."""
        self.changes.fail(error)
        self.timetable.postpone()

    async def _boundary(self, link: Link, following: Link | None = None) -> bool:
        """Wait for the boundary between two turns, as long as there is time for it.

        And as long as `following` is alive, which is ready.  Whether the link is alive still.
        """
        core = self._core
        core.boundary = Signal()
        try:
            while core.link is link and self._doomed is None and not core.at_boundary:
                if following is not None and following.ended.is_set():
                    break
                until = self.timetable.until(link, self.changes.swaps)
                if trio.current_time() >= until:
                    break
                with trio.move_on_at(until):
                    await core.boundary.wait()
        finally:
            core.boundary = None
        return core.link is link and self._doomed is None

    # ---------------------------------------------------------------- reconnection

    async def _reconnect(self, nursery: trio.Nursery, *, planned: bool = False) -> None:
        """Get the session a connection again, or end it.  `planned`: none was lost."""
        core = self._core
        policy = self.policy or ContinuityPolicy()
        error = self._error
        deadline = trio.current_time() + (policy.max_total or math.inf)
        late = tried = False
        while not core.close_requested.is_set():
            if planned:
                planned = False  # nothing has failed yet
            else:
                if late or self._attempts >= policy.max_attempts or not _retryable(error):
                    if self._fail_over():
                        error = None  # it was the first provider's
                        late = tried = False
                        deadline = trio.current_time() + (policy.max_total or math.inf)
                        continue
                    break
                delay = self._delay(policy, error)
                if trio.current_time() + delay >= deadline:
                    if tried or _told_to_wait(error):
                        late = True  # nobody waits in silence for what will not come
                        continue
                    delay = 0.0  # one attempt there is, however little time
                tried = True
                self._attempts += 1
                reason = "" if error is None else str(error)
                core.events.put(
                    [Reconnecting(attempt=self._attempts, next_delay=delay, reason=reason)]
                )
                await trio.sleep(delay)
            try:
                with trio.fail_at(deadline):
                    journey, link = await self._redial(nursery)
            except trio.TooSlowError:
                late = True
                continue
            except LlmError as failed:
                error = failed
                continue
            self._cross(link, journey)
            if core.link is not None:
                return
            error, self._error = self._error, None
        if not core.close_requested.is_set():
            self._give_up(error)

    async def _redial(self, nursery: trio.Nursery) -> tuple[Journey, Link]:
        """Connect once: to the provider's own session, or where that is gone, to a new one."""
        try:
            return await self._once(nursery)
        except LlmError as error:
            if self.changes.swaps and not error.retryable:
                # Maybe it is the new configuration that is refused: the old one is known to work.
                self._fail(error)
            elif self.point is None or _of_the_network(error):
                raise
            else:
                self.point = None  # too old, perhaps: what was said is told to a new session
        try:
            return await self._once(nursery)
        except LlmError as error:
            if self.point is None or _of_the_network(error):
                raise
        self.point = None
        return await self._once(nursery)

    async def _once(self, nursery: trio.Nursery) -> tuple[Journey, Link]:
        journey = self._prepare()
        return journey, await self._dial(nursery, journey)

    def _delay(self, policy: ContinuityPolicy, error: LlmError | None) -> float:
        """How long to wait before the next attempt."""
        if self._rng is None:
            seed = self._core.settings.seed if policy.seed is None else policy.seed
            self._rng = random.Random(seed)
        delay = policy.delay(self._attempts + 1, self._rng)
        if isinstance(error, RateLimited) and error.retry_after_ms is not None:
            delay = max(delay, error.retry_after_ms / 1000)
        return delay

    def _fail_over(self) -> bool:
        """Go on at the second provider, if there is one; whether there is."""
        policy = self.policy
        if policy is None or policy.failover is None or self._failed_over:
            return False
        self._failed_over = True
        self._attempts = 0
        self._error = None
        self.point = None
        target = policy.failover
        self.origin = self.origin.elsewhere(target.provider, target.llm_identity)
        return True

    def _give_up(self, error: LlmError | None) -> None:
        core = self._core
        text = f"the connection could not be replaced: {error or 'no attempt came in time'}"
        exhausted = ReconnectExhausted(text, self._attempts)
        exhausted.__cause__ = error
        core.machine.link_lost(trio.current_time())
        core.step()
        core.request_close(CloseReason(by=ClosedBy.NETWORK, text=text, clean=False), exhausted)

    # ---------------------------------------------------------------- one connection

    def _prepare(self) -> Journey:
        """What the next connection is opened with.  The swaps that are asked for begin here.

        Raises:
            LlmError: the configuration cannot work.
        """
        core, point = self._core, self.point
        config, current = self.config, self._current()
        swaps = self.changes.begin()
        elsewhere = self._failed_over and not self._moved
        if elsewhere:
            config = self.origin.provider.config
        told = set(core.machine.known_items[: 0 if point is None else point.items])
        replay = None if point is None else self._replay
        if replay is not None:
            told |= replay.items
        history: Sequence[Message] = ()
        if point is None:
            history, told = self.recollection.so_far(core)
            if self.policy is not None and self.policy.budget is not None:
                history = newest_turns(history, self.policy.budget).messages
        plan = self.origin.plan(
            config,
            history,
            () if point is not None else core.machine.open_calls(),
            now=core.settings,
            handle=None if point is None else point.handle,
            resend=() if replay is None else replay.frames,
            unchanged=config == core.dialect.config and not (swaps or elsewhere),
        )
        return Journey(
            plan=plan,
            swaps=() if elsewhere else swaps,
            current=current,
            point=point,
            told=told,
            recollected=self.recollection.count if point is None else point.recollected,
            seeded_calls=self.recollection.calls() if point is None else (),
            replay=replay,
            elsewhere=elsewhere,
        )

    def _current(self) -> object:
        """All that the live session was configured with, to be compared."""
        return self._core.dialect.config, self.origin.config

    async def _dial(self, nursery: trio.Nursery, journey: Journey) -> Link:
        plan = journey.plan
        return await links.start_link(
            self._core, plan.connector, plan.dialect, plan.opening, nursery
        )

    def _let_go(self, old: Link) -> None:
        """The session has no connection from now on; the old one is closed in order."""
        core = self._core
        if core.link is old:
            drop_link(core, old)
            self._before = old
            if self._lasted(old):
                self._attempts = 0
            else:  # a provider that sends us away again and again is not followed at its pace
                self.timetable.postpone()
            old.retire(core.limits.close_grace)

    def _cross(self, link: Link, journey: Journey) -> None:
        """`link` becomes the session's."""
        core = self._core
        if core.link is not None:
            self._let_go(core.link)
        plan, point = journey.plan, journey.point
        replay = journey.replay
        answerable = frozenset(plan.answerable if point is None else point.calls)
        if replay is not None:
            answerable -= replay.calls  # which are answered by it
        without = answerable if replay is None else answerable | replay.calls
        missing = self.recollection.missing(core, journey, without)
        known = (*journey.seeded_calls, *self.recollection.calls(journey.recollected))
        if point is not None and self._before is not None:
            link.codec.carry_on(self._before.codec, answerable)
        done = self.changes.take(journey.swaps)
        for swap in done:
            if swap.bridge is not None:
                bridge = SystemMessage(swap.bridge)
                self.recollection.tell(bridge, len(core.history.spoken))
                missing.append(bridge)
        retooled = any(swap.updates.tools is not None for swap in done)
        if point is None:
            self.point = None
        core.lanes.expire(trio.current_time())
        refs, commits = core.lanes.waiting_refs()
        terms = Terms(
            resumed=point is not None,
            moved=journey.elsewhere,
            replayed=replay is not None,
            expected=replay is not None and (replay.asked or bool(replay.calls)),
            unsent=tuple(sorted(self._unsent)),
            missing=tuple(missing),
            answerable=tuple(sorted(answerable)),
            known=known,
            waiting=refs,
            commits=commits,
            audio=core.lanes.media_bytes,
            uncommitted=core.lanes.uncommitted_bytes,
            settings=plan.settings,
            tools=self.origin.specs(plan.config) if retooled else None,
        )
        self._error = self._doomed = None
        self.timetable.forget()
        self._moved = self._failed_over
        adopt(core, link, plan.dialect, terms)
        core.events.put(
            [SessionRotated(session_id=link.session_id, state_restored=point is not None)]
        )
        for swap in done:
            swap.finish()


def _retryable(error: LlmError | None) -> bool:
    return error is None or error.retryable


def _told_to_wait(error: LlmError | None) -> bool:
    return isinstance(error, RateLimited) and error.retry_after_ms is not None


def _of_the_network(error: LlmError) -> bool:
    """The provider has not said anything about what it was asked for."""
    return isinstance(error, (ConnectionReset, NetworkTimeout))
