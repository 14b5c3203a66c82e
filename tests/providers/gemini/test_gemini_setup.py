"""From the configuration to the setup, and what is refused before connecting."""

from __future__ import annotations

import json

import pytest
from gemini_dialect_kit import (
    CASCADE,
    EXPLICIT,
    FLASH_3_1,
    MANAGED,
    MODEL,
    NATIVE,
    dialect,
    open_config,
    setup,
    setup_of,
)

from meerkat_rt import (
    AiStudio,
    GeminiLive,
    RealtimeConfig,
    ToolDef,
    TranscriptionConfig,
    VadConfig,
    VadMode,
    Vertex,
)
from meerkat_rt.model.errors import InvalidConfig, InvalidRequest
from meerkat_rt.model.live_config import NULL, McpTool, RetentionRatio, TokenLimits, ToolDefinition
from meerkat_rt.providers.gemini.generations import UNKNOWN, generation
from meerkat_rt.turn import ports

# ---------------------------------------------------------------- what is sent


def test_the_defaults_say_little_and_ask_for_words_and_handles():
    assert setup() == {
        "model": f"models/{MODEL}",
        "generationConfig": {"responseModalities": ["AUDIO"]},
        "inputAudioTranscription": {},
        "outputAudioTranscription": {},
        "sessionResumption": {},
    }


def test_a_session_with_server_vad_defaults_has_no_realtime_input_config():
    assert "realtimeInputConfig" not in setup()
    assert setup(EXPLICIT)["realtimeInputConfig"] == {
        "automaticActivityDetection": {"disabled": True}
    }


@pytest.mark.parametrize(
    ("field", "value", "path", "expected"),
    [
        ("temperature", 0.5, "generationConfig.temperature", 0.5),
        ("max_response_output_tokens", 77, "generationConfig.maxOutputTokens", 77),
        ("max_response_output_tokens", "inf", "generationConfig.maxOutputTokens", None),
        (
            "voice",
            "Puck",
            "generationConfig.speechConfig.voiceConfig.prebuiltVoiceConfig.voiceName",
            "Puck",
        ),
        ("instruction", "Be brief.", "systemInstruction", {"parts": [{"text": "Be brief."}]}),
        ("instruction", "", "systemInstruction", None),
        ("truncation", "auto", "contextWindowCompression", {"slidingWindow": {}}),
        ("truncation", "disabled", "contextWindowCompression", None),
        (
            "truncation",
            RetentionRatio(0.5, TokenLimits(1000)),
            "contextWindowCompression",
            {"triggerTokens": 1000, "slidingWindow": {"targetTokens": 500}},
        ),
        (
            "truncation",
            RetentionRatio(1, TokenLimits(1000)),
            "contextWindowCompression.slidingWindow.targetTokens",
            999,
        ),
        ("input_audio_transcription", NULL, "inputAudioTranscription", None),
        (
            "input_audio_transcription",
            TranscriptionConfig(MODEL, language="de", keywords=("meerkat",)),
            "inputAudioTranscription",
            {"languageCodes": ["de"], "customVocabulary": ["meerkat"]},
        ),
        (
            "turn_detection",
            VadConfig(silence_duration_ms=300, prefix_padding_ms=20),
            "realtimeInputConfig",
            {"automaticActivityDetection": {"prefixPaddingMs": 20, "silenceDurationMs": 300}},
        ),
        (
            "turn_detection",
            VadConfig(silence_duration_ms=None, interrupt_response=False),
            "realtimeInputConfig",
            {"activityHandling": "NO_INTERRUPTION"},
        ),
        (
            "interruption_detection",
            "manual",
            "realtimeInputConfig",
            {"activityHandling": "NO_INTERRUPTION"},
        ),
        ("noise_reduction", NULL, "noise", None),
        ("tool_choice", "auto", "toolConfig", None),
        ("extra", {"proactivity": {"proactiveAudio": True}}, "proactivity.proactiveAudio", True),
        (
            "extra",
            {
                "realtimeInputConfig": {
                    "automaticActivityDetection": {
                        "startOfSpeechSensitivity": "START_SENSITIVITY_LOW",
                        "endOfSpeechSensitivity": "END_SENSITIVITY_HIGH",
                    },
                    "turnCoverage": "TURN_INCLUDES_ALL_INPUT",
                }
            },
            "realtimeInputConfig.automaticActivityDetection.startOfSpeechSensitivity",
            "START_SENSITIVITY_LOW",
        ),
        ("extra", {"tools": [{"googleSearch": {}}]}, "tools", [{"googleSearch": {}}]),
    ],
)
def test_every_setting_that_the_protocol_has(field, value, path, expected):
    found = setup(**{field: value})
    for key in path.split("."):
        found = found.get(key) if isinstance(found, dict) else None
    assert found == expected


