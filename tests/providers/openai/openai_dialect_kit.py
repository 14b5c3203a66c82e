"""Small makers for tests of the OpenAI dialect."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.openai_oracle import check

from meerkat_rt.model.conversation import Message, Provider, SessionLlmIdentity
from meerkat_rt.model.live_config import RealtimeConfig
from meerkat_rt.model.media import RealtimeTurningMode
from meerkat_rt.model.open_config import RealtimeSessionOpenConfig
from meerkat_rt.providers.openai import OpenAIDialect
from meerkat_rt.providers.openai.decoding import decode
from meerkat_rt.turn import ports

MODEL = "gpt-realtime-2.1"
MANAGED = RealtimeTurningMode.PROVIDER_MANAGED
EXPLICIT = RealtimeTurningMode.EXPLICIT_COMMIT

GENERATED = Path(__file__).parents[2] / "data" / "openai_server_events.jsonl"


def generated_frames() -> list[bytes]:
    """Events of all types, made from the vendor's own schema."""
    return [line for line in GENERATED.read_bytes().split(b"\n") if line.strip()]


def frame(kind: str, **fields: Any) -> bytes:
    """A server event as live servers write it: `type` first, no spaces."""
    event = {"type": kind, "event_id": "event_1", **fields}
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode()


def decode_one(kind: str, **fields: Any) -> Any:
    """The one event that a frame decodes to."""
    (event,) = decode(frame(kind, **fields))
    return event


def fault_of(raw: bytes) -> ports.ProtocolFault:
    """The fault that a frame decodes to, and nothing else."""
    (event,) = decode(raw)
    assert isinstance(event, ports.ProtocolFault), event
    return event


def error_frame(**error: Any) -> bytes:
    return frame("error", error={"type": "invalid_request_error", "message": "no", **error})


def open_config(
    mode: RealtimeTurningMode = MANAGED,
    *,
    model: str = MODEL,
    provider: Provider = Provider.OPENAI,
    seed: tuple[Message, ...] = (),
    **rest: Any,
) -> RealtimeSessionOpenConfig:
    identity = SessionLlmIdentity(model=model, provider=provider)
    return RealtimeSessionOpenConfig(mode, identity, seed_messages=seed, **rest)


def dialect(
    mode: RealtimeTurningMode = MANAGED, config: RealtimeConfig | None = None, **rest: Any
) -> OpenAIDialect:
    rest.setdefault("api_key", "sk-test-0123456789")
    if "call_id" not in rest:
        rest.setdefault("model", MODEL)
    return OpenAIDialect(turning_mode=mode, config=config or RealtimeConfig(), **rest)


def checked(raw: bytes) -> dict[str, Any]:
    """A frame of ours, after the vendor's types had their say."""
    event = json.loads(raw)
    check(event, "client")
    return event


def sent(command: ports.ProviderCommand, by: OpenAIDialect | None = None) -> list[dict[str, Any]]:
    """What a command becomes on the wire."""
    return [checked(raw) for raw in (by or dialect()).encode(command)]


def update_of(by: OpenAIDialect, config: RealtimeSessionOpenConfig, tools: Any = ()) -> Any:
    """The `session.session` that opening a session sends."""
    opening = by.opening(config, tools)
    assert list(opening.begin()) == []
    frames, ours = opening.observe(ports.SessionCreated(session_id="sess_1"))
    assert ours
    (raw,) = frames
    event = checked(raw)
    assert event["type"] == "session.update"
    return event["session"]


def seeds_of(by: OpenAIDialect, config: RealtimeSessionOpenConfig) -> list[dict[str, Any]]:
    """The items that opening a session seeds, in order."""
    opening = by.opening(config, ())
    opening.observe(ports.SessionCreated())
    frames, _ = opening.observe(ports.SessionUpdated())
    events = [checked(raw) for raw in frames]
    assert all(event["type"] == "conversation.item.create" for event in events)
    return [event["item"] for event in events]
