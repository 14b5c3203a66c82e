"""Random orders of everything that can happen, against rules and models that share no code."""

from __future__ import annotations

from collections import Counter
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from turnkit import EXPLICIT, SECOND, Hand, ev, fx, p, result, tool

from meerkat_rt.model.conversation import Usage
from meerkat_rt.model.errors import InvalidRequest
from meerkat_rt.model.media import ResponseModality

QUICK = settings(
    max_examples=250,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
REACHED: Counter[str] = Counter()  # outcomes seen over the whole run

TOOLS = (
    tool("quick", deadline=3.0),
    tool("silent", on_interrupt=fx.InterruptPolicy.FINISH_SILENTLY, deadline=8.0),
    tool("keen", on_interrupt=fx.InterruptPolicy.FINISH_AND_RESPOND, deadline=8.0),
    tool("mine", handled=False, deadline=5.0),
)

responses = st.sampled_from([f"R{number}" for number in range(1, 9)])
items = st.sampled_from(["A1", "A2", "A3", "U1", "U2"])
maybe_items = st.none() | items
calls = st.sampled_from(["c1", "c2", "c3", "c4"])
kinds = st.sampled_from(list(p.ItemKind))
statuses = st.sampled_from(list(p.ResponseStatus))
texts = st.sampled_from(["", "one ", "one two three ", "four"])
fault = ev.ProviderFault(code="x", message="no")

tool_calls = st.builds(
    p.ToolCalled,
    response_id=responses,
    item_id=st.none(),
    call_id=calls,
    name=st.sampled_from(["quick", "silent", "keen", "mine", "unknown"]),
    arguments=st.sampled_from(["", "{}", "[]", "{"]),
)

# Everything a provider can say, in any order whatever.
provider_events = st.one_of(
    st.builds(p.ResponseBegan, response_id=responses, in_conversation=st.just(True)),
    st.builds(
        p.ResponseBegan,
        response_id=st.sampled_from(["O1", "O2"]),
        in_conversation=st.just(False),
    ),
    st.builds(
        p.ResponseEnded,
        response_id=responses,
        status=statuses,
        calls=st.lists(tool_calls, max_size=2).map(tuple),
        item_ids=st.lists(items, max_size=2).map(tuple),
    ),
    st.builds(
        p.ResponseEnded,
        response_id=st.sampled_from(["O1", "O2"]),
        status=statuses,
        in_conversation=st.just(False),
    ),
    st.builds(p.TextDelta, st.just(""), responses, items, texts),
    st.builds(p.TranscriptDelta, st.just(""), responses, items, texts),
    st.builds(p.AudioDelta, responses, items, st.sampled_from([b"", bytes(SECOND)])),
    st.builds(
        p.TranscriptDone, event_id=st.just(""), response_id=responses, item_id=items, text=texts
    ),
    st.builds(p.TextDone, event_id=st.just(""), response_id=responses, item_id=items, text=texts),
    st.builds(p.AudioDone, response_id=responses, item_id=items),
    st.builds(p.OutputProgress, response_id=responses),
    st.builds(p.OutputItemBegan, response_id=responses, item_id=maybe_items, kind=kinds),
    st.builds(p.OutputItemEnded, response_id=responses, item_id=maybe_items, kind=kinds),
    tool_calls,
    st.builds(p.ToolCallsRevoked, st.lists(calls, max_size=2).map(tuple)),
    st.builds(
        p.ServerToolProgress,
        item_id=st.sampled_from(["M1", "M2"]),
        status=st.sampled_from(["requested", "completed", "failed"]),
        name=st.sampled_from(["", "search"]),
        arguments=st.sampled_from(["", "{}"]),
    ),
    st.builds(p.SpeechStarted, item_id=maybe_items),
    st.builds(p.SpeechStopped, item_id=maybe_items),
    st.builds(p.InputCommitted, item_id=maybe_items, previous_item_id=maybe_items),
    st.just(p.InputCleared()),
    st.builds(p.InputTranscriptDelta, item_id=maybe_items, delta=texts),
    st.builds(p.InputTranscriptDone, item_id=maybe_items, text=texts),
    st.builds(p.InputTranscriptFailed, item_id=items),
    st.builds(p.ItemAdded, item_id=maybe_items, previous_item_id=maybe_items, kind=kinds),
    st.builds(p.ItemTruncated, item_id=items, audio_end_ms=st.integers(0, 3000)),
    st.builds(p.ItemDeleted, items),
    st.just(p.SessionCreated()),
    st.just(p.SessionUpdated()),
    st.builds(p.ProviderError, fault=st.just(fault), fatal=st.booleans()),
    st.builds(
        p.CommandRefused, meaning=st.sampled_from(list(p.ErrorMeaning)), fault=st.just(fault)
    ),
    st.just(p.GoingAway()),
    st.builds(p.ResponseInterrupted, response_id=st.none() | responses, by_user=st.booleans()),
    st.just(p.UsageReported(Usage(input_tokens=1))),
    st.just(p.ResumptionUpdated()),
    st.just(p.SeedAcknowledged("A1")),
    st.just(p.UnknownFrame(type="x", raw=b"{}")),
    st.just(p.ProtocolFault(message="broken", raw=b"{")),
).map(lambda event: ("see", event))

# Answers that name one of our own commands, by its age.
echoes = st.one_of(
    st.tuples(st.just("begin_for"), responses, st.integers(0, 3)),
    st.tuples(st.just("refuse"), st.sampled_from(list(p.ErrorMeaning)), st.integers(0, 3)),
)

commands = st.one_of(
    st.tuples(st.just("send_text"), texts, st.booleans()),
    st.tuples(st.just("commit_turn"), st.sampled_from([None, ResponseModality.TEXT])),
    st.tuples(st.just("commit_audio")),
    st.tuples(st.just("clear_audio")),
    st.tuples(st.just("audio_appended")),
    st.tuples(st.just("request_response"), st.booleans()),
    st.tuples(st.just("interrupt")),
    st.tuples(st.just("interrupt_one"), responses),
    st.tuples(st.just("truncate"), items, st.integers(0, 3000)),
    st.tuples(st.just("submit_tool_result"), calls),
    st.tuples(st.just("submit_tool_error"), calls),
    st.tuples(st.just("update_session")),
    st.tuples(st.just("send_raw")),
    st.tuples(st.just("audio_delivered"), items),
    st.tuples(st.just("audio_dropped"), items),
    st.tuples(st.just("report_playback"), items, st.integers(0, 3000)),
    st.tuples(st.just("tool_returned"), calls, st.booleans()),
    st.tuples(st.just("newest_tool_returned")),
    st.tuples(st.just("tool_raised"), calls),
    st.tuples(st.just("tool_stopped"), calls),
)

# A session that makes sense most of the time: a response, its items and their content in order.
stories = st.sampled_from(
    [("story_speech", True), ("story_speech", False), ("story_call",), ("story_user",)]
)
waits = st.sampled_from([0.0, 0.02, 0.3, 0.75, 2.0, 6.0, 40.0]).map(lambda s: ("wait", s))

step = st.sampled_from(
    [provider_events, provider_events, echoes, commands, commands, stories, stories, waits]
)
# A list is about twice as long as its minimum.
steps = st.lists(step.flatmap(lambda kind: kind), min_size=15, max_size=60)
modes = st.sampled_from(
    [
        {"echoes_refs": True},
        {"echoes_refs": False},
        {"turning_mode": EXPLICIT},
        {"provider_interrupts": False},
        {"provider_interrupts": False, "cancel_on_barge_in": False},
        {"truncate_supported": False, "interrupt_supported": False},
        {"nudge_supported": False, "provider_continues": True, "transcribes_input": False},
    ]
)


def play(hand: Hand, script: list[tuple[Any, ...]]) -> None:
    """Run the script; only the caller's own mistakes may raise."""
    for counter, (name, *arguments) in enumerate(script):
        try:
            if name == "see":
                event = arguments[0]
                if getattr(event, "event_id", None) == "":
                    event = attrs.evolve(event, event_id=f"e{counter}")
                hand.see(event)
            elif name == "begin_for":
                creates = hand.sent(p.CreateResponse)[-4:]
                if len(creates) > arguments[1]:
                    hand.begin(arguments[0], ref=creates[-1 - arguments[1]].ref)
            elif name == "refuse":
                known = [c for c in hand.sent() if hasattr(c, "ref")][-4:]
                if len(known) > arguments[1]:
                    ref = known[-1 - arguments[1]].ref
                    hand.see(p.CommandRefused(meaning=arguments[0], fault=fault, ref=ref))
            elif name == "story_speech":
                response, item = f"S{counter}", f"B{counter}"
                hand.begin(response)
                hand.item(response, item)
                hand.speak(response, item, "one two three four", 2.0)
                hand.spoken(response, item, "one two three four")
                hand.deliver(item, 2.0)
                if arguments[0]:
                    hand.end(response)
            elif name == "story_call":
                hand.call(f"S{counter}", f"call{counter}", ["quick", "silent", "keen"][counter % 3])
                hand.end(f"S{counter}")
            elif name == "story_user":
                hand.user_turn(f"V{counter}", "words" if counter % 2 else None)
            elif name == "wait":
                hand.wait(arguments[0])
            elif name == "send_text":
                hand.do(name, arguments[0], respond=arguments[1])
            elif name == "commit_turn":
                options = arguments[0] and p.ResponseOptions(modality=arguments[0])
                hand.do(name, options)
            elif name == "audio_appended":
                hand.do(name, 4800)
            elif name == "request_response":
                hand.do(name, p.ResponseOptions(in_conversation=arguments[0]))
            elif name in ("truncate", "report_playback"):
                hand.do(name, arguments[0], 0, arguments[1])
            elif name == "submit_tool_result":
                hand.do(name, result(arguments[0]))
            elif name in ("submit_tool_error", "tool_raised"):
                hand.do(name, arguments[0], "boom")
            elif name == "update_session":
                hand.do(name, {}, None)
            elif name == "interrupt_one":
                hand.do("interrupt", response_id=arguments[0])
            elif name == "send_raw":
                hand.do(name, {"type": "x"})
            elif name in ("audio_delivered", "audio_dropped"):
                hand.do(name, arguments[0], 0, SECOND // 2)
            elif name == "tool_returned":
                hand.do(name, result(arguments[0], is_error=arguments[1]))
            elif name == "newest_tool_returned":
                for started in hand.effects_of(fx.StartTool)[-1:]:
                    hand.do("tool_returned", result(started.call_id))
            else:
                hand.do(name, *arguments)
        except InvalidRequest:
            pass


def check_responses(hand: Hand) -> None:
    """One beginning, at most one Interrupted, one terminal; nothing of a dead one gets through."""
    started: list[str] = []
    interrupted: list[str] = []
    ended: list[str] = []
    active: list[str] = []  # in conversation
    for event in hand.events:
        match event:
            case ev.ResponseStarted(response_id=name, in_conversation=inside):
                assert name not in started
                started.append(name)
                if inside:
                    # Others may only be dying: their terminals are on the way.
                    active.append(name)
            case ev.Interrupted(response_id=name):
                assert name in started
                assert name not in interrupted
                interrupted.append(name)
            case ev.TurnCompleted(response_id=name):
                assert name in started
                assert name not in ended
                ended.append(name)
                active = [other for other in active if other != name]
            case (
                ev.OutputAudioChunk(response_id=name)
                | ev.OutputTextDeltaForItem(response_id=name)
                | ev.OutputAudioTranscriptDeltaForItem(response_id=name)
                | ev.AssistantTranscriptFinal(response_id=name)
            ):
                assert name in started
                assert name not in interrupted
                assert name not in ended
                assert name.startswith("O") or active[-1] == name
            case _:
                pass
    assert sorted(started) == sorted(ended)


def check_calls(hand: Hand) -> None:
    """One request and one outcome per call; its handler started once, cancelled only if it ran."""
    requested = [e.call_id for e in hand.of(ev.ToolCallRequested)]
    finished = [e.call_id for e in hand.of(ev.ToolCallFinished)]
    assert len(set(requested)) == len(requested)
    assert sorted(requested) == sorted(finished)
    begun = [e.call_id for e in hand.effects_of(fx.StartTool)]
    stopped = [e.call_id for e in hand.effects_of(fx.CancelTool)]
    assert len(set(begun)) == len(begun)
    assert len(set(stopped)) == len(stopped)
    assert set(stopped) <= set(begun) <= set(requested)
    outputs = [c.call_id for c in hand.sent(p.SendToolOutput)]
    assert len(set(outputs)) == len(outputs)
    given = {e.call_id for e in hand.of(ev.ToolCallFinished) if e.output is not None}
    assert given == set(outputs)
    for event in hand.of(ev.ToolCallFinished):
        REACHED[event.outcome.value] += 1


def check_requests(hand: Hand) -> None:
    """No request settles twice, and none is left."""
    settled = [e.request_id for e in hand.effects_of(fx.SettleRequest)]
    assert len(set(settled)) == len(settled)
    for effect in hand.effects_of(fx.SettleRequest):
        REACHED[type(effect.outcome).__name__] += 1


def check_commands(hand: Hand) -> None:
    """Whoever awaits a command is told once, and only about commands that were sent."""
    refs = [c.ref for c in hand.sent() if hasattr(c, "ref")]
    told = [e.ref for e in hand.effects_of(fx.SettleCommand)]
    assert len(set(told)) == len(told)
    assert max((len(ref) for ref in refs), default=0) <= 32


@QUICK
@given(modes, steps)
def test_whatever_happens_every_ledger_balances(mode, script):
    hand = Hand(tools=TOOLS, **mode)
    play(hand, script)
    hand.do("close")
    assert hand.sizes() == {}
    assert hand.machine.next_deadline is None
    check_responses(hand)
    check_calls(hand)
    check_requests(hand)
    check_commands(hand)


def growth(hand: Hand) -> list[tuple[int, int, int]]:
    """How many events, messages and effects there are, each time that they are taken."""
    seen: list[tuple[int, int, int]] = []
    take = hand.take

    def noted() -> list[Any]:
        told = take()
        seen.append((len(hand.events), len(hand.messages), len(hand.effects)))
        return told

    hand.take = noted  # type: ignore[method-assign]
    return seen


@QUICK
@given(modes, steps)
def test_runs_of_deltas_that_are_kept_back_change_nothing_but_the_time(mode, script):
    at_once, later = Hand(tools=TOOLS, **mode), Hand(tools=TOOLS, **mode)
    later.keep_runs = True
    taken = [growth(hand) for hand in (at_once, later)]
    for hand in (at_once, later):
        play(hand, script)
    assert taken[0] == taken[1]
    REACHED["kept"] += len(at_once.transcript) > len(later.transcript)
    later.keep_runs = False
    for hand in (at_once, later):
        hand.do("close")
    assert later.transcript == at_once.transcript
    assert later.events == at_once.events
    assert later.effects == at_once.effects
    assert later.history == at_once.history
    assert later.messages == at_once.messages


@QUICK
@given(modes, steps)
def test_history_never_stalls(mode, script):
    hand = Hand(tools=TOOLS, **mode)
    play(hand, script)
    hand.do("close")
    blocked = list(hand.authority.blocked)
    assert blocked == []


@QUICK
@given(modes, steps)
def test_when_everything_has_ended_nothing_is_remembered(mode, script):
    hand = Hand(tools=TOOLS, **mode)
    play(hand, script)
    for response_id in list(dict.fromkeys(e.response_id for e in hand.of(ev.ResponseStarted))):
        hand.end(response_id)
    for _ in range(4):  # continuations of what ended now may ask, and be nudged, and be lost
        hand.wait(60.0)
    # Audio that was never taken is still to be heard, until the next turn says that it is not.
    hand.see(p.SpeechStarted(), p.InputCleared())
    hand.wait(60.0)
    left = {key for key in hand.sizes() if key not in ("staged_texts", "server_tools")}
    if not mode.get("cancel_on_barge_in", True):
        left -= {"responses", "playback_parts"}
    # Items that are no response's may stay without a content until something follows them.
    assert left <= {"item_gaps", "item_predecessors", "item_arrivals"}


@QUICK
@given(modes, steps)
def test_same_inputs_same_outputs(mode, script):
    first, second = Hand(tools=TOOLS, **mode), Hand(tools=TOOLS, **mode)
    play(first, script)
    play(second, script)
    assert first.events == second.events
    assert first.transcript == second.transcript
    assert first.effects == second.effects
    assert first.machine.next_deadline == second.machine.next_deadline


@QUICK
@given(modes, steps, st.integers(0, 60))
def test_a_lost_link_ends_what_needs_it_and_sends_nothing_more(mode, script, cut):
    hand = Hand(tools=TOOLS, **mode)
    play(hand, script[:cut])
    hand.do("link_lost")
    sent = len(hand.sent())
    check_responses(hand)
    sizes = hand.sizes()
    for name in ("requests_queued", "requests_outstanding", "requests_owed", "commands"):
        assert name not in sizes
    play(hand, [step for step in script[cut:] if step[0] in ("wait", "tool_returned", "interrupt")])
    hand.do("close")
    assert len(hand.sent()) == sent
    assert hand.sizes() == {}
    check_calls_after_loss(hand)


def check_calls_after_loss(hand: Hand) -> None:
    """Every call has its outcome although nothing could be sent."""
    requested = [e.call_id for e in hand.of(ev.ToolCallRequested)]
    assert sorted(requested) == sorted(e.call_id for e in hand.of(ev.ToolCallFinished))


# ---------------------------------------------------------------- the slot against a list


class ListModel:
    """The response slot as a list of lines: what each request should come to.

    Knows nothing of the implementation: a request is `[state, sends]`, looked up by scanning.
    """

    def __init__(self) -> None:
        self.requests: list[list[Any]] = []
        self.active: str | None = None
        self.answering: list[int] = []
        self.cut = False
        self.unwanted: list[int] = []

    def waiting(self) -> list[int]:
        blocked = [i for i, r in enumerate(self.requests) if r[0] == "blocked"]
        queued = [i for i, r in enumerate(self.requests) if r[0] == "queued"]
        return blocked + queued

    def sent(self) -> int | None:
        return next((i for i, r in enumerate(self.requests) if r[0] == "sent"), None)

    def pump(self) -> None:
        if self.active is None and self.sent() is None and self.waiting():
            first = self.waiting()[0]
            self.requests[first][0] = "sent"
            self.requests[first][1] += 1

    def ask(self) -> None:
        self.requests.append(["queued", 0])
        self.pump()

    def begin(self, name: str, request: int | None) -> None:
        self.active, self.cut = name, False
        self.answering = []
        if request is not None and request in self.unwanted:
            self.unwanted.remove(request)
            self.cut = True
        elif request is not None and self.requests[request][0] == "sent":
            self.requests[request][0] = "running"
            self.answering = [request]

    def end(self, status: p.ResponseStatus) -> None:
        for index in self.answering:
            cancelled = self.cut or status is p.ResponseStatus.CANCELLED
            failed = status is p.ResponseStatus.FAILED and not cancelled
            self.requests[index][0] = (
                "Refused" if failed else "Answered cancelled" if cancelled else "Answered"
            )
        self.active, self.answering = None, []
        self.pump()

    def busy(self, request: int) -> None:
        if request in self.unwanted:
            self.unwanted.remove(request)
            return
        line = self.requests[request]
        if line[0] != "sent":
            return
        line[0] = "blocked" if line[1] <= 3 else "Refused"
        if line[0] == "Refused":
            self.pump()

    def refuse(self, request: int) -> None:
        if request in self.unwanted:
            self.unwanted.remove(request)
        elif self.requests[request][0] == "sent":
            self.requests[request][0] = "Refused"
            self.pump()

    def interrupt(self) -> None:
        for index, line in enumerate(self.requests):
            if line[0] == "sent":
                self.unwanted.append(index)
            if line[0] in ("sent", "queued", "blocked"):
                line[0] = "Superseded"
        if self.active is not None:
            self.cut = True

    def lapse(self) -> None:
        """Half a minute without a word."""
        self.unwanted = []
        if self.active is not None and self.cut:
            self.end(p.ResponseStatus.CANCELLED)
        for line in self.requests:
            if line[0] in ("sent", "queued", "blocked"):
                line[0] = "Lost"
                self.pump()


slot_steps = st.lists(
    st.one_of(
        st.just(("ask",)),
        st.just(("ask",)),
        st.tuples(st.just("begin"), st.booleans()),
        st.tuples(st.just("begin"), st.booleans()),
        st.tuples(st.just("end"), statuses),
        st.tuples(st.just("end"), statuses),
        st.tuples(st.just("busy")),
        st.tuples(st.just("refuse")),
        st.tuples(st.just("interrupt")),
        st.tuples(st.just("lapse")),
    ),
    min_size=10,
    max_size=40,
)


def described(outcome: Any) -> str:
    if outcome is None:
        return "open"
    name = type(outcome).__name__
    if isinstance(outcome, fx.Answered) and outcome.stop_reason.value == "cancelled":
        name += " cancelled"
    return name


@settings(QUICK, max_examples=400)
@given(slot_steps)
def test_the_slot_agrees_with_a_list(script):
    hand = Hand(nudge_timeout=1000.0)
    model = ListModel()
    ids: list[str] = []
    born = 0
    request, ref = None, None  # whose the newest create is, and its reference
    for step in script:
        before = [line[1] for line in model.requests]
        match step:
            case ("ask",):
                ids.append(hand.do("request_response", p.ResponseOptions()))
                model.ask()
            case ("begin", ours) if model.active is None:
                born += 1
                name = f"R{born}"
                mine = ours and request is not None
                hand.begin(name, ref=ref if mine else None)
                model.begin(name, request if mine else None)
            case ("end", status) if model.active is not None:
                hand.end(model.active, status)
                model.end(status)
            case ("busy",) if request is not None and model.active is not None:
                hand.see(
                    p.CommandRefused(meaning=p.ErrorMeaning.ACTIVE_RESPONSE, fault=fault, ref=ref)
                )
                model.busy(request)
            case ("refuse",) if request is not None and model.active is None:
                hand.see(p.CommandRefused(meaning=p.ErrorMeaning.OTHER, fault=fault, ref=ref))
                model.refuse(request)
            case ("interrupt",):
                hand.do("interrupt")
                model.interrupt()
            case ("lapse",):
                hand.wait(31.0)
                model.lapse()
            case _:
                continue
        expected = [line[0] if line[0][0].isupper() else "open" for line in model.requests]
        assert [described(hand.outcome(name)) for name in ids] == expected
        creates = hand.sent(p.CreateResponse)
        assert len(creates) == sum(line[1] for line in model.requests)
        for index, line in enumerate(model.requests):
            if line[1] > (before[index] if index < len(before) else 0):
                request, ref = index, creates[-1].ref
    for name in ids:
        REACHED[described(hand.outcome(name))] += 1


def test_every_outcome_was_reached():
    """The properties above are worth something only if they see all there is to see."""
    if not REACHED:
        pytest.skip("the properties did not run in this session")
    assert {"Answered", "Superseded", "Refused", "Lost"} <= set(REACHED)
    assert {outcome.value for outcome in ev.ToolOutcome} <= set(REACHED)
    assert REACHED["kept"], "no run of deltas was kept back"