def test_settings_of_other_generations():
    assert setup(model=NATIVE, affective_dialog=True)["generationConfig"]["enableAffectiveDialog"]
    text = setup(model=CASCADE, modalities=["text"])
    assert text["generationConfig"]["responseModalities"] == ["TEXT"]
    assert "outputAudioTranscription" not in text
    thinking = setup(model=FLASH_3_1, reasoning={"effort": "low"} and _effort("low"))
    assert thinking["generationConfig"]["thinkingConfig"] == {"thinkingLevel": "LOW"}


def _effort(level):
    return RealtimeConfig().with_reasoning(level).reasoning


# ---------------------------------------------------------------- what is refused

REFUSED = [
    (MODEL, MANAGED, {"modalities": ["text"]}, ("modalities", "text", "audio")),
    (NATIVE, MANAGED, {"modalities": ["text"]}, ("modalities", "text", "audio")),
    (MODEL, MANAGED, {"input_audio_format": "g711_ulaw"}, ("input_audio_format", "16000")),
    (MODEL, MANAGED, {"output_audio_format": "g711_alaw"}, ("output_audio_format", "24000")),
    (MODEL, MANAGED, {"speed": 1.2}, ("speed", "1.2", "leave it out")),
    (MODEL, MANAGED, {"cached_content": "x"}, ("cached_content",)),
    (MODEL, MANAGED, {"parallel_tool_calls": True}, ("parallel_tool_calls",)),
    (MODEL, MANAGED, {"include": ("x",)}, ("include",)),
    (MODEL, MANAGED, {"tracing": "auto"}, ("tracing",)),
    (MODEL, MANAGED, {"tool_choice": "required"}, ("tool_choice", "required", "auto")),
    (MODEL, MANAGED, {"affective_dialog": True}, ("affective_dialog",)),
    (MODEL, MANAGED, {"reasoning": _effort("low")}, ("reasoning", "low")),
    (MODEL, MANAGED, {"truncation": RetentionRatio(0.5)}, ("truncation", "token_limits")),
    (
        MODEL,
        MANAGED,
        {"tools": (McpTool(server_label="s", server_url="https://x"),)},
        ("tools", "functions"),
    ),
    (
        MODEL,
        MANAGED,
        {"input_audio_transcription": TranscriptionConfig("whisper-1")},
        ("input_audio_transcription.model", "whisper-1"),
    ),
    (
        MODEL,
        MANAGED,
        {"input_audio_transcription": TranscriptionConfig(MODEL, prompt="x")},
        ("input_audio_transcription.prompt",),
    ),
    (
        NATIVE,
        MANAGED,
        {"input_audio_transcription": TranscriptionConfig(NATIVE, language="de")},
        ("input_audio_transcription.language", "de"),
    ),
    (MODEL, MANAGED, {"turn_detection": VadConfig.semantic_vad()}, ("mode", "server_vad")),
    (MODEL, MANAGED, {"turn_detection": NULL}, ("mode", "none", "explicit_commit")),
    (MODEL, MANAGED, {"turn_detection": VadConfig(threshold=0.5)}, ("threshold", "0.5")),
    (MODEL, MANAGED, {"turn_detection": VadConfig(idle_timeout_ms=9000)}, ("idle_timeout_ms",)),
    (
        MODEL,
        MANAGED,
        {"turn_detection": VadConfig(create_response=False)},
        ("create_response", "True"),
    ),
    (MODEL, EXPLICIT, {"turn_detection": VadConfig()}, ("mode", "server_vad", "none")),
    (
        MODEL,
        EXPLICIT,
        {"turn_detection": VadConfig(mode=VadMode.NONE, silence_duration_ms=500)},
        ("silence_duration_ms", "500"),
    ),
    (
        MODEL,
        EXPLICIT,
        {"turn_detection": VadConfig(mode=VadMode.NONE, prefix_padding_ms=20)},
        ("prefix_padding_ms", "20"),
    ),
    (
        MODEL,
        EXPLICIT,
        {"interruption_detection": "automatic"},
        ("interruption_detection", "automatic"),
    ),
    (
        MODEL,
        EXPLICIT,
        {"extra": {"realtimeInputConfig": {"automaticActivityDetection": {"prefixPaddingMs": 9}}}},
        ("prefixPaddingMs", "9"),
    ),
    (
        MODEL,
        MANAGED,
        {"extra": {"realtimeInputConfig": {"automaticActivityDetection": {"disabled": True}}}},
        ("disabled", "True", "False"),
    ),
    (
        MODEL,
        MANAGED,
        {"extra": {"generationConfig": {"responseModalities": ["AUDIO", "TEXT"]}}},
        ("responseModalities", "['AUDIO']"),
    ),
    (
        MODEL,
        MANAGED,
        {"extra": {"realtimeInputConfig": {"activityHandling": "SOMETIMES"}}},
        ("activityHandling", "NO_INTERRUPTION"),
    ),
    (
        MODEL,
        MANAGED,
        {"extra": {"generation_config": {}}},
        ("generation_config", "generationConfig"),
    ),
    (MODEL, MANAGED, {"extra": {"model": "x"}}, ("model", "llm_identity")),
    (MODEL, MANAGED, {"extra": {"explicitVadSignal": True}}, ("explicitVadSignal", "Vertex")),
    (
        MODEL,
        MANAGED,
        {"extra": {"proactivity": {"proactiveAudio": False}}},
        ("proactiveAudio", "True"),
    ),
    (FLASH_3_1, MANAGED, {"extra": {"proactivity": {}}}, ()),
    (
        MODEL,
        MANAGED,
        {"extra": {"contextWindowCompression": {"triggerTokens": 5}}},
        ("slidingWindow",),
    ),
    (
        MODEL,
        MANAGED,
        {
            "extra": {
                "contextWindowCompression": {
                    "triggerTokens": 5,
                    "slidingWindow": {"targetTokens": 5},
                }
            }
        },
        ("targetTokens", "less than", "5"),
    ),
]


