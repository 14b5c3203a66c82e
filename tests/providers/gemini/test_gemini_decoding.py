"""What the server's messages mean."""

from __future__ import annotations

import base64
import json

import pytest
from gemini_dialect_kit import EXPLICIT, NATIVE, Link, dialect, generated, names
from support.gemini_oracle import check

from meerkat_rt import RealtimeConfig, VadConfig
from meerkat_rt.model.conversation import Usage, UserMessage
from meerkat_rt.model.live_config import NULL
from meerkat_rt.turn import ports as p
from meerkat_rt.turn.ports import ResponseStatus

# ---------------------------------------------------------------- one message, many keys


def test_one_message_with_everything_gives_every_event_in_the_right_order():
    link = Link()
    link.content(inputTranscription={"text": "Hello"})
    link.audio()
    events = link.hears(
        sessionResumptionUpdate={"newHandle": "h", "resumable": True},
        usageMetadata={"promptTokenCount": 5, "responseTokenCount": 7},
        goAway={"timeLeft": "10s"},
        serverContent={
            "turnComplete": True,
            "generationComplete": True,
            "outputTranscription": {"text": "Hi"},
            "modelTurn": {
                "parts": [
                    {"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": "AQE="}},
                    {"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": "AgI="}},
                ]
            },
        },
    )
    assert names(events) == [
        "AudioDelta",
        "AudioDelta",
        "TranscriptDelta",
        "AudioDone",
        "InputTranscriptDone",
        "TranscriptDone",
        "ResponseEnded",
        "ResumptionUpdated",
        "GoingAway",
    ]
    ended = events[6]
    assert ended.usage == Usage(input_tokens=5, output_tokens=7)
    assert events[5].text == "Hi"


def test_all_parts_are_read_and_thoughts_are_not_spoken():
    link = Link()
    events = link.content(
        modelTurn={
            "parts": [
                {"text": "let me think", "thought": True},
                {"text": "one "},
                {"text": "two"},
                {"executableCode": {"language": "PYTHON", "code": "print(1)"}},
                {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}},
            ]
        }
    )
    assert [e.delta for e in events if isinstance(e, p.TextDelta)] == ["one ", "two"]
    code = [e for e in events if isinstance(e, p.ServerToolProgress)]
    assert [(e.name, e.status, e.arguments) for e in code] == [
        ("code_execution", "requested", "print(1)"),
        ("code_execution", "completed", ""),
    ]
    assert code[0].item_id == code[1].item_id


def test_audio_that_stands_beside_an_interruption_is_not_heard():
    link = Link()
    link.audio(b"\1\1")
    events = link.audio(b"\2\2", interrupted=True, outputTranscription={"text": "gone"})
    assert names(events) == ["ResponseInterrupted"]


def test_an_empty_message_says_nothing_and_an_unknown_one_is_kept():
    link = Link()
    assert link.hears() == []
    (event,) = link.hears(quantumState={"spin": 1})
    assert event == p.UnknownFrame(type="quantumState", raw=b'{"quantumState": {"spin": 1}}')
    assert names(link.hears(quantumState={}, goAway={})) == ["GoingAway"]


@pytest.mark.parametrize(
    "raw", [b"", b"null", b"[]", b'"x"', b"{", b'{"serverContent":', b"\xff", b'{"goAway":1}']
)
def test_what_is_no_message_is_a_fault(raw):
    (event,) = Link().codec.decode(raw)
    assert isinstance(event, p.ProtocolFault)
    assert event.raw == raw


def test_a_broken_part_costs_only_itself():
    link = Link()
    broken = {"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": "!"}}
    events = link.content(modelTurn={"parts": [broken, {"text": "yes"}, {"text": 5}]})
    assert "ProtocolFault" in names(events)
    assert "TextDelta" in names(events)
    events = link.hears(serverContent={"turnComplete": True, "modelTurn": 7}, usageMetadata=[])
    assert names(events)[-1] == "ResponseEnded"


# ---------------------------------------------------------------- audio

SAMPLES = bytes(range(256)) * 2


