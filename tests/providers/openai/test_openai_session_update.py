"""From open config and RealtimeConfig to session.update."""

from __future__ import annotations

import pytest
from openai_dialect_kit import EXPLICIT, MANAGED, MODEL, dialect, open_config, sent, update_of

from meerkat_rt.model.conversation import (
    PendingSystemContextAppend,
    Provider,
    SystemMessage,
    SystemNoticeMessage,
    ToolDef,
    UserMessage,
)
from meerkat_rt.model.errors import InvalidConfig, InvalidRequest
from meerkat_rt.model.live_config import (
    NULL,
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
    ToolChoiceMcp,
    ToolDefinition,
    TracingConfig,
    TranscriptionConfig,
    VadConfig,
    VoiceId,
)
from meerkat_rt.providers.openai.session_update import instructions, merge
from meerkat_rt.turn import ports

PCM = {"type": "audio/pcm", "rate": 24000}
WEATHER = ToolDef(
    name="get_weather",
    description="The weather of a place",
    input_schema={"type": "object", "properties": {"place": {"type": "string"}}},
)
WEATHER_WIRE = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a place",
    "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
}


def session(mode=MANAGED, config=None, *, tools=(), seed=(), **rest):
    return update_of(dialect(mode, config, **rest), open_config(mode, seed=seed), tools)


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("field", "value"),
    [("temperature", 0.7), ("cached_content", "caches/1"), ("affective_dialog", True)],
)
def test_a_field_that_the_protocol_lacks_is_refused_by_name_before_connecting(field, value):
    with pytest.raises(InvalidConfig, match=rf"RealtimeConfig\.{field}"):
        dialect(config=RealtimeConfig(**{field: value}))
    with pytest.raises(InvalidConfig, match=field):
        dialect(config=RealtimeConfig(extra={field: value}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("modalities", ["audio", "text"]),
        ("voice", "alloy"),
        ("input_audio_format", "pcm16"),
        ("turn_detection", None),
        ("max_response_output_tokens", 5),
        ("type", "realtime"),
        ("model", "other"),
        ("instructions", "x"),
        ("tools", []),
    ],
)
def test_extra_may_not_hold_what_has_another_place(key, value):
    with pytest.raises(InvalidConfig, match=key):
        dialect(config=RealtimeConfig(extra={key: value}))


def test_more_than_one_modality_is_refused_however_it_comes():
    with pytest.raises(InvalidConfig, match="exactly one"):
        RealtimeConfig(modalities=["audio", "text"])
    for odd in (["audio", "text"], [], "audio", ["hologram"]):
        with pytest.raises(InvalidConfig, match="exactly one"):
            dialect(config=RealtimeConfig(extra={"output_modalities": odd}))


def test_turn_detection_that_contradicts_the_turning_mode_is_refused_naming_both():
    with pytest.raises(InvalidConfig, match=r"turn_detection is off.*provider_managed"):
        dialect(MANAGED, RealtimeConfig(turn_detection=NULL))
    with pytest.raises(InvalidConfig, match=r"turn_detection is semantic_vad.*explicit_commit"):
        dialect(EXPLICIT, RealtimeConfig(turn_detection=VadConfig.semantic_vad()))
    with pytest.raises(
        InvalidConfig, match=r"interruption_detection is automatic.*explicit_commit"
    ):
        dialect(EXPLICIT, RealtimeConfig(interruption_detection="automatic"))
    extra = {"audio": {"input": {"turn_detection": {"type": "server_vad"}}}}
    with pytest.raises(InvalidConfig, match="contradicts the turning mode explicit_commit"):
        dialect(EXPLICIT, RealtimeConfig(extra=extra))
    extra = {"audio": {"input": {"turn_detection": None}}}
    with pytest.raises(InvalidConfig, match="contradicts the turning mode provider_managed"):
        dialect(MANAGED, RealtimeConfig(extra=extra))


