"""Who is measured.  Each module drives one client, as that client's documentation shows it.

A module has `NAME`, `TITLE`, `PACKAGES` (what `setup` installs), `NOTE` (what its user gets, where
that differs from others), and a coroutine or function `run(url, units, modality)` that returns a
`Tally`; `modality` is "audio" or "text".  If its client can send audio, it has
`speak(url, chunks, data, pause)` as well, and `SPEAKING`: what one call does.
It is imported in an environment that holds its own client and not ours.
"""

from __future__ import annotations

import time

LAST_WORD = "That is all."  # what the server answers to requests beyond the first


class Tally:
    """What the user of a client received, and what receiving it cost.

    Times run from `start`, called just before the answer is asked for, to the last `response`.
    """

    responses_of_a_unit = 1
    parts_of_a_unit = 1  # messages and tool calls

    def __init__(self, units: int) -> None:
        self.expected = units * self.responses_of_a_unit
        self.responses = 0
        self.expected_parts = units * self.parts_of_a_unit
        self.text: int | None = 0
        self.audio: int | None = 0
        self.cpu = 0.0
        self.wall = 0.0

    def start(self) -> None:
        """The answer is about to be asked for."""
        self.cpu = -time.process_time()
        self.wall = -time.perf_counter()

    def response(self) -> bool:
        """One more response has ended; True for the last."""
        self.responses += 1
        return self.responses >= self.expected and self.stop()

    def stop(self) -> bool:
        """All is there."""
        self.cpu += time.process_time()
        self.wall += time.perf_counter()
        return True
