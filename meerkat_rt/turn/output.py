"""What the model says: deltas, items and terminals of responses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..model.conversation import StopReason, Usage
from ..model.delta_run import DeltaRun
from ..model.events import (
    AssistantTranscriptFinal,
    OutputAudioChunk,
    OutputAudioTranscriptDeltaForItem,
    OutputTextDeltaForItem,
    ProviderFault,
    ResponseStarted,
    TurnCompleted,
)
from ..model.media import RealtimeAudioChunk
from ..model.quick import unchecked
from ..model.transcript import (
    AssistantTextDelta,
    AssistantTranscriptDelta,
    AssistantTranscriptFinalText,
    RealtimeTranscriptRole,
)
from .playback import Part
from .ports import ItemKind, ResponseBegan, ResponseStatus, TextDelta, TranscriptDelta
from .records import OutputItem, Response, ResponsePhase, ResponseTrigger

if TYPE_CHECKING:
    from .context import Context
    from .hearing import Hearing
    from .items import ItemMemory
    from .ports import (
        AudioDelta,
        AudioDone,
        OutputItemBegan,
        OutputItemEnded,
        OutputProgress,
        ResponseEnded,
        TextDone,
        ToolCalled,
        TranscriptDone,
    )
    from .responses import ResponseSlot
    from .tools import ToolLedger

# The values of which a session makes thousands a second; none of them validates anything.
_audio_chunk = unchecked(OutputAudioChunk)
_spoken_delta = unchecked(OutputAudioTranscriptDeltaForItem)
_written_delta = unchecked(OutputTextDeltaForItem)
_spoken_words = unchecked(AssistantTranscriptDelta)
_written_words = unchecked(AssistantTextDelta)

_ACTIVE = ResponsePhase.ACTIVE

_NOBODY = Response("", phase=ResponsePhase.GONE)
_NO_PART = Part("", "", 0, cut=True), _NOBODY
_NO_TEXT: tuple[str, int, list[str], Response] = "", 0, [], _NOBODY

_INCOMPLETE = {
    "max_output_tokens": StopReason.MAX_TOKENS,
    "content_filter": StopReason.CONTENT_FILTER,
}


class OutputSide:
    """Turns the provider's output events into ours, for responses that are alive."""

    __slots__ = (
        "_ctx",
        "_current",
        "_format",
        "_frame",
        "_hearing",
        "_items",
        "_slot",
        "_spoken",
        "_tools",
        "_writing",
        "_written",
        "usage",
    )

    def __init__(
        self,
        ctx: Context,
        items: ItemMemory,
        slot: ResponseSlot,
        tools: ToolLedger,
        hearing: Hearing,
    ) -> None:
        self._ctx = ctx
        self._items = items
        self._slot = slot
        self._tools = tools
        self._hearing = hearing
        self.usage = Usage()
        # What the last delta was about, as nearly every next one is: a spoken part and its
        # response; the item, index, pieces and response of a written one.
        self._current: tuple[Part, Response] = _NO_PART
        self._writing: tuple[str, int, list[str], Response] = _NO_TEXT
        # What the transcript was told of it last.  If nothing came since, the next delta joins it.
        self._spoken: AssistantTranscriptDelta | DeltaRun | None = None
        self._written: AssistantTextDelta | DeltaRun | None = None
        self.configure()

    def configure(self) -> None:
        """Take the rules from the settings, at first and when another connection has others."""
        self._format = self._ctx.settings.output_format
        self._frame = self._format.frame_bytes

    def end_runs(self) -> None:
        """Let the next delta begin a run of its own, for who looks at what each input comes to."""
        self._spoken = self._written = None

    # ---------------------------------------------------------------- responses begin

    def began(self, event: ResponseBegan, now: float) -> None:
        """A response exists."""
        slot = self._slot
        previous = slot.active
        if (
            event.in_conversation
            and previous is not None
            and event.response_id not in slot.live
            and not slot.recently_ended(event.response_id)
        ):
            # Only one can be: the terminal of the older one is still to come, or was lost.
            slot.displace(previous)
            self._ctx.deadlines.set(
                ("cancel", previous.id), now + self._ctx.settings.cancel_deadline
            )
        begun = slot.begin(event, now)
        if begun is None:
            self._ctx.dropped += 1
            return
        response, unwanted = begun
        self._ctx.events.append(
            ResponseStarted(
                response_id=response.id,
                request_id=response.request_id,
                in_conversation=response.in_conversation,
            )
        )
        if unwanted:
            self._hearing.cut([response], now, cancel=True)

    def _speaking(self, response_id: str, now: float) -> Response | None:
        """The response, if its output may still come through; counts what may not."""
        response = self._slot.live.get(response_id)
        if response is None:
            if self._slot.active is None and not self._slot.recently_ended(response_id):
                # Begun before we came (an attached session): its output says that it exists.
                self.began(ResponseBegan(response_id=response_id), now)
                response = self._slot.live.get(response_id)
            if response is None:
                self._ctx.dropped += 1
                return None
        if response.phase is not ResponsePhase.ACTIVE:
            self._ctx.dropped += 1
            return None
        if not response.progressed:
            self._slot.progress(response)
        return response

    # ---------------------------------------------------------------- deltas

    def audio_delta(self, event: AudioDelta, now: float) -> None:
        """More speech."""
        part, response = self._current
        if (
            part.item_id != event.item_id
            or part.content_index != event.content_index
            or part.response_id != event.response_id
            or response.phase is not _ACTIVE
        ):
            part, response = self._find_part(event, now)
        if part.cut:
            return
        data = event.data
        if part.odd or len(data) % self._frame:
            data = self._whole_samples(part, data)
            if not data:
                return
        part.received += len(data)
        self._ctx.events.append(
            _audio_chunk(
                RealtimeAudioChunk.of(data, self._format),
                part.response_id,
                part.item_id,
                part.content_index,
            )
        )

    def _whole_samples(self, part: Part, data: bytes) -> bytes:
        data = part.odd + data
        end = len(data) - len(data) % self._frame
        part.odd = data[end:]
        return data[:end]

    def transcript_delta(self, event: TranscriptDelta, now: float) -> None:
        """More text of speech."""
        part, response = self._current
        if (
            part.item_id != event.item_id
            or part.content_index != event.content_index
            or part.response_id != event.response_id
            or response.phase is not _ACTIVE
        ):
            part, response = self._find_part(event, now)
        if part.cut:
            return
        item_id = part.item_id  # its own: whoever compares ids, or looks them up, has it easier
        event_id, delta = event.event_id, event.delta
        part.deltas.append(delta)
        previous = self._items.previous.get(item_id)
        ctx = self._ctx
        ctx.events.append(
            _spoken_delta(part.response_id, event_id, item_id, previous, part.content_index, delta)
        )
        last, transcript = self._spoken, ctx.transcript
        if transcript and transcript[-1] is last and last.previous_item_id == previous and delta:
            if type(last) is not DeltaRun:  # of a paced answer each stays alone
                last = transcript[-1] = self._spoken = DeltaRun.of(last)
            last.delta_ids.append(event_id)
            last.deltas.append(delta)
        elif response.in_conversation:
            item = response.items.get(item_id) or self._output_item(response, item_id)
            if delta:
                item.text = True
                self._spoken = _spoken_words(
                    part.response_id, event_id, item_id, previous, part.content_index, delta
                )
                transcript.append(self._spoken)

    def transcript_done(self, event: TranscriptDone, now: float) -> None:
        """The text of speech, for good.  What its deltas lacked comes first, as one more."""
        response = self._speaking(event.response_id, now)
        if response is None:
            return
        key = (event.item_id, event.content_index)
        part = response.parts.get(key) or self._new_part(response, *key)
        if part.cut:
            return
        seen = part.text
        if len(event.text) > len(seen) and event.text.startswith(seen):
            missing = event.text[len(seen) :]
            more = TranscriptDelta(event.event_id, response.id, event.item_id, missing, key[1])
            self.transcript_delta(more, now)
        if event.text:
            part.deltas = [event.text]
        self._ctx.events.append(
            AssistantTranscriptFinal(
                response_id=response.id,
                item_id=event.item_id,
                previous_item_id=self._items.previous.get(event.item_id),
                content_index=event.content_index,
                text=event.text,
            )
        )
        # An empty text after audible words would erase them from history; it says nothing.
        if response.in_conversation and event.text:
            self._output_item(response, event.item_id).text = True
            self._ctx.transcript.append(
                AssistantTranscriptFinalText(
                    response_id=response.id,
                    item_id=event.item_id,
                    content_index=event.content_index,
                    text=event.text,
                )
            )

    def audio_done(self, event: AudioDone, now: float) -> None:
        """No more speech in this part."""
        response = self._speaking(event.response_id, now)
        if response is not None:
            part = response.parts.get((event.item_id, event.content_index))
            if part is not None:
                part.done = True

    def text_delta(self, event: TextDelta, now: float) -> None:
        """More written text."""
        item_id, index, written, response = self._writing
        if (
            item_id != event.item_id
            or index != event.content_index
            or response.id != event.response_id
            or response.phase is not _ACTIVE
        ):
            spoken = self._speaking(event.response_id, now)
            if spoken is None:
                return
            response, item_id, index = spoken, event.item_id, event.content_index
            written = response.written.setdefault((item_id, index), [])
            self._writing = item_id, index, written, response
            self._written = None
        event_id, delta = event.event_id, event.delta
        written.append(delta)
        previous = self._items.previous.get(item_id)
        ctx = self._ctx
        ctx.events.append(_written_delta(response.id, event_id, item_id, previous, index, delta))
        last, transcript = self._written, ctx.transcript
        if transcript and transcript[-1] is last and last.previous_item_id == previous and delta:
            if type(last) is not DeltaRun:  # of a paced answer each stays alone
                last = transcript[-1] = self._written = DeltaRun.of(last)
            last.delta_ids.append(event_id)
            last.deltas.append(delta)
        elif response.in_conversation:
            item = response.items.get(item_id) or self._output_item(response, item_id)
            if delta:
                item.text = True
                self._written = _written_words(
                    response.id, event_id, item_id, previous, index, delta
                )
                transcript.append(self._written)

    def text_done(self, event: TextDone, now: float) -> None:
        """The written text of a part, for good: what its deltas lacked comes as one more."""
        response = self._speaking(event.response_id, now)
        if response is None:
            return
        key = (event.item_id, event.content_index)
        seen = "".join(response.written.get(key, ()))
        if len(event.text) > len(seen) and event.text.startswith(seen):
            missing = event.text[len(seen) :]
            self.text_delta(
                TextDelta(event.event_id, response.id, event.item_id, missing, key[1]), now
            )

    def _find_part(self, event: AudioDelta | TranscriptDelta, now: float) -> tuple[Part, Response]:
        """The part that a delta is about, new or old, and its response: the current one then.

        Where nothing of the response comes through, it is a part that is cut.
        """
        response = self._speaking(event.response_id, now)
        if response is None:
            return _NO_PART
        key = (event.item_id, event.content_index)
        part = response.parts.get(key) or self._new_part(response, *key)
        self._current = part, response
        self._spoken = None
        return self._current

    def _new_part(self, response: Response, item_id: str, content_index: int) -> Part:
        part = Part(response.id, item_id, content_index)
        response.parts[item_id, content_index] = part
        response.sounded = True
        if response.in_conversation:
            self._output_item(response, item_id)
            evicted = self._hearing.ledger.add(part)
            if evicted is not None:
                owner = self._slot.live.get(evicted.response_id)
                if owner is not None:
                    self._hearing.settle_heard(owner)
        return part

    def _output_item(self, response: Response, item_id: str) -> OutputItem:
        item = response.items.get(item_id)
        if item is None:
            item = response.items[item_id] = OutputItem(ItemKind.ASSISTANT)
            self._items.adopt(item_id, response.id)
        return item

    # ---------------------------------------------------------------- items

    def item_began(self, event: OutputItemBegan | OutputItemEnded, now: float) -> None:
        """The response has an item."""
        item_id = event.item_id
        response = self._slot.live.get(event.response_id)
        if response is not None and response.phase is ResponsePhase.DYING:
            self._ctx.dropped += 1
            if not response.in_conversation:
                return
            if item_id is not None and item_id not in response.items:
                # What follows it in the conversation names it; but nobody will hear it.
                self._output_item(response, item_id)
                if response.interrupted and event.kind is ItemKind.ASSISTANT:
                    self._hearing.truncations.drop(item_id, response.id, now)
            return
        response = self._speaking(event.response_id, now)
        if response is None or item_id is None or not response.in_conversation:
            return
        if item_id in response.items or self._items.is_seed(item_id):
            return
        response.items[item_id] = OutputItem(event.kind)
        if event.kind is ItemKind.ASSISTANT:
            if self._items.settled(item_id):
                message = (
                    f"response {response.id} speaks in item {item_id}, whose words are known: what "
                    "it says is heard, and is no part of the conversation's history"
                )
                self._ctx.report(ProviderFault(code="protocol_fault", message=message))
            self._items.observe(item_id, None, RealtimeTranscriptRole.ASSISTANT, response.id)
        else:
            # Where it stands is not known yet, and a skip without a predecessor would not wait for
            # it.
            self._items.adopt(item_id, response.id)

    def tool_called(self, event: ToolCalled, now: float) -> None:
        """The response calls a tool."""
        response = self._speaking(event.response_id, now)
        if response is not None:
            self._tools.called(event, response, now)

    def progress(self, event: OutputProgress, now: float) -> None:
        """The response is not silent."""
        response = self._slot.live.get(event.response_id)
        if response is not None and not response.progressed:
            self._slot.progress(response)

    # ---------------------------------------------------------------- terminals

    def ended(self, event: ResponseEnded, now: float) -> None:
        """The one terminal of a response."""
        slot = self._slot
        response = slot.live.get(event.response_id)
        if response is None:
            if slot.recently_ended(event.response_id):
                self._ctx.dropped += 1
                return
            response = self._arrive_late(event, now)
        elif response.phase not in (ResponsePhase.ACTIVE, ResponsePhase.DYING):
            self._ctx.dropped += 1
            return
        slot.claim(response, event.ref, now)
        usage = event.usage or Usage()
        self.usage += usage
        fault = event.fault
        if event.status is ResponseStatus.FAILED and fault is None:
            fault = ProviderFault(message="the response failed")
        if response.phase is ResponsePhase.ACTIVE and event.status is not ResponseStatus.CANCELLED:
            if event.status is ResponseStatus.COMPLETED:
                for call in event.calls:
                    self._tools.called(call, response, now)
            if response.in_conversation:
                for item_id in event.item_ids:
                    self._output_item(response, item_id)
        stop_reason = _stop_reason(event, response)
        self.terminal(response, stop_reason, usage, fault, now)

    def _arrive_late(self, event: ResponseEnded, now: float) -> Response:
        # Cut off at birth, a response may never have begun for us; its terminal counts all the
        # same.
        if self._slot.active is None or not event.in_conversation:
            self.began(
                ResponseBegan(
                    response_id=event.response_id,
                    ref=event.ref,
                    in_conversation=event.in_conversation,
                ),
                now,
            )
            return self._slot.live[event.response_id]
        response = Response(event.response_id)
        self._slot.live[response.id] = response
        self._ctx.events.append(ResponseStarted(response_id=response.id))
        return response

    def terminal(
        self,
        response: Response,
        stop_reason: StopReason,
        usage: Usage,
        fault: ProviderFault | None,
        now: float,
        lost: str | None = None,
    ) -> None:
        """End a response that is ACTIVE or DYING."""
        if stop_reason is StopReason.CANCELLED and not response.interrupted:
            if response.in_conversation:
                self._hearing.cut([response], now, cancel=False)
            else:
                self._hearing.announce(response)
        response.fire(ResponseTrigger.TERMINAL)
        self._current, self._writing = _NO_PART, _NO_TEXT  # which would keep it alive
        self.end_runs()
        self._ctx.answered = self._ctx.given
        self._ctx.deadlines.cancel(("cancel", response.id))
        self._ctx.events.append(
            TurnCompleted(
                response_id=response.id, stop_reason=stop_reason, usage=usage, error=fault
            )
        )
        for part in response.parts.values():
            part.done = True
        if response.in_conversation:
            self._hearing.complete(response, stop_reason, usage, now)
        # Before the slot is free: continuations that wait for it are to become one.
        self._tools.ended(response.id, now)
        self._slot.finish(response, stop_reason, fault, lost, now)
        self._hearing.quiesce(response)

    def on_cancel_deadline(self, response_id: str, now: float) -> None:
        """The provider did not say how a dying response ended."""
        response = self._slot.live.get(response_id)
        if response is not None and response.phase is ResponsePhase.DYING:
            fault = ProviderFault(
                code="cancel_timeout", message="the provider did not end the response in time"
            )
            self.terminal(response, StopReason.CANCELLED, Usage(), fault, now)


def _stop_reason(event: ResponseEnded, response: Response) -> StopReason:
    if event.status is ResponseStatus.CANCELLED or response.interrupted:
        return StopReason.CANCELLED
    if event.status is ResponseStatus.INCOMPLETE:
        return _INCOMPLETE.get(event.reason or "", StopReason.END_TURN)
    if event.status is ResponseStatus.FAILED:
        return StopReason.END_TURN
    return StopReason.TOOL_USE if response.called else StopReason.END_TURN
