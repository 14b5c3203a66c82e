"""The bodies of rows: JSON as bytes, and a checksum that ties each to its place.

Text of any kind passes, also half of a surrogate pair, which strict UTF-8 refuses and providers
send when they cut a delta in the middle of an emoji.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import TYPE_CHECKING

from ..model import codec
from ..model.conversation import JSON, Message
from ..model.delta_run import DeltaRun
from ..model.errors import InvalidJson
from ..model.transcript import (
    AppendRealtimeTranscript,
    AssistantTextDelta,
    AssistantTranscriptDelta,
    RealtimeTranscriptEvent,
)
from ..runtime.ports import StagedTranscript, StoredMessage
from ..transcript.increments import (
    UnsettledState,
    item_from_json,
    item_to_json,
    response_from_json,
    response_to_json,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..model.delta_run import TranscriptEntry


# Of a message.  What is written must be read again, perhaps by a caller who has used up more of the
# stack; reading takes two calls a level, of a thousand.  The arguments of a tool have about ten.
MAX_DEPTH = 128

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def to_bytes(data: JSON) -> bytes:
    """JSON, compact."""
    return _ENCODER.encode(data).encode("utf-8", "surrogatepass")


def from_bytes(body: bytes) -> JSON:
    """What `to_bytes` was given.  Raises ValueError."""
    return json.loads(body.decode("utf-8", "surrogatepass"))


def text_key(text: str) -> bytes:
    """A text as the key of a row."""
    return text.encode("utf-8", "surrogatepass")


def checksum(table: str, session_id: str, row: str, body: bytes) -> bytes:
    """What is kept beside a body, so that neither it nor its place can change unnoticed."""
    place = "\0".join((table, session_id, row, ""))
    digest = blake2b(place.encode("utf-8", "surrogatepass"), digest_size=8)
    digest.update(body)
    return digest.digest()


def is_intact(table: str, session_id: str, row: str, body: object, sum_: object) -> bool:
    """Whether a body is the one that was written there."""
    return isinstance(body, bytes) and checksum(table, session_id, row, body) == sum_


# ---------------------------------------------------------------- events

# Nearly all events are deltas.  A run of them is one record: what they share, then the ids, then
# the pieces.  Nothing of them is lost or joined.
_RUNS: dict[type, str] = {AssistantTextDelta: "display", AssistantTranscriptDelta: "spoken"}
_RUN_TYPES = {
    tag: kind
    for kind, tag in ((AssistantTextDelta, "display"), (AssistantTranscriptDelta, "spoken"))
}


def encode_events(entries: Iterable[TranscriptEntry]) -> list[JSON]:
    """The records of events, and of runs of them."""
    records: list[JSON] = []
    shared: tuple[JSON, ...] | None = None
    ids: list[str] = []
    pieces: list[str] = []
    for entry in entries:
        match entry:
            case DeltaRun(kind=kind, delta_ids=more_ids, deltas=more_pieces):
                pass
            case AssistantTextDelta() | AssistantTranscriptDelta():
                kind, more_ids, more_pieces = entry.__class__, [entry.delta_id], [entry.delta]
            case _:
                shared = None
                records.append(codec.encode(entry))
                continue
        of_this = (
            kind,
            entry.item_id,
            entry.response_id,
            entry.content_index,
            entry.previous_item_id,
        )
        if of_this != shared:
            shared, ids, pieces = of_this, [], []
            records.append([_RUNS[kind], *of_this[1:], ids, pieces])
        ids += more_ids
        pieces += more_pieces
    return records


def decode_events(records: Iterable[JSON]) -> Iterator[RealtimeTranscriptEvent]:
    """The events of `encode_events`, one by one."""
    for record in records:
        if isinstance(record, list):
            tag, item_id, response_id, content_index, previous, ids, pieces = record
            for delta_id, piece in zip(ids, pieces, strict=True):
                yield _RUN_TYPES[tag](
                    response_id=response_id,
                    delta_id=delta_id,
                    item_id=item_id,
                    previous_item_id=previous,
                    content_index=content_index,
                    delta=piece,
                )
        else:
            yield codec.decode(record, RealtimeTranscriptEvent)


def named_responses(records: Iterable[JSON]) -> set[str]:
    """The responses that the events of some records name."""
    return {
        response_id
        for record in records
        if (response_id := record[2] if isinstance(record, list) else record.get("response_id"))
    }


# ---------------------------------------------------------------- messages and staged texts


def encode_message(stored: StoredMessage) -> bytes:
    """A message with the items that it was made of.

    Raises:
        InvalidJson: it has no JSON form, or is nested more than `MAX_DEPTH` deep.
    """
    message = codec.encode(stored.message)
    _check_depth(message)
    return to_bytes({"item_ids": list(stored.item_ids), "message": message})


def _check_depth(message: JSON) -> None:
    level = [message]
    for _ in range(MAX_DEPTH):
        level = [
            value
            for each in level
            if isinstance(each, (dict, list))
            for value in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return
    raise InvalidJson(f"a message is nested more than {MAX_DEPTH} levels deep")


def decode_message(data: JSON) -> StoredMessage:
    """The message of `encode_message`, from its JSON."""
    return StoredMessage(codec.decode(data["message"], Message), data["item_ids"])


def staged_to_json(entry: StagedTranscript) -> JSON:
    """A staged text."""
    return {"append": codec.encode(entry.append), "previous_item_id": entry.previous_item_id}


def staged_from_json(data: JSON) -> StagedTranscript:
    """The text of `staged_to_json`."""
    return StagedTranscript(
        codec.decode(data["append"], AppendRealtimeTranscript), data["previous_item_id"]
    )


# ---------------------------------------------------------------- the unsettled part


def unsettled_to_json(unsettled: UnsettledState) -> dict[str, JSON]:
    """The unsettled part of a state."""
    return {
        "items": [item_to_json(item) for item in unsettled.items],
        "responses": [
            response_to_json(response_id, response)
            for response_id, response in unsettled.responses.items()
        ],
        "loose_delta_ids": list(unsettled.loose_delta_ids),
    }


def unsettled_from_json(data: JSON) -> UnsettledState:
    """The part of `unsettled_to_json`.  Raises TranscriptStateError among others."""
    return UnsettledState(
        items=tuple(map(item_from_json, data["items"])),
        responses=dict(map(response_from_json, data["responses"])),
        loose_delta_ids=tuple(data["loose_delta_ids"]),
    )
