"""The handshake, from the socket's opening to a ready session."""

from __future__ import annotations

import json

import pytest
from openai_dialect_kit import checked, dialect, error_frame, frame, open_config

from meerkat_rt.model import errors
from meerkat_rt.model.conversation import SystemMessage, UserMessage
from meerkat_rt.providers.openai.decoding import decode
from meerkat_rt.providers.openai.opening import UPDATE_REF
from meerkat_rt.turn import ports
from meerkat_rt.turn.ports import ItemKind

SEED = (SystemMessage("rules"), UserMessage("hi"), UserMessage("again"))
CREATED = frame("session.created", session={"id": "sess_1"})
UPDATED = frame("session.updated", session={"id": "sess_1"})


def opening(seed=()):
    return dialect().opening(open_config(seed=seed), ())


def feed(handshake, raw):
    """Frames that the handshake sends for one frame, and what it left for the machine."""
    sent, left = [], []
    for event in decode(raw):
        more, ours = handshake.observe(event)
        sent += [checked(one) for one in more]
        if not ours:
            left.append(event)
    return sent, left


def acknowledge(item_id, kind="conversation.item.added", previous=None):
    item = {"id": item_id, "type": "message", "role": "user", "status": "completed", "content": []}
    return frame(kind, item=item, previous_item_id=previous)


def seeding(seed=SEED):
    """A handshake that has sent its seeds, and their ids."""
    handshake = opening(seed)
    feed(handshake, CREATED)
    sent, _ = feed(handshake, UPDATED)
    return handshake, [event["item"]["id"] for event in sent]


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"code": "invalid_api_key"}, errors.InvalidApiKey),
        ({"code": "missing_model"}, errors.ModelNotFound),
        ({"code": "invalid_model"}, errors.ModelNotFound),
        ({"code": "beta_api_shape_disabled"}, errors.InvalidRequest),
        ({"type": "server_error"}, errors.ServerError),
        ({"type": "insufficient_quota", "code": "insufficient_quota"}, errors.QuotaExhausted),
    ],
)
@pytest.mark.parametrize("attach", [False, True])
def test_an_error_as_the_first_frame_is_the_typed_error(error, expected, attach):
    handshake = dialect(call_id="rtc_1").attaching() if attach else opening()
    with pytest.raises(expected):
        feed(handshake, error_frame(**error))


def test_a_refused_configuration_names_the_parameter():
    handshake = opening()
    feed(handshake, CREATED)
    raw = error_frame(
        code="unknown_parameter",
        message="Unknown parameter: 'session.reasoning'.",
        param="session.reasoning",
        event_id=UPDATE_REF,
    )
    with pytest.raises(errors.InvalidConfig, match=r"session\.update.*session\.reasoning"):
        feed(handshake, raw)


def test_a_refused_configuration_is_known_without_a_reference():
    handshake = opening()
    feed(handshake, CREATED)
    with pytest.raises(errors.InvalidConfig):
        feed(handshake, error_frame(code="invalid_value", event_id=None))


def test_a_failing_server_is_no_refused_configuration():
    handshake = opening()
    feed(handshake, CREATED)
    with pytest.raises(errors.ServerError):
        feed(handshake, error_frame(type="server_error", code=None))


def test_a_refused_seed_names_the_message():
    handshake, ids = seeding()
    with pytest.raises(errors.InvalidConfig, match=r"seed_messages\[1\]"):
        feed(handshake, error_frame(code="invalid_value", event_id=ids[1]))


def test_a_refused_seed_is_known_without_a_reference():
    handshake, _ = seeding()
    with pytest.raises(errors.InvalidConfig, match="history"):
        feed(handshake, error_frame(code="unsupported_content_type", event_id=None))


def test_a_context_that_does_not_hold_the_history_has_its_own_error():
    handshake, ids = seeding()
    with pytest.raises(errors.ContextLengthExceeded):
        feed(handshake, error_frame(code="context_length_exceeded", event_id=ids[0]))


def test_an_expiry_while_seeding_ends_the_opening():
    handshake, _ = seeding()
    with pytest.raises(errors.SessionExpired):
        feed(handshake, error_frame(code="session_expired"))


def test_an_error_of_the_providers_own_while_seeding_is_left_to_the_machine():
    handshake, ids = seeding()
    _, left = feed(handshake, error_frame(type="rate_limit_error", code=None))
    assert [type(event) for event in left] == [ports.ProviderError]
    with pytest.raises(errors.RateLimited):
        feed(handshake, error_frame(type="rate_limit_error", code=None, event_id=ids[0]))


# ---------------------------------------------------------------- the way to ready


def test_nothing_is_sent_before_the_server_has_spoken():
    handshake = opening()
    assert list(handshake.begin()) == []
    assert not handshake.ready


def test_a_session_without_history_is_ready_when_it_is_configured():
    handshake = opening()
    phases = [handshake.phase]
    sent, left = feed(handshake, CREATED)
    assert [event["type"] for event in sent] == ["session.update"]
    assert sent[0]["event_id"] == UPDATE_REF
    phases.append(handshake.phase)
    assert feed(handshake, UPDATED) == ([], [])
    assert left == []
    assert handshake.ready
    assert [*phases, handshake.phase] == ["session created", "session updated", "ready"]


