"""Settings of a live session: what is refused and how it is said, defaults, builders, merging."""

from __future__ import annotations

import math

import attrs
import pytest

from meerkat_rt.model.errors import InvalidConfig
from meerkat_rt.model.live_config import (
    NULL,
    AudioEncoding,
    Eagerness,
    InterruptionDetection,
    McpApproval,
    McpApprovalFilter,
    McpTool,
    McpToolFilter,
    NoiseReduction,
    PromptRef,
    RealtimeConfig,
    ReasoningConfig,
    RetentionRatio,
    SessionUpdateConfig,
    TokenLimits,
    ToolChoiceFunction,
    ToolChoiceMode,
    ToolDefinition,
    TracingConfig,
    TranscriptionConfig,
    TruncationMode,
    VadConfig,
    VadMode,
    VoiceId,
)
from meerkat_rt.model.media import ResponseModality


def refused(match, cls, *args, **kwargs):
    with pytest.raises(InvalidConfig, match=match):
        cls(*args, **kwargs)


# ---------------------------------------------------------------- ranges


@pytest.mark.parametrize(
    ("cls", "field", "good", "bad"),
    [
        (VadConfig, "threshold", [0, 0.5, 1], [-0.01, 1.01, math.nan, math.inf, "0.5", True]),
        (VadConfig, "silence_duration_ms", [0, 200, 10**6], [-1, 1.5, "200", True]),
        (VadConfig, "prefix_padding_ms", [0, 300], [-1, 0.5]),
        (VadConfig, "idle_timeout_ms", [5_000, 30_000], [4_999, 30_001, 5_000.5]),
        (VadConfig, "interrupt_response", [True, False], [1, "yes"]),
        (VadConfig, "create_response", [True, False], [0]),
        (RealtimeConfig, "temperature", [0, 0.8, 2], [-0.1, 2.1, math.nan, "hot"]),
        (RealtimeConfig, "speed", [0.25, 1, 1.5], [0.24, 1.51, 0]),
        (RealtimeConfig, "max_response_output_tokens", [1, 4096, "inf"], [0, -1, 1.5, "many"]),
        (RealtimeConfig, "affective_dialog", [True], ["no"]),
        (RealtimeConfig, "parallel_tool_calls", [False], [1]),
        (RealtimeConfig, "model", ["m"], ["", "  ", 5]),
        (RealtimeConfig, "voice", ["marin", VoiceId("v")], ["", 5]),
        (RealtimeConfig, "instruction", ["", "be brief"], [5]),
        (RealtimeConfig, "cached_content", ["c"], [""]),
        (RealtimeConfig, "modalities", [["audio"], ["text"]], [[], ["audio", "text"], ["smell"]]),
        (RealtimeConfig, "input_audio_format", ["pcm16", "g711_alaw"], ["mp3"]),
        (RealtimeConfig, "output_audio_format", ["g711_ulaw"], ["audio/pcm"]),
        (RealtimeConfig, "tool_choice", ["auto", "none", "required"], ["always", {"type": "mcp"}]),
        (RealtimeConfig, "truncation", ["auto", "disabled"], ["sometimes", 0.5]),
        (RealtimeConfig, "tracing", ["auto", TracingConfig(), NULL], ["on", 5]),
        (RealtimeConfig, "interruption_detection", ["manual", "automatic"], ["maybe"]),
        (RealtimeConfig, "turn_detection", [VadConfig(), NULL], ["server_vad", {}]),
        (RealtimeConfig, "input_audio_transcription", [NULL], ["whisper-1"]),
        (RealtimeConfig, "noise_reduction", [NoiseReduction("near_field"), NULL], ["near_field"]),
        (RealtimeConfig, "prompt", [PromptRef("p"), NULL], ["p"]),
        (RealtimeConfig, "reasoning", [ReasoningConfig("low")], ["low"]),
        (RealtimeConfig, "include", [["a"], []], [[""], "a"]),
        (RealtimeConfig, "extra", [{}, {"a": 1}], [[], {1: 2}]),
        (RealtimeConfig, "tools", [[], [ToolDefinition("t")]], [["t"], "t"]),
    ],
)
def test_a_field_takes_what_is_allowed_and_refuses_the_rest_by_name(cls, field, good, bad):
    for value in good:
        cls(**{field: value})
    for value in bad:
        with pytest.raises(InvalidConfig) as caught:
            cls(**{field: value})
        if not isinstance(value, str) or field not in ("tools", "include"):
            assert field in str(caught.value)
            assert "allowed: " in str(caught.value)


def test_the_refusal_names_field_value_and_range():
    refused(r"VadConfig\.threshold is 1\.5; allowed: a number, 0 to 1", VadConfig, threshold=1.5)
    refused(
        r"RealtimeConfig\.tool_choice is 'always'; allowed: auto, none, required",
        RealtimeConfig,
        tool_choice="always",
    )


@pytest.mark.parametrize("strength", [-1, math.inf])
def test_the_strength_of_noise_reduction(strength):
    refused("strength", NoiseReduction, "far_field", strength)
    refused("type", NoiseReduction, "mid_field")
    assert NoiseReduction("far_field", 0.5).strength == 0.5