@pytest.mark.parametrize(
    "encoded",
    [
        base64.b64encode(SAMPLES).decode(),
        base64.urlsafe_b64encode(SAMPLES).decode(),
        base64.b64encode(SAMPLES).decode().rstrip("="),
        base64.urlsafe_b64encode(SAMPLES).decode().rstrip("="),
    ],
)
def test_both_alphabets_of_base64_padded_or_not(encoded):
    part = {"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": encoded}}
    events = Link().content(modelTurn={"parts": [part]})
    assert events[-1].data == SAMPLES


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 48])
def test_half_a_sample_waits_for_its_other_half(size):
    link = Link()
    for start in range(0, len(SAMPLES), size):
        link.audio(SAMPLES[start : start + size])
    pieces = [event.data for event in link.of(p.AudioDelta)]
    assert all(len(piece) % 2 == 0 for piece in pieces)
    assert b"".join(pieces) == SAMPLES


def test_audio_of_another_rate_is_a_fault_and_is_not_mislabelled():
    part = {"inlineData": {"mimeType": "audio/pcm;rate=16000", "data": "AQE="}}
    (event,) = Link().content(modelTurn={"parts": [part]})
    assert isinstance(event, p.ProtocolFault)
    assert "16000" in event.message
    assert "24000" in event.message


# ---------------------------------------------------------------- turns and responses


def test_a_turn_gets_ids_of_its_own_and_one_beginning_and_one_end():
    link = Link()
    for _ in range(2):
        link.audio()
        link.audio()
        link.content(generationComplete=True)
        link.content(turnComplete=True)
    began = [event.response_id for event in link.of(p.ResponseBegan)]
    assert began == [event.response_id for event in link.of(p.ResponseEnded)]
    assert len(set(began)) == 2
    items = {event.item_id for event in link.of(p.AudioDelta)}
    assert len(items) == 2


def test_ids_differ_between_links_and_repeat_for_the_same_name():
    one, again, other = (dialect().codec(name) for name in ("a", "a", "b"))
    raw = b'{"serverContent":{"modelTurn":{"parts":[{"text":"x"}]}}}'
    assert one.decode(raw) == again.decode(raw)
    assert one.decode(raw)[0].response_id != other.decode(raw)[0].response_id


def test_generation_complete_ends_the_audio_and_turn_complete_the_response():
    link = Link()
    link.audio()
    assert names(link.content(generationComplete=True)) == ["AudioDone"]
    assert names(link.content(turnComplete=True)) == ["ResponseEnded"]


def test_an_interrupted_turn_has_no_generation_complete_and_is_cancelled():
    link = Link()
    link.audio()
    (cut,) = link.content(interrupted=True)
    assert cut.by_user
    (ended,) = link.content(turnComplete=True)
    assert (ended.status, ended.reason) == (ResponseStatus.CANCELLED, "interrupted")


def test_an_interruption_by_our_own_text_is_not_the_users_speech():
    link = Link()
    link.audio()
    link.sends(p.CreateItem(ref="r", item_id="i", message=UserMessage("x"), turn=True))
    (_, cut) = link.content(interrupted=True)
    assert not cut.by_user


def test_a_phantom_interruption_means_nothing_that_lasts():
    link = Link()
    link.audio()
    link.content(turnComplete=True)
    (cut,) = link.content(interrupted=True)
    assert cut.response_id is None
    assert link.content(turnComplete=True) == []
    link.audio()
    ended = link.content(turnComplete=True)[-1]
    assert ended.status is ResponseStatus.COMPLETED


def test_output_after_an_interruption_whose_end_was_never_told_is_a_new_response():
    link = Link()
    link.audio()
    link.content(interrupted=True)
    link.content(inputTranscription={"text": "Wait"})
    assert names(link.audio()) == [
        "ResponseEnded",
        "InputCommitted",
        "ResponseBegan",
        "AudioDelta",
    ]


@pytest.mark.parametrize(
    ("reason", "status", "told"),
    [
        ("NEED_MORE_INPUT", ResponseStatus.COMPLETED, None),
        ("MALFORMED_FUNCTION_CALL", ResponseStatus.FAILED, "malformed_function_call"),
        ("RESPONSE_REJECTED", ResponseStatus.FAILED, "response_rejected"),
        ("PROHIBITED_INPUT_CONTENT", ResponseStatus.INCOMPLETE, "content_filter"),
        ("SOMETHING_NEW", ResponseStatus.INCOMPLETE, "content_filter"),
    ],
)
def test_why_a_turn_ended_reaches_its_terminal(reason, status, told):
    link = Link()
    link.audio()
    ended = link.content(turnComplete=True, turnCompleteReason=reason)[-1]
    assert (ended.status, ended.reason) == (status, told)
    assert (ended.fault is not None) is (status is ResponseStatus.FAILED)


