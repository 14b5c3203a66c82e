"""A run of deltas stands for the deltas, and for nothing else."""

from __future__ import annotations

import pytest
from transcript.transcript_kit import run_of

from meerkat_rt.model.delta_run import one_by_one
from meerkat_rt.model.transcript import AssistantTextDelta, AssistantTranscriptDelta, ItemSkipped
from meerkat_rt.runtime.ports import TranscriptBatch
from meerkat_rt.storage.encoding import decode_events, encode_events

KINDS = [AssistantTextDelta, AssistantTranscriptDelta]


def deltas(kind, *pieces, item="item_1", previous="item_0"):
    return [
        kind(
            response_id="resp_1",
            delta_id=f"event_{item}_{number}",
            item_id=item,
            previous_item_id=previous,
            content_index=2,
            delta=piece,
        )
        for number, piece in enumerate(pieces)
    ]


def run(kind, *pieces, item="item_1", previous="item_0"):
    return run_of(deltas(kind, *pieces, item=item, previous=previous))


@pytest.mark.parametrize("kind", KINDS)
def test_iterating_gives_the_events(kind):
    assert list(run(kind, "Good ", "morning")) == deltas(kind, "Good ", "morning")
    assert len(run(kind, "Good ", "morning")) == 2


def test_entries_one_by_one_keep_their_order():
    skipped = ItemSkipped(item_id="item_9")
    entries = [skipped, run(KINDS[0], "a", "b"), run(KINDS[1], "c", item="item_2"), skipped]
    assert list(one_by_one(entries)) == [
        skipped,
        *deltas(KINDS[0], "a", "b"),
        *deltas(KINDS[1], "c", item="item_2"),
        skipped,
    ]


def test_a_batch_has_runs_for_who_knows_them_and_events_for_everybody():
    entry = run(KINDS[0], "a", "b")
    batch = TranscriptBatch(events=[entry, ItemSkipped(item_id="item_9")])
    assert batch.entries[0] is entry
    assert batch.events == (*deltas(KINDS[0], "a", "b"), ItemSkipped(item_id="item_9"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_is_written_like_its_events(kind):
    events = deltas(kind, "a", "b", "c")
    first, rest = events[0], run_of(events[1:])
    whole = encode_events(events)
    assert len(whole) == 1
    assert encode_events([run(kind, "a", "b", "c")]) == encode_events([first, rest]) == whole
    assert list(decode_events(whole)) == events


def test_runs_of_two_texts_are_two_records():
    entries = [run(KINDS[0], "a"), run(KINDS[0], "b", item="item_2"), run(KINDS[0], "c")]
    assert len(encode_events(entries)) == 3
    assert list(decode_events(encode_events(entries))) == list(one_by_one(entries))
