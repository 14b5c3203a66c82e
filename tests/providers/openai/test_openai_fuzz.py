"""Nothing that a server can send makes the decoder raise, or lets a broken value through."""

from __future__ import annotations

import json

import attrs
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from openai_dialect_kit import frame, generated_frames
from support.damage import json_values, paths, removed, replaced

from meerkat_rt.providers.openai.decoding import IGNORED, PASSED_ON, TRANSLATED, decode
from meerkat_rt.turn import ports

FRAMES = generated_frames()
KINDS = sorted(TRANSLATED | PASSED_ON | IGNORED)
EVENTS = ports.ProviderEvent.__args__

quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

BLANK_FREE = {"response_id", "event_id", "call_id"}
IDS = {"item_id", "response_id", "event_id", "call_id", "previous_item_id", "session_id", "ref"}
TEXTS = {"delta", "text", "name", "arguments", "status", "message", "reason", "type"}


def acceptable(raw: bytes) -> tuple[ports.ProviderEvent, ...]:
    """Decode, and check every value that msgspec filled in without asking anybody."""
    events = decode(raw)
    assert isinstance(events, tuple)
    for event in events:
        assert isinstance(event, EVENTS)
        if isinstance(event, (ports.UnknownFrame, ports.ProtocolFault)):
            assert event.raw == raw
        check_values(event)
        hash(event)
    return events


def check_values(event: object) -> None:
    for field in attrs.fields(type(event)):
        value = getattr(event, field.name)
        if field.name in IDS:
            assert value is None or type(value) is str
            if field.name in BLANK_FREE:
                assert value
        elif field.name in TEXTS:
            assert value is None or isinstance(value, str)
        elif field.name == "content_index":
            assert type(value) is int
            assert 0 <= value < 2**31
        elif field.name in ("audio_start_ms", "audio_end_ms"):
            assert type(value) is int
            assert 0 <= value <= 2**53
        elif field.name in ("final", "incomplete", "fatal", "in_conversation", "inferred"):
            assert type(value) is bool
        elif field.name in ("data", "raw"):
            assert type(value) is bytes
        elif isinstance(value, tuple):
            for entry in value:
                if attrs.has(type(entry)):
                    check_values(entry)
        elif attrs.has(type(value)):
            check_values(value)
            attrs.validate(value)


# ---------------------------------------------------------------- arbitrary input

ANY = json_values(
    ["completed", "incomplete", "message", "function_call", "audio", *KINDS],
    keys=st.sampled_from(
        ["id", "type", "item", "response", "status", "output", "usage", "delta", "error"]
    ),
    leaves=10,
)


@quick
@given(st.binary(max_size=200))
@example(b'{"type":"')
@example(b'{"type":"error"')
@example(b'{"type": "')
@example(b'{"type":"\\"')
def test_any_bytes(raw):
    acceptable(raw)


@quick
@given(ANY)
def test_any_json(value):
    acceptable(json.dumps(value).encode())


@quick
@given(
    st.sampled_from(KINDS),
    st.dictionaries(st.text(max_size=5).filter("kind".__ne__), ANY, max_size=3),
)
def test_any_fields_with_any_type_tag(kind, fields):
    acceptable(frame(kind, **fields))


# ---------------------------------------------------------------- mutations of real events


ODD = [
    None, True, -1, 0.5, 2**31, 2**64, 10**40, 1e300, "", " ", "x", [], {}, [None],
    {"type": "error"},
]  # fmt: skip


def as_json(value) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_of_every_type_missing_or_odd(kind):
    event = max(
        (json.loads(raw) for raw in FRAMES if json.loads(raw)["type"] == kind),
        key=lambda event: len(list(paths(event))),
    )
    for path in list(paths(event))[1:60]:
        acceptable(as_json(removed(event, path)))
        for odd in ODD:
            acceptable(as_json(replaced(event, path, odd)))


@quick
@given(st.sampled_from(FRAMES), st.data())
def test_several_mutations_at_once(raw, data):
    event = json.loads(raw)
    for _ in range(data.draw(st.integers(1, 4))):
        places = list(paths(event))[1:]
        if not places:
            break
        place = data.draw(st.sampled_from(places))
        if data.draw(st.booleans()):
            event = removed(event, place)
        else:
            event = replaced(event, place, data.draw(ANY))
    acceptable(as_json(event))


@quick
@given(st.sampled_from(FRAMES), st.data())
def test_truncation(raw, data):
    cut = raw[: data.draw(st.integers(0, len(raw) - 1))]
    (event,) = acceptable(cut)
    assert isinstance(event, ports.ProtocolFault)


@quick
@given(st.sampled_from(FRAMES), st.data())
def test_flipped_and_inserted_bytes(raw, data):
    damaged = bytearray(raw)
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        byte = data.draw(st.integers(0, 255))
        if data.draw(st.booleans()):
            damaged[at] = byte
        else:
            damaged.insert(at, byte)
    acceptable(bytes(damaged))


@quick
@given(st.sampled_from(FRAMES), st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_matter(raw, random):
    event = json.loads(raw)
    keys = list(event)
    random.shuffle(keys)
    expected = acceptable(raw)
    shuffled = acceptable(as_json({key: event[key] for key in keys}))
    if any(isinstance(one, ports.UnknownFrame) for one in expected):
        assert [one.type for one in shuffled] == [one.type for one in expected]
    else:
        assert shuffled == expected


# ---------------------------------------------------------------- chosen cruelties


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "more",
    [
        b',"x":' + b"[" * 100_000,
        b',"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b',"x":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}",
        b',"x":' + b"9" * 5_000 + b"}",
        b',"content_index":' + b"9" * 5_000 + b"}",
        b',"audio_end_ms":1e400}',
        b',"response_id":"\\ud800"}',
        b',"x":"\\ud800"}',
        b',"response_id":"\xff\xfe"}',
        b',"x":"\xff\xfe"}',
        b',"x":NaN}',
        b',"x":Infinity}',
        b',"x":01}',
        b',"type":"error"}',
        b',"type":null}',
        b',"type":"no such type"}',
        b',"response_id":"a","response_id":null,"item_id":"i","item_id":3}',
        b'} {"type":"error"}',
    ],
)
def test_deep_huge_doubled_and_broken(kind, more):
    acceptable(b'{"type":"' + kind.encode() + b'"' + more)
    acceptable(b'{"event_id":"e","type":"' + kind.encode() + b'"' + more)


def test_the_last_of_two_deltas_counts():
    raw = frame("response.output_text.delta", response_id="r", item_id="i", delta="one")
    (event,) = acceptable(raw[:-1] + b',"delta":"two"}')
    assert event.delta == "two"


def test_a_megabyte_of_an_unknown_field_does_not_matter():
    raw = frame("input_audio_buffer.cleared", padding="x" * 2**20)
    assert acceptable(raw) == (ports.InputCleared(),)
