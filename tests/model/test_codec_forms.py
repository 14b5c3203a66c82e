"""The JSON forms themselves, pinned: what other systems, stores and users read."""

from __future__ import annotations

import base64
import json

import pytest

from meerkat_rt import codec
from meerkat_rt.model import client_events, events, live_config, public, transcript
from meerkat_rt.model.channel import (
    RealtimeChannelConfig,
    RealtimeChannelState,
    RealtimeChannelStatus,
    RealtimeProtocolVersion,
    RealtimeToolTimeoutPolicy,
    ToolTimeoutDefault,
    ToolTimeoutDisabled,
    ToolTimeoutFinite,
)
from meerkat_rt.model.conversation import (
    AssistantMessage,
    AssistantText,
    AssistantToolUse,
    AssistantTranscript,
    BlobRef,
    ImageContent,
    InlineData,
    Message,
    Provider,
    SessionLlmIdentity,
    StopReason,
    StructuredContent,
    SystemMessage,
    SystemNoticeMessage,
    TextContent,
    ToolDef,
    ToolResult,
    ToolResultsMessage,
    UriRef,
    Usage,
    UserMessage,
    VideoContent,
)
from meerkat_rt.model.errors import LlmError, RateLimited
from meerkat_rt.model.media import (
    RealtimeAudioChunk,
    RealtimeAudioFormat,
    RealtimeCapabilities,
    RealtimeInputChunk,
    RealtimeInputKind,
    RealtimeTextChunk,
    RealtimeTurningMode,
    RealtimeVideoChunk,
)
from meerkat_rt.model.open_config import RealtimeSessionOpenConfig

PCM = RealtimeAudioFormat.pcm(24_000)
CHUNK = RealtimeAudioChunk.of(b"\x00\xff\x10\x80", PCM)
CHUNK_JSON = {
    "mime_type": "audio/pcm",
    "sample_rate_hz": 24_000,
    "channels": 1,
    "data": "AP8QgA==",
}


def same(value, data, as_type):
    """`value` and `data` are each other's form, through text too."""
    assert codec.encode(value) == data
    assert codec.decode(data, as_type) == value
    assert codec.loads(json.dumps(data), as_type) == value


# ---------------------------------------------------------------- media


def test_input_chunks_are_tagged_on_kind():
    same(RealtimeTextChunk("hi"), {"kind": "text_chunk", "text": "hi"}, RealtimeInputChunk)
    same(CHUNK, {"kind": "audio_chunk", **CHUNK_JSON}, RealtimeInputChunk)
    film = RealtimeVideoChunk("video/h264", b"\x01")
    data = {"kind": "video_chunk", "mime_type": "video/h264", "data": "AQ=="}
    same(film, data, RealtimeInputChunk)


def test_media_bytes_are_base64_text_and_never_lists_of_numbers():
    image = ImageContent("image/png", InlineData(b"\x89PNG"))
    video = VideoContent(media_type="video/mp4", duration_ms=40, source=InlineData(b"\x00\x01"))
    for value, raw in ((CHUNK, CHUNK.data), (image, b"\x89PNG"), (video, b"\x00\x01")):
        data = codec.encode(value)["data"]
        assert isinstance(data, str)
        assert base64.b64decode(data, validate=True) == raw
    assert codec.encode(video)["media_type"] == "video/mp4"
    assert codec.encode(video)["duration_ms"] == 40


def test_audio_uses_the_standard_alphabet_with_padding():
    assert codec.encode(InlineData(b"\xfb\xff"))["data"] == "+/8="


def test_a_chunk_inside_an_event_carries_no_tag_of_its_own():
    same(
        events.OutputAudioChunk(CHUNK, "r", "i", 0),
        {
            "type": "output_audio_chunk",
            "chunk": CHUNK_JSON,
            "response_id": "r",
            "item_id": "i",
            "content_index": 0,
        },
        events.RealtimeSessionEvent,
    )
    tagged = {"type": "output_audio_chunk", "chunk": {"kind": "audio_chunk", **CHUNK_JSON}}
    assert codec.decode(tagged, events.RealtimeSessionEvent).chunk == CHUNK


def test_no_capabilities_are_all_false_without_lists():
    assert codec.encode(RealtimeCapabilities()) == {
        "interrupt_supported": False,
        "transcript_supported": False,
        "tool_lifecycle_events_supported": False,
        "video_supported": False,
        "truncate_supported": False,
        "nudge_supported": False,
        "declared_turns": False,
    }
    assert codec.decode({}, RealtimeCapabilities) == RealtimeCapabilities()


