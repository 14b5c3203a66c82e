"""Function calls: waited for or not, answered at once or later, revoked."""

from __future__ import annotations

import pytest
from support.embedded_session import recording
from support.gemini_engine import (
    AUDIO,
    SPOKEN,
    TEXT,
    Session,
    answers,
    calls_of,
    contents,
    declared,
    kinds,
    realtime,
    said,
    typed,
    wrote,
)

from meerkat_rt.embedded import BrainCall, BrainOutput, Call, Say

NEWEST = "models/gemini-3.8-live"
LIVE_3_1 = "models/gemini-3.1-flash-live-preview"


class Caller:
    """Calls what it is told to call, then says what it got."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.seen: list[tuple] = []

    def reply(self, request):
        self.seen.append(request.history)
        last = request.history[-1]
        if isinstance(last, BrainOutput):
            outputs = [e.output for e in request.history if isinstance(e, BrainOutput)]
            return [Say(f"got {', '.join(outputs)}")]
        if "plain" in last.text:
            return [Say("plainly said, in quite a few words, and some more")]
        return [Say("Let me see. "), *(Call(name, {"city": name}) for name in self.names)]


def waiting(*names: str, **changes: object) -> tuple[Session, list[str]]:
    """A session whose model waits for calls to these functions, and their ids."""
    brain = Caller(*names)
    tools = [declared(name) for name in names]
    session = Session(
        setup={"generationConfig": AUDIO, **SPOKEN, "tools": tools}, brain=brain, **changes
    )
    messages = session.ask("look")
    return session, [call["id"] for call in calls_of(messages)]


def test_the_model_waits_for_all_its_calls_and_then_goes_on_in_the_same_turn():
    session, ids = waiting("one", "two")

    assert len(set(ids)) == 2
    assert contents(session.messages, "turnComplete") == []
    assert session.send(answers(ids[1])) == []
    assert session.run() == []
    messages = session.send(answers(ids[0])) + session.run()

    assert said(messages) == 'got {"output":"sunny"}, {"output":"sunny"}'
    assert kinds(messages)[-4:-1] == ["generationComplete", "turnComplete", "interactionStatus"]
    assert len(contents(session.messages, "turnComplete")) == 1


def test_what_was_said_before_a_call_is_in_the_history_once():
    session, ids = waiting("one")
    session.send(answers(*ids))
    session.run()

    user, spoken, call, output = session.brain.seen[1]
    assert user.text == "look"
    assert spoken.text == "Let me see. "
    assert (call.name, call.arguments) == ("one", '{"city":"one"}')
    assert isinstance(call, BrainCall)
    assert output.call_id == call.call_id


def test_an_interruption_revokes_what_the_model_waits_for():
    session, ids = waiting("one", "two")
    session.send(answers(ids[0]))

    messages = session.send(typed("plain, please"))

    assert kinds(messages)[:3] == ["interrupted", "toolCallCancellation", "turnComplete"]
    assert messages[1]["toolCallCancellation"]["ids"] == [ids[1]]
    # The late answer crossed the cancellation on the wire: it is nobody's.
    assert session.send(answers(ids[1])) == []
    assert session.closed is None
    assert said(session.run()).startswith("plainly said")


def test_an_answer_to_no_call_closes_the_connection():
    session, _ = waiting("one")

    session.refuses(answers("function-call_9"), 1007, "No function call")


def test_an_answer_without_an_id_closes_the_connection():
    session, _ = waiting("one")
    answer = {"toolResponse": {"functionResponses": [{"name": "one", "response": {}}]}}

    session.refuses(answer, 1007, "id is required")


def test_on_vertex_an_answer_may_go_by_its_name():
    brain = Caller("one")
    session = Session(vertex=True, brain=brain)
    model = "projects/p/locations/l/publishers/google/models/gemini-test"
    setup = {"model": model, "generationConfig": TEXT, "tools": [declared("one")]}
    session.send({"setup": setup})
    session.ask("look")

    session.send({"toolResponse": {"functionResponses": [{"name": "one", "response": {}}]}})
    messages = session.run()

    assert wrote(messages) == "got {}"
    assert "candidatesTokenCount" in messages[-1]["usageMetadata"]


def test_an_answer_has_to_be_an_object():
    session, ids = waiting("one")

    session.refuses(answers(*ids, response="sunny"), 1007, "Struct")  # type: ignore[arg-type]


def test_an_answer_may_come_in_parts():
    session, ids = waiting("one")

    assert session.send(answers(*ids, willContinue=True)) == []
    assert session.run() == []
    session.send(answers(*ids))

    assert said(session.run()).count("sunny") == 2


# ---------------------------------------------------------------- calls that are not waited for


def unwaited(**changes: object) -> tuple[Session, list[str]]:
    """A session with one of the newest models, which has called a function and talks on."""
    setup = {"model": NEWEST, "generationConfig": AUDIO, **SPOKEN, "tools": [declared("one")]}
    session = Session(setup=setup, brain=Caller("one"), **changes)
    messages = session.ask("look")
    return session, [call["id"] for call in calls_of(messages)]


def test_the_newest_models_do_not_wait_unless_they_are_told_to():
    session, ids = unwaited()

    assert contents(session.messages, "turnComplete") == [True]
    assert contents(session.messages, "interactionStatus") == ["IN_PROGRESS"]
    messages = session.send(answers(*ids)) + session.run()
    assert said(messages).startswith("got")
    assert contents(messages, "interactionStatus") == ["IDLE"]

    blocking = declared("one", behavior="BLOCKING")
    setup = {"model": NEWEST, "generationConfig": AUDIO, "tools": [blocking]}
    told = Session(setup=setup, brain=Caller("one"))
    assert contents(told.ask("look"), "turnComplete") == []


def test_an_answer_when_idle_waits_for_the_end_of_the_turn():
    session, ids = unwaited()
    session.send(typed("plain talk"))
    session.step(3)

    assert session.send(answers(*ids)) == []
    messages = session.run()

    assert len(contents(messages, "turnComplete")) == 2
    assert contents(messages, "interrupted") == []
    assert "got" in said(messages)


def test_an_answer_that_interrupts_is_spoken_about_at_once():
    session, ids = unwaited()
    session.send(typed("plain talk"))
    session.step(3)

    messages = session.send(answers(*ids, scheduling="INTERRUPT"))

    assert kinds(messages)[:2] == ["interrupted", "turnComplete"]
    assert said(session.run()).startswith("got")


def test_a_silent_answer_is_remembered_and_not_spoken_about():
    session, ids = unwaited()

    assert session.send(answers(*ids, scheduling="SILENT")) == []
    assert session.run() == []
    session.ask("plain talk")

    assert any(isinstance(entry, BrainOutput) for entry in session.brain.seen[-1])


def test_nobody_is_answered_while_the_user_speaks():
    session, ids = unwaited()
    session.hear(loud())

    assert session.send(answers(*ids, scheduling="INTERRUPT")) == []
    assert session.thinking == []


def loud() -> bytes:
    return recording("goforward", 16_000)[: 16_000 * 3 // 2].tobytes()


def test_an_interruption_leaves_calls_that_are_not_waited_for():
    session, ids = unwaited()
    session.send(typed("plain talk"))
    session.step(3)

    messages = session.send(typed("plain again"))

    assert "toolCallCancellation" not in kinds(messages)
    session.run()
    assert said(session.send(answers(*ids)) + session.run()).startswith("got")


def test_scheduling_closes_the_connection_of_a_model_that_has_none():
    setup = {"model": LIVE_3_1, "generationConfig": AUDIO, "tools": [declared("one")]}
    session = Session(setup=setup, brain=Caller("one"))
    session.send(realtime(text="look"))
    (call,) = calls_of(session.run())

    session.refuses(answers(call["id"], scheduling="WHEN_IDLE"), 1007, "scheduling")


@pytest.mark.parametrize("arguments", ["no json", "[1]", "3"])
def test_arguments_are_an_object_whatever_the_brain_says(arguments):
    class Odd:
        def reply(self, request):
            return [Call("one", arguments)]

    session = Session(setup={"generationConfig": TEXT, "tools": [declared("one")]}, brain=Odd())

    (call,) = calls_of(session.ask("look"))

    assert call["args"] == {}


def test_functions_are_offered_with_their_schema_whichever_dialect_it_is_in():
    class Looking:
        tools: tuple = ()

        def reply(self, request):
            Looking.tools = request.tools
            return []

    own = {"name": "b", "parametersJsonSchema": {"type": "object"}, "description": "does b"}
    tools = [declared("a"), {"functionDeclarations": [own]}, {"googleSearch": {}}]
    session = Session(setup={"generationConfig": TEXT, "tools": tools}, brain=Looking())
    session.ask("?")

    a, b = Looking.tools
    assert a.parameters == {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    }
    assert (b.name, b.description, b.parameters) == ("b", "does b", {"type": "object"})
