"""Where the command finds scenarios: by `module:attribute`."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .case import Case

OURS = "meerkat_rt.testing.scenarios:SCENARIOS"
"""This runtime's own."""


class NoScenarios(ValueError):
    """A source cannot be imported, or what it names is no scenario; the message says which."""


@functools.cache
def cases_of(source: str) -> dict[str, Case]:
    """The cases that `module:attribute` names, by their own names.

    The attribute is a `Case`, an async function that takes a trial, or a collection of either (a
    mapping's values count).

    Raises:
        NoScenarios: it is not there, is something else, or two have one name.
    """
    module_name, colon, attribute = source.partition(":")
    if not colon or not module_name or not attribute:
        raise NoScenarios(f"{source!r} is not of the form module:attribute")
    if "" not in sys.path:
        sys.path.insert(0, "")  # `python -m` has it; a worker process of ours need not
    try:
        found: Any = importlib.import_module(module_name)
        for name in attribute.split("."):
            found = getattr(found, name)
    except (ImportError, AttributeError) as error:
        raise NoScenarios(f"{source}: {error}") from error
    cases: dict[str, Case] = {}
    for case in _cases(source, found):
        if case.name in cases:
            raise NoScenarios(f"{source}: two scenarios are called {case.name!r}")
        cases[case.name] = case
    if not cases:
        raise NoScenarios(f"{source} is empty")
    return cases


def _cases(source: str, found: Any) -> Iterator[Case]:
    if isinstance(found, Case):
        yield found
    elif callable(found):
        yield Case.of(found)
    elif isinstance(found, Mapping):
        yield from _cases(source, list(found.values()))
    elif isinstance(found, Iterable) and not isinstance(found, (str, bytes)):
        for each in found:
            yield from _cases(source, each)
    else:
        raise NoScenarios(
            f"{source} holds {type(found).__name__!r}: wanted a Case, an async function that takes "
            f"a trial, or a collection of either"
        )
