"""The language on one link: frames to events, commands to frames, and what both imply.

It remembers the turns (see `turns`), the calls that the provider waits for, and whether the
application's activity is open; nothing else.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import msgspec

from ...model.conversation import Usage
from ...model.errors import InvalidRequest
from ...model.events import ProviderFault
from ...turn import ports
from ...turn.ports import ErrorMeaning, ItemKind
from . import encoding, frames
from .faults import to_fault
from .manner import Manner, check_item, check_raw, check_response
from .seeding import contents_of
from .tools_json import is_async, scheduling_of
from .turns import Turns
from .unconsumed import Unconsumed
from .wire_json import count, from_base64, milliseconds, seconds

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from ...turn.ports import ProviderCommand, ProviderEvent
    from ..base import LinkCodec, Replay
    from .frames import FunctionCall, Part, ServerContent, ServerMessage

REMEMBERED_CALLS = 256  # settled call ids by which a repeated or late message is known
OUTPUT_RATE = 24_000  # Hz
_AUDIO_TYPES = (f"audio/pcm;rate={OUTPUT_RATE}", "audio/pcm")
_CODE = "code_execution"


class GeminiCodec:
    """See the module, and `providers.base.LinkCodec`."""

    def __init__(self, link: str, manner: Manner) -> None:
        settings = manner.settings
        self._manner = manner
        self._manual = settings.manual
        self._turns = Turns(link, manual=self._manual, transcribes=settings.transcribes)
        self._unconsumed = Unconsumed() if manner.counts else None
        self._began = 0  # responses, as far as the above knows of them
        self._pending: list[ProviderEvent] = []  # what was sent implies it
        self._activity = False  # the application's activity is open (manual sessions only)
        self._texted = False  # realtime text was sent that the model answers by itself
        self._calls: dict[str, str | None] = {}  # open call -> the provider's id for it
        self._over: deque[str] = deque(maxlen=REMEMBERED_CALLS)
        self._named: dict[str, str | None] = {}  # settled call -> the provider's id for it
        self._running: deque[str] = deque(maxlen=16)  # code at the provider, by our ids

    # ================================================================ decoding

    def decode(self, frame: bytes) -> tuple[ProviderEvent, ...]:
        """Events of one frame.  Never raises."""
        pending, self._pending = self._pending, []
        try:
            if not frame.isascii():
                frame.decode()  # binary frames: nobody has looked before, and the parser does not
            message = frames.read(frame)
            if message == frames.NOTHING:
                return (*pending, *_unknown(frame))
        except (ValueError, RecursionError, OverflowError) as error:
            return (*pending, ports.ProtocolFault(message=str(error), raw=frame))
        self._message(message, frame)
        if self._unconsumed is not None and self._turns.began != self._began:
            self._began = self._turns.began
            self._unconsumed.heeded()
        return (*pending, *self._taken())

    def decode_all(self, batch: Iterable[bytes]) -> list[ProviderEvent]:
        """Events of these frames, one after the other.  Never raises."""
        return [event for frame in batch for event in self.decode(frame)]

    def _taken(self) -> list[ProviderEvent]:
        taken, self._turns.out = self._turns.out, []
        return taken

    def _message(self, message: ServerMessage, frame: bytes) -> None:
        """All keys, in an order in which none undoes what another says."""
        turns = self._turns
        if message.setup_complete is not None:
            session_id = message.setup_complete.session_id or None
            turns.out.append(ports.SessionCreated(session_id=session_id))
        self._activity_told(message)
        if message.server_content is not None:
            self._content(message.server_content, frame)
        usage = None if message.usage_metadata is None else _usage(message.usage_metadata)
        # It belongs to the turn that this message begins, if it begins one.
        later = message.server_content is None and message.tool_call is not None
        if usage is not None and not later:
            turns.counted(usage)
        if message.server_content is not None:
            self._ends(message.server_content)
        if message.tool_call_cancellation is not None:
            self._revoked(message.tool_call_cancellation.ids or ())
        if message.tool_call is not None:
            self._called(message.tool_call.function_calls or ())
        if usage is not None and later:
            turns.counted(usage)
        turns.report_usage()
        if (update := message.session_resumption_update) is not None:
            handle = (update.new_handle or None) if update.resumable else None
            last = count(update.last_consumed_client_message_index)
            if self._unconsumed is not None and handle is not None:
                self._unconsumed.consumed(last or 0)
            turns.out.append(ports.ResumptionUpdated(handle=handle, last_consumed=last))
        if message.go_away is not None:
            turns.out.append(ports.GoingAway(time_left=seconds(message.go_away.time_left)))
        if message.error is not None:
            turns.out.append(ports.ProviderError(fault=to_fault(message.error)))
        elif message.code is not None or message.message is not None:
            turns.out.append(ports.ProviderError(fault=to_fault(message)))

    def _activity_told(self, message: ServerMessage) -> None:
        if (activity := message.voice_activity) is not None:
            kind = activity.type or activity.voice_activity_type
            if kind in ("ACTIVITY_START", "ACTIVITY_END"):
                at = milliseconds(activity.audio_offset)
                self._turns.voice(began=kind == "ACTIVITY_START", at_ms=at)
        if (signal := message.voice_activity_detection_signal) is not None:
            kind = signal.vad_signal_type
            if kind in ("VAD_SIGNAL_TYPE_SOS", "VAD_SIGNAL_TYPE_EOS"):
                self._turns.voice(began=kind == "VAD_SIGNAL_TYPE_SOS", at_ms=0)

    # ---------------------------------------------------------------- the turn's content

    def _content(self, content: ServerContent, frame: bytes) -> None:
        turns = self._turns
        if content.interrupted:
            turns.interrupted()
        if (said := content.input_transcription) is not None:
            turns.heard(said.text or "", finished=bool(said.finished))
        # What stands beside an interruption was said by the model that it stopped.
        if not content.interrupted:
            for part in () if content.model_turn is None else content.model_turn.parts or ():
                self._part(part, frame)
            if (said := content.output_transcription) is not None and said.text:
                turns.said(said.text)
        for name in ("interim_input_transcription", "grounding_metadata", "url_context_metadata"):
            if getattr(content, name) is not None:
                kind = f"serverContent.{_camel(name)}"
                turns.out.append(ports.UnknownFrame(type=kind, raw=frame))

    def _ends(self, content: ServerContent) -> None:
        """What the message ends, once what the turn has cost is known."""
        turns = self._turns
        if content.turn_complete_reason is not None:
            turns.reason(content.turn_complete_reason)
        if content.generation_complete:
            turns.generated()
        if content.turn_complete:
            turns.completed()
        if content.interaction_status is not None:
            turns.status(content.interaction_status)

    def _part(self, part: Part, frame: bytes) -> None:
        turns = self._turns
        if part.inline_data is not None:
            mime_type, data = part.inline_data.mime_type or "", part.inline_data.data or ""
            if mime_type.replace(" ", "").lower() in _AUDIO_TYPES:
                try:
                    turns.audio(from_base64(data))
                except ValueError as error:
                    turns.out.append(ports.ProtocolFault(message=f"audio: {error}", raw=frame))
            elif mime_type.startswith("audio/"):
                text = f"audio is {mime_type!r}, and the session's output is {_AUDIO_TYPES[0]!r}"
                turns.out.append(ports.ProtocolFault(message=text, raw=frame))
            else:
                kind = f"serverContent.modelTurn {mime_type}".rstrip()
                turns.out.append(ports.UnknownFrame(type=kind, raw=frame))
        if part.text:
            if part.thought:
                turns.progress()
            else:
                turns.text(part.text)
        if part.function_call is not None and part.function_call.id:
            self._called([part.function_call])
        if (code := part.executable_code) is not None:
            turns.progress()
            item_id = code.id or turns.mint("code")
            self._running.append(item_id)
            self._code(item_id, "requested", code.code or "")
        if (result := part.code_execution_result) is not None:
            turns.progress()
            item_id = result.id or (self._running[-1] if self._running else turns.mint("code"))
            if item_id in self._running:
                self._running.remove(item_id)
            self._code(item_id, "completed" if result.outcome == "OUTCOME_OK" else "failed")

    def _code(self, item_id: str, status: str, arguments: str = "") -> None:
        self._turns.out.append(
            ports.ServerToolProgress(
                item_id=item_id, status=status, name=_CODE, arguments=arguments
            )
        )

    # ---------------------------------------------------------------- tools

    def _called(self, calls: list[FunctionCall] | tuple[FunctionCall, ...]) -> None:
        for call in calls:
            if call.will_continue:
                self._turns.progress()
                continue
            # Vertex may give no id; a repeated one is the same call told twice.
            call_id = call.id or self._turns.mint("call")
            if call_id in self._calls or call_id in self._over:
                continue
            self._calls[call_id] = call.id or None
            arguments = bytes(call.args).decode()
            self._turns.called(call_id, call.name or "", "" if arguments == "null" else arguments)

    def _revoked(self, ids: list[str] | tuple[str, ...]) -> None:
        if not ids:
            return
        self._turns.out.append(ports.ToolCallsRevoked(tuple(ids)))
        for call_id in ids:
            self._settle(call_id)

    def _settle(self, call_id: str) -> None:
        if call_id in self._calls:
            named = self._calls.pop(call_id)
            if len(self._over) == self._over.maxlen:
                self._named.pop(self._over[0], None)
            self._over.append(call_id)
            self._named[call_id] = named
        self._turns.answered(call_id)

    # ================================================================ encoding

    def dropped(self) -> tuple[ProviderEvent, ...]:
        """What is certain now that the connection is gone: the words of answered turns."""
        self._turns.dropped()
        pending, self._pending = self._pending, []
        return (*pending, *self._taken())

    def replay(self) -> Replay | None:
        """What has to be sent again to the newest resumable state."""
        return None if self._unconsumed is None else self._unconsumed.replay()

    def carry_on(self, before: LinkCodec, calls: Collection[str]) -> None:
        """This connection goes on with the session that `before` spoke with."""
        if isinstance(before, GeminiCodec):
            if self._unconsumed is not None and before._unconsumed is not None:
                self._unconsumed.go_on(before._unconsumed)
                self._turns.carry_on(before._turns)
                self._activity = before._activity and len(self._unconsumed) > 0
            for call_id in calls:
                if call_id in before._calls:
                    self._calls[call_id] = before._calls[call_id]
                elif call_id in before._named:
                    self._calls[call_id] = before._named[call_id]

    def written(self) -> tuple[ProviderEvent, ...]:
        """What follows from the commands encoded since the last call."""
        pending, self._pending = self._pending, []
        return tuple(pending)

    def encode(self, command: ProviderCommand) -> list[bytes]:
        """Frames of one command.

        Raises:
            InvalidRequest: this protocol, model or mode has no such thing.
            RequestTooLarge: over 15 MiB of audio.
        """
        encoding.check_possible(command)
        frames_: list[bytes]
        match command:
            case ports.AppendAudio(data=data):
                frames_ = self._audio(data)
            case ports.CreateItem():
                frames_ = self._item(command)
            case ports.CommitAudio(ref=ref):
                frames_ = self._commit(ref)
            case ports.CreateResponse():
                frames_ = self._response(command)
            case ports.SendToolOutput():
                frames_ = self._output(command)
            case ports.CancelResponse():
                frames_ = self._cancel()
            case ports.SendRaw(payload=payload):
                frames_ = self._raw(encoding.raw(payload))
            case _:
                raise InvalidRequest(f"Gemini has no {type(command).__name__}")
        self._pending += self._taken()
        if self._unconsumed is not None:
            self._unconsumed.note(frames_, command)
        return frames_

    # ---------------------------------------------------------------- the user

    def _start(self) -> list[bytes]:
        """The activity begins, unless it has: a second beginning would cancel a second turn."""
        if self._activity:
            return []
        self._activity = True
        self._turns.activity_began()
        return [encoding.ACTIVITY_START]

    def _end(self) -> list[bytes]:
        if not self._activity:
            return []
        self._activity = False
        self._turns.prompted(interrupts=False)
        return [encoding.ACTIVITY_END]

    def _audio(self, data: bytes) -> list[bytes]:
        if not data:
            return []
        chunks = list(encoding.audio(data, self._manner.input_rate))
        start = self._start() if self._manual else []
        self._turns.audio_sent()
        return [*start, *chunks]

    def _item(self, command: ports.CreateItem) -> list[bytes]:
        check_item(command, self._manner)
        turns = contents_of(command.message)
        if not turns:
            return []
        if self._manner.generation.text_all_session:
            self._turns.prompted(interrupts=True) if command.turn else None
            frame = [encoding.contents(turns, complete=False)]
        else:
            text = "\n".join(part["text"] for turn in turns for part in turn["parts"])
            start = self._start() if self._manual else []
            self._turns.prompted(interrupts=True)
            self._texted = True
            frame = [*start, encoding.realtime_text(text)]
        self._turns.out.append(
            ports.ItemAdded(item_id=command.item_id, kind=ItemKind.USER, final=True)
        )
        return frame

    def _commit(self, ref: str) -> list[bytes]:
        """The application ends its turn.

        Ending the activity on the wire makes the model answer, so that waits for the request.
        Without manual activity the audio ends here, and the provider decides what to make of it.
        """
        if not self._manual:
            return [encoding.AUDIO_STREAM_END]
        if not self._turns.committed():
            fault = ProviderFault(code="empty_commit", message="no audio was sent to be committed")
            self._turns.out.append(
                ports.CommandRefused(meaning=ErrorMeaning.EMPTY_COMMIT, fault=fault, ref=ref)
            )
        return []

    # ---------------------------------------------------------------- the model

    def _response(self, command: ports.CreateResponse) -> list[bytes]:
        encoding.check_options(command.options, self._manner.settings.modality)
        texted, self._texted = self._texted, False
        if self._activity:
            return self._end()
        if not self._manner.generation.text_all_session:
            if texted:
                return []
            check_response(self._manner)
        self._turns.prompted(interrupts=True)
        return [encoding.TURN_COMPLETE]

    def _cancel(self) -> list[bytes]:
        """Only an activity of the user's stops the model, so one begins; it ends with the turn."""
        if not (self._manual and self._manner.settings.interrupts):
            raise InvalidRequest("only the user's speech stops this Gemini session")
        return self._start()

    def _output(self, command: ports.SendToolOutput) -> list[bytes]:
        call_id = command.call_id
        if call_id not in self._calls:
            if call_id in self._over:
                return []  # answered, or revoked: an answer now would be somebody else's
            raise InvalidRequest(f"the model made no tool call {call_id!r} on this connection")
        manner = self._manner
        asynchronous = is_async(command.name, manner.behavior, manner.scheduling, manner.generation)
        frame = encoding.tool_output(
            command,
            call_id=self._calls[call_id],
            asynchronous=asynchronous,
            scheduling=scheduling_of(manner.scheduling, command.name),
        )
        if command.wants_response or not asynchronous:
            self._turns.prompted(interrupts=False)
        self._settle(call_id)
        return [frame]

    # ---------------------------------------------------------------- raw messages

    def _raw(self, message: encoding.Raw) -> list[bytes]:
        check_raw(message, self._manner)
        if message.key == "clientContent" and message.body.get(
            "turnComplete", message.body.get("turn_complete")
        ):
            self._turns.prompted(interrupts=True)
        if message.key == "realtimeInput":
            if "activityStart" in message.body:
                return self._start()
            if "activityEnd" in message.body:
                if self._activity:
                    self._turns.committed()
                return self._end()
            if "audio" in message.body or "mediaChunks" in message.body:
                start = self._start() if self._manual else []
                self._turns.audio_sent()
                return [*start, message.frame]
            if "text" in message.body:
                self._turns.prompted(interrupts=True)
        return [message.frame]


# ================================================================ small translations


def _unknown(frame: bytes) -> tuple[ProviderEvent, ...]:
    names = frames.keys(frame)
    known = {field.encode_name for field in msgspec.structs.fields(frames.ServerMessage)}
    odd = [name for name in names if name not in known]
    if odd:
        return (ports.UnknownFrame(type=",".join(odd), raw=frame),)
    if names:
        text = f"{', '.join(names)}: not an object"
        return (ports.ProtocolFault(message=text, raw=frame),)
    return ()


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def _usage(told: frames.UsageMetadata) -> Usage:
    given = count(told.response_token_count)
    if given is None:
        given = count(told.candidates_token_count)
    return Usage(
        input_tokens=(count(told.prompt_token_count) or 0)
        + (count(told.tool_use_prompt_token_count) or 0),
        output_tokens=(given or 0) + (count(told.thoughts_token_count) or 0),
        cache_read_tokens=count(told.cached_content_token_count),
    )