def test_capabilities_with_everything():
    full = RealtimeCapabilities(
        input_kinds=(RealtimeInputKind.TEXT, RealtimeInputKind.AUDIO),
        turning_modes=(RealtimeTurningMode.EXPLICIT_COMMIT,),
        interrupt_supported=True,
        audio_input_format=PCM,
    )
    data = codec.encode(full)
    assert data["input_kinds"] == ["text", "audio"]
    assert data["turning_modes"] == ["explicit_commit"]
    assert data["audio_input_format"] == {
        "mime_type": "audio/pcm",
        "sample_rate_hz": 24_000,
        "channels": 1,
    }
    assert all(type(kind) is str for kind in data["input_kinds"])
    assert codec.decode(data, RealtimeCapabilities) == full


# ---------------------------------------------------------------- conversation


def test_messages_are_tagged_on_role():
    same(SystemMessage("be brief"), {"role": "system", "content": "be brief"}, Message)
    same(
        SystemNoticeMessage(kind="peer", body="it answered"),
        {"role": "system_notice", "kind": "peer", "body": "it answered"},
        Message,
    )
    same(
        UserMessage("hi"),
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        Message,
    )
    same(
        AssistantMessage(
            blocks=(
                AssistantTranscript(text="Let me look"),
                AssistantToolUse(id="c", name="look", args={"at": [1]}),
                AssistantText("Found"),
            ),
            stop_reason=StopReason.TOOL_USE,
            usage=Usage(input_tokens=7, output_tokens=3),
        ),
        {
            "role": "assistant",
            "blocks": [
                {"type": "transcript", "text": "Let me look", "source": "spoken"},
                {"type": "tool_use", "id": "c", "name": "look", "args": {"at": [1]}},
                {"type": "text", "text": "Found"},
            ],
            "stop_reason": "tool_use",
            "usage": {"input_tokens": 7, "output_tokens": 3},
        },
        Message,
    )
    same(
        ToolResultsMessage((ToolResult(tool_use_id="c", content="42"),)),
        {
            "role": "tool_results",
            "results": [{"tool_use_id": "c", "content": "42", "is_error": False}],
        },
        Message,
    )


def test_truncated_is_written_only_when_true():
    whole, cut = AssistantTranscript(text="a"), AssistantTranscript(text="a", truncated=True)
    assert "truncated" not in codec.encode(whole)
    assert codec.encode(cut)["truncated"] is True


def test_cache_counters_are_written_only_when_reported():
    assert codec.encode(Usage()) == {"input_tokens": 0, "output_tokens": 0}
    assert codec.encode(Usage(cache_read_tokens=0))["cache_read_tokens"] == 0
    assert codec.decode({}, Usage) == Usage()


def test_the_source_of_media_stands_in_the_block_itself():
    same(
        UserMessage(
            (
                ImageContent("image/png", InlineData(b"\x00")),
                ImageContent("image/png", BlobRef("b1")),
                VideoContent(media_type="video/mp4", duration_ms=1, source=UriRef("s3://v")),
                StructuredContent({"rows": [1, None]}),
                StructuredContent(None),
            )
        ),
        {
            "role": "user",
            "content": [
                {"type": "image", "media_type": "image/png", "source": "inline", "data": "AA=="},
                {"type": "image", "media_type": "image/png", "source": "blob", "blob_id": "b1"},
                {
                    "type": "video",
                    "media_type": "video/mp4",
                    "duration_ms": 1,
                    "source": "uri",
                    "uri": "s3://v",
                },
                {"type": "structured", "data": {"rows": [1, None]}},
                {"type": "structured", "data": None},
            ],
        },
        Message,
    )


def test_a_tool_result_of_one_text_is_a_plain_string_both_ways():
    same(
        ToolResult(tool_use_id="c", content="42"),
        {"tool_use_id": "c", "content": "42", "is_error": False},
        ToolResult,
    )
    blocks = {"tool_use_id": "c", "content": [{"type": "text", "text": "42"}]}
    assert codec.decode(blocks, ToolResult) == ToolResult(tool_use_id="c", content="42")


