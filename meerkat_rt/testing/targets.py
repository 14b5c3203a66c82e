"""Actions on one task of a program: ``cancel(receiver)``, ``raise(receiver)``.

They need not be registered: every task that the region's code spawns can be chosen, by the last
part of its name.  Of several with one name the oldest is meant, and the program's own before this
runtime's.  In what is given to a sweep, the name may be a pattern: ``cancel(*)`` is each task in
turn, ``raise(worker *)`` each worker.
"""

from __future__ import annotations

import functools
import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import attrs

from . import places

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    import trio

CANCEL_TASK = "cancel"
RAISE_IN_TASK = "raise"
NOT_IN_RECIPES = re.compile(r"[=:+\n]")
_TARGETED = re.compile(rf"({CANCEL_TASK}|{RAISE_IN_TASK})\((.+)\)")


class InjectedError(Exception):
    """What ``raise(...)`` raises where the chosen task stands, unless the trial says otherwise."""


@attrs.frozen
class Target:
    """What a targeted action does, and to which task."""

    verb: str
    name: str

    def __str__(self) -> str:
        return f"{self.verb}({self.name})"

    @classmethod
    @functools.lru_cache(maxsize=4096)
    def of(cls, action: str) -> Target | None:
        """The target of an action, if it has one."""
        found = _TARGETED.fullmatch(action)
        return None if found is None else cls(found[1], found[2])


def name_of(task: trio.lowlevel.Task) -> str:
    """The name by which a task is chosen."""
    return _in_recipes(places.task_name(task))


@functools.lru_cache(maxsize=4096)
def _in_recipes(name: str) -> str:
    return NOT_IN_RECIPES.sub("_", name)


def expanded(
    actions: Sequence[str],
    known: Iterable[str],
    spare: Sequence[str] = (),
    unless_named: Collection[str] = (),
) -> tuple[str, ...]:
    """The actions with each pattern replaced by what fits it, in the order of `known`.

    What fits one of the patterns in `spare` is left out, and from a bare ``*`` those of the actions
    `unless_named`.
    """
    known, found = list(known), dict[str, None]()
    for action in actions:
        target = Target.of(action)
        if action in known or target is None or not set("*?[") & set(target.name):
            found[action] = None
            continue
        for each in known:
            other = Target.of(each)
            if other is None or other.verb != target.verb:
                continue
            if target.name == "*" and each in unless_named:
                continue
            if fnmatchcase(other.name, target.name) and not any(
                fnmatchcase(other.name, pattern) for pattern in spare
            ):
                found[each] = None
    return tuple(found)
