"""The rules of one Gemini Live session, as a machine without clock, tasks or I/O.

The protocol has no ids of turns, no acknowledgements and no errors: what is wrong closes the
connection.  Here are the session's configuration, what the client says, tools, and whose turn it
is; `model_turn` streams an answer, `hearing` finds the user's turns in the audio.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import attrs
import msgspec

from ..brain import BrainCall, BrainMessage, BrainOutput, BrainRequest
from ..effects import Abandon, SessionLimits, Think
from ..faults import Fault
from ..schema import sendable
from ..usage import Tokens, text_tokens
from .hearing import Hearing
from .history import History, Remembered, contents, json_text, remembered
from .model_turn import ModelTurn, Phase
from .proto import INTERNAL, INVALID, POLICY, Refused, invalid
from .schema import read
from .setup import functions_of, parse_setup, text_of
from .wire import Message, resumption, usage_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..brain import Call, Reply
    from ..doors import Refusal
    from .shelf import Shelf
    from .wire import Terms

CONTEXT_TOKENS = 131_072
REMEMBERED_CALLS = 1024  # whose late answers are known for what they are
MOST_LATE = 1024  # answers that wait for the end of one turn


@attrs.frozen
class _Pending:
    """A call without its answer.  `blocking`: the model waits for it."""

    name: str
    blocking: bool


class GeminiEngine(Hearing):
    """One connection's session; see `SessionEngine` for how it is driven."""

    def __init__(
        self, terms: Terms, shelf: Shelf, *, seed: str, limits: SessionLimits | None = None
    ) -> None:
        super().__init__(terms, limits or SessionLimits())
        self._shelf = shelf
        self._seed = seed
        self._counts: dict[str, int] = {}
        self._session_id = f"session_{seed}"
        self._refusal: Refusal | None = None
        self._turn: ModelTurn | None = None
        self._owed = False  # another answer, once this turn is over
        self._awaits_history = False
        self._pending: dict[str, _Pending] = {}
        self._late: list[Remembered] = []  # answers that wait for the end of the turn
        self._over: deque[str] = deque(maxlen=REMEMBERED_CALLS)  # answered, or revoked
        self._resumable = False  # what the client was told last
        self._received = 0  # messages after the setup
        self._consumed = 0  # of which the history holds everything

    def _new_id(self, prefix: str) -> str:
        self._counts[prefix] = self._counts.get(prefix, 0) + 1
        return f"{prefix}_{self._seed}{self._counts[prefix]:06d}"

    # ---------------------------------------------------------------- the connection

    def _close(self, code: int, reason: str) -> None:
        super()._close(code, reason)
        if self._turn is not None:
            self._drop(self._turn)

    def open(self) -> None:
        """The client speaks first."""

    def refuse(self, refusal: Refusal) -> None:
        """The client has not been let in: what it says first is answered with a close frame."""
        self._refusal = refusal

    def alarms(self) -> Sequence[tuple[float, Callable[[], None]]]:
        """The setup is waited for, and the connection ends, with a warning."""
        terms = self._terms
        return (
            (terms.setup_seconds, self._setup_late),
            (max(terms.connection_seconds - terms.go_away_seconds, 0.0), self._go_away),
            (terms.connection_seconds, self._too_old),
        )

    def _setup_late(self) -> None:
        if self._setup is None:
            self._close(INTERNAL, "Deadline expired before operation could complete.")

    def _go_away(self) -> None:
        left = min(self._terms.go_away_seconds, self._terms.connection_seconds)
        self._send({"goAway": {"timeLeft": f"{left:g}s"}})

    def _too_old(self) -> None:
        self._close(POLICY, "The operation was aborted.")

    def broken(self) -> None:
        """A bug of ours ends the connection, as it does at the provider."""
        self._close(INTERNAL, "Internal error encountered.")

    def ended(self) -> None:
        """The session can be resumed by another connection now."""
        if self._setup is not None:
            self._shelf.disconnect(self._session_id)

    def receive(self, frame: str | bytes) -> None:
        """Handle one frame from the client; never raises for what a client sends."""
        if self._closed:
            return
        if self._refusal is not None:
            self._close(self._refusal.close_code, self._refusal.close_reason)
            return
        try:
            key, body = read(frame)
            if self._setup is None:
                self._on_setup(key, body)
                return
            self._received += 1
            _HANDLERS[key](self, body)
            if self._history.tokens.total > CONTEXT_TOKENS:
                self._fit_context()  # whoever never asks for an answer is bounded too
        except Refused as refused:
            self._close(refused.code, refused.reason)
        except Fault as fault:
            self._close(INVALID, fault.message)

    def examine(self) -> bool:
        """Listen to the next few seconds of the audio; whether there is more."""
        more = super().examine()
        if not more and not self._speaking:
            self._consumed = self._received
        return more

    # ---------------------------------------------------------------- setup

    def _on_setup(self, key: str, body: Message) -> None:
        if key != "setup":
            raise invalid("The first message must be a setup message.")
        setup = parse_setup(
            body,
            vertex=self._terms.vertex,
            models=self._terms.models,
            voice=self._terms.voice,
            context=CONTEXT_TOKENS,
        )
        if setup.handle is not None:
            kept = self._shelf.take(setup.handle, setup.model)
            self._session_id, self._history = kept.session_id, History(kept.history)
        self._shelf.connect(self._session_id)
        self._setup = setup
        self._awaits_history = setup.expects_history
        self._set_format(self._input.format.rate)
        self._send({"setupComplete": {"sessionId": self._session_id}})
        if not self._awaits_history:
            self._tell_handle()

    def _set_up_again(self, body: Message) -> None:
        raise invalid("setup may be sent once, as the first message.")

    def _on_context_update(self, body: Message) -> None:
        setup = self._session
        if not setup.tells:
            raise invalid("context_update is not supported for this model.")
        if "systemInstruction" in body:
            setup = attrs.evolve(setup, instructions=text_of(body["systemInstruction"]))
        if "tools" in body:
            tools = body["tools"].get("tools", ())
            setup = attrs.evolve(setup, functions=functions_of(tools, setup.generation))
        self._setup = setup

    # ---------------------------------------------------------------- content

    def _on_client_content(self, body: Message) -> None:
        turns, complete = body.get("turns", ()), body.get("turnComplete", False)
        if any(content.get("role") == "system" for content in turns):
            raise invalid("Please use a valid role: user, model.")
        entries = contents(turns)
        if self._awaits_history:
            for entry in entries:
                self._history.add(entry)
            if complete:
                self._awaits_history = False
                self._tell_handle()
            return
        setup = self._session
        if not setup.text_all_session:
            raise invalid("client_content is only supported for the initial history.")
        # The newest models let text in without being stopped by it.
        if complete or not setup.newest:
            self._interrupt()
        for entry in entries:
            self._history.add(entry)
        if complete:
            self._respond()
        elif self._turn is None:
            self._tell_handle()

    # ---------------------------------------------------------------- tools

    def _on_tool_response(self, body: Message) -> None:
        setup = self._session
        wanted = False
        for answer in body.get("functionResponses", ()):
            call_id = answer.get("id") or self._unnamed(answer)
            pending = self._pending.get(call_id)
            if pending is None:
                if call_id in self._over:
                    continue  # it crossed the cancellation, or is told twice
                raise invalid(f'No function call with id "{call_id[:40]}" is waiting.')
            if "response" not in answer:
                raise invalid("function_responses: response must be an object.")
            if "scheduling" in answer and not setup.generation.async_tools:
                raise invalid("Function response scheduling is not supported for this model.")
            if not answer.get("willContinue"):
                del self._pending[call_id]
                self._over.append(call_id)
            scheduling = None if pending.blocking else answer.get("scheduling", "WHEN_IDLE")
            # Not over the user's head: the newest models wait even so.
            if scheduling == "INTERRUPT" and not self._speaking:
                self._interrupt()
            output = BrainOutput(call_id=call_id, output=json_text(answer["response"]))
            self._deliver(remembered(output), at_once=pending.blocking)
            wanted = wanted or scheduling in ("INTERRUPT", "WHEN_IDLE")
        if self._turn is not None and self._turn.phase is Phase.WAITING:
            if not any(pending.blocking for pending in self._pending.values()):
                self._go_on(self._turn)
        elif wanted and self._speaking:
            self._owed = True
        elif wanted:
            self._respond()

    def _deliver(self, output: Remembered, *, at_once: bool) -> None:
        """An answer that the model did not wait for comes after what it is saying now."""
        if at_once or self._turn is None:
            self._history.add(output)
            return
        if len(self._late) >= MOST_LATE:
            raise invalid("Too many function responses.")
        self._late.append(output)

    def _unnamed(self, answer: Message) -> str:
        """The call that an answer without an id is for, where ids may be left out."""
        if not self._terms.vertex:
            raise invalid("function_responses: id is required.")
        name = answer.get("name", "")
        return next((each for each, p in self._pending.items() if p.name == name), "")

    def _make_calls(self, calls: list[Call]) -> bool:
        """Send the calls of an answer; whether the model waits for one of them."""
        turn = self._turn
        assert turn is not None
        self._remember(*turn.take_said())
        wire: list[Message] = []
        for call in calls:
            call_id, name = self._new_id("function-call"), sendable(call.name)
            arguments = _object(call.arguments)
            known = self._session.functions.get(name)
            blocking = not self._session.newest if known is None else known.blocking
            self._pending[call_id] = _Pending(name, blocking)
            wire.append({"id": call_id, "name": name, "args": arguments})
            text = json_text(arguments)
            turn.spend(Tokens(text=text_tokens(name + text)))
            self._history.add(remembered(BrainCall(call_id=call_id, name=name, arguments=text)))
        self._send({"toolCall": {"functionCalls": wire}})
        return any(self._pending[each["id"]].blocking for each in wire)

    def _revoke(self) -> None:
        """Nobody waits any more for what the model waited for."""
        revoked = [call_id for call_id, pending in self._pending.items() if pending.blocking]
        for call_id in revoked:
            del self._pending[call_id]
            self._over.append(call_id)
        if revoked:
            self._send({"toolCallCancellation": {"ids": revoked}})

    # ---------------------------------------------------------------- the model's turn

    @property
    def _answering(self) -> bool:
        return self._turn is not None

    def _respond(self) -> None:
        if self._turn is not None:
            self._owed = True
            return
        self._owed = False
        self._fit_context()
        if self._closed:
            return
        if self._session.resumption and self._resumable:
            self._resumable = False
            self._send(resumption(None, None))
        setup = self._session
        self._turn = ModelTurn(
            id=self._new_id("turn"),
            prompt=self._prompt,
            modality=setup.modality,
            voice=setup.voice,
            transcribes=setup.transcribes_output,
            tells=setup.tells,
            budget=setup.max_output_tokens,
            share=self._terms.share,
            quirks=self._terms.quirks,
            content=self._content,
            calls=self._make_calls,
        )
        self._think(self._turn)

    def _think(self, turn: ModelTurn) -> None:
        waiting = frozenset(self._recognizing)
        self.effects.append(Think(response_id=turn.id, after=waiting))

    def _go_on(self, turn: ModelTurn) -> None:
        """All that the model waited for has been answered."""
        turn.id = self._new_id("turn")
        turn.phase = Phase.THINKING
        turn.prompt = self._prompt
        self._think(turn)

    @property
    def _prompt(self) -> Tokens:
        setup = self._session
        declared = sum(text_tokens(str(each.tool)) for each in setup.functions.values())
        return self._history.tokens + Tokens(text=text_tokens(setup.instructions) + declared)

    def _fit_context(self) -> None:
        compression = self._session.compression
        if compression is not None and self._prompt.total > compression.trigger:
            self._history.cut(compression.target)
        if self._prompt.total > CONTEXT_TOKENS:
            text = "The input token count exceeds the maximum number of tokens allowed"
            self._close(INVALID, f"{text} {CONTEXT_TOKENS}.")

    def _of(self, response_id: str) -> ModelTurn | None:
        turn = self._turn
        return turn if turn is not None and turn.id == response_id else None

    def brain_request(self, response_id: str) -> BrainRequest | None:
        """What the brain gets to see; None when the turn has ended meanwhile."""
        if self._of(response_id) is None:
            return None
        setup = self._session
        return BrainRequest(
            history=self._history.entries,
            instructions=setup.instructions,
            tools=tuple(each.tool for each in setup.functions.values()),
            parallel_tool_calls=True,
            modality=setup.modality,
        )

    def answer(self, response_id: str, replies: Sequence[Reply]) -> None:
        """The brain has answered; `advance` streams it."""
        turn = self._of(response_id)
        if turn is not None:
            turn.answer(replies)

    def advance(self, response_id: str) -> float | None:
        """Stream the next piece; its seconds, or None when the turn is over or waits for tools."""
        turn = self._of(response_id)
        if turn is None or self._closed:
            return None
        seconds = turn.advance()
        if seconds is None:
            if turn.phase is Phase.WAITING:
                self.effects.append(Abandon(response_id=turn.id))
            else:
                self._complete(turn)
        return seconds

    def fail(self, response_id: str, message: str) -> None:
        """The brain could not answer: the turn ends, and says that it is not as it should be."""
        turn = self._of(response_id)
        if turn is not None:
            turn.reason = "RESPONSE_REJECTED"
            self._complete(turn)

    def _complete(self, turn: ModelTurn) -> None:
        self._remember(*turn.take_said())
        self._over_with(turn)
        if self._owed and not self._speaking:
            self._respond()
        elif not self._closed:
            self._tell_handle()

    def _interrupt(self) -> None:
        turn = self._turn
        if turn is None:
            return
        if not turn.begun:
            # Nobody has noticed yet that it wanted to answer.
            self._drop(turn)
            return
        self._remember(*turn.take_heard(), truncated=True)
        self._content({"interrupted": True})
        self._revoke()
        self._over_with(turn)

    def _over_with(self, turn: ModelTurn) -> None:
        """Tell that a turn is over, and what it cost."""
        content: Message = {"turnComplete": True}
        if turn.reason is not None:
            content["turnCompleteReason"] = turn.reason
        if self._session.tells:
            content["interactionStatus"] = "IN_PROGRESS" if self._pending else "IDLE"
        usage = usage_of(turn.prompt, turn.output, vertex=self._terms.vertex)
        self._send({"serverContent": content, "usageMetadata": usage})
        self._drop(turn)
        self._release()

    def _drop(self, turn: ModelTurn) -> None:
        self._turn = None
        self.effects.append(Abandon(response_id=turn.id))
        late, self._late = self._late, []
        for output in late:
            self._history.add(output)

    def _remember(self, text: str, seconds: float, *, truncated: bool = False) -> None:
        if text:
            message = BrainMessage(
                role="assistant", text=text, speech_seconds=seconds, truncated=truncated
            )
            self._history.add(remembered(message))

    # ---------------------------------------------------------------- resumption

    def _tell_handle(self) -> None:
        """Tell from where the session can be resumed, if the client wants to know."""
        setup = self._session
        if not setup.resumption:
            return
        handle = self._shelf.keep(self._session_id, setup.model, self._history.snapshot())
        self._resumable = True
        self._send(resumption(handle, self._consumed if setup.transparent else None))


def _object(arguments: object) -> Message:
    """A call's arguments as the object that they have to be."""
    if isinstance(arguments, str):
        try:
            arguments = msgspec.json.decode(arguments)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return {}
    return dict(arguments) if isinstance(arguments, Mapping) else {}


_HANDLERS: dict[str, Callable[[GeminiEngine, Message], None]] = {
    "setup": GeminiEngine._set_up_again,
    "clientContent": GeminiEngine._on_client_content,
    "realtimeInput": GeminiEngine._on_realtime_input,
    "toolResponse": GeminiEngine._on_tool_response,
    "contextUpdate": GeminiEngine._on_context_update,
}