def test_the_share_that_truncation_keeps():
    for ratio in (-0.1, 1.1, math.nan):
        refused("retention_ratio", RetentionRatio, ratio)
    refused("post_instructions", TokenLimits, -1)
    assert RetentionRatio(0).token_limits is None


def test_a_transcription_needs_a_model_and_its_languages_are_not_none():
    refused("model", TranscriptionConfig, "")
    refused("languages", TranscriptionConfig, "m", languages=[])
    refused("delay", TranscriptionConfig, "m", delay="long")
    assert TranscriptionConfig.whisper().model == "whisper-1"
    assert TranscriptionConfig("m", languages=["en", "fr"]).languages == ("en", "fr")


# ---------------------------------------------------------------- turn detection


def test_the_defaults_of_each_kind_of_detection():
    server = VadConfig.server_vad()
    assert (server.mode, server.silence_duration_ms) == (VadMode.SERVER_VAD, 500)
    assert server.interrupt_response is True
    assert server.create_response is None
    semantic = VadConfig.semantic_vad("high")
    assert (semantic.silence_duration_ms, semantic.eagerness) == (None, Eagerness.HIGH)
    assert semantic.interrupt_response is True
    off = VadConfig.disabled()
    assert attrs.asdict(off) == {**dict.fromkeys(attrs.asdict(off)), "mode": VadMode.NONE}


@pytest.mark.parametrize(
    "field", ["threshold", "prefix_padding_ms", "silence_duration_ms", "idle_timeout_ms"]
)
def test_semantic_detection_has_no_numbers(field):
    value = 0.5 if field == "threshold" else 5_000
    refused(
        f"{field} is .* allowed: nothing with semantic_vad",
        VadConfig,
        mode="semantic_vad",
        **{field: value},
    )


def test_detection_by_silence_is_not_eager():
    refused("eagerness is 'low'; allowed: nothing with server_vad", VadConfig, eagerness="low")
    refused("mode is 'psychic'; allowed: server_vad", VadConfig, mode="psychic")


def test_changed_copies_of_a_detection():
    changed = VadConfig().with_silence_duration(900).with_interrupt(False)
    assert (changed.silence_duration_ms, changed.interrupt_response) == (900, False)
    with pytest.raises(InvalidConfig):
        changed.with_silence_duration(-1)


def test_interruption_detection_overrides_the_detections_own_answer():
    base = RealtimeConfig(turn_detection=VadConfig(silence_duration_ms=300))
    assert base.effective_turn_detection == base.turn_detection
    manual = base.with_interruption_detection("manual").effective_turn_detection
    assert manual == VadConfig(silence_duration_ms=300, interrupt_response=False)
    automatic = RealtimeConfig().with_automatic_interruption().effective_turn_detection
    assert automatic is not None
    assert automatic.interrupt_response is True
    assert automatic.silence_duration_ms is None
    off = RealtimeConfig().without_vad().with_interruption_detection("manual")
    assert off.effective_turn_detection == VadConfig.disabled()
    assert RealtimeConfig().effective_turn_detection is None


def test_nothing_interrupts_by_itself_without_detection():
    refused(
        "interruption_detection is 'automatic' and turn_detection.mode is 'none'",
        RealtimeConfig,
        turn_detection=NULL,
        interruption_detection="automatic",
    )


# ---------------------------------------------------------------- tools


def test_a_tool_has_a_name_and_no_two_share_it():
    refused("name", ToolDefinition, " ")
    refused("parameters", ToolDefinition, "t", parameters="{}")
    refused("t more than once", RealtimeConfig, tools=[ToolDefinition("t"), ToolDefinition("t")])


@pytest.mark.parametrize(
    "places",
    [
        {},
        {"server_url": "https://s", "connector_id": "c"},
        {"tunnel_id": "tunnel_short"},
        {"tunnel_id": "tunnel_" + "A" * 32},
        {"server_url": ""},
    ],
)
def test_a_tool_server_is_in_exactly_one_place(places):
    with pytest.raises(InvalidConfig):
        McpTool(server_label="s", **places)


def test_a_tool_server():
    server = McpTool(
        server_label="s",
        tunnel_id="tunnel_" + "a1" * 16,
        allowed_tools=["look"],
        require_approval="never",
        allowed_callers=["direct"],
        authorization="secret",
        headers={"X-Key": "secret"},
    )
    assert server.allowed_tools == ("look",)
    assert server.require_approval is McpApproval.NEVER
    assert "secret" not in repr(server)
    filtered = McpTool(
        server_label="s",
        server_url="https://s",
        allowed_tools=McpToolFilter(read_only=True),
        require_approval=McpApprovalFilter(always=McpToolFilter(tool_names=["rm"])),
    )
    assert filtered.allowed_tools == McpToolFilter(read_only=True)
    refused(
        "require_approval",
        McpTool,
        server_label="s",
        server_url="u",
        require_approval="perhaps",
    )
    refused(
        "allowed_callers", McpTool, server_label="s", server_url="u", allowed_callers=["nobody"]
    )


