"""History as contents, and the handshake that carries it."""

from __future__ import annotations

import json

import pytest
from gemini_dialect_kit import CASCADE, FLASH_3_1, MODEL, dialect, open_config
from support.gemini_oracle import check

from meerkat_rt import (
    AssistantMessage,
    AssistantText,
    AssistantTranscript,
    PendingSystemContextAppend,
    RealtimeConfig,
    SystemMessage,
    SystemNoticeMessage,
    ToolResult,
    ToolResultsMessage,
    UserMessage,
)
from meerkat_rt.model.conversation import (
    AssistantReasoning,
    AssistantToolUse,
    BlobRef,
    ImageContent,
    InlineData,
    TextContent,
)
from meerkat_rt.model.errors import InvalidApiKey, InvalidConfig
from meerkat_rt.model.events import ProviderFault
from meerkat_rt.turn import ports


def sent(*messages, model=MODEL, config=None, **rest):
    """The setup, and the messages that follow its acknowledgement."""
    by = dialect(model=model, config=config)
    opening = by.opening(open_config(model=model, seed_messages=messages, **rest), ())
    (first,) = opening.begin()
    assert not opening.ready
    frames, ours = opening.observe(ports.SessionCreated())
    assert ours
    assert opening.ready
    parsed = [json.loads(raw) for raw in (first, *frames)]
    for message in parsed:
        check(message, "client")
    return parsed[0]["setup"], [message["clientContent"] for message in parsed[1:]]


def turns(*messages):
    _, contents = sent(*messages)
    return [turn for content in contents for turn in content["turns"]]


def text(role, *texts):
    return {"role": role, "parts": [{"text": each} for each in texts]}


def test_a_conversation_keeps_its_order_and_its_roles():
    assert turns(
        UserMessage("One"),
        AssistantMessage(blocks=(AssistantTranscript(text="Two"),)),
        UserMessage("Three"),
        AssistantMessage(blocks=(AssistantReasoning("hm"), AssistantText("Four"))),
    ) == [text("user", "One"), text("model", "Two"), text("user", "Three"), text("model", "Four")]


def test_what_opens_the_history_as_system_is_the_instruction():
    setup, contents = sent(SystemMessage("A"), SystemMessage("B"), UserMessage("C"))
    assert setup["systemInstruction"] == {"parts": [{"text": "A"}, {"text": "B"}]}
    assert contents[0]["turns"] == [text("user", "C")]


def test_a_later_system_message_and_a_notice_are_the_users_and_marked():
    assert turns(
        UserMessage("A"), SystemMessage("B"), SystemNoticeMessage(kind="peer", body="C")
    ) == [text("user", "A", "[system]\nB", "[peer]\nC")]


def test_runtime_context_joins_the_instruction():
    context = (PendingSystemContextAppend(text="It rains", source="sky", accepted_at=1.0),)
    setup, contents = sent(
        config=RealtimeConfig(instruction="Be brief"), runtime_system_context=context
    )
    assert [part["text"] for part in setup["systemInstruction"]["parts"]] == [
        "Be brief",
        "[Runtime System Context]\nsource: sky\n\nIt rains",
    ]
    assert contents == []


def test_two_instructions_that_disagree_are_refused():
    config = RealtimeConfig(instruction="Be brief")
    with pytest.raises(InvalidConfig, match="Be brief"):
        sent(SystemMessage("Be long"), config=config)
    setup, _ = sent(SystemMessage("Be brief"), config=config)
    assert setup["systemInstruction"] == {"parts": [{"text": "Be brief"}]}


def use(call_id, **args):
    return AssistantToolUse(id=call_id, name="f", args=args)


def result(call_id, content):
    return ToolResult(tool_use_id=call_id, content=content)


def test_calls_and_their_results_are_told_together():
    assert turns(
        UserMessage("Go"),
        AssistantMessage(blocks=(AssistantText("Ok"), use("a", x=1), use("b"))),
        ToolResultsMessage((result("b", "two"), result("a", "one"))),
    ) == [
        text("user", "Go"),
        text("model", "Ok"),
        text("user", '[tool f({"x":1})]\none', "[tool f({})]\ntwo"),
    ]


def test_calls_without_results_and_results_without_calls():
    assert turns(
        ToolResultsMessage((result("z", "lone"),)),
        AssistantMessage(blocks=(use("a"), use("a"))),
        ToolResultsMessage((result("a", "first"),)),
    ) == [
        text(
            "user",
            "[result of an earlier tool call]\nlone",
            "[tool f({})]\nfirst",
            "[tool f({})]\n(never answered)",
        )
    ]


def test_pictures_go_with_their_bytes_or_not_at_all():
    picture = ImageContent("image/png", InlineData(b"\x89PNG"))
    (turn,) = turns(UserMessage([TextContent("Look"), picture]))
    assert turn["parts"][1]["inlineData"]["mimeType"] == "image/png"
    with pytest.raises(InvalidConfig, match="blob_7"):
        sent(UserMessage([ImageContent("image/png", BlobRef("blob_7"))]))


@pytest.mark.parametrize(
    ("model", "announced"), [(MODEL, True), (FLASH_3_1, True), (CASCADE, False), ("new", False)]
)
def test_history_triggers_no_answer_on_any_generation(model, announced):
    setup, contents = sent(UserMessage("A"), model=model)
    assert ("historyConfig" in setup) is announced
    assert contents[-1]["turnComplete"] is announced


def test_a_long_history_goes_in_several_messages_of_which_the_last_ends_it():
    messages = [
        message
        for number in range(12)
        for message in (
            UserMessage(f"{number}" + "x" * 100_000),
            AssistantMessage(blocks=(AssistantText("y"),)),
        )
    ]
    _, contents = sent(*messages)
    assert len(contents) > 1
    assert [content["turnComplete"] for content in contents] == [
        *[False] * (len(contents) - 1),
        True,
    ]
    assert sum(len(content["turns"]) for content in contents) == 24
    assert all(len(json.dumps(content)) < 700_000 for content in contents)


def test_blank_messages_leave_nothing():
    setup, contents = sent(UserMessage("  "), AssistantMessage(blocks=()))
    assert contents == []
    assert "historyConfig" not in setup


def test_nothing_is_sent_before_the_acknowledgement_and_refusals_are_typed():
    opening = dialect().opening(open_config(seed_messages=(UserMessage("A"),)), ())
    assert opening.phase == "setup complete"
    assert opening.deadline == 10.0
    assert opening.observe(ports.GoingAway()) == ((), False)
    fault = ProviderFault(code="400", kind="INVALID_ARGUMENT", message="bad field")
    with pytest.raises(InvalidConfig, match="bad field"):
        opening.observe(ports.ProviderError(fault=fault))
    fault = ProviderFault(message="API key not valid. Please pass a valid API key.")
    with pytest.raises(InvalidApiKey):
        opening.observe(ports.ProviderError(fault=fault))
    opening.observe(ports.SessionCreated())
    assert opening.observe(ports.SessionCreated()) == ((), True)
    assert opening.observe(ports.ProviderError(fault=fault)) == ((), False)