def test_a_tool_result_keeps_several_blocks_and_its_error_flag():
    result = ToolResult(
        tool_use_id="c",
        content=(TextContent("a"), TextContent("b"), StructuredContent({"n": 1})),
        is_error=True,
    )
    data = codec.encode(result)
    assert [block["type"] for block in data["content"]] == ["text", "text", "structured"]
    assert data["is_error"] is True
    assert codec.decode(data, ToolResult) == result
    same(
        ToolResult(tool_use_id="c", content=()),
        {"tool_use_id": "c", "content": [], "is_error": False},
        ToolResult,
    )


def test_user_content_may_be_a_plain_string():
    assert codec.decode({"role": "user", "content": "hi"}, Message) == UserMessage("hi")


def test_the_provider_is_written_openai_and_read_under_its_old_name_too():
    same(
        SessionLlmIdentity(model="m"),
        {"model": "m", "provider": "openai"},
        SessionLlmIdentity,
    )
    old = codec.decode({"model": "m", "provider": "open_a_i"}, SessionLlmIdentity)
    assert old.provider is Provider.OPENAI
    assert codec.decode("open_a_i", Provider) is Provider.OPENAI


def test_provider_params_are_kept_as_they_are():
    identity = SessionLlmIdentity(model="m", provider_params={"a": [None, {"b": 1.5}]})
    data = codec.encode(identity)
    assert data["provider_params"] == {"a": [None, {"b": 1.5}]}
    assert codec.decode(data, SessionLlmIdentity) == identity


def test_an_open_config_keeps_empty_and_repeated_system_messages_and_omits_what_is_unset():
    config = RealtimeSessionOpenConfig(
        RealtimeTurningMode.PROVIDER_MANAGED,
        SessionLlmIdentity(model="m"),
        seed_messages=[SystemMessage(""), SystemMessage("a"), SystemMessage("a")],
    )
    same(
        config,
        {
            "turning_mode": "provider_managed",
            "llm_identity": {"model": "m", "provider": "openai"},
            "visible_tools": [],
            "seed_messages": [
                {"role": "system", "content": ""},
                {"role": "system", "content": "a"},
                {"role": "system", "content": "a"},
            ],
        },
        RealtimeSessionOpenConfig,
    )


def test_a_nudge_override_of_zero_attempts_is_not_an_unset_one():
    config = RealtimeSessionOpenConfig("explicit_commit", SessionLlmIdentity(model="m"))
    none = config.with_response_nudge_max_attempts(0)
    assert codec.encode(none)["response_nudge_max_attempts"] == 0
    assert codec.decode(codec.encode(none), RealtimeSessionOpenConfig) == none


def test_a_tool_is_written_with_its_schema():
    same(
        ToolDef(name="look", description="looks", input_schema={"type": "object"}),
        {"name": "look", "description": "looks", "input_schema": {"type": "object"}},
        ToolDef,
    )


# ---------------------------------------------------------------- session events


def test_events_with_full_and_with_absent_identity():
    full = events.OutputTextDeltaForItem("r", "d", "i", "p", 0, "x")
    same(
        full,
        {
            "type": "output_text_delta_for_item",
            "response_id": "r",
            "delta_id": "d",
            "item_id": "i",
            "previous_item_id": "p",
            "content_index": 0,
            "delta": "x",
        },
        events.RealtimeSessionEvent,
    )
    bare = codec.encode(events.OutputTextDeltaForItem("r", "d", "i", None, 0, "x"))
    assert "previous_item_id" not in bare
    for data in (bare, {**bare, "previous_item_id": None}):
        assert codec.decode(data, events.RealtimeSessionEvent).previous_item_id is None


@pytest.mark.parametrize("response_id", [None, "r"])
def test_the_interruption_has_one_tag_with_and_without_a_response(response_id):
    data = {"type": "interrupted"}
    if response_id is not None:
        data["response_id"] = response_id
    same(events.Interrupted(response_id), data, events.RealtimeSessionEvent)


def test_a_transcript_event_inside_a_session_event_keeps_its_own_tag():
    inner = transcript.ItemSkipped(item_id="i", previous_item_id="p")
    same(
        events.RealtimeTranscript(inner),
        {
            "type": "realtime_transcript",
            "event": {"type": "item_skipped", "item_id": "i", "previous_item_id": "p"},
        },
        events.RealtimeSessionEvent,
    )


def test_arguments_stay_json():
    same(
        events.ToolCallRequested("c", "t", {"q": "otter", "n": None}),
        {
            "type": "tool_call_requested",
            "call_id": "c",
            "tool_name": "t",
            "arguments": {"q": "otter", "n": None},
        },
        events.RealtimeSessionEvent,
    )


