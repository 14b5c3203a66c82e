"""The switches that make the server harder to talk to."""

from __future__ import annotations

import base64

from support.embedded_session import (
    Session,
    audio_of,
    every,
    kinds,
    only,
    session_update,
    typed,
)
from support.openai_oracle import check

from meerkat_rt.embedded import Quirks


def test_without_quirks_nothing_is_odd():
    events = Session().events + Session().ask("hello")

    for event in events:
        check(event, "server")


def test_obfuscation_pads_deltas_only():
    events = Session(quirks=Quirks(obfuscation=True), oracle=False).ask("hello")

    for event in events:
        assert ("obfuscation" in event) == event["type"].endswith(".delta")


def test_conversation_created():
    client = Session(quirks=Quirks(conversation_created=True))

    assert kinds(client.events) == ["session.created", "conversation.created"]


def test_swapped_done_order():
    order = kinds(Session(quirks=Quirks(swapped_done_order=True)).ask("hello"))

    assert order.index("response.output_item.done") + 1 == order.index("conversation.item.done")


def test_null_error_event_id():
    client = Session(quirks=Quirks(null_error_event_id=True))

    error = client.fails({**session_update(x=1), "event_id": "mine"}, "unknown_parameter")

    assert error["event_id"] is None


def test_odd_audio_deltas_carry_the_same_audio():
    events = Session(quirks=Quirks(odd_audio_deltas=True)).ask("hello")

    deltas = [
        base64.b64decode(event["delta"]) for event in every(events, "response.output_audio.delta")
    ]
    assert all(len(delta) % 2 == 1 for delta in deltas)
    assert audio_of(events) == audio_of(Session().ask("hello"))


def test_unknown_events_and_fields():
    client = Session(quirks=Quirks(unknown_events=True, unknown_fields=True), oracle=False)
    events = client.ask("hello")

    known = [event for event in events if event["type"] != "session.weather"]
    assert len(known) < len(events)
    assert all("x_from_the_future" in event for event in known)


def test_done_without_created():
    events = Session(quirks=Quirks(done_without_created=True)).ask("hello")

    assert every(events, "response.created") == []
    assert only(events, "response.done")


def transcribing(order: str) -> Session:
    client = Session(quirks=Quirks(transcription=order))
    client.send(session_update(audio={"input": {"transcription": {"model": "whisper-1"}}}))
    return client


def test_transcription_before_the_response():
    client = transcribing("before")

    assert every(client.hear(), "response.created") == []
    events = client.recognize()

    prefix = "conversation.item.input_audio_transcription"
    assert kinds(events) == [f"{prefix}.delta", f"{prefix}.completed", "response.created"]


def test_a_failed_transcription_does_not_hold_the_response_for_ever():
    client = transcribing("before")
    client.hear()

    client.engine.recognition_failed(client.work[0].item_id, "c", "m")

    assert kinds(client.take())[1:] == ["response.created"]


def test_transcription_after_the_response():
    client = transcribing("after")
    client.hear()

    assert client.recognize() == []
    events = kinds(client.run())

    assert events.index("response.done") < events.index(
        "conversation.item.input_audio_transcription.completed"
    )


def test_a_typed_turn_is_not_held_by_the_order_of_transcriptions():
    client = transcribing("before")

    events = client.send(typed("hello"), {"type": "response.create"})

    assert "response.created" in kinds(events)