@pytest.mark.parametrize("model", ["gpt-realtime", "gpt-realtime-1.5", "gpt-realtime-mini"])
def test_a_model_that_does_not_reason_is_sent_nothing_about_reasoning(model):
    for config in (
        RealtimeConfig(reasoning=ReasoningConfig("low")),
        RealtimeConfig(parallel_tool_calls=True),
        RealtimeConfig(extra={"reasoning": {"effort": "low"}}),
    ):
        with pytest.raises(InvalidConfig, match=model):
            dialect(config=config, model=model)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (RealtimeConfig(max_response_output_tokens=5000), "1 to 4096"),
        (RealtimeConfig(include=["everything"]), "logprobs"),
        (
            RealtimeConfig(
                input_audio_transcription=TranscriptionConfig("whisper-1", keywords=["a"])
            ),
            "keywords",
        ),
        (
            RealtimeConfig(
                input_audio_transcription=TranscriptionConfig("gpt-4o-transcribe", languages=["en"])
            ),
            "languages",
        ),
        (
            RealtimeConfig(input_audio_transcription=TranscriptionConfig("whisper-1", delay="low")),
            "delay",
        ),
        (
            RealtimeConfig(
                input_audio_transcription=TranscriptionConfig(
                    "gpt-4o-transcribe-diarize", prompt="x"
                )
            ),
            "prompt",
        ),
        (
            RealtimeConfig(input_audio_transcription=TranscriptionConfig("gpt-realtime-whisper")),
            "without turn detection",
        ),
        (
            RealtimeConfig(extra={"audio": {"input": {"format": {"type": "audio/mp3"}}}}),
            "audio/mp3",
        ),
    ],
)
def test_what_is_out_of_the_protocols_range_is_refused(config, words):
    with pytest.raises(InvalidConfig, match=words):
        dialect(config=config)


def test_a_model_conflict_is_refused_naming_both():
    with pytest.raises(InvalidConfig, match=rf"'gpt-realtime-9'.*'{MODEL}'"):
        dialect(config=RealtimeConfig(model="gpt-realtime-9"))
    assert dialect(config=RealtimeConfig(model=MODEL)).model == MODEL


def test_an_instruction_conflict_is_refused_naming_both():
    by = dialect(config=RealtimeConfig(instruction="be a pirate"))
    with pytest.raises(InvalidConfig, match=r"'be a pirate'.*'be a nurse'"):
        by.opening(open_config(seed=(SystemMessage("be a nurse"),)), ())
    by.opening(open_config(seed=(SystemMessage("be a pirate"),)), ())
    by.opening(open_config(seed=(UserMessage("hi"), SystemMessage("be a nurse"))), ())


def test_a_tool_conflict_is_refused_naming_both():
    by = dialect(config=RealtimeConfig(tools=[ToolDefinition("f")]))
    with pytest.raises(InvalidConfig, match=r"f, which.*get_weather"):
        by.opening(open_config(), (WEATHER,))
    same_name = RealtimeConfig(tools=[ToolDefinition("get_weather", "Something else")])
    with pytest.raises(InvalidConfig, match="get_weather"):
        dialect(config=same_name).opening(open_config(), (WEATHER,))


@pytest.mark.parametrize("provider", [Provider.GEMINI, Provider.ANTHROPIC])
def test_another_provider_is_refused(provider):
    with pytest.raises(InvalidConfig, match=provider.value):
        dialect().opening(open_config(provider=provider), ())
    with pytest.raises(InvalidRequest, match=provider.value):
        dialect().projection(open_config(provider=provider), ())


# ---------------------------------------------------------------- the whole, per turning mode


def test_the_update_of_a_provider_managed_session():
    config = RealtimeConfig(instruction="be brief")
    assert session(MANAGED, config, tools=(WEATHER,)) == {
        "type": "realtime",
        "output_modalities": ["audio"],
        "instructions": "be brief",
        "audio": {
            "input": {
                "format": PCM,
                "turn_detection": {
                    "type": "server_vad",
                    "create_response": True,
                    "interrupt_response": True,
                },
                "transcription": {"model": "gpt-transcribe"},
            },
            "output": {"format": PCM, "voice": "marin"},
        },
        "tools": [WEATHER_WIRE],
    }


