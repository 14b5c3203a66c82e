"""Every type of the contract exists under its name and has its fields; every value is well made."""

from __future__ import annotations

import inspect
from typing import get_args

import attrs
import pytest
from support.strategies import modules, vocabulary

from meerkat_rt import events, public
from meerkat_rt.model import (
    client_events,
    conversation,
    live_config,
    media,
    open_config,
    transcript,
)

ITEM_DELTA = "response_id delta_id item_id previous_item_id content_index delta"

# Names and fields of the systems that this vocabulary comes from.  Ours may have more fields.
CONTRACT = {
    events: {
        "InputTranscriptPartial": "text",
        "InputTranscriptFinal": "text",
        "InputTranscriptFinalForItem": "item_id previous_item_id content_index text",
        "TurnStarted": "",
        "TurnCommitted": "",
        "TurnCompleted": "response_id stop_reason usage",
        "OutputTextDelta": "delta",
        "OutputTextDeltaForItem": ITEM_DELTA,
        "OutputAudioTranscriptDeltaForItem": ITEM_DELTA,
        "OutputAudioChunk": "chunk response_id item_id content_index",
        "OutputVideoChunk": "chunk",
        "Interrupted": "response_id",
        "ToolCallRequested": "call_id tool_name arguments",
        "AssistantTranscriptTruncated": "response_id item_id audio_played_ms truncated_text",
        "AssistantTranscriptFinal": "item_id previous_item_id content_index response_id text",
        "RealtimeTranscript": "event",
    },
    open_config: {
        "RealtimeExternalSessionTarget": "provider_session_id",
        "RealtimeSessionOpenConfig": (
            "turning_mode llm_identity visible_tools seed_messages runtime_system_context "
            "response_nudge_timeout_ms response_nudge_max_attempts"
        ),
    },
    transcript: {
        "ItemObserved": "item_id previous_item_id role response_id",
        "ItemSkipped": "item_id previous_item_id",
        "UserTranscriptFinal": "item_id previous_item_id content_index text",
        "AssistantTextDelta": ITEM_DELTA,
        "AssistantTranscriptDelta": ITEM_DELTA,
        "AssistantTranscriptTruncated": "response_id item_id content_index text",
        "AssistantTranscriptFinalText": "response_id item_id content_index text",
        "AssistantTurnCompleted": "response_id stop_reason usage",
        "AssistantTurnInterrupted": "response_id",
        "AppendRealtimeTranscript": "item_id text role lane",
        "MaterializedUser": "item_id text",
        "MaterializedAssistant": "item_id response_id text stop_reason usage lane",
        "RealtimeTranscriptApplyOutcome": "materialized_messages",
    },
    media: {
        "RealtimeAudioFormat": "mime_type sample_rate_hz channels",
        "RealtimeCapabilities": (
            "input_kinds output_kinds turning_modes interrupt_supported transcript_supported "
            "tool_lifecycle_events_supported video_supported audio_input_format "
            "audio_output_format"
        ),
        "RealtimeTextChunk": "text",
        "RealtimeAudioChunk": "mime_type sample_rate_hz channels data",
        "RealtimeVideoChunk": "mime_type data",
    },
    conversation: {
        "Usage": "input_tokens output_tokens cache_creation_tokens cache_read_tokens",
        "ToolDef": "name description input_schema provenance",
        "ToolResult": "tool_use_id content is_error",
        "SessionLlmIdentity": ("model provider self_hosted_server_id provider_params auth_binding"),
        "PendingSystemContextAppend": "text source idempotency_key accepted_at",
        "SystemMessage": "content",
        "SystemNoticeMessage": "kind body blocks",
        "UserMessage": "content",
        "AssistantMessage": "blocks stop_reason",
        "ToolResultsMessage": "results",
        "AssistantTranscript": "text source truncated",
    },
    live_config: {
        "VadConfig": (
            "mode silence_duration_ms threshold prefix_padding_ms interrupt_response eagerness"
        ),
        "ToolDefinition": "name description parameters",
        "TranscriptionConfig": "model",
        "RealtimeConfig": (
            "model instruction voice modalities input_audio_format output_audio_format "
            "turn_detection tools tool_choice input_audio_transcription temperature "
            "max_response_output_tokens cached_content interruption_detection "
            "affective_dialog extra"
        ),
        "SessionUpdateConfig": "",
    },
    client_events: {
        "SessionUpdate": "session",
        "AudioDelta": "audio format event_id",
        "InputAudioBufferCommit": "",
        "InputAudioBufferClear": "",
        "ConversationItemCreate": "item",
        "ResponseCreate": "",
        "ResponseCancel": "",
        "Message": "role parts",
        "ToolCall": "call_id name arguments",
        "ToolResponse": "call_id output",
        "Applied": "",
        "RequiresResumption": "config",
    },
    public: {
        "InputTranscriptPartial": "text",
        "InputTranscriptFinal": "text prosody_hint",
        "TurnStarted": "",
        "TurnCommitted": "",
        "TurnCompleted": "",
        "OutputTextDelta": "delta",
        "OutputAudioChunk": "chunk",
        "OutputVideoChunk": "chunk",
        "Interrupted": "",
        "ToolCallRequested": "call_id tool_name",
        "ToolCallCompleted": "call_id",
        "ToolCallFailed": "call_id error",
        "ToolCallTimedOut": "call_id elapsed_ms",
        "AssistantTranscriptTruncated": "item_id audio_played_ms truncated_text",
        "StatusChanged": "status",
        "NeedsReattach": "",
    },
}