def test_a_turn_in_which_the_model_says_nothing_still_answers_what_was_asked():
    link = Link()
    link.sends(p.CreateResponse(ref="r"))
    assert names(link.content(turnComplete=True)) == ["ResponseBegan", "ResponseEnded"]
    assert link.content(turnComplete=True) == []


# ---------------------------------------------------------------- the user's turn


def test_the_users_turn_is_inferred_from_the_answer_and_comes_before_it():
    link = Link()
    (partial,) = link.content(inputTranscription={"text": "What "})
    link.content(inputTranscription={"text": "time?"})
    committed, began, _ = link.audio()
    assert (committed.item_id, committed.inferred) == (partial.item_id, True)
    assert isinstance(began, p.ResponseBegan)
    done = link.content(generationComplete=True)[-1]
    assert done == p.InputTranscriptDone(item_id=partial.item_id, text="What time?")


def test_words_that_trail_the_beginning_of_the_answer_belong_to_the_question():
    link = Link()
    link.content(inputTranscription={"text": "What "})
    link.audio()
    link.content(inputTranscription={"text": "time?"})
    link.content(turnComplete=True)
    assert [event.text for event in link.of(p.InputTranscriptDone)] == ["What time?"]


def test_an_answer_to_audio_whose_words_come_later_has_its_question_in_front():
    link = Link()
    link.sends(p.AppendAudio(bytes(640)))
    assert names(link.audio()) == ["InputCommitted", "ResponseBegan", "AudioDelta"]
    link.content(inputTranscription={"text": "Hello"})
    link.content(turnComplete=True)
    (done,) = link.of(p.InputTranscriptDone)
    assert done.item_id == link.of(p.InputCommitted)[0].item_id


def test_an_answer_to_nothing_leaves_no_question_behind():
    link = Link()
    link.sends(p.AppendAudio(bytes(640)))
    link.audio()
    link.content(turnComplete=True)
    (deleted,) = link.of(p.ItemDeleted)
    assert deleted.item_id == link.of(p.InputCommitted)[0].item_id


@pytest.mark.parametrize("cause", ["text", "request", "background"])
def test_what_something_else_asked_for_is_no_answer_to_the_microphone(cause):
    link = Link()
    if cause == "background":
        link.audio()
        link.content(turnComplete=True, interactionStatus="IN_PROGRESS")
    link.sends(p.AppendAudio(bytes(640)))
    if cause == "text":
        link.sends(p.CreateItem(ref="r", item_id="i", message=UserMessage("x"), turn=True))
    if cause == "request":
        link.sends(p.CreateResponse(ref="r"))
    link.audio()
    assert link.of(p.InputCommitted) == []


def test_voice_activity_declares_the_users_turn():
    link = Link()
    started = link.hears(voiceActivity={"type": "ACTIVITY_START", "audioOffset": "1.500s"})[0]
    assert started.audio_start_ms == 1500
    link.content(inputTranscription={"text": "Hello"})
    stopped, committed = link.hears(voiceActivity={"type": "ACTIVITY_END", "audioOffset": "2.25s"})
    assert stopped.audio_end_ms == 2250
    assert not committed.inferred
    assert started.item_id == stopped.item_id == committed.item_id
    assert names(link.audio()) == ["ResponseBegan", "AudioDelta"]


def test_voice_activity_is_told_on_its_edges_only_and_under_each_of_its_names():
    link = Link()
    assert names(link.hears(voiceActivity={"voiceActivityType": "ACTIVITY_START"})) == [
        "SpeechStarted"
    ]
    assert link.hears(voiceActivity={"type": "ACTIVITY_START"}) == []
    signal = {"vadSignalType": "VAD_SIGNAL_TYPE_EOS"}
    assert names(link.hears(voiceActivityDetectionSignal=signal)) == [
        "SpeechStopped",
        "InputCommitted",
    ]
    assert link.hears(voiceActivity={}) == []


def test_speech_without_words_is_a_failed_transcription_where_there_was_voice():
    link = Link()
    link.hears(voiceActivity={"type": "ACTIVITY_START"})
    link.hears(voiceActivity={"type": "ACTIVITY_END"})
    link.audio()
    link.content(turnComplete=True)
    assert link.of(p.InputTranscriptFailed)[0].fault.code == "no_transcription"


def test_without_transcription_the_machine_alone_says_what_stands_in_history():
    link = Link(dialect(config=RealtimeConfig(input_audio_transcription=NULL)))
    link.sends(p.AppendAudio(bytes(640)))
    link.audio()
    link.content(turnComplete=True)
    assert len(link.of(p.InputCommitted)) == 1
    for kind in (p.InputTranscriptDone, p.InputTranscriptFailed, p.ItemDeleted):
        assert link.of(kind) == []