def test_the_update_of_a_session_with_explicit_commits_says_null():
    assert session(EXPLICIT) == {
        "type": "realtime",
        "output_modalities": ["audio"],
        "audio": {
            "input": {
                "format": PCM,
                "turn_detection": None,
                "transcription": {"model": "gpt-transcribe"},
            },
            "output": {"format": PCM, "voice": "marin"},
        },
        "tools": [],
    }


def test_turn_detection_may_be_said_to_be_off_where_it_is():
    wire = session(EXPLICIT, RealtimeConfig(turn_detection=NULL))
    assert wire["audio"]["input"]["turn_detection"] is None


def test_the_open_path_takes_mode_model_tools_and_seed():
    by = dialect(EXPLICIT, RealtimeConfig(instruction="be brief"))
    seed = (
        SystemMessage("be brief"),
        SystemNoticeMessage(kind="peer", body="the peer has answered"),
        UserMessage("hello there"),
    )
    wire = update_of(by, open_config(EXPLICIT, seed=seed, visible_tools=[WEATHER]))
    assert wire["audio"]["input"]["turn_detection"] is None
    assert wire["output_modalities"] == ["audio"]
    assert wire["audio"]["output"]["voice"] == "marin"
    assert wire["audio"]["input"]["transcription"]["model"]
    assert [tool["name"] for tool in wire["tools"]] == ["get_weather"]
    # History is told as items; the instructions hold none of it.
    assert wire["instructions"] == "be brief"


def test_exactly_one_modality_is_pinned_in_empty_full_and_refresh():
    full = RealtimeConfig(instruction="x", voice="cedar", tools=[ToolDefinition("f")])
    for config in (None, full):
        assert session(config=config)["output_modalities"] == ["audio"]
        by = dialect(config=config)
        assert by.projection(open_config(), ())["output_modalities"] == ["audio"]
    text = RealtimeConfig(modalities=["text"])
    assert session(config=text)["output_modalities"] == ["text"]
    assert dialect(config=text).projection(open_config(), ())["output_modalities"] == ["text"]


# ---------------------------------------------------------------- every field