ENUMS = {
    media.RealtimeTurningMode: "provider_managed explicit_commit",
    media.RealtimeInputKind: "text audio video",
    media.RealtimeOutputKind: "text audio video",
    conversation.StopReason: (
        "end_turn tool_use max_tokens stop_sequence content_filter cancelled"
    ),
    conversation.Provider: "anthropic openai gemini self_hosted other",
    conversation.TranscriptSource: "spoken",
    transcript.RealtimeTranscriptRole: "user assistant",
    transcript.TranscriptLane: "display spoken",
    live_config.InterruptionDetection: "manual automatic",
    live_config.VadMode: "server_vad semantic_vad none",
    live_config.AudioEncoding: "pcm16 g711_ulaw g711_alaw",
}

UNIONS = {
    transcript.RealtimeTranscriptEvent: 9,
    transcript.RealtimeTranscriptMaterializedMessage: 2,
    media.RealtimeInputChunk: 3,
    conversation.ContentBlock: 4,
    conversation.AssistantBlock: 6,
    conversation.Message: 5,
    client_events.ContextMutationOutcome: 2,
}


@pytest.mark.parametrize(
    ("module", "name", "fields"),
    [
        pytest.param(module, name, fields, id=f"{module.__name__.split('.')[-1]}.{name}")
        for module, types in CONTRACT.items()
        for name, fields in types.items()
    ],
)
def test_the_type_exists_with_its_fields(module, name, fields):
    cls = getattr(module, name)
    assert {field.name for field in attrs.fields(cls)} >= set(fields.split())


@pytest.mark.parametrize("enum", ENUMS, ids=lambda enum: enum.__name__)
def test_the_enum_has_its_values(enum):
    assert " ".join(enum) == ENUMS[enum]


def test_the_unions_have_their_variants():
    for union, size in UNIONS.items():
        assert len(get_args(union)) == size
    assert len(get_args(events.RealtimeSessionEvent)) >= 15
    contract = {getattr(events, name) for name in CONTRACT[events]}
    assert contract <= set(get_args(events.RealtimeSessionEvent))
    assert {getattr(public, name) for name in CONTRACT[public]} <= set(
        get_args(public.RealtimeEvent)
    )


def test_the_durable_key():
    assert transcript.SESSION_REALTIME_TRANSCRIPT_STATE_KEY == "realtime_transcript_state"


def test_an_outcome_without_messages_is_inert():
    outcome = transcript.RealtimeTranscriptApplyOutcome()
    assert outcome.is_inert
    with_user = attrs.evolve(
        outcome, materialized_messages=(transcript.MaterializedUser("i", "hi"),)
    )
    assert not with_user.is_inert


# ---------------------------------------------------------------- every value


@pytest.mark.parametrize("cls", vocabulary(), ids=lambda cls: cls.__qualname__)
def test_every_value_is_frozen_slotted_documented_and_its_types_resolve(cls):
    assert cls.__setattr__ is not object.__setattr__
    assert "__dict__" not in dir(cls)
    assert inspect.getdoc(cls)
    assert not cls.__doc__.startswith(f"{cls.__name__}(")
    for field in attrs.fields(attrs.resolve_types(cls)):
        assert not isinstance(field.type, str)


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.__name__.split(".")[-1])
def test_every_public_function_and_class_says_what_it_is(module):
    for name, thing in vars(module).items():
        if name.startswith("_") or getattr(thing, "__module__", None) != module.__name__:
            continue
        if not (inspect.isclass(thing) or inspect.isfunction(thing)):
            continue
        assert inspect.getdoc(thing), name
        for attribute, member in vars(thing).items() if inspect.isclass(thing) else ():
            if not attribute.startswith("_") and inspect.isfunction(member):
                assert inspect.getdoc(member), f"{name}.{attribute}"