def test_an_unknown_provider_frame_keeps_its_own_type_beside_the_tag():
    same(
        events.UnknownProviderEvent(type="x.new", raw=b"{}"),
        {"type": "unknown_provider_event", "provider_type": "x.new", "raw": "e30="},
        events.RealtimeSessionEvent,
    )


def test_the_turns_end():
    same(
        events.TurnCompleted(response_id="r", stop_reason=StopReason.END_TURN, usage=Usage()),
        {
            "type": "turn_completed",
            "response_id": "r",
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 0, "output_tokens": 0},
        },
        events.RealtimeSessionEvent,
    )


# ---------------------------------------------------------------- public events and channels


def test_the_public_truncation_omits_the_text_that_it_does_not_have():
    bare = public.AssistantTranscriptTruncated(item_id="i", audio_played_ms=40)
    same(
        bare,
        {"type": "assistant_transcript_truncated", "item_id": "i", "audio_played_ms": 40},
        public.RealtimeEvent,
    )
    with_text = public.AssistantTranscriptTruncated(
        item_id="i", audio_played_ms=40, truncated_text=""
    )
    assert codec.encode(with_text)["truncated_text"] == ""


def test_the_public_timeout_carries_call_id_and_elapsed_ms():
    same(
        public.ToolCallTimedOut("c", 15_001),
        {"type": "tool_call_timed_out", "call_id": "c", "elapsed_ms": 15_001},
        public.RealtimeEvent,
    )


def test_public_events_of_the_contract_have_its_tags():
    tags = {
        codec.encode(value)["type"]
        for value in (
            public.InputTranscriptPartial("t"),
            public.InputTranscriptFinal("t", "calm"),
            public.TurnStarted(),
            public.TurnCommitted(),
            public.TurnCompleted(),
            public.OutputTextDelta("d"),
            public.OutputAudioChunk(CHUNK),
            public.OutputVideoChunk(RealtimeVideoChunk("m", b"")),
            public.Interrupted(),
            public.ToolCallRequested("c", "t"),
            public.ToolCallCompleted("c"),
            public.ToolCallFailed("c", "e"),
            public.ToolCallTimedOut("c", 1),
            public.AssistantTranscriptTruncated(item_id="i", audio_played_ms=1),
            public.StatusChanged(RealtimeChannelStatus(state=RealtimeChannelState.READY)),
            public.NeedsReattach(),
        )
    }
    assert tags == {
        "input_transcript_partial",
        "input_transcript_final",
        "turn_started",
        "turn_committed",
        "turn_completed",
        "output_text_delta",
        "output_audio_chunk",
        "output_video_chunk",
        "interrupted",
        "tool_call_requested",
        "tool_call_completed",
        "tool_call_failed",
        "tool_call_timed_out",
        "assistant_transcript_truncated",
        "status_changed",
        "needs_reattach",
    }


def test_a_status_omits_the_times_that_it_does_not_have():
    same(
        RealtimeChannelStatus(state=RealtimeChannelState.READY),
        {"state": "ready", "attempt_count": 0},
        RealtimeChannelStatus,
    )


def test_the_default_tool_timeout_is_not_the_same_as_asking_for_its_number():
    default, finite = ToolTimeoutDefault(), ToolTimeoutFinite(15_000)
    assert default != finite
    assert default.effective_ms() == finite.effective_ms() == 15_000
    same(default, {"type": "default"}, RealtimeToolTimeoutPolicy)
    same(finite, {"type": "finite", "timeout_ms": 15_000}, RealtimeToolTimeoutPolicy)


def test_a_disabled_tool_timeout_is_none_and_a_finite_zero_is_not_disabled():
    assert ToolTimeoutDisabled().effective_ms() is None
    assert ToolTimeoutFinite(0).effective_ms() == 0
    same(ToolTimeoutDisabled(), {"type": "disabled"}, RealtimeToolTimeoutPolicy)
    # The field that came before the policy is not a policy.
    legacy = codec.decode({"tool_timeout_ms": 0}, RealtimeChannelConfig)
    assert legacy.tool_timeout == ToolTimeoutDefault()


def test_the_channel_config_is_optional():
    assert codec.decode({}, RealtimeChannelConfig) == RealtimeChannelConfig()


