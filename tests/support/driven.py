"""Drive an embedded engine by hand: its brain and its recognizer answer when the test says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from meerkat_rt.embedded import DefaultBrain
from meerkat_rt.embedded.effects import Abandon, Recognize, Think


class Driven:
    """An engine, its brain and its recognizer, stepped synchronously.

    With `oracle` every frame of both sides is held against that.  `sent` is all that the engine has
    sent.  Who makes one gives it its `engine`.
    """

    engine: Any

    def __init__(
        self, *, brain: object | None, text: str, check: Callable[..., None], oracle: bool
    ) -> None:
        self.oracle = oracle
        self.brain = brain or DefaultBrain()
        self.text = text
        self.sent: list[dict] = []
        self.work: list[Recognize] = []
        self.thinking: list[Think] = []
        self.running: list[str] = []
        self._check = check

    def take(self) -> list[dict]:
        """What the engine has sent; its work is queued."""
        sent, self.engine.outgoing = self.engine.outgoing, []
        for each in sent:
            json.dumps(each)
            if self.oracle:
                self._check(each, "server")
        self.sent += sent
        effects, self.engine.effects = self.engine.effects, []
        for effect in effects:
            self.affect(effect)
        return sent

    def affect(self, effect: object) -> None:
        """Take one effect of the engine's."""
        match effect:
            case Think():
                self.thinking.append(effect)
            case Recognize():
                self.work.append(effect)
            case Abandon(response_id=ended):
                self.thinking = [work for work in self.thinking if work.response_id != ended]
                self.running = [run for run in self.running if run != ended]

    def send(self, *frames: dict | str | bytes, valid: bool = True) -> list[dict]:
        """Send frames of the client's; what came back at once."""
        back: list[dict] = []
        for frame in frames:
            if isinstance(frame, dict):
                if valid:
                    self._check(frame, "client")
                frame = json.dumps(frame)
            self.engine.receive(frame)
            while self.engine.examine():
                pass
            back += self.take()
        return back

    def recognize(self) -> list[dict]:
        """Finish the recognitions that wait."""
        back = []
        while self.work:
            self.engine.recognized(self.work.pop(0).item_id, self.text)
            back += self.take()
        return back

    def think(self) -> None:
        """Let the brain answer what waits for it."""
        while self.thinking:
            work = self.thinking.pop(0)
            request = self.engine.brain_request(work.response_id)
            self.engine.answer(work.response_id, self.brain.reply(request))
            self.running.append(work.response_id)

    def step(self, times: int = 1) -> list[dict]:
        """Advance everything that is being answered by so many pieces."""
        self.think()
        back = []
        for _ in range(times):
            for running in list(self.running):
                self.engine.advance(running)
                back += self.take()
        return back

    def run(self) -> list[dict]:
        """Finish all answers."""
        back = []
        while self.thinking or self.running:
            back += self.step()
        return back