@pytest.mark.parametrize(
    ("config", "path", "wire"),
    [
        ({"voice": "cedar"}, "audio.output.voice", "cedar"),
        ({"voice": VoiceId("voice_1")}, "audio.output.voice", {"id": "voice_1"}),
        ({"speed": 1.25}, "audio.output.speed", 1.25),
        ({"modalities": ["text"]}, "output_modalities", ["text"]),
        ({"instruction": ""}, "instructions", ""),
        ({"input_audio_format": "g711_ulaw"}, "audio.input.format", {"type": "audio/pcmu"}),
        ({"output_audio_format": "g711_alaw"}, "audio.output.format", {"type": "audio/pcma"}),
        ({"output_audio_format": "pcm16"}, "audio.output.format", PCM),
        ({"tool_choice": "required"}, "tool_choice", "required"),
        (
            {"tool_choice": ToolChoiceFunction("f")},
            "tool_choice",
            {"type": "function", "name": "f"},
        ),
        (
            {"tool_choice": ToolChoiceMcp("s")},
            "tool_choice",
            {"type": "mcp", "server_label": "s"},
        ),
        (
            {"tool_choice": ToolChoiceMcp("s", "f")},
            "tool_choice",
            {"type": "mcp", "server_label": "s", "name": "f"},
        ),
        ({"max_response_output_tokens": 4096}, "max_output_tokens", 4096),
        ({"max_response_output_tokens": "inf"}, "max_output_tokens", "inf"),
        ({"input_audio_transcription": NULL}, "audio.input.transcription", None),
        (
            {
                "input_audio_transcription": TranscriptionConfig(
                    "gpt-live-transcribe", languages=["en", "fr"], keywords=["meerkat"], prompt="p"
                )
            },
            "audio.input.transcription",
            {
                "model": "gpt-live-transcribe",
                "languages": ["en", "fr"],
                "keywords": ["meerkat"],
                "prompt": "p",
            },
        ),
        ({"noise_reduction": NULL}, "audio.input.noise_reduction", None),
        (
            {"noise_reduction": NoiseReduction("far_field", 0.5)},
            "audio.input.noise_reduction",
            {"type": "far_field", "strength": 0.5},
        ),
        (
            {
                "turn_detection": VadConfig(
                    threshold=0.6, prefix_padding_ms=200, idle_timeout_ms=6000
                )
            },
            "audio.input.turn_detection",
            {
                "type": "server_vad",
                "create_response": True,
                "interrupt_response": True,
                "threshold": 0.6,
                "prefix_padding_ms": 200,
                "silence_duration_ms": 500,
                "idle_timeout_ms": 6000,
            },
        ),
        (
            {"turn_detection": VadConfig.semantic_vad("high").with_interrupt(False)},
            "audio.input.turn_detection",
            {
                "type": "semantic_vad",
                "create_response": True,
                "interrupt_response": False,
                "eagerness": "high",
            },
        ),
        (
            {"interruption_detection": "manual"},
            "audio.input.turn_detection",
            {"type": "server_vad", "create_response": True, "interrupt_response": False},
        ),
        ({"truncation": "disabled"}, "truncation", "disabled"),
        (
            {"truncation": RetentionRatio(0.8, TokenLimits(8000))},
            "truncation",
            {
                "type": "retention_ratio",
                "retention_ratio": 0.8,
                "token_limits": {"post_instructions": 8000},
            },
        ),
        ({"tracing": "auto"}, "tracing", "auto"),
        ({"tracing": NULL}, "tracing", None),
        (
            {"tracing": TracingConfig(workflow_name="w", metadata={"a": 1})},
            "tracing",
            {"workflow_name": "w", "metadata": {"a": 1}},
        ),
        ({"prompt": NULL}, "prompt", None),
        (
            {"prompt": PromptRef("pmpt_1", "2", {"name": "Ada"})},
            "prompt",
            {"id": "pmpt_1", "version": "2", "variables": {"name": "Ada"}},
        ),
        ({"reasoning": ReasoningConfig("high")}, "reasoning", {"effort": "high"}),
        ({"parallel_tool_calls": False}, "parallel_tool_calls", False),
        (
            {"include": ["item.input_audio_transcription.logprobs"]},
            "include",
            ["item.input_audio_transcription.logprobs"],
        ),
    ],
)
def test_every_field_has_its_place(config, path, wire):
    value = session(config=RealtimeConfig(**config))
    for key in path.split("."):
        value = value[key]
    assert value == wire
    # A change of a running session says the same, and nothing else.
    if config.keys() & {"input_audio_format", "output_audio_format"}:
        return
    change = dialect().mutation(SessionUpdateConfig(RealtimeConfig(**config)))
    (event,) = sent(ports.UpdateSession(ref="u", projection=change))
    assert set(event["session"]) == {"type", path.split(".")[0]}


def test_the_delay_of_the_streaming_recognizer_works_without_turn_detection():
    wanted = TranscriptionConfig("gpt-realtime-whisper", delay="low")
    wire = session(EXPLICIT, RealtimeConfig(input_audio_transcription=wanted))
    assert wire["audio"]["input"]["transcription"] == {
        "model": "gpt-realtime-whisper",
        "delay": "low",
    }


