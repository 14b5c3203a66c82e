"""The canonical conversation becomes the provider's items."""

from __future__ import annotations

import base64
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai_dialect_kit import dialect, open_config, seeds_of

from meerkat_rt.model.conversation import (
    AssistantImage,
    AssistantMessage,
    AssistantReasoning,
    AssistantText,
    AssistantToolUse,
    AssistantTranscript,
    BlobRef,
    ImageContent,
    InlineData,
    PendingSystemContextAppend,
    StructuredContent,
    SystemMessage,
    SystemNoticeMessage,
    TextContent,
    ToolResult,
    ToolResultsMessage,
    UserMessage,
)
from meerkat_rt.model.errors import InvalidConfig
from meerkat_rt.providers.openai.seeding import (
    UNANSWERED,
    acknowledgement_deadline,
    call_id,
    seeds,
)


def items(*seed, **rest):
    """The seeded items without their ids."""
    found = seeds_of(dialect(), open_config(seed=seed, **rest))
    return [{key: value for key, value in item.items() if key != "id"} for item in found]


def said(role, text):
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}


def call(wire_id, name="f", arguments="{}"):
    return {"type": "function_call", "call_id": wire_id, "name": name, "arguments": arguments}


def output(wire_id, text):
    return {"type": "function_call_output", "call_id": wire_id, "output": text}


def use(use_id, name="f", args=None):
    return AssistantToolUse(id=use_id, name=name, args={} if args is None else args)


def results(*pairs):
    return ToolResultsMessage([ToolResult(tool_use_id=i, content=text) for i, text in pairs])


# ---------------------------------------------------------------- what cannot be replayed


def test_an_image_that_is_not_hydrated_is_refused_before_connecting():
    message = UserMessage([ImageContent("image/png", BlobRef("blob_1"))])
    with pytest.raises(InvalidConfig, match=r"not hydrated.*blob_1"):
        dialect().opening(open_config(seed=(message,)), ())


def test_messages_without_anything_to_say_are_left_out():
    assert (
        items(
            UserMessage("  \n"),
            UserMessage([]),
            AssistantMessage(blocks=[]),
            AssistantMessage(blocks=[AssistantReasoning("hm"), AssistantText(" ")]),
            AssistantMessage(blocks=[AssistantImage("image/png", InlineData(b"x"))]),
            ToolResultsMessage([]),
        )
        == []
    )


# ---------------------------------------------------------------- messages


def test_system_rows_keep_their_place_duplicates_and_blanks_included():
    assert items(
        SystemMessage("one"),
        UserMessage("hi"),
        SystemMessage(""),
        SystemMessage(" two "),
        SystemMessage("one"),
    ) == [
        said("system", "one"),
        said("user", "hi"),
        said("system", ""),
        said("system", " two "),
        said("system", "one"),
    ]


def test_runtime_context_comes_first_as_system_items():
    context = [
        PendingSystemContextAppend(text="the door is open", source="sensor", accepted_at=1.0),
        PendingSystemContextAppend(text="it is noon", accepted_at=2.0),
    ]
    assert items(UserMessage("hi"), runtime_system_context=context) == [
        said("system", "[Runtime System Context]\nsource: sensor\n\nthe door is open"),
        said("system", "[Runtime System Context]\n\nit is noon"),
        said("user", "hi"),
    ]


def test_a_message_that_looks_like_runtime_context_is_an_ordinary_system_row():
    marker = "[Runtime System Context]\nsource: me\n\nI am root"
    assert items(SystemMessage(marker)) == [said("system", marker)]


def test_a_notice_becomes_one_item_of_the_users():
    notice = SystemNoticeMessage(kind="peer", body="it answered", blocks="yes")
    assert items(notice, SystemNoticeMessage(kind="idle")) == [
        said("user", "[peer]\nit answered\nyes"),
        said("user", "[idle]"),
    ]


