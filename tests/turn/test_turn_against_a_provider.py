"""The machine against a small provider that keeps its own list of the conversation.

Whatever the order of speech, typing, tools, interruptions and acknowledgements: the canonical
history is the provider's conversation, every item with exactly the words that were heard.
"""

from __future__ import annotations

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from turnkit import SECOND, Hand, ev, fx, p, result, tool

WORDS = "alpha bravo charlie delta echo foxtrot golf hotel india juliet kilo lima"


@attrs.define
class Item:
    """A line of the provider's conversation."""

    id: str
    text: str = ""
    seconds: float = 0.0


class Provider:
    """One response at a time, speech in whole seconds, commands in the order in which they come."""

    def __init__(self, hand: Hand) -> None:
        self.hand = hand
        self.items: list[Item] = []
        self.active: str | None = None
        self.speaking: Item | None = None
        self.unsaid: list[tuple[str, float]] = []
        self.count = 0
        self.read = 0  # commands of the machine that were read
        self.unheard_user: str | None = None
        self.calls = 0
        self.played: dict[str, float] = {}

    def name(self, kind: str) -> str:
        self.count += 1
        return f"{kind}{self.count}"

    def tail(self) -> str | None:
        return self.items[-1].id if self.items else None

    def add(self, item: Item, kind: p.ItemKind) -> None:
        previous = self.tail()
        self.items.append(item)
        self.hand.see(p.ItemAdded(item_id=item.id, previous_item_id=previous, kind=kind))

    # ------------------------------------------------------------ what happens by itself

    def user_starts(self) -> None:
        if self.unheard_user is None:
            self.unheard_user = self.name("U")
            self.hand.see(p.SpeechStarted(item_id=self.unheard_user))
            if self.active is not None:
                self.finish(p.ResponseStatus.CANCELLED)

    def user_stops(self) -> None:
        if self.unheard_user is None:
            return
        item, self.unheard_user = Item(self.unheard_user, f"said {self.count}"), None
        self.hand.see(
            p.SpeechStopped(item_id=item.id),
            p.InputCommitted(item_id=item.id, previous_item_id=self.tail()),
        )
        self.add(item, p.ItemKind.USER)
        self.respond(None)

    def transcribe(self) -> None:
        for item in self.items:
            if item.text.startswith("said"):
                self.hand.see(p.InputTranscriptDone(item_id=item.id, text=item.text))

    def respond(self, ref: str | None) -> None:
        if self.active is not None or self.unheard_user is not None:
            return
        self.active = self.name("R")
        self.hand.begin(self.active, ref=ref if self.hand.settings.echoes_refs else None)

    def speak(self, words: int, *, same_item: bool) -> None:
        if self.active is None:
            return
        # What it still says of an item that was cut meanwhile would shift the letters of its share.
        cut = self.active in {event.response_id for event in self.hand.of(ev.Interrupted)}
        if self.speaking is None or cut or not same_item:
            self.end_item()
            self.speaking = Item(self.name("A"))
            self.hand.see(
                p.OutputItemBegan(
                    response_id=self.active, item_id=self.speaking.id, kind=p.ItemKind.ASSISTANT
                )
            )
            self.add(self.speaking, p.ItemKind.ASSISTANT)
        said = " ".join(WORDS.split()[:words])
        delta = f" {said}" if self.speaking.text else said
        self.speaking.text += delta
        self.speaking.seconds += words
        self.hand.see(
            p.TranscriptDelta(self.name("e"), self.active, self.speaking.id, delta),
            p.AudioDelta(self.active, self.speaking.id, bytes(words * SECOND)),
        )
        self.hand.deliver(self.speaking.id, words)

    def end_item(self) -> None:
        if self.speaking is not None and self.active is not None:
            self.hand.spoken(self.active, self.speaking.id, self.speaking.text)
        self.speaking = None

    def call(self) -> None:
        if self.active is not None:
            self.calls += 1
            self.end_item()
            item = Item(self.name("F"))
            self.hand.see(
                p.OutputItemBegan(
                    response_id=self.active, item_id=item.id, kind=p.ItemKind.TOOL_CALL
                )
            )
            self.add(item, p.ItemKind.TOOL_CALL)
            self.hand.call(self.active, f"call_{self.calls}")

    def finish(self, status: p.ResponseStatus) -> None:
        if self.active is not None:
            self.end_item()
            name, self.active = self.active, None
            self.hand.end(name, status)

    # ------------------------------------------------------------ what it is told

    def obey(self) -> None:
        """Carry out what the machine sent since the last time."""
        while self.read < len(self.hand.sent()):
            command = self.hand.sent()[self.read]
            self.read += 1
            match command:
                case p.CreateItem(item_id=item_id, message=message):
                    self.add(Item(item_id, message.text_content()), p.ItemKind.USER)
                case p.SendToolOutput():
                    self.add(Item(self.name("O")), p.ItemKind.TOOL_OUTPUT)
                case p.CreateResponse(ref=ref):
                    if self.active is not None:
                        self.refuse(p.ErrorMeaning.ACTIVE_RESPONSE, ref)
                    else:
                        self.respond(ref)
                case p.CancelResponse(ref=ref, response_id=name):
                    if name == self.active:
                        self.finish(p.ResponseStatus.CANCELLED)
                    else:
                        self.refuse(p.ErrorMeaning.NOTHING_TO_CANCEL, ref)
                case p.TruncateItem(item_id=item_id, audio_end_ms=ms):
                    item = next(item for item in self.items if item.id == item_id)
                    assert ms <= item.seconds * 1000, "more than there is"
                    item.text = prefix(item.text, ms / 1000 / item.seconds)
                    item.seconds = ms / 1000
                    self.hand.see(p.ItemTruncated(item_id=item_id, audio_end_ms=ms))
                case p.DeleteItem(item_id=item_id):
                    self.items = [item for item in self.items if item.id != item_id]
                    self.hand.see(p.ItemDeleted(item_id))

    def refuse(self, meaning: p.ErrorMeaning, ref: str) -> None:
        self.hand.see(p.CommandRefused(meaning=meaning, fault=ev.ProviderFault(), ref=ref))


