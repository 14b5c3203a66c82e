"""Audio deltas are decoded where they stand in the frame: the same events as by a whole parse."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meerkat_rt.providers.openai import decoding
from meerkat_rt.turn import ports

KIND = "response.output_audio.delta"


def by_whole_parse(frame: bytes) -> tuple[object, ...]:
    try:
        return (decoding._any_audio_delta(frame),)
    except (ValueError, RecursionError):
        return (ports.ProtocolFault,)


def by_the_decoder(frame: bytes) -> tuple[object, ...]:
    events = decoding.decode(frame)
    return tuple(
        ports.ProtocolFault if isinstance(event, ports.ProtocolFault) else event for event in events
    )


def frame(**fields: object) -> bytes:
    return json.dumps({"type": KIND, **fields}, separators=(",", ":"), ensure_ascii=False).encode()


SOUND = base64.b64encode(bytes(range(200))).decode()
GOOD = {"event_id": "e", "response_id": "r", "item_id": "i", "content_index": 0, "delta": SOUND}

ODD = [
    frame(**GOOD),
    frame(**{**GOOD, "delta": ""}),
    frame(**{**GOOD, "delta": None}),
    frame(**{**GOOD, "delta": "~"}),
    frame(**{**GOOD, "delta": "not base64!"}),
    frame(**{**GOOD, "delta": SOUND[:-1]}),
    frame(**{**GOOD, "delta": SOUND + "\n"}),
    frame(**{**GOOD, "delta": SOUND + "é"}),
    frame(**{**GOOD, "delta": 'a"b'}),
    frame(**{**GOOD, "item_id": ""}),
    frame(**{**GOOD, "item_id": 'x","delta":"AAAA'}),
    frame(**{**GOOD, "item_id": '"delta":"AAAA"'}),
    frame(**{**GOOD, "content_index": -1}),
    frame(**{**GOOD, "content_index": "odd"}),
    frame(response_id="r", item_id="i"),
    frame(response_id="r", item_id="i", extra={"delta": SOUND}),
    frame(response_id="r", item_id="i", extra={"delta": SOUND}, delta="~"),
    frame(response_id="r", item_id="i", extra={"delta": SOUND}, delta=SOUND),
    frame(response_id="r", item_id="i", delta=SOUND, extra={"delta": SOUND}),
    frame(response_id="r", item_id="i", delta={"delta": SOUND}),
    frame(response_id="r", item_id="i", delta=[SOUND]),
    frame(**GOOD)[:-1],
    frame(**GOOD)[:-2],
    frame(**GOOD)[:100],
    frame(**GOOD) + b"}",
    frame(**GOOD).replace(b'"delta":', b'"delta" : '),
    frame(**GOOD).replace(b'"delta":', b'"delta": '),
    frame(**GOOD).replace(b'"delta":', b'"del\\u0074a":'),
    frame(**GOOD).replace(SOUND[:4].encode(), b"\\u0041" + SOUND[1:4].encode()),
    frame(**GOOD).replace(SOUND[:4].encode(), b"A\\/A" + SOUND[1:4].encode()),
]


@pytest.mark.parametrize("odd", ODD)
def test_odd_frames(odd: bytes) -> None:
    assert by_the_decoder(odd) == by_whole_parse(odd)


def test_audio_comes_out() -> None:
    (event,) = decoding.decode(frame(**GOOD))
    assert event == ports.AudioDelta("r", "i", bytes(range(200)), 0)


values = st.one_of(
    st.sampled_from([SOUND, "", "AAAA", "~", '"delta":"', "\\", '"', "é"]),
    st.none(),
    st.integers(-2, 3),
    st.dictionaries(st.sampled_from(["delta", "item_id", "x"]), st.just(SOUND), max_size=2),
)


@settings(max_examples=300, deadline=None)
@given(
    fields=st.dictionaries(
        st.sampled_from(["response_id", "item_id", "delta", "content_index", "extra"]), values
    ),
    cut=st.one_of(st.none(), st.integers(0, 200)),
)
def test_any_frame(fields: dict[str, object], cut: int | None) -> None:
    whole = frame(**fields)
    damaged = whole if cut is None else whole[: 40 + cut]
    assert by_the_decoder(damaged) == by_whole_parse(damaged)


# ---------------------------------------------------------------- what was seen before


def live(around: str, event_id: str = "event_1", sound: str = SOUND, tail: str = "}") -> bytes:
    head = f'{{"type":"{KIND}","event_id":"{event_id}"'
    return f'{head},{around}"delta":"{sound}"{tail}'.encode()


PLACE = '"response_id":"r","item_id":"i","output_index":0,"content_index":0,'


OTHER = PLACE.replace('"i"', '"other"')


@pytest.mark.parametrize(
    "odd",
    [
        '"extra":{"delta":"AAAA"},"del\\u0074a":"~"',
        '"del\\u0074a":"~","extra":{"delta":"AAAA"}',
    ],
)
def test_audio_of_an_inner_object_is_not_the_frame_s(odd: str) -> None:
    """An inner "delta" is no second one of the frame, however the outer one is spelt."""
    frame = f'{{"type":"{KIND}","event_id":"e1",{PLACE}{odd}}}'.encode()
    decoding.decode(live(PLACE))  # the quick way is known
    assert by_the_decoder(frame) == by_whole_parse(frame) == (ports.ProtocolFault,)


def forget() -> None:
    decoding._places.clear()
    decoding._last = decoding._NOWHERE


@pytest.fixture(params=["just now", "before those of another part"])
def known(request: pytest.FixtureRequest) -> None:
    """The frames of a part have been seen."""
    forget()
    seen = [PLACE] if request.param == "just now" else [PLACE, OTHER]
    for around in seen:
        (event,) = decoding.decode(live(around))
        assert isinstance(event, ports.AudioDelta)
    assert len(decoding._places) == len(seen)


@pytest.mark.parametrize(
    "frame",
    [
        live(PLACE, "event_2"),
        live(PLACE, ""),
        live(PLACE, 'e","response_id":"other'),
        live(PLACE, "e\\u0031"),
        live(PLACE, "e\\"),
        live(PLACE, "e\n"),
        live(PLACE, "é"),
        live(PLACE, sound=""),
        live(PLACE, sound="~"),
        live(PLACE, sound="AAA"),
        live(PLACE, sound="AA\\nAA"),
        live(PLACE, tail=""),
        live(PLACE, tail=',"response_id":"x"}'),
        live(PLACE, tail=',"delta":"AAAA"}'),
        live(PLACE, tail='}{"x":1}'),
        live(PLACE.replace('"i"', '"j"')),
        live(PLACE.replace('"r"', '""')),
        live(PLACE.replace("0,", "-1,")),
        live(PLACE.replace('"content_index":0', '"content_index":9999999999999999999')),
        live("", tail="," + PLACE[:-1] + "}"),
        live('"response_id":"r",', tail=',"item_id":"i","output_index":0,"content_index":0}'),
        live(PLACE)[: -len(SOUND)],
    ],
)
@pytest.mark.usefixtures("known")
def test_a_frame_that_looks_like_one_before_means_what_it_says(frame: bytes) -> None:
    assert by_the_decoder(frame) == by_whole_parse(frame)
    assert by_the_decoder(frame) == by_whole_parse(frame)  # now that this one has been seen too


def test_where_the_audio_stood_is_part_of_what_was_seen() -> None:
    """The same bytes around the audio, cut at another place, are another frame: a broken one."""
    forget()
    tail = ',"x":"delta","y":"B"}'
    assert isinstance(decoding.decode(live(PLACE, tail=tail))[0], ports.AudioDelta)
    moved = live(PLACE + '"delta":"",' + tail[1:-5], tail="B" + '"}')
    assert by_the_decoder(moved) == by_whole_parse(moved)


def test_parts_that_take_turns_are_told_apart() -> None:
    parts = {"i": PLACE, "other": OTHER, "third": PLACE.replace('"i"', '"third"')}
    for item_id in 3 * ["i", "other", "other", "third"]:
        (event,) = decoding.decode(live(parts[item_id]))
        assert event == ports.AudioDelta("r", item_id, bytes(range(200)), 0)


def test_long_frames_are_not_kept() -> None:
    forget()
    for length in (100, 100_000):
        odd = live(f'{PLACE}"x":"{"x" * length}",')
        assert decoding.decode(odd) == (ports.AudioDelta("r", "i", bytes(range(200)), 0),)
    kept = [*decoding._places, decoding._last[0] + decoding._last[1]]
    assert len(kept) == 2
    assert max(map(len, kept)) <= decoding._PLACE_SIZE


def test_what_was_seen_is_bounded() -> None:
    forget()
    for number in range(3 * decoding._PLACES_KEPT):
        (event,) = decoding.decode(live(PLACE.replace('"i"', f'"i{number}"')))
        assert isinstance(event, ports.AudioDelta)
        assert event.item_id == f"i{number}"
        assert 0 < len(decoding._places) <= decoding._PLACES_KEPT
