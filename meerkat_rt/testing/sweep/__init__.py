"""The sweep command: `python -m meerkat_rt.testing.sweep --quick`, `--all`, or `module:attribute`.

A `Case` is a scenario with what a sweep of it needs to know; `plan` makes a list of jobs of many;
`pool` runs them over processes.
"""

from __future__ import annotations

from .case import TRANSPORTS as TRANSPORTS
from .case import Case as Case
