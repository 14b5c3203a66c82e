"""Runs tool calls: one nursery for the session, one cancel scope and one done-event per call."""

from __future__ import annotations

import contextvars
import inspect
import math
import sys
from typing import TYPE_CHECKING

import attrs
import trio

from ..model.conversation import JSON
from .tools import Tool, as_result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..model.conversation import ToolResult
    from .tools import ToolSet

MAX_WORDS = 10_000  # characters of one error that a model is told

current_call: contextvars.ContextVar[Call | None] = contextvars.ContextVar(
    "meerkat_rt_current_call", default=None
)
"""The call that the current task runs for: a tool may interrupt or close its own session."""


@attrs.define(eq=False, kw_only=True)
class Call:
    """One running call."""

    call_id: str
    tool: Tool
    arguments: JSON
    owner: ToolDispatch = attrs.field(repr=False)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, repr=False)
    done: trio.Event = attrs.field(factory=trio.Event, repr=False)
    task: trio.lowlevel.Task | None = attrs.field(default=None, repr=False)
    interrupting: bool = False  # it waits in `interrupt` for what it has stopped


class ToolDispatch:
    """The calls that run now.

    `start` and `cancel` are synchronous.  What came of a call is told through three callbacks, each
    in one synchronous step after the handler ended; `broken` is told that a handler raised what
    stops a program, which comes out of `run` only when the other calls have ended.

    A call id may come again while the handler of an earlier, settled call still unwinds.  It is the
    new call's then: the old one counts as running until it has ended, and nothing is told of it.
    """

    def __init__(
        self,
        tools: ToolSet,
        *,
        returned: Callable[[ToolResult], None],
        raised: Callable[[str, str], None],
        stopped: Callable[[str], None],
        broken: Callable[[], None],
    ) -> None:
        self._tools = tools
        self._returned = returned
        self._raised = raised
        self._stopped = stopped
        self._broken = broken
        self._calls: dict[str, Call] = {}
        self._replaced: list[Call] = []  # whose id is another call's by now
        self._starting: list[Call] = []  # a handful
        self._wakeup = trio.Event()
        # Worker threads that run, also when their call was abandoned.
        self.threads: list[str] = []

    @property
    def running(self) -> tuple[Call, ...]:
        """Calls that have not ended, in the order they were started."""
        return (*self._replaced, *self._calls.values())

    @property
    def stopping(self) -> tuple[Call, ...]:
        """Those that were cancelled."""
        return tuple(call for call in self.running if call.scope.cancel_called)

    def start(self, call_id: str, name: str, arguments: JSON) -> None:
        """Start a call.  Its arguments have been validated."""
        call = Call(call_id=call_id, tool=self._tools[name], arguments=arguments, owner=self)
        if (earlier := self._calls.pop(call_id, None)) is not None:
            self._replaced.append(earlier)
        self._calls[call_id] = call
        self._starting.append(call)
        self._wakeup.set()

    def cancel(self, call_id: str, reason: str) -> None:
        """Cancel a call, if it still runs."""
        call = self._calls.get(call_id)
        if call is not None:
            call.scope.cancel(reason=reason)

    def find(self, call_ids: Iterable[str]) -> list[Call]:
        """Those of the calls that still run."""
        return [self._calls[call_id] for call_id in call_ids if call_id in self._calls]

    def own_call(self) -> Call | None:
        """The call that the current task is part of, if it is.

        The context variable alone would not do: a task that a tool starts in somebody else's
        nursery inherits it, and lives on when the call has ended.
        """
        call = current_call.get()
        if call is None or call.owner is not self or call.task is None:
            return None
        task: trio.lowlevel.Task | None = trio.lowlevel.current_task()
        while task is not None and task is not call.task:
            task = None if task.parent_nursery is None else task.parent_nursery.parent_task
        return None if task is None else call

    async def run(self) -> None:
        """Run calls until cancelled; then cancel them all and wait for them."""
        try:
            async with trio.open_nursery() as nursery:
                while True:
                    while self._starting:
                        call = self._starting.pop(0)
                        nursery.start_soon(self._run_call, call, name=f"tool {call.tool.name}")
                    self._wakeup = trio.Event()
                    await self._wakeup.wait()
        finally:
            self.close()

    def close(self) -> None:
        """Nothing runs any more: calls that were requested and never begun have been stopped."""
        while self._starting:
            call = self._starting.pop(0)
            self._leave(call, self._stopped_report(call))

    async def _run_call(self, call: Call) -> None:
        current_call.set(call)
        call.task = trio.lowlevel.current_task()
        report = self._stopped_report(call)
        try:
            with call.scope:
                await trio.lowlevel.checkpoint_if_cancelled()  # the handler may act before its own
                report = await self._outcome(call)
        except BaseException as error:
            # A handler with a nursery of its own was cancelled, and one of its tasks failed in its
            # cleanup; or it raises the cancellation of a scope that it has left.  That is the
            # call's outcome, and no error of the session's.
            cancelled, errors = _parted(error)
            if errors is not None and not _is_outcome(errors):
                self._broken()
                raise
            ending = trio.current_effective_deadline() == -math.inf
            if errors is not None or not ending:
                report = self._raised_report(call, errors or error)
            if cancelled is not None and ending:
                raise cancelled from None
        finally:
            # Also when the whole dispatch is being torn down: the outcome is still due.
            self._leave(call, report)

    def _stopped_report(self, call: Call) -> Callable[[], None]:
        return lambda: self._stopped(call.call_id)

    def _raised_report(self, call: Call, error: BaseException) -> Callable[[], None]:
        text = describe(error)
        return lambda: self._raised(call.call_id, text)

    def _leave(self, call: Call, report: Callable[[], None]) -> None:
        if call in self._replaced:
            self._replaced.remove(call)
        else:
            del self._calls[call.call_id]
            report()
        call.done.set()

    async def _outcome(self, call: Call) -> Callable[[], None]:
        """Run the handler; say how to report what came of it.

        What is no error of the handler's escapes: a cancellation, also in a group, or an interrupt.
        """
        try:
            run = call.tool.bound(call.arguments)
            value = run() if call.tool.is_async else (await self._in_thread(call, run))[0]
            if inspect.isawaitable(value):  # of an async function behind a plain one, too
                value = await value
            result = as_result(call.call_id, value)
        except BaseException as error:
            if not _is_outcome(error):
                raise
            return self._raised_report(call, error)
        return lambda: self._returned(result)

    async def _in_thread(self, call: Call, run: Callable[[], object]) -> tuple[object]:
        """Run a plain function.  Its value comes in a tuple, where Trio takes no offence at it."""
        name = f"tool {call.tool.name} ({call.call_id})"

        def work() -> tuple[object]:
            self.threads.append(name)
            try:
                return (run(),)
            finally:
                self.threads.remove(name)

        return await trio.to_thread.run_sync(work, abandon_on_cancel=True, thread_name=name)


def _parted(error: BaseException) -> tuple[BaseException | None, BaseException | None]:
    """The cancellations in an error, and the rest."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(trio.Cancelled)
    return (error, None) if isinstance(error, trio.Cancelled) else (None, error)


def _is_outcome(error: BaseException) -> bool:
    """Whether an error is the handler's alone; what stops a program is not, nor is a cancellation.

    A coroutine or an asyncio loop that a handler ran has errors of its own, which are nothing here.
    """
    if isinstance(error, BaseExceptionGroup):
        return all(map(_is_outcome, error.exceptions))
    asyncio = sys.modules.get("asyncio")  # where it is not loaded, none of its errors is raised
    return isinstance(error, (Exception, GeneratorExit)) or (
        asyncio is not None and isinstance(error, asyncio.CancelledError)
    )


def describe(error: BaseException) -> str:
    """An error in words for the model.  Of a group: the words of each.

    Never fails, and what it gives can be sent, whatever an error of the application's has to say.
    """
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(describe(each) for each in error.exceptions)
    try:
        words = str(error).encode(errors="backslashreplace").decode()
    except Exception:
        words = ""
    if len(words) > MAX_WORDS:
        words = f"{words[:MAX_WORDS]}... ({len(words)} characters)"
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
