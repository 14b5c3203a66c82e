"""What durability costs: events a second, bytes a message, growth with the conversation.

`python -m bench.journal`.  A synthetic spoken conversation (a user's turn, an answer of forty
transcript deltas) goes through the synchronous core of the SQLite store, in batches as the journal
writer makes them.  What a store costs the event stream of a session is what `python -m bench`
measures.
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import click

from meerkat_rt.model.conversation import StopReason, Usage
from meerkat_rt.model.transcript import (
    AssistantTranscriptDelta,
    AssistantTurnCompleted,
    RealtimeTranscriptEvent,
    UserTranscriptFinal,
)
from meerkat_rt.runtime.ports import TranscriptBatch
from meerkat_rt.storage.journal import open_journal
from meerkat_rt.storage.schema import StoreOptions

DELTAS = 40  # an answer of some twelve seconds of speech
BATCH = 8  # events that wait when a commit ends, about, while a provider streams


@attrs.frozen(kw_only=True)
class Measured:
    """One conversation written: its messages and events, the time, and what the file holds."""

    messages: int
    events: int
    seconds: float
    file_bytes: int

    @property
    def microseconds(self) -> float:
        """CPU time of one event."""
        return self.seconds / self.events * 1e6


def conversation(turns: int) -> Iterator[RealtimeTranscriptEvent]:
    """The events of so many turns."""
    previous: str | None = None
    for turn in range(turns):
        user, answer, response = f"item_u{turn:08}", f"item_a{turn:08}", f"resp_{turn:08}"
        yield UserTranscriptFinal(
            item_id=user,
            previous_item_id=previous,
            content_index=0,
            text="And what do meerkats do when it rains for a whole week?",
        )
        for number in range(DELTAS):
            yield AssistantTranscriptDelta(
                response_id=response,
                delta_id=f"event_{turn:08}_{number:04}",
                item_id=answer,
                previous_item_id=user,
                content_index=0,
                delta=" they wait",
            )
        yield AssistantTurnCompleted(
            response_id=response,
            stop_reason=StopReason.END_TURN,
            usage=Usage(input_tokens=40, output_tokens=80),
        )
        previous = answer


def write(turns: int) -> Measured:
    """Write a conversation of so many turns into a new file."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "journal.db"
        journal = open_journal(path, "bench", options=StoreOptions(sync=False))
        events = messages = 0
        start = time.process_time()
        batch: list[RealtimeTranscriptEvent] = []
        for event in conversation(turns):
            batch.append(event)
            if len(batch) == BATCH:
                messages += len(journal.commit(TranscriptBatch(events=batch)))
                events += len(batch)
                batch = []
        messages += len(journal.commit(TranscriptBatch(events=batch)))
        events += len(batch)
        seconds = time.process_time() - start
        journal.close()
        size = sum(each.stat().st_size for each in Path(directory).iterdir())
    return Measured(messages=messages, events=events, seconds=seconds, file_bytes=size)


@click.command()
@click.option("--turns", default=50_000, show_default=True, help="Turns of the long conversation.")
def main(turns: int) -> None:
    """Measure the journal of the SQLite store."""
    print(f"{'messages':>10}{'events':>10}{'events/s':>12}{'us/event':>10}{'bytes/message':>15}")
    measured = []
    for size in (500, 5_000, turns):
        result = write(size)
        measured.append(result)
        print(
            f"{result.messages:>10,}{result.events:>10,}"
            f"{result.events / result.seconds:>12,.0f}{result.microseconds:>10.1f}"
            f"{result.file_bytes / result.messages:>15,.0f}",
            flush=True,
        )
    growth = measured[-1].microseconds / measured[0].microseconds
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"\nAn event of the longest conversation costs {growth:.2f} times one of the shortest; "
        f"peak memory {peak:.0f} MiB."
    )


if __name__ == "__main__":
    main()
