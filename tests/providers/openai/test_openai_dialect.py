"""The dialect as a whole: where it connects, what it can do, what it keeps to itself."""

from __future__ import annotations

import pytest
from openai_dialect_kit import (
    EXPLICIT,
    MANAGED,
    MODEL,
    dialect,
    frame,
    generated_frames,
    open_config,
)

from meerkat_rt.model.conversation import ToolDef
from meerkat_rt.model.errors import InvalidConfig
from meerkat_rt.model.live_config import (
    NULL,
    McpTool,
    RealtimeConfig,
    ToolDefinition,
    VadConfig,
)
from meerkat_rt.model.media import (
    RealtimeAudioFormat,
    RealtimeInputKind,
    RealtimeOutputKind,
    ResponseModality,
)
from meerkat_rt.providers.openai import OpenAIDialect
from meerkat_rt.providers.openai.frames import ErrorBody, Malformed, Response, lenient
from meerkat_rt.providers.openai.generations import reasons

KEY = "sk-test-0123456789"

# ---------------------------------------------------------------- where to connect


@pytest.mark.parametrize("base_url", ["https://api.openai.com/v1/realtime", "api.openai.com", ""])
def test_a_base_url_that_is_no_websocket_is_refused(base_url):
    with pytest.raises(InvalidConfig, match="base_url"):
        dialect(base_url=base_url)


def test_a_dialect_is_of_a_model_or_of_a_call():
    with pytest.raises(InvalidConfig, match="exactly one"):
        OpenAIDialect(api_key=KEY)
    with pytest.raises(InvalidConfig, match="exactly one"):
        OpenAIDialect(api_key=KEY, model=MODEL, call_id="rtc_1")


def test_a_session_connects_to_its_model_verbatim_even_if_it_is_no_realtime_model():
    for model in (MODEL, "gpt-5", "my-deployment"):
        endpoint = dialect(model=model).endpoint
        assert endpoint.url == f"wss://api.openai.com/v1/realtime?model={model}"


def test_an_attachment_connects_to_the_call_and_names_no_model():
    endpoint = dialect(call_id="rtc_1", config=RealtimeConfig(model=MODEL)).endpoint
    assert endpoint.url == "wss://api.openai.com/v1/realtime?call_id=rtc_1"


@pytest.mark.parametrize(
    ("given", "escaped"),
    [("a b&c=d", "a%20b%26c%3Dd"), ("x/y?z#w", "x%2Fy%3Fz%23w"), ("né", "n%C3%A9")],
)
def test_model_and_call_are_escaped(given, escaped):
    assert dialect(model=given).endpoint.url.endswith(f"?model={escaped}")
    assert dialect(call_id=given).endpoint.url.endswith(f"?call_id={escaped}")


def test_the_key_is_a_bearer_token_and_there_is_no_beta_header():
    endpoint = dialect().endpoint
    assert endpoint.headers == {"Authorization": f"Bearer {KEY}"}
    assert endpoint.subprotocols == ()


def test_azure_takes_its_own_address_and_header():
    endpoint = dialect(
        model="voice",
        base_url="wss://me.openai.azure.com/openai/v1/realtime?region=eu",
        key_header="api-key",
    ).endpoint
    assert endpoint.url == "wss://me.openai.azure.com/openai/v1/realtime?region=eu&model=voice"
    assert endpoint.headers == {"api-key": KEY}


def test_optional_headers_are_sent_when_given():
    endpoint = dialect(
        organization="org", project="proj", safety_identifier="user-1", headers={"X-Trace": "1"}
    ).endpoint
    assert endpoint.headers == {
        "X-Trace": "1",
        "Authorization": f"Bearer {KEY}",
        "OpenAI-Organization": "org",
        "OpenAI-Project": "proj",
        "OpenAI-Safety-Identifier": "user-1",
    }


def test_a_local_server_may_need_no_key():
    assert dialect(api_key="", base_url="ws://127.0.0.1:1/v1/realtime").endpoint.headers == {}


def test_secrets_are_in_no_repr():
    by = dialect(headers={"X-Secret": "hush"})
    shown = repr(by) + repr(by.endpoint) + repr(by.opening)
    assert KEY not in shown
    assert "hush" not in shown


# ---------------------------------------------------------------- what it can do


@pytest.mark.parametrize("model", [MODEL, "gpt-realtime", "my-deployment"])
def test_every_model_has_what_the_protocol_has(model):
    can = dialect(model=model).profile.capabilities
    assert set(can.input_kinds) == {RealtimeInputKind.TEXT, RealtimeInputKind.AUDIO}
    assert set(can.output_kinds) == {RealtimeOutputKind.TEXT, RealtimeOutputKind.AUDIO}
    assert set(can.turning_modes) == {MANAGED, EXPLICIT}
    assert can.interrupt_supported
    assert can.truncate_supported
    assert can.nudge_supported
    assert can.declared_turns
    assert can.transcript_supported
    assert can.tool_lifecycle_events_supported
    assert not can.video_supported


@pytest.mark.parametrize(
    ("encoding", "fmt"),
    [
        (None, RealtimeAudioFormat.pcm(24_000)),
        ("pcm16", RealtimeAudioFormat.pcm(24_000)),
        (
            "g711_ulaw",
            RealtimeAudioFormat(mime_type="audio/pcmu", sample_rate_hz=8_000, channels=1),
        ),
        (
            "g711_alaw",
            RealtimeAudioFormat(mime_type="audio/pcma", sample_rate_hz=8_000, channels=1),
        ),
    ],
)
def test_audio_formats_are_those_of_the_configuration(encoding, fmt):
    config = RealtimeConfig(input_audio_format=encoding)
    can = dialect(config=config).profile.capabilities
    assert can.audio_input_format == fmt
    assert can.audio_output_format == RealtimeAudioFormat.pcm(24_000)
    config = RealtimeConfig(output_audio_format=encoding)
    assert dialect(config=config).profile.capabilities.audio_output_format == fmt