def test_a_finished_transcription_is_final_once_the_turn_is_committed():
    link = Link()
    link.content(inputTranscription={"text": "Hello", "finished": True})
    assert link.of(p.InputTranscriptDone) == []
    link.audio()
    events = link.content(inputTranscription={"finished": True})
    assert names(events) == ["InputTranscriptDone"]


def test_a_long_answer_does_not_keep_the_question_waiting():
    link = Link()
    link.content(inputTranscription={"text": "Tell me a story"})
    for _ in range(6):
        link.audio(bytes(48_000))
    assert [event.text for event in link.of(p.InputTranscriptDone)] == ["Tell me a story"]
    link.content(inputTranscription={"text": "Stop"})
    link.content(interrupted=True)
    link.content(turnComplete=True)
    link.audio()
    link.content(turnComplete=True)
    texts = [event.text for event in link.of(p.InputTranscriptDone)]
    assert texts == ["Tell me a story", "Stop"]


# ---------------------------------------------------------------- the model's words


def test_words_may_come_before_their_sound():
    link = Link()
    events = link.content(outputTranscription={"text": "Hi"})
    assert names(events) == ["ResponseBegan", "TranscriptDelta"]
    audio = link.audio()[-1]
    assert (audio.response_id, audio.item_id) == (events[1].response_id, events[1].item_id)


def test_words_that_trail_the_turn_belong_to_it():
    link = Link()
    link.audio()
    link.content(turnComplete=True)
    (late,) = link.content(outputTranscription={"text": "bye"})
    assert late.response_id == link.of(p.ResponseEnded)[0].response_id
    assert len(link.of(p.ResponseBegan)) == 1


def test_words_after_the_users_next_turn_begin_another_response():
    link = Link()
    link.audio()
    link.content(turnComplete=True)
    link.content(inputTranscription={"text": "And?"})
    link.content(outputTranscription={"text": "Well"})
    assert len(link.of(p.ResponseBegan)) == 2


def test_written_text_beside_speech_has_an_item_of_its_own():
    link = Link()
    link.audio()
    link.content(outputTranscription={"text": "spoken"})
    link.content(modelTurn={"parts": [{"text": "written"}]})
    assert link.of(p.TextDelta)[0].item_id != link.of(p.TranscriptDelta)[0].item_id


def test_every_delta_has_an_id_of_its_own():
    link = Link()
    for _ in range(20):
        link.content(outputTranscription={"text": "a"})
        link.content(modelTurn={"parts": [{"text": "b"}]})
    ids = [e.event_id for e in (*link.of(p.TranscriptDelta), *link.of(p.TextDelta))]
    assert len(set(ids)) == 40


# ---------------------------------------------------------------- tools


def call(call_id, name="f", **args):
    return {"id": call_id, "name": name, "args": args}


def output(call_id, **rest):
    return p.SendToolOutput(ref="r", call_id=call_id, name="f", output="1", **rest)


def test_parallel_calls_are_all_told_and_the_response_ends_with_the_last_answer():
    link = Link()
    link.audio()
    events = link.hears(toolCall={"functionCalls": [call("a", x=1), call("b", y=[2, None])]})
    assert [(e.call_id, json.loads(e.arguments)) for e in events] == [
        ("a", {"x": 1}),
        ("b", {"y": [2, None]}),
    ]
    link.sends(output("a"))
    assert link.wrote() == []
    link.sends(output("b"))
    assert "ResponseEnded" in names(link.wrote())
    assert names(link.audio()) == ["ResponseBegan", "AudioDelta"]
    link.content(turnComplete=True)
    assert len(link.of(p.ResponseEnded)) == 2


def test_a_call_that_is_told_twice_is_one_call():
    link = Link()
    link.hears(toolCall={"functionCalls": [call("a")]})
    assert link.hears(toolCall={"functionCalls": [call("a")]}) == []
    link.sends(output("a"))
    link.wrote()
    assert link.hears(toolCall={"functionCalls": [call("a")]}) == []
    assert len(link.of(p.ToolCalled)) == 1


def test_a_call_in_the_models_turn_counts_if_it_can_be_answered():
    link = Link()
    events = link.content(modelTurn={"parts": [{"functionCall": call("a")}]})
    assert names(events) == ["ResponseBegan", "ToolCalled"]
    assert link.hears(toolCall={"functionCalls": [call("a")]}) == []