# ---------------------------------------------------------------- builders and merging


def test_an_empty_config_says_nothing():
    config = RealtimeConfig()
    assert config.is_empty()
    assert all(value is None for value in attrs.asdict(config).values())
    assert not config.with_voice("marin").is_empty()


def test_each_builder_sets_its_field_and_leaves_the_original_alone():
    base = RealtimeConfig()
    tool = ToolDefinition("t").with_description("d").with_parameters({"type": "object"})
    built = (
        base.with_model("m")
        .with_instruction("i")
        .with_voice("v")
        .with_audio_only()
        .with_audio_formats(input="g711_ulaw", output="pcm16")
        .with_semantic_vad("low")
        .with_tool(tool)
        .with_tool_choice(ToolChoiceFunction("t"))
        .with_transcription()
        .with_temperature(0.8)
        .with_max_response_output_tokens("inf")
        .with_cached_content("c")
        .with_automatic_interruption()
        .with_affective_dialog(True)
        .with_noise_reduction(NULL)
        .with_speed(1.25)
        .with_truncation("disabled")
        .with_tracing("auto")
        .with_prompt(PromptRef("p"))
        .with_reasoning("minimal")
        .with_parallel_tool_calls(False)
        .with_include(["x"])
        .with_extra({"e": 1})
    )
    assert base == RealtimeConfig()
    assert built == RealtimeConfig(
        model="m",
        instruction="i",
        voice="v",
        modalities=[ResponseModality.AUDIO],
        input_audio_format=AudioEncoding.G711_ULAW,
        output_audio_format=AudioEncoding.PCM16,
        turn_detection=VadConfig.semantic_vad("low"),
        tools=[tool],
        tool_choice=ToolChoiceFunction("t"),
        input_audio_transcription=TranscriptionConfig("whisper-1"),
        temperature=0.8,
        max_response_output_tokens="inf",
        cached_content="c",
        interruption_detection=InterruptionDetection.AUTOMATIC,
        affective_dialog=True,
        noise_reduction=NULL,
        speed=1.25,
        truncation=TruncationMode.DISABLED,
        tracing="auto",
        prompt=PromptRef("p"),
        reasoning=ReasoningConfig("minimal"),
        parallel_tool_calls=False,
        include=["x"],
        extra={"e": 1},
    )
    assert not [field for field, value in attrs.asdict(built).items() if value is None]


def test_the_other_builders():
    assert RealtimeConfig().with_text_only().modalities == (ResponseModality.TEXT,)
    assert RealtimeConfig().with_server_vad().turn_detection == VadConfig()
    assert RealtimeConfig().with_vad(VadConfig()).without_vad().turn_detection == (
        VadConfig.disabled()
    )
    assert RealtimeConfig().with_transcription(NULL).input_audio_transcription is NULL
    two = RealtimeConfig().with_tool(ToolDefinition("a")).with_tool(ToolDefinition("b"))
    assert [tool.name for tool in two.tools or ()] == ["a", "b"]
    assert two.with_tools([]).tools == ()
    assert two.with_tool_choice("required").tool_choice is ToolChoiceMode.REQUIRED


def test_a_builder_checks_what_it_is_given():
    with pytest.raises(InvalidConfig, match="speed"):
        RealtimeConfig().with_speed(3)


def test_an_update_changes_what_it_sets_and_nothing_else():
    base = RealtimeConfig(voice="marin", temperature=1, tools=[ToolDefinition("t")])
    update = SessionUpdateConfig(RealtimeConfig(instruction="", tools=[], turn_detection=NULL))
    merged = base.merged_with(update)
    assert merged == RealtimeConfig(
        voice="marin", temperature=1, instruction="", tools=[], turn_detection=VadConfig.disabled()
    )
    assert base.merged_with(RealtimeConfig()) == base


def test_an_update_of_extra_does_not_wipe_what_the_session_keeps_there():
    base = RealtimeConfig(extra={"resume_token": "t", "a": 1})
    assert base.merged_with(RealtimeConfig(extra={"a": 2})).extra == {"resume_token": "t", "a": 2}


def test_a_merge_that_contradicts_itself_is_refused():
    with pytest.raises(InvalidConfig):
        RealtimeConfig().with_automatic_interruption().merged_with(RealtimeConfig().without_vad())


# ---------------------------------------------------------------- encodings


@pytest.mark.parametrize(
    ("encoding", "mime_type", "rate", "bytes_per_second"),
    [
        (AudioEncoding.PCM16, "audio/pcm", 24_000, 48_000),
        (AudioEncoding.G711_ULAW, "audio/pcmu", 8_000, 8_000),
        (AudioEncoding.G711_ALAW, "audio/pcma", 8_000, 8_000),
    ],
)
def test_an_encoding_is_a_format(encoding, mime_type, rate, bytes_per_second):
    fmt = encoding.as_format()
    assert (fmt.mime_type, fmt.sample_rate_hz, fmt.channels) == (mime_type, rate, 1)
    assert fmt.bytes_per_second == bytes_per_second
    assert encoding.as_format(16_000, 2).sample_rate_hz == 16_000
