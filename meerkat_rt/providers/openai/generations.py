"""What a model's name says about it.

The protocol is the same for all models; the only settings that some of them refuse are those of
reasoning.  Names change faster than releases of this package, so there is no list of models: a name
of the known families is judged by its number, and of any other name (a deployment's, a newer
family's) nothing is assumed and nothing is forbidden.
"""

from __future__ import annotations

import re

_NUMBERED = re.compile(r"gpt-realtime-(\d{1,3})(?:\.\d+)?(?:-.*)?")  # four digits are a date
_UNNUMBERED = re.compile(r"gpt-realtime(?:-mini)?(?:-\d{4}-\d{2}-\d{2})?")
_BEFORE = re.compile(r"gpt-4o(?:-mini)?-realtime(?:-.*)?|gpt-audio(?:-.*)?")

FIRST_REASONING = 2  # gpt-realtime-2


def reasons(model: str) -> bool | None:
    """Whether `model` takes `reasoning` and `parallel_tool_calls`; None: its name does not say."""
    if numbered := _NUMBERED.fullmatch(model):
        return int(numbered[1]) >= FIRST_REASONING
    if _UNNUMBERED.fullmatch(model) or _BEFORE.fullmatch(model):
        return False
    return None
