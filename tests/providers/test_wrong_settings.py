"""Wrong settings are refused before a socket is opened: by setting, model, and what is allowed."""

from __future__ import annotations

import pytest
import trio

from meerkat_rt import (
    AiStudio,
    GeminiLive,
    OpenAIRealtime,
    Provider,
    RealtimeConfig,
    RealtimeSessionOpenConfig,
    RealtimeTurningMode,
    SessionLlmIdentity,
    ToolDef,
    VadConfig,
    Vertex,
    errors,
    open_session,
)
from meerkat_rt.model.live_config import ReasoningConfig, TranscriptionConfig
from meerkat_rt.transport import connector

MANAGED, EXPLICIT = RealtimeTurningMode.PROVIDER_MANAGED, RealtimeTurningMode.EXPLICIT_COMMIT
OPENAI, GEMINI = "gpt-realtime", "gemini-3.8-live"
LIVE_3_1 = "gemini-3.1-flash-live-preview"
HALF = "gemini-2.0-flash-live-001"


async def dialled(host: str, port: int) -> trio.abc.Stream:
    pytest.fail(f"a connection to {host}:{port} was opened")


WIRES = connector("websockets", open_stream=dialled)


def opening(model, mode, config, tools=(), **settings):
    """What opens a session of `model` with these settings."""
    gemini = model.startswith("gemini")
    identity = SessionLlmIdentity(
        model=model, provider=Provider.GEMINI if gemini else Provider.OPENAI
    )
    wanted = RealtimeSessionOpenConfig(mode, identity).with_visible_tools(list(tools))
    if "platform" not in settings:
        settings["api_key"] = "k"
    make = GeminiLive if gemini else OpenAIRealtime
    provider = make(config=config, connector=WIRES, **settings)
    return open_session(wanted, provider=provider)


async def refused(*what, **settings) -> str:
    with pytest.raises(errors.InvalidConfig) as caught:
        async with opening(*what, **settings):
            pass
    return str(caught.value)


def config(**fields) -> RealtimeConfig:
    return RealtimeConfig(**fields)


def vad(**fields) -> RealtimeConfig:
    return RealtimeConfig(turn_detection=VadConfig(**fields))


@pytest.mark.parametrize(
    ("model", "fits", "too_much", "allowed"),
    [
        (OPENAI, "x" * 64, ["x" * 65, "a.b", "a:b", "a b"], "OpenAI allows: 1 to 64 letters"),
        (GEMINI, "a.b:" + "x" * 124, ["x" * 129, "1a", "a b"], "Gemini allows: a letter or an"),
    ],
)
async def test_a_tool_has_a_name_that_the_provider_takes(model, fits, too_much, allowed):
    for name in too_much:
        words = await refused(model, MANAGED, RealtimeConfig(), [ToolDef(name=name)])
        assert f"a tool is named {name!r}; {allowed}" in words
    provider = (GeminiLive if model == GEMINI else OpenAIRealtime)(api_key="k")
    made = RealtimeSessionOpenConfig(
        MANAGED,
        SessionLlmIdentity(model=model, provider="gemini" if model == GEMINI else "openai"),
        [ToolDef(name=fits)],
    )
    assert provider.dialect(made).opening(made, made.visible_tools)


