"""From neutral commands to frames.

Every event carries the command's `ref` as its `event_id`, which the provider names in an error
where it can; audio has none, for nothing acknowledges it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pybase64

from ...model.checks import expect, shown
from ...model.errors import InvalidRequest, RequestTooLarge
from ...model.media import ResponseModality
from ...turn import ports
from ...turn.ports import ResponseOptions
from .checks import MAX_OUTPUT_TOKENS
from .seeding import items_of
from .tools_json import TOOL_NAME, choice_by_name
from .wire_json import to_json

if TYPE_CHECKING:
    from ...model.conversation import JSON
    from ...turn.ports import ProviderCommand
    from .session_update import Settings

MAX_AUDIO_BYTES = 15 * 1024 * 1024  # per event
MAX_METADATA_PAIRS = 16
MAX_METADATA_KEY = 64
MAX_METADATA_VALUE = 512
MAX_ITEM_ID = 32

REQUEST_KEY = "meerkat_request"
"""The metadata key under which a response carries the reference of its request."""

_U32_MAX = 2**32 - 1
_APPEND = b'{"type":"input_audio_buffer.append","audio":"'


def append_audio(data: bytes) -> list[bytes]:
    """Input audio, written by hand: it is most of what is ever sent, and needs no escaping.

    Raises:
        RequestTooLarge: over 15 MiB in one event.
    """
    if len(data) > MAX_AUDIO_BYTES:
        raise RequestTooLarge(
            f"{len(data)} bytes of audio in one event; at most {MAX_AUDIO_BYTES} are allowed",
            len(data),
            MAX_AUDIO_BYTES,
        )
    if not data:
        return []
    return [b"".join((_APPEND, pybase64.b64encode(data), b'"}'))]


def _event(kind: str, ref: str, **fields: JSON) -> bytes:
    return to_json({"type": kind, "event_id": ref, **fields})


def _create_item(command: ports.CreateItem) -> list[bytes]:
    frames: list[bytes] = []
    previous = command.previous_item_id
    for index, item in enumerate(items_of(command.message)):
        item_id = command.item_id if index == 0 else _nth_id(command.item_id, index)
        fields: dict[str, JSON] = {} if previous is None else {"previous_item_id": previous}
        fields["item"] = {"id": item_id, **item}
        frames.append(_event("conversation.item.create", command.ref, **fields))
        previous = item_id
    return frames


def _nth_id(item_id: str, index: int) -> str:
    suffix = f"_{index}"
    return item_id[: MAX_ITEM_ID - len(suffix)] + suffix


def _tool_output(command: ports.SendToolOutput) -> list[bytes]:
    # The protocol has no flag for errors: the text says what happened.
    item = {
        "type": "function_call_output",
        "call_id": command.call_id,
        "output": command.output,
    }
    return [_event("conversation.item.create", command.ref, item=item)]


def _truncate(command: ports.TruncateItem) -> list[bytes]:
    return [
        _event(
            "conversation.item.truncate",
            command.ref,
            item_id=command.item_id,
            content_index=command.content_index,
            audio_end_ms=min(max(command.audio_end_ms, 0), _U32_MAX),
        )
    ]


def _cancel(command: ports.CancelResponse) -> list[bytes]:
    target = {} if command.response_id is None else {"response_id": command.response_id}
    return [_event("response.cancel", command.ref, **target)]


def _update(command: ports.UpdateSession) -> list[bytes]:
    return [_event("session.update", command.ref, session=command.projection)]


def _raw(command: ports.SendRaw) -> list[bytes]:
    payload = command.payload
    kind = payload.get("type")
    if not isinstance(kind, str) or not kind:
        raise InvalidRequest(f"a client event needs a type, and this one's is {kind!r}")
    if kind == "input_audio_buffer.append":
        audio = payload.get("audio")
        # Four characters of base64 are three bytes.
        if isinstance(audio, str) and len(audio) // 4 * 3 > MAX_AUDIO_BYTES + 2:
            raise RequestTooLarge(
                f"{len(audio)} characters of audio in one event; at most {MAX_AUDIO_BYTES} bytes "
                "are allowed",
                len(audio),
                MAX_AUDIO_BYTES,
            )
    event = dict(payload)
    if event.get("event_id") is None:
        event["event_id"] = command.ref
    session = event.get("session")
    if kind == "session.update" and isinstance(session, Mapping) and "type" not in session:
        event["session"] = {"type": "realtime", **session}
    return [to_json(event)]


# ---------------------------------------------------------------- response.create


_KINDS: Mapping[str, tuple[type, str]] = {
    "instructions": (str, "a string"),
    "tool_choice": (str, "auto, none, required, or the name of a tool"),
    "metadata": (Mapping, "a mapping of text to text"),
    "extra": (Mapping, "a mapping of text to JSON"),
}


def _check_kinds(options: ResponseOptions) -> None:
    if options == _DEFAULTS:
        return
    for name, (kind, allowed) in _KINDS.items():
        value = getattr(options, name)
        if value is not None:
            expect(value, kind, name, allowed)
    choice = options.tool_choice
    if choice is not None and not TOOL_NAME.fullmatch(choice):
        allowed = _KINDS["tool_choice"][1]
        raise InvalidRequest(f"tool_choice is {shown(choice)}; allowed: {allowed}")
    for name, what in (("tools", "tools"), ("input", "items")):
        given: Any = getattr(options, name)
        if given is not None and not (
            isinstance(given, Sequence) and all(isinstance(each, Mapping) for each in given)
        ):
            allowed = f"a list of {what}, as the provider's JSON objects"
            raise InvalidRequest(f"{name} is {shown(given)}; allowed: {allowed}")


_DEFAULTS = ResponseOptions()


def _create_response(command: ports.CreateResponse, settings: Settings) -> list[bytes]:
    options = command.options
    _check_kinds(options)
    response: dict[str, JSON] = {
        "conversation": "auto" if options.in_conversation else "none",
        **_modality(options.modality or settings.modality, settings),
        "metadata": _metadata(options.metadata, command.ref),
    }
    if options.instructions is not None:
        response["instructions"] = options.instructions
    if options.tools is not None:
        response["tools"] = [dict(tool) for tool in options.tools]
    if options.tool_choice is not None:
        response["tool_choice"] = choice_by_name(options.tool_choice)
    tokens: Any = options.max_output_tokens
    if tokens is not None:
        whole = isinstance(tokens, int) and not isinstance(tokens, bool)
        if not whole or not 1 <= tokens <= MAX_OUTPUT_TOKENS:
            raise InvalidRequest(
                f"max_output_tokens is {shown(tokens)}; allowed: 1 to {MAX_OUTPUT_TOKENS}"
            )
        response["max_output_tokens"] = tokens
    if options.input is not None:
        response["input"] = [dict(item) for item in options.input]
    for name, value in (options.extra or {}).items():
        if name in response:
            raise InvalidRequest(f"extra has {name!r}, which is set already; set it in one place")
        response[name] = value
    return [_event("response.create", command.ref, response=response)]


def _modality(modality: ResponseModality | None, settings: Settings) -> dict[str, JSON]:
    if modality is None:
        return {}
    fields: dict[str, JSON] = {"output_modalities": [modality.value]}
    # The voice stands in the audio block alone: a second one beside it is refused.
    if modality is ResponseModality.AUDIO and settings.voice is not None:
        fields["audio"] = {"output": {"format": settings.output_format, "voice": settings.voice}}
    return fields


def _metadata(given: Mapping[Any, Any] | None, ref: str) -> dict[str, str]:
    given = given or {}
    if REQUEST_KEY in given:
        raise InvalidRequest(f"the metadata key {REQUEST_KEY!r} is this runtime's own")
    if len(given) >= MAX_METADATA_PAIRS:
        raise InvalidRequest(
            f"metadata has {len(given)} pairs; at most {MAX_METADATA_PAIRS - 1} are allowed, for "
            f"one of the provider's {MAX_METADATA_PAIRS} is this runtime's own"
        )
    for key, value in given.items():
        if not isinstance(value, str) or not isinstance(key, str):
            raise InvalidRequest(f"metadata maps text to text; {shown(key)} is {shown(value)}")
        if len(key) > MAX_METADATA_KEY or len(value) > MAX_METADATA_VALUE:
            raise InvalidRequest(
                f"the metadata pair {key[:MAX_METADATA_KEY]!r} is too long; allowed: "
                f"{MAX_METADATA_KEY} characters in a key, {MAX_METADATA_VALUE} in a value"
            )
    return {**given, REQUEST_KEY: ref}


# ---------------------------------------------------------------- the table

_ENCODERS: dict[type, Callable[[Any], list[bytes]]] = {
    ports.CommitAudio: lambda command: [_event("input_audio_buffer.commit", command.ref)],
    ports.ClearAudio: lambda command: [_event("input_audio_buffer.clear", command.ref)],
    ports.CreateItem: _create_item,
    ports.SendToolOutput: _tool_output,
    ports.CancelResponse: _cancel,
    ports.TruncateItem: _truncate,
    ports.DeleteItem: lambda command: [
        _event("conversation.item.delete", command.ref, item_id=command.item_id)
    ],
    ports.UpdateSession: _update,
    ports.SendRaw: _raw,
}


def encode(command: ProviderCommand, settings: Settings) -> list[bytes]:
    """Frames of one command.

    Raises:
        InvalidRequest: the command cannot be said in this protocol; its text says why.
        RequestTooLarge: one event would be over the provider's limit.
    """
    if isinstance(command, ports.AppendAudio):
        return append_audio(command.data)
    if isinstance(command, ports.CreateResponse):
        return _create_response(command, settings)
    return _ENCODERS[type(command)](command)
