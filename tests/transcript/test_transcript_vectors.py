"""Recorded event sequences, each with the outcome that it must have."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from transcript.transcript_kit import Log

from meerkat_rt import transcript
from meerkat_rt.model.conversation import (
    AssistantText,
    StopReason,
    Usage,
    UserMessage,
)
from meerkat_rt.transcript import RealtimeTranscriptRole

VECTORS = json.loads((Path(__file__).parents[1] / "data" / "transcript_vectors.json").read_text())[
    "vectors"
]

KINDS = {
    re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower(): kind
    for kind in transcript.RealtimeTranscriptEvent.__args__
}


def event(data):
    fields = {key: value for key, value in data.items() if key != "type"}
    if "role" in fields:
        fields["role"] = RealtimeTranscriptRole(fields["role"])
    if "stop_reason" in fields:
        fields["stop_reason"] = StopReason(fields["stop_reason"])
        fields["usage"] = Usage(**fields["usage"])
    return KINDS[data["type"]](**fields)


def message_data(message):
    if isinstance(message, UserMessage):
        return {"role": "user", "content": [block.text for block in message.content]}
    return {
        "role": "assistant",
        "stop_reason": message.stop_reason.value,
        "blocks": [
            {
                "kind": "text" if isinstance(block, AssistantText) else "transcript",
                "text": block.text,
            }
            for block in message.blocks
        ],
    }


def test_all_nine_kinds_of_events_have_a_tag():
    assert len(KINDS) == 9
    assert {data["type"] for vector in VECTORS for data in vector["events"]} <= KINDS.keys()


@pytest.mark.parametrize("restarting", [False, True], ids=["straight", "restarting"])
@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_vector(vector, restarting):
    log = Log(restarting=restarting)
    expected = vector["expected"]
    assert [log(event(data)) for data in vector["events"]] == expected["materialized_per_event"]
    assert [message_data(message) for message in log.messages] == expected["messages"]
    assert log.usage == tuple(expected["usage"].values())
    assert log.in_flight == expected["in_flight_response_ids"]
