"""The session as the application sees it: the first seed's surface, completed by the second's.

What the second adds (base64, tool responses, raw events, waiting for answers) stands on the first:
everything that has an owner there, such as a response request or a tool's outcome, keeps it here.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import pybase64
import trio

from ..model import client_events as client
from ..model.checks import expect
from ..model.client_events import Applied, RequiresResumption, ToolResponse
from ..model.conversation import TextContent, ToolResult
from ..model.errors import InvalidInputShape, InvalidRequest
from ..model.events import OutputAudioChunk, ProviderErrorReported
from ..model.live_config import RealtimeConfig, SessionUpdateConfig, ToolDefinition
from ..model.media import RealtimeAudioChunk, RealtimeTurningMode
from ..turn.effects import ToolSpec
from ..turn.ports import ResponseOptions, SendRaw
from .answers import Answer
from .arguments import check_text
from .commands import SessionCommands

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any, Self

    from ..model.client_events import ClientEvent, ContextMutationOutcome
    from ..model.conversation import JSON
    from ..model.events import RealtimeSessionEvent
    from .arguments import PcmBytes


class RealtimeSession(SessionCommands):
    """A live session.  Made by `open_session()` and `attach_external_session()`.

    Commands may come from any task; events are read by one task at a time.  Every command that
    sends something is a checkpoint, and cancel-safe in this sense: cancelled before it took effect,
    it did nothing; once it took effect it returns normally.

    Every command raises `SessionClosedError` once the session is closing.
    """

    async def send_audio_base64(self, audio_base64: str) -> int:
        """Send audio given as base64 (standard alphabet, padded), in the session's input format.

        Returns how many bytes of stale audio were dropped for it.  A checkpoint.  Cancelled: no
        effect.

        Raises:
            InvalidInputShape: not base64, or not whole samples.
        """
        try:
            data = pybase64.b64decode(audio_base64, validate=True)
        except (binascii.Error, TypeError, ValueError) as error:
            raise InvalidInputShape(f"the audio is not base64: {error}") from None
        return await self.send_audio(data)

    async def send_tool_response(self, response: ToolResponse) -> None:
        """Give the outcome of a call that the application answers: any JSON value.

        The same as `submit_tool_result`, with the same one outcome a call.  A checkpoint.
        Cancelled: no effect.

        Raises:
            ToolCallSettled: the call already has its outcome.
            InvalidRequest: no such call, or the output has no JSON form.
        """
        expect(response, ToolResponse, "response", "ToolResponse(call_id=..., output=...)")
        try:
            text = response.output_text()
        except (TypeError, ValueError) as error:
            raise InvalidRequest(f"the output of call {response.call_id!r}: {error}") from None
        await self.submit_tool_result(
            ToolResult(tool_use_id=response.call_id, content=(TextContent(text),))
        )

    async def send_event(self, event: ClientEvent | Mapping[str, JSON]) -> None:
        """Send a client event of the OpenAI vocabulary, or a message of the provider's own.

        What the session itself owns goes the session's way: audio is checked and queued, a
        response is requested from the slot, a tool output settles its call, a cancel interrupts.
        Everything else is sent as it is, where the provider has such an event.  A mapping is a
        message of the provider's for which this vocabulary has no event.

        A checkpoint.  Cancelled: no effect.

        Raises:
            InvalidRequest: the provider has no such event, or its content cannot be sent.
        """
        if isinstance(event, Mapping):
            owned = _OWNED.get(str(event.get("type")))
            if owned is not None:
                raise InvalidRequest(
                    f"{event['type']} has an owner in this session; send it as "
                    f"client_events.{owned}(...)"
                )
            await self._send_raw(dict(event))
            return
        handler = _EVENTS.get(type(event))
        if handler is None:
            known = ", ".join(sorted(each.__name__ for each in _EVENTS))
            raise InvalidRequest(
                f"{type(event).__name__} is not a client event; allowed: {known} "
                "(of meerkat_rt.model.client_events), or a mapping with a message of the provider's"
            )
        await handler(self, event)

    async def _send_raw(self, payload: dict[str, JSON]) -> None:
        await self._enter()
        self._core.dialect.check(SendRaw(ref="", payload=payload))
        await self._make_room()
        self._core.machine.send_raw(payload, trio.current_time())
        await self._done()

    # ---------------------------------------------------------------- context

    async def mutate_context(
        self, config: RealtimeConfig | SessionUpdateConfig
    ) -> ContextMutationOutcome:
        """Change the fields that `config` sets: instruction, voice, tools, turn detection...

        `Applied` when the provider has acknowledged the change; `RequiresResumption` with the whole
        merged configuration when it can be made only for a new session (nothing was sent then).
        Changes add up: the next one starts from what was applied last.

        A checkpoint.  Cancelled: may have been sent.

        Raises:
            InvalidConfig: the protocol or the model does not have what is asked.
            InvalidRequest: the provider refused it; nothing has changed.
            NetworkTimeout: no acknowledgement within `SessionLimits.update_acknowledgement`.
        """
        core = self._core
        await self._enter()
        allowed = "RealtimeConfig(...) with the fields to change"
        expect(config, (RealtimeConfig, SessionUpdateConfig), "config", allowed)
        delta = config if isinstance(config, RealtimeConfig) else config.config
        projection = core.dialect.mutation(delta)
        if projection is None:
            await trio.lowlevel.checkpoint()
            config = core.dialect.config if core.continuity is None else core.continuity.config
            merged = config.merged_with(delta)
            if core.continuity is not None:
                core.continuity.changes.issued(merged, delta)
            return RequiresResumption(merged)
        core.dialect.with_config(core.dialect.config.merged_with(delta))  # raises if it cannot be
        # Other changes may have been acknowledged by then.
        await self._update(projection, self._specs(delta), lambda: core.reconfigured(delta))
        return Applied()

    async def resume_with(
        self,
        config: RealtimeConfig | RequiresResumption,
        *,
        when: Literal["turn_end", "now"] = "turn_end",
        bridge: str | None = None,
    ) -> None:
        """Go on in a session with `config`: what `RequiresResumption` carries, or a change.

        Another connection is opened, and takes the place of this one: resumed where the provider
        has that, else told of the conversation so far.  Everything goes on: the events, the
        transcript, the calls, the requests.  `when="turn_end"` waits until nobody speaks and
        nothing is owed, at most `SessionLimits.turn_end`; `"now"` does not wait, and what the model
        is saying ends there.  A tool may ask, too: its own call is not waited for, and is answered
        in the new session.  `bridge` is told to the model, once, as an instruction that asks for
        no answer.  Changes that were made since `config` was returned stand, and several pending
        ones are made together.

        A checkpoint.  Cancelled: before the swap has begun, no effect; later it is completed all
        the same.

        Raises:
            InvalidConfig, InvalidRequest: the provider does not have it, or refused it, and the
                session goes on as it was; or it was attached to, so that there is nothing to open
                another from.
            LlmError: no other connection came about; the session goes on as it was if it can.
        """
        core = self._core
        await self._enter()
        if isinstance(config, RequiresResumption):
            config = config.config
        expect(config, RealtimeConfig, "config", "RequiresResumption.config, or RealtimeConfig")
        if when not in ("turn_end", "now"):
            raise InvalidRequest(f"when is {when!r}; allowed: 'turn_end', 'now'")
        if bridge is not None:
            check_text(bridge)
        if core.continuity is None:
            raise InvalidRequest(
                "this session was attached to: what it was opened from is not known, so no other "
                "can be opened"
            )
        swap = core.continuity.ask(
            config, at_once=when == "now", bridge=bridge, patience=core.limits.turn_end
        )
        try:
            await swap.done.wait()
        finally:
            core.continuity.changes.withdraw(swap)
        if swap.error is not None:
            raise swap.error
        if not swap.made:
            raise core.closed_error() from core.error

    def _specs(self, delta: RealtimeConfig) -> tuple[ToolSpec, ...] | None:
        """The rules of the offered functions; those of the ToolSet keep their handler."""
        if delta.tools is None:
            return None
        deadline = self._core.limits.tool_deadline
        own = {spec.name: spec for spec in self._tools.specs(deadline)}
        names = [each.name for each in delta.tools if isinstance(each, ToolDefinition)]
        return tuple(own.get(name) or ToolSpec(name=name, deadline=deadline) for name in names)

    def events(self) -> Self:
        """The session as an async iterator of its events; see `next_event` for the rules."""
        return self

    # ---------------------------------------------------------------- waiting for an answer

    async def send_audio_and_wait(
        self, audio: RealtimeAudioChunk | PcmBytes
    ) -> list[RealtimeSessionEvent]:
        """Send audio as a whole turn and return all events up to the end of the answer.

        Under explicit commit the turn is committed and answered; where the provider manages turns
        it is the provider that hears the end, so the audio must end with enough silence.  An answer
        that calls tools goes on until the model has spoken about them.

        A reader: no other may read meanwhile.  A checkpoint.  Cancelled: may have been sent; the
        events read so far are gone.

        Raises:
            Unanswered: no answer came, or it did not go on after its tools; where the provider
                manages turns, also if none has begun `SessionLimits.response_request` after the
                audio's end.
            LlmError: the provider refused or failed to answer, or the session ended.
            trio.BusyResourceError: another task is reading; nothing was sent.
        """
        self._core.events.check_reader()
        events: list[RealtimeSessionEvent] = []
        while (event := self._core.events.poll()) is not None:  # of what was asked before
            events.append(event)
        await self.send_audio(audio)
        if self.turning_mode is RealtimeTurningMode.EXPLICIT_COMMIT:
            answer = Answer(self._core, await self.commit_turn())
        else:
            earlier = self._core.machine.responses
            answer = Answer(self._core, earlier=earlier, patience=self._patience(audio))
        return events + await _whole(answer)

    def _patience(self, audio: RealtimeAudioChunk | PcmBytes) -> float:
        """How many seconds an answer to this may take to begin; the audio may be sent at once."""
        size = len(audio.data if isinstance(audio, RealtimeAudioChunk) else audio)
        played = self.capabilities.audio_input_format
        assert played is not None  # or it had not been taken
        return self._core.limits.response_request + played.duration_ms(size) / 1000

    async def send_text_and_wait(self, text: str) -> list[RealtimeSessionEvent]:
        """Send a message, ask for a response, and return all events up to the end of the answer.

        That is the end of its generation: the answer joins `transcript` when it has been heard.  An
        answer that calls tools goes on until the model has spoken about them.  What was asked
        before is answered before, and its events are among those that are returned.

        A reader: no other may read meanwhile.  A checkpoint.  Cancelled: may have been sent; the
        events read so far are gone.

        Raises:
            Unanswered: no answer came (the model stayed silent, something newer took its place), or
                it did not go on after its tools.
            LlmError: the provider refused or failed to answer, or the session ended.
            trio.BusyResourceError: another task is reading; nothing was sent.
        """
        self._core.events.check_reader()
        await self.send_text(text)
        return await _whole(Answer(self._core, await self.create_response()))

    async def collect_audio(self) -> list[bytes]:
        """Read until the answer has ended; return its audio, a piece a chunk.

        That is the answer which is read next, asked for before or after.  A reader: no other may
        read meanwhile.  A checkpoint.  Cancelled: what was read is gone.

        Raises:
            Unanswered: something was asked, and no answer came, or it did not go on after its
                tools.
            LlmError: the provider reported an error meanwhile, or the session ended.
            trio.BusyResourceError: another task is reading.
        """
        self._core.check_run()
        self._core.events.check_reader()
        answer = Answer(self._core)
        pieces: list[bytes] = []
        while not answer.ended:
            match await answer.next_event():
                case OutputAudioChunk(chunk=chunk):
                    pieces.append(chunk.data)
                case ProviderErrorReported(fault=fault):
                    raise self._core.dialect.fault_error(fault)
                case _:
                    pass
        return pieces


async def _whole(answer: Answer) -> list[RealtimeSessionEvent]:
    events: list[RealtimeSessionEvent] = []
    while not answer.ended:
        events.append(await answer.next_event())
    return events


# ---------------------------------------------------------------- client events


async def _session_update(session: RealtimeSession, event: client.SessionUpdate) -> None:
    await session._send_raw({"type": "session.update", "session": dict(event.session)})


async def _audio(session: RealtimeSession, event: client.AudioDelta) -> None:
    if event.format is not None and event.format != session.capabilities.audio_input_format:
        raise InvalidInputShape(
            f"the audio is {event.format}, the session takes "
            f"{session.capabilities.audio_input_format}"
        )
    await session.send_audio(event.audio)


async def _item(session: RealtimeSession, event: client.ConversationItemCreate) -> None:
    item = dict(event.item)
    if item.get("type") == "function_call_output":
        output = item.get("output")
        await session.submit_tool_result(
            ToolResult(
                tool_use_id=str(item.get("call_id", "")),
                content=output if isinstance(output, str) else str(output),
            )
        )
        return
    payload: dict[str, JSON] = {"type": "conversation.item.create", "item": item}
    if event.previous_item_id is not None:
        payload["previous_item_id"] = event.previous_item_id
    await session._send_raw(payload)


async def _truncate(session: RealtimeSession, event: client.ConversationItemTruncate) -> None:
    await session.truncate_assistant_output(event.item_id, event.content_index, event.audio_end_ms)


async def _create(session: RealtimeSession, event: client.ResponseCreate) -> None:
    asked = event.response or {}
    await session._request(
        ResponseOptions(extra=asked, in_conversation=asked.get("conversation") != "none")
    )


async def _cancel(session: RealtimeSession, event: client.ResponseCancel) -> None:
    if event.response_id is None:
        await session.interrupt()
    else:
        await session._send_raw({"type": "response.cancel", "response_id": event.response_id})


async def _message(session: RealtimeSession, event: client.Message) -> None:
    if event.role is not client.MessageRole.USER or not all(
        isinstance(part, TextContent) for part in event.parts
    ):
        raise InvalidRequest(
            f"a message of the {event.role.value} cannot join a live conversation in neutral form; "
            "allowed: text of the user. Seed other messages when the session is opened"
        )
    await session.send_text("\n".join(part.text_projection() for part in event.parts))


def _raw(kind: str, *fields: str) -> Callable[[Any, Any], Awaitable[None]]:
    async def send(session: RealtimeSession, event: Any) -> None:
        await session._send_raw({"type": kind, **{name: getattr(event, name) for name in fields}})

    return send


_EVENTS: dict[type, Callable[[Any, Any], Awaitable[Any]]] = {
    client.SessionUpdate: _session_update,
    client.AudioDelta: _audio,
    client.InputAudioBufferCommit: lambda session, event: session.commit_audio(),
    client.InputAudioBufferClear: lambda session, event: session.clear_audio(),
    client.OutputAudioBufferClear: _raw("output_audio_buffer.clear"),
    client.ConversationItemCreate: _item,
    client.ConversationItemTruncate: _truncate,
    client.ConversationItemDelete: _raw("conversation.item.delete", "item_id"),
    client.ConversationItemRetrieve: _raw("conversation.item.retrieve", "item_id"),
    client.ResponseCreate: _create,
    client.ResponseCancel: _cancel,
    client.Message: _message,
}
_OWNED = {tag: cls.__name__ for cls, tag in client.CLIENT_EVENT_TAGS.items()}
