"""The server-event view of a session's events."""

from __future__ import annotations

import json
from typing import get_args

import pytest
from hypothesis import given, settings
from support.strategies import of_type

from meerkat_rt import codec, events
from meerkat_rt.model import server_events as server
from meerkat_rt.model.conversation import StopReason, Usage
from meerkat_rt.model.transcript import ItemObserved, ItemSkipped, RealtimeTranscriptRole


@settings(max_examples=150, deadline=None)
@given(of_type(events.RealtimeSessionEvent))
def test_every_view_is_a_server_event_with_a_json_form(event):
    view = event.to_server_event()
    if view is not None:
        assert isinstance(view, get_args(server.ServerEvent))
        assert codec.decode(codec.encode(view), server.ServerEvent) == view


@pytest.mark.parametrize(
    "event",
    [
        events.TurnStarted(),
        events.Interrupted("r"),
        events.Stalled(attempts=1, waited_ms=1),
        events.SessionClosed(events.CloseReason(by=events.ClosedBy.NETWORK)),
    ],
    ids=lambda event: type(event).__name__,
)
def test_that_vocabulary_has_no_word_for_some_events(event):
    assert event.to_server_event() is None


@pytest.mark.parametrize(
    ("stop_reason", "error", "status"),
    [
        (StopReason.END_TURN, None, "completed"),
        (StopReason.TOOL_USE, None, "completed"),
        (StopReason.CANCELLED, None, "cancelled"),
        (StopReason.MAX_TOKENS, None, "incomplete"),
        (StopReason.CONTENT_FILTER, None, "incomplete"),
        (StopReason.END_TURN, events.ProviderFault(code="c", message="m"), "failed"),
    ],
)
def test_how_a_response_ended(stop_reason, error, status):
    usage = Usage(input_tokens=7, output_tokens=3)
    done = events.TurnCompleted(
        response_id="r", stop_reason=stop_reason, usage=usage, error=error
    ).to_server_event()
    assert isinstance(done, server.ResponseDone)
    assert done.response["status"] == status
    assert done.response["usage"]["total_tokens"] == 10
    assert ("error" in done.response) is (error is not None)


def test_a_tool_call_carries_its_arguments_as_text():
    view = events.ToolCallRequested("c", "t", {"q": "Ä"}).to_server_event()
    assert view == server.FunctionCallDone(
        call_id="c", name="t", arguments=json.dumps({"q": "Ä"}, ensure_ascii=False)
    )


def test_items_are_created():
    seen = ItemObserved(item_id="i", role=RealtimeTranscriptRole.USER)
    assert events.RealtimeTranscript(seen).to_server_event() == server.ItemCreated(
        item={"id": "i", "type": "message", "role": "user"}
    )
    skipped = events.RealtimeTranscript(ItemSkipped(item_id="i"))
    assert skipped.to_server_event() == server.ItemCreated(item={"id": "i"})


def test_an_unknown_frame_keeps_what_came():
    view = events.UnknownProviderEvent(type="x.new", raw=b"{}").to_server_event()
    assert view == server.Unknown(provider_type="x.new", raw=b"{}")
