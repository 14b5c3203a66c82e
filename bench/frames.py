"""The frames of a provider that answers, as bytes: what the benchmark's server sends.

Field order, envelope and padding are those of live traffic: `type` first, `event_id` second, and
text deltas padded by an `obfuscation` field to some 300 bytes.
"""

from __future__ import annotations

import base64
import itertools
import json
from typing import Any

Frame = dict[str, Any]

TEXT = "response.output_text.delta"
TRANSCRIPT = "response.output_audio_transcript.delta"
AUDIO = "response.output_audio.delta"
ARGUMENTS = "response.function_call_arguments.delta"

WORDS = " the quick brown fox"


def dump(frame: Frame) -> bytes:
    """A frame as it stands on the wire."""
    return json.dumps(frame, separators=(",", ":")).encode()


def event(kind: str, **fields: Any) -> Frame:
    """A server event; its id is filled in later."""
    return {"type": kind, "event_id": "event_@EVENT@", **fields}


def speech(base64_bytes: int) -> str:
    """Base64 text of that many bytes, of PCM that is not all the same."""
    return base64.b64encode(bytes(range(256)) * (base64_bytes // 256))[:base64_bytes].decode()


def session_created() -> Frame:
    """The first frame of a connection."""
    session = {
        "type": "realtime",
        "object": "realtime.session",
        "id": "sess_bench",
        "model": "bench",
        "expires_at": 4102444800,
    }
    return event("session.created", session=session)


def session_updated(config: Frame) -> Frame:
    """The acknowledgement of a configuration."""
    merged = {**session_created()["session"], **config}
    return event("session.updated", session=merged)


def response(status: str, *, metadata: Frame | None = None, **fields: Any) -> Frame:
    """A response object."""
    return {
        "object": "realtime.response",
        "id": "resp_@RESPONSE@",
        "status": status,
        "status_details": None,
        "output": [],
        "conversation_id": "conv_bench",
        "output_modalities": ["audio"],
        "max_output_tokens": "inf",
        "audio": {"output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "marin"}},
        "usage": None,
        "metadata": metadata,
        **fields,
    }


def message(status: str, content: list[Frame]) -> Frame:
    """An assistant's message item."""
    return {
        "id": "item_@ITEM@",
        "object": "realtime.item",
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": content,
    }


USAGE = {
    "total_tokens": 230,
    "input_tokens": 30,
    "output_tokens": 200,
    "input_token_details": {
        "text_tokens": 30,
        "audio_tokens": 0,
        "image_tokens": 0,
        "cached_tokens": 0,
        "cached_tokens_details": {"text_tokens": 0, "audio_tokens": 0, "image_tokens": 0},
    },
    "output_token_details": {"text_tokens": 50, "audio_tokens": 150},
}

_PLACE = {"response_id": "resp_@RESPONSE@", "item_id": "item_@ITEM@", "output_index": 0}
_PART = {**_PLACE, "content_index": 0}


def delta(kind: str, piece: str) -> Frame:
    """More of an answer."""
    if kind == AUDIO:
        return event(kind, **_PART, delta=piece)
    return event(kind, **_PART, delta=piece, obfuscation="aB3dE6gH9jK2mN5pQ8")


def answer(deltas: list[tuple[str, str]], *, metadata: Frame | None = None) -> list[Frame]:
    """One whole response in the order a provider sends it."""
    kinds = {kind for kind, _ in deltas}
    text = "".join(piece for kind, piece in deltas if kind != AUDIO)
    written = TEXT in kinds
    part: Frame = (
        {"type": "text", "text": text} if written else {"type": "audio", "transcript": text}
    )
    content = {"type": "output_text" if written else "output_audio"}
    content |= {"text": text} if written else {"transcript": text}
    empty = {key: value if key == "type" else "" for key, value in part.items()}
    done = message("completed", [content])
    added = message("in_progress", [])
    frames = [
        event("response.created", response=response("in_progress", metadata=metadata)),
        event(
            "response.output_item.added",
            response_id="resp_@RESPONSE@",
            output_index=0,
            item=added,
        ),
        event("conversation.item.added", previous_item_id="item_@PREVIOUS@", item=added),
        event("response.content_part.added", **_PART, part=empty),
        *(delta(kind, piece) for kind, piece in deltas),
    ]
    if written:
        frames.append(event("response.output_text.done", **_PART, text=text))
    else:
        frames.append(event("response.output_audio.done", **_PART))
        frames.append(event("response.output_audio_transcript.done", **_PART, transcript=text))
    return [
        *frames,
        event("response.content_part.done", **_PART, part=part),
        event("conversation.item.done", previous_item_id="item_@PREVIOUS@", item=done),
        event(
            "response.output_item.done", response_id="resp_@RESPONSE@", output_index=0, item=done
        ),
        event(
            "response.done",
            response=response("completed", metadata=metadata, output=[done], usage=USAGE),
        ),
    ]


def tool_burst(calls: int, pieces: int) -> list[Frame]:
    """A response that calls tools: `pieces` argument deltas for each of `calls` calls."""
    frames = [event("response.created", response=response("in_progress"))]
    output: list[Frame] = []
    previous = "item_@PREVIOUS@"
    arguments = json.dumps({"query": "weather in Lisbon tomorrow", "days": 3})
    cuts = [len(arguments) * i // pieces for i in range(pieces + 1)]
    for number in range(calls):
        item_id = f"item_@ITEM@_{number:02}" if number < calls - 1 else "item_@ITEM@"
        call: Frame = {
            "id": item_id,
            "object": "realtime.item",
            "type": "function_call",
            "status": "in_progress",
            "call_id": f"call_@RESPONSE@_{number:02}",
            "name": "lookup",
            "arguments": "",
        }
        where = {
            "response_id": "resp_@RESPONSE@",
            "item_id": item_id,
            "output_index": number,
            "call_id": call["call_id"],
        }
        done = {**call, "status": "completed", "arguments": arguments}
        output.append(done)
        frames += [
            event(
                "response.output_item.added",
                response_id="resp_@RESPONSE@",
                output_index=number,
                item=call,
            ),
            event("conversation.item.added", previous_item_id=previous, item=call),
            *(
                event(ARGUMENTS, **where, delta=arguments[start:end])
                for start, end in itertools.pairwise(cuts)
            ),
            event(
                "response.function_call_arguments.done",
                **where,
                name="lookup",
                arguments=arguments,
            ),
            event("conversation.item.done", previous_item_id=previous, item=done),
            event(
                "response.output_item.done",
                response_id="resp_@RESPONSE@",
                output_index=number,
                item=done,
            ),
        ]
        previous = item_id
    frames.append(
        event("response.done", response=response("completed", output=output, usage=USAGE))
    )
    return frames
