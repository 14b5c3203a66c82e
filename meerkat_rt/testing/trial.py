"""What a scenario is given: the handle on one run of it."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Awaitable, Callable, Iterable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import attrs
import trio

from . import places
from .targets import NOT_IN_RECIPES, InjectedError, Target
from .wires import make_wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .scheduler import OpenedChannel
    from .wires import Wire, WireName

Scenario = Callable[["Trial"], Awaitable[object]]
"""A small program: it enters `Trial.region` once and runs what is under test in there."""

Verify = Callable[["Trial"], Iterable[str] | None]
"""Judges a finished run: gives a line for everything that is wrong, or fails an assertion."""

CANCEL = "cancel"
REASON = "cancel_everywhere"  # the reason that a Cancelled of ours carries


@attrs.frozen
class Action:
    """Something that can be done to the program between two steps."""

    fire: Callable[[], object]
    ends: bool
    stage: Callable[[], object] | None = None


@functools.cache
def _check_name(name: str) -> None:
    """Refuse what cannot be the name of an action; once for each name, not in each run."""
    if not name or NOT_IN_RECIPES.search(name):
        raise ValueError(f"{name!r} does not fit into a recipe: no '=', ':', '+' or line ends")
    if Target.of(name) is not None:
        raise ValueError(f"{name!r} is the form of an action on a task")


class Trial:
    """One run of a scenario.

    The scenario enters `region` once, around the code under test; what is outside (a scripted peer,
    a watcher) is not swept and survives the cancellation.  It may `note` what happens and
    `keep` what is to be looked at, for its `verify`, and register further `action`s.
    """

    def __init__(self) -> None:
        self.log: list[tuple[Any, ...]] = []
        self.keep = SimpleNamespace()  # whatever the scenario wants its verify to see
        self.scope = trio.CancelScope()
        self.actions: dict[str, Action] = {
            CANCEL: Action(lambda: self.scope.cancel(REASON), ends=True)
        }
        self.wires: list[Wire] = []
        self.entered = False
        self.in_region = False
        self.ended_at: float | None = None  # virtual time at which the region was left
        self.injected: str | None = None  # the first action that has been fired
        self.excused: str | None = None
        # What ``raise(...)`` raises: a scenario may put something else here.
        self.error: Callable[[], BaseException] = lambda: InjectedError("injected")
        self.raised: BaseException | None = None  # that, once it has been raised
        # Every living task that the region's code spawned, into whichever nursery, with the line
        # that did it, and the region's own.
        self.region_tasks: dict[trio.lowlevel.Task, str] = {}
        self.leaks: list[str] = []
        self.library_channels: list[str] = []
        self._channels: list[OpenedChannel] = []

    @contextlib.contextmanager
    def region(self) -> Iterator[trio.CancelScope]:
        """The block under test: points are counted and actions fired only while it runs.

        Its cancel scope is what the action "cancel" cancels.  When it is left, nothing that it
        started may be alive: no task, whichever nursery it was put into, and no memory channel end
        opened by code that is not a library's.

        Raises:
            RuntimeError: a second region in one run.
        """
        if self.entered:
            raise RuntimeError("a scenario enters its region once")
        root = trio.lowlevel.current_task()
        with self.scope:
            self.region_tasks[root] = ""
            self.entered = self.in_region = True
            try:
                yield self.scope
            finally:
                self.in_region = False
                self.ended_at = trio.current_time()
                del self.region_tasks[root]
                self._look_for_leaks()

    def _look_for_leaks(self) -> None:
        self.leaks += sorted(
            f"leaked task: {places.task_name(task)} @ {places.where(task)}, spawned at {spawned_at}"
            for task, spawned_at in self.region_tasks.items()
        )
        for channel in self._channels:
            ends = channel.open_ends
            if ends == (0, 0):
                continue
            line = (
                f"open channel: opened at {places.shown(channel.path)}:{channel.line}, "
                f"send ends {ends[0]}, receive ends {ends[1]}"
            )
            # A channel made inside an installed package is not the program's to close.
            theirs = places.is_library(channel.path)
            (self.library_channels if theirs else self.leaks).append(line)

    def on_channel_open(self, channel: OpenedChannel) -> None:
        """Called by the harness for every memory channel opened in the run."""
        try:
            opener = trio.lowlevel.current_task()
        except RuntimeError:
            return  # opened by an instrument or a callback: nobody's
        if opener in self.region_tasks:
            self._channels.append(channel)

    def action(
        self,
        name: str,
        fire: Callable[[], object],
        *,
        ends: bool = False,
        stage: Callable[[], object] | None = None,
    ) -> None:
        """Register what a sweep may do at every point: `fire` is called between two steps.

        It must be synchronous and quick: set an event, cancel a scope, close a stream.  `ends` says
        that the region is expected to end soon after it, as after a cancellation; then the time
        that takes is bounded.  `stage` is for what only prepares something, such as a fault for the
        next frame: as long as it gives the same value, `fire` comes to the same, and of such points
        in a row the last one stands for all.  Registering a name again replaces it.
        """
        _check_name(name)
        self.actions[name] = Action(fire, ends, stage)

    @contextlib.contextmanager
    def cancellable(self, name: str) -> Iterator[trio.CancelScope]:
        """A block that a sweep may cancel by itself, at every point at which it runs.

        The action is called `name`; the block is a cancel scope.
        """
        with trio.CancelScope() as scope:
            self.action(name, lambda: scope.cancel(REASON))
            try:
                yield scope
            finally:
                del self.actions[name]

    def note(self, *entry: Any) -> None:
        """Append a tuple to `log`."""
        self.log.append(entry)

    def wire(self, name: WireName = "memory") -> Wire:
        """An in-memory connection of the kind `name`; what its client does wrong fails the run."""
        wire = make_wire(name)
        self.wires.append(wire)
        return wire

    def was_injected(self) -> bool:
        """Whether an action has been fired in this run, for code that is lenient only then."""
        return self.injected is not None

    def ended_by(self, error: BaseException) -> None:
        """Say that the program ended with this error, and may therefore have dropped a `Cancelled`.

        For a scenario that catches, inside its region, an error that the program declares: where a
        cancellation and such an error meet, either may win.
        """
        self.excused = f"{type(error).__name__}: {error}"