# (model, turning mode, configuration): setting, and what is allowed
CASES = [
    # detection of turns, against who ends them
    (OPENAI, EXPLICIT, vad(silence_duration_ms=300), "turn_detection", "none, or the turning"),
    (GEMINI, EXPLICIT, vad(silence_duration_ms=300), "turn_detection", "none, or the turning"),
    (OPENAI, EXPLICIT, vad(mode="none", silence_duration_ms=3), "silence_duration_ms", "leave"),
    (GEMINI, EXPLICIT, vad(mode="none", silence_duration_ms=3), "silence_duration_ms", "leave"),
    (OPENAI, EXPLICIT, vad(mode="none", threshold=0.5), "turn_detection.threshold", "leave"),
    (GEMINI, EXPLICIT, vad(mode="none", prefix_padding_ms=3), "prefix_padding_ms", "leave"),
    (OPENAI, MANAGED, vad(mode="none"), "turn_detection", "explicit_commit"),
    (GEMINI, MANAGED, vad(mode="none"), "turn_detection", "explicit_commit"),
    (GEMINI, MANAGED, vad(mode="semantic_vad"), "turn_detection.mode", "server_vad"),
    (GEMINI, MANAGED, vad(threshold=0.5), "turn_detection.threshold", "Sensitivity"),
    (GEMINI, MANAGED, vad(idle_timeout_ms=9000), "idle_timeout_ms", "leave it out"),
    (GEMINI, MANAGED, vad(create_response=False), "create_response", "True"),
    (OPENAI, EXPLICIT, config(interruption_detection="automatic"), "interruption_de", "manual"),
    (GEMINI, EXPLICIT, config(interruption_detection="automatic"), "interruption_de", "manual"),
    # what an answer is
    (GEMINI, MANAGED, config(modalities=["text"]), "modalities", "audio"),
    (LIVE_3_1, MANAGED, config(modalities=["text"]), "modalities", "audio"),
    (
        OPENAI,
        MANAGED,
        config(extra={"output_modalities": ["audio", "text"]}),
        "output_modalities",
        "exactly one of audio and text",
    ),
    (
        HALF,
        MANAGED,
        config(extra={"generationConfig": {"responseModalities": ["AUDIO", "TEXT"]}}),
        "responseModalities",
        "['AUDIO'] or ['TEXT']",
    ),
    (OPENAI, MANAGED, config(temperature=0.5), "temperature", "leave it out"),
    (OPENAI, MANAGED, config(affective_dialog=True), "affective_dialog", "leave it out"),
    (GEMINI, MANAGED, config(affective_dialog=True), "affective_dialog", "leave it out"),
    (OPENAI, MANAGED, config(cached_content="x"), "cached_content", "leave it out"),
    (GEMINI, MANAGED, config(cached_content="x"), "cached_content", "leave it out"),
    (OPENAI, MANAGED, config(reasoning=ReasoningConfig("low")), "reasoning", "leave it out"),
    (GEMINI, MANAGED, config(reasoning=ReasoningConfig("low")), "reasoning", "leave it out"),
    (OPENAI, MANAGED, config(max_response_output_tokens=5000), "output_tokens", "1 to 4096"),
    (GEMINI, MANAGED, config(max_response_output_tokens=70000), "output_tokens", "1 to 65536"),
    (GEMINI, MANAGED, config(tool_choice="required"), "tool_choice", "auto"),
    (GEMINI, MANAGED, config(parallel_tool_calls=True), "parallel_tool_calls", "leave it out"),
    (GEMINI, MANAGED, config(speed=1.2), "speed", "leave it out"),
    # audio of another rate or form
    (GEMINI, MANAGED, config(input_audio_format="g711_ulaw"), "input_audio_format", "pcm16"),
    (GEMINI, MANAGED, config(output_audio_format="g711_alaw"), "output_audio_format", "pcm16"),
    (
        OPENAI,
        MANAGED,
        config(extra={"audio": {"input": {"format": {"type": "audio/pcm", "rate": 16_000}}}}),
        "audio.input.format.rate",
        "24000",
    ),
    (
        OPENAI,
        MANAGED,
        config(extra={"audio": {"output": {"format": {"type": "audio/mp3"}}}}),
        "audio.output.format.type",
        "audio/pcm",
    ),
    # what is said in the wrong place
    (OPENAI, MANAGED, config(extra={"voice": "cedar"}), "extra['voice']", "RealtimeConfig.voice"),
    (GEMINI, MANAGED, config(extra={"voice": "Puck"}), "extra['voice']", "RealtimeConfig.voice"),
    (GEMINI, MANAGED, config(extra={"top_k": 3}), "extra['top_k']", "topK"),
    (GEMINI, MANAGED, config(extra={"sessionResumption": {}}), "sessionResumption", "resumption"),
    (GEMINI, MANAGED, config(extra={"explicitVadSignal": True}), "explicitVadSignal", "leave"),
    (
        LIVE_3_1,
        MANAGED,
        config(input_audio_transcription=TranscriptionConfig(LIVE_3_1, keywords=["meerkat"])),
        "keywords",
        "leave it out",
    ),
    (
        GEMINI,
        MANAGED,
        config(input_audio_transcription=TranscriptionConfig("whisper-1")),
        "input_audio_transcription.model",
        GEMINI,
    ),
]