def test_seeds_are_sent_back_to_back_in_order_after_the_update():
    handshake = opening(SEED)
    feed(handshake, CREATED)
    sent, _ = feed(handshake, UPDATED)
    assert [event["item"]["content"][0]["text"] for event in sent] == ["rules", "hi", "again"]
    assert all(event["event_id"] == event["item"]["id"] for event in sent)
    assert not any("previous_item_id" in event for event in sent)
    assert handshake.phase == "seed acknowledged"


@pytest.mark.parametrize("kind", ["added", "created", "done"])
def test_a_session_is_ready_when_every_seed_is_acknowledged(kind):
    handshake, ids = seeding()
    for item_id in reversed(ids):
        assert not handshake.ready
        raw = acknowledge(item_id, f"conversation.item.{kind}")
        assert feed(handshake, raw) == ([], [])
    assert handshake.ready


def test_acknowledgements_of_other_items_do_not_count():
    handshake, ids = seeding()
    for _ in range(5):
        _, left = feed(handshake, acknowledge("item_of_somebody"))
        assert len(left) == 1
        feed(handshake, acknowledge(ids[0]))
    assert not handshake.ready


def test_a_duplicate_seed_is_there_already():
    handshake, ids = seeding()
    for item_id in ids:
        raw = error_frame(code="item_create_duplicate_item_id", event_id=item_id)
        assert feed(handshake, raw) == ([], [])
    assert handshake.ready


def test_deadlines_are_per_phase_and_grow_with_the_seed():
    handshake = opening((UserMessage("x" * 600_000),))
    assert handshake.deadline == 10
    feed(handshake, CREATED)
    assert handshake.deadline == 10
    feed(handshake, UPDATED)
    assert handshake.deadline == 5 + 2


def test_what_is_not_the_handshakes_own_is_left_in_order():
    handshake, ids = seeding()
    left = []
    for raw in (
        frame("rate_limits.updated", rate_limits=[]),
        acknowledge(ids[0]),
        frame("conversation.item.added", item={"id": "u", "type": "message", "role": "user"}),
        frame("unheard.of"),
        b"{",
        acknowledge(ids[1]),
        acknowledge(ids[2]),
    ):
        left += feed(handshake, raw)[1]
    assert [type(event) for event in left] == [
        ports.RateLimits,
        ports.ItemAdded,
        ports.UnknownFrame,
        ports.ProtocolFault,
    ]
    assert left[1] == ports.ItemAdded(item_id="u", kind=ItemKind.USER)
    assert handshake.ready


def test_conversation_created_is_not_waited_for():
    handshake = opening()
    assert feed(handshake, frame("conversation.created", conversation={"id": "c"})) == ([], [])
    feed(handshake, CREATED)
    feed(handshake, UPDATED)
    assert handshake.ready


def test_repeated_acknowledgements_send_nothing_twice():
    handshake = opening(SEED)
    assert len(feed(handshake, CREATED)[0]) == 1
    assert feed(handshake, CREATED)[0] == []
    assert len(feed(handshake, UPDATED)[0]) == 3
    assert feed(handshake, UPDATED)[0] == []


def test_after_ready_only_seeds_are_the_handshakes_own():
    handshake, ids = seeding()
    for item_id in ids:
        feed(handshake, acknowledge(item_id))
    raw = acknowledge(ids[-1], "conversation.item.done")
    assert feed(handshake, raw) == ([], [])
    _, left = feed(handshake, error_frame(code="invalid_value"))
    assert [type(event) for event in left] == [ports.CommandRefused]


# ---------------------------------------------------------------- seeds afterwards


def test_seeded_items_never_look_like_items_of_the_live_conversation():
    _, ids = seeding()
    for kind in ("created", "added", "done"):
        (event,) = decode(acknowledge(ids[0], f"conversation.item.{kind}"))
        assert event == ports.SeedAcknowledged(ids[0])


def test_the_first_live_item_has_no_predecessor():
    _, ids = seeding()
    (event,) = decode(acknowledge("item_live", previous=ids[-1]))
    assert (event.item_id, event.previous_item_id) == ("item_live", None)
    (event,) = decode(
        frame("input_audio_buffer.committed", item_id="item_live", previous_item_id=ids[-1])
    )
    assert event.previous_item_id is None


# ---------------------------------------------------------------- attaching


def test_attaching_configures_and_seeds_nothing():
    handshake = dialect(call_id="rtc_1").attaching()
    assert list(handshake.begin()) == []
    assert not handshake.ready
    assert handshake.deadline > 0
    assert feed(handshake, CREATED) == ([], [])
    assert handshake.ready


def test_the_update_that_opens_a_session_is_what_was_promised_and_nothing_secret():
    handshake = opening()
    frames, _ = handshake.observe(ports.SessionCreated())
    assert "sk-test" not in json.dumps(json.loads(frames[0]))
