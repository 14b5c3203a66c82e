"""The playback ledger: what was heard, and what an interruption cuts."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from turnkit import FMT, SECOND

from meerkat_rt.turn.playback import MAX_PARTS, Part, PlaybackLedger, Verdict, heard_text

QUICK = settings(max_examples=200, deadline=None, derandomize=True, database=None)


def ledger_with(*seconds: float, response: str = "R") -> tuple[PlaybackLedger, list[Part]]:
    ledger = PlaybackLedger(FMT)
    parts = []
    for number, length in enumerate(seconds):
        part = Part(response, f"A{number}", 0, received=int(length * SECOND), done=True)
        ledger.add(part)
        parts.append(part)
    return ledger, parts


def verdicts(ledger: PlaybackLedger, now: float) -> list[tuple[Verdict, int]]:
    return [(cut.verdict, cut.played_ms) for cut in ledger.plan({"R"}, now)]


def test_nothing_is_heard_before_it_was_delivered():
    ledger, _ = ledger_with(8.0, 5.0)
    assert verdicts(ledger, 100.0) == [(Verdict.DELETE, 0), (Verdict.DELETE, 0)]


def test_what_was_delivered_in_a_burst_plays_in_order_and_in_real_time():
    ledger, (one, two) = ledger_with(8.0, 5.0)
    ledger.deliver(one, one.received, 0.0)
    ledger.deliver(two, two.received, 0.0)
    assert verdicts(ledger, 1.0) == [(Verdict.TRUNCATE, 1000), (Verdict.DELETE, 0)]
    assert verdicts(ledger, 9.5) == [(Verdict.KEEP, 8000), (Verdict.TRUNCATE, 1500)]
    assert verdicts(ledger, 13.0) == [(Verdict.KEEP, 8000), (Verdict.KEEP, 5000)]


def test_a_pause_in_the_delivery_is_a_pause_in_the_playback():
    ledger, (one,) = ledger_with(3.0)
    ledger.deliver(one, SECOND, 0.0)
    ledger.deliver(one, SECOND, 10.0)  # it fell silent at 1.0
    assert verdicts(ledger, 10.5) == [(Verdict.TRUNCATE, 1500)]


def test_no_more_is_delivered_than_was_received():
    ledger, (one,) = ledger_with(1.0)
    ledger.deliver(one, 100 * SECOND, 0.0)
    assert one.delivered == one.received
    ledger.advance(50.0)
    assert one.heard == one.received


def test_dropped_audio_is_passed_over_at_once():
    ledger, (one,) = ledger_with(4.0)
    ledger.skip(one, 3 * SECOND, 0.0)
    ledger.deliver(one, SECOND, 0.0)
    assert verdicts(ledger, 0.5) == [(Verdict.TRUNCATE, 3500)]
    assert ledger.heard_at(one, 0.5) == 1.0


def test_reports_replace_the_estimate_from_the_first_one_on():
    ledger, (one, two) = ledger_with(8.0, 5.0)
    ledger.deliver(one, one.received, 0.0)
    ledger.deliver(two, two.received, 0.0)
    ledger.report(one, 700, 2.0)
    # The estimate had got to 2.0 s by then: what was heard once is not unheard.
    assert verdicts(ledger, 5.0) == [(Verdict.TRUNCATE, 2000), (Verdict.DELETE, 0)]
    ledger.report(two, 900, 6.0)
    assert verdicts(ledger, 6.0) == [(Verdict.KEEP, 8000), (Verdict.TRUNCATE, 900)]
    assert ledger.heard_at(two, 6.0) is None


def test_a_report_is_clamped_and_its_whole_last_millisecond_is_the_end():
    ledger, (one,) = ledger_with(1.0)
    one.received += 30  # 0.6 ms more
    ledger.report(one, 1000, 0.0)
    assert not one.unheard
    ledger.report(one, 10**9, 0.0)
    assert one.heard == one.received
    ledger.report(one, 5, 0.0)
    assert one.heard == one.received


def test_when_everything_will_have_been_heard_is_known_once_it_is_all_delivered():
    ledger, (one, two) = ledger_with(2.0, 3.0)
    ledger.deliver(one, one.received, 10.0)
    assert ledger.heard_at(one, 10.0) == 12.0
    assert ledger.heard_at(two, 10.0) is None
    ledger.deliver(two, two.received, 11.0)
    assert ledger.heard_at(two, 11.0) == 15.0
    assert ledger.heard_at(Part("R", "elsewhere", 0), 11.0) is None


def test_a_part_still_being_made_is_cut_where_it_was_heard_even_if_that_is_all_we_have():
    ledger, (one,) = ledger_with(1.0)
    one.done = False
    ledger.deliver(one, one.received, 0.0)
    assert verdicts(ledger, 5.0) == [(Verdict.TRUNCATE, 1000)]


def test_an_item_of_several_parts_is_deleted_only_if_none_was_heard():
    ledger = PlaybackLedger(FMT)
    parts = [Part("R", "A", index, received=SECOND, done=True) for index in range(2)]
    for part in parts:
        ledger.add(part)
        ledger.deliver(part, SECOND, 0.0)
    assert verdicts(ledger, 0.4) == [(Verdict.TRUNCATE, 400), (Verdict.TRUNCATE, 0)]
    assert verdicts(PlaybackLedger(FMT), 0.4) == []


def test_only_the_given_responses_are_cut():
    ledger, (one,) = ledger_with(1.0)
    ledger.add(Part("other", "B", 0, received=SECOND))
    assert [cut.part for cut in ledger.plan({"R"}, 0.0)] == [one]


def test_an_explicit_cut_is_clamped_to_what_was_received():
    ledger, (one,) = ledger_with(2.0)
    one.deltas = ["one two three four"]
    assert ledger.cut_at(one, 99_000).played_ms == 2000
    assert ledger.cut_at(one, 99_000).text == "one two three four"
    half = ledger.cut_at(one, 1000)
    assert (half.played_ms, half.text) == (1000, "one two")


def test_the_ledger_is_bounded_and_the_oldest_part_counts_as_heard():
    ledger = PlaybackLedger(FMT)
    first = Part("R0", "A0", 0, received=SECOND)
    assert ledger.add(first) is None
    for number in range(1, MAX_PARTS):
        assert ledger.add(Part(f"R{number}", f"A{number}", 0)) is None
    assert ledger.add(Part("new", "new", 0)) is first
    assert not first.unheard
    assert len(ledger) == MAX_PARTS


def test_a_second_claim_on_an_item_ends_the_first():
    ledger = PlaybackLedger(FMT)
    first, second = Part("R1", "A", 0, received=SECOND), Part("R2", "A", 0)
    ledger.add(first)
    assert ledger.add(second) is first
    assert not first.unheard
    ledger.remove(first)
    assert ledger.get("A", 0) is second


def test_time_that_runs_backwards_unhears_nothing():
    ledger, (one,) = ledger_with(2.0)
    ledger.deliver(one, one.received, 5.0)
    ledger.advance(6.0)
    ledger.advance(1.0)
    assert ledger.ms(one.heard) == 1000
    ledger.advance(6.5)
    assert ledger.ms(one.heard) == 1500


# ---------------------------------------------------------------- the heard part of a text


def test_the_heard_text_ends_at_a_word():
    text = "the quick brown fox"
    assert heard_text(text, 0, 10) == ""
    assert heard_text(text, 1, 10) == ""
    assert heard_text(text, 5, 10) == "the quick"
    assert heard_text(text, 9.9, 10) == "the quick brown"
    assert heard_text(text, 10, 10) == text


def test_without_audio_nothing_was_heard():
    assert heard_text("words", 0, 0) == ""


def test_scripts_without_spaces_are_cut_at_a_character():
    assert heard_text("今日は良い天気です", 5, 9) == "今日は良い"


@QUICK
@given(
    st.text(alphabet="ab c\n今é", max_size=40),
    st.floats(0, 100),
    st.floats(0, 100),
    st.floats(0.1, 100),
)
def test_more_heard_is_never_less_text_and_always_a_prefix(text, a, b, received):
    less, more = sorted((min(a, received), min(b, received)))
    short, long = heard_text(text, less, received), heard_text(text, more, received)
    assert text.startswith(short)
    assert long.startswith(short)


@QUICK
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("receive"), st.integers(0, 2), st.integers(0, 3)),
            st.tuples(st.just("deliver"), st.integers(0, 2), st.integers(0, 3)),
            st.tuples(st.just("skip"), st.integers(0, 2), st.integers(0, 3)),
            st.tuples(st.just("report"), st.integers(0, 2), st.integers(0, 4000)),
            st.tuples(st.just("pass"), st.integers(0, 3)),
        ),
        max_size=40,
    )
)
def test_positions_only_grow_and_never_pass_what_came(script):
    ledger, parts = ledger_with(0.0, 0.0, 0.0)
    now = 0.0
    for what, *arguments in script:
        before = [(part.delivered, part.heard) for part in parts]
        if what == "pass":
            now += arguments[0] / 3
            ledger.advance(now)
        else:
            part = parts[arguments[0]]
            if what == "receive":
                part.received += arguments[1] * SECOND
            elif what == "deliver":
                ledger.deliver(part, arguments[1] * SECOND, now)
            elif what == "skip":
                ledger.skip(part, arguments[1] * SECOND, now)
            else:
                ledger.report(part, arguments[1], now)
        for part, (delivered, heard) in zip(parts, before, strict=True):
            assert delivered <= part.delivered <= part.received
            assert heard <= part.heard <= part.received


class Impatient(PlaybackLedger):
    """Moves the position with everything that is taken, needed or not."""

    def deliver(self, part: Part, n_bytes: int, now: float) -> None:
        self.advance(now)
        part.delivered = min(part.received, part.delivered + n_bytes)


def with_parts(
    ledger: PlaybackLedger, number: int, received: int
) -> tuple[PlaybackLedger, list[Part]]:
    parts = [Part("R", f"A{each}", 0, received=received) for each in range(number)]
    for part in parts:
        ledger.add(part)
    return ledger, parts


takes = st.tuples(st.just("deliver"), st.integers(0, 2), st.integers(0, 2 * SECOND))
others = st.tuples(st.sampled_from(["skip", "remove", "look"]), st.integers(0, 2), st.just(SECOND))


@QUICK
@given(st.lists(st.tuples(st.floats(0, 2, width=16), takes | takes | others), max_size=30))
def test_a_position_that_nobody_looks_at_need_not_move(script):
    ledgers = [with_parts(made, 3, 9 * SECOND) for made in (PlaybackLedger(FMT), Impatient(FMT))]
    now = 0.0
    for later, (what, which, n_bytes) in script:
        now += later
        heard = []
        for ledger, parts in ledgers:
            part = parts[which]
            if what == "remove":
                ledger.remove(part)
            elif ledger.get(part.item_id, 0) is None:
                continue
            elif what == "look":
                heard.append([round(one.heard) for one in parts if ledger.plan({"R"}, now)])
            else:
                getattr(ledger, what)(part, n_bytes, now)
            taken = ledger.taken
            assert taken is None or ledger.get(taken.item_id, taken.content_index) is taken
        assert heard[1:] == heard[:-1]
    for ledger, _ in ledgers:
        ledger.advance(now)
    (_, lazy), (_, eager) = ledgers
    assert [(p.delivered, p.received) for p in lazy] == [(p.delivered, p.received) for p in eager]
    assert all(abs(a.heard - b.heard) <= 2.0 for a, b in zip(lazy, eager, strict=True))


class Short(PlaybackLedger):
    """Takes the short way where there is one, as the machine does."""

    went = 0

    def deliver(self, part: Part, n_bytes: int, now: float) -> None:
        if self.more(part.item_id, part.content_index, n_bytes, now):
            self.went += 1
            # Otherwise the machine would have to look what this means for the response.
            assert part.delivered < part.received
            assert part.heard < part.received
        else:
            super().deliver(part, n_bytes, now)


chunks = st.tuples(st.just("deliver"), st.integers(0, 1), st.integers(0, SECOND))
rest = st.tuples(
    st.sampled_from(["receive", "skip", "report", "remove", "advance"]),
    st.integers(0, 1),
    st.integers(0, SECOND),
)


def state(ledger: PlaybackLedger, parts: list[Part]) -> list[object]:
    taken = ledger.taken and (ledger.taken.item_id, ledger._taken_at, ledger._taken_until)
    return [taken, ledger._played_until, *((part.delivered, part.heard) for part in parts)]


@QUICK
@given(st.lists(st.tuples(st.floats(0, 0.5, width=16), chunks | chunks | rest), max_size=40))
def test_the_short_way_of_a_burst_leads_to_the_same_place(script):
    ledgers = [with_parts(made, 2, 3 * SECOND) for made in (PlaybackLedger(FMT), Short(FMT))]
    now = 0.0
    for later, (what, which, number) in script:
        now += later
        for ledger, parts in ledgers:
            part = parts[which]
            if what == "receive":
                part.received += number
            elif what == "remove":
                ledger.remove(part)
            elif what == "advance":
                ledger.advance(now)
            elif ledger.get(part.item_id, 0) is part:
                getattr(ledger, what)(
                    part, number * 2000 // SECOND if what == "report" else number, now
                )
        (plain, one), (short, other) = ledgers
        assert state(plain, one) == state(short, other)


def test_a_burst_goes_the_short_way():
    ledger = Short(FMT)
    part = Part("R", "A", 0, received=10 * SECOND)
    ledger.add(part)
    for number in range(10):
        ledger.deliver(part, SECOND, number / 10)
    assert ledger.went == 8  # the first begins, and behind the last nothing is left
    assert verdicts(ledger, 5.0) == [(Verdict.TRUNCATE, 5000)]
