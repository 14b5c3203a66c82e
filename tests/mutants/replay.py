"""`python -m tests.mutants.replay MUTANT ...`: the sweep command, with the mistake planted."""

from __future__ import annotations

import sys

from .mistakes import MUTANTS
from .planting import plant


def main() -> None:
    """Plant the mutant and hand the other arguments on; a replay runs in this process."""
    if len(sys.argv) < 2 or sys.argv[1] not in MUTANTS:
        raise SystemExit(f"which mutant? {', '.join(MUTANTS)}")
    plant(MUTANTS[sys.argv.pop(1)])
    from meerkat_rt.testing.sweep.__main__ import main as sweep

    sweep()


if __name__ == "__main__":
    main()
