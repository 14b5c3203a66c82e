"""Other names for what a provider calls by an id that the session knows from before.

A session outlives its connections, and a conversation its sessions, but some servers count anew on
each connection.  A second `item_1` would then be taken for the first, and what it says be lost; so
here it gets a name of its own, which is put back in what is written to that connection.
"""

from __future__ import annotations

from itertools import count
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import attrs

from ..turn.context import SEED_PREFIX
from ..turn.provider_events import TextDelta, TextDone, TranscriptDelta, TranscriptDone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ..turn.ports import ProviderCommand, ProviderEvent
    from .core import SessionCore

_KINDS = {
    "item_id": "item",
    "previous_item_id": "item",
    "item_ids": "item",
    "response_id": "response",
    "call_id": "call",
    "call_ids": "call",
}

_PIECES = (TextDelta, TranscriptDelta, TextDone, TranscriptDone)
"""What history knows a piece of text by the `event_id` of; a final text may bring the last one."""

_REMEMBERED = 1024  # combinations of ids that have been looked at and are fine

# By class: the fields with ids, each with its kind, and what gets them all.
_fields: dict[type, tuple[tuple[tuple[str, str], ...], Callable[[Any], object]]] = {}


class Aliases:
    """The names of one connection.  `known` tells for each kind of thing what was there before it.

    The kinds are "item", "response" and "call".  `deltas` are the ids of the pieces of text that
    were there: too many are said to remember each, and which were there before is enough, as long
    as two with one id on this connection are still one.  Grows by one entry an id of the three
    kinds, and ends with its connection.
    """

    def __init__(
        self, known: Mapping[str, Callable[[str], bool]], deltas: frozenset[str] = frozenset()
    ) -> None:
        self._known = known
        self._deltas = deltas
        self._names: dict[tuple[str, str], str] = {}  # what is heard -> what it is called here
        self._wire: dict[tuple[str, str], str] = {}  # and back, where they differ
        self._fine: set[tuple[type, object]] = set()  # events with such ids stay as they are

    @classmethod
    def beside(cls, core: SessionCore) -> Aliases:
        """Those of a connection that has to do with nothing that the session knows so far."""
        machine, pasts = core.machine, [core.history.authority]
        if core.history.past is not None:
            pasts.append(core.history.past)

        def response(response_id: str) -> bool:
            return machine.knows_response(response_id) or any(
                past.knows_response(response_id) for past in pasts
            )

        known = {
            "item": lambda item_id: any(past.knows_item(item_id) for past in pasts),
            "response": response,
            "call": machine.knows_call,
        }
        return cls(known, frozenset().union(*(past.delta_ids for past in pasts)))

    def heard(self, events: Iterable[ProviderEvent]) -> list[ProviderEvent]:
        """What the connection says, in the session's names."""
        if self._deltas:
            return [self._piece(self._heard(event)) for event in events]
        return [self._heard(event) for event in events]

    def _piece(self, event: ProviderEvent) -> ProviderEvent:
        """A piece of text, under an id that no earlier one has."""
        if not isinstance(event, _PIECES) or event.event_id not in self._deltas:
            return event
        names = (f"{event.event_id}~{n}" for n in count(2))
        return attrs.evolve(
            event, event_id=next(each for each in names if each not in self._deltas)
        )

    def _heard(self, event: ProviderEvent) -> ProviderEvent:
        cls = type(event)
        fields, ids = _fields.get(cls) or _fields_of(cls)
        if not fields:
            return event
        key = cls, ids(event)
        if key in self._fine:
            return event
        renamed: ProviderEvent = self._renamed(event, fields, self._name)
        if renamed is event:
            if len(self._fine) >= _REMEMBERED:
                self._fine.clear()
            self._fine.add(key)
        return renamed

    def said(self, command: ProviderCommand) -> ProviderCommand:
        """What is written to the connection, in its own names."""
        fields, _ = _fields.get(type(command)) or _fields_of(type(command))
        renamed: ProviderCommand = self._renamed(command, fields, self._said)
        return renamed

    def _name(self, kind: str, heard: str) -> str:
        key = kind, heard
        name = self._names.get(key)
        if name is None:
            name, known = heard, self._known[kind]
            if not heard.startswith(SEED_PREFIX) and known(heard):
                name = next(each for n in count(2) if not known(each := f"{heard}~{n}"))
                self._wire[kind, name] = heard
            self._names[key] = name
        return name

    def _said(self, kind: str, name: str) -> str:
        wire = self._wire.get((kind, name))
        if wire is not None:
            return wire
        self._names.setdefault((kind, name), name)  # the provider will speak of it
        return name

    def _renamed(
        self, thing: Any, fields: tuple[tuple[str, str], ...], rename: Callable[[str, str], str]
    ) -> Any:
        changed: dict[str, Any] = {}
        for field, kind in fields:
            value = getattr(thing, field)
            if not value:
                continue
            if type(value) is str:
                name: Any = rename(kind, value)
            else:
                name = tuple(rename(kind, each) for each in value)
            if name != value:
                changed[field] = name
        return attrs.evolve(thing, **changed) if changed else thing


def _fields_of(cls: type) -> tuple[tuple[tuple[str, str], ...], Callable[[Any], object]]:
    fields = tuple(
        (field.name, _KINDS[field.name]) for field in attrs.fields(cls) if field.name in _KINDS
    )
    ids: Callable[[Any], object] = attrgetter(*(name for name, _ in fields)) if fields else id
    _fields[cls] = fields, ids
    return fields, ids
