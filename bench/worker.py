"""One subject in a process of its own: reads what to measure, a line each, and answers in JSON.

Runs in the subject's own environment, so it imports nothing but the standard library and the
subject.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import importlib.metadata
import json
import re
import sys

from .subjects import Tally


def main() -> None:
    """Serve the subject named on the command line."""
    subject = importlib.import_module(f"bench.subjects.{sys.argv[1]}")
    out = sys.stdout
    sys.stdout = sys.stderr  # a client that prints must not break the answers
    say(out, {"versions": versions(subject.PACKAGES)})
    for line in sys.stdin:
        order = json.loads(line)
        gc.collect()
        Tally.responses_of_a_unit = order["responses"]
        Tally.parts_of_a_unit = order["parts"]
        try:
            if "speak" in order:
                tally = subject.speak(
                    order["url"], order["units"], bytes(order["speak"]), order["pause"]
                )
            else:
                tally = subject.run(order["url"], order["units"], order["modality"])
            if asyncio.iscoroutine(tally):
                tally = asyncio.run(asyncio.wait_for(tally, order["timeout"]))
            say(out, {name: getattr(tally, name) for name in ("cpu", "wall", "text", "audio")})
        except Exception as error:  # reported beside the others' figures
            say(out, {"error": f"{type(error).__name__}: {error}"[:300]})


def say(out, answer: dict) -> None:
    """One line."""
    print(json.dumps(answer), file=out, flush=True)


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """What is installed of the subject."""
    names = [re.split(r"[\[<>=]", package)[0] for package in packages]
    found = {}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # a source tree
            found[name] = importlib.metadata.version(name)
    return found


if __name__ == "__main__":
    main()
