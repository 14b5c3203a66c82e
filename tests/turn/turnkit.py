"""A hand on the machine: feeds it, keeps everything it said, and applies its transcript."""

from __future__ import annotations

from typing import Any

import attrs

from meerkat_rt.model import events as ev
from meerkat_rt.model.conversation import ToolResult, Usage
from meerkat_rt.model.delta_run import one_by_one
from meerkat_rt.model.media import (
    RealtimeAudioFormat,
    RealtimeCapabilities,
    RealtimeTurningMode,
)
from meerkat_rt.transcript import TranscriptAuthority
from meerkat_rt.turn import effects as fx
from meerkat_rt.turn import ports as p
from meerkat_rt.turn.machine import SessionMachine

FMT = RealtimeAudioFormat.pcm(24_000)
SECOND = FMT.bytes_per_second
CAPABILITIES = RealtimeCapabilities(
    interrupt_supported=True,
    truncate_supported=True,
    nudge_supported=True,
    transcript_supported=True,
    tool_lifecycle_events_supported=True,
)
PROVIDER_MANAGED = RealtimeTurningMode.PROVIDER_MANAGED
EXPLICIT = RealtimeTurningMode.EXPLICIT_COMMIT


def settings(**changes: Any) -> fx.MachineSettings:
    """Those of a provider that behaves like the OpenAI dialect."""
    capabilities = attrs.evolve(
        CAPABILITIES,
        **{key: changes.pop(key) for key in list(changes) if hasattr(CAPABILITIES, key)},
    )
    defaults: dict[str, Any] = {
        "turning_mode": PROVIDER_MANAGED,
        "capabilities": capabilities,
        "output_format": FMT,
        "echoes_refs": True,
        "seed": 7,
    }
    return fx.MachineSettings(**{**defaults, **changes})


