"""From a frame's bytes to neutral events.

Never raises: a frame of an unknown type is an UnknownFrame, one that breaks the protocol a
ProtocolFault.  The frames of which a session receives fifty a second (text, transcript and audio
deltas) take the fewest steps: the type is cut out of a known prefix, and msgspec fills the neutral
event itself, and checks it.  What it refuses is looked at again, with care.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec
import pybase64

from ...model.quick import unchecked
from ...turn import ports
from . import conversation, frames, ranges, responses
from .frames import Malformed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeAlias

    from ...turn.ports import ProviderEvent

    Events: TypeAlias = tuple[ProviderEvent, ...]
    Handler: TypeAlias = Callable[[bytes], Events]
    Place: TypeAlias = tuple[bytes, bytes, str, str, int]

F = TypeVar("F")
D = TypeVar("D", ports.TextDelta, ports.TranscriptDelta)
H = TypeVar("H")

# ---------------------------------------------------------------- the hot path

_text_delta = msgspec.json.Decoder(ports.TextDelta).decode
_transcript_delta = msgspec.json.Decoder(ports.TranscriptDelta).decode
_decode_audio = msgspec.json.Decoder(frames.AudioDeltaFrame).decode
_b64decode = pybase64.b64decode


def _delta(kind: type[D], quick: Callable[[bytes], D]) -> Handler:
    def handle(frame: bytes) -> Events:
        try:
            return (quick(frame),)
        except msgspec.ValidationError:
            wire = frames.lenient(frames.DeltaFrame, msgspec.json.decode(frame))
            said = {
                "event_id": wire.event_id,
                "response_id": wire.response_id,
                "item_id": wire.item_id,
                "delta": wire.delta or "",
                "content_index": wire.content_index or 0,
            }
            return (msgspec.convert(said, kind),)

    return handle


_DELTA = b'"delta":"'
_BLANK = b'"delta":"~"'  # no base64
_HEAD = b'{"type":"response.output_audio.delta","event_id":"'
_HEAD_SIZE = len(_HEAD)
_NAME = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-."
_PLACES_KEPT = 1024
_PLACE_SIZE = 1024  # bytes around the audio; live servers send some 200

_audio_delta_of = unchecked(ports.AudioDelta)
# What stands between id and audio and behind the audio in the frames of one part of an answer, and
# what it says: the response, the item, the content index.
_NOWHERE: Place = (b"~", b"", "", "", 0)
_places: dict[bytes, Place] = {}
_last = _NOWHERE  # the place of the frame before, and nearly always of the next of that session


def _audio_delta(frame: bytes) -> ports.AudioDelta | ports.OutputProgress:
    # The audio is cut out and decoded where it stands, and the parser gets the rest.  It gets it
    # once: the frames of one part differ in nothing else but their ids, of which we read none, and
    # which cannot hide anything as long as they are made of harmless characters.
    id_end = frame.find(b'"', _HEAD_SIZE)
    if frame[:_HEAD_SIZE] == _HEAD and not frame[_HEAD_SIZE:id_end].strip(_NAME):
        last = _last
        known = frame.startswith(last[0], id_end) and frame.endswith(last[1])
        place = last if known else _place(frame, id_end)
        if place is not None:
            before, behind, response_id, item_id, index = place
            try:
                audio = memoryview(frame)[id_end + len(before) : -len(behind)]
                data = _b64decode(audio, None, True)
            except ValueError:  # an escape, another string, or whatever is wrong with it
                return _any_audio_delta(frame)
            if data:
                event: ports.AudioDelta = _audio_delta_of(response_id, item_id, data, index)
                return event
    return _any_audio_delta(frame)


def _place(frame: bytes, id_end: int) -> Place | None:
    """What stands around id and audio, and what the parser makes of it; None if nothing simple.

    The key and its quotes cannot be part of a string, where the quotes would be escaped; that it is
    the key of the outermost object shows when the parser finds the blank there.
    """
    global _last
    start = frame.find(_DELTA)
    end = frame.find(b'"', start + 9)
    if not id_end < start < end:
        return None
    around = frame[id_end : start + 9] + frame[end:]  # with the key, which tells them apart
    place = _places.get(around)
    if place is None:
        rest = frame[:start] + _BLANK + frame[end + 1 :]
        # With an escape, another key could be the one that the parser knows.
        if len(around) > _PLACE_SIZE or rest.count(b'"delta"') != 1 or b"\\" in rest:
            return None
        try:
            wire = _decode_audio(rest)
        except msgspec.ValidationError:
            return None
        if wire.delta != "~" or not (wire.response_id and wire.item_id):
            return None
        index = ranges.index(wire.content_index)
        place = around[: start + 9 - id_end], frame[end:], wire.response_id, wire.item_id, index
        if len(_places) >= _PLACES_KEPT:
            _places.clear()
        _places[around] = place
    _last = place
    return place


def _any_audio_delta(frame: bytes) -> ports.AudioDelta | ports.OutputProgress:
    try:
        wire = _decode_audio(frame)
    except msgspec.ValidationError:
        wire = frames.lenient(frames.AudioDeltaFrame, msgspec.json.decode(frame))
    if not (wire.response_id and wire.item_id):
        raise Malformed("response_id or item_id: blank")
    if not wire.delta:
        return ports.OutputProgress(response_id=wire.response_id)
    data = _b64decode(wire.delta, None, True)
    index = wire.content_index
    place = ranges.index(index) if index else 0
    return ports.AudioDelta(wire.response_id, wire.item_id, data, place)


# ---------------------------------------------------------------- the table


def _read(cls: type[F], translate: Callable[[F], Events]) -> Handler:
    strict = msgspec.json.Decoder(cls).decode

    def handle(frame: bytes) -> Events:
        try:
            wire = strict(frame)
        except msgspec.ValidationError:
            wire = frames.lenient(cls, msgspec.json.decode(frame))
        return translate(wire)

    return handle


def _ignore(frame: bytes) -> Events:
    frames.type_of(frame)  # malformed is malformed
    return ()


def _pass_on(frame: bytes) -> Events:
    name = frames.type_of(frame).type
    frame.decode()  # the parser does not look into strings that it skips
    return (ports.UnknownFrame(type=name, raw=frame),)


_TRANSCRIPTION = "conversation.item.input_audio_transcription"

_SPEECH_STARTED = _read(frames.SpeechStartedFrame, conversation.speech_started)
_SPEECH_STOPPED = _read(frames.SpeechStoppedFrame, conversation.speech_stopped)
_LIST = "mcp_list_tools"

_TRANSLATED: dict[str, Handler] = {
    "response.output_text.delta": _delta(ports.TextDelta, _text_delta),
    "response.output_audio_transcript.delta": _delta(ports.TranscriptDelta, _transcript_delta),
    "response.output_audio.delta": lambda frame: (_any_audio_delta(frame),),
    "error": _read(frames.ErrorFrame, conversation.error),
    "session.created": _read(frames.SessionFrame, conversation.session_created),
    "session.updated": _read(frames.SessionFrame, conversation.session_updated),
    "rate_limits.updated": _read(frames.RateLimitsFrame, conversation.rate_limits),
    "input_audio_buffer.speech_started": _read(
        frames.SpeechStartedFrame, conversation.speech_started
    ),
    "input_audio_buffer.speech_stopped": _read(
        frames.SpeechStoppedFrame, conversation.speech_stopped
    ),
    "input_audio_buffer.committed": _read(frames.CommittedFrame, conversation.committed),
    "input_audio_buffer.cleared": _read(frames.BareFrame, conversation.cleared),
    f"{_TRANSCRIPTION}.delta": _read(frames.InputDeltaFrame, conversation.input_delta),
    f"{_TRANSCRIPTION}.completed": _read(frames.InputDoneFrame, conversation.input_done),
    f"{_TRANSCRIPTION}.failed": _read(frames.InputFailedFrame, conversation.input_failed),
    "conversation.item.added": _read(frames.ItemFrame, conversation.item_added),
    "conversation.item.created": _read(frames.ItemFrame, conversation.item_added),
    "conversation.item.done": _read(frames.ItemFrame, conversation.item_done),
    "conversation.item.truncated": _read(frames.TruncatedFrame, conversation.item_truncated),
    "conversation.item.deleted": _read(frames.ItemIdFrame, conversation.item_deleted),
    "response.created": _read(frames.ResponseFrame, responses.response_created),
    "response.done": _read(frames.ResponseFrame, responses.response_done),
    "response.output_item.added": _read(frames.OutputItemFrame, responses.output_item_added),
    "response.output_item.done": _read(frames.OutputItemFrame, responses.output_item_done),
    "response.content_part.added": _read(frames.ProgressFrame, responses.progress),
    "response.content_part.done": _read(frames.ProgressFrame, responses.progress),
    "response.output_text.done": _read(frames.PartDoneFrame, responses.text_done),
    "response.output_audio_transcript.done": _read(frames.PartDoneFrame, responses.transcript_done),
    "response.output_audio.done": _read(frames.PartDoneFrame, responses.audio_done),
    "response.function_call_arguments.delta": _read(frames.ProgressFrame, responses.progress),
    "response.function_call_arguments.done": _read(frames.ArgumentsFrame, responses.arguments_done),
    "response.mcp_call_arguments.delta": _read(frames.ProgressFrame, responses.progress),
    "response.mcp_call_arguments.done": _read(frames.ArgumentsFrame, responses.mcp_arguments),
    "response.mcp_call.in_progress": _read(frames.ItemIdFrame, responses.mcp("requested")),
    "response.mcp_call.completed": _read(frames.ItemIdFrame, responses.mcp("completed")),
    "response.mcp_call.failed": _read(frames.ItemIdFrame, responses.mcp("failed")),
    "mcp_list_tools.in_progress": _read(
        frames.ItemIdFrame, responses.mcp("requested", "mcp_list_tools")
    ),
    "mcp_list_tools.completed": _read(
        frames.ItemIdFrame, responses.mcp("completed", "mcp_list_tools")
    ),
    f"{_LIST}.failed": _read(frames.ItemIdFrame, responses.mcp("failed", _LIST)),
}

TRANSLATED = frozenset(_TRANSLATED)
"""Events that have a neutral form."""

PASSED_ON = frozenset(
    {
        "conversation.item.retrieved",  # the answer to a raw event of the application's own
        f"{_TRANSCRIPTION}.segment",
        "input_audio_buffer.dtmf_event_received",
        "input_audio_buffer.timeout_triggered",
        "output_audio_buffer.started",
        "output_audio_buffer.stopped",
        "output_audio_buffer.cleared",
    }
)
"""Events that have no neutral form but mean something to an application that asked for them.

