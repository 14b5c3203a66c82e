"""`python -m meerkat_rt`."""

from __future__ import annotations

from .console import main

if __name__ == "__main__":
    main()