def test_an_unknown_protocol_version_is_none():
    assert RealtimeProtocolVersion.parse("2") is RealtimeProtocolVersion.V2
    for text in ("1", "", "02", "2.0", "two"):
        assert RealtimeProtocolVersion.parse(text) is None


# ---------------------------------------------------------------- client events


def test_client_events_have_the_names_of_the_wire():
    forms = {
        "session.update": client_events.SessionUpdate({"type": "realtime"}),
        "input_audio_buffer.append": client_events.AudioDelta(b"\x00"),
        "input_audio_buffer.commit": client_events.InputAudioBufferCommit(),
        "input_audio_buffer.clear": client_events.InputAudioBufferClear(),
        "output_audio_buffer.clear": client_events.OutputAudioBufferClear(),
        "conversation.item.create": client_events.ConversationItemCreate({"type": "message"}),
        "conversation.item.truncate": client_events.ConversationItemTruncate("i", 0, 40),
        "conversation.item.delete": client_events.ConversationItemDelete("i"),
        "conversation.item.retrieve": client_events.ConversationItemRetrieve("i"),
        "response.create": client_events.ResponseCreate(),
        "response.cancel": client_events.ResponseCancel(),
        "message": client_events.Message("user", "hi"),
    }
    for tag, event in forms.items():
        data = codec.encode(event)
        assert data["type"] == tag
        assert codec.decode(data, client_events.ClientEvent) == event


def test_the_append_event_is_base64_and_leaves_its_format_at_home():
    event = client_events.AudioDelta(b"\x00\xff", format=PCM, event_id="e1")
    assert codec.encode(event) == {
        "type": "input_audio_buffer.append",
        "audio": "AP8=",
        "event_id": "e1",
    }


def test_the_truncate_event_goes_there_and_back():
    same(
        client_events.ConversationItemTruncate("i", 0, 1500),
        {
            "type": "conversation.item.truncate",
            "item_id": "i",
            "content_index": 0,
            "audio_end_ms": 1500,
        },
        client_events.ClientEvent,
    )


def test_a_response_request_uses_the_key_that_the_wire_knows():
    same(
        client_events.ResponseCreate({"output_modalities": ["text"]}),
        {"type": "response.create", "response": {"output_modalities": ["text"]}},
        client_events.ClientEvent,
    )
    same(client_events.ResponseCancel(), {"type": "response.cancel"}, client_events.ClientEvent)


def test_a_message_names_its_role():
    same(
        client_events.Message("developer", "be brief"),
        {"type": "message", "role": "system", "parts": [{"type": "text", "text": "be brief"}]},
        client_events.ClientEvent,
    )
    old = codec.decode({"type": "message", "role": "model", "parts": "hi"}, client_events.Message)
    assert old == client_events.Message("assistant", "hi")


def test_a_tool_response_takes_any_json():
    same(
        client_events.ToolResponse("c", {"ok": True}),
        {"call_id": "c", "output": {"ok": True}},
        client_events.ToolResponse,
    )
    same(
        client_events.ToolResponse("c", None),
        {"call_id": "c", "output": None},
        client_events.ToolResponse,
    )


def test_the_outcome_of_a_context_mutation():
    same(client_events.Applied(), {"type": "applied"}, client_events.ContextMutationOutcome)
    config = live_config.RealtimeConfig(instruction="you are a travel agent")
    same(
        client_events.RequiresResumption(config),
        {"type": "requires_resumption", "config": {"instruction": "you are a travel agent"}},
        client_events.ContextMutationOutcome,
    )


# ---------------------------------------------------------------- settings


def test_an_empty_config_is_an_empty_object():
    same(live_config.RealtimeConfig(), {}, live_config.RealtimeConfig)
    update = live_config.SessionUpdateConfig()
    same(update, {}, live_config.SessionUpdateConfig)


def test_a_session_update_has_the_form_of_the_config_that_it_holds():
    update = live_config.SessionUpdateConfig(live_config.RealtimeConfig(voice="marin"))
    same(update, {"voice": "marin"}, live_config.SessionUpdateConfig)


def test_turn_detection_calls_its_mode_type():
    same(
        live_config.VadConfig(),
        {"type": "server_vad", "silence_duration_ms": 500, "interrupt_response": True},
        live_config.VadConfig,
    )
    same(live_config.VadConfig.disabled(), {"type": "none"}, live_config.VadConfig)
    same(
        live_config.VadConfig.semantic_vad("low"),
        {"type": "semantic_vad", "interrupt_response": True, "eagerness": "low"},
        live_config.VadConfig,
    )