@pytest.mark.parametrize(("model", "mode", "fields", "words"), REFUSED)
def test_wrong_settings_are_refused_by_name_with_the_model_and_what_is_allowed(
    model, mode, fields, words
):
    config = RealtimeConfig(**fields)
    if not words:
        dialect(mode, config, model=model)
        return
    with pytest.raises(InvalidConfig) as caught:
        dialect(mode, config, model=model)
    message = str(caught.value)
    assert model in message
    assert "allowed" in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"input_rate": 96_000}, ("input_rate", "96000", "48000")),
        ({"transparent": True}, ("transparent", "Vertex")),
        ({"tool_scheduling": "SOON"}, ("tool_scheduling", "SOON", "WHEN_IDLE")),
        ({"tool_behavior": "LAZY"}, ("tool_behavior", "LAZY", "BLOCKING")),
        (
            {"model": FLASH_3_1, "tool_scheduling": "INTERRUPT"},
            ("tool_scheduling", "INTERRUPT", FLASH_3_1),
        ),
        (
            {"model": FLASH_3_1, "tool_behavior": "NON_BLOCKING"},
            ("tool_behavior", "NON_BLOCKING", FLASH_3_1),
        ),
        (
            {"tool_behavior": "BLOCKING", "tool_scheduling": "INTERRUPT"},
            ("tool_scheduling", "NON_BLOCKING"),
        ),
    ],
)
def test_wrong_settings_of_the_dialect(settings, words):
    with pytest.raises(InvalidConfig) as caught:
        dialect(**settings)
    for word in (*words, "allowed"):
        assert word in str(caught.value)


def test_two_configurations_that_disagree_are_named():
    with pytest.raises(InvalidConfig, match="other"):
        dialect(config=RealtimeConfig(model="other"))
    dialect(config=RealtimeConfig(model=f"models/{MODEL}"))
    with pytest.raises(InvalidConfig, match="turning mode"):
        dialect(MANAGED).opening(open_config(EXPLICIT), ())
    with pytest.raises(InvalidConfig, match="model"):
        dialect().opening(open_config(model="gemini-x-live"), ())


