"""The client's messages: exactly one key each, every one of them whole.

What the protocol has no message for is refused, in words that say what to use instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pybase64

from ...model.conversation import JSON
from ...model.errors import InvalidRequest, RequestTooLarge
from ...turn import ports
from ...turn.ports import ResponseOptions
from .tools_json import SILENT
from .wire_json import from_json, to_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ...model.media import ResponseModality
    from ...turn.ports import ProviderCommand, SendToolOutput
    from .tools_json import ToolScheduling

AUDIO_PER_MESSAGE = 32 * 1024  # bytes; a second of input at 16 kHz, ten times what is recommended
MAX_AUDIO_BYTES = 15 * 1024 * 1024  # in one command; as the session itself limits it

ACTIVITY_START = b'{"realtimeInput":{"activityStart":{}}}'
ACTIVITY_END = b'{"realtimeInput":{"activityEnd":{}}}'
AUDIO_STREAM_END = b'{"realtimeInput":{"audioStreamEnd":true}}'
TURN_COMPLETE = b'{"clientContent":{"turnComplete":true}}'

_TAIL = b'"}}}'


def audio(data: bytes, rate: int) -> Iterator[bytes]:
    """Input audio, written by hand: it is most of what is ever sent, and needs no escaping.

    Raises:
        RequestTooLarge: over 15 MiB.
    """
    if len(data) > MAX_AUDIO_BYTES:
        raise RequestTooLarge(
            f"{len(data)} bytes of audio at once; at most {MAX_AUDIO_BYTES} are allowed",
            len(data),
            MAX_AUDIO_BYTES,
        )
    head = b'{"realtimeInput":{"audio":{"mimeType":"audio/pcm;rate=%d","data":"' % rate
    for start in range(0, len(data), AUDIO_PER_MESSAGE):
        chunk = data[start : start + AUDIO_PER_MESSAGE]
        yield b"".join((head, pybase64.b64encode(chunk), _TAIL))


def contents(turns: Sequence[Mapping[str, JSON]], *, complete: bool) -> bytes:
    """Turns of the conversation; `complete`: the model is to answer."""
    return to_json({"clientContent": {"turns": turns, "turnComplete": complete}})


def realtime_text(text: str) -> bytes:
    """Text that counts as the user's activity."""
    return to_json({"realtimeInput": {"text": text}})


def tool_output(
    command: SendToolOutput,
    *,
    call_id: str | None,
    asynchronous: bool,
    scheduling: ToolScheduling | None,
) -> bytes:
    """The answer to one call; `call_id` None: the provider named none."""
    response: dict[str, JSON] = {"name": command.name, "response": _answer(command)}
    if call_id is not None:
        response["id"] = call_id
    if asynchronous:
        if not command.wants_response:
            response["scheduling"] = SILENT
        elif scheduling is not None:
            response["scheduling"] = scheduling.value
    return to_json({"toolResponse": {"functionResponses": [response]}})


def _answer(command: SendToolOutput) -> dict[str, JSON]:
    """The answer as the object that it has to be: `output` or `error`, or what the tool made."""
    value = from_json(command.output)
    if command.is_error:
        if isinstance(value, dict) and "error" in value:
            return value
        return {"error": command.output}
    return value if isinstance(value, dict) else {"output": value}


# ---------------------------------------------------------------- what cannot be said

_NEVER = {
    ports.ClearAudio: "Gemini cannot take back audio that it has",
    ports.TruncateItem: "Gemini cannot truncate what it said",
    ports.DeleteItem: "Gemini cannot forget a part of the conversation",
    ports.UpdateSession: (
        "Gemini acknowledges no change of a live session; resume it with another configuration"
    ),
}


def check_possible(command: ProviderCommand) -> None:
    """Refuse commands that no Gemini session has.

    Raises:
        InvalidRequest: the protocol has no such message.
    """
    why = _NEVER.get(type(command))
    if why is not None:
        raise InvalidRequest(why)


_DEFAULTS = ResponseOptions()


def check_options(options: ResponseOptions, modality: ResponseModality) -> None:
    """Refuse what a single response cannot be here.

    Raises:
        InvalidRequest: an option is set that differs from the session.
    """
    for field in attrs.fields(ResponseOptions):
        value = getattr(options, field.name)
        if value == field.default or value in ({}, ()):
            continue
        if field.name == "modality" and value is modality:
            continue
        raise InvalidRequest(
            f"{field.name} is {value!r}; every response of a Gemini session is what the session "
            "is: leave it out"
        )


# ---------------------------------------------------------------- raw messages

_KEYS = {
    "clientContent": "clientContent",
    "client_content": "clientContent",
    "realtimeInput": "realtimeInput",
    "realtime_input": "realtimeInput",
    "toolResponse": "toolResponse",
    "tool_response": "toolResponse",
    "contextUpdate": "contextUpdate",
    "context_update": "contextUpdate",
}
_INPUTS = {
    "activity_start": "activityStart",
    "activity_end": "activityEnd",
    "audio_stream_end": "audioStreamEnd",
    "media_chunks": "mediaChunks",
}


@attrs.frozen
class Raw:
    """A message of the application's own: its key, and what stands under it in camel case."""

    key: str
    body: dict[str, JSON]

    @property
    def frame(self) -> bytes:
        """The message."""
        return to_json({self.key: self.body})


def raw(payload: Mapping[str, JSON]) -> Raw:
    """Read a message of the application's own.

    Raises:
        InvalidRequest: it is none of this protocol's.
    """
    if "type" in payload:
        raise InvalidRequest(f"Gemini has no {payload['type']}")
    names = list(payload)
    if len(names) != 1 or names[0] not in _KEYS:
        told = ", ".join(map(str, names)) or "nothing"
        raise InvalidRequest(
            f"a client message of Gemini has one key, and this one has {told}; allowed: "
            "clientContent, realtimeInput, toolResponse, contextUpdate"
        )
    body = payload[names[0]]
    key = _KEYS[names[0]]
    if not isinstance(body, dict):
        raise InvalidRequest(f"{key} is {type(body).__name__}; allowed: an object")
    body = {_INPUTS.get(name, name): value for name, value in body.items()}
    if key == "realtimeInput" and len(body) != 1:
        raise InvalidRequest(
            f"realtimeInput has {', '.join(body) or 'nothing'}; allowed: exactly one field"
        )
    return Raw(key, body)
