"""Behaviours of the upstream system that the other tests of this room state only in part.

Numbers are those of `tests/COVERAGE.md`.
"""

from __future__ import annotations

import attrs
import pytest
from openai_dialect_kit import EXPLICIT, MODEL, dialect, frame, open_config, seeds_of, update_of

from meerkat_rt.model.conversation import (
    AssistantMessage,
    AssistantText,
    SystemMessage,
    SystemNoticeMessage,
    ToolDef,
    UserMessage,
)
from meerkat_rt.model.live_config import RealtimeConfig, TranscriptionConfig
from meerkat_rt.providers.openai.decoding import decode
from meerkat_rt.turn import ports

HISTORY = (
    SystemMessage("rule one"),
    UserMessage("hello"),
    SystemMessage(""),
    SystemNoticeMessage(kind="peer", body="the peer has answered"),
    AssistantMessage(blocks=[AssistantText("hi")]),
    SystemMessage("rule two"),
)


def told(config, by=None):
    """Role and text of every item that opening a session sends."""
    return [
        (item["role"], item["content"][0]["type"], item["content"][0]["text"])
        for item in seeds_of(by or dialect(), config)
    ]


# ---------------------------------------------------------------- system rows of a configuration


def test_003_system_rows_are_sent_in_their_order_and_notices_and_users_are_none():
    systems = [text for role, _, text in told(open_config(seed=HISTORY)) if role == "system"]
    assert systems == ["rule one", "", "rule two"]


def test_004_system_rows_have_no_keys_so_a_newer_one_replaces_none():
    rows = (SystemMessage("v1"), SystemMessage("v2"), SystemMessage("v1"))
    assert [text for _, _, text in told(open_config(seed=rows))] == ["v1", "v2", "v1"]
    assert [field.name for field in attrs.fields(SystemMessage)] == ["content"]


def test_005_without_system_rows_nothing_is_said_in_the_systems_name():
    config = open_config(seed=(UserMessage("hello"),))
    assert [role for role, _, _ in told(config)] == ["user"]
    assert "instructions" not in update_of(dialect(), config)
    assert "instructions" not in dialect().projection(config, ())


def test_006_a_windowed_history_is_sent_as_it_is_and_changes_nothing_else():
    whole, window = open_config(seed=HISTORY), open_config(seed=HISTORY[-2:])
    assert told(window) == told(whole)[-2:]
    assert update_of(dialect(), window) == update_of(dialect(), whole)
    assert dialect().projection(window, ()) == dialect().projection(whole, ())


def test_007_replacing_the_history_replaces_its_system_rows_with_it():
    old = open_config(seed=HISTORY)
    new = old.with_seed_messages([SystemMessage("only this"), UserMessage("hello")])
    assert told(new) == [("system", "input_text", "only this"), ("user", "input_text", "hello")]
    assert len(told(old)) == len(HISTORY)


# ---------------------------------------------------------------- policy


def test_035_by_default_the_model_speaks_in_our_voice_and_no_language_is_pinned():
    wire = update_of(dialect(), open_config())
    assert wire["audio"]["output"]["voice"] == "marin"
    assert wire["audio"]["input"]["transcription"]["model"] == "gpt-transcribe"
    assert "language" not in wire["audio"]["input"]["transcription"]
    assert "instructions" not in wire


@pytest.mark.parametrize("model", [MODEL, "gpt-realtime", "gpt-realtime-mini", "my-deployment"])
def test_036_the_transcription_model_is_the_configured_one_whatever_the_sessions_model(model):
    def transcription(config):
        wire = update_of(dialect(config=config, model=model), open_config(model=model))
        return wire["audio"]["input"]["transcription"]["model"]

    assert transcription(None) == "gpt-transcribe"
    chosen = TranscriptionConfig("gpt-4o-transcribe")
    assert transcription(RealtimeConfig(input_audio_transcription=chosen)) == "gpt-4o-transcribe"


def test_039_history_is_sent_as_items_of_the_right_kind_and_not_as_instructions():
    by = dialect(EXPLICIT, output_language="en")
    config = open_config(EXPLICIT, seed=HISTORY)
    instructions = update_of(by, config)["instructions"]
    assert "English" in instructions
    for text in ("rule one", "hello", "the peer has answered", "rule two"):
        assert text not in instructions
    assert told(config, by) == [
        ("system", "input_text", "rule one"),
        ("user", "input_text", "hello"),
        ("system", "input_text", ""),
        ("user", "input_text", "[peer]\nthe peer has answered"),
        ("assistant", "output_text", "hi"),
        ("system", "input_text", "rule two"),
    ]


# ---------------------------------------------------------------- refresh


def test_127_a_refresh_carries_the_language_pin_and_the_new_tools():
    by = dialect(output_language="en")
    wire = by.projection(open_config(visible_tools=[ToolDef(name="new")]), ())
    assert "English" in wire["instructions"]
    assert [tool["name"] for tool in wire["tools"]] == ["new"]


def test_131_a_rewritten_history_needs_no_reopening_as_a_refresh_says_nothing_of_history():
    by = dialect(config=RealtimeConfig(instruction="be brief"))
    before = by.projection(open_config(seed=HISTORY), ())
    for seed in ((), HISTORY[:1], (*HISTORY, SystemMessage("rule three"))):
        assert by.projection(open_config(seed=seed), ()) == before


# ---------------------------------------------------------------- frames


def test_113_the_beta_protocols_cancelled_event_is_passed_on_and_cancels_nothing():
    raw = frame("response.cancelled", response_id="r", response={"id": "r"})
    assert decode(raw) == (ports.UnknownFrame(type="response.cancelled", raw=raw),)
    (ended,) = decode(frame("response.done", response={"id": "r", "status": "cancelled"}))
    assert ended == ports.ResponseEnded(response_id="r", status=ports.ResponseStatus.CANCELLED)


@pytest.mark.parametrize("missing", ["response_id", "item_id", "event_id"])
def test_172_a_delta_without_its_identity_is_a_typed_fault(missing):
    wire = {"response_id": "r", "item_id": "i", "content_index": 0, "delta": "x"}
    for kind in ("output_text", "output_audio_transcript"):
        (fault,) = decode(frame(f"response.{kind}.delta", **{**wire, missing: None}))
        assert isinstance(fault, ports.ProtocolFault)
        assert missing in fault.message
