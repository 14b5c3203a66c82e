"""Media, conversation and open config: validation, projections and small arithmetic."""

from __future__ import annotations

import math
import re

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from support.strategies import of_type, values

from meerkat_rt.model.conversation import (
    AssistantMessage,
    AssistantReasoning,
    AssistantText,
    AssistantTranscript,
    BlobRef,
    ImageContent,
    InlineData,
    Message,
    PendingSystemContextAppend,
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
from meerkat_rt.model.errors import InvalidConfig, InvalidInputShape, InvalidRequest
from meerkat_rt.model.media import (
    RealtimeAudioChunk,
    RealtimeAudioFormat,
    RealtimeCapabilities,
    RealtimeTurningMode,
)
from meerkat_rt.model.open_config import RealtimeExternalSessionTarget, RealtimeSessionOpenConfig

IDENTITY = SessionLlmIdentity(model="gpt-realtime")


# ---------------------------------------------------------------- media


@pytest.mark.parametrize(("rate", "channels"), [(0, 1), (-1, 1), (24_000, 0), (24_000, -2)])
def test_a_format_has_a_rate_and_channels(rate, channels):
    for build in (
        lambda: RealtimeAudioFormat(mime_type="m", sample_rate_hz=rate, channels=channels),
        lambda: RealtimeAudioChunk(mime_type="m", sample_rate_hz=rate, channels=channels, data=b""),
    ):
        with pytest.raises((InvalidConfig, InvalidInputShape), match="a whole number, 1 or more"):
            build()


@pytest.mark.parametrize("rate", ["24000", 0.5, math.nan, True, None])
def test_a_rate_is_a_whole_number(rate):
    words = re.escape(f"sample_rate_hz is {rate!r}; allowed: a whole number, 1 or more")
    with pytest.raises(InvalidConfig, match=words):
        RealtimeAudioFormat.pcm(rate)
    with pytest.raises(InvalidInputShape, match=words):
        RealtimeAudioChunk(mime_type="audio/pcm", sample_rate_hz=rate, channels=1, data=b"")
    assert RealtimeAudioFormat.pcm(np.int64(24_000)) == RealtimeAudioFormat.pcm(24e3)


def test_the_audio_of_a_chunk_is_bytes():
    for data in (b"ab", bytearray(b"ab"), memoryview(b"ab")):
        RealtimeAudioChunk(mime_type="audio/pcm", sample_rate_hz=8000, channels=1, data=data)
    with pytest.raises(InvalidInputShape, match=r"RealtimeAudioChunk\.data is str; allowed: bytes"):
        RealtimeAudioChunk(mime_type="audio/pcm", sample_rate_hz=8000, channels=1, data="ab")


def test_a_chunk_carries_its_format():
    fmt = RealtimeAudioFormat.pcm(16_000, 2)
    chunk = RealtimeAudioChunk.of(b"\x00" * 8, fmt)
    assert chunk.format() == fmt
    assert hash(chunk.format()) == hash(fmt)
    assert "<8 bytes>" in repr(chunk)
    assert str(fmt) == "audio/pcm 16000 Hz, 2 channel(s)"


@pytest.mark.parametrize(
    ("mime_type", "rate", "channels", "n_bytes", "ms"),
    [
        ("audio/pcm", 24_000, 1, 960, 20),
        ("audio/pcm", 16_000, 1, 1280, 40),
        ("audio/pcm", 24_000, 2, 960, 10),
        ("audio/pcmu", 8_000, 1, 160, 20),
        ("audio/pcma", 8_000, 1, 1, 0.125),
        ("audio/unheard-of", 24_000, 1, 960, 20),
        ("audio/pcm", 24_000, 1, 0, 0),
    ],
)
def test_how_long_bytes_last(mime_type, rate, channels, n_bytes, ms):
    fmt = RealtimeAudioFormat(mime_type=mime_type, sample_rate_hz=rate, channels=channels)
    assert fmt.duration_ms(n_bytes) == ms


def test_capabilities_claim_nothing_that_is_not_said():
    claims = attrs.asdict(RealtimeCapabilities())
    assert all(not claim for claim in claims.values())


# ---------------------------------------------------------------- tools and usage


@pytest.mark.parametrize("field", [f.name for f in attrs.fields(Usage)])
def test_token_counts_are_not_negative(field):
    with pytest.raises(ValueError, match=">= 0"):
        Usage(**{field: -1})


def test_usage_adds_up():
    one = Usage(input_tokens=5, output_tokens=2, cache_read_tokens=3)
    two = Usage(input_tokens=1, output_tokens=1, cache_creation_tokens=4)
    assert one + two == Usage(
        input_tokens=6, output_tokens=3, cache_read_tokens=3, cache_creation_tokens=4
    )
    assert (one + two).total_tokens == 9
    assert (Usage() + Usage()).cache_read_tokens is None
    assert (one + one).cache_read_tokens == 6


@settings(max_examples=50, deadline=None)
@given(values(Usage), values(Usage), values(Usage))
def test_usage_adds_in_any_order(a, b, c):
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)
    assert a + Usage() == a


