"""A machine that tells of each of its inputs, and of what came of it.

The same class records and replays: what is told of a live session is written down, and what is told
of a replay is compared with that.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
from typing import TYPE_CHECKING, Any, Final, Protocol

import attrs

from ..model.delta_run import one_by_one
from ..model.events import RealtimeSessionEvent
from ..turn.crossing import Terms
from ..turn.effects import Effect, Send
from ..turn.machine import SessionMachine
from .form import Verbatim, compact, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..model.conversation import JSON
    from ..turn.effects import MachineSettings, ToolSpec
    from ..turn.ports import ProviderEvent
    from .redaction import Shapes

INPUTS: Final = (
    "seeded", "observe", "timer", "link_lost", "link_dropped", "link_restored", "close",
    "audio_appended", "send_text", "unstage_text", "commit_turn", "commit_audio", "clear_audio",
    "request_response", "interrupt", "truncate", "submit_tool_result", "submit_tool_error",
    "update_session", "send_raw",
    "audio_delivered", "audio_dropped", "report_playback",
    "tool_returned", "tool_raised", "tool_stopped",
)  # fmt: skip
"""Every method through which something enters a machine."""


@attrs.frozen(kw_only=True)
class Input:
    """One call of a method of the machine."""

    method: str
    now: float | None
    arguments: dict[str, Any]


@attrs.frozen(kw_only=True)
class Reaction:
    """What came of one input.

    `verdicts` are what the tools' validators said of arguments, in order.  `raised` is the name of
    the exception that refused the input.  `names` name what the machine said, in the order of its
    three lists: events, `~` facts of history, `>` effects.  `digest` is that of all of it.
    """

    verdicts: tuple[str | None, ...]
    raised: str | None
    names: tuple[str, ...]
    digest: str
    events: tuple[RealtimeSessionEvent, ...]
    effects: tuple[Effect, ...]


class Listener(Protocol):
    """Is told of what a machine does."""

    def validator(self, spec: ToolSpec) -> Callable[[JSON], str | None]:
        """What is to judge arguments in the place of `spec.validate`."""
        ...

    def reacted(self, told: Input, reaction: Reaction) -> None:
        """The machine took an input."""
        ...

    def failed(self, error: Exception) -> None:
        """An input could not be told of, by a mistake of ours.  Must not raise."""
        ...


class RecordedMachine(SessionMachine):
    """See the module.  `shapes` None: outputs are compared in full."""

    def __init__(
        self, settings: MachineSettings, listener: Listener, shapes: Shapes | None
    ) -> None:
        self._listener = listener
        self._shapes = shapes
        self._leaves = shapes or Verbatim()
        self._verdicts: list[str | None] = []
        super().__init__(attrs.evolve(settings, tools=self._judged(settings.tools)))

    def observe_all(self, events: Iterable[ProviderEvent], now: float) -> None:
        """Each event is an input of its own."""
        for event in events:
            self.observe(event, now)

    def _judged(self, specs: tuple[ToolSpec, ...]) -> tuple[ToolSpec, ...]:
        if self._shapes is not None:
            self._shapes.tools.update(spec.name for spec in specs)
        return tuple(
            spec
            if spec.validate is None
            else attrs.evolve(spec, validate=self._noted(self._listener.validator(spec)))
            for spec in specs
        )

    def _noted(self, validate: Callable[[JSON], str | None]) -> Callable[[JSON], str | None]:
        def judge(arguments: JSON) -> str | None:
            verdict = validate(arguments)
            self._verdicts.append(verdict)
            return verdict

        return judge

    def _take(
        self, method: Callable[..., Any], parameters: tuple[str, ...], args: Any, kwargs: Any
    ) -> Any:
        ctx = self._ctx
        arguments = {**dict(zip(parameters, args, strict=False)), **kwargs}
        if "item_ids" in arguments:
            arguments["item_ids"] = tuple(arguments["item_ids"])
        specs, terms = arguments.get("tools"), arguments.get("terms")
        passed = arguments
        if specs:
            passed = {**arguments, "tools": self._judged(specs)}
        elif isinstance(terms, Terms) and terms.tools:
            passed = {**arguments, "terms": attrs.evolve(terms, tools=self._judged(terms.tools))}
        now = arguments.pop("now", None)
        counts = len(ctx.events), len(ctx.transcript), len(ctx.effects)
        returned, raised = None, None
        try:
            returned = method(self, **({**passed, "now": now} if now is not None else passed))
        except Exception as error:
            raised = type(error).__name__
            raise
        finally:
            self._output.end_runs()  # what an input comes to does not depend on who drains when
            told = Input(method=method.__name__, now=now, arguments=arguments)
            try:
                self._listener.reacted(told, self._reaction(counts, returned, raised))
            except Exception as error:  # a session must not suffer from being watched
                self._listener.failed(error)
        return returned

    def _reaction(
        self, counts: tuple[int, int, int], returned: object, raised: str | None
    ) -> Reaction:
        ctx = self._ctx
        events = ctx.events[counts[0] :]
        history = list(one_by_one(ctx.transcript[counts[1] :]))
        effects = ctx.effects[counts[2] :]
        verdicts, self._verdicts = tuple(self._verdicts), []
        names = [
            *(type(event).__name__ for event in events),
            *("~" + type(event).__name__ for event in history),
            *(">" + _name(effect) for effect in effects),
        ]
        said = [returned, events, history, effects]
        return Reaction(
            verdicts=verdicts,
            raised=raised,
            names=tuple(names),
            digest="" if not names and returned is None else self._digest(said),
            events=tuple(events),
            effects=tuple(effects),
        )

    def _digest(self, said: object) -> str:
        # What is returned are ids of our own.
        form = plain(said, self._leaves, field="id")
        return hashlib.blake2b(compact(form), digest_size=8).hexdigest()


def _name(effect: Effect) -> str:
    return type(effect.command if isinstance(effect, Send) else effect).__name__


def _recorded(method: Callable[..., Any]) -> Callable[..., Any]:
    parameters = tuple(inspect.signature(method).parameters)[1:]

    @functools.wraps(method)
    def take(self: RecordedMachine, *args: Any, **kwargs: Any) -> Any:
        return self._take(method, parameters, args, kwargs)

    return take


for _input in INPUTS:
    setattr(RecordedMachine, _input, _recorded(getattr(SessionMachine, _input)))