They come only with a raw event, a diarizing recognizer, an idle timeout, or an attached call; the
application gets the frame as it came, in an UnknownFrame.
"""

IGNORED = frozenset({"conversation.created"})
"""Events that say nothing: live servers do not even send this one."""

_HANDLERS: dict[bytes, Handler] = {
    **{name.encode(): handler for name, handler in _TRANSLATED.items()},
    **{name.encode(): _pass_on for name in PASSED_ON},
    **{name.encode(): _ignore for name in IGNORED},
}
_QUICK: dict[bytes, Callable[[bytes], ProviderEvent]] = {
    b"response.output_text.delta": _text_delta,
    b"response.output_audio_transcript.delta": _transcript_delta,
    b"response.output_audio.delta": _audio_delta,
}


def _by_beginning(table: dict[bytes, H]) -> dict[bytes, H]:
    """By what a frame begins with, up to the end of its type's name.

    One look into it, for servers that write the type first, as all known ones do.
    """
    return {
        start + name: handler
        for name, handler in table.items()
        for start in (b'{"type":"', b'{"type": "')
    }


_BEGINNINGS = _by_beginning(_HANDLERS)
_QUICK_BEGINNINGS = _by_beginning(_QUICK)
_SHORTEST = len(b'{"type": "')  # no name is empty, so that no quote is missed
# To look for the end of the name takes as long as all the rest: so it is looked for once in all
# frames that begin alike as far as the longest of these names, and its quote, may reach.
_ALIKE = 1 + max(map(len, _QUICK_BEGINNINGS))
_KEPT = 256
_known: dict[bytes, Callable[[bytes], ProviderEvent]] = {}


def decode(frame: bytes) -> Events:
    """Events of one frame.  Never raises.

    Where a key stands twice in one object, JSON does not say which one counts, and neither do we.
    """
    return tuple(decode_all((frame,)))


def decode_all(batch: Iterable[bytes]) -> list[ProviderEvent]:
    """Events of these frames, one after the other.  Never raises; see `decode`."""
    events: list[ProviderEvent] = []
    for frame in batch:
        quick = _known.get(frame[:_ALIKE])
        if quick is not None:
            try:
                events.append(quick(frame))
                continue
            except (ValueError, RecursionError):  # msgspec's and base64's errors are ValueErrors
                pass
        events += _carefully(frame)
    return events


def _carefully(frame: bytes) -> Events:
    """Events of one frame.  If its kind has a quick way, the next that begins alike takes that."""
    end = frame.find(b'"', _SHORTEST)
    begun = frame[:end]
    quick = _QUICK_BEGINNINGS.get(begun)
    if quick is not None and end > 0:
        if len(_known) >= _KEPT:
            _known.clear()
        _known[frame[:_ALIKE]] = quick  # with the quote, so that no longer name begins like this
    try:
        handler = _BEGINNINGS.get(begun)
        return _otherwise(frame) if handler is None else handler(frame)
    except (ValueError, RecursionError) as error:
        return (ports.ProtocolFault(message=f"{_named(frame)}: {error}", raw=frame),)


def _otherwise(frame: bytes) -> Events:
    return _HANDLERS.get(frames.type_of(frame).type.encode(), _pass_on)(frame)


def _named(frame: bytes) -> str:
    """The type of a malformed frame, as far as it has one."""
    begun = frame[: frame.find(b'"', _SHORTEST)]
    if begun in _BEGINNINGS:
        return begun.split(b'"')[3].decode()
    try:
        return frames.type_of(frame).type[:80]
    except (ValueError, RecursionError):
        return "no type"