def test_a_tool_has_a_name():
    with pytest.raises(InvalidConfig, match=r"ToolDef\.name is ''; allowed: a string"):
        ToolDef(name="")
    for wrong in (" ", None, 5):
        with pytest.raises(InvalidConfig, match=r"ToolDef\.name"):
            ToolDef(name=wrong)
    with pytest.raises(InvalidConfig, match=r"ToolDef\.input_schema is \[1\]; allowed: an object"):
        ToolDef(name="t", input_schema=[1])
    with pytest.raises(InvalidConfig, match=r"ToolDef\.description is 5; allowed: a string"):
        ToolDef(name="t", description=5)
    assert ToolDef(name="t").input_schema == {"type": "object", "properties": {}}
    assert ToolDef(name="t").input_schema is not ToolDef(name="t").input_schema


def test_the_text_of_a_tool_result_skips_what_has_none():
    result = ToolResult(
        tool_use_id="c",
        content=(
            TextContent("a"),
            TextContent(""),
            ImageContent("image/png", BlobRef("b")),
            VideoContent(media_type="video/mp4", duration_ms=1, source=UriRef("u")),
            StructuredContent({"é": [1, 2]}),
        ),
    )
    assert result.text_content() == 'a\n[image: image/png]\n[video: video/mp4]\n{"é":[1,2]}'
    assert ToolResult(tool_use_id="c", content="42").content == (TextContent("42"),)
    assert ToolResult(tool_use_id="c", content=()).text_content() == ""


def test_a_film_does_not_last_less_than_nothing():
    with pytest.raises(ValueError, match=">= 0"):
        VideoContent(media_type="video/mp4", duration_ms=-1, source=UriRef("u"))


# ---------------------------------------------------------------- messages


def test_the_text_of_messages():
    assert UserMessage("hi").text_content() == "hi"
    assert SystemNoticeMessage(kind="k").text_content() == ""
    notice = SystemNoticeMessage(kind="k", body="b", blocks=[TextContent("t")])
    assert notice.text_content() == "b\nt"
    said = AssistantMessage(
        blocks=(
            AssistantReasoning("hm"),
            AssistantTranscript(text="Hello"),
            AssistantText(""),
            AssistantText("there"),
        )
    )
    assert said.text_content() == "Hello\nthere"
    assert said.stop_reason is StopReason.END_TURN


@settings(max_examples=60, deadline=None)
@given(of_type(Message))
def test_messages_are_values(message):
    assert attrs.evolve(message) == message
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(message, attrs.fields(type(message))[0].name, None)


def test_lists_become_tuples():
    assert ToolResultsMessage([ToolResult(tool_use_id="c", content=[])]).results[0].content == ()
    assert AssistantMessage(blocks=[AssistantText("a")]).blocks == (AssistantText("a"),)


def test_inline_media_does_not_show_its_bytes():
    assert repr(InlineData(b"secret")) == "InlineData(data=<6 bytes>)"


def test_an_identity_names_a_model():
    with pytest.raises(InvalidConfig, match=r"SessionLlmIdentity\.model is ''; allowed: a string"):
        SessionLlmIdentity(model="")
    with pytest.raises(InvalidConfig, match=r"SessionLlmIdentity\.model is 5; allowed: a string"):
        SessionLlmIdentity(model=5)
    assert IDENTITY.provider is Provider.OPENAI


def test_an_identity_takes_its_provider_as_a_string_too():
    assert SessionLlmIdentity(model="m", provider="gemini").provider is Provider.GEMINI
    assert SessionLlmIdentity(model="m", provider="open_a_i").provider is Provider.OPENAI
    for wrong in ("google", None, 5, ["openai"]):
        with pytest.raises(
            InvalidConfig, match=r"\.provider is .*; allowed: anthropic, openai, ge"
        ):
            SessionLlmIdentity(model="m", provider=wrong)
    assert Provider("open_a_i") is Provider.OPENAI
    with pytest.raises(ValueError, match="closed_a_i"):
        Provider("closed_a_i")


# ---------------------------------------------------------------- open config