def test_null_switches_off_and_absence_leaves_alone():
    off = codec.decode(
        {"turn_detection": None, "input_audio_transcription": None, "noise_reduction": None},
        live_config.RealtimeConfig,
    )
    assert off.turn_detection == live_config.VadConfig.disabled()
    assert off.input_audio_transcription is live_config.NULL
    assert off.noise_reduction is live_config.NULL
    assert codec.encode(off) == {
        "turn_detection": {"type": "none"},
        "input_audio_transcription": None,
        "noise_reduction": None,
    }
    unset = codec.decode({"voice": None}, live_config.RealtimeConfig)
    assert unset == live_config.RealtimeConfig()


def test_the_whole_config():
    config = live_config.RealtimeConfig(
        model="m",
        voice=live_config.VoiceId("voice_1"),
        modalities=["audio"],
        input_audio_format="g711_ulaw",
        tools=[
            live_config.ToolDefinition("look", parameters={"type": "object"}),
            live_config.McpTool(server_label="s", server_url="https://s", require_approval="never"),
        ],
        tool_choice=live_config.ToolChoiceFunction("look"),
        input_audio_transcription=live_config.TranscriptionConfig("w", language="en"),
        max_response_output_tokens="inf",
        interruption_detection="manual",
        truncation=live_config.RetentionRatio(0.5, live_config.TokenLimits(100)),
        tracing="auto",
        reasoning=live_config.ReasoningConfig("low"),
        extra={"x": {"y": 1}},
    )
    same(
        config,
        {
            "model": "m",
            "voice": {"id": "voice_1"},
            "modalities": ["audio"],
            "input_audio_format": "g711_ulaw",
            "tools": [
                {"name": "look", "parameters": {"type": "object"}},
                {
                    "type": "mcp",
                    "server_label": "s",
                    "server_url": "https://s",
                    "require_approval": "never",
                },
            ],
            "tool_choice": {"type": "function", "name": "look"},
            "input_audio_transcription": {"model": "w", "language": "en"},
            "max_response_output_tokens": "inf",
            "interruption_detection": "manual",
            "truncation": {
                "type": "retention_ratio",
                "retention_ratio": 0.5,
                "token_limits": {"post_instructions": 100},
            },
            "tracing": "auto",
            "reasoning": {"effort": "low"},
            "extra": {"x": {"y": 1}},
        },
        live_config.RealtimeConfig,
    )


def test_a_function_may_say_that_it_is_one():
    data = {"type": "function", "name": "look"}
    assert codec.decode(data, live_config.ToolSpec) == live_config.ToolDefinition("look")
    assert codec.decode(data, live_config.ToolDefinition) == live_config.ToolDefinition("look")


# ---------------------------------------------------------------- transcript and errors


def test_staged_text():
    same(
        transcript.AppendRealtimeTranscript(
            item_id="i",
            text="hi",
            role=transcript.RealtimeTranscriptRole.USER,
            lane=transcript.TranscriptLane.DISPLAY,
        ),
        {"item_id": "i", "text": "hi", "role": "user", "lane": "display"},
        transcript.AppendRealtimeTranscript,
    )


def test_an_observed_item_reads_null_and_absence_alike():
    bare = {"type": "item_observed", "item_id": "i", "role": "user"}
    nulls = {**bare, "previous_item_id": None, "response_id": None}
    one = codec.decode(bare, transcript.RealtimeTranscriptEvent)
    assert codec.decode(nulls, transcript.RealtimeTranscriptEvent) == one
    assert codec.encode(one) == bare


def test_errors_are_tagged_on_kind():
    data = codec.encode(RateLimited("slow down", 1500))
    assert data == {"kind": "rate_limited", "message": "slow down", "retry_after_ms": 1500}
    back = codec.decode(data, LlmError)
    assert isinstance(back, RateLimited)
    assert back.retryable
    assert codec.encode(RateLimited("slow down")) == {
        "kind": "rate_limited",
        "message": "slow down",
    }


def test_values_may_stand_in_plain_lists_and_mappings():
    data = codec.encode({"who": Provider.GEMINI, "what": [TextContent("a"), b"\x00", None, 1.5]})
    assert data == {"who": "gemini", "what": [{"type": "text", "text": "a"}, "AA==", None, 1.5]}