def test_arguments_are_kept_as_they_are_written():
    arguments = f'{{"n":1e400,"big":{10**30}}}'
    told = f'{{"toolCall":{{"functionCalls":[{{"id":"a","name":"f","args":{arguments}}}]}}}}'
    assert Link().codec.decode(told.encode())[-1].arguments == arguments


def test_a_call_without_an_id_is_answered_without_one():
    link = Link()
    event = link.hears(toolCall={"functionCalls": [{"name": "f"}]})[-1]
    assert event.arguments == ""
    (message,) = link.sends(output(event.call_id))
    assert "id" not in message["toolResponse"]["functionResponses"][0]


def test_a_partial_call_is_no_call_yet():
    link = Link()
    partial = {"id": "a", "name": "f", "willContinue": True}
    assert names(link.hears(toolCall={"functionCalls": [partial]})) == [
        "ResponseBegan",
        "OutputProgress",
    ]


def test_revoked_calls_are_told_and_their_answers_are_not_sent():
    link = Link()
    link.hears(toolCall={"functionCalls": [call("a"), call("b")]})
    (revoked,) = link.hears(toolCallCancellation={"ids": ["a"]})
    assert revoked == p.ToolCallsRevoked(("a",))
    assert link.sends(output("a")) == []
    assert len(link.sends(output("b"))) == 1


def test_speech_while_tools_run_is_another_response():
    link = Link()
    link.audio()
    link.hears(toolCall={"functionCalls": [call("a")]})
    assert names(link.audio()) == ["AudioDone", "ResponseEnded", "ResponseBegan", "AudioDelta"]
    link.content(turnComplete=True, interactionStatus="IN_PROGRESS")
    link.sends(output("a"))
    assert link.wrote() == []
    assert names(link.audio()) == ["ResponseBegan", "AudioDelta"]


def test_words_that_trail_a_call_belong_to_the_response_that_called():
    link = Link()
    link.audio()
    link.hears(toolCall={"functionCalls": [call("a")]})
    (late,) = link.content(outputTranscription={"text": "look"})
    assert late.response_id == link.of(p.ToolCalled)[0].response_id


# ---------------------------------------------------------------- usage


def test_usage_of_a_turn_replaces_what_was_told_before_and_is_told_once():
    link = Link()
    link.hears(
        serverContent={"modelTurn": {"parts": [{"text": "a"}]}},
        usageMetadata={"promptTokenCount": 10, "responseTokenCount": 1},
    )
    link.hears(
        serverContent={"turnComplete": True},
        usageMetadata={"promptTokenCount": 10, "responseTokenCount": 5, "thoughtsTokenCount": 2},
    )
    assert link.of(p.ResponseEnded)[0].usage == Usage(input_tokens=10, output_tokens=7)
    assert link.of(p.UsageReported) == []


def test_usage_that_comes_after_the_turn_is_told_by_itself():
    link = Link()
    link.audio()
    link.content(turnComplete=True)
    assert link.of(p.ResponseEnded)[0].usage is None
    (told,) = link.hears(usageMetadata={"promptTokenCount": 3, "candidatesTokenCount": "4"})
    assert told.usage == Usage(input_tokens=3, output_tokens=4)
    assert link.hears(usageMetadata={"promptTokenCount": 3, "candidatesTokenCount": 4}) == []


def test_usage_of_a_turn_with_tools_is_shared_out_without_counting_twice():
    link = Link()
    link.hears(
        toolCall={"functionCalls": [call("a")]},
        usageMetadata={"promptTokenCount": 10, "responseTokenCount": 2},
    )
    link.sends(output("a"))
    link.wrote()
    link.audio()
    link.hears(
        serverContent={"turnComplete": True},
        usageMetadata={"promptTokenCount": 25, "responseTokenCount": 9},
    )
    used = [event.usage for event in link.of(p.ResponseEnded)]
    assert sum((one for one in used), Usage()) == Usage(input_tokens=25, output_tokens=9)


@pytest.mark.parametrize("odd", [-1, 2**60, "x", "", [], {}, 1.5, True])
def test_odd_counts_count_as_absent(odd):
    link = Link()
    link.audio()
    ended = link.hears(
        serverContent={"turnComplete": True},
        usageMetadata={"promptTokenCount": odd, "responseTokenCount": 4},
    )[-1]
    assert ended.usage == Usage(output_tokens=4)