def test_servers_of_tools_are_offered_after_the_functions():
    server = McpTool(
        server_label="docs",
        server_url="https://example.com/mcp",
        authorization="token",
        headers={"x": "y"},
        server_description="documents",
        allowed_tools=["search"],
        require_approval=McpApprovalFilter(never=McpToolFilter(read_only=True)),
        allowed_callers=["direct"],
        defer_loading=True,
    )
    filtered = McpTool(
        server_label="mail",
        tunnel_id="tunnel_" + "a" * 32,
        allowed_tools=McpToolFilter(tool_names=["send"]),
        require_approval="never",
    )
    config = RealtimeConfig(tools=[server, filtered])
    assert session(config=config, tools=(WEATHER,))["tools"] == [
        WEATHER_WIRE,
        {
            "type": "mcp",
            "server_label": "docs",
            "server_url": "https://example.com/mcp",
            "authorization": "token",
            "headers": {"x": "y"},
            "server_description": "documents",
            "allowed_tools": ["search"],
            "require_approval": {"never": {"read_only": True}},
            "allowed_callers": ["direct"],
            "defer_loading": True,
        },
        {
            "type": "mcp",
            "server_label": "mail",
            "tunnel_id": "tunnel_" + "a" * 32,
            "allowed_tools": {"tool_names": ["send"]},
            "require_approval": "never",
        },
    ]


def test_tools_come_from_the_session_and_else_from_the_config():
    by = dialect(config=RealtimeConfig(tools=[ToolDefinition("f", " ", {"type": "object"})]))
    wire = update_of(by, open_config())
    assert wire["tools"] == [{"type": "function", "name": "f", "parameters": {"type": "object"}}]
    other = ToolDef(name="other")
    wire = update_of(dialect(), open_config(visible_tools=[WEATHER]), (other,))
    assert [tool["name"] for tool in wire["tools"]] == ["get_weather", "other"]
    wire = update_of(dialect(), open_config(visible_tools=[WEATHER]), (WEATHER, other))
    assert [tool["name"] for tool in wire["tools"]] == ["get_weather", "other"]
    same = RealtimeConfig(
        tools=[ToolDefinition(WEATHER.name, WEATHER.description, WEATHER.input_schema)]
    )
    wire = update_of(dialect(config=same), open_config(), (WEATHER,))
    assert wire["tools"] == [WEATHER_WIRE]


def test_a_blank_description_is_left_out():
    wire = session(tools=(ToolDef(name="f", description="  "),))
    assert "description" not in wire["tools"][0]


def test_extra_goes_on_top_object_by_object():
    extra = {
        "audio": {
            "input": {"turn_detection": {"idle_timeout_ms": 6000}},
            "output": {"speed": 0.5},
        },
        "tracing": "auto",
    }
    wire = session(config=RealtimeConfig(voice="cedar", extra=extra))
    assert wire["audio"]["output"] == {"format": PCM, "voice": "cedar", "speed": 0.5}
    assert wire["audio"]["input"]["turn_detection"] == {
        "type": "server_vad",
        "create_response": True,
        "interrupt_response": True,
        "idle_timeout_ms": 6000,
    }
    assert wire["tracing"] == "auto"


def test_an_object_of_another_type_replaces_the_one_below():
    below = {"a": {"type": "x", "one": 1}, "b": 2}
    assert merge(below, {"a": {"type": "y"}}) == {"a": {"type": "y"}, "b": 2}
    assert merge(below, {"a": {"two": 2}}) == {"a": {"type": "x", "one": 1, "two": 2}, "b": 2}
    assert merge(below, {"a": None}) == {"a": None, "b": 2}
    assert below == {"a": {"type": "x", "one": 1}, "b": 2}


# ---------------------------------------------------------------- languages and instructions


@pytest.mark.parametrize(
    ("given", "wire"),
    [("en", "en"), (" fr ", "fr"), ("auto", None), ("AUTO", None), ("None", None)],
)
def test_the_input_language_is_what_it_is_told_to_be_and_else_found_out(given, wire):
    config = RealtimeConfig(
        input_audio_transcription=TranscriptionConfig("gpt-transcribe", language=given)
    )
    assert session(config=config)["audio"]["input"]["transcription"].get("language") == wire
    assert "language" not in session()["audio"]["input"]["transcription"]


def test_a_language_pin_names_the_language_and_covers_sound_and_writing():
    pin = session(output_language="en")["instructions"]
    assert "English" in pin
    assert "spoken audio" in pin
    assert "written transcript" in pin


