"""The bounds of a session: what each may be, and how the rest is refused."""

from __future__ import annotations

import math
import re

import attrs
import numpy as np
import pytest

from meerkat_rt import SessionLimits
from meerkat_rt.model.errors import InvalidConfig

FIELDS = attrs.fields(attrs.resolve_types(SessionLimits))
TIMES = [field.name for field in FIELDS if field.type is float]
COUNTS = [field.name for field in FIELDS if field.type is int]


def refused(field, value, allowed):
    words = re.escape(f"SessionLimits.{field} is {value!r}; allowed: {allowed}")
    with pytest.raises(InvalidConfig, match=words):
        SessionLimits(**{field: value})


@pytest.mark.parametrize("field", TIMES)
def test_a_wait_is_some_time(field):
    for value in ("10", 0, -1, math.nan, True, None):
        refused(field, value, "a number of seconds, more than 0")
    for value in (1, 0.001, 1e9, math.inf, np.float32(2.0)):
        SessionLimits(**{field: value})


@pytest.mark.parametrize("field", COUNTS)
def test_a_cap_is_a_whole_number(field):
    low = 0 if field == "nudge_max_attempts" else 1
    for value in ("256", low - 1, 1.5, 0.5, math.nan, math.inf, True, None):
        refused(field, value, f"a whole number, {low} or more")
    for value in (low, 10**9, 1e6, np.int64(5)):
        SessionLimits(**{field: value})


def test_every_bound_is_one_or_the_other():
    assert len(TIMES) + len(COUNTS) == len(FIELDS)