# ---------------------------------------------------------------- the session


def test_setup_complete_with_and_without_an_id():
    assert Link().hears(setupComplete={"sessionId": "s"}) == [p.SessionCreated(session_id="s")]
    assert Link().hears(setupComplete={}) == [p.SessionCreated()]


@pytest.mark.parametrize(
    ("update", "expected"),
    [
        ({"newHandle": "h", "resumable": True}, ("h", None)),
        (
            {"newHandle": "h", "resumable": True, "lastConsumedClientMessageIndex": "12"},
            ("h", 12),
        ),
        ({"newHandle": "h"}, (None, None)),
        ({"resumable": True, "newHandle": ""}, (None, None)),
        ({}, (None, None)),
    ],
)
def test_a_handle_counts_only_where_the_session_can_be_resumed(update, expected):
    (event,) = Link().hears(sessionResumptionUpdate=update)
    assert (event.handle, event.last_consumed) == expected


@pytest.mark.parametrize(
    ("left", "expected"),
    [("59.999999999s", 59.999999999), ("0s", 0.0), ("10s", 10.0), ("soon", None), (7, None)],
)
def test_how_long_is_left(left, expected):
    (event,) = Link().hears(goAway={"timeLeft": left})
    assert event.time_left == expected


def test_handles_are_not_shown():
    (event,) = Link().hears(sessionResumptionUpdate={"newHandle": "secret", "resumable": True})
    assert "secret" not in repr(event)


@pytest.mark.parametrize(
    "message",
    [
        {"error": {"code": 400, "message": "no", "status": "INVALID_ARGUMENT"}},
        {"code": 400, "message": "no", "status": "INVALID_ARGUMENT"},
    ],
)
def test_a_bare_error_is_an_error(message):
    (event,) = Link().hears(**message)
    assert (event.fault.code, event.fault.kind, event.fault.message) == (
        "400",
        "INVALID_ARGUMENT",
        "no",
    )


@pytest.mark.parametrize(
    "name", ["groundingMetadata", "urlContextMetadata", "interimInputTranscription"]
)
def test_what_has_no_neutral_form_reaches_the_application_raw(name):
    (event,) = Link().content(**{name: {}})
    assert event.type == f"serverContent.{name}"


# ---------------------------------------------------------------- generated messages


@pytest.mark.parametrize("raw", generated())
def test_generated_messages_are_the_vendors_and_are_understood(raw):
    check(json.loads(raw), "server")
    for made in (dialect(), dialect(EXPLICIT), dialect(model=NATIVE)):
        events = made.codec("l").decode(raw)
        assert not any(isinstance(event, p.ProtocolFault) for event in events)
        unknown = [e.type for e in events if isinstance(e, p.UnknownFrame)]
        assert all(name.startswith("serverContent.") for name in unknown)


def test_a_manual_session_commits_nothing_by_itself():
    link = Link(dialect(EXPLICIT))
    link.sends(p.AppendAudio(bytes(640)))
    link.content(inputTranscription={"text": "Hello"})
    link.audio()
    assert link.of(p.InputCommitted) == []


def test_no_interruption_means_that_speech_over_the_model_is_the_next_turn():
    config = RealtimeConfig(turn_detection=VadConfig(interrupt_response=False))
    link = Link(dialect(config=config))
    link.content(inputTranscription={"text": "One"})
    link.audio()
    link.content(generationComplete=True)
    link.content(inputTranscription={"text": "Two"})
    link.content(turnComplete=True)
    link.audio()
    link.content(turnComplete=True)
    assert [event.text for event in link.of(p.InputTranscriptDone)] == ["One", "Two"]


def test_words_that_are_final_before_the_answer_do_not_make_a_second_turn_of_it():
    link = Link()
    link.sends(p.AppendAudio(data=bytes(640)))
    link.hears(voiceActivity={"type": "ACTIVITY_START"})
    link.hears(voiceActivity={"type": "ACTIVITY_END"})
    link.content(inputTranscription={"text": "Hello", "finished": True})
    link.sends(p.AppendAudio(data=bytes(640)))
    link.audio()
    link.content(turnComplete=True)
    assert len(link.of(p.InputCommitted)) == 1
    assert link.of(p.ItemDeleted) == []
    # The audio since is nobody's turn yet; the next answer is to it.
    link.sends(p.AppendAudio(data=bytes(640)))
    link.audio()
    assert [event.inferred for event in link.of(p.InputCommitted)] == [False, True]