@pytest.mark.parametrize("blank", ["", " ", "\t\n", "\u3000", None, 5])
def test_a_blank_external_session_id_is_refused(blank):
    with pytest.raises(InvalidRequest, match="provider realtime session id must not be empty"):
        RealtimeExternalSessionTarget(blank)


def test_an_external_session_id_is_kept_as_it_is():
    assert RealtimeExternalSessionTarget(" rtc_1 ").provider_session_id == " rtc_1 "


@pytest.mark.parametrize("ms", [0, -1, 0.75, "500", math.nan, True])
def test_a_nudge_timeout_is_some_time(ms):
    config = RealtimeSessionOpenConfig("provider_managed", IDENTITY)
    with pytest.raises(InvalidConfig, match=r"response_nudge_timeout_ms is .*1 or more"):
        config.with_response_nudge_timeout_ms(ms)


@pytest.mark.parametrize("attempts", [-1, 256, math.inf, 1.5, "3", False])
def test_nudge_attempts_are_a_small_number(attempts):
    config = RealtimeSessionOpenConfig("provider_managed", IDENTITY)
    with pytest.raises(InvalidConfig, match=r"response_nudge_max_attempts is .*0 to 255"):
        config.with_response_nudge_max_attempts(attempts)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("seed_messages", ["remember"], "seed_messages[0] is 'remember'; allowed: messages such"),
        ("seed_messages", "hello", "seed_messages is 'hello'; allowed: a list, of messages"),
        ("seed_messages", None, "seed_messages is None; allowed: a list"),
        ("seed_messages", [UserMessage("a"), {"role": "user"}], "seed_messages[1] is {'role'"),
        ("visible_tools", [print], "functions go into open_session(..., tools=[...])"),
        ("visible_tools", ToolDef(name="t"), "visible_tools is ToolDef("),
        ("runtime_system_context", ["x"], "runtime_system_context[0] is 'x'; allowed: Pending"),
        ("llm_identity", None, "llm_identity is None; allowed: SessionLlmIdentity(model=...)"),
    ],
)
def test_what_is_not_of_an_open_config_is_refused_by_its_field(field, value, words):
    given = {"turning_mode": "provider_managed", "llm_identity": IDENTITY, field: value}
    with pytest.raises(InvalidConfig, match=re.escape(words)):
        RealtimeSessionOpenConfig(**given)


def test_an_open_config_takes_any_iterable_of_the_right_things():
    config = RealtimeSessionOpenConfig(
        "provider_managed", IDENTITY, (ToolDef(name=name) for name in "ab"), [SystemMessage("x")]
    )
    assert [tool.name for tool in config.visible_tools] == ["a", "b"]
    assert config.seed_messages == (SystemMessage("x"),)


def test_type_checkers_are_told_what_an_open_config_is_made_of():
    # A converter's argument is what they see as that of `__init__`.
    hints = RealtimeSessionOpenConfig.__init__.__annotations__
    assert hints["visible_tools"] == "Iterable[ToolDef]"
    assert hints["seed_messages"] == "Iterable[Message]"
    assert hints["runtime_system_context"] == "Iterable[PendingSystemContextAppend]"
    assert SessionLlmIdentity.__init__.__annotations__["provider"] == "str"


def test_an_open_config_is_built_and_changed_in_copies():
    tool, message = ToolDef(name="t"), SystemMessage("be brief")
    fact = PendingSystemContextAppend(text="it rains", accepted_at=1.5)
    config = RealtimeSessionOpenConfig(
        RealtimeTurningMode.EXPLICIT_COMMIT, IDENTITY, [tool], [message]
    )
    assert (config.visible_tools, config.seed_messages) == ((tool,), (message,))
    assert config.runtime_system_context == ()
    assert config.response_nudge_timeout_ms is None
    assert config.response_nudge_max_attempts is None
    built = (
        config.with_runtime_system_context([fact])
        .with_response_nudge_timeout_ms(500)
        .with_response_nudge_max_attempts(2)
        .with_seed_messages([])
        .with_visible_tools([])
    )
    assert built == RealtimeSessionOpenConfig(
        "explicit_commit",
        IDENTITY,
        runtime_system_context=[fact],
        response_nudge_timeout_ms=500,
        response_nudge_max_attempts=2,
    )
    assert built.with_response_nudge_timeout_ms(None).response_nudge_timeout_ms is None
    assert config.visible_tools == (tool,)


def test_a_turning_mode_is_one_of_two():
    with pytest.raises(InvalidConfig, match="whenever"):
        RealtimeSessionOpenConfig("whenever", IDENTITY)