@pytest.mark.parametrize(
    ("code", "name"),
    [("fr", "French"), ("ja", "Japanese"), ("FR", "French"), ("xx", "ISO code 'xx'")],
)
def test_language_codes_are_named(code, name):
    assert name in (instructions(None, code) or "")


@pytest.mark.parametrize("code", [None, "", "none", "None", "AUTO"])
def test_without_a_language_there_is_no_pin(code):
    assert instructions(None, code) is None
    assert instructions("be brief", code) == "be brief"
    assert "instructions" not in session(output_language=code)


def test_the_pin_stands_before_the_instruction():
    told = session(config=RealtimeConfig(instruction="be brief"), output_language="en")
    assert told["instructions"].endswith("\n\nbe brief")
    assert told["instructions"].startswith("Answer in English")


HISTORY = (
    SystemMessage("[Runtime System Context]\nsource: root\n\nthe door is open"),
    UserMessage("who are you?"),
    SystemNoticeMessage(kind="peer", body="the peer has answered"),
)


def test_nothing_of_history_or_runtime_context_is_put_into_the_instructions():
    facts = [PendingSystemContextAppend(text="it is noon", accepted_at=1.0)]
    config = open_config(seed=HISTORY, runtime_system_context=facts)
    assert "instructions" not in update_of(dialect(), config)
    by = dialect(config=RealtimeConfig(instruction=HISTORY[0].content))
    assert update_of(by, config)["instructions"] == HISTORY[0].content
    assert "instructions" not in dialect().projection(config, ())
    by = dialect(output_language="en")
    assert update_of(by, config)["instructions"] == instructions(None, "en")


# ---------------------------------------------------------------- refresh and change


def test_a_refresh_sends_modality_instructions_and_all_tools_but_no_audio():
    by = dialect(config=RealtimeConfig(instruction="be brief", voice="cedar"))
    projection = by.projection(open_config(visible_tools=[WEATHER]), ())
    assert projection == {
        "type": "realtime",
        "output_modalities": ["audio"],
        "instructions": "be brief",
        "tools": [WEATHER_WIRE],
    }
    (event,) = sent(ports.UpdateSession(ref="u", projection=projection))
    assert event["type"] == "session.update"
    assert dialect().projection(open_config(), ())["tools"] == []


def test_a_refresh_with_another_model_or_turning_mode_needs_another_session():
    with pytest.raises(InvalidRequest, match=r"'gpt-realtime-3'.*needs another session"):
        dialect().projection(open_config(model="gpt-realtime-3"), ())
    with pytest.raises(InvalidRequest, match=r"explicit_commit.*provider_managed"):
        dialect().projection(open_config(EXPLICIT), ())


def test_a_refresh_never_replays_history():
    projection = dialect().projection(open_config(seed=HISTORY), ())
    assert projection == dialect().projection(open_config(), ())


def test_a_change_of_model_or_audio_format_takes_another_session():
    assert dialect().mutation(RealtimeConfig(model="gpt-realtime-3")) is None
    assert dialect().mutation(RealtimeConfig(input_audio_format="g711_ulaw")) is None
    assert dialect().mutation(RealtimeConfig(model=MODEL, input_audio_format="pcm16")) is not None


def test_a_change_that_the_protocol_lacks_is_refused():
    with pytest.raises(InvalidConfig, match="temperature"):
        dialect().mutation(RealtimeConfig(temperature=1.0))
    with pytest.raises(InvalidConfig, match="explicit_commit"):
        dialect(EXPLICIT).mutation(RealtimeConfig(turn_detection=VadConfig()))


def test_a_change_carries_tools_and_extra():
    change = dialect().mutation(
        RealtimeConfig(tools=[ToolDefinition("f")], extra={"audio": {"output": {"speed": 1.5}}})
    )
    assert change == {
        "type": "realtime",
        "tools": [{"type": "function", "name": "f"}],
        "audio": {"output": {"speed": 1.5}},
    }
    assert dialect().mutation(RealtimeConfig(tools=[])) == {"type": "realtime", "tools": []}
    assert dialect().mutation(RealtimeConfig()) == {"type": "realtime"}