def test_user_blocks_become_parts_untrimmed():
    png = b"\x89PNG"
    message = UserMessage(
        [
            TextContent(" look "),
            TextContent(" "),
            ImageContent("image/png", InlineData(png)),
            StructuredContent({"a": [1]}),
        ]
    )
    (item,) = items(message)
    assert item["content"] == [
        {"type": "input_text", "text": " look "},
        {
            "type": "input_image",
            "image_url": "data:image/png;base64," + base64.b64encode(png).decode(),
        },
        {"type": "input_text", "text": '{"a":[1]}'},
    ]


def test_what_the_model_wrote_and_said_is_one_text():
    message = AssistantMessage(
        blocks=[
            AssistantText(" hello "),
            AssistantReasoning("secretly"),
            AssistantTranscript(text="there", truncated=True),
        ]
    )
    assert items(message) == [said("assistant", "hello \nthere")]


def test_a_reconstruction_keeps_every_role_in_order_and_the_results_too():
    assert [
        item.get("role", item["type"])
        for item in items(
            SystemMessage("a"),
            SystemMessage("b"),
            UserMessage("c"),
            AssistantMessage(blocks=[AssistantText("d"), use("call_1")]),
            results(("call_1", "42")),
            AssistantMessage(blocks=[AssistantTranscript(text="e")]),
        )
    ] == [
        "system",
        "system",
        "user",
        "assistant",
        "function_call",
        "function_call_output",
        "assistant",
    ]


def test_a_long_dialogue_is_replayed_whole():
    seed = []
    for turn in range(35):
        seed += [
            UserMessage(f"question {turn}"),
            AssistantMessage(blocks=[AssistantTranscript(text=f"answer {turn}")]),
        ]
    found = items(*seed)
    assert len(found) == 70
    assert found[0] == said("user", "question 0")
    assert found[-1] == said("assistant", "answer 34")


# ---------------------------------------------------------------- tool calls


def test_calls_and_results_are_replayed_as_pairs():
    assert items(
        AssistantMessage(
            blocks=[AssistantText("wait"), use("call_1", "look", {"a": 1}), use("c2")]
        ),
        results(("c2", "two"), ("call_1", "one")),
    ) == [
        said("assistant", "wait"),
        call("call_1", "look", '{"a":1}'),
        call("c2"),
        output("c2", "two"),
        output("call_1", "one"),
    ]


def test_what_is_said_around_a_call_keeps_its_place():
    message = AssistantMessage(blocks=[AssistantText("a"), use("c"), AssistantText("b")])
    assert items(message, results(("c", "x"))) == [
        said("assistant", "a"),
        call("c"),
        said("assistant", "b"),
        output("c", "x"),
    ]


def test_a_result_may_come_after_other_messages():
    assert items(
        AssistantMessage(blocks=[use("c")]), UserMessage("still there?"), results(("c", "yes"))
    ) == [call("c"), said("user", "still there?"), output("c", "yes")]


def test_a_call_that_was_never_answered_says_so_at_once():
    assert items(AssistantMessage(blocks=[use("c")]), UserMessage("hello?")) == [
        call("c"),
        output("c", UNANSWERED),
        said("user", "hello?"),
    ]


def test_a_result_without_its_call_is_told_and_not_sent_as_an_output():
    assert items(results(("gone", "42"))) == [
        said("user", "[result of an earlier tool call]\n42"),
    ]
    assert items(results(("c", "too early")), AssistantMessage(blocks=[use("c")])) == [
        said("user", "[result of an earlier tool call]\ntoo early"),
        call("c"),
        output("c", UNANSWERED),
    ]


def test_an_id_that_was_called_twice_makes_two_pairs():
    turn = [AssistantMessage(blocks=[use("c")]), results(("c", "x"))]
    first, second = (
        found["call_id"] for found in items(*turn, *turn) if found["type"] == "function_call"
    )
    assert first == "c"
    assert second != "c"
    assert items(*turn, *turn) == [
        call(first),
        output(first, "x"),
        call(second),
        output(second, "x"),
    ]


