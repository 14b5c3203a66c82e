"""A dialect, a codec, and messages in the shapes of live servers, in a few words."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from support.gemini_oracle import check

from meerkat_rt import (
    Provider,
    RealtimeConfig,
    RealtimeSessionOpenConfig,
    RealtimeTurningMode,
    SessionLlmIdentity,
)
from meerkat_rt.providers.gemini import AiStudio, GeminiDialect
from meerkat_rt.providers.gemini.codec import GeminiCodec
from meerkat_rt.turn import ports

MODEL = "gemini-3.8-live"
NATIVE = "gemini-2.5-flash-native-audio-preview-12-2025"
CASCADE = "gemini-live-2.5-flash-preview"
FLASH_3_1 = "gemini-3.1-flash-live-preview"
MANAGED = RealtimeTurningMode.PROVIDER_MANAGED
EXPLICIT = RealtimeTurningMode.EXPLICIT_COMMIT
DATA = Path(__file__).parents[2] / "data" / "gemini_server_messages.jsonl"


def generated() -> list[bytes]:
    """Server messages generated from the vendor's types."""
    return DATA.read_bytes().splitlines()


def dialect(
    mode: RealtimeTurningMode = MANAGED,
    config: RealtimeConfig | None = None,
    *,
    model: str = MODEL,
    **rest: Any,
) -> GeminiDialect:
    rest.setdefault("platform", AiStudio(api_key="AIzaTest0123456789"))
    return GeminiDialect(model=model, turning_mode=mode, config=config or RealtimeConfig(), **rest)


def open_config(
    mode: RealtimeTurningMode = MANAGED, *, model: str = MODEL, **rest: Any
) -> RealtimeSessionOpenConfig:
    identity = SessionLlmIdentity(model=model, provider=Provider.GEMINI)
    return RealtimeSessionOpenConfig(mode, identity, **rest)


def setup_of(by: GeminiDialect, config: RealtimeSessionOpenConfig, tools: Any = ()) -> Any:
    """The setup that opening a session sends, after the vendor's types had their say."""
    (raw,) = by.opening(config, tools).begin()
    message = json.loads(raw)
    check(message, "client")
    return message["setup"]


def setup(mode: RealtimeTurningMode = MANAGED, model: str = MODEL, **config: Any) -> Any:
    """The setup for a `RealtimeConfig` with these fields."""
    made = dialect(mode, RealtimeConfig(**config), model=model)
    return setup_of(made, open_config(mode, model=model))


class Link:
    """A codec, fed with messages as Python values; `told` is everything that it said."""

    def __init__(self, by: GeminiDialect | None = None) -> None:
        self.dialect = by or dialect()
        self.codec: GeminiCodec = self.dialect.codec("l")
        self.told: list[Any] = []

    def hears(self, **message: Any) -> list[Any]:
        """What one server message means."""
        events = list(self.codec.decode(json.dumps(message).encode()))
        self.told += events
        return events

    def content(self, **content: Any) -> list[Any]:
        """What one `serverContent` means."""
        return self.hears(serverContent=content)

    def audio(self, data: bytes = b"\1\1", **content: Any) -> list[Any]:
        """More of the model's speech."""
        encoded = base64.b64encode(data).decode()
        part = {"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": encoded}}
        return self.content(modelTurn={"parts": [part]}, **content)

    def sends(self, command: ports.ProviderCommand) -> list[Any]:
        """The messages of one command, after the vendor's types had their say."""
        messages = [json.loads(raw) for raw in self.codec.encode(command)]
        for message in messages:
            check(message, "client")
        return messages

    def wrote(self) -> list[Any]:
        """What follows from what was sent."""
        events = list(self.codec.written())
        self.told += events
        return events

    def of(self, kind: type) -> list[Any]:
        """Everything of one kind that was said so far."""
        return [event for event in self.told if type(event) is kind]


def names(events: list[Any]) -> list[str]:
    return [type(event).__name__ for event in events]