@pytest.mark.parametrize(
    ("model", "mode", "wrong", "setting", "allowed"),
    CASES,
    ids=[f"{case[0]}-{case[3]}-{number}" for number, case in enumerate(CASES)],
)
async def test_a_wrong_setting_is_named_with_the_model_and_what_is_allowed(
    model, mode, wrong, setting, allowed
):
    text = await refused(model, mode, wrong)
    told, _, may = text.partition("allowed")
    assert setting in told
    assert model in told
    assert allowed in may


SCHEDULING = [
    (LIVE_3_1, {"tool_scheduling": "WHEN_IDLE"}, "tool_scheduling", "leave it out"),
    (LIVE_3_1, {"tool_behavior": "NON_BLOCKING"}, "tool_behavior", "BLOCKING"),
    (
        GEMINI,
        {"tool_behavior": "BLOCKING", "tool_scheduling": "INTERRUPT"},
        "tool_scheduling",
        "NON_BLOCKING",
    ),
    (GEMINI, {"tool_scheduling": {"nobody": "WHEN_IDLE"}}, "tool_scheduling['nobody']", "look"),
    (GEMINI, {"input_rate": 4_000}, "input_rate", "8000 to 48000"),
    (GEMINI, {"input_rate": 96_000}, "input_rate", "8000 to 48000"),
    (GEMINI, {"transparent": True}, "transparent", "Vertex"),
    (
        GEMINI,
        {
            "platform": Vertex(project="p", location="l", access_token="t"),
            "transparent": True,
            "resumption": False,
        },
        "transparent",
        "resumption=True",
    ),
]


@pytest.mark.parametrize(("model", "settings", "setting", "allowed"), SCHEDULING)
async def test_a_wrong_setting_of_the_provider_is_named_likewise(model, settings, setting, allowed):
    text = await refused(model, MANAGED, RealtimeConfig(), [ToolDef(name="look")], **settings)
    told, _, may = text.partition("allowed")
    assert setting in told
    assert model in told
    assert allowed in may


@pytest.mark.parametrize("wrong", ["NEVER", "SILENT", 3])
async def test_a_scheduling_that_no_model_has_is_named_with_those_that_there_are(wrong):
    text = await refused(GEMINI, MANAGED, RealtimeConfig(), tool_scheduling=wrong)
    assert "tool_scheduling" in text
    assert "allowed: WHEN_IDLE, INTERRUPT" in text


# Wrong for every model, so refused where it is written, before there is a model.
@pytest.mark.parametrize(
    ("make", "setting", "allowed"),
    [
        (
            lambda: config(modalities=["text", "audio"]),
            "modalities",
            "exactly one of audio and text, whatever the model",
        ),
        (lambda: config(modalities=["video"]), "modalities", "audio, text"),
        (lambda: vad(threshold=2), "threshold", "0 to 1"),
        (lambda: vad(mode="semantic_vad", silence_duration_ms=3), "silence_duration_ms", "nothing"),
        (lambda: config(speed=9.0), "speed", "0.25 to 1.5"),
    ],
)
def test_what_no_model_takes_is_refused_where_it_is_written(make, setting, allowed):
    with pytest.raises(errors.InvalidConfig) as caught:
        make()
    told, _, may = str(caught.value).partition("allowed")
    assert setting in told
    assert allowed in may


@pytest.mark.parametrize("model", [OPENAI, GEMINI])
async def test_a_turning_mode_or_a_model_that_contradicts_the_open_config_is_named(model):
    text = await refused(model, MANAGED, RealtimeConfig(model="another"))
    assert "'another'" in text
    assert repr(model) in text


def test_gemini_is_reached_by_a_key_or_by_a_platform():
    for wrong in ({}, {"api_key": "k", "platform": AiStudio(api_key="k")}):
        with pytest.raises(errors.InvalidConfig, match="exactly one"):
            GeminiLive(**wrong)