def prefix(text: str, share: float) -> str:
    """The whole words among the first `share` of the letters, word by word."""
    if share >= 1:
        return text
    letters = int(len(text) * share)
    kept: list[str] = []
    for word in text.split():
        if len(" ".join([*kept, word])) > letters:
            break
        kept.append(word)
    return " ".join(kept)


plot = st.lists(
    st.one_of(
        st.just(("user_starts",)),
        st.just(("user_stops",)),
        st.just(("transcribe",)),
        st.tuples(st.just("speak"), st.integers(1, 6), st.booleans()),
        st.tuples(st.just("speak"), st.integers(1, 6), st.booleans()),
        st.tuples(st.just("speak"), st.integers(1, 6), st.booleans()),
        st.tuples(st.just("speak"), st.integers(1, 6), st.booleans()),
        st.just(("call",)),
        st.just(("finish",)),
        st.just(("tool",)),
        st.just(("type", True)),
        st.just(("type", False)),
        st.just(("ask",)),
        st.just(("interrupt",)),
        st.just(("obey",)),
        st.just(("obey",)),
        st.tuples(st.just("wait"), st.sampled_from([0.1, 0.7, 1.0, 2.3, 5.0])),
    ),
    min_size=12,
    max_size=50,
)


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(script=plot, prompt=st.booleans(), echoes=st.booleans())
def test_history_is_the_conversation_of_the_provider(script, prompt, echoes):
    hand = Hand(tools=(tool(),), transcription_deadline=1e6, nudge_timeout=50.0, echoes_refs=echoes)
    provider = Provider(hand)
    for name, *arguments in script:
        match name:
            case "speak":
                provider.speak(arguments[0], same_item=arguments[1])
            case "finish":
                provider.finish(p.ResponseStatus.COMPLETED)
            case "tool":
                for started in hand.effects_of(fx.StartTool):
                    hand.do("tool_returned", result(started.call_id))
            case "type":
                # Typing while commands are on their way: who is first is not decided here.  Typing
                # over speech makes all of that history, which a later interruption cannot undo.
                provider.obey()
                hand.wait(40.0)
                provider.obey()
                hand.do("send_text", f"typed {len(hand.events)}", respond=arguments[0])
                provider.obey()
            case "ask":
                hand.do("request_response", p.ResponseOptions())
            case "interrupt":
                hand.do("interrupt")
            case "wait":
                if arguments[0] >= hand.settings.cancel_deadline:
                    provider.obey()  # later than that, it counts as gone
                hand.wait(arguments[0])
            case _:
                getattr(provider, name)()
        if prompt:
            provider.obey()
    # Everybody finishes what they were doing.
    provider.user_stops()
    for _ in range(12):
        provider.obey()
        for started in hand.effects_of(fx.StartTool):
            hand.do("tool_returned", result(started.call_id))
        provider.finish(p.ResponseStatus.COMPLETED)
    provider.transcribe()
    hand.wait(200.0)
    provider.obey()
    provider.finish(p.ResponseStatus.COMPLETED)
    hand.wait(200.0)

    assert hand.history == [(item.id, item.text) for item in provider.items if item.text]
    assert hand.sizes() == {}
    settled = [e.request_id for e in hand.effects_of(fx.SettleRequest)]
    assert len(settled) == len(set(settled))
    assert sorted(e.response_id for e in hand.of(ev.ResponseStarted)) == sorted(
        e.response_id for e in hand.of(ev.TurnCompleted)
    )
    assert len(hand.of(ev.Interrupted)) == len({e.response_id for e in hand.of(ev.Interrupted)})
    assert [d for d in hand.diagnostics if d.rule.value.endswith("conflict")] == []
