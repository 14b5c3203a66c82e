"""Whoever waits for the session's events reads its connection; while it is away, the receiver."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from runtimekit import Meeting, closing, linger, meeting, of, outcome, take
from trio.testing import wait_all_tasks_blocked

from meerkat_rt import errors
from meerkat_rt import events as ev
from meerkat_rt.runtime import link as links
from meerkat_rt.runtime.reading import FRAMES_PER_STEP
from meerkat_rt.testing import InjectedError
from meerkat_rt.testing.wires import WireStream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

Delta = ev.OutputTextDeltaForItem
MANY = [f"word{number} " for number in range(3 * FRAMES_PER_STEP)]


class Steps(trio.abc.Instrument):
    """How many steps each task makes, by its name."""

    def __init__(self) -> None:
        self.made: Counter[str] = Counter()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.made[task.name] += 1


@attrs.define
class Talk:
    """A session, and the server's one answer in it, which grows as it is told to."""

    meeting: Meeting
    words: trio.MemorySendChannel[str]

    @property
    def session(self) -> Any:
        return self.meeting.session

    @property
    def unread(self) -> int:
        return self.meeting.core.events.waiting

    async def say(self, *words: str) -> None:
        """Each in a frame of its own; all has come where it can by then."""
        for word in words:
            await self.words.send(word)
        await wait_all_tasks_blocked()

    async def say_at_once(self, words: Iterable[str]) -> None:
        """As above, but all arrives at the same moment."""
        self.meeting.wire.hold()
        await self.say(*words)
        self.meeting.wire.release()
        await wait_all_tasks_blocked()

    async def hear(self) -> str:
        """The next words."""
        (*_, event) = await take(self.session, Delta)
        return event.delta


@asynccontextmanager
async def talking(**settings: Any) -> AsyncIterator[Talk]:
    """A talk in which one word has been said and read."""
    send, receive = trio.open_memory_channel[str](0)

    async def script(peer: Any) -> None:
        response = await peer.response()
        message = await response.message("text")
        async for word in receive:
            await message.text(word)
        await linger(peer)

    async with meeting(script, client_may_leave=True, **settings) as m:
        talk = Talk(m, send)
        await talk.say("So: ")
        assert await talk.hear() == "So: "
        yield talk
        await send.aclose()


async def read_on(session: Any, read: list[Any]) -> None:
    async for event in session:
        read.append(event)  # noqa: PERF401  # what has been read is looked at meanwhile


# ---------------------------------------------------------------- who reads


async def test_an_event_costs_its_reader_one_step_and_the_receiver_none(autojump_clock) -> None:
    read: list[Any] = []
    async with talking() as talk, trio.open_nursery() as nursery:
        nursery.start_soon(read_on, talk.session, read, name="the application")
        await wait_all_tasks_blocked()
        steps = Steps()
        trio.lowlevel.add_instrument(steps)
        for word in MANY[:10]:
            await talk.say(word)
        trio.lowlevel.remove_instrument(steps)
        assert [event.delta for event in of(read, Delta)] == MANY[:10]
        assert steps.made["the application"] == 10
        assert steps.made["receiver"] == 0
        nursery.cancel_scope.cancel()


async def test_the_receiver_reads_while_the_application_is_away(autojump_clock) -> None:
    async with talking() as talk:
        await talk.say(*MANY[:5])
        assert talk.unread == 5
        await talk.say(*MANY[5:7])
        assert talk.unread == 7
        assert [await talk.hear() for _ in range(7)] == MANY[:7]
        assert talk.unread == 0


async def test_it_takes_over_in_the_middle_of_a_burst(autojump_clock) -> None:
    heard: list[str] = []

    async def look_in() -> None:
        heard.append(await talk.hear())

    async with talking() as talk:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(look_in)
            await wait_all_tasks_blocked()
            await talk.say_at_once(MANY)
        assert heard == MANY[:1]
        assert talk.unread == len(MANY) - 1
        assert [await talk.hear() for _ in MANY[1:]] == MANY[1:]


async def test_it_sees_the_end_that_came_behind_what_the_application_has_read(
    autojump_clock,
) -> None:
    async with talking() as talk:
        talk.meeting.wire.hold()
        await talk.words.send("Goodbye.")
        await wait_all_tasks_blocked()
        await talk.meeting.peer.close(1001, "enough")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(talk.hear)
            await wait_all_tasks_blocked()
            talk.meeting.wire.release()
        await talk.session._core.closed.wait()
        assert talk.session.closed.code == 1001


