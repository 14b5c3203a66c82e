"""Nothing that anybody said is in a redacted file, and the machine still decides the same."""

from __future__ import annotations

import base64
import contextlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from recordkit import RecordedHand
from turnkit import EXPLICIT, fx, p, tool

from meerkat_rt.model import events as ev
from meerkat_rt.model.conversation import TextContent, ToolResult
from meerkat_rt.model.errors import InvalidJson, InvalidRequest
from meerkat_rt.recording import Verdict
from meerkat_rt.recording.file import read
from meerkat_rt.recording.form import Verbatim, plain, value_of
from meerkat_rt.recording.redaction import (
    Redaction,
    Texts,
    arguments_shape,
    json_shape,
    shape,
)
from meerkat_rt.turn.playback import heard_text

BUDGET = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)

odd = st.sampled_from(list('ab "\\\n\t\r\x00\x08\x1c\x7fé世　あ🦦,:{}[]1'))
texts = st.lists(odd, max_size=14).map("".join) | st.text(max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


# ---------------------------------------------------------------- shapes


@given(texts, texts, st.integers(0, 20))
@BUDGET
def test_the_shape_of_what_is_cut_joined_or_quoted_is_cut_joined_or_quoted_shape(
    one: str, other: str, at: int
) -> None:
    assert len(shape(one)) == len(one)
    assert shape(shape(one)) == shape(one)
    assert shape(one + other) == shape(one) + shape(other)
    assert shape(one[:at]) == shape(one)[:at]
    assert shape(one.strip()) == shape(one).strip()
    quoted = json.dumps({"error": one}, ensure_ascii=False)
    assert shape(quoted) == shape(json.dumps({"error": shape(one)}, ensure_ascii=False))


@given(texts, st.integers(0, 100))
@BUDGET
def test_a_cut_at_what_was_heard_falls_at_the_same_place(text: str, heard: int) -> None:
    assert shape(heard_text(text, heard, 100)) == heard_text(shape(text), heard, 100)


@given(json_values)
@BUDGET
def test_json_keeps_its_shape_and_nothing_else(value: Any) -> None:
    made = json_shape(value)
    assert json_shape(made) == made
    text = json.dumps(value)
    assert json.loads(arguments_shape(text) or "null") == (made if text.strip() else None)
    assert set(re.findall(r"[^\W\d_]", json.dumps(made))) <= set("xktruefalsn")


@given(texts)
@BUDGET
def test_arguments_that_are_no_json_stay_none(text: str) -> None:
    made = arguments_shape(text)
    assert arguments_shape(made) == made
    assert bool(made.strip()) == bool(text.strip())
    try:
        value = json.loads(text)
    except ValueError:
        if text.strip():
            with pytest.raises(ValueError, match="Expecting value"):
                json.loads(made)
    else:
        assert isinstance(json.loads(made), dict) == isinstance(value, dict)


def test_json_nested_too_deeply_is_cut_off() -> None:
    deep = json.loads("[" * 500 + "]" * 500)
    assert json.dumps(json_shape(deep)) == "[" * 16 + "null" + "]" * 16
    made = arguments_shape("[" * 100_000)
    assert made == "x" * 100_000


class Part:
    """Two accounts of one part, told side by side as the machine tells them."""

    def __init__(self, spoken: bool) -> None:
        self.texts, self.spoken = Texts(), spoken
        self.real = self.told = ""

    def delta(self, text: str) -> None:
        kind = p.TranscriptDelta if self.spoken else p.TextDelta
        self.texts.delta(kind("e", "R", "A", text))
        self.real += text
        self.told += shape(text)

    def done(self, text: str) -> None:
        kind = p.TranscriptDone if self.spoken else p.TextDone
        told = self.texts.done(kind(event_id="e", response_id="R", item_id="A", text=text))
        assert shape(told) == shape(text)
        for real, seen in ((text, self.real), (told, self.told)):
            begins = len(real) > len(seen) and real.startswith(seen)
            assert begins == (len(text) > len(self.real) and text.startswith(self.real))
        if text.startswith(self.real) or (self.spoken and text):
            self.real, self.told = text, told


@given(st.booleans(), st.lists(st.tuples(st.booleans(), texts), max_size=6))
@example(True, [(True, "the cat"), (False, "the dog sat"), (False, "the dog sat down")])
@example(True, [(True, "世"), (False, "界界"), (False, "界界界")])
@example(True, [(True, '"'), (False, "\\a"), (False, "\\ab")])
@BUDGET
def test_whether_a_text_begins_with_another_survives(
    spoken: bool, said: list[tuple[bool, str]]
) -> None:
    part = Part(spoken)
    for is_delta, text in said:
        (part.delta if is_delta else part.done)(text)


# ---------------------------------------------------------------- the machine on what is left


def problem(arguments: Any) -> str | None:
    """A verdict that quotes what it judges."""
    return f"{arguments!r} is not\nfit" if len(json.dumps(arguments)) % 3 else None


TOOLS = (
    fx.ToolSpec(name="judged", handled=True, validate=problem),
    tool("mine", handled=False),
)

calls = st.tuples(
    st.sampled_from(["judged", "mine", "made 'up' name", "é\n"]),
    st.one_of(json_values.map(json.dumps), texts, st.sampled_from(["{", '"', '{"a": NaN}', "[]"])),
    texts,
)
acts = st.one_of(
    st.tuples(st.just("delta"), texts),
    st.tuples(st.just("done"), texts),
    st.tuples(st.just("written"), texts),
    st.tuples(st.just("written done"), texts),
    st.tuples(st.just("heard"), st.integers(0, 1200)),
    st.tuples(st.just("call"), calls),
    st.tuples(st.just("text"), texts),
    st.tuples(st.just("fault"), texts),
    st.tuples(st.just("frame"), texts),
    st.tuples(st.just("user"), texts),
    st.tuples(st.just("interrupt"), st.booleans()),
    st.tuples(st.just("end"), st.none()),
)


def act(hand: RecordedHand, number: int, what: str, how: Any) -> None:
    response, item, event = f"R{hand.events.count(None)}", "A1", f"e{number}"
    if what == "delta":
        hand.see(
            p.TranscriptDelta(event, response, item, how), p.AudioDelta(response, item, bytes(9600))
        )
        hand.do("audio_delivered", item, 0, 9600)
    elif what == "done":
        hand.see(p.TranscriptDone(event_id=event, response_id=response, item_id=item, text=how))
    elif what == "written":
        hand.see(p.TextDelta(event, response, "A2", how))
    elif what == "written done":
        hand.see(p.TextDone(event_id=event, response_id=response, item_id="A2", text=how))
    elif what == "heard":
        hand.do("report_playback", item, 0, how)
    elif what == "call":
        name, arguments, answer = how
        hand.see(p.ToolCalled(response_id=response, call_id=event, name=name, arguments=arguments))
        outcome = ToolResult(tool_use_id=event, content=(TextContent(answer),))
        hand.do("tool_returned" if number % 2 else "submit_tool_result", outcome)
    elif what == "text":
        hand.do("send_text", how, respond=bool(number % 2))
    elif what == "fault":
        fault = ev.ProviderFault(code=how, message=how, param=how)
        hand.see(p.CommandRefused(meaning=p.ErrorMeaning.OTHER, fault=fault))
        hand.do("tool_raised", f"e{number - 1}", how)
    elif what == "frame":
        hand.see(p.UnknownFrame(type=how, raw=how.encode("utf-8", "surrogatepass")))
        hand.see(p.ServerToolProgress(item_id="M", status="requested", name=how, arguments=how))
    elif what == "user":
        hand.see(p.InputTranscriptDone(item_id=f"U{number}", text=how))
    elif what == "interrupt":
        hand.do("interrupt", response_id=response if how else None)
    else:
        hand.see(p.ResponseEnded(response_id=response, status=p.ResponseStatus.COMPLETED))
        hand.events.append(None)  # the next response has another id


@given(st.booleans(), st.lists(acts, min_size=3, max_size=25))
@BUDGET
def test_a_machine_decides_the_same_on_redacted_text(
    tmp_path_factory: pytest.TempPathFactory, explicit: bool, script: list[tuple[str, Any]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "decides.rec"
    mode = {"turning_mode": EXPLICIT} if explicit else {}
    hand = RecordedHand(path, tools=TOOLS, **mode)
    for number, (what, how) in enumerate(script):
        with contextlib.suppress(InvalidRequest):
            act(hand, number, what, how)
    hand.do("close")
    report = hand.report()
    assert report.verdict is Verdict.SAME, report


# ---------------------------------------------------------------- what is in the file


def contents(path: Path) -> str:
    """Everything in the file, decompressed."""
    found = read(path)
    return json.dumps([found.header, [record for _, record in found.records]], ensure_ascii=False)


secrets = st.text("bcdfghjlmqvwz", min_size=6, max_size=12)  # what no word of ours is made of


@given(secrets, st.permutations(range(1, 40)).map(bytes))
@BUDGET
def test_no_secret_is_in_the_file(
    tmp_path_factory: pytest.TempPathFactory, secret: str, audio: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "secret.rec"
    hand = RecordedHand(path, tools=TOOLS)
    loud = f"{secret} {secret.upper()}!"
    arguments = json.dumps({loud: [loud, {"number": 8_675_309}], "n": 24.5})
    hand.begin("R1")
    hand.see(
        p.SessionCreated(session_id=secret),
        p.ResumptionUpdated(handle=secret),
        p.TranscriptDelta("e1", "R1", "A1", loud),
        p.AudioDelta("R1", "A1", audio),
        p.TranscriptDone(event_id="e2", response_id="R1", item_id="A1", text=loud + loud),
        p.TextDelta("e3", "R1", "A2", loud),
        p.TextDone(event_id="e4", response_id="R1", item_id="A2", text="no"),
        p.ToolCalled(response_id="R1", call_id="c1", name="judged", arguments=arguments),
        p.ToolCalled(response_id="R1", call_id="c2", name=loud, arguments=arguments[:-2]),
        p.ToolCalled(response_id="R1", call_id="c3", name="mine", arguments="{}"),
        p.ServerToolProgress(item_id="M", status="requested", name=loud, arguments=arguments),
        p.InputTranscriptDelta(item_id="U1", delta=loud),
        p.InputTranscriptDone(item_id="U1", text=loud),
        p.UnknownFrame(type=loud, raw=loud.encode()),
        p.ProtocolFault(message=loud, raw=loud.encode()),
        p.ProviderError(fault=ev.ProviderFault(code=loud, kind=loud, message=loud, param=loud)),
        p.RateLimits((ev.RateLimit(name=secret),)),
    )
    hand.do("tool_returned", ToolResult(tool_use_id="c1", content=(TextContent(loud),)))
    hand.do("tool_raised", "c1", loud)
    hand.do("submit_tool_error", "c3", loud)
    hand.do("send_text", loud, respond=True)
    hand.do("send_raw", {loud: [loud]})
    hand.do("update_session", {"instructions": loud}, TOOLS)
    options = p.ResponseOptions(
        instructions=loud,
        tools=({loud: loud},),
        tool_choice=loud,
        metadata={loud: loud},
        input=({"text": loud},),
        extra={loud: loud},
        in_conversation=False,
    )
    hand.do("request_response", options)
    hand.do("close")
    assert hand.report().verdict is Verdict.SAME
    told = contents(path)
    for part in (secret, secret.upper(), "8675309", "24.5"):
        assert part not in told
    for start in range(len(audio) - 5):
        assert audio[start : start + 6] not in path.read_bytes()
    for cut in range(3):
        assert base64.b64encode(audio[cut:])[:-4].decode() not in told


def test_what_is_not_redacted_is_there(tmp_path: Path) -> None:
    hand = RecordedHand(tmp_path / "open.rec", redact=False, tools=TOOLS)
    hand.begin("R1")
    hand.see(p.TextDelta("e1", "R1", "A1", "a secret"), p.AudioDelta("R1", "A2", b"\1\2\3\4"))
    hand.do("close")
    report = hand.report()
    assert report.verdict is Verdict.SAME
    seen = [step.arguments.get("event") for step in report.steps]
    assert p.TextDelta("e1", "R1", "A1", "a secret") in seen
    assert p.AudioDelta("R1", "A2", b"\1\2\3\4") in seen


def test_equal_texts_have_equal_digests_in_one_file_and_others_in_another(tmp_path: Path) -> None:
    digests = []
    for name in ("one.rec", "other.rec"):
        hand = RecordedHand(tmp_path / name)
        for text in ("yes", "yes", "not"):
            hand.do("send_text", text, respond=False)
        hand.do("close")
        hand.report()
        digests.append(re.findall(r'"\$t": \["xxx", "([0-9a-f]{12})"\]', contents(tmp_path / name)))
    (a, b, c), (d, _, _) = digests
    assert a == b
    assert len({a, c, d}) == 3


# ---------------------------------------------------------------- forms


@given(
    st.builds(
        p.ToolCalled,
        response_id=texts,
        item_id=st.none() | texts,
        call_id=texts,
        name=texts,
        arguments=texts,
    )
    | st.builds(p.AudioDelta, texts, texts, st.binary(max_size=8), st.integers())
    | st.builds(p.RateLimits, st.lists(st.builds(ev.RateLimit, name=texts), max_size=2).map(tuple))
    | st.builds(p.ResponseEnded, response_id=texts, status=st.sampled_from(p.ResponseStatus))
)
@BUDGET
def test_a_form_in_full_is_the_value_again(value: Any) -> None:
    form = json.loads(json.dumps(plain(value, Verbatim())))
    assert value_of(form) == value


@pytest.mark.parametrize(
    "form",
    [
        {"$": "NoSuchClass"},
        {"$": "AudioDelta", "wrong": 1},
        {"$e": ["ItemKind", "no such kind"]},
        {"$e": "ItemKind"},
        {"$x": 1},
        {},
        {"$b": "not base64!"},
        {"$t": 1, "$m": 2},
    ],
)
def test_what_is_no_form_is_refused(form: Any) -> None:
    with pytest.raises(InvalidJson, match="form"):
        value_of(form)


def test_what_has_no_form_is_named() -> None:
    with pytest.raises(InvalidJson, match="object has no form"):
        plain(object(), Redaction(b"k"))
