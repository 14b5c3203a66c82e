"""Pre-built server frames: what a provider sends while it answers."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Iterator
from typing import Any

Frame = dict[str, Any]

_ids = itertools.count()


def _event(kind: str, **fields: Any) -> Frame:
    return {"type": kind, "event_id": f"event_{next(_ids):012}", **fields}


def _response(response_id: str, status: str, **fields: Any) -> Frame:
    return {
        "object": "realtime.response",
        "id": response_id,
        "status": status,
        "status_details": None,
        "output": [],
        "conversation_id": "conv_bench",
        "output_modalities": ["audio"],
        "max_output_tokens": "inf",
        "audio": {"output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "marin"}},
        "usage": None,
        "metadata": None,
        **fields,
    }


def _item(item_id: str, status: str, content: list[Frame]) -> Frame:
    return {
        "id": item_id,
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": content,
    }


def session_created() -> Frame:
    """The first frame of a connection."""
    session = {
        "type": "realtime",
        "object": "realtime.session",
        "id": "sess_bench",
        "expires_at": 4102444800,
    }
    return _event("session.created", session=session)


def session_updated(config: Frame) -> Frame:
    """The acknowledgement of a configuration."""
    return _event("session.updated", session={**config, "id": "sess_bench"})


def answer(deltas: Iterator[tuple[str, str]], *, previous: str | None) -> tuple[list[Frame], str]:
    """One whole response in the order a provider sends it; returns its frames and its item's id."""
    number = next(_ids)
    response_id, item_id = f"resp_{number:012}", f"item_{number:012}"
    place = {"response_id": response_id, "item_id": item_id, "output_index": 0}
    part = {**place, "content_index": 0}
    frames = [
        _event("response.created", response=_response(response_id, "in_progress")),
        _event(
            "response.output_item.added",
            response_id=response_id,
            output_index=0,
            item=_item(item_id, "in_progress", []),
        ),
        _event(
            "conversation.item.added",
            previous_item_id=previous,
            item=_item(item_id, "in_progress", []),
        ),
    ]
    frames += [_event(kind, delta=delta, **part) for kind, delta in deltas]
    done = _item(item_id, "completed", [])
    frames += [
        _event("conversation.item.done", previous_item_id=previous, item=done),
        _event("response.output_item.done", response_id=response_id, output_index=0, item=done),
        _event(
            "response.done",
            response=_response(
                response_id,
                "completed",
                output=[done],
                usage={"total_tokens": 30, "input_tokens": 10, "output_tokens": 20},
            ),
        ),
    ]
    return frames, item_id


TEXT = "response.output_text.delta"
TRANSCRIPT = "response.output_audio_transcript.delta"
AUDIO = "response.output_audio.delta"


def _audio(n_bytes: int) -> str:
    return base64.b64encode(bytes(range(256)) * (n_bytes // 256)).decode()


def workload(name: str, responses: int, deltas: int) -> list[bytes]:
    """Frames of `responses` answers with `deltas` deltas each.

    `text`: small written deltas; `transcript`: small spoken ones; `audio`: 8 KiB of base64 each;
    `mix`: a spoken answer, three transcript deltas for every 4 KiB audio delta.
    """
    kinds = {
        "text": [(TEXT, " the quick brown")],
        "transcript": [(TRANSCRIPT, " the quick brown")],
        "audio": [(AUDIO, _audio(6144))],
        "mix": [(TRANSCRIPT, " the")] * 3 + [(AUDIO, _audio(3072))],
    }[name]
    frames: list[Frame] = []
    previous: str | None = None
    for _ in range(responses):
        more, previous = answer(itertools.islice(itertools.cycle(kinds), deltas), previous=previous)
        frames += more
    return [json.dumps(frame, separators=(",", ":")).encode() for frame in frames]