@pytest.mark.parametrize("how", ["close", "reset", "drop"])
async def test_an_end_that_the_application_finds_is_told_as_ever(how: str, autojump_clock) -> None:
    read: list[Any] = []
    found: list[BaseException | None] = []

    async def read_out() -> None:
        events, error = await outcome(talk.session)
        read.extend(events)
        found.append(error)

    async with talking() as talk:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_out)
            await wait_all_tasks_blocked()
            if how == "close":
                await talk.meeting.peer.close(1001, "enough")
            else:
                getattr(talk.meeting.wire, how)()
        reason = closing(read)
        assert reason.by is (ev.ClosedBy.PROVIDER if how == "close" else ev.ClosedBy.NETWORK)
        assert isinstance(found[0], errors.ConnectionReset)


# ---------------------------------------------------------------- who is woken


async def test_an_event_from_elsewhere_reaches_an_application_that_reads_the_socket(
    autojump_clock,
) -> None:
    read: list[Any] = []
    async with talking() as talk, trio.open_nursery() as nursery:
        nursery.start_soon(read_on, talk.session, read)
        await wait_all_tasks_blocked()
        await talk.session.interrupt()
        await wait_all_tasks_blocked()
        assert of(read, ev.Interrupted)
        await talk.say("unheard")
        nursery.cancel_scope.cancel()


async def test_so_does_the_end_of_the_session(autojump_clock) -> None:
    read: list[Any] = []
    async with talking() as talk:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_on, talk.session, read)
            await wait_all_tasks_blocked()
            await talk.session.aclose()
        assert closing(read).by is ev.ClosedBy.APPLICATION


async def test_a_second_reader_is_told_so(autojump_clock) -> None:
    async with talking() as talk, trio.open_nursery() as nursery:
        nursery.start_soon(talk.session.next_event)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await talk.session.next_event()
        nursery.cancel_scope.cancel()


async def test_whoever_only_looks_in_does_not_keep_the_receiver_from_reading(
    autojump_clock,
) -> None:
    async with talking() as talk:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(talk.words.send, "heard")
            for _ in range(50):
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await talk.session.next_event()
                assert scope.cancelled_caught
        assert talk.unread == 1
        assert await talk.hear() == "heard"


# ---------------------------------------------------------------- nothing is lost


@pytest.mark.parametrize("seed", range(20))
async def test_however_it_is_read_everything_comes_once_and_in_order(
    seed: int, autojump_clock
) -> None:
    chance = random.Random(seed)
    heard: list[str] = []
    said: list[str] = []

    async def listen() -> None:
        while True:
            events: list[Any] = []
            with trio.move_on_after(chance.choice([0, 0.01, 0.1, 1])):
                if chance.random() < 0.3:
                    events = await talk.session.next_events()
                else:
                    events = [await talk.session.next_event()]
            heard.extend(event.delta for event in of(events, Delta))
            if chance.random() < 0.3:
                await trio.sleep(chance.choice([0, 0.01, 0.2]))

    wire = chance.choice(["memory", "lockstep"])
    async with talking(wire=wire) as talk:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            for round_ in range(40):
                words = [f"{round_}.{n} " for n in range(chance.choice([1, 1, 2, 200]))]
                said += words
                if chance.random() < 0.5 and wire == "memory":
                    await talk.say_at_once(words)
                else:
                    await talk.say(*words)
                if chance.random() < 0.2:
                    talk.meeting.core.events.put(
                        [ev.StoreFailed(message="from elsewhere", retryable=True)]
                    )
                await trio.sleep(chance.choice([0, 0.01, 0.1]))
            await trio.sleep(5)  # the server answers no ping meanwhile
            nursery.cancel_scope.cancel()
    assert heard == said


async def test_a_stream_that_cannot_be_shared_is_read_by_the_receiver_alone(
    monkeypatch: pytest.MonkeyPatch, autojump_clock
) -> None:
    monkeypatch.setattr(WireStream, "standby", lambda _: None)
    read: list[Any] = []
    async with talking() as talk, trio.open_nursery() as nursery:
        nursery.start_soon(read_on, talk.session, read, name="the application")
        await wait_all_tasks_blocked()
        steps = Steps()
        trio.lowlevel.add_instrument(steps)
        await talk.say("as ever")
        trio.lowlevel.remove_instrument(steps)
        assert steps.made["receiver"] == 1
        await talk.say_at_once(MANY)
        assert [event.delta for event in of(read, Delta)] == ["as ever", *MANY]
        nursery.cancel_scope.cancel()


async def test_a_bug_that_the_application_meets_there_is_the_session_s(
    monkeypatch: pytest.MonkeyPatch, autojump_clock
) -> None:
    hear = links.hear
    broken = False

    def step(*args: Any) -> None:
        if broken:
            raise InjectedError("a bug")
        hear(*args)

    monkeypatch.setattr(links, "hear", step)
    read: list[Any] = []
    with pytest.raises(InjectedError, match="a bug"):
        async with talking() as talk:
            broken = True
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read_on, talk.session, read)
                await wait_all_tasks_blocked()
                await talk.say("crash")
            raise AssertionError("the block was not cancelled")
    assert not of(read, Delta)
    assert talk.session.closed.text == "internal error: the receiver ended before the session"