def test_without_transcription_there_are_no_transcripts_of_the_user():
    config = RealtimeConfig(input_audio_transcription=NULL)
    assert not dialect(config=config).profile.capabilities.transcript_supported


@pytest.mark.parametrize(
    ("mode", "config", "responds", "interrupts"),
    [
        (MANAGED, RealtimeConfig(), True, True),
        (EXPLICIT, RealtimeConfig(), False, False),
        (MANAGED, RealtimeConfig(turn_detection=VadConfig(create_response=False)), False, True),
        (MANAGED, RealtimeConfig(interruption_detection="manual"), True, False),
        (
            MANAGED,
            RealtimeConfig(
                extra={"audio": {"input": {"turn_detection": {"create_response": False}}}}
            ),
            False,
            True,
        ),
    ],
)
def test_the_profile_says_who_responds_and_who_interrupts(mode, config, responds, interrupts):
    profile = dialect(mode, config).profile
    assert (profile.provider_responds, profile.provider_interrupts) == (responds, interrupts)


def test_the_profile_says_what_a_response_is_made_of_and_how_long_a_session_lasts():
    assert dialect().profile.modality is ResponseModality.AUDIO
    text = RealtimeConfig(modalities=["text"])
    assert dialect(config=text).profile.modality is ResponseModality.TEXT
    assert dialect().profile.session_cap == 3600
    assert dialect().profile.echoes_refs


@pytest.mark.parametrize("mode", [MANAGED, EXPLICIT])
def test_an_attachment_has_capabilities_in_the_requested_turning_mode(mode):
    by = dialect(mode, call_id="rtc_1")
    assert by.turning_mode is mode
    assert set(by.profile.capabilities.turning_modes) == {MANAGED, EXPLICIT}
    assert by.profile.capabilities.audio_output_format == RealtimeAudioFormat.pcm(24_000)


@pytest.mark.parametrize(
    ("model", "known"),
    [
        ("gpt-realtime-2", True),
        ("gpt-realtime-2.1", True),
        ("gpt-realtime-2.1-mini", True),
        ("gpt-realtime-3", True),
        ("gpt-realtime-2-2026-05-01", True),
        ("gpt-realtime", False),
        ("gpt-realtime-1.5", False),
        ("gpt-realtime-2025-08-28", False),
        ("gpt-realtime-mini", False),
        ("gpt-realtime-mini-2025-12-15", False),
        ("gpt-4o-realtime-preview-2024-12-17", False),
        ("gpt-4o-mini-realtime-preview", False),
        ("gpt-audio-1.5", False),
        ("my-deployment", None),
        ("gpt-realtime-next", None),
        ("gpt-live-1", None),
        ("", None),
    ],
)
def test_what_a_models_name_says_about_reasoning(model, known):
    assert reasons(model) is known


def test_of_an_unknown_model_nothing_is_assumed_and_nothing_forbidden():
    config = RealtimeConfig(parallel_tool_calls=True).with_reasoning("low")
    assert dialect(config=config, model="my-deployment").model == "my-deployment"


def test_functions_of_the_config_are_told_to_the_runtime_and_servers_are_not():
    server = McpTool(server_label="s", server_url="https://example.com")
    tools = [ToolDefinition("f", "does", {"type": "object"}), ToolDefinition("g"), server]
    assert dialect(config=RealtimeConfig(tools=tools)).functions == (
        ToolDef(name="f", description="does", input_schema={"type": "object"}),
        ToolDef(name="g", input_schema={}),
    )
    assert dialect().functions == ()


def test_functions_of_the_config_may_come_back_as_advertised_tools():
    by = dialect(config=RealtimeConfig(tools=[ToolDefinition("f"), ToolDefinition("g", "does")]))
    wire = by.projection(open_config(), by.functions)
    assert wire == by.projection(open_config(), ())
    assert [tool["name"] for tool in wire["tools"]] == ["f", "g"]


# ---------------------------------------------------------------- frames


def test_events_are_forwarded_one_by_one_in_order():
    texts = [str(number) for number in range(50)]
    kind = "response.output_text.delta"
    raw = [frame(kind, response_id="r", item_id="i", delta=text) for text in texts]
    by = dialect()
    assert [event.delta for one in raw for event in by.decode(one)] == texts


def test_the_dialect_holds_no_state_between_frames():
    by, frames = dialect(), generated_frames()
    forwards = [by.decode(raw) for raw in frames]
    assert [by.decode(raw) for raw in reversed(frames)] == forwards[::-1]


def test_what_does_not_fit_counts_as_absent_unless_it_must_be_there():
    found = lenient(Response, {"id": "r", "status": 3, "output": {}, "metadata": {"x": 1}, "y": 2})
    assert (found.id, found.status, found.output) == ("r", None, None)
    assert found.metadata is not None
    for odd in (None, 7, [], "r", {}, {"id": None}, {"id": 5}, {"id": True}):
        with pytest.raises(Malformed):
            lenient(Response, odd)
    assert lenient(ErrorBody, {"code": 5, "message": "m"}) == ErrorBody(message="m")
