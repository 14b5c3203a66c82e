"""`python -m meerkat_rt.testing.parity [FILE]`: the table, or the table written into a file."""

from __future__ import annotations

import sys
from pathlib import Path

from .table import conducted, replaced, table


def main() -> None:
    """Run the suite; print the table, or put it between its marks in the file that is named."""
    made = table(conducted())
    if len(sys.argv) < 2:
        print(made)
        return
    file = Path(sys.argv[1])
    file.write_text(replaced(file.read_text(encoding="utf-8"), made), encoding="utf-8")


if __name__ == "__main__":
    main()
