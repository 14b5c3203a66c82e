"""Other names for what a provider calls by an id that the session knows from before.

A session outlives its connections, and a conversation its sessions, but some servers count anew on
each connection.  A second `item_1` would then be taken for the first, and what it says be lost; so
here it gets a name of its own, which is put back in what is written to that connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from ..turn.context import SEED_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ..turn.ports import ProviderCommand, ProviderEvent
    from .core import SessionCore
    from .link import Link

_KINDS = {
    "item_id": "item",
    "previous_item_id": "item",
    "item_ids": "item",
    "response_id": "response",
    "call_id": "call",
    "call_ids": "call",
}

_fields: dict[type, tuple[tuple[str, str], ...]] = {}


class Aliases:
    """The names of one connection.  `known` tells for each kind of thing what was there before it.

    The kinds are "item", "response" and "call".  Grows by one entry an id, and ends with its
    connection.
    """

    def __init__(self, suffix: str, known: Mapping[str, Callable[[str], bool]]) -> None:
        self._suffix = suffix
        self._known = known
        self._names: dict[tuple[str, str], str] = {}  # what is heard -> what it is called here
        self._wire: dict[tuple[str, str], str] = {}  # and back, where they differ

    @classmethod
    def beside(cls, core: SessionCore, link: Link) -> Aliases:
        """Those of `link`, which has to do with nothing that the session knows so far."""
        machine, pasts = core.machine, [core.authority]
        if core.past is not None:
            pasts.append(core.past)

        def response(response_id: str) -> bool:
            return machine.knows_response(response_id) or any(
                past.knows_response(response_id) for past in pasts
            )

        known = {
            "item": lambda item_id: any(past.knows_item(item_id) for past in pasts),
            "response": response,
            "call": machine.knows_call,
        }
        return cls(link.name.rpartition("_")[2], known)

    def heard(self, events: Iterable[ProviderEvent]) -> list[ProviderEvent]:
        """What the connection says, in the session's names."""
        return [self._renamed(event, self._name) for event in events]

    def said(self, command: ProviderCommand) -> ProviderCommand:
        """What is written to the connection, in its own names."""
        renamed: ProviderCommand = self._renamed(command, self._said)
        return renamed

    def _name(self, kind: str, heard: str) -> str:
        key = kind, heard
        name = self._names.get(key)
        if name is None:
            name = heard
            if not heard.startswith(SEED_PREFIX) and self._known[kind](heard):
                name = f"{heard}~{self._suffix}"
                self._wire[kind, name] = heard
            self._names[key] = name
        return name

    def _said(self, kind: str, name: str) -> str:
        wire = self._wire.get((kind, name))
        if wire is not None:
            return wire
        self._names.setdefault((kind, name), name)  # the provider will speak of it
        return name

    def _renamed(self, thing: Any, rename: Callable[[str, str], str]) -> Any:
        changed: dict[str, Any] = {}
        for field, kind in _fields.get(type(thing)) or _fields_of(type(thing)):
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


def _fields_of(cls: type) -> tuple[tuple[str, str], ...]:
    found = tuple(
        (field.name, _KINDS[field.name]) for field in attrs.fields(cls) if field.name in _KINDS
    )
    _fields[cls] = found
    return found
