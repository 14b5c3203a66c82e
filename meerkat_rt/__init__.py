"""A Trio structured-concurrency runtime for realtime (speech-to-speech) model sessions."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from . import transcript as transcript
from .model import client_events as client_events
from .model import codec as codec
from .model import events as events
from .model import public as public
from .model import server_events as server_events
from .model.client_events import Applied as Applied
from .model.client_events import RequiresResumption as RequiresResumption
from .model.client_events import ToolResponse as ToolResponse
from .model.conversation import AssistantMessage as AssistantMessage
from .model.conversation import AssistantText as AssistantText
from .model.conversation import AssistantTranscript as AssistantTranscript
from .model.conversation import Message as Message
from .model.conversation import PendingSystemContextAppend as PendingSystemContextAppend
from .model.conversation import Provider as Provider
from .model.conversation import SessionLlmIdentity as SessionLlmIdentity
from .model.conversation import StopReason as StopReason
from .model.conversation import SystemMessage as SystemMessage
from .model.conversation import SystemNoticeMessage as SystemNoticeMessage
from .model.conversation import TextContent as TextContent
from .model.conversation import ToolDef as ToolDef
from .model.conversation import ToolResult as ToolResult
from .model.conversation import ToolResultsMessage as ToolResultsMessage
from .model.conversation import Usage as Usage
from .model.conversation import UserMessage as UserMessage
from .model.events import CloseReason as CloseReason
from .model.events import RealtimeSessionEvent as RealtimeSessionEvent
from .model.live_config import RealtimeConfig as RealtimeConfig
from .model.live_config import SessionUpdateConfig as SessionUpdateConfig
from .model.live_config import TranscriptionConfig as TranscriptionConfig
from .model.live_config import VadConfig as VadConfig
from .model.live_config import VadMode as VadMode
from .model.media import RealtimeAudioChunk as RealtimeAudioChunk
from .model.media import RealtimeAudioFormat as RealtimeAudioFormat
from .model.media import RealtimeCapabilities as RealtimeCapabilities
from .model.media import RealtimeInputChunk as RealtimeInputChunk
from .model.media import RealtimeInputKind as RealtimeInputKind
from .model.media import RealtimeOutputKind as RealtimeOutputKind
from .model.media import RealtimeTextChunk as RealtimeTextChunk
from .model.media import RealtimeTurningMode as RealtimeTurningMode
from .model.media import RealtimeVideoChunk as RealtimeVideoChunk
from .model.media import ResponseModality as ResponseModality
from .model.open_config import RealtimeExternalSessionTarget as RealtimeExternalSessionTarget
from .model.open_config import RealtimeSessionOpenConfig as RealtimeSessionOpenConfig
from .providers.gemini import AiStudio as AiStudio
from .providers.gemini import ToolBehavior as ToolBehavior
from .providers.gemini import ToolScheduling as ToolScheduling
from .providers.gemini import Vertex as Vertex
from .runtime import errors as errors
from .runtime.continuity_policy import ContinuityPolicy as ContinuityPolicy
from .runtime.continuity_policy import Failover as Failover
from .runtime.factories import OpenAIRealtime as OpenAIRealtime
from .runtime.factories import attach_external_session as attach_external_session
from .runtime.factories import open_session as open_session
from .runtime.factories_gemini import GeminiLive as GeminiLive
from .runtime.limits import SessionLimits as SessionLimits
from .runtime.ports import Conversation as Conversation
from .runtime.ports import RealtimeSessionFactory as RealtimeSessionFactory
from .runtime.ports import SessionStore as SessionStore
from .runtime.requests import ResponseRequest as ResponseRequest
from .runtime.session import RealtimeSession as RealtimeSession
from .runtime.tools import Tool as Tool
from .runtime.tools import ToolSet as ToolSet
from .runtime.tools import tool as tool
from .transcript import TranscriptAuthority as TranscriptAuthority
from .turn.effects import Answered as Answered
from .turn.effects import InterruptPolicy as InterruptPolicy
from .turn.effects import Lost as Lost
from .turn.effects import Refused as Refused
from .turn.effects import RequestOutcome as RequestOutcome
from .turn.effects import Superseded as Superseded

if TYPE_CHECKING:
    from .embedded import EmbeddedGemini as EmbeddedGemini
    from .embedded import EmbeddedProvider as EmbeddedProvider
    from .recording import FlightRecorder as FlightRecorder
    from .storage import MemoryStore as MemoryStore
    from .storage import SqliteStore as SqliteStore
    from .storage import resume_config as resume_config

# What stands above the runtime is imported when it is asked for: a session with OpenAI needs
# neither the embedded server nor a database.
_LATER = {
    "EmbeddedGemini": "embedded",
    "EmbeddedProvider": "embedded",
    "FlightRecorder": "recording",
    "MemoryStore": "storage",
    "SqliteStore": "storage",
    "resume_config": "storage",
}


def __getattr__(name: str) -> Any:
    room = _LATER.get(name)
    if room is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{room}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