def test_of_a_name_that_nobody_knows_nothing_is_forbidden():
    assert generation("gemini-9-live") is UNKNOWN
    config = RealtimeConfig(modalities=["text"], affective_dialog=True, reasoning=_effort("low"))
    dialect(config=config, model="gemini-9-live", tool_scheduling="INTERRUPT")


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("gemini-3.8-live", "Gemini 3.8 Live"),
        ("models/gemini-3.8-live-001", "Gemini 3.8 Live"),
        ("gemini-3.1-flash-live-preview", "Gemini 3.1 Flash Live"),
        ("gemini-2.5-flash-native-audio-preview-09-2025", "Gemini 2.5 native audio"),
        ("gemini-live-2.5-flash-native-audio", "Gemini 2.5 native audio"),
        ("gemini-live-2.5-flash", "Gemini Live 2.0 and 2.5, half cascade"),
        ("gemini-2.0-flash-live-001", "Gemini Live 2.0 and 2.5, half cascade"),
        ("publishers/google/models/gemini-3.8-live", "Gemini 3.8 Live"),
    ],
)
def test_generations_by_name(name, known):
    assert generation(name).name == known


# ---------------------------------------------------------------- tools

WEATHER = ToolDef(name="weather", description="Weather", input_schema={"type": "object"})


def declared(tools, **rest):
    by = dialect(**rest)
    made = setup_of(by, open_config(model=by.model), tools)
    return made["tools"][0]["functionDeclarations"]


def test_a_function_is_declared_under_exactly_one_kind_of_schema():
    assert declared((WEATHER,)) == [
        {
            "name": "weather",
            "description": "Weather",
            "parametersJsonSchema": {"type": "object"},
        }
    ]


def test_only_a_behavior_that_is_not_the_models_own_is_told():
    assert "behavior" not in declared((WEATHER,), tool_scheduling="INTERRUPT")[0]
    assert declared((WEATHER,), tool_behavior="BLOCKING")[0]["behavior"] == "BLOCKING"
    native = declared((WEATHER,), model=NATIVE, tool_scheduling={"weather": "INTERRUPT"})
    assert native[0]["behavior"] == "NON_BLOCKING"
    assert "behavior" not in declared((WEATHER,), model=NATIVE)[0]


def test_functions_are_given_in_one_place():
    ours = ToolDefinition("clock")
    made = setup_of(dialect(config=RealtimeConfig(tools=(ours,))), open_config())
    assert made["tools"] == [{"functionDeclarations": [{"name": "clock"}]}]
    with pytest.raises(InvalidConfig, match="clock"):
        dialect(config=RealtimeConfig(tools=(ours,))).opening(open_config(), (WEATHER,))


def test_names_numbers_and_schedules_that_do_not_fit():
    with pytest.raises(InvalidConfig, match="9lives"):
        dialect().opening(open_config(), (ToolDef(name="9lives"),))
    many = tuple(ToolDef(name=f"f{n}") for n in range(513))
    with pytest.raises(InvalidConfig, match="512"):
        dialect().opening(open_config(), many)
    with pytest.raises(InvalidConfig, match="sing"):
        dialect(tool_scheduling={"sing": "INTERRUPT"}).opening(open_config(), (WEATHER,))


# ---------------------------------------------------------------- addresses


def test_the_gemini_api_takes_the_key_in_a_header():
    endpoint = dialect().endpoint
    assert endpoint.url == (
        "wss://generativelanguage.googleapis.com/ws/"
        "google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
    )
    assert endpoint.headers == {"x-goog-api-key": "AIzaTest0123456789"}
    assert "AIzaTest" not in repr(dialect())
    assert "AIzaTest" not in repr(endpoint)


def test_experimental_settings_and_tokens_take_the_experimental_version():
    config = RealtimeConfig(affective_dialog=True)
    assert ".v1alpha." in dialect(config=config, model=NATIVE).endpoint.url
    endpoint = dialect(platform=AiStudio(api_key="auth_tokens/abc")).endpoint
    assert endpoint.url.endswith(".v1alpha.GenerativeService.BidiGenerateContentConstrained")
    assert endpoint.headers == {"Authorization": "Token auth_tokens/abc"}


def test_vertex_has_a_slash_before_the_method_and_a_bearer():
    vertex = Vertex(project="p", location="europe-west4", access_token="ya29.x", quota_project="q")
    by = dialect(platform=vertex, transparent=True)
    assert by.endpoint.url == (
        "wss://europe-west4-aiplatform.googleapis.com/ws/"
        "google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent"
    )
    assert by.endpoint.headers == {
        "Authorization": "Bearer ya29.x",
        "x-goog-user-project": "q",
    }
    made = setup_of(by, open_config())
    assert made["model"] == f"projects/p/locations/europe-west4/publishers/google/models/{MODEL}"
    assert made["sessionResumption"] == {"transparent": True}
    assert "ya29" not in repr(by)
    everywhere = Vertex(project="p", location="global", access_token="t")
    assert dialect(platform=everywhere).endpoint.url.startswith("wss://aiplatform.googleapis")