class Hand:
    """One machine with a clock that only moves when told to."""

    def __init__(self, **changes: Any) -> None:
        self.settings = settings(**changes)
        self.machine = SessionMachine(self.settings)
        self.authority = TranscriptAuthority(keep_heard_prefix=True)
        self.keep_runs = False  # as a session without a store takes what was said
        self.now = 100.0
        self.events: list[Any] = []
        self.transcript: list[Any] = []
        self.effects: list[Any] = []
        self.messages: list[Any] = []
        self.history: list[tuple[str, str]] = []  # item id and text of what became canonical
        self.diagnostics: list[Any] = []

    # ------------------------------------------------------------ driving

    def take(self) -> list[Any]:
        """Collect what was said; returns the new events."""
        events, transcript, effects = self.machine.drain(keep_run=self.keep_runs)
        self.events += events
        told = list(one_by_one(transcript))
        self.transcript += told
        self.effects += effects
        for event in told:
            outcome = self.authority.apply(event)
            self.messages += outcome.messages
            self.history += [(m.item_id, m.text) for m in outcome.materialized_messages]
            self.diagnostics += outcome.diagnostics
        return events

    def see(self, *provider_events: Any) -> list[Any]:
        """Let the machine observe these now; returns the new events."""
        for event in provider_events:
            self.machine.observe(event, self.now)
        return self.take()

    def do(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a command of the machine with the present time."""
        try:
            return getattr(self.machine, name)(*args, now=self.now, **kwargs)
        finally:
            self.take()

    def wait(self, seconds: float) -> list[Any]:
        """Let time pass, stopping at every deadline on the way; returns the new events."""
        end = self.now + seconds
        seen = len(self.events)
        steps = 0
        while True:
            deadline = self.machine.next_deadline
            if deadline is None or deadline > end:
                break
            steps += 1
            assert steps < 10_000, f"deadlines do not come to an end: {self.machine.ledger_sizes()}"
            self.now = max(self.now, deadline)
            self.machine.timer(self.now)
            self.take()
        self.now = end
        return self.events[seen:]

    # ------------------------------------------------------------ what was said

    def of(self, *types: type) -> list[Any]:
        """All events of these types so far."""
        return [event for event in self.events if isinstance(event, types)]

    def sent(self, *types: type) -> list[Any]:
        """All commands sent so far, of these types if any are given."""
        commands = [effect.command for effect in self.effects if isinstance(effect, fx.Send)]
        return [command for command in commands if not types or isinstance(command, types)]

    def effects_of(self, *types: type) -> list[Any]:
        """All effects of these types so far."""
        return [effect for effect in self.effects if isinstance(effect, types)]

    def wrote(self, *types: type) -> list[Any]:
        """All transcript events of these types so far."""
        return [event for event in self.transcript if isinstance(event, types)]

    def outcome(self, request_id: str) -> Any:
        """The one outcome of a request; None while it is open."""
        found = [e.outcome for e in self.effects_of(fx.SettleRequest) if e.request_id == request_id]
        assert len(found) < 2, found
        return found[0] if found else None

    @property
    def texts(self) -> list[str]:
        """The canonical conversation as text."""
        return [message.text_content() for message in self.messages]

    def names(self, events: list[Any]) -> list[str]:
        """The types of these events, by name."""
        return [type(event).__name__ for event in events]

    def sizes(self) -> dict[str, int]:
        """What is still remembered."""
        return {key: size for key, size in self.machine.ledger_sizes().items() if size}

    # ------------------------------------------------------------ typical inputs

    def user_turn(self, item_id: str, text: str | None = None, previous: str | None = None) -> None:
        """Speech, committed by the provider; transcribed if a text is given."""
        self.see(
            p.SpeechStarted(item_id=item_id),
            p.SpeechStopped(item_id=item_id),
            p.InputCommitted(item_id=item_id, previous_item_id=previous),
            p.ItemAdded(item_id=item_id, previous_item_id=previous, kind=p.ItemKind.USER),
            p.ItemAdded(
                item_id=item_id, previous_item_id=previous, kind=p.ItemKind.USER, final=True
            ),
        )
        if text is not None:
            self.see(p.InputTranscriptDone(item_id=item_id, text=text))

    def begin(self, response_id: str, ref: str | None = None, **kwargs: Any) -> None:
        """A response begins."""
        self.see(p.ResponseBegan(response_id=response_id, ref=ref, **kwargs))

    def item(self, response_id: str, item_id: str, previous: str | None = None) -> None:
        """The response has a message item."""
        self.see(
            p.OutputItemBegan(response_id=response_id, item_id=item_id, kind=p.ItemKind.ASSISTANT),
            p.ItemAdded(item_id=item_id, previous_item_id=previous, kind=p.ItemKind.ASSISTANT),
        )

    def speak(self, response_id: str, item_id: str, text: str, seconds: float) -> None:
        """Speech with its text arrives, all at once."""
        self.see(
            p.TranscriptDelta(f"e_{response_id}_{item_id}", response_id, item_id, text),
            p.AudioDelta(response_id, item_id, bytes(int(seconds * SECOND))),
        )

    def spoken(self, response_id: str, item_id: str, text: str) -> None:
        """The speech of an item is complete."""
        self.see(
            p.AudioDone(response_id=response_id, item_id=item_id),
            p.TranscriptDone(
                event_id=f"t_{response_id}_{item_id}",
                response_id=response_id,
                item_id=item_id,
                text=text,
            ),
        )

    def end(
        self,
        response_id: str,
        status: p.ResponseStatus = p.ResponseStatus.COMPLETED,
        **kwargs: Any,
    ) -> list[Any]:
        """The response's terminal."""
        kwargs.setdefault("usage", Usage(input_tokens=10, output_tokens=5))
        return self.see(p.ResponseEnded(response_id=response_id, status=status, **kwargs))

    def deliver(self, item_id: str, seconds: float) -> None:
        """The application takes that much audio of the item."""
        self.do("audio_delivered", item_id, 0, int(seconds * SECOND))

    def call(self, response_id: str, call_id: str, name: str = "f", arguments: str = "{}") -> None:
        """The response calls a tool."""
        self.see(
            p.ToolCalled(
                response_id=response_id,
                item_id=f"item_{call_id}",
                call_id=call_id,
                name=name,
                arguments=arguments,
            )
        )

    def text_response(self, response_id: str, item_id: str, text: str, **kwargs: Any) -> None:
        """A whole written response."""
        self.begin(response_id, **kwargs)
        self.item(response_id, item_id)
        self.see(p.TextDelta(f"e_{response_id}", response_id, item_id, text))
        self.end(response_id)


def result(call_id: str, text: str = "ok", *, is_error: bool = False) -> ToolResult:
    """What a tool answered."""
    return ToolResult(tool_use_id=call_id, content=text, is_error=is_error)


def tool(name: str = "f", **kwargs: Any) -> fx.ToolSpec:
    """A tool with a handler."""
    return fx.ToolSpec(name=name, handled=kwargs.pop("handled", True), **kwargs)


__all__ = ["EXPLICIT", "FMT", "PROVIDER_MANAGED", "SECOND", "Hand", "ev", "fx", "p"]
