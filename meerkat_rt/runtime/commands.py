"""The first seed's surface of a session: input, responses, tools, projection, events, close."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, cast

import attrs
import trio

from ..model.checks import expect
from ..model.conversation import ToolResult, UserMessage
from ..model.errors import AudioFormatMismatch, InvalidInputShape, InvalidRequest, RequestTooLarge
from ..model.events import ClosedBy, CloseReason
from ..model.media import (
    RealtimeAudioChunk,
    RealtimeTextChunk,
    RealtimeTurningMode,
    ResponseModality,
)
from ..turn.ports import ClearAudio, CommitAudio, CreateItem, CreateResponse, ResponseOptions
from .arguments import (
    check_bytes,
    check_count,
    check_open_config,
    check_sendable,
    check_text,
)
from .playback import Playback
from .requests import ResponseRequest
from .tools import advertised

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from ..model.conversation import JSON, Message, Usage
    from ..model.events import RealtimeSessionEvent
    from ..model.media import RealtimeCapabilities, RealtimeInputChunk
    from ..model.open_config import RealtimeSessionOpenConfig
    from ..turn.effects import ToolSpec
    from .arguments import PcmBytes
    from .core import SessionCore
    from .tools import ToolSet

MAX_AUDIO_CHUNK = 15 * 1024 * 1024  # bytes; OpenAI's limit for one append event


class SessionCommands:
    """What a live session is told and asked; `RealtimeSession` completes it.

    Commands may come from any task; events are read by one task at a time.  Every command that
    sends something is a checkpoint, and cancel-safe in this sense: cancelled before it took effect,
    it did nothing; once it took effect it returns normally.

    Every command raises `SessionClosedError` once the session is closing, and RuntimeError in
    another Trio run, or another thread, than the session's.
    """

    def __init__(self, core: SessionCore, tools: ToolSet) -> None:
        self._core = core
        self._tools = tools
        self.playback = Playback(core)

    def __repr__(self) -> str:
        state = "closed" if self._core.closed.is_set() else "open"
        return f"<RealtimeSession {self.session_id or 'without id'} {state}>"

    # ---------------------------------------------------------------- what it is

    @property
    def capabilities(self) -> RealtimeCapabilities:
        """What this session's model can do."""
        return self._core.settings.capabilities

    @property
    def turning_mode(self) -> RealtimeTurningMode:
        """Who ends the user's turns."""
        return self._core.settings.turning_mode

    @property
    def session_id(self) -> str | None:
        """The provider's id of this session, if it gave one."""
        return self._core.session_id

    @property
    def conversation_id(self) -> str | None:
        """Under which id the store keeps this conversation; None without a store."""
        return self._core.conversation_id

    @property
    def is_connected(self) -> bool:
        """A connection is up."""
        return self._core.connected

    @property
    def transcript(self) -> tuple[Message, ...]:
        """The canonical conversation so far: what the user said, and what the user heard.

        An answer joins it (and `MessageCommitted` says so) when it has been heard: with its audio
        that is by playback reports or the estimated time of playing, so some time after
        `TurnCompleted`; at the latest when the next turn begins or the session closes.
        With a store: everything that is durable, what was said in earlier sessions included.
        """
        return self._core.history.transcript

    @property
    def usage(self) -> Usage:
        """Tokens of all responses so far, interrupted ones included."""
        return self._core.machine.usage

    @property
    def closed(self) -> CloseReason | None:
        """Why the session ended; None while it lives."""
        return self._core.reason if self._core.closed.is_set() else None

    # ---------------------------------------------------------------- input

    async def send_input(self, chunk: RealtimeInputChunk) -> int:
        """Send one piece of user input; return how many bytes of stale audio were dropped for it.

        Audio is streamed, and waits at most `SessionLimits.mic_max_age`.  Text is a turn of its
        own: where the provider manages turns it is sent and answered; under explicit commit it is
        staged.

        A checkpoint.  Cancelled: no effect.

        Raises:
            AudioFormatMismatch: the chunk is labelled with another format than the session's.
            InvalidInputShape: the model does not take this kind of input.
            RequestTooLarge: more than 15 MiB of audio in one chunk.
        """
        if isinstance(chunk, RealtimeAudioChunk):
            return await self.send_audio(chunk)
        if isinstance(chunk, RealtimeTextChunk):
            check_text(chunk.text)
            await self._make_room()
            item_id = self._core.machine.send_text(
                chunk.text, respond=True, now=trio.current_time()
            )
            await self._done()
            if self.turning_mode is RealtimeTurningMode.EXPLICIT_COMMIT:
                await self._core.stage(item_id, chunk.text)
            return 0
        await self._enter()
        kinds = ", ".join(self.capabilities.input_kinds) or "no input"
        raise InvalidInputShape(
            f"{type(chunk).__name__} is not accepted; allowed: a RealtimeTextChunk or "
            f"RealtimeAudioChunk, of which this model takes: {kinds}"
        )

    async def send_audio(self, chunk: RealtimeAudioChunk | PcmBytes) -> int:
        """Send audio: bytes in the session's input format, or a labelled chunk.

        Returns how many bytes of stale audio were dropped to make room.  A checkpoint.  Cancelled:
        no effect.

        Raises:
            AudioFormatMismatch: the chunk is labelled with another format than the session's.
            RequestTooLarge: more than 15 MiB in one chunk.
        """
        await self._enter()
        if isinstance(chunk, RealtimeAudioChunk):
            self._check_format(chunk)
            data = chunk.data
        else:
            check_bytes(chunk)
            data = bytes(chunk)
        if len(data) > MAX_AUDIO_CHUNK:
            raise RequestTooLarge(
                f"{len(data)} bytes of audio in one chunk; at most {MAX_AUDIO_CHUNK} are allowed",
                len(data),
                MAX_AUDIO_CHUNK,
            )
        expected = self.capabilities.audio_input_format
        if expected is None:
            raise InvalidInputShape("this model takes no audio input")
        if len(data) % expected.frame_bytes:
            raise InvalidInputShape(
                f"{len(data)} bytes are not whole samples of {expected} "
                f"({expected.frame_bytes} bytes each)"
            )
        if not data:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return 0
        now = trio.current_time()
        self._core.machine.audio_appended(len(data), now)
        dropped = self._core.lanes.put_audio(data, now)
        await trio.lowlevel.cancel_shielded_checkpoint()
        return dropped

    async def send_text(self, text: str) -> None:
        """Add a user message to the conversation.  Never asks for a response by itself.

        A checkpoint.  Cancelled: no effect.

        Raises:
            InvalidRequest: the model takes text only as a turn that it answers, or it is no text.
        """
        await self._enter()
        check_text(text)
        self._core.dialect.check(CreateItem(ref="", item_id="", message=UserMessage(text)))
        await self._make_room()
        self._core.machine.send_text(text, respond=False, now=trio.current_time())
        await self._done()

    async def commit_turn(
        self, *, modality: ResponseModality | str | None = None
    ) -> ResponseRequest:
        """End the user's turn: commit what is staged and ask for one response to it.

        A checkpoint.  Cancelled: no effect.

        Raises:
            InvalidRequest: the provider manages the turns, or nothing is staged.
        """
        await self._enter()
        options = None if modality is None else self._checked(_options(modality))
        await self._make_room()
        return await self._requested(self._core.machine.commit_turn(options, trio.current_time()))

    async def commit_audio(self) -> None:
        """Make the buffered audio a user item.  Never asks for a response.

        A checkpoint.  Cancelled: no effect.

        Raises:
            InvalidRequest: the provider cannot.
        """
        await self._enter()
        self._core.dialect.check(CommitAudio(ref=""))
        await self._make_room()
        self._core.machine.commit_audio(trio.current_time())
        await self._done()

    async def clear_audio(self) -> None:
        """Drop the audio that has not been committed, here and at the provider.

        A checkpoint.  Cancelled: no effect.

        Raises:
            InvalidRequest: the provider cannot take back what it has.
        """
        await self._enter()
        self._core.dialect.check(ClearAudio(ref=""))
        await self._make_room()
        self._core.machine.clear_audio(trio.current_time())
        await self._done()

    # ---------------------------------------------------------------- responses

    async def create_response(
        self,
        *,
        modality: ResponseModality | str | None = None,
        instructions: str | None = None,
        tool_choice: str | None = None,
        max_output_tokens: int | None = None,
        metadata: Mapping[str, str] | None = None,
        in_conversation: bool = True,
        input: tuple[Mapping[str, JSON], ...] | None = None,  # noqa: A002
    ) -> ResponseRequest:
        """Ask for a response; return once the request is accepted.

        `await request.outcome()` tells what came of it.  A request waits for the response that is
        active, and is repeated where the provider refuses it for that reason.

        A checkpoint.  Cancelled: no effect.

        Raises:
            InvalidRequest: an option that the provider does not have, or a value out of its range.
        """
        return await self._request(
            _options(
                modality,
                instructions=instructions,
                tool_choice=tool_choice,
                max_output_tokens=max_output_tokens,
                metadata=metadata,
                in_conversation=in_conversation,
                input=input,
            )
        )

    async def _request(self, options: ResponseOptions) -> ResponseRequest:
        await self._enter()
        options = self._checked(options)
        await self._make_room()
        return await self._requested(
            self._core.machine.request_response(options, trio.current_time())
        )

    async def interrupt(self, response_id: str | None = None) -> None:
        """Stop the active response, and what belongs to it: its calls, its nudge, its queued media.

        `response_id`: that one, if it is still going on, and nothing else.  So a reader that lags
        behind stops the response that it has seen, and neither a newer one nor a request.  And so
        is one stopped that was asked for with `in_conversation=False`, which otherwise goes on.

        Returns when all that is gone, and what was stopped before; does not wait for the provider.
        A call that does not stop within `SessionLimits.interrupt_grace` is named in a
        `ToolUnresponsive` event.  Called by one of those calls, it waits for the others, but for
        those that wait in here as well, and then lets its own cancellation out.  With nothing
        active it stops nothing.

        A checkpoint.  Cancelled: before it took effect, no effect; later, only the waiting ends.

        Raises:
            InvalidRequest: `response_id` is no text.
        """
        if response_id is not None:
            check_sendable(response_id, "response_id")
        core = self._core
        await self._enter()
        own = core.tools.own_call()
        stopping = core.tools.find(core.machine.interrupt(trio.current_time(), response_id))
        core.step()
        stopping += [
            call
            for call in core.tools.stopping
            if call not in stopping and call.call_id not in core.unresponsive
        ]
        if own is not None:
            # Two that waited for each other would both be told to be unresponsive.
            stopping = [call for call in stopping if not call.interrupting]
            own.interrupting = True
        grace = core.limits.interrupt_grace
        try:
            # The caller's own call is cancelled with the others, which would end an unshielded wait
            # at once.
            with trio.move_on_after(grace, shield=own in stopping):
                for call in stopping:
                    if call is not own:
                        await call.done.wait()
        finally:
            if own is not None:
                own.interrupting = False
        for call in stopping:
            if call is not own and not call.done.is_set():
                core.tool_unresponsive(call.call_id, call.tool.name, grace)
        await trio.lowlevel.checkpoint()

    async def truncate_assistant_output(
        self, item_id: str, content_index: int, audio_played_ms: int
    ) -> None:
        """Cut an item of the model's speech to the `audio_played_ms` milliseconds that were heard.

        The result arrives as `AssistantTranscriptTruncated`.  More than was received is clamped.  A
        checkpoint.  Cancelled: no effect.

        Raises:
            InvalidRequest: the model cannot truncate, or the item is unknown, or a number is no
                whole number from 0.
        """
        await self._enter()
        check_count(content_index, "content_index")
        check_count(audio_played_ms, "audio_played_ms")
        await self._make_room()
        self._core.machine.truncate(item_id, content_index, audio_played_ms, trio.current_time())
        await self._done()

    # ---------------------------------------------------------------- tools

    async def submit_tool_result(self, result: ToolResult) -> None:
        """Give the outcome of a call that the application answers.  The model is asked to go on.

        A checkpoint.  Cancelled: no effect.

        Raises:
            ToolCallSettled: the call already has its outcome.
            InvalidRequest: no such call, or its text cannot be sent.
            RequestTooLarge: more than 4 MiB of text.
        """
        expect(result, ToolResult, "result", "ToolResult(tool_use_id=..., content=...)")
        check_sendable(result.text_content(), "the result")
        await self._make_room()
        self._core.machine.submit_tool_result(result, trio.current_time())
        await self._done()

    async def submit_tool_error(self, call_id: str, error: str) -> None:
        """Say that a call failed.  The model is told and asked to go on.

        A checkpoint.  Cancelled: no effect.

        Raises:
            ToolCallSettled: the call already has its outcome.
            InvalidRequest: no such call, or `error` cannot be sent.
            RequestTooLarge: more than 4 MiB.
        """
        check_sendable(error, "error")
        await self._make_room()
        self._core.machine.submit_tool_error(call_id, error, trio.current_time())
        await self._done()

    # ---------------------------------------------------------------- projection

    async def refresh_projection(self, config: RealtimeSessionOpenConfig) -> None:
        """Bring the provider's instructions and tools up to date, and wait for its acknowledgement.

        History is not replayed.  A checkpoint.  Cancelled: may have been sent.

        Raises:
            InvalidRequest: `config` needs another session (another model, provider or turning
                mode), or the provider refused it.
            NetworkTimeout: no acknowledgement within `SessionLimits.update_acknowledgement`.
        """
        core = self._core
        await self._enter()
        check_open_config(config)
        if config.turning_mode is not self.turning_mode:
            raise InvalidRequest(
                f"turning mode {config.turning_mode} differs from the session's "
                f"{self.turning_mode}; it is fixed when a session is opened"
            )
        definitions, specs = advertised(config, self._tools, core.limits.tool_deadline)

        def applied() -> None:
            if core.continuity is not None:
                core.continuity.origin.refreshed(config)

        await self._update(core.dialect.projection(config, definitions), specs, applied)

    async def _update(
        self,
        projection: object,
        specs: tuple[ToolSpec, ...] | None,
        applied: Callable[[], None],
    ) -> None:
        """Change the provider's configuration; `applied` is called as soon as it has.

        That is so even if nobody waits any more: the next connection must be told of it.
        """
        core = self._core
        await self._make_room()
        ref = core.machine.update_session(projection, specs, trio.current_time())
        core.when_acknowledged[ref] = applied
        core.step()
        settled = await core.acknowledged(ref)
        if settled.fault is not None:
            raise core.dialect.fault_error(settled.fault)

    # ---------------------------------------------------------------- events

    async def next_event(self) -> RealtimeSessionEvent | None:
        """The next event; None once the session has ended cleanly.

        A checkpoint.  Cancelled: nothing is lost.

        Raises:
            LlmError: the session failed, after everything queued and `SessionClosed` were returned;
                the same error on every read.
            trio.BusyResourceError: another task is reading.
        """
        self._core.check_run()
        return await self._core.events.get()

    async def next_events(self) -> list[RealtimeSessionEvent]:
        """The events that wait, in order: at least one, up to 128; none once the session has ended.

        The cheapest way to read many, as what a read costs is paid once for all of them.  Audio
        that was read is the application's: an interruption that comes afterwards does not take it
        back, but says which response is not to be played on.

        A checkpoint.  Cancelled: nothing is lost.

        Raises:
            LlmError: the session did not end cleanly, as for `next_event`.
            trio.BusyResourceError: another task is reading.
        """
        self._core.check_run()
        try:
            return await self._core.events.take()
        except StopAsyncIteration:
            return []

    def __aiter__(self) -> Self:
        self._core.check_run()
        return self

    def __anext__(self) -> Coroutine[Any, Any, RealtimeSessionEvent]:
        return self._core.events.following()  # as it is: a coroutine around it costs every event

    # ---------------------------------------------------------------- end

    async def aclose(self) -> None:
        """Close the session; return when nothing of it is left.

        Legal twice, from any task, and from inside a tool, where it asks for the close and waits
        until the tool's own cancellation arrives.  Our part is bounded by
        `SessionLimits.close_grace`. A checkpoint.  Cancelled: the session closes all the same, only
        the waiting ends.
        """
        self._core.check_run()
        self._core.request_close(CloseReason(by=ClosedBy.APPLICATION))
        await self._core.closed.wait()

    close = aclose

    # ---------------------------------------------------------------- steps

    async def _enter(self) -> None:
        """Every command begins here.

        A cancellation of the block closes the session, and may be heard of there first; whoever is
        cancelled must see that, and not the closed session.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self._core.check_open()

    async def _make_room(self) -> None:
        """The one await before a step: room in the control lane."""
        await self._enter()
        await self._core.lanes.wait_for_room()
        await self._enter()

    async def _done(self) -> None:
        self._core.step()
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def _requested(self, request_id: str) -> ResponseRequest:
        request = ResponseRequest(request_id)
        self._core.requests[request_id] = request
        await self._done()
        return request

    def _checked(self, options: ResponseOptions) -> ResponseOptions:
        """Refuse options here, where the mistake is, and not when they are to be written."""
        if options.modality is not None:
            try:
                options = attrs.evolve(options, modality=ResponseModality(options.modality))
            except ValueError:
                allowed = ", ".join(ResponseModality)
                raise InvalidRequest(
                    f"modality is {options.modality!r}; allowed: {allowed}"
                ) from None
        self._core.dialect.check(CreateResponse(ref="", options=options))
        return options

    def _check_format(self, chunk: RealtimeAudioChunk) -> None:
        expected = self.capabilities.audio_input_format
        if expected is None:
            raise InvalidInputShape("this model takes no audio input")
        if chunk.format() != expected:
            raise AudioFormatMismatch(
                f"the chunk is {chunk.format()}, the session takes {expected}; "
                "convert it before sending, nothing is resampled here"
            )


def _options(modality: ResponseModality | str | None, **others: Any) -> ResponseOptions:
    """Options whose modality has not been looked at yet."""
    return ResponseOptions(modality=cast("ResponseModality | None", modality), **others)