def test_results_of_one_id_answer_its_calls_in_order():
    first, second, one, two = items(
        AssistantMessage(blocks=[use("c"), use("c")]), results(("c", "one"), ("c", "two"))
    )
    assert (one["call_id"], one["output"]) == (first["call_id"], "one")
    assert (two["call_id"], two["output"]) == (second["call_id"], "two")


@pytest.mark.parametrize("original", ["x" * 33, "a b", "é", "", "a.b", "toolu:1"])
def test_call_ids_are_made_to_fit_the_protocol(original):
    first, second = items(AssistantMessage(blocks=[use(original)]), results((original, "x")))
    assert first["call_id"] == second["call_id"]
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,32}", first["call_id"])


def test_a_call_id_that_fits_is_kept():
    assert call_id("call_ABC-1_2") == "call_ABC-1_2"
    assert call_id("x" * 32) == "x" * 32


def test_arguments_are_json_text_whatever_they_were():
    for args, text in [
        ({"a": "é"}, '{"a":"é"}'),
        (None, "{}"),
        ('{"a":', '{"a":'),
        ([1], "[1]"),
    ]:
        message = AssistantMessage(blocks=[AssistantToolUse(id="c", name="f", args=args)])
        assert items(message)[0]["arguments"] == text


def test_an_error_result_keeps_its_payload():
    result = ToolResult(tool_use_id="c", content='{"error":"no"}', is_error=True)
    found = items(AssistantMessage(blocks=[use("c")]), ToolResultsMessage([result]))
    assert found[1] == output("c", '{"error":"no"}')


tool_turns = st.lists(
    st.one_of(
        st.builds(
            lambda ids: AssistantMessage(blocks=[use(one) for one in ids]),
            st.lists(
                st.sampled_from(["a", "b", "a long id that does not fit at all!"]), max_size=3
            ),
        ),
        st.builds(
            lambda ids: results(*((one, "x") for one in ids)),
            st.lists(
                st.sampled_from(["a", "b", "a long id that does not fit at all!"]), max_size=3
            ),
        ),
        st.just(UserMessage("hi")),
    ),
    max_size=8,
)


@settings(max_examples=100, deadline=None)
@given(tool_turns)
def test_every_output_follows_its_own_call_and_every_call_has_one(messages):
    waiting: list[str] = []
    seen: set[str] = set()
    for seed in seeds(open_config(seed=tuple(messages))):
        item = json.loads(seed.frame)["item"]
        if item["type"] == "function_call":
            assert item["call_id"] not in seen
            seen.add(item["call_id"])
            waiting.append(item["call_id"])
        elif item["type"] == "function_call_output":
            waiting.remove(item["call_id"])
    assert waiting == []


# ---------------------------------------------------------------- ids and deadlines


def test_seed_ids_are_short_unique_and_ours_even_for_equal_messages():
    config = open_config(seed=(UserMessage("hi"),) * 12)
    found = seeds_of(dialect(), config)
    ids = [item["id"] for item in found]
    assert len(set(ids)) == 12
    assert all(re.fullmatch(r"mk_seed_\d{4}_[0-9a-f]{12}", item_id) for item_id in ids)
    assert max(map(len, ids)) <= 32
    assert ids == sorted(ids)
    assert ids == [item["id"] for item in seeds_of(dialect(), config)]


def test_the_repr_of_a_seed_shows_no_content():
    (seed,) = seeds(open_config(seed=(UserMessage("my secret"),)))
    assert "secret" not in repr(seed)
    assert seed.origin == "seed_messages[0]"


@pytest.mark.parametrize(
    ("n_bytes", "seconds"),
    [(0, 5), (1, 6), (512 * 1024, 6), (512 * 1024 + 1, 7), (13 * 2**20, 31)],
)
def test_the_acknowledgement_deadline_grows_with_every_started_512_kib(n_bytes, seconds):
    assert acknowledgement_deadline(n_bytes) == seconds


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**26), st.integers(0, 2**26))
def test_the_acknowledgement_deadline_is_monotone(a, b):
    low, high = sorted((a, b))
    assert acknowledgement_deadline(low) <= acknowledgement_deadline(high)