@pytest.mark.parametrize("field", ["project", "location"])
def test_an_empty_place_is_named(field):
    given = {"project": "p", "location": "l", "access_token": "t", field: " "}
    with pytest.raises(InvalidConfig, match=field):
        Vertex(**given)
    with pytest.raises(InvalidConfig, match="base_url"):
        AiStudio(api_key="k", base_url="https://x")


# ---------------------------------------------------------------- resuming and changing


def test_a_resumed_session_has_the_handle_and_no_history():
    from meerkat_rt import UserMessage

    by = dialect().resuming("handle_1")
    opening = by.opening(open_config(seed_messages=(UserMessage("Hello"),)), ())
    made = json.loads(opening.begin()[0])["setup"]
    assert made["sessionResumption"] == {"handle": "handle_1"}
    assert "historyConfig" not in made
    assert opening.observe(ports.SessionCreated()) == ((), True)
    assert "handle_1" not in repr(by)
    assert "handle_1" not in repr(opening)


def test_attaching_takes_a_handle_and_advertises_tools_again():
    with pytest.raises(InvalidConfig, match="handle"):
        dialect().attaching()
    made = json.loads(dialect().resuming("h").attaching((WEATHER,)).begin()[0])["setup"]
    assert made["tools"][0]["functionDeclarations"][0]["name"] == "weather"


def test_any_change_takes_a_resumed_session_if_the_model_has_it_at_all():
    assert dialect().mutation(RealtimeConfig(instruction="Be brief.")) is None
    with pytest.raises(InvalidConfig, match="speed"):
        dialect().mutation(RealtimeConfig(speed=1.5))
    with pytest.raises(InvalidRequest, match="resume it"):
        dialect().projection(open_config(), ())
    assert dialect().with_config(RealtimeConfig(voice="Puck")).config.voice == "Puck"


# ---------------------------------------------------------------- the profile and the factory


@pytest.mark.parametrize("mode", [MANAGED, EXPLICIT])
@pytest.mark.parametrize("model", [MODEL, FLASH_3_1, NATIVE, CASCADE])
def test_the_profile_promises_nothing_that_the_protocol_lacks(mode, model):
    profile = dialect(mode, model=model).profile
    can = profile.capabilities
    assert not can.truncate_supported
    assert not can.nudge_supported
    assert not can.video_supported
    assert can.interrupt_supported is (mode is EXPLICIT)
    assert can.declared_turns is (mode is EXPLICIT)
    assert can.audio_input_format.sample_rate_hz == 16_000
    assert can.audio_output_format.sample_rate_hz == 24_000
    assert profile.provider_continues
    assert not profile.echoes_refs
    assert profile.provider_responds is (mode is MANAGED)


def test_the_factory_takes_a_key_or_a_platform_and_shows_neither():
    for wrong in ({}, {"api_key": "k", "platform": AiStudio(api_key="k")}):
        with pytest.raises(InvalidConfig, match="exactly one"):
            GeminiLive(**wrong)
    assert "secret" not in repr(GeminiLive(api_key="secret"))
    made = []

    def fresh():
        made.append(len(made))
        return Vertex(project="p", location="l", access_token=f"t{len(made)}")

    provider = GeminiLive(platform=fresh)
    first, second = (provider.dialect(open_config()) for _ in range(2))
    assert first.endpoint.headers != second.endpoint.headers


@pytest.mark.parametrize(
    "asked", [{"response_nudge_timeout_ms": 500}, {"response_nudge_max_attempts": 2}]
)
def test_a_nudge_is_refused_before_connecting(asked):
    with pytest.raises(InvalidConfig, match="nudge"):
        GeminiLive(api_key="k").settings(open_config(**asked))


def test_without_nudges_silence_has_a_window_of_its_own():
    settings = GeminiLive(api_key="k").settings(open_config(response_nudge_max_attempts=0))
    assert (settings.nudge_timeout, settings.nudge_max_attempts) == (2.5, 0)
    assert settings.provider_continues
