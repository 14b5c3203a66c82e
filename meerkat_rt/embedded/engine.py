"""The rules of one session, as a machine without clock, tasks or I/O.

In go the client's frames and what the brain and the recognizer found out; out come the events to
send (`outgoing`) and the work that somebody else has to do (`effects`).  The driver calls `receive`
for each frame, `examine` until there is no more to hear, and `advance` for each running response,
at whatever pace it likes; after each call it takes `outgoing` and `effects`.

Time in here is audio time: positions in the audio that the client has sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import items as it
from .brain_view import brain_request
from .client_events import check_event, event_id_of, parse_frame
from .effects import Abandon, Close, Think
from .faults import SERVER_ERROR, Fault, invalid_value
from .listening import Listening
from .responses import ResponseRun
from .settings import (
    ResponseSettings,
    TurnDetection,
    check_reasoning,
    check_voice,
    checked_overrides,
    input_format,
    updated_session,
)
from .usage import rate_limits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .brain import BrainRequest, Reply
    from .doors import Refusal

MOST_PARALLEL_RESPONSES = 64  # out of band; the service names no limit


class Engine(Listening):
    """One session of the OpenAI side; see `SessionEngine` for how it is driven."""

    # The session ---------------------------------------------------------------------------------

    def open(self) -> None:
        """Greet the client; the first call."""
        self._emit("session.created", session=self._session_wire())
        if self._quirks.conversation_created:
            self._emit(
                "conversation.created",
                conversation={"id": self._conversation.id, "object": "realtime.conversation"},
            )

    def refuse(self, refusal: Refusal) -> None:
        """The client has not been let in: say why, and close."""
        if not self._quirks.close_without_error:
            self.report(Fault(refusal.code, refusal.message, kind=refusal.kind))
        self._close(refusal.close_code, refusal.close_reason)

    def alarms(self) -> Sequence[tuple[float, Callable[[], None]]]:
        """The session expires at an age."""
        return ((self._session_seconds, self._expire),)

    def _expire(self) -> None:
        text = f"Your session hit the maximum duration of {self._session_seconds / 60:g} minutes."
        if not self._quirks.close_without_error:
            self.report(Fault("session_expired", text))
        self._close(1001, text)

    def _close(self, code: int, reason: str) -> None:
        self._closing = True
        self.effects.append(Close(code=code, reason=reason))

    def broken(self) -> None:
        """Report a bug of ours; the session goes on."""
        text = "The server had an error while processing your request."
        self.report(Fault(SERVER_ERROR, text, kind=SERVER_ERROR))

    def ended(self) -> None:
        """Nothing outlives the connection here."""

    def _session_wire(self) -> dict[str, Any]:
        return {
            **self._session,
            "id": self._session_id,
            "object": (
                "realtime.session" if self._kind == "realtime" else "realtime.transcription_session"
            ),
            "expires_at": self._expires_at,
        }

    def receive(self, frame: str | bytes) -> None:
        """Handle one frame from the client; never raises for what a client sends."""
        if self._closing:
            return
        event_id = None
        try:
            parsed = parse_frame(frame)
            event_id = event_id_of(parsed)
            event = check_event(parsed)
            _HANDLERS[event["type"]](self, event)
        except Fault as fault:
            self.report(fault, event_id=event_id)

    def _on_session_update(self, event: dict[str, Any]) -> None:
        before = self._session
        self._session = updated_session(before, event["session"], audio_spoken=self._audio_spoken)
        detection = TurnDetection.of(self._session)
        self._input.configure(input_format(self._session), detection)
        if detection is None:
            self._turn_item_id = None
        self._emit("session.updated", session=self._session_wire())
        self._list_mcp_tools(before)

    def _list_mcp_tools(self, before: dict[str, Any]) -> None:
        """Say that new MCP servers cannot be reached: this server does not go to the network."""
        known = [tool for tool in before.get("tools", ()) if tool["type"] == "mcp"]
        for tool in self._session.get("tools", ()):
            if tool["type"] != "mcp" or tool in known:
                continue
            item = it.Item(
                id=self._new_item_id(),
                type="mcp_list_tools",
                extra={"server_label": tool["server_label"], "tools": []},
            )
            self._emit("mcp_list_tools.in_progress", item_id=item.id)
            self._add_item(item)
            self._emit("mcp_list_tools.failed", item_id=item.id)

    # Items ---------------------------------------------------------------------------------------

    def _add_item(self, item: it.Item, previous_item_id: str | None = None) -> None:
        self._conversation.insert(item, previous_item_id)
        previous = self._conversation.previous_id(item.id)
        for kind in ("conversation.item.added", "conversation.item.done"):
            self._emit(kind, previous_item_id=previous, item=item.wire())
        self._conversation.trim_audio()

    def _parse_item(self, value: Any, path: str) -> it.Item:
        return it.parse_item(
            value,
            path,
            new_id=self._new_item_id(),
            new_call_id=self._new_id("call"),
            audio_format=self._input.format,
        )

    def _on_item_create(self, event: dict[str, Any]) -> None:
        item = self._parse_item(event["item"], "item")
        call_id = item.extra.get("call_id")
        if item.type == "function_call_output" and not self._conversation.has_call(str(call_id)):
            raise Fault(
                "invalid_tool_call_id",
                f"Tool call ID '{call_id}' not found in conversation.",
                param="item.call_id",
            )
        if item.type == "mcp_approval_response":
            raise invalid_value(
                "item.approval_request_id",
                f"No approval request with id '{item.extra['approval_request_id']}' exists.",
            )
        self._add_item(item, event.get("previous_item_id"))
        if self._hears_words and not any(part.heard for part in item.parts):
            self._recognize(item, announce=False)

    def _on_item_retrieve(self, event: dict[str, Any]) -> None:
        item = self._item(event["item_id"], "retrieve", "retrieving")
        self._emit("conversation.item.retrieved", item=item.wire(with_audio=True))

    def _on_item_delete(self, event: dict[str, Any]) -> None:
        item = self._item(event["item_id"], "delete", "deleting")
        self._conversation.remove(item.id)
        self._emit("conversation.item.deleted", item_id=item.id)

    def _item(self, item_id: str, verb: str, doing: str) -> it.Item:
        item = self._conversation.get(item_id)
        if item is None:
            raise Fault(
                f"item_{verb}_invalid_item_id",
                f"Error {doing} item: the item with id '{item_id}' does not exist.",
                param="item_id",
            )
        return item

    def _on_item_truncate(self, event: dict[str, Any]) -> None:
        item_id, index, end = event["item_id"], event["content_index"], event["audio_end_ms"]
        it.truncate(self._conversation.get(item_id), item_id, index, end)
        self._emit(
            "conversation.item.truncated", item_id=item_id, content_index=index, audio_end_ms=end
        )

    # Responses -----------------------------------------------------------------------------------

    def _on_response_create(self, event: dict[str, Any]) -> None:
        if self._kind == "transcription":
            raise invalid_value("type", "Responses cannot be created in a transcription session.")
        self._create_response(checked_overrides(event.get("response") or {}))

    def _create_response(self, overrides: dict[str, Any]) -> None:
        if "reasoning" in overrides:
            check_reasoning(self._model, "response.reasoning")
        check_voice(
            self._session,
            overrides.get("audio", {}).get("output", {}).get("voice"),
            audio_spoken=self._audio_spoken,
            path="response.audio.output.voice",
        )
        settings = ResponseSettings.of(self._session, overrides)
        context = self._context(overrides.get("input"))
        in_conversation = overrides.get("conversation", "auto") != "none"
        if in_conversation and self._active is not None:
            raise Fault(
                "conversation_already_has_active_response",
                "Conversation already has an active response in progress: "
                f"{self._active.id}. Wait until the response is finished before creating a new "
                "one.",
            )
        if len(self._runs) >= MOST_PARALLEL_RESPONSES:
            raise Fault(
                "rate_limit_exceeded",
                f"At most {MOST_PARALLEL_RESPONSES} responses may run in parallel.",
                kind="rate_limit_error",
            )
        run = ResponseRun(
            id=self._new_id("resp"),
            settings=settings,
            context=context,
            conversation=self._conversation,
            in_conversation=in_conversation,
            emit=self._emit,
            new_id=self._fresh_id,
            quirks=self._quirks,
            cache=self._last_prompt,
            on_audio=self._audio_began,
            on_end=self._response_ended,
        )
        self._runs[run.id] = run
        if in_conversation:
            self._active = run
            self._input.stop_idle_timer()
        run.begin()
        self._last_prompt = run.prompt
        waiting = frozenset(item.id for item in context if item.id in self._recognizing)
        self.effects.append(Think(response_id=run.id, after=waiting))

    def _context(self, entries: list[Any] | None) -> tuple[it.Item, ...]:
        if entries is None:
            return self._conversation.items
        context: list[it.Item] = []
        for index, entry in enumerate(entries):
            path = f"response.input[{index}]"
            if entry.get("type") != "item_reference":
                context.append(self._parse_item(entry, path))
                continue
            item_id = it.reference_id(entry, path)
            item = self._conversation.get(item_id)
            if item is None:
                raise invalid_value(
                    f"{path}.id", f"Item reference '{item_id}' does not exist in the conversation."
                )
            context.append(item)
        return tuple(context)

    def brain_request(self, response_id: str) -> BrainRequest | None:
        """What the brain gets to see; None when the response has ended meanwhile."""
        run = self._runs.get(response_id)
        if run is None:
            return None
        return brain_request(run.settings, run.context)

    def answer(self, response_id: str, replies: Sequence[Reply]) -> None:
        """The brain has answered; `advance` streams it."""
        run = self._runs.get(response_id)
        if run is not None:
            run.answer(replies)

    def advance(self, response_id: str) -> float | None:
        """Stream the next piece of a response; its seconds, or None when the response has ended."""
        run = self._runs.get(response_id)
        return None if run is None else run.advance()

    def fail(self, response_id: str, message: str) -> None:
        """The brain could not answer: end the response as failed."""
        run = self._runs.get(response_id)
        if run is not None:
            error = {"type": SERVER_ERROR, "code": SERVER_ERROR, "message": message}
            run.end_early("failed", {"type": "failed", "error": error})

    def _on_response_cancel(self, event: dict[str, Any]) -> None:
        wanted = event.get("response_id")
        run = self._active if wanted is None else self._runs.get(wanted)
        if run is None:
            raise Fault(
                "response_cancel_not_active", "Cancellation failed: no active response found."
            )
        self._cancel(run, "client_cancelled")

    def _cancel(self, run: ResponseRun, reason: str) -> None:
        run.end_early("cancelled", {"type": "cancelled", "reason": reason})

    def _audio_began(self, run: ResponseRun) -> None:
        self._audio_spoken = True
        run.audio_began_ms = self._input.position_ms

    def _response_ended(self, run: ResponseRun) -> None:
        del self._runs[run.id]
        self.effects.append(Abandon(response_id=run.id))
        used = run.prompt.total + run.output_tokens.total
        self._emit("rate_limits.updated", rate_limits=rate_limits(used))
        if run is not self._active:
            return
        self._active = None
        if run.status == "completed" and run.audio_began_ms is not None:
            self._input.start_idle_timer(run.audio_began_ms + run.audio_ms)
        held, self._held_events = self._held_events, []
        for kind, fields in held:
            self._emit(kind, **fields)
        self._conversation.trim_audio()

    def _on_output_clear(self, event: dict[str, Any]) -> None:
        raise invalid_value(
            "type",
            "'output_audio_buffer.clear' is only supported for WebRTC and SIP sessions.",
        )


_HANDLERS = {
    "session.update": Engine._on_session_update,
    "input_audio_buffer.append": Engine._on_append,
    "input_audio_buffer.commit": Engine._on_commit,
    "input_audio_buffer.clear": Engine._on_clear,
    "output_audio_buffer.clear": Engine._on_output_clear,
    "conversation.item.create": Engine._on_item_create,
    "conversation.item.retrieve": Engine._on_item_retrieve,
    "conversation.item.truncate": Engine._on_item_truncate,
    "conversation.item.delete": Engine._on_item_delete,
    "response.create": Engine._on_response_create,
    "response.cancel": Engine._on_response_cancel,
}
